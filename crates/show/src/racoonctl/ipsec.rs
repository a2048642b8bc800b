//! The dump of IPsec SAs, as `setkey -D` has it.

use model::dataplane::Mode;
use model::{Algorithm, ChildSnapshot, ChildState, SaSnapshot};
use std::net::SocketAddr;
use std::time::Duration;
use wire::registry::{EncryptionId, IntegrityId};

/// What is printed if there is no SA, and for `show-sa ah` always.
pub const NO_SAD_ENTRIES: &str = "No SAD entries.\n";

/// `racoonctl show-sa ipsec` (also `esp`): two entries for each Child SA, outbound first, and those of a Child SA that is
/// not negotiated yet with the state `larval`. `date` is the local time that was so long ago, as `Nov 24 00:50:09 2026`.
///
/// Where racoon prints keys, this says that it does not; and it leaves out `replay`, which a snapshot does not have.
pub fn render_ipsec(sas: &[SaSnapshot], date: &dyn Fn(Duration) -> String) -> String {
    let mut entries = Vec::new();
    for sa in sas {
        for child in &sa.children {
            let larval = is_larval(child);
            let c = &child.counters;
            let outbound = Entry {
                source: sa.local,
                destination: sa.remote,
                spi: child.spi_out,
                octets: c.bytes_out,
                packets: c.packets_out,
                idle: c.idle_out,
            };
            let inbound = Entry {
                source: sa.remote,
                destination: sa.local,
                spi: child.spi_in,
                octets: c.bytes_in,
                packets: c.packets_in,
                idle: c.idle_in,
            };
            // The receiver chooses an SPI: ours has an entry from then on, the peer's is awaited with the SPI 0.
            let wanted = [(outbound, larval || child.spi_out != 0), (inbound, child.spi_in != 0)];
            entries.extend(wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(entry, _)| (child, entry)));
        }
    }
    if entries.is_empty() {
        return NO_SAD_ENTRIES.to_string();
    }
    let count = entries.len();
    let text = |(n, (child, entry)): (usize, &(&ChildSnapshot, Entry))| entry.render(child, count - 1 - n, date);
    entries.iter().enumerate().map(text).collect()
}

fn is_larval(child: &ChildSnapshot) -> bool {
    matches!(child.state, ChildState::Larval | ChildState::Installing)
}

/// PF_KEY's word.
fn state(child: &ChildSnapshot) -> &'static str {
    match child.state {
        ChildState::Larval | ChildState::Installing => "larval",
        ChildState::Installed => "mature",
        ChildState::Rekeying | ChildState::Rekeyed | ChildState::Deleting => "dying",
        ChildState::Deleted => "dead",
    }
}

/// One direction of a Child SA.
struct Entry {
    source: SocketAddr,
    destination: SocketAddr,
    spi: u32,
    octets: u64,
    packets: u64,
    idle: Option<Duration>,
}

impl Entry {
    fn render(&self, child: &ChildSnapshot, left: usize, date: &dyn Fn(Duration) -> String) -> String {
        let end = |address: SocketAddr| {
            if child.encapsulated { format!("{}[{}]", address.ip(), address.port()) } else { address.ip().to_string() }
        };
        let protocol = if child.encapsulated { "esp-udp" } else { "esp" };
        let mode = if child.mode == Mode::Tunnel { "tunnel" } else { "transport" };
        let (spi, reqid) = (self.spi, child.reqid);
        let mut out = format!("{} {} \n", end(self.source), end(self.destination));
        out += &format!("\t{protocol} mode={mode} spi={spi}({spi:#010x}) reqid={reqid}({reqid:#010x})\n");
        if let Some(suite) = child.suite.filter(|_| !is_larval(child)) {
            out += &format!("\tE: {} (key not shown)\n", encryption(suite.encryption));
            if let Some(integrity) = suite.integrity {
                out += &format!("\tA: {} (key not shown)\n", authentication(integrity));
            }
        }
        out += &format!("\tseq=0x00000000 flags=0x00000000 state={} \n", state(child));
        let age = child.installed.unwrap_or_default();
        let dated = |ago: Option<Duration>| ago.map_or_else(|| " ".repeat(20), date);
        // What is left comes in whole seconds, which are rounded down: so the age is rounded up.
        let begun = age.as_secs() + u64::from(age.subsec_nanos() != 0);
        let from_start = |left: Option<Duration>| left.map_or(0, |left| begun + left.as_secs());
        let (hard, soft) = (from_start(child.expires_in), from_start(child.rekey_in));
        out += &format!("\tcreated: {}\tcurrent: {}\n", dated(child.installed), dated(Some(Duration::ZERO)));
        out += &format!("\tdiff: {}(s)\thard: {hard}(s)\tsoft: {soft}(s)\n", age.as_secs());
        out += &format!("\tlast: {}\thard: 0(s)\tsoft: 0(s)\n", dated(self.idle));
        out += &format!("\tcurrent: {}(bytes)\thard: 0(bytes)\tsoft: 0(bytes)\n", self.octets);
        out += &format!("\tallocated: {}\thard: 0\tsoft: 0\n", self.packets);
        out + &format!("\tsadb_seq={left} pid=0 refcnt=0\n")
    }
}

