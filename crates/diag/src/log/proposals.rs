//! Proposals that a daemon prints, the peer's and its own: what they have not in common is the reason for a refusal, and says
//! more than the refusal does.
//!
//! * strongSwan's charon prints both, one line after the other: `received proposals: IKE:AES_CBC_128/.../ECP_256` and
//!   `configured proposals: ...`.
//! * libreswan's pluto prints its own when it loads a connection (`1:IKE=AES_CBC_128-HMAC_SHA2_256-...`), and the peer's when it
//!   refuses them (`no local proposal matches remote proposals 1:IKE:ENCR=...;INTEG=...;DH=...`).

use super::catalogue::{Place, Rank, Says};
use crate::Cause as C;
use std::collections::{BTreeMap, BTreeSet};

/// So many connections' proposals are kept, with so many algorithms of each kind.
const MAX_CONNECTIONS: usize = 64;
const MAX_ALGORITHMS: usize = 64;

/// What an algorithm is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Encryption,
    Integrity,
    Function,
    Group,
}

/// All algorithms of an offer, by what they are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Offer(BTreeMap<Kind, BTreeSet<String>>);

/// What was printed so far.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    /// charon's last line of what the peer offers, and the thread that wrote it.
    received: Option<(String, bool, Offer)>,
    /// pluto's own, by connection, for IKE and for ESP.
    own: BTreeMap<String, [Offer; 2]>,
}

impl Proposals {
    /// Takes a line. If both sides' proposals are known with it, and they have one kind of algorithm not in common, that is
    /// the fault.
    pub(super) fn take(&mut self, thread: Option<&str>, connection: Option<&str>, text: &str) -> Option<Says> {
        if let Some(theirs) = text.strip_prefix("received proposals: ") {
            self.received = charon(theirs).map(|(ike, offer)| (thread.unwrap_or_default().to_string(), ike, offer));
            return None;
        }
        if let Some(ours) = text.strip_prefix("configured proposals: ") {
            let (of, ike, theirs) = self.received.take()?;
            let (our_ike, ours) = charon(ours)?;
            return (of == thread.unwrap_or_default() && ike == our_ike).then(|| difference(ike, &ours, &theirs))?;
        }
        // The rest is pluto's, which has no threads.
        let connection = connection.filter(|_| thread.is_none())?;
        if text.starts_with("IKE SA proposals (") || text.starts_with("Child SA proposals (") {
            let at = usize::from(text.starts_with("Child"));
            if let Some(offer) = self.own.get_mut(connection).and_then(|own| own.get_mut(at)) {
                *offer = Offer::default();
            }
            return None;
        }
        if let Some((_, theirs)) = text.split_once("no local proposal matches remote proposals ") {
            let (ike, theirs) = remote(theirs)?;
            let ours = self.own.get(connection)?.get(usize::from(!ike))?;
            return (!ours.0.is_empty()).then(|| difference(ike, ours, &theirs))?;
        }
        let (ike, algorithms) = local(text)?;
        if self.own.len() < MAX_CONNECTIONS || self.own.contains_key(connection) {
            let own = self.own.entry(connection.to_string()).or_default();
            if let Some(offer) = own.get_mut(usize::from(!ike)) {
                algorithms.for_each(|(kind, name)| offer.add(kind, name));
            }
        }
        None
    }
}

impl Offer {
    fn add(&mut self, kind: Kind, name: &str) {
        let names = self.0.entry(kind).or_default();
        if names.len() < MAX_ALGORITHMS {
            names.insert(name.to_string());
        }
    }

    /// Whether nothing of this kind is in both; who has none of it offers "none".
    fn differs(&self, other: &Self, kind: Kind) -> bool {
        let none = BTreeSet::from(["NONE".to_string()]);
        let of = |offer: &Self| offer.0.get(&kind).cloned().unwrap_or_else(|| none.clone());
        of(self).is_disjoint(&of(other))
    }
}

