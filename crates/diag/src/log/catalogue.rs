//! Which phrase says what. Phrases are in small letters; a line matches if it has all parts of one, in their order.
//!
//! The texts are what racoon, racoon2 (and with it BIG-IP's tmm), charon, pluto, iked and the cloud gateways that
//! descend from them print. The first phrase of a table that fits counts, so the special ones stand before the general.

use super::makers::MAKERS;
use super::own::OWN;
use super::phrases::{CHILD, COURSE, IKE, PROOF};
use super::pluto::PLUTO;
use crate::Cause;
use memchr::memmem::Finder;
use model::Role;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What a line says about an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// The daemon starts or ends: what was under way is over.
    Restart,
    /// A negotiation begins.
    Begun {
        /// Who began.
        role: Role,
        /// Version of IKE.
        version: u8,
    },
    /// It is aggressive mode.
    Aggressive,
    /// The other end's first message is there.
    Answered,
    /// Keys are exchanged, identities and proofs come next.
    Keyed,
    /// The IKE SA is established.
    Up,
    /// A Child SA is being negotiated.
    ChildBegun,
    /// charon sends the first message of a quick mode (IKEv1).
    QuickMode,
    /// A message that has its place under an IKE SA that is there.
    Beneath,
    /// A Child SA is established.
    ChildUp,
    /// The peer deletes a Child SA.
    ChildByPeer,
    /// This end is about to delete a Child SA through which nothing passes.
    ChildIdle,
    /// A Child SA has come to the end of its lifetime.
    ChildExpired,
    /// A Child SA is deleted: by the peer, unless we are about to.
    ChildPurged,
    /// A Child SA ends.
    ChildClosed,
    /// A message is repeated.
    Repeated,
    /// A request stays without an answer, at last.
    GaveUp,
    /// The initiator does not go on, and its attempt is forgotten.
    HalfOpen,
    /// An IKE SA, or the attempt at one, ends.
    Closed,
    /// The peer deletes an IKE SA.
    ByPeer,
    /// An IKE SA ends whose successor is there.
    Replaced,
    /// An IKE SA has come to the end of its lifetime.
    Expired,
    /// An IKE SA is deleted: by the peer, unless we are about to.
    Purged,
    /// We renew an SA that is there.
    Renews,
    /// The gateway sends the initiator to another one (RFC 5685).
    Redirected,
    /// An operator deletes SAs.
    Ours,
    /// Ends prove themselves by a pre-shared key, or by something else.
    Method {
        /// A pre-shared key.
        secret: bool,
    },
    /// There is a NAT on the path.
    Nat,
    /// The peer refuses our proof and does not say why.
    Refused,
    /// Something is wrong.
    Fault(Place, Rank, &'static [Cause]),
    /// As it should be; it only looks like something else.
    Nothing,
}

/// What a fault is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// The IKE SA while it is negotiated.
    Ike,
    /// A Child SA.
    Child,
    /// The one or the other, whichever is being negotiated.
    Either,
    /// The peer, once the SA was there.
    Peer,
    /// One of the peer's users, whom another's success does not help.
    User,
}

/// How much a phrase decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Happens to healthy SAs too.
    Note,
    /// May be the reason.
    Hint,
    /// It failed, for whatever reason.
    Vague,
    /// The reason, as one end gives it to the other.
    Named,
    /// The reason, with what differs.
    Specific,
}

/// One phrase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phrase {
    /// All of it, in this order.
    pub parts: &'static [&'static str],
    /// What it says.
    pub says: Says,
}

/// A phrase.
pub(super) const fn says(parts: &'static [&'static str], says: Says) -> Phrase {
    Phrase { parts, says }
}

/// A phrase about something that is wrong.
pub(super) const fn fault(
    place: Place,
    rank: Rank,
    causes: &'static [Cause],
    parts: &'static [&'static str],
) -> Phrase {
    Phrase { parts, says: Says::Fault(place, rank, causes) }
}

/// All phrases, in the order in which they count.
fn all() -> impl Iterator<Item = &'static Phrase> {
    [OWN, PLUTO, MAKERS, COURSE, PROOF, CHILD, IKE].into_iter().flatten()
}

