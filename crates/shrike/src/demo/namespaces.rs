//! Two daemons in two network namespaces, with real packets between them.

use super::{A, B, FAULTS, Fault, Site, configuration, explanation, heading, listings, say};
use crate::client::Control;
use linux::{LocalAddress, Namespace, Routes};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use vici::Message;

/// How long a daemon may take to open its control socket.
const START: Duration = Duration::from_secs(10);

struct Gateway {
    site: &'static Site,
    namespace: Namespace,
    directory: PathBuf,
    daemon: Option<Child>,
}

impl Gateway {
    fn new(site: &'static Site, directory: &Path) -> Result<Self, String> {
        let directory = directory.join(site.name);
        std::fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
        let namespace = Namespace::anonymous().map_err(|e| e.to_string())?;
        Ok(Self { site, namespace, directory, daemon: None })
    }

    fn uri(&self) -> String {
        format!("unix://{}", self.directory.join("vici").display())
    }

    fn config(&self) -> PathBuf {
        self.directory.join("swanctl.conf")
    }

    fn configure(&self, peer: &Site, fault: Fault) -> Result<(), String> {
        let text = configuration(self.site, peer, (self.site.address, peer.address), fault);
        std::fs::write(self.config(), text).map_err(|e| format!("{}: {e}", self.config().display()))
    }

    /// Loopback with the inner address, and our end of the cable.
    fn addresses(&self) -> Result<(), String> {
        let parse = |text: &str| text.parse::<IpAddr>().map_err(|e| e.to_string());
        let (inner, outer) = (parse(self.site.inner)?, parse(self.site.address)?);
        let set_up = || -> Result<(), String> {
            let text = |e: &dyn std::fmt::Display| format!("network of gateway {}: {e}", self.site.name);
            let mut routes = Routes::open().map_err(|e| text(&e))?;
            for (name, address, prefix) in [("lo", inner, 32), ("veth0", outer, 24)] {
                let interface = Routes::interface_index(name).map_err(|e| text(&e))?;
                routes.add_address(&LocalAddress { interface, address, prefix }).map_err(|e| text(&e))?;
                routes.set_link(interface, Some(true), None).map_err(|e| text(&e))?;
            }
            Ok(())
        };
        self.namespace.run(set_up).map_err(|e| e.to_string())?
    }

