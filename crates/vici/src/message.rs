//! Messages: ordered trees of sections, lists and values, and their encoding.

use std::fmt;

const SECTION_START: u8 = 1;
const SECTION_END: u8 = 2;
const KEY_VALUE: u8 = 3;
const LIST_START: u8 = 4;
const LIST_ITEM: u8 = 5;
const LIST_END: u8 = 6;

/// Sections inside sections that [`Message::decode`] accepts. The schema needs five.
pub const MAX_DEPTH: usize = 32;
/// Octets of a key: its length is one octet.
pub const MAX_KEY: usize = 255;
/// Octets of a value: its length is two octets.
pub const MAX_VALUE: usize = 65_535;

/// One element of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// A key with a value.
    Value {
        /// Name.
        key: String,
        /// Any octets, by convention text.
        value: Vec<u8>,
    },
    /// A key with a list of values.
    List {
        /// Name.
        key: String,
        /// The values.
        items: Vec<Vec<u8>>,
    },
    /// A named message inside the message.
    Section {
        /// Name.
        key: String,
        /// What is inside.
        message: Message,
    },
}

impl Element {
    /// The name.
    pub fn key(&self) -> &str {
        match self {
            Self::Value { key, .. } | Self::List { key, .. } | Self::Section { key, .. } => key,
        }
    }
}

/// An ordered tree of named values.
///
/// The builders cut keys at [`MAX_KEY`] and values at [`MAX_VALUE`] octets, so that every message can be encoded.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message {
    elements: Vec<Element>,
}

