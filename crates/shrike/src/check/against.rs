//! A capture against a configuration: would we have accepted that negotiation, and if not, which line refuses?
//!
//! Where the configuration is the responder's, each first message is given to a protocol core with it, as if it had arrived;
//! where it is the initiator's, what was offered is compared with what it would offer (IKEv1: given to a peer that expects that). Which of the two it is, its addresses
//! say, or the operator. What is encrypted later (identities, proofs, networks) is judged by [`inside`], if keys opened it.

use super::inside::{self, Outcome};
use super::{finding, trial};
use crate::cli::End;
use crate::daemon::load::{self, Loaded};
use config::Connection;
use diag::{Finding, Severity};
use model::{FailureKind, Instant, ObservedSa, Phase, Side};
use proto::{Input, Output};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use wire::{ExchangeType, HEADER_LEN, Header, IkeSpi};

/// First messages that are kept: one for each initiator's SPI.
const MAX_FIRST: usize = 1024;

/// First messages, and what a configuration says to them.
pub(crate) struct Against {
    path: String,
    loaded: Loaded,
    first: BTreeMap<(SocketAddr, IkeSpi), (SocketAddr, Vec<u8>)>,
    left_out: u64,
    /// Which end it is, if the operator says so.
    end: Option<End>,
    /// SAs of the captures of which something was opened.
    opened: Vec<ObservedSa>,
}

impl Against {
    /// With this configuration, which is that of an end.
    ///
    /// # Errors
    /// It cannot be read, or makes no sense.
    pub fn new(path: &str, end: Option<End>) -> Result<Self, String> {
        let loaded = load::file(path)?;
        if let Some(refused) = loaded.refused.first() {
            return Err(format!(
                "{}\n{path}: correct this before a capture is held against it (shrike check {path})",
                refused.report
            ));
        }
        Ok(Self { path: path.to_string(), loaded, first: BTreeMap::new(), left_out: 0, end, opened: Vec::new() })
    }

    /// Takes an IKE message of a capture.
    pub fn take(&mut self, from: SocketAddr, to: SocketAddr, octets: &[u8]) {
        let Ok(header) = Header::parse(octets) else { return };
        let begins = match header.version.major() {
            1 => matches!(header.exchange, ExchangeType::IDENTITY_PROTECTION | ExchangeType::AGGRESSIVE),
            2 => header.exchange == ExchangeType::IKE_SA_INIT && !header.is_response(),
            _ => false,
        };
        if !begins || !header.spis.responder.is_zero() {
            return;
        }
        let key = (from, header.spis.initiator);
        if self.first.len() < MAX_FIRST || self.first.contains_key(&key) {
            // The last one counts: it has the COOKIE or the group that was asked for.
            self.first.insert(key, (to, octets.to_vec()));
        } else {
            self.left_out += 1;
        }
    }

    /// Takes what became of the SAs of a capture, for what was opened of them.
    pub fn take_opened(&mut self, sas: &[ObservedSa]) {
        let read = sas.iter().filter(|sa| sa.messages.iter().any(|message| message.inside.is_some()));
        self.opened.extend(read.take(MAX_FIRST.saturating_sub(self.opened.len())).cloned());
    }

    /// Which end the configuration is of an attempt between these addresses.
    fn end(&self, from: SocketAddr, to: SocketAddr) -> Option<End> {
        let is = |address: IpAddr| {
            // An address that stands for any says nothing.
            let specific = |c: &Connection| c.local_addrs.iter().any(|p| p.is_specific() && p.matches(address));
            self.loaded.connections.iter().any(|c| specific(c))
        };
        let any = || self.loaded.connections.iter().any(|c| c.local_addrs.iter().any(|p| p.matches(to.ip())));
        match self.end {
            Some(end) => Some(end),
            None if is(to.ip()) => Some(End::Responder),
            None if is(from.ip()) => Some(End::Initiator),
            None => any().then_some(End::Responder),
        }
    }

    /// What would have become of each, one finding for each initiator and verdict.
    pub fn findings(&self, notes: &mut Vec<String>) -> Vec<Finding> {
        let mut found: Vec<Finding> = Vec::new();
        let mut elsewhere = 0;
        for ((from, spi), (to, octets)) in &self.first {
            let opened = || {
                let same = |sa: &&ObservedSa| sa.spis.initiator == *spi && sa.initiator.ip() == from.ip();
                self.opened.iter().find(same)
            };
            let judged = match self.end(*from, *to) {
                Some(End::Responder) => self.judge(*from, *to, octets, opened()),
                Some(End::Initiator) => self.judge_own(*from, *to, octets, opened()),
                None => {
                    elsewhere += 1;
                    continue;
                }
            };
            let same = |f: &&mut Finding| (f.id, &f.peer, &f.why) == (judged.id, &judged.peer, &judged.why);
            match found.iter_mut().find(same) {
                Some(known) => known.attempts += 1,
                None => found.push(judged),
            }
        }
        if elsewhere > 0 {
            notes.push(format!(
                "{}: no connection has an end of these attempts in its local_addrs ({elsewhere}): say which end it is \
                 with --end",
                self.path
            ));
        }
        if self.left_out > 0 {
            notes.push(format!("left out {} attempts, which are too many", self.left_out));
        }
        found
    }

