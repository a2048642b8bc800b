//! Several requests of ours under way (RFC 7296 section 2.3), as many as the peer's window has room for: Child SAs come up in
//! fewer round trips, nothing is sent beyond the window, and what changes the IKE SA itself is asked alone.

use proto::{Endpoint, Selection};
use sim::{Conditions, Happened, NodeId, Sim, Site};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;
use wire::{ExchangeType, Header};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const CHILDREN: usize = 16;

fn at(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 500)
}

/// Two ends with a connection of many children, `lines` in the connection and `child_lines` in each child.
fn ends(seed: u64, windows: [u32; 2], (lines, child_lines): (&str, &str), fragment_size: u16) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(seed);
    let site = |name: &str, (own, peer): (&str, &str), (left, right): (u8, u8), window: u32| {
        let mut text = format!(
            "connections {{\n gw {{\n local_addrs = {own}\n remote_addrs = {peer}\n version = 2\n {lines}\n
             local {{\n auth = psk\n id = {name}.example\n }}\n remote {{\n auth = psk\n }}\n children {{\n"
        );
        for n in 0..CHILDREN {
            let (local, remote) = (format!("10.{left}.{n}.0/24"), format!("10.{right}.{n}.0/24"));
            let _ = writeln!(text, " c{n} {{\n local_ts = {local}\n remote_ts = {remote}\n {child_lines}\n }}");
        }
        text.push_str(" }\n }\n}\nsecrets {\n ike-all {\n secret = swordfish\n }\n}\n");
        Site::new(name, own).text(&text).settings(|s| (s.window_size, s.fragment_size) = (window, fragment_size))
    };
    let (a, b) = ("192.0.2.1", "192.0.2.2");
    let left = sim.add(site("a", (a, b), (1, 2), windows[0]));
    let right = sim.add(site("b", (b, a), (2, 1), windows[1]));
    (sim, left, right)
}

fn begin(sim: &mut Sim, node: NodeId, child: usize) {
    let (local, remote) = (
        sim.address(node).to_string(),
        if sim.address(node).to_string() == "192.0.2.1" { "192.0.2.2" } else { "192.0.2.1" },
    );
    let began = sim.with(node, |endpoint: &mut Endpoint, now| {
        endpoint.initiate(now, "gw", &format!("c{child}"), at(&local), at(remote)).is_ok()
    });
    assert!(began);
}

/// All children of one end at once; how long until they are up.
fn all_up(sim: &mut Sim, a: NodeId, b: NodeId, limit: Duration) -> Duration {
    (0..CHILDREN).for_each(|child| begin(sim, a, child));
    sim.run_until(limit, |sim| sim.pairs(a, b) == CHILDREN).expect("all children")
}

/// The requests that a node sent, against the answers that had come by then: none lies beyond the window. Returns how many
/// were under way at most.
fn under_way(sim: &Sim, node: NodeId, window: u32) -> usize {
    #[derive(Default)]
    struct Requests {
        sent: BTreeSet<u32>,
        answered: BTreeSet<u32>,
    }
    let (mut all, mut most) = (BTreeMap::<_, Requests>::new(), 0);
    for entry in sim.happened(node) {
        let (Happened::Sent(d) | Happened::Received(d)) = &entry.what else { continue };
        let Ok(header) = Header::parse(&d.bytes) else { continue };
        let sent = matches!(entry.what, Happened::Sent(_));
        // With IKE_SA_INIT it is the initiator's SPI alone.
        let requests = all.entry(header.spis.initiator.0).or_default();
        match (sent, header.is_response()) {
            (true, false) => {
                let lowest = (0..).find(|id| !requests.answered.contains(id)).unwrap();
                let initial = matches!(header.exchange, ExchangeType::IKE_SA_INIT | ExchangeType::IKE_AUTH);
                let window = if initial { 1 } else { window };
                let id = header.message_id;
                assert!(id < lowest + window, "request {id} while {lowest} is not answered, with a window of {window}");
                requests.sent.insert(id);
                most = most.max(requests.sent.difference(&requests.answered).count());
            }
            (false, true) => drop(requests.answered.insert(header.message_id)),
            _ => {}
        }
    }
    most
}

#[test]
fn the_wider_the_window_the_fewer_the_round_trips() {
    let trips = |windows: [u32; 2], allowed: u32| {
        let (mut sim, a, b) = ends(1, windows, ("", ""), 1280);
        let time = all_up(&mut sim, a, b, 60 * SECOND);
        assert_eq!(under_way(&sim, a, allowed), allowed.min(15) as usize, "{windows:?}");
        sim.settle(10 * SECOND);
        assert_eq!((sim.pairs(a, b), sim.plane(a).installed().count(), sim.plane(b).installed().count()), (16, 16, 16));
        time.as_millis() / 20
    };
    // IKE_SA_INIT, IKE_AUTH with the first child, and the other fifteen.
    assert_eq!(trips([1, 1], 1), 2 + 15);
    assert_eq!(trips([4, 4], 4), 2 + 4);
    assert_eq!(trips([16, 16], 16), 2 + 1);
    // The peer's window counts, and not more than we want.
    assert_eq!(trips([16, 4], 4), 2 + 4);
    assert_eq!(trips([4, 16], 4), 2 + 4);
    assert_eq!(trips([1, 16], 1), 2 + 15);
    assert_eq!(trips([16, 1], 1), 2 + 15);
}

#[test]
fn over_a_bad_net_all_come_up_once_and_no_request_is_beyond_the_window() {
    let bad = Conditions { loss: 100, duplicate: 100, reorder: 400, ..Conditions::default() };
    for (window, fragment_size, child) in
        [(1, 1280, ""), (4, 1280, ""), (16, 1280, ""), (4, 200, "esp_proposals = aes256gcm16-modp2048")]
    {
        let mut most = 0;
        for seed in 0..12 {
            let (mut sim, a, b) = ends(seed, [window; 2], ("keyingtries = 0", child), fragment_size);
            sim.set_conditions(bad);
            all_up(&mut sim, a, b, 900 * SECOND);
            sim.settle(200 * SECOND);
            most = most.max(under_way(&sim, a, window));
            under_way(&sim, b, window);
            let installed = [a, b].map(|node| sim.plane(node).installed().count());
            assert_eq!((sim.pairs(a, b), installed), (CHILDREN, [CHILDREN; 2]), "window {window}, seed {seed}");
        }
        assert_eq!(most, window.min(15) as usize);
    }
}

#[test]
fn both_ends_ask_for_all_children_at_once_and_each_is_made_once() {
    for seed in 0..12 {
        let (mut sim, a, b) = ends(seed, [4, 16], ("", ""), 1280);
        begin(&mut sim, a, 0);
        sim.run_until(SECOND, |sim| sim.pairs(a, b) == 1).expect("the IKE SA");
        sim.set_conditions(Conditions { reorder: 500, loss: if seed < 6 { 0 } else { 150 }, ..Conditions::default() });
        for child in 1..CHILDREN {
            begin(&mut sim, a, child);
            begin(&mut sim, b, CHILDREN - child);
        }
        // What was refused for the time being is asked for again.
        sim.run_for(400 * SECOND);
        sim.settle(200 * SECOND);
        for node in [a, b] {
            under_way(&sim, node, 4);
        }
        let installed = [a, b].map(|node| sim.plane(node).installed().count());
        assert_eq!((sim.pairs(a, b), installed), (CHILDREN, [CHILDREN; 2]), "seed {seed}");
        assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)), "seed {seed}");
    }
}

