//! Which visitors a matcher takes, and whether two of them take the same ones. Where that cannot be
//! told, the answer is the one that keeps people out.

use regex_lite::Regex;

use super::hosts::Wanted;
use super::variables::Variables;

/// Names that visitors ask for.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// As a pattern of `hosts`; `None`: no pattern says it, and the kind says at least as much.
    pub(super) said: Option<String>,
    /// A visitor without a name too.
    pub(super) nameless: bool,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Any,
    Labels(Vec<Label>),
    /// The expression where it can be tried, and the labels that each of its names ends in.
    Regex(Option<Regex>, Vec<Label>),
}

/// One label, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Label {
    Literal(String),
    One,
    /// At least one.
    Many,
    /// What a variable holds: the same each time, and one or more labels.
    Variable(String),
}

/// What a visitor says beside the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extra {
    pub(super) condition: Condition,
    /// These visitors and not just some of them.
    pub(super) whole: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Condition {
    None,
    /// The path begins with this text.
    Path(String),
    /// The hello offers this protocol.
    Alpn(String),
}

impl Names {
    pub(super) fn new(wanted: &Wanted, variables: &Variables<'_>) -> Names {
        match wanted {
            Wanted::Anybody => Names::all(),
            Wanted::Pattern(text) => {
                let kind = kind_of(&variables.resolve(text));
                Names { said: Some(text.clone()), nameless: false, kind }
            }
        }
    }

    /// Any name, and none.
    pub(super) fn all() -> Names {
        Names { said: Some("**".into()), nameless: true, kind: Kind::Any }
    }

    /// Nobody knows which.
    pub(super) fn some() -> Names {
        Names { said: None, nameless: true, kind: Kind::Any }
    }

    /// A name that no pattern can be, such as an address.
    pub(super) fn unsaid(text: &str, variables: &Variables<'_>) -> Names {
        Names { said: None, ..Names::host(text, variables) }
    }

    /// The argument of Host, `*` in it as one label or any.
    pub(super) fn host(text: &str, variables: &Variables<'_>) -> Names {
        let text = variables.resolve(text).to_ascii_lowercase();
        match &*text {
            "*" => Names::all(),
            name => Names { said: None, nameless: false, kind: Kind::Labels(labels_of(name)) },
        }
    }

    pub(super) fn is_any(&self) -> bool {
        matches!(self.kind, Kind::Any)
    }

    /// Whether one name may be in both.
    pub(super) fn overlaps(&self, other: &Names) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Any, _) | (_, Kind::Any) => true,
            (Kind::Regex(Some(regex), _), Kind::Labels(labels))
            | (Kind::Labels(labels), Kind::Regex(Some(regex), _))
                if literal(labels).is_some() =>
            {
                literal(labels).is_some_and(|name| regex.is_match(&name))
            }
            (a, b) => {
                let (a, b) = (a.labels(), b.labels());
                let same = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
                may_meet(&a[..a.len() - same], &b[..b.len() - same])
            }
        }
    }

    /// Whether each name of the other is in this one too.
    pub(super) fn covers(&self, other: &Names) -> bool {
        if !self.nameless && other.nameless {
            return false;
        }
        match (&self.kind, &other.kind) {
            (Kind::Any, _) => true,
            (_, Kind::Any) => false,
            _ if self.said.is_some() && self.said == other.said => true,
            (Kind::Regex(regex, _), Kind::Labels(labels)) => {
                let name = literal(labels);
                regex.as_ref().zip(name).is_some_and(|(regex, name)| regex.is_match(&name))
            }
            (Kind::Labels(a), Kind::Labels(b)) => label_covers(a, b),
            (Kind::Labels(a), Kind::Regex(_, tail)) => {
                let b: Vec<Label> = [Label::Many].into_iter().chain(tail.iter().cloned()).collect();
                label_covers(a, &b)
            }
            (Kind::Regex(..), Kind::Regex(..)) => false,
        }
    }

    /// The names that are in both, where a pattern says them.
    pub(super) fn both(&self, other: &Names) -> Option<Names> {
        if self.covers(other) {
            return Some(other.clone());
        }
        if other.covers(self) {
            return Some(self.clone());
        }
        let (Kind::Labels(a), Kind::Labels(b)) = (&self.kind, &other.kind) else { return None };
        let meeting = meeting(a, b)?;
        let said: Vec<&str> = meeting
            .iter()
            .map(|label| match label {
                Label::Literal(text) => &**text,
                Label::One => "*",
                Label::Many | Label::Variable(_) => "**",
            })
            .collect();
        let said = Some(said.join("."));
        Some(Names { said, nameless: false, kind: Kind::Labels(meeting) })
    }

    /// Whether an address as the name is among them.
    pub(super) fn takes_addresses(&self) -> bool {
        const SAMPLES: [&str; 3] = ["192.0.2.1", "10.0.0.1", "203.0.113.200"];
        match &self.kind {
            Kind::Any => true,
            Kind::Labels(_) => false,
            Kind::Regex(Some(regex), _) => SAMPLES.iter().any(|sample| regex.is_match(sample)),
            Kind::Regex(None, _) => true,
        }
    }
}

