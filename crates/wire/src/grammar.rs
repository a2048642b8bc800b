//! Which payloads make which message: one row per message of IKEv2 (RFC 7296 sections 1.2 to 1.4 and appendix C) and of
//! IKEv1 (RFC 2409 section 5).
//!
//! Validation, diagnosis and documentation read the same rows. A row says which payloads the message must and may have;
//! Notify and Vendor ID payloads may be in any message (RFC 7296 sections 3.10 and 3.12, RFC 2408 sections 3.14 and 3.16),
//! and payloads that are not understood were judged before: in IKEv2 by their Critical bit (RFC 7296 section 2.5), in
//! IKEv1 all of them are refused.

mod v1;

use std::fmt;

use crate::header::{Header, Version};
use crate::registry::{ExchangeType, PayloadType};

/// A set of payload types. The types from 64 on, private use among them, share one bit.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct PayloadSet(u64);

impl PayloadSet {
    /// No payload.
    pub const EMPTY: Self = Self(0);

    /// The set of these types.
    pub const fn of(kinds: &[PayloadType]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < kinds.len() {
            bits |= Self::bit(kinds[index]);
            index += 1;
        }
        Self(bits)
    }

    /// Bit 0 would be "no next payload", which is never in a message: the types from 64 on are folded there.
    const fn bit(kind: PayloadType) -> u64 {
        if kind.0 < 64 { 1 << kind.0 } else { 1 }
    }

    /// Adds a type.
    pub const fn insert(&mut self, kind: PayloadType) {
        self.0 |= Self::bit(kind);
    }

    /// Whether the type is in the set; true for every type from 64 on if one of them is.
    pub const fn contains(self, kind: PayloadType) -> bool {
        self.0 & Self::bit(kind) != 0
    }

    /// Whether every type of `other` is in the set.
    pub const fn contains_all(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Types in either set.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Types in both sets.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Types in this set and not in `other`.
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are; the types from 64 on count as one.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The types in numerical order, those from 64 on last and as type 255.
    pub fn iter(self) -> impl Iterator<Item = PayloadType> {
        (1..64u8).chain([255]).map(PayloadType).filter(move |kind| self.contains(*kind))
    }

    /// The set in RFC notation, the nonce named `Ni` or `Nr` after the sender.
    pub fn from_sender(self, sender: Sender) -> impl fmt::Display {
        Notation { set: self, nonce: if sender == Sender::Initiator { "Ni" } else { "Nr" } }
    }
}

impl FromIterator<PayloadType> for PayloadSet {
    fn from_iter<I: IntoIterator<Item = PayloadType>>(kinds: I) -> Self {
        let mut set = Self::EMPTY;
        kinds.into_iter().for_each(|kind| set.insert(kind));
        set
    }
}

struct Notation {
    set: PayloadSet,
    nonce: &'static str,
}

impl fmt::Display for Notation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, kind) in self.set.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            match kind {
                PayloadType::NONCE | PayloadType::V1_NONCE => f.write_str(self.nonce)?,
                PayloadType(255) => f.write_str("(other)")?,
                kind => match kind.notation() {
                    Some(name) => f.write_str(name)?,
                    None => write!(f, "({})", kind.0)?,
                },
            }
        }
        Ok(())
    }
}

/// RFC notation, such as `SA, KE, Ni`; the nonce is `Ni` whoever sent it.
impl fmt::Display for PayloadSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.from_sender(Sender::Initiator).fmt(f)
    }
}

impl fmt::Debug for PayloadSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PayloadSet({self})")
    }
}

/// Who sends a message, by role in its exchange: the initiator of the exchange sends the request. Once the IKE SA is up,
/// either end may be that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// Sends the request; in IKEv1, the first message and every other one after it.
    Initiator,
    /// Sends the response; in IKEv1, the second message and every other one after it.
    Responder,
}

