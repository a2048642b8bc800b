//! Many initiators and one responder, configured as an operator would.

use crate::cpu_time;
use config::MemoryFiles;
use crypto::SystemRandom;
use model::dataplane::Command;
use model::{Event, Instant};
use proto::{Endpoint, Input, Output, Selection, Settings, Started};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Algorithms in the words of `swanctl.conf`.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// Of the row.
    pub name: &'static str,
    /// Of IKE: 1 is main mode and quick mode.
    pub version: u8,
    /// `proposals`.
    pub ike: &'static str,
    /// `esp_proposals`.
    pub esp: &'static str,
}

impl Suite {
    /// What the benchmarks measure: the key exchanges and ciphers that deployments use most.
    pub const ALL: &'static [Suite] = &[
        Suite { version: 2, name: "x25519 aes128gcm16", ike: "aes128gcm16-prfsha256-x25519", esp: "aes128gcm16" },
        Suite { version: 2, name: "x25519 aes128-sha256", ike: "aes128-sha256-x25519", esp: "aes128-sha256" },
        Suite { version: 2, name: "ecp256 aes128gcm16", ike: "aes128gcm16-prfsha256-ecp256", esp: "aes128gcm16" },
        Suite { version: 2, name: "ecp256 aes128-sha256", ike: "aes128-sha256-ecp256", esp: "aes128-sha256" },
        Suite { version: 2, name: "modp2048 aes128gcm16", ike: "aes128gcm16-prfsha256-modp2048", esp: "aes128gcm16" },
        Suite { version: 2, name: "modp2048 aes128-sha256", ike: "aes128-sha256-modp2048", esp: "aes128-sha256" },
    ];

    /// The same, with a key exchange in each rekeying of a Child SA.
    pub const PFS: &'static [Suite] = &[
        Suite { esp: "aes128gcm16-x25519", ..Self::ALL[0] },
        Suite { esp: "aes128-sha256-x25519", ..Self::ALL[1] },
        Suite { esp: "aes128gcm16-ecp256", ..Self::ALL[2] },
        Suite { esp: "aes128-sha256-ecp256", ..Self::ALL[3] },
        Suite { esp: "aes128gcm16-modp2048", ..Self::ALL[4] },
        Suite { esp: "aes128-sha256-modp2048", ..Self::ALL[5] },
    ];

    /// [`Suite::ALL`] in main mode and quick mode, whose phase 1 has no combined-mode ciphers.
    pub const IKEV1: &'static [Suite] = &[
        Suite { version: 1, name: "IKEv1 x25519 aes128-sha256", ike: "aes128-sha256-x25519", esp: "aes128-sha256" },
        Suite { version: 1, name: "IKEv1 ecp256 aes128-sha256", ike: "aes128-sha256-ecp256", esp: "aes128-sha256" },
        Suite { version: 1, name: "IKEv1 modp2048 aes128-sha256", ike: "aes128-sha256-modp2048", esp: "aes128-sha256" },
    ];

    /// The initiator's messages until both SAs are up, in order: whether each is answered.
    pub const fn requests(&self) -> &'static [bool] {
        match self.version {
            1 => &[true, true, true, true, false], // three of main mode, two of quick mode
            _ => &[true, true],                    // IKE_SA_INIT and IKE_AUTH
        }
    }
}

/// An IKE message on its way.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// Its source.
    pub from: SocketAddr,
    /// Its destination.
    pub to: SocketAddr,
    /// From the ISAKMP header on.
    pub message: Vec<u8>,
}

impl Datagram {
    /// Octets of heap that a list of datagrams holds.
    pub fn heap(list: &Vec<Datagram>) -> usize {
        list.capacity() * size_of::<Datagram>() + list.iter().map(|d| d.message.capacity()).sum::<usize>()
    }
}

const RESPONDER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// When everything begins. Time stands still except for [`Side::wait`], so that nothing expires by itself.
const START: Instant = Instant::from_nanos(1_000_000_000);

/// Number `n`'s address; `n` stays below 2^24.
fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + n)
}

/// Whose address this is.
pub(crate) fn number(address: SocketAddr) -> Option<u32> {
    match address {
        SocketAddr::V4(v4) => u32::from(*v4.ip()).checked_sub(u32::from(self::address(0))).filter(|n| *n < 1 << 24),
        SocketAddr::V6(_) => None,
    }
}

/// What has happened at an end, and the IKE SAs that it has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    ike_up: usize,
    installed: usize,
    removed: usize,
    live: usize,
}

/// An endpoint and what came out of it.
pub struct Side {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// IKE SAs that it reported up.
    pub ike_up: usize,
    /// Child SAs that it wanted installed.
    pub installed: usize,
    /// Child SAs that it wanted removed.
    pub removed: usize,
    /// The first failure that it reported, in its words: only one, so that what a flood leaves is not counted here.
    pub failure: Option<String>,
    now: Instant,
}

