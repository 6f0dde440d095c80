//! Path prefixes: which requests they cover, and which paths are refused because two programs may
//! read them in two ways.
//!
//! A prefix is matched on the path as it came, by whole segments: `/api` covers `/api`, `/api/` and
//! `/api/x`, not `/apix`, `/API` or `/x/api`. With a `*` at its end it is matched as a text:
//! `/api*` covers `/apix` too, and `/api/*` all but `/api` itself. The query is no part of the
//! path.
//!
//! A home does not read a path as it came: it decodes, merges `//`, drops `;parameters`, and some
//! take `\` for `/` or do not mind the case. So a request for a name with prefixes is refused as
//! [`AmbiguousPath`]
//!
//! - if a prefix covers the path as a lenient home may read it, but not as it came:
//!   `//api`, `/%61pi`, `/%2561pi`, `/api%2fx`, `\api`, `/api;v=1`, `/API`;
//! - if it has a dot segment in any of those spellings, wherever it stands: no client sends one.
//!
//! Then each reading leads to the same service as the path that was matched. Escapes, `//` and `;`
//! that change nothing about that are passed on as they came, such as `/api/a%2Fb` for `/api`.

use std::fmt;

/// `/segment`, once or more often; each of letters, digits, `-`, `.`, `_` and `~`, and no dot
/// segment. So no prefix has a byte that anybody escapes or strips. A `*` may follow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPrefix {
    /// With the `*`.
    text: Box<str>,
    /// The last segment may go on: there is a `*`.
    open: bool,
}

impl PathPrefix {
    /// Parses what stands in `path_prefix`.
    pub fn parse(raw: &str) -> Result<PathPrefix, PrefixError> {
        let (bare, open) = match raw.strip_suffix('*') {
            Some(bare) => (bare, true),
            None => (raw, false),
        };
        let segments = bare.strip_prefix('/').ok_or(PrefixError::NoSlash)?;
        if segments.is_empty() {
            return Err(PrefixError::Root);
        }
        let segments = if open { segments.strip_suffix('/').unwrap_or(segments) } else { segments };
        for segment in segments.split('/') {
            match segment {
                "" => return Err(PrefixError::EmptySegment),
                "." | ".." => return Err(PrefixError::DotSegment),
                _ if !segment.bytes().all(is_unreserved) => return Err(PrefixError::Byte),
                _ => {}
            }
        }
        Ok(PathPrefix { text: raw.into(), open })
    }

    /// Without the `*`.
    fn bare(&self) -> &str {
        &self.text[..self.text.len() - usize::from(self.open)]
    }

    /// What wins of two that cover a path is greater: the longer one, and of two as long the one
    /// that covers less.
    pub(super) fn rank(&self) -> (usize, bool) {
        (self.bare().len(), !self.open)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the path begins with these segments.
    pub(super) fn covers(&self, path: &[u8]) -> bool {
        let rest = path.strip_prefix(self.bare().as_bytes());
        rest.is_some_and(|rest| self.open || matches!(rest, [] | [b'/', ..]))
    }

    /// Whether a lenient home may find these segments in front. Settled by the first segment that
    /// differs however it is read; where one has parameters, what a home goes on with is anybody's
    /// guess.
    fn may_cover(&self, path: &[u8]) -> bool {
        let mut bytes = loosely(path).peekable();
        let mut segments = self.bare().split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            let mut slash = false;
            while bytes.next_if_eq(&b'/').is_some() {
                slash = true;
            }
            if self.open && segment.is_empty() {
                return slash || matches!(bytes.peek(), Some(b';' | 0));
            }
            if matches!(bytes.peek(), Some(b';' | 0)) {
                return true;
            }
            let is_next = |byte: u8| bytes.next_if_eq(&byte.to_ascii_lowercase()).is_some();
            if !segment.bytes().all(is_next) {
                return false;
            }
            match bytes.peek() {
                _ if self.open && segments.peek().is_none() => return true,
                None | Some(b'/') => {}
                Some(b';' | 0) => return true,
                Some(_) => return false,
            }
        }
        true
    }
}

