//! What all protected exchanges share: message IDs, retransmission, repeated answers, protection and grammar.
//!
//! RFC 7296 section 2.1: the initiator of an exchange repeats its request until it is answered; the responder repeats its
//! answer only when the request is repeated (`window`). Section 2.2: each end counts its own requests. As many
//! requests of ours are under way as the peer's window has room for (section 2.3, `outstanding`), and the others queue; a
//! request of the peer is served whatever we wait for.

use super::create_child_sa::Creating;
use super::fragments::{self, Divisible, Sealed, Whole};
use super::keys::Keys;
use super::mobility::{self, COOKIE_LEN};
use super::outstanding::{LAST_ID, LAST_IDS};
use super::redirect::Gateway;
use super::sa::{IkeSa, State};
use super::window::fingerprint;
use super::{
    auth_puzzle, crash, create_child_sa, farewell, fetching, ike_auth, ike_sa_init, informational, rekey_ike_sa,
    unsettled, window,
};
use crate::context::{Context, Counter};
use crate::timers::Reason;
use model::{DropReason, Event, FailureKind, Instant, Role, SaId};
use std::net::SocketAddr;
use std::time::Duration;
use wire::grammar::{self, Protection, RuleId, Sender, Violation};
use wire::v2::{Chain, ChainBuilder, ChainError, parse_chain};
use wire::{ExchangeType, Flags, HEADER_LEN, Header, NotifyType, PayloadType, ProtocolId, Version};

/// A request that waits for its answer.
pub(crate) struct Pending {
    pub message_id: u32,
    pub exchange: ExchangeType,
    /// The message, in one datagram or in fragments.
    pub message: Vec<Vec<u8>>,
    /// What it is made of, if it may have to be divided into smaller fragments.
    pub whole: Option<Box<Divisible>>,
    /// How often it was sent before it was divided again, from which all begins anew.
    pub before: u32,
    /// How often it was sent again.
    pub resent: u32,
    pub since: Instant,
    pub waiting_for: RuleId,
    pub task: Task,
    /// When it is to be sent again.
    pub due: Option<Instant>,
    /// What a CREATE_CHILD_SA request needs when its answer comes.
    pub creating: Option<Box<Creating>>,
}

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Task {
    /// IKE_SA_INIT.
    Init,
    /// IKE_AUTH.
    Auth,
    /// Is the peer alive?
    Liveness,
    /// Has the peer loaded the successor of this Child SA?
    Loaded { child: SaId },
    /// Make another Child SA; its placeholder has this number.
    CreateChild { child: SaId },
    /// Make a Child SA in place of this one.
    RekeyChild { child: SaId },
    /// Make an IKE SA in place of this one.
    RekeyIke,
    /// Our addresses are others (MOBIKE); which of several changes it tells of.
    UpdateAddresses { generation: u32 },
    /// Our further addresses are others (MOBIKE).
    TellAddresses,
    /// Does the peer receive at its new address (MOBIKE)?
    Routability { cookie: [u8; COOKIE_LEN] },
    /// The peer is to know, of an IKE SA that a rekeying made, our token (RFC 6290 section 4.3) and our window (RFC 7296
    /// section 2.3).
    TellMore,
    /// The peer is to authenticate anew by this time (RFC 4478).
    TellLifetime { end: Instant },
    /// The peer is to go to another gateway (RFC 5685).
    Redirect { to: Gateway },
    /// Delete a Child SA, whose inbound SPI this is.
    DeleteChild { spi: u32, reason: FailureKind },
    /// Delete a Child SA that is gone here already, and received by this SPI.
    DeleteGone { child: SaId, spi: u32 },
    /// Delete the IKE SA.
    DeleteIke { reason: FailureKind },
}

impl Task {
    /// Whether it makes, replaces or deletes a Child SA.
    pub fn is_of_child(&self) -> bool {
        matches!(
            self,
            Self::CreateChild { .. } | Self::RekeyChild { .. } | Self::DeleteChild { .. } | Self::DeleteGone { .. }
        )
    }

    /// Whether nothing else is asked at the same time: what it changes is the IKE SA itself, or where it is.
    fn is_alone(&self) -> bool {
        !self.is_of_child()
            && !matches!(self, Self::Liveness | Self::Loaded { .. } | Self::TellMore | Self::TellLifetime { .. })
    }

