//! IKE SAs: the `list-sa` event, its inverse, and the `-updown` events.

use super::names::{algorithm, identity_from, identity_text, rule_from, rule_name, selector_from};
use super::trouble::{put_send_error, send_error_from};
use super::{SchemaError, hex, is_yes, items, parse_if_any, seconds};
use crate::Message;
use model::dataplane::{Binding, Counters, Mark, Mode};
use model::{
    Algorithm, ChildSnapshot, ChildState, ChosenSuite, Encryption, ExchangeMode, Heard, Identity, IkeState, NatState,
    Retransmissions, Role, SaId, SaSnapshot,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use wire::SpiPair;
use wire::registry::{EncryptionId, IntegrityId, KeyExchangeId, PrfId, TransformType};

/// strongSwan's name for an IKE SA whose connection is not known yet.
const UNNAMED: &str = "(unnamed)";

/// The section of the Child SAs that are not installed yet.
const PENDING: &str = "shrike-pending-child-sas";

/// strongSwan's task names. A snapshot holds `&'static str`, so what comes over the socket is looked up here; names that
/// are not in the list become `OTHER`.
const TASKS: &[&str] = &[
    "IKE_INIT",
    "IKE_NATD",
    "IKE_MOBIKE",
    "IKE_AUTH",
    "IKE_AUTH_LIFETIME",
    "IKE_CERT_PRE",
    "IKE_CERT_POST",
    "IKE_CONFIG",
    "IKE_REKEY",
    "IKE_REAUTH",
    "IKE_REAUTH_COMPLETE",
    "IKE_DELETE",
    "IKE_DPD",
    "IKE_VENDOR",
    "IKE_ME",
    "IKE_REDIRECT",
    "IKE_VERIFY_PEER_CERT",
    "IKE_MID_SYNC",
    "IKE_ESTABLISH",
    "CHILD_CREATE",
    "CHILD_DELETE",
    "CHILD_REKEY",
    "MAIN_MODE",
    "AGGRESSIVE_MODE",
    "INFORMATIONAL",
    "ISAKMP_DELETE",
    "ISAKMP_NATD",
    "ISAKMP_VENDOR",
    "ISAKMP_CERT_PRE",
    "ISAKMP_CERT_POST",
    "ISAKMP_DPD",
    "XAUTH",
    "MODE_CONFIG",
    "QUICK_MODE",
    "QUICK_DELETE",
];

/// Ways to authenticate, in tmsh's words.
const AUTHENTICATIONS: &[&str] = &[
    "pre-shared-key",
    "rsa-signature",
    "dss",
    "ecdsa-256",
    "ecdsa-384",
    "ecdsa-521",
    "ed25519",
    "signature",
    "eap",
    "hybrid",
    "xauth",
];

fn interned(known: &[&'static str], text: &str, otherwise: &'static str) -> &'static str {
    known.iter().copied().find(|name| *name == text).unwrap_or(otherwise)
}

/// The `list-sa` event of an IKE SA: `{NAME {..}}`.
pub fn list_sa(sa: &SaSnapshot) -> Message {
    let mut m = Message::new();
    m.section(section_name(sa), |m| ike_sa(m, sa, true));
    m
}

/// The same with the daemon's clock, nanoseconds since 1970, at the moment of the listing: a client that prints when
/// something happened prints the same each time.
pub fn list_sa_at(sa: &SaSnapshot, now: u64) -> Message {
    let mut m = Message::new();
    m.section(section_name(sa), |m| {
        ike_sa(m, sa, true);
        m.number("shrike-now", now);
    });
    m
}

/// The daemon's clock in a `list-sa` event, nanoseconds since 1970: charon does not tell.
pub fn listed_at(message: &Message) -> Option<u64> {
    message.sections().next()?.1.get_str("shrike-now")?.parse().ok()
}

/// The `ike-updown` event (`with_children` false) or the `child-updown` event (true; the snapshot holds the child).
pub fn updown(sa: &SaSnapshot, up: bool, with_children: bool) -> Message {
    let mut m = Message::new();
    m.flag("up", up).section(section_name(sa), |m| ike_sa(m, sa, with_children));
    m
}

fn section_name(sa: &SaSnapshot) -> &str {
    if sa.name.is_empty() { UNNAMED } else { &sa.name }
}

fn id_or_any(id: Option<&Identity>) -> String {
    id.map_or_else(|| "%any".to_string(), ToString::to_string)
}

fn whole_seconds(d: Option<Duration>) -> Option<u64> {
    d.map(|d| d.as_secs())
}

/// What is left of a time in whole seconds: the nanoseconds, if there are any.
fn set_exact(m: &mut Message, key: &str, time: Option<Duration>) {
    let nanoseconds = time.filter(|time| time.subsec_nanos() != 0).and_then(|time| u64::try_from(time.as_nanos()).ok());
    m.maybe(key, nanoseconds);
}

/// A time in whole seconds, and exactly if that is told too.
fn exact_from(m: &Message, key: &'static str, nanoseconds: &'static str) -> Result<Option<Duration>, SchemaError> {
    let exact = parse_if_any::<u64>(m, nanoseconds)?.map(Duration::from_nanos);
    Ok(exact.or(seconds(m, key)?))
}

fn ike_sa(m: &mut Message, sa: &SaSnapshot, with_children: bool) {
    m.number("uniqueid", sa.id.0)
        .number("version", sa.version)
        .set("state", sa.state.name())
        .set("local-host", sa.local.ip().to_string())
        .number("local-port", sa.local.port())
        .set("local-id", id_or_any(sa.local_id.as_ref()))
        .set("remote-host", sa.remote.ip().to_string())
        .number("remote-port", sa.remote.port())
        .set("remote-id", id_or_any(sa.remote_id.as_ref()))
        .maybe("remote-xauth-id", sa.remote_xauth_id.as_ref().map(ToString::to_string))
        .flag("initiator", sa.role == Role::Initiator)
        .set("initiator-spi", sa.spis.initiator.to_string())
        .set("responder-spi", sa.spis.responder.to_string())
        .flag("nat-local", sa.nat.local)
        .flag("nat-remote", sa.nat.remote)
        .flag("nat-fake", sa.nat.forced)
        .flag("nat-any", sa.nat.any());
    suite(m, sa.suite.as_ref());
    let texts = |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    m.maybe("established", whole_seconds(sa.established))
        .maybe("rekey-time", whole_seconds(sa.rekey_in))
        .maybe("reauth-time", whole_seconds(sa.reauth_in))
        .list_if_any("local-vips", &texts(&sa.local_vips))
        .list_if_any("remote-vips", &texts(&sa.remote_vips))
        .list_if_any("tasks-queued", &sa.tasks_queued)
        .list_if_any("tasks-active", &sa.tasks_active);
    let (installed, pending): (Vec<_>, Vec<_>) = sa.children.iter().partition(|child| child.installed.is_some());
    if with_children {
        m.section("child-sas", |m| child_sas(m, &installed));
    }
    own_keys(m, sa);
    // swanctl takes SPIs, counters and times for granted, and charon lists no Child SA before it has them.
    if with_children && !pending.is_empty() {
        m.section(PENDING, |m| child_sas(m, &pending));
    }
}

fn child_sas(m: &mut Message, children: &[&ChildSnapshot]) {
    for child in children {
        m.section(format!("{}-{}", child.name, child.id.0), |m| child_sa(m, child));
    }
}

/// What strongSwan's schema has no key for. Values at their default are left out.
fn own_keys(m: &mut Message, sa: &SaSnapshot) {
    let exact = |id: &Option<Identity>| {
        id.as_ref().map(|id| (identity_text(id), id.to_string())).filter(|(exact, shown)| exact != shown).map(|e| e.0)
    };
    let nonzero = |n: u32| (n != 0).then_some(n);
    m.number("shrike-worker", sa.worker)
        .maybe("shrike-mode", sa.mode.map(mode_name))
        .maybe("shrike-waiting-for", sa.waiting_for.map(rule_name))
        .number("shrike-age", sa.age.as_secs())
        .maybe("shrike-remote-cert-until", sa.remote_certificate_until.map(|until| until.as_secs()))
        .maybe("shrike-banner", sa.banner.as_deref())
        .maybe("shrike-retransmits", nonzero(sa.retransmissions.sent))
        .maybe("shrike-retransmits-total", nonzero(sa.retransmissions.total))
        .maybe("shrike-repeated-answers", nonzero(sa.retransmissions.answered))
        .maybe("shrike-lifetime", (sa.lifetime.as_secs() != 0).then_some(sa.lifetime.as_secs()))
        .set("shrike-authentication", sa.authentication)
        .maybe("shrike-local-id", exact(&sa.local_id))
        .maybe("shrike-remote-id", exact(&sa.remote_id))
        .maybe("shrike-remote-xauth-id", exact(&sa.remote_xauth_id))
        .maybe("shrike-phase1", whole_seconds(sa.phase1));
    set_exact(m, "shrike-established-ns", sa.established);
    set_exact(m, "shrike-phase1-ns", sa.phase1);
    m.maybe("shrike-suspicion", sa.suspicion.as_deref())
        .maybe("shrike-expires", whole_seconds(sa.expires_in))
        .maybe("shrike-heard", nonzero(sa.heard.datagrams))
        .maybe("shrike-heard-from-there", nonzero(sa.heard.from_there))
        .maybe("shrike-heard-again", nonzero(sa.heard.repeated))
        .list_if_any("shrike-configured-children", &sa.configured_children);
    if let Some(error) = &sa.send_error {
        m.section("shrike-send-error", |m| put_send_error(m, error));
    }
}

/// Marks and XFRM interfaces in hexadecimal; a mask only where it leaves bits out.
fn set_binding(m: &mut Message, binding: &Binding) {
    for (key, mask, mark) in
        [("mark-in", "mark-mask-in", binding.mark_in), ("mark-out", "mark-mask-out", binding.mark_out)]
    {
        m.maybe(key, mark.map(|mark| format!("{:08x}", mark.value)));
        m.maybe(mask, mark.filter(|mark| mark.mask != u32::MAX).map(|mark| format!("{:08x}", mark.mask)));
    }
    m.maybe("if-id-in", binding.if_id_in.map(|id| format!("{id:08x}")));
    m.maybe("if-id-out", binding.if_id_out.map(|id| format!("{id:08x}")));
}

/// What [`set_binding`] tells of it.
fn binding_from(m: &Message) -> Result<Binding, SchemaError> {
    let number = |key: &'static str| match m.get_str(key) {
        Some(text) => {
            u32::from_str_radix(text, 16).map(Some).map_err(|_| SchemaError::Value { key, value: text.into() })
        }
        None => Ok(None),
    };
    let mark = |key, mask| {
        Ok(number(key)?.map(|value| Mark { value, mask: u32::MAX })).and_then(|mark: Option<Mark>| {
            let mask = number(mask)?;
            Ok(mark.map(|mark| Mark { mask: mask.unwrap_or(mark.mask), ..mark }))
        })
    };
    Ok(Binding {
        mark_in: mark("mark-in", "mark-mask-in")?,
        mark_out: mark("mark-out", "mark-mask-out")?,
        if_id_in: number("if-id-in")?,
        if_id_out: number("if-id-out")?,
        ..Binding::default()
    })
}

