use proptest::prelude::*;

use super::*;
use crate::fuzzing::check_chunks;
use crate::markup::{Options, parse_html, parse_markdown};

fn wordpiece() -> WordPiece {
    WordPiece::open(std::path::Path::new("python/clockify_rag/models/docs-static-256-int8/tokenizer.json")).unwrap()
}

fn markdown(text: &str) -> Page {
    parse_markdown(text, &Options::default()).unwrap()
}

fn chunks_of(page: &Page, options: &ChunkOptions) -> Vec<Chunk> {
    let chunks = chunk(page, &wordpiece(), options);
    check_chunks(page, &chunks, options);
    chunks
}

/// Words of one token each.
fn words(count: usize, name: &str) -> String {
    vec![name; count].join(" ")
}

#[test]
fn a_section_is_one_chunk_under_its_heading() {
    let page = markdown("before\n\n# A\n\none\n\n- two\n\n## B\n\nthree\n\n## B\n\nfour");
    let chunks = chunks_of(&page, &ChunkOptions::default());
    let seen: Vec<_> =
        chunks.iter().map(|c| (c.text(&page), c.heading_path.join("/"), c.anchor.clone(), c.ordinal)).collect();
    let anchor = |name: &str| Some(name.to_owned());
    assert_eq!(
        seen,
        [
            ("before".into(), String::new(), None, 0),
            ("one\n\n- two".into(), "A".into(), anchor("a"), 0),
            ("three".into(), "A/B".into(), anchor("b"), 0),
            ("four".into(), "A/B".into(), anchor("b-1"), 0),
        ]
    );
}

#[test]
fn headings_that_say_nothing_do_not_cut() {
    let page = markdown(
        "# T\n\n- [A](#a)\n\n# T\n\n2 min read\n\ntext\n\n## A\n\nmore\n\n### Was this page helpful?\n\nYes\n\nThanks!",
    );
    let chunks = chunks_of(&page, &ChunkOptions::default());
    let texts: Vec<_> = chunks.iter().map(|chunk| chunk.text(&page)).collect();
    assert_eq!(texts, ["text", "more"]);
    assert_eq!(chunks[0].anchor.as_deref(), Some("t"));
    let page = markdown("# Only\n\n## Headings");
    assert_eq!(chunks_of(&page, &ChunkOptions::default()).len(), 2);
}

#[test]
fn long_text_is_cut_at_sentences_and_overlaps() {
    let sentence = |i: usize| format!("Sentence {i} has {}.", words(16, "word"));
    let text: String = (0..60).map(|i| sentence(i) + if i % 5 == 4 { "\n\n" } else { " " }).collect();
    let options = ChunkOptions { target: 100, maximum: 200, overlap: 0.25 };
    let page = markdown(&text);
    let chunks = chunks_of(&page, &options);
    assert!(chunks.len() > 8);
    for pair in chunks.windows(2) {
        let repeated = &pair[1].repeated[0];
        assert_eq!(pair[1].spans[0].bytes.start, repeated.start);
        assert_eq!(pair[0].spans.last().unwrap().bytes.end, repeated.end);
        assert!(page.slice(repeated).starts_with("Sentence"));
        assert!(pair[1].text(&page).starts_with("Sentence"));
    }
    assert!(chunks_of(&page, &ChunkOptions { overlap: 0.0, ..options }).iter().all(|chunk| chunk.repeated.is_empty()));
}

#[test]
fn lists_tables_and_code_are_whole_up_to_the_maximum() {
    let options = ChunkOptions { target: 50, maximum: 120, overlap: 0.15 };
    let list = (0..20).map(|i| format!("- {} {i}\n", words(3, "item"))).collect::<Vec<_>>().concat();
    let page = markdown(&list);
    assert_eq!(chunks_of(&page, &options).len(), 1);
    let long = (0..60).map(|i| format!("- {} {i}\n  - under {i}\n", words(3, "item"))).collect::<Vec<_>>().concat();
    let page = markdown(&long);
    let chunks = chunks_of(&page, &options);
    assert!(chunks.len() > 3);
    assert!(chunks.iter().all(|chunk| chunk.text(&page).starts_with("- ") && chunk.kind == ChunkKind::List));
    let code = format!("```\n{}```\n", (0..90).map(|i| format!("call {i} now\n")).collect::<Vec<_>>().concat());
    let page = markdown(&code);
    assert!(chunks_of(&page, &options).iter().all(|chunk| chunk.text(&page).starts_with("call")));
}

