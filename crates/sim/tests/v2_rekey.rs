//! CREATE_CHILD_SA (RFC 7296 sections 1.3, 2.8, 2.18 and 2.25): rekeying of Child SAs and of the IKE SA by either end,
//! further Child SAs, refusals, collisions, and all of it over bad lines.

use model::dataplane::{Command, PlaneEvent};
use model::{ChildState, Event, FailureKind, IkeState, Role, SaId};
use proto::{Selection, Started};
use sim::{Conditions, Datagram, Happened, NodeId, Sim, Site};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use wire::{ExchangeType, Header};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn site_a() -> Site {
    Site::new("a", "192.0.2.1").to("192.0.2.2")
}

fn site_b() -> Site {
    Site::new("b", "192.0.2.2").to("192.0.2.1")
}

fn seeded(seed: u64, a: Site, b: Site) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(seed);
    let (a, b) = (sim.add(a), sim.add(b));
    sim.initiate(a, b);
    sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).expect("a tunnel");
    sim.settle(10 * SECOND);
    (sim, a, b)
}

fn tunnel(a: Site, b: Site) -> (Sim, NodeId, NodeId) {
    seeded(3, a, b)
}

fn the_child() -> Selection {
    Selection { child: Some("net".to_string()), ..Selection::default() }
}

fn the_ike_sa() -> Selection {
    Selection::default()
}

fn rekey(sim: &mut Sim, node: NodeId, what: &Selection) {
    assert_eq!(sim.with(node, |endpoint, now| endpoint.rekey(now, what)), 1);
}

/// SPIs of the installed Child SAs of a node.
fn spis(sim: &Sim, node: NodeId) -> Vec<u32> {
    sim.plane(node).installed().map(|i| i.inbound.spi).collect()
}

/// One IKE SA and one usable pair, the same at both ends, nothing else installed.
fn one_of_each(sim: &Sim, a: NodeId, b: NodeId) {
    let context = || format!("{:?} / {:?}", sim.snapshots(a), sim.snapshots(b));
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)), "{}", context());
    assert_eq!(sim.pairs(a, b), 1, "{}", context());
    assert_eq!((spis(sim, a).len(), spis(sim, b).len()), (1, 1), "{}", context());
    let (of_a, of_b) = (&sim.snapshots(a)[0], &sim.snapshots(b)[0]);
    assert_eq!(of_a.spis, of_b.spis);
    assert_ne!(of_a.role, of_b.role);
    for snapshot in [of_a, of_b] {
        assert_eq!(snapshot.state, IkeState::Established);
        assert_eq!(snapshot.children.len(), 1, "{}", context());
        assert_eq!(snapshot.children[0].state, ChildState::Installed, "{}", context());
    }
}

/// Runs in small steps and looks at each whether there is a usable pair.
fn always_a_pair(sim: &mut Sim, a: NodeId, b: NodeId, time: Duration, also: impl Fn(&Sim)) {
    let end = sim.now() + time;
    while sim.now() < end {
        sim.run_for(5 * MILLISECOND);
        assert!(sim.carries(a, b), "no pair installed at {:?}", sim.now());
        also(sim);
    }
}

/// The same, and what either end sends at any moment can be opened by the other.
fn never_without(sim: &mut Sim, a: NodeId, b: NodeId, time: Duration) {
    always_a_pair(sim, a, b, time, |sim| {
        for (from, to) in [(a, b), (b, a)] {
            let by = sim.plane(from).sending().expect("a Child SA").outbound.spi;
            assert!(sim.plane(to).receives(by), "at {:?} packets are sent that nobody can open", sim.now());
        }
    });
}

fn is(datagram: &Datagram, exchange: ExchangeType, response: bool) -> bool {
    Header::parse(&datagram.bytes).is_ok_and(|h| h.exchange == exchange && h.is_response() == response)
}

