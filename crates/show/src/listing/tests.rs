use super::*;
use proptest::prelude::*;

/// The only dialect in a text, and its last listing.
fn only(text: &str) -> (Dialect, Vec<ListedSa>) {
    let found = read(text);
    assert!(found.unread.is_empty(), "{:?}", found.unread);
    assert_eq!(found.series.len(), 1, "{found:?}");
    let (dialect, series) = found.series.into_iter().next().unwrap();
    (dialect, series.into_iter().next_back().unwrap().sas)
}

/// Peer, port, version, role, ST, whether established, Child SAs.
type Short = (String, Option<u16>, Option<u8>, Option<Role>, Option<u8>, bool, Option<u32>);

fn short(sa: &ListedSa) -> Short {
    (sa.peer.clone(), sa.port, sa.version, sa.role, sa.st, sa.established, sa.phase2)
}

const I: Option<Role> = Some(Role::Initiator);
const R: Option<Role> = Some(Role::Responder);

const SWANCTL: &str = "v2: #1, ESTABLISHED, IKEv2, fc78f6427b088606_i* bcfe99736e5a3ba6_r
  local  '10.9.0.1' @ 10.9.0.1[4500]
  remote '10.9.0.2' @ 10.9.0.2[4500]
  AES_CBC-256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048
  established 1s ago, rekeying in 13542s
  v2c: #1, reqid 1, INSTALLED, TUNNEL, ESP:AES_CBC-256/HMAC_SHA2_256_128
    installed 3s ago, rekeying in 3442s, expires in 3959s
    local  10.8.1.0/24
    remote 10.8.2.0/24
v1: #2, CONNECTING, IKEv1, 8bd3cb6844aedb32_i 3ac12280532006eb_r*
  local  '%any' @ fd00::1[500]
  remote '%any' @ fd00::2[500]
";

#[test]
fn strongswan_s() {
    let (dialect, sas) = only(SWANCTL);
    assert_eq!(dialect, Dialect::Swanctl);
    assert_eq!(short(&sas[0]), ("10.9.0.2".into(), Some(4500), Some(2), I, Some(9), true, Some(1)));
    assert_eq!(short(&sas[1]), ("fd00::2".into(), Some(500), Some(1), R, None, false, Some(0)));
    assert_eq!((sas[1].source.as_deref(), sas.len()), (Some("fd00::1"), 2));
    let raw = "list-sa event {home {uniqueid=1 version=2 state=ESTABLISHED local-host=192.168.0.100 local-port=4500 \
               local-id=C=CH, O=a b remote-host=192.168.0.1 remote-port=4500 initiator=yes initiator-spi=6fd55d95f66b4a67 \
               responder-spi=cea64d4a303e0ca2 child-sas {home-1 {name=home state=INSTALLED mode=TUNNEL \
               local-ts=[192.168.0.100/32]}}}}\nlist-sa event {b {state=CONNECTING version=1 remote-host=fd00::2}}\n";
    let pretty = raw.replace('=', " = ").replace('{', " {\n  ").replace('}', "\n}");
    for text in [raw, &pretty] {
        let (dialect, sas) = only(text);
        assert_eq!((dialect, sas.len()), (Dialect::Swanctl, 2));
        assert_eq!(short(&sas[0]), ("192.168.0.1".into(), Some(4500), Some(2), I, Some(9), true, Some(1)));
        assert_eq!(short(&sas[1]), ("fd00::2".into(), None, Some(1), R, None, false, Some(0)));
    }
    let statusall = "Status of IKE charon daemon (strongSwan 5.9.8, Linux 6.1, x86_64):
  uptime: 5 minutes, since Nov 24 01:00:00 2026
Security Associations (1 up, 1 connecting):
        home[1]: ESTABLISHED 5 minutes ago, 192.168.0.100[carol@x]...192.168.0.1[moon]
        home[1]: IKEv2 SPIs: 6fd55d95f66b4a67_i* cea64d4a303e0ca2_r, rekeying in 2 hours
        home{1}:  INSTALLED, TUNNEL, reqid 1, ESP in UDP SPIs: c1_i c2_o
        home{1}:   10.1.0.0/16 === 10.2.0.0/16
        away[2]: CONNECTING, 192.168.0.100[%any]...192.168.0.9[%any]
        away[2]: IKEv1 SPIs: 6fd55d95f66b4a68_i* 0000000000000000_r
";
    let (dialect, sas) = only(statusall);
    assert_eq!((dialect, sas.len()), (Dialect::Statusall, 2));
    assert_eq!(short(&sas[0]), ("192.168.0.1".into(), None, Some(2), I, Some(9), true, Some(1)));
    assert!(!sas[1].established && sas[1].spis.unwrap().responder.is_zero());
    assert_eq!((sas[0].age, sas[0].lifetime, sas[1].age), (Some(300), Some(7500), None));
}

