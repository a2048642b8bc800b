//! From a captured packet to what IPsec sees of it.

use std::net::{IpAddr, SocketAddr};

use crate::LinkType;
use model::Unreachable;

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// An IKE message, without the non-ESP marker (RFC 3948 section 2.2).
    Ike(&'a [u8]),
    /// The beginning of an IKE message, where the capture has no more of it (tcpdump's snapshot length): as many octets as
    /// there are, and how many the message had on the line.
    IkeCut(&'a [u8], usize),
    /// A NAT-keepalive packet (RFC 3948 section 2.3).
    Keepalive,
    /// What may be an IKE message by its header, without the non-ESP marker, on other ports than IKE's; its length on
    /// the line; and whether the marker was there.
    Elsewhere(&'a [u8], usize, bool),
    /// What may be ESP in UDP, on other ports than IKE's: those of a forwarding, or of a daemon that was told so.
    EspElsewhere,
    /// The first fragment of an IP packet with an IKE message.
    First(First<'a>),
    /// ESP, bare or in UDP, with its SPI; of ESP in UDP whose first fragment this is, with the packet's identification.
    Esp(u32, Option<u32>),
    /// Another fragment of an IP packet with UDP.
    Fragment(Piece<'a>),
    /// The first fragment of an IP packet with UDP that is none of IKE's: its identification.
    OtherFirst(u32),
    /// Somebody's word that an IKE message between these ends, the datagram's own, cannot be delivered (RFC 792, RFC 4443
    /// section 3.1).
    Unreachable(Unreachable),
    /// A segment of IKE's TCP stream (RFC 9329), which is not read.
    Tcp,
    /// A router's word that an ESP packet between these ends, the datagram's own, is too long for what follows (RFC 1191,
    /// RFC 4443 section 3.2): octets of IP that would pass, 0 if it does not say.
    TooBig(u32),
}

/// A fragment of an IP packet (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The packet's identification.
    pub id: u32,
    /// Where in the packet's content it begins.
    pub offset: usize,
    /// Octets of the packet's content that it carried on the line.
    pub octets: usize,
    /// What the capture has of these.
    pub data: &'a [u8],
    /// Octets that all fragments together carry, where this one says.
    pub whole: Option<usize>,
}

/// The first fragment of an IP packet with an IKE message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct First<'a> {
    /// What it has of the message, without the non-ESP marker.
    pub message: &'a [u8],
    /// Octets of the message on the line.
    pub length: usize,
    /// Octets before the message: UDP's header, and the marker where there is one.
    pub before: usize,
    /// Whether it is on IKE's ports. Elsewhere it looks like a message by its header.
    pub known_port: bool,
    /// The fragment.
    pub piece: Piece<'a>,
}

/// A packet of IKE or ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Sender; port 0 where there is none.
    pub source: SocketAddr,
    /// Receiver; port 0 where there is none.
    pub destination: SocketAddr,
    /// What it carries.
    pub content: Content<'a>,
}

fn be16(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk().map(|word| u16::from_be_bytes(*word))
}

/// What the packet carries of IPsec; `None` for all other traffic and for what cannot be read.
pub fn decapsulate(link: LinkType, octets: &[u8]) -> Option<Datagram<'_>> {
    let (mut kind, mut rest) = match link.0 {
        1 => (be16(octets, 12)?, octets.get(14..)?),
        113 => (be16(octets, 14)?, octets.get(16..)?),
        276 => (be16(octets, 0)?, octets.get(20..)?),
        // Loopback: a four octet address family, in either order; the IP version tells as much.
        0 | 108 => (0, octets.get(4..)?),
        12 | 14 | 101 | 228 | 229 => (0, octets),
        _ => return None,
    };
    // IEEE 802.1Q and 802.1ad: two tags are QinQ, more is not followed.
    for _ in 0..2 {
        if matches!(kind, 0x8100 | 0x88a8 | 0x9100) {
            (kind, rest) = (be16(rest, 2)?, rest.get(4..)?);
        }
    }
    match (kind, rest.first()? >> 4) {
        (0 | 0x0800, 4) => ipv4(rest),
        (0 | 0x86dd, 6) => ipv6(rest),
        _ => None,
    }
}

