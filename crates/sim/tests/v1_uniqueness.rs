//! IKEv1: several ISAKMP SAs with one peer, and what `unique` makes of them.

use config::{AuthMethod, Authentication, Connection, SecretKind, SharedSecret};
use model::{ConfigRef, DropReason, FailureKind, Identity};
use sim::{NodeId, Sim, Site};
use std::sync::Arc;
use std::time::Duration;
use wire::Secret;

const SECOND: Duration = Duration::from_secs(1);
const MODES: [&str; 2] = ["aggressive = no", "aggressive = yes"];

fn site(name: &str, address: &str, peer: &str, mode: &str) -> Site {
    Site::new(name, address).to(peer).connection("version = 1").connection(mode)
}

fn users(sim: &mut Sim, node: NodeId, names: &[&str]) {
    for name in names {
        let source = ConfigRef { file: "test".into(), line: 1, key: "test".into() };
        let (owners, secret) = (vec![name.parse().unwrap()], Secret::new(b"secret".to_vec()));
        let secret = SharedSecret { kind: SecretKind::Xauth, name: format!("xauth-{name}"), owners, secret, source };
        sim.with(node, |endpoint, _| endpoint.add_secret(secret));
    }
}

/// Two initiators of one identity at two addresses, one after the other; with XAuth if they have users.
fn doubled(mode: &str, unique: &str, names: Option<[&str; 2]>) -> (Sim, [NodeId; 3]) {
    let hub = site("b", "192.0.2.2", "192.0.2.0/24", mode).connection(unique);
    let hub = hub.child("remote_ts = 192.0.2.1, 192.0.2.3");
    let mut sim = Sim::new(1);
    let [b, a, c] = [
        hub,
        site("a", "192.0.2.1", "192.0.2.2", mode),
        site("c", "192.0.2.3", "192.0.2.2", mode).local_id(Some("a.example")).connection("unique = never"),
    ]
    .map(|site| sim.add(site));
    if let Some(names) = names {
        let change = |sim: &mut Sim, node: NodeId, user: Option<&str>| {
            let mut round = Authentication::new(AuthMethod::Xauth, Identity::ANY);
            round.xauth_id = user.map(str::to_string);
            sim.with(node, |endpoint, _| {
                let mut connection = Connection::clone(endpoint.connections().next().expect("a connection"));
                match user {
                    Some(_) => connection.local_more = vec![round],
                    None => connection.remote_more = vec![round],
                }
                endpoint.load_connection(Arc::new(connection));
            });
        };
        change(&mut sim, a, Some(names[0]));
        change(&mut sim, c, Some(names[1]));
        change(&mut sim, b, None);
        for node in [a, b, c] {
            users(&mut sim, node, &names);
        }
    }
    sim.initiate(a, b);
    sim.run_for(5 * SECOND);
    assert!(sim.carries(a, b), "{mode} {unique} {names:?}: {:?}", sim.tombstones(b));
    sim.initiate(c, b);
    sim.run_for(10 * SECOND);
    (sim, [a, b, c])
}

fn id(text: &str) -> Identity {
    text.parse().unwrap()
}

#[test]
fn a_peer_has_so_many_isakmp_sas_and_no_more() {
    for mode in MODES {
        let mut sim = Sim::new(1);
        let hub = site("b", "192.0.2.2", "%any", mode).connection("unique = never");
        let b = sim.add(hub.child("remote_ts = 192.0.2.0/24").settings(|s| s.ike_sa_limit_peer = 2));
        for n in 3..7 {
            let a = site(&format!("a{n}"), &format!("192.0.2.{n}"), "192.0.2.2", mode).local_id(Some("a.example"));
            let a = sim.add(a.connection("unique = never"));
            sim.initiate(a, b);
            sim.run_for(40 * SECOND);
            assert_eq!((sim.carries(a, b), sim.endpoint(b).sizes().0), (n < 5, (n - 2).min(2)), "{mode}, {n}");
        }
        assert_eq!(sim.dropped(b, DropReason::IkeSaLimitPeer), 2, "{mode}");
        assert_eq!(sim.failure(b).kind, FailureKind::TooManyOfPeer { remote: id("a.example"), most: 2 }, "{mode}");
    }
}

#[test]
fn keep_refuses_the_second_and_tells_it() {
    for mode in MODES {
        let (sim, [a, b, c]) = doubled(mode, "unique = keep", None);
        assert!(sim.carries(a, b) && !sim.carries(c, b), "{mode}");
        let failure = sim.failure(b);
        assert_eq!(failure.kind, FailureKind::NotUnique { remote: id("a.example") }, "{mode}");
        assert_eq!(failure.config, Some(sim.place(b, "unique", "connections.gw.unique")), "{mode}");
        // It does not wait for a message 6 that never comes: in main mode it hears why, in aggressive mode its SA is deleted.
        assert_eq!((sim.endpoint(c).sizes(), sim.endpoint(b).sizes()), ((0, 0), (1, 0)), "{mode}");
        let code = if mode == MODES[0] { "PEER_REFUSED" } else { "PEER_DELETE" };
        assert_eq!(sim.failure(c).kind.code(), code, "{mode}: {:?}", sim.failure(c));
    }
}

