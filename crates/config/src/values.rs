//! The notations of single values: times, amounts, booleans, numbers.

use std::time::Duration;

/// `5400`, `90m`, `4h`, `2d`, `30s`: a number of seconds or with a unit.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (digits, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(digits) => (digits, text.as_bytes().last().copied().unwrap_or(b's')),
        None => (text, b's'),
    };
    let factor: u64 = match unit {
        b'm' => 60,
        b'h' => 3_600,
        b'd' => 86_400,
        _ => 1,
    };
    // Bounded to what strongSwan's 32-bit seconds can hold, so that no sum of times can overflow.
    let seconds = unsigned(digits.trim_end())?.checked_mul(factor)?;
    u32::try_from(seconds).ok().map(|s| Duration::from_secs(s.into()))
}

/// Octets: a number, with `k`, `m` or `g` for powers of 1024.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, factor) = match text.char_indices().next_back()? {
        (n, 'k' | 'K') => (text.get(..n)?, 1 << 10),
        (n, 'm' | 'M') => (text.get(..n)?, 1 << 20),
        (n, 'g' | 'G') => (text.get(..n)?, 1 << 30),
        _ => (text, 1u64),
    };
    unsigned(digits.trim_end())?.checked_mul(factor)
}

/// Decimal digits, or hexadecimal ones after `0x`; no sign.
pub(crate) fn unsigned(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// `yes`, `true`, `enabled`, `1` and their opposites, in any case.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "yes" | "true" | "enabled" | "1" => Some(true),
        "no" | "false" | "disabled" | "0" => Some(false),
        _ => None,
    }
}

/// Soft limit, hard limit and random part of one kind of lifetime, completed by strongSwan's rules: a hard limit is a
/// tenth above the soft one, a soft limit without any below a hard one is by so much less, and the random part is the
/// difference.
pub(crate) fn lifetime(soft: Option<u64>, hard: Option<u64>, random: Option<u64>, default: u64) -> (u64, u64, u64) {
    let soft = soft.unwrap_or(match hard {
        Some(hard) if hard != 0 => default.min(hard - hard / 11),
        _ => default,
    });
    let hard = hard.unwrap_or(soft.saturating_add(soft / 10));
    (soft, hard, random.unwrap_or(hard.saturating_sub(soft)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in
            [("5400", 5400), ("90m", 5400), ("4h", 14400), ("2d", 172_800), ("30s", 30), ("0", 0), (" 10 s ", 10)]
        {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "-1", "+1", "1w", "1.5h", "90 minutes", "99999999999999999999d", "4294967296", "١s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn amounts() {
        for (text, octets) in [("500000000", 500_000_000), ("1k", 1024), ("2M", 2 << 20), ("3G", 3 << 30), ("0", 0)] {
            assert_eq!(bytes(text), Some(octets), "{text}");
        }
        for text in ["", "k", "-5", "1T", "99999999999999999999", "18446744073709551615g", "é"] {
            assert_eq!(bytes(text), None, "{text}");
        }
        assert_eq!(unsigned("0x1F"), Some(31));
        assert_eq!(unsigned("0x"), None);
        assert_eq!(unsigned("0x+1"), None);
    }

    #[test]
    fn booleans() {
        for (text, value) in
            [("yes", true), ("True", true), ("1", true), ("enabled", true), ("no", false), ("disabled", false)]
        {
            assert_eq!(boolean(text), Some(value));
        }
        assert_eq!((boolean("maybe"), boolean("2"), boolean("")), (None, None, None));
    }
}
