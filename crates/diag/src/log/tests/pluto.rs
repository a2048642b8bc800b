//! pluto's logs, of its versions from 3.2 on.

use super::{first, report};
use crate::{Finding, Severity};

fn bad(text: &str) -> Vec<Finding> {
    report(text).findings.into_iter().filter(|finding| finding.severity > Severity::Info).collect()
}

/// What stands before a message of the SA with a number.
fn lines(number: u32, messages: &[&str]) -> String {
    messages.iter().map(|message| format!("\"site\" #{number}: {message}\n")).collect()
}

const INIT: [&str; 2] =
    ["initiating IKEv2 connection to 192.0.2.7 using UDP", "sent IKE_SA_INIT request to 192.0.2.7:UDP/500"];
const KEYED: &str = "processed IKE_SA_INIT response from 192.0.2.7:UDP/500 {cipher=AES_GCM_16_256 integ=n/a prf=HMAC_SHA2_512 ke=DH19}, initiating IKE_AUTH";
const SIGNED: &str =
    "sent IKE_AUTH request to 192.0.2.7:UDP/500 with digital-signature and FQDN '@a.example'; Child SA #2 {ESP <0x1}";
const SECRET: &str =
    "sent IKE_AUTH request to 192.0.2.7:UDP/500 with shared-key-mac and FQDN '@a.example'; Child SA #2 {ESP <0x1}";
const MAIN: [&str; 4] =
    ["initiating IKEv1 Main Mode connection", "sent Main Mode request", "sent Main Mode I2", "sent Main Mode I3"];
const MAIN_UP: &str =
    "ISAKMP SA established {auth=PRESHARED_KEY cipher=AES_CBC_256 integ=HMAC_SHA2_256 group=MODP2048}";
const UP: &str = "initiator established IKE SA; authenticated peer using authby=secret and FQDN '@b.example'";

fn v2(proof: &str) -> String {
    lines(1, &[INIT[0], INIT[1], KEYED, proof])
}

fn v2_up() -> String {
    v2(SECRET)
        + &lines(1, &[UP])
        + &lines(
            2,
            &["initiator established Child SA using #1; IPsec tunnel [10.1.0.0/24===10.2.0.0/24] {ESP/ESN=>0x1 <0x2}"],
        )
}

