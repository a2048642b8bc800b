//! Addresses of peers, and traffic selectors that depend on them, as configurations write them.

use crate::{Child, ConfigError, ErrorKind};
use model::{InvalidSelector, MOST_SELECTORS, TrafficSelector};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One entry of `local_addrs` or `remote_addrs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressPattern {
    /// `%any`: every address.
    Any,
    /// One address.
    Host(IpAddr),
    /// A network: address and prefix length. `%any4` is `0.0.0.0/0`, `%any6` is `::/0`.
    Subnet(IpAddr, u8),
    /// First and last address.
    Range(IpAddr, IpAddr),
    /// A host name: whoever matches it has to know its addresses.
    Name(String),
}

impl AddressPattern {
    /// Whether a peer or interface with this address is meant. A name by itself matches nothing.
    pub fn matches(&self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Host(host) => *host == address,
            Self::Subnet(network, prefix) => {
                TrafficSelector::subnet(*network, *prefix).is_some_and(|ts| ts.contains(address, 0, 0))
            }
            Self::Range(first, last) => first.is_ipv4() == address.is_ipv4() && *first <= address && address <= *last,
            Self::Name(_) => false,
        }
    }

    /// Whether it names one host, so that a connection can be initiated to it.
    pub fn is_specific(&self) -> bool {
        matches!(self, Self::Host(_) | Self::Name(_))
    }

    /// Reads one: an address, a network, a range, a host name or `%any`.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, ErrorKind> {
        const EXPECTED: &str =
            "an address, a network (192.0.2.0/24), a range (192.0.2.1-192.0.2.9), a host name or %any";
        let text = text.trim();
        let refuse = || ErrorKind::Value { got: text.into(), expected: EXPECTED };
        match text {
            "%any" => return Ok(Self::Any),
            "%any4" | "0.0.0.0" => return Ok(Self::Subnet(Ipv4Addr::UNSPECIFIED.into(), 0)),
            "%any6" | "::" => return Ok(Self::Subnet(Ipv6Addr::UNSPECIFIED.into(), 0)),
            _ => {}
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Host(address));
        }
        if let Some((address, prefix)) = text.split_once('/') {
            let address: IpAddr = address.trim().parse().map_err(|_| refuse())?;
            let prefix = prefix.trim();
            let plain = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
            let prefix = prefix.parse().ok().filter(|p| plain && TrafficSelector::subnet(address, *p).is_some());
            return Ok(Self::Subnet(address, prefix.ok_or_else(refuse)?));
        }
        if let Some((first, last)) = text.split_once('-')
            && let (Ok(first), Ok(last)) = (first.trim().parse::<IpAddr>(), last.trim().parse::<IpAddr>())
        {
            let ordered = first.is_ipv4() == last.is_ipv4() && first <= last;
            return if ordered { Ok(Self::Range(first, last)) } else { Err(refuse()) };
        }
        let name_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        // A mistyped address must not become a name: no top-level domain consists of digits.
        let last_label = text.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        let numeric = last_label.bytes().all(|b| b.is_ascii_digit());
        if text.len() <= 253 && text.chars().all(name_character) && !text.starts_with(['-', '.']) && !numeric {
            return Ok(Self::Name(text.into()));
        }
        Err(refuse())
    }
}

/// As the configuration writes it.
impl fmt::Display for AddressPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("%any"),
            Self::Host(address) => write!(f, "{address}"),
            Self::Subnet(address, 0) if address.is_unspecified() => {
                f.write_str(if address.is_ipv4() { "%any4" } else { "%any6" })
            }
            Self::Subnet(address, prefix) => write!(f, "{address}/{prefix}"),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// More selectors than a payload has room for (RFC 7296 section 3.13: their number is one octet).
pub(crate) fn refuse_many(child: &Child, path: &str, errors: &mut Vec<ConfigError>) {
    let limit = "255 traffic selectors on a side (RFC 7296 section 3.13): write ranges, or several children";
    for (key, list) in [("local_ts", &child.local_ts), ("remote_ts", &child.remote_ts)] {
        if list.len() > MOST_SELECTORS {
            let path = format!("{path}.{}.{key}", child.name);
            errors.push(ConfigError::new(child.source.place(key).clone(), path, ErrorKind::TooLarge { limit }));
        }
    }
}

/// One entry of `local_ts` or `remote_ts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectorPattern {
    /// `dynamic`: the address of that end, known once the IKE SA is.
    Dynamic {
        /// IP protocol number, 0 for any.
        protocol: u8,
        /// First port.
        start_port: u16,
        /// Last port, inclusive.
        end_port: u16,
    },
    /// Fixed addresses.
    Fixed(TrafficSelector),
}

