//! IKEv2 messages in fragments (RFC 7383): under loss, in any order, and from peers that do not keep to the rules.

use model::DropReason;
use sim::{Conditions, Datagram, NodeId, Sim, Site};
use std::time::Duration;
use wire::{Header, PayloadType};

const SECOND: Duration = Duration::from_secs(1);

/// Two sites whose IKE_AUTH needs several fragments each way.
fn sites(a: &str, b: &str) -> (Site, Site) {
    let long = format!("{}.example", ["label"; 30].join("."));
    let small = |site: Site, line: &str| site.connection(line).settings(|s| s.fragment_size = 1);
    (
        small(Site::new("a", "192.0.2.1").to("192.0.2.2"), &format!("fragmentation = {a}")),
        small(Site::new("b", "192.0.2.2").to("192.0.2.1"), &format!("fragmentation = {b}")).local_id(Some(&long)),
    )
}

fn is_fragment(datagram: &Datagram) -> bool {
    Header::parse(&datagram.bytes).is_ok_and(|h| h.next_payload == PayloadType::SKF)
}

fn number(datagram: &Datagram) -> u16 {
    u16::from_be_bytes([datagram.bytes[32], datagram.bytes[33]])
}

/// Brings the sites up; what the net did to each datagram that is a fragment, and how many there were from either end.
fn up(
    (a, b): (Site, Site),
    conditions: Option<Conditions>,
    mut change: impl FnMut(&Datagram) -> Vec<(Duration, Datagram)> + 'static,
) -> (Sim, NodeId, NodeId, [usize; 2]) {
    let mut sim = Sim::new(7);
    let (a, b) = (sim.add(a), sim.add(b));
    let from_a = sim.address(a);
    let counts = std::rc::Rc::new(std::cell::Cell::new([0, 0]));
    let seen = std::rc::Rc::clone(&counts);
    if let Some(conditions) = conditions {
        sim.set_conditions(conditions);
    }
    sim.set_hook(Some(Box::new(move |_, datagram| {
        if !is_fragment(datagram) {
            return vec![(Duration::ZERO, datagram.clone())];
        }
        let mut count = seen.get();
        count[usize::from(datagram.from.ip() != from_a)] += 1;
        seen.set(count);
        change(datagram)
    })));
    sim.initiate(a, b);
    let took = sim.run_until(400 * SECOND, |sim| sim.carries(a, b));
    assert!(took.is_some(), "{:?} {:?}", sim.tombstones(a), sim.tombstones(b));
    let counts = counts.get();
    (sim, a, b, counts)
}

fn as_is(datagram: &Datagram) -> Vec<(Duration, Datagram)> {
    vec![(Duration::ZERO, datagram.clone())]
}

#[test]
fn both_ends_must_announce_it_and_each_decides_for_itself() {
    for (ours, theirs, expected) in [
        ("yes", "yes", [true, true]),
        ("force", "force", [true, true]),
        ("yes", "accept", [true, false]),
        ("accept", "yes", [false, true]),
        ("yes", "no", [false, false]),
        ("no", "yes", [false, false]),
        ("force", "no", [false, false]),
    ] {
        let (.., [from_a, from_b]) = up(sites(ours, theirs), None, as_is);
        assert_eq!([from_a > 1, from_b > 1], expected, "{ours} {theirs}: {from_a} {from_b}");
    }
}

#[test]
fn with_the_usual_size_short_messages_stay_whole() {
    let (a, b) = sites("yes", "yes");
    let usual = |site: Site| site.settings(|s| s.fragment_size = 1280);
    let (.., counts) = up((usual(a), usual(b)), None, as_is);
    assert_eq!(counts, [0, 0]);
}

#[test]
fn order_and_repetition_do_not_matter() {
    let late = |d: &Datagram| vec![(Duration::from_millis(50 / u64::from(number(d))), d.clone())];
    up(sites("yes", "yes"), None, late);
    let twice = |d: &Datagram| vec![(Duration::ZERO, d.clone()), (Duration::from_millis(1), d.clone())];
    up(sites("yes", "yes"), None, twice);
}

