//! Whole logs, as operators paste them: cut, interleaved, wrapped, backwards.

use super::{first, report, worst};
use crate::{Finding, Severity};

fn bad(text: &str) -> Vec<Finding> {
    report(text).findings.into_iter().filter(|finding| finding.severity > Severity::Info).collect()
}

#[test]
fn words_that_had_no_meaning_have_one() {
    let established = "Phase 1 established : 10.9.0.1[500] -> 10.9.0.2[500]\n";
    for (name, text, expected) in [
        ("queue", "INFO: IPsec-SA request for 10.1.1.2 queued due to no phase1 found.\nERROR: phase2 negotiation failed due to time up waiting for phase1. ESP 10.1.1.2[0]->10.1.1.1[0]\n".to_string(), "P1_TIMEOUT"),
        ("events, dead", format!("{established}Peer not reachable anymore\n"), "DPD_TIMEOUT"),
        ("events, proposal", "Peer failed phase 1 initiation (proposal problem?)\n".into(), "P1_PROPOSAL"),
        ("bind", "ERROR: failed to bind to address 10.0.0.1[500] (Address already in use).\n".into(), "NOT_STARTED"),
        ("ios", "Oct  4 07:11:12.123: %CRYPTO-4-IKMP_BAD_MESSAGE: IKE message from 203.0.113.9   failed its sanity check or is malformed\n".into(), "PSK_MISMATCH"),
        ("asa", "Oct 04 2025 07:11:12 asa1 : %ASA-5-713257: Phase 1 failure:  Mismatched attribute types for class Group Description:  Rcv'd: Group 2  Cfg'd: Group 5\n".into(), "P1_PROPOSAL"),
        ("pluto, kernel", "\"w\" #1: initiator established IKE SA; authenticated peer\n\"w\" #2: ERROR: netlink response for Add SA esp.1234@192.0.2.7 included errno 22: Invalid argument\n".into(), "CHILD_FAILED_IKE_KEPT"),
        ("pluto, private key", "\"w\" #1: Can't find the private key from the NSS CERT (err -8177)\n".into(), "AUTH_FAILED"),
        ("pluto, key length", "\"w\" #1: responding to Main Mode\n\"w\" #1: IPsec encryption transform did not specify required KEY_LENGTH\n".into(), "ENC_ALG"),
        ("tmm, child", "v2 192.0.2.1%0-198.51.100.1%0 [0xb9-0x92][I] [PROTO_ERR]: received Notify type NO_PROPOSAL_CHOSEN, failed establishing child_sa\n".into(), "CHILD_FAILED_IKE_KEPT"),
        ("radius", "07[IKE] 203.0.113.80 is initiating an IKE_SA\n09[CFG] RADIUS Access-Request timed out after 4 attempts\n".into(), "AUTH_FAILED"),
        ("spi", format!("{established}{}", "[10.9.0.2] ERROR: notification INVALID-SPI received in informational exchange.\n".repeat(3)), "STALE_SA"),
    ] {
        assert_eq!(first(&text).1, expected, "{name}: {:?}", report(&text).findings);
        assert!(first(&text).0 >= Severity::Warning, "{name}");
    }
}

#[test]
fn an_end_alone_is_told_too() {
    let text = "[IKE] deleting IKE_SA gw[2] between 198.51.100.1[a]...203.0.113.5[b]
[IKE] sending DELETE for IKE_SA gw[2]
[NET] sending packet: from 198.51.100.1[500] to 203.0.113.5[500] (108 bytes)
";
    let found = report(text).findings;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].severity, found[0].peer.as_str()), (Severity::Info, "198.51.100.1 -> 203.0.113.5"));
    assert!(found[0].why.contains("has ended"), "{}", found[0].why);
}

/// `swanctl --initiate` prints its conclusion by another channel than the log: in a file it may come first.
#[test]
fn what_swanctl_prints_at_the_end_is_no_peer_of_its_own() {
    let text = "initiate failed: establishing CHILD_SA 'net' failed
[IKE] initiating IKE_SA gw[1] to 203.0.113.5
[NET] sending packet: from 198.51.100.1[500] to 203.0.113.5[500] (464 bytes)
[ENC] parsed IKE_SA_INIT response 0 [ SA KE No ]
[ENC] generating IKE_AUTH request 1 [ IDi AUTH SA TSi TSr ]
[ENC] parsed IKE_AUTH response 1 [ N(AUTH_FAILED) ]
[IKE] received AUTHENTICATION_FAILED notify error
";
    let found = report(text).findings;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].severity, found[0].causes[0].code()), (Severity::Error, "AUTH_FAILED"));
}

#[test]
fn charon_s_older_words_and_those_about_users_and_pools() {
    let begun = "07[IKE] 203.0.113.5 is initiating an IKE_SA\n";
    let initiates = "07[IKE] initiating IKE_SA a[1] to 203.0.113.5\n";
    let up = "07[IKE] IKE_SA a[1] established between 198.51.100.1[a]...203.0.113.5[b]\n";
    for (name, text, expected) in [
        (
            "word",
            format!("{up}07[IKE] traffic selectors 10.1.0.0/24 === 10.2.0.0/24  inacceptable\n"),
            "TRAFFIC_SELECTOR",
        ),
        (
            "own key",
            format!("{begun}07[IKE] authentication of 'gw.example' (myself) with RSA signature failed\n"),
            "AUTH_FAILED",
        ),
        (
            "method",
            format!(
                "{initiates}07[IKE] EAP method not supported, sending EAP_NAK\n07[IKE] giving up after 5 retransmits\n"
            ),
            "AUTH_FAILED",
        ),
        ("password", format!("{begun}07[IKE] EAP-MS-CHAPv2 verification failed, retry (1)\n"), "AUTH_FAILED"),
        (
            "pool",
            format!(
                "{begun}{up}07[CFG] pool 'rw' is full, unable to assign address\n07[IKE] configuration payload negotiation failed, no CHILD_SA built\n"
            ),
            "CHILD_FAILED_IKE_KEPT",
        ),
        ("another name", "07[CFG] no config named 'nope'\n".into(), "NOT_STARTED"),
    ] {
        assert_eq!(first(&text), (Severity::Error, expected), "{name}: {:?}", report(&text).findings);
    }
}

#[test]
fn events_without_times_do_not_tell_a_renewal_from_a_replacement() {
    let each =
        "Phase 1 established : 10.9.0.1[500] -> 10.9.0.2[500]\nPhase 2 established : 10.9.0.1[500] -> 10.9.0.2[500]\n";
    let found = report(&each.repeat(8)).findings;
    assert_eq!((found.len(), found[0].severity, found[0].peer.as_str()), (1, Severity::Info, "10.9.0.1 -> 10.9.0.2"));
    assert!(found[0].why.contains("have no time"), "{found:?}");
}

