//! What one client can ask of the daemon.

use super::*;
use std::os::unix::net::UnixStream;
use vici::Packet;

/// A client and its other end, which is told to wait for nothing.
fn client() -> (Client, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (Client::new(mio::net::UnixStream::from_std(ours)), theirs)
}

fn ask(client: &mut Client, times: usize) {
    let command = Packet::CommandRequest { name: "version".into(), message: Message::new() }.encode();
    (0..times).for_each(|_| client.session.receive(&command).unwrap());
}

/// Reads this much at most.
fn read(theirs: &mut UnixStream, most: usize) -> usize {
    let mut buffer = vec![0; most];
    theirs.read(&mut buffer).unwrap_or(0)
}

#[test]
fn many_commands_at_once_are_not_carried_out_at_once() {
    let (mut client, mut theirs) = client();
    let serve = |client: &mut Client| {
        let mut carried_out = 0;
        client.serve_by(|client, _, _| {
            carried_out += 1;
            client.session.reply(&Message::new());
        });
        (carried_out, client.deadline().is_some())
    };
    ask(&mut client, 2 * MOST_AT_ONCE + 1);
    assert_eq!(serve(&mut client), (MOST_AT_ONCE, true));
    // What comes meanwhile is not forgotten, and not gathered either.
    theirs.write_all(&Packet::CommandRequest { name: "stats".into(), message: Message::new() }.encode()).unwrap();
    assert!(!client.read());
    assert_eq!(serve(&mut client), (MOST_AT_ONCE, true));
    assert_eq!(serve(&mut client), (1, true), "one is unread");
    assert!(client.read());
    assert_eq!(serve(&mut client), (1, false));
}

/// Answers are as long as they are, but what was read long ago makes no room for events that are not.
#[test]
fn a_client_that_lags_behind_is_limited_by_what_it_has_not_read() {
    let (mut client, mut theirs) = client();
    let mut long = Message::new();
    long.list("all", std::iter::repeat_n("x".repeat(1000), 500));
    while client.output.len() < ENOUGH / 4 {
        client.output.extend([0; 4096]); // more than the socket holds
        client.flush();
    }
    let mut answered = 0;
    while answered < 2 * MAX_BACKLOG {
        ask(&mut client, 1);
        client.serve_by(|client, _, _| client.session.reply(&long));
        answered += long.encode().len();
        // Never to the end.
        while client.output.len() > ENOUGH / 2 {
            read(&mut theirs, 4096);
            client.flush();
        }
        assert!(!client.closed && !client.output.is_empty());
    }
    client.output.extend(vec![0; MAX_BACKLOG + ENOUGH]);
    client.flush();
    assert!(client.closed);
}

#[test]
fn a_secret_without_a_name_takes_no_other_s_place() {
    let secret = |name: &str| SharedSecret {
        kind: config::SecretKind::Ike,
        name: name.into(),
        owners: Vec::new(),
        secret: Secret::from(&b"x"[..]),
        source: ConfigRef { file: "vici".into(), line: 0, key: String::new() },
    };
    assert_eq!(free_name(&[]), "vici-1");
    assert_eq!(free_name(&[secret("vici-2")]), "vici-3", "the first one was unloaded");
}
