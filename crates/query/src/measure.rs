//! What a statement costs before it runs, counted from its tokens: nothing can stop a parser or a planner, and neither counts
//! its memory. Everything here was met by fuzzing, or follows from it.

use std::collections::HashMap;

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::SqlError;

/// Bytes of a statement. Expressions nest, so that a long text may mean a far larger computation.
const STATEMENT_BYTES_MAX: usize = 64 * 1024;
/// Stack of a thread that reads, plans or drops statements. A chain of operators is a tree as deep as it is long, which is walked
/// by recursion: a kilobyte or two a level, ten times as much in a debug build.
pub const STACK_BYTES: usize = 64 << 20;
/// Operators and keywords.
const OPERATORS_MAX: usize = 2_000;
/// Tokens, each as often as the parser reads it: a tenth of a second. `sqlparser` 0.62 reads an argument of a function first as
/// the name of one (`name => value`), then again as a value, so what is in `n` functions is read `2^n` times: thirty of them,
/// whether they end or not, would keep a core busy for minutes.
const READINGS_MAX: u64 = 1 << 19;
/// Dots in a name, or behind an expression: three say all that there is, and each doubles how often `sqlparser` 0.62 reads what comes
/// behind it when that cannot be read.
const DOTS_MAX: u32 = 8;
/// Queries in queries. Each level may double what `DataFusion` 55 takes to take them apart.
const QUERIES_DEEP_MAX: usize = 12;
/// Tokens, when each name of a `WITH` is replaced by what it stands for, as a planner does: no more than the longest statement.
const EXPANDED_MAX: u64 = STATEMENT_BYTES_MAX as u64;

/// Refuses a text that would take too long to parse or to plan.
///
/// # Errors
/// It is too long, or too complex.
pub(crate) fn measure(sql: &str) -> Result<(), SqlError> {
    if sql.len() > STATEMENT_BYTES_MAX {
        return Err(SqlError::TooLong { bytes: sql.len(), bytes_max: STATEMENT_BYTES_MAX });
    }
    // What is no sequence of tokens the parser refuses before it reads any of them.
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize() else { return Ok(()) };
    let mut measure = Measure::default();
    for token in tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))) {
        measure.take(token)?;
    }
    Ok(())
}

/// An open parenthesis or bracket.
#[derive(Default)]
struct Open<'a> {
    /// How often, as a power of two, what is in it is read for each reading of what is around it.
    doubled: u32,
    /// It holds a query.
    query: bool,
    /// The word before it.
    after: Option<&'a str>,
    /// The name of a `WITH` that it says the meaning of.
    meaning_of: Option<&'a str>,
    /// Expanded tokens before it.
    before: u64,
    /// Dots of the chain that it is in.
    dots: u32,
}

/// What was counted so far.
#[derive(Default)]
struct Measure<'a> {
    /// The last tokens, the newest first.
    last: [Option<&'a Token>; 4],
    /// The word before the parenthesis that was closed last.
    closed: Option<&'a str>,
    open: Vec<Open<'a>>,
    doubled: u32,
    /// Dots so far in the chain in hand (`a.b.c`, `f(x).a.b`), each of which doubles.
    dots: u32,
    queries: usize,
    operators: usize,
    readings: u64,
    expanded: u64,
    /// By name of a `WITH`, its tokens.
    meanings: HashMap<String, u64>,
}

impl<'a> Measure<'a> {
    fn take(&mut self, token: &'a Token) -> Result<(), SqlError> {
        if !self.goes_on(token) {
            self.end_chain();
        }
        match token {
            Token::LParen => {
                let doubled = self.doublings();
                // A function was taken for an operator, because many have the name of a keyword.
                self.operators -= usize::from(doubled > 0 && self.keyword_at(0) != Keyword::NoKeyword);
                self.begin(doubled);
            }
            Token::LBracket => self.begin(1),
            Token::RParen | Token::RBracket => self.end(),
            Token::Word(word) => self.word(word.keyword, &word.value),
            Token::Period => {
                self.dots += 1;
                self.doubled += 1;
            }
            Token::Comma
            | Token::Number(..)
            | Token::Placeholder(_)
            | Token::SingleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::DollarQuotedString(_)
            | Token::NationalStringLiteral(_)
            | Token::HexStringLiteral(_) => {}
            _ => self.operators += 1,
        }
        self.readings = self.readings.saturating_add(1_u64.checked_shl(self.doubled).unwrap_or(u64::MAX));
        self.expanded = self.expanded.saturating_add(1);
        self.last = [Some(token), self.last[0], self.last[1], self.last[2]];
        let refused = [
            (self.dots > DOTS_MAX, "a name has more than eight dots"),
            (self.readings > READINGS_MAX, "functions are nested too deep: take inner results out, by WITH"),
            (
                self.operators > OPERATORS_MAX,
                "it has more than 2,000 operators and keywords: many values fit into IN (...)",
            ),
            (self.queries > QUERIES_DEEP_MAX, "queries are nested more than twelve deep"),
            (self.expanded > EXPANDED_MAX, "what its WITHs stand for is too long when they are put in place"),
        ];
        let refused = refused.into_iter().find(|(refused, _)| *refused);
        refused.map_or(Ok(()), |(_, why)| Err(SqlError::TooComplex { why }))
    }

