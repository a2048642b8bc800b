//! The table against recordings of racoon 0.9.1 (`tests/data/racoonctl`), the rows of F5's guide, and itself.

use super::*;
use crate::samples::{connecting, established, isakmp, secs};
use model::{ChildState, ExchangeMode, IkeState, Role, SaId, SaSnapshot};
use proptest::prelude::*;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use wire::SpiPair;
use wire::grammar::RuleId;

const HUB: &str = include_str!("../../tests/data/racoonctl/hub.txt");
const RECORDINGS: [&str; 8] = [
    HUB,
    include_str!("../../tests/data/racoonctl/main-initiator.txt"),
    include_str!("../../tests/data/racoonctl/main-responder.txt"),
    include_str!("../../tests/data/racoonctl/aggressive-initiator.txt"),
    include_str!("../../tests/data/racoonctl/aggressive-responder.txt"),
    include_str!("../../tests/data/racoonctl/dying.txt"),
    include_str!("../../tests/data/racoonctl/ipv6.txt"),
    include_str!("../../tests/data/racoonctl/none.txt"),
];

/// The two rows of F5's guide, whose columns are narrower than what its program prints.
const F5_GUIDE: &str = "\
Source           Destination         Cookies                           ST S  V E Created             Phase2
127.0.0.1.500    10.2.2.2.500        9f7a366492b4f22e:b90b9aa17880beb8  9 R 10 M 2024-11-09 08:58:30      1
10.1.1.1.500     10.3.3.3.500        ef282855139dba4e:b606fea3430c5928  9 I 10 M 2024-11-09 08:50:30      1
";

/// The hub was listed at 00:55:09.
fn created(ago: Duration) -> String {
    format!("2026-11-24 00:55:{:02}", 9 - ago.as_secs().min(9))
}

fn options(level: u8) -> Options<'static> {
    Options { level, dialect: Dialect::Racoon07, strict: false, created: &created }
}

/// The four SAs of the hub.
fn hub() -> Vec<SaSnapshot> {
    let up = |id, remote: &str, initiator: u64, responder: u64, role, mode, ago| SaSnapshot {
        id: SaId(id),
        state: IkeState::Established,
        waiting_for: None,
        mode: Some(mode),
        role,
        spis: SpiPair { initiator: initiator.into(), responder: responder.into() },
        remote: remote.parse().unwrap(),
        established: Some(secs(ago)),
        age: secs(ago),
        children: Vec::new(),
        ..isakmp()
    };
    let main = ExchangeMode::IdentityProtection;
    let (i, r) = (Role::Initiator, Role::Responder);
    let mut negotiating = up(8, "10.9.0.1:500", 0xb2aa_32f4_22d1_b75a, 0x6a5e_9fd5_eb7c_4323, i, main, 1);
    negotiating.children = isakmp().children;
    vec![
        up(5, "10.9.0.11:500", 0x877f_db3a_cba8_ae10, 0x28d8_5966_d633_64f5, r, main, 2),
        up(7, "10.9.0.12:500", 0xef25_598b_b698_002a, 0x1892_cd79_e133_2ce1, r, ExchangeMode::Aggressive, 1),
        negotiating,
        SaSnapshot { age: secs(0), ..isakmp() },
    ]
}

/// The tables in a text, each with its level, told by its header.
fn tables(text: &str) -> Vec<(u8, String)> {
    let mut tables: Vec<(u8, String)> = Vec::new();
    for line in text.lines() {
        let level = match line {
            l if l.starts_with("Source") => 2,
            l if l.starts_with("Destination") && l.contains("Phase2") => 1,
            l if l.starts_with("Destination") => 0,
            l if l.starts_with(['$', '#']) => continue,
            _ => {
                let table = tables.last_mut().unwrap();
                table.1 += &format!("{line}\n");
                continue;
            }
        };
        tables.push((level, format!("{line}\n")));
    }
    tables
}

#[test]
fn our_sas_as_racoon_listed_them() {
    let recorded = tables(HUB);
    assert_eq!(recorded.len(), 4);
    for ((level, table), wanted) in recorded.into_iter().zip(0..) {
        assert_eq!(level, wanted.min(2));
        assert_eq!(render(&hub(), &options(wanted)), table, "level {wanted}");
        assert_eq!(parse(&table).unwrap(), project(&hub(), &options(wanted)));
    }
}

