//! Messages of SAs that the daemon does not have: the `shrike-stray` event and its inverse.

use super::{SchemaError, hex, need, parse, parse_if_any};
use crate::Message;
use model::{Stray, StraySa};
use std::time::Duration;
use wire::SpiPair;

/// The `shrike-stray` event of one address: `{from connections [..] (version initiator-spi responder-spi | spi) count
/// last-ms}`.
pub fn stray(stray: &Stray) -> Message {
    let mut m = Message::new();
    m.set("from", stray.from.to_string()).list("connections", &stray.connections);
    match stray.sa {
        StraySa::Ike { version, spis } => m
            .number("version", version)
            .set("initiator-spi", spis.initiator.to_string())
            .set("responder-spi", spis.responder.to_string()),
        StraySa::Esp { spi } => m.set("spi", format!("{spi:08x}")),
    };
    m.number("count", stray.count).number("last-ms", u64::try_from(stray.last.as_millis()).unwrap_or(u64::MAX));
    m
}

/// What a `shrike-stray` event tells: the inverse of [`stray`].
///
/// # Errors
/// The key that is missing or cannot be read.
pub fn stray_from(m: &Message) -> Result<Stray, SchemaError> {
    let sa = match parse_if_any(m, "version")? {
        Some(version) => {
            let cookie = |key| Ok::<_, SchemaError>(hex(m, key)?.unwrap_or_default().into());
            let spis = SpiPair { initiator: cookie("initiator-spi")?, responder: cookie("responder-spi")? };
            StraySa::Ike { version, spis }
        }
        None => {
            let text = need(m, "spi")?;
            let wrong = |_| SchemaError::Value { key: "spi", value: text.into() };
            StraySa::Esp { spi: u32::from_str_radix(text, 16).map_err(wrong)? }
        }
    };
    Ok(Stray {
        from: parse(m, "from")?,
        connections: m.texts("connections").map(str::to_string).collect(),
        sa,
        count: parse(m, "count")?,
        last: Duration::from_millis(parse(m, "last-ms")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_read_back() {
        let spis = SpiPair { initiator: 0x0123_4567_89ab_cdef.into(), responder: 0xfedc_ba98_7654_3210.into() };
        for sa in [StraySa::Ike { version: 1, spis }, StraySa::Esp { spi: 0xc0ff_ee01 }] {
            let told = Stray {
                from: "2001:db8::1".parse().unwrap(),
                connections: vec!["gw".into(), "gw2".into()],
                sa,
                count: 7,
                last: Duration::from_millis(1500),
            };
            assert_eq!(stray_from(&stray(&told)), Ok(told));
        }
        assert!(stray_from(&Message::new()).is_err());
    }
}
