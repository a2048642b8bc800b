//! The updown script: how the operator's firewall learns that a Child SA came up or went down.
//!
//! The environment is that of strongSwan's `_updown` (interface version 1.1), so that existing scripts work.

use crate::sys::width;
use model::TrafficSelector;
use model::dataplane::ChildInstall;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::process::{Command, ExitStatus, Stdio};

/// What happened to the Child SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It came up.
    Up,
    /// It went down.
    Down,
}

/// A script and how it ended.
#[derive(Debug)]
pub struct Outcome {
    /// The command line.
    pub script: String,
    /// PLUTO_VERB of this run.
    pub verb: String,
    /// What it printed, both streams.
    pub output: String,
    /// How it ended.
    pub result: Result<ExitStatus, io::Error>,
}

impl Outcome {
    /// Whether the script ran and returned 0.
    pub fn succeeded(&self) -> bool {
        self.result.as_ref().is_ok_and(ExitStatus::success)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { script, verb, .. } = self;
        match &self.result {
            Err(error) => write!(f, "updown '{script}' ({verb}) could not be run: {error}")?,
            Ok(status) if status.success() => write!(f, "updown '{script}' ({verb}) succeeded")?,
            Ok(status) => write!(f, "updown '{script}' ({verb}) failed: {status}")?,
        }
        match self.output.trim() {
            "" => Ok(()),
            output => write!(f, ": {output}"),
        }
    }
}

/// The environments of the script's runs, one per pair of selectors of one family, in the order of the selectors.
///
/// `interface` is the device with our address (or the TUN device). `install.updown_environment` is added to each, for what
/// only the protocol knows: PLUTO_UNIQUEID, PLUTO_MY_ID, PLUTO_PEER_ID, virtual IPs; a variable there replaces the one here.
pub fn environments(install: &ChildInstall, interface: &str, verb: Verb) -> Vec<Vec<(String, String)>> {
    let mut runs = Vec::new();
    for local in &install.local_ts {
        for remote in install.remote_ts.iter().filter(|remote| remote.is_ipv6() == local.is_ipv6()) {
            runs.push(environment(install, interface, verb, local, remote));
        }
    }
    runs
}

fn environment(
    install: &ChildInstall,
    interface: &str,
    verb: Verb,
    local: &TrafficSelector,
    remote: &TrafficSelector,
) -> Vec<(String, String)> {
    let (me, peer) = (install.local.ip(), install.remote.ip());
    // The local selector is nothing but our own address: the connection is to this host itself.
    let host = local.start == me && local.end == me;
    let name = format!(
        "{}-{}{}",
        if verb == Verb::Up { "up" } else { "down" },
        if host { "host" } else { "client" },
        // The suffix is about the gateways' addresses, says the interface; scripts use it to choose ip6tables, which is
        // about the selectors. They differ only for mixed families, and there the tool must fit the selectors.
        if local.is_ipv6() { "-v6" } else { "" }
    );
    // ICMP: type in the upper and code in the lower octet of either selector (RFC 7296 section 3.13.1); to the script
    // they are MY_PORT and PEER_PORT.
    let protocol = if local.protocol == 0 { remote.protocol } else { local.protocol };
    let (my_port, peer_port) = if matches!(protocol, 1 | 58) {
        match [local, remote].into_iter().find(|selector| !selector.any_port()) {
            Some(selector) => {
                let ([first_type, first_code], [_, last_code]) =
                    (selector.start_port.to_be_bytes(), selector.end_port.to_be_bytes());
                let code = if (first_code, last_code) == (0, 255) { 0 } else { first_code };
                (first_type.to_string(), code.to_string())
            }
            None => ("0".into(), "0".into()),
        }
    } else {
        (ports(local), ports(remote))
    };
    let mut environment: Vec<(String, String)> = [
        ("PLUTO_VERSION", "1.1".into()),
        ("PLUTO_VERB", name),
        ("PLUTO_CONNECTION", install.name.clone()),
        ("PLUTO_INTERFACE", interface.into()),
        ("PLUTO_REQID", install.reqid.to_string()),
        ("PLUTO_PROTO", "esp".into()),
        ("PLUTO_ME", me.to_string()),
        ("PLUTO_MY_CLIENT", network(local)),
        ("PLUTO_MY_PORT", my_port),
        ("PLUTO_MY_PROTOCOL", local.protocol.to_string()),
        ("PLUTO_PEER", peer.to_string()),
        ("PLUTO_PEER_CLIENT", network(remote)),
        ("PLUTO_PEER_PORT", peer_port),
        ("PLUTO_PEER_PROTOCOL", remote.protocol.to_string()),
    ]
    .into_iter()
    .map(|(name, value): (&str, String)| (name.to_owned(), value))
    .collect();
    if install.encapsulated {
        environment.push(("PLUTO_UDP_ENC".into(), install.remote.port().to_string()));
    }
    let binding = &install.binding;
    let marks = [("PLUTO_MARK_IN", binding.mark_in), ("PLUTO_MARK_OUT", binding.mark_out)];
    let interfaces = [("PLUTO_IF_ID_IN", binding.if_id_in), ("PLUTO_IF_ID_OUT", binding.if_id_out)];
    environment.extend(marks.into_iter().filter_map(|(name, mark)| Some((name.into(), mark?.to_string()))));
    environment.extend(interfaces.into_iter().filter_map(|(name, id)| Some((name.into(), id?.to_string()))));
    for (name, value) in &install.updown_environment {
        environment.retain(|(known, _)| known != name);
        environment.push((name.clone(), value.clone()));
    }
    environment
}

