//! The table of ISAKMP SAs, read back.

use super::isakmp::{Endpoint, Exchange, NARROW, RacoonIsakmp, Status};
use model::Role;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use wire::SpiPair;

/// A column, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Column {
    /// Destination.
    Destination,
    /// ST.
    St,
    /// S.
    Side,
    /// V.
    Version,
    /// Created.
    Created,
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Destination => "Destination",
            Self::St => "ST",
            Self::Side => "S",
            Self::Version => "V",
            Self::Created => "Created",
        })
    }
}

/// Why a text is no such table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// Neither a header nor a row.
    NotATable,
    /// A row with cookies, but without something that must be there.
    Row {
        /// The line, counted from 1.
        line: usize,
        /// What is missing or cannot be read.
        column: Column,
        /// What stands there instead; empty if the line ends.
        found: String,
    },
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotATable => f.write_str("this is not the output of 'racoonctl show-sa isakmp'"),
            Self::Row { line, column, found } if found.is_empty() => {
                write!(f, "line {line} ends before its column {column}: copy all of it")
            }
            Self::Row { line, column, found } => write!(f, "line {line}: '{found}' is no value of column {column}"),
        }
    }
}

impl std::error::Error for ParseError {}

/// Reads `racoonctl show-sa isakmp` at any level.
///
/// A row is a line with a pair of cookies; the columns around it are told by what they look like, not by where they
/// stand, because Created may be blank, E may be missing, and some listings are narrower than racoon's. Other lines
/// (prompts, headers, several tables) do not matter. Whose numbering ST is in the table does not say.
///
/// # Errors
/// The line and column that cannot be read, or that there is no such table.
pub fn parse(text: &str) -> Result<Vec<RacoonIsakmp>, ParseError> {
    let Some((rows, errors)) = parse_rows(text) else { return Err(ParseError::NotATable) };
    errors.into_iter().next().map_or(Ok(rows), Err)
}

/// The same for a text that something has happened to: the rows that can be read, and why the others cannot; none if there
/// is no such table.
pub fn parse_rows(text: &str) -> Option<(Vec<RacoonIsakmp>, Vec<ParseError>)> {
    let (mut rows, mut errors) = (Vec::new(), Vec::new());
    let mut recognised = false;
    for (line, text) in (1..).zip(text.lines()) {
        if let Some((left, cookies, right)) = split_at_cookies(text) {
            match row(left, cookies, right) {
                Ok(row) => rows.push(row),
                Err((column, found)) => errors.push(ParseError::Row { line, column, found: found.into() }),
            }
        } else if text.contains("Destination") && text.contains("Cookies") {
            recognised = true;
        }
    }
    (recognised || !rows.is_empty() || !errors.is_empty()).then_some((rows, errors))
}

/// What stands before the cookies, the cookies, and what stands behind.
fn split_at_cookies(line: &str) -> Option<(&str, SpiPair, &str)> {
    let cookie =
        |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u64::from_str_radix(text, 16).ok()).flatten();
    line.match_indices(':').find_map(|(at, _)| {
        let start = at.checked_sub(16)?;
        let (left, right) = (line.get(..start)?, line.get(at + 17..)?);
        let blank = |c: Option<char>| c.is_none_or(char::is_whitespace);
        if !blank(left.chars().next_back()) || !blank(right.chars().next()) {
            return None;
        }
        let (initiator, responder) = (cookie(line.get(start..at)?)?, cookie(line.get(at + 1..at + 17)?)?);
        Some((left, SpiPair { initiator: initiator.into(), responder: responder.into() }, right))
    })
}

type Unreadable<'a> = (Column, &'a str);

fn row<'a>(left: &'a str, cookies: SpiPair, right: &'a str) -> Result<RacoonIsakmp, Unreadable<'a>> {
    let mut before = left.split_whitespace().rev();
    let last = before.next().unwrap_or_default();
    let previous = before.next().and_then(|text| endpoint(text, false));
    let destination = endpoint(last, previous.is_none()).ok_or((Column::Destination, last))?;
    let mut words = right.split_whitespace().peekable();
    let status = match words.peek() {
        // Without `-l`, the date comes next.
        None => None,
        Some(word) if word.contains('-') => None,
        Some(_) => Some(status(&mut words)?),
    };
    let mut created = None;
    if let Some(date) = words.next_if(|word| is_date(word)) {
        let time = words.next().unwrap_or_default();
        if !is_time(time) {
            return Err((Column::Created, time));
        }
        created = Some(format!("{date} {time}"));
    }
    let phase2 = words.next().and_then(|word| word.parse().ok());
    let status = status.map(|s| Status { phase2, ..s });
    Ok(RacoonIsakmp { source: previous, destination, cookies, status, created })
}

fn status<'a>(words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> Result<Status, Unreadable<'a>> {
    let word = words.next().unwrap_or_default();
    let st = word.parse().map_err(|_| (Column::St, word))?;
    let side = match words.next().unwrap_or_default() {
        "I" => Role::Initiator,
        "R" => Role::Responder,
        other => return Err((Column::Side, other)),
    };
    let word = words.next().unwrap_or_default();
    let version = u8::from_str_radix(word, 16).map_err(|_| (Column::Version, word))?;
    let exchange = words.next_if(|word| Exchange::from_letter(word).is_some());
    Ok(Status { st, side, version, exchange: exchange.and_then(Exchange::from_letter), phase2: None })
}

/// `2024-11-09`.
fn is_date(word: &str) -> bool {
    digits_between(word, '-', 3)
}

/// `08:58:30`.
fn is_time(word: &str) -> bool {
    digits_between(word, ':', 3)
}

fn digits_between(word: &str, separator: char, parts: usize) -> bool {
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    word.split(separator).count() == parts && word.split(separator).all(all_digits)
}

/// `10.0.0.1.500`, `2001:db8::1.500`, with a zone or route domain behind `%`. Only the narrow column cuts addresses.
fn endpoint(text: &str, narrow: bool) -> Option<Endpoint> {
    let (address, port) = text.rsplit_once('.')?;
    let port = port.bytes().all(|b| b.is_ascii_digit()).then(|| port.parse().ok()).flatten()?;
    let plain = address.split('%').next()?;
    let may_be_cut = narrow && plain.contains(':') && text.chars().count() <= NARROW;
    let in_ipv6 = |c: char| c.is_ascii_hexdigit() || c == ':' || c == '.';
    let whole = plain.parse::<Ipv4Addr>().is_ok() || plain.parse::<Ipv6Addr>().is_ok();
    let is_address = whole || (may_be_cut && plain.chars().all(in_ipv6));
    // A whole address of just the column's width may be the beginning of a longer one.
    let may_be_cut = may_be_cut && (!whole || text.chars().count() == NARROW);
    is_address.then(|| Endpoint { address: address.into(), port, may_be_cut })
}
