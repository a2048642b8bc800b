//! What a daemon says about itself: version, statistics, connections, counters and log lines.

use crate::Message;
use model::dataplane::{Mode, ShuntInstall, TrapInstall};
use model::{LiveChild, LiveConnection, LiveTimer, SaId, TrafficSelector};
use std::collections::BTreeMap;
use std::time::Duration;

/// The answer to `version`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionInfo {
    /// The daemon's name.
    pub daemon: String,
    /// Its version.
    pub version: String,
    /// The operating system, as `uname` says.
    pub sysname: String,
    /// Its release.
    pub release: String,
    /// The machine.
    pub machine: String,
}

/// The message of a [`VersionInfo`].
pub fn version(info: &VersionInfo) -> Message {
    let mut m = Message::new();
    m.set("daemon", &info.daemon)
        .set("version", &info.version)
        .set("sysname", &info.sysname)
        .set("release", &info.release)
        .set("machine", &info.machine);
    m
}

/// The answer to `stats`. The arrays are by priority: critical, high, medium, low.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Time since the daemon runs.
    pub running: Duration,
    /// When it started, in local time: `Nov 24 01:05:33 2026`.
    pub since: String,
    /// Threads that work for the daemon.
    pub workers_total: u32,
    /// Those of them with nothing to do.
    pub workers_idle: u32,
    /// Those of them with something to do.
    pub workers_active: [u32; 4],
    /// Jobs waiting for a thread.
    pub queues: [u32; 4],
    /// Timers.
    pub scheduled: u32,
    /// IKE SAs.
    pub ike_sas: u32,
    /// Those of them half-open, as responder.
    pub half_open: u32,
    /// What is built in.
    pub plugins: Vec<String>,
}

/// The message of [`Stats`].
pub fn stats(s: &Stats) -> Message {
    let by_priority = |m: &mut Message, counts: [u32; 4]| {
        for (name, count) in ["critical", "high", "medium", "low"].into_iter().zip(counts) {
            m.number(name, count);
        }
    };
    let mut m = Message::new();
    m.section("uptime", |m| {
        m.set("running", rough_duration(s.running)).set("since", &s.since);
    })
    .section("workers", |m| {
        m.number("total", s.workers_total)
            .number("idle", s.workers_idle)
            .section("active", |m| by_priority(m, s.workers_active));
    })
    .section("queues", |m| by_priority(m, s.queues))
    .number("scheduled", s.scheduled)
    .section("ikesas", |m| {
        m.number("total", s.ike_sas).number("half-open", s.half_open);
    })
    .list("plugins", &s.plugins);
    m
}

/// The largest unit of which there are two: `26 seconds`, `3 hours`.
fn rough_duration(d: Duration) -> String {
    let seconds = d.as_secs();
    let (count, unit) = [(86_400, "day"), (3600, "hour"), (60, "minute")]
        .into_iter()
        .find(|(size, _)| seconds >= 2 * size)
        .map_or((seconds, "second"), |(size, unit)| (seconds / size, unit));
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// A connection, for the `list-conn` event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Its name.
    pub name: String,
    /// Our addresses, as configured.
    pub local_addrs: Vec<String>,
    /// The peer's addresses, as configured.
    pub remote_addrs: Vec<String>,
    /// `IKEv1`, `IKEv2` or `IKEv1/2`.
    pub version: String,
    /// Time between reauthentications, zero for none.
    pub reauth_time: Duration,
    /// Time between rekeyings of the IKE SA, zero for none.
    pub rekey_time: Duration,
    /// What happens with a second IKE SA of the same peer, strongSwan's word.
    pub unique: String,
    /// Idle time before the peer is asked for a sign of life, zero for never.
    pub dpd_delay: Duration,
    /// How we authenticate, by round.
    pub local: Vec<AuthInfo>,
    /// How the peer has to authenticate, by round.
    pub remote: Vec<AuthInfo>,
    /// Its children.
    pub children: Vec<ChildInfo>,
    /// The timers of its IKE SA that are on (our own key: strongSwan does not say where they are written).
    pub timers: Vec<LiveTimer>,
    /// Where `version` is written, likewise.
    pub version_at: Option<String>,
}

/// One authentication round of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthInfo {
    /// `pre-shared key`, `public key`, `EAP` ...: what swanctl prints in front of `authentication`.
    pub class: String,
    /// The identity, as configured.
    pub id: Option<String>,
    /// The user's name, as configured.
    pub xauth_id: Option<String>,
}

