//! Tables of tunnels, as their makers' manuals and consoles print them.

use super::{Dialect, read};
use model::ListedSa;

fn rows(text: &str, dialect: Dialect) -> Vec<ListedSa> {
    let mut series = read(text).series;
    assert_eq!(series.keys().copied().collect::<Vec<_>>(), [dialect], "{text}");
    series.remove(&dialect).and_then(|mut listings| listings.pop()).map(|listing| listing.sas).unwrap_or_default()
}

/// Peer, tunnels that are there, tunnels that should be, and packets in and out.
type Told<'a> = (&'a str, u32, u32, Option<(u64, u64)>);

fn told(sas: &[ListedSa]) -> Vec<Told<'_>> {
    let numbers = |sa: &ListedSa| (sa.phase2.unwrap_or(99), sa.wanted.unwrap_or(99));
    assert!(sas.iter().all(|sa| sa.ipsec && sa.established == (numbers(sa).0 > 0)));
    sas.iter().map(|sa| (sa.peer.as_str(), numbers(sa).0, numbers(sa).1, sa.traffic)).collect()
}

#[test]
fn cisco_s_blocks_are_one_row_for_each_peer() {
    let block = |network: &str, peer: &str, out: u64, back: u64, spi: &str| {
        format!(
            "\n   protected vrf: (none)\n   local  ident (addr/mask/prot/port): (10.1.0.0/255.255.0.0/0/0)\n   remote ident (addr/mask/prot/port): ({network}/255.255.0.0/0/0)\n   current_peer {peer} port 500\n     PERMIT, flags={{origin_is_acl,}}\n    #pkts encaps: {out}, #pkts encrypt: {out}, #pkts digest: {out}\n    #pkts decaps: {back}, #pkts decrypt: {back}, #pkts verify: {back}\n    #send errors 0, #recv errors 0\n\n     local crypto endpt.: 198.51.100.1, remote crypto endpt.: {peer}\n     current outbound spi: {spi}\n     PFS (Y/N): N, DH group: none\n\n     inbound esp sas:\n      spi: 0x6B1F8C92(1797229714)\n        sa timing: remaining key lifetime (k/sec): (4608000/3581)\n        Status: ACTIVE(ACTIVE)\n"
        )
    };
    let head =
        "R1#show crypto ipsec sa\n\ninterface: GigabitEthernet0/0\n    Crypto map tag: CMAP, local addr 198.51.100.1\n";
    let text = [
        head,
        &block("10.2.0.0", "203.0.113.2", 40, 0, "0x4A9B2B3C(1251683132)"),
        &block("10.3.0.0", "203.0.113.2", 900, 800, "0x1A9B2B3C(446376764)"),
        &block("10.4.0.0", "203.0.113.2", 0, 0, "0x0(0)"),
        &block("10.5.0.0", "203.0.113.5", 0, 0, "0x0(0)"),
        &block("10.6.0.0", "0.0.0.0", 0, 0, "0x0(0)"),
    ]
    .concat();
    let sas = rows(&text, Dialect::CiscoIpsec);
    assert_eq!(told(&sas), [("203.0.113.2", 2, 3, Some((0, 40))), ("203.0.113.5", 0, 1, None)]);
    assert_eq!((sas[0].source.as_deref(), sas[0].port), (Some("198.51.100.1"), Some(500)));
    let asa = "fw# show crypto ipsec sa\ninterface: outside\n    Crypto map tag: outside_map, seq num: 1, local addr: 198.51.100.1\n\n      access-list L2L extended permit ip 10.1.0.0 255.255.0.0 10.2.0.0 255.255.0.0\n      local ident (addr/mask/prot/port): (10.1.0.0/255.255.0.0/0/0)\n      remote ident (addr/mask/prot/port): (10.2.0.0/255.255.0.0/0/0)\n      current_peer: 203.0.113.2\n\n\n      #pkts encaps: 12, #pkts encrypt: 12, #pkts digest: 12\n      #pkts decaps: 7, #pkts decrypt: 7, #pkts verify: 7\n\n      local crypto endpt.: 198.51.100.1/0, remote crypto endpt.: 203.0.113.2/0\n      current outbound spi: 50023DDC\n      current inbound spi : 32F752FF\n";
    assert_eq!(told(&rows(asa, Dialect::CiscoIpsec)), [("203.0.113.2", 1, 1, Some((7, 12)))]);
    assert_eq!(told(&rows("fw# show crypto ipsec sa\n\nThere are no ipsec sas\n", Dialect::CiscoIpsec)), []);
}

