//! Packets wait while a peer replaces the Child SA that carries them ([`Command::Hold`](model::dataplane::Command::Hold)).
//!
//! The kernel queues what meets a policy whose SA is still asked for, up to a hundred packets for each policy, and sends them
//! when the policy changes; it does so where `net.core.xfrm_larval_drop` is 0, and drops them otherwise. So an SA is asked for
//! that nobody makes, and the setting is changed for as long.

use super::message;
use super::policies::{self, Policy};
use super::{Step, Xfrm, XfrmError, refused};
use crate::netlink::{NetlinkError, Request, Socket};
use model::SaId;
use model::dataplane::{ChildInstall, Mark};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::{fs, io};

const LARVAL_DROP: &str = "/proc/sys/net/core/xfrm_larval_drop";

/// SPIs that no SA has (RFC 4303 section 2.1).
const RESERVED: (u32, u32) = (1, 255);

/// No policy's: the operator's are small, ours count from 1.
pub(super) const REQID: u32 = u32::MAX;

/// Child SAs whose packets wait.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Those, with the SA that is asked for.
    waiting: BTreeMap<SaId, Asked>,
    /// What the setting was before.
    setting: Option<Vec<u8>>,
}

/// A run was killed while something waited: the setting is what it is by default, and what was asked for goes.
pub(super) fn of_a_killed_run(socket: &mut Socket, destination: IpAddr, spi: u32) {
    let mut request = Request::new(message::DELETE_SA, 0);
    request.put(&message::sa_id(destination, spi));
    let _ = socket.request(request); // it goes by itself, in half a minute
    let _ = fs::write(LARVAL_DROP, "1");
}

impl Xfrm {
    /// What is sent by this Child SA waits.
    pub(super) fn hold(&mut self, child: SaId) -> Result<(), XfrmError> {
        let installed = self.children.get(&child).ok_or(XfrmError::UnknownChild(child))?;
        let (install, selectors) = (installed.install.clone(), installed.selectors.clone());
        if self.held.waiting.contains_key(&child) {
            return Ok(());
        }
        if install.binding.if_id_out.is_some() {
            return Err(XfrmError::InterfaceCannotWait(child)); // it looks for SAs without the queue
        }
        let refuse = refused(Step::Hold, child);
        self.held.queue_packets().map_err(|error| refuse(error.into()))?;
        let asked = self.ask_for_nobody(&install).map_err(refuse);
        let spi = asked.inspect_err(|_| self.held.drop_packets())?;
        let mark = message::sa_mark(&install.binding, false);
        self.held.waiting.insert(child, Asked { destination: install.remote.ip(), spi, mark });
        let Some(rule) = self.rule_of(child) else { return Ok(()) };
        for selector in &selectors {
            if self.policies.get(&rule.key(selector)).and_then(Policy::ruler) == Some(child)
                && let Err(error) = policies::set_outbound(&mut self.requests, child, &rule, selector)
            {
                let _ = self.release(child);
                return Err(error);
            }
        }
        Ok(())
    }

    /// What waits goes by this Child SA.
    pub(super) fn release(&mut self, child: SaId) -> Result<(), XfrmError> {
        if !self.held.waiting.contains_key(&child) {
            return Ok(());
        }
        self.set_policies(child)
    }

    /// The policies ask for SAs that are there, or are gone.
    pub(super) fn waits_no_more(&mut self, child: SaId) {
        let Some(asked) = self.held.waiting.remove(&child) else { return };
        let mut request = Request::new(message::DELETE_SA, 0);
        request.put(&message::sa_id(asked.destination, asked.spi));
        if let Some(mark) = asked.mark {
            request.attribute(message::ATTRIBUTE_MARK, &message::mark(mark));
        }
        let _ = self.requests.request(request); // it goes by itself, in half a minute
        self.held.drop_packets();
    }

    /// Has the kernel keep an SA in mind that is to come, without asking any daemon for it. Its SPI.
    fn ask_for_nobody(&mut self, install: &ChildInstall) -> Result<u32, NetlinkError> {
        let mut request = Request::new(message::ALLOCATE_SPI, 0);
        let info = message::SaInfo {
            sequence: 0,
            source: install.local.ip(),
            destination: install.remote.ip(),
            spi: 0,
            reqid: REQID,
            mode: message::mode_number(install.mode),
            replay_window: 0,
            esn: false,
            icmp: false,
            header_flags: 0,
            limits: message::Limits::default(),
        };
        request.put(&message::sa_info(&info));
        request.put(&RESERVED.0.to_ne_bytes());
        request.put(&RESERVED.1.to_ne_bytes());
        for (kind, value) in message::sa_binding(&install.binding, false) {
            request.attribute(kind, &value);
        }
        let replies = self.requests.request(request)?;
        let spi = replies
            .iter()
            .find(|reply| reply.kind == message::NEW_SA)
            .and_then(|reply| message::spi_of(reply.fixed(message::SA_INFO)?));
        spi.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData).into())
    }
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    destination: IpAddr,
    spi: u32,
    mark: Option<Mark>,
}

impl Held {
    /// The SA that is asked for in this Child SA's place.
    pub(super) fn asked_for(&self, child: SaId) -> Option<u32> {
        self.waiting.get(&child).map(|asked| asked.spi)
    }

    fn queue_packets(&mut self) -> io::Result<()> {
        if self.setting.is_none() {
            let before = fs::read(LARVAL_DROP)?;
            fs::write(LARVAL_DROP, "0")?;
            self.setting = Some(before);
        }
        Ok(())
    }

    /// Sets the setting back, once nothing waits.
    fn drop_packets(&mut self) {
        if let Some(before) = self.setting.take_if(|_| self.waiting.is_empty()) {
            let _ = fs::write(LARVAL_DROP, before); // it was possible to change it
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.waiting.clear();
        self.drop_packets();
    }
}
