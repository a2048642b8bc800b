//! What a configuration holds that will not go well, and what two of them hold that does not fit, by reading them.

use super::{Placed, finding};
use crate::daemon::load::{Loaded, Refused};
use config::{AddressPattern, AuthMethod, Child, Connection, IkeVersion, SecretKind, SharedSecret, StartAction};
use diag::{Cause, Finding, Severity};
use model::{ConfigRef, Identity, Proposal, ProposalProtocol};
use std::net::IpAddr;
use std::time::Duration;
use wire::registry::{EncryptionId, IntegrityId, KeyExchangeId, PrfId};

use Cause as C;

/// One file. Connections that are refused for a fault are judged too, but for what that fault decides.
pub(super) fn one(path: &str, loaded: &Loaded) -> Vec<Placed> {
    let all = || loaded.connections.iter().map(AsRef::as_ref).chain(&loaded.faulty);
    let mut found: Vec<Placed> = all().flat_map(|connection| connection_alone(path, connection)).collect();
    // A secret that cannot be read may have been the right one.
    if !loaded.refused.iter().any(|refused| refused.key.starts_with("secrets.")) {
        found.extend(all().filter_map(|connection| without_secret(path, connection, loaded)));
    }
    let of_fault = |placed: &Placed| {
        let same = |refused: &Refused| *refused.at.file == *placed.file && refused.at.line == placed.line;
        loaded.refused.iter().any(same)
    };
    found.retain(|placed| !of_fault(placed));
    found
}

/// A connection that a pre-shared key is to prove, and no key of the file is for its identities.
fn without_secret(path: &str, c: &Connection, loaded: &Loaded) -> Option<Placed> {
    let mut by_secret =
        [("local.id", &c.local), ("remote.id", &c.remote)].into_iter().filter(|(_, end)| end.method == AuthMethod::Psk);
    let (key, _) = by_secret.next()?;
    // An end without an identity has its address for one, and a pattern stands for many.
    let known = [&c.local.id, &c.remote.id].iter().all(|id| **id != Identity::ANY && !id.to_string().contains('*'));
    let mut keys = loaded.secrets.iter().filter(|secret| secret.kind == SecretKind::Ike);
    let fits = |secret: &SharedSecret| {
        secret.owners.is_empty()
            || !known
            || secret.owners.iter().any(|owner| *owner == c.local.id || *owner == c.remote.id)
    };
    if keys.any(fits) {
        return None;
    }
    let why = format!("no pre-shared key in the file is for '{}' and '{}'", c.local.id, c.remote.id);
    let remedy = "add a section ike-NAME with these identities and the secret, unless a client loads it";
    Some(warn(&format!("{path} '{}'", c.name), C::PskMismatch, why, &c.source.get(key), remedy))
}

fn warn(peer: &str, cause: Cause, why: String, place: &ConfigRef, remedy: &str) -> Placed {
    let mut found = finding("unwise", peer, Severity::Warning, &[(cause, format!("{remedy} [{place}]"))], why);
    found.evidence.push(place.to_string());
    Placed::at(place, found)
}