#[test]
fn libreswan_s() {
    let status = r#"000 "v2": 10.8.2.0/24===10.9.0.2[@b]...10.9.0.1[@a]===10.8.1.0/24; erouted; eroute owner: #2
000 Total IPsec connections: loaded 1, active 1
000 #1: "v2":4500 STATE_V2_ESTABLISHED_IKE_SA (established IKE SA); REKEY in 28526s; newest; idle;
000 #2: "v2":4500 STATE_V2_ESTABLISHED_CHILD_SA (established Child SA); REKEY in 28526s; IKE SA #1; idle;
000 #2: "v2" esp.cdd646f0@10.9.0.1 esp.ce9b6115@10.9.0.2 Traffic: ESPin=252B
000 #7: "old"[1] ...193.110.157.102:500 STATE_MAIN_I1 (sent MI1, expecting MR1); EVENT_v1_RETRANSMIT in 8s; idle;
000 #8: "new":500 STATE_PARENT_I2 (sent v2I2, expected v2R2); idle;
"#;
    let (dialect, sas) = only(status);
    assert_eq!((dialect, sas.len()), (Dialect::Libreswan, 3));
    assert_eq!(short(&sas[0]), ("10.9.0.1".into(), Some(4500), Some(2), None, Some(9), true, Some(1)));
    assert_eq!(sas[0].source.as_deref(), Some("10.9.0.2"));
    assert_eq!(short(&sas[1]), ("193.110.157.102".into(), Some(500), Some(1), I, Some(3), false, Some(0)));
    assert_eq!(short(&sas[2]), ("new".into(), Some(500), Some(2), I, Some(5), false, Some(0)));
    let (_, sas) = only("006 #2: \"v2\", type=ESP, add_time=1, inBytes=252, outBytes=252, id='10.9.0.1'\n");
    assert_eq!(short(&sas[0]), ("v2".into(), None, None, None, Some(9), true, Some(1)));
}

#[test]
fn watch_s_head_is_a_time() {
    let head = "Destination            Cookies                           ST S  V E Created             Phase2\n";
    let look = |second: u32| {
        format!("Every 2.0s: racoonctl -l show-sa isakmp          gw: Sun Jun  1 10:00:{second:02} 2025\n\n{head}")
    };
    let series = read(&(look(2) + &look(4))).series.remove(&Dialect::Racoonctl).unwrap();
    let at: Vec<u64> = series.iter().filter_map(|listing| listing.at).collect();
    assert_eq!((at.len(), at[1] - at[0]), (2, 2000));
}