fn requests(sim: &Sim, node: NodeId, exchange: ExchangeType) -> usize {
    let sent = |e: &&sim::LogEntry| matches!(&e.what, Happened::Sent(d) if is(d, exchange, false));
    sim.happened(node).iter().filter(sent).count()
}

const PFS: &str = "esp_proposals = aes128gcm16-x25519";
const NO_PFS: &str = "esp_proposals = aes128gcm16";

// --------------------------------------------------------------------------------------------------------- Child SAs

/// What an end remembers of each Child SA that went: its number, and why.
fn gone(sim: &Sim, node: NodeId) -> Vec<(Option<u32>, FailureKind)> {
    let number = |t: &model::Tombstone| t.child.is_some().then_some(t.sa.id.0);
    sim.tombstones(node).iter().rev().map(|t| (number(t), t.failure.kind.clone())).collect()
}

#[test]
fn a_child_sa_is_replaced_by_a_child_sa() {
    let (mut sim, a, b) = tunnel(site_a(), site_b());
    for (number, node) in (2..).zip([a, b, a]) {
        rekey(&mut sim, node, &the_child());
        sim.run_for(5 * SECOND);
        for end in [a, b] {
            // Both ends count alike here; the IKE SA is number 1 all the time.
            assert_eq!(gone(&sim, end).last(), Some(&(Some(1), FailureKind::Replaced { by: SaId(number) })));
            assert_eq!(sim.snapshots(end)[0].children[0].id, SaId(number));
        }
    }
}

#[test]
fn either_end_rekeys_the_child_sa() {
    for line in [PFS, NO_PFS] {
        for initiator in [true, false] {
            let (mut sim, a, b) = tunnel(site_a().child(line), site_b().child(line));
            let node = if initiator { a } else { b };
            let (before, key) =
                (spis(&sim, a), sim.plane(a).installed().next().unwrap().inbound.encryption_key.clone());
            let reqid = sim.plane(a).installed().next().unwrap().reqid;
            rekey(&mut sim, node, &the_child());
            assert_eq!(sim.snapshots(node)[0].children[0].state, ChildState::Rekeying);
            never_without(&mut sim, a, b, SECOND);
            sim.settle(SECOND);
            one_of_each(&sim, a, b);
            assert_ne!(before, spis(&sim, a));
            let install = sim.plane(a).installed().next().unwrap();
            assert_ne!(key.expose(), install.inbound.encryption_key.expose());
            assert_eq!(install.reqid, reqid, "the same selectors keep their request ID");
            for end in [a, b] {
                assert!(matches!(sim.failure(end).kind, FailureKind::Replaced { .. }));
                assert_eq!(sim.tombstones(end)[0].child.as_deref(), Some("net"));
            }
            assert_eq!(requests(&sim, node, ExchangeType::CREATE_CHILD_SA), 1);
            assert_eq!(requests(&sim, node, ExchangeType::INFORMATIONAL), 1, "one Delete");
            let ke = sim.snapshots(a)[0].children[0].suite.unwrap().key_exchange;
            assert_eq!(ke.is_some(), line == PFS);
        }
    }
}

#[test]
fn the_responder_installs_before_it_answers() {
    let (mut sim, a, b) = tunnel(site_a(), site_b());
    let from = sim.happened(b).len();
    rekey(&mut sim, a, &the_child());
    sim.settle(SECOND);
    let order: Vec<bool> = sim.happened(b)[from..]
        .iter()
        .filter_map(|e| match &e.what {
            Happened::Plane(Command::Install(_)) => Some(true),
            Happened::Sent(d) if is(d, ExchangeType::CREATE_CHILD_SA, true) => Some(false),
            _ => None,
        })
        .collect();
    assert_eq!(order, [true, false]);
}

