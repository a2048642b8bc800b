//! Policies: who rules which, and what the kernel is told (RFC 4301 section 4.4.1).

use super::message::{self, Direction};
use super::selector::Selector;
use super::{Installed, Step, Xfrm, XfrmError, held, refused};
use crate::netlink::{CREATE, Request, Socket};
use model::SaId;
use model::dataplane::{Binding, ChildInstall, Mode, ShuntAction, ShuntInstall, TrapInstall};
use std::net::IpAddr;

/// The order in which rules for the same packets count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Drop,
    Trap,
    Child,
    Pass,
}

/// A policy is shared by all that has the same selectors: Child SAs (while one is rekeyed there are two), a trap, shunts.
/// The kernel has one policy for them, that of the highest rank, among equals of the newest.
#[derive(Debug, Default)]
pub(super) struct Policy {
    users: Vec<(Rank, SaId)>,
}

impl Policy {
    pub(super) fn add(&mut self, user: SaId, rank: Rank) {
        self.add_after(user, rank, None);
    }

    /// What succeeds another one comes right behind it, and rules when that is gone.
    pub(super) fn add_after(&mut self, user: SaId, rank: Rank, succeeds: Option<SaId>) {
        if !self.users.contains(&(rank, user)) {
            let old = succeeds.and_then(|old| self.users.iter().position(|(_, other)| *other == old));
            let at = old.unwrap_or_else(|| self.users.partition_point(|(other, _)| *other <= rank));
            self.users.insert(at, (rank, user));
        }
    }

    /// Who rules if the ruler goes.
    pub(super) fn heir(&self) -> Option<SaId> {
        self.users.iter().rev().nth(1).map(|(_, user)| *user)
    }

    pub(super) fn ruler(&self) -> Option<SaId> {
        self.users.last().map(|(_, user)| *user)
    }
}

/// Packets, and of the binding what the kernel tells policies by: marks and XFRM interfaces.
pub(super) type PolicyKey = (Selector, Binding);

/// The SA that a policy asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Template {
    pub(super) mode: Mode,
    pub(super) local: IpAddr,
    pub(super) remote: IpAddr,
    /// The outbound SA; zero for a trap, which has none.
    spi: u32,
    /// The outbound SA that is asked for in its place, as long as packets wait.
    asked_for: Option<u32>,
    pub(super) reqid: u32,
    priority: Option<u32>,
    binding: Binding,
}

/// What a policy does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    Protect(Template),
    Shunt(ShuntAction, Option<u32>, Binding),
}

impl Rule {
    pub(super) fn of(install: &ChildInstall) -> Self {
        let (local, remote) = (install.local.ip(), install.remote.ip());
        let (spi, reqid) = (install.outbound.spi, install.reqid);
        Self::Protect(Template {
            mode: install.mode,
            local,
            remote,
            spi,
            asked_for: None,
            reqid,
            priority: install.priority,
            binding: install.binding,
        })
    }

    /// As long as what is sent by the Child SA waits for one that is never made.
    pub(super) fn waiting(install: &ChildInstall, asked_for: Option<u32>) -> Self {
        match Self::of(install) {
            Self::Protect(of) => Self::Protect(Template { asked_for, ..of }),
            shunt @ Self::Shunt(..) => shunt,
        }
    }

    pub(super) fn trap(trap: &TrapInstall) -> Self {
        let (local, remote) = (trap.local, trap.remote);
        Self::Protect(Template {
            mode: trap.mode,
            local,
            remote,
            spi: 0,
            asked_for: None,
            reqid: trap.reqid,
            priority: trap.priority,
            binding: trap.binding,
        })
    }

    pub(super) fn shunt(shunt: &ShuntInstall) -> Self {
        Self::Shunt(shunt.action, shunt.priority, shunt.binding)
    }

    pub(super) fn rank(&self) -> Rank {
        match self {
            Self::Protect(template) if template.spi == 0 => Rank::Trap,
            Self::Protect(_) => Rank::Child,
            Self::Shunt(ShuntAction::Pass, ..) => Rank::Pass,
            Self::Shunt(ShuntAction::Drop, ..) => Rank::Drop,
        }
    }

    /// Shunts have policies in all directions, as tunnels do.
    pub(super) fn mode(&self) -> Mode {
        match self {
            Self::Protect(template) => template.mode,
            Self::Shunt(..) => Mode::Tunnel,
        }
    }

    pub(super) fn binding(&self) -> &Binding {
        match self {
            Self::Protect(template) => &template.binding,
            Self::Shunt(.., binding) => binding,
        }
    }