fn suite(m: &mut Message, suite: Option<&ChosenSuite>) {
    let Some(suite) = suite else { return };
    let name = |a: Option<Algorithm>| a.map(Algorithm::vici_name);
    m.set("encr-alg", Algorithm::from(suite.encryption).vici_name())
        .maybe("encr-keysize", suite.encryption.key_length)
        .maybe("integ-alg", name(suite.integrity.map(Algorithm::from)))
        .maybe("prf-alg", name(suite.prf.map(Algorithm::from)))
        .maybe("dh-group", name(suite.key_exchange.map(Algorithm::from)))
        .maybe("esn", suite.esn.then_some(1));
}

fn child_sa(m: &mut Message, child: &ChildSnapshot) {
    let spi = |spi: u32| (spi != 0).then(|| format!("{spi:08x}"));
    m.set("name", &child.name)
        .number("uniqueid", child.id.0)
        .number("reqid", child.reqid)
        .set("state", child.state.name())
        .set("mode", if child.mode == Mode::Tunnel { "TUNNEL" } else { "TRANSPORT" })
        .set("protocol", "ESP")
        .flag("encap", child.encapsulated)
        .maybe("spi-in", spi(child.spi_in))
        .maybe("spi-out", spi(child.spi_out));
    set_binding(m, &child.binding);
    suite(m, child.suite.as_ref());
    if child.installed.is_some() {
        m.number("bytes-in", child.counters.bytes_in)
            .number("packets-in", child.counters.packets_in)
            .maybe("use-in", whole_seconds(child.counters.idle_in))
            .number("bytes-out", child.counters.bytes_out)
            .number("packets-out", child.counters.packets_out)
            .maybe("use-out", whole_seconds(child.counters.idle_out));
    }
    m.maybe("rekey-time", whole_seconds(child.rekey_in))
        .maybe("life-time", whole_seconds(child.expires_in))
        .maybe("install-time", whole_seconds(child.installed));
    set_exact(m, "shrike-install-ns", child.installed);
    m.list("local-ts", child.local_ts.iter().map(ToString::to_string))
        .list("remote-ts", child.remote_ts.iter().map(ToString::to_string));
}

