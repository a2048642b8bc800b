//! Listings of IPsec SAs alone: `setkey -D` (which `racoonctl show-sa esp` and `ipsec` print too), `ip xfrm state` and
//! `tmsh show net ipsec ipsec-sa`. Each direction is an SA of its own, and its peer is where it goes. Where both directions are
//! listed with counters, each says what the other carried.

use super::{end, first_word};
use model::ListedSa;
use std::collections::BTreeMap;

fn sa(source: &str, destination: &str) -> Option<ListedSa> {
    let ((source, _), (peer, port)) = (end(source), end(destination));
    let address = |text: &str| text.parse::<std::net::IpAddr>().is_ok();
    let both = address(&source) && address(&peer);
    let sa = ListedSa { source: Some(source), peer, port, ipsec: true, ..ListedSa::default() };
    both.then_some(sa)
}

/// Its state in PF_KEY's words: `larval` waits for a negotiation.
fn state(sa: &mut ListedSa, word: &str) {
    let word = word.to_ascii_lowercase();
    sa.established = matches!(word.as_str(), "mature" | "dying");
    sa.st = sa.established.then_some(9);
    sa.state = Some(word);
}

/// Notes for each SA what came in and what went out between its ends: packets that each SA carried, in order.
fn with_traffic(sas: &mut [ListedSa], carried: &[Option<u64>]) {
    let mut sums: BTreeMap<(String, String), u64> = BTreeMap::new();
    let ends = |sa: &ListedSa| Some((sa.source.clone()?, sa.peer.clone()));
    for (ends, count) in sas.iter().zip(carried).filter_map(|(sa, count)| Some((ends(sa)?, (*count)?))) {
        let sum = sums.entry(ends).or_default();
        *sum = sum.saturating_add(count);
    }
    for sa in sas {
        let Some((source, peer)) = ends(sa) else { continue };
        let sent = sums.get(&(source.clone(), peer.clone())).copied();
        sa.traffic = sums.get(&(peer, source)).copied().zip(sent);
    }
}

/// The word behind a name.
fn behind<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_once(name).map(|(_, rest)| rest.trim_start()).filter(|rest| !rest.is_empty())
}

fn number(text: &str) -> Option<u64> {
    let digits: &str = text.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// `setkey -D`: two addresses at the line's beginning, then indented lines. None if there is no such SA.
pub(super) fn setkey(text: &str) -> Option<Vec<ListedSa>> {
    let (mut sas, mut carried): (Vec<ListedSa>, Vec<Option<u64>>) = (Vec::new(), Vec::new());
    let (mut ends, mut recognised) = (None, text.lines().any(|line| line.trim() == "No SAD entries."));
    for line in text.lines() {
        if !line.starts_with([' ', '\t']) {
            let mut words = line.split_whitespace();
            ends = words.next().zip(words.next()).filter(|_| words.next().is_none());
        } else if line.contains(" mode=") && line.contains(" spi=") {
            let Some(mut new) = ends.take().and_then(|(source, destination)| sa(source, destination)) else { continue };
            recognised = true;
            new.name = behind(line, " spi=").map(|rest| format!("SPI {}", first_word(rest)));
            sas.push(new);
            carried.push(None);
        } else if let Some(sa) = sas.last_mut() {
            if let Some(word) = behind(line, " state=") {
                state(sa, first_word(word));
            } else if let Some(age) = behind(line, "diff:").filter(|_| line.contains("(s)")) {
                sa.age = number(age);
                sa.lifetime = behind(line, "hard:").and_then(number).filter(|life| *life > 0);
            } else if let (Some(packets), Some(count)) = (behind(line, "allocated:"), carried.last_mut()) {
                *count = number(packets);
            }
        }
    }
    with_traffic(&mut sas, &carried);
    recognised.then_some(sas)
}

/// `ip xfrm state`: `src A dst B`, then indented lines. None if there is no such SA.
pub(super) fn xfrm(text: &str) -> Option<Vec<ListedSa>> {
    let (mut sas, mut carried): (Vec<ListedSa>, Vec<Option<u64>>) = (Vec::new(), Vec::new());
    let mut ends = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("src ") {
            let mut words = rest.split_whitespace();
            let source = words.next();
            ends = source.zip(words.nth(1)).filter(|_| rest.contains(" dst "));
        } else if ["dir ", "socket ", "tmpl "].iter().any(|word| line.trim_start().starts_with(word)) {
            // `ip xfrm policy`, which begins alike: it lists what is wanted, not what is there.
            ends = None;
        } else if line.starts_with([' ', '\t']) && line.trim_start().starts_with("proto ") && line.contains(" spi ") {
            let Some(mut new) = ends.take().and_then(|(source, destination)| sa(source, destination)) else { continue };
            let spi = behind(line, " spi ").map(first_word).unwrap_or_default();
            // The kernel's placeholder: it has asked for an SA, and waits.
            state(&mut new, if spi == "0x00000000" || spi.starts_with("0x00000000(") { "larval" } else { "mature" });
            new.name = Some(format!("SPI {spi}"));
            sas.push(new);
            carried.push(None);
        } else if let (Some(sa), Some(count)) = (sas.last_mut(), carried.last_mut()) {
            if let Some(rest) = line.trim_start().strip_prefix("expire add:") {
                sa.lifetime = behind(rest, "hard").and_then(number).filter(|life| *life > 0);
            } else if let Some((_, packets)) =
                line.split_once("(bytes), ").filter(|(_, rest)| rest.ends_with("(packets)"))
            {
                // `8400(bytes), 100(packets)`: limits have words before the numbers.
                *count = number(packets).or(*count);
            }
        }
    }
    with_traffic(&mut sas, &carried);
    (!sas.is_empty()).then_some(sas)
}

/// `tmsh show net ipsec ipsec-sa`: `A -> B`, then lines with values. Its lifetimes are what is left.
pub(super) fn tmsh(text: &str) -> Option<Vec<ListedSa>> {
    text.contains("IPsec::SecurityAssociations").then_some(())?;
    let mut sas: Vec<ListedSa> = Vec::new();
    let mut ends = None;
    for line in text.lines().map(str::trim) {
        if let Some((source, destination)) = line.split_once(" -> ") {
            ends = Some((source, first_word(destination)));
        } else if line.starts_with("Direction:") {
            let Some(mut new) = ends.take().and_then(|(source, destination)| sa(source, destination)) else { continue };
            let spi = behind(line, "SPI:").map(first_word).unwrap_or_default();
            new.name = Some(format!("SPI {}", spi.trim_end_matches(';')));
            // The short form has no state: what it lists is there.
            state(&mut new, "mature");
            sas.push(new);
        } else if let Some(sa) = sas.last_mut()
            && let Some(word) = behind(line, "State:")
        {
            state(sa, first_word(word));
        }
    }
    Some(sas)
}
