//! The command line: the program, its man page and its shell completions come from these definitions.

use crate::daemon::Choice;
use clap::{Args, Parser, Subcommand};
use std::net::IpAddr;

/// An IKE daemon for IPsec that negotiates, shows and explains.
#[derive(Parser)]
#[command(
    name = "shrike",
    version,
    about,
    long_about = "An IKE daemon for IPsec. It reads swanctl.conf, serves vici (so \
swanctl works with it), carries packets by its own ESP or the kernel's, and says why an SA is not there."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Control socket: unix:///PATH. Default: $SHRIKE_VICI, else unix:///run/charon.vici
    #[arg(long, global = true, value_name = "URI")]
    pub vici: Option<String>,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground
    Run(Run),
    /// Have the daemon read its configuration again
    Load(Load),
    /// Negotiate a Child SA (and the IKE SA under it), and wait until it is up or has failed
    Initiate(Initiate),
    /// Delete SAs, here and at the peer
    Terminate(Terminate),
    /// Replace the keys of SAs before their time
    Rekey(Rekey),
    /// Show every SA, live, being negotiated or ended, with the reason
    Show(Show),
    /// Show SAs as a BIG-IP does: tmsh show net ipsec ike-sa
    Tmsh(Tmsh),
    /// Show and steer SAs as racoon does: racoonctl [-l|-ll|-lll] show-sa isakmp
    Racoonctl(Racoonctl),
    /// Say what is wrong: of the running daemon, or from captures, listings and logs of anybody's gateways
    Diagnose(Diagnose),
    /// See whether a Child SA carries packets, and how long ones: the daemon sends some through it and waits for the answers
    Probe(Probe),
    /// Say what a configuration would not do well, or whether two of them would find together, and which line to change
    Check(Check),
    /// Run a command that lists SAs again and again, and say what is stable, rekeyed, flapping or never up
    Watch(Watch),
    /// What a cause means, how it looks, what to change; without a code all of them
    Explain(Explain),
    /// What happened to a peer's SAs, also before the daemon was started
    History(History),
    /// Print figures of the running daemon for Prometheus, or serve them over HTTP
    Metrics(Metrics),
    /// Follow the daemon's log
    Log,
    /// Two gateways on this machine negotiate, carry traffic, fail in three ways, and explain it
    Demo(Demo),
    /// Print the man page or the completions of a shell
    Generate(Generate),
}

/// Run the daemon in the foreground
#[derive(Args)]
pub struct Run {
    /// Configuration. Default: /etc/swanctl/swanctl.conf, if there is one
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,

    /// Settings of the daemon as a whole (retransmission, limits, ports). Default: $STRONGSWAN_CONF, else /etc/strongswan.conf
    #[arg(long, value_name = "FILE")]
    pub strongswan_conf: Option<String>,

    /// What carries the packets
    #[arg(long, value_enum, default_value_t)]
    pub data_plane: Choice,

    /// How much to log: 0 what matters, 1 the course of things, 2 details
    #[arg(long, default_value_t = 1, value_name = "0-4", value_parser = clap::value_parser!(u8).range(0..=4))]
    pub log_level: u8,

    /// Where to keep what happens (SQLite), or 'off'. Default: /var/lib/shrike/history.sqlite, if there is that directory
    #[arg(long, value_name = "FILE")]
    pub history: Option<String>,
}

/// Print figures of the running daemon (Shrike, or a charon) for Prometheus: what is configured against what is established,
/// with the likely cause as a label; or serve them over HTTP at /metrics.
#[derive(Args)]
pub struct Metrics {
    /// Address and port to serve on, such as 127.0.0.1:9814; without it, print once
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<std::net::SocketAddr>,
}

/// What happened to a peer's SAs, also before the daemon was started: SAs that came up, went down, ended or failed, with
/// the reason. It reads the daemon's file, whether a daemon runs or not.
#[derive(Args)]
pub struct History {
    /// A connection's name, the peer's address or its identity; without it, all
    #[arg(value_name = "PEER")]
    pub peer: Option<String>,

    /// The file. Default: /var/lib/shrike/history.sqlite
    #[arg(long, value_name = "FILE")]
    pub file: Option<String>,

    /// How many events at most, the last ones
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub last: u32,

    /// For programs: schema shrike.history/1
    #[arg(long)]
    pub json: bool,
}

