//! What can go wrong with the kernel's IPsec, and what an operator can do about it.

use crate::NetlinkError;
use model::dataplane::InterfaceName;
use model::{Encryption, SaId, TrafficSelector};
use std::fmt;
use wire::registry::IntegrityId;

/// What the kernel was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Add the SA by which we receive.
    AddInbound,
    /// Add the SA by which we send.
    AddOutbound,
    /// Read an SA.
    ReadSa,
    /// Remove an SA.
    DeleteSa,
    /// Set a policy.
    SetPolicy,
    /// Remove a policy.
    DeletePolicy,
    /// Have packets wait.
    Hold,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddInbound => "add the inbound SA",
            Self::AddOutbound => "add the outbound SA",
            Self::ReadSa => "read an SA",
            Self::DeleteSa => "remove an SA",
            Self::SetPolicy => "set a policy",
            Self::DeletePolicy => "remove a policy",
            Self::Hold => "keep packets",
        })
    }
}

/// Why a command could not be carried out.
#[derive(Debug)]
pub enum XfrmError {
    /// The kernel refused.
    Refused {
        /// What it was asked.
        step: Step,
        /// The Child SA.
        child: SaId,
        /// Its answer.
        source: NetlinkError,
    },
    /// The kernel has no such encryption algorithm for ESP.
    Encryption(Encryption),
    /// The kernel has no such integrity algorithm for ESP, or one is missing beside a cipher that does not authenticate.
    Integrity(Option<IntegrityId>),
    /// The kernel's selectors cannot express this one (OPAQUE, odd ranges of ICMP types).
    Selector(TrafficSelector),
    /// There is no interface of this name for the policies.
    Interface(InterfaceName),
    /// The selectors' ranges fall into more networks than is sensible.
    TooManyPolicies {
        /// The limit in each direction.
        most: usize,
    },
    /// The anti-replay window is larger than the kernel's.
    ReplayWindow {
        /// What was asked for.
        asked: u32,
        /// The most there is.
        most: u32,
    },
    /// A Child SA of this number is installed already.
    ChildExists(SaId),
    /// There is no Child SA of this number.
    UnknownChild(SaId),
    /// Packets of an XFRM interface do not wait for an SA.
    InterfaceCannotWait(SaId),
}

impl fmt::Display for XfrmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { step, child, source } => {
                write!(f, "the kernel refused to {step} of Child SA {child}: {source}")?;
                match advice(*step, source) {
                    Some(advice) => write!(f, "; {advice}"),
                    None => Ok(()),
                }
            }
            Self::Encryption(encryption) => match encryption.key_length {
                Some(bits) => {
                    write!(f, "the kernel's ESP has no encryption algorithm {} with {bits} bits", encryption.id)
                }
                None => write!(f, "the kernel's ESP has no encryption algorithm {}", encryption.id),
            },
            Self::Integrity(Some(id)) => write!(f, "the kernel's ESP has no integrity algorithm {id}"),
            Self::Integrity(None) => {
                f.write_str("the cipher does not authenticate and no integrity algorithm is beside it")
            }
            Self::Selector(selector) => {
                write!(f, "the kernel's policies cannot express the traffic selector {selector}")
            }
            Self::Interface(name) => write!(
                f,
                "there is no interface {name}: make it before the daemon sets policies for it, or change interface"
            ),
            Self::TooManyPolicies { most } => write!(
                f,
                "the traffic selectors need more than {most} kernel policies in each direction: use networks instead of ranges"
            ),
            Self::ReplayWindow { asked, most } => {
                write!(f, "an anti-replay window of {asked} packets was asked for, the kernel's largest is {most}")
            }
            Self::ChildExists(child) => write!(f, "Child SA {child} is installed already"),
            Self::UnknownChild(child) => write!(f, "Child SA {child} is not installed"),
            Self::InterfaceCannotWait(child) => write!(
                f,
                "the kernel cannot keep packets of an XFRM interface (if_id_out) while the peer replaces Child SA {child}: some may be lost"
            ),
        }
    }
}

fn advice(step: Step, error: &NetlinkError) -> Option<&'static str> {
    let adding = matches!(step, Step::AddInbound | Step::AddOutbound);
    match error.source.raw_os_error()? {
        libc::EPERM => Some("run as root or give the process CAP_NET_ADMIN"),
        libc::EPROTONOSUPPORT if adding => {
            Some("load the modules esp4 and esp6 (modprobe esp4 esp6), or use the userspace data plane")
        }
        libc::ENOSYS | libc::ENOENT if adding => {
            Some("the kernel lacks the algorithm: load its module, or propose another in esp_proposals")
        }
        libc::EEXIST if adding => Some("another SA has this SPI: is another IKE daemon running ('ip xfrm state')?"),
        _ => None,
    }
}

impl std::error::Error for XfrmError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Why the kernel cannot be the data plane.
#[derive(Debug)]
pub enum WhyNot {
    /// There is no XFRM netlink interface.
    NoXfrm,
    /// A privilege is missing.
    NotPermitted,
    /// There is XFRM but no ESP.
    NoEsp {
        /// For this family.
        ipv6: bool,
    },
    /// There is ESP but not the most common algorithm.
    NoAlgorithm,
    /// Anything else.
    Other(NetlinkError),
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoXfrm => {
                f.write_str("the kernel has no XFRM netlink interface (CONFIG_XFRM_USER, module xfrm_user)")
            }
            Self::NotPermitted => {
                f.write_str("not permitted to change SAs: run as root or give the process CAP_NET_ADMIN")
            }
            Self::NoEsp { ipv6: false } => {
                f.write_str("the kernel has XFRM but no ESP for IPv4 (CONFIG_INET_ESP, module esp4)")
            }
            Self::NoEsp { ipv6: true } => {
                f.write_str("the kernel has XFRM but no ESP for IPv6 (CONFIG_INET6_ESP, module esp6)")
            }
            Self::NoAlgorithm => f.write_str(
                "the kernel has ESP but not AES-GCM (CONFIG_CRYPTO_GCM, CONFIG_CRYPTO_SEQIV, CONFIG_CRYPTO_AES)",
            ),
            Self::Other(error) => write!(f, "the kernel refused a test SA: {error}"),
        }
    }
}

impl std::error::Error for WhyNot {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Other(error) => Some(error),
            _ => None,
        }
    }
}
