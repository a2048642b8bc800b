//! The listing as JSON: `{"schema":"shrike.sa/1","sas":[..],"ended":[..]}`.
//!
//! The schema is stable: within `shrike.sa/1` fields are added, never renamed or removed, and a field without a value is
//! `null`, not left out. Times are whole seconds, SPIs hexadecimal text, algorithms strongSwan's names, states strongSwan's
//! words. Every entry of `ended` has the whole SA as it was, a stable `code`, the `reason` with both sides' values as
//! text and, where there are two sides, again one by one in `differing`.

use model::dataplane::Mode;
use model::{
    Algorithm, ChildSnapshot, ChosenSuite, ConfigRef, ExchangeMode, FailureKind, Identity, Role, SaSnapshot, Tombstone,
    TrafficSelector,
};
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::time::Duration;
use wire::EncapsulationMode;
use wire::grammar::rule;

/// The name and version of the schema.
pub const SCHEMA: &str = "shrike.sa/1";

/// The whole listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// [`SCHEMA`].
    pub schema: String,
    /// IKE SAs.
    pub sas: Vec<Sa>,
    /// SAs that ended, as far as they are remembered.
    pub ended: Vec<Ended>,
}

/// One IKE SA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sa {
    /// Name of the connection; empty while a responder does not know it.
    pub name: String,
    /// Unique number.
    pub id: u32,
    /// IKE version, 1 or 2.
    pub version: u8,
    /// Mode of phase 1: `main` or `aggressive`; none with IKEv2.
    pub mode: Option<String>,
    /// strongSwan's word.
    pub state: String,
    /// What it waits for.
    pub waiting_for: Option<Waiting>,
    /// `initiator` or `responder`.
    pub role: String,
    /// 16 hexadecimal digits.
    pub initiator_spi: String,
    /// 16 hexadecimal digits, zero until the responder answered.
    pub responder_spi: String,
    /// Our end.
    pub local: End,
    /// The peer's end.
    pub remote: End,
    /// Whether ESP goes in UDP though no NAT was found.
    pub encapsulation_forced: bool,
    /// The agreed suite.
    pub suite: Option<Suite>,
    /// `pre-shared-key`...
    pub authentication: String,
    /// Seconds since it exists.
    pub age: u64,
    /// Seconds since it was established.
    pub established: Option<u64>,
    /// Seconds to the next rekeying.
    pub rekey_in: Option<u64>,
    /// Seconds to the next reauthentication.
    pub reauth_in: Option<u64>,
    /// Seconds to its end, where nothing of ours renews it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// Configured lifetime in seconds.
    pub lifetime: Option<u64>,
    /// Retransmissions.
    pub retransmissions: Retransmissions,
    /// Exchanges that wait, strongSwan's task names.
    pub tasks_queued: Vec<String>,
    /// Exchanges under way.
    pub tasks_active: Vec<String>,
    /// What speaks against the negotiation or the SA without being proof: the error that the peer reported unprotected, by
    /// name, DELETE or UNREADABLE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspicion: Option<String>,
    /// What the operating system said last of what is sent to the peer's address and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_error: Option<SendError>,
    /// The worker that owns it.
    pub worker: u32,
    /// Child SAs.
    pub children: Vec<Child>,
    /// Names of the configured children.
    pub configured_children: Vec<String>,
}

/// What became of datagrams that were to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendError {
    /// Where they go: address and port.
    pub to: String,
    /// `host-unreachable`, `network-unreachable`, `port-unreachable`, `not-permitted`...
    pub trouble: String,
    /// How often.
    pub count: u64,
    /// Seconds since the latest.
    pub last: u64,
    /// Who reported it by ICMP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reporter: Option<String>,
}

/// The message that an SA waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// In the RFC's notation.
    pub message: String,
    /// In words.
    pub story: String,
}

/// One end of an IKE SA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// IP address.
    pub address: String,
    /// UDP port.
    pub port: u16,
    /// Identity, once known.
    pub id: Option<String>,
    /// Whether a NAT was found before it.
    pub behind_nat: bool,
    /// The user that XAuth proved; left out without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Virtual addresses that the other end assigned to it; left out without any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub virtual_addresses: Vec<String>,
}