/// RFC 7296 section 2.8: the initiator keeps what a hasty responder sends before its answer is here; the responder sends by
/// the old one until the Delete comes, for the initiator may be about to load what it receives by.
#[test]
fn each_end_is_ready_for_a_hasty_other() {
    let (mut sim, a, b) = tunnel(site_a(), site_b());
    let from = sim.happened(a).len();
    rekey(&mut sim, a, &the_child());
    let order: Vec<bool> = sim.happened(a)[from..]
        .iter()
        .filter_map(|e| match &e.what {
            Happened::Plane(Command::Expect { .. }) => Some(true),
            Happened::Sent(d) if is(d, ExchangeType::CREATE_CHILD_SA, false) => Some(false),
            _ => None,
        })
        .collect();
    assert_eq!(order, [true, false], "it is ready before the peer can have the SPI");
    sim.run_until(SECOND, |sim| spis(sim, b).len() == 2).expect("the responder has both");
    let new = sim.plane(b).installed().last().unwrap();
    assert!(new.succeeds.is_some() && sim.plane(b).sending().unwrap().inbound.spi != new.inbound.spi);
    assert!(sim.plane(a).expects(new.outbound.spi), "not installed yet");
    sim.settle(SECOND);
    one_of_each(&sim, a, b);
    let installed = sim.plane(a).installed().next().unwrap();
    assert!(!sim.plane(a).expects(installed.inbound.spi));
    assert_eq!(sim.plane(b).sending().unwrap().outbound.spi, installed.inbound.spi);
    assert_eq!(sim.plane(a).violations, [] as [&str; 0]);
}

/// A Delete may overtake packets by the Child SA that it deletes (RFC 4303 has no order between SAs).
#[test]
fn what_was_replaced_receives_for_a_while() {
    let (mut sim, a, b) = tunnel(site_a(), site_b());
    rekey(&mut sim, a, &the_child());
    sim.settle(SECOND);
    one_of_each(&sim, a, b);
    for node in [a, b] {
        assert_eq!(sim.plane(node).retired(), 1);
    }
    // They do not depend on an IKE SA, which may be gone first.
    assert_eq!(sim.with(a, |endpoint, now| endpoint.terminate(now, &the_ike_sa()).len()), 1);
    sim.run_for(SECOND);
    assert_eq!(sim.plane(a).installed().count() + sim.plane(b).installed().count(), 0);
    assert_eq!((sim.plane(a).retired(), sim.plane(b).retired()), (1, 1), "only what was replaced");
    sim.run_for(5 * SECOND);
    for node in [a, b] {
        assert_eq!((sim.plane(node).retired(), &sim.plane(node).violations[..]), (0, &[][..]));
    }
    let at_once = |site: Site| site.settings(|s| s.delete_rekeyed_delay = Duration::ZERO);
    let (mut sim, a, b) = tunnel(at_once(site_a()), at_once(site_b()));
    rekey(&mut sim, a, &the_child());
    sim.settle(SECOND);
    one_of_each(&sim, a, b);
    assert_eq!((sim.plane(a).retired(), sim.plane(b).retired()), (0, 0));
}

#[test]
fn a_peer_that_rekeys_all_the_time_fills_no_data_plane() {
    let for_long = |site: Site| site.settings(|s| s.delete_rekeyed_delay = Duration::from_secs(100_000));
    let (mut sim, a, b) = tunnel(for_long(site_a()), for_long(site_b()));
    for _ in 0..1030 {
        rekey(&mut sim, a, &the_child());
        sim.run_for(300 * MILLISECOND);
    }
    one_of_each(&sim, a, b);
    assert_eq!((sim.plane(a).retired(), sim.plane(b).retired()), (1024, 1024));
}

