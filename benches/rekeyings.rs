//! CPU time of CREATE_CHILD_SA that replaces a Child SA, with and without a key exchange of its own, or an IKE SA; with the
//! Delete of the old SA.

use bench::{Batch, Options, Rekeying, Side, Suite, Table, Value, batch, median, milliseconds, rekeyings, responder};

/// Rekeyings of one run.
const BATCH: u32 = 256;

fn row(table: &mut Table, name: &str, mut one: impl FnMut() -> Batch, runs: u32) {
    one(); // the first one finds nothing in any cache
    let batches: Vec<Batch> = (0..runs).map(|_| one()).collect();
    let both = median(batches.iter().map(|times| milliseconds(times.both, BATCH)).collect());
    let ours = median(batches.iter().map(|times| milliseconds(times.responder, BATCH)).collect());
    let octets = median(batches.iter().map(|times| times.octets as f64 / f64::from(BATCH)).collect());
    let numbers = [Value::Number(1000.0 / both, 0), Value::Number(ours, 4), Value::Number(octets, 0)];
    table.row(std::iter::once(name.into()).chain(numbers).collect());
}

fn main() {
    let options = Options::get();
    let mut table = Table::new(
        "Rekeyings: CREATE_CHILD_SA and the Delete of the old SA",
        &["what and suite", "per CPU second (both ends)", "responder CPU ms", "octets sent"],
        &[
            "The initiator of the IKE SA begins. As with the handshakes: the protocol in process, without sockets and data",
            "plane. PFS is a key exchange of the same kind for the Child SA; an IKE SA always has one.",
        ],
    );
    let kinds = [
        ("Child SA", Suite::ALL, Rekeying::Child),
        ("Child SA PFS", Suite::PFS, Rekeying::Child),
        ("IKE SA", Suite::ALL, Rekeying::Ike),
    ];
    for (kind, suites, what) in kinds {
        for suite in suites {
            let name = format!("{kind}, {}", suite.name);
            if options.wants(&name) {
                let one = || rekeyings(*suite, &mut responder(*suite, false), 0..BATCH, what);
                row(&mut table, &name, one, options.runs);
            }
        }
    }
    for (kind, suites, what) in kinds {
        for established in [1_000, 10_000, 30_000] {
            let suite = suites[0];
            let name = format!("{kind}, {}, {established} SAs before", suite.name);
            if options.wants(&name) {
                let mut gateway: Side = responder(suite, false);
                batch(suite, &mut gateway, 0..established);
                let mut next = established;
                let one = || {
                    next += BATCH;
                    rekeyings(suite, &mut gateway, next - BATCH..next, what)
                };
                row(&mut table, &name, one, options.runs.min(3));
            }
        }
    }
    table.print(options.json);
}