    /// strongSwan's name, for listings.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Init => "IKE_INIT",
            Self::Auth => "IKE_AUTH",
            Self::Liveness | Self::Loaded { .. } => "IKE_DPD",
            Self::UpdateAddresses { .. } | Self::TellAddresses | Self::Routability { .. } => "IKE_MOBIKE",
            Self::TellMore => "IKE_QCD",
            Self::TellLifetime { .. } => "IKE_AUTH_LIFETIME",
            Self::Redirect { .. } => "IKE_REDIRECT",
            Self::CreateChild { .. } => "CHILD_CREATE",
            Self::RekeyChild { .. } => "CHILD_REKEY",
            Self::RekeyIke => "IKE_REKEY",
            Self::DeleteChild { .. } | Self::DeleteGone { .. } => "CHILD_DELETE",
            Self::DeleteIke { .. } => "IKE_DELETE",
        }
    }
}

/// What a handler decided about its SA.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It lives on.
    Keep,
    /// It is over.
    End(FailureKind),
    /// The message cannot be judged before a revocation list is fetched: it is kept until then, as if it came then.
    Wait,
}

/// A message that waits for a revocation list.
pub(super) struct Parked {
    header: Header,
    whole: Whole,
    path: Path,
}

/// Where a datagram came from and where it arrived.
#[derive(Clone, Copy)]
pub(crate) struct Path {
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// A request as its handler sees it: authentic, decrypted, and fitting its grammar row.
pub(crate) struct Request<'a> {
    pub chain: &'a Chain<'a>,
    pub rule: RuleId,
    pub path: Path,
}

impl IkeSa {
    /// A protected datagram for this SA.
    pub fn receive(&mut self, cx: &mut Context, now: Instant, header: &Header, datagram: &[u8], path: Path) -> Verdict {
        self.datagrams_in += 1;
        // The flag says who began the IKE SA, and a message of ours that somebody sends back has the wrong one.
        if header.from_initiator() != (self.role == Role::Responder) {
            self.drop_datagram(cx, DropReason::UnexpectedMessageId, path);
            return Verdict::Keep;
        }
        if header.is_response() {
            self.receive_response(cx, now, header, datagram, path)
        } else {
            self.receive_request(cx, now, header, datagram, path)
        }
    }

    fn receive_request(
        &mut self,
        cx: &mut Context,
        now: Instant,
        header: &Header,
        datagram: &[u8],
        path: Path,
    ) -> Verdict {
        if self.replies.is_answered(header.message_id) {
            let fragment = header.next_payload == PayloadType::SKF;
            if fragment && fragments::counters(datagram, HEADER_LEN).is_some_and(|(number, _)| number != 1) {
                return Verdict::Keep; // RFC 7383 section 2.6.1: only the first fragment of a repetition counts
            }
            let repeated = match self.replies.repeat(header.message_id, datagram) {
                Err(_) if fragment && self.is_first_fragment(datagram) => self.replies.again(header.message_id),
                repeated => repeated,
            };
            match repeated {
                Ok(reply) => {
                    let whole = self.replies.take_divisible(header.message_id);
                    let smaller = whole.and_then(|whole| self.divide_again(cx, *whole));
                    let reply =
                        smaller.inspect(|smaller| self.replies.divided(header.message_id, smaller)).unwrap_or(reply);
                    self.retransmissions.answered += 1;
                    self.datagrams_out += 1;
                    self.log(
                        cx,
                        "IKE",
                        1,
                        format!("repeated request with message ID {}, answering again", header.message_id),
                    );
                    cx.transmit_all(path.local, path.remote, reply);
                    unsettled::repeated(self, cx, header.message_id);
                }
                Err(reason) => self.drop_datagram(cx, reason, path),
            }
            return Verdict::Keep;
        }
        if !self.replies.accepts(header.message_id) || self.is_closed() {
            self.drop_datagram(cx, DropReason::UnexpectedMessageId, path);
            return Verdict::Keep;
        }
        // The answer to our IKE_AUTH is late or lost: who sends this has not proved itself, and repeats it.
        if matches!(self.state, State::AuthSent(_)) {
            self.drop_datagram(cx, DropReason::UnexpectedExchange, path);
            return Verdict::Keep;
        }
        match auth_puzzle::solved(self, cx, header, datagram, path) {
            Ok(true) => {}
            Ok(false) => return Verdict::Keep,
            Err(verdict) => return verdict,
        }
        let before = self.got_senseless;
        let Some(whole) = self.open(cx, header, datagram, path) else {
            if self.got_senseless && !before {
                cx.senseless.got(now);
            }
            return Verdict::Keep;
        };
        self.count_in(cx, header);
        self.handle_request(cx, now, header, whole, path)
    }