#[test]
fn openiked_s() {
    let text = "$ ikectl show sa
iked_sas: 0x5500000e0a10 rspi 0x15f4488109149fb9 ispi 0xe1a86ba672c7d8b6 10.9.0.2:4500->10.9.0.1:4500<FQDN/a b>[] ESTABLISHED r natt nexti (nil)
  sa_childsas: 0x550000125ee0 ESP 0x8eea36d7 in 10.9.0.1:4500 -> 10.9.0.2:4500 (LA) B=(nil)
  sa_childsas: 0x550000126060 ESP 0xc24ee9cf out 10.9.0.2:4500 -> 10.9.0.1:4500 (L) B=(nil)
iked_sas: 0x5500000e0a11 rspi 0x0 ispi 0xe1a86ba672c7d8b7 10.9.0.2:500->10.9.0.3:500<UNKNOWN>[] SA_INIT i nexti (nil)
iked_dstid_sas: 0x5500000e0a10 rspi 0x15f4488109149fb9 ispi 0xe1a86ba672c7d8b6 10.9.0.2:4500->10.9.0.1:4500<x>[] ESTABLISHED r
";
    let (dialect, sas) = only(text);
    assert_eq!((dialect, sas.len()), (Dialect::Ikectl, 2));
    assert_eq!(short(&sas[0]), ("10.9.0.1".into(), Some(4500), Some(2), R, Some(9), true, Some(1)));
    assert_eq!(short(&sas[1]), ("10.9.0.3".into(), Some(500), Some(2), I, Some(3), false, Some(0)));
}

