//! Redirection (RFC 5685): a gateway sends its client to another one.
//!
//! ```text
//! HDR(A,0), SAi1, KEi, Ni, N(REDIRECT_SUPPORTED)  -->
//!                          <--  HDR(A,0), N(REDIRECT, New_GW_ID, Ni_data)      section 3
//! HDR(A,0), SAi1, KEi, Ni, N(REDIRECTED_FROM, Initial_IP_R)  -->               to the new gateway
//!                          <--  HDR, SK {IDr, [CERT,] AUTH, N(REDIRECT, New_GW_ID)}   section 6
//!                          <--  HDR, SK {N(REDIRECT, New_GW_ID)}               section 5
//! HDR, SK {}  -->
//! ```
//!
//! Only the end that began the first IKE SA goes elsewhere, with the same connection: who may answer there does not change.
//! How it goes is in `endpoint/redirect.rs`.

use super::sa::IkeSa;
use crate::context::Context;
use model::Instant;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use wire::v2::{Chain, ChainBuilder};
use wire::{NotifyType, ProtocolId};

/// Gateway Identity Types (section 12).
const IPV4: u8 = 1;
const IPV6: u8 = 2;
const FQDN: u8 = 3;

/// Another gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// At this address.
    Address(IpAddr),
    /// Of this name.
    Name(String),
}

/// Not a gateway: neither an address nor a host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidGateway;

impl fmt::Display for InvalidGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither an address nor a host name")
    }
}

impl std::error::Error for InvalidGateway {}

/// What may be asked for: RFC 1123 section 2.1, and the length that fits into a notification.
fn is_host_name(text: &str) -> bool {
    let label = |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

impl FromStr for Gateway {
    type Err = InvalidGateway;

    fn from_str(text: &str) -> Result<Self, InvalidGateway> {
        match text.parse() {
            Ok(address) => Ok(Self::Address(address)),
            Err(_) if is_host_name(text) => Ok(Self::Name(text.to_string())),
            Err(_) => Err(InvalidGateway),
        }
    }
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Gateway {
    /// GW Ident Type, GW Ident Len, New Responder GW Identity (section 9.2).
    fn encoded(&self) -> Vec<u8> {
        let (kind, identity) = match self {
            Self::Address(IpAddr::V4(a)) => (IPV4, a.octets().to_vec()),
            Self::Address(IpAddr::V6(a)) => (IPV6, a.octets().to_vec()),
            Self::Name(name) => (FQDN, name.bytes().take(usize::from(u8::MAX)).collect()),
        };
        let length = u8::try_from(identity.len()).unwrap_or(u8::MAX); // a name has at most 253
        [&[kind, length], identity.as_slice()].concat()
    }

    /// The gateway in front, and what stands behind it; `None` if it cannot be one.
    fn decoded(data: &[u8]) -> Option<(Self, &[u8])> {
        let ([kind, length], rest) = data.split_first_chunk()?;
        let (identity, rest) = rest.split_at_checked(usize::from(*length))?;
        let gateway = match *kind {
            IPV4 => Self::Address(IpAddr::from(<[u8; 4]>::try_from(identity).ok()?)),
            IPV6 => Self::Address(IpAddr::from(<[u8; 16]>::try_from(identity).ok()?)),
            FQDN => Self::Name(std::str::from_utf8(identity).ok().filter(|name| is_host_name(name))?.to_string()),
            _ => return None,
        };
        Some((gateway, rest))
    }
}

/// What an IKE SA knows about being sent elsewhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redirection {
    /// We began the first IKE SA: rekeying does not change who may be sent elsewhere (section 10).
    pub client: bool,
    /// The peer began it, and can be sent elsewhere.
    pub peer_follows: bool,
    /// The gateway that sent us to this one.
    pub from: Option<IpAddr>,
    /// When that happened, with what led there.
    pub history: Vec<Instant>,
}

fn notify(chain: &mut ChainBuilder, kind: NotifyType, data: &[u8]) {
    chain.notify(ProtocolId::NONE, &[], kind, data);
}

/// Says in IKE_SA_INIT that we go where we are sent, or who sent us, which says the same (section 3).
pub(super) fn announce(sa: &IkeSa, cx: &Context, chain: &mut ChainBuilder) {
    match sa.redirection.from {
        _ if !cx.settings.follow_redirects => {}
        Some(from) => notify(chain, NotifyType::REDIRECTED_FROM, &Gateway::Address(from).encoded()),
        None => notify(chain, NotifyType::REDIRECT_SUPPORTED, &[]),
    }
}

/// What an IKE_SA_INIT request says about it.
pub(super) fn note(sa: &mut IkeSa, cx: &mut Context, chain: &Chain<'_>) {
    let from = chain.notify(NotifyType::REDIRECTED_FROM).and_then(|n| Gateway::decoded(n.data));
    if let Some((from, _)) = &from {
        sa.log(cx, "IKE", 1, format!("client got redirected from {from}"));
    }
    sa.redirection.peer_follows = from.is_some() || chain.notify(NotifyType::REDIRECT_SUPPORTED).is_some();
}

/// Where an answer to IKE_SA_INIT sends us, if it has our nonce and we said that we go.
pub(super) fn answered(cx: &Context, data: &[u8], nonce: &[u8]) -> Option<Gateway> {
    let (gateway, returned) = Gateway::decoded(data).filter(|_| cx.settings.follow_redirects)?;
    (returned == nonce).then_some(gateway)
}

/// Where a protected message sends us: in the answer to IKE_AUTH or in an INFORMATIONAL request.
pub(super) fn told(sa: &IkeSa, cx: &mut Context, chain: &Chain<'_>) -> Option<Gateway> {
    let data = chain.notify(NotifyType::REDIRECT)?.data;
    let gateway = Gateway::decoded(data).map(|(gateway, _)| gateway);
    let usable = sa.redirection.client && sa.is_established() && cx.settings.follow_redirects;
    match gateway.filter(|_| usable) {
        Some(gateway) => Some(gateway),
        None => {
            sa.log(cx, "IKE", 1, "the peer sends us elsewhere, which is not followed".to_string());
            None
        }
    }
}

/// The contents of a request of ours.
pub(super) fn write(chain: &mut ChainBuilder, to: &Gateway) {
    notify(chain, NotifyType::REDIRECT, &to.encoded());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_survive_the_wire() {
        for text in ["192.0.2.1", "2001:db8::1", "moon.example.org", "moon"] {
            let gateway: Gateway = text.parse().unwrap();
            assert_eq!(gateway.to_string(), text);
            let octets = [gateway.encoded(), vec![7; 32]].concat();
            assert_eq!(Gateway::decoded(&octets), Some((gateway, &[7; 32][..])));
        }
    }

    #[test]
    fn what_is_no_gateway_is_refused() {
        for text in ["", "a b", "moon..org", ".", "moon\n", &"a".repeat(254)] {
            assert_eq!(text.parse::<Gateway>(), Err(InvalidGateway), "{text:?}");
        }
        let none: [&[u8]; 8] = [
            &[],
            &[1],
            &[1, 5, 1, 2, 3, 4],
            &[1, 3, 1, 2, 3],
            &[2, 4, 1, 2, 3, 4],
            &[3, 0],
            &[3, 2, 0xff, 0xfe],
            &[4, 1, 65],
        ];
        for data in none {
            assert_eq!(Gateway::decoded(data), None, "{data:?}");
        }
    }
}