#[test]
fn reasons_that_version_5_gives() {
    let unkeyed = lines(1, &INIT);
    let keyed = lines(1, &[INIT[0], INIT[1], KEYED]);
    for (name, text, expected) in [
        ("no ppk here", keyed.clone() + &lines(1, &["connection requires PPK, but we didn't find one"]), "AUTH_FAILED"),
        (
            "no ppk there",
            unkeyed.clone() + &lines(1, &["connection has ppk=insist but peer does not support PPK"]),
            "AUTH_FAILED",
        ),
        ("another ppk", lines(1, &["Requested PPK_ID not found and connection requires a valid PPK"]), "AUTH_FAILED"),
        (
            "key of another type",
            keyed.clone() + &lines(1, &["private key matching certificate a has type ECDSA but RSA is needed"]),
            "AUTH_FAILED",
        ),
        (
            "no signature in common",
            keyed
                + &lines(
                    1,
                    &[
                        "legacy RSA-SHA1 is not allowed but peer supports nothing else",
                        "encountered fatal error in state IKE_SA_INIT_IR",
                    ],
                ),
            "AUTH_FAILED",
        ),
        (
            "another method than ours",
            v2(SECRET) + &lines(1, &["authentication failed: peer authentication requires policy ECDSA"]),
            "AUTH_FAILED",
        ),
        (
            "null",
            v2(SECRET) + &lines(1, &["authentication failed: peer attempted NULL authentication but we want rsasig"]),
            "AUTH_FAILED",
        ),
        (
            "no authority",
            v2(SECRET) + &lines(1, &["no Certificate Authority in NSS Certificate DB! certificate payloads discarded"]),
            "AUTH_FAILED",
        ),
        (
            "unknown authority",
            v2(SECRET)
                + &lines(
                    1,
                    &[
                        "NSS: ERROR: IPsec certificate CN=b invalid: SEC_ERROR_UNKNOWN_ISSUER: Peer's Certificate issuer is not recognized.",
                    ],
                ),
            "AUTH_FAILED",
        ),
        (
            "no name in it",
            v2(SIGNED)
                + &lines(
                    1,
                    &[
                        "X509: authentication failed; peer certificate contains no subjectAltName extension to match FQDN '@b.example'",
                    ],
                ),
            "PEER_ID",
        ),
        (
            "group of a Child SA",
            v2_up()
                + &lines(
                    3,
                    &[
                        "initiating Child SA using IKE SA #1",
                        "CREATE_CHILD_SA failed with error notification INVALID_KE_PAYLOAD response suggesting MODP4096 instead of MODP8192",
                    ],
                ),
            "PFS",
        ),
        (
            "kernel",
            v2(SECRET) + &lines(1, &[UP]) + &lines(2, &["CHILD SA encountered fatal error: INVALID_SYNTAX"]),
            "CHILD_FAILED_IKE_KEPT",
        ),
        (
            "secret of the groups",
            lines(1, &MAIN[..3])
                + &lines(
                    1,
                    &[
                        "NSS: shared key calculation using MODP failed: SEC_ERROR_NO_MEMORY: security library: memory allocation failure.",
                    ],
                ),
            "DH_GROUP",
        ),
        (
            "from gateway to gateway",
            v2(SECRET) + &lines(1, &[UP, "IKE_AUTH redirect exceeds limit; assuming redirect loop"]),
            "NO_RESPONSE",
        ),
        ("dead, told in a line", lines(1, &["liveness action - clearing connection kind CK_PERMANENT"]), "DPD_TIMEOUT"),
        (
            "user",
            lines(1, &["XAUTH: User adele: Authentication Failed: Incorrect Username or Password"]),
            "AUTH_FAILED",
        ),
        (
            "raw key",
            lines(1, &MAIN)
                + &lines(
                    1,
                    &["authentication failed: using raw RSA with SHA1 for '@b.example' tried preloaded: *000000000"],
                ),
            "AUTH_FAILED",
        ),
        (
            "nothing to begin with",
            lines(1, &["cannot initiate connection without knowing peer IP address (kind=CK_TEMPLATE)"]),
            "NOT_STARTED",
        ),
        (
            "nobody, repeated",
            unkeyed
                + &lines(
                    1,
                    &[
                        "retransmitting IKE_SA_INIT request; will wait 0.5 seconds for response",
                        "retransmitting IKE_SA_INIT request; will wait 1 second for response",
                    ],
                ),
            "NO_RESPONSE",
        ),
    ] {
        assert_eq!(first(&text), (Severity::Error, expected), "{name}: {:?}", report(&text).findings);
    }
}

#[test]
fn versions_3_and_4_have_other_words() {
    let v3 = "002 \"old\" #1: initiating v2 parent SA\n133 \"old\" #1: initiate\n133 \"old\" #1: STATE_PARENT_I1: sent v2I1, expected v2R1\n";
    let v4 = "1v2 \"old\" #1: initiating IKEv2 connection\n1v2 \"old\" #1: sent IKE_SA_INIT request to 192.0.2.7:500\n";
    let keyed =
        "1v2 \"old\" #1: sent IKE_AUTH request {cipher=AES_GCM_16_256 integ=n/a prf=HMAC_SHA2_512 group=MODP2048}\n";
    let up = "004 \"old\" #2: IPsec SA established tunnel mode {ESP=>0x1 <0x2 xfrm=AES_GCM_16_256-NONE DPD=passive}\n";
    assert_eq!(bad(&format!("{v4}{keyed}{up}")), []);
    assert_eq!(bad(&format!("{v3}134 \"old\" #2: STATE_PARENT_I2: sent v2I2, expected v2R2 {{auth=IKEv2}}\n{up}")), []);
    let over = "002 \"old\" #1: IMPAIR: retransmit so deleting SA\n";
    assert_eq!(first(&format!("{v3}{over}")), (Severity::Error, "NO_RESPONSE"));
    // The name of the notification has the version before it.
    let refused = "002 \"old\" #1: STATE_PARENT_I1: received unauthenticated v2N_NO_PROPOSAL_CHOSEN - ignored\n";
    assert_eq!(first(&format!("{v3}{refused}{over}")), (Severity::Error, "P1_PROPOSAL"));
}