#[test]
fn time_and_volume_rekey_at_either_end() {
    for at_a in [true, false] {
        let with =
            |site: Site, own: bool| if own { site.child("rekey_time = 50s") } else { site.child("rekey_time = 0s") };
        let (mut sim, a, b) = tunnel(with(site_a(), at_a), with(site_b(), !at_a));
        never_without(&mut sim, a, b, 160 * SECOND);
        sim.settle(5 * SECOND);
        one_of_each(&sim, a, b);
        assert_eq!(sim.snapshots(a)[0].id, SaId(1), "the IKE SA stays");
        assert!((3..=4).contains(&sim.tombstones(a).len()));
    }
    let (mut sim, a, b) = tunnel(site_a(), site_b().child("rekey_packets = 1000"));
    let install = sim.plane(b).installed().next().unwrap();
    let (child, limit) = (install.child, install.soft_packets);
    assert!(limit.is_some_and(|n| n <= 1000), "the responder of the IKE SA has limits too");
    sim.report(b, PlaneEvent::SoftExpire { child });
    sim.settle(SECOND);
    one_of_each(&sim, a, b);
    assert!(sim.plane(b).get(child).is_none());
}

#[test]
fn the_group_is_settled_by_invalid_ke_payload() {
    let (mut sim, a, b) = tunnel(
        site_a().child("esp_proposals = aes128gcm16-x25519-ecp256"),
        site_b().child("esp_proposals = aes128gcm16-ecp256"),
    );
    rekey(&mut sim, a, &the_child());
    sim.settle(SECOND);
    one_of_each(&sim, a, b);
    assert_eq!(requests(&sim, a, ExchangeType::CREATE_CHILD_SA), 2);
    let group = sim.snapshots(b)[0].children[0].suite.unwrap().key_exchange;
    assert_eq!(group, Some(wire::KeyExchangeId::ECP_256));
}

#[test]
fn no_proposal_in_common_leaves_everything_as_it_was() {
    // IKE_AUTH has no key exchange: the difference shows at the first rekeying.
    let (mut sim, a, b) = tunnel(site_a().child(PFS), site_b().child("esp_proposals = aes128gcm16-ecp256"));
    let before = (spis(&sim, a), spis(&sim, b));
    for (own, other) in [(a, b), (b, a)] {
        rekey(&mut sim, own, &the_child());
        sim.settle(SECOND);
        one_of_each(&sim, a, b);
        assert_eq!(before, (spis(&sim, a), spis(&sim, b)));
        assert_eq!(sim.failure(own).kind.code(), sim.failure(other).kind.code());
        assert_eq!(sim.failure(other).kind.code(), "CHILD_PROPOSAL");
    }
}

#[test]
fn a_child_sa_that_the_peer_has_lost_is_made_anew() {
    let (mut sim, a, b) = tunnel(site_a(), site_b());
    let child = sim.snapshots(b)[0].children[0].id;
    // The Delete never arrives: b forgets the Child SA, a does not know.
    let selection = Selection { child_id: Some(child), force: true, ..Selection::default() };
    sim.set_hook(Some(Box::new(|_, _| Vec::new())));
    sim.terminate(b, &selection);
    sim.set_hook(None);
    rekey(&mut sim, a, &the_child());
    sim.settle(10 * SECOND);
    one_of_each(&sim, a, b);
    assert_eq!(requests(&sim, a, ExchangeType::CREATE_CHILD_SA), 2);
}

fn two_children(name: &str, own: &str, peer: &str) -> Site {
    Site::new(name, own).text(&format!(
        "connections {{ gw {{
            local_addrs = {own}
            remote_addrs = {peer}
            local {{ auth = psk }}
            remote {{ auth = psk }}
            children {{
                net {{ local_ts = {own}/32
                       remote_ts = {peer}/32 }}
                lan {{ local_ts = 10.0.0.0/8
                       remote_ts = 10.0.0.0/8 }}
            }}
        }} }}
        secrets {{ ike-all {{ secret = swordfish }} }}"
    ))
}

fn initiate(sim: &mut Sim, from: NodeId, to: NodeId, child: &str) -> Started {
    let at = |address| SocketAddr::new(address, 500);
    let (local, remote) = (at(sim.address(from)), at(sim.address(to)));
    sim.with(from, |endpoint, now| endpoint.initiate(now, "gw", child, local, remote).map_err(|f| f.to_string()))
        .unwrap()
}

