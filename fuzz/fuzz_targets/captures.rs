//! libFuzzer around `selvedge_fuzz::capture::captures`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| selvedge_fuzz::capture::captures(input));