#[test]
fn cisco_s() {
    let isakmp = "router#show crypto isakmp sa
IPv4 Crypto ISAKMP SA
dst             src             state          conn-id status
100.0.10.2      100.13.220.2    QM_IDLE          29609 ACTIVE
100.0.10.2      100.12.82.2     MM_NO_STATE      29188 ACTIVE (deleted)

IPv6 Crypto ISAKMP SA
";
    let (dialect, sas) = only(isakmp);
    assert_eq!((dialect, sas.len()), (Dialect::CiscoIsakmp, 2));
    assert_eq!(short(&sas[0]), ("100.13.220.2".into(), None, Some(1), R, Some(9), true, None));
    assert_eq!(short(&sas[1]), ("100.12.82.2".into(), None, Some(1), R, Some(3), false, None));
    let asa = "1   IKE Peer: 192.0.2.9\n    Type    : L2L             Role    : initiator\n    Rekey   : no              State   : MM_WAIT_MSG2\n";
    assert_eq!(short(&only(asa).1[0]), ("192.0.2.9".into(), None, Some(1), I, Some(3), false, None));
    let detail = "IPv4 Crypto ISAKMP SA\n29609 100.0.10.2 100.13.220.2 RED ACTIVE aes  sha    psk  16 00:01:47 D\n";
    assert_eq!(short(&only(detail).1[0]), ("100.13.220.2".into(), None, Some(1), None, Some(9), true, None));
    let session = "Crypto session current status\n\nInterface: Tunnel0\nSession status: UP-ACTIVE\nPeer: 1.1.1.1 port 500\n  \
                   IKEv2 SA: local 2.2.2.2/500 remote 1.1.1.1/500 Active\n  IPSEC FLOW: permit 47 host 2.2.2.2 host 1.1.1.1\n";
    assert_eq!(short(&only(session).1[0]), ("1.1.1.1".into(), Some(500), Some(2), None, Some(9), true, None));
    // Without its title; with its flows, of which one has no SAs.
    let flows = "Interface: Tunnel0\nSession status: UP-ACTIVE\nPeer: 198.51.100.3 port 500 fvrf: (none) ivrf: (none)\n  \
                 IKE SA: local 192.0.2.4/500 remote 198.51.100.3/500 Active\n  IPSEC FLOW: permit ip host 192.0.2.4 host 198.51.100.3\n        \
                 Active SAs: 0, origin: crypto map\n        Inbound:  #pkts dec'ed 0 drop 0 life (KB/Sec) 0/0\n        \
                 Outbound: #pkts enc'ed 0 drop 0 life (KB/Sec) 0/0\n  IPSEC FLOW: permit 47 host 192.0.2.4 host 198.51.100.3\n        \
                 Active SAs: 4, origin: crypto map\n        Inbound:  #pkts dec'ed 0 drop 0 life (KB/Sec) 4605665/2949\n        \
                 Outbound: #pkts enc'ed 17 drop 1 life (KB/Sec) 4605665/2949\n";
    let (dialect, sas) = only(flows);
    assert_eq!((dialect, sas.len()), (Dialect::CiscoSession, 1));
    assert_eq!((sas[0].phase2, sas[0].wanted, sas[0].traffic), (Some(1), Some(2), Some((0, 17))));
    let session = "Session Type: LAN-to-LAN Detailed\n\nConnection   : 198.51.100.9\nIndex        : 6539                   IP Addr      : 198.51.100.9\n\
                   Protocol     : IKEv2 IPsec\nEncryption   : IKEv2: (1)AES256  IPsec: (1)AES256\nBytes Tx     : 2005616                Bytes Rx     : 0\n\
                   Login Time   : 04:00:32 PDT Sun Jul 29 2018\nDuration     : 10d 7h:26m:52s\n\nIPsec:\n  Tunnel ID    : 6539.2\n  \
                   Bytes Tx     : 7                      Bytes Rx     : 7\n\nConnection   : staff\nIndex        : 3                      IP Addr      : 198.51.100.8\n\
                   Protocol     : Clientless SSL-Tunnel\nBytes Tx     : 1                      Bytes Rx     : 1\nDuration     : 0h:01m:33s\n";
    let (dialect, sas) = only(session);
    assert_eq!((dialect, sas.len()), (Dialect::CiscoSessiondb, 1));
    assert_eq!(short(&sas[0]), ("198.51.100.9".into(), None, Some(2), None, Some(9), true, None));
    assert_eq!((sas[0].traffic, sas[0].age), (Some((0, 2_005_616)), Some(890_812)));
    let old = " Connection   : 198.51.100.9\n Index        : 1                      IP Addr      : 198.51.100.9\n \
               Protocol     : IPSecLAN2LAN           Encryption   : AES256\n Duration     : 6:16:26\n";
    assert_eq!((only(old).1[0].version, only(old).1[0].age), (Some(1), Some(22_586)));
    let ikev2 = " IPv4 Crypto IKEv2  SA
Tunnel-id Local                 Remote                fvrf/ivrf            Status
3         30.30.30.30/4500      20.20.20.20/4500      none/none            READY
      Life/Active Time: 86400/20942 sec
      Local spi: 1F7B76961C3A77ED       Remote spi: 1298FDE074BD724C
4         30.30.30.30/500       20.20.20.21/500       none/none            IN-NEG
Tunnel-id    fvrf/ivrf              Status
1          none/none             READY
Local  2001:DB8:1101::131/500
Remote  2001:DB8:1201::122/500
";
    let (dialect, sas) = only(ikev2);
    assert_eq!((dialect, sas.len()), (Dialect::CiscoIkev2, 3));
    assert_eq!(short(&sas[0]), ("20.20.20.20".into(), Some(4500), Some(2), None, Some(9), true, None));
    assert!(sas[0].spis.is_some() && !sas[1].established);
    assert_eq!(short(&sas[2]), ("2001:DB8:1201::122".into(), Some(500), Some(2), None, Some(9), true, None));
}

#[test]
fn a_big_ip_s() {
    let text = "[root@bigip-1-1:Active:Standalone] config # tmsh show net ipsec ike-sa all-properties
-------------------------
IKE::SecurityAssociations
-------------------------
(tmm: 3)
  10.2.2.2%1/500 -> 10.1.1.1%1/500
  Version: v2 State: ESTABLISHED
  IKE Peer: /Common/ike-10202
  Spi(local): 0xdf5601249fd324ec Spi(Remote): 0x74c405a807c5226b
  Encryption: aes256 Authentication: pre-shared-key
  Hash Algorithm: sha256 Initiator: TRUE
  Life/Active Time: 28800/14691 seconds NAT-T: none
  Traffic Selectors 2 Reqid(in/out)
    /Common/selector-10202 17131/17132
    /Common/second-selector 17129/17130
  Child SA Count: 1
Total records returned: 1
[root@bigip-1-1:Active:Standalone] config # racoonctl -ll show-sa isakmp
Source           Destination         Cookies                           ST S  V E Created             Phase2
127.0.0.1.500    10.2.2.2.500        9f7a366492b4f22e:b90b9aa17880beb8  9 R 10 M 2024-11-09 08:58:30      1
";
    let found = read(text);
    let sa = &found.series[&Dialect::Tmsh][0].sas[0];
    assert_eq!(short(sa), ("10.2.2.2".into(), Some(500), Some(2), I, Some(9), true, Some(1)));
    assert_eq!((sa.wanted, sa.source.as_deref()), (Some(2), Some("10.1.1.1")));
    assert_eq!(found.series[&Dialect::Racoonctl][0].sas[0].role, R);
    assert_eq!((found.series.len(), found.unread.len()), (2, 0));
}

