//! `shrike diagnose --listing`, from text to verdict: what each program prints of one fault.

use super::*;

/// What a text is judged to be, alone: severity and first cause of each finding.
fn verdicts(text: &str) -> Vec<(Severity, Option<&'static str>)> {
    let found = judged(&show::listing::read(text).series, &[]);
    assert!(found.iter().all(|f| !f.evidence.is_empty() && !f.peer.is_empty() && f.remedy.len() == f.causes.len()));
    found.iter().map(|f| (f.severity, f.causes.first().map(|c| c.code()))).collect()
}

fn one(text: &str) -> (Severity, Option<&'static str>) {
    let found = verdicts(text);
    let [one] = found.as_slice() else { panic!("{found:?}: {text}") };
    *one
}

use Severity::{Error, Info, Ok as Fine, Warning};

const WIDE: &str = "Source                                        Destination                                   Cookies                           ST S  V E Created             Phase2\n";

fn racoon(source: &str, peer: &str, cookies: &str, rest: &str) -> String {
    format!("{source:<45} {peer:<45} {cookies} {rest}\n")
}

#[test]
fn racoon_s_table_at_every_level_shows_flapping() {
    let cookies = |n: u64| format!("{:016x}:{:016x}", n + 1, n + 77);
    let created = |n: u64| format!("2026-11-24 01:{n:02}:05");
    let (mut wide, mut narrow, mut least, mut pasted) = (String::new(), String::new(), String::new(), String::new());
    for n in 0..6 {
        let stamp = format!("# t={} ms\n", n * 60_000);
        let rest = format!(" 9 I 10 M {}      1 ", created(n));
        wide += &(stamp.clone() + WIDE + &racoon("198.51.100.1.500", "203.0.113.2.500", &cookies(n), &rest));
        narrow += &format!(
            "{stamp}Destination            Cookies                           ST S  V E Created             Phase2\n{:<22} {} {rest}\n",
            "203.0.113.2.500",
            cookies(n)
        );
        let row = format!("{:<22} {} {} \n", "203.0.113.2.500", cookies(n), created(n));
        least += &format!("{stamp}Destination            Cookies                           Created\n{row}");
        // What a terminal of a BIG-IP shows: no time but Created.
        pasted += &format!(
            "[root@bigip:Active:Standalone] config # racoonctl show-sa isakmp\nDestination            Cookies                           Created\n{row}"
        );
    }
    for text in [wide, narrow, least, pasted] {
        assert_eq!(one(&text), (Error, Some("PEER_DELETE")), "{text}");
    }
}

#[test]
fn a_cut_address_and_a_damaged_row_hide_nothing() {
    let head = "Destination            Cookies                           ST S  V E Created             Phase2\n";
    let row = "61d12e5b65e53c95:b1bb8252ff4d89bf  7 I 10 M                          0 \n";
    assert_eq!(one(&format!("{head}2001:db8:ffff:ff.4500 {row}")), (Warning, Some("PSK_MISMATCH")));
    let text = format!("{head}10.9.0.2.500 {row}10.9.0.3.500 {}\n", row.replace(" 7 I", " 7 X"));
    let read = show::listing::read(&text);
    assert_eq!((read.unread.len(), one(&text)), (1, (Warning, Some("PSK_MISMATCH"))));
}

