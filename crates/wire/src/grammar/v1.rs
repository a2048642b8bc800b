//! The messages of IKEv1 (RFC 2409 section 5, with NAT traversal after RFC 3947).
//!
//! Phase 1 with pre-shared keys and with signatures have rows of their own where the messages differ; hybrid
//! authentication takes one of each. Public key encryption (RFC 2409 sections 5.2 and 5.3) is not spoken.

use super::{Clear, Encrypted, Initiator, NOTHING, Responder, Rule, RuleId, row, st, text, with};
use crate::header::Version;
use crate::registry::{ExchangeType, PayloadType as P};

const fn of(rule: Rule, step: u8) -> Rule {
    Rule { version: Version::V1, step, ..rule }
}

const MAIN: ExchangeType = ExchangeType::IDENTITY_PROTECTION;
const AGGRESSIVE: ExchangeType = ExchangeType::AGGRESSIVE;
const QUICK: ExchangeType = ExchangeType::QUICK_MODE;
const PSK: &str = "RFC 2409 section 5.4";
const SIGNATURE: &str = "RFC 2409 section 5.1";
const CERTIFICATES: &[P] = &[P::V1_CERT, P::V1_CERTREQ];

/// The rows, in the order of their names. ST is racoon's, with states that nobody dwells in left out: message 6 of main
/// mode takes its sender from 6 through 7 to 9, and its receiver through 8 to 9.
pub(super) const ROWS: [Rule; 24] = [
    st(
        text(
            with(of(row(RuleId::MainMode1, MAIN, Initiator, Clear), 1), &[P::V1_SA], NOTHING),
            "HDR, SA",
            "waiting for HDR, SA: the first message of main mode, the initiator's proposals",
            "RFC 2409 section 5",
        ),
        1,
        3,
        2,
    ),
    st(
        text(
            with(of(row(RuleId::MainMode2, MAIN, Responder, Clear), 2), &[P::V1_SA], NOTHING),
            "HDR, SA",
            "waiting for HDR, SA: the responder's choice of algorithms",
            "RFC 2409 section 5",
        ),
        2,
        3,
        4,
    ),
    st(
        text(
            with(
                of(row(RuleId::MainMode3, MAIN, Initiator, Clear), 3),
                &[P::V1_KE, P::V1_NONCE],
                &[P::V1_NAT_D, P::V1_CERT, P::V1_CERTREQ],
            ),
            "HDR, KE, Ni, [NAT-D, NAT-D]",
            "waiting for HDR, KE, Ni: the initiator's key exchange value and nonce",
            "RFC 2409 section 5 and RFC 3947 section 3.2",
        ),
        4,
        5,
        4,
    ),
    st(
        text(
            with(
                of(row(RuleId::MainMode4, MAIN, Responder, Clear), 4),
                &[P::V1_KE, P::V1_NONCE],
                &[P::V1_NAT_D, P::V1_CERT, P::V1_CERTREQ],
            ),
            "HDR, KE, Nr, [NAT-D, NAT-D]",
            "waiting for HDR, KE, Nr: the responder's key exchange value and nonce",
            "RFC 2409 section 5 and RFC 3947 section 3.2",
        ),
        4,
        5,
        6,
    ),
    st(
        text(
            with(of(row(RuleId::MainMode5, MAIN, Initiator, Encrypted), 5), &[P::V1_ID, P::V1_HASH], CERTIFICATES),
            "HDR*, IDii, HASH_I",
            "waiting for HDR*, IDii, HASH_I: the initiator's identity and its proof by the pre-shared key",
            PSK,
        ),
        6,
        7,
        6,
    ),
    st(
        text(
            with(
                of(row(RuleId::MainMode5Signature, MAIN, Initiator, Encrypted), 5),
                &[P::V1_ID, P::V1_SIG],
                CERTIFICATES,
            ),
            "HDR*, IDii, [CERT,] SIG_I",
            "waiting for HDR*, IDii, [CERT,] SIG_I: the initiator's identity and its signature",
            SIGNATURE,
        ),
        6,
        7,
        6,
    ),
    st(
        text(
            with(of(row(RuleId::MainMode6, MAIN, Responder, Encrypted), 6), &[P::V1_ID, P::V1_HASH], CERTIFICATES),
            "HDR*, IDir, HASH_R",
            "waiting for HDR*, IDir, HASH_R: the responder's identity and its proof by the pre-shared key",
            PSK,
        ),
        6,
        9,
        9,
    ),
    st(
        text(
            with(
                of(row(RuleId::MainMode6Signature, MAIN, Responder, Encrypted), 6),
                &[P::V1_ID, P::V1_SIG],
                CERTIFICATES,
            ),
            "HDR*, IDir, [CERT,] SIG_R",
            "waiting for HDR*, IDir, [CERT,] SIG_R: the responder's identity and its signature",
            SIGNATURE,
        ),
        6,
        9,
        9,
    ),
    st(
        text(
            with(
                of(row(RuleId::AggressiveMode1, AGGRESSIVE, Initiator, Clear), 1),
                &[P::V1_SA, P::V1_KE, P::V1_NONCE, P::V1_ID],
                &[P::V1_CERTREQ],
            ),
            "HDR, SA, KE, Ni, IDii",
            "waiting for HDR, SA, KE, Ni, IDii: the first message of aggressive mode",
            "RFC 2409 section 5",
        ),
        1,
        3,
        2,
    ),
    st(
        text(
            with(
                of(row(RuleId::AggressiveMode2, AGGRESSIVE, Responder, Clear), 2),
                &[P::V1_SA, P::V1_KE, P::V1_NONCE, P::V1_ID, P::V1_HASH],
                &[P::V1_NAT_D, P::V1_CERT, P::V1_CERTREQ],
            ),
            "HDR, SA, KE, Nr, IDir, [NAT-D, NAT-D,] HASH_R",
            "waiting for HDR, SA, KE, Nr, IDir, HASH_R: the responder's half and its proof by the pre-shared key",
            PSK,
        ),
        2,
        3,
        4,
    ),
    st(
        text(
            with(
                of(row(RuleId::AggressiveMode2Signature, AGGRESSIVE, Responder, Clear), 2),
                &[P::V1_SA, P::V1_KE, P::V1_NONCE, P::V1_ID, P::V1_SIG],
                &[P::V1_NAT_D, P::V1_CERT, P::V1_CERTREQ],
            ),
            "HDR, SA, KE, Nr, IDir, [CERT,] [NAT-D, NAT-D,] SIG_R",
            "waiting for HDR, SA, KE, Nr, IDir, [CERT,] SIG_R: the responder's half and its signature",
            SIGNATURE,
        ),
        2,
        3,
        4,
    ),
    // RFC 2409 section 5 leaves open whether the last message of aggressive mode is encrypted; with NAT traversal it is
    // (RFC 3947 section 3.2).
    aggressive_3(of(row(RuleId::AggressiveMode3, AGGRESSIVE, Initiator, Clear), 3), "HDR, [NAT-D, NAT-D,] HASH_I"),
    aggressive_3(
        of(row(RuleId::AggressiveMode3Encrypted, AGGRESSIVE, Initiator, Encrypted), 3),
        "HDR*, [NAT-D, NAT-D,] HASH_I",
    ),
    aggressive_3_signature(
        of(row(RuleId::AggressiveMode3Signature, AGGRESSIVE, Initiator, Clear), 3),
        "HDR, [CERT,] [NAT-D, NAT-D,] SIG_I",
    ),
    aggressive_3_signature(
        of(row(RuleId::AggressiveMode3SignatureEncrypted, AGGRESSIVE, Initiator, Encrypted), 3),
        "HDR*, [CERT,] [NAT-D, NAT-D,] SIG_I",
    ),
    text(
        with(
            of(row(RuleId::QuickMode1, QUICK, Initiator, Encrypted), 1),
            &[P::V1_HASH, P::V1_SA, P::V1_NONCE],
            &[P::V1_KE, P::V1_ID, P::V1_NAT_OA],
        ),
        "HDR*, HASH(1), SA, Ni, [KE,] [IDci, IDcr,] [NAT-OAi, NAT-OAr]",
        "waiting for HDR*, HASH(1), SA, Ni: a request for a pair of IPsec SAs",
        "RFC 2409 section 5.5 and RFC 3947 section 5.2",
    ),
    text(
        with(
            of(row(RuleId::QuickMode2, QUICK, Responder, Encrypted), 2),
            &[P::V1_HASH, P::V1_SA, P::V1_NONCE],
            &[P::V1_KE, P::V1_ID, P::V1_NAT_OA],
        ),
        "HDR*, HASH(2), SA, Nr, [KE,] [IDci, IDcr,] [NAT-OAi, NAT-OAr]",
        "waiting for HDR*, HASH(2), SA, Nr: the peer's half of a pair of IPsec SAs",
        "RFC 2409 section 5.5 and RFC 3947 section 5.2",
    ),
    text(
        with(of(row(RuleId::QuickMode3, QUICK, Initiator, Encrypted), 3), &[P::V1_HASH], NOTHING),
        "HDR*, HASH(3)",
        "waiting for HDR*, HASH(3): the initiator's sign that it has the answer",
        "RFC 2409 section 5.5",
    ),
    text(
        with(of(row(RuleId::QuickMode4, QUICK, Responder, Encrypted), 4), &[P::V1_HASH, P::V1_NOTIFY], NOTHING),
        "HDR*, HASH(4), N(CONNECTED)",
        "waiting for HDR*, HASH(4), N(CONNECTED): the responder's leave to use the SAs, asked for by the Commit bit",
        "RFC 2408 section 3.1",
    ),
    text(
        with(
            of(row(RuleId::InformationalV1, ExchangeType::INFORMATIONAL_V1, Initiator, Encrypted), 1),
            &[P::V1_HASH],
            &[P::V1_DELETE],
        ),
        "HDR*, HASH(1), N/D",
        "waiting for HDR*, HASH(1), N/D: a notification, a sign of life, or a delete",
        "RFC 2409 section 5.7",
    ),
    text(
        with(
            of(row(RuleId::InformationalV1Clear, ExchangeType::INFORMATIONAL_V1, Initiator, Clear), 1),
            &[P::V1_NOTIFY],
            NOTHING,
        ),
        "HDR, N",
        "waiting for HDR, N: why the peer refuses; nothing proves that the peer sent it",
        "RFC 2409 section 5.7",
    ),
    text(
        with(
            of(row(RuleId::InformationalV1ClearDelete, ExchangeType::INFORMATIONAL_V1, Initiator, Clear), 1),
            &[P::V1_DELETE],
            NOTHING,
        ),
        "HDR, D",
        "waiting for HDR, D: a delete that nothing proves, to be ignored",
        "RFC 2409 section 5.7",
    ),
    text(
        with(
            of(row(RuleId::TransactionV1, ExchangeType::TRANSACTION, Initiator, Encrypted), 1),
            &[P::V1_HASH, P::V1_ATTRIBUTES],
            NOTHING,
        ),
        "HDR*, HASH, ATTR",
        "waiting for HDR*, HASH, ATTR: the peer's question or offer in XAuth or Mode-Config",
        "RFC 2408 section 3.1 and the drafts on XAuth and Mode-Config",
    ),
    text(
        with(
            of(row(RuleId::TransactionV1Reply, ExchangeType::TRANSACTION, Responder, Encrypted), 2),
            &[P::V1_HASH, P::V1_ATTRIBUTES],
            NOTHING,
        ),
        "HDR*, HASH, ATTR",
        "waiting for HDR*, HASH, ATTR: the peer's answer in XAuth or Mode-Config",
        "RFC 2408 section 3.1 and the drafts on XAuth and Mode-Config",
    ),
];

const fn aggressive_3(rule: Rule, notation: &'static str) -> Rule {
    let rule = with(rule, &[P::V1_HASH], &[P::V1_NAT_D, P::V1_CERT, P::V1_CERTREQ]);
    st(text(rule, notation, "waiting for HDR, HASH_I: the initiator's proof by the pre-shared key", PSK), 4, 9, 9)
}

const fn aggressive_3_signature(rule: Rule, notation: &'static str) -> Rule {
    let rule = with(rule, &[P::V1_SIG], &[P::V1_NAT_D, P::V1_CERT, P::V1_CERTREQ]);
    st(text(rule, notation, "waiting for HDR, [CERT,] SIG_I: the initiator's signature", SIGNATURE), 4, 9, 9)
}
