//! What carries a daemon's line: the journal's JSON and export format, a container's or a cloud's JSON.

use super::prefix;
use std::borrow::Cow;

/// What a line carries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Carried<'a> {
    /// When, in milliseconds, where the carrier says it.
    pub at: Option<u64>,
    /// The daemon's line; none where the carrier only says when the next one was written.
    pub text: Option<Cow<'a, str>>,
}

/// Fields that hold the line: of the journal, of container engines, of log collectors and of AWS.
const TEXTS: [&str; 8] = ["MESSAGE", "log", "message", "msg", "details", "@message", "textPayload", "line"];
/// Fields that hold the time.
const TIMES: [&str; 7] =
    ["__REALTIME_TIMESTAMP", "_SOURCE_REALTIME_TIMESTAMP", "event_timestamp", "time", "timestamp", "@timestamp", "ts"];

/// What a line carries, if it is a carrier.
pub(super) fn unwrap(line: &str) -> Option<Carried<'_>> {
    if let Some(text) = line.strip_prefix("MESSAGE=") {
        return Some(Carried { at: None, text: Some(text.into()) });
    }
    if let Some(stamp) = line.strip_prefix("__REALTIME_TIMESTAMP=") {
        return Some(Carried { at: time(stamp), text: None });
    }
    if !line.starts_with('{') {
        return None;
    }
    let text = TEXTS.iter().find_map(|name| field(line, name)).map(plain)?;
    let at = TIMES.iter().find_map(|name| field(line, name)).and_then(time);
    Some(Carried { at, text: Some(text) })
}

/// What stands behind `"NAME":`, without its quotation marks.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = line;
    loop {
        let at = memchr::memmem::find(rest.as_bytes(), name.as_bytes())?;
        let (before, behind) = (rest.get(..at)?, rest.get(at + name.len()..)?);
        rest = behind;
        let Some(value) = behind.strip_prefix('"').filter(|_| before.ends_with('"') && !before.ends_with("\\\""))
        else {
            continue;
        };
        let Some(value) = value.trim_start().strip_prefix(':') else { continue };
        let value = value.trim_start();
        return match value.strip_prefix('"') {
            Some(text) => text.get(..end_of(text)),
            None => value.get(..value.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count()),
        }
        .filter(|value| !value.is_empty());
    }
}

/// Where a string of JSON ends.
fn end_of(text: &str) -> usize {
    let mut escaped = false;
    let ends = |b: u8| {
        let end = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        end
    };
    text.bytes().position(ends).unwrap_or(text.len())
}

/// A string of JSON without its escapes (RFC 8259 section 7).
fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match characters.next() {
            Some('n' | 'r' | 't' | 'b' | 'f') => out.push(' '),
            Some('u') => {
                let digits: String = characters.by_ref().take(4).collect();
                let character = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                out.extend(character.filter(|c| !c.is_control()).or(Some(' ')));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out.into()
}

/// Seconds, milliseconds, microseconds or nanoseconds since 1970 by their size, or a date.
fn time(text: &str) -> Option<u64> {
    let whole = text.split('.').next().unwrap_or(text);
    if whole.is_empty() || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return prefix::split(text).at;
    }
    let number: u64 = whole.parse().ok()?;
    Some(match number {
        0..100_000_000_000 => number * 1000,
        100_000_000_000..100_000_000_000_000 => number,
        100_000_000_000_000..100_000_000_000_000_000 => number / 1000,
        _ => number / 1_000_000,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn carried(line: &str) -> Option<(Option<u64>, String)> {
        unwrap(line).and_then(|carried| Some((carried.at, carried.text?.into_owned())))
    }

    #[test]
    fn each_carrier_is_opened() {
        for (line, at, text) in [
            (
                r#"{"__REALTIME_TIMESTAMP":"1759561872123456","MESSAGE":"peer \"a\" said\u0020no\n","_PID":"7"}"#,
                Some(1_759_561_872_123),
                "peer \"a\" said no ",
            ),
            (
                r#"{"event_timestamp": 1759561873, "details": "No Proposal Match Found", "dpd_enabled": true}"#,
                Some(1_759_561_873_000),
                "No Proposal Match Found",
            ),
            (r#"{"stream":"stdout","log":"13[IKE] x\n"}"#, None, "13[IKE] x "),
            ("MESSAGE=13[IKE] x", None, "13[IKE] x"),
        ] {
            assert_eq!(carried(line), Some((at, text.to_string())), "{line}");
        }
        let docker = |time: &str| carried(&format!(r#"{{"log":"x","time":"{time}"}}"#)).unwrap().0.unwrap();
        assert_eq!(docker("2025-10-01T00:01:00.5Z") - docker("2025-10-01T00:00:00.000000000Z"), 60_500);
        assert_eq!(unwrap("__REALTIME_TIMESTAMP=1759561872123456").unwrap().at, Some(1_759_561_872_123));
        for line in ["", "{", "{}", r#"{"MESSAGE":[49,50]}"#, "13[IKE] x", r#"{"a":"say \"log\":\"x\""}"#] {
            assert_eq!(carried(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_opened_or_not(line in r#"\{("(MESSAGE|log|time)":"?)?[\\"u0-9a-zäl:,. ]{0,60}|.{0,80}"#) {
            let _ = unwrap(&line);
        }
    }
}
