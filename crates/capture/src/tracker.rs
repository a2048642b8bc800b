//! Follows IKE SAs passively: every message of each, with who sent it and how often, and with keys what is inside.

use crate::decrypt::{V1, V2};
use crate::fragments::{Assembled, Beginning, Fragments};
use crate::{Content, Datagram, First, Keys, Pieces, Unopened, Whole};
use model::{ObservedInside, ObservedMessage, ObservedSa, ObservedTooBig, ObservedUnreachable, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use wire::{
    ExchangeType, Flags, HEADER_LEN, Header, IkeSpi, LifeType, NotifyType, OakleyAttribute, PayloadType, SpiPair,
};

/// More SAs are counted only.
const MAX_SAS: usize = 65_536;
/// Messages of one SA that are kept; more are counted only.
const MAX_MESSAGES: usize = 256;
/// Pairs of addresses whose ESP is counted.
const MAX_PAIRS: usize = 65_536;
/// The same octets so many nanoseconds later, or sooner, are the same packet, seen at another interface: nobody repeats a
/// message so fast.
const SAME_PACKET: u64 = 100_000_000;
/// Addresses of one end of an SA that are told apart.
const MAX_ADDRESSES: usize = 8;
/// So many octets tell a message from others of its length, of which the capture or the first fragment of IP has not all:
/// where a retransmission is cut may differ. Behind the header they have the IV, or nonces and public values.
const BEGINNING: usize = 512;

/// Where a message was put.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The SA, by number.
    sa: usize,
    sender: Role,
    /// The message, by number; none where the SA has too many.
    message: Option<usize>,
}

struct Track {
    sa: ObservedSa,
    /// Messages in the clear, by number, of which the end was not seen.
    cut: BTreeSet<usize>,
    /// Fingerprints of the messages kept, with their position.
    seen: BTreeMap<u64, usize>,
    /// ESP packets of its two addresses before it began.
    esp_before: [u64; 2],
    opener: Opener,
    /// Other addresses of the initiator and of the responder: both sides of a translator are in the capture.
    others: [Vec<IpAddr>; 2],
}

/// What opens the encrypted messages of an SA.
enum Opener {
    /// No key was given, or none was looked for yet.
    None,
    V1(Box<V1>),
    V2(Box<V2>),
}

/// What came of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The line of the table.
    pub line: usize,
    /// The SA that it is of, if that is in the capture.
    pub spis: Option<SpiPair>,
    /// Messages that it opened.
    pub opened: u64,
    /// Messages that it did not open.
    pub failed: u64,
    /// Why not, of the last one.
    pub why: Option<Unopened>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Tracks {
    /// IKE SAs in order of appearance.
    pub sas: Vec<ObservedSa>,
    /// Datagrams on IKE's ports that are no IKE messages.
    pub unreadable: u64,
    /// IKE messages that start a further SA when there were too many already.
    pub left_out: u64,
    /// Fragments of IP packets with UDP that did not become whole.
    pub fragments: u64,
    /// What came of the other fragments.
    pub pieces: Pieces,
    /// Segments of IKE over TCP (RFC 9329), which is not read.
    pub tcp: u64,
    /// What came of each key, in order of lines.
    pub keys: Vec<KeyUse>,
}

/// Takes datagrams in order of time.
#[derive(Default)]
pub struct Tracker {
    tracks: Vec<Track>,
    by_spi: BTreeMap<(IkeSpi, u8), usize>,
    /// Ports, other than IKE's, between which messages of SAs that are known went behind the non-ESP marker: from the one
    /// with the lower address to the other.
    ports: BTreeSet<(SocketAddr, SocketAddr)>,
    /// How many packets, and when the last one was seen.
    esp: BTreeMap<(IpAddr, IpAddr), (u64, u64)>,
    unreachable: BTreeMap<(IpAddr, IpAddr), ObservedUnreachable>,
    too_big: BTreeMap<(IpAddr, IpAddr), ObservedTooBig>,
    unreadable: u64,
    left_out: u64,
    pieces: Fragments,
    tcp: u64,
    keys: Keys,
    used: BTreeMap<usize, KeyUse>,
}