/// An agreed suite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suite {
    /// Encryption algorithm.
    pub encryption: String,
    /// Its key length in bits.
    pub key_length: Option<u16>,
    /// Integrity algorithm, none with a combined-mode cipher.
    pub integrity: Option<String>,
    /// Pseudorandom function, none for Child SAs.
    pub prf: Option<String>,
    /// Key exchange method.
    pub key_exchange: Option<String>,
    /// Extended sequence numbers.
    pub esn: bool,
}

/// How often something was sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retransmissions {
    /// The request under way.
    pub sent: u32,
    /// All requests of this SA.
    pub total: u32,
    /// Our answers, because the peer repeated its request.
    pub answered: u32,
}

/// One Child SA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// Name in the configuration.
    pub name: String,
    /// Unique number.
    pub id: u32,
    /// Request ID.
    pub reqid: u32,
    /// strongSwan's word.
    pub state: String,
    /// `tunnel` or `transport`.
    pub mode: String,
    /// Whether ESP goes in UDP.
    pub encapsulated: bool,
    /// SPI by which we receive, 8 hexadecimal digits, once chosen.
    pub spi_in: Option<String>,
    /// SPI by which we send.
    pub spi_out: Option<String>,
    /// The agreed suite.
    pub suite: Option<Suite>,
    /// Our traffic selectors.
    pub local_ts: Vec<String>,
    /// The peer's.
    pub remote_ts: Vec<String>,
    /// Seconds since it was installed.
    pub installed: Option<u64>,
    /// Seconds to the next rekeying.
    pub rekey_in: Option<u64>,
    /// Seconds to its end.
    pub expires_in: Option<u64>,
    /// Octets received.
    pub bytes_in: u64,
    /// Packets received.
    pub packets_in: u64,
    /// Seconds since the last packet received.
    pub idle_in: Option<u64>,
    /// Octets sent.
    pub bytes_out: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Seconds since the last packet sent.
    pub idle_out: Option<u64>,
}

/// An SA that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The SA as it was.
    pub sa: Sa,
    /// The Child SA, when only that ended.
    pub child: Option<String>,
    /// Whether it goes on: it was to be rekeyed, and that failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rekeying: bool,
    /// Stable name of the reason.
    pub code: String,
    /// Whether it is an ordinary end, not a fault.
    pub ordinary: bool,
    /// The reason in words, with both sides' values.
    pub reason: String,
    /// Both sides' values.
    pub differing: Vec<Difference>,
    /// The configuration it is about; `line` is 0 when it came over vici.
    pub config: Option<ConfigRef>,
    /// What to do about it.
    pub remedy: String,
    /// Seconds since it ended.
    pub ended: u64,
    /// Datagrams seen from the peer.
    pub datagrams_in: u32,
    /// Datagrams sent to the peer.
    pub datagrams_out: u32,
}

/// Something in which the two ends differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What: `encryption algorithm`, `identity`, `local traffic selectors`.
    pub what: String,
    /// Our values.
    pub ours: Vec<String>,
    /// The peer's values.
    pub theirs: Vec<String>,
}

/// The listing of these snapshots and tombstones.
pub fn listing(sas: &[SaSnapshot], ended: &[Tombstone]) -> Listing {
    Listing {
        schema: SCHEMA.to_string(),
        sas: sas.iter().map(Sa::from).collect(),
        ended: ended.iter().map(Ended::from).collect(),
    }
}

/// The listing as text: on one line, or indented for people.
pub fn render(sas: &[SaSnapshot], ended: &[Tombstone], indented: bool) -> String {
    let listing = listing(sas, ended);
    let text = if indented { serde_json::to_string_pretty(&listing) } else { serde_json::to_string(&listing) };
    // Serialising fails for maps with odd keys and for failing writers; there are neither.
    text.unwrap_or_default()
}

fn mode_name(mode: ExchangeMode) -> &'static str {
    match mode {
        ExchangeMode::IdentityProtection => "main",
        ExchangeMode::Aggressive => "aggressive",
    }
}

fn seconds(d: Option<Duration>) -> Option<u64> {
    d.map(|d| d.as_secs())
}

fn texts<T: Display>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

