use super::*;
use std::path::PathBuf;

/// A directory of its own for each test, gone when the test is over.
struct Files(PathBuf);

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Files {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("shrike-check-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    }
}

/// The site `own` towards `peer`; `lines` in the connection, `child` in its child. Line 5 is the first of `lines`.
fn site(own: &str, peer: &str, lines: &str, child: &str, secret: &str) -> String {
    let (here, there) = if own == "a" { (1, 2) } else { (2, 1) };
    format!(
        "connections {{\n  {own}-{peer} {{\n    local_addrs = 192.0.2.{here}\n    remote_addrs = 192.0.2.{there}\n    {lines}\n    \
         local {{\n      auth = psk\n      id = {own}.example\n    }}\n    remote {{\n      auth = psk\n      id = {peer}.example\n    }}\n    \
         children {{\n      net {{\n        local_ts = 10.{here}.0.0/16\n        remote_ts = 10.{there}.0.0/16\n        {child}\n      }}\n    }}\n  }}\n}}\n\
         secrets {{\n  ike-1 {{\n    secret = {secret}\n  }}\n}}\n"
    )
}

const GOOD: &str = "proposals = aes128-sha256-x25519";

/// Both files against each other: severities, first causes and all text of what is above information.
fn together(name: &str, a: &str, b: &str) -> (Vec<(Severity, Option<&'static str>)>, String) {
    let files = Files::new(name);
    let (file, with) = (files.write("a.conf", a), files.write("b.conf", b));
    let how = Check { file, with: Some(with), json: false, verbose: false };
    let (found, notes) = findings(&how).unwrap();
    assert!(found.iter().all(|f| f.causes.len() == f.remedy.len() && !f.why.is_empty()));
    let loud = found.iter().filter(|f| f.severity > Severity::Info);
    let loud = loud.map(|f| (f.severity, f.causes.first().map(|c| c.code()))).collect();
    (loud, as_text(&found, &notes, true))
}

#[test]
fn what_fits_would_establish_in_both_directions() {
    let (found, text) = together("good", &site("a", "b", GOOD, "", "s"), &site("b", "a", GOOD, "", "s"));
    assert_eq!(found, []);
    assert_eq!(text.matches("establishes, with its child 'net'").count(), 2, "{text}");
    let v1 = "version = 1\n    proposals = aes128-sha256-x25519";
    let (found, text) = together("good-v1", &site("a", "b", v1, "", "s"), &site("b", "a", v1, "", "s"));
    assert_eq!((found, text.matches("establishes").count()), (vec![], 2), "{text}");
}

#[test]
fn what_does_not_fit_names_the_lines_of_both_files() {
    let good = |end: &str, peer: &str| site(end, peer, GOOD, "", "s");
    let error = |cause| vec![(Severity::Error, Some(cause))];
    let with = |lines: &str, child: &str, secret: &str| site("b", "a", lines, child, secret);
    for (name, b, cause, lines) in [
        ("proposal", with("proposals = aes256-sha512-x25519", "", "s"), "P1_PROPOSAL", &["b.conf:5", "a.conf:5"][..]),
        ("group", with("proposals = aes128-sha256-ecp256", "", "s"), "DH_GROUP", &["b.conf:5", "a.conf:5"]),
        ("version", with("version = 1", "", "s"), "IKE_VERSION", &["b.conf:5 (connections.b-a.version)"]),
        ("secret", with(GOOD, "", "other"), "PSK_MISMATCH", &["b.conf:25"]),
        ("networks", with(GOOD, "local_ts = 10.9.0.0/16", "s"), "TRAFFIC_SELECTOR", &["b.conf:18"]),
        ("esp", with(GOOD, "esp_proposals = aes128ctr-sha256", "s"), "CHILD_FAILED_IKE_KEPT", &["b.conf:18"]),
    ] {
        let (found, text) = together(name, &good("a", "b"), &b);
        let codes: Vec<_> = found.iter().map(|(severity, _)| *severity).collect();
        assert!(found.contains(&error(cause)[0]) && !codes.contains(&Severity::Warning), "{name}: {found:?} {text}");
        assert!(lines.iter().all(|line| text.contains(line)), "{name}: {text}");
        assert!(!text.contains("secret = ") && !text.contains("swordfish"), "{text}");
    }
    let other = good("b", "a").replace("id = b.example", "id = c.example");
    let (found, text) = together("identity", &good("a", "b"), &other);
    assert!(
        found.iter().all(|f| f == &error("PEER_ID")[0]) && text.contains("a.conf:12 (connections.a-b.remote.id)"),
        "{found:?} {text}"
    );
}

#[test]
fn who_waits_is_not_made_to_begin() {
    let waits = |text: String| text.replace("remote_addrs = 192.0.2.1\n", "remote_addrs = %any\n");
    let roadwarriors = waits(site("b", "a", GOOD, "", "s"));
    let (found, text) = together("waits", &site("a", "b", GOOD, "", "s"), &roadwarriors);
    assert_eq!((found, text.matches("establishes, with").count()), (vec![], 1), "{text}");
    let both = site("a", "b", GOOD, "", "s").replace("remote_addrs = 192.0.2.2", "remote_addrs = %any");
    let (found, text) = together("both-wait", &both, &roadwarriors);
    assert_eq!(found, [(Severity::Error, Some("NOT_STARTED"))], "{text}");
    // One that is for somebody else does not count, unless there is no other.
    let elsewhere = site("a", "b", GOOD, "", "s").replace("remote_addrs = 192.0.2.2", "remote_addrs = 192.0.2.99");
    let (_, body) = elsewhere.split_once("connections {\n").unwrap();
    let (other, _) = body.split_once("secrets").unwrap();
    let two = site("a", "b", GOOD, "", "s").replacen(
        "connections {\n",
        &format!("connections {{\n{}", other.trim_end().trim_end_matches('}').replace("a-b", "a-c")),
        1,
    );
    let (found, text) = together("elsewhere", &two, &site("b", "a", GOOD, "", "s"));
    assert!(found.is_empty() && text.contains("'a-c' is for another peer: not tried"), "{found:?} {text}");
    let (found, text) = together("nobody", &elsewhere, &site("b", "a", GOOD, "", "s"));
    assert!(!found.is_empty(), "{text}");
}

#[test]
fn networks_that_a_peer_narrows_are_told() {
    let less = site("b", "a", GOOD, "", "s").replace("local_ts = 10.2.0.0/16", "local_ts = 10.2.7.0/24");
    let (found, text) = together("narrowed", &site("a", "b", GOOD, "", "s"), &less);
    assert_eq!(found, []);
    assert!(text.contains("with less than its child 'net' is for: 10.1.0.0/16 === 10.2.7.0/24"), "{text}");
}

/// The first Child SA of IKEv2 has no group of its own: that groups differ shows when it is rekeyed.
#[test]
fn groups_that_differ_are_found_before_the_first_rekeying() {
    let esp = |end: &str, peer: &str, esp: &str| site(end, peer, GOOD, &format!("esp_proposals = {esp}"), "s");
    let (found, text) = together("pfs", &esp("a", "b", "aes128-sha256-x25519"), &esp("b", "a", "aes128-sha256-ecp256"));
    assert!(!found.is_empty() && found.iter().all(|f| f.1 == Some("PFS")), "{found:?} {text}");
    assert!(
        text.contains("it establishes, and its child 'net' cannot be rekeyed") && text.contains("a.conf:18"),
        "{text}"
    );
    let (found, text) =
        together("pfs-same", &esp("a", "b", "aes128-sha256-x25519"), &esp("b", "a", "aes128-sha256-x25519"));
    assert_eq!(found, [], "{text}");
}

#[test]
fn both_ends_are_seen_to_begin_and_one_alone_to_look_for_the_other() {
    let lines = format!("{GOOD}\n    dpd_delay = 30s");
    let start = "start_action = start";
    let (found, text) = together("both", &site("a", "b", &lines, start, "s"), &site("b", "a", GOOD, start, "s"));
    assert_eq!(found, [(Severity::Warning, Some("COLLISION")), (Severity::Warning, Some("DPD_TIMEOUT"))], "{text}");
    assert!(text.contains("write dpd_delay = 30s at") && text.contains("b.conf"), "{text}");
}

/// What a mistyped key takes out of a file is not to be written a second time.
#[test]
fn a_connection_that_is_refused_is_to_be_mended_and_not_added() {
    let lines = format!("{GOOD}\n    bogus = 1");
    let (found, text) = together("refused", &site("a", "b", GOOD, "", "s"), &site("b", "a", &lines, "", "s"));
    assert!(
        found.iter().all(|(severity, cause)| (*severity, *cause) == (Severity::Error, Some("NO_CONFIG"))),
        "{text}"
    );
    assert!(text.contains("mend what is refused first") && text.contains("b.conf:6]"), "{text}");
    assert!(!text.contains("add a connection"), "{text}");
}

/// Warnings about one file alone: causes, and the text.
fn alone(name: &str, text: &str) -> (Vec<Option<&'static str>>, String) {
    let files = Files::new(name);
    let how = Check { file: files.write("a.conf", text), with: None, json: false, verbose: false };
    let (found, notes) = findings(&how).unwrap();
    let loud = found.iter().filter(|f| f.severity > Severity::Info).map(|f| f.causes.first().map(|c| c.code()));
    (loud.collect(), as_text(&found, &notes, false))
}

#[test]
fn one_file_is_judged_by_itself() {
    let (found, text) = alone("plain", &site("a", "b", GOOD, "", "s"));
    assert!(found.is_empty() && text.contains("1 connection, nothing wrong"), "{text}");
    for (name, lines, child, cause, line) in [
        (
            "aggressive",
            "version = 1\n    aggressive = yes\n    proposals = aes128-sha256-x25519",
            "",
            "NEGOTIATION_MODE",
            6,
        ),
        ("weak", "proposals = aes128-sha256-modp1024", "", "DH_GROUP", 5),
        ("cipher", "proposals = 3des-sha256-modp2048", "", "ENC_ALG", 5),
        ("blowfish", "proposals = blowfish256-sha512-modp2048", "", "ENC_ALG", 5),
        ("subgroup", "proposals = aes128-sha256-modp2048s256", "", "DH_GROUP", 5),
        ("curve", "proposals = aes128-sha256-ecp224", "", "DH_GROUP", 5),
        ("plain-text", GOOD, "esp_proposals = aes128gmac", "ENC_ALG", 18),
        ("hash", GOOD, "esp_proposals = aes128-md5_128", "AUTH_ALG", 18),
        ("order", GOOD, "rekey_time = 3600s\n        life_time = 1800s", "LIFETIME", 19),
        ("rand", GOOD, "rekey_time = 60s\n        rand_time = 70s", "LIFETIME", 19),
        ("outlives", "reauth_time = 1800s\n    proposals = aes128-sha256-x25519", "rekey_time = 3600s", "LIFETIME", 19),
        ("dpd", GOOD, "dpd_action = restart", "DPD_TIMEOUT", 2),
    ] {
        let (found, text) = alone(name, &site("a", "b", lines, child, "s"));
        assert!(found.contains(&Some(cause)), "{name}: {found:?} {text}");
        assert!(text.contains(&format!("a.conf:{line} ")), "{name}: {text}");
    }
    let other = site("a", "b", GOOD, "", "s\n    id = c.example");
    let (found, text) = alone("no-secret", &other);
    assert_eq!(found, [Some("PSK_MISMATCH")], "{text}");
    assert!(text.contains("for 'a.example' and 'b.example'") && text.contains("a.conf:8 "), "{text}");
    for owners in ["id = b.example", "id-1 = c.example\n    id-2 = a.example"] {
        assert!(alone("secret", &site("a", "b", GOOD, "", &format!("s\n    {owners}"))).0.is_empty(), "{owners}");
    }
    let (found, text) = alone("refused", &site("a", "b", "remote_adrs = x", "", "s"));
    assert_eq!(found, [Some("NO_CONFIG")]);
    assert!(text.contains("a.conf:5") && text.contains("remote_adrs"), "{text}");
    for (name, lines, child, secret, cause) in [
        ("r-proposal", "proposals = aes128-rot13", "", "s", "P1_PROPOSAL"),
        ("r-esp", GOOD, "esp_proposals = rot13", "s", "CHILD_FAILED_IKE_KEPT"),
        ("r-ts", GOOD, "local_ts = 10.0.0.0/99", "s", "TRAFFIC_SELECTOR"),
        ("r-time", GOOD, "rekey_time = soon", "s", "LIFETIME"),
        ("r-version", "version = 3", "", "s", "IKE_VERSION"),
        ("r-secret", GOOD, "", "0sthis is no base64!", "PSK_MISMATCH"),
    ] {
        let (found, text) = alone(name, &site("a", "b", lines, child, secret));
        assert!(found.contains(&Some(cause)), "{name}: {found:?} {text}");
    }
    let how = Check { file: "/no/such/file".into(), with: None, json: false, verbose: false };
    assert!(findings(&how).unwrap_err().contains("/no/such/file"));
}

/// Both ends with the same time and nothing random: their requests cross each time.
#[test]
fn ends_that_rekey_at_the_same_moment_are_told_the_lines_of_both() {
    let exact = "rekey_time = 1800s\n        rand_time = 0";
    let (a, b) = (site("a", "b", GOOD, exact, "s"), site("b", "a", GOOD, exact, "s"));
    let (found, text) = together("clock", &a, &b);
    assert_eq!(found, [(Severity::Warning, Some("COLLISION"))], "{text}");
    assert!(
        text.contains("'net' after exactly 1800 s") && text.contains("a.conf:19 ") && text.contains("b.conf:19 "),
        "{text}"
    );
    let later = site("b", "a", GOOD, "rekey_time = 2400s\n        rand_time = 0", "s");
    assert_eq!(together("clocks", &a, &later).0, []);
    assert_eq!(together("random", &a, &site("b", "a", GOOD, "rekey_time = 1800s", "s")).0, []);
}

/// A private address of ours towards a public one of the peer: what a NAT in between needs is told, as information.
#[test]
fn a_nat_that_must_be_there_is_told_with_its_ports_and_identities() {
    let files = Files::new("nat");
    let told = |text: &str| {
        let how = Check { file: files.write("a.conf", text), with: None, json: false, verbose: false };
        let (found, _) = findings(&how).unwrap();
        let nat = found.into_iter().filter(|f| f.id == "nat");
        nat.map(|f| (f.severity, f.causes.clone(), f.why)).collect::<Vec<_>>()
    };
    let good = site("a", "b", GOOD, "", "s");
    assert!(told(&good).is_empty());
    let private = good.replace("local_addrs = 192.0.2.1", "local_addrs = 10.1.0.1");
    let found = told(&private);
    assert!(matches!(&found[..], [(Severity::Info, causes, _)] if *causes == [Cause::NatTraversal]), "{found:?}");
    assert!(found[0].2.contains("4500"), "{found:?}");
    let unnamed = told(&private.replace("id = a.example", ""));
    assert!(matches!(&unnamed[..], [(Severity::Warning, causes, _)] if causes.contains(&Cause::PeerId)), "{unnamed:?}");
    let both = private.replace("remote_addrs = 192.0.2.2", "remote_addrs = 10.2.0.2");
    assert!(told(&both).is_empty(), "one private network may reach another one");
}

/// What is wrong with one line does not hide what is unwise in another one, nor make something seem unwise.
#[test]
fn what_is_unwise_is_told_beside_what_is_refused_in_the_order_of_lines() {
    let lines =
        "version = 1\n    proposals = aes128gcm16-prfsha256-modp2048\n    dpd_delay = soon\n    aggressive = yes";
    let child =
        "rekey_time = 3600s\n        life_time = 1800s\n        esp_proposals = 3des-md5\n        dpd_action = restart";
    let text = site("a", "b", lines, child, "s");
    let files = Files::new("all-faults");
    let how = Check { file: files.write("a.conf", &text), with: None, json: false, verbose: false };
    let (found, _) = findings(&how).unwrap();
    let told: Vec<(&str, Option<&str>)> =
        found.iter().map(|f| (f.id, f.causes.first().map(|cause| cause.code()))).collect();
    assert_eq!(
        told,
        [
            ("refused", Some("P1_PROPOSAL")),
            ("refused", Some("DPD_TIMEOUT")),
            ("unwise", Some("NEGOTIATION_MODE")),
            ("unwise", Some("LIFETIME")),
            ("unwise", Some("ENC_ALG")),
            ("unwise", Some("AUTH_ALG")),
        ]
    );
}

/// A capture's first messages, as Shrike sends them, against configurations.
#[test]
fn a_capture_is_held_against_a_configuration() {
    let files = Files::new("against");
    let mut sim = sim::Sim::new(5);
    let here = sim.add(sim::Site::new("a", "192.0.2.1").to("192.0.2.2").connection(GOOD));
    let there = sim.add(sim::Site::new("b", "192.0.2.2").to("192.0.2.1").connection(GOOD));
    sim.initiate(here, there);
    sim.run_for(std::time::Duration::from_secs(5));
    let against = |text: &str| {
        let mut against = Against::new(&files.write("b.conf", text), None).unwrap();
        sim.wire.iter().for_each(|(_, d)| against.take(d.from, d.to, &d.bytes));
        let mut notes = Vec::new();
        (against.findings(&mut notes), notes)
    };
    let (found, notes) = against(&site("b", "a", GOOD, "", "s"));
    assert_eq!((found.len(), found[0].severity, found[0].id, notes.len()), (1, Severity::Ok, "would-accept", 0));
    let (found, _) = against(&site("b", "a", "proposals = aes256-sha512-x25519", "", "s"));
    assert_eq!((found[0].id, found[0].causes.first()), ("would-refuse", Some(&Cause::Phase1Proposal)), "{found:?}");
    assert!(found[0].evidence[0].contains("b.conf:5 (connections.b-a.proposals)"), "{found:?}");
    let (found, _) =
        against(&site("b", "a", GOOD, "", "s").replace("remote_addrs = 192.0.2.1", "remote_addrs = 192.0.2.77"));
    assert_eq!(found[0].causes.first(), Some(&Cause::NoConfig), "{found:?}");
    // The configuration of the other end of it.
    let (found, _) = against(&site("a", "b", GOOD, "", "s"));
    assert_eq!((found[0].id, found[0].severity), ("would-accept", Severity::Ok), "{found:?}");
    let (found, _) = against(&site("a", "b", "proposals = aes256-sha512-x25519", "", "s"));
    assert_eq!((found[0].id, found[0].causes.first()), ("would-offer-else", Some(&Cause::Phase1Proposal)), "{found:?}");
    let elsewhere = site("a", "b", GOOD, "", "s").replace("local_addrs = 192.0.2.1", "local_addrs = 192.0.2.7");
    let (found, notes) = against(&elsewhere);
    assert!(found.is_empty() && notes[0].contains("say which end it is with --end"), "{notes:?}");
    // The operator says whose it is where no address does.
    let told = |end| {
        let mut against = Against::new(&files.write("b.conf", &elsewhere), Some(end)).unwrap();
        sim.wire.iter().for_each(|(_, d)| against.take(d.from, d.to, &d.bytes));
        against.findings(&mut Vec::new()).first().map(|found| (found.id, found.peer.contains("as initiator")))
    };
    assert_eq!(told(crate::cli::End::Initiator), Some(("would-not-begin", true)));
    assert_eq!(told(crate::cli::End::Responder), Some(("would-refuse", false)));
    let bad = files.write("bad.conf", "connections { x { remote_adrs = y } }");
    let error = Against::new(&bad, None).map(|_| ()).unwrap_err();
    assert!(error.contains("remote_adrs") && error.contains("correct this"), "{error}");
}

/// IKEv1's first message against the configuration of the one who sent it: algorithms, mode, way of proof, and in aggressive
/// mode the name.
#[test]
fn a_first_message_of_ikev1_is_held_against_its_senders_configuration() {
    let files = Files::new("against-v1");
    for mode in ["no", "yes"] {
        let lines = format!("version = 1\n    aggressive = {mode}\n    {GOOD}");
        let mut sim = sim::Sim::new(5);
        let simulated = |name, address, peer| {
            let site = sim::Site::new(name, address).to(peer).connection("version = 1").connection(GOOD);
            site.connection(&format!("aggressive = {mode}"))
        };
        let (here, there) =
            (sim.add(simulated("a", "192.0.2.1", "192.0.2.2")), sim.add(simulated("b", "192.0.2.2", "192.0.2.1")));
        sim.initiate(here, there);
        sim.run_for(std::time::Duration::from_secs(5));
        let against = |text: &str| {
            let mut against = Against::new(&files.write("a.conf", text), None).unwrap();
            sim.wire.iter().for_each(|(_, d)| against.take(d.from, d.to, &d.bytes));
            let found = against.findings(&mut Vec::new()).remove(0);
            (found.id, found.causes.first().map(|c| c.code()), format!("{:?} {:?}", found.evidence, found.remedy))
        };
        let good = site("a", "b", &lines, "", "s");
        assert_eq!(against(&good).0, "would-accept", "aggressive = {mode}: {:?}", against(&good));
        let sent_mode = format!("aggressive = {mode}");
        let other_mode = format!("aggressive = {}", if mode == "no" { "yes" } else { "no" });
        let mut cases = vec![
            (GOOD, "proposals = aes256-sha512-x25519", "P1_PROPOSAL", "proposals"),
            (GOOD, "proposals = aes128-sha256-modp2048", "DH_GROUP", "proposals"),
            (&sent_mode, &other_mode, "NEGOTIATION_MODE", "aggressive"),
        ];
        if mode == "yes" {
            cases.push(("id = a.example", "id = c.example", "PEER_ID", "local.id"));
        }
        for (was, is, cause, line) in cases {
            let found = against(&good.replace(was, is));
            assert_eq!((found.0, found.1), ("would-offer-else", Some(cause)), "aggressive = {mode}, {is}: {found:?}");
            assert!(found.2.contains(&format!("connections.a-b.{line}")), "{found:?}");
        }
    }
}

/// With keys, what was encrypted is held against a configuration too: of either end, in both versions.
#[test]
fn what_keys_open_is_held_against_a_configuration() {
    let files = Files::new("against-keys");
    for version in ["version = 2", "version = 1"] {
        let lines = format!("{version}\n    {GOOD}");
        let mut sim = sim::Sim::new(5);
        let simulated =
            |name, address, peer| sim::Site::new(name, address).to(peer).connection(version).connection(GOOD);
        let a =
            simulated("a", "192.0.2.1", "192.0.2.2").child("local_ts = 10.1.0.0/16").child("remote_ts = 10.2.0.0/16");
        let b =
            simulated("b", "192.0.2.2", "192.0.2.1").child("local_ts = 10.2.0.0/16").child("remote_ts = 10.1.0.0/16");
        let (here, there) = (sim.add(a), sim.add(b));
        sim.initiate(here, there);
        sim.run_for(std::time::Duration::from_secs(5));
        let keys = sim.decryption_tables(here);
        let against = |text: &str| {
            let mut against = Against::new(&files.write("b.conf", text), None).unwrap();
            let mut tracker = capture::Tracker::with_keys(capture::Keys::parse(keys.as_bytes()));
            for (time, d) in &sim.wire {
                against.take(d.from, d.to, &d.bytes);
                let content = capture::Content::Ike(&d.bytes);
                tracker.take(time.as_nanos(), &capture::Datagram { source: d.from, destination: d.to, content });
            }
            against.take_opened(&tracker.finish().sas);
            let found = against.findings(&mut Vec::new());
            let first = found.first().unwrap().clone();
            (first.id, first.causes.first().map(|cause| cause.code()), format!("{} {:?}", first.why, first.evidence))
        };
        let good = against(&site("b", "a", &lines, "", "s"));
        assert!(good.0 == "would-accept" && good.2.contains("child 'net'"), "{version}: {good:?}");
        let good = against(&site("a", "b", &lines, "", "s"));
        assert!(good.0 == "would-accept" && good.2.contains("child 'net'"), "{version}: {good:?}");
        for (own, peer, was, is, cause, line) in [
            ("b", "a", "id = a.example", "id = c.example", "PEER_ID", "remote.id"),
            ("b", "a", "local_ts = 10.2.0.0/16", "local_ts = 10.9.0.0/16", "TRAFFIC_SELECTOR", "local_ts"),
            ("b", "a", "remote {\n      auth = psk", "remote {\n      auth = pubkey", "AUTH_FAILED", "remote.auth"),
            (
                "b",
                "a",
                "local_ts =",
                "esp_proposals = aes256ctr-sha512\n        local_ts =",
                "CHILD_FAILED_IKE_KEPT",
                "esp_proposals",
            ),
            ("a", "b", "id = b.example", "id = c.example", "PEER_ID", "remote.id"),
            ("a", "b", "remote_ts = 10.2.0.0/16", "remote_ts = 10.9.0.0/16", "TRAFFIC_SELECTOR", "remote_ts"),
        ] {
            // IKEv1 has the way of proof in the clear, and refuses it there.
            if version == "version = 1" && cause == "AUTH_FAILED" {
                continue;
            }
            let found = against(&site(own, peer, &lines, "", "s").replace(was, is));
            assert_eq!((found.0, found.1), ("would-refuse", Some(cause)), "{version}, {own}, {is}: {found:?}");
            assert!(found.2.contains(line), "{found:?}");
        }
    }
}

#[test]
fn several_networks_in_one_child_of_ikev1_are_told() {
    let files = Files::new("one-pair");
    let told = |version: &str| {
        let text = site("a", "b", version, "", "s").replace("10.2.0.0/16", "10.2.0.0/16, 10.3.0.0/16");
        let how = Check { file: files.write("a.conf", &text), with: None, json: false, verbose: false };
        let (found, notes) = findings(&how).unwrap();
        as_text(&found, &notes, true)
    };
    let text = told("version = 1");
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("IKEv1 negotiates one pair of networks") && flat.contains("a child for each pair"), "{text}");
    assert!(!told("version = 2").contains("one pair"));
}

/// What keeps a connection from being loaded comes before what is only unwise, wherever it is written; and its reason says what is
/// wrong, not again that something is.
#[test]
fn errors_come_before_warnings_and_say_so_once() {
    let unwise = site("a", "b", "proposals = 3des-sha256-modp1024", "", "s");
    let text = unwise.replace(
        "secrets {",
        "connections { x { remote_adrs = y\n local { auth = psk }\n remote { auth = psk } } }\nsecrets {",
    );
    let files = Files::new("order");
    let how = Check { file: files.write("a.conf", &text), with: None, json: false, verbose: false };
    let (found, _) = findings(&how).unwrap();
    let severities: Vec<Severity> = found.iter().map(|f| f.severity).collect();
    assert!(severities.is_sorted_by(|a, b| a >= b) && severities.contains(&Severity::Warning), "{found:?}");
    assert_eq!(severities[0], Severity::Error);
    assert!(!found[0].why.starts_with("error") && found[0].why.contains("remote_adrs"), "{}", found[0].why);
}
