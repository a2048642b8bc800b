//! How many SAs are looked at for what happens to one of them: beside hundreds of others as many as beside a few.

use super::{Endpoint, Input, Output, Selection};
use crate::Settings;
use config::MemoryFiles;
use model::{Instant, SaId};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Seeded(u64);

impl crypto::Random for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for octet in out {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *octet = (z ^ (z >> 27)) as u8;
        }
    }
}

/// So long an end keeps what it would answer again of an IKE SA that was deleted, or of one whose initiator says no more.
const FORGOTTEN: Duration = Duration::from_secs(31);

const GATEWAY: &str = "192.0.2.1:500";

fn peer(n: u32) -> SocketAddr {
    let octets = n.to_be_bytes();
    SocketAddr::from(([10, 0, octets[2], octets[3]], 500))
}

/// A gateway with one connection for everybody, and one endpoint that has all its peers.
struct Ends {
    gateway: Endpoint,
    peers: Endpoint,
    now: Instant,
}

impl Ends {
    /// `others` and number 0 are up, which alone has to be asked whether the gateway lives.
    fn new(others: u32) -> Self {
        const ENDS: &str = "version = 2\n proposals = aes128gcm16-prfsha256-x25519\n rekey_time = 0\n reauth_time = 0";
        const CHILDREN: &str = "children { net { esp_proposals = aes128gcm16\n rekey_time = 0\n life_time = 0";
        const PSK: &str = "secrets { ike-net { secret = \"correct horse battery staple\" } }";
        let gateway = format!(
            "connections {{ net {{ {ENDS}\n local {{ auth = psk\n id = gateway.example\n }} remote {{ auth = psk\n id = %any\n }} \
             {CHILDREN}\n local_ts = 192.0.2.0/24\n remote_ts = 10.0.0.0/8\n }} }} }} }} {PSK}"
        );
        let mut peers = String::from("connections {");
        for n in 0..others + 2 {
            let (address, delay) = (peer(n).ip(), if n == 0 { "dpd_delay = 20s" } else { "" });
            let _ = write!(
                peers,
                "peer-{n} {{ {ENDS}\n {delay}\n local_addrs = {address}\n remote_addrs = 192.0.2.1\n \
                 local {{ auth = psk\n id = peer-{n}.example\n }} remote {{ auth = psk\n id = gateway.example\n }} \
                 {CHILDREN}\n local_ts = {address}/32\n remote_ts = 192.0.2.0/24\n }} }} }}\n"
            );
        }
        peers += &format!("}} {PSK}");
        let endpoint = |text: &str, seed: u64| {
            let tree = config::parse("swanctl.conf", &MemoryFiles::one("swanctl.conf", text)).unwrap();
            let config = config::load(&tree).unwrap();
            let settings = Settings { cookie_threshold: 0, block_threshold: 0, ..Settings::default() };
            let mut endpoint = Endpoint::new(settings, Box::new(Seeded(seed)));
            config.connections.into_iter().for_each(|connection| endpoint.load_connection(connection));
            endpoint.set_secrets(config.secrets);
            endpoint
        };
        let mut ends = Self {
            gateway: endpoint(&gateway, 1),
            peers: endpoint(&peers, 2),
            now: Instant::from_nanos(1_000_000_000),
        };
        (0..=others).for_each(|n| ends.establish(n));
        ends.settle();
        assert_eq!(ends.sizes(), [(others as usize + 1, 0); 2]);
        ends
    }

    fn sizes(&self) -> [(usize, usize); 2] {
        [self.gateway.sizes(), self.peers.sizes()]
    }

    fn establish(&mut self, n: u32) {
        self.begin(n);
        self.settle();
    }

    fn begin(&mut self, n: u32) {
        let begun = self.peers.initiate(self.now, &format!("peer-{n}"), "net", peer(n), GATEWAY.parse().unwrap());
        assert!(begun.is_ok(), "{begun:?}");
    }

