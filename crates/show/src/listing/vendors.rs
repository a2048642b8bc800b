//! Juniper's `show security ike security-associations`, Fortinet's `diagnose vpn ike gateway list`, Palo Alto's `show vpn
//! ike-sa`.

use super::{end, first_word, is_address, spi};
use model::{ExchangeMode, ListedSa, Role};
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
    let (mut sas, mut recognised) = (Vec::new(), false);
    for line in text.lines() {
        if line.contains("Index") && line.contains("Initiator cookie") {
            recognised = true;
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
            "IPsec SA" => {
                // created n/m  established n/m
                let up = value
                    .split_once("established")
                    .and_then(|(_, rest)| first_word(rest).split('/').next()?.parse().ok());
                gateway.phase2 = up;
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
                        let word = first_word(value);
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

/// Palo Alto: a row has the role, the mode, and later the version. Its ST is not racoon's; what has a date is established.
/// None without such a table.
pub(super) fn palo_alto(text: &str) -> Option<Vec<ListedSa>> {
    let (mut sas, mut recognised) = (Vec::new(), false);
    for line in text.lines() {
        if line.contains("GwID/client IP") && line.contains("Peer-Address") && line.contains("Role") {
            recognised = true;
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let role = words.iter().position(|word| matches!(*word, "Init" | "Resp"));
        let Some((at, peer)) = role.zip(words.get(1).filter(|word| is_address(word))).filter(|_| recognised) else {
            continue;
        };
        let behind = words.get(at + 1..).unwrap_or_default();
        let (of_mode, exchange) = behind.first().map_or((None, None), |word| mode(word));
        let version = behind.iter().find_map(|word| word.strip_prefix('v')?.parse::<u8>().ok());
        let dated = behind.iter().any(|word| word.split(':').count() == 3);
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
            ..ListedSa::default()
        });
    }
    recognised.then_some(sas)
}
