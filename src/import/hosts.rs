//! Traefik's names and expressions for names, as our host patterns.
//!
//! Where a whole label is any name's label, `*` says it; where a leading part is any number of
//! labels, `**` does. What neither can say becomes `/regex/`.

use super::static_config::Syntax;
use super::variables::Variables;
use crate::proto::route::Pattern;

/// What a name's matcher asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Wanted {
    /// A pattern of `hosts`; `${NAME}` is folded.
    Pattern(String),
    /// Any name, and none.
    Anybody,
}

/// The argument of Host or HostSNI. Traefik 3.7 reads `*` as any name, and `*.` in front as one
/// label.
pub(super) fn literal(name: &str, sni: bool, syntax: Syntax) -> Result<Wanted, &'static str> {
    if name == "*" && (sni || syntax == Syntax::V3) {
        return Ok(Wanted::Anybody);
    }
    let rest = match (name.strip_prefix("*."), syntax) {
        (Some(rest), Syntax::V3) => rest,
        _ => name,
    };
    if rest.contains(['*', '/']) {
        return Err("no name");
    }
    accept(name.to_owned()).map(Wanted::Pattern)
}

/// The argument of HostRegexp or HostSNIRegexp; it may say several patterns.
pub(super) fn regexp(text: &str, syntax: Syntax) -> Result<Vec<Wanted>, &'static str> {
    match syntax {
        Syntax::V2 => template(text).map(|wanted| vec![wanted]),
        Syntax::V3 => expression(text),
        Syntax::Either => {
            let (two, three) = (regexp(text, Syntax::V2), regexp(text, Syntax::V3));
            if two == three {
                two
            } else {
                Err("Traefik 2 and 3 read it in two ways, and which one \
                                               it is nobody says here")
            }
        }
    }
}

/// A piece of a name between or around dots.
#[derive(Debug, Clone)]
enum Piece {
    /// Its text, dots among it.
    Literal(String),
    /// A regular expression.
    Regex(String),
}

/// `www.{sub:[a-z0-9-]+}.example.com`
fn template(text: &str) -> Result<Wanted, &'static str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let mut depth = 1;
        let close = after.char_indices().find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth == 0
        });
        let Some((close, _)) = close else { return Err("a `{` without its `}`") };
        // Without a regex, Traefik takes one label.
        let regex = after[..close].split_once(':').map_or("[^.]+", |(_, regex)| regex);
        pieces.extend([Piece::Literal(before.into()), Piece::Regex(regex.into())]);
        rest = &after[close + 1..];
    }
    pieces.push(Piece::Literal(rest.into()));
    pieces.retain(|piece| !matches!(piece, Piece::Literal(text) if text.is_empty()));
    if let [Piece::Regex(regex)] = &pieces[..]
        && matches!(&**regex, ".*" | ".+")
    {
        return Ok(if regex == ".*" { Wanted::Anybody } else { Wanted::Pattern("**".into()) });
    }
    if let Some(pattern) = stars(&pieces) {
        return accept(pattern).map(Wanted::Pattern);
    }
    let regex: String = pieces
        .into_iter()
        .map(|piece| match piece {
            Piece::Literal(text) => escape(&text),
            Piece::Regex(regex) => format!("(?:{regex})"),
        })
        .collect();
    accept(format!("/{regex}/")).map(Wanted::Pattern)
}

/// `^(.+\.)?example\.com$`
fn expression(text: &str) -> Result<Vec<Wanted>, &'static str> {
    if matches!(text, ".*" | "^.*$" | "") {
        return Ok(vec![Wanted::Anybody]);
    }
    let inner = text.strip_prefix('^').and_then(|text| text.strip_suffix('$'));
    let anchored = inner.filter(|inner| !inner.ends_with('\\') && !inner.contains('|'));
    if let Some(inner) = anchored {
        // A leading part that may be absent is a pattern of its own.
        let absent = inner.strip_prefix('(').and_then(|rest| rest.split_once(r"\.)?"));
        let ways = match absent {
            Some((part, rest)) if !part.contains(['(', ')']) => {
                let part = part.strip_prefix("?:").unwrap_or(part);
                vec![rest.to_owned(), format!(r"{part}\.{rest}")]
            }
            _ => vec![inner.to_owned()],
        };
        let patterns: Option<Vec<String>> = ways.iter().map(|way| stars(&labels(way))).collect();
        if let Some(patterns) = patterns {
            if patterns.iter().any(|text| text.contains(|c: char| c.is_ascii_uppercase())) {
                return Err("it has capital letters, which no visitor's name has there");
            }
            return patterns.into_iter().map(|p| accept(p).map(Wanted::Pattern)).collect();
        }
        return accept(format!("/{inner}/")).map(|pattern| vec![Wanted::Pattern(pattern)]);
    }
    accept(format!("/.*(?:{text}).*/")).map(|pattern| vec![Wanted::Pattern(pattern)])
}

