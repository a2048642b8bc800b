//! Why SAs ended: the `shrike-ended` event and its inverse.
//!
//! `code`, `text` and `remedy` are for everyone; `values` has both sides' values one by one, so that a client can
//! rebuild the [`Tombstone`].

use super::names::{
    algorithm, algorithm_with_length, identity_from, identity_text, rule_from, rule_name, selector_from,
};
use super::sa::{mode_from, mode_name};
use super::{SchemaError, is_yes, items, list_sa, need, parse, parse_if_any, snapshot};
use crate::Message;
use model::{
    Algorithm, CertificateProblem, ConfigRef, Dimension, ExchangeMode, Failure, FailureKind, Identity, Instant,
    Mismatch, Phase, RedirectProblem, Rekeying, SaId, Side, Tombstone, TrafficSelector,
};
use std::time::Duration;
use wire::registry::{KeyExchangeId, TransformType};
use wire::{NotifyType, PayloadType, V1NotifyType};

type Kind = FailureKind;

/// The `shrike-ended` event of an SA that ended:
/// `{sa {NAME {..}} child=.. [rekeying=first|other] failure {code text remedy config {file line key} values {..}} at ended-ms [again-in-ms]
/// datagrams-in datagrams-out}`; `sa` as in `list-sa`, `at` in nanoseconds of the daemon's clock.
pub fn tombstone(t: &Tombstone) -> Message {
    let mut m = Message::new();
    m.insert("sa", list_sa(&t.sa))
        .maybe("child", t.child.as_ref())
        .maybe("rekeying", t.rekeying.map(rekeying_name))
        .section("failure", |m| failure(m, &t.failure))
        .number("at", t.at.as_nanos())
        .number("ended-ms", milliseconds(t.ended))
        .maybe("again-in-ms", t.again_in.map(milliseconds))
        .number("datagrams-in", t.datagrams_in)
        .number("datagrams-out", t.datagrams_out);
    m
}

/// The tombstone in a `shrike-ended` event: the inverse of [`tombstone`].
///
/// # Errors
/// The key that is missing or cannot be read, or a reason that only a newer version knows.
pub fn tombstone_from(m: &Message) -> Result<Tombstone, SchemaError> {
    let failure = m.get_section("failure").ok_or(SchemaError::Missing { key: "failure" })?;
    Ok(Tombstone {
        sa: snapshot(m.get_section("sa").ok_or(SchemaError::Missing { key: "sa" })?)?,
        failure: failure_from(failure)?,
        child: m.get_str("child").map(String::from),
        rekeying: match m.get_str("rekeying") {
            Some(name) if name == rekeying_name(Rekeying::First) => Some(Rekeying::First),
            other => other.map(|_| Rekeying::Other),
        },
        at: Instant::from_nanos(parse(m, "at")?),
        ended: Duration::from_millis(parse(m, "ended-ms")?),
        again_in: match m.get_str("again-in-ms") {
            Some(_) => Some(Duration::from_millis(parse(m, "again-in-ms")?)),
            None => None,
        },
        datagrams_in: parse(m, "datagrams-in")?,
        datagrams_out: parse(m, "datagrams-out")?,
    })
}

fn rekeying_name(rekeying: Rekeying) -> &'static str {
    match rekeying {
        Rekeying::First => "first",
        Rekeying::Other => "other",
    }
}

fn milliseconds(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

fn failure(m: &mut Message, failure: &Failure) {
    let kind = &failure.kind;
    m.set("code", kind.code()).set("text", kind.to_string()).set("remedy", kind.remedy());
    if let Some(place) = &failure.config {
        m.section("config", |m| {
            m.set("file", &place.file).number("line", place.line).set("key", &place.key);
        });
    }
    m.section("values", |m| values(m, kind));
}

fn failure_from(m: &Message) -> Result<Failure, SchemaError> {
    let nothing = Message::new();
    let config = match m.get_section("config") {
        Some(c) => {
            Some(ConfigRef { file: need(c, "file")?.into(), line: parse(c, "line")?, key: need(c, "key")?.into() })
        }
        None => None,
    };
    let code = need(m, "code")?;
    let kind = kind_from(code, m.get_section("values").unwrap_or(&nothing))?.ok_or_else(|| {
        SchemaError::UnknownFailure { code: code.into(), text: m.get_str("text").unwrap_or_default().into() }
    })?;
    Ok(Failure { kind, config })
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Ike => "ike",
        Phase::Child => "child",
    }
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Us => "us",
        Side::Peer => "peer",
    }
}

