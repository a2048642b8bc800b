//! The commands about certificates and private keys.

use crypto::{Certificate, PrivateKey, RawKey, RevocationList};
use model::{CertificateUse, Identity, LiveCertificate};
use proto::Credentials;
use std::fmt::Write as _;
use vici::{Message, schema};

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}"); // writing to a string does not fail
        text
    })
}

fn octets(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).filter_map(|p| Some(p.first()? << 4 | p.get(1)?)).collect())
}

/// `load-cert {type = X509 | X509_CRL | PUBKEY  flag = NONE | CA  data}`.
pub fn load_cert(credentials: &mut Credentials, m: &Message) -> Message {
    let kind = m.get_str("type").unwrap_or("X509").to_ascii_uppercase();
    let flag = m.get_str("flag").unwrap_or("NONE").to_ascii_uppercase();
    let Some(data) = m.get("data") else { return schema::refusal("load-cert needs data: the certificate") };
    match (kind.as_str(), flag.as_str()) {
        ("X509_CRL", _) => match RevocationList::parse(data) {
            Ok(list) => credentials.add_revocation_list(list),
            Err(why) => return schema::refusal(why.to_string()),
        },
        ("X509", "NONE" | "CA") => match Certificate::parse(data) {
            Ok(authority) if flag == "CA" && !authority.is_authority() => {
                return schema::refusal(crate::daemon::credentials::NO_AUTHORITY);
            }
            Ok(authority) if flag == "CA" => credentials.add_authority(authority),
            Ok(certificate) => credentials.add_certificate(certificate),
            Err(why) => return schema::refusal(why.to_string()),
        },
        ("PUBKEY", _) => match RawKey::parse(data) {
            Ok(key) => credentials.add_raw_key(key),
            Err(why) => return schema::refusal(why.to_string()),
        },
        _ => {
            return schema::refusal(format!(
                "certificates of type {kind} with flag {flag} are not available in this version: X509 (NONE, CA), X509_CRL and PUBKEY are"
            ));
        }
    }
    schema::success()
}

/// The `list-authority` events that `list-authorities {name}` asks for: `{NAME {cacert crl_uris cert_uri_base}}`.
pub fn authorities(credentials: &Credentials, m: &Message) -> Vec<Message> {
    let wanted = |name: &str| m.get_str("name").is_none_or(|n| n == name);
    let named = credentials.named_authorities().filter(|(name, ..)| wanted(name));
    named
        .map(|(name, certificate, places)| {
            let subject = model::Identity::from_wire(9, certificate.subject());
            let mut event = Message::new();
            event.section(name, |m| {
                m.set("cacert", subject.to_string()).list("crl_uris", &places.lists);
                if let Some(base) = &places.certificates {
                    m.set("cert_uri_base", base);
                }
            });
            event
        })
        .collect()
}

/// `load-key {type  data}`: the type is in the key itself.
pub fn load_key(credentials: &mut Credentials, m: &Message) -> Message {
    let Some(data) = m.get("data") else { return schema::refusal("load-key needs data: the private key") };
    match PrivateKey::parse(data, None) {
        Ok(key) => {
            let id = hex(&key.public().id());
            credentials.add_key(key);
            let mut answer = schema::success();
            answer.set("id", id);
            answer
        }
        Err(why) => schema::refusal(why.to_string()),
    }
}

/// `unload-key {id}`: the id that `load-key` answered.
pub fn unload_key(credentials: &mut Credentials, m: &Message) -> Message {
    let id = m.get_str("id").unwrap_or_default();
    match octets(id).is_some_and(|id| credentials.remove_key(&id)) {
        true => schema::success(),
        false => schema::refusal(format!("no private key '{id}'")),
    }
}

/// The names in the answer to `get-keys`.
pub fn key_ids(credentials: &Credentials) -> Vec<String> {
    credentials.keys().map(|key| hex(&key.id())).collect()
}

