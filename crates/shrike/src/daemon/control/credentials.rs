//! The commands about certificates and private keys.

use crypto::{Certificate, PrivateKey, RawKey, RevocationList};
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
                return schema::refusal(
                    "it is no certificate of an authority (basicConstraints, RFC 5280 section 4.2.1.9)",
                );
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
    all.filter(|(c, flag)| any("type", "X509") && any("flag", flag) && of(c))
        .map(|(c, flag)| {
            let mut event = Message::new();
            event.set("type", "X509").set("flag", flag);
            if c.public_key().is_some_and(|key| credentials.has_key_for(key)) {
                event.set("has_privkey", "yes");
            }
            event.octets("data", c.der());
            event
        })
        .collect()
}
