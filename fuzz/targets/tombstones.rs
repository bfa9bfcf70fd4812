//! Fuzzes `clockify_rag::fuzzing::tombstones`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| clockify_rag::fuzzing::tombstones(data));
