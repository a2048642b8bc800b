//! Virtual addresses of this host: what peers assign to us, on the interface that the tunnel leaves by.

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
        self.held.insert(new.address, Held { added, users: 1 });
        Ok(())
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