fn ipv4(packet: &[u8]) -> Option<Datagram<'_>> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let protocol = *packet.get(9)?;
    if !matches!(protocol, 1 | 6 | 17 | 50 | 51) || header < 20 {
        return None;
    }
    let source = IpAddr::from(*packet.get(12..)?.first_chunk::<4>()?);
    let destination = IpAddr::from(*packet.get(16..)?.first_chunk::<4>()?);
    // Octets after the total length are padding of the link.
    let end = usize::from(be16(packet, 2)?).clamp(header, packet.len().max(header));
    let place = be16(packet, 6)?;
    let octets = usize::from(be16(packet, 2)?).saturating_sub(header);
    let content = packet.get(header..end)?;
    let fragment = (place & 0x3fff != 0)
        .then(|| part(be16(packet, 4).unwrap_or(0).into(), place << 3, place & 0x2000 != 0, octets, content));
    if protocol == 1 {
        // Destination Unreachable, fragmentation needed and DF set.
        let icmp = Some(content).filter(|icmp| fragment.is_none() && icmp.starts_with(&[3]))?;
        let why = match icmp.get(1)? {
            3 => Some(Unreachable::Port),
            9 | 10 | 13 => Some(Unreachable::Prohibited),
            0..=2 | 5..=8 | 11 | 12 => Some(Unreachable::Host),
            _ => None,
        };
        if let Some(why) = why {
            return returned(ipv4(icmp.get(8..)?)?, why);
        }
        return too_big(ipv4(icmp.get(8..)?)?, be16(icmp, 6)?.into());
    }
    transport(protocol, source, destination, fragment, content)
}

fn ipv6(packet: &[u8]) -> Option<Datagram<'_>> {
    let source = IpAddr::from(*packet.get(8..)?.first_chunk::<16>()?);
    let destination = IpAddr::from(*packet.get(24..)?.first_chunk::<16>()?);
    let mut next = *packet.get(6)?;
    let end = (40 + usize::from(be16(packet, 4)?)).min(packet.len());
    let mut rest = packet.get(40..end)?;
    let (mut fragment, mut headers) = (None, 0);
    // RFC 8200 section 4: no packet needs more extension headers than this.
    for _ in 0..8 {
        let len = match next {
            0 | 43 | 60 => (usize::from(*rest.get(1)?) + 1) * 8,
            44 => {
                let place = be16(rest, 2)?;
                let id = u32::from_be_bytes(*rest.get(4..)?.first_chunk()?);
                let octets = usize::from(be16(packet, 4)?).saturating_sub(headers + 8);
                let content = rest.get(8..)?;
                fragment = (place & 0xfff9 != 0).then(|| part(id, place & 0xfff8, place & 1 != 0, octets, content));
                8
            }
            _ => break,
        };
        next = *rest.first()?;
        rest = rest.get(len..)?;
        headers += len;
        // What follows in a later fragment is the middle of something, and not a header.
        if fragment.is_some_and(|(_, first)| !first) {
            break;
        }
    }
    if next == 58 {
        let icmp = Some(rest).filter(|_| fragment.is_none())?;
        if let [1, code, ..] = icmp {
            let why = match code {
                4 => Unreachable::Port,
                1 | 5 | 6 => Unreachable::Prohibited,
                _ => Unreachable::Host,
            };
            return returned(ipv6(icmp.get(8..)?)?, why);
        }
        let icmp = Some(icmp).filter(|icmp| icmp.starts_with(&[2, 0]))?;
        return too_big(ipv6(icmp.get(8..)?)?, u32::from_be_bytes(*icmp.get(4..)?.first_chunk()?));
    }
    transport(next, source, destination, fragment, rest)
}