impl Side {
    fn new(text: &str, settings: Settings) -> Self {
        let files = MemoryFiles::one("swanctl.conf", text);
        let tree = config::parse("swanctl.conf", &files).expect("the benchmark's configuration is well-formed");
        let config = config::load(&tree).expect("the benchmark's configuration is valid");
        let mut endpoint = Endpoint::new(settings, Box::new(SystemRandom));
        config.connections.into_iter().for_each(|connection| endpoint.load_connection(connection));
        endpoint.set_secrets(config.secrets);
        Self { endpoint, ike_up: 0, installed: 0, removed: 0, failure: None, now: START }
    }

    /// Hands it a datagram; what it answers is added to `out`.
    pub fn receive(&mut self, datagram: &Datagram, out: &mut Vec<Datagram>) {
        let input = Input::Datagram { local: datagram.to, remote: datagram.from, bytes: &datagram.message };
        self.endpoint.handle(self.now, input);
        self.outputs(out);
    }

    /// Lets `time` pass for this end alone, and has done what is due by then.
    pub fn wait(&mut self, time: Duration, out: &mut Vec<Datagram>) {
        self.now = self.now + time;
        if self.endpoint.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
            self.endpoint.handle(self.now, Input::Timeout);
            self.outputs(out);
        }
    }

    /// Begins to delete every IKE SA.
    pub fn terminate(&mut self, out: &mut Vec<Datagram>) {
        self.endpoint.terminate(self.now, &Selection::default());
        self.outputs(out);
    }

    /// Begins to replace the keys of every IKE SA, or of every Child SA.
    pub fn rekey(&mut self, what: Rekeying, out: &mut Vec<Datagram>) -> usize {
        let begun = self.endpoint.rekey(self.now, &what.selection());
        self.outputs(out);
        begun
    }

    /// Initiator number `n` begins.
    pub fn initiate(&mut self, n: u32, out: &mut Vec<Datagram>) {
        let (local, remote) = (SocketAddr::from((address(n), 500)), SocketAddr::from((RESPONDER, 500)));
        let started = self.endpoint.initiate(self.now, &format!("peer-{n}"), "net", local, remote);
        assert!(matches!(started, Ok(Started::Negotiation(_))), "{started:?}");
        self.outputs(out);
    }

    fn outputs(&mut self, out: &mut Vec<Datagram>) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { local, remote, message } => out.push(Datagram { from: local, to: remote, message }),
                Output::Plane(Command::Install(_)) => self.installed += 1,
                Output::Plane(Command::Delete { .. }) => self.removed += 1,
                Output::Event(Event::IkeUp(_)) => self.ike_up += 1,
                Output::Event(Event::Ended(tombstone)) if self.failure.is_none() => {
                    self.failure = Some(format!("{:?}", tombstone.failure.kind));
                }
                Output::Solve(job) => {
                    let mut solver = crypto::PuzzleSolver::new(job.puzzle.clone());
                    while solver.work(1024) {}
                    self.endpoint.puzzle_solved(self.now, &job, solver.solution());
                }
                _ => {}
            }
        }
    }

    fn counts(&self) -> Counts {
        let (live, _) = self.endpoint.sizes();
        Counts { ike_up: self.ike_up, installed: self.installed, removed: self.removed, live }
    }

    fn expect_more(&self, before: Counts, more: Counts) {
        let expected = Counts {
            ike_up: before.ike_up + more.ike_up,
            installed: before.installed + more.installed,
            removed: before.removed + more.removed,
            live: before.live + more.live,
        };
        assert_eq!(self.counts(), expected, "failure: {:?}", self.failure);
    }

    /// Stops the program unless `count` IKE SAs with their Child SAs are up: a number about failures says nothing.
    pub fn expect_up(&self, count: usize) {
        let found = (self.ike_up, self.installed, self.endpoint.sizes());
        assert_eq!(found, (count, count, (count, 0)), "failure: {:?}", self.failure);
    }
}

/// A gateway for everybody who knows the key. Its limits for half-open SAs are off, or so low that every initiator after
/// the first has to return a cookie.
pub fn responder(suite: Suite, cookies: bool) -> Side {
    gateway(suite, Settings { cookie_threshold: usize::from(cookies), ..unlimited() }, 0)
}

/// Settings without limits for half-open SAs.
pub(crate) fn unlimited() -> Settings {
    Settings {
        cookie_threshold: 0,
        cookie_threshold_peer: 0,
        block_threshold: 0,
        half_open_limit: 0,
        puzzle_threshold: 0,
        ..Settings::default()
    }
}

