//! How IKEv1 protects: CBC with an IV chain of its own for each message ID, and HASH payloads over keys and content
//! (RFC 2409 sections 5.5 and 5.7, appendix B).
//!
//! An IV chain advances only after a message was accepted: a forged message must not make the next good one unreadable.

use crypto::v1::{Cipher, Hash, SkeyIds};
use model::{ChosenSuite, DropReason};
use std::collections::BTreeMap;
use wire::v1::{Chain, ChainBuilder, padded_message, parse_chain};
use wire::{ExchangeType, Flags, HEADER_LEN, Header, PayloadType, Secret, SpiPair, Version};

/// Why a message that must be protected could not be opened: it is in the clear, or there is no key that fits.
pub(super) fn unreadable(header: &Header) -> DropReason {
    if header.flags.contains(Flags::ENCRYPTION) { DropReason::Undecryptable } else { DropReason::NotProtected }
}

/// The keys of an ISAKMP SA.
pub(super) struct Keys {
    pub hash: Hash,
    pub skeyid: SkeyIds,
    cipher: Cipher,
    /// The last ciphertext block of phase 1: every phase 2 chain starts from it.
    phase1_iv: Vec<u8>,
    /// Where each chain of phase 2 is.
    chains: BTreeMap<u32, Vec<u8>>,
    octets: u64,
}

/// How many message IDs are remembered: more are under way at no peer.
const MAX_CHAINS: usize = 64;

impl Keys {
    /// From the key exchange. `publics` are g^xi and g^xr.
    pub fn derive(suite: &ChosenSuite, hash: Hash, skeyid: SkeyIds, publics: (&[u8], &[u8])) -> Option<Self> {
        let algorithm = crypto::Cipher::new(suite.encryption.id, suite.encryption.key_length).ok()?;
        let key = crypto::v1::phase1_key(hash.prf(), &skeyid.skeyid_e, algorithm.key_len());
        let cipher = Cipher::new(algorithm, key.expose()).ok()?;
        let phase1_iv = crypto::v1::phase1_iv(hash, publics.0, publics.1, cipher.block_len());
        Some(Self { hash, skeyid, cipher, phase1_iv, chains: BTreeMap::new(), octets: 0 })
    }

    fn iv(&self, message_id: u32) -> Vec<u8> {
        match message_id {
            0 => self.phase1_iv.clone(),
            id => self
                .chains
                .get(&id)
                .cloned()
                .unwrap_or_else(|| crypto::v1::phase2_iv(self.hash, &self.phase1_iv, id, self.cipher.block_len())),
        }
    }

    fn advance(&mut self, message_id: u32, iv: Vec<u8>) {
        if message_id == 0 {
            self.phase1_iv = iv;
            return;
        }
        if self.chains.len() >= MAX_CHAINS && !self.chains.contains_key(&message_id) {
            self.chains.pop_first();
        }
        self.chains.insert(message_id, iv);
    }

    /// Forgets the chain of an exchange that is over.
    pub fn forget(&mut self, message_id: u32) {
        self.chains.remove(&message_id);
    }

    /// Encrypts a message and advances its chain.
    pub fn seal(&mut self, header: Header, chain: ChainBuilder) -> Vec<u8> {
        let header = Header { flags: header.flags | Flags::ENCRYPTION, ..header };
        let mut message = padded_message(header, chain, self.cipher.block_len());
        let iv = self.iv(header.message_id);
        let content = message.get_mut(HEADER_LEN..).unwrap_or_default();
        let next = self.cipher.encrypt(&iv, content);
        self.octets = self.octets.saturating_add(content.len() as u64);
        self.advance(header.message_id, next);
        message
    }

    /// A chain that begins with room for a HASH.
    pub fn with_hash(&self) -> ChainBuilder {
        let mut chain = ChainBuilder::new();
        chain.hash(&vec![0; self.hash.output_len()]);
        chain
    }

