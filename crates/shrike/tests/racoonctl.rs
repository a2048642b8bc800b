//! Under the name `racoonctl` the program is that command.

use std::process::Command;

#[test]
fn its_name_decides() {
    let directory = std::env::temp_dir().join(format!("shrike-racoonctl-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let program = directory.join("racoonctl");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_shrike"), &program).unwrap();
    let socket = directory.join("none");
    let run = |arguments: &[&str]| {
        let done = Command::new(&program).args(arguments).output().unwrap();
        (done.status.success(), String::from_utf8(done.stderr).unwrap())
    };
    let no_daemon = run(&["-lls", &format!("unix://{}", socket.display()), "show-sa", "isakmp"]);
    let bogus = run(&["bogus"]);
    let told = |option: &str| String::from_utf8(Command::new(&program).arg(option).output().unwrap().stdout).unwrap();
    let (version, help) = (told("-V"), told("--help"));
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(version, format!("racoonctl of Shrike {}\n", env!("CARGO_PKG_VERSION")));
    assert!(help.starts_with("usage: racoonctl [-l") && help.contains("vpn-connect (vc)"), "{help}");
    assert!(!no_daemon.0 && no_daemon.1.starts_with("racoonctl: no daemon serves"), "{}", no_daemon.1);
    assert!(no_daemon.1.contains("or name its socket with -s"), "{}", no_daemon.1);
    assert!(!bogus.0 && bogus.1.starts_with("racoonctl: Invalid command [bogus]"), "{}", bogus.1);
}
