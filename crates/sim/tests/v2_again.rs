//! Tunnels that the configuration wants to be there come back: after a refusal, a Delete, a lifetime, another configuration.

use model::{Event, FailureKind, Role, SaId};
use proto::{Endpoint, Selection, Started};

use sim::{Datagram, Happened, NodeId, Peer, Sim, Site};
use std::net::SocketAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn site_a(version: &str) -> Site {
    Site::new("a", "192.0.2.1").to("192.0.2.2").connection(version)
}

fn site_b(version: &str) -> Site {
    Site::new("b", "192.0.2.2").to("192.0.2.1").connection(version)
}

fn tunnel(a: Site, b: Site) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(3);
    let (a, b) = (sim.add(a), sim.add(b));
    sim.initiate(a, b);
    sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).expect("a tunnel");
    sim.settle(10 * SECOND);
    (sim, a, b)
}

fn start(sim: &mut Sim, a: NodeId) -> SaId {
    let (local, remote): (SocketAddr, SocketAddr) =
        ("192.0.2.1:500".parse().unwrap(), "192.0.2.2:500".parse().unwrap());
    sim.with(a, |endpoint, now| match endpoint.initiate_for_good(now, "gw", "net", local, remote) {
        Ok(Started::Negotiation(id) | Started::AlreadyUp(id)) => id,
        Err(failure) => panic!("{failure}"),
    })
}

/// The peer has not read its configuration yet.
fn unload(sim: &mut Sim, node: NodeId) {
    sim.with(node, |endpoint: &mut Endpoint, _| endpoint.unload_connection("gw"));
}

fn load(sim: &mut Sim, node: NodeId, site: &Site) {
    let connection = site.load().connections.remove(0);
    sim.with(node, |endpoint, _| endpoint.load_connection(connection));
}

#[test]
fn what_is_to_be_there_is_begun_again_after_a_refusal() {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(site_a("version = 2")), sim.add(site_b("version = 2")));
    unload(&mut sim, b);
    start(&mut sim, a);
    sim.run_for(SECOND);
    assert_eq!(sim.failure(a).kind.code(), "IKE_PROPOSAL");
    let next = sim.tombstones(a)[0].again_in.expect("a next attempt");
    assert!((10..=15).contains(&next.as_secs()), "{next:?}");
    sim.run_for(16 * SECOND);
    assert_eq!(sim.tombstones(a).len(), 2);
    let longer = sim.tombstones(a)[0].again_in.expect("a next attempt");
    assert!((15..=30).contains(&longer.as_secs()), "{longer:?}");
    assert_eq!(sim.tombstones(a)[1].again_in, None);
    sim.run_for(3600 * SECOND);
    let attempts = sim.tombstones(a).len();
    assert!((13..=22).contains(&attempts), "{attempts} in an hour");
    load(&mut sim, b, &site_b("version = 2"));
    assert!(sim.run_until(301 * SECOND, |sim| sim.carries(a, b)).is_some());
    sim.run_for(1000 * SECOND);
    assert_eq!((sim.endpoint(a).sizes(), sim.pairs(a, b)), ((1, 0), 1));
}

#[test]
fn a_wrong_secret_is_tried_again_in_both_versions() {
    for version in ["version = 1", "version = 2"] {
        let mut sim = Sim::new(1);
        let (a, b) = (sim.add(site_a(version)), sim.add(site_b(version).secret(Some("marlin"))));
        start(&mut sim, a);
        sim.run_for(300 * SECOND);
        sim.with(b, |endpoint, _| endpoint.set_secrets(site_a(version).load().secrets));
        assert!(sim.run_until(600 * SECOND, |sim| sim.carries(a, b)).is_some(), "{version}: {}", sim.failure(a));
    }
}

#[test]
fn what_an_operator_begins_is_not_repeated_and_what_he_ends_does_not_come_back() {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(site_a("version = 2")), sim.add(site_b("version = 2")));
    unload(&mut sim, b);
    sim.initiate(a, b);
    sim.run_for(600 * SECOND);
    assert_eq!((sim.tombstones(a).len(), sim.tombstones(a)[0].again_in), (1, None));
    start(&mut sim, a);
    sim.run_for(SECOND);
    sim.terminate(a, &Selection { ike: Some("gw".into()), ..Selection::default() });
    sim.run_for(600 * SECOND);
    assert_eq!(sim.tombstones(a).len(), 2);
    assert_eq!(sim.endpoint(a).poll_timeout(), None);
}