/// The path of an origin-form target; `*` has none.
pub(super) fn path_of(target: &[u8]) -> &[u8] {
    target.split(|&byte| byte == b'?').next().unwrap_or_default()
}

/// A path that leads to one service as it came and may lead to another as a home reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AmbiguousPath;

/// Refuses a path that may be read in two ways where these prefixes decide.
pub(super) fn check<'a>(
    path: &[u8],
    mut prefixes: impl Iterator<Item = &'a PathPrefix>,
) -> Result<(), AmbiguousPath> {
    let in_two_ways = |prefix: &PathPrefix| prefix.may_cover(path) && !prefix.covers(path);
    match has_dot_segment(path) || prefixes.any(in_two_ways) {
        true => Err(AmbiguousPath),
        false => Ok(()),
    }
}

/// `.` or `..`, in any spelling.
fn has_dot_segment(path: &[u8]) -> bool {
    // `Some(n)`: the segment so far is n dots.
    let mut dots = None;
    for byte in loosely(path).chain([b'/']) {
        dots = match (byte, dots) {
            (b'/' | b';' | 0, Some(1 | 2)) => return true,
            (b'/', _) => Some(0),
            (b'.', Some(before)) => Some(before + 1),
            _ => None,
        };
    }
    false
}

/// A path's bytes as the most lenient home reads them: decoded, and once more; `\` as `/`; in lower
/// case. To it, `;` and NUL end a segment too.
fn loosely(path: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = path;
    std::iter::from_fn(move || {
        let (byte, after) = decode_first(rest, ROUNDS)?;
        rest = after;
        Some(if byte == b'\\' { b'/' } else { byte.to_ascii_lowercase() })
    })
}

/// The first byte after so many rounds of decoding, and what it was not made of.
fn decode_first(path: &[u8], rounds: u8) -> Option<(u8, &[u8])> {
    let Some(before) = rounds.checked_sub(1) else {
        return path.split_first().map(|(byte, rest)| (*byte, rest));
    };
    let (byte, rest) = decode_first(path, before)?;
    if byte == b'%'
        && let Some((high, rest)) = decode_first(rest, before)
        && let Some((low, rest)) = decode_first(rest, before)
        && let (Some(high), Some(low)) = (hex(high), hex(low))
    {
        return Some((high << 4 | low, rest));
    }
    Some((byte, rest))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8) // below 16
}

/// Homes behind a proxy of their own have been seen to decode twice.
const ROUNDS: u8 = 2;

/// RFC 3986 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Why a prefix is none. The text quotes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrefixError {
    /// No `/` in front.
    NoSlash,
    /// `/` alone.
    Root,
    /// `//`, or `/` at the end.
    EmptySegment,
    /// `.` or `..`
    DotSegment,
    /// A byte that some program escapes or strips.
    Byte,
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PrefixError::NoSlash => "a path begins with `/`, as in `/api`",
            PrefixError::Root => "`/` is every path: leave `path_prefix` out",
            PrefixError::EmptySegment => {
                "whole segments are matched: no `//`, and no `/` at the end"
            }
            PrefixError::DotSegment => "no path has `.` or `..` as a segment",
            PrefixError::Byte => {
                "a prefix has letters, digits, `-`, `.`, `_` and `~` between its slashes"
            }
        })
    }
}

