//! YAML (and so JSON) as a tree in which every value and key knows its line.
//!
//! Typed reading stops at the first error; people want all of them at once.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// Bytes of one text; a policy file is a few kilobytes.
const TEXT_BYTES_MAX: usize = 4 << 20;

/// How deep values may be nested. Deeper ones would cost more stack than a thread has to give.
const DEPTH_MAX: usize = 48;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Line of its first character, from 1.
    pub(crate) line: u64,
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    /// A number, as it would be written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    /// Keys in the order of the text, each with its line.
    Map(Vec<(String, u64, Node)>),
}

impl Kind {
    /// For error messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// The value of a key of a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        let Kind::Map(entries) = &self.kind else { return None };
        entries.iter().find(|(name, _, _)| name == key).map(|(_, _, node)| node)
    }

    /// The text of a scalar that is text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// All documents of a text that are not empty. The error has its line (0 when unknown) and a message.
pub(crate) fn documents(text: &str) -> Result<Vec<Node>, (u64, String)> {
    if text.len() > TEXT_BYTES_MAX {
        return Err((0, format!("larger than {TEXT_BYTES_MAX} bytes")));
    }
    let options = serde_saphyr::options! { budget: serde_saphyr::budget! { max_depth: DEPTH_MAX } };
    let read: Result<Vec<Node>, _> = serde_saphyr::from_multiple_with_options(text, options);
    let nodes = read.map_err(|error| {
        let error = error.without_snippet();
        let line = error.location().map_or(0, |place| place.line());
        let message = error.to_string();
        // The library ends its message with the place, which has a field of its own here.
        (line, message.split(" at line ").next().unwrap_or(&message).to_owned())
    })?;
    Ok(nodes.into_iter().filter(|node| node.kind != Kind::Null).collect())
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Kind>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), kind: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        Kind::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            entries.push((key.value, key.referenced.line(), access.next_value()?));
        }
        Ok(Kind::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_and_key_knows_its_line_in_any_document() {
        let nodes = documents("a: 1\n---\n---\nb:\n  - c: x\n    d: [true, null]\n").expect("valid");
        assert_eq!(nodes.len(), 2, "an empty document is none");
        let Kind::Map(entries) = &nodes[1].kind else { panic!("a mapping") };
        assert_eq!((entries[0].0.as_str(), entries[0].1), ("b", 4));
        let Kind::List(items) = &entries[0].2.kind else { panic!("a list") };
        assert_eq!(items[0].line, 5);
        let Kind::Map(inner) = &items[0].kind else { panic!("a mapping") };
        assert_eq!((inner[1].0.as_str(), inner[1].1, inner[1].2.line), ("d", 6, 6));
        assert_eq!(items[0].get("c").and_then(Node::text), Some("x"));
        assert_eq!(items[0].get("e"), None);
    }

    #[test]
    fn json_is_read_too_and_what_is_neither_is_an_error_with_its_line() {
        let nodes = documents("{\"a\": {\n\t\"b\": [\"\\u0041\\/\", 8080]}}").expect("valid");
        let list = nodes[0].get("a").and_then(|a| a.get("b")).expect("there");
        let Kind::List(items) = &list.kind else { panic!("a list") };
        assert_eq!(items[0].text(), Some("A/"));
        assert_eq!(items[1].kind, Kind::Number("8080".to_owned()));
        let (line, message) = documents("a: 1\nb: [\n").expect_err("unfinished");
        assert!(line > 0 && !message.is_empty(), "{line} {message}");
        assert!(documents("a: 1\na: 2\n").is_err(), "a key given twice");
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(documents(&nested(DEPTH_MAX)).is_ok());
        assert!(documents(&nested(DEPTH_MAX + 1)).is_err());
        assert!(documents(&nested(100_000)).is_err());
    }
}
