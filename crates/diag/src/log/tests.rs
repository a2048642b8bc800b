use super::*;
use crate::Severity;
use proptest::prelude::*;

mod pluto;
mod whole;

fn report(text: &str) -> LogReport {
    let mut log = Log::default();
    log.feed(text.as_bytes());
    log.finish()
}

/// The worst finding, and its causes.
fn worst(text: &str) -> (Severity, Vec<&'static str>) {
    let findings = report(text).findings;
    let worst = findings.iter().max_by_key(|finding| finding.severity);
    worst.map_or((Severity::Ok, Vec::new()), |f| (f.severity, f.causes.iter().map(|c| c.code()).collect()))
}

fn first(text: &str) -> (Severity, &'static str) {
    let (severity, causes) = worst(text);
    (severity, causes.first().copied().unwrap_or("none"))
}

const RACOON: &str = "2026-11-24 00:52:03: INFO: respond new phase 1 negotiation: 10.9.0.2[500]<=>10.9.0.1[500]\n\
2026-11-24 00:52:03: INFO: begin Identity Protection mode.\n";
const RACOON_UP: &str = "2026-11-24 00:52:46: INFO: ISAKMP-SA established 10.9.0.1[500]-10.9.0.2[500] spi:7bede73e9e9e5d1a:af7173feb181ce59\n";
const CHARON: &str = "06[IKE] initiating IKE_SA v2[1] to 10.9.0.2\n06[NET] sending packet: from 10.9.0.1[500] to 10.9.0.2[500] (464 bytes)\n";
const CHARON_UP: &str = "15[IKE] IKE_SA v2[1] established between 10.9.0.1[10.9.0.1]...10.9.0.2[10.9.0.2]\n";
const PLUTO: &str = "\"c\" #1: initiating IKEv2 connection to 192.1.2.23 using UDP\n\"c\" #1: sent IKE_SA_INIT request to 192.1.2.23:UDP/500\n";

