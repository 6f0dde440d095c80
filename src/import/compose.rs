//! A docker-compose file: its containers, as far as Traefik and rathole need them.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScanError, Span};

use super::variables::Variables;
use crate::config::ConfigError;

/// One of the file's services.
#[derive(Debug, Default)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: String,
    /// The words of `command`, also where it is one string.
    pub(super) command: Vec<String>,
    pub(super) labels: Vec<Label>,
    /// `ports` as they stand: `2333:2333`. `None` with the host's network, where all are open.
    pub(super) ports: Option<Vec<String>>,
}

/// A label; `${NAME}` in its value is folded.
#[derive(Debug, Clone)]
pub(super) struct Label {
    /// Traefik does not tell upper from lower case.
    pub(super) key: String,
    pub(super) value: String,
    pub(super) line: usize,
}

/// Reads the file's containers.
pub(super) fn read(
    file: &str,
    text: &str,
    variables: &mut Variables,
) -> Result<Vec<Container>, ConfigError> {
    let wrong = |line, reason: &str| ConfigError {
        file: file.to_owned(),
        line,
        key: String::new(),
        reason: reason.to_owned(),
    };
    if text.contains(Variables::RESERVED) {
        return Err(wrong(None, "holds characters of Unicode's private use area"));
    }
    // What the scanner says quotes nothing.
    let root = Tree::read(text)
        .map_err(|(line, reason)| wrong(Some(line), &format!("not YAML: {reason}")))?;
    let Some(Value::Map(services)) = root.get("services").map(|services| &services.value) else {
        return Err(wrong(None, "has no `services`: it is no docker-compose file"));
    };
    let mut containers = Vec::new();
    for (name, node) in services {
        containers.push(container(name.text().unwrap_or_default(), node, variables));
    }
    Ok(containers)
}

fn container(name: &str, node: &Node, variables: &mut Variables) -> Container {
    let mut words = |key: &str| -> Vec<String> {
        let folded = node.get(key).map(Node::texts).unwrap_or_default().into_iter();
        folded.map(|(text, _)| variables.fold(text)).collect()
    };
    let mut command = words("command");
    if let [line] = &mut command[..] {
        command = line.split_whitespace().map(str::to_owned).collect();
    }
    let image = words("image").pop().unwrap_or_default();
    let host = words("network_mode").pop().is_some_and(|mode| mode == "host");
    let ports = (!host).then(|| {
        let ports = node.get("ports").map(Node::items).unwrap_or_default();
        ports.iter().filter_map(|port| port_mapping(port, variables)).collect()
    });
    let mut labels = Vec::new();
    match node.get("labels").map(|labels| &labels.value) {
        Some(Value::List(list)) => {
            for (text, line) in list.iter().filter_map(|item| Some((item.text()?, item.line))) {
                let (key, value) = text.split_once('=').unwrap_or((text, ""));
                labels.push((key, value, line));
            }
        }
        Some(Value::Map(map)) => {
            for (key, value) in map {
                if let Some(text) = key.text() {
                    labels.push((text, value.text().unwrap_or_default(), key.line));
                }
            }
        }
        _ => {}
    }
    let label = |(key, value, line): (&str, &str, usize)| Label {
        key: variables.fold(key.trim()).to_ascii_lowercase(),
        value: variables.fold(value.trim()),
        line,
    };
    let labels = labels.into_iter().map(label).collect();
    Container { name: name.to_owned(), image, command, labels, ports }
}

/// A port in either syntax, as `[address:]published:target`.
fn port_mapping(port: &Node, variables: &mut Variables) -> Option<String> {
    let text = match &port.value {
        Value::Text(text) => text.clone(),
        Value::Map(_) => {
            format!("{}:{}", port.get("published")?.text()?, port.get("target")?.text()?)
        }
        _ => return None,
    };
    Some(variables.fold(&text))
}

/// A YAML node; anchors make a node the child of several.
#[derive(Debug)]
struct Node {
    value: Value,
    line: usize,
}

#[derive(Debug)]
enum Value {
    Text(String),
    List(Vec<Rc<Node>>),
    Map(Vec<(Rc<Node>, Rc<Node>)>),
}

impl Node {
    /// A key of a map, its own before those that `<<` merges in.
    fn get(&self, key: &str) -> Option<&Node> {
        self.get_merged(key, MERGES)
    }

