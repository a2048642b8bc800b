//! Memory per SA: octets of heap that Rust code holds, and resident memory of a process.

use bench::{Datagram, Options, Side, Siege, Suite, Table, Value, initiator, responder};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};

#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

const SAS: u32 = 1_000;

/// KB resident per IKE SA and Child SA of strongSwan 6.0.6's charon as responder: measured once, not by this program.
const CHARON_RESIDENT: &str = "16.8-18.3";

const SUITES: &[Suite] = &[Suite::ALL[0], Suite::ALL[1], Suite::IKEV1[0], Suite::IKEV1[2]];

// ------------------------------------------------------------------------------------------------------------- heap

/// How the heap grew during `work`, without what the datagrams in `out` hold.
fn growth(out: &mut Vec<Datagram>, work: impl FnOnce(&mut Vec<Datagram>)) -> f64 {
    let before = dhat::HeapStats::get().curr_bytes as f64 - Datagram::heap(out) as f64;
    work(out);
    dhat::HeapStats::get().curr_bytes as f64 - Datagram::heap(out) as f64 - before
}

struct Heap {
    half_open: f64,
    responder: f64,
    initiator: f64,
}

fn deliver(to: &mut Side, datagrams: &[Datagram]) -> impl FnOnce(&mut Vec<Datagram>) {
    move |out| datagrams.iter().for_each(|datagram| to.receive(datagram, out))
}

fn heap(suite: Suite, dhat: Option<&std::path::Path>) -> Heap {
    let profiler = match dhat {
        Some(path) => dhat::Profiler::builder().file_name(path).trim_backtraces(None).build(),
        None => dhat::Profiler::builder().testing().build(),
    };
    let (mut gateway, mut peers) = (responder(suite, false), initiator(suite, 0..SAS));
    let mut requests = Vec::new();
    let mut initiator = growth(&mut requests, |out| (0..SAS).for_each(|n| peers.initiate(n, out)));
    let mut steps = Vec::new();
    for _request in suite.requests() {
        let (mut replies, mut next) = (Vec::new(), Vec::new());
        steps.push(growth(&mut replies, deliver(&mut gateway, &requests)));
        initiator += growth(&mut next, deliver(&mut peers, &replies));
        requests = next;
    }
    gateway.expect_up(SAS as usize);
    peers.expect_up(SAS as usize);
    let (half_open, responder) = (steps.first().copied().unwrap_or_default(), steps.iter().sum::<f64>());
    drop((requests, steps));
    drop(profiler); // which writes what is held now
    let each = |octets: f64| octets / f64::from(SAS);
    Heap { half_open: each(half_open), responder: each(responder), initiator: each(initiator) }
}

// ------------------------------------------------------------------------------------------------------------ flood

/// Legitimate initiators of each phase.
const LEGITIMATE: u32 = 256;

/// What the flood holds, and what each legitimate SA does, while strangers send first messages.
fn flood(options: &Options) -> Table {
    let mut table = Table::new(
        "Heap at a gateway in a flood of spoofed IKE_SA_INIT, octets",
        &["phase", "legitimate up", "spoofed so far", "half-open", "heap per legitimate SA", "heap left by the flood"],
        &[
            "256 legitimate initiators in each phase, or the flood alone; limits as by default. The flood leaves half-open SAs up",
            "to cookie_threshold and the reasons why they ended, of which the last 256 are kept; while legitimate SAs are added,",
            "the growth of the tables that they share counts where it happened.",
        ],
    );
    if !options.wants("flood") {
        return table;
    }
    let profiler = dhat::Profiler::builder().testing().build();
    let heap = || dhat::HeapStats::get().curr_bytes as f64;
    let mut siege = Siege::new(Suite::ALL[0], 1);
    let (mut spoofed, mut left) = (0, 0.0);
    for (name, ratio) in FLOOD {
        let before = heap();
        let phase = match ratio {
            Some(ratio) => siege.phase(LEGITIMATE, *ratio, heap),
            None => siege.alone(ALONE, heap),
        };
        let legitimate = heap() - before - phase.for_spoofed;
        spoofed += phase.spoofed;
        left += phase.for_spoofed;
        table.row(vec![
            (*name).into(),
            Value::Number(f64::from(phase.up), 0),
            Value::Number(f64::from(spoofed), 0),
            Value::Number(phase.half_open as f64, 0),
            if phase.legitimate == 0 {
                Value::None
            } else {
                Value::Number(legitimate / f64::from(phase.legitimate), 0)
            },
            Value::Number(left, 0),
        ]);
    }
    drop(profiler);
    table
}

/// Strangers' messages in a phase where nobody else comes.
const ALONE: u32 = 100 * LEGITIMATE;

/// The phases: name, and strangers' messages for each legitimate initiator, if there are any.
const FLOOD: &[(&str, Option<u32>)] = &[
    ("before the flood", Some(0)),
    ("flood 10:1", Some(10)),
    ("flood 100:1", Some(100)),
    ("flood 100:1, more of it", Some(100)),
    ("flood alone", None),
    ("flood alone, more of it", None),
    ("flood alone, yet more", None),
    ("after the flood", Some(0)),
];