/// setkey's name.
fn encryption(encryption: model::Encryption) -> String {
    match encryption.id {
        EncryptionId::TRIPLE_DES => "3des-cbc".into(),
        EncryptionId::NULL => "null".into(),
        EncryptionId::AES_CBC => "aes-cbc".into(),
        EncryptionId::AES_CTR => "aes-ctr".into(),
        EncryptionId::AES_GCM_16 => "aes-gcm-16".into(),
        EncryptionId::NULL_AES_GMAC => "aes-gmac".into(),
        EncryptionId::BLOWFISH => "blowfish-cbc".into(),
        EncryptionId::CAMELLIA_CBC => "camellia-cbc".into(),
        _ => Algorithm::from(encryption).keyword(),
    }
}

/// setkey's name.
fn authentication(integrity: IntegrityId) -> String {
    match integrity {
        IntegrityId::HMAC_MD5_96 | IntegrityId::HMAC_MD5_128 => "hmac-md5".into(),
        IntegrityId::HMAC_SHA1_96 | IntegrityId::HMAC_SHA1_160 => "hmac-sha1".into(),
        IntegrityId::HMAC_SHA2_256_128 | IntegrityId::HMAC_SHA2_256_96 => "hmac-sha256".into(),
        IntegrityId::HMAC_SHA2_384_192 => "hmac-sha384".into(),
        IntegrityId::HMAC_SHA2_512_256 => "hmac-sha512".into(),
        IntegrityId::AES_XCBC_96 => "aes-xcbc-mac".into(),
        _ => Algorithm::from(integrity).keyword(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{connecting, established, isakmp, secs};
    use model::{ChosenSuite, Encryption};

    fn date(ago: Duration) -> String {
        format!("Nov 24 00:50:{:02} 2026", 14 - ago.as_secs())
    }

    /// Both entries of the recording of racoon 0.9.1, without its keys, its `replay=4` and its process ID.
    const RECORDED: &str = "10.9.0.1 10.9.0.2 \n\
\tesp mode=tunnel spi=228367156(0x0d9c9b34) reqid=0(0x00000000)\n\
\tE: aes-cbc (key not shown)\n\
\tA: hmac-sha1 (key not shown)\n\
\tseq=0x00000000 flags=0x00000000 state=mature \n\
\tcreated: Nov 24 00:50:09 2026\tcurrent: Nov 24 00:50:14 2026\n\
\tdiff: 5(s)\thard: 1800(s)\tsoft: 1440(s)\n\
\tlast: Nov 24 00:50:12 2026\thard: 0(s)\tsoft: 0(s)\n\
\tcurrent: 252(bytes)\thard: 0(bytes)\tsoft: 0(bytes)\n\
\tallocated: 3\thard: 0\tsoft: 0\n\
\tsadb_seq=1 pid=0 refcnt=0\n\
10.9.0.2 10.9.0.1 \n\
\tesp mode=tunnel spi=173267602(0x0a53da92) reqid=0(0x00000000)\n\
\tE: aes-cbc (key not shown)\n\
\tA: hmac-sha1 (key not shown)\n\
\tseq=0x00000000 flags=0x00000000 state=mature \n\
\tcreated: Nov 24 00:50:09 2026\tcurrent: Nov 24 00:50:14 2026\n\
\tdiff: 5(s)\thard: 1800(s)\tsoft: 1440(s)\n\
\tlast:                     \thard: 0(s)\tsoft: 0(s)\n\
\tcurrent: 0(bytes)\thard: 0(bytes)\tsoft: 0(bytes)\n\
\tallocated: 0\thard: 0\tsoft: 0\n\
\tsadb_seq=0 pid=0 refcnt=0\n";

    fn recorded() -> SaSnapshot {
        let mut sa = SaSnapshot {
            local: "10.9.0.1:500".parse().unwrap(),
            remote: "10.9.0.2:500".parse().unwrap(),
            ..established()
        };
        let child = &mut sa.children[0];
        (child.spi_in, child.spi_out, child.reqid, child.encapsulated) = (173_267_602, 228_367_156, 0, false);
        child.suite = Some(ChosenSuite {
            encryption: Encryption { id: EncryptionId::AES_CBC, key_length: Some(256) },
            integrity: Some(IntegrityId::HMAC_SHA1_96),
            prf: None,
            key_exchange: None,
            esn: false,
        });
        (child.installed, child.rekey_in, child.expires_in) = (Some(secs(5)), Some(secs(1435)), Some(secs(1795)));
        let c = &mut child.counters;
        (c.bytes_out, c.packets_out, c.idle_out) = (252, 3, Some(secs(2)));
        (c.bytes_in, c.packets_in, c.idle_in) = (0, 0, None);
        sa
    }

    #[test]
    fn as_recorded_without_keys() {
        assert_eq!(render_ipsec(&[recorded()], &date), RECORDED);
    }

    #[test]
    fn in_udp_with_a_combined_mode_cipher() {
        let mut sa = established();
        sa.children[0].state = ChildState::Rekeying;
        let text = render_ipsec(&[sa], &|_| "then".into());
        let start = "192.168.0.1[4500] 192.168.0.2[4500] \n\tesp-udp mode=tunnel spi=3226925384(0xc056f948) \
                     reqid=1(0x00000001)\n\tE: aes-gcm-16 (key not shown)\n\tseq=0x00000000 flags=0x00000000 state=dying \n";
        assert!(text.starts_with(start), "{text}");
        assert!(!text.contains("A: "));
    }

    #[test]
    fn ciphers_have_setkeys_names() {
        let shown = |id, integrity| {
            let mut sa = recorded();
            let suite = sa.children[0].suite.as_mut().unwrap();
            (suite.encryption, suite.integrity) = (Encryption { id, key_length: Some(128) }, integrity);
            render_ipsec(&[sa], &date)
        };
        for (id, integrity, lines) in [
            (EncryptionId::CAMELLIA_CBC, Some(IntegrityId::HMAC_SHA2_256_96), ["camellia-cbc", "hmac-sha256"]),
            (EncryptionId::BLOWFISH, Some(IntegrityId::HMAC_SHA1_160), ["blowfish-cbc", "hmac-sha1"]),
            (EncryptionId::BLOWFISH, Some(IntegrityId::HMAC_MD5_128), ["blowfish-cbc", "hmac-md5"]),
        ] {
            let text = shown(id, integrity);
            assert!(text.contains(&format!("\tE: {} (key not shown)\n\tA: {} (", lines[0], lines[1])), "{text}");
        }
        let text = shown(EncryptionId::NULL_AES_GMAC, None);
        assert!(text.contains("\tE: aes-gmac (key not shown)\n\tseq="), "{text}");
    }

    #[test]
    fn placeholders_are_larval() {
        let text = render_ipsec(&[connecting()], &date);
        let start = "192.168.0.1 192.168.0.9 \n\tesp mode=tunnel spi=0(0x00000000) reqid=2(0x00000002)\n\
                     \tseq=0x00000000 flags=0x00000000 state=larval \n\tcreated:                     \tcurrent: Nov 24";
        assert!(text.starts_with(start), "{text}");
        assert_eq!(text.matches("state=larval").count(), 1);
        let mut sa = isakmp();
        sa.children[0].spi_in = 0x0ea6_a69d;
        let text = render_ipsec(&[sa], &date);
        assert!(text.contains("10.9.0.14 10.9.0.2 \n\tesp mode=tunnel spi=245802653(0x0ea6a69d) "), "{text}");
        assert!(text.ends_with("\tsadb_seq=0 pid=0 refcnt=0\n"));
    }

    #[test]
    fn nothing() {
        assert_eq!(render_ipsec(&[], &date), "No SAD entries.\n");
        let mut sa = established();
        sa.children.clear();
        assert_eq!(render_ipsec(&[sa], &date), NO_SAD_ENTRIES);
    }
}
