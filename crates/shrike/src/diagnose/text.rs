//! The text of a listing's file, in bounded memory: redacted, unwrapped, in whatever coding it was saved.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

/// Octets of a file that are read: some 180,000 rows of racoon's table.
const MOST: usize = 32 << 20;
/// Octets of one line. A BIG-IP's REST interface hands out all its SAs in one.
const LINE: usize = 4 << 20;

/// Reads a file, and says what of it was left out.
///
/// # Errors
/// It cannot be read.
pub(super) fn read(path: &str, notes: &mut Vec<String>) -> Result<String, String> {
    let complain = |error: std::io::Error| format!("{path}: {error}");
    let file = File::open(path).map_err(complain)?;
    from(BufReader::with_capacity(1 << 16, file), path, notes).map_err(complain)
}

/// The same from anything.
fn from(mut input: impl BufRead, path: &str, notes: &mut Vec<String>) -> std::io::Result<String> {
    let mut text = String::new();
    if let Some(wide) = Wide::of(input.fill_buf()?) {
        let mut octets = Vec::new();
        input.by_ref().take(u64::try_from(MOST).unwrap_or(u64::MAX)).read_to_end(&mut octets)?;
        let units = octets.as_chunks::<2>().0.iter().map(|pair| wide.unit(*pair));
        let read: String = char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{fffd}')).collect();
        read.trim_start_matches('\u{feff}').lines().for_each(|line| take(line, &mut text));
        note_rest(!input.fill_buf()?.is_empty(), path, notes);
        return Ok(text);
    }
    let (mut line, mut cut) = (Vec::new(), 0_u64);
    loop {
        let octets = input.fill_buf()?;
        if octets.is_empty() || text.len() > MOST {
            break;
        }
        let end = octets.iter().position(|octet| *octet == b'\n');
        let piece = octets.get(..end.unwrap_or(octets.len())).unwrap_or_default();
        let room = LINE.saturating_sub(line.len());
        line.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
        cut += u64::try_from(piece.len().saturating_sub(room)).unwrap_or(u64::MAX);
        let used = piece.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            take(&String::from_utf8_lossy(&line), &mut text);
            line.clear();
        }
    }
    take(&String::from_utf8_lossy(&line), &mut text);
    if cut > 0 {
        notes
            .push(format!("{path}: left out the rest of lines that are longer than {} MiB ({cut} octets)", LINE >> 20));
    }
    note_rest(!input.fill_buf()?.is_empty(), path, notes);
    Ok(text)
}

fn note_rest(more: bool, path: &str, notes: &mut Vec<String>) {
    if more {
        notes.push(format!(
            "{path}: left out what follows the first {} MiB: cut the file, and give the parts with a --listing each",
            MOST >> 20
        ));
    }
}

/// One line: without the text of a BIG-IP's REST interface around it, and without secrets, for dumps of SAs stand beside
/// listings and print their keys.
fn take(line: &str, text: &mut String) {
    for line in show::listing::unwrapped(line.trim_start_matches('\u{feff}')).split(['\n', '\r']) {
        text.push_str(&diag::redact(line));
        text.push('\n');
    }
}

/// UTF-16, as terminals of Windows save it.
#[derive(Clone, Copy)]
enum Wide {
    Little,
    Big,
}

impl Wide {
    /// By its mark, or by every other octet of the beginning, which is zero in what is mostly ASCII.
    fn of(start: &[u8]) -> Option<Self> {
        let few = start.get(..start.len().min(64)).unwrap_or_default();
        let (pairs, _) = few.as_chunks::<2>();
        let all = |at: usize| pairs.len() >= 8 && pairs.iter().all(|pair| pair.get(at) == Some(&0));
        match few {
            [0xFF, 0xFE, ..] => Some(Self::Little),
            [0xFE, 0xFF, ..] => Some(Self::Big),
            _ if all(1) => Some(Self::Little),
            _ if all(0) => Some(Self::Big),
            _ => None,
        }
    }

    fn unit(self, pair: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(pair),
            Self::Big => u16::from_be_bytes(pair),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(octets: &[u8]) -> (String, Vec<String>) {
        let mut notes = Vec::new();
        let text = from(BufReader::with_capacity(1000, octets), "f", &mut notes).unwrap();
        (text, notes)
    }

    #[test]
    fn any_coding_is_read() {
        let plain = "v2: #1, CONNECTING\r\nnaïve\n";
        let expected = ("v2: #1, CONNECTING\n\nnaïve\n\n".to_string(), vec![]);
        assert_eq!(text(plain.as_bytes()), expected);
        assert_eq!(text(format!("\u{feff}{plain}").as_bytes()), expected);
        let little: Vec<u8> = plain.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = plain.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let lines = |octets: &[u8]| text(octets).0.lines().map(str::to_string).collect::<Vec<_>>();
        for octets in [[&[0xFF, 0xFE], &*little].concat(), [&[0xFE, 0xFF], &*big].concat(), little, big] {
            assert_eq!(lines(&octets), ["v2: #1, CONNECTING", "naïve"]);
        }
        assert_eq!(lines(b"one\rtwo\r"), ["one", "two", ""]);
    }

    #[test]
    fn what_is_too_much_is_left_out_and_said() {
        let long = [&vec![b'x'; LINE + 7][..], b"\nnext\n"].concat();
        let (read, notes) = text(&long);
        assert!(read.ends_with("x\nnext\n\n") && read.len() < LINE + 20, "{}", read.len());
        assert!(notes[0].contains("(7 octets)") && notes.len() == 1, "{notes:?}");
        let many = b"0123456789\n".repeat(MOST / 11 + 2000);
        let (read, notes) = text(&many);
        assert!(read.len() < MOST + 2000 && notes[0].contains("left out what follows"), "{notes:?}");
    }

    #[test]
    fn secrets_do_not_come_in() {
        let (read, _) = text(b"\tE: aes-cbc  d56bba6c 3e061e8f d36c7c57 c126e0e7\n");
        assert!(!read.contains("d56bba6c"), "{read}");
    }
}
