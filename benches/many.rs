//! What an IKE SA costs when there are many others already: one more at either end, a second of silence with signs of life,
//! and the end of all.

use bench::{Many, Options, Suite, Table, Value, median, milliseconds};

/// Handshakes of one run.
const BATCH: u32 = 256;
/// Simulated seconds of silence.
const SILENCE: u32 = 60;

fn main() {
    let options = Options::get();
    let mut table = Table::new(
        "Many IKE SAs, each with a Child SA",
        &[
            "SAs before",
            "one more, responder CPU ms",
            "initiator CPU ms",
            "CPU ms in an idle second",
            "CPU us per sign of life",
            "end of each, CPU us",
        ],
        &[
            "x25519 aes128gcm16. Two endpoints have all of them: the initiator with a connection for each. dpd_delay = 30s at the",
            "responder, whose time the last three columns are. The protocol in process, as above.",
        ],
    );
    for before in [0, 1_000, 10_000, 100_000] {
        let name = format!("{before} SAs");
        if !options.wants(&name) {
            continue;
        }
        let mut many = Many::new(Suite::ALL[0], before + BATCH * (options.runs + 1));
        for first in (0..before).step_by(BATCH as usize) {
            many.begin(first..before.min(first + BATCH));
        }
        many.begin(before..before + BATCH); // the first one finds nothing in any cache
        let each = |run: u32| many.begin(before + run * BATCH..before + (run + 1) * BATCH);
        let (gateway, peers): (Vec<f64>, Vec<f64>) = (1..=options.runs)
            .map(each)
            .map(|(gateway, peers)| (milliseconds(gateway, BATCH), milliseconds(peers, BATCH)))
            .unzip();
        let idle = many.idle(SILENCE);
        let all = before + BATCH * (options.runs + 1);
        let end = milliseconds(many.end(), all) * 1000.0;
        table.row(vec![
            name.as_str().into(),
            Value::Number(median(gateway), 4),
            Value::Number(median(peers), 4),
            Value::Number(milliseconds(idle.taken, SILENCE), 2),
            Value::Number(milliseconds(idle.taken, u32::try_from(idle.requests).unwrap_or(u32::MAX)) * 1000.0, 2),
            Value::Number(end, 1),
        ]);
    }
    table.print(options.json);
}
