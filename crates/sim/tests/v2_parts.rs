//! A policy in several Child SAs (RFC 7296 section 2.9): ADDITIONAL_TS_POSSIBLE and SINGLE_PAIR_REQUIRED, in both roles. And what
//! the ends say about padding (section 1.3.1).

use model::dataplane::{PlaneEvent, TfcPadding};
use model::{Event, Role, SaId};
use proto::Selection;
use sim::{Datagram, NodeId, Opened, Peer, Sim, Site};
use std::net::SocketAddr;
use std::time::Duration;
use wire::{ExchangeType, NotifyType};

const SECOND: Duration = Duration::from_secs(1);

/// An end with these children.
fn site(name: &str, own: &str, peer: &str, children: &str) -> Site {
    Site::new(name, own).text(&format!(
        "connections {{ gw {{\n local_addrs = {own}\n remote_addrs = {peer}\n proposals = aes128gcm16-prfsha256-x25519\n mobike = no\n \
         local {{ auth = psk\n id = {name}.example }}\n remote {{ auth = psk }}\n children {{ {children} }} }} }}\n\
         secrets {{ ike-all {{ secret = swordfish }} }}\n"
    ))
}

fn child(name: &str, local: &str, remote: &str, more: &str) -> String {
    format!("{name} {{ local_ts = {local}\n remote_ts = {remote}\n esp_proposals = aes128gcm16\n {more} }}\n")
}

/// One network here, several in two children there.
fn ends(here: &str, there: &[&str]) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(29);
    let a = sim.add(site("a", "192.0.2.1", "192.0.2.2", &child("net", "10.1.0.0/16", here, "")));
    let parts: String = there.iter().zip('a'..).map(|(ts, n)| child(&format!("p{n}"), ts, "10.1.0.0/16", "")).collect();
    let b = sim.add(site("b", "192.0.2.2", "192.0.2.1", &parts));
    (sim, a, b)
}

fn remotes(sim: &Sim, node: NodeId) -> Vec<String> {
    let texts = |i: &model::dataplane::ChildInstall| i.remote_ts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut all: Vec<String> = sim.plane(node).installed().map(|i| texts(i).join(" ")).collect();
    all.sort();
    all
}

#[test]
fn what_the_peer_takes_in_an_sa_of_its_own_is_asked_for() {
    for (here, there, expected) in [
        ("10.2.0.0/16", &["10.2.1.0/24", "10.2.2.0/24"][..], &["10.2.1.0/24", "10.2.2.0/24"][..]),
        ("10.2.0.0/16, 10.3.0.0/16", &["10.3.0.0/16", "10.2.0.0/16"], &["10.2.0.0/16", "10.3.0.0/16"]),
        ("0.0.0.0/0", &["10.2.1.0/24", "10.2.3.0/24", "10.9.0.0/16"], &["10.2.1.0/24", "10.2.3.0/24", "10.9.0.0/16"]),
        ("10.2.0.0/16", &["10.2.1.0/24"], &["10.2.1.0/24"]),
        ("10.2.0.0/16", &["10.2.0.0/16", "10.2.1.0/24"], &["10.2.0.0/16"]),
    ] {
        let (mut sim, a, b) = ends(here, there);
        sim.initiate(a, b);
        sim.run_for(10 * SECOND);
        assert_eq!((remotes(&sim, a).as_slice(), sim.pairs(a, b)), (expected.map_strings().as_slice(), expected.len()));
        assert_eq!(sim.plane(a).installs, expected.len(), "nothing is made twice");
        let messages = sim.wire.len();
        assert_eq!(messages, 4 + 2 * (expected.len() - 1), "and nothing asked for in vain");
        // Each is rekeyed by itself, from either end, and an IKE SA beside it has all of them.
        for node in [a, b] {
            let all = Selection { ike: Some("gw".into()), child: None, ..Selection::default() };
            let names: Vec<String> = sim.snapshots(node)[0].children.iter().map(|c| c.name.clone()).collect();
            for name in names {
                let one = Selection { child: Some(name), ..all.clone() };
                sim.with(node, |endpoint, now| endpoint.rekey(now, &one));
                sim.run_for(5 * SECOND);
            }
            assert_eq!((remotes(&sim, a), sim.pairs(a, b)), (expected.map_strings(), expected.len()));
        }
        assert_eq!(sim.with(a, |endpoint, now| endpoint.reauthenticate(now, &Selection::default())), 1);
        sim.run_for(30 * SECOND);
        assert_eq!((remotes(&sim, a), sim.pairs(a, b)), (expected.map_strings(), expected.len()), "{here}");
        assert_eq!(sim.endpoint(a).sizes(), (1, 0));
    }
}

