//! Key schedule and authentication values of IKEv2 (RFC 7296 sections 2.13 to 2.18).

use crate::{Cipher, Integrity, Prf};
use wire::Secret;

/// The keys of an IKE SA (RFC 7296 section 2.14), named as there: `i` protects what the original initiator sends.
#[derive(Clone, Debug)]
pub struct SkKeys {
    /// Derives the keys of Child SAs and of the next IKE SA.
    pub sk_d: Secret,
    /// Integrity, initiator to responder. Empty with a combined mode.
    pub sk_ai: Secret,
    /// Integrity, responder to initiator. Empty with a combined mode.
    pub sk_ar: Secret,
    /// Encryption (and salt), initiator to responder.
    pub sk_ei: Secret,
    /// Encryption (and salt), responder to initiator.
    pub sk_er: Secret,
    /// Authenticates the initiator's identity.
    pub sk_pi: Secret,
    /// Authenticates the responder's identity.
    pub sk_pr: Secret,
}

/// The keys of one direction of a Child SA.
#[derive(Clone, Debug)]
pub struct EspKeys {
    /// Key of the encryption algorithm, with its salt.
    pub encryption: Secret,
    /// Key of the integrity algorithm; empty if there is none.
    pub integrity: Secret,
}

/// The keys of a Child SA. The initiator is that of the exchange which creates the Child SA, which need not be the
/// original initiator of the IKE SA.
#[derive(Clone, Debug)]
pub struct ChildKeys {
    /// For what the initiator sends.
    pub initiator_to_responder: EspKeys,
    /// For what the responder sends.
    pub responder_to_initiator: EspKeys,
}

/// Cuts keying material into keys.
struct Cutter<'a>(&'a [u8]);

impl Cutter<'_> {
    fn take(&mut self, length: usize) -> Secret {
        let (key, rest) = self.0.split_at(length);
        self.0 = rest;
        Secret::from(key)
    }
}

/// SKEYSEED = prf(Ni | Nr, g^ir) (RFC 7296 section 2.14).
pub fn skeyseed(prf: Prf, shared: &Secret, nonce_i: &[u8], nonce_r: &[u8]) -> Secret {
    // RFC 7296 section 2.14: the AES PRFs take only the first 64 bits of each nonce here.
    let limit = if prf.truncates_nonces() { 8 } else { usize::MAX };
    let first = |nonce: &[u8]| nonce.iter().copied().take(limit).collect::<Vec<u8>>();
    prf.compute(&[first(nonce_i), first(nonce_r)].concat(), &[shared.expose()])
}

/// SKEYSEED of an IKE SA that replaces another: prf(SK_d (old), g^ir (new) | Ni | Nr), with the PRF of the old IKE SA
/// (RFC 7296 section 2.18).
pub fn rekeyed_skeyseed(old_prf: Prf, old_sk_d: &Secret, shared: &Secret, nonce_i: &[u8], nonce_r: &[u8]) -> Secret {
    old_prf.compute(old_sk_d.expose(), &[shared.expose(), nonce_i, nonce_r])
}

fn expand(
    prf: Prf,
    cipher: Cipher,
    integrity: Option<Integrity>,
    skeyseed: &Secret,
    nonces: [&[u8]; 2],
    spis: [&[u8; 8]; 2],
) -> SkKeys {
    let (p, e, a) = (prf.key_len(), cipher.key_len(), integrity.map_or(0, Integrity::key_len));
    let ([nonce_i, nonce_r], [spi_i, spi_r]) = (nonces, spis);
    let material = prf.plus(skeyseed.expose(), &[nonce_i, nonce_r, spi_i, spi_r], 3 * p + 2 * a + 2 * e);
    let mut cut = Cutter(material.expose());
    // RFC 7296 section 2.14: in this order.
    SkKeys {
        sk_d: cut.take(p),
        sk_ai: cut.take(a),
        sk_ar: cut.take(a),
        sk_ei: cut.take(e),
        sk_er: cut.take(e),
        sk_pi: cut.take(p),
        sk_pr: cut.take(p),
    }
}

/// The keys of a new IKE SA (RFC 7296 section 2.14). `integrity` is `None` with a combined mode.
#[allow(clippy::too_many_arguments)] // they are the RFC's
pub fn ike_sa_keys(
    prf: Prf,
    cipher: Cipher,
    integrity: Option<Integrity>,
    shared: &Secret,
    nonce_i: &[u8],
    nonce_r: &[u8],
    spi_i: &[u8; 8],
    spi_r: &[u8; 8],
) -> SkKeys {
    let seed = skeyseed(prf, shared, nonce_i, nonce_r);
    expand(prf, cipher, integrity, &seed, [nonce_i, nonce_r], [spi_i, spi_r])
}

