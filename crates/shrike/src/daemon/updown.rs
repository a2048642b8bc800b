//! Runs updown scripts one after the other in a thread of their own, so that the event loop never waits for one. To a script
//! a Child SA and those that rekeyings make of it are one, as with strongSwan: what it adds when that comes up must stay.

use linux::updown::{Verb, run};
use model::SaId;
use model::dataplane::ChildInstall;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How long the end of the daemon waits for scripts.
const PATIENCE: Duration = Duration::from_secs(10);

/// Of so many Child SAs that are gone it is known what line they were of: a rekeying of one may still be under way.
const REMEMBERED: usize = 4;

/// A Child SA and those that rekeyings made of it.
struct Line {
    /// Those that are there: more than one while a rekeying goes on, or when both ends began one.
    up: BTreeSet<SaId>,
    /// The last ones that were.
    gone: VecDeque<SaId>,
    /// The script that was told when it came up. After a reload the configuration may name another.
    script: Option<String>,
}

/// The lines that have a Child SA, by the number of their first.
#[derive(Default)]
struct Lines {
    lines: BTreeMap<SaId, Line>,
    /// The line of each Child SA that is known.
    of: BTreeMap<SaId, SaId>,
}

impl Lines {
    /// A Child SA is there. Whether it is the first of a line.
    fn begins(&mut self, install: &ChildInstall) -> bool {
        let child = install.child;
        let known = install.rekeys.and_then(|old| self.of.get(&old)).copied();
        let first = known.unwrap_or(child);
        self.of.insert(child, first);
        let new = || Line { up: BTreeSet::new(), gone: VecDeque::new(), script: install.updown.clone() };
        self.lines.entry(first).or_insert_with(new).up.insert(child);
        known.is_none()
    }

    /// A Child SA is gone. The script of its line, if it was the last.
    fn ends(&mut self, child: SaId) -> Option<String> {
        let first = *self.of.get(&child)?;
        let line = self.lines.get_mut(&first)?;
        if !line.up.remove(&child) {
            return None;
        }
        line.gone.push_back(child);
        if !line.up.is_empty() {
            if line.gone.len() > REMEMBERED
                && let Some(forgotten) = line.gone.pop_front()
            {
                self.of.remove(&forgotten);
            }
            return None;
        }
        let line = self.lines.remove(&first)?;
        for gone in line.gone {
            self.of.remove(&gone);
        }
        line.script
    }
}

/// The thread and its queue.
pub struct Scripts {
    lines: Lines,
    queue: Option<Sender<(ChildInstall, String, Verb)>>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

impl Scripts {
    /// Starts the thread.
    pub fn start() -> Self {
        let (queue, jobs) = channel::<(ChildInstall, String, Verb)>();
        let (running, ended) = channel::<()>();
        let thread = std::thread::Builder::new().name("updown".into()).spawn(move || {
            let _running = running;
            for (install, interface, verb) in jobs {
                for outcome in run(&install, &interface, verb) {
                    let level = if outcome.succeeded() { 2 } else { 0 };
                    crate::log::line("KNL", level, &format!("{}{{{}}}: {outcome}", install.name, install.child.0));
                }
            }
        });
        if let Err(error) = thread {
            crate::log::line("KNL", 0, &format!("no thread for updown scripts, none will run: {error}"));
        }
        Self { lines: Lines::default(), queue: Some(queue), ended }
    }

    /// A Child SA is there: queues a run, if it has a script and no rekeying made it of another one.
    pub fn up(&mut self, install: &ChildInstall, interface: &str) {
        if self.lines.begins(install) && install.updown.is_some() {
            self.queue(install.clone(), interface, Verb::Up);
        }
    }

    /// A Child SA is gone: queues a run of the script that heard of it, if nothing is left that a rekeying made.
    pub fn down(&mut self, install: &ChildInstall, interface: &str) {
        if let Some(script) = self.lines.ends(install.child) {
            self.queue(ChildInstall { updown: Some(script), ..install.clone() }, interface, Verb::Down);
        }
    }

    fn queue(&self, mut install: ChildInstall, interface: &str, verb: Verb) {
        if let Some(queue) = &self.queue {
            // Keys are no business of scripts: only what describes the Child SA goes along.
            for sa in [&mut install.inbound, &mut install.outbound] {
                sa.encryption_key = wire::Secret::new(Vec::new());
                sa.integrity_key = wire::Secret::new(Vec::new());
            }
            let _ = queue.send((install, interface.to_string(), verb));
        }
    }
}

impl Drop for Scripts {
    /// Waits until every queued script has run: a firewall must not stay open behind us. One that hangs is left behind.
    fn drop(&mut self) {
        drop(self.queue.take());
        if self.ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let seconds = PATIENCE.as_secs();
            crate::log::line("KNL", 0, &format!("an updown script has not ended after {seconds} s: leaving it behind"));
        }
    }
}