#[test]
fn juniper_s_rows_blocks_and_inactive_tunnels() {
    let terse = "user@srx> show security ipsec security-associations\n  Total active tunnels: 2     Total Ipsec sas: 2\n  ID    Algorithm       SPI      Life:sec/kb  Mon lsys Port  Gateway\n  <131073 ESP:aes-cbc-256/sha1 62bdd781 20842/ unlim - root 4500 203.0.113.2\n  >131073 ESP:aes-cbc-256/sha1 8ed1b4cf 20842/ unlim - root 4500 203.0.113.2\n  <131074 ESP:aes-gcm-256/None f5eb6a7  2886/ unlim  U root 500 203.0.113.3\n  >131074 ESP:aes-gcm-256/None a5eb6a7  2886/ unlim  U root 500 203.0.113.3\n";
    let sas = rows(terse, Dialect::JuniperIpsec);
    assert_eq!(told(&sas), [("203.0.113.2", 1, 1, None), ("203.0.113.3", 1, 1, None)]);
    assert_eq!((sas[0].port, sas[0].name.as_deref()), (Some(4500), Some("tunnel 131073")));
    let detail = "user@srx> show security ipsec security-associations detail\nID: 131073 Virtual-system: root, VPN Name: hq\n  Local Gateway: 198.51.100.1, Remote Gateway: 203.0.113.2\n  Local Identity: ipv4_subnet(any:0,[0..7]=0.0.0.0/0)\n  Remote Identity: ipv4_subnet(any:0,[0..7]=0.0.0.0/0)\n    Version: IKEv2\n    DF-bit: clear, Bind-interface: st0.0\n\n  Port: 500, Nego#: 2, Fail#: 0, Def-Del#: 0 Flag: 0x600a29\n    Direction: inbound, SPI: 8a6c4e0f, AUX-SPI: 0\n    Hard lifetime: Expires in 2593 seconds\n    Mode: Tunnel(0 0), Type: dynamic, State: installed\n    Direction: outbound, SPI: 1a6c4e0f, AUX-SPI: 0\n";
    assert_eq!(told(&rows(detail, Dialect::JuniperIpsec)), [("203.0.113.2", 1, 1, None)]);
    let inactive = "user@srx> show security ipsec inactive-tunnels\n  Total inactive tunnels: 1\n  Total inactive tunnels with establish immediately: 1\n  ID     Port  Nego#  Fail#  Flag      Gateway          Tunnel Down Reason\n  131073 500   7      7      600a29    203.0.113.2      No response from peer. Negotiation failed\n";
    assert_eq!(told(&rows(inactive, Dialect::JuniperIpsec)), [("203.0.113.2", 0, 1, None)]);
    assert_eq!(told(&rows("  Total active tunnels: 0\n", Dialect::JuniperIpsec)), []);
}

#[test]
fn juniper_s_ike_detail() {
    let block = |state: &str, counts: &str, going: u8| {
        format!(
            "IKE peer 203.0.113.2, Index 6438571, Gateway Name: gw-hq\n  Role: Initiator, State: {state}\n  Initiator cookie: 22866ee0fb5b2ab5, Responder cookie: 9cf7ec9f0a2d51a8\n  Exchange type: Main, Authentication method: Pre-shared-keys\n  Local: 198.51.100.1:500, Remote: 203.0.113.2:4500\n  Lifetime: Expires in 25742 seconds\n  Algorithms:\n   Authentication        : hmac-sha1-96\n  IPSec security associations: {counts}\n  Phase 2 negotiations in progress: {going}\n\n    Negotiation type: Quick mode, Role: Initiator, Message ID: 0\n    Local: 198.51.100.9:500, Remote: 203.0.113.9:500\n    Flags: IKE SA is created\n"
        )
    };
    let one = |text: &str| rows(text, Dialect::Juniper).remove(0);
    let up = one(&block("UP", "2 created, 0 deleted", 1));
    assert_eq!((up.peer.as_str(), up.port, up.phase2, up.asking), ("203.0.113.2", Some(4500), Some(1), None));
    assert_eq!((up.established, up.version, up.name.as_deref()), (true, Some(1), Some("gw-hq")));
    assert_eq!(up.spis.map(|spis| spis.initiator.to_string()).as_deref(), Some("22866ee0fb5b2ab5"));
    let asking = one(&block("UP", "8 created, 8 deleted", 1));
    assert_eq!((asking.phase2, asking.asking.as_deref()), (Some(0), Some("1 negotiations of phase 2")));
    let down = one(&block("DOWN", "0 created, 0 deleted", 1));
    assert_eq!((down.established, down.phase2, down.asking), (false, None, None));
}

