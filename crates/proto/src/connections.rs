//! The connections, by name and by the peers that they are for.

use config::{AddressPattern, Connection};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The connections. Those that are for a peer are found without a look at all: a gateway may have one for each of its peers, and
/// anybody may send it a first message.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    by_name: BTreeMap<String, Arc<Connection>>,
    /// The names of those whose `remote_addrs` have this very address.
    of_host: BTreeMap<IpAddr, BTreeSet<String>>,
    /// The names of those that are for more than that: networks, ranges, host names, anybody.
    of_many: BTreeSet<String>,
}

/// The addresses that a connection is for, one by one, and whether it is for more than these.
fn peers(connection: &Connection) -> (impl Iterator<Item = IpAddr> + '_, bool) {
    let host = |pattern: &AddressPattern| match pattern {
        AddressPattern::Host(host) => Some(*host),
        _ => None,
    };
    let more = connection.remote_addrs.is_empty() || connection.remote_addrs.iter().any(|p| host(p).is_none());
    (connection.remote_addrs.iter().filter_map(host), more)
}

impl Connections {
    /// Adds a connection, or replaces the one of that name.
    pub fn insert(&mut self, connection: Arc<Connection>) {
        self.remove(&connection.name);
        let (hosts, more) = peers(&connection);
        for host in hosts {
            self.of_host.entry(host).or_default().insert(connection.name.clone());
        }
        if more {
            self.of_many.insert(connection.name.clone());
        }
        self.by_name.insert(connection.name.clone(), connection);
    }

    /// Forgets a connection. Whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(gone) = self.by_name.remove(name) else { return false };
        for host in peers(&gone).0 {
            if let Some(names) = self.of_host.get_mut(&host) {
                names.remove(name);
                if names.is_empty() {
                    self.of_host.remove(&host);
                }
            }
        }
        self.of_many.remove(name);
        true
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Connection>> {
        self.by_name.get(name)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// All of them, by name.
    pub fn values(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.by_name.values()
    }

    /// All whose `remote_addrs` may have this address, by name: what else they have is still to be compared.
    pub fn for_peer(&self, address: IpAddr) -> impl Iterator<Item = &Arc<Connection>> {
        let names: BTreeSet<&String> = self.of_host.get(&address).into_iter().flatten().chain(&self.of_many).collect();
        names.into_iter().filter_map(|name| self.by_name.get(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::MemoryFiles;

    fn connection(name: &str, remote_addrs: &str) -> Arc<Connection> {
        let text = format!(
            "connections {{ {name} {{ {remote_addrs}\n local {{ auth = psk\n }} remote {{ auth = psk\n }} children {{ net {{ }} }} }} }}"
        );
        let tree = config::parse("swanctl.conf", &MemoryFiles::one("swanctl.conf", &text)).unwrap();
        Arc::clone(&config::load(&tree).unwrap().connections[0])
    }

    #[test]
    fn of_thousands_only_those_for_the_peer_are_looked_at() {
        let mut all = Connections::default();
        let of = |all: &Connections, address: &str| -> Vec<String> {
            all.for_peer(address.parse().unwrap()).map(|c| c.name.clone()).collect()
        };
        for n in 0..1000 {
            let addresses = format!("remote_addrs = 10.0.{}.{}, 10.1.{}.{}", n / 250, n % 250, n / 250, n % 250);
            all.insert(connection(&format!("site-{n:03}"), &addresses));
        }
        assert_eq!(of(&all, "10.0.1.7"), ["site-257"]);
        assert_eq!(of(&all, "10.1.1.7"), ["site-257"]);
        assert_eq!(of(&all, "192.0.2.1"), [""; 0]);
        for (name, addresses) in [
            ("any", ""),
            ("subnet", "remote_addrs = 10.0.0.0/8"),
            ("range", "remote_addrs = 10.0.1.7, 10.0.1.8-10.0.1.9"),
            ("name", "remote_addrs = gw.example"),
            ("site-900", "remote_addrs = 10.0.1.7"),
        ] {
            all.insert(connection(name, addresses));
        }
        assert_eq!(
            of(&all, "10.0.1.7"),
            ["any", "name", "range", "site-257", "site-900", "subnet"],
            "each once, by name"
        );
        assert_eq!(of(&all, "10.0.3.150"), ["any", "name", "range", "subnet"], "it is another one's now");
        assert!(all.remove("site-900") && !all.remove("site-900") && all.remove("range") && all.remove("any"));
        assert_eq!(of(&all, "10.0.1.7"), ["name", "site-257", "subnet"]);
        assert!(all.get("site-900").is_none() && all.contains("name") && all.values().count() == 1001);
        (0..1000).for_each(|n| {
            all.remove(&format!("site-{n:03}"));
        });
        assert!(all.of_host.is_empty());
    }
}
