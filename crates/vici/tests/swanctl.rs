//! strongSwan's own clients against our server session: `swanctl` and, where installed, the Python package `vici`.

#[allow(dead_code)]
#[path = "../src/schema/samples.rs"]
mod samples;

use model::dataplane::Mode;
use model::{IkeState, NatState, SaId, SaSnapshot};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use vici::schema::{self, AuthInfo, COUNTER_NAMES, ChildInfo, ConnectionInfo, Stats, VersionInfo};
use vici::{Client, Message, Request, Session};

fn connection() -> ConnectionInfo {
    ConnectionInfo {
        name: "gw-gw".into(),
        local_addrs: vec!["192.168.0.1".into()],
        remote_addrs: vec!["192.168.0.2".into()],
        version: "IKEv2".into(),
        rekey_time: Duration::from_secs(14_400),
        unique: "no".into(),
        dpd_delay: Duration::from_secs(30),
        local: vec![AuthInfo {
            class: "pre-shared key".into(),
            id: Some("moon.strongswan.org".into()),
            xauth_id: None,
        }],
        remote: vec![AuthInfo {
            class: "pre-shared key".into(),
            id: Some("sun.strongswan.org".into()),
            xauth_id: None,
        }],
        children: vec![ChildInfo {
            name: "net-net".into(),
            mode: "TUNNEL".into(),
            rekey_time: Duration::from_secs(3600),
            rekey_bytes: 500_000_000,
            dpd_action: "trap".into(),
            close_action: "none".into(),
            local_ts: vec!["10.1.0.0/16".into()],
            remote_ts: vec!["10.2.0.0/16".into()],
            ..ChildInfo::default()
        }],
        ..ConnectionInfo::default()
    }
}

fn statistics() -> Stats {
    Stats {
        running: Duration::from_secs(26),
        since: "Nov 24 01:05:33 2026".into(),
        workers_total: 4,
        workers_idle: 1,
        workers_active: [3, 0, 0, 0],
        scheduled: 7,
        ike_sas: 2,
        half_open: 1,
        plugins: vec!["userspace".into(), "vici".into()],
        ..Stats::default()
    }
}

/// Two IKE SAs in different moods, one with everything that is rare, and both ends of virtual addresses.
fn listed() -> [SaSnapshot; 5] {
    let addresses = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect();
    let mut client = samples::established();
    client.version = 1;
    client.local_vips = addresses(&["10.3.0.1", "2001:db8::3"]);
    let mut server = samples::established();
    server.version = 1;
    (server.remote_vips, server.remote_xauth_id) = (addresses(&["10.3.0.1"]), Some("carol".parse().unwrap()));
    let mut busy = samples::established();
    busy.id = SaId(3);
    busy.state = IkeState::Rekeying;
    busy.nat = NatState { local: true, remote: true, forced: true };
    busy.reauth_in = Some(Duration::from_secs(86_400));
    busy.tasks_queued = vec!["CHILD_REKEY"];
    busy.tasks_active = vec!["IKE_REKEY", "IKE_DPD"];
    let child = &mut busy.children[0];
    child.mode = Mode::Transport;
    child.encapsulated = true;
    child.rekey_in = None;
    child.local_ts.push("10.8.0.0/16[udp/4500]".parse().unwrap());
    child.counters.bytes_out = 25_200_000_000;
    [samples::established(), samples::connecting(), busy, client, server]
}

fn answer(session: &mut Session, name: &str, arguments: &Message) {
    match name {
        "version" => session.reply(&schema::version(&VersionInfo {
            daemon: "shrike".into(),
            version: "0.1.0".into(),
            sysname: "Linux".into(),
            release: "6.1".into(),
            machine: "x86_64".into(),
        })),
        "stats" => session.reply(&schema::stats(&statistics())),
        "list-sas" => {
            for sa in listed() {
                session.event("list-sa", &schema::list_sa(&sa));
            }
            session.reply(&Message::new());
        }
        "list-conns" => {
            session.event("list-conn", &schema::list_conn(&connection()));
            session.reply(&Message::new());
        }
        "get-counters" => {
            let values: Vec<(&str, u64)> = COUNTER_NAMES.iter().copied().zip(1..).collect();
            session.reply(&schema::counters([(arguments.get_str("name").unwrap_or_default(), &values[..])]));
        }
        "initiate" => {
            session.event("control-log", &schema::log("IKE", 1, 0, None, "initiating IKE_SA gw-gw[1] to 192.168.0.2"));
            session.reply(&schema::refusal("establishing CHILD_SA 'net-net' failed: the peer did not answer"));
        }
        _ => session.unknown_command(),
    }
}

/// Something happens soon after a client began to listen.
fn announce(session: &mut Session, event: &str) {
    let sa = samples::established();
    match event {
        "ike-updown" => session.event(event, &schema::updown(&sa, true, false)),
        "child-updown" => session.event(event, &schema::updown(&sa, true, true)),
        "log" => {
            session.event(event, &schema::log("IKE", 1, 3, Some((sa.id, &sa.name)), "retransmit 1 of the request"))
        }
        _ => false,
    };
}

