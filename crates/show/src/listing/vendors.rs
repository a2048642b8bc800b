//! Juniper's `show security ike security-associations`, Fortinet's `diagnose vpn ike gateway list`, Palo Alto's `show vpn
//! ike-sa`.

use super::{end, first_word, is_address, spi, time};
use model::{ExchangeMode, ListedSa, Role, Tally};
use wire::{IkeSpi, SpiPair};

fn mode(word: &str) -> (Option<u8>, Option<ExchangeMode>) {
    match word.to_ascii_lowercase().as_str() {
        "main" => (Some(1), Some(ExchangeMode::IdentityProtection)),
        "aggr" | "aggressive" => (Some(1), Some(ExchangeMode::Aggressive)),
        "ikev2" => (Some(2), None),
        _ => (None, None),
    }
}

/// A cookie as Juniper prints it: always 16 digits.
fn cookie(word: &str) -> Option<IkeSpi> {
    (word.len() == 16).then(|| spi(word)).flatten()
}

/// Juniper: a row has two cookies side by side; the address stands behind the mode, or in older versions behind the index.
/// None without such a table.
pub(super) fn juniper(text: &str) -> Option<Vec<ListedSa>> {
    let (mut sas, mut recognised, mut in_block) = (Vec::new(), false, false);
    for line in text.lines() {
        if line.contains("Index") && line.contains("Initiator cookie") {
            (recognised, in_block) = (true, false);
            continue;
        }
        if let Some((peer, rest)) = line.trim().strip_prefix("IKE peer ").and_then(|rest| rest.split_once(',')) {
            (recognised, in_block) = (true, true);
            let name = rest.split_once("Gateway Name:").map(|(_, name)| name.trim().to_string());
            sas.push(ListedSa { peer: peer.trim().to_string(), name, ..ListedSa::default() });
            continue;
        }
        if let Some(sa) = sas.last_mut().filter(|_| in_block) {
            juniper_detail(sa, line.trim());
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_row = recognised && words.first().is_some_and(|w| w.bytes().all(|b| b.is_ascii_digit()));
        let cookies = words.windows(2).enumerate().find_map(|(at, pair)| match pair {
            [i, r] => Some((at, cookie(i)?, cookie(r)?)),
            _ => None,
        });
        let Some((at, initiator, responder)) = cookies.filter(|_| is_row) else { continue };
        let Some(peer) = words.iter().find(|word| is_address(word)) else { continue };
        let before = words.get(1..at).unwrap_or_default();
        let state: Vec<&str> = before.iter().copied().filter(|word| !is_address(word)).collect();
        let state = state.join(" ");
        let established = matches!(state.as_str(), "UP" | "Matured");
        let (version, mode) = words.get(at + 2).map_or((None, None), |word| mode(word));
        sas.push(ListedSa {
            peer: (*peer).to_string(),
            version,
            mode,
            spis: Some(SpiPair { initiator, responder }),
            st: established.then_some(9),
            state: Some(state),
            established,
            ..ListedSa::default()
        });
    }
    recognised.then_some(sas)
}

/// A line of a block of Juniper's `detail`.
fn juniper_detail(sa: &mut ListedSa, line: &str) {
    let behind = |label: &str| line.split_once(label).map(|(_, rest)| rest.split(',').next().unwrap_or(rest).trim());
    if line.starts_with("Role:") {
        sa.role = Some(if behind("Role:") == Some("Initiator") { Role::Initiator } else { Role::Responder });
        sa.state = behind("State:").map(str::to_string);
        sa.established = matches!(sa.state.as_deref(), Some("UP" | "Matured"));
        sa.st = sa.established.then_some(9);
    } else if let (Some(i), Some(r)) = (behind("Initiator cookie:"), behind("Responder cookie:")) {
        sa.spis = cookie(i).zip(cookie(r)).map(|(initiator, responder)| SpiPair { initiator, responder });
    } else if let Some(word) = behind("Exchange type:") {
        (sa.version, sa.mode) = mode(word);
    } else if let (Some(local), Some(remote)) = (behind("Local:"), behind("Remote:")) {
        // Below, in a negotiation of phase 2, stand the same words.
        if sa.source.is_none() {
            sa.source = Some(end(local).0);
            (sa.peer, sa.port) = end(remote);
        }
    } else if let Some(counts) = behind("IPSec security associations:") {
        let number = |text: &str| first_word(text).parse::<u32>().ok();
        let deleted = line.split_once("created,").and_then(|(_, rest)| number(rest));
        // Each direction counts.
        let there = number(counts).zip(deleted).map(|(created, deleted)| created.saturating_sub(deleted).div_ceil(2));
        sa.phase2 = there.filter(|_| sa.established);
    } else if let Some(word) = behind("Phase 2 negotiations in progress:") {
        // It goes on being listed when it is over.
        let asks = word != "0" && sa.established && sa.phase2 == Some(0);
        sa.asking = asks.then(|| format!("{word} negotiations of phase 2"));
    }
}

/// Fortinet: a block for each gateway, in it lines with a name and a colon, and for each IKE SA an `id/spi` first. None
/// without such a block.
pub(super) fn fortinet(text: &str) -> Option<Vec<ListedSa>> {
    let mut sas: Vec<ListedSa> = Vec::new();
    let (mut gateway, mut in_sa, mut recognised) = (ListedSa::default(), false, false);
    for line in text.lines() {
        let Some((key, value)) = line.trim().split_once(':') else { continue };
        let value = value.trim();
        match key {
            "name" => (gateway, in_sa) = (ListedSa { name: Some(value.to_string()), ..ListedSa::default() }, false),
            "version" => gateway.version = value.parse().ok(),
            "addr" => {
                if let Some((local, remote)) = value.split_once(" -> ") {
                    gateway.source = Some(end(local).0);
                    (gateway.peer, gateway.port) = end(first_word(remote));
                    recognised |= gateway.name.is_some();
                }
            }
            "created" if !in_sa => gateway.tally = value.split('s').next().and_then(|s| s.parse().ok()).map(tally_of),
            "IKE SA" => {
                if let (Some((_, begun)), Some((_, up))) = (counted(value, "created"), counted(value, "established")) {
                    gateway.tally.get_or_insert_default().ike = (begun, up);
                }
            }
            "IPsec SA" => {
                // `created now/ever  established now/ever`
                let (begun, up) = (counted(value, "created"), counted(value, "established"));
                gateway.phase2 = up.map(|(now, _)| now);
                if let (Some((_, begun)), Some((_, up))) = (begun, up) {
                    gateway.tally.get_or_insert_default().children = (begun, up);
                }
            }
            "id/spi" if recognised => {
                let spis = value.split_whitespace().nth(1).and_then(|pair| pair.split_once('/'));
                let spis = spis.and_then(|(i, r)| Some(SpiPair { initiator: spi(i)?, responder: spi(r)? }));
                sas.push(ListedSa { spis, ..gateway.clone() });
                in_sa = true;
            }
            "direction" | "status" | "lifetime/rekey" if in_sa => {
                let Some(sa) = sas.last_mut() else { continue };
                match key {
                    "direction" if value == "initiator" => sa.role = Some(Role::Initiator),
                    "direction" => sa.role = Some(Role::Responder),
                    "status" => {
                        let word = first_word(value).trim_end_matches([',', ';']);
                        sa.established = word == "established";
                        sa.st = sa.established.then_some(9);
                        sa.state = Some(word.to_string());
                        // `established 448-448s ago`
                        sa.age =
                            value.split_whitespace().nth(1).and_then(|age| age.split(['-', 's']).next()?.parse().ok());
                        if !sa.established {
                            (sa.age, sa.phase2) = (None, Some(0));
                        }
                    }
                    _ => sa.lifetime = value.split('/').next().and_then(|life| life.parse().ok()),
                }
            }
            _ => {}
        }
    }
    recognised.then_some(sas)
}

/// Fortinet's `get vpn ipsec tunnel summary`: `'hq' 192.0.2.33:0  selectors(total,up): 1/1  rx(pkt,err): 19/0  tx(pkt,err): 20/0`.
/// A tunnel of which no selector is up has no SA, whatever its phase 1 does. None without such a line.
pub(super) fn fortinet_summary(text: &str) -> Option<Vec<ListedSa>> {
    let mut sas = Vec::new();
    for line in text.lines() {
        let Some((name, rest)) = line.trim().strip_prefix('\'').and_then(|rest| rest.split_once("' ")) else {
            continue;
        };
        let pair = |label: &str| -> Option<(u64, u64)> {
            let (first, second) = first_word(rest.split_once(label)?.1).split_once('/')?;
            Some((first.parse().ok()?, second.parse().ok()?))
        };
        let Some((wanted, up)) = pair("selectors(total,up):") else { continue };
        let (peer, _) = end(first_word(rest));
        let received = pair("rx(pkt,err):").map(|(packets, _)| packets);
        let sent = pair("tx(pkt,err):").map(|(packets, _)| packets);
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        sas.push(ListedSa {
            peer,
            name: Some(name.to_string()),
            st: (up > 0).then_some(9),
            state: Some(if up > 0 { "UP" } else { "DOWN" }.to_string()),
            established: up > 0,
            phase2: Some(number(up)),
            wanted: Some(number(wanted)),
            traffic: received.zip(sent),
            ..ListedSa::default()
        });
    }
    (!sas.is_empty()).then_some(sas)
}

/// `created 2/48  established 0/12`: the two numbers behind a word, now and ever.
fn counted(line: &str, name: &str) -> Option<(u32, u32)> {
    let (now, ever) = first_word(line.split_once(name)?.1).split_once('/')?;
    Some((now.parse().ok()?, ever.parse().ok()?))
}

fn tally_of(seconds: u64) -> Tally {
    Tally { seconds: Some(seconds), ..Tally::default() }
}

/// Palo Alto: a row has the role, the mode, and later the version. Its ST is not racoon's; what has a date is established.
/// None without such a table.
pub(super) fn palo_alto(text: &str) -> Option<Vec<ListedSa>> {
    let (mut sas, mut recognised, mut second) = (Vec::new(), text.contains("no IKEv1 phase-1 SA found"), false);
    recognised |= text.contains("no IKEv2 SA found");
    for line in text.lines() {
        if line.contains("Peer-Address") && line.contains("Role") && line.contains("Gateway Name") {
            // Only the table of IKEv2 counts Child SAs, and has its state in words.
            (recognised, second) = (true, line.contains("Child"));
            continue;
        }
        // The table of phase 2, and of Child SAs: its rows have no peer's address.
        if line.contains("TnID") {
            second = false;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let role = words.iter().position(|word| matches!(*word, "Init" | "Resp"));
        let Some((at, peer)) = role.zip(words.get(1).filter(|word| is_address(word))).filter(|_| recognised) else {
            continue;
        };
        let behind = words.get(at + 1..).unwrap_or_default();
        let (of_mode, exchange) = behind.first().map_or((None, None), |word| mode(word));
        let version = behind.iter().find_map(|word| word.strip_prefix('v')?.parse::<u8>().ok());
        let clock = behind.iter().position(|word| word.split(':').count() == 3);
        let date = clock.and_then(|at| Some(format!("{} {}", behind.get(at.checked_sub(1)?)?, behind.get(at)?)));
        let created = date.and_then(|date| time::stamp(&date.replace('.', " "))).map(|at| at / 1000);
        if second {
            sas.push(palo_alto_v2(&words, at, peer, created));
            continue;
        }
        let dated = clock.is_some();
        let phase2 = words.last().and_then(|word| word.parse().ok()).filter(|_| version == Some(1));
        sas.push(ListedSa {
            peer: (*peer).to_string(),
            name: words.get(2..at).map(|name| name.join(" ")).filter(|name| !name.is_empty()),
            version: version.or(of_mode),
            role: Some(if words.get(at) == Some(&"Init") { Role::Initiator } else { Role::Responder }),
            mode: exchange,
            st: dated.then_some(9),
            state: Some(if dated { "established" } else { "negotiating" }.to_string()),
            established: dated,
            phase2,
            created,
            ..ListedSa::default()
        });
    }
    recognised.then_some(sas)
}

/// `1  203.0.113.2  gw-b  Init 12  PSK/DH20/A256/SHA384  Jun.01 10:00:00 Jun.01 18:00:00  0  1  Established`, the role at
/// this word: behind the dates stand retransmissions, Child SAs and the state.
fn palo_alto_v2(words: &[&str], role: usize, peer: &str, created: Option<u64>) -> ListedSa {
    let last_number = words.iter().rposition(|word| word.bytes().all(|b| b.is_ascii_digit()));
    let state = last_number.and_then(|at| words.get(at + 1..)).unwrap_or_default().join(" ");
    let established = matches!(state.as_str(), "Established" | "Mature" | "Dying");
    let sent = |name: &str| state.to_ascii_lowercase().contains(name);
    let st = match () {
        () if established => Some(9),
        () if sent("init") => Some(3),
        () if sent("auth") => Some(5),
        () => None,
    };
    ListedSa {
        peer: peer.to_string(),
        name: words.get(2..role).map(|name| name.join(" ")).filter(|name| !name.is_empty()),
        version: Some(2),
        role: Some(if words.get(role) == Some(&"Init") { Role::Initiator } else { Role::Responder }),
        st,
        state: Some(state).filter(|state| !state.is_empty()),
        established,
        phase2: last_number.filter(|_| established).and_then(|at| words.get(at)?.parse().ok()),
        created: created.filter(|_| established),
        ..ListedSa::default()
    }
}
