//! Snapshots and tombstones for tests.

use model::dataplane::{Counters, Mode};
use model::{
    ChildSnapshot, ChildState, ChosenSuite, ConfigRef, Encryption, ExchangeMode, Failure, FailureKind, IkeState,
    Instant, NatState, Retransmissions, Role, SaId, SaSnapshot, Tombstone,
};
use std::time::Duration;
use wire::SpiPair;
use wire::grammar::RuleId;
use wire::registry::{EncryptionId, IntegrityId, KeyExchangeId, PrfId};

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The initiator of strongSwan's scenario `ikev2/net2net-psk`, two hours later.
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
        local: "192.168.0.1:4500".parse().unwrap(),
        remote: "192.168.0.2:4500".parse().unwrap(),
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
        nat: NatState { remote: true, ..NatState::default() },
        authentication: "pre-shared-key",
        age: secs(7502),
        established: Some(secs(7501)),
        phase1: None,
        rekey_in: Some(secs(6460)),
        reauth_in: None,
        lifetime: secs(14_400),
        retransmissions: Retransmissions::default(),
        tasks_queued: Vec::new(),
        tasks_active: Vec::new(),
        worker: 3,
        children: vec![ChildSnapshot {
            id: SaId(4),
            name: "net-net".into(),
            reqid: 1,
            state: ChildState::Installed,
            mode: Mode::Tunnel,
            binding: model::dataplane::Binding::default(),
            encapsulated: true,
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
            remote_ts: vec!["10.2.0.0/16".parse().unwrap(), "10.3.0.0/16".parse().unwrap()],
            installed: Some(secs(301)),
            rekey_in: Some(secs(3027)),
            expires_in: Some(secs(3656)),
            counters: Counters {
                bytes_in: 25_200_000,
                packets_in: 30_000,
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
        configured_children: vec!["net-net".into(), "net-backup".into()],
    }
}

/// The ISAKMP SA of the first recording in `tests/data/racoonctl/hub.txt`, still without an answer (IKEv1).
pub(crate) fn isakmp() -> SaSnapshot {
    SaSnapshot {
        id: SaId(9),
        name: "hub".into(),
        version: 1,
        mode: Some(ExchangeMode::IdentityProtection),
        waiting_for: Some(RuleId::MainMode2),
        spis: SpiPair { initiator: 0x4cf7_2b12_ea0a_629d.into(), responder: 0.into() },
        local: "10.9.0.2:500".parse().unwrap(),
        remote: "10.9.0.14:500".parse().unwrap(),
        ..connecting()
    }
}

/// An initiator whose first message is not answered.
pub(crate) fn connecting() -> SaSnapshot {
    let likeness = established().children.remove(0);
    SaSnapshot {
        id: SaId(2),
        name: "branch".into(),
        state: IkeState::Connecting,
        waiting_for: Some(RuleId::IkeSaInitResponse),
        spis: SpiPair { responder: 0.into(), ..established().spis },
        local: "192.168.0.1:500".parse().unwrap(),
        remote: "192.168.0.9:500".parse().unwrap(),
        local_id: None,
        remote_id: None,
        suite: None,
        nat: NatState::default(),
        age: secs(12),
        established: None,
        phase1: None,
        rekey_in: None,
        retransmissions: Retransmissions { sent: 2, total: 2, answered: 0 },
        tasks_active: vec!["IKE_INIT"],
        worker: 1,
        children: vec![ChildSnapshot {
            id: SaId(5),
            name: "lan".into(),
            reqid: 2,
            state: ChildState::Larval,
            binding: model::dataplane::Binding::default(),
            encapsulated: false,
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
        configured_children: vec!["lan".into()],
        ..established()
    }
}

/// What is left of a responder that failed.
pub(crate) fn ended(kind: FailureKind, key: &str, line: u32) -> Tombstone {
    Tombstone {
        sa: SaSnapshot {
            id: SaId(7),
            state: IkeState::Destroying,
            role: Role::Responder,
            waiting_for: Some(RuleId::IkeAuthRequest),
            established: None,
            phase1: None,
            rekey_in: None,
            age: secs(1),
            children: Vec::new(),
            ..established()
        },
        rekeying: None,
        failure: Failure {
            kind,
            config: Some(ConfigRef { file: "/etc/swanctl/swanctl.conf".into(), line, key: key.into() }),
        },
        child: None,
        at: Instant::from_nanos(5_000_000_000),
        ended: secs(20),
        again_in: None,
        datagrams_in: 2,
        datagrams_out: 2,
    }
}