/// A child of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChildInfo {
    /// Its name.
    pub name: String,
    /// `TUNNEL` or `TRANSPORT`, for a shunt `PASS` or `DROP`.
    pub mode: String,
    /// Time between rekeyings, zero for none.
    pub rekey_time: Duration,
    /// Octets between rekeyings, zero for none.
    pub rekey_bytes: u64,
    /// Packets between rekeyings, zero for none.
    pub rekey_packets: u64,
    /// What happens when the peer is gone: `clear`, `trap`, `start`.
    pub dpd_action: String,
    /// What happens when the peer closes it: `none`, `trap`, `start`.
    pub close_action: String,
    /// Whether it is begun as soon as it is loaded (our own key: strongSwan does not say).
    pub starts: bool,
    /// Our traffic selectors, as configured (`dynamic` is possible).
    pub local_ts: Vec<String>,
    /// The peer's.
    pub remote_ts: Vec<String>,
}

/// The `list-conn` event of a connection: `{NAME {..}}`.
pub fn list_conn(conn: &ConnectionInfo) -> Message {
    let mut m = Message::new();
    m.section(&conn.name, |m| {
        m.list("local_addrs", &conn.local_addrs)
            .list("remote_addrs", &conn.remote_addrs)
            .set("version", &conn.version)
            .number("reauth_time", conn.reauth_time.as_secs())
            .number("rekey_time", conn.rekey_time.as_secs())
            .set("unique", &conn.unique)
            .maybe("dpd_delay", (!conn.dpd_delay.is_zero()).then_some(conn.dpd_delay.as_secs()));
        for (side, rounds) in [("local", &conn.local), ("remote", &conn.remote)] {
            for (n, round) in rounds.iter().enumerate() {
                m.section(format!("{side}-{}", n + 1), |m| {
                    m.set("class", &round.class).maybe("id", round.id.as_ref());
                    m.maybe("xauth_id", round.xauth_id.as_ref());
                });
            }
        }
        m.section("children", |m| conn.children.iter().for_each(|child| list_child(m, child)));
        // Texts and no section: swanctl does not expect any further one.
        let timer = |timer: &LiveTimer| format!("{} {} {}", timer.key, timer.time.as_secs(), timer.place);
        m.list_if_any("shrike-timers", &conn.timers.iter().map(timer).collect::<Vec<_>>());
        m.maybe("shrike-version-at", conn.version_at.as_ref());
    });
    m
}

fn list_child(m: &mut Message, child: &ChildInfo) {
    m.section(&child.name, |m| {
        m.set("mode", &child.mode)
            .number("rekey_time", child.rekey_time.as_secs())
            .number("rekey_bytes", child.rekey_bytes)
            .number("rekey_packets", child.rekey_packets)
            .set("dpd_action", &child.dpd_action)
            .set("close_action", &child.close_action)
            .list("local-ts", &child.local_ts)
            .list("remote-ts", &child.remote_ts)
            .set("shrike-starts", if child.starts { "yes" } else { "no" });
    });
}

/// The `list-policy` event of a trap: `{CONNECTION/CHILD {..}}`.
pub fn list_policy(trap: &TrapInstall) -> Message {
    let mode = if trap.mode == Mode::Tunnel { "TUNNEL" } else { "TRANSPORT" };
    policy((&trap.connection, &trap.name), mode, (&trap.local_ts, &trap.remote_ts))
}

/// The `list-policy` event of a shunt.
pub fn list_shunt(shunt: &ShuntInstall) -> Message {
    policy((&shunt.connection, &shunt.name), shunt.action.name(), (&shunt.local_ts, &shunt.remote_ts))
}

fn policy((ike, child): (&str, &str), mode: &str, ts: (&[TrafficSelector], &[TrafficSelector])) -> Message {
    let mut m = Message::new();
    m.section(format!("{ike}/{child}"), |m| {
        m.set("child", child)
            .set("ike", ike)
            .set("mode", mode)
            .list("local-ts", ts.0.iter().map(ToString::to_string))
            .list("remote-ts", ts.1.iter().map(ToString::to_string));
    });
    m
}