#[test]
fn deletions_by_the_peer_count_without_times() {
    let one = "Phase 1 established : 10.9.0.1[500] -> 10.9.0.2[500]\nEvent 262: 10.9.0.1[500] -> 10.9.0.2[500]\nPhase 1 deleted : 10.9.0.1[500] -> 10.9.0.2[500]\n";
    assert_eq!(first(&one.repeat(6)), (Severity::Warning, "PEER_DELETE"));
    assert_eq!(bad(one), []);
}

#[test]
fn an_spi_of_the_responder_is_an_answer() {
    let over = |spi: &str| {
        format!(
            "[IKE] v2 192.0.2.1%0-198.51.100.2%0 [0x3d2a000100000001-0x{spi}][I] [PROTO_ERR]: retransmission count exceeded the limit\n"
        )
    };
    assert_eq!(first(&over("0000000000000000")).1, "NO_RESPONSE");
    assert_eq!(first(&over("1111000000000000")).1, "NATT");
}

#[test]
fn a_peer_whose_packet_it_was_is_no_unknown_peer() {
    let of = |peer: &str, what: &str| {
        format!(
            "received packet: from {peer}[4500] to 198.51.100.4[4500] (272 bytes)\nlooking for peer configs matching 198.51.100.4[hub]...{peer}[a]\n{what}\n"
        )
    };
    let text = "IKE_SA b[1] established between 198.51.100.4[hub]...203.0.113.7[b]\n".to_string()
        + &of("203.0.113.80", "no shared key found for 'hub' - 'a'");
    let found = bad(&text);
    assert_eq!((found.len(), found[0].peer.as_str()), (1, "198.51.100.4 -> 203.0.113.80"), "{found:?}");
}

#[test]
fn a_child_sa_is_not_helped_by_another() {
    let up = "08[IKE] IKE_SA s[1] established between 192.0.2.5[a]...192.0.2.77[b]\n";
    let child = |name: &str, number: u32, net: u32| {
        format!(
            "08[IKE] establishing CHILD_SA {name}{{{number}}}\n08[IKE] CHILD_SA {name}{{{number}}} established with SPIs c_i d_o and TS 10.0.0.0/24 === 10.{net}.0.0/24\n"
        )
    };
    let refused = "08[IKE] establishing CHILD_SA net2{2}\n09[IKE] received TS_UNACCEPTABLE notify, no CHILD_SA built\n09[IKE] failed to establish CHILD_SA, keeping IKE_SA\n";
    let text = format!("{up}{}{refused}{}", child("net1", 1, 1), child("net1", 3, 1));
    let found = bad(&text);
    assert_eq!((found.len(), found[0].causes[0].code()), (1, "TRAFFIC_SELECTOR"), "{found:?}");
    assert!(found[0].why.contains("one of its Child SAs"), "{found:?}");
    assert_eq!(bad(&format!("{text}{}", child("net2", 4, 2))), []);
    // At the responder there are no names, and what is put right has other networks.
    let unfit = "09[IKE] traffic selectors 10.0.0.0/24 === 10.9.0.0/16 unacceptable\n";
    assert_eq!(bad(&format!("{up}{unfit}{}", child("net1", 1, 1))), []);
    assert_eq!(bad(&format!("{up}{}{unfit}{}", child("net1", 1, 1), child("net1", 2, 1))).len(), 1);
    // What worked and is refused when it is renewed.
    let again = "10[IKE] establishing CHILD_SA net1{2} reqid 1\n11[IKE] received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built\n";
    assert_eq!(first(&format!("{up}{}{again}", child("net1", 1, 1))).1, "PFS");
    let other = again.replace("net1{2} reqid 1", "net2{2}");
    assert_eq!(first(&format!("{up}{}{other}", child("net1", 1, 1))).1, "CHILD_FAILED_IKE_KEPT");
}

#[test]
fn the_nearest_transform_says_what_to_change() {
    let rejected = |what: &str, transform: u32| {
        format!("ERROR: rejected {what}: DB(prop#1:trns#1):Peer(prop#0:trns#{transform}) = A:B\n")
    };
    let text = "INFO: respond new phase 1 negotiation: 10.1.1.1[500]<=>10.1.1.2[500]\n".to_string()
        + &rejected("enctype", 1)
        + &rejected("hashtype", 1)
        + &rejected("hashtype", 2)
        + "ERROR: no suitable proposal found.\n";
    assert_eq!(first(&text).1, "AUTH_ALG");
    let remedy = &report(&text).findings[0].remedy[0];
    assert!(remedy.contains("this end has A, the peer B") && remedy.contains("hash_algorithm"), "{remedy}");
}

#[test]
fn remedies_name_what_both_ends_have() {
    let text = "INFO: ISAKMP-SA established 10.1.1.1[500]-10.1.1.2[500] spi:0102030405060708:1112131415161718\nERROR: pfs group mismatched: my:14 peer:2\n";
    let found = bad(text);
    assert!(found[0].remedy[0].contains("this end has 14, the peer 2 (pfs_group"), "{found:?}");
    let text =
        "INFO: respond new phase 1 negotiation: 10.1.1.1[500]<=>10.1.1.2[500]\nERROR: no suitable proposal found.\n";
    assert!(!bad(text)[0].remedy[0].contains("the responder's log"), "{:?}", bad(text));
}

#[test]
fn answers_that_do_not_arrive_are_repeated() {
    let begun = "2025-05-05 10:00:00: INFO: respond new phase 1 negotiation: 10.1.1.1[500]<=>10.1.1.2[500]\n";
    let again = "2025-05-05 10:00:10: [10.1.1.2] NOTIFY: the packet is retransmitted by 10.1.1.2[500] (1).\n";
    let over =
        "2025-05-05 10:00:50: ERROR: phase1 negotiation failed due to time up. 0102030405060708:1112131415161718\n";
    assert_eq!(first(&format!("{begun}{}{over}", again.repeat(3))).1, "NO_RESPONSE");
    assert_eq!(first(&format!("{begun}{over}")).1, "HALF_OPEN");
}

