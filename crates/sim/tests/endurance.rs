//! A mesh that lives long: short lifetimes, a bad net, crashes, suspended machines and operators, again and again; some nodes
//! stand behind NATs that forget. Each time the net heals every pair that can reach each other has, within bounded time, one
//! Child SA of the other's and nothing else.
//!
//! `SHRIKE_SIM_LONG=1` runs 64 nodes, and several seeds of smaller meshes for longer; each run prints what it counted.

use model::Event;
use proto::Selection;
use sim::{Conditions, Nat, NodeId, Rng, Sim, Site};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// What came up at both ends of a SA counts once.
#[derive(Default)]
struct Counts {
    ike_sas: usize,
    child_sas: usize,
    datagrams: usize,
}

struct Mesh {
    sim: Sim,
    nodes: Vec<NodeId>,
    /// The last of them, which stand behind NATs: they begin with the others, and nobody can with them.
    hidden: Vec<NodeId>,
    rng: Rng,
    /// Nodes that are suspended, until when.
    asleep: Vec<(NodeId, u32)>,
    counts: Counts,
    seed: u64,
}

impl Mesh {
    fn new(seed: u64, size: usize) -> Self {
        let mut sim = Sim::new(seed);
        let address = |n: usize| format!("192.0.2.{}", n + 1);
        let nodes: Vec<NodeId> = (0..size)
            .map(|n| {
                let mut site = Site::new(&format!("n{n}"), &address(n))
                    .connection("keyingtries = 0\ndpd_delay = 10s\nproposals = aes128gcm16-prfsha256-x25519")
                    .connection("rekey_time = 120s\nover_time = 60s\nrand_time = 30s")
                    .child("esp_proposals = aes128gcm16\ndpd_action = restart\nclose_action = start")
                    .child("rekey_time = 40s\nlife_time = 60s\nrand_time = 10s");
                for other in (0..size).filter(|other| *other != n) {
                    site = site.to(&address(other));
                }
                sim.add(site)
            })
            .collect();
        let (rng, asleep, counts) = (Rng::new(seed ^ 0xe4d), Vec::new(), Counts::default());
        Self { sim, nodes, hidden: Vec::new(), rng, asleep, counts, seed }
    }

