//! `racoonctl`, with racoon's option syntax: as `shrike racoonctl ...`, and under its own name when the program is
//! installed as `racoonctl`.

mod line;
mod steer;

use crate::client::Control;
use line::{Begin, Line, USAGE, Which, address_of, host};
use model::{IkeState, SaSnapshot};
use show::racoonctl::{
    Dialect, NO_SAD_ENTRIES, Options, PHASE1_DELETED, PHASE2_ESTABLISHED, event_line, events_of_end, events_of_phase1,
    render, render_internal, render_ipsec, render_schedule,
};
use std::io::{IsTerminal, Write};
use std::time::Duration;
use steer::Wanted;
use vici::Message;

/// Runs a racoonctl command line.
///
/// # Errors
/// What is wrong with it, or what the daemon says.
pub fn run(arguments: &[String], vici: Option<&str>, print: impl Fn(&str)) -> Result<(), String> {
    let line = Line::parse(arguments)?;
    let socket = line.socket.clone().or_else(|| vici.map(str::to_string));
    // Its socket is named by -s here.
    let open = || Control::open(socket.as_deref()).map_err(|error| error.replace("with --vici", "with -s"));
    let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["-V" | "--version"] => {
            print(concat!("racoonctl of Shrike ", env!("CARGO_PKG_VERSION"), "\n"));
            Ok(())
        }
        [] | ["-h" | "--help"] => {
            print(&format!("{USAGE}\n"));
            Ok(())
        }
        ["show-sa" | "ss", "isakmp"] => {
            let mut control = open()?;
            let mut sas = control.snapshots()?;
            let now = listed_at(&control);
            let created = |age: Duration| local_time(&now, age, "%Y-%m-%d %H:%M:%S");
            let options = Options { level: line.level, dialect: line.dialect, strict: line.strict, created: &created };
            // What is left of an ISAKMP SA that the peer deleted alone is phase 2: racoon lists it there only.
            sas.retain(|sa| sa.version != 1 || sa.state != IkeState::Deleting);
            print(&render(&sas, &options));
            Ok(())
        }
        ["show-sa" | "ss", "esp" | "ipsec"] => {
            let mut control = open()?;
            let sas = meant(&line, &mut control)?;
            let now = listed_at(&control);
            print(&render_ipsec(&sas, &|age| local_time(&now, age, "%b %e %H:%M:%S %Y")));
            Ok(())
        }
        ["show-sa" | "ss", "ah"] => {
            print(NO_SAD_ENTRIES); // AH is not available
            Ok(())
        }
        ["show-sa" | "ss", "internal"] => {
            print(&render_internal(&meant(&line, &mut open()?)?, line.level));
            Ok(())
        }
        ["show-schedule" | "sc"] => {
            let mut control = open()?;
            let (sas, since) = (meant(&line, &mut control)?, control.since()?);
            let now = listed_at(&control);
            print(&render_schedule(&sas, running(&since, &now)?, &|age| local_time(&now, age, "%Y-%m-%d %H:%M:%S")));
            Ok(())
        }
        [verb] if TAKE_ARGUMENTS.contains(verb) => Err(format!("insufficient arguments\n{USAGE}")),
        ["show-event" | "se"] => show_events(&mut open()?, print),
        ["reload-config" | "rc"] => open()?.command("shrike-load", Message::new(), |_| {}).map(drop),
        ["flush-sa" | "fs", "isakmp"] => {
            let mut control = open()?;
            let all = meant(&line, &mut control)?;
            all.iter().try_for_each(|sa| steer::terminate(&mut control, "ike-id", sa.id))
        }
        ["flush-sa" | "fs", "esp" | "ipsec"] => {
            let mut control = open()?;
            let all = meant(&line, &mut control)?;
            all.iter().flat_map(|sa| &sa.children).try_for_each(|c| steer::terminate(&mut control, "child-id", c.id))
        }
        ["flush-sa" | "fs", "ah"] => Ok(()),
        ["show-sa" | "ss" | "flush-sa" | "fs", protocol] => Err(format!("unknown protocol {protocol}")),
        [verb @ ("delete-sa" | "ds"), which @ ..] => match Which::parse(verb, which)? {
            Which::Isakmp { source, destination } => steer::delete(&line, &mut open()?, Some(source), destination),
            Which::Esp { source, destination } => steer::delete_child(&line, &mut open()?, &source, &destination),
        },
        [verb @ ("establish-sa" | "es"), rest @ ..] => {
            let (begin, which) = Begin::parse(rest)?;
            let (wanted, mut control) = (Wanted::of(Which::parse(verb, which)?), open()?);
            steer::connect(&line, &mut control, &wanted, &begin)?;
            if begin.wait {
                print(&reached(&wanted, &meant(&line, &mut control)?));
            }
            Ok(())
        }
        [verb @ ("vpn-connect" | "vc"), rest @ ..] => {
            let (begin, [gateway]) = Begin::parse(rest)? else {
                return Err(format!("Invalid arguments to {verb}\n{USAGE}"));
            };
            let (gateway, mut control) = (host(gateway)?, open()?);
            let wanted = Wanted::Gateway(gateway);
            steer::connect(&line, &mut control, &wanted, &Begin { wait: true, ..begin })?;
            print(&reached(&wanted, &meant(&line, &mut control)?));
            Ok(())
        }
        ["vpn-disconnect" | "vd", gateway] => {
            let (gateway, mut control) = (host(gateway)?, open()?);
            steer::forget_password(&mut control, &gateway.to_string());
            let sas = meant(&line, &mut control)?;
            steer::delete(&line, &mut control, None, gateway)?;
            let ended = sas.iter().find(|sa| sa.remote.ip() == gateway);
            print(&match (ended, line.dialect) {
                // The newer one prints the event that it waited for.
                (Some(sa), Dialect::Racoon08) => event_line(PHASE1_DELETED, sa.local, sa.remote),
                _ => "VPN connexion terminated\n".to_string(),
            });
            Ok(())
        }
        ["logout-user" | "lu", user] => steer::log_out(&line, &mut open()?, user),
        ["get-cert" | "gc", family @ ("inet" | "inet6"), source, destination] => {
            let (source, destination) = (address_of(family, source)?, address_of(family, destination)?);
            let der = steer::certificate(&line, &mut open()?, source, destination)?;
            if std::io::stdout().is_terminal() {
                return Err("a certificate is not text: send it to a file (racoonctl get-cert ... > peer.der)".into());
            }
            std::io::stdout().write_all(&der).map_err(|error| format!("cannot write the certificate: {error}"))
        }
        [verb, ..] if TAKE_ARGUMENTS.contains(verb) => Err(format!("Invalid arguments to {verb}\n{USAGE}")),
        ["status" | "st", ..] => Err(
            "status is not available: 'shrike show' has all of it and the reasons, 'shrike show --json' for programs"
                .into(),
        ),
        [verb, ..] => Err(format!("Invalid command [{verb}]\n{USAGE}")),
    }
}

