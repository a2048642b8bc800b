//! racoon's `racoonctl`: its table of ISAKMP SAs, its dump of IPsec SAs and its event lines.
//!
//! [`project`] takes from snapshots what `show-sa isakmp` has room for, [`render_rows`] prints it ([`render`] does both),
//! and [`parse`] reads such a table back, ours, racoon's or a BIG-IP's: `parse(render(x)) == project(x)`.
//! [`render_ipsec`] prints `show-sa ipsec`, without keys; [`event_text`] has the texts of `show-event`.
//!
//! The table shows IKEv2 too, which racoon cannot: V is then `20`, E is blank, and ST is the state of IKEv1 in which as
//! many messages were sent and received.

mod event;
mod ipsec;
mod isakmp;
mod parse;
mod schedule;
#[cfg(test)]
mod tests;

pub use event::{PHASE1_DELETED, PHASE2_ESTABLISHED, event_line, event_text, events_of_end, events_of_phase1};
pub use ipsec::{NO_SAD_ENTRIES, render_ipsec};
pub use isakmp::{
    Dialect, Endpoint, Exchange, Options, RacoonIsakmp, Status, project, render, render_rows, st, st_name,
};
pub use parse::{Column, ParseError, parse, parse_rows};
pub use schedule::{render_internal, render_schedule};