    /// Decrypts into a copy; the chain stays where it is until [`Keys::accept`].
    pub fn open(&self, header: &Header, datagram: &[u8]) -> Option<Opened> {
        let content = datagram.get(HEADER_LEN..)?;
        let mut plain = content.to_vec();
        let next_iv = self.cipher.decrypt(&self.iv(header.message_id), &mut plain).ok()?;
        let block = self.cipher.block_len();
        Some(Opened { first: header.next_payload, plain, message_id: header.message_id, next_iv, block })
    }

    /// The message was what it should be: its chain advances.
    pub fn accept(&mut self, opened: &Opened) {
        self.count(opened);
        self.advance(opened.message_id, opened.next_iv.clone());
    }

    /// The message was what it should be.
    pub fn count(&mut self, opened: &Opened) {
        self.octets = self.octets.saturating_add(opened.plain.len() as u64);
    }

    /// How many octets have been protected, both ways (RFC 2409 appendix A, Life Type kilobytes): of what came only the
    /// peer's own, so that nobody else can use them up.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// HASH(1) of an informational exchange or of the first message of quick mode: over the message ID and what follows
    /// the HASH payload.
    pub fn hash1(&self, message_id: u32, rest: &[u8]) -> Secret {
        crypto::v1::hash1(self.hash.prf(), &self.skeyid.skeyid_a, message_id, rest)
    }

    /// HASH(2): as HASH(1), with Ni_b in front.
    pub fn hash2(&self, message_id: u32, nonce_i: &[u8], rest: &[u8]) -> Secret {
        crypto::v1::hash2(self.hash.prf(), &self.skeyid.skeyid_a, message_id, nonce_i, rest)
    }

    /// HASH(3), which proves that the initiator is alive.
    pub fn hash3(&self, message_id: u32, nonce_i: &[u8], nonce_r: &[u8]) -> Secret {
        crypto::v1::hash3(self.hash.prf(), &self.skeyid.skeyid_a, message_id, nonce_i, nonce_r)
    }
}

/// A decrypted message that is not believed yet.
pub(super) struct Opened {
    first: PayloadType,
    pub plain: Vec<u8>,
    message_id: u32,
    next_iv: Vec<u8>,
    block: usize,
}

impl Opened {
    /// Its payloads; with a wrong key this is where it shows.
    pub fn chain(&self) -> Option<Chain<'_>> {
        // RFC 2409 appendix B pads to the next block. Some peers add a whole block where nothing is missing, of zeros but for
        // the last octet. Anything else would let strangers append blocks, which change the next IV.
        let regular = |chain: &Chain<'_>| {
            let padding = self.plain.len().checked_sub(chain.padding).and_then(|at| self.plain.get(at..));
            let zeros = padding.and_then(<[u8]>::split_last).is_none_or(|(_, rest)| rest.iter().all(|o| *o == 0));
            chain.padding < self.block || zeros
        };
        parse_chain(self.first, &self.plain, 0, true).ok().filter(regular)
    }

    /// Everything after the HASH payload, which must come first, without the padding.
    pub fn after_hash(&self) -> Option<&[u8]> {
        (self.first == PayloadType::V1_HASH).then(|| wire::v1::after_first_payload(self.first, &self.plain)).flatten()
    }
}

/// Fills in the HASH that covers everything behind it.
pub(super) fn hashed(mut chain: ChainBuilder, hash: impl FnOnce(&[u8]) -> Secret) -> ChainBuilder {
    let hash = hash(chain.after_first());
    chain.fill_first(hash.expose());
    chain
}

/// An IKEv1 header.
pub(super) fn header(cookies: SpiPair, exchange: ExchangeType, message_id: u32) -> Header {
    let (next_payload, version, flags) = (PayloadType::NONE, Version::V1, Flags(0));
    Header { spis: cookies, next_payload, version, exchange, flags, message_id, length: 0 }
}
