//! `env_file`: variables in a file, in the format that Compose reads from `.env`.
//!
//! A `$` that begins no variable of the file stands for itself, so that a line of htpasswd needs no
//! quotes: `AUTH=admin:$apr1$…`. Compose would take it for variables that are not set.

use std::collections::HashMap;

use super::error::ConfigError;
use super::interpolate::{Chosen, DEPTH, Piece, is_variable, pieces};
use super::raw::{Env, Section};

/// Reads a file by its name in the configuration, and no more than it takes to see that it has more
/// bytes than those.
pub(super) type ReadFile<'a> = &'a dyn Fn(&str, usize) -> std::io::Result<Vec<u8>>;

/// What the files of `env_file` say; of two that say the same name, the last counts. `env` comes
/// before them all.
pub(super) fn read(
    root: &Section<'_>,
    env: Env<'_>,
    file: ReadFile<'_>,
) -> Result<HashMap<String, String>, ConfigError> {
    let mut variables = HashMap::new();
    for name in root.texts("env_file")? {
        let bytes = match file(&name.value, MOST_BYTES) {
            Ok(bytes) if bytes.len() > MOST_BYTES => {
                return Err(name.place.error(format!("the file has more than {MOST_BYTES} bytes")));
            }
            Ok(bytes) => bytes,
            Err(error) => return Err(name.place.error(format!("cannot read the file: {error}"))),
        };
        let path = name.place.beside(&name.value);
        let text = super::text(&path, bytes)?;
        parse(&text, env, &mut variables).map_err(|wrong| ConfigError {
            file: path,
            line: Some(wrong.line),
            key: wrong.name,
            reason: wrong.reason,
        })?;
    }
    Ok(variables)
}

/// What is wrong in a file. It quotes no value.
struct Wrong {
    line: usize,
    /// Of the variable, where it has one.
    name: String,
    reason: String,
}

/// What is left of a file, and where that is.
struct Rest<'a> {
    text: &'a str,
    line: usize,
}

/// Adds what the text says to `variables`.
fn parse(text: &str, env: Env<'_>, variables: &mut HashMap<String, String>) -> Result<(), Wrong> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut rest = Rest { text: &text, line: 1 };
    loop {
        rest.skip(rest.text.len() - rest.text.trim_start().len());
        if rest.text.is_empty() {
            return Ok(());
        }
        if rest.text.starts_with('#') {
            rest.take_line();
            continue;
        }
        let line = rest.line;
        let wrong = |name: &str, reason: &str| Wrong {
            line,
            name: name.to_owned(),
            reason: reason.to_owned(),
        };
        // What begins it may be no name, but a piece of a value.
        let no_line = || wrong("", "a line is NAME=value or a # comment");
        let name = rest.name().ok_or_else(no_line)?;
        // `NAME` alone stands for the environment's, which counts anyway.
        if !rest.take_sign().ok_or_else(no_line)? {
            continue;
        }
        let raw = rest.value().map_err(|reason| wrong(&name, reason))?;
        let value = match raw {
            Raw::Literal(value) => value,
            Raw::Open(raw) => {
                expand(&raw, env, variables, DEPTH).map_err(|reason| wrong(&name, &reason))?
            }
        };
        variables.insert(name, value);
    }
}

/// What stands behind `=`.
enum Raw {
    Literal(String),
    /// It may have variables.
    Open(String),
}

