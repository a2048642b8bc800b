//! The structures of `include/uapi/linux/xfrm.h`, octet by octet, as 64-bit kernels lay them out.

use super::algorithm::Algorithms;
use super::foreign::{ForeignPolicy, ForeignSa};
use super::selector::Selector;
use crate::sys::{address, family, octets};
use model::dataplane::{Binding, EspSa, HeaderFields, Mark};
use std::net::{IpAddr, SocketAddr};
use zeroize::Zeroizing;

pub(super) const NEW_SA: u16 = 0x10;
pub(super) const DELETE_SA: u16 = 0x11;
pub(super) const GET_SA: u16 = 0x12;
pub(super) const DELETE_POLICY: u16 = 0x14;
pub(super) const GET_POLICY: u16 = 0x15;
pub(super) const ALLOCATE_SPI: u16 = 0x16;
pub(super) const ACQUIRE: u16 = 0x17;
pub(super) const EXPIRE: u16 = 0x18;
pub(super) const UPDATE_POLICY: u16 = 0x19;
pub(super) const NEW_POLICY: u16 = 0x13;
pub(super) const MAPPING: u16 = 0x26;

pub(super) const ATTRIBUTE_CRYPT: u16 = 2;
pub(super) const ATTRIBUTE_ENCAPSULATION: u16 = 4;
pub(super) const ATTRIBUTE_TEMPLATE: u16 = 5;
pub(super) const ATTRIBUTE_SA: u16 = 6;
pub(super) const ATTRIBUTE_LIFETIME: u16 = 9;
pub(super) const ATTRIBUTE_REPLAY: u16 = 10;
pub(super) const ATTRIBUTE_LAST_USED: u16 = 15;
pub(super) const ATTRIBUTE_AEAD: u16 = 18;
pub(super) const ATTRIBUTE_AUTH_TRUNCATED: u16 = 20;
pub(super) const ATTRIBUTE_MARK: u16 = 21;
pub(super) const ATTRIBUTE_TFC_PADDING: u16 = 22;
pub(super) const ATTRIBUTE_REPLAY_ESN: u16 = 23;
const ATTRIBUTE_EXTRA_FLAGS: u16 = 24;
const EXTRA_FLAG_DONT_ENCAPSULATE_DSCP: u32 = 1;
const ATTRIBUTE_SET_MARK: u16 = 29;
const ATTRIBUTE_SET_MARK_MASK: u16 = 30;
pub(super) const ATTRIBUTE_INTERFACE_ID: u16 = 31;

pub(super) const SA_ID: usize = 24;
pub(super) const SA_INFO: usize = 224;
pub(super) const POLICY_INFO: usize = 168;
pub(super) const ACQUIRE_INFO: usize = 280;
pub(super) const MAPPING_INFO: usize = 64;

const ESP: u8 = 50;
const FLAG_NO_ECN: u8 = 1;
const FLAG_DECAPSULATE_DSCP: u8 = 2;
const FLAG_NO_PATH_MTU: u8 = 4;
const FLAG_ICMP: u8 = 16;
const FLAG_AF_UNSPEC: u8 = 32;
const FLAG_ESN: u8 = 128;
const POLICY_FLAG_ICMP: u8 = 2;
const ENCAPSULATION_ESP_IN_UDP: u16 = 2;

/// Which packets a policy sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    In,
    Out,
    Forward,
    /// What is forwarded into a tunnel: in the clear still, and not yet outbound.
    ForwardOut,
}

impl Direction {
    /// As the kernel numbers them (XFRM_POLICY_IN and so on).
    pub(super) fn number(self) -> u8 {
        match self {
            Self::In => 0,
            Self::Out => 1,
            Self::Forward | Self::ForwardOut => 2,
        }
    }
}

impl Direction {
    /// As `ip xfrm policy` has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Forward | Self::ForwardOut => "fwd",
        }
    }
}

/// Mode numbers are the kernel's, not those of IKE.
pub(super) fn mode_number(mode: model::dataplane::Mode) -> u8 {
    match mode {
        model::dataplane::Mode::Transport => 0,
        model::dataplane::Mode::Tunnel => 1,
    }
}

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    let start = out.len();
    out.extend(octets(address));
    out.resize(start + 16, 0);
}