/// The number of a phrase by the longest word of its first part: a line is looked up word by word, not phrase by phrase.
static INDEX: LazyLock<BTreeMap<&'static str, Vec<u16>>> = LazyLock::new(|| {
    let mut index: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
    for (number, phrase) in (0..).zip(all()) {
        let anchor = phrase.parts.iter().flat_map(|part| words(part)).max_by_key(|word| word.len());
        index.entry(anchor.unwrap_or_default()).or_default().push(number);
    }
    index
});
/// Lengths of the words of the index, a bit for each, by their first letter: most words of a log are none of them.
static LENGTHS: LazyLock<[u32; 256]> = LazyLock::new(|| {
    let mut lengths = [0; 256];
    for word in INDEX.keys() {
        if let Some(lengths) = word.bytes().next().and_then(|first| lengths.get_mut(usize::from(first))) {
            *lengths |= length_bit(word);
        }
    }
    lengths
});
/// Phrases with a searcher for each part, which costs more to make than to use.
static PHRASES: LazyLock<Vec<Searched>> = LazyLock::new(|| {
    let searched = |phrase: &'static Phrase| {
        let parts = phrase.parts.iter().map(|part| (Finder::new(part), part.len())).collect();
        Searched { parts, says: phrase.says }
    };
    all().map(searched).collect()
});

struct Searched {
    parts: Vec<(Finder<'static>, usize)>,
    says: Says,
}

fn length_bit(word: &str) -> u32 {
    1 << word.len().min(31)
}

fn is_indexed(word: &str) -> bool {
    let lengths = word.bytes().next().and_then(|first| LENGTHS.get(usize::from(first)));
    lengths.is_some_and(|lengths| lengths & length_bit(word) != 0)
}

/// The same words, found octet by octet: what is not ASCII separates.
fn plain_words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let begin = rest.bytes().position(|b| b.is_ascii_alphanumeric() || b == b'_')?;
        let word = rest.get(begin..)?;
        let length = word.bytes().position(|b| !(b.is_ascii_alphanumeric() || b == b'_')).unwrap_or(word.len());
        rest = word.get(length..)?;
        word.get(..length)
    })
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

impl Searched {
    fn is_in(&self, line: &str) -> bool {
        let mut rest = line.as_bytes();
        self.parts.iter().all(|(finder, length)| {
            let behind = finder.find(rest).and_then(|at| rest.get(at + length..));
            behind.map(|behind| rest = behind).is_some()
        })
    }
}

/// The phrase in a line of small letters, and its number.
pub(super) fn look_up(line: &str) -> Option<(u16, Says)> {
    let candidates = plain_words(line).filter(|word| is_indexed(word)).filter_map(|word| INDEX.get(word)).flatten();
    let fits = |number: &&u16| PHRASES.get(usize::from(**number)).is_some_and(|phrase| phrase.is_in(line));
    let number = *candidates.filter(fits).min()?;
    PHRASES.get(usize::from(number)).map(|phrase| (number, phrase.says))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phrase_is_found_unless_an_earlier_one_says_it() {
        for phrase in all() {
            let line = phrase.parts.join(" 10.9.0.2[500] ");
            assert_eq!(line, line.to_lowercase());
            let found = look_up(&line);
            assert!(found.is_some(), "{line:?} is not found: its longest word is not a whole word");
            // One that an earlier phrase takes for something else can never speak.
            assert_eq!(found.map(|(_, says)| says), Some(phrase.says), "{line:?} is taken by an earlier phrase");
        }
        assert_eq!(look_up("nothing of the kind"), None);
    }

    #[test]
    fn words_are_the_same_either_way() {
        for text in ["", "a", " ike_sa [1]: \u{e4}b.c\u{2003}d ", "\u{e4}", "x\u{e4}"] {
            assert_eq!(words(text).collect::<Vec<_>>(), plain_words(text).collect::<Vec<_>>(), "{text:?}");
        }
    }

    #[test]
    fn every_fault_has_a_cause() {
        for phrase in all() {
            if let Says::Fault(_, _, causes) = phrase.says {
                assert!(!causes.is_empty(), "{:?}", phrase.parts);
            }
        }
    }
}
