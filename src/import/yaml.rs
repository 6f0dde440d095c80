//! YAML as Compose and Traefik read it: a tree that knows its lines, with anchors and merge keys
//! resolved.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

/// A node; anchors make one the child of several.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) tag: Option<Mark>,
}

#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    List(Vec<Rc<Node>>),
    Map(Vec<(Rc<Node>, Rc<Node>)>),
}

/// What a file of Compose may say about the same key in the files before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// `!reset`: gone, this value too.
    Reset,
    /// `!override`: this value alone.
    Override,
}

/// A line and what is wrong there; quotes nothing.
pub(super) type Wrong = (usize, String);

impl Node {
    /// The first document of a text.
    pub(super) fn read(text: &str) -> Result<Rc<Node>, Wrong> {
        let mut text = text.to_owned();
        for _ in 0..CONTINUED {
            let (line, reason) = match Tree::read(&text) {
                Err(wrong) => wrong,
                read => return read,
            };
            // Go's reader lets a quoted text, or a list in brackets, go on at its key's column.
            // Blanks at the front of such a line are no part of it, so more of them change nothing.
            // `line` is where the text begins, or where the list goes on.
            let first = match &*reason {
                "invalid indentation in quoted scalar" => line,
                "invalid indentation in flow construct" => line - 1,
                _ => return Err((line, reason)),
            };
            let mut lines: Vec<&str> = text.split('\n').collect();
            let flat = |line: &&str| !line.trim().is_empty() && !line.starts_with(DEEP);
            let Some(at) = lines.iter().skip(first).position(flat) else {
                return Err((line, reason));
            };
            let indented = format!("{DEEP}{}", lines[first + at]);
            lines[first + at] = &indented;
            text = lines.join("\n");
        }
        Tree::read(&text)
    }

    /// A key of a map, its own before those that `<<` merges in.
    pub(super) fn get(&self, key: &str) -> Option<&Rc<Node>> {
        self.get_merged(key, MERGES)
    }

    fn get_merged(&self, key: &str, merges: usize) -> Option<&Rc<Node>> {
        let Value::Map(map) = &self.value else { return None };
        let own = |wanted: &str| map.iter().find(|(name, _)| name.text() == Some(wanted));
        if let Some((_, value)) = own(key) {
            return Some(value);
        }
        let (_, merged) = own("<<")?;
        let merges = merges.checked_sub(1)?;
        merged.items().into_iter().find_map(|node| node.get_merged(key, merges))
    }

    /// A map's keys and values, those that `<<` merges in among them: the map's own win, then what
    /// is merged first.
    pub(super) fn entries(&self) -> Vec<(&str, &Rc<Node>, usize)> {
        let mut all = Vec::new();
        self.collect_entries(MERGES, &mut all);
        all
    }

    fn collect_entries<'a>(&'a self, merges: usize, all: &mut Vec<(&'a str, &'a Rc<Node>, usize)>) {
        let Value::Map(map) = &self.value else { return };
        let mut merged = Vec::new();
        for (key, value) in map {
            match key.text() {
                Some("<<") => merged.push(value),
                Some(name)
                    if all.len() < ENTRIES && !all.iter().any(|(known, ..)| *known == name) =>
                {
                    all.push((name, value, key.line));
                }
                _ => {}
            }
        }
        let Some(merges) = merges.checked_sub(1) else { return };
        for node in merged.into_iter().flat_map(|node| node.items()) {
            node.collect_entries(merges, all);
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A list's nodes; what is no list is one of one.
    pub(super) fn items(&self) -> Vec<&Node> {
        match &self.value {
            Value::List(list) => list.iter().map(|node| &**node).collect(),
            _ => vec![self],
        }
    }

    /// The texts of a list, or of one alone, with their lines.
    pub(super) fn texts(&self) -> Vec<(&str, usize)> {
        self.items().into_iter().filter_map(|node| Some((node.text()?, node.line))).collect()
    }
}

/// Builds nodes from the parser's events.
struct Tree<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, Rc<Node>>,
}