#[test]
fn cisco_s_leftovers_and_sessions() {
    let head = "R1#show crypto isakmp sa\nIPv4 Crypto ISAKMP SA\ndst             src             state          conn-id status\n";
    let left = "203.0.113.2     198.51.100.1    MM_NO_STATE       1002 ACTIVE (deleted)\n";
    let found = judged(
        &show::listing::read(&format!("{head}203.0.113.2     198.51.100.1    MM_KEY_EXCH       1003 ACTIVE\n{left}"))
            .series,
        &[],
    );
    assert_eq!((found.len(), found[0].peer.as_str()), (1, "198.51.100.1 -> 203.0.113.2"));
    assert_eq!(found[0].causes[0], Cause::PskMismatch);
    assert_eq!(
        one(&format!("{head}203.0.113.2     198.51.100.1    QM_IDLE           1003 ACTIVE\n{left}")),
        (Fine, None)
    );
    let session = |status: &str, rest: &str| {
        format!(
            "R1#show crypto session\nCrypto session current status\n\nInterface: Gi1\nSession status: {status}\nPeer: 203.0.113.2 port 500 \n{rest}  IPSEC FLOW: permit ip 10.1.0.0/255.255.0.0 10.2.0.0/255.255.0.0 \n        Active SAs: 0, origin: crypto map\n"
        )
    };
    let sa = "  IKEv1 SA: local 198.51.100.1/500 remote 203.0.113.2/500 Inactive \n";
    assert_eq!(one(&session("DOWN-NEGOTIATING", sa)), (Warning, Some("NO_RESPONSE")));
    assert_eq!(one(&session("DOWN", "")), (Warning, Some("NOT_STARTED")));
    let up = |status: &str| session(status, &sa.replace("Inactive", "Active"));
    assert_eq!(one(&up("UP-ACTIVE").replace("Active SAs: 0", "Active SAs: 2")), (Fine, None));
    assert_eq!(one(&up("UP-IDLE")), (Info, Some("NOT_STARTED")));
}

#[test]
fn cisco_s_session_through_which_nothing_comes_back() {
    let session = |received: u32| {
        format!(
            "Crypto session current status\n\nInterface: Tunnel0\nSession status: UP-ACTIVE\nPeer: 203.0.113.2 port 500\n  \
             IKEv1 SA: local 198.51.100.1/500 remote 203.0.113.2/500 Active\n  IPSEC FLOW: permit ip 10.1.0.0/16 10.2.0.0/16\n        \
             Active SAs: 2, origin: crypto map\n        Inbound:  #pkts dec'ed {received} drop 0 life (KB/Sec) 4608000/3000\n        \
             Outbound: #pkts enc'ed 400 drop 0 life (KB/Sec) 4607000/3000\n"
        )
    };
    assert_eq!(one(&session(398)), (Fine, None));
    let (severity, cause) = one(&session(0));
    assert!(severity >= Warning && cause.is_some(), "{severity:?} {cause:?}");
}

