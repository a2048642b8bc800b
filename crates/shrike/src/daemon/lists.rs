//! Revocation lists that certificates say are to be had by HTTP, fetched in a thread of its own.
//!
//! Plain HTTP is what RFC 5280 section 4.2.1.13 has in mind: a list is signed, and TLS would need revocation lists itself.

use super::aside::Aside;
use crypto::RevocationList;
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

fn fetch(agent: &ureq::Agent, uri: &str) -> Result<RevocationList, String> {
    let mut response = agent.get(uri).call().map_err(|e| e.to_string())?;
    let octets = response.body_mut().with_config().limit(MAX_LIST).read_to_vec().map_err(|e| e.to_string())?;
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
}