    fn get_merged(&self, key: &str, merges: usize) -> Option<&Node> {
        let Value::Map(map) = &self.value else { return None };
        let own = |wanted: &str| map.iter().find(|(name, _)| name.text() == Some(wanted));
        if let Some((_, value)) = own(key) {
            return Some(value);
        }
        let (_, merged) = own("<<")?;
        let merges = merges.checked_sub(1)?;
        merged.items().into_iter().find_map(|node| node.get_merged(key, merges))
    }

    fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A list's nodes; what is no list is one of one.
    fn items(&self) -> Vec<&Node> {
        match &self.value {
            Value::List(list) => list.iter().map(|node| &**node).collect(),
            _ => vec![self],
        }
    }

    fn texts(&self) -> Vec<(&str, usize)> {
        self.items().into_iter().filter_map(|node| Some((node.text()?, node.line))).collect()
    }
}

/// Builds nodes from the parser's events.
struct Tree<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, Rc<Node>>,
}

/// A line and what is wrong there.
type Wrong = (usize, String);

impl<'a> Tree<'a> {
    /// The first document of a text.
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
        let (value, anchor) = match event {
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor).cloned();
                return known.ok_or_else(|| (line, "an alias within its own anchor".into()));
            }
            Event::Scalar(text, _, anchor, _) => (Value::Text(text.into_owned()), anchor),
            Event::SequenceStart(anchor, _) => {
                let mut list = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => list.push(self.node(event, span, depth + 1)?),
                    }
                }
                (Value::List(list), anchor)
            }
            Event::MappingStart(anchor, _) => {
                let mut map = Vec::new();
                loop {
                    let key = match self.next()? {
                        (Event::MappingEnd, _) => break,
                        (event, span) => self.node(event, span, depth + 1)?,
                    };
                    let (event, span) = self.next()?;
                    map.push((key, self.node(event, span, depth + 1)?));
                }
                (Value::Map(map), anchor)
            }
            _ => return Err((line, "a document within another".into())),
        };
        let node = Rc::new(Node { value, line });
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }
}

/// Nodes within each other; a compose file has six.
const DEPTH: usize = 64;
/// Merges within merges; each may name several nodes.
const MERGES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Container>, String> {
        read("c.yml", text, &mut Variables::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn labels_as_a_list_and_as_a_map_and_through_an_anchor() {
        let text = "
x-labels: &shared
  Traefik.Enable: true
services:
  a:
    image: traefik:v2.9.8
    command: [--a, '--b=c d']
    ports: ['80:80', {target: 443, published: 8443}]
    labels:
      - traefik.enable=true
      - 'b=c=${D}'
  b:
    command: --a  --b
    network_mode: host
    labels: *shared
  c:
    <<: {image: merged}
  d:
";
        let containers = read_text(text).expect("it is good");
        let labels = |i: usize| -> Vec<_> {
            let labels = &containers[i].labels;
            labels.iter().map(|label| (&*label.key, &*label.value, label.line)).collect()
        };
        assert_eq!(labels(0), [("traefik.enable", "true", 10), ("b", "c=\u{e000}", 11)]);
        assert_eq!(labels(1), [("traefik.enable", "true", 3)]);
        assert_eq!(containers[0].image, "traefik:v2.9.8");
        assert_eq!(containers[0].command, ["--a", "--b=c d"]);
        assert_eq!(containers[0].ports, Some(vec!["80:80".into(), "8443:443".into()]));
        assert_eq!(containers[1].command, ["--a", "--b"]);
        assert_eq!(containers[1].ports, None);
        assert_eq!(containers[2].image, "merged");
        assert_eq!(containers[3].name, "d");
    }

    #[test]
    fn what_is_no_compose_file_says_where_and_quotes_nothing() {
        for (text, error) in [
            ("", "c.yml:1: not YAML: it is empty"),
            ("a: b", "c.yml: has no `services`: it is no docker-compose file"),
            ("a: \u{e000}", "c.yml: holds characters of Unicode's private use area"),
            ("a: &x [*x]", "c.yml:1: not YAML: an alias within its own anchor"),
        ] {
            assert_eq!(read_text(text).err().as_deref(), Some(error), "{text}");
        }
        for text in ["services:\n  a: [secret", "services:\n\tsecret: 1", "a: *secret", "\"secret"]
        {
            let error = read_text(text).expect_err(text);
            assert!(error.starts_with("c.yml:") && !error.contains("secret"), "{text}: {error}");
        }
        let deep = format!("services: {}", "[".repeat(10_000));
        assert!(read_text(&deep).is_err());
    }
}
