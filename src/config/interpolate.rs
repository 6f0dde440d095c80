//! Variables as Compose writes them: where they stand in a text, and what their forms choose. For
//! docker-compose files and for those of `env_file`, which differ in what a variable becomes.

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// As it is.
    Text(&'a str),
    /// `$$`, a literal `$`.
    Dollar,
    /// What looks like a variable; its name may be none.
    Variable(Variable<'a>),
}

/// `$NAME`, or `${NAME…}`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Variable<'a> {
    /// All of it.
    pub(crate) raw: &'a str,
    /// Letters, digits and `_`; perhaps none.
    pub(crate) name: &'a str,
    /// Between name and `}`, such as `:-default`; `None`: there are no braces.
    pub(crate) form: Option<&'a str>,
}

/// What stands in the place of a variable.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chosen<'a> {
    /// Its value, which should be there.
    Value,
    /// Its default, which may have variables.
    Default(&'a str),
    /// What is said where it is set, which may have variables.
    Other(&'a str),
    /// Nothing.
    Nothing,
}

/// The parts of `text`, in order. A `${` that nothing closes is text.
pub(crate) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        let from_dollar = &rest[before.len()..];
        pieces.push(Piece::Text(before));
        if let Some(after) = after.strip_prefix('$') {
            pieces.push(Piece::Dollar);
            rest = after;
            continue;
        }
        let inner = after.strip_prefix('{');
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let start = inner.unwrap_or(after);
        let (name, behind) = start.split_at(start.find(|c| !word(c)).unwrap_or(start.len()));
        let (form, left) = match inner.map(|_| closing(behind)) {
            None => (None, behind),
            Some(Some(close)) => (Some(&behind[..close]), &behind[close + 1..]),
            Some(None) => {
                pieces.push(Piece::Text("$"));
                rest = after;
                continue;
            }
        };
        let raw = &from_dollar[..from_dollar.len() - left.len()];
        pieces.push(Piece::Variable(Variable { raw, name, form }));
        rest = left;
    }
    pieces.push(Piece::Text(rest));
    pieces
}

impl<'a> Variable<'a> {
    /// What its form chooses, with this value; `None`: it is no form.
    pub(crate) fn choose(&self, value: Option<&str>) -> Option<Chosen<'a>> {
        let form = self.form.unwrap_or_default();
        let (is_set, bare) = match form.strip_prefix(':') {
            Some(bare) => (value.is_some_and(|value| !value.is_empty()), bare),
            None => (value.is_some(), form),
        };
        let word = bare.get(1..).unwrap_or_default();
        match (bare.chars().next(), is_set) {
            (Some('-'), false) => Some(Chosen::Default(word)),
            (Some('+'), true) => Some(Chosen::Other(word)),
            (Some('+'), false) => Some(Chosen::Nothing),
            (None | Some('-' | '?'), _) => Some(Chosen::Value),
            _ => None,
        }
    }
}

/// POSIX's names for variables.
pub(crate) fn is_variable(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(word)
}

/// Where the `}` is that closes what has been opened before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

/// Defaults within defaults.
pub(crate) const DEPTH: usize = 4;
