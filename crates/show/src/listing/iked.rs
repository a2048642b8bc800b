//! OpenIKED: `ikectl show sa`.

use super::{end, spi};
use model::{ListedSa, Role};
use wire::{IkeSpi, SpiPair};

/// The SAs; none if there are no such lines.
pub(super) fn sas(text: &str) -> Option<Vec<ListedSa>> {
    let mut sas: Vec<ListedSa> = Vec::new();
    let mut recognised = false;
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("iked_sas:") {
            recognised = true;
            sas.extend(sa(rest));
        } else if line.starts_with("sa_childsas:") && line.contains(" in ") {
            // Each Child SA has a line for either direction.
            if let Some(sa) = sas.last_mut() {
                sa.phase2 = sa.phase2.map(|n| n.saturating_add(1));
            }
        }
    }
    recognised.then_some(sas)
}

/// `0x5500000e0a10 rspi 0x15f4 ispi 0xe1a8 10.9.0.2:4500->10.9.0.1:4500<IPV4/10.9.0.1>[] ESTABLISHED r natt ...`.
fn sa(line: &str) -> Option<ListedSa> {
    let value = |name: &str| {
        let mut words = line.split_whitespace().skip_while(|word| *word != name);
        words.nth(1).and_then(spi)
    };
    let (local, rest) = line.split_once("->")?;
    let local = local.split_whitespace().next_back()?;
    let remote = rest.split(['<', ' ']).next()?;
    // An identity may have blanks: the state is behind the address that a pool gave, which is in brackets.
    let (_, behind) = rest.split_once("] ").or_else(|| rest.split_once("> ")).or_else(|| rest.split_once(' '))?;
    let mut words = behind.split_whitespace();
    let state = words.next()?;
    let role = match words.next() {
        Some("i") => Some(Role::Initiator),
        Some("r") => Some(Role::Responder),
        _ => None,
    };
    // What is on its way out may have been established or not: it tells nothing.
    if matches!(state, "CLOSING" | "CLOSED") {
        return None;
    }
    let established = state == "ESTABLISHED";
    let st = match state {
        "ESTABLISHED" => Some(9),
        "INIT" | "COOKIE" | "SA_INIT" => Some(3),
        "EAP" | "EAP_SUCCESS" | "AUTH_REQUEST" | "AUTH_SUCCESS" | "VALID" | "EAP_VALID" => Some(5),
        _ => None,
    };
    let spis = SpiPair { initiator: value("ispi")?, responder: value("rspi").unwrap_or(IkeSpi::ZERO) };
    let (peer, port) = end(remote);
    Some(ListedSa {
        source: Some(end(local).0),
        peer,
        port,
        version: Some(2),
        spis: Some(spis),
        role,
        st,
        state: Some(state.to_string()),
        established,
        phase2: Some(0),
        ..ListedSa::default()
    })
}