    fn begin(&mut self, doubled: u32) {
        self.doubled += doubled;
        let (after, meaning_of) = (self.word_at(0), self.meaning_of());
        let (before, dots) = (self.expanded, std::mem::take(&mut self.dots));
        self.open.push(Open { doubled, query: false, after, meaning_of, before, dots });
    }

    /// The token is part of the chain in hand.
    fn goes_on(&self, token: &Token) -> bool {
        match token {
            Token::Period | Token::LParen | Token::LBracket => true,
            _ => matches!(self.last[0], Some(Token::Period)),
        }
    }

    fn end_chain(&mut self) {
        self.doubled -= std::mem::take(&mut self.dots);
    }

    fn end(&mut self) {
        self.end_chain();
        let Some(open) = self.open.pop() else { return };
        self.dots = open.dots;
        self.closed = open.after;
        self.doubled -= open.doubled;
        self.queries -= usize::from(open.query);
        if let Some(name) = open.meaning_of {
            // The larger one of two with the same name, wherever they are valid.
            let tokens = self.meanings.entry(name.to_lowercase()).or_default();
            *tokens = (*tokens).max(self.expanded - open.before);
        }
    }

    fn word(&mut self, keyword: Keyword, name: &str) {
        self.operators += usize::from(keyword != Keyword::NoKeyword);
        match (keyword, self.open.last_mut()) {
            // It is tried as an interval and as a name; all that follows in these parentheses may belong to it.
            (Keyword::INTERVAL, Some(open)) => {
                open.doubled += 1;
                self.doubled += 1;
            }
            (Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::TABLE, Some(open))
                if !open.query =>
            {
                open.query = true;
                self.queries += 1;
            }
            _ => {}
        }
        let tokens = self.meanings.get(&name.to_lowercase()).copied().unwrap_or(0);
        self.expanded = self.expanded.saturating_add(tokens);
    }

    /// How often what is in the parenthesis that begins here is read twice: as the arguments of the word before it, unless that
    /// stands between two values, as in `a IN (`.
    fn doublings(&self) -> u32 {
        let after_value = match self.last[1] {
            Some(Token::Word(word)) => word.keyword == Keyword::NoKeyword,
            Some(Token::Number(..) | Token::SingleQuotedString(_) | Token::Mul) => true,
            Some(Token::RParen | Token::RBracket) => true,
            _ => false,
        };
        match self.last[0] {
            Some(Token::Word(word)) if word.keyword == Keyword::NoKeyword || !after_value => {
                doublings(word.keyword)
            }
            _ => 0,
        }
    }

    /// The name in `name AS (`, `name (columns) AS (`, and with `MATERIALIZED` or `NOT MATERIALIZED` between.
    fn meaning_of(&self) -> Option<&'a str> {
        let at = match [0, 1, 2].map(|at| self.keyword_at(at)) {
            [Keyword::AS, ..] => 1,
            [Keyword::MATERIALIZED, Keyword::AS, _] => 2,
            [Keyword::MATERIALIZED, Keyword::NOT, Keyword::AS] => 3,
            _ => return None,
        };
        if matches!(self.last[at], Some(Token::RParen)) { self.closed } else { self.word_at(at) }
    }

    fn keyword_at(&self, at: usize) -> Keyword {
        match self.last[at] {
            Some(Token::Word(word)) => word.keyword,
            _ => Keyword::NoKeyword,
        }
    }

    fn word_at(&self, at: usize) -> Option<&'a str> {
        match self.last[at] {
            Some(Token::Word(word)) => Some(&word.value),
            _ => None,
        }
    }
}

