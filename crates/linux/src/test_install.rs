//! A Child SA for tests.

use model::dataplane::{ChildInstall, EspSa, Mode};
use model::{Encryption, SaId};
use wire::Secret;
use wire::registry::EncryptionId;

pub(crate) fn install(child: u32) -> ChildInstall {
    let sa = |spi| EspSa {
        spi,
        encryption: Encryption { id: EncryptionId::AES_GCM_16, key_length: Some(128) },
        integrity: None,
        encryption_key: Secret::new((0..20).collect()),
        integrity_key: Secret::new(Vec::new()),
    };
    ChildInstall {
        child: SaId(child),
        ike: SaId(1),
        connection: "gw-gw".into(),
        name: "net".into(),
        reqid: 7,
        mode: Mode::Tunnel,
        local: "192.0.2.1:500".parse().unwrap(),
        remote: "192.0.2.2:500".parse().unwrap(),
        encapsulated: false,
        inbound: sa(0x1000 + child),
        outbound: sa(0x2000 + child),
        esn: false,
        replay_window: 32,
        tfc_padding: model::dataplane::TfcPadding::None,
        local_ts: vec!["10.1.0.0/16".parse().unwrap()],
        remote_ts: vec!["10.2.0.0/16".parse().unwrap()],
        binding: model::dataplane::Binding::default(),
        header: model::dataplane::HeaderFields::default(),
        policies: true,
        priority: None,
        succeeds: None,
        rekeys: None,
        updown: None,
        updown_environment: Vec::new(),
        soft_bytes: None,
        soft_packets: None,
        hard_bytes: None,
        hard_packets: None,
        hard_lifetime: None,
    }
}
