//! Clients of one gateway that live long: behind NATs that forget, on the move from address to address (MOBIKE), suspended
//! for hours, crashed; with clocks that jump. Each time the net heals each client has, within bounded time, one Child SA with
//! the gateway, and nothing else is left.
//!
//! `SHRIKE_SIM_LONG=1` runs more seeds.

use proto::Selection;
use sim::{Conditions, FAKE_PKI_VALID, Nat, NodeId, Rng, Sim, Site};
use std::net::IpAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const CLIENTS: usize = 6;

struct Star {
    sim: Sim,
    gateway: NodeId,
    clients: Vec<NodeId>,
    rng: Rng,
    asleep: Vec<(NodeId, u32)>,
    seed: u64,
    /// How many addresses the mobile ones have had.
    addresses: u8,
}

fn common(site: Site, window: u32) -> Site {
    site.connection("keyingtries = 0\ndpd_delay = 10s\nproposals = aes128gcm16-prfsha256-x25519")
        .connection("rekey_time = 120s\nover_time = 60s\nrand_time = 30s")
        .child("esp_proposals = aes128gcm16\nrekey_time = 40s\nlife_time = 60s\nrand_time = 10s")
        .settings(|s| s.window_size = window)
}

impl Star {
    fn new(seed: u64) -> Self {
        let mut sim = Sim::new(seed);
        let gateway = common(Site::new("hub", "192.0.2.1").to("%any"), 4).child("remote_ts = 10.9.0.0/16");
        let gateway = sim.add(gateway);
        let clients = (0..CLIENTS).map(|n| {
            let (private, public) = (format!("10.0.{n}.2"), format!("203.0.113.{}", n + 1));
            // Every other one is behind a NAT; the others have an address of their own, and another one now and then.
            let behind = n % 2 == 0;
            let site = Site::new(&format!("c{n}"), if behind { &private } else { &public }).to("192.0.2.1");
            let site = common(site, [1, 4, 16][n % 3])
                .child(&format!("local_ts = 10.9.{n}.0/24"))
                .child("dpd_action = restart\nclose_action = start\nremote_ts = 192.0.2.1/32");
            let nat = Nat::new(public.parse().unwrap()).with_lifetime(30 * SECOND);
            if behind { site.behind(nat) } else { site.roaming() }
        });
        let clients = clients.collect::<Vec<_>>().into_iter().map(|site| sim.add(site)).collect();
        Self { sim, gateway, clients, rng: Rng::new(seed ^ 0x57a2), asleep: Vec::new(), seed, addresses: 100 }
    }

    fn start(&mut self, client: NodeId) {
        self.sim.try_initiate(client, self.gateway).expect("it can begin");
    }

    fn run(&mut self, time: Duration) {
        self.sim.run_for(time);
        self.sim.forget_records();
    }

    /// One second of what can go wrong.
    fn mishap(&mut self, second: u32) {
        while let Some(at) = self.asleep.iter().position(|(_, until)| *until <= second) {
            let (node, _) = self.asleep.swap_remove(at);
            self.sim.wake(node);
        }
        let client = self.clients[self.rng.below(CLIENTS as u64) as usize];
        if self.asleep.iter().any(|(other, _)| *other == client) {
            return;
        }
        match self.rng.below(12) {
            0 => {
                self.sim.restart(client);
                self.start(client);
            }
            1 => {
                let until = second + 2 + self.rng.below(80) as u32;
                match self.rng.below(3) {
                    0 => self.sim.suspend(client),
                    1 => self.sim.suspend_clock(client),
                    _ => {
                        // It comes back up with nothing.
                        self.sim.crash(client);
                    }
                }
                self.asleep.push((client, until));
            }
            2 => self.sim.jump(client, HOUR * (1 + self.rng.below(20) as u32)),
            3 => {
                let hours = self.rng.below(3) as u32;
                self.sim.jump(self.gateway, HOUR * hours);
            }
            4 => self.sim.nat(client).into_iter().for_each(Nat::reboot),
            5 => self.sim.restart(self.gateway),
            6 => drop(self.sim.terminate(client, &Selection::default())),
            7 => drop(self.sim.terminate(self.gateway, &Selection::default())),
            8 | 9 if self.sim.nat(client).is_none() => {
                self.addresses = if self.addresses >= 250 { 100 } else { self.addresses + 1 };
                self.sim.relocate(client, IpAddr::from([203, 0, 113, self.addresses]));
            }
            _ => self.start(client),
        }
    }

