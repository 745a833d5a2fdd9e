//! libFuzzer around `selvedge_fuzz::otlp::json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| selvedge_fuzz::otlp::json(input));
