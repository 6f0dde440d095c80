//! `${NAME}` in a docker-compose file, carried through as one character each: what a variable holds
//! is not known here, and is not read again as rule or pattern.

/// The variables met so far. The character of the first is U+E000.
#[derive(Debug, Default)]
pub(super) struct Variables {
    names: Vec<String>,
    /// Of those that have a default or an error text, which are left behind.
    pub(super) with_default: Vec<String>,
}

impl Variables {
    /// The characters that may stand for variables.
    pub(super) const RESERVED: fn(char) -> bool = |c| ('\u{e000}'..='\u{f8ff}').contains(&c);

    /// Replaces `${NAME}`, `$NAME` and their kin by characters, and `$$` by `$`.
    pub(super) fn fold(&mut self, raw: &str) -> String {
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
            let close = if braced { after.find('}') } else { Some(0) };
            match (self.character(name), close) {
                (Some(c), Some(close)) => {
                    text.push(c);
                    if braced && close > 0 {
                        self.with_default.push(name.to_owned());
                    }
                    rest = &after[close + usize::from(braced)..];
                }
                _ => text.push('$'),
            }
        }
        text + rest
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

    /// The names of those in `text`.
    pub(super) fn of<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
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

const FIRST: u32 = 0xe000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_come_back_and_dollars_stay() {
        let mut variables = Variables::default();
        for (raw, folded, back) in [
            ("pi.${SITE}", "pi.\u{e000}", "pi.${SITE}"),
            ("$SITE.x", "\u{e000}.x", "${SITE}.x"),
            ("${B:-a.b}.${SITE}", "\u{e001}.\u{e000}", "${B}.${SITE}"),
            ("^a\\.b$$", "^a\\.b$", "^a\\.b$"),
            ("$${A}", "${A}", "$${A}"),
            ("a$", "a$", "a$"),
            ("${", "${", "$${"),
            ("${1}", "${1}", "$${1}"),
            ("$1", "$1", "$1"),
        ] {
            assert_eq!(variables.fold(raw), folded, "{raw}");
            assert_eq!(variables.unfold(folded), back, "{raw}");
        }
        assert_eq!(variables.with_default, ["B"]);
        assert_eq!(variables.of("\u{e001}a\u{e000}").collect::<Vec<_>>(), ["B", "SITE"]);
        let many: String = (0..7000).map(|i| format!("$V{i} ")).collect();
        let folded = variables.fold(&many);
        assert!(folded.ends_with("$V6999 "), "past the last character they stay as they are");
    }
}
