//! Route templates learned from the traffic itself, for paths whose variable parts nobody can recognise by shape.
//!
//! A trie of path segments per callee. A segment position becomes a placeholder when it has many distinct values and
//! most of them are rare: identifiers rarely repeat, names of resources do. Values that were known before stay
//! literal, so that a learned route never changes its name.

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{Symbol, SymbolTable};
use serde::{Deserialize, Serialize};

use crate::config::LearnConfig;

/// What a learned variable segment is written as. Heuristic placeholders of `decode` name what they stand for.
const PLACEHOLDER: &str = "{*}";
/// Distinct values of a position from which on it may be variable (Beyla uses 10, `detection.md` 1.3; twice that
/// spares interfaces with many resources).
const CHILDREN_MAX: usize = 20;
/// Distinct values of a position past which it is variable whatever the values look like.
const CHILDREN_LIMIT: usize = 200;
/// Observations up to which a value counts as rare: two calls, each with log and span of both sides.
const RARE_OBSERVATIONS: u32 = 8;
/// Segments looked at; what follows is one segment.
const DEPTH_MAX: usize = 10;
/// Callees with a trie; routes of further ones stay as they are.
const CALLEES_MAX: usize = 4_096;
/// Trie nodes of one callee; past it paths through unknown nodes stay as they are.
const NODES_MAX: usize = 4_096;
/// Bytes of a node beside its segment's text: itself, in a vector that doubles; its entry in its parent's map, which is
/// half empty at worst; and what an allocation costs.
const NODE_BYTES: usize = 2 * size_of::<TrieNode>() + 2 * (size_of::<(Box<str>, u32)>() + 1) + 16;
/// Bytes of a trie without a segment.
const TRIE_BYTES: usize = 2 * (size_of::<(Symbol, Trie)>() + 1) + NODE_BYTES;
/// Templates remembered; past it each is worked out again.
const CACHE_MAX: usize = 65_536;
/// Observations of one route after which the trie learns nothing more from it: its values are no longer rare.
const TAUGHT_MAX: u32 = 4 * RARE_OBSERVATIONS;

/// Learns route templates per callee. One for all shards, in the order of arrival: what finds room depends on neither.
#[derive(Serialize, Deserialize)]
pub struct RouteLearner {
    #[serde(with = "selvedge_model::hash::listed")]
    tries: FixedMap<Symbol, Trie>,
    #[serde(with = "selvedge_model::hash::listed")]
    cache: FixedMap<(Symbol, Symbol), Cached>,
    room: Room,
}

/// What all tries may still grow by. Past it what is known stays, and paths through unknown segments keep their own
/// text (policy `keep_known`).
#[derive(Serialize, Deserialize)]
struct Room {
    bytes: usize,
    bytes_max: usize,
    overflowed: u64,
}

impl Room {
    /// Takes `bytes`, if they are left and the caller's own bound is not reached; else counts.
    fn take(&mut self, bytes: usize, bounded: bool) -> bool {
        let fits = !bounded && self.bytes + bytes <= self.bytes_max;
        if fits {
            self.bytes += bytes;
        } else {
            self.overflowed += 1;
        }
        fits
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Cached {
    template: Symbol,
    /// How often the route has taught the trie.
    taught: u32,
}

#[derive(Serialize, Deserialize)]
struct Trie {
    nodes: Vec<TrieNode>,
}

#[derive(Default, Serialize, Deserialize)]
struct TrieNode {
    #[serde(with = "selvedge_model::hash::listed")]
    children: FixedMap<Box<str>, u32>,
    observations: u32,
    /// The placeholder's node, once the position is variable.
    variable: Option<u32>,
}

impl RouteLearner {
    /// A learner that knows no route.
    #[must_use]
    pub fn new(config: &LearnConfig) -> Self {
        Self {
            tries: FixedMap::with_hasher(fixed_state()),
            cache: FixedMap::with_hasher(fixed_state()),
            room: Room { bytes: 0, bytes_max: config.route_bytes_max, overflowed: 0 },
        }
    }

    /// Takes the limits of `config`, as after a restart with another configuration.
    pub fn configure(&mut self, config: &LearnConfig) {
        self.room.bytes_max = config.route_bytes_max;
    }

    /// Bytes that count against the bound: the tries of all callees.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.room.bytes
    }

    /// Times that a segment, or a callee, found no room.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.room.overflowed
    }