fn fingerprint(octets: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    octets.hash(&mut hasher);
    hasher.finish()
}

/// What tells a message by its beginning.
fn beginning(octets: &[u8], length: usize) -> u64 {
    fingerprint(octets.get(..BEGINNING).unwrap_or(octets)) ^ length as u64
}

/// The two ends of a way, whichever of them sent.
fn way(from: SocketAddr, to: SocketAddr) -> (SocketAddr, SocketAddr) {
    (from.min(to), from.max(to))
}

/// The shortest lifetime in seconds that is proposed.
fn lifetime(sa: &wire::v1::Sa) -> Option<u64> {
    let transforms = sa.proposals.iter().flat_map(|proposal| &proposal.transforms);
    let lifetimes = transforms
        .flat_map(|transform| transform.lifetimes(OakleyAttribute::LIFE_TYPE.0, OakleyAttribute::LIFE_DURATION.0));
    lifetimes.filter(|(unit, _)| *unit == u64::from(LifeType::SECONDS.0)).map(|(_, seconds)| seconds).min()
}

/// The one method of authentication that is proposed.
fn method(sa: &wire::v1::Sa) -> Option<u16> {
    let transforms = sa.proposals.iter().flat_map(|proposal| &proposal.transforms);
    let mut methods = transforms.filter_map(|t| t.get(OakleyAttribute::AUTHENTICATION_METHOD.0));
    let first = methods.next()?;
    methods.all(|other| other == first).then(|| u16::try_from(first).ok())?
}

/// Whether this message of IKEv1 is the responder's first: it alone begins with an SA payload and has both cookies (RFC 2408
/// section 4.6, RFC 2409 section 5).
fn is_answer(header: &Header) -> bool {
    let phase_1 = [ExchangeType::IDENTITY_PROTECTION, ExchangeType::AGGRESSIVE];
    phase_1.contains(&header.exchange) && header.next_payload == PayloadType::V1_SA && !header.spis.responder.is_zero()
}

/// The header of a message of so many octets on the line, whatever the capture has of them.
fn header(octets: &[u8], length: usize) -> Option<Header> {
    if octets.len() == length {
        return Header::parse(octets).ok();
    }
    let mut head = *octets.first_chunk::<HEADER_LEN>()?;
    let said = u32::from_be_bytes(*head.last_chunk()?);
    // The parser wants the length that it sees.
    if let Some(field) = head.last_chunk_mut::<4>() {
        *field = u32::try_from(HEADER_LEN).ok()?.to_be_bytes();
    }
    let header = Header::parse(&head).ok().filter(|_| usize::try_from(said) == Ok(length))?;
    Some(Header { length: said, ..header })
}

impl Tracker {
    /// One that opens what these keys open.
    pub fn with_keys(keys: Keys) -> Self {
        let unused = |line| (line, KeyUse { line, spis: None, opened: 0, failed: 0, why: None });
        let used = keys.lines().map(unused).collect();
        Self { keys, used, ..Self::default() }
    }

