//! The rules of the design (ARCHITECTURE.md) as a check: which crate may use which, that the core reads no clock, socket, file or
//! random source, and where `unsafe` may stand.

mod scan;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::workspace::{Package, Workspace};

/// The crates that a crate may use. A crate that is not here may not exist yet: adding one takes an ADR.
const ARROWS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("crypto", &["wire"]),
    ("model", &["wire"]),
    ("config", &["wire", "model"]),
    ("proto", &["wire", "crypto", "model", "config"]),
    ("esp", &["wire", "crypto", "model"]),
    ("diag", &["wire", "model"]),
    ("show", &["wire", "model"]),
    ("capture", &["wire", "model", "crypto"]),
    ("vici", &["wire", "model"]),
    ("linux", &["wire", "model"]),
    ("sim", &["wire", "crypto", "model", "config", "proto", "esp"]),
    ("shrike", &["wire", "crypto", "model", "config", "proto", "esp", "diag", "show", "capture", "vici", "linux"]),
    (
        "bench",
        &["wire", "crypto", "model", "config", "proto", "esp", "diag", "show", "capture", "vici", "linux", "sim"],
    ),
    ("xtask", &[]),
];

/// The crates without I/O, clock or system randomness.
const CORE: &[&str] = &["wire", "crypto", "model", "config", "proto", "esp", "diag", "show", "vici"];

/// The simulation serves tests of any crate; it must not reach a program.
const TESTS_ONLY: &str = "sim";

/// Packages from elsewhere that do I/O, read the clock or make random numbers.
const IO_PACKAGES: &[&str] = &[
    "libc",
    "nix",
    "socket2",
    "mio",
    "tokio",
    "quinn-udp",
    "rand",
    "getrandom",
    "rtnetlink",
    "tun-rs",
    "rusqlite",
    "axum",
];

/// Paths of the standard library the core does not name. A path stands for all below it.
const IO_PATHS: &[&str] = &[
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::net::UdpSocket",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::ToSocketAddrs",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// Macros that write to the terminal.
const IO_MACROS: &[&str] = &["print", "println", "eprint", "eprintln", "dbg"];

/// A broken rule and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// `from` depends on `to`, an arrow the design does not have.
    Arrow { from: String, to: String, development: bool },
    /// A member that has no row in the table.
    Unknown { package: String },
    /// A core crate depends on a package that does I/O.
    IoPackage { from: String, package: String },
    /// A core crate names something that does I/O.
    IoPath { file: PathBuf, line: usize, name: String },
    /// `unsafe` where it may not be.
    Unsafe { file: PathBuf, line: usize },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Arrow { from, to, development } => {
                let table = if *development { "dev-dependencies" } else { "dependencies" };
                let allowed = allowed(from).unwrap_or_default().join(", ");
                write!(f, "crates/{from}/Cargo.toml: [{table}] has `{to}`; `{from}` may use: {allowed}")?;
                if *development { write!(f, " (and `{TESTS_ONLY}` in tests)") } else { Ok(()) }
            }
            Violation::Unknown { package } => {
                write!(f, "{package} has no row in xtask/src/layering.rs: a new crate needs an ADR and its arrows")
            }
            Violation::IoPackage { from, package } => {
                write!(
                    f,
                    "crates/{from}/Cargo.toml: `{package}` does I/O, and `{from}` belongs to the core, which does none"
                )
            }
            Violation::IoPath { file, line, name } => {
                write!(
                    f,
                    "{}:{line}: `{name}`: the core has no I/O, clock or system randomness (pass it in)",
                    file.display()
                )
            }
            Violation::Unsafe { file, line } => {
                write!(f, "{}:{line}: `unsafe` outside crates/linux and crates/crypto/src/awslc.rs", file.display())
            }
        }
    }
}

/// Checks the whole workspace.
pub fn check(workspace: &Workspace) -> std::io::Result<Vec<Violation>> {
    let mut violations = arrows(&workspace.packages);
    for package in &workspace.packages {
        for file in rust_files(&package.directory)? {
            let source = std::fs::read_to_string(&file)?;
            let file = file.strip_prefix(&workspace.root).unwrap_or(&file);
            violations.extend(check_source(short(&package.name), file, &source));
        }
    }
    Ok(violations)
}

/// The crate's name in the design: `shrike-wire` is `wire`.
fn short(package: &str) -> &str {
    package.strip_prefix("shrike-").unwrap_or(package)
}

