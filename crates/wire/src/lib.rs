//! Bytes to messages and back: ISAKMP and IKEv2 headers, payload chains, attributes, registries, ESP headers, and the
//! grammar of the exchanges.
//!
//! Nothing here trusts its input: every length is checked, every loop consumes octets, and what is refused is refused
//! with the octet, the field and the reason ([`ParseError`]). Nothing here decides policy either.

pub mod attributes;
mod error;
pub mod esp;
pub mod fuzzing;
pub mod grammar;
mod header;
mod payloads;
pub mod registry;
mod secret;
pub mod v1;
pub mod v2;

pub use error::{Field, ParseError, Why};
pub use header::{Flags, HEADER_LEN, Header, IkeSpi, SpiPair, Version};
pub use payloads::{GENERIC_HEADER_LEN, MAX_PAYLOADS, Payloads, RawPayload};
pub use registry::{
    AhTransformId, AuthAlgorithm, EncapsulationMode, EspTransformId, IpcompTransformId, IpsecAttribute,
    IsakmpTransformId, LifeType, OakleyAttribute, OakleyAuthMethod, OakleyEncryption, OakleyGroup, OakleyHash,
    V1ConfigAttribute, V1IdType, V1NotifyType, XauthStatus, XauthType,
};
pub use registry::{
    AuthMethod, CertEncoding, CpAttribute, CpType, EncryptionId, EsnId, ExchangeType, HashAlgorithm, IdType,
    IntegrityId, KeyExchangeId, NotifyType, PayloadType, PrfId, ProtocolId, TransformType, TsType,
};
pub use secret::Secret;
