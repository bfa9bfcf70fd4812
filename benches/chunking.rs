//! Parsing and chunking of a page of HTML and of the same text as Markdown, per byte.

#![allow(clippy::expect_used)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;

use clockify_rag::chunking::{ChunkOptions, chunk};
use clockify_rag::markup::{Options, Page, parse_html, parse_markdown};
use clockify_rag::wordpiece::WordPiece;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// A page of `sections` sections, each with a paragraph, a list and a table.
fn pages(sections: usize) -> (String, String) {
    let (mut html, mut markdown) = (String::from("<main><h1>Rounds</h1>"), String::from("# Rounds\n\n"));
    for section in 0..sections {
        let sentence = "Each bed is visited once, and the shortest path is taken between the beds. ".repeat(6);
        let _ = write!(
            html,
            "<section id=\"s{section}\"><h2>Section {section} <a class=\"headerlink\" href=\"#s{section}\">#</a></h2>\
             <p>{sentence}</p><ul><li>Open <b>Beds</b></li><li>Tick <a href=\"beds.html\">each bed</a></li></ul>\
             <table><tr><th>Bed</th><th>Litres</th></tr><tr><td>Fern</td><td>{section}</td></tr></table></section>"
        );
        let _ = write!(
            markdown,
            "## Section {section} [\\#](#s{section})\n\n{sentence}\n\n- Open **Beds**\n- Tick [each bed](beds.html)\n\n\
             | Bed | Litres |\n|---|---|\n| Fern | {section} |\n\n"
        );
    }
    (html, markdown)
}

fn benchmark(criterion: &mut Criterion) {
    let tokenizer = "python/clockify_rag/models/docs-static-256-int8/tokenizer.json";
    let wordpiece = WordPiece::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join(tokenizer)).expect("the model ships");
    let (html, markdown) = pages(200);
    let options = Options::default();
    let mut group = criterion.benchmark_group("markup");
    group.throughput(Throughput::Bytes(html.len() as u64));
    group.bench_function("html", |bencher| bencher.iter(|| parse_html(black_box(&html), &options)));
    group.throughput(Throughput::Bytes(markdown.len() as u64));
    group.bench_function("markdown", |bencher| bencher.iter(|| parse_markdown(black_box(&markdown), &options)));
    let page: Page = parse_html(&html, &options).expect("the page is sound");
    group.throughput(Throughput::Bytes(page.text.len() as u64));
    group.bench_function("chunk", |bencher| {
        bencher.iter(|| chunk(black_box(&page), &wordpiece, &ChunkOptions::default()));
    });
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
