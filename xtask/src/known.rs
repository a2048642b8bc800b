//! Scenarios whose failing check does not tell why they fail, and the reason.

const CHARONS_POOLS: &str =
    "charon's own: 5.9.8 lists a pool by the address of its network, 6.0 by the first that is given out";
const CHARONS_ICMP: &str = "charon's own: 5.9.8 does not know `icmp = yes` and discards the connection";
const DHCP: &str = "strongSwan's plugin dhcp, addresses from a DHCP server of the network, has no counterpart";
const FORECAST: &str =
    "strongSwan's plugin forecast, which copies multicasts and broadcasts into tunnels, has no counterpart";

/// By name.
const KNOWN: [(&str, &str); 16] = [
    ("ikev1/ip-pool", CHARONS_POOLS),
    ("ikev2-multi-ca/ocsp-strict-ifuri", "OCSP is not available in this version"),
    ("ikev2/dhcp-dynamic", DHCP),
    ("ikev2/dhcp-static-client-id", DHCP),
    ("ikev2/dhcp-static-mac", DHCP),
    ("ikev2/farp", "strongSwan's plugin farp, which answers ARP in the clients' place, has no counterpart"),
    ("ikev2/forecast", FORECAST),
    (
        "ikev2/host2host-transport-connmark",
        "strongSwan's plugin connmark, which has the firewall's connection tracking choose the SA, has no counterpart",
    ),
    ("ikev2/ip-pool", CHARONS_POOLS),
    ("ikev2/ip-two-pools", CHARONS_POOLS),
    ("ikev2/lookip", "strongSwan's plugin lookip, a socket of its own for virtual addresses, has no counterpart"),
    ("ikev2/net2net-icmp-forward", CHARONS_ICMP),
    ("ikev2/net2net-multicast", FORECAST),
    (
        "ikev2/net2net-route-narrow",
        "charon's own: its trap asks for the first of the two Child SAs into which Shrike narrows, and never for the second",
    ),
    ("ikev2/start-action-start", "charon's own: 5.9.8 does not log `vici initiating`"),
    ("ipv6/net2net-icmp-forward-ikev2", CHARONS_ICMP),
];

/// Why this scenario does not pass everywhere, where that is known.
pub fn reason(scenario: &str) -> Option<&'static str> {
    KNOWN.iter().find_map(|(name, reason)| (*name == scenario).then_some(*reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_named_once_and_in_order() {
        assert!(KNOWN.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(reason("ikev2/farp").map(|reason| reason.contains("ARP")), Some(true));
        assert_eq!(reason("ikev2/net2net-psk"), None);
    }
}
