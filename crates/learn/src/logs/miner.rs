//! Templates of log statements, mined from what workloads write: a shallow tree per workload, after Drain (He et al.,
//! ICWS 2017), with hard bounds.
//!
//! Most lines are known by the hash of their masked tokens and cost no allocation. A line that is new goes to the leaf of
//! its workload, length and first words, and there to the template it resembles most, which becomes more general where
//! they differ; its number stays. One miner for all shards, in the order of arrival: what finds room depends on neither
//! shards nor batches.

use std::hash::{BuildHasher as _, Hasher as _};

use selvedge_model::hash::{FixedMap, StableHasher, fixed_state};
use selvedge_model::{EventTime, Node};
use serde::{Deserialize, Serialize};

use super::tokens::{Token, Tokens};

/// Templates of one workload (`detection.md` 1.5); past it new ones are not told apart (policy `pool`).
const TEMPLATES_PER_WORKLOAD_MAX: u32 = 1_000;
/// Templates of all workloads: about 500 bytes each.
const TEMPLATES_MAX: usize = 131_072;
/// Templates of one leaf; past it a line joins the nearest, or is pooled.
const LEAF_MAX: usize = 32;
/// Masked lines remembered, in two generations.
const SEEN_MAX: usize = 65_536;
/// Leading words that name a leaf: with the usual layouts the level and the logger.
const LEADING: usize = 2;
/// Part of the tokens that must be alike. Drain uses 0.4 to 0.6 where values are words; ours are masked before.
const ALIKE_MIN: f64 = 0.7;
/// OTLP severity numbers from here on are warnings, and errors.
const SEVERITY_WARN: u8 = 13;
const SEVERITY_ERROR: u8 = 17;
/// What a new statement's circumstances are worth: weights like those of novelty (`detection.md` 3.6), by judgement.
const ERROR_ODDS: f64 = 2.0;
const WARN_ODDS: f64 = 1.0;
const SIBLING_ODDS: f64 = -4.0;
/// Characters of a template that people see.
const TEXT_CHARS_MAX: usize = 160;

/// Number of a template, for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatementId(pub u32);

/// Mines templates.
#[derive(Serialize, Deserialize)]
pub struct Miner {
    templates: Vec<Template>,
    #[serde(with = "selvedge_model::hash::listed")]
    leaves: FixedMap<(Node, u64), Vec<u32>>,
    #[serde(with = "selvedge_model::hash::listed")]
    counts: FixedMap<Node, u32>,
    /// Masked lines by workload and hash: those met lately, and those before.
    #[serde(with = "selvedge_model::hash::listed")]
    young: FixedMap<(Node, u64), u32>,
    #[serde(with = "selvedge_model::hash::listed")]
    old: FixedMap<(Node, u64), u32>,
    /// Workloads that wrote a line like this: the first, and whether there are more.
    #[serde(with = "selvedge_model::hash::listed")]
    writers: FixedMap<u64, (Node, bool)>,
    pooled: u64,
}

#[derive(Serialize, Deserialize)]
struct Template {
    /// `None` is a wildcard.
    tokens: Box<[Option<Box<[u8]>>]>,
    /// Hash of the line that it was made of.
    birth: u64,
    /// Worst OTLP severity number of its lines.
    severity: u8,
    first: EventTime,
}

impl Default for Miner {
    fn default() -> Self {
        Self::new()
    }
}

impl Miner {
    /// A miner that knows no template.
    #[must_use]
    pub fn new() -> Self {
        let map = || FixedMap::with_hasher(fixed_state());
        Self {
            templates: Vec::new(),
            leaves: FixedMap::with_hasher(fixed_state()),
            counts: FixedMap::with_hasher(fixed_state()),
            young: map(),
            old: map(),
            writers: FixedMap::with_hasher(fixed_state()),
            pooled: 0,
        }
    }