    /// The template of a route of a callee. Answers other than 4xx teach: a scanner of paths that do not exist
    /// cannot make a position variable.
    ///
    /// The same sequence of routes always gives the same templates.
    pub fn template(
        &mut self,
        destination: Symbol,
        route: Symbol,
        status: u16,
        symbols: &mut SymbolTable,
    ) -> Symbol {
        if !route.present() || route == Symbol::OVERFLOW || !destination.present() {
            return route;
        }
        let refused = (400..500).contains(&status);
        if let Some(cached) = self.cache.get_mut(&(destination, route)) {
            if refused || cached.taught >= TAUGHT_MAX {
                return cached.template;
            }
            cached.taught += 1;
        }
        let text = symbols.resolve(route);
        if !text.starts_with('/') {
            return route;
        }
        let Self { tries, room, .. } = self;
        if !tries.contains_key(&destination) && !room.take(TRIE_BYTES, tries.len() >= CALLEES_MAX) {
            return route;
        }
        let trie = tries.entry(destination).or_insert_with(Trie::new);
        if !refused {
            trie.teach(text, room);
        }
        let template = trie.template(text).map_or(route, |template| symbols.intern(&template));
        if refused { template } else { self.remember(destination, route, template) }
    }

    /// The first template of a route stays its template.
    fn remember(&mut self, destination: Symbol, route: Symbol, template: Symbol) -> Symbol {
        if let Some(cached) = self.cache.get(&(destination, route)) {
            return cached.template;
        }
        if self.cache.len() < CACHE_MAX {
            self.cache.insert((destination, route), Cached { template, taught: 1 });
        }
        template
    }
}

impl Trie {
    fn new() -> Self {
        Self { nodes: vec![TrieNode::default()] }
    }

    /// The template of a path as the trie stands; `None` when it is the path itself.
    fn template(&self, path: &str) -> Option<String> {
        let mut template = String::with_capacity(path.len());
        let (mut at, mut changed) = (Some(0), false);
        for segment in segments(path) {
            template.push('/');
            let step = at.map_or(Step::Unknown, |node| self.step(node, segment));
            changed |= matches!(step, Step::Variable(_)) && segment != PLACEHOLDER;
            template.push_str(if matches!(step, Step::Variable(_)) { PLACEHOLDER } else { segment });
            at = match step {
                Step::Literal(node) | Step::Variable(node) => Some(node),
                Step::Unknown => None,
            };
        }
        changed.then_some(template)
    }

    /// Counts a path.
    fn teach(&mut self, path: &str, room: &mut Room) {
        let mut at = 0;
        for segment in segments(path) {
            match self.grow(at, segment, room) {
                Some(node) => at = node,
                None => return,
            }
        }
    }

    fn step(&self, at: u32, segment: &str) -> Step {
        let node = &self.nodes[at as usize];
        match (node.children.get(segment), node.variable) {
            (Some(child), _) => Step::Literal(*child),
            (None, Some(variable)) => Step::Variable(variable),
            (None, None) => Step::Unknown,
        }
    }

    /// Counts a segment below a node, and decides whether the position is variable. `None` when there is no room.
    fn grow(&mut self, at: u32, segment: &str, room: &mut Room) -> Option<u32> {
        let known = match self.step(at, segment) {
            Step::Literal(node) | Step::Variable(node) => Some(node),
            Step::Unknown if self.is_variable(at) => {
                let node = self.push("", room)?;
                self.nodes[at as usize].variable = Some(node);
                Some(node)
            }
            Step::Unknown => {
                let node = self.push(segment, room)?;
                self.nodes[at as usize].children.insert(segment.into(), node);
                Some(node)
            }
        };
        if let Some(node) = known {
            let count = &mut self.nodes[node as usize].observations;
            *count = count.saturating_add(1);
        }
        known
    }

    /// True when one more value shows that a position is an identifier: many values, most of them rare.
    fn is_variable(&self, at: u32) -> bool {
        let children = &self.nodes[at as usize].children;
        if children.len() < CHILDREN_MAX {
            return false;
        }
        let rare = children
            .values()
            .filter(|child| self.nodes[**child as usize].observations <= RARE_OBSERVATIONS)
            .count();
        children.len() >= CHILDREN_LIMIT || rare * 2 >= children.len()
    }

    fn push(&mut self, segment: &str, room: &mut Room) -> Option<u32> {
        if !room.take(NODE_BYTES + segment.len(), self.nodes.len() >= NODES_MAX) {
            return None;
        }
        self.nodes.push(TrieNode::default());
        u32::try_from(self.nodes.len() - 1).ok()
    }
}

