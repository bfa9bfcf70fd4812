//! Fuzzes `clockify_rag::fuzzing::front_matter`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| clockify_rag::fuzzing::front_matter(data));
