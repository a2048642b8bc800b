//! `shrike show`: one screen that says what is up, what is waiting for what, and what failed and why.
//!
//! First a line that sums up, then a block for each IKE SA (by name), then a block for each SA that ended (the latest
//! first). A fault has the reason with both sides' values (`why`), the place in the configuration (`where`) and what to
//! do about it (`do`); an ordinary end has one line.

use model::dataplane::Mode;
use model::{ChildSnapshot, ChildState, IkeState, Role, SaSnapshot, Tombstone, UNREADABLE, UNREADABLE_TEXT};
use std::fmt::Display;
use std::time::Duration;
use wire::grammar::rule;

/// Columns that the text after a label fills before it is broken.
const WIDTH: usize = 88;

/// Whether marks become terminal colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// ANSI colours, or plain text.
    pub colour: bool,
}

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// Up and well.
    Good,
    /// Under way.
    Busy,
    /// Failed.
    Bad,
    /// A name: where the eye looks first.
    Name,
    /// Of lesser interest.
    Faint,
}

impl Style {
    /// Plain text.
    pub const PLAIN: Style = Style { colour: false };
    /// ANSI colours.
    pub const COLOUR: Style = Style { colour: true };

    /// The text, marked. Control characters are replaced: names and reasons may come from the network.
    fn paint(self, mark: Mark, text: impl Display) -> String {
        let text = clean(&text.to_string());
        let code = match mark {
            Mark::Good => "32",
            Mark::Busy => "33",
            Mark::Bad => "1;31",
            Mark::Name => "1",
            Mark::Faint => "2",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text }
    }
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The screen.
pub fn render(sas: &[SaSnapshot], ended: &[Tombstone], style: Style) -> String {
    let mut page = Page { style, out: summary(sas, ended, style) };
    let mut sas: Vec<&SaSnapshot> = sas.iter().collect();
    sas.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    sas.into_iter().for_each(|sa| page.ike_sa(sa));
    let mut ended: Vec<&Tombstone> = ended.iter().collect();
    ended.sort_by_key(|t| (t.failure.kind.is_ordinary(), t.ended));
    let mut after_a_line = false;
    for t in ended {
        let ordinary = t.failure.kind.is_ordinary();
        page.tombstone(t, after_a_line && ordinary);
        after_a_line = ordinary;
    }
    page.out
}

fn summary(sas: &[SaSnapshot], ended: &[Tombstone], style: Style) -> String {
    let of = |wanted: fn(IkeState) -> bool| sas.iter().filter(|sa| wanted(sa.state)).count();
    let up = of(|s| matches!(s, IkeState::Established | IkeState::Rekeying));
    let connecting = of(|s| matches!(s, IkeState::Created | IkeState::Connecting));
    let failed = ended.iter().filter(|t| !t.failure.kind.is_ordinary()).count();
    let mut parts = Vec::new();
    let mut part = |mark, count: usize, what: &str| {
        if count > 0 {
            parts.push(style.paint(mark, format!("{count} {what}")));
        }
    };
    part(Mark::Good, up, "established");
    part(Mark::Busy, connecting, "connecting");
    part(Mark::Faint, sas.len() - up - connecting, "closing");
    part(Mark::Bad, failed, "failed");
    if parts.is_empty() { "No IKE SAs.\n".to_string() } else { format!("IKE SAs: {}\n", parts.join(", ")) }
}

struct Page {
    style: Style,
    out: String,
}

impl Page {
    fn line(&mut self, indent: usize, text: &str) {
        self.out += &format!("{:indent$}{text}\n", "");
    }

    /// A line with a label; text that is too long goes on under itself, broken between clauses first.
    fn labelled(&mut self, indent: usize, label: &str, text: &str) {
        let text = clean(text);
        let mut label = self.style.paint(Mark::Faint, format!("{label:<8}"));
        for part in broken(&text) {
            self.line(indent, &format!("{label}{part}"));
            label = " ".repeat(8);
        }
    }

