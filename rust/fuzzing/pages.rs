//! Pages as somebody else writes them.

use std::path::Path;
use std::sync::OnceLock;

use rustc_hash::FxHashSet;
use unicode_normalization::is_nfc;

use crate::chunking::{Chunk, ChunkOptions, Method, chunk};
use crate::error::Error;
use crate::markup::{
    Block, BlockKind, Dialect, Links, Options, Page, PageKind, SlugStyle, decode, decode_html, parse_content,
    parse_html, parse_markdown, parse_plain,
};
use crate::wordpiece::WordPiece;

/// Sizes of chunks, of which an input's first byte chooses.
const SIZES: [(u32, u32, f32); 4] = [(400, 800, 0.15), (1, 8, 0.5), (12, 20, 0.0), (40, 60, 0.25)];

/// Any bytes as HTML: a page whose text, blocks and chunks are sound, read as a site's page or as content alone.
pub fn html(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let Ok(text) = decode_html(bytes) else { return };
    let parse = if choice & 1 == 0 { parse_html } else { parse_content };
    let page = parse(&text, &Options::default()).expect("HTML can always be read");
    check(&page, choice >> 1);
}

/// Any bytes as Markdown in each dialect, or as plain text, with each generator's anchors, and with sections left out.
pub fn markdown(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let Ok(text) = decode(bytes) else { return };
    let slugs = [
        None,
        Some(SlugStyle::GitHub),
        Some(SlugStyle::Docusaurus),
        Some(SlugStyle::MkDocs),
        Some(SlugStyle::Sphinx),
        Some(SlugStyle::GitLab),
    ];
    let omitted = if choice & 32 == 0 { Vec::new() } else { vec!["b".to_owned(), "left out".to_owned()] };
    let dialect = [Dialect::Common, Dialect::Mdx, Dialect::MkDocs][usize::from(choice & 3).min(2)];
    let options = Options { slugs: slugs[usize::from(choice >> 2) % slugs.len()], dialect, omitted };
    let parse = if choice & 3 == 3 { parse_plain } else { parse_markdown };
    match parse(&text, &options) {
        Ok(page) => check(&page, choice >> 2),
        Err(Error::DocumentUnreadable { reason }) => assert!(reason.starts_with("front matter: "), "{reason}"),
        Err(failure) => panic!("{failure}"),
    }
}

/// Any text between fences: front matter that JSON can say, or an error that says why not; never a part of the text.
pub fn front_matter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.split(['\n', '\r']).any(|line| line.starts_with("---") || line.starts_with("...")) {
        // What follows a fence is Markdown, in which HTML may swallow the end.
        return;
    }
    let source = format!("---\n{text}\n---\n\nThe end.\n");
    match parse_markdown(&source, &Options::default()) {
        Ok(page) => {
            check_page(&page);
            assert!(page.text.ends_with("The end."));
            let json = serde_json::to_vec(&page.front_matter).expect("front matter is JSON");
            let again: serde_json::Map<_, _> = serde_json::from_slice(&json).expect("JSON can be read");
            assert_eq!(again.len(), page.front_matter.len());
        }
        Err(Error::DocumentUnreadable { reason }) => assert!(reason.starts_with("front matter: "), "{reason}"),
        Err(failure) => panic!("{failure}"),
    }
}

/// Any bytes as a page that a crawler reads: no more links than tags, none empty, instructions in lower case.
pub fn links(data: &[u8]) {
    let Ok(text) = decode_html(data) else { return };
    let found = Links::of(&text);
    let tags = text.matches('<').count();
    assert!(found.links.len() + found.alternates.len() + found.robots.len() <= tags);
    let others = [&found.base, &found.canonical, &found.refresh, &found.language];
    let targets = found.links.iter().map(|link| &link.target).chain(others.into_iter().flatten());
    for target in targets.chain(found.alternates.iter().flat_map(|(language, target)| [language, target])) {
        assert!(!target.is_empty() && target.trim() == target, "{target:?}");
    }
    for (whom, what) in &found.robots {
        assert!(["robots", "clockify-rag"].contains(&whom.as_str()));
        assert!(!what.bytes().any(|byte| byte.is_ascii_uppercase()), "{what:?}");
    }
}

