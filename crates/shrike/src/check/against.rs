//! A capture against a configuration: would we have accepted what an initiator began with, and if not, which line?
//!
//! Each first message is given to a protocol core with the configuration, as if it had arrived. What is encrypted later
//! (identities, proofs, networks; in aggressive mode the networks) cannot be judged without keys.

use super::{finding, trial};
use crate::daemon::load::{self, Loaded};
use diag::{Finding, Severity};
use model::Instant;
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
}

impl Against {
    /// With this configuration.
    ///
    /// # Errors
    /// It cannot be read, or makes no sense.
    pub fn new(path: &str) -> Result<Self, String> {
        let loaded = load::file(path)?;
        if let Some(refused) = loaded.refused.first() {
            return Err(format!(
                "{refused}\n{path}: correct this before a capture is held against it (shrike check {path})"
            ));
        }
        Ok(Self { path: path.to_string(), loaded, first: BTreeMap::new(), left_out: 0 })
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

    /// What would have become of each, one finding for each initiator and verdict.
    pub fn findings(&self, notes: &mut Vec<String>) -> Vec<Finding> {
        let mut found: Vec<Finding> = Vec::new();
        let mut elsewhere = 0;
        for ((from, _), (to, octets)) in &self.first {
            if !self.loaded.connections.iter().any(|c| c.local_addrs.iter().any(|p| p.matches(to.ip()))) {
                elsewhere += 1;
                continue;
            }
            let judged = self.judge(*from, *to, octets);
            let same = |f: &&mut Finding| (f.id, &f.peer, &f.why) == (judged.id, &judged.peer, &judged.why);
            match found.iter_mut().find(same) {
                Some(known) => known.attempts += 1,
                None => found.push(judged),
            }
        }
        if elsewhere > 0 {
            notes.push(format!(
                "{}: {elsewhere} attempts went to an address that is no local_addrs of any connection: only the \
                 responder's end can be judged",
                self.path
            ));
        }
        if self.left_out > 0 {
            notes.push(format!("left out {} attempts, which are too many", self.left_out));
        }
        found
    }

    fn judge(&self, from: SocketAddr, to: SocketAddr, octets: &[u8]) -> Finding {
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
        if accepted {
            let snapshots = endpoint.snapshots(Instant::ZERO);
            let name = snapshots.first().map(|sa| sa.name.clone()).unwrap_or_default();
            let by = if name.is_empty() { String::new() } else { format!(" by connection '{name}'") };
            let mut good =
                finding("would-accept", peer, Severity::Ok, &[], format!("its first message would be accepted{by}"));
            good.evidence.push("what comes encrypted (identities, proofs, networks) is not judged".to_string());
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
