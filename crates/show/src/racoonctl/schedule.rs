//! `show-schedule`: the timers that an operator of racoon looks for there, the lifetimes.

use super::isakmp::{Endpoint, NARROW, WIDE};
use model::SaSnapshot;
use std::time::Duration;

/// One timer, from when it was set to when it ends.
struct Timer {
    /// How long ago it was set.
    age: Duration,
    left: Duration,
}

/// The lifetimes of these SAs, which of them ends first standing first: index, the whole time in seconds, when it ends on the
/// daemon's clock (which runs for `running`), and when it began, as `created` says.
///
/// Racoon lists all of its timers, by number only. Those of retransmissions, keepalives and questions whether the peer lives
/// are not told over the control socket.
pub fn render_schedule(sas: &[SaSnapshot], running: Duration, created: &dyn Fn(Duration) -> String) -> String {
    let mut timers: Vec<Timer> = Vec::new();
    for sa in sas {
        let of_ike = sa.phase1.or(sa.established).zip([sa.rekey_in, sa.reauth_in].into_iter().flatten().min());
        timers.extend(of_ike.map(|(age, left)| Timer { age, left }));
        for child in &sa.children {
            let ends = [child.rekey_in, child.expires_in].into_iter().flatten();
            timers
                .extend(child.installed.into_iter().flat_map(|age| ends.clone().map(move |left| Timer { age, left })));
        }
    }
    // Racoon numbers timers as they are set.
    timers.sort_by_key(|t| (std::cmp::Reverse(t.age), t.left));
    let mut rows: Vec<(usize, Timer)> = (1..).zip(timers).collect();
    rows.sort_by_key(|(index, t)| (t.left, *index));
    let row = |(index, t): (usize, Timer)| {
        // What is left comes in whole seconds, which are rounded down: so the age is rounded up.
        let begun = t.age.as_secs() + u64::from(t.age.subsec_nanos() != 0);
        let tick = begun + t.left.as_secs();
        let due = running.saturating_sub(t.age).as_secs() + tick;
        format!("{index:<8} {tick:<8} {due:<8} {}\n", created(t.age))
    };
    std::iter::once("index    tick     xtime    created\n".to_string()).chain(rows.into_iter().map(row)).collect()
}

/// `show-sa internal`: both ends of each phase 2 that the daemon has in its own table, also of one that still waits for
/// phase 1, which no other listing of racoon's has. The columns are wider from `-l` on.
pub fn render_internal(sas: &[SaSnapshot], level: u8) -> String {
    let width = if level == 0 { NARROW } else { WIDE };
    let mut out = format!("{:width$} {:width$}\n", "Source", "Destination");
    for sa in sas {
        for _ in &sa.children {
            out += &format!("{:width$} {:width$} \n", Endpoint::new(sa.local, width), Endpoint::new(sa.remote, width));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{connecting, established, isakmp, secs};

    #[test]
    fn lifetimes_in_racoons_columns() {
        // As in the recording: phase 1 of an hour, set in second 11, and phase 2 of half an hour, set in second 14.
        let mut sa =
            SaSnapshot { established: Some(secs(8)), reauth_in: Some(secs(3592)), rekey_in: None, ..established() };
        let child = &mut sa.children[0];
        (child.installed, child.rekey_in, child.expires_in) = (Some(secs(5)), None, Some(secs(1795)));
        let created = |ago: Duration| format!("2026-11-24 00:50:{:02}", 14 - ago.as_secs());
        let recorded = "index    tick     xtime    created\n\
                        2        1800     1814     2026-11-24 00:50:09\n\
                        1        3600     3611     2026-11-24 00:50:06\n";
        assert_eq!(render_schedule(&[sa], secs(19), &created), recorded);
        let mut sa = established();
        sa.children.clear();
        (sa.established, sa.rekey_in) = (Some(Duration::from_millis(500)), Some(secs(3599)));
        assert!(render_schedule(&[sa], secs(19), &|_| String::new()).contains("\n1        3600     "));
        let nothing = "index    tick     xtime    created\n";
        assert_eq!(render_schedule(&[connecting()], secs(19), &created), nothing, "nothing has a lifetime yet");
    }

    #[test]
    fn phase_2_that_waits_is_in_the_internal_table() {
        let text = render_internal(&[connecting()], 0);
        let expected =
            "Source                 Destination           \n192.168.0.1.500        192.168.0.9.500        \n";
        assert_eq!(text, expected);
        let sas = [established(), isakmp()];
        let text = render_internal(&sas, 1);
        let children = sas.iter().map(|sa| sa.children.len()).sum::<usize>();
        assert_eq!(text.lines().count(), 1 + children);
        assert!(text.lines().skip(1).all(|line| line.len() == 92), "{text}");
    }
}
