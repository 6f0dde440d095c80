//! The files that `import` is given, sorted by what is in them.

use std::rc::Rc;

use toml::de::DeTable;

use super::File;
use super::compose::Tree;
use super::settings::Setting;
use super::variables::Variables;
use super::yaml::Node;
use crate::config::{Config, ConfigError};

/// All of them.
pub(super) struct Inputs<'a> {
    pub(super) rathole: Vec<Source<'a>>,
    pub(super) compose: Vec<Tree>,
    /// Traefik's static configuration.
    pub(super) statics: Vec<Setting>,
    /// What the file provider reads.
    pub(super) dynamics: Vec<Setting>,
    others: Vec<&'a str>,
}

/// A rathole file that loads.
pub(super) struct Source<'a> {
    pub(super) file: File<'a>,
    pub(super) config: Config,
}

/// What a file of YAML or TOML is by its keys.
enum Shape {
    Compose,
    Static,
    Dynamic,
    Other,
}

impl<'a> Inputs<'a> {
    pub(super) fn sort(
        files: &[File<'a>],
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Inputs<'a>, String> {
        let (compose, statics, dynamics) = (Vec::new(), Vec::new(), Vec::new());
        let mut inputs =
            Inputs { rathole: Vec::new(), compose, statics, dynamics, others: Vec::new() };
        for File { name, text } in files.iter().copied() {
            // An editor of Windows may have put a mark in front.
            let file = File { name, text: text.strip_prefix('\u{feff}').unwrap_or(text) };
            let yaml = name.ends_with(".yml") || name.ends_with(".yaml");
            match yaml {
                true => inputs.add_yaml(file)?,
                false => inputs.add_toml(file, env)?,
            }
        }
        Ok(inputs)
    }

    fn add_yaml(&mut self, File { name, text }: File<'a>) -> Result<(), String> {
        if text.contains(Variables::RESERVED) {
            return Err(format!("{name}: holds characters of Unicode's private use area"));
        }
        // What the scanner says quotes nothing.
        let root =
            Node::read(text).map_err(|(line, why)| format!("{name}:{line}: not YAML: {why}"))?;
        let file: Rc<str> = name.into();
        let keys: Vec<&str> = root.entries().into_iter().map(|(key, ..)| key).collect();
        match shape(&keys) {
            Shape::Compose => self.compose.push((file, root)),
            Shape::Static => self.statics.push(Setting::from_yaml(&file, &root)),
            Shape::Dynamic => self.dynamics.push(Setting::from_yaml(&file, &root)),
            Shape::Other => {
                return Err(format!(
                    "{name}: has no `services`: it is no docker-compose file, nor one of Traefik's"
                ));
            }
        }
        self.others.push(name);
        Ok(())
    }

    fn add_toml(
        &mut self,
        file: File<'a>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), String> {
        let table = DeTable::parse(file.text).ok();
        let shape = table.as_ref().map_or(Shape::Other, |table| {
            let keys: Vec<&str> = table.get_ref().keys().map(|key| &**key.get_ref()).collect();
            match keys.contains(&"server") || keys.contains(&"client") {
                true => Shape::Other,
                false => shape(&keys),
            }
        });
        let name: Rc<str> = file.name.into();
        let setting = table.map(|table| Setting::from_toml(&name, file.text, table.get_ref()));
        match (shape, setting) {
            (Shape::Static, Some(setting)) => self.statics.push(setting),
            (Shape::Dynamic, Some(setting)) => self.dynamics.push(setting),
            _ => {
                let config = parse(file, env).map_err(|error| error.to_string())?;
                self.rathole.push(Source { file, config });
                return Ok(());
            }
        }
        self.others.push(file.name);
        Ok(())
    }

    /// Nothing is here but rathole's files.
    pub(super) fn is_rathole_alone(&self) -> bool {
        self.others.is_empty()
    }

    /// What the new file is made of.
    pub(super) fn names(&self, source: &Source<'a>) -> Vec<&'a str> {
        [source.file.name].into_iter().chain(self.others.iter().copied()).collect()
    }
}

impl Source<'_> {
    /// An error in the new file, with the line of the old one where the key stands.
    pub(super) fn place_in_it(&self, error: ConfigError) -> ConfigError {
        let path: Vec<&str> = error.key.split('.').collect();
        let sheet = super::Sheet::read(self.file.text);
        let line = sheet.and_then(|sheet| {
            let shortest = 1.min(path.len());
            let mut prefixes = (shortest..=path.len()).rev().map(|end| &path[..end]);
            prefixes.find_map(|path| sheet.find(path).map(|key| sheet.line(&key)))
        });
        ConfigError { line, ..error }
    }
}

fn shape(keys: &[&str]) -> Shape {
    let has = |wanted: &[&str]| {
        keys.iter().any(|key| wanted.iter().any(|wanted| key.eq_ignore_ascii_case(wanted)))
    };
    if has(&["services", "include"]) {
        return Shape::Compose;
    }
    if has(&["entrypoints", "providers", "api", "certificatesresolvers", "accesslog", "log"]) {
        return Shape::Static;
    }
    if has(&["http", "tcp", "udp", "tls"]) {
        return Shape::Dynamic;
    }
    Shape::Other
}

/// Parses with stand-ins for variables that are not set here.
pub(super) fn parse(
    file: File<'_>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    Config::parse(file.name, file.text, &|name| {
        env(name).or_else(|| Some(stand_in(file.text, name)))
    })
}

/// What a variable may hold, by where it stands.
fn stand_in(text: &str, name: &str) -> String {
    let variable = format!("${{{name}}}");
    let mut lines = text.lines().filter(|line| line.contains(&variable));
    if let Some(users) = lines.clone().find(|line| line.contains("users = ")) {
        // A line of htpasswd, or a part of one.
        return match (
            users.contains(&format!(":{variable}")),
            users.contains(&format!("{variable}:")),
        ) {
            (true, _) => SAMPLE_HASH.to_owned(),
            (false, true) => name.to_owned(),
            (false, false) => format!("{name}:{SAMPLE_HASH}"),
        };
    }
    if lines.any(|line| line.contains("_key")) {
        return SAMPLE_KEY.to_owned();
    }
    if text.contains(&format!(":{variable}\"")) {
        // Ports of different names should differ.
        let sum = name.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31) + u32::from(byte));
        return (20_000 + sum % 40_000).to_string();
    }
    if text.contains(&format!("\"{variable}:")) {
        return "192.0.2.7".to_owned();
    }
    "example.com".to_owned()
}

/// Of a password that nobody has.
const SAMPLE_HASH: &str = "{SHA}AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
/// 32 bytes in base64.
const SAMPLE_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
