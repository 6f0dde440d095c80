//! docker-compose files: their containers, as far as Traefik and rathole need them. Several files
//! are one, as Compose merges them.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::ports::Publishing;
use super::settings::Place;
use super::variables::Variables;
use super::yaml::{Mark, Node, Value};

/// One of the files' services.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) image: Image,
    /// The folder that it is built from, if it is.
    pub(super) build: String,
    /// The words of `entrypoint` and of `command`, each also where it is one string.
    pub(super) entrypoint: Vec<String>,
    pub(super) command: Vec<(String, Place)>,
    pub(super) environment: Vec<Label>,
    pub(super) labels: Vec<Label>,
    /// `deploy.labels`, which Docker puts on a swarm's service and not on its containers.
    pub(super) swarm_labels: Vec<Label>,
    pub(super) network: Network,
    /// `ports`.
    pub(super) published: Vec<Publishing>,
    /// `expose`: ports that only other containers reach.
    pub(super) exposed: Vec<u16>,
    /// Where files and folders of the host are seen in the container.
    pub(super) mounts: Vec<String>,
    /// More names that other containers know it by.
    pub(super) aliases: Vec<String>,
    /// What of it could not be read, and may say anything.
    pub(super) unread: Option<String>,
}

/// A label, or a variable of the environment; `${NAME}` in it is folded.
#[derive(Debug, Clone)]
pub(super) struct Label {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) place: Place,
}

/// `registry:5000/team/name:tag@sha256:…`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Image {
    /// The last part of the name.
    pub(super) name: String,
    pub(super) tag: Option<String>,
    pub(super) has_digest: bool,
}

/// Whose network a container uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Network {
    Own,
    /// The host's: what it listens on is open as it says.
    Host,
    /// That of another container, by its name.
    Of(String),
    /// None at all.
    Nothing,
}

/// A file's name and its tree.
pub(super) type Tree = (Rc<str>, Rc<Node>);

/// Reads the containers of all files, those that `extends` names among them.
pub(super) fn read(files: &[Tree], variables: &mut Variables<'_>) -> Vec<Container> {
    let mut names: Vec<(&str, Place)> = Vec::new();
    for (file, root) in files {
        let services = root.get("services").map(|services| services.entries());
        for (name, node, line) in services.unwrap_or_default() {
            let known = names.iter().position(|(known, _)| *known == name);
            match (known, node.tag) {
                (Some(known), Some(Mark::Reset)) => drop(names.remove(known)),
                (None, Some(Mark::Reset)) | (Some(_), _) => {}
                (None, _) => names.push((name, Place { file: file.clone(), line })),
            }
        }
    }
    let mut containers = Vec::new();
    for (name, place) in names {
        let mut layers = Layers { files, all: Vec::new(), unread: None };
        for (file, root) in files {
            layers.add(file, root, name, EXTENDS);
        }
        containers.push(layers.container(name, place, variables));
    }
    containers
}

/// What the files say of one service, the first said first.
struct Layers<'a> {
    files: &'a [Tree],
    all: Vec<(Rc<str>, Rc<Node>)>,
    unread: Option<String>,
}

