//! `${NAME}` in a docker-compose file, carried through as one character each: what a variable holds
//! is not known to stay, and is not read again as rule or pattern.

use std::collections::BTreeSet;

use crate::config::interpolate::{Chosen, DEPTH, Piece, Variable, is_variable, pieces};

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
        for piece in pieces(raw) {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Dollar => text.push('$'),
                Piece::Variable(variable) => match self.stand_in(&variable, depth) {
                    Some(folded) => text.push_str(&folded),
                    None => {
                        text.push('$');
                        text.push_str(&self.fold_within(&variable.raw[1..], depth));
                    }
                },
            }
        }
        text
    }

    /// What a variable becomes; `None`: it is none.
    fn stand_in(&mut self, variable: &Variable<'_>, depth: usize) -> Option<String> {
        let value = (self.env)(variable.name);
        match variable.choose(value.as_deref())? {
            Chosen::Default(word) if depth > 0 => {
                self.character(variable.name)?; // it must be a name
                self.defaults.insert(variable.name.to_owned());
                Some(self.fold_within(word, depth - 1))
            }
            Chosen::Other(word) if depth > 0 => Some(self.fold_within(word, depth - 1)),
            Chosen::Default(_) | Chosen::Other(_) => None,
            Chosen::Nothing => Some(String::new()),
            Chosen::Value => self.character(variable.name).map(String::from),
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
        if !is_variable(name) {
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

const FIRST: u32 = 0xe000;

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
