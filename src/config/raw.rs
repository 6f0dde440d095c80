//! A TOML file as tables that know where they stand: each value is taken by key and type, and
//! whatever is wrong with it becomes an error with file, line and key.
//!
//! Not serde: its messages quote the value ("invalid type: integer `…`" for an unquoted token) and
//! do not say which table a key stood in. Here no error can quote a value, because none is handed
//! to one.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::interpolate::is_variable;
use super::keys::Keys;

/// Reads `${NAME}`: an environment variable, or `None` if it is not set.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The file under its name, and what its `${NAME}` mean.
pub(super) struct Source<'a> {
    file: &'a str,
    text: &'a str,
    env: Env<'a>,
    /// Where else `env` has looked, for the error: ` and not in env_file`.
    elsewhere: &'static str,
    /// Where each line but the first starts; rising.
    lines: Vec<usize>,
}

/// A key and its line: what an error or a warning points at.
#[derive(Debug, Clone)]
pub(super) struct Place {
    file: String,
    line: usize,
    key: String,
}

/// A string, `${NAME}` replaced. Not `Debug`: it may be a token.
pub(super) struct Text {
    pub(super) value: String,
    pub(super) place: Place,
}

/// A table whose keys are all known.
pub(super) struct Section<'a> {
    source: &'a Source<'a>,
    table: &'a DeTable<'a>,
    /// Its header, or its first key.
    pub(super) place: Place,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a str, text: &'a str, env: Env<'a>) -> Source<'a> {
        let lines = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        Source { file, text, env, elsewhere: "", lines }
    }

    /// The same, with variables of `env_file`, which `env` knows too.
    pub(super) fn with_env_file<'b>(&'b self, env: Env<'b>) -> Source<'b> {
        Source { env, elsewhere: ", nor in env_file", lines: self.lines.clone(), ..*self }
    }

    /// The file as TOML, for [`Source::root`].
    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'a>>, ConfigError> {
        DeTable::parse(self.text).map_err(|error| self.malformed(&error))
    }

    fn malformed(&self, error: &toml::de::Error) -> ConfigError {
        ConfigError {
            file: self.file.into(),
            line: error.span().map(|span| self.line(span.start)),
            key: String::new(),
            // Not the error's Display, which quotes the line.
            reason: error.message().replace('\n', " "),
        }
    }

    /// The same with every fault of its form, and without what they have spoilt.
    pub(super) fn parse_recoverable(&self) -> (Spanned<DeTable<'a>>, Vec<ConfigError>) {
        let (tree, errors) = DeTable::parse_recoverable(self.text);
        (tree, errors.iter().map(|error| self.malformed(error)).collect())
    }

    /// The table that the file is.
    pub(super) fn root(
        &'a self,
        tree: &'a DeTable<'a>,
        keys: &Keys,
    ) -> Result<Section<'a>, ConfigError> {
        let place = Place { file: self.file.into(), line: 1, key: String::new() };
        Section { source: self, table: tree, place }.checked(keys)
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.lines.partition_point(|&start| start <= offset)
    }
}

impl Place {
    pub(super) fn error(&self, reason: impl Into<String>) -> ConfigError {
        ConfigError {
            file: self.file.clone(),
            line: Some(self.line),
            key: self.key.clone(),
            reason: reason.into(),
        }
    }

    /// A warning looks as an error does.
    pub(super) fn warning(&self, reason: impl Into<String>) -> String {
        self.error(reason).to_string()
    }

    /// Another error's way to point here: `server.services.pi.hosts (line 12)`.
    pub(super) fn mention(&self) -> String {
        format!("{} (line {})", self.key, self.line)
    }

    /// The path of a file that lies beside this one.
    pub(super) fn beside(&self, name: &str) -> String {
        let folder = Path::new(&self.file).parent().unwrap_or(Path::new(""));
        folder.join(name).display().to_string()
    }

