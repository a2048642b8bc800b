//! Typed connections, secrets and settings.

use config::names::{Scope, Support, table};
use config::{
    AddressPattern, AuthMethod, CertificateSource, Config, ConfigError, Connection, Entry, ErrorKind, InvalidSecret,
    MemoryFiles, Place, RevocationPolicy, Section, SelectorPattern, SendCert, SignatureRule, StartAction, Unique,
    best_psk, connection, daemon_settings, decode_secret, load, parse,
};
use model::dataplane::ShuntAction;
use model::{Identity, Proposal, ProposalProtocol};
use std::time::Duration;

fn tree(text: &str) -> Section {
    parse("swanctl.conf", &MemoryFiles::one("swanctl.conf", text))
        .unwrap_or_else(|e| panic!("{}", e.report(Some(text))))
}

fn loaded(text: &str) -> Config {
    load(&tree(text)).unwrap_or_else(|e| panic!("{}", e.iter().map(|e| e.report(Some(text))).collect::<String>()))
}

fn refused(text: &str) -> Vec<ConfigError> {
    load(&tree(text)).map(|_| ()).unwrap_err()
}

const ROUNDS: &str = "local { auth = psk\n id = moon }\n remote { auth = psk\n id = sun }\n";

fn one(keys: &str) -> Connection {
    Connection::clone(&loaded(&format!("connections {{ gw {{\n{keys}\n{ROUNDS} }} }}")).connections[0])
}

