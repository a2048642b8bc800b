//! Runs updown scripts one after the other in a thread of their own, so that the event loop never waits for one.

use linux::updown::{Verb, run};
use model::dataplane::ChildInstall;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// The thread and its queue.
pub struct Scripts {
    queue: Option<Sender<(ChildInstall, String, Verb)>>,
    thread: Option<JoinHandle<()>>,
}

impl Scripts {
    /// Starts the thread.
    pub fn start() -> Self {
        let (queue, jobs) = channel::<(ChildInstall, String, Verb)>();
        let thread = std::thread::Builder::new().name("updown".into()).spawn(move || {
            for (install, interface, verb) in jobs {
                for outcome in run(&install, &interface, verb) {
                    let level = if outcome.succeeded() { 2 } else { 0 };
                    crate::log::line("KNL", level, &format!("{}{{{}}}: {outcome}", install.name, install.child.0));
                }
            }
        });
        Self { queue: Some(queue), thread: thread.ok() }
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
    /// Waits until every queued script has run: a firewall must not stay open behind us.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
