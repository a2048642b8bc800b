//! Capture files, record by record: pcap in both octet orders and both resolutions, and pcapng.

use std::io::{self, Read};

/// The longest record or block that is read; a longer length is damage.
const MAX_BLOCK: usize = 4 << 20;
const SECTION: u32 = 0x0a0d_0d0a;
/// More interfaces than any capture has.
const MAX_INTERFACES: usize = 4096;

/// How a packet begins; the number is the LINKTYPE registry's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkType(pub u32);

/// One captured packet.
#[derive(Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Nanoseconds since 1970; `None` where the file does not say (pcapng's Simple Packet Block).
    pub nanoseconds: Option<u64>,
    /// What the octets begin with.
    pub link: LinkType,
    /// The octets that were captured.
    pub octets: &'a [u8],
}

/// Why a file could not be read on.
#[derive(Debug)]
pub enum CaptureError {
    /// The source failed.
    Io(io::Error),
    /// Neither pcap nor pcapng: the first four octets, most significant first.
    UnknownFormat(u32),
}

impl std::fmt::Display for CaptureError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot read the capture: {error}"),
            Self::UnknownFormat(magic) => {
                write!(f, "begins with {magic:#010x}: not a pcap or pcapng file; unpack it first if it is compressed")
            }
        }
    }
}

impl std::error::Error for CaptureError {}

impl From<io::Error> for CaptureError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[derive(Clone, Copy)]
struct Interface {
    link: LinkType,
    /// Units in a second.
    resolution: u64,
}

enum Format {
    Pcap(Interface),
    Pcapng(Vec<Interface>),
}

/// Reads a capture with the memory of one record. Give it a buffered source.
pub struct Reader<R> {
    source: R,
    format: Format,
    big_endian: bool,
    buffer: Vec<u8>,
    damaged: u64,
    ended: bool,
}