    /// Until neither end has anything more to say.
    fn settle(&mut self) {
        let Self { gateway, peers, now } = self;
        while exchange(gateway, peers, *now) + exchange(peers, gateway, *now) > 0 {}
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.gateway.handle(self.now, Input::Timeout);
        self.peers.handle(self.now, Input::Timeout);
        self.settle();
    }

    /// The IKE SA of number 0, at the gateway.
    fn first(&self) -> SaId {
        let all = self.gateway.snapshots(self.now);
        all.iter().find(|sa| sa.remote.ip() == peer(0).ip()).expect("number 0 is up").id
    }

    /// Looks since this was last asked, at the gateway and at the peers' end.
    fn take_looks(&mut self) -> (usize, usize) {
        (self.gateway.sas.take_looks(), self.peers.sas.take_looks())
    }
}

/// One end has all its datagrams reach the other, and tells how many these were.
fn exchange(from: &mut Endpoint, to: &mut Endpoint, now: Instant) -> usize {
    let mut count = 0;
    while let Some(output) = from.poll_output() {
        if let Output::Transmit { local, remote, message } = output {
            to.handle(now, Input::Datagram { local: remote, remote: local, bytes: &message });
            count += 1;
        }
    }
    count
}

/// What happens to number 0, and to one that comes later, beside `others`: with the looks that it took.
fn looks_beside(others: u32) -> Vec<(&'static str, (usize, usize))> {
    let mut ends = Ends::new(others);
    let mut all = Vec::new();
    let mut measure = |ends: &mut Ends, what: &'static str, more: usize, work: &dyn Fn(&mut Ends)| {
        ends.take_looks();
        work(ends);
        all.push((what, ends.take_looks()));
        assert_eq!(ends.sizes(), [(others as usize + more, 0); 2], "{what}");
    };
    let at_peers = |child: Option<&str>| {
        let (ike, child) = (Some("peer-0".to_string()), child.map(str::to_string));
        Selection { ike, child, ..Selection::default() }
    };
    measure(&mut ends, "sign of life", 1, &|ends| ends.wait(Duration::from_secs(20)));
    for (what, child) in
        [("Child SA, rekeyed by its initiator", Some("net")), ("IKE SA, rekeyed by its initiator", None)]
    {
        measure(&mut ends, what, 1, &|ends| {
            assert_eq!(ends.peers.rekey(ends.now, &at_peers(child)), 1);
            ends.settle();
        });
    }
    for (what, child) in
        [("Child SA, rekeyed by its responder", Some("net")), ("IKE SA, rekeyed by its responder", None)]
    {
        let selection =
            Selection { ike_id: Some(ends.first()), child: child.map(str::to_string), ..Selection::default() };
        measure(&mut ends, what, 1, &|ends| {
            assert_eq!(ends.gateway.rekey(ends.now, &selection), 1);
            ends.settle();
        });
    }
    measure(&mut ends, "end of what is remembered of a closed SA", 1, &|ends| ends.wait(FORGOTTEN));
    measure(&mut ends, "handshake", 2, &|ends| ends.establish(others + 1));
    measure(&mut ends, "Delete", 1, &|ends| {
        assert_eq!(ends.peers.terminate(ends.now, &at_peers(None)).len(), 1);
        ends.settle();
        ends.wait(FORGOTTEN);
    });
    // An initiator begins and is not heard of again.
    ends.begin(0);
    exchange(&mut ends.peers, &mut ends.gateway, ends.now);
    ends.peers.terminate(ends.now, &at_peers(None));
    assert_eq!(ends.gateway.sizes().1, 1);
    measure(&mut ends, "end of a half-open SA", 1, &|ends| ends.wait(FORGOTTEN));
    all
}

#[test]
fn what_happens_to_one_sa_looks_at_no_more_of_them_if_there_are_more() {
    // Not fewer than 32, for where there are few a debug build compares the index with all of them.
    assert_eq!(looks_beside(50), looks_beside(200));
}