    fn start(&mut self) -> Result<(), String> {
        let program = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
        let log = std::fs::File::create(self.directory.join("log")).map_err(|e| format!("log: {e}"))?;
        let mut command = Command::new(program);
        command.arg("run").arg("--config").arg(self.config()).arg("--vici").arg(self.uri());
        // Only what is written here counts, whatever this host has in its own strongswan.conf.
        let settings = self.directory.join("strongswan.conf");
        std::fs::write(&settings, "# defaults\n").map_err(|e| format!("{}: {e}", settings.display()))?;
        command.arg("--strongswan-conf").arg(settings);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let spawned = self.namespace.run(|| command.spawn()).map_err(|e| e.to_string())?;
        self.daemon = Some(spawned.map_err(|e| format!("cannot start the daemon: {e}"))?);
        let tries = START.as_millis() / 50;
        for _ in 0..tries {
            if Control::open(Some(&self.uri())).is_ok() {
                return Ok(());
            }
            pause(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        Err(format!("gateway {} did not start:\n{log}", self.site.name))
    }

    fn control(&self) -> Result<Control, String> {
        Control::open(Some(&self.uri()))
    }

    fn reload(&self) -> Result<(), String> {
        self.control()?.command("shrike-load", Message::new(), |_| {}).map(drop)
    }

    fn explain(&self) -> Result<(), String> {
        let mut control = self.control()?;
        explanation(self.site, &control.snapshots()?, &control.ended()?);
        Ok(())
    }

    fn terminate(&self) -> Result<(), String> {
        let mut message = Message::new();
        message.set("ike", "site").set("timeout", "5000");
        self.control()?.command("terminate", message, |_| {}).map(drop)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let pid = daemon.id().to_string();
            // TERM, so that it removes what it made; the namespace goes with the last process in it.
            let _ = Command::new("kill").arg(pid).status();
            for _ in 0..50 {
                if matches!(daemon.try_wait(), Ok(Some(_))) {
                    return;
                }
                pause(Duration::from_millis(50));
            }
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// The demonstration's directory, removed however it ends.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[allow(clippy::disallowed_methods)] // the demonstration waits for other processes
fn pause(time: Duration) {
    std::thread::sleep(time);
}

pub(super) fn run() -> Result<(), String> {
    let path = std::env::temp_dir().join(format!("shrike-demo-{}", std::process::id()));
    std::fs::create_dir(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let directory = Directory(path);
    let (mut a, mut b) = (Gateway::new(&A, &directory.0)?, Gateway::new(&B, &directory.0)?);
    cable(&a, &b)?;
    heading("Two gateways in network namespaces");
    for site in [&A, &B] {
        say(&format!("  gateway-{}.example  {}  protects {}", site.name, site.address, site.network));
    }
    for (gateway, peer) in [(&mut a, &B), (&mut b, &A)] {
        gateway.addresses()?;
        gateway.configure(peer, Fault::None)?;
        gateway.start()?;
    }

    heading("shrike initiate --child net   (at gateway a)");
    initiate(&a)?;
    heading(&format!("ping {} from {} through the tunnel", B.inner, A.inner));
    ping(&a, B.inner, A.inner)?;
    ping(&b, A.inner, B.inner)?;
    listings(&a.control()?.snapshots()?);

    for (number, (fault, what)) in FAULTS.iter().enumerate() {
        a.terminate()?;
        heading(&format!("Fault {}: {what}", number + 1));
        b.configure(&A, *fault)?;
        b.reload()?;
        if initiate(&a).is_ok() {
            return Err(format!("the tunnel came up although {what}"));
        }
        a.explain()?;
        b.explain()?;
        b.configure(&A, Fault::None)?;
        b.reload()?;
        initiate_quietly(&a)?;
    }
    heading("Repaired: the tunnel is up again");
    ping(&a, B.inner, A.inner)
}

fn cable(a: &Gateway, b: &Gateway) -> Result<(), String> {
    use std::os::fd::AsFd;
    let plug = || -> Result<(), String> {
        let mut routes = Routes::open().map_err(|e| format!("netlink: {e}"))?;
        routes.add_veth("veth0", "veth0", Some(b.namespace.as_fd())).map_err(|e| format!("veth: {e}"))
    };
    a.namespace.run(plug).map_err(|e| e.to_string())?
}

fn initiate(gateway: &Gateway) -> Result<(), String> {
    let mut message = Message::new();
    message.set("child", "net").set("timeout", "20000");
    let done = gateway.control()?.command("initiate", message, |line| say(&format!("  {line}")));
    match &done {
        Ok(_) => say("  'net' is up"),
        Err(_) => say("  failed\n"),
    }
    done.map(drop)
}

/// For the repair between two faults. An IKE SA without its Child SA is in the way: it goes first.
fn initiate_quietly(gateway: &Gateway) -> Result<(), String> {
    if !gateway.control()?.snapshots()?.is_empty() {
        gateway.terminate()?;
    }
    let mut message = Message::new();
    message.set("child", "net").set("timeout", "20000");
    gateway.control()?.command("initiate", message, |_| {}).map(drop)
}

fn ping(from: &Gateway, to: &str, source: &str) -> Result<(), String> {
    let mut command = Command::new("ping");
    command.args(["-c", "3", "-i", "0.2", "-W", "2", "-I", source, to]);
    let output = from.namespace.run(|| command.output()).map_err(|e| e.to_string())?;
    match output {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            for line in text.lines().filter(|l| l.contains("icmp_seq") || l.contains("packets transmitted")) {
                say(&format!("  {line}"));
            }
            if output.status.success() { Ok(()) } else { Err(format!("ping from {source} to {to} failed")) }
        }
        Err(error) => {
            say(&format!("  SKIP ping: {error} (Debian: apt-get install iputils-ping)"));
            Ok(())
        }
    }
}