/// Why octets are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The message ends inside an element.
    Truncated {
        /// Where the element starts, in octets.
        offset: usize,
    },
    /// An element type that does not exist, or one that does not belong there.
    UnexpectedElement {
        /// Where, in octets.
        offset: usize,
        /// Its type.
        element: u8,
    },
    /// A key that is no UTF-8.
    Key {
        /// Where the element starts, in octets.
        offset: usize,
    },
    /// More than [`MAX_DEPTH`] sections inside each other.
    TooDeep {
        /// Where, in octets.
        offset: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { offset } => write!(f, "vici message ends inside the element at octet {offset}"),
            Self::UnexpectedElement { offset, element } => {
                write!(f, "vici message has an element of type {element} at octet {offset}, where none may be")
            }
            Self::Key { offset } => write!(f, "vici message has a key that is no text at octet {offset}"),
            Self::TooDeep { offset } => {
                write!(f, "vici message nests more than {MAX_DEPTH} sections at octet {offset}")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or_default()
}

impl Message {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key with a value.
    pub fn set(&mut self, key: impl AsRef<str>, value: impl AsRef<str>) -> &mut Self {
        let value = cut(value.as_ref(), MAX_VALUE).as_bytes().to_vec();
        self.elements.push(Element::Value { key: cut(key.as_ref(), MAX_KEY).to_string(), value });
        self
    }

    /// Adds a value that need not be text; what is too long is cut off.
    pub fn octets(&mut self, key: impl AsRef<str>, value: &[u8]) -> &mut Self {
        self.elements.push(Element::Value {
            key: key.as_ref().to_string(),
            value: value.iter().take(MAX_VALUE).copied().collect(),
        });
        self
    }

    /// Adds a key with a number, in decimal.
    pub fn number(&mut self, key: impl AsRef<str>, value: impl Into<u64>) -> &mut Self {
        self.set(key, value.into().to_string())
    }

    /// Adds a key with the value `yes` if `value`, and nothing otherwise: strongSwan leaves a false flag out.
    pub fn flag(&mut self, key: impl AsRef<str>, value: bool) -> &mut Self {
        if value { self.set(key, "yes") } else { self }
    }

    /// Adds a key with the value, if there is one.
    pub fn maybe(&mut self, key: impl AsRef<str>, value: Option<impl fmt::Display>) -> &mut Self {
        match value {
            Some(value) => self.set(key, value.to_string()),
            None => self,
        }
    }

    /// Adds a list.
    pub fn list<T: AsRef<str>>(&mut self, key: impl AsRef<str>, items: impl IntoIterator<Item = T>) -> &mut Self {
        let items = items.into_iter().map(|item| cut(item.as_ref(), MAX_VALUE).as_bytes().to_vec()).collect();
        self.elements.push(Element::List { key: cut(key.as_ref(), MAX_KEY).to_string(), items });
        self
    }

    /// Adds a list of what prints, unless it is empty.
    pub fn list_if_any<T: fmt::Display>(&mut self, key: impl AsRef<str>, items: &[T]) -> &mut Self {
        if items.is_empty() { self } else { self.list(key, items.iter().map(ToString::to_string)) }
    }

    /// Adds a section, filled by `fill`.
    pub fn section(&mut self, key: impl AsRef<str>, fill: impl FnOnce(&mut Message)) -> &mut Self {
        let mut message = Message::new();
        fill(&mut message);
        self.insert(key, message)
    }

    /// Adds a section that exists already.
    pub fn insert(&mut self, key: impl AsRef<str>, message: Message) -> &mut Self {
        self.elements.push(Element::Section { key: cut(key.as_ref(), MAX_KEY).to_string(), message });
        self
    }

    /// The elements in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Element> {
        self.elements.iter()
    }

    /// Whether there is nothing inside.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// The octets of the first value with this key.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.elements.iter().find_map(|e| match e {
            Element::Value { key: k, value } if k == key => Some(value.as_slice()),
            _ => None,
        })
    }

    /// The text of the first value with this key, if it is UTF-8.
    pub fn get_str(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(self.get(key)?).ok()
    }

    /// The first section with this key.
    pub fn get_section(&self, key: &str) -> Option<&Message> {
        self.sections().find_map(|(k, message)| (k == key).then_some(message))
    }

    /// The first list with this key.
    pub fn get_list(&self, key: &str) -> Option<&[Vec<u8>]> {
        self.elements.iter().find_map(|e| match e {
            Element::List { key: k, items } if k == key => Some(items.as_slice()),
            _ => None,
        })
    }

    /// The text items of the first list with this key; none if there is no such list. Items that are no UTF-8 are left
    /// out.
    pub fn texts<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.get_list(key).unwrap_or_default().iter().filter_map(|item| std::str::from_utf8(item).ok())
    }

    /// All sections with their names.
    pub fn sections(&self) -> impl Iterator<Item = (&str, &Message)> {
        self.elements.iter().filter_map(|e| match e {
            Element::Section { key, message } => Some((key.as_str(), message)),
            _ => None,
        })
    }

    /// The octets of the message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    /// Appends the octets of the message.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        for element in &self.elements {
            match element {
                Element::Value { key, value } => {
                    push_key(out, KEY_VALUE, key);
                    push_value(out, value);
                }
                Element::List { key, items } => {
                    push_key(out, LIST_START, key);
                    for item in items {
                        out.push(LIST_ITEM);
                        push_value(out, item);
                    }
                    out.push(LIST_END);
                }
                Element::Section { key, message } => {
                    push_key(out, SECTION_START, key);
                    message.encode_into(out);
                    out.push(SECTION_END);
                }
            }
        }
    }

    /// Reads a message that fills `octets`.
    ///
    /// # Errors
    /// Where and why the octets are no message.
    pub fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader { all: octets, rest: octets };
        reader.message(0)
    }
}

fn push_key(out: &mut Vec<u8>, element: u8, key: &str) {
    let octets = key.as_bytes();
    // Both constructors keep to MAX_KEY.
    out.extend([element, u8::try_from(octets.len()).unwrap_or(u8::MAX)]);
    out.extend(octets.iter().take(MAX_KEY));
}

fn push_value(out: &mut Vec<u8>, value: &[u8]) {
    out.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(value.iter().take(MAX_VALUE));
}

