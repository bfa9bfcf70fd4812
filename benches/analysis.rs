//! Analysis and tokens, in bytes of text a second, and embeddings.
//!
//! The text is that of the seeded corpus; `TEXT` in the environment may name a file of real text instead. The model is the one
//! that ships.

#![allow(missing_docs, clippy::expect_used)]

mod corpus;

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use clockify_rag::analysis::{Analyzer, Language, detect_language, fingerprint, question_terms};
use clockify_rag::embedding::StaticEmbedding;
use clockify_rag::wordpiece::WordPiece;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn text() -> String {
    let named = std::env::var_os("TEXT").map(|path| std::fs::read_to_string(path).expect("TEXT names a file of text"));
    named.unwrap_or_else(|| corpus::text(&corpus::pages(corpus::chunks() / 10)))
}

fn analysis(criterion: &mut Criterion<corpus::ThreadTime>) {
    let text = text();
    let mut group = criterion.benchmark_group("analysis");
    group.throughput(Throughput::Bytes(text.len() as u64));
    for language in [Language::English, Language::Unknown] {
        let mut analyzer = Analyzer::new(language);
        let run = |analyzer: &mut Analyzer| {
            let mut sum = 0_usize;
            analyzer.analyze(&text, |token| sum += token.term.len() + token.position as usize);
            sum
        };
        group.bench_function(format!("{language:?}, warm"), |bench| bench.iter(|| run(&mut analyzer)));
        group.bench_function(format!("{language:?}, new analyser"), |bench| {
            bench.iter(|| run(&mut Analyzer::new(language)));
        });
    }
    group.finish();
    let question = "How can I export last month's time-off report as PDF?";
    criterion.bench_function("question terms", |bench| {
        bench.iter(|| question_terms(black_box(question), Language::English));
    });
    criterion.bench_function("detect the language of a question", |bench| {
        bench.iter(|| detect_language(black_box(question), Language::Unknown));
    });
    let start = std::time::Instant::now();
    black_box(fingerprint());
    println!("the analyser's fingerprint took {:?}", start.elapsed());
}

fn model(criterion: &mut Criterion<corpus::ThreadTime>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/clockify_rag/models/docs-static-256-int8");
    let wordpiece = WordPiece::open(&folder.join("tokenizer.json")).expect("the model ships");
    let embedding = StaticEmbedding::open(&folder).expect("the model ships");
    let text = text();
    let mut group = criterion.benchmark_group("wordpiece");
    group.throughput(Throughput::Bytes(text.len() as u64));
    let mut ids = Vec::new();
    group.bench_function("encode", |bench| {
        bench.iter(|| {
            ids.clear();
            wordpiece.encode(&text, &mut ids);
            ids.len()
        });
    });
    group.bench_function("count", |bench| bench.iter(|| wordpiece.count(&text)));
    let mut ends = Vec::new();
    group.bench_function("ends", |bench| {
        bench.iter(|| {
            ends.clear();
            wordpiece.ends(&text, &mut ends);
            ends.len()
        });
    });
    group.finish();
    criterion.bench_function("open the tokenizer", |bench| {
        bench.iter(|| WordPiece::open(&folder.join("tokenizer.json")).is_ok());
    });
    criterion.bench_function("open the embedding", |bench| bench.iter(|| StaticEmbedding::open(&folder).is_ok()));

    let mut ends = Vec::new();
    wordpiece.ends(&text, &mut ends);
    let mut start = 0;
    let chunks: Vec<&str> = ends
        .chunks(440)
        .filter_map(|chunk| {
            let end = *chunk.last()? as usize;
            let piece = text.get(start..end);
            start = end;
            piece
        })
        .collect();
    let mut out = vec![0.0; chunks.len() * embedding.dimension()];
    let mut group = criterion.benchmark_group("embedding");
    group.throughput(Throughput::Elements(chunks.len() as u64));
    group.bench_function("chunks of 440 tokens, one thread", |bench| {
        bench.iter(|| {
            for (chunk, row) in chunks.iter().zip(out.chunks_exact_mut(embedding.dimension())) {
                embedding.embed(chunk, row);
            }
        });
    });
    group.bench_function("chunks of 440 tokens, pool, on the wall", |bench| {
        bench.iter_custom(|rounds| {
            let started = Instant::now();
            (0..rounds).for_each(|_| embedding.embed_all(&chunks, &mut out));
            started.elapsed()
        });
    });
    group.finish();
    criterion.bench_function("embed a question", |bench| {
        let mut row = vec![0.0; embedding.dimension()];
        bench.iter(|| embedding.embed(black_box("How can I export last month's report as PDF?"), &mut row));
    });
}

criterion_group! { name = benches; config = corpus::short(); targets = analysis, model }
criterion_main!(benches);
