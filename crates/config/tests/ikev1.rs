//! `version = 1` with proposals that IKEv1 cannot write: refused with the line and what to write.

use config::{MemoryFiles, load, parse};

fn refused(connection: &str, child: &str) -> Vec<String> {
    let text = format!(
        "connections {{\n  gw {{\n    {connection}\n    local {{ auth = psk }}\n    remote {{ auth = psk }}\n    children {{\n      \
         net {{\n        {child}\n      }}\n    }}\n  }}\n}}\n"
    );
    let tree = parse("swanctl.conf", &MemoryFiles::one("swanctl.conf", &text)).unwrap();
    load(&tree)
        .err()
        .into_iter()
        .flatten()
        .map(|error| format!("{}: {}: {}", error.at, error.key, error.kind))
        .collect()
}

#[test]
fn what_ikev1_cannot_write_is_refused_when_loaded() {
    let esp = refused("version = 1", "esp_proposals = aes128-aescmac, aes256-aescmac-modp2048");
    assert_eq!(esp.len(), 1, "{esp:?}");
    for part in [
        "swanctl.conf:8",
        "connections.gw.children.net.esp_proposals",
        "'aes128-aescmac, aes256-aescmac-modp2048'",
        "aes128-sha256",
        "version = 2",
    ] {
        assert!(esp[0].contains(part), "{esp:?} lacks {part}");
    }
    let ike = refused("version = 1\n proposals = aes128gcm16-prfsha256-modp2048", "");
    assert_eq!(ike.len(), 1, "{ike:?}");
    assert!(ike[0].starts_with("swanctl.conf:4") && ike[0].contains("connections.gw.proposals"), "{ike:?}");
}

#[test]
fn what_it_can_write_is_not() {
    assert_eq!(refused("version = 1", "esp_proposals = aes128-aescmac, aes128gcm16"), [""; 0]);
    assert_eq!(refused("version = 1", "esp_proposals = default"), [""; 0]);
    assert_eq!(refused("version = 1", ""), [""; 0]);
    // IKEv2 has them all, and a connection of both versions may be for IKEv2.
    assert_eq!(refused("version = 2", "esp_proposals = aes128-aescmac"), [""; 0]);
    assert_eq!(refused("version = 0", "esp_proposals = aes128-aescmac"), [""; 0]);
}
