//! The table of ISAKMP SAs.

use model::{ChildState, ExchangeMode, IkeState, Role, SaSnapshot};
use std::cmp::Reverse;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::SpiPair;
use wire::grammar::{RuleId, rule};

/// Columns of an address where both ends are printed.
pub(super) const WIDE: usize = 45;
/// Columns of the destination where it is the only address.
pub(super) const NARROW: usize = 22;
/// Columns of a date, `2024-11-09 08:58:30`.
const DATE: usize = 19;

/// The two numberings of ST. They agree up to 9, "established".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// ipsec-tools 0.7 and F5: 10 is expired.
    #[default]
    Racoon07,
    /// ipsec-tools from 0.8 on: 10 is dying (usable, but to be replaced), 11 is expired.
    Racoon08,
}

impl Dialect {
    /// The numbering of a table, where its rows prove it: only the newer one has 11.
    pub fn of(rows: &[RacoonIsakmp]) -> Option<Self> {
        rows.iter().any(|row| row.status.as_ref().is_some_and(|s| s.st == 11)).then_some(Self::Racoon08)
    }
}

/// What to print.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// How often `-l` was given: 0 prints destination, cookies and date; 1 adds ST and what follows; 2 the source.
    pub level: u8,
    /// The numbering of ST.
    pub dialect: Dialect,
    /// Leave out what racoon does not have: IKEv2.
    pub strict: bool,
    /// The local time that was so long ago, as `2024-11-09 08:58:30`: the caller has the clock.
    pub created: &'a dyn Fn(Duration) -> String,
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, dialect, strict, created: _ } = self;
        write!(f, "Options {{ level: {level}, dialect: {dialect:?}, strict: {strict} }}")
    }
}

/// An address and a port, printed `10.0.0.1.500` and `2001:db8::1.500`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address, as far as the column has room.
    pub address: String,
    /// The UDP port; it is never cut.
    pub port: u16,
    /// Whether the end of the address may be missing: an IPv6 address that fills the narrow column.
    pub may_be_cut: bool,
}

impl Endpoint {
    /// As a column of this width has it.
    pub(super) fn new(address: SocketAddr, width: usize) -> Self {
        let (text, port) = (address.ip().to_string(), address.port());
        let room = width - port.to_string().len() - 1;
        let text: String = text.chars().take(room).collect();
        let may_be_cut = width == NARROW && address.is_ipv6() && text.len() == room;
        Self { address: text, port, may_be_cut }
    }

    /// The address without zone or route domain, `None` where it may be cut.
    pub fn ip(&self) -> Option<IpAddr> {
        let plain = self.address.split('%').next().unwrap_or_default();
        if self.may_be_cut { None } else { plain.parse().ok() }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.address, self.port))
    }
}

/// The letter in column E.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exchange {
    /// `B`, base.
    Base,
    /// `M`, main mode (Identity Protection).
    Main,
    /// `U`, authentication only.
    AuthenticationOnly,
    /// `A`, aggressive mode.
    Aggressive,
    /// `I`, informational.
    Informational,
}

impl Exchange {
    const ALL: [Self; 5] = [Self::Base, Self::Main, Self::AuthenticationOnly, Self::Aggressive, Self::Informational];

    /// The letter.
    pub fn letter(self) -> char {
        match self {
            Self::Base => 'B',
            Self::Main => 'M',
            Self::AuthenticationOnly => 'U',
            Self::Aggressive => 'A',
            Self::Informational => 'I',
        }
    }

    /// The exchange of a letter.
    pub fn from_letter(letter: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.letter().to_string() == letter)
    }
}

impl From<ExchangeMode> for Exchange {
    fn from(mode: ExchangeMode) -> Self {
        match mode {
            ExchangeMode::IdentityProtection => Self::Main,
            ExchangeMode::Aggressive => Self::Aggressive,
        }
    }
}

