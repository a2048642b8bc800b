//! The demonstration without privileges: the same protocol core and ESP, in this process, over UDP on loopback.

use super::{A, B, FAULTS, Fault, Site, configuration, explanation, heading, listings, say};
use crate::clock::Clock;
use config::MemoryFiles;
use esp::{Engine, Outbound, Verdict};
use model::{Event, Instant};
use proto::{Endpoint, Input, Output, Settings};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// Nothing on loopback takes longer: then the negotiation is over, one way or the other.
const QUIET: Duration = Duration::from_millis(200);

struct Gateway {
    site: &'static Site,
    endpoint: Endpoint,
    engine: Engine,
    ike: UdpSocket,
    esp: UdpSocket,
    clock: Clock,
}

fn socket() -> Result<UdpSocket, String> {
    let open = || -> std::io::Result<UdpSocket> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(QUIET))?;
        Ok(socket)
    };
    open().map_err(|e| format!("cannot open a UDP socket on loopback: {e}"))
}

impl Gateway {
    fn new(site: &'static Site) -> Result<Self, String> {
        let rng = Box::new(crypto::SystemRandom);
        let (endpoint, engine) = (Endpoint::new(Settings::default(), rng), Engine::new());
        Ok(Self { site, endpoint, engine, ike: socket()?, esp: socket()?, clock: Clock::new() })
    }