/// `ADDRESS/PREFIX`; a range that is no network becomes the smallest network around it, as scripts know no ranges.
fn network(selector: &TrafficSelector) -> String {
    let differing = match (selector.start, selector.end) {
        (IpAddr::V4(start), IpAddr::V4(end)) => {
            (u128::from(start.to_bits() ^ end.to_bits())).leading_zeros() as u8 - 96
        }
        (IpAddr::V6(start), IpAddr::V6(end)) => (start.to_bits() ^ end.to_bits()).leading_zeros() as u8,
        _ => 0,
    };
    let prefix = selector.prefix().unwrap_or(differing.min(width(selector.start)));
    match TrafficSelector::subnet(selector.start, prefix) {
        Some(around) => format!("{}/{prefix}", around.start),
        None => format!("{}/{prefix}", selector.start),
    }
}

/// 0 for all, one port, or `FIRST:LAST` as iptables writes a range.
fn ports(selector: &TrafficSelector) -> String {
    if selector.any_port() || selector.start_port > selector.end_port {
        "0".into()
    } else if selector.start_port == selector.end_port {
        selector.start_port.to_string()
    } else {
        format!("{}:{}", selector.start_port, selector.end_port)
    }
}

/// Runs the script of a Child SA once per pair of selectors and waits for it; nothing if it has none.
///
/// Blocks as long as the script runs: call it where that does not matter. The script inherits no descriptors of sockets
/// (all of ours are close-on-exec) and reads nothing.
pub fn run(install: &ChildInstall, interface: &str, verb: Verb) -> Vec<Outcome> {
    let Some(script) = &install.updown else { return Vec::new() };
    let runs = environments(install, interface, verb);
    runs.into_iter().map(|environment| run_one(script, environment)).collect()
}

