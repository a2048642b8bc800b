//! Pre-shared keys: how they are written, and which one belongs to two identities.

use crate::names::Scope;
use crate::reader::Reader;
use crate::{ConfigError, Entry, ErrorKind, Section};
use model::{ConfigRef, Identity};
use std::fmt;
use wire::Secret;
use zeroize::Zeroizing;

/// What a shared secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// `ike`: a pre-shared key.
    Ike,
    /// `xauth` or `eap`: a user's password.
    Xauth,
}

/// A pre-shared key or password, and whose it is.
#[derive(Clone, Debug)]
pub struct SharedSecret {
    /// What it is for.
    pub kind: SecretKind,
    /// Name of its section, or the identifier a client gave it.
    pub name: String,
    /// The identities it belongs to, of either end; none for everybody.
    pub owners: Vec<Identity>,
    /// The key.
    pub secret: Secret,
    /// Where it was written.
    pub source: ConfigRef,
}

/// Why a text is no secret. Says nothing about the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidSecret {
    /// No octets.
    Empty,
    /// Something else than hexadecimal digits after `0x`.
    Hex,
    /// Something else than base64 (RFC 4648 section 4, with padding) after `0s`.
    Base64,
}

impl InvalidSecret {
    fn expected(self) -> &'static str {
        match self {
            Self::Empty => "a secret that is not empty",
            Self::Hex => {
                "hexadecimal digits after '0x'; quote a text that begins so and write 0s with its base64 instead"
            }
            Self::Base64 => "base64 after '0s', a multiple of four characters, padded with '='",
        }
    }
}

impl fmt::Display for InvalidSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected())
    }
}

impl std::error::Error for InvalidSecret {}

/// Decodes the value of `secret`: hexadecimal after `0x` (colons allowed), base64 after `0s`, else the text itself.
///
/// # Errors
/// What is wrong with the notation. An empty secret is refused: it would authenticate everybody.
pub fn decode_secret(text: &str) -> Result<Secret, InvalidSecret> {
    let octets = if let Some(digits) = text.strip_prefix("0x") {
        hex(digits).ok_or(InvalidSecret::Hex)?
    } else if let Some(characters) = text.strip_prefix("0s") {
        base64(characters).ok_or(InvalidSecret::Base64)?
    } else {
        Zeroizing::new(text.as_bytes().to_vec())
    };
    if octets.is_empty() {
        return Err(InvalidSecret::Empty);
    }
    Ok(Secret::new(octets.to_vec()))
}

/// An odd number of digits has an implicit leading zero, as in strongSwan.
fn hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits: Zeroizing<Vec<u8>> = Zeroizing::new(
        text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?,
    );
    let mut octets = Zeroizing::new(Vec::with_capacity(digits.len() / 2 + 1));
    let (odd, pairs) = digits.split_at_checked(digits.len() % 2)?;
    octets.extend_from_slice(odd);
    octets.extend(pairs.chunks_exact(2).filter_map(|pair| Some(pair.first()? << 4 | pair.get(1)?)));
    Some(octets)
}

/// RFC 4648 section 4. Unpadded text is refused: implementations differ on it, and a key must not depend on that.
pub(crate) fn base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let unpadded = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    let mut octets = Zeroizing::new(Vec::with_capacity(text.len() / 4 * 3));
    let (mut bits, mut count) = (0u32, 0u32);
    for c in unpadded.bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push((bits >> count) as u8); // the lower eight bits are meant
        }
    }
    Some(octets)
}

/// Reads one section of `secrets`: `ike-gw { id-a = a  secret = s }`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn secret(section: &Section) -> Result<SharedSecret, Vec<ConfigError>> {
    let mut errors = Vec::new();
    let secret = read(section, &mut errors);
    match secret {
        Some(secret) if errors.is_empty() => Ok(secret),
        _ => Err(errors),
    }
}

