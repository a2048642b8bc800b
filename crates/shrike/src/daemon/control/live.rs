//! The commands for a diagnosis: what else is known besides SAs and connections, and what is wrong by all of it.

use super::{Client, describe};
use super::{credentials, findings};
use crate::clock;
use crate::daemon::Core;
use model::Instant;
use std::sync::Arc;
use std::time::Duration;
use vici::{Message, schema};

impl Client {
    /// Messages of SAs that are not here.
    pub(super) fn list_strays(&mut self, core: &mut Core, now: Instant) -> Message {
        for stray in core.endpoint.strays(now) {
            self.session.event("shrike-stray", &schema::stray(&stray));
        }
        Message::new()
    }

    /// What became of datagrams.
    pub(super) fn list_send_errors(&mut self, core: &mut Core, now: Instant) -> Message {
        for error in core.troubles.list(now) {
            self.session.event("shrike-send-error", &schema::send_error(&error));
        }
        Message::new()
    }

    /// What is wrong in the data plane.
    pub(super) fn list_plane_faults(&mut self, core: &mut Core, now: Instant) -> Message {
        for fault in core.plane.faults(now) {
            self.session.event("shrike-plane-fault", &schema::plane_fault(&fault));
        }
        Message::new()
    }

    /// `shrike-diagnose`: what is wrong now, a finding for each connection.
    pub(super) fn diagnose(&mut self, core: &mut Core, now: Instant) -> Message {
        let told = |c: &Arc<config::Connection>| schema::live_connections(&schema::list_conn(&describe(c)));
        let mut connections: Vec<_> = core.endpoint.connections().flat_map(told).collect();
        core.endpoint.traps().for_each(|trap| schema::note_trap(&mut connections, &schema::list_policy(trap)));
        let sas = core.snapshots(now);
        let live = model::Live {
            connections,
            probes: core.probes.list(now, &sas),
            sas,
            ended: core.ended(now),
            remembers: true,
            running: Some(now.since(Instant::ZERO)),
            strays: core.endpoint.strays(now),
            now: Some(Duration::from_secs(clock::unix_seconds())),
            certificates: credentials::list(core.endpoint.credentials(), &Message::new())
                .iter()
                .filter_map(credentials::validity)
                .collect(),
            send_errors: core.troubles.list(now),
            plane_faults: core.plane.faults(now),
            ..model::Live::default()
        };
        for found in diag::live(&live) {
            findings::tell(&mut self.session, "", &found);
        }
        Message::new()
    }
}
