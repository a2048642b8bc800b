//! IKEv1: how often, and how fast, a tunnel comes up over a line that loses datagrams, in both modes. The table is a
//! reviewed snapshot: a change of it is a change of behaviour.

use sim::{Conditions, Sim, Site};
use std::fmt::Write as _;
use std::time::Duration;

const SEEDS: u64 = 300;

fn run(mode: &str, loss: u32) -> String {
    let (mut times, mut datagrams, mut agree) = (Vec::new(), 0, 0);
    for seed in 0..SEEDS {
        let mut sim = Sim::new(seed);
        let site = |name: &str, own: &str, peer: &str| {
            Site::new(name, own)
                .to(peer)
                .connection("version = 1")
                .connection(mode)
                .connection("proposals = aes128-sha256-x25519")
        };
        let a = sim.add(site("a", "192.0.2.1", "192.0.2.2"));
        let b = sim.add(site("b", "192.0.2.2", "192.0.2.1"));
        sim.set_conditions(Conditions::losing(loss));
        sim.initiate(a, b);
        if let Some(took) = sim.run_until(Duration::from_secs(600), |sim| sim.carries(a, b)) {
            times.push(took.as_secs_f64());
        }
        datagrams += sim.wire.len();
        sim.run_for(Duration::from_secs(600));
        let pairs = sim.pairs(a, b);
        agree += u64::from(sim.plane(a).installed().count() == pairs && sim.plane(b).installed().count() == pairs);
        assert!(sim.quiet(), "{mode}, loss {loss}, seed {seed}");
    }
    times.sort_by(f64::total_cmp);
    let up = times.len();
    let mean = times.iter().sum::<f64>() / up.max(1) as f64;
    let median = times.get(up / 2).copied().unwrap_or_default();
    let per_run = datagrams as f64 / SEEDS as f64;
    format!("{:>3} %  {up:>9}  {mean:>6.2}  {median:>8.2}  {per_run:>9.1}  {agree:>10}", loss / 10)
}

#[test]
fn establishment_under_loss() {
    let mut table = String::new();
    for mode in ["aggressive = no", "aggressive = yes"] {
        let _ = writeln!(table, "{mode}\nloss   up of 300  mean s  median s  datagrams  both agree");
        for loss in [0, 50, 100, 200, 300] {
            let _ = writeln!(table, "{}", run(mode, loss));
        }
    }
    insta::assert_snapshot!(table);
}
