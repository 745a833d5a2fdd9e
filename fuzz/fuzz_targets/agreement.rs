//! libFuzzer around `selvedge_fuzz::agreement::requests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| selvedge_fuzz::agreement::requests(input));
