//! What Traefik is told, in one shape: labels, flags, variables of the environment, YAML and TOML
//! are all trees of names, and Traefik reads all of them alike.

use std::fmt;
use std::rc::Rc;

use toml::de::{DeTable, DeValue};

use super::yaml::{Node, Value};

/// Where something stands: the file as the user named it, and the line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) file: Rc<str>,
    pub(super) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A name with its value, or with more names below it.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// As it was spelled first; Traefik does not tell upper from lower case where it looks for one.
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) place: Place,
    pub(super) below: Vec<Setting>,
}

impl Setting {
    pub(super) fn root(place: Place) -> Setting {
        Setting { name: String::new(), value: None, place, below: Vec::new() }
    }

    /// Sets the value at the end of a path of names; what was there is replaced.
    pub(super) fn insert<'a>(
        &mut self,
        path: impl IntoIterator<Item = &'a str>,
        value: &str,
        place: &Place,
    ) {
        let mut at = self;
        for name in path {
            let known = at.below.iter().position(|below| below.name.eq_ignore_ascii_case(name));
            let index = known.unwrap_or_else(|| {
                let fresh = Setting { name: name.to_owned(), ..Setting::root(place.clone()) };
                at.below.push(fresh);
                at.below.len() - 1
            });
            at = &mut at.below[index];
        }
        at.value = Some(value.to_owned());
    }

    /// What is below, by a path of names with dots between.
    pub(super) fn get(&self, path: &str) -> Option<&Setting> {
        path.split('.').try_fold(self, |at, name| {
            at.below.iter().find(|below| below.name.eq_ignore_ascii_case(name))
        })
    }

    /// The value at the end of a path.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.get(path)?.value.as_deref()
    }

    /// A value that is a list of words.
    pub(super) fn list(&self, path: &str) -> Option<Vec<String>> {
        let setting = self.get(path)?;
        let numbered = setting.below.iter().filter_map(|below| below.value.clone());
        match &setting.value {
            None => Some(numbered.collect()),
            Some(text) => Some(
                text.split(',')
                    .map(str::trim)
                    .filter(|t| !t.is_empty())
                    .map(str::to_owned)
                    .collect(),
            ),
        }
    }

    /// A value that is true or false, as Go's `ParseBool` takes it; `None`: neither, or not there.
    pub(super) fn flag(&self, path: &str) -> Option<bool> {
        parse_bool(self.text(path)?)
    }

    /// Whether a part that may be empty is there: it has something below it, or `true`, or nothing
    /// behind the `=`.
    pub(super) fn has_part(&self, path: &str) -> bool {
        self.get(path).is_some_and(|part| {
            let on = |text: &String| text.is_empty() || text.eq_ignore_ascii_case("true");
            !part.below.is_empty() || part.value.as_ref().is_some_and(on)
        })
    }

    /// All that is here and below, with its path in lower case.
    pub(super) fn leaves(&self) -> Vec<(String, &Setting)> {
        let mut all = Vec::new();
        for below in &self.below {
            let name = below.name.to_ascii_lowercase();
            if below.value.is_some() {
                all.push((name.clone(), below));
            }
            all.extend(
                below.leaves().into_iter().map(|(path, leaf)| (format!("{name}.{path}"), leaf)),
            );
        }
        all
    }

    /// From YAML.
    pub(super) fn from_yaml(file: &Rc<str>, node: &Node) -> Setting {
        let mut root = Setting::root(Place { file: file.clone(), line: node.line });
        add_yaml(&mut root, file, node, DEPTH);
        root
    }

    /// From TOML; the text is for the lines.
    pub(super) fn from_toml(file: &Rc<str>, text: &str, table: &DeTable<'_>) -> Setting {
        let mut root = Setting::root(Place { file: file.clone(), line: 1 });
        add_table(&mut root, file, text, table, DEPTH);
        root
    }
}

fn add_yaml(at: &mut Setting, file: &Rc<str>, node: &Node, depth: usize) {
    if depth == 0 {
        return;
    }
    match &node.value {
        Value::Text(text) => at.value = Some(text.clone()),
        Value::List(list) if list.iter().all(|item| item.text().is_some()) => {
            let texts: Vec<&str> = list.iter().filter_map(|item| item.text()).collect();
            at.value = Some(texts.join(","));
        }
        Value::List(list) => {
            for (i, item) in list.iter().enumerate() {
                let place = Place { file: file.clone(), line: item.line };
                let mut below = Setting { name: format!("[{i}]"), ..Setting::root(place) };
                add_yaml(&mut below, file, item, depth - 1);
                at.below.push(below);
            }
        }
        Value::Map(map) => {
            if map.is_empty() {
                at.value = Some(String::new());
            }
            for (key, value, line) in node.entries() {
                let place = Place { file: file.clone(), line };
                let mut below = Setting { name: key.to_owned(), ..Setting::root(place) };
                add_yaml(&mut below, file, value, depth - 1);
                at.below.push(below);
            }
        }
    }
}

