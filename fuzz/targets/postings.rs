//! Fuzzes `clockify_rag::fuzzing::postings`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| clockify_rag::fuzzing::postings(data));