/// The snapshot in a `list-sa`, `ike-updown` or `child-updown` event: the inverse of [`list_sa`].
///
/// Times come back in whole seconds, save those since which something is up, and the Child SAs that are not installed yet behind the others. A message of another daemon lacks our own keys: the age is then the time since
/// establishment, the authentication `unknown`, and the names of the children stand for the configured ones.
///
/// # Errors
/// The key that is missing or cannot be read.
pub fn snapshot(message: &Message) -> Result<SaSnapshot, SchemaError> {
    let (name, m) = message.sections().next().ok_or(SchemaError::Missing { key: "list-sa" })?;
    let count = |key| Ok(parse_if_any::<u32>(m, key)?.unwrap_or(0));
    let sections = [m.get_section("child-sas"), m.get_section(PENDING)];
    let children = sections.into_iter().flatten().flat_map(Message::sections).map(|(name, m)| child(name, m));
    let children = children.collect::<Result<Vec<_>, _>>()?;
    let established = exact_from(m, "established", "shrike-established-ns")?;
    let mut configured: Vec<String> = m.texts("shrike-configured-children").map(String::from).collect();
    if m.get("shrike-worker").is_none() {
        configured = children.iter().map(|c| c.name.clone()).collect();
        configured.dedup();
    }
    let tasks = |key| m.texts(key).map(|t| interned(TASKS, t, "OTHER")).collect();
    let waiting_for = m.get_str("shrike-waiting-for").map(|name| {
        rule_from(name).ok_or_else(|| SchemaError::Value { key: "shrike-waiting-for", value: name.into() })
    });
    Ok(SaSnapshot {
        id: SaId(super::parse(m, "uniqueid")?),
        name: if name == UNNAMED { String::new() } else { name.to_string() },
        version: super::parse(m, "version")?,
        mode: m.get("shrike-mode").map(|_| mode_from(m, "shrike-mode")).transpose()?,
        state: ike_state(super::need(m, "state")?)?,
        waiting_for: waiting_for.transpose()?,
        role: if is_yes(m, "initiator") { Role::Initiator } else { Role::Responder },
        spis: SpiPair {
            initiator: hex(m, "initiator-spi")?.unwrap_or(0).into(),
            responder: hex(m, "responder-spi")?.unwrap_or(0).into(),
        },
        local: address(m, "local-host", "local-port")?,
        remote: address(m, "remote-host", "remote-port")?,
        local_id: identity(m, "shrike-local-id", "local-id"),
        remote_id: identity(m, "shrike-remote-id", "remote-id"),
        remote_xauth_id: identity(m, "shrike-remote-xauth-id", "remote-xauth-id"),
        local_vips: addresses(m, "local-vips")?,
        remote_vips: addresses(m, "remote-vips")?,
        remote_certificate_until: parse_if_any(m, "shrike-remote-cert-until")?.map(Duration::from_secs),
        banner: m.get_str("shrike-banner").map(String::from),
        suite: suite_from(m)?,
        nat: NatState { local: is_yes(m, "nat-local"), remote: is_yes(m, "nat-remote"), forced: is_yes(m, "nat-fake") },
        authentication: interned(AUTHENTICATIONS, m.get_str("shrike-authentication").unwrap_or_default(), "unknown"),
        age: seconds(m, "shrike-age")?.or(established).unwrap_or_default(),
        established,
        rekey_in: seconds(m, "rekey-time")?,
        reauth_in: seconds(m, "reauth-time")?,
        lifetime: seconds(m, "shrike-lifetime")?.unwrap_or_default(),
        retransmissions: Retransmissions {
            sent: count("shrike-retransmits")?,
            total: count("shrike-retransmits-total")?,
            answered: count("shrike-repeated-answers")?,
        },
        expires_in: seconds(m, "shrike-expires")?,
        heard: Heard {
            datagrams: count("shrike-heard")?,
            from_there: count("shrike-heard-from-there")?,
            repeated: count("shrike-heard-again")?,
        },
        tasks_queued: tasks("tasks-queued"),
        tasks_active: tasks("tasks-active"),
        worker: count("shrike-worker")?,
        phase1: exact_from(m, "shrike-phase1", "shrike-phase1-ns")?,
        suspicion: m.get_str("shrike-suspicion").map(String::from),
        send_error: m.get_section("shrike-send-error").map(send_error_from).transpose()?,
        children,
        configured_children: configured,
    })
}

