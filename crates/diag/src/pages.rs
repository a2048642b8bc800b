//! A page on each cause: what it means, how each source shows it, what to change, and where it is written.

use crate::Cause;
use Cause as C;
use std::fmt;

/// What there is to know about a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Which cause.
    pub cause: Cause,
    /// What is wrong.
    pub means: &'static str,
    /// How listings of SAs show it.
    pub listing: &'static str,
    /// How logs show it.
    pub log: &'static str,
    /// How a capture shows it, without keys.
    pub capture: &'static str,
    /// What to change.
    pub change: &'static str,
    /// Where it is written.
    pub rfc: &'static str,
}

impl Cause {
    /// Its page.
    pub fn page(self) -> Page {
        let [means, listing, log, capture, change, rfc] = match self {
            C::NotStarted | C::NoResponse | C::NoConfig | C::IkeVersion | C::NegotiationMode => beginning(self),
            C::Phase1Proposal | C::EncryptionAlgorithm | C::AuthenticationAlgorithm | C::DhGroup => proposals(self),
            C::Phase1Timeout | C::HalfOpen | C::NatTraversal => path(self),
            C::PskMismatch | C::PeerId | C::AuthFailed => proofs(self),
            C::ChildFailed | C::TrafficSelector | C::Pfs | C::Phase2Timeout => children(self),
            C::SecurityProtocol | C::EncapsulationMode | C::CommitBit => forms(self),
            C::Lifetime | C::Collision | C::PeerDelete | C::StaleSa | C::DpdTimeout | C::DpdOrder => afterwards(self),
            C::PathMtu => PATH_MTU,
        };
        Page { cause: self, means, listing, log, capture, change, rfc }
    }
}

