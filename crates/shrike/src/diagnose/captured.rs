//! Captures alone, without keys: one fault each, with and without a translator between the ends, as either end has them.

use super::*;
use capture::Datagram;
use sim::{Block, Happened, Nat, NodeId, Sim, Site};
use std::net::IpAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";
const PUBLIC: &str = "203.0.113.9";

const V2: &[&str] = &["proposals = aes128-sha256-x25519"];
const MAIN: &[&str] = &["version = 1", "proposals = aes128-sha256-x25519"];
const AGGRESSIVE: &[&str] = &["version = 1", "proposals = aes128-sha256-x25519", "aggressive = yes"];

fn site(name: &str, address: &str, peer: &str, lines: &[&str]) -> Site {
    lines.iter().fold(Site::new(name, address).to(peer), |site, line| site.connection(line))
}

/// The two ends, the first one behind a translator or not.
fn ends(lines: &[&str], translated: bool) -> (Site, Site) {
    let a = site("a", A, B, lines);
    if translated {
        let b = site("b", B, "%any", lines);
        let b = b.child("local_ts = 10.2.0.0/16").child("remote_ts = 10.1.0.0/16");
        let a = a.behind(Nat::new(PUBLIC.parse().unwrap()));
        return (a.child("local_ts = 10.1.0.0/16").child("remote_ts = 10.2.0.0/16"), b);
    }
    (a, site("b", B, A, lines))
}

type Act<'a> = &'a dyn Fn(&mut Sim, NodeId, NodeId, u32);

/// Runs it for ten minutes; whoever has no SA begins every 30 s. What each end captured.
fn recorded((a, b): (Site, Site), act: Act<'_>) -> [Unused; 2] {
    let mut sim = Sim::new(11);
    let (a, b) = (sim.add(a), sim.add(b));
    for round in 0..60 {
        act(&mut sim, a, b, round);
        if round % 3 == 0 && sim.snapshots(a).is_empty() {
            let _ = sim.try_initiate(a, b);
        }
        sim.run_for(10 * SECOND);
    }
    [a, b].map(|node| of_node(&sim, node))
}

/// What a node captured.
fn of_node(sim: &Sim, node: NodeId) -> Unused {
    with_keys(sim, node, Keys::default())
}

/// What a node captured, read with keys.
fn with_keys(sim: &Sim, node: NodeId, keys: Keys) -> Unused {
    let mut tracker = Tracker::with_keys(keys);
    for entry in sim.happened(node) {
        let (Happened::Sent(datagram) | Happened::Received(datagram)) = &entry.what else { continue };
        if !datagram.keepalive {
            let (source, destination) = (datagram.from, datagram.to);
            let content = Content::Ike(&datagram.bytes);
            tracker.take(entry.at.as_nanos(), &Datagram { source, destination, content });
        }
    }
    Unused { damaged: 0, tracks: tracker.finish(), end: sim.now().as_nanos() }
}

/// The causes of the worst finding above information, for each end and for both.
fn causes([a, mut b]: [Unused; 2]) -> [Vec<&'static str>; 3] {
    same_ends(&mut b.tracks.sas, &[&a.tracks.sas]);
    let of = |read: &Unused| diag::observed_until(&read.tracks.sas, read.end);
    let between = diag::between(
        diag::Capture { sas: &a.tracks.sas, end: a.end },
        diag::Capture { sas: &b.tracks.sas, end: b.end },
    );
    let sourced = |source: &str, findings| Sourced { source: source.to_string(), findings };
    let both = diag::merged(vec![sourced("a", of(&a)), sourced("b", of(&b)), sourced("both", between)]);
    let worst = |findings: Vec<Finding>| {
        let above = findings.into_iter().filter(|f| f.severity > Severity::Info).rev().max_by_key(|f| f.severity);
        above.map(|f| f.causes.iter().map(|cause| cause.code()).collect()).unwrap_or_default()
    };
    [worst(of(&a)), worst(of(&b)), worst(both)]
}

fn blocked(from: Option<&str>, to: Option<&str>, port: Option<u16>) -> Block {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    Block { from: from.map(address), to: to.map(address), port }
}

