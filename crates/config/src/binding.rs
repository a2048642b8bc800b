//! What ties packets to a Child SA beside its selectors: marks, numbers of XFRM interfaces, an interface; and what is done
//! to them, padding.

use crate::reader::Reader;
use crate::values::{boolean, unsigned};
use crate::{Entry, ErrorKind};
use model::dataplane::{Binding, InterfaceName, Mark, TfcPadding};

/// A number that each Child SA gets for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnNumber {
    /// `%unique`: the same in both directions, where both have it.
    Both,
    /// `%unique-dir`: one for this direction.
    Direction,
}

impl OwnNumber {
    fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "%unique" => Some(Self::Both),
            "%unique-dir" => Some(Self::Direction),
            _ => None,
        }
    }
}

/// Which numbers of a [`Binding`] are chosen anew for each Child SA.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UniqueNumbers {
    /// The mark of inbound packets.
    pub mark_in: Option<OwnNumber>,
    /// The mark of outbound packets.
    pub mark_out: Option<OwnNumber>,
    /// The number of the inbound XFRM interface.
    pub if_id_in: Option<OwnNumber>,
    /// The number of the outbound XFRM interface.
    pub if_id_out: Option<OwnNumber>,
    /// Decrypted packets get the mark of inbound ones.
    set_mark_in: bool,
    /// Encrypted packets get the mark of outbound ones.
    set_mark_out: bool,
}

impl UniqueNumbers {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names().next().is_none()
    }

    /// The keys that ask for one.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            (self.mark_in, "mark_in"),
            (self.mark_out, "mark_out"),
            (self.if_id_in, "if_id_in"),
            (self.if_id_out, "if_id_out"),
        ];
        all.into_iter().filter(|(unique, _)| unique.is_some()).map(|(_, name)| name)
    }

    /// What is configured, with numbers of its own: `next` gives one that no other Child SA has.
    pub fn fill(&self, mut binding: Binding, mut next: impl FnMut() -> u32) -> Binding {
        let mut pair = |one: Option<OwnNumber>, other: Option<OwnNumber>| {
            let mut both = None;
            let mut number = |unique| match unique {
                OwnNumber::Both => *both.get_or_insert_with(&mut next),
                OwnNumber::Direction => next(),
            };
            (one.map(&mut number), other.map(&mut number))
        };
        let whole = |value| Mark { value, mask: u32::MAX };
        let (mark_in, mark_out) = pair(self.mark_in, self.mark_out);
        let (if_id_in, if_id_out) = pair(self.if_id_in, self.if_id_out);
        binding.mark_in = mark_in.map(whole).or(binding.mark_in);
        binding.mark_out = mark_out.map(whole).or(binding.mark_out);
        binding.if_id_in = if_id_in.or(binding.if_id_in);
        binding.if_id_out = if_id_out.or(binding.if_id_out);
        if self.set_mark_in {
            binding.set_mark_in = binding.mark_in;
        }
        if self.set_mark_out {
            binding.set_mark_out = binding.mark_out;
        }
        binding
    }
}

/// The keys of a child's section that make its [`Binding`].
#[derive(Default)]
pub(crate) struct Bindings {
    binding: Binding,
    unique: UniqueNumbers,
}

impl Bindings {
    /// Reads an entry; false if it is none of these.
    pub fn read(&mut self, reader: &mut Reader<'_>, entry: &Entry) -> bool {
        const BOOLEAN: &str = "yes or no";
        const NAME: &str = "the name of an interface, of at most 15 characters";
        let same = Reader::items(entry) == ["%same"];
        let (binding, unique) = (&mut self.binding, &mut self.unique);
        match entry.name() {
            "mark_in" => match number_of_its_own(reader, entry) {
                Some(asked) => unique.mark_in = asked,
                None => binding.mark_in = mark(reader, entry),
            },
            "mark_out" => match number_of_its_own(reader, entry) {
                Some(asked) => unique.mark_out = asked,
                None => binding.mark_out = mark(reader, entry),
            },
            "if_id_in" => match number_of_its_own(reader, entry) {
                Some(asked) => unique.if_id_in = asked,
                None => binding.if_id_in = interface_id(reader, entry),
            },
            "if_id_out" => match number_of_its_own(reader, entry) {
                Some(asked) => unique.if_id_out = asked,
                None => binding.if_id_out = interface_id(reader, entry),
            },
            "set_mark_in" if same => unique.set_mark_in = true,
            "set_mark_in" => binding.set_mark_in = mark(reader, entry),
            "set_mark_out" if same => unique.set_mark_out = true,
            "set_mark_out" => binding.set_mark_out = mark(reader, entry),
            "mark_in_sa" => binding.mark_in_sa = reader.value(entry, BOOLEAN, boolean).unwrap_or_default(),
            "icmp" => binding.icmp = reader.value(entry, BOOLEAN, boolean).unwrap_or_default(),
            "policies_fwd_out" => binding.forward_out = reader.value(entry, BOOLEAN, boolean).unwrap_or_default(),
            "interface" if Reader::items(entry).is_empty() => {}
            "interface" => binding.interface = reader.value(entry, NAME, InterfaceName::new),
            _ => return false,
        }
        true
    }