#[test]
fn two_with_one_identity_put_each_other_out() {
    let one = |n: u32| {
        let from = ["203.0.113.10", "198.51.100.20"][n as usize % 2];
        let kick = format!(
            "08[IKE] deleting duplicate IKE_SA for peer 'branch@x' due to uniqueness policy\n08[IKE] deleting IKE_SA branch[{n}] between 192.0.2.1[hub]...192.0.2.9[branch@x]\n"
        );
        format!(
            "07[IKE] {from} is initiating an IKE_SA\n{}08[IKE] IKE_SA branch[{}] established between 192.0.2.1[hub]...{from}[branch@x]\n",
            if n > 0 { kick } else { String::new() },
            n + 1
        )
    };
    let found = bad(&(0..6).map(one).collect::<String>());
    assert_eq!(found.len(), 2, "{found:?}");
    for finding in &found {
        assert_eq!(finding.causes[0].code(), "COLLISION");
        assert!(finding.remedy[0].contains("uniqueids = never"), "{finding:?}");
        assert!(
            finding
                .evidence
                .iter()
                .any(|line| line.contains("203.0.113.10 and") || line.contains("and 192.0.2.1 -> 203")),
            "{finding:?}"
        );
    }
    // Once is a peer that moved.
    assert!(bad(&(0..2).map(one).collect::<String>()).is_empty());
}

#[test]
fn carriers_are_opened() {
    let line = |n: u64, text: &str| {
        format!(
            "{{\"__REALTIME_TIMESTAMP\":\"{}\",\"SYSLOG_IDENTIFIER\":\"charon\",\"MESSAGE\":\"{text}\"}}\n",
            1_759_561_872_000_000 + n * 60_000_000
        )
    };
    let up = |n: u64| {
        line(n, &format!("13[IKE] initiating IKE_SA s[{n}] to 192.0.2.77"))
            + &line(n, &format!("13[IKE] IKE_SA s[{n}] established between 192.0.2.5[a]...192.0.2.77[b]"))
    };
    let found = bad(&(0..6).map(up).collect::<String>());
    assert_eq!((found.len(), found[0].id), (1, "flapping"), "{found:?}");
    assert!(found[0].why.contains("about every 60 s"), "{found:?}");
    let secret = line(0, "13[IKE] MAC mismatched \\\"a\\\" psk=\\\"correct horse\\\"");
    let shown = format!("{:?}", report(&secret).findings);
    assert!(shown.contains("MAC mismatched") && !shown.contains("horse"), "{shown}");
    let exported = "__REALTIME_TIMESTAMP=1759561872123456\nMESSAGE=13[IKE] tried 1 shared key for 'hub' - 'a', but MAC mismatched\n";
    assert_eq!(first(exported).1, "PSK_MISMATCH");
}

#[test]
fn the_newest_line_may_come_first() {
    let text = "Oct 04 07:15:12 gw charon: 08[IKE] IKE_SA x[3] established between 198.51.100.4[hub]...192.0.2.9[b]\n\
                Oct 04 07:15:12 gw charon: 07[IKE] initiating IKE_SA x[3] to 192.0.2.9\n\
                Oct 04 07:12:12 gw charon: 08[IKE] received AUTHENTICATION_FAILED notify error\n\
                Oct 04 07:12:12 gw charon: 07[IKE] initiating IKE_SA x[2] to 192.0.2.9\n";
    assert_eq!(bad(text), []);
    let refused: String = text.lines().skip(2).map(|line| format!("{line}\n")).collect();
    let late = "Oct 04 07:16:12 gw charon: 08[IKE] received AUTHENTICATION_FAILED notify error\n\
                Oct 04 07:16:11 gw charon: 07[IKE] initiating IKE_SA x[4] to 192.0.2.9\n";
    let found = bad(&format!("{late}{refused}"));
    assert!(found[0].evidence.iter().any(|line| line.starts_with("line 3 (2 times)")), "{found:?}");
}

#[test]
fn lines_may_end_as_on_an_old_macintosh() {
    let text =
        "07[IKE] initiating IKE_SA x[1] to 192.0.2.9\r08[IKE] tried 1 shared key for 'a' - 'b', but MAC mismatched\r";
    assert_eq!(first(text).1, "PSK_MISMATCH");
    assert_eq!(report(text).lines, 2);
}

#[test]
fn an_operator_s_work_is_no_flapping() {
    let charon = |n: u32| {
        format!(
            "Nov 24 01:{n:02}:00 gw charon: 06[IKE] initiating IKE_SA v2[{n}] to 10.9.0.2\nNov 24 01:{n:02}:01 gw charon: 06[IKE] IKE_SA v2[{n}] established between 10.9.0.1[a]...10.9.0.2[b]\nNov 24 01:{n:02}:03 gw charon: 07[IKE] deleting IKE_SA v2[{n}] between 10.9.0.1[a]...10.9.0.2[b]\n"
        )
    };
    assert_eq!(bad(&(0..6).map(charon).collect::<String>()), []);
    let users = |n: u32| {
        format!(
            "Nov 24 01:{n:02}:00 gw charon: 06[IKE] 203.0.113.50 is initiating an IKE_SA\nNov 24 01:{n:02}:01 gw charon: 06[IKE] IKE_SA rw[{n}] established between 192.0.2.5[gw]...203.0.113.50[user{n}]\n"
        )
    };
    assert_eq!(bad(&(0..20).map(users).collect::<String>()), []);
    // One that comes in again and again is one that flaps.
    let same = |n: u32| users(n).replace(&format!("user{n}"), "site");
    let same: String = (0..20).map(same).collect();
    assert_eq!(worst(&same).0, Severity::Error, "{same}");
}

#[test]
fn a_log_that_is_cut_has_one_finding_for_a_peer() {
    let charon = "09[IKE] <site|1> received DELETE for IKE_SA site[1]\n\
                  09[IKE] <site|1> deleting IKE_SA site[1] between 192.0.2.1[hub]...198.51.100.7[site]\n";
    let racoon = "INFO: purging ISAKMP-SA spi=0000000000000001:0000000000001001.\n\
                  INFO: ISAKMP-SA deleted 192.0.2.1[500]-198.51.100.7[500] spi:0000000000000001:0000000000001001\n";
    for text in [charon, racoon] {
        let found = report(text).findings;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].peer.contains("198.51.100.7"), "{found:?}");
    }
    let alive = "10[IKE] retransmit 1 of request with message ID 13\n10[NET] sending packet: from 192.0.2.1[4500] to 198.51.100.7[4500] (80 bytes)\n";
    let found = report(alive).findings;
    assert_eq!((found.len(), found[0].severity), (1, Severity::Ok), "{found:?}");
}

#[test]
fn of_two_attempts_the_older_one_is_given_up() {
    let begun = |peer: &str| format!("INFO: initiate new phase 1 negotiation: 192.0.2.1[500]<=>{peer}[500]\n");
    let over = "ERROR: phase1 negotiation failed due to time up. 0102030405060708:0000000000000000\n";
    let up = "INFO: ISAKMP-SA established 192.0.2.1[500]-203.0.113.9[500] spi:0102030405060709:1112131415161718\n";
    let found = bad(&format!("{}{}{over}{up}", begun("198.51.100.7"), begun("203.0.113.9")));
    assert_eq!((found.len(), found[0].peer.as_str()), (1, "192.0.2.1 -> 198.51.100.7"), "{found:?}");
    // A dead peer is named by its cookies.
    let other = up.replace("203.0.113.9", "198.51.100.7").replace("0709:", "0710:");
    let dead = "INFO: DPD: remote (ISAKMP-SA spi=0102030405060709:1112131415161718) seems to be dead.\n";
    let found = bad(&format!("{up}{other}{dead}"));
    assert_eq!((found.len(), found[0].peer.as_str()), (1, "192.0.2.1 -> 203.0.113.9"), "{found:?}");
}