#[test]
fn a_further_child_lives_under_the_same_ike_sa() {
    for wait in [true, false] {
        for second_at_a in [true, false] {
            let mut sim = Sim::new(1);
            let a = sim.add(two_children("a", "192.0.2.1", "192.0.2.2"));
            let b = sim.add(two_children("b", "192.0.2.2", "192.0.2.1"));
            initiate(&mut sim, a, b, "net");
            if wait || !second_at_a {
                sim.settle(10 * SECOND);
            }
            let node = if second_at_a { a } else { b };
            let other = if second_at_a { b } else { a };
            assert!(matches!(initiate(&mut sim, node, other, "lan"), Started::Negotiation(SaId(1))));
            sim.settle(10 * SECOND);
            assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes(), sim.pairs(a, b)), ((1, 0), (1, 0), 2));
            assert!(matches!(initiate(&mut sim, node, other, "lan"), Started::AlreadyUp(SaId(1))));
            // Both are rekeyed, and both go along with a new IKE SA.
            let all = Selection { child: Some("lan".into()), ..Selection::default() };
            rekey(&mut sim, b, &all);
            rekey(&mut sim, b, &the_ike_sa());
            sim.settle(10 * SECOND);
            assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes(), sim.pairs(a, b)), ((1, 0), (1, 0), 2));
            assert_eq!(sim.snapshots(a)[0].children.len(), 2);
            assert_ne!(sim.snapshots(a)[0].id, SaId(1));
        }
    }
}

#[test]
fn a_further_child_that_is_refused_disturbs_nobody() {
    let mut sim = Sim::new(1);
    let a = sim.add(two_children("a", "192.0.2.1", "192.0.2.2"));
    let b = sim.add(Site::new("b", "192.0.2.2").to("192.0.2.1").local_id(None));
    initiate(&mut sim, a, b, "net");
    sim.settle(10 * SECOND);
    initiate(&mut sim, a, b, "lan");
    sim.settle(10 * SECOND);
    one_of_each(&sim, a, b);
    for node in [a, b] {
        assert_eq!(sim.failure(node).kind.code(), "TRAFFIC_SELECTOR");
    }
    assert_eq!(sim.tombstones(a)[0].child.as_deref(), Some("lan"));
}

// -------------------------------------------------------------------------------------------------------- the IKE SA

#[test]
fn either_end_rekeys_the_ike_sa() {
    for initiator in [true, false] {
        let (mut sim, a, b) = tunnel(site_a(), site_b());
        let (node, other) = if initiator { (a, b) } else { (b, a) };
        let (children, old) = ((spis(&sim, a), spis(&sim, b)), sim.snapshots(a)[0].spis);
        rekey(&mut sim, node, &the_ike_sa());
        assert_eq!(sim.snapshots(node)[0].state, IkeState::Rekeying);
        never_without(&mut sim, a, b, SECOND);
        sim.settle(SECOND);
        one_of_each(&sim, a, b);
        assert_eq!((spis(&sim, a), spis(&sim, b)), children, "the Child SAs are the same");
        let new = sim.snapshots(node)[0].clone();
        assert_ne!((new.spis.initiator, new.spis.responder), (old.initiator, old.responder));
        assert_eq!((new.id, new.role), (SaId(2), Role::Initiator));
        for end in [node, other] {
            assert_eq!(sim.tombstones(end).len(), 1);
            assert_eq!(sim.failure(end).kind, FailureKind::Replaced { by: SaId(2) });
            let up = sim.events(end).filter(|(_, e)| matches!(e, Event::ChildUp(_) | Event::ChildDown(_))).count();
            assert_eq!(up, 1, "nothing happened to the Child SA");
        }
        // Message IDs begin at 0, in both directions, and the new one can be rekeyed and deleted.
        for by in [a, b] {
            rekey(&mut sim, by, &the_child());
            sim.settle(SECOND);
            rekey(&mut sim, by, &the_ike_sa());
            sim.settle(SECOND);
            one_of_each(&sim, a, b);
        }
        sim.terminate(other, &Selection::default());
        sim.run_for(61 * SECOND);
        for end in [a, b] {
            assert_eq!(sim.endpoint(end).sizes(), (0, 0));
            assert_eq!(sim.endpoint(end).poll_timeout(), None);
            assert_eq!(sim.plane(end).installed().count(), 0);
        }
    }
}