    /// Takes one datagram, seen at this time (nanoseconds since 1970). If it is the last missing fragment of a message, the
    /// message.
    pub fn take(&mut self, time: u64, datagram: &Datagram<'_>) -> Option<Whole> {
        let (from, to) = (datagram.source, datagram.destination);
        let pair = (from.ip(), to.ip());
        match datagram.content {
            Content::Ike(octets) => _ = self.message(time, from, to, octets, octets.len()),
            Content::IkeCut(octets, length) => _ = self.message(time, from, to, octets, length),
            Content::Elsewhere(octets, length, marked) => {
                if self.expects(from, to, octets, length) {
                    let place = self.message(time, from, to, octets, length);
                    if marked && place.is_some() && self.ports.len() < MAX_PAIRS {
                        self.ports.insert(way(from, to));
                    }
                }
            }
            Content::EspElsewhere => {
                if !self.ports.is_empty() && self.ports.contains(&way(from, to)) {
                    self.esp(time, pair);
                }
            }
            Content::First(first) => return self.first(time, from, to, &first),
            Content::Fragment(piece) => {
                let assembled = self.pieces.take(time, pair, &piece)?;
                return Some(self.assembled(time, assembled));
            }
            Content::OtherFirst(id) => self.pieces.other(time, pair, id),
            Content::Tcp => self.tcp += 1,
            Content::Unreachable(why) => {
                if self.unreachable.len() < MAX_PAIRS || self.unreachable.contains_key(&pair) {
                    let new = ObservedUnreachable { sender: Role::Initiator, why, times: 0, last: time };
                    let said = self.unreachable.entry(pair).or_insert(new);
                    (said.why, said.times, said.last) = (why, said.times.saturating_add(1), time.max(said.last));
                }
            }
            Content::Esp(_, first) => {
                self.esp(time, pair);
                if let Some(id) = first {
                    self.pieces.other(time, pair, id);
                }
            }
            Content::Keepalive => {}
            Content::TooBig(mtu) => {
                if self.too_big.len() < MAX_PAIRS || self.too_big.contains_key(&pair) {
                    let new = ObservedTooBig { sender: Role::Initiator, times: 0, mtu, first: time, last: time };
                    let said = self.too_big.entry(pair).or_insert(new);
                    let least = if said.mtu == 0 || mtu == 0 { said.mtu.max(mtu) } else { said.mtu.min(mtu) };
                    (said.times, said.mtu, said.last) = (said.times.saturating_add(1), least, time);
                }
            }
        }
        None
    }

    fn esp(&mut self, time: u64, pair: (IpAddr, IpAddr)) {
        if self.esp.len() < MAX_PAIRS || self.esp.contains_key(&pair) {
            let (count, last) = self.esp.entry(pair).or_default();
            (*count, *last) = (*count + 1, time.max(*last));
        }
    }

    /// Takes the first fragment of a message, which has its header, as a rule: the message is there, whatever comes of the
    /// rest.
    fn first(&mut self, time: u64, from: SocketAddr, to: SocketAddr, first: &First<'_>) -> Option<Whole> {
        let readable = first.message.len() >= HEADER_LEN.min(first.length);
        let wanted = first.known_port || self.expects(from, to, first.message, first.length);
        let of = if readable && wanted { self.message(time, from, to, first.message, first.length) } else { None };
        if of.is_none() && (readable || !wanted) {
            self.pieces.other(time, (from.ip(), to.ip()), first.piece.id);
            return None;
        }
        let beginning = Beginning { source: from, destination: to, before: first.before, of };
        let assembled = self.pieces.begin(time, &first.piece, beginning)?;
        Some(self.assembled(time, assembled))
    }

    /// Takes a message that came in fragments and is whole.
    fn assembled(&mut self, time: u64, Assembled { beginning, octets }: Assembled) -> Whole {
        let Beginning { source, destination, of, .. } = beginning;
        match of {
            None => _ = self.message(time, source, destination, &octets, octets.len()),
            Some(place) => {
                if let (Some(at), Some(track), Ok(header)) =
                    (place.message, self.tracks.get_mut(place.sa), Header::parse(&octets))
                {
                    let outcome = track.complete(at, place.sender, &header, &octets);
                    self.note(place.sa, outcome);
                }
            }
        }
        Whole { source, destination, octets }
    }

    /// Notes what came of a key.
    fn note(&mut self, sa: usize, outcome: Outcome) {
        if let Some((line, result)) = outcome
            && let (Some(used), Some(track)) = (self.used.get_mut(&line), self.tracks.get(sa))
        {
            used.spis = Some(track.sa.spis);
            match result {
                Ok(()) => used.opened += 1,
                Err(why) => (used.failed, used.why) = (used.failed + 1, Some(why)),
            }
        }
    }

    /// Octets that are kept of pieces.
    #[cfg(test)]
    pub(crate) fn kept_of_pieces(&self) -> usize {
        self.pieces.octets()
    }