#[test]
fn a_quick_mode_without_an_answer_is_no_dead_peer() {
    let up = "08[IKE] IKE_SA v1[1] established between 192.0.2.1[a]...198.51.100.7[b]\n";
    let quick = "08[ENC] generating QUICK_MODE request 3456789 [ HASH SA No ID ID ]\n";
    let child = "08[IKE] CHILD_SA n{1} established with SPIs c_i d_o and TS 10.0.0.0/24 === 10.1.0.0/24\n";
    let over = "08[IKE] sending retransmit 5 of request message ID 3456789, seq 4\n08[NET] sending packet: from 192.0.2.1[500] to 198.51.100.7[500] (180 bytes)\n13[IKE] giving up after 5 retransmits\n";
    assert_eq!(first(&format!("{up}{quick}{over}")).1, "P2_TIMEOUT");
    assert_eq!(first(&format!("{up}{quick}{child}{over}")).1, "DPD_TIMEOUT");
}

#[test]
fn a_group_that_is_asked_for_in_vain_is_what_differs() {
    let text = "05[IKE] initiating IKE_SA s[1] to 198.51.100.7\n06[IKE] peer didn't accept key exchange method CURVE_25519, it requested MODP_1024\n";
    assert_eq!(first(text).1, "DH_GROUP");
    let remedy = &report(text).findings[0].remedy[0];
    assert!(remedy.contains("this end has CURVE_25519, the peer MODP_1024 (proposals in swanctl.conf)"), "{remedy}");
    assert_eq!(
        worst(&format!("{text}06[CFG] configured DH group MODP_1024 not supported\n")),
        (Severity::Error, vec!["DH_GROUP"])
    );
}

/// Of the texts that racoon and racoon2 have, those that say a cause.
#[test]
fn what_racoon_can_print_is_known() {
    for (lines, code) in [
        ("/etc/racoon/psk.txt has weak file permission|psk.txt has invalid owner uid", "PSK_MISMATCH"),
        ("ID mismatched.|peer ID type FQDN is not acceptable|unexpected rmconf switch; killing ph1", "PEER_ID"),
        (
            "no peer's CERT file found.|no SIG payload was passed.|failed to get own CERT.|Xauth reply but peer did not declare itself as Xauth capable|auth method 65001 isn't supported.|pam_authenticate failed: x|rad_send_request returned 3",
            "AUTH_FAILED",
        ),
        ("mismatched ID was returned.|no outbound policy found: 10.0.0.0/8[0]", "TRAFFIC_SELECTOR"),
        (
            "sec ctx string mismatched: my:a peer:b|No more addresses available|proposal check failed.",
            "CHILD_FAILED_IKE_KEPT",
        ),
        ("Commit bit on phase1 forbidden.", "COMMIT_BIT"),
        ("encryption algorithm 7 isn't supported.|invalied encryption algorithm=9.", "ENC_ALG"),
        ("invalied hash algorithm=9.", "AUTH_ALG"),
        ("dh group 99 isn't supported.|configuration failure about DH group.|unsupported DH group type 9.", "DH_GROUP"),
        (
            "received IKEv1 request but no IKEv1 configuration for peer 10.9.0.1|unsupported isakmp version 2.0.",
            "IKE_VERSION",
        ),
        ("Invalid exchange type 9 from 10.9.0.1[500].", "NEGOTIATION_MODE"),
        ("mode config 6 from 10.9.0.1[500], but we have no ISAKMP-SA.", "STALE_SA"),
    ] {
        for line in lines.split('|') {
            let text = format!("2026-11-24 00:52:03: [10.9.0.1] ERROR: {line}\n");
            assert_eq!(first(&text).1, code, "{line}: {:?}", report(&text).findings);
        }
    }
}

#[test]
fn users_that_roam_and_sleep_are_in_order() {
    let at = |minute: u32| format!("Nov 24 {:02}:{:02}:00 gw charon:", minute / 60, minute % 60);
    // From address to address, each time another one, or back after hours.
    let hop = |n: u32| {
        let (from, at) = (["203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4"][n as usize % 4], at(n * 45));
        format!(
            "{at} 07[IKE] {from} is initiating an IKE_SA\n{at} 08[IKE] deleting duplicate IKE_SA for peer 'phone@x' due to uniqueness policy\n\
             {at} 08[IKE] IKE_SA rw[{n}] established between 192.0.2.1[hub]...{from}[phone@x]\n"
        )
    };
    assert_eq!(bad(&(0..12).map(hop).collect::<String>()), []);
    let sleeps = |n: u32| {
        let (begins, lost) = (at(n * 50), at(n * 50 + 40));
        format!(
            "{begins} 07[IKE] 203.0.113.1 is initiating an IKE_SA\n\
             {begins} 08[IKE] IKE_SA rw[{n}] established between 192.0.2.1[hub]...203.0.113.1[laptop@x]\n\
             {lost} 09[IKE] giving up after 5 retransmits\n"
        )
    };
    let awake = sleeps(4).lines().take(2).map(|line| format!("{line}\n")).collect::<String>();
    assert_eq!(bad(&((0..4).map(sleeps).collect::<String>() + &awake)), []);
    assert_eq!(first(&(0..8).map(sleeps).collect::<String>()), (Severity::Error, "DPD_TIMEOUT"));
}

#[test]
fn pluto_renews_what_it_replaces() {
    let one = |n: u32| {
        let replaces = if n > 0 { format!(" to replace #{n}") } else { String::new() };
        format!(
            "Nov 24 01:{n:02}:00 w pluto[1]: \"w\" #{a}: initiating Main Mode{replaces}\nNov 24 01:{n:02}:01 w pluto[1]: \"w\" #{a}: IKE SA established {{auth=PRESHARED_KEY cipher=AES_CBC_256}}\n",
            a = n + 1
        )
    };
    let text: String = (0..9).map(one).collect();
    assert_eq!(bad(&text), []);
    let anew: String =
        text.lines().map(|line| format!("{}\n", line.split(" to replace").next().unwrap_or(line))).collect();
    assert_eq!(worst(&anew).0, Severity::Error);
}

