//! Our own: `shrike show`.

use super::{end, spi};
use model::{ListedSa, Role};
use wire::{IkeSpi, SpiPair};

/// The SAs, and those that ended with a reason; none if there are no such blocks.
pub(super) fn sas(text: &str) -> Option<Vec<ListedSa>> {
    let mut sas: Vec<ListedSa> = Vec::new();
    let mut recognised = false;
    // What the last label began may go on under itself.
    let mut reason: Option<String> = None;
    for line in text.lines() {
        if line.starts_with("IKE SAs: ") || line == "No IKE SAs." {
            recognised = true;
            continue;
        }
        if !recognised {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let words = line.trim();
        if indent == 0 && !words.is_empty() {
            close(&mut sas, &mut reason);
            sas.extend(head(words));
            continue;
        }
        let Some(sa) = sas.last_mut() else { continue };
        let (label, rest) = words.split_once(' ').unwrap_or((words, ""));
        let rest = rest.trim_start();
        match (indent, label) {
            (2, "why:") => reason = Some(rest.to_string()),
            (10, _) => {
                if let Some(reason) = &mut reason {
                    reason.push(' ');
                    reason.push_str(words);
                }
            }
            (2, "local") => sa.source = place(rest).map(|(address, _)| address),
            (2, "remote") => {
                if let Some((address, port)) = place(rest) {
                    (sa.peer, sa.port) = (address, port);
                }
            }
            (2, version) if version.starts_with("IKEv") => negotiation(sa, version, rest),
            (4, "in" | "out") => {
                let packets = rest.split_whitespace().nth(1).and_then(|packets| packets.parse::<u64>().ok());
                if let Some(packets) = packets.filter(|_| rest.contains(" packet")) {
                    let (received, sent) = sa.traffic.unwrap_or_default();
                    let more = |n: u64, other| if label == other { n.saturating_add(packets) } else { n };
                    sa.traffic = Some((more(received, "in"), more(sent, "out")));
                }
            }
            (2, _) if words.contains("  INSTALLED") || words.contains("  REKEYING") => {
                sa.phase2 = sa.phase2.map(|n| n.saturating_add(1));
            }
            _ => {}
        }
        if indent == 2 && label != "why:" {
            close(&mut sas, &mut reason);
        }
    }
    close(&mut sas, &mut reason);
    recognised.then_some(sas)
}

/// The reason that was read belongs to the last SA, with the code that its head gave.
fn close(sas: &mut [ListedSa], reason: &mut Option<String>) {
    if let (Some(sa), Some(why)) = (sas.last_mut(), reason.take()) {
        let code = sa.state.as_deref().and_then(|state| state.strip_prefix("FAILED ")).unwrap_or_default();
        sa.ended = Some(format!("{why} [{code}]"));
    }
}

/// `lab #1  ESTABLISHED 2s, rekeying in 3h`, `lab #1  FAILED PEER_LOST 7s ago`.
fn head(line: &str) -> Option<ListedSa> {
    let (name, rest) = line.split_once("  ")?;
    let mut words = rest.trim_start().split(' ');
    let state = words.next()?;
    let state = if state == "FAILED" { format!("FAILED {}", words.next()?) } else { state.to_string() };
    let sound = state.bytes().all(|b| b.is_ascii_uppercase() || b == b'_' || b == b' ');
    // A Child SA that ended alone is `lab #1 / net`.
    let ike = name.split(" / ").next().unwrap_or(name);
    let known = ike.rsplit_once(" #").is_some_and(|(_, number)| number.bytes().all(|b| b.is_ascii_digit()));
    let established = ["ESTABLISHED", "REKEYING", "REKEYED", "DELETING"].contains(&state.as_str());
    (sound && known).then(|| ListedSa {
        name: Some(name.to_string()),
        peer: name.to_string(),
        st: established.then_some(9),
        established,
        phase2: Some(0),
        state: Some(state),
        ..ListedSa::default()
    })
}

/// The address in `IDENTITY at ADDRESS:PORT, behind NAT`.
fn place(text: &str) -> Option<(String, Option<u16>)> {
    let (_, address) = text.rsplit_once(" at ")?;
    Some(end(address.split(", ").next().unwrap_or(address)))
}

/// `IKEv2   initiator, pre-shared-key, 0123456789abcdef_i* 0000000000000000_r, worker 0`.
fn negotiation(sa: &mut ListedSa, version: &str, rest: &str) {
    sa.version = version.strip_prefix("IKEv").and_then(|version| version.parse().ok());
    sa.role = match rest.split(',').next() {
        Some("initiator") => Some(Role::Initiator),
        Some("responder") => Some(Role::Responder),
        _ => None,
    };
    let value = |mark: &str| {
        let word = rest.split([' ', ',']).find(|word| word.trim_end_matches('*').ends_with(mark))?;
        spi(word.trim_end_matches('*').strip_suffix(mark)?)
    };
    if let Some(initiator) = value("_i") {
        sa.spis = Some(SpiPair { initiator, responder: value("_r").unwrap_or(IkeSpi::ZERO) });
    }
    if sa.st.is_none() {
        let answered = sa.spis.is_some_and(|spis| !spis.responder.is_zero());
        // How far IKEv1 is beyond that, the SPIs do not tell.
        sa.st = match (answered, sa.version) {
            (false, _) => Some(3),
            (true, Some(1)) => None,
            (true, _) => Some(5),
        };
    }
}