    fn esp_between(&self, sa: &ObservedSa) -> [u64; 2] {
        let count =
            |from: SocketAddr, to: SocketAddr| self.esp.get(&(from.ip(), to.ip())).map_or(0, |(count, _)| *count);
        [count(sa.initiator, sa.responder), count(sa.responder, sa.initiator)]
    }

    fn esp_last_between(&self, sa: &ObservedSa) -> [u64; 2] {
        let last = |from: SocketAddr, to: SocketAddr| self.esp.get(&(from.ip(), to.ip())).map_or(0, |(_, last)| *last);
        [last(sa.initiator, sa.responder), last(sa.responder, sa.initiator)]
    }

    /// What the network said of either end's messages, if it was said while the SA was there.
    fn unreachable_between(&self, sa: &ObservedSa) -> Option<ObservedUnreachable> {
        let begun = sa.messages.first().map_or(0, |message| message.first);
        let of = |from: SocketAddr, to: SocketAddr, sender| {
            let said = self.unreachable.get(&(from.ip(), to.ip())).filter(|said| said.last >= begun)?;
            Some(ObservedUnreachable { sender, ..*said })
        };
        let [i, r] = [of(sa.initiator, sa.responder, Role::Initiator), of(sa.responder, sa.initiator, Role::Responder)];
        i.into_iter().chain(r).max_by_key(|said| said.times)
    }

    /// What was said of either end's ESP, if it was said while the SA was there.
    fn too_big_between(&self, sa: &ObservedSa) -> Option<ObservedTooBig> {
        let begun = sa.messages.first().map_or(0, |message| message.first);
        let of = |from: SocketAddr, to: SocketAddr, sender| {
            let said = self.too_big.get(&(from.ip(), to.ip())).filter(|said| said.last >= begun)?;
            Some(ObservedTooBig { sender, ..*said })
        };
        let [i, r] = [of(sa.initiator, sa.responder, Role::Initiator), of(sa.responder, sa.initiator, Role::Responder)];
        i.into_iter().chain(r).max_by_key(|said| said.times)
    }

    /// Whether what comes on other ports is a message of an SA that is known, or the first one of a new SA, or comes where
    /// messages of an SA do: the SPIs of one that replaces it are agreed upon inside.
    fn expects(&self, from: SocketAddr, to: SocketAddr, octets: &[u8], length: usize) -> bool {
        let Some(header) = header(octets, length) else { return false };
        let kinds = [ExchangeType::IKE_SA_INIT, ExchangeType::IDENTITY_PROTECTION, ExchangeType::AGGRESSIVE];
        let first = header.spis.responder.is_zero() && header.message_id == 0 && kinds.contains(&header.exchange);
        first
            || self.by_spi.contains_key(&(header.spis.initiator, header.version.major()))
            || self.ports.contains(&way(from, to)) && !header.spis.responder.is_zero()
    }

