//! CPU time of IKE_SA_INIT and IKE_AUTH with a pre-shared key: IKE SA and first Child SA; of main mode and quick mode.

use bench::{
    Datagram, Options, Side, Suite, Table, Value, batch, cpu_time, gateway, initiator, median, milliseconds, responder,
};

/// Handshakes of one run.
const BATCH: u32 = 256;

/// CPU milliseconds of one responder handshake of strongSwan 6.0.6's charon, the whole process, on a core of a 2-vCPU AMD
/// EPYC: measured once, not by this program.
const CHARON: &[(&str, &str)] = &[("x25519", "0.33-0.40"), ("ecp256", "0.45"), ("modp2048", "2.6")];

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

/// A gateway that has one half-open SA, and so asks everybody else for a cookie if `cookies`; `others` connections that
/// the initiators' addresses do not fit are looked at for each first message.
fn half_open(first: &Datagram, cookies: bool, others: u32) -> Side {
    let settings = responder(Suite::ALL[0], cookies).endpoint.settings().clone();
    let mut gateway = gateway(Suite::ALL[0], settings, others);
    gateway.receive(first, &mut Vec::new());
    gateway
}

/// Makes the solution in a first message a wrong one: the octets of its Puzzle Solution payload, which is the second.
fn spoil(message: &mut [u8]) {
    const HEADER: usize = 28;
    let length = |at: usize| message.get(at + 2..at + 4).map_or(0, |l| usize::from(l[0]) << 8 | usize::from(l[1]));
    let second = HEADER + length(HEADER);
    if let Some(octet) = message.get_mut(second + 5) {
        *octet ^= 0x40;
    }
}

/// A gateway with so many half-open SAs that everybody else has to solve a puzzle, the same for all of a run.
fn besieged() -> Side {
    let mut settings = responder(Suite::ALL[0], false).endpoint.settings().clone();
    (settings.puzzle_threshold, settings.puzzle_difficulty) = (BATCH as usize, 8);
    let mut gateway = gateway(Suite::ALL[0], settings, 0);
    let (mut others, mut requests) = (initiator(Suite::ALL[0], BATCH..2 * BATCH), Vec::new());
    (BATCH..2 * BATCH).for_each(|n| others.initiate(n, &mut requests));
    requests.iter().for_each(|request| gateway.receive(request, &mut Vec::new()));
    assert_eq!(gateway.endpoint.sizes().1, BATCH as usize, "nobody was asked for anything yet");
    gateway
}

/// What initiators of this run alone send a besieged gateway, with a solution; and the gateway.
fn solved() -> (Side, Vec<Datagram>) {
    let mut fresh = initiator(Suite::ALL[0], 1..BATCH);
    let (mut requests, mut puzzles, mut again) = (Vec::new(), Vec::new(), Vec::new());
    (1..BATCH).for_each(|n| fresh.initiate(n, &mut requests));
    let mut gateway = besieged();
    timed(&mut gateway, &requests, &mut puzzles);
    puzzles.iter().for_each(|puzzle| fresh.receive(puzzle, &mut again));
    (gateway, again)
}

/// CPU microseconds of each of these messages.
fn timed(gateway: &mut Side, requests: &[Datagram], replies: &mut Vec<Datagram>) -> f64 {
    let start = cpu_time();
    requests.iter().for_each(|request| gateway.receive(request, replies));
    milliseconds(cpu_time() - start, requests.len() as u32) * 1000.0
}

/// CPU microseconds of each of these first messages, of which `leave` become half-open SAs.
fn answers(gateway: &mut Side, requests: &[Datagram], leave: usize, replies: &mut Vec<Datagram>) -> f64 {
    let start = cpu_time();
    requests.iter().for_each(|request| gateway.receive(request, replies));
    let taken = cpu_time() - start;
    assert_eq!(gateway.endpoint.sizes(), (1 + leave, 1 + leave), "a cookie leaves no state, a proven address does");
    assert_eq!(replies.len(), requests.len(), "each has its answer");
    milliseconds(taken, requests.len() as u32) * 1000.0
}