#[test]
fn lines_of_a_log_are_told_from_a_listing_that_nobody_knows() {
    let directory = std::env::temp_dir().join(format!("shrike-listing-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let said = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        read_listings(path.to_str().unwrap(), &mut Vec::new()).map(|_| ()).unwrap_err()
    };
    let log = said("log", "07[IKE] initiating IKE_SA a[1] to 203.0.113.5\n07[IKE] giving up after 5 retransmits\n");
    let neither = said("neither", "nothing of the kind\n");
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(log.contains("diagnose --log"), "{log}");
    assert!(neither.contains("no listing in it that is known"), "{neither}");
}

#[test]
fn cisco_s_leftovers_do_not_make_flapping_a_rekeying() {
    let look = |n: u32| {
        format!(
            "=== 2026-03-02 11:{n:02}:00 ===\nR1#show crypto isakmp sa\nIPv4 Crypto ISAKMP SA\ndst             src             state          conn-id status\n192.0.2.33      198.51.100.9    QM_IDLE           {} ACTIVE\n192.0.2.33      198.51.100.9    MM_NO_STATE       {} ACTIVE (deleted)\n",
            1010 + n,
            1009 + n
        )
    };
    assert_eq!(one(&(0..8).map(look).collect::<String>()), (Error, Some("PEER_DELETE")));
}

#[test]
fn a_big_ip_s_listing_that_is_not_whole() {
    let block = |ends: &str, spi: u64, state: &str| {
        format!(
            "(tmm: 1)\n  {ends}\n  Version: v2 State: {state}\n  IKE Peer: /Common/p\n  Spi(local): 0x{spi:016x} Spi(Remote): 0x{:016x}\n  Encryption: aes256 Authentication: pre-shared-key\n  Hash Algorithm: sha256 Initiator: TRUE\n  Life/Active Time: 28800/0 seconds NAT-T: none\n  Traffic Selectors 1 Reqid(in/out)\n    /Common/s 17131/17132\n  Child SA Count: 0\n",
            0
        )
    };
    let title = "IKE::SecurityAssociations\n";
    let v6 = block("2001:db8::2%2.500 -> 2001:db8::1%2.500", 7, "CREATING");
    assert_eq!(one(&format!("{title}{v6}Total records returned: 1\n")), (Warning, Some("NO_RESPONSE")));
    // The pager took one of two, and a name stands where an address should.
    let cut =
        format!("{title}{v6}{}Total records returned: 3\n", block("gateway/500 -> 198.51.100.1/500", 8, "ESTABLISHED"));
    assert_eq!(one(&cut), (Warning, Some("NO_RESPONSE")));
    assert_eq!(show::listing::read(&cut).unread.len(), 1);
}

#[test]
fn palo_alto_s_table_of_ikev2() {
    let text = |rest: &str| {
        format!(
            "\nIKEv2 SAs\nGateway ID      Peer-Address           Gateway Name           Role SN       Algorithm             Established     Expiration      Xt Child  ST\n----------      ------------           ------------           ---- --       ---------             -----------     ----------      -- -----  --\n1               203.0.113.2            gw-b                   {rest}\n"
        )
    };
    let dates = "Jun.01 10:00:00 Jun.01 18:00:00";
    assert_eq!(one(&text(&format!("Init 12       PSK/DH20/A256/SHA384  {dates} 0  1      Established"))), (Fine, None));
    assert_eq!(
        one(&text(&format!("Init 12       PSK/    /    /        {dates} 0  0      INIT sent"))),
        (Warning, Some("NO_RESPONSE"))
    );
    assert_eq!(
        one(&text(&format!("Init 12       PSK/    /    /        {dates} 0  0      AUTH sent"))),
        (Warning, Some("NATT"))
    );
}

#[test]
fn fortinet_s_counters() {
    let text = |ike: &str, child: &str, status: &str, responder: &str| {
        format!(
            "vd: root/0\nname: toBranch\nversion: 1\ninterface: wan1 5\naddr: 198.51.100.1:500 -> 203.0.113.2:500\ncreated: 1043s ago\nIKE SA: {ike}  time 10/15/20 ms\nIPsec SA: {child}  time 0/10/20 ms\n\n  id/spi: 12 4a59682b1c7f0d3e/{responder}\n  direction: initiator\n  status: {status}\n  proposal: aes256-sha256\n  lifetime/rekey: 86400/85952\n  DPD sent/recv: 00000000/00000000\n"
        )
    };
    let (up, r) = ("established 43-43s ago = 20ms", "0011223344556677");
    let (once, none) = ("created 1/1  established 1/1", "created 0/0  established 0/0");
    assert_eq!(one(&text(once, once, up, r)), (Fine, None));
    assert_eq!(one(&text(once, "created 12/12  established 0/0", up, r)), (Error, Some("CHILD_FAILED_IKE_KEPT")));
    let often = text("created 1/248  established 1/247", "created 1/240  established 1/239", up, r);
    assert_eq!(one(&often), (Error, Some("PEER_DELETE")));
    let connecting =
        text("created 1/48  established 0/0", none, "connecting, state 3, started 12s ago", "0000000000000000");
    assert_eq!(one(&connecting), (Warning, Some("NO_RESPONSE")));
    let found = judged(&show::listing::read(&connecting).series, &[]);
    assert!(!found[0].evidence[0].contains(",,"), "{:?}", found[0].evidence);
}

#[test]
fn fortinet_s_summary() {
    let line = |up: u32, received: u32, sent: u32| {
        one(&format!(
            "FGT # get vpn ipsec tunnel summary\n'dr' 192.0.2.34:0  selectors(total,up): 2/{up}  rx(pkt,err): {received}/0  tx(pkt,err): {sent}/14\n"
        ))
    };
    assert_eq!(line(0, 0, 0), (Warning, Some("NOT_STARTED")));
    assert_eq!(line(2, 1900, 2000), (Fine, None));
    assert_eq!(line(1, 1900, 2000), (Info, Some("NOT_STARTED")));
    assert_eq!(line(2, 0, 2000), (Warning, Some("NATT")));
}

#[test]
fn vici_s_raw_form_has_ages() {
    let look = |n: u64, age: u64| {
        format!(
            "$ swanctl --list-sas --raw   (t={} ms)\nlist-sa event {{branch {{uniqueid={n} version=2 state=ESTABLISHED local-host=198.51.100.9 remote-host=192.0.2.33 remote-port=4500 initiator=yes initiator-spi={n:016x} responder-spi=00000000000000aa established={age} rekey-time={} child-sas {{net {{state=INSTALLED packets-in=1 packets-out=1}}}}}}}}\nlist-sas reply {{}}\n",
            n * 30_000,
            14_000 - age
        )
    };
    assert_eq!(one(&(1..9).map(|n| look(n, 9)).collect::<String>()), (Error, Some("PEER_DELETE")));
    assert_eq!(one(&(1..9).map(|n| look(1, n * 30)).collect::<String>()), (Fine, None));
    assert_eq!(one(&(1..9).map(|n| look(n, 13_990)).collect::<String>()), (Fine, None));
}

#[test]
fn cisco_s_ikev2_without_an_answer() {
    let text = |encryption: &str, more: &str| {
        format!(
            " IPv4 Crypto IKEv2  SA \n\nTunnel-id Local                 Remote                fvrf/ivrf            Status \n2         198.51.100.9/500      192.0.2.33/500        none/none            IN-NEG \n      Encr: {encryption}\n      Life/Active Time: 86400/0 sec\n{more}"
        )
    };
    let unknown =
        "Unknown - 0, PRF: Unknown - 0, Hash: None, DH Grp:0, Auth sign: Unknown - 0, Auth verify: Unknown - 0";
    let known = "AES-CBC, keysize: 256, PRF: SHA256, Hash: SHA256, DH Grp:14, Auth sign: PSK, Auth verify: Unknown - 0";
    assert_eq!(one(&text(unknown, "")), (Warning, Some("NO_RESPONSE")));
    assert_eq!(one(&text(known, "")), (Warning, Some("PSK_MISMATCH")));
    let responder = "      Status Description: Responder waiting for AUTH message\n";
    assert_eq!(one(&text(known, responder)), (Warning, Some("HALF_OPEN")));
}

#[test]
fn a_phase_2_that_waits_and_traffic_that_does_not_come_back() {
    let status =
        "000 #3: \"tun\":500 STATE_MAIN_I4 (ISAKMP SA established); EVENT_SA_REPLACE in 2800s; newest ISAKMP; idle;\n";
    let quick = "000 #4: \"tun\":500 STATE_QUICK_I1 (sent QI1, expecting QR1); EVENT_RETRANSMIT in 12s; idle;\n";
    assert_eq!(one(&format!("{status}{quick}")), (Warning, Some("P2_TIMEOUT")));
    assert_eq!(one(status), (Info, None));
    let v2 = "000 #1: \"v2\":4500 STATE_V2_ESTABLISHED_IKE_SA (established IKE SA); REKEY in 28526s; newest; idle;\n000 #2: \"v2\":4500 STATE_V2_ESTABLISHED_CHILD_SA (established Child SA); REKEY in 28526s; IKE SA #1; idle;\n";
    let traffic = |i: &str, o: &str| {
        format!("{v2}000 #2: \"v2\" esp.c@10.9.0.1 esp.d@10.9.0.2 Traffic: ESPin={i} ESPout={o} ESPmax=2^63B\n")
    };
    assert_eq!(one(&traffic("0B", "84KB")), (Warning, Some("NATT")));
    assert_eq!(one(&traffic("84B", "84KB")), (Fine, None));
    let swanctl = |installed: u32, received: u32, sent: u32| {
        format!(
            "gw: #12, ESTABLISHED, IKEv2, 5f6e7d8c9baaabcd_i* 0a1b2c3d4e5f6071_r\n  local  'moon' @ 192.168.0.1[4500]\n  remote 'sun' @ 192.168.0.2[4500]\n  established 3105s ago, rekeying in 10120s\n  net: #31, reqid 1, INSTALLED, TUNNEL-in-UDP, ESP:AES_GCM_16-256\n    installed {installed}s ago, rekeying in 1095s, expires in 1855s\n    in  c2a3b4d5, {received:6} bytes, {received:5} packets\n    out c9e8f7a6, {sent:6} bytes, {sent:5} packets,     1s ago\n    local  10.1.0.0/16\n    remote 10.2.0.0/16\n"
        )
    };
    assert_eq!(one(&swanctl(2105, 0, 1000)), (Warning, Some("NATT")));
    for (installed, received, sent) in [(2105, 900, 1000), (2105, 0, 3), (4, 0, 1000), (2105, 0, 0)] {
        assert_eq!(one(&swanctl(installed, received, sent)), (Fine, None));
    }
    let statusall = "Security Associations (1 up, 0 connecting):\n  home[1]: ESTABLISHED 5 minutes ago, 192.168.0.100[c]...192.168.0.1[m]\n  home[1]: IKEv2 SPIs: 6fd55d95f66b4a67_i* cea64d4a303e0ca2_r, rekeying in 2 hours\n  home{1}:  INSTALLED, TUNNEL, reqid 1, ESP in UDP SPIs: c1_i c2_o\n  home{1}:  AES_CBC_256/HMAC_SHA2_256_128, 0 bytes_i, 84000 bytes_o (1000 pkts, 1s ago), rekeying in 40 minutes\n";
    assert_eq!(one(statusall), (Warning, Some("NATT")));
}

#[test]
fn dead_is_not_wanted_and_nothing_is_not_started() {
    let setkey = |state: &str| {
        format!(
            "198.51.100.1 203.0.113.2 \n\tesp mode=tunnel spi=2(0x00000002) reqid=1(0x00000001)\n\tseq=0x00000000 replay=4 flags=0x00000000 state={state} \n"
        )
    };
    assert_eq!(one(&setkey("dead")), (Warning, Some("DPD_TIMEOUT")));
    assert_eq!(one(&setkey("larval")), (Warning, Some("NO_RESPONSE")));
    for empty in [
        WIDE,
        "IKE::SecurityAssociations\n-------------------------\nTotal records returned: 0\n",
        "{\"kind\":\"tm:net:ipsec:ike-sa:ike-sastats\",\"apiRawValues\":{\"apiAnonymous\":\"IKE::SecurityAssociations\\nTotal records returned: 0\\n\"}}",
        "Security Associations (0 up, 0 connecting):\n  none\n",
        "There is no IKEv1 phase-1 SA found.\nThere is no IKEv1 phase-2 SA found.\nThere is no IKEv2 SA found.\n",
        "asa1# show crypto isakmp sa\n\nThere are no IKEv1 SAs\n\nThere are no IKEv2 SAs\n",
        "No SAD entries.\n",
    ] {
        assert_eq!(one(empty), (Info, Some("NOT_STARTED")), "{empty}");
    }
}

#[test]
fn several_files_and_the_worst_first() {
    let path = |name: &str| std::env::temp_dir().join(format!("shrike-listed-{name}-{}", std::process::id()));
    let file = |name: &str, text: &str| {
        std::fs::write(path(name), text).unwrap();
        path(name).to_string_lossy().into_owned()
    };
    let stuck = |source, peer, st, side| {
        WIDE.to_string()
            + &racoon(
                source,
                peer,
                "61d12e5b65e53c95:b1bb8252ff4d89bf",
                &format!(" {st} {side} 10 M                          0 "),
            )
    };
    let good = racoon(
        "198.51.100.1.500",
        "203.0.113.9.500",
        "71d12e5b65e53c95:b1bb8252ff4d89bf",
        " 9 I 10 M 2026-11-24 01:00:05      1 ",
    );
    let a =
        file("a", &(stuck("198.51.100.1.4500", "203.0.113.2.4500", 7, 'I').replace(WIDE, &format!("{WIDE}{good}"))));
    let b = file("b", &stuck("203.0.113.2.500", "198.51.100.1.500", 5, 'R'));
    let how = Diagnose { listing: vec![a.clone(), b.clone()], json: true, ..Diagnose::default() };
    let printed = std::cell::RefCell::new(String::new());
    let worst = findings(&how, None, |text| printed.borrow_mut().push_str(text)).unwrap();
    let document: serde_json::Value = serde_json::from_str(&printed.borrow()).unwrap();
    assert_eq!(worst, Warning);
    assert_eq!(document["findings"][0]["causes"][0], "NATT", "{document:#}");
    assert_eq!(document["findings"][1]["severity"], "ok", "{document:#}");
    [a, b].iter().for_each(|path| std::fs::remove_file(path).unwrap());
}

/// Tables of tunnels alone: there, down, and there with nothing that comes back.
#[test]
fn tunnels_of_other_makers() {
    let cisco = |out: u64, back: u64, spi: &str| {
        format!(
            "R1#show crypto ipsec sa\n\ninterface: GigabitEthernet0/0\n    Crypto map tag: CMAP, local addr 198.51.100.1\n\n   local  ident (addr/mask/prot/port): (10.1.0.0/255.255.0.0/0/0)\n   remote ident (addr/mask/prot/port): (10.2.0.0/255.255.0.0/0/0)\n   current_peer 203.0.113.2 port 500\n    #pkts encaps: {out}, #pkts encrypt: {out}, #pkts digest: {out}\n    #pkts decaps: {back}, #pkts decrypt: {back}, #pkts verify: {back}\n     current outbound spi: {spi}\n"
        )
    };
    let flow = |state: &str, out: u64, back: u64| {
        format!(
            "admin@pa> show vpn flow tunnel-id 1\n\ntunnel  to-hq\n        type:                   IPSec\n        local ip:               198.51.100.1\n        peer ip:                203.0.113.2\n        state:                  {state}\n        encap packets:          {out}\n        decap packets:          {back}\n"
        )
    };
    let forti = |rest: &str, sa: u8| {
        format!(
            "fgt # diagnose vpn tunnel list\nlist all ipsec tunnel in vd 0\nname=hq ver=1 serial=2 198.51.100.1:0->203.0.113.2:0 dst_mtu=1500\nstat: {rest}\nproxyid=hq proto=0 sa={sa} ref=2 serial=1\n"
        )
    };
    let xfrm = |from: u8, to: u8, packets: u32| {
        format!(
            "src 192.0.2.{from} dst 192.0.2.{to}\n\tproto esp spi 0xc1000000(3238002688) reqid 1(0x00000001) mode tunnel\n\tlifetime current:\n\t  {}(bytes), {packets}(packets)\n",
            packets * 84
        )
    };
    assert_eq!(one(&cisco(900, 800, "0x4A9B2B3C(1251683132)")), (Fine, None));
    assert_eq!(one(&cisco(900, 0, "0x4A9B2B3C(1251683132)")), (Warning, Some("NATT")));
    assert_eq!(one(&cisco(0, 0, "0x0(0)")), (Warning, Some("NOT_STARTED")));
    assert_eq!(one(&flow("active", 900, 800)), (Fine, None));
    assert_eq!(one(&flow("active", 900, 0)), (Warning, Some("NATT")));
    assert_eq!(one(&flow("init", 0, 0)), (Warning, Some("NOT_STARTED")));
    assert_eq!(one(&forti("rxp=44 txp=44 rxb=0 txb=2464", 1)), (Fine, None));
    assert_eq!(one(&forti("rxp=0 txp=44 rxb=0 txb=2464", 1)), (Warning, Some("NATT")));
    assert_eq!(one(&forti("rxp=0 txp=0 rxb=0 txb=0", 0)), (Warning, Some("NOT_STARTED")));
    let two = verdicts(&["# ip -s xfrm state\n", &xfrm(1, 2, 30), &xfrm(2, 1, 0)].concat());
    assert_eq!(two.iter().filter(|found| **found == (Warning, Some("NATT"))).count(), 1, "{two:?}");
    let two = verdicts(&["# ip -s xfrm state\n", &xfrm(1, 2, 30), &xfrm(2, 1, 30)].concat());
    assert!(two.iter().all(|(severity, _)| *severity <= Info), "{two:?}");
    // A tunnel that is renewed in its time, and one that never gets so far.
    let table = |second: u64, every: u64| {
        format!(
            "# t={} ms\nGwID/client IP  TnID   Peer-Address           Tunnel(Gateway)    Algorithm          SPI(in)  SPI(out) life(Sec/KB)             remain-time(Sec)\n1               1      203.0.113.2            to-hq(gw-hq)       ESP/A256/SHA256    {:08X} {:08X} 3600/Unlimited           {}\nShow IPSec SA: Total 1 tunnels found. 1 ipsec sa found.\n",
            second * 1000,
            second / every,
            second / every,
            3600 - second % every
        )
    };
    let series = |every: u64| (0..40).map(|n| table(n * 60, every)).collect::<String>();
    assert_eq!(one(&series(150)).0, Error);
    let slow: String = (0..40).map(|n| table(n * 600, 3300)).collect();
    assert!(one(&slow).0 <= Info, "{:?}", one(&slow));
}
