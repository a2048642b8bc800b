//! Going to another gateway, and sending clients there (RFC 5685).
//!
//! Before authentication the SA begins again at the new gateway, under its number. After it a new IKE SA is made: instead
//! of the old one, or, where that has Child SAs, beside it, so that they carry traffic until the new ones do.

use super::{Endpoint, NO_CHILD, Output};
use crate::ike_sa::IkeSa;
use crate::inquiries::Need;
use crate::timers::Reason;
use crate::v2::{self, Gateway, Redirection, State, Task, Verdict};
use config::AddressPattern;
use model::{FailureKind, Identity, Instant, RedirectProblem, SaId};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// RFC 5685 section 7: MAX_REDIRECTS within REDIRECT_LOOP_DETECT_PERIOD.
const MAX_REDIRECTS: usize = 5;
const LOOP_DETECT_PERIOD: Duration = Duration::from_secs(300);

/// Which clients an operator sends elsewhere; what is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    /// Name of the connection.
    pub ike: Option<String>,
    /// Number of the IKE SA.
    pub ike_id: Option<SaId>,
    /// Address of the client.
    pub peer_ip: Option<AddressPattern>,
    /// Identity of the client, which may have wildcards.
    pub peer_id: Option<Identity>,
}

impl Endpoint {
    /// Sends clients to another gateway (section 5). Returns how many IKE SAs are meant, and how many of them are told:
    /// those that the peer began, and that said they go.
    pub fn redirect(&mut self, now: Instant, clients: &Clients, to: &Gateway) -> (usize, usize) {
        let meant = |sa: &&mut IkeSa| {
            sa.is_established()
                && sa.heir().is_none()
                && clients.ike.as_deref().is_none_or(|name| name == sa.name())
                && clients.ike_id.is_none_or(|id| id == sa.id())
                && clients.peer_ip.as_ref().is_none_or(|pattern| pattern.matches(sa.addresses().1.ip()))
                && clients.peer_id.as_ref().is_none_or(|expected| {
                    sa.identities().is_some_and(|(_, remote)| expected.matches(&remote).is_some())
                })
        };
        let (mut matches, mut told) = (0, 0);
        for sa in self.sas.values_mut().filter(meant) {
            matches += 1;
            if let Some(sa) = sa.v2().filter(|sa| sa.redirection.peer_follows) {
                sa.enqueue(&mut self.cx, now, Task::Redirect { to: to.clone() });
                told += 1;
            }
        }
        (matches, told)
    }

    /// The gateway of this IKE SA sends us elsewhere.
    pub(super) fn follow_redirect(&mut self, now: Instant, id: SaId, to: &Gateway) {
        let going = self.redirects.contains_key(&id) || !self.sas.replacing(id).is_empty();
        let Some(sa) = self.sas.get_mut(&id).and_then(IkeSa::v2).filter(|_| !going) else { return };
        if sa.is_closed() || sa.heir().is_some() {
            return;
        }
        sa.log(&mut self.cx, "IKE", 0, format!("redirected to {to}"));
        sa.redirection.history.retain(|at| now.since(*at) < LOOP_DETECT_PERIOD);
        if sa.redirection.history.len() >= MAX_REDIRECTS {
            return self.stay(now, id, to, RedirectProblem::TooOften);
        }
        let name = match to {
            Gateway::Address(address) => return self.go(now, id, to, &[*address]),
            Gateway::Name(name) => name,
        };
        match self.names.need(now, name) {
            Need::Nothing => {
                let known = self.names.known(name);
                return self.go(now, id, to, &known);
            }
            Need::Ask => self.cx.outputs.push_back(Output::Resolve(name.clone())),
            Need::Waiting => {}
        }
        self.redirects.insert(id, name.clone());
    }

    /// The addresses of a host name are known.
    pub(super) fn redirects_resolved(&mut self, now: Instant, name: &str) {
        let waiting: Vec<SaId> = self.redirects.iter().filter(|(_, n)| *n == name).map(|(id, _)| *id).collect();
        if waiting.is_empty() {
            return;
        }
        let known = self.names.known(name);
        for id in waiting {
            self.redirects.remove(&id);
            self.go(now, id, &Gateway::Name(name.to_string()), &known);
        }
        // A gateway may name any number of hosts: only those of the configuration are remembered.
        self.names.keep(self.connections.values().map(|c| &**c));
    }

    /// We do not go there. What is of no use here ends.
    fn stay(&mut self, now: Instant, id: SaId, to: &Gateway, problem: RedirectProblem) {
        let reason = FailureKind::RedirectRefused { to: to.to_string(), problem };
        let Some(sa) = self.sas.get_mut(&id) else { return };
        sa.log(&mut self.cx, "IKE", 0, format!("not followed: {reason}"));
        if sa.children().iter().any(|c| c.is_installed()) {
            return;
        }
        let verdict = match sa.is_half_open() {
            true => Verdict::End(reason),
            false => sa.delete(&mut self.cx, now, reason),
        };
        self.conclude(now, id, verdict);
    }

