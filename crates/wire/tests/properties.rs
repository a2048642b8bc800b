//! What every parser promises, on octets nobody wrote and on messages we wrote.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use wire::v2::{self, ChainBuilder, Payload, Proposal, TrafficSelector, Transform};
use wire::*;

/// One call of the builder.
#[derive(Clone, Debug)]
enum Call {
    Sa(Vec<Proposal>),
    Ke(u16, Vec<u8>),
    Nonce(Vec<u8>),
    IdI(u8, Vec<u8>),
    IdR(u8, Vec<u8>),
    Auth(u8, Vec<u8>),
    Notify(Option<[u8; 4]>, u16, Vec<u8>),
    DeleteIke,
    Delete(Vec<[u8; 4]>),
    VendorId(Vec<u8>),
    TsI(Vec<TrafficSelector>),
    TsR(Vec<TrafficSelector>),
    Cert(u8, Vec<u8>),
    CertReq(u8, Vec<u8>),
    Cp(u8, Vec<(u16, Vec<u8>)>),
    Eap(u8, Vec<u8>),
    PuzzleSolution(Vec<u32>),
}

impl Call {
    fn build(&self, chain: &mut ChainBuilder) {
        match self {
            Self::Sa(proposals) => chain.sa(proposals),
            Self::Ke(method, data) => chain.ke(KeyExchangeId(*method), data),
            Self::Nonce(nonce) => chain.nonce(nonce),
            Self::IdI(kind, data) => chain.id_i(IdType(*kind), data),
            Self::IdR(kind, data) => chain.id_r(IdType(*kind), data),
            Self::Auth(method, data) => chain.auth(AuthMethod(*method), data),
            Self::Notify(spi, kind, data) => {
                chain.notify(ProtocolId::ESP, spi.as_ref().map_or(&[], <[u8; 4]>::as_slice), NotifyType(*kind), data)
            }
            Self::DeleteIke => chain.delete_ike(),
            Self::Delete(spis) => chain.delete(ProtocolId::ESP, spis),
            Self::VendorId(octets) => chain.vendor_id(octets),
            Self::TsI(selectors) => chain.ts_i(selectors),
            Self::TsR(selectors) => chain.ts_r(selectors),
            Self::Cert(encoding, data) => chain.cert(CertEncoding(*encoding), data),
            Self::CertReq(encoding, data) => chain.cert_req(CertEncoding(*encoding), data),
            Self::Cp(kind, attributes) => {
                let attributes: Vec<_> =
                    attributes.iter().map(|(kind, value)| (CpAttribute(*kind), &value[..])).collect();
                chain.cp(CpType(*kind), &attributes)
            }
            Self::Eap(code, data) => chain.eap(&eap(*code, data)),
            Self::PuzzleSolution(keys) => chain.puzzle_solution(&octets_of(keys)),
        };
    }

