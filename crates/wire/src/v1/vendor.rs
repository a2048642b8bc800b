//! Vendor IDs: those that change what is spoken, and the names of others.

use crate::registry::{EncapsulationMode, PayloadType};

/// strongSwan's Vendor ID, of either version. Its numbers of the private ranges are good between those who send it.
pub const STRONGSWAN_VENDOR_ID: [u8; 16] = 0x882f_e56d_6fd2_0dbc_2251_613b_2ebe_5beb_u128.to_be_bytes();

/// A Vendor ID that is sent or acted upon. All others are ignored (RFC 2408 section 3.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VendorId {
    /// NAT traversal of RFC 3947 (section 3.1).
    Rfc3947,
    /// NAT traversal as in draft-ietf-ipsec-nat-t-ike-03.
    NatTraversalDraft03,
    /// NAT traversal as in draft-ietf-ipsec-nat-t-ike-02: MD5 of the name.
    NatTraversalDraft02,
    /// The same, with a line feed after the name, which is what most peers hash.
    NatTraversalDraft02LineFeed,
    /// Dead Peer Detection (RFC 3706 section 5.1), version 1.0.
    DeadPeerDetection,
    /// XAuth.
    Xauth,
    /// Cisco's extensions of Mode-Config.
    Unity,
    /// Fragments of IKEv1 messages.
    Fragmentation,
}

impl VendorId {
    /// Each of them.
    pub const ALL: [Self; 8] = [
        Self::Rfc3947,
        Self::NatTraversalDraft03,
        Self::NatTraversalDraft02,
        Self::NatTraversalDraft02LineFeed,
        Self::DeadPeerDetection,
        Self::Xauth,
        Self::Unity,
        Self::Fragmentation,
    ];

