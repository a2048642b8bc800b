//! Values to octets.

use std::net::IpAddr;

use super::{DOI_IPSEC, NatTraversal, PROTO_ISAKMP, Payload, Sa, sa};
use crate::attributes::DataAttribute;
use crate::header::{Flags, HEADER_LEN, Header, SpiPair};
use crate::payloads::{GENERIC_HEADER_LEN, RawPayload};
use crate::registry::{CertEncoding, PayloadType, ProtocolId, V1IdType, V1NotifyType};

/// Builds a payload chain, in the order of the calls.
///
/// Reserved fields are zero (RFC 2408 section 3.2), the DOI of notifications and deletes is IPsec's.
///
/// # Panics
/// Where a payload exceeds 65,535 octets or a counter its field; no datagram can hold such a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainBuilder {
    first: PayloadType,
    /// Where the last payload's generic header is.
    last: Option<usize>,
    /// Where the second payload's generic header is.
    second: Option<usize>,
    octets: Vec<u8>,
}

impl ChainBuilder {
    /// An empty chain.
    pub fn new() -> Self {
        Self::default()
    }

    fn payload(&mut self, kind: PayloadType, fill: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let start = self.octets.len();
        match self.last.and_then(|at| self.octets.get_mut(at)) {
            Some(next) => {
                *next = kind.0;
                self.second.get_or_insert(start);
            }
            None => self.first = kind,
        }
        self.last = Some(start);
        self.octets.extend_from_slice(&[PayloadType::NONE.0, 0, 0, 0]);
        fill(&mut self.octets);
        let length = u16::try_from(self.octets.len() - start).expect("a payload of at most 65,535 octets");
        self.octets[start + 2..start + GENERIC_HEADER_LEN].copy_from_slice(&length.to_be_bytes());
        self
    }

    fn parts(&mut self, kind: PayloadType, parts: &[&[u8]]) -> &mut Self {
        self.payload(kind, |out| parts.iter().for_each(|part| out.extend_from_slice(part)))
    }

    /// Security Association.
    pub fn sa(&mut self, sa: &Sa) -> &mut Self {
        self.payload(PayloadType::V1_SA, |out| sa::write(sa, out))
    }

    /// Key Exchange: the public value.
    pub fn ke(&mut self, data: &[u8]) -> &mut Self {
        self.parts(PayloadType::V1_KE, &[data])
    }

    /// Nonce.
    pub fn nonce(&mut self, nonce: &[u8]) -> &mut Self {
        self.parts(PayloadType::V1_NONCE, &[nonce])
    }

    /// Identification.
    pub fn id(&mut self, kind: V1IdType, protocol: u8, port: u16, data: &[u8]) -> &mut Self {
        let [high, low] = port.to_be_bytes();
        self.parts(PayloadType::V1_ID, &[&[kind.0, protocol, high, low], data])
    }

    /// Certificate.
    pub fn cert(&mut self, encoding: CertEncoding, data: &[u8]) -> &mut Self {
        self.parts(PayloadType::V1_CERT, &[&[encoding.0], data])
    }

    /// Certificate Request; an empty name asks for a certificate of any authority.
    pub fn cert_req(&mut self, encoding: CertEncoding, authority: &[u8]) -> &mut Self {
        self.parts(PayloadType::V1_CERTREQ, &[&[encoding.0], authority])
    }

    /// Hash. Where it covers what follows, as in Quick Mode, write zeros of the right length first, then the rest, and put
    /// the hash of [`after_first`](Self::after_first) in with [`fill_first`](Self::fill_first).
    pub fn hash(&mut self, hash: &[u8]) -> &mut Self {
        self.parts(PayloadType::V1_HASH, &[hash])
    }

    /// Signature.
    pub fn sig(&mut self, signature: &[u8]) -> &mut Self {
        self.parts(PayloadType::V1_SIG, &[signature])
    }

    /// Notification.
    pub fn notify(&mut self, protocol: ProtocolId, spi: &[u8], kind: V1NotifyType, data: &[u8]) -> &mut Self {
        self.notify_of(DOI_IPSEC, protocol, spi, kind, data)
    }

