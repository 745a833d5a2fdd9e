//! libFuzzer around `selvedge_fuzz::otlp::metrics`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| selvedge_fuzz::otlp::metrics(input));