#[test]
fn a_log_that_begins_with_phase_2_is_about_phase_2() {
    let pluto = "\"c\" #3: STATE_QUICK_I1: retransmission; will wait 1 seconds for response\n\"c\" #1: ignoring informational payload INVALID_ID_INFORMATION, msgid=00000000, length=16\n";
    let quick = "05[ENC] generating QUICK_MODE request 991 [ HASH SA No ID ID ]\n05[ENC] parsed INFORMATIONAL_V1 request 55 [ HASH N(NO_PROP) ]\n05[IKE] received NO_PROPOSAL_CHOSEN error notify\n";
    let again = "05[IKE] received retransmit of request with ID 3273425349, but no response to retransmit\n05[IKE] no matching proposal found, sending NO_PROPOSAL_CHOSEN\n";
    let created = "05[IKE] establishing CHILD_SA n{2} reqid 1\n05[ENC] generating CREATE_CHILD_SA request 22 [ N(REKEY_SA) SA No KE TSi TSr ]\n05[ENC] parsed CREATE_CHILD_SA response 22 [ N(NO_PROP) ]\n";
    let racoon = "INFO: respond new phase 2 negotiation: 10.1.1.1[500]<=>10.1.1.2[500]\nERROR: no suitable policy found.\n[10.1.1.2] ERROR: no proposal chosen.\n";
    for (text, cause) in [
        (pluto, "TRAFFIC_SELECTOR"),
        (quick, "CHILD_FAILED_IKE_KEPT"),
        (again, "CHILD_FAILED_IKE_KEPT"),
        (created, "CHILD_FAILED_IKE_KEPT"),
        (racoon, "CHILD_FAILED_IKE_KEPT"),
    ] {
        let found = bad(text);
        assert_eq!((found[0].id, found[0].causes[0].code()), ("no-phase-2", cause), "{text}");
    }
    // The refusal may come first, and what is sent says to whom.
    let refused = "[10.1.1.2] ERROR: no proposal chosen.\n";
    let found = bad(&format!("{refused}{racoon}"));
    assert_eq!((found.len(), found[0].causes[0].code()), (1, "CHILD_FAILED_IKE_KEPT"), "{found:?}");
    let sent = "05[NET] sending packet: from 192.0.2.5[4500] to 192.0.2.7[4500] (80 bytes)\n05[ENC] parsed";
    let found = report(&created.replace("05[ENC] parsed", sent)).findings;
    assert_eq!((found.len(), found[0].peer.as_str(), found[0].id), (1, "192.0.2.5 -> 192.0.2.7", "no-phase-2"));
    // Quick mode alone is nothing wrong.
    assert!(bad("05[ENC] parsed QUICK_MODE request 991 [ HASH SA No ID ID ]\n").is_empty());
}

#[test]
fn repetitions_say_how_far_an_attempt_is_that_began_before_the_log() {
    let over =
        |cookies: &str| format!("2025-05-05 10:00:50: ERROR: phase1 negotiation failed due to time up. {cookies}\n");
    assert_eq!(first(&over("0102030405060708:0000000000000000")).1, "NO_RESPONSE");
    assert_eq!(first(&over("0102030405060708:1112131415161718")).1, "PSK_MISMATCH");
    let again = "2025-05-05 10:00:10: NOTIFY: the packet is retransmitted by 10.1.1.2[500] (1).\n".repeat(3);
    assert_eq!(first(&again).1, "P1_TIMEOUT");
    let charon = |line: &str| first(&format!("05[IKE] {line}\n").repeat(3)).1;
    assert_eq!(charon("sending retransmit 1 of request message ID 0, seq 1"), "NO_RESPONSE");
    assert_eq!(charon("sending retransmit 1 of request message ID 0, seq 3"), "PSK_MISMATCH");
    assert_eq!(charon("sending retransmit 1 of response message ID 0, seq 2"), "PSK_MISMATCH");
    assert_eq!(charon("received retransmit of request with ID 0, retransmitting response"), "NO_RESPONSE");
    let quick =
        "05[IKE] sending retransmit 1 of request message ID 3271234567, seq 4\n05[IKE] giving up after 5 retransmits\n";
    assert_eq!(first(quick).1, "P2_TIMEOUT");
}

#[test]
fn lines_that_name_a_fault_which_follows_from_no_other() {
    let aggressive = "05[ENC] parsed AGGRESSIVE request 0 [ SA KE No ID V V ]\n05[IKE] Aggressive Mode PSK disabled for security reasons\n05[ENC] generating INFORMATIONAL_V1 request 2323 [ N(AUTH_FAILED) ]\n";
    assert_eq!(first(aggressive).1, "NEGOTIATION_MODE");
    let pfs = "\"c\" #1: IKE SA established {auth=PRESHARED_KEY}\n\"c\" #2: we require PFS but Quick I1 SA specifies no GROUP_DESCRIPTION\n\"c\" #2: sending encrypted notification NO_PROPOSAL_CHOSEN to 198.51.100.7:500\n";
    assert_eq!(first(pfs).1, "PFS");
    assert_eq!(first("05[IKE] no EAP key found for hosts 'gw' - 'carol'\n").1, "AUTH_FAILED");
    let identity = "05[IKE] 192.0.2.7 is initiating a Main Mode IKE_SA\n05[IKE] no peer config found\n05[ENC] generating INFORMATIONAL_V1 request 77 [ HASH N(AUTH_FAILED) ]\n";
    assert_eq!(first(identity).1, "PEER_ID");
}

#[test]
fn another_group_that_the_peer_wants_for_a_child_sa_is_pfs() {
    let text = "05[ENC] generating CREATE_CHILD_SA request 22 [ N(REKEY_SA) SA No KE TSi TSr ]\n05[ENC] parsed CREATE_CHILD_SA response 22 [ N(INVAL_KE) ]\n05[IKE] peer didn't accept DH group MODP_2048, it requested MODP_1024\n05[IKE] failed to establish CHILD_SA, keeping IKE_SA\n";
    assert_eq!(first(text).1, "PFS");
    // Another attempt succeeds: as it should be.
    let kept = text.replace(
        "failed to establish CHILD_SA, keeping IKE_SA",
        "CHILD_SA n{2} established with SPIs c_i d_o and TS 10.8.1.0/24 === 10.8.2.0/24",
    );
    assert!(bad(&kept).is_empty());
}

#[test]
fn what_tmm_gives_up_may_have_been_established() {
    let text = "info tmm[1]: 017c0000  [0.0] [IKE] v2 192.0.2.1%0-198.51.100.1%0 [0xb9-0x92][I] [PROTO_ERR]: retransmission count exceeded the limit\n";
    assert!(bad(text)[0].causes.contains(&crate::Cause::DpdTimeout));
    assert!(!bad(&text.replace("0x92", "0x0"))[0].causes.contains(&crate::Cause::DpdTimeout));
}