    /// Takes a message of so many octets, of which the first are here: where it is put.
    fn message(&mut self, time: u64, from: SocketAddr, to: SocketAddr, octets: &[u8], length: usize) -> Option<Place> {
        let header = match header(octets, length) {
            Some(header) if matches!(header.version.major(), 1 | 2) => header,
            _ => {
                self.unreadable += 1;
                return None;
            }
        };
        let version = header.version.major();
        let key = (header.spis.initiator, version);
        let index = match self.by_spi.get(&key) {
            Some(index) => *index,
            None if self.tracks.len() >= MAX_SAS => {
                self.left_out += 1;
                return None;
            }
            None => {
                // The first message is the initiator's, unless it says otherwise: a capture may begin in the middle.
                let from_responder = if version == 2 { !header.from_initiator() } else { is_answer(&header) };
                let (initiator, responder) = if from_responder { (to, from) } else { (from, to) };
                let sa = ObservedSa {
                    version,
                    spis: header.spis,
                    initiator,
                    responder,
                    messages: Vec::new(),
                    more: 0,
                    esp: [0; 2],
                    unopened: [0; 2],
                    too_big: None,
                    lifetime: None,
                    method: None,
                    looks_for_nat: [false; 2],
                    esp_last: [0; 2],
                    unreachable: None,
                    torn: [0; 2],
                };
                let esp_before = self.esp_between(&sa);
                let phase1 = if version == 1 { self.keys.v1.remove(&header.spis.initiator) } else { None };
                let opener = phase1.map_or(Opener::None, |key| Opener::V1(Box::new(V1::new(key))));
                let others = [Vec::new(), Vec::new()];
                let (seen, cut) = (BTreeMap::new(), BTreeSet::new());
                self.tracks.push(Track { sa, cut, seen, esp_before, opener, others });
                self.by_spi.insert(key, self.tracks.len() - 1);
                self.tracks.len() - 1
            }
        };
        let track = self.tracks.get_mut(index)?;
        if version == 2
            && matches!(track.opener, Opener::None)
            && let Some(keys) = self.keys.v2.remove(&(header.spis.initiator, header.spis.responder))
        {
            track.opener = Opener::V2(Box::new(V2::new(keys)));
        }
        let (message, outcome) = track.take(time, (from, to), &header, octets);
        let sender = track.sender(&header, from);
        self.note(index, outcome);
        Some(Place { sa: index, sender, message })
    }

    /// Everything is seen.
    pub fn finish(mut self) -> Tracks {
        let esp: Vec<[u64; 2]> = self.tracks.iter().map(|track| self.esp_between(&track.sa)).collect();
        let too_big: Vec<_> = self.tracks.iter().map(|track| self.too_big_between(&track.sa)).collect();
        let unreachable: Vec<_> = self.tracks.iter().map(|track| self.unreachable_between(&track.sa)).collect();
        let last: Vec<_> = self.tracks.iter().map(|track| self.esp_last_between(&track.sa)).collect();
        for (((track, said), unreachable), last) in self.tracks.iter_mut().zip(too_big).zip(unreachable).zip(last) {
            (track.sa.too_big, track.sa.unreachable, track.sa.esp_last) = (said, unreachable, last);
        }
        let (torn, fragments, pieces) = std::mem::take(&mut self.pieces).finish();
        for Place { sa, sender, .. } in torn {
            if let Some(track) = self.tracks.get_mut(sa) {
                let [i, r] = &mut track.sa.torn;
                *(if sender == Role::Initiator { i } else { r }) += 1;
            }
        }
        // What is cut off may have been there.
        for track in &mut self.tracks {
            for at in std::mem::take(&mut track.cut) {
                if let Some(sender) = track.sa.messages.get(at).map(|message| message.sender) {
                    track.looks_for_nat(sender, true);
                }
            }
        }
        let finished = |(mut track, now): (Track, [u64; 2])| {
            let [before_i, before_r] = track.esp_before;
            track.sa.esp = [now[0].saturating_sub(before_i), now[1].saturating_sub(before_r)];
            track.sa
        };
        Tracks {
            sas: std::mem::take(&mut self.tracks).into_iter().zip(esp).map(finished).collect(),
            unreadable: self.unreadable,
            left_out: self.left_out,
            fragments,
            pieces,
            tcp: self.tcp,
            keys: self.used.into_values().collect(),
        }
    }
}

/// If there is a key for a message: its line, and whether it opened it.
type Outcome = Option<(usize, Result<(), Unopened>)>;

impl Opener {
    /// Opens a message: which key did, and what is in it.
    fn open(
        &mut self,
        header: &Header,
        sender: Role,
        octets: &[u8],
    ) -> Option<(usize, Result<Option<ObservedInside>, Unopened>)> {
        match self {
            Self::None => None,
            Self::V1(keys) => Some((keys.line(), keys.open(header, sender, octets))),
            Self::V2(keys) => Some((keys.line(), keys.open(header, sender, octets))),
        }
    }
}