/// The connections in a `list-conn` event, for diagnosis: the names, the peer's addresses and the children of what
/// [`list_conn`] or charon wrote.
pub fn live_connections(message: &Message) -> Vec<LiveConnection> {
    let is_child = |(_, m): &(&str, &Message)| !matches!(m.get_str("mode"), Some("PASS" | "DROP"));
    let child = |(name, m): (&str, &Message)| LiveChild {
        name: name.to_string(),
        starts: m.get_str("shrike-starts").map(|starts| starts == "yes"),
        trapped: false,
        acts_on_dead_peer: matches!(m.get_str("dpd_action"), Some("trap" | "hold" | "start" | "restart")),
        rekey_time: seconds(m, "rekey_time"),
    };
    let timer = |text: &str| {
        let mut words = text.splitn(3, ' ');
        let (key, time) = (words.next()?.to_string(), words.next()?.parse().ok()?);
        Some(LiveTimer { key, time: Duration::from_secs(time), place: words.next()?.to_string() })
    };
    let connection = |(name, m): (&str, &Message)| LiveConnection {
        timers: m.texts("shrike-timers").filter_map(timer).collect(),
        version_at: m.get_str("shrike-version-at").map(str::to_string),
        name: name.to_string(),
        remote_addrs: m.texts("remote_addrs").map(str::to_string).collect(),
        version: match m.get_str("version") {
            Some("IKEv1") => Some(1),
            Some("IKEv2") => Some(2),
            _ => None,
        },
        // It is left out where it is zero.
        checks_peer: m.get_str("rekey_time").map(|_| seconds(m, "dpd_delay").is_some()),
        ike_lifetime: [seconds(m, "rekey_time"), seconds(m, "reauth_time")].into_iter().flatten().min(),
        children: m
            .get_section("children")
            .into_iter()
            .flat_map(Message::sections)
            .filter(is_child)
            .map(child)
            .collect(),
    };
    // One that has nothing but shunts is not for negotiating.
    let all_shunts = |(_, m): &(&str, &Message)| {
        let mut all = m.get_section("children").into_iter().flat_map(Message::sections).peekable();
        all.peek().is_some() && !all.any(|child| is_child(&child))
    };
    message.sections().filter(|connection| !all_shunts(connection)).map(connection).collect()
}

/// A time in seconds; none where it is zero or not there.
fn seconds(m: &Message, key: &str) -> Option<Duration> {
    let seconds = m.get_str(key)?.parse().ok().filter(|seconds: &u64| *seconds != 0)?;
    Some(Duration::from_secs(seconds))
}

/// Notes a `list-policy` event of a trap at the child it is of.
pub fn note_trap(connections: &mut [LiveConnection], message: &Message) {
    for (_, m) in message.sections() {
        let (ike, child) = (m.get_str("ike").unwrap_or_default(), m.get_str("child").unwrap_or_default());
        let of_ike = connections.iter_mut().filter(|connection| connection.name == ike);
        of_ike.flat_map(|c| &mut c.children).filter(|c| c.name == child).for_each(|c| c.trapped = true);
    }
}

/// For how long a daemon runs, from its answer to `stats`: the largest unit only, so at most half off.
pub fn running(stats: &Message) -> Option<Duration> {
    let text = stats.get_section("uptime")?.get_str("running")?;
    let (count, unit) = text.split_once(' ')?;
    let size = match unit.trim_end_matches('s') {
        "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        "day" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(count.parse::<u64>().ok()?.saturating_mul(size)))
}

/// The counters in the answer to `get-counters`, by connection and name.
pub fn counters_from(message: &Message) -> BTreeMap<String, BTreeMap<String, u64>> {
    let values = |m: &Message| {
        let number = |name: &&str| Some((name.to_string(), m.get_str(name)?.parse().ok()?));
        COUNTER_NAMES.iter().filter_map(number).collect()
    };
    let sets = message.get_section("counters").into_iter().flat_map(Message::sections);
    sets.map(|(name, m)| (name.to_string(), values(m))).collect()
}

/// Names of the counters of `get-counters`, in strongSwan's order.
pub const COUNTER_NAMES: &[&str] = &[
    "ike-rekey-init",
    "ike-rekey-resp",
    "child-rekey",
    "invalid",
    "invalid-spi",
    "ike-init-in-req",
    "ike-init-in-resp",
    "ike-init-out-req",
    "ike-init-out-resp",
    "ike-auth-in-req",
    "ike-auth-in-resp",
    "ike-auth-out-req",
    "ike-auth-out-resp",
    "create-child-in-req",
    "create-child-in-resp",
    "create-child-out-req",
    "create-child-out-resp",
    "info-in-req",
    "info-in-resp",
    "info-out-req",
    "info-out-resp",
];

/// The answer to `get-counters`: for each connection (the empty name stands for the whole daemon) its counters by name.
pub fn counters<'a>(sets: impl IntoIterator<Item = (&'a str, &'a [(&'a str, u64)])>) -> Message {
    let mut m = Message::new();
    m.section("counters", |m| {
        for (name, counters) in sets {
            m.section(name, |m| {
                for (counter, value) in counters {
                    m.number(counter, *value);
                }
            });
        }
    })
    .set("success", "yes");
    m
}