/// A gateway for everybody who knows the key, with `others` connections beside that are for one peer each.
pub fn gateway(suite: Suite, settings: Settings, others: u32) -> Side {
    gateway_with(suite, settings, others, "")
}

/// The same, with `lines` in the connection for everybody.
pub(crate) fn gateway_with(suite: Suite, settings: Settings, others: u32, lines: &str) -> Side {
    let Suite { ike, esp, version, .. } = suite;
    let other = |n: u32| {
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 16, 0, 0)) + n);
        format!(
            "other-{n} {{\n version = {version}\n proposals = {ike}\n remote_addrs = {address}\n local {{\n auth = psk\n }}\n remote {{\n auth = psk\n }}\n }}\n"
        )
    };
    let beside: String = (0..others).map(other).collect();
    let text = format!(
        "connections {{
           net {{
             version = {version}
             proposals = {ike}
             local_addrs = {RESPONDER}
             {lines}
             local {{
               auth = psk
               id = gateway.example
             }}
             remote {{
               auth = psk
               id = %any
             }}
             children {{
               net {{
                 esp_proposals = {esp}
                 local_ts = 192.0.2.0/24
                 remote_ts = 10.0.0.0/8
               }}
             }}
           }}
           {beside}
         }}
         {SECRETS}"
    );
    Side::new(&text, settings)
}

const SECRETS: &str = "secrets {
  ike-net {
    secret = \"correct horse battery staple\"
  }
}";

/// The initiators `numbers`, all in one endpoint, each with its own connection, identity and address.
pub fn initiator(suite: Suite, numbers: std::ops::Range<u32>) -> Side {
    let Suite { ike, esp, version, .. } = suite;
    let connection = |n: u32| {
        let address = address(n);
        format!(
            "  peer-{n} {{
             version = {version}
             proposals = {ike}
             local_addrs = {address}
             remote_addrs = {RESPONDER}
             local {{
               auth = psk
               id = peer-{n}.example
             }}
             remote {{
               auth = psk
               id = gateway.example
             }}
             children {{
               net {{
                 esp_proposals = {esp}
                 local_ts = {address}/32
                 remote_ts = 192.0.2.0/24
               }}
             }}
           }}\n"
        )
    };
    let connections: String = numbers.map(connection).collect();
    Side::new(&format!("connections {{\n{connections}}}\n{SECRETS}"), Settings::default())
}

/// What a batch of handshakes took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batch {
    /// Both ends.
    pub both: Duration,
    /// The responder alone.
    pub responder: Duration,
    /// Octets of the IKE messages of both ends.
    pub octets: usize,
}

/// The initiators `numbers` set up an IKE SA with a Child SA each. Every step is done by all before the next begins, so
/// that reading the clock costs nothing per handshake, and no end finds its data still in the cache.
pub fn batch(suite: Suite, responder: &mut Side, numbers: std::ops::Range<u32>) -> Batch {
    established(suite, responder, numbers).1
}

/// The same, with the initiators, whose IKE SAs stay.
fn established(suite: Suite, responder: &mut Side, numbers: std::ops::Range<u32>) -> (Vec<Side>, Batch) {
    let before = responder.counts();
    let mut initiators: Vec<Side> = numbers.clone().map(|n| initiator(suite, n..n + 1)).collect();
    let mut times = Batch::default();
    let mut requests = Vec::with_capacity(initiators.len());
    let start = cpu_time();
    for (side, n) in initiators.iter_mut().zip(numbers) {
        side.initiate(n, &mut requests);
    }
    times.both += cpu_time() - start;
    for _request in suite.requests() {
        requests = round(responder, &mut initiators, requests, &mut times);
    }
    initiators.iter().for_each(|side| side.expect_up(1));
    responder.expect_more(
        before,
        Counts { ike_up: initiators.len(), installed: initiators.len(), removed: 0, live: initiators.len() },
    );
    (initiators, times)
}

/// The responder answers a request of each initiator, and the initiators take the answers. Returns what they ask next.
fn round(responder: &mut Side, initiators: &mut [Side], requests: Vec<Datagram>, times: &mut Batch) -> Vec<Datagram> {
    let mut replies = Vec::with_capacity(requests.len());
    let mut next = Vec::with_capacity(requests.len());
    let start = cpu_time();
    for request in &requests {
        responder.receive(request, &mut replies);
    }
    let middle = cpu_time();
    for (side, reply) in initiators.iter_mut().zip(&replies) {
        side.receive(reply, &mut next);
    }
    times.both += cpu_time() - start;
    times.responder += middle - start;
    times.octets += requests.iter().chain(&replies).map(|datagram| datagram.message.len()).sum::<usize>();
    next
}

