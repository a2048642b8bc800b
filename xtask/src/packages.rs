//! What the tests need from Debian, and how it gets there.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::report::{Outcome, Report};
use crate::succeeds;
use crate::workspace::Workspace;

/// A C compiler (aws-lc-sys, the shim for pluto), the laboratory's tools, the peers, and what the suite's quick set uses.
const PACKAGES: &[&str] = &[
    "gcc",
    "libc6-dev",
    "iproute2",
    "iputils-ping",
    "tcpdump",
    "iptables",
    "procps",
    "python3",
    "openssl",
    "socat",
    "charon-systemd",
    "strongswan-swanctl",
    "strongswan-pki",
    "libcharon-extra-plugins",
    "libcharon-extauth-plugins",
    "libstrongswan-extra-plugins",
    "libstrongswan-standard-plugins",
    "openiked",
    "ike-scan",
    "vpnc",
    "libnss3-tools",
];

/// Servers that single scenarios of the full suite start.
const FULL_SUITE: &[&str] = &["freeradius", "conntrack", "traceroute", "dnsmasq-base", "isc-dhcp-server", "slapd"];

/// Installs what is missing. Not as root: prints the command, and the steps that need a program skip themselves.
pub fn install(workspace: &Workspace, report: &mut Report, full: bool) {
    if !succeeds(Command::new("dpkg-query").arg("--version")) {
        let reason =
            "not a Debian system: install iproute2, tcpdump, strongSwan (charon-systemd, swanctl) and so on yourself";
        report.record("packages", Outcome::Skip(reason.to_owned()));
        return;
    }
    let wanted = PACKAGES.iter().chain(full.then_some(FULL_SUITE).into_iter().flatten());
    let missing: Vec<&str> = wanted.copied().filter(|package| !installed(package)).collect();
    if !is_root() && !missing.is_empty() {
        let command = format!("sudo apt-get install --no-install-recommends {}", missing.join(" "));
        report.record("packages", Outcome::Skip(format!("not root; run: {command}")));
        return;
    }
    if missing.is_empty() {
        report.record("packages", Outcome::Pass);
    } else {
        let _quiet = NoServices::begin();
        let wait = ["-q", "-y", "-o", "DPkg::Lock::Timeout=300"];
        report.command("package lists", Command::new("apt-get").args(wait).arg("update"));
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(wait).args(["--no-install-recommends", "install"]);
        report.command("packages", command.args(&missing));
    }
    if is_root() {
        let _quiet = NoServices::begin();
        report.script("libreswan, unpacked", &mut Command::new(workspace.root.join("interop/fetch-libreswan.sh")));
    }
}

/// Does this process own its files as user 0?
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

fn installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .output()
        .is_ok_and(|output| output.status.success() && output.stdout == b"installed")
}

/// While it lives, a package that is installed does not start its service: strongSwan's and OpenIKED's daemons would take
/// the machine's ports 500 and 4500. Debian's hook for this is `policy-rc.d`; one that is there already is left alone.
struct NoServices(bool);

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn begin() -> NoServices {
        let ours = !Path::new(POLICY).exists()
            && std::fs::write(POLICY, "#!/bin/sh\nexit 101\n").is_ok()
            && std::fs::set_permissions(POLICY, std::fs::Permissions::from_mode(0o755)).is_ok();
        NoServices(ours)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.0 && std::fs::remove_file(POLICY).is_err() {
            eprintln!("xtask: cannot remove {POLICY}; remove it, or no service will start when it is installed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unheard_of_package_is_not_installed() {
        assert!(!installed("shrike-no-such-package"));
    }
}
