//! Identities (RFC 7296 section 3.5) and how a configured one matches a received one.

use crate::name;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// What kind of name an identity is: the ID type of RFC 7296 section 3.5, and the wildcard of configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IdKind {
    /// `%any`: matches everything, never sent.
    Any,
    /// ID_IPV4_ADDR (1).
    Ipv4,
    /// ID_FQDN (2).
    Fqdn,
    /// ID_RFC822_ADDR (3).
    Rfc822,
    /// ID_IPV6_ADDR (5).
    Ipv6,
    /// ID_DER_ASN1_DN (9).
    DistinguishedName,
    /// ID_KEY_ID (11).
    KeyId,
    /// A network or range of addresses: a pattern of configurations, never sent.
    AddressRange,
    /// A type this version does not interpret; kept so that it can be shown.
    Other(u8),
}

impl IdKind {
    /// The ID type on the wire; 0 for the wildcard.
    pub fn number(self) -> u8 {
        match self {
            Self::Any | Self::AddressRange => 0,
            Self::Ipv4 => 1,
            Self::Fqdn => 2,
            Self::Rfc822 => 3,
            Self::Ipv6 => 5,
            Self::DistinguishedName => 9,
            Self::KeyId => 11,
            Self::Other(n) => n,
        }
    }

    fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Ipv4,
            2 => Self::Fqdn,
            3 => Self::Rfc822,
            5 => Self::Ipv6,
            9 => Self::DistinguishedName,
            11 => Self::KeyId,
            n => Self::Other(n),
        }
    }
}

/// Who one end says it is, or who a configuration expects.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    kind: IdKind,
    data: Vec<u8>,
}

/// A text that cannot be an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidIdentity {
    /// A distinguished name that is not one: an attribute type that is not known, or nothing before or after a `=`.
    DistinguishedName(String),
    /// `@#` not followed by hexadecimal digits.
    KeyId(String),
}

impl fmt::Display for InvalidIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DistinguishedName(t) => {
                write!(
                    f,
                    "'{t}' is no distinguished name: write it as in \"C=CH, O=Example, CN=gateway.example.org\", with types such as C, ST, L, O, OU, CN, E, DC, UID"
                )
            }
            Self::KeyId(t) => write!(f, "'{t}': '@#' must be followed by an even number of hexadecimal digits"),
        }
    }
}

impl std::error::Error for InvalidIdentity {}

impl Identity {
    /// The wildcard `%any`.
    pub const ANY: Identity = Identity { kind: IdKind::Any, data: Vec::new() };

    /// From an ID payload's type and data.
    pub fn from_wire(kind: u8, data: &[u8]) -> Self {
        Self { kind: IdKind::from_number(kind), data: data.to_vec() }
    }

    /// Kind of name.
    pub fn kind(&self) -> IdKind {
        self.kind
    }

    /// The identification data of the ID payload.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Whether it is, or contains, a wildcard, so that it stands for more than one name and is never sent.
    pub fn is_wildcard(&self) -> bool {
        match self.kind {
            IdKind::Any | IdKind::AddressRange => true,
            IdKind::Fqdn | IdKind::Rfc822 => self.data.first() == Some(&b'*'),
            IdKind::DistinguishedName => name::is_wildcard(&self.data),
            _ => false,
        }
    }