impl Sender {
    /// Who sent an IKEv2 message.
    pub fn of(header: &Header) -> Self {
        if header.is_response() { Self::Responder } else { Self::Initiator }
    }
}

/// Whether the payloads are inside an Encrypted payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protection {
    /// In the clear.
    Clear,
    /// Inside an Encrypted payload, or several Encrypted Fragment payloads; in IKEv1, behind an encrypted header flag.
    Encrypted,
}

/// Names of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RuleId {
    /// The first message.
    IkeSaInitRequest,
    /// The answer that makes the IKE SA's keys.
    IkeSaInitResponse,
    /// The answer that asks for another try (COOKIE, INVALID_KE_PAYLOAD) or refuses.
    IkeSaInitRefusal,
    /// Identity, proof and the first Child SA.
    IkeAuthRequest,
    /// Identity and proof without a Child SA (RFC 6023).
    IkeAuthChildlessRequest,
    /// The same from the responder.
    IkeAuthResponse,
    /// The IKE SA is up without a Child SA: it is refused (RFC 7296 section 1.2), or none was asked for (RFC 6023).
    IkeAuthChildRefusal,
    /// Authentication failed, or the request was refused as a whole.
    IkeAuthFailure,
    /// A new Child SA, or the rekeying of one.
    CreateChildSaRequest,
    /// The Child SA as the responder narrowed it.
    CreateChildSaResponse,
    /// Rekeying of the IKE SA.
    CreateChildSaIkeRekeyRequest,
    /// The answer to the rekeying of the IKE SA.
    CreateChildSaIkeRekeyResponse,
    /// Either CREATE_CHILD_SA request is refused.
    CreateChildSaRefusal,
    /// Deletes, notifications, configuration, or a sign of life.
    InformationalRequest,
    /// The answer to any INFORMATIONAL request.
    InformationalResponse,
    /// IKEv1 main mode: proposals.
    MainMode1,
    /// IKEv1 main mode: the choice.
    MainMode2,
    /// IKEv1 main mode: the initiator's key exchange.
    MainMode3,
    /// IKEv1 main mode: the responder's key exchange.
    MainMode4,
    /// IKEv1 main mode: the initiator's identity, proved by a pre-shared key.
    MainMode5,
    /// IKEv1 main mode: the initiator's identity, proved by a signature.
    MainMode5Signature,
    /// IKEv1 main mode: the responder's identity, proved by a pre-shared key.
    MainMode6,
    /// IKEv1 main mode: the responder's identity, proved by a signature.
    MainMode6Signature,
    /// IKEv1 aggressive mode: all the initiator has but its proof.
    AggressiveMode1,
    /// IKEv1 aggressive mode: the responder's half, proved by a pre-shared key.
    AggressiveMode2,
    /// IKEv1 aggressive mode: the responder's half, proved by a signature.
    AggressiveMode2Signature,
    /// IKEv1 aggressive mode: the initiator's proof by a pre-shared key, in the clear.
    AggressiveMode3,
    /// IKEv1 aggressive mode: the initiator's proof by a pre-shared key, encrypted.
    AggressiveMode3Encrypted,
    /// IKEv1 aggressive mode: the initiator's signature, in the clear.
    AggressiveMode3Signature,
    /// IKEv1 aggressive mode: the initiator's signature, encrypted.
    AggressiveMode3SignatureEncrypted,
    /// IKEv1 quick mode: a pair of IPsec SAs is asked for.
    QuickMode1,
    /// IKEv1 quick mode: the answer.
    QuickMode2,
    /// IKEv1 quick mode: the initiator has the answer.
    QuickMode3,
    /// IKEv1 quick mode: CONNECTED, where the Commit bit was set.
    QuickMode4,
    /// IKEv1: deletes and notifications under an ISAKMP SA.
    InformationalV1,
    /// IKEv1: a notification before there are keys.
    InformationalV1Clear,
    /// IKEv1: a delete in the clear.
    InformationalV1ClearDelete,
    /// IKEv1: a request or set of XAuth or Mode-Config.
    TransactionV1,
    /// IKEv1: a reply or acknowledgement of XAuth or Mode-Config.
    TransactionV1Reply,
}