const KINDS: &[(&str, &str)] = &[
    ("ntlm", "EAP is not available in this version; use secrets named ike..., with auth = psk"),
    ("ppk", "post-quantum pre-shared keys (RFC 8784) are not available in this version"),
    ("token", "keys on tokens are not available in this version; put the key into private/"),
];

/// What the names of passphrases begin with, and the directories of the keys and containers that they open.
const PASSPHRASES: &[&str] = &["private", "rsa", "ecdsa", "pkcs8", "pkcs12"];

/// The passphrase of a private key, or of a PKCS#12 container.
#[derive(Clone, Debug)]
pub struct KeyPassphrase {
    /// Name of its section.
    pub name: String,
    /// The key's file; a relative name is below the directory that the section's name begins with.
    pub file: String,
    /// The passphrase.
    pub secret: Secret,
}

impl KeyPassphrase {
    /// Whether a section of `secrets` with this name holds one.
    pub fn is_named(name: &str) -> bool {
        PASSPHRASES.iter().any(|kind| name.starts_with(kind))
    }

    /// The directory of its key.
    pub fn directory(&self) -> &'static str {
        PASSPHRASES.iter().find(|kind| self.name.starts_with(**kind)).copied().unwrap_or("private")
    }
}

/// Reads one section of `secrets` that holds a passphrase: `private-gw { file = gw.pem  secret = s }`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn passphrase(section: &Section) -> Result<KeyPassphrase, Vec<ConfigError>> {
    let mut errors = Vec::new();
    let mut reader = Reader::new(Scope::Passphrase, format!("secrets.{}", section.name), &mut errors);
    let (mut file, mut secret) = (None, None);
    for entry in &section.entries {
        if !reader.enter(entry) {
            continue;
        }
        match entry.name() {
            "file" => file = reader.text(entry).map(str::to_string),
            "secret" => match reader.text(entry).map(decode_secret) {
                Some(Ok(decoded)) => secret = Some(decoded),
                Some(Err(e)) => {
                    reader.refuse(entry, ErrorKind::Value { got: "<hidden>".into(), expected: e.expected() })
                }
                None => {}
            },
            _ => reader.other(entry),
        }
    }
    for (key, there) in [("file", reader.places.contains_key("file")), ("secret", reader.places.contains_key("secret"))]
    {
        if !there {
            let what = "write file = ... with the key's file, and secret = ... with its passphrase";
            reader.refuse_at(&section.at, key, ErrorKind::Missing { what });
        }
    }
    match (file, secret) {
        (Some(file), Some(secret)) if errors.is_empty() => {
            Ok(KeyPassphrase { name: section.name.clone(), file, secret })
        }
        _ => Err(errors),
    }
}

fn read(section: &Section, errors: &mut Vec<ConfigError>) -> Option<SharedSecret> {
    let path = format!("secrets.{}", section.name);
    let mut reader = Reader::new(Scope::Secret, path.clone(), errors);
    // strongSwan keeps passwords of EAP and of XAuth together.
    let purpose = match section.name.as_str() {
        name if name.starts_with("ike") => Some(SecretKind::Ike),
        name if name.starts_with("xauth") || name.starts_with("eap") => Some(SecretKind::Xauth),
        _ => None,
    };
    let Some(purpose) = purpose else {
        let kind = match KINDS.iter().find(|(kind, _)| section.name.starts_with(kind)) {
            Some((_, why)) => ErrorKind::Unsupported { why },
            None => ErrorKind::UnknownKey { suggestion: Some(format!("ike-{}", section.name)) },
        };
        reader.refuse_at(&section.at, "", kind);
        return None;
    };
    let mut owners = Vec::new();
    let mut secret = None;
    let mut present = false;
    for entry in &section.entries {
        if !reader.enter(entry) {
            continue;
        }
        match entry.name() {
            "secret" => {
                present = true;
                let Some(text) = reader.text(entry) else { continue };
                match decode_secret(text) {
                    Ok(decoded) => secret = Some(decoded),
                    Err(e) => reader.refuse(entry, ErrorKind::Value { got: "<hidden>".into(), expected: e.expected() }),
                }
            }
            name if name.starts_with("id") && !matches!(entry, Entry::Section(_)) => {
                let Some(text) = reader.text(entry) else { continue };
                match text.parse() {
                    Ok(owner) => owners.push(owner),
                    Err(e) => reader.refuse(entry, ErrorKind::Identity(e)),
                }
            }
            _ => reader.other(entry),
        }
    }
    if !present {
        reader.refuse_at(
            &section.at,
            "secret",
            ErrorKind::Missing {
                what: match purpose {
                    SecretKind::Ike => "write secret = ... with the pre-shared key",
                    SecretKind::Xauth => "write secret = ... with the user's password",
                },
            },
        );
    }
    let (at, key) = match reader.places.get("secret") {
        Some(at) => (at, format!("{path}.secret")),
        None => (&section.at, path),
    };
    let source = ConfigRef { file: at.file.to_string(), line: at.line, key };
    Some(SharedSecret { kind: purpose, name: section.name.clone(), owners, secret: secret?, source })
}