fn id(text: &str) -> Identity {
    text.parse().unwrap()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn defaults_are_strongswans() {
    let c = one("children { net { } }");
    assert_eq!(c.local_addrs, [AddressPattern::Any]);
    assert_eq!((c.local_port, c.remote_port, c.keyingtries, c.unique), (500, 500, 1, Unique::No));
    assert_eq!(c.proposals, Proposal::defaults(ProposalProtocol::Ike));
    assert_eq!(
        (c.rekey_time, c.reauth_time, c.over_time, c.rand_time),
        (14400 * SECOND, Duration::ZERO, 1440 * SECOND, 1440 * SECOND)
    );
    let hour = one("rekey_time = 1h\n reauth_time = 24h\n children { net { } }");
    assert_eq!((hour.over_time, hour.rand_time), (8640 * SECOND, 1800 * SECOND), "half of the shorter time at most");
    let child = &c.children[0];
    assert_eq!((child.rekey_time, child.life_time, child.rand_time), (3600 * SECOND, 3960 * SECOND, 360 * SECOND));
    assert_eq!((child.rekey_bytes, child.life_bytes, child.rand_packets), (0, 0, 0));
    assert_eq!(child.local_ts, [SelectorPattern::DYNAMIC]);
    assert_eq!(child.esp_proposals, Proposal::defaults(ProposalProtocol::Esp));
    assert!(child.policies && c.mobike && !c.encap && !child.hostaccess);
    assert_eq!((child.replay_window, child.reqid, child.start_action), (32, None, StartAction::None));
}

#[test]
fn values_are_read() {
    let c = one(
        "version = 2\nlocal_addrs = 192.0.2.1, moon.example.org\nremote_addrs = 198.51.100.0/24\nproposals = aes128-sha256-x25519, default\n\
         reauth_time = 3h\ndpd_delay = 10s\nkeyingtries = 0\nunique = replace\nencap = yes\nmobike = no\nfragmentation = force\n\
         children { net { remote_ts = 10.1.0.0/16,10.2.0.0/16[tcp/443]\n rekey_bytes = 500000000\n life_time = 30m\n updown = /bin/updown iptables\n\
         start_action = start\n dpd_action = restart\n reqid = 7 } }",
    );
    assert_eq!(c.local_addrs[1], AddressPattern::Name("moon.example.org".into()));
    assert_eq!(c.proposals.len(), 3);
    assert_eq!(
        (c.rekey_time, c.over_time),
        (Duration::ZERO, 1080 * SECOND),
        "reauth_time alone switches the default rekeying off"
    );
    let child = &c.children[0];
    assert_eq!((child.rekey_bytes, child.life_bytes, child.rand_bytes), (500_000_000, 550_000_000, 50_000_000));
    assert_eq!(child.life_time, 1800 * SECOND);
    assert!(child.rekey_time < child.life_time);
    assert_eq!(child.updown.as_deref(), Some("/bin/updown iptables"));
    assert_eq!((child.start_action, child.dpd_action, child.reqid), (StartAction::Start, StartAction::Start, Some(7)));
    assert_eq!(child.remote_ts[1].to_string(), "10.2.0.0/16[tcp/https]");
}

#[test]
fn padding_is_a_size_or_what_fits_and_not_for_ikev1() {
    use model::dataplane::TfcPadding;
    for (text, padding) in [("0", TfcPadding::None), ("1200", TfcPadding::To(1200)), ("MTU", TfcPadding::Mtu)] {
        let c = one(&format!("children {{ net {{ tfc_padding = {text}\n single_pair = yes }} }}"));
        assert_eq!((c.children[0].tfc_padding, c.children[0].single_pair), (padding, true));
    }
    let with = |version, padding| {
        format!(
            "connections {{ gw {{\nversion = {version}\nchildren {{ net {{ tfc_padding = {padding} }} }}\n{ROUNDS} }} }}"
        )
    };
    for (version, padding) in [(2, "-1"), (2, "1k"), (2, "all"), (1, "mtu")] {
        let errors = refused(&with(version, padding));
        assert_eq!((errors.len(), errors[0].key.as_str()), (1, "connections.gw.children.net.tfc_padding"), "{padding}");
    }
    assert!(load(&tree(&with(1, "0"))).is_ok());
}

#[test]
fn sources_lead_back_to_the_file() {
    let c = one("proposals = default\nchildren { net { local_ts = 10.1.0.0/16 } }");
    let at = c.source.get("proposals");
    assert_eq!((at.line, at.key.as_str()), (2, "connections.gw.proposals"));
    assert_eq!(c.source.get("remote.id").key, "connections.gw.remote.id");
    let unset = c.source.get("dpd_delay");
    assert_eq!((unset.line, unset.key.as_str()), (1, "connections.gw.dpd_delay"));
    assert_eq!(c.children[0].source.get("local_ts").key, "connections.gw.children.net.local_ts");
    assert_eq!(c.source.section().key, "connections.gw");
    assert!(c.source.is_set("local.auth") && !c.source.is_set("version"));
}

#[test]
fn a_message_of_a_client_means_the_same() {
    let at = Place::vici;
    let list = |key: &str, values: &[&str]| Entry::List {
        key: key.into(),
        values: values.iter().map(ToString::to_string).collect(),
        at: at(),
    };
    let value = |key: &str, value: &str| Entry::Value { key: key.into(), value: value.into(), at: at() };
    let section = |name: &str, entries| Entry::Section(Section { entries, ..Section::new(name, at()) });
    let message = Section {
        entries: vec![
            value("version", "2"),
            list("local_addrs", &["192.0.2.1"]),
            list("remote_addrs", &["192.0.2.2", "192.0.2.3"]),
            list("proposals", &["aes128-sha256-x25519"]),
            section("local-1", vec![value("auth", "psk"), value("id", "moon")]),
            section("remote-1", vec![value("auth", "psk")]),
            section("children", vec![section("net", vec![list("remote_ts", &["10.2.0.0/16", "10.3.0.0/16"])])]),
        ],
        ..Section::new("gw", at())
    };
    let c = connection(&message).unwrap();
    assert_eq!((c.local.id, c.remote.id), (id("moon"), Identity::ANY));
    assert_eq!((c.remote_addrs.len(), c.children[0].remote_ts.len()), (2, 2));
    let place = c.source.get("local.id");
    assert_eq!((place.file.as_str(), place.line, place.key.as_str()), ("vici", 0, "connections.gw.local-1.id"));

    let mut twice = message.clone();
    twice.entries.push(value("version", "2"));
    twice.entries.push(list("mobike", &["yes", "no"]));
    let errors = connection(&twice).unwrap_err();
    assert!(matches!(errors[0].kind, ErrorKind::Duplicate { .. }), "{}", errors[0]);
    assert_eq!(
        errors[1].to_string(),
        "vici: connections.gw.mobike: 'yes, no' is no valid value; expected a single value"
    );
}

#[test]
fn all_errors_are_reported_with_their_place() {
    let errors = refused(
        "connections {\n gw {\n  proposals = aes128-sha257-x25519\n  prposals = x\n  version = 3\n  remote_addrs = 10.0.0.256\n  vips = moon\n  local { auth = psk }\n  remote { auth = eap-tls\n   certs = x.pem\n   nosuch = 1 }\n  children { net { local_ts = 10.1.0.0/33\n   mode = beet\n   start_action = boo } }\n }\n}\nsecrets { eap-x { } ike { } psk-x { } }\npools { p { addrs = 10.3.0.0/28\n dns = x } }\nconections { }\n",
    );
    let shown: Vec<_> = errors.iter().map(ToString::to_string).collect();
    let expected = [
        "swanctl.conf:3:3: connections.gw.proposals: 'sha257' names no algorithm; expected algorithms joined by '-', such as aes128-sha256-x25519, or 'default'",
        "swanctl.conf:4:3: connections.gw.prposals: there is no such key or section; did you mean 'proposals'?",
        "swanctl.conf:5:3: connections.gw.version: '3' is no valid value; expected 1, 2, or 0 for any version",
        "swanctl.conf:6:3: connections.gw.remote_addrs: '10.0.0.256' is no valid value; expected an address, a network (192.0.2.0/24), a range (192.0.2.1-192.0.2.9), a host name or %any",
        "swanctl.conf:7:3: connections.gw.vips: 'moon' is no valid value; expected 0.0.0.0, :: or an address to ask for, at most one of each version of IP",
        "swanctl.conf:9:12: connections.gw.remote.auth: not supported: only pre-shared keys and signatures by RSA, ECDSA and Ed25519 are available in this version; write auth = psk or auth = pubkey",
        "swanctl.conf:11:4: connections.gw.remote.nosuch: there is no such key or section; remove it",
        "swanctl.conf:12:20: connections.gw.children.net.local_ts: the prefix length of '10.1.0.0/33' is longer than its address; expected for instance 10.1.0.0/16, 10.1.0.0/16[tcp/443] or 'dynamic'",
        "swanctl.conf:13:4: connections.gw.children.net.mode: not supported: only tunnel and transport mode are available in this version, and pass and drop for what is not protected; write the same mode on both ends",
        "swanctl.conf:14:4: connections.gw.children.net.start_action: 'boo' is no valid value; expected none, start or trap, or clear, restart or trap for dpd_action",
        "swanctl.conf:17:11: secrets.eap-x.secret: missing: write secret = ... with the user's password",
        "swanctl.conf:17:21: secrets.ike.secret: missing: write secret = ... with the pre-shared key",
        "swanctl.conf:17:29: secrets.psk-x: there is no such key or section; did you mean 'ike-psk-x'?",
        "swanctl.conf:19:2: pools.p.dns: 'x' is no valid value; expected an address",
        "swanctl.conf:20:1: conections: there is no such key or section; did you mean 'connections'?",
    ];
    assert_eq!(shown, expected);
}

#[test]
fn what_is_not_protected_is_no_child() {
    let config = loaded(
        "connections { gw { children { net { priority = 7 }
            lan { mode = pass\n local_ts = 10.1.0.0/16\n remote_ts = 10.1.0.0/16[tcp/22]\n start_action = trap\n priority = 2 } } }
            stop { children { all { mode = DROP } } } }",
    );
    let gw = &config.connections[0];
    assert_eq!(gw.children.iter().map(|c| (c.name.as_str(), c.priority)).collect::<Vec<_>>(), [("net", Some(7))]);
    let [lan] = &gw.shunts[..] else { panic!("{:?}", gw.shunts) };
    assert_eq!((lan.name.as_str(), lan.action, lan.priority), ("lan", ShuntAction::Pass, Some(2)));
    assert_eq!(lan.remote_ts[0].to_string(), "10.1.0.0/16[tcp/ssh]");
    assert_ne!(lan.start_action, StartAction::None);
    let stop = &config.connections[1];
    assert_eq!(
        (stop.shunts[0].action, &stop.shunts[0].local_ts[..]),
        (ShuntAction::Drop, &[SelectorPattern::DYNAMIC][..])
    );
    assert_eq!((gw.negotiates(), stop.negotiates()), (true, false));
}

