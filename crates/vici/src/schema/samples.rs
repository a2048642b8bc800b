//! Snapshots for tests.

use model::dataplane::{Counters, Mode};
use model::{
    ChildSnapshot, ChildState, ChosenSuite, Encryption, ExchangeMode, Identity, IkeState, NatState, Retransmissions,
    Role, SaId, SaSnapshot, SendError, SendTrouble, TrafficSelector,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::SpiPair;
use wire::grammar::{RULES, RuleId};
use wire::registry::{EncryptionId, IntegrityId, KeyExchangeId, PrfId};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The initiator of strongSwan's scenario `ikev2/net2net-psk`.
pub(crate) fn established() -> SaSnapshot {
    SaSnapshot {
        id: SaId(1),
        name: "gw-gw".into(),
        version: 2,
        mode: None,
        state: IkeState::Established,
        waiting_for: None,
        role: Role::Initiator,
        spis: SpiPair { initiator: 0x31ee_3f6a_6196_2931.into(), responder: 0x5ec1_aa27_9daa_daf2.into() },
        local: "192.168.0.1:500".parse().unwrap(),
        remote: "192.168.0.2:500".parse().unwrap(),
        local_id: Some("moon.strongswan.org".parse().unwrap()),
        remote_id: Some("sun.strongswan.org".parse().unwrap()),
        remote_xauth_id: None,
        local_vips: Vec::new(),
        remote_vips: Vec::new(),
        remote_certificate_until: None,
        banner: None,
        suite: Some(ChosenSuite {
            encryption: Encryption { id: EncryptionId::AES_CBC, key_length: Some(128) },
            integrity: Some(IntegrityId::HMAC_SHA2_256_128),
            prf: Some(PrfId::HMAC_SHA2_256),
            key_exchange: Some(KeyExchangeId::CURVE_25519),
            esn: false,
        }),
        nat: NatState::default(),
        authentication: "pre-shared-key",
        age: secs(3),
        established: Some(secs(2)),
        phase1: None,
        rekey_in: Some(secs(13_961)),
        reauth_in: None,
        lifetime: secs(14_400),
        retransmissions: Retransmissions::default(),
        tasks_queued: Vec::new(),
        tasks_active: Vec::new(),
        worker: 0,
        children: vec![ChildSnapshot {
            id: SaId(1),
            name: "net-net".into(),
            reqid: 1,
            state: ChildState::Installed,
            mode: Mode::Tunnel,
            binding: model::dataplane::Binding::default(),
            encapsulated: false,
            spi_in: 0xca23_ef69,
            spi_out: 0xc056_f948,
            suite: Some(ChosenSuite {
                encryption: Encryption { id: EncryptionId::AES_GCM_16, key_length: Some(128) },
                integrity: None,
                prf: None,
                key_exchange: None,
                esn: true,
            }),
            local_ts: vec!["10.1.0.0/16".parse().unwrap()],
            remote_ts: vec!["10.2.0.0/16".parse().unwrap()],
            installed: Some(secs(2)),
            rekey_in: Some(secs(3327)),
            expires_in: Some(secs(3956)),
            counters: Counters {
                bytes_in: 252,
                packets_in: 3,
                bytes_out: 84,
                packets_out: 1,
                idle_in: Some(secs(1)),
                idle_out: None,
            },
        }],
        suspicion: None,
        send_error: None,
        expires_in: None,
        heard: model::Heard::default(),
        configured_children: vec!["net-net".into()],
    }
}

/// A responder that knows nothing of its peer yet, with a Child SA that is only wanted.
pub(crate) fn connecting() -> SaSnapshot {
    let likeness = established().children.remove(0);
    SaSnapshot {
        id: SaId(2),
        name: String::new(),
        state: IkeState::Connecting,
        waiting_for: Some(RuleId::IkeAuthRequest),
        role: Role::Responder,
        local_id: None,
        remote_id: None,
        established: None,
        phase1: None,
        rekey_in: None,
        children: vec![ChildSnapshot {
            id: SaId(2),
            reqid: 0,
            state: ChildState::Larval,
            spi_in: 0,
            spi_out: 0,
            suite: None,
            installed: None,
            rekey_in: None,
            expires_in: None,
            counters: Counters::default(),
            ..likeness
        }],
        suspicion: None,
        send_error: None,
        expires_in: None,
        heard: model::Heard::default(),
        configured_children: Vec::new(),
        tasks_active: vec!["IKE_AUTH"],
        ..established()
    }
}

pub(crate) fn any_identity() -> impl Strategy<Value = Identity> {
    prop_oneof![
        "[a-z0-9.@=%:]{1,12}".prop_map(|text| Identity::from_wire(2, text.as_bytes())),
        (any::<u8>(), vec(any::<u8>(), 0..8)).prop_map(|(kind, data)| Identity::from_wire(kind, &data)),
        any::<IpAddr>().prop_map(Identity::from),
    ]
}

pub(crate) fn any_selector() -> impl Strategy<Value = TrafficSelector> {
    let ports = prop_oneof![
        Just((0, u16::MAX)),
        Just((u16::MAX, 0)),
        any::<(u16, u16)>().prop_map(|(a, b)| (a.min(b), a.max(b)))
    ];
    let range = prop_oneof![
        any::<(u32, u32)>()
            .prop_map(|(a, b)| (IpAddr::from(a.min(b).to_be_bytes()), IpAddr::from(a.max(b).to_be_bytes()))),
        any::<(u128, u128)>()
            .prop_map(|(a, b)| (IpAddr::from(a.min(b).to_be_bytes()), IpAddr::from(a.max(b).to_be_bytes()))),
        (any::<IpAddr>(), 0u8..=32).prop_map(|(a, p)| TrafficSelector::subnet(a, p).map(|s| (s.start, s.end)).unwrap()),
    ];
    (any::<u8>(), ports, range).prop_map(|(protocol, (start_port, end_port), (start, end))| TrafficSelector {
        protocol,
        start_port,
        end_port,
        start,
        end,
    })
}

fn any_suite() -> impl Strategy<Value = ChosenSuite> {
    let key_length = option::of(prop_oneof![Just(128u16), Just(256), Just(999)]);
    let ids = (0u16..40, option::of(0u16..16), option::of(1u16..12), option::of(0u16..40));
    (ids, key_length, any::<bool>()).prop_map(|((e, i, p, k), key_length, esn)| ChosenSuite {
        encryption: Encryption { id: EncryptionId(e), key_length },
        integrity: i.map(IntegrityId),
        prf: p.map(PrfId),
        key_exchange: k.map(KeyExchangeId),
        esn,
    })
}

fn any_secs() -> impl Strategy<Value = Option<Duration>> {
    option::of((0..1u64 << 40).prop_map(Duration::from_secs))
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    any::<(IpAddr, u16)>().prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn any_child() -> impl Strategy<Value = ChildSnapshot> {
    let state = proptest::sample::select(&[
        ChildState::Larval,
        ChildState::Installing,
        ChildState::Installed,
        ChildState::Rekeying,
        ChildState::Rekeyed,
        ChildState::Deleting,
        ChildState::Deleted,
    ]);
    let mode = proptest::sample::select(&[Mode::Tunnel, Mode::Transport]);
    let counters = (any::<[u64; 4]>(), any_secs(), any_secs());
    (
        (any::<[u32; 4]>(), "[a-z-]{1,9}", state, mode, any::<bool>()),
        (option::of(any_suite()), vec(any_selector(), 0..3), vec(any_selector(), 0..3)),
        (any_secs(), any_secs(), any_secs(), counters),
    )
        .prop_map(|(first, (suite, local_ts, remote_ts), (installed, rekey_in, expires_in, counters))| {
            let ([id, reqid, spi_in, spi_out], name, state, mode, encapsulated) = first;
            let ([bytes_in, packets_in, bytes_out, packets_out], idle_in, idle_out) = counters;
            let counters = Counters { bytes_in, packets_in, bytes_out, packets_out, idle_in, idle_out };
            ChildSnapshot {
                id: SaId(id),
                name,
                reqid,
                state,
                mode,
                binding: model::dataplane::Binding::default(),
                encapsulated,
                spi_in,
                spi_out,
                suite,
                local_ts,
                remote_ts,
                installed,
                rekey_in,
                expires_in,
                // Counters exist from the installation on.
                counters: if installed.is_some() { counters } else { Counters::default() },
            }
        })
}

/// Anything that vici carries: whole seconds, known task names.
pub(crate) fn any_snapshot() -> impl Strategy<Value = SaSnapshot> {
    let state = proptest::sample::select(&[
        IkeState::Created,
        IkeState::Connecting,
        IkeState::Established,
        IkeState::Rekeying,
        IkeState::Rekeyed,
        IkeState::Deleting,
        IkeState::Destroying,
    ]);
    let mode = option::of(proptest::sample::select(&[ExchangeMode::IdentityProtection, ExchangeMode::Aggressive]));
    let rule = option::of(proptest::sample::select(RULES.iter().map(|r| r.id).collect::<Vec<_>>()));
    let tasks = || vec(proptest::sample::select(&["IKE_INIT", "CHILD_CREATE", "OTHER", "IKE_DPD"][..]), 0..3);
    let name = prop_oneof![Just(String::new()), "[a-zA-Z0-9._-]{1,12}"];
    (
        (any::<u32>(), name, (1u8..=2, mode), state, rule, any::<bool>(), any::<(u64, u64)>(), any::<[bool; 3]>()),
        (
            (any_address(), any_address(), option::of(any_identity()), option::of(any_identity())),
            (option::of(any_identity()), vec(any_address(), 0..3), vec(any_address(), 0..2)),
        ),
        (option::of(any_suite()), any_secs(), any_secs(), any_secs(), any_secs(), 0..1u64 << 40, any::<[u32; 4]>()),
        (tasks(), tasks(), vec(any_child(), 0..3), vec("[a-z]{1,8}", 0..3)),
    )
        .prop_map(|(first, ((local, remote, local_id, remote_id), (user, own, assigned)), times, mut last)| {
            last.2.sort_by_key(|child| child.installed.is_none());
            let (id, name, (version, mode), state, waiting_for, initiator, (i, r), nat) = first;
            let (suite, age, established, rekey_in, reauth_in, lifetime, [sent, total, answered, worker]) = times;
            let (tasks_queued, tasks_active, children, configured_children) = last;
            SaSnapshot {
                id: SaId(id),
                name,
                version,
                mode,
                state,
                waiting_for,
                role: if initiator { Role::Initiator } else { Role::Responder },
                spis: SpiPair { initiator: i.into(), responder: r.into() },
                local,
                remote,
                local_id,
                remote_id,
                remote_xauth_id: user,
                remote_certificate_until: own.first().map(|_| Duration::from_secs(2_000_000_000)),
                banner: own.first().map(|_| "Welcome\r\n to the lab = \u{1b}[31m".to_string()),
                local_vips: own.iter().map(SocketAddr::ip).collect(),
                remote_vips: assigned.iter().map(SocketAddr::ip).collect(),
                suite,
                nat: NatState { local: nat[0], remote: nat[1], forced: nat[2] },
                authentication: "pre-shared-key",
                age: age.unwrap_or_default(),
                established,
                phase1: (version == 1).then_some(established).flatten(),
                rekey_in,
                reauth_in,
                lifetime: Duration::from_secs(lifetime),
                retransmissions: Retransmissions { sent, total, answered },
                tasks_queued,
                tasks_active,
                worker,
                children,
                expires_in: rekey_in.is_none().then_some(age).flatten(),
                heard: model::Heard { datagrams: sent, from_there: total, repeated: answered },
                suspicion: nat[0].then(|| "NO_PROPOSAL_CHOSEN".to_string()),
                send_error: nat[1].then(|| SendError {
                    to: ([192, 0, 2, 2], 500).into(),
                    trouble: SendTrouble::PortUnreachable,
                    count: 3,
                    last: Duration::from_millis(1500),
                    reporter: None,
                }),
                configured_children,
            }
        })
}
