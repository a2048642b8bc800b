//! Probes of Child SAs: whether one carries packets, and how long ones. `ends` chooses between which addresses, `search` which
//! lengths, `run` sends and waits; the daemon does so in a thread of its own (`daemon/probes.rs`), and `shrike probe` asks it.

mod ends;
mod run;
mod search;

pub use ends::ends;
pub use run::{MOST, Measured, Real, measure};

use crate::cli;
use crate::client::Control;
use crate::diagnose;
use diag::{Finding, Severity};
use model::Probe;
use std::process::ExitCode;
use std::time::Duration;
use vici::{Message, schema};

/// Version of the JSON form.
const SCHEMA: &str = "shrike.probe/1";

/// `shrike probe`: has the daemon probe a child, and says what came of it. The exit code is that of `shrike diagnose`, but that
/// whatever is not in order is at least 1.
pub fn run(how: &cli::Probe, vici: Option<&str>, print: impl Fn(&str), complain: impl Fn(&str)) -> ExitCode {
    match ask(how, vici) {
        Ok(probe) => {
            let found = told(&probe);
            let (text, code) = (rendered(&probe, &found, how.json), exit_code(found.severity));
            print(&text);
            code
        }
        Err(error) => {
            complain(&format!("shrike: {error}"));
            ExitCode::from(3)
        }
    }
}

fn exit_code(severity: Severity) -> ExitCode {
    match severity {
        Severity::Ok => ExitCode::SUCCESS,
        Severity::Info | Severity::Warning => ExitCode::from(1),
        Severity::Error => ExitCode::from(2),
    }
}

fn ask(how: &cli::Probe, vici: Option<&str>) -> Result<Probe, String> {
    let mut message = Message::new();
    message.set("child", &how.child).maybe("ike", how.ike.as_deref()).maybe("to", how.to);
    let answer = Control::open(vici)?.command("shrike-probe", message, |_| {})?;
    schema::probe_from(&answer).map_err(|error| error.to_string())
}

/// The finding, with the connection that it is about.
fn told(probe: &Probe) -> Finding {
    let mut found = diag::probed(probe);
    found.evidence.insert(0, format!("connection '{}'", probe.connection));
    found
}

/// For people the finding with all that was seen, for programs that and the figures.
fn rendered(probe: &Probe, found: &Finding, json: bool) -> String {
    if !json {
        return diagnose::as_text(std::slice::from_ref(found), &[], true);
    }
    let document = serde_json::json!({ "schema": SCHEMA, "probe": figures(probe), "findings": [found] });
    format!("{document:#}\n")
}

/// The figures of a probe, for programs.
pub fn figures(probe: &Probe) -> serde_json::Value {
    let address = |address: Option<std::net::IpAddr>| address.map(|address| address.to_string());
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let mut document = serde_json::json!({
        "connection": probe.connection,
        "child": probe.child,
        "peer": probe.peer.to_string(),
        "from": address(probe.local),
        "to": address(probe.to),
        "named": probe.named,
        "sent": probe.sent,
        "answers": probe.answers,
        "packets_out": probe.outbound,
        "packets_in": probe.inbound,
        "age": probe.ago.as_secs(),
        "round_trip_ms": null,
        "largest": null,
        "smallest_lost": null,
        "tried_up_to": null,
    });
    if let model::ProbeOutcome::Answers { round_trip, largest, silent, limit, .. } = &probe.outcome {
        document["round_trip_ms"] = milliseconds(*round_trip).into();
        document["largest"] = (*largest).into();
        document["smallest_lost"] = (*silent).into();
        document["tried_up_to"] = (*limit).into();
    }
    document
}

/// The listing of `shrike show --json` with what was probed, where anything was.
pub fn with_probes(listing: &str, probes: &[Probe]) -> String {
    match serde_json::from_str::<serde_json::Value>(listing) {
        Ok(mut document) if !probes.is_empty() => {
            document["probes"] = probes.iter().map(figures).collect();
            format!("{document:#}")
        }
        _ => listing.to_string(),
    }
}

/// The lines of `shrike show`: one for each child that was probed.
pub fn lines(probes: &[Probe]) -> String {
    let line = |probe: &Probe| {
        let found = diag::probed(probe);
        let causes: String = found.causes.first().map(|cause| format!(" {cause}")).unwrap_or_default();
        format!(
            "probe of {}/{}, {} s ago: {}{causes}: {}\n",
            probe.connection,
            probe.child,
            probe.ago.as_secs(),
            found.severity.label(),
            found.why
        )
    };
    let mut text: String = probes.iter().map(line).collect();
    if !text.is_empty() {
        text.insert(0, '\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ProbeOutcome;

    fn probe() -> Probe {
        Probe {
            connection: "gw".into(),
            child: "net".into(),
            peer: [192, 0, 2, 2].into(),
            local_ts: "10.1.0.0/16".into(),
            remote_ts: "10.2.0.0/16".into(),
            local: Some([10, 1, 0, 1].into()),
            to: Some([10, 2, 0, 1].into()),
            named: true,
            outcome: ProbeOutcome::Answers {
                round_trip: Duration::from_micros(1500),
                largest: 1246,
                silent: Some(1247),
                limit: 1400,
                too_long: 0,
            },
            sent: 19,
            answers: 9,
            outbound: Some(19),
            inbound: Some(9),
            ago: Duration::from_secs(4),
        }
    }

    #[test]
    fn people_and_programs_are_told_the_same() {
        let (probe, found) = (probe(), told(&probe()));
        let text = rendered(&probe, &found, false);
        for expected in
            ["192.0.2.2  WARNING  PATH_MTU", "up to 1246 octets", "seen:   connection 'gw'", "do:     set the MTU"]
        {
            assert!(text.contains(expected), "{text}");
        }
        let document: serde_json::Value = serde_json::from_str(&rendered(&probe, &found, true)).unwrap();
        assert_eq!(document["schema"], SCHEMA);
        assert_eq!((&document["probe"]["largest"], &document["probe"]["smallest_lost"]), (&1246.into(), &1247.into()));
        assert_eq!(document["findings"][0]["causes"][0], "PATH_MTU");
        assert_eq!(exit_code(found.severity), ExitCode::from(1));
        assert!(lines(&[probe]).starts_with("\nprobe of gw/net, 4 s ago: WARNING PATH_MTU: 'net' carries"));
        assert_eq!(lines(&[]), "");
    }
}
