//! Certificates, private keys and revocation lists of swanctl's directories, beside `swanctl.conf`:
//!
//! | directory | what |
//! |---|---|
//! | `x509` | certificates of ends, ours and those of peers that are to be trusted as they are |
//! | `x509ca` | certificates of authorities |
//! | `x509crl` | revocation lists |
//! | `pubkey` | public keys of ends without a certificate |
//! | `pkcs12` | containers with a private key and certificates |
//! | `private`, `rsa`, `ecdsa`, `pkcs8` | private keys |

use config::{Authority, CertificateSource, Connection, KeyPassphrase, Place};
use crypto::{
    Certificate, Container, InvalidContainer, InvalidPrivateKey, PrivateKey, PublicKey, RawKey, RevocationList,
};
use model::ConfigRef;
use proto::Credentials;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A file that is longer is no certificate and no key; revocation lists may have this many octets.
const MAX_OCTETS: u64 = 16 << 20;

const KEY_DIRECTORIES: [&str; 4] = ["private", "rsa", "ecdsa", "pkcs8"];

/// What the directories hold.
#[derive(Default)]
pub struct Found {
    certificates: Vec<Certificate>,
    authorities: Vec<Certificate>,
    lists: Vec<RevocationList>,
    raw_keys: Vec<RawKey>,
    keys: Vec<PrivateKey>,
    /// Files that could not be used, each with the reason.
    pub refused: Vec<(String, String)>,
}

impl Found {
    /// The certificates of ends.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The certificates of authorities.
    pub fn authorities(&self) -> &[Certificate] {
        &self.authorities
    }

    /// The revocation lists.
    pub fn revocation_lists(&self) -> &[RevocationList] {
        &self.lists
    }

    /// Whether the private key of this public one is there.
    pub fn has_key_for(&self, public: &PublicKey) -> bool {
        self.keys.iter().any(|key| key.public().id() == public.id())
    }
}

/// What an earlier reading of the directories put into the endpoint.
#[derive(Default)]
pub struct FromFiles {
    certificates: Vec<Certificate>,
    authorities: Vec<Certificate>,
    raw_keys: Vec<RawKey>,
    keys: BTreeSet<[u8; 20]>,
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let length = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if length > MAX_OCTETS {
        return Err(format!("it has {length} octets, more than {MAX_OCTETS}"));
    }
    std::fs::read(path).map(Zeroizing::new).map_err(|e| e.to_string())
}

/// The files of a directory in alphabetical order; none if there is no such directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).map(|e| e.path());
    let hidden = |p: &Path| p.file_name().is_none_or(|n| n.as_encoded_bytes().starts_with(b"."));
    let mut found: Vec<PathBuf> = entries.filter(|p| p.is_file() && !hidden(p)).collect();
    found.sort();
    found
}

/// Of a certificate that is to be an authority's.
pub const NO_AUTHORITY: &str = "it is no certificate of an authority (basicConstraints, RFC 5280 section 4.2.1.9)";

/// What is done with each file of a directory.
type Take<'a> = &'a mut dyn FnMut(&Path, &[u8]) -> Result<(), String>;