/// What is printed from `-l` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// ST: how far the negotiation is; [`st_name`] has the names.
    pub st: u8,
    /// S: who began.
    pub side: Role,
    /// V: the version octet, 0x10 for IKEv1, 0x20 for IKEv2.
    pub version: u8,
    /// E: the exchange. Racoon leaves the column out where it knows none.
    pub exchange: Option<Exchange>,
    /// Phase2: pairs of IPsec SAs under this SA, also those being negotiated.
    pub phase2: Option<u32>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RacoonIsakmp {
    /// We, with `-ll`. `127.0.0.1` is a BIG-IP as responder.
    pub source: Option<Endpoint>,
    /// The peer.
    pub destination: Endpoint,
    /// Cookies; the responder's is zero until the first answer.
    pub cookies: SpiPair,
    /// What `-l` adds.
    pub status: Option<Status>,
    /// When phase 1 was established, in local time without a zone; `None` before.
    pub created: Option<String>,
}

/// Racoon's name of an ST. 10 has two meanings, unless it is known who printed it.
pub fn st_name(st: u8, dialect: Option<Dialect>) -> &'static str {
    match (st, dialect) {
        (0, _) => "spawn",
        (1, _) => "start",
        (2, _) => "msg1received",
        (3, _) => "msg1sent",
        (4, _) => "msg2received",
        (5, _) => "msg2sent",
        (6, _) => "msg3received",
        (7, _) => "msg3sent",
        (8, _) => "msg4received",
        (9, _) => "established",
        (10, Some(Dialect::Racoon07)) | (11, None | Some(Dialect::Racoon08)) => "expired",
        (10, Some(Dialect::Racoon08)) => "dying",
        (10, None) => "dying or expired",
        _ => "unknown",
    }
}

/// The last message that an end has sent when it waits for this one, `None` if it has sent none.
///
/// # Errors
/// The message is none of phase 1: that is up.
fn sent_before(awaited: RuleId) -> Result<Option<RuleId>, ()> {
    use RuleId as R;
    Ok(Some(match awaited {
        R::MainMode1 | R::AggressiveMode1 | R::IkeSaInitRequest => return Ok(None),
        R::MainMode2 => R::MainMode1,
        R::MainMode3 => R::MainMode2,
        R::MainMode4 => R::MainMode3,
        R::MainMode5 | R::MainMode5Signature => R::MainMode4,
        R::MainMode6 | R::MainMode6Signature => R::MainMode5,
        R::AggressiveMode2 | R::AggressiveMode2Signature => R::AggressiveMode1,
        R::AggressiveMode3
        | R::AggressiveMode3Encrypted
        | R::AggressiveMode3Signature
        | R::AggressiveMode3SignatureEncrypted => R::AggressiveMode2,
        R::IkeSaInitResponse | R::IkeSaInitRefusal => R::IkeSaInitRequest,
        R::IkeAuthRequest | R::IkeAuthChildlessRequest => R::IkeSaInitResponse,
        R::IkeAuthResponse | R::IkeAuthChildRefusal | R::IkeAuthFailure => R::IkeAuthRequest,
        _ => return Err(()),
    }))
}

/// The ST of an SA: the grammar's state of an end that has sent what comes before the message that is awaited.
pub fn st(sa: &SaSnapshot, dialect: Dialect) -> u8 {
    match (sa.state, dialect) {
        (IkeState::Created, _) => 1,
        (IkeState::Connecting, _) => match (sa.waiting_for.map(sent_before), sa.role) {
            (Some(Ok(Some(sent))), _) => rule(sent).st_after.unwrap_or(1),
            (Some(Ok(None)), _) | (None, Role::Initiator) => 1,
            // A message is being worked on; nobody dwells here.
            (None, Role::Responder) => 2,
            (Some(Err(())), _) => 9,
        },
        (IkeState::Established, Dialect::Racoon08) if dying(sa) => 10,
        (IkeState::Established, _) | (IkeState::Rekeying, Dialect::Racoon07) => 9,
        (IkeState::Rekeying | IkeState::Rekeyed, Dialect::Racoon08) => 10,
        (IkeState::Rekeyed | IkeState::Deleting | IkeState::Destroying, Dialect::Racoon07) => 10,
        (IkeState::Deleting | IkeState::Destroying, Dialect::Racoon08) => 11,
    }
}