#[test]
fn without_a_method_an_end_signs() {
    for text in ["", "local { }\n remote { auth = pubkey }", "local { auth = pubkey }"] {
        let connection = loaded(&format!("connections {{ gw {{ {text} }} }}")).connections[0].clone();
        for end in [&connection.local, &connection.remote] {
            assert_eq!((end.method, &end.id), (AuthMethod::Pubkey, &Identity::ANY), "{text}");
        }
    }
    let text = "send_cert = always\n send_certreq = no\n
        local { auth = ecdsa-sha384\n certs = a.pem, /x/b.pem\n id = \"C=CH, O=x\" }
        remote { auth = ike:rsa-3072-sha256\n id = \"CN=*\"\n cacerts = ca.pem\n revocation = strict }";
    let connection = loaded(&format!("connections {{ gw {{ {text} }} }}")).connections[0].clone();
    assert_eq!((connection.send_cert, connection.send_certreq), (SendCert::Always, false));
    assert_eq!(connection.local.certs, ["a.pem", "/x/b.pem"].map(|f| CertificateSource::File(f.into())));
    assert_eq!(connection.local.id, id("C=CH, O=x"));
    assert_eq!(connection.local.signature, SignatureRule::parse("ecdsa-sha384").unwrap());
    assert!(connection.remote.id.is_wildcard() && connection.remote.signature.only_ike);
    assert_eq!(connection.remote.cacerts, [CertificateSource::File("ca.pem".into())]);
    assert_eq!(connection.remote.revocation, RevocationPolicy::Strict);
}

#[test]
fn passphrases_are_read_and_not_shown() {
    let config =
        loaded("secrets { rsa-gw { file = gw.pem\n secret = \"pass phrase\" } private { file = x\n secret = y } }");
    let [gw, any] = &config.passphrases[..] else { panic!("{config:?}") };
    assert_eq!((gw.file.as_str(), gw.directory(), any.directory()), ("gw.pem", "rsa", "private"));
    assert_eq!(gw.secret.expose(), b"pass phrase");
    assert!(!format!("{config:?}").contains("pass phrase"));
    for (text, missing) in [("rsa { file = x }", "secret"), ("pkcs8 { secret = hunter2 }", "file")] {
        let errors = refused(&format!("secrets {{ {text} }}"));
        assert!(matches!(errors[0].kind, ErrorKind::Missing { .. }) && errors[0].key.ends_with(missing), "{errors:?}");
        assert!(!errors[0].to_string().contains("hunter2"));
    }
    assert!(matches!(
        refused("secrets { rsa { file = x\n secret = y\n id = z } }")[0].kind,
        ErrorKind::UnknownKey { .. }
    ));
}

#[test]
fn methods_that_are_none_are_refused() {
    let why = |text: &str| refused(&format!("connections {{ gw {{ {text} }} }}"));
    let errors = why("local { auth = psk }\n local-2 { auth = xauth }\n remote { auth = pks }");
    assert_eq!(errors.len(), 2);
    assert!(errors[0].kind.is_unsupported() && errors[0].key.ends_with("local-2"));
    assert!(
        matches!(&errors[1].kind, ErrorKind::Value { got, expected } if got == "pks" && expected.starts_with("psk"))
    );
    let errors = why("local { auth = psk\n id = \"C=CH, Q=x\" }\n remote { auth = psk\n id = *.org }");
    assert!(matches!(&errors[..], [e] if matches!(e.kind, ErrorKind::Identity(_))), "{errors:?}");
    for local in ["*.org", "\"C=CH, CN=*\""] {
        let errors = why(&format!("local {{ auth = psk\n id = {local} }}\n remote {{ auth = psk }}"));
        assert!(matches!(errors[0].kind, ErrorKind::Value { .. }), "{errors:?}");
    }
}

#[test]
fn xauth_and_virtual_addresses() {
    let text = |version: u8, more: &str| {
        format!(
            "connections {{ rw {{ version = {version}\n local {{ auth = psk }}\n remote {{ auth = psk }}\n {more} }} }}\n\
             secrets {{ xauth-carol {{ id = carol\n secret = s }} eap-dave {{ secret = t }} ike {{ secret = u }} }}\n\
             pools {{ rw {{ addrs = 10.3.0.0/28\n dns = 10.1.0.1, 2001:db8::1\n split_include = 10.1.0.0/16, 10.2.0.0/16\n 28672 = Hello }} }}"
        )
    };
    let client = "local-x { auth = xauth\n xauth_id = carol }\n vips = 0.0.0.0, ::\n pull = no";
    let config = loaded(&text(1, client));
    let c = &config.connections[0];
    assert_eq!((c.local_more.len(), c.remote_more.len(), c.pull), (1, 0, false));
    assert_eq!((c.local_more[0].method, c.local_more[0].xauth_id.as_deref()), (AuthMethod::Xauth, Some("carol")));
    assert_eq!(c.vips.len(), 2);
    let c = &loaded(&text(1, "remote-x { auth = xauth-generic\n id = carol }\n pools = rw")).connections[0];
    assert_eq!((c.remote_more[0].id.clone(), c.pools.as_slice()), (id("carol"), &["rw".to_string()][..]));

    // A password is no pre-shared key, and the other way round.
    let secrets =
        |found: Vec<&config::SharedSecret>| found.iter().map(|s| s.secret.expose().to_vec()).collect::<Vec<_>>();
    assert_eq!(secrets(config::xauth_secrets(&config.secrets, &id("carol"))), [b"s", b"t"]);
    assert_eq!(secrets(config::xauth_secrets(&config.secrets, &id("eve"))), [b"t"]);
    assert_eq!(secrets(best_psk(&config.secrets, &id("carol"), &id("x"))), [b"u"]);

    let pool = &config.pools[0];
    assert_eq!((pool.base.to_string(), pool.size()), ("10.3.0.1".into(), 14));
    let attributes: Vec<(u16, usize)> = pool.attributes.iter().map(|a| (a.kind, a.value.len())).collect();
    assert_eq!(attributes, [(3, 4), (10, 16), (28676, 28), (28672, 5)]);
    assert_eq!(pool.attributes[2].value[..8], [10, 1, 0, 0, 255, 255, 0, 0]);
    let size = |addrs: &str| loaded(&format!("pools {{ p {{ addrs = {addrs} }} }}")).pools[0].size();
    assert_eq!([size("10.3.0.9/28"), size("10.3.0.1-10.3.0.6"), size("10.3.0.1"), size("10.3.0.2/31")], [6, 6, 1, 2]);

    let named = loaded(&text(1, "remote-2 { auth = xauth\n xauth_id = carol }")).connections[0].clone();
    assert_eq!(named.remote_more[0].id, id("carol"), "the only user to accept");

    for (version, more, why) in [
        (2, client, "write version = 1"),
        (0, "remote-2 { auth = xauth }", "write version = 1"),
        (1, "remote-2 { auth = xauth-pam }", "write auth = xauth"),
        (1, "local-2 { auth = xauth }\n remote-2 { auth = xauth }", "proves one end"),
        (1, "local-2 { auth = xauth }\n local-3 { auth = xauth }", "one round of XAuth"),
        (1, "local-2 { auth = psk }", "second round"),
        (1, "vips = 10.3.0.1, 10.3.0.2", "at most one of each"),
        (1, "vips = moon", "an address to ask for"),
    ] {
        let errors = refused(&text(version, more));
        assert!(errors.iter().any(|e| e.to_string().contains(why)), "{more}: {errors:?}");
    }
    for addrs in ["", "moon", "10.3.0.0/0", "10.3.0.9-10.3.0.1", "%any"] {
        assert_eq!(refused(&format!("pools {{ p {{ addrs = \"{addrs}\" }} }}")).len(), 1, "{addrs}");
    }
    assert!(matches!(refused("pools { p { } }")[0].kind, ErrorKind::Missing { .. }));
    assert!(matches!(
        refused("pools { p { addrs = 10.3.0.1\n dsn = 10.1.0.1 } }")[0].kind,
        ErrorKind::UnknownKey { .. }
    ));
}

#[test]
fn wrong_shapes_are_refused() {
    let errors = refused(
        "connections { gw = 1\n a { version { }\n children = x\n local { auth = psk } remote { auth = psk } } }\nsecrets = hunter2\nk = v",
    );
    assert_eq!(errors.len(), 5, "{errors:?}");
    assert!(errors.iter().all(|e| matches!(e.kind, ErrorKind::Value { .. } | ErrorKind::UnknownKey { .. })));
    let misspelt =
        refused("connections { gw { remote_adrs = 192.0.2.1\n local { auth = psk }\n remote { auth = psk } } }");
    assert_eq!(
        misspelt[0].kind,
        ErrorKind::UnknownKey { suggestion: Some("remote_addrs".into()) },
        "not a section remote*"
    );
    let errors = refused("secrets { secret = hunter2 }");
    assert!(!errors[0].to_string().contains("hunter2"));
}

#[test]
fn templates_may_have_any_name_if_they_are_used() {
    let text = format!("conn-defaults {{ {ROUNDS} version = 2 }}\nconnections {{ a : conn-defaults {{ }} }}");
    assert_eq!(loaded(&text).connections[0].remote.id, id("sun"));
    assert!(matches!(refused("conn-defaults { version = 2 }")[0].kind, ErrorKind::UnknownKey { .. }));
}

/// Every key of the table does what the table says.
#[test]
fn the_table_is_true() {
    for doc in table() {
        let (before, after) = match doc.scope {
            Scope::Connection => ("", ROUNDS),
            Scope::Authentication => ("local { auth = psk\n", "}\nremote { auth = psk }"),
            Scope::Child => ("children { net {", "}\n}\nlocal { auth = psk }\nremote { auth = psk }"),
            Scope::Top | Scope::Secret | Scope::Passphrase | Scope::Pool | Scope::Authority | Scope::Settings => {
                continue;
            }
        };
        let is_section = doc.key.ends_with("{}");
        let key = doc.key.trim_end_matches("{}").trim_end_matches('*');
        let result = |value: &str| {
            let entry = if is_section { format!("{key} {{ file = x }}") } else { format!("{key} = {value}") };
            load(&tree(&format!("connections {{ gw {{ {before}\n{entry}\n{after} }} }}")))
        };
        match doc.support {
            Support::Yes | Support::Only(..) | Support::Accepted(_) if !is_section => {
                let other = match key {
                    "ca_id" => "\"CN=root\"",
                    "cert_policy" => "1.2.3",
                    "xauth_id" => continue, // `xauth_and_virtual_addresses`
                    "vips" => "0.0.0.0",
                    "certs" | "cacerts" | "pubkeys" => "gw.pem",
                    "pools" => "p",
                    "probe_to" => "192.0.2.9",
                    "updown" | "interface" => "x",
                    "auth" => "psk",
                    k if k.starts_with("life_") => "2",
                    k if k.starts_with("rand_") => "2",
                    "over_time" => "2",
                    _ => doc.default,
                };
                assert!(!other.is_empty(), "{key} has no default");
                if key != "auth" {
                    let errors = result(other).err().unwrap_or_default();
                    assert!(errors.is_empty(), "{key} = {other}: {errors:?}");
                }
            }
            Support::No(why) => {
                let errors = result("x").unwrap_err();
                assert!(errors.iter().any(|e| e.kind == ErrorKind::Unsupported { why }), "{key}: {errors:?}");
            }
            _ => {}
        }
        if let (Support::Only(_, why), false) = (doc.support, is_section) {
            let errors = result("somethingelse").unwrap_err();
            assert_eq!(errors[0].kind, ErrorKind::Unsupported { why }, "{key}");
        }
    }
}

#[test]
fn secrets_are_decoded() {
    let octets = |text: &str| decode_secret(text).map(|s| s.expose().to_vec());
    assert_eq!(octets("plain text").unwrap(), b"plain text");
    assert_eq!(octets("0x16964066").unwrap(), [0x16, 0x96, 0x40, 0x66]);
    assert_eq!(octets("0xabc").unwrap(), [0x0a, 0xbc]);
    assert_eq!(octets("0x0a:0B").unwrap(), [0x0a, 0x0b]);
    // RFC 4648 section 10.
    for (text, plain) in [("0sZg==", "f"), ("0sZm8=", "fo"), ("0sZm9v", "foo"), ("0sZm9vYmFy", "foobar")] {
        assert_eq!(octets(text).unwrap(), plain.as_bytes());
    }
    assert_eq!(octets("0s+/+/").unwrap(), [0xfb, 0xff, 0xbf]);
    for (text, error) in [
        ("", InvalidSecret::Empty),
        ("0x", InvalidSecret::Empty),
        ("0s", InvalidSecret::Empty),
        ("0xg", InvalidSecret::Hex),
        ("0sZg", InvalidSecret::Base64),
        ("0sZ===", InvalidSecret::Base64),
        ("0sZm9-", InvalidSecret::Base64),
        ("0sZ=8=", InvalidSecret::Base64),
    ] {
        assert_eq!(octets(text), Err(error), "{text}");
    }
    let errors = refused("secrets { ike { secret = 0xhunter2 } }");
    assert!(!errors[0].report(Some("secrets { ike { secret = 0xhunter2 } }")).contains("hunter2"), "{}", errors[0]);
}

/// The secrets of a gateway with five of them (scenario net2net-psk, host moon).
#[test]
fn the_best_secret_is_that_of_both_ends() {
    let config = loaded(
        "secrets {\n ike-1 { id-1 = moon.strongswan.org\n secret = a }\n ike-2 { id-2 = sun.strongswan.org\n secret = b }\n\
         ike-3 { id-3a = moon.strongswan.org\n id-3b = sun.strongswan.org\n secret = c }\n ike-4 { secret = d }\n\
         ike-5 { id-5 = 192.168.0.1\n secret = e } }",
    );
    let names = |local: &Identity, remote: &Identity| -> Vec<&str> {
        best_psk(&config.secrets, local, remote).iter().map(|s| s.name.as_str()).collect()
    };
    let (moon, sun) = (id("moon.strongswan.org"), id("sun.strongswan.org"));
    assert_eq!(names(&moon, &sun), ["ike-3", "ike-2", "ike-1", "ike-4"]);
    assert_eq!(names(&moon, &id("venus")), ["ike-1", "ike-3", "ike-4"]);
    assert_eq!(names(&moon, &Identity::ANY), ["ike-1", "ike-3", "ike-4"]);
    assert_eq!(names(&id("x"), &id("192.168.0.1")), ["ike-5", "ike-4"]);
    assert_eq!(names(&id("x"), &id("y")), ["ike-4"]);
    assert_eq!(names(&moon, &id("*.strongswan.org")), ["ike-3", "ike-2", "ike-1", "ike-4"]);
    assert_eq!(config.secrets[2].source.to_string(), "swanctl.conf:8 (secrets.ike-3.secret)");
}

#[test]
fn an_exact_owner_comes_before_a_wildcard() {
    let config = loaded(
        "secrets { ike-any { id = *.example.org\n secret = a }\n ike-a { id = a.example.org\n secret = b }\n ike-all { id = %any\n secret = c } }",
    );
    let names: Vec<_> =
        best_psk(&config.secrets, &id("me"), &id("a.example.org")).iter().map(|s| s.name.clone()).collect();
    assert_eq!(names, ["ike-a", "ike-any", "ike-all"]);
}

#[test]
fn empty_sections_of_the_daemons_settings_are_no_matter() {
    let (_, warnings) = daemon_settings(&tree("charon {\n start-scripts { }\n tnc { }\n nosuch { k = v } }"));
    let keys: Vec<_> = warnings.iter().map(|w| w.key.as_str()).collect();
    assert_eq!(keys, ["charon.nosuch"]);
}

/// What /etc/strongswan.conf and /etc/strongswan.d say on Debian 12 (strongSwan 5.9.8) without their comments.
#[test]
fn the_stock_settings_of_a_distribution_load_without_a_word() {
    let loaded_plugins = "addrblock aes aesni af-alg agent attr ccm chapoly cmac connmark constraints counters ctr curl curve25519 \
        dhcp dnskey drbg eap-aka eap-gtc eap-identity eap-md5 eap-mschapv2 eap-tls eap-tnc eap-ttls error-notify \
        farp fips-prf forecast gcm gcrypt gmp ha hmac kdf ldap led lookip md5 mgf1 nonce openssl pem pgp pkcs1 \
        pkcs12 pkcs7 pkcs8 pubkey random rc2 rdrand revocation sha1 sha2 socket-default sshkey test-vectors tnc- \
        tnccs unity updown vici x509 xauth-eap xauth-generic xauth-pam xcbc";
    let plugins: String =
        loaded_plugins.split_whitespace().map(|name| format!("{name} {{\n load = yes\n }}\n")).collect();
    let others = "bypass-lan { load = no\n }\n certexpire { load = yes\n csv { }\n }\n kernel-libipsec { load = no\n }\n\
        eap-radius { load = yes\n dae { }\n forward { }\n servers { }\n xauth { }\n }\n\
        kernel-netlink { load = yes\n spdh_thresh { ipv4 { }\n ipv6 { } }\n }\n\
        pkcs11 { load = yes\n modules { <name> { } }\n }\n resolve { load = yes\n resolvconf { }\n }\n\
        tpm { load = yes\n tcti { }\n }\n";
    let text = format!(
        "charon {{\n load_modular = yes\n plugins {{\n {plugins}{others} }}\n}}\n\
         charon-systemd {{ journal {{ }} }}\n pki {{ scep {{ }} }}\n swanctl {{ }}\n charon {{ tnc {{ }} }}\n"
    );
    let (settings, warnings) = daemon_settings(&tree(&text));
    assert_eq!(warnings, []);
    assert_eq!(settings, config::DaemonSettings::default());
    // The stock swanctl.conf does nothing but include a directory that is empty.
    assert_eq!(loaded("include conf.d/*.conf\n").connections.len(), 0);
}

#[test]
fn attributes_for_peers_are_told_unless_their_plugin_is_off() {
    let attributes = |load: &str| {
        let text = format!("charon {{\n plugins {{\n attr {{\n dns = 192.0.2.53\n {load}\n }}\n }}\n}}");
        let (settings, warnings) = daemon_settings(&tree(&text));
        assert_eq!(warnings, [], "{load}");
        settings.attributes.len()
    };
    assert_eq!(
        [attributes(""), attributes("load = yes"), attributes("load = 7"), attributes("load = no")],
        [1, 1, 1, 0]
    );
}

#[test]
fn settings_of_the_daemon() {
    let (settings, warnings) = daemon_settings(&tree(
        "charon {\n load = random nonce\n retransmit_tries = 3\n retransmit_base = 1.5\n port = 501\n send_vendor_id = yes\n plugins { vici { socket = unix:///run/a } }\n filelog { x { } } }\n\
         charon-systemd { port = 502\n keep_alive = 1m }\nshrike { port = 0\n install_routes = no\n quick_crash_detection = no\n window_size = 9\n hash_and_url = yes\n  puzzle_threshold = 7\n puzzle_threshold_ip = 2\n puzzle_difficulty = 12\n puzzle_max_difficulty = 0\n  quick_crash_detection_secret = /x/y }\nswanctl { load = pem }\nlibtls { x = y }",
    ));
    assert_eq!(warnings, []);
    assert_eq!((settings.retransmit_tries, settings.retransmit_base, settings.port), (3, 1.5, 0));
    assert_eq!((settings.keep_alive, settings.install_routes), (60 * SECOND, false));
    assert!(settings.send_vendor_id && !config::DaemonSettings::default().send_vendor_id);
    assert_eq!(settings.vici_socket.as_deref(), Some("unix:///run/a"));
    assert_eq!((settings.window_size, config::DaemonSettings::default().window_size), (9, 1));
    assert_eq!((settings.puzzle_threshold, settings.puzzle_threshold_ip), (7, 2));
    assert_eq!((settings.puzzle_difficulty, settings.puzzle_max_difficulty), (12, 0));
    for wrong in ["puzzle_difficulty = 7", "puzzle_difficulty = 29", "puzzle_max_difficulty = 33", "window_size = 0"] {
        let (settings, warnings) = daemon_settings(&tree(&format!("charon {{ {wrong}\n }}")));
        assert!(warnings[0].is_fatal() && settings == config::DaemonSettings::default(), "{wrong}");
    }
    assert!(settings.hash_and_url && !config::DaemonSettings::default().hash_and_url);
    assert!(!settings.quick_crash_detection && config::DaemonSettings::default().quick_crash_detection);
    assert_eq!(settings.quick_crash_detection_secret.as_deref(), Some("/x/y"));
    assert_eq!(daemon_settings(&tree("")).0, config::DaemonSettings::default());

    let (settings, warnings) = daemon_settings(&tree(
        "charon {\n port = x\n retransmit_base = 0.5\n max_packet = 500\n retransmit_trys = 3\n send_delay = 0\n retransmit_timeout = NaN\n}",
    ));
    let shown: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "swanctl.conf:2:2: charon.port: 'x' is no valid value; expected a port from 0 to 65535, 0 for any free one",
            "swanctl.conf:3:2: charon.retransmit_base: '0.5' is no valid value; expected a factor of at least 1",
            "swanctl.conf:4:2: charon.max_packet: has no effect: the limit on the size of a message is fixed",
            "swanctl.conf:5:2: charon.retransmit_trys: has no effect: there is no such setting; did you mean 'retransmit_tries'?",
            "swanctl.conf:7:2: charon.retransmit_timeout: 'NaN' is no valid value; expected seconds, more than 0",
        ]
    );
    assert_eq!(warnings.iter().filter(|w| w.is_fatal()).count(), 3);
    assert_eq!(settings, config::DaemonSettings::default());
}

