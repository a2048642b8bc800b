//! strongSwan: `swanctl --list-sas`, the same `--raw` and `--pretty`, and `ipsec statusall`.

use super::{end, first_word, packets, spi};
use model::{ListedSa, Role};
use wire::{IkeSpi, SpiPair};

/// States in which an IKE SA is, or was, established.
const ESTABLISHED: [&str; 5] = ["ESTABLISHED", "REKEYING", "REKEYED", "DELETING", "PASSIVE"];
/// So many seconds after it was installed, a Child SA has had time for packets both ways.
const SETTLED: u64 = 30;
/// States in which a Child SA carries packets.
const INSTALLED: [&str; 5] = ["INSTALLED", "UPDATING", "REKEYING", "REKEYED", "RETRYING"];

fn sa(name: &str, number: &str, state: &str) -> ListedSa {
    let established = ESTABLISHED.contains(&state);
    ListedSa {
        name: Some(format!("{name} {number}")),
        state: Some(state.to_string()),
        established,
        st: established.then_some(9),
        phase2: Some(0),
        ..ListedSa::default()
    }
}

/// What a Child SA received or sent; one that was installed just now has had no time for an answer.
fn add_traffic(sa: &mut ListedSa, age: Option<u64>, received: u64, sent: u64) {
    if age.is_none_or(|age| age >= SETTLED) {
        let (before_in, before_out) = sa.traffic.unwrap_or_default();
        sa.traffic = Some((before_in.saturating_add(received), before_out.saturating_add(sent)));
    }
}

/// The task that asks for a Child SA, among those that wait for an answer.
fn add_task(sa: &mut ListedSa, tasks: &str) {
    let asks = |task: &&str| matches!(*task, "QUICK_MODE" | "CHILD_CREATE");
    sa.asking = tasks.split_whitespace().find(asks).map(|task| format!("task {task}"));
}