#[test]
fn later_pieces_of_a_table_carry_its_header() {
    let options = ChunkOptions { target: 40, maximum: 60, overlap: 0.15 };
    let rows = (0..40).map(|i| format!("| row {i} | {} |\n", words(4, "cell"))).collect::<Vec<_>>().concat();
    let page = markdown(&format!("What it costs:\n\n| Name | Price |\n|---|---|\n{rows}"));
    let chunks = chunks_of(&page, &options);
    assert!(chunks.len() > 4);
    assert!(chunks[0].text(&page).contains("Name | Price\nrow 0 |"));
    for chunk in &chunks[1..] {
        assert!(chunk.text(&page).starts_with("Name | Price\nrow "), "{}", chunk.text(&page));
        assert_eq!((chunk.spans.len(), chunk.repeated.len()), (2, 1));
    }
}

#[test]
fn one_endless_word_row_or_line_is_cut() {
    let options = ChunkOptions { target: 20, maximum: 30, overlap: 0.15 };
    for text in [
        "é".repeat(100_000),
        format!("| a | b |\n|---|---|\n| {} | x |", words(500, "w")),
        format!("```\n{}\n```", words(500, "w")),
        format!("- {}", words(500, "w")),
        format!("# H\n\n{}", words(500, "w")),
        format!("| {} |\n|---|\n| x |", words(500, "w")),
    ] {
        let page = markdown(&text);
        let chunks = chunks_of(&page, &options);
        assert!(chunks.len() > 1);
        assert!(chunks.iter().all(|chunk| chunk.text(&page).len() <= 3 * 30 * BYTES_PER_TOKEN));
    }
}

#[test]
fn a_cut_list_of_definitions_has_its_terms_anchors() {
    let terms = (0..20).map(|i| format!("<dt id=t{i}>Term {i}<dd>{}", words(30, "w"))).collect::<Vec<_>>().concat();
    let page = parse_html(&format!("<h1 id=h>All</h1><dl>{terms}</dl>"), &Options::default()).unwrap();
    let options = ChunkOptions { target: 60, maximum: 100, overlap: 0.15 };
    for chunk in chunks_of(&page, &options) {
        let term = chunk.text(&page).trim_start_matches("- Term ").split('\n').next().unwrap().to_owned();
        assert_eq!(chunk.anchor, Some(format!("t{term}")));
    }
}

#[test]
fn a_hub_has_only_hub_chunks() {
    let page = markdown("# All\n\n- [One page](1.html)\n- [Two pages](2.html)\n- [Three](3.html)");
    assert!(chunks_of(&page, &ChunkOptions::default()).iter().all(|chunk| chunk.kind == ChunkKind::Hub));
}

fn block() -> impl Strategy<Value = String> {
    let line = "[a-zA-Z éß日.!?|()#-]{1,40}";
    prop_oneof![
        (1usize..4, line).prop_map(|(level, text)| format!("{} {text}\n\n", "#".repeat(level))),
        prop::collection::vec(line, 1..12).prop_map(|lines| lines.join(" ") + "\n\n"),
        prop::collection::vec(line, 1..30).prop_map(|lines| lines
            .iter()
            .map(|line| format!("- {line}\n"))
            .collect::<Vec<_>>()
            .concat()
            + "\n"),
        prop::collection::vec(line, 1..30).prop_map(|lines| format!("```\n{}\n```\n\n", lines.join("\n"))),
        prop::collection::vec("[a-z é]{0,30}", 1..30).prop_map(|rows| {
            format!(
                "| h | k |\n|---|---|\n{}\n",
                rows.iter().map(|row| format!("| {row} | x |\n")).collect::<Vec<_>>().concat()
            )
        }),
    ]
}

proptest! {
    #[test]
    fn chunks_of_any_page_are_sound(blocks in prop::collection::vec(block(), 0..14), target in 1u32..60, more in 8u32..60, overlap in 0f32..0.6) {
        let page = markdown(&blocks.concat());
        chunks_of(&page, &ChunkOptions { target, maximum: target + more, overlap });
    }
}

#[test]
fn a_heading_that_nobody_closed_is_text() {
    let text = "Words of a page that go on. ".repeat(1 << 20 >> 5);
    for page in [
        crate::markup::parse_html(&format!("<h1 id=top>{text}"), &Options::default()).unwrap(),
        markdown(&format!("# {text}")),
        markdown(&format!("before\n\n# {text}\n\nafter")),
    ] {
        let chunks = chunk(&page, &wordpiece(), &ChunkOptions::default());
        assert!((100..1000).contains(&chunks.len()), "{} chunks", chunks.len());
        let carried = chunks.iter().flat_map(|chunk| chunk.heading_path.iter().chain(&chunk.section));
        assert!(carried.map(String::len).sum::<usize>() < text.len());
    }
}

#[test]
fn headings_alone_fill_chunks() {
    let page = markdown(&format!("# {}", words(60, "time")));
    let options = ChunkOptions { target: 16, maximum: 16, overlap: 0.0 };
    let chunks = chunks_of(&page, &options);
    assert_eq!(chunks.iter().map(|chunk| chunk.tokens).collect::<Vec<_>>(), [16, 16, 16, 12]);
}