fn connection_alone(path: &str, c: &Connection) -> Vec<Placed> {
    let peer = format!("{path} '{}'", c.name);
    let mut found = Vec::new();
    let mut say = |cause, why: String, key: &str, remedy: &str| {
        found.push(warn(&peer, cause, why, &c.source.get(key), remedy));
    };
    if c.aggressive && c.version == IkeVersion::V1 && c.local.method == AuthMethod::Psk {
        let why = "aggressive mode with a pre-shared key: whoever asks gets a hash of the key to guess at".to_string();
        say(C::NegotiationMode, why, "aggressive", "set aggressive = no at both ends, or use certificates");
    }
    for (weak, cause) in weak(&c.proposals, ProposalProtocol::Ike) {
        say(cause, format!("weak in IKE: {weak}"), "proposals", "leave it out at both ends");
    }
    let starts = c.children.iter().any(|child| child.start_action.starts());
    if starts && !c.remote_addrs.iter().any(AddressPattern::is_specific) {
        let why = "it starts by itself, and no single address to send to is written".to_string();
        say(C::NotStarted, why, "remote_addrs", "write the peer's address or name");
    }
    if c.dpd_delay.is_zero() && c.children.iter().any(|child| child.dpd_action != StartAction::None) {
        let why = "dpd_action is set, and dpd_delay is not: nobody looks whether the peer is alive".to_string();
        say(C::DpdTimeout, why, "dpd_delay", "write dpd_delay = 30s");
    }
    for (key, time) in [("rekey_time", c.rekey_time), ("reauth_time", c.reauth_time)] {
        if !time.is_zero() && c.rand_time >= time {
            let why = format!("rand_time ({}) takes all of {key} ({})", seconds(c.rand_time), seconds(time));
            say(C::Lifetime, why, "rand_time", "make it a tenth of the shorter time");
        }
    }
    for child in c.one_pair_only() {
        let remedy = format!("write a child for each pair of networks [{}]", child.place);
        let causes = [(C::TrafficSelector, remedy)];
        let mut one = finding("unwise", &peer, Severity::Warning, &causes, child.to_string());
        one.evidence.push(child.place.to_string());
        found.push(Placed::at(&child.place, one));
    }
    found.extend(behind_nat(&peer, c));
    let life = [c.rekey_time, c.reauth_time].into_iter().filter(|time| !time.is_zero()).min();
    for child in &c.children {
        found.extend(child_alone(&peer, c, child, life));
    }
    found
}

/// A private address of ours (RFC 1918, RFC 4193) towards a public one of the peer: there is a NAT between.
fn behind_nat(peer: &str, c: &Connection) -> Option<Placed> {
    let private = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.is_private(),
        IpAddr::V6(address) => address.is_unique_local(),
    };
    let hosts = |patterns: &[AddressPattern]| -> Vec<IpAddr> {
        let host = |p: &AddressPattern| if let AddressPattern::Host(host) = p { Some(*host) } else { None };
        patterns.iter().filter_map(host).collect()
    };
    let (ours, theirs) = (hosts(&c.local_addrs), hosts(&c.remote_addrs));
    if ours.is_empty() || theirs.is_empty() || !ours.iter().all(private) || theirs.iter().any(private) {
        return None;
    }
    let place = c.source.get("local_addrs");
    let mut causes = vec![(
        C::NatTraversal,
        format!("let UDP ports 500 and 4500 pass in both directions; the peer has to do NAT traversal [{place}]"),
    )];
    let (mut severity, mut why) =
        (Severity::Info, "our address is private and the peer's is not: a NAT is between, and UDP port 4500 is used");
    // Without an identity an end is its address, which the peer never sees.
    if c.local.id == Identity::ANY && c.local.method == AuthMethod::Psk {
        let place = c.source.get("local.id");
        causes.push((C::PeerId, format!("write an id that both ends know [{place}]")));
        (severity, why) = (
            Severity::Warning,
            "our address is private and the peer's is not: UDP port 4500 is used, and without an id we name ourselves by an \
             address that the peer does not see",
        );
    }
    let mut found = finding("nat", peer, severity, &causes, why);
    found.evidence.push(place.to_string());
    Some(Placed::at(&place, found))
}