fn allowed(name: &str) -> Option<&'static [&'static str]> {
    ARROWS.iter().find(|(from, _)| *from == name).map(|(_, to)| *to)
}

/// What the tests of a crate may use beside what the crate may: the simulation; for the control protocol the listings,
/// which are held against what the real swanctl prints; and for the simulation, which replays the corpora of all fuzz
/// targets, the readers of what others made.
fn allowed_in_tests(name: &str) -> &'static [&'static str] {
    match name {
        "vici" => &[TESTS_ONLY, "show"],
        TESTS_ONLY => &["show", "diag", "capture"],
        _ => &[TESTS_ONLY],
    }
}

fn arrows(packages: &[Package]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in packages {
        let from = short(&package.name);
        let Some(allowed) = allowed(from) else {
            violations.push(Violation::Unknown { package: package.name.clone() });
            continue;
        };
        for dependency in &package.dependencies {
            let development = dependency.development;
            if packages.iter().any(|member| member.name == dependency.package) {
                let to = short(&dependency.package);
                let right = allowed.contains(&to) || (development && allowed_in_tests(from).contains(&to));
                if !right {
                    violations.push(Violation::Arrow { from: from.to_owned(), to: to.to_owned(), development });
                }
            } else if !development && CORE.contains(&from) && IO_PACKAGES.contains(&dependency.package.as_str()) {
                violations.push(Violation::IoPackage { from: from.to_owned(), package: dependency.package.clone() });
            }
        }
    }
    violations
}

