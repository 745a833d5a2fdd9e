//! A log line as its few telling tokens: words stay, whatever looks like a value is one wildcard.
//!
//! A value is what has a digit (numbers, ids, times, addresses), what is quoted, and what stands behind a `=`. The one
//! exception is a *place* in source code (`shop.Cart#34`, `cart.go:34`), which names the statement better than its words do.
//! Works on bytes, looks at a bounded beginning of the line, and never allocates.

use std::hash::{BuildHasher as _, Hasher as _};

use selvedge_model::hash::fixed_state;

/// Tokens of a line that are looked at; what a statement prints may be of any length.
pub(crate) const TOKENS_MAX: usize = 20;
/// Bytes of one token that count.
const TOKEN_BYTES_MAX: usize = 64;
/// Digits of a line number.
const LINE_DIGITS_MAX: usize = 5;
/// Endings of source files before `:<line>`.
const SOURCES: [&[u8]; 16] = [
    b"go", b"py", b"rs", b"java", b"kt", b"scala", b"c", b"cc", b"cpp", b"h", b"js", b"ts", b"rb", b"cs",
    b"php", b"swift",
];
/// Keys of a JSON line whose values are words about the statement; values of others are values.
const TELLING_KEYS: [&[u8]; 10] =
    [b"msg", b"message", b"event", b"log", b"logger", b"caller", b"level", b"severity", b"source", b"error"];