/// A regular expression's labels: literal where only `\.` and name characters are.
fn labels(regex: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (i, part) in regex.split(r"\.").enumerate() {
        if i > 0 {
            pieces.push(Piece::Literal(".".into()));
        }
        let part = part.strip_prefix('(').and_then(|p| p.strip_suffix(')')).unwrap_or(part);
        let literal = part.chars().all(is_name_char);
        pieces.push(match literal {
            true => Piece::Literal(part.into()),
            false => Piece::Regex(part.into()),
        });
    }
    pieces
}

/// The pieces with `*` for each regex that is one whole label of any kind, and `**` for a leading
/// one of any number; `None` where a regex is something else, or part of a label.
fn stars(pieces: &[Piece]) -> Option<String> {
    let mut pattern = String::new();
    for (i, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Literal(text) => pattern.push_str(text),
            Piece::Regex(regex) => {
                let begins = pattern.is_empty() || pattern.ends_with('.');
                let ends = match pieces.get(i + 1) {
                    None => true,
                    Some(Piece::Literal(text)) => text.starts_with('.'),
                    Some(Piece::Regex(_)) => false,
                };
                let leads = i == 0 && pieces.len() > 1;
                pattern.push_str(match &**regex {
                    ".+" | ".*" if leads && ends => "**",
                    regex if begins && ends && is_any_label(regex) => "*",
                    _ => return None,
                });
            }
        }
    }
    Some(pattern)
}

/// Whether it takes each label of small letters, digits and `-`, and nothing but labels; `_` makes
/// no difference.
fn is_any_label(regex: &str) -> bool {
    let Some(class) = regex.strip_suffix('+').or_else(|| regex.strip_suffix('*')) else {
        return false;
    };
    if matches!(class, "[^.]" | r"[^\.]" | r"[\w-]" | r"[-\w]") {
        return true;
    }
    let Some(class) = class.strip_prefix('[').and_then(|class| class.strip_suffix(']')) else {
        return false;
    };
    let mut rest = class.to_owned();
    let mut take = |part: &str| {
        let found = rest.find(part);
        if let Some(at) = found {
            rest.replace_range(at..at + part.len(), "");
        }
        found.is_some()
    };
    let any = take("a-z") & take("0-9") & {
        take("A-Z");
        take("_");
        take(r"\-") || take("-")
    };
    any && rest.is_empty()
}

/// The pattern, if our own parser takes it; variables stand for a name.
fn accept(pattern: String) -> Result<String, &'static str> {
    let sample: String =
        pattern.chars().map(|c| if Variables::RESERVED(c) { 'v' } else { c }).collect();
    match Pattern::parse(&sample) {
        Ok(_) if pattern.starts_with('/') => Ok(pattern),
        Ok(_) => Ok(pattern.to_ascii_lowercase()),
        Err(_) if pattern.starts_with('/') => Err("a regular expression of another engine"),
        Err(_) => Err("no name"),
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_' || Variables::RESERVED(c)
}

