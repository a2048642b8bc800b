//! Distinguished names (RFC 5280 section 4.1.2.4): from the notation of swanctl.conf to DER, back, and compared.

use std::fmt::{self, Write as _};

/// The attribute types that have a name in configurations, by the last numbers of their object identifier: those below
/// 2.5.4 (X.520), and with a longer identifier two others.
const TYPES: &[(&str, &[u8])] = &[
    ("C", &[0x55, 4, 6]),
    ("O", &[0x55, 4, 10]),
    ("OU", &[0x55, 4, 11]),
    ("CN", &[0x55, 4, 3]),
    ("L", &[0x55, 4, 7]),
    ("ST", &[0x55, 4, 8]),
    ("S", &[0x55, 4, 4]),
    ("SN", &[0x55, 4, 5]),
    ("serialNumber", &[0x55, 4, 5]),
    ("STREET", &[0x55, 4, 9]),
    ("T", &[0x55, 4, 12]),
    ("D", &[0x55, 4, 13]),
    ("postalCode", &[0x55, 4, 17]),
    ("N", &[0x55, 4, 41]),
    ("G", &[0x55, 4, 42]),
    ("I", &[0x55, 4, 43]),
    ("dnQualifier", &[0x55, 4, 46]),
    ("E", EMAIL),
    ("emailAddress", EMAIL),
    ("Email", EMAIL),
    ("UID", &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1]),
    ("DC", &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25]),
];

/// PKCS #9 emailAddress (1.2.840.113549.1.9.1).
const EMAIL: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1];

const UTF8: u8 = 12;
const PRINTABLE: u8 = 19;
const IA5: u8 = 22;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 6;

/// One attribute of a name: its type's object identifier, the tag and the octets of its value, and whether it begins a
/// relative distinguished name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attribute<'a> {
    kind: &'a [u8],
    tag: u8,
    value: &'a [u8],
    first: bool,
}

/// One element of DER with a definite length, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x83 => {
            let (octets, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (octets.iter().fold(0, |n, o| n << 8 | usize::from(*o)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        n @ 0..0x80 => out.push(n as u8),
        n @ 0x80..0x100 => out.extend([0x81, n as u8]),
        n => out.extend([0x83, (n >> 16) as u8, (n >> 8) as u8, n as u8]),
    }
    out.extend_from_slice(content);
    out
}

/// The attributes of a name in DER, in their order. `None` if it is malformed.
fn attributes(der: &[u8]) -> Option<Vec<Attribute<'_>>> {
    let (SEQUENCE, mut names, []) = element(der)? else { return None };
    let mut found = Vec::new();
    while !names.is_empty() {
        let (SET, mut set, rest) = element(names)? else { return None };
        names = rest;
        let mut first = true;
        while !set.is_empty() {
            let (SEQUENCE, pair, rest) = element(set)? else { return None };
            set = rest;
            let (OID, kind, value) = element(pair)? else { return None };
            let (tag, value, []) = element(value)? else { return None };
            found.push(Attribute { kind, tag, value, first });
            first = false;
        }
    }
    Some(found)
}

/// Reads `C=CH, O=strongSwan Project, CN=moon`, also with `/` between the attributes and before the first one. The order
/// is kept, values are PrintableString where they can be, IA5String for addresses of e-mail, else UTF8String.
pub(crate) fn parse(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let (separator, text) = match text.strip_prefix('/') {
        Some(rest) => ('/', rest),
        None => (',', text),
    };
    let mut names = Vec::new();
    for part in split(text, separator) {
        let mut set = Vec::new();
        for pair in split(&part, '+') {
            let (kind, value) = pair.split_once('=')?;
            let kind = kind.trim();
            let (_, oid) = TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(kind))?;
            let value = unquote(value.trim());
            let printable = |c: char| c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c);
            let tag = match value.as_str() {
                _ if *oid == EMAIL || kind.eq_ignore_ascii_case("DC") => IA5,
                value if value.chars().all(printable) => PRINTABLE,
                _ => UTF8,
            };
            let pair = [encode(OID, oid), encode(tag, value.as_bytes())].concat();
            set.extend(encode(SEQUENCE, &pair));
        }
        names.extend(encode(SET, &set));
    }
    (!names.is_empty()).then(|| encode(SEQUENCE, &names))
}

/// Parts between separators that are not quoted; empty ones are left out.
fn split(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        if c == separator && !quoted && !escaped {
            parts.push(String::new());
            continue;
        }
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.retain(|p| !p.trim().is_empty());
    parts
}

fn unquote(value: &str) -> String {
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
    let mut out = String::new();
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        out.push(if c == '\\' { characters.next().unwrap_or(c) } else { c });
    }
    out
}

/// Prints a name as strongSwan does: attributes in their order, with ", " between them. Octets that do not print are shown
/// as `?`: a name comes from the network and ends in a terminal. `false` if it is malformed, and nothing is written.
pub(crate) fn print(der: &[u8], f: &mut fmt::Formatter<'_>) -> Result<bool, fmt::Error> {
    let Some(attributes) = attributes(der) else { return Ok(false) };
    for (n, attribute) in attributes.iter().enumerate() {
        if n > 0 {
            f.write_str(if attribute.first { ", " } else { " + " })?;
        }
        match TYPES.iter().find(|(_, oid)| *oid == attribute.kind) {
            Some((name, _)) => f.write_str(name)?,
            None => attribute.kind.iter().try_for_each(|octet| write!(f, "{octet:02x}"))?,
        }
        f.write_char('=')?;
        for c in String::from_utf8_lossy(attribute.value).chars() {
            match c {
                ',' | '+' | '\\' | '"' => write!(f, "\\{c}")?,
                c if c.is_control() || c == char::REPLACEMENT_CHARACTER => f.write_char('?')?,
                c => f.write_char(c)?,
            }
        }
    }
    Ok(true)
}

/// Whether an attribute's value stands for every one.
fn is_any(attribute: &Attribute<'_>) -> bool {
    attribute.value == b"*"
}

/// Whether it stands for more than one name: `CN=*`.
pub(crate) fn is_wildcard(der: &[u8]) -> bool {
    attributes(der).is_some_and(|all| all.iter().any(is_any))
}

/// How many attributes of `pattern` stand for any value, if it matches `name`: the same types in the same order, and
/// values that are equal without regard to case and kind of string (RFC 5280 section 7.1, without its treatment of blanks).
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> Option<u32> {
    let (pattern, name) = (attributes(pattern)?, attributes(name)?);
    let same = |p: &Attribute<'_>, n: &Attribute<'_>| {
        let text = |tag: u8| matches!(tag, UTF8 | PRINTABLE | IA5 | 20);
        let equal = if text(p.tag) && text(n.tag) {
            p.value.eq_ignore_ascii_case(n.value)
        } else {
            p.tag == n.tag && p.value == n.value
        };
        p.kind == n.kind && p.first == n.first && (equal || is_any(p))
    };
    // A name without attributes is nobody's: certificates with a subjectAltName may have it (RFC 5280 section 4.1.2.6).
    if pattern.is_empty() || pattern.len() != name.len() || !pattern.iter().zip(&name).all(|(p, n)| same(p, n)) {
        return None;
    }
    Some(pattern.iter().filter(|p| is_any(p)).count() as u32) // names have few attributes
}