    /// The template of what a workload wrote at `at`; `None` when it says nothing, or there is no room to tell it apart.
    pub fn statement(&mut self, node: Node, text: &[u8], severity: u8, at: EventTime) -> Option<StatementId> {
        let tokens = Tokens::of(text);
        if tokens.as_slice().is_empty() {
            return None;
        }
        let hash = tokens.hash();
        let known = self.recall(node, hash);
        let found = known.or_else(|| self.find(node, hash, &tokens, at));
        let Some(number) = found else {
            self.pooled += 1;
            return None;
        };
        let worst = &mut self.templates[number as usize].severity;
        *worst = severity.max(*worst);
        Some(StatementId(number))
    }

    /// The template as text, wildcards as `<*>`; made presentable and short.
    #[must_use]
    pub fn text(&self, id: StatementId) -> String {
        let Some(template) = self.templates.get(id.0 as usize) else { return String::new() };
        let words = template.tokens.iter().map(|token| match token {
            None => "<*>".into(),
            Some(word) => String::from_utf8_lossy(word),
        });
        let text = words.collect::<Vec<_>>().join(" ");
        let presentable = |character: char| if character.is_control() { '\u{fffd}' } else { character };
        text.chars().map(presentable).take(TEXT_CHARS_MAX).collect()
    }

    /// A number for the template that is the same in every process and after any restart.
    #[must_use]
    pub fn stable_id(&self, id: StatementId) -> u64 {
        StableHasher::default().field(self.text(id).as_bytes()).value()
    }

    /// Worst OTLP severity number of its lines; 0 when none said.
    #[must_use]
    pub fn severity(&self, id: StatementId) -> u8 {
        self.templates.get(id.0 as usize).map_or(0, |template| template.severity)
    }

    /// When it was seen first.
    #[must_use]
    pub fn first(&self, id: StatementId) -> EventTime {
        self.templates.get(id.0 as usize).map_or(EventTime::ABSENT, |template| template.first)
    }

    /// True when other workloads write the same.
    #[must_use]
    pub fn elsewhere(&self, id: StatementId) -> bool {
        let template = self.templates.get(id.0 as usize);
        template.and_then(|template| self.writers.get(&template.birth)).is_some_and(|(_, more)| *more)
    }

    /// True when it is logged as an error.
    #[must_use]
    pub fn is_error(&self, id: StatementId) -> bool {
        self.severity(id) >= SEVERITY_ERROR
    }

    /// What speaks for (above zero) or against a new statement being a fault, in nats: its words and their weights.
    #[must_use]
    pub fn odds(&self, id: StatementId) -> Vec<(&'static str, f64)> {
        let severity = self.severity(id);
        let mut odds = Vec::new();
        if severity >= SEVERITY_ERROR {
            odds.push(("it is logged as an error", ERROR_ODDS));
        } else if severity >= SEVERITY_WARN {
            odds.push(("it is logged as a warning", WARN_ODDS));
        }
        if self.elsewhere(id) {
            odds.push(("other workloads write it, too", SIBLING_ODDS));
        }
        odds
    }