/// How often an argument of a function of this name is read twice, measured.
fn doublings(keyword: Keyword) -> u32 {
    match keyword {
        Keyword::CAST | Keyword::TRY_CAST | Keyword::SAFE_CAST | Keyword::CONVERT | Keyword::CASE => 2,
        Keyword::POSITION
        | Keyword::CURRENT_DATE
        | Keyword::CURRENT_TIME
        | Keyword::CURRENT_TIMESTAMP
        | Keyword::LOCALTIME
        | Keyword::LOCALTIMESTAMP => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(sql: &str) -> &'static str {
        match measure(sql) {
            Ok(()) => "",
            Err(SqlError::TooComplex { why }) => why.split([':', ' ']).next().unwrap(),
            Err(error) => panic!("{error}"),
        }
    }

    fn repeated(opened: &str, times: usize, inner: &str, closed: &str) -> String {
        format!("SELECT {}{inner}{}", opened.repeat(times), closed.repeat(times))
    }

    #[test]
    fn functions_nest_as_deep_as_a_parser_can_read_them_in_time() {
        for (opened, fits, too_deep) in [
            ("abs(", 15, 19),
            ("a.b(", 7, 10),
            ("FROM(", 15, 19),
            ("cast(", 7, 10),
            ("position(", 4, 7),
            ("current_date(", 4, 7),
            ("f(INTERVAL ", 7, 10),
            ("f(a, ARRAY[", 6, 10),
            ("position(INTERVAL ", 3, 5),
        ] {
            assert_eq!(why(&repeated(opened, fits, "1", "")), "", "{opened}");
            assert_eq!(why(&repeated(opened, too_deep, "1", "")), "functions", "{opened}");
        }
        let wide = "abs(abs(abs(abs(1)))), ".repeat(1_000);
        assert_eq!(why(&format!("SELECT {wide} 1")), "", "what is closed again costs nothing more");
    }

    #[test]
    fn names_have_few_parts() {
        for root in ["a", "$1", "(a)", "f(x)", "a[1]", "'a'"] {
            assert_eq!(why(&format!("SELECT {root}{}", ".a".repeat(8))), "", "{root}");
            assert_eq!(why(&format!("SELECT {root}{}", ".a".repeat(9))), "a", "{root}");
            assert_eq!(why(&format!("SELECT {root}.f(1).a[2]{}", ".a".repeat(7))), "a", "{root}");
        }
        assert_eq!(
            why(&format!("SELECT {} 1", "$1.a.b.c.d.e.f.g.h, ".repeat(900))),
            "functions",
            "each costs"
        );
        let usual = "calls.source + selvedge.public.calls.source, ".repeat(300);
        assert_eq!(why(&format!("SELECT {usual} 1")), "");
        assert_eq!(why(&format!("SELECT {}", "a.b.c.d.e(".repeat(5))), "functions", "in each other");
    }

    #[test]
    fn what_is_no_argument_is_no_function() {
        let many = vec!["1"; 20_000].join(", ");
        assert_eq!(why(&format!("SELECT sum(x) FROM calls WHERE status IN ({many})")), "");
        assert_eq!(why(&format!("SELECT {}1{}", "(".repeat(40), ")".repeat(40))), "");
        assert_eq!(
            why(&format!("SELECT * FROM {}calls{}", "(SELECT * FROM ".repeat(12), ")".repeat(12))),
            ""
        );
        assert_eq!(why(&format!("SELECT * FROM {}calls", "(SELECT * FROM ".repeat(13))), "queries");
        assert_eq!(why(&"(SELECT 1) UNION ALL ".repeat(300)), "", "beside each other, not in each other");
    }

    #[test]
    fn chains_are_as_deep_as_they_are_long() {
        assert_eq!(why(&format!("SELECT 1{}", " + 1".repeat(1_999))), "");
        assert_eq!(why(&format!("SELECT 1{}", " + 1".repeat(2_000))), "it");
        assert_eq!(why(&format!("SELECT 1{}", "::int".repeat(1_001))), "it");
        assert_eq!(why(&"SELECT 1 UNION ALL ".repeat(700)), "it");
    }

    #[test]
    fn names_of_with_count_as_what_they_stand_for() {
        for written in ["{} AS (", "{} (x) AS (", "{} AS MATERIALIZED (", "\"{}\" AS NOT MATERIALIZED ("] {
            let with = |levels: usize| {
                let name = |level: usize| written.replace("{}", &format!("a{level}"));
                let of = |level: usize| {
                    format!(", {}SELECT p.x FROM A{} p, a{} q)", name(level), level - 1, level - 1)
                };
                let levels: String = (1..levels).map(of).collect();
                format!("WITH {}SELECT 1 AS x){levels} SELECT count(*) FROM a", name(0))
            };
            assert_eq!(why(&with(10)), "", "{written}");
            assert_eq!(why(&with(14)), "what", "{written}");
        }
    }

    #[test]
    fn what_is_no_text_of_tokens_is_left_to_the_parser() {
        for sql in ["", ")))", "SELECT 'abs(", "SELECT ]]", "((((", "AS (", "MATERIALIZED ("] {
            assert_eq!(measure(sql), Ok(()), "{sql}");
        }
    }
}