fn serve(mut stream: UnixStream) {
    let mut session = Session::new();
    let mut listened = Vec::new();
    let mut chunk = [0; 4096];
    // swanctl may lose an event that arrives together with the confirmation of its registration, so events wait for a pause.
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return,
            Ok(n) => session.receive(&chunk[..n]).unwrap(),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                listened.drain(..).for_each(|event: String| announce(&mut session, &event));
            }
            Err(_) => return,
        }
        while let Some(request) = session.poll().unwrap() {
            match request {
                Request::Command { name, message } => answer(&mut session, &name, &message),
                Request::Register { event } => listened.push(event),
                Request::Unregister { .. } => {}
            }
        }
        if stream.write_all(&session.take_output()).is_err() {
            return;
        }
    }
}

/// A daemon on a socket of its own; the directory goes away with it.
struct Daemon {
    directory: PathBuf,
}

impl Daemon {
    fn start(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("shrike-vici-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let listener = UnixListener::bind(directory.join("vici")).unwrap();
        std::thread::spawn(move || listener.incoming().for_each(|stream| serve(stream.unwrap())));
        Self { directory }
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("vici")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

const SWANCTL: &str = "/usr/sbin/swanctl";

fn swanctl_is_missing() -> bool {
    let missing = !Path::new(SWANCTL).exists();
    if missing {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{SWANCTL} is not installed");
        eprintln!("SKIP: {SWANCTL} is not installed (Debian: strongswan-swanctl)");
    }
    missing
}

/// What `swanctl ARGUMENTS` prints on both of its outputs.
fn swanctl(daemon: &Daemon, arguments: &[&str]) -> String {
    let uri = format!("unix://{}", daemon.socket().display());
    let output = Command::new(SWANCTL).args(arguments).args(["--uri", &uri]).output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    // Depending on its packaging it first complains about plugins of its own that it does not find.
    let own = |line: &&str| !line.starts_with("plugin '") && !line.starts_with("no files found");
    let (out, err) = (text(output.stdout), text(output.stderr));
    out.lines().chain(err.lines()).filter(own).map(|line| format!("{line}\n")).collect()
}

/// What a swanctl command that never ends prints up to a line with `last`; it is given ten seconds.
fn listen(daemon: &Daemon, command: &str, last: &str) -> String {
    let uri = format!("unix://{}", daemon.socket().display());
    let arguments = ["10", "stdbuf", "-oL", SWANCTL, command, "--uri", &uri];
    let mut child = Command::new("timeout").args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut printed = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap) {
        printed += &format!("{line}\n");
        if line.contains(last) {
            break;
        }
    }
    // `timeout` passes the signal on.
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    child.wait().unwrap();
    printed
}

#[test]
fn swanctl_prints_our_daemon() {
    if swanctl_is_missing() {
        return;
    }
    let daemon = Daemon::start("prints");
    assert_eq!(swanctl(&daemon, &["--version", "--daemon"]), "strongSwan 0.1.0 shrike (Linux, 6.1, x86_64)\n");
    assert_eq!(
        swanctl(&daemon, &["--stats"]),
        "uptime: 26 seconds, since Nov 24 01:05:33 2026\n\
         worker threads: 4 total, 1 idle, working: 3/0/0/0\n\
         job queues: 0/0/0/0\n\
         jobs scheduled: 7\n\
         IKE_SAs: 2 total, 1 half-open\n\
         loaded plugins: userspace vici\n"
    );
    let sas = swanctl(&daemon, &["--list-sas"]);
    let (first_two, _) = sas.split_at(sas.find("gw-gw: #3").unwrap());
    assert_eq!(
        first_two,
        "gw-gw: #1, ESTABLISHED, IKEv2, 31ee3f6a61962931_i* 5ec1aa279daadaf2_r\n\
         \x20 local  'moon.strongswan.org' @ 192.168.0.1[500]\n\
         \x20 remote 'sun.strongswan.org' @ 192.168.0.2[500]\n\
         \x20 AES_CBC-128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519\n\
         \x20 established 2s ago, rekeying in 13961s\n\
         \x20 net-net: #1, reqid 1, INSTALLED, TUNNEL, ESP:AES_GCM_16-128/ESN\n\
         \x20   installed 2s ago, rekeying in 3327s, expires in 3956s\n\
         \x20   in  ca23ef69,    252 bytes,     3 packets,     1s ago\n\
         \x20   out c056f948,     84 bytes,     1 packets\n\
         \x20   local  10.1.0.0/16\n\
         \x20   remote 10.2.0.0/16\n\
         (unnamed): #2, CONNECTING, IKEv2, 31ee3f6a61962931_i 5ec1aa279daadaf2_r*\n\
         \x20 local  '%any' @ 192.168.0.1[500]\n\
         \x20 remote '%any' @ 192.168.0.2[500]\n\
         \x20 AES_CBC-128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519\n\
         \x20 active:  IKE_AUTH\n"
    );
    assert_eq!(sas, show::swanctl::render(&listed()));
    let raw = swanctl(&daemon, &["--list-sas", "--raw"]);
    let expected = format!("list-sa event {}", schema::list_sa(&samples::established()));
    assert!(raw.starts_with(&expected), "{raw}\n{expected}");
    let pretty = swanctl(&daemon, &["--list-sas", "--pretty"]);
    assert!(pretty.contains("        remote-ts = [\n          10.2.0.0/16\n        ]\n"), "{pretty}");
    assert_eq!(
        swanctl(&daemon, &["--list-conns"]),
        "gw-gw: IKEv2, no reauthentication, rekeying every 14400s, dpd delay 30s\n\
         \x20 local:  192.168.0.1\n\
         \x20 remote: 192.168.0.2\n\
         \x20 local pre-shared key authentication:\n\
         \x20   id: moon.strongswan.org\n\
         \x20 remote pre-shared key authentication:\n\
         \x20   id: sun.strongswan.org\n\
         \x20 net-net: TUNNEL, rekeying every 3600s or 500000000 bytes, dpd action is trap\n\
         \x20   local:  10.1.0.0/16\n\
         \x20   remote: 10.2.0.0/16\n"
    );
    let counters = swanctl(&daemon, &["--counters"]);
    assert!(counters.starts_with("global:\n"), "{counters}");
    for (name, value) in COUNTER_NAMES.iter().zip(1..) {
        assert!(counters.contains(&format!("{name:<22}: {value}\n")), "{name} in {counters}");
    }
    let named = swanctl(&daemon, &["--counters", "--name", "gw-gw"]);
    assert!(named.starts_with("gw-gw:\n"), "{named}");
}

#[test]
fn swanctl_hears_refusals() {
    if swanctl_is_missing() {
        return;
    }
    let daemon = Daemon::start("refusals");
    let output = swanctl(&daemon, &["--initiate", "--child", "net-net"]);
    assert!(output.contains("[IKE] initiating IKE_SA gw-gw[1] to 192.168.0.2\n"), "{output}");
    assert!(output.contains("initiate failed: establishing CHILD_SA 'net-net' failed: the peer did not answer\n"));
    assert!(swanctl(&daemon, &["--list-pools"]).contains("get-pools request failed"), "an unknown command");
}

#[test]
fn swanctl_follows_events() {
    if swanctl_is_missing() {
        return;
    }
    let daemon = Daemon::start("events");
    let monitored = listen(&daemon, "--monitor-sa", "    remote 10.2.0.0/16");
    // swanctl prints an IKE SA where its `child-sas` begin, so it prints nothing for `ike-updown`.
    let heads = monitored.lines().filter(|line| line.starts_with("gw-gw: #1, ESTABLISHED")).count();
    assert_eq!(heads, 1, "{monitored}");
    assert!(monitored.contains("  net-net: #1, reqid 1, INSTALLED, TUNNEL, ESP:AES_GCM_16-128/ESN\n"), "{monitored}");
    let logged = listen(&daemon, "--log", "retransmit");
    assert_eq!(logged, "03[IKE] retransmit 1 of the request\n");
}

#[test]
fn python_reads_our_daemon() {
    let python = |program: &str| Command::new("python3").args(["-c", program]).output();
    if !python("import vici").is_ok_and(|o| o.status.success()) {
        eprintln!("SKIP: the Python package vici is not installed");
        return;
    }
    let daemon = Daemon::start("python");
    let program = format!(
        "import socket, vici\n\
         s = socket.socket(socket.AF_UNIX)\n\
         s.connect('{}')\n\
         v = vici.Session(s)\n\
         print(v.version()['daemon'].decode())\n\
         for sa in v.list_sas():\n\
         \x20   for name, ike in sa.items():\n\
         \x20       print(name, ike['state'].decode(), [c['local-ts'] for c in ike['child-sas'].values()])\n\
         print(v.stats()['ikesas']['total'].decode())\n\
         try:\n\
         \x20   v.request('nosuch')\n\
         except vici.exception.SessionException as e:\n\
         \x20   print('type 2' in str(e))\n",
        daemon.socket().display()
    );
    let output = python(&program).unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "shrike\ngw-gw ESTABLISHED [[b'10.1.0.0/16']]\n(unnamed) CONNECTING []\ngw-gw REKEYING [[b'10.1.0.0/16', b'10.8.0.0/16[udp/4500]']]\n2\nTrue\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn our_client_reads_our_daemon() {
    let daemon = Daemon::start("ours");
    let mut client = Client::new(UnixStream::connect(daemon.socket()).unwrap());
    let mut sas = Vec::new();
    client.streamed("list-sas", "list-sa", Message::new(), |m| sas.push(schema::snapshot(&m).unwrap())).unwrap();
    assert_eq!(format!("{sas:?}"), format!("{:?}", listed()));
}
