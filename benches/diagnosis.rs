//! How fast captures and logs are read, and with how much memory: a gateway's capture is mostly other traffic, and its log
//! mostly what other programs write.

use bench::{Options, Table, Value, cpu_time};
use capture::{LinkType, Reader, Tracker, decapsulate};
use std::hint::black_box;
use std::io::{self, BufReader, Read};

/// So much is read of a piece that is repeated: more than the caches hold, less than memory matters.
const PIECE: usize = 32 << 20;

/// The same octets again and again, `left` in all, behind a beginning.
struct Again<'a> {
    beginning: &'a [u8],
    piece: &'a [u8],
    at: usize,
    left: u64,
}

impl Read for Again<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !self.beginning.is_empty() {
            return self.beginning.read(out);
        }
        let from = self.piece.get(self.at..).unwrap_or_default();
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let count = from.len().min(out.len()).min(most);
        out[..count].copy_from_slice(&from[..count]);
        self.at = (self.at + count) % self.piece.len();
        self.left -= count as u64;
        Ok(count)
    }
}

fn packet(out: &mut Vec<u8>, protocol: u8, ports: (u16, u16), content: &[u8]) {
    let header = if protocol == 17 { 8 } else { 20 };
    let ip = u16::try_from(20 + header + content.len()).expect("a packet");
    let length = u32::from(ip) + 14;
    out.extend([0; 8]);
    out.extend(length.to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    out.extend([0x45, 0]);
    out.extend(ip.to_be_bytes());
    out.extend([0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    out.extend(ports.0.to_be_bytes());
    out.extend(ports.1.to_be_bytes());
    match protocol {
        17 => {
            out.extend((ip - 20).to_be_bytes());
            out.extend([0, 0]);
        }
        _ => out.extend([0; 16]),
    }
    out.extend(content);
}

/// Records of a capture: TCP in packets of these sizes, and of every thousand one is IKE's and one ESP's.
fn capture(sizes: &[usize]) -> Vec<u8> {
    let mut ike = vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9, 9, 9, 46, 0x20, 37, 8, 0, 0, 0, 9, 0, 0, 0, 92];
    ike.resize(92, 0x5a);
    let mut out = Vec::new();
    for n in 0.. {
        match n % 1000 {
            500 => packet(&mut out, 17, (500, 500), &ike),
            750 => packet(&mut out, 50, (0x1234, 0x5678), &[0x5a; 120]),
            _ => packet(&mut out, 6, (443, 50_000), &vec![0x5a; sizes[n % sizes.len()]]),
        }
        if out.len() >= PIECE {
            return out;
        }
    }
    out
}

/// Lines of a log; of every hundred `ike` are charon's, of one SA after the other.
fn log(ike: usize) -> Vec<u8> {
    const OTHER: [&str; 4] = [
        "Nov 24 01:08:06 gw sshd[1201]: Accepted publickey for admin from 198.51.100.7 port 50022 ssh2: ED25519 SHA256",
        "Nov 24 01:08:06 gw kernel: [112233.445566] IN=eth0 OUT= SRC=198.51.100.9 DST=192.0.2.1 LEN=60 TTL=51 PROTO=TCP DPT=22",
        "Nov 24 01:08:07 gw systemd[1]: Started Session 4211 of user admin.",
        "Nov 24 01:08:07 gw CRON[4242]: (root) CMD (test -x /usr/sbin/anacron || run-parts --report /etc/cron.daily)",
    ];
    const IKE: [&str; 8] = [
        "Nov 24 01:08:06 gw charon: 09[NET] received packet: from 192.0.2.2[500] to 192.0.2.1[500] (464 bytes)",
        "Nov 24 01:08:06 gw charon: 09[ENC] parsed IKE_SA_INIT request 0 [ SA KE No N(NATD_S_IP) N(NATD_D_IP) N(FRAG_SUP) ]",
        "Nov 24 01:08:06 gw charon: 09[IKE] 192.0.2.2 is initiating an IKE_SA",
        "Nov 24 01:08:06 gw charon: 09[CFG] selected proposal: IKE:AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/CURVE_25519",
        "Nov 24 01:08:06 gw charon: 09[ENC] generating IKE_SA_INIT response 0 [ SA KE No N(NATD_S_IP) N(NATD_D_IP) ]",
        "Nov 24 01:08:06 gw charon: 10[IKE] <gw|7> authentication of 'west.example.org' with pre-shared key successful",
        "Nov 24 01:08:06 gw charon: 10[IKE] <gw|7> IKE_SA gw[7] established between 192.0.2.1[east]...192.0.2.2[west]",
        "Nov 24 01:08:06 gw charon: 10[IKE] <gw|7> CHILD_SA net{9} established with SPIs c1a2b3c4_i c4b3a2c1_o and TS 10.1.0.0/16 === 10.2.0.0/16",
    ];
    let mut out = Vec::new();
    for n in 0.. {
        let line = if n % 100 < ike { IKE[(n / 100 + n) % IKE.len()] } else { OTHER[n % OTHER.len()] };
        out.extend(line.as_bytes());
        out.push(b'\n');
        if out.len() >= PIECE / 4 {
            return out;
        }
    }
    out
}

/// The most memory that this process had, in kibibytes.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0.0)
}

fn main() {
    let options = Options::get();
    const COLUMNS: [&str; 5] = ["what", "MB", "MB/s of CPU", "lines or packets/s", "peak KiB more"];
    let mut table = Table::new("Reading captures and logs", &COLUMNS, &[]);
    let total = if options.runs > 1 { 1 << 30 } else { 64 << 20 };
    let mut row = |name: &str, beginning: &[u8], piece: &[u8], work: &mut dyn FnMut(Again<'_>) -> u64| {
        if !options.wants(name) {
            return;
        }
        let before = peak();
        let begun = cpu_time();
        let count = work(Again { beginning, piece, at: 0, left: total });
        let seconds = (cpu_time() - begun).as_secs_f64();
        let octets = total as f64;
        table.row(vec![
            name.into(),
            Value::Number(octets / 1e6, 0),
            Value::Number(octets / 1e6 / seconds, 0),
            Value::Number(count as f64 / seconds, 0),
            Value::Number(peak() - before, 0),
        ]);
    };
    let mut read_capture = |source: Again<'_>| {
        let mut reader = Reader::new(BufReader::with_capacity(1 << 16, source)).expect("a capture");
        let (mut tracker, mut count) = (Tracker::default(), 0);
        while let Some(packet) = reader.next_packet().expect("it can be read") {
            count += 1;
            if let Some(datagram) = decapsulate(packet.link, packet.octets) {
                tracker.take(packet.nanoseconds.unwrap_or(0), &datagram);
            }
        }
        assert!(black_box(tracker.finish()).sas.len() == 1);
        count
    };
    let mut header = 0xd4c3_b2a1_u32.to_be_bytes().to_vec();
    header.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0]);
    header.extend(LinkType(1).0.to_le_bytes());
    row("pcap, long packets", &header, &capture(&[1448]), &mut read_capture);
    // The sizes of the "simple IMIX" that makers of routers test with.
    row(
        "pcap, mixed packets",
        &header,
        &capture(&[26, 26, 26, 26, 26, 26, 26, 536, 536, 536, 536, 1448]),
        &mut read_capture,
    );
    let mut read_log = |mut source: Again<'_>| {
        let (mut log, mut buffer) = (diag::Log::default(), vec![0; 1 << 16]);
        loop {
            match source.read(&mut buffer).expect("it can be read") {
                0 => break,
                length => log.feed(&buffer[..length]),
            }
        }
        let report = black_box(log.finish());
        assert!(report.understood > 0);
        report.lines
    };
    row("log, one line in a hundred is IKE's", &[], &log(1), &mut read_log);
    row("log, every other line is IKE's", &[], &log(50), &mut read_log);
    row("log, all lines are IKE's", &[], &log(100), &mut read_log);
    table.print(options.json);
}
