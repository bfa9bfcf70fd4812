//! Fuzzes `clockify_rag::fuzzing::manifest`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| clockify_rag::fuzzing::manifest(data));