/// A row of the table, if it was asked for.
fn cookie_row(table: &mut Table, options: &Options, name: &str, charon: Value, mut one: impl FnMut() -> f64) {
    if options.wants(name) {
        one();
        let each = median((0..options.runs).map(|_| one()).collect());
        table.row(vec![name.into(), Value::Number(each, 2), charon]);
    }
}

fn cookies(options: &Options) -> Table {
    let mut table = Table::new(
        "First messages and COOKIE",
        &["what", "responder CPU us", "charon CPU us"],
        &[
            "Conditions as above, x25519 aes128gcm16. COOKIE: an IKE_SA_INIT, perhaps from a spoofed address, up to the",
            "cookie that answers it. Right COOKIE: the same again with the cookie, up to the half-open SA and our answer.",
            "PUZZLE: the same with a puzzle of RFC 8019, 8 bits of HMAC-SHA-256: what it takes to check does not depend on them.",
        ],
    );
    let mut initiators = initiator(Suite::ALL[0], 0..BATCH);
    let mut requests = Vec::new();
    (0..BATCH).for_each(|n| initiators.initiate(n, &mut requests));
    let Some((first, flood)) = requests.split_first() else { return table };
    cookie_row(&mut table, options, "COOKIE", "11-22".into(), || {
        answers(&mut half_open(first, true, 0), flood, 0, &mut Vec::new())
    });
    cookie_row(&mut table, options, "COOKIE, 1000 other connections", Value::None, || {
        answers(&mut half_open(first, true, 1_000), flood, 0, &mut Vec::new())
    });
    cookie_row(&mut table, options, "right COOKIE, up to our answer", Value::None, || {
        // Initiators of this run alone: each has one cookie to return.
        let mut fresh = initiator(Suite::ALL[0], 1..BATCH);
        let (mut requests, mut cookies, mut again) = (Vec::new(), Vec::new(), Vec::new());
        (1..BATCH).for_each(|n| fresh.initiate(n, &mut requests));
        let mut gateway = half_open(first, true, 0);
        answers(&mut gateway, &requests, 0, &mut cookies);
        cookies.iter().for_each(|cookie| fresh.receive(cookie, &mut again));
        answers(&mut gateway, &again, again.len(), &mut Vec::new())
    });
    cookie_row(&mut table, options, "COOKIE and PUZZLE", Value::None, || {
        let (mut gateway, mut replies) = (besieged(), Vec::new());
        let each = timed(&mut gateway, flood, &mut replies);
        assert_eq!((replies.len(), gateway.endpoint.sizes().1), (flood.len(), BATCH as usize), "no state");
        each
    });
    cookie_row(&mut table, options, "wrong solution, up to its being dropped", Value::None, || {
        let (mut gateway, mut requests) = solved();
        requests.iter_mut().for_each(|request| spoil(&mut request.message));
        let mut replies = Vec::new();
        let each = timed(&mut gateway, &requests, &mut replies);
        assert!(
            replies.len() <= 20,
            "{} of {}: but for the winners of the lottery and keys that happen to be right all are dropped",
            replies.len(),
            requests.len()
        );
        each
    });
    cookie_row(&mut table, options, "right solution, up to our answer", Value::None, || {
        let ((mut gateway, requests), mut replies) = (solved(), Vec::new());
        let each = timed(&mut gateway, &requests, &mut replies);
        assert_eq!(gateway.endpoint.sizes().1, BATCH as usize + requests.len(), "each has a half-open SA");
        each
    });
    cookie_row(&mut table, options, "no COOKIE asked, up to our answer", Value::None, || {
        answers(&mut half_open(first, false, 0), flood, flood.len(), &mut Vec::new())
    });
    cookie_row(&mut table, options, "no COOKIE asked, 10000 other connections", Value::None, || {
        answers(&mut half_open(first, false, 10_000), flood, flood.len(), &mut Vec::new())
    });
    table
}

fn main() {
    let options = Options::get();
    handshakes(&options).print(options.json);
    cookies(&options).print(options.json);
}
