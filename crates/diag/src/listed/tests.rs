use super::*;
use model::{ExchangeMode, Tally};
use wire::SpiPair;

/// An SA of racoon's: cookies of this number, ST 9 unless said otherwise.
fn sa(number: u64) -> ListedSa {
    ListedSa {
        source: Some("198.51.100.1".into()),
        peer: "203.0.113.2".into(),
        port: Some(500),
        version: Some(1),
        spis: Some(SpiPair { initiator: (number + 1).into(), responder: (number + 100).into() }),
        role: Some(Role::Initiator),
        mode: Some(ExchangeMode::IdentityProtection),
        st: Some(9),
        established: true,
        phase2: Some(1),
        ..ListedSa::default()
    }
}

/// One look every so many seconds, at what is there at that second.
fn series(every: u64, looks: u64, at: impl Fn(u64) -> Vec<ListedSa>) -> Vec<Listing> {
    (0..looks).map(|n| Listing { at: Some(n * every * 1000), sas: at(n * every) }).collect()
}

fn verdict(series: &[Listing]) -> (&'static str, Severity, Option<Cause>) {
    let found = listed(series);
    let [found] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!(found.remedy.len(), found.causes.len());
    (found.id, found.severity, found.causes.first().copied())
}

#[test]
fn an_sa_that_follows_another_which_never_was_dying_is_flapping() {
    use Severity::Error;
    for (every, period, cause) in [
        (2, 8, C::PeerDelete),
        (5, 12, C::PeerDelete),
        (20, 60, C::PeerDelete),
        (30, 150, C::DpdTimeout),
        (60, 60, C::PeerDelete),
        (60, 300, C::PeerDelete),
    ] {
        let found = verdict(&series(every, period * 6 / every, |second| vec![sa(second / period)]));
        assert_eq!(found, ("flapping", Error, Some(cause)), "{period}");
    }
    let childless = |second| vec![ListedSa { phase2: Some(0), ..sa(second / 60) }];
    assert_eq!(verdict(&series(20, 30, childless)), ("flapping", Error, Some(C::ChildFailed)));
    let turned = |second| {
        let role = if second / 30 % 2 == 0 { Role::Initiator } else { Role::Responder };
        vec![ListedSa { role: Some(role), ..sa(second / 30) }]
    };
    assert_eq!(verdict(&series(15, 30, turned)), ("flapping", Error, Some(C::Collision)));
    let with_gaps = |second: u64| if second % 150 < 120 { vec![sa(second / 150)] } else { vec![] };
    assert_eq!(verdict(&series(30, 40, with_gaps)), ("flapping", Error, Some(C::DpdTimeout)));
    let found = listed(&series(20, 30, |second| vec![sa(second / 60)]));
    assert!(found[0].why.contains("about every 60 s"), "{}", found[0].why);
    assert!(found[0].evidence.iter().any(|line| line.contains("a timer of about that length: 60 s")), "{found:?}");
    assert!(found[0].remedy[0].contains("a timer of about 60 s"), "{found:?}");
    let expiring = |second: u64| if second % 300 < 240 { vec![sa(second / 300)] } else { vec![] };
    let found = listed(&series(30, 60, expiring));
    assert_eq!(found[0].causes.first(), Some(&C::Lifetime), "{found:?}");
    assert!(found[0].remedy[0].contains("look for one of about 300 s"), "{found:?}");
}

