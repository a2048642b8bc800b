//! Configuration from files and from vici clients.

use super::credentials::{self, Found};
use crate::files::SystemFiles;
use config::{Authority, CertificateSource, ConfigError, Connection, Entry, Files, Place, Pool, Section, SharedSecret};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use vici::{Element, Message};

/// What a file holds, and what is wrong with it.
#[derive(Default)]
pub struct Loaded {
    /// Connections without a fault.
    pub connections: Vec<Arc<Connection>>,
    /// Secrets without a fault.
    pub secrets: Vec<SharedSecret>,
    /// Pools without a fault.
    pub pools: Vec<Pool>,
    /// Names of all pools in the file, those that were refused too.
    pub pool_names: BTreeSet<String>,
    /// Authorities without a fault.
    pub authorities: Vec<Authority>,
    /// Names of all connections in the file, those that were refused too.
    pub connection_names: BTreeSet<String>,
    /// Names of all secrets in the file, those that were refused too.
    pub secret_names: BTreeSet<String>,
    /// Certificates and private keys of the directories beside the file.
    pub credentials: Found,
    /// What was refused, each as a report for the operator.
    pub refused: Vec<String>,
    /// Of each of `refused` what it is about: the key with its sections, or the name of the section whose files it is. Empty
    /// where the key itself is unknown.
    pub refused_keys: Vec<String>,
}

/// Reads `swanctl.conf`. A connection with a fault is refused alone: the others must not suffer for it.
///
/// # Errors
/// The file as a whole cannot be read or makes no sense.
pub fn file(path: &str) -> Result<Loaded, String> {
    let report = |e: &ConfigError| e.report(SystemFiles.read(&e.at.file).ok().as_deref());
    let mut root = config::parse(path, &SystemFiles).map_err(|e| report(&e))?;
    let mut loaded = Loaded::default();
    let names = |of: &str| root.section(of).map(|s| s.sections().map(|s| s.name.clone()).collect()).unwrap_or_default();
    (loaded.connection_names, loaded.secret_names) = (names("connections"), names("secrets"));
    loaded.pool_names = names("pools");
    let passphrases;
    match config::load(&root) {
        Ok(config) => {
            loaded.connections = config.connections;
            loaded.secrets = config.secrets;
            loaded.pools = config.pools;
            loaded.authorities = config.authorities;
            passphrases = config.passphrases;
        }
        Err(errors) => {
            loaded.refused = errors.iter().take(20).map(report).collect();
            let about = |e: &ConfigError| match e.kind {
                config::ErrorKind::UnknownKey { .. } => String::new(),
                _ => e.key.clone(),
            };
            loaded.refused_keys = errors.iter().take(20).map(about).collect();
            if errors.len() > 20 {
                loaded.refused.push(format!("and {} errors more", errors.len() - 20));
            }
            let parts =
                |name: &str| root.section(name).map(|s| s.sections().cloned().collect()).unwrap_or_else(Vec::new);
            loaded.connections =
                parts("connections").iter().filter_map(|s| config::connection(s).ok()).map(Arc::new).collect();
            let named = |s: &&Section| config::KeyPassphrase::is_named(&s.name);
            let (phrases, secrets) = (parts("secrets"), parts("secrets"));
            passphrases = phrases.iter().filter(named).filter_map(|s| config::passphrase(s).ok()).collect();
            loaded.secrets = secrets.iter().filter(|s| !named(s)).filter_map(|s| config::secret(s).ok()).collect();
            loaded.authorities = parts("authorities").iter().filter_map(|s| config::authority(s).ok()).collect();
            loaded.pools = parts("pools").iter().filter_map(|s| config::pool(s).ok()).collect();
        }
    }
    root.forget_secrets();
    let directory = Path::new(path).parent().unwrap_or(Path::new("."));
    loaded.credentials = credentials::read_all(directory, &passphrases);
    loaded.refused_keys.resize(loaded.refused.len(), String::new());
    loaded.refused.append(&mut loaded.credentials.refused);
    for mut authority in std::mem::take(&mut loaded.authorities) {
        match credentials::resolve_authority(&mut authority, directory) {
            Ok(()) => loaded.authorities.push(authority),
            Err(why) => loaded.refused.push(why),
        }
    }
    let mut connections = Vec::new();
    for connection in std::mem::take(&mut loaded.connections) {
        let mut connection = Arc::unwrap_or_clone(connection);
        match credentials::resolve(&mut connection, directory) {
            Ok(()) => connections.push(Arc::new(connection)),
            Err(why) => loaded.refused.push(why),
        }
    }
    loaded.connections = connections;
    // All others are about certificates and keys in files.
    loaded.refused_keys.resize(loaded.refused.len(), "certs".to_string());
    Ok(loaded)
}