#[test]
fn a_peer_that_boots_slowly_is_met_again() {
    let a = site_a("version = 2").connection("dpd_delay = 10s").child("dpd_action = restart");
    let (mut sim, a, b) = tunnel(a, site_b("version = 2"));
    sim.crash(b);
    sim.run_for(170 * SECOND); // found dead, and begun again
    sim.restart(b);
    unload(&mut sim, b);
    sim.run_for(60 * SECOND);
    load(&mut sim, b, &site_b("version = 2"));
    assert!(sim.run_until(300 * SECOND, |sim| sim.carries(a, b)).is_some());
}

// ------------------------------------------------------------------------------- a Child SA alone

/// Ends of which the responder takes no such Child SA, until it is loaded with one that it does.
fn refusing(version: &str, action: &str) -> (Sim, NodeId, NodeId, Site) {
    let site = |name: &str, own: &str, peer: &str, proposals: &str| {
        Site::new(name, own).to(peer).connection(version).child(&format!("esp_proposals = {proposals}"))
    };
    let mut sim = Sim::new(4);
    let a = sim.add(site("a", "192.0.2.1", "192.0.2.2", "aes128gcm16").child(action));
    let b = sim.add(site("b", "192.0.2.2", "192.0.2.1", "aes256gcm16"));
    (sim, a, b, site("b", "192.0.2.2", "192.0.2.1", "aes128gcm16"))
}

#[test]
fn a_child_sa_that_is_refused_is_asked_for_again_under_the_ike_sa_that_stays() {
    for version in ["childless = allow", "childless = prefer"] {
        let (mut sim, a, b, _) = refusing(version, "start_action = start");
        start(&mut sim, a);
        sim.run_for(SECOND);
        let first = sim.tombstones(a)[0].clone();
        assert_eq!((first.child.as_deref(), first.failure.kind.code()), (Some("net"), "CHILD_PROPOSAL"));
        let next = first.again_in.expect("a next attempt").as_secs();
        assert!((10..=15).contains(&next), "{next}");
        sim.run_for(3600 * SECOND);
        let attempts = sim.tombstones(a).len();
        assert!((13..=22).contains(&attempts), "{attempts} in an hour");
        assert_eq!(sim.tombstones(a).iter().filter(|t| t.again_in.is_some()).count(), 1);
        assert_eq!((sim.endpoint(a).sizes(), sim.snapshots(a)[0].id.0), ((1, 0), 1), "one IKE SA");
        assert_eq!(sim.snapshots(a)[0].children.len(), 1, "one placeholder");
        // It goes on under the successor of the IKE SA, until the peer takes it.
        assert_eq!(sim.with(a, |endpoint, now| endpoint.rekey(now, &Selection::default())), 1);
        sim.run_for(SECOND);
        assert_eq!(sim.with(b, |endpoint, now| endpoint.rekey(now, &Selection::default())), 1);
        sim.run_for(400 * SECOND);
        assert!(sim.tombstones(a).len() > attempts);
    }
}

#[test]
fn it_is_there_as_soon_as_the_peer_takes_it_or_makes_it() {
    for by_peer in [false, true] {
        let (mut sim, a, b, right) = refusing("version = 2", "start_action = start");
        start(&mut sim, a);
        sim.run_for(5 * SECOND);
        // Both ends know each other's proposals from the connection of their IKE SA: a new one with what is loaded now.
        load(&mut sim, b, &right);
        sim.terminate(b, &Selection { ike: Some("gw".into()), ..Selection::default() });
        sim.run_for(SECOND);
        if by_peer {
            sim.initiate(b, a);
        } else {
            start(&mut sim, a);
        }
        sim.run_for(400 * SECOND);
        assert_eq!((sim.pairs(a, b), sim.endpoint(a).sizes(), sim.snapshots(a)[0].children.len()), (1, (1, 0), 1));
    }
}

