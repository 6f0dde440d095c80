//! Traefik's rules: ``Host(`a`, `b`) && !PathPrefix("/c") || …``. Traefik reads them as expressions
//! of Go; this is the part of Go that they use.

use std::fmt;

/// A rule as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rule {
    /// A matcher's name in lower case, if Traefik takes its spelling, and its arguments.
    Matcher(String, Vec<String>),
    /// At least two.
    Or(Vec<Rule>),
    /// At least two.
    And(Vec<Rule>),
    Not(Box<Rule>),
}

/// Where a rule breaks off. Quotes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RuleError {
    /// In characters, from 1.
    pub(super) column: usize,
    pub(super) expected: &'static str,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {} of the rule: expected {}", self.column, self.expected)
    }
}

impl Rule {
    /// Parses a whole rule.
    pub(super) fn parse(text: &str) -> Result<Rule, RuleError> {
        let mut parser = Parser { text, at: 0, depth: 0 };
        let rule = parser.or()?;
        match parser.peek() {
            None => Ok(rule),
            Some(_) => Err(parser.expected("`||`, `&&` or the end")),
        }
    }

    /// Who asks for what, for the user: the matchers' names.
    pub(super) fn matchers(&self) -> Vec<&str> {
        match self {
            Rule::Matcher(name, _) => vec![name],
            Rule::Not(rule) => rule.matchers(),
            Rule::Or(rules) | Rule::And(rules) => rules.iter().flat_map(Rule::matchers).collect(),
        }
    }

    /// All arguments of Host, wherever it stands.
    pub(super) fn hosts(&self) -> Vec<&String> {
        match self {
            Rule::Matcher(name, arguments) if ["host", "hostheader"].contains(&&**name) => {
                arguments.iter().collect()
            }
            Rule::Matcher(..) => Vec::new(),
            Rule::Not(rule) => rule.hosts(),
            Rule::And(rules) | Rule::Or(rules) => rules.iter().flat_map(Rule::hosts).collect(),
        }
    }
}

/// Recursive descent; each function reads what its name says from `at` on.
struct Parser<'a> {
    text: &'a str,
    /// In bytes, at a character's boundary.
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn or(&mut self) -> Result<Rule, RuleError> {
        self.list("||", Parser::and, Rule::Or)
    }

    fn and(&mut self) -> Result<Rule, RuleError> {
        self.list("&&", Parser::not, Rule::And)
    }

    /// One `part`, or several with `operator` between them.
    fn list(
        &mut self,
        operator: &str,
        part: fn(&mut Self) -> Result<Rule, RuleError>,
        join: fn(Vec<Rule>) -> Rule,
    ) -> Result<Rule, RuleError> {
        let first = part(self)?;
        let mut all = vec![first];
        while self.take(operator) {
            all.push(part(self)?);
        }
        match all.len() {
            1 => Ok(all.remove(0)),
            _ => Ok(join(all)),
        }
    }

    fn not(&mut self) -> Result<Rule, RuleError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.expected("fewer parentheses"));
        }
        let rule = if self.take("!") {
            Rule::Not(Box::new(self.not()?))
        } else if self.take("(") {
            let rule = self.or()?;
            self.expect(")", "`)`")?;
            rule
        } else {
            self.matcher()?
        };
        self.depth -= 1;
        Ok(rule)
    }

    fn matcher(&mut self) -> Result<Rule, RuleError> {
        self.peek();
        let rest = &self.text[self.at..];
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let name = &rest[..rest.find(|c| !word(c)).unwrap_or(rest.len())];
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.expected("a matcher, such as Host"));
        }
        self.at += name.len();
        self.expect("(", "`(`")?;
        let mut arguments = Vec::new();
        while !self.take(")") {
            if !arguments.is_empty() {
                self.expect(",", "`,` or `)`")?;
                if self.take(")") {
                    break; // Go allows a comma behind the last one
                }
            }
            arguments.push(self.string()?);
        }
        Ok(Rule::Matcher(spelling(name), arguments))
    }

    /// A string of Go: raw between backquotes, or with escapes between double quotes.
    fn string(&mut self) -> Result<String, RuleError> {
        if self.take("`") {
            let end = self.text[self.at..].find('`');
            let end = end.ok_or_else(|| self.expected("a closing backquote"))?;
            let raw = &self.text[self.at..self.at + end];
            self.at += end + 1;
            return Ok(raw.to_owned());
        }
        if !self.take("\"") {
            return Err(self.expected("a string in backquotes or double quotes"));
        }
        let mut value = String::new();
        let mut chars = self.text[self.at..].chars();
        loop {
            let next = chars.next();
            self.at = self.text.len() - chars.as_str().len();
            value.push(match next {
                None => return Err(self.expected("a closing quote")),
                Some('"') => return Ok(value),
                Some('\\') => match chars.next() {
                    Some(c @ ('"' | '\\')) => c,
                    Some('n') => '\n',
                    Some('t') => '\t',
                    _ => return Err(self.expected("one of \\\" \\\\ \\n \\t")),
                },
                Some(c) => c,
            });
        }
    }

    /// The next character behind white space, which is skipped.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, token: &str) -> bool {
        self.peek();
        let found = self.text[self.at..].starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn expect(&mut self, token: &str, name: &'static str) -> Result<(), RuleError> {
        if self.take(token) { Ok(()) } else { Err(self.expected(name)) }
    }

    fn expected(&self, expected: &'static str) -> RuleError {
        RuleError { column: self.text[..self.at].chars().count() + 1, expected }
    }
}