#[test]
fn what_changes_the_ike_sa_is_asked_alone() {
    let (mut sim, a, b) = ends(3, [16, 16], ("", ""), 1280);
    all_up(&mut sim, a, b, 10 * SECOND);
    sim.settle(10 * SECOND);
    let alone = ["IKE_REKEY", "IKE_DELETE", "IKE_MOBIKE"];
    // Whether an IKE SA asks for something beside what is to be alone; and how much is under way at most.
    let active = |sim: &Sim| {
        let each = sim.snapshots(a).into_iter().map(|sa| {
            let strict = sa.tasks_active.iter().any(|task| alone.contains(task));
            assert!(!strict || sa.tasks_active.len() == 1, "{:?}", sa.tasks_active);
            sa.tasks_active.len()
        });
        each.max().unwrap_or(0)
    };
    let children = Selection { child: Some("c1".into()), ..Selection::default() };
    let rekey = |sim: &mut Sim, selection: &Selection| sim.with(a, |endpoint, now| endpoint.rekey(now, selection));
    for n in 0..CHILDREN {
        assert_eq!(rekey(&mut sim, &Selection { child: Some(format!("c{n}")), ..children.clone() }), 1);
    }
    assert_eq!(rekey(&mut sim, &Selection::default()), 1);
    let before = sim.snapshots(a)[0].id;
    let mut most = 0;
    for _ in 0..200 {
        sim.run_for(2 * MILLISECOND);
        most = most.max(active(&sim));
    }
    assert_eq!(most, CHILDREN);
    assert_ne!(sim.snapshots(a)[0].id, before, "the IKE SA was rekeyed when all children were");
    assert_eq!(sim.snapshots(a)[0].children.len(), CHILDREN);
    // The new one has a window of one until it is told otherwise (section 2.3): it is, and then has a wide one.
    sim.settle(10 * SECOND);
    for n in 0..CHILDREN {
        rekey(&mut sim, &Selection { child: Some(format!("c{n}")), ..children.clone() });
    }
    assert_eq!(active(&sim), CHILDREN);
    sim.terminate(a, &Selection::default());
    for _ in 0..100 {
        sim.run_for(2 * MILLISECOND);
        active(&sim);
    }
    assert_eq!((sim.endpoint(a).sizes().0, sim.endpoint(b).sizes().0), (0, 0));
    under_way(&sim, a, 16);
}

