//! Octets to lines: of bounded length, without what a terminal would take for orders, whatever the octets are.

use std::borrow::Cow;

/// So many octets of a line are looked at. The longest lines of daemons list proposals, in about half of it.
const MAX_LINE: usize = 4096;

/// Cuts a stream into lines.
#[derive(Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
    skipping: bool,
    /// The last octet was a CR, and ended a line.
    returned: bool,
    /// Lines that were longer than is looked at.
    pub cut: u64,
}

impl Lines {
    /// Takes the next piece of the stream, and gives each line that is complete to `take`. A line ends with LF, CR LF or CR.
    pub fn feed(&mut self, mut octets: &[u8], mut take: impl FnMut(&str)) {
        loop {
            if self.returned {
                // CR LF is one end of a line, also with the NULs of UTF-16 between.
                let between = octets.iter().take_while(|b| matches!(b, b'\r' | 0)).count();
                octets = octets.get(between..).unwrap_or_default();
                let Some(next) = octets.first() else { return };
                octets = octets.get(usize::from(*next == b'\n')..).unwrap_or_default();
                self.returned = false;
            }
            let Some(at) = memchr::memchr2(b'\n', b'\r', octets) else { break };
            let (line, rest) = octets.split_at(at);
            if self.rest.is_empty() && !self.skipping && line.len() <= MAX_LINE {
                // Nearly all lines come whole: they need no copy.
                take(&cleaned(line));
            } else {
                self.keep(line);
                self.flush(&mut take);
            }
            self.returned = rest.first() == Some(&b'\r');
            octets = rest.get(1..).unwrap_or_default();
        }
        self.keep(octets);
    }

    /// The last line, if no newline ends it.
    pub fn finish(&mut self, mut take: impl FnMut(&str)) {
        if !self.rest.is_empty() {
            self.flush(&mut take);
        }
    }

    fn keep(&mut self, octets: &[u8]) {
        let room = MAX_LINE.saturating_sub(self.rest.len());
        if octets.len() > room && !self.skipping {
            self.skipping = true;
            self.cut += 1;
        }
        self.rest.extend_from_slice(octets.get(..room.min(octets.len())).unwrap_or_default());
    }

    fn flush(&mut self, take: &mut impl FnMut(&str)) {
        take(&cleaned(&self.rest));
        self.rest.clear();
        self.skipping = false;
    }
}

/// As text, without control characters and escape sequences.
fn cleaned(octets: &[u8]) -> Cow<'_, str> {
    if octets.iter().all(|b| matches!(b, b' '..=b'~'))
        && let Ok(text) = std::str::from_utf8(octets)
    {
        return text.into();
    }
    let text = String::from_utf8_lossy(octets);
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\u{1b}' => {
                // `ESC [ ... letter`: colours of a terminal.
                if characters.next() == Some('[') {
                    let _ = characters.by_ref().find(char::is_ascii_alphabetic);
                }
            }
            '\t' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(pieces: &[&[u8]]) -> (Vec<String>, u64) {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        pieces.iter().for_each(|piece| lines.feed(piece, |line| out.push(line.to_string())));
        lines.finish(|line| out.push(line.to_string()));
        (out, lines.cut)
    }

    #[test]
    fn lines_are_cut_and_cleaned() {
        let long = [b'x'; MAX_LINE * 3];
        let (found, cut) = lines(&[b"a\x1b[31mb\x1b[0m\r\n", &long, b"y\nlast\x00 \xff"]);
        assert_eq!((found.len(), cut), (3, 1));
        assert_eq!((found[0].as_str(), found[1].len(), found[2].as_str()), ("ab", MAX_LINE, "last \u{fffd}"));
    }

    #[test]
    fn lines_end_with_cr_too() {
        assert_eq!(lines(&[b"a\rb\r", b"\nc\r\r\nd\n\ne"]).0, ["a", "b", "c", "d", "", "e"]);
        assert_eq!(lines(&[b"a\0\r\0\n\0b\0"]).0, ["a", "b"]);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(octets in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..600), at in 0..600usize) {
            let (a, b) = octets.split_at(at.min(octets.len()));
            prop_assert_eq!(lines(&[a, b]), lines(&[&octets]));
        }
    }
}
