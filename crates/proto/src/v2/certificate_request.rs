//! Certificate Request payloads (RFC 7296 section 3.7): of which authorities an end takes certificates, by the hashes of their
//! keys; in the answer to IKE_SA_INIT and in the initiator's IKE_AUTH. However many there are, what is sent and what is looked
//! at is bounded.

use crate::context::Context;
use config::{AuthMethod, Connection};
use crypto::Certificate;
use std::sync::Arc;
use wire::v2::{Chain, ChainBuilder};
use wire::{CertEncoding, HashAlgorithm, NotifyType, ProtocolId};

/// So many authorities are named in an answer to IKE_SA_INIT, which cannot be sent in fragments and goes to who has not proved
/// its address yet.
pub(super) const MOST_IN_CLEAR: usize = 16;

/// So many are named in IKE_AUTH.
pub(super) const MOST_NAMED: usize = 100;

/// So many of the peer's are looked at.
const MOST_LOOKED_AT: usize = 500;

/// What the peer's first message said about certificates and signatures.
pub(super) struct Wanted {
    /// Hashes with which it checks signatures (RFC 7427 section 4).
    pub hashes: Vec<HashAlgorithm>,
    /// Whether it asked for a certificate.
    pub certificate: bool,
    /// Whether it asked for a public key without one (RFC 7670 section 3).
    pub raw: bool,
    /// Whether it looks certificates up by hash and URL.
    pub looks_up: bool,
    /// Of which authorities, by the hashes of their keys.
    authorities: Vec<u8>,
}

impl Wanted {
    /// From the message with the peer's CERTREQ, if it has one.
    pub fn of(chain: &Chain<'_>, hashes: Vec<HashAlgorithm>) -> Self {
        let requests = || chain.cert_requests().filter(|(encoding, _)| *encoding == CertEncoding::X509_SIGNATURE);
        let all = requests().flat_map(|(_, hashes)| hashes.chunks_exact(20));
        let authorities = all.take(MOST_LOOKED_AT).flatten().copied().collect();
        let raw = chain.cert_requests().any(|(encoding, _)| encoding == CertEncoding::RAW_PUBLIC_KEY);
        let looks_up = chain.notify(NotifyType::HTTP_CERT_LOOKUP_SUPPORTED).is_some();
        Self { hashes, certificate: requests().next().is_some(), raw, looks_up, authorities }
    }

    /// Whether this authority is among them.
    pub fn names(&self, authority: &Certificate) -> bool {
        self.authorities.chunks_exact(20).any(|hash| hash == authority.key_info_hash())
    }
}

/// Asks for a certificate of one of our authorities (RFC 7296 section 3.7): of those that any of these connections takes, the
/// first `most`. Who has a certificate of another one is asked for it all the same, though not by name.
pub(super) fn request_certificate<'a>(
    chain: &mut ChainBuilder,
    cx: &Context,
    connections: impl IntoIterator<Item = &'a Arc<Connection>>,
    most: usize,
) {
    let asking =
        |c: &&Arc<Connection>| c.remote.method == AuthMethod::Pubkey && c.send_certreq && c.remote.pubkeys.is_empty();
    let mut hashes: Vec<[u8; 20]> = Vec::new();
    for authority in connections.into_iter().filter(asking).flat_map(|c| cx.credentials.acceptable(c)) {
        let hash = authority.key_info_hash();
        if hashes.len() < most && !hashes.contains(&hash) {
            hashes.push(hash);
        }
    }
    if !hashes.is_empty() {
        chain.cert_req(CertEncoding::X509_SIGNATURE, hashes.as_flattened());
        if cx.settings.hash_and_url {
            // RFC 7296 section 3.10.1: where there is a CERTREQ, to be sent hash and URL.
            chain.notify(ProtocolId::NONE, &[], NotifyType::HTTP_CERT_LOOKUP_SUPPORTED, &[]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use wire::v2::parse_chain;

    #[test]
    fn of_many_authorities_the_first_are_named_and_of_the_peers_the_first_are_looked_at() {
        let mut cx = Context::new(Settings::default(), Box::new(crypto::SystemRandom));
        for _ in 0..120 {
            let key = rcgen::KeyPair::generate().unwrap();
            let made = rcgen::CertificateParams::default().self_signed(&key).unwrap();
            cx.credentials.add_authority(Certificate::from_der(made.der()).unwrap());
        }
        let text = "connections { gw { } }";
        let tree = config::parse("gw.conf", &config::MemoryFiles::one("gw.conf", text)).unwrap();
        let connection = Arc::clone(&config::load(&tree).unwrap().connections[0]);
        for (most, named) in [(16, 16), (MOST_NAMED, 100), (200, 120)] {
            let mut chain = ChainBuilder::new();
            request_certificate(&mut chain, &cx, [&connection, &connection], most);
            let (first, octets) = chain.finish();
            let chain = parse_chain(first, &octets, 0).unwrap();
            assert_eq!(chain.cert_requests().map(|(_, hashes)| hashes.len()).collect::<Vec<_>>(), [20 * named]);
            assert_eq!(Wanted::of(&chain, Vec::new()).authorities.len(), 20 * named);
        }
        let mut chain = ChainBuilder::new();
        for n in 0..4_u8 {
            chain.cert_req(CertEncoding::X509_SIGNATURE, &vec![n; 20 * 300]);
        }
        let (first, octets) = chain.finish();
        let wanted = Wanted::of(&parse_chain(first, &octets, 0).unwrap(), Vec::new());
        assert!(wanted.certificate);
        assert_eq!((wanted.authorities.len(), wanted.authorities.last()), (20 * MOST_LOOKED_AT, Some(&1)));
    }
}