/// The fault, if one kind is not in common.
fn difference(ike: bool, ours: &Offer, theirs: &Offer) -> Option<Says> {
    let differs = |kind| ours.differs(theirs, kind);
    let encryption = differs(Kind::Encryption);
    let authentication = differs(Kind::Integrity) || ike && differs(Kind::Function);
    let causes: &[C] = match (ike, encryption, authentication, differs(Kind::Group)) {
        (_, false, false, false) => return None,
        (true, false, false, true) => &[C::DhGroup, C::Phase1Proposal],
        (true, true, _, false) => &[C::Phase1Proposal, C::EncryptionAlgorithm],
        (true, false, true, false) => &[C::Phase1Proposal, C::AuthenticationAlgorithm],
        (true, ..) => &[C::Phase1Proposal, C::EncryptionAlgorithm, C::DhGroup],
        (false, false, false, true) => &[C::Pfs, C::ChildFailed],
        (false, true, _, false) => &[C::ChildFailed, C::EncryptionAlgorithm],
        (false, false, true, false) => &[C::ChildFailed, C::AuthenticationAlgorithm],
        (false, ..) => &[C::ChildFailed, C::EncryptionAlgorithm, C::Pfs],
    };
    Some(Says::Fault(if ike { Place::Ike } else { Place::Child }, Rank::Specific, causes))
}

/// `IKE:AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/ECP_256, IKE:...`
fn charon(text: &str) -> Option<(bool, Offer)> {
    let ike = text.starts_with("IKE:");
    (ike || text.starts_with("ESP:")).then_some(())?;
    let mut offer = Offer::default();
    for proposal in text.split(", ") {
        let (_, algorithms) = proposal.split_once(':')?;
        let mut group = false;
        for name in algorithms.split('/') {
            let kind = match name {
                _ if name.ends_with("EXT_SEQ") => continue,
                _ if name.starts_with("PRF_") => Kind::Function,
                _ if name.starts_with("HMAC_") || name.starts_with("AES_XCBC_") || name.starts_with("AES_CMAC_") => {
                    Kind::Integrity
                }
                _ if ["MODP_", "ECP_", "CURVE_", "NTRU_", "KE_"].iter().any(|known| name.starts_with(known)) => {
                    Kind::Group
                }
                _ => Kind::Encryption,
            };
            group |= kind == Kind::Group;
            offer.add(kind, name);
        }
        // One proposal without a group is an offer to do without.
        if !group {
            offer.add(Kind::Group, "NONE");
        }
    }
    Some((ike, offer))
}

/// `1:IKE=AES_CBC_128+AES_CBC_256-HMAC_SHA2_256-HMAC_SHA2_256_128-ECP_256`: encryption, PRF, integrity, group; of ESP
/// encryption, integrity, group, sequence numbers.
fn local(text: &str) -> Option<(bool, impl Iterator<Item = (Kind, &str)>)> {
    const IKE: &[Kind] = &[Kind::Encryption, Kind::Function, Kind::Integrity, Kind::Group];
    const ESP: &[Kind] = &[Kind::Encryption, Kind::Integrity, Kind::Group];
    let (number, rest) = text.split_once(':')?;
    let sound = !number.is_empty() && number.len() < 4 && number.bytes().all(|b| b.is_ascii_digit());
    let (protocol, algorithms) = rest.split_once('=').filter(|_| sound)?;
    let (ike, kinds) = match protocol {
        "IKE" => (true, IKE),
        "ESP" => (false, ESP),
        _ => return None,
    };
    let each = kinds.iter().zip(algorithms.split('-'));
    Some((ike, each.flat_map(|(kind, names)| names.split('+').map(move |name| (*kind, name)))))
}