/// `file` is relative to the workspace.
fn check_source(name: &str, file: &Path, source: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let code = scan::Code::new(source);
    if !may_be_unsafe(file) {
        violations.extend(code.word("unsafe").map(|line| Violation::Unsafe { file: file.to_owned(), line }));
    }
    if CORE.contains(&name) && is_production(file) {
        let code = code.without_tests();
        for (line, path) in code.std_paths() {
            if IO_PATHS
                .iter()
                .any(|io| path.strip_prefix(io).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
            {
                violations.push(Violation::IoPath { file: file.to_owned(), line, name: path });
            }
        }
        for name in IO_MACROS {
            let found = code.macro_call(name).map(|line| (line, format!("{name}!")));
            violations.extend(found.map(|(line, name)| Violation::IoPath { file: file.to_owned(), line, name }));
        }
    }
    violations
}

fn may_be_unsafe(file: &Path) -> bool {
    file.starts_with("crates/linux")
        || file.starts_with("crates/crypto/src/awslc")
        || file == Path::new("crates/crypto/src/awslc.rs")
}

/// Below `src/`, and no file of tests (`mod tests;` lives in tests.rs or tests/).
fn is_production(file: &Path) -> bool {
    let mut parts = file.components().filter_map(|part| part.as_os_str().to_str()).skip_while(|part| *part != "src");
    parts.next().is_some() && !parts.any(|part| part == "tests" || part == "tests.rs" || part.ends_with("_tests.rs"))
}

fn rust_files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                if entry.file_name() != "target" {
                    open.push(entry.path());
                }
            } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn member(name: &str, dependencies: &[(&str, bool)]) -> Package {
        let dependency =
            |&(package, development): &(&str, bool)| Dependency { package: package.to_owned(), development };
        Package {
            name: name.to_owned(),
            directory: PathBuf::from("/nonexistent"),
            dependencies: dependencies.iter().map(dependency).collect(),
        }
    }

    fn workspace_with(extra: Package) -> Vec<Package> {
        let mut packages: Vec<Package> =
            ["wire", "model", "linux", "sim"].map(|name| member(&format!("shrike-{name}"), &[])).to_vec();
        packages.retain(|package| package.name != extra.name);
        packages.push(extra);
        packages
    }

    #[test]
    fn the_arrows_of_the_design_pass() {
        let proto = member(
            "shrike-proto",
            &[
                ("shrike-wire", false),
                ("shrike-model", false),
                ("shrike-sim", true),
                ("zeroize", false),
                ("proptest", true),
            ],
        );
        assert_eq!(arrows(&workspace_with(proto)), []);
    }

    #[test]
    fn a_forbidden_arrow_is_caught() {
        for (package, to, development) in [
            ("shrike-proto", "linux", false),
            ("shrike-proto", "linux", true),
            ("shrike-wire", "model", false),
            ("shrike-esp", "sim", false),
        ] {
            let wrong = member(package, &[(&format!("shrike-{to}"), development)]);
            let expected = Violation::Arrow { from: short(package).to_owned(), to: to.to_owned(), development };
            assert_eq!(arrows(&workspace_with(wrong)), [expected], "{package} -> {to}");
        }
    }

    #[test]
    fn nobody_may_use_the_program() {
        let mut packages = workspace_with(member("shrike-show", &[("shrike", false)]));
        packages.push(member("shrike", &[("shrike-show", false)]));
        let expected = Violation::Arrow { from: "show".to_owned(), to: "shrike".to_owned(), development: false };
        assert_eq!(arrows(&packages), [expected]);
    }

    #[test]
    fn an_unknown_crate_and_an_io_package_are_caught() {
        let packages = [member("shrike-util", &[]), member("shrike-wire", &[("libc", false), ("rand", true)])];
        assert_eq!(
            arrows(&packages),
            [
                Violation::Unknown { package: "shrike-util".to_owned() },
                Violation::IoPackage { from: "wire".to_owned(), package: "libc".to_owned() },
            ]
        );
    }

    fn found(name: &str, file: &str, source: &str) -> Vec<String> {
        check_source(name, Path::new(file), source)
            .into_iter()
            .map(|violation| match violation {
                Violation::IoPath { line, name, .. } => format!("{line} {name}"),
                Violation::Unsafe { line, .. } => format!("{line} unsafe"),
                other => other.to_string(),
            })
            .collect()
    }

    #[test]
    fn io_in_the_core_is_caught_however_it_is_imported() {
        let file = "crates/proto/src/endpoint.rs";
        assert_eq!(found("proto", file, "use std::net::{IpAddr, UdpSocket};"), ["1 std::net::UdpSocket"]);
        assert_eq!(
            found("proto", file, "use std::{\n    fmt,\n    time::{Duration, Instant as Now},\n};"),
            ["3 std::time::Instant"]
        );
        assert_eq!(found("proto", file, "fn f() { ::std::fs::read(\"x\"); }"), ["1 std::fs::read"]);
        assert_eq!(found("proto", file, "fn f() {\n println!(\"{}\", 1) }"), ["2 println!"]);
    }

    #[test]
    fn what_is_no_io_passes() {
        let source = "//! std::fs in a comment\nuse std::net::{IpAddr, SocketAddr};\nuse std::time::Duration;\nuse model::Instant;\n\
                      const A: &str = \"std::fs::read println!\";\nfn println() {}\n\
                      #[cfg(test)]\nmod tests {\n    use std::fs;\n    fn t() { println!(\"{\"); }\n}\n";
        assert_eq!(found("proto", "crates/proto/src/lib.rs", source), [] as [&str; 0]);
        assert_eq!(found("proto", "crates/proto/src/v2/tests.rs", "use std::fs;"), [] as [&str; 0]);
        assert_eq!(found("proto", "crates/proto/tests/all.rs", "use std::fs;"), [] as [&str; 0]);
        assert_eq!(found("shrike", "crates/shrike/src/main.rs", "use std::fs;"), [] as [&str; 0]);
    }

    #[test]
    fn code_after_a_test_module_is_still_checked() {
        let source = "#[cfg(test)]\nmod tests { fn t() {} }\nuse std::fs;\n";
        assert_eq!(found("wire", "crates/wire/src/lib.rs", source), ["3 std::fs"]);
    }

    #[test]
    fn unsafe_has_two_homes() {
        let source = "// unsafe in a comment\nfn f() { unsafe { g() } }\n";
        assert_eq!(found("wire", "crates/wire/src/lib.rs", source), ["2 unsafe"]);
        assert_eq!(found("crypto", "crates/crypto/src/prf.rs", source), ["2 unsafe"]);
        assert_eq!(found("crypto", "crates/crypto/src/awslc.rs", source), [] as [&str; 0]);
        assert_eq!(found("crypto", "crates/crypto/src/awslc/keys.rs", source), [] as [&str; 0]);
        assert_eq!(found("crypto", "crates/crypto/src/awslc_more.rs", source), ["2 unsafe"]);
        assert_eq!(found("linux", "crates/linux/src/tun.rs", source), [] as [&str; 0]);
        assert_eq!(found("wire", "crates/wire/src/lib.rs", "#![deny(unsafe_code)]"), [] as [&str; 0]);
    }

    #[test]
    fn a_violation_says_what_would_be_right() {
        let violation = Violation::Arrow { from: "show".to_owned(), to: "proto".to_owned(), development: false };
        assert_eq!(
            violation.to_string(),
            "crates/show/Cargo.toml: [dependencies] has `proto`; `show` may use: wire, model"
        );
    }
}