fn terminate(sim: &mut Sim, node: NodeId) {
    sim.terminate(node, &proto::Selection { ike: Some("gw".into()), ..proto::Selection::default() });
}

/// What must be first, or among the causes.
enum Must {
    First(&'static str),
    Among(&'static str),
}
use Must::{Among, First};

#[test]
fn one_fault_each() {
    let nothing: Act<'_> = &|_, _, _, _| {};
    let mut wrong = String::new();
    let mut count = 0;
    let mut case = |name: &str, sites: (Site, Site), act: Act<'_>, musts: [Must; 3]| {
        count += 1;
        let found = causes(recorded(sites, act));
        for ((who, found), must) in ["a", "b", "both"].iter().zip(&found).zip(musts) {
            let good = match must {
                First(code) => found.first() == Some(&code),
                Among(code) => found.contains(&code) || code.is_empty(),
            };
            println!("{name:<50} {who:<5} {}", found.join(" "));
            if !good {
                let _ = writeln!(wrong, "{name}: {who}: {found:?}");
            }
        }
    };
    let ways = [("v2", V2), ("main", MAIN), ("aggressive", AGGRESSIVE)];
    for (way, lines) in ways {
        for translated in [false, true] {
            let name = |what: &str| format!("{what}, {way}{}", if translated { ", NAT" } else { "" });
            let ends = || ends(lines, translated);
            // Rows 5 to 8 of the table: other secrets.
            let (a, b) = ends();
            let psk = || [Among("PSK_MISMATCH"), Among("PSK_MISMATCH"), First("PSK_MISMATCH")];
            case(&name("other secret"), (a, b.secret(Some("other"))), nothing, psk());
            // Row 25: the peer dies, again and again.
            let (a, b) = ends();
            let act: Act<'_> = &|sim, _, b, round| match round % 15 {
                5 => sim.suspend(b),
                12 => sim.restart(b),
                _ => {}
            };
            let lost = || [First("DPD_TIMEOUT"), Among(""), First("DPD_TIMEOUT")];
            case(&name("dies again and again"), (a.connection("dpd_delay = 10s"), b), act, lost());
            // Row 27: the peer deletes what is up.
            let act: Act<'_> = &|sim, _, b, round| {
                if round % 6 == 5 {
                    terminate(sim, b);
                }
            };
            let deleted = || [First("PEER_DELETE"), First("PEER_DELETE"), First("PEER_DELETE")];
            case(&name("peer deletes every minute"), ends(), act, deleted());
            // Row 31: it restarts and forgets, every 100 s.
            let act: Act<'_> = &|sim, a, b, round| {
                if round % 10 == 9 {
                    sim.restart(b);
                    sim.restart(a);
                }
            };
            let replaced = || [Among("DPD_TIMEOUT"), Among("DPD_TIMEOUT"), Among("DPD_TIMEOUT")];
            case(&name("both restart every 100 s"), ends(), act, replaced());
        }
        // Row 14: port 4500 is blocked on the way there, or on the way back.
        for (what, from, to) in [("there", None, Some(B)), ("back", Some(B), None)] {
            let mut sites = ends(lines, true);
            sites.0 = sites.0.connection("dpd_delay = 10s");
            let block = blocked(from, to, (what == "there").then_some(4500));
            let act: Act<'_> = &|sim, _, _, round| {
                if round == 0 {
                    sim.blocks.push(block);
                }
            };
            let musts = if what == "there" {
                [Among("NATT"), Among("NATT"), First("NATT")]
            } else {
                [Among("NO_RESPONSE"), Among("NO_RESPONSE"), First("NO_RESPONSE")]
            };
            case(&format!("blocked on the way {what}, {way}, NAT"), sites, act, musts);
        }
    }
    for (way, lines) in ways {
        let name = |what: &str| format!("{what}, {way}, NAT");
        let ends = || ends(lines, true);
        let other = |line: &str| {
            let kept: Vec<&str> = lines.iter().copied().filter(|line| !line.starts_with("proposals")).collect();
            site("b", B, "%any", &[&kept[..], &[line]].concat())
        };
        let all = |code| [Among(code), Among(code), Among(code)];
        // Rows 3, 9, 18 and 20, which a translator in between does not hide.
        case(&name("other cipher"), (ends().0, other("proposals = aes256-sha256-x25519")), nothing, all("P1_PROPOSAL"));
        let (a, b) = ends();
        case(&name("they expect another identity"), (a, b.remote_id("other.example")), nothing, all("PEER_ID"));
        let (a, b) = ends();
        let (a, b) = (a.child("esp_proposals = aes128gcm16"), b.child("esp_proposals = aes256-sha512"));
        case(&name("other ESP cipher"), (a, b), nothing, all("CHILD_FAILED_IKE_KEPT"));
        // Row 28: both begin at the same moment, and the SAs do not live long.
        let act: Act<'_> = &|sim, a, b, round| {
            if round % 5 == 0 {
                for node in [a, b] {
                    terminate(sim, node);
                }
                sim.run_for(SECOND);
                let _ = (sim.try_initiate(a, b), sim.try_initiate(b, a));
            }
        };
        case(&format!("both begin every 50 s, {way}"), self::ends(lines, false), act, all("COLLISION"));
    }
    // Rows 12 and 13.
    let all = |code| [Among(code), Among(code), Among(code)];
    let any = |lines: &[&str]| site("b", B, "%any", lines);
    case("aggressive mode there, main, NAT", (ends(MAIN, true).0, any(AGGRESSIVE)), nothing, all("NEGOTIATION_MODE"));
    case("main mode there, aggressive, NAT", (ends(AGGRESSIVE, true).0, any(MAIN)), nothing, all("NEGOTIATION_MODE"));
    case("IKEv1 there, v2, NAT", (ends(V2, true).0, any(MAIN)), nothing, all("IKE_VERSION"));
    case(
        "IKEv2 there, main, NAT",
        (ends(MAIN, true).0, any(&[V2, &["version = 2"]].concat())),
        nothing,
        all("IKE_VERSION"),
    );
    // Row 21: what IKE_AUTH agreed upon without a group is refused at each rekeying.
    let (a, b) = ends(V2, false);
    let (a, b) = (
        a.child("esp_proposals = aes128-sha256-x25519").child("rekey_time = 60s"),
        b.child("esp_proposals = aes128-sha256"),
    );
    case("PFS at one end, v2", (a, b), nothing, [First("PFS"), First("PFS"), First("PFS")]);
    // Row 18, where the answer of IKE_AUTH has no Child SA.
    let (a, b) = ends(V2, true);
    let child = || [Among("TRAFFIC_SELECTOR"), Among("TRAFFIC_SELECTOR"), Among("TRAFFIC_SELECTOR")];
    case("other networks, v2, NAT", (a, b.child("remote_ts = 10.99.0.0/16")), nothing, child());
    // Row 2.
    let elsewhere = site("b", B, "192.0.2.77", V2);
    let unknown = || [Among("NO_CONFIG"), Among("NO_CONFIG"), Among("NO_CONFIG")];
    case("no connection, v2, NAT", (ends(V2, true).0, elsewhere), nothing, unknown());
    println!("{count} captures of each end");
    assert!(wrong.is_empty(), "{wrong}");
}