/// Racoon takes an ISAKMP SA for dying when four fifths of its lifetime are over, at either end: its recordings show it.
fn dying(sa: &SaSnapshot) -> bool {
    let agreed = Some(sa.lifetime).filter(|lifetime| sa.version == 1 && !lifetime.is_zero());
    agreed.zip(sa.phase1.or(sa.established)).is_some_and(|(lifetime, age)| age >= lifetime.mul_f64(0.8))
}

/// Racoon ties a pair of IPsec SAs to its ISAKMP SA when that is up, and forgets it with its Delete.
fn phase2(sa: &SaSnapshot) -> u32 {
    let up = !matches!(sa.state, IkeState::Created | IkeState::Connecting);
    let counts = |s: ChildState| !matches!(s, ChildState::Deleting | ChildState::Deleted);
    let count = sa.children.iter().filter(|c| (up || c.state != ChildState::Larval) && counts(c.state)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The rows of these SAs as a table of that level has them, the newest SA first.
pub fn project(sas: &[SaSnapshot], options: &Options<'_>) -> Vec<RacoonIsakmp> {
    let mut sas: Vec<&SaSnapshot> = sas.iter().filter(|sa| sa.version == 1 || !options.strict).collect();
    sas.sort_by_key(|sa| (sa.age, Reverse(sa.id)));
    let width = if options.level >= 2 { WIDE } else { NARROW };
    let row = |sa: &SaSnapshot| RacoonIsakmp {
        source: (options.level >= 2).then(|| Endpoint::new(sa.local, width)),
        destination: Endpoint::new(sa.remote, width),
        cookies: sa.spis,
        status: (options.level >= 1).then(|| Status {
            st: st(sa, options.dialect),
            side: sa.role,
            version: sa.version << 4,
            exchange: sa.mode.map(Exchange::from),
            phase2: Some(phase2(sa)),
        }),
        // Set when phase 1 is done, though XAuth may follow.
        created: sa.phase1.or(sa.established).map(options.created),
    };
    sas.into_iter().map(row).collect()
}

/// `racoonctl [-l|-ll] show-sa isakmp` of these SAs.
pub fn render(sas: &[SaSnapshot], options: &Options<'_>) -> String {
    render_rows(&project(sas, options), options.level)
}

/// The table of these rows, in their order. What a row lacks for the level is left blank.
pub fn render_rows(rows: &[RacoonIsakmp], level: u8) -> String {
    let wide = level >= 2;
    let address = if wide { WIDE } else { NARROW };
    let mut out = String::new();
    if wide {
        out += &format!("{:WIDE$} ", "Source");
    }
    out += &format!("{:address$} {:33} ", "Destination", "Cookies");
    out += &if level >= 1 { format!("ST S  V E {:DATE$} Phase2\n", "Created") } else { "Created\n".to_string() };
    for row in rows {
        if wide {
            match &row.source {
                Some(source) => out += &format!("{source:WIDE$} "),
                None => out += &format!("{:WIDE$} ", ""),
            }
        }
        out += &format!("{:address$} {} ", row.destination, row.cookies);
        if level >= 1 {
            out += &match &row.status {
                Some(s) => {
                    let side = if s.side == Role::Initiator { 'I' } else { 'R' };
                    // Racoon shifts the row to the left where there is no letter; a blank keeps the columns.
                    let letter = s.exchange.map_or(' ', Exchange::letter);
                    format!("{:2} {side} {:2x} {letter} ", s.st, s.version)
                }
                None => format!("{:10}", ""),
            };
        }
        out += &format!("{:DATE$} ", row.created.as_deref().unwrap_or_default());
        if level >= 1 {
            match row.status.as_ref().and_then(|s| s.phase2) {
                Some(phase2) => out += &format!("{phase2:6} "),
                None => out += &format!("{:6} ", ""),
            }
        }
        out.push('\n');
    }
    out
}