    /// Templates known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.templates.len()
    }

    /// True when none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.templates.is_empty()
    }

    /// Lines that found no room and were not told apart.
    #[must_use]
    pub fn pooled(&self) -> u64 {
        self.pooled
    }

    fn recall(&mut self, node: Node, hash: u64) -> Option<u32> {
        if let Some(number) = self.young.get(&(node, hash)) {
            return Some(*number);
        }
        let number = self.old.remove(&(node, hash))?;
        self.remember(node, hash, number);
        Some(number)
    }

    fn remember(&mut self, node: Node, hash: u64, number: u32) {
        if self.young.len() >= SEEN_MAX / 2 {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert((node, hash), number);
    }

    /// A line that is not remembered: the nearest template of its leaf, or a new one.
    fn find(&mut self, node: Node, hash: u64, tokens: &Tokens<'_>, at: EventTime) -> Option<u32> {
        let line = tokens.as_slice();
        let leaf = (node, leaf(line));
        let near = self.leaves.get(&leaf).and_then(|numbers| self.nearest(numbers, line));
        let number = match near {
            Some(number) => {
                self.templates[number as usize].widen(line);
                number
            }
            None => self.grow(node, leaf.1, hash, line, at)?,
        };
        self.remember(node, hash, number);
        Some(number)
    }

    /// The template that is most like the line, among those that are alike enough; among equals the oldest.
    fn nearest(&self, numbers: &[u32], line: &[Token<'_>]) -> Option<u32> {
        let mut best: Option<(usize, u32)> = None;
        for number in numbers {
            let alike = self.templates[*number as usize].alike(line);
            #[expect(clippy::cast_precision_loss, reason = "a few tokens")]
            let enough = alike.filter(|alike| *alike as f64 >= ALIKE_MIN * line.len() as f64);
            if let Some(alike) = enough
                && best.is_none_or(|(known, _)| known < alike)
            {
                best = Some((alike, *number));
            }
        }
        best.map(|(_, number)| number)
    }

    fn grow(&mut self, node: Node, leaf: u64, hash: u64, line: &[Token<'_>], at: EventTime) -> Option<u32> {
        let of_workload = self.counts.entry(node).or_default();
        let of_leaf = self.leaves.get(&(node, leaf)).map_or(0, Vec::len);
        let full = *of_workload >= TEMPLATES_PER_WORKLOAD_MAX || of_leaf >= LEAF_MAX;
        if full || self.templates.len() >= TEMPLATES_MAX {
            return None;
        }
        *of_workload += 1;
        let number = u32::try_from(self.templates.len()).ok()?;
        self.templates.push(Template::new(line, hash, at));
        self.leaves.entry((node, leaf)).or_default().push(number);
        let writer = self.writers.entry(hash).or_insert((node, false));
        writer.1 |= writer.0 != node;
        Some(number)
    }
}

impl Template {
    fn new(line: &[Token<'_>], birth: u64, first: EventTime) -> Self {
        let tokens = line.iter().map(|token| match token {
            Token::Wild => None,
            Token::Word(word) | Token::Place(word) => Some((*word).into()),
        });
        Self { tokens: tokens.collect(), birth, severity: 0, first }
    }

    /// How many tokens fit; `None` when it is another statement for certain: other length or other place.
    fn alike(&self, line: &[Token<'_>]) -> Option<usize> {
        if self.tokens.len() != line.len() {
            return None;
        }
        let mut alike = 0;
        for (known, token) in self.tokens.iter().zip(line) {
            match (known.as_deref(), token) {
                (Some(known), Token::Place(place)) if known != *place => return None,
                (None, Token::Place(_)) => return None,
                (None, _) => alike += 1,
                (Some(known), Token::Word(word) | Token::Place(word)) => alike += usize::from(known == *word),
                (Some(_), Token::Wild) => {}
            }
        }
        Some(alike)
    }

    /// Becomes a wildcard where the line differs.
    fn widen(&mut self, line: &[Token<'_>]) {
        for (known, token) in self.tokens.iter_mut().zip(line) {
            let same = matches!((known.as_deref(), token),
                (Some(known), Token::Word(word) | Token::Place(word)) if known == *word);
            if !same {
                *known = None;
            }
        }
    }
}

/// The leaf of a line: its length and its first words.
fn leaf(line: &[Token<'_>]) -> u64 {
    let mut hasher = fixed_state().build_hasher();
    hasher.write_usize(line.len());
    let words = line.iter().filter_map(|token| match token {
        Token::Wild => None,
        Token::Word(word) | Token::Place(word) => Some(*word),
    });
    for word in words.take(LEADING) {
        hasher.write(word);
        hasher.write_u8(0xff);
    }
    hasher.finish()
}
