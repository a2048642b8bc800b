//! libreswan: the states of `ipsec status` and `showstates`, and `ipsec trafficstatus`.

use super::{end, is_address, packets};
use model::{ExchangeMode, ListedSa, Role};
use std::collections::{BTreeMap, BTreeSet};

/// What a state's name says: role, version, ST.
const STATES: [(&str, Role, u8, u8); 17] = [
    ("MAIN_I1", Role::Initiator, 1, 3),
    ("MAIN_R1", Role::Responder, 1, 3),
    ("MAIN_I2", Role::Initiator, 1, 5),
    ("MAIN_R2", Role::Responder, 1, 5),
    ("MAIN_I3", Role::Initiator, 1, 7),
    ("MAIN_I4", Role::Initiator, 1, 9),
    ("MAIN_R3", Role::Responder, 1, 9),
    ("AGGR_I1", Role::Initiator, 1, 3),
    ("AGGR_R1", Role::Responder, 1, 3),
    ("AGGR_I2", Role::Initiator, 1, 9),
    ("AGGR_R2", Role::Responder, 1, 9),
    ("PARENT_I1", Role::Initiator, 2, 3),
    ("PARENT_I2", Role::Initiator, 2, 5),
    ("PARENT_R0", Role::Responder, 2, 3),
    ("PARENT_R1", Role::Responder, 2, 3),
    ("PARENT_I3", Role::Initiator, 2, 9),
    ("PARENT_R2", Role::Responder, 2, 9),
];

/// One line about a state.
struct State<'a> {
    number: &'a str,
    connection: &'a str,
    /// What stands between the name and the state.
    place: &'a str,
    name: &'a str,
    story: &'a str,
    rest: &'a str,
}

/// What the whole of a text says about connections.
pub(super) struct Known<'a> {
    /// Our host and the peer's, of each connection.
    hosts: BTreeMap<&'a str, (String, String)>,
    /// Whether states are listed somewhere: traffic has nothing to add then.
    states: bool,
}

impl<'a> Known<'a> {
    /// Looks through a text.
    pub(super) fn of(text: &'a str) -> Self {
        let lines = || text.lines().map(|line| without_code(line.trim()));
        Self { hosts: lines().filter_map(configured).collect(), states: lines().any(|line| state(line).is_some()) }
    }
}

/// The states of a part of a text; none if there are no such lines.
pub(super) fn states(text: &str, known: &Known<'_>) -> Option<Vec<ListedSa>> {
    let (mut sas, mut numbers) = (Vec::<ListedSa>::new(), BTreeMap::<&str, usize>::new());
    let (mut children, mut traffic, mut counted) = (Vec::new(), Vec::new(), BTreeMap::<&str, (u64, u64)>::new());
    let mut title = text.contains("Total IPsec connections:");
    for line in text.lines() {
        let line = without_code(line.trim());
        if let Some((connection, (received, sent))) = counters(line) {
            let sum = counted.entry(connection).or_default();
            *sum = (sum.0.saturating_add(received), sum.1.saturating_add(sent));
        }
        if let Some(connection) = established_traffic(line).filter(|_| !known.states) {
            title = true;
            traffic.push(connection);
        } else if let Some(state) = state(line) {
            title = true;
            match parent(&state) {
                Some(parent) => children.push((parent, state)),
                None => {
                    numbers.insert(state.number, sas.len());
                    sas.push(ike(&state));
                }
            }
        }
    }
    for (number, state) in children {
        let (connection, story) = (state.connection, state.story);
        if !story.contains("established") {
            // Its own request gets no answer.
            let mut of = sas.iter_mut().filter(|sa| sa.established && named(sa, connection));
            if let Some(sa) = of.next_back().filter(|_| state.rest.contains("RETRANSMIT")) {
                sa.asking = Some(state.name.to_string());
            }
            continue;
        }
        match numbers.get(number).and_then(|at| sas.get_mut(*at)) {
            Some(sa) => sa.phase2 = sa.phase2.map(|n| n.saturating_add(1)),
            None => traffic.push(connection),
        }
    }
    // Traffic is of established Child SAs, and of the IKE SA above each.
    let listed: BTreeSet<String> =
        sas.iter().filter_map(|sa| Some(sa.name.as_ref()?.rsplit_once(" #")?.0.to_string())).collect();
    let traffic: BTreeSet<&str> = traffic.into_iter().filter(|connection| !listed.contains(*connection)).collect();
    for connection in traffic {
        let (name, peer) = (Some(connection.to_string()), connection.to_string());
        let (established, st, phase2) = (true, Some(9), Some(1));
        sas.push(ListedSa { peer, name, established, st, phase2, ..ListedSa::default() });
    }
    for sa in &mut sas {
        sa.traffic = counted.iter().find(|(connection, _)| named(sa, connection)).map(|(_, counters)| *counters);
        if let Some((local, peer)) = known.hosts.get(sa.peer.as_str()) {
            (sa.source, sa.peer) = (Some(local.clone()), peer.clone());
        }
    }
    title.then_some(sas)
}

/// Lines begin with a code of three digits, or not.
fn without_code(line: &str) -> &str {
    match line.split_once(' ') {
        Some((code, rest)) if code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit()) => rest.trim_start(),
        _ => line,
    }
}