#[test]
fn palo_alto_s_tunnels() {
    let sa = "admin@pa> show vpn ipsec-sa\n\nGwID/client IP  TnID   Peer-Address           Tunnel(Gateway)                                Algorithm          SPI(in)  SPI(out) life(Sec/KB)             remain-time(Sec)\n--------------  ----   ------------           ---------------                                ---------          -------  -------- ------------             ----------------\n1               1      203.0.113.2            to-hq:proxy1(gw-hq)                            ESP/A256/SHA256    C2E2A7C1 B1F2D3E4 3600/Unlimited           2911\n1               2      203.0.113.2            to-hq:proxy2(gw-hq)                            ESP/G256/          C2E2A7C2 B1F2D3E5 3600/Unlimited           2900\n\nShow IPSec SA: Total 2 tunnels found. 2 ipsec sa found.\n";
    let sas = rows(sa, Dialect::PaloAltoIpsec);
    assert_eq!(told(&sas), [("203.0.113.2", 2, 2, None)]);
    assert_eq!((sas[0].age, sas[0].lifetime), (Some(700), Some(3600)));
    assert_eq!(told(&rows("Show IPSec SA: Total 1 tunnels found. 0 ipsec sa found.\n", Dialect::PaloAltoIpsec)), []);
    let table = "admin@pa> show vpn flow\n\ntotal tunnels configured:                                     2\nfilter - type IPSec, state any\n\nid    name                                                            state   monitor local-ip                      peer-ip                       tunnel-i/f\n1     to-hq:proxy1                                                    active  off     198.51.100.1                  203.0.113.2                   tunnel.1\n2     to-far                                                          init    off     198.51.100.1                  203.0.113.9                   tunnel.2\n";
    assert_eq!(told(&rows(table, Dialect::PaloAltoFlow)), [("203.0.113.2", 1, 1, None), ("203.0.113.9", 0, 1, None)]);
    let block = "admin@pa> show vpn flow tunnel-id 1\n\ntunnel  to-hq\n        id:                     1\n        type:                   IPSec\n        gateway id:             1\n        local ip:               198.51.100.1\n        peer ip:                203.0.113.2\n        inner interface:        tunnel.1\n        state:                  active\n        soft lifetime:          3579\n        hard lifetime:          3600\n        lifetime remain:        2154 sec\n        latest rekey:           1446 seconds ago\n        monitor:                off\n        proxy-id:\n          local ip:             10.1.0.0/16\n          remote ip:            10.2.0.0/16\n        authentication errors:  0\n        encap packets:          5361\n        decap packets:          0\n        encap bytes:            443344\n        decap bytes:            0\n";
    let sas = rows(block, Dialect::PaloAltoFlow);
    assert_eq!(told(&sas), [("203.0.113.2", 1, 1, Some((0, 5361)))]);
    assert_eq!((sas[0].source.as_deref(), sas[0].age, sas[0].lifetime), (Some("198.51.100.1"), Some(1446), Some(3600)));
}