    /// The last `hidden` nodes of it have NATs in front of them, each its own.
    fn with_nats(seed: u64, size: usize, hidden: usize) -> Self {
        let mut sim = Sim::new(seed);
        let behind = |n: usize| n >= size - hidden;
        let address = |n: usize| if behind(n) { format!("10.0.{n}.2") } else { format!("192.0.2.{}", n + 1) };
        let all = (0..size).map(|n| {
            let mut text = String::from("connections {\n");
            for other in (0..size).filter(|other| *other != n && !(behind(n) && behind(*other))) {
                // Where the peer is to begin, it is for it to come back too.
                let (to, again) = match behind(other) {
                    true => ("%any".to_string(), ""),
                    false => (address(other), "dpd_action = restart\nclose_action = start"),
                };
                let _ = writeln!(
                    text,
                    "n{other:02} {{\nlocal_addrs = {}\nremote_addrs = {to}\nkeyingtries = 0\ndpd_delay = 10s
                     proposals = aes128gcm16-prfsha256-x25519\nrekey_time = 120s\nover_time = 60s\nrand_time = 30s
                     local {{\nauth = psk\nid = n{n}.example\n}}\nremote {{\nauth = psk\nid = n{other}.example\n}}
                     children {{\nnet {{\nlocal_ts = 10.9.{n}.0/24\nremote_ts = 10.9.{other}.0/24
                     esp_proposals = aes128gcm16\n{again}\nrekey_time = 40s\nlife_time = 60s\nrand_time = 10s\n}}\n}}\n}}",
                    address(n)
                );
            }
            text.push_str("}\nsecrets {\nike-all {\nsecret = swordfish\n}\n}\n");
            let site = Site::new(&format!("n{n}"), &address(n)).text(&text);
            let nat = Nat::new(IpAddr::from([203, 0, 113, n as u8 + 1])).with_lifetime(30 * SECOND);
            if behind(n) { site.behind(nat) } else { site }
        });
        let nodes: Vec<NodeId> = all.collect::<Vec<_>>().into_iter().map(|site| sim.add(site)).collect();
        let (rng, asleep, counts) = (Rng::new(seed ^ 0x4a7), Vec::new(), Counts::default());
        Self { sim, hidden: nodes[size - hidden..].to_vec(), nodes, rng, asleep, counts, seed }
    }

    /// With whom a node can begin.
    fn others(&self, node: NodeId) -> Vec<NodeId> {
        let open = |other: &NodeId| *other != node && !self.hidden.contains(other);
        self.nodes.iter().copied().filter(open).collect()
    }

    /// How many peers a node has.
    fn peers(&self, node: NodeId) -> usize {
        if self.hidden.contains(&node) { self.nodes.len() - self.hidden.len() } else { self.nodes.len() - 1 }
    }

    fn any(&mut self) -> NodeId {
        self.nodes[self.rng.below(self.nodes.len() as u64) as usize]
    }

    /// A node begins with everybody, as after its start.
    fn start(&mut self, node: NodeId) {
        for other in self.others(node) {
            self.sim.try_initiate(node, other).expect("it can begin");
        }
    }

    fn run(&mut self, seconds: u32) {
        self.sim.run_for(SECOND * seconds);
        for node in &self.nodes {
            for (_, event) in self.sim.events(*node) {
                match event {
                    Event::IkeUp(_) => self.counts.ike_sas += 1,
                    Event::ChildUp(_) => self.counts.child_sas += 1,
                    _ => {}
                }
            }
        }
        self.counts.datagrams += self.sim.wire.len();
        self.sim.forget_records();
    }

    /// One second of what can go wrong.
    fn mishap(&mut self, second: u32) {
        while let Some(at) = self.asleep.iter().position(|(_, until)| *until <= second) {
            let (node, _) = self.asleep.swap_remove(at);
            self.sim.wake(node);
        }
        let node = self.any();
        if self.asleep.iter().any(|(other, _)| *other == node) {
            return;
        }
        match self.rng.below(10) {
            0 => {
                self.sim.restart(node);
                self.start(node);
            }
            1 => {
                self.sim.suspend(node);
                let length = 2 + self.rng.below(80) as u32;
                self.asleep.push((node, second + length));
            }
            2 => {
                let child = Selection { child: Some("net".into()), ..Selection::default() };
                self.sim.terminate(node, &child);
            }
            3 => drop(self.sim.terminate(node, &Selection::default())),
            4 => {
                // All at once: a power cut.
                for node in self.nodes.clone().into_iter().filter(|_| second % 40 == 7) {
                    self.asleep.retain(|(other, _)| *other != node);
                    self.sim.restart(node);
                    self.start(node);
                }
            }
            5 | 6 if self.hidden.contains(&node) => {
                self.sim.nat(node).into_iter().for_each(Nat::reboot);
            }
            _ => {
                let others = self.others(node);
                let other = others[self.rng.below(others.len() as u64) as usize];
                let _ = self.sim.try_initiate(node, other);
            }
        }
    }

    fn storm(&mut self, seconds: u32) {
        let bad = Conditions { loss: 200, duplicate: 100, reorder: 200, corrupt: 10, ..Conditions::default() };
        self.sim.set_conditions(bad);
        for second in 0..seconds {
            self.mishap(second);
            self.run(1);
        }
        self.sim.set_conditions(Conditions::default());
        for (node, _) in std::mem::take(&mut self.asleep) {
            self.sim.wake(node);
        }
        // What was begun in the bad net comes to its end, one way or the other: a first message may have been changed on its
        // way, and then the proof fails. Whoever has no SA then, by that or by an operator, wants one.
        self.run(170);
        for node in self.nodes.clone() {
            self.start(node);
        }
    }

    /// Within ten minutes of a good net every pair has what it should, and no more.
    fn heal(&mut self) {
        for _ in 0..6 {
            self.run(100);
        }
        // At any moment something is being rekeyed, so that each pair and each node is looked at when it is not.
        let nodes = self.nodes.clone();
        let pairs = nodes.iter().flat_map(|a| nodes.iter().map(move |b| (*a, *b))).filter(|(a, b)| a < b);
        let hidden = self.hidden.clone();
        for (a, b) in pairs.filter(|(a, b)| !(hidden.contains(a) && hidden.contains(b))) {
            let single = self.sim.run_until(20 * SECOND, |sim| sim.pairs(a, b) == 1);
            assert!(single.is_some(), "seed {}: {} Child SAs of {a:?} and {b:?}", self.seed, self.sim.pairs(a, b));
        }
        for node in nodes {
            let peers = self.peers(node);
            let settled =
                |sim: &Sim| sim.endpoint(node).sizes() == (peers, 0) && sim.plane(node).installed().count() == peers;
            let reached = self.sim.run_until(120 * SECOND, settled);
            let sizes = self.sim.endpoint(node).sizes();
            let installed = self.sim.plane(node).installed().count();
            assert!(reached.is_some(), "seed {}: {node:?} has {sizes:?} IKE SAs and {installed} Child SAs", self.seed);
        }
        self.sim.forget_records();
    }
}

