//! Rust source reduced to what the layering check asks of it: words and signs, without comments and literals.
//! Not a parser; it knows just enough to expand a `use` tree and to step over a test module.

/// A word or a sign, and the line it stands on (from 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Token<'a> {
    text: &'a str,
    line: usize,
}

/// The tokens of a file.
#[derive(Debug, Clone)]
pub struct Code<'a> {
    tokens: Vec<Token<'a>>,
}

impl<'a> Code<'a> {
    /// Reads a file.
    pub fn new(source: &'a str) -> Code<'a> {
        Code { tokens: tokens(source) }
    }

    /// Lines on which this word stands.
    pub fn word(&self, word: &str) -> impl Iterator<Item = usize> {
        self.tokens.iter().filter(move |token| token.text == word).map(|token| token.line)
    }

    /// Lines on which the macro `name!` is called.
    pub fn macro_call(&self, name: &str) -> impl Iterator<Item = usize> {
        self.tokens.windows(2).filter(move |pair| pair[0].text == name && pair[1].text == "!").map(|pair| pair[0].line)
    }

    /// The same without what `#[cfg(test)]` stands before: up to the end of the next braces, or a semicolon before any.
    pub fn without_tests(&self) -> Code<'a> {
        const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
        let mut kept = Vec::new();
        let mut rest = self.tokens.as_slice();
        while let Some((token, after)) = rest.split_first() {
            if rest.iter().map(|token| token.text).take(ATTRIBUTE.len()).eq(ATTRIBUTE) {
                let mut depth = 0_usize;
                rest = &rest[ATTRIBUTE.len()..];
                while let Some((token, after)) = rest.split_first() {
                    rest = after;
                    match token.text {
                        "{" => depth += 1,
                        "}" => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    if depth == 0 && matches!(token.text, "}" | ";") {
                        break;
                    }
                }
            } else {
                kept.push(*token);
                rest = after;
            }
        }
        Code { tokens: kept }
    }

    /// Every path that begins with `std::`, with the line of its last part. `use` trees are expanded.
    pub fn std_paths(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for start in (0..self.tokens.len()).filter(|start| self.tokens[*start].text == "std") {
            expand(&self.tokens[start + 1..], "std".to_owned(), self.tokens[start].line, &mut found);
        }
        found
    }
}

/// Follows a path after its first part; returns how many tokens belong to it.
fn expand(tokens: &[Token<'_>], mut path: String, mut line: usize, found: &mut Vec<(usize, String)>) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let mut at = 0;
    while text(at) == "::" {
        at += 1;
        if text(at) == "{" {
            at += 1;
            while !matches!(text(at), "" | "}") {
                let part = tokens[at];
                if part.text == "," {
                    at += 1;
                } else {
                    at += 1 + expand(&tokens[at + 1..], format!("{path}::{}", part.text), part.line, found);
                    if text(at) == "as" {
                        at += 2;
                    }
                }
            }
            return at + 1;
        }
        if let Some(part) = tokens.get(at) {
            path = format!("{path}::{}", part.text);
            line = part.line;
        }
        at += 1;
    }
    found.push((line, path));
    at
}

fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = literal(rest) {
            length
        } else if first.is_alphanumeric() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            found.push(Token { text: &rest[..length], line });
            length
        } else if rest.starts_with("::") {
            found.push(Token { text: "::", line });
            2
        } else {
            if !first.is_whitespace() {
                found.push(Token { text: &rest[..first.len_utf8()], line });
            }
            first.len_utf8()
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

/// The length of a block comment; they nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of a string or character literal, if one starts here.
fn literal(text: &str) -> Option<usize> {
    // r"..", r#".."#, br".."
    let raw = text.strip_prefix("br").or_else(|| text.strip_prefix("cr")).or_else(|| text.strip_prefix('r'));
    if let Some(raw) = raw {
        let fence = raw.len() - raw.trim_start_matches('#').len();
        if raw[fence..].starts_with('"') {
            let start = text.len() - raw.len() + fence + 1;
            let end = format!("\"{}", "#".repeat(fence));
            return Some(text[start..].find(&end).map_or(text.len(), |at| start + at + end.len()));
        }
    }
    let body = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let start = text.len() - body.len() + 1;
    if body.starts_with('"') {
        return Some(start + closing(&text[start..], '"').unwrap_or(text.len() - start));
    }
    // 'x', '\n', '\u{1f}'; a lifetime has no closing quote right after one character
    let inner = body.strip_prefix('\'')?;
    if inner.starts_with('\\') {
        return Some(start + closing(inner, '\'')?);
    }
    let character = inner.chars().next()?;
    inner[character.len_utf8()..].starts_with('\'').then_some(start + character.len_utf8() + 1)
}

/// The offset after the closing quote, minding backslashes.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<&str> {
        tokens(source).iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_literals_vanish() {
        assert_eq!(words("a // b\nc /* d /* e */ f */ g"), ["a", "c", "g"]);
        assert_eq!(
            words(r##"x("\"y\"", r#"z "quoted" z"#, b"w", 'v', '\'', b'u')"##),
            ["x", "(", ",", ",", ",", ",", ",", ")"]
        );
        assert_eq!(words("fn f<'a>(s: &'a str) {}").join(" "), "fn f < ' a > ( s : & ' a str ) { }");
    }

    #[test]
    fn lines_are_counted_through_literals_and_comments() {
        let source = "\"one\ntwo\"\n/*\n*/ here";
        assert_eq!(tokens(source), [Token { text: "here", line: 4 }]);
    }

    #[test]
    fn use_trees_are_expanded() {
        let paths = |source| Code::new(source).std_paths().into_iter().map(|(_, path)| path).collect::<Vec<_>>();
        assert_eq!(
            paths("use std::{fmt::{self, Display}, io::Read as _, net::*};"),
            ["std::fmt::self", "std::fmt::Display", "std::io::Read", "std::net::*"]
        );
        assert_eq!(paths("let x = std::mem::take(&mut y); use std::fs;"), ["std::mem::take", "std::fs"]);
        assert_eq!(paths("use std::{fmt"), ["std::fmt"]);
    }
}
