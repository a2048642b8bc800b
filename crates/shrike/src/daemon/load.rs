//! Configuration from files and from vici clients.

use super::credentials::{self, Found, Unusable};
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
    /// What was refused, in the order of their places.
    pub refused: Vec<Refused>,
    /// Connections with a fault, with defaults in its place: for saying what else is unwise in them, not for use.
    pub faulty: Vec<Connection>,
}

/// Something that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Where it is written; for a file that nothing names, that file.
    pub at: Place,
    /// The key with its sections, or empty where that is unknown itself.
    pub key: String,
    /// Whether it is about a certificate or a key in a file.
    pub about_file: bool,
    /// The report for the operator: what is wrong, the line, and a mark under the part to blame.
    pub report: String,
}

/// So many faults are told one by one.
const MOST: usize = 1000;

fn report(e: &ConfigError) -> String {
    e.report(SystemFiles.read(&e.at.file).ok().as_deref())
}

impl From<&ConfigError> for Refused {
    fn from(e: &ConfigError) -> Self {
        Self { at: e.at.clone(), key: e.key.clone(), about_file: false, report: report(e) }
    }
}

impl From<Unusable> for Refused {
    fn from(unusable: Unusable) -> Self {
        let source = SystemFiles.read(&unusable.at.file).ok();
        let lines = source.and_then(|text| config::excerpt(&text, &unusable.at, unusable.name.as_deref()));
        let lines = lines.map(|lines| format!("\n{lines}")).unwrap_or_default();
        let report = format!("{unusable}{lines}");
        Self { at: unusable.at, key: unusable.key.key, about_file: true, report }
    }
}