#[test]
fn each_daemon_s_faults_have_their_causes() {
    let tmm = "info tmm[1]: 017c0000  [0.0] [IKE] v2 192.0.2.1%0-198.51.100.1%0 [0xb9-0x92][R] [PROTO_ERR]: ";
    for (name, text, expected) in [
        ("racoon, proposal", format!("{RACOON}2026-11-24 00:52:03: ERROR: no suitable proposal found.\n"), "P1_PROPOSAL"),
        ("racoon, attribute", format!("{RACOON}2026-11-24 00:52:03: ERROR: rejected dh_group: DB(prop#1:trns#1):Peer(prop#1:trns#1) = 2048:1024\n"), "DH_GROUP"),
        ("racoon, phase 2", format!("{RACOON_UP}2026-11-24 00:52:47: [10.9.0.2] ERROR: notification NO-PROPOSAL-CHOSEN received in informational exchange.\n"), "CHILD_FAILED_IKE_KEPT"),
        ("racoon, networks", format!("{RACOON_UP}2026-11-24 00:52:47: ERROR: failed to get sainfo.\n"), "TRAFFIC_SELECTOR"),
        ("racoon, pfs", format!("{RACOON_UP}2026-11-24 00:52:47: ERROR: pfs group mismatched: my:14 peer:5\n"), "PFS"),
        ("racoon, nobody", "2026-11-24 00:50:33: INFO: initiate new phase 1 negotiation: 10.9.0.1[500]<=>10.9.0.2[500]\n2026-11-24 00:51:23: ERROR: phase1 negotiation failed due to time up. 4cf72b12ea0a629d:0000000000000000\n".into(), "NO_RESPONSE"),
        ("racoon, dead peer", format!("{RACOON_UP}2026-11-24 00:59:47: INFO: DPD: remote (ISAKMP-SA spi=7bede73e9e9e5d1a:af7173feb181ce59) seems to be dead.\n"), "DPD_TIMEOUT"),
        ("racoon, mode", "ERROR: exchange Aggressive not allowed in any applicable rmconf.\n".into(), "NEGOTIATION_MODE"),
        ("racoon, nat", format!("{RACOON}ERROR: ignore the packet, received unexpecting payload type 130.\n"), "NATT"),
        ("tmm, pfs", format!("{tmm}message lacks KE payload\n{tmm}ike_sa ABORT, err 110\n"), "PFS"),
        ("tmm, identity", format!("{tmm}received ID_I (type FQDN [x]) does not match peers id\n"), "PEER_ID"),
        ("tmm, networks", format!("{tmm}ts unacceptable\n"), "TRAFFIC_SELECTOR"),
        ("tmm, networks in a notification", format!("{tmm}received Notify type TS_UNACCEPTABLE, failed establishing child_sa\n"), "TRAFFIC_SELECTOR"),
        ("racoon, fatal proposal", format!("{RACOON}ERROR: fatal NO-PROPOSAL-CHOSEN notify messsage, phase1 should be deleted.\n"), "P1_PROPOSAL"),
        ("racoon, fatal hash", format!("{RACOON}ERROR: fatal INVALID-HASH-INFORMATION notify messsage, phase1 should be deleted.\n"), "PSK_MISMATCH"),
        ("racoon, fatal signature", format!("{RACOON}ERROR: fatal INVALID-SIGNATURE notify messsage, phase1 should be deleted.\n"), "AUTH_FAILED"),
        ("charon, demanded identity", format!("{CHARON}13[CFG] constraint check failed: identity 'x' required\n"), "PEER_ID"),
        ("charon, name", format!("{CHARON}13[IKE] unable to resolve gw.example.org, initiate aborted\n"), "NO_RESPONSE"),
        ("charon, flood", "05[IKE] ignoring IKE_SA setup from 10.9.0.9, per-IP half-open IKE_SA limit of 5 reached\n".repeat(3), "HALF_OPEN"),
        ("tmm, proof", format!("{tmm}authentication failure\n"), "AUTH_FAILED"),
        ("tmm, nobody", format!("{}retransmission count exceeded the limit\n", tmm.replace("0x92", "0x0")), "NO_RESPONSE"),
        ("tmm, stale", "info tmm[1]: 017c0000 [0.0] [IKE] [PROTO_WARN]: message to a nonexistent ike_sa\n".into(), "STALE_SA"),
        ("charon, proposal", format!("{CHARON}03[IKE] received NO_PROPOSAL_CHOSEN notify error\n"), "P1_PROPOSAL"),
        ("charon, secret", format!("{CHARON}13[IKE] authentication of '10.9.0.1' (myself) with pre-shared key\n13[IKE] received AUTHENTICATION_FAILED notify error\n"), "PSK_MISMATCH"),
        ("charon, certificate", format!("{CHARON}13[IKE] authentication of 'C=CH' (myself) with RSA_EMSA_PKCS1_SHA2_256 successful\n13[IKE] received AUTHENTICATION_FAILED notify error\n"), "AUTH_FAILED"),
        ("charon, mac", "04[IKE] 10.9.0.1 is initiating an IKE_SA\n04[IKE] tried 1 shared key for 'a' - 'b', but MAC mismatched\n".into(), "PSK_MISMATCH"),
        ("charon, networks", format!("{CHARON}{CHARON_UP}15[IKE] received TS_UNACCEPTABLE notify, no CHILD_SA built\n15[IKE] failed to establish CHILD_SA, keeping IKE_SA\n"), "TRAFFIC_SELECTOR"),
        ("charon, phase 2", format!("{CHARON}{CHARON_UP}15[IKE] received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built\n15[IKE] failed to establish CHILD_SA, keeping IKE_SA\n"), "CHILD_FAILED_IKE_KEPT"),
        ("charon, nobody", format!("{CHARON}05[IKE] sending retransmit 5 of request message ID 0, seq 1\n05[IKE] giving up after 5 retransmits\n05[IKE] establishing IKE_SA failed, peer not responding\n"), "NO_RESPONSE"),
        ("charon, dead peer", format!("{CHARON}{CHARON_UP}05[IKE] giving up after 5 retransmits\n"), "DPD_TIMEOUT"),
        ("charon, configuration", "05[NET] received packet: from 10.9.0.9[500] to 10.9.0.2[500] (464 bytes)\n05[IKE] no IKE config found for 10.9.0.2...10.9.0.9, sending NO_PROPOSAL_CHOSEN\n".into(), "NO_CONFIG"),
        ("charon, half open", "05[IKE] 10.9.0.9 is initiating an IKE_SA\n05[JOB] deleting half open IKE_SA with 10.9.0.9 after timeout\n".into(), "HALF_OPEN"),
        ("pluto, nobody", format!("{PLUTO}\"c\" #1: IKE_SA_INIT_I: 10 second timeout exceeded after 0 retransmits.  No response\n"), "NO_RESPONSE"),
        ("charon, phase 2 refused by iked", format!("{CHARON}07[ENC] parsed IKE_AUTH response 1 [ N(NO_PROP) ]\n07[IKE] IDr payload missing\n07[ENC] generating INFORMATIONAL request 2 [ N(AUTH_FAILED) ]\n"), "CHILD_FAILED_IKE_KEPT"),
        ("shrike, phase 2 refused by iked", "[IKE] <lab|1> IKE_SA lab[1] ended: the peer refused the IKE SA with NO_PROPOSAL_CHOSEN [] [PEER_REFUSED]\n".into(), "CHILD_FAILED_IKE_KEPT"),
        ("iked begins, phase 2", "spi=0x5a1587f297b68407: send IKE_SA_INIT req 0 peer 192.0.2.1:500 local 192.0.2.2:500, 272 bytes\nspi=0x5a1587f297b68407: recv IKE_SA_INIT res 0 peer 192.0.2.1:500 local 192.0.2.2:500, 272 bytes, policy 'lab'\nspi=0x5a1587f297b68407: send IKE_AUTH req 1 peer 192.0.2.1:500 local 192.0.2.2:500, 224 bytes\nikev2_pld_notify: protoid NONE spisize 0 type NO_PROPOSAL_CHOSEN\n".into(), "CHILD_FAILED_IKE_KEPT"),
        ("iked begins, refused at once", "spi=0x5a1587f297b68407: send IKE_SA_INIT req 0 peer 192.0.2.1:500 local 192.0.2.2:500, 272 bytes\nspi=0x5a1587f297b68407: recv IKE_SA_INIT res 0 peer 192.0.2.1:500 local 192.0.2.2:500, 36 bytes, policy 'lab'\nikev2_pld_notify: protoid NONE spisize 0 type NO_PROPOSAL_CHOSEN\n".into(), "P1_PROPOSAL"),
        ("pluto, aggressive, half way", "\"c\" #1: responding to Aggressive Mode, state #1, connection \"c\" from 192.0.2.1\n\"c\" #1: deleting incomplete state after 4 seconds\n".into(), "PSK_MISMATCH"),
        ("iked, phase 2", "spi=0x5a1587f297b68407: recv IKE_SA_INIT req 0 peer 192.0.2.1:500 local 192.0.2.2:500, 272 bytes, policy 'lab'\nspi=0x5a1587f297b68407: ikev2_log_proposal: ESP #1 ENCR=AES_CBC-128\nspi=0x5a1587f297b68407: sa_free: IKE_AUTH failed\n".into(), "CHILD_FAILED_IKE_KEPT"),
        ("charon, cipher", "09[IKE] 10.9.0.1 is initiating an IKE_SA\n09[CFG] received proposals: IKE:AES_CBC_128/HMAC_SHA1_96/PRF_HMAC_SHA1/ECP_256\n09[CFG] configured proposals: IKE:AES_CBC_256/HMAC_SHA1_96/PRF_HMAC_SHA1/ECP_256\n09[IKE] received proposals unacceptable\n09[ENC] generating IKE_SA_INIT response 0 [ N(NO_PROP) ]\n".into(), "P1_PROPOSAL"),
        ("charon, group", "09[IKE] 10.9.0.1 is initiating a Main Mode IKE_SA\n09[CFG] received proposals: IKE:AES_CBC_128/HMAC_SHA1_96/PRF_HMAC_SHA1/ECP_256\n09[CFG] configured proposals: IKE:AES_CBC_128/HMAC_SHA1_96/PRF_HMAC_SHA1/ECP_384\n09[IKE] no proposal found\n".into(), "DH_GROUP"),
        ("charon, pfs", format!("{CHARON}{CHARON_UP}15[CFG] received proposals: ESP:AES_CBC_128/HMAC_SHA1_96/ECP_256/NO_EXT_SEQ\n15[CFG] configured proposals: ESP:AES_CBC_128/HMAC_SHA1_96/NO_EXT_SEQ\n15[IKE] no matching proposal found, sending NO_PROPOSAL_CHOSEN\n"), "PFS"),
        ("charon, identity", "15[IKE] 10.9.0.1 is initiating an IKE_SA\n15[CFG] looking for peer configs matching 10.9.0.2[b]...10.9.0.1[a]\n15[CFG] no matching peer config found\n15[ENC] generating IKE_AUTH response 1 [ N(AUTH_FAILED) ]\n".into(), "PEER_ID"),
        ("charon, mode", "14[IKE] 10.9.0.1 is initiating a Main Mode IKE_SA\n10[IKE] found 1 matching config, but none allows pre-shared key authentication using Main Mode\n10[ENC] generating INFORMATIONAL_V1 request 1072051686 [ HASH N(AUTH_FAILED) ]\n".into(), "NEGOTIATION_MODE"),
        ("charon, aggressive mode refused at once", "14[IKE] initiating Aggressive Mode IKE_SA v1[1] to 10.9.0.2\n10[ENC] parsed INFORMATIONAL_V1 request 7 [ N(AUTH_FAILED) ]\n10[IKE] received AUTHENTICATION_FAILED error notify\n".into(), "PEER_ID"),
        ("pluto, identity", "\"c\" #1: Peer ID '@x' mismatched on first found connection and no better connection found\n\"c\" #1: responding to IKE_AUTH message (ID 1) from 192.0.2.1:4500 with encrypted notification AUTHENTICATION_FAILED\n".into(), "PEER_ID"),
        ("pluto 3, identity", "\"c\" #1: we require IKEv2 peer to have ID '@a', but peer declares '@b'\n".into(), "PEER_ID"),
        ("pluto, networks", "\"c\" #1: responder established IKE SA; authenticated peer using authby=secret\n\"c\" #2: No IKEv2 connection found with compatible Traffic Selectors\n".into(), "TRAFFIC_SELECTOR"),
        ("pluto, phase 2", "\"c\" #1: responding to Main Mode\n\"c\" #1: IKE SA established {auth=PRESHARED_KEY cipher=AES_CBC_128 integ=HMAC_SHA2_256 group=DH19}\n\"c\" #2: no acceptable Proposal in IPsec SA\n\"c\" #2: sending encrypted notification NO_PROPOSAL_CHOSEN to 192.0.2.1:4500\n".into(), "CHILD_FAILED_IKE_KEPT"),
        ("pluto, secret in aggressive mode", "\"c\" #1: responding to Aggressive Mode, state #1, connection \"c\" from 192.0.2.1\n\"c\" #1: 11823-byte length of ISAKMP Hash Payload is larger than can fit\n\"c\" #1: malformed payload in packet\n\"c\" #1: deleting incomplete state after 4 seconds\n".into(), "PSK_MISMATCH"),
        ("pluto, aggressive mode", "packet from 192.0.2.1:500: initial Aggressive Mode message from 192.0.2.1:500 but no (wildcard) connection has been configured with authby PSK\n".into(), "NEGOTIATION_MODE"),
        ("pluto, secret", format!("{PLUTO}\"c\" #1: authentication failed: no PSK found for '@west'\n"), "PSK_MISMATCH"),
        ("pluto, name", format!("{PLUTO}\"c\" #1: X509: authentication failed; peer certificate subjectAltName extension does not match USER_FQDN 'a@b'\n"), "PEER_ID"),
        ("pluto, mode", format!("{PLUTO}\"c\" #1: initiator established IKE SA; authenticated peer using authby=secret\n\"c\" #2: policy dictates Transport Mode, but peer requested Tunnel Mode\n"), "ENCAP_MODE"),
        ("pluto, refused", "ERROR: asynchronous network error report on eth0 (sport=500) for message to 192.0.2.7 port 500, complainant 192.0.2.7: Connection refused [errno 111, origin ICMP type 3 code 3 (not authenticated)]\n".into(), "NO_RESPONSE"),
        ("iked, nobody", "spi=0xe1a86ba672c7d8b6: send IKE_SA_INIT req 0 peer 10.9.0.1:500 local 10.9.0.2:500, 464 bytes\nspi=0xe1a86ba672c7d8b6: sa_free: retransmit limit reached\n".into(), "NO_RESPONSE"),
        ("cloud", "AWS tunnel detected a pre-shared key mismatch with cgw: 1.2.3.4\n".into(), "PSK_MISMATCH"),
    ] {
        assert_eq!(first(&text).1, expected, "{name}: {:?}", report(&text).findings);
        assert!(first(&text).0 >= Severity::Warning, "{name}");
    }
}