#[test]
fn recordings_survive_to_the_octet() {
    let mut seen = std::collections::BTreeSet::new();
    for text in RECORDINGS {
        for (level, table) in tables(text) {
            let rows = parse(&table).unwrap();
            assert_eq!(render_rows(&rows, level), table);
            assert!(rows.iter().all(|row| (level < 2) == row.source.is_none()));
            seen.extend(rows.iter().filter_map(|row| row.status.as_ref()).map(|s| {
                let exchange = s.exchange.map_or('?', Exchange::letter);
                (exchange, if s.side == Role::Initiator { 'I' } else { 'R' }, s.st)
            }));
        }
        let rows: usize = tables(text).iter().map(|(_, table)| table.lines().count() - 1).sum();
        assert_eq!(parse(text).unwrap().len(), rows, "prompts and several tables do not matter");
    }
    let main = [('M', 'I', 3), ('M', 'I', 5), ('M', 'I', 7), ('M', 'I', 9), ('M', 'I', 10)];
    let aggressive = [('A', 'I', 3), ('A', 'I', 9), ('A', 'R', 3), ('A', 'R', 9)];
    let responder = [('M', 'R', 3), ('M', 'R', 5), ('M', 'R', 9)];
    let expected = main.into_iter().chain(aggressive).chain(responder).collect();
    assert_eq!(seen, expected, "every state of either mode that an SA stays in");
}

#[test]
fn the_rows_of_the_guide() {
    let rows = parse(F5_GUIDE).unwrap();
    assert_eq!(
        rows[0],
        RacoonIsakmp {
            source: Some(Endpoint { address: "127.0.0.1".into(), port: 500, may_be_cut: false }),
            destination: Endpoint { address: "10.2.2.2".into(), port: 500, may_be_cut: false },
            cookies: SpiPair { initiator: 0x9f7a_3664_92b4_f22e.into(), responder: 0xb90b_9aa1_7880_beb8.into() },
            status: Some(Status {
                st: 9,
                side: Role::Responder,
                version: 0x10,
                exchange: Some(Exchange::Main),
                phase2: Some(1),
            }),
            created: Some("2024-11-09 08:58:30".into()),
        }
    );
    assert_eq!((rows[1].status.as_ref().unwrap().side, rows.len()), (Role::Initiator, 2));
    assert_eq!(rows[1].destination.ip(), Some("10.3.3.3".parse().unwrap()));
    let wide = render_rows(&rows, 2);
    assert!(
        wide.contains("\n10.1.1.1.500                                  10.3.3.3.500                     "),
        "{wide}"
    );
    assert_eq!(parse(&wide).unwrap(), rows);
}

#[test]
fn every_state() {
    use {IkeState as S, RuleId as R};
    let st_of = |version, state, waiting_for, role| {
        let sa = SaSnapshot { version, state, waiting_for, role, ..isakmp() };
        (st(&sa, Dialect::Racoon07), st(&sa, Dialect::Racoon08))
    };
    let (i, r) = (Role::Initiator, Role::Responder);
    for (awaited, role, expected) in [
        (R::MainMode2, i, 3),
        (R::MainMode3, r, 3),
        (R::MainMode4, i, 5),
        (R::MainMode5, r, 5),
        (R::MainMode5Signature, r, 5),
        (R::MainMode6, i, 7),
        (R::MainMode6Signature, i, 7),
        (R::AggressiveMode2, i, 3),
        (R::AggressiveMode2Signature, i, 3),
        (R::AggressiveMode3, r, 3),
        (R::AggressiveMode3Encrypted, r, 3),
        (R::AggressiveMode3Signature, r, 3),
        (R::AggressiveMode3SignatureEncrypted, r, 3),
        (R::MainMode1, r, 1),
        (R::TransactionV1, i, 9),
    ] {
        assert_eq!(st_of(1, S::Connecting, Some(awaited), role), (expected, expected), "{awaited:?}");
    }
    for (awaited, role, expected) in [
        (R::IkeSaInitResponse, i, 3),
        (R::IkeAuthRequest, r, 3),
        (R::IkeAuthResponse, i, 5),
        (R::IkeSaInitRequest, r, 1),
    ] {
        assert_eq!(st_of(2, S::Connecting, Some(awaited), role), (expected, expected), "{awaited:?}");
    }
    assert_eq!((st_of(1, S::Created, None, i), st_of(1, S::Connecting, None, i)), ((1, 1), (1, 1)));
    assert_eq!(st_of(1, S::Connecting, None, r), (2, 2));
    for (state, expected) in [
        (S::Established, (9, 9)),
        (S::Rekeying, (9, 10)),
        (S::Rekeyed, (10, 10)),
        (S::Deleting, (10, 11)),
        (S::Destroying, (10, 11)),
    ] {
        assert_eq!(st_of(1, state, Some(R::QuickMode2), i), expected);
    }
}

