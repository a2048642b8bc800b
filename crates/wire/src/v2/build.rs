//! Values to octets.

use super::{Payload, Proposal, TrafficSelector, sa, ts};
use crate::header::{HEADER_LEN, Header};
use crate::payloads::GENERIC_HEADER_LEN;
use crate::registry::{
    AuthMethod, CertEncoding, CpAttribute, CpType, IdType, KeyExchangeId, NotifyType, PayloadType, ProtocolId,
};

/// Builds a payload chain, in the order of the calls.
///
/// Reserved fields are zero and the Critical bit is clear (RFC 7296 section 3.2), except with [`ChainBuilder::raw`].
///
/// # Panics
/// Where a payload exceeds 65,535 octets or a counter its field; no datagram can hold such a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainBuilder {
    first: PayloadType,
    /// Where the last payload's generic header is.
    last: Option<usize>,
    octets: Vec<u8>,
    /// See [`ChainBuilder::at_least`].
    least: u8,
    /// See [`ChainBuilder::in_front`].
    in_front: Option<(PayloadType, Vec<u8>)>,
}

impl ChainBuilder {
    /// An empty chain.
    pub fn new() -> Self {
        Self::default()
    }

    fn payload(&mut self, kind: PayloadType, critical: bool, fill: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        match self.last.and_then(|at| self.octets.get_mut(at)) {
            Some(next) => *next = kind.0,
            None => self.first = kind,
        }
        let start = self.octets.len();
        self.last = Some(start);
        self.octets.extend_from_slice(&[PayloadType::NONE.0, if critical { 0x80 } else { 0 }, 0, 0]);
        fill(&mut self.octets);
        let length = u16::try_from(self.octets.len() - start).expect("a payload of at most 65,535 octets");
        self.octets[start + 2..start + GENERIC_HEADER_LEN].copy_from_slice(&length.to_be_bytes());
        self
    }

    fn parts(&mut self, kind: PayloadType, parts: &[&[u8]]) -> &mut Self {
        self.payload(kind, false, |out| parts.iter().for_each(|part| out.extend_from_slice(part)))
    }

    /// In an Encrypted payload: as much padding as it takes for payloads, padding and Pad Length to be this many octets,
    /// which RFC 7296 section 3.14 leaves to the sender.
    pub fn at_least(&mut self, octets: u8) -> &mut Self {
        self.least = octets;
        self
    }

    /// Where the chain goes into an Encrypted payload: this payload stands in front of that one, authenticated and not
    /// encrypted (RFC 8019 section 7.2.2); with fragments in front of the first (RFC 7383 section 2.5.3).
    pub fn in_front(&mut self, kind: PayloadType, body: &[u8]) -> &mut Self {
        self.in_front = Some((kind, body.to_vec()));
        self
    }

    /// What [`ChainBuilder::in_front`] said.
    pub(super) fn taken_in_front(&mut self) -> Option<(PayloadType, Vec<u8>)> {
        self.in_front.take()
    }

    /// What [`ChainBuilder::at_least`] said.
    pub(super) fn least(&self) -> usize {
        self.least.into()
    }

    /// Security Association.
    pub fn sa(&mut self, proposals: &[Proposal]) -> &mut Self {
        self.payload(PayloadType::SA, false, |out| sa::write(proposals, out))
    }

    /// Key Exchange.
    pub fn ke(&mut self, method: KeyExchangeId, data: &[u8]) -> &mut Self {
        let [high, low] = method.0.to_be_bytes();
        self.parts(PayloadType::KE, &[&[high, low, 0, 0], data])
    }

    /// Nonce.
    pub fn nonce(&mut self, nonce: &[u8]) -> &mut Self {
        self.parts(PayloadType::NONCE, &[nonce])
    }

    /// Identification - Initiator.
    pub fn id_i(&mut self, kind: IdType, data: &[u8]) -> &mut Self {
        self.parts(PayloadType::IDI, &[&[kind.0, 0, 0, 0], data])
    }

    /// Identification - Responder.
    pub fn id_r(&mut self, kind: IdType, data: &[u8]) -> &mut Self {
        self.parts(PayloadType::IDR, &[&[kind.0, 0, 0, 0], data])
    }

    /// Authentication.
    pub fn auth(&mut self, method: AuthMethod, data: &[u8]) -> &mut Self {
        self.parts(PayloadType::AUTH, &[&[method.0, 0, 0, 0], data])
    }

    /// Notify. Where there is no SPI the protocol is written as zero (RFC 7296 section 3.10).
    pub fn notify(&mut self, protocol: ProtocolId, spi: &[u8], kind: NotifyType, data: &[u8]) -> &mut Self {
        let protocol = if spi.is_empty() { ProtocolId::NONE } else { protocol };
        self.notify_as_is(protocol, spi, kind, data)
    }

    fn notify_as_is(&mut self, protocol: ProtocolId, spi: &[u8], kind: NotifyType, data: &[u8]) -> &mut Self {
        let spi_size = u8::try_from(spi.len()).expect("an SPI of at most 255 octets");
        let [high, low] = kind.0.to_be_bytes();
        self.parts(PayloadType::NOTIFY, &[&[protocol.0, spi_size, high, low], spi, data])
    }

    /// Delete for the IKE SA itself (RFC 7296 section 3.11).
    pub fn delete_ike(&mut self) -> &mut Self {
        self.delete_octets(ProtocolId::IKE, 0, &[])
    }

    /// Delete for AH or ESP SAs.
    pub fn delete(&mut self, protocol: ProtocolId, spis: &[[u8; 4]]) -> &mut Self {
        self.delete_octets(protocol, 4, spis.as_flattened())
    }