/// A `log` or `control-log` event: strongSwan's log group, level 0 to 4, the worker, the IKE SA it is about, the line.
pub fn log(group: &str, level: u8, worker: u32, sa: Option<(SaId, &str)>, line: &str) -> Message {
    let mut m = Message::new();
    m.set("group", group).number("level", level).number("thread", worker);
    if let Some((id, name)) = sa {
        m.maybe("ikesa-name", (!name.is_empty()).then_some(name)).number("ikesa-uniqueid", id.0);
    }
    m.set("msg", line);
    m
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_charon_prints_them() {
        for (seconds, text) in
            [(0, "0 seconds"), (1, "1 second"), (26, "26 seconds"), (119, "119 seconds"), (120, "2 minutes")]
        {
            assert_eq!(rough_duration(Duration::from_secs(seconds)), text);
        }
        assert_eq!(rough_duration(Duration::from_secs(7300)), "2 hours");
        assert_eq!(rough_duration(Duration::from_secs(172_800)), "2 days");
    }

    #[test]
    fn what_a_diagnosis_needs_comes_back() {
        let child = |name: &str, starts| ChildInfo { name: name.into(), starts, ..ChildInfo::default() };
        let acting = ChildInfo { dpd_action: "restart".into(), ..child("b", false) };
        let info = ConnectionInfo {
            name: "gw".into(),
            remote_addrs: vec!["192.0.2.2".into()],
            rekey_time: Duration::from_secs(14_400),
            reauth_time: Duration::from_secs(7200),
            children: vec![child("a", true), ChildInfo { rekey_time: Duration::from_secs(3600), ..acting }],
            ..ConnectionInfo::default()
        };
        let timer = |key: &str, time, place: &str| LiveTimer {
            key: key.into(),
            time: Duration::from_secs(time),
            place: place.into(),
        };
        let timers = vec![timer("rekey_time", 14_400, "/etc/s w.conf:7 (connections.gw.rekey_time), by default")];
        let info = ConnectionInfo { timers: timers.clone(), version_at: Some("a.conf:3 (v)".into()), ..info };
        let told = live_connections(&list_conn(&info)).remove(0);
        assert_eq!((told.timers, told.version_at.as_deref()), (timers, Some("a.conf:3 (v)")));
        let shunt = ChildInfo { name: "lan".into(), mode: "PASS".into(), ..ChildInfo::default() };
        let stop = ConnectionInfo { name: "stop".into(), children: vec![shunt.clone()], ..ConnectionInfo::default() };
        assert_eq!(live_connections(&list_conn(&stop)), [], "nothing is negotiated for it");
        let mut info = info;
        info.children.push(shunt);
        let [found] = &live_connections(&list_conn(&info))[..] else { panic!() };
        assert_eq!((found.name.as_str(), found.remote_addrs.as_slice()), ("gw", &["192.0.2.2".to_string()][..]));
        let starts = |name: &str, starts, trapped| LiveChild {
            name: name.into(),
            starts,
            trapped,
            acts_on_dead_peer: name == "b",
            rekey_time: (name == "b").then_some(Duration::from_secs(3600)),
        };
        assert_eq!((found.checks_peer, found.ike_lifetime), (Some(false), Some(Duration::from_secs(7200))));
        let watched = ConnectionInfo { dpd_delay: Duration::from_secs(30), ..info.clone() };
        assert_eq!(live_connections(&list_conn(&watched))[0].checks_peer, Some(true));
        assert_eq!(found.children, [starts("a", Some(true), false), starts("b", Some(false), false)]);
        let mut policy = Message::new();
        policy.section("gw/b", |m| {
            m.set("child", "b").set("ike", "gw");
        });
        let mut connections = live_connections(&list_conn(&info));
        note_trap(&mut connections, &policy);
        assert_eq!(connections[0].children, [starts("a", Some(true), false), starts("b", Some(false), true)]);
        for seconds in [1, 26, 7200, 172_800] {
            let running_for = Duration::from_secs(seconds);
            assert_eq!(running(&stats(&Stats { running: running_for, ..Stats::default() })), Some(running_for));
        }
        let counted = counters([("gw", &[("ike-init-out-req", 5)][..])]);
        assert_eq!(counters_from(&counted)["gw"]["ike-init-out-req"], 5);
    }

    #[test]
    fn log_lines_name_their_sa() {
        let raw = |m: Message| m.to_string();
        assert_eq!(
            raw(log("IKE", 1, 3, Some((SaId(7), "gw")), "hello")),
            "{group=IKE level=1 thread=3 ikesa-name=gw ikesa-uniqueid=7 msg=hello}"
        );
        assert_eq!(raw(log("NET", 2, 0, None, "x")), "{group=NET level=2 thread=0 msg=x}");
    }
}