impl Kind {
    fn labels(&self) -> Vec<Label> {
        match self {
            Kind::Any => vec![Label::Many],
            Kind::Labels(labels) => labels.clone(),
            Kind::Regex(_, tail) => [Label::Many].into_iter().chain(tail.iter().cloned()).collect(),
        }
    }
}

impl Extra {
    pub(super) const NONE: Extra = Extra { condition: Condition::None, whole: true };

    /// Whether one visitor may be both.
    pub(super) fn overlaps(&self, other: &Extra) -> bool {
        match (&self.condition, &other.condition) {
            (Condition::Path(a), Condition::Path(b)) => a.starts_with(&**b) || b.starts_with(&**a),
            _ => true,
        }
    }

    /// Whether each visitor of the other is one of these too.
    pub(super) fn covers(&self, other: &Extra) -> bool {
        self.whole
            && match (&self.condition, &other.condition) {
                (Condition::None, _) => true,
                (Condition::Path(a), Condition::Path(b)) => b.starts_with(&**a),
                (a, b) => a == b,
            }
    }

    /// Those that are both; `None`: nobody is.
    pub(super) fn both(&self, other: &Extra) -> Option<Extra> {
        if !self.overlaps(other) {
            return None;
        }
        let whole = self.whole && other.whole;
        Some(match (&self.condition, &other.condition) {
            (Condition::None, condition) | (condition, Condition::None) => {
                Extra { condition: condition.clone(), whole }
            }
            (Condition::Path(a), Condition::Path(b)) => {
                let longer = if a.len() > b.len() { a } else { b };
                Extra { condition: Condition::Path(longer.clone()), whole }
            }
            (a, b) => Extra { condition: a.clone(), whole: whole && a == b },
        })
    }
}

fn kind_of(text: &str) -> Kind {
    if let Some(regex) = text.strip_prefix('/').and_then(|text| text.strip_suffix('/')) {
        let whole = match regex.contains(Variables::RESERVED) {
            true => None,
            false => Regex::new(&format!("^(?:{regex})$")).ok(),
        };
        return Kind::Regex(whole, tail_of(regex));
    }
    match text {
        "**" => Kind::Any,
        text => Kind::Labels(labels_of(text)),
    }
}

fn labels_of(text: &str) -> Vec<Label> {
    text.split('.')
        .map(|label| match label {
            "*" => Label::One,
            "**" => Label::Many,
            label if label.contains(Variables::RESERVED) => Label::Variable(label.to_owned()),
            label => Label::Literal(label.to_owned()),
        })
        .collect()
}

/// The labels that all names of an expression end in: the literal text at its end, from a dot on.
fn tail_of(regex: &str) -> Vec<Label> {
    // `a|b` is one or the other as a whole; so is what a part of an expression says of a case.
    let mut depth = 0;
    for c in regex.chars() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '|' if depth == 0 => return Vec::new(),
            _ => {}
        }
    }
    let mut tail = Vec::new();
    let mut rest = regex;
    while let Some((before, label)) = rest.rsplit_once("\\.") {
        let literal = label.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        // The dot itself may be one of a repetition's front, or escaped: `\\.`
        if label.is_empty() || !literal || before.ends_with('\\') {
            break;
        }
        tail.insert(0, Label::Literal(label.to_ascii_lowercase()));
        rest = before;
    }
    tail
}

/// The one name that the labels are.
fn literal(labels: &[Label]) -> Option<String> {
    let texts = labels.iter().map(|label| match label {
        Label::Literal(text) => Some(&**text),
        _ => None,
    });
    Some(texts.collect::<Option<Vec<_>>>()?.join("."))
}

fn may_meet(a: &[Label], b: &[Label]) -> bool {
    let (Some((x, a_rest)), Some((y, b_rest))) = (a.split_last(), b.split_last()) else {
        return a.is_empty() && b.is_empty();
    };
    let several = |label: &Label| matches!(label, Label::Many | Label::Variable(_));
    match (several(x), several(y)) {
        (true, true) => may_meet(a_rest, b_rest) || may_meet(a_rest, b) || may_meet(a, b_rest),
        (true, false) => may_meet(a_rest, b_rest) || may_meet(a, b_rest),
        (false, true) => may_meet(a_rest, b_rest) || may_meet(a_rest, b),
        (false, false) => {
            let meet = x == y || *x == Label::One || *y == Label::One;
            meet && may_meet(a_rest, b_rest)
        }
    }
}

