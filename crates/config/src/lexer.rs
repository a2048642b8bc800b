//! The words of the grammar of `strongswan.conf(5)`, read one character at a time with its place.

use std::iter::Peekable;
use std::str::Chars;

/// Whether a character may stand in the name of a section or key.
pub(crate) fn is_name_character(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !matches!(c, '{' | '}' | ':' | ',' | '=' | '"' | '#')
}

/// What the reader expected and did not find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unexpected {
    pub line: u32,
    pub column: u32,
    pub expected: &'static str,
}

/// A cursor over one file.
pub(crate) struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    line: u32,
    column: u32,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { rest: text.strip_prefix('\u{feff}').unwrap_or(text).chars().peekable(), line: 1, column: 1 }
    }

    pub fn position(&self) -> (u32, u32) {
        (self.line, self.column)
    }

    pub fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    pub fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.line = self.line.saturating_add(1);
            self.column = 1;
        } else {
            self.column = self.column.saturating_add(1);
        }
        Some(c)
    }

    pub fn unexpected<T>(&self, expected: &'static str) -> Result<T, Unexpected> {
        Err(Unexpected { line: self.line, column: self.column, expected })
    }

    /// Skips blanks within the line.
    pub fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|c| c != '\n' && c.is_whitespace()) {
            self.next();
        }
    }

    /// Skips blanks, ends of lines and comments.
    pub fn skip_space(&mut self) {
        loop {
            match self.peek() {
                Some(c) if c.is_whitespace() => {
                    self.next();
                }
                Some('#') => self.skip_comment(),
                _ => return,
            }
        }
    }

    fn skip_comment(&mut self) {
        while self.peek().is_some_and(|c| c != '\n') {
            self.next();
        }
    }

    /// A name; empty if none stands here.
    pub fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| is_name_character(*c)) {
            name.push(c);
            self.next();
        }
        name
    }

    /// The value after `=`, up to the end of the line, a comment or a closing brace: words and quoted strings, joined by
    /// one space each. `None` if there is neither.
    pub fn value(&mut self) -> Result<Option<String>, Unexpected> {
        let mut value: Option<String> = None;
        loop {
            self.skip_blanks();
            let mut word = String::new();
            match self.peek() {
                None | Some('\n' | '#' | '}') => {
                    if self.peek() == Some('#') {
                        self.skip_comment();
                    }
                    return Ok(value);
                }
                Some('"') => word = self.quoted()?,
                Some(_) => {
                    while let Some(c) = self.peek().filter(|c| !c.is_whitespace() && !matches!(c, '#' | '}' | '"')) {
                        word.push(c);
                        self.next();
                    }
                }
            }
            match &mut value {
                None => value = Some(word),
                Some(value) => {
                    value.push(' ');
                    value.push_str(&word);
                }
            }
        }
    }

    /// A string in double quotes, which may go over several lines.
    pub fn quoted(&mut self) -> Result<String, Unexpected> {
        let (line, column) = self.position();
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(text),
                Some('\\') => match self.next() {
                    Some('n') => text.push('\n'),
                    Some('r') => text.push('\r'),
                    Some('t') => text.push('\t'),
                    Some('b') => text.push('\u{8}'),
                    Some('f') => text.push('\u{c}'),
                    // The end of a line after a backslash joins the lines.
                    Some('\n') => {}
                    Some('\r') if self.peek() == Some('\n') => {
                        self.next();
                    }
                    Some(c) => text.push(c),
                    None => break,
                },
                Some(c) => text.push(c),
                None => break,
            }
        }
        Err(Unexpected { line, column, expected: "a closing '\"' for the string that begins here" })
    }

    /// The pattern of an `include`.
    pub fn pattern(&mut self) -> Result<String, Unexpected> {
        let pattern = if self.peek() == Some('"') {
            self.quoted()?
        } else {
            let mut pattern = String::new();
            while let Some(c) = self.peek().filter(|c| !c.is_whitespace() && !matches!(c, '#' | '}' | '{' | '"')) {
                pattern.push(c);
                self.next();
            }
            pattern
        };
        if pattern.is_empty() {
            return self.unexpected("a file name or pattern after 'include'");
        }
        self.skip_blanks();
        match self.peek() {
            None | Some('\n' | '#' | '}') => Ok(pattern),
            Some(_) => self.unexpected("the end of the line after the file name; quote a name with blanks"),
        }
    }
}