impl Rest<'_> {
    fn skip(&mut self, bytes: usize) {
        let (skipped, rest) = self.text.split_at(bytes);
        self.line += skipped.matches('\n').count();
        self.text = rest;
    }

    /// Up to the line's end, which stays.
    fn take_line(&mut self) -> &str {
        let line = self.text.split('\n').next().unwrap_or_default();
        self.text = &self.text[line.len()..];
        line
    }

    /// A name, without `export`.
    fn name(&mut self) -> Option<String> {
        if let Some(after) = self.text.strip_prefix("export")
            && after.starts_with(BLANK)
        {
            self.text = after.trim_start_matches(BLANK);
        }
        // Other programs' names may have dots and dashes.
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
        let end = self.text.find(|c| !word(c)).unwrap_or(self.text.len());
        let (name, rest) = self.text.split_at(end);
        self.text = rest.trim_start_matches(BLANK);
        (!name.is_empty()).then(|| name.to_owned())
    }

    /// `=`, or `:` as in YAML, with the blanks behind it. `false`: the line ends there; `None`: it
    /// goes on with something else.
    fn take_sign(&mut self) -> Option<bool> {
        match self.text.chars().next() {
            Some('=' | ':') => {
                let after = &self.text[1..];
                let value = after.trim_start_matches(BLANK);
                // A comment needs a blank in front, so keep one.
                let comment = value.starts_with('#') && value.len() < after.len();
                self.text = if comment { &after[after.len() - value.len() - 1..] } else { value };
                Some(true)
            }
            None | Some('\n' | '#') => {
                self.take_line();
                Some(false)
            }
            Some(_) => None,
        }
    }

    /// The value, and its line to the end.
    fn value(&mut self) -> Result<Raw, &'static str> {
        let quote = match self.text.chars().next() {
            Some(quote @ ('\'' | '"')) => quote,
            _ => {
                let line = self.take_line();
                let comment = line.match_indices('#').find(|(at, _)| line[..*at].ends_with(BLANK));
                let value = comment.map_or(line, |(at, _)| &line[..at]);
                return Ok(Raw::Open(value.trim().to_owned()));
            }
        };
        let end = closing(&self.text[1..], quote).ok_or("the quote in front is never closed")?;
        let inner = &self.text[1..=end];
        let raw = match quote {
            '"' => Raw::Open(unescape(inner)),
            _ => Raw::Literal(inner.replace("\\'", "'")),
        };
        self.skip(end + 2);
        let line = self.take_line();
        match line.trim_start() {
            "" => Ok(raw),
            comment if comment.starts_with('#') && comment.len() < line.len() => Ok(raw),
            _ => Err("nothing but a comment may follow the closing quote"),
        }
    }
}

/// Where the quote is that ends a text, before which no backslash stands.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

/// As a shell's escapes between double quotes. `\$` becomes `$$`, which stands for `$`.
fn unescape(raw: &str) -> String {
    let mut text = String::new();
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => text.push('\n'),
                Some('r') => text.push('\r'),
                Some('t') => text.push('\t'),
                Some('$') => text.push_str("$$"),
                Some(quoted @ ('\\' | '"')) => text.push(quoted),
                other => text.extend(['\\'].into_iter().chain(other)),
            },
            (c, false) => text.push(c),
        }
    }
    text
}

/// Replaces `${NAME}` and its forms, and `$NAME` where the file has set it further up. Whatever
/// else has a `$` stands for itself; `$$` is one.
fn expand(
    raw: &str,
    env: Env<'_>,
    above: &HashMap<String, String>,
    depth: usize,
) -> Result<String, String> {
    let mut text = String::new();
    for piece in pieces(raw) {
        let variable = match piece {
            Piece::Text(literal) => {
                text.push_str(literal);
                continue;
            }
            Piece::Dollar => {
                text.push('$');
                continue;
            }
            Piece::Variable(variable) => variable,
        };
        if variable.form.is_none() {
            text.push_str(above.get(variable.name).map_or(variable.raw, String::as_str));
            continue;
        }
        let value = env(variable.name).or_else(|| above.get(variable.name).cloned());
        match variable.choose(value.as_deref()) {
            Some(chosen) if is_variable(variable.name) && depth > 0 => match chosen {
                Chosen::Value => text.push_str(&value.ok_or_else(|| {
                    let name = variable.name;
                    format!(
                        "variable {name} is not set, neither in the environment nor further up; a \
                         literal `${{` stands in single quotes"
                    )
                })?),
                Chosen::Default(word) | Chosen::Other(word) => {
                    text.push_str(&expand(word, env, above, depth - 1)?);
                }
                Chosen::Nothing => {}
            },
            _ => text.push_str(variable.raw),
        }
    }
    Ok(text)
}

/// White space within a line.
const BLANK: [char; 2] = [' ', '\t'];
/// Thousands of variables.
const MOST_BYTES: usize = 64 * 1024;
