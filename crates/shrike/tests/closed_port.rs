//! A daemon whose peer has no daemon: the host says so by ICMP, and so do `shrike show` and `shrike diagnose`.

use linux::{Namespace, Routes};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Ends with the test.
struct Daemon(Child, PathBuf);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

const CONFIGURATION: &str = "connections { gw { local_addrs = 127.0.0.1
    remote_addrs = 127.0.0.9
    remote_port = 555
    local { auth = psk
      id = a.example }
    remote { auth = psk
      id = b.example }
    children { net { local_ts = 10.1.0.0/16
      remote_ts = 10.2.0.0/16
      start_action = start } } } }
secrets { ike-1 { secret = s } }
";

fn skip(reason: impl std::fmt::Display) {
    eprintln!("SKIP: {reason}");
    assert_ne!(std::env::var("SHRIKE_KERNEL_TESTS").as_deref(), Ok("1"), "this run must not skip: {reason}");
}

fn asked(socket: &Path, words: &[&str]) -> String {
    let vici = format!("unix://{}", socket.display());
    let done = Command::new(env!("CARGO_BIN_EXE_shrike")).args(["--vici", &vici]).args(words).output().unwrap();
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn a_peer_without_a_daemon_is_told_from_one_that_does_not_answer() {
    let namespace = match Namespace::anonymous() {
        Ok(namespace) => namespace,
        Err(error) => return skip(error),
    };
    let directory = std::env::temp_dir().join(format!("shrike-closed-port-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (file, socket) = (directory.join("swanctl.conf"), directory.join("vici"));
    std::fs::write(&file, CONFIGURATION).unwrap();
    let begin = || {
        Routes::open().unwrap().set_link(1, Some(true), None).unwrap(); // the loopback
        let vici = format!("unix://{}", socket.display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_shrike"));
        command.args(["--vici", &vici, "run", "--history", "off", "--config"]).arg(&file);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut daemon = Daemon(namespace.run(begin).unwrap(), directory);
    let mut text = String::new();
    for _ in 0..3000 {
        if let Some(status) = daemon.0.try_wait().unwrap() {
            return skip(format!("the daemon does not run here: {status}"));
        }
        text = asked(&socket, &["diagnose", "--json"]);
        if text.contains("sending to 127.0.0.9:555") {
            break;
        }
    }
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let found = &document["findings"][0];
    assert_eq!(
        (found["causes"][0].as_str(), found["severity"].as_str()),
        (Some("NO_RESPONSE"), Some("warning")),
        "{text}"
    );
    assert!(found["remedy"][0].as_str().unwrap().contains("start the IKE daemon of 127.0.0.9"), "{text}");
    let shown: serde_json::Value = serde_json::from_str(&asked(&socket, &["show", "--json"])).unwrap();
    assert!(shown.to_string().contains(r#""trouble":"port-unreachable""#), "{shown}");
    assert!(asked(&socket, &["show"]).contains("port unreachable"));
}
