//! The command line: racoon's options, and what its verbs take.

use model::TrafficSelector;
use show::racoonctl::Dialect;
use std::net::{IpAddr, ToSocketAddrs};

pub const USAGE: &str = "usage: racoonctl [-l [-l [-l]]] [-s SOCKET] [--dialect racoon07|racoon08] [--strict] VERB
       racoonctl -V | --help
  show-sa (ss) isakmp|esp|ah|ipsec|internal   show-schedule (sc)
  show-event (se)                             reload-config (rc)
  flush-sa (fs) isakmp|esp|ah|ipsec           delete-sa (ds) SA
  establish-sa (es) [-u USER] [-n CONNECTION] [-w] SA
  vpn-connect (vc) [-u USER] GATEWAY          vpn-disconnect (vd) GATEWAY
  logout-user (lu) USER                       get-cert (gc) inet|inet6 SRC DST
SA: isakmp inet|inet6 SRC DST
    esp inet|inet6 SRC[/PREFIX[/PORT]] DST[/PREFIX[/PORT]] [icmp|tcp|udp|gre|any]";

/// The command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    pub level: u8,
    pub socket: Option<String>,
    pub dialect: Dialect,
    pub strict: bool,
    pub words: Vec<String>,
}

impl Line {
    /// Options come before the verb; what follows it is the verb's own. `-V` and `--help` are words of their
    /// own, and there may be none.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut line = Self { level: 0, socket: None, dialect: Dialect::Racoon07, strict: false, words: Vec::new() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().cloned().ok_or_else(|| format!("option {argument} needs a value\n{USAGE}"));
            match argument.as_str() {
                "--strict" => line.strict = true,
                "-V" | "--version" | "-h" | "--help" => {
                    line.words = vec![argument.clone()];
                    return Ok(line);
                }
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
        Ok(line)
    }
}

/// Which SA a verb is about.
#[derive(Debug, PartialEq, Eq)]
pub enum Which {
    /// Phase 1, by both ends.
    Isakmp { source: IpAddr, destination: IpAddr },
    /// Phase 2, by what it carries.
    Esp { source: TrafficSelector, destination: TrafficSelector },
}

impl Which {
    /// What racoon calls saopts.
    pub fn parse(verb: &str, words: &[&str]) -> Result<Self, String> {
        match words {
            ["isakmp", family @ ("inet" | "inet6"), source, destination] => {
                Ok(Self::Isakmp { source: address_of(family, source)?, destination: address_of(family, destination)? })
            }
            ["esp", family @ ("inet" | "inet6"), source, destination, rest @ ..] if rest.len() <= 1 => {
                let selector = |text: &str| selector(family, text, rest.first().copied().unwrap_or("any"));
                Ok(Self::Esp { source: selector(source)?, destination: selector(destination)? })
            }
            ["ah", ..] => {
                Err("AH is not available in this version: use esp (with a null cipher, if nothing is to be hidden)"
                    .into())
            }
            [] => Err(format!("insufficient arguments\n{USAGE}")),
            _ => Err(format!("Invalid arguments to {verb}\n{USAGE}")),
        }
    }
}

/// What stands behind `establish-sa` and `vpn-connect` before the SA or gateway.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Begin<'a> {
    /// `-u`: the user for XAuth, whose password is asked for.
    pub user: Option<&'a str>,
    /// `-n`: the connection.
    pub named: Option<&'a str>,
    /// `-w`: until it is up.
    pub wait: bool,
}

impl<'a> Begin<'a> {
    /// The options, and what is behind them.
    pub fn parse<'b>(mut words: &'b [&'a str]) -> Result<(Self, &'b [&'a str]), String> {
        let mut begin = Self::default();
        loop {
            words = match words {
                ["-w", rest @ ..] => {
                    begin.wait = true;
                    rest
                }
                ["-n", name, rest @ ..] => {
                    begin.named = Some(name);
                    rest
                }
                ["-u", user, rest @ ..] => {
                    begin.user = Some(user);
                    rest
                }
                [option, ..] if option.starts_with('-') => return Err(format!("Invalid option [{option}]\n{USAGE}")),
                rest => return Ok((begin, rest)),
            }
        }
    }
}

/// `ADDRESS`, `ADDRESS/PREFIX`, `ADDRESS/PREFIX/PORT`, the port also in brackets.
fn selector(family: &str, text: &str, protocol: &str) -> Result<TrafficSelector, String> {
    let wrong = |why: &str| format!("'{text}' is no end of an IPsec SA: {why}");
    let (plain, bracketed) = match text.split_once('[') {
        Some((plain, rest)) => (plain, Some(rest.strip_suffix(']').ok_or_else(|| wrong("']' is missing"))?)),
        None => (text, None),
    };
    let mut parts = plain.split('/');
    let address = address_of(family, parts.next().unwrap_or_default())?;
    let prefix = parts.next().map_or(if address.is_ipv6() { "128" } else { "32" }, |prefix| prefix);
    let port = bracketed.or_else(|| parts.next()).filter(|port| !matches!(*port, "" | "any" | "0"));
    if parts.next().is_some() {
        return Err(wrong("it is ADDRESS, ADDRESS/PREFIX or ADDRESS/PREFIX/PORT"));
    }
    let of_protocol = match (protocol, port) {
        ("any", None) => String::new(),
        ("any", Some(_)) => return Err(wrong("a port is one of a protocol; name it instead of 'any'")),
        (protocol, None) => format!("[{protocol}]"),
        (protocol, Some(port)) => format!("[{protocol}/{port}]"),
    };
    format!("{address}/{prefix}{of_protocol}").parse::<TrafficSelector>().map_err(|error| wrong(&error.to_string()))
}

/// An address, with racoon's `[port]` behind it or without.
pub fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text.split_once('[').map_or(text, |(bare, _)| bare);
    bare.parse().map_err(|_| format!("'{text}' is no address"))
}