    /// Whether `payload` is what this call should have written, told without the writer's help.
    fn is(&self, payload: &Payload<'_>) -> bool {
        match (self, payload) {
            (Self::Sa(ours), Payload::Sa(read)) => ours == read,
            (Self::Ke(method, data), Payload::Ke(ke)) => (*method, &data[..]) == (ke.method.0, ke.data),
            (Self::Nonce(ours), Payload::Nonce(read)) | (Self::VendorId(ours), Payload::VendorId(read)) => ours == read,
            (Self::IdI(kind, data), Payload::IdI(id)) | (Self::IdR(kind, data), Payload::IdR(id)) => {
                (*kind, &data[..]) == (id.kind.0, id.data)
            }
            (Self::Auth(ours, octets), Payload::Auth { method, data }) => (*ours, &octets[..]) == (method.0, *data),
            (Self::Notify(spi, kind, data), Payload::Notify(notify)) => {
                let protocol = if spi.is_some() { ProtocolId::ESP } else { ProtocolId::NONE };
                let spi = spi.as_ref().map_or(&[][..], <[u8; 4]>::as_slice);
                (protocol, spi, *kind, &data[..]) == (notify.protocol, notify.spi, notify.kind.0, notify.data)
            }
            (Self::DeleteIke, Payload::Delete(delete)) => {
                delete.protocol == ProtocolId::IKE && delete.iter().count() == 0
            }
            (Self::Delete(spis), Payload::Delete(delete)) => {
                delete.protocol == ProtocolId::ESP && delete.iter().eq(spis.iter().map(<[u8; 4]>::as_slice))
            }
            (Self::TsI(ours), Payload::TsI(read)) | (Self::TsR(ours), Payload::TsR(read)) => ours == read,
            (Self::Cert(ours, octets), Payload::Cert { encoding, data }) => (*ours, &octets[..]) == (encoding.0, *data),
            (Self::CertReq(ours, octets), Payload::CertReq { encoding, authorities }) => {
                (*ours, &octets[..]) == (encoding.0, *authorities)
            }
            (Self::Cp(ours, octets), Payload::Cp { kind, attributes }) => {
                *ours == kind.0
                    && attributes
                        .iter()
                        .map(|a| (a.kind.0, a.value))
                        .eq(octets.iter().map(|(kind, value)| (*kind, &value[..])))
            }
            (Self::Eap(code, data), Payload::Eap(read)) => eap(*code, data) == *read,
            (Self::PuzzleSolution(keys), Payload::PuzzleSolution(read)) => octets_of(keys) == *read,
            _ => false,
        }
    }
}

fn octets_of(keys: &[u32]) -> Vec<u8> {
    keys.iter().flat_map(|key| key.to_be_bytes()).collect()
}

fn eap(code: u8, data: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(data.len() + 4).unwrap().to_be_bytes();
    [&[code, 1, high, low], data].concat()
}

fn octets(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..max)
}

fn transform() -> impl Strategy<Value = Transform> {
    (any::<u8>(), any::<u16>(), option::of(any::<u16>())).prop_map(|(kind, id, key_length)| Transform {
        kind: TransformType(kind),
        id,
        key_length,
        unknown_attribute: false,
    })
}

fn proposals() -> impl Strategy<Value = Vec<Proposal>> {
    let protocol = prop_oneof![Just((ProtocolId::IKE, 0)), Just((ProtocolId::IKE, 8)), Just((ProtocolId::ESP, 4))];
    vec((protocol, any::<[u8; 8]>(), vec(transform(), 1..6)), 1..5).prop_map(|list| {
        list.into_iter()
            .zip(1..)
            .map(|(((protocol, size), spi, transforms), number)| Proposal {
                number,
                protocol,
                spi: spi[..size].to_vec(),
                transforms,
            })
            .collect()
    })
}

fn selector() -> impl Strategy<Value = TrafficSelector> {
    let v4 = any::<[u32; 2]>().prop_map(|[a, b]| {
        let (start, end) = (Ipv4Addr::from(a.min(b)), Ipv4Addr::from(a.max(b)));
        (IpAddr::V4(start), IpAddr::V4(end))
    });
    let v6 = any::<[u128; 2]>().prop_map(|[a, b]| {
        let (start, end) = (Ipv6Addr::from(a.min(b)), Ipv6Addr::from(a.max(b)));
        (IpAddr::V6(start), IpAddr::V6(end))
    });
    let ports = prop_oneof![
        any::<[u16; 2]>().prop_map(|[a, b]| (a.min(b), a.max(b))),
        Just((u16::MAX, 0)) // OPAQUE
    ];
    (any::<u8>(), ports, prop_oneof![v4, v6]).prop_map(|(protocol, (start_port, end_port), (start, end))| {
        TrafficSelector { protocol, start_port, end_port, start, end }
    })
}