/// The keys that two identities may share, best first; equally good ones in their order of definition.
///
/// A key belongs to the peer, to us, or to both, by its owners. One of both comes before one of the peer alone, that
/// before one of ours alone, and last come those without owners. One whose owners are neither is left out. Identities
/// that are not known yet (`%any`, for instance the responder's before IDr) match no owner, but exclude nothing.
pub fn best_psk<'a>(secrets: &'a [SharedSecret], local: &Identity, remote: &Identity) -> Vec<&'a SharedSecret> {
    let keys = secrets.iter().filter(|s| s.kind == SecretKind::Ike);
    let mut ranked: Vec<((u32, u32), &SharedSecret)> =
        keys.filter_map(|s| Some((rank(&s.owners, local, remote)?, s))).collect();
    ranked.sort_by(|(a, _), (b, _)| b.cmp(a)); // stable
    ranked.into_iter().map(|(_, s)| s).collect()
}

/// The passwords that a user may have, best first: those of exactly this user, then of a wildcard, then of everybody.
/// The user's name is an identity, as strongSwan has it: `name.parse::<Identity>()`.
pub fn xauth_secrets<'a>(secrets: &'a [SharedSecret], user: &Identity) -> Vec<&'a SharedSecret> {
    let passwords = secrets.iter().filter(|s| s.kind == SecretKind::Xauth);
    let mut ranked: Vec<(u32, &SharedSecret)> = passwords
        .filter_map(|s| match s.owners.is_empty() {
            true => Some((0, s)),
            false => Some((s.owners.iter().filter_map(|owner| fits(owner, user)).max()?, s)),
        })
        .collect();
    ranked.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank)); // stable
    ranked.into_iter().map(|(_, s)| s).collect()
}

/// How well owners fit the peer, then us: the larger the better.
fn rank(owners: &[Identity], local: &Identity, remote: &Identity) -> Option<(u32, u32)> {
    if owners.is_empty() {
        return Some((0, 0));
    }
    let ours = owners.iter().filter_map(|owner| fits(owner, local)).max().unwrap_or(0);
    // Our own name is not the peer's, even if the pattern for the peer covers it.
    let others = owners.iter().filter(|owner| !(remote.is_wildcard() && *owner == local));
    let theirs = others.filter_map(|owner| fits(owner, remote)).max().unwrap_or(0);
    (ours > 0 || theirs > 0).then_some((theirs, ours))
}

/// How closely an owner fits an identity. A configured identity with a wildcard stands for a peer we do not know yet:
/// owners that it covers fit, less than an exact one.
fn fits(owner: &Identity, id: &Identity) -> Option<u32> {
    match (owner.is_wildcard(), id.is_wildcard()) {
        (_, false) => owner.matches(id),
        (false, true) if *id != Identity::ANY => id.matches(owner),
        _ => (owner == id || *owner == Identity::ANY).then_some(1),
    }
}
