//! Analysis and tokens, in bytes of text a second, and embeddings.
//!
//! The text is the Markdown below `clockify/kb_markdown` in the folder that `RAG_TEST_DATA` names, by default
//! `../shared/data`; where there is none it is made from a seed. The model is the one that ships.

#![allow(clippy::expect_used)]

use std::hint::black_box;
use std::path::{Path, PathBuf};

use clockify_rag::analysis::{Analyzer, Language, detect_language, fingerprint, question_terms};
use clockify_rag::embedding::StaticEmbedding;
use clockify_rag::wordpiece::WordPiece;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn markdown(folder: &Path, out: &mut String) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            markdown(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            out.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
        }
    }
}

fn generated() -> String {
    const HEADS: [&str; 24] = [
        "time", "report", "project", "work", "user", "invoice", "approv", "track", "set", "open", "client", "budget",
        "enter", "team", "rate", "bill", "export", "sched", "note", "assign", "hol", "over", "lock", "remind",
    ];
    const TAILS: [&str; 12] = ["", "s", "ing", "ed", "er", "al", "ers", "able", "ment", "ion", "ly", "-off"];
    let mut text = String::new();
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    while text.len() < 1_500_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Squaring makes some words common and most rare, as in language.
        let rank = ((state >> 40) as f64 / f64::from(1 << 24)).powi(2);
        let word = (rank * (24.0 * 12.0 * 24.0)) as usize;
        text.push_str(HEADS[word % 24]);
        text.push_str(TAILS[word / 24 % 12]);
        if word / 288 > 4 {
            text.push_str(HEADS[word / 288]);
        }
        text.push_str(if state.is_multiple_of(11) { ", the " } else { " of " });
    }
    text
}

fn corpus() -> String {
    let mut text = String::new();
    let data = std::env::var_os("RAG_TEST_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    markdown(&data.join("clockify/kb_markdown"), &mut text);
    if text.is_empty() { generated() } else { text }
}

fn analysis(criterion: &mut Criterion) {
    let text = corpus();
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

fn model(criterion: &mut Criterion) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/clockify_rag/models/docs-static-256-int8");
    let wordpiece = WordPiece::open(&folder.join("tokenizer.json")).expect("the model ships");
    let embedding = StaticEmbedding::open(&folder).expect("the model ships");
    let text = corpus();
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
    group.bench_function("chunks of 440 tokens, pool", |bench| {
        bench.iter(|| embedding.embed_all(&chunks, &mut out));
    });
    group.finish();
    criterion.bench_function("embed a question", |bench| {
        let mut row = vec![0.0; embedding.dimension()];
        bench.iter(|| embedding.embed(black_box("How can I export last month's report as PDF?"), &mut row));
    });
}

criterion_group!(benches, analysis, model);
criterion_main!(benches);
