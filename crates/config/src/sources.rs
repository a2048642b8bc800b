//! Where what is configured was written: for explanations that name the line.

use crate::Place;
use model::ConfigRef;
use std::collections::BTreeMap;

/// Where the keys of a connection or child were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    path: String,
    at: Place,
    /// Key as asked for, to key as written and its place: `remote.id` may have been written in `remote-1`.
    keys: BTreeMap<String, (String, Place)>,
}

impl Sources {
    pub(crate) fn new(path: String, at: Place) -> Self {
        Self { path, at, keys: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, prefix: &str, written: &str, places: BTreeMap<String, Place>) {
        for (key, at) in places {
            self.keys.insert(format!("{prefix}{key}"), (format!("{written}{key}"), at));
        }
    }

    /// The place of a key such as `proposals`, `remote.id` or `local_ts`, with its full path. A key that was not written
    /// has the place of its section.
    pub fn get(&self, key: &str) -> ConfigRef {
        let (key, at) = self.keys.get(key).map_or((key, &self.at), |(written, at)| (written.as_str(), at));
        ConfigRef { file: at.file.to_string(), line: at.line, key: format!("{}.{key}", self.path) }
    }

    /// The place of a key with its column, for a mark under it; that of the section where it was not written.
    pub fn place(&self, key: &str) -> &Place {
        self.keys.get(key).map_or(&self.at, |(_, at)| at)
    }

    /// The place of the section itself.
    pub fn section(&self) -> ConfigRef {
        ConfigRef { file: self.at.file.to_string(), line: self.at.line, key: self.path.clone() }
    }

    /// Whether a key was written, and not left to its default.
    pub fn is_set(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }
}