#[test]
fn four_fifths_of_a_lifetime_make_an_sa_dying() {
    let of = |version, lifetime, age| {
        let (lifetime, established, phase1) = (secs(lifetime), Some(secs(age)), Some(secs(age)));
        let state = IkeState::Established;
        let sa = SaSnapshot { version, state, lifetime, established, phase1, waiting_for: None, ..isakmp() };
        (st(&sa, Dialect::Racoon07), st(&sa, Dialect::Racoon08))
    };
    // The recording has 20 s, and racoon's row changed after 16.
    assert_eq!([of(1, 20, 15), of(1, 20, 16), of(1, 20, 20)], [(9, 9), (9, 10), (9, 10)]);
    assert_eq!((of(1, 0, 100_000), of(2, 20, 19)), ((9, 9), (9, 9)), "without a limit, and IKEv2, which racoon lacks");
}

#[test]
fn ten_has_two_names() {
    assert_eq!(st_name(10, Some(Dialect::Racoon07)), "expired");
    assert_eq!(st_name(10, Some(Dialect::Racoon08)), "dying");
    assert_eq!(st_name(10, None), "dying or expired");
    assert_eq!((st_name(11, None), st_name(7, None), st_name(13, None)), ("expired", "msg3sent", "unknown"));
    let mut rows = parse(F5_GUIDE).unwrap();
    assert_eq!(Dialect::of(&rows), None);
    rows[0].status.as_mut().unwrap().st = 11;
    assert_eq!(Dialect::of(&rows), Some(Dialect::Racoon08));
}

#[test]
fn ikev2_has_no_letter_and_keeps_the_columns() {
    let sas = [established(), isakmp()];
    let table = render(&sas, &options(1));
    let mut lines = table.lines();
    let header = lines.next().unwrap();
    assert!(lines.next().unwrap().starts_with("10.9.0.14.500          4cf7"), "the newest is first: {table}");
    let row = lines.next().unwrap();
    assert_eq!(row, "192.168.0.2.4500       31ee3f6a61962931:5ec1aa279daadaf2  9 I 20   2026-11-24 00:55:00      1 ");
    assert_eq!(row.find("2026"), header.find("Created"));
    assert_eq!(parse(&table).unwrap()[1].status.as_ref().unwrap().exchange, None);
    let strict = render(&sas, &Options { strict: true, ..options(1) });
    assert_eq!(strict, table.replace(&format!("{row}\n"), ""));
    assert!(project(&[connecting()], &Options { strict: true, ..options(2) }).is_empty());
}

#[test]
fn phase_2_counts_what_is_being_negotiated() {
    let count = |state, children: &[ChildState]| {
        let child = isakmp().children.remove(0);
        let children = children.iter().map(|s| model::ChildSnapshot { state: *s, ..child.clone() }).collect();
        let sa = SaSnapshot { state, children, ..isakmp() };
        project(&[sa], &options(1))[0].status.as_ref().unwrap().phase2
    };
    use ChildState as C;
    assert_eq!(count(IkeState::Connecting, &[C::Larval]), Some(0), "it waits for phase 1");
    assert_eq!(count(IkeState::Established, &[C::Larval]), Some(1));
    let all = [C::Larval, C::Installing, C::Installed, C::Rekeying, C::Rekeyed, C::Deleting, C::Deleted];
    assert_eq!(count(IkeState::Established, &all), Some(5));
}