#[test]
fn healthy_logs_give_nothing_above_information() {
    let racoon_rekey: String = (0..6).map(|n| format!(
        "2026-11-24 0{n}:59:14: INFO: renegotiating phase1 to 10.9.0.2 due to active phase2\n2026-11-24 0{n}:59:14: INFO: initiate new phase 1 negotiation: 10.9.0.1[500]<=>10.9.0.2[500]\n2026-11-24 0{n}:59:14: INFO: ISAKMP-SA established 10.9.0.1[500]-10.9.0.2[500] spi:27019f4da11f644{n}:bc72b5309279fd47\n2026-11-24 0{n}:59:18: INFO: ISAKMP-SA expired 10.9.0.1[500]-10.9.0.2[500] spi:a8372fd97a43ba1{n}:f0fbf57578a74bf3\n"
    )).collect();
    let charon = format!(
        "{CHARON}{CHARON_UP}15[IKE] CHILD_SA v2c{{1}} established with SPIs ca23ef69_i c056f948_o and TS 10.8.1.0/24 === 10.8.2.0/24\n"
    );
    for (name, text) in [
        ("racoon", RACOON_UP.to_string()),
        ("racoon, rekeying", racoon_rekey),
        ("charon", charon.clone()),
        (
            "charon, one repetition",
            format!("{CHARON}05[IKE] sending retransmit 1 of request message ID 0, seq 1\n{CHARON_UP}"),
        ),
        (
            "charon, closed",
            format!(
                "{charon}07[IKE] deleting IKE_SA v2[1] between 10.9.0.1[10.9.0.1]...10.9.0.2[10.9.0.2]\n07[IKE] IKE_SA deleted\n"
            ),
        ),
        (
            "charon, replaced",
            format!(
                "{charon}07[IKE] IKE_SA v2[2] rekeyed between 10.9.0.1[a]...10.9.0.2[b]\n07[IKE] received DELETE for IKE_SA v2[1]\n07[IKE] deleting IKE_SA v2[1] between 10.9.0.1[a]...10.9.0.2[b]\n"
            ),
        ),
        ("charon, dead and back", format!("{charon}05[IKE] giving up after 5 retransmits\n{CHARON}{CHARON_UP}")),
        (
            "charon, group",
            format!(
                "{CHARON}06[IKE] peer didn't accept key exchange method MODP_2048, it requested ECP_256\n{CHARON_UP}"
            ),
        ),
        (
            "pluto",
            format!(
                "{PLUTO}\"c\" #1: received anti-DDOS COOKIE response, resending IKE_SA_INIT request with COOKIE payload\n\"c\" #1: initiator established IKE SA; authenticated peer\n\"c\" #2: initiator established Child SA using #1; IPsec tunnel\n"
            ),
        ),
        ("restarts", format!("{RACOON}2026-11-24 00:52:04: INFO: racoon process 114 shutdown\n{RACOON_UP}")),
        ("nothing", "hello\n\n\n".to_string()),
    ] {
        assert!(first(&text).0 <= Severity::Info, "{name}: {:?}", report(&text).findings);
    }
}

