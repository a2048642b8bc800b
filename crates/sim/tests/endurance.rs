//! A mesh that lives long: short lifetimes, a bad net, crashes, suspended machines and operators, again and again. Each time
//! the net heals every pair has, within bounded time, one Child SA of the other's and nothing else.
//!
//! `SHRIKE_SIM_LONG=1` runs 64 nodes, and several seeds of smaller meshes for longer; each run prints what it counted.

use model::Event;
use proto::Selection;
use sim::{Conditions, NodeId, Rng, Sim, Site};
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
        Self { sim, nodes, rng, asleep, counts, seed }
    }

    fn others(&self, node: NodeId) -> Vec<NodeId> {
        self.nodes.iter().copied().filter(|other| *other != node).collect()
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
            _ => {
                let other = self.others(node)[self.rng.below(self.nodes.len() as u64 - 1) as usize];
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
        let size = self.nodes.len();
        for _ in 0..6 {
            self.run(100);
        }
        // At any moment something is being rekeyed, so that each pair and each node is looked at when it is not.
        let nodes = self.nodes.clone();
        let pairs = nodes.iter().flat_map(|a| nodes.iter().map(move |b| (*a, *b))).filter(|(a, b)| a < b);
        for (a, b) in pairs {
            let single = self.sim.run_until(20 * SECOND, |sim| sim.pairs(a, b) == 1);
            assert!(single.is_some(), "seed {}: {} Child SAs of {a:?} and {b:?}", self.seed, self.sim.pairs(a, b));
        }
        for node in nodes {
            let settled = |sim: &Sim| {
                sim.endpoint(node).sizes() == (size - 1, 0) && sim.plane(node).installed().count() == size - 1
            };
            let reached = self.sim.run_until(120 * SECOND, settled);
            let sizes = self.sim.endpoint(node).sizes();
            let installed = self.sim.plane(node).installed().count();
            assert!(reached.is_some(), "seed {}: {node:?} has {sizes:?} IKE SAs and {installed} Child SAs", self.seed);
        }
        self.sim.forget_records();
    }
}

fn endure(seed: u64, size: usize, rounds: u32) -> Counts {
    let mut mesh = Mesh::new(seed, size);
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

/// A request for a further child that the peer repeats until ours has made that child, and ours was rekeyed meanwhile.
#[test]
fn a_late_request_for_a_child_that_was_rekeyed_meanwhile() {
    endure(228, 4, 5);
}