#[test]
fn child_sas_that_the_peer_deletes_again_and_again() {
    let up = "Nov 24 01:00:00 gw charon: 07[IKE] IKE_SA s[1] established between 10.9.0.1[a]...10.9.0.2[b]\n";
    let networks = "TS 10.8.1.0/24 === 10.8.2.0/24";
    let one = |n: u32, every: u32, renewed: bool| {
        let at = |second: u32| format!("Nov 24 01:{:02}:{:02} gw charon: 07[IKE] ", second / 60 % 60, second % 60);
        let (begin, end) = (at(n * every), at(n * every + every - 1));
        let made = |number: u32| format!("CHILD_SA s{{{number}}} established with SPIs c_i d_o and {networks}\n");
        let next = if renewed { format!("{end}{}", made(n + 1)) } else { String::new() };
        let first = if renewed && n > 0 { String::new() } else { format!("{begin}{}", made(n)) };
        format!(
            "{first}{next}{end}received DELETE for ESP CHILD_SA with SPI d\n{end}closing CHILD_SA s{{{n}}} with SPIs c_i (0 bytes) d_o (0 bytes) and {networks}\n"
        )
    };
    let log = |every, times, renewed| up.to_string() + &(0..times).map(|n| one(n, every, renewed)).collect::<String>();
    assert_eq!(first(&log(20, 8, false)), (Severity::Warning, "PEER_DELETE"));
    // By us, whom the peer answers in kind.
    let ours = |n: u32| {
        let one = one(n, 20, false);
        let lines: Vec<&str> = one.lines().collect();
        format!("{}\n{}\n{}\n", lines[0], lines[2], lines[1])
    };
    let ours = up.to_string() + &(0..8).map(ours).collect::<String>();
    assert!(bad(&ours)[0].why.contains("this end deletes"), "{:?}", bad(&ours));
    // Renewed, by hand, and when it was idle.
    for healthy in [log(20, 8, true), log(20, 4, false), log(300, 8, false)] {
        assert!(bad(&healthy).is_empty(), "{:?}", bad(&healthy));
    }
}

#[test]
fn a_refusal_that_could_be_decrypted_is_not_about_the_secret() {
    let begun = "11[IKE] initiating Main Mode IKE_SA lab[1] to 192.0.2.2\n11[ENC] parsed ID_PROT response 0 [ KE No NAT-D NAT-D ]\n11[ENC] generating ID_PROT request 0 [ ID HASH N(INITIAL_CONTACT) ]\n";
    let refused = |what: &str| {
        format!(
            "{begun}14[ENC] parsed INFORMATIONAL_V1 request 1072051686 [ {what}N(AUTH_FAILED) ]\n14[IKE] received AUTHENTICATION_FAILED error notify\n"
        )
    };
    let (_, causes) = worst(&refused("HASH "));
    assert!(causes.first() == Some(&"PEER_ID") && !causes.contains(&"PSK_MISMATCH"), "{causes:?}");
    assert_eq!(first(&refused("")).1, "PSK_MISMATCH");
}

/// Times of a log, from midnight on, so many seconds apart.
fn times(every: u32, of: impl Fn(u32, &dyn Fn(u32) -> String) -> String) -> String {
    let stamp = |second: u32| format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
    (0..9).map(|n| of(n, &|more| stamp(n * every + more))).collect()
}

/// Who ends the Child SA, when none takes its place and the IKE SA stays.
#[test]
fn child_sas_that_end_again_and_again() {
    let charon = |every: u32, why: &str, close: &str| {
        let up = "Nov 24 00:00:00 gw charon: 08[IKE] IKE_SA s[1] established between 192.0.2.5[a]...192.0.2.77[b]\n";
        up.to_string()
            + &times(every, |n, at| {
                let line = |more: u32, text: String| format!("Nov 24 {} gw charon: 08[IKE] {text}\n", at(more));
                let before = if why.is_empty() { String::new() } else { line(9, format!("<s|1> {why}")) };
                line(
                    1,
                    format!(
                        "<s|1> CHILD_SA net{{{n}}} established with SPIs c_i d_o and TS 10.1.0.0/24 === 10.2.0.0/24"
                    ),
                ) + &before
                    + &line(
                        10,
                        format!(
                            "<s|1> {close} net{{{n}}} with SPIs c_i (0 bytes) d_o (0 bytes) and TS 10.1.0.0/24 === 10.2.0.0/24"
                        ),
                    )
            })
    };
    let first = |text: &str| {
        let found = bad(text);
        found.first().map(|found| (found.id, found.causes[0].code(), found.why.clone()))
    };
    let told = |text: &str, cause: &str, what: &str| {
        let found = first(text).unwrap_or_else(|| panic!("nothing: {text}"));
        assert_eq!((found.0, found.1), ("no-phase-2", cause), "{text}");
        assert!(found.2.contains(what), "{found:?}");
    };
    told(
        &charon(30, "received DELETE for ESP CHILD_SA with SPI d", "closing CHILD_SA"),
        "PEER_DELETE",
        "the peer deletes",
    );
    told(
        &charon(30, "deleting CHILD_SA after 10 seconds of inactivity", "closing CHILD_SA"),
        "LIFETIME",
        "nothing passes",
    );
    told(&charon(300, "", "closing expired CHILD_SA"), "LIFETIME", "end of its lifetime");
    told(&charon(30, "", "closing CHILD_SA"), "PEER_DELETE", "this end deletes");
    // As it is meant to be, or done by hand.
    assert_eq!(first(&charon(300, "deleting CHILD_SA after 120 seconds of inactivity", "closing CHILD_SA")), None);
    assert_eq!(first(&charon(300, "", "closing CHILD_SA")), None);
    let racoon = |every: u32, ends: &dyn Fn(u32, u32) -> String| {
        let line = |at: String, text: String| format!("2026-11-24 {at}: INFO: {text}\n");
        let up = line(
            "00:00:00".into(),
            "ISAKMP-SA established 10.9.0.1[500]-10.9.0.2[500] spi:0102030405060708:1112131415161718".into(),
        );
        up + &times(every, |n, at| {
            let pair = |from: u32, to: u32, spi: u32| {
                line(
                    at(1),
                    format!(
                        "IPsec-SA established: ESP/Tunnel 10.9.0.{from}[500]->10.9.0.{to}[500] spi={spi}(0x{spi:x})"
                    ),
                )
            };
            pair(2, 1, 1000 + n) + &pair(1, 2, 2000 + n) + &line(at(10), ends(n, 0)) + &line(at(20), ends(n, 1))
        })
    };
    told(
        &racoon(30, &|n, _| format!("purged IPsec-SA proto_id=ESP spi={}.", 2000 + n)),
        "PEER_DELETE",
        "the peer deletes",
    );
    let expired = |n: u32| format!("IPsec-SA expired: ESP/Tunnel 10.9.0.2[500]->10.9.0.1[500] spi={}(0x1)", 1000 + n);
    told(&racoon(120, &|n, _| expired(n)), "LIFETIME", "end of its lifetime");
    // The soft lifetime, and the next pair before the hard one.
    assert_eq!(first(&racoon(120, &|n, half| if half == 0 { expired(n) } else { "something".into() })), None);
    let pluto = |every: u32, text: &dyn Fn(u32) -> String| {
        let up = "Nov 24 00:00:00 gw pluto[9]: \"w\" #1: initiator established IKE SA; authenticated peer 192.0.2.77\n";
        up.to_string()
            + &times(every, |n, at| {
                let line = |more: u32, text: String| format!("Nov 24 {} gw pluto[9]: {text}\n", at(more));
                let child = n + 2;
                line(
                    1,
                    format!(
                        "\"w\" #{child}: initiator established Child SA using #1; IPsec tunnel [10.1.0.0/24===10.2.0.0/24] {{ESP/ESN=>0x1 <0x2}}"
                    ),
                ) + &line(10, text(child))
            })
    };
    told(
        &pluto(30, &|child| format!("\"w\" #1: received Delete SA payload: delete IPsec State #{child} now")),
        "PEER_DELETE",
        "the peer deletes",
    );
    told(
        &pluto(30, &|child| {
            format!("\"w\" #{child}: deleting IPsec SA (ESTABLISHED_CHILD_SA) aged 9s and sending notification")
        }),
        "PEER_DELETE",
        "this end deletes",
    );
    let renewed = |child: u32| {
        format!("\"w\" #{}: deleting IPsec SA (ESTABLISHED_CHILD_SA) aged 30s and sending notification", child - 1)
    };
    assert_eq!(first(&pluto(30, &renewed)), None);
    let iked = |every: u32, other: u32| {
        let up = "Nov 24 00:00:00 gw iked[9]: spi=0x0102030405060708: established peer 192.0.2.77:500[FQDN/b] local 192.0.2.5:500[FQDN/a] policy 'w' as initiator (enc aes-256 auth hmac-sha2-256 group curve25519 prf hmac-sha2-256)\n";
        up.to_string()
            + &times(every, |n, at| {
                let line = |more: u32, text: String| {
                    format!("Nov 24 {} gw iked[9]: spi=0x0102030405060708: {text}\n", at(more))
                };
                line(
                    1,
                    format!(
                        "ikev2_childsa_enable: loaded SPIs: 0x{:08x}, 0x{:08x} (enc aes-256 auth hmac-sha2-256)",
                        16 + n,
                        4096 + n
                    ),
                ) + &line(
                    10,
                    format!(
                        "ikev2_childsa_delete: deleted 2 SPIs: 0x{:08x} 0x{:08x}",
                        16 + n - other,
                        4096 + n - other
                    ),
                )
            })
    };
    told(&iked(30, 0), "PEER_DELETE", "this end deletes");
    assert_eq!(first(&iked(30, 1)), None);
}

