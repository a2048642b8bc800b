//! What came of probing Child SAs: the `shrike-probe` event, the answer to the command of the same name, and their inverse.

use super::{SchemaError, need, parse, parse_if_any};
use crate::Message;
use model::{Probe, ProbeOutcome, SendTrouble};
use std::time::Duration;

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The `shrike-probe` event: which Child SA, from where to where, and `outcome` with what belongs to it.
pub fn probe(probe: &Probe) -> Message {
    let mut m = Message::new();
    m.set("connection", &probe.connection)
        .set("child", &probe.child)
        .set("peer", probe.peer.to_string())
        .set("local-ts", &probe.local_ts)
        .set("remote-ts", &probe.remote_ts)
        .maybe("local", probe.local.map(|address| address.to_string()))
        .maybe("to", probe.to.map(|address| address.to_string()))
        .flag("named", probe.named)
        .number("sent", probe.sent)
        .number("answers", probe.answers)
        .maybe("outbound", probe.outbound)
        .maybe("inbound", probe.inbound)
        .number("ago-us", microseconds(probe.ago));
    match &probe.outcome {
        ProbeOutcome::NoLocalAddress => m.set("outcome", "no-local-address"),
        ProbeOutcome::NoTarget => m.set("outcome", "no-target"),
        ProbeOutcome::OutsideSelectors => m.set("outcome", "outside-selectors"),
        ProbeOutcome::NoSocket(why) => m.set("outcome", "no-socket").set("why", why),
        ProbeOutcome::CannotSend(trouble) => m.set("outcome", "cannot-send").set("trouble", trouble.code()),
        ProbeOutcome::NoAnswer { unreachable } => {
            m.set("outcome", "no-answer").maybe("unreachable", unreachable.map(|address| address.to_string()))
        }
        ProbeOutcome::Answers { round_trip, largest, silent, limit, too_long } => m
            .set("outcome", "answers")
            .number("round-trip-us", microseconds(*round_trip))
            .number("largest", *largest)
            .maybe("silent", *silent)
            .number("limit", *limit)
            .number("too-long", *too_long),
    };
    m
}

/// What a `shrike-probe` event tells: the inverse of [`probe`].
///
/// # Errors
/// The key that is missing or cannot be read.
pub fn probe_from(m: &Message) -> Result<Probe, SchemaError> {
    let text = |key| need(m, key).map(str::to_string);
    let outcome = match need(m, "outcome")? {
        "no-local-address" => ProbeOutcome::NoLocalAddress,
        "no-target" => ProbeOutcome::NoTarget,
        "outside-selectors" => ProbeOutcome::OutsideSelectors,
        "no-socket" => ProbeOutcome::NoSocket(text("why")?),
        "cannot-send" => {
            ProbeOutcome::CannotSend(SendTrouble::from_code(need(m, "trouble")?).unwrap_or(SendTrouble::Other))
        }
        "no-answer" => ProbeOutcome::NoAnswer { unreachable: parse_if_any(m, "unreachable")? },
        "answers" => ProbeOutcome::Answers {
            round_trip: Duration::from_micros(parse(m, "round-trip-us")?),
            largest: parse(m, "largest")?,
            silent: parse_if_any(m, "silent")?,
            limit: parse(m, "limit")?,
            too_long: parse(m, "too-long")?,
        },
        other => return Err(SchemaError::Value { key: "outcome", value: other.to_string() }),
    };
    Ok(Probe {
        connection: text("connection")?,
        child: text("child")?,
        peer: parse(m, "peer")?,
        local_ts: text("local-ts")?,
        remote_ts: text("remote-ts")?,
        local: parse_if_any(m, "local")?,
        to: parse_if_any(m, "to")?,
        named: m.get_str("named") == Some("yes"),
        outcome,
        sent: parse(m, "sent")?,
        answers: parse(m, "answers")?,
        outbound: parse_if_any(m, "outbound")?,
        inbound: parse_if_any(m, "inbound")?,
        ago: Duration::from_micros(parse(m, "ago-us")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_comes_back() {
        let reporter = Some([10, 2, 0, 254].into());
        let round_trip = Duration::from_micros(1234);
        for outcome in [
            ProbeOutcome::NoLocalAddress,
            ProbeOutcome::NoTarget,
            ProbeOutcome::OutsideSelectors,
            ProbeOutcome::NoSocket("not permitted".into()),
            ProbeOutcome::CannotSend(SendTrouble::NetworkUnreachable),
            ProbeOutcome::NoAnswer { unreachable: reporter },
            ProbeOutcome::NoAnswer { unreachable: None },
            ProbeOutcome::Answers { round_trip, largest: 1240, silent: Some(1241), limit: 1400, too_long: 0 },
            ProbeOutcome::Answers { round_trip, largest: 1400, silent: None, limit: 1400, too_long: 1 },
        ] {
            let known = !matches!(outcome, ProbeOutcome::NoLocalAddress | ProbeOutcome::NoTarget);
            let told = Probe {
                connection: "gw".into(),
                child: "net".into(),
                peer: [192, 0, 2, 2].into(),
                local_ts: "10.1.0.0/16".into(),
                remote_ts: "10.2.0.0/16 2001:db8::/64".into(),
                local: known.then(|| [10, 1, 0, 1].into()),
                to: known.then(|| [10, 2, 0, 1].into()),
                named: known,
                outcome,
                sent: 12,
                answers: 7,
                outbound: known.then_some(12),
                inbound: None,
                ago: Duration::from_millis(17),
            };
            assert_eq!(probe_from(&probe(&told)), Ok(told.clone()));
        }
        let mut other = Message::new();
        other.set("outcome", "of another version");
        assert_eq!(probe_from(&other), Err(SchemaError::Value { key: "outcome", value: "of another version".into() }));
        assert!(probe_from(&Message::new()).is_err());
    }
}
