//! Hybrid authentication of IKEv1: the server signs, the client is known by XAuth alone.

use model::FailureKind;
use sim::{NodeId, Sim, Site};
use std::time::Duration;
use wire::{ExchangeType, Header};

const CLIENT: &str = "192.0.2.1";
const SERVER: &str = "192.0.2.2";

/// A client without a certificate, and a server with one.
fn client(mode: &str, user: &str, password: &str) -> Site {
    let text = format!(
        "connections {{ gw {{ version = 1\n aggressive = {mode}\n local_addrs = {CLIENT}\n remote_addrs = {SERVER}
         local {{ auth = xauth\n id = {user}.example\n xauth_id = {user} }}
         remote {{ auth = pubkey\n id = moon.example }}
         children {{ net {{ remote_ts = 10.1.0.0/16 }} }} }} }}
         secrets {{ xauth {{ id = {user}\n secret = {password} }} }}"
    );
    Site::new("carol", CLIENT).authority("root").text(&text)
}

/// With a connection for each of these users.
fn server(mode: &str, users: &[&str]) -> Site {
    let connection = |user: &&str| {
        format!(
            "rw-{user} {{ version = 1\n aggressive = {mode}\n local_addrs = {SERVER}\n remote_addrs = {CLIENT}
             local {{ auth = pubkey\n id = moon.example }}\n remote {{ auth = xauth\n xauth_id = {user} }}
             children {{ net {{ local_ts = 10.1.0.0/16 }} }} }}\n"
        )
    };
    let secret = |user: &&str| format!("xauth-{user} {{ id = {user}\n secret = swordfish-{user} }}\n");
    let (connections, secrets): (String, String) =
        (users.iter().map(connection).collect(), users.iter().map(secret).collect());
    let text = format!("connections {{ {connections} }}\nsecrets {{ {secrets} }}");
    Site::new("moon", SERVER).certificate("moon").authority("root").text(&text)
}

fn run(client: Site, server: Site, server_begins: bool) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(client), sim.add(server));
    let (from, to) = if server_begins { (b, a) } else { (a, b) };
    sim.initiate(from, to);
    sim.run_for(Duration::from_secs(20));
    (sim, a, b)
}

#[test]
fn the_server_signs_and_the_client_is_its_user() {
    for mode in ["no", "yes"] {
        for server_begins in [false, true] {
            let (sim, a, b) = run(client(mode, "carol", "swordfish-carol"), server(mode, &["carol"]), server_begins);
            let why = format!("aggressive = {mode}: {:?} {:?}", sim.tombstones(a), sim.tombstones(b));
            assert!(sim.carries(a, b) && sim.carries(b, a), "{why}");
            let shown = &sim.snapshots(b)[0];
            assert_eq!(
                (shown.authentication, shown.remote_xauth_id.as_ref().map(ToString::to_string)),
                ("hybrid-rsa", Some("carol".to_string()))
            );
            let warned = sim.events(a).any(|(_, event)| event.log().2.contains("guessed offline"));
            assert!(!warned, "there is no key to guess");
        }
    }
}

#[test]
fn the_user_decides_which_connection_it_is() {
    for mode in ["no", "yes"] {
        let (sim, a, b) = run(client(mode, "dave", "swordfish-dave"), server(mode, &["carol", "dave", "eve"]), false);
        assert!(sim.carries(a, b), "aggressive = {mode}: {:?}", sim.tombstones(b));
        assert_eq!(sim.snapshots(b)[0].name, "rw-dave");
    }
}

#[test]
fn nobody_is_taken_without_the_right_password() {
    for mode in ["no", "yes"] {
        for (user, password) in [("carol", "swordfish-dave"), ("eve", "swordfish-carol")] {
            let (sim, a, b) = run(client(mode, user, password), server(mode, &["carol", "dave"]), false);
            assert_eq!(sim.plane(a).installs + sim.plane(b).installs, 0, "{user}");
            assert_eq!(sim.endpoint(b).sizes(), (0, 0), "{user}: the SA is gone");
            let failures = sim.tombstones(b);
            assert!(
                failures.iter().any(|t| matches!(t.failure.kind, FailureKind::XauthRefused { .. })),
                "{failures:?}"
            );
        }
    }
}

#[test]
fn a_server_that_is_not_trusted_learns_no_password() {
    for mode in ["no", "yes"] {
        let text = client(mode, "carol", "swordfish-carol").configuration();
        let with = |authority: &str, text: &str| Site::new("carol", CLIENT).authority(authority).text(text);
        let distrustful = with("root", &text.replace("moon.example }", "sun.example }"));
        let (sim, a, b) = run(distrustful, server(mode, &["carol"]), false);
        assert_eq!(sim.plane(a).installs + sim.plane(b).installs, 0);
        assert!(matches!(sim.failure(a).kind, FailureKind::IdentityMismatch { .. }), "{}", sim.failure(a));
        // By another authority than the client's.
        let (sim, a, _) = run(with("other", &text), server(mode, &["carol"]), false);
        assert!(matches!(sim.failure(a).kind, FailureKind::CertificateUntrusted { .. }), "{}", sim.failure(a));
        let is = |d: &sim::Datagram| Header::parse(&d.bytes).is_ok_and(|h| h.exchange == ExchangeType::TRANSACTION);
        let from_client = sim.wire.iter().filter(|(_, d)| d.from.ip() == sim.address(a) && is(d)).count();
        assert_eq!(from_client, 0, "the client did not get as far as XAuth");
    }
}

#[test]
fn a_method_is_what_both_ends_are_configured_for() {
    // A client that would be proven by the group's certificate, and a server that wants only users.
    let (sim, a, b) = run(
        client("no", "carol", "swordfish-carol"),
        server("no", &["carol"]).text(&server("no", &["carol"]).configuration().replace(
            "remote { auth = xauth\n xauth_id = carol }",
            "remote { auth = pubkey }\n remote-2 { auth = xauth\n xauth_id = carol }",
        )),
        false,
    );
    assert_eq!(sim.plane(a).installs + sim.plane(b).installs, 0);
    assert!(matches!(sim.failure(b).kind, FailureKind::AuthMethodMismatch { .. }), "{}", sim.failure(b));
}