/// The keys of an IKE SA that replaces another (RFC 7296 section 2.18): SKEYSEED with the old IKE SA's PRF and SK_d, the
/// rest with the new algorithms. Nonces, SPIs and shared secret are those of the CREATE_CHILD_SA exchange.
#[allow(clippy::too_many_arguments)] // they are the RFC's
pub fn rekeyed_ike_sa_keys(
    old_prf: Prf,
    old_sk_d: &Secret,
    prf: Prf,
    cipher: Cipher,
    integrity: Option<Integrity>,
    shared: &Secret,
    nonce_i: &[u8],
    nonce_r: &[u8],
    spi_i: &[u8; 8],
    spi_r: &[u8; 8],
) -> SkKeys {
    let seed = rekeyed_skeyseed(old_prf, old_sk_d, shared, nonce_i, nonce_r);
    expand(prf, cipher, integrity, &seed, [nonce_i, nonce_r], [spi_i, spi_r])
}

/// The keys of a Child SA (RFC 7296 section 2.17): prf+(SK_d, [g^ir (new) |] Ni | Nr).
pub fn child_keys(
    prf: Prf,
    sk_d: &Secret,
    shared: Option<&Secret>,
    nonce_i: &[u8],
    nonce_r: &[u8],
    cipher: Cipher,
    integrity: Option<Integrity>,
) -> ChildKeys {
    let (e, a) = (cipher.key_len(), integrity.map_or(0, Integrity::key_len));
    let shared = shared.map_or(&[][..], Secret::expose);
    let material = prf.plus(sk_d.expose(), &[shared, nonce_i, nonce_r], 2 * (e + a));
    let mut cut = Cutter(material.expose());
    // RFC 7296 section 2.17: initiator to responder first, and of each direction the encryption key first.
    let mut direction = || EspKeys { encryption: cut.take(e), integrity: cut.take(a) };
    ChildKeys { initiator_to_responder: direction(), responder_to_initiator: direction() }
}

/// prf(SK_p, RestOfIDPayload): the last part of the signed octets (RFC 7296 section 2.15). `id_payload_body` is the
/// Identification payload without its generic header.
pub fn id_mac(prf: Prf, sk_p: &Secret, id_payload_body: &[u8]) -> Secret {
    prf.compute(sk_p.expose(), &[id_payload_body])
}