#[test]
fn what_is_dying_beside_its_successor_is_rekeyed() {
    // As racoon does it: at 80 % of a lifetime of 75 s, the old one dying for the rest.
    let rekeyed = |second: u64| {
        let (number, since) = (second / 60, second % 60);
        let old = ListedSa { st: Some(10), phase2: Some(0), ..sa(number.saturating_sub(1)) };
        if number > 0 && since < 15 { vec![sa(number), old] } else { vec![sa(number)] }
    };
    assert_eq!(verdict(&series(5, 200, rekeyed)), ("established", Severity::Ok, None));
    // One restart, then another an hour later.
    let restarted = |second| vec![sa(second / 3600)];
    assert_eq!(verdict(&series(60, 200, restarted)), ("established", Severity::Ok, None));
    // IKEv2 without ages in the listing: the old one is deleted as soon as the new one is there.
    let v2 = |second| vec![ListedSa { version: Some(2), mode: None, ..sa(second / 60) }];
    assert_eq!(verdict(&series(20, 30, v2)), ("established", Severity::Ok, None));
    // Where it says that it had hours left, it was none.
    let left = |second| vec![ListedSa { left: Some(28_000), ..v2(second).remove(0) }];
    assert_eq!(verdict(&series(20, 30, left)), ("flapping", Severity::Error, Some(C::PeerDelete)));
    let v2_lost = |second: u64| if second % 60 < 40 { v2(second) } else { vec![] };
    assert_eq!(verdict(&series(20, 30, v2_lost)), ("flapping", Severity::Error, Some(C::DpdTimeout)));
}

#[test]
fn listings_without_times_have_the_instants_of_establishment() {
    let with = |created: u64| vec![ListedSa { created: Some(created), ..sa(created) }];
    let untimed = |period: u64| (0..5).map(|n| Listing { at: None, sas: with(1000 + n * period) }).collect::<Vec<_>>();
    assert_eq!(verdict(&untimed(60)), ("flapping", Severity::Error, Some(C::PeerDelete)));
    assert_eq!(verdict(&untimed(28_800)), ("established", Severity::Ok, None));
}

#[test]
fn all_peers_at_one_instant_are_this_end() {
    let of = |peer: u64, second: u64| ListedSa { peer: format!("203.0.113.{peer}"), ..sa(second * 10 + peer) };
    let all = |second: u64| (2..7).map(|peer| of(peer, second / 120)).collect::<Vec<_>>();
    let found = listed(&series(20, 40, all));
    let [one] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!((one.id, one.peer.as_str(), one.severity), ("flapping", "5 peers", Severity::Error));
    assert!(one.why.contains("at this end") && one.remedy[0].contains("look at this end"), "{one:?}");
    // Three of them at a time of their own, two that stay: each for itself.
    let some =
        |second: u64| (2..7).map(|peer| of(peer, if peer < 5 { (second + peer * 30) / 120 } else { 0 })).collect();
    let found = listed(&series(20, 40, some));
    assert_eq!(found.iter().filter(|one| one.id == "flapping").count(), 3);
    assert_eq!(found.len(), 5);
    // Once is a restart.
    let once = listed(&series(60, 30, |second| (2..7).map(|peer| of(peer, second / 900)).collect()));
    assert!(once.iter().all(|one| one.severity == Severity::Ok), "{once:?}");
}

#[test]
fn two_peers_with_one_identity_put_each_other_out() {
    let of = |peer: u64, number| ListedSa { peer: format!("203.0.113.{peer}"), ..sa(number) };
    let turns = |second: u64| vec![of(2 + second / 60 % 2, second / 60)];
    let found = listed(&series(20, 40, turns));
    assert_eq!(found.len(), 2);
    for one in &found {
        assert_eq!((one.id, one.causes[0]), ("flapping", C::Collision), "{one:?}");
        assert!(one.why.contains("203.0.113.2 and") || one.why.contains("and 203.0.113.2"), "{one:?}");
        assert!(one.remedy[0].contains("an identity of its own"), "{one:?}");
    }
    // Two that flap by themselves are both there most of the time.
    let each = |second: u64| {
        let up = |peer: u64, at: u64| (at % 150 < 120).then(|| of(peer, at / 150 * 10 + peer));
        [up(2, second), up(3, second + 70)].into_iter().flatten().collect()
    };
    let found = listed(&series(10, 120, each));
    assert!(found.iter().all(|one| one.causes[0] == C::DpdTimeout) && found.len() == 2, "{found:?}");
}