    /// What the kernel tells policies by.
    pub(super) fn key(&self, selector: &Selector) -> PolicyKey {
        let Binding { mark_in, mark_out, if_id_in, if_id_out, .. } = *self.binding();
        (*selector, Binding { mark_in, mark_out, if_id_in, if_id_out, ..Binding::default() })
    }

    /// The outbound SA that a policy names; zero for any, or where there is none.
    pub(super) fn spi(&self) -> u32 {
        match self {
            Self::Protect(template) => template.asked_for.unwrap_or(template.spi),
            Self::Shunt(..) => 0,
        }
    }

    /// The directions that have a policy: only tunnels are forwarded into. `taken`: a tunnel to our side has the policy for
    /// what is forwarded into this one.
    pub(super) fn directions(&self, taken: bool) -> &'static [Direction] {
        match self.mode() {
            // Outbound first: what is sent by an SA that the peer is about to forget is lost.
            Mode::Tunnel if self.binding().forward_out && matches!(self, Self::Protect(_)) && !taken => {
                &[Direction::Out, Direction::In, Direction::Forward, Direction::ForwardOut]
            }
            Mode::Tunnel => &[Direction::Out, Direction::In, Direction::Forward],
            Mode::Transport => &[Direction::Out, Direction::In],
        }
    }

    /// What the kernel compares an interface with is the one that a packet leaves by: of what comes out of a tunnel, another.
    pub(super) fn selector(&self, selector: &Selector, direction: Direction) -> Selector {
        match (self, direction) {
            (Self::Protect(_), Direction::In | Direction::Forward) => Selector { interface: 0, ..*selector },
            _ => *selector,
        }
    }

    /// Bypasses before everything else, discards after it, whatever the selectors. What lets packets be forwarded into a
    /// tunnel comes after what tunnels demand, which may be of the same packets where they come from another one.
    pub(super) fn priority(&self, selector: &Selector, direction: Direction) -> u32 {
        const LAYER: u32 = 400_000; // the most that a selector has
        if direction == Direction::ForwardOut {
            let fixed = match self {
                Self::Protect(template) => template.priority,
                Self::Shunt(_, fixed, _) => *fixed,
            };
            return fixed.map_or(2 * LAYER + selector.priority(), |fixed| fixed.saturating_add(1));
        }
        match self {
            Self::Shunt(_, Some(fixed), _) | Self::Protect(Template { priority: Some(fixed), .. }) => *fixed,
            Self::Shunt(ShuntAction::Pass, None, _) => selector.priority(),
            Self::Protect(_) => LAYER + selector.priority(),
            Self::Shunt(ShuntAction::Drop, None, _) => 3 * LAYER + selector.priority(),
        }
    }
}

impl Xfrm {
    /// The rule of a Child SA, a trap or a shunt.
    pub(super) fn rule_of(&self, owner: SaId) -> Option<Rule> {
        let without_sa = || self.rules.get(&owner).map(|(rule, _)| *rule);
        let of_child = |child: &Installed| Rule::waiting(&child.install, self.held.asked_for(owner));
        self.children.get(&owner).map(of_child).or_else(without_sa)
    }

    /// Whether another tunnel demands what this one would let be forwarded into it: the kernel has one policy for both.
    pub(super) fn is_taken(&self, rule: &Rule, selector: &Selector) -> bool {
        let reversed = selector.reversed();
        rule.binding().forward_out
            && self.policies.iter().filter(|((of, _), _)| *of == reversed).any(|(_, policy)| {
                policy.ruler().and_then(|user| self.rule_of(user)).is_some_and(|rule| rule.mode() == Mode::Tunnel)
            })
    }

    /// Removes the policies of a rule that another one in its place has not: what is forwarded meets no transport mode.
    pub(super) fn yield_directions(
        &mut self,
        gone: &Rule,
        next: &Rule,
        owner: SaId,
        selector: &Selector,
    ) -> Result<(), XfrmError> {
        let stay = next.directions(self.is_taken(next, selector));
        let all = gone.directions(self.is_taken(gone, selector));
        let leave: Vec<Direction> = all.iter().filter(|direction| !stay.contains(direction)).copied().collect();
        delete_policies(&mut self.requests, gone, owner, selector, &leave)
    }

