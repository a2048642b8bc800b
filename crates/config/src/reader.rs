//! What the readers of all sections share: values of one entry, and errors with their place.

use crate::names::{self, Scope, Support};
use crate::{ConfigError, Entry, ErrorKind, Place, Section};
use std::collections::BTreeMap;

/// Reads one section: collects errors and remembers where each key stood.
pub(crate) struct Reader<'a> {
    scope: Scope,
    /// Dotted path of the section.
    pub path: String,
    pub errors: &'a mut Vec<ConfigError>,
    pub places: BTreeMap<String, Place>,
}

impl<'a> Reader<'a> {
    pub fn new(scope: Scope, path: String, errors: &'a mut Vec<ConfigError>) -> Self {
        Self { scope, path, errors, places: BTreeMap::new() }
    }

    /// Records an error at an entry.
    pub fn refuse(&mut self, entry: &Entry, kind: ErrorKind) {
        self.refuse_at(entry.at(), entry.name(), kind);
    }

    pub fn refuse_at(&mut self, at: &Place, key: &str, kind: ErrorKind) {
        let key = if key.is_empty() { self.path.clone() } else { format!("{}.{key}", self.path) };
        self.errors.push(ConfigError::new(at.clone(), key, kind));
    }

    /// Remembers the place of an entry; false, with an error, if its name came before. A file cannot contain a key twice
    /// by now, a client's message can.
    pub fn enter(&mut self, entry: &Entry) -> bool {
        match self.places.get(entry.name()) {
            Some(first) => {
                let first = first.clone();
                self.refuse(entry, ErrorKind::Duplicate { first });
                false
            }
            None => {
                self.places.insert(entry.name().into(), entry.at().clone());
                true
            }
        }
    }

    /// The single value of an entry.
    pub fn text<'e>(&mut self, entry: &'e Entry) -> Option<&'e str> {
        match entry {
            Entry::Value { value, .. } => Some(value),
            Entry::List { values, .. } => match values.as_slice() {
                [one] => Some(one),
                several => {
                    let got =
                        if crate::syntax::is_secret_key(entry.name()) { "<hidden>".into() } else { several.join(", ") };
                    self.refuse(entry, ErrorKind::Value { got, expected: "a single value" });
                    None
                }
            },
            Entry::Section(_) => {
                self.refuse(entry, ErrorKind::Value { got: "{ }".into(), expected: "'=' and a value, not a section" });
                None
            }
        }
    }

    /// The single value, read by `read`, which accepts what `expected` says.
    pub fn value<T>(&mut self, entry: &Entry, expected: &'static str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text(entry)?;
        let value = read(text.trim());
        if value.is_none() {
            self.refuse(entry, ErrorKind::Value { got: text.into(), expected });
        }
        value
    }

    /// One of several words.
    pub fn word<T: Copy>(&mut self, entry: &Entry, expected: &'static str, words: &[(&str, T)]) -> Option<T> {
        self.value(entry, expected, |text| words.iter().find(|(w, _)| text.eq_ignore_ascii_case(w)).map(|(_, t)| *t))
    }

    /// The parts of a list: values, each of which may contain further ones after commas.
    pub fn items(entry: &Entry) -> Vec<&str> {
        let split = |text| str::split(text, ',').map(str::trim).filter(|t| !t.is_empty());
        match entry {
            Entry::Value { value, .. } => split(value).collect(),
            Entry::List { values, .. } => values.iter().flat_map(|v| split(v)).collect(),
            Entry::Section(_) => Vec::new(),
        }
    }

    /// Each part of a list, read by `read`; `None` if one was wrong or there was none.
    pub fn list<T>(&mut self, entry: &Entry, read: impl Fn(&str) -> Result<T, ErrorKind>) -> Option<Vec<T>> {
        if let Entry::Section(_) = entry {
            self.text(entry);
            return None;
        }
        let mut all = Vec::new();
        let mut right = true;
        for item in Self::items(entry) {
            match read(item) {
                Ok(value) => all.push(value),
                Err(kind) => {
                    self.refuse(entry, kind);
                    right = false;
                }
            }
        }
        (right && !all.is_empty()).then_some(all)
    }

    /// An entry that the reader itself does not know: allowed by the table, or refused with the table's reason.
    pub fn other(&mut self, entry: &Entry) {
        let is_section = matches!(entry, Entry::Section(_));
        let name = entry.name();
        match names::find(self.scope, name, is_section).map(|d| d.support) {
            Some(Support::Accepted(_)) => {}
            Some(Support::Only(values, why)) => {
                if let Some(text) = self.text(entry)
                    && !values.iter().any(|v| v.eq_ignore_ascii_case(text.trim()))
                {
                    self.refuse(entry, ErrorKind::Unsupported { why });
                }
            }
            Some(Support::No(why)) => self.refuse(entry, ErrorKind::Unsupported { why }),
            Some(Support::Yes) | None => {
                // `remote_adrs = ...` is a misspelt key, not a section of the kind `remote*`.
                let other = names::find(self.scope, name, !is_section).filter(|d| !d.key.contains('*') || is_section);
                let kind = match (other, is_section) {
                    (Some(_), true) => {
                        ErrorKind::Value { got: "{ }".into(), expected: "'=' and a value, not a section" }
                    }
                    (Some(_), false) => {
                        let got = Self::items(entry).join(", ");
                        ErrorKind::Value { got, expected: "a section: a name and '{', not '='" }
                    }
                    (None, _) => ErrorKind::UnknownKey { suggestion: names::suggestion(self.scope, name) },
                };
                self.refuse(entry, kind);
            }
        }
    }
}

/// The sections below one that may contain nothing else, such as `connections` and `children`.
pub(crate) fn only_sections<'s>(section: &'s Section, path: &str, errors: &mut Vec<ConfigError>) -> Vec<&'s Section> {
    let mut sections: Vec<&Section> = Vec::new();
    let mut places: BTreeMap<&str, &Place> = BTreeMap::new();
    for entry in &section.entries {
        let kind = match entry {
            Entry::Section(s) => match places.insert(&s.name, &s.at) {
                None => {
                    sections.push(s);
                    continue;
                }
                Some(first) => ErrorKind::Duplicate { first: first.clone() },
            },
            _ => ErrorKind::Value {
                got: if crate::syntax::is_secret_key(entry.name()) {
                    "<hidden>".into()
                } else {
                    Reader::items(entry).join(", ")
                },
                expected: "a section: a name and '{', not '='",
            },
        };
        errors.push(ConfigError::new(entry.at().clone(), format!("{path}.{}", entry.name()), kind));
    }
    sections
}