impl Layers<'_> {
    fn add(&mut self, file: &Rc<str>, root: &Node, name: &str, depth: usize) {
        let Some(service) = root.get("services").and_then(|services| services.get(name)) else {
            return;
        };
        let service = service.clone();
        if let Some(extends) = service.get("extends") {
            self.add_base(file, root, extends, depth);
        }
        if service.tag == Some(Mark::Override) {
            self.all.clear();
        }
        self.all.push((file.clone(), service));
    }

    /// `extends: service`, or `{file, service}`.
    fn add_base(&mut self, file: &Rc<str>, root: &Node, extends: &Node, depth: usize) {
        let service = extends.text().or_else(|| extends.get("service")?.text());
        let Some((service, depth)) = service.zip(depth.checked_sub(1)) else { return };
        let Some(other) = extends.get("file").and_then(|other| other.text()) else {
            if root.get("services").and_then(|services| services.get(service)).is_none() {
                self.unread = Some(format!("extends: there is no service {service} in {file}"));
            }
            return self.add(file, root, service, depth);
        };
        let base = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
        match self.files.iter().find(|(name, _)| base(name) == base(other)) {
            Some((name, root)) => self.add(&name.clone(), &root.clone(), service, depth),
            None => {
                self.unread = Some(format!("it extends a service of {other}: name that file too"))
            }
        }
    }

    /// The last file's word.
    fn last(&self, key: &str) -> Option<(&Rc<str>, &Rc<Node>)> {
        let mut all = self.all.iter().rev();
        let found = all.find_map(|(file, node)| Some((file, node.get(key)?)))?;
        (found.1.tag != Some(Mark::Reset)).then_some(found)
    }

    fn text(&self, key: &str, variables: &mut Variables<'_>) -> String {
        let text = self.last(key).and_then(|(_, node)| node.text()).unwrap_or_default();
        variables.fold(text)
    }

    /// The words of a command: one string is split as a shell would.
    fn words(&self, key: &str, variables: &mut Variables<'_>) -> Vec<(String, Place)> {
        let Some((file, node)) = self.last(key) else { return Vec::new() };
        let texts = node
            .texts()
            .into_iter()
            .map(|(text, line)| (variables.fold(text), Place { file: file.clone(), line }));
        let texts: Vec<_> = texts.collect();
        match (&node.value, &texts[..]) {
            (Value::Text(_), [(line, place)]) => {
                split_words(line).into_iter().map(|word| (word, place.clone())).collect()
            }
            _ => texts,
        }
    }

    /// What all files list, unless one of them says otherwise.
    fn items(&self, key: &str) -> Vec<(Rc<str>, Rc<Node>)> {
        let mut items = Vec::new();
        for (file, node) in &self.all {
            let Some(node) = node.get(key) else { continue };
            if node.tag.is_some() {
                items.clear();
            }
            if node.tag != Some(Mark::Reset) {
                items.push((file.clone(), node.clone()));
            }
        }
        items
    }

    /// `KEY=value` in a list, or a map; a later file's value goes before.
    fn pairs(&self, items: Vec<(Rc<str>, Rc<Node>)>, variables: &mut Variables<'_>) -> Vec<Label> {
        let mut pairs: BTreeMap<String, Label> = BTreeMap::new();
        let mut add = |key: &str, value: &str, place: Place| {
            let (key, value) = (variables.fold(key), variables.fold(value));
            pairs.insert(key.clone(), Label { key, value, place });
        };
        for (file, node) in items {
            let place = |line| Place { file: file.clone(), line };
            if let Value::List(_) = &node.value {
                for (text, line) in node.texts() {
                    let (key, value) = text.split_once('=').unwrap_or((text, ""));
                    add(key, value, place(line));
                }
            }
            for (key, value, line) in node.entries() {
                let removed = value.tag == Some(Mark::Reset);
                match removed {
                    true => add(key, "", place(line)),
                    false => add(key, value.text().unwrap_or_default(), place(line)),
                }
            }
        }
        pairs.into_values().collect()
    }

    fn container(mut self, name: &str, place: Place, variables: &mut Variables<'_>) -> Container {
        if self.last("label_file").is_some() {
            self.unread = Some("it has labels in a label_file, which is not read here".into());
        }
        let deploy = self.items("deploy").into_iter();
        let swarm = deploy.filter_map(|(file, node)| Some((file, node.get("labels")?.clone())));
        let swarm_labels = self.pairs(swarm.collect(), variables);
        let labels = self.pairs(self.items("labels"), variables);
        let environment = self.pairs(self.items("environment"), variables);
        let mut published = Vec::new();
        for (file, node) in self.items("ports") {
            for port in node.items() {
                let place = Place { file: file.clone(), line: port.line };
                published.push(Publishing::read(port, place, variables));
            }
        }
        let mut texts = |key: &str| -> Vec<String> {
            let items = self.items(key);
            let texts = items.iter().flat_map(|(_, node)| node.texts());
            texts.map(|(text, _)| variables.fold(text)).collect()
        };
        let exposed = texts("expose");
        let mounts = self.mounts(variables);
        let mode = self.text("network_mode", variables);
        let build = match self.last("build") {
            Some((_, node)) => match node.get("context").unwrap_or(node).text() {
                Some(context) => variables.fold(context),
                None => ".".into(),
            },
            None => String::new(),
        };
        let aliases = ["container_name", "hostname"].map(|key| self.text(key, variables));
        Container {
            name: name.to_owned(),
            place,
            image: Image::parse(&self.text("image", variables)),
            build,
            entrypoint: self.words("entrypoint", variables).into_iter().map(|(w, _)| w).collect(),
            command: self.words("command", variables),
            environment,
            labels,
            swarm_labels,
            network: Network::parse(&mode),
            published,
            exposed: exposed
                .iter()
                .filter_map(|text| text.split('/').next()?.parse().ok())
                .collect(),
            mounts,
            aliases: aliases.into_iter().filter(|alias| !alias.is_empty()).collect(),
            unread: self.unread,
        }
    }

    /// `host:container[:mode]`, or `{target}`.
    fn mounts(&self, variables: &mut Variables<'_>) -> Vec<String> {
        let mut mounts = Vec::new();
        for (_, node) in ["volumes", "configs", "secrets"].into_iter().flat_map(|k| self.items(k)) {
            for volume in node.items() {
                let target = match volume.text() {
                    Some(text) => {
                        let folded = variables.fold(text);
                        let mut parts = folded.split(':').skip(1);
                        parts.next().map(str::to_owned)
                    }
                    None => volume.get("target").and_then(|t| t.text()).map(str::to_owned),
                };
                mounts.extend(target);
            }
        }
        mounts
    }
}

impl Container {
    /// The words that start its program.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        let command = self.command.iter().map(|(word, _)| &**word);
        self.entrypoint.iter().map(|word| &**word).chain(command)
    }
}

