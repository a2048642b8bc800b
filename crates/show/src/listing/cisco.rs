//! Cisco's IOS and ASA: `show crypto isakmp sa`, `show crypto ikev1 sa`, `show crypto ikev2 sa`, `show crypto session`, `show
//! vpn-sessiondb l2l`.

use super::{first_word, spi};
use model::{ExchangeMode, ListedSa, Role};
use std::collections::BTreeSet;
use wire::SpiPair;

/// ST of a state of IOS, or of the ASA, which names the message it waits for.
fn st(state: &str) -> Option<(u8, Option<Role>)> {
    let found = match state {
        "MM_NO_STATE" | "AG_NO_STATE" => (3, None),
        "MM_SA_SETUP" => (5, None),
        "MM_KEY_EXCH" | "AG_INIT_EXCH" => (7, None),
        "MM_KEY_AUTH" | "AG_AUTH" => (8, None),
        "QM_IDLE" | "MM_ACTIVE" | "AM_ACTIVE" | "MM_ACTIVE_REKEY" => (9, None),
        "MM_WAIT_MSG2" | "AM_WAIT_MSG2" => (3, Some(Role::Initiator)),
        "MM_WAIT_MSG3" | "AM_WAIT_MSG3" => (3, Some(Role::Responder)),
        "MM_WAIT_MSG4" => (5, Some(Role::Initiator)),
        "MM_WAIT_MSG5" => (5, Some(Role::Responder)),
        "MM_WAIT_MSG6" => (7, Some(Role::Initiator)),
        _ => return None,
    };
    Some(found)
}

/// Whether a word may be an address. Listings that were made anonymous have some that are none.
fn is_address(word: &str) -> bool {
    let colons = word.matches(':').count();
    word.bytes().all(|b| b.is_ascii_hexdigit() || b == b'.' || b == b':')
        && (word.matches('.').count() == 3 && colons == 0 || word.contains("::") || colons > 2)
}

/// Address and port of `10.0.0.1/500`.
fn socket(word: &str) -> Option<(String, Option<u16>)> {
    let (address, port) = word.rsplit_once('/')?;
    (is_address(address)).then(|| (address.to_string(), port.parse().ok())).filter(|(_, port)| port.is_some())
}

/// The SAs of IKEv1; none if there are no such lines.
pub(super) fn isakmp(text: &str) -> Option<Vec<ListedSa>> {
    let mut rows: Vec<(Vec<String>, ListedSa)> = Vec::new();
    let (mut peer, mut said) = (None, None);
    let mut recognised = text.contains("Crypto ISAKMP SA") || text.contains("no IKEv1 SAs");
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        // The ASA's blocks: `1   IKE Peer: 192.0.2.1`, then `Role : initiator` and `State : MM_ACTIVE`.
        if let Some((_, rest)) = line.split_once("IKE Peer:") {
            peer = Some(first_word(rest).to_string());
        }
        for (name, role) in [("initiator", Role::Initiator), ("responder", Role::Responder)] {
            if line.contains("Role") && words.contains(&name) {
                said = Some(role);
            }
        }
        let state = words.iter().map(|word| word.to_ascii_uppercase()).find_map(|word| Some((st(&word)?, word)));
        let Some(((st, waits), state)) = state else {
            recognised |= detail(&words).map(|row| rows.push((Vec::new(), row))).is_some();
            continue;
        };
        recognised = true;
        let mut ends: Vec<String> = words.iter().map(|word| (*word).to_string()).filter(|w| is_address(w)).collect();
        if ends.is_empty() {
            ends.extend(peer.take());
        }
        let role = match () {
            () if words.contains(&"Init") => Some(Role::Initiator),
            () if words.contains(&"Resp") => Some(Role::Responder),
            () => waits.or(said.take()),
        };
        let number = words.iter().find(|word| word.bytes().all(|b| b.is_ascii_digit())).copied().unwrap_or_default();
        let aggressive = state.starts_with('A');
        let mode = if aggressive { ExchangeMode::Aggressive } else { ExchangeMode::IdentityProtection };
        let row = ListedSa {
            name: Some(format!("conn-id {number} {}", ends.join(" "))),
            version: Some(1),
            role,
            mode: (state != "QM_IDLE").then_some(mode),
            st: Some(st),
            established: st == 9,
            state: Some(if line.contains("(deleted)") { format!("{state} (deleted)") } else { state }),
            ..ListedSa::default()
        };
        rows.push((ends, row));
    }
    recognised.then(|| with_ends(rows))
}