#[test]
fn peers_are_told_apart() {
    let text = "01[IKE] initiating IKE_SA a[1] to 10.9.0.2\n02[IKE] initiating IKE_SA b[2] to 10.9.0.3\n\
                02[IKE] <b|2> received NO_PROPOSAL_CHOSEN notify error\n\
                01[IKE] IKE_SA a[1] established between 10.9.0.1[a]...10.9.0.2[b]\n";
    let found: Vec<_> = report(text).findings.into_iter().map(|f| (f.peer, f.severity)).collect();
    assert_eq!(found, [("10.9.0.1 -> 10.9.0.2".into(), Severity::Info), ("10.9.0.3".into(), Severity::Error)]);
}

#[test]
fn flapping_is_seen() {
    let up = |n: u32| {
        format!(
            "2026-11-24 01:00:{:02}: INFO: ISAKMP-SA established 10.9.0.1[500]-10.9.0.2[500] spi:{n:016x}:bc72b5309279fd47\n2026-11-24 01:00:{:02}: INFO: ISAKMP-SA deleted 10.9.0.1[500]-10.9.0.2[500] spi:{n:016x}:bc72b5309279fd47\n",
            n * 6,
            n * 6 + 5
        )
    };
    assert_eq!(first(&(0..8).map(up).collect::<String>()), (Severity::Error, "LIFETIME"));
    let taken = |n: u32| {
        format!(
            "Nov 24 01:{n:02}:00 gw charon: 06[IKE] initiating IKE_SA v2[{n}] to 10.9.0.2\nNov 24 01:{n:02}:01 gw charon: 06[IKE] IKE_SA v2[{n}] established between 10.9.0.1[a]...10.9.0.2[b]\nNov 24 01:{n:02}:03 gw charon: 07[IKE] received DELETE for IKE_SA v2[{n}]\n"
        )
    };
    assert_eq!(first(&(0..8).map(taken).collect::<String>()), (Severity::Error, "PEER_DELETE"));
}

