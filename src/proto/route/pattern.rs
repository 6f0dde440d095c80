//! One host pattern: parsed, normalised, and compared with others.

use std::cmp::{Ordering, Reverse};
use std::fmt;
use std::net::IpAddr;

use regex_lite::Regex;

use crate::wire::host::{LABEL_BYTES, NAME_BYTES};

/// One host pattern, normalised as a name is.
#[derive(Debug, Clone)]
pub struct Pattern {
    pub(super) text: String,
    pub(super) kind: Kind,
}

/// The forms that a pattern has.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// Labels, each a literal or `*`.
    Whole,
    /// `**.` and labels.
    Deep,
    /// `/regex/`
    Regex(Regex),
    /// `**`
    Any,
}

impl Pattern {
    /// Parses what stands in `hosts`.
    pub fn parse(raw: &str) -> Result<Pattern, PatternError> {
        if let Some(regex) = raw.strip_prefix('/') {
            let regex = regex.strip_suffix('/').ok_or(PatternError::UnclosedRegex)?;
            return Ok(Pattern { text: raw.into(), kind: Kind::Regex(compile(regex)?) });
        }
        let bare = raw.strip_suffix('.').unwrap_or(raw);
        let text = bare.to_ascii_lowercase();
        if text == "**" {
            return Ok(Pattern { text, kind: Kind::Any });
        }
        if raw.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err(PatternError::Address);
        }
        let (kind, labels) = match text.strip_prefix("**.") {
            Some(labels) => (Kind::Deep, labels),
            None => (Kind::Whole, &*text),
        };
        labels.split('.').try_for_each(check_label)?;
        if text.len() > NAME_BYTES {
            return Err(PatternError::TooLong);
        }
        if bare.parse::<IpAddr>().is_ok() {
            return Err(PatternError::Address);
        }
        Ok(Pattern { text, kind })
    }

    /// The pattern, normalised.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The labels without a leading `**`, from the right; nothing for a regex and `**`.
    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        let labels = match self.kind {
            Kind::Whole => Some(&*self.text),
            Kind::Deep => self.text.strip_prefix("**."),
            Kind::Regex(_) | Kind::Any => None,
        };
        labels.into_iter().flat_map(|labels| labels.rsplit('.'))
    }

    /// `Less`: `self` wins where both match. Regexes are equal: the file's order decides.
    pub fn cmp_precedence(&self, other: &Pattern) -> Ordering {
        let class = |pattern: &Pattern| match pattern.kind {
            Kind::Whole if pattern.labels().all(|label| label != "*") => 0,
            Kind::Whole => 1,
            Kind::Deep => 2,
            Kind::Regex(_) => 3,
            Kind::Any => 4,
        };
        let depth = |pattern: &Pattern| match pattern.kind {
            Kind::Deep => Reverse(pattern.labels().count()),
            _ => Reverse(0),
        };
        let labels = |pattern: &Pattern| -> Vec<(bool, String)> {
            pattern.labels().map(|label| (label == "*", label.into())).collect()
        };
        (class(self), depth(self), labels(self)).cmp(&(class(other), depth(other), labels(other)))
    }
}

/// Why a pattern is none. The text quotes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternError {
    /// Nothing, or two dots together.
    EmptyLabel,
    /// A label of more than [`LABEL_BYTES`].
    LongLabel,
    /// More than [`NAME_BYTES`].
    TooLong,
    /// `www*` or the like.
    PartStar,
    /// `**` anywhere but in front.
    InnerDeep,
    /// A byte that no name has.
    Byte,
    /// A byte above ASCII: the name wants punycode.
    NotAscii,
    /// An IP address.
    Address,
    /// `/` in front, but not at the end.
    UnclosedRegex,
    /// `//`
    EmptyRegex,
    /// The regex engine refuses it.
    Regex,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PatternError::EmptyLabel => "a label of the name is empty",
            PatternError::LongLabel => "a label of the name has more than 63 bytes",
            PatternError::TooLong => "the name has more than 253 bytes",
            PatternError::PartStar => "`*` stands for one whole label, as in `www.*.example.com`",
            PatternError::InnerDeep => "`**` stands in front alone, as in `**.example.com`",
            PatternError::Byte => {
                "a name has letters, digits, `-` and `_` between its dots, no port and no path"
            }
            PatternError::NotAscii => "write the name in punycode (`xn--…`), as visitors send it",
            PatternError::Address => "an address is matched by `**` or `fallback = true` alone",
            PatternError::UnclosedRegex => "a regular expression ends with `/`",
            PatternError::EmptyRegex => "the regular expression is empty",
            PatternError::Regex => {
                "not a regular expression of this engine (no look-around, back-references or \\p)"
            }
        })
    }
}

impl std::error::Error for PatternError {}

/// `regex` must be whole by itself, or `a)|(b` would slip out of the anchors.
fn compile(regex: &str) -> Result<Regex, PatternError> {
    if regex.is_empty() {
        return Err(PatternError::EmptyRegex);
    }
    Regex::new(regex).map_err(|_| PatternError::Regex)?;
    Regex::new(&format!("^(?:{regex})$")).map_err(|_| PatternError::Regex)
}

fn check_label(label: &str) -> Result<(), PatternError> {
    let name_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    match label {
        "" => Err(PatternError::EmptyLabel),
        "*" => Ok(()),
        "**" => Err(PatternError::InnerDeep),
        _ if !label.is_ascii() => Err(PatternError::NotAscii),
        _ if label.contains('*') => Err(PatternError::PartStar),
        _ if !label.bytes().all(name_byte) => Err(PatternError::Byte),
        _ if label.len() > LABEL_BYTES => Err(PatternError::LongLabel),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pattern_says_why() {
        let long = format!("{}aa", "a.".repeat(126));
        for (text, why) in [
            ("", PatternError::EmptyLabel),
            (".", PatternError::EmptyLabel),
            ("a..b", PatternError::EmptyLabel),
            ("www*.a", PatternError::PartStar),
            ("***", PatternError::PartStar),
            ("a.**", PatternError::InnerDeep),
            ("**.**", PatternError::InnerDeep),
            ("a:443", PatternError::Byte),
            ("https://a", PatternError::Byte),
            (" a", PatternError::Byte),
            ("b\u{fc}cher.example", PatternError::NotAscii),
            ("192.0.2.1", PatternError::Address),
            ("[::1]", PatternError::Address),
            ("::1", PatternError::Address),
            ("/a", PatternError::UnclosedRegex),
            ("/", PatternError::UnclosedRegex),
            ("//", PatternError::EmptyRegex),
            ("/(/", PatternError::Regex),
            ("/a)|(b/", PatternError::Regex),
            (&"a".repeat(64), PatternError::LongLabel),
            (&long, PatternError::TooLong),
        ] {
            assert_eq!(Pattern::parse(text).err(), Some(why), "{text:?}");
        }
        assert!(Pattern::parse(&long[..253]).is_ok(), "253 bytes");
    }
}