#[test]
fn ipv6_ends_behind_the_last_dot_and_may_be_cut() {
    let remote: SocketAddr = "[2001:db8:1234:5678::9]:4500".parse().unwrap();
    let sa = SaSnapshot { remote, ..isakmp() };
    let table = render(std::slice::from_ref(&sa), &options(1));
    assert!(table.contains("\n2001:db8:1234:567.4500 4cf72b12ea0a629d:"), "{table}");
    let row = parse(&table).unwrap().remove(0);
    assert_eq!((row.destination.address.as_str(), row.destination.port), ("2001:db8:1234:567", 4500));
    assert_eq!((row.destination.may_be_cut, row.destination.ip()), (true, None));
    let row = parse(&render(&[sa], &options(2))).unwrap().remove(0);
    assert_eq!(row.destination.ip(), Some(remote.ip()));
    assert_eq!(row.source.unwrap().ip(), Some("10.9.0.2".parse().unwrap()));
}

#[test]
fn whatever_stands_around_it() {
    let pasted = "root@bigip # racoonctl -ll show-sa isakmp\r\n  Source  Destination  Cookies ST S V E Created Phase2\r\n\
        > fe80::1%eth0.500 10.2.2.2%5.500\t9F7A366492B4F22E:0000000000000000 3 I 10 0\r\nroot@bigip # ";
    let row = parse(pasted).unwrap().remove(0);
    assert_eq!(row.source.unwrap().ip(), Some("fe80::1".parse().unwrap()));
    assert_eq!(row.destination.address, "10.2.2.2%5");
    assert_eq!(row.destination.ip(), Some("10.2.2.2".parse().unwrap()));
    assert!(row.cookies.responder.is_zero());
    let status = row.status.unwrap();
    assert_eq!((status.exchange, status.phase2, row.created), (None, Some(0), None), "no letter, no date");
    let shifted = "10.2.2.2.500           9f7a366492b4f22e:b90b9aa17880beb8 11 R 20 2024-11-09 08:58:30      2 ";
    let row = parse(shifted).unwrap().remove(0);
    assert_eq!((row.status.unwrap().phase2, row.created.as_deref()), (Some(2), Some("2024-11-09 08:58:30")));
    let plain = parse("10.2.2.2.500 9f7a366492b4f22e:b90b9aa17880beb8").unwrap().remove(0);
    assert_eq!((plain.status, plain.created), (None, None));
    assert_eq!(parse("Destination            Cookies                           Created\n"), Ok(Vec::new()));
}

#[test]
fn refuses_with_line_and_column() {
    assert_eq!(parse("hello\n"), Err(ParseError::NotATable));
    assert_eq!(parse("").unwrap_err().to_string(), "this is not the output of 'racoonctl show-sa isakmp'");
    let error = |row: &str| parse(&format!("Destination Cookies\n{row}\n")).unwrap_err().to_string();
    let cookies = "9f7a366492b4f22e:b90b9aa17880beb8";
    assert_eq!(error(cookies), "line 2 ends before its column Destination: copy all of it");
    assert_eq!(error(&format!("gateway {cookies}")), "line 2: 'gateway' is no value of column Destination");
    assert_eq!(
        error(&format!("10.0.0.1.99999 {cookies}")),
        "line 2: '10.0.0.1.99999' is no value of column Destination"
    );
    assert_eq!(error(&format!("10.0.0.1.500 {cookies} x")), "line 2: 'x' is no value of column ST");
    assert_eq!(error(&format!("10.0.0.1.500 {cookies} 9")), "line 2 ends before its column S: copy all of it");
    assert_eq!(error(&format!("10.0.0.1.500 {cookies} 9 X")), "line 2: 'X' is no value of column S");
    assert_eq!(error(&format!("10.0.0.1.500 {cookies} 9 I 1g")), "line 2: '1g' is no value of column V");
    assert_eq!(
        error(&format!("10.0.0.1.500 {cookies} 9 I 10 M 2024-11-09 08")),
        "line 2: '08' is no value of column Created"
    );
}