/// Ten SAs, one in place of the other; what stands between is told of the SA's number.
fn one_after_another(every: u32, between: impl Fn(u32, &dyn Fn(u32) -> String) -> String) -> String {
    let one = |n: u32| {
        let at = |after: u32| {
            let seconds = n * every + after;
            format!("2026-11-24 {:02}:{:02}:{:02}: INFO:", seconds / 3600, seconds / 60 % 60, seconds % 60)
        };
        let up = format!(
            "{} initiate new phase 1 negotiation: 10.9.0.1[500]<=>10.9.0.2[500]\n{} ISAKMP-SA established \
             10.9.0.1[500]-10.9.0.2[500] spi:{n:016x}:bc72b5309279fd47\n",
            at(0),
            at(1)
        );
        up + &between(n, &at)
    };
    (0..10).map(one).collect()
}

fn ended(n: u32, at: &dyn Fn(u32) -> String, after: u32, how: &str) -> String {
    format!("{} ISAKMP-SA {how} 10.9.0.1[500]-10.9.0.2[500] spi:{n:016x}:bc72b5309279fd47\n", at(after))
}

#[test]
fn slow_flapping_is_seen_and_its_timer_named() {
    let expired = one_after_another(50, |n, at| ended(n, at, 49, "expired"));
    assert_eq!(first(&expired), (Severity::Error, "LIFETIME"));
    let found = report(&expired).findings;
    assert!(found[0].evidence.iter().any(|line| line.contains("10 IKE SAs came to the end")), "{found:?}");
    let purged = |n: u32, at: &dyn Fn(u32) -> String| {
        format!("{} purging ISAKMP-SA spi={n:016x}:bc72b5309279fd47.\n", at(55)) + &ended(n, at, 56, "deleted")
    };
    assert_eq!(first(&one_after_another(60, purged)), (Severity::Error, "PEER_DELETE"));
    let found = report(&one_after_another(60, purged)).findings;
    assert!(found[0].evidence.iter().any(|line| line.contains("the period fits 60 s")), "{found:?}");
    // Hourly, or where we renew it, or where the daemon itself begins anew, it is in order.
    for (name, text) in [
        ("hourly", one_after_another(3600, |n, at| ended(n, at, 3590, "expired"))),
        (
            "renewed",
            one_after_another(60, |_, at| {
                format!("{} renegotiating phase1 to 10.9.0.2 due to active phase2\n", at(59))
            }),
        ),
        ("restarts", one_after_another(60, |_, at| format!("{} racoon process 1 shutdown\n", at(50)))),
    ] {
        assert!(first(&text).0 <= Severity::Info, "{name}: {:?}", report(&text).findings);
    }
}