    /// A key that is absent below this place, which lends its line.
    pub(super) fn below(&self, key: &str) -> Place {
        let mut path = self.key.clone();
        push_key(&mut path, key);
        Place { key: path, ..self.clone() }
    }
}

impl<'a> Section<'a> {
    /// A table below this one.
    pub(super) fn section(
        &self,
        key: &str,
        keys: &Keys,
    ) -> Result<Option<Section<'a>>, ConfigError> {
        let Some((place, value)) = self.get(key) else { return Ok(None) };
        self.table_at(place, value)?.checked(keys).map(Some)
    }

    /// The tables in the table `key`, whose names the user chooses, in the order of the file.
    pub(super) fn sections(
        &self,
        key: &str,
        keys: &Keys,
    ) -> Result<Vec<(String, Section<'a>)>, ConfigError> {
        let Some((place, value)) = self.get(key) else { return Ok(Vec::new()) };
        let parent = self.table_at(place, value)?;
        let mut entries: Vec<_> = parent.table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let open = |(name, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let name: &str = Spanned::<std::borrow::Cow<'_, str>>::get_ref(name);
            let Some((place, _)) = parent.get(name) else { unreachable!("just listed") };
            let section = parent.table_at(place, value)?.checked(keys)?;
            Ok((name.to_owned(), section))
        };
        entries.into_iter().map(open).collect()
    }

    /// A string.
    pub(super) fn text(&self, key: &str) -> Result<Option<Text>, ConfigError> {
        let Some((place, value)) = self.get(key) else { return Ok(None) };
        self.text_at(place, value).map(Some)
    }

    /// A string or a list of strings, each with its own line; nothing if the key is absent.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<Text>, ConfigError> {
        let Some((place, value)) = self.get(key) else { return Ok(Vec::new()) };
        let DeValue::Array(list) = value.get_ref() else {
            return self.text_at(place, value).map(|text| vec![text]);
        };
        let numbered = list.iter().enumerate();
        let texts = numbered.map(|(index, value)| {
            let line = self.source.line(value.span().start);
            let place = Place { line, key: format!("{}[{index}]", place.key), ..place.clone() };
            self.text_at(place, value)
        });
        texts.collect()
    }

    /// The strings in the table `key`, by names that the user chooses, in the order of the file.
    pub(super) fn named_texts(&self, key: &str) -> Result<Vec<(String, Text)>, ConfigError> {
        let Some((place, value)) = self.get(key) else { return Ok(Vec::new()) };
        let table = self.table_at(place, value)?;
        let mut entries: Vec<_> = table.table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let texts = entries.into_iter().map(|(name, value)| {
            let name = name.get_ref().to_string();
            table.text_at(table.place_of(&name), value).map(|text| (name, text))
        });
        texts.collect()
    }

    /// A whole number is there, whichever.
    pub(super) fn has_number(&self, key: &str) -> bool {
        let value = self.get(key).map(|(_, value)| value.get_ref());
        matches!(value, Some(DeValue::Integer(_)))
    }

    /// A list is there, whichever.
    pub(super) fn has_list(&self, key: &str) -> bool {
        let value = self.get(key).map(|(_, value)| value.get_ref());
        matches!(value, Some(DeValue::Array(_)))
    }

    /// A whole number.
    pub(super) fn number(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, ConfigError> {
        let Some((place, value)) = self.get(key) else { return Ok(None) };
        let wanted = || format!("must be a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(digits) = value.get_ref() else {
            return Err(place.error(format!("{}, not {}", wanted(), a(value.get_ref()))));
        };
        match u64::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(place.error(wanted())),
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        let Some((place, value)) = self.get(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Boolean(flag) => Ok(Some(*flag)),
            other => Err(place.error(format!("must be true or false, not {}", a(other)))),
        }
    }

    /// `nodelay`: TCP_NODELAY is on everywhere, so that no leg waits for another byte; `false`
    /// loads with a warning.
    pub(super) fn check_nodelay(&self, warnings: &mut Vec<String>) -> Result<(), ConfigError> {
        if self.flag("nodelay")? == Some(false) {
            warnings.push(self.place_of("nodelay").warning("not used: TCP_NODELAY is always on"));
        }
        Ok(())
    }

    /// Where `key` stands; if it is absent, where it should.
    pub(super) fn place_of(&self, key: &str) -> Place {
        self.get(key).map_or_else(|| self.place.below(key), |(place, _)| place)
    }

    /// The key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn get(&self, key: &str) -> Option<(Place, &'a Spanned<DeValue<'a>>)> {
        let (name, value) = self.table.get_key_value(key)?;
        let line = self.source.line(name.span().start);
        Some((Place { line, ..self.place.below(key) }, value))
    }

    fn table_at(
        &self,
        place: Place,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Result<Section<'a>, ConfigError> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(Section { source: self.source, table, place }),
            other => Err(place.error(format!("must be a table, not {}", a(other)))),
        }
    }

    fn text_at(&self, place: Place, value: &Spanned<DeValue<'_>>) -> Result<Text, ConfigError> {
        match value.get_ref() {
            DeValue::String(raw) => {
                let value = expand(raw, self.source).map_err(|reason| place.error(reason))?;
                Ok(Text { value, place })
            }
            other => Err(place.error(format!("must be a string in quotes, not {}", a(other)))),
        }
    }

    /// No key but the known ones: the first other one in the file is the error.
    fn checked(self, keys: &Keys) -> Result<Section<'a>, ConfigError> {
        let strange = |name: &&Spanned<_>| {
            let name: &str = Spanned::<std::borrow::Cow<'_, str>>::get_ref(name);
            !keys.known.contains(&name)
        };
        let Some(name) = self.table.keys().filter(strange).min_by_key(|name| name.span().start)
        else {
            return Ok(self);
        };
        let place = self.place_of(name.get_ref());
        Err(place.error(keys.explain(name.get_ref())))
    }
}

