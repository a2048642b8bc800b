//! What both ends say about a Child SA beside proposals and selectors, in IKE_AUTH and in CREATE_CHILD_SA (RFC 7296 appendix
//! C): its mode, whether padding is taken, and that it is one of several.
//!
//! ```text
//! [N(USE_TRANSPORT_MODE),] [N(ESP_TFC_PADDING_NOT_SUPPORTED),] SA, TSi, TSr                             -->
//!     <--  [N(USE_TRANSPORT_MODE),] [N(ESP_TFC_PADDING_NOT_SUPPORTED),] SA, TSi, TSr, [N(ADDITIONAL_TS_POSSIBLE)]
//! ```
//!
//! or
//!
//! ```text
//!                                                                          <--  N(SINGLE_PAIR_REQUIRED)
//! ```

use super::child::{self, Agreed, ChildSa, Selectors};
use super::create_child_sa::{further_child, only_for};
use super::sa::IkeSa;
use crate::context::{Context, Effect};
use crate::parts;
use config::Connection;
use model::dataplane::Mode;
use model::{FailureKind, SaId, TrafficSelector, narrow};
use wire::v2::{Chain, ChainBuilder};
use wire::{NotifyType, ProtocolId};

/// A policy is asked for in at most so many Child SAs: a responder that cuts it smaller and smaller is stopped.
const MOST_PARTS: usize = 16;

/// Selectors as they are on the wire, none if there is no payload.
pub(super) fn selectors(list: Option<&[wire::v2::TrafficSelector]>) -> Vec<TrafficSelector> {
    list.unwrap_or_default().iter().map(|ts| TrafficSelector::from(*ts)).collect()
}

/// The contents of a TS payload, which has room for so many: the configuration has no more but where `dynamic` stands for several
/// addresses.
pub(super) fn on_wire(list: &[TrafficSelector]) -> Vec<wire::v2::TrafficSelector> {
    list.iter().take(model::MOST_SELECTORS).map(|ts| wire::v2::TrafficSelector::from(*ts)).collect()
}

/// The mode that we ask for: transport where the child wants it and its selectors are those of the two hosts.
pub(super) fn transport_of(sa: &IkeSa, child: &ChildSa) -> Mode {
    let selectors = Selectors { local: child.local_ts.clone(), remote: child.remote_ts.clone() };
    child::mode_for(child.mode, &selectors, sa.local.ip(), sa.remote.ip())
}

/// RFC 7296 section 1.3.1: asks for transport mode, or agrees to it. There nothing says how long a packet is, so that padding
/// for traffic flow confidentiality would reach whom it is for.
pub(super) fn ask_for_transport(chain: &mut ChainBuilder, mode: Mode) {
    if mode == Mode::Transport {
        chain.notify(ProtocolId::NONE, &[], NotifyType::USE_TRANSPORT_MODE, &[]);
        chain.notify(ProtocolId::NONE, &[], NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED, &[]);
    }
}

/// The mode after the responder's answer.
pub(super) fn answered_mode(asked: Mode, answer: &Chain<'_>) -> Mode {
    if answer.notify(NotifyType::USE_TRANSPORT_MODE).is_some() { asked } else { Mode::Tunnel }
}

/// The selectors of the responder's answer, in transport mode with our addresses in the place of those that NATs made of them
/// (RFC 7296 section 2.23.1).
pub(super) fn answered_selectors(
    sa: &IkeSa,
    mode: Mode,
    answer: &Chain<'_>,
) -> (Vec<TrafficSelector>, Vec<TrafficSelector>) {
    let (tsi, tsr) = (selectors(answer.tsi()), selectors(answer.tsr()));
    if mode != Mode::Transport {
        return (tsi, tsr);
    }
    let ours = |ts: &TrafficSelector| child::as_seen(ts, sa.nat.local, sa.local.ip());
    let theirs = |ts: &TrafficSelector| child::as_seen(ts, sa.nat.remote, sa.remote.ip());
    (tsi.iter().map(ours).collect(), tsr.iter().map(theirs).collect())
}

/// Whether the initiator asks for transport mode.
pub(super) fn transport_wish(sa: &IkeSa, request: &Chain<'_>) -> child::TransportWish {
    child::TransportWish { asked: request.notify(NotifyType::USE_TRANSPORT_MODE).is_some(), nat: sa.nat }
}

/// With what the peer says of padding (RFC 7296 section 1.3.1).
pub(super) fn heard(agreed: Agreed, chain: &Chain<'_>) -> Agreed {
    Agreed { padding: chain.notify(NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED).is_none(), ..agreed }
}