/// PAN-OS, Junos and RouterOS have words of their own, and write ports in ways of their own.
#[test]
fn words_of_other_makers() {
    let pan = |text: &str| format!("2026/11/24 01:08:01 info     vpn            gw-hq   ike-neg 0  {text}\n");
    let kmd = |text: &str| format!("Nov 24 01:08:01 srx kmd[1393]: {text}\n");
    let error = |what: &str| {
        kmd(&format!(
            "IKE negotiation failed with error: {what}. IKE Version: 1, VPN: hq Gateway: gw-hq, Local: 198.51.100.1/500, Remote: 203.0.113.2/500, Local IKE-ID: Not-Available, Remote IKE-ID: Not-Available, VR-ID: 0: Role: Initiator"
        ))
    };
    let forti = |what: &str, message: &str, more: &str| {
        format!(
            "date=2026-11-24 time=01:08:01 devname=\"fgt\" type=\"event\" subtype=\"vpn\" level=\"error\" logdesc=\"IPsec {what}\" {message} remip=203.0.113.2 locip=198.51.100.1 remport=500 locport=500 {more}\n"
        )
    };
    let ends = "198.51.100.1[500]-203.0.113.2[500] cookie:a1b2c3d4e5f60718:1122334455667788";
    let up = pan(&format!(
        "IKE phase-1 negotiation is succeeded as responder, main mode. Established SA: {ends} lifetime 28800 Sec."
    ));
    for (text, cause) in [
        (
            pan(
                "IKE phase-1 negotiation is failed. When pre-shared key is used, peer-ID must be type IP address. Received type FQDN",
            ),
            "PEER_ID",
        ),
        (
            up.clone()
                + &pan(
                    "IKE phase-2 negotiation failed when processing proxy ID. cannot find matching phase-2 tunnel for received proxy ID. received local id: 10.1.0.0/16 type IPv4_subnet protocol 0 port 0, received remote id: 10.2.0.0/16 type IPv4_subnet protocol 0 port 0.",
                ),
            "TRAFFIC_SELECTOR",
        ),
        (
            up.clone()
                + &pan(
                    "IKE phase-2 negotiation failed when processing SA payload. no suitable proposal found in peer's SA payload.",
                ),
            "CHILD_FAILED_IKE_KEPT",
        ),
        (
            pan(
                "IKEv2 IKE SA negotiation is started as initiator, non-rekey. Initiated SA: 198.51.100.1[500]-203.0.113.2[500] SPI:a1b2c3d4e5f60718:0000000000000000.",
            ) + &pan(
                "IKEv2 IKE SA negotiation is failed as initiator, non-rekey. Failed SA: 198.51.100.1[500]-203.0.113.2[500] SPI:a1b2c3d4e5f60718:0000000000000000. Due to timeout.",
            ),
            "NO_RESPONSE",
        ),
        (up.clone() + &pan("IKE phase-1 SA is down determined by DPD."), "DPD_TIMEOUT"),
        (error("Timed out"), "NO_RESPONSE"),
        (error("No proposal chosen"), "P1_PROPOSAL"),
        (error("Invalid syntax"), "PSK_MISMATCH"),
        (error("IKE gateway configuration lookup failed during negotiation"), "NO_CONFIG"),
        (error("Peer's IKE-ID validation failed during negotiation"), "PEER_ID"),
        (
            kmd(
                "KMD_VPN_TS_MISMATCH: Traffic-selector mismatch, vpn name: hq, Peer Proposed traffic-selector local-ip: ipv4(10.1.0.0/16), Peer Proposed traffic-selector remote-ip: ipv4(10.9.0.0/16)",
            ),
            "TRAFFIC_SELECTOR",
        ),
        (
            "01:08:01 ipsec,error 203.0.113.2 parsing packet failed, possible cause: wrong password\n".into(),
            "PSK_MISMATCH",
        ),
        (forti("phase 2", "msg=\"IPsec phase 2 error\" action=\"negotiate\"", "reason=\"peer SA proposal not match local policy\""), "CHILD_FAILED_IKE_KEPT"),
        (forti("DPD", "msg=\"IPsec DPD failed\" action=\"dpd\"", "status=\"dpd_failure\""), "DPD_TIMEOUT"),
        ("Nov 24 01:08:01 id=firewall sn=0017C5 fw=198.51.100.1 pri=4 m=402 msg=\"IKE Responder: IKE proposal does not match (Phase 1)\" src=203.0.113.2:500 dst=198.51.100.1:500\n".into(), "P1_PROPOSAL"),
        ("Nov 24 01:00:00 gw charon: 00[NET] unable to bind socket: Address already in use\n".into(), "NOT_STARTED"),
        ("01:08:01 ipsec,error identity not found for peer: FQDN: branch\n".into(), "PEER_ID"),
    ] {
        assert_eq!(first(&text).1, cause, "{text}: {:?}", report(&text).findings);
        assert!(first(&text).0 >= Severity::Warning, "{text}");
    }
    let alarm = |up: bool, second: u32| {
        let (what, word) = if up { ("UP", "up") } else { ("DOWN", "down") };
        format!(
            "Nov 24 01:{:02}:{:02} srx kmd[1393]: KMD_VPN_{what}_ALARM_USER: VPN hq from 203.0.113.2 is {word}. Local-ip: 198.51.100.1, gateway name: gw-hq, vpn name: hq\n",
            second / 60,
            second % 60
        )
    };
    let flaps: String = (0..8).map(|n| alarm(true, n * 100) + &alarm(false, n * 100 + 90)).collect();
    assert_eq!((bad(&flaps)[0].id, bad(&flaps)[0].severity), ("flapping", Severity::Error));
    // In order: up, renewed again and again.
    let renewed = "IKEv2 IKE SA negotiation is started as initiator, rekey. Initiated SA: 198.51.100.1[500]-203.0.113.2[500] SPI:1:0.";
    let again = "IKEv2 IKE SA negotiation is succeeded as initiator, rekey. Established SA: 198.51.100.1[500]-203.0.113.2[500] SPI:1:2.";
    let both = |n: u32| (pan(renewed) + &pan(again)).replace("01:08:01", &format!("01:{:02}:01", 8 + n * 5));
    assert_eq!(bad(&(0..8).map(both).collect::<String>()), []);
    assert_eq!(
        bad(&(alarm(true, 1)
            + &kmd(
                "KMD_PM_SA_ESTABLISHED: Local gateway: 198.51.100.1, Remote gateway: 203.0.113.2, Direction: inbound, SPI: 0x6e8a2c51, AUX-SPI: 0, Mode: Tunnel, Type: dynamic"
            ))),
        []
    );
}