/// `struct xfrm_selector`, 56 octets.
pub(super) fn selector(selector: &Selector, direction: Direction) -> Vec<u8> {
    let ((source, destination), (source_port, destination_port)) = match direction {
        Direction::Out | Direction::ForwardOut => {
            ((selector.local, selector.remote), (selector.local_port, selector.remote_port))
        }
        // ICMP's type and code do not change places with the direction.
        _ if selector.is_icmp() => ((selector.remote, selector.local), (selector.local_port, selector.remote_port)),
        _ => ((selector.remote, selector.local), (selector.remote_port, selector.local_port)),
    };
    let mut out = Vec::with_capacity(56);
    put_address(&mut out, destination.0);
    put_address(&mut out, source.0);
    for number in [destination_port.0, destination_port.1, source_port.0, source_port.1] {
        out.extend(number.to_be_bytes());
    }
    out.extend(u16::from(family(source.0)).to_ne_bytes());
    out.extend([destination.1, source.1, selector.protocol, 0, 0, 0]);
    out.extend(selector.interface.to_ne_bytes());
    out.extend([0; 4]); // any user
    out
}

/// `struct xfrm_lifetime_cfg`, 64 octets.
fn lifetime(limits: &Limits) -> Vec<u8> {
    let infinite = u64::MAX; // XFRM_INF
    [
        limits.soft_octets.unwrap_or(infinite),
        limits.hard_octets.unwrap_or(infinite),
        limits.soft_packets.unwrap_or(infinite),
        limits.hard_packets.unwrap_or(infinite),
        0,
        limits.hard_seconds.unwrap_or(0),
        0,
        0,
    ]
    .iter()
    .flat_map(|number| number.to_ne_bytes())
    .collect()
}

/// When the kernel reports an SA, and when it drops it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    pub(super) soft_octets: Option<u64>,
    pub(super) soft_packets: Option<u64>,
    pub(super) hard_octets: Option<u64>,
    pub(super) hard_packets: Option<u64>,
    pub(super) hard_seconds: Option<u64>,
}

/// What `struct xfrm_usersa_info` says of one SA.
pub(super) struct SaInfo {
    /// The kernel's name for the packet that asked for the SA, 0 for none.
    pub(super) sequence: u32,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) spi: u32,
    pub(super) reqid: u32,
    pub(super) mode: u8,
    /// 0 if the replay state comes as an attribute.
    pub(super) replay_window: u8,
    pub(super) esn: bool,
    /// ICMP errors about its packets belong to it.
    pub(super) icmp: bool,
    /// The flags about the outer IP header.
    pub(super) header_flags: u8,
    pub(super) limits: Limits,
}

/// `struct xfrm_usersa_info`.
pub(super) fn sa_info(info: &SaInfo) -> Vec<u8> {
    let mut out = Vec::with_capacity(SA_INFO);
    out.resize(56, 0); // no selector: policies decide
    put_address(&mut out, info.destination);
    out.extend(info.spi.to_be_bytes());
    out.extend([ESP, 0, 0, 0]);
    put_address(&mut out, info.source);
    out.extend(lifetime(&info.limits));
    out.extend([0; 32 + 12]); // current lifetime, statistics
    out.extend(info.sequence.to_ne_bytes());
    out.extend(info.reqid.to_ne_bytes());
    out.extend(u16::from(family(info.destination)).to_ne_bytes());
    // In tunnel mode the inner packet's family may differ from the outer one's.
    let family_flag = if info.mode == 1 { FLAG_AF_UNSPEC } else { 0 };
    let flags =
        family_flag | if info.esn { FLAG_ESN } else { 0 } | if info.icmp { FLAG_ICMP } else { 0 } | info.header_flags;
    out.extend([info.mode, info.replay_window, flags]);
    out.resize(SA_INFO, 0);
    out
}

/// The SPI in a `struct xfrm_usersa_info`.
pub(super) fn spi_of(info: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*info.get(72..)?.first_chunk()?))
}

/// The flags of an SA for what its outer IP header has in common with the inner one.
pub(super) fn header_flags(header: &HeaderFields, inbound: bool) -> u8 {
    let flag = |set, flag| if set { flag } else { 0 };
    flag(!header.copy_df, FLAG_NO_PATH_MTU)
        | flag(!header.copy_ecn, FLAG_NO_ECN)
        | flag(inbound && header.copy_dscp.inbound(), FLAG_DECAPSULATE_DSCP)
}