fn set_mismatch(m: &mut Message, mismatch: &Mismatch) {
    m.section("mismatch", |m| {
        for (Dimension(kind), ours, theirs) in &mismatch.differing {
            m.section(kind.0.to_string(), |m| {
                m.set("what", Dimension(*kind).to_string())
                    .list("ours", ours.iter().map(ToString::to_string))
                    .list("theirs", theirs.iter().map(ToString::to_string));
            });
        }
    });
}

fn mismatch_from(m: &Message) -> Result<Option<Mismatch>, SchemaError> {
    let Some(section) = m.get_section("mismatch") else { return Ok(None) };
    let mut differing = Vec::new();
    for (number, m) in section.sections() {
        let kind = number.parse().map(TransformType);
        let kind = kind.map_err(|_| SchemaError::Value { key: "mismatch", value: number.into() })?;
        // An algorithm may be named for another type than its own: keep the text's.
        let list = |key| items(m, key, |text| algorithm_with_length(kind, text));
        differing.push((Dimension(kind), list("ours")?, list("theirs")?));
    }
    Ok(Some(Mismatch { differing }))
}

fn set_selectors(m: &mut Message, key: &'static str, selectors: &[TrafficSelector]) {
    m.list(key, selectors.iter().map(ToString::to_string));
}

fn values(m: &mut Message, kind: &Kind) {
    let id = |id: &Identity| identity_text(id);
    let group = |id: KeyExchangeId| Algorithm::from(id).vici_name();
    match kind {
        Kind::IdentityUnknown { received, asked_for, expected } => {
            m.set("received", id(received)).maybe("asked-for", asked_for.as_ref().map(id)).list("expected", expected)
        }
        Kind::NotAddressed { remote, asked_for, ours } => {
            m.set("remote", id(remote)).set("asked-for", id(asked_for)).list("ours", ours)
        }
        Kind::IdentityMismatch { received, expected } => m.set("received", id(received)).set("expected", id(expected)),
        Kind::PskMismatch { local, remote, tried } => {
            m.set("local", id(local)).set("remote", id(remote)).set("tried", tried.to_string())
        }
        Kind::XauthRefused { user, found_by, known } => m
            .set("user", id(user))
            .set("found-by", side_name(*found_by))
            .set("known", if *known { "yes" } else { "no" }),
        Kind::PskMissing { local, remote } => m.set("local", id(local)).set("remote", id(remote)),
        Kind::AuthMethodUnsupported { method } => m.set("method", method),
        Kind::AuthMethodMismatch { expected, received } => m.set("expected", expected).set("received", received),
        Kind::OwnCertificateMissing { local, candidates } => m.set("local", id(local)).list("candidates", candidates),
        Kind::PeerCertificateMissing { remote, place } => {
            let m = m.set("remote", id(remote));
            if let Some(place) = place { m.set("place", place) } else { m }
        }
        Kind::IdentityNotCertified { remote, names } => m.set("remote", id(remote)).list("names", names),
        Kind::CertificateUntrusted { subject, issuer, problem: _, detail } => {
            m.set("subject", id(subject)).set("issuer", id(issuer)).set("detail", detail)
        }
        Kind::SignatureInvalid { remote, method } => m.set("remote", id(remote)).set("method", method),
        Kind::AuthenticationRefused { local, remote } => {
            m.set("local", id(local)).maybe("remote", remote.as_ref().map(id))
        }
        Kind::NoProposalChosen { phase, found_by, mismatch, ours } => {
            m.set("phase", phase_name(*phase)).set("found-by", side_name(*found_by)).list("ours", ours);
            if let Some(mismatch) = mismatch {
                set_mismatch(m, mismatch);
            }
            m
        }
        Kind::InvalidKeyExchange { ours, wanted } => m.set("ours", group(*ours)).set("wanted", group(*wanted)),
        Kind::ChoiceNotOffered { phase, mismatch } => {
            set_mismatch(m, mismatch);
            m.set("phase", phase_name(*phase))
        }
        Kind::TsUnacceptable { found_by, local, remote, peer_local, peer_remote } => {
            set_selectors(m, "local-ts", local);
            set_selectors(m, "remote-ts", remote);
            set_selectors(m, "peer-local-ts", peer_local);
            set_selectors(m, "peer-remote-ts", peer_remote);
            m.set("found-by", side_name(*found_by))
        }
        Kind::TooManySelectors { pairs, most } => m.number("pairs", *pairs).number("most", *most),
        Kind::NoAnswer { waiting_for, to, sent, over, answered_before } => m
            .set("waiting-for", rule_name(*waiting_for))
            .set("to", to.to_string())
            .number("sent", *sent)
            .number("over-ms", milliseconds(*over))
            .flag("answered-before", *answered_before),
        Kind::HalfOpen { waiting_for, after, repeated } => m
            .set("waiting-for", rule_name(*waiting_for))
            .number("after-ms", milliseconds(*after))
            .number("repeated", *repeated),
        Kind::ModeMismatch { ours } => m.set("ours", mode_name(phase_1_mode(*ours))),
        Kind::EncapsulationMode { tunnel, peer } => {
            m.set("ours", if *tunnel { "tunnel" } else { "transport" }).number("peer", *peer)
        }
        // The same code as `PeerRefused` has, but other numbers: the key tells them apart.
        Kind::PeerRefusedV1 { phase, notify } => {
            m.set("phase", phase_name(*phase)).number("notify-v1", notify.0).set("notify-name", notify.to_string())
        }
        Kind::NoVirtualAddress { found_by, asked, pools } => {
            let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
            m.set("found-by", side_name(*found_by)).list("asked", &asked).list("pools", pools)
        }
        Kind::NotUnique { remote } => m.set("remote", id(remote)),
        Kind::TooManyOfPeer { remote, most } => m.set("remote", id(remote)).number("most", *most as u64),
        Kind::ChildlessMismatch { ours } => m.flag("ours", *ours),
        Kind::RedirectRefused { to, problem: _ } => m.set("to", to),
        Kind::NoConfig { local, remote } => m.set("local", local.to_string()).set("remote", remote.to_string()),
        Kind::WrongVersion { peer } => m.number("peer", *peer),
        Kind::PeerRefused { phase, notify } => {
            m.set("phase", phase_name(*phase)).number("notify", notify.0).set("notify-name", notify.to_string())
        }
        Kind::MessageInvalid { rule, missing } => m.set("rule", rule_name(*rule)).set("missing", missing),
        Kind::UnsupportedCritical { payload } => m.number("payload", payload.0),
        Kind::BadPublicValue { group: g } => m.set("group", group(*g)),
        Kind::InstallFailed { reason } => m.set("reason", reason),
        Kind::Replaced { by } => m.number("by", by.0),
        Kind::Redirected { to, by } => m.set("to", to).number("by", by.0),
        Kind::Inactive { after } => m.number("after-ms", milliseconds(*after)),
        Kind::PeerRestarted | Kind::PeerDeleted | Kind::Terminated | Kind::ConfigurationChanged | Kind::Expired => m,
    };
}

