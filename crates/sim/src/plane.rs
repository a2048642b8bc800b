//! A data plane that does nothing but keep the books.

use model::dataplane::{ChildInstall, Command, EspSa, Mode, PlaneEvent, ShuntInstall, TrapInstall};
use model::{SaId, TrafficSelector};
use std::collections::{BTreeMap, BTreeSet};

/// Carries out commands, remembers what is installed, and notes what a real data plane would have stumbled over.
#[derive(Debug, Default)]
pub struct Recording {
    installed: BTreeMap<SaId, ChildInstall>,
    /// The same, that which carries what is sent last.
    order: Vec<SaId>,
    traps: BTreeMap<SaId, TrapInstall>,
    shunts: BTreeMap<SaId, ShuntInstall>,
    /// How many Installs were carried out.
    pub installs: usize,
    /// How many Child SAs were deleted or retired.
    pub deletes: usize,
    /// How many Updates of something installed were carried out.
    pub updates: usize,
    /// How long ago a Child SA carried its last packet, which it reports when asked; none for those that are not here.
    pub idle: BTreeMap<SaId, std::time::Duration>,
    /// Child SAs by which something may still come, with their inbound SPIs.
    retired: BTreeMap<SaId, u32>,
    /// Child SAs whose packets wait.
    held: BTreeSet<SaId>,
    /// Child SAs that are to come, with the SPIs by which they are going to receive; the last ones only.
    expected: Vec<(SaId, u32)>,
    fail: Option<String>,
    failed: Vec<SaId>,
    /// What no data plane should be asked to do, in words.
    pub violations: Vec<String>,
}

/// A matching pair of Child SAs: this end's and the other's.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// As this end installed it.
    pub here: &'a ChildInstall,
    /// As the other end did.
    pub there: &'a ChildInstall,
}

impl Recording {
    /// Makes the next Install fail with this reason.
    pub fn fail_next_install(&mut self, reason: &str) {
        self.fail = Some(reason.to_string());
    }

    /// What is installed, by number.
    pub fn installed(&self) -> impl Iterator<Item = &ChildInstall> {
        self.installed.values()
    }

    /// The Child SA by which packets are sent, where all have the same selectors; none if they wait.
    pub fn sending(&self) -> Option<&ChildInstall> {
        self.order.last().filter(|child| !self.held.contains(child)).and_then(|child| self.installed.get(child))
    }

    /// Whether what is sent by this Child SA waits.
    pub fn holds(&self, child: SaId) -> bool {
        self.held.contains(&child)
    }

    /// How many Child SAs were replaced, send no more, and still receive.
    pub fn retired(&self) -> usize {
        self.retired.len()
    }

    /// Whether what comes by this SPI is received.
    pub fn receives(&self, spi: u32) -> bool {
        self.installed.values().any(|install| install.inbound.spi == spi) || self.retired.values().any(|of| *of == spi)
    }

    /// Whether packets by this SPI are kept for a Child SA to come.
    pub fn expects(&self, spi: u32) -> bool {
        self.expected.iter().any(|(_, expected)| *expected == spi)
    }

    /// The traps, by number.
    pub fn traps(&self) -> impl Iterator<Item = &TrapInstall> {
        self.traps.values()
    }

    /// The shunts, by number.
    pub fn shunts(&self) -> impl Iterator<Item = &ShuntInstall> {
        self.shunts.values()
    }

    /// One installed Child SA.
    pub fn get(&self, child: SaId) -> Option<&ChildInstall> {
        self.installed.get(&child)
    }

