//! libFuzzer around `selvedge_fuzz::otlp::logs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| selvedge_fuzz::otlp::logs(input));