    fn address(&self) -> Result<SocketAddr, String> {
        self.ike.local_addr().map_err(|e| e.to_string())
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn configure(&mut self, peer: &Site, fault: Fault) -> Result<(), String> {
        let text = configuration(self.site, peer, ("127.0.0.1", "127.0.0.1"), fault);
        let path = format!("gateway-{}/swanctl.conf", self.site.name);
        let root = config::parse(&path, &MemoryFiles::one(&path, &text)).map_err(|e| e.to_string())?;
        let loaded =
            config::load(&root).map_err(|e| e.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        for connection in loaded.connections {
            self.endpoint.load_connection(Arc::clone(&connection));
        }
        self.endpoint.set_secrets(loaded.secrets);
        Ok(())
    }

    /// Carries out what the endpoint wants. `log` shows the course of things.
    fn drain(&mut self, log: bool) -> Result<(), String> {
        while let Some(output) = self.endpoint.poll_output() {
            match output {
                Output::Plane(command) => {
                    let now = self.now();
                    self.engine.apply(now, &command).map_err(|e| e.to_string())?;
                }
                Output::Transmit { remote, message, .. } => {
                    self.ike.send_to(&message, remote).map_err(|e| e.to_string())?;
                }
                Output::Keepalive { .. }
                | Output::AddAddress(_)
                | Output::RemoveAddress(_)
                | Output::Resolve(_)
                | Output::Solve(_)
                | Output::Fetch(_)
                | Output::FetchCertificate(_) => {}
                Output::Event(event) => {
                    let (group, level, text) = event.log();
                    if log && level <= 1 && !matches!(event, Event::Dropped { .. }) {
                        say(&format!("  [{group}] {text}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes one datagram; false when none came.
    fn receive(&mut self) -> Result<bool, String> {
        let mut buffer = vec![0; 65_535];
        let Ok((length, remote)) = self.ike.recv_from(&mut buffer) else { return Ok(false) };
        let (local, now) = (self.address()?, self.now());
        let bytes = buffer.get(..length).unwrap_or_default();
        self.endpoint.handle(now, Input::Datagram { local, remote, bytes });
        Ok(true)
    }
}

/// Begins at `a` and lets both talk until nobody says anything any more.
fn negotiate(a: &mut Gateway, b: &mut Gateway, log: bool) -> Result<(), String> {
    let (local, remote, now) = (a.address()?, b.address()?, a.now());
    a.endpoint.initiate(now, "site", "net", local, remote).map_err(|e| e.to_string())?;
    settle(a, b, log)
}

fn settle(a: &mut Gateway, b: &mut Gateway, log: bool) -> Result<(), String> {
    loop {
        a.drain(log)?;
        let at_b = b.receive()?;
        b.drain(false)?;
        let at_a = at_b && a.receive()?;
        a.drain(log)?;
        if !at_a {
            return Ok(());
        }
    }
}

fn end_all(a: &mut Gateway, b: &mut Gateway) -> Result<(), String> {
    let now = a.now();
    a.endpoint.terminate(now, &proto::Selection { ike: Some("site".into()), ..proto::Selection::default() });
    settle(a, b, false)
}

/// An ICMP echo request from one inner address to the other, sealed, sent over loopback, opened.
fn echo(from: &mut Gateway, to: &mut Gateway) -> Result<(), String> {
    let parse = |text: &str| text.parse::<Ipv4Addr>().map_err(|e| e.to_string());
    let packet = echo_request(parse(from.site.inner)?, parse(to.site.inner)?);
    let mut sealed = Vec::new();
    let now = from.now();
    let Outbound::Send { .. } = from.engine.seal(now, &packet, &mut sealed) else {
        return Err("no Child SA takes the packet".into());
    };
    let target = to.esp.local_addr().map_err(|e| e.to_string())?;
    from.esp.send_to(&sealed, target).map_err(|e| e.to_string())?;
    let mut buffer = vec![0; 2048];
    let (length, remote) = to.esp.recv_from(&mut buffer).map_err(|e| format!("no packet arrived: {e}"))?;
    let received = buffer.get_mut(..length).unwrap_or_default();
    match to.engine.open(now, received, remote) {
        Verdict::Deliver { inner, .. } if received.get(inner.clone()) == Some(packet.as_slice()) => {
            let (own, peer) = (from.site.inner, to.site.inner);
            say(&format!("  {own} -> {peer}: {} octets, {length} as ESP, opened and unchanged", packet.len()));
            Ok(())
        }
        verdict => Err(format!("the packet did not get through: {verdict:?}")),
    }
}

/// IPv4 (RFC 791) with ICMP echo (RFC 792) inside; checksums are right, as a host would send it.
fn echo_request(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
    icmp.extend_from_slice(b"shrike demonstration");
    let sum = checksum(&icmp).to_be_bytes();
    icmp[2..4].copy_from_slice(&sum);
    let length = u16::try_from(20 + icmp.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0, 1, 0, 0, 64, 1, 0, 0];
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    let sum = checksum(&packet).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet.extend_from_slice(&icmp);
    packet
}

/// The Internet checksum (RFC 1071).
fn checksum(octets: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = octets.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

pub(super) fn run(why: &str) -> Result<(), String> {
    heading("Two gateways within this process");
    say(&format!("  No network namespaces ({why}), so there is no TUN device and nothing to ping:"));
    say("  the same protocol core and the same ESP run in this process, over UDP on loopback.");
    let (mut a, mut b) = (Gateway::new(&A)?, Gateway::new(&B)?);
    a.configure(&B, Fault::None)?;
    b.configure(&A, Fault::None)?;

    heading("shrike initiate --child net   (at gateway a)");
    negotiate(&mut a, &mut b, true)?;
    heading("A packet through the tunnel, each way");
    echo(&mut a, &mut b)?;
    echo(&mut b, &mut a)?;
    let now = a.now();
    let mut live = a.endpoint.snapshots(now);
    for child in live.iter_mut().flat_map(|sa| &mut sa.children) {
        child.counters = a.engine.counters(now, child.id).unwrap_or_default();
    }
    listings(&live);

    for (number, (fault, what)) in FAULTS.iter().enumerate() {
        end_all(&mut a, &mut b)?;
        heading(&format!("Fault {}: {what}", number + 1));
        b.configure(&A, *fault)?;
        negotiate(&mut a, &mut b, true)?;
        for gateway in [&a, &b] {
            let now = gateway.now();
            let live = gateway.endpoint.snapshots(now);
            if live.iter().any(|sa| sa.children.iter().any(|c| c.installed.is_some())) {
                return Err(format!("the tunnel came up although {what}"));
            }
            explanation(gateway.site, &live, &gateway.endpoint.tombstones(now));
        }
    }
    end_all(&mut a, &mut b)?;
    heading("Repaired: the tunnel is up again");
    b.configure(&A, Fault::None)?;
    negotiate(&mut a, &mut b, false)?;
    echo(&mut a, &mut b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_of_the_demonstration_is_a_valid_one() {
        let packet = echo_request([10, 1, 0, 1].into(), [10, 2, 0, 1].into());
        assert_eq!(checksum(&packet[..20]), 0);
        assert_eq!(checksum(&packet[20..]), 0);
        assert_eq!(packet.len(), usize::from(u16::from_be_bytes([packet[2], packet[3]])));
    }

    #[test]
    fn the_demonstration_without_privileges_succeeds() {
        run("this is a test").unwrap();
    }
}
