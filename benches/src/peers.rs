//! Many initiators and one responder, configured as an operator would.

use crate::cpu_time;
use config::MemoryFiles;
use crypto::SystemRandom;
use model::dataplane::Command;
use model::{Event, Instant};
use proto::{Endpoint, Input, Output, Settings, Started};
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

    /// The same in main mode and quick mode, whose phase 1 has no combined-mode ciphers.
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

/// The time of everything: nothing expires while a benchmark runs.
const NOW: Instant = Instant::from_nanos(1_000_000_000);

/// Number `n`'s address; `n` stays below 2^24.
fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + n)
}

/// An endpoint and what came out of it.
pub struct Side {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// IKE SAs that it reported up.
    pub ike_up: usize,
    /// Child SAs that it wanted installed.
    pub installed: usize,
    /// Failures that it reported, in its words.
    pub failures: Vec<String>,
}

impl Side {
    fn new(text: &str, settings: Settings) -> Self {
        let files = MemoryFiles::one("swanctl.conf", text);
        let tree = config::parse("swanctl.conf", &files).expect("the benchmark's configuration is well-formed");
        let config = config::load(&tree).expect("the benchmark's configuration is valid");
        let mut endpoint = Endpoint::new(settings, Box::new(SystemRandom));
        config.connections.into_iter().for_each(|connection| endpoint.load_connection(connection));
        endpoint.set_secrets(config.secrets);
        Self { endpoint, ike_up: 0, installed: 0, failures: Vec::new() }
    }

    /// Hands it a datagram; what it answers is added to `out`.
    pub fn receive(&mut self, datagram: &Datagram, out: &mut Vec<Datagram>) {
        let input = Input::Datagram { local: datagram.to, remote: datagram.from, bytes: &datagram.message };
        self.endpoint.handle(NOW, input);
        self.outputs(out);
    }

    /// Initiator number `n` begins.
    pub fn initiate(&mut self, n: u32, out: &mut Vec<Datagram>) {
        let (local, remote) = (SocketAddr::from((address(n), 500)), SocketAddr::from((RESPONDER, 500)));
        let started = self.endpoint.initiate(NOW, &format!("peer-{n}"), "net", local, remote);
        assert!(matches!(started, Ok(Started::Negotiation(_))), "{started:?}");
        self.outputs(out);
    }

    fn outputs(&mut self, out: &mut Vec<Datagram>) {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Transmit { local, remote, message } => out.push(Datagram { from: local, to: remote, message }),
                Output::Plane(Command::Install(_)) => self.installed += 1,
                Output::Event(Event::IkeUp(_)) => self.ike_up += 1,
                Output::Event(Event::Ended(tombstone)) => self.failures.push(format!("{:?}", tombstone.failure.kind)),
                _ => {}
            }
        }
    }

    /// Stops the program unless `count` IKE SAs with their Child SAs are up: a number about failures says nothing.
    pub fn expect_up(&self, count: usize) {
        let found = (self.ike_up, self.installed, self.endpoint.sizes());
        assert_eq!(found, (count, count, (count, 0)), "failures: {:?}", self.failures.first());
    }
}

/// A gateway for everybody who knows the key. Its limits for half-open SAs are off, or so low that every initiator after
/// the first has to return a cookie.
pub fn responder(suite: Suite, cookies: bool) -> Side {
    let Suite { ike, esp, version, .. } = suite;
    let text = format!(
        "connections {{
           net {{
             version = {version}
             proposals = {ike}
             local_addrs = {RESPONDER}
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
         }}
         {SECRETS}"
    );
    let unlimited = Settings {
        cookie_threshold: usize::from(cookies),
        cookie_threshold_peer: 0,
        block_threshold: 0,
        half_open_limit: 0,
        ..Settings::default()
    };
    Side::new(&text, unlimited)
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
}

/// The initiators `numbers` set up an IKE SA with a Child SA each. Every step is done by all before the next begins, so
/// that reading the clock costs nothing per handshake, and no end finds its data still in the cache.
pub fn batch(suite: Suite, responder: &mut Side, numbers: std::ops::Range<u32>) -> Batch {
    let before = responder.ike_up;
    let mut initiators: Vec<Side> = numbers.clone().map(|n| initiator(suite, n..n + 1)).collect();
    let mut times = Batch::default();
    let (mut requests, mut replies) =
        (Vec::with_capacity(initiators.len()), Vec::<Datagram>::with_capacity(initiators.len()));
    let start = cpu_time();
    for (side, n) in initiators.iter_mut().zip(numbers) {
        side.initiate(n, &mut requests);
    }
    times.both += cpu_time() - start;
    for _request in suite.requests() {
        let start = cpu_time();
        for request in &requests {
            responder.receive(request, &mut replies);
        }
        let middle = cpu_time();
        requests.clear();
        for (side, reply) in initiators.iter_mut().zip(&replies) {
            side.receive(reply, &mut requests);
        }
        times.both += cpu_time() - start;
        times.responder += middle - start;
        replies.clear();
    }
    initiators.iter().for_each(|side| side.expect_up(1));
    responder.expect_up(before + initiators.len());
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