/// Reads the directories beside `swanctl.conf`. One file with a fault does not keep the others out.
pub fn read_all(directory: &Path, passphrases: &[KeyPassphrase]) -> Found {
    let mut found = Found::default();
    let mut each = |name: &str, take: Take<'_>| {
        for path in files(&directory.join(name)) {
            if let Err(why) = read(&path).and_then(|octets| take(&path, &octets)) {
                found.refused.push((path.display().to_string(), why));
            }
        }
    };
    let (mut certificates, mut authorities) = (Vec::new(), Vec::new());
    for (name, list) in [("x509", &mut certificates), ("x509ca", &mut authorities)] {
        each(name, &mut |_, octets| {
            let certificate = Certificate::parse(octets).map_err(|e| e.to_string())?;
            // RFC 5280 section 4.2.1.9: else whoever has its key could be anybody.
            if name == "x509ca" && !certificate.is_authority() {
                return Err(NO_AUTHORITY.into());
            }
            list.push(certificate);
            Ok(())
        });
    }
    let (mut lists, mut keys, mut raw_keys) = (Vec::new(), Vec::new(), Vec::new());
    each("pubkey", &mut |_, octets| {
        raw_keys.push(RawKey::parse(octets).map_err(|e| e.to_string())?);
        Ok(())
    });
    each("x509crl", &mut |_, octets| {
        lists.push(RevocationList::parse(octets).map_err(|e| e.to_string())?);
        Ok(())
    });
    for name in KEY_DIRECTORIES {
        each(name, &mut |path, octets| {
            keys.push(key(octets, &passphrases_of(passphrases, directory, path)).map_err(|e| e.to_string())?);
            Ok(())
        });
    }
    each("pkcs12", &mut |path, octets| {
        let opened = container(octets, &passphrases_of(passphrases, directory, path)).map_err(|e| e.to_string())?;
        let (of_authorities, of_ends): (Vec<_>, Vec<_>) =
            opened.certificates.into_iter().partition(Certificate::is_authority);
        certificates.extend(of_ends);
        authorities.extend(of_authorities);
        keys.extend(opened.key);
        Ok(())
    });
    Found { certificates, authorities, lists, raw_keys, keys, ..found }
}

/// The passphrases that swanctl.conf has for a key's file.
fn passphrases_of<'a>(all: &'a [KeyPassphrase], directory: &Path, path: &Path) -> Vec<&'a [u8]> {
    // An absolute name replaces what it is joined to.
    let of_this = all.iter().filter(|p| directory.join(p.directory()).join(&p.file) == path);
    of_this.map(|p| p.secret.expose()).collect()
}

fn key(octets: &[u8], passphrases: &[&[u8]]) -> Result<PrivateKey, InvalidPrivateKey> {
    let mut result = PrivateKey::parse(octets, None);
    for passphrase in passphrases {
        if !matches!(result, Err(InvalidPrivateKey::Encrypted | InvalidPrivateKey::WrongPassphrase)) {
            break;
        }
        result = PrivateKey::parse(octets, Some(passphrase));
    }
    result
}

fn container(octets: &[u8], passphrases: &[&[u8]]) -> Result<Container, InvalidContainer> {
    let mut result = Container::open(octets, None);
    for passphrase in passphrases {
        if result.is_ok() {
            break;
        }
        result = Container::open(octets, Some(passphrase));
    }
    result
}

impl FromFiles {
    /// Gives the endpoint what was found now, and takes away what an earlier reading found and this one did not.
    pub fn replace(&mut self, credentials: &mut Credentials, found: Found) {
        for old in self.certificates.drain(..).filter(|c| !found.certificates.contains(c)) {
            credentials.remove_certificate(&old);
        }
        for old in self.authorities.drain(..).filter(|c| !found.authorities.contains(c)) {
            credentials.remove_authority(&old);
        }
        for old in self.raw_keys.drain(..).filter(|key| !found.raw_keys.contains(key)) {
            credentials.remove_raw_key(&old);
        }
        self.raw_keys.clone_from(&found.raw_keys);
        found.raw_keys.into_iter().for_each(|key| credentials.add_raw_key(key));
        let keys: BTreeSet<[u8; 20]> = found.keys.iter().map(|key| key.public().id()).collect();
        for gone in self.keys.difference(&keys) {
            credentials.remove_key(gone);
        }
        self.keys = keys;
        (self.certificates, self.authorities) = (found.certificates.clone(), found.authorities.clone());
        found.certificates.into_iter().for_each(|c| credentials.add_certificate(c));
        found.authorities.into_iter().for_each(|c| credentials.add_authority(c));
        found.lists.into_iter().for_each(|list| credentials.add_revocation_list(list));
        found.keys.into_iter().for_each(|key| credentials.add_key(key));
    }
}

/// A file that a line of the configuration names, and that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The line with its column.
    pub at: Place,
    /// The same with its key.
    pub key: ConfigRef,
    /// What the line names, if it does.
    pub name: Option<String>,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.key)?;
        if let Some(name) = &self.name {
            write!(f, "{name}: ")?;
        }
        f.write_str(&self.why)
    }
}