#[test]
fn an_operator_hears_of_the_refusal_and_can_end_what_is_repeated() {
    let (mut sim, a, b, _) = refusing("version = 2", "start_action = none");
    sim.initiate(a, b);
    sim.run_for(600 * SECOND);
    assert_eq!(
        (sim.tombstones(a).len(), sim.tombstones(a)[0].again_in, sim.snapshots(a)[0].children.len()),
        (1, None, 0)
    );
    // What the configuration wants under it is repeated, at once if an operator says so, until he ends it.
    start(&mut sim, a);
    sim.run_for(5 * SECOND);
    assert_eq!((sim.tombstones(a).len(), sim.snapshots(a)[0].children.len()), (2, 1));
    sim.initiate(a, b);
    sim.run_for(SECOND);
    assert_eq!((sim.tombstones(a).len(), sim.snapshots(a)[0].children.len()), (3, 1));
    let messages = sim.wire.len();
    sim.terminate(a, &Selection { child: Some("net".into()), ..Selection::default() });
    sim.run_for(600 * SECOND);
    assert_eq!((sim.wire.len(), sim.snapshots(a)[0].children.len()), (messages, 0), "the peer has never had it");
}

// ------------------------------------------------------------------------------------------------------ close_action

#[test]
fn a_child_that_the_peer_deletes_is_made_anew_by_either_end() {
    for action in ["close_action = start", "close_action = trap|start"] {
        for of_responder in [false, true] {
            let (a, b) = (site_a("version = 2"), site_b("version = 2"));
            let (a, b) = if of_responder { (a, b.child(action)) } else { (a.child(action), b) };
            let (mut sim, a, b) = tunnel(a, b);
            let (keeper, deleter) = if of_responder { (b, a) } else { (a, b) };
            sim.terminate(deleter, &Selection { child: Some("net".into()), ..Selection::default() });
            sim.run_for(SECOND);
            assert_eq!((sim.pairs(a, b), sim.endpoint(keeper).sizes()), (1, (1, 0)), "{action} {of_responder}");
            let trapped = sim.endpoint(keeper).traps().count();
            assert_eq!(trapped, usize::from(action.contains("trap")));
        }
    }
}

#[test]
fn a_dead_peer_leaves_a_trap_or_nothing() {
    for (action, traps) in [("trap", 1), ("none", 0), ("clear", 0)] {
        let a = site_a("version = 2").connection("dpd_delay = 10s").child(&format!("dpd_action = {action}"));
        let (mut sim, a, b) = tunnel(a, site_b("version = 2"));
        sim.crash(b);
        sim.run_for(400 * SECOND);
        assert_eq!((sim.endpoint(a).traps().count(), sim.endpoint(a).sizes()), (traps, (0, 0)), "{action}");
        assert_eq!(sim.plane(a).installed().count(), 0, "{action}");
    }
}

// -------------------------------------------------------------------------------------------------- reauthentication

/// `AUTH_LIFETIME` that a node was sent cannot be seen, but what it does about it can.
#[test]
fn a_gateway_authenticates_anew_by_itself_and_sends_no_lifetime() {
    let life = "rekey_time = 0s\n reauth_time = 100s\n over_time = 20s\n rand_time = 0s";
    let (mut sim, a, b) = tunnel(site_a("version = 2"), site_b("version = 2").connection(life));
    assert_eq!(sim.snapshots(a)[0].reauth_in, None, "the initiator is not told");
    assert!(sim.snapshots(b)[0].reauth_in.is_some());
    for _ in 0..60 {
        sim.run_for(10 * SECOND);
        assert!(sim.carries(a, b));
        assert!(sim.pairs(a, b) == 1 || sim.under_way() > 0);
    }
    let made = sim.snapshots(b)[0].id.0;
    assert!((5..=7).contains(&made), "{made} IKE SAs in 600 s");
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
}

/// An end that its gateway knows by name only, and the gateway: who cannot begin with it.
fn roadwarrior(more: &str) -> (Sim, NodeId, NodeId) {
    let quiet = "rekey_time = 0s\n over_time = 10s\n rand_time = 0s";
    let a = Site::new("a", "192.0.2.1").to("192.0.2.2").connection(quiet);
    let b = Site::new("b", "192.0.2.2").to("%any").local_id(Some("b.example")).connection(quiet).connection(more);
    tunnel(a, b)
}

