//! libFuzzer around `selvedge_fuzz::text::policies`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| selvedge_fuzz::text::policies(input));