    /// What is sent.
    pub const fn octets(self) -> &'static [u8] {
        match self {
            Self::Rfc3947 => const { &0x4a13_1c81_0703_5845_5c57_28f2_0e95_452f_u128.to_be_bytes() },
            Self::NatTraversalDraft03 => const { &0x7d94_19a6_5310_ca6f_2c17_9d92_1552_9d56_u128.to_be_bytes() },
            Self::NatTraversalDraft02 => const { &0xcd60_4643_35df_21f8_7cfd_b2fc_68b6_a448_u128.to_be_bytes() },
            Self::NatTraversalDraft02LineFeed => {
                const { &0x90cb_8091_3ebb_696e_0863_81b5_ec42_7b1f_u128.to_be_bytes() }
            }
            Self::DeadPeerDetection => const { &0xafca_d713_68a1_f1c9_6b86_96fc_7757_0100_u128.to_be_bytes() },
            Self::Xauth => const { &0x0900_2689_dfd6_b712_u64.to_be_bytes() },
            Self::Unity => const { &0x12f5_f28c_4571_68a9_702d_9fe2_74cc_0100_u128.to_be_bytes() },
            Self::Fragmentation => const { &0x4048_b7d5_6ebc_e885_25e7_de7f_00d6_c2d3_u128.to_be_bytes() },
        }
    }

    /// A name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rfc3947 => "RFC 3947 NAT-T",
            Self::NatTraversalDraft03 => "draft-ietf-ipsec-nat-t-ike-03",
            Self::NatTraversalDraft02 => "draft-ietf-ipsec-nat-t-ike-02",
            Self::NatTraversalDraft02LineFeed => "draft-ietf-ipsec-nat-t-ike-02\\n",
            Self::DeadPeerDetection => "Dead Peer Detection",
            Self::Xauth => "XAUTH",
            Self::Unity => "Cisco Unity",
            Self::Fragmentation => "IKE Fragmentation",
        }
    }

    /// The Vendor ID of a payload, if it is one of these. Dead Peer Detection is recognised in each minor version of 1
    /// (RFC 3706 section 5.1 has the version in the last two octets), fragmentation with the four octets of flags that
    /// some peers append.
    pub fn recognise(octets: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|vendor| match vendor {
            Self::DeadPeerDetection => vendor
                .octets()
                .split_last()
                .is_some_and(|(_, prefix)| octets.starts_with(prefix) && octets.len() == prefix.len() + 1),
            Self::Fragmentation => octets.starts_with(vendor.octets()),
            _ => octets == vendor.octets(),
        })
    }

    /// The NAT traversal that it stands for.
    pub const fn nat_traversal(self) -> Option<NatTraversal> {
        match self {
            Self::Rfc3947 => Some(NatTraversal::Rfc3947),
            Self::NatTraversalDraft03 | Self::NatTraversalDraft02 | Self::NatTraversalDraft02LineFeed => {
                Some(NatTraversal::Draft)
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for VendorId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// What Vendor IDs tell of that change nothing here: implementations, and extensions that are not spoken. Each by its first
/// octets, the longest first; what follows is a version.
const OTHERS: &[(&str, &[u8])] = &[
    ("Windows 2000", b"\x1e\x2b\x51\x69\x05\x99\x1c\x7d\x7c\x96\xfc\xbf\xb5\x87\xe4\x61\x00\x00\x00\x02"),
    ("Windows XP", b"\x1e\x2b\x51\x69\x05\x99\x1c\x7d\x7c\x96\xfc\xbf\xb5\x87\xe4\x61\x00\x00\x00\x03"),
    ("Windows Server 2003", b"\x1e\x2b\x51\x69\x05\x99\x1c\x7d\x7c\x96\xfc\xbf\xb5\x87\xe4\x61\x00\x00\x00\x04"),
    ("Windows Vista", b"\x1e\x2b\x51\x69\x05\x99\x1c\x7d\x7c\x96\xfc\xbf\xb5\x87\xe4\x61\x00\x00\x00\x05"),
    ("Windows Server 2008", b"\x1e\x2b\x51\x69\x05\x99\x1c\x7d\x7c\x96\xfc\xbf\xb5\x87\xe4\x61\x00\x00\x00\x06"),
    ("Windows 7", b"\x1e\x2b\x51\x69\x05\x99\x1c\x7d\x7c\x96\xfc\xbf\xb5\x87\xe4\x61\x00\x00\x00\x07"),
    ("Windows Server 2008 R2", b"\x1e\x2b\x51\x69\x05\x99\x1c\x7d\x7c\x96\xfc\xbf\xb5\x87\xe4\x61\x00\x00\x00\x08"),
    ("Windows 8 or later", b"\x1e\x2b\x51\x69\x05\x99\x1c\x7d\x7c\x96\xfc\xbf\xb5\x87\xe4\x61\x00\x00\x00\x09"),
    ("Check Point", b"\xf4\xed\x19\xe0\xc1\x14\xeb\x51\x6f\xaa\xac\x0e\xe3\x7d\xaf\x28\x07\xb4\x38\x1f"),
    ("Juniper SRX", b"\xfd\x80\x88\x04\xdf\x73\xb1\x51\x50\x70\x9d\x87\x80\x44\xcd\xe0\xac\x1e\xfc\xde"),
    ("NetScreen", b"\x69\x93\x69\x22\x87\x41\xc6\xd4\xca\x09\x4c\x93\xe2\x42\xc9\xde\x19\xe7\xb7\xc6"),
    ("NetScreen", b"\x16\x6f\x93\x2d\x55\xeb\x64\xd8\xe4\xdf\x4f\xd3\x7e\x23\x13\xf0\xd0\xfd\x84\x51"),
    ("NetScreen", b"\x4a\x43\x40\xb5\x43\xe0\x2b\x84\xc8\x8a\x8b\x96\xa8\xaf\x9e\xbe\x77\xd9\xac\xcc"),
    ("ZyXEL ZyWALL", b"\x62\x50\x27\x74\x9d\x5a\xb9\x7f\x56\x16\xc1\x60\x27\x65\xcf\x48\x0a\x3b\x7d\x0b"),
    ("ZyXEL ZyWALL router", b"\xb8\x58\xd1\xad\xdd\x08\xc1\xe8\xad\xaf\xea\x15\x06\x08\xaa\x44\x97\xaa\x6c\xc8"),
    ("Cisco delete reason", b"CISCO-DELETE-REASON"),
    ("Cisco dynamic route", b"CISCO-DYNAMIC-ROUTE"),
    ("Cisco FlexVPN", b"FLEXVPN-SUPPORTED"),
    ("strongSwan", &STRONGSWAN_VENDOR_ID),
    ("KAME/racoon", b"\x70\x03\xcb\xc1\x09\x7d\xbe\x9c\x26\x00\xba\x69\x83\xbc\x8b\x35"),
    ("Windows", b"\x1e\x2b\x51\x69\x05\x99\x1c\x7d\x7c\x96\xfc\xbf\xb5\x87\xe4\x61"),
    ("Windows negotiation discovery", b"\xfb\x1d\xe3\xcd\xf3\x41\xb7\xea\x16\xb7\xe5\xbe\x08\x55\xf1\x20"),
    ("Windows IKE CGA", b"\xe3\xa5\x96\x6a\x76\x37\x9f\xe7\x07\x22\x82\x31\xe5\xce\x86\x52"),
    ("Windows AuthIP", b"\x21\x4c\xa4\xfa\xff\xa7\xf3\x2d\x67\x48\xe5\x30\x33\x95\xae\x83"),
    ("Windows NLB fast failover", b"\x72\x87\x2b\x95\xfc\xda\x2e\xb7\x08\xef\xe3\x22\x11\x9b\x49\x71"),
    ("Windows GSS-API", b"\xad\x2c\x0d\xd0\xb9\xc3\x20\x83\xcc\xba\x25\xb8\x86\x1e\xc4\x55"),
    ("Cisco VPN 3000 client", b"\xf6\xf7\xef\xc7\xf5\xae\xb8\xcb\x15\x8c\xb9\xd0\x94\xba\x69\xe7"),
    ("FortiGate", b"\x1d\x6e\x17\x8f\x6c\x2c\x0b\xe2\x84\x98\x54\x65\x45\x0f\xe9\xd4"),
    ("FortiClient", b"\x4c\x53\x42\x7b\x6d\x46\x5d\x1b\x33\x7b\xb7\x55\xa3\x7a\x7f\xef"),
    ("Fortinet endpoint control", b"\xb4\xf0\x1c\xa9\x51\xe9\xda\x8d\x0b\xaf\xbb\xd3\x4a\xd3\x04\x4e"),
    ("NCP client", b"\x10\x1f\xb0\xb3\x5c\x5a\x4f\x4c\x08\xb9\x19\xf1\xcb\x97\x77\xb0"),
    ("Shrew Soft client", b"\xf1\x4b\x94\xb7\xbf\xf1\xfe\xf0\x27\x73\xb8\xc4\x9f\xed\xed\x26"),
    ("SafeNet SoftRemote", b"\x47\xbb\xe7\xc9\x93\xf1\xfc\x13\xb4\xe6\xd0\xdb\x56\x5c\x68\xe5"),
    ("Netgear", b"\xdb\xfb\x81\xeb\x57\x60\xb0\x78\x85\x62\x06\x7d\xa1\x02\xd7\x55"),
    ("Sidewinder", b"\x84\x04\xad\xf9\xcd\xa0\x57\x60\xb2\xca\x29\x2e\x4b\xff\x53\x7b"),
    ("SSH Sentinel 1.4", b"\x63\xd9\xa1\xa7\x00\x94\x91\xb5\xa0\xa6\xfd\xeb\x2a\x82\x84\xf0"),
    ("heartbeat notify", b"HeartBeat_Notify"),
    ("ESP through NAT", b"\x50\x76\x0f\x62\x4c\x63\xe5\xc5\x3e\xea\x38\x6c\x68\x5c\xa0\x83"),
    ("draft-stenberg-ipsec-nat-traversal-01", b"\x27\xba\xb5\xdc\x01\xea\x07\x60\xea\x4e\x31\x90\xac\x27\xc0\xd0"),
    ("draft-stenberg-ipsec-nat-traversal-02", b"\x61\x05\xc4\x22\xe7\x68\x47\xe4\x3f\x96\x84\x80\x12\x92\xae\xcd"),
    ("draft-ietf-ipsec-nat-t-ike", b"\x4d\xf3\x79\x28\xe9\xfc\x4f\xd1\xb3\x26\x21\x70\xd5\x15\xc6\x62"),
    ("draft-ietf-ipsec-nat-t-ike-00", b"\x44\x85\x15\x2d\x18\xb6\xbb\xcd\x0b\xe8\xa8\x46\x95\x79\xdd\xcc"),
    ("draft-ietf-ipsec-nat-t-ike-01", b"\x16\xf6\xca\x16\xe4\xa4\x06\x6d\x83\x82\x1a\x0f\x0a\xea\xa8\x62"),
    ("draft-ietf-ipsec-nat-t-ike-04", b"\x99\x09\xb6\x4e\xed\x93\x7c\x65\x73\xde\x52\xac\xe9\x52\xfa\x6b"),
    ("draft-ietf-ipsec-nat-t-ike-05", b"\x80\xd0\xbb\x3d\xef\x54\x56\x5e\xe8\x46\x45\xd4\xc8\x5c\xe3\xee"),
    ("draft-ietf-ipsec-nat-t-ike-06", b"\x4d\x1e\x0e\x13\x6d\xea\xfa\x34\xc4\xf3\xea\x9f\x02\xec\x72\x85"),
    ("draft-ietf-ipsec-nat-t-ike-07", b"\x43\x9b\x59\xf8\xba\x67\x6c\x4c\x77\x37\xae\x22\xea\xb8\xf5\x82"),
    ("draft-ietf-ipsec-nat-t-ike-08", b"\x8f\x8d\x83\x82\x6d\x24\x6b\x6f\xc7\xa8\xa6\xa4\x28\xc1\x1d\xe8"),
    ("FreeS/WAN", b"Linux FreeS/WAN"),
    ("ZyXEL ZyWALL USG", b"\xf7\x58\xf2\x26\x68\x75\x0f\x03\xb0\x8d\xf6\xeb\xe1\xd0"),
    ("Libreswan", b"OE-Libreswan-"),
    ("Cisco VPN Concentrator", b"\x1f\x07\xf7\x0e\xaa\x65\x14\xd3\xb0\xfa\x96\x54\x2a"),
    ("macOS", b"Mac OSX 10.x"),
    ("OpenIKED", b"OpenIKED"),
    ("SonicWall", b"\x40\x4b\xf4\x39\x52\x2c\xa3\xf6"),
    ("SonicWall", b"\xda\x8e\x93\x78\x80\x01\x00\x00"),
    ("Nortel Contivity", b"\x42\x4e\x45\x53\x00\x00\x00"),
    ("SonicWall", b"\x5b\x36\x2b\xc8\x20\xf6"),
    ("Cisco IOS", b"\x3e\x98\x40\x48"),
    ("Openswan", b"OE"),
];

/// The name of what a Vendor ID tells of, if it is known: for logs, and for whoever wants to know what the peer is.
pub fn vendor_name(octets: &[u8]) -> Option<&'static str> {
    let other = || OTHERS.iter().find(|(_, begins)| octets.starts_with(begins)).map(|(name, _)| *name);
    VendorId::recognise(octets).map(VendorId::name).or_else(other)
}

/// Which numbers NAT traversal uses: those of RFC 3947 or those of drafts 02 and 03.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NatTraversal {
    /// Drafts 02 and 03.
    Draft,
    /// RFC 3947.
    Rfc3947,
}

impl NatTraversal {
    /// The NAT-D payload.
    pub const fn nat_d(self) -> PayloadType {
        match self {
            Self::Draft => PayloadType::V1_NAT_D_DRAFT,
            Self::Rfc3947 => PayloadType::V1_NAT_D,
        }
    }

    /// The NAT-OA payload.
    pub const fn nat_oa(self) -> PayloadType {
        match self {
            Self::Draft => PayloadType::V1_NAT_OA_DRAFT,
            Self::Rfc3947 => PayloadType::V1_NAT_OA,
        }
    }

    /// UDP-encapsulated tunnel mode.
    pub const fn tunnel(self) -> EncapsulationMode {
        match self {
            Self::Draft => EncapsulationMode::UDP_ENCAPSULATED_TUNNEL_DRAFT,
            Self::Rfc3947 => EncapsulationMode::UDP_ENCAPSULATED_TUNNEL,
        }
    }

    /// UDP-encapsulated transport mode.
    pub const fn transport(self) -> EncapsulationMode {
        match self {
            Self::Draft => EncapsulationMode::UDP_ENCAPSULATED_TRANSPORT_DRAFT,
            Self::Rfc3947 => EncapsulationMode::UDP_ENCAPSULATED_TRANSPORT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_recognised_as_itself() {
        for vendor in VendorId::ALL {
            assert_eq!(VendorId::recognise(vendor.octets()), Some(vendor));
            assert_eq!(VendorId::recognise(&vendor.octets()[1..]), None);
            let longer = [vendor.octets(), &[0x80, 0, 0, 0]].concat();
            assert_eq!(VendorId::recognise(&longer).is_some(), vendor == VendorId::Fragmentation);
        }
        let mut dpd = VendorId::DeadPeerDetection.octets().to_vec();
        dpd[15] = 9;
        assert_eq!(VendorId::recognise(&dpd), Some(VendorId::DeadPeerDetection));
        dpd[14] = 2;
        assert_eq!(VendorId::recognise(&dpd), None);
        assert_eq!(VendorId::recognise(&[]), None);
    }

    #[test]
    fn others_are_known_by_name() {
        for (name, octets) in OTHERS {
            assert_eq!(vendor_name(octets), Some(*name), "another one begins alike and comes first");
        }
        assert!(OTHERS.is_sorted_by_key(|(_, octets)| std::cmp::Reverse(octets.len())));
        assert_eq!(vendor_name(VendorId::Xauth.octets()), Some("XAUTH"));
        let windows = [&0x1e2b_5169_0599_1c7d_7c96_fcbf_b587_e461_u128.to_be_bytes()[..], &[0, 0, 0, 99]].concat();
        assert_eq!(vendor_name(&windows), Some("Windows"));
        assert_eq!(vendor_name(b"OE-Libreswan-4.10"), Some("Libreswan"));
        assert_eq!((vendor_name(b"nobody"), vendor_name(&[])), (None, None));
    }

    #[test]
    fn the_rfc_is_preferred_to_the_drafts() {
        let offered = [VendorId::NatTraversalDraft02, VendorId::Rfc3947, VendorId::Xauth];
        assert_eq!(offered.into_iter().filter_map(VendorId::nat_traversal).max(), Some(NatTraversal::Rfc3947));
    }
}