/// Say what is wrong: of the running daemon (Shrike, or a charon), or from packet captures (without keys), listings and
/// logs of anybody's gateways, without a daemon. From several of them together, findings about the same peer become one.
///
/// Exit code: 0 nothing is wrong, 1 something may be, 2 something is, 3 the input cannot be read.
#[derive(Args, Default)]
pub struct Diagnose {
    /// Ask the running daemon (see --vici); so it is without any file, too
    #[arg(long)]
    pub live: bool,

    /// A pcap or pcapng file, such as tcpdump -w writes; may be given several times
    #[arg(long, value_name = "FILE")]
    pub pcap: Vec<String>,

    /// Keys of IKE SAs in the captures: Wireshark's ikev1_decryption_table or ikev2_decryption_table, or both in one file. With
    /// them what is encrypted is evidence, too: errors, identities, proposals, networks. They are never printed
    #[arg(long, value_name = "FILE", requires = "pcap")]
    pub keys: Option<String>,

    /// Also say whether this swanctl.conf would have accepted what each initiator began with, and if not, which line refuses
    #[arg(long, value_name = "FILE", requires = "pcap")]
    pub against: Option<String>,

    /// Whose that configuration is; without it, its local_addrs say
    #[arg(long, value_enum, requires = "against")]
    pub end: Option<End>,

    /// Output of racoonctl show-sa isakmp, tmsh show net ipsec ike-sa, swanctl --list-sas, ipsec statusall, ipsec status,
    /// ikectl show sa, Cisco's show crypto isakmp sa, ikev2 sa or session, Juniper's show security ike security-associations,
    /// Fortinet's diagnose vpn ike gateway list and get vpn ipsec tunnel summary, Palo Alto's show vpn ike-sa, or of
    /// IPsec SAs (setkey -D, ip xfrm state): one listing, a terminal's text with several, or a series with lines
    /// '# t=NUMBER ms' between; may be given several times
    #[arg(long, value_name = "FILE")]
    pub listing: Vec<String>,

    /// A log of racoon, a BIG-IP (racoon.log, ipsec.log), charon, pluto or iked, also from syslog or the journal; may be
    /// given several times
    #[arg(long, value_name = "FILE")]
    pub log: Vec<String>,

    /// For programs: schema shrike.findings/1
    #[arg(long)]
    pub json: bool,

    /// The evidence for what is in order, too
    #[arg(long, short)]
    pub verbose: bool,
}

/// See whether a Child SA carries packets, and how long ones. The daemon sends ICMP echo requests through it, first a short one,
/// then longer ones that nobody may fragment, from an address of this host that is within the child's local_ts, and waits for
/// the answers: at most 8 seconds. What is found is kept for shrike show, shrike diagnose and shrike metrics; with probe_every in
/// swanctl.conf the daemon does so by itself.
///
/// Exit code: 0 it carries packets of every length, 1 it may not, 3 it cannot be asked for.
#[derive(Args)]
pub struct Probe {
    /// Name of the child
    #[arg(value_name = "CHILD")]
    pub child: String,

    /// Name of the connection, if several have a child of that name
    #[arg(short, long, value_name = "NAME")]
    pub ike: Option<String>,

    /// An address behind the peer that answers pings. Default: probe_to, else the first address of remote_ts
    #[arg(long, value_name = "ADDRESS")]
    pub to: Option<IpAddr>,

    /// For programs: schema shrike.probe/1
    #[arg(long)]
    pub json: bool,
}

/// An end of a negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum End {
    /// Who begins.
    Initiator,
    /// Who answers.
    Responder,
}

/// Say what a swanctl.conf holds that will not go well: lifetimes in the wrong order, weak algorithms, DPD without effect.
/// With the peer's file, negotiate each connection within this process, in both directions, and rekey it: what fails is told with
/// both sides' values and lines. Certificates and keys are read from the directories beside each file. Nothing is sent.
///
/// Exit code: 0 nothing is wrong, 1 something may be, 2 something is, 3 a file cannot be read.
#[derive(Args)]
pub struct Check {
    /// A swanctl.conf
    #[arg(value_name = "FILE")]
    pub file: String,

    /// The peer's swanctl.conf
    #[arg(long, value_name = "FILE")]
    pub with: Option<String>,

    /// For programs: schema shrike.findings/1
    #[arg(long)]
    pub json: bool,

    /// The evidence for what is in order, too
    #[arg(long, short)]
    pub verbose: bool,
}

