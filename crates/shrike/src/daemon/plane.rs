//! The data planes behind one trait, and the choice among them.

use super::sockets::Sockets;
use super::userspace::Userspace;
use super::xfrm::Kernel;
use linux::{WhyNot, Xfrm};
use model::dataplane::{Command, Counters, PlaneEvent};
use model::{Instant, PlaneFault, SaId};
use std::net::SocketAddr;
use std::os::fd::RawFd;

/// What carries the packets of Child SAs.
pub trait DataPlane {
    /// One line for the operator: which it is.
    fn describe(&self) -> String;

    /// Carries out a command of the protocol.
    ///
    /// # Errors
    /// Why not, in words for the operator.
    fn apply(&mut self, now: Instant, command: &Command) -> Result<(), String>;

    /// Sends what waited and waits no more, after a command was carried out. The kernel does that by itself.
    fn send_held(&mut self, _now: Instant, _sockets: &Sockets) {}

    /// The host's interfaces or addresses changed.
    fn network_changed(&mut self);

    /// Traffic of a Child SA.
    fn counters(&mut self, now: Instant, child: SaId) -> Option<Counters>;

    /// The next report, until there is none.
    fn poll_event(&mut self) -> Option<PlaneEvent>;

    /// Descriptors to wait on.
    fn descriptors(&self) -> Vec<RawFd>;

    /// One of the descriptors (by its position) is readable. Returns whether there may be more.
    fn ready(&mut self, now: Instant, index: usize, sockets: &Sockets) -> bool;

    /// ESP came out of a UDP socket, its IP header with this octet of DSCP and ECN.
    fn esp_in_udp(&mut self, now: Instant, packet: &mut [u8], from: SocketAddr, traffic_class: u8);

    /// When [`DataPlane::timeout`] has something to do.
    fn next_timeout(&self) -> Option<Instant>;

    /// Time has passed.
    fn timeout(&mut self, now: Instant);

    /// What is not as it was set up, and what was dropped of late.
    fn faults(&mut self, now: Instant) -> Vec<PlaneFault>;

    /// What the operating system said of ESP packets since the last call, by where they were to go: port 0 where they have none.
    fn send_errors(&mut self) -> Vec<(SocketAddr, std::io::Error)> {
        Vec::new()
    }

    /// Packets not passed on, by reason.
    fn drops(&self) -> Vec<(&'static str, u64)>;
}

/// Which data plane the operator wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// The kernel's if it has ESP, else our own.
    #[default]
    Auto,
    /// Our own ESP over a TUN device.
    Userspace,
    /// The Linux kernel's.
    Xfrm,
}

/// What was decided before the sockets are opened, and why.
pub struct Decision {
    /// Whether the kernel does ESP.
    pub kernel: bool,
    /// One sentence.
    pub why: String,
}

/// Looks at the kernel and decides.
///
/// # Errors
/// Why what was asked for cannot be had.
pub fn decide(choice: Choice) -> Result<Decision, String> {
    let probed = || Xfrm::probe(false);
    match choice {
        Choice::Userspace => Ok(Decision { kernel: false, why: "userspace ESP, as asked".into() }),
        Choice::Xfrm => match probed() {
            Ok(()) => Ok(Decision { kernel: true, why: "kernel ESP (XFRM), as asked".into() }),
            Err(why) => Err(format!("the kernel cannot do ESP: {why}; use --data-plane userspace, or auto")),
        },
        Choice::Auto => Ok(match probed() {
            Ok(()) => Decision { kernel: true, why: "kernel ESP (XFRM), because this kernel has it".into() },
            Err(WhyNot::NotPermitted) => {
                Decision { kernel: false, why: "userspace ESP, because the kernel's needs CAP_NET_ADMIN".into() }
            }
            Err(why) => Decision { kernel: false, why: format!("userspace ESP, because the kernel cannot: {why}") },
        }),
    }
}

/// Makes the data plane that was decided on. `ports` are those of IKE; ESP in UDP comes to the second one too. Without `routes`
/// the operator sets the routes of tunnels (`install_routes = no`).
///
/// # Errors
/// Why it cannot be made.
pub fn open(decision: &Decision, ports: [u16; 2], routes: bool) -> Result<Box<dyn DataPlane>, String> {
    if decision.kernel {
        Kernel::open(ports[1], routes).map(|k| Box::new(k) as Box<dyn DataPlane>)
    } else {
        Userspace::open(ports, routes).map(|u| Box::new(u) as Box<dyn DataPlane>)
    }
}
