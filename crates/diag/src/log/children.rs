//! Child SAs that end under an IKE SA that stays: how often none was left, and who or what ended them.

use std::collections::VecDeque;

/// So many Child SAs of a peer are known by number.
const MAX: usize = 64;
/// So many ends are kept.
const MAX_ENDS: usize = 32;
/// Longer words are no number of an SA.
const MAX_ID: usize = 300;
/// racoon tells the SAs of both directions one after the other, within this.
const PAIR: u64 = 2_000;

/// What ended a Child SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// The peer deleted it.
    Peer,
    /// Nothing passed through it.
    Idle,
    /// Its lifetime was over, and nothing had renewed it.
    Expired,
    /// This end deleted it, for a reason that is not told.
    Own,
}

/// A Child SA: what the log calls it, in racoon's both directions by their SPIs.
#[derive(Debug)]
struct Child {
    ids: Vec<String>,
    at: Option<u64>,
    /// racoon says of the soft lifetime what it says of the hard one.
    aged: bool,
}

/// The Child SAs of a peer.
#[derive(Debug, Default)]
pub(super) struct Children {
    standing: VecDeque<Child>,
    /// What the lines before said of the end that comes.
    why: Option<Why>,
    ends: VecDeque<(u64, Why)>,
}

/// The name and number in charon's `CHILD_SA name{1}`.
fn numbered(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("CHILD_SA ")?;
    rest.split_once('}').map(|(name, _)| name).filter(|name| name.contains('{'))
}

/// SPIs behind a label: racoon's `spi=155602378(0x946e1ca)`, OpenIKED's `SPIs 0x1a, 0x2b` and `SPI: 0x2b`.
fn spis(text: &str) -> Vec<&str> {
    if let Some((_, digits)) = text.split_once(" spi=") {
        return digits.split(|c: char| !c.is_ascii_digit()).next().filter(|spi| !spi.is_empty()).into_iter().collect();
    }
    let behind = text.split_once("SPI").map(|(_, rest)| rest).unwrap_or_default();
    behind.split([' ', ',', ':', '(']).filter(|word| word.starts_with("0x")).take(4).collect()
}

/// What the line calls the Child SA; `own` is its number where lines begin with that, as pluto's.
fn ids(text: &str, own: Option<&str>) -> Vec<String> {
    let found = match (numbered(text), own) {
        (Some(name), _) => vec![name],
        (None, Some(own)) => vec![own],
        (None, None) => spis(text),
    };
    found.into_iter().filter(|id| id.len() <= MAX_ID).map(str::to_string).collect()
}

impl Children {
    /// One is there.
    pub(super) fn up(&mut self, text: &str, own: Option<&str>, at: Option<u64>) {
        self.why = None;
        let ids = ids(text, own);
        if ids.is_empty() || self.standing.iter().any(|child| ids.iter().all(|id| child.ids.contains(id))) {
            return;
        }
        let near = |child: &&mut Child| {
            let since = at.zip(child.at).map(|(now, then)| now.abs_diff(then));
            child.ids.len() == 1 && since.is_none_or(|since| since < PAIR)
        };
        let of_racoon = text.contains(" spi=");
        match self.standing.back_mut().filter(|child| of_racoon && near(child)) {
            Some(other) => other.ids.extend(ids),
            None => self.standing.push_back(Child { ids, at, aged: false }),
        }
        if self.standing.len() > MAX {
            self.standing.pop_front();
        }
    }

    /// One is about to end for this reason.
    pub(super) fn ending(&mut self, why: Why) {
        self.why = Some(why);
    }

    /// The line says that one has ended, for this reason unless an earlier line said another.
    pub(super) fn closed(&mut self, text: &str, own: Option<&str>, at: Option<u64>, why: Why) {
        let why = self.why.take().unwrap_or(why);
        let ids = ids(text, own);
        let named = |child: &Child| child.ids.iter().any(|id| ids.contains(id));
        let Some(place) = self.standing.iter().position(named) else { return };
        if text.starts_with("IPsec-SA expired")
            && let Some(child) = self.standing.get_mut(place)
            && !std::mem::replace(&mut child.aged, true)
        {
            return;
        }
        self.standing.remove(place);
        // What is renewed has a successor by then.
        if self.standing.is_empty()
            && let Some(at) = at
        {
            self.ends.push_back((at, why));
            if self.ends.len() > MAX_ENDS {
                self.ends.pop_front();
            }
        }
    }

    /// The IKE SA ends, and they with it.
    pub(super) fn clear(&mut self) {
        self.standing.clear();
        self.why = None;
    }

    /// An operator deletes SAs: that is no end of its own.
    pub(super) fn by_hand(&mut self) {
        self.clear();
        self.ends.clear();
    }

    /// When the last one of its kind ended, for the reason that was the most frequent.
    pub(super) fn ends(&self) -> Option<(Why, Vec<u64>)> {
        let of = |why: Why| self.ends.iter().filter(move |(_, of)| *of == why).map(|(at, _)| *at);
        let all = [Why::Own, Why::Expired, Why::Idle, Why::Peer];
        let most = all.into_iter().max_by_key(|why| of(*why).count())?;
        Some((most, of(most).collect::<Vec<_>>())).filter(|(_, at)| !at.is_empty())
    }
}
