//! The keys of one IKE SA, and the Encrypted payload (RFC 7296 sections 2.14 and 3.14).

use crypto::v2::{ChildKeys, SkKeys};
use crypto::{Cipher, Integrity, OpenError, Prf, Protection, Random, Unsupported};
use model::{ChosenSuite, Role};
use wire::v2::{ChainBuilder, seal_fragment_layouts, seal_layout};
use wire::{Header, PayloadType, PrfId, Secret, SpiPair};

/// Octets of a payload's generic header.
const GENERIC_HEADER_LEN: usize = 4;
/// Octets of Fragment Number and Total Fragments.
const FRAGMENT_COUNTERS_LEN: usize = 4;

/// What the IKE SA needs as long as it lives.
pub(crate) struct Keys {
    pub prf: Prf,
    /// SK_d: from it come the keys of the Child SAs.
    pub sk_d: Secret,
    inbound: Protection,
    outbound: Protection,
    /// How many messages were sealed: the explicit IV of counter-based ciphers must never repeat (RFC 5282 section 3.1).
    sealed: u64,
}

/// What only IKE_AUTH needs.
pub(crate) struct AuthKeys {
    /// SK_pi.
    pub initiator: Secret,
    /// SK_pr.
    pub responder: Secret,
}

fn algorithms(suite: &ChosenSuite) -> Result<(Prf, Cipher, Option<Integrity>), Unsupported> {
    let prf = Prf::new(suite.prf.unwrap_or(PrfId(0)))?;
    let cipher = Cipher::new(suite.encryption.id, suite.encryption.key_length)?;
    Ok((prf, cipher, suite.integrity.map(Integrity::new).transpose()?))
}

impl Keys {
    /// From the shared secret and both nonces.
    ///
    /// # Errors
    /// An algorithm of the suite that this build cannot do: the configuration should not have offered it.
    pub fn derive(
        suite: &ChosenSuite,
        shared: &Secret,
        nonces: (&[u8], &[u8]),
        spis: SpiPair,
        role: Role,
    ) -> Result<(Self, AuthKeys), Unsupported> {
        let algorithms @ (prf, cipher, integrity) = algorithms(suite)?;
        let (spi_i, spi_r) = (&spis.initiator.0, &spis.responder.0);
        let sk = crypto::v2::ike_sa_keys(prf, cipher, integrity, shared, nonces.0, nonces.1, spi_i, spi_r);
        let keys = Self::from_sk(suite, algorithms, &sk, role)?;
        Ok((keys, AuthKeys { initiator: sk.sk_pi, responder: sk.sk_pr }))
    }

    /// The keys of the IKE SA that replaces this one (RFC 7296 section 2.18). `role` is ours in the exchange that makes
    /// it.
    ///
    /// # Errors
    /// As [`Keys::derive`].
    pub fn rekeyed(
        &self,
        suite: &ChosenSuite,
        shared: &Secret,
        nonces: (&[u8], &[u8]),
        spis: SpiPair,
        role: Role,
    ) -> Result<Self, Unsupported> {
        let algorithms @ (prf, cipher, integrity) = algorithms(suite)?;
        let sk = crypto::v2::rekeyed_ike_sa_keys(
            self.prf,
            &self.sk_d,
            prf,
            cipher,
            integrity,
            shared,
            nonces.0,
            nonces.1,
            &spis.initiator.0,
            &spis.responder.0,
        );
        Self::from_sk(suite, algorithms, &sk, role)
    }

    fn from_sk(
        suite: &ChosenSuite,
        (prf, cipher, integrity): (Prf, Cipher, Option<Integrity>),
        sk: &SkKeys,
        role: Role,
    ) -> Result<Self, Unsupported> {
        let unsupported = |_| Unsupported::Encryption(suite.encryption.id, suite.encryption.key_length);
        let of_initiator =
            Protection::new(cipher, integrity, sk.sk_ei.expose(), sk.sk_ai.expose()).map_err(unsupported)?;
        let of_responder =
            Protection::new(cipher, integrity, sk.sk_er.expose(), sk.sk_ar.expose()).map_err(unsupported)?;
        let (outbound, inbound) = match role {
            Role::Initiator => (of_initiator, of_responder),
            Role::Responder => (of_responder, of_initiator),
        };
        Ok(Self { prf, sk_d: sk.sk_d.clone(), inbound, outbound, sealed: 0 })
    }

    /// A message with these payloads inside its Encrypted payload: one datagram, or fragments of at most `limit` octets
    /// where there is a limit and it is exceeded (RFC 7383 section 2.5).
    pub fn seal(
        &mut self,
        header: Header,
        chain: ChainBuilder,
        limit: Option<usize>,
        rng: &mut dyn Random,
    ) -> Vec<Vec<u8>> {
        let (iv, block, icv) = (self.outbound.iv_len(), self.outbound.block_len(), self.outbound.icv_len());
        let fragments = limit.and_then(|limit| seal_fragment_layouts(header, chain.clone(), iv, block, icv, limit));
        let layouts = fragments.unwrap_or_else(|| vec![seal_layout(header, chain, iv, block, icv)]);
        let seal = |mut layout: wire::v2::SealedLayout| {
            self.outbound.seal(&mut layout.message, layout.iv_at, self.sealed, &mut *rng);
            self.sealed += 1;
            layout.message
        };
        layouts.into_iter().map(seal).collect()
    }

    /// Checks and decrypts a message in place, whose Encrypted payload begins `at` this octet. Returns the type of the
    /// first inner payload and where the inner payloads are.
    ///
    /// # Errors
    /// Nothing in the message is to be believed then.
    pub fn open(&self, message: &mut [u8], at: usize) -> Result<(PayloadType, std::ops::Range<usize>), OpenError> {
        let inner = message.get(at).copied().ok_or(OpenError::TooShort)?;
        let range = self.inbound.open(message, at + GENERIC_HEADER_LEN)?;
        Ok((PayloadType(inner), range))
    }

    /// As [`Keys::open`] for a message with an Encrypted Fragment.
    ///
    /// # Errors
    /// Nothing in the message is to be believed then.
    pub fn open_fragment(
        &self,
        message: &mut [u8],
        at: usize,
    ) -> Result<(PayloadType, std::ops::Range<usize>), OpenError> {
        let inner = message.get(at).copied().ok_or(OpenError::TooShort)?;
        let range = self.inbound.open(message, at + GENERIC_HEADER_LEN + FRAGMENT_COUNTERS_LEN)?;
        Ok((PayloadType(inner), range))
    }
}

/// The keys of a Child SA (RFC 7296 section 2.17): from SK_d, the shared secret of the exchange if there was a key exchange
/// in it, and its nonces; those of IKE_SA_INIT for the Child SA that IKE_AUTH makes.
pub(super) fn child_keys(
    sa_keys: &Keys,
    suite: &ChosenSuite,
    shared: Option<&Secret>,
    nonces: (&[u8], &[u8]),
) -> Option<ChildKeys> {
    let cipher = Cipher::new(suite.encryption.id, suite.encryption.key_length).ok()?;
    let integrity = suite.integrity.map(Integrity::new).transpose().ok()?;
    Some(crypto::v2::child_keys(sa_keys.prf, &sa_keys.sk_d, shared, nonces.0, nonces.1, cipher, integrity))
}