#[test]
fn a_terminal_s_text_is_a_series() {
    let text = format!(
        "$ swanctl --list-sas   (t=500 ms, initiator)\n{SWANCTL}$ swanctl --list-sas   (t=1000 ms, initiator)\n$ date\nx\n"
    );
    let series = &read(&text).series[&Dialect::Swanctl];
    let found: Vec<_> = series.iter().map(|listing| (listing.at, listing.sas.len())).collect();
    assert_eq!(found, [(Some(500), 2), (Some(1000), 0)]);
    let sa = &series[0].sas[0];
    assert_eq!((sa.age, sa.lifetime), (Some(1), Some(13_543)));
    let twice = "----\nIKE::SecurityAssociations\n----\nTotal records returned: 0\n".repeat(2);
    assert_eq!(read(&twice).series[&Dialect::Tmsh].len(), 2);
    let dated = format!("Tue Nov 24 01:08:06 UTC 2026\n{SWANCTL}Tue Nov 24 01:09:06 UTC 2026\n{SWANCTL}");
    let times: Vec<_> = read(&dated).series[&Dialect::Swanctl].iter().map(|listing| listing.at.unwrap()).collect();
    assert_eq!(times[1] - times[0], 60_000);
    assert_eq!(read("dear diary\n$ date\nNo listing.\n"), Listings::default());
    let none = read("dear diary\n$ racoonctl show-sa esp\nNo SAD entries.\n");
    assert_eq!((none.series.len(), none.series[&Dialect::Setkey][0].sas.len()), (1, 0));
}

/// What repeats without end takes time in proportion: in its square, this would take hours.
#[test]
fn long_texts_are_read() {
    for piece in [
        "list-sa event {a {state=x",
        "$ swanctl --list-sas\n",
        "IKE::SecurityAssociations\n",
        "Destination Cookies\n",
        "000 #1: \"v2\":500 STATE_MAIN_I1 (x); \n",
        "#1: \"v2\", type=ESP, inBytes=1\n",
        "9f7a366492b4f22e:b90b9aa17880beb8 ",
        "1.1.1.1 2.2.2.2 QM_IDLE 1 ACTIVE\n",
        "1.1.1.1...",
        "State: x ",
        SWANCTL,
    ] {
        let _ = read(&piece.repeat(300_000 / piece.len()));
    }
}

proptest! {
    #[test]
    fn any_text_is_read(text in ".{0,400}") {
        let _ = read(&text);
    }

    /// A listing with a character exchanged, lost or doubled.
    #[test]
    fn a_damaged_listing_is_read(at in any::<prop::sample::Index>(), c in any::<char>(), how in 0..3) {
        let characters: Vec<char> = SWANCTL.chars().collect();
        let at = at.index(characters.len());
        let mut damaged = characters.clone();
        match how {
            0 => damaged[at] = c,
            1 => damaged.truncate(at),
            _ => damaged.insert(at, c),
        }
        let _ = read(&damaged.into_iter().collect::<String>());
    }
}