    /// What waited for a revocation list is looked at again.
    pub fn resume(&mut self, cx: &mut Context, now: Instant) -> Verdict {
        match self.parked.take() {
            Some(Parked { header, whole, path }) if header.is_response() => {
                self.handle_response(cx, now, &header, whole, path)
            }
            Some(Parked { header, whole, path }) if self.replies.accepts(header.message_id) => {
                self.handle_request(cx, now, &header, whole, path)
            }
            _ => Verdict::Keep,
        }
    }

    fn handle_request(&mut self, cx: &mut Context, now: Instant, header: &Header, whole: Whole, path: Path) -> Verdict {
        // From here on the message is authentic: it gets an answer, whatever is in it.
        self.last_heard = now;
        let (reply, verdict) = match parse_chain(whole.first, &whole.content, 0) {
            Err(error) => self.malformed_request(cx, error),
            Ok(chain) => {
                match grammar::classify(header.exchange, Sender::Initiator, Protection::Encrypted, &chain.set()) {
                    Some(Ok(rule)) => {
                        self.follow(cx, path);
                        let request = Request { chain: &chain, rule: rule.id, path };
                        let (reply, verdict) = match header.exchange {
                            ExchangeType::IKE_AUTH => ike_auth::request(self, cx, now, &request),
                            ExchangeType::CREATE_CHILD_SA => {
                                unsettled::note_crossing(self, header.message_id);
                                create_child_sa::request(self, cx, now, &request)
                            }
                            _ => informational::request(self, cx, now, &request),
                        };
                        window::take(self, cx, &chain, &verdict);
                        (reply, verdict)
                    }
                    violation => self.ungrammatical_request(cx, violation.and_then(Result::err)),
                }
            }
        };
        if matches!(verdict, Verdict::Wait) {
            self.parked = Some(Parked { header: *header, whole, path });
            return Verdict::Keep;
        }
        self.answer(cx, header, &whole.fingerprint, reply, path);
        if matches!(verdict, Verdict::Keep) {
            self.next_task(cx, now); // what the handler queued, behind its answer
        }
        verdict
    }

    /// Whether this is a request that only the end which has the Child SAs under this IKE SA makes, while that is not clear
    /// here: the loser of two IKE SAs (RFC 7296 section 2.8.2) only ever deletes it.
    pub fn tells_heir(&self, header: &Header, datagram: &[u8]) -> bool {
        if !self.undecided || header.is_response() || !self.replies.accepts(header.message_id) {
            return false;
        }
        if header.next_payload == PayloadType::SKF {
            return header.exchange == ExchangeType::CREATE_CHILD_SA && self.is_first_fragment(datagram);
        }
        let mut message = datagram.to_vec();
        let sealed = header.next_payload == PayloadType::SK;
        let opened = self.keys().filter(|_| sealed).and_then(|keys| keys.open(&mut message, HEADER_LEN).ok());
        let Some((first, content)) = opened.and_then(|(first, range)| Some((first, message.get(range)?))) else {
            return false;
        };
        parse_chain(first, content, 0).is_ok_and(|chain| {
            header.exchange == ExchangeType::CREATE_CHILD_SA
                || chain.deletes().any(|d| d.protocol == ProtocolId::ESP)
                    && chain.deletes().all(|d| d.protocol != ProtocolId::IKE)
        })
    }