#[test]
fn authorities_say_where_their_lists_are() {
    let text = "authorities { root { cacert = rootCert.pem\n crl_uris = http://a.example/r.crl, http://b.example/r.crl\n\
                cert_uri_base = http://a.example/certs/ } }";
    let authorities = loaded(text).authorities;
    assert_eq!(authorities[0].name, "root");
    assert_eq!(authorities[0].cacert, CertificateSource::File("rootCert.pem".into()));
    assert_eq!(authorities[0].cert_uri_base.as_deref(), Some("http://a.example/certs/"));
    assert_eq!(authorities[0].crl_uris, ["http://a.example/r.crl", "http://b.example/r.crl"]);
    let errors = refused(
        "authorities { a { }\n b { cacert = b.pem\n crl_uris = ldap://b.example/ }\n c { cacert = c.pem\n ocsp_uris = http://c.example/ }\n d { cacert = d.pem\n cert_uri_base = ftp://d.example/ } }",
    );
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let expected =
        ["authorities.a.cacert", "authorities.b.crl_uris", "authorities.c.ocsp_uris", "authorities.d.cert_uri_base"];
    assert_eq!(texts.len(), expected.len(), "{texts:?}");
    assert!(texts.iter().zip(expected).all(|(text, key)| text.contains(key)), "{texts:?}");
}

