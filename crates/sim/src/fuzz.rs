//! What the fuzz targets run: arbitrary octets as input of the parsers, or as the story of what somebody does to an
//! endpoint. Property tests run the same functions, and a test replays the corpora of the targets.

use crate::peer::{ESP_PROPOSALS, PROPOSALS};
use crate::{Parts, Peer, Rng, Site};
use config::MemoryFiles;
use model::{IkeState, Instant, Role};
use proto::{Endpoint, Input, Output};
use std::net::SocketAddr;
use std::time::Duration;
use wire::{ExchangeType, HEADER_LEN, Header, PayloadType};

/// At most this many half-open SAs may there be from the one address that the stranger uses.
const BLOCK_THRESHOLD: usize = 5;

struct Story<'a> {
    rest: &'a [u8],
    endpoint: Endpoint,
    now: Instant,
    peers: u64,
    /// The last answer of the endpoint.
    last: Vec<u8>,
}

/// Reads `data` as a sequence of steps against a responder with one connection:
///
/// | octet modulo 5 | step |
/// |---|---|
/// | 0 | the clock goes on by the next octet's number of seconds |
/// | 1 | the octets that follow the next two, which say how many, as a datagram |
/// | 2 | the same, with SPIs, version and length made to fit the last answer, so that it reaches an SA |
/// | 3 | a first message as it should be, with up to 15 octets exchanged |
/// | 4 | the last answer back to its sender, with one octet exchanged |
///
/// # Panics
/// If the endpoint does, gets an established SA, keeps more half-open SAs than it may, or answers with more octets than
/// it was sent while it does not know whether the sender's address is true.
pub fn endpoint_unauthenticated(data: &[u8]) {
    let site = Site::new("b", "192.0.2.2").to("192.0.2.1").connection(PROPOSALS).settings(|s| {
        s.cookie_threshold_peer = 1;
        s.block_threshold = BLOCK_THRESHOLD;
    });
    let endpoint = site.endpoint(Rng::new(1));
    let mut story = Story { rest: data, endpoint, now: Instant::ZERO, peers: 0, last: Vec::new() };
    while let Some(step) = story.octet() {
        story.step(step);
    }
}

impl Story<'_> {
    fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn octets(&mut self) -> Vec<u8> {
        let (high, low) = (self.octet().unwrap_or(0), self.octet().unwrap_or(0));
        let length = usize::from(u16::from_be_bytes([high % 8, low])).min(self.rest.len());
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken.to_vec()
    }

    fn step(&mut self, step: u8) {
        match step % 5 {
            0 => {
                let seconds = self.octet().unwrap_or(1);
                self.now = self.now + Duration::from_secs(seconds.into());
                self.endpoint.handle(self.now, Input::Timeout);
                self.drain(None);
            }
            1 => {
                let datagram = self.octets();
                self.deliver(&datagram);
            }
            2 => {
                let mut datagram = self.octets();
                if datagram.len() >= HEADER_LEN {
                    if let Ok(header) = Header::parse(&self.last) {
                        datagram[..8].copy_from_slice(&header.spis.initiator.0);
                        datagram[8..16].copy_from_slice(&header.spis.responder.0);
                    }
                    datagram[17] = 0x20;
                    datagram[18] = 34 + datagram[18] % 4;
                    let length = datagram.len() as u32;
                    datagram[24..28].copy_from_slice(&length.to_be_bytes());
                }
                self.deliver(&datagram);
            }
            3 => {
                self.peers += 1;
                let mut peer = Peer::new(Role::Initiator, self.peers);
                let mut datagram = peer.init(&peer.init_parts());
                for _ in 0..self.octet().unwrap_or(0) % 16 {
                    let (at, to) = (self.octet().unwrap_or(0), self.octet().unwrap_or(0));
                    let length = datagram.len();
                    datagram[usize::from(at) % length] = to;
                }
                self.deliver(&datagram);
            }
            _ => {
                let mut datagram = self.last.clone();
                let (at, to) = (self.octet().unwrap_or(0), self.octet().unwrap_or(0));
                if let Some(octet) = datagram.get_mut(usize::from(at)) {
                    *octet = to;
                }
                self.deliver(&datagram);
            }
        }
    }

    fn deliver(&mut self, bytes: &[u8]) {
        let (local, remote) = addresses();
        let half_open = self.endpoint.sizes().1;
        self.endpoint.handle(self.now, Input::Datagram { local, remote, bytes });
        // A new half-open SA is one below the threshold of cookies; its answer is in proportion (below 2 to 1).
        let admitted = self.endpoint.sizes().1 > half_open;
        self.drain(Some(if admitted { bytes.len() * 2 } else { bytes.len() }));
    }

    fn drain(&mut self, limit: Option<usize>) {
        let mut sent = 0;
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { message, .. } => {
                    sent += message.len();
                    self.last = message;
                }
                Output::Plane(command) => panic!("a stranger reached the data plane: {command:?}"),
                Output::Keepalive { .. }
                | Output::AddAddress(_)
                | Output::RemoveAddress(_)
                | Output::Resolve(_)
                | Output::Solve(_)
                | Output::Fetch(_)
                | Output::FetchCertificate(_)
                | Output::Event(_) => {}
            }
        }
        // A repeated first message has its answer repeated, which is longer; it was counted when it was new.
        if let Some(limit) = limit {
            assert!(sent <= limit.max(self.last.len()) && sent <= 2 * limit.max(128), "{sent} octets for {limit}");
        }
        let (all, half_open) = self.endpoint.sizes();
        assert!(all == half_open && half_open <= BLOCK_THRESHOLD, "{half_open} half-open of {all}");
        assert!(self.endpoint.snapshots(self.now).iter().all(|sa| sa.state == IkeState::Connecting));
    }
}

