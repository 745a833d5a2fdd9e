#!/bin/sh
# Cargo's RUSTC_WORKSPACE_WRAPPER of `cargo xtask fuzz`: our crates tell libFuzzer which edges were taken and what was
# compared, and check their arithmetic and assertions in release builds, too. All of it works on stable Rust. Crates of
# others stay as they are, so that they are not built again.
exec "$@" \
  -Cpasses=sancov-module \
  -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares \
  -Cllvm-args=-simplifycfg-branch-fold-threshold=0 \
  -Cdebug-assertions=on \
  -Coverflow-checks=on