/// Reads `swanctl.conf`. A connection with a fault is refused alone: the others must not suffer for it.
///
/// # Errors
/// The file as a whole cannot be read or makes no sense.
pub fn file(path: &str) -> Result<Loaded, String> {
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
            loaded.refused = errors.iter().map(Refused::from).collect();
            let parts =
                |name: &str| root.section(name).map(|s| s.sections().cloned().collect()).unwrap_or_else(Vec::new);
            for section in parts("connections") {
                match config::readable_connection(&section) {
                    (connection, errors) if errors.is_empty() => loaded.connections.push(Arc::new(connection)),
                    (connection, _) => loaded.faulty.push(connection),
                }
            }
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
    loaded.refused.extend(loaded.credentials.refused.drain(..).map(|(file, why)| Refused {
        at: Place::new(&file, 0, 0),
        key: String::new(),
        about_file: true,
        report: format!("{file}: {why}"),
    }));
    for mut authority in std::mem::take(&mut loaded.authorities) {
        match credentials::resolve_authority(&mut authority, directory) {
            Ok(()) => loaded.authorities.push(authority),
            Err(why) => loaded.refused.push((*why).into()),
        }
    }
    for connection in std::mem::take(&mut loaded.connections) {
        let mut connection = Arc::unwrap_or_clone(connection);
        match credentials::resolve(&mut connection, directory) {
            Ok(()) => loaded.connections.push(Arc::new(connection)),
            Err(all) => {
                loaded.refused.extend(all.into_iter().map(Refused::from));
                loaded.faulty.push(connection);
            }
        }
    }
    // What is wrong with the lines of a connection does not hide what is wrong with the files that it names.
    for connection in &loaded.faulty {
        let unusable = credentials::resolve(&mut connection.clone(), directory).err().unwrap_or_default();
        let known = |new: &Refused| loaded.refused.contains(new);
        let new: Vec<Refused> = unusable.into_iter().map(Refused::from).filter(|new| !known(new)).collect();
        loaded.refused.extend(new);
    }
    loaded.refused.sort_by(|a, b| a.at.cmp(&b.at));
    if loaded.refused.len() > MOST {
        let more = loaded.refused.split_off(MOST).len();
        let report = format!("and {more} errors more");
        loaded.refused.push(Refused { at: Place::new(path, 0, 0), key: String::new(), about_file: false, report });
    }
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

fn in_one_line<E: ToString>(errors: &[E]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

/// A connection of `load-conn`. Clients send certificates themselves; a name is a file below `directory`.
///
/// # Errors
/// All that is wrong with it, in one line.
pub fn connection(section: &Section, directory: &Path) -> Result<Connection, String> {
    let mut connection = config::connection(section).map_err(|errors| in_one_line(&errors))?;
    credentials::resolve(&mut connection, directory).map_err(|all| in_one_line(&all))?;
    Ok(connection)
}

/// A pool of `load-pool`.
///
/// # Errors
/// All that is wrong with it, in one line.
pub fn pool(section: &Section) -> Result<Pool, String> {
    config::pool(section).map_err(|errors| in_one_line(&errors))
}

/// An authority of `load-authority`, with its certificate; a name is a file below `directory`.
///
/// # Errors
/// All that is wrong with it, in one line.
pub fn authority(section: &Section, directory: &Path) -> Result<Authority, String> {
    let mut authority = config::authority(section).map_err(|errors| in_one_line(&errors))?;
    credentials::resolve_authority(&mut authority, directory).map_err(|why| why.to_string())?;
    Ok(authority)
}

/// Gives an authority that was read to those who trust it.
pub fn trust(credentials: &mut proto::Credentials, authority: &Authority) {
    if let CertificateSource::Der(der) = &authority.cacert
        && let Ok(certificate) = crypto::Certificate::from_der(der)
    {
        let places = proto::Places { lists: authority.crl_uris.clone(), certificates: authority.cert_uri_base.clone() };
        credentials.set_authority(&authority.name, certificate, places);
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

    /// Faults of lines, of the sections of all kinds, and of the files that are named: what the daemon tells when it loads.
    #[test]
    fn all_faults_are_told_in_the_order_of_their_places_each_with_its_line_and_a_mark() {
        let path = std::env::temp_dir().join(format!("shrike-faults-{}", std::process::id()));
        let text = "connections {\n  gw {\n    version = 1\n    proposals = aes128gcm16-prfsha256-modp2048\n    \
                    local { auth = eap }\n    remote { certs = one.pem, two.pem }\n    children { net {\n      \
                    local_ts = 10.1.0.0/33\n      esp_proposals = aes128-aescmac\n      start_acton = start\n      \
                    rekey_time = soon\n    } }\n  }\n  good { local { certs = three.pem\n } }\n}\n\
                    pools { p { addrs = x } }\nsecrets { ike-a { } }\nauthorities { a { } }\n";
        std::fs::write(&path, text).unwrap();
        let loaded = file(&path.to_string_lossy()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let told: Vec<(u32, &str)> = loaded.refused.iter().map(|r| (r.at.line, r.key.as_str())).collect();
        let gw = |key| format!("connections.gw.{key}");
        let net = |key| format!("connections.gw.children.net.{key}");
        let expected: Vec<(u32, String)> = vec![
            (4, gw("proposals")),
            (5, gw("local.auth")),
            (6, gw("remote.certs")),
            (6, gw("remote.certs")),
            (8, net("local_ts")),
            (9, net("esp_proposals")),
            (10, net("start_acton")),
            (11, net("rekey_time")),
            (14, "connections.good.local.certs".to_string()),
            (17, "pools.p.addrs".to_string()),
            (18, "secrets.ike-a.secret".to_string()),
            (19, "authorities.a.cacert".to_string()),
        ];
        let expected: Vec<(u32, &str)> = expected.iter().map(|(line, key)| (*line, key.as_str())).collect();
        assert_eq!(told, expected);
        for refused in &loaded.refused {
            let (line, mark) = (format!("\n{} | ", refused.at.line), refused.report.lines().last().unwrap());
            assert!(refused.report.contains(&line) && mark.trim_end().ends_with('^'), "{}", refused.report);
        }
        let two = &loaded.refused[3].report;
        assert!(two.contains("two.pem: No such file") && two.ends_with(&format!("{}^^^^^^^", " ".repeat(30))), "{two}");
        assert_eq!((loaded.connections.len(), loaded.faulty.len()), (0, 2));
    }

    #[test]
    fn settings_that_were_named_must_be_there() {
        assert!(settings(Some("/nonexistent/strongswan.conf")).unwrap_err().contains("there is no such file"));
    }
}