/// One message: what it is, what it is made of, and where the reader is told so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The row's name.
    pub id: RuleId,
    /// Protocol version.
    pub version: Version,
    /// Exchange type.
    pub exchange: ExchangeType,
    /// Position in the exchange: in IKEv2, 1 is the request, 2 the response.
    pub step: u8,
    /// Who sends it.
    pub sender: Sender,
    /// Whether it is encrypted.
    pub protection: Protection,
    /// Payloads that must be there.
    pub required: PayloadSet,
    /// Payloads that may be there besides.
    pub optional: PayloadSet,
    /// What an end that waits for this message is doing, in one line.
    pub story: &'static str,
    /// The message in the notation of RFC 7296 or RFC 2409, where `HDR*` says that what follows is encrypted.
    pub notation: &'static str,
    /// Where it is specified.
    pub rfc: &'static str,
    /// The sender's ST before it sends this, in racoon's numbering (1 start .. 9 established); `None` where a message
    /// does not belong to a state.
    ///
    /// Racoon numbers IKEv1's states only; those of IKEv2 are the ones that correspond: messages received and sent are
    /// counted at each end in the same way.
    pub st_before: Option<u8>,
    /// The sender's ST once it has sent this.
    pub st_after: Option<u8>,
    /// The other end's ST once it has accepted this.
    pub st_received: Option<u8>,
}

impl Rule {
    /// Payloads that this message may have: required, optional, and those that any message may have.
    pub const fn allowed(&self) -> PayloadSet {
        let anywhere = if self.version.major() == 1 { V1_ANYWHERE } else { ANYWHERE };
        self.required.union(self.optional).union(anywhere)
    }
}

/// Payloads of IKEv2 that this implementation understands and that have their place (RFC 7296 section 3.2, RFC 7383).
const PLACED: PayloadSet = PayloadSet::of(&[
    PayloadType::SA,
    PayloadType::KE,
    PayloadType::IDI,
    PayloadType::IDR,
    PayloadType::CERT,
    PayloadType::CERTREQ,
    PayloadType::AUTH,
    PayloadType::NONCE,
    PayloadType::DELETE,
    PayloadType::TSI,
    PayloadType::TSR,
    PayloadType::SK,
    PayloadType::CP,
    PayloadType::EAP,
    PayloadType::SKF,
]);

/// All the others: Notify, Vendor ID, and what is not understood.
const ANYWHERE: PayloadSet = PayloadSet(!PLACED.0);

/// Payloads of IKEv1 that may be in any message: INITIAL-CONTACT comes in main mode, RESPONDER-LIFETIME in quick mode.
const V1_ANYWHERE: PayloadSet = PayloadSet::of(&[PayloadType::V1_NOTIFY, PayloadType::V1_VENDOR_ID]);

const NOTHING: &[PayloadType] = &[];

const fn row(id: RuleId, exchange: ExchangeType, sender: Sender, protection: Protection) -> Rule {
    Rule {
        id,
        version: Version::V2,
        exchange,
        step: match sender {
            Sender::Initiator => 1,
            Sender::Responder => 2,
        },
        sender,
        protection,
        required: PayloadSet::EMPTY,
        optional: PayloadSet::EMPTY,
        story: "",
        notation: "",
        rfc: "",
        st_before: None,
        st_after: None,
        st_received: None,
    }
}

const fn with(rule: Rule, required: &[PayloadType], optional: &[PayloadType]) -> Rule {
    Rule { required: PayloadSet::of(required), optional: PayloadSet::of(optional), ..rule }
}

const fn text(rule: Rule, notation: &'static str, story: &'static str, rfc: &'static str) -> Rule {
    Rule { notation, story, rfc, ..rule }
}