#[test]
fn time_rekeys_the_ike_sa_at_either_end() {
    for at_a in [true, false] {
        let with = |site: Site, own: bool| {
            if own { site.connection("rekey_time = 50s") } else { site.connection("rekey_time = 0s") }
        };
        let (mut sim, a, b) = tunnel(with(site_a(), at_a), with(site_b(), !at_a));
        never_without(&mut sim, a, b, 160 * SECOND);
        sim.settle(5 * SECOND);
        one_of_each(&sim, a, b);
        assert!((3..=4).contains(&sim.tombstones(a).len()));
        assert_eq!((sim.plane(a).installs, sim.plane(b).installs), (1, 1));
    }
}

/// Rekeying puts the next authentication not off.
#[test]
fn reauthentication_comes_all_the_same() {
    let (mut sim, a, b) = tunnel(site_a().connection("rekey_time = 30s").connection("reauth_time = 100s"), site_b());
    always_a_pair(&mut sim, a, b, 240 * SECOND, |_| {});
    sim.settle(10 * SECOND);
    one_of_each(&sim, a, b);
    assert_eq!(requests(&sim, a, ExchangeType::IKE_AUTH), 3);
    assert_eq!(requests(&sim, b, ExchangeType::IKE_AUTH), 0);
}

#[test]
fn reauthentication_takes_all_children_along() {
    let mut sim = Sim::new(1);
    let with = |name: &str, own: &str, peer: &str| {
        let text = two_children(name, own, peer).configuration();
        Site::new(name, own).text(&text.replace("local_addrs", "reauth_time = 100s\nover_time = 20s\nlocal_addrs"))
    };
    let a = sim.add(with("a", "192.0.2.1", "192.0.2.2"));
    let b = sim.add(with("b", "192.0.2.2", "192.0.2.1"));
    initiate(&mut sim, a, b, "net");
    initiate(&mut sim, a, b, "lan");
    sim.settle(10 * SECOND);
    let end = sim.now() + 110 * SECOND;
    while sim.now() < end {
        sim.run_for(5 * MILLISECOND);
        assert!(sim.pairs(a, b) >= 2, "a child is without a pair at {:?}", sim.now());
    }
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes(), sim.pairs(a, b)), ((1, 0), (1, 0), 2));
    assert_eq!(requests(&sim, a, ExchangeType::IKE_AUTH), 2);
}

#[test]
fn the_operator_ends_what_is_just_being_rekeyed() {
    for (what, end) in [
        (the_child(), the_child()),
        (the_child(), the_ike_sa()),
        (the_ike_sa(), the_child()),
        (the_ike_sa(), the_ike_sa()),
    ] {
        for same_end in [true, false] {
            for delay in [0, 5, 10, 15, 20, 25, 30, 35] {
                let (mut sim, a, b) = tunnel(site_a(), site_b());
                rekey(&mut sim, a, &what);
                sim.run_for(delay * MILLISECOND);
                sim.terminate(if same_end { a } else { b }, &end);
                sim.settle(40 * SECOND);
                let of_child = end.child.is_some();
                for node in [a, b] {
                    let context = format!("{what:?} {end:?} {same_end} {delay} {node:?}: {:?}", sim.snapshots(node));
                    assert_eq!(sim.plane(node).installed().count(), 0, "{context}");
                    assert_eq!(sim.endpoint(node).sizes().0, usize::from(of_child), "{context}");
                }
            }
        }
    }
}

