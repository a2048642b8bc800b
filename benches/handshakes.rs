//! CPU time of IKE_SA_INIT and IKE_AUTH with a pre-shared key: IKE SA and first Child SA; of main mode and quick mode.

use bench::{Options, Suite, Table, Value, batch, cpu_time, initiator, median, responder};
use std::time::Duration;

/// Handshakes of one run.
const BATCH: u32 = 256;

/// CPU milliseconds of one responder handshake of strongSwan 6.0.6's charon, the whole process, on a core of a 2-vCPU AMD
/// EPYC: measured once, not by this program.
const CHARON: &[(&str, &str)] = &[("x25519", "0.33-0.40"), ("ecp256", "0.45"), ("modp2048", "2.6")];

fn milliseconds(time: Duration, operations: u32) -> f64 {
    time.as_secs_f64() * 1000.0 / f64::from(operations)
}

fn row(table: &mut Table, name: &str, key_exchange: &str, mut one: impl FnMut() -> bench::Batch, runs: u32) {
    one(); // the first one finds nothing in any cache
    let (both, ours): (Vec<f64>, Vec<f64>) = (0..runs)
        .map(|_| one())
        .map(|times| (milliseconds(times.both, BATCH), milliseconds(times.responder, BATCH)))
        .unzip();
    let both = median(both);
    let charon = CHARON.iter().find(|(name, _)| *name == key_exchange).map_or(Value::None, |(_, text)| (*text).into());
    table.row(vec![name.into(), Value::Number(1000.0 / both, 0), Value::Number(median(ours), 4), charon]);
}

fn handshakes(options: &Options) -> Table {
    let mut table = Table::new(
        "Handshakes with PSK: IKE SA and Child SA",
        &["suite", "per CPU second (both ends)", "responder CPU ms", "charon CPU ms"],
        &[
            "Ours is the protocol in process: no sockets, no data plane, no log. charon's is the whole process with them,",
            "measured on another day. The difference is an upper bound of what an operator gains.",
        ],
    );
    for suite in Suite::ALL.iter().filter(|s| options.wants(s.name)) {
        let one = || batch(*suite, &mut responder(*suite, false), 0..BATCH);
        row(&mut table, suite.name, suite.name.split(' ').next().unwrap_or(""), one, options.runs);
    }
    for suite in Suite::IKEV1.iter().filter(|s| options.wants(s.name)) {
        // charon was measured with IKEv2.
        row(&mut table, suite.name, "", || batch(*suite, &mut responder(*suite, false), 0..BATCH), options.runs);
    }
    for established in [1_000, 10_000] {
        let name = format!("x25519 aes128gcm16, {established} SAs before");
        if options.wants(&name) {
            let suite = Suite::ALL[0];
            let mut gateway = responder(suite, false);
            batch(suite, &mut gateway, 0..established);
            let mut next = established;
            let one = || {
                next += BATCH;
                batch(suite, &mut gateway, next - BATCH..next)
            };
            row(&mut table, &name, "", one, options.runs.min(3));
        }
    }
    table
}

fn cookies(options: &Options) -> Table {
    let mut table = Table::new(
        "First messages answered with a COOKIE",
        &["what", "responder CPU us", "charon CPU us"],
        &["Conditions as above."],
    );
    if options.wants("COOKIE") {
        let suite = Suite::ALL[0];
        let mut initiators = initiator(suite, 0..BATCH);
        let (mut requests, mut replies) = (Vec::new(), Vec::new());
        (0..BATCH).for_each(|n| initiators.initiate(n, &mut requests));
        let mut one = || {
            let mut gateway = responder(suite, true);
            let Some((first, flood)) = requests.split_first() else { return f64::NAN };
            gateway.receive(first, &mut replies); // half-open from here on
            let start = cpu_time();
            flood.iter().for_each(|request| gateway.receive(request, &mut replies));
            let taken = cpu_time() - start;
            assert_eq!(gateway.endpoint.sizes(), (1, 1), "a cookie leaves no state");
            replies.clear();
            milliseconds(taken, BATCH - 1) * 1000.0
        };
        one();
        let each = median((0..options.runs).map(|_| one()).collect());
        table.row(vec!["COOKIE".into(), Value::Number(each, 2), "11-22".into()]);
    }
    table
}

fn main() {
    let options = Options::get();
    handshakes(&options).print(options.json);
    cookies(&options).print(options.json);
}