fn check(page: &Page, choice: u8) {
    check_page(page);
    let (target, maximum, overlap) = SIZES[usize::from(choice) % SIZES.len()];
    for method in [Method::Structure, Method::Sentence, Method::Fixed] {
        for kind in [page.kind, Some(PageKind::Faq), Some(PageKind::Glossary)] {
            let options = ChunkOptions { method, target, maximum, overlap, ..ChunkOptions::default() };
            let chunks = chunk(page, kind, wordpiece(), &options, None).expect("these methods need no vectors");
            check_chunks(page, &chunks, &options);
        }
    }
}

fn wordpiece() -> &'static WordPiece {
    static WORDPIECE: OnceLock<WordPiece> = OnceLock::new();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/clockify_rag/models/docs-static-256-int8");
    WORDPIECE.get_or_init(|| WordPiece::open(&model.join("tokenizer.json")).expect("the package has a tokenizer"))
}

/// What must hold of any page.
pub(crate) fn check_page(page: &Page) {
    assert!(is_nfc(&page.text), "the text is not NFC");
    let mut end = 0;
    for block in &page.blocks {
        let range = &block.range;
        assert!(range.start < range.end && range.end as usize <= page.text.len());
        let between = page.text.get(end..range.start as usize).expect("ranges lie on characters and in order");
        assert_eq!(between, if end == 0 { "" } else { "\n\n" });
        end = range.end as usize;
        let mut at = range.start;
        for item in &block.items {
            assert!(at <= item.range.start && item.range.start <= item.range.end && item.range.end <= range.end);
            assert!(page.text.get(item.range.start as usize..item.range.end as usize).is_some());
            at = item.range.end;
        }
        if let Some(header) = &block.header {
            assert!(block.kind == BlockKind::Table && range.start <= header.start && header.end <= range.end);
            assert!(page.text.get(header.start as usize..header.end as usize).is_some());
        }
    }
    assert_eq!(end, page.text.len());
}

/// What must hold of the chunks of any page.
pub(crate) fn check_chunks(page: &Page, chunks: &[Chunk], options: &ChunkOptions) {
    let wordpiece = wordpiece();
    let mut covered = vec![false; page.text.len()];
    for chunk in chunks {
        assert!(!chunk.spans.is_empty());
        let mut end = None;
        for span in &chunk.spans {
            assert!(span.bytes.start < span.bytes.end && end.is_none_or(|end| end < span.bytes.start));
            end = Some(span.bytes.end);
            let before = page.text.get(..span.bytes.start as usize).expect("a span begins at a character");
            let slice = page.text.get(span.bytes.start as usize..span.bytes.end as usize).expect("and ends at one");
            assert!(!slice.trim().is_empty(), "a span is blank");
            let first = before.chars().count() as u32;
            assert_eq!(span.chars, first..first + slice.chars().count() as u32);
            covered[span.bytes.start as usize..span.bytes.end as usize].fill(true);
        }
        assert!(chunk.tokens <= options.maximum, "{} tokens", chunk.tokens);
        assert_eq!(chunk.tokens as usize, wordpiece.count(&chunk.text(page)));
        for range in &chunk.repeated {
            assert!(chunk.spans.iter().any(|span| span.bytes.start <= range.start && range.end <= span.bytes.end));
        }
    }
    let asked: FxHashSet<u32> = page.questions.iter().map(|question| question.block).collect();
    let of_text =
        |(index, block): &(usize, &Block)| block.heading_level().is_none() && !asked.contains(&(*index as u32));
    for (_, block) in page.blocks.iter().enumerate().filter(of_text) {
        let (start, end) = (block.range.start as usize, block.range.end as usize);
        for (at, _) in page.text[start..end].char_indices().filter(|(_, shown)| !shown.is_whitespace()) {
            assert_eq!(covered[start + at], block.retrievable, "byte {} of {block:?}", start + at);
        }
    }
    let mut identities: Vec<_> =
        chunks.iter().map(|chunk| (&chunk.section, chunk.kind.name(), chunk.ordinal)).collect();
    identities.sort();
    identities.dedup();
    assert_eq!(identities.len(), chunks.len());
}
