//! From text to tree: repeated sections merge, later values replace earlier ones, inherited ones are filled in.

use crate::lexer::{Lexer, Unexpected};
use crate::{ConfigError, Entry, ErrorKind, FileError, Files, Place, Section};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use zeroize::Zeroizing;

/// How deep sections, and how deep included files, may nest.
const MAX_DEPTH: usize = 32;
const MAX_INCLUDES: usize = 10;
/// Together, over all included files.
const MAX_OCTETS: usize = 64 << 20;
const MAX_FILES: usize = 20_000;
/// What references may add: without a bound a short file could ask for an endless tree.
const MAX_INHERITED: usize = 1_000_000;

/// A section under construction. Nodes refer to each other by number.
struct Node {
    name: String,
    at: Place,
    slots: Vec<Slot>,
    values: HashMap<String, usize>,
    sections: HashMap<String, usize>,
    references: Vec<(String, Place)>,
    template: bool,
}

enum Slot {
    /// `None` unsets what would be inherited.
    Value(String, Option<String>, Place),
    Section(usize),
}

/// An entry of a merged section: sections are merged in turn, by name.
enum Merged {
    Value(Entry),
    Section(String),
}

struct Builder<'a> {
    files: &'a dyn Files,
    nodes: Vec<Node>,
    octets: usize,
    opened: usize,
    inherited: usize,
}

pub(crate) fn parse(path: &str, files: &dyn Files) -> Result<Section, ConfigError> {
    let file: Arc<str> = path.into();
    let at = Place { file: file.clone(), line: 1, column: 1 };
    let mut builder = Builder { files, nodes: Vec::new(), octets: 0, opened: 0, inherited: 0 };
    let root = builder.node(String::new(), at.clone());
    builder.file(&file, root, 0, 0, &at)?;
    let references = builder.resolve_references()?;
    builder.expand(&[root], &references, 0)
}