/// The octets of a certificate or key, and the name of its file if it has one.
fn octets_of(source: &CertificateSource, below: &Path) -> (Option<String>, Result<Zeroizing<Vec<u8>>, String>) {
    match source {
        CertificateSource::Der(der) => (None, Ok(Zeroizing::new(der.clone()))),
        CertificateSource::File(name) => (Some(name.clone()), read(&below.join(name))),
    }
}

/// Reads the certificates and public keys that a connection names by file.
///
/// # Errors
/// Each one that cannot be read, with the line that names it.
pub fn resolve(connection: &mut Connection, directory: &Path) -> Result<(), Vec<Unusable>> {
    const SENT: &str = "what a client sent";
    let source = connection.source.clone();
    let mut unusable = Vec::new();
    for (side, end) in [("local", &mut connection.local), ("remote", &mut connection.remote)] {
        let mut each = |key: &str, below: &str, list: &mut Vec<CertificateSource>, der: &dyn Fn(&[u8]) -> Der| {
            let key = format!("{side}.{key}");
            for one in list {
                let (name, octets) = octets_of(one, &directory.join(below));
                match octets.and_then(|octets| der(&octets)) {
                    Ok(der) => *one = CertificateSource::Der(der),
                    Err(why) => unusable.push(Unusable {
                        at: source.place(&key).clone(),
                        key: source.get(&key),
                        name: Some(name.unwrap_or_else(|| SENT.to_string())),
                        why,
                    }),
                }
            }
        };
        each("pubkeys", "pubkey", &mut end.pubkeys, &|octets| {
            RawKey::parse(octets).map(|key| key.der().to_vec()).map_err(|why| why.to_string())
        });
        for (key, below, list) in [("certs", "x509", &mut end.certs), ("cacerts", "x509ca", &mut end.cacerts)] {
            each(key, below, list, &|octets| {
                Certificate::parse(octets).map(|c| c.der().to_vec()).map_err(|why| why.to_string())
            });
        }
        // As with strongSwan: who has nothing but one key is called by it.
        if let ([CertificateSource::Der(der)], true) = (end.pubkeys.as_slice(), end.id == model::Identity::ANY)
            && let Ok(key) = RawKey::from_der(der)
        {
            end.id = model::Identity::from_wire(model::IdKind::KeyId.number(), &key.id());
        }
    }
    if unusable.is_empty() { Ok(()) } else { Err(unusable) }
}

/// What is in a file, in DER.
type Der = Result<Vec<u8>, String>;