/// `29609 100.0.10.2 100.13.220.2 VRF ACTIVE aes sha psk 16 00:01:47 D`, of `show crypto isakmp sa detail`: an SA with a
/// lifetime that runs is established.
fn detail(words: &[&str]) -> Option<ListedSa> {
    let (number, rest) = words.split_first()?;
    let [local, peer, ..] = rest else { return None };
    let sound = number.bytes().all(|b| b.is_ascii_digit()) && is_address(local) && is_address(peer);
    (sound && rest.contains(&"ACTIVE")).then(|| ListedSa {
        source: Some((*local).to_string()),
        peer: (*peer).to_string(),
        name: Some(format!("conn-id {number}")),
        version: Some(1),
        st: Some(9),
        established: true,
        state: Some("ACTIVE".to_string()),
        ..ListedSa::default()
    })
}

/// IOS lists `dst src`: the responder, and the initiator. Which of them was asked is the one in every row.
fn with_ends(rows: Vec<(Vec<String>, ListedSa)>) -> Vec<ListedSa> {
    let first = rows.iter().find_map(|(ends, _)| ends.get(1).and(ends.first())).cloned();
    let several = rows.iter().filter(|(ends, _)| ends.len() == 2).count() > 1;
    // What a failed attempt left behind is a row of the same two ends: it does not tell them apart.
    let seconds: BTreeSet<&String> = rows.iter().filter_map(|(ends, _)| ends.get(1)).collect();
    let common = first.filter(|first| {
        several
            && seconds.len() > 1
            && rows.iter().all(|(ends, _)| ends.first() == Some(first) || !same_family(ends, first))
    });
    rows.into_iter()
        .map(|(ends, mut row)| {
            let mut ends = ends.into_iter();
            match (ends.next(), ends.next()) {
                (Some(local), Some(peer)) if common.is_some() => {
                    (row.source, row.peer, row.role) = (Some(local), peer, row.role.or(Some(Role::Responder)));
                }
                (Some(peer), Some(local)) => {
                    (row.source, row.peer, row.role) = (Some(local), peer, row.role.or(Some(Role::Initiator)));
                }
                (Some(peer), None) => row.peer = peer,
                _ if row.peer.is_empty() => row.peer = row.name.clone().unwrap_or_default(),
                _ => {}
            }
            row
        })
        .collect()
}

/// IPv4 and IPv6 rows have different ends in common.
fn same_family(ends: &[String], address: &str) -> bool {
    ends.first().is_some_and(|end| end.contains(':') == address.contains(':'))
}