impl From<&SaSnapshot> for Sa {
    fn from(sa: &SaSnapshot) -> Self {
        let end = |address: std::net::SocketAddr, id: &Option<Identity>, behind_nat, vips: &[std::net::IpAddr]| End {
            address: address.ip().to_string(),
            port: address.port(),
            id: id.as_ref().map(ToString::to_string),
            behind_nat,
            user: None,
            virtual_addresses: texts(vips),
        };
        let remote = end(sa.remote, &sa.remote_id, sa.nat.remote, &sa.remote_vips);
        Self {
            name: sa.name.clone(),
            id: sa.id.0,
            version: sa.version,
            mode: sa.mode.map(|mode| mode_name(mode).to_string()),
            state: sa.state.name().to_string(),
            waiting_for: sa
                .waiting_for
                .map(|id| Waiting { message: rule(id).notation.to_string(), story: rule(id).story.to_string() }),
            role: if sa.role == Role::Initiator { "initiator" } else { "responder" }.to_string(),
            initiator_spi: sa.spis.initiator.to_string(),
            responder_spi: sa.spis.responder.to_string(),
            local: end(sa.local, &sa.local_id, sa.nat.local, &sa.local_vips),
            remote: End { user: sa.remote_xauth_id.as_ref().map(ToString::to_string), ..remote },
            encapsulation_forced: sa.nat.forced,
            suite: sa.suite.as_ref().map(Suite::from),
            authentication: sa.authentication.to_string(),
            age: sa.age.as_secs(),
            established: seconds(sa.established),
            rekey_in: seconds(sa.rekey_in),
            reauth_in: seconds(sa.reauth_in),
            expires_in: seconds(sa.expires_in),
            lifetime: Some(sa.lifetime.as_secs()).filter(|s| *s != 0),
            retransmissions: Retransmissions {
                sent: sa.retransmissions.sent,
                total: sa.retransmissions.total,
                answered: sa.retransmissions.answered,
            },
            tasks_queued: texts(&sa.tasks_queued),
            tasks_active: texts(&sa.tasks_active),
            suspicion: sa.suspicion.clone(),
            send_error: sa.send_error.as_ref().map(|error| SendError {
                to: error.to.to_string(),
                trouble: error.trouble.code().to_string(),
                count: error.count,
                last: error.last.as_secs(),
                reporter: error.reporter.map(|reporter| reporter.to_string()),
            }),
            worker: sa.worker,
            children: sa.children.iter().map(Child::from).collect(),
            configured_children: sa.configured_children.clone(),
        }
    }
}

impl From<&ChosenSuite> for Suite {
    fn from(suite: &ChosenSuite) -> Self {
        let name = |a: Option<Algorithm>| a.map(Algorithm::vici_name);
        Self {
            encryption: Algorithm::from(suite.encryption).vici_name(),
            key_length: suite.encryption.key_length,
            integrity: name(suite.integrity.map(Algorithm::from)),
            prf: name(suite.prf.map(Algorithm::from)),
            key_exchange: name(suite.key_exchange.map(Algorithm::from)),
            esn: suite.esn,
        }
    }
}

impl From<&ChildSnapshot> for Child {
    fn from(child: &ChildSnapshot) -> Self {
        let spi = |spi: u32| (spi != 0).then(|| format!("{spi:08x}"));
        let c = &child.counters;
        Self {
            name: child.name.clone(),
            id: child.id.0,
            reqid: child.reqid,
            state: child.state.name().to_string(),
            mode: if child.mode == Mode::Tunnel { "tunnel" } else { "transport" }.to_string(),
            encapsulated: child.encapsulated,
            spi_in: spi(child.spi_in),
            spi_out: spi(child.spi_out),
            suite: child.suite.as_ref().map(Suite::from),
            local_ts: texts(&child.local_ts),
            remote_ts: texts(&child.remote_ts),
            installed: seconds(child.installed),
            rekey_in: seconds(child.rekey_in),
            expires_in: seconds(child.expires_in),
            bytes_in: c.bytes_in,
            packets_in: c.packets_in,
            idle_in: seconds(c.idle_in),
            bytes_out: c.bytes_out,
            packets_out: c.packets_out,
            idle_out: seconds(c.idle_out),
        }
    }
}