fn add_table(at: &mut Setting, file: &Rc<str>, text: &str, table: &DeTable<'_>, depth: usize) {
    if depth == 0 {
        return;
    }
    if table.is_empty() {
        at.value = Some(String::new());
    }
    for (key, value) in table {
        let line = 1 + text[..key.span().start].matches('\n').count();
        let place = Place { file: file.clone(), line };
        let mut below = Setting { name: key.get_ref().to_string(), ..Setting::root(place) };
        add_value(&mut below, file, text, value.get_ref(), depth - 1);
        at.below.push(below);
    }
}

fn add_value(at: &mut Setting, file: &Rc<str>, text: &str, value: &DeValue<'_>, depth: usize) {
    match value {
        DeValue::Table(table) => add_table(at, file, text, table, depth),
        DeValue::Array(list) if depth > 0 => {
            let mut texts = Vec::new();
            for (i, item) in list.iter().enumerate() {
                let name = format!("[{i}]");
                let mut below = Setting { name, ..Setting::root(at.place.clone()) };
                add_value(&mut below, file, text, item.get_ref(), depth - 1);
                match &below.value {
                    Some(value) => texts.push(value.clone()),
                    None => at.below.push(below),
                }
            }
            if at.below.is_empty() {
                at.value = Some(texts.join(","));
            }
        }
        DeValue::Array(_) => {}
        DeValue::String(value) => at.value = Some(value.to_string()),
        DeValue::Integer(digits) => at.value = Some(digits.as_str().to_owned()),
        DeValue::Float(digits) => at.value = Some(digits.as_str().to_owned()),
        DeValue::Boolean(flag) => at.value = Some(flag.to_string()),
        DeValue::Datetime(time) => at.value = Some(time.to_string()),
    }
}

/// A label's or flag's name as a path: `domains[0].main` has three names.
pub(super) fn path_of(key: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for part in key.split('.') {
        match part.find('[').filter(|at| part.ends_with(']') && *at > 0) {
            Some(at) => names.extend([&part[..at], &part[at..]]),
            None => names.push(part),
        }
    }
    names
}

/// Go's `strconv.ParseBool`.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Names within names.
const DEPTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { file: "f".into(), line: 1 }
    }

    #[test]
    fn names_are_found_without_regard_to_case_and_keep_their_first_spelling() {
        let mut root = Setting::root(place());
        for (key, value) in
            [("http.Routers.W.rule", "a"), ("HTTP.routers.w.tls", ""), ("x[0].y", "b,c")]
        {
            root.insert(path_of(key), value, &place());
        }
        let router = root.get("http.routers.w").expect("there");
        assert_eq!((&*router.name, router.text("RULE")), ("W", Some("a")));
        assert!(router.has_part("tls") && !router.has_part("rule"));
        assert_eq!(root.list("x.[0].y"), Some(vec!["b".into(), "c".into()]));
        let leaves: Vec<String> = root.leaves().into_iter().map(|(path, _)| path).collect();
        assert_eq!(leaves, ["http.routers.w.rule", "http.routers.w.tls", "x.[0].y"]);
    }

    #[test]
    fn yaml_and_toml_are_the_same() {
        let yaml = "entryPoints:\n  web:\n    address: ':80'\n    a: [x, y]\n    b: [{u: 1}]\n";
        let toml =
            "[entryPoints.web]\naddress = ':80'\na = ['x', 'y']\n[[entryPoints.web.b]]\nu = 1\n";
        let node = Node::read(yaml).expect("YAML");
        let table = DeTable::parse(toml).expect("TOML");
        let file: Rc<str> = "f".into();
        for root in
            [Setting::from_yaml(&file, &node), Setting::from_toml(&file, toml, table.get_ref())]
        {
            assert_eq!(root.text("entrypoints.web.address"), Some(":80"));
            assert_eq!(root.list("entrypoints.web.a"), Some(vec!["x".into(), "y".into()]));
            assert_eq!(root.text("entrypoints.web.b.[0].u"), Some("1"));
        }
    }

    #[test]
    fn booleans_are_gos() {
        for (text, flag) in [
            ("1", Some(true)),
            ("T", Some(true)),
            ("tRue", None),
            ("yes", None),
            ("f", Some(false)),
        ] {
            assert_eq!(parse_bool(text), flag, "{text}");
        }
    }
}