    /// The address, if it is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self.kind {
            IdKind::Ipv4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(&self.data[..]).ok()?).into()),
            IdKind::Ipv6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(&self.data[..]).ok()?).into()),
            _ => None,
        }
    }

    /// First and last address of a range.
    fn range(&self) -> Option<(IpAddr, IpAddr)> {
        let half = |octets: &[u8]| match octets.len() {
            4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        };
        let (first, last) = self.data.split_at_checked(self.data.len() / 2)?;
        Some((half(first)?, half(last)?))
    }

    fn from_range(first: IpAddr, last: IpAddr) -> Self {
        let octets = |a: IpAddr| match a {
            IpAddr::V4(a) => a.octets().to_vec(),
            IpAddr::V6(a) => a.octets().to_vec(),
        };
        Self { kind: IdKind::AddressRange, data: [octets(first), octets(last)].concat() }
    }

    /// Whether this configured identity accepts `received`; larger is the closer match, `None` no match.
    ///
    /// Names compare without regard to case; `*.example.org` and `*@example.org` accept every name that ends so, and
    /// attributes of distinguished names such as `CN=*` every value.
    pub fn matches(&self, received: &Identity) -> Option<u32> {
        if self.kind == IdKind::Any {
            return Some(1);
        }
        if self.kind == IdKind::AddressRange && received.kind != IdKind::AddressRange {
            let (address, (first, last)) = (received.address()?, self.range()?);
            return (first.is_ipv6() == address.is_ipv6() && first <= address && address <= last).then_some(10);
        }
        if self.kind != received.kind {
            return None;
        }
        match self.kind {
            IdKind::Fqdn | IdKind::Rfc822 => match self.data.strip_prefix(b"*") {
                Some(suffix) => {
                    let start = received.data.len().checked_sub(suffix.len())?;
                    let tail = received.data.get(start..)?;
                    (start > 0 && tail.eq_ignore_ascii_case(suffix)).then_some(10)
                }
                None => self.data.eq_ignore_ascii_case(&received.data).then_some(20),
            },
            IdKind::DistinguishedName => {
                let any = name::matches(&self.data, &received.data)?;
                Some(if any == 0 { 20 } else { 19_u32.saturating_sub(any).max(2) })
            }
            _ => (self.data == received.data).then_some(20),
        }
    }
}

impl From<IpAddr> for Identity {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(a) => Self { kind: IdKind::Ipv4, data: a.octets().to_vec() },
            IpAddr::V6(a) => Self { kind: IdKind::Ipv6, data: a.octets().to_vec() },
        }
    }
}

/// The notation of swanctl.conf: an address, a name, `user@domain`, `@name`, `@#hex` (key ID), `%any`, a
/// distinguished name (`C=CH, O=Example, CN=gateway`), and the explicit prefixes `fqdn:`, `email:`, `rfc822:`, `keyid:`,
/// `asn1dn:`, `ipv4:`, `ipv6:`.
impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        let text = text.trim();
        let named = |kind, name: &str| Self { kind, data: name.as_bytes().to_vec() };
        if text.is_empty() || text == "%any" || text == "%any6" || text == "0.0.0.0" || text == "*" || text == "::" {
            return Ok(Self::ANY);
        }
        if let Some((prefix, rest)) = text.split_once(':') {
            match prefix.to_ascii_lowercase().as_str() {
                "fqdn" => return Ok(named(IdKind::Fqdn, rest)),
                "email" | "rfc822" | "userfqdn" => return Ok(named(IdKind::Rfc822, rest)),
                "keyid" => {
                    return Ok(match rest.strip_prefix('#').and_then(hex) {
                        Some(octets) => Self { kind: IdKind::KeyId, data: octets },
                        None => named(IdKind::KeyId, rest),
                    });
                }
                "asn1dn" => {
                    let der = match rest.strip_prefix('#') {
                        Some(digits) => hex(digits),
                        None => name::parse(rest),
                    };
                    let data = der.ok_or_else(|| InvalidIdentity::DistinguishedName(rest.into()))?;
                    return Ok(Self { kind: IdKind::DistinguishedName, data });
                }
                "ipv4" | "ipv6" => {
                    if let Ok(address) = rest.parse::<IpAddr>() {
                        return Ok(address.into());
                    }
                }
                _ => {}
            }
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        // `192.0.2.0/24` and `192.0.2.1-192.0.2.9`: every address in there.
        if let (true, Ok(ts)) = (text.contains(['/', '-']), text.parse::<crate::TrafficSelector>()) {
            return Ok(Self::from_range(ts.start, ts.end));
        }
        if let Some(digits) = text.strip_prefix("@#") {
            let octets = hex(digits).ok_or_else(|| InvalidIdentity::KeyId(text.into()))?;
            return Ok(Self { kind: IdKind::KeyId, data: octets });
        }
        if let Some(name) = text.strip_prefix("@@") {
            return Ok(named(IdKind::Rfc822, name));
        }
        if let Some(name) = text.strip_prefix('@') {
            return Ok(named(IdKind::Fqdn, name));
        }
        if text.contains('=') {
            let der = name::parse(text).ok_or_else(|| InvalidIdentity::DistinguishedName(text.into()))?;
            return Ok(Self { kind: IdKind::DistinguishedName, data: der });
        }
        if text.contains('@') {
            return Ok(named(IdKind::Rfc822, text));
        }
        Ok(named(IdKind::Fqdn, text))
    }
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |d: u8| char::from(d).to_digit(16);
    digits.chunks_exact(2).map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect()
}

