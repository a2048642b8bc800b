//! Ephemeral key exchange: MODP groups, elliptic curve groups modulo a prime, Curve25519.

#[cfg(test)]
mod known_answers;
mod numbers;

use crate::awslc::curve::{Parameters, PrimeCurve, is_factor};
use crate::awslc::{Modulus, Rfc3526};
use crate::{BadPublicValue, Random, Unsupported};
use aws_lc_rs::agreement::{self, Algorithm, ECDH_P256, ECDH_P384, ECDH_P521, PrivateKey, UnparsedPublicKey, X25519};
use numbers::Subgroup;
use std::sync::OnceLock;
use wire::Secret;
use wire::registry::KeyExchangeId;
use zeroize::Zeroizing;

/// An ephemeral private value and the public value that goes with it.
///
/// The public values have the form of the Key Exchange payload: MODP padded on the left to the length of the prime
/// (RFC 7296 section 3.4), elliptic curves `x | y` (RFC 5903 section 7, RFC 5114 section 3.2), Curve25519 its 32 octets (RFC 8031 section 3).
pub struct KeyExchange {
    id: KeyExchangeId,
    private: Private,
    public: Vec<u8>,
}

enum Private {
    Modp { group: &'static Group, exponent: Secret },
    Curve { curve: Curve, key: PrivateKey },
    PrimeCurve { curve: &'static PrimeCurve, factor: Secret },
}

/// A MODP group: generator 2 and a safe prime, or a generator that makes a subgroup of prime order.
struct Group {
    modulus: Modulus,
    generator: &'static [u8],
    /// The order of the subgroup, where it is far smaller than the group.
    order: Option<&'static [u8]>,
    /// Octets of a private exponent.
    exponent_len: usize,
}

#[derive(Clone, Copy)]
struct Curve {
    algorithm: &'static Algorithm,
    /// Octets of a private value, and of a coordinate.
    length: usize,
    /// What a uniformly random first octet is masked with, so that a candidate is below the group order with high
    /// probability.
    first_mask: u8,
}

enum Method {
    Modp(&'static Group),
    Curve(Curve),
    PrimeCurve(&'static PrimeCurve),
}

impl Method {
    fn of(id: KeyExchangeId) -> Option<Self> {
        let curve = |algorithm, length, first_mask| Some(Self::Curve(Curve { algorithm, length, first_mask }));
        match id {
            KeyExchangeId::ECP_256 => curve(&ECDH_P256, 32, 0xFF),
            KeyExchangeId::ECP_384 => curve(&ECDH_P384, 48, 0xFF),
            KeyExchangeId::ECP_521 => curve(&ECDH_P521, 66, 0x01),
            KeyExchangeId::CURVE_25519 => curve(&X25519, 32, 0xFF),
            _ => group(id).map(Self::Modp).or_else(|| prime_curve(id).map(Self::PrimeCurve)),
        }
    }
}

/// The octets of a number, written as the RFCs write it.
const fn octets<const N: usize>(hex: &str) -> [u8; N] {
    let (text, mut octets, mut at, mut digits) = (hex.as_bytes(), [0; N], 0, 0);
    while at < text.len() {
        let digit = match text[at] {
            c @ b'0'..=b'9' => c - b'0',
            c @ b'A'..=b'F' => c - b'A' + 10,
            _ => 0xFF, // the spaces between
        };
        if digit != 0xFF {
            octets[digits / 2] = octets[digits / 2] << 4 | digit;
            digits += 1;
        }
        at += 1;
    }
    assert!(digits == 2 * N, "the number has its length");
    octets
}

/// RFC 2409 section 6.2.
const MODP_1024: [u8; 128] = octets(
    "FFFFFFFF FFFFFFFF C90FDAA2 2168C234 C4C6628B 80DC1CD1 29024E08 8A67CC74 020BBEA6 3B139B22 514A0879 8E3404DD
     EF9519B3 CD3A431B 302B0A6D F25F1437 4FE1356D 6D51C245 E485B576 625E7EC6 F44C42E9 A637ED6B 0BFF5CB6 F406B7ED
     EE386BFB 5A899FA5 AE9F2411 7C4B1FE6 49286651 ECE65381 FFFFFFFF FFFFFFFF",
);
/// The MODP groups, prepared at their first use.
fn group(id: KeyExchangeId) -> Option<&'static Group> {
    static GROUPS: [OnceLock<Option<Group>>; 10] = [const { OnceLock::new() }; 10];
    // Short exponents: at least twice the strength of the group in bits, with a margin. For these safe primes that loses
    // nothing (RFC 3526 section 8 has the estimates) and saves most of the work.
    enum Prime {
        Rfc2409,
        Rfc3526(Rfc3526),
        Rfc5114(&'static Subgroup),
    }
    let (slot, prime, exponent_len) = match id {
        KeyExchangeId::MODP_1024 => (0, Prime::Rfc2409, 32),
        KeyExchangeId::MODP_1536 => (1, Prime::Rfc3526(Rfc3526::Modp1536), 32),
        KeyExchangeId::MODP_2048 => (2, Prime::Rfc3526(Rfc3526::Modp2048), 40),
        KeyExchangeId::MODP_3072 => (3, Prime::Rfc3526(Rfc3526::Modp3072), 48),
        KeyExchangeId::MODP_4096 => (4, Prime::Rfc3526(Rfc3526::Modp4096), 56),
        KeyExchangeId::MODP_6144 => (5, Prime::Rfc3526(Rfc3526::Modp6144), 64),
        KeyExchangeId::MODP_8192 => (6, Prime::Rfc3526(Rfc3526::Modp8192), 64),
        // Exponents below the order of the subgroup: more would only repeat them.
        KeyExchangeId::MODP_1024_160 => (7, Prime::Rfc5114(&numbers::MODP_1024_160), 20),
        KeyExchangeId::MODP_2048_224 => (8, Prime::Rfc5114(&numbers::MODP_2048_224), 28),
        KeyExchangeId::MODP_2048_256 => (9, Prime::Rfc5114(&numbers::MODP_2048_256), 32),
        _ => return None,
    };
    let prepare = || {
        let (modulus, generator, order): (_, &[u8], _) = match prime {
            Prime::Rfc2409 => (Modulus::from_octets(&MODP_1024), &[2], None),
            Prime::Rfc3526(prime) => (Modulus::rfc3526(prime), &[2], None),
            Prime::Rfc5114(group) => (Modulus::from_octets(group.prime), group.generator, Some(group.order)),
        };
        Some(Group { modulus: modulus?, generator, order, exponent_len })
    };
    GROUPS.get(slot)?.get_or_init(prepare).as_ref()
}

/// The curves that `aws-lc-rs` has no agreement for, prepared at their first use.
fn prime_curve(id: KeyExchangeId) -> Option<&'static PrimeCurve> {
    static CURVES: [OnceLock<Option<PrimeCurve>>; 6] = [const { OnceLock::new() }; 6];
    let (slot, numbers): (_, Option<&Parameters>) = match id {
        KeyExchangeId::ECP_192 => (0, Some(&numbers::ECP_192)),
        KeyExchangeId::ECP_224 => (1, None),
        KeyExchangeId::ECP_224_BP => (2, Some(&numbers::ECP_224_BP)),
        KeyExchangeId::ECP_256_BP => (3, Some(&numbers::ECP_256_BP)),
        KeyExchangeId::ECP_384_BP => (4, Some(&numbers::ECP_384_BP)),
        KeyExchangeId::ECP_512_BP => (5, Some(&numbers::ECP_512_BP)),
        _ => return None,
    };
    CURVES.get(slot)?.get_or_init(|| numbers.map_or_else(PrimeCurve::p224, PrimeCurve::new)).as_ref()
}

impl KeyExchange {
    /// Whether this method can be negotiated.
    pub fn supported(id: KeyExchangeId) -> bool {
        Method::of(id).is_some()
    }

    /// Whether the method is kept only for old peers. RFC 8247 section 2.4: MODP-1024 SHOULD NOT, MODP-1536 likewise, of the
    /// groups with small subgroups the first MUST NOT and the others SHOULD NOT. The curves below 256 bits have less than
    /// the 128 bits of strength that all else has.
    pub fn is_legacy(id: KeyExchangeId) -> bool {
        matches!(
            id,
            KeyExchangeId::MODP_1024
                | KeyExchangeId::MODP_1536
                | KeyExchangeId::MODP_1024_160
                | KeyExchangeId::MODP_2048_224
                | KeyExchangeId::MODP_2048_256
                | KeyExchangeId::ECP_192
                | KeyExchangeId::ECP_224
                | KeyExchangeId::ECP_224_BP
        )
    }

    /// Octets of a public value of this method.
    pub fn public_len(id: KeyExchangeId) -> Option<usize> {
        Method::of(id).map(|method| match method {
            Method::Modp(group) => group.modulus.octets().len(),
            Method::Curve(curve) => curve.public_len(),
            Method::PrimeCurve(curve) => 2 * curve.length(),
        })
    }

    /// A fresh private value, drawn from `rng` alone.
    ///
    /// # Panics
    /// If `rng` gives nothing but unusable values (all zero, for example) a hundred times: it is not random then, and no
    /// key from it would be secret.
    pub fn generate(id: KeyExchangeId, rng: &mut dyn Random) -> Result<Self, Unsupported> {
        let (length, mask) = match Method::of(id).ok_or(Unsupported::KeyExchange(id))? {
            Method::Modp(group) => (group.exponent_len, 0xFF),
            Method::Curve(curve) => (curve.length, curve.first_mask),
            Method::PrimeCurve(curve) => (curve.length(), 0xFF),
        };
        let mut candidate = Zeroizing::new(vec![0; length]);
        for _ in 0..100 {
            rng.fill(&mut candidate);
            if let Some(first) = candidate.first_mut() {
                *first &= mask;
            }
            // A curve, and a subgroup, refuses 0 and what is not below its order; reduction instead of another draw would be biased.
            if let Some(this) = Self::from_private(id, &candidate) {
                return Ok(this);
            }
        }
        panic!("the random source repeats unusable values");
    }

    /// The key exchange with a private value that is already there: big-endian, for curves and subgroups at full length. Meant for
    /// known answers; a negotiation uses [`KeyExchange::generate`].
    ///
    /// `None` if the method is not supported or the value is no private value of it.
    pub fn from_private(id: KeyExchangeId, private: &[u8]) -> Option<Self> {
        match Method::of(id)? {
            Method::Modp(group) => {
                let usable = match group.order {
                    Some(order) => is_factor(private, order),
                    None => private.iter().any(|octet| *octet != 0),
                };
                let public = group.modulus.power(group.generator, private).filter(|_| usable)?.to_vec();
                Some(Self { id, private: Private::Modp { group, exponent: Secret::from(private) }, public })
            }
            Method::Curve(curve) => {
                let key = PrivateKey::from_private_key(curve.algorithm, private).ok()?;
                let encoded = key.compute_public_key().ok()?;
                // The library writes 04 | x | y for the curves with two coordinates.
                let public = match (curve.is_montgomery(), encoded.as_ref().split_first()?) {
                    (true, _) => encoded.as_ref().to_vec(),
                    (false, (_, coordinates)) => coordinates.to_vec(),
                };
                Some(Self { id, private: Private::Curve { curve, key }, public })
            }
            Method::PrimeCurve(curve) => {
                let public = curve.multiply_generator(private)?.to_vec();
                Some(Self { id, private: Private::PrimeCurve { curve, factor: Secret::from(private) }, public })
            }
        }
    }

    /// The method.
    pub fn id(&self) -> KeyExchangeId {
        self.id
    }

    /// Our public value as the Key Exchange payload carries it.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The shared secret: MODP at the length of the prime (RFC 7296 section 2.14), elliptic curves the x coordinate
    /// (RFC 5903 section 7), Curve25519 32 octets.
    pub fn agree(&self, peer_public: &[u8]) -> Result<Secret, BadPublicValue> {
        let method = self.id;
        if peer_public.len() != self.public.len() {
            return Err(BadPublicValue::Length { method, expected: self.public.len(), actual: peer_public.len() });
        }
        match &self.private {
            Private::Modp { group, exponent } => {
                if !in_range(peer_public, group.modulus.octets()) {
                    return Err(BadPublicValue::OutOfRange(method));
                }
                // RFC 6989 section 2.2: outside of the subgroup a public value could make the secret one of a few, and
                // show the private value to who reuses it. We reuse none and check all the same.
                let in_subgroup = |order| group.modulus.power(peer_public, order).is_some_and(|power| is_one(&power));
                if !group.order.is_none_or(in_subgroup) {
                    return Err(BadPublicValue::NotInSubgroup(method));
                }
                let shared = group.modulus.power(peer_public, exponent.expose());
                shared.map(|octets| Secret::from(octets.as_slice())).ok_or(BadPublicValue::OutOfRange(method))
            }
            Private::Curve { curve, key } => {
                // The library checks that the point is on the curve, and for Curve25519 that the result is not zero.
                let done = |shared: &[u8]| Ok(Secret::from(shared));
                if curve.is_montgomery() {
                    let peer = UnparsedPublicKey::new(curve.algorithm, peer_public);
                    agreement::agree(key, peer, BadPublicValue::SmallOrder(method), done)
                } else {
                    let mut point = [0; 1 + 2 * 66];
                    point[0] = 4; // uncompressed
                    point[1..=peer_public.len()].copy_from_slice(peer_public);
                    let peer = UnparsedPublicKey::new(curve.algorithm, &point[..=peer_public.len()]);
                    agreement::agree(key, peer, BadPublicValue::NotOnCurve(method), done)
                }
            }
            Private::PrimeCurve { curve, factor } => {
                // On the curve means in the group, for its order is prime and its cofactor one (RFC 6989 section 2.3).
                let point = curve.multiply_point(peer_public, factor.expose());
                let point = point.ok_or(BadPublicValue::NotOnCurve(method))?;
                Ok(Secret::from(point.get(..curve.length()).unwrap_or_default()))
            }
        }
    }
}

impl Curve {
    fn is_montgomery(&self) -> bool {
        *self.algorithm == X25519
    }

    fn public_len(&self) -> usize {
        if self.is_montgomery() { self.length } else { 2 * self.length }
    }
}

fn is_one(number: &[u8]) -> bool {
    number.split_last().is_some_and(|(last, before)| *last == 1 && before.iter().all(|octet| *octet == 0))
}

/// RFC 6989 section 2.1: 1 < y < p - 1. Both are public and of the same length.
fn in_range(value: &[u8], prime: &[u8]) -> bool {
    let is_small = |octets: &[u8]| {
        octets.split_last().is_none_or(|(last, before)| *last < 2 && before.iter().all(|octet| *octet == 0))
    };
    // The primes are odd, so p - 1 differs from p in the last bit only.
    let below = match (value.split_last(), prime.split_last()) {
        (Some((last, before)), Some((prime_last, prime_before))) => {
            (before, *last) < (prime_before, prime_last.wrapping_sub(1))
        }
        _ => false,
    };
    below && !is_small(value)
}

impl std::fmt::Debug for KeyExchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyExchange({}, ..)", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fixed, Seeded, hex};

    fn supported() -> impl Iterator<Item = KeyExchangeId> {
        KeyExchangeId::KNOWN.iter().copied().filter(|id| KeyExchange::supported(*id))
    }

    /// All curves but Curve25519, which has no y.
    fn is_curve_of_points(id: &KeyExchangeId) -> bool {
        group(*id).is_none() && *id != KeyExchangeId::CURVE_25519
    }

    #[test]
    fn both_sides_agree_in_every_method() {
        let mut rng = Seeded(1);
        assert_eq!(supported().count(), 20);
        for id in supported() {
            let ours = KeyExchange::generate(id, &mut rng).unwrap();
            let theirs = KeyExchange::generate(id, &mut rng).unwrap();
            assert_eq!(Some(ours.public().len()), KeyExchange::public_len(id));
            assert_ne!(ours.public(), theirs.public());
            let shared = ours.agree(theirs.public()).unwrap();
            assert_eq!(shared.expose(), theirs.agree(ours.public()).unwrap().expose(), "{id}");
            assert!(shared.expose().iter().any(|octet| *octet != 0));
        }
    }

    #[test]
    fn a_seed_reproduces_the_key() {
        for id in supported() {
            let make = || KeyExchange::generate(id, &mut Seeded(7)).unwrap().public().to_vec();
            assert_eq!(make(), make(), "{id}");
        }
    }

    #[test]
    fn what_is_not_here_is_refused_by_name() {
        for id in [KeyExchangeId::MODP_768, KeyExchangeId::CURVE_448, KeyExchangeId::ML_KEM_768, KeyExchangeId(1234)] {
            let error = KeyExchange::generate(id, &mut Seeded(1)).unwrap_err();
            assert_eq!(error, Unsupported::KeyExchange(id));
            assert!(error.to_string().contains(&id.to_string()));
            assert_eq!(KeyExchange::public_len(id), None);
        }
    }

    /// RFC 7748 section 6.1.
    #[test]
    fn rfc_7748_x25519() {
        let alice = KeyExchange::from_private(
            KeyExchangeId::CURVE_25519,
            &hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"),
        )
        .unwrap();
        assert_eq!(alice.public(), hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
        let bob = hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        let shared = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(alice.agree(&bob).unwrap().expose(), shared);
    }

    /// RFC 5903 section 8.1.
    #[test]
    fn rfc_5903_ecp_256() {
        let initiator = KeyExchange::from_private(
            KeyExchangeId::ECP_256,
            &hex("C88F01F5 10D9AC3F 70A292DA A2316DE5 44E9AAB8 AFE84049 C62A9C57 862D1433"),
        )
        .unwrap();
        let responder = KeyExchange::from_private(
            KeyExchangeId::ECP_256,
            &hex("C6EF9C5D 78AE012A 011164AC B397CE20 88685D8F 06BF9BE0 B283AB46 476BEE53"),
        )
        .unwrap();
        assert_eq!(
            initiator.public(),
            hex("DAD0B653 94221CF9 B051E1FE CA5787D0 98DFE637 FC90B9EF 945D0C37 72581180
                 5271A046 1CDB8252 D61F1C45 6FA3E59A B1F45B33 ACCF5F58 389E0577 B8990BB3")
        );
        let shared = hex("D6840F6B 42F6EDAF D13116E0 E1256520 2FEF8E9E CE7DCE03 812464D0 4B9442DE");
        assert_eq!(initiator.agree(responder.public()).unwrap().expose(), shared);
        assert_eq!(responder.agree(initiator.public()).unwrap().expose(), shared);
    }

    #[test]
    fn wrong_lengths_are_refused() {
        for id in supported() {
            let ours = KeyExchange::generate(id, &mut Seeded(3)).unwrap();
            let expected = ours.public().len();
            let peer = KeyExchange::generate(id, &mut Seeded(4)).unwrap();
            for bad in [&[][..], &peer.public()[1..], &[&[0], peer.public()].concat(), &[peer.public(), &[0]].concat()]
            {
                let error = ours.agree(bad).unwrap_err();
                assert_eq!(error, BadPublicValue::Length { method: id, expected, actual: bad.len() });
            }
        }
    }

    #[test]
    fn degenerate_modp_values_are_refused() {
        for id in supported().filter(|id| group(*id).is_some()) {
            let ours = KeyExchange::generate(id, &mut Seeded(5)).unwrap();
            let prime = group(id).unwrap().modulus.octets().to_vec();
            let small = |n: u8| [vec![0; prime.len() - 1], vec![n]].concat();
            let less = |n: u8| [&prime[..prime.len() - 1], &[prime[prime.len() - 1] - n]].concat();
            for bad in [small(0), small(1), less(1), less(0), vec![0xFF; prime.len()]] {
                assert_eq!(ours.agree(&bad).unwrap_err(), BadPublicValue::OutOfRange(id), "{id}");
            }
            match group(id).unwrap().order {
                None => assert!(ours.agree(&small(2)).is_ok() && ours.agree(&less(2)).is_ok()),
                // The group is many times larger than the subgroup: neither number is in it.
                Some(_) => {
                    assert_eq!(ours.agree(&small(2)).unwrap_err(), BadPublicValue::NotInSubgroup(id));
                    assert_eq!(ours.agree(&less(2)).unwrap_err(), BadPublicValue::NotInSubgroup(id));
                }
            }
        }
    }

    #[test]
    fn points_off_the_curve_are_refused() {
        for id in supported().filter(is_curve_of_points) {
            let ours = KeyExchange::generate(id, &mut Seeded(6)).unwrap();
            let peer = KeyExchange::generate(id, &mut Seeded(7)).unwrap();
            let mut off = peer.public().to_vec();
            *off.last_mut().unwrap() ^= 1;
            let length = off.len();
            for bad in [off, vec![0; length], vec![0xFF; length]] {
                assert_eq!(ours.agree(&bad).unwrap_err(), BadPublicValue::NotOnCurve(id));
            }
        }
    }

    /// The points of small order of Curve25519 and its twist, all of which give zero (RFC 7748 section 6.1): u = 0, 1,
    /// the two of order 8, p - 1, p, p + 1.
    #[test]
    fn points_of_small_order_are_refused() {
        let ours = KeyExchange::generate(KeyExchangeId::CURVE_25519, &mut Seeded(8)).unwrap();
        for bad in [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ] {
            let error = ours.agree(&hex(bad)).unwrap_err();
            assert_eq!(error, BadPublicValue::SmallOrder(KeyExchangeId::CURVE_25519), "{bad}");
        }
    }

    #[test]
    fn private_values_out_of_range_are_refused() {
        for id in supported().filter(is_curve_of_points) {
            let length = KeyExchange::public_len(id).unwrap() / 2;
            assert!(KeyExchange::from_private(id, &vec![0; length]).is_none());
            assert!(KeyExchange::from_private(id, &vec![0xFF; length]).is_none());
            assert!(KeyExchange::from_private(id, &[1]).is_none());
        }
        assert!(KeyExchange::from_private(KeyExchangeId::MODP_2048, &[0; 40]).is_none());
        for id in [KeyExchangeId::MODP_1024_160, KeyExchangeId::MODP_2048_224, KeyExchangeId::MODP_2048_256] {
            let order = group(id).unwrap().order.unwrap();
            for bad in [vec![0; order.len()], order.to_vec(), vec![0xFF; order.len()], order[1..].to_vec()] {
                assert!(KeyExchange::from_private(id, &bad).is_none(), "{id}");
            }
            let largest = [&order[..order.len() - 1], &[order[order.len() - 1] - 1]].concat();
            assert!(KeyExchange::from_private(id, &largest).is_some());
        }
    }

    #[test]
    #[should_panic(expected = "repeats unusable values")]
    fn a_source_of_zeros_is_noticed() {
        let _ = KeyExchange::generate(KeyExchangeId::ECP_256, &mut Fixed(vec![0]));
    }

    #[test]
    fn debug_shows_no_private_value() {
        let ours = KeyExchange::generate(KeyExchangeId::CURVE_25519, &mut Seeded(9)).unwrap();
        assert_eq!(format!("{ours:?}"), "KeyExchange(CURVE_25519, ..)");
    }
}
