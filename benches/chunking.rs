//! Parsing and chunking of a page of HTML and of the same text as Markdown, per byte.

#![allow(missing_docs, clippy::expect_used)]

mod seeded;

use std::hint::black_box;
use std::path::Path;

use clockify_rag::chunking::{ChunkOptions, chunk};
use clockify_rag::markup::{Options, Page, parse_html, parse_markdown};
use clockify_rag::wordpiece::WordPiece;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn benchmark(criterion: &mut Criterion<seeded::ThreadTime>) {
    let tokenizer = "python/clockify_rag/models/docs-static-256-int8/tokenizer.json";
    let wordpiece = WordPiece::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join(tokenizer)).expect("the model ships");
    // One page with the sections of twenty.
    let mut pages = seeded::pages(200).into_iter();
    let mut page = pages.next().expect("there are pages");
    page.sections.extend(pages.flat_map(|page| page.sections));
    let (html, markdown) = (page.html(), page.markdown());
    let options = Options::default();
    let mut group = criterion.benchmark_group("markup");
    group.throughput(Throughput::Bytes(html.len() as u64));
    group.bench_function("html", |bencher| bencher.iter(|| parse_html(black_box(&html), &options)));
    group.throughput(Throughput::Bytes(markdown.len() as u64));
    group.bench_function("markdown", |bencher| bencher.iter(|| parse_markdown(black_box(&markdown), &options)));
    let page: Page = parse_html(&html, &options).expect("the page is sound");
    group.throughput(Throughput::Bytes(page.text.len() as u64));
    group.bench_function("chunk", |bencher| {
        bencher.iter(|| chunk(black_box(&page), None, &wordpiece, &ChunkOptions::default(), None));
    });
    group.finish();
}

criterion_group! { name = benches; config = seeded::short(); targets = benchmark }
criterion_main!(benches);
