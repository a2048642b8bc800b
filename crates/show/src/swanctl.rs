//! `swanctl --list-sas`, as strongSwan prints it.

use model::dataplane::Mode;
use model::{ChildSnapshot, Identity, Role, SaSnapshot};
use std::fmt::Write as _;
use std::time::Duration;

/// The listing. Child SAs that are not installed yet are left out, as in strongSwan.
pub fn render(sas: &[SaSnapshot]) -> String {
    let mut out = String::new();
    for sa in sas {
        // Writing to a string does not fail.
        let _ = ike_sa(&mut out, sa);
    }
    out
}

fn later(out: &mut String, what: &str, time: Option<Duration>) -> std::fmt::Result {
    time.map_or(Ok(()), |t| write!(out, ", {what} in {}s", t.as_secs()))
}

fn ike_sa(out: &mut String, sa: &SaSnapshot) -> std::fmt::Result {
    let name = if sa.name.is_empty() { "(unnamed)" } else { &sa.name };
    let (i, r) = if sa.role == Role::Initiator { ("*", "") } else { ("", "*") };
    let (state, version, spis) = (sa.state.name(), sa.version, sa.spis);
    writeln!(out, "{name}: {}, {state}, IKEv{version}, {}_i{i} {}_r{r}", sa.id, spis.initiator, spis.responder)?;
    for (side, id, address) in [("local ", &sa.local_id, sa.local), ("remote", &sa.remote_id, sa.remote)] {
        let id = id.as_ref().map_or_else(|| "%any".to_string(), Identity::to_string);
        write!(out, "  {side} '{id}' @ {}[{}]", address.ip(), address.port())?;
        let (user, vips) = match side {
            "local " => (None, &sa.local_vips),
            _ => (sa.remote_xauth_id.as_ref(), &sa.remote_vips),
        };
        if let Some(user) = user {
            write!(out, " XAuth: '{user}'")?;
        }
        if !vips.is_empty() {
            let vips: Vec<String> = vips.iter().map(ToString::to_string).collect();
            write!(out, " [{}]", vips.join(" "))?;
        }
        out.push('\n');
    }
    if let Some(suite) = &sa.suite {
        writeln!(out, "  {suite}")?;
    }
    if let Some(established) = sa.established {
        write!(out, "  established {}s ago", established.as_secs())?;
        later(out, "rekeying", sa.rekey_in)?;
        later(out, "reauth", sa.reauth_in)?;
        out.push('\n');
    }
    for (label, tasks) in [("queued: ", &sa.tasks_queued), ("active: ", &sa.tasks_active)] {
        if !tasks.is_empty() {
            writeln!(out, "  {label} {}", tasks.join(" "))?;
        }
    }
    sa.children.iter().try_for_each(|child| child_sa(out, child))
}

fn child_sa(out: &mut String, child: &ChildSnapshot) -> std::fmt::Result {
    let Some(installed) = child.installed else { return Ok(()) };
    let mode = if child.mode == Mode::Tunnel { "TUNNEL" } else { "TRANSPORT" };
    let udp = if child.encapsulated { "-in-UDP" } else { "" };
    let suite = child.suite.map(|s| s.to_string()).unwrap_or_default();
    let (id, reqid, state) = (child.id, child.reqid, child.state.name());
    writeln!(out, "  {}: {id}, reqid {reqid}, {state}, {mode}{udp}, ESP:{suite}", child.name)?;
    write!(out, "    installed {}s ago", installed.as_secs())?;
    later(out, "rekeying", child.rekey_in)?;
    later(out, "expires", child.expires_in)?;
    out.push('\n');
    let c = &child.counters;
    for (label, spi, bytes, packets, idle) in [
        ("in ", child.spi_in, c.bytes_in, c.packets_in, c.idle_in),
        ("out", child.spi_out, c.bytes_out, c.packets_out, c.idle_out),
    ] {
        write!(out, "    {label} {spi:08x}, {bytes:>6} bytes, {packets:>5} packets")?;
        match idle {
            Some(idle) => writeln!(out, ", {:>5}s ago", idle.as_secs())?,
            None => out.push('\n'),
        }
    }
    for (label, selectors) in [("local ", &child.local_ts), ("remote", &child.remote_ts)] {
        let selectors: Vec<String> = selectors.iter().map(ToString::to_string).collect();
        writeln!(out, "    {label} {}", selectors.join(" "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{connecting, established};

    #[test]
    fn users_and_virtual_addresses_stand_behind_their_ends() {
        let mut sa = established();
        sa.local_vips = vec!["10.3.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        (sa.remote_vips, sa.remote_xauth_id) = (vec!["10.4.0.1".parse().unwrap()], Some("carol".parse().unwrap()));
        let text = render(&[sa]);
        let lines: Vec<&str> = text.lines().skip(1).take(2).collect();
        assert_eq!(lines[0], "  local  'moon.strongswan.org' @ 192.168.0.1[4500] [10.3.0.1 2001:db8::1]");
        assert_eq!(lines[1], "  remote 'sun.strongswan.org' @ 192.168.0.2[4500] XAuth: 'carol' [10.4.0.1]");
    }

    /// The vici crate's tests compare this renderer with swanctl itself.
    #[test]
    fn prints_what_swanctl_prints() {
        assert_eq!(
            render(&[established(), connecting()]),
            "\
gw-gw: #1, ESTABLISHED, IKEv2, 31ee3f6a61962931_i* 5ec1aa279daadaf2_r
  local  'moon.strongswan.org' @ 192.168.0.1[4500]
  remote 'sun.strongswan.org' @ 192.168.0.2[4500]
  AES_CBC-128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519
  established 7501s ago, rekeying in 6460s
  net-net: #4, reqid 1, INSTALLED, TUNNEL-in-UDP, ESP:AES_GCM_16-128/ESN
    installed 301s ago, rekeying in 3027s, expires in 3656s
    in  ca23ef69, 25200000 bytes, 30000 packets,     1s ago
    out c056f948,     84 bytes,     1 packets
    local  10.1.0.0/16
    remote 10.2.0.0/16 10.3.0.0/16
branch: #2, CONNECTING, IKEv2, 31ee3f6a61962931_i* 0000000000000000_r
  local  '%any' @ 192.168.0.1[500]
  remote '%any' @ 192.168.0.9[500]
  active:  IKE_INIT
"
        );
    }
}