#[test]
fn a_watch_and_a_series_agree() {
    type Look = fn(u64) -> Vec<ListedSa>;
    let cases: [(&str, Look, bool); 7] = [
        ("IKEv2", |second| vec![ListedSa { version: Some(2), ..sa(second / 60) }], false),
        ("IKEv2, childless", |second| vec![ListedSa { version: Some(2), phase2: Some(0), ..sa(second / 60) }], true),
        ("each minute", |second| vec![sa(second / 60)], true),
        ("with gaps", |second| if second % 150 < 120 { vec![sa(second / 150)] } else { vec![] }, true),
        ("each hour", |second| vec![sa(second / 3600)], false),
        ("for ever", |_| vec![sa(1)], false),
        (
            "rekeyed",
            |second| {
                let old = ListedSa { st: Some(10), ..sa((second / 60).saturating_sub(1)) };
                if second >= 60 && second % 60 < 20 { vec![sa(second / 60), old] } else { vec![sa(second / 60)] }
            },
            false,
        ),
    ];
    for (name, at, flaps) in cases {
        let mut watch = crate::Watch::default();
        for listing in series(10, 200, at) {
            watch.take(listing.at.unwrap(), listing.sas);
        }
        let findings = watch.findings();
        assert_eq!(findings.iter().any(|found| found.id == "flapping"), flaps, "{name}: {findings:?}");
        let peer = watch.watched().remove(0);
        assert_eq!(peer.condition == crate::Condition::Flapping, flaps, "{name}: {peer:?}");
    }
}

#[test]
fn both_ends_decide_together() {
    let initiator = |st, port| ListedSa { st: Some(st), port: Some(port), established: st == 9, phase2: None, ..sa(1) };
    let responder = |st, port| ListedSa {
        source: Some("203.0.113.2".into()),
        peer: "198.51.100.1".into(),
        role: Some(Role::Responder),
        ..initiator(st, port)
    };
    let of = |sa: ListedSa| series(10, 5, |_| vec![sa.clone()]);
    for ((i, i_port), (r, r_port), first, not) in [
        ((7, 4500), (5, 500), C::NatTraversal, Some(C::PskMismatch)),
        ((7, 4500), (5, 4500), C::PskMismatch, Some(C::NatTraversal)),
        ((7, 500), (5, 500), C::PskMismatch, Some(C::NatTraversal)),
        ((3, 500), (3, 500), C::NoResponse, Some(C::Phase1Proposal)),
        ((5, 500), (3, 500), C::NoResponse, Some(C::PskMismatch)),
        ((7, 500), (9, 500), C::AuthFailed, None),
    ] {
        let (a, b) = (of(initiator(i, i_port)), of(responder(r, r_port)));
        for (here, there) in [(&a, &b), (&b, &a)] {
            let found = listed_beside(here, &[there]).remove(0);
            if found.severity == Severity::Ok {
                continue; // what has finished knows nothing of it
            }
            assert_eq!(found.causes.first(), Some(&first), "{i} and {r}: {found:?}");
            assert!(not.is_none_or(|not| !found.causes.contains(&not)), "{i} and {r}: {found:?}");
        }
    }
    // Another SA's row decides nothing.
    let other = of(ListedSa { spis: sa(7).spis, ..responder(5, 500) });
    assert_eq!(listed_beside(&of(initiator(7, 4500)), &[&other])[0].causes, listed(&of(initiator(7, 4500)))[0].causes);
}

#[test]
fn a_look_between_two_child_sas_is_no_fault() {
    let of = |counts: &[u32], state: Option<&str>| {
        let state = state.map(str::to_string);
        let look = |(n, count): (u64, &u32)| Listing {
            at: Some(n * 1000),
            sas: vec![ListedSa { phase2: Some(*count), state: state.clone(), ..sa(1) }],
        };
        verdict(&(0..).zip(counts).map(look).collect::<Vec<_>>()).0
    };
    let charon = Some("ESTABLISHED");
    assert_eq!(of(&[1, 1, 0, 1, 1], charon), "established");
    assert_eq!((of(&[1, 0, 1, 0, 1], charon), of(&[1, 0, 1, 0], charon)), ("no-phase-2", "no-phase-2"));
    // racoon's are those under negotiation.
    assert_eq!(of(&[1, 0, 1], None), "no-phase-2");
}

#[test]
fn an_empty_listing_is_a_finding() {
    assert_eq!(verdict(&series(10, 5, |_| vec![])), ("not-started", Severity::Info, Some(C::NotStarted)));
    assert_eq!(listed(&[]), []);
}

