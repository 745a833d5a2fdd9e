//! libFuzzer around `selvedge_fuzz::capture::journals`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| selvedge_fuzz::capture::journals(input));