    fn storm(&mut self, seconds: u32) {
        let bad = Conditions { loss: 200, duplicate: 100, reorder: 200, corrupt: 10, ..Conditions::default() };
        self.sim.set_conditions(bad);
        for second in 0..seconds {
            self.mishap(second);
            self.run(SECOND);
        }
        self.sim.set_conditions(Conditions::default());
        for (node, _) in std::mem::take(&mut self.asleep) {
            self.sim.wake(node);
        }
        self.run(170 * SECOND);
        for client in self.clients.clone() {
            self.start(client);
        }
    }

    fn heal(&mut self) {
        self.run(600 * SECOND);
        let seed = self.seed;
        for client in self.clients.clone() {
            let settled = |sim: &Sim| {
                sim.pairs(client, self.gateway) == 1
                    && sim.endpoint(client).sizes() == (1, 0)
                    && sim.plane(client).installed().count() == 1
            };
            let reached = self.sim.run_until(120 * SECOND, settled).is_some();
            let installed = |node| -> Vec<String> {
                let one = |i: &model::dataplane::ChildInstall| format!("{} {} {:?}", i.local, i.remote, i.remote_ts);
                self.sim.plane(node).installed().map(one).collect()
            };
            let (here, there) = (installed(client), installed(self.gateway));
            let sizes = self.sim.endpoint(client).sizes();
            assert!(reached, "seed {seed}: {client:?} has {sizes:?} IKE SAs\n{here:#?}\n{there:#?}");
        }
        let settled = |sim: &Sim| {
            sim.endpoint(self.gateway).sizes() == (CLIENTS, 0) && sim.plane(self.gateway).installed().count() == CLIENTS
        };
        let reached = self.sim.run_until(200 * SECOND, settled).is_some();
        assert!(reached, "seed {seed}: the gateway has {:?}", self.sim.endpoint(self.gateway).sizes());
        self.sim.forget_records();
    }
}

fn endure(seed: u64, storms: u32) {
    let mut star = Star::new(seed);
    for client in star.clients.clone() {
        star.start(client);
    }
    for _ in 0..storms {
        star.storm(120);
        star.heal();
    }
}

fn long() -> bool {
    std::env::var_os("SHRIKE_SIM_LONG").is_some()
}

#[test]
fn clients_of_a_gateway() {
    let (seeds, storms) = if long() { (500, 5) } else { (4, 2) };
    for seed in 0..seeds {
        endure(seed, storms);
    }
    println!("{CLIENTS} clients, {storms} storms, seeds 0..{seeds}");
}

/// Certificates are judged by the calendar when an IKE SA is made, and nothing else is: a calendar that is years wrong ends
/// no SA, keeps lifetimes as they are, and what failed meanwhile works when it is right again.
#[test]
fn a_calendar_that_jumps() {
    for (seed, years) in [(0, -20_i64), (1, 30)] {
        let mut sim = Sim::new(seed);
        let site = |own: (&str, &str), peer: (&str, &str)| {
            let site = Site::new(own.0, own.1).to(peer.1).remote_id(&format!("{}.example", peer.0));
            let site = site.auth("pubkey", "pubkey").secret(None).certificate(own.0).authority("root");
            site.connection("rekey_time = 60s\nrand_time = 0\ndpd_delay = 10s").child("rekey_time = 25s\nrand_time = 0")
        };
        let (moon, sun) = (("moon", "192.0.2.1"), ("sun", "192.0.2.2"));
        let (a, b) = (sim.add(site(moon, sun)), sim.add(site(sun, moon)));
        let set = |sim: &mut Sim, years: i64| {
            let year = 31_556_952;
            let seconds = FAKE_PKI_VALID.as_secs().saturating_add_signed(years * year);
            sim.with(b, |endpoint, now| {
                endpoint.credentials_mut().set_clock(now, Duration::from_secs(seconds));
            });
        };
        sim.initiate(a, b);
        sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).expect("a tunnel");
        set(&mut sim, years);
        for _ in 0..40 {
            sim.run_for(5 * SECOND);
            assert!(sim.carries(a, b), "rekeyings go on: {years} years");
        }
        let ended = sim.tombstones(b).iter().filter(|t| t.sa.established.is_some() && t.child.is_none()).count();
        assert!(ended >= 2, "by rekeyings, as ever");
        sim.terminate(a, &Selection::default());
        sim.settle(10 * SECOND);
        sim.initiate(a, b);
        sim.run_for(10 * SECOND);
        assert!(!sim.carries(a, b), "nobody is let in by a certificate that is not valid");
        let problem = &sim.failure(b).kind;
        assert!(problem.to_string().contains("valid"), "{problem}");
        set(&mut sim, 0);
        sim.initiate(a, b);
        sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).expect("a tunnel");
    }
}