trait Strings {
    fn map_strings(&self) -> Vec<String>;
}

impl Strings for [&str] {
    fn map_strings(&self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }
}

fn packet(sim: &mut Sim, node: NodeId, trap: SaId, source: &str, destination: &str) {
    let (source, destination) =
        (format!("{source}:4711").parse().unwrap(), format!("{destination}:80").parse().unwrap());
    sim.report(node, PlaneEvent::Acquire { trap, source, destination, protocol: 6 });
    sim.run_for(5 * SECOND);
}

#[test]
fn a_peer_that_wants_single_pairs_gets_one_for_each_packet_that_asks() {
    for ours_too in [false, true] {
        let mut sim = Sim::new(34);
        let own = if ours_too { "single_pair = yes" } else { "" };
        let a = sim.add(site("a", "192.0.2.1", "192.0.2.2", &child("net", "10.1.0.0/16", "10.2.0.0/16", own)));
        let b = child("net", "10.2.0.0/16", "10.1.0.0/16", "single_pair = yes");
        let b = sim.add(site("b", "192.0.2.2", "192.0.2.1", &b));
        // No packet says which pair: the IKE SA stands, and a trap waits.
        sim.initiate(a, b);
        sim.run_for(5 * SECOND);
        assert_eq!((sim.pairs(a, b), sim.endpoint(a).sizes(), sim.plane(a).traps().count()), (0, (1, 0), 1));
        let refused =
            |sim: &Sim, node| sim.tombstones(node).iter().map(|t| t.failure.kind.to_string()).collect::<Vec<_>>();
        assert!(refused(&sim, a).iter().any(|text| text.contains("SINGLE_PAIR_REQUIRED")), "{:?}", refused(&sim, a));
        // Both ends have the same networks, so those are not to blame.
        assert_eq!(
            refused(&sim, b),
            ["the peer asks for several pairs of addresses in one Child SA, which single_pair forbids"]
        );
        let trap = sim.plane(a).traps().next().unwrap().trap;
        let mut expected = Vec::new();
        for (source, destination) in [("10.1.0.9", "10.2.0.1"), ("10.1.0.9", "10.2.0.7"), ("10.1.3.3", "10.2.0.1")] {
            packet(&mut sim, a, trap, source, destination);
            packet(&mut sim, a, trap, source, destination);
            expected.push((source.to_string(), destination.to_string()));
            let pairs: Vec<(String, String)> = sim
                .plane(a)
                .installed()
                .map(|i| (i.local_ts[0].start.to_string(), i.remote_ts[0].start.to_string()))
                .collect();
            assert_eq!((&pairs, sim.pairs(a, b)), (&expected, expected.len()));
            let single =
                |i: &model::dataplane::ChildInstall| i.local_ts.iter().chain(&i.remote_ts).all(|ts| ts.start == ts.end);
            assert!(sim.plane(a).installed().all(single) && sim.plane(b).installed().all(single));
        }
        // One that begins with the packet, in IKE_AUTH.
        sim.terminate(a, &Selection::default());
        sim.run_for(5 * SECOND);
        packet(&mut sim, a, trap, "10.1.0.9", "10.2.0.1");
        assert_eq!((sim.pairs(a, b), sim.endpoint(b).sizes()), (1, (1, 0)));
    }
}