/// Row 30: two sites with one identity, of which the hub keeps the newer one.
#[test]
fn two_sites_with_one_identity() {
    for lines in [V2, MAIN] {
        let mut sim = Sim::new(5);
        let site = |address: &str| {
            let site = site("a", address, B, lines).connection("unique = never");
            site.child("local_ts = 10.1.0.0/16").child("remote_ts = 10.2.0.0/16")
        };
        let (one, other) = (sim.add(site(A)), sim.add(site("192.0.2.3")));
        let hub = self::site("b", B, "%any", lines).connection("unique = replace");
        let hub = sim.add(hub.child("local_ts = 10.2.0.0/16").child("remote_ts = 10.1.0.0/16"));
        for round in 0..16 {
            let node = if round % 2 == 0 { one } else { other };
            if sim.snapshots(node).is_empty() {
                sim.initiate(node, hub);
            }
            sim.run_for(25 * SECOND);
        }
        let read = of_node(&sim, hub);
        let found = diag::observed_until(&read.tracks.sas, read.end);
        let worst = found.iter().max_by_key(|f| f.severity).unwrap();
        let codes: Vec<&str> = worst.causes.iter().map(|cause| cause.code()).collect();
        assert_eq!((worst.severity, codes[0]), (Severity::Error, "PEER_DELETE"), "{found:#?}");
        assert!(worst.evidence.iter().any(|line| line.contains("two sites with one identity")), "{found:#?}");
    }
}

