//! Virtual addresses of this host: what peers assign to us, on the interface that the tunnel leaves by.

use crate::log;
use linux::{LocalAddress, Routes};
use model::dataplane::VirtualAddress;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// An address that some IKE SA brought.
struct Held {
    /// What was added to the interface; `None` if it was there before, so that it is not ours to take away.
    added: Option<LocalAddress>,
    /// How many IKE SAs have it: a new one has the same before the old one goes.
    users: u32,
    /// The address of the interface that it was added to.
    outer: IpAddr,
    /// It went from its interface and could not be added again so far, which was told.
    missing: bool,
}

/// The addresses that IKE SAs brought.
#[derive(Default)]
pub struct VirtualAddresses {
    held: BTreeMap<IpAddr, Held>,
}

impl VirtualAddresses {
    /// Removes what a daemon before us left that was killed: nobody else would. Called when the sockets are ours, so that no
    /// other daemon is there to whom the addresses belong. Returns them.
    pub fn clear(routes: &mut Routes) -> Vec<IpAddr> {
        let mut left = routes.virtual_addresses().unwrap_or_default();
        left.retain(|address| routes.delete_address(address).is_ok());
        left.into_iter().map(|address| address.address).collect()
    }

    /// Whether this is one of them.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.held.contains_key(&address)
    }

    /// Gives the interface with the outer address this one too.
    ///
    /// # Errors
    /// Why that cannot be, for the log.
    pub fn add(&mut self, routes: &mut Routes, new: &VirtualAddress) -> Result<(), String> {
        if let Some(held) = self.held.get_mut(&new.address) {
            held.users += 1;
            held.outer = new.outer;
            return Ok(());
        }
        let present = routes.addresses().map_err(|e| e.to_string())?;
        let added = if present.iter().any(|a| a.address == new.address) {
            None
        } else {
            let outer = present.iter().find(|a| a.address == new.outer);
            let interface = outer.ok_or_else(|| format!("no interface has {}", new.outer))?.interface;
            let prefix = if new.address.is_ipv4() { 32 } else { 128 };
            let address = LocalAddress { interface, address: new.address, prefix };
            routes.add_virtual_address(&address).map_err(|e| e.to_string())?;
            Some(address)
        };
        self.held.insert(new.address, Held { added, users: 1, outer: new.outer, missing: false });
        Ok(())
    }

    /// The network changed: what went from its interface is added again, to the interface that has the outer address now.
    pub fn restore(&mut self, routes: &mut Routes) {
        if !self.held.values().any(|held| held.added.is_some()) {
            return;
        }
        let Ok(present) = routes.addresses() else { return };
        for (own, held) in &mut self.held {
            let Some(former) = held.added else { continue };
            if present.iter().any(|a| a.address == *own) {
                held.missing = false;
                continue;
            }
            // Where the IKE SA has moved since, the outer address may be nowhere: then the interface that had this one has to do.
            let outer = present.iter().find(|a| a.address == held.outer);
            let again = LocalAddress { interface: outer.map_or(former.interface, |a| a.interface), ..former };
            match routes.add_virtual_address(&again) {
                Ok(()) => {
                    (held.added, held.missing) = (Some(again), false);
                    log::line("KNL", 1, &format!("the virtual address {own} was gone from its interface: added again"));
                }
                // Once, for the host's network may change often until it can be.
                Err(error) if !held.missing => {
                    held.missing = true;
                    let what = "is gone from its interface, and can be added again when that is back";
                    log::line("KNL", 0, &format!("the virtual address {own} {what}: {error}"));
                }
                Err(_) => {}
            }
        }
    }

    /// One IKE SA fewer has the address. The last one takes it away.
    ///
    /// # Errors
    /// Why that cannot be, for the log.
    pub fn remove(&mut self, routes: &mut Routes, gone: IpAddr) -> Result<(), String> {
        let Some(held) = self.held.get_mut(&gone) else { return Ok(()) };
        held.users -= 1;
        if held.users > 0 {
            return Ok(());
        }
        match self.held.remove(&gone).and_then(|held| held.added) {
            Some(address) => routes.delete_address(&address).map_err(|e| e.to_string()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux::Namespace;

    #[test]
    fn a_virtual_address_that_went_with_its_interface_comes_back_with_it() {
        let namespace = match Namespace::anonymous() {
            Ok(namespace) => namespace,
            Err(error) => {
                eprintln!("SKIP: {error}");
                assert_ne!(std::env::var("SHRIKE_KERNEL_TESTS").as_deref(), Ok("1"), "this run must not skip: {error}");
                return;
            }
        };
        let come_and_go = || {
            let mut routes = Routes::open().unwrap();
            let ip = |text: &str| text.parse::<IpAddr>().unwrap();
            let line = |routes: &mut Routes| {
                routes.add_veth("wan", "other", None).unwrap();
                let interface = Routes::interface_index("wan").unwrap();
                routes.set_link(interface, Some(true), None).unwrap();
                let outer = LocalAddress { interface, address: ip("192.0.2.1"), prefix: 24 };
                routes.add_address(&outer).unwrap();
                interface
            };
            let first = line(&mut routes);
            let mut held = VirtualAddresses::default();
            for address in ["10.3.0.1", "2001:db8::3"] {
                let new = VirtualAddress { ike: model::SaId(1), address: ip(address), outer: ip("192.0.2.1") };
                held.add(&mut routes, &new).unwrap();
            }
            let on = |routes: &mut Routes, interface| {
                let all = routes.addresses().unwrap().into_iter().filter(|a| a.interface == interface);
                all.map(|a| a.address).filter(|a| [ip("10.3.0.1"), ip("2001:db8::3")].contains(a)).collect::<Vec<_>>()
            };
            assert_eq!(on(&mut routes, first).len(), 2);
            // IPv6 addresses go when the interface goes down, IPv4 ones stay.
            for up in [false, true] {
                routes.set_link(first, Some(up), None).unwrap();
            }
            assert_eq!(on(&mut routes, first), [ip("10.3.0.1")]);
            held.restore(&mut routes);
            assert_eq!(on(&mut routes, first).len(), 2);
            let lost = LocalAddress { interface: first, address: ip("10.3.0.1"), prefix: 32 };
            routes.delete_address(&lost).unwrap();
            held.restore(&mut routes);
            assert_eq!(on(&mut routes, first).len(), 2);
            // Another interface has the outer address after the first one was removed.
            routes.delete_link(first).unwrap();
            held.restore(&mut routes);
            let second = line(&mut routes);
            assert_ne!(second, first);
            held.restore(&mut routes);
            assert_eq!(on(&mut routes, second).len(), 2);
            held.remove(&mut routes, ip("10.3.0.1")).unwrap();
            assert_eq!(on(&mut routes, second), [ip("2001:db8::3")], "where it is now it is taken away");
        };
        namespace.run(come_and_go).unwrap();
    }
}
