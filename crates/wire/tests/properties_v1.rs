//! What IKEv1's parser and builder promise, on messages we wrote.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use wire::attributes::{AttributeValue, DataAttribute};
use wire::v1::{self, ChainBuilder, NatTraversal, Payload, Proposal, Sa, Transform};
use wire::*;

/// One call of the builder.
#[derive(Clone, Debug)]
enum Call {
    Sa(Sa),
    Ke(Vec<u8>),
    Nonce(Vec<u8>),
    Id(u8, u8, u16, Vec<u8>),
    Cert(u8, Vec<u8>),
    CertReq(u8, Vec<u8>),
    Hash(Vec<u8>),
    Sig(Vec<u8>),
    Notify(u8, Vec<u8>, u16, Vec<u8>),
    DeleteIsakmp([u64; 2]),
    Delete(Vec<[u8; 4]>),
    VendorId(Vec<u8>),
    NatD(NatTraversal, Vec<u8>),
    NatOa(NatTraversal, IpAddr),
    Attributes(u8, u16, Vec<(u16, Result<u16, Vec<u8>>)>),
}

fn data(list: &[(u16, Result<u16, Vec<u8>>)]) -> Vec<DataAttribute<'_>> {
    fn value(value: &Result<u16, Vec<u8>>) -> AttributeValue<'_> {
        match value {
            Ok(short) => AttributeValue::Short(*short),
            Err(octets) => AttributeValue::Long(octets),
        }
    }
    list.iter().map(|(kind, content)| DataAttribute { kind: *kind, value: value(content) }).collect()
}

impl Call {
    fn build(&self, chain: &mut ChainBuilder) {
        match self {
            Self::Sa(sa) => chain.sa(sa),
            Self::Ke(data) => chain.ke(data),
            Self::Nonce(nonce) => chain.nonce(nonce),
            Self::Id(kind, protocol, port, data) => chain.id(V1IdType(*kind), *protocol, *port, data),
            Self::Cert(encoding, data) => chain.cert(CertEncoding(*encoding), data),
            Self::CertReq(encoding, data) => chain.cert_req(CertEncoding(*encoding), data),
            Self::Hash(hash) => chain.hash(hash),
            Self::Sig(signature) => chain.sig(signature),
            Self::Notify(protocol, spi, kind, data) => {
                chain.notify(ProtocolId(*protocol), spi, V1NotifyType(*kind), data)
            }
            Self::DeleteIsakmp([initiator, responder]) => {
                chain.delete_isakmp(SpiPair { initiator: (*initiator).into(), responder: (*responder).into() })
            }
            Self::Delete(spis) => chain.delete(ProtocolId::ESP, spis),
            Self::VendorId(octets) => chain.vendor_id(octets),
            Self::NatD(variant, hash) => chain.nat_d(*variant, hash),
            Self::NatOa(variant, address) => chain.nat_oa(*variant, *address),
            Self::Attributes(kind, identifier, list) => chain.attributes(*kind, *identifier, &data(list)),
        };
    }