    fn malformed_request(&mut self, cx: &mut Context, error: ChainError) -> (ChainBuilder, Verdict) {
        cx.count(Counter::Invalid);
        self.log(cx, "ENC", 1, format!("the peer's request is malformed: {error}"));
        let mut reply = ChainBuilder::new();
        let kind = match error {
            ChainError::UnsupportedCritical(payload) => {
                // RFC 7296 section 2.5: the data is the type of the payload that was not understood.
                reply.notify(ProtocolId::NONE, &[], NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[payload.0]);
                FailureKind::UnsupportedCritical { payload }
            }
            _ => {
                reply.notify(ProtocolId::NONE, &[], NotifyType::INVALID_SYNTAX, &[]);
                FailureKind::MessageInvalid { rule: RuleId::IkeAuthRequest, missing: error.to_string() }
            }
        };
        // RFC 7296 section 2.21.2: an error in IKE_AUTH ends the IKE SA; later (section 2.21.3) INVALID_SYNTAX does.
        let ends = !self.is_established() || !matches!(kind, FailureKind::UnsupportedCritical { .. });
        (reply, if ends { Verdict::End(kind) } else { Verdict::Keep })
    }

    fn ungrammatical_request(&mut self, cx: &mut Context, violation: Option<Violation>) -> (ChainBuilder, Verdict) {
        cx.count(Counter::Invalid);
        let mut reply = ChainBuilder::new();
        reply.notify(ProtocolId::NONE, &[], NotifyType::INVALID_SYNTAX, &[]);
        let kind = match violation {
            Some(v) => FailureKind::MessageInvalid { rule: v.rule, missing: v.to_string() },
            None => return (reply, Verdict::Keep), // an exchange type of a later day: refused, nothing else
        };
        self.log(cx, "ENC", 1, format!("the peer's request breaks the grammar: {kind}"));
        (reply, Verdict::End(kind))
    }

    fn receive_response(
        &mut self,
        cx: &mut Context,
        now: Instant,
        header: &Header,
        datagram: &[u8],
        path: Path,
    ) -> Verdict {
        let expected = self.pending.get(header.message_id).is_some_and(|p| p.exchange == header.exchange);
        if !expected && self.is_closed() && self.last_word.take_if(|id| *id == header.message_id).is_some() {
            return Verdict::Keep;
        }
        if !expected && self.is_closed() && farewell::answered(self, cx, header.message_id) {
            return Verdict::Keep;
        }
        if !expected {
            self.drop_datagram(cx, DropReason::UnexpectedResponse, path);
            return Verdict::Keep;
        }
        let Some(whole) = self.open(cx, header, datagram, path) else { return Verdict::Keep };
        self.count_in(cx, header);
        self.handle_response(cx, now, header, whole, path)
    }

    fn handle_response(
        &mut self,
        cx: &mut Context,
        now: Instant,
        header: &Header,
        whole: Whole,
        path: Path,
    ) -> Verdict {
        let checked = parse_chain(whole.first, &whole.content, 0).map_err(|e| FailureKind::MessageInvalid {
            rule: self.waiting_for().unwrap_or(RuleId::InformationalResponse),
            missing: e.to_string(),
        });
        let checked = checked.and_then(|chain| {
            match grammar::classify(header.exchange, Sender::Responder, Protection::Encrypted, &chain.set()) {
                Some(Ok(rule)) => Ok((chain, rule.id)),
                Some(Err(v)) => Err(FailureKind::MessageInvalid { rule: v.rule, missing: v.to_string() }),
                None => Err(FailureKind::MessageInvalid {
                    rule: RuleId::InformationalResponse,
                    missing: format!("exchange type {}", header.exchange),
                }),
            }
        });
        self.last_heard = now;
        if let (Ok((chain, rule)), Some(Pending { task: Task::Auth, .. })) =
            (&checked, self.pending.get(header.message_id))
            && fetching::waits(self, cx, now, &Request { chain, rule: *rule, path })
        {
            self.parked = Some(Parked { header: *header, whole, path });
            return Verdict::Keep;
        }
        let Some(pending) = self.pending.take(header.message_id) else { return Verdict::Keep };
        self.partial_responses.remove(&header.message_id);
        self.arm(cx);
        let probed = mobility::probes(pending.resent);
        let verdict = match checked {
            // RFC 7296 section 2.21: the peer took the request for done; an answer that makes no sense ends the SA, but not the
            // one that the peer has made in its place.
            Err(kind) => {
                let heir = pending.creating.and_then(|creating| creating.crossing_ike());
                self.replaced_by = self.replaced_by.or(heir);
                Verdict::End(kind)
            }
            Ok((chain, rule)) => {
                let response = Request { chain: &chain, rule, path };
                let verdict = match (pending.task, pending.creating) {
                    (Task::Auth, _) => ike_auth::response(self, cx, now, &response),
                    (Task::RekeyIke, Some(creating)) => rekey_ike_sa::response(self, cx, now, *creating, &response),
                    (task, Some(creating)) => create_child_sa::response(self, cx, now, (task, *creating), &response),
                    (task, None) => informational::response(self, cx, now, task, &response),
                };
                window::take(self, cx, &chain, &verdict);
                verdict
            }
        };
        if matches!(verdict, Verdict::Keep) {
            if probed {
                mobility::answered_by(self, cx, now, path);
            }
            self.next_task(cx, now);
        }
        verdict
    }

