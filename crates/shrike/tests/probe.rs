//! Two daemons with packets between them: what `shrike probe` finds out about their tunnel, and who is told.

use linux::{LocalAddress, Namespace, Routes, Rule};
use serde_json::Value;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// An end: its namespace, its daemon, and where that has its files.
struct Gateway {
    namespace: Namespace,
    daemon: Child,
    directory: PathBuf,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn skip(reason: impl std::fmt::Display) {
    eprintln!("SKIP: {reason}");
    assert_ne!(std::env::var("SHRIKE_KERNEL_TESTS").as_deref(), Ok("1"), "this run must not skip: {reason}");
}

/// `n` is the end's number: 192.0.2.n on the outside, 10.n.0.1 inside.
fn configuration(n: u8, more: &str) -> String {
    let peer = 3 - n;
    format!(
        "connections {{ gw {{ version = 2\n local_addrs = 192.0.2.{n}\n remote_addrs = 192.0.2.{peer}
    local {{ auth = psk\n id = n{n}.example }}\n remote {{ auth = psk\n id = n{peer}.example }}
    children {{ net {{ local_ts = 10.{n}.0.0/16\n remote_ts = 10.{peer}.0.0/16\n {more} }} }} }} }}
secrets {{ ike-1 {{ secret = \"of both\" }} }}\n"
    )
}

impl Gateway {
    fn ask(&self, words: &[&str]) -> Output {
        let vici = format!("unix://{}", self.directory.join("vici").display());
        Command::new(env!("CARGO_BIN_EXE_shrike")).args(["--vici", &vici]).args(words).output().unwrap()
    }

    fn asked(&self, words: &[&str]) -> String {
        String::from_utf8(self.ask(words).stdout).unwrap()
    }

    /// What `shrike probe` found: exit code, figures, the finding.
    fn probed(&self, words: &[&str]) -> (Option<i32>, Value, Value) {
        let done = self.ask(&[&["probe", "net", "--json"], words].concat());
        let text = String::from_utf8(done.stdout).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap_or_else(|_| {
            panic!("{text}{}\n{}", String::from_utf8_lossy(&done.stderr), self.log());
        });
        (done.status.code(), document["probe"].clone(), document["findings"][0].clone())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn routes<T>(&self, work: impl FnOnce(&mut Routes) -> T + Send) -> T
    where
        T: Send,
    {
        self.namespace.run(|| work(&mut Routes::open().unwrap())).unwrap()
    }

    fn set_mtu(&self, mtu: u32) {
        self.routes(|routes| routes.set_link(Routes::interface_index("veth0").unwrap(), None, Some(mtu)).unwrap());
    }
}

fn addresses(namespace: &Namespace, n: u8) {
    let set = || {
        let mut routes = Routes::open().unwrap();
        for (name, address, prefix) in [("lo", [10, n, 0, 1], 32), ("veth0", [192, 0, 2, n], 24)] {
            let interface = Routes::interface_index(name).unwrap();
            routes.add_address(&LocalAddress { interface, address: IpAddr::from(address), prefix }).unwrap();
            routes.set_link(interface, Some(true), None).unwrap();
        }
    };
    namespace.run(set).unwrap();
}

/// Starts a daemon; `None` where none can run here.
fn gateway(namespace: Namespace, directory: &Path, n: u8, more: &str) -> Option<Gateway> {
    let directory = directory.join(n.to_string());
    std::fs::create_dir_all(&directory).unwrap();
    let (file, settings) = (directory.join("swanctl.conf"), directory.join("strongswan.conf"));
    std::fs::write(&file, configuration(n, more)).unwrap();
    std::fs::write(&settings, "# defaults\n").unwrap();
    let log = std::fs::File::create(directory.join("log")).unwrap();
    let vici = format!("unix://{}", directory.join("vici").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_shrike"));
    command.args(["--vici", &vici, "run", "--history", "off", "--data-plane", "userspace", "--config"]).arg(file);
    command.arg("--strongswan-conf").arg(settings);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let daemon = namespace.run(|| command.spawn()).unwrap().unwrap();
    let mut gateway = Gateway { namespace, daemon, directory };
    for _ in 0..3000 {
        if let Some(status) = gateway.daemon.try_wait().unwrap() {
            skip(format!("the daemon does not run here: {status}: {}", gateway.log()));
            return None;
        }
        if gateway.ask(&["show"]).status.success() {
            return Some(gateway);
        }
    }
    panic!("the daemon does not answer: {}", gateway.log());
}

/// Two ends with a cable between them; the first one probes by itself, the other end's only host.
fn tunnel(name: &str) -> Option<(Gateway, Gateway)> {
    let pair = Namespace::anonymous().and_then(|a| Ok((a, Namespace::anonymous()?)));
    let (a, b) = match pair {
        Ok(pair) => pair,
        Err(error) => {
            skip(error);
            return None;
        }
    };
    let plug = || Routes::open().unwrap().add_veth("veth0", "veth0", Some(b.as_fd()));
    if let Err(error) = a.run(plug).unwrap() {
        skip(error);
        return None;
    }
    addresses(&a, 1);
    addresses(&b, 2);
    let directory = std::env::temp_dir().join(format!("shrike-probe-{name}-{}", std::process::id()));
    let b = gateway(b, &directory, 2, "")?;
    let a = gateway(a, &directory, 1, "probe_to = 10.2.0.1\n probe_every = 1h")?;
    let done = a.ask(&["initiate", "--child", "net", "--timeout", "20"]);
    assert!(done.status.success(), "{}\n{}", String::from_utf8_lossy(&done.stderr), a.log());
    Some((a, b))
}

#[test]
fn a_tunnel_is_measured_and_a_black_hole_in_the_path_is_told_with_its_size() {
    let Some((a, b)) = tunnel("mtu") else { return };
    let (code, figures, found) = a.probed(&[]);
    assert_eq!((code, &figures["largest"], &figures["tried_up_to"]), (Some(0), &1400.into(), &1400.into()), "{found}");
    assert_eq!((&figures["from"], &figures["to"]), (&"10.1.0.1".into(), &"10.2.0.1".into()));
    assert!(figures["packets_in"].as_u64() >= Some(2) && figures["packets_out"].as_u64() >= Some(2), "{figures}");
    // The daemon probes by itself, too: the other end has no such wish.
    assert!(a.asked(&["diagnose", "-v"]).contains("carries packets of up to 1400 octets"));
    assert!(!b.asked(&["diagnose", "-v"]).contains("carries packets"));

    // The cable takes less there than it says here: what is longer is lost without a word.
    b.set_mtu(1300);
    let (code, figures, found) = a.probed(&[]);
    assert_eq!((code, &found["causes"][0], &found["severity"]), (Some(1), &"PATH_MTU".into(), &"warning".into()));
    let largest = figures["largest"].as_u64().unwrap();
    // Around the packet: IP 20, ESP 8 + 8, at most 3 + 2 of trailer, 16 of integrity; 4 for a VLAN are let through.
    assert!((1300 - 20 - 16 - 5 - 16..=1304 - 20 - 16 - 2 - 16).contains(&largest), "{figures}");
    assert_eq!(figures["smallest_lost"], largest + 1);
    let text = a.asked(&["diagnose"]);
    assert!(text.contains("WARNING  PATH_MTU") && text.contains(&format!("up to {largest} octets")), "{text}");
    assert!(a.asked(&["show"]).contains("probe of gw/net"), "{}", a.asked(&["show"]));
    let shown: Value = serde_json::from_str(&a.asked(&["show", "--json"])).unwrap();
    assert_eq!(shown["probes"][0]["largest"], largest);
    let metrics = a.asked(&["metrics"]);
    let line = "ike_child_path_hole{connection=\"gw\",child=\"net\",peer=\"192.0.2.2\"} 1";
    assert!(metrics.contains(line) && metrics.contains("cause=\"PATH_MTU\""), "{metrics}");

    // All is well again: nothing is left of it.
    b.set_mtu(1500);
    assert_eq!(a.probed(&[]).0, Some(0));
    assert!(!a.asked(&["diagnose"]).contains("PATH_MTU"));
}

#[test]
fn which_half_is_broken_is_told() {
    let Some((a, b)) = tunnel("half") else { return };
    let first = |found: &Value| (found["causes"][0].clone(), found["why"].as_str().unwrap().to_string());
    // The daemon does so by itself.
    let told = (0..3000).any(|_| a.asked(&["diagnose", "-v"]).contains("carries packets of up to 1400"));
    assert!(told, "{}", a.log());

    // Nobody has the address: the tunnel carries packets, and the peer has nothing to say.
    let (code, _, found) = a.probed(&["--to", "10.2.7.7"]);
    assert_eq!((code, first(&found).0), (Some(1), "NATT".into()), "{found}");
    let (code, _, found) = a.probed(&["--to", "10.9.0.1"]);
    assert_eq!((code, first(&found).0), (Some(1), "TRAFFIC_SELECTOR".into()), "{found}");
    assert!(first(&found).1.contains("10.9.0.1 is not behind 'net'"), "{found}");

    // Nothing leads back into the tunnel at the peer: a route that somebody deletes comes back, a rule does not.
    let rule = Rule::tunnels(false);
    b.routes(|routes| routes.delete_rule(&rule).unwrap());
    let (code, figures, found) = a.probed(&[]);
    assert_eq!((code, first(&found).0), (Some(1), "NATT".into()), "{found}");
    assert!(first(&found).1.contains("nothing comes back"), "{found}");
    assert_eq!((&figures["sent"], &figures["packets_in"]), (&figures["packets_out"], &0.into()), "{figures}");
    b.routes(|routes| routes.add_rule(&rule).unwrap());

    // Ours is gone: nothing gets into the tunnel.
    a.routes(|routes| routes.delete_rule(&rule).unwrap());
    let (code, figures, found) = a.probed(&[]);
    assert_eq!((code, &figures["sent"]), (Some(1), &0.into()), "{found}");
    assert!(first(&found).1.contains("this host has no route"), "{found}");

    let refused = a.ask(&["probe", "other"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no connection has a child 'other'"));
    assert!(String::from_utf8_lossy(&a.ask(&["terminate", "--ike", "gw"]).stdout).contains("terminated"));
    let down = a.ask(&["probe", "net"]);
    assert!(String::from_utf8_lossy(&down.stderr).contains("'net' is not up"), "{down:?}");
}