#[test]
fn deletions_alone_are_flapping() {
    let line = |n: u32| {
        format!(
            "Nov 24 01:{n:02}:00 b info tmm[1]: 017c0000  [0.0] [IKE] v2 192.0.2.1%0-198.51.100.1%0 [0x{n:x}1-0x7][R] [INFO]: received DELETE IKE_SA\n"
        )
    };
    assert_eq!(first(&(0..8).map(line).collect::<String>()), (Severity::Error, "PEER_DELETE"));
    assert!(first(&line(1)).0 <= Severity::Info);
}

#[test]
fn a_peer_that_is_lost_again_and_again_is_no_lost_peer() {
    let lost = |n: u32, at: &dyn Fn(u32) -> String| {
        format!("{} DPD: remote (ISAKMP-SA spi={n:016x}:bc72b5309279fd47) seems to be dead.\n", at(148))
            + &format!("{} purging ISAKMP-SA spi={n:016x}:bc72b5309279fd47.\n", at(148))
            + &ended(n, at, 149, "deleted")
    };
    let cut = one_after_another(150, lost);
    let back = one_after_another(150, |n, at| if n == 9 { String::new() } else { lost(n, at) });
    for text in [cut, back] {
        assert_eq!(worst(&text), (Severity::Error, vec!["DPD_TIMEOUT"]));
        let found = report(&text).findings;
        assert!(found.len() == 1 && found[0].why.contains("about every 150 s"), "{found:?}");
        assert!(found[0].evidence.iter().any(|line| line.contains("dead peer detection")), "{found:?}");
    }
    let once = one_after_another(7200, |n, at| if n == 4 { lost(n, at) } else { String::new() });
    assert!(first(&once).0 <= Severity::Info, "{:?}", report(&once).findings);
}

#[test]
fn the_number_of_a_message_says_how_far_it_is() {
    let repeated = |number: u32| {
        format!(
            "10[IKE] retransmit 1 of request with message ID {number}\n10[NET] sending packet: from 192.0.2.5[4500] to 192.0.2.7[4500] (80 bytes)\n"
        )
        .repeat(3)
            + "10[IKE] giving up after 5 retransmits\n"
    };
    for (number, cause) in [(0, "NO_RESPONSE"), (1, "NATT"), (22, "DPD_TIMEOUT")] {
        let text = repeated(number);
        assert_eq!(first(&text).1, cause, "{:?}", report(&text).findings);
        assert_eq!(report(&text).findings[0].peer, "192.0.2.5 -> 192.0.2.7");
    }
}

#[test]
fn the_state_in_which_pluto_gives_up_decides() {
    let given_up = |state: &str| format!("{PLUTO}\"c\" #1: max number of retransmissions (8) reached {state}\n");
    assert_eq!(first(&given_up("STATE_MAIN_I3.  Possible authentication failure")).1, "PSK_MISMATCH");
    let child = "\"c\" #1: initiator established IKE SA; authenticated peer\n";
    let quick = format!("{PLUTO}{child}\"c\" #2: max number of retransmissions (8) reached STATE_QUICK_I1\n");
    assert_eq!(first(&quick).1, "P2_TIMEOUT");
}