/// One token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// Anything may stand here.
    Wild,
    /// A word that is part of the statement.
    Word(&'a [u8]),
    /// A place in source code.
    Place(&'a [u8]),
}

/// The tokens of one line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens<'a> {
    list: [Token<'a>; TOKENS_MAX],
    count: usize,
}

impl<'a> Tokens<'a> {
    /// Reads a line.
    pub(crate) fn of(text: &'a [u8]) -> Self {
        let mut tokens = Self { list: [Token::Wild; TOKENS_MAX], count: 0 };
        let first = text.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(text.len());
        if text[first..].starts_with(b"{") && text[first..].contains(&b':') {
            tokens.read_json(&text[first..]);
        } else {
            tokens.read_plain(text);
        }
        tokens
    }

    /// In order.
    pub(crate) fn as_slice(&self) -> &[Token<'a>] {
        &self.list[..self.count]
    }

    /// A hash over all tokens: equal lines after masking have equal hashes.
    pub(crate) fn hash(&self) -> u64 {
        let mut hasher = fixed_state().build_hasher();
        for token in self.as_slice() {
            match token {
                Token::Wild => hasher.write_u8(0),
                Token::Word(word) | Token::Place(word) => {
                    hasher.write_u8(1);
                    hasher.write(word);
                }
            }
        }
        hasher.finish()
    }

    fn full(&self) -> bool {
        self.count == TOKENS_MAX
    }

    /// Adds a token; wildcards in a row are one, because values have any number of words.
    fn push(&mut self, token: Token<'a>) {
        let repeated = token == Token::Wild && self.as_slice().last() == Some(&Token::Wild);
        if !self.full() && !repeated {
            self.list[self.count] = token;
            self.count += 1;
        }
    }

    fn read_plain(&mut self, text: &'a [u8]) {
        let mut at = 0;
        let mut value = false;
        while at < text.len() && !self.full() {
            let byte = text[at];
            if byte == b'"' || byte == b'\'' {
                match quoted(text, at) {
                    Some(end) => {
                        self.push(Token::Wild);
                        (at, value) = (end, false);
                    }
                    None => at += 1,
                }
            } else if byte == b'=' {
                (at, value) = (at + 1, true);
            } else if value && matches!(byte, b'[' | b'{') {
                self.push(Token::Wild);
                (at, value) = (bracketed(text, at), false);
            } else if delimits(byte) {
                value &= !matches!(byte, b',' | b';' | b')' | b']' | b'}');
                at += 1;
            } else {
                let end = word_end(text, at);
                self.word(&text[at..end], value);
                (at, value) = (end, false);
            }
        }
    }

    fn word(&mut self, word: &'a [u8], value: bool) {
        let word = trimmed(word);
        if value {
            self.push(Token::Wild);
        } else if !word.iter().any(|byte| byte.is_ascii_alphanumeric() || *byte >= 0x80) {
            // Only punctuation: says nothing.
        } else if is_place(word) {
            self.push(Token::Place(cut(word)));
        } else if word.iter().any(u8::is_ascii_digit) {
            self.push(Token::Wild);
        } else {
            self.push(Token::Word(cut(word)));
        }
    }

    /// `"key":` is a word; the value of a telling key is read as a line, another's is a wildcard.
    fn read_json(&mut self, text: &'a [u8]) {
        let mut at = 0;
        while let Some(open) = text[at..].iter().position(|byte| *byte == b'"').map(|open| at + open) {
            let Some(end) = string_end(text, open) else { return };
            let key = &text[open + 1..end - 1];
            at = end;
            let colon = text[at..].iter().position(|byte| !byte.is_ascii_whitespace());
            let Some(colon) = colon.map(|colon| at + colon).filter(|colon| text[*colon] == b':') else {
                continue;
            };
            if self.full() {
                return;
            }
            self.push(Token::Word(cut(key)));
            at = colon + 1;
            let value = text[at..].iter().position(|byte| !byte.is_ascii_whitespace());
            let Some(value) = value.map(|value| at + value) else { return };
            if text[value] == b'"' {
                let Some(end) = string_end(text, value) else { return };
                if TELLING_KEYS.iter().any(|telling| key.eq_ignore_ascii_case(telling)) {
                    self.read_plain(&text[value + 1..end - 1]);
                } else {
                    self.push(Token::Wild);
                }
                at = end;
            } else if !matches!(text[value], b'{' | b'[') {
                self.push(Token::Wild);
            }
        }
    }
}

fn delimits(byte: u8) -> bool {
    byte.is_ascii_whitespace()
        || byte.is_ascii_control()
        || matches!(
            byte,
            b',' | b';' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>' | b'|' | b'`' | b'\\'
        )
}

fn word_end(text: &[u8], start: usize) -> usize {
    let ends = |byte: &u8| delimits(*byte) || matches!(byte, b'=' | b'"');
    text[start..].iter().position(ends).map_or(text.len(), |length| start + length)
}

/// Where a quoted value ends; `None` when the mark is an apostrophe or is never closed.
fn quoted(text: &[u8], open: usize) -> Option<usize> {
    let starts = open == 0 || delimits(text[open - 1]) || matches!(text[open - 1], b'=' | b':');
    let close = text[open + 1..].iter().position(|byte| *byte == text[open]).filter(|_| starts)?;
    Some(open + close + 2)
}

/// Where a JSON string ends, behind its closing mark.
fn string_end(text: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

/// Behind the bracket that closes the one at `open`; the end when none does.
fn bracketed(text: &[u8], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in text.iter().enumerate().skip(open) {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

/// Without the punctuation that sentences put around words.
fn trimmed(word: &[u8]) -> &[u8] {
    let is_edge = |byte: &u8| matches!(byte, b'.' | b':' | b'!' | b'?' | b'-' | b'*' | b'\'');
    let start = word.iter().position(|byte| !is_edge(byte)).unwrap_or(word.len());
    let end = word.iter().rposition(|byte| !is_edge(byte)).map_or(start, |last| last + 1);
    &word[start..end]
}

fn cut(word: &[u8]) -> &[u8] {
    &word[..word.len().min(TOKEN_BYTES_MAX)]
}

/// `shop.Cart#34` (class and line, as log4j and logback write it) or `cart.go:34` (file and line).
fn is_place(word: &[u8]) -> bool {
    let Some(mark) = word.iter().rposition(|byte| matches!(byte, b'#' | b':')) else { return false };
    let (name, line) = (&word[..mark], &word[mark + 1..]);
    let is_line = (1..=LINE_DIGITS_MAX).contains(&line.len()) && line.iter().all(u8::is_ascii_digit);
    let class = word[mark] == b'#'
        && name.contains(&b'.')
        && name.last().is_some_and(u8::is_ascii_alphanumeric)
        && !name.first().is_some_and(u8::is_ascii_digit);
    let file = word[mark] == b':' && {
        let dot = name.iter().rposition(|byte| *byte == b'.');
        dot.is_some_and(|dot| dot > 0 && SOURCES.contains(&&name[dot + 1..]))
    };
    is_line && (class || file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        let tokens = Tokens::of(text.as_bytes());
        let words = tokens.as_slice().iter().map(|token| match token {
            Token::Wild => "*".to_owned(),
            Token::Word(word) | Token::Place(word) => String::from_utf8_lossy(word).into_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn values_are_wildcards_and_words_stay() {
        for (line, expected) in [
            ("12:00:01.5 INFO cart 17 of courier-9 is full", "* INFO cart * of * is full"),
            ("found user='jo doe' name=Jo, size=[a, b, [c]] done", "found user * name * size * done"),
            ("can't open the \"big door\" now", "can't open the * now"),
            ("at 10:00 s.Ledger#34 booked", "at * s.Ledger#34 booked"),
            ("ledger.go:34 booked order#1234 on cache:6379", "ledger.go:34 booked * on *"),
            ("[book][ok: Entry(id=77, to=Jo)]", "book ok Entry id * to *"),
            ("", ""),
            ("--- *** ...", ""),
        ] {
            assert_eq!(masked(line), expected, "{line}");
        }
    }

    #[test]
    fn a_json_line_is_its_keys_and_the_words_of_its_message() {
        let line =
            r#"{"ts":"2026-01-01","level":"info","msg":"cart \"x\" is full","user":{"name":"jo"},"n":5}"#;
        assert_eq!(masked(line), "ts * level info msg cart * is full user name * n *");
    }

    #[test]
    fn hostile_lines_are_read_to_their_bound_without_panic() {
        let deep = "=[".repeat(400);
        let lines: Vec<Vec<u8>> = vec![
            vec![0xff; 900],
            deep.into_bytes(),
            vec![b'"'; 700],
            br#"{"a":"b\"#.to_vec(),
            br#"{"a" : "#.to_vec(),
            b"= = = ' ' =".to_vec(),
            "a ".repeat(500).into_bytes(),
        ];
        for line in &lines {
            assert!(Tokens::of(line).as_slice().len() <= TOKENS_MAX);
        }
    }
}
