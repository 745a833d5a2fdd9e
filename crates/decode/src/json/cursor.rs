//! A place in a JSON text whose syntax has been checked: step over values, or take them as what OTLP/JSON says
//! they are (proto3 JSON mapping, with OTLP's exceptions: hex ids, enums as integers only).
//!
//! A copy is a bookmark. After a type error the place is meaningless and must be dropped. Nothing here panics
//! on a text that was not checked either; it merely reads nonsense.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::fault::{Fault, FaultKind};

/// Proto3 JSON readers accept both alphabets, with or without padding.
const BASE64: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64_STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, BASE64);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, BASE64);

/// A place in a checked JSON text.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The start of a text that [`super::validate::validate`] accepted.
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The offset of the next value.
    pub(crate) fn offset(&mut self) -> usize {
        self.peek();
        self.at
    }

    /// The next byte that is no space; 0 at the end.
    pub(crate) fn peek(&mut self) -> u8 {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(byte) => return *byte,
                None => return 0,
            }
        }
    }

    /// Steps into an object; false (and past it) when the value is `null`.
    pub(crate) fn object(&mut self) -> Result<bool, Fault> {
        self.open(b'{', "an object")
    }

    /// Steps into an array; false (and past it) when the value is `null`.
    pub(crate) fn array(&mut self) -> Result<bool, Fault> {
        self.open(b'[', "an array")
    }

    fn open(&mut self, bracket: u8, what: &'static str) -> Result<bool, Fault> {
        if self.null() {
            return Ok(false);
        }
        if self.peek() != bracket {
            return Err(self.expected(what));
        }
        self.at += 1;
        Ok(true)
    }

    /// The next key of an object; `None` (and past it) at its end. The value must be read or skipped next.
    pub(crate) fn key(&mut self) -> Option<Cow<'a, [u8]>> {
        if self.peek() == b',' {
            self.at += 1;
        }
        if self.peek() != b'"' {
            self.at += 1;
            return None;
        }
        let key = self.raw_string();
        if self.peek() == b':' {
            self.at += 1;
        }
        Some(key)
    }

    /// True when an array has another element; at its end false, and past it.
    pub(crate) fn element(&mut self) -> bool {
        if self.peek() == b',' {
            self.at += 1;
        }
        if matches!(self.peek(), b']' | 0) {
            self.at += 1;
            return false;
        }
        true
    }

    /// Steps over one value and returns its text.
    pub(crate) fn skip(&mut self) -> &'a [u8] {
        let start = self.offset();
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                b'"' => self.skip_string(),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    self.at += 1;
                }
                b',' | b':' => self.at += 1,
                0 => break,
                _ => {
                    self.token();
                }
            }
            if depth == 0 {
                break;
            }
        }
        self.text.get(start..self.at).unwrap_or(&[])
    }

    /// A string; empty when `null`.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, [u8]>, Fault> {
        if self.null() {
            return Ok(Cow::Borrowed(&[]));
        }
        if self.peek() != b'"' {
            return Err(self.expected("a string"));
        }
        Ok(self.raw_string())
    }

    /// A trace or span id: hex of either case. Anything else that is a string is an absent id, as wrong lengths
    /// are on the protobuf wire.
    pub(crate) fn id<const N: usize>(&mut self, into: &mut [u8; N]) -> Result<usize, Fault> {
        let text = self.string()?;
        if text.len() != 2 * N || !text.iter().all(u8::is_ascii_hexdigit) {
            return Ok(0);
        }
        for (byte, pair) in into.iter_mut().zip(text.chunks_exact(2)) {
            *byte = nibble(pair[0]) << 4 | nibble(pair[1]);
        }
        Ok(N)
    }

    /// Bytes in base64 of either alphabet.
    pub(crate) fn base64(&mut self) -> Result<Vec<u8>, Fault> {
        let mut start = *self;
        let text = self.string()?;
        let url = text.iter().any(|byte| matches!(byte, b'-' | b'_'));
        let engine = if url { &BASE64_URL } else { &BASE64_STANDARD };
        engine.decode(&text[..]).map_err(|_| start.expected("base64"))
    }

    /// A 64- or 32-bit integer, as a number or a string; zero when `null`.
    pub(crate) fn integer<T: TryFrom<i128> + Default>(&mut self) -> Result<T, Fault> {
        let mut start = *self;
        let Some(text) = self.number_text()? else { return Ok(T::default()) };
        whole_number(&text)
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| start.expected("an integer"))
    }

    /// An enum: OTLP allows its number only, never its name.
    pub(crate) fn enumeration(&mut self) -> Result<i32, Fault> {
        if self.peek() == b'"' {
            return Err(self.expected("an enum as integer"));
        }
        self.integer()
    }

    /// A double, as a number or a string (`"NaN"`, `"Infinity"`, `"-Infinity"` too); `None` when `null`.
    pub(crate) fn double(&mut self) -> Result<Option<f64>, Fault> {
        let mut start = *self;
        let Some(text) = self.number_text()? else { return Ok(None) };
        let number = match &text[..] {
            b"NaN" => Some(f64::NAN),
            b"Infinity" => Some(f64::INFINITY),
            b"-Infinity" => Some(f64::NEG_INFINITY),
            // `parse` would also take "nan", "inf" and their kind, which proto3 JSON does not have.
            digits
                if !digits.iter().any(|byte| byte.is_ascii_alphabetic() && !matches!(byte, b'e' | b'E')) =>
            {
                std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok())
            }
            _ => None,
        };
        number.map(Some).ok_or_else(|| start.expected("a number"))
    }

    /// A boolean; false when `null`.
    pub(crate) fn boolean(&mut self) -> Result<bool, Fault> {
        match self.peek() {
            b't' | b'f' | b'n' => Ok(self.token() == b"true"),
            _ => Err(self.expected("true or false")),
        }
    }

    /// Steps over `null`, if that is the next value.
    pub(crate) fn null(&mut self) -> bool {
        let is_null = self.peek() == b'n';
        if is_null {
            self.token();
        }
        is_null
    }

    /// The text of a number, which proto3 JSON also allows as a string; `None` when `null`.
    fn number_text(&mut self) -> Result<Option<Cow<'a, [u8]>>, Fault> {
        match self.peek() {
            b'n' => {
                self.token();
                Ok(None)
            }
            b'"' => Ok(Some(self.raw_string())),
            b'-' | b'0'..=b'9' => Ok(Some(Cow::Borrowed(self.token()))),
            _ => Err(self.expected("a number")),
        }
    }

    pub(crate) fn expected(&mut self, what: &'static str) -> Fault {
        Fault::new(FaultKind::JsonExpected(what), self.offset(), 0)
    }

    /// A number or literal, up to what ends it.
    pub(crate) fn token(&mut self) -> &'a [u8] {
        let start = self.offset();
        let rest = self.text.get(start..).unwrap_or(&[]);
        let ends =
            |byte: &u8| matches!(byte, b',' | b'}' | b']' | b':' | b'"' | b' ' | b'\t' | b'\n' | b'\r');
        // At least one byte, so that every loop over tokens comes to an end.
        let length = rest.iter().skip(1).position(ends).map_or(rest.len(), |length| length + 1);
        self.at = start + length;
        &rest[..length]
    }

    fn skip_string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.text.get(self.at) {
            self.at += 1;
            match byte {
                b'"' => return,
                b'\\' => self.at += 1,
                _ => {}
            }
        }
    }

    /// The string at this place, borrowed unless it has escapes.
    fn raw_string(&mut self) -> Cow<'a, [u8]> {
        let start = self.at;
        self.skip_string();
        let inside = self.text.get(start + 1..self.at.saturating_sub(1)).unwrap_or(&[]);
        if inside.contains(&b'\\') { Cow::Owned(unescape(inside)) } else { Cow::Borrowed(inside) }
    }
}

