//! What a running daemon is told about its pace, and where its configuration is to blame.

use super::score::over_vici;
use diag::Cause;
use model::{FailureKind, Instant, LiveTimer, Tombstone};
use sim::{Sim, Site};
use std::time::Duration;
use wire::grammar::RuleId;

const SECOND: Duration = Duration::from_secs(1);

/// What is found of a connection with these timers whose IKE SAs come anew every `period` seconds and end for this reason;
/// `reauth_in` is the time that each had left until it was to authenticate anew.
fn paced(period: u32, kind: &FailureKind, timers: &[(&str, u64)], reauth_in: Option<Duration>) -> diag::Finding {
    let found = of_pace(period, kind, timers, reauth_in);
    assert_eq!(found.id, "flapping", "{found:?}");
    assert_eq!(found.causes.len(), found.remedy.len());
    found
}

fn of_pace(period: u32, kind: &FailureKind, timers: &[(&str, u64)], reauth_in: Option<Duration>) -> diag::Finding {
    let mut sim = Sim::new(7);
    let a = sim.add(Site::new("a", "192.0.2.1").to("192.0.2.2"));
    let b = sim.add(Site::new("b", "192.0.2.2").to("192.0.2.1"));
    sim.initiate(a, b);
    sim.run_for(2 * SECOND);
    let mut live = over_vici(&sim, a);
    let up = live.sas[0].clone();
    let ended = |n: u32| Tombstone {
        sa: model::SaSnapshot { established: Some((period - 2) * SECOND), reauth_in, ..up.clone() },
        failure: model::Failure { kind: kind.clone(), config: None },
        child: None,
        rekeying: None,
        at: Instant::ZERO,
        ended: n * period * SECOND + 3 * SECOND,
        again_in: None,
        datagrams_in: 9,
        datagrams_out: 9,
    };
    live.ended = (0..5).map(ended).collect();
    live.connections[0].timers = timers
        .iter()
        .map(|(key, time)| LiveTimer {
            key: key.to_string(),
            time: Duration::from_secs(*time),
            place: format!("swanctl.conf:7 (connections.gw.{key})"),
        })
        .collect();
    live.connections[0].ike_lifetime = live.connections[0].timers.iter().map(|timer| timer.time).min();
    diag::live(&live).remove(0)
}

/// An IKE SA that is rekeyed as often as its configuration says is well.
#[test]
fn a_short_rekey_time_that_is_kept_is_no_fault() {
    let replaced = FailureKind::Replaced { by: model::SaId(9) };
    let found = of_pace(10, &replaced, &[("rekey_time", 10)], None);
    assert_ne!(found.id, "flapping", "{found:?}");
    paced(10, &replaced, &[("rekey_time", 14_400)], None);
    paced(5, &replaced, &[("rekey_time", 10)], None);
}

#[test]
fn the_timer_that_has_the_pace_is_named_with_its_place() {
    let deleted = FailureKind::PeerDeleted;
    let silent = FailureKind::NoAnswer {
        waiting_for: RuleId::InformationalResponse,
        to: ([192, 0, 2, 2], 500).into(),
        sent: 6,
        over: 165 * SECOND,
        answered_before: true,
    };
    let long = ("rekey_time", 14_400);
    for (period, kind, timers, left, evidence, lifetime) in [
        (
            60,
            &deleted,
            &[("rekey_time", 60)][..],
            None,
            "rekey_time = 60 s [swanctl.conf:7 (connections.gw.rekey_time)]",
            true,
        ),
        (56, &deleted, &[long, ("reauth_time", 60)], None, "reauth_time = 60 s [swanctl.conf:7", true),
        (72, &deleted, &[("reauth_time", 60), ("over_time", 12)], None, "over_time = 12 s", true),
        (60, &deleted, &[long], Some(2 * SECOND), "AUTH_LIFETIME, RFC 4478", true),
        (190, &silent, &[long, ("dpd_delay", 30)], None, "dpd_delay = 30 s [swanctl.conf:7", false),
        (50, &deleted, &[long, ("dpd_delay", 30)], None, "as a timer of a daemon's: 50 s", false),
        (20, &deleted, &[long], None, "no timer of this connection has that period", false),
    ] {
        let found = paced(period, kind, timers, left);
        assert!(found.evidence.iter().any(|line| line.contains(evidence)), "{evidence}: {found:?}");
        let told = found.causes.iter().zip(&found.remedy).find(|(cause, _)| **cause == Cause::Lifetime);
        let specific = told.is_some_and(|(_, line)| line.as_ref() != Cause::Lifetime.remedy());
        assert_eq!(specific, lifetime, "{found:?}");
        assert_ne!(found.causes[0], Cause::Lifetime, "the reason that was kept comes first");
    }
}

/// A peer of the other version is told with the line of the connection that is configured for its address.
#[test]
fn another_version_names_the_line_of_the_connection() {
    let mut sim = Sim::new(3);
    let a = sim.add(Site::new("a", "192.0.2.1").to("192.0.2.2").connection("version = 1"));
    let b = sim.add(Site::new("b", "192.0.2.2").to("192.0.2.1").connection("version = 2"));
    sim.initiate(a, b);
    sim.run_for(20 * SECOND);
    let connection = sim.endpoint(b).connections().next().unwrap().clone();
    let place = connection.source.get("version");
    assert!(place.line > 0 && place.key == format!("connections.{}.version", connection.name));
    let found = diag::live(&over_vici(&sim, b)).remove(0);
    assert_eq!(found.causes, [Cause::IkeVersion], "{found:?}");
    assert!(found.remedy[0].contains(&format!("[{place}]")), "{found:?}");
}

/// A Child SA that is not there any more is told with its end; one that ended as it was to is not said to be refused.
#[test]
fn a_child_that_ended_is_told_with_its_reason() {
    let mut sim = Sim::new(5);
    let a = sim.add(Site::new("a", "192.0.2.1").to("192.0.2.2").child("inactivity = 5s"));
    let b = sim.add(Site::new("b", "192.0.2.2").to("192.0.2.1"));
    sim.initiate(a, b);
    sim.run_for(60 * SECOND);
    for (node, cause, reason) in
        [(a, &[Cause::NotStarted][..], "no packet for 5 s"), (b, &[Cause::NotStarted, Cause::TrafficSelector], "peer")]
    {
        let found = diag::live(&over_vici(&sim, node)).remove(0);
        assert_eq!(found.causes, cause, "{found:?}");
        let told = |line: &String| line.contains("'net' ended") && line.contains(reason);
        assert!(found.evidence.iter().any(told), "{found:?}");
    }
}