#[test]
fn both_ends_that_begin_at_once_collide() {
    let one = |n: u32| {
        format!(
            "Nov 24 01:{n:02}:00 gw charon: 07[IKE] initiating IKE_SA s[{a}] to 10.9.0.2\nNov 24 01:{n:02}:00 gw charon: 07[IKE] 10.9.0.2 is initiating an IKE_SA\nNov 24 01:{n:02}:00 gw charon: 08[IKE] IKE_SA s[{a}] established between 10.9.0.1[a]...10.9.0.2[b]\n",
            a = n + 1
        )
    };
    assert_eq!(first(&(0..8).map(one).collect::<String>()), (Severity::Error, "COLLISION"));
    assert_eq!(first(&one(1)), (Severity::Info, "none"));
}

#[test]
fn a_child_sa_that_fails_when_it_is_renewed_lacks_a_group() {
    let child = "15[IKE] CHILD_SA n{1} established with SPIs c_i d_o and TS 10.8.1.0/24 === 10.8.2.0/24\n";
    let refused = "15[IKE] received NO_PROPOSAL_CHOSEN notify error\n";
    assert_eq!(first(&format!("{CHARON}{CHARON_UP}{child}{refused}")).1, "PFS");
}

#[test]
fn evidence_says_how_far_it_got() {
    let repeated = "05[IKE] sending retransmit 1 of request message ID 0, seq 1\n".repeat(3);
    let found = report(&format!("{CHARON}{repeated}")).findings;
    let told = "line 1: initiating IKE_SA v2[1] to 10.9.0.2; then: no answer to the first message, 3 repetitions";
    assert!(found[0].evidence.iter().any(|line| line == told), "{found:?}");
    assert_eq!(found[0].severity, Severity::Error);
}

#[test]
fn secrets_do_not_come_out() {
    let text = format!("{CHARON}13[IKE] authentication failed: psk=\"correct horse\" for '@a', secret: battery\n");
    let shown = format!("{:?}", report(&text).findings);
    assert!(shown.contains(crate::REDACTED) && !shown.contains("horse") && !shown.contains("battery"), "{shown}");
}

/// A log of any length needs the memory of its peers, and time in proportion.
#[test]
fn a_long_log_does_not_grow() {
    let mut log = Log::default();
    for n in 0..10_000u32 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + n % 5000);
        log.feed(
            format!("2026-11-24 00:52:03: INFO: initiate new phase 1 negotiation: 192.0.2.1[500]<=>{address}[500]\n")
                .as_bytes(),
        );
    }
    log.feed(&vec![b'a'; 5_000_000]);
    assert!(log.reader.courses.len() <= MAX_PEERS && log.reader.names.len() <= MAX_NAMES);
    let report = log.finish();
    assert_eq!((report.lines, report.cut), (10_001, 1));
    assert!(report.left_out > 5_000);
}

/// What repeats without end takes time in proportion: in its square, this would take hours.
#[test]
fn long_lines_are_read() {
    for piece in ["psk=\"", "psk=a ", "d56bba6c ", "10.9.0.1 ", "spi:", "[\"#<", "rekeyed between ", "IKE_SA a[1 "] {
        let long = piece.repeat(300_000 / piece.len());
        let _ = report(&long);
        let _ = redact(&long);
    }
}

fn sample_line() -> impl Strategy<Value = String> {
    let lines: Vec<String> = [RACOON, RACOON_UP, CHARON, CHARON_UP, PLUTO]
        .iter()
        .flat_map(|text| text.lines())
        .map(str::to_string)
        .collect();
    (proptest::sample::select(lines), any::<prop::sample::Index>(), any::<char>()).prop_map(|(line, at, c)| {
        let at = at.index(line.chars().count());
        line.chars().enumerate().map(|(n, old)| if n == at { c } else { old }).collect()
    })
}

proptest! {
    /// Any octets: no panic, and findings that are whole.
    #[test]
    fn any_octets_are_a_log(octets in proptest::collection::vec(any::<u8>(), 0..2000), lines in proptest::collection::vec(sample_line(), 0..20)) {
        let mut log = Log::default();
        log.feed(&octets);
        log.feed(lines.join("\n").as_bytes());
        for finding in log.finish().findings {
            prop_assert_eq!(finding.causes.len(), finding.remedy.len());
            prop_assert!(!finding.why.is_empty() && !finding.peer.is_empty() && !finding.evidence.is_empty());
            prop_assert!(finding.severity <= Severity::Info || !finding.causes.is_empty());
        }
    }

    #[test]
    fn pieces_of_a_log_do_not_matter(lines in proptest::collection::vec(sample_line(), 0..20), at in 0..1000usize) {
        let text = lines.join("\n");
        let (a, b) = text.as_bytes().split_at(at.min(text.len()));
        let mut log = Log::default();
        log.feed(a);
        log.feed(b);
        prop_assert_eq!(log.finish(), report(&text));
    }
}

