//! libFuzzer around `selvedge_fuzz::checkpoint::checkpoints`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| selvedge_fuzz::checkpoint::checkpoints(input));