#[test]
fn one_of_several_requests_that_is_never_answered_ends_the_ike_sa_and_is_named() {
    let (mut sim, a, b) = ends(4, [4, 4], ("", ""), 1280);
    begin(&mut sim, a, 0);
    sim.run_until(SECOND, |sim| sim.pairs(a, b) == 1).expect("the IKE SA");
    sim.settle(SECOND);
    // The answer to the second of four is lost, whatever is repeated; the others come.
    let next = std::cell::Cell::new(None);
    sim.set_hook(Some(Box::new(move |_, datagram| {
        let header = Header::parse(&datagram.bytes).unwrap();
        let asked = !header.is_response() && header.exchange == ExchangeType::CREATE_CHILD_SA;
        if asked && next.get().is_none() {
            next.set(Some(header.message_id + 1));
        }
        let lost = header.is_response() && Some(header.message_id) == next.get();
        if lost { Vec::new() } else { vec![(Duration::ZERO, datagram.clone())] }
    })));
    (1..9).for_each(|child| begin(&mut sim, a, child));
    sim.run_for(10 * SECOND);
    // 1, 3 and 4 were answered, and the window goes no further than three beyond the one that was not.
    let made =
        |sim: &Sim| sim.snapshots(a).first().map(|sa| sa.children.iter().filter(|c| c.installed.is_some()).count());
    assert_eq!(made(&sim), Some(1 + 4), "the first, and all but one of five");
    under_way(&sim, a, 4);
    let sas = sim.snapshots(a);
    assert_eq!(sas[0].tasks_active, ["CHILD_CREATE"]);
    assert_eq!(sas[0].retransmissions.sent, 1);
    sim.run_for(200 * SECOND);
    assert!(matches!(sim.failure(a).kind, model::FailureKind::NoAnswer { answered_before: true, sent: 6, .. }));
}

#[test]
fn a_wrong_guess_of_the_group_is_corrected_within_the_window() {
    let (mut sim, a, b) = ends(5, [4, 4], ("", "esp_proposals = aes128gcm16-x25519-ecp256"), 1280);
    // The responder prefers the other group: it is told by the configuration of its children.
    let other = sim.site(b).configuration().replace("x25519-ecp256", "ecp256");
    let other = Site::new("b", "192.0.2.2").text(&other).load();
    sim.with(b, |endpoint, _| other.connections.into_iter().for_each(|c| endpoint.load_connection(c)));
    all_up(&mut sim, a, b, 10 * SECOND);
    sim.settle(10 * SECOND);
    under_way(&sim, a, 4);
    assert_eq!(sim.plane(b).installed().count(), CHILDREN);
}