impl Builder<'_> {
    fn node(&mut self, name: String, at: Place) -> usize {
        self.nodes.push(Node {
            name,
            at,
            slots: Vec::new(),
            values: HashMap::new(),
            sections: HashMap::new(),
            references: Vec::new(),
            template: false,
        });
        self.nodes.len() - 1
    }

    fn file(
        &mut self,
        file: &Arc<str>,
        into: usize,
        depth: usize,
        includes: usize,
        from: &Place,
    ) -> Result<(), ConfigError> {
        // The file itself, or one that a line includes.
        let key = if includes == 0 { "" } else { "include" };
        let refuse = |kind| Err(ConfigError::new(from.clone(), key, kind));
        let text = match self.files.read(file) {
            Ok(text) => Zeroizing::new(text),
            Err(error) => return refuse(ErrorKind::File { path: file.to_string(), error }),
        };
        self.octets = self.octets.saturating_add(text.len());
        self.opened += 1;
        if self.octets > MAX_OCTETS || self.opened > MAX_FILES {
            return refuse(ErrorKind::TooLarge { limit: "64 MiB in 20000 files" });
        }
        let mut lexer = Lexer::new(&text);
        self.statements(&mut lexer, file, into, depth, includes, None)
    }

    /// Statements up to the end of the file, or to the brace that closes `opened`.
    fn statements(
        &mut self,
        lexer: &mut Lexer<'_>,
        file: &Arc<str>,
        into: usize,
        depth: usize,
        includes: usize,
        opened: Option<&Place>,
    ) -> Result<(), ConfigError> {
        loop {
            lexer.skip_space();
            let (line, column) = lexer.position();
            let at = Place { file: file.clone(), line, column };
            let syntax = |e: Unexpected| syntax_error(file, e);
            match lexer.peek() {
                None => {
                    return match opened {
                        None => Ok(()),
                        Some(opened) => Err(ConfigError::new(
                            opened.clone(),
                            &self.nodes[into].name,
                            ErrorKind::Syntax { expected: "a closing '}' for the section that begins here" },
                        )),
                    };
                }
                Some('}') => {
                    lexer.next();
                    return match opened {
                        Some(_) => Ok(()),
                        None => Err(ConfigError::new(
                            at,
                            "",
                            ErrorKind::Syntax { expected: "a section or key; this '}' closes no section" },
                        )),
                    };
                }
                Some(_) => {}
            }
            let name = lexer.name();
            if name.is_empty() {
                return lexer.unexpected("the name of a section or key").map_err(syntax);
            }
            let blank = lexer.peek().is_some_and(|c| c == ' ' || c == '\t');
            lexer.skip_blanks();
            if name == "include" && blank && !matches!(lexer.peek(), Some('=' | '{' | ':' | '\n') | None) {
                let pattern = lexer.pattern().map_err(syntax)?;
                self.include(&pattern, file, into, depth, includes, &at)?;
                continue;
            }
            if lexer.peek() == Some('=') {
                lexer.next();
                let value = lexer.value().map_err(syntax)?;
                self.set(into, name, value, at);
                continue;
            }
            let references = self.references(lexer, file)?;
            lexer.skip_space();
            if lexer.peek() != Some('{') {
                let expected = "'=' and a value, or '{' and a section's contents";
                return lexer.unexpected(expected).map_err(|e| ConfigError { key: name, ..syntax_error(file, e) });
            }
            lexer.next();
            if depth >= MAX_DEPTH {
                return Err(ConfigError::new(
                    at,
                    name,
                    ErrorKind::TooLarge { limit: "32 sections inside one another" },
                ));
            }
            let section = self.open(into, name, &at);
            self.nodes[section].references.extend(references);
            self.statements(lexer, file, section, depth + 1, includes, Some(&at))?;
        }
    }

    /// `: ref1, ref2` before the brace.
    fn references(&mut self, lexer: &mut Lexer<'_>, file: &Arc<str>) -> Result<Vec<(String, Place)>, ConfigError> {
        let mut references = Vec::new();
        if lexer.peek() != Some(':') {
            return Ok(references);
        }
        loop {
            lexer.next();
            lexer.skip_space();
            let (line, column) = lexer.position();
            let name = lexer.name();
            if name.is_empty() {
                return lexer
                    .unexpected("the dotted path of a section to inherit from")
                    .map_err(|e| syntax_error(file, e));
            }
            references.push((name, Place { file: file.clone(), line, column }));
            lexer.skip_space();
            if lexer.peek() != Some(',') {
                return Ok(references);
            }
        }
    }

    fn include(
        &mut self,
        pattern: &str,
        file: &Arc<str>,
        into: usize,
        depth: usize,
        includes: usize,
        at: &Place,
    ) -> Result<(), ConfigError> {
        if includes >= MAX_INCLUDES {
            let limit = "10 files that include one another";
            return Err(ConfigError::new(at.clone(), "include", ErrorKind::TooLarge { limit }));
        }
        let path = match file.rsplit_once('/') {
            Some((directory, _)) if !pattern.starts_with('/') => format!("{directory}/{pattern}"),
            _ => pattern.to_string(),
        };
        // A pattern may match nothing; a file that is named must exist.
        let paths = if pattern.contains(['*', '?', '[']) { self.files.glob(&path) } else { vec![path] };
        for path in paths {
            self.file(&path.into(), into, depth, includes + 1, at)?;
        }
        Ok(())
    }

    fn set(&mut self, into: usize, key: String, value: Option<String>, at: Place) {
        let node = &mut self.nodes[into];
        match node.values.get(&key) {
            Some(&slot) => node.slots[slot] = Slot::Value(key, value, at),
            None => {
                node.values.insert(key.clone(), node.slots.len());
                node.slots.push(Slot::Value(key, value, at));
            }
        }
    }

    fn open(&mut self, parent: usize, name: String, at: &Place) -> usize {
        if let Some(&section) = self.nodes[parent].sections.get(&name) {
            return section;
        }
        let section = self.node(name.clone(), at.clone());
        let parent = &mut self.nodes[parent];
        parent.sections.insert(name, section);
        parent.slots.push(Slot::Section(section));
        section
    }

    /// The nodes each node inherits from. Marks everything on the way to them as template.
    fn resolve_references(&mut self) -> Result<Vec<Vec<usize>>, ConfigError> {
        let mut resolved = Vec::with_capacity(self.nodes.len());
        for n in 0..self.nodes.len() {
            let references = std::mem::take(&mut self.nodes[n].references);
            let mut targets = Vec::new();
            for (path, at) in references {
                let mut target = 0; // the root
                for name in path.split('.') {
                    match self.nodes[target].sections.get(name) {
                        Some(&next) => target = next,
                        None => {
                            let key = self.nodes[n].name.clone();
                            return Err(ConfigError::new(at, key, ErrorKind::Reference { path }));
                        }
                    }
                    self.nodes[target].template = true;
                }
                targets.push(target);
            }
            resolved.push(targets);
        }
        Ok(resolved)
    }

    /// Merges nodes, the first having precedence, with all that they inherit.
    fn expand(&mut self, nodes: &[usize], references: &[Vec<usize>], depth: usize) -> Result<Section, ConfigError> {
        let first = &self.nodes[nodes[0]];
        let (name, at, template) = (first.name.clone(), first.at.clone(), first.template);
        if depth > MAX_DEPTH {
            // Only a reference to an enclosing section can do this: statements() bounds what is written.
            return Err(ConfigError::new(at, name, ErrorKind::TooLarge { limit: "32 sections inside one another" }));
        }
        let mut section = Section { name, entries: Vec::new(), at, template };
        let view = self.view(nodes, references)?;
        let mut values: HashSet<String> = HashSet::new();
        let mut below: HashMap<String, Vec<usize>> = HashMap::new();
        let mut merged: Vec<Merged> = Vec::new();
        for (rank, &node) in view.iter().enumerate() {
            if rank > 0 {
                self.count_inherited(self.nodes[node].slots.len(), &section)?;
            }
            for slot in &self.nodes[node].slots {
                match slot {
                    Slot::Value(key, value, at) => {
                        if values.insert(key.clone())
                            && let Some(value) = value
                        {
                            let (key, value, at) = (key.clone(), value.clone(), at.clone());
                            merged.push(Merged::Value(Entry::Value { key, value, at }));
                        }
                    }
                    Slot::Section(child) => {
                        let name = &self.nodes[*child].name;
                        let same = below.entry(name.clone()).or_default();
                        if same.is_empty() {
                            merged.push(Merged::Section(name.clone()));
                        }
                        same.push(*child);
                    }
                }
            }
        }
        for entry in merged {
            section.entries.push(match entry {
                Merged::Value(entry) => entry,
                Merged::Section(name) => {
                    let nodes = below.remove(&name).unwrap_or_default();
                    Entry::Section(self.expand(&nodes, references, depth + 1)?)
                }
            });
        }
        Ok(section)
    }

    /// `nodes`, each followed by what it inherits from, each once: this also ends circles.
    fn view(&mut self, nodes: &[usize], references: &[Vec<usize>]) -> Result<Vec<usize>, ConfigError> {
        let mut view = Vec::new();
        let mut seen = HashSet::new();
        let mut pending: Vec<usize> = nodes.iter().rev().copied().collect();
        while let Some(node) = pending.pop() {
            if seen.insert(node) {
                view.push(node);
                let targets = &references[node];
                pending.extend(targets.iter().rev());
                self.inherited += targets.len();
            }
        }
        if self.inherited > MAX_INHERITED {
            let node = &self.nodes[nodes[0]];
            return Err(ConfigError::new(node.at.clone(), &node.name, TOO_MUCH));
        }
        Ok(view)
    }

    fn count_inherited(&mut self, entries: usize, section: &Section) -> Result<(), ConfigError> {
        self.inherited += entries + 1;
        if self.inherited > MAX_INHERITED {
            return Err(ConfigError::new(section.at.clone(), &section.name, TOO_MUCH));
        }
        Ok(())
    }
}

const TOO_MUCH: ErrorKind = ErrorKind::TooLarge { limit: "a million inherited values" };

fn syntax_error(file: &Arc<str>, e: Unexpected) -> ConfigError {
    let at = Place { file: file.clone(), line: e.line, column: e.column };
    ConfigError::new(at, "", ErrorKind::Syntax { expected: e.expected })
}

/// What [`Files::read`] says about a path that the operator named, for the program's own use.
impl ConfigError {
    /// A file that cannot be read, as an error of the configuration.
    pub fn unreadable(path: &str, error: FileError) -> Self {
        Self::new(Place::new(path, 0, 0), "", ErrorKind::File { path: path.into(), error })
    }
}
