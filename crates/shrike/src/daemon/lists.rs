//! Revocation lists that certificates say are to be had by HTTP, and certificates of which a peer sent hash and URL
//! (RFC 7296 section 3.6): each kind is fetched in a thread of its own.
//!
//! Plain HTTP is what RFC 5280 section 4.2.1.13 has in mind: a list is signed, and TLS would need revocation lists itself.

use super::aside::Aside;
use crypto::{Certificate, RevocationList};
use mio::Waker;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How many fetches may wait.
const MAX_WAITING: usize = 64;

/// How long one may take in all.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The largest list that is read, in octets.
const MAX_LIST: u64 = 16 << 20;

/// Fetches lists: each place with the list there, or why there is none.
pub type Fetcher = Aside<String, (String, Result<RevocationList, String>)>;

/// Begins; `waker` is woken at each answer.
///
/// # Errors
/// There is no thread to be had.
pub fn start(waker: Arc<Waker>) -> io::Result<Fetcher> {
    let configuration = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).max_redirects(3).build();
    let agent = ureq::Agent::new_with_config(configuration);
    Aside::start("crl", MAX_WAITING, waker, move |uri: String| {
        let list = fetch(&agent, &uri);
        (uri, list)
    })
}

/// How many look-ups of certificates may wait, and how long one may take in all. Whoever has us look one up has not proven
/// who it is.
const LOOKUPS: (usize, Duration) = (16, Duration::from_secs(5));

/// The largest certificate that is read, in octets.
const MAX_CERTIFICATE: u64 = 64 << 10;

/// Looks certificates up: each place with the certificate there, or why there is none.
pub type Lookup = Aside<String, (String, Result<Certificate, String>)>;

/// Begins, in a thread of its own: whatever peers have us look up, lists are fetched meanwhile.
///
/// # Errors
/// There is no thread to be had.
pub fn start_lookup(waker: Arc<Waker>) -> io::Result<Lookup> {
    // No redirection: the peer names the place, and nobody else another one.
    let configuration = ureq::Agent::config_builder().timeout_global(Some(LOOKUPS.1)).max_redirects(0).build();
    let agent = ureq::Agent::new_with_config(configuration);
    Aside::start("certificates", LOOKUPS.0, waker, move |uri: String| {
        let certificate = octets_at(&agent, &uri, MAX_CERTIFICATE)
            .and_then(|octets| Certificate::from_der(&octets).map_err(|e| e.to_string()));
        (uri, certificate)
    })
}

fn octets_at(agent: &ureq::Agent, uri: &str, most: u64) -> Result<Vec<u8>, String> {
    let mut response = agent.get(uri).call().map_err(|e| e.to_string())?;
    response.body_mut().with_config().limit(most).read_to_vec().map_err(|e| e.to_string())
}

fn fetch(agent: &ureq::Agent, uri: &str) -> Result<RevocationList, String> {
    let octets = octets_at(agent, uri, MAX_LIST)?;
    RevocationList::parse(&octets).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};
    use rcgen::{
        CertificateParams, CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
        date_time_ymd,
    };
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// Answers each request with the next of these, whole.
    fn server(answers: Vec<Vec<u8>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut octet = [0];
                    stream.read_exact(&mut octet).unwrap();
                    request.push(octet[0]);
                }
                stream.write_all(&answer).unwrap();
            }
        });
        format!("http://{address}/root.crl")
    }

    /// An empty list of an authority without a name.
    fn list() -> Vec<u8> {
        let mut authority = CertificateParams::default();
        authority.key_usages = vec![KeyUsagePurpose::CrlSign];
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2027, 5, 1),
            next_update: date_time_ymd(2027, 9, 1),
            crl_number: 1u64.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&Issuer::new(authority, KeyPair::generate().unwrap())).unwrap().der().to_vec()
    }

    fn answer(status: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    #[test]
    fn a_list_or_the_reason_wakes_the_daemon() {
        let uri = server(vec![answer("200 OK", &list()), answer("404 Not Found", b""), answer("200 OK", b"<html>")]);
        let mut poll = Poll::new().unwrap();
        let fetcher = start(Arc::new(Waker::new(poll.registry(), Token(7)).unwrap())).unwrap();
        for expected in [None, Some("404"), Some("no revocation list")] {
            fetcher.ask(uri.clone());
            let mut events = Events::with_capacity(1);
            poll.poll(&mut events, Some(Duration::from_secs(30))).unwrap();
            let (from, fetched) = fetcher.answer().unwrap();
            assert_eq!(from, uri);
            match (fetched, expected) {
                (Ok(_), None) => {}
                (Err(why), Some(expected)) => assert!(why.contains(expected), "{why}"),
                (other, expected) => panic!("{other:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn a_certificate_is_read_within_bounds_and_from_nowhere_else() {
        let key = KeyPair::generate().unwrap();
        let der = CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
        let elsewhere = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_vec();
        let large = answer("200 OK", &vec![0; 65 << 10]);
        let uri = server(vec![answer("200 OK", &der), elsewhere, large, answer("200 OK", b"<html>")]);
        let mut poll = Poll::new().unwrap();
        let lookup = start_lookup(Arc::new(Waker::new(poll.registry(), Token(7)).unwrap())).unwrap();
        for right in [true, false, false, false] {
            lookup.ask(uri.clone());
            let mut events = Events::with_capacity(1);
            poll.poll(&mut events, Some(Duration::from_secs(30))).unwrap();
            let (from, found) = lookup.answer().unwrap();
            assert_eq!((from.as_str(), found.is_ok()), (uri.as_str(), right), "{:?}", found.err());
        }
    }
}
