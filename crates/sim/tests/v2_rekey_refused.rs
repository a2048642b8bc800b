//! A rekeying that is refused is told as that, with the reason of whichever end refused: the SA goes on.

use model::{Event, FailureKind, Rekeying, Tombstone};
use proto::Selection;
use sim::{NodeId, Sim, Site};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A tunnel whose ends have these lines in their connection and their child, and what has happened before.
fn tunnel(a: [&str; 2], b: [&str; 2]) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(17);
    let end = |name: &str, own: &str, peer: &str, [connection, child]: [&str; 2]| {
        Site::new(name, own).to(peer).connection(connection).child(child)
    };
    let (a, b) = (sim.add(end("a", "192.0.2.1", "192.0.2.2", a)), sim.add(end("b", "192.0.2.2", "192.0.2.1", b)));
    sim.initiate(a, b);
    sim.run_until(5 * SECOND, |sim| sim.carries(a, b)).expect("a tunnel");
    (sim, a, b)
}

fn told(sim: &Sim, node: NodeId) -> Vec<Tombstone> {
    let failed = |event: &Event| match event {
        Event::RekeyFailed(t) => Some((**t).clone()),
        _ => None,
    };
    sim.events(node).filter_map(|(_, event)| failed(event)).collect()
}

fn rekey(sim: &mut Sim, node: NodeId, child: bool) {
    let selection = Selection { child: child.then(|| "net".to_string()), ..Selection::default() };
    assert_eq!(sim.with(node, |endpoint, now| endpoint.rekey(now, &selection)), 1);
    sim.run_for(3 * SECOND);
}

#[test]
fn what_ike_auth_did_not_compare_shows_at_the_first_rekeying() {
    for (ours, theirs) in [
        ("aes128gcm16-x25519", "aes128gcm16"),
        ("aes128gcm16", "aes128gcm16-x25519"),
        ("aes128gcm16-x25519", "aes128gcm16-ecp256"),
    ] {
        let esp = |text: &str| format!("esp_proposals = {text}");
        let (mut sim, a, b) = tunnel(["", &esp(ours)], ["", &esp(theirs)]);
        rekey(&mut sim, a, true);
        for node in [a, b] {
            let [failed] = told(&sim, node).try_into().unwrap_or_else(|all| panic!("{all:?}"));
            assert_eq!((failed.child.as_deref(), failed.rekeying), (Some("net"), Some(Rekeying::First)));
            assert_eq!(failed.sa.state, model::IkeState::Established);
            let line = Event::RekeyFailed(Box::new(failed.clone())).log();
            assert!(line.2.starts_with("rekeying of CHILD_SA net under gw[1] ended: "), "{}", line.2);
            assert!(line.2.contains("it goes on") && (line.0, line.1) == ("IKE", 0));
            // It is kept, once, as what it is.
            let kept = sim.tombstones(node);
            assert_eq!((kept.len(), kept[0].rekeying), (1, Some(Rekeying::First)));
            assert!(kept[0].again_in.is_some_and(|next| node == b || next <= 15 * SECOND));
            assert!(
                diag::ended(&kept[0]).causes.first() == Some(&diag::Cause::Pfs),
                "{ours} {theirs}: {:?}",
                diag::ended(&kept[0])
            );
            match (&failed.failure.kind, node == b) {
                // The end that refuses knows both sides' values.
                (FailureKind::NoProposalChosen { mismatch: Some(mismatch), .. }, true) => {
                    assert_eq!(mismatch.differing.len(), 1);
                }
                (FailureKind::NoProposalChosen { ours: offered, mismatch: None, .. }, false) => {
                    assert_eq!(offered, &[ours.to_string()]);
                    assert!(failed.remedy().contains("PFS"));
                }
                other => panic!("{other:?}"),
            }
        }
        // Again and again, and kept once.
        sim.run_for(120 * SECOND);
        assert!(told(&sim, a).len() > 5, "{}", told(&sim, a).len());
        assert_eq!((sim.tombstones(a).len(), sim.tombstones(b).len()), (1, 1));
        assert!(sim.carries(a, b) && !sim.events(a).any(|(_, e)| matches!(e, Event::Ended(_) | Event::ChildDown(_))));
    }
}
