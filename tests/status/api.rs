//! API.md is true: each example has exactly what serde writes, neither more nor less.

use std::collections::BTreeMap;

use serde_json::Value;

use underpass::status::{History, Series};

use crate::support::statuses;

const API: &str = include_str!("../../API.md");

/// What a value is made of; lists by what any of their members has.
#[derive(Debug, PartialEq, Clone)]
enum Shape {
    Null,
    Bool,
    Number,
    Text,
    List(Option<Box<Shape>>),
    Object(BTreeMap<String, Shape>),
}

impl Shape {
    fn of(value: &Value) -> Shape {
        match value {
            Value::Null => Shape::Null,
            Value::Bool(_) => Shape::Bool,
            Value::Number(_) => Shape::Number,
            Value::String(_) => Shape::Text,
            Value::Array(list) => {
                let members = list.iter().map(Shape::of).reduce(Shape::join);
                Shape::List(members.map(Box::new))
            }
            Value::Object(members) => Shape::Object(
                members.iter().map(|(key, value)| (key.clone(), Shape::of(value))).collect(),
            ),
        }
    }

    fn join(self, other: Shape) -> Shape {
        match (self, other) {
            (Shape::Null, it) | (it, Shape::Null) => it,
            (Shape::List(None), it @ Shape::List(_)) | (it @ Shape::List(_), Shape::List(None)) => {
                it
            }
            (Shape::List(Some(one)), Shape::List(Some(other))) => {
                Shape::List(Some(Box::new(one.join(*other))))
            }
            (Shape::Object(one), Shape::Object(other)) => {
                let keys = |it: &BTreeMap<String, Shape>| it.keys().cloned().collect::<Vec<_>>();
                assert_eq!(keys(&one), keys(&other), "members of one list");
                let pairs = one.into_iter().zip(other.into_values());
                Shape::Object(pairs.map(|((key, one), other)| (key, one.join(other))).collect())
            }
            (one, other) => {
                assert_eq!(one, other);
                one
            }
        }
    }
}

/// The examples below a heading, by their language.
fn examples(heading: &str, language: &str) -> Vec<&'static str> {
    let begin = API.find(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let section = &API[begin + 4..];
    let section = section.find("\n## ").map_or(section, |end| &section[..end]);
    let open = format!("```{language}\n");
    section.split(&open).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn the_examples_have_what_serde_writes() {
    let history = History {
        step: 5,
        time: statuses::NOW,
        services: vec![Series {
            name: String::new(),
            received: vec![0],
            sent: vec![0],
            visitors: vec![0],
        }],
    };
    let written = |value: Result<Value, _>| Shape::of(&value.expect("it has no maps"));
    for (heading, all) in [
        (
            "GET /api/v1/status",
            vec![
                written(serde_json::to_value(statuses::server())),
                written(serde_json::to_value(statuses::client())),
            ],
        ),
        ("GET /api/v1/history", vec![written(serde_json::to_value(history))]),
    ] {
        let examples: Vec<_> =
            examples(heading, "json").into_iter().map(|text| Shape::of(&json(text))).collect();
        assert_eq!(examples.len(), all.len(), "{heading}");
        for (example, written) in examples.into_iter().zip(all) {
            // Both ways, so that an optional value may be null in one of them.
            assert_eq!(example.clone().join(written.clone()), written, "{heading}");
            assert_eq!(written.clone().join(example.clone()), written, "{heading}");
        }
    }
}

#[test]
fn the_other_examples_are_what_they_say() {
    let explained: Vec<_> = examples("GET /api/v1/explain", "json").into_iter().map(json).collect();
    assert!(explained[0]["name"].is_string() && explained[0]["lines"].is_array());
    assert!(explained[1]["error"].is_string());
    let events = examples("GET /api/v1/events", "text");
    assert!(events[0].starts_with("event: status\ndata: {\"role\":\"server\","), "{events:?}");
    let metrics = examples("GET /metrics", "text");
    let text = super::metrics::text(statuses::server(), underpass::admin::metrics::Format::Text);
    for line in metrics[0].lines() {
        assert!(text.lines().any(|have| have == line), "{line}");
    }
}
