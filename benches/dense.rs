//! The dense scan over 100,000 rows of 256 dimensions, on one core, at each SIMD level.
//!
//! Without arguments the rows are made from a seed: points around 2,000 centres. `VECTORS` and `QUERIES` may name files of
//! little-endian `f32` rows of 256 dimensions; then recall@100 of the cascade is measured over all the queries and printed.

#![allow(clippy::expect_used)]

use std::collections::HashSet;
use std::hint::black_box;
use std::sync::Arc;

use clockify_rag::bitmap::Bitmap;
use clockify_rag::dense::{Mode, Neighbors, OVERSAMPLE, Simd, VectorSegment, top_k, write};
use clockify_rag::storage::{Segment, SegmentWriter};
use criterion::{Criterion, criterion_group, criterion_main};

const DIMENSION: usize = 256;
const ROWS: usize = 100_000;
const K: usize = 100;

/// A small generator (`SplitMix64`), so that every run has the same rows.
fn random(mut state: u64) -> impl FnMut() -> f32 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

fn made() -> (Vec<f32>, Vec<f32>) {
    let mut float = random(1);
    let centres: Vec<f32> = (0..2000 * DIMENSION).map(|_| float()).collect();
    let mut point = |number: usize| -> Vec<f32> {
        let centre = &centres[number * 7919 % 2000 * DIMENSION..][..DIMENSION];
        centre.iter().map(|value| value + 1.2 * float()).collect()
    };
    ((0..ROWS).flat_map(&mut point).collect(), (0..100).flat_map(&mut point).collect())
}

fn read(variable: &str) -> Option<Vec<f32>> {
    let bytes = std::fs::read(std::env::var_os(variable)?).ok()?;
    Some(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn ask(vectors: &VectorSegment, filter: Option<&Bitmap>, query: &[f32], mode: Mode) -> Neighbors {
    top_k(&[(vectors, filter)], query, K, mode, |segment, row| [segment.into(), row.into(), 0])
        .expect("the files are sound")
}

fn recall(vectors: &VectorSegment, queries: &[f32]) {
    let rows = |query, mode| -> HashSet<u32> {
        ask(vectors, None, query, mode).neighbors.iter().map(|neighbor| neighbor.row).collect()
    };
    let (mut rescored, count) = (0, queries.len() / DIMENSION);
    let exact: Vec<HashSet<u32>> = queries.chunks(DIMENSION).map(|query| rows(query, Mode::Exact)).collect();
    queries.chunks(DIMENSION).for_each(|query| rescored += ask(vectors, None, query, Mode::Exact).rescored);
    eprintln!("exact: {} rows rescored on the mean of {count} queries", rescored / count);
    for oversample in [10, 15, 20, 30, 40] {
        let near = queries.chunks(DIMENSION).map(|query| rows(query, Mode::Cascade { oversample }));
        let (mut found, mut worst) = (0, K);
        for (near, exact) in near.zip(&exact) {
            found += near.intersection(exact).count();
            worst = worst.min(near.intersection(exact).count());
        }
        eprintln!(
            "cascade, oversample {oversample}: recall@{K} {:.4}, worst {worst}",
            found as f64 / (count * K) as f64
        );
    }
}

fn dense(criterion: &mut Criterion) {
    let (rows, queries) = match (read("VECTORS"), read("QUERIES")) {
        (Some(rows), Some(queries)) => (rows, queries),
        _ => made(),
    };
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("segment");
    let mut writer = SegmentWriter::create(&path).expect("the folder is new");
    let start = std::time::Instant::now();
    write(&mut writer, DIMENSION, &rows, &rows[..DIMENSION]).expect("the rows are sound");
    let entries = writer.finish().expect("the folder can be written");
    eprintln!("written durably in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    let segment = Arc::new(Segment::open(&path, &entries).expect("the files are sound"));
    let vectors = VectorSegment::open(&segment).expect("the files are sound");
    let start = std::time::Instant::now();
    ask(&vectors, None, &queries[..DIMENSION], Mode::Exact);
    eprintln!("first exact answer, blocks verified: {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
    recall(&vectors, &queries);
    let mut tenth = Bitmap::empty(vectors.rows());
    (0..vectors.rows()).filter(|row| row / 100 % 10 == 0).for_each(|row| tenth.insert(row));
    let some: Vec<u32> = (0..200).map(|row| row * 499).collect();

    let mut group = criterion.benchmark_group("dense");
    for level in Simd::available() {
        Simd::force(Some(level)).expect("it is available");
        let mut turn = 0;
        let mut next = || {
            turn = (turn + 1) % (queries.len() / DIMENSION);
            &queries[turn * DIMENSION..][..DIMENSION]
        };
        let name = level.name();
        group.bench_function(format!("exact/{name}"), |b| {
            b.iter(|| ask(&vectors, None, black_box(next()), Mode::Exact));
        });
        let cascade = Mode::Cascade { oversample: OVERSAMPLE };
        group.bench_function(format!("cascade/{name}"), |b| b.iter(|| ask(&vectors, None, black_box(next()), cascade)));
        group.bench_function(format!("tenth/{name}"), |b| b.iter(|| ask(&vectors, Some(&tenth), next(), Mode::Exact)));
        group
            .bench_function(format!("cosines of 200/{name}"), |b| b.iter(|| vectors.cosines(&some, black_box(next()))));
    }
    Simd::force(None).expect("this is always possible");
    group.finish();
}

criterion_group!(benches, dense);
criterion_main!(benches);