/// The attribute for a field of the outer IP header that is not to be the inner one's.
pub(super) fn header_attribute(header: &HeaderFields, inbound: bool) -> Option<(u16, [u8; 4])> {
    let kept = inbound || header.copy_dscp.outbound();
    (!kept).then(|| (ATTRIBUTE_EXTRA_FLAGS, EXTRA_FLAG_DONT_ENCAPSULATE_DSCP.to_ne_bytes()))
}

/// `struct xfrm_usersa_id`, 24 octets.
pub(super) fn sa_id(destination: IpAddr, spi: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    put_address(&mut out, destination);
    out.extend(spi.to_be_bytes());
    out.extend(u16::from(family(destination)).to_ne_bytes());
    out.extend([ESP, 0]);
    out
}

/// The attributes with algorithms and keys.
pub(super) fn algorithm_attributes(sa: &EspSa, algorithms: Algorithms) -> Vec<(u16, Zeroizing<Vec<u8>>)> {
    let attribute = |name: &str, key: &[u8], extra: Option<u32>| {
        let mut out = Zeroizing::new(Vec::with_capacity(64 + 8 + key.len()));
        out.extend_from_slice(name.as_bytes());
        out.resize(64, 0);
        out.extend_from_slice(&(key.len() as u32 * 8).to_ne_bytes());
        if let Some(extra) = extra {
            out.extend_from_slice(&extra.to_ne_bytes());
        }
        out.extend_from_slice(key);
        out
    };
    let (encryption, integrity) = (sa.encryption_key.expose(), sa.integrity_key.expose());
    match algorithms {
        Algorithms::Aead { name, icv_bits } => vec![(ATTRIBUTE_AEAD, attribute(name, encryption, Some(icv_bits)))],
        Algorithms::Separate { cipher, integrity: name, truncation_bits } => vec![
            (ATTRIBUTE_CRYPT, attribute(cipher, encryption, None)),
            (ATTRIBUTE_AUTH_TRUNCATED, attribute(name, integrity, Some(truncation_bits))),
        ],
    }
}

/// `struct xfrm_replay_state_esn` of a fresh SA.
pub(super) fn replay_esn(window: u32) -> Vec<u8> {
    let words = window.div_ceil(32).max(1);
    let mut out: Vec<u8> = [words, 0, 0, 0, 0, window].iter().flat_map(|number| number.to_ne_bytes()).collect();
    out.resize(24 + words as usize * 4, 0);
    out
}

/// `struct xfrm_encap_tmpl`.
pub(super) fn encapsulation(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut out = ENCAPSULATION_ESP_IN_UDP.to_ne_bytes().to_vec();
    out.extend(source.port().to_be_bytes());
    out.extend(destination.port().to_be_bytes());
    out.resize(24, 0);
    out
}

/// `struct xfrm_user_tmpl`: the SA that a policy asks for. `spi` 0 leaves the choice among those of the reqid.
pub(super) fn template(source: IpAddr, destination: IpAddr, spi: u32, reqid: u32, mode: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    put_address(&mut out, destination);
    out.extend(spi.to_be_bytes());
    out.extend([ESP, 0, 0, 0]);
    out.extend(u16::from(family(destination)).to_ne_bytes());
    out.extend([0; 2]);
    put_address(&mut out, source);
    out.extend(reqid.to_ne_bytes());
    out.extend([mode, 0, 0, 0]);
    out.extend([0xff; 12]); // any algorithm: the SA has been negotiated
    out
}

/// `struct xfrm_mark`.
pub(super) fn mark(mark: Mark) -> Vec<u8> {
    [mark.value, mark.mask].iter().flat_map(|number| number.to_ne_bytes()).collect()
}

/// The mark by which the kernel knows an SA.
pub(super) fn sa_mark(binding: &Binding, inbound: bool) -> Option<Mark> {
    if inbound { binding.mark_in.filter(|_| binding.mark_in_sa) } else { binding.mark_out }
}