    /// Checks and decrypts; counts and reports what cannot be. Nothing comes of a fragment until it is the last missing.
    fn open(&mut self, cx: &mut Context, header: &Header, datagram: &[u8], path: Path) -> Option<Whole> {
        let front = auth_puzzle::front(header, datagram).filter(|_| matches!(self.state, State::HalfOpen(_)));
        let (kind, at) = front.map_or((header.next_payload, HEADER_LEN), |front| (front.next, front.at));
        match kind {
            PayloadType::SK => {}
            PayloadType::SKF => return self.take_fragment(cx, header, (datagram, at), path),
            _ => {
                self.drop_datagram(cx, DropReason::NotProtected, path);
                return None;
            }
        }
        let mut message = datagram.to_vec();
        let opened = self.keys().and_then(|keys| keys.open(&mut message, at).ok());
        match opened.and_then(|(first, range)| Some((first, message.get(range)?.to_vec()))) {
            Some((first, content)) => Some(Whole { first, content, fingerprint: fingerprint(datagram).to_vec() }),
            None => {
                self.senseless(cx, path);
                None
            }
        }
    }

    /// What came cannot be deciphered.
    pub(super) fn senseless(&mut self, cx: &mut Context, path: Path) {
        self.got_senseless |= matches!(self.state, State::HalfOpen(_));
        self.drop_datagram(cx, DropReason::IntegrityCheckFailed, path);
    }

    /// RFC 7296 section 2.23: the peer's address is where its authentic messages come from, if a NAT may have changed it;
    /// in IKE_AUTH the initiator moves to port 4500 in any case.
    fn follow(&mut self, cx: &mut Context, path: Path) {
        mobility::heard(self, path);
        let moved = (self.local, self.remote) != (path.local, path.remote);
        if !moved || !(self.nat.remote || self.is_half_open()) || !mobility::follows_messages(self) {
            return;
        }
        let (from, established) = (self.remote, self.is_established());
        (self.local, self.remote) = (path.local, path.remote);
        if established {
            self.log(cx, "NET", 1, format!("the peer moved from {from} to {}", path.remote));
            self.note_peer(cx);
            for child in &self.children {
                child.update(cx, path.local, path.remote, self.nat.any());
            }
        }
    }

    fn answer(&mut self, cx: &mut Context, header: &Header, request: &[u8], chain: ChainBuilder, path: Path) {
        let reply_header = self.header(header.exchange, header.message_id, true);
        let Some(Sealed { datagrams: reply, whole }) = self.seal(cx, reply_header, chain) else { return };
        self.replies.remember(header.message_id, request, &reply, whole);
        self.datagrams_out += 1;
        count_out(cx, &reply_header);
        cx.answer(path.local, path.remote, reply);
    }

    pub fn header(&self, exchange: ExchangeType, message_id: u32, response: bool) -> Header {
        let mut flags = Flags(0);
        if self.role == Role::Initiator {
            flags = flags | Flags::INITIATOR;
        }
        if response {
            flags = flags | Flags::RESPONSE;
        }
        let (spis, version) = (self.spis, Version::V2);
        Header { spis, next_payload: PayloadType::NONE, version, exchange, flags, message_id, length: 0 }
    }

    /// Sends a protected request. The window must have room for it.
    #[allow(clippy::too_many_arguments)] // each is another thing, and there is nothing that has several
    pub fn request(
        &mut self,
        cx: &mut Context,
        now: Instant,
        exchange: ExchangeType,
        mut chain: ChainBuilder,
        waiting_for: RuleId,
        task: Task,
        creating: Option<Creating>,
    ) {
        let message_id = self.next_request;
        if self.peer_token.is_some() {
            chain.at_least(crash::LEAST_CONTENT);
        }
        let header = self.header(exchange, message_id, false);
        let Some(Sealed { datagrams: message, whole }) = self.seal(cx, header, chain) else { return };
        self.next_request = self.next_request.saturating_add(1);
        let (creating, due, since) = (creating.map(Box::new), None, now);
        let (before, resent) = (0, 0);
        let pending =
            Pending { message_id, exchange, message, whole, before, resent, since, waiting_for, task, due, creating };
        self.begin(cx, now, pending);
    }

