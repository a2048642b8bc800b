//! `racoonctl`, with racoon's option syntax: as `shrike racoonctl ...`, and under its own name when the program is
//! installed as `racoonctl`.

use crate::client::Control;
use model::{IkeState, SaId, SaSnapshot};
use show::racoonctl::{
    Dialect, NO_SAD_ENTRIES, Options, PHASE2_ESTABLISHED, event_line, events_of_end, events_of_phase1, render,
    render_ipsec,
};
use std::net::{IpAddr, ToSocketAddrs};
use std::time::Duration;
use vici::Message;

const USAGE: &str = "usage: racoonctl [-l [-l [-l]]] [-s SOCKET] [--dialect racoon07|racoon08] [--strict] VERB
  show-sa (ss) isakmp|esp|ah|ipsec        delete-sa (ds) isakmp inet|inet6 SRC DST
  flush-sa (fs) isakmp|esp|ah|ipsec       establish-sa (es) [-w] [-n CONNECTION] isakmp inet|inet6 SRC DST
  show-event (se)                         vpn-connect (vc) GATEWAY
  reload-config (rc)                      vpn-disconnect (vd) GATEWAY";

/// The command line.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    level: u8,
    socket: Option<String>,
    dialect: Dialect,
    strict: bool,
    words: Vec<String>,
}

impl Line {
    /// Options come before the verb; what follows it is the verb's own.
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut line = Self { level: 0, socket: None, dialect: Dialect::Racoon07, strict: false, words: Vec::new() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().cloned().ok_or_else(|| format!("option {argument} needs a value\n{USAGE}"));
            match argument.as_str() {
                "--strict" => line.strict = true,
                "--dialect" => {
                    line.dialect = match value()?.as_str() {
                        "racoon07" => Dialect::Racoon07,
                        "racoon08" => Dialect::Racoon08,
                        other => return Err(format!("'{other}' is no dialect: racoon07 or racoon08")),
                    }
                }
                option if option.starts_with('-') => {
                    // Letters in one word, as getopt has them: "-ll", "-lls SOCKET".
                    let mut letters = option.get(1..).unwrap_or_default().chars();
                    let invalid = || format!("Invalid option [{option}]\n{USAGE}");
                    if option.len() < 2 || option.starts_with("--") {
                        return Err(invalid());
                    }
                    while let Some(letter) = letters.next() {
                        match letter {
                            'l' => line.level = line.level.saturating_add(1),
                            'd' => {} // racoon dumps its request here; there is nothing comparable
                            's' => {
                                let attached = letters.as_str().to_string();
                                letters = "".chars();
                                line.socket = Some(if attached.is_empty() { value()? } else { attached });
                            }
                            _ => return Err(invalid()),
                        }
                    }
                }
                verb => {
                    line.words = std::iter::once(verb.to_string()).chain(rest.cloned()).collect();
                    return Ok(line);
                }
            }
        }
        Err(USAGE.to_string())
    }
}

