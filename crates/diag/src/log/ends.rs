//! Which two ends a message is about.

use memchr::memmem::Finder;
use std::net::IpAddr;
use std::sync::LazyLock;

/// Addresses in a message: our end, and the peer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    pub local: Option<IpAddr>,
    pub peer: Option<IpAddr>,
}

/// An address and where it stands.
struct Found {
    address: IpAddr,
    start: usize,
    end: usize,
}

/// So many addresses of a line are looked at; two ends with two identities make four.
const MAX_FOUND: usize = 6;
/// An address behind one of these is the peer's.
const TOWARDS: [&str; 11] = ["to", "from", "by", "for", "with", "peer", "remote", "of", "contacting", "gateway", "="];

/// What stands between both ends of an SA of charon's; a searcher is made once.
static DOTS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("..."));

/// Finds the ends. `ours` knows addresses of this host, which matter where the message does not say whose an address is.
pub(super) fn find(text: &str, ours: impl Fn(IpAddr) -> bool) -> Ends {
    let found = addresses(text);
    let Some(first) = found.first() else { return Ends::default() };
    let pair = |local: &Found, peer: &Found| Ends { local: Some(local.address), peer: Some(peer.address) };
    if let Some(at) = DOTS.find(text.as_bytes()) {
        let right = found.iter().find(|found| found.start >= at);
        if let Some(right) = right.filter(|_| first.end <= at) {
            return pair(first, right);
        }
    }
    if let Some(second) = found.get(1) {
        let between = text.get(first.end..second.start).unwrap_or_default();
        if text.starts_with("sending packet") {
            return pair(first, second);
        }
        if text.starts_with("received packet") || between.ends_with(" local ") {
            return pair(second, first);
        }
        if between.contains("<=>") || between.ends_with("]-") {
            return pair(first, second);
        }
        // What racoonctl show-event prints: our end comes first.
        if text.starts_with("Phase ") || text.starts_with("Event ") {
            return pair(first, second);
        }
        if between.contains("->") {
            let peer = [second, first].into_iter().find(|found| !ours(found.address)).map(|found| found.address);
            return Ends { local: None, peer: peer.filter(|_| ours(first.address) || ours(second.address)) };
        }
    }
    if text.starts_with("local endpoint") || text.starts_with("Hashing") {
        return Ends::default();
    }
    let behind = |found: &&Found| {
        let before = text.get(..found.start).unwrap_or_default().trim_end().rsplit([' ', '\'']).next();
        found.start == 0 || before.is_some_and(|word| TOWARDS.contains(&word.to_ascii_lowercase().as_str()))
    };
    let peer = found.iter().filter(behind).find(|found| !ours(found.address)).map(|found| found.address);
    Ends { local: None, peer }
}

/// Addresses of hosts in a text, in order; no networks, no unspecified ones.
fn addresses(text: &str) -> Vec<Found> {
    let in_address = |b: u8| b.is_ascii_hexdigit() || b == b'.' || b == b':';
    let octets = text.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    // Every address has a dot or a colon, and few words have.
    while let Some(mark) = octets.get(at..).and_then(|rest| memchr::memchr2(b'.', b':', rest)) {
        let before = octets.get(at..at + mark).unwrap_or_default();
        let start = at + mark - before.iter().rev().take_while(|b| in_address(**b)).count();
        let length = octets.get(start..).unwrap_or_default().iter().take_while(|b| in_address(**b)).count();
        at = start + length;
        let run = text.get(start..at).unwrap_or_default();
        let before = start.checked_sub(1).and_then(|before| octets.get(before));
        let joined = before.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'/');
        let network = octets.get(at) == Some(&b'/') && octets.get(at + 1).is_some_and(u8::is_ascii_digit);
        if joined || network || length < 3 {
            continue;
        }
        if let Some((address, start, end)) = address_in(run, start).filter(|found| !found.0.is_unspecified()) {
            found.push(Found { address, start, end });
            if found.len() == MAX_FOUND {
                break;
            }
        }
    }
    found
}

/// The address in a run of digits, dots and colons, without a port or the end of a sentence.
fn address_in(run: &str, start: usize) -> Option<(IpAddr, usize, usize)> {
    let dots = run.bytes().filter(|b| *b == b'.').count();
    let lead = run.len() - run.trim_start_matches('.').len();
    let run = run.trim_matches('.');
    let start = start + lead;
    if dots < 3 && run.bytes().filter(|b| *b == b':').count() < 2 {
        return None;
    }
    let whole = run.trim_end_matches(':');
    let candidates = [whole, whole.rsplit_once(':').map_or("", |(address, _)| address)];
    candidates.into_iter().find_map(|text| Some((text.parse().ok()?, start, start + text.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_peer_is_found() {
        let ours = |address: IpAddr| address == "10.9.0.1".parse::<IpAddr>().unwrap();
        for (text, local, peer) in [
            ("initiate new phase 1 negotiation: 10.9.0.1[500]<=>10.9.0.2[500]", "10.9.0.1", "10.9.0.2"),
            (
                "ISAKMP-SA established 10.9.0.1[500]-10.9.0.2[500] spi:7bede73e9e9e5d1a:af7173feb181ce59",
                "10.9.0.1",
                "10.9.0.2",
            ),
            ("IPsec-SA established: ESP/Tunnel 10.9.0.2[500]->10.9.0.1[500] spi=117061343(0x6fa36df)", "", "10.9.0.2"),
            ("IPsec-SA established: ESP/Tunnel 10.9.0.1[500]->10.9.0.2[500] spi=117061343(0x6fa36df)", "", "10.9.0.2"),
            ("the packet is retransmitted by 10.9.0.2[500] (1).", "", "10.9.0.2"),
            ("no configuration found for 10.9.0.2.", "", "10.9.0.2"),
            ("sending packet: from 10.9.0.1[500] to 10.9.0.2[500] (464 bytes)", "10.9.0.1", "10.9.0.2"),
            ("received packet: from 10.9.0.2[500] to 10.9.0.1[500] (464 bytes)", "10.9.0.1", "10.9.0.2"),
            ("IKE_SA v2[1] established between 10.9.0.1[a]...10.9.0.2[10.9.0.2]", "10.9.0.1", "10.9.0.2"),
            ("10.9.0.2 is initiating a Main Mode IKE_SA", "", "10.9.0.2"),
            ("sent IKE_SA_INIT request to 192.1.2.23:UDP/500", "", "192.1.2.23"),
            ("recv IKE_SA_INIT req 0 peer 10.9.0.2:500 local 10.9.0.1:500, 464 bytes", "10.9.0.1", "10.9.0.2"),
            ("sending to 2001:db8::1[500]", "", "2001:db8::1"),
            ("Phase 1 established : 10.9.0.1[500] -> 10.9.0.2[500]", "10.9.0.1", "10.9.0.2"),
            ("IP = 192.0.2.9, Error processing payload", "", "192.0.2.9"),
            ("TS 10.8.1.0/24 === 10.8.2.0/24", "", ""),
            ("used as isakmp port 10.9.0.1[500]", "", ""),
            ("remote endpoint changed from 0.0.0.0 to 10.9.0.2[500]", "", "10.9.0.2"),
            ("local endpoint changed from 0.0.0.0[500] to 10.9.0.3[500]", "", ""),
        ] {
            let expected = Ends { local: local.parse().ok(), peer: peer.parse().ok() };
            assert_eq!(find(text, ours), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_ends_or_none(text in "[0-9a-f:.> \\[\\]-]{0,120}|.{0,80}") {
            let _ = find(&text, |_| false);
        }
    }
}