/// Whose keys are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rekeying {
    /// A Child SA's (RFC 7296 section 1.3.3).
    Child,
    /// The IKE SA's (RFC 7296 section 1.3.2).
    Ike,
}

impl Rekeying {
    fn selection(self) -> Selection {
        Selection { child: (self == Self::Child).then(|| "net".to_string()), ..Selection::default() }
    }
}

/// How long an end keeps an IKE SA that was deleted, to answer the Delete again, and somewhat more.
pub(crate) const CLOSED: Duration = Duration::from_secs(31);

/// The initiators `numbers` set up an IKE SA with a Child SA each, which is not measured, and then each replaces `what`:
/// CREATE_CHILD_SA, the Delete of the old SA, and the end of what is remembered of it.
pub fn rekeyings(suite: Suite, responder: &mut Side, numbers: std::ops::Range<u32>, what: Rekeying) -> Batch {
    let (mut initiators, _) = established(suite, responder, numbers);
    let count = initiators.len();
    let before = (responder.counts(), initiators.iter().map(Side::counts).collect::<Vec<_>>());
    let mut times = Batch::default();
    let mut requests = Vec::with_capacity(count);
    let start = cpu_time();
    for side in &mut initiators {
        assert_eq!(side.rekey(what, &mut requests), 1, "one SA to rekey");
    }
    times.both += cpu_time() - start;
    while !requests.is_empty() {
        assert_eq!(requests.len(), count, "each initiator has asked");
        requests = round(responder, &mut initiators, requests, &mut times);
    }
    let start = cpu_time();
    responder.wait(CLOSED, &mut requests);
    times.responder += cpu_time() - start;
    initiators.iter_mut().for_each(|side| side.wait(CLOSED, &mut requests));
    times.both += cpu_time() - start;
    assert!(requests.is_empty(), "nothing is left to say");
    // A number about rekeyings that failed says nothing.
    let more = |times: usize| match what {
        Rekeying::Child => Counts { ike_up: 0, installed: times, removed: times, live: 0 },
        Rekeying::Ike => Counts { ike_up: times, installed: 0, removed: 0, live: 0 },
    };
    responder.expect_more(before.0, more(count));
    initiators.iter().zip(before.1).for_each(|(side, before)| side.expect_more(before, more(1)));
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_shakes_hands() {
        for suite in Suite::ALL.iter().chain(Suite::IKEV1) {
            let mut gateway = responder(*suite, false);
            let times = batch(*suite, &mut gateway, 0..3);
            assert!(times.both >= times.responder, "{suite:?}: a part is no more than the whole");
            gateway.expect_up(3);
        }
    }

    #[test]
    fn rekeyings_replace_the_sa_and_leave_nothing_behind() {
        for (suite, pfs) in Suite::ALL.iter().zip(Suite::PFS) {
            assert_eq!(suite.ike, pfs.ike);
            let mut gateway = responder(*suite, false);
            let child = rekeyings(*suite, &mut gateway, 0..2, Rekeying::Child);
            let ike = rekeyings(*suite, &mut gateway, 2..4, Rekeying::Ike);
            assert_eq!(gateway.endpoint.sizes(), (4, 0), "no old SA lives");
            let with_pfs = rekeyings(*pfs, &mut responder(*pfs, false), 0..2, Rekeying::Child);
            assert!(child.octets > 0 && ike.octets > 0, "{suite:?}");
            assert!(with_pfs.octets > child.octets + 4 * 32, "a public value in four messages: {pfs:?}");
        }
    }

    #[test]
    fn one_initiator_can_have_many_connections() {
        let mut initiators = initiator(Suite::ALL[0], 5..8);
        let mut out = Vec::new();
        (5..8).for_each(|n| initiators.initiate(n, &mut out));
        assert_eq!(
            out.iter().map(|d| d.from.to_string()).collect::<Vec<_>>(),
            ["10.0.0.5:500", "10.0.0.6:500", "10.0.0.7:500"]
        );
        assert!(Datagram::heap(&out) > out.iter().map(|d| d.message.len()).sum());
    }

    #[test]
    fn the_second_initiator_gets_a_cookie() {
        let (mut gateway, mut initiators) = (responder(Suite::ALL[0], true), initiator(Suite::ALL[0], 0..2));
        let (mut requests, mut replies) = (Vec::new(), Vec::new());
        (0..2).for_each(|n| initiators.initiate(n, &mut requests));
        requests.iter().for_each(|request| gateway.receive(request, &mut replies));
        let lengths: Vec<bool> = replies.iter().map(|reply| reply.message.len() < 100).collect();
        assert_eq!(lengths, [false, true], "the answer with a cookie is short");
    }
}
