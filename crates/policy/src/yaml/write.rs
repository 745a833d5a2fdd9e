//! Writing YAML. Names come from telemetry and are hostile: a text is either visibly harmless, or quoted with
//! everything escaped that is not plain printable text, so that YAML 1.1 and 1.2 readers agree that it is that
//! text.

use std::fmt::Write as _;

/// A value to be written. Mappings keep their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Yaml {
    Bool(bool),
    Number(u64),
    Text(String),
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>),
}

impl Yaml {
    /// The same as JSON.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(value) => Value::from(*value),
            Self::Text(value) => Value::String(value.clone()),
            Self::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Self::Map(entries) => {
                Value::Object(entries.iter().map(|(key, value)| (key.clone(), value.to_json())).collect())
            }
        }
    }
}

/// A text.
pub(crate) fn text(value: impl Into<String>) -> Yaml {
    Yaml::Text(value.into())
}

/// A list of texts.
pub(crate) fn texts(values: impl IntoIterator<Item = impl Into<String>>) -> Yaml {
    Yaml::List(values.into_iter().map(text).collect())
}

/// A mapping.
pub(crate) fn map<const N: usize>(entries: [(&str, Yaml); N]) -> Yaml {
    Yaml::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Documents one after the other, `---` between them.
pub(crate) fn write_documents(documents: &[Yaml]) -> String {
    let mut out = String::new();
    for (number, document) in documents.iter().enumerate() {
        if number > 0 {
            out.push_str("---\n");
        }
        write_block(document, 0, &mut out);
    }
    out
}

/// A value that begins a line of its own.
fn write_block(value: &Yaml, depth: usize, out: &mut String) {
    match value {
        Yaml::Map(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                indent(depth, out);
                write_scalar(key, out);
                out.push(':');
                write_value(value, depth + 1, out);
            }
        }
        Yaml::List(items) if !items.is_empty() => {
            for item in items {
                indent(depth, out);
                out.push_str("- ");
                write_block(item, depth + 1, out);
            }
        }
        other => {
            write_inline(other, out);
            out.push('\n');
        }
    }
}

/// A value behind its key.
fn write_value(value: &Yaml, depth: usize, out: &mut String) {
    match value {
        Yaml::Map(entries) if !entries.is_empty() => {
            out.push('\n');
            write_block(value, depth, out);
        }
        // Lists stand at the depth of their key, as `kubectl` writes them.
        Yaml::List(items) if !items.is_empty() => {
            out.push('\n');
            write_block(value, depth - 1, out);
        }
        other => {
            out.push(' ');
            write_inline(other, out);
            out.push('\n');
        }
    }
}

fn write_inline(value: &Yaml, out: &mut String) {
    match value {
        Yaml::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Yaml::Number(value) => out.push_str(&value.to_string()),
        Yaml::Text(value) => write_scalar(value, out),
        Yaml::List(_) => out.push_str("[]"),
        Yaml::Map(_) => out.push_str("{}"),
    }
}

/// The first key or item of an item stands behind its dash, and needs none.
fn indent(depth: usize, out: &mut String) {
    if !out.is_empty() && !out.ends_with('\n') {
        return;
    }
    out.extend(std::iter::repeat_n("  ", depth));
}

fn write_scalar(value: &str, out: &mut String) {
    if harmless(value) {
        out.push_str(value);
        return;
    }
    out.push('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '..='~' => out.push(character),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // Letters of any script stay readable; what is invisible or turns the direction of text does not.
            _ if character.is_alphanumeric() => out.push(character),
            _ if u32::from(character) <= 0xffff => {
                let _infallible = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => {
                let _infallible = write!(out, "\\U{:08x}", u32::from(character));
            }
        }
    }
    out.push('"');
}

/// True for words of letters, digits, `.`, `-`, `_` and `/` that begin with a letter, end in a letter or digit,
/// and are a boolean, a null or a number in no version of YAML.
fn harmless(value: &str) -> bool {
    const WORDS: [&str; 11] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "inf", "nan"];
    let begins = value.starts_with(|first: char| first.is_ascii_alphabetic());
    let ends = value.ends_with(|last: char| last.is_ascii_alphanumeric());
    let inside = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_/".contains(&byte));
    begins && ends && inside && !WORDS.contains(&value.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::yaml::{Kind, Node, documents};

    /// The tree that a written value must be read as.
    fn same(node: &Node, value: &Yaml) -> bool {
        match (&node.kind, value) {
            (Kind::Bool(read), Yaml::Bool(written)) => read == written,
            (Kind::Number(read), Yaml::Number(written)) => *read == written.to_string(),
            (Kind::Text(read), Yaml::Text(written)) => read == written,
            (Kind::List(read), Yaml::List(written)) => {
                read.len() == written.len() && read.iter().zip(written).all(|(node, value)| same(node, value))
            }
            (Kind::Map(read), Yaml::Map(written)) => {
                let equal = |((name, _, node), (key, value)): (&(String, u64, Node), &(String, Yaml))| {
                    name == key && same(node, value)
                };
                read.len() == written.len() && read.iter().zip(written).all(equal)
            }
            _ => false,
        }
    }

    fn trees() -> impl Strategy<Value = Yaml> {
        let hostile = prop_oneof![
            any::<String>(),
            "[-:#{}\\[\\],&*!|>'\"%@`?\\\\ \n\r\t\u{85}\u{2028}\u{feff}a0~.=<]{0,12}",
            Just("true".to_owned()),
            Just("0x1f".to_owned()),
            Just("12:30".to_owned()),
            Just("---\nkind: Secret".to_owned()),
        ];
        let leaf = prop_oneof![
            any::<bool>().prop_map(Yaml::Bool),
            any::<u64>().prop_map(Yaml::Number),
            hostile.clone().prop_map(Yaml::Text),
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            let keyed = prop::collection::btree_map(hostile.clone(), inner.clone(), 0..5);
            prop_oneof![
                prop::collection::vec(inner, 0..5).prop_map(Yaml::List),
                keyed.prop_map(|entries| Yaml::Map(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_whatever_the_names(trees in prop::collection::vec(trees(), 1..4)) {
            let written = write_documents(&trees);
            let failed = |error| TestCaseError::fail(format!("{error:?}\n{written}"));
            let read = documents(&written).map_err(failed)?;
            prop_assert_eq!(read.len(), trees.len(), "{}", written);
            for (node, value) in read.iter().zip(&trees) {
                prop_assert!(same(node, value), "{}\n{:?}", written, node);
            }
        }
    }

    #[test]
    fn lists_of_mappings_and_of_lists_are_laid_out_as_people_write_them() {
        let tree = map([
            ("rules", Yaml::List(vec![map([("from", texts(["a", "b c"])), ("to", Yaml::List(vec![]))])])),
            ("empty", map([])),
        ]);
        let expected = "rules:\n- from:\n  - a\n  - \"b c\"\n  to: []\nempty: {}\n";
        assert_eq!(write_documents(&[tree]), expected);
    }
}