    /// Whether `payload`, of type `kind`, is what this call should have written, told without the writer's help.
    fn is(&self, kind: PayloadType, payload: &Payload<'_>) -> bool {
        match (self, payload) {
            (Self::Sa(ours), Payload::Sa(read)) => ours == read,
            (Self::Ke(ours), Payload::Ke(read))
            | (Self::Nonce(ours), Payload::Nonce(read))
            | (Self::Hash(ours), Payload::Hash(read))
            | (Self::Sig(ours), Payload::Sig(read))
            | (Self::VendorId(ours), Payload::VendorId(read)) => ours == read,
            (Self::Id(kind, protocol, port, data), Payload::Id(id)) => {
                (*kind, *protocol, *port, &data[..]) == (id.kind.0, id.protocol, id.port, id.data)
            }
            (Self::Cert(ours, octets), Payload::Cert { encoding, data }) => (*ours, &octets[..]) == (encoding.0, *data),
            (Self::CertReq(ours, octets), Payload::CertReq { encoding, authority }) => {
                (*ours, &octets[..]) == (encoding.0, *authority)
            }
            (Self::Notify(protocol, spi, kind, data), Payload::Notify(read)) => {
                (1, *protocol, &spi[..], *kind, &data[..])
                    == (read.doi, read.protocol.0, read.spi, read.kind.0, read.data)
            }
            (Self::DeleteIsakmp([initiator, responder]), Payload::Delete(delete)) => {
                let spi = [initiator.to_be_bytes(), responder.to_be_bytes()].concat();
                (delete.doi, delete.protocol) == (1, ProtocolId::IKE) && delete.iter().eq([&spi[..]])
            }
            (Self::Delete(spis), Payload::Delete(delete)) => {
                (delete.doi, delete.protocol) == (1, ProtocolId::ESP)
                    && delete.iter().eq(spis.iter().map(<[u8; 4]>::as_slice))
            }
            (Self::NatD(variant, ours), Payload::NatD(read)) => {
                kind.0 == if *variant == NatTraversal::Draft { 130 } else { 20 } && ours == read
            }
            (Self::NatOa(variant, address), Payload::NatOa(id)) => {
                let octets = match address {
                    IpAddr::V4(address) => address.octets().to_vec(),
                    IpAddr::V6(address) => address.octets().to_vec(),
                };
                kind.0 == if *variant == NatTraversal::Draft { 131 } else { 21 } && octets == id.data
            }
            (Self::Attributes(kind, identifier, list), Payload::Attributes(read)) => {
                (*kind, *identifier, data(list)) == (read.kind, read.identifier, read.attributes.clone())
            }
            _ => false,
        }
    }

    /// What may be there more than once.
    fn is_repeatable(&self) -> bool {
        use Call::*;
        !matches!(self, Sa(_) | Ke(_) | Nonce(_) | Id(..) | Hash(_) | Sig(_) | Attributes(..))
    }
}

fn octets(min: usize, max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), min..=max)
}

fn sa() -> impl Strategy<Value = Sa> {
    let value =
        prop_oneof![any::<u16>().prop_map(v1::AttributeValue::Short), octets(0, 9).prop_map(v1::AttributeValue::Long)];
    let transform = (any::<u8>(), any::<u8>(), vec((0..0x8000u16, value), 0..8))
        .prop_map(|(number, id, attributes)| Transform { number, id, attributes });
    let proposal = (any::<u8>(), any::<u8>(), octets(0, 16), vec(transform, 0..5)).prop_map(
        |(number, protocol, spi, transforms)| Proposal { number, protocol: ProtocolId(protocol), spi, transforms },
    );
    // No proposal and no transform at all cannot be written: the field before them has no "none".
    vec(proposal, 1..4).prop_map(|mut proposals| {
        proposals.retain(|proposal| !proposal.transforms.is_empty());
        Sa::new(proposals)
    })
}

fn call() -> impl Strategy<Value = Call> {
    let id = prop_oneof![
        octets(4, 4).prop_map(|data| (1, data)),
        octets(8, 8).prop_map(|data| (4, data)),
        octets(32, 32).prop_map(|data| (8, data)),
        (prop_oneof![Just(2u8), Just(3), 9..=255u8], octets(0, 60)),
    ];
    let variant = || prop_oneof![Just(NatTraversal::Draft), Just(NatTraversal::Rfc3947)];
    let value = prop_oneof![any::<u16>().prop_map(Ok), octets(0, 20).prop_map(Err)];
    prop_oneof![
        sa().prop_filter("a proposal", |sa| !sa.proposals.is_empty()).prop_map(Call::Sa),
        octets(1, 200).prop_map(Call::Ke),
        octets(8, 256).prop_map(Call::Nonce),
        (id, any::<u8>(), any::<u16>()).prop_map(|((kind, data), protocol, port)| Call::Id(kind, protocol, port, data)),
        (any::<u8>(), octets(0, 80)).prop_map(|(encoding, data)| Call::Cert(encoding, data)),
        (any::<u8>(), octets(0, 80)).prop_map(|(encoding, data)| Call::CertReq(encoding, data)),
        octets(1, 64).prop_map(Call::Hash),
        octets(1, 256).prop_map(Call::Sig),
        (any::<u8>(), octets(0, 16), any::<u16>(), octets(0, 40))
            .prop_map(|(protocol, spi, kind, data)| Call::Notify(protocol, spi, kind, data)),
        any::<[u64; 2]>().prop_map(Call::DeleteIsakmp),
        vec(any::<[u8; 4]>(), 0..5).prop_map(Call::Delete),
        octets(0, 40).prop_map(Call::VendorId),
        (variant(), octets(1, 64)).prop_map(|(variant, hash)| Call::NatD(variant, hash)),
        (variant(), any::<[u8; 4]>()).prop_map(|(variant, address)| Call::NatOa(variant, address.into())),
        (variant(), any::<[u8; 16]>()).prop_map(|(variant, address)| Call::NatOa(variant, address.into())),
        (any::<u8>(), any::<u16>(), vec((0..0x8000u16, value), 0..6))
            .prop_map(|(kind, identifier, list)| Call::Attributes(kind, identifier, list)),
    ]
}

