//! Fusing and diversifying the candidates of one query.

#![allow(missing_docs)]

mod corpus;

use std::hint::black_box;

use clockify_rag::fusion::{Evidence, RECIPROCAL_RANK_K, Ranking, reciprocal_rank, with_documents};
use clockify_rag::mmr;
use criterion::{Criterion, criterion_group, criterion_main};

const DIMENSION: usize = 256;

fn fusion(criterion: &mut Criterion<corpus::ThreadTime>) {
    let mut random = corpus::Random::new(3);
    let mut floats = |count: usize| -> Vec<f32> { (0..count).map(|_| random.float().abs()).collect() };
    let (bm25, cosine, document_bm25, document_cosine) = (floats(200), floats(200), floats(200), floats(200));
    let mut group = criterion.benchmark_group("fusion");
    group.bench_function("default rule with documents, 200 candidates", |bench| {
        bench.iter(|| {
            let chunks = Evidence { bm25: black_box(&bm25), bm25_max: 1.0, cosine: &cosine };
            let documents = Evidence { bm25: &document_bm25, bm25_max: 1.0, cosine: &document_cosine };
            with_documents(chunks, documents, 1.25, 0.3)
        });
    });
    let (first, second): (Vec<u32>, Vec<u32>) = ((0..100).collect(), (50..150).rev().collect());
    let rankings = [Ranking { weight: 1.0, candidates: &first }, Ranking { weight: 1.0, candidates: &second }];
    group.bench_function("reciprocal rank, two rankings of 100", |bench| {
        bench.iter(|| reciprocal_rank(150, black_box(&rankings), RECIPROCAL_RANK_K));
    });
    group.finish();

    // The chunks around one centre in fifty, as the candidates of one question are.
    let (mut vectors, _) = corpus::vectors(100, DIMENSION);
    for row in vectors.chunks_mut(DIMENSION) {
        let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        for value in row {
            *value /= norm;
        }
    }
    let relevance: Vec<f32> = (0..100).map(|rank| 2.0 / (1.0 + 0.05 * rank as f32)).collect();
    let mut group = criterion.benchmark_group("mmr");
    corpus::at_each_level(|level| {
        for lambda in [0.98, 0.7, 0.3] {
            group.bench_function(format!("12 of 100, lambda {lambda}/{level}"), |bench| {
                bench.iter(|| mmr::select(black_box(&relevance), &vectors, DIMENSION, lambda, 12));
            });
        }
    });
    group.finish();
}

criterion_group! { name = benches; config = corpus::short(); targets = fusion }
criterion_main!(benches);
