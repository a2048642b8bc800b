//! A connection that asks for another proof than a pre-shared key is never satisfied with one, although there is a secret
//! that fits.

use config::{AuthMethod, Authentication, Connection};
use model::FailureKind;
use sim::{NodeId, Sim, Site};
use std::sync::Arc;
use std::time::Duration;

fn site(name: &str, own: &str, peer: &str) -> Site {
    Site::new(name, own).to(peer)
}

/// Changes the connection of one node: 0 begins, 1 answers. The reason why that node ended its IKE SA.
fn refused_by(changed: usize, change: fn(&mut Connection)) -> FailureKind {
    let mut sim = Sim::new(1);
    let sites = [site("a", "192.0.2.1", "192.0.2.2"), site("b", "192.0.2.2", "192.0.2.1")];
    let mut connection = (*sites[changed].load().connections[0]).clone();
    let nodes: Vec<NodeId> = sites.into_iter().map(|site| sim.add(site)).collect();
    change(&mut connection);
    sim.with(nodes[changed], |endpoint, _| endpoint.load_connection(Arc::new(connection)));
    sim.initiate(nodes[0], nodes[1]);
    sim.run_for(Duration::from_secs(2));
    assert!(!sim.carries(nodes[0], nodes[1]));
    assert!(nodes.iter().all(|node| sim.plane(*node).installed().count() == 0));
    sim.failure(nodes[changed]).kind
}

#[test]
fn a_pre_shared_key_takes_the_place_of_nothing_else() {
    let changes: [fn(&mut Connection); 4] = [
        |c| c.local.method = AuthMethod::Xauth,
        |c| c.remote.method = AuthMethod::Xauth,
        |c| c.local_more.push(Authentication::new(AuthMethod::Psk, model::Identity::ANY)),
        |c| c.remote_more.push(Authentication::new(AuthMethod::Psk, model::Identity::ANY)),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        for node in [0, 1] {
            let kind = refused_by(node, change);
            assert!(matches!(kind, FailureKind::AuthMethodUnsupported { .. }), "change {n} at node {node}: {kind}");
        }
    }
}