// -------------------------------------------------------------------------------------------------------- collisions

/// Both ends begin at once; the second one up to a round trip later, so that the messages cross in every way.
#[test]
fn both_rekey_at_once() {
    for what in [the_child(), the_ike_sa()] {
        for seed in 0..12 {
            for delay in [0, 5, 9, 10, 11, 15, 19, 20, 21, 25, 30] {
                let (mut sim, a, b) = seeded(seed, site_a(), site_b());
                rekey(&mut sim, a, &what);
                never_without(&mut sim, a, b, delay * MILLISECOND);
                sim.with(b, |endpoint, now| endpoint.rekey(now, &what));
                never_without(&mut sim, a, b, SECOND);
                sim.settle(30 * SECOND);
                one_of_each(&sim, a, b);
            }
        }
    }
}

/// RFC 7296 section 2.8.1: of the four nonces the lowest decides; over many seeds each end wins some time.
#[test]
fn either_end_may_win() {
    for what in [the_child(), the_ike_sa()] {
        let mut won = [0, 0];
        for seed in 0..24 {
            let (mut sim, a, b) = seeded(seed, site_a(), site_b());
            rekey(&mut sim, a, &what);
            rekey(&mut sim, b, &what);
            never_without(&mut sim, a, b, SECOND);
            one_of_each(&sim, a, b);
            let created = [a, b].map(|n| requests(&sim, n, ExchangeType::CREATE_CHILD_SA));
            let deleted = [a, b].map(|n| requests(&sim, n, ExchangeType::INFORMATIONAL));
            assert_eq!((created, deleted), ([1, 1], [1, 1]), "one deletes the old one, the other the redundant one");
            if what.child.is_none() {
                won[usize::from(sim.snapshots(a)[0].role == Role::Responder)] += 1;
            } else {
                won[usize::from(sim.plane(a).installed().next().unwrap().child == SaId(3))] += 1;
            }
        }
        assert!(won.iter().all(|n| *n > 2), "{won:?}");
    }
}

/// The same with each of the first messages lost once.
#[test]
fn both_rekey_at_once_and_one_message_is_lost() {
    for what in [the_child(), the_ike_sa()] {
        for seed in 0..4 {
            for lost in 0..8 {
                let (mut sim, a, b) = seeded(seed, site_a(), site_b());
                let sent = Rc::new(Cell::new(0));
                sim.set_hook(Some(Box::new(move |_, datagram| {
                    sent.set(sent.get() + 1);
                    if sent.get() == lost + 1 { Vec::new() } else { vec![(Duration::ZERO, datagram.clone())] }
                })));
                rekey(&mut sim, a, &what);
                rekey(&mut sim, b, &what);
                never_without(&mut sim, a, b, 20 * SECOND);
                // An IKE SA whose maker forgot it, because the answer got lost, is not deleted by anyone.
                sim.run_for(61 * SECOND);
                sim.settle(30 * SECOND);
                one_of_each(&sim, a, b);
            }
        }
    }
}

#[test]
fn the_child_and_the_ike_sa_are_rekeyed_at_once() {
    for delay in [0, 5, 10, 15, 20, 25, 30, 35, 40, 45] {
        for (first, second) in [(the_child(), the_ike_sa()), (the_ike_sa(), the_child())] {
            let (mut sim, a, b) = tunnel(site_a(), site_b());
            rekey(&mut sim, a, &first);
            never_without(&mut sim, a, b, delay * MILLISECOND);
            sim.with(b, |endpoint, now| endpoint.rekey(now, &second));
            never_without(&mut sim, a, b, 40 * SECOND);
            sim.settle(SECOND);
            one_of_each(&sim, a, b);
        }
    }
}