type Texts = [&'static str; 6];

const PATH_MTU: Texts = [
    "The tunnel is up and carries small packets; long ones, with what ESP adds to them, do not fit a link on the way, and \
     the sender does not learn it or does not act upon it.",
    "established, with octets both ways; pings pass, transfers hang",
    "no line: IKE has no part in it",
    "ICMP \"fragmentation needed\" (or ICMPv6 \"packet too big\") about ESP again and again, or ESP in fragments of which \
     one only arrives",
    "lower the MTU of the tunnel's interface or route, or clamp the MSS of TCP to it; let ICMP pass to the gateways",
    "RFC 4301 section 8, RFC 1191, RFC 8201",
];

fn beginning(cause: Cause) -> Texts {
    match cause {
        C::NotStarted => [
            "Nothing began to negotiate. Most gateways begin only when a packet asks for the SA.",
            "no row at all, at both ends",
            "no line about the peer",
            "no packet on UDP ports 500 and 4500",
            "send traffic that matches the selectors as it is after address translation; check routes, the order of \
             selectors, and that not both ends are passive",
            "RFC 4301 section 5.1",
        ],
        C::NoResponse => [
            "Nobody answers the first message: the peer is down, is not reached, or drops what it does not like.",
            "initiator: ST 3 with a responder cookie of zeros, CONNECTING, MM_NO_STATE, MAIN_I1; responder: no row",
            "'phase1 negotiation failed due to time up', 'peer not responding', 'retransmission count exceeded the limit'",
            "the same first message again and again, with no answer or with ICMP errors",
            "check the peer's address, its daemon, routes both ways and UDP port 500; then see whether the peer has the \
             message and refuses in silence",
            "RFC 2409 section 5, RFC 7296 section 2.4",
        ],
        C::NoConfig => [
            "The peer has no configuration for this pair of addresses, this version or this identity.",
            "as NO_RESPONSE: initiator ST 3 with zeros, the peer has no row",
            "at the peer: 'no IKE config found', 'no configuration found', 'unknown ikev2 peer', 'no matching peer config'",
            "the answer to the first message is a lone notification, or there is none",
            "give the peer a connection for the address it sees, which behind a NAT is the translated one",
            "RFC 7296 section 2.21.1",
        ],
        C::IkeVersion => [
            "One end speaks IKEv1 only, the other IKEv2 only. Some initiators do not fall back.",
            "initiator: no answer; the other end has no row",
            "'invalid major version', 'IKE version 1 not supported', 'ignoring IKEv1 packet'",
            "octet 17 of the header is 0x10 in one direction and 0x20 in the other, or there is no answer",
            "set one version at both ends",
            "RFC 7296 section 2.5",
        ],
        _ => [
            "One end wants main mode, the other aggressive mode (IKEv1).",
            "initiator: ST 3 with a responder cookie of zeros; E says M at one end, A at the other",
            "'not acceptable Aggressive mode', 'exchange Aggressive not allowed in any applicable rmconf'",
            "exchange type 2 or 4 in the first message and no answer, or INVALID-EXCHANGE-TYPE",
            "set the same mode at both ends; main mode unless the initiator's address changes",
            "RFC 2409 section 5",
        ],
    }
}

fn proposals(cause: Cause) -> Texts {
    match cause {
        C::Phase1Proposal => [
            "The ends have no proposal for the IKE SA in common.",
            "initiator: ST 3 with zeros or CONNECTING, then gone; responder: no row, or one for a moment",
            "'no suitable proposal found', 'received NO_PROPOSAL_CHOSEN' before the IKE SA is established, \
             'no proposal chosen'",
            "the first message is answered by NO_PROPOSAL_CHOSEN, 14, in the clear; racoon's initiator does not believe it",
            "compare encryption, integrity, PRF, group, authentication method and lifetime; the responder's log names \
             what differs",
            "RFC 2409 section 5, RFC 7296 section 2.7",
        ],
        C::EncryptionAlgorithm => [
            "The encryption algorithms, or their key lengths, have nothing in common.",
            "for the IKE SA as P1_PROPOSAL, for ESP as CHILD_FAILED_IKE_KEPT",
            "'rejected enctype', 'trns_id mismatched', 'invalid encryption algorithm', 'key length mismatched'",
            "as P1_PROPOSAL; the SA payloads of both first messages show it",
            "give both ends the same algorithm with the same key length: an AES without one is 128 to some and 256 to others",
            "RFC 7296 section 3.3.5",
        ],
        C::AuthenticationAlgorithm => [
            "The integrity or hash algorithms, or the authentication methods in a proposal, have nothing in common.",
            "for the IKE SA as P1_PROPOSAL, for ESP as CHILD_FAILED_IKE_KEPT",
            "'rejected hashtype', 'rejected authmethod', 'authtype mismatched'",
            "as P1_PROPOSAL; in IKEv1 attributes 2 and 3 of the transforms differ",
            "give both ends the same integrity algorithm, with SHA-2 the same truncation, and the same method",
            "RFC 2409 appendix A, RFC 7296 section 3.3.2",
        ],
        _ => [
            "No key exchange group in common. A wrong guess of the initiator's is corrected once and is no fault.",
            "as P1_PROPOSAL",
            "'rejected dh_group', 'received KE type 14, expected 2', INVALID_KE_PAYLOAD again and again",
            "IKE_SA_INIT is answered by INVALID_KE_PAYLOAD, 17, more than once for the same SPI",
            "give both ends a common group, the same one first",
            "RFC 7296 section 1.2",
        ],
    }
}

fn path(cause: Cause) -> Texts {
    match cause {
        C::Phase1Timeout => [
            "The negotiation of the IKE SA began and stopped halfway: one end could not use a message, or it got lost.",
            "the same row with ST 5 or 7, CONNECTING with both SPIs, MM_KEY_EXCH, MM_WAIT_MSG",
            "'phase1 negotiation failed due to time up' after answers came; 'the packet is retransmitted by'",
            "a later message of the exchange again and again, without the next one",
            "find the silent end and read its log; where large messages are lost, allow fragmentation of IKE",
            "RFC 2408 section 5.1, RFC 7383",
        ],
        C::HalfOpen => [
            "The responder answered and the initiator does not go on: answers are lost, or somebody sends first messages only.",
            "responder: ST 3 or CONNECTING without Created, perhaps many from many addresses",
            "'deleting half open IKE_SA', 'Timeout: deleting un-established Phase 1 IKE_SA'",
            "the responder's answer is repeated, no third message",
            "check the way back to the initiator; against floods let the daemon ask for cookies",
            "RFC 7296 section 2.6",
        ],
        _ => [
            "There is a NAT on the path, and UDP port 4500 is blocked, or one end does not know NAT traversal.",
            "initiator ST 7 with port 4500 while the responder has ST 5 with port 500; CONNECTING on 4500",
            "'unexpecting payload type 130'; IKE_AUTH or message 5 repeated after 'NAT detected'",
            "port 500 both ways, then port 4500 one way only; or ESP without UDP through the NAT",
            "open UDP port 4500 both ways, switch NAT traversal on at both ends and IPsec helpers of routers off",
            "RFC 3947, RFC 3948, RFC 7296 section 2.23",
        ],
    }
}

fn proofs(cause: Cause) -> Texts {
    match cause {
        C::PskMismatch => [
            "The pre-shared keys differ, or one end has none for this pair of identities.",
            "main mode: initiator ST 7, responder ST 5; aggressive mode: both ST 3; IKEv2: gone after IKE_AUTH",
            "'probable pre-shared secret mismatch', 'HASH mismatched', 'could not decrypt payloads', 'MAC mismatched', \
             'no shared key found', 'couldn't find the pskey'",
            "main mode: message 5 repeated, no message 6; IKEv2: IKE_AUTH answered by a short message, then nothing",
            "enter the key again at both ends, beware of blanks and of text against hexadecimal; check the identity it is \
             filed under",
            "RFC 2409 section 5.4, RFC 7296 section 2.15",
        ],
        C::PeerId => [
            "An identity is not the one that the other end expects, or is of another type.",
            "as PSK_MISMATCH: ST 7 and ST 5, or gone after IKE_AUTH",
            "'does not match peers id', 'ID mismatched', 'no matching peer config found', \
             'Expecting IP address type in main mode', 'subjectAltName does not match'",
            "as PSK_MISMATCH: the identities are encrypted",
            "set both identities at both ends; behind a NAT an address is no good identity; with certificates the \
             identity must be the subject or one of its alternative names",
            "RFC 2407 section 4.6.2, RFC 7296 section 3.5",
        ],
        _ => [
            "Authentication failed for another reason: method, certificate, private key, user or password, or one that \
             the peer does not give.",
            "as PSK_MISMATCH; with XAuth ST 9 without phase 2",
            "AUTHENTICATION_FAILED, 'authentication failure', 'no trusted public key found', 'certificate has expired', \
             'EAP_FAILURE', 'XAuth authentication failed'",
            "IKE_AUTH or message 5 answered by a short message",
            "read the log of the end that refused; compare methods; with certificates chain, dates, clock and revocation",
            "RFC 7296 section 2.21.2, RFC 4945",
        ],
    }
}

fn children(cause: Cause) -> Texts {
    match cause {
        C::ChildFailed => [
            "The IKE SA is established and its Child SA is refused: ESP proposals, addresses or something else differ.",
            "ST 9 with Phase2 0, again and again; ESTABLISHED without a child; QM_IDLE without IPsec SAs",
            "'failed to establish CHILD_SA, keeping IKE_SA', NO_PROPOSAL_CHOSEN after the IKE SA is established, \
             'no compatible transform found', 'INTERNAL_ADDRESS_FAILURE'",
            "quick mode is answered by an encrypted Informational; CREATE_CHILD_SA by a short message",
            "compare ESP algorithms, ESN, lifetimes, mode and perfect forward secrecy; see that the pool has addresses",
            "RFC 2409 section 5.5, RFC 7296 sections 1.2 and 2.21.2",
        ],
        C::TrafficSelector => [
            "The networks of the ends are not each other's mirror image. In IKEv1 what the initiator asks for must lie within what the responder has, IKEv2 may narrow.",
            "ST 9 with Phase2 0; ESTABLISHED without a child, or with fewer children than selectors",
            "TS_UNACCEPTABLE, INVALID-ID-INFORMATION, 'failed to get sainfo', 'value mismatch', \
             'traffic selectors unacceptable'",
            "as CHILD_FAILED_IKE_KEPT",
            "make local and remote networks the mirror image of the peer's, protocols and ports too, as packets are after \
             address translation",
            "RFC 2409 section 5.5, RFC 7296 section 2.9",
        ],
        C::Pfs => [
            "Perfect forward secrecy at one end only, or with different groups. In IKEv2 the first Child SA works and its \
             first rekeying fails.",
            "ST 9 with Phase2 0; with IKEv2 the child vanishes when its lifetime is over",
            "'pfs group mismatched', 'message lacks KE payload', 'no PFS is specified, but peer sends KE'",
            "quick mode answered by a report; CREATE_CHILD_SA by INVALID_KE_PAYLOAD or a short message",
            "set the same group at both ends or none at both, and force a rekeying to try it",
            "RFC 2409 section 5.5, RFC 7296 section 2.12",
        ],
        _ => [
            "The request for a Child SA got no answer, or waited in vain for the IKE SA.",
            "ST 9 with Phase2 1, then 0; a larval IPsec SA that disappears",
            "'phase2 negotiation failed due to time up', 'give up to get IPsec-SA due to time up to wait'",
            "quick mode or CREATE_CHILD_SA repeated without an answer",
            "if it waited for phase 1, look there; else read the peer's log, which has the request",
            "RFC 2409 section 5.5, RFC 7296 section 2.4",
        ],
    }
}

fn forms(cause: Cause) -> Texts {
    match cause {
        C::SecurityProtocol => [
            "One end wants ESP, the other AH or compression.",
            "as CHILD_FAILED_IKE_KEPT",
            "'proto_id mismatched'",
            "as CHILD_FAILED_IKE_KEPT",
            "choose ESP at both ends, and compression at both or at none",
            "RFC 4301 section 3.2",
        ],
        C::EncapsulationMode => [
            "Tunnel mode at one end, transport mode at the other, or UDP encapsulation at one end only.",
            "as CHILD_FAILED_IKE_KEPT",
            "'encmode mismatched', 'mode mismatch: peer .. mine ..', 'policy dictates Transport Mode'",
            "as CHILD_FAILED_IKE_KEPT",
            "set the same mode at both ends; through a NAT use tunnel mode",
            "RFC 7296 section 1.3.1",
        ],
        _ => [
            "An end set the commit bit and the other does not know the CONNECTED notification (IKEv1).",
            "ST 9 with Phase2 1 that does not become an IPsec SA",
            "nothing that names it; phase 2 stops after its second message",
            "flag 0x02 in the header of quick mode",
            "switch the commit bit off",
            "RFC 2408 section 3.1",
        ],
    }
}

fn afterwards(cause: Cause) -> Texts {
    match cause {
        C::Lifetime => [
            "A lifetime is far too short, or the ends' lifetimes differ and one of them does not accept it.",
            "established again and again, Created or Active Time starting anew after the same time",
            "'long lifetime proposed', 'RESPONDER-LIFETIME: lifetime mismatch', 'received 3600s lifetime, configured 28800s'",
            "whole negotiations at regular distances",
            "compare the lifetimes and their units, for some count minutes and others seconds; the IKE SA's should be longer \
             than the child's",
            "RFC 2407 section 4.5.4, RFC 7296 section 2.8",
        ],
        C::Collision => [
            "Both ends began, or replaced the same SA, at once, and do not agree which one stays.",
            "two rows for one peer, one I and one R, Created within seconds",
            "'CHILD_REKEY collision', 'redundant SA is being deleted', 'detected rekey collision'",
            "two first messages that cross",
            "harmless if it settles; else let one end begin and the other wait, and give rekeying times a spread",
            "RFC 7296 section 2.8.1",
        ],
        C::PeerDelete => [
            "The peer deletes the SA: for its rule about duplicates, idle time, a phase 2 that failed, or by hand.",
            "the row vanishes and comes back with other cookies",
            "'received DELETE for IKE_SA', 'purging ISAKMP-SA', 'deleting duplicate IKE_SA'",
            "an encrypted INFORMATIONAL of the peer's just before each new negotiation",
            "read the peer's log; two sites with one identity kick each other out",
            "RFC 7296 section 1.4.1",
        ],
        C::StaleSa => [
            "The ends disagree which SA is there: one lost or deleted it without the other noticing.",
            "ST 9 or mature at one end, nothing at the other",
            "'message to a nonexistent ike_sa', 'received a message to a dead IKE SA', INVALID-COOKIE, INVALID_IKE_SPI",
            "ESP one way only; INVALID_SPI or INVALID_IKE_SPI in the clear",
            "let both ends check for dead peers and send INITIAL_CONTACT; delete the SA at the end that still has it",
            "RFC 7296 section 2.4, RFC 6290",
        ],
        C::DpdTimeout => [
            "The peer stopped answering while the SA was established.",
            "the row vanishes after delay times retries, then perhaps comes back with other cookies",
            "'DPD: remote seems to be dead', 'Declaring peer dead', 'giving up after 5 retransmits' of INFORMATIONAL",
            "R-U-THERE or an empty INFORMATIONAL again and again without an answer",
            "check the path and the peer; behind a NAT keep the mapping alive every 20 seconds",
            "RFC 3706, RFC 7296 section 2.4",
        ],
        _ => [
            "A message for dead peer detection has its notification before its hash, which the other end does not accept.",
            "the row vanishes after the time for dead peers although the peer is there",
            "'ignore information because the message has no hash payload'",
            "R-U-THERE without an answer",
            "bring the sending end up to date, or switch its dead peer detection off",
            "RFC 3706 section 5.2",
        ],
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.cause)?;
        for (label, text) in [
            ("means", self.means),
            ("listings", self.listing),
            ("logs", self.log),
            ("captures", self.capture),
            ("change", self.change),
            ("in short", self.cause.remedy()),
            ("see", self.rfc),
        ] {
            writeln!(f, "  {:<10} {}", format!("{label}:"), wrapped(text))?;
        }
        Ok(())
    }
}

/// A text in lines of a terminal's width, behind the labels.
fn wrapped(text: &str) -> String {
    const WIDTH: usize = 100;
    let (mut out, mut column) = (String::new(), 0);
    for word in text.split_whitespace() {
        if column > 0 && column + word.len() > WIDTH {
            out.push_str("\n             ");
            column = 0;
        } else if column > 0 {
            out.push(' ');
        }
        out.push_str(word);
        column += word.len() + 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_page_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for cause in C::ALL {
            let page = cause.page();
            for text in [page.means, page.listing, page.log, page.capture, page.change] {
                assert!(!text.is_empty() && !text.contains("  "), "{cause}: {text:?}");
            }
            assert!(page.rfc.starts_with("RFC "), "{cause}");
            assert!(seen.insert(page.means), "{cause} has another cause's page");
            let text = page.to_string();
            assert!(text.starts_with(cause.code()) && text.lines().all(|line| line.chars().count() <= 120), "{text}");
        }
    }
}