/// What renews itself, or is asked whether it lives, behind a translator.
#[test]
fn what_is_in_order_gives_no_finding_in_a_capture() {
    for lines in [V2, MAIN, AGGRESSIVE] {
        for more in [&["reauth_time = 100s"][..], &["rekey_time = 60s"], &["dpd_delay = 10s"]] {
            let lines = [lines, more].concat();
            let found = causes(recorded(ends(&lines, true), &|_, _, _, _| {}));
            assert!(found.iter().all(Vec::is_empty), "{lines:?}: {found:?}");
        }
    }
}

/// With keys the DELETE is read, however long after the SA was made, and what is none is no end.
#[test]
fn who_deletes_is_read_with_keys() {
    for lines in [V2, MAIN] {
        let (a, b) = ends(lines, false);
        let mut sim = Sim::new(7);
        let (a, b) = (sim.add(a.connection("dpd_delay = 30s")), sim.add(b));
        for _ in 0..6 {
            sim.initiate(a, b);
            sim.run_for(100 * SECOND);
            terminate(&mut sim, b);
            sim.run_for(SECOND);
        }
        let table = sim.decryption_tables(a);
        let read = with_keys(&sim, a, Keys::parse(table.as_bytes()));
        let found = diag::observed_until(&read.tracks.sas, read.end);
        let worst = found.iter().max_by_key(|f| f.severity).unwrap();
        let codes: Vec<&str> = worst.causes.iter().map(|cause| cause.code()).collect();
        assert_eq!((worst.severity, codes[0]), (Severity::Error, "PEER_DELETE"), "{found:#?}");
        let text = worst.evidence.join("; ");
        assert!(text.contains("are deleted by 192.0.2.2") && worst.why.contains("every 101 s"), "{found:#?}");
    }
}

/// IPv4 packets with this datagram, each of which has no more than so many octets of content.
fn packets(datagram: &sim::Datagram, id: u16, most: usize) -> Vec<Vec<u8>> {
    let marked = [datagram.from.port(), datagram.to.port()].contains(&4500);
    let marker: &[u8] = if marked { &[0; 4] } else { &[] };
    let length = u16::try_from(8 + marker.len() + datagram.bytes.len()).unwrap();
    let ports = [datagram.from.port(), datagram.to.port()].map(u16::to_be_bytes).concat();
    let content = [&ports, &length.to_be_bytes()[..], &[0; 2], marker, &datagram.bytes].concat();
    let addresses: Vec<u8> = [datagram.from.ip(), datagram.to.ip()]
        .iter()
        .flat_map(|address| match address {
            IpAddr::V4(address) => address.octets(),
            IpAddr::V6(address) => panic!("{address}"),
        })
        .collect();
    let pieces: Vec<&[u8]> = content.chunks(most).collect();
    let packet = |(at, piece): (usize, &&[u8])| {
        let more = if at + 1 < pieces.len() { 0x2000 } else { 0 };
        let total = u16::try_from(20 + piece.len()).unwrap().to_be_bytes();
        let place = (u16::try_from(at * most / 8).unwrap() | more).to_be_bytes();
        [&[0x45, 0][..], &total, &id.to_be_bytes(), &place, &[64, 17, 0, 0], &addresses, piece].concat()
    };
    pieces.iter().enumerate().map(packet).collect()
}