/// Seconds of `5 minutes`, `2 hours`, as `ipsec statusall` rounds them.
fn rounded(text: &str) -> Option<u64> {
    let mut words = text.split_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    let unit = match words.next()?.trim_end_matches(',').trim_end_matches('s') {
        "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        "day" => 86_400,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// The number before a word.
fn before(line: &str, word: &str) -> Option<u64> {
    let digits = line.split_once(word)?.0.trim_end();
    digits.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn add_child(sas: &mut [ListedSa], state: &str) {
    if let Some(sa) = sas.last_mut().filter(|_| INSTALLED.contains(&state)) {
        sa.phase2 = sa.phase2.map(|n| n.saturating_add(1));
    }
}

/// `fc78f6427b088606_i* bcfe99736e5a3ba6_r`: the SPIs, and which is ours.
fn spis(words: &mut dyn Iterator<Item = &str>) -> Option<(SpiPair, Role)> {
    let (i, r) = (words.next()?, words.next()?.trim_end_matches(','));
    let role = if i.ends_with('*') { Role::Initiator } else { Role::Responder };
    let initiator = spi(i.trim_end_matches('*').strip_suffix("_i")?)?;
    let responder = spi(r.trim_end_matches('*').strip_suffix("_r")?)?;
    Some((SpiPair { initiator, responder }, role))
}

/// `swanctl --list-sas`; none if there is no SA of that form.
pub(super) fn swanctl(text: &str) -> Option<Vec<ListedSa>> {
    let mut sas: Vec<ListedSa> = Vec::new();
    let mut installed = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(sa) = swanctl_title(line) {
            sas.push(sa);
        } else if let Some(sa) = sas.last_mut() {
            if let Some((_, host)) = line.strip_prefix("local ").and_then(|rest| rest.split_once(" @ ")) {
                sa.source = Some(end(first_word(host)).0);
            } else if let Some((_, host)) = line.strip_prefix("remote ").and_then(|rest| rest.split_once(" @ ")) {
                (sa.peer, sa.port) = end(first_word(host));
            } else if let Some(rest) = line.strip_prefix("established ") {
                let seconds = |text: &str| text.split('s').next()?.trim().parse::<u64>().ok();
                sa.age = seconds(rest);
                let ends = ["rekeying in ", "reauth in ", "expires in "].into_iter();
                let left = ends.filter_map(|name| seconds(rest.split_once(name)?.1)).min();
                sa.lifetime = sa.age.zip(left).map(|(age, left)| age.saturating_add(left));
            } else if let Some(tasks) = line.strip_prefix("active:") {
                add_task(sa, tasks);
            } else if let Some(rest) = line.strip_prefix("installed ") {
                installed = rest.split('s').next().and_then(|age| age.trim().parse().ok());
            } else if let Some(packets) = line.strip_prefix("in ").and_then(|rest| before(rest, " packets")) {
                add_traffic(sa, installed, packets, 0);
            } else if let Some(packets) = line.strip_prefix("out ").and_then(|rest| before(rest, " packets")) {
                add_traffic(sa, installed, 0, packets);
            } else if line.contains(", reqid ") {
                installed = None;
                let state = line.split(", ").nth(2).unwrap_or_default();
                // Since 5.9.9 a CPU may stand between.
                let state = if state.starts_with("cpu ") { line.split(", ").nth(3).unwrap_or_default() } else { state };
                add_child(&mut sas, state);
            }
        }
    }
    (!sas.is_empty()).then_some(sas)
}

/// `v2: #1, CONNECTING, IKEv2, fc78f6427b088606_i* 0000000000000000_r`.
fn swanctl_title(line: &str) -> Option<ListedSa> {
    let (name, rest) = line.split_once(": #")?;
    let mut parts = rest.split(", ");
    let (number, state, version) = (parts.next()?, parts.next()?, parts.next()?.strip_prefix("IKEv")?);
    let (spis, role) = spis(&mut parts.next()?.split_whitespace())?;
    let version = version.parse().ok();
    Some(ListedSa { version, spis: Some(spis), role: Some(role), ..sa(name, &format!("#{number}"), state) })
}

/// `swanctl --list-sas --raw` or `--pretty`.
pub(super) fn raw(text: &str) -> Option<Vec<ListedSa>> {
    let (_, rest) = text.split_once("list-sa event")?;
    let rest = rest.trim_start().strip_prefix('{')?;
    let mut sas: Vec<ListedSa> = Vec::new();
    let (mut depth, mut name, mut key) = (1u32, "", "");
    let (mut ours, mut spis) = (false, [IkeSpi::ZERO; 2]);
    // Braces are tokens; the others are separated by blanks, a key and its value by `=`, alone or between them.
    let separated = rest.replace('{', " { ").replace('}', " } ");
    for token in separated.split_whitespace() {
        match token {
            "{" => {
                depth += 1;
                if depth == 2 {
                    sas.push(ListedSa { name: Some(name.to_string()), phase2: Some(0), ..ListedSa::default() });
                    (ours, spis) = (false, [IkeSpi::ZERO; 2]);
                }
            }
            "}" => depth = depth.saturating_sub(1),
            "=" => {}
            _ => {
                let (this, value) = token.split_once('=').unwrap_or((token, ""));
                let value = if value.is_empty() && !token.contains('=') { token } else { value };
                let named = if this == token { key } else { this };
                (name, key) = (token, this);
                if let Some(sa) = sas.last_mut().filter(|_| depth == 2 || depth == 4) {
                    raw_value(sa, depth, named, value, (&mut ours, &mut spis));
                }
            }
        }
    }
    Some(sas)
}

/// One value of an SA (in the second braces) or of its children (in the fourth).
fn raw_value(sa: &mut ListedSa, depth: u32, key: &str, value: &str, (ours, spis): (&mut bool, &mut [IkeSpi; 2])) {
    match (depth, key) {
        (4, "packets-in") => add_traffic(sa, None, value.parse().unwrap_or(0), 0),
        (4, "packets-out") => add_traffic(sa, None, 0, value.parse().unwrap_or(0)),
        (4, "state") if INSTALLED.contains(&value) => sa.phase2 = sa.phase2.map(|n| n.saturating_add(1)),
        (2, "version") => sa.version = value.parse().ok(),
        (2, "state") => {
            sa.established = ESTABLISHED.contains(&value);
            sa.st = sa.established.then_some(9);
            sa.state = Some(value.to_string());
        }
        (2, "established") => {
            sa.age = value.parse().ok().filter(|_| sa.established);
        }
        // What is left until it is renewed; the age stands before it.
        (2, "rekey-time" | "reauth-time") => {
            let ends = sa.age.zip(value.parse::<u64>().ok()).map(|(age, left)| age.saturating_add(left));
            sa.lifetime = [sa.lifetime, ends].into_iter().flatten().min();
        }
        (2, "local-host") => sa.source = Some(value.to_string()),
        (2, "remote-host") => sa.peer = value.to_string(),
        (2, "remote-port") => sa.port = value.parse().ok(),
        (2, "initiator") => *ours = value == "yes",
        (2, "initiator-spi") => spis[0] = spi(value).unwrap_or(IkeSpi::ZERO),
        (2, "responder-spi") => spis[1] = spi(value).unwrap_or(IkeSpi::ZERO),
        _ => return,
    }
    sa.role = Some(if *ours { Role::Initiator } else { Role::Responder });
    sa.spis = Some(SpiPair { initiator: spis[0], responder: spis[1] });
}

/// `ipsec statusall`.
pub(super) fn statusall(text: &str) -> Option<Vec<ListedSa>> {
    let mut sas: Vec<ListedSa> = Vec::new();
    let title = text.contains("Status of IKE charon daemon") || text.contains("Security Associations (");
    for line in text.lines() {
        let line = line.trim();
        let Some((tag, rest)) = line.split_once(": ") else { continue };
        let rest = rest.trim_start();
        if let Some((name, number)) = tag.strip_suffix(']').and_then(|tag| tag.rsplit_once('[')) {
            if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
                continue;
            }
            let state = rest.split([' ', ',']).next().unwrap_or_default();
            if let Some((_, hosts)) = rest.split_once(", ").filter(|(_, hosts)| hosts.contains("...")) {
                let (local, remote) = hosts.split_once("...").unwrap_or_default();
                let mut sa = sa(name, &format!("[{number}]"), state);
                sa.source = Some(end(local.split('[').next().unwrap_or(local)).0);
                (sa.peer, sa.port) = end(remote.split('[').next().unwrap_or(remote));
                sa.age = rest.strip_prefix("ESTABLISHED ").and_then(rounded);
                sas.push(sa);
            } else if let (Some((version, spis_text)), Some(sa)) = (rest.split_once(" SPIs: "), sas.last_mut()) {
                let found = spis(&mut spis_text.split_whitespace());
                sa.version = version.strip_prefix("IKEv").and_then(|version| version.parse().ok());
                (sa.spis, sa.role) = (found.map(|(spis, _)| spis), found.map(|(_, role)| role));
                let marks = ["rekeying in ", "reauthentication in "].into_iter();
                let left = marks.filter_map(|mark| rounded(rest.split_once(mark)?.1)).min();
                sa.lifetime = sa.age.zip(left).map(|(age, left)| age.saturating_add(left));
            } else if let (Some(tasks), Some(sa)) = (rest.strip_prefix("Tasks active:"), sas.last_mut()) {
                add_task(sa, tasks);
            }
        } else if let (true, Some(received), Some(sent)) =
            (tag.ends_with('}'), before(rest, " bytes_i"), before(rest, " bytes_o"))
        {
            if let Some(sa) = sas.last_mut() {
                add_traffic(sa, None, packets(received), packets(sent));
            }
        } else if tag.ends_with('}') && rest.contains("reqid ") {
            add_child(&mut sas, rest.split(',').next().unwrap_or_default());
        }
    }
    (title || !sas.is_empty()).then_some(sas)
}