fn phase_1_mode(aggressive: bool) -> ExchangeMode {
    if aggressive { ExchangeMode::Aggressive } else { ExchangeMode::IdentityProtection }
}

/// `None`: a code that this version does not know.
fn kind_from(code: &str, m: &Message) -> Result<Option<Kind>, SchemaError> {
    let id = |key| Ok(identity_from(need(m, key)?));
    let id_if_any = |key| m.get_str(key).map(identity_from);
    let text = |key| Ok(need(m, key)?.to_string());
    let bad = |key, value: &str| SchemaError::Value { key, value: value.into() };
    let rule = |key| {
        let name = need(m, key)?;
        rule_from(name).ok_or_else(|| bad(key, name))
    };
    let group = |key| {
        let name = need(m, key)?;
        algorithm(TransformType::KE, name, None).map(|a| KeyExchangeId(a.id)).ok_or_else(|| bad(key, name))
    };
    let phase = || match need(m, "phase")? {
        "ike" => Ok(Phase::Ike),
        "child" => Ok(Phase::Child),
        other => Err(bad("phase", other)),
    };
    let side = || match need(m, "found-by")? {
        "us" => Ok(Side::Us),
        "peer" => Ok(Side::Peer),
        other => Err(bad("found-by", other)),
    };
    let selectors = |key| items(m, key, selector_from);
    let texts = |key| m.texts(key).map(String::from).collect();
    Ok(Some(match code {
        "PEER_ID_UNKNOWN" => Kind::IdentityUnknown {
            received: id("received")?,
            asked_for: id_if_any("asked-for"),
            expected: texts("expected"),
        },
        "LOCAL_ID_UNKNOWN" => {
            Kind::NotAddressed { remote: id("remote")?, asked_for: id("asked-for")?, ours: texts("ours") }
        }
        "PEER_ID_MISMATCH" => Kind::IdentityMismatch { received: id("received")?, expected: id("expected")? },
        "XAUTH_FAILED" => {
            let known = m.get_str("known") == Some("yes");
            Kind::XauthRefused { user: id("user")?, found_by: side()?, known }
        }
        "PSK_MISMATCH" => Kind::PskMismatch { local: id("local")?, remote: id("remote")?, tried: parse(m, "tried")? },
        "PSK_MISSING" => Kind::PskMissing { local: id("local")?, remote: id("remote")? },
        "AUTH_METHOD" => Kind::AuthMethodUnsupported { method: text("method")? },
        "AUTH_METHOD_MISMATCH" => Kind::AuthMethodMismatch { expected: text("expected")?, received: text("received")? },
        "OWN_CERT_MISSING" => Kind::OwnCertificateMissing { local: id("local")?, candidates: texts("candidates") },
        "PEER_CERT_MISSING" => Kind::PeerCertificateMissing { remote: id("remote")?, place: text("place").ok() },
        "CERT_ID_MISMATCH" => Kind::IdentityNotCertified { remote: id("remote")?, names: texts("names") },
        "SIGNATURE_INVALID" => Kind::SignatureInvalid { remote: id("remote")?, method: text("method")? },
        "AUTH_FAILED" => Kind::AuthenticationRefused { local: id("local")?, remote: id_if_any("remote") },
        "IKE_PROPOSAL" | "CHILD_PROPOSAL" => Kind::NoProposalChosen {
            phase: phase()?,
            found_by: side()?,
            mismatch: mismatch_from(m)?,
            ours: texts("ours"),
        },
        "KE_GROUP" => Kind::InvalidKeyExchange { ours: group("ours")?, wanted: group("wanted")? },
        "CHOICE_NOT_OFFERED" => Kind::ChoiceNotOffered {
            phase: phase()?,
            mismatch: mismatch_from(m)?.ok_or(SchemaError::Missing { key: "mismatch" })?,
        },
        "TRAFFIC_SELECTOR" => Kind::TsUnacceptable {
            found_by: side()?,
            local: selectors("local-ts")?,
            remote: selectors("remote-ts")?,
            peer_local: selectors("peer-local-ts")?,
            peer_remote: selectors("peer-remote-ts")?,
        },
        "TOO_MANY_SELECTORS" => Kind::TooManySelectors { pairs: parse(m, "pairs")?, most: parse(m, "most")? },
        "NO_RESPONSE" | "PEER_LOST" => Kind::NoAnswer {
            waiting_for: rule("waiting-for")?,
            to: parse(m, "to")?,
            sent: parse(m, "sent")?,
            over: Duration::from_millis(parse(m, "over-ms")?),
            answered_before: is_yes(m, "answered-before"),
        },
        "HALF_OPEN" => Kind::HalfOpen {
            waiting_for: rule("waiting-for")?,
            after: Duration::from_millis(parse(m, "after-ms")?),
            repeated: parse_if_any(m, "repeated")?.unwrap_or(0),
        },
        "NEGOTIATION_MODE" => Kind::ModeMismatch { ours: mode_from(m, "ours")? == ExchangeMode::Aggressive },
        "ENCAP_MODE" => Kind::EncapsulationMode {
            tunnel: match need(m, "ours")? {
                "tunnel" => true,
                "transport" => false,
                other => return Err(bad("ours", other)),
            },
            peer: parse(m, "peer")?,
        },
        "VIRTUAL_IP" => Kind::NoVirtualAddress {
            found_by: side()?,
            asked: items(m, "asked", |text| text.parse().ok())?,
            pools: texts("pools"),
        },
        "TOO_MANY_IKE_SAS" => Kind::TooManyOfPeer { remote: id("remote")?, most: parse(m, "most")? },
        "NOT_UNIQUE" => Kind::NotUnique { remote: id("remote")? },
        "CHILDLESS" => Kind::ChildlessMismatch { ours: is_yes(m, "ours") },
        "NO_CONFIG" => Kind::NoConfig { local: parse(m, "local")?, remote: parse(m, "remote")? },
        "IKE_VERSION" => Kind::WrongVersion { peer: parse(m, "peer")? },
        "PEER_REFUSED" if m.get("notify-v1").is_some() => {
            Kind::PeerRefusedV1 { phase: phase()?, notify: V1NotifyType(parse(m, "notify-v1")?) }
        }
        "PEER_REFUSED" => Kind::PeerRefused { phase: phase()?, notify: NotifyType(parse(m, "notify")?) },
        "MESSAGE_INVALID" => Kind::MessageInvalid { rule: rule("rule")?, missing: text("missing")? },
        "UNSUPPORTED_CRITICAL_PAYLOAD" => Kind::UnsupportedCritical { payload: PayloadType(parse(m, "payload")?) },
        "BAD_PUBLIC_VALUE" => Kind::BadPublicValue { group: group("group")? },
        "INSTALL_FAILED" => Kind::InstallFailed { reason: text("reason")? },
        "PEER_RESTART" => Kind::PeerRestarted,
        "PEER_DELETE" => Kind::PeerDeleted,
        "TERMINATED" => Kind::Terminated,
        "CONFIGURATION_CHANGED" => Kind::ConfigurationChanged,
        "REPLACED" => Kind::Replaced { by: SaId(parse(m, "by")?) },
        "REDIRECTED" => Kind::Redirected { to: text("to")?, by: SaId(parse(m, "by")?) },
        "EXPIRED" => Kind::Expired,
        "INACTIVE" => Kind::Inactive { after: Duration::from_millis(parse(m, "after-ms")?) },
        "REDIRECT_LOOP" => Kind::RedirectRefused { to: text("to")?, problem: RedirectProblem::TooOften },
        "REDIRECT_ADDRESS" => Kind::RedirectRefused { to: text("to")?, problem: RedirectProblem::NoAddress },
        code => match CertificateProblem::ALL.into_iter().find(|problem| problem.code() == code) {
            Some(problem) => Kind::CertificateUntrusted {
                subject: id("subject")?,
                issuer: id("issuer")?,
                problem,
                detail: text("detail")?,
            },
            None => return Ok(None),
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{any_identity, any_selector, established};
    use super::*;
    use proptest::prelude::*;
    use wire::grammar::RuleId;

    fn ended(kind: Kind) -> Tombstone {
        let config = ConfigRef { file: "swanctl.conf".into(), line: 7, key: "connections.gw-gw.proposals".into() };
        Tombstone {
            sa: established(),
            failure: Failure { kind, config: Some(config) },
            child: Some("net-net".into()),
            rekeying: Some(Rekeying::First),
            at: Instant::from_nanos(123_456_789),
            ended: Duration::from_millis(4321),
            again_in: Some(Duration::from_millis(15_000)),
            datagrams_in: 3,
            datagrams_out: 5,
        }
    }

    fn round_trip(t: &Tombstone) -> Result<Tombstone, SchemaError> {
        tombstone_from(&Message::decode(&tombstone(t).encode()).unwrap())
    }

    fn mismatch() -> Mismatch {
        let a = |id, key_length| Algorithm { kind: TransformType::ENCR, id, key_length };
        Mismatch {
            differing: vec![
                (Dimension(TransformType::ENCR), vec![a(12, Some(128))], vec![a(20, Some(256)), a(77, None)]),
                (Dimension(TransformType::KE), Vec::new(), vec![Algorithm::from(KeyExchangeId::ECP_256)]),
            ],
        }
    }

    #[test]
    fn the_message_says_what_where_and_what_to_do() {
        let t = ended(Kind::NoProposalChosen {
            phase: Phase::Ike,
            found_by: Side::Us,
            mismatch: Some(mismatch()),
            ours: vec!["aes128-sha256-x25519".into()],
        });
        let m = tombstone(&t);
        let failure = m.get_section("failure").unwrap();
        assert_eq!(failure.get_str("code"), Some("IKE_PROPOSAL"));
        assert!(failure.get_str("text").unwrap().contains("ours AES_CBC-128, theirs AES_GCM_16-256"));
        assert!(failure.get_str("remedy").unwrap().contains("proposals"));
        assert_eq!(failure.get_section("config").unwrap().get_str("line"), Some("7"));
    }

    #[test]
    fn an_unknown_reason_keeps_the_daemons_words() {
        let mut m = Message::new();
        m.insert("sa", list_sa(&established())).section("failure", |m| {
            m.set("code", "MOON_PHASE").set("text", "the moon is not full");
        });
        assert_eq!(tombstone_from(&m).unwrap_err().to_string(), "the moon is not full [MOON_PHASE]");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_reason_survives(
            (a, b) in (any_identity(), any_identity()),
            (ts, more) in (proptest::collection::vec(any_selector(), 0..3), proptest::collection::vec(any_selector(), 0..3)),
            (local, remote) in any::<(std::net::SocketAddrV4, std::net::SocketAddrV4)>(),
            (n, flag) in any::<(u16, bool)>(),
            text in "[ -~]{0,20}",
        ) {
            let side = if flag { Side::Us } else { Side::Peer };
            let phase = if flag { Phase::Ike } else { Phase::Child };
            let ms = Duration::from_millis(n.into());
            let waiting_for = RuleId::IkeAuthResponse;
            let group = KeyExchangeId(n % 40);
            let kinds = [
                Kind::IdentityUnknown { received: a.clone(), asked_for: flag.then(|| b.clone()), expected: vec![text.clone()] },
                Kind::NotAddressed { remote: a.clone(), asked_for: b.clone(), ours: vec![text.clone()] },
                Kind::IdentityMismatch { received: a.clone(), expected: b.clone() },
                Kind::PskMismatch { local: a.clone(), remote: b.clone(), tried: n.into() },
                Kind::XauthRefused { user: a.clone(), found_by: side, known: flag },
                Kind::PskMissing { local: a.clone(), remote: b.clone() },
                Kind::AuthMethodUnsupported { method: text.clone() },
                Kind::NotUnique { remote: a.clone() },
                Kind::TooManyOfPeer { remote: a.clone(), most: n.into() },
                Kind::NoVirtualAddress { found_by: side, asked: vec![remote.ip().to_owned().into()], pools: vec![text.clone()] },
                Kind::AuthMethodMismatch { expected: text.clone(), received: text.clone() },
                Kind::OwnCertificateMissing { local: a.clone(), candidates: vec![text.clone()] },
                Kind::PeerCertificateMissing { remote: a.clone(), place: None },
                Kind::PeerCertificateMissing { remote: a.clone(), place: Some(text.clone()) },
                Kind::IdentityNotCertified { remote: a.clone(), names: vec![text.clone()] },
                Kind::CertificateUntrusted {
                    subject: a.clone(),
                    issuer: b.clone(),
                    problem: CertificateProblem::ALL[usize::from(n) % CertificateProblem::ALL.len()],
                    detail: text.clone(),
                },
                Kind::SignatureInvalid { remote: a.clone(), method: text.clone() },
                Kind::AuthenticationRefused { local: a, remote: flag.then_some(b) },
                Kind::NoProposalChosen { phase, found_by: side, mismatch: flag.then(mismatch), ours: vec![text.clone()] },
                Kind::InvalidKeyExchange { ours: group, wanted: KeyExchangeId(n) },
                Kind::ChoiceNotOffered { phase, mismatch: mismatch() },
                Kind::TsUnacceptable { found_by: side, local: ts.clone(), remote: more.clone(), peer_local: more, peer_remote: ts },
                Kind::TooManySelectors { pairs: n.into(), most: 1024 },
                Kind::NoAnswer { waiting_for, to: remote.into(), sent: n.into(), over: ms, answered_before: flag },
                Kind::HalfOpen { waiting_for, after: ms, repeated: n.into() },
                Kind::NoConfig { local: local.into(), remote: remote.into() },
                Kind::WrongVersion { peer: n as u8 },
                Kind::PeerRefused { phase, notify: NotifyType(n) },
                Kind::PeerRefusedV1 { phase, notify: V1NotifyType(n) },
                Kind::ModeMismatch { ours: flag },
                Kind::EncapsulationMode { tunnel: flag, peer: n },
                Kind::MessageInvalid { rule: waiting_for, missing: text.clone() },
                Kind::UnsupportedCritical { payload: PayloadType(n as u8) },
                Kind::BadPublicValue { group },
                Kind::InstallFailed { reason: text.clone() },
                Kind::PeerRestarted,
                Kind::PeerDeleted,
                Kind::Terminated,
                Kind::ConfigurationChanged,
                Kind::Replaced { by: SaId(n.into()) },
                Kind::Redirected { to: text.clone(), by: SaId(n.into()) },
                Kind::RedirectRefused { to: text.clone(), problem: if flag { RedirectProblem::TooOften } else { RedirectProblem::NoAddress } },
                Kind::ChildlessMismatch { ours: flag },
                Kind::Expired,
                Kind::Inactive { after: ms },
            ];
            for kind in kinds {
                prop_assert!(Kind::CODES.contains(&kind.code()), "{} is missing in CODES", kind.code());
                let t = ended(kind);
                let back = round_trip(&t).unwrap();
                prop_assert_eq!(format!("{back:?}"), format!("{t:?}"));
            }
        }
    }
}