/// Reads the certificate that an authority names by file.
///
/// # Errors
/// It cannot be read, or is none of an authority; with the line that names it.
pub fn resolve_authority(authority: &mut Authority, directory: &Path) -> Result<(), Box<Unusable>> {
    let (name, octets) = octets_of(&authority.cacert, &directory.join("x509ca"));
    let key = authority.source.clone();
    let fault = |name: Option<String>, why: String| {
        Box::new(Unusable { at: Place::new(&key.file, key.line, 1), key: key.clone(), name, why })
    };
    let octets = octets.map_err(|why| fault(name, why))?;
    let certificate = Certificate::parse(&octets).map_err(|why| fault(None, why.to_string()))?;
    if !certificate.is_authority() {
        return Err(fault(None, NO_AUTHORITY.to_string()));
    }
    authority.cacert = CertificateSource::Der(certificate.der().to_vec());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::MemoryFiles;

    fn fake(file: &str) -> Vec<u8> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crypto/src/signature/fake-keys").join(file);
        std::fs::read(path).unwrap()
    }

    fn fake_pki(file: &str) -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/fake-pki").join(file)).unwrap()
    }

    #[test]
    fn directories_are_read_and_what_is_gone_is_forgotten() {
        let directory = std::env::temp_dir().join(format!("shrike-credentials-{}", std::process::id()));
        for name in ["x509", "x509ca", "x509crl", "private", "rsa"] {
            std::fs::create_dir_all(directory.join(name)).unwrap();
        }
        let write = |name: &str, octets: &[u8]| std::fs::write(directory.join(name), octets).unwrap();
        write("x509/moon.pem", &fake_pki("moon.pem"));
        write("x509/broken.pem", b"-----BEGIN CERTIFICATE-----\nMAMC\n-----END CERTIFICATE-----\n");
        write("x509ca/root.pem", &fake_pki("root.pem"));
        write("x509ca/sun.pem", &fake_pki("sun.pem"));
        write("private/moon.pem", &fake_pki("moon.key.pem"));
        write("rsa/locked.pem", &fake("rsa-pkcs8-encrypted.pem"));
        write("rsa/unknown.pem", &fake("rsa-rfc1421-encrypted.pem"));
        let text = "connections { gw { local { certs = moon.pem } remote { cacerts = root.pem } }\n\
                    bad { local { certs = sun.pem } } }\n\
                    secrets { rsa { file = locked.pem\n secret = not-a-secret } }";
        let config = config::load(&config::parse("c", &MemoryFiles::one("c", text)).unwrap()).unwrap();

        let (mut credentials, mut before) = (Credentials::default(), FromFiles::default());
        let mut found = read_all(&directory, &config.passphrases);
        let refused = std::mem::take(&mut found.refused);
        before.replace(&mut credentials, found);
        let by_name = |name: &str| {
            let text = format!("authorities {{ root {{ cacert = {name} }} }}");
            let tree = config::parse("c", &MemoryFiles::one("c", &text)).unwrap();
            let mut authority = config::load(&tree).unwrap().authorities.remove(0);
            resolve_authority(&mut authority, &directory).map(|()| authority).map_err(|why| why.to_string())
        };
        let (named, none) = (by_name("root.pem").unwrap(), by_name("../x509/moon.pem").unwrap_err());
        let mut gw = (*config.connections[0]).clone();
        let resolved = resolve(&mut gw, &directory);
        let missing = resolve(&mut (*config.connections[1]).clone(), &directory).unwrap_err().remove(0).to_string();
        std::fs::remove_file(directory.join("private/moon.pem")).unwrap();
        std::fs::remove_file(directory.join("x509ca/root.pem")).unwrap();
        let (keys, authorities) = (credentials.keys().count(), credentials.authorities().len());
        before.replace(&mut credentials, read_all(&directory, &config.passphrases));
        std::fs::remove_dir_all(&directory).unwrap();

        assert_eq!((keys, authorities, resolved), (2, 1, Ok(())));
        assert_eq!(gw.local.certs[0].der(), Some(Certificate::parse(&fake_pki("moon.pem")).unwrap().der()));
        assert_eq!(gw.remote.cacerts[0].der(), Some(Certificate::parse(&fake_pki("root.pem")).unwrap().der()));
        assert_eq!(named.cacert.der(), Some(Certificate::parse(&fake_pki("root.pem")).unwrap().der()));
        assert!(none.starts_with("c:1 (authorities.root): it is no certificate of an authority"), "{none}");
        assert_eq!(refused.len(), 3, "{refused:?}");
        let told = |n: usize, file: &str, why: &str| refused[n].0.ends_with(file) && refused[n].1.starts_with(why);
        assert!(told(0, "broken.pem", "it is no X.509 certificate"), "{refused:?}");
        assert!(told(1, "x509ca/sun.pem", "it is no certificate of an authority"), "{refused:?}");
        assert!(told(2, "unknown.pem", "it is encrypted: add secrets"), "{refused:?}");
        assert!(missing.starts_with("c:2 (connections.bad.local.certs): sun.pem: No such file"), "{missing}");
        assert_eq!((credentials.keys().count(), credentials.authorities().len()), (1, 0));
        assert_eq!(credentials.certificates().len(), 1);
    }

    #[test]
    fn a_container_gives_a_key_and_certificates() {
        let directory = std::env::temp_dir().join(format!("shrike-containers-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("pkcs12")).unwrap();
        for (name, content) in [("moon", "moon-aes.p12"), ("unknown", "moon-legacy.p12")] {
            std::fs::write(directory.join("pkcs12").join(name), fake(content)).unwrap();
        }
        let text = "secrets { pkcs12-other { file = moon\n secret = other }\n\
                    pkcs12-moon { file = moon\n secret = not-a-secret } }";
        let config = config::load(&config::parse("c", &MemoryFiles::one("c", text)).unwrap()).unwrap();
        let found = read_all(&directory, &config.passphrases);
        std::fs::remove_dir_all(&directory).unwrap();
        let read = |name: &str| vec![Certificate::parse(&fake_pki(name)).unwrap()];
        assert_eq!((&found.certificates, &found.authorities), (&read("moon.pem"), &read("root.pem")));
        assert!(found.has_key_for(found.certificates[0].public_key().unwrap()));
        let [(file, why)] = &found.refused[..] else { panic!("{:?}", found.refused) };
        assert!(file.ends_with("pkcs12/unknown"), "{file}");
        assert!(why.starts_with("it is encrypted: add secrets { pkcs12-NAME"), "{why}");
    }

    #[test]
    fn public_keys_are_read_by_file_or_as_a_client_sends_them_and_name_who_has_no_other_name() {
        let directory = std::env::temp_dir().join(format!("shrike-pubkeys-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("pubkey")).unwrap();
        std::fs::write(directory.join("pubkey/sun.pem"), fake_pki("sun.pub.pem")).unwrap();
        std::fs::write(directory.join("pubkey/broken.pem"), b"-----BEGIN PUBLIC KEY-----\nMAMC\n").unwrap();
        let sun = RawKey::parse(&fake_pki("sun.pub.pem")).unwrap();
        let moon = RawKey::parse(&fake_pki("moon.pub.pem")).unwrap();
        let load = |text: &str| {
            let config = config::load(&config::parse("c", &MemoryFiles::one("c", text)).unwrap()).unwrap();
            let mut connection = (*config.connections[0]).clone();
            resolve(&mut connection, &directory).map(|()| connection).map_err(|all| all[0].to_string())
        };
        let gw = load("connections { gw { local { auth = pubkey\n pubkeys = sun.pem\n id = sun.example } remote { auth = pubkey\n pubkeys = sun.pem } } }").unwrap();
        let missing = load("connections { gw {\n local { auth = pubkey\n pubkeys = moon.pem } } }").unwrap_err();
        let broken = load("connections { gw {\n remote { auth = pubkey\n pubkeys = broken.pem } } }").unwrap_err();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(gw.local.pubkeys[0].der(), Some(sun.der()));
        assert_eq!((gw.local.id.to_string().as_str(), gw.remote.id.data()), ("sun.example", &sun.id()[..]));
        assert!(missing.starts_with("c:3 (connections.gw.local.pubkeys): moon.pem: No such file"), "{missing}");
        assert!(broken.starts_with("c:3 (connections.gw.remote.pubkeys): broken.pem: no public key"), "{broken}");

        // swanctl sends the file as it is, which may be no text (vici: section, key and value, list with one item).
        let end = |side: &str, key: &[u8]| {
            let length = u16::try_from(key.len()).unwrap().to_be_bytes();
            let (name, auth) = (side.as_bytes(), "pubkey".as_bytes());
            let mut out = vec![1, name.len() as u8];
            out.extend_from_slice(name);
            out.extend_from_slice(&[3, 4]);
            out.extend_from_slice(b"auth");
            out.extend_from_slice(&[0, auth.len() as u8]);
            out.extend_from_slice(auth);
            out.extend_from_slice(&[4, 7]);
            out.extend_from_slice(b"pubkeys");
            out.push(5);
            out.extend_from_slice(&length);
            out.extend_from_slice(key);
            out.extend_from_slice(&[6, 2]);
            out
        };
        for octets in [sun.der().to_vec(), fake_pki("sun.pub.pem")] {
            let message = [end("local", &octets), end("remote", moon.der())].concat();
            let message = vici::Message::decode(&message).unwrap();
            let section = super::super::load::section("gw", &message);
            let connection = super::super::load::connection(&section, &directory).unwrap();
            assert_eq!(connection.local.pubkeys[0].der(), Some(sun.der()));
            assert_eq!(connection.remote.id.data(), moon.id());
        }
    }
}