struct Reader<'a> {
    all: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn offset(&self) -> usize {
        self.all.len() - self.rest.len()
    }

    fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn key(&mut self, offset: usize) -> Result<String, DecodeError> {
        let octets =
            self.octet().and_then(|length| self.take(length.into())).ok_or(DecodeError::Truncated { offset })?;
        // Keys may be empty: the daemon-wide section of `get-counters` is.
        std::str::from_utf8(octets).map(String::from).map_err(|_| DecodeError::Key { offset })
    }

    fn value(&mut self, offset: usize) -> Result<Vec<u8>, DecodeError> {
        let truncated = DecodeError::Truncated { offset };
        let (length, rest) = self.rest.split_first_chunk::<2>().ok_or(truncated)?;
        self.rest = rest;
        Ok(self.take(u16::from_be_bytes(*length).into()).ok_or(truncated)?.to_vec())
    }

    fn message(&mut self, depth: usize) -> Result<Message, DecodeError> {
        let mut elements = Vec::new();
        loop {
            let offset = self.offset();
            let Some(element) = self.octet() else {
                return if depth == 0 { Ok(Message { elements }) } else { Err(DecodeError::Truncated { offset }) };
            };
            match element {
                KEY_VALUE => {
                    let key = self.key(offset)?;
                    elements.push(Element::Value { key, value: self.value(offset)? });
                }
                LIST_START => {
                    let key = self.key(offset)?;
                    elements.push(Element::List { key, items: self.items()? });
                }
                SECTION_START if depth >= MAX_DEPTH => return Err(DecodeError::TooDeep { offset }),
                SECTION_START => {
                    let key = self.key(offset)?;
                    elements.push(Element::Section { key, message: self.message(depth + 1)? });
                }
                SECTION_END if depth > 0 => return Ok(Message { elements }),
                _ => return Err(DecodeError::UnexpectedElement { offset, element }),
            }
        }
    }

    fn items(&mut self) -> Result<Vec<Vec<u8>>, DecodeError> {
        let mut items = Vec::new();
        loop {
            let offset = self.offset();
            match self.octet() {
                Some(LIST_ITEM) => items.push(self.value(offset)?),
                Some(LIST_END) => return Ok(items),
                Some(element) => return Err(DecodeError::UnexpectedElement { offset, element }),
                None => return Err(DecodeError::Truncated { offset }),
            }
        }
    }
}

impl<'a> IntoIterator for &'a Message {
    type Item = &'a Element;
    type IntoIter = std::slice::Iter<'a, Element>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// `{name {key=value list=[a b]}}`, as `swanctl --raw` prints messages.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (n, element) in self.elements.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { " " })?;
            match element {
                Element::Value { key, value } => write!(f, "{key}={}", String::from_utf8_lossy(value))?,
                Element::List { key, items } => {
                    let items: Vec<_> = items.iter().map(|i| String::from_utf8_lossy(i)).collect();
                    write!(f, "{key}=[{}]", items.join(" "))?;
                }
                Element::Section { key, message } => write!(f, "{key} {message}")?,
            }
        }
        f.write_str("}")
    }
}

