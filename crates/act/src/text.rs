//! Text from telemetry on its way to people: made visible, cut to size, broken into lines.

/// Stands for what was cut off.
const CUT: char = '…';

/// Without control characters, and without those that turn the direction of writing: telemetry is chosen by others,
/// and must neither steer a terminal nor show another name than it has.
#[must_use]
pub fn visible(text: &str) -> String {
    text.chars().map(|letter| if steers(letter) { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}

fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// At most `chars_max` characters; what is cut off leaves a mark.
#[must_use]
pub fn clip(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max.saturating_sub(1)).chain([CUT]).collect()
}

/// At most `bytes_max` bytes, cut between characters.
pub(crate) fn clip_bytes(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max.saturating_sub(CUT.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{CUT}", &text[..end])
}

/// Broken between words into lines of at most `width` characters; a longer word is broken where it must.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let mut letters: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + letters.len() <= width {
            push(&mut lines, " ");
            used += 1;
        } else if used > 0 {
            lines.push(String::new());
            used = 0;
        }
        while letters.len() > width {
            let rest = letters.split_off(width);
            push(&mut lines, &letters.iter().collect::<String>());
            lines.push(String::new());
            letters = rest;
        }
        used += letters.len();
        push(&mut lines, &letters.iter().collect::<String>());
    }
    lines
}

fn push(lines: &mut [String], text: &str) {
    if let Some(line) = lines.last_mut() {
        line.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_a_terminal_is_made_visible() {
        assert_eq!(visible("a\u{1b}[2Jb\r\nc\u{202e}d"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}d");
        assert_eq!(visible("größe/日本"), "größe/日本");
    }

    #[test]
    fn cutting_respects_characters_and_the_limit() {
        assert_eq!(clip("päth", 4), "päth");
        assert_eq!(clip("päths", 4), "pät…");
        assert_eq!(clip_bytes("日本語", 9), "日本語");
        assert_eq!(clip_bytes("日本語!", 9), "日本…");
        assert!(clip_bytes(&"é".repeat(5_000), 4_096).len() <= 4_096);
    }

    #[test]
    fn lines_break_between_words_where_they_can() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