    /// What was read. Numbers that each Child SA has for itself are not in the binding yet.
    pub fn finish(self) -> (Binding, UniqueNumbers) {
        let Self { mut binding, unique } = self;
        if unique.set_mark_in {
            binding.set_mark_in = binding.mark_in;
        }
        if unique.set_mark_out {
            binding.set_mark_out = binding.mark_out;
        }
        (binding, unique)
    }
}

/// `%unique` or `%unique-dir`, if it is one; `None` inside if it cannot be.
fn number_of_its_own(reader: &mut Reader<'_>, entry: &Entry) -> Option<Option<OwnNumber>> {
    let items = Reader::items(entry);
    let [text] = items.as_slice() else { return None };
    if !text.starts_with("%unique") {
        return None;
    }
    let unique = OwnNumber::parse(text);
    if unique.is_none() && text.contains('/') {
        let why = "a number for each Child SA needs all bits of the mark: leave out the mask";
        reader.refuse(entry, ErrorKind::Unsupported { why });
    } else if unique.is_none() {
        let expected = "a number, %unique (for each Child SA) or %unique-dir (for each of its directions)";
        reader.refuse(entry, ErrorKind::Value { got: (*text).into(), expected });
    }
    Some(unique)
}

/// `VALUE[/MASK]`; a mask of zero is no mark at all.
fn mark(reader: &mut Reader<'_>, entry: &Entry) -> Option<Mark> {
    const EXPECTED: &str = "a number, or a number and a mask as in 42/0xffffffff, and %same for a mark to set";
    let mark = reader.value(entry, EXPECTED, |text| {
        let (value, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
        let (value, mask): (u32, u32) = (number_any_base(value)?, number_any_base(mask)?);
        // As strongSwan: a bit outside the mask would match nothing.
        Some(Mark { value: value & mask, mask })
    })?;
    Some(mark).filter(|mark| mark.mask != 0)
}

/// The number of an XFRM interface; zero is none.
fn interface_id(reader: &mut Reader<'_>, entry: &Entry) -> Option<u32> {
    const EXPECTED: &str = "a number";
    reader.value(entry, EXPECTED, number_any_base).filter(|id| *id != 0)
}

/// The same for all children of a connection.
pub(crate) fn shared_interface_id(reader: &mut Reader<'_>, entry: &Entry) -> Option<u32> {
    if Reader::items(entry).iter().any(|text| text.starts_with("%unique")) {
        let why = "a number for each IKE SA is not available in this version: write it in the sections of the children, where it is one for each Child SA";
        reader.refuse(entry, ErrorKind::Unsupported { why });
        return None;
    }
    interface_id(reader, entry)
}

/// `tfc_padding`: octets, or `mtu`.
pub(crate) fn padding(reader: &mut Reader<'_>, entry: &Entry) -> Option<TfcPadding> {
    const EXPECTED: &str = "a number of octets, 0 for no padding, or mtu";
    reader.value(entry, EXPECTED, |text| match text.trim() {
        text if text.eq_ignore_ascii_case("mtu") => Some(TfcPadding::Mtu),
        text => match unsigned(text).and_then(|octets| u32::try_from(octets).ok())? {
            0 => Some(TfcPadding::None),
            octets => Some(TfcPadding::To(octets)),
        },
    })
}

/// A decimal number, or one after `0x`.
fn number_any_base(text: &str) -> Option<u32> {
    let text = text.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => u32::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => unsigned(text).and_then(|n| u32::try_from(n).ok()),
    }
}