/// The attributes of an SA with marks, or of an XFRM interface.
pub(super) fn sa_binding(binding: &Binding, inbound: bool) -> Vec<(u16, Vec<u8>)> {
    let set = if inbound { binding.set_mark_in } else { binding.set_mark_out };
    let interface = if inbound { binding.if_id_in } else { binding.if_id_out };
    let mut attributes = Vec::new();
    attributes.extend(sa_mark(binding, inbound).map(|m| (ATTRIBUTE_MARK, mark(m))));
    if let Some(set) = set {
        attributes.push((ATTRIBUTE_SET_MARK, set.value.to_ne_bytes().to_vec()));
        attributes.push((ATTRIBUTE_SET_MARK_MASK, set.mask.to_ne_bytes().to_vec()));
    }
    attributes.extend(interface.map(|id| (ATTRIBUTE_INTERFACE_ID, id.to_ne_bytes().to_vec())));
    attributes
}

/// The same of a policy. Packets that are forwarded into a tunnel's end came in.
pub(super) fn policy_binding(binding: &Binding, direction: Direction) -> Vec<(u16, Vec<u8>)> {
    let (of_packets, interface) = match direction {
        Direction::Out | Direction::ForwardOut => (binding.mark_out, binding.if_id_out),
        Direction::In | Direction::Forward => (binding.mark_in, binding.if_id_in),
    };
    let interface = interface.map(|id| (ATTRIBUTE_INTERFACE_ID, id.to_ne_bytes().to_vec()));
    of_packets.map(|m| (ATTRIBUTE_MARK, mark(m))).into_iter().chain(interface).collect()
}

/// `struct xfrm_userpolicy_info`; with `block` nothing passes, with `icmp` the policy covers ICMP errors about its packets.
pub(super) fn policy_info(of: &Selector, direction: Direction, priority: u32, (block, icmp): (bool, bool)) -> Vec<u8> {
    let mut out = selector(of, direction);
    out.extend(lifetime(&Limits::default()));
    out.extend([0; 32]);
    out.extend(priority.to_ne_bytes());
    out.extend(0u32.to_ne_bytes()); // index: the kernel's choice
    // XFRM_POLICY_ALLOW or _BLOCK; any share.
    out.extend([direction.number(), u8::from(block), if icmp { POLICY_FLAG_ICMP } else { 0 }, 0]);
    out.resize(POLICY_INFO, 0);
    out
}

/// `struct xfrm_userpolicy_id`.
pub(super) fn policy_id(of: &Selector, direction: Direction) -> Vec<u8> {
    let mut out = selector(of, direction);
    out.extend(0u32.to_ne_bytes());
    out.extend([direction.number(), 0, 0, 0]);
    out
}

/// A policy for one socket, for `setsockopt`: everything passes in the clear.
pub(crate) fn socket_bypass_policy(like: IpAddr, direction: Direction) -> Vec<u8> {
    policy_info(&Selector::any(like), direction, 0, (false, false))
}

/// What a dump or a notification says of an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SaState {
    pub(super) destination: IpAddr,
    pub(super) spi: u32,
    pub(super) octets: u64,
    pub(super) packets: u64,
}

/// Reads `struct xfrm_usersa_info`.
pub(super) fn read_sa(octets: &[u8]) -> Option<SaState> {
    let family = u16::from_ne_bytes(*octets.get(212..)?.first_chunk()?);
    Some(SaState {
        destination: address(u8::try_from(family).ok()?, octets.get(56..72)?)?,
        spi: u32::from_be_bytes(*octets.get(72..)?.first_chunk()?),
        octets: u64::from_ne_bytes(*octets.get(160..)?.first_chunk()?),
        packets: u64::from_ne_bytes(*octets.get(168..)?.first_chunk()?),
    })
}

/// The `struct xfrm_lifetime_cur` in `struct xfrm_usersa_info`.
pub(super) fn current_lifetime(octets: &[u8]) -> Option<&[u8]> {
    octets.get(160..192)
}

/// The ends, SPI and protocol of a `struct xfrm_usersa_info`.
pub(super) fn read_sa_ends(octets: &[u8]) -> Option<ForeignSa> {
    let state = read_sa(octets)?;
    let family = u8::try_from(u16::from_ne_bytes(*octets.get(212..)?.first_chunk()?)).ok()?;
    let source = address(family, octets.get(80..96)?)?;
    Some(ForeignSa { source, destination: state.destination, spi: state.spi, protocol: *octets.get(76)? })
}