/// Run a command that lists SAs (also by ssh or kubectl exec) again and again, and say what becomes of them: what is
/// stable, rekeyed, flapping or never up. The listing's dialect is recognised: those of `shrike diagnose --listing`, and IPsec
/// SAs as setkey -D, ip xfrm state, racoonctl show-sa esp and tmsh show net ipsec ipsec-sa print them.
///
/// It ends after --count looks, or when interrupted, with a summary; exit code as for shrike diagnose.
#[derive(Args)]
pub struct Watch {
    /// Time between two looks: seconds, or a number with s, m or h
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = interval)]
    pub every: u64,

    /// How many looks; without it, until interrupted
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,

    /// For programs: a line of JSON for each change and one for the summary (schema shrike.watch/1)
    #[arg(long)]
    pub json: bool,

    /// The command and its arguments, behind --
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Seconds of `60s`, `5m`, `1h` or `30`.
fn interval(text: &str) -> Result<u64, String> {
    let (digits, size) = match text.char_indices().last() {
        Some((at, 's')) => (text.get(..at), 1),
        Some((at, 'm')) => (text.get(..at), 60),
        Some((at, 'h')) => (text.get(..at), 3600),
        _ => (Some(text), 1),
    };
    let number = digits.and_then(|digits| digits.parse::<u64>().ok()).filter(|n| *n > 0);
    let seconds = number.and_then(|n| n.checked_mul(size)).filter(|n| *n <= 86_400);
    seconds.ok_or_else(|| format!("'{text}' is no time from 1s to 24h: seconds, or a number with s, m or h"))
}

/// What a cause means, how listings, logs and captures show it, and what to change
#[derive(Args)]
pub struct Explain {
    /// As findings name it, such as PSK_MISMATCH
    #[arg(value_name = "CAUSE-CODE")]
    pub code: Option<String>,
}

/// Have the daemon read its configuration again
#[derive(Args)]
pub struct Load {
    /// Another file than the daemon was started with
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
}

/// Negotiate a Child SA
#[derive(Args)]
pub struct Initiate {
    /// Name of the child
    #[arg(short, long, value_name = "NAME")]
    pub child: String,

    /// Name of the connection, if several have a child of that name
    #[arg(short, long, value_name = "NAME")]
    pub ike: Option<String>,

    /// Seconds to wait; 0 as long as it takes
    #[arg(short, long, default_value_t = 0)]
    pub timeout: u32,
}

/// Delete SAs
#[derive(Args)]
pub struct Terminate {
    /// IKE SAs of this connection
    #[arg(short, long, value_name = "NAME")]
    pub ike: Option<String>,

    /// Child SAs of this name
    #[arg(short, long, value_name = "NAME")]
    pub child: Option<String>,

    /// The IKE SA with this number
    #[arg(long, value_name = "N")]
    pub ike_id: Option<u32>,

    /// The Child SA with this number
    #[arg(long, value_name = "N")]
    pub child_id: Option<u32>,

    /// Do not wait for the peer to confirm
    #[arg(long)]
    pub force: bool,

    /// Seconds to wait; 0 as long as it takes
    #[arg(short, long, default_value_t = 0)]
    pub timeout: u32,
}

/// Replace the keys of SAs before their time
#[derive(Args)]
pub struct Rekey {
    /// IKE SAs of this connection
    #[arg(short, long, value_name = "NAME")]
    pub ike: Option<String>,

    /// Child SAs of this name
    #[arg(short, long, value_name = "NAME")]
    pub child: Option<String>,

    /// The IKE SA with this number
    #[arg(long, value_name = "N")]
    pub ike_id: Option<u32>,

    /// The Child SA with this number
    #[arg(long, value_name = "N")]
    pub child_id: Option<u32>,
}

/// Show every SA
#[derive(Args)]
pub struct Show {
    /// JSON (schema shrike.sa/1)
    #[arg(long)]
    pub json: bool,
}

/// Show SAs as a BIG-IP does
#[derive(Args)]
pub struct Tmsh {
    /// show net ipsec ike-sa [all-properties] [peer-ip A] [peer-name N] [traffic-selector T]
    #[arg(required = true, trailing_var_arg = true, value_name = "WORDS")]
    pub words: Vec<String>,
}

/// Show and steer SAs as racoon does
#[derive(Args)]
#[command(disable_help_flag = true)]
pub struct Racoonctl {
    /// racoonctl's own options and verbs; also --dialect racoon07|racoon08 (numbering of ST) and --strict (IKEv1 only)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORDS")]
    pub words: Vec<String>,
}

/// Two gateways on this machine
#[derive(Args)]
pub struct Demo {
    /// Within this process and over loopback, as without root
    #[arg(long)]
    pub no_root: bool,
}

/// Print the man page or the completions of a shell
#[derive(Args)]
pub struct Generate {
    /// What to print
    #[command(subcommand)]
    pub what: Generated,
}

