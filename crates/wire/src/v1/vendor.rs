//! Vendor IDs: those that change what is spoken, and the names of others.

use super::vendor_names::{BEGINNINGS, TELDAT, WHOLE};
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

/// The name of what a Vendor ID tells of, if it is known: for logs, and for whoever wants to know what the peer is.
pub fn vendor_name(octets: &[u8]) -> Option<&'static str> {
    let whole = || {
        let number = octets.try_into().ok().map(u128::from_be_bytes)?;
        let at = WHOLE.binary_search_by_key(&number, |(known, _)| *known).ok()?;
        WHOLE.get(at).map(|(_, name)| *name)
    };
    let begins = || BEGINNINGS.iter().find(|(_, begins)| octets.starts_with(begins)).map(|(name, _)| *name);
    let teldat = || (octets.get(TELDAT.0..) == Some(TELDAT.1)).then_some("Teldat");
    VendorId::recognise(octets).map(VendorId::name).or_else(whole).or_else(begins).or_else(teldat)
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
        for (name, octets) in BEGINNINGS {
            assert_eq!(vendor_name(octets), Some(*name), "another one begins alike and comes first");
        }
        assert!(BEGINNINGS.is_sorted_by_key(|(_, octets)| std::cmp::Reverse(octets.len())));
        for (number, name) in WHOLE {
            let octets = number.to_be_bytes();
            assert_eq!(vendor_name(&octets), Some(*name));
            assert_eq!(vendor_name(&octets[1..]), None);
            assert!(!BEGINNINGS.iter().any(|(_, begins)| octets.starts_with(begins)), "{name} is there twice");
        }
        assert!(WHOLE.is_sorted_by_key(|(number, _)| *number));
        assert_eq!(vendor_name(b"123456789Teldat"), Some("Teldat"));
        assert_eq!(vendor_name(b"12345678Teldat"), None);
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
