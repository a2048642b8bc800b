//! The generic tree: sections, values and where they were written, independent of what they mean.

use crate::ConfigError;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroize;

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file as it was named to the parser; `vici` for what a client sent.
    pub file: Arc<str>,
    /// Line, counted from 1; 0 for what a client sent.
    pub line: u32,
    /// Column in characters, counted from 1; 0 for what a client sent.
    pub column: u32,
}

impl Place {
    /// A place in a file.
    pub fn new(file: &str, line: u32, column: u32) -> Self {
        Self { file: file.into(), line, column }
    }

    /// The place of everything that a client sent over the control protocol.
    pub fn vici() -> Self {
        Self::new("vici", 0, 0)
    }
}

/// `swanctl.conf:12:7`, or the file alone where there are no lines.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line == 0 { Ok(()) } else { write!(f, ":{}:{}", self.line, self.column) }
    }
}

/// A named set of values and further sections. The root has an empty name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Name without its parents'.
    pub name: String,
    /// Values and sections in the order of their first definition; a name occurs at most once among the values and at
    /// most once among the sections.
    pub entries: Vec<Entry>,
    /// Where it was first opened.
    pub at: Place,
    /// Whether another section inherits from it or from something in it (`b : a { }`): it may be only a template.
    pub template: bool,
}

/// What a section contains.
#[derive(Clone, PartialEq, Eq)]
pub enum Entry {
    /// `key = value`.
    Value {
        /// The key.
        key: String,
        /// The value: unquoted, words separated by one space.
        value: String,
        /// Where the key stands.
        at: Place,
    },
    /// Several values; only the control protocol has them. Means the same as one value with commas.
    List {
        /// The key.
        key: String,
        /// The values.
        values: Vec<String>,
        /// Where the key stands.
        at: Place,
    },
    /// `name { ... }`.
    Section(Section),
}

/// Whether a key holds something that must not be shown.
pub(crate) fn is_secret_key(key: &str) -> bool {
    matches!(key.rsplit('.').next(), Some("secret" | "pin" | "data"))
}

/// Hides the values of secrets.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { key, .. } if is_secret_key(key) => write!(f, "{key} = <hidden>"),
            Self::Value { key, value, at } => write!(f, "{key} = {value:?} ({at})"),
            Self::List { key, .. } if is_secret_key(key) => write!(f, "{key} = <hidden>"),
            Self::List { key, values, at } => write!(f, "{key} = {values:?} ({at})"),
            Self::Section(section) => section.fmt(f),
        }
    }
}

impl Entry {
    /// The key, or the section's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Value { key, .. } | Self::List { key, .. } => key,
            Self::Section(section) => &section.name,
        }
    }

    /// Where it stands.
    pub fn at(&self) -> &Place {
        match self {
            Self::Value { at, .. } | Self::List { at, .. } => at,
            Self::Section(section) => &section.at,
        }
    }
}

impl Section {
    /// An empty section.
    pub fn new(name: impl Into<String>, at: Place) -> Self {
        Self { name: name.into(), entries: Vec::new(), at, template: false }
    }

    /// The section of this name directly below.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections().find(|s| s.name == name)
    }

    /// The sections directly below.
    pub fn sections(&self) -> impl Iterator<Item = &Section> {
        self.entries.iter().filter_map(|e| match e {
            Entry::Section(s) => Some(s),
            _ => None,
        })
    }

    /// The single value of this key.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.entries.iter().find_map(|e| match e {
            Entry::Value { key, value, .. } if key == name => Some(value.as_str()),
            _ => None,
        })
    }

    /// The tree in the notation of `swanctl.conf`, with every value quoted. Secrets included: for files, not for people.
    /// A list becomes one value with commas.
    pub fn print(&self) -> String {
        let mut text = String::new();
        self.print_entries(&mut text, 0);
        text
    }

    fn print_entries(&self, text: &mut String, depth: usize) {
        for entry in &self.entries {
            text.extend(std::iter::repeat_n("  ", depth));
            text.push_str(entry.name());
            match entry {
                Entry::Value { value, .. } => print_quoted(text, value),
                Entry::List { values, .. } => print_quoted(text, &values.join(", ")),
                Entry::Section(section) => {
                    text.push_str(" {\n");
                    section.print_entries(text, depth + 1);
                    text.extend(std::iter::repeat_n("  ", depth));
                    text.push_str("}\n");
                }
            }
        }
    }

    /// Overwrites the values of all secrets below, once the typed values are made.
    pub fn forget_secrets(&mut self) {
        for entry in &mut self.entries {
            match entry {
                Entry::Value { key, value, .. } if is_secret_key(key) => value.zeroize(),
                Entry::List { key, values, .. } if is_secret_key(key) => values.zeroize(),
                Entry::Section(section) => section.forget_secrets(),
                _ => {}
            }
        }
    }
}