    fn notify_of(&mut self, doi: u32, protocol: ProtocolId, spi: &[u8], kind: V1NotifyType, data: &[u8]) -> &mut Self {
        let spi_size = u8::try_from(spi.len()).expect("an SPI of at most 255 octets");
        let [high, low] = kind.0.to_be_bytes();
        let fields = [protocol.0, spi_size, high, low];
        self.parts(PayloadType::V1_NOTIFY, &[&doi.to_be_bytes(), &fields, spi, data])
    }

    /// A notification about the ISAKMP SA, named by its cookies: INITIAL-CONTACT, R-U-THERE (RFC 3706 section 5.3).
    pub fn notify_isakmp(&mut self, spis: SpiPair, kind: V1NotifyType, data: &[u8]) -> &mut Self {
        self.notify(PROTO_ISAKMP, &[spis.initiator.0, spis.responder.0].concat(), kind, data)
    }

    /// Delete for the ISAKMP SA: its SPI is the two cookies (RFC 2408 section 3.15).
    pub fn delete_isakmp(&mut self, spis: SpiPair) -> &mut Self {
        self.delete_of(DOI_IPSEC, PROTO_ISAKMP, 16, &[spis.initiator.0, spis.responder.0].concat())
    }

    /// Delete for AH or ESP SAs.
    pub fn delete(&mut self, protocol: ProtocolId, spis: &[[u8; 4]]) -> &mut Self {
        self.delete_of(DOI_IPSEC, protocol, 4, spis.as_flattened())
    }

    fn delete_of(&mut self, doi: u32, protocol: ProtocolId, spi_size: u8, spis: &[u8]) -> &mut Self {
        let count = spis.len().checked_div(usize::from(spi_size)).unwrap_or(0);
        let [high, low] = u16::try_from(count).expect("at most 65,535 SPIs").to_be_bytes();
        let fields = [protocol.0, spi_size, high, low];
        self.parts(PayloadType::V1_DELETE, &[&doi.to_be_bytes(), &fields, spis])
    }

    /// Vendor ID.
    pub fn vendor_id(&mut self, octets: &[u8]) -> &mut Self {
        self.parts(PayloadType::V1_VENDOR_ID, &[octets])
    }

    /// NAT Discovery: the hash of an address and port (RFC 3947 section 3.2).
    pub fn nat_d(&mut self, variant: NatTraversal, hash: &[u8]) -> &mut Self {
        self.parts(variant.nat_d(), &[hash])
    }

    /// NAT Original Address (RFC 3947 section 5.2).
    pub fn nat_oa(&mut self, variant: NatTraversal, address: IpAddr) -> &mut Self {
        self.payload(variant.nat_oa(), |out| match address {
            IpAddr::V4(address) => {
                out.extend_from_slice(&[V1IdType::IPV4_ADDR.0, 0, 0, 0]);
                out.extend_from_slice(&address.octets());
            }
            IpAddr::V6(address) => {
                out.extend_from_slice(&[V1IdType::IPV6_ADDR.0, 0, 0, 0]);
                out.extend_from_slice(&address.octets());
            }
        })
    }