/// A peer written by hand, and what it hears in the answer to its IKE_AUTH with these notifications.
fn answered(b: Site, own: &str, other: &str, notifies: &[NotifyType]) -> (Opened, Vec<TfcPadding>) {
    let (from, to): (SocketAddr, SocketAddr) = ("192.0.2.1:500".parse().unwrap(), "192.0.2.2:500".parse().unwrap());
    let mut sim = Sim::new(1);
    let node = sim.add(b);
    let mut peer = Peer::new(Role::Initiator, 5);
    let mut give = |bytes: Vec<u8>| {
        sim.inject(Datagram { from, to, bytes, keepalive: false });
        sim.run_for(Duration::from_millis(30));
        std::mem::take(&mut sim.undelivered).remove(0).bytes
    };
    let init = peer.init(&peer.init_parts());
    let answer = give(init);
    assert!(peer.take_init(&answer));
    let mut parts = peer.auth_parts("a.example", b"swordfish", own, other);
    let notify = |kind: &NotifyType| (wire::PayloadType::NOTIFY, [&[0, 0][..], &kind.0.to_be_bytes()].concat());
    parts.extend(notifies.iter().map(notify));
    let auth = peer.protected(ExchangeType::IKE_AUTH, 1, false, &parts);
    let answer = give(auth);
    (peer.open(&answer).unwrap(), sim.plane(node).installed().map(|i| i.tfc_padding).collect())
}

#[test]
fn the_responder_says_so_only_where_there_is_more() {
    let two = child("low", "10.2.1.0/24", "10.1.0.0/16", "") + &child("high", "10.2.2.0/24", "10.1.0.0/16", "");
    for (other, more) in [("10.2.0.0/16", true), ("10.2.1.0/24", false), ("10.2.1.7", false), ("10.0.0.0/8", true)] {
        let (answer, _) = answered(site("b", "192.0.2.2", "192.0.2.1", &two), "10.1.0.0/16", other, &[]);
        assert_eq!(answer.notifies().contains(&NotifyType::ADDITIONAL_TS_POSSIBLE.0), more, "{other}");
    }
    let single = child("net", "10.2.0.0/16", "10.1.0.0/16", "single_pair = yes");
    for (own, other, notify) in [
        ("10.1.0.0/16", "10.2.0.0/16", Some(NotifyType::SINGLE_PAIR_REQUIRED)),
        ("10.1.0.1", "10.2.0.1", None),
        ("10.7.0.0/16", "10.2.0.0/16", Some(NotifyType::TS_UNACCEPTABLE)),
    ] {
        let (answer, installed) = answered(site("b", "192.0.2.2", "192.0.2.1", &single), own, other, &[]);
        let error = answer.notifies().into_iter().find(|kind| *kind < 16384);
        assert_eq!((error, installed.len()), (notify.map(|n| n.0), usize::from(notify.is_none())));
    }
}

#[test]
fn packets_are_padded_where_the_peer_takes_that() {
    let padded = |more: &str| site("b", "192.0.2.2", "192.0.2.1", &child("net", "192.0.2.2", "192.0.2.1", more));
    let not = NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED;
    for (more, notifies, padding, says) in [
        ("tfc_padding = mtu", &[][..], TfcPadding::Mtu, false),
        ("tfc_padding = 1200", &[], TfcPadding::To(1200), false),
        ("", &[], TfcPadding::None, false),
        ("tfc_padding = mtu", &[not], TfcPadding::None, false),
        // In transport mode nobody could take it off.
        ("tfc_padding = mtu\nmode = transport", &[NotifyType::USE_TRANSPORT_MODE], TfcPadding::None, true),
        ("tfc_padding = mtu\nmode = transport", &[], TfcPadding::Mtu, false),
    ] {
        let (answer, installed) = answered(padded(more), "192.0.2.1", "192.0.2.2", notifies);
        assert_eq!(installed, [padding], "{more} {notifies:?}");
        assert_eq!(answer.notifies().contains(&not.0), says, "{more} {notifies:?}");
    }
    // As the initiator, and in the Child SAs that follow.
    let mut sim = Sim::new(7);
    let a = sim.add(Site::new("a", "192.0.2.1").to("192.0.2.2").child("tfc_padding = 999"));
    let b = sim.add(Site::new("b", "192.0.2.2").to("192.0.2.1"));
    sim.initiate(a, b);
    sim.run_for(SECOND);
    for _ in 0..2 {
        let of = |node| sim.plane(node).installed().map(|i| i.tfc_padding).collect::<Vec<_>>();
        assert_eq!((of(a), of(b)), (vec![TfcPadding::To(999)], vec![TfcPadding::None]));
        let one = Selection { child: Some("net".into()), ..Selection::default() };
        assert_eq!(sim.with(b, |endpoint, now| endpoint.rekey(now, &one)), 1);
        sim.run_for(5 * SECOND);
    }
    assert_eq!(sim.events(a).filter(|(_, event)| matches!(event, Event::ChildUp(_))).count(), 3);
}