impl Track {
    /// Who sent a message from this address.
    fn sender(&self, header: &Header, from: SocketAddr) -> Role {
        let [i, r] = &self.others;
        match self.sa.version {
            2 if header.from_initiator() => Role::Initiator,
            2 => Role::Responder,
            _ if self.sa.initiator.ip() == self.sa.responder.ip() => {
                if from.port() == self.sa.initiator.port() {
                    Role::Initiator
                } else {
                    Role::Responder
                }
            }
            _ if from.ip() == self.sa.responder.ip() => Role::Responder,
            _ if from.ip() != self.sa.initiator.ip() && r.contains(&from.ip()) && !i.contains(&from.ip()) => {
                Role::Responder
            }
            _ => Role::Initiator,
        }
    }

    fn looks_for_nat(&mut self, sender: Role, looks: bool) {
        let [i, r] = &mut self.sa.looks_for_nat;
        *(if sender == Role::Initiator { i } else { r }) |= looks;
    }

    /// The same packet between other addresses: those of the ends on the other side of a translator.
    fn translated(&mut self, sender: Role, (from, to): (SocketAddr, SocketAddr)) {
        let ends = if sender == Role::Initiator { [from, to] } else { [to, from] };
        let known = [self.sa.initiator.ip(), self.sa.responder.ip()];
        for ((others, end), known) in self.others.iter_mut().zip(ends).zip(known) {
            if end.ip() != known && !others.contains(&end.ip()) && others.len() < MAX_ADDRESSES {
                others.push(end.ip());
            }
        }
    }

    /// Takes a message: where it is put, and what came of its key.
    fn take(
        &mut self,
        time: u64,
        (from, to): (SocketAddr, SocketAddr),
        header: &Header,
        octets: &[u8],
    ) -> (Option<usize>, Outcome) {
        if self.sa.spis.responder.is_zero() && !header.spis.responder.is_zero() {
            self.sa.spis.responder = header.spis.responder;
        }
        let length = usize::try_from(header.length).unwrap_or(usize::MAX).max(octets.len());
        let cut = length > octets.len();
        let prints = [fingerprint(octets), beginning(octets, length)];
        // Of two whole messages all octets tell.
        let print = prints.get(usize::from(cut)).copied().unwrap_or_default();
        let seen = self.seen.get(&print).copied();
        if let Some((at, message)) = seen.and_then(|at| Some((at, self.sa.messages.get_mut(at)?))) {
            let sender = message.sender;
            // Without times nothing tells the two apart.
            if time == 0 || time.abs_diff(message.last) >= SAME_PACKET {
                message.repeated += 1;
                message.last = message.last.max(time);
                message.first = message.first.min(time);
            }
            self.translated(sender, (from, to));
            return (Some(at), None);
        }
        let sender = self.sender(header, from);
        let response = self.sa.version == 2 && header.is_response();
        let encrypted = match self.sa.version {
            2 => matches!(header.next_payload, PayloadType::SK | PayloadType::SKF),
            _ => header.flags.contains(Flags::ENCRYPTION),
        };
        // Further fragments of a message that is known. That it is repeated is told by its first fragment.
        let same = |m: &ObservedMessage| {
            (m.sender, m.exchange, m.message_id, m.response) == (sender, header.exchange, header.message_id, response)
        };
        let fragment = header.next_payload == PayloadType::SKF;
        let known = if fragment { self.sa.messages.iter().position(same) } else { None };
        if known.is_none() && self.sa.messages.len() >= MAX_MESSAGES {
            self.sa.more += 1;
            return (None, None);
        }
        let (outcome, inside) = if encrypted && !cut { self.open(sender, header, octets) } else { (None, None) };
        if let Some(message) = known.and_then(|at| self.sa.messages.get_mut(at)) {
            message.last = time;
            message.inside = message.inside.take().or(inside);
            return (known, outcome);
        }
        let at = self.sa.messages.len();
        let (has_sa, notifies) = match encrypted {
            true => (false, Vec::new()),
            // The first payload is known all the same.
            false if cut => {
                self.cut.insert(at);
                (matches!((self.sa.version, header.next_payload.0), (1, 1) | (2, 33)), Vec::new())
            }
            false => self.clear(sender, header, octets),
        };
        let [whole, beginning] = prints;
        if !cut {
            self.seen.insert(whole, at);
        }
        if cut || length > BEGINNING {
            self.seen.insert(beginning, at);
        }
        self.sa.messages.push(ObservedMessage {
            sender,
            exchange: header.exchange,
            message_id: header.message_id,
            response,
            encrypted,
            octets: length,
            from,
            to,
            first: time,
            last: time,
            repeated: 0,
            notifies,
            has_sa,
            inside,
        });
        (Some(at), outcome)
    }