fn identity(m: &Message, exact: &str, shown: &str) -> Option<Identity> {
    m.get_str(exact).or_else(|| m.get_str(shown).filter(|text| *text != "%any")).map(identity_from)
}

fn addresses(m: &Message, key: &'static str) -> Result<Vec<IpAddr>, SchemaError> {
    let parse = |text: &str| text.parse().map_err(|_| SchemaError::Value { key, value: text.into() });
    m.texts(key).map(parse).collect()
}

fn address(m: &Message, host: &'static str, port: &'static str) -> Result<SocketAddr, SchemaError> {
    // Charon prints `%any` where no address is known yet.
    let ip = match m.get_str(host) {
        None | Some("%any" | "%any6") => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Some(_) => super::parse(m, host)?,
    };
    Ok(SocketAddr::new(ip, parse_if_any(m, port)?.unwrap_or(0)))
}

/// What the configuration and the log call the mode of phase 1.
pub(super) fn mode_name(mode: ExchangeMode) -> &'static str {
    match mode {
        ExchangeMode::IdentityProtection => "main",
        ExchangeMode::Aggressive => "aggressive",
    }
}

pub(super) fn mode_from(m: &Message, key: &'static str) -> Result<ExchangeMode, SchemaError> {
    match super::need(m, key)? {
        "main" => Ok(ExchangeMode::IdentityProtection),
        "aggressive" => Ok(ExchangeMode::Aggressive),
        other => Err(SchemaError::Value { key, value: other.into() }),
    }
}