/// `1:IKE:ENCR=AES_CBC_128;INTEG=HMAC_SHA2_256_128;PRF=HMAC_SHA2_256;DH=ECP_256 2:IKE:...`
fn remote(text: &str) -> Option<(bool, Offer)> {
    let ike = text.contains(":IKE:");
    let (mut offer, mut grouped) = (Offer::default(), true);
    for proposal in text.split_whitespace() {
        let mut group = false;
        for part in proposal.rsplit(':').next()?.split(';') {
            let Some((kind, name)) = part.split_once('=') else { continue };
            let kind = match kind {
                "ENCR" => Kind::Encryption,
                "INTEG" => Kind::Integrity,
                "PRF" => Kind::Function,
                "DH" | "KE" => Kind::Group,
                _ => continue,
            };
            group |= kind == Kind::Group;
            offer.add(kind, name.split('[').next().unwrap_or(name));
        }
        grouped &= group;
    }
    if !grouped {
        offer.add(Kind::Group, "NONE");
    }
    (!offer.0.is_empty()).then_some((ike, offer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compared(theirs: &str, ours: &str) -> Option<&'static [C]> {
        let mut proposals = Proposals::default();
        assert_eq!(proposals.take(Some("07"), None, &format!("received proposals: {theirs}")), None);
        match proposals.take(Some("07"), None, &format!("configured proposals: {ours}")) {
            Some(Says::Fault(_, _, causes)) => Some(causes),
            _ => None,
        }
    }

    /// Lines of charon 6.0 (and of 5.x, which are the same).
    #[test]
    fn what_charon_s_proposals_have_not_in_common() {
        let ike = "IKE:AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/ECP_256";
        let with = |from: &str, to: &str| compared(ike, &ike.replace(from, to));
        assert_eq!(with("AES_CBC_128", "AES_CBC_256"), Some(&[C::Phase1Proposal, C::EncryptionAlgorithm][..]));
        assert_eq!(
            with("PRF_HMAC_SHA2_256", "PRF_HMAC_SHA1"),
            Some(&[C::Phase1Proposal, C::AuthenticationAlgorithm][..])
        );
        assert_eq!(with("ECP_256", "MODP_2048"), Some(&[C::DhGroup, C::Phase1Proposal][..]));
        assert_eq!(with("IKE", "IKE"), None, "nothing differs");
        let several = format!("{ike}, IKE:AES_CBC_256/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_1024");
        assert_eq!(compared(ike, &several), None);
        let esp = "ESP:AES_CBC_128/HMAC_SHA2_512_256/NO_EXT_SEQ";
        assert_eq!(compared(esp, &esp.replace("/NO", "/ECP_256/NO")), Some(&[C::Pfs, C::ChildFailed][..]));
        assert_eq!(compared(esp, ike), None, "they are not about the same SA");
        let mut proposals = Proposals::default();
        proposals.take(Some("07"), None, &format!("received proposals: {ike}"));
        let other = format!("configured proposals: {}", ike.replace("128/", "256/"));
        assert_eq!(proposals.take(Some("08"), None, &other), None, "another thread's");
    }

    /// Lines of pluto 4.10.
    #[test]
    fn what_pluto_s_proposals_have_not_in_common() {
        let mut proposals = Proposals::default();
        for line in [
            "IKE SA proposals (connection add):",
            "1:IKE=AES_CBC_256+AES_GCM_C_256-HMAC_SHA2_256-HMAC_SHA2_256_128+NONE-ECP_256",
            "Child SA proposals (connection add):",
            "1:ESP=AES_CBC_128-HMAC_SHA2_512_256-NONE-ENABLED+DISABLED",
        ] {
            assert_eq!(proposals.take(None, Some("lab"), line), None);
        }
        let mut refused = |theirs: &str| match proposals.take(
            None,
            Some("lab"),
            &format!("no local proposal matches remote proposals {theirs}"),
        ) {
            Some(Says::Fault(_, _, causes)) => Some(causes),
            _ => None,
        };
        let ike = "1:IKE:ENCR=AES_CBC_128;INTEG=HMAC_SHA2_256_128;PRF=HMAC_SHA2_256;DH=ECP_256";
        assert_eq!(refused(ike), Some(&[C::Phase1Proposal, C::EncryptionAlgorithm][..]));
        let group =
            ike.replace("128;", "256;").replace("HMAC_SHA2_256_256", "HMAC_SHA2_256_128").replace("ECP_256", "ECP_384");
        assert_eq!(refused(&group), Some(&[C::DhGroup, C::Phase1Proposal][..]));
        let esp = "1:ESP:ENCR=AES_CBC_128;INTEG=HMAC_SHA2_256_128;ESN=DISABLED";
        assert_eq!(refused(esp), Some(&[C::ChildFailed, C::AuthenticationAlgorithm][..]));
    }

    proptest! {
        #[test]
        fn any_line_is_taken(lines in proptest::collection::vec("(received proposals: |configured proposals: |1:IKE=|no local proposal matches remote proposals )?[A-Z0-9_:/;=+, -]{0,60}|.{0,40}", 0..8)) {
            let mut proposals = Proposals::default();
            for line in lines {
                let _ = proposals.take(Some("1"), Some("x"), &line);
            }
        }
    }
}