    fn go(&mut self, now: Instant, id: SaId, to: &Gateway, addresses: &[IpAddr]) {
        let Some(sa) = self.sas.get_mut(&id).and_then(IkeSa::v2) else { return };
        let ours = sa.local.ip();
        let usable = |a: &&IpAddr| a.is_ipv4() == ours.is_ipv4() && !a.is_unspecified() && !a.is_multicast();
        let Some(address) = addresses.iter().find(usable).copied() else {
            return self.stay(now, id, to, RedirectProblem::NoAddress);
        };
        match &sa.state {
            State::InitSent(_) => self.begin_again(now, id, address),
            State::Established(_) if sa.children.iter().any(|c| c.is_installed()) => self.beside_at(now, id, address),
            State::Established(_) => self.instead_at(now, id, to, address),
            _ => {}
        }
    }

    /// What an IKE SA of ours is begun with at another gateway.
    fn elsewhere(&self, now: Instant, id: SaId, child: Option<&str>, address: IpAddr) -> Option<v2::Wish> {
        let IkeSa::V2(sa) = self.sas.get(&id)? else { return None };
        let connection = sa.connection.clone()?;
        let mut local = sa.local;
        local.set_port(self.cx.settings.port);
        let mut history = sa.redirection.history.clone();
        history.push(now);
        Some(v2::Wish {
            child: connection.children.iter().position(|c| Some(c.name.as_str()) == child).unwrap_or(NO_CHILD),
            local,
            remote: SocketAddr::new(address, connection.remote_port),
            connection,
            attempt: sa.attempt,
            replaces: None,
            initial_contact: false,
            addresses: sa.virtual_addresses.own.clone(),
            redirection: Redirection { from: Some(sa.remote.ip()), history, ..Redirection::default() },
            number: None,
        })
    }

    /// Nothing is authenticated yet: the same SA begins at the other gateway (section 3).
    fn begin_again(&mut self, now: Instant, id: SaId, address: IpAddr) {
        let Some(IkeSa::V2(old)) = self.sas.get(&id) else { return };
        let (names, trigger, wishes) = (wanted(old), old.children.first().and_then(|c| c.trigger), old.wishes.clone());
        let (created, initial_contact, replaces) = (old.created, old.initial_contact, old.replaces);
        let (received, left) = (old.datagrams_in, old.left.clone());
        let Some(wish) = self.elsewhere(now, id, names.first().map(String::as_str), address) else { return };
        let wish = v2::Wish { number: Some(id), initial_contact, replaces, addresses: wishes, ..wish };
        let Ok(mut sa) = v2::initiate(&mut self.cx, now, wish) else { return };
        (sa.created, sa.datagrams_in, sa.left) = (created, received, left);
        if let (Some(first), Some(_)) = (sa.children.first_mut(), trigger) {
            first.trigger = trigger;
        }
        names.iter().skip(1).for_each(|name| v2::further_child(&mut sa, &mut self.cx, name));
        if let Some(old) = self.sas.remove(&id) {
            self.by_spi.remove(&old.own_spi());
        }
        self.begun(IkeSa::V2(Box::new(sa)));
    }

    /// There is an IKE SA and nothing under it: another one takes its place, and what is wanted (section 6).
    fn instead_at(&mut self, now: Instant, id: SaId, to: &Gateway, address: IpAddr) {
        let Some(IkeSa::V2(old)) = self.sas.get(&id) else { return };
        let (names, trigger) = (wanted(old), old.children.first().and_then(|c| c.trigger));
        let Some(wish) = self.elsewhere(now, id, names.first().map(String::as_str), address) else { return };
        let Ok(mut sa) = v2::initiate(&mut self.cx, now, wish) else { return };
        if let (Some(first), Some(_)) = (sa.children.first_mut(), trigger) {
            first.trigger = trigger;
        }
        names.iter().skip(1).for_each(|name| v2::further_child(&mut sa, &mut self.cx, name));
        let by = self.begun(IkeSa::V2(Box::new(sa)));
        if let Some(old) = self.sas.get_mut(&id) {
            old.take_children();
            let verdict = old.delete(&mut self.cx, now, FailureKind::Redirected { to: to.to_string(), by });
            self.conclude(now, id, verdict);
        }
    }

    /// Child SAs carry traffic: they do so until those at the other gateway are there, or the old IKE SA ends, as where an
    /// IKE SA is authenticated anew (section 5 leaves the order to the client).
    fn beside_at(&mut self, now: Instant, id: SaId, address: IpAddr) {
        let Some(IkeSa::V2(old)) = self.sas.get(&id) else { return };
        let child = old.children.iter().find(|c| c.is_installed()).map(|c| c.name.clone());
        let Some(wish) = self.elsewhere(now, id, child.as_deref(), address) else { return };
        let end = now + wish.connection.over_time.max(super::renewal::PATIENCE);
        let Ok(sa) = v2::initiate(&mut self.cx, now, v2::Wish { replaces: Some(id), ..wish }) else { return };
        self.begun(IkeSa::V2(Box::new(sa)));
        if let Some(old) = self.sas.get_mut(&id) {
            old.replacement_begun(end);
        }
        self.cx.timers.set(id, Reason::IkeLifetime, end);
    }
}

/// The children that are to be made, the first one first.
fn wanted(sa: &v2::IkeSa) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for child in &sa.children {
        if !names.contains(&child.name) {
            names.push(child.name.clone());
        }
    }
    names
}
