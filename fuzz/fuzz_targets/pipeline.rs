//! libFuzzer around `selvedge_fuzz::streams::pipeline`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| selvedge_fuzz::streams::pipeline(input));