/// As strongSwan's tools print it: names as they are, addresses in text, key IDs in hexadecimal. Octets that do not print
/// are shown as `?`: an identity comes from the network and ends in a terminal.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        if let Some(address) = self.address() {
            return write!(f, "{address}");
        }
        if let (IdKind::AddressRange, Some((start, end))) = (self.kind, self.range()) {
            return write!(f, "{}", crate::TrafficSelector { start, end, ..crate::TrafficSelector::host(start) });
        }
        if self.kind == IdKind::DistinguishedName && name::print(&self.data, f)? {
            return Ok(());
        }
        match self.kind {
            IdKind::Any => f.write_str("%any"),
            IdKind::Fqdn | IdKind::Rfc822 => self
                .data
                .iter()
                .try_for_each(|&b| f.write_char(if b.is_ascii_graphic() || b == b' ' { b.into() } else { '?' })),
            IdKind::KeyId if self.data.iter().all(u8::is_ascii_graphic) && !self.data.is_empty() => {
                self.data.iter().try_for_each(|&b| f.write_char(b.into()))
            }
            _ => {
                for (n, octet) in self.data.iter().enumerate() {
                    write!(f, "{}{octet:02x}", if n == 0 { "" } else { ":" })?;
                }
                Ok(())
            }
        }
    }
}