    /// Carries a command out; returns what is to be reported.
    pub(crate) fn carry_out(&mut self, command: Command) -> Option<PlaneEvent> {
        match command {
            Command::Expect { child, spi, .. } => {
                // Nothing tells that a negotiation came to nothing: a real data plane forgets by time.
                if self.expected.len() == 64 {
                    self.expected.remove(0);
                }
                self.expected.push((child, spi));
            }
            Command::Install(install) => {
                let child = install.child;
                if self.expected.iter().any(|(of, spi)| *of == child && *spi != install.inbound.spi) {
                    self.violations.push(format!("Child SA {child} was expected by another SPI"));
                }
                self.expected.retain(|(expected, _)| *expected != child);
                if let Some(reason) = self.fail.take() {
                    self.failed.push(child);
                    return Some(PlaneEvent::Failed { child, reason });
                }
                if self.installed.values().any(|other| other.inbound.spi == install.inbound.spi) {
                    self.violations.push(format!("inbound SPI {:08x} installed twice", install.inbound.spi));
                }
                self.installs += 1;
                let old = install.succeeds.and_then(|old| self.order.iter().position(|other| *other == old));
                self.order.insert(old.unwrap_or(self.order.len()), child);
                if self.installed.insert(child, *install).is_some() {
                    self.violations.push(format!("Child SA {child} installed twice"));
                }
            }
            Command::Hold { child } => {
                if !self.installed.contains_key(&child) && !self.failed.contains(&child) {
                    self.violations.push(format!("Child SA {child} held, but not installed"));
                }
                self.held.insert(child);
            }
            Command::Release { child } => {
                self.held.remove(&child);
            }
            Command::Retire { child } => match self.installed.remove(&child) {
                Some(install) => {
                    self.deletes += 1;
                    self.order.retain(|other| *other != child);
                    self.retired.insert(child, install.inbound.spi);
                }
                None if self.failed.contains(&child) => {}
                None => self.violations.push(format!("Child SA {child} retired, but not installed")),
            },
            Command::Delete { child } if self.retired.contains_key(&child) => {
                self.retired.remove(&child);
            }
            Command::Delete { child } => match self.installed.remove(&child) {
                Some(_) => {
                    self.deletes += 1;
                    self.order.retain(|other| *other != child);
                }
                None if self.failed.contains(&child) => self.failed.retain(|c| *c != child),
                None => self.violations.push(format!("Child SA {child} deleted, but not installed")),
            },
            Command::Update { child, local, remote, encapsulated } => match self.installed.get_mut(&child) {
                Some(install) => {
                    (install.local, install.remote, install.encapsulated) = (local, remote, encapsulated);
                    self.updates += 1;
                }
                None if self.failed.contains(&child) => {}
                None => self.violations.push(format!("Child SA {child} updated, but not installed")),
            },
            Command::Reselect { child, local_ts, remote_ts } => match self.installed.get_mut(&child) {
                Some(install) => (install.local_ts, install.remote_ts) = (local_ts, remote_ts),
                None if self.failed.contains(&child) => {}
                None => self.violations.push(format!("Child SA {child} changed, but not installed")),
            },
            Command::ReportTraffic { child } => {
                return Some(PlaneEvent::Traffic { child, idle: self.idle.get(&child).copied() });
            }
            Command::Trap(trap) => {
                let number = trap.trap;
                if self.traps.insert(number, *trap).is_some() {
                    self.violations.push(format!("trap {number} installed twice"));
                }
            }
            Command::RemoveTrap { trap } => {
                if self.traps.remove(&trap).is_none() {
                    self.violations.push(format!("trap {trap} removed, but not installed"));
                }
            }
            Command::Shunt(shunt) => {
                let number = shunt.shunt;
                if self.shunts.insert(number, *shunt).is_some() {
                    self.violations.push(format!("shunt {number} installed twice"));
                }
            }
            Command::RemoveShunt { shunt } => {
                if self.shunts.remove(&shunt).is_none() {
                    self.violations.push(format!("shunt {shunt} removed, but not installed"));
                }
            }
        }
        None
    }

    /// The pairs by which both ends can carry traffic in both directions: equal SPIs, algorithms and keys, mirrored
    /// selectors, and the same encapsulation.
    pub fn pairs<'a>(&'a self, other: &'a Recording) -> impl Iterator<Item = Pair<'a>> {
        self.installed().flat_map(move |here| {
            other.installed().filter(move |there| fit(here, there)).map(move |there| Pair { here, there })
        })
    }
}

fn fit(here: &ChildInstall, there: &ChildInstall) -> bool {
    same(&here.inbound, &there.outbound)
        && same(&here.outbound, &there.inbound)
        && mirrored(here, there)
        && (here.mode, here.esn, here.encapsulated) == (there.mode, there.esn, there.encapsulated)
}

/// Behind a NAT each end of a transport mode SA has the addresses that it sees packets with.
fn mirrored(here: &ChildInstall, there: &ChildInstall) -> bool {
    let host = |list: &[TrafficSelector], address| list.iter().all(|ts| (ts.start, ts.end) == (address, address));
    let own = |i: &ChildInstall| host(&i.local_ts, i.local.ip()) && host(&i.remote_ts, i.remote.ip());
    let ports = |list: &[TrafficSelector]| -> Vec<(u8, u16, u16)> {
        list.iter().map(|ts| (ts.protocol, ts.start_port, ts.end_port)).collect()
    };
    match here.mode {
        Mode::Tunnel => here.local_ts == there.remote_ts && here.remote_ts == there.local_ts,
        Mode::Transport => {
            let both =
                ports(&here.local_ts) == ports(&there.remote_ts) && ports(&here.remote_ts) == ports(&there.local_ts);
            own(here) && own(there) && both
        }
    }
}

fn same(sender: &EspSa, receiver: &EspSa) -> bool {
    (sender.spi, sender.encryption, sender.integrity) == (receiver.spi, receiver.encryption, receiver.integrity)
        && sender.encryption_key.expose() == receiver.encryption_key.expose()
        && sender.integrity_key.expose() == receiver.integrity_key.expose()
        && !sender.encryption_key.is_empty()
}