fn addresses() -> (SocketAddr, SocketAddr) {
    (([192, 0, 2, 2], 500).into(), ([192, 0, 2, 1], 500).into())
}

/// Reads `data` as what a peer with the right keys sends: the first octet says whether IKE_AUTH goes as it should before
/// the rest, which is a sequence of requests: exchange type, number of payloads, and for each its type, its length and
/// its contents.
///
/// # Panics
/// If the endpoint does, has an established SA without IKE_AUTH, installs a Child SA in an exchange that makes none, or
/// answers a request more than once.
pub fn endpoint_authentic(data: &[u8]) {
    let Some((first, mut rest)) = data.split_first() else { return };
    let site = Site::new("b", "192.0.2.2").to("192.0.2.1").connection(PROPOSALS).child(ESP_PROPOSALS);
    let mut endpoint = site.endpoint(Rng::new(1));
    let mut peer = Peer::new(Role::Initiator, 5);
    let mut give = |bytes: &[u8]| {
        let (local, remote) = addresses();
        endpoint.handle(Instant::ZERO, Input::Datagram { local, remote, bytes });
        let (mut sent, mut installs) = (Vec::new(), 0);
        while let Some(output) = endpoint.poll_output() {
            match output {
                Output::Transmit { message, .. } => sent.push(message),
                Output::Plane(model::dataplane::Command::Install(_)) => installs += 1,
                _ => {}
            }
        }
        let established = endpoint.snapshots(Instant::ZERO).iter().any(|sa| sa.state == IkeState::Established);
        (sent, installs, established)
    };
    let init = peer.init(&peer.init_parts());
    let (answers, ..) = give(&init);
    assert!(peer.take_init(&answers[0]));
    let (mut id, proven) = (1, first % 2 == 1);
    if proven {
        let parts = peer.auth_parts("a.example", b"swordfish", "192.0.2.1", "192.0.2.2");
        let (_, installs, established) = give(&peer.protected(ExchangeType::IKE_AUTH, id, false, &parts));
        assert!(installs == 1 && established);
        id += 1;
    }
    let mut octet = || {
        let (first, more) = rest.split_first()?;
        rest = more;
        Some(*first)
    };
    while let Some(exchange) = octet() {
        let mut parts = Parts::new();
        for _ in 0..octet().unwrap_or(0) % 8 {
            let (kind, length) = (octet().unwrap_or(0).max(1), octet().unwrap_or(0));
            parts.push((PayloadType(kind), (0..length).map_while(|_| octet()).collect()));
        }
        let message = peer.protected(ExchangeType(35 + exchange % 3), id, false, &parts);
        let (answers, installs, established) = give(&message);
        // CREATE_CHILD_SA may make a Child SA, for a peer that has proved itself.
        let allowed = usize::from(proven && exchange % 3 == 1);
        assert!(answers.len() <= 1 && installs <= allowed, "{} answers, {installs} installs", answers.len());
        assert!(answers.iter().all(|answer| peer.open(answer).is_some()), "answers are protected");
        assert!(!established || proven, "established without proof");
        id += 1;
    }
}

/// Reads `data` as `swanctl.conf` and `strongswan.conf`: whatever it is, either values or errors that can be shown.
///
/// # Panics
/// If the parser does.
pub fn config_parse(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match config::parse("x.conf", &MemoryFiles::one("x.conf", &text)) {
        Ok(tree) => {
            if let Err(errors) = config::load(&tree) {
                assert!(!errors.is_empty() && errors.iter().all(|e| !e.to_string().is_empty()));
            }
            let _ = config::daemon_settings(&tree);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