fn label_covers(a: &[Label], b: &[Label]) -> bool {
    let (Some((x, a_rest)), Some((y, b_rest))) = (a.split_last(), b.split_last()) else {
        return a.is_empty() && b.is_empty();
    };
    match (x, y) {
        (Label::Many, _) => label_covers(a_rest, b_rest) || label_covers(a, b_rest),
        (Label::One, Label::Literal(_) | Label::One) => label_covers(a_rest, b_rest),
        (x, y) => x == y && label_covers(a_rest, b_rest),
    }
}

/// What both of two patterns take, where one of them has a `**` in front or both are as long.
fn meeting(a: &[Label], b: &[Label]) -> Option<Vec<Label>> {
    let split = |labels: &[Label]| -> (bool, Vec<Label>) {
        match labels.split_first() {
            Some((Label::Many, rest)) => (true, rest.to_vec()),
            _ => (false, labels.to_vec()),
        }
    };
    let ((a_deep, a), (b_deep, b)) = (split(a), split(b));
    let (long, short, long_deep, short_deep) =
        if a.len() >= b.len() { (a, b, a_deep, b_deep) } else { (b, a, b_deep, a_deep) };
    let more = long.len() - short.len();
    if more > 0 && !short_deep || more == 0 && a_deep != b_deep {
        return None;
    }
    let mut labels = Vec::new();
    if long_deep && short_deep {
        labels.push(Label::Many);
    } else if long_deep {
        return None;
    }
    labels.extend(long[..more].iter().cloned());
    for (x, y) in long[more..].iter().zip(&short) {
        labels.push(match (x, y) {
            (Label::One, Label::Literal(_)) => y.clone(),
            (Label::Literal(_), Label::One) => x.clone(),
            (x, y) if x == y => x.clone(),
            _ => return None,
        });
    }
    let variable = |label: &Label| matches!(label, Label::Variable(_));
    (!labels.iter().any(variable)).then_some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Names {
        let env = |_: &str| None;
        Names::new(&Wanted::Pattern(text.into()), &Variables::new(&env))
    }

    #[test]
    fn who_overlaps_whom_and_in_what() {
        for (a, b, overlaps, covers, both) in [
            ("a.x", "a.x", true, true, Some("a.x")),
            ("a.x", "b.x", false, false, None),
            ("*.x", "a.x", true, true, Some("a.x")),
            ("*.x", "a.b.x", false, false, None),
            ("a.*.x", "*.b.x", true, false, Some("a.b.x")),
            ("**.x", "a.b.x", true, true, Some("a.b.x")),
            ("**.x", "x", false, false, None),
            ("**.x", "**.b.x", true, true, Some("**.b.x")),
            ("**.x", "*.x", true, true, Some("*.x")),
            ("**.*.x", "*.b.x", true, true, Some("*.b.x")),
            ("**.b.x", "*.*.x", true, false, Some("*.b.x")),
            ("**", "a.x", true, true, Some("a.x")),
            ("/[a-z]+\\.x/", "a.x", true, true, Some("a.x")),
            ("/[a-z]+\\.x/", "1.x", false, false, None),
            ("/[a-z]+\\.x/", "*.y", false, false, None),
            ("/[a-z]+\\.x/", "*.x", true, false, None),
            ("/a\\.x|b/", "*.y", true, false, None),
            ("**.x", "/[a-z]+\\.x/", true, true, Some("/[a-z]+\\.x/")),
            ("a.\u{e000}", "b.\u{e000}", false, false, None),
            ("a.\u{e000}", "*.\u{e000}", true, false, Some("a.\u{e000}")),
            ("a.\u{e000}", "b.a.x", false, false, None),
            ("a.\u{e000}", "a.b.x", true, false, None),
            ("a.\u{e000}", "a.\u{e001}", true, false, None),
        ] {
            let (one, other) = (names(a), names(b));
            assert_eq!(
                (one.overlaps(&other), other.overlaps(&one)),
                (overlaps, overlaps),
                "{a} {b}"
            );
            assert_eq!(one.covers(&other), covers, "{a} covers {b}");
            if overlaps && a != "/a\\.x|b/" {
                let said = one.both(&other).and_then(|both| both.said);
                assert_eq!(said.as_deref(), both, "{a} and {b}");
            }
        }
    }

    #[test]
    fn paths_begin_with_each_other() {
        let path = |text: &str| Extra { condition: Condition::Path(text.into()), whole: true };
        assert!(path("/a").overlaps(&path("/ab")) && !path("/a").overlaps(&path("/b")));
        assert!(path("/a").covers(&path("/ab")) && !path("/ab").covers(&path("/a")));
        assert!(Extra::NONE.covers(&path("/a")) && !path("/a").covers(&Extra::NONE));
        assert_eq!(path("/a").both(&path("/ab")), Some(path("/ab")));
        assert_eq!(path("/a").both(&path("/b")), None);
    }
}
