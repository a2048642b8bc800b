//! What goes wrong below the protocol: the `shrike-send-error` and `shrike-plane-fault` events and their inverses.

use super::{SchemaError, need, parse, parse_if_any};
use crate::Message;
use model::{PlaneFault, SendError, SendTrouble};
use std::time::Duration;

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The `shrike-send-error` event: `{to trouble count last-ms (reporter)}`.
pub fn send_error(error: &SendError) -> Message {
    let mut m = Message::new();
    put_send_error(&mut m, error);
    m
}

pub(super) fn put_send_error(m: &mut Message, error: &SendError) {
    m.set("to", error.to.to_string())
        .set("trouble", error.trouble.code())
        .number("count", error.count)
        .number("last-ms", milliseconds(error.last))
        .maybe("reporter", error.reporter.map(|reporter| reporter.to_string()));
}

/// What a `shrike-send-error` event tells: the inverse of [`send_error`].
///
/// # Errors
/// The key that is missing or cannot be read.
pub fn send_error_from(m: &Message) -> Result<SendError, SchemaError> {
    Ok(SendError {
        to: parse(m, "to")?,
        trouble: SendTrouble::from_code(need(m, "trouble")?).unwrap_or(SendTrouble::Other),
        count: parse(m, "count")?,
        last: Duration::from_millis(parse(m, "last-ms")?),
        reporter: parse_if_any(m, "reporter")?,
    })
}

/// The `shrike-plane-fault` event: `{kind}` and what it is about.
pub fn plane_fault(fault: &PlaneFault) -> Message {
    let mut m = Message::new();
    match fault {
        PlaneFault::SaMissing { child, spi, inbound } => {
            m.set("kind", "sa-missing").set("child", child).number("spi", *spi).flag("inbound", *inbound)
        }
        PlaneFault::PolicyMissing { child, direction, packets } => {
            m.set("kind", "policy-missing").set("child", child).set("direction", direction).set("packets", packets)
        }
        PlaneFault::PolicyInTheWay { child, direction, packets, priority, ours, does } => m
            .set("kind", "policy-in-the-way")
            .set("child", child)
            .set("direction", direction)
            .set("packets", packets)
            .number("priority", *priority)
            .number("ours", *ours)
            .set("does", does),
        PlaneFault::OtherSa { child, spi, ours } => {
            m.set("kind", "other-sa").set("child", child).number("spi", *spi).number("ours", *ours)
        }
        PlaneFault::RouteMissing { child, network, table } => {
            m.set("kind", "route-missing").set("child", child).set("network", network).number("table", *table)
        }
        PlaneFault::RuleMissing { ipv6, preference, table, mark } => m
            .set("kind", "rule-missing")
            .flag("ipv6", *ipv6)
            .number("preference", *preference)
            .number("table", *table)
            .number("mark", *mark),
        PlaneFault::Dropped { child, spi, replayed, late, failed } => m
            .set("kind", "dropped")
            .set("child", child)
            .number("spi", *spi)
            .number("replayed", *replayed)
            .number("late", *late)
            .number("failed", *failed),
        PlaneFault::Counted { name, count, within } => m
            .set("kind", "counted")
            .set("name", name)
            .number("count", *count)
            .number("within-ms", milliseconds(*within)),
    };
    m
}

/// What a `shrike-plane-fault` event tells: the inverse of [`plane_fault`].
///
/// # Errors
/// The key that is missing or cannot be read, or a kind that this version does not know.
pub fn plane_fault_from(m: &Message) -> Result<PlaneFault, SchemaError> {
    let text = |key| need(m, key).map(str::to_string);
    Ok(match need(m, "kind")? {
        "sa-missing" => PlaneFault::SaMissing {
            child: text("child")?,
            spi: parse(m, "spi")?,
            inbound: m.get_str("inbound") == Some("yes"),
        },
        "policy-missing" => PlaneFault::PolicyMissing {
            child: text("child")?,
            direction: text("direction")?,
            packets: text("packets")?,
        },
        "policy-in-the-way" => PlaneFault::PolicyInTheWay {
            child: text("child")?,
            direction: text("direction")?,
            packets: text("packets")?,
            priority: parse(m, "priority")?,
            ours: parse(m, "ours")?,
            does: text("does")?,
        },
        "other-sa" => PlaneFault::OtherSa { child: text("child")?, spi: parse(m, "spi")?, ours: parse(m, "ours")? },
        "route-missing" => {
            PlaneFault::RouteMissing { child: text("child")?, network: text("network")?, table: parse(m, "table")? }
        }
        "rule-missing" => PlaneFault::RuleMissing {
            ipv6: m.get_str("ipv6") == Some("yes"),
            preference: parse(m, "preference")?,
            table: parse(m, "table")?,
            mark: parse(m, "mark")?,
        },
        "dropped" => PlaneFault::Dropped {
            child: text("child")?,
            spi: parse(m, "spi")?,
            replayed: parse(m, "replayed")?,
            late: parse(m, "late")?,
            failed: parse(m, "failed")?,
        },
        "counted" => PlaneFault::Counted {
            name: text("name")?,
            count: parse(m, "count")?,
            within: Duration::from_millis(parse(m, "within-ms")?),
        },
        kind => return Err(SchemaError::Value { key: "kind", value: kind.into() }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_of_sending_is_read_back() {
        for trouble in SendTrouble::ALL {
            let told = SendError {
                to: "[2001:db8::1]:4500".parse().unwrap(),
                trouble,
                count: 9,
                last: Duration::from_millis(2500),
                reporter: (trouble == SendTrouble::HostUnreachable).then(|| "192.0.2.9".parse().unwrap()),
            };
            assert_eq!(send_error_from(&send_error(&told)), Ok(told));
        }
        assert!(send_error_from(&Message::new()).is_err());
    }

    #[test]
    fn what_was_told_of_the_data_plane_is_read_back() {
        let text = |text: &str| text.to_string();
        let (child, direction, packets) = (text("net"), text("out"), text("10.1.0.0/16 -> 10.2.0.0/16"));
        for told in [
            PlaneFault::SaMissing { child: child.clone(), spi: 0xc0ff_ee01, inbound: true },
            PlaneFault::PolicyMissing { child: child.clone(), direction: direction.clone(), packets: packets.clone() },
            PlaneFault::PolicyInTheWay {
                child: child.clone(),
                direction,
                packets,
                priority: 1,
                ours: 2,
                does: text("block"),
            },
            PlaneFault::OtherSa { child: child.clone(), spi: 1, ours: 2 },
            PlaneFault::RouteMissing { child: child.clone(), network: text("10.2.0.0/16"), table: 220 },
            PlaneFault::RuleMissing { ipv6: true, preference: 220, table: 221, mark: 7 },
            PlaneFault::Dropped { child, spi: 1, replayed: 2, late: 3, failed: 4 },
            PlaneFault::Counted { name: text("XfrmInNoPols"), count: 5, within: Duration::from_secs(60) },
        ] {
            assert_eq!(plane_fault_from(&plane_fault(&told)), Ok(told));
        }
        assert!(plane_fault_from(&Message::new()).is_err());
    }
}