/// The same, of the family that was named before it.
pub fn address_of(family: &str, text: &str) -> Result<IpAddr, String> {
    let found = address(text)?;
    if found.is_ipv6() == (family == "inet6") { Ok(found) } else { Err(format!("'{text}' is no address of {family}")) }
}

/// A gateway, which may be a host name.
pub fn host(text: &str) -> Result<IpAddr, String> {
    address(text).or_else(|_| {
        let found = (text, 500).to_socket_addrs().map_err(|error| format!("'{text}' is no address: {error}"))?;
        found.map(|a| a.ip()).next().ok_or_else(|| format!("'{text}' is no address"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Line, String> {
        Line::parse(&text.split_whitespace().map(str::to_string).collect::<Vec<_>>())
    }

    fn which(text: &str) -> Result<Which, String> {
        Which::parse("delete-sa", &text.split_whitespace().collect::<Vec<_>>())
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
        assert_eq!(line("-l -V ss").unwrap().words, ["-V"]);
        assert!(line("-x ss").unwrap_err().starts_with("Invalid option [-x]"));
        assert!(line("-lx ss").unwrap_err().starts_with("Invalid option [-lx]"));
        assert!(line("-l").unwrap().words.is_empty(), "racoon then prints how it is used, and is content");
    }

    #[test]
    fn options_of_verbs_are_in_any_order() {
        let words = ["-w", "-u", "carol", "-n", "gw", "isakmp"];
        let all = Begin { user: Some("carol"), named: Some("gw"), wait: true };
        assert_eq!(Begin::parse(&words).unwrap(), (all, &["isakmp"][..]));
        assert_eq!(Begin::parse(&["gw.example"]).unwrap(), (Begin::default(), &["gw.example"][..]));
        assert!(Begin::parse(&["-x", "isakmp"]).unwrap_err().starts_with("Invalid option [-x]"));
        assert!(Begin::parse(&["-u"]).unwrap_err().starts_with("Invalid option [-u]"));
    }

    #[test]
    fn an_end_has_a_prefix_and_a_port_or_none() {
        let esp = |source: &str, protocol: &str| match which(&format!("esp inet {source} 10.2.0.0/16 {protocol}")) {
            Ok(Which::Esp { source, .. }) => source.to_string(),
            other => format!("{other:?}"),
        };
        for (text, protocol, expected) in [
            ("10.1.0.0/16/any", "any", "10.1.0.0/16"),
            ("10.1.0.0/16/0", "any", "10.1.0.0/16"),
            ("10.1.0.0/16[any]", "tcp", "10.1.0.0/16[tcp]"),
            ("10.1.0.7", "gre", "10.1.0.7/32[gre]"),
            ("10.1.0.7/32/8080", "tcp", "10.1.0.7/32[tcp/8080]"),
            ("10.1.0.7/32[53]", "udp", "10.1.0.7/32[udp/53]"),
        ] {
            let expected: TrafficSelector = expected.parse().unwrap();
            assert_eq!(esp(text, protocol), expected.to_string(), "{text} {protocol}");
        }
        assert_eq!(which("esp inet 10.1.0.0/16 10.2.0.0/16"), which("esp inet 10.1.0.0/16 10.2.0.0/16 any"));
        assert_eq!(esp("10.1.0.0/16[80]", "tcp"), "10.1.0.0/16[tcp/http]");
        let refused = |text: &str| which(text).unwrap_err();
        assert!(
            refused("esp inet 10.1.0.0/33 10.2.0.0/16 any").starts_with("'10.1.0.0/33' is no end of an IPsec SA: ")
        );
        assert!(refused("esp inet 10.1.0.0/16/80 10.2.0.0/16 any").contains("name it instead of 'any'"));
        assert!(refused("esp inet 10.1.0.0/16/80/1 10.2.0.0/16 tcp").contains("ADDRESS/PREFIX/PORT"));
        assert!(refused("esp inet6 10.1.0.0/16 10.2.0.0/16 any").starts_with("'10.1.0.0' is no address of inet6"));
        assert!(refused("ah inet 10.1.0.0/16 10.2.0.0/16 any").contains("use esp"));
        assert!(refused("esp inet 10.1.0.0/16").starts_with("Invalid arguments to delete-sa"));
        assert!(refused("").starts_with("insufficient arguments"));
        let isakmp = which("isakmp inet6 2001:db8::1 2001:db8::2[500]").unwrap();
        let (source, destination) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        assert_eq!(isakmp, Which::Isakmp { source, destination });
    }

    #[test]
    fn ports_in_brackets_are_left_out() {
        assert_eq!(address("192.0.2.1[500]").unwrap(), IpAddr::from([192, 0, 2, 1]));
        assert!(address("2001:db8::1").is_ok());
    }
}