impl From<&Tombstone> for Ended {
    fn from(t: &Tombstone) -> Self {
        let kind = &t.failure.kind;
        Self {
            sa: Sa::from(&t.sa),
            child: t.child.clone(),
            rekeying: t.rekeying.is_some(),
            code: kind.code().to_string(),
            ordinary: kind.is_ordinary(),
            reason: kind.to_string(),
            differing: differing(kind),
            config: t.failure.config.clone(),
            remedy: t.remedy(),
            ended: t.ended.as_secs(),
            datagrams_in: t.datagrams_in,
            datagrams_out: t.datagrams_out,
        }
    }
}

fn differing(kind: &FailureKind) -> Vec<Difference> {
    let difference =
        |what: &str, ours: Vec<String>, theirs: Vec<String>| Difference { what: what.into(), ours, theirs };
    let mismatch = |m: &model::Mismatch| {
        m.differing
            .iter()
            .map(|(what, ours, theirs)| difference(&what.to_string(), texts(ours), texts(theirs)))
            .collect()
    };
    match kind {
        FailureKind::NoProposalChosen { mismatch: Some(m), .. } | FailureKind::ChoiceNotOffered { mismatch: m, .. } => {
            mismatch(m)
        }
        FailureKind::InvalidKeyExchange { ours, wanted } => {
            let name = |id| vec![Algorithm::from(id).vici_name()];
            vec![difference("key exchange group", name(*ours), name(*wanted))]
        }
        FailureKind::IdentityMismatch { received, expected } => {
            vec![difference("identity", vec![expected.to_string()], vec![received.to_string()])]
        }
        FailureKind::NotAddressed { asked_for, ours, .. } => {
            vec![difference("local identity", ours.clone(), vec![asked_for.to_string()])]
        }
        FailureKind::IdentityUnknown { received, expected, .. } => {
            vec![difference("identity", expected.clone(), vec![received.to_string()])]
        }
        FailureKind::TsUnacceptable { local, remote, peer_local, peer_remote, .. } => {
            let side = |what, ours: &[TrafficSelector], theirs: &[TrafficSelector]| {
                difference(what, texts(ours), texts(theirs))
            };
            // The peer's remote selectors speak of our side.
            vec![
                side("local traffic selectors", local, peer_remote),
                side("remote traffic selectors", remote, peer_local),
            ]
        }
        FailureKind::ModeMismatch { ours } => {
            let mode = |aggressive: bool| {
                let mode = if aggressive { ExchangeMode::Aggressive } else { ExchangeMode::IdentityProtection };
                vec![mode_name(mode).to_string()]
            };
            vec![difference("mode of phase 1", mode(*ours), mode(!ours))]
        }
        FailureKind::EncapsulationMode { tunnel, peer } => {
            // The values of RFC 2407 section 4.5 and RFC 3947 section 5.1 have names; others stay numbers.
            let theirs = EncapsulationMode(*peer).to_string().to_lowercase().replace('_', "-");
            let ours = if *tunnel { "tunnel" } else { "transport" };
            vec![difference("encapsulation mode", vec![ours.to_string()], vec![theirs])]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{connecting, ended, established, isakmp};
    use model::Side;

    /// Changing this text is changing the schema: add fields, never rename or remove them.
    const GOLDEN: &str = r#"{
  "schema": "shrike.sa/1",
  "sas": [
    {
      "name": "gw-gw",
      "id": 1,
      "version": 2,
      "mode": null,
      "state": "ESTABLISHED",
      "waiting_for": null,
      "role": "initiator",
      "initiator_spi": "31ee3f6a61962931",
      "responder_spi": "5ec1aa279daadaf2",
      "local": {
        "address": "192.168.0.1",
        "port": 4500,
        "id": "moon.strongswan.org",
        "behind_nat": false
      },
      "remote": {
        "address": "192.168.0.2",
        "port": 4500,
        "id": "sun.strongswan.org",
        "behind_nat": true
      },
      "encapsulation_forced": false,
      "suite": {
        "encryption": "AES_CBC",
        "key_length": 128,
        "integrity": "HMAC_SHA2_256_128",
        "prf": "PRF_HMAC_SHA2_256",
        "key_exchange": "CURVE_25519",
        "esn": false
      },
      "authentication": "pre-shared-key",
      "age": 7502,
      "established": 7501,
      "rekey_in": 6460,
      "reauth_in": null,
      "lifetime": 14400,
      "retransmissions": {
        "sent": 0,
        "total": 0,
        "answered": 0
      },
      "tasks_queued": [],
      "tasks_active": [],
      "worker": 3,
      "children": [
        {
          "name": "net-net",
          "id": 4,
          "reqid": 1,
          "state": "INSTALLED",
          "mode": "tunnel",
          "encapsulated": true,
          "spi_in": "ca23ef69",
          "spi_out": "c056f948",
          "suite": {
            "encryption": "AES_GCM_16",
            "key_length": 128,
            "integrity": null,
            "prf": null,
            "key_exchange": null,
            "esn": true
          },
          "local_ts": [
            "10.1.0.0/16"
          ],
          "remote_ts": [
            "10.2.0.0/16",
            "10.3.0.0/16"
          ],
          "installed": 301,
          "rekey_in": 3027,
          "expires_in": 3656,
          "bytes_in": 25200000,
          "packets_in": 30000,
          "idle_in": 1,
          "bytes_out": 84,
          "packets_out": 1,
          "idle_out": null
        }
      ],
      "configured_children": [
        "net-net",
        "net-backup"
      ]
    }
  ],
  "ended": []
}"#;

    #[test]
    fn the_schema_is_stable() {
        assert_eq!(render(&[established()], &[], true), GOLDEN);
        let parsed: Listing = serde_json::from_str(GOLDEN).unwrap();
        assert_eq!(parsed, listing(&[established()], &[]));
    }

    #[test]
    fn an_ended_sa_has_both_sides_values() {
        let kind = FailureKind::TsUnacceptable {
            found_by: Side::Us,
            local: vec!["10.1.0.0/16".parse().unwrap()],
            remote: vec!["10.2.0.0/16".parse().unwrap()],
            peer_local: vec!["10.9.0.0/16".parse().unwrap()],
            peer_remote: Vec::new(),
        };
        let text = render(&[connecting()], &[ended(kind, "connections.gw-gw.children.net-net", 12)], false);
        let expected = r#""child":null,"code":"TRAFFIC_SELECTOR","ordinary":false,"reason":"no traffic selectors in common: ours 10.1.0.0/16 === 10.2.0.0/16, the peer asks for none === 10.9.0.0/16","differing":[{"what":"local traffic selectors","ours":["10.1.0.0/16"],"theirs":[]},{"what":"remote traffic selectors","ours":["10.2.0.0/16"],"theirs":["10.9.0.0/16"]}],"config":{"file":"/etc/swanctl/swanctl.conf","line":12,"key":"connections.gw-gw.children.net-net"},"remedy":"make local_ts here the mirror of remote_ts at the peer, and the reverse","ended":20,"datagrams_in":2,"datagrams_out":2}]}"#;
        assert!(text.ends_with(expected), "{text}");
        assert!(text.contains(r#""waiting_for":{"message":"HDR, SAr1, KEr, Nr, [CERTREQ]","story":"waiting for HDR"#));
        let parsed: Listing = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed.sas[0].children[0].spi_in, None);
    }

    #[test]
    fn ikev1_has_a_mode() {
        let text = render(&[isakmp()], &[], false);
        assert!(text.contains(r#""version":1,"mode":"main","state":"CONNECTING""#), "{text}");
        // A reader of today takes a text of yesterday.
        let parsed: Listing = serde_json::from_str(&text.replace(r#""mode":"main","state""#, r#""state""#)).unwrap();
        assert_eq!((parsed.sas[0].version, &parsed.sas[0].mode), (1, &None));
    }

    #[test]
    fn modes_that_differ() {
        let sides = |kind| {
            let d = differing(&kind).remove(0);
            (d.what, d.ours.concat(), d.theirs.concat())
        };
        assert_eq!(
            sides(FailureKind::ModeMismatch { ours: true }),
            ("mode of phase 1".into(), "aggressive".into(), "main".into())
        );
        let encapsulation = |tunnel, peer| sides(FailureKind::EncapsulationMode { tunnel, peer });
        assert_eq!(encapsulation(true, 2).2, "transport");
        assert_eq!(
            encapsulation(false, 3),
            ("encapsulation mode".into(), "transport".into(), "udp-encapsulated-tunnel".into())
        );
        assert_eq!(encapsulation(false, 99).2, "(99)");
    }
}