/// ST of the sender before and after, and of the other end after.
const fn st(rule: Rule, before: u8, after: u8, received: u8) -> Rule {
    Rule { st_before: Some(before), st_after: Some(after), st_received: Some(received), ..rule }
}

use PayloadType as P;
use Protection::{Clear, Encrypted};
use Sender::{Initiator, Responder};

/// Every message that this implementation takes part in: those of IKEv2, then those of IKEv1.
pub static RULES: &[Rule] = &{
    let mut all = [V2_ROWS[0]; V2_ROWS.len() + v1::ROWS.len()];
    let mut index = 0;
    while index < all.len() {
        all[index] = if index < V2_ROWS.len() { V2_ROWS[index] } else { v1::ROWS[index - V2_ROWS.len()] };
        index += 1;
    }
    all
};

/// The messages of IKEv2.
///
/// IKE_AUTH without an AUTH payload asks for EAP (RFC 7296 section 2.16), so AUTH is optional in the request and the
/// handler refuses EAP by name; the messages inside an EAP conversation have no rows.
const V2_ROWS: [Rule; 15] = [
    st(
        text(
            with(
                row(RuleId::IkeSaInitRequest, ExchangeType::IKE_SA_INIT, Initiator, Clear),
                &[P::SA, P::KE, P::NONCE],
                &[P::PS], // RFC 8019 section 7.1.2
            ),
            "HDR, SAi1, KEi, Ni",
            "waiting for HDR, SAi1, KEi, Ni: the first message of an IKE SA",
            "RFC 7296 section 1.2",
        ),
        1,
        3,
        2,
    ),
    st(
        text(
            with(
                row(RuleId::IkeSaInitResponse, ExchangeType::IKE_SA_INIT, Responder, Clear),
                &[P::SA, P::KE, P::NONCE],
                &[P::CERTREQ],
            ),
            "HDR, SAr1, KEr, Nr, [CERTREQ]",
            "waiting for HDR, SAr1, KEr, Nr: the responder's choice of algorithms and its key exchange value",
            "RFC 7296 section 1.2",
        ),
        2,
        3,
        4,
    ),
    st(
        text(
            with(row(RuleId::IkeSaInitRefusal, ExchangeType::IKE_SA_INIT, Responder, Clear), &[P::NOTIFY], NOTHING),
            "HDR, N",
            "waiting for HDR, N: a cookie, another key exchange method, or the reason of a refusal",
            "RFC 7296 sections 1.2, 2.6 and 2.21.1",
        ),
        2,
        1,
        3,
    ),
    st(
        text(
            with(
                row(RuleId::IkeAuthRequest, ExchangeType::IKE_AUTH, Initiator, Encrypted),
                &[P::IDI, P::SA, P::TSI, P::TSR],
                &[P::CERT, P::CERTREQ, P::IDR, P::AUTH, P::CP],
            ),
            "HDR, SK {IDi, [CERT,] [CERTREQ,] [IDr,] AUTH, SAi2, TSi, TSr}",
            "waiting for HDR, SK {IDi, AUTH, SAi2, TSi, TSr}: the initiator's identity and its proof",
            "RFC 7296 section 1.2",
        ),
        4,
        5,
        4,
    ),
    st(
        text(
            with(
                row(RuleId::IkeAuthChildlessRequest, ExchangeType::IKE_AUTH, Initiator, Encrypted),
                &[P::IDI],
                &[P::CERT, P::CERTREQ, P::IDR, P::AUTH, P::CP],
            ),
            "HDR, SK {IDi, [CERT,] [CERTREQ,] [IDr,] AUTH}",
            "waiting for HDR, SK {IDi, AUTH}: the initiator's identity and its proof, without a Child SA",
            "RFC 7296 section 1.2 and RFC 6023 section 5",
        ),
        4,
        5,
        4,
    ),
    st(
        text(
            with(
                row(RuleId::IkeAuthResponse, ExchangeType::IKE_AUTH, Responder, Encrypted),
                &[P::IDR, P::AUTH, P::SA, P::TSI, P::TSR],
                &[P::CERT, P::CP],
            ),
            "HDR, SK {IDr, [CERT,] AUTH, SAr2, TSi, TSr}",
            "waiting for HDR, SK {IDr, AUTH, SAr2, TSi, TSr}: the responder's identity and its proof",
            "RFC 7296 section 1.2",
        ),
        4,
        9,
        9,
    ),
    st(
        text(
            with(
                row(RuleId::IkeAuthChildRefusal, ExchangeType::IKE_AUTH, Responder, Encrypted),
                &[P::IDR, P::AUTH],
                &[P::CERT, P::CP],
            ),
            "HDR, SK {IDr, [CERT,] AUTH, [N(error)]}",
            "waiting for HDR, SK {IDr, AUTH, [N]}: the responder's proof, and why there is no Child SA if one was asked for",
            "RFC 7296 section 1.2 and appendix C.2, RFC 6023 section 5",
        ),
        4,
        9,
        9,
    ),
    st(
        text(
            with(row(RuleId::IkeAuthFailure, ExchangeType::IKE_AUTH, Responder, Encrypted), &[P::NOTIFY], NOTHING),
            "HDR, SK {N(error)}",
            "waiting for HDR, SK {N}: why the responder refuses the IKE SA",
            "RFC 7296 section 2.21.2",
        ),
        4,
        10,
        10,
    ),
    text(
        with(
            row(RuleId::CreateChildSaRequest, ExchangeType::CREATE_CHILD_SA, Initiator, Encrypted),
            &[P::SA, P::NONCE, P::TSI, P::TSR],
            &[P::KE, P::CP],
        ),
        "HDR, SK {[N(REKEY_SA),] SA, Ni, [KEi,] TSi, TSr}",
        "waiting for HDR, SK {SA, Ni, TSi, TSr}: a request for a Child SA",
        "RFC 7296 sections 1.3.1 and 1.3.3",
    ),
    text(
        with(
            row(RuleId::CreateChildSaResponse, ExchangeType::CREATE_CHILD_SA, Responder, Encrypted),
            &[P::SA, P::NONCE, P::TSI, P::TSR],
            &[P::KE, P::CP],
        ),
        "HDR, SK {SA, Nr, [KEr,] TSi, TSr}",
        "waiting for HDR, SK {SA, Nr, TSi, TSr}: the peer's half of a Child SA",
        "RFC 7296 sections 1.3.1 and 1.3.3",
    ),
    text(
        with(
            row(RuleId::CreateChildSaIkeRekeyRequest, ExchangeType::CREATE_CHILD_SA, Initiator, Encrypted),
            &[P::SA, P::NONCE, P::KE],
            NOTHING,
        ),
        "HDR, SK {SA, Ni, KEi}",
        "waiting for HDR, SK {SA, Ni, KEi}: a request to rekey the IKE SA",
        "RFC 7296 section 1.3.2",
    ),
    text(
        with(
            row(RuleId::CreateChildSaIkeRekeyResponse, ExchangeType::CREATE_CHILD_SA, Responder, Encrypted),
            &[P::SA, P::NONCE, P::KE],
            NOTHING,
        ),
        "HDR, SK {SA, Nr, KEr}",
        "waiting for HDR, SK {SA, Nr, KEr}: the peer's half of the new IKE SA",
        "RFC 7296 section 1.3.2",
    ),
    text(
        with(
            row(RuleId::CreateChildSaRefusal, ExchangeType::CREATE_CHILD_SA, Responder, Encrypted),
            &[P::NOTIFY],
            NOTHING,
        ),
        "HDR, SK {N(error)}",
        "waiting for HDR, SK {N}: why the peer refuses the new SA",
        "RFC 7296 sections 1.3 and 2.21.3",
    ),
    text(
        with(
            row(RuleId::InformationalRequest, ExchangeType::INFORMATIONAL, Initiator, Encrypted),
            NOTHING,
            &[P::DELETE, P::CP],
        ),
        "HDR, SK {[N,] [D,] [CP,] ...}",
        "waiting for HDR, SK {[N,] [D,] [CP]}: a request of the peer, empty if it only asks for a sign of life",
        "RFC 7296 section 1.4",
    ),
    text(
        with(
            row(RuleId::InformationalResponse, ExchangeType::INFORMATIONAL, Responder, Encrypted),
            NOTHING,
            &[P::DELETE, P::CP],
        ),
        "HDR, SK {[N,] [D,] [CP,] ...}",
        "waiting for HDR, SK {[N,] [D,] [CP]}: the answer to our INFORMATIONAL request",
        "RFC 7296 section 1.4",
    ),
];