/// RFC 4478 section 2: in an INFORMATIONAL exchange, at any time.
#[test]
fn a_gateway_that_cannot_begin_asks_its_peer_to_authenticate_anew() {
    let (mut sim, a, b) = roadwarrior("unique = never");
    sim.run_for(100 * SECOND);
    assert_eq!(sim.snapshots(a)[0].reauth_in, None);
    assert_eq!(sim.with(b, |endpoint, now| endpoint.reauthenticate(now, &Selection::default())), 1);
    for _ in 0..20 {
        sim.run_for(SECOND);
        assert!(sim.carries(a, b));
    }
    assert_eq!((sim.snapshots(a)[0].id.0, sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), (2, (1, 0), (1, 0)));
    sim.run_for(600 * SECOND);
    assert_eq!(sim.snapshots(a)[0].id.0, 2, "once");
    // At once again: a new IKE SA lasts ten seconds at least.
    for _ in 0..2 {
        sim.with(b, |endpoint, now| endpoint.reauthenticate(now, &Selection::default()));
        sim.run_for(4 * SECOND);
    }
    assert_eq!((sim.snapshots(a)[0].id.0, sim.pairs(a, b)), (3, 1));
    sim.run_for(20 * SECOND);
    assert_eq!((sim.snapshots(a)[0].id.0, sim.pairs(a, b)), (4, 1));
}

#[test]
fn a_peer_that_does_not_authenticate_anew_loses_its_ike_sa() {
    let (mut sim, a, b) = roadwarrior("unique = never");
    // It has heard it, and cannot: nothing of that name is loaded any more.
    sim.with(a, |endpoint, _| endpoint.unload_connection("gw"));
    assert_eq!(sim.with(b, |endpoint, now| endpoint.reauthenticate(now, &Selection::default())), 1);
    sim.run_for(200 * SECOND);
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes(), sim.pairs(a, b)), ((0, 0), (0, 0), 0));
}

#[test]
fn a_shorter_time_that_is_loaded_is_told_and_holds_after_a_rekeying_too() {
    let (mut sim, a, b) = roadwarrior("unique = never");
    sim.run_for(50 * SECOND);
    let before = Site::clone(sim.site(b)).load().connections.remove(0);
    let site = Site::clone(sim.site(b)).connection("reauth_time = 300s");
    load(&mut sim, b, &site);
    sim.with(b, |endpoint, now| endpoint.supersede(now, &before));
    sim.run_for(5 * SECOND);
    let left = sim.snapshots(a)[0].reauth_in.expect("the initiator is told").as_secs();
    assert!((200..=245).contains(&left), "{left}");
    assert_eq!(sim.with(a, |endpoint, now| endpoint.rekey(now, &Selection::default())), 1);
    sim.run_for(5 * SECOND);
    assert!(sim.snapshots(a)[0].reauth_in.expect("still").as_secs() < left);
    let rekeyed = sim.snapshots(a)[0].id.0;
    sim.run_for(260 * SECOND);
    assert!(sim.snapshots(a)[0].id.0 > rekeyed && sim.carries(a, b));
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
}

/// charon does so where what it hears is shorter than its own margin: told in each IKE_AUTH it would never stop.
#[test]
fn a_peer_that_begins_anew_as_soon_as_it_hears_when_it_must_is_told_when_it_is_time() {
    let (mut sim, a, b) = roadwarrior("unique = never\n reauth_time = 300s");
    assert!(sim.snapshots(a)[0].reauth_in.is_some(), "told in IKE_AUTH");
    let begin_anew = |sim: &mut Sim| {
        sim.terminate(a, &Selection::default());
        sim.run_for(SECOND);
        sim.initiate(a, b);
        sim.run_for(2 * SECOND);
        assert!(sim.carries(a, b));
    };
    begin_anew(&mut sim);
    assert_eq!(sim.snapshots(a)[0].reauth_in, None, "not told at once");
    // It lasts as long as it may, is rekeyed meanwhile, and the peer hears it in time; and so does each one that follows.
    for round in 0..3 {
        let first = sim.snapshots(a)[0].id.0;
        sim.run_for(100 * SECOND);
        assert_eq!(sim.with(a, |endpoint, now| endpoint.rekey(now, &Selection::default())), 1);
        sim.run_for(100 * SECOND);
        assert_eq!((sim.snapshots(a)[0].reauth_in, sim.snapshots(a)[0].id.0), (None, first + 1), "round {round}");
        for _ in 0..55 {
            sim.run_for(SECOND);
            assert!(sim.carries(a, b));
        }
        assert_eq!((sim.snapshots(a)[0].id.0, sim.pairs(a, b)), (first + 2, 1), "round {round}");
        assert!(sim.snapshots(a)[0].age < 30 * SECOND, "round {round}");
    }
    // Whoever lets an IKE SA live, or rekeys it, is told as ever.
    let (mut sim, a, _) = roadwarrior("unique = never\n reauth_time = 300s");
    assert_eq!(sim.with(a, |endpoint, now| endpoint.rekey(now, &Selection::default())), 1);
    sim.run_for(30 * SECOND);
    begin_anew(&mut sim);
    assert!(sim.snapshots(a)[0].reauth_in.is_some());
}