#[test]
fn fortinet_s_tunnels() {
    let tunnel = |name: &str, peer: &str, stat: &str, sas: &[u8]| {
        let proxies: String = sas
            .iter()
            .map(|sa| format!("proxyid={name} proto=0 sa={sa} ref=2 serial=1\n  src: 0:10.1.0.0/255.255.0.0:0\n  dst: 0:10.2.0.0/255.255.0.0:0\n"))
            .collect();
        format!(
            "------------------------------------------------------\nname={name} ver=2 serial=2 198.51.100.1:0->{peer}:0 dst_mtu=1500\nbound_if=5 lgwy=static/1 tun=tunnel/15 mode=auto/1 encap=none/512 options[0200]=frag-rfc  run_state=0\n\nproxyid_num=1 child_num=0 refcnt=12 ilast=1 olast=1 ad=/0\nstat: {stat}\ndpd: mode=on-demand on=1 idle=20000ms retry=3 count=0 seqno=1\nnatt: mode=none draft=0 interval=0 remote_port=0\n{proxies}"
        )
    };
    let text = [
        "fgt # diagnose vpn tunnel list\nlist all ipsec tunnel in vd 0\n",
        &tunnel("hq", "203.0.113.2", "rxp=0 txp=44 rxb=0 txb=2464", &[1, 1, 0]),
        &tunnel("far", "203.0.113.9", "rxp=0 txp=0 rxb=0 txb=0", &[0]),
        &tunnel("dialup", "0.0.0.0", "rxp=0 txp=0 rxb=0 txb=0", &[0]),
    ]
    .concat();
    let sas = rows(&text, Dialect::FortinetTunnels);
    assert_eq!(told(&sas), [("203.0.113.2", 2, 3, Some((0, 44))), ("203.0.113.9", 0, 1, None)]);
    assert_eq!((sas[0].name.as_deref(), sas[0].port), (Some("hq"), None));
}

/// One direction alone carries something: each says so of the other.
#[test]
fn the_kernel_s_counters_are_of_both_directions() {
    let xfrm = |from: u8, to: u8, spi: &str, packets: u32| {
        format!(
            "src 192.0.2.{from} dst 192.0.2.{to}\n\tproto esp spi {spi}(3241234) reqid 1(0x00000001) mode tunnel\n\treplay-window 0 seq 0x00000000 flag af-unspec (0x00100000)\n\tlifetime config:\n\t  limit: soft (INF)(bytes), hard (INF)(bytes)\n\t  limit: soft (INF)(packets), hard (INF)(packets)\n\t  expire add: soft 3000(sec), hard 3600(sec)\n\t  expire use: soft 0(sec), hard 0(sec)\n\tlifetime current:\n\t  {}(bytes), {packets}(packets)\n\t  add 2026-11-24 01:08:06 use 2026-11-24 01:09:06\n\tstats:\n\t  replay-window 0 replay 0 failed 0\n",
            packets * 84
        )
    };
    let text =
        ["# ip -s xfrm state\n", &xfrm(1, 2, "0xc1", 30), &xfrm(2, 1, "0xc2", 0), &xfrm(1, 2, "0xc3", 12)].concat();
    let sas = rows(&text, Dialect::IpXfrm);
    let traffic: Vec<_> = sas.iter().map(|sa| (sa.peer.as_str(), sa.traffic)).collect();
    assert_eq!(traffic, [("192.0.2.2", Some((0, 42))), ("192.0.2.1", Some((42, 0))), ("192.0.2.2", Some((0, 42)))]);
    let setkey = |from: u8, to: u8, packets: u32| {
        format!(
            "192.0.2.{from} 192.0.2.{to}\n\tesp mode=tunnel spi=155602378(0x0946e1ca) reqid=0(0x00000000)\n\tE: aes-cbc  00000000\n\tseq=0x00000000 replay=4 flags=0x00000000 state=mature\n\tcreated: Nov 24 01:08:06 2026\tcurrent: Nov 24 01:10:06 2026\n\tdiff: 120(s)\thard: 3600(s)\tsoft: 2880(s)\n\tlast: Nov 24 01:08:07 2026\thard: 0(s)\tsoft: 0(s)\n\tcurrent: {}(bytes)\thard: 0(bytes)\tsoft: 0(bytes)\n\tallocated: {packets}\thard: 0\tsoft: 0\n\tsadb_seq=1 pid=1 refcnt=0\n",
            packets * 84
        )
    };
    let sas = rows(&["# setkey -D\n", &setkey(1, 2, 25), &setkey(2, 1, 0)].concat(), Dialect::Setkey);
    assert_eq!(sas.iter().map(|sa| sa.traffic).collect::<Vec<_>>(), [Some((0, 25)), Some((25, 0))]);
    // Policies are wanted, not there.
    let policies = "# setkey -DP\n10.2.0.0/16[any] 10.1.0.0/16[any] 255\n\tin prio def ipsec\n\tesp/tunnel/192.0.2.2-192.0.2.1/require\n\tcreated: Nov 24 01:08:06 2026  lastused:\n\tlifetime: 0(s) validtime: 0(s)\n\tspid=8 seq=1 pid=12\n\trefcnt=1\n";
    assert!(read(policies).series.values().flatten().all(|listing| listing.sas.is_empty()));
}
