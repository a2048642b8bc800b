//! Data attributes: type and value, or type, length and value (RFC 2408 section 3.3, RFC 7296 section 3.3.5).

use crate::error::{Field, ParseError, Reader};

/// The Attribute Format bit: set where the value sits in the length's place.
const FORMAT_BIT: u16 = 0x8000;

/// One data attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataAttribute<'a> {
    /// Attribute type, 15 bits.
    pub kind: u16,
    /// Its value and with it the form on the wire.
    pub value: AttributeValue<'a>,
}

/// A value in one of its two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeValue<'a> {
    /// Type/Value: two octets.
    Short(u16),
    /// Type/Length/Value.
    Long(&'a [u8]),
}

impl AttributeValue<'_> {
    /// The value as a number, for either form of up to eight octets. IKEv1 peers send durations both ways.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Short(value) => Some(u64::from(*value)),
            Self::Long(octets) if octets.is_empty() || octets.len() > 8 => None,
            Self::Long(octets) => Some(octets.iter().fold(0, |number, octet| number << 8 | u64::from(*octet))),
        }
    }
}

impl DataAttribute<'_> {
    /// Appends the attribute. The type's 16th bit is the format's and is not taken from `kind`.
    ///
    /// # Panics
    /// Where a long value exceeds 65,535 octets; no message can hold it.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self.value {
            AttributeValue::Short(value) => {
                out.extend_from_slice(&(self.kind | FORMAT_BIT).to_be_bytes());
                out.extend_from_slice(&value.to_be_bytes());
            }
            AttributeValue::Long(octets) => {
                let length = u16::try_from(octets.len()).expect("an attribute of at most 65,535 octets");
                out.extend_from_slice(&(self.kind & !FORMAT_BIT).to_be_bytes());
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(octets);
            }
        }
    }
}

/// Iterates over attributes one after the other; ends for good after the first error.
#[derive(Clone)]
pub struct Attributes<'a> {
    octets: Reader<'a>,
}

impl<'a> Attributes<'a> {
    /// The attributes that fill `octets`, which stand at octet `base_offset`.
    pub const fn new(octets: &'a [u8], base_offset: usize) -> Self {
        Self { octets: Reader::new(octets, base_offset) }
    }

    /// Octet offset of the next attribute.
    pub const fn offset(&self) -> usize {
        self.octets.at()
    }

    fn step(&mut self) -> Result<DataAttribute<'a>, ParseError> {
        let [a, b, c, d] = self.octets.array(Field::Attribute)?;
        let (kind, word) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let value = if kind & FORMAT_BIT == 0 {
            AttributeValue::Long(self.octets.take(usize::from(word), Field::Attribute)?)
        } else {
            AttributeValue::Short(word)
        };
        Ok(DataAttribute { kind: kind & !FORMAT_BIT, value })
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<DataAttribute<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.octets.is_empty() {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.octets = Reader::new(&[], self.octets.at());
        }
        Some(step)
    }
}

impl std::iter::FusedIterator for Attributes<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Why;

    #[test]
    fn both_forms_are_read_and_written() {
        // Key Length 256, and IKEv1's Life Duration of 28,800 seconds as four octets.
        let octets = [0x80, 14, 1, 0, 0, 12, 0, 4, 0, 0, 0x70, 0x80];
        let all: Vec<_> = Attributes::new(&octets, 0).collect::<Result<_, _>>().unwrap();
        assert_eq!(all[0], DataAttribute { kind: 14, value: AttributeValue::Short(256) });
        assert_eq!((all[1].kind, all[1].value.number()), (12, Some(28800)));
        let mut out = Vec::new();
        all.iter().for_each(|attribute| attribute.write(&mut out));
        assert_eq!(out, octets);
        assert_eq!(AttributeValue::Long(&[1; 9]).number(), None);
        assert_eq!(AttributeValue::Long(&[]).number(), None);
    }

    #[test]
    fn a_short_attribute_is_refused_once() {
        for octets in [&[0x80, 14, 1][..], &[0, 12, 0, 4, 1, 2, 3]] {
            let mut attributes = Attributes::new(octets, 10);
            let error = attributes.next().unwrap().unwrap_err();
            assert!(matches!((error.what, error.why), (Field::Attribute, Why::Truncated { need: 4, have: 3 })));
            assert!(attributes.next().is_none());
        }
    }
}