fn print_quoted(text: &mut String, value: &str) {
    text.push_str(" = \"");
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c => text.push(c),
        }
    }
    text.push_str("\"\n");
}

/// Whether a text can name a section or a key: printable, without blanks and without `{ } : , = " #`.
pub fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(crate::lexer::is_name_character)
}

/// Why a file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileError {
    /// There is no such file.
    NotFound,
    /// It may not be read by this process.
    PermissionDenied,
    /// It is not UTF-8 text.
    NotText,
    /// Any other reason of the operating system.
    Unreadable(std::io::ErrorKind),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such file"),
            Self::PermissionDenied => f.write_str("permission denied"),
            Self::NotText => f.write_str("it is not UTF-8 text"),
            Self::Unreadable(kind) => write!(f, "{kind}"),
        }
    }
}

impl std::error::Error for FileError {}

impl From<std::io::ErrorKind> for FileError {
    fn from(kind: std::io::ErrorKind) -> Self {
        match kind {
            std::io::ErrorKind::NotFound => Self::NotFound,
            std::io::ErrorKind::PermissionDenied => Self::PermissionDenied,
            std::io::ErrorKind::InvalidData => Self::NotText,
            kind => Self::Unreadable(kind),
        }
    }
}

/// The file system as the parser sees it; implemented by the program.
pub trait Files {
    /// The whole text of a file.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn read(&self, path: &str) -> Result<String, FileError>;

    /// The existing files that match a pattern with `*`, `?` or `[...]`, sorted; empty if none does.
    fn glob(&self, pattern: &str) -> Vec<String>;
}

/// Files in memory. Patterns know only `*` and `?`, neither of which stands for `/`.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles(pub BTreeMap<String, String>);

impl MemoryFiles {
    /// One file.
    pub fn one(path: &str, text: &str) -> Self {
        Self::default().with(path, text)
    }

    /// One more file.
    #[must_use]
    pub fn with(mut self, path: &str, text: &str) -> Self {
        self.0.insert(path.into(), text.into());
        self
    }
}

impl Files for MemoryFiles {
    fn read(&self, path: &str) -> Result<String, FileError> {
        self.0.get(path).cloned().ok_or(FileError::NotFound)
    }

    fn glob(&self, pattern: &str) -> Vec<String> {
        self.0.keys().filter(|path| glob_matches(pattern.as_bytes(), path.as_bytes())).cloned().collect()
    }
}

/// Backtracks only to the last asterisk: at most quadratic, never exponential.
fn glob_matches(pattern: &[u8], path: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(&c) = path.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'?') if c != b'/' => {
                p += 1;
                t += 1;
                continue;
            }
            Some(&x) if x == c => {
                p += 1;
                t += 1;
                continue;
            }
            _ => {}
        }
        match retry {
            Some((star, from)) if path.get(from) != Some(&b'/') => {
                retry = Some((star, from + 1));
                p = star + 1;
                t = from + 1;
            }
            _ => return false,
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|c| *c == b'*'))
}

/// Reads a file in the grammar of `strongswan.conf(5)`, with what it includes and with inherited sections filled in.
///
/// `path` is what appears in reports; `include` patterns are relative to the directory of the file they stand in.
///
/// # Errors
/// The first error of syntax, or a file that cannot be read.
pub fn parse(path: &str, files: &dyn Files) -> Result<Section, ConfigError> {
    crate::build::parse(path, files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, path, expected) in [
            ("conf.d/*.conf", "conf.d/a.conf", true),
            ("conf.d/*.conf", "conf.d/sub/a.conf", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("*a*b", "xaxxab", true),
            ("*", "", true),
            ("a", "ab", false),
            ("ab", "a", false),
        ] {
            assert_eq!(glob_matches(pattern.as_bytes(), path.as_bytes()), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn secrets_are_hidden_and_forgotten() {
        let mut root = parse("f", &MemoryFiles::one("f", "secrets { ike { id = a\n secret = hunter2\n } }")).unwrap();
        assert!(!format!("{root:?}").contains("hunter2"));
        assert!(root.print().contains("hunter2"));
        root.forget_secrets();
        assert!(!root.print().contains("hunter2"));
    }
}