/// Runs a racoonctl command line.
///
/// # Errors
/// What is wrong with it, or what the daemon says.
pub fn run(arguments: &[String], vici: Option<&str>, print: impl Fn(&str)) -> Result<(), String> {
    let line = Line::parse(arguments)?;
    let socket = line.socket.clone().or_else(|| vici.map(str::to_string));
    let open = || Control::open(socket.as_deref());
    let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["show-sa" | "ss", "isakmp"] => {
            let created = |age: Duration| local_time(age, "%Y-%m-%d %H:%M:%S");
            let options = Options { level: line.level, dialect: line.dialect, strict: line.strict, created: &created };
            let mut sas = open()?.snapshots()?;
            // What is left of an ISAKMP SA that the peer deleted alone is phase 2: racoon lists it there only.
            sas.retain(|sa| sa.version != 1 || sa.state != IkeState::Deleting);
            print(&render(&sas, &options));
            Ok(())
        }
        ["show-sa" | "ss", "esp" | "ipsec"] => {
            let sas = meant(&line, &mut open()?)?;
            print(&render_ipsec(&sas, &|age| local_time(age, "%b %e %H:%M:%S %Y")));
            Ok(())
        }
        ["show-sa" | "ss", "ah"] => {
            print(NO_SAD_ENTRIES); // AH is not available
            Ok(())
        }
        [
            "show-sa" | "ss" | "flush-sa" | "fs" | "delete-sa" | "ds" | "vpn-connect" | "vc" | "vpn-disconnect" | "vd",
        ] => Err(format!("insufficient arguments\n{USAGE}")),
        ["show-event" | "se"] => show_events(&mut open()?, print),
        ["reload-config" | "rc"] => open()?.command("shrike-load", Message::new(), |_| {}).map(drop),
        ["flush-sa" | "fs", "isakmp"] => {
            let mut control = open()?;
            let all = meant(&line, &mut control)?;
            all.iter().try_for_each(|sa| terminate(&mut control, "ike-id", sa.id))
        }
        ["flush-sa" | "fs", "esp" | "ipsec"] => {
            let mut control = open()?;
            let all = meant(&line, &mut control)?;
            all.iter().flat_map(|sa| &sa.children).try_for_each(|c| terminate(&mut control, "child-id", c.id))
        }
        ["flush-sa" | "fs", "ah"] => Ok(()),
        ["show-sa" | "ss" | "flush-sa" | "fs", protocol] => Err(format!("unknown protocol {protocol}")),
        ["delete-sa" | "ds", "isakmp", family @ ("inet" | "inet6"), source, destination] => {
            let (source, destination) = (address_of(family, source)?, address_of(family, destination)?);
            delete(&line, &mut open()?, Some(source), destination)
        }
        ["establish-sa" | "es", rest @ ..] => {
            let (mut rest, mut wait, mut named) = (rest, false, None);
            loop {
                (rest, wait, named) = match rest {
                    ["-w", more @ ..] => (more, true, named),
                    ["-n", name, more @ ..] => (more, wait, Some(*name)),
                    ["-u", ..] => return Err(user_option()),
                    _ => break,
                };
            }
            match rest {
                ["isakmp", family @ ("inet" | "inet6"), source, destination] => {
                    let (source, destination) = (address_of(family, source)?, address_of(family, destination)?);
                    let to = Gateway { named, source: Some(source), address: destination };
                    connect(&line, &mut open()?, &to, wait)
                }
                _ => Err(format!(
                    "establish-sa [-w] [-n CONNECTION] isakmp inet|inet6 SRC DST is what there is: IPsec SAs come with their ISAKMP SA\n{USAGE}"
                )),
            }
        }
        ["vpn-connect" | "vc", "-u", ..] => Err(user_option()),
        ["vpn-connect" | "vc", gateway] => {
            let (mut control, gateway) = (open()?, host(gateway)?);
            connect(&line, &mut control, &Gateway { named: None, source: None, address: gateway }, true)?;
            // racoon's words and spelling: scripts look for them.
            let with = |sa: &&SaSnapshot| sa.remote.ip() == gateway && sa.established.is_some();
            for sa in meant(&line, &mut control)?.iter().filter(with) {
                sa.local_vips.iter().for_each(|address| print(&format!("Bound to address {address}\n")));
            }
            print("VPN connexion established\n");
            Ok(())
        }
        ["vpn-disconnect" | "vd", gateway] => {
            delete(&line, &mut open()?, None, host(gateway)?)?;
            print("VPN connexion terminated\n");
            Ok(())
        }
        [
            verb @ ("show-sa" | "ss" | "flush-sa" | "fs" | "delete-sa" | "ds" | "vpn-connect" | "vc" | "vpn-disconnect"
            | "vd"),
            ..,
        ] => Err(format!("Invalid arguments to {verb}\n{USAGE}")),
        [verb, ..] => Err(format!("Invalid command [{verb}]\n{USAGE}")),
        [] => Err(USAGE.to_string()),
    }
}

/// The SAs that the command is about.
fn meant(line: &Line, control: &mut Control) -> Result<Vec<SaSnapshot>, String> {
    let mut sas = control.snapshots()?;
    sas.retain(|sa| sa.version == 1 || !line.strict);
    Ok(sas)
}

fn user_option() -> String {
    "option -u is not available: the user is xauth_id of the connection's local section, the password in secrets.xauth"
        .into()
}

/// The local time that was `age` ago.
fn local_time(age: Duration, format: &str) -> String {
    let now = jiff::ZonedDateTime::now();
    now.checked_sub(age).unwrap_or(now).strftime(format).to_string()
}

/// An address, with racoon's `[port]` behind it or without.
fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text.split_once('[').map_or(text, |(bare, _)| bare);
    bare.parse().map_err(|_| format!("'{text}' is no address"))
}

/// The same, of the family that was named before it.
fn address_of(family: &str, text: &str) -> Result<IpAddr, String> {
    let found = address(text)?;
    if found.is_ipv6() == (family == "inet6") { Ok(found) } else { Err(format!("'{text}' is no address of {family}")) }
}

/// A gateway, which may be a host name.
fn host(text: &str) -> Result<IpAddr, String> {
    address(text).or_else(|_| {
        let found = (text, 500).to_socket_addrs().map_err(|error| format!("'{text}' is no address: {error}"))?;
        found.map(|a| a.ip()).next().ok_or_else(|| format!("'{text}' is no address"))
    })
}

fn terminate(control: &mut Control, key: &str, id: SaId) -> Result<(), String> {
    let mut message = Message::new();
    message.set(key, id.0.to_string()).set("timeout", "10000");
    control.command("terminate", message, |_| {}).map(drop)
}

fn delete(line: &Line, control: &mut Control, source: Option<IpAddr>, destination: IpAddr) -> Result<(), String> {
    let fits = |sa: &&SaSnapshot| sa.remote.ip() == destination && source.is_none_or(|s| sa.local.ip() == s);
    let chosen: Vec<SaId> = meant(line, control)?.iter().filter(fits).map(|sa| sa.id).collect();
    if chosen.is_empty() {
        return Err(format!("no ISAKMP SA with {destination}"));
    }
    chosen.into_iter().try_for_each(|id| terminate(control, "ike-id", id))
}