#[test]
fn replace_ends_the_first() {
    for mode in MODES {
        let (sim, [a, b, c]) = doubled(mode, "unique = replace", None);
        assert!(!sim.carries(a, b) && sim.carries(c, b), "{mode}");
        assert_eq!(sim.failure(a).kind, FailureKind::PeerDeleted, "{mode}: it is told");
    }
}

#[test]
fn no_and_never_keep_both() {
    for (mode, unique) in MODES.into_iter().flat_map(|mode| ["unique = no", "unique = never"].map(|u| (mode, u))) {
        let (sim, [a, b, c]) = doubled(mode, unique, None);
        assert!(sim.carries(a, b) && sim.carries(c, b), "{mode} {unique}");
        assert_eq!(sim.endpoint(b).sizes(), (2, 0), "{mode} {unique}");
    }
}

/// Where XAuth proves users the identity of phase 1 is that of a group: who is unique is the user.
#[test]
fn users_of_one_group_are_different_peers() {
    for (mode, unique) in MODES.into_iter().flat_map(|mode| ["unique = replace", "unique = keep"].map(|u| (mode, u))) {
        let (sim, [a, b, c]) = doubled(mode, unique, Some(["carol", "dave"]));
        assert!(sim.carries(a, b) && sim.carries(c, b), "{mode} {unique}: {:?}", sim.tombstones(b));
    }
    for mode in MODES {
        let (sim, [a, b, c]) = doubled(mode, "unique = keep", Some(["carol", "carol"]));
        assert!(sim.carries(a, b) && !sim.carries(c, b), "{mode}");
        assert_eq!(sim.failure(b).kind, FailureKind::NotUnique { remote: id("carol") }, "{mode}");
        assert_eq!(sim.failure(c).kind.code(), "XAUTH_FAILED", "{mode}");
        let (sim, [a, b, c]) = doubled(mode, "unique = replace", Some(["carol", "carol"]));
        assert!(!sim.carries(a, b) && sim.carries(c, b), "{mode}");
    }
}

/// A restarted peer says INITIAL-CONTACT, and one that authenticates anew is where it was: `keep` refuses neither.
#[test]
fn keep_lets_a_peer_come_back() {
    for mode in MODES {
        let mut sim = Sim::new(1);
        let a = sim.add(site("a", "192.0.2.1", "192.0.2.2", mode).connection("reauth_time = 100s\n rand_time = 0s"));
        let b = sim.add(site("b", "192.0.2.2", "192.0.2.1", mode).connection("unique = keep"));
        sim.initiate(a, b);
        sim.run_for(150 * SECOND);
        assert!(sim.carries(a, b), "{mode}: {:?}", sim.tombstones(b));
        sim.restart(a);
        sim.initiate(a, b);
        sim.run_for(10 * SECOND);
        assert!(sim.carries(a, b), "{mode}: {:?}", sim.tombstones(b));
        assert_eq!(sim.endpoint(b).sizes(), (1, 0), "{mode}");
        assert!(sim.tombstones(b).iter().all(|t| t.failure.kind.code() != "NOT_UNIQUE"), "{mode}");
    }
}

/// Who does not expect this identity says so under the keys that the initiator has, and the initiator need not wait.
#[test]
fn an_identity_that_nobody_expects_is_refused_at_once() {
    let mut sim = Sim::new(1);
    let a = sim.add(site("a", "192.0.2.1", "192.0.2.2", MODES[0]).local_id(Some("other.example")));
    let b = sim.add(site("b", "192.0.2.2", "192.0.2.1", MODES[0]).remote_id("a.example"));
    sim.initiate(a, b);
    sim.run_for(5 * SECOND);
    assert!(matches!(sim.failure(b).kind, FailureKind::IdentityUnknown { .. }), "{:?}", sim.failure(b));
    let failure = sim.failure(a);
    assert!(matches!(failure.kind, FailureKind::PeerRefusedV1 { .. }), "{failure:?}");
    // The refusal could be read, so that the secret is right (RFC 2409 section 5).
    let found = diag::ended(&sim.tombstones(a)[0]);
    assert!(!found.causes.contains(&diag::Cause::PskMismatch) && !found.causes.is_empty(), "{found:?}");
    assert!(found.remedy[0].contains("identity") && found.remedy[0].contains("XAuth at one end only"), "{found:?}");
    assert!(failure.config.is_some_and(|place| place.key.starts_with("connections.gw.local.")));
    assert_eq!(sim.endpoint(a).sizes(), (0, 0));
}

/// Behind a NAT message 5 comes on port 4500 (RFC 3947 section 4), and the refusal goes back on it: nothing else is open.
#[test]
fn a_refusal_finds_its_way_through_a_nat() {
    let mut sim = Sim::new(1);
    let a = site("a", "192.0.2.1", "192.0.2.2", MODES[0]).local_id(Some("other.example"));
    let a = sim.add(a.behind(sim::Nat::new("203.0.113.1".parse().unwrap())));
    let b = sim.add(site("b", "192.0.2.2", "203.0.113.1", MODES[0]).remote_id("a.example"));
    sim.initiate(a, b);
    sim.run_for(5 * SECOND);
    assert!(matches!(sim.failure(a).kind, FailureKind::PeerRefusedV1 { .. }), "{:?}", sim.failure(a));
    let (_, last) = sim.wire.iter().rfind(|(_, d)| d.from.ip().to_string() == "192.0.2.2").expect("an answer");
    assert_eq!((last.from.port(), last.to.ip().to_string().as_str()), (4500, "203.0.113.1"));
}