/// A Child SA for tests.
#[cfg(test)]
pub(super) fn install(updown: Option<String>) -> ChildInstall {
    use model::dataplane::{EspSa, Mode};
    let sa = || EspSa {
        spi: 256,
        encryption: model::Encryption { id: wire::EncryptionId::AES_GCM_16, key_length: Some(128) },
        integrity: None,
        encryption_key: wire::Secret::new(vec![1; 20]),
        integrity_key: wire::Secret::new(Vec::new()),
    };
    ChildInstall {
        child: SaId(1),
        ike: SaId(1),
        connection: "gw".into(),
        name: "net".into(),
        reqid: 1,
        mode: Mode::Tunnel,
        local: "192.0.2.1:500".parse().unwrap(),
        remote: "192.0.2.2:500".parse().unwrap(),
        encapsulated: false,
        inbound: sa(),
        outbound: sa(),
        esn: false,
        replay_window: 32,
        tfc_padding: model::dataplane::TfcPadding::None,
        local_ts: vec!["10.1.0.0/24".parse().unwrap()],
        remote_ts: vec!["10.2.0.0/24".parse().unwrap()],
        binding: model::dataplane::Binding::default(),
        header: model::dataplane::HeaderFields::default(),
        policies: true,
        priority: None,
        succeeds: None,
        rekeys: None,
        updown,
        updown_environment: Vec::new(),
        soft_bytes: None,
        soft_packets: None,
        hard_bytes: None,
        hard_packets: None,
        hard_lifetime: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_waits_for_the_scripts_in_their_order() {
        let path = std::env::temp_dir().join(format!("shrike-updown-{}", std::process::id()));
        let script = format!("sleep 0.1; echo $PLUTO_VERB >>{}", path.display());
        let mut scripts = Scripts::start();
        let (without, with) = (child(1, None, None), child(2, None, Some(&script)));
        scripts.up(&without, "tun0");
        scripts.down(&without, "tun0");
        scripts.up(&with, "tun0");
        // After a reload there is no script any more: the old one hears of the end all the same.
        let successor = child(3, Some(2), None);
        scripts.up(&successor, "tun0");
        scripts.down(&with, "tun0");
        scripts.down(&successor, "tun0");
        drop(scripts);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "up-client\ndown-client\n");
        std::fs::remove_file(&path).unwrap();
    }

    fn child(number: u32, rekeys: Option<u32>, script: Option<&str>) -> ChildInstall {
        let (child, rekeys) = (SaId(number), rekeys.map(SaId));
        ChildInstall { child, rekeys, ..install(script.map(str::to_string)) }
    }

    /// What a script hears: `+` and `-` with a number for what comes and goes, and the number that it succeeds.
    fn heard(story: &[(char, u32, Option<u32>)]) -> String {
        let mut lines = Lines::default();
        let mut heard = String::new();
        for (what, number, rekeys) in story {
            let told = match what {
                '+' => lines.begins(&child(*number, *rekeys, Some("x"))),
                _ => lines.ends(SaId(*number)).is_some(),
            };
            if told {
                heard += &format!("{what}{number}");
            }
        }
        assert_eq!(lines.lines.is_empty(), lines.of.is_empty(), "nothing is kept of a line that is gone");
        heard
    }

    #[test]
    fn rekeyings_are_nothing_to_a_script() {
        // One after the other; each is gone twice, for it is retired first.
        let (old, new) = (Some(1), Some(2));
        assert_eq!(heard(&[('+', 1, None), ('+', 2, old), ('-', 1, None), ('-', 1, None), ('-', 2, None)]), "+1-2");
        // Both ends began one: the new one goes, or the old one before the second new one comes.
        assert_eq!(heard(&[('+', 1, None), ('+', 2, old), ('+', 3, old), ('-', 3, None), ('-', 1, None)]), "+1");
        assert_eq!(heard(&[('+', 1, None), ('+', 2, old), ('-', 2, None), ('-', 1, None)]), "+1-1");
        let late = [('+', 1, None), ('+', 2, old), ('-', 1, None), ('+', 3, old), ('-', 2, None), ('-', 3, None)];
        assert_eq!(heard(&late), "+1-3");
        // What succeeds none, or one that was gone before, is another line.
        assert_eq!(heard(&[('+', 1, None), ('+', 2, None), ('-', 1, None), ('-', 2, None)]), "+1+2-1-2");
        assert_eq!(heard(&[('+', 2, None), ('-', 2, None), ('+', 3, new), ('-', 3, None)]), "+2-2+3-3");
    }

    #[test]
    fn a_line_of_a_thousand_takes_no_more_memory_than_one_of_ten() {
        let mut lines = Lines::default();
        assert!(lines.begins(&child(1, None, Some("x"))));
        for number in 2..1000 {
            assert!(!lines.begins(&child(number, Some(number - 1), Some("x"))));
            assert_eq!(lines.ends(SaId(number - 1)), None);
        }
        assert!(lines.of.len() <= REMEMBERED + 1);
        assert_eq!(lines.ends(SaId(999)).as_deref(), Some("x"));
        assert!(lines.of.is_empty() && lines.lines.is_empty());
    }
}