/// The files under a folder, in order.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn all_recordings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/racoonctl");
    if !folder.is_dir() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "the recordings must be there in CI");
        eprintln!("SKIP: no recordings in {}", folder.display());
        return;
    }
    let mut found = Vec::new();
    files(&folder, &mut found);
    let mut rows = 0;
    for path in found.iter().filter(|p| p.extension().is_some_and(|e| e == "txt")) {
        let text = std::fs::read_to_string(path).unwrap();
        // Other listings follow the tables.
        let of_tables: String = text.lines().filter(|l| parse(l).is_ok()).map(|l| format!("{l}\n")).collect();
        for (level, table) in tables(&of_tables) {
            let parsed = parse(&table).unwrap();
            assert_eq!(render_rows(&parsed, level), table, "{}", path.display());
            rows += parsed.len();
        }
    }
    assert!(rows > 150, "{rows} rows");
}

/// What others have published: without the blank at the end of a row, and BIG-IP's with narrower columns. The words are the
/// same.
#[test]
fn published_listings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/show");
    if !folder.is_dir() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "the listings must be there in CI");
        eprintln!("SKIP: no listings in {}", folder.display());
        return;
    }
    let (mut found, mut rows) = (Vec::new(), 0);
    files(&folder.join("racoonctl"), &mut found);
    found.push(folder.join("bigip/racoonctl-ll-show-sa-isakmp.txt"));
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        let of_tables: String = text.lines().filter(|l| parse(l).is_ok()).map(|l| format!("{l}\n")).collect();
        for (level, table) in tables(&of_tables) {
            let parsed = parse(&table).unwrap();
            let printed = render_rows(&parsed, level);
            let words = |text: &str| text.split_whitespace().map(str::to_string).collect::<Vec<_>>();
            assert_eq!(words(&printed), words(&table), "{}", path.display());
            rows += parsed.len();
        }
    }
    assert!(rows >= 3, "{rows} rows");
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    any::<(IpAddr, u16)>().prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

prop_compose! {
    fn any_sa()(
        (id, i, r, seconds, up) in (any::<u32>(), any::<u64>(), any::<u64>(), 0u64..100_000, any::<bool>()),
        (local, remote) in (any_address(), any_address()),
        initiator: bool,
        mode in proptest::option::of(proptest::sample::select(&[ExchangeMode::IdentityProtection, ExchangeMode::Aggressive])),
        state in proptest::sample::select(&[IkeState::Connecting, IkeState::Established, IkeState::Rekeying, IkeState::Destroying]),
        waiting_for in proptest::option::of(proptest::sample::select(wire::grammar::RULES.iter().map(|r| r.id).collect::<Vec<_>>())),
    ) -> SaSnapshot {
        SaSnapshot {
            id: SaId(id),
            version: if mode.is_some() { 1 } else { 2 },
            mode,
            state,
            waiting_for,
            role: if initiator { Role::Initiator } else { Role::Responder },
            spis: SpiPair { initiator: i.into(), responder: r.into() },
            local,
            remote,
            age: secs(seconds),
            established: up.then(|| secs(seconds)),
            ..established()
        }
    }
}

proptest! {
    #[test]
    fn parse_is_the_inverse_of_render(
        sas in proptest::collection::vec(any_sa(), 0..5),
        level in 0u8..=3,
        newer: bool,
        strict: bool,
    ) {
        let dialect = if newer { Dialect::Racoon08 } else { Dialect::Racoon07 };
        let options = Options { level, dialect, strict, created: &created };
        let table = render(&sas, &options);
        prop_assert!(table.lines().skip(1).all(|row| row.ends_with(' ')));
        prop_assert_eq!(parse(&table), Ok(project(&sas, &options)));
    }

    #[test]
    fn any_text_parses_or_fails(text in "(\\PC{0,30}\n){0,6}", cut in 0usize..2700, with in "\\PC{0,3}") {
        let _ = parse(&text);
        if let Some((before, after)) = HUB.split_at_checked(cut) {
            let _ = parse(before);
            let _ = parse(&format!("{before}{with}{after}"));
        }
    }
}