impl SelectorPattern {
    /// `dynamic` for every protocol: the default.
    pub const DYNAMIC: Self = Self::Dynamic { protocol: 0, start_port: 0, end_port: u16::MAX };

    /// The selector, `dynamic` being the address of that end.
    pub fn resolve(&self, dynamic: IpAddr) -> TrafficSelector {
        match *self {
            Self::Dynamic { protocol, start_port, end_port } => {
                TrafficSelector { protocol, start_port, end_port, ..TrafficSelector::host(dynamic) }
            }
            Self::Fixed(selector) => selector,
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, InvalidSelector> {
        let text = text.trim();
        match text.strip_prefix("dynamic") {
            Some(rest) if rest.is_empty() || rest.starts_with('[') => {
                // Any address serves to read the part in brackets.
                let ts: TrafficSelector =
                    format!("0.0.0.0/0{rest}").parse().map_err(|_| InvalidSelector::ProtocolPort(text.into()))?;
                Ok(Self::Dynamic { protocol: ts.protocol, start_port: ts.start_port, end_port: ts.end_port })
            }
            _ => text.parse().map(Self::Fixed),
        }
    }
}

/// `dynamic`, `dynamic[tcp/22]`, or the fixed selector.
impl fmt::Display for SelectorPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(selector) => write!(f, "{selector}"),
            dynamic => {
                let shown = dynamic.resolve(Ipv4Addr::UNSPECIFIED.into()).to_string();
                f.write_str("dynamic")?;
                f.write_str(shown.find('[').and_then(|n| shown.get(n..)).unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn address_patterns() {
        for (text, hit, miss) in [
            ("%any", "192.0.2.1", ""),
            ("%any4", "192.0.2.1", "2001:db8::1"),
            ("%any6", "2001:db8::1", "192.0.2.1"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("192.0.2.0/28", "192.0.2.15", "192.0.2.16"),
            ("192.0.2.5-192.0.2.9", "192.0.2.9", "192.0.2.10"),
            ("fec0::1", "fec0::1", "fec0::2"),
            ("2001:db8::/32", "2001:db8:1::", "2001:db9::"),
        ] {
            let pattern = AddressPattern::parse(text).unwrap();
            assert!(pattern.matches(ip(hit)), "{text}");
            assert!(miss.is_empty() || !pattern.matches(ip(miss)), "{text}");
            assert_eq!(pattern.to_string(), text);
        }
        assert_eq!(AddressPattern::parse("moon-1.example.org"), Ok(AddressPattern::Name("moon-1.example.org".into())));
        assert!(AddressPattern::parse("moon").unwrap().is_specific());
        assert!(!AddressPattern::parse("10.0.0.0/8").unwrap().is_specific());
        for text in [
            "",
            "192.0.2.256",
            "192.0.2.1.",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0/8",
            "10.0.0.9-10.0.0.1",
            "10.0.0.1-::1",
            "a b",
            "fe80::1%eth0",
            "%defaultroute",
            "-x",
            "2001:db8::x",
        ] {
            assert!(AddressPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn selectors() {
        let parse = |text| SelectorPattern::parse(text).unwrap();
        assert_eq!(parse("dynamic"), SelectorPattern::DYNAMIC);
        assert_eq!(parse("dynamic[tcp/4404]").resolve(ip("192.0.2.1")).to_string(), "192.0.2.1/32[tcp/4404]");
        assert_eq!(parse("dynamic").resolve(ip("fec0::1")).to_string(), "fec0::1/128");
        assert_eq!(parse("10.1.0.0/16").resolve(ip("192.0.2.1")).to_string(), "10.1.0.0/16");
        for text in ["dynamic", "dynamic[tcp/4404]", "10.1.0.0/16[udp]"] {
            assert_eq!(parse(text).to_string(), text);
        }
        assert_eq!(
            SelectorPattern::parse("dynamic[nosuch]"),
            Err(InvalidSelector::ProtocolPort("dynamic[nosuch]".into()))
        );
        assert!(SelectorPattern::parse("dynamics").is_err());
    }
}