/// What a router quotes: the packet that was too long.
fn too_big(quoted: Datagram<'_>, mtu: u32) -> Option<Datagram<'_>> {
    matches!(quoted.content, Content::Esp(..)).then_some(Datagram { content: Content::TooBig(mtu), ..quoted })
}

/// What somebody quotes: the message that was not delivered.
fn returned(quoted: Datagram<'_>, why: Unreachable) -> Option<Datagram<'_>> {
    let ike = matches!(quoted.content, Content::Ike(_) | Content::IkeCut(..) | Content::First(..));
    ike.then_some(Datagram { content: Content::Unreachable(why), ..quoted })
}

/// A fragment, and whether it is the first.
fn part(id: u32, offset: u16, more: bool, octets: usize, data: &[u8]) -> (Piece<'_>, bool) {
    let whole = (!more).then(|| usize::from(offset) + octets);
    (Piece { id, offset: usize::from(offset), octets, data, whole }, offset == 0)
}

/// Whether it can be an IKE message by its header (RFC 7296 section 3.1, RFC 2408 section 3.1) of so many octets on the line.
fn has_header(octets: &[u8], length: usize) -> bool {
    let Some(header) = octets.first_chunk::<28>() else { return false };
    let said = u32::from_be_bytes([header[24], header[25], header[26], header[27]]);
    let kind = match header[17] {
        0x10 => matches!(header[18], 2 | 4..=6 | 32),
        0x20 => matches!(header[18], 34..=38 | 43 | 44),
        _ => false,
    };
    kind && usize::try_from(said) == Ok(length) && !header.starts_with(&[0; 8])
}

fn transport<'a>(
    mut protocol: u8,
    from: IpAddr,
    to: IpAddr,
    fragment: Option<(Piece<'a>, bool)>,
    mut octets: &'a [u8],
) -> Option<Datagram<'a>> {
    // ESP may stand behind one AH header (RFC 4302 section 2.2: its length is in words, less two).
    if protocol == 51 && fragment.is_none() {
        protocol = *octets.first()?;
        octets = octets.get((usize::from(*octets.get(1)?) + 2) * 4..)?;
    }
    let datagram = |source, destination, content| Datagram {
        source: SocketAddr::new(from, source),
        destination: SocketAddr::new(to, destination),
        content,
    };
    let first = match fragment {
        // Of all others the first one says what there is to know.
        Some((piece, false)) => return (protocol == 17).then(|| datagram(0, 0, Content::Fragment(piece))),
        Some((piece, true)) => Some(piece),
        None => None,
    };
    match protocol {
        // RFC 9329 section 3: the stream begins with these octets, on port 4500 unless it is configured otherwise.
        6 => {
            let data = octets.get(usize::from(octets.get(12)? >> 4) * 4..)?;
            let (source, destination) = (be16(octets, 0)?, be16(octets, 2)?);
            let known = source == 4500 || destination == 4500;
            (data.starts_with(b"IKETCP") || known && !data.is_empty())
                .then(|| datagram(source, destination, Content::Tcp))
        }
        50 => Some(datagram(0, 0, Content::Esp(u32::from_be_bytes(*octets.first_chunk()?), None))),
        17 => udp(octets, first).map(|(source, destination, content)| datagram(source, destination, content)),
        _ => None,
    }
}

/// What is in UDP (RFC 768), with its ports.
fn udp<'a>(octets: &'a [u8], first: Option<Piece<'a>>) -> Option<(u16, u16, Content<'a>)> {
    let (source, destination) = (be16(octets, 0)?, be16(octets, 2)?);
    let sent = usize::from(be16(octets, 4)?);
    let data = octets.get(8..sent.clamp(8, octets.len().max(8)))?;
    let missing = sent.saturating_sub(octets.len());
    let ike = |message: &'a [u8], before, known_port| match (missing, first) {
        (_, Some(piece)) => {
            Content::First(First { message, length: message.len() + missing, before, known_port, piece })
        }
        (0, None) => Content::Ike(message),
        (missing, None) => Content::IkeCut(message, message.len() + missing),
    };
    let content = if source == 4500 || destination == 4500 {
        match data {
            [0xff] => Content::Keepalive,
            [0, 0, 0, 0, message @ ..] => ike(message, 12, true),
            // What a router quotes may end here.
            [] if missing > 0 => ike(&[], 12, true),
            esp => Content::Esp(u32::from_be_bytes(*esp.first_chunk()?), first.map(|piece| piece.id)),
        }
    } else if source == 500 || destination == 500 {
        ike(data, 8, true)
    } else {
        let marked = data.strip_prefix(&[0; 4]);
        let octets = marked.unwrap_or(data);
        let length = octets.len() + missing;
        match first {
            _ if !has_header(octets, length) => match first {
                Some(piece) => Content::OtherFirst(piece.id),
                None => may_be_esp(data, data.len() + missing).then_some(Content::EspElsewhere)?,
            },
            Some(_) => ike(octets, if marked.is_some() { 12 } else { 8 }, false),
            None => Content::Elsewhere(octets, length, marked.is_some()),
        }
    };
    Some((source, destination, content))
}

/// Whether it can be ESP by its beginning and its length on the line: an SPI that is not reserved, a sequence number, two
/// octets of a trailer and an ICV, in whole words (RFC 4303 section 2).
fn may_be_esp(octets: &[u8], length: usize) -> bool {
    length >= 24 && length.is_multiple_of(4) && octets.first_chunk().is_some_and(|spi| u32::from_be_bytes(*spi) > 255)
}
