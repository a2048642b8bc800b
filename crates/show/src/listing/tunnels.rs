//! Tables of IPsec tunnels of other makers, with both directions in one row: Cisco's `show crypto ipsec sa`, Juniper's `show
//! security ipsec security-associations` and `inactive-tunnels`, Palo Alto's `show vpn ipsec-sa` and `show vpn flow`,
//! Fortinet's `diagnose vpn tunnel list`.
//!
//! What there is of one peer is one row: how many tunnels are configured, how many have SAs, and the counters of the tunnel
//! through which least comes back.

use super::{end, first_word, is_address};
use model::ListedSa;
use std::collections::{BTreeMap, BTreeSet};

/// A tunnel, or what of a peer has SAs of its own.
#[derive(Default)]
struct Tunnel {
    name: String,
    local: Option<String>,
    peer: String,
    port: Option<u16>,
    up: bool,
    received: Option<u64>,
    sent: Option<u64>,
    age: Option<u64>,
    lifetime: Option<u64>,
}

/// One row for each pair of ends, in order of appearance.
fn by_peer(tunnels: Vec<Tunnel>) -> Vec<ListedSa> {
    let mut rows: Vec<ListedSa> = Vec::new();
    let mut at = BTreeMap::new();
    for tunnel in tunnels {
        let index = *at.entry((tunnel.local.clone(), tunnel.peer.clone())).or_insert(rows.len());
        if index == rows.len() {
            rows.push(ListedSa {
                source: tunnel.local,
                peer: tunnel.peer,
                name: Some(tunnel.name),
                ipsec: true,
                state: Some("DOWN".to_string()),
                phase2: Some(0),
                wanted: Some(0),
                ..ListedSa::default()
            });
        }
        let Some(row) = rows.get_mut(index) else { continue };
        let count = |of: Option<u32>, more: bool| Some(of.unwrap_or(0).saturating_add(u32::from(more)));
        (row.wanted, row.phase2) = (count(row.wanted, true), count(row.phase2, tunnel.up));
        if !tunnel.up {
            continue;
        }
        (row.established, row.st, row.state) = (true, Some(9), Some("UP".to_string()));
        row.port = row.port.or(tunnel.port);
        // Of several, the youngest SA has no more to say than that it was renewed.
        if row.age.is_none_or(|age| tunnel.age.is_some_and(|other| other > age)) {
            (row.age, row.lifetime) = (tunnel.age, tunnel.lifetime);
        }
        let Some(now) = tunnel.received.zip(tunnel.sent) else { continue };
        // A tunnel in good order does not hide one through which nothing comes back.
        row.traffic = Some(match (row.traffic.unwrap_or_default(), now) {
            ((0, before), (0, now)) => (0, before.max(now)),
            (before @ (0, 1..), _) => before,
            (_, now @ (0, 1..)) => now,
            (before, now) => (before.0.saturating_add(now.0), before.1.saturating_add(now.1)),
        });
    }
    rows
}