/// Literal text within a regex.
fn escape(text: &str) -> String {
    let mut regex = String::new();
    for c in text.chars() {
        if !is_name_char(c) {
            regex.push('\\');
        }
        regex.push(c);
    }
    regex
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(wanted: Result<Vec<Wanted>, &'static str>) -> String {
        let show = |wanted: Wanted| match wanted {
            Wanted::Pattern(pattern) => pattern.replace('\u{e000}', "${D}"),
            Wanted::Anybody => "anybody".into(),
        };
        match wanted {
            Ok(wanted) => wanted.into_iter().map(show).collect::<Vec<_>>().join(" "),
            Err(why) => format!("! {why}"),
        }
    }

    #[test]
    fn expressions_of_traefik_2() {
        for (text, pattern) in [
            ("pi.\u{e000}", "pi.${D}"),
            ("{s:[a-z0-9-]+}.pi.\u{e000}", "*.pi.${D}"),
            ("www.{s:[a-z0-9-]+}.pi.\u{e000}", "www.*.pi.${D}"),
            ("{s}.x", "*.x"),
            ("{s:[A-Za-z0-9_-]+}.x", "*.x"),
            ("{s:[^.]+}.{t:[\\w-]+}.x", "*.*.x"),
            ("{s:.+}.x", "**.x"),
            ("{s:.*}", "anybody"),
            ("{s:.+}", "**"),
            ("www.{s:.+}.x", "/www\\.(?:.+)\\.x/"),
            ("{s:[a-z]+}.x", "/(?:[a-z]+)\\.x/"),
            ("{s:[0-9]{1,3}}.x", "/(?:[0-9]{1,3})\\.x/"),
            ("a{s:[a-z0-9-]+}.x", "/a(?:[a-z0-9-]+)\\.x/"),
            ("{s:[a-z0-9-]+}{t:[a-z0-9-]+}.x", "/(?:[a-z0-9-]+)(?:[a-z0-9-]+)\\.x/"),
            ("{s:a|b}.x", "/(?:a|b)\\.x/"),
            ("{s:[a-z}.x", "! a regular expression of another engine"),
            ("{s:(?=a)}.x", "! a regular expression of another engine"),
            ("{s:a", "! a `{` without its `}`"),
            ("a..b", "! no name"),
            ("", "! no name"),
        ] {
            assert_eq!(shown(regexp(text, Syntax::V2)), pattern, "{text}");
        }
    }

    #[test]
    fn expressions_of_traefik_3() {
        for (text, pattern) in [
            (r"^pi\.x$", "pi.x"),
            (r"^Pi\.x$", "! it has capital letters, which no visitor's name has there"),
            (r"^[a-z0-9-]+\.pi\.x$", "*.pi.x"),
            (r"^([a-z0-9-]+)\.pi\.x$", "*.pi.x"),
            (r"^.+\.x$", "**.x"),
            (r"^(.+\.)?x\.y$", "x.y **.x.y"),
            (r"^(?:www\.)?x\.y$", "x.y www.x.y"),
            (r"^(www\.|)x$", r"/.*(?:^(www\.|)x$).*/"),
            (r"^a$|^b$", r"/.*(?:^a$|^b$).*/"),
            (r"^www\.(a|b)\.x$", r"/.*(?:^www\.(a|b)\.x$).*/"),
            (r"^[a-z]+\.x$", r"/[a-z]+\.x/"),
            (r"^pi.x$", "/pi.x/"),
            (r"pi\.x", r"/.*(?:pi\.x).*/"),
            (r".+\.x$", r"/.*(?:.+\.x$).*/"),
            ("^pi\\.\u{e000}$", "pi.${D}"),
            (".*", "anybody"),
            (r"^(?!a)$", "! a regular expression of another engine"),
        ] {
            assert_eq!(shown(regexp(text, Syntax::V3)), pattern, "{text}");
        }
    }

    #[test]
    fn names() {
        for (name, sni, two, three) in [
            ("A.b", false, "a.b", "a.b"),
            ("*", true, "anybody", "anybody"),
            ("*", false, "! no name", "anybody"),
            ("*.b", true, "! no name", "*.b"),
            ("*.b", false, "! no name", "*.b"),
            ("*.*.b", false, "! no name", "! no name"),
            ("a.*.b", false, "! no name", "! no name"),
            ("/a/", false, "! no name", "! no name"),
            ("a b", false, "! no name", "! no name"),
        ] {
            for (syntax, pattern) in [(Syntax::V2, two), (Syntax::V3, three)] {
                assert_eq!(shown(literal(name, sni, syntax).map(|w| vec![w])), pattern, "{name}");
            }
        }
    }
}