#[test]
fn a_peer_without_an_address_is_called_by_its_connection() {
    let nameless = |name: Option<&str>| {
        let sas = vec![ListedSa { peer: String::new(), source: None, name: name.map(str::to_string), ..sa(1) }];
        listed(&[Listing { at: None, sas }]).remove(0).peer
    };
    assert_eq!((nameless(Some("gw #12")), nameless(None)), ("gw".into(), "a peer without a name".into()));
}

#[test]
fn what_does_not_come_back_within_half_a_minute_is_lost() {
    let connecting = ListedSa { established: false, st: Some(3), phase2: None, ..sa(7) };
    let looks = |times: [u64; 3]| {
        let at = |time: u64, sa: &ListedSa| Listing { at: Some(time * 1000), sas: vec![sa.clone()] };
        let [first, begun, last] = times;
        vec![at(first, &sa(1)), at(begun, &connecting), at(last, &connecting)]
    };
    let (id, severity, _) = verdict(&looks([0, 60, 120]));
    assert_eq!((id, severity), ("lost", Severity::Error));
    assert_eq!(verdict(&looks([0, 60, 70])).1, Severity::Info);
}

#[test]
fn established_and_nothing_passes() {
    let with = |traffic, port| vec![Listing { at: None, sas: vec![ListedSa { traffic, port: Some(port), ..sa(1) }] }];
    assert_eq!(verdict(&with(Some((0, 1000)), 4500)), ("one-way", Severity::Warning, Some(C::NatTraversal)));
    for healthy in [None, Some((0, 0)), Some((0, 5)), Some((1, 1000)), Some((1000, 0))] {
        assert_eq!(verdict(&with(healthy, 4500)), ("established", Severity::Ok, None), "{healthy:?}");
    }
}

#[test]
fn no_phase_2_for_a_reason_that_the_listing_has() {
    let one = |sa: ListedSa| vec![Listing { at: None, sas: vec![ListedSa { phase2: Some(0), ..sa }] }];
    let asking = ListedSa { asking: Some("STATE_QUICK_I1".into()), ..sa(1) };
    assert_eq!(verdict(&one(asking)), ("no-phase-2", Severity::Warning, Some(C::Phase2Timeout)));
    let tally = |ike, children| Some(Tally { ike, children, seconds: Some(1043) });
    let refused = ListedSa { tally: tally((1, 1), (12, 0)), ..sa(1) };
    assert_eq!(verdict(&one(refused)), ("no-phase-2", Severity::Error, Some(C::ChildFailed)));
    let v2 = |age, wanted| ListedSa { version: Some(2), age: Some(age), lifetime: Some(28_800), wanted, ..sa(1) };
    assert_eq!(verdict(&one(v2(14_691, Some(2)))), ("established", Severity::Warning, Some(C::NotStarted)));
    assert_eq!(verdict(&one(v2(20, Some(2)))), ("established", Severity::Info, Some(C::NotStarted)));
    assert_eq!(verdict(&one(v2(20, None))), ("established", Severity::Info, None));
    assert_eq!(verdict(&one(sa(1))), ("established", Severity::Info, None));
    // In a series it stays so: refused where it is made with its Child SA, perhaps not asked for where it is not.
    let stays = |sa: ListedSa| series(20, 4, |_| vec![ListedSa { phase2: Some(0), ..sa.clone() }]);
    assert_eq!(verdict(&stays(v2(20, None))), ("established", Severity::Info, Some(C::ChildFailed)));
    assert_eq!(verdict(&stays(sa(1))), ("established", Severity::Info, Some(C::NotStarted)));
    // Established so often in so little time.
    let often = |ike| ListedSa { tally: tally(ike, (9, 9)), lifetime: Some(86_400), age: Some(3), ..sa(1) };
    let of = |sa| vec![Listing { at: None, sas: vec![sa] }];
    assert_eq!(verdict(&of(often((248, 247)))), ("flapping", Severity::Error, Some(C::PeerDelete)));
    assert_eq!(verdict(&of(often((2, 2)))), ("established", Severity::Ok, None));
}