/// The SAs of IKEv2; none if there are no such lines.
pub(super) fn ikev2(text: &str) -> Option<Vec<ListedSa>> {
    let recognised = ["Tunnel-id", "Crypto IKEv2 SA", "Crypto IKEv2  SA", "IKEv2 SAs:", "no IKEv2 SAs"]
        .iter()
        .any(|title| text.contains(title));
    let mut sas: Vec<ListedSa> = Vec::new();
    for line in text.lines().filter(|_| recognised) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some(row) = ikev2_row(&words) {
            sas.push(row);
            continue;
        }
        let Some(sa) = sas.last_mut() else { continue };
        match words.as_slice() {
            ["Local", address] => sa.source = socket(address).map(|(address, _)| address),
            ["Remote", address] => {
                if let Some((address, port)) = socket(address) {
                    (sa.peer, sa.port) = (address, port);
                }
            }
            ["Local", "spi:", local, "Remote", "spi:", remote, ..] => {
                if let (Some(local), Some(remote)) = (spi(local), spi(remote)) {
                    let ours = sa.role != Some(Role::Responder);
                    let (initiator, responder) = if ours { (local, remote) } else { (remote, local) };
                    sa.spis = Some(SpiPair { initiator, responder });
                }
            }
            // No algorithm yet: the first message has no answer.
            ["Encr:", "Unknown", ..] if !sa.established => (sa.role, sa.st) = (Some(Role::Initiator), Some(3)),
            ["Status", "Description:", end, ..] if sa.role.is_none() => {
                sa.role = match *end {
                    "Initiator" => Some(Role::Initiator),
                    "Responder" => Some(Role::Responder),
                    _ => None,
                };
            }
            ["Life/Active", "Time:", times, ..] => {
                if let Some((lifetime, age)) = times.split_once('/') {
                    (sa.lifetime, sa.age) = (lifetime.parse().ok(), age.parse().ok());
                }
            }
            ["Child", "sa:", ..] => sa.phase2 = Some(sa.phase2.unwrap_or(0).saturating_add(1)),
            _ => {}
        }
    }
    recognised.then_some(sas)
}

/// `3 10.0.0.1/4500 10.0.0.2/4500 none/none READY`, with a role on the ASA, without addresses where they are too long.
fn ikev2_row(words: &[&str]) -> Option<ListedSa> {
    let (number, rest) = words.split_first()?;
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let state = rest.iter().find(|word| matches!(**word, "READY" | "IN-NEG" | "DELETE" | "DELETED"))?;
    let mut ends = rest.iter().filter_map(|word| socket(word));
    let (local, remote) = (ends.next(), ends.next());
    let role = match rest.last().copied() {
        Some("INITIATOR") => Some(Role::Initiator),
        Some("RESPONDER") => Some(Role::Responder),
        _ => None,
    };
    let established = *state != "IN-NEG";
    // Long addresses stand in lines of their own, below.
    let (peer, port) = remote.unwrap_or_else(|| (format!("tunnel {number}"), None));
    Some(ListedSa {
        source: local.map(|(address, _)| address),
        peer,
        port,
        name: Some(format!("tunnel {number}")),
        version: Some(2),
        role,
        st: established.then_some(9),
        state: Some((*state).to_string()),
        established,
        ..ListedSa::default()
    })
}

/// A line about a session's flows: how many there are and have SAs, and their packets in and out.
fn flow(sa: &mut ListedSa, line: &str, words: &[&str]) {
    let number_behind = |name: &str| -> Option<u64> {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1)?.trim_end_matches(',').parse().ok()
    };
    let (received, sent) = (number_behind("dec'ed"), number_behind("enc'ed"));
    if let (Some(n), None) | (None, Some(n)) = (received, sent) {
        let (before_in, before_out) = sa.traffic.unwrap_or_default();
        let add = |before: u64, more: bool| if more { before.saturating_add(n) } else { before };
        sa.traffic = Some((add(before_in, received.is_some()), add(before_out, sent.is_some())));
    }
    if line.contains("Active SAs:")
        && let Some(active) = number_behind("SAs:")
    {
        sa.wanted = Some(sa.wanted.unwrap_or(0).saturating_add(1));
        sa.phase2 = Some(sa.phase2.unwrap_or(0).saturating_add(u32::from(active > 0)));
    }
}

