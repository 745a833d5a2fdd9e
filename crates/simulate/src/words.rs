//! Names of services that nobody has: words of syllables, from the seed.

use std::collections::BTreeSet;

use crate::draw::Draw;

const ONSETS: [&str; 16] = ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "tr"];
const VOWELS: [&str; 6] = ["a", "e", "i", "o", "u", "ai"];
const CODAS: [&str; 6] = ["", "", "", "n", "l", "r"];
const SYLLABLES: usize = 3;

/// So many different words, in the order drawn. A word that is there already gets another syllable, so this ends.
pub(crate) fn words(draw: &mut Draw, count: usize) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut words = Vec::with_capacity(count);
    while words.len() < count {
        let mut word: String = (0..SYLLABLES).map(|_| syllable(draw)).collect();
        while taken.contains(&word) {
            word.push_str(&syllable(draw));
        }
        taken.insert(word.clone());
        words.push(word);
    }
    words
}

fn syllable(draw: &mut Draw) -> String {
    let mut pick = |parts: &[&'static str]| parts[draw.below(parts.len())];
    [pick(&ONSETS), pick(&VOWELS), pick(&CODAS)].concat()
}
