//! JSON syntax (RFC 8259), checked once over the whole text, so that everything after it only meets type errors.
//!
//! Open brackets are bits of a reused list, not stack frames: nesting costs a bit per level and has no limit of
//! its own. Bytes above 0x7f inside strings are taken as they are: whether they are UTF-8 is judged where a
//! string is used, as in protobuf.

use super::cursor::Cursor;
use crate::fault::{Fault, FaultKind};

/// Checks that `text` is one JSON value and nothing else.
pub(crate) fn validate<'a>(text: &'a [u8], nesting: &mut Vec<u64>) -> Result<Cursor<'a>, Fault> {
    nesting.clear();
    let mut check = Check { text, at: 0, open: Nesting { bits: nesting, depth: 0 } };
    while check.value()? {}
    Ok(Cursor::new(text))
}

struct Check<'a, 'n> {
    text: &'a [u8],
    at: usize,
    open: Nesting<'n>,
}

impl Check<'_, '_> {
    /// Checks one scalar or opening bracket and all that closes after it. True when another value must follow.
    fn value(&mut self) -> Result<bool, Fault> {
        match self.next()? {
            b'{' => {
                self.at += 1;
                if self.next()? != b'}' {
                    self.open.push(true);
                    self.key()?;
                    return Ok(true);
                }
                self.at += 1;
            }
            b'[' => {
                self.at += 1;
                if self.next()? != b']' {
                    self.open.push(false);
                    return Ok(true);
                }
                self.at += 1;
            }
            b'"' => self.string()?,
            b'-' | b'0'..=b'9' => self.number()?,
            b't' => self.literal(b"true")?,
            b'f' => self.literal(b"false")?,
            b'n' => self.literal(b"null")?,
            _ => return Err(self.unexpected()),
        }
        self.closings()
    }

    /// After a value: closing brackets, then a comma, or the end of the text.
    fn closings(&mut self) -> Result<bool, Fault> {
        loop {
            self.space();
            let Some(in_object) = self.open.top() else {
                return if self.at == self.text.len() { Ok(false) } else { Err(self.unexpected()) };
            };
            match (self.next()?, in_object) {
                (b',', true) => {
                    self.at += 1;
                    self.next()?;
                    self.key()?;
                    return Ok(true);
                }
                (b',', false) => {
                    self.at += 1;
                    return Ok(true);
                }
                (b'}', true) | (b']', false) => {
                    self.at += 1;
                    self.open.pop();
                }
                _ => return Err(self.unexpected()),
            }
        }
    }

    fn key(&mut self) -> Result<(), Fault> {
        self.string()?;
        if self.next()? != b':' {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<(), Fault> {
        if self.peek()? != b'"' {
            return Err(self.unexpected());
        }
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    self.at += 1;
                    match self.peek()? {
                        b'u' => (0..4).try_for_each(|_| self.hex_digit())?,
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        _ => return Err(self.unexpected()),
                    }
                }
                0..0x20 => return Err(self.unexpected()),
                _ => {}
            }
            self.at += 1;
        }
        self.at += 1;
        Ok(())
    }

    fn hex_digit(&mut self) -> Result<(), Fault> {
        self.at += 1;
        if self.peek()?.is_ascii_hexdigit() { Ok(()) } else { Err(self.unexpected()) }
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.text.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        if !self.peek()?.is_ascii_digit() {
            return Err(self.unexpected());
        }
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        for byte in word {
            if self.peek()? != *byte {
                return Err(self.unexpected());
            }
            self.at += 1;
        }
        Ok(())
    }

    fn space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The next byte that is no space.
    fn next(&mut self) -> Result<u8, Fault> {
        self.space();
        self.peek()
    }

    fn peek(&self) -> Result<u8, Fault> {
        self.text.get(self.at).copied().ok_or_else(|| Fault::new(FaultKind::JsonEnd, self.at, 0))
    }

    fn unexpected(&self) -> Fault {
        match self.text.get(self.at) {
            Some(byte) => Fault::new(FaultKind::JsonByte, self.at, (*byte).into()),
            None => Fault::new(FaultKind::JsonEnd, self.at, 0),
        }
    }
}

/// A stack of booleans: is the open bracket an object's?
struct Nesting<'n> {
    bits: &'n mut Vec<u64>,
    depth: usize,
}

impl Nesting<'_> {
    fn push(&mut self, is_object: bool) {
        let (word, bit) = (self.depth / 64, self.depth % 64);
        if word == self.bits.len() {
            self.bits.push(0);
        }
        self.bits[word] = self.bits[word] & !(1 << bit) | u64::from(is_object) << bit;
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    fn top(&self) -> Option<bool> {
        let last = self.depth.checked_sub(1)?;
        Some(self.bits[last / 64] >> (last % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &[u8]) -> Result<(), Fault> {
        validate(text, &mut Vec::new()).map(|_| ())
    }

    #[test]
    fn a_syntax_error_says_where() {
        let of = |text: &str| check(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(of(r#"{"a":1,}"#), "unexpected byte 0x7d at byte 7");
        assert_eq!(of(r#"{"a":[1,2"#), "unexpected end of text at byte 9");
        assert_eq!(of("{} {}"), "unexpected byte 0x7b at byte 3");
        assert_eq!(of(""), "unexpected end of text at byte 0");
        assert_eq!(of("[01]"), "unexpected byte 0x31 at byte 2");
        assert_eq!(of("[1}"), "unexpected byte 0x7d at byte 2");
        assert_eq!(of("\"\\x\""), "unexpected byte 0x78 at byte 2");
        assert_eq!(of("\"\n\""), "unexpected byte 0x0a at byte 1");
    }

    #[test]
    fn nesting_costs_no_stack() {
        let depth = 2_000_000;
        let whole = [vec![b'['; depth], vec![b']'; depth]].concat();
        assert_eq!(check(&whole), Ok(()));
        assert_eq!(check(&vec![b'['; depth]).unwrap_err().offset, depth);
        let mixed = "[{\"a\":".repeat(500_000);
        assert_eq!(check(mixed.as_bytes()).unwrap_err().kind, FaultKind::JsonEnd);
    }

    #[test]
    fn bytes_that_are_not_utf8_pass_inside_strings_only() {
        assert_eq!(check(b"[\"\xff\xfe\"]"), Ok(()));
        assert!(check(b"[\xff]").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 2_000,
            rng_seed: proptest::test_runner::RngSeed::Fixed(0x5e1_ed6e),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// Oracle: serde_json, on texts made of JSON's own pieces.
        #[test]
        fn what_is_json_is_what_serde_json_says(pieces in proptest::collection::vec(prop_oneof![
            Just("{"), Just("}"), Just("["), Just("]"), Just(","), Just(":"), Just(" "), Just("\"a\""),
            Just("\"\\u00e9\\n\""), Just("\"\\u12\""), Just("0"), Just("-1.5e+3"), Just("01"), Just("1."), Just("true"),
            Just("null"), Just("nul"), Just("\"k\":1"), Just("{\"k\":[1,{}]}"),
        ], 0..12)) {
            let text = pieces.concat();
            // `IgnoredAny` looks at syntax alone: a number that no double can hold is JSON all the same.
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(check(text.as_bytes()).is_ok(), theirs, "{}", text);
        }
    }
}