    fn ike_sa(&mut self, sa: &SaSnapshot) {
        let style = self.style;
        let mark = match sa.state {
            IkeState::Established | IkeState::Rekeying => Mark::Good,
            IkeState::Created | IkeState::Connecting => Mark::Busy,
            IkeState::Rekeyed | IkeState::Deleting | IkeState::Destroying => Mark::Faint,
        };
        let state = style.paint(mark, sa.state.name());
        let age = span(sa.established.unwrap_or(sa.age));
        let renewals = [("rekeying", sa.rekey_in), ("reauthentication", sa.reauth_in), ("end", sa.expires_in)];
        let times = later(&renewals);
        self.out.push('\n');
        self.line(0, &format!("{} {}  {state} {age}{times}", style.paint(Mark::Name, name(sa)), sa.id));
        self.ends(2, sa, "(not known yet)");
        let (i, r) = if sa.role == Role::Initiator { ("*", "") } else { ("", "*") };
        let role = if sa.role == Role::Initiator { "initiator" } else { "responder" };
        let spis = format!("{}_i{i} {}_r{r}", sa.spis.initiator, sa.spis.responder);
        let mode = sa.mode.map(|mode| format!("{mode}, ").to_lowercase()).unwrap_or_default();
        self.labelled(
            2,
            &format!("IKEv{}", sa.version),
            &format!("{role}, {mode}{}, {spis}, worker {}", sa.authentication, sa.worker),
        );
        if let Some(suite) = &sa.suite {
            self.labelled(2, "suite", &suite.to_string());
        }
        self.negotiation(sa);
        sa.children.iter().for_each(|child| self.child_sa(child, sa.state));
        for name in sa.configured_children.iter().filter(|name| !sa.children.iter().any(|c| c.name == **name)) {
            let text = format!("{}  {}", style.paint(Mark::Name, name), style.paint(Mark::Faint, "no Child SA"));
            self.line(2, &text);
        }
    }

    /// Who and where the two ends are.
    fn ends(&mut self, indent: usize, sa: &SaSnapshot, unknown: &str) {
        for (label, id, address, nat) in
            [("local", &sa.local_id, sa.local, sa.nat.local), ("remote", &sa.remote_id, sa.remote, sa.nat.remote)]
        {
            let id = id.as_ref().map_or_else(|| unknown.to_string(), ToString::to_string);
            let nat = if nat { ", behind NAT" } else { "" };
            self.labelled(indent, label, &format!("{id} at {address}{nat}"));
        }
        if let Some(user) = &sa.remote_xauth_id {
            self.labelled(indent, "user", &format!("{user}, by XAuth"));
        }
        let ends = [(&sa.local_vips, "ours, from the peer"), (&sa.remote_vips, "the peer's, from us")];
        for (addresses, whose) in ends.into_iter().filter(|(addresses, _)| !addresses.is_empty()) {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            self.labelled(indent, "virtual", &format!("{} ({whose})", addresses.join(" ")));
        }
        if sa.nat.forced && !sa.nat.local && !sa.nat.remote {
            self.labelled(indent, "NAT", "none found; ESP goes in UDP because the configuration asks for it");
        }
    }

    /// What the SA waits for, and how that goes.
    fn negotiation(&mut self, sa: &SaSnapshot) {
        if let Some(id) = sa.waiting_for {
            self.labelled(2, "now", rule(id).story);
        }
        let r = sa.retransmissions;
        if r.sent > 0 {
            let answer = if sa.suspicion.is_some() { "no good answer yet" } else { "no answer yet" };
            self.labelled(2, "sent", &format!("the request again {}, {answer}", times(r.sent.into())));
        }
        match sa.suspicion.as_deref() {
            Some(UNREADABLE) if sa.role == Role::Initiator => {
                self.labelled(2, "heard", &format!("{UNREADABLE_TEXT}: anybody can have sent it"));
            }
            Some(UNREADABLE) => {
                self.labelled(2, "heard", "a proof that cannot be decrypted: the pre-shared keys seem to differ");
            }
            Some(said) if sa.established.is_some() => {
                let text = format!("{said} from the peer, unprotected, and nothing else since: not acted upon");
                self.labelled(2, "heard", &text);
            }
            Some(error) => {
                self.labelled(
                    2,
                    "heard",
                    &format!("{error} from the peer, unprotected: not acted upon, and likely the reason"),
                );
            }
            None => {}
        }
        if r.total > r.sent {
            self.labelled(2, "lost", &format!("requests had to be sent again {} so far", times(r.total.into())));
        }
        if r.answered > 0 {
            let text =
                format!("the peer repeated a request {}: our answers may not reach it", times(r.answered.into()));
            self.labelled(2, "heard", &text);
        }
        self.sending("sending", sa);
        if !sa.tasks_queued.is_empty() {
            self.labelled(2, "queued", &sa.tasks_queued.join(" "));
        }
    }

