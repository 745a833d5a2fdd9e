//! libFuzzer around `selvedge_fuzz::text::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| selvedge_fuzz::text::config(input));