/// AUTH of the shared key method: prf(prf(PSK, "Key Pad for IKEv2"), signed octets) (RFC 7296 section 2.15).
///
/// The signed octets of a side are the message it sent in IKE_SA_INIT, the nonce of the other side, and [`id_mac`].
pub fn psk_auth(prf: Prf, psk: &[u8], signed_octets: &[&[u8]]) -> Secret {
    let key = prf.compute(psk, &[b"Key Pad for IKEv2"]);
    prf.compute(key.expose(), signed_octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;
    use wire::registry::{EncryptionId, IntegrityId, PrfId};

    fn joined(keys: &SkKeys) -> Vec<u8> {
        [&keys.sk_d, &keys.sk_ai, &keys.sk_ar, &keys.sk_ei, &keys.sk_er, &keys.sk_pi, &keys.sk_pr]
            .map(Secret::expose)
            .concat()
    }

    /// NIST CAVS 17.3, IKEv2, [g^ir length = 256], [SHA-1], COUNT = 0. The 1056 bits of DKM are just the keys of
    /// HMAC-SHA-1, HMAC-SHA-1-96 and AES-128.
    #[test]
    fn cavs_sha1_first_case() {
        let prf = Prf::new(PrfId::HMAC_SHA1).unwrap();
        let cipher = Cipher::new(EncryptionId::AES_CBC, Some(128)).unwrap();
        let integrity = Integrity::new(IntegrityId::HMAC_SHA1_96).ok();
        let (ni, nr) = (hex("32b50d5f4a3763f3"), hex("9206a04b26564cb1"));
        let shared = Secret::new(hex("4b2c1f971981a8ad8d0abeafabf38cf75fc8349c148142465ed9c8b516b8be52"));
        let new = Secret::new(hex("863f3c9d06efd39d2b907b97f8699e5dd5251ef64a2a176f36ee40c87d4f9330"));
        let (spi_i, spi_r) = (hex("34c9e7c188868785"), hex("3ff77d760d2b2199"));
        let spis = (<&[u8; 8]>::try_from(&spi_i[..]).unwrap(), <&[u8; 8]>::try_from(&spi_r[..]).unwrap());

        assert_eq!(skeyseed(prf, &shared, &ni, &nr).expose(), hex("a9a7b222b59f8f48645f28a1db5b5f5d7479cba7"));
        let keys = ike_sa_keys(prf, cipher, integrity, &shared, &ni, &nr, spis.0, spis.1);
        assert_eq!(
            joined(&keys),
            hex("a14293677cc80ff8f9cc0eee30d895da9d8f405666e30ef0dfcb63c634a46002a2a63080e514a062768b76606f9fa5e99220
                 4fc5a670bde3f10d6b027113936a5c55b648a194ae587b0088d52204b702c979fa280870d2ed41efa9c549fd11198af1670b
                 143d384bd275c5f594cf266b05ebadca855e4249520a441a81157435a7a56cc4")
        );
        let child = |shared| {
            let keys = child_keys(prf, &keys.sk_d, shared, &ni, &nr, cipher, integrity);
            let (i, r) = (keys.initiator_to_responder, keys.responder_to_initiator);
            [i.encryption, i.integrity, r.encryption, r.integrity].map(|key| key.expose().to_vec())
        };
        // The first 72 octets, cut at 16, 20, 16, 20.
        assert_eq!(
            child(None),
            [
                hex("8059e3ee8810e6c3a91bc8bcd2a7a411"),
                hex("51b8d0e6ae239c7b38093ad85ef4c5811a8e7b5d"),
                hex("1cdabd9560b2d5e092d1f24e2d4b85ec"),
                hex("cdf0ad0dc9abd94b51ee71814ca6dbc8bb51b630"),
            ]
        );
        assert_eq!(child(Some(&new)).concat()[..16], hex("bb43244c1860ad65ee1e211ffe8bb366"));
        let seed = rekeyed_skeyseed(prf, &keys.sk_d, &new, &ni, &nr);
        assert_eq!(seed.expose(), hex("63e81194946ebd05df7df5ebf5d8750056bf1f1d"));
    }

    /// RFC 7296 section 2.18: the old PRF makes SKEYSEED, the new one the rest.
    #[test]
    fn a_rekeying_may_change_the_prf() {
        let (old, new) = (Prf::new(PrfId::HMAC_SHA1).unwrap(), Prf::new(PrfId::HMAC_SHA2_384).unwrap());
        let cipher = Cipher::new(EncryptionId::AES_GCM_16, Some(256)).unwrap();
        let (sk_d, shared) = (Secret::from(&[1; 20][..]), Secret::from(&[2; 32][..]));
        let keys = rekeyed_ike_sa_keys(old, &sk_d, new, cipher, None, &shared, b"ni", b"nr", &[3; 8], &[4; 8]);
        let seed = old.compute(&[1; 20], &[&[2; 32], b"ninr"]);
        let material = new.plus(seed.expose(), &[b"ninr", &[3; 8], &[4; 8]], 3 * 48 + 2 * 36);
        assert_eq!(joined(&keys), material.expose());
        assert!(keys.sk_ai.is_empty() && keys.sk_ar.is_empty());
        assert_eq!((keys.sk_d.len(), keys.sk_ei.len(), keys.sk_pr.len()), (48, 36, 48));
    }

    /// RFC 7296 section 2.14: 64 bits of each nonce for the AES PRFs, all of them in prf+.
    #[test]
    fn aes_prfs_take_half_of_the_key_from_each_nonce() {
        for id in [PrfId::AES128_XCBC, PrfId::AES128_CMAC] {
            let prf = Prf::new(id).unwrap();
            let shared = Secret::from(&[2; 32][..]);
            let (ni, nr) = ((0..32).collect::<Vec<u8>>(), (32..48).collect::<Vec<u8>>());
            let key = [&ni[..8], &nr[..8]].concat();
            let seed = skeyseed(prf, &shared, &ni, &nr);
            assert_eq!(seed.expose(), prf.compute(&key, &[shared.expose()]).expose());
            let cipher = Cipher::new(EncryptionId::AES_GCM_16, Some(128)).unwrap();
            let keys = ike_sa_keys(prf, cipher, None, &shared, &ni, &nr, &[1; 8], &[2; 8]);
            let material = prf.plus(seed.expose(), &[&ni, &nr, &[1; 8], &[2; 8]], 3 * 16 + 2 * 20);
            assert_eq!(joined(&keys), material.expose());
        }
    }

    /// RFC 7296 section 2.15, from HMAC alone.
    #[test]
    fn psk_auth_is_a_prf_of_a_prf() {
        let prf = Prf::new(PrfId::HMAC_SHA2_256).unwrap();
        let sk_p = Secret::from(&[6; 32][..]);
        let id = id_mac(prf, &sk_p, &[1, 0, 0, 0, 192, 0, 2, 1]);
        let auth = psk_auth(prf, b"secret", &[b"message", b"nonce", id.expose()]);
        let inner = prf.compute(b"secret", &[b"Key Pad for IKEv2"]);
        let octets = [b"messagenonce".as_slice(), id.expose()].concat();
        assert_eq!(auth.expose(), prf.compute(inner.expose(), &[&octets]).expose());
        assert_ne!(auth.expose(), psk_auth(prf, b"Secret", &[&octets]).expose());
    }

    #[test]
    fn debug_shows_no_key() {
        let prf = Prf::new(PrfId::HMAC_SHA2_256).unwrap();
        let cipher = Cipher::new(EncryptionId::AES_GCM_16, Some(128)).unwrap();
        let keys = child_keys(prf, &Secret::from(&b"sk_d"[..]), None, b"a", b"b", cipher, None);
        assert!(format!("{keys:?}").contains("encryption: Secret(20 octets)"));
    }
}
