//! One question to one generation, its vector given: words, vectors, both, and both on two threads.

#![allow(missing_docs, clippy::expect_used)]

mod seeded;

use std::hint::black_box;
use std::time::Instant;

use clockify_rag::analysis::Language;
use clockify_rag::bm25::Parameters;
use clockify_rag::dense::Mode;
use clockify_rag::snapshot::{Options, Question, Results, Snapshot};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn options(dense: Mode) -> Options {
    Options {
        top_k: 12,
        candidates: 100,
        parameters: Parameters::default(),
        dense_weight: 1.8,
        document_weight: 0.3,
        repeat_weight: 0.85,
        mmr_lambda: Some(0.98),
        dense,
    }
}

fn ask(snapshot: &Snapshot, text: &str, vector: Option<&[f32]>, dense: Mode) -> Results {
    let excluded = ["kind=hub".to_owned()];
    let question = Question {
        text,
        language: Language::English,
        vector,
        filters: &[],
        excluded: &excluded,
        excluded_documents: &[],
        expansions: &[],
    };
    snapshot.search(&question, &options(dense)).expect("the index is sound")
}

fn snapshot(criterion: &mut Criterion<seeded::ThreadTime>) {
    let questions = seeded::questions(100);
    for dimension in [256, 384] {
        let (_folder, snapshot, vectors) = seeded::index(dimension);
        let mut group = criterion.benchmark_group(format!("snapshot, {dimension} dimensions"));
        let mut turn = 0;
        let mut next = move || {
            turn += 1;
            turn % 100
        };
        let cascade = Mode::Cascade { oversample: clockify_rag::dense::OVERSAMPLE };
        seeded::at_each_level(|level| {
            for (name, mode) in [("hybrid", Mode::Auto), ("hybrid, exact", Mode::Exact), ("hybrid, cascade", cascade)] {
                group.bench_function(format!("{name}/{level}"), |bencher| {
                    bencher.iter(|| {
                        let turn = next();
                        ask(&snapshot, black_box(&questions[turn]), Some(&vectors[turn]), mode)
                    });
                });
            }
        });
        group.bench_function("words only", |bencher| {
            bencher.iter(|| ask(&snapshot, black_box(&questions[next()]), None, Mode::Auto));
        });
        // On the wall: the questions of a second by the number of threads show what threads add.
        for threads in [1, 2] {
            group.throughput(Throughput::Elements(threads * 100));
            group.bench_function(format!("hybrid, {threads} threads, on the wall"), |bencher| {
                bencher.iter_custom(|rounds| {
                    let started = Instant::now();
                    std::thread::scope(|scope| {
                        for _ in 0..threads {
                            scope.spawn(|| {
                                for turn in (0..rounds).flat_map(|_| 0..100) {
                                    black_box(ask(&snapshot, &questions[turn], Some(&vectors[turn]), Mode::Auto));
                                }
                            });
                        }
                    });
                    started.elapsed()
                });
            });
        }
        group.finish();
    }
}

criterion_group! { name = benches; config = seeded::short(); targets = snapshot }
criterion_main!(benches);