/// Verbs that do nothing by themselves.
const TAKE_ARGUMENTS: [&str; 16] = [
    "show-sa",
    "ss",
    "flush-sa",
    "fs",
    "delete-sa",
    "ds",
    "establish-sa",
    "es",
    "vpn-connect",
    "vc",
    "vpn-disconnect",
    "vd",
    "logout-user",
    "lu",
    "get-cert",
    "gc",
];

/// The SAs that the command is about.
fn meant(line: &Line, control: &mut Control) -> Result<Vec<SaSnapshot>, String> {
    let mut sas = control.snapshots()?;
    sas.retain(|sa| sa.version == 1 || !line.strict);
    Ok(sas)
}

/// The local time of the last listing: the daemon's, for what it says was so long before that. Ours where it says none.
fn listed_at(control: &Control) -> jiff::ZonedDateTime {
    let told = control.listed_at().and_then(|now| jiff::Timestamp::from_nanosecond(i128::from(now)).ok());
    told.map_or_else(jiff::ZonedDateTime::now, |now| now.to_zoned_datetime(jiff::tz::TimeZone::system()))
}

/// The local time that was `age` before.
fn local_time(now: &jiff::ZonedDateTime, age: Duration, format: &str) -> String {
    now.checked_sub(age).unwrap_or_else(|_| now.clone()).strftime(format).to_string()
}

/// The time since a local time such as `Nov 24 01:05:33 2026`.
fn running(since: &str, now: &jiff::ZonedDateTime) -> Result<Duration, String> {
    let wrong = |error: jiff::Error| format!("the daemon runs since '{since}', which is no time: {error}");
    let started = jiff::civil::DateTime::strptime("%b %d %H:%M:%S %Y", since).map_err(wrong)?;
    let started = started.to_zoned_datetime(now.time_zone().clone()).map_err(wrong)?;
    let nanoseconds = now.timestamp().as_nanosecond().saturating_sub(started.timestamp().as_nanosecond());
    Ok(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0)))
}

/// Width of the terminal, as the shell tells.
fn columns() -> usize {
    std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).filter(|n| (1..=1000).contains(n)).unwrap_or(80)
}

/// What is said when what was waited for is there: of phase 1 what `vpn-connect` says, of phase 2 the event.
fn reached(wanted: &Wanted, sas: &[SaSnapshot]) -> String {
    let sa = sas.iter().find(|sa| wanted.is(sa));
    match (wanted, sa) {
        (Wanted::Esp { .. }, Some(sa)) => event_line(PHASE2_ESTABLISHED, sa.local, sa.remote),
        (Wanted::Esp { .. }, None) => String::new(),
        _ => connected(sa, columns()),
    }
}