    /// Sends a request for the first time.
    pub fn begin(&mut self, cx: &mut Context, now: Instant, mut pending: Pending) {
        count_out(cx, &self.header(pending.exchange, pending.message_id, false));
        self.datagrams_out += 1;
        cx.transmit_all(self.local, self.remote, pending.message.clone());
        pending.due = next_time(cx, now, 0);
        self.pending.insert(pending);
        self.arm(cx);
    }

    /// Sets the timer for the request that is to be sent again first.
    fn arm(&self, cx: &mut Context) {
        match self.pending.due() {
            Some(due) => cx.timers.set(self.id, Reason::Retransmit, due),
            None => cx.timers.cancel(self.id, Reason::Retransmit),
        }
    }

    /// Answers did not come in time.
    pub fn retransmit(&mut self, cx: &mut Context, now: Instant) -> Verdict {
        if let Some(verdict) = ike_sa_init::without_solution(self, cx, now) {
            return verdict;
        }
        let due: Vec<u32> =
            self.pending.iter().filter(|p| p.due.is_some_and(|due| due <= now)).map(|p| p.message_id).collect();
        let mut verdict = Verdict::Keep;
        for message_id in due {
            if matches!(verdict, Verdict::Keep) {
                verdict = self.repeat(cx, now, message_id);
            }
        }
        self.arm(cx);
        verdict
    }

    /// Sends a request again, if that was not done often enough.
    fn repeat(&mut self, cx: &mut Context, now: Instant, message_id: u32) -> Verdict {
        let Some(pending) = self.pending.iter_mut().find(|p| p.message_id == message_id) else { return Verdict::Keep };
        pending.resent += 1;
        let (resent, waiting_for) = (pending.resent, pending.waiting_for);
        if resent > cx.settings.backoff.tries {
            if let Task::DeleteIke { reason } = &pending.task {
                // It was to end anyway; that the peer is gone too must not bring it back (`dpd_action`).
                return Verdict::End(reason.clone());
            }
            let (sent, over) = (pending.before + resent, now.since(pending.since));
            let answered_before = self.established.is_some();
            return Verdict::End(FailureKind::NoAnswer { waiting_for, to: self.remote, sent, over, answered_before });
        }
        let whole = pending.whole.take_if(|_| resent == fragments::SMALLER_AFTER);
        let smaller = whole.and_then(|whole| self.divide_again(cx, *whole));
        let Some(pending) = self.pending.iter_mut().find(|p| p.message_id == message_id) else { return Verdict::Keep };
        if let Some(smaller) = smaller {
            // RFC 7383 section 2.5.2: the retransmission timers start over.
            (pending.message, pending.before, pending.resent) = (smaller, resent, 0);
        }
        let message = pending.message.clone();
        pending.due = next_time(cx, now, pending.resent);
        self.retransmissions.sent = self.pending.resent();
        self.retransmissions.total += 1;
        self.datagrams_out += 1;
        cx.event(Event::Retransmitted { sa: self.id, name: self.name().to_string(), waiting_for, attempt: resent });
        cx.transmit_all(self.local, self.remote, message.clone());
        mobility::probe(self, cx, resent, &message);
        Verdict::Keep
    }

    /// Queues a request, and sends it if that can be done now.
    pub fn enqueue(&mut self, cx: &mut Context, now: Instant, task: Task) {
        let same = |t: &Task| *t == task;
        if !self.queue.iter().chain(self.pending.tasks()).any(same) {
            self.queue.push_back(task);
        }
        self.next_task(cx, now);
    }