/// Calls that make a chain without a second payload where one is allowed.
fn calls() -> impl Strategy<Value = Vec<Call>> {
    vec(call(), 1..14).prop_map(|calls| {
        let mut seen = std::collections::HashSet::new();
        calls.into_iter().filter(|call| call.is_repeatable() || seen.insert(std::mem::discriminant(call))).collect()
    })
}

fn built(calls: &[Call]) -> ChainBuilder {
    let mut chain = ChainBuilder::new();
    calls.iter().for_each(|call| call.build(&mut chain));
    chain
}

fn header(message_id: u32) -> Header {
    Header {
        spis: SpiPair { initiator: IkeSpi::from(1), responder: IkeSpi::from(2) },
        next_payload: PayloadType::NONE,
        version: Version::V1,
        exchange: ExchangeType::QUICK_MODE,
        flags: Flags::NONE,
        message_id,
        length: 0,
    }
}

proptest! {
    #[test]
    fn a_chain_is_read_as_it_was_built(calls in calls(), message_id: u32, block in prop_oneof![Just(8usize), Just(16)]) {
        let whole = built(&calls);
        let octets = whole.octets();
        for (message, padded) in [
            (v1::message(header(message_id), built(&calls)), false),
            (v1::padded_message(header(message_id), built(&calls), block), true),
        ] {
            let (read, content) = Header::split(&message).unwrap();
            prop_assert_eq!((read.flags.contains(Flags::ENCRYPTION), read.message_id), (padded, message_id));
            let chain = v1::parse_chain(read.next_payload, content, HEADER_LEN, padded).unwrap();
            prop_assert_eq!((chain.octets, chain.octets.len() + chain.padding), (octets, content.len()));
            prop_assert!(chain.padding < block && !chain.reserved);
            prop_assert_eq!(chain.payloads.len(), calls.len());
            for (call, (raw, payload)) in calls.iter().zip(&chain.payloads) {
                prop_assert!(call.is(raw.kind, payload), "{:?} is not {:?}", payload, call);
            }
            prop_assert_eq!(v1::after_first_payload(read.next_payload, content), Some(whole.after_first()));
            fuzzing::parse_anything(&message);
        }
    }

    #[test]
    fn a_chain_cut_short_is_refused(calls in calls(), padded: bool, cut in any::<prop::sample::Index>()) {
        let (first, octets) = built(&calls).finish();
        let cut = &octets[..cut.index(octets.len())];
        prop_assert!(matches!(v1::parse_chain(first, cut, 0, padded), Err(v1::ChainError::Malformed(_))));
    }

    #[test]
    fn one_wrong_octet_panics_nobody(calls in calls(), at in any::<prop::sample::Index>(), value: u8) {
        let mut message = v1::message(header(0), built(&calls));
        let at = at.index(message.len());
        message[at] = value;
        fuzzing::parse_anything(&message);
    }

    /// Content decrypted with a wrong key: nothing but noise.
    #[test]
    fn noise_panics_nobody(first in 0..23u8, content in vec(any::<u8>(), 0..200)) {
        if let Ok(chain) = v1::parse_chain(PayloadType(first), &content, HEADER_LEN, true) {
            prop_assert_eq!(chain.octets.len() + chain.padding, content.len());
        }
    }
}
