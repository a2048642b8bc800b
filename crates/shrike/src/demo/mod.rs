//! The demonstration: two gateways, a tunnel with traffic, and three faults explained by both ends.

mod loopback;
mod namespaces;
mod walk;

use model::{SaSnapshot, Tombstone};
use show::own::Style;

/// What a gateway of the demonstration is configured with.
struct Site {
    name: &'static str,
    address: &'static str,
    inner: &'static str,
    network: &'static str,
}

const A: Site = Site { name: "a", address: "192.0.2.1", inner: "10.1.0.1", network: "10.1.0.0/16" };
const B: Site = Site { name: "b", address: "192.0.2.2", inner: "10.2.0.1", network: "10.2.0.0/16" };

/// What is put wrong at gateway b.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    WrongSecret,
    WrongProposal,
    WrongSelectors,
}

const FAULTS: [(Fault, &str); 3] = [
    (Fault::WrongSecret, "gateway b has another pre-shared key"),
    (Fault::WrongProposal, "gateway b only accepts AES-256 with SHA-512"),
    (Fault::WrongSelectors, "gateway b protects 10.9.0.0/16 instead of 10.2.0.0/16"),
];

/// The configuration of one site; a fault is always at b.
fn configuration(own: &Site, peer: &Site, addresses: (&str, &str), fault: Fault) -> String {
    let at_b = |wanted: Fault| own.name == "b" && fault == wanted;
    let secret = if at_b(Fault::WrongSecret) { "another-demo-secret" } else { "not-a-real-secret" };
    let proposals = if at_b(Fault::WrongProposal) { "aes256-sha512-x25519" } else { "aes128-sha256-x25519" };
    let local_ts = if at_b(Fault::WrongSelectors) { "10.9.0.0/16" } else { own.network };
    format!(
        "connections {{\n    site {{\n        local_addrs = {}\n        remote_addrs = {}\n        mobike = no\n        \
         proposals = {proposals}\n        local {{\n            auth = psk\n            id = gateway-{}.example\n        }}\n        \
         remote {{\n            auth = psk\n            id = gateway-{}.example\n        }}\n        children {{\n            \
         net {{\n                local_ts = {local_ts}\n                remote_ts = {}\n                \
         esp_proposals = aes128gcm16\n            }}\n        }}\n    }}\n}}\nsecrets {{\n    ike-site {{\n        \
         secret = {secret}\n    }}\n}}\n",
        addresses.0, addresses.1, own.name, peer.name, peer.network
    )
}

fn say(text: &str) {
    crate::print(&format!("{text}\n"));
}

fn heading(text: &str) {
    say(&format!("\n=== {text}\n"));
}

/// The two listings of a gateway that is up.
fn listings(live: &[SaSnapshot]) {
    heading("shrike show");
    crate::print(&show::own::render(live, &[], style()));
    heading("shrike tmsh show net ipsec ike-sa all-properties");
    let all = show::tmsh::Options { all_properties: true, ..show::tmsh::Options::default() };
    crate::print(&show::tmsh::render_ike_sa(live, &all));
}

/// What one end says about the negotiation that just failed.
fn explanation(site: &Site, live: &[SaSnapshot], ended: &[Tombstone]) {
    say(&format!("--- gateway {} says:", site.name));
    let latest: Vec<Tombstone> = ended.iter().filter(|t| !t.failure.kind.is_ordinary()).take(1).cloned().collect();
    crate::print(&show::own::render(live, &latest, style()));
}

fn style() -> Style {
    use std::io::IsTerminal;
    Style { colour: std::io::stdout().is_terminal() }
}

/// Runs it: with gateways in network namespaces if we may make some, else within this process.
///
/// # Errors
/// What did not work.
pub fn run(no_root: bool) -> Result<(), String> {
    if no_root {
        loopback::run("as asked")?;
    } else {
        match linux::Namespace::anonymous() {
            Ok(_) => namespaces::run()?,
            Err(why) => loopback::run(&why.to_string())?,
        }
    }
    walk::run()
}
