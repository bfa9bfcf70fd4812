use proptest::prelude::*;

use super::*;
use crate::fuzzing::check_chunks;
use crate::markup::{Options, parse_csv, parse_html, parse_markdown};

fn wordpiece() -> WordPiece {
    WordPiece::open(std::path::Path::new("python/clockify_rag/models/docs-static-256-int8/tokenizer.json")).unwrap()
}

fn markdown(text: &str) -> Page {
    parse_markdown(text, &Options::default()).unwrap()
}

/// The chunks of a page that is said to be something, with what must hold of them.
fn chunks_as(page: &Page, kind: Option<PageKind>, options: &ChunkOptions) -> Vec<Chunk> {
    let values = vectors(page, kind, options);
    let vectors = UnitVectors { dimension: 2, values: &values };
    let chunks = chunk(page, kind, &wordpiece(), options, Some(vectors)).unwrap();
    check_chunks(page, &chunks, options);
    chunks
}

/// A vector for each unit that depends on its text alone.
fn vectors(page: &Page, kind: Option<PageKind>, options: &ChunkOptions) -> Vec<f32> {
    let numbers = |range: &Range<u32>| {
        let sum = page.slice(range).bytes().map(u32::from).sum::<u32>();
        [(sum % 17) as f32 - 8.0, (sum % 13) as f32 - 6.0]
    };
    units(page, kind, &wordpiece(), options).iter().flat_map(numbers).collect()
}

fn chunks_of(page: &Page, options: &ChunkOptions) -> Vec<Chunk> {
    chunks_as(page, None, options)
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
    let texts: Vec<_> = chunks.iter().map(|chunk| (chunk.kind.name(), chunk.text(&page))).collect();
    // The heading that comes again is a place that can be linked to, and nothing else.
    assert_eq!(texts, [("hub", "T".into()), ("text", "text".into()), ("text", "more".into())]);
    assert_eq!(chunks[1].anchor.as_deref(), Some("t"));
    let page = markdown("# Only\n\n## Headings");
    assert_eq!(chunks_of(&page, &ChunkOptions::default()).len(), 2);
}

