//! Runs updown scripts one after the other in a thread of their own, so that the event loop never waits for one.

use linux::updown::{Verb, run};
use model::dataplane::ChildInstall;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How long the end of the daemon waits for scripts.
const PATIENCE: Duration = Duration::from_secs(10);

/// The thread and its queue.
pub struct Scripts {
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
        Self { queue: Some(queue), ended }
    }

    /// Queues a run, if the Child SA has a script.
    pub fn run(&self, install: &ChildInstall, interface: &str, verb: Verb) {
        if install.updown.is_none() {
            return;
        }
        if let Some(queue) = &self.queue {
            // Keys are no business of scripts: only what describes the Child SA goes along.
            let mut install = install.clone();
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
    use model::SaId;
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
        let scripts = Scripts::start();
        scripts.run(&install(None), "tun0", Verb::Up);
        scripts.run(&install(Some(script.clone())), "tun0", Verb::Up);
        scripts.run(&install(Some(script)), "tun0", Verb::Down);
        drop(scripts);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "up-client\ndown-client\n");
        std::fs::remove_file(&path).unwrap();
    }
}
