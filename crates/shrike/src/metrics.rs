//! `shrike metrics`: what a running daemon (Shrike, or a charon) has against what it is configured to have, in Prometheus'
//! text format, once or over HTTP.
//!
//! A process of its own: the daemon has no HTTP, and whoever asks slowly keeps nobody but the next who asks waiting. Labels
//! are names of the configuration and codes of the catalogue, never what a stranger sends.

use crate::client::Control;
use diag::Severity;
use model::{ChildState, IkeState, Live, LiveConnection, Probe, ProbeOutcome, SaSnapshot};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Connections that have lines of their own.
const MAX_CONNECTIONS: usize = 1000;
/// A request may have so many octets, and so much time.
const MAX_REQUEST: usize = 4096;
const MAX_HEADERS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(2);

/// A label's value.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// One kind of value: its lines follow its description.
struct Family(String);

impl Family {
    fn new(out: &mut String, name: &str, help: &str) -> Self {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        Self(name.to_string())
    }

    fn add(&self, out: &mut String, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<String> = labels.iter().map(|(name, text)| format!("{name}=\"{}\"", label(text))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(out, "{}{labels} {value}", self.0);
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn of(connection: &LiveConnection, sa: &SaSnapshot) -> bool {
    sa.name == connection.name
        || sa.name.is_empty() && connection.remote_addrs.iter().any(|address| *address == sa.remote.ip().to_string())
}

/// The text. `None` stands for a daemon that cannot be asked.
pub fn render(live: Option<&Live>) -> String {
    let mut out = String::new();
    Family::new(&mut out, "ike_daemon_up", "Whether the daemon answers.").add(&mut out, &[], u64::from(live.is_some()));
    let Some(live) = live else { return out };
    let shown = live.connections.iter().take(MAX_CONNECTIONS);
    let family = Family::new(&mut out, "ike_connection_established", "Whether a configured connection has an IKE SA.");
    let up = |c: &LiveConnection| {
        live.sas.iter().any(|sa| sa.name == c.name && sa.established.is_some() && sa.state != IkeState::Deleting)
    };
    for c in shown.clone() {
        family.add(&mut out, &[("connection", &c.name)], u64::from(up(c)));
    }
    let family = Family::new(&mut out, "ike_connection_children", "Child SAs of a connection: configured, installed.");
    for c in shown.clone() {
        let children = live.sas.iter().filter(|sa| sa.name == c.name).flat_map(|sa| &sa.children);
        let there = |child: &&model::ChildSnapshot| matches!(child.state, ChildState::Installed | ChildState::Rekeying);
        let installed = children.filter(there).count();
        family.add(&mut out, &[("connection", &c.name), ("state", "configured")], count(c.children.len()));
        family.add(&mut out, &[("connection", &c.name), ("state", "installed")], count(installed));
    }
    let family = Family::new(&mut out, "ike_connection_octets", "Octets through the Child SAs that are there now.");
    for c in shown.clone() {
        let mut octets = [0u64; 2];
        for child in live.sas.iter().filter(|sa| sa.name == c.name).flat_map(|sa| &sa.children) {
            octets[0] = octets[0].saturating_add(child.counters.bytes_in);
            octets[1] = octets[1].saturating_add(child.counters.bytes_out);
        }
        for (direction, value) in ["in", "out"].into_iter().zip(octets) {
            family.add(&mut out, &[("connection", &c.name), ("direction", direction)], value);
        }
    }
    let family =
        Family::new(&mut out, "ike_connection_fault", "1 for each likely cause of what is wrong with a connection.");
    for c in shown.clone() {
        let alone = Live {
            connections: vec![c.clone()],
            sas: live.sas.iter().filter(|sa| of(c, sa)).cloned().collect(),
            ended: live.ended.iter().filter(|t| of(c, &t.sa)).cloned().collect(),
            remembers: live.remembers,
            running: live.running,
            strays: live.strays.iter().filter(|s| s.connections.contains(&c.name)).cloned().collect(),
            counters: live.counters.get(&c.name).map(|set| (c.name.clone(), set.clone())).into_iter().collect(),
            now: live.now,
            // What is this host's and no connection's is not repeated for each.
            certificates: Vec::new(),
            plane_faults: Vec::new(),
            send_errors: live.send_errors.clone(),
            probes: live.probes.iter().filter(|p| p.connection == c.name).cloned().collect(),
        };
        let mut worst: BTreeMap<&str, Severity> = BTreeMap::new();
        for finding in diag::live(&alone).into_iter().filter(|f| f.severity > Severity::Info) {
            if let Some(cause) = finding.causes.first() {
                worst.entry(cause.code()).and_modify(|s| *s = finding.severity.max(*s)).or_insert(finding.severity);
            }
        }
        for (cause, severity) in worst {
            let severity = severity.label().to_lowercase();
            family.add(&mut out, &[("connection", &c.name), ("cause", cause), ("severity", &severity)], 1);
        }
    }
    probed(&mut out, live);
    let family = Family::new(&mut out, "ike_sas", "IKE SAs by state.");
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    live.sas.iter().for_each(|sa| *states.entry(sa.state.name()).or_default() += 1);
    for (state, n) in states {
        family.add(&mut out, &[("state", state)], count(n));
    }
    if live.remembers {
        let family = Family::new(&mut out, "ike_ended", "SAs and attempts that are over and remembered, by reason.");
        let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
        live.ended.iter().for_each(|t| *codes.entry(t.failure.kind.code()).or_default() += 1);
        for (code, n) in codes {
            family.add(&mut out, &[("reason", code)], count(n));
        }
    }
    if live.connections.len() > MAX_CONNECTIONS {
        let family = Family::new(&mut out, "ike_connections_left_out", "Connections without lines of their own.");
        family.add(&mut out, &[], count(live.connections.len() - MAX_CONNECTIONS));
    }
    out
}

/// What probes of Child SAs found: 0 octets where no answer came, and no line where nothing could be sent.
fn probed(out: &mut String, live: &Live) {
    let shown: Vec<_> = live.probes.iter().filter(|probe| probe.sent > 0).take(MAX_CONNECTIONS).collect();
    if shown.is_empty() {
        return;
    }
    let labels = |probe: &'_ Probe| {
        [("connection", probe.connection.clone()), ("child", probe.child.clone()), ("peer", probe.peer.to_string())]
    };
    let mut family = |name: &str, help: &str, value: &dyn Fn(&ProbeOutcome) -> Option<u64>| {
        let family = Family::new(out, name, help);
        for probe in &shown {
            if let Some(value) = value(&probe.outcome) {
                let labels = labels(probe);
                family.add(out, &labels.each_ref().map(|(name, text)| (*name, text.as_str())), value);
            }
        }
    };
    family("ike_child_path_octets", "The longest packet that a probe of a Child SA got an answer to.", &|outcome| {
        match outcome {
            ProbeOutcome::Answers { largest, .. } => Some((*largest).into()),
            _ => Some(0),
        }
    });
    family(
        "ike_child_path_hole",
        "Whether longer packets than that are lost without a word.",
        &|outcome| match outcome {
            ProbeOutcome::Answers { silent, .. } => Some(u64::from(silent.is_some())),
            _ => None,
        },
    );
    family(
        "ike_child_round_trip_microseconds",
        "The time of an answer through a Child SA.",
        &|outcome| match outcome {
            ProbeOutcome::Answers { round_trip, .. } => u64::try_from(round_trip.as_micros()).ok(),
            _ => None,
        },
    );
}

fn ask(vici: Option<&str>) -> Result<Live, String> {
    Control::open(vici)?.live()
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// It is not whole, too long, or none.
    Nothing,
    /// The figures.
    Metrics,
    /// Another page.
    Other,
    /// Something that would change something.
    Change,
}

impl Asked {
    fn of(request: &[u8]) -> Self {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(request) {
            Ok(httparse::Status::Complete(_)) if request.len() <= MAX_REQUEST => {}
            _ => return Self::Nothing,
        }
        // RFC 9110 section 4.2.2: what follows `?` is a query, which the figures do not have.
        let path = parsed.path.and_then(|path| path.split('?').next());
        match (parsed.method, path) {
            (Some("GET"), Some("/metrics")) => Self::Metrics,
            (Some("GET"), _) => Self::Other,
            _ => Self::Change,
        }
    }
}

/// Answers one request; a bad one is refused, a slow one is given up.
fn answer(mut stream: TcpStream, text: impl FnOnce() -> String) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    let mut asked = Asked::Nothing;
    // A client that sends an octet now and then has as many reads as a whole request may have.
    for _ in 0..8 {
        let n = stream.read(&mut buffer)?;
        request.extend_from_slice(buffer.get(..n).unwrap_or_default());
        asked = Asked::of(&request);
        if n == 0 || asked != Asked::Nothing || request.len() > MAX_REQUEST {
            break;
        }
    }
    let (status, body) = match asked {
        Asked::Metrics => ("200 OK", text()),
        Asked::Other => ("404 Not Found", "see /metrics\n".to_string()),
        Asked::Change => ("405 Method Not Allowed", "GET only\n".to_string()),
        Asked::Nothing => ("400 Bad Request", "this is no HTTP request\n".to_string()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// Prints once, or serves for ever.
///
/// # Errors
/// The daemon cannot be asked; the address cannot be listened on.
pub fn run(vici: Option<&str>, listen: Option<SocketAddr>, print: impl Fn(&str)) -> Result<(), String> {
    let Some(address) = listen else {
        print(&render(Some(&ask(vici)?)));
        return Ok(());
    };
    let listener = TcpListener::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let local = listener.local_addr().map_err(|error| error.to_string())?;
    print(&format!("http://{local}/metrics\n"));
    for stream in listener.incoming() {
        // Who goes away in the middle is no fault of ours.
        let _ = stream.and_then(|stream| answer(stream, || render(ask(vici).ok().as_ref())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::LiveChild;

    fn connection(name: &str) -> LiveConnection {
        let children = vec![LiveChild { name: "net".into(), starts: Some(true), ..LiveChild::default() }];
        LiveConnection {
            name: name.into(),
            remote_addrs: vec!["192.0.2.2".into()],
            children,
            ..LiveConnection::default()
        }
    }

    #[test]
    fn configured_stands_against_established() {
        let live = Live { connections: vec![connection("g\"w\\")], remembers: true, ..Live::default() };
        let text = render(Some(&live));
        for line in [
            "ike_daemon_up 1",
            r#"ike_connection_established{connection="g\"w\\"} 0"#,
            r#"ike_connection_children{connection="g\"w\\",state="configured"} 1"#,
            r#"ike_connection_children{connection="g\"w\\",state="installed"} 0"#,
            r#"ike_connection_fault{connection="g\"w\\",cause="NOT_STARTED",severity="warning"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line}: {text}");
        }
        assert_eq!(render(None).lines().last(), Some("ike_daemon_up 0"));
        let many = Live { connections: (0..1500).map(|n| connection(&n.to_string())).collect(), ..Live::default() };
        let text = render(Some(&many));
        assert!(text.contains("ike_connections_left_out 500") && text.lines().count() < 9000);
    }

    #[test]
    fn http_is_answered_and_what_is_none_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ask = |request: Vec<u8>| {
            let client = std::thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(&request).unwrap();
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let mut answer = String::new();
                let _ = stream.read_to_string(&mut answer);
                answer
            });
            let _ = answer(listener.accept().unwrap().0, || render(None));
            client.join().unwrap()
        };
        let good = ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".to_vec());
        assert!(good.starts_with("HTTP/1.1 200 OK\r\n") && good.ends_with("ike_daemon_up 0\n"), "{good}");
        let query = ask(b"GET /metrics?name=ike HTTP/1.1\r\nAccept: text/plain\r\n\r\n".to_vec());
        assert!(query.starts_with("HTTP/1.1 200 OK\r\n"), "{query}");
        assert!(ask(b"GET / HTTP/1.1\r\n\r\n".to_vec()).starts_with("HTTP/1.1 404"));
        let many =
            (0..MAX_HEADERS + 1).fold("GET /metrics HTTP/1.1\r\n".to_string(), |all, n| all + &format!("h{n}: x\r\n"));
        assert!(ask(format!("{many}\r\n").into_bytes()).starts_with("HTTP/1.1 400"));
        assert!(ask(b"POST /metrics HTTP/1.1\r\n\r\n".to_vec()).starts_with("HTTP/1.1 405"));
        for bad in [b"\x16\x03\x01".to_vec(), vec![], b"GET /metrics".to_vec()] {
            assert!(ask(bad).starts_with("HTTP/1.1 400"));
        }
    }
}