#[test]
fn a_connection_may_have_the_name_of_a_secret() {
    let refused = v2(SECRET) + &lines(1, &["IKE SA authentication request rejected by peer: AUTHENTICATION_FAILED"]);
    assert_eq!(first(&refused.replace("\"site\"", "\"site-psk\"")), (Severity::Error, "PSK_MISMATCH"));
    let user = "Aug 27 12:02:30 gw pluto[2]: \"xauth-psk\"[1] 192.0.2.9 #1: XAUTH: User adele: Authentication Failed: Incorrect Username or Password\n";
    assert_eq!(first(user).1, "AUTH_FAILED");
}

#[test]
fn a_child_sa_belongs_to_the_ike_sa_that_it_names() {
    let child = "\"other\" #3: initiating Child SA using IKE SA #1\n\"other\" #3: CREATE_CHILD_SA failed with error notification NO_PROPOSAL_CHOSEN\n";
    let found = report(&(v2_up() + child)).findings;
    assert_eq!((found.len(), found[0].peer.as_str(), found[0].id), (1, "192.0.2.7", "no-phase-2"), "{found:?}");
    let quick = "\"other\" #3: initiating Quick Mode IKEv1+PSK {using isakmp#1 msgid:1 proposal=AES_CBC-HMAC_SHA1_96 10.1.0.0/24===10.3.0.0/24}\n\"other\" #3: IPsec SA established tunnel mode {ESP=>0x1 <0x2}\n";
    let found = report(&(lines(1, &MAIN) + &lines(1, &[MAIN_UP]) + quick)).findings;
    assert_eq!((found.len(), found[0].severity), (1, Severity::Ok), "{found:?}");
}

#[test]
fn what_a_terminal_does_not_wait_for_is_no_failure() {
    assert_eq!(bad(&lines(1, &INIT)), []);
    // The Child SA says that the IKE SA is there.
    let found = report(&(lines(1, &INIT) + "\"other\" #3: initiating Child SA using IKE SA #1\n")).findings;
    assert_eq!((found.len(), found[0].severity, found[0].id), (1, Severity::Ok, "established"), "{found:?}");
    // A log with times goes on.
    let timed = "Nov 24 01:08:06.6: \"site\" #1: initiating IKEv2 connection to 192.0.2.7 using UDP\nNov 24 01:08:07.6: \"site\" #1: sent IKE_SA_INIT request to 192.0.2.7:UDP/500\n";
    assert_eq!(first(timed), (Severity::Warning, "NO_RESPONSE"));
}

#[test]
fn version_5_says_who_deletes_only_by_what_stands_before() {
    let cycle = |n: u32, own: &str| {
        let sa = 2 * n + 1;
        let at = |second: u32, message: &str| {
            format!("Nov 24 01:{n:02}:{second:02}.5 gw pluto[7]: \"site\" #{sa}: {message}\n")
        };
        let begin = at(1, INIT[0]) + &at(1, INIT[1]) + &at(2, KEYED) + &at(3, UP);
        let own = if own.is_empty() { String::new() } else { at(50, own) };
        begin + &own + &at(51, "deleting IKE SA (established IKE SA)")
    };
    let by_peer: String = (0..9).map(|n| cycle(n, "")).collect();
    assert_eq!(first(&by_peer), (Severity::Error, "PEER_DELETE"));
    let by_us: String = (0..9).map(|n| cycle(n, "sent INFORMATIONAL request to delete IKE SA")).collect();
    assert_eq!(bad(&by_us), []);
}