#[test]
fn a_lost_fragment_makes_the_whole_message_come_again() {
    for conditions in [Conditions::losing(100), Conditions::losing(300)] {
        up(sites("yes", "yes"), Some(conditions), as_is);
    }
    let mut first = true;
    let lose_one = move |d: &Datagram| {
        if std::mem::take(&mut first) { Vec::new() } else { vec![(Duration::ZERO, d.clone())] }
    };
    let (_, _, _, [from_a, _]) = up(sites("yes", "yes"), None, lose_one);
    assert!(from_a >= 4, "{from_a}");
}

#[test]
fn only_the_first_fragment_of_a_repeated_request_is_answered() {
    let requests = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let kept = std::rc::Rc::clone(&requests);
    let (mut sim, _, b, _) = up(sites("yes", "yes"), None, move |d| {
        kept.borrow_mut().push(d.clone());
        vec![(Duration::ZERO, d.clone())]
    });
    let from_a: Vec<Datagram> = requests.borrow().iter().filter(|d| d.to.ip() == sim.address(b)).cloned().collect();
    for datagram in from_a {
        let before = sim.snapshots(b)[0].retransmissions.answered;
        let first = number(&datagram) == 1;
        sim.set_hook(None);
        sim.inject(datagram);
        sim.run_for(SECOND);
        assert_eq!(sim.snapshots(b)[0].retransmissions.answered, before + u32::from(first));
    }
}

#[test]
fn forged_fragments_are_not_kept_and_do_no_harm() {
    let forge = |d: &Datagram| {
        let changed = |at: usize| {
            let mut forged = d.clone();
            let at = at % forged.bytes.len();
            forged.bytes[at] ^= 1;
            (Duration::ZERO, forged)
        };
        // Number, total, IV, ciphertext, checksum; all of them before the true one.
        let mut all: Vec<_> = [28, 33, 35, 36, 50, 70, d.bytes.len() - 1].into_iter().map(changed).collect();
        all.push((Duration::from_millis(1), d.clone()));
        all
    };
    let (sim, a, b, [from_a, from_b]) = up(sites("yes", "yes"), None, forge);
    // Each forged one of the first division was counted as what it is.
    let refused = |node| {
        sim.dropped(node, DropReason::IntegrityCheckFailed)
            + sim.dropped(node, DropReason::Malformed)
            + sim.dropped(node, DropReason::UnexpectedMessageId)
            + sim.dropped(node, DropReason::UnexpectedResponse)
    };
    assert!(refused(b) >= from_a as u64 && refused(a) >= from_b as u64, "{} {}", refused(a), refused(b));
}

/// RFC 7383 section 2.5.2: the path takes less than is configured, and loses what is longer. Either end divides its long messages into
/// smaller ones when they get no answer, and goes on so.
#[test]
fn a_path_that_takes_less_is_found_by_either_end() {
    let long = |name: &str| format!("{name}.{}.example", ["label"; 40].join("."));
    for (ours, theirs) in [(true, false), (false, true), (true, true)] {
        let site = |name: &str, own: &str, peer: &str, is_long: bool| {
            let site = Site::new(name, own).to(peer).connection("proposals = aes128gcm16-prfsha256-x25519");
            if is_long { site.local_id(Some(&long(name))) } else { site }
        };
        let mut sim = Sim::new(7);
        let a = sim.add(site("a", "192.0.2.1", "192.0.2.2", ours));
        let b = sim.add(site("b", "192.0.2.2", "192.0.2.1", theirs));
        let narrow = |datagram: &Datagram| datagram.bytes.len() <= 576 - 28;
        sim.set_hook(Some(Box::new(
            move |_, d| if narrow(d) { vec![(Duration::ZERO, d.clone())] } else { Vec::new() },
        )));
        sim.initiate(a, b);
        let took = sim.run_until(30 * SECOND, |sim| sim.carries(a, b));
        assert!(took.is_some(), "{ours} {theirs}: {:?}", sim.tombstones(a));
        // What follows is small from the beginning.
        let sent = sim.wire.len();
        let child = proto::Selection { child: Some("net".into()), ..proto::Selection::default() };
        let (maker, rekeyed) =
            (if ours { a } else { b }, |sim: &Sim| sim.plane(a).installs == 2 && sim.plane(b).installs == 2);
        sim.with(maker, |endpoint, now| endpoint.rekey(now, &child));
        assert!(sim.run_until(SECOND, rekeyed).is_some());
        assert!(sim.wire[sent..].iter().all(|(_, datagram)| narrow(datagram)));
    }
}