    /// A rule that has no SA.
    pub(super) fn add_rule(&mut self, owner: SaId, rule: Rule, selectors: Vec<Selector>) -> Result<(), XfrmError> {
        if self.rules.contains_key(&owner) {
            return Err(XfrmError::ChildExists(owner));
        }
        self.rules.insert(owner, (rule, selectors.clone()));
        for selector in &selectors {
            let policy = self.policies.entry(rule.key(selector)).or_default();
            policy.add(owner, rule.rank());
            let rules = policy.ruler() == Some(owner);
            let taken = self.is_taken(&rule, selector);
            if rules && let Err(error) = set_policy(&mut self.requests, owner, &rule, (selector, taken)) {
                let _ = self.remove_rule(owner);
                return Err(error);
            }
        }
        Ok(())
    }

    pub(super) fn remove_rule(&mut self, owner: SaId) -> Result<(), XfrmError> {
        let Some((rule, selectors)) = self.rules.remove(&owner) else { return Ok(()) };
        self.release_policies(&rule, owner, &selectors)
    }

    /// What used these policies is gone: the next user rules, or they go too.
    pub(super) fn release_policies(
        &mut self,
        gone: &Rule,
        owner: SaId,
        selectors: &[Selector],
    ) -> Result<(), XfrmError> {
        let mut result = Ok(());
        for selector in selectors {
            let key = gone.key(selector);
            let Some(policy) = self.policies.get_mut(&key) else { continue };
            let ruled = policy.ruler() == Some(owner);
            policy.users.retain(|(_, user)| *user != owner);
            let next = policy.ruler().and_then(|user| Some((user, self.rule_of(user)?)));
            let done = match next {
                Some((user, next)) if ruled => {
                    let taken = self.is_taken(&next, selector);
                    let set = set_policy(&mut self.requests, user, &next, (selector, taken));
                    set.and(self.yield_directions(gone, &next, owner, selector))
                }
                Some(_) => Ok(()),
                None => {
                    self.policies.remove(&key);
                    let taken = self.is_taken(gone, selector);
                    let deleted = delete_policies(&mut self.requests, gone, owner, selector, gone.directions(taken));
                    deleted.and(self.let_forward(gone.mode(), selector))
                }
            };
            result = result.and(done);
        }
        result
    }

    /// Whether no other Child SA has these policies.
    pub(super) fn is_alone(&self, rule: &Rule, child: SaId, selector: &Selector) -> bool {
        let policy = self.policies.get(&rule.key(selector));
        policy.is_none_or(|policy| policy.users.iter().all(|(rank, user)| *rank != Rank::Child || *user == child))
    }

    /// What is sent goes by the next user's rule, or by none; what is received by this one's.
    pub(super) fn release_outbound(&mut self, gone: &Rule, owner: SaId, selector: &Selector) -> Result<(), XfrmError> {
        let policy = self.policies.get(&gone.key(selector)).filter(|policy| policy.ruler() == Some(owner));
        let Some(policy) = policy else { return Ok(()) };
        match policy.heir().and_then(|user| Some((user, self.rule_of(user)?))) {
            Some((user, next)) => set_outbound(&mut self.requests, user, &next, selector),
            None => delete_policies(&mut self.requests, gone, owner, selector, &[Direction::Out]),
        }
    }

    /// The tunnel for these selectors is gone. What is forwarded into one in the other direction had no policy of its own as
    /// long as this one was there, and has one now.
    fn let_forward(&mut self, mode: Mode, gone: &Selector) -> Result<(), XfrmError> {
        let reversed = gone.reversed();
        let users = self.policies.iter().filter(|((of, _), _)| *of == reversed);
        let users: Vec<SaId> = users.filter_map(|(_, policy)| policy.ruler()).collect();
        for user in users.into_iter().filter(|_| mode == Mode::Tunnel) {
            let rule = self.rule_of(user).filter(|rule| rule.mode() == Mode::Tunnel && rule.binding().forward_out);
            if let Some(rule) = rule.filter(|rule| !self.is_taken(rule, &reversed)) {
                set_policy(&mut self.requests, user, &rule, (&reversed, false))?;
            }
        }
        Ok(())
    }
}

pub(super) fn set_policy(
    socket: &mut Socket,
    owner: SaId,
    rule: &Rule,
    (selector, taken): (&Selector, bool),
) -> Result<(), XfrmError> {
    rule.directions(taken).iter().try_for_each(|direction| set_direction(socket, owner, rule, selector, *direction))
}

/// The policy for what is sent; the others stay.
pub(super) fn set_outbound(
    socket: &mut Socket,
    owner: SaId,
    rule: &Rule,
    selector: &Selector,
) -> Result<(), XfrmError> {
    set_direction(socket, owner, rule, selector, Direction::Out)
}