#[test]
fn long_text_is_cut_at_sentences_and_overlaps() {
    let sentence = |i: usize| format!("Sentence {i} has {}.", words(16, "word"));
    let text: String = (0..60).map(|i| sentence(i) + if i % 5 == 4 { "\n\n" } else { " " }).collect();
    let options = ChunkOptions { target: 100, maximum: 200, overlap: 0.25, ..ChunkOptions::default() };
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
    let options = ChunkOptions { target: 50, maximum: 120, overlap: 0.15, ..ChunkOptions::default() };
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
fn a_blank_line_of_long_code_is_no_chunk() {
    for blank in ["", "   "] {
        let page = markdown(&format!("```\n{0}\n{blank}\n{0}\n```", words(6, "call")));
        for method in METHODS {
            let options = ChunkOptions { method, target: 1, maximum: 8, overlap: 0.5, ..ChunkOptions::default() };
            let texts: Vec<String> = chunks_of(&page, &options).iter().map(|chunk| chunk.text(&page)).collect();
            assert!(texts.len() >= 2 && texts.iter().all(|text| text.starts_with("call")), "{method:?}: {texts:?}");
        }
    }
}

#[test]
fn later_pieces_of_a_table_carry_its_header() {
    let options = ChunkOptions { target: 40, maximum: 60, overlap: 0.15, ..ChunkOptions::default() };
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
    let options = ChunkOptions { target: 20, maximum: 30, overlap: 0.15, ..ChunkOptions::default() };
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
    let options = ChunkOptions { target: 60, maximum: 100, overlap: 0.15, ..ChunkOptions::default() };
    let chunks = chunks_of(&page, &options);
    let (hubs, terms): (Vec<_>, Vec<_>) = chunks.iter().partition(|chunk| chunk.kind == ChunkKind::Hub);
    let hub = hubs.first().unwrap();
    assert_eq!((hubs.len(), hub.text(&page).as_str(), hub.anchor.as_deref()), (1, "All", Some("h")));
    for chunk in terms {
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

const METHODS: [Method; 4] = [Method::Structure, Method::Sentence, Method::Semantic, Method::Fixed];

proptest! {
    #[test]
    fn chunks_of_any_page_are_sound(
        blocks in prop::collection::vec(block(), 0..14),
        target in 1u32..60,
        more in 8u32..60,
        overlap in 0f32..0.6,
        table in prop::sample::select(&[0, 20, u32::MAX][..]),
        method in prop::sample::select(&METHODS[..]),
        kind in prop::sample::select(&[None, Some(PageKind::Glossary), Some(PageKind::Faq)][..]),
    ) {
        let page = markdown(&blocks.concat());
        let options = ChunkOptions { method, target, maximum: target + more, overlap, table, images: true };
        chunks_as(&page, kind, &options);
    }

    #[test]
    fn every_heading_has_a_chunk(blocks in prop::collection::vec(block(), 0..14), faq in any::<bool>()) {
        let page = markdown(&blocks.concat());
        let chunks = chunks_as(&page, faq.then_some(PageKind::Faq), &ChunkOptions::default());
        let reached: FxHashSet<_> = chunks.iter().filter_map(|chunk| chunk.anchor.as_deref()).collect();
        for block in page.blocks.iter().filter(|block| block.heading_level().is_some()) {
            prop_assert!(block.anchor.as_deref().is_none_or(|anchor| reached.contains(anchor)), "{:?}", block);
        }
    }
}

/// The chunks of a kind: the innermost heading, what they are about, the text.
fn entries(page: &Page, chunks: &[Chunk], kind: ChunkKind) -> Vec<(String, Entry, String)> {
    let of_kind = chunks.iter().filter(|chunk| chunk.kind == kind);
    let described = of_kind.map(|chunk| {
        let Some(Part::Entry(entry)) = chunk.parts.first() else { panic!("{chunk:?}") };
        (chunk.heading_path.last().cloned().unwrap_or_default(), entry.clone(), chunk.text(page))
    });
    described.collect()
}

fn term(term: &str, aliases: &[&str]) -> Entry {
    Entry::Term { term: term.to_owned(), aliases: aliases.iter().map(|&alias| alias.to_owned()).collect() }
}

fn entry(heading: &str, entry: Entry, text: &str) -> (String, Entry, String) {
    (heading.to_owned(), entry, text.to_owned())
}

#[test]
fn terms_under_headings_are_chunks() {
    let page = markdown(
        "---\naliases:\n  Round: [lap, circuit]\n---\n# Words\n\nWhat we say.\n\n## A\n\n### Audit (log, trail)\n\nWho did what.\n\n\
         #### Example\n\nLike this.\n\n## R\n\n### Round\n\nOnce around.\n\n### Route\n\nThe way.",
    );
    let chunks = chunks_as(&page, Some(PageKind::Glossary), &ChunkOptions::default());
    assert_eq!(
        entries(&page, &chunks, ChunkKind::Glossary),
        [
            entry("Audit (log, trail)", term("Audit", &["log", "trail"]), "Who did what.\n\nExample\n\nLike this."),
            entry("Round", term("Round", &["lap", "circuit"]), "Once around."),
            entry("Route", term("Route", &[]), "The way."),
        ]
    );
    let others: Vec<_> = chunks.iter().filter(|chunk| chunk.kind == ChunkKind::Text).collect();
    assert_eq!(others.iter().map(|chunk| chunk.text(&page)).collect::<Vec<_>>(), ["What we say."]);
    assert!(chunks_of(&page, &ChunkOptions::default()).iter().all(|chunk| chunk.kind != ChunkKind::Glossary));
}

#[test]
fn terms_of_definitions_are_chunks() {
    let expected = [
        entry("Round", term("Round", &["lap"]), "- Round\n- lap\n  Once around."),
        entry("Route", term("Route", &[]), "- Route\n  The way."),
    ];
    let listed = "<dl><dt id=r>Round</dt><dt>lap</dt><dd>Once around.</dd><dt>Route<dd>The way.</dl>";
    let page = parse_html(&format!("<h1 id=all>Words</h1>{listed}"), &Options::default()).unwrap();
    let chunks = chunks_as(&page, Some(PageKind::Glossary), &ChunkOptions::default());
    assert_eq!(entries(&page, &chunks, ChunkKind::Glossary), expected);
    assert_eq!(chunks.iter().map(|chunk| chunk.anchor.as_deref()).collect::<Vec<_>>(), [Some("r"), Some("all")]);
    let page =
        parse_csv("term,aliases,definition\nRound,lap,Once around.\nRoute,,The way.\n", &Options::default()).unwrap();
    let chunks = chunks_as(&page, page.kind, &ChunkOptions::default());
    assert_eq!(entries(&page, &chunks, ChunkKind::Glossary), expected);
}

#[test]
fn a_long_definition_keeps_its_term_in_every_piece() {
    let page = markdown(&format!("# Words\n\n## Round\n\n{}\n\n## Route\n\nThe way.", "It goes around. ".repeat(60)));
    let options = ChunkOptions { target: 20, maximum: 60, ..ChunkOptions::default() };
    let found = entries(&page, &chunks_as(&page, Some(PageKind::Glossary), &options), ChunkKind::Glossary);
    assert!(found.len() > 3);
    assert!(found.iter().all(|(heading, entry, _)| matches!(entry, Entry::Term { term, .. } if term == heading)));
}

fn asked(question: &str) -> Entry {
    Entry::Question(question.to_owned())
}

#[test]
fn questions_under_headings_are_chunks() {
    let text = "# Help\n\nBefore.\n\n## Money\n\n### How do I pay?\n\nBy card.\n\n#### In cash\n\nAt the desk.\n\n### “Why?”\n\nBecause.\n\n\
                ## Contact\n\nWrite to us.";
    let page = markdown(text);
    let chunks = chunks_as(&page, Some(PageKind::Faq), &ChunkOptions::default());
    assert_eq!(
        entries(&page, &chunks, ChunkKind::Faq),
        [
            entry("How do I pay?", asked("How do I pay?"), "By card.\n\nIn cash\n\nAt the desk."),
            entry("“Why?”", asked("“Why?”"), "Because."),
        ]
    );
    let others = chunks.iter().filter(|chunk| chunk.kind == ChunkKind::Text).map(|chunk| chunk.text(&page));
    assert_eq!(others.collect::<Vec<_>>(), ["Before.", "Write to us."]);
    assert_eq!(markdown(&format!("---\nkind: faq\n---\n{text}")).kind, Some(PageKind::Faq));
    assert!(chunks_of(&page, &ChunkOptions::default()).iter().all(|chunk| chunk.kind != ChunkKind::Faq));
}

#[test]
fn elements_that_fold_are_questions_where_they_ask() {
    let folded = "<details><summary>How do I pay?</summary><p>By card.</p><p>Or in cash.</p></details>\
                  <details><summary>More</summary>Something else.</details><p>The end.</p>";
    let page = parse_html(&format!("<h1>Help</h1>{folded}"), &Options::default()).unwrap();
    let answer = entry("How do I pay?", asked("How do I pay?"), "By card.\n\nOr in cash.");
    let chunks = chunks_of(&page, &ChunkOptions::default());
    assert_eq!(entries(&page, &chunks, ChunkKind::Faq), std::slice::from_ref(&answer));
    assert_eq!(chunks.last().unwrap().text(&page), "More\n\nSomething else.\n\nThe end.");
    let chunks = chunks_as(&page, Some(PageKind::Faq), &ChunkOptions::default());
    assert_eq!(
        entries(&page, &chunks, ChunkKind::Faq),
        [answer.clone(), entry("More", asked("More"), "Something else.")]
    );
    // What Markdown holds between the tags belongs to the answer.
    let page = markdown(
        "# Help\n\n<details>\n<summary>How do I pay?</summary>\n\nBy *card*.\n\nOr in cash.\n\n</details>\n\nThe end.",
    );
    let chunks = chunks_of(&page, &ChunkOptions::default());
    assert_eq!(entries(&page, &chunks, ChunkKind::Faq), [answer]);
    assert_eq!(chunks.last().unwrap().text(&page), "The end.");
}

#[test]
fn linked_data_says_what_is_asked() {
    let page = parse_html(
        r#"<script type="application/ld+json">{"@type": "FAQPage", "mainEntity": [
            {"@type": "Question", "name": "Paying", "acceptedAnswer": {"text": "By card."}}]}</script>
           <h1>Help</h1><p>Before.</p><p>Paying</p><p>By card.</p><h2>After</h2><p>More.</p>"#,
        &Options::default(),
    )
    .unwrap();
    assert_eq!(page.kind, Some(PageKind::Faq));
    assert!(!page.text.contains("acceptedAnswer"));
    let chunks = chunks_as(&page, page.kind, &ChunkOptions::default());
    assert_eq!(entries(&page, &chunks, ChunkKind::Faq), [entry("Paying", asked("Paying"), "By card.")]);
    assert_eq!(chunks.last().unwrap().text(&page), "More.");
}

#[test]
fn questions_inside_questions_are_told_apart_to_a_depth() {
    let nested = "<details><summary>Is it so?</summary>".repeat(200);
    let page = parse_html(&format!("<h1>Help</h1>{nested}<p>Yes."), &Options::default()).unwrap();
    let chunks = chunks_as(&page, Some(PageKind::Faq), &ChunkOptions::default());
    assert!(chunks.iter().all(|chunk| chunk.heading_path.len() <= 3));
    assert!(chunks.iter().any(|chunk| chunk.text(&page).ends_with("Yes.")));
}

#[test]
fn tables_and_code_are_kept_as_such() {
    let page = markdown(
        "# T\n\nPrices:\n\n| Name | Price | |\n|---|---|---|\n| a \\| b | 1 | x |\n| c | | |\n\n```python\nx = 1\n```\n\n```\nplain\n```\n",
    );
    let chunks = chunks_of(&page, &ChunkOptions { table: 0, ..ChunkOptions::default() });
    let table = chunks.iter().find(|chunk| chunk.kind == ChunkKind::Table).unwrap();
    let text = |row: &[&str]| row.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>();
    let [Part::Table { range, header, rows }] = table.parts.as_slice() else { panic!("{:?}", table.parts) };
    assert_eq!(header, &text(&["Name", "Price"]));
    assert_eq!(rows, &[text(&["a | b", "1", "x"]), text(&["c"])]);
    assert_eq!(page.slice(range), "a | b | 1 | x\nc |  |");
    let code: Vec<_> =
        chunks.iter().flat_map(|chunk| &chunk.parts).filter(|part| matches!(part, Part::Code { .. })).collect();
    let [Part::Code { range, language }] = code.as_slice() else { panic!("{code:?}") };
    assert_eq!((page.slice(range), language.as_str()), ("x = 1", "python"));
    let whole = chunks_of(&page, &ChunkOptions { table: u32::MAX, ..ChunkOptions::default() });
    assert_eq!(whole.len(), 1);
    assert_eq!(whole[0].parts.len(), 2);
}

#[test]
fn every_whole_row_is_in_one_table() {
    let rows = (0..40).map(|i| format!("| row {i} | {} |\n", words(4, "cell"))).collect::<Vec<_>>().concat();
    let page = markdown(&format!("| Name | Price |\n|---|---|\n{rows}"));
    let options = ChunkOptions { target: 40, maximum: 60, ..ChunkOptions::default() };
    let mut seen = Vec::new();
    for chunk in chunks_of(&page, &options) {
        let [Part::Table { header, rows, .. }] = chunk.parts.as_slice() else { panic!("{:?}", chunk.parts) };
        assert_eq!(header, &["Name", "Price"]);
        seen.extend(rows.iter().map(|row| row[0].clone()));
    }
    assert_eq!(seen, (0..40).map(|i| format!("row {i}")).collect::<Vec<_>>());
}

#[test]
fn described_images_are_chunks() {
    let page = parse_html(
        "<h1 id=t>T</h1><p>Press <img src=save.png alt=Save>.</p><figure><img src=a.png alt='The start page'>\
         <figcaption>What you see first</figcaption></figure><p><img data-src=b.png src=data:x alt='Two people talking'> and \
         <img src=c.png alt=shot-1.png><img src=d.png>",
        &Options::default(),
    )
    .unwrap();
    let chunks = chunks_of(&page, &ChunkOptions::default());
    let images: Vec<_> = chunks.iter().filter(|chunk| chunk.kind == ChunkKind::Image).collect();
    let texts: Vec<_> = images.iter().map(|chunk| chunk.text(&page)).collect();
    assert_eq!(texts, ["The start page\nWhat you see first", "Two people talking"]);
    let Part::Image { source, alternative, caption, .. } = &images[0].parts[0] else { panic!() };
    assert_eq!(
        (source.as_str(), alternative.as_str(), caption.as_str()),
        ("a.png", "The start page", "What you see first")
    );
    assert!(images.iter().all(|chunk| chunk.anchor.as_deref() == Some("t") && !chunk.repeated.is_empty()));
    assert!(chunks[0].text(&page).contains("The start page"));
    let without = chunks_of(&page, &ChunkOptions { images: false, ..ChunkOptions::default() });
    assert_eq!(without.len() + 2, chunks.len());
}

#[test]
fn each_method_has_its_way() {
    let text = format!("# T\n\n{}\n\n{}", "One two three four. ".repeat(30), "Five six seven eight. ".repeat(30));
    let page = markdown(&text);
    let options = |method| ChunkOptions { method, target: 32, maximum: 400, overlap: 0.2, ..ChunkOptions::default() };
    let structure = chunks_of(&page, &options(Method::Structure));
    assert_eq!(structure.len(), 2);
    for chunk in chunks_of(&page, &options(Method::Sentence)) {
        assert!(chunk.tokens <= 32 + 8 && chunk.text(&page).ends_with('.'));
    }
    let fixed = chunks_of(&page, &options(Method::Fixed));
    let (last, others) = fixed.split_last().unwrap();
    assert!(last.tokens <= 32 && others.iter().all(|chunk| (30..=32).contains(&chunk.tokens)), "{fixed:?}");
    for pair in fixed.windows(2) {
        let repeated = pair[1].repeated.first().map_or(0, ExactSizeIterator::len);
        assert!(repeated > 0 || page.slice(&pair[1].spans[0].bytes).starts_with("Five"), "{pair:?}");
    }
    assert!(chunk(&page, None, &wordpiece(), &options(Method::Semantic), None).is_err());
    let vectors = UnitVectors { dimension: 1, values: &[1.0] };
    assert!(chunk(&page, None, &wordpiece(), &options(Method::Semantic), Some(vectors)).is_err());
}

#[test]
fn a_heading_that_nobody_closed_is_text() {
    let text = "Words of a page that go on. ".repeat(1 << 20 >> 5);
    for page in [
        crate::markup::parse_html(&format!("<h1 id=top>{text}"), &Options::default()).unwrap(),
        markdown(&format!("# {text}")),
        markdown(&format!("before\n\n# {text}\n\nafter")),
    ] {
        let chunks = chunk(&page, None, &wordpiece(), &ChunkOptions::default(), None).unwrap();
        assert!((100..1000).contains(&chunks.len()), "{} chunks", chunks.len());
        let carried = chunks.iter().flat_map(|chunk| chunk.heading_path.iter().chain(&chunk.section));
        assert!(carried.map(String::len).sum::<usize>() < text.len());
    }
}

#[test]
fn headings_alone_fill_chunks() {
    let page = markdown(&format!("# {}", words(60, "time")));
    let options = ChunkOptions { target: 16, maximum: 16, overlap: 0.0, ..ChunkOptions::default() };
    let chunks = chunks_of(&page, &options);
    assert_eq!(chunks.iter().map(|chunk| chunk.tokens).collect::<Vec<_>>(), [16, 16, 16, 12]);
}

/// Pages of every kind, by every reader.
fn specimen() -> Vec<Page> {
    let options = Options { omitted: vec!["Internal notes".to_owned()], ..Options::default() };
    let long = "One sentence follows another. ".repeat(80);
    let code = "let it = be;\n\n".repeat(200);
    let article = include_str!("../../tests/golden/article.md");
    vec![
        parse_markdown(article, &options).unwrap(),
        parse_markdown(&format!("{article}\n\n## Internal notes\n\nNo.\n\n## Long\n\n{long}\n\n- {long}\n"), &options)
            .unwrap(),
        parse_html(include_str!("../../tests/golden/article.html"), &options).unwrap(),
        parse_html(
            "<h1>Help</h1><details><summary>Why?</summary><p>So.</details><figure><img src=a.png alt='A fine view'>",
            &options,
        )
        .unwrap(),
        crate::markup::parse_content(
            "<h1>Sheet</h1><a name='page=1'></a><p>One.<a name='page=2'></a><p>Two.",
            &options,
        )
        .unwrap(),
        crate::markup::parse_plain(&format!("First line.\nSecond.\n\n{long}"), &options).unwrap(),
        parse_markdown(&format!("```\n{code}```"), &options).unwrap(),
        parse_csv("term,aliases,definition\nRound,lap|circuit,Once around.\n", &options).unwrap(),
    ]
}

#[test]
fn the_fingerprint_is_that_of_what_is_done() {
    use std::fmt::Write;
    let mut seen = String::new();
    for page in specimen() {
        write!(seen, "{:?}{:?}", page.text, page.blocks).unwrap();
        for method in METHODS {
            for kind in [None, Some(PageKind::Glossary), Some(PageKind::Faq)] {
                for target in [40, 400] {
                    let options = ChunkOptions { method, target, maximum: 2 * target, ..ChunkOptions::default() };
                    write!(seen, "{:?}", chunks_as(&page, kind, &options)).unwrap();
                }
            }
        }
    }
    let computed = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(seen.as_bytes()));
    assert_eq!(FINGERPRINT, computed, "raise FINGERPRINT to {computed}");
}