/// The `list-cert` events that `list-certs {type  flag  subject}` asks for.
pub fn list(credentials: &Credentials, m: &Message) -> Vec<Message> {
    let any = |key: &str, value: &str| {
        m.get_str(key).is_none_or(|w| w.eq_ignore_ascii_case("any") || w.eq_ignore_ascii_case(value))
    };
    let subject = m.get_str("subject").filter(|s| !s.is_empty()).and_then(|s| s.parse::<model::Identity>().ok());
    let of = |c: &Certificate| {
        subject.as_ref().is_none_or(|s| s.matches(&model::Identity::from_wire(9, c.subject())).is_some())
    };
    let ends = credentials.certificates().iter().map(|c| (c, "NONE"));
    let all = ends.chain(credentials.authorities().iter().map(|c| (c, "CA")));
    let issued = |list: &&RevocationList| {
        subject.as_ref().is_none_or(|s| s.matches(&issuer(list)).is_some()) && any("type", "X509_CRL")
    };
    let lists = credentials.revocation_lists().filter(issued).map(|list| {
        let mut event = Message::new();
        event.set("type", "X509_CRL").set("flag", "NONE").octets("data", list.der());
        event
    });
    let certificates = all.filter(|(c, flag)| any("type", "X509") && any("flag", flag) && of(c)).map(|(c, flag)| {
        let mut event = Message::new();
        event.set("type", "X509").set("flag", flag);
        if c.public_key().is_some_and(|key| credentials.has_key_for(key)) {
            event.set("has_privkey", "yes");
        }
        event.octets("data", c.der());
        event
    });
    certificates.chain(lists).collect()
}

/// The authority that signed a list.
fn issuer(list: &RevocationList) -> Identity {
    // The list's name lacks the outermost tag and length of an identity's.
    let name = list.issuer();
    let mut der = vec![0x30];
    match u8::try_from(name.len()) {
        Ok(short) if short < 0x80 => der.push(short),
        Ok(long) => der.extend([0x81, long]),
        Err(_) => der.extend([&[0x82], &u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes()[..]].concat()),
    }
    der.extend_from_slice(name);
    Identity::from_wire(9, &der)
}

/// When a revocation list runs out.
pub fn validity_of_list(list: &RevocationList) -> LiveCertificate {
    LiveCertificate { of: CertificateUse::RevocationList, name: issuer(list), not_after: list.next_update() }
}

/// What a `list-cert` event tells of when something runs out; nothing for what is neither certificate nor list.
pub fn validity(event: &Message) -> Option<LiveCertificate> {
    let data = event.get("data")?;
    match event.get_str("type")?.to_ascii_uppercase().as_str() {
        "X509_CRL" => RevocationList::parse(data).ok().as_ref().map(validity_of_list),
        "X509" => {
            let certificate = Certificate::parse(data).ok()?;
            let of = match event.get_str("has_privkey") {
                Some("yes") => CertificateUse::Own,
                _ if certificate.is_authority() => CertificateUse::Authority,
                _ => CertificateUse::Other,
            };
            let name = Identity::from_wire(9, certificate.subject());
            Some(LiveCertificate { of, name, not_after: Some(certificate.not_after()) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
    use std::time::Duration;

    /// What a client is told of certificates and revocation lists is enough to say whose they are and when they run out.
    #[test]
    fn when_certificates_and_lists_run_out_is_known_from_what_is_listed() {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = Default::default();
        params.distinguished_name.push(DnType::CommonName, "root");
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let list = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2029, 1, 1),
            next_update: rcgen::date_time_ymd(2030, 1, 1),
            crl_number: rcgen::SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let mut credentials = Credentials::default();
        credentials.add_authority(Certificate::parse(root.der()).unwrap());
        credentials.add_revocation_list(RevocationList::parse(list.signed_by(&root).unwrap().der()).unwrap());
        let told = |m: &Message| list_of(&credentials, m);
        let all = told(&Message::new());
        let (first, second) = (Duration::from_secs(2_208_988_800), Duration::from_secs(1_893_456_000));
        let name = Identity::from_wire(9, credentials.authorities()[0].subject());
        assert_eq!(
            all,
            [
                LiveCertificate { of: CertificateUse::Authority, name: name.clone(), not_after: Some(first) },
                LiveCertificate { of: CertificateUse::RevocationList, name, not_after: Some(second) },
            ]
        );
        let mut only = Message::new();
        only.set("type", "X509_CRL");
        assert_eq!(told(&only), all[1..]);
        let mut other = Message::new();
        other.set("subject", "CN=nobody");
        assert_eq!(told(&other), []);
    }

    fn list_of(credentials: &Credentials, m: &Message) -> Vec<LiveCertificate> {
        list(credentials, m).iter().filter_map(validity).collect()
    }
}