    /// Sends the queued requests that can be sent now, in order.
    pub fn next_task(&mut self, cx: &mut Context, now: Instant) {
        self.retransmissions.sent = self.pending.resent();
        if self.next_request >= LAST_IDS {
            self.save_message_ids(now);
        }
        while self.is_established() {
            // Under an IKE SA that has a successor nothing is asked any more but its end, and nothing yet under one of which
            // it is not clear whether it is the successor.
            let only_end = self.replaced_by.is_some() || self.undecided;
            match self.queue.front() {
                Some(task) if only_end && !matches!(task, Task::DeleteIke { .. }) => return,
                Some(task) if self.may_ask(task) => {}
                _ => return,
            }
            match self.queue.pop_front() {
                Some(task @ (Task::CreateChild { .. } | Task::RekeyChild { .. })) => {
                    create_child_sa::start(self, cx, now, task);
                }
                Some(Task::RekeyIke) => rekey_ike_sa::start(self, cx, now),
                Some(task) => informational::start(self, cx, now, task),
                None => return,
            }
        }
    }

    /// Whether this can be asked beside what is under way.
    fn may_ask(&self, task: &Task) -> bool {
        if self.pending.is_empty() {
            return true;
        }
        // RFC 7296 section 2.25: two requests that concern the same SA never cross each other.
        let alone = task.is_alone() || self.pending.tasks().any(Task::is_alone);
        let child = |task: &Task| match task {
            Task::CreateChild { child } | Task::RekeyChild { child } => self.children.iter().find(|c| c.id == *child),
            Task::DeleteChild { spi, .. } => self.children.iter().find(|c| c.spi_in == *spi),
            _ => None,
        };
        let creates = |task: &Task| matches!(task, Task::CreateChild { .. });
        let same = |other: &Task| match (task, other) {
            (Task::DeleteGone { child, .. }, Task::CreateChild { child: of } | Task::RekeyChild { child: of }) => {
                child == of
            }
            _ => false,
        };
        let beside = |other: &Task| match (child(task), child(other)) {
            _ if same(other) => false,
            // What is asked for twice may be made once: the first answer tells whether the second is of use.
            (Some(ours), Some(theirs)) => {
                ours.id != theirs.id && !(creates(task) && creates(other) && ours.name == theirs.name)
            }
            _ => true,
        };
        !alone && self.pending.admits(self.next_request) && self.pending.tasks().all(beside)
    }

    /// The message IDs come to their end, and must not begin again (RFC 7296 section 2.2): a successor is asked for before
    /// anything else, and when that is too late, the end alone.
    fn save_message_ids(&mut self, now: Instant) {
        const SOON: Duration = Duration::from_secs(60);
        let of_ike = |task: &Task| matches!(task, Task::RekeyIke | Task::DeleteIke { .. });
        if self.next_request >= LAST_ID {
            self.queue.retain(|task| matches!(task, Task::DeleteIke { .. }));
            if self.queue.is_empty() {
                self.queue.push_back(Task::DeleteIke { reason: FailureKind::Expired });
            }
            return;
        }
        let asked = self.queue.iter().chain(self.pending.tasks()).any(of_ike);
        // The peer may not be able to just now.
        let again = self.rekey_at.is_some_and(|at| at < now + SOON);
        if !asked && !again {
            self.queue.push_front(Task::RekeyIke);
        }
    }

    /// Nothing authentic was heard for `dpd_delay`: an empty INFORMATIONAL asks (RFC 7296 section 2.4).
    pub fn check_liveness(&mut self, cx: &mut Context, now: Instant) {
        let delay = self.connection.as_ref().map_or(Duration::ZERO, |c| c.dpd_delay);
        if now.since(self.last_heard) >= delay && self.pending.is_empty() {
            self.enqueue(cx, now, Task::Liveness);
        }
        let quiet = now.since(self.last_heard).min(delay / 2);
        cx.timers.set(self.id, Reason::Liveness, now + (delay - quiet));
    }

    pub fn drop_datagram(&self, cx: &mut Context, reason: DropReason, path: Path) {
        cx.drops[reason as usize] += 1;
        cx.count(Counter::Invalid);
        let sa: Option<SaId> = Some(self.id);
        cx.event(Event::Dropped { reason, from: path.remote, spis: None, sa, waiting_for: self.waiting_for() });
    }

    fn count_in(&self, cx: &mut Context, header: &Header) {
        let response = header.is_response();
        if let Some(counter) = counter(header.exchange, response, true) {
            cx.count(counter);
        }
    }

