//! When a listing of a series was taken.

/// Milliseconds in a day.
const DAY: u64 = 86_400_000;
const MONTHS: [(&str, u64); 12] = [
    ("Jan", 0),
    ("Feb", 31),
    ("Mar", 59),
    ("Apr", 90),
    ("May", 120),
    ("Jun", 151),
    ("Jul", 181),
    ("Aug", 212),
    ("Sep", 243),
    ("Oct", 273),
    ("Nov", 304),
    ("Dec", 334),
];

/// The time in a line that is nothing else: `# t=38 ms`, `Tue Nov 24 01:08:06 UTC 2026` as `date` prints it,
/// `=== 2026-11-24 01:08:06 ===`, `2026-11-24T01:08:06Z`. In milliseconds since some moment, without leap days.
pub(super) fn stamp(line: &str) -> Option<u64> {
    let trimmed = line.trim();
    if let Some(rest) = trimmed.strip_prefix("# t=") {
        return rest.trim_end_matches("ms").trim().parse().ok();
    }
    if trimmed.len() > 60 {
        return None;
    }
    let (mut clock_found, mut days, mut year) = (None, None, 0);
    let mut words =
        trimmed.split([' ', '\t', ',', '=', '#', '-', '[', ']', 'T', 'Z']).filter(|word| !word.is_empty()).peekable();
    while let Some(word) = words.next() {
        if let Some((_, before)) = MONTHS.iter().find(|(name, _)| *name == word) {
            days = Some(before + number(words.next()?)?.checked_sub(1)?);
        } else if let Some(time) = clock(word) {
            clock_found = Some(time);
        } else if let Some(number_found) = number(word).filter(|_| word.len() == 4) {
            year = number_found;
            // `2026-11-24`: month and day follow.
            if let Some(month) = words.peek().and_then(|word| number(word)).filter(|_| days.is_none()) {
                let before = usize::try_from(month.checked_sub(1)?).ok().and_then(|at| MONTHS.get(at))?.1;
                words.next();
                days = Some(before + number(words.next()?)?.checked_sub(1)?);
            }
        } else if !incidental(word) {
            return None;
        }
    }
    Some((year.saturating_sub(1970) * 365 + days?) * DAY + clock_found?)
}

/// Days of the week, zones and halves of the day.
fn incidental(word: &str) -> bool {
    let letters = word.bytes().all(|b| b.is_ascii_alphabetic());
    // `Tue` without its first letter, which separates date and time elsewhere.
    letters && (word.len() <= 5 && word.bytes().all(|b| b.is_ascii_uppercase()))
        || matches!(word, "Mon" | "ue" | "Wed" | "hu" | "Fri" | "Sat" | "Sun")
        || word.starts_with('+') && word.len() <= 6
}

fn number(word: &str) -> Option<u64> {
    (word.len() <= 4 && !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit())).then(|| word.parse().ok())?
}

/// `01:08:06.123`, in milliseconds.
fn clock(word: &str) -> Option<u64> {
    let mut parts = word.split(':');
    let (hours, minutes, seconds) = (number(parts.next()?)?, number(parts.next()?)?, parts.next()?);
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let seconds = number(seconds)?;
    let digits = fraction.len().min(3);
    let thousandths = number(fraction.get(..digits)?)? * [1000, 100, 10, 1].get(digits)?;
    let sound = parts.next().is_none() && hours < 24 && minutes < 60 && seconds <= 60;
    sound.then_some(((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_times() {
        assert_eq!(stamp("# t=38 ms"), Some(38));
        let at = stamp("Tue Nov 24 01:08:06 UTC 2026").unwrap();
        for line in
            ["=== 2026-11-24 01:08:06 ===", "2026-11-24T01:08:06Z", "# 2026-11-24 01:08:06", "Thu Nov 24 01:08:06 2026"]
        {
            assert_eq!(stamp(line), Some(at), "{line}");
        }
        assert_eq!(stamp("[2026-11-24 01:08:07.5]"), Some(at + 1500));
        for line in
            ["", "v2: #1", "10.9.0.2.500 x 2024-11-09 08:58:30 1", "2026-13-24 01:08:06", "uptime: 01:08:06", "Nov"]
        {
            assert_eq!(stamp(line), None, "{line}");
        }
    }
}