fn number(octets: &[u8], at: usize, big_endian: bool) -> Option<u32> {
    let word = *octets.get(at..)?.first_chunk::<4>()?;
    Some(if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
}

fn short(octets: &[u8], at: usize, big_endian: bool) -> Option<u16> {
    let word = *octets.get(at..)?.first_chunk::<2>()?;
    Some(if big_endian { u16::from_be_bytes(word) } else { u16::from_le_bytes(word) })
}

fn nanoseconds(units: u64, resolution: u64) -> u64 {
    let all = u128::from(units) * 1_000_000_000 / u128::from(resolution.max(1));
    u64::try_from(all).unwrap_or(u64::MAX)
}

impl<R: Read> Reader<R> {
    /// Reads the file's header.
    ///
    /// # Errors
    /// The source fails or ends at once, or the format is unknown.
    pub fn new(mut source: R) -> Result<Self, CaptureError> {
        let mut magic = [0; 4];
        source.read_exact(&mut magic)?;
        let mut reader = Self {
            source,
            format: Format::Pcapng(Vec::new()),
            big_endian: true,
            buffer: Vec::new(),
            damaged: 0,
            ended: false,
        };
        let resolution = match u32::from_be_bytes(magic) {
            SECTION => {
                reader.section()?;
                return Ok(reader);
            }
            0xa1b2_c3d4 => 1_000_000,
            0xa1b2_3c4d => 1_000_000_000,
            0xd4c3_b2a1 | 0x4d3c_b2a1 => {
                reader.big_endian = false;
                if magic[0] == 0xd4 { 1_000_000 } else { 1_000_000_000 }
            }
            other => return Err(CaptureError::UnknownFormat(other)),
        };
        let mut rest = [0; 20];
        reader.source.read_exact(&mut rest)?;
        // The upper half of the field is not the link type (FCS length and flags).
        let link = number(&rest, 16, reader.big_endian).unwrap_or(0) & 0xffff;
        reader.format = Format::Pcap(Interface { link: LinkType(link), resolution });
        Ok(reader)
    }

    /// Records that could not be used: cut off, or with an impossible length.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// The next packet, `None` at the end. A length that cannot be true ends the file: there is no mark to go on from.
    ///
    /// # Errors
    /// The source fails.
    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>, CaptureError> {
        while !self.ended {
            let found = match &self.format {
                Format::Pcap(interface) => {
                    let interface = *interface;
                    self.record(interface)?
                }
                Format::Pcapng(_) => self.block()?,
            };
            if let Some((time, link, from, len)) = found {
                let octets = self.buffer.get(from..from + len).unwrap_or_default();
                return Ok(Some(Packet { nanoseconds: time, link, octets }));
            }
        }
        Ok(None)
    }

    /// Fills the buffer with `len` octets; at an early end the file is over and the record damaged.
    fn fill(&mut self, len: usize, may_end: bool) -> Result<bool, CaptureError> {
        if len > MAX_BLOCK {
            self.damaged += 1;
            self.ended = true;
            return Ok(false);
        }
        self.buffer.resize(len, 0);
        let mut done = 0;
        while let Some(rest) = self.buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.source.read(rest) {
                Ok(0) => {
                    self.ended = true;
                    self.damaged += u64::from(done > 0 || !may_end);
                    return Ok(false);
                }
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    fn record(&mut self, interface: Interface) -> Result<Found, CaptureError> {
        if !self.fill(16, true)? {
            return Ok(None);
        }
        let field = |at| number(&self.buffer, at, self.big_endian).unwrap_or(0);
        let (seconds, fraction, len) = (field(0), field(4), field(8) as usize);
        if !self.fill(len, false)? {
            return Ok(None);
        }
        let time = u64::from(seconds) * 1_000_000_000 + nanoseconds(u64::from(fraction), interface.resolution);
        Ok(Some((Some(time), interface.link, 0, len)))
    }

    /// The rest of a Section Header Block, after its type.
    fn section(&mut self) -> Result<(), CaptureError> {
        if !self.fill(8, false)? {
            return Ok(());
        }
        self.big_endian = number(&self.buffer, 4, true) == Some(0x1a2b_3c4d);
        let len = number(&self.buffer, 0, self.big_endian).unwrap_or(0) as usize;
        self.format = Format::Pcapng(Vec::new());
        match len.checked_sub(12) {
            Some(rest) => self.fill(rest, false).map(|_| ()),
            None => self.fill(usize::MAX, false).map(|_| ()),
        }
    }

    fn block(&mut self) -> Result<Found, CaptureError> {
        if !self.fill(4, true)? {
            return Ok(None);
        }
        let kind = number(&self.buffer, 0, self.big_endian);
        if kind == Some(SECTION) {
            self.section()?;
            return Ok(None);
        }
        if !self.fill(4, false)? {
            return Ok(None);
        }
        let total = number(&self.buffer, 0, self.big_endian).unwrap_or(0) as usize;
        // A block is at least its two lengths and its type.
        if !self.fill(total.checked_sub(8).filter(|rest| *rest >= 4).unwrap_or(usize::MAX), false)? {
            return Ok(None);
        }
        let big = self.big_endian;
        let body = self.buffer.get(..self.buffer.len().saturating_sub(4)).unwrap_or_default();
        let Format::Pcapng(interfaces) = &mut self.format else { return Ok(None) };
        let found = match kind {
            Some(1) => {
                if let Some(link) = short(body, 0, big).filter(|_| interfaces.len() < MAX_INTERFACES) {
                    let resolution = resolution(body.get(8..).unwrap_or_default(), big);
                    interfaces.push(Interface { link: LinkType(u32::from(link)), resolution });
                    return Ok(None);
                }
                None
            }
            Some(3) => interfaces.first().and_then(|interface| {
                let len = (number(body, 0, big)? as usize).min(body.len().checked_sub(4)?);
                Some((None, interface.link, 4, len))
            }),
            Some(6) => enhanced(body, interfaces, big),
            _ => return Ok(None),
        };
        self.damaged += u64::from(found.is_none());
        Ok(found)
    }
}

type Found = Option<(Option<u64>, LinkType, usize, usize)>;

fn enhanced(body: &[u8], interfaces: &[Interface], big: bool) -> Found {
    let interface = interfaces.get(number(body, 0, big)? as usize)?;
    let units = u64::from(number(body, 4, big)?) << 32 | u64::from(number(body, 8, big)?);
    let len = number(body, 12, big)? as usize;
    (len <= body.len().checked_sub(20)?)
        .then(|| (Some(nanoseconds(units, interface.resolution)), interface.link, 20, len))
}

/// `if_tsresol` among the options of an interface, else microseconds.
fn resolution(mut options: &[u8], big: bool) -> u64 {
    while let (Some(code), Some(len)) = (short(options, 0, big), short(options, 2, big)) {
        let len = usize::from(len);
        if code == 9 && len == 1 {
            let exponent = options.get(4).copied().unwrap_or(6);
            let base: u64 = if exponent & 0x80 == 0 { 10 } else { 2 };
            return base.checked_pow(u32::from(exponent & 0x7f)).unwrap_or(u64::MAX);
        }
        options = options.get(4 + len.next_multiple_of(4)..).unwrap_or_default();
        if code == 0 {
            break;
        }
    }
    1_000_000
}