impl<'a> Tree<'a> {
    fn read(text: &'a str) -> Result<Rc<Node>, Wrong> {
        let parser = Parser::new_from_str(text);
        let mut tree = Tree { parser, anchors: HashMap::new() };
        loop {
            let (event, span) = tree.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(_) => {}
                Event::StreamEnd => return Err((span.start.line(), "it is empty".into())),
                event => return tree.node(event, span, 0),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Wrong> {
        let wrong = |error: ScanError| (error.marker().line(), error.info().to_owned());
        match self.parser.next() {
            Some(event) => event.map_err(wrong),
            None => Err((1, "it breaks off".into())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Rc<Node>, Wrong> {
        let line = span.start.line();
        if depth > DEPTH {
            return Err((line, "too deep".into()));
        }
        let (value, anchor, tag) = match event {
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor).cloned();
                return known.ok_or_else(|| (line, "an alias within its own anchor".into()));
            }
            Event::Scalar(text, style, anchor, tag) => {
                let text = match (&*text, style) {
                    ("True" | "TRUE", ScalarStyle::Plain) => "true".to_owned(),
                    ("False" | "FALSE", ScalarStyle::Plain) => "false".to_owned(),
                    ("null" | "Null" | "NULL" | "~", ScalarStyle::Plain) => String::new(),
                    _ => text.into_owned(),
                };
                (Value::Text(text), anchor, mark(tag.as_deref()))
            }
            Event::SequenceStart(anchor, tag) => {
                let mut list = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => list.push(self.node(event, span, depth + 1)?),
                    }
                }
                (Value::List(list), anchor, mark(tag.as_deref()))
            }
            Event::MappingStart(anchor, tag) => {
                let mut map = Vec::new();
                loop {
                    let key = match self.next()? {
                        (Event::MappingEnd, _) => break,
                        (event, span) => self.node(event, span, depth + 1)?,
                    };
                    let (event, span) = self.next()?;
                    map.push((key, self.node(event, span, depth + 1)?));
                }
                (Value::Map(map), anchor, mark(tag.as_deref()))
            }
            _ => return Err((line, "a document within another".into())),
        };
        let node = Rc::new(Node { value, line, tag });
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }
}

fn mark(tag: Option<&Tag>) -> Option<Mark> {
    match &*tag?.suffix {
        "reset" => Some(Mark::Reset),
        "override" => Some(Mark::Override),
        _ => None,
    }
}

/// Nodes within each other; a compose file has six.
const DEPTH: usize = 64;
/// Merges within merges; each may name several nodes.
const MERGES: usize = 4;
/// Keys of one map, those that are merged in among them.
const ENTRIES: usize = 4096;
/// Lines on which a quoted text goes on further left than it may.
const CONTINUED: usize = 64;
/// Deeper than anything in a file that people write.
const DEEP: &str = "                                        ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_keys_give_what_is_not_there() {
        let text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nm:\n  <<: [*x, *y]\n  a: 0\n";
        let root = Node::read(text).expect("YAML");
        let map = root.get("m").expect("m");
        let entries: Vec<_> =
            map.entries().into_iter().map(|(k, v, _)| (k, v.text().unwrap_or(""))).collect();
        assert_eq!(entries, [("a", "0"), ("b", "1"), ("c", "2")]);
        assert_eq!(map.get("c").and_then(|node| node.text()), Some("2"));
    }

    #[test]
    fn a_quoted_text_may_go_on_at_its_keys_column() {
        for text in ["a:\n  b: \"x\n  y\"\n", "b: 'x\ny'\n", "b: \"x\n  y\"\n"] {
            let root = Node::read(text).expect(text);
            let node = root.get("a").unwrap_or(&root);
            assert_eq!(node.get("b").and_then(|b| b.text()), Some("x y"), "{text}");
        }
    }

    #[test]
    fn what_is_no_yaml_says_where_and_quotes_nothing() {
        for (text, error) in
            [("", (1, "it is empty")), ("a: &x [*x]", (1, "an alias within its own anchor"))]
        {
            assert_eq!(Node::read(text).expect_err(text), (error.0, error.1.to_owned()), "{text}");
        }
        for text in ["services:\n  a: [secret", "services:\n\tsecret: 1", "a: *secret", "\"secret"]
        {
            let (_, error) = Node::read(text).expect_err(text);
            assert!(!error.contains("secret"), "{text}: {error}");
        }
        assert!(Node::read(&format!("services: {}", "[".repeat(10_000))).is_err());
    }
}
