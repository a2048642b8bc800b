//! Shrike: an IKE daemon for IPsec that negotiates, shows and explains.

mod check;
mod cli;
mod client;
mod clock;
mod daemon;
mod demo;
mod diagnose;
mod files;
mod history;
mod log;
mod metrics;
mod probe;
mod racoonctl;
mod watch;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command, Generated, TmshWords};
use client::Control;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use vici::Message;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let name = arguments.first().map(std::path::Path::new).and_then(std::path::Path::file_name);
    let as_racoonctl = name == Some("racoonctl".as_ref());
    let done = if as_racoonctl {
        racoonctl::run(arguments.get(1..).unwrap_or_default(), None, print).map(|()| ExitCode::SUCCESS)
    } else {
        execute(Cli::parse())
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            let own = if as_racoonctl { "racoonctl" } else { "shrike" };
            let _ = writeln!(anstream::stderr(), "{own}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output, and says whether somebody still reads; a reader that goes away early is no fault.
fn write(text: &str) -> bool {
    let mut out = anstream::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

fn print(text: &str) {
    let _ = write(text); // there is nothing else to say
}

fn execute(cli: Cli) -> Result<ExitCode, String> {
    let vici = cli.vici.clone();
    let open = || Control::open(vici.as_deref());
    let to_stderr = |line: &str| {
        let _ = writeln!(anstream::stderr(), "{line}");
    };
    let done = match cli.command {
        Command::Run(run) => {
            let from_environment = || std::env::var("STRONGSWAN_CONF").ok();
            let strongswan_conf = run.strongswan_conf.or_else(from_environment);
            daemon::run(daemon::Options {
                config: run.config,
                strongswan_conf,
                vici: cli.vici,
                data_plane: run.data_plane,
                level: run.log_level,
                history: run.history,
            })
        }
        Command::Diagnose(how) => return Ok(diagnose::run(&how, vici.as_deref(), print, to_stderr)),
        Command::Probe(how) => return Ok(probe::run(&how, vici.as_deref(), print, to_stderr)),
        Command::Check(how) => return Ok(check::run(&how, print, to_stderr)),
        Command::Watch(how) => return watch::run(&how, write, to_stderr),
        Command::Explain(what) => diagnose::explain(what.code.as_deref()).map(|text| print(&text)),
        Command::Metrics(how) => metrics::run(vici.as_deref(), how.listen, print),
        Command::History(how) => {
            let path = how.file.unwrap_or_else(|| history::DEFAULT.to_string());
            history::show(path.as_ref(), how.peer.as_deref(), how.last, how.json).map(|text| print(&text))
        }
        Command::Load(load) => {
            let mut message = Message::new();
            if let Some(file) = &load.config {
                let absolute = std::path::absolute(file).map_err(|e| format!("{file}: {e}"))?;
                message.set("file", absolute.to_string_lossy());
            }
            let answer = open()?.command("shrike-load", message, to_stderr)?;
            print(&format!("loaded {}\n", answer.get_str("report").unwrap_or_default()));
            Ok(())
        }
        Command::Initiate(initiate) => {
            let mut message = Message::new();
            message.set("child", &initiate.child).maybe("ike", initiate.ike.as_deref());
            message.set("timeout", (u64::from(initiate.timeout) * 1000).to_string());
            open()?.command("initiate", message, to_stderr)?;
            print(&format!("'{}' is up\n", initiate.child));
            Ok(())
        }
        Command::Terminate(terminate) => {
            let mut message = Message::new();
            message.maybe("ike", terminate.ike.as_deref()).maybe("child", terminate.child.as_deref());
            message.maybe("ike-id", terminate.ike_id).maybe("child-id", terminate.child_id);
            message.flag("force", terminate.force);
            message.set("timeout", (u64::from(terminate.timeout) * 1000).to_string());
            let answer = open()?.command("terminate", message, to_stderr)?;
            print(&format!("terminated {}\n", answer.get_str("terminated").unwrap_or("0")));
            Ok(())
        }
        Command::Rekey(rekey) => {
            let mut message = Message::new();
            message.maybe("ike", rekey.ike.as_deref()).maybe("child", rekey.child.as_deref());
            message.maybe("ike-id", rekey.ike_id).maybe("child-id", rekey.child_id);
            let answer = open()?.command("rekey", message, to_stderr)?;
            print(&format!("rekeying {}\n", answer.get_str("matches").unwrap_or("0")));
            Ok(())
        }
        Command::Show(show) => {
            let mut control = open()?;
            let (live, ended, probes) = (control.snapshots()?, control.ended()?, control.probes()?);
            let text = if show.json {
                probe::with_probes(&show::json::render(&live, &ended, true), &probes)
            } else {
                let style = show::own::Style { colour: std::io::stdout().is_terminal() };
                show::own::render(&live, &ended, style) + &probe::lines(&probes)
            };
            print(&text);
            Ok(())
        }
        Command::Tmsh(tmsh) => {
            let words = TmshWords::parse(&tmsh.words)?;
            print(&show::tmsh::render_ike_sa(&open()?.snapshots()?, &tmsh_options(words)));
            Ok(())
        }
        Command::Racoonctl(racoonctl) => racoonctl::run(&racoonctl.words, vici.as_deref(), print),
        Command::Log => open()?.follow_log(|line| print(&format!("{line}\n"))),
        Command::Demo(demo) => demo::run(demo.no_root),
        Command::Generate(generate) => {
            let mut command = Cli::command();
            let mut out = Vec::new();
            match generate.what {
                Generated::Man => {
                    clap_mangen::Man::new(command).render(&mut out).map_err(|e| e.to_string())?;
                }
                Generated::Completions { shell } => clap_complete::generate(shell, &mut command, "shrike", &mut out),
            }
            print(&String::from_utf8_lossy(&out));
            Ok(())
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn tmsh_options(words: TmshWords) -> show::tmsh::Options {
    show::tmsh::Options {
        all_properties: words.all_properties,
        peer_ip: words.peer_ip,
        peer_name: words.peer_name,
        traffic_selector: words.traffic_selector,
    }
}
