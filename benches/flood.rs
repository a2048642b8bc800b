//! CPU time of legitimate handshakes while strangers send IKE_SA_INIT from addresses that are not theirs.

use bench::{Options, Phase, Siege, Suite, Table, Value, cpu_time, median};

/// Legitimate initiators of each phase.
const LEGITIMATE: u32 = 256;

/// The phases, one after the other at one gateway: name, and strangers' messages for each legitimate initiator.
const PHASES: &[(&str, u32)] =
    &[("before the flood", 0), ("flood 1:1", 1), ("flood 10:1", 10), ("flood 100:1", 100), ("after the flood", 0)];

fn phases() -> Vec<Phase> {
    let mut siege = Siege::new(Suite::ALL[0], 1);
    let seconds = || cpu_time().as_secs_f64();
    siege.phase(LEGITIMATE, 0, seconds); // finds nothing in any cache
    PHASES.iter().map(|(_, ratio)| siege.phase(LEGITIMATE, *ratio, seconds)).collect()
}

fn main() {
    let options = Options::get();
    let mut table = Table::new(
        "Legitimate handshakes in a flood of spoofed IKE_SA_INIT, x25519 aes128gcm16",
        &[
            "phase",
            "legitimate up of 256",
            "up per CPU second (gateway)",
            "CPU ms each, without the flood",
            "CPU us per spoofed",
            "half-open",
        ],
        &[
            "10:1 is ten spoofed messages for each legitimate initiator. The gateway's CPU time, limits as by default: from",
            "30 half-open SAs on everybody is asked for a COOKIE. Per CPU second counts what the flood takes, too.",
        ],
    );
    if PHASES.iter().any(|(name, _)| options.wants(name)) {
        let runs: Vec<Vec<Phase>> = (0..options.runs).map(|_| phases()).collect();
        for (index, (name, _)) in PHASES.iter().enumerate().filter(|(_, (name, _))| options.wants(name)) {
            let of =
                |number: fn(&Phase) -> f64| median(runs.iter().filter_map(|run| run.get(index)).map(number).collect());
            let legitimate = f64::from(LEGITIMATE);
            let spoofed = of(|phase| phase.for_spoofed * 1e6 / f64::from(phase.spoofed));
            table.row(vec![
                (*name).into(),
                Value::Number(of(|phase| f64::from(phase.up)), 0),
                Value::Number(of(|phase| f64::from(phase.up) / (phase.for_legitimate + phase.for_spoofed)), 0),
                Value::Number(of(|phase| phase.for_legitimate) * 1000.0 / legitimate, 4),
                if spoofed.is_finite() { Value::Number(spoofed, 2) } else { Value::None },
                Value::Number(of(|phase| phase.half_open as f64), 0),
            ]);
        }
    }
    table.print(options.json);
}