/// The responder's selectors, and whether there could be others (RFC 7296 section 2.9).
pub(super) fn answer_selectors(reply: &mut ChainBuilder, agreed: &Agreed) {
    reply.ts_i(&on_wire(&agreed.selectors.remote));
    reply.ts_r(&on_wire(&agreed.selectors.local));
    if agreed.more {
        reply.notify(ProtocolId::NONE, &[], NotifyType::ADDITIONAL_TS_POSSIBLE, &[]);
    }
    ask_for_transport(reply, agreed.mode);
}

/// What the initiator hears of why it does not get this child.
pub(super) fn refusal(connection: &Connection, child: Option<usize>, kind: &FailureKind) -> NotifyType {
    let single = child.and_then(|index| connection.children.get(index)).is_some_and(|child| child.single_pair);
    match kind {
        FailureKind::NoProposalChosen { .. } => NotifyType::NO_PROPOSAL_CHOSEN,
        // RFC 7296 section 2.9: its selectors are ours, but of more than one pair, and it does not say for which packet.
        FailureKind::TsUnacceptable { local, remote, peer_local, peer_remote, .. }
            if single && !narrow(local, peer_remote).is_empty() && !narrow(remote, peer_local).is_empty() =>
        {
            NotifyType::SINGLE_PAIR_REQUIRED
        }
        FailureKind::TooManySelectors { most: 1, .. } => NotifyType::SINGLE_PAIR_REQUIRED,
        _ => NotifyType::TS_UNACCEPTABLE,
    }
}

// ---------------------------------------------------------------------------------------------------------- initiator

/// The responder has made a Child SA of a part of what was `asked` for, and says that the rest is possible in another one
/// (RFC 7296 section 2.9): that is asked for. Where a packet asked, the next packet does.
pub(super) fn ask_for_rest(
    sa: &mut IkeSa,
    cx: &mut Context,
    chain: &Chain<'_>,
    name: &str,
    (asked, agreed): (&Selectors, &Selectors),
) {
    if chain.notify(NotifyType::ADDITIONAL_TS_POSSIBLE).is_none() {
        return;
    }
    if sa.children.iter().filter(|c| c.name == name).count() >= MOST_PARTS {
        return sa.log(cx, "IKE", 1, format!("CHILD_SA {name} is in {MOST_PARTS} parts: no more are asked for"));
    }
    let Some(rest) = parts::remainder(asked, agreed) else { return };
    let list = |all: &[TrafficSelector]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let (local, remote) = (list(&rest.local), list(&rest.remote));
    sa.log(cx, "IKE", 1, format!("the peer takes more in a CHILD_SA of its own: asking for {local} === {remote}"));
    further_child(sa, cx, name);
    only_for(sa, rest);
    if let Some(larval) = sa.children.last_mut() {
        larval.once = true;
    }
}

/// The responder makes a Child SA for a single pair of addresses only (RFC 7296 section 2.9). Whether this one can be asked for
/// again, for the packet that asks for it; otherwise a trap waits for one.
pub(super) fn for_single_pair(sa: &mut IkeSa, cx: &mut Context, id: SaId) -> bool {
    let Some(larval) = sa.children.iter_mut().find(|c| c.id == id) else { return false };
    let wanted = Selectors { local: larval.local_ts.clone(), remote: larval.remote_ts.clone() };
    let name = larval.name.clone();
    if let Some(packet) = larval.trigger {
        let pair = parts::of_packet(&wanted, &packet);
        if parts::is_one_pair(&wanted) || !parts::is_one_pair(&pair) {
            return false;
        }
        (larval.local_ts, larval.remote_ts) = (pair.local, pair.remote);
        sa.log(cx, "IKE", 1, format!("the peer wants a CHILD_SA {name} for each pair of addresses: asking for one"));
        return true;
    }
    if let Some(connection) = sa.connection.as_ref().filter(|_| !parts::is_one_pair(&wanted)) {
        let (mut local, mut remote) = (sa.local, sa.remote);
        local.set_port(connection.local_port);
        remote.set_port(connection.remote_port);
        let connection = connection.name.clone();
        sa.log(
            cx,
            "IKE",
            1,
            format!("the peer wants a CHILD_SA {name} for each pair of addresses: waiting for packets"),
        );
        cx.effects.push(Effect::Trap { connection, child: name, local, remote });
    }
    false
}