#[test]
fn both_ends_with_the_same_reauthentication_time_make_one_ike_sa_each_time() {
    for seed in 0..10 {
        let life = "rekey_time = 0s\n reauth_time = 100s\n over_time = 20s\n rand_time = 10s\n unique = never";
        let mut sim = Sim::new(seed);
        let (a, b) = (sim.add(site_a("version = 2").connection(life)), sim.add(site_b("version = 2").connection(life)));
        sim.initiate(a, b);
        sim.run_for(SECOND);
        for _ in 0..100 {
            sim.run_for(10 * SECOND);
            assert!(sim.carries(a, b), "seed {seed}");
        }
        sim.settle(10 * SECOND);
        assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes(), sim.pairs(a, b)), ((1, 0), (1, 0), 1), "{seed}");
        let made = sim.snapshots(a)[0].id.0;
        assert!(made <= 14, "seed {seed}: {made} IKE SAs in 1000 s");
    }
}

#[test]
fn break_before_make_ends_with_the_same_children() {
    let life = "rekey_time = 0s\n reauth_time = 100s\n over_time = 20s\n rand_time = 0s";
    let a = site_a("version = 2").connection(life).settings(|s| s.make_before_break = false);
    let (mut sim, a, b) = tunnel(a, site_b("version = 2").connection("unique = never"));
    for round in 1..=5u32 {
        sim.run_for(90 * SECOND);
        let most = std::cell::Cell::new(0);
        sim.run_until(20 * SECOND, |sim| {
            most.set(most.get().max(sim.endpoint(b).sizes().0));
            false
        });
        assert_eq!(most.get(), 1, "never two at once");
        assert_eq!(sim.pairs(a, b), 1);
        assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
        assert!(sim.snapshots(a)[0].id.0 > round, "a new one");
        sim.run_for(Duration::from_millis(1));
    }
    // A peer that does not answer the Delete does not keep the new one from being made.
    assert!(sim.tombstones(a).iter().all(|t| t.failure.kind == FailureKind::Expired));
}

// ------------------------------------------------------------------------------------------------------ configuration

#[test]
fn authenticating_anew_takes_what_is_loaded_now() {
    let (mut sim, a, b) = tunnel(
        site_a("version = 2").child("esp_proposals = aes128gcm16"),
        site_b("version = 2").child("esp_proposals = aes128gcm16, aes256gcm16"),
    );
    let key = |sim: &Sim| sim.snapshots(a)[0].children[0].suite.map(|s| format!("{s:?}"));
    let before = key(&sim);
    load(&mut sim, a, &site_a("version = 2").child("esp_proposals = aes256gcm16"));
    assert_eq!(sim.with(a, |endpoint, now| endpoint.reauthenticate(now, &Selection::default())), 1);
    sim.run_for(10 * SECOND);
    assert!(sim.carries(a, b) && sim.endpoint(a).sizes() == (1, 0));
    assert_ne!(key(&sim), before);
}