enum Step {
    Literal(u32),
    Variable(u32),
    Unknown,
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).splitn(DEPTH_MAX, '/')
}

/// True when a template with learned placeholders describes a literal route, segment by segment.
#[must_use]
pub fn matches_template(template: &str, route: &str) -> bool {
    let (mut left, mut right) = (segments(template), segments(route));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(template), Some(literal)) if template == PLACEHOLDER || template == literal => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(learner: &mut RouteLearner, path: &str, status: u16, symbols: &mut SymbolTable) -> String {
        let callee = symbols.intern("catalogue");
        let route = symbols.intern(path);
        let template = learner.template(callee, route, status, symbols);
        symbols.resolve(template).to_owned()
    }

    #[test]
    fn a_position_with_many_rare_values_becomes_variable_and_known_values_keep_their_names() {
        let (mut learner, mut symbols) =
            (RouteLearner::new(&LearnConfig::default()), SymbolTable::new(1 << 20));
        for person in 0..20 {
            let path = format!("/people/p{person}x/baskets");
            assert_eq!(template(&mut learner, &path, 200, &mut symbols), path);
        }
        assert_eq!(template(&mut learner, "/people/zoe/baskets", 200, &mut symbols), "/people/{*}/baskets");
        assert_eq!(template(&mut learner, "/people/p3x/baskets", 200, &mut symbols), "/people/p3x/baskets");
        assert!(matches_template("/people/{*}/baskets", "/people/p3x/baskets"));
        assert!(!matches_template("/people/{*}/baskets", "/people/p3x"));
    }

    #[test]
    fn a_scanner_of_paths_that_do_not_exist_teaches_nothing() {
        let (mut learner, mut symbols) =
            (RouteLearner::new(&LearnConfig::default()), SymbolTable::new(1 << 20));
        for number in 0..500 {
            template(&mut learner, &format!("/probe{number}"), 404, &mut symbols);
        }
        assert_eq!(template(&mut learner, "/admin", 200, &mut symbols), "/admin");
        assert_eq!(template(&mut learner, "/other", 404, &mut symbols), "/other");
    }

    #[test]
    fn an_interface_with_many_busy_resources_keeps_their_names() {
        let (mut learner, mut symbols) =
            (RouteLearner::new(&LearnConfig::default()), SymbolTable::new(1 << 20));
        for resource in 0..60 {
            for _ in 0..20 {
                let path = format!("/resource-{resource}/list");
                assert_eq!(template(&mut learner, &path, 200, &mut symbols), path);
            }
        }
    }

    #[test]
    fn a_flood_of_callees_and_paths_stays_bounded() {
        let (mut learner, mut symbols) =
            (RouteLearner::new(&LearnConfig::default()), SymbolTable::new(8 << 20));
        for number in 0..CACHE_MAX + 1_000 {
            template(&mut learner, &format!("/a{number}/b{number}/c{number}"), 200, &mut symbols);
        }
        assert!(learner.cache.len() <= CACHE_MAX);
        assert!(learner.tries.values().all(|trie| trie.nodes.len() <= NODES_MAX));
    }

    /// Scenario: thousands of callees, each with paths as long as it can have them.
    /// Guarantees: all tries together stay inside the bound, what found no room is counted, and what was known before
    /// keeps its template.
    #[test]
    fn a_flood_over_many_callees_stays_inside_the_bytes_of_all() {
        let mut symbols = SymbolTable::new(64 << 20);
        let mut learner =
            RouteLearner::new(&LearnConfig { route_bytes_max: 256 << 10, ..LearnConfig::default() });
        for person in 0..=CHILDREN_MAX {
            template(&mut learner, &format!("/people/p{person}x/baskets"), 200, &mut symbols);
        }
        for number in 0..5_000 {
            let (callee, path) =
                (format!("callee-{}", number % 1_000), format!("/{number}/{}", "x".repeat(900)));
            let (callee, route) = (symbols.intern(&callee), symbols.intern(&path));
            assert_eq!(learner.template(callee, route, 200, &mut symbols), route);
        }
        assert!(learner.bytes() <= 256 << 10, "{}", learner.bytes());
        assert!(learner.overflowed() >= 4_000, "{}", learner.overflowed());
        assert_eq!(template(&mut learner, "/people/zoe/baskets", 200, &mut symbols), "/people/{*}/baskets");
    }
}
