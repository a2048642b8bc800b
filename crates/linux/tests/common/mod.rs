//! What the tests on a real kernel share.

use linux::{Namespace, NamespaceError};
use model::dataplane::{ChildInstall, EspSa, Mode};
use model::{Encryption, SaId};
use wire::Secret;
use wire::registry::EncryptionId;

/// Says why a test does nothing. Where the environment promises the privileges (`SHRIKE_KERNEL_TESTS=1`), it fails instead.
pub fn skip(reason: impl std::fmt::Display) {
    eprintln!("SKIP: {reason}");
    assert_ne!(std::env::var("SHRIKE_KERNEL_TESTS").as_deref(), Ok("1"), "this run must not skip: {reason}");
}

/// A fresh namespace, or `None` (said aloud) without the privilege.
pub fn namespace() -> Option<Namespace> {
    match Namespace::anonymous() {
        Ok(namespace) => Some(namespace),
        Err(error @ NamespaceError::NotPermitted { .. }) => {
            skip(error);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Our half of a Child SA.
#[allow(dead_code)] // not every test file installs one
pub fn install(child: u32) -> ChildInstall {
    let sa = |spi: u32, key: u8| EspSa {
        spi,
        encryption: Encryption { id: EncryptionId::AES_GCM_16, key_length: Some(128) },
        integrity: None,
        encryption_key: Secret::new(vec![key; 20]),
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
        inbound: sa(0x1000 + child, 1),
        outbound: sa(0x2000 + child, 2),
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