/// What a node captured, in fragments of IP of which the last comes first; some are left out.
fn in_fragments(sim: &Sim, node: NodeId, keys: Keys, most: usize, lost: impl Fn(&sim::Datagram) -> bool) -> Unused {
    let mut tracker = Tracker::with_keys(keys);
    for (id, entry) in (0..).zip(sim.happened(node)) {
        let (Happened::Sent(datagram) | Happened::Received(datagram)) = &entry.what else { continue };
        if datagram.keepalive {
            continue;
        }
        let packets = packets(datagram, id, most);
        let left_out = usize::from(packets.len() > 1 && lost(datagram));
        for packet in packets.iter().rev().skip(left_out) {
            tracker.take(entry.at.as_nanos(), &capture::decapsulate(capture::LinkType(101), packet).unwrap());
        }
    }
    Unused { damaged: 0, tracks: tracker.finish(), end: sim.now().as_nanos() }
}

/// Fragments of IP hide nothing from keys.
#[test]
fn what_came_in_fragments_of_ip_is_opened() {
    for lines in [V2, MAIN, AGGRESSIVE] {
        for translated in [false, true] {
            let (a, b) = ends(lines, translated);
            let mut sim = Sim::new(7);
            let (a, b) = (sim.add(a.connection("dpd_delay = 30s")), sim.add(b));
            sim.initiate(a, b);
            sim.run_for(100 * SECOND);
            let table = sim.decryption_tables(a);
            let read = |most| in_fragments(&sim, a, Keys::parse(table.as_bytes()), most, |_| false).tracks;
            let (whole, torn) = (read(1480), read(64));
            assert!(whole.sas.iter().flat_map(|sa| &sa.messages).any(|m| m.inside.is_some()), "{lines:?}");
            assert_eq!((whole.sas, whole.keys), (torn.sas, torn.keys), "{lines:?}");
            assert!(torn.pieces.whole > 3 && torn.fragments == 0, "{:?}", torn.pieces);
        }
    }
}

/// Row 16: the path drops fragments, and a message in fragments is not there for the receiver.
#[test]
fn fragments_that_never_come_are_told() {
    for lines in [V2, MAIN] {
        let (a, b) = ends(lines, false);
        let mut sim = Sim::new(7);
        let (a, b) = (sim.add(a), sim.add(b));
        let long = |datagram: &sim::Datagram| datagram.from.ip() == A.parse::<IpAddr>().unwrap();
        // The first message passes: it is short where certificates are not.
        let _ = sim.try_initiate(a, b);
        sim.run_for(Duration::from_millis(1));
        sim.blocks.push(blocked(Some(A), None, None));
        sim.run_for(60 * SECOND);
        let read = in_fragments(&sim, a, Keys::default(), 200, long);
        let found = diag::observed_until(&read.tracks.sas, read.end);
        let worst = found.iter().max_by_key(|f| f.severity).unwrap();
        assert_eq!((worst.severity, worst.causes[0].code()), (Severity::Error, "P1_TIMEOUT"), "{found:#?}");
        assert!(worst.evidence.iter().any(|line| line.contains("fragments of IP")), "{found:#?}");
    }
}

/// The responder's answer told the initiator of the NAT, and what comes next goes to port 4500.
#[test]
fn a_responder_that_hears_no_more_behind_a_nat_names_port_4500() {
    for translated in [false, true] {
        let mut sim = Sim::new(11);
        let (a, b) = ends(V2, translated);
        let (a, b) = (sim.add(a), sim.add(b));
        sim.blocks.push(blocked(None, None, Some(4500)));
        let _ = sim.try_initiate(a, b);
        sim.run_for(60 * SECOND);
        let found = diag::live(&score::over_vici(&sim, b));
        let causes: Vec<&str> = found[0].causes.iter().map(|cause| cause.code()).collect();
        match translated {
            true => assert_eq!(causes, ["NATT", "HALF_OPEN", "NO_RESPONSE"], "{found:?}"),
            false => assert!(
                !found.iter().any(|f| f.severity == Severity::Error && f.causes[0] == diag::Cause::NatTraversal),
                "{found:?}"
            ),
        }
    }
}