/// The IKE SAs of `show crypto session`; none if there are no such lines.
pub(super) fn session(text: &str) -> Option<Vec<ListedSa>> {
    let recognised = text.contains("Crypto session current status")
        // Pasted without its title.
        || text.contains("Session status: ") && text.contains("Peer: ") && text.contains(" SA: local ");
    let mut sas: Vec<ListedSa> = Vec::new();
    let mut version = None;
    let (mut local, mut negotiating) = (None, false);
    // A session that is down and has no SA: nothing negotiates for this peer.
    let (mut idle, mut down) = (None, false);
    for line in text.lines().filter(|_| recognised) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some((_, status)) = line.split_once("Session status:") {
            negotiating = status.trim().starts_with("DOWN");
            down = status.trim() == "DOWN";
            sas.extend(idle.take());
        }
        if let ["Peer:", address, "port", port, ..] = words.as_slice()
            && down
            && is_address(address)
        {
            let (peer, port, state) = ((*address).to_string(), port.parse().ok(), Some("DOWN".to_string()));
            idle = Some(ListedSa { peer, port, state, ..ListedSa::default() });
        }
        if let Some((name, _)) = line.split_once(" SA: local ") {
            version = if name.contains("IKEv2") { Some(2) } else { Some(1) };
        }
        let behind = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            socket(words.get(at + 1)?)
        };
        local = behind("local").map(|(address, _)| address).or(local);
        if let Some(sa) = sas.last_mut() {
            flow(sa, line, &words);
        }
        let Some((peer, port)) = behind("remote") else { continue };
        idle = None;
        let established = words.contains(&"Active") && !negotiating;
        let state = words.last().map(|word| (*word).to_string());
        let (name, st, source) = (Some(format!("SA {}", sas.len() + 1)), established.then_some(9), local.take());
        sas.push(ListedSa { source, peer, port, name, version, st, established, state, ..ListedSa::default() });
    }
    sas.extend(idle);
    recognised.then_some(sas)
}

/// The IPsec sessions of the ASA's `show vpn-sessiondb l2l`, also with `detail`; none if there are no such lines.
pub(super) fn sessiondb(text: &str) -> Option<Vec<ListedSa>> {
    let mut sas: Vec<ListedSa> = Vec::new();
    let mut open = false;
    for line in text.lines().map(str::trim) {
        // `Name : value`, two of them in most lines.
        let value = |name: &str| {
            let (before, behind) = line.split_once(name)?;
            let named = before.is_empty() || before.ends_with(' ');
            let behind = behind.trim_start().strip_prefix(':').filter(|_| named)?.trim_start();
            Some(behind.split("  ").next().unwrap_or(behind).trim())
        };
        if line.starts_with("Connection") && value("Connection").is_some() {
            sas.push(ListedSa { established: true, st: Some(9), ..ListedSa::default() });
            open = true;
            continue;
        }
        let Some(sa) = sas.last_mut().filter(|_| open) else { continue };
        if let (Some(index), Some(address)) = (value("Index"), value("IP Addr")) {
            (sa.name, sa.peer) = (Some(format!("session {index}")), first_word(address).to_string());
        }
        if let Some(protocol) = value("Protocol") {
            sa.version = Some(if protocol.contains("IKEv2") { 2 } else { 1 });
            // Sessions of browsers and of TLS are none of ours.
            open = protocol.contains("IKE") || protocol.to_ascii_lowercase().contains("ipsec");
            if !open {
                sas.pop();
                continue;
            }
        }
        if let (Some(sent), Some(received)) = (value("Bytes Tx"), value("Bytes Rx")) {
            sa.traffic = received.parse().ok().zip(sent.parse().ok());
        }
        if let Some(duration) = value("Duration") {
            sa.age = age(duration);
            open = false; // what `detail` has of each tunnel comes behind
        }
    }
    sas.retain(|sa| is_address(&sa.peer));
    (!sas.is_empty()).then_some(sas)
}

/// `10d 7h:26m:52s`, or `6:16:26` as it was once, in seconds.
fn age(text: &str) -> Option<u64> {
    let mut seconds: u64 = 0;
    if text.split(':').all(|part| part.bytes().all(|b| b.is_ascii_digit())) {
        let longer = |sum: u64, part: &str| sum.checked_mul(60)?.checked_add(part.parse().ok()?);
        return text.split(':').try_fold(0, longer);
    }
    for part in text.split([' ', ':']).filter(|part| !part.is_empty()) {
        let unit = part.chars().last()?;
        let number: u64 = part.strip_suffix(unit)?.parse().ok()?;
        let unit = match unit {
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
    }
    Some(seconds)
}