/// The row of that name.
pub fn rule(id: RuleId) -> &'static Rule {
    // The rows stand in the order of the names; a test keeps it so.
    &RULES[id as usize]
}

/// The rows that a message of this exchange, sender and protection can be. No message fits two of them.
pub fn candidates(
    exchange: ExchangeType,
    sender: Sender,
    protection: Protection,
) -> impl Iterator<Item = &'static Rule> + Clone {
    RULES.iter().filter(move |rule| (rule.exchange, rule.sender, rule.protection) == (exchange, sender, protection))
}

/// The row that a message is, or else the nearest row with what keeps the message from being it. `None` where there is
/// no row for the exchange, the sender and the protection at all.
pub fn classify(
    exchange: ExchangeType,
    sender: Sender,
    protection: Protection,
    found: &PayloadSet,
) -> Option<Result<&'static Rule, Violation>> {
    let mut nearest: Option<Violation> = None;
    for rule in candidates(exchange, sender, protection) {
        match check(rule, found) {
            Ok(()) => return Some(Ok(rule)),
            Err(violation) if nearest.is_none_or(|best| violation.distance() < best.distance()) => {
                nearest = Some(violation);
            }
            Err(_) => {}
        }
    }
    nearest.map(Err)
}

/// What keeps a message from being what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The row it was held against.
    pub rule: RuleId,
    /// Required payloads that are not there.
    pub missing: PayloadSet,
    /// Payloads that do not belong there.
    pub unexpected: PayloadSet,
}