/// What can be generated
#[derive(Subcommand)]
pub enum Generated {
    /// The man page, in roff
    Man,
    /// Completions
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// The words of `tmsh show net ipsec ike-sa`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TmshWords {
    /// `all-properties`.
    pub all_properties: bool,
    /// `peer-ip`.
    pub peer_ip: Option<IpAddr>,
    /// `peer-name`.
    pub peer_name: Option<String>,
    /// `traffic-selector`.
    pub traffic_selector: Option<String>,
}

impl TmshWords {
    /// Understands the words.
    ///
    /// # Errors
    /// What is not understood, and what is.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        const USAGE: &str = "show net ipsec ike-sa [all-properties] [peer-ip A] [peer-name N] [traffic-selector T]";
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let Some(rest) = words.strip_prefix(&["show", "net", "ipsec", "ike-sa"]) else {
            return Err(format!("'{}' is not available; tmsh knows: {USAGE}", words.join(" ")));
        };
        let (mut parsed, mut rest) = (Self::default(), rest.iter());
        while let Some(word) = rest.next() {
            let mut value = || {
                rest.next().map(|v| (*v).to_string()).ok_or_else(|| format!("'{word}' needs a value; usage: {USAGE}"))
            };
            match *word {
                "all-properties" => parsed.all_properties = true,
                "peer-ip" => {
                    let text = value()?;
                    parsed.peer_ip = Some(text.parse().map_err(|_| format!("peer-ip: '{text}' is no address"))?);
                }
                "peer-name" => parsed.peer_name = Some(value()?),
                "traffic-selector" => parsed.traffic_selector = Some(value()?),
                _ => return Err(format!("'{word}' is not understood; usage: {USAGE}")),
            }
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn words(text: &str) -> Result<TmshWords, String> {
        TmshWords::parse(&text.split(' ').map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn diagnose_names_everything_it_can_read() {
        let mut diagnose = Cli::command().find_subcommand("diagnose").expect("diagnose").clone();
        let help = diagnose.render_long_help().to_string();
        assert!(["--live", "--pcap", "--listing", "--log"].iter().all(|option| help.contains(option)), "{help}");
        assert!(Cli::try_parse_from(["shrike", "diagnose"]).is_ok(), "without a file, the daemon is asked");
        for option in ["--pcap", "--listing", "--log"] {
            assert!(Cli::try_parse_from(["shrike", "diagnose", option, "a", "--log", "b"]).is_ok());
        }
    }

    #[test]
    fn keys_and_ends_belong_to_captures_and_configurations() {
        let takes = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(takes("shrike diagnose --pcap t --keys k --against c --end initiator"));
        assert!(!takes("shrike diagnose --keys k") && !takes("shrike diagnose --pcap t --end initiator"));
        assert!(!takes("shrike diagnose --pcap t --against c --end both"));
    }

    #[test]
    fn watch_takes_times_and_a_command() {
        for (text, seconds) in [("60s", 60), ("30", 30), ("5m", 300), ("1h", 3600)] {
            assert_eq!(interval(text), Ok(seconds));
        }
        for text in ["", "s", "0", "-1s", "25h", "1é", "9999999999999999999h"] {
            assert!(interval(text).is_err(), "{text}");
        }
        let line = ["shrike", "watch", "--every", "5s", "--", "ssh", "gw", "racoonctl", "-l", "show-sa", "isakmp"];
        let Ok(Cli { command: Command::Watch(watch), .. }) = Cli::try_parse_from(line) else { panic!("it is refused") };
        assert_eq!((watch.every, watch.command.len()), (5, 6));
        assert!(Cli::try_parse_from(["shrike", "watch"]).is_err());
    }

    #[test]
    fn tmsh_words_are_those_of_a_big_ip() {
        assert_eq!(words("show net ipsec ike-sa").unwrap(), TmshWords::default());
        let parsed = words("show net ipsec ike-sa all-properties peer-ip 10.2.2.2 traffic-selector t").unwrap();
        assert!(parsed.all_properties && parsed.peer_ip == Some("10.2.2.2".parse().unwrap()));
        assert_eq!(parsed.traffic_selector.as_deref(), Some("t"));
        assert!(words("show net ipsec ipsec-sa").unwrap_err().contains("tmsh knows"));
        assert!(words("show net ipsec ike-sa peer-ip x").unwrap_err().contains("'x' is no address"));
        assert!(words("show net ipsec ike-sa peer-name").unwrap_err().contains("needs a value"));
    }
}