/// The networks and the direction of a `struct xfrm_userpolicy_info`; `None` for the policy of a single socket.
pub(super) fn read_policy(octets: &[u8]) -> Option<ForeignPolicy> {
    let (source, destination, _) = read_selector(octets)?;
    let direction = *["in", "out", "fwd"].get(usize::from(*octets.get(160)?))?;
    let (to, from) = (*octets.get(42)?, *octets.get(43)?);
    Some(ForeignPolicy { source: (source.ip(), from), destination: (destination.ip(), to), direction })
}

/// The `hard` flag behind the `struct xfrm_usersa_info` of an expiry.
pub(super) fn read_hard(octets: &[u8]) -> Option<bool> {
    octets.get(SA_INFO).map(|hard| *hard != 0)
}

/// Source and destination of a `struct xfrm_selector`, and its protocol and ports.
pub(super) fn read_selector(octets: &[u8]) -> Option<(SocketAddr, SocketAddr, u8)> {
    let family = u8::try_from(u16::from_ne_bytes(*octets.get(40..)?.first_chunk()?)).ok()?;
    let port = |at: usize| octets.get(at..)?.first_chunk().map(|port| u16::from_be_bytes(*port));
    let source = SocketAddr::new(address(family, octets.get(16..32)?)?, port(36)?);
    let destination = SocketAddr::new(address(family, octets.get(..16)?)?, port(32)?);
    Some((source, destination, *octets.get(44)?))
}

/// The kernel's name for the packet of a `struct xfrm_user_acquire`; `None` for zero.
pub(super) fn acquire_sequence(octets: &[u8]) -> Option<u32> {
    octets.get(276..)?.first_chunk().map(|octets| u32::from_ne_bytes(*octets)).filter(|sequence| *sequence != 0)
}