/// With whom.
struct Gateway<'a> {
    /// Name of the connection, where it was given.
    named: Option<&'a str>,
    source: Option<IpAddr>,
    address: IpAddr,
}

/// Brings the first child of the connection with this gateway up.
fn connect(line: &Line, control: &mut Control, to: &Gateway<'_>, wait: bool) -> Result<(), String> {
    let fits = |(name, connection): &(String, Message)| {
        let version = !line.strict || connection.get_str("version") != Some("IKEv2");
        // Any address is what most are written for; a named one is meant for others.
        let has = |key: &str, address: IpAddr| {
            let mut texts = connection.texts(key).peekable();
            let text = address.to_string();
            texts.peek().is_none() || texts.any(|other| other == text || other == "%any")
        };
        let ends = has("remote_addrs", to.address) && to.source.is_none_or(|source| has("local_addrs", source));
        version && to.named.map_or(ends, |named| named == name)
    };
    let exact = |(_, connection): &(String, Message)| {
        let text = to.address.to_string();
        connection.texts("remote_addrs").any(|address| address == text)
    };
    let all: Vec<(String, Message)> = control.connections()?.into_iter().filter(fits).collect();
    let chosen = all.iter().find(|c| exact(c)).or(all.first());
    let child = |m: &Message| m.get_section("children").and_then(|c| c.sections().next().map(|(n, _)| n.to_string()));
    let (name, child) = chosen.and_then(|(name, m)| Some((name, child(m)?))).ok_or_else(|| match to.named {
        Some(named) => format!("no connection '{named}' with a child is loaded"),
        None => format!("no connection with {} is loaded: set its remote_addrs", to.address),
    })?;
    let mut message = Message::new();
    message.set("ike", name).set("child", &child).set("timeout", if wait { "60000" } else { "-1" });
    control.command("initiate", message, |_| {}).map(drop)
}

/// Racoon's event lines, until the daemon goes away.
fn show_events(control: &mut Control, print: impl Fn(&str)) -> Result<(), String> {
    control.follow_changes(|change| {
        let (codes, local, remote) = match change {
            crate::client::Change::IkeUp(sa) => (events_of_phase1(&sa), sa.local, sa.remote),
            crate::client::Change::ChildUp(sa) => (vec![PHASE2_ESTABLISHED], sa.local, sa.remote),
            crate::client::Change::Ended(t) => (events_of_end(&t), t.sa.local, t.sa.remote),
        };
        codes.into_iter().for_each(|code| print(&event_line(code, local, remote)));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Line, String> {
        Line::parse(&text.split_whitespace().map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_racoons() {
        let parsed = line("-ll show-sa isakmp").unwrap();
        assert_eq!((parsed.level, parsed.words.as_slice()), (2, &["show-sa".to_string(), "isakmp".to_string()][..]));
        assert_eq!(line("-l -l -l ss isakmp").unwrap().level, 3);
        assert_eq!(line("--dialect racoon08 --strict ss esp").unwrap().dialect, Dialect::Racoon08);
        assert_eq!(line("-s /run/x ss esp").unwrap().socket.as_deref(), Some("/run/x"));
        // Options after the verb belong to the verb.
        assert_eq!(line("es -w isakmp inet a b").unwrap().words.len(), 6);
        let grouped = line("-lds /run/x -l ss esp").unwrap();
        assert_eq!((grouped.level, grouped.socket.as_deref()), (2, Some("/run/x")));
        assert_eq!(line("-ls/run/y ss esp").unwrap().socket.as_deref(), Some("/run/y"));
        assert!(line("-x ss").unwrap_err().starts_with("Invalid option [-x]"));
        assert!(line("-lx ss").unwrap_err().starts_with("Invalid option [-lx]"));
        assert!(line("").unwrap_err().starts_with("usage"));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let refused = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_string).collect();
            run(&words, Some("unix:///nonexistent/socket"), |_| {}).unwrap_err()
        };
        assert!(refused("frobnicate").starts_with("Invalid command [frobnicate]"));
        assert!(refused("show-sa").starts_with("insufficient arguments"));
        assert!(refused("show-sa bogus").starts_with("unknown protocol bogus"));
        assert!(refused("show-sa isakmp more").starts_with("Invalid arguments to show-sa"));
        assert!(
            refused("delete-sa isakmp inet6 192.0.2.1 192.0.2.2").starts_with("'192.0.2.1' is no address of inet6")
        );
        assert!(refused("es -u carol isakmp inet 192.0.2.1 192.0.2.2").starts_with("option -u is not available"));
        assert!(refused("show-sa isakmp").contains("no daemon serves /nonexistent/socket"));
    }

    #[test]
    fn ports_in_brackets_are_left_out() {
        assert_eq!(address("192.0.2.1[500]").unwrap(), IpAddr::from([192, 0, 2, 1]));
        assert!(address("2001:db8::1").is_ok());
    }
}