fn ike_state(text: &str) -> Result<IkeState, SchemaError> {
    Ok(match text {
        "CREATED" => IkeState::Created,
        "CONNECTING" => IkeState::Connecting,
        // An SA of another node of charon's HA cluster: usable, elsewhere.
        "ESTABLISHED" | "PASSIVE" => IkeState::Established,
        "REKEYING" => IkeState::Rekeying,
        "REKEYED" => IkeState::Rekeyed,
        "DELETING" => IkeState::Deleting,
        "DESTROYING" => IkeState::Destroying,
        _ => return Err(SchemaError::Value { key: "state", value: text.into() }),
    })
}

fn child_state(text: &str) -> Result<ChildState, SchemaError> {
    Ok(match text {
        "CREATED" | "ROUTED" | "RETRYING" => ChildState::Larval,
        "INSTALLING" => ChildState::Installing,
        "INSTALLED" | "UPDATING" => ChildState::Installed,
        "REKEYING" => ChildState::Rekeying,
        "REKEYED" => ChildState::Rekeyed,
        "DELETING" => ChildState::Deleting,
        "DELETED" | "DESTROYING" => ChildState::Deleted,
        _ => return Err(SchemaError::Value { key: "state", value: text.into() }),
    })
}

fn suite_from(m: &Message) -> Result<Option<ChosenSuite>, SchemaError> {
    let read = |key: &'static str, kind, length| match m.get_str(key) {
        None => Ok(None),
        Some(name) => algorithm(kind, name, length)
            .map(|a| Some(a.id))
            .ok_or_else(|| SchemaError::Value { key, value: name.into() }),
    };
    let key_length = parse_if_any(m, "encr-keysize")?;
    let Some(encryption) = read("encr-alg", TransformType::ENCR, key_length)? else { return Ok(None) };
    Ok(Some(ChosenSuite {
        encryption: Encryption { id: EncryptionId(encryption), key_length },
        integrity: read("integ-alg", TransformType::INTEG, None)?.map(IntegrityId),
        prf: read("prf-alg", TransformType::PRF, None)?.map(PrfId),
        key_exchange: read("dh-group", TransformType::KE, None)?.map(KeyExchangeId),
        esn: m.get_str("esn") == Some("1"),
    }))
}