fn id() -> impl Strategy<Value = (u8, Vec<u8>)> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|address| (1, address.to_vec())),
        any::<[u8; 16]>().prop_map(|address| (5, address.to_vec())),
        (prop_oneof![2..4u8, 9..14u8], octets(60)),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        proposals().prop_map(Call::Sa),
        (any::<u16>(), vec(any::<u8>(), 1..200)).prop_map(|(method, data)| Call::Ke(method, data)),
        vec(any::<u8>(), 16..=256).prop_map(Call::Nonce),
        id().prop_map(|(kind, data)| Call::IdI(kind, data)),
        id().prop_map(|(kind, data)| Call::IdR(kind, data)),
        (any::<u8>(), octets(80)).prop_map(|(method, data)| Call::Auth(method, data)),
        (option::of(any::<[u8; 4]>()), any::<u16>(), octets(40))
            .prop_map(|(spi, kind, data)| Call::Notify(spi, kind, data)),
        Just(Call::DeleteIke),
        vec(any::<[u8; 4]>(), 0..5).prop_map(Call::Delete),
        octets(40).prop_map(Call::VendorId),
        vec(selector(), 1..5).prop_map(Call::TsI),
        vec(selector(), 1..5).prop_map(Call::TsR),
        (any::<u8>(), octets(80)).prop_map(|(encoding, data)| Call::Cert(encoding, data)),
        (any::<u8>(), octets(80)).prop_map(|(encoding, data)| Call::CertReq(encoding, data)),
        (any::<u8>(), vec((0..0x8000u16, octets(20)), 0..6)).prop_map(|(kind, list)| Call::Cp(kind, list)),
        (any::<u8>(), octets(40)).prop_map(|(code, data)| Call::Eap(code, data)),
        vec(any::<u32>(), 1..9).prop_map(Call::PuzzleSolution),
    ]
}

/// Calls that make a chain without a second payload where one is allowed.
fn calls() -> impl Strategy<Value = Vec<Call>> {
    vec(call(), 0..14).prop_map(|calls| {
        let mut seen = std::collections::HashSet::new();
        let repeatable = |call: &Call| {
            use Call::*;
            matches!(call, Notify(..) | DeleteIke | Delete(_) | VendorId(_) | Cert(..) | CertReq(..))
        };
        calls.into_iter().filter(|call| repeatable(call) || seen.insert(std::mem::discriminant(call))).collect()
    })
}

fn built(calls: &[Call]) -> ChainBuilder {
    let mut chain = ChainBuilder::new();
    calls.iter().for_each(|call| call.build(&mut chain));
    chain
}

fn header() -> impl Strategy<Value = Header> {
    (any::<[u64; 2]>(), any::<(u8, u8, u32)>()).prop_map(|([initiator, responder], (exchange, flags, message_id))| {
        Header {
            spis: SpiPair { initiator: initiator.into(), responder: responder.into() },
            next_payload: PayloadType::NONE,
            version: Version::V2,
            exchange: ExchangeType(exchange),
            flags: Flags(flags),
            message_id,
            length: 0,
        }
    })
}