/// An integer, also one that is written like `1e3` or `2.0`, if it is whole.
fn whole_number(text: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let number: f64 = text.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "whole, and far inside the range of i128")]
    let whole = (number.fract() == 0.0 && number.abs() < 1e30).then_some(number as i128);
    whole
}

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

/// The text of a string's inside. Half a surrogate pair becomes three bytes that are not UTF-8, so that it is
/// repaired and counted like any other bad text.
fn unescape(inside: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(inside.len());
    let mut rest = inside;
    while let [first, after @ ..] = rest {
        if *first != b'\\' {
            text.push(*first);
            rest = after;
            continue;
        }
        let Some((escape, after)) = after.split_first() else { break };
        rest = after;
        match escape {
            b'b' => text.push(0x08),
            b'f' => text.push(0x0c),
            b'n' => text.push(b'\n'),
            b'r' => text.push(b'\r'),
            b't' => text.push(b'\t'),
            b'u' => {
                let (code, after) = code_point(rest);
                push_code_point(code, &mut text);
                rest = after;
            }
            other => text.push(*other),
        }
    }
    text
}

/// The code point of `XXXX`, or of `XXXX\uXXXX` when the two are a surrogate pair, and what follows.
fn code_point(rest: &[u8]) -> (u32, &[u8]) {
    let unit =
        |rest: &[u8]| rest.iter().take(4).fold(0_u32, |unit, digit| unit << 4 | u32::from(nibble(*digit)));
    let after = |rest, count: usize| <[u8]>::get(rest, count..).unwrap_or(&[]);
    let high = unit(rest);
    let tail = after(rest, 4);
    if (0xd800..0xdc00).contains(&high) && tail.starts_with(b"\\u") {
        let low = unit(after(tail, 2));
        if (0xdc00..0xe000).contains(&low) {
            return (0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00), after(tail, 6));
        }
    }
    (high, tail)
}