    /// The connections for these addresses and this version, ours first.
    fn connections(&self, local: IpAddr, remote: IpAddr, version: u8) -> Vec<&Connection> {
        let fits = |c: &&Connection| {
            let of = |patterns: &[config::AddressPattern], address| {
                patterns.iter().any(|p| p.matches(address) || matches!(p, config::AddressPattern::Name(_)))
            };
            let speaks = match c.version {
                config::IkeVersion::V1 => version == 1,
                config::IkeVersion::V2 => version == 2,
                _ => true,
            };
            speaks && of(&c.local_addrs, local) && of(&c.remote_addrs, remote)
        };
        self.loaded.connections.iter().map(std::sync::Arc::as_ref).filter(fits).collect()
    }

    /// The finding about what was encrypted; `None` where nothing of it was read.
    fn inside(&self, peer: &str, outcome: Outcome, end: End) -> Option<Finding> {
        let (verb, who) = match end {
            End::Responder => ("accept", "the initiator's"),
            End::Initiator => ("take", "the responder's"),
        };
        match outcome {
            Outcome::Unread => None,
            Outcome::Accepted(connection, child) => {
                let child =
                    child.map(|name| format!(", its networks and proposals child '{name}'")).unwrap_or_default();
                let why = format!("{who} identity and way of proof fit connection '{connection}'{child}");
                let mut good = finding("would-accept", peer, Severity::Ok, &[], why);
                good.evidence.push("the proof itself is not checked: no secret of it is in a capture".to_string());
                Some(good)
            }
            Outcome::Refused(refused) => {
                let causes = [(refused.cause, format!("{} [{}]", refused.kind.remedy(), refused.place))];
                let why = format!("we would not {verb} it: {}", refused.kind);
                let mut found = finding("would-refuse", peer, Severity::Error, &causes, why);
                found.evidence.push(format!("the line: {}", refused.place));
                found
                    .evidence
                    .push("what was encrypted, as the keys opened it, against this configuration".to_string());
                Some(found)
            }
        }
    }

    /// The configuration is the initiator's: what was offered against what it offers, and what was answered.
    fn judge_own(&self, from: SocketAddr, to: SocketAddr, octets: &[u8], opened: Option<&ObservedSa>) -> Finding {
        let peer = format!("{from} -> {to} (against {}, as initiator)", self.path);
        let version = Header::parse(octets).map_or(2, |header| header.version.major());
        let connections = self.connections(from.ip(), to.ip(), version);
        let Some(first) = connections.first() else {
            let remedy = (diag::Cause::NoConfig, diag::Cause::NoConfig.remedy().to_string());
            let why = format!("no connection is for IKEv{version} from {} to {}", from.ip(), to.ip());
            return finding("would-not-begin", peer, Severity::Error, &[remedy], why);
        };
        if version == 1
            && let Some(other) = self.offers_else(&peer, (from, to), octets, first)
        {
            return other;
        }
        let offered = offers(octets);
        let all: Vec<model::Proposal> = connections.iter().flat_map(|c| c.proposals.clone()).collect();
        if let Some(offered) = offered
            && let Err(mismatch) = model::select(&all, &offered)
        {
            let place = first.source.get("proposals");
            let kind = FailureKind::NoProposalChosen {
                phase: Phase::Ike,
                found_by: Side::Us,
                mismatch: Some(mismatch),
                ours: all.iter().map(ToString::to_string).collect(),
            };
            let causes = [(diag::Cause::Phase1Proposal, format!("{} [{place}]", kind.remedy()))];
            let why = format!("this configuration offers something else than what was sent: {kind}");
            let mut other = finding("would-offer-else", peer, Severity::Error, &causes, why);
            other.evidence.push(format!("the line: {place}"));
            return other;
        }
        let outcome = opened.map_or(Outcome::Unread, |sa| inside::as_initiator(&connections, (from.ip(), to.ip()), sa));
        self.inside(&peer, outcome, End::Initiator).unwrap_or_else(|| {
            let why = "what was offered is what this configuration offers".to_string();
            let mut good = finding("would-accept", &peer, Severity::Ok, &[], why);
            good.evidence.push("what was answered under encryption is not judged without keys".to_string());
            good
        })
    }