    /// What the operating system said of the SA's datagrams.
    fn sending(&mut self, label: &str, sa: &SaSnapshot) {
        if let Some(error) = &sa.send_error {
            let by = error.reporter.map(|reporter| format!(", says {reporter}")).unwrap_or_default();
            let text = format!("{}{by} ({}, the latest {} ago)", error.trouble, times(error.count), span(error.last));
            self.labelled(2, label, &text);
        }
    }

    fn child_sa(&mut self, child: &ChildSnapshot, parent: IkeState) {
        let style = self.style;
        let name = format!("{} {}", style.paint(Mark::Name, &child.name), child.id);
        let selectors = |list: &[model::TrafficSelector]| {
            if list.is_empty() {
                "?".to_string()
            } else {
                list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            }
        };
        let selectors = format!("{} === {}", selectors(&child.local_ts), selectors(&child.remote_ts));
        let Some(installed) = child.installed else {
            let connecting = matches!(parent, IkeState::Created | IkeState::Connecting);
            let what = if connecting { "waits for the IKE SA" } else { "is being negotiated" };
            self.line(2, &format!("{name}  {}", style.paint(Mark::Busy, what)));
            return self.labelled(4, "traffic", &selectors);
        };
        let mark = match child.state {
            ChildState::Installed | ChildState::Rekeying => Mark::Good,
            ChildState::Larval | ChildState::Installing => Mark::Busy,
            ChildState::Rekeyed | ChildState::Deleting | ChildState::Deleted => Mark::Faint,
        };
        let state = style.paint(mark, child.state.name());
        let times = later(&[("rekeying", child.rekey_in), ("end", child.expires_in)]);
        self.line(2, &format!("{name}  {state} {}{times}", span(installed)));
        self.labelled(4, "traffic", &selectors);
        let mode = if child.mode == Mode::Tunnel { "tunnel mode" } else { "transport mode" };
        let udp = if child.encapsulated { " in UDP" } else { "" };
        let suite = child.suite.map(|s| format!("{s}, ")).unwrap_or_default();
        self.labelled(4, "ESP", &format!("{suite}{mode}{udp}, reqid {}", child.reqid));
        let c = &child.counters;
        for (label, spi, bytes, packets, idle) in [
            ("in", child.spi_in, c.bytes_in, c.packets_in, c.idle_in),
            ("out", child.spi_out, c.bytes_out, c.packets_out, c.idle_out),
        ] {
            let last = idle.map(|idle| format!(", last {} ago", span(idle))).unwrap_or_default();
            let plural = if packets == 1 { "" } else { "s" };
            self.labelled(4, label, &format!("{spi:08x}  {packets} packet{plural}, {}{last}", octets(bytes)));
        }
    }

