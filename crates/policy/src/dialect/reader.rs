//! Reading trees with all that is wrong with them, each problem at its line.

use crate::yaml::{Kind, Node};

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {message}", line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct PolicyError {
    /// File name as given.
    pub file: String,
    /// Line, from 1; absent when it is about the whole file.
    pub line: Option<u64>,
    /// What is wrong, and what was probably meant.
    pub message: String,
}

/// Collects problems while trees are read.
pub(crate) struct Reader<'f> {
    file: &'f str,
    pub(crate) errors: Vec<PolicyError>,
    pub(crate) notes: Vec<String>,
}

/// How the keys of a mapping may be written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// As they are listed.
    Plain,
    /// As listed (`snake_case`), or in camel case: the two forms of protobuf's JSON.
    Proto,
}

impl<'f> Reader<'f> {
    pub(crate) fn new(file: &'f str) -> Self {
        Self { file, errors: Vec::new(), notes: Vec::new() }
    }

    pub(crate) fn wrong(&mut self, line: u64, message: impl Into<String>) {
        let line = (line > 0).then_some(line);
        self.errors.push(PolicyError { file: self.file.to_owned(), line, message: message.into() });
    }

    /// For people: something that is right, and may not do what was meant.
    pub(crate) fn note(&mut self, line: u64, message: &str) {
        self.notes.push(format!("{}:{line}: {message}", self.file));
    }

    /// The entries of a mapping with the names they are listed under. Keys that are not listed are problems.
    pub(crate) fn entries<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        keys: Keys,
        known: &[&'static str],
    ) -> Vec<(&'static str, &'n Node)> {
        let Kind::Map(entries) = &node.kind else {
            self.wrong(node.line, format!("{what} is {}, where a mapping is expected", node.kind.name()));
            return Vec::new();
        };
        let mut read = Vec::new();
        for (key, line, value) in entries {
            let plain = if keys == Keys::Proto { snake_case(key) } else { key.clone() };
            match known.iter().find(|name| **name == plain) {
                Some(name) => read.push((*name, value)),
                None => {
                    let hint = match nearest(&plain, known) {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => format!("known here: {}", known.join(", ")),
                    };
                    self.wrong(*line, format!("unknown key `{key}` in {what}; {hint}"));
                }
            }
        }
        read
    }

    /// The items of a list.
    pub(crate) fn items<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        if let Kind::List(items) = &node.kind {
            return items;
        }
        self.wrong(node.line, format!("{what} is {}, where a list is expected", node.kind.name()));
        &[]
    }

    /// A text.
    pub(crate) fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        if let Some(text) = node.text() {
            return Some(text);
        }
        let hint = match &node.kind {
            Kind::Number(number) => format!("; write \"{number}\""),
            Kind::Bool(value) => format!("; write \"{value}\""),
            _ => String::new(),
        };
        self.wrong(node.line, format!("{what} is {}, where text is expected{hint}", node.kind.name()));
        None
    }

    /// A list of texts that are not empty, each with its line.
    pub(crate) fn texts<'n>(&mut self, node: &'n Node, what: &str) -> Vec<(u64, &'n str)> {
        let mut texts = Vec::new();
        for item in self.items(node, what) {
            match self.text(item, what) {
                Some("") => self.wrong(item.line, format!("{what} holds an empty text")),
                Some(text) => texts.push((item.line, text)),
                None => {}
            }
        }
        texts
    }

    /// True or false.
    pub(crate) fn truth(&mut self, node: &Node, what: &str) -> Option<bool> {
        if let Kind::Bool(value) = node.kind {
            return Some(value);
        }
        self.wrong(node.line, format!("{what} is {}, where true or false is expected", node.kind.name()));
        None
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(
        &mut self,
        node: &Node,
        what: &str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(node, what)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let hint = match nearest(text, &known) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        self.wrong(node.line, format!("unknown {what} `{text}`; {hint}"));
        None
    }

    /// A port number, as number or as text.
    pub(crate) fn port(&mut self, node: &Node, what: &str) -> Option<u16> {
        let digits = match &node.kind {
            Kind::Number(text) | Kind::Text(text) => text.as_str(),
            _ => "",
        };
        let port = digits.parse().ok();
        if port.is_none() {
            self.wrong(node.line, format!("{what} is no port number"));
        }
        port
    }
}

fn snake_case(key: &str) -> String {
    let mut snake = String::with_capacity(key.len() + 4);
    for character in key.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

/// The known word at the smallest edit distance, when it is near enough to be meant.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let near = known.iter().map(|candidate| (edit_distance(word, candidate), *candidate)).min()?;
    (near.0 <= word.len().max(3) / 3 + 1).then_some(near.1)
}

/// Levenshtein distance by bytes.
fn edit_distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, from) in left.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, to) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
