//! Checkpoints, from any bytes: as a file, and as what a section of a whole file holds.

use std::cell::OnceCell;

use selvedge_checkpoint::{Checkpoint, Head};
use selvedge_engine::{EngineConfig, Pipeline, RuleSet};

/// Bytes of a section; a few bytes of zstd may stand for gigabytes.
const SECTION_BYTES_MAX: u64 = 1 << 20;

/// `[0]file`, or `[which section]content`. A file that is read is written and read again, the same; a section that makes no
/// sense is an error that names it, and never anything else.
pub fn checkpoints(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else { return };
    if *which == 0 {
        let Ok(checkpoint) = Checkpoint::read(&mut &*bytes, SECTION_BYTES_MAX) else { return };
        let mut file = Vec::new();
        checkpoint.write(&mut file).expect("memory takes everything");
        let again =
            Checkpoint::read(&mut file.as_slice(), SECTION_BYTES_MAX).expect("what is written is read");
        assert_eq!(again, checkpoint);
        return;
    }
    thread_local! {
        static WHOLE: OnceCell<Checkpoint> = const { OnceCell::new() };
    }
    let mut changed = WHOLE.with(|whole| {
        let nothing = || Checkpoint {
            head: Head::default(),
            sections: Pipeline::new(&EngineConfig::default(), RuleSet::shipped()).save().into_sections(),
        };
        whole.get_or_init(nothing).clone()
    });
    let at = usize::from(*which - 1) % changed.sections.len();
    changed.sections[at].bytes = bytes.to_vec();
    if let Err(error) = Pipeline::resume(&EngineConfig::default(), RuleSet::shipped(), &changed) {
        assert!(error.to_string().contains(&changed.sections[at].name), "{error} does not name the section");
    }
}