#[test]
fn childless_ike_sas() {
    use config::Childless;
    assert_eq!(one("children { net { } }").childless, Childless::Allow);
    for (word, expected) in [("prefer", Childless::Prefer), ("force", Childless::Force), ("never", Childless::Never)] {
        assert_eq!(one(&format!("childless = {word}")).childless, expected);
    }
    assert!(!refused(&format!("connections {{ gw {{ childless = yes\n{ROUNDS} }} }}")).is_empty());
}

#[test]
fn marks_and_xfrm_interfaces() {
    use model::dataplane::{Binding, Mark};
    let child = |keys: &str| one(&format!("if_id_in = 7\nchildren {{ net {{\n{keys}\n}} }}")).children[0].binding;
    let all = Some(7);
    assert_eq!(child(""), Binding { if_id_in: all, ..Binding::default() }, "as the connection says");
    let found =
        child("mark_in = 10\nset_mark_in = %same\nmark_out = 0x0b/0xff\nif_id_out = 42\nif_id_in = 0\nicmp = yes");
    let ten = Some(Mark { value: 10, mask: u32::MAX });
    let expected = Binding {
        mark_in: ten,
        set_mark_in: ten,
        mark_out: Some(Mark { value: 11, mask: 0xff }),
        if_id_out: Some(42),
        icmp: true,
        ..Binding::default()
    };
    assert_eq!(found, expected);
    let cut = child("mark_out = 0x2a/0xf").mark_out;
    assert_eq!(cut, Some(Mark { value: 0xa, mask: 0xf }), "other bits would match nothing");
    assert_eq!(child("mark_in_sa = yes\nset_mark_out = 1/0x0f").set_mark_out, Some(Mark { value: 1, mask: 0xf }));
    // A number for each IKE SA, part of one, or one where there is no Child SA.
    let refusals = [
        "if_id_in = %unique\nchildren { net { } }",
        "children { net { mark_in = %unique/0xff } }",
        "children { net { mode = pass\n mark_out = %unique } }",
    ];
    for unique in refusals {
        let text = format!("connections {{ gw {{ {unique}\n{ROUNDS} }} }}");
        assert!(matches!(refused(&text)[0].kind, ErrorKind::Unsupported { .. }), "{unique}");
    }
    for wrong in [
        "mark_out = x",
        "mark_in = 1/",
        "if_id_in = %same",
        "set_mark_in = 5000000000",
        "mark_in = %uniq",
        "mark_in = %unique-in",
    ] {
        let text = format!("connections {{ gw {{ children {{ net {{ {wrong} }} }}\n{ROUNDS} }} }}");
        assert!(matches!(refused(&text)[0].kind, ErrorKind::Value { .. }), "{wrong}");
    }
}

