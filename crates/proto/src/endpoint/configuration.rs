//! What an endpoint is configured with: connections, secrets, certificates, pools.

use super::Endpoint;
use crate::Settings;
use config::{Connection, SharedSecret};
use model::{Algorithm, Event};
use std::sync::Arc;
use wire::TransformType;
use wire::registry::IntegrityId;
use wire::v2::Transform;

impl Endpoint {
    /// Adds a connection, or replaces the one of that name. SAs that exist keep what they were made with.
    pub fn load_connection(&mut self, connection: Arc<Connection>) {
        self.warn_about_legacy(&connection);
        if let Some(text) = crate::credentials::uncertified(&connection) {
            self.cx.event(Event::Step { sa: None, name: connection.name.clone(), group: "CFG", level: 0, text });
        }
        self.forget_policies(&connection);
        self.connections.insert(connection);
    }

    /// Weak algorithms are there for whoever asks for them by name, and hears about it once. `default` never means them,
    /// except SHA-1 for ESP, where it is still strong enough (RFC 8221 section 6; MD5 is not).
    fn warn_about_legacy(&mut self, connection: &Connection) {
        let esp = connection.children.iter().flat_map(|c| &c.esp_proposals);
        let ike = connection.proposals.iter().flat_map(|p| p.transforms()).filter(|t| t.kind != TransformType::ESN);
        let sha1 = [IntegrityId::HMAC_SHA1_96.0, IntegrityId::HMAC_SHA1_160.0];
        let strong_in_esp = |t: &Transform| t.kind == TransformType::INTEG && sha1.contains(&t.id);
        let esp = esp.flat_map(|p| p.transforms()).filter(|t| !strong_in_esp(t));
        let weak = ike.chain(esp).map(|t| Algorithm { kind: t.kind, id: t.id, key_length: t.key_length });
        let mut weak: Vec<String> = weak.filter(|a| a.is_legacy()).map(Algorithm::keyword).collect();
        weak.sort();
        weak.dedup();
        if !weak.is_empty() {
            let text = format!("connection '{}' allows weak algorithms: {}", connection.name, weak.join(", "));
            self.cx.event(Event::Step { sa: None, name: String::new(), group: "CFG", level: 0, text });
        }
    }

    /// Forgets a connection with its traps and shunts; its SAs live on. Returns whether there was one.
    pub fn unload_connection(&mut self, name: &str) -> bool {
        self.uninstall_traps(Some(name), None);
        self.uninstall_shunts(Some(name), None);
        self.give_up(Some(name), None);
        let known = self.connections.remove(name);
        self.names.keep(self.connections.values().map(|c| &**c));
        known
    }

    /// The connections, by name.
    pub fn connections(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.connections.values()
    }

    /// Replaces all shared secrets.
    pub fn set_secrets(&mut self, secrets: Vec<SharedSecret>) {
        self.cx.secrets = secrets;
    }

    /// Adds a shared secret, or replaces the one of that name.
    pub fn add_secret(&mut self, secret: SharedSecret) {
        self.cx.secrets.retain(|s| s.name != secret.name);
        self.cx.secrets.push(secret);
    }

    /// Forgets a shared secret. Returns whether there was one.
    pub fn remove_secret(&mut self, name: &str) -> bool {
        let before = self.cx.secrets.len();
        self.cx.secrets.retain(|s| s.name != name);
        self.cx.secrets.len() != before
    }

    /// The shared secrets.
    pub fn secrets(&self) -> &[SharedSecret] {
        &self.cx.secrets
    }

    /// Certificates, private keys and the time of the calendar.
    pub fn credentials(&self) -> &crate::Credentials {
        &self.cx.credentials
    }

    /// The same, to add and remove.
    pub fn credentials_mut(&mut self) -> &mut crate::Credentials {
        &mut self.cx.credentials
    }

    /// The pools of virtual addresses, with their leases.
    pub fn pools(&self) -> &crate::Pools {
        &self.cx.pools
    }

    /// The same, to load and unload pools.
    pub fn pools_mut(&mut self) -> &mut crate::Pools {
        &mut self.cx.pools
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.cx.settings
    }
}