/// IPsec SAs alone: each direction is an SA, and one that waits for a negotiation is told from one that is there.
#[test]
fn ipsec_sas_of_three_programs() {
    let setkey = "10.9.0.1 10.9.0.2 \n\tesp mode=tunnel spi=173267602(0x0a53da92) reqid=0(0x00000000)\n\tE: aes-cbc  <redacted>\n\
        \tseq=0x00000000 replay=4 flags=0x00000000 state=mature \n\tcreated: Nov 24 00:50:09 2026\tcurrent: Nov 24 00:51:09 2026\n\
        \tdiff: 60(s)\thard: 3600(s)\tsoft: 2880(s)\n\tlast:                     \thard: 0(s)\tsoft: 0(s)\n\
        10.9.0.2 10.9.0.1 \n\tesp mode=tunnel spi=0(0x00000000) reqid=0(0x00000000)\n\tseq=0x1 flags=0x0 state=larval \n";
    let found = read(setkey);
    let sas = &found.series[&Dialect::Setkey][0].sas;
    assert_eq!((sas.len(), sas[0].peer.as_str(), sas[0].age, sas[0].lifetime), (2, "10.9.0.2", Some(60), Some(3600)));
    assert!(sas[0].ipsec && sas[0].established && !sas[1].established);
    assert_eq!((sas[1].source.as_deref(), sas[1].state.as_deref()), (Some("10.9.0.2"), Some("larval")));
    let xfrm = "src 192.0.2.1 dst 192.0.2.2\n\tproto esp spi 0xc1a2b3d4 reqid 1 mode tunnel\n\treplay-window 0 flag af-unspec\n\
        \tauth-trunc hmac(sha256) <redacted> 128\n\tlifetime config:\n\t  limit: soft (INF)(bytes), hard (INF)(bytes)\n\
        \t  expire add: soft 3238(sec), hard 3600(sec)\nsrc 192.0.2.2 dst 192.0.2.1\n\tproto esp spi 0xc0ffee00 reqid 1 mode tunnel\n";
    let found = read(&format!("$ ip -s xfrm state\n{xfrm}"));
    let sas = &found.series[&Dialect::IpXfrm][0].sas;
    assert_eq!((sas.len(), sas[0].name.as_deref(), sas[0].lifetime), (2, Some("SPI 0xc1a2b3d4"), Some(3600)));
    let policy = "src 10.2.0.0/16 dst 10.1.0.0/16 uid 0\n\tdir in action allow index 64 priority 375423\n\
        \ttmpl src 192.0.2.2 dst 192.0.2.1\n\t\tproto esp spi 0x00000000(0) reqid 1(0x00000001) mode tunnel\n";
    assert!(read(policy).series.is_empty(), "policies are no SAs");
    let both = read(&format!("$ ip -s xfrm state\n{xfrm}$ ip -s xfrm policy\n{policy}"));
    assert_eq!(both.series[&Dialect::IpXfrm].iter().map(|listing| listing.sas.len()).collect::<Vec<_>>(), [2]);
    let tmsh = "IPsec::SecurityAssociations\n172.16.1.1 -> 172.16.2.1\n-----\n  tmm: 6\n\
        \x20 Direction: out; SPI: 0xbec2922(200026402); Policy ID: 0xe991(59793)\n  Protocol: esp; Mode: tunnel; State: mature\n\
        172.16.2.1 -> 172.16.1.1\n-----\n  Direction: in; SPI: 0x7376bf9(121072633); Policy ID: 0x0(0)\nTotal records returned: 2\n";
    let found = read(tmsh);
    let sas = &found.series[&Dialect::TmshIpsec][0].sas;
    assert_eq!((sas.len(), sas[1].peer.as_str(), sas[1].established), (2, "172.16.1.1", true));
    assert!(read("$ setkey -D\nNo SAD entries.\n").series[&Dialect::Setkey][0].sas.is_empty());
}