fn push_code_point(code: u32, text: &mut Vec<u8>) {
    if let Some(char) = char::from_u32(code) {
        text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        return;
    }
    let low_bits = |shift: u32| ((code >> shift) & 0x3f).to_le_bytes()[0];
    text.extend([0xe0 | low_bits(12), 0x80 | low_bits(6), 0x80 | low_bits(0)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Vec<u8> {
        Cursor::new(text.as_bytes()).string().expect("a string").into_owned()
    }

    #[test]
    fn strings_lose_their_escapes() {
        assert_eq!(string(r#""plain""#), b"plain");
        assert_eq!(string(r#""a\"\\\/\b\f\n\r\tz""#), b"a\"\\/\x08\x0c\n\r\tz");
        assert_eq!(string(r#""\u00e9\ud83d\ude00!""#), "é😀!".as_bytes());
        let lone = string(r#""\ud83dx""#);
        assert!(std::str::from_utf8(&lone).is_err() && lone.ends_with(b"x"));
        assert!(std::str::from_utf8(&string(r#""\ude00\ud83d""#)).is_err());
    }

    #[test]
    fn integers_come_as_numbers_or_strings_and_only_whole() {
        let read = |text: &str| Cursor::new(text.as_bytes()).integer::<u64>();
        assert_eq!(read("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(read("\"18446744073709551615\""), Ok(u64::MAX));
        assert_eq!(read("1e3"), Ok(1_000));
        assert_eq!(read("null"), Ok(0));
        for bad in ["18446744073709551616", "-1", "1.5", "\"x\"", "\"\"", "true", "{}", "1e400"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn doubles_come_as_numbers_strings_and_three_words() {
        let read = |text: &str| Cursor::new(text.as_bytes()).double();
        assert_eq!(read("-1.5e3"), Ok(Some(-1_500.0)));
        assert_eq!(read("\"2.5\""), Ok(Some(2.5)));
        assert_eq!(read("\"-Infinity\""), Ok(Some(f64::NEG_INFINITY)));
        assert_eq!(read("\"Infinity\""), Ok(Some(f64::INFINITY)));
        assert!(read("\"NaN\"").unwrap().unwrap().is_nan());
        assert_eq!(read("null"), Ok(None));
        for bad in ["\"nan\"", "\"inf\"", "\"\"", "true", "[]"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_are_hex_of_any_case_and_one_length() {
        let read = |text: &str| {
            let mut id = [0; 8];
            Cursor::new(text.as_bytes()).id(&mut id).map(|length| id[..length].to_vec())
        };
        assert_eq!(read("\"00fF00000000000A\""), Ok(vec![0, 0xff, 0, 0, 0, 0, 0, 10]));
        for absent in ["\"\"", "null", "\"00ff\"", "\"zzzzzzzzzzzzzzzz\"", "\"AP8AAAAAAAo=\""] {
            assert_eq!(read(absent), Ok(vec![]), "{absent}");
        }
        assert!(read("5").is_err());
    }

    #[test]
    fn base64_of_either_alphabet_padded_or_not() {
        let read = |text: &str| Cursor::new(text.as_bytes()).base64();
        assert_eq!(read("\"+/8=\""), Ok(vec![0xfb, 0xff]));
        assert_eq!(read("\"-_8\""), Ok(vec![0xfb, 0xff]));
        assert_eq!(read("\"\""), Ok(vec![]));
        assert!(read("\"*\"").is_err());
    }

    #[test]
    fn skipping_lands_behind_the_value() {
        for value in ["1", "\"a]\\\"}\"", "null", "{\"a\":[1,{\"b\":\"}\"}]}", "[]", "{ }"] {
            let text = format!("[ {value} , 7 ]");
            let mut cursor = Cursor::new(text.as_bytes());
            assert_eq!(cursor.array(), Ok(true));
            assert!(cursor.element());
            assert_eq!(cursor.skip(), value.as_bytes());
            assert!(cursor.element());
            assert_eq!(cursor.integer(), Ok(7_u64));
            assert!(!cursor.element());
        }
    }
}