impl Violation {
    fn distance(&self) -> usize {
        self.missing.len() + self.unexpected.len()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = rule(self.rule);
        write!(f, "not {} ({})", rule.notation, rule.rfc)?;
        for (what, set) in [("missing", self.missing), ("unexpected", self.unexpected)] {
            if !set.is_empty() {
                write!(f, "; {what}: {}", set.from_sender(rule.sender))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Violation {}

/// Holds the payloads of a message against a row. For an encrypted message `found` is what is inside.
///
/// # Errors
/// What is missing and what is there that should not be.
pub fn check(rule: &Rule, found: &PayloadSet) -> Result<(), Violation> {
    let missing = rule.required.difference(*found);
    let unexpected = found.difference(rule.allowed());
    if missing.is_empty() && unexpected.is_empty() {
        return Ok(());
    }
    Err(Violation { rule: rule.id, missing, unexpected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_where_its_name_says() {
        for (index, row) in RULES.iter().enumerate() {
            assert_eq!(row.id as usize, index, "{:?}", row.id);
            assert_eq!(rule(row.id), row);
            assert!(row.notation.starts_with("HDR") && row.story.starts_with("waiting for HDR"));
            assert!(row.required.intersection(row.optional).is_empty());
            if row.version == Version::V1 {
                assert!(row.rfc.starts_with("RFC 2409 section") || row.rfc.starts_with("RFC 2408 section"));
                assert_eq!(row.protection == Encrypted, row.notation.starts_with("HDR*"), "{:?}", row.id);
                assert_eq!(row.sender == Initiator, row.step % 2 == 1, "{:?}", row.id);
            } else {
                assert!(row.rfc.starts_with("RFC 7296 section"));
                assert_eq!(row.protection == Encrypted, row.notation.contains("SK {"), "{:?}", row.id);
            }
        }
        assert_eq!(RuleId::TransactionV1Reply as usize + 1, RULES.len());
    }

    #[test]
    fn rows_that_compete_exclude_each_other() {
        for a in RULES {
            let rivals = candidates(a.exchange, a.sender, a.protection).filter(|b| b.id != a.id);
            for b in rivals {
                let both = a.required.union(b.required);
                let allowed_by_both = a.allowed().intersection(b.allowed());
                assert!(!allowed_by_both.contains_all(both), "a message can be {:?} and {:?}", a.id, b.id);
            }
        }
    }

    #[test]
    fn sets_print_in_rfc_notation() {
        let set = PayloadSet::of(&[P::NONCE, P::SA, P::KE]);
        assert_eq!(set.to_string(), "SA, KE, Ni");
        assert_eq!(set.from_sender(Responder).to_string(), "SA, KE, Nr");
        assert_eq!(PayloadSet::of(&[P::SKF, PayloadType(60), PayloadType(200)]).to_string(), "SKF, (60), (other)");
        assert_eq!(PayloadSet::EMPTY.to_string(), "");
        assert!(set.contains(P::KE) && !set.contains(P::AUTH) && set.len() == 3);
        assert_eq!(set.difference(PayloadSet::of(&[P::KE])), PayloadSet::of(&[P::SA, P::NONCE]));
    }

    #[test]
    fn each_row_accepts_its_own_message_and_names_what_is_wrong() {
        for row in RULES {
            check(row, &row.required).unwrap();
            check(row, &row.allowed()).unwrap();
            for kind in row.required.iter() {
                let violation = check(row, &row.required.difference(PayloadSet::of(&[kind]))).unwrap_err();
                assert_eq!((violation.missing, violation.unexpected), (PayloadSet::of(&[kind]), PayloadSet::EMPTY));
            }
            let eap = PayloadSet::of(&[P::EAP]);
            assert_eq!(check(row, &row.required.union(eap)).unwrap_err().unexpected, eap);
        }
        let found = PayloadSet::of(&[P::SA, P::NONCE, P::TSI, P::NOTIFY, P::VENDOR_ID, PayloadType(77)]);
        let violation = check(rule(RuleId::IkeSaInitResponse), &found).unwrap_err();
        let expected = "not HDR, SAr1, KEr, Nr, [CERTREQ] (RFC 7296 section 1.2); missing: KE; unexpected: TSi";
        assert_eq!(violation.to_string(), expected);
    }

    #[test]
    fn a_message_is_told_by_its_payloads() {
        let of = |exchange, sender, protection, kinds: &[PayloadType]| {
            classify(exchange, sender, protection, &PayloadSet::of(kinds))
                .map(|row| row.map(|row| row.id).map_err(|violation| (violation.rule, violation.missing)))
        };
        let init = |kinds: &[PayloadType]| of(ExchangeType::IKE_SA_INIT, Responder, Clear, kinds).unwrap();
        assert_eq!(init(&[P::SA, P::KE, P::NONCE, P::NOTIFY]), Ok(RuleId::IkeSaInitResponse));
        assert_eq!(init(&[P::NOTIFY, P::VENDOR_ID]), Ok(RuleId::IkeSaInitRefusal));
        assert_eq!(init(&[P::SA, P::NONCE]), Err((RuleId::IkeSaInitResponse, PayloadSet::of(&[P::KE]))));
        let auth = |kinds: &[PayloadType]| of(ExchangeType::IKE_AUTH, Responder, Encrypted, kinds).unwrap();
        assert_eq!(auth(&[P::IDR, P::AUTH, P::NOTIFY]), Ok(RuleId::IkeAuthChildRefusal));
        assert_eq!(auth(&[P::IDR, P::AUTH]), Ok(RuleId::IkeAuthChildRefusal), "childless (RFC 6023)");
        assert_eq!(auth(&[P::NOTIFY]), Ok(RuleId::IkeAuthFailure));
        assert_eq!(auth(&[P::IDR, P::AUTH, P::SA, P::TSI, P::TSR, P::NOTIFY]), Ok(RuleId::IkeAuthResponse));
        let begun = |kinds: &[PayloadType]| of(ExchangeType::IKE_AUTH, Initiator, Encrypted, kinds).unwrap();
        assert_eq!(begun(&[P::IDI, P::AUTH, P::SA, P::TSI, P::TSR]), Ok(RuleId::IkeAuthRequest));
        assert_eq!(begun(&[P::IDI, P::AUTH, P::NOTIFY]), Ok(RuleId::IkeAuthChildlessRequest));
        let missing = PayloadSet::of(&[P::TSR]);
        assert_eq!(begun(&[P::IDI, P::AUTH, P::SA, P::TSI]), Err((RuleId::IkeAuthRequest, missing)));
        let child = |kinds: &[PayloadType]| of(ExchangeType::CREATE_CHILD_SA, Initiator, Encrypted, kinds).unwrap();
        assert_eq!(child(&[P::SA, P::NONCE, P::KE]), Ok(RuleId::CreateChildSaIkeRekeyRequest));
        assert_eq!(child(&[P::SA, P::NONCE, P::KE, P::TSI, P::TSR]), Ok(RuleId::CreateChildSaRequest));
        let main = |sender, protection, kinds: &[PayloadType]| {
            of(ExchangeType::IDENTITY_PROTECTION, sender, protection, kinds).unwrap()
        };
        assert_eq!(main(Initiator, Clear, &[P::V1_SA, P::V1_VENDOR_ID]), Ok(RuleId::MainMode1));
        assert_eq!(main(Responder, Clear, &[P::V1_KE, P::V1_NONCE, P::V1_NAT_D]), Ok(RuleId::MainMode4));
        assert_eq!(main(Initiator, Encrypted, &[P::V1_ID, P::V1_HASH, P::V1_NOTIFY]), Ok(RuleId::MainMode5));
        assert_eq!(main(Responder, Encrypted, &[P::V1_ID, P::V1_CERT, P::V1_SIG]), Ok(RuleId::MainMode6Signature));
        let missing = PayloadSet::of(&[P::V1_KE]);
        assert_eq!(main(Initiator, Clear, &[P::V1_NONCE]), Err((RuleId::MainMode3, missing)));
        let quick = |sender, kinds: &[PayloadType]| of(ExchangeType::QUICK_MODE, sender, Encrypted, kinds).unwrap();
        assert_eq!(quick(Initiator, &[P::V1_HASH]), Ok(RuleId::QuickMode3));
        assert_eq!(quick(Initiator, &[P::V1_HASH, P::V1_SA, P::V1_NONCE, P::V1_ID]), Ok(RuleId::QuickMode1));
        assert_eq!(quick(Responder, &[P::V1_HASH, P::V1_NOTIFY]), Ok(RuleId::QuickMode4));
        let violation = check(rule(RuleId::MainMode4), &PayloadSet::of(&[P::V1_KE])).unwrap_err();
        assert!(violation.to_string().ends_with("missing: Nr"), "{violation}");
        let alive = of(ExchangeType::INFORMATIONAL, Initiator, Encrypted, &[]);
        assert_eq!(alive, Some(Ok(RuleId::InformationalRequest)));
        assert_eq!(of(ExchangeType::IKE_AUTH, Initiator, Clear, &[]), None);
    }
}