/// Settings of the daemon as a whole: from the file that was named, else from `/etc/strongswan.conf` if there is one.
///
/// # Errors
/// The file cannot be read, or a value in it makes no sense.
pub fn settings(named: Option<&str>) -> Result<config::DaemonSettings, String> {
    let path = named.unwrap_or("/etc/strongswan.conf");
    if named.is_none() && !std::path::Path::new(path).exists() {
        return Ok(config::DaemonSettings::default());
    }
    let root = config::parse(path, &SystemFiles).map_err(|e| e.report(None))?;
    let (settings, warnings) = config::daemon_settings(&root);
    for warning in &warnings {
        if warning.is_fatal() {
            return Err(warning.to_string());
        }
        crate::log::line("CFG", 1, &warning.to_string());
    }
    Ok(settings)
}

/// A vici message as the section of a file would be.
pub fn section(name: &str, message: &Message) -> Section {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    // Where a file names certificates, a client sends them: in PEM, or in DER, which is not text.
    let certificate = |octets: &[u8]| match std::str::from_utf8(octets) {
        Ok(text) if !octets.starts_with(&[0x30]) => text.to_string(),
        _ => crypto::armour(octets),
    };
    let mut section = Section::new(name, Place::vici());
    for element in message.iter() {
        let at = Place::vici();
        section.entries.push(match element {
            Element::Value { key, value } => {
                let value = if key == "cacert" { certificate(value) } else { text(value) };
                Entry::Value { key: key.clone(), value, at }
            }
            Element::List { key, items } => {
                let certificates = matches!(key.as_str(), "certs" | "cacerts" | "cacert");
                let read = |i: &Vec<u8>| match key.as_str() {
                    "pubkeys" if i.starts_with(&[0x30]) => crypto::armour_key(i),
                    _ if certificates => certificate(i),
                    _ => text(i),
                };
                Entry::List { key: key.clone(), values: items.iter().map(read).collect(), at }
            }
            Element::Section { key, message } => Entry::Section(self::section(key, message)),
        });
    }
    section
}

fn one_line(errors: &[ConfigError]) -> String {
    let lines: Vec<String> = errors.iter().map(|e| e.to_string()).collect();
    lines.join("; ")
}

/// A connection of `load-conn`. Clients send certificates themselves; a name is a file below `directory`.
///
/// # Errors
/// All that is wrong with it, in one line.
pub fn connection(section: &Section, directory: &Path) -> Result<Connection, String> {
    let mut connection = config::connection(section).map_err(|errors| one_line(&errors))?;
    credentials::resolve(&mut connection, directory)?;
    Ok(connection)
}

/// A pool of `load-pool`.
///
/// # Errors
/// All that is wrong with it, in one line.
pub fn pool(section: &Section) -> Result<Pool, String> {
    config::pool(section).map_err(|errors| one_line(&errors))
}

/// An authority of `load-authority`, with its certificate; a name is a file below `directory`.
///
/// # Errors
/// All that is wrong with it, in one line.
pub fn authority(section: &Section, directory: &Path) -> Result<Authority, String> {
    let mut authority = config::authority(section).map_err(|errors| one_line(&errors))?;
    credentials::resolve_authority(&mut authority, directory)?;
    Ok(authority)
}

/// Gives an authority that was read to those who trust it.
pub fn trust(credentials: &mut proto::Credentials, authority: &Authority) {
    if let CertificateSource::Der(der) = &authority.cacert
        && let Ok(certificate) = crypto::Certificate::from_der(der)
    {
        credentials.set_authority(&authority.name, certificate, authority.crl_uris.clone());
    }
}

/// Whether two connections mean the same, wherever they were written.
pub fn same(a: &Connection, b: &Connection) -> bool {
    let without_sources = |c: &Connection| {
        let mut c = c.clone();
        c.source = a.source.clone();
        for child in &mut c.children {
            child.source = a.source.clone();
        }
        for shunt in &mut c.shunts {
            shunt.source = a.source.clone();
        }
        format!("{c:?}")
    };
    without_sources(a) == without_sources(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_still_known_by_name() {
        let path = std::env::temp_dir().join(format!("shrike-load-{}", std::process::id()));
        let good = "local { auth = psk } remote { auth = psk } children { c { } }";
        let text = format!(
            "connections {{ good {{ {good} }}\n bad {{ remote_adrs = x\n {good} }} }}\n\
             secrets {{ ike-good {{ secret = s }} ike-bad {{ }} }}"
        );
        std::fs::write(&path, text).unwrap();
        let loaded = file(&path.to_string_lossy()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let names: Vec<&str> = loaded.connections.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["good"]);
        assert!(loaded.connection_names.contains("good") && loaded.connection_names.contains("bad"));
        let names: Vec<&str> = loaded.secrets.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["ike-good"]);
        assert!(loaded.secret_names.contains("ike-good") && loaded.secret_names.contains("ike-bad"));
        assert_eq!(loaded.refused.len(), 2, "{:?}", loaded.refused);
    }

    #[test]
    fn settings_that_were_named_must_be_there() {
        assert!(settings(Some("/nonexistent/strongswan.conf")).unwrap_err().contains("there is no such file"));
    }
}