#[test]
fn a_block_that_is_cut_before_its_state_is_no_sa() {
    let text = "IKE::SecurityAssociations\n(tmm: 3)\n  10.2.2.2/500 -> 10.1.1.1/500\n  Version: v2 State: ESTABLISHED\n  IKE Peer: /Common/a\n";
    let more = format!("{text}(tmm: 4)\n  10.3.3.3/500 -> 10.1.1.1/500\n");
    let found = read(&more);
    assert_eq!(found.series[&Dialect::Tmsh][0].sas.len(), 1);
    assert!(found.unread.iter().any(|line| line.contains("10.3.3.3/500 -> 10.1.1.1/500")), "{:?}", found.unread);
    let cut = text.split("  Version").next().unwrap_or_default();
    for command in ["", "$ tmsh show net ipsec ike-sa\n"] {
        let found = read(&format!("{command}{cut}"));
        assert!(found.series.is_empty() && !found.unread.is_empty(), "{found:?}");
    }
}

#[test]
fn what_a_big_ip_s_rest_interface_wraps_is_read() {
    let text = r#"{"kind":"tm:net:ipsec:ike-sa:ike-sastats","apiRawValues":{"apiAnonymous":"-----\nIKE::SecurityAssociations\n-----\n(tmm: 3)\n  10.2.2.2\/500 -> 10.1.1.1\u002f500\n  Version: v2 State: ESTABLISHED\n  IKE Peer: \/Common\/a\nTotal records returned: 1\n"}}"#;
    let found = read(text);
    assert_eq!(found.series[&Dialect::Tmsh][0].sas.len(), 1, "{found:?}");
    assert_eq!(found.series[&Dialect::Tmsh][0].sas[0].peer, "10.2.2.2");
    for broken in ["\"apiAnonymous\"", "\"apiAnonymous\":", "\"apiAnonymous\":\"\\", "\"apiAnonymous\":\"\\u12"] {
        assert!(read(broken).series.is_empty());
    }
}

#[test]
fn a_juniper_s() {
    let new = "user@srx> show security ike security-associations\n\
        Index   State  Initiator cookie  Responder cookie  Mode           Remote Address\n\
        1512635 UP     a296c603e4746996  e3c175f78f62f6ee  Main           10.10.30.1\n\
        1512636 DOWN   a296c603e4746997  0000000000000000  IKEv2          10.10.30.2\n";
    let sas = &read(new).series[&Dialect::Juniper][0].sas;
    assert_eq!((sas.len(), sas[0].peer.as_str(), sas[0].established, sas[0].version), (2, "10.10.30.1", true, Some(1)));
    assert!(!sas[1].established && sas[1].spis.unwrap().responder.is_zero() && sas[1].version == Some(2));
    let old = "Index   Remote Address  State   Initiator cookie  Responder cookie  Mode\n\
        32      1.1.1.2         Not Matured  744a594d957dd513  1e1307db82f58387  Aggressive\n";
    let sas = &read(old).series[&Dialect::Juniper][0].sas;
    assert_eq!(
        (sas[0].peer.as_str(), sas[0].state.as_deref(), sas[0].established),
        ("1.1.1.2", Some("Not Matured"), false)
    );
}

#[test]
fn a_fortinet_s() {
    let text = "fgt # diagnose vpn ike gateway list\n\nvd: root/0\nname: branch\nversion: 1\ninterface: wan1 5\n\
        addr: 10.5.24.1:500 -> 10.5.24.2:500\ncreated: 448s ago\nIKE SA: created 2/2  established 1/2  time 0/10/20 ms\n\
        IPsec SA: created 1/2  established 1/1  time 0/0/0 ms\n\n  id/spi: 92 5639f7f8a5dc54c0/809a6c9bbd266a4b\n  direction: initiator\n\
        \x20 status: established 448-448s ago = 10ms\n  proposal: aes128-sha256\n  key: 74aa3d63d88e10ea-8a1c73b296b06578\n\
        \x20 lifetime/rekey: 86400/85952\n  DPD sent/recv: 00000000/00000000\n\n  id/spi: 93 5639f7f8a5dc54c1/0000000000000000\n\
        \x20 direction: initiator\n  status: connecting, state 3, started 5s ago\n";
    let sas = &read(text).series[&Dialect::Fortinet][0].sas;
    assert_eq!(
        (sas.len(), sas[0].peer.as_str(), sas[0].age, sas[0].lifetime),
        (2, "10.5.24.2", Some(448), Some(86_400))
    );
    assert_eq!((sas[0].established, sas[0].phase2, sas[0].role), (true, Some(1), Some(Role::Initiator)));
    assert!(!sas[1].established && sas[1].spis.unwrap().responder.is_zero());
}