    /// Opens what is encrypted: what came of the key, and what is inside.
    fn open(&mut self, sender: Role, header: &Header, octets: &[u8]) -> (Outcome, Option<Box<ObservedInside>>) {
        match self.opener.open(header, sender, octets) {
            None => (None, None),
            Some((line, Ok(inside))) => (Some((line, Ok(()))), inside.map(Box::new)),
            Some((line, Err(why))) => {
                let [i, r] = &mut self.sa.unopened;
                *(if sender == Role::Initiator { i } else { r }) += 1;
                (Some((line, Err(why))), None)
            }
        }
    }

    /// Takes the whole of a message of which the beginning was taken, and that is no repetition: what came of its key.
    fn complete(&mut self, at: usize, sender: Role, header: &Header, octets: &[u8]) -> Outcome {
        let print = fingerprint(octets);
        if self.seen.contains_key(&print) {
            return None;
        }
        self.seen.insert(print, at);
        let encrypted = self.sa.messages.get(at)?.encrypted;
        let (outcome, inside) = if encrypted { self.open(sender, header, octets) } else { (None, None) };
        if !encrypted {
            self.cut.remove(&at);
            let (has_sa, notifies) = self.clear(sender, header, octets);
            let message = self.sa.messages.get_mut(at)?;
            (message.has_sa, message.notifies) = (has_sa, notifies);
        }
        let message = self.sa.messages.get_mut(at)?;
        message.inside = message.inside.take().or(inside);
        outcome
    }

    /// What the clear part of a message says: whether there is an SA payload, and the types of notifications.
    fn clear(&mut self, sender: Role, header: &Header, octets: &[u8]) -> (bool, Vec<u16>) {
        let payloads = octets.get(HEADER_LEN..).unwrap_or_default();
        if header.version.major() == 2 {
            let Ok(chain) = wire::v2::parse_chain(header.next_payload, payloads, HEADER_LEN) else {
                self.looks_for_nat(sender, true);
                return (false, Vec::new());
            };
            let looks = [NotifyType::NAT_DETECTION_SOURCE_IP, NotifyType::NAT_DETECTION_DESTINATION_IP];
            self.looks_for_nat(sender, chain.notifies().any(|n| looks.contains(&n.kind)));
            let has_sa = chain.payloads.iter().any(|(_, p)| matches!(p, wire::v2::Payload::Sa(_)));
            (has_sa, chain.notifies().map(|n| n.kind.0).collect())
        } else {
            let Ok(chain) = wire::v1::parse_chain(header.next_payload, payloads, HEADER_LEN, true) else {
                self.looks_for_nat(sender, true);
                return (false, Vec::new());
            };
            if let Opener::V1(keys) = &mut self.opener {
                keys.learn(sender, &chain);
            }
            let sa = chain
                .payloads
                .iter()
                .find_map(|(_, p)| if let wire::v1::Payload::Sa(sa) = p { Some(sa) } else { None });
            self.sa.lifetime = sa.and_then(lifetime).or(self.sa.lifetime);
            self.sa.method = sa.and_then(method).or(self.sa.method);
            self.looks_for_nat(sender, chain.payloads.iter().any(|(_, p)| matches!(p, wire::v1::Payload::NatD(_))));
            let has_sa = sa.is_some();
            (has_sa, chain.notifies().map(|n| n.kind.0).collect())
        }
    }
}
