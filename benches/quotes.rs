//! Finding quotes in pages of 3,000 and 30,000 characters.

#![allow(missing_docs)]

mod corpus;

use std::hint::black_box;

use clockify_rag::quotes::{Case, closest, find};
use criterion::{Criterion, criterion_group, criterion_main};

/// Sentences of made words with some typography; every run has the same.
fn page(characters: usize) -> String {
    let (mut text, mut state) = (String::new(), 1u64);
    while text.len() < characters {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = (state >> 33) as usize;
        let syllables = ["ti", "mer", "pro", "ject", "re", "port", "set", "ting", "user", "bill"];
        (0..=number % 3).for_each(|part| text.push_str(syllables[number / 7usize.pow(part as u32) % 10]));
        text.push_str([" ", " ", " ", " ", ", ", ". ", " – ", "’s "][number / 1000 % 8]);
    }
    text
}

fn quotes(criterion: &mut Criterion<corpus::ThreadTime>) {
    let mut group = criterion.benchmark_group("quotes");
    for characters in [3_000, 30_000] {
        let text = page(characters);
        let words: Vec<&str> = text.split_whitespace().collect();
        let quote = words[words.len() * 4 / 5..][..20].join(" ").replace('’', "'");
        let altered = quote.replace("re", "de");
        assert!(find(&quote, &text, Case::Kept).is_some() && find(&altered, &text, Case::Kept).is_none());
        group
            .bench_function(format!("find in {characters}"), |b| b.iter(|| find(black_box(&quote), &text, Case::Kept)));
        group.bench_function(format!("closest in {characters}"), |b| b.iter(|| closest(black_box(&altered), &text)));
    }
    group.finish();
}

criterion_group! { name = benches; config = corpus::short(); targets = quotes }
criterion_main!(benches);