#[test]
fn numbers_of_each_child_sa_are_filled_in() {
    use config::OwnNumber;
    use model::dataplane::{Binding, Mark};
    let child = |keys: &str| one(&format!("if_id_in = 7\nchildren {{ net {{\n{keys}\n}} }}")).children[0].clone();
    let filled = |keys: &str| {
        let (child, mut next) = (child(keys), 0);
        assert!(!child.unique.is_empty());
        let next = || {
            next += 1;
            next
        };
        child.unique.fill(child.binding, next)
    };
    let mark = |value| Some(Mark { value, mask: u32::MAX });
    let ids = "if_id_in = %unique\nif_id_out = %unique-dir";
    let both = filled(&format!("mark_in = %unique\nmark_out = %unique\nset_mark_out = %same\n{ids}"));
    let expected = Binding {
        mark_in: mark(1),
        mark_out: mark(1),
        set_mark_out: mark(1),
        if_id_in: Some(2),
        if_id_out: Some(3),
        ..Binding::default()
    };
    assert_eq!(both, expected);
    let one_way = filled("mark_in = 9\nmark_out = %unique-dir");
    assert_eq!((one_way.mark_in, one_way.mark_out, one_way.if_id_in), (mark(9), mark(1), Some(7)));
    let plain = child("mark_in = 9");
    assert!(plain.unique.is_empty());
    assert_eq!(child("mark_out = %unique").unique.mark_out, Some(OwnNumber::Both));
}