fn endure(seed: u64, size: usize, rounds: u32) -> Counts {
    life_of(Mesh::new(seed, size), rounds)
}

fn life_of(mut mesh: Mesh, rounds: u32) -> Counts {
    for node in mesh.nodes.clone() {
        mesh.start(node);
    }
    for _ in 0..rounds {
        mesh.storm(120);
        mesh.heal();
    }
    mesh.counts
}

fn report(size: usize, rounds: u32, seeds: u64) {
    let mut sum = Counts::default();
    for seed in 0..seeds {
        let counts = endure(seed, size, rounds);
        sum.ike_sas += counts.ike_sas;
        sum.child_sas += counts.child_sas;
        sum.datagrams += counts.datagrams;
    }
    let Counts { ike_sas, child_sas, datagrams } = sum;
    println!(
        "{size} nodes, {rounds} storms, seeds 0..{seeds}: IKE SAs {}, Child SAs {}, datagrams {datagrams}",
        ike_sas / 2,
        child_sas / 2
    );
    // It was no walk in the park, but a life.
    assert!(ike_sas / 2 > size * (size - 1) / 2 * rounds as usize * seeds as usize);
    assert!(child_sas > 4 * ike_sas / 3);
}

fn long() -> bool {
    std::env::var_os("SHRIKE_SIM_LONG").is_some()
}

#[test]
fn small_meshes() {
    if long() { report(4, 20, 1000) } else { report(4, 2, 4) }
}

#[test]
fn a_larger_mesh() {
    if long() { report(64, 2, 1) } else { report(8, 1, 1) }
}

/// Two or three of the nodes behind NATs whose mappings go when the line is quiet, and at any time by a restart of the box.
#[test]
fn a_mesh_with_nats() {
    let (size, hidden, rounds, seeds) = if long() { (6, 3, 10, 300) } else { (5, 2, 1, 3) };
    let mut sum = Counts::default();
    for seed in 0..seeds {
        let counts = life_of(Mesh::with_nats(seed, size, hidden), rounds);
        sum.ike_sas += counts.ike_sas;
        sum.child_sas += counts.child_sas;
    }
    println!("{size} nodes, {hidden} behind NATs, {rounds} storms, seeds 0..{seeds}: IKE SAs {}", sum.ike_sas / 2);
    assert!(sum.ike_sas / 2 > size * seeds as usize && sum.child_sas > sum.ike_sas);
}

/// A request for a further child that the peer repeats until ours has made that child, and ours was rekeyed meanwhile.
#[test]
fn a_late_request_for_a_child_that_was_rekeyed_meanwhile() {
    endure(228, 4, 5);
}
