//! What the operator can set for the daemon as a whole, with strongSwan's defaults.

use crate::Backoff;
use std::time::Duration;

/// Settings of one endpoint. The names in brackets are strongSwan's, in `strongswan.conf` under `charon`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When a request is sent again (`retransmit_*`).
    pub backoff: Backoff,
    /// How long a responder waits for the initiator to go on (`half_open_timeout`).
    pub half_open_timeout: Duration,
    /// From this many half-open SAs on, an initiator has to prove its address with a COOKIE (`cookie_threshold`).
    pub cookie_threshold: usize,
    /// The same for half-open SAs from one address (`cookie_threshold_ip`).
    pub cookie_threshold_peer: usize,
    /// More half-open SAs than this from one address are not begun; 0 switches the limit off (`block_threshold`).
    pub block_threshold: usize,
    /// More half-open SAs than this in all are not begun; 0 switches the limit off (`init_limit_half_open`).
    pub half_open_limit: usize,
    /// With this many IKE SAs no first message is answered any more; 0 switches the limit off (`ikesa_limit`).
    pub ike_sa_limit: usize,
    /// With this many IKE SAs up between the same two identities the peer is refused another; 0 switches the limit off
    /// (`ikesa_limit_peer`).
    pub ike_sa_limit_peer: usize,
    /// Whether a new IKE SA is made beside the old one to authenticate anew, which goes then; else the old one goes first
    /// (`make_before_break`).
    pub make_before_break: bool,
    /// How long a Child SA that was replaced and deleted goes on receiving what is still on its way (`delete_rekeyed_delay`).
    pub delete_rekeyed_delay: Duration,
    /// How long after IKE_AUTH made a Child SA it is replaced once to see whether that works; zero for never (`pfs_probe`).
    pub pfs_probe: Duration,
    /// From this many half-open SAs on, an initiator has to solve a puzzle (RFC 8019), and from twice as many a harder one; 0
    /// for never (`puzzle_threshold`).
    pub puzzle_threshold: usize,
    /// The same for half-open SAs from one address (`puzzle_threshold_ip`).
    pub puzzle_threshold_peer: usize,
    /// Zero bits that a puzzle asks for at least; 0 for no puzzles (`puzzle_difficulty`).
    pub puzzle_difficulty: u8,
    /// Zero bits of a puzzle that we solve at most; 0 for none (`puzzle_max_difficulty`).
    pub puzzle_max_difficulty: u8,
    /// How often a NAT mapping is kept alive, zero for never (`keep_alive`).
    pub keepalive: Duration,
    /// The largest IP datagram that carries a fragment of an IKE message, in octets; 0 for what each version of IP has to
    /// carry (`fragment_size`).
    pub fragment_size: u16,
    /// Port of IKE (`port`).
    pub port: u16,
    /// Port of IKE and ESP in UDP (`port_nat_t`).
    pub nat_port: u16,
    /// Whether an IKE SA without its Child SA is closed (`close_ike_on_child_failure`).
    pub close_ike_on_child_failure: bool,
    /// Whether to answer no first messages (`initiator_only`).
    pub initiator_only: bool,
    /// Whether RSA keys sign with RSASSA-PSS where `auth` says nothing and the peer can check it (`rsa_pss`).
    pub rsa_pss: bool,
    /// Whether to behave as Cisco's clients and gateways do in IKEv1 (`cisco_unity`).
    pub cisco_unity: bool,
    /// What every peer that asks for a virtual address is told (`plugins.attr`).
    pub attributes: Vec<config::PoolAttribute>,
    /// Whether to send strongSwan's vendor ID, without which it takes no algorithm with a number of its own
    /// (`send_vendor_id`).
    pub send_vendor_id: bool,
    /// Whether to go where a gateway sends us, and to say so (`follow_redirects`).
    pub follow_redirects: bool,
    /// Whether to look certificates up where peers say they are, and to say so (`hash_and_url`).
    pub hash_and_url: bool,
    /// Whether to tell peers tokens by which we prove a restart, and to believe theirs (RFC 6290;
    /// `quick_crash_detection`).
    pub quick_crash_detection: bool,
    /// How many requests a peer may have under way (RFC 7296 section 2.3), up to 64, and we if it takes as many; with 1
    /// nothing is announced (`window_size`).
    pub window_size: u32,
    /// This worker's number.
    pub worker: u32,
    /// How many workers there are: our SPIs are chosen so that SPI modulo `workers` is `worker`.
    pub workers: u32,
    /// How many SAs that ended are remembered.
    pub tombstones: usize,
    /// So many SAs that are over stay at once to answer a repetition of the peer's last request; of more the oldest are forgotten
    /// before their time.
    pub closed: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            backoff: Backoff::default(),
            half_open_timeout: Duration::from_secs(30),
            cookie_threshold: 30,
            cookie_threshold_peer: 3,
            block_threshold: 5,
            half_open_limit: 10_000,
            ike_sa_limit: 0,
            ike_sa_limit_peer: 1000,
            make_before_break: true,
            delete_rekeyed_delay: Duration::from_secs(5),
            pfs_probe: Duration::ZERO,
            puzzle_threshold: 1000,
            puzzle_threshold_peer: 0,
            puzzle_difficulty: 16,
            puzzle_max_difficulty: 20,
            keepalive: Duration::from_secs(20),
            fragment_size: 1280,
            port: 500,
            nat_port: 4500,
            close_ike_on_child_failure: false,
            initiator_only: false,
            rsa_pss: false,
            cisco_unity: false,
            attributes: Vec::new(),
            send_vendor_id: false,
            follow_redirects: true,
            hash_and_url: false,
            quick_crash_detection: true,
            window_size: 1,
            worker: 0,
            workers: 1,
            tombstones: 256,
            closed: 4096,
        }
    }
}