fn run_one(script: &str, environment: Vec<(String, String)>) -> Outcome {
    let verb =
        environment.iter().find(|(name, _)| name == "PLUTO_VERB").map_or_else(String::new, |(_, value)| value.clone());
    // Output may be long: keep the log readable and the memory bounded.
    const MOST: usize = 4096;
    // Values may come from the peer (its identity): `envs` passes them as they are, no shell reads them. NUL cannot be.
    let environment = environment.into_iter().filter(|(name, value)| !name.contains('\0') && !value.contains('\0'));
    let output = Command::new("/bin/sh")
        .arg("-c")
        .arg(format!("({script}) 2>&1"))
        .envs(environment)
        .stdin(Stdio::null())
        .output();
    let (result, text) = match output {
        Ok(output) => {
            let end = output.stdout.len().min(MOST);
            (Ok(output.status), String::from_utf8_lossy(output.stdout.get(..end).unwrap_or_default()).into_owned())
        }
        Err(error) => (Err(error), String::new()),
    };
    Outcome { script: script.to_owned(), verb, output: text, result }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_install::install;

    fn value<'a>(environment: &'a [(String, String)], name: &str) -> Option<&'a str> {
        environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn one_run_per_pair_of_selectors() {
        let mut install = install(1);
        install.local_ts = ["10.1.0.0/16", "192.0.2.1", "2001:db8:1::/48"].map(|ts| ts.parse().unwrap()).to_vec();
        install.remote_ts = ["10.2.0.0/16[tcp/80]", "2001:db8:2::/48"].map(|ts| ts.parse().unwrap()).to_vec();
        install.updown_environment = vec![("PLUTO_PEER_ID".into(), "sun.strongswan.org".into())];
        let runs = environments(&install, "eth0", Verb::Up);
        let verbs: Vec<_> = runs.iter().map(|run| value(run, "PLUTO_VERB").unwrap()).collect();
        assert_eq!(verbs, ["up-client", "up-host", "up-client-v6"]);
        let expected = [
            ("PLUTO_VERSION", Some("1.1")),
            ("PLUTO_CONNECTION", Some("net")),
            ("PLUTO_INTERFACE", Some("eth0")),
            ("PLUTO_REQID", Some("7")),
            ("PLUTO_PROTO", Some("esp")),
            ("PLUTO_ME", Some("192.0.2.1")),
            ("PLUTO_MY_CLIENT", Some("10.1.0.0/16")),
            ("PLUTO_MY_PORT", Some("0")),
            ("PLUTO_MY_PROTOCOL", Some("0")),
            ("PLUTO_PEER", Some("192.0.2.2")),
            ("PLUTO_PEER_ID", Some("sun.strongswan.org")),
            ("PLUTO_PEER_CLIENT", Some("10.2.0.0/16")),
            ("PLUTO_PEER_PORT", Some("80")),
            ("PLUTO_PEER_PROTOCOL", Some("6")),
            ("PLUTO_UDP_ENC", None),
        ];
        for (name, expected) in expected {
            assert_eq!(value(&runs[0], name), expected, "{name}");
        }
        let mut encapsulated = install.clone();
        encapsulated.encapsulated = true;
        encapsulated.remote.set_port(1027);
        let runs = environments(&encapsulated, "eth0", Verb::Down);
        assert_eq!(value(&runs[0], "PLUTO_UDP_ENC"), Some("1027"));
        assert_eq!(value(&runs[0], "PLUTO_VERB"), Some("down-client"));
    }

    #[test]
    fn ranges_and_icmp() {
        let ts = |text: &str| text.parse::<TrafficSelector>().unwrap();
        assert_eq!(network(&ts("10.1.0.1-10.1.0.6")), "10.1.0.0/29");
        assert_eq!(network(&ts("0.0.0.0/0")), "0.0.0.0/0");
        assert_eq!(network(&ts("::/0")), "::/0");
        assert_eq!(network(&ts("2001:db8::1")), "2001:db8::1/128");
        assert_eq!(ports(&ts("10.0.0.1[tcp/1-9]")), "1:9");
        let mut install = install(1);
        install.local_ts = vec![TrafficSelector { start_port: 0x0800, end_port: 0x08ff, ..ts("10.1.0.0/16[icmp]") }];
        install.remote_ts = vec![ts("10.2.0.0/16[icmp]")];
        let runs = environments(&install, "eth0", Verb::Up);
        assert_eq!(value(&runs[0], "PLUTO_MY_PORT"), Some("8"));
        assert_eq!(value(&runs[0], "PLUTO_PEER_PORT"), Some("0"));
    }

    #[test]
    fn the_script_is_run_and_its_failure_told() {
        let mut install = install(1);
        install.updown_environment = vec![("PLUTO_PEER_ID".into(), "$(echo injected); `id`".into())];
        install.updown = Some("echo \"$PLUTO_VERB $PLUTO_PEER_ID\"; echo trouble >&2; exit 3".into());
        let outcomes = run(&install, "eth0", Verb::Up);
        let [outcome] = &outcomes[..] else { panic!("{outcomes:?}") };
        assert!(!outcome.succeeded());
        assert_eq!(outcome.output, "up-client $(echo injected); `id`\ntrouble\n");
        assert!(outcome.to_string().contains("exit status: 3"), "{outcome}");
        install.updown = Some("true".into());
        assert!(run(&install, "eth0", Verb::Down)[0].succeeded());
        install.updown = None;
        assert!(run(&install, "eth0", Verb::Up).is_empty());
    }
}