// --------------------------------------------------------------------------------------------------------- resident

/// A process of its own tells what an SA costs with everything: C's heap, what the allocator adds, fragmentation.
fn resident(suite: Suite) -> io::Result<(f64, f64)> {
    let program = std::env::current_exe()?;
    let mut child = Command::new(program)
        .args(["--as-responder", suite.name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::from(io::ErrorKind::BrokenPipe));
    };
    let (mut to, mut from) = (BufWriter::new(to), BufReader::new(from));
    let mut peers = initiator(suite, 0..SAS);
    let mut requests = Vec::new();
    (0..SAS).for_each(|n| peers.initiate(n, &mut requests));
    let mut sizes = vec![read_u64(&mut from)?];
    for answered in suite.requests() {
        let mut next = Vec::new();
        for request in &requests {
            write_datagram(&mut to, request)?;
            if *answered {
                peers.receive(&read_datagram(&mut from)?, &mut next);
            }
        }
        sizes.push(read_u64(&mut from)?);
        requests = next;
    }
    peers.expect_up(SAS as usize);
    drop(to);
    child.wait()?;
    let each = |size: u64| (size as f64 - sizes[0] as f64) / f64::from(SAS);
    Ok((each(sizes[1]), each(sizes[sizes.len() - 1])))
}

fn be_the_responder(suite: Suite) -> io::Result<()> {
    let (mut from, mut to) = (BufReader::new(io::stdin()), BufWriter::new(io::stdout()));
    let mut gateway = responder(suite, false);
    // A size before the first message, and one after each of them.
    for count in std::iter::once(0).chain(suite.requests().iter().map(|_| SAS)) {
        for _ in 0..count {
            let mut out = Vec::new();
            gateway.receive(&read_datagram(&mut from)?, &mut out);
            out.iter().try_for_each(|reply| write_datagram(&mut to, reply))?;
        }
        to.write_all(&resident_octets()?.to_be_bytes())?;
        to.flush()?;
    }
    gateway.expect_up(SAS as usize);
    Ok(())
}

/// Of this process; the kernel counts exactly here, unlike in `/proc/self/status`.
fn resident_octets() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix("kB"));
    let number = kilobytes.and_then(|number| number.trim().parse::<u64>().ok());
    Ok(1024 * number.ok_or(io::ErrorKind::InvalidData)?)
}

fn read_u64(from: &mut impl Read) -> io::Result<u64> {
    let mut octets = [0; 8];
    from.read_exact(&mut octets)?;
    Ok(u64::from_be_bytes(octets))
}

fn read_address(from: &mut impl Read) -> io::Result<SocketAddr> {
    let number = read_u64(from)?;
    Ok(SocketAddr::new(IpAddr::from(((number >> 16) as u32).to_be_bytes()), number as u16))
}

fn read_datagram(from: &mut impl Read) -> io::Result<Datagram> {
    let (source, destination) = (read_address(from)?, read_address(from)?);
    let mut message = vec![0; read_u64(from)? as usize];
    from.read_exact(&mut message)?;
    Ok(Datagram { from: source, to: destination, message })
}

fn write_datagram(to: &mut impl Write, datagram: &Datagram) -> io::Result<()> {
    for address in [datagram.from, datagram.to] {
        let IpAddr::V4(ip) = address.ip() else { return Err(io::ErrorKind::InvalidInput.into()) };
        to.write_all(&(u64::from(u32::from(ip)) << 16 | u64::from(address.port())).to_be_bytes())?;
    }
    to.write_all(&(datagram.message.len() as u64).to_be_bytes())?;
    to.write_all(&datagram.message)?;
    to.flush()
}

// ------------------------------------------------------------------------------------------------------------- main

fn main() -> io::Result<()> {
    let options = Options::get();
    if options.as_responder {
        let name = options.filter.first().map_or("", String::as_str);
        let suite = SUITES.iter().find(|s| s.name == name).ok_or(io::ErrorKind::InvalidInput)?;
        return be_the_responder(*suite);
    }
    let mut table = Table::new(
        "Memory per IKE SA and Child SA, octets, 1000 SAs",
        &[
            "suite",
            "heap, half-open",
            "heap, responder",
            "heap, initiator",
            "resident, half-open",
            "resident, responder",
            "charon resident, KB",
        ],
        &[
            "Heap is what Rust code holds; the initiator's does not count its configuration. Resident is a responder process",
            "of its own, with C's heap and fragmentation, without a data plane; charon's is its whole process.",
        ],
    );
    for suite in SUITES.iter().filter(|s| options.wants(s.name)) {
        // First: the profiler's own memory must not be there yet, though it is another process that is looked at.
        let (half_open, established) = resident(*suite)?;
        let heap = heap(*suite, options.dhat.as_deref());
        let octets = |octets: f64| Value::Number(octets, 0);
        table.row(vec![
            suite.name.into(),
            octets(heap.half_open),
            octets(heap.responder),
            octets(heap.initiator),
            octets(half_open),
            octets(established),
            CHARON_RESIDENT.into(),
        ]);
    }
    table.print(options.json);
    flood(&options).print(options.json);
    Ok(())
}
