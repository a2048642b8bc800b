//! What the data plane does to packets: marks, numbers of XFRM interfaces, padding.

use crate::reader::Reader;
use crate::values::unsigned;
use crate::{Entry, ErrorKind};
use model::dataplane::{Mark, TfcPadding};

/// `VALUE[/MASK]`; a mask of zero is no mark at all.
pub(crate) fn mark(reader: &mut Reader<'_>, entry: &Entry) -> Option<Option<Mark>> {
    const EXPECTED: &str = "a number, or a number and a mask as in 42/0xffffffff, and %same for a mark to set";
    if refuses_unique(reader, entry) {
        return None;
    }
    let mark = reader.value(entry, EXPECTED, |text| {
        let (value, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
        Some(Mark { value: number_any_base(value)?, mask: number_any_base(mask)? })
    })?;
    Some(Some(mark).filter(|mark| mark.mask != 0))
}

/// A number for each Child SA is more than there is.
fn refuses_unique(reader: &mut Reader<'_>, entry: &Entry) -> bool {
    let unique = Reader::items(entry).iter().any(|text| text.starts_with("%unique"));
    if unique {
        let why = "a number of its own for each Child SA is not available in this version: write numbers";
        reader.refuse(entry, ErrorKind::Unsupported { why });
    }
    unique
}

/// The number of an XFRM interface; zero is none.
pub(crate) fn interface_id(reader: &mut Reader<'_>, entry: &Entry) -> Option<Option<u32>> {
    const EXPECTED: &str = "a number";
    if refuses_unique(reader, entry) {
        return None;
    }
    Some(Some(reader.value(entry, EXPECTED, number_any_base)?).filter(|id| *id != 0))
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
