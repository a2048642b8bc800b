//! The pace at which a live connection's IKE SAs are established anew, against the timers that it is configured with.

use crate::rhythm::{Rhythm, rhythm};
use crate::{Cause, Finding};
use model::{FailureKind, LiveConnection, SaSnapshot, Tombstone};
use std::time::Duration;

/// How long a dead peer is asked at most before it counts as dead, where nothing is known of it: charon's five repetitions take 165 s.
const REPETITIONS: Duration = Duration::from_secs(200);

/// Some instant that is later than all that is remembered, in milliseconds.
const NOW: u64 = 1 << 48;

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What has the period of a connection that is made anew again and again.
struct Match {
    /// As a sentence.
    evidence: String,
    /// Where a lifetime is to blame, what to do about it.
    remedy: Option<String>,
}

/// Has a finding of flapping say its period and the timer that has it: by the key of the configuration and its place if there is
/// such a key, else by what is known of daemons.
pub(crate) fn tell(
    found: &mut Finding,
    connection: Option<&LiveConnection>,
    sas: &[&SaSnapshot],
    ended: &[&Tombstone],
) {
    let since = |time: Duration| NOW.saturating_sub(milliseconds(time));
    let gone = ended.iter().filter(|t| t.child.is_none()).filter_map(|t| Some(since(t.ended + t.sa.established?)));
    let mut ups: Vec<u64> = gone.chain(sas.iter().filter_map(|sa| Some(since(sa.established?)))).collect();
    ups.sort_unstable();
    let Rhythm::Flapping(pace) = rhythm(&ups, None) else { return };
    let period = Duration::from_millis(pace.period);
    let latest = ended.iter().find(|t| t.child.is_none() && t.sa.established.is_some());
    let matched = latest.and_then(|latest| timer(period, connection, latest));
    let about = format!("anew every {:.0} s", period.as_secs_f64());
    match (matched, pace.timer) {
        (Some(Match { evidence, remedy }), _) => {
            found.evidence.push(format!("{about}: {evidence}"));
            if let Some(remedy) = remedy {
                blame_lifetime(found, remedy);
            }
        }
        (None, Some(timer)) => found.evidence.push(format!("{about}, as a timer of a daemon's: {timer}")),
        (None, None) => found.evidence.push(format!("{about}: no timer of this connection has that period")),
    }
}

/// The lifetime is a cause, and what to do about it is known better than the catalogue does.
fn blame_lifetime(found: &mut Finding, remedy: String) {
    match found.causes.iter().position(|cause| *cause == Cause::Lifetime) {
        Some(at) => {
            if let Some(line) = found.remedy.get_mut(at) {
                *line = remedy.into();
            }
        }
        None => {
            let at = found.causes.len().min(1);
            found.causes.insert(at, Cause::Lifetime);
            found.remedy.insert(at.min(found.remedy.len()), remedy.into());
        }
    }
}

/// Whether SAs with this lifetime come anew with that period: what renews them has some of it left, and a little is for making
/// them.
fn near(period: Duration, time: Duration) -> bool {
    period.abs_diff(time) <= (time / 8).max(Duration::from_secs(3))
}

fn timer(period: Duration, connection: Option<&LiveConnection>, latest: &Tombstone) -> Option<Match> {
    // RFC 4478 section 3: the responder says when its peer has to authenticate again.
    let asked = latest.sa.reauth_in.zip(latest.sa.established).map(|(left, age)| left + age);
    let timers = connection.map(|connection| connection.timers.as_slice()).unwrap_or_default();
    let of = |key: &str| timers.iter().find(|timer| timer.key == key && !timer.time.is_zero());
    let named = |key: &str| of(key).map(|timer| format!("{key} = {} s [{}]", timer.time.as_secs(), timer.place));
    for key in ["reauth_time", "rekey_time"] {
        let Some(timer) = of(key) else { continue };
        let over = of("over_time").map(|over| timer.time + over.time);
        let what = named(key).unwrap_or_default();
        if near(period, timer.time) {
            return Some(Match {
                evidence: format!("that is {what}: what renews the SA there ends it"),
                remedy: Some(format!("raise {what}, and see in the log why that ends the SA instead of renewing it")),
            });
        }
        if let (Some(over), Some(name)) = (over.filter(|over| near(period, *over)), named("over_time")) {
            return Some(Match {
                evidence: format!("that is {what} and {name} together, {} s: it was never renewed", over.as_secs()),
                remedy: Some(format!("see in the log why {what} does not renew the SA; {name} only ends it")),
            });
        }
    }
    if let Some(asked) = asked.filter(|asked| near(period, *asked)) {
        return Some(Match {
            evidence: format!(
                "that is the {} s after which the peer wants to be authenticated to again (AUTH_LIFETIME, RFC 4478)",
                asked.as_secs()
            ),
            remedy: Some(
                "raise the lifetime that the peer sends (there: reauth_time), or set a shorter reauth_time here".into(),
            ),
        });
    }
    let silent = matches!(latest.failure.kind, FailureKind::NoAnswer { .. });
    for key in ["dpd_timeout", "dpd_delay"] {
        let Some(timer) = of(key).filter(|_| silent) else { continue };
        if period >= timer.time && period <= timer.time + REPETITIONS {
            let what = named(key).unwrap_or_default();
            return Some(Match {
                evidence: format!("that is {what} and what it takes to give a silent peer up"),
                remedy: None,
            });
        }
    }
    None
}