    /// Ends the SA but keeps answering the repetition of the last request for a while, so that a peer whose answer got
    /// lost learns what happened instead of timing out.
    pub fn close(&mut self, cx: &mut Context, now: Instant) {
        cx.timers.cancel_all(self.id);
        self.pending.clear();
        self.partial_responses.clear();
        self.queue.clear();
        self.children.clear();
        self.release_addresses(cx, now);
        self.state = State::Closed;
        cx.timers.set(self.id, Reason::HalfOpen, now + cx.settings.half_open_timeout);
    }

    /// Takes the keys out of the state, leaving it closed: for a transition that consumes them.
    pub fn take_keys(&mut self) -> Option<Keys> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::HalfOpen(s) => Some(s.keys),
            State::AuthSent(s) => Some(s.keys),
            State::Established(keys) | State::Deleting(keys) => Some(keys),
            State::InitSent(_) | State::Puzzled(_) | State::Closed => None,
        }
    }
}

/// When a request that was sent again so often is to be sent again next.
fn next_time(cx: &mut Context, now: Instant, resent: u32) -> Option<Instant> {
    let random = u32::from_be_bytes(cx.random());
    cx.settings.backoff.delay(resent, random).map(|delay| now + delay)
}

pub(crate) fn count_out(cx: &mut Context, header: &Header) {
    if let Some(counter) = counter(header.exchange, header.is_response(), false) {
        cx.count(counter);
    }
}

pub(crate) fn counter(exchange: ExchangeType, response: bool, inbound: bool) -> Option<Counter> {
    use Counter::*;
    Some(match (exchange, inbound, response) {
        (ExchangeType::IKE_SA_INIT, true, false) => IkeInitInRequest,
        (ExchangeType::IKE_SA_INIT, true, true) => IkeInitInResponse,
        (ExchangeType::IKE_SA_INIT, false, false) => IkeInitOutRequest,
        (ExchangeType::IKE_SA_INIT, false, true) => IkeInitOutResponse,
        (ExchangeType::IKE_AUTH, true, false) => IkeAuthInRequest,
        (ExchangeType::IKE_AUTH, true, true) => IkeAuthInResponse,
        (ExchangeType::IKE_AUTH, false, false) => IkeAuthOutRequest,
        (ExchangeType::IKE_AUTH, false, true) => IkeAuthOutResponse,
        (ExchangeType::CREATE_CHILD_SA, true, false) => CreateChildInRequest,
        (ExchangeType::CREATE_CHILD_SA, true, true) => CreateChildInResponse,
        (ExchangeType::CREATE_CHILD_SA, false, false) => CreateChildOutRequest,
        (ExchangeType::CREATE_CHILD_SA, false, true) => CreateChildOutResponse,
        (ExchangeType::INFORMATIONAL, true, false) => InfoInRequest,
        (ExchangeType::INFORMATIONAL, true, true) => InfoInResponse,
        (ExchangeType::INFORMATIONAL, false, false) => InfoOutRequest,
        (ExchangeType::INFORMATIONAL, false, true) => InfoOutResponse,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{IkeSpi, SpiPair};

    #[test]
    fn before_the_message_ids_are_used_up_a_successor_is_asked_for_and_then_the_end() {
        let (at, now) = ("192.0.2.1:500".parse().unwrap(), Instant::ZERO + Duration::from_secs(1000));
        let spis = SpiPair { initiator: IkeSpi([1; 8]), responder: IkeSpi([2; 8]) };
        let mut sa = IkeSa::new(SaId(1), Role::Initiator, spis, (at, at), State::Closed, now);
        sa.queue.push_back(Task::Liveness);
        // When it is due anyway in an hour is too late.
        (sa.next_request, sa.rekey_at) = (LAST_IDS, Some(now + Duration::from_secs(3600)));
        sa.save_message_ids(now);
        sa.save_message_ids(now);
        assert_eq!(sa.queue, [Task::RekeyIke, Task::Liveness], "once");
        // The peer could not just now: again in a while, and what else is to be said is said.
        sa.queue.pop_front();
        sa.rekey_at = Some(now + Duration::from_secs(15));
        sa.save_message_ids(now);
        assert_eq!(sa.queue, [Task::Liveness]);
        sa.next_request = LAST_ID;
        sa.save_message_ids(now);
        assert_eq!(sa.queue, [Task::DeleteIke { reason: FailureKind::Expired }]);
    }
}
