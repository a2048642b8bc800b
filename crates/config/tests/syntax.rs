//! The grammar of strongswan.conf(5), construct by construct.

use config::{ConfigError, Entry, ErrorKind, FileError, MemoryFiles, Place, Section, parse};
use proptest::prelude::*;

fn read(text: &str) -> Section {
    parse("swanctl.conf", &MemoryFiles::one("swanctl.conf", text))
        .unwrap_or_else(|e| panic!("{}", e.report(Some(text))))
}

fn error(text: &str) -> ConfigError {
    parse("swanctl.conf", &MemoryFiles::one("swanctl.conf", text)).unwrap_err()
}

fn value(text: &str) -> Option<String> {
    read(text).value("k").map(str::to_string)
}

#[test]
fn values() {
    for (text, expected) in [
        ("k = v", Some("v")),
        ("k=v", Some("v")),
        ("k = v # comment", Some("v")),
        ("k = v#comment", Some("v")),
        ("k =  several   words\t here  \r\n", Some("several words here")),
        ("k = a{b,c:d=e", Some("a{b,c:d=e")),
        ("k = \"# { } \"", Some("# { } ")),
        (r#"k = "a\n\r\t\b\f\"\\\x""#, Some("a\n\r\t\u{8}\u{c}\"\\x")),
        ("k = \"one \\\n two\"", Some("one  two")),
        ("k = \"one\n two\"", Some("one\n two")),
        ("k = 'My \"home\" is my \"castle\"!'", Some("'My home is my castle !'")),
        ("k = \"\"", Some("")),
        ("k =", None),
        ("k = # nothing", None),
        ("k = 1\nk = 2", Some("2")),
        ("k = 1\nk =", None),
        ("\u{feff}k = v", Some("v")),
        ("include = v\nk = w", Some("w")),
    ] {
        assert_eq!(value(text).as_deref(), expected, "{text:?}");
    }
}

#[test]
fn sections_nest_merge_and_know_their_place() {
    let root = read("a  { x = 1\n y = 2 }\n# c\nb\n{\n c { d { e=f } } }\na { y = 3 }\n");
    assert_eq!(root.print(), "a {\n  x = \"1\"\n  y = \"3\"\n}\nb {\n  c {\n    d {\n      e = \"f\"\n    }\n  }\n}\n");
    let at = |e: &Entry| (e.at().line, e.at().column);
    assert_eq!(at(&root.entries[0]), (1, 1));
    assert_eq!(at(&root.section("a").unwrap().entries[0]), (1, 6));
    assert_eq!(at(&root.section("a").unwrap().entries[1]), (7, 5), "the value that counts");
    assert_eq!(at(&root.entries[1]), (4, 1));
}

#[test]
fn sections_inherit() {
    let root = read(
        "base { k = 1\n l = 2\n sub { m = 3\n o = 9 } }\nother { k = 5\n n = 6 }\n\
         x : base, other {\n l =\n sub { m = 4 } }\ny : x { k = 7 }\nz { sub : base.sub { } }",
    );
    let x = root.section("x").unwrap();
    assert_eq!((x.value("k"), x.value("l"), x.value("n")), (Some("1"), None, Some("6")));
    let sub = x.section("sub").unwrap();
    assert_eq!((sub.value("m"), sub.value("o")), (Some("4"), Some("9")));
    let y = root.section("y").unwrap();
    assert_eq!((y.value("k"), y.value("n"), y.section("sub").unwrap().value("m")), (Some("7"), Some("6"), Some("4")));
    assert_eq!(root.section("z").unwrap().section("sub").unwrap().value("m"), Some("3"));
    let templates: Vec<_> = root.sections().filter(|s| s.template).map(|s| s.name.as_str()).collect();
    assert_eq!(templates, ["base", "other", "x"]);
}

#[test]
fn circular_inheritance_ends() {
    assert_eq!(read("a : b { x = 1 }\nb : a { y = 2 }").section("a").unwrap().value("y"), Some("2"));
    let e = error("a { b : a { } }");
    assert!(matches!(e.kind, ErrorKind::TooLarge { .. }), "{e}");
    // Each section holds its predecessor twice: 2^40 values, if nobody counted.
    let mut bomb = String::from("s0 { k = v }\n");
    for n in 1..30 {
        bomb += &format!("s{n} {{ l : s{} {{ }}\n r : s{} {{ }} }}\n", n - 1, n - 1);
    }
    let e = error(&bomb);
    assert!(matches!(e.kind, ErrorKind::TooLarge { .. }), "{e}");
}

#[test]
fn includes() {
    let files = MemoryFiles::default()
        .with(
            "/etc/swanctl/swanctl.conf",
            "include conf.d/*.conf\nx = 1\nsub { include \"more files.conf\" # here\n }\n",
        )
        .with("/etc/swanctl/conf.d/b.conf", "y = b\nx = 0")
        .with("/etc/swanctl/conf.d/a.conf", "y = a\ninclude nested.inc\n")
        .with("/etc/swanctl/conf.d/nested.inc", "z = 3\n")
        .with("/etc/swanctl/more files.conf", "w = 4");
    let root = parse("/etc/swanctl/swanctl.conf", &files).unwrap();
    assert_eq!((root.value("x"), root.value("y"), root.value("z")), (Some("1"), Some("b"), Some("3")));
    assert_eq!(root.section("sub").unwrap().value("w"), Some("4"));
    let z = root.entries.iter().find(|e| e.name() == "z").unwrap();
    assert_eq!(z.at(), &Place::new("/etc/swanctl/conf.d/nested.inc", 1, 1));

    let e = error("\n  include nosuch.conf\n");
    assert_eq!(e.to_string(), "swanctl.conf:2:3: include: cannot read 'nosuch.conf': there is no such file");
    let e = parse("nosuch.conf", &MemoryFiles::one("swanctl.conf", "")).unwrap_err();
    assert_eq!(e.to_string(), "nosuch.conf:1:1: cannot read 'nosuch.conf': there is no such file");
    assert_eq!(e.kind, ErrorKind::File { path: "nosuch.conf".into(), error: FileError::NotFound });
    let e = error("include swanctl.conf");
    assert!(matches!(e.kind, ErrorKind::TooLarge { limit } if limit.starts_with("10 files")), "{e}");
    assert!(
        parse("swanctl.conf", &MemoryFiles::one("swanctl.conf", "include none/*.conf")).unwrap().entries.is_empty()
    );
    let e = parse("missing", &MemoryFiles::default()).unwrap_err();
    assert!(matches!(e.kind, ErrorKind::File { .. }), "{e}");
}

#[test]
fn errors_say_where() {
    for (text, shown) in [
        ("a {\n b = c\n", "swanctl.conf:1:1: a: expected a closing '}' for the section that begins here"),
        ("a { }\n}\n", "swanctl.conf:2:1: expected a section or key; this '}' closes no section"),
        ("a\nb = c", "swanctl.conf:2:1: a: expected '=' and a value, or '{' and a section's contents"),
        ("= c", "swanctl.conf:1:1: expected the name of a section or key"),
        ("k = \"x\n\n", "swanctl.conf:1:5: expected a closing '\"' for the string that begins here"),
        ("k = \"x\\", "swanctl.conf:1:5: expected a closing '\"' for the string that begins here"),
        ("a : { }", "swanctl.conf:1:5: expected the dotted path of a section to inherit from"),
        (
            "a : b.c { }",
            "swanctl.conf:1:5: a: inherits from 'b.c', which does not exist; give the full path from the top",
        ),
        (
            "include a b",
            "swanctl.conf:1:11: expected the end of the line after the file name; quote a name with blanks",
        ),
    ] {
        assert_eq!(error(text).to_string(), shown);
    }
    let deep = "a { ".repeat(100_000);
    assert!(matches!(error(&deep).kind, ErrorKind::TooLarge { .. }));
}

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9_.\\-%/@é]{1,8}".prop_filter("a keyword", |n| n != "include")
}