impl Keys {
    /// What to do about an unknown key.
    fn explain(&self, name: &str) -> String {
        if let Some((keys, role)) = self.elsewhere
            && keys.known.contains(&name)
        {
            return format!("this key belongs in the {role}'s file");
        }
        match nearest(name, self.known) {
            Some(known) => format!("unknown key; did you mean `{known}`?"),
            None => format!("unknown key; known here: {}", self.known.join(", ")),
        }
    }
}

/// Replaces each `${NAME}`; `$${` stands for a literal `${`. What a variable holds is not read
/// again. The error names the variable and quotes nothing else.
fn expand(raw: &str, source: &Source<'_>) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            text.push_str(before);
            text.push_str("${");
            rest = after;
            continue;
        }
        text.push_str(before);
        let name = after.split_once('}').filter(|(name, _)| is_variable(name));
        let Some((name, after)) = name else {
            return Err("`${` without a variable's name and `}`; a literal `${` is `$${`".into());
        };
        let value = (source.env)(name).ok_or_else(|| {
            let elsewhere = source.elsewhere;
            format!("environment variable {name} is not set{elsewhere} (a literal `${{` is `$${{`)")
        })?;
        text.push_str(&value);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

/// Appends a key as TOML would write it. What the user chose is cut and escaped: it reaches a log.
fn push_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.len() <= KEY_BYTES_SHOWN && key.chars().all(bare) {
        path.push_str(key);
    } else {
        let shown: String = key.chars().take(KEY_BYTES_SHOWN).collect();
        let _ = write!(path, "{shown:?}"); // writing to a String cannot fail
    }
}

/// A value's type with its article, for "not …".
fn a(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// What may have been meant by a word that is none of the known ones.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|known| (distance(word, known), *known));
    let near = near.min().filter(|(steps, known)| *steps <= 1 + known.len() / 5);
    near.map(|(_, known)| known)
}

/// Levenshtein's: how many single-character edits lead from one to the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().take(KEY_BYTES_SHOWN).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.chars().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(a != b)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[to.chars().count()]
}

const KEY_BYTES_SHOWN: usize = 64;