    /// Attributes of Mode-Config and XAuth; `kind` is 1 request, 2 reply, 3 set, 4 acknowledgement.
    pub fn attributes(&mut self, kind: u8, identifier: u16, attributes: &[DataAttribute<'_>]) -> &mut Self {
        self.payload(PayloadType::V1_ATTRIBUTES, |out| {
            let [high, low] = identifier.to_be_bytes();
            out.extend_from_slice(&[kind, 0, high, low]);
            attributes.iter().for_each(|attribute| attribute.write(out));
        })
    }

    /// Any payload, its contents as they are: an SA to be echoed, extensions, and tests of what peers may do.
    pub fn raw(&mut self, kind: PayloadType, body: &[u8]) -> &mut Self {
        self.parts(kind, &[body])
    }

    /// A payload as the parser gives it; `raw` tells which of two types NAT-D and NAT-OA have.
    pub fn push(&mut self, raw: &RawPayload<'_>, payload: &Payload<'_>) -> &mut Self {
        match payload {
            Payload::Sa(sa) => self.sa(sa),
            Payload::Ke(data) => self.ke(data),
            Payload::Id(id) => self.id(id.kind, id.protocol, id.port, id.data),
            Payload::Cert { encoding, data } => self.cert(*encoding, data),
            Payload::CertReq { encoding, authority } => self.cert_req(*encoding, authority),
            Payload::Hash(hash) => self.hash(hash),
            Payload::Sig(signature) => self.sig(signature),
            Payload::Nonce(nonce) => self.nonce(nonce),
            Payload::Notify(n) => self.notify_of(n.doi, n.protocol, n.spi, n.kind, n.data),
            Payload::Delete(delete) => self.delete_of(delete.doi, delete.protocol, delete.spi_size, delete.spis),
            Payload::VendorId(octets) => self.vendor_id(octets),
            Payload::Attributes(attributes) => {
                self.attributes(attributes.kind, attributes.identifier, &attributes.attributes)
            }
            Payload::NatD(hash) => self.raw(raw.kind, hash),
            Payload::NatOa(id) => {
                let [high, low] = id.port.to_be_bytes();
                self.parts(raw.kind, &[&[id.kind.0, id.protocol, high, low], id.data])
            }
            Payload::Fragment(fragment) => {
                let [high, low] = fragment.id.to_be_bytes();
                let fields = [high, low, fragment.number, fragment.last.into()];
                self.parts(PayloadType::V1_FRAGMENT, &[&fields, fragment.data])
            }
            Payload::Unknown { kind, body } => self.raw(*kind, body),
        }
    }

    /// The octets after the first payload so far, generic headers included.
    pub fn after_first(&self) -> &[u8] {
        self.second.and_then(|at| self.octets.get(at..)).unwrap_or_default()
    }

    /// Overwrites the body of the first payload, the Hash.
    ///
    /// # Panics
    /// Where `body` has not the length that is reserved for it.
    pub fn fill_first(&mut self, body: &[u8]) -> &mut Self {
        let end = self.second.unwrap_or(self.octets.len());
        self.octets[GENERIC_HEADER_LEN..end].copy_from_slice(body);
        self
    }

    /// Type of the first payload, NONE while the chain is empty.
    pub fn first(&self) -> PayloadType {
        self.first
    }

    /// Octets so far.
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// Whether there is no payload yet.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// The octets so far.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The type of the first payload, and the chain.
    pub fn finish(self) -> (PayloadType, Vec<u8>) {
        (self.first, self.octets)
    }
}

/// A whole message in the clear. Next Payload and Length of `header` are filled in and the Encryption flag is cleared,
/// whatever they are.
///
/// # Panics
/// Where the message exceeds 4 GiB.
pub fn message(header: Header, chain: ChainBuilder) -> Vec<u8> {
    let flags = Flags(header.flags.0 & !Flags::ENCRYPTION.0);
    lay_out(Header { flags, ..header }, chain, 1)
}

/// A whole message to be encrypted: the chain is padded with zeros to a multiple of `block` octets (RFC 2409 appendix B),
/// the Length counts the padding and the Encryption flag is set. What stands from [`HEADER_LEN`] on is still plaintext and
/// must be encrypted in place.
///
/// # Panics
/// Where the message exceeds 4 GiB.
pub fn padded_message(header: Header, chain: ChainBuilder, block: usize) -> Vec<u8> {
    lay_out(Header { flags: header.flags | Flags::ENCRYPTION, ..header }, chain, block.max(1))
}

fn lay_out(header: Header, chain: ChainBuilder, block: usize) -> Vec<u8> {
    let (first, octets) = chain.finish();
    let size = HEADER_LEN + octets.len().next_multiple_of(block);
    let length = u32::try_from(size).expect("a message of less than 4 GiB");
    let mut out = Vec::with_capacity(size);
    Header { next_payload: first, length, ..header }.write(&mut out);
    out.extend_from_slice(&octets);
    out.resize(size, 0);
    out
}

#[cfg(test)]
mod tests {
    use super::super::{AttributeValue, Proposal, Transform, after_first_payload, parse_chain};
    use super::*;
    use crate::header::{IkeSpi, Version};
    use crate::registry::ExchangeType;

