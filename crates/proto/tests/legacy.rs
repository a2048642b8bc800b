//! Weak algorithms are off unless asked for by name, and asking is noticed.

use config::MemoryFiles;
use proto::{Endpoint, Output, Settings};

struct Zeros;

impl crypto::Random for Zeros {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
    }
}

fn said(proposals: &str, esp: &str) -> Vec<String> {
    let text = format!(
        "connections {{ gw {{ proposals = {proposals}\n local {{ auth = psk }}\n remote {{ auth = psk }}\n \
         children {{ net {{ esp_proposals = {esp}\n }} }} }} }}"
    );
    let root = config::parse("swanctl.conf", &MemoryFiles::one("swanctl.conf", &text)).unwrap();
    let mut endpoint = Endpoint::new(Settings::default(), Box::new(Zeros));
    for connection in config::load(&root).unwrap().connections {
        endpoint.load_connection(connection);
    }
    let mut lines = Vec::new();
    while let Some(output) = endpoint.poll_output() {
        if let Output::Event(event) = output {
            lines.push(event.log().2);
        }
    }
    lines
}

#[test]
fn weak_algorithms_are_named_once() {
    assert_eq!(said("default", "default"), [""; 0]);
    assert_eq!(said("aes128-sha256-x25519", "aes128-sha1"), [""; 0]);
    assert_eq!(
        said("3des-sha1-modp1024, aes128-sha1-modp1536", "3des-sha256-modp1024"),
        ["connection 'gw' allows weak algorithms: 3des, modp1024, modp1536, prfsha1, sha1"]
    );
    assert_eq!(
        said(
            "blowfish256-sha256-modp2048s256-ecp224, camellia256-sha512-ecp512bp",
            "blowfish128-md5_128-sha1_160, aes128gmac"
        ),
        ["connection 'gw' allows weak algorithms: blowfish128, blowfish256, ecp224, md5_128, modp2048s256"]
    );
}