// --------------------------------------------------------------------------------------------------------- bad lines

#[test]
fn sixty_four_times_in_a_row_under_loss() {
    for (lines, seed) in [(PFS, 5), (NO_PFS, 6)] {
        let (mut sim, a, b) = seeded(seed, site_a().child(lines), site_b().child(lines));
        sim.set_conditions(Conditions { loss: 200, duplicate: 100, reorder: 100, ..Conditions::default() });
        for round in 0..64 {
            let node = if round % 3 == 0 { b } else { a };
            let what = if round % 4 == 3 { the_ike_sa() } else { the_child() };
            sim.with(node, |endpoint, now| endpoint.rekey(now, &what));
            never_without(&mut sim, a, b, SECOND);
            sim.settle(300 * SECOND);
            one_of_each(&sim, a, b);
        }
        assert!(sim.tombstones(a).iter().all(|t| matches!(t.failure.kind, FailureKind::Replaced { .. })));
    }
}

#[test]
fn short_lifetimes_at_both_ends_under_loss() {
    let with = |site: Site| {
        site.connection("rekey_time = 300s").child("rekey_time = 200s").child("life_time = 400s").child(PFS)
    };
    for seed in 0..8 {
        let (mut sim, a, b) = seeded(seed, with(site_a()), with(site_b()));
        sim.set_conditions(Conditions { loss: 100, duplicate: 100, reorder: 100, ..Conditions::default() });
        for _ in 0..400 {
            sim.run_for(10 * SECOND);
            assert!(sim.carries(a, b), "seed {seed} at {:?}", sim.now());
        }
        sim.set_conditions(Conditions::default());
        sim.run_for(100 * SECOND);
        sim.settle(100 * SECOND);
        let listed = |node| {
            sim.snapshots(node)[0].children.iter().map(|c| (c.id, c.state, c.installed, c.rekey_in)).collect::<Vec<_>>()
        };
        assert_eq!(
            (sim.pairs(a, b), sim.endpoint(a).sizes().0, sim.endpoint(b).sizes().0),
            (1, 1, 1),
            "seed {seed}: {:?} {:?}",
            listed(a),
            listed(b)
        );
    }
}

/// Rekeyings by either end at any time, over good and bad lines: there is always a pair, and in the end exactly one.
#[test]
fn any_order_of_rekeyings() {
    for seed in 0..150 {
        let (mut sim, a, b) = seeded(seed, site_a(), site_b());
        if seed % 3 != 0 {
            sim.set_conditions(Conditions { loss: 100, duplicate: 100, reorder: 200, ..Conditions::default() });
        }
        let mut rng = sim::Rng::new(seed);
        for _ in 0..12 {
            let node = if rng.number().is_multiple_of(2) { a } else { b };
            let what = if rng.number().is_multiple_of(3) { the_ike_sa() } else { the_child() };
            sim.with(node, |endpoint, now| endpoint.rekey(now, &what));
            let pause = rng.number() % 60 * if rng.number().is_multiple_of(4) { 100 } else { 1 };
            let end = sim.now() + Duration::from_millis(pause);
            while sim.now() < end {
                sim.run_for(5 * MILLISECOND);
                assert!(sim.carries(a, b), "seed {seed}: no pair installed at {:?}", sim.now());
            }
        }
        sim.set_conditions(Conditions::default());
        for _ in 0..400 {
            sim.run_for(SECOND);
            assert!(sim.carries(a, b), "seed {seed}: no pair installed at {:?}", sim.now());
        }
        sim.settle(200 * SECOND);
        let listed =
            |node| -> Vec<_> { sim.snapshots(node).iter().map(|s| (s.id, s.state, s.children.len())).collect() };
        assert_eq!(sim.pairs(a, b), 1, "seed {seed}: {:?} {:?}", listed(a), listed(b));
        one_of_each(&sim, a, b);
    }
}