fn set_direction(
    socket: &mut Socket,
    owner: SaId,
    rule: &Rule,
    selector: &Selector,
    direction: Direction,
) -> Result<(), XfrmError> {
    let mut request = Request::new(message::UPDATE_POLICY, CREATE);
    let flags = (matches!(rule, Rule::Shunt(ShuntAction::Drop, ..)), rule.binding().icmp);
    request.put(&message::policy_info(
        &rule.selector(selector, direction),
        direction,
        rule.priority(selector, direction),
        flags,
    ));
    // Without a template: it is in the clear when it is forwarded, and the outbound policy protects it then.
    if let Rule::Protect(of) = rule
        && direction != Direction::ForwardOut
    {
        let mode = message::mode_number(of.mode);
        // Outbound the very SA is named, so that after a rekeying the new one is used at once.
        let template = match direction {
            Direction::Out => {
                let (spi, reqid) = of.asked_for.map_or((of.spi, of.reqid), |spi| (spi, held::REQID));
                message::template(of.local, of.remote, spi, reqid, mode)
            }
            _ => message::template(of.remote, of.local, 0, of.reqid, mode),
        };
        request.attribute(message::ATTRIBUTE_TEMPLATE, &template);
    }
    for (kind, value) in message::policy_binding(rule.binding(), direction) {
        request.attribute(kind, &value);
    }
    socket.request(request).map(drop).map_err(refused(Step::SetPolicy, owner))
}

fn delete_policies(
    socket: &mut Socket,
    gone: &Rule,
    owner: SaId,
    selector: &Selector,
    directions: &[Direction],
) -> Result<(), XfrmError> {
    for direction in directions {
        let mut request = Request::new(message::DELETE_POLICY, 0);
        request.put(&message::policy_id(&gone.selector(selector, *direction), *direction));
        for (kind, value) in message::policy_binding(gone.binding(), *direction) {
            request.attribute(kind, &value);
        }
        match socket.request(request) {
            // Somebody flushed the SPD.
            Err(error) if error.is(libc::ENOENT) => {}
            other => other.map(drop).map_err(refused(Step::DeletePolicy, owner))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bypass_rules_over_sas_and_these_over_a_discard() {
        let mut policy = Policy::default();
        let (pass, child, newer, trap, drop) = (SaId(1), SaId(2), SaId(3), SaId(4), SaId(5));
        policy.add(child, Rank::Child);
        policy.add(drop, Rank::Drop);
        policy.add(trap, Rank::Trap);
        assert_eq!(policy.ruler(), Some(child));
        policy.add(newer, Rank::Child);
        assert_eq!(policy.ruler(), Some(newer));
        policy.add(pass, Rank::Pass);
        policy.add(pass, Rank::Pass);
        assert_eq!(policy.users.iter().map(|(_, user)| *user).collect::<Vec<_>>(), [drop, trap, child, newer, pass]);
    }

    #[test]
    fn a_successor_waits_until_its_predecessor_is_gone() {
        let mut policy = Policy::default();
        let (old, new, other) = (SaId(1), SaId(2), SaId(3));
        policy.add(other, Rank::Child);
        policy.add(old, Rank::Child);
        policy.add_after(new, Rank::Child, Some(old));
        assert_eq!(policy.ruler(), Some(old));
        policy.users.retain(|(_, user)| *user != old);
        assert_eq!(policy.ruler(), Some(new), "before one that was there earlier");
        policy.add_after(SaId(4), Rank::Child, Some(SaId(9)));
        assert_eq!(policy.ruler(), Some(SaId(4)), "there is nothing to wait for");
    }

    #[test]
    fn layers_of_priorities_do_not_overlap() {
        let any = Selector::any(IpAddr::from([0, 0, 0, 0]));
        let v6 = IpAddr::from([1; 16]);
        let (host, port, binding) = ((v6, 128), (1, 0xffff), Binding::default());
        let one =
            Selector { local: host, remote: host, protocol: 6, local_port: port, remote_port: port, interface: 0 };
        let protect = Rule::Protect(Template {
            mode: Mode::Tunnel,
            local: v6,
            remote: v6,
            spi: 1,
            asked_for: None,
            reqid: 1,
            priority: None,
            binding,
        });
        let [pass, drop] = [ShuntAction::Pass, ShuntAction::Drop].map(|action| Rule::Shunt(action, None, binding));
        let out = Direction::Out;
        assert!(pass.priority(&any, out) < protect.priority(&one, out));
        assert!(protect.priority(&any, out) < protect.priority(&one, Direction::ForwardOut));
        assert!(protect.priority(&any, Direction::ForwardOut) < drop.priority(&one, out));
        assert_eq!(Rule::Shunt(ShuntAction::Pass, Some(7), binding).priority(&any, out), 7);
    }
}