impl std::error::Error for PrefixError {}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn prefix(text: &str) -> PathPrefix {
        PathPrefix::parse(text).expect(text)
    }

    #[test]
    fn what_is_no_prefix_says_why() {
        for (text, why) in [
            ("", PrefixError::NoSlash),
            ("api", PrefixError::NoSlash),
            ("/", PrefixError::Root),
            ("//", PrefixError::EmptySegment),
            ("/api/", PrefixError::EmptySegment),
            ("/a//b", PrefixError::EmptySegment),
            ("/a/../b", PrefixError::DotSegment),
            ("/.", PrefixError::DotSegment),
            ("/a%20b", PrefixError::Byte),
            ("/a?b", PrefixError::Byte),
            ("/a;b", PrefixError::Byte),
            ("/a\\b", PrefixError::Byte),
            ("/\u{fc}", PrefixError::Byte),
        ] {
            assert_eq!(PathPrefix::parse(text), Err(why), "{text:?}");
        }
        assert!(PathPrefix::parse("/.well-known/a_b/~c/...").is_ok());
    }

    #[test]
    fn whole_segments_are_covered() {
        for (path, covered) in [
            ("/api/v1", true),
            ("/api/v1/", true),
            ("/api/v1/x", true),
            ("/api/v1//x", true),
            ("/api/v1x", false),
            ("/api", false),
            ("/API/v1", false),
            ("/x/api/v1", false),
            ("*", false),
        ] {
            assert_eq!(prefix("/api/v1").covers(path.as_bytes()), covered, "{path}");
        }
    }

    #[test]
    fn a_star_at_the_end_makes_it_a_text() {
        for (text, path, covered, refused) in [
            ("/api*", "/api", true, false),
            ("/api*", "/apix", true, false),
            ("/api*", "/api/x", true, false),
            ("/api*", "/ap", false, false),
            ("/api*", "/x/api", false, false),
            ("/api*", "/APIx", false, true),
            ("/api*", "//apix", false, true),
            ("/api*", "/%61pix", false, true),
            ("/api/*", "/api/", true, false),
            ("/api/*", "/api/x", true, false),
            ("/api/*", "/api", false, false),
            ("/api/*", "/apix", false, false),
            ("/api/*", "/api;a", false, true),
            ("/api/*", "/api%2fx", false, true),
            ("/api/*", "/api\\x", false, true),
        ] {
            let prefix = prefix(text);
            assert_eq!(prefix.covers(path.as_bytes()), covered, "{text} {path}");
            let refusal = check(path.as_bytes(), [&prefix].into_iter());
            assert_eq!(refusal.is_err(), refused, "{text} {path}");
        }
        for (text, why) in [
            ("*", PrefixError::NoSlash),
            ("/*", PrefixError::Root),
            ("/a//*", PrefixError::EmptySegment),
            ("/a**", PrefixError::Byte),
            ("/a*b", PrefixError::Byte),
        ] {
            assert_eq!(PathPrefix::parse(text), Err(why), "{text}");
        }
        let mut all = ["/a*", "/a", "/ab*", "/a/b", "/a/*"].map(prefix);
        all.sort_by_key(|prefix| std::cmp::Reverse(prefix.rank()));
        let order: Vec<&str> = all.iter().map(PathPrefix::as_str).collect();
        assert_eq!(order, ["/a/b", "/ab*", "/a/*", "/a", "/a*"]);
    }

    #[test]
    fn p9_what_a_home_may_read_in_another_way_is_refused() {
        let prefixes = [prefix("/api"), prefix("/a/b~")];
        let check = |path: &str| check(path.as_bytes(), prefixes.iter());
        for path in [
            "//api",
            "///api/x",
            "/%61pi",
            "/%61%70%69/x",
            "/api%2fx",
            "/api%2Fx",
            "/api%5cx",
            "\\api",
            "/\\api",
            "/api\\x",
            "/api;v=1",
            "/api;v=1/x",
            "/api%3bx",
            "/api%00",
            "/API",
            "/Api/x",
            "/%2561pi",
            "/api%252fx",
            "/a//b~",
            "/a/b%7E",
            "/a/b%7e/x",
            "/a;x/b~",
            "/a%2fb~",
            "/.",
            "/..",
            "/x/.",
            "/x/../api",
            "/x/%2e%2e/api",
            "/x/.%2E/api",
            "/x/..;/api",
            "/x/..%2fapi",
            "/x%2f..%2fapi",
            "/x/..\\api",
            "/x/..%00/api",
            "/./api",
            "/api/..",
            "/api/../x",
            "/api/%252e%252e/x",
            "/x/%2e%2e%3ba/api",
            "%2fapi",
        ] {
            assert_eq!(check(path), Err(AmbiguousPath), "{path}");
        }
        for path in [
            "/",
            "*",
            "/api",
            "/api/",
            "/api//x",
            "/api/a%2Fb",
            "/api/x;y=1",
            "/api/%7Ebob",
            "/apis",
            "/api-docs",
            "/api%20x",
            "/api%zz",
            "/x//api",
            "/x%2fapi",
            "/x/API",
            "/x;y",
            "/wiki/https://a.b/c",
            "/%7Ebob/...",
            "/..x/x..",
            "/caf%C3%A9",
            "/a/b",
            "/%",
            "/%a",
            "/index.jsp;jsessionid=AB12",
            "/a.b/.c/d.",
            "/%ff%2f",
            "/.well-known/acme-challenge/x",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    /// One way in which a home reads a path.
    #[derive(Debug, Clone, Copy)]
    struct Home {
        decodes: usize,
        strips: bool,
        strips_first: bool,
        merges: bool,
        turns_backslash: bool,
        minds_case: bool,
    }

    impl Home {
        /// Slowly, and by the book: RFC 3986 5.2.4 for the dots.
        fn read(self, path: &str) -> String {
            let mut path = path.as_bytes().to_vec();
            if self.strips_first {
                let segments = path.split(|byte| *byte == b'/');
                let bare = segments.map(|it| it.split(|byte| *byte == b';').next().unwrap_or(it));
                path = bare.collect::<Vec<_>>().join(&b'/');
            }
            for _ in 0..self.decodes {
                path = decode(&path);
            }
            if self.turns_backslash {
                path.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
            }
            if !self.minds_case {
                path.make_ascii_lowercase();
            }
            let text = String::from_utf8_lossy(&path);
            let mut kept: Vec<&str> = Vec::new();
            for segment in text.split('/').skip(1) {
                let end = segment.find([';', '\0']).filter(|_| self.strips);
                match &segment[..end.unwrap_or(segment.len())] {
                    "." => {}
                    ".." => drop(kept.pop()),
                    "" if self.merges => {}
                    segment => kept.push(segment),
                }
            }
            format!("/{}", kept.join("/"))
        }
    }

    fn decode(path: &[u8]) -> Vec<u8> {
        let mut rest = path;
        let mut out = Vec::new();
        while let Some((&byte, after)) = rest.split_first() {
            let digits = after.get(..2).filter(|_| byte == b'%');
            let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
            match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(byte) => {
                    out.push(byte);
                    rest = &after[2..];
                }
                None => {
                    out.push(byte);
                    rest = after;
                }
            }
        }
        out
    }

    proptest! {
        /// What is let through reaches the same service however its home reads it.
        #[test]
        fn p9_every_reading_of_an_accepted_path_leads_to_the_same_service(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "/", "/", "/", "a", "a", "b", "A", ".", "..", "x", ";", "\\", "%2f", "%5C",
                    "%61", "%2e", "%25", "%2561", "%252f", "%3b", "%00", "%", "%zz", "%7E",
                ]),
                0..9,
            ),
            decodes in 0..=usize::from(ROUNDS),
            flags in any::<[bool; 5]>(),
        ) {
            let path = format!("/{}", pieces.concat());
            let prefixes = [prefix("/a"), prefix("/a/b"), prefix("/b/a.")];
            let [strips, strips_first, merges, turns_backslash, minds_case] = flags;
            let home =
                Home { decodes, strips, strips_first, merges, turns_backslash, minds_case };
            if check(path.as_bytes(), prefixes.iter()).is_ok() {
                let read = home.read(&path);
                for prefix in &prefixes {
                    prop_assert_eq!(
                        prefix.covers(path.as_bytes()), prefix.covers(read.as_bytes()),
                        "{:?}: {} read as {} by {:?}", prefix, path, read, home
                    );
                }
            }
        }
    }
}