/// `"v2": 10.8.2.0/24===10.9.0.2[@id]...10.9.0.1===10.8.1.0/24; erouted; ...`: the connection, our host and the peer's.
fn configured(line: &str) -> Option<(&str, (String, String))> {
    let (name, rest) = line.strip_prefix('"')?.split_once("\": ")?;
    let (left, right) = rest.split(';').next()?.split_once("...")?;
    let host = |text: &str| {
        let parts = text.split("===").filter(|part| !part.contains('/')).flat_map(|part| part.split(['[', '<', '-']));
        parts.map(|part| end(part).0).find(|part| is_address(part))
    };
    Some((name, (host(left)?, host(right)?)))
}

/// `#2: "v2"[1] 192.0.2.1, type=ESP, add_time=...`: the connection.
fn established_traffic(line: &str) -> Option<&str> {
    let (_, rest) = line.strip_prefix('#')?.split_once(": \"")?;
    let (connection, rest) = rest.split_once('"')?;
    (rest.contains("type=") && rest.contains("inBytes=")).then_some(connection)
}

/// Whether an SA is one of a connection: `name #1`, or the name alone.
fn named(sa: &ListedSa, connection: &str) -> bool {
    let name = sa.name.as_deref().unwrap_or_default();
    name.strip_prefix(connection).is_some_and(|rest| rest.is_empty() || rest.starts_with(" #"))
}

/// `#2: "v2" esp.c@A esp.d@B ... Traffic: ESPin=84B ESPout=2KB`, or `inBytes=84, outBytes=84`: what came in and went out.
fn counters(line: &str) -> Option<(&str, (u64, u64))> {
    let (_, rest) = line.strip_prefix('#')?.split_once(": \"")?;
    let (connection, rest) = rest.split_once('"')?;
    let value = |names: [&str; 2]| {
        let (_, behind) = names.into_iter().find_map(|name| rest.split_once(name))?;
        let digits = behind.split(|c: char| !c.is_ascii_digit()).next()?;
        let unit = match behind.get(digits.len()..)?.bytes().next() {
            Some(b'K') => 1 << 10,
            Some(b'M') => 1 << 20,
            Some(b'G') => 1 << 30,
            _ => 1,
        };
        Some(packets(digits.parse::<u64>().ok()?.saturating_mul(unit)))
    };
    Some((connection, (value(["ESPin=", "inBytes="])?, value(["ESPout=", "outBytes="])?)))
}

/// `#2: "v2"[1] ...192.0.2.1:500 STATE_MAIN_I1 (sent MI1, expecting MR1); ...`.
fn state(line: &str) -> Option<State<'_>> {
    let (number, rest) = line.strip_prefix('#')?.split_once(": \"")?;
    let (connection, rest) = rest.split_once('"')?;
    let (before, rest) = rest.split_once(" (")?;
    let (story, rest) = rest.split_once(')')?;
    let (place, name) = before.rsplit_once(' ').unwrap_or((before, ""));
    let capital = |name: &str| name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    let sound = number.bytes().all(|b| b.is_ascii_digit()) && name.len() > 3 && capital(name);
    sound.then_some(State { number, connection, place, name, story, rest })
}

/// The IKE SA of a Child SA's state.
fn parent<'a>(state: &State<'a>) -> Option<&'a str> {
    let number = |mark: &str| {
        let (_, rest) = state.rest.split_once(mark)?;
        Some(rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default())
    };
    let named = number("IKE SA #").or_else(|| number("ISAKMP SA #")).or_else(|| number("isakmp#"));
    let child = state.name.contains("CHILD") || state.name.contains("QUICK") || state.story.contains("IPsec SA");
    named.filter(|parent| *parent != "0" && *parent != state.number).or_else(|| child.then_some(""))
}

/// `REKEY in 28050s; REPLACE in 28500s`, `EVENT_SA_REPLACE in 2800s`: the sooner of what renews it.
fn left(rest: &str) -> Option<u64> {
    let seconds = |mark: &str| rest.split_once(mark)?.1.split('s').next()?.parse::<u64>().ok();
    ["REKEY in ", "REPLACE in "].into_iter().filter_map(seconds).min()
}

fn ike(state: &State<'_>) -> ListedSa {
    let known = STATES.iter().find(|(name, ..)| state.name.ends_with(name));
    let v2 = state.name.contains("V2_") || state.story.contains("IKE_");
    let established = state.story.contains("established") || known.is_some_and(|(.., st)| *st == 9);
    let guessed = match state.name {
        name if name.contains("IKE_AUTH_I") => Some((Role::Initiator, 5)),
        name if name.contains("IKE_SA_INIT_I") => Some((Role::Initiator, 3)),
        name if name.contains("IKE_SA_INIT_R") || name.ends_with("UNSECURED_R") => Some((Role::Responder, 3)),
        _ => None,
    };
    let place = state.place.split(']').next_back().unwrap_or_default().trim();
    let (address, port) = end(place);
    let peer = if is_address(&address) { address } else { state.connection.to_string() };
    let mode = match state.name {
        name if name.contains("AGGR_") => Some(ExchangeMode::Aggressive),
        name if name.contains("MAIN_") => Some(ExchangeMode::IdentityProtection),
        _ => None,
    };
    ListedSa {
        peer,
        port: port.or_else(|| place.trim_start_matches(':').parse().ok()),
        name: Some(format!("{} #{}", state.connection, state.number)),
        version: known.map(|(_, _, version, _)| *version).or(v2.then_some(2)),
        role: known.map(|(_, role, ..)| *role).or(guessed.map(|(role, _)| role)),
        mode,
        left: left(state.rest).filter(|_| established),
        st: if established { Some(9) } else { known.map(|(.., st)| *st).or(guessed.map(|(_, st)| st)) },
        state: Some(state.name.to_string()),
        established,
        phase2: Some(0),
        ..ListedSa::default()
    }
}