fn child(section: &str, m: &Message) -> Result<ChildSnapshot, SchemaError> {
    let count = |key| Ok(parse_if_any::<u64>(m, key)?.unwrap_or(0));
    let spi = |key| Ok(hex(m, key)?.and_then(|spi| u32::try_from(spi).ok()).unwrap_or(0));
    Ok(ChildSnapshot {
        id: SaId(parse_if_any(m, "uniqueid")?.unwrap_or(0)),
        name: m.get_str("name").unwrap_or(section).to_string(),
        reqid: parse_if_any(m, "reqid")?.unwrap_or(0),
        state: child_state(super::need(m, "state")?)?,
        mode: match m.get_str("mode") {
            Some(mode) if mode.starts_with("TRANSPORT") => Mode::Transport,
            _ => Mode::Tunnel,
        },
        encapsulated: is_yes(m, "encap"),
        binding: binding_from(m)?,
        spi_in: spi("spi-in")?,
        spi_out: spi("spi-out")?,
        suite: suite_from(m)?,
        local_ts: items(m, "local-ts", selector_from)?,
        remote_ts: items(m, "remote-ts", selector_from)?,
        installed: exact_from(m, "install-time", "shrike-install-ns")?,
        rekey_in: seconds(m, "rekey-time")?,
        expires_in: seconds(m, "life-time")?,
        counters: Counters {
            bytes_in: count("bytes-in")?,
            packets_in: count("packets-in")?,
            bytes_out: count("bytes-out")?,
            packets_out: count("packets-out")?,
            idle_in: seconds(m, "use-in")?,
            idle_out: seconds(m, "use-out")?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{any_snapshot, connecting, established};
    use super::*;
    use crate::Element;
    use proptest::prelude::*;

    /// What `evaltest.dat` of strongSwan's scenario `ikev2/net2net-psk` looks for in `swanctl --list-sas --raw`.
    #[test]
    fn marks_and_interfaces_are_told_as_strongswan_tells_them() {
        let [ten, part] = [(10, u32::MAX), (11, 0xff)].map(|(value, mask)| Some(Mark { value, mask }));
        let binding = Binding { mark_in: ten, mark_out: part, if_id_out: Some(42), ..Binding::default() };
        let mut m = Message::new();
        set_binding(&mut m, &binding);
        let told: Vec<Option<&str>> = ["mark-in", "mark-mask-in", "mark-out", "mark-mask-out", "if-id-in", "if-id-out"]
            .map(|k| m.get_str(k))
            .into();
        assert_eq!(told, [Some("0000000a"), None, Some("0000000b"), Some("000000ff"), None, Some("0000002a")]);
        assert_eq!(binding_from(&m), Ok(binding));
        let mut wrong = Message::new();
        wrong.set("mark-in", "x");
        assert_eq!(binding_from(&wrong), Err(SchemaError::Value { key: "mark-in", value: "x".into() }));
    }

    #[test]
    fn keys_values_and_order_are_charons() {
        let raw = list_sa(&established()).to_string();
        let mut rest = raw.as_str();
        for piece in [
            "gw-gw {",
            "version=2 state=ESTABLISHED local-host=192.168.0.1 local-port=500 local-id=moon.strongswan.org \
             remote-host=192.168.0.2 remote-port=500 remote-id=sun.strongswan.org initiator=yes",
            "encr-alg=AES_CBC encr-keysize=128 integ-alg=HMAC_SHA2_256_128 prf-alg=PRF_HMAC_SHA2_256 dh-group=CURVE_25519",
            "child-sas",
            "net-net",
            "state=INSTALLED mode=TUNNEL",
            "ESP",
            "encr-alg=AES_GCM_16 encr-keysize=128",
            "local-ts=[10.1.0.0/16] remote-ts=[10.2.0.0/16]",
        ] {
            let at = rest.find(piece).unwrap_or_else(|| panic!("{piece} is not in {rest}"));
            rest = &rest[at + piece.len()..];
        }
        let shrike = raw.find("shrike-").unwrap();
        assert!(shrike > raw.find("remote-ts").unwrap(), "our own keys come last");
    }

    /// Recorded from charon 6 (`swanctl --list-sas --raw`), responder's end.
    fn charon() -> Message {
        let mut m = Message::new();
        m.section("v2", |m| {
            for pair in "uniqueid=1 version=2 state=ESTABLISHED local-host=10.9.0.2 local-port=4500 local-id=10.9.0.2 \
                remote-host=10.9.0.1 remote-port=4500 remote-id=10.9.0.1 initiator-spi=fc78f6427b088606 \
                responder-spi=bcfe99736e5a3ba6 encr-alg=AES_CBC encr-keysize=256 integ-alg=HMAC_SHA2_256_128 \
                prf-alg=PRF_HMAC_SHA2_256 dh-group=MODP_2048 established=13 rekey-time=14300"
                .split(' ')
            {
                let (key, value) = pair.split_once('=').unwrap();
                m.set(key, value);
            }
            m.section("child-sas", |m| {
                m.section("v2c-1", |m| {
                    for pair in "name=v2c uniqueid=1 reqid=1 state=INSTALLED mode=TUNNEL protocol=ESP spi-in=c056f948 \
                        spi-out=ca23ef69 encr-alg=AES_CBC encr-keysize=256 integ-alg=HMAC_SHA2_256_128 bytes-in=252 \
                        packets-in=3 use-in=1 bytes-out=252 packets-out=3 use-out=1 rekey-time=3258 life-time=3947 \
                        install-time=13"
                        .split(' ')
                    {
                        let (key, value) = pair.split_once('=').unwrap();
                        m.set(key, value);
                    }
                    m.list("local-ts", ["10.8.2.0/24"]).list("remote-ts", ["10.8.1.0/24"]);
                });
            });
        });
        m
    }

    #[test]
    fn reads_what_charon_says_and_says_the_same() {
        let sa = snapshot(&charon()).unwrap();
        assert_eq!((sa.role, sa.authentication, sa.age), (Role::Responder, "unknown", Duration::from_secs(13)));
        assert_eq!(sa.configured_children, ["v2c"]);
        assert_eq!(sa.children[0].suite.unwrap().to_string(), "AES_CBC-256/HMAC_SHA2_256_128");
        let ours = list_sa(&sa).to_string();
        let theirs = charon().to_string();
        assert!(ours.starts_with(theirs.trim_end_matches('}')), "{ours}\n{theirs}");
    }

    #[test]
    fn unreadable_values_name_their_key() {
        let with = |key: &str, value: &str| {
            let mut m = Message::new();
            m.section("x", |m| {
                for (k, v) in [("uniqueid", "1"), ("version", "2"), ("state", "CREATED"), ("encr-alg", "NULL")] {
                    m.set(k, if k == key { value } else { v });
                }
            });
            snapshot(&m)
        };
        assert!(with("", "").is_ok());
        assert_eq!(with("state", "ODD").unwrap_err(), SchemaError::Value { key: "state", value: "ODD".into() });
        assert_eq!(
            with("encr-alg", "ROT13").unwrap_err(),
            SchemaError::Value { key: "encr-alg", value: "ROT13".into() }
        );
        assert_eq!(snapshot(&Message::new()).unwrap_err(), SchemaError::Missing { key: "list-sa" });
    }

    #[test]
    fn a_responder_that_does_not_know_its_peer() {
        let raw = list_sa(&connecting()).to_string();
        assert!(raw.starts_with("{(unnamed) {uniqueid=2 version=2 state=CONNECTING "), "{raw}");
        assert!(raw.contains(" local-id=%any ") && raw.contains(" remote-id=%any initiator-spi="), "{raw}");
        assert!(raw.contains(" shrike-waiting-for=ike-auth-request "), "{raw}");
        let child =
            "net-net-2 {name=net-net uniqueid=2 reqid=0 state=CREATED mode=TUNNEL protocol=ESP local-ts=[10.1.0.0/16]";
        assert!(raw.contains(child), "{raw}");
    }

    #[test]
    fn the_mode_of_phase_1() {
        let sa = SaSnapshot { version: 1, mode: Some(ExchangeMode::Aggressive), ..established() };
        let mut m = list_sa(&sa);
        assert!(m.to_string().contains(" shrike-worker=0 shrike-mode=aggressive shrike-age=3 "), "{m}");
        assert_eq!(snapshot(&m).unwrap().mode, sa.mode);
        m = Message::new();
        m.section("x", |m| {
            m.number("uniqueid", 1u8).number("version", 1u8).set("state", "CREATED").set("shrike-mode", "base");
        });
        assert_eq!(snapshot(&m).unwrap_err(), SchemaError::Value { key: "shrike-mode", value: "base".into() });
    }

    #[test]
    fn updown_events() {
        let sa = established();
        let up = updown(&sa, true, false);
        assert_eq!(up.get_str("up"), Some("yes"));
        assert!(up.get_section("gw-gw").unwrap().get_section("child-sas").is_none());
        let down = updown(&sa, false, true);
        assert_eq!(down.get("up"), None);
        assert!(snapshot(&down).unwrap().children[0].name == "net-net");
    }

    #[test]
    fn since_when_it_is_up_is_told_to_the_nanosecond() {
        let up = Duration::new(90, 123_456_789);
        let mut sa = SaSnapshot { established: Some(up), phase1: Some(up), ..established() };
        sa.children[0].installed = Some(up);
        let message = list_sa_at(&sa, 1_800_000_000_987_654_321);
        let back = snapshot(&message).unwrap();
        assert_eq!((back.established, back.phase1, back.children[0].installed), (Some(up), Some(up), Some(up)));
        assert_eq!(listed_at(&message), Some(1_800_000_000_987_654_321));
        assert_eq!(listed_at(&list_sa(&sa)), None);
        let m = message.sections().next().unwrap().1;
        assert_eq!(m.get_str("established"), Some("90"), "strongSwan's key is as strongSwan has it");
    }

    /// strongSwan's keys, in its order, and then ours: what reads the listing as text, as its scenarios do, expects one key of
    /// strongSwan's behind the other.
    fn own_keys_are_last(sa: &SaSnapshot) -> bool {
        let message = list_sa_at(sa, 1);
        let keys: Vec<&str> = message.sections().next().unwrap().1.iter().map(Element::key).collect();
        let own = |key: &&&str| key.starts_with("shrike-");
        keys.iter().skip_while(|key| !own(key)).all(|key| own(&key))
    }

    #[test]
    fn no_key_of_ours_stands_among_strongswans() {
        let full = SaSnapshot {
            local_vips: vec!["10.3.0.1".parse().unwrap()],
            remote_certificate_until: Some(Duration::from_secs(1_800_000_000)),
            banner: Some("welcome".into()),
            tasks_queued: vec!["IKE_REKEY"],
            tasks_active: vec!["IKE_DPD"],
            ..established()
        };
        assert!(own_keys_are_last(&full), "{}", list_sa(&full));
        assert!(own_keys_are_last(&connecting()));
    }

    proptest! {
        #[test]
        fn own_keys_come_last(sa in any_snapshot()) {
            prop_assert!(own_keys_are_last(&sa));
        }

        #[test]
        fn snapshot_is_the_inverse_of_list_sa(sa in any_snapshot()) {
            let message = list_sa(&sa);
            let decoded = Message::decode(&message.encode()).unwrap();
            let back = snapshot(&decoded).unwrap();
            prop_assert_eq!(format!("{back:#?}"), format!("{sa:#?}"));
        }
    }
}