    fn tombstone(&mut self, t: &Tombstone, close: bool) {
        let style = self.style;
        let child = t.child.as_ref().map(|child| format!(" / {}", style.paint(Mark::Name, child))).unwrap_or_default();
        let title = format!("{} {}{child}", style.paint(Mark::Name, name(&t.sa)), t.sa.id);
        let kind = &t.failure.kind;
        let ago = span(t.ended);
        if !close {
            self.out.push('\n');
        }
        if kind.is_ordinary() {
            let next = t.again_in.map(|time| format!("; begun again in {}", span(time))).unwrap_or_default();
            let text = style.paint(Mark::Faint, format!("ended {ago} ago: {kind}{next}"));
            return self.line(0, &format!("{title}  {text}"));
        }
        let what = if t.rekeying.is_some() { "NOT REKEYED" } else { "FAILED" };
        self.line(0, &format!("{title}  {} {ago} ago", style.paint(Mark::Bad, format!("{what} {}", kind.code()))));
        self.ends(2, &t.sa, "(unknown)");
        self.labelled(2, "why:", &kind.to_string());
        if let Some(place) = &t.failure.config {
            self.labelled(2, "where:", &place.to_string());
        }
        self.labelled(2, "do:", &t.remedy());
        if let Some(time) = t.again_in {
            let what = if t.rekeying.is_some() { "rekeyed" } else { "begun again" };
            self.labelled(2, "next:", &format!("{what} in {}", span(time)));
        }
        let plural = |n: u32| if n == 1 { "" } else { "s" };
        let (i, o) = (t.datagrams_in, t.datagrams_out);
        let seen = format!("{i} datagram{} from the peer, {o} to it, in {}", plural(i), span(t.sa.age));
        self.labelled(2, "seen:", &seen);
        self.sending("sent:", &t.sa);
    }
}

fn name(sa: &SaSnapshot) -> &str {
    if sa.name.is_empty() { "(unnamed)" } else { &sa.name }
}

fn times(n: u64) -> String {
    if n == 1 { "once".to_string() } else { format!("{n} times") }
}

fn later(times: &[(&str, Option<Duration>)]) -> String {
    times.iter().filter_map(|(what, time)| time.map(|t| format!(", {what} in {}", span(t)))).collect()
}

/// A time in its two largest units: `4s`, `2min 5s`, `3h 20min`, `5d 1h`.
fn span(d: Duration) -> String {
    let s = d.as_secs();
    let two = |large, large_unit, small, small_unit| {
        if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit} {small}{small_unit}") }
    };
    match s {
        0..60 => format!("{s}s"),
        60..3600 => two(s / 60, "min", s % 60, "s"),
        3600..86_400 => two(s / 3600, "h", s % 3600 / 60, "min"),
        _ => two(s / 86_400, "d", s % 86_400 / 3600, "h"),
    }
}

/// An amount of data in decimal units: `252 B`, `25.2 MB`.
fn octets(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes / 100, UNITS[0]);
    // In tenths of the unit, so that no floating point is needed.
    for larger in &UNITS[1..] {
        if value < 10_000 {
            break;
        }
        (value, unit) = (value / 1000, larger);
    }
    format!("{}.{} {unit}", value / 10, value % 10)
}