fn section(name_: String, depth: u32) -> BoxedStrategy<Section> {
    let place = Place::new("f", 1, 1);
    let values = prop::collection::btree_map(name(), any::<String>(), 0..4);
    let below = if depth == 0 {
        Just(Vec::new()).boxed()
    } else {
        prop::collection::btree_set(name(), 0..3)
            .prop_flat_map(move |names| names.into_iter().map(|n| section(n, depth - 1)).collect::<Vec<_>>())
            .boxed()
    };
    (values, below)
        .prop_map(move |(values, below)| {
            let mut s = Section::new(name_.clone(), place.clone());
            let at = place.clone();
            s.entries.extend(values.into_iter().map(|(key, value)| Entry::Value { key, value, at: at.clone() }));
            s.entries.extend(below.into_iter().map(Entry::Section));
            s
        })
        .boxed()
}

/// A tree without its places.
fn bare(section: &Section) -> Vec<(String, Option<String>, Vec<String>)> {
    let mut all = Vec::new();
    let mut pending = vec![(Vec::<String>::new(), section)];
    while let Some((path, section)) = pending.pop() {
        for entry in &section.entries {
            match entry {
                Entry::Value { key, value, .. } => all.push((key.clone(), Some(value.clone()), path.clone())),
                Entry::List { key, .. } => all.push((key.clone(), None, path.clone())),
                Entry::Section(s) => {
                    let mut path = path.clone();
                    path.push(s.name.clone());
                    all.push((s.name.clone(), None, path.clone()));
                    pending.push((path, s));
                }
            }
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_parses_or_fails(text in any::<String>()) {
        let _ = parse("f", &MemoryFiles::one("f", &text)).map_err(|e| e.report(Some(&text)));
    }

    #[test]
    fn anything_like_a_configuration_parses_or_fails(
        words in prop::collection::vec(prop::sample::select(vec![
            "a", "b", "include", "f", " ", "\n", "{", "}", "=", ":", ",", "\"", "#", "\\", "'", ".", "a.b", "\r\n", "é",
        ]), 0..60)
    ) {
        let text = words.concat();
        match parse("f", &MemoryFiles::one("f", &text)) {
            Ok(root) => { let _ = config::load(&root); let _ = config::daemon_settings(&root); }
            Err(e) => { e.report(Some(&text)); }
        }
    }

    #[test]
    fn what_is_printed_is_what_is_read(root in section(String::new(), 3)) {
        let again = parse("f", &MemoryFiles::one("f", &root.print())).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(bare(&root), bare(&again));
    }
}

/// Ten thousand connections must not cost the square of one: every line is looked at once.
#[test]
fn large_files_are_read_in_linear_steps() {
    struct Counting(MemoryFiles, std::cell::Cell<u32>);
    impl config::Files for Counting {
        fn read(&self, path: &str) -> Result<String, FileError> {
            self.1.set(self.1.get() + 1);
            self.0.read(path)
        }
        fn glob(&self, pattern: &str) -> Vec<String> {
            self.0.glob(pattern)
        }
    }
    let mut text = String::from("base { children { net { remote_ts = 10.0.0.0/8 } } }\nconnections {\n");
    for n in 0..10_000 {
        text +=
            &format!("gw{n} : base {{ remote_addrs = 192.0.2.1\n local {{ auth = psk }} remote {{ auth = psk }} }}\n");
    }
    text += "}\n";
    let files = Counting(MemoryFiles::one("f", &text), Default::default());
    let root = parse("f", &files).unwrap();
    assert_eq!(files.1.get(), 1);
    assert_eq!(config::load(&root).unwrap().connections.len(), 10_000);
}