#[test]
fn the_pace_of_what_goes_early_names_its_timer() {
    let aged =
        |second: u64, period| ListedSa { age: Some(second % period), lifetime: Some(28_800), ..sa(second / period) };
    for (period, first, told) in
        [(160, C::DpdTimeout, Some("150 s to 200 s")), (60, C::PeerDelete, Some("60 s:")), (90, C::PeerDelete, None)]
    {
        let found = listed(&series(10, 120, |second| vec![aged(second, period)])).remove(0);
        assert_eq!((found.id, found.causes[0]), ("flapping", first), "{period}: {found:?}");
        assert!(found.evidence.iter().any(|line| line.contains(&format!("about {period} s"))), "{found:?}");
        let timer = found.evidence.iter().find(|line| line.contains("a timer of about that length"));
        assert_eq!(timer.is_some(), told.is_some(), "{period}");
        assert!(told.is_none_or(|told| found.remedy[0].contains(told)), "{found:?}");
    }
}

#[test]
fn an_sa_that_was_replaced_early_once_is_told() {
    let aged = |number, age| ListedSa { age: Some(age), lifetime: Some(28_800), ..sa(number) };
    let looks = |old| vec![Listing { at: None, sas: vec![aged(1, old)] }, Listing { at: None, sas: vec![aged(2, 20)] }];
    assert_eq!(verdict(&looks(500)), ("established", Severity::Info, Some(C::PeerDelete)));
    assert_eq!(verdict(&looks(28_000)), ("established", Severity::Ok, None));
}

#[test]
fn begun_by_both_and_empty_is_a_collision() {
    let role = |number, role, phase2| ListedSa { role: Some(role), phase2: Some(phase2), ..sa(number) };
    let both = |phase2| vec![role(1, Role::Initiator, phase2), role(2, Role::Responder, phase2)];
    let one = |sas| vec![Listing { at: None, sas }];
    assert_eq!(verdict(&one(both(0))), ("established", Severity::Warning, Some(C::Collision)));
    assert_eq!(verdict(&one(both(1))), ("established", Severity::Info, Some(C::Collision)));
    let mut replaced = both(1);
    replaced[1].state = Some("REKEYED".into());
    assert_eq!(verdict(&one(replaced)), ("established", Severity::Ok, None));
}

#[test]
fn an_attempt_that_is_over_does_not_hide_the_one_under_way() {
    let row = |number, st, state: &str| {
        let (state, role) = (Some(state.to_string()), Some(Role::Initiator));
        ListedSa {
            spis: None,
            name: Some(format!("conn-id {number}")),
            established: false,
            st: Some(st),
            state,
            role,
            phase2: None,
            ..sa(number)
        }
    };
    let sas = vec![row(1003, 7, "MM_KEY_EXCH"), row(1002, 3, "MM_NO_STATE (deleted)")];
    let found = listed(&[Listing { at: None, sas }]).remove(0);
    assert_eq!(found.causes.first(), Some(&C::PskMismatch), "{found:?}");
    let dead = ListedSa { ipsec: true, established: false, st: None, state: Some("dead".into()), ..sa(1) };
    assert_eq!(verdict(&series(20, 5, |_| vec![dead.clone()])).2, Some(C::DpdTimeout));
    let down = ListedSa {
        spis: None,
        role: None,
        version: None,
        st: None,
        established: false,
        state: Some("DOWN".into()),
        ..sa(1)
    };
    assert_eq!(
        verdict(&series(20, 5, |_| vec![down.clone()])),
        ("not-started", Severity::Warning, Some(C::NotStarted))
    );
}

#[test]
fn the_same_name_may_be_another_sa() {
    // Palo Alto has no cookies in its listing, but when each SA was established.
    let named = |created| ListedSa { spis: None, name: Some("gw".into()), created: Some(created), ..sa(1) };
    let found = verdict(&series(20, 30, |second| vec![named(second / 60 * 60)]));
    assert_eq!(found, ("flapping", Severity::Error, Some(C::PeerDelete)));
    assert_eq!(verdict(&series(20, 30, |_| vec![named(7)])), ("established", Severity::Ok, None));
}
