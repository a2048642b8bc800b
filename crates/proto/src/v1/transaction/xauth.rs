//! XAuth, generic type: a user's name and password (draft-beaulieu-ike-xauth).

use super::{REQUEST, Received, SET, Stage, answer, attribute, authenticated, octets, retire, same, send};
use crate::context::Context;
use crate::v1::phase1;
use crate::v1::sa::IsakmpSa;
use config::{Connection, xauth_secrets};
use model::{FailureKind, Identity, Instant, Side};
use std::sync::Arc;
use wire::attributes::{AttributeValue, DataAttribute};
use wire::{V1ConfigAttribute, XauthStatus, XauthType};

/// So often a server may ask before its verdict.
const MAX_QUESTIONS: u32 = 3;

fn status(value: XauthStatus) -> DataAttribute<'static> {
    DataAttribute { kind: V1ConfigAttribute::XAUTH_STATUS.0, value: AttributeValue::Short(value.0) }
}

/// Asks for name and password.
pub(super) fn ask(sa: &mut IsakmpSa, cx: &mut Context, now: Instant) {
    let name = attribute(V1ConfigAttribute::XAUTH_USER_NAME.0, &[]);
    let password = attribute(V1ConfigAttribute::XAUTH_USER_PASSWORD.0, &[]);
    send(sa, cx, now, REQUEST, &[name, password]);
}

/// Name and password came: tells the user whether they are right. One attempt for each ISAKMP SA.
pub(super) fn judge(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, received: &Received<'_>) {
    retire(sa, cx);
    let name = octets(&received.attributes, V1ConfigAttribute::XAUTH_USER_NAME.0);
    let password = octets(&received.attributes, V1ConfigAttribute::XAUTH_USER_PASSWORD.0);
    let user: Option<Identity> = name
        .filter(|name| !name.is_empty())
        .and_then(|name| std::str::from_utf8(name).ok())
        .and_then(|name| name.parse().ok())
        .filter(|user: &Identity| !user.is_wildcard());
    let takes = |c: &Arc<Connection>| user.as_ref().is_some_and(|user| c.remote_user().matches(user).is_some());
    let taken = sa.connection.iter().chain(&sa.configuration.alternatives).find(|c| takes(c)).cloned();
    let right = user.as_ref().zip(password).is_some_and(|(user, password)| {
        // Every candidate is compared, so that the time does not tell which one it was.
        xauth_secrets(&cx.secrets, user).iter().fold(false, |found, s| same(&s.secret, password) | found)
    });
    let mut good = taken.is_some() && right;
    if let (true, Some(connection), Some(local), Some(user)) = (good, &taken, &sa.local_id, &user)
        && (sa.configuration.uniqueness != Some(true) || connection.unique == config::Unique::Never)
    {
        sa.configuration.not_unique = phase1::not_unique(cx, connection, (local, user), sa.remote);
        good = sa.configuration.not_unique.is_none();
    }
    let shown = user.as_ref().map(ToString::to_string).unwrap_or_default();
    sa.log(
        cx,
        "IKE",
        1,
        match good {
            true => format!("XAuth authentication of '{shown}' successful"),
            false => format!("XAuth authentication of '{shown}' failed"),
        },
    );
    if let Some(connection) = taken.clone().filter(|_| good) {
        sa.connection = Some(connection);
    }
    let known = |user: &Identity| !xauth_secrets(&cx.secrets, user).is_empty();
    sa.configuration.user_known = taken.is_some() && user.as_ref().is_some_and(known);
    sa.configuration.user = user;
    sa.configuration.stage = Stage::Judged(good);
    send(sa, cx, now, SET, &[status(if good { XauthStatus::OK } else { XauthStatus::FAIL })]);
}

/// Why a user was refused.
pub(super) fn refusal(sa: &IsakmpSa) -> FailureKind {
    if let Some(kind) = &sa.configuration.not_unique {
        return kind.clone();
    }
    let user = sa.configuration.user.clone().unwrap_or(Identity::ANY);
    FailureKind::XauthRefused { user, found_by: Side::Us, known: sa.configuration.user_known }
}

/// The user knows.
pub(super) fn acknowledged(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, good: bool) -> Option<FailureKind> {
    retire(sa, cx);
    if !good {
        crate::v1::informational::delete_isakmp(sa, cx);
        return Some(refusal(sa));
    }
    authenticated(sa, cx, now);
    None
}

/// Our name: `xauth_id`, or the identity of the round, or of phase 1.
fn own_name(sa: &IsakmpSa) -> String {
    let round = sa.connection.as_ref().and_then(|c| c.local_xauth());
    let named = round.and_then(|round| round.xauth_id.clone());
    let of_round = round.map(|round| &round.id).filter(|id| !id.is_wildcard());
    named.or_else(|| of_round.or(sa.local_id.as_ref()).map(ToString::to_string)).unwrap_or_default()
}

/// The server did not accept us, or we have nothing to say.
fn refused(user: &str) -> FailureKind {
    FailureKind::XauthRefused { user: user.parse().unwrap_or(Identity::ANY), found_by: Side::Peer, known: true }
}

/// Answers with our name and password.
pub(super) fn reply(sa: &mut IsakmpSa, cx: &mut Context, times: u32, received: &Received<'_>) -> Option<FailureKind> {
    let user = own_name(sa);
    let kind = received.attributes.get(V1ConfigAttribute::XAUTH_TYPE.0).and_then(|v| v.number());
    let password = user
        .parse::<Identity>()
        .ok()
        .and_then(|id| xauth_secrets(&cx.secrets, &id).first().map(|s| s.secret.clone()))
        .filter(|_| kind.is_none_or(|kind| kind == u64::from(XauthType::GENERIC.0)) && times < MAX_QUESTIONS);
    let asks = received.attributes.get(V1ConfigAttribute::XAUTH_USER_NAME.0).is_some()
        || received.attributes.get(V1ConfigAttribute::XAUTH_USER_PASSWORD.0).is_some();
    let Some(password) = password.filter(|_| asks) else {
        answer(sa, cx, received, &[status(XauthStatus::FAIL)]);
        return Some(refused(&user));
    };
    let name = attribute(V1ConfigAttribute::XAUTH_USER_NAME.0, user.as_bytes());
    let secret = attribute(V1ConfigAttribute::XAUTH_USER_PASSWORD.0, password.expose());
    answer(sa, cx, received, &[name, secret]);
    sa.configuration.stage = Stage::Answering(times + 1);
    None
}

/// The server's verdict.
pub(super) fn told(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, received: &Received<'_>) -> Option<FailureKind> {
    let verdict = received.attributes.get(V1ConfigAttribute::XAUTH_STATUS.0).and_then(|v| v.number());
    answer(sa, cx, received, &[attribute(V1ConfigAttribute::XAUTH_STATUS.0, &[])]);
    if verdict != Some(u64::from(XauthStatus::OK.0)) {
        return Some(refused(&own_name(sa)));
    }
    let user = own_name(sa);
    sa.log(cx, "IKE", 1, format!("XAuth authentication of '{user}' (myself) successful"));
    authenticated(sa, cx, now);
    None
}