    /// Whether IKEv1's first message is another one than this configuration would begin with: given to a peer that expects
    /// just that.
    fn offers_else(
        &self,
        peer: &str,
        (from, to): (SocketAddr, SocketAddr),
        octets: &[u8],
        connection: &Connection,
    ) -> Option<Finding> {
        let mut expecting = trial::mirrored(&self.loaded, [from.ip(), to.ip()]);
        expecting.handle(Instant::ZERO, Input::Datagram { local: to, remote: from, bytes: octets });
        let answers = std::iter::from_fn(|| expecting.poll_output());
        if answers.filter(|o| matches!(o, Output::Transmit { message, .. } if has_sa(message))).count() > 0 {
            return None;
        }
        let ended = expecting.tombstones(Instant::ZERO);
        let tombstone = ended.first()?;
        // What the peer alone can tell says nothing about the message.
        let key = match &tombstone.failure.kind {
            FailureKind::NoProposalChosen { .. } => "proposals",
            FailureKind::ModeMismatch { .. } => "aggressive",
            FailureKind::AuthMethodMismatch { .. } => "local.auth",
            FailureKind::IdentityUnknown { .. } => "local.id",
            _ => return None,
        };
        let place = connection.source.get(key);
        let mut other = diag::ended(tombstone);
        (other.id, other.peer) = ("would-offer-else", peer.to_string());
        other.why = format!("this configuration begins with something else than what was sent: {}", other.why);
        other.evidence = vec![format!("the line: {place}")];
        if let Some(line) = other.remedy.first_mut() {
            *line = format!("{} [{place}]", tombstone.failure.kind.remedy()).into();
        }
        Some(other)
    }

    fn judge(&self, from: SocketAddr, to: SocketAddr, octets: &[u8], opened: Option<&ObservedSa>) -> Finding {
        let resolved: [IpAddr; 2] = [to.ip(), from.ip()];
        let mut endpoint = trial::endpoint((&self.path, &self.loaded), resolved);
        endpoint.handle(Instant::ZERO, Input::Datagram { local: to, remote: from, bytes: octets });
        let mut accepted = false;
        while let Some(output) = endpoint.poll_output() {
            if let Output::Transmit { message, .. } = output {
                accepted |= has_sa(&message);
            }
        }
        let peer = format!("{from} -> {to} (against {})", self.path);
        if let Some(tombstone) = endpoint.tombstones(Instant::ZERO).first().filter(|_| !accepted) {
            let mut refused = diag::ended(tombstone);
            (refused.id, refused.peer) = ("would-refuse", peer);
            refused.why = format!("we would have refused it: {}", refused.why);
            refused.evidence.clear();
            if let Some(place) = &tombstone.failure.config {
                refused.evidence.push(format!("the line: {place}"));
            }
            refused.evidence.push("its first message, as captured, given to this configuration".to_string());
            return refused;
        }
        if let Some(sa) = opened.filter(|_| accepted) {
            let connections = self.connections(to.ip(), from.ip(), sa.version);
            let outcome = inside::as_responder(&connections, (to.ip(), from.ip()), sa);
            if let Some(found) = self.inside(&peer, outcome, End::Responder) {
                return found;
            }
        }
        if accepted {
            let snapshots = endpoint.snapshots(Instant::ZERO);
            let name = snapshots.first().map(|sa| sa.name.clone()).unwrap_or_default();
            let by = if name.is_empty() { String::new() } else { format!(" by connection '{name}'") };
            let mut good =
                finding("would-accept", peer, Severity::Ok, &[], format!("its first message would be accepted{by}"));
            good.evidence.push(
                "what comes encrypted (identities, proofs, networks) is not judged without keys (--keys)".to_string(),
            );
            return good;
        }
        let causes = [(diag::Cause::NoConfig, diag::Cause::NoConfig.remedy().to_string())];
        let mut silent =
            finding("would-refuse", peer, Severity::Error, &causes, "we would not have answered it at all");
        let drops: Vec<String> =
            endpoint.drops().into_iter().filter(|(_, n)| *n > 0).map(|(reason, _)| reason.to_string()).collect();
        silent.evidence.push(format!("dropped: {}", drops.join(", ")));
        silent
    }
}

/// The proposals of an IKEv2 message in the clear.
fn offers(octets: &[u8]) -> Option<Vec<wire::v2::Proposal>> {
    let (header, payloads) = Header::split(octets).ok().filter(|(header, _)| header.version.major() == 2)?;
    let chain = wire::v2::parse_chain(header.next_payload, payloads, HEADER_LEN).ok()?;
    chain.sa().map(<[wire::v2::Proposal]>::to_vec)
}

/// Whether an answer has an SA payload: it accepts.
fn has_sa(message: &[u8]) -> bool {
    let Ok(header) = Header::parse(message) else { return false };
    let payloads = message.get(HEADER_LEN..).unwrap_or_default();
    if header.version.major() == 2 {
        let chain = wire::v2::parse_chain(header.next_payload, payloads, HEADER_LEN);
        chain.is_ok_and(|chain| chain.payloads.iter().any(|(_, p)| matches!(p, wire::v2::Payload::Sa(_))))
    } else {
        let chain = wire::v1::parse_chain(header.next_payload, payloads, HEADER_LEN, true);
        chain.is_ok_and(|chain| chain.payloads.iter().any(|(_, p)| matches!(p, wire::v1::Payload::Sa(_))))
    }
}
