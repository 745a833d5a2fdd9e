//! Everything that is wrong with a rule file, not only the first: what was wrong is replaced by what the shipped rule of
//! the kind says there, and the rest is read again.

use serde_saphyr::Error;

/// Problems told at most; a file with more is not the file that was meant.
const PROBLEMS_MAX: usize = 50;

/// A line of the file as it stands, and the number of the line of the real file that it stands for.
type Line = (u64, String);

/// All errors of `text`, each with its line and column, beginning with `first`. `read` tries again.
pub(crate) fn all(
    text: &str,
    shipped: &str,
    first: Error,
    read: impl Fn(&str) -> Option<Error>,
) -> Vec<(Error, u64, u64)> {
    let mut lines: Vec<Line> = (1..).zip(text.lines().map(str::to_owned)).collect();
    let (mut problems, mut next) = (Vec::new(), Some(first));
    while let Some(error) = next.take().filter(|_| problems.len() < PROBLEMS_MAX) {
        let place = error.without_snippet().location();
        let at = place.and_then(|place| usize::try_from(place.line()).ok()?.checked_sub(1));
        let at = at.filter(|at| *at < lines.len());
        let line = at.map_or(0, |at| lines[at].0);
        let mended = mend(&mut lines, at, error.without_snippet(), shipped);
        problems.push((error, line, place.map_or(0, |place| place.column())));
        if mended {
            let text: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
            next = read(&text.join("\n"));
        }
    }
    problems
}

/// Takes a problem out of the file; false when nobody knows how.
fn mend(lines: &mut Vec<Line>, at: Option<usize>, error: &Error, shipped: &str) -> bool {
    if let Error::SerdeMissingField { field, .. } = error {
        let Some(block) = block_of(shipped, field) else { return false };
        let parameter = block[0].starts_with(' ');
        let below = |(_, line): &Line| line.starts_with("parameters:");
        let place = if parameter { lines.iter().position(below).map(|at| at + 1) } else { Some(lines.len()) };
        let Some(place) = place else { return false };
        let number = lines.get(place.saturating_sub(1)).map_or(0, |(number, _)| *number);
        lines.splice(place..place, block.into_iter().map(|line| (number, line.to_owned())));
        return true;
    }
    let Some(mut at) = at else { return false };
    // An item of a list, or text that goes on, is part of its key's value.
    while at > 0 && key_of(&lines[at].1).is_none() {
        at -= 1;
    }
    let (number, Some(key)) = (lines[at].0, key_of(&lines[at].1).map(str::to_owned)) else { return false };
    let end = at + block_length(lines[at..].iter().map(|(_, line)| line.as_str()));
    let unknown = matches!(error, Error::SerdeUnknownField { .. });
    let instead = if unknown { None } else { block_of(shipped, &key) };
    // What stands there already did not help.
    let same = instead.as_ref().is_some_and(|block| block.iter().eq(lines[at..end].iter().map(|(_, l)| l)));
    let instead = instead.unwrap_or_default().into_iter().map(|line| (number, line.to_owned()));
    let instead: Vec<Line> = instead.collect();
    lines.splice(at..end, instead);
    !same
}

/// The key that a line begins.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(':')?;
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let trimmed = key.trim_start();
    (!trimmed.is_empty() && trimmed.bytes().all(word)).then_some(trimmed)
}

/// The lines of a key and its value.
fn block_of<'t>(text: &'t str, key: &str) -> Option<Vec<&'t str>> {
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| key_of(line) == Some(key))?;
    let length = block_length(lines[at..].iter().copied());
    Some(lines[at..at + length].to_vec())
}

/// The first line, and all below it that are indented more, or are items of its list.
fn block_length<'t>(lines: impl Iterator<Item = &'t str>) -> usize {
    let mut lines = lines.peekable();
    let depth = lines.peek().map_or(0, |line| indent(line));
    let below = |line: &&str| {
        let item = line.trim_start().starts_with("- ") && indent(line) >= depth;
        item || indent(line) > depth
    };
    1 + lines.skip(1).take_while(below).count()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}