    fn header(flags: Flags) -> Header {
        Header {
            spis: SpiPair { initiator: IkeSpi::from(1), responder: IkeSpi::from(2) },
            next_payload: PayloadType::NONE,
            version: Version::V1,
            exchange: ExchangeType::QUICK_MODE,
            flags,
            message_id: 7,
            length: 0,
        }
    }

    fn quick_mode() -> ChainBuilder {
        let transform = Transform {
            number: 1,
            id: 12,
            attributes: vec![(4, AttributeValue::of(1)), (2, AttributeValue::of(90000))],
        };
        let proposal =
            Proposal { number: 1, protocol: ProtocolId::ESP, spi: vec![1, 2, 3, 4], transforms: vec![transform] };
        let mut chain = ChainBuilder::new();
        chain.hash(&[0; 20]).sa(&Sa::new(vec![proposal])).nonce(&[5; 16]);
        chain
    }

    #[test]
    fn a_hash_is_put_in_front_of_what_it_covers() {
        let mut chain = quick_mode();
        let covered = chain.after_first().to_vec();
        assert_eq!(covered.len() + 24, chain.len());
        chain.fill_first(&[9; 20]);
        let (first, octets) = chain.finish();
        assert_eq!(after_first_payload(first, &octets), Some(&covered[..]));
        let parsed = parse_chain(first, &octets, 0, false).unwrap();
        assert_eq!((parsed.hash(), parsed.after(0)), (Some(&[9; 20][..]), Some(&covered[..])));
        let mut alone = ChainBuilder::new();
        assert_eq!(alone.hash(&[0; 2]).fill_first(&[7; 2]).octets(), [0, 0, 0, 6, 7, 7]);
        assert!(alone.after_first().is_empty());
    }

    #[test]
    fn the_length_counts_the_padding() {
        for block in [8, 16] {
            let message = padded_message(header(Flags::NONE), quick_mode(), block);
            let (read, content) = Header::split(&message).unwrap();
            assert_eq!((read.flags, read.next_payload), (Flags::ENCRYPTION, PayloadType::V1_HASH));
            assert_eq!(content.len() % block, 0);
            let chain = parse_chain(read.next_payload, content, HEADER_LEN, true).unwrap();
            assert_eq!(chain.octets, quick_mode().octets());
            assert_eq!(chain.padding, content.len() - chain.octets.len());
        }
        let clear = message(header(Flags::ENCRYPTION | Flags::COMMIT), quick_mode());
        let (read, content) = Header::split(&clear).unwrap();
        assert_eq!((read.flags, content), (Flags::COMMIT, quick_mode().octets()));
    }

    #[test]
    fn deletes_name_the_cookies() {
        let mut chain = ChainBuilder::new();
        let spis = header(Flags::NONE).spis;
        chain.delete_isakmp(spis).notify_isakmp(spis, V1NotifyType::R_U_THERE, &[0, 0, 0, 1]);
        chain.nat_oa(NatTraversal::Draft, IpAddr::from([192, 0, 2, 1]));
        let (first, octets) = chain.finish();
        let chain = parse_chain(first, &octets, 0, false).unwrap();
        let spi = chain.deletes().next().and_then(|delete| delete.iter().next()).unwrap();
        assert_eq!(spi, [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(chain.notify(V1NotifyType::R_U_THERE).unwrap().spi, spi);
        assert_eq!(chain.nat_oa().next().unwrap().data, [192, 0, 2, 1]);
        assert_eq!(chain.payloads[2].0.kind, PayloadType::V1_NAT_OA_DRAFT);
    }
}
