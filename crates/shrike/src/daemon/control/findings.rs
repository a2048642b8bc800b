//! Findings as vici events: `shrike-finding`, when an SA ends by a fault and for each finding of `shrike-diagnose`.

use model::Event;
use vici::{Message, Session};

const EVENT: &str = "shrike-finding";

/// Tells a client that asked for it what an event means, if it is a fault.
pub(super) fn of_event(session: &mut Session, event: &Event) {
    if let Event::Ended(tombstone) | Event::RekeyFailed(tombstone) = event
        && !tombstone.failure.kind.is_ordinary()
        && !tombstone.is_temporary()
        && session.listens_to(EVENT)
    {
        tell(session, &tombstone.sa.name, &diag::ended(tombstone));
    }
}

/// Tells a client a finding, if it asked for such.
pub(super) fn tell(session: &mut Session, connection: &str, found: &diag::Finding) {
    session.event(EVENT, &message(connection, found));
}

/// The fields of the JSON form, and the connection.
fn message(connection: &str, found: &diag::Finding) -> Message {
    let mut m = Message::new();
    m.set("id", found.id)
        .set("connection", connection)
        .set("peer", &found.peer)
        .set("severity", found.severity.label().to_lowercase())
        .list("causes", found.causes.iter().map(|cause| cause.code()))
        .set("why", &found.why)
        .list("evidence", &found.evidence)
        .list("remedy", &found.remedy);
    m
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim::{Sim, Site};
    use std::time::Duration;
    use vici::{Decoder, Packet};

    /// What a client of the responder hears when the initiator's secret is another one, and when all is well.
    fn heard(secret: &str, register: bool) -> Vec<Message> {
        let mut sim = Sim::new(3);
        let a = sim.add(Site::new("a", "192.0.2.1").to("192.0.2.2"));
        let b = sim.add(Site::new("b", "192.0.2.2").to("192.0.2.1").secret(Some(secret)));
        sim.initiate(a, b);
        sim.run_for(Duration::from_secs(20));
        sim.terminate(b, &proto::Selection { ike: Some("gw".into()), ..proto::Selection::default() });
        sim.run_for(Duration::from_secs(5));
        let mut session = Session::new();
        if register {
            session.receive(&Packet::EventRegister { name: EVENT.to_string() }.encode()).unwrap();
            assert!(session.poll().unwrap().is_some());
        }
        sim.events(b).for_each(|(_, event)| of_event(&mut session, event));
        let mut packets = Decoder::new();
        packets.push(&session.take_output());
        let mut heard = Vec::new();
        while let Some(packet) = packets.next_packet().unwrap() {
            if let Packet::Event { name, message } = packet {
                assert_eq!(name, EVENT);
                heard.push(message);
            }
        }
        heard
    }

    #[test]
    fn a_fault_is_an_event_for_those_who_asked() {
        let found = heard("other", true);
        let [message] = &found[..] else { panic!("{found:?}") };
        let text = |key| message.get_str(key).unwrap_or_default().to_string();
        assert_eq!(
            (text("connection"), text("severity"), text("id")),
            ("gw".into(), "error".into(), "never-established".into())
        );
        let causes = message.get_list("causes").unwrap_or_default();
        assert_eq!(causes.first().map(Vec::as_slice), Some(&b"PSK_MISMATCH"[..]), "{message:?}");
        assert!(text("peer").contains("192.0.2.1") && !format!("{message:?}").contains("swordfish"));
        assert!(heard("other", false).is_empty(), "nobody asked");
        assert!(heard("swordfish", true).is_empty(), "an SA that the operator ends is no fault");
    }
}