#[test]
fn interfaces_headers_and_short_checks() {
    use model::dataplane::{CopyDscp, HeaderFields};
    let child = |keys: &str| one(&format!("children {{ net {{\n{keys}\n}} }}")).children[0].clone();
    let plain = child("interface =\ncopy_df = yes\ncopy_dscp = out\nsha256_96 = no");
    assert_eq!((plain.header, plain.sha256_96, plain.binding.interface), (HeaderFields::default(), false, None));
    let found = child("interface = eth0\npolicies_fwd_out = yes\nsha256_96 = yes\ncopy_df = no\ncopy_ecn = no");
    assert_eq!(found.binding.interface.map(|name| name.to_string()).as_deref(), Some("eth0"));
    assert!(found.binding.forward_out && found.sha256_96 && !found.header.copy_df && !found.header.copy_ecn);
    for (word, expected) in [("in", CopyDscp::In), ("out", CopyDscp::Out), ("yes", CopyDscp::Yes), ("no", CopyDscp::No)]
    {
        assert_eq!(child(&format!("copy_dscp = {word}")).header.copy_dscp, expected);
    }
    for wrong in ["copy_dscp = maybe", "interface = a/b", "interface = sixteen-letters-x", "policies_fwd_out = 2"] {
        let text = format!("connections {{ gw {{ children {{ net {{ {wrong} }} }}\n{ROUNDS} }} }}");
        assert!(matches!(refused(&text)[0].kind, ErrorKind::Value { .. }), "{wrong}");
    }
    let text = format!("connections {{ gw {{ children {{ net {{ label = x }} }}\n{ROUNDS} }} }}");
    assert!(matches!(refused(&text)[0].kind, ErrorKind::Unsupported { .. }));
}