/// IOS's debug output, which goes by states, and what the ASA says of IKEv2.
#[test]
fn words_of_cisco() {
    let ios = |text: &str| format!("*Nov 24 01:08:01.123: ISAKMP:(1001):{text}\n");
    let asa = |number: &str, text: &str| {
        format!(
            "Nov 24 2026 01:08:01: %ASA-{number}: Local:198.51.100.1:500 Remote:203.0.113.2:500 Username:203.0.113.2 {text}\n"
        )
    };
    let died = |state: &str| {
        ios(&format!("deleting SA reason \"Death by retransmission P1\" state (I) {state} (peer 203.0.113.2)"))
    };
    let up = asa("5-750006", "IKEv2 SA UP. Reason: New Connection Established");
    let key = "Nov 24 2026 01:08:01: %ASA-4-713903: Group = 203.0.113.2, IP = 203.0.113.2, ERROR, had problems decrypting packet, probably due to mismatched pre-shared key.  Aborting\n";
    for (text, cause) in [
        (
            ios("no offers accepted!")
                + &ios(" phase 1 SA policy not acceptable! (local 198.51.100.1 remote 203.0.113.2)"),
            "P1_PROPOSAL",
        ),
        (
            "*Nov 24 01:08:01.123: IPSEC(ipsec_process_proposal): proxy identities not supported\n".to_string(),
            "TRAFFIC_SELECTOR",
        ),
        (ios(" phase 2 SA policy not acceptable! (local 198.51.100.1 remote 203.0.113.2)"), "CHILD_FAILED_IKE_KEPT"),
        (ios("No pre-shared key with 203.0.113.2!"), "PSK_MISMATCH"),
        (key.to_string(), "PSK_MISMATCH"),
        (died("MM_NO_STATE"), "NO_RESPONSE"),
        (died("MM_KEY_EXCH"), "PSK_MISMATCH"),
        (asa("4-750003", "IKEv2 Negotiation aborted due to ERROR: Failed to find a matching policy"), "P1_PROPOSAL"),
        (
            up.clone()
                + &asa(
                    "4-750003",
                    "IKEv2 Negotiation aborted due to ERROR: There was no IPSEC policy found for received TS",
                ),
            "TRAFFIC_SELECTOR",
        ),
    ] {
        assert_eq!(first(&text).1, cause, "{text}: {:?}", report(&text).findings);
        assert!(first(&text).0 >= Severity::Warning, "{text}");
    }
    let begun = asa("5-750002", "IKEv2 Received a IKE_INIT_SA request");
    let changed = ios("Old State = IKE_I_MM6  New State = IKE_P1_COMPLETE")
        + &ios("Old State = IKE_QM_I_QM1  New State = IKE_QM_PHASE2_COMPLETE");
    for healthy in [begun + &up, changed] {
        assert!(
            bad(&healthy).is_empty() && report(&healthy).understood > 1,
            "{healthy}: {:?}",
            report(&healthy).findings
        );
    }
}

#[test]
fn a_group_that_was_asked_for_may_be_what_differs() {
    let begun = "07[IKE] initiating IKE_SA office[1] to 203.0.113.2\n";
    let asked = "07[IKE] peer didn't accept DH group MODP_2048, it requested MODP_1024\n";
    let refused = "07[IKE] received NO_PROPOSAL_CHOSEN notify error\n";
    let codes = |text: &str| bad(text)[0].causes.iter().map(|cause| cause.code()).collect::<Vec<_>>();
    assert_eq!(codes(&format!("{begun}{asked}{begun}{refused}"))[..2], ["P1_PROPOSAL", "DH_GROUP"]);
    assert!(!codes(&format!("{begun}{refused}")).contains(&"DH_GROUP"));
}
