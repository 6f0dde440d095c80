//! `${NAME}` in a docker-compose file, carried through as one character each: what a variable holds
//! is not known to stay, and is not read again as rule or pattern.

use std::collections::BTreeSet;

/// Reads a variable of the environment.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The variables met so far. The character of the first is U+E000.
pub(super) struct Variables<'a> {
    env: Env<'a>,
    names: Vec<String>,
    /// Those in whose place their default now stands, as they are not set.
    pub(super) defaults: BTreeSet<String>,
}

impl<'a> Variables<'a> {
    /// The characters that may stand for variables.
    pub(super) const RESERVED: fn(char) -> bool = |c| ('\u{e000}'..='\u{f8ff}').contains(&c);

    pub(super) fn new(env: Env<'a>) -> Variables<'a> {
        Variables { env, names: Vec::new(), defaults: BTreeSet::new() }
    }

    /// Replaces `${NAME}`, `$NAME` and their kin by characters, and `$$` by `$`. Where a default
    /// counts, because the variable is not set, the default is there.
    pub(super) fn fold(&mut self, raw: &str) -> String {
        self.fold_within(raw, DEPTH)
    }

    fn fold_within(&mut self, raw: &str, depth: usize) -> String {
        let mut text = String::new();
        let mut rest = raw;
        while let Some((before, after)) = rest.split_once('$') {
            text.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                text.push('$');
                rest = after;
                continue;
            }
            let (braced, inner) = match rest.strip_prefix('{') {
                Some(inner) => (true, inner),
                None => (false, rest),
            };
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = inner.find(|c| !word(c)).unwrap_or(inner.len());
            let (name, after) = inner.split_at(end);
            let close = if braced { closing(after) } else { Some(0) };
            let folded = match close {
                Some(close) => self.form(name, &after[..close], depth),
                None => None,
            };
            match (folded, close) {
                (Some(folded), Some(close)) => {
                    text.push_str(&folded);
                    rest = &after[close + usize::from(braced)..];
                }
                _ => text.push('$'),
            }
        }
        text + rest
    }

    /// What `${NAME…}` stands for; `form` is what follows the name: `:-default`, `+other`, `?why`.
    fn form(&mut self, name: &str, form: &str, depth: usize) -> Option<String> {
        let value = (self.env)(name);
        let set = match form.strip_prefix(':') {
            Some(_) => value.is_some_and(|value| !value.is_empty()),
            None => value.is_some(),
        };
        let bare = form.strip_prefix(':').unwrap_or(form);
        match (bare.chars().next(), set) {
            (Some('-'), false) if depth > 0 => {
                self.character(name)?; // it must be a name
                self.defaults.insert(name.to_owned());
                Some(self.fold_within(&bare[1..], depth - 1))
            }
            (Some('+'), true) if depth > 0 => Some(self.fold_within(&bare[1..], depth - 1)),
            (Some('+'), false) => Some(String::new()),
            (None | Some('-' | '?'), _) => self.character(name).map(String::from),
            _ => None,
        }
    }

    /// As our configuration has it: `${NAME}`, and `$${` for a literal `${`.
    pub(super) fn unfold(&self, text: &str) -> String {
        let mut raw = String::new();
        for (i, part) in text.split("${").enumerate() {
            raw.push_str(if i > 0 { "$${" } else { "" });
            for c in part.chars() {
                match self.name(c) {
                    Some(name) => raw.extend(["${", name, "}"]),
                    None => raw.push(c),
                }
            }
        }
        raw
    }

    /// With what the environment holds in the place of each variable; one that is not set stays.
    pub(super) fn resolve(&self, text: &str) -> String {
        let mut resolved = String::new();
        for c in text.chars() {
            match self.name(c).and_then(self.env) {
                Some(value) => resolved.push_str(&value),
                None => resolved.push(c),
            }
        }
        resolved
    }

    /// The names of those in `text`.
    pub(super) fn of<'b>(&'b self, text: &'b str) -> impl Iterator<Item = &'b str> {
        text.chars().filter_map(|c| self.name(c))
    }

    fn name(&self, c: char) -> Option<&str> {
        let index = (c as u32).checked_sub(FIRST)?;
        self.names.get(index as usize).map(String::as_str)
    }

    /// Of a name that POSIX allows; there are enough for every name in a file.
    fn character(&mut self, name: &str) -> Option<char> {
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let known = self.names.iter().position(|known| known == name);
        let index = known.unwrap_or(self.names.len());
        let c = char::from_u32(FIRST + index as u32).filter(|c| Variables::RESERVED(*c))?;
        if known.is_none() {
            self.names.push(name.to_owned());
        }
        Some(c)
    }
}

/// Where the `}` is that closes what has been opened before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

const FIRST: u32 = 0xe000;
/// Defaults within defaults.
const DEPTH: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_come_back_and_dollars_stay() {
        let env = |name: &str| match name {
            "SET" => Some("s".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let mut variables = Variables::new(&env);
        for (raw, back) in [
            ("pi.${SITE}", "pi.${SITE}"),
            ("$SITE.x", "${SITE}.x"),
            ("^a\\.b$$", "^a\\.b$"),
            ("$${A}", "$${A}"),
            ("a$", "a$"),
            ("${", "$${"),
            ("${1}", "$${1}"),
            ("$1", "$1"),
            ("${B:-a.b}.${SITE}", "a.b.${SITE}"),
            ("${B-a}", "a"),
            ("${SET:-a}", "${SET}"),
            ("${EMPTY:-a}", "a"),
            ("${EMPTY-a}", "${EMPTY}"),
            ("${B:-${SITE}.x}", "${SITE}.x"),
            ("${B:?say it}", "${B}"),
            ("${B?}", "${B}"),
            ("${SET:+a}${EMPTY+b}", "ab"),
            ("${EMPTY:+a}${B+b}", ""),
            ("${B!a}", "$${B!a}"),
            ("${B:-a", "$${B:-a"),
        ] {
            let folded = variables.fold(raw);
            assert_eq!(variables.unfold(&folded), back, "{raw}");
        }
        assert_eq!(variables.defaults.iter().collect::<Vec<_>>(), ["B", "EMPTY"]);
        let folded = variables.fold("$SET.$SITE");
        assert_eq!(variables.resolve(&folded).strip_prefix("s."), Some("\u{e000}"));
        assert_eq!(variables.of(&folded).collect::<Vec<_>>(), ["SET", "SITE"]);
        let many: String = (0..7000).map(|i| format!("$V{i} ")).collect();
        let folded = variables.fold(&many);
        assert!(folded.ends_with("$V6999 "), "past the last character they stay as they are");
    }
}
