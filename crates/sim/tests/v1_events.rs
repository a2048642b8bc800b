//! `racoonctl show-event`: the lines that racoon itself printed in the same situations.

use model::Event;
use proto::Selection;
use show::racoonctl::{PHASE2_ESTABLISHED, event_line, events_of_end, events_of_phase1};
use sim::{NodeId, Sim, Site};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn site(name: &str, address: &str, peer: &str, mode: &str) -> Site {
    Site::new(name, address).to(peer).connection("version = 1").connection(mode)
}

fn lines(sim: &Sim, node: NodeId) -> String {
    let of = |event: &Event| match event {
        Event::IkeUp(sa) => (events_of_phase1(sa), sa.local, sa.remote),
        Event::ChildUp(sa) => (vec![PHASE2_ESTABLISHED], sa.local, sa.remote),
        Event::Ended(t) => (events_of_end(t), t.sa.local, t.sa.remote),
        _ => (Vec::new(), ([0, 0, 0, 0], 0).into(), ([0, 0, 0, 0], 0).into()),
    };
    let all = sim.events(node).map(|(_, event)| of(event));
    all.flat_map(|(codes, local, remote)| codes.into_iter().map(move |code| event_line(code, local, remote))).collect()
}

/// As in racoon's own recordings of both modes: begun, and ended by the initiator's operator.
#[test]
fn a_tunnel_that_comes_and_goes() {
    for mode in ["aggressive = no", "aggressive = yes"] {
        let mut sim = Sim::new(1);
        let a = sim.add(site("a", "10.9.0.1", "10.9.0.2", mode));
        let b = sim.add(site("b", "10.9.0.2", "10.9.0.1", mode));
        sim.initiate(a, b);
        sim.run_for(5 * SECOND);
        sim.terminate(a, &Selection::default());
        sim.run_for(5 * SECOND);
        let initiator = "Phase 1 established : 10.9.0.1[500] -> 10.9.0.2[500]\n\
                         Phase 1 mode configuration done : 10.9.0.1[500] -> 10.9.0.2[500]\n\
                         Phase 2 established : 10.9.0.1[500] -> 10.9.0.2[500]\n\
                         Phase 1 deleted : 10.9.0.1[500] -> 10.9.0.2[500]\n";
        let responder = "Phase 1 established : 10.9.0.2[500] -> 10.9.0.1[500]\n\
                         Phase 1 mode configuration done : 10.9.0.2[500] -> 10.9.0.1[500]\n\
                         Phase 2 established : 10.9.0.2[500] -> 10.9.0.1[500]\n\
                         Event 262: 10.9.0.2[500] -> 10.9.0.1[500]\n\
                         Phase 1 deleted : 10.9.0.2[500] -> 10.9.0.1[500]\n";
        assert_eq!(lines(&sim, a), initiator, "{mode}");
        assert_eq!(lines(&sim, b), responder, "{mode}");
    }
}

/// As in racoon's recording of short lifetimes: each phase 2 that comes is told, and none that goes, whether its time is over
/// or somebody deletes it.
#[test]
fn a_phase_2_goes_without_a_word() {
    let both = "10.9.0.1[500] -> 10.9.0.2[500]";
    let up = format!("Phase 1 established : {both}\nPhase 1 mode configuration done : {both}\n");
    let one = format!("Phase 2 established : {both}\n");
    // The responder's ends, because the initiator makes no successor and tells of no lifetime.
    for (lines_of_child, seconds, phases) in
        [("rekey_time = 12s\n life_time = 15s\n rand_time = 0s", 30, 3), ("rekey_time = 0s\n life_time = 15s", 20, 1)]
    {
        let mut sim = Sim::new(1);
        let a = sim.add(site("a", "10.9.0.1", "10.9.0.2", "").child(lines_of_child));
        let b = sim.add(site("b", "10.9.0.2", "10.9.0.1", "").child("life_time = 15s"));
        sim.initiate(a, b);
        sim.run_for(seconds * SECOND);
        assert_eq!(lines(&sim, a), format!("{up}{}", one.repeat(phases)), "{lines_of_child}");
    }
    let mut sim = Sim::new(1);
    let a = sim.add(site("a", "10.9.0.1", "10.9.0.2", ""));
    let b = sim.add(site("b", "10.9.0.2", "10.9.0.1", ""));
    sim.initiate(a, b);
    sim.run_for(5 * SECOND);
    sim.terminate(b, &Selection { child: Some("net".into()), ..Selection::default() });
    sim.run_for(5 * SECOND);
    assert!(!sim.carries(a, b));
    assert_eq!(lines(&sim, a), format!("{up}{one}"));
    let mirrored = format!("{up}{one}").replace(both, "10.9.0.2[500] -> 10.9.0.1[500]");
    assert_eq!(lines(&sim, b), mirrored);
}

/// Phase 1 stands and phase 2 is refused: racoon has no event for that.
#[test]
fn a_phase_2_that_is_refused() {
    let mut sim = Sim::new(1);
    let a = sim.add(site("a", "10.9.0.1", "10.9.0.2", "aggressive = no").child("esp_proposals = aes256-sha256"));
    let b = sim.add(site("b", "10.9.0.2", "10.9.0.1", "aggressive = no").child("esp_proposals = aes128-sha256"));
    sim.initiate(a, b);
    sim.run_for(5 * SECOND);
    for (node, ends) in [(a, "10.9.0.1[500] -> 10.9.0.2[500]"), (b, "10.9.0.2[500] -> 10.9.0.1[500]")] {
        let expected = format!("Phase 1 established : {ends}\nPhase 1 mode configuration done : {ends}\n");
        assert_eq!(lines(&sim, node), expected);
    }
}

/// A flap or a new phase 1 beside the old one: the old one's end is told, and phase 2 is not, for it goes on.
#[test]
fn phase_1_anew() {
    let mut sim = Sim::new(1);
    let a = sim.add(site("a", "10.9.0.1", "10.9.0.2", "reauth_time = 100s\n rand_time = 0s"));
    let b = sim.add(site("b", "10.9.0.2", "10.9.0.1", ""));
    sim.initiate(a, b);
    sim.run_for(115 * SECOND);
    let ends = "10.9.0.1[500] -> 10.9.0.2[500]";
    let up = format!("Phase 1 established : {ends}\nPhase 1 mode configuration done : {ends}\n");
    let expected = format!("{up}Phase 2 established : {ends}\n{up}Phase 1 deleted : {ends}\n");
    assert_eq!(lines(&sim, a), expected);
}