impl Image {
    pub(super) fn parse(text: &str) -> Image {
        let (name, digest) = match text.split_once('@') {
            Some((name, _)) => (name, true),
            None => (text, false),
        };
        let last = name.rsplit('/').next().unwrap_or_default();
        let (name, tag) = match last.split_once(':') {
            Some((name, tag)) => (name, Some(tag.to_owned())),
            None => (last, None),
        };
        Image { name: name.to_owned(), tag, has_digest: digest }
    }
}

impl Network {
    fn parse(mode: &str) -> Network {
        match mode.split_once(':') {
            _ if mode == "host" => Network::Host,
            _ if mode == "none" => Network::Nothing,
            Some(("service" | "container", name)) => Network::Of(name.to_owned()),
            _ => Network::Own,
        }
    }
}

/// As a shell splits words, as far as commands in Compose files go.
fn split_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(open)) if c == open => quote = None,
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(chars.next()),
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Services that extend others.
const EXTENDS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_texts(texts: &[&str]) -> Vec<Container> {
        let env = |_: &str| None;
        let mut variables = Variables::new(&env);
        let tree = |(i, text): (usize, &&str)| {
            let name: Rc<str> = format!("{i}.yml").into();
            (name, Node::read(text).expect(text))
        };
        let files: Vec<Tree> = texts.iter().enumerate().map(tree).collect();
        read(&files, &mut variables)
    }

    fn pairs(labels: &[Label]) -> Vec<(&str, &str, usize)> {
        labels.iter().map(|label| (&*label.key, &*label.value, label.place.line)).collect()
    }

    #[test]
    fn labels_as_a_list_and_as_a_map_and_through_anchors() {
        let text = "
x-labels: &shared
  Traefik.Enable: True
services:
  a:
    image: traefik:v2.9.8
    command: [--a, '--b=c d']
    labels:
      - traefik.enable=true
      - 'b=c=${D}'
  b:
    command: --a  '--b c'
    network_mode: host
    labels: {<<: *shared, x: 1}
    deploy: {labels: [s=1]}
  c:
    <<: {image: merged}
  d:
    network_mode: service:a
    volumes: ['./t.yml:/etc/traefik/traefik.yml:ro', {target: /x}]
";
        let containers = read_texts(&[text]);
        let [a, b, c, d] = &containers[..] else { panic!("{containers:?}") };
        assert_eq!(pairs(&a.labels), [("b", "c=\u{e000}", 10), ("traefik.enable", "true", 9)]);
        assert_eq!(pairs(&b.labels), [("Traefik.Enable", "true", 3), ("x", "1", 14)]);
        assert_eq!(pairs(&b.swarm_labels), [("s", "1", 15)]);
        assert_eq!(a.words().collect::<Vec<_>>(), ["--a", "--b=c d"]);
        assert_eq!(b.words().collect::<Vec<_>>(), ["--a", "--b c"]);
        assert_eq!((&a.network, &b.network), (&Network::Own, &Network::Host));
        assert_eq!(c.image.name, "merged");
        assert_eq!(d.network, Network::Of("a".into()));
        assert_eq!(d.mounts, ["/etc/traefik/traefik.yml", "/x"]);
    }

    #[test]
    fn files_are_merged_as_compose_does() {
        let base =
            "services:\n  a:\n    image: x\n    labels: [k=1, l=1]\n    ports: ['1:1']\n  b: {}\n";
        let more = "services:\n  a:\n    image: y\n    labels: {k: 2}\n    ports: ['2:2']\n  c:\n\
                    \x20   \
                    extends: {file: ./0.yml, service: a}\n    labels: [m=3]\n";
        let containers = read_texts(&[base, more]);
        let names: Vec<_> = containers.iter().map(|c| &*c.name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(containers[0].image.name, "y");
        assert_eq!(containers[0].published.len(), 2);
        assert_eq!(pairs(&containers[0].labels), [("k", "2", 4), ("l", "1", 4)]);
        assert_eq!(pairs(&containers[2].labels), [("k", "1", 4), ("l", "1", 4), ("m", "3", 8)]);
        let over = "services:\n  a:\n    labels: !override {z: 1}\n    ports: !reset []\n";
        let containers = read_texts(&[base, over]);
        assert_eq!(pairs(&containers[0].labels), [("z", "1", 3)]);
        assert!(containers[0].published.is_empty());
        let lost = read_texts(&["services:\n  a:\n    extends: {file: no.yml, service: a}\n"]);
        assert!(lost[0].unread.is_some());
    }

    #[test]
    fn images_have_a_tag_a_digest_or_both() {
        for (text, name, tag, digest) in [
            ("traefik", "traefik", None, false),
            ("traefik:v2.9", "traefik", Some("v2.9"), false),
            ("r.io:5000/a/traefik@sha256:3f", "traefik", None, true),
            ("r.io:5000/a/traefik:v3@sha256:3f", "traefik", Some("v3"), true),
        ] {
            let tag = tag.map(str::to_owned);
            let image = Image { name: name.into(), tag, has_digest: digest };
            assert_eq!(Image::parse(text), image, "{text}");
        }
    }
}
