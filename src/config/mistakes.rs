//! Every mistake of a file, not the first alone.
//!
//! Reading stops at the first mistake, since what follows may stand on it. So the file is read
//! again without what was wrong, as long as that shows another one. What is only missing because it
//! was taken out is no mistake: then what it belongs to goes too.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::env_file::ReadFile;
use super::files::{self, Files};
use super::raw::Source;
use super::{Config, ConfigError, text};

/// More are no help.
const MOST: usize = 20;

impl Config {
    /// Every mistake of a file, of which [`Config::load`] says the first; none if it loads.
    pub fn mistakes(path: &Path) -> Vec<ConfigError> {
        let Err(first) = Config::load(path) else { return Vec::new() };
        let file = path.display().to_string();
        let read = || {
            let bytes = files::read_configuration(path, false, &mut Vec::new()).ok()?;
            text(&file, bytes).ok()
        };
        let Some(text) = read() else { return vec![first] };
        let mut seen = Vec::new();
        let files = Files::beside(path, &mut seen);
        let env = |name: &str| std::env::var(name).ok();
        let found = find(&file, &text, &env, &|name, most| files.read(name, most));
        // A file that has changed meanwhile may have none any more.
        if found.is_empty() { vec![first] } else { found }
    }
}

/// Those of `text`, in the order in which they are found.
fn find(
    file_name: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    file: ReadFile<'_>,
) -> Vec<ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Source::new(file_name, text, env);
    let (mut tree, malformed) = source.parse_recoverable();
    if !malformed.is_empty() {
        // Whatever else was said of it would be a guess.
        return malformed.into_iter().take(MOST).collect();
    }
    let (mut found, mut removed): (Vec<ConfigError>, Vec<Vec<String>>) = (Vec::new(), Vec::new());
    while found.len() < MOST
        && let Err(error) = Config::read(&source, tree.get_mut(), env, file)
    {
        let (mut path, element) = path_of(&error.key);
        if !removed.iter().any(|gone| follows_from(&error, &path, gone)) {
            found.push(error);
        }
        // What is not there cannot be taken out: something stands in for it, or what should have
        // it goes.
        let mut is_gone = remove(tree.get_mut(), &path, element) || stand_in(tree.get_mut(), &path);
        while !is_gone && path.len() > 2 {
            path.pop();
            is_gone = remove(tree.get_mut(), &path, None);
        }
        if !is_gone {
            break;
        }
        removed.push(path);
    }
    found
}

/// Whether there would be no such error if `gone` had not been taken out.
fn follows_from(error: &ConfigError, path: &[String], gone: &[String]) -> bool {
    let is_of_name = |it: char| it.is_alphanumeric() || matches!(it, '-' | '_');
    let words = || error.reason.split(|it| !is_of_name(it));
    // A service, `server.services.NAME`, of which something else speaks.
    let speaks_of_it =
        gone.len() == 3 && gone.last().is_some_and(|name| words().any(|word| word == name));
    path == gone || speaks_of_it
}

/// The keys of a path such as `server.services."a.b".hosts[2]`, and the number behind it.
fn path_of(key: &str) -> (Vec<String>, Option<usize>) {
    let (keys, element) = match key.strip_suffix(']').and_then(|key| key.rsplit_once('[')) {
        Some((keys, number)) => (keys, number.parse().ok()),
        None => (key, None),
    };
    let line = format!("{keys} = 0");
    let mut path = Vec::new();
    let Ok(tree) = DeTable::parse(&line) else { return (path, None) };
    let mut table = Some(tree.get_ref());
    while let Some((name, value)) = table.and_then(|table| table.iter().next()) {
        path.push(name.get_ref().to_string());
        table = match value.get_ref() {
            DeValue::Table(below) => Some(below),
            _ => None,
        };
    }
    (path, element)
}

/// Takes a key out, or one element of a list that has others; whether it was there.
fn remove(table: &mut DeTable<'_>, path: &[String], element: Option<usize>) -> bool {
    let [key, rest @ ..] = path else { return false };
    if let [_, ..] = rest {
        return match table.get_mut(key.as_str()).map(AsMut::as_mut) {
            Some(DeValue::Table(below)) => remove(below, rest, element),
            _ => false,
        };
    }
    let Some((name, value)) = table.remove_entry(key.as_str()) else { return false };
    let span = value.span();
    if let (DeValue::Array(list), Some(element)) = (value.into_inner(), element)
        && list.len() > 1
    {
        let others = list.into_iter().enumerate().filter(|(index, _)| *index != element);
        let others = others.map(|(_, value)| value).collect();
        table.insert(name, Spanned::new(span, DeValue::Array(others)));
    }
    true
}

/// What a role or a service cannot be without.
const STAND_INS: [(&str, &str); 3] =
    [("bind_addr", "127.0.0.1:0"), ("remote_addr", "localhost:1"), ("token", "0123456789abcdef")];

/// Puts something in the place of what is needed; whether there is such a thing.
fn stand_in(table: &mut DeTable<'_>, path: &[String]) -> bool {
    match path {
        [] => false,
        [key] => {
            let Some((_, value)) = STAND_INS.iter().find(|(name, _)| name == key) else {
                return false;
            };
            let value = DeValue::String((*value).into());
            let (name, value) = (Spanned::new(0..0, key.clone().into()), Spanned::new(0..0, value));
            table.get(key.as_str()).is_none() && table.insert(name, value).is_none()
        }
        [key, rest @ ..] => match table.get_mut(key.as_str()).map(AsMut::as_mut) {
            Some(DeValue::Table(below)) => stand_in(below, rest),
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        let found =
            find("f.toml", text, &|_| None, &|_, _| Err(std::io::ErrorKind::NotFound.into()));
        found
            .into_iter()
            .map(|error| format!("{} {}", error.line.unwrap_or(0), error.key))
            .collect()
    }

    #[test]
    fn each_mistake_is_found_once_and_nothing_that_follows_from_one() {
        let text = "[server]\n\
            bind_addr = 'nowhere'\n\
            https_addr = '0.0.0.0:443'\n\
            heartbeat_interval = -1\n\
            ssh_service = 'pi'\n\
            [server.services.pi]\n\
            tokn = 'abcdefghijklmnop'\n\
            token = 'abcdefghijklmnop'\n\
            bind_addr = ['0.0.0.0:1', 'x', '0.0.0.0:2', 'y']\n\
            [server.services.\"a b\"]\n\
            type = 'https'\n\
            token = 'abcdefghijklmnop'\n\
            hosts = ['a..b', 'ok.example', '*x.example']\n\
            [server.services.none]\n\
            type = 'https'\n\
            token = 'abcdefghijklmnop'\n";
        let found = keys(text);
        for line in ["2 server.bind_addr", "4 server.heartbeat_interval"] {
            assert!(found.iter().any(|it| it == line), "{line}: {found:?}");
        }
        for key in ["pi.tokn", "bind_addr[1]", "none.hosts"] {
            assert!(found.iter().any(|it| it.contains(key)), "{key}: {found:?}");
        }
        let mut once = found.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), found.len(), "{found:?}");
        assert!(!found.iter().any(|it| it.ends_with("ssh_service")), "{found:?}");
    }

    #[test]
    fn faults_of_form_are_said_by_themselves() {
        let found = keys("[server]\nbind_addr = 1\nbind_addr = 2\n[client\nx = \n");
        assert!(found.len() >= 2 && found.iter().all(|it| it.ends_with(' ')), "{found:?}");
        assert!(
            keys("[server]\nbind_addr = '[::1]:1'\ndefault_token = 'abcdefghijklmnop'\n")
                .is_empty()
        );
    }
}
