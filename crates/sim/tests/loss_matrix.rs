//! How often, and how fast, a tunnel comes up over a line that loses datagrams. The table is a reviewed snapshot: a change
//! of it is a change of behaviour.
//!
//! `SHRIKE_SIM_LONG=1` runs ten times as many seeds and checks them against the same bounds.

use sim::{Conditions, Sim, Site};
use std::fmt::Write as _;
use std::time::Duration;

const SEEDS: u64 = 300;

struct Row {
    up: u64,
    mean: f64,
    median: f64,
    datagrams: f64,
}

/// Establishment at this loss in both directions, within the 330 s that both requests may take at most.
fn run(loss: u32, seeds: std::ops::Range<u64>) -> Row {
    let (mut times, mut datagrams, count) = (Vec::new(), 0, seeds.end - seeds.start);
    for seed in seeds {
        let mut sim = Sim::new(seed);
        let a = sim.add(Site::new("a", "192.0.2.1").to("192.0.2.2"));
        let b = sim.add(Site::new("b", "192.0.2.2").to("192.0.2.1"));
        sim.set_conditions(Conditions::losing(loss));
        sim.initiate(a, b);
        if let Some(took) = sim.run_until(Duration::from_secs(400), |sim| sim.carries(a, b)) {
            times.push(took.as_secs_f64());
        }
        datagrams += sim.wire.len();
    }
    times.sort_by(f64::total_cmp);
    let up = times.len() as u64;
    Row {
        up,
        mean: times.iter().sum::<f64>() / up.max(1) as f64,
        median: times.get(times.len() / 2).copied().unwrap_or_default(),
        datagrams: datagrams as f64 / count as f64,
    }
}

/// Chance that a tunnel comes up: each of two requests has six tries, each of which needs both ways.
fn expected(loss: u32) -> f64 {
    let once = (1.0 - f64::from(loss) / 1000.0).powi(2);
    (1.0 - (1.0 - once).powi(6)).powi(2)
}

#[test]
fn establishment_under_loss() {
    let mut table = String::from("loss   up of 300  mean s  median s  datagrams\n");
    for loss in [0, 50, 100, 200, 300, 400] {
        let row = run(loss, 0..SEEDS);
        let _ = writeln!(
            table,
            "{:>3} %  {:>9}  {:>6.2}  {:>8.2}  {:>9.1}",
            loss / 10,
            row.up,
            row.mean,
            row.median,
            row.datagrams
        );
    }
    insta::assert_snapshot!(table);
}

#[test]
fn the_rate_is_what_six_tries_give() {
    let factor = if std::env::var_os("SHRIKE_SIM_LONG").is_some() { 10 } else { 1 };
    for loss in [0, 100, 300, 400] {
        let seeds = 1000..1000 + SEEDS * factor;
        let count = seeds.end - seeds.start;
        let (rate, expected) = (run(loss, seeds).up as f64 / count as f64, expected(loss));
        // Four standard deviations, and the responder's half-open timeout (30 s) may cost a little.
        let slack = 4.0 * (expected * (1.0 - expected) / count as f64).sqrt() + 0.03;
        assert!((rate - expected).abs() <= slack, "loss {loss}: {rate:.3}, expected {expected:.3}");
    }
}