#[test]
fn a_palo_alto_s() {
    let text = "admin@pa> show vpn ike-sa\n\nIKEv1 phase-1 SAs\n\
        GwID/client IP  Peer-Address           Gateway Name           Role Mode Algorithm             Established     Expiration      V  ST Xt Phase2\n\
        --------------  ------------           ------------           ---- ---- ---------             -----------     ----------      -  -- -- ------\n\
        1               10.7.0.2               branch office          Resp Main PSK/DH14/A128/SHA1    Jul.31 01:35:00 Jul.31 09:35:00 v1 13 1  1\n\
        2               10.7.0.3               other                  Init Aggr PSK/DH14/A128/SHA1                                    v1  3 0  0\n\n\
        Show IKEv1 IKE SA: Total 2 gateways found. 2 ike sa found.\n";
    let sas = &read(text).series[&Dialect::PaloAlto][0].sas;
    assert_eq!((sas.len(), sas[0].peer.as_str(), sas[0].name.as_deref()), (2, "10.7.0.2", Some("branch office")));
    assert_eq!((sas[0].established, sas[0].role, sas[0].phase2), (true, Some(Role::Responder), Some(1)));
    assert_eq!((sas[1].established, sas[1].mode, sas[1].phase2), (false, Some(ExchangeMode::Aggressive), Some(0)));
}

#[test]
fn our_own() {
    let text = "$ shrike show\nIKE SAs: 1 established, 2 failed\n\n\
        lab #1  ESTABLISHED 5s, rekeying in 3h 50min\n  local   192.0.2.1 at 192.0.2.1:4500\n  remote  gw at 192.0.2.2:4500, behind NAT\n\
        \x20 IKEv2   initiator, pre-shared-key, d04659fd2963e650_i* 908b83f0f396f58e_r, worker 0\n\
        \x20 lab #1  INSTALLED 2s, rekeying in 56min 11s, end in 1h 5min\n    traffic 10.1.0.0/24 === 10.2.0.0/24\n\n\
        lab #1 / net  FAILED CHILD_PROPOSAL 5s ago\n  local   192.0.2.1 at 192.0.2.1:4500\n  remote  gw at 192.0.2.2:4500, behind NAT\n\
        \x20 why:    the peer accepts none of our ESP proposals:\n          aes128-sha512\n  where:  /etc/swanctl/swanctl.conf:49\n          (connections.lab)\n\n\
        far #2  FAILED NO_RESPONSE 9s ago\n  local   192.0.2.1 at 192.0.2.1:500\n  remote  (unknown) at 198.51.100.9:500\n  why:    no answer\n";
    let sas = &read(text).series[&Dialect::Own][0].sas;
    let [up, child, far] = &sas[..] else { panic!("{sas:?}") };
    assert_eq!((up.peer.as_str(), up.port, up.established, up.phase2), ("192.0.2.2", Some(4500), true, Some(1)));
    assert_eq!((up.role, up.version, up.ended.as_deref()), (Some(Role::Initiator), Some(2), None));
    assert!(!up.spis.unwrap().responder.is_zero());
    let ended = "the peer accepts none of our ESP proposals: aes128-sha512 [CHILD_PROPOSAL]";
    assert_eq!((child.ended.as_deref(), child.established), (Some(ended), false));
    assert_eq!((far.peer.as_str(), far.ended.as_deref()), ("198.51.100.9", Some("no answer [NO_RESPONSE]")));
    assert!(read("$ shrike show\nNo IKE SAs.\n").series[&Dialect::Own][0].sas.is_empty());
}