impl serde::Serialize for Identity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Identity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Identity {
        text.parse().unwrap()
    }

    #[test]
    fn kinds_are_recognised_as_strongswan_does() {
        for (text, kind, shown) in [
            ("192.0.2.1", IdKind::Ipv4, "192.0.2.1"),
            ("2001:db8::1", IdKind::Ipv6, "2001:db8::1"),
            ("moon.strongswan.org", IdKind::Fqdn, "moon.strongswan.org"),
            ("@moon", IdKind::Fqdn, "moon"),
            ("carol@strongswan.org", IdKind::Rfc822, "carol@strongswan.org"),
            ("@@carol", IdKind::Rfc822, "carol"),
            ("fqdn:a@b", IdKind::Fqdn, "a@b"),
            ("keyid:router7", IdKind::KeyId, "router7"),
            ("@#00ff", IdKind::KeyId, "00:ff"),
            ("%any", IdKind::Any, "%any"),
        ] {
            assert_eq!((id(text).kind(), id(text).to_string().as_str()), (kind, shown), "{text}");
        }
        assert!(matches!("C=CH, Q=x".parse::<Identity>(), Err(InvalidIdentity::DistinguishedName(_))));
        assert!(matches!("asn1dn:moon".parse::<Identity>(), Err(InvalidIdentity::DistinguishedName(_))));
        assert!(matches!("@#0".parse::<Identity>(), Err(InvalidIdentity::KeyId(_))));
    }

    #[test]
    fn wildcards_match_suffixes_only() {
        let any_host = id("*.strongswan.org");
        assert!(any_host.is_wildcard());
        assert!(any_host.matches(&id("Moon.strongswan.ORG")).is_some());
        assert!(any_host.matches(&id("strongswan.org")).is_none());
        assert!(any_host.matches(&id(".strongswan.org")).is_none(), "the asterisk stands for at least one character");
        assert!(any_host.matches(&id("moon@x.strongswan.org")).is_none(), "another kind");
        assert!(id("moon").matches(&id("moon")) > any_host.matches(&id("a.strongswan.org")));
        let network = id("192.0.2.96/28");
        assert!(network.is_wildcard() && network.to_string() == "192.0.2.96/28");
        assert!(network.matches(&id("192.0.2.100")).is_some());
        assert!(network.matches(&id("192.0.2.112")).is_none());
        assert!(id("192.0.2.1-192.0.2.9").matches(&id("192.0.2.9")).is_some());
        assert!(id("192.0.2.1-192.0.2.9").matches(&id("2001:db8::1")).is_none());
        assert!(id("site-a").matches(&id("site-a")).is_some(), "a name with a dash is a name");
        assert!(Identity::ANY.matches(&id("192.0.2.1")).is_some());
    }

    #[test]
    fn distinguished_names_are_der_and_print_as_they_were() {
        let moon = id("C=CH, O=strongSwan Project, CN=moon.strongswan.org");
        // The subject of a certificate that strongSwan's pki made.
        let expected = hex("3048310b3009060355040613024348311b3019060355040a13127374726f6e675377616e20\
             50726f6a656374311c301a060355040313136d6f6f6e2e7374726f6e677377616e2e6f7267");
        assert_eq!(Some(moon.data().to_vec()), expected);
        for text in [
            "C=CH, O=strongSwan Project, CN=moon.strongswan.org",
            "DC=org, DC=example, CN=a\\, b, E=a@example.org",
            "C=CH, O=x + OU=y",
            "CN=m\u{f6}\u{f6}n",
        ] {
            assert_eq!(id(text).to_string(), text);
            assert_eq!(Identity::from_wire(9, id(text).data()), id(text));
        }
        assert_eq!(id("/C=CH/O=a b/CN=x").to_string(), "C=CH, O=a b, CN=x");
        assert_eq!(id("CN=\"a, b\"").to_string(), "CN=a\\, b");
        assert_eq!(Identity::from_wire(9, b"\x30\x03abc").to_string(), "30:03:61:62:63");
        assert_eq!(id("asn1dn:CN=a"), id("CN=a"));
    }

    #[test]
    fn distinguished_names_match_by_attribute() {
        let name = id("C=CH, O=Example, OU=Sales, CN=carol");
        assert_eq!(id("c=ch, o=EXAMPLE, ou=sales, cn=Carol").matches(&name), Some(20));
        assert_eq!(id("C=CH, O=Example, OU=Sales, CN=*").matches(&name), Some(18));
        assert!(id("C=CH, O=*, OU=Sales, CN=*").matches(&name) < id("C=CH, O=Example, OU=Sales, CN=*").matches(&name));
        let nobody = Identity::from_wire(9, &[0x30, 0]);
        assert_eq!(nobody.matches(&nobody), None);
        assert!(id("CN=*").is_wildcard() && !name.is_wildcard());
        for other in
            ["C=CH, O=Example, CN=*", "O=Example, C=CH, OU=Sales, CN=carol", "C=CH, O=Example, OU=Sales, E=carol"]
        {
            assert_eq!(id(other).matches(&name), None, "{other}");
        }
    }

    #[test]
    fn hostile_identities_print_safely() {
        assert_eq!(Identity::from_wire(2, b"a\x1b[31m\n").to_string(), "a?[31m?");
        assert_eq!(Identity::from_wire(1, b"abc").to_string(), "61:62:63");
        assert_eq!(Identity::from_wire(201, b"").to_string(), "");
    }
}
