//! Fusing and diversifying the candidates of one query.

#![allow(clippy::expect_used)]

use std::hint::black_box;

use clockify_rag::dense::Simd;
use clockify_rag::fusion::{Evidence, RECIPROCAL_RANK_K, Ranking, reciprocal_rank, with_documents};
use clockify_rag::mmr;
use criterion::{Criterion, criterion_group, criterion_main};

const DIMENSION: usize = 256;

/// A small generator (`SplitMix64`), so that every run has the same numbers.
fn random(mut state: u64) -> impl FnMut() -> f32 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Unit vectors around a few centres, as the candidates of one question are.
fn vectors(count: usize) -> Vec<f32> {
    let mut float = random(2);
    let centres: Vec<f32> = (0..10 * DIMENSION).map(|_| float()).collect();
    let mut vectors = Vec::with_capacity(count * DIMENSION);
    for number in 0..count {
        let centre = &centres[number * 7 % 10 * DIMENSION..][..DIMENSION];
        let row: Vec<f32> = centre.iter().map(|value| value + 0.8 * float()).collect();
        let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        vectors.extend(row.iter().map(|value| value / norm));
    }
    vectors
}

fn fusion(criterion: &mut Criterion) {
    let mut float = random(3);
    let mut floats = |count: usize| -> Vec<f32> { (0..count).map(|_| float().abs()).collect() };
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

    let vectors = vectors(100);
    let relevance: Vec<f32> = (0..100).map(|rank| 2.0 / (1.0 + 0.05 * rank as f32)).collect();
    let mut group = criterion.benchmark_group("mmr");
    for level in Simd::available() {
        Simd::force(Some(level)).expect("it is available");
        for lambda in [0.7, 0.3] {
            group.bench_function(format!("12 of 100, lambda {lambda}/{}", level.name()), |bench| {
                bench.iter(|| mmr::select(black_box(&relevance), &vectors, DIMENSION, lambda, 12));
            });
        }
    }
    Simd::force(None).expect("this is always possible");
    group.finish();
}

criterion_group!(benches, fusion);
criterion_main!(benches);