/// SPI, destination and new source of a `struct xfrm_user_mapping`.
pub(super) fn read_mapping(octets: &[u8]) -> Option<(IpAddr, u32, SocketAddr)> {
    let octets = octets.get(..MAPPING_INFO)?;
    let family = u8::try_from(u16::from_ne_bytes(*octets.get(20..)?.first_chunk()?)).ok()?;
    let destination = address(family, octets.get(..16)?)?;
    let spi = u32::from_be_bytes(*octets.get(16..)?.first_chunk()?);
    let source = address(family, octets.get(44..60)?)?;
    let port = u16::from_be_bytes(*octets.get(62..)?.first_chunk()?);
    Some((destination, spi, SocketAddr::new(source, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_sizes() {
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let any = Selector::any(ip);
        assert_eq!(selector(&any, Direction::In).len(), 56);
        assert_eq!(policy_info(&any, Direction::In, 1, (false, false)).len(), POLICY_INFO);
        assert_eq!(policy_id(&any, Direction::Out).len(), 64);
        assert_eq!(template(ip, ip, 0, 1, 1).len(), 64);
        assert_eq!(sa_id(ip, 1).len(), 24);
        assert_eq!(encapsulation(SocketAddr::new(ip, 1), SocketAddr::new(ip, 2)).len(), 24);
        assert_eq!(lifetime(&Limits::default()).len(), 64);
        assert_eq!(replay_esn(33).len(), 24 + 8);
    }

    #[test]
    fn marks_and_interfaces_are_where_the_kernel_looks_for_them() {
        let [ten, eleven] = [10, 11].map(|value| Mark { value, mask: 0xff });
        let binding = Binding {
            mark_in: Some(ten),
            mark_out: Some(eleven),
            set_mark_in: Some(ten),
            if_id_in: Some(42),
            if_id_out: Some(43),
            ..Binding::default()
        };
        let octets = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_ne_bytes()).collect::<Vec<u8>>();
        let (set, interface) = ((29, octets(&[10])), (31, octets(&[42])));
        let inbound = vec![set, (30, octets(&[0xff])), interface.clone()];
        assert_eq!(sa_binding(&binding, true), inbound, "the inbound SA is for any mark");
        let narrow = Binding { mark_in_sa: true, ..binding };
        assert_eq!(sa_binding(&narrow, true).first(), Some(&(21, octets(&[10, 0xff]))));
        let outbound = vec![(21, octets(&[11, 0xff])), (31, octets(&[43]))];
        assert_eq!(sa_binding(&binding, false), outbound);
        assert_eq!(policy_binding(&binding, Direction::Out), outbound);
        for direction in [Direction::In, Direction::Forward] {
            assert_eq!(policy_binding(&binding, direction), [(21, octets(&[10, 0xff])), interface.clone()]);
        }
        assert!(sa_binding(&Binding::default(), true).is_empty());
        let any = Selector::any("192.0.2.1".parse().unwrap());
        let flags = |icmp| policy_info(&any, Direction::Out, 1, (false, icmp))[162];
        assert_eq!((flags(false), flags(true)), (0, 2));
    }

    #[test]
    fn the_outer_header_has_its_flags_where_the_kernel_looks_for_them() {
        use model::dataplane::CopyDscp;
        let of = |copy_df, copy_ecn, copy_dscp| HeaderFields { copy_df, copy_ecn, copy_dscp };
        let usual = HeaderFields::default();
        for inbound in [false, true] {
            assert_eq!((header_flags(&usual, inbound), header_attribute(&usual, inbound)), (0, None));
        }
        assert_eq!(header_flags(&of(false, false, CopyDscp::Out), false), 4 | 1);
        let [inward, both, neither] = [CopyDscp::In, CopyDscp::Yes, CopyDscp::No].map(|dscp| of(true, true, dscp));
        assert_eq!([&inward, &both, &neither].map(|h| header_flags(h, true)), [2, 2, 0]);
        assert_eq!([&inward, &both, &neither].map(|h| header_flags(h, false)), [0, 0, 0]);
        let no = Some((24, 1u32.to_ne_bytes()));
        assert_eq!([&inward, &both, &neither].map(|h| header_attribute(h, false)), [no, None, no]);
        assert_eq!(header_attribute(&neither, true), None);
        let any = Selector { interface: 7, ..Selector::any("192.0.2.1".parse().unwrap()) };
        assert_eq!(selector(&any, Direction::Out)[48..52], 7u32.to_ne_bytes());
        assert_eq!(policy_info(&any, Direction::ForwardOut, 1, (false, false))[160], 2);
    }

    #[test]
    fn directions_swap_ports_but_not_icmp_types() {
        let any = Selector::any("10.0.0.0".parse().unwrap());
        let tcp = Selector { protocol: 6, local_port: (1, 0xffff), remote_port: (2, 0xffff), ..any };
        assert_eq!(
            read_selector(&selector(&tcp, Direction::Out)).map(|(s, d, p)| (s.port(), d.port(), p)),
            Some((1, 2, 6))
        );
        assert_eq!(
            read_selector(&selector(&tcp, Direction::In)).map(|(s, d, p)| (s.port(), d.port(), p)),
            Some((2, 1, 6))
        );
        let icmp = Selector { protocol: 1, ..tcp };
        assert_eq!(
            read_selector(&selector(&icmp, Direction::In)).map(|(s, d, p)| (s.port(), d.port(), p)),
            Some((1, 2, 1))
        );
    }

    #[test]
    fn short_messages_are_refused() {
        assert_eq!(read_sa(&[0; 100]), None);
        assert_eq!(read_hard(&[0; SA_INFO]), None);
        assert_eq!(read_mapping(&[0; 63]), None);
        assert_eq!(read_selector(&[0; 44]), None);
        assert_eq!((acquire_sequence(&[1; 279]), acquire_sequence(&[0; ACQUIRE_INFO])), (None, None));
        let mut acquire = [0; ACQUIRE_INFO];
        acquire[276..].copy_from_slice(&7u32.to_ne_bytes());
        assert_eq!(acquire_sequence(&acquire), Some(7));
        let mut mapping = [0; MAPPING_INFO];
        mapping[20..22].copy_from_slice(&2u16.to_ne_bytes());
        mapping[..4].copy_from_slice(&[192, 0, 2, 1]);
        mapping[19] = 7;
        mapping[44..48].copy_from_slice(&[192, 0, 2, 9]);
        mapping[63] = 80;
        let (local, new) = ("192.0.2.1".parse().unwrap(), "192.0.2.9:80".parse().unwrap());
        assert_eq!(read_mapping(&mapping), Some((local, 7, new)));
    }
}
