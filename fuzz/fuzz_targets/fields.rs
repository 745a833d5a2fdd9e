//! libFuzzer around `selvedge_fuzz::fields::records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| selvedge_fuzz::fields::records(input));