/// What `vpn-connect` says in the end, in racoon's words and spelling, which scripts look for: the address that the gateway
/// gave or that there is none, and its banner between rules.
fn connected(sa: Option<&SaSnapshot>, width: usize) -> String {
    let addresses = sa.map(|sa| sa.local_vips.as_slice()).unwrap_or_default();
    let mut out: String = addresses.iter().map(|address| format!("Bound to address {address}\n")).collect();
    if addresses.is_empty() {
        out += "VPN connexion established\n";
    }
    if let Some(banner) = sa.and_then(|sa| sa.banner.as_deref()) {
        let rule = "=".repeat(width);
        // Whatever a gateway sends, it has no way to steer the terminal.
        let harmless = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>();
        let lines: Vec<String> = banner.lines().map(harmless).collect();
        out += &format!("{rule}\n{}\n{rule}\n", lines.join("\n"));
    }
    out
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

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_string).collect()
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let refused = |text: &str| run(&words(text), Some("unix:///nonexistent/socket"), |_| {}).unwrap_err();
        assert!(refused("frobnicate").starts_with("Invalid command [frobnicate]"));
        assert!(refused("status -v").contains("'shrike show' has all of it"));
        assert!(refused("show-sa").starts_with("insufficient arguments"));
        assert!(refused("establish-sa").starts_with("insufficient arguments"));
        assert!(refused("get-cert").starts_with("insufficient arguments"));
        assert!(refused("show-sa bogus").starts_with("unknown protocol bogus"));
        assert!(refused("show-sa isakmp more").starts_with("Invalid arguments to show-sa"));
        assert!(refused("vpn-connect -u carol").starts_with("Invalid arguments to vpn-connect"));
        assert!(refused("get-cert inet 192.0.2.1").starts_with("Invalid arguments to get-cert"));
        assert!(
            refused("delete-sa isakmp inet6 192.0.2.1 192.0.2.2").starts_with("'192.0.2.1' is no address of inet6")
        );
        assert!(refused("es ah inet 192.0.2.1 192.0.2.2 any").contains("use esp"));
        for understood in [
            "show-sa isakmp",
            "ss internal",
            "show-schedule",
            "lu carol",
            "gc inet 192.0.2.1 192.0.2.2",
            "vc -u carol 192.0.2.2",
            "es -u carol -n gw -w isakmp inet 192.0.2.1 192.0.2.2",
            "ds esp inet 10.1.0.0/16/any 10.2.0.0/16/any any",
        ] {
            assert!(refused(understood).contains("no daemon serves /nonexistent/socket"), "{understood}");
        }
    }

    #[test]
    fn help_and_version_need_no_daemon() {
        for (option, begins) in
            [("-V", "racoonctl of Shrike "), ("--help", "usage: racoonctl "), ("-h", "usage: "), ("", "usage: ")]
        {
            let printed = std::cell::RefCell::new(String::new());
            run(&words(option), None, |text| printed.borrow_mut().push_str(text)).unwrap();
            assert!(printed.borrow().starts_with(begins), "{option}");
        }
    }

    #[test]
    fn a_connection_is_told_in_racoons_words() {
        assert_eq!(connected(None, 20), "VPN connexion established\n");
        let mut listed = Message::new();
        listed.section("gw", |m| {
            m.set("uniqueid", "1").set("version", "1").set("state", "ESTABLISHED");
            m.set("local-host", "192.0.2.1").set("local-port", "500");
            m.set("remote-host", "192.0.2.2").set("remote-port", "500");
        });
        let mut sa = vici::schema::snapshot(&listed).unwrap();
        sa.local_vips = vec!["10.3.0.1".parse().unwrap()];
        sa.banner = Some("Welcome\r\n\u{1b}[31mto the lab\u{7}".into());
        let rule = "=".repeat(20);
        let expected = format!("Bound to address 10.3.0.1\n{rule}\nWelcome\n[31mto the lab\n{rule}\n");
        assert_eq!(connected(Some(&sa), 20), expected);
    }

    #[test]
    fn since_when_the_daemon_runs() {
        let now = jiff::Timestamp::from_millisecond(1_796_001_160_184).unwrap();
        let now = now.to_zoned_datetime(jiff::tz::TimeZone::system());
        let hour_ago = local_time(&now, Duration::from_secs(3600), "%b %d %H:%M:%S %Y");
        assert_eq!(running(&hour_ago, &now), Ok(Duration::from_millis(3_600_184)));
        assert!(
            running("yesterday", &now).unwrap_err().starts_with("the daemon runs since 'yesterday', which is no time")
        );
    }
}
