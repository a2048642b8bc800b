//! Every key of `swanctl.conf`, and the keys of `strongswan.conf` that concern the daemon: what it means and whether this
//! version implements it. The readers, the suggestions in error reports and the generated documentation use this table.

use Scope::{
    Authentication as AUTH, Authority as CA, Child as CHILD, Connection as CONN, Passphrase as PHRASE, Pool as POOL,
    Secret as SECRET, Settings as DAEMON, Top as TOP,
};
use Support::{Accepted, No, Only, Yes};

/// Where a key belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The top of `swanctl.conf`.
    Top,
    /// `connections.<name>`.
    Connection,
    /// `connections.<name>.local<suffix>` and `.remote<suffix>`.
    Authentication,
    /// `connections.<name>.children.<name>`.
    Child,
    /// `secrets.ike<suffix>`, `.xauth<suffix>` and `.eap<suffix>`.
    Secret,
    /// `secrets.private<suffix>`, `.rsa<suffix>`, `.ecdsa<suffix>` and `.pkcs8<suffix>`.
    Passphrase,
    /// `pools.<name>`.
    Pool,
    /// `authorities.<name>`.
    Authority,
    /// `charon` in `strongswan.conf`, also named `shrike` or `charon-systemd`.
    Settings,
}

/// What this version makes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It does what it says.
    Yes,
    /// Read without effect, for the stated reason.
    Accepted(&'static str),
    /// Only these values are possible; the reason why not the others.
    Only(&'static [&'static str], &'static str),
    /// Refused, with the reason and what to do.
    No(&'static str),
}

/// A key or, with a trailing `{}`, a section. A trailing `*` stands for any suffix.
#[derive(Clone, Copy, Debug)]
pub struct KeyDoc {
    /// Where it belongs.
    pub scope: Scope,
    /// The key.
    pub key: &'static str,
    /// What applies without it; empty if nothing does.
    pub default: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// Whether it is implemented.
    pub support: Support,
}

const fn key(scope: Scope, key: &'static str, default: &'static str, support: Support, doc: &'static str) -> KeyDoc {
    KeyDoc { scope, key, default, doc, support }
}

const YES: &[&str] = &["yes", "true", "enabled", "1"];
const NO: &[&str] = &["no", "false", "disabled", "0"];
const ZERO: &[&str] = &["0", "0s"];

const CERT_SECTION: &str =
    "sections for single certificates are not available in this version; use certs or cacerts with file names";
const TOKENS: &str = "keys and certificates on tokens are not available in this version; use cacert";
const EAP: &str = "EAP is not available in this version; use auth = psk";
const PPK: &str = "post-quantum pre-shared keys (RFC 8784) are not available in this version; remove the key";
const MEDIATION: &str = "the mediation extension is not available in this version; remove the key";
const MODES: &str = "only tunnel and transport mode are available in this version, and pass and drop for what is not protected; write the same mode on both ends";
const LABELS: &str = "traffic selectors with security labels (RFC 9478) are not available in this version: no SELinux context is negotiated or given to the kernel; remove the key, and tell Child SAs apart by their selectors or by marks";

static TABLE: &[KeyDoc] = &[
    key(TOP, "connections{}", "", Yes, "The connections, one section each."),
    key(TOP, "secrets{}", "", Yes, "The secrets, one section each; the name begins with the kind of secret."),
    key(TOP, "pools{}", "", Yes, "Pools of virtual addresses."),
    key(TOP, "authorities{}", "", Yes, "Certification authorities."),
    key(CONN, "version", "0", Yes, "IKE version: 1, 2, or 0 for any: IKEv2 is initiated, both are answered."),
    key(CONN, "local_addrs", "%any", Yes, "Our addresses: addresses, networks, ranges or names, separated by commas."),
    key(
        CONN,
        "remote_addrs",
        "%any",
        Yes,
        "The peer's addresses, likewise. Initiating needs a single address or a name.",
    ),
    key(CONN, "local_port", "500", Yes, "Our UDP port."),
    key(CONN, "remote_port", "500", Yes, "The peer's UDP port."),
    key(CONN, "proposals", "default", Yes, "Proposals for the IKE SA, best first, separated by commas."),
    key(CONN, "vips", "", Yes, "Virtual addresses to request, one for each version of IP."),
    key(CONN, "aggressive", "no", Yes, "Aggressive mode instead of main mode (IKEv1)."),
    key(CONN, "pull", "yes", Yes, "Whether virtual addresses are requested (pull) or assigned unasked (push) (IKEv1)."),
    key(
        CONN,
        "dscp",
        "000000",
        Only(&["000000", "0"], "IKE packets cannot be marked in this version; remove the key"),
        "Differentiated services field of IKE packets.",
    ),
    key(
        CONN,
        "encap",
        "no",
        Yes,
        "Encapsulate ESP in UDP even without a NAT, by pretending one (RFC 7296 section 2.23).",
    ),
    key(
        CONN,
        "mobike",
        "yes",
        Yes,
        "MOBIKE (RFC 4555): the SAs move to another address when the one in use goes (IKEv2).",
    ),
    key(CONN, "dpd_delay", "0s", Yes, "Check the peer after this time without a message from it; 0 for never."),
    key(
        CONN,
        "dpd_timeout",
        "0s",
        Yes,
        "Time after which an IKEv1 peer that does not answer counts as dead; 0 for as long as a retransmission takes.",
    ),
    key(
        CONN,
        "fragmentation",
        "yes",
        Yes,
        "IKE fragmentation (RFC 7383): yes, accept (only by the peer), force (IKEv2: as yes) or no.",
    ),
    key(
        CONN,
        "childless",
        "allow",
        Yes,
        "IKE SAs without a Child SA in IKE_AUTH (RFC 6023): allow (where the peer begins so, or no child is named), prefer, force (by either end) or never.",
    ),
    key(CONN, "send_certreq", "yes", Yes, "Send certificate requests."),
    key(CONN, "send_cert", "ifasked", Yes, "When to send our certificate: ifasked, always or never."),
    key(
        CONN,
        "ocsp",
        "reply",
        Accepted("OCSP responses are not part of IKE in this version: none is sent, and what a peer sends is not used"),
        "OCSP in IKE (RFC 4806).",
    ),
    key(CONN, "ppk_id", "", No(PPK), "Identity of the post-quantum pre-shared key."),
    key(CONN, "ppk_required", "no", Only(NO, PPK), "Whether a post-quantum pre-shared key is required."),
    key(CONN, "keyingtries", "1", Yes, "How often to try to initiate; 0 for ever."),
    key(CONN, "unique", "no", Yes, "What to do with a second IKE SA of the same peer: no, never, keep or replace."),
    key(CONN, "reauth_time", "0s", Yes, "Authenticate anew after this time; 0 for never."),
    key(
        CONN,
        "rekey_time",
        "4h",
        Yes,
        "Rekey the IKE SA after this time; 0 for never. Without it, but with reauth_time: 0.",
    ),
    key(
        CONN,
        "over_time",
        "10%",
        Yes,
        "Close the IKE SA if it is not rekeyed this long after it should be. Default: a tenth of the longer of rekey_time and reauth_time.",
    ),
    key(CONN, "rand_time", "over_time", Yes, "Rekey or authenticate earlier by a random time up to this one."),
    key(CONN, "pools", "", Yes, "Pools to assign virtual addresses from."),
    key(
        CONN,
        "if_id_in",
        "0",
        Yes,
        "Number of the XFRM interface for inbound packets, for children that have none of their own.",
    ),
    key(CONN, "if_id_out", "0", Yes, "Number of the XFRM interface for outbound packets, likewise."),
    key(CONN, "mediation", "no", Only(NO, MEDIATION), "Whether this is a mediation connection."),
    key(CONN, "mediated_by", "", No(MEDIATION), "Mediation connection to use."),
    key(CONN, "mediation_peer", "", No(MEDIATION), "Identity at the mediation server."),
    key(CONN, "local*{}", "", Yes, "How we authenticate."),
    key(CONN, "remote*{}", "", Yes, "How the peer authenticates."),
    key(CONN, "children{}", "", Yes, "The Child SAs, one section each."),
    key(
        AUTH,
        "auth",
        "pubkey",
        Yes,
        "Authentication method: psk, or signatures: pubkey, rsa, rsa/pss, ecdsa, ed25519, with a least length and hashes after dashes; in IKEv1 a last or only round xauth.",
    ),
    key(AUTH, "id", "%any", Yes, "Identity: ours, or the one expected of the peer, which may begin with '*'."),
    key(
        AUTH,
        "round",
        "0",
        Only(&["0", "1"], "a second round of authentication (RFC 4739) is not available in this version"),
        "Order of several authentication rounds.",
    ),
    key(
        AUTH,
        "certs",
        "",
        Yes,
        "Certificates, by file below x509: ours to choose from, or those the peer must have one of.",
    ),
    key(AUTH, "cert*{}", "", No(CERT_SECTION), "A certificate."),
    key(AUTH, "cert_policy", "", Yes, "Policies (OIDs) that the peer's certificate and those above it must all have."),
    key(
        AUTH,
        "pubkeys",
        "",
        Yes,
        "Public keys without a certificate (RFC 7670), by file below pubkey: ours to choose from, or those the peer must have one of.",
    ),
    key(
        AUTH,
        "cacerts",
        "",
        Yes,
        "Certificates of authorities, by file below x509ca: one must be on the path of the peer's certificate.",
    ),
    key(AUTH, "cacert*{}", "", No(CERT_SECTION), "A certificate of an authority to accept."),
    key(
        AUTH,
        "ca_id",
        "",
        Yes,
        "The subject of an authority that must be on the path of the peer's certificate, which may have wildcards.",
    ),
    key(
        AUTH,
        "revocation",
        "relaxed",
        Yes,
        "What must be known about revocation: relaxed, ifuri or strict. Lists come from x509crl, and by HTTP from where the certificates say.",
    ),
    key(
        AUTH,
        "groups",
        "",
        No("authorisation by groups is not available in this version; use several connections"),
        "Groups the peer must belong to.",
    ),
    key(AUTH, "eap_id", "", No(EAP), "EAP identity."),
    key(AUTH, "aaa_id", "", No(EAP), "Identity of the EAP server."),
    key(
        AUTH,
        "xauth_id",
        "",
        Yes,
        "Our XAuth user name, without it the identity; in remote the only user to accept, as id in that round (IKEv1).",
    ),
    key(CHILD, "ah_proposals", "", No("AH is not available in this version; use esp_proposals"), "Proposals for AH."),
    key(CHILD, "esp_proposals", "default", Yes, "Proposals for ESP, best first, separated by commas."),
    key(
        CHILD,
        "sha256_96",
        "no",
        Yes,
        "HMAC-SHA-256 with a 96-bit instead of a 128-bit value, for peers that do so; it is not negotiated.",
    ),
    key(CHILD, "local_ts", "dynamic", Yes, "Traffic selectors of our side, separated by commas."),
    key(CHILD, "remote_ts", "dynamic", Yes, "Traffic selectors of the peer's side, separated by commas."),
    key(CHILD, "rekey_time", "1h", Yes, "Rekey the Child SA after this time; 0 for never."),
    key(CHILD, "life_time", "110%", Yes, "Close the Child SA after this time. Default: a tenth more than rekey_time."),
    key(CHILD, "rand_time", "life_time - rekey_time", Yes, "Rekey earlier by a random time up to this one."),
    key(CHILD, "rekey_bytes", "0", Yes, "Rekey after this many octets; 0 for never."),
    key(CHILD, "life_bytes", "110%", Yes, "Close after this many octets. Default: a tenth more than rekey_bytes."),
    key(
        CHILD,
        "rand_bytes",
        "life_bytes - rekey_bytes",
        Yes,
        "Rekey earlier by a random number of octets up to this one.",
    ),
    key(CHILD, "rekey_packets", "0", Yes, "Rekey after this many packets; 0 for never."),
    key(CHILD, "life_packets", "110%", Yes, "Close after this many packets. Default: a tenth more than rekey_packets."),
    key(
        CHILD,
        "rand_packets",
        "life_packets - rekey_packets",
        Yes,
        "Rekey earlier by a random number of packets up to this one.",
    ),
    key(CHILD, "updown", "", Yes, "Script to run when the Child SA comes up and goes down."),
    key(
        CHILD,
        "hostaccess",
        "no",
        Yes,
        "Handed to the updown script: whether it should let traffic to this host pass.",
    ),
    key(
        CHILD,
        "mode",
        "tunnel",
        Only(&["tunnel", "transport", "pass", "drop"], MODES),
        "How packets are wrapped: tunnel, or transport between the two hosts themselves; or not at all: pass lets them go in the clear, drop lets nothing pass that no SA carries. beet and iptfs are refused.",
    ),
    key(CHILD, "policies", "yes", Yes, "Whether to install policies."),
    key(
        CHILD,
        "policies_fwd_out",
        "no",
        Yes,
        "Whether what is forwarded into the tunnel passes where a policy with mode = drop is for it too (the kernel's ESP).",
    ),
    key(CHILD, "dpd_action", "clear", Yes, "What to do when the peer is dead: clear, restart, or trap."),
    key(
        CHILD,
        "ipcomp",
        "no",
        Only(NO, "IP compression is not available in this version; remove the key"),
        "IP compression (RFC 3173).",
    ),
    key(CHILD, "inactivity", "0s", Yes, "Close the Child SA after this time without traffic; 0 for never."),
    key(
        CHILD,
        "probe_to",
        "",
        Yes,
        "Ours: an address behind the peer that answers ICMP echo requests; without it, the first one of remote_ts.",
    ),
    key(
        CHILD,
        "probe_every",
        "0s",
        Yes,
        "Ours: how often to see whether the Child SA carries packets, and how long ones (shrike probe); 0 for never.",
    ),
    key(CHILD, "reqid", "0", Yes, "Number that ties policies to SAs; 0 for an automatic one."),
    key(
        CHILD,
        "priority",
        "0",
        Yes,
        "Priority of the policies, the lowest first; 0 for one by how narrow they are. For the kernel's ESP.",
    ),
    key(
        CHILD,
        "interface",
        "",
        Yes,
        "Interface that packets leave by which the outbound policies are for; it must be there by then (Linux, the kernel's ESP).",
    ),
    key(
        CHILD,
        "mark_in",
        "0/0x00000000",
        Yes,
        "Mark, with a mask after a slash, of packets that the inbound policies are for (Linux, the kernel's ESP); %unique for one of each Child SA, %unique-dir for one of each direction.",
    ),
    key(CHILD, "mark_in_sa", "no", Yes, "Whether the inbound SA is for packets of that mark only too."),
    key(CHILD, "mark_out", "0/0x00000000", Yes, "Mark of packets that the outbound policy and SA are for, likewise."),
    key(CHILD, "set_mark_in", "0/0x00000000", Yes, "Mark that decrypted packets get; %same for mark_in."),
    key(CHILD, "set_mark_out", "0/0x00000000", Yes, "Mark that encrypted packets get; %same for mark_out."),
    key(
        CHILD,
        "if_id_in",
        "0",
        Yes,
        "Number of the XFRM interface for inbound packets; 0 for none, %unique and %unique-dir as for mark_in.",
    ),
    key(CHILD, "if_id_out", "0", Yes, "Number of the XFRM interface for outbound packets, likewise."),
    key(CHILD, "label", "", No(LABELS), "Security label."),
    key(CHILD, "label_mode", "system", Only(&["system"], LABELS), "How security labels are used."),
    key(
        CHILD,
        "tfc_padding",
        "0",
        Yes,
        "Size to pad what is sent to (RFC 4303 section 2.7), or mtu for as much as fits; in tunnel mode, if the peer takes it (IKEv2).",
    ),
    key(
        CHILD,
        "single_pair",
        "no",
        Yes,
        "Whether each pair of addresses is to have a Child SA of its own (RFC 7296 section 2.9). Not strongSwan's.",
    ),
    key(CHILD, "replay_window", "32", Yes, "Anti-replay window in packets; 0 switches the check off."),
    key(
        CHILD,
        "hw_offload",
        "no",
        Only(&["no", "auto"], "hardware offload is not available in this version; write hw_offload = auto"),
        "Hardware offload; 'auto' uses it where it is available.",
    ),
    key(CHILD, "copy_df", "yes", Yes, "Copy the DF bit to the outer header."),
    key(CHILD, "copy_ecn", "yes", Yes, "Copy the ECN field between the headers."),
    key(
        CHILD,
        "copy_dscp",
        "out",
        Yes,
        "Where to copy the differentiated services field between the headers: out, in, yes or no.",
    ),
    key(
        CHILD,
        "start_action",
        "none",
        Yes,
        "What to do once loaded: none, start, trap (wait for traffic) or trap|start.",
    ),
    key(
        CHILD,
        "close_action",
        "none",
        Yes,
        "What to do when the peer closes the Child SA: none, start, or trap (wait for traffic).",
    ),
    key(
        CHILD,
        "icmp",
        "no",
        Yes,
        "Let ICMP errors about protected packets pass, whoever sends them (RFC 4301 section 6; the kernel's ESP).",
    ),
    key(
        CHILD,
        "per_cpu_sas",
        "no",
        Only(NO, "several SAs per CPU (RFC 9611) are not available in this version; remove the key"),
        "Per-CPU SAs.",
    ),
    key(POOL, "addrs", "", Yes, "The addresses: a network (192.0.2.0/24) or a range (192.0.2.1-192.0.2.9)."),
    key(POOL, "dns", "", Yes, "Name servers."),
    key(POOL, "nbns", "", Yes, "NetBIOS name servers."),
    key(POOL, "dhcp", "", Yes, "DHCP servers."),
    key(POOL, "netmask", "", Yes, "Network mask."),
    key(POOL, "server", "", Yes, "Servers of other kinds."),
    key(POOL, "subnet", "", Yes, "Networks behind us."),
    key(POOL, "split_include", "", Yes, "Networks to reach through the tunnel (Unity)."),
    key(POOL, "split_exclude", "", Yes, "Networks not to reach through the tunnel (Unity)."),
    key(CA, "cacert", "", Yes, "The authority's certificate, by file below x509ca."),
    key(
        CA,
        "file",
        "",
        No("name the certificate with cacert, below x509ca"),
        "The certificate, by absolute file name.",
    ),
    key(CA, "handle", "", No(TOKENS), "The certificate on a token."),
    key(CA, "slot", "", No(TOKENS), "The token's slot."),
    key(CA, "module", "", No(TOKENS), "The token's PKCS#11 module."),
    key(CA, "crl_uris", "", Yes, "Where its revocation lists are to be had by HTTP, separated by commas."),
    key(
        CA,
        "ocsp_uris",
        "",
        No("OCSP is not available in this version; use crl_uris"),
        "Where OCSP servers answer for it.",
    ),
    key(
        CA,
        "cert_uri_base",
        "",
        Yes,
        "Where certificates that it issued are to be had by HTTP: to this their SHA-1 in hexadecimal is added. A peer that looks them up is sent the place instead of the certificate (RFC 7296 section 3.6).",
    ),
    key(SECRET, "secret", "", Yes, "The secret: text, hexadecimal after 0x, or base64 after 0s."),
    key(
        SECRET,
        "id*",
        "",
        Yes,
        "Whose secret it is: one key for each identity, of either end. Without one it fits everybody.",
    ),
    key(PHRASE, "file", "", Yes, "The key's file, below private, rsa, ecdsa or pkcs8 as the section's name begins."),
    key(PHRASE, "secret", "", Yes, "The passphrase: text, hexadecimal after 0x, or base64 after 0s."),
    key(DAEMON, "retransmit_timeout", "4.0", Yes, "Seconds before the first retransmission."),
    key(DAEMON, "retransmit_base", "1.8", Yes, "Factor from one retransmission to the next."),
    key(DAEMON, "retransmit_tries", "5", Yes, "How often a request is sent again."),
    key(DAEMON, "retransmit_jitter", "0", Yes, "Percentage by which waiting times are shortened at random."),
    key(DAEMON, "retransmit_limit", "0", Yes, "Upper limit of a waiting time in seconds; 0 for none."),
    key(DAEMON, "half_open_timeout", "30s", Yes, "Time a peer has to complete IKE_SA_INIT and IKE_AUTH."),
    key(DAEMON, "cookie_threshold", "30", Yes, "Half-open IKE SAs before cookies are demanded (RFC 7296 section 2.6)."),
    key(DAEMON, "cookie_threshold_ip", "3", Yes, "Half-open IKE SAs of one address before cookies are demanded of it."),
    key(DAEMON, "block_threshold", "5", Yes, "Half-open IKE SAs of one address before it is ignored; 0 for never."),
    key(DAEMON, "init_limit_half_open", "0", Yes, "Half-open IKE SAs before further ones are refused; 0 for never."),
    key(
        DAEMON,
        "puzzle_threshold",
        "1000",
        Yes,
        "Half-open IKE SAs before initiators have to solve puzzles (RFC 8019); each doubling makes them a bit harder, four at most. 0 for never.",
    ),
    key(
        DAEMON,
        "puzzle_threshold_ip",
        "0",
        Yes,
        "Half-open IKE SAs of one address before it has to solve puzzles; 0 for never.",
    ),
    key(
        DAEMON,
        "puzzle_difficulty",
        "16",
        Yes,
        "Zero bits that a puzzle asks for, 8 to 28; 0 for no puzzles. Each one doubles the work.",
    ),
    key(DAEMON, "puzzle_max_difficulty", "20", Yes, "Zero bits of a peer's puzzle that is still solved; 0 for none."),
    key(
        DAEMON,
        "window_size",
        "1",
        Yes,
        "How many requests an IKEv2 peer may have under way, and we with it, up to 64 (RFC 7296 section 2.3).",
    ),
    key(DAEMON, "port", "500", Yes, "UDP port for IKE."),
    key(DAEMON, "port_nat_t", "4500", Yes, "UDP port for IKE and ESP behind a NAT (RFC 3948)."),
    key(DAEMON, "keep_alive", "20s", Yes, "Interval of NAT keepalives (RFC 3948 section 2.3); 0 for none."),
    key(DAEMON, "close_ike_on_child_failure", "no", Yes, "Close the IKE SA if its first Child SA fails."),
    key(
        DAEMON,
        "make_before_break",
        "yes",
        Yes,
        "Authenticate anew (IKEv2) before the old IKE SA is closed; no closes it first.",
    ),
    key(
        DAEMON,
        "pfs_probe",
        "0s",
        Yes,
        "So long after IKE_AUTH made a Child SA it is replaced once, to see whether both ends have the same groups; 0 for never. charon has no such key: write it in the section shrike.",
    ),
    key(DAEMON, "initiator_only", "no", Yes, "Answer no IKE_SA_INIT requests."),
    key(DAEMON, "install_routes", "yes", Yes, "Install routes for the traffic selectors."),
    key(
        DAEMON,
        "plugins.attr{}",
        "",
        Yes,
        "What every peer that asks for a virtual address is told, in the words of a pool: dns, nbns, subnet, split-include, split-exclude and so on.",
    ),
    key(DAEMON, "plugins.vici.socket", "", Yes, "Address of the control socket: unix:///PATH or tcp://ADDRESS:PORT."),
    key(
        DAEMON,
        "dos_protection",
        "yes",
        Only(YES, "cookies and limits cannot be switched off as a whole; use the thresholds"),
        "Whether cookies and limits apply.",
    ),
    key(
        DAEMON,
        "delete_rekeyed",
        "no",
        Only(NO, "old Child SAs are always deleted by their initiator"),
        "Delete rekeyed Child SAs at once (IKEv1).",
    ),
    key(
        DAEMON,
        "delete_rekeyed_delay",
        "5",
        Yes,
        "Time for which a Child SA that was replaced and deleted still receives what is on its way (IKEv2).",
    ),
    key(
        DAEMON,
        "fragment_size",
        "1280",
        Yes,
        "Size of IP datagrams with fragments of IKEv2 messages; 0 for 576 and, in IPv6, 1280.",
    ),
    key(DAEMON, "max_packet", "10000", No("the limit on the size of a message is fixed"), "Largest IKE message."),
    key(
        DAEMON,
        "multiple_authentication",
        "yes",
        No("several authentication rounds are not available in this version"),
        "Several authentication rounds (RFC 4739).",
    ),
    key(
        DAEMON,
        "accept_private_algs",
        "no",
        Only(NO, "private algorithm numbers are not available"),
        "Use algorithms with private numbers.",
    ),
    key(
        DAEMON,
        "accept_unencrypted_mainmode_messages",
        "no",
        Only(NO, "messages 5 and 6 of main mode are taken encrypted only (RFC 2409 section 5); remove the key"),
        "Tolerate unencrypted ID and HASH payloads (IKEv1).",
    ),
    key(
        DAEMON,
        "i_dont_care_about_security_and_use_aggressive_mode_psk",
        "no",
        Accepted("aggressive = yes in a connection is enough; the log warns each time"),
        "Aggressive mode with pre-shared keys.",
    ),
    key(
        DAEMON,
        "cisco_unity",
        "no",
        Yes,
        "IKEv1 with Cisco's clients and gateways: one Child SA for all networks of a split tunnel, and networks left out of it. Without it each network has its own, and pools send what they have.",
    ),
    key(
        DAEMON,
        "send_vendor_id",
        "no",
        Yes,
        "Send strongSwan's vendor ID: it takes numbers of its own (sha256_96) only from who does.",
    ),
    key(
        DAEMON,
        "flush_auth_cfg",
        "no",
        Only(NO, "not available in this version"),
        "Forget authentication details once established.",
    ),
    key(
        DAEMON,
        "quick_crash_detection",
        "yes",
        Yes,
        "Prove a restart to IKEv2 peers by a token, and believe theirs (RFC 6290): what was lost is made again at once. Not where several gateways share an address.",
    ),
    key(
        DAEMON,
        "quick_crash_detection_secret",
        "/var/lib/shrike/qcd.secret",
        Yes,
        "File with the secret of that, made if it is missing. By itself only if its directory is there. No two gateways may have the same.",
    ),
    key(DAEMON, "follow_redirects", "yes", Yes, "Whether a gateway may send us to another one (RFC 5685)."),
    key(
        DAEMON,
        "hash_and_url",
        "no",
        Yes,
        "Look certificates up that IKEv2 peers send the hash and the URL of, and say so to them (RFC 7296 section 3.6). A peer that has not proven itself yet names what is fetched.",
    ),
    key(
        DAEMON,
        "inactivity_close_ike",
        "no",
        Only(NO, "an IKE SA is not closed with its idle Child SA in this version"),
        "Close the IKE SA with an idle Child SA.",
    ),
    key(
        DAEMON,
        "init_limit_job_load",
        "0",
        Only(ZERO, "there is no job queue to measure"),
        "Jobs before IKE_SA_INIT is refused.",
    ),
    key(
        DAEMON,
        "install_virtual_ip",
        "yes",
        No("virtual addresses are not available in this version"),
        "Install virtual addresses.",
    ),
    key(DAEMON, "interfaces_ignore", "", No("all interfaces are used in this version"), "Interfaces not to use."),
    key(DAEMON, "interfaces_use", "", No("all interfaces are used in this version"), "Interfaces to use."),
    key(
        DAEMON,
        "keep_alive_dpd_margin",
        "0s",
        Only(ZERO, "not available in this version"),
        "Replace a late keepalive by a dead peer detection.",
    ),
    key(
        DAEMON,
        "max_ikev1_exchanges",
        "3",
        No("the number cannot be set in this version; remove the key"),
        "Concurrent IKEv1 exchanges.",
    ),
    key(
        DAEMON,
        "prefer_configured_proposals",
        "yes",
        Only(YES, "our order of preference always decides"),
        "Whether our order of proposals decides.",
    ),
    key(
        DAEMON,
        "prefer_temporary_addrs",
        "no",
        Only(NO, "not available in this version"),
        "Prefer temporary IPv6 addresses.",
    ),
    key(
        DAEMON,
        "prefer_best_path",
        "no",
        Only(NO, "an IKE SA stays on its path in this version"),
        "Move to a better path as soon as there is one.",
    ),
    key(DAEMON, "iptfs{}", "", No("IP-TFS (RFC 9347) is not available in this version"), "Parameters of IP-TFS."),
    key(
        DAEMON,
        "process_route",
        "yes",
        No("changes of routes are not followed in this version"),
        "React to changes of routes.",
    ),
    key(
        DAEMON,
        "receive_delay",
        "0",
        Only(ZERO, "artificial delays are not available"),
        "Delay of received messages, for tests.",
    ),
    key(
        DAEMON,
        "send_delay",
        "0",
        Only(ZERO, "artificial delays are not available"),
        "Delay of sent messages, for tests.",
    ),
    key(
        DAEMON,
        "reject_trusted_end_entity",
        "no",
        Only(NO, "certificates in x509 are always trusted as they are in this version; remove the key"),
        "Reject trusted end-entity certificates.",
    ),
    key(DAEMON, "replay_window", "32", No("set replay_window in the child's section"), "Default anti-replay window."),
    key(
        DAEMON,
        "reuse_ikesa",
        "yes",
        Only(YES, "an existing IKE SA is always used for further Child SAs"),
        "Use an existing IKE SA for further Child SAs.",
    ),
    key(
        DAEMON,
        "retry_initiate_interval",
        "0",
        Only(ZERO, "not available in this version"),
        "Retry interval if a name cannot be resolved.",
    ),
    key(
        DAEMON,
        "routing_table",
        "220",
        No("the routing table is fixed in this version"),
        "Routing table for installed routes.",
    ),
    key(
        DAEMON,
        "routing_table_prio",
        "220",
        No("the routing table is fixed in this version"),
        "Priority of the routing table.",
    ),
    key(
        DAEMON,
        "signature_authentication",
        "yes",
        Only(YES, "signatures of RFC 7427 cannot be switched off in this version; a peer without them gets older ones"),
        "Signature authentication (RFC 7427).",
    ),
    key(DAEMON, "spi_label", "0x0000000000000000", No("SPIs are random"), "Bits to set in SPIs."),
    key(DAEMON, "spi_mask", "0x0000000000000000", No("SPIs are random"), "Bits of SPIs that spi_label sets."),
    key(DAEMON, "spi_min", "0xc0000000", No("SPIs are random"), "Smallest SPI of Child SAs."),
    key(DAEMON, "spi_max", "0xcfffffff", No("SPIs are random"), "Largest SPI of Child SAs."),
    key(DAEMON, "load_modular", "no", Accepted("there are no plugins"), "Load plugins by their own sections."),
    key(DAEMON, "load", "", Accepted("there are no plugins"), "Plugins to load."),
    key(DAEMON, "threads", "16", Accepted("the daemon has its own workers"), "Number of threads."),
    key(DAEMON, "cache_crls", "no", Accepted("fetched revocation lists are kept in memory"), "Keep CRLs on disk."),
    key(DAEMON, "user", "", Accepted("set it where the daemon is started"), "User to run as."),
    key(DAEMON, "group", "", Accepted("set it where the daemon is started"), "Group to run as."),
    key(
        DAEMON,
        "ikesa_limit_peer",
        "1000",
        Yes,
        "So many IKE SAs may be up with one peer; 0 for no limit. Not strongSwan's.",
    ),
    key(DAEMON, "ikesa_limit", "0", Yes, "With so many IKE SAs no first message is answered; 0 for no limit."),
    key(DAEMON, "ikesa_table_size", "1", Accepted("the table grows by itself"), "Size of the hash table of IKE SAs."),
    key(
        DAEMON,
        "ikesa_table_segments",
        "1",
        Accepted("the table grows by itself"),
        "Locks of the hash table of IKE SAs.",
    ),
    key(DAEMON, "nbns1", "", Accepted("configuration payloads are not available"), "WINS server to assign."),
    key(DAEMON, "nbns2", "", Accepted("configuration payloads are not available"), "WINS server to assign."),
    key(DAEMON, "dns1", "", Accepted("configuration payloads are not available"), "DNS server to assign."),
    key(DAEMON, "dns2", "", Accepted("configuration payloads are not available"), "DNS server to assign."),
    key(DAEMON, "integrity_test", "no", Accepted("the daemon is one program"), "Check the daemon's libraries."),
    key(DAEMON, "crypto_test{}", "", Accepted("algorithms are not loaded at run time"), "Tests of algorithms."),
    key(DAEMON, "filelog{}", "", Accepted("set the log where the daemon is started"), "Log files."),
    key(DAEMON, "syslog{}", "", Accepted("set the log where the daemon is started"), "Log to syslog."),
    key(DAEMON, "journal{}", "", Accepted("set the log where the daemon is started"), "Log to the journal."),
    key(DAEMON, "plugins{}", "", Accepted("there are no plugins"), "Settings of plugins."),
    key(DAEMON, "processor{}", "", Accepted("the daemon has its own workers"), "Priorities of threads."),
    key(
        DAEMON,
        "host_resolver{}",
        "",
        Accepted("the daemon resolves names in its own way"),
        "Threads to resolve names.",
    ),
    key(DAEMON, "tls{}", "", Accepted("there is no EAP"), "TLS of EAP methods."),
    key(DAEMON, "imcv{}", "", Accepted("there is no EAP"), "Integrity measurement."),
    key(DAEMON, "x509{}", "", Accepted("there are no certificates"), "Reading of certificates."),
    key(DAEMON, "start-scripts{}", "", No("start them with the daemon"), "Scripts to run at start."),
    key(DAEMON, "stop-scripts{}", "", No("stop them with the daemon"), "Scripts to run at the end."),
    key(
        DAEMON,
        "leak_detective{}",
        "",
        Accepted("it is a tool for strongSwan's developers"),
        "Search for memory leaks.",
    ),
    key(DAEMON, "rsa_pss", "no", Yes, "Sign with RSASSA-PSS where auth says nothing and the peer can check it."),
    key(
        DAEMON,
        "rdn_matching",
        "strict",
        Accepted("distinguished names are compared in their order, as with strict"),
        "Matching of distinguished names.",
    ),
    key(DAEMON, "cert_cache", "yes", Accepted("certificates are checked anew each time"), "Cache certificates."),
];

/// Every key, by scope.
pub fn table() -> &'static [KeyDoc] {
    TABLE
}

