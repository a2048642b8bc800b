//! One node's configuration, written as `swanctl.conf` so that every place in it is a real one.

use crate::{Nat, Rng};
use config::{Config, MemoryFiles};
use crypto::{Certificate, PrivateKey};
use model::Instant;
use proto::{Endpoint, Settings};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

/// 2027-06-01: all of `fake-pki` is valid then but `old`. Simulations with certificates begin at this time.
pub const FAKE_PKI_VALID: Duration = Duration::from_secs(1_811_808_000);

fn fake(file: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fake-pki").join(file)
}

/// A certificate of `fake-pki`.
///
/// # Panics
/// If there is none of this name.
pub fn fake_certificate(name: &str) -> Certificate {
    let octets = std::fs::read(fake(&format!("{name}.pem"))).unwrap_or_else(|e| panic!("{name}: {e}"));
    Certificate::parse(&octets).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The public key of an end of `fake-pki`, as a configuration has it that has been read.
///
/// # Panics
/// If there is none of this name.
fn raw_key(name: &str) -> config::CertificateSource {
    config::CertificateSource::Der(read_raw_key(name).der().to_vec())
}

fn read_raw_key(name: &str) -> crypto::RawKey {
    let octets = std::fs::read(fake(&format!("{name}.pub.pem"))).unwrap_or_else(|e| panic!("{name}: {e}"));
    crypto::RawKey::parse(&octets).expect("a public key")
}

/// A node to be: addresses, settings and configuration. Without further words it has one connection `gw` with the child
/// `net`, both ends' identities `<name>.example` and the secret `swordfish`.
#[derive(Clone)]
pub struct Site {
    pub(crate) name: String,
    pub(crate) address: IpAddr,
    pub(crate) nat: Option<Nat>,
    /// Settings of its endpoint.
    pub settings: Settings,
    peers: Vec<(String, String)>,
    connection: Vec<String>,
    child: Vec<String>,
    /// `local` and `remote` identity lines.
    local_id: Option<String>,
    remote_id: Option<String>,
    secret: Option<String>,
    text: Option<String>,
    /// `auth` of ours and of the peer's.
    auth: [String; 2],
    certificates: Vec<String>,
    authorities: Vec<String>,
    crash_secret: Option<Vec<u8>>,
    /// Our raw public key and the peer's.
    raw: Option<(String, Vec<String>)>,
    /// The connection does not name the peer's.
    any_raw_key: bool,
    /// It begins from any address that it has.
    roaming: bool,
}

impl Site {
    /// A node of this name with this address.
    ///
    /// # Panics
    /// If it is no address.
    pub fn new(name: &str, address: &str) -> Self {
        Self {
            name: name.to_string(),
            address: address.parse().expect("an address"),
            nat: None,
            settings: Settings::default(),
            peers: Vec::new(),
            connection: Vec::new(),
            child: Vec::new(),
            local_id: Some(format!("{name}.example")),
            remote_id: None,
            secret: Some("swordfish".to_string()),
            text: None,
            auth: ["psk", "psk"].map(str::to_string),
            certificates: Vec::new(),
            authorities: Vec::new(),
            crash_secret: None,
            raw: None,
            any_raw_key: false,
            roaming: false,
        }
    }

    /// Adds a connection with these `remote_addrs`. The first is named `gw`, the second `gw2` and so on.
    pub fn to(mut self, address: &str) -> Self {
        let number = self.peers.len() + 1;
        let name = if number == 1 { "gw".to_string() } else { format!("gw{number}") };
        self.peers.push((address.to_string(), name));
        self
    }

    /// Puts the node behind this NAT box.
    pub fn behind(mut self, nat: Nat) -> Self {
        self.nat = Some(nat);
        self
    }

    /// Lets it begin from whatever address it has.
    pub fn roaming(mut self) -> Self {
        self.roaming = true;
        self
    }

    /// Adds a line to each connection.
    pub fn connection(mut self, line: &str) -> Self {
        self.connection.push(line.to_string());
        self
    }

    /// Adds a line to each child.
    pub fn child(mut self, line: &str) -> Self {
        self.child.push(line.to_string());
        self
    }

    /// Our identity; `None` leaves it out.
    pub fn local_id(mut self, id: Option<&str>) -> Self {
        self.local_id = id.map(str::to_string);
        self
    }

    /// The identity expected of the peer.
    pub fn remote_id(mut self, id: &str) -> Self {
        self.remote_id = Some(id.to_string());
        self
    }

    /// The pre-shared key; `None` leaves it out.
    pub fn secret(mut self, secret: Option<&str>) -> Self {
        self.secret = secret.map(str::to_string);
        self
    }

    /// Replaces the whole configuration.
    pub fn text(mut self, text: &str) -> Self {
        self.text = Some(text.to_string());
        self
    }

    /// `auth` of our side and of the peer's, instead of `psk`.
    pub fn auth(mut self, local: &str, remote: &str) -> Self {
        self.auth = [local, remote].map(str::to_string);
        self
    }

    /// Gives it the private key of this certificate of `fake-pki`, without the certificate, and lets both ends be known by
    /// raw public keys: ours, and the peer's.
    pub fn raw_keys(mut self, own: &str, peers: &[&str]) -> Self {
        self.raw = Some((own.to_string(), peers.iter().map(ToString::to_string).collect()));
        self
    }

    /// Has its connections name no raw public key of the peer: each that it knows will do.
    pub fn any_raw_key(mut self) -> Self {
        self.any_raw_key = true;
        self
    }

    /// Gives it this certificate of `fake-pki`, with its private key if there is one.
    pub fn certificate(mut self, name: &str) -> Self {
        self.certificates.push(name.to_string());
        self
    }

    /// Lets it trust this authority of `fake-pki`.
    pub fn authority(mut self, name: &str) -> Self {
        self.authorities.push(name.to_string());
        self
    }

    /// Lets it prove a restart (RFC 6290) by tokens of this secret.
    pub fn crash_secret(mut self, secret: &[u8]) -> Self {
        self.crash_secret = Some(secret.to_vec());
        self
    }

    /// Changes the settings.
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// The pre-shared key, if it has one.
    pub(crate) fn shared(&self) -> Option<&str> {
        self.secret.as_deref()
    }

    /// The configuration as written.
    pub fn configuration(&self) -> String {
        if let Some(text) = &self.text {
            return text.clone();
        }
        let mut out = String::from("connections {\n");
        for (peer, name) in &self.peers {
            let own = if self.roaming { "%any".to_string() } else { self.address.to_string() };
            let _ = writeln!(out, "  {name} {{\n    local_addrs = {own}\n    remote_addrs = {peer}");
            for line in &self.connection {
                let _ = writeln!(out, "    {line}");
            }
            let id = |id: &Option<String>| id.as_ref().map(|id| format!("\n      id = {id}")).unwrap_or_default();
            let _ = writeln!(out, "    local {{\n      auth = {}{}\n    }}", self.auth[0], id(&self.local_id));
            let _ = writeln!(out, "    remote {{\n      auth = {}{}\n    }}", self.auth[1], id(&self.remote_id));
            let _ = writeln!(out, "    children {{\n      net {{");
            for line in &self.child {
                let _ = writeln!(out, "        {line}");
            }
            let _ = writeln!(out, "      }}\n    }}\n  }}");
        }
        out.push_str("}\n");
        if let Some(secret) = &self.secret {
            let _ = writeln!(out, "secrets {{\n  ike-all {{\n    secret = {secret}\n  }}\n}}");
        }
        out
    }

    /// The configuration as the core gets it, from a file named `<name>.conf`.
    ///
    /// # Panics
    /// With every error, if it has any.
    pub fn load(&self) -> Config {
        let (file, text) = (format!("{}.conf", self.name), self.configuration());
        let tree = config::parse(&file, &MemoryFiles::one(&file, &text)).unwrap_or_else(|e| panic!("{e}\n{text}"));
        config::load(&tree).unwrap_or_else(|errors| {
            let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
            panic!("{}\n{text}", all.join("\n"))
        })
    }

    /// The line of the configuration, counted from 1, that contains this text first.
    ///
    /// # Panics
    /// If none does.
    pub fn line_of(&self, text: &str) -> u32 {
        let found = self.configuration().lines().position(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("no line contains '{text}'")) as u32 + 1
    }

    /// An endpoint with all of it.
    pub fn endpoint(&self, rng: Rng) -> Endpoint {
        let mut endpoint = Endpoint::new(self.settings.clone(), Box::new(rng));
        let config = self.load();
        for mut connection in config.connections {
            if let Some((own, peers)) = &self.raw {
                let keys = |names: &[String]| names.iter().map(|name| raw_key(name)).collect();
                let changed = std::sync::Arc::make_mut(&mut connection);
                changed.local.pubkeys = keys(std::slice::from_ref(own));
                match self.any_raw_key {
                    true => peers.iter().for_each(|name| endpoint.credentials_mut().add_raw_key(read_raw_key(name))),
                    false => changed.remote.pubkeys = keys(peers),
                }
            }
            endpoint.load_connection(connection);
        }
        endpoint.set_secrets(config.secrets);
        if let Some(secret) = &self.crash_secret {
            endpoint.set_crash_secret(wire::Secret::new(secret.clone()));
        }
        config.pools.into_iter().for_each(|pool| endpoint.pools_mut().load(pool));
        let credentials = endpoint.credentials_mut();
        credentials.set_clock(Instant::ZERO, FAKE_PKI_VALID);
        if let Some((own, _)) = &self.raw {
            let key = std::fs::read(fake(&format!("{own}.key.pem"))).expect("a private key of fake-pki");
            credentials.add_key(PrivateKey::parse(&key, None).expect("a private key"));
        }
        for name in &self.certificates {
            credentials.add_certificate(fake_certificate(name));
            if let Ok(key) = std::fs::read(fake(&format!("{name}.key.pem"))) {
                credentials.add_key(PrivateKey::parse(&key, None).expect("a private key"));
            }
        }
        self.authorities.iter().for_each(|name| credentials.add_authority(fake_certificate(name)));
        endpoint
    }
}