#[test]
fn an_ike_sa_may_be_replaced_by_a_new_negotiation() {
    let one = |n: u32| {
        let replaces = if n > 0 { format!(" (replacing established IKE SA #{n})") } else { String::new() };
        let sa = n + 1;
        format!(
            "Nov 24 01:{n:02}:00 w pluto[1]: \"w\" #{sa}: initiating IKEv2 connection{replaces} to 192.0.2.7 using UDP\nNov 24 01:{n:02}:01 w pluto[1]: \"w\" #{sa}: {UP}\n"
        )
    };
    let text: String = (0..9).map(one).collect();
    assert_eq!(bad(&text), []);
}

#[test]
fn what_gives_up_is_told_by_its_number() {
    let over = ["retransmit so timing out SA (may retry)"];
    let quick =
        lines(2, &["initiating Quick Mode IKEv1+PSK {using isakmp#1 msgid:1}", "sent Quick Mode request", over[0]]);
    assert_eq!(first(&(lines(1, &MAIN) + &lines(1, &[MAIN_UP]) + &quick)), (Severity::Error, "P2_TIMEOUT"));
    assert_eq!(first(&(v2_up() + &lines(1, &over))), (Severity::Error, "DPD_TIMEOUT"));
}

#[test]
fn a_refused_identity_may_be_a_refused_certificate() {
    let refused = ["ignoring secured informational payload INVALID_ID_INFORMATION, msgid=1, length=12"];
    assert_eq!(first(&(lines(1, &MAIN) + &lines(1, &refused))).1, "PEER_ID");
    let mut messages = MAIN.to_vec();
    messages.insert(3, "I am sending my cert");
    assert_eq!(first(&(lines(1, &messages) + &lines(1, &refused))).1, "AUTH_FAILED");
    // Of a quick mode it is about networks.
    let quick = "\"any\"[1] 192.0.2.9 #1: the peer proposed: 0.0.0.0/0===10.1.2.3/32\n\"any\"[1] 192.0.2.9 #1: sending encrypted notification INVALID_ID_INFORMATION to 192.0.2.9:4500\n";
    assert_eq!(first(quick).1, "TRAFFIC_SELECTOR");
}

#[test]
fn where_signatures_prove_the_ends_no_secret_differs() {
    let over = [
        "STATE_MAIN_I3: 60 second timeout exceeded after 7 retransmits.  Possible authentication failure: no acceptable response to our first encrypted message",
    ];
    assert_eq!(first(&(lines(1, &MAIN) + &lines(1, &over))).1, "PSK_MISMATCH");
    let mut messages = MAIN.to_vec();
    messages.insert(3, "I am sending my cert");
    assert_eq!(first(&(lines(1, &messages) + &lines(1, &over))).1, "AUTH_FAILED");
}

#[test]
fn what_is_up_need_not_name_its_role() {
    let unnamed = v2(SECRET)
        + &lines(1, &["established IKE SA; authenticated using authby=secret and peer ID_FQDN '@b.example'"]);
    assert_eq!(report(&unnamed).findings[0].id, "established");
    assert_ne!(report(&v2(SECRET)).findings[0].id, "established");
}

#[test]
fn who_is_sent_to_another_gateway_is_not_refused() {
    let sent = lines(1, &INIT)
        + &lines(
            1,
            &[
                "IKE_SA_INIT response redirects to new gateway 192.0.2.8",
                "scheduling redirect 1 to 192.0.2.8",
                "deleting IKE SA (sent IKE_SA_INIT request)",
            ],
        );
    assert_eq!(bad(&(sent + &v2_up().replace("192.0.2.7", "192.0.2.8"))), []);
}

#[test]
fn a_connection_is_not_helped_by_another_to_the_same_peer() {
    let of = |name: &str, text: &str| text.replace("\"site\"", &format!("\"{name}\""));
    let refused = v2(SIGNED) + &lines(1, &["IKE SA authentication request rejected by peer: AUTHENTICATION_FAILED"]);
    let text = of("good", &v2_up()) + &of("bad", &refused) + &of("good", &v2_up());
    let found = bad(&text);
    assert_eq!((found.len(), found[0].id), (1, "never-established"), "{found:?}");
    assert_eq!(first(&text).1, "AUTH_FAILED");
    assert_eq!(bad(&(of("good", &refused) + &of("good", &v2_up()))), []);
}