    fn delete_octets(&mut self, protocol: ProtocolId, spi_size: u8, spis: &[u8]) -> &mut Self {
        let count = spis.len().checked_div(usize::from(spi_size)).unwrap_or(0);
        let [high, low] = u16::try_from(count).expect("at most 65,535 SPIs").to_be_bytes();
        self.parts(PayloadType::DELETE, &[&[protocol.0, spi_size, high, low], spis])
    }

    /// Vendor ID.
    pub fn vendor_id(&mut self, octets: &[u8]) -> &mut Self {
        self.parts(PayloadType::VENDOR_ID, &[octets])
    }

    /// Traffic Selector - Initiator.
    pub fn ts_i(&mut self, selectors: &[TrafficSelector]) -> &mut Self {
        self.payload(PayloadType::TSI, false, |out| ts::write(selectors, out))
    }

    /// Traffic Selector - Responder.
    pub fn ts_r(&mut self, selectors: &[TrafficSelector]) -> &mut Self {
        self.payload(PayloadType::TSR, false, |out| ts::write(selectors, out))
    }

    /// Certificate.
    pub fn cert(&mut self, encoding: CertEncoding, data: &[u8]) -> &mut Self {
        self.parts(PayloadType::CERT, &[&[encoding.0], data])
    }

    /// Certificate Request: SHA-1 hashes of public keys, 20 octets each (RFC 7296 section 3.7).
    pub fn cert_req(&mut self, encoding: CertEncoding, authorities: &[u8]) -> &mut Self {
        self.parts(PayloadType::CERTREQ, &[&[encoding.0], authorities])
    }

    /// Configuration. An empty value asks for the attribute.
    pub fn cp(&mut self, kind: CpType, attributes: &[(CpAttribute, &[u8])]) -> &mut Self {
        self.payload(PayloadType::CP, false, |out| {
            out.extend_from_slice(&[kind.0, 0, 0, 0]);
            for (attribute, value) in attributes {
                let length = u16::try_from(value.len()).expect("an attribute of at most 65,535 octets");
                out.extend_from_slice(&(attribute.0 & 0x7fff).to_be_bytes());
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(value);
            }
        })
    }

    /// Extensible Authentication: one EAP message.
    pub fn eap(&mut self, message: &[u8]) -> &mut Self {
        self.parts(PayloadType::EAP, &[message])
    }

    /// Puzzle Solution (RFC 8019 section 8.2).
    pub fn puzzle_solution(&mut self, keys: &[u8]) -> &mut Self {
        self.raw(PayloadType::PS, false, keys)
    }

    /// Any payload, its contents as they are: for extensions, and for tests of what peers may do.
    pub fn raw(&mut self, kind: PayloadType, critical: bool, body: &[u8]) -> &mut Self {
        self.payload(kind, critical, |out| out.extend_from_slice(body))
    }

    /// A payload as the parser gives it. Attributes of transforms and traffic selectors that were not understood are
    /// lost. An Encrypted or Encrypted Fragment payload is written with its content and must be the last.
    pub fn push(&mut self, payload: &Payload<'_>) -> &mut Self {
        match payload {
            Payload::Sa(proposals) => self.sa(proposals),
            Payload::Ke(ke) => self.ke(ke.method, ke.data),
            Payload::IdI(id) => self.id_i(id.kind, id.data),
            Payload::IdR(id) => self.id_r(id.kind, id.data),
            Payload::Cert { encoding, data } => self.cert(*encoding, data),
            Payload::CertReq { encoding, authorities } => self.cert_req(*encoding, authorities),
            Payload::Auth { method, data } => self.auth(*method, data),
            Payload::Nonce(nonce) => self.nonce(nonce),
            Payload::Notify(notify) => self.notify_as_is(notify.protocol, notify.spi, notify.kind, notify.data),
            Payload::Delete(delete) => self.delete_octets(delete.protocol, delete.spi_size, delete.spis),
            Payload::VendorId(octets) => self.vendor_id(octets),
            Payload::TsI(selectors) => self.ts_i(selectors),
            Payload::TsR(selectors) => self.ts_r(selectors),
            Payload::Cp { kind, attributes } => self
                .cp(*kind, &attributes.iter().map(|attribute| (attribute.kind, attribute.value)).collect::<Vec<_>>()),
            Payload::Eap(message) => self.eap(message),
            Payload::PuzzleSolution(keys) => self.puzzle_solution(keys),
            Payload::Encrypted { next, content, .. } => {
                self.raw(PayloadType::SK, false, content);
                self.set_last_next(*next)
            }
            Payload::EncryptedFragment { next, number, total, content, .. } => {
                self.parts(PayloadType::SKF, &[&number.to_be_bytes(), &total.to_be_bytes(), content]);
                self.set_last_next(*next)
            }
            Payload::Unknown { kind, body } => self.raw(*kind, false, body),
        }
    }

    /// Sets the Next Payload of the last payload, which for SK and SKF is that of the content.
    fn set_last_next(&mut self, next: PayloadType) -> &mut Self {
        if let Some(octet) = self.last.and_then(|at| self.octets.get_mut(at)) {
            *octet = next.0;
        }
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

    /// The type of the first payload, and the chain.
    pub fn finish(self) -> (PayloadType, Vec<u8>) {
        (self.first, self.octets)
    }
}

/// A whole message in the clear. Next Payload and Length of `header` are filled in, whatever they are.
///
/// # Panics
/// Where the message exceeds 4 GiB.
pub fn message(header: Header, chain: ChainBuilder) -> Vec<u8> {
    let (first, octets) = chain.finish();
    let length = u32::try_from(HEADER_LEN + octets.len()).expect("a message of less than 4 GiB");
    let mut out = Vec::with_capacity(HEADER_LEN + octets.len());
    Header { next_payload: first, length, ..header }.write(&mut out);
    out.extend_from_slice(&octets);
    out
}