/// The lines of a text: one if it fits, else one for each clause, those that are still too long broken between words.
fn broken(text: &str) -> Vec<String> {
    if text.chars().count() <= WIDTH {
        return vec![text.to_string()];
    }
    let mut lines = Vec::new();
    for clause in text.split_inclusive("; ") {
        let mut line = String::new();
        for word in clause.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{connecting, ended, established, secs};
    use model::{Algorithm, Dimension, FailureKind, Mismatch, NatState, Phase, Rekeying, Retransmissions, SaId, Side};
    use wire::grammar::RuleId;
    use wire::registry::{EncryptionId, KeyExchangeId, TransformType};

    fn show(sas: &[SaSnapshot], ended: &[Tombstone]) -> String {
        render(sas, ended, Style::PLAIN)
    }

    #[test]
    fn ikev1_says_its_mode() {
        let text = show(&[crate::samples::isakmp()], &[]);
        let line = "  IKEv1   initiator, main mode, pre-shared-key, 4cf72b12ea0a629d_i* 0000000000000000_r, worker 1\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn nothing() {
        assert_eq!(show(&[], &[]), "No IKE SAs.\n");
    }

    #[test]
    fn what_the_peer_says_unprotected_is_shown() {
        let mut sa = connecting();
        sa.suspicion = Some("NO_PROPOSAL_CHOSEN".into());
        let shown = show(&[sa.clone()], &[]);
        assert!(shown.contains("  sent    the request again 2 times, no good answer yet\n"), "{shown}");
        assert!(shown.contains("  heard   NO_PROPOSAL_CHOSEN from the peer, unprotected: not acted upon,"), "{shown}");
        sa.send_error = Some(model::SendError {
            to: ([192, 0, 2, 2], 500).into(),
            trouble: model::SendTrouble::PortUnreachable,
            count: 3,
            last: Duration::from_secs(4),
            reporter: Some([192, 0, 2, 9].into()),
        });
        let text = show(&[sa.clone()], &[]).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("no daemon has the port, says 192.0.2.9 (3 times, the latest 4s ago)"), "{text}");
        let failed = FailureKind::NoConfig { local: sa.local, remote: sa.remote };
        let ended = Tombstone { sa: sa.clone(), ..ended(failed, "remote_addrs", 4) };
        let text = show(&[], &[ended]).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("sent: port unreachable: the host is there"), "{text}");
        sa.send_error = None;
        sa.suspicion = Some(UNREADABLE.into());
        sa.role = Role::Responder;
        assert!(show(&[sa.clone()], &[]).contains("a proof that cannot be decrypted"));
        sa.role = Role::Initiator;
        let shown = show(&[sa], &[]);
        assert!(shown.contains("  heard   an encrypted message came that our keys do not open"), "{shown}");
    }

    #[test]
    fn established_and_connecting() {
        assert_eq!(
            show(&[established(), connecting()], &[]),
            "\
IKE SAs: 1 established, 1 connecting

branch #2  CONNECTING 12s
  local   (not known yet) at 192.168.0.1:500
  remote  (not known yet) at 192.168.0.9:500
  IKEv2   initiator, pre-shared-key, 31ee3f6a61962931_i* 0000000000000000_r, worker 1
  now     waiting for HDR, SAr1, KEr, Nr: the responder's choice of algorithms and its key
          exchange value
  sent    the request again 2 times, no answer yet
  lan #5  waits for the IKE SA
    traffic 10.1.0.0/16 === 10.2.0.0/16 10.3.0.0/16

gw-gw #1  ESTABLISHED 2h 5min, rekeying in 1h 47min
  local   moon.strongswan.org at 192.168.0.1:4500
  remote  sun.strongswan.org at 192.168.0.2:4500, behind NAT
  IKEv2   initiator, pre-shared-key, 31ee3f6a61962931_i* 5ec1aa279daadaf2_r, worker 3
  suite   AES_CBC-128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519
  net-net #4  INSTALLED 5min 1s, rekeying in 50min 27s, end in 1h
    traffic 10.1.0.0/16 === 10.2.0.0/16 10.3.0.0/16
    ESP     AES_GCM_16-128/ESN, tunnel mode in UDP, reqid 1
    in      ca23ef69  30000 packets, 25.2 MB, last 1s ago
    out     c056f948  1 packet, 84 B
  net-backup  no Child SA
"
        );
    }

    #[test]
    fn users_and_virtual_addresses_are_shown() {
        let addresses = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect();
        let client = SaSnapshot { local_vips: addresses(&["10.3.0.1", "2001:db8::1"]), ..crate::samples::isakmp() };
        let text = show(&[client], &[]);
        assert!(text.contains("\n  virtual 10.3.0.1 2001:db8::1 (ours, from the peer)\n"), "{text}");
        let user = Some("carol".parse().unwrap());
        let server =
            SaSnapshot { remote_vips: addresses(&["10.3.0.1"]), remote_xauth_id: user, ..crate::samples::isakmp() };
        let text = show(&[server], &[]);
        let lines = "\n  user    carol, by XAuth\n  virtual 10.3.0.1 (the peer's, from us)\n";
        assert!(text.contains(lines), "{text}");
    }

    #[test]
    fn a_responder_whose_answers_get_lost() {
        let sa = SaSnapshot {
            name: String::new(),
            role: Role::Responder,
            waiting_for: Some(RuleId::IkeAuthRequest),
            nat: NatState { forced: true, ..NatState::default() },
            retransmissions: Retransmissions { sent: 0, total: 1, answered: 3 },
            children: Vec::new(),
            suspicion: None,
            send_error: None,
            expires_in: None,
            heard: model::Heard::default(),
            configured_children: Vec::new(),
            tasks_queued: vec!["CHILD_CREATE"],
            ..connecting()
        };
        assert_eq!(
            show(&[sa], &[]),
            "\
IKE SAs: 1 connecting

(unnamed) #2  CONNECTING 12s
  local   (not known yet) at 192.168.0.1:500
  remote  (not known yet) at 192.168.0.9:500
  NAT     none found; ESP goes in UDP because the configuration asks for it
  IKEv2   responder, pre-shared-key, 31ee3f6a61962931_i 0000000000000000_r*, worker 1
  now     waiting for HDR, SK {IDi, AUTH, SAi2, TSi, TSr}: the initiator's identity and its proof
  lost    requests had to be sent again once so far
  heard   the peer repeated a request 3 times: our answers may not reach it
  queued  CHILD_CREATE
"
        );
    }

    #[test]
    fn a_wrong_secret() {
        let kind = FailureKind::PskMismatch {
            local: "moon.strongswan.org".parse().unwrap(),
            remote: "sun.strongswan.org".parse().unwrap(),
            tried: 1,
        };
        assert_eq!(
            show(&[], &[ended(kind, "secrets.ike-gw.secret", 31)]),
            "\
IKE SAs: 1 failed

gw-gw #7  FAILED PSK_MISMATCH 20s ago
  local   moon.strongswan.org at 192.168.0.1:4500
  remote  sun.strongswan.org at 192.168.0.2:4500, behind NAT
  why:    pre-shared keys differ: the peer's proof does not fit our secret for
          'moon.strongswan.org' and 'sun.strongswan.org'
  where:  /etc/swanctl/swanctl.conf:31 (secrets.ike-gw.secret)
  do:     make the secrets of this pair of identities equal at both ends
  seen:   2 datagrams from the peer, 2 to it, in 1s
"
        );
    }

    #[test]
    fn no_proposal_in_common() {
        let encryption =
            |bits| Algorithm { kind: TransformType::ENCR, id: EncryptionId::AES_CBC.0, key_length: Some(bits) };
        let group = Algorithm::from;
        let kind = FailureKind::NoProposalChosen {
            phase: Phase::Ike,
            found_by: Side::Us,
            mismatch: Some(Mismatch {
                differing: vec![
                    (Dimension(TransformType::ENCR), vec![encryption(128)], vec![encryption(256), encryption(192)]),
                    (
                        Dimension(TransformType::KE),
                        vec![group(KeyExchangeId::CURVE_25519)],
                        vec![group(KeyExchangeId::MODP_2048)],
                    ),
                ],
            }),
            ours: vec!["aes128-sha256-x25519".into()],
        };
        let mut tombstone = ended(kind, "connections.gw-gw.proposals", 4);
        tombstone.sa.name = String::new();
        tombstone.sa.nat = NatState::default();
        (tombstone.sa.local_id, tombstone.sa.remote_id) = (None, None);
        (tombstone.datagrams_in, tombstone.datagrams_out) = (1, 1);
        assert_eq!(
            show(&[], &[tombstone]),
            "\
IKE SAs: 1 failed

(unnamed) #7  FAILED IKE_PROPOSAL 20s ago
  local   (unknown) at 192.168.0.1:4500
  remote  (unknown) at 192.168.0.2:4500
  why:    no IKE proposal in common: encryption algorithm: ours AES_CBC-128, theirs AES_CBC-256,
          AES_CBC-192;
          key exchange group: ours CURVE_25519, theirs MODP_2048
  where:  /etc/swanctl/swanctl.conf:4 (connections.gw-gw.proposals)
  do:     give both ends a common encryption algorithm and key exchange group in proposals
  seen:   1 datagram from the peer, 1 to it, in 1s
"
        );
    }

    #[test]
    fn a_rekeying_that_failed_is_no_end() {
        let ours = vec!["AES_GCM_16-128/CURVE_25519".to_string()];
        let kind =
            FailureKind::NoProposalChosen { phase: model::Phase::Child, found_by: Side::Peer, mismatch: None, ours };
        let failed = |rekeying| Tombstone {
            child: Some("net-net".into()),
            rekeying: Some(rekeying),
            again_in: Some(secs(9)),
            ..ended(kind.clone(), "connections.gw-gw.children.net-net.esp_proposals", 12)
        };
        let first = show(&[], &[failed(Rekeying::First)]);
        assert!(first.contains("gw-gw #7 / net-net  NOT REKEYED CHILD_PROPOSAL 20s ago"), "{first}");
        assert!(first.contains("next:   rekeyed in 9s") && first.contains("(PFS)"), "{first}");
        let later = show(&[], &[failed(Rekeying::Other)]);
        assert!(later.contains("NOT REKEYED") && !later.contains("(PFS)"), "{later}");
    }

    #[test]
    fn traffic_selectors_and_ordinary_ends() {
        let ts = |text: &str| vec![text.parse().unwrap()];
        let kind = FailureKind::TsUnacceptable {
            found_by: Side::Us,
            local: ts("10.1.0.0/16"),
            remote: ts("10.2.0.0/16"),
            peer_local: ts("10.9.0.0/16"),
            peer_remote: ts("10.1.0.0/16"),
        };
        let key = "connections.gw-gw.children.net-net.remote_ts";
        let selectors = Tombstone { child: Some("net-net".into()), ..ended(kind, key, 12) };
        for kind in [FailureKind::Expired, FailureKind::PeerRestarted] {
            let again = Tombstone { again_in: Some(secs(75)), ..ended(kind, "", 0) };
            assert!(show(&[], &[again]).contains("begun again in 1min 15s"));
        }
        let mut old = ended(FailureKind::Replaced { by: SaId(1) }, "", 0);
        old.ended = secs(200);
        let mut stopped = ended(FailureKind::Terminated, "", 0);
        stopped.ended = secs(100);
        assert_eq!(
            show(&[], &[old, stopped, selectors]),
            "\
IKE SAs: 1 failed

gw-gw #7 / net-net  FAILED TRAFFIC_SELECTOR 20s ago
  local   moon.strongswan.org at 192.168.0.1:4500
  remote  sun.strongswan.org at 192.168.0.2:4500, behind NAT
  why:    no traffic selectors in common: ours 10.1.0.0/16 === 10.2.0.0/16, the peer asks for
          10.1.0.0/16 === 10.9.0.0/16
  where:  /etc/swanctl/swanctl.conf:12 (connections.gw-gw.children.net-net.remote_ts)
  do:     make local_ts here the mirror of remote_ts at the peer, and the reverse
  seen:   2 datagrams from the peer, 2 to it, in 1s

gw-gw #7  ended 1min 40s ago: terminated by the operator
gw-gw #7  ended 3min 20s ago: replaced by #1
"
        );
    }

    #[test]
    fn colours_are_marks_and_nothing_else() {
        let sas = [established(), connecting()];
        let coloured = render(&sas, &[], Style::COLOUR);
        assert!(coloured.contains("\x1b[32mESTABLISHED\x1b[0m"), "{coloured}");
        assert!(coloured.contains("\x1b[33mCONNECTING\x1b[0m"), "{coloured}");
        let mut plain = coloured;
        for code in ["0", "1", "2", "32", "33", "1;31"] {
            plain = plain.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(plain, show(&sas, &[]));
    }

    #[test]
    fn hostile_names_cannot_move_the_cursor() {
        let mut sa = established();
        sa.name = "gw\x1b[2J".into();
        sa.children[0].name = "net\r\n".into();
        sa.configured_children = vec!["\x07".into()];
        let page = show(&[sa], &[ended(FailureKind::InstallFailed { reason: "\x1b]0;x\x07".into() }, "k\x08", 1)]);
        assert!(page.chars().all(|c| c == '\n' || !c.is_control()), "{page:?}");
    }

    #[test]
    fn amounts() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_999, "999.9 kB"),
            (1_000_000, "1.0 MB"),
            (25_200_000, "25.2 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(octets(bytes), text);
        }
        for (seconds, text) in [(59, "59s"), (60, "1min"), (7501, "2h 5min"), (90_000, "1d 1h"), (86_400, "1d")] {
            assert_eq!(span(secs(seconds)), text);
        }
    }
}