#[test]
fn several_networks_of_a_child_are_one_pair_in_ikev1() {
    let of = |version: u8, remote: &str, ts: &str| {
        let children = format!("children {{ net {{ local_ts = 10.1.0.0/16\n remote_ts = {ts} }} }}");
        one(&format!("version = {version}\nremote_addrs = {remote}\n{children}")).one_pair_only()
    };
    let found = of(1, "192.0.2.1", "10.2.0.0/16, 10.3.0.0/16");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].child.as_str(), found[0].networks), ("net", (1, 2)));
    let text = found[0].to_string();
    assert!(text.contains("write a child for each") && text.contains("net.remote_ts"), "{text}");
    assert_eq!(of(1, "192.0.2.1", "10.2.0.0/16"), []);
    assert_eq!(of(2, "192.0.2.1", "10.2.0.0/16, 10.3.0.0/16"), []);
    assert_eq!(of(1, "%any", "10.2.0.0/16, 10.3.0.0/16"), [], "a responder takes each pair");
}

#[test]
fn a_child_says_whom_to_probe_and_how_often() {
    let child = |keys: &str| one(&format!("children {{ net {{ {keys} }} }}")).children[0].clone();
    let found = child("probe_to = 10.2.0.9\n probe_every = 5m");
    assert_eq!((found.probe_to, found.probe_every), (Some("10.2.0.9".parse().unwrap()), 300 * SECOND));
    let never = child("probe_every = 0");
    assert_eq!((never.probe_to, never.probe_every), (None, Duration::ZERO));
    for wrong in ["probe_every = 2s", "probe_to = host.example", "probe_to = 10.2.0.0/16"] {
        let text = format!("connections {{ gw {{\n children {{ net {{ {wrong} }} }}\n{ROUNDS} }} }}");
        let errors = refused(&text);
        assert!(matches!(errors[..], [ConfigError { kind: ErrorKind::Value { .. }, .. }]), "{wrong}: {errors:?}");
    }
}

/// RFC 7296 section 3.13: their number is one octet.
#[test]
fn a_side_has_no_more_selectors_than_a_payload() {
    let with = |count: usize, mode: &str| {
        let list = (0..count).map(|n| format!("10.{}.{}.0/24", n / 256, n % 256)).collect::<Vec<_>>().join(",");
        format!("connections {{ gw {{\n{ROUNDS} children {{ net {{\n{mode}\nremote_ts = {list}\n}} }} }} }}")
    };
    assert_eq!(loaded(&with(255, "")).connections[0].children[0].remote_ts.len(), 255);
    let errors = refused(&with(256, ""));
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].key, "connections.gw.children.net.remote_ts");
    assert!(matches!(errors[0].kind, ErrorKind::TooLarge { limit } if limit.starts_with("255 ")), "{}", errors[0]);
    assert_eq!(loaded(&with(256, "mode = pass")).connections[0].shunts.len(), 1, "nothing is negotiated");
}
