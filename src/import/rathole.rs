//! A file of rathole, edited where it stands: its comments, its order and its secrets stay as the
//! user wrote them.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A file's text, its keys, and what is to become of them.
pub(super) struct Sheet<'a> {
    text: &'a str,
    root: Spanned<DeTable<'a>>,
    /// None overlaps another.
    edits: Vec<(Range<usize>, String)>,
}

/// A key of a table, and where the two stand.
pub(super) struct Key {
    key: Range<usize>,
    value: Range<usize>,
    /// The table is one of `{ … }`, on one line.
    inline: bool,
}

impl<'a> Sheet<'a> {
    /// `None`: not TOML, which [`crate::config::Config::parse`] explains.
    pub(super) fn read(text: &'a str) -> Option<Sheet<'a>> {
        let root = DeTable::parse(text).ok()?;
        Some(Sheet { text, root, edits: Vec::new() })
    }

    /// The key at the end of a path.
    pub(super) fn find(&self, path: &[&str]) -> Option<Key> {
        let (last, parents) = path.split_last()?;
        let mut table = self.root.get_ref();
        let mut inline = false;
        for parent in parents {
            let value = table.get(*parent)?;
            let DeValue::Table(inner) = value.get_ref() else { return None };
            inline = self.text[value.span().start..].starts_with('{');
            table = inner;
        }
        let (key, value) = table.get_key_value(*last)?;
        Some(Key { key: key.span(), value: value.span(), inline })
    }

    /// The line, counted from 1.
    pub(super) fn line(&self, key: &Key) -> usize {
        1 + self.text[..key.key.start].matches('\n').count()
    }

    /// Key and value as they stand, on one line.
    pub(super) fn show(&self, key: &Key) -> String {
        let text = &self.text[key.key.start..key.value.end];
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Another value.
    pub(super) fn set(&mut self, key: &Key, value: String) {
        self.edits.push((key.value.clone(), value));
    }

    /// Other lines in the place of key and value; `comment` becomes one more where one can be.
    pub(super) fn replace(&mut self, key: &Key, lines: &[String], comment: Option<&str>) {
        let separator = self.separator(key);
        let mut text = lines.join(&separator);
        if let Some(comment) = comment.filter(|_| !key.inline) {
            let blanks = separator.len() - separator[1..].trim_start_matches([' ', '\t']).len();
            text.extend([&separator[..blanks], "# ", comment]);
        }
        self.edits.push((key.key.start..key.value.end, text));
    }

    /// More lines behind the key's.
    pub(super) fn add_below(&mut self, key: &Key, lines: &[String]) {
        let rest = &self.text[key.value.end..];
        let end = if key.inline { 0 } else { rest.find(['\r', '\n']).unwrap_or(rest.len()) };
        let separator = self.separator(key);
        let text = lines.iter().map(|line| format!("{separator}{line}")).collect();
        self.edits.push((key.value.end + end..key.value.end + end, text));
    }

    /// A table below `parent`, where `key` stands: at the end of the file, or in `key`'s own way if
    /// the parent is not written as `[parent]`.
    pub(super) fn add_table(&mut self, key: &Key, parent: &str, name: &str, lines: &[String]) {
        let separator = self.separator(key);
        if key.inline || !separator.trim().is_empty() {
            let lines: Vec<String> = lines.iter().map(|line| format!("{name}.{line}")).collect();
            return self.add_below(key, &lines);
        }
        let end = self.text.len();
        let line_end = if self.text.ends_with('\n') { "" } else { "\n" };
        let text = format!("{line_end}\n[{parent}.{name}]\n{}\n", lines.join("\n"));
        self.edits.push((end..end, text));
    }

    /// What stands before the key on its line (spaces, or a dotted key's front) goes before others
    /// of its table too.
    fn separator(&self, key: &Key) -> String {
        if key.inline {
            return ", ".into();
        }
        let before = &self.text[..key.key.start];
        let line = before.rfind('\n').map_or(0, |at| at + 1);
        format!("\n{}", &before[line..])
    }

    /// The text with every edit done.
    pub(super) fn finish(mut self) -> String {
        self.edits.sort_by_key(|(range, _)| (range.start, range.end));
        let mut text = String::new();
        let mut at = 0;
        for (range, new) in &self.edits {
            text.push_str(&self.text[at..range.start]);
            text.push_str(new);
            at = range.end;
        }
        text + &self.text[at..]
    }
}

/// A string as TOML writes it: without escapes where it can.
pub(super) fn quote(text: &str) -> String {
    if text.contains('\\') && !text.contains(['\'', '\n']) {
        return format!("'{text}'");
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A list, each on a line of its own; one alone is no list.
pub(super) fn quote_list(texts: &[String]) -> String {
    match texts {
        [text] => quote(text),
        texts => {
            let lines: String =
                texts.iter().map(|text| format!("\n    {},", quote(text))).collect();
            format!("[{lines}\n]")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_table_can_be_edited() {
        for (text, edited) in [
            (
                "# a\n[server.services.pi]\ntoken = 't' # b\n  bind_addr = \"x\"   # c\n",
                "# a\n[server.services.pi]\ntoken = 't' # b\nmore = 1\n  a = 1\n  b = 2\n  \
                 # bind_addr = \"x\"   # c\n",
            ),
            (
                "[server]\nservices.pi.bind_addr = 'x'\nservices.pi.token = 't'",
                "[server]\nservices.pi.a = 1\nservices.pi.b = 2\n# bind_addr = 'x'\n\
                 services.pi.token = 't'\nservices.pi.more = 1",
            ),
            (
                "[server.services]\npi = { token = 't', bind_addr = 'x' }\n",
                "[server.services]\npi = { token = 't', more = 1, a = 1, b = 2 }\n",
            ),
        ] {
            let mut sheet = Sheet::read(text).expect("TOML");
            let path = ["server", "services", "pi"];
            let [bind, token] = ["bind_addr", "token"]
                .map(|key| sheet.find(&[&path[..], &[key]].concat()).expect("it is there"));
            let old = sheet.show(&bind);
            sheet.replace(&bind, &["a = 1".into(), "b = 2".into()], Some(&old));
            sheet.add_below(&token, &["more = 1".into()]);
            assert_eq!(sheet.finish(), edited);
        }
    }

    #[test]
    fn quotes() {
        for text in ["a", "a\\.b", "'\\'", "\"", "\\\""] {
            let toml = format!("a = {}", quote(text));
            let table: DeTable<'_> = DeTable::parse(&toml).expect("TOML").into_inner();
            let DeValue::String(read) = table["a"].get_ref() else { panic!("{toml}") };
            assert_eq!(read, text);
        }
        assert_eq!(quote_list(&["a".into()]), "\"a\"");
        assert_eq!(quote_list(&["a".into(), "b".into()]), "[\n    \"a\",\n    \"b\",\n]");
    }
}