/// Names only: `load-shared` carries secrets, and a `Debug` ends in logs.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.elements.iter().map(Element::key)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Written out by hand: a value, a section, a list and a section inside a section.
    #[test]
    fn encodes_element_by_element() {
        let mut m = Message::new();
        m.set("key1", "value1").section("section1", |s| {
            s.section("sub-section", |t| {
                t.set("key2", "value2");
            })
            .list("list1", ["item1", "item2"]);
        });
        let mut expected = Vec::new();
        expected.extend(b"\x03\x04key1\x00\x06value1");
        expected.extend(b"\x01\x08section1");
        expected.extend(b"\x01\x0bsub-section");
        expected.extend(b"\x03\x04key2\x00\x06value2");
        expected.extend(b"\x02");
        expected.extend(b"\x04\x05list1\x05\x00\x05item1\x05\x00\x05item2\x06");
        expected.extend(b"\x02");
        assert_eq!(m.encode(), expected);
        let decoded = Message::decode(&expected).unwrap();
        assert_eq!(decoded, m);
        assert_eq!(decoded.get_str("key1"), Some("value1"));
        let section = decoded.get_section("section1").unwrap();
        assert_eq!(section.texts("list1").collect::<Vec<_>>(), ["item1", "item2"]);
        assert_eq!(section.get_section("sub-section").unwrap().get_str("key2"), Some("value2"));
        assert_eq!(m.to_string(), "{key1=value1 section1 {sub-section {key2=value2} list1=[item1 item2]}}");
    }

    #[test]
    fn refuses_with_place_and_reason() {
        for (octets, error) in [
            (&b"\x02"[..], DecodeError::UnexpectedElement { offset: 0, element: 2 }),
            (b"\x05\x00\x01a", DecodeError::UnexpectedElement { offset: 0, element: 5 }),
            (b"\x06", DecodeError::UnexpectedElement { offset: 0, element: 6 }),
            (b"\x00", DecodeError::UnexpectedElement { offset: 0, element: 0 }),
            (b"\x01\x01a", DecodeError::Truncated { offset: 3 }),
            (b"\x03\x01a\x00\x02b", DecodeError::Truncated { offset: 0 }),
            (b"\x03\x05a", DecodeError::Truncated { offset: 0 }),
            (b"\x04\x01a\x05\x00\x01b", DecodeError::Truncated { offset: 7 }),
            (b"\x04\x01a\x03\x01b\x00\x00\x06", DecodeError::UnexpectedElement { offset: 3, element: 3 }),
            (b"\x03\x01\xff\x00\x00", DecodeError::Key { offset: 0 }),
        ] {
            assert_eq!(Message::decode(octets), Err(error), "{octets:02x?}");
        }
        let deep = b"\x01\x01a".repeat(MAX_DEPTH + 1);
        assert_eq!(Message::decode(&deep), Err(DecodeError::TooDeep { offset: 3 * MAX_DEPTH }));
    }

    #[test]
    fn oversized_names_and_values_are_cut_at_characters() {
        let mut m = Message::new();
        m.set("k".repeat(300), "\u{e4}".repeat(40_000));
        let back = Message::decode(&m.encode()).unwrap();
        assert_eq!(back, m);
        assert_eq!(back.get_str(&"k".repeat(255)).map(str::len), Some(65_534));
    }

    #[test]
    fn debug_shows_no_values() {
        let mut m = Message::new();
        m.set("data", "secret");
        assert_eq!(format!("{m:?}"), r#"["data"]"#);
    }

    fn message() -> impl Strategy<Value = Message> {
        let key = || "[a-z0-9-]{0,12}";
        let octets = || proptest::collection::vec(any::<u8>(), 0..20);
        let leaf = prop_oneof![
            (key(), octets()).prop_map(|(key, value)| Element::Value { key, value }),
            (key(), proptest::collection::vec(octets(), 0..4)).prop_map(|(key, items)| Element::List { key, items }),
        ];
        let element = leaf.prop_recursive(4, 40, 6, move |inner| {
            (key(), proptest::collection::vec(inner, 0..6))
                .prop_map(|(key, elements)| Element::Section { key, message: Message { elements } })
        });
        proptest::collection::vec(element, 0..6).prop_map(|elements| Message { elements })
    }

    proptest! {
        #[test]
        fn decode_is_the_inverse_of_encode(m in message()) {
            prop_assert_eq!(Message::decode(&m.encode()), Ok(m));
        }

        #[test]
        fn any_octets_decode_or_fail(octets in proptest::collection::vec(0u8..8, 0..200)) {
            if let Ok(m) = Message::decode(&octets) {
                prop_assert_eq!(m.encode(), octets, "the encoding is canonical");
            }
        }

        #[test]
        fn every_cut_is_noticed(m in message(), cut in 0usize..100) {
            let octets = m.encode();
            if let Ok(part) = Message::decode(&octets[..cut.min(octets.len())]) {
                prop_assert!(m.elements.starts_with(&part.elements));
            }
        }
    }
}