proptest! {
    #[test]
    fn arbitrary_octets_panic_nobody(data in vec(any::<u8>(), 0..400)) {
        fuzzing::parse_anything(&data);
    }

    /// Octets that look like a chain of payloads, so that the parsers of the contents have something to do.
    #[test]
    fn plausible_octets_panic_nobody(
        payloads in vec((prop_oneof![1..23u8, 33..55u8], vec(prop_oneof![0..9u8, any::<u8>()], 0..60), -3i32..4), 1..20),
        header in header(),
        v1 in any::<bool>(),
    ) {
        let mut chain = Vec::new();
        for (index, (_, body, slip)) in payloads.iter().enumerate() {
            let next = payloads.get(index + 1).map_or(0, |payload| payload.0);
            // Now and then a length is a little wrong.
            let slip = if slip.abs() == 3 { slip.signum() } else { 0 };
            let length = (body.len() as i32 + 4 + slip) as u16;
            chain.extend_from_slice(&[next, 0]);
            chain.extend_from_slice(&length.to_be_bytes());
            chain.extend_from_slice(body);
        }
        let mut datagram = Vec::new();
        let version = if v1 { Version::V1 } else { Version::V2 };
        let length = (HEADER_LEN + chain.len()) as u32;
        Header { next_payload: PayloadType(payloads[0].0), version, length, ..header }.write(&mut datagram);
        datagram.extend_from_slice(&chain);
        let depth = fuzzing::parse_anything(&datagram);
        prop_assert!(depth.header);
    }

    #[test]
    fn a_chain_is_read_as_it_was_built(calls in calls(), header in header()) {
        let message = v2::message(header, built(&calls));
        let (read, chain) = Header::split(&message).unwrap();
        prop_assert_eq!(Header { next_payload: PayloadType::NONE, length: 0, ..read }, header);
        let chain = v2::parse_chain(read.next_payload, chain, HEADER_LEN).unwrap();
        prop_assert_eq!(chain.payloads.len(), calls.len());
        for (call, (kind, payload)) in calls.iter().zip(&chain.payloads) {
            prop_assert_eq!(*kind, payload.kind());
            prop_assert!(call.is(payload), "{:?} is not {:?}", payload, call);
        }
        prop_assert!(chain.skipped.is_empty() && chain.skipped_selectors == 0);
        let depth = fuzzing::parse_anything(&message);
        prop_assert!(depth.header && depth.payloads >= calls.len());
    }

    #[test]
    fn a_chain_cut_short_is_refused(calls in calls(), cut in any::<prop::sample::Index>()) {
        // One payload at least, so that there is something to cut.
        let mut chain = built(&calls);
        let (first, octets) = chain.vendor_id(b"").clone().finish();
        let cut = &octets[..cut.index(octets.len())];
        prop_assert!(matches!(v2::parse_chain(first, cut, 0), Err(v2::ChainError::Malformed(_))));
    }

    #[test]
    fn one_wrong_octet_panics_nobody(calls in calls(), header in header(), at in any::<prop::sample::Index>(), value: u8) {
        let mut message = v2::message(header, built(&calls));
        let at = at.index(message.len());
        message[at] = value;
        fuzzing::parse_anything(&message);
    }

    #[test]
    fn steps_are_linear_in_octets(first: u8, data in vec(prop_oneof![Just(0u8), Just(4), any::<u8>()], 0..2000)) {
        let steps = Payloads::new(PayloadType(first), &data, 0).count();
        prop_assert!(steps <= data.len() / 4 + 1, "{} steps for {} octets", steps, data.len());
        prop_assert!(steps <= MAX_PAYLOADS + 1);
    }

    #[test]
    fn what_is_laid_out_for_sealing_is_read_back(
        calls in calls(), header in header(), iv in 0..17usize, block in prop_oneof![Just(1usize), Just(4), Just(8), Just(16)],
        icv in 0..33usize, max_len in 120..1500usize,
    ) {
        let chain = built(&calls);
        let layouts = v2::seal_fragment_layouts(header, chain.clone(), iv, block, icv, max_len).unwrap();
        let mut content = Vec::new();
        for layout in &layouts {
            prop_assert!(layout.message.len() <= max_len);
            prop_assert_eq!(layout.body.len() % block, 0);
            prop_assert_eq!((layout.iv_at, layout.iv_at + iv), (layout.aad_len, layout.body.start));
            prop_assert_eq!((layout.icv.start, layout.icv.len()), (layout.body.end, icv));
            let message = v2::Message::parse(&layout.message).unwrap();
            let [Payload::Encrypted { offset, .. } | Payload::EncryptedFragment { offset, .. }] = message.payloads[..] else {
                panic!("one encrypted payload")
            };
            prop_assert_eq!(offset, layout.iv_at);
            content.extend_from_slice(v2::strip_padding(&layout.message[layout.body.clone()]).unwrap());
        }
        prop_assert_eq!(content, chain.finish().1);
    }
}