/// The words by which whatever vendor names a cause, each in a line of its own.
#[test]
fn every_vendor_s_words_name_their_cause() {
    let table = [
        (
            "NO_CONFIG",
            "received UNSUPPORTED_CRITICAL_PAYLOAD error|no IKE config found|unknown ikev2 peer|no configuration found|couldn't find configuaration",
        ),
        (
            "P1_PROPOSAL",
            "HASH mismatched|packet lacks expected payload|no suitable proposal found|failed to get valid proposal|none of my proposal matched|no matching proposal found, sending NO_PROPOSAL_CHOSEN|received NO_PROPOSAL_CHOSEN|No Proposal Match Found|ignore the packet,expecting the packet encrypted",
        ),
        ("ENC_ALG", "invalid encryption algorithm|trns_id mismatched|rejected enctype"),
        ("AUTH_ALG", "authtype mismatched|rejected hashtype"),
        (
            "DH_GROUP",
            "received KE type 14,expected 2|failed to compute dh value|rejected dh_group|proposal mismatch, transform type:4|key exchange method MODP_2048 unacceptable, requesting ECP_256",
        ),
        (
            "PSK_MISMATCH",
            "Decryption failed! mismatch of preshared secrets|invalid HASH_V1 payload length, decryption failed?|could not decrypt payloads|probable pre-shared secret mismatch|tried 2 shared keys for 'a' - 'b', but MAC mismatched|payload decryption was unsuccessful due to invalid Pre-shared Key|detected a pre-shared key mismatch",
        ),
        (
            "PEER_ID",
            "does not match peers id|message lacks IDr payload|Expecting IP address type in main mode,but FQDN|Unknow peer id|Parse PEERID failed|received ID_I(xxx) does not match peers id|no matching peer config found",
        ),
        ("AUTH_FAILED", "AUTHENTICATION_FAILED|authentication failure"),
        ("IKE_VERSION", "unknown ikev2 peer|IKE version 1 not supported"),
        ("NEGOTIATION_MODE", "not acceptable Aggressive mode|not acceptable Identity Protection mode"),
        ("NATT", "ignore the packet, received unexpecting payload type 130"),
        ("LIFETIME", "long lifetime proposed|received 3600s lifetime, configured 28800s"),
        ("SEC_PROTOCOL", "proto_id mismatched"),
        ("ENCAP_MODE", "encmode mismatched|mode mismatch: peer tunnel mine transport"),
        (
            "TRAFFIC_SELECTOR",
            "traffic selector mismatch|traffic selector unacceptable|can't find matching selector|TS_UNACCEPTABLE|check and compare ids : value mismatch",
        ),
        ("PFS", "pfs group mismatched|message lacks KE payload|ignoring KE payload, agreed on a non-PFS proposal"),
        ("DPD_ORDER", "ignore information because the message has no hash payload"),
        (
            "DPD_TIMEOUT",
            "DPD: remote seems to be dead|Peer is not responsive - Declaring peer dead|DPD timed out after 5 retransmits",
        ),
        (
            "P1_TIMEOUT",
            "phase1 negotiation failed due to time up|ignore information because ISAKMP-SA has not been established",
        ),
        ("P2_TIMEOUT", "phase2 negotiation failed due to time up waiting for phase1"),
        (
            "NO_RESPONSE",
            "sending retransmit 1 of request message ID 0, seq 1|retransmission count exceeded the limit|establishing IKE_SA failed, peer not responding",
        ),
        ("PEER_DELETE", "received DELETE IKE_SA|received DELETE for Phase 2 SA with SPI"),
        (
            "CHILD_FAILED_IKE_KEPT",
            "failed to establish CHILD_SA, keeping IKE_SA|Phase 2 was unable to establish while keeping Phase 1",
        ),
        (
            "COLLISION",
            "detected a (CHILD_REKEY) collision as CHILD_DELETE|redundant SA is being deleted due to detected collision|CHILD_SA rekey collision won",
        ),
        (
            "HALF_OPEN",
            "Timeout: deleting un-established Phase 1 IKE_SA|deleting half open IKE_SA with 10.9.0.1 after timeout",
        ),
        (
            "STALE_SA",
            "received a message to a dead IKE SA|message to a nonexistent ike_sa|INVALID_IKE_SPI|invalid cookie",
        ),
    ];
    for (code, lines) in table {
        for line in lines.split('|') {
            for prefix in ["", "2026-11-24 00:52:03: [10.9.0.1] ERROR: ", "Nov 24 00:52:03 gw charon: 07[IKE] <gw|1> "]
            {
                let (_, causes) = worst(&format!("{prefix}{line}\n"));
                assert!(causes.contains(&code), "{prefix}{line}: {causes:?}");
            }
        }
    }
}
