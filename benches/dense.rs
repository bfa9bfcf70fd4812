//! The dense scan over the corpus' vectors of 256 dimensions, on one core, at each SIMD level. `CHUNKS=100000` in the
//! environment is the size that decisions were taken at.
//!
//! `VECTORS` and `QUERIES` may name files of little-endian `f32` rows of 256 dimensions instead. Recall@100 of the cascade is
//! measured over all the queries and printed.

#![allow(missing_docs, clippy::expect_used)]

mod corpus;

use std::collections::HashSet;
use std::hint::black_box;
use std::sync::Arc;

use clockify_rag::bitmap::Bitmap;
use clockify_rag::dense::{Mode, Neighbors, OVERSAMPLE, VectorSegment, top_k, write};
use clockify_rag::storage::{Segment, SegmentWriter};
use criterion::{Criterion, criterion_group, criterion_main};

const DIMENSION: usize = 256;
const K: usize = 100;

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
    for oversample in [20, 40, OVERSAMPLE] {
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

fn dense(criterion: &mut Criterion<corpus::ThreadTime>) {
    let (rows, queries) = if let (Some(rows), Some(queries)) = (read("VECTORS"), read("QUERIES")) {
        (rows, queries)
    } else {
        let (rows, queries) = corpus::vectors(corpus::chunks(), DIMENSION);
        (rows, queries.concat())
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
    let some: Vec<u32> = (0..200).map(|row| row * 499 % vectors.rows()).collect();

    let mut group = criterion.benchmark_group("dense");
    corpus::at_each_level(|name| {
        let mut turn = 0;
        let mut next = || {
            turn = (turn + 1) % (queries.len() / DIMENSION);
            &queries[turn * DIMENSION..][..DIMENSION]
        };
        group.bench_function(format!("exact/{name}"), |b| {
            b.iter(|| ask(&vectors, None, black_box(next()), Mode::Exact));
        });
        let cascade = Mode::Cascade { oversample: OVERSAMPLE };
        group.bench_function(format!("cascade/{name}"), |b| b.iter(|| ask(&vectors, None, black_box(next()), cascade)));
        group.bench_function(format!("tenth/{name}"), |b| b.iter(|| ask(&vectors, Some(&tenth), next(), Mode::Exact)));
        group
            .bench_function(format!("cosines of 200/{name}"), |b| b.iter(|| vectors.cosines(&some, black_box(next()))));
    });
    group.finish();
}

criterion_group! { name = benches; config = corpus::short(); targets = dense }
criterion_main!(benches);
