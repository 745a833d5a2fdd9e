//! libFuzzer around the one of `selvedge_fuzz::TARGETS` that the variable `FUZZ_TARGET` names.
#![no_main]

use std::sync::LazyLock;

use selvedge_fuzz::{TARGETS, Target};

#[expect(
    clippy::disallowed_methods,
    reason = "libFuzzer has the arguments for itself, and nothing of this ships"
)]
static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let known = TARGETS.map(|(name, _)| name).join(", ");
    let chosen = TARGETS.iter().find(|(target, _)| *target == name);
    chosen.unwrap_or_else(|| panic!("FUZZ_TARGET=`{name}` is none of {known}")).1
});

// Chosen before the first input: a wrong name is no crash of one.
libfuzzer_sys::fuzz_target!(init: LazyLock::force(&CHOSEN), |input: &[u8]| CHOSEN(input));