fn child_alone(peer: &str, c: &Connection, child: &Child, ike: Option<Duration>) -> Vec<Placed> {
    let mut found = Vec::new();
    let mut say = |cause, why: String, key: &str, remedy: &str| {
        found.push(warn(peer, cause, format!("child '{}': {why}", child.name), &child.source.get(key), remedy));
    };
    for (weak, cause) in weak(&child.esp_proposals, ProposalProtocol::Esp) {
        say(cause, format!("weak in ESP: {weak}"), "esp_proposals", "leave it out at both ends");
    }
    if child.esp_proposals.iter().any(|p| p.encryption.iter().any(without_encryption)) {
        let why = "ESP without encryption".to_string();
        say(C::EncryptionAlgorithm, why, "esp_proposals", "name an encryption algorithm at both ends");
    }
    let (soft, hard) = (child.rekey_time, child.life_time);
    if !soft.is_zero() && !hard.is_zero() && hard <= soft {
        let why = format!("life_time ({}) is over before rekey_time ({})", seconds(hard), seconds(soft));
        say(C::Lifetime, why, "life_time", "make life_time longer than rekey_time, by a tenth at least");
    }
    if !soft.is_zero() && child.rand_time >= soft {
        let why = format!("rand_time ({}) takes all of rekey_time ({})", seconds(child.rand_time), seconds(soft));
        say(C::Lifetime, why, "rand_time", "make it a tenth of rekey_time");
    }
    for (what, soft, hard, key) in [
        ("octets", child.rekey_bytes, child.life_bytes, "life_bytes"),
        ("packets", child.rekey_packets, child.life_packets, "life_packets"),
    ] {
        if soft > 0 && hard > 0 && hard <= soft {
            let why = format!("its {what} are used up ({hard}) before it is rekeyed ({soft})");
            say(C::Lifetime, why, key, "make it more than what it is rekeyed after, by a tenth at least");
        }
    }
    // With IKEv2 Child SAs move to the new IKE SA, unless that authenticates anew.
    let takes_along = c.version != IkeVersion::V1 && c.reauth_time.is_zero();
    if let Some(ike) = ike.filter(|ike| !takes_along && !soft.is_zero() && *ike < soft) {
        let why = format!("it lives longer ({}) than the IKE SA over it ({})", seconds(soft), seconds(ike));
        say(C::Lifetime, why, "rekey_time", "let the IKE SA live longer than its children");
    }
    let groups = |p: &Proposal| !p.key_exchange.is_empty();
    if child.esp_proposals.iter().any(groups) && !child.esp_proposals.iter().all(groups) {
        let why = "some proposals have a group for perfect forward secrecy and some have none".to_string();
        let place = child.source.get("esp_proposals");
        let causes = [(C::Pfs, "write a group in all of them, or in none".to_string())];
        let mut info = finding("unwise", peer, Severity::Info, &causes, format!("child '{}': {why}", child.name));
        info.evidence.push(place.to_string());
        found.push(Placed::at(&place, info));
    }
    found
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

/// Whether ESP with it leaves its packets in plain text.
fn without_encryption(encryption: &model::Encryption) -> bool {
    matches!(encryption.id, EncryptionId::NULL | EncryptionId::NULL_AES_GMAC)
}

/// What is weak in some proposals, each with the cause that it may become when a peer refuses it.
fn weak(proposals: &[Proposal], protocol: ProposalProtocol) -> Vec<(String, Cause)> {
    // What is there by default is there for old peers, and comes last.
    let defaults = Proposal::defaults(protocol);
    let mut found: Vec<(String, Cause)> = Vec::new();
    let mut add = |algorithm: model::Algorithm, cause| {
        let entry = (algorithm.keyword(), cause);
        if !found.contains(&entry) {
            found.push(entry);
        }
    };
    for proposal in proposals.iter().filter(|proposal| !defaults.contains(proposal)) {
        for encryption in &proposal.encryption {
            if matches!(encryption.id, EncryptionId::DES | EncryptionId::TRIPLE_DES | EncryptionId::BLOWFISH) {
                add((*encryption).into(), C::EncryptionAlgorithm);
            }
        }
        for integrity in &proposal.integrity {
            if matches!(*integrity, IntegrityId::HMAC_MD5_96 | IntegrityId::HMAC_MD5_128) {
                add((*integrity).into(), C::AuthenticationAlgorithm);
            }
        }
        for prf in &proposal.prf {
            if matches!(*prf, PrfId::HMAC_MD5) {
                add((*prf).into(), C::AuthenticationAlgorithm);
            }
        }
        for group in &proposal.key_exchange {
            let group_is_weak = *group == KeyExchangeId::MODP_768 || model::Algorithm::from(*group).is_legacy();
            if group_is_weak {
                add((*group).into(), C::DhGroup);
            }
        }
    }
    found
}

/// Two files: what each is right to have, and not both.
pub(super) fn two((path_a, a): (&str, &Loaded), (path_b, b): (&str, &Loaded)) -> Vec<Finding> {
    let mut found = Vec::new();
    for ours in &a.connections {
        let meets = |theirs: &&std::sync::Arc<Connection>| {
            reaches(&ours.remote_addrs, &theirs.local_addrs) && reaches(&theirs.remote_addrs, &ours.local_addrs)
        };
        for theirs in b.connections.iter().filter(meets) {
            let peer = format!("{path_a} '{}' -> {path_b} '{}'", ours.name, theirs.name);
            found.extend(both(&peer, ours, theirs));
        }
    }
    found
}

/// Whether some address is in both; a name may be any.
pub(super) fn reaches(patterns: &[AddressPattern], others: &[AddressPattern]) -> bool {
    let hosts = |list: &[AddressPattern], with: &[AddressPattern]| {
        list.iter().any(|pattern| match pattern {
            AddressPattern::Host(host) => with.iter().any(|p| p.matches(*host)),
            AddressPattern::Any | AddressPattern::Name(_) => true,
            _ => false,
        })
    };
    hosts(patterns, others) || hosts(others, patterns)
}

/// Both ends rekey after the very same time: their requests cross each time (RFC 7296 section 2.8.1). With IKEv1 too each end
/// makes a Child SA.
fn same_clock(peer: &str, a: &Connection, b: &Connection) -> Option<Finding> {
    let same = |ours: (Duration, Duration), theirs: (Duration, Duration)| {
        ours == theirs && !ours.0.is_zero() && ours.1.is_zero()
    };
    let ike = same((a.rekey_time, a.rand_time), (b.rekey_time, b.rand_time))
        .then(|| (String::new(), a.source.get("rand_time"), b.source.get("rand_time"), a.rekey_time));
    let mut pairs = a.children.iter().flat_map(|ours| b.children.iter().map(move |theirs| (ours, theirs)));
    let child = || {
        let (ours, theirs) = pairs
            .find(|(ours, theirs)| same((ours.rekey_time, ours.rand_time), (theirs.rekey_time, theirs.rand_time)))?;
        let places = (ours.source.get("rand_time"), theirs.source.get("rand_time"));
        Some((format!("the child '{}' ", ours.name), places.0, places.1, ours.rekey_time))
    };
    let (what, here, there, time) = ike.or_else(child)?;
    let why = format!("both ends rekey {what}after exactly {}: their requests cross each time", seconds(time));
    let remedy = format!("leave rand_time to its default, or rekey later at one end: {here} or {there}");
    let mut found = finding("same-timer", peer, Severity::Warning, &[(C::Collision, remedy)], why);
    found.evidence.extend([here.to_string(), there.to_string()]);
    Some(found)
}

fn both(peer: &str, a: &Connection, b: &Connection) -> Vec<Finding> {
    let mut found = Vec::new();
    let starting = |c: &Connection| {
        c.children.iter().find(|child| child.start_action.starts()).map(|c| c.source.get("start_action"))
    };
    if let (Some(here), Some(there)) = (starting(a), starting(b)) {
        let remedy = format!("let one end begin: remove start_action at {here} or {there}");
        let why = "both ends begin by themselves: their SAs cross, and one of each pair goes again";
        let mut both = finding("both-begin", peer, Severity::Warning, &[(C::Collision, remedy)], why);
        both.evidence.extend([here.to_string(), there.to_string()]);
        found.push(both);
    }
    if let Some(clock) = same_clock(peer, a, b) {
        found.push(clock);
    }
    if a.dpd_delay.is_zero() != b.dpd_delay.is_zero() {
        let (without, place) =
            if a.dpd_delay.is_zero() { (a, a.source.get("dpd_delay")) } else { (b, b.source.get("dpd_delay")) };
        let other = if a.dpd_delay.is_zero() { b } else { a };
        let remedy = format!("write dpd_delay = {}s at {place}", other.dpd_delay.as_secs());
        let why = format!(
            "one end only looks whether the other is alive: '{}' keeps an SA that its peer has given up",
            without.name
        );
        let mut one = finding("one-sided-dpd", peer, Severity::Warning, &[(C::DpdTimeout, remedy)], why);
        one.evidence.extend([a.source.get("dpd_delay").to_string(), b.source.get("dpd_delay").to_string()]);
        found.push(one);
    }
    found
}