/// The number behind a label, `#pkts encaps: 4,` or `encap packets:  5361`.
fn number(line: &str, label: &str) -> Option<u64> {
    let digits = line.split_once(label)?.1.trim_start_matches([':', ' ', '\t', '=']);
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Cisco: a block for each pair of networks (`local ident`), whether it has SAs or not. None without such a block.
pub(super) fn cisco(text: &str) -> Option<Vec<ListedSa>> {
    let mut tunnels: Vec<Tunnel> = Vec::new();
    let (mut local, mut recognised) = (None, text.contains("There are no ipsec sas"));
    for line in text.lines().map(str::trim) {
        if let Some((_, rest)) = line.split_once("local addr") {
            local = Some(first_word(rest.trim_start_matches([':', ' '])).to_string());
        }
        if line.starts_with("local ident") || line.starts_with("local  ident") {
            tunnels.push(Tunnel { local: local.clone(), ..Tunnel::default() });
            continue;
        }
        let Some(tunnel) = tunnels.last_mut() else { continue };
        if line.starts_with("remote ident") {
            recognised = true;
        } else if let Some(rest) = line.strip_prefix("current_peer") {
            let mut words = rest.trim_start_matches([':', ' ']).split_whitespace();
            tunnel.peer = words.next().unwrap_or_default().trim_end_matches(',').to_string();
            tunnel.port = words.next().filter(|word| *word == "port").and(words.next()).and_then(|n| n.parse().ok());
            tunnel.name.clone_from(&tunnel.peer);
        } else if let Some((_, spi)) = line.split_once("current outbound spi") {
            let digits = first_word(spi.trim_start_matches([':', ' '])).trim_start_matches("0x");
            tunnel.up = digits.chars().next().is_some_and(|c| c.is_ascii_hexdigit())
                && !digits.split('(').next().unwrap_or_default().bytes().all(|b| b == b'0');
        } else if line.starts_with("#pkts") {
            tunnel.sent = number(line, "#pkts encaps").or(tunnel.sent);
            tunnel.received = number(line, "#pkts decaps").or(tunnel.received);
        }
    }
    // A peer that may be anyone is a template, and no tunnel.
    tunnels.retain(|tunnel| !tunnel.peer.is_empty() && !matches!(tunnel.peer.as_str(), "0.0.0.0" | "::"));
    recognised.then(|| by_peer(tunnels))
}

/// Juniper: rows that begin with `<` or `>` and the tunnel's number, blocks of `detail`, and rows of tunnels that are down.
/// None without such a table.
pub(super) fn juniper(text: &str) -> Option<Vec<ListedSa>> {
    let mut tunnels: Vec<Tunnel> = Vec::new();
    let (mut recognised, mut inactive) = (false, false);
    let mut names = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("Total active tunnels:") || line.starts_with("Total inactive tunnels") {
            (recognised, inactive) = (true, line.contains("inactive"));
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let digits = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
        // `<131073 ESP:aes-cbc-256/sha1 62bdd781 20842/ unlim - root 4500 1.2.3.4`
        if let (Some(first), Some(peer)) = (words.first(), words.iter().rev().find(|word| is_address(word)))
            && let Some(id) = first.strip_prefix(['<', '>']).filter(|id| digits(id))
            && words.get(1).is_some_and(|word| word.contains(':'))
        {
            recognised = true;
            let name = format!("tunnel {id}");
            // The other direction is a row of its own.
            if names.insert(name.clone()) {
                let port = words.iter().rev().nth(1).and_then(|port| port.parse().ok());
                tunnels.push(Tunnel { name, peer: (*peer).to_string(), port, up: true, ..Tunnel::default() });
            }
        } else if let (true, [id, port, tries, fails, _, peer, ..]) = (inactive, words.as_slice())
            && [id, port, tries, fails].iter().all(|word| digits(word))
            && is_address(peer)
        {
            tunnels.push(Tunnel { name: format!("tunnel {id}"), peer: (*peer).to_string(), ..Tunnel::default() });
        } else if let Some(rest) = line.strip_prefix("ID:").filter(|rest| rest.contains("Virtual-system")) {
            recognised = true;
            let id = first_word(rest).trim_end_matches(',');
            tunnels.push(Tunnel { name: format!("tunnel {id}"), ..Tunnel::default() });
        } else if let Some(tunnel) = tunnels.last_mut().filter(|_| !inactive) {
            if let Some((local, remote)) =
                line.strip_prefix("Local Gateway:").and_then(|rest| rest.split_once(", Remote Gateway:"))
            {
                (tunnel.local, tunnel.peer) = (Some(local.trim().to_string()), first_word(remote).to_string());
            } else if line.starts_with("Direction:") {
                // A tunnel without SAs has a block without directions.
                tunnel.up = true;
            }
        }
    }
    tunnels.retain(|tunnel| !tunnel.peer.is_empty());
    recognised.then(|| by_peer(tunnels))
}

/// Palo Alto's `show vpn ipsec-sa`: a row has the gateway's number, the tunnel's, the peer, and the SAs behind the algorithms.
/// None without such a table.
pub(super) fn palo_alto(text: &str) -> Option<Vec<ListedSa>> {
    let (mut tunnels, mut recognised) = (Vec::new(), text.contains("Show IPSec SA:"));
    for line in text.lines() {
        if line.contains("TnID") && line.contains("Tunnel(Gateway)") {
            recognised = true;
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let algorithms = words.iter().position(|word| word.starts_with("ESP/") || word.starts_with("AH/"));
        let Some((at, peer)) = algorithms.zip(words.get(2).filter(|word| is_address(word))).filter(|_| recognised)
        else {
            continue;
        };
        let lifetime: Option<u64> = words.get(at + 3).and_then(|life| life.split('/').next()?.parse().ok());
        let left: Option<u64> = words.get(at + 4).and_then(|left| left.parse().ok());
        tunnels.push(Tunnel {
            name: words.get(3..at).map(|name| name.join(" ")).unwrap_or_default(),
            peer: (*peer).to_string(),
            up: true,
            age: lifetime.zip(left).and_then(|(life, left)| life.checked_sub(left)),
            lifetime,
            ..Tunnel::default()
        });
    }
    recognised.then(|| by_peer(tunnels))
}

/// Palo Alto's `show vpn flow`: a table of tunnels with their states, or blocks of one each with its counters. None without
/// such lines.
pub(super) fn palo_alto_flow(text: &str) -> Option<Vec<ListedSa>> {
    let mut tunnels: Vec<Tunnel> = Vec::new();
    let (mut recognised, mut table) = (false, false);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.contains("peer-ip") && line.contains("local-ip") && line.contains("state") {
            (recognised, table) = (true, true);
            continue;
        }
        let state = words.iter().position(|word| matches!(*word, "active" | "init" | "inactive"));
        if let Some(at) = state.filter(|_| table)
            && let (Some(local), Some(peer)) = (words.get(at + 2), words.get(at + 3))
            && is_address(local)
            && is_address(peer)
        {
            tunnels.push(Tunnel {
                name: words.get(1..at).map(|name| name.join(" ")).unwrap_or_default(),
                local: Some((*local).to_string()),
                peer: (*peer).to_string(),
                up: words.get(at) == Some(&"active"),
                ..Tunnel::default()
            });
            continue;
        }
        if let ["tunnel", name] = words.as_slice() {
            table = false;
            tunnels.push(Tunnel { name: (*name).to_string(), ..Tunnel::default() });
            continue;
        }
        let (Some((key, value)), Some(tunnel)) = (line.trim().split_once(':'), tunnels.last_mut().filter(|_| !table))
        else {
            continue;
        };
        let value = value.trim();
        match key {
            "type" if value == "IPSec" => recognised = true,
            // The networks have names of the same kind, further below.
            "local ip" if tunnel.local.is_none() => tunnel.local = Some(value.to_string()),
            "peer ip" if tunnel.peer.is_empty() => tunnel.peer = value.to_string(),
            "state" => tunnel.up = value == "active",
            "hard lifetime" => tunnel.lifetime = number(line, "hard lifetime"),
            "latest rekey" => tunnel.age = number(line, "latest rekey"),
            "encap packets" => tunnel.sent = value.parse().ok(),
            "decap packets" => tunnel.received = value.parse().ok(),
            _ => {}
        }
    }
    tunnels.retain(|tunnel| !tunnel.peer.is_empty());
    recognised.then(|| by_peer(tunnels))
}

/// Fortinet's `diagnose vpn tunnel list`: a block for each tunnel, in it its counters and a part for each pair of networks.
/// None without such a block.
pub(super) fn fortinet(text: &str) -> Option<Vec<ListedSa>> {
    let mut tunnels: Vec<Tunnel> = Vec::new();
    // Where the networks of the tunnel that is read begin.
    let mut of_tunnel: Option<Tunnel> = None;
    let mut recognised = text.contains("list all ipsec tunnel in vd");
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("name=")
            && line.contains("->")
        {
            recognised = true;
            let ends = rest.split_whitespace().find_map(|word| word.split_once("->"));
            of_tunnel = ends.map(|(local, remote)| {
                let (peer, port) = end(remote);
                let local = Some(end(local).0);
                Tunnel { name: first_word(rest).to_string(), local, peer, port, ..Tunnel::default() }
            });
        } else if let (Some(tunnel), Some(rest)) = (of_tunnel.as_mut(), line.strip_prefix("stat:")) {
            (tunnel.received, tunnel.sent) = (number(rest, "rxp="), number(rest, "txp="));
        } else if let (Some(tunnel), Some(rest)) = (of_tunnel.as_mut(), line.strip_prefix("proxyid="))
            && let Some(up) = number(rest, " sa=")
        {
            // The counters are the tunnel's: they are told once.
            tunnels.push(Tunnel {
                name: tunnel.name.clone(),
                local: tunnel.local.clone(),
                peer: tunnel.peer.clone(),
                port: tunnel.port.filter(|port| *port != 0),
                up: up > 0,
                received: tunnel.received.take(),
                sent: tunnel.sent.take(),
                ..Tunnel::default()
            });
        }
    }
    // A tunnel that waits for peers to dial in is a template.
    tunnels.retain(|tunnel| !matches!(tunnel.peer.as_str(), "0.0.0.0" | "::"));
    recognised.then(|| by_peer(tunnels))
}