/// The entry of a key or, with `section`, of a section.
pub(crate) fn find(scope: Scope, name: &str, section: bool) -> Option<&'static KeyDoc> {
    TABLE.iter().filter(|d| d.scope == scope).find(|d| {
        let (pattern, is_section) = match d.key.strip_suffix("{}") {
            Some(pattern) => (pattern, true),
            None => (d.key, false),
        };
        is_section == section
            && match pattern.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == pattern,
            }
    })
}

/// The known name that is spelled most like this one, if any is close.
pub fn suggestion(scope: Scope, name: &str) -> Option<String> {
    let known = TABLE.iter().filter(|d| d.scope == scope).map(|d| d.key.trim_end_matches("{}").trim_end_matches('*'));
    let length = name.chars().count();
    if length > 64 {
        return None;
    }
    let folded = name.to_ascii_lowercase().replace('-', "_");
    let (distance, best) = known.map(|k| (edits(&folded, k), k)).min()?;
    (distance <= (length / 3).clamp(1, 3) && distance < best.len()).then(|| best.to_string())
}

/// Insertions, deletions and replacements between two words, two exchanged neighbours counting as one.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut cost = (row[j] + usize::from(x != y)).min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                cost = cost.min(before[j - 1] + 1);
            }
            next.push(cost);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