/// In lower case where Traefik knows the matcher so: `HostSNI`, `hostsni`, `HOSTSNI`, `Hostsni`.
/// Any other spelling stays, and is no matcher.
fn spelling(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let own = MATCHERS.iter().find(|known| known.eq_ignore_ascii_case(name));
    let title = lower[..1].to_ascii_uppercase() + &lower[1..];
    let taken = own.is_none_or(|own| {
        [&lower, &name.to_ascii_uppercase(), &title].contains(&&name.to_owned()) || name == *own
    });
    if taken { lower } else { name.to_owned() }
}

/// Those whose spelling matters here.
const MATCHERS: &[&str] = &[
    "Host",
    "HostHeader",
    "HostRegexp",
    "HostSNI",
    "HostSNIRegexp",
    "Path",
    "PathPrefix",
    "PathRegexp",
    "ALPN",
    "ClientIP",
    "Method",
    "Header",
    "HeaderRegexp",
    "Headers",
    "HeadersRegexp",
    "Query",
    "QueryRegexp",
];

/// Parentheses and `!` within each other; nobody writes ten.
const DEPTH: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matcher(name: &str, arguments: &[&str]) -> Rule {
        Rule::Matcher(name.into(), arguments.iter().map(|a| (*a).into()).collect())
    }

    #[test]
    fn rules_as_people_write_them() {
        let (a, b, c) = (matcher("host", &["a"]), matcher("host", &["b"]), matcher("host", &["c"]));
        for (text, rule) in [
            ("Host(`a`)", a.clone()),
            (" HOST ( \"a\" ) ", a.clone()),
            ("((Host(`a`)))", a.clone()),
            ("Host(`a`, \"b\\\"\\\\\",)", matcher("host", &["a", "b\"\\"])),
            ("ClientIP()", matcher("clientip", &[])),
            ("hOsT(`a`)", matcher("hOsT", &["a"])),
            (r"HostRegexp(`^.+\.x$`)", matcher("hostregexp", &[r"^.+\.x$"])),
            ("Host(`a`)||Host(`b`)", Rule::Or(vec![a.clone(), b.clone()])),
            (
                "Host(`a`) || Host(`b`) && !Host(`c`)",
                Rule::Or(vec![a.clone(), Rule::And(vec![b.clone(), Rule::Not(c.clone().into())])]),
            ),
            ("(Host(`a`) || Host(`b`)) && Host(`c`)", Rule::And(vec![Rule::Or(vec![a, b]), c])),
        ] {
            assert_eq!(Rule::parse(text), Ok(rule), "{text}");
        }
    }

    #[test]
    fn what_is_no_rule_says_where() {
        for (text, column, expected) in [
            ("", 1, "a matcher, such as Host"),
            ("Host", 5, "`(`"),
            ("Host(a)", 6, "a string in backquotes or double quotes"),
            ("Host(`a)", 7, "a closing backquote"),
            ("Host(\"a)", 9, "a closing quote"),
            ("Host(\"\\x\")", 8, "one of \\\" \\\\ \\n \\t"),
            ("Host(`a` `b`)", 10, "`,` or `)`"),
            ("Host(`ä`) Host(`b`)", 11, "`||`, `&&` or the end"),
            ("(Host(`a`)", 11, "`)`"),
            ("Host(`a`) ||", 13, "a matcher, such as Host"),
            ("Host(`a`) | Host(`b`)", 11, "`||`, `&&` or the end"),
            ("3(`a`)", 1, "a matcher, such as Host"),
        ] {
            assert_eq!(Rule::parse(text), Err(RuleError { column, expected }), "{text}");
        }
        let deep = "(".repeat(100_000);
        assert_eq!(Rule::parse(&deep).map_err(|e| e.expected), Err("fewer parentheses"));
    }

    /// A rule as text, with the parentheses that it needs.
    fn show(rule: &Rule) -> String {
        let join = |rules: &[Rule], operator: &str| {
            let parts: Vec<_> = rules.iter().map(|rule| format!("({})", show(rule))).collect();
            parts.join(operator)
        };
        match rule {
            Rule::Matcher(name, arguments) => {
                let quoted: Vec<_> = arguments.iter().map(|a| format!("{a:?}")).collect();
                format!("{name}({})", quoted.join(", "))
            }
            Rule::Or(rules) => join(rules, " || "),
            Rule::And(rules) => join(rules, "&&"),
            Rule::Not(rule) => format!("!({})", show(rule)),
        }
    }

    fn rules() -> impl Strategy<Value = Rule> {
        let arguments = proptest::collection::vec("[a-z{}:`\\\\\"*.]{0,8}", 0..3);
        let leaf = ("[a-z][a-z0-9_]{0,5}", arguments).prop_map(|(n, a)| Rule::Matcher(n, a));
        leaf.prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 2..4).prop_map(Rule::Or),
                proptest::collection::vec(inner.clone(), 2..4).prop_map(Rule::And),
                inner.prop_map(|rule| Rule::Not(rule.into())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(rule in rules()) {
            prop_assert_eq!(Rule::parse(&show(&rule)), Ok(rule));
        }

        #[test]
        fn no_text_panics(text in "[HostRegexp(`\"|&!),.\\\\ ä]{0,40}") {
            let _ = Rule::parse(&text);
        }
    }
}