#[test]
fn a_changed_connection_makes_its_started_children_anew_and_leaves_others_alone() {
    for started in [true, false] {
        let action = if started { "start_action = start" } else { "start_action = none" };
        let old = site_a("version = 2").child(action).child("esp_proposals = aes128gcm16");
        let (mut sim, a, b) =
            tunnel(old.clone(), site_b("version = 2").child("esp_proposals = aes128gcm16, aes256gcm16"));
        let before = old.load().connections.remove(0);
        load(&mut sim, a, &site_a("version = 2").child(action).child("esp_proposals = aes256gcm16"));
        let staying = sim.with(a, |endpoint, now| endpoint.supersede(now, &before));
        assert_eq!(staying, usize::from(!started));
        if started {
            start(&mut sim, a);
        }
        sim.run_for(10 * SECOND);
        assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes(), sim.pairs(a, b)), ((1, 0), (1, 0), 1));
        assert_eq!(sim.snapshots(a)[0].id, SaId(if started { 2 } else { 1 }));
        if started {
            assert_eq!(sim.failure(a).kind, FailureKind::ConfigurationChanged);
        }
    }
}

// ------------------------------------------------------------------------------------------------------------- limits

#[test]
fn no_more_ike_sas_than_the_operator_allows() {
    for version in ["version = 1", "version = 2"] {
        let mut sim = Sim::new(1);
        let b = sim.add(
            Site::new("b", "192.0.2.2")
                .to("%any")
                .connection(version)
                .remote_id("%any")
                .settings(|s| s.ike_sa_limit = 3),
        );
        let clients: Vec<NodeId> = (10..15)
            .map(|n| {
                sim.add(
                    Site::new(&format!("c{n}"), &format!("192.0.2.{n}"))
                        .to("192.0.2.2")
                        .connection(version)
                        .remote_id("b.example"),
                )
            })
            .collect();
        for client in &clients {
            sim.initiate(*client, b);
            sim.run_for(SECOND);
        }
        assert_eq!(sim.endpoint(b).sizes().0, 3, "{version}");
        assert!(sim.dropped(b, model::DropReason::IkeSaLimit) > 0, "{version}");
    }
}

/// A peer rekeys an IKE SA, and does not delete the old one: it gets one more, not a hundred.
#[test]
fn an_ike_sa_whose_predecessor_is_still_there_is_not_rekeyed() {
    let (mut sim, a, b) = tunnel(site_a("version = 2"), site_b("version = 2"));
    let deletes = |d: &sim::Datagram| {
        wire::Header::parse(&d.bytes).is_ok_and(|h| h.exchange == wire::ExchangeType::INFORMATIONAL && !h.is_response())
    };
    sim.set_hook(Some(Box::new(move |_, d| if deletes(d) { Vec::new() } else { vec![(Duration::ZERO, d.clone())] })));
    for _ in 0..10 {
        sim.with(a, |endpoint, now| endpoint.rekey(now, &Selection::default()));
        sim.run_for(SECOND);
    }
    assert!(sim.endpoint(b).sizes().0 <= 2, "{:?}", sim.endpoint(b).sizes());
    let refused = |e: &Event| matches!(e, Event::Step { text, .. } if text.contains("TEMPORARY_FAILURE"));
    assert!(sim.events(a).any(|(_, e)| refused(e)));
    sim.set_hook(None);
    sim.run_for(400 * SECOND);
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes(), sim.pairs(a, b)), ((1, 0), (1, 0), 1));
}

/// An address that somebody else speaks for gets the first answer, and then no more octets than were sent in its name.
#[test]
fn repetitions_of_a_first_message_are_not_amplified() {
    let mut sim = Sim::new(1);
    let b = sim.add(site_b("version = 2"));
    let mut peer = Peer::new(Role::Initiator, 7);
    let bytes = peer.init(&peer.init_parts());
    let (from, to) = ("192.0.2.1:500".parse().unwrap(), "192.0.2.2:500".parse().unwrap());
    let (mut sent, mut came) = (0, 0);
    for n in 0..50 {
        sim.inject(Datagram { from, to, bytes: bytes.clone(), keepalive: false });
        sim.run_for(Duration::from_millis(10));
        came += bytes.len();
        let all = sim.happened(b).iter().filter_map(|e| match &e.what {
            Happened::Sent(d) => Some(d.bytes.len()),
            _ => None,
        });
        let all: Vec<usize> = all.collect();
        sent = all.len();
        assert!(sent <= 1 || all.iter().sum::<usize>() <= came, "{all:?} octets for {came} after {n} repetitions");
    }
    assert!(sent > 10, "an initiator that lost the answer gets it all the same: {sent}");
}
