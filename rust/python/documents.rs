//! Pages, chunks and terms.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use rayon::prelude::*;
use xxhash_rust::xxh3::Xxh3;

use super::{Border, exception};
use crate::analysis::{self, Analyzer, Language};
use crate::chunking::{self, ChunkOptions, Entry, Method, Part, UnitVectors};
use crate::error::Result;
use crate::markup::{self, BlockKind, Dialect, Options, PageKind, SlugStyle};
use crate::sentences;
use crate::wordpiece::WordPiece;

/// A parsed document.
#[pyclass(frozen, module = "clockify_rag._core")]
pub(super) struct Page(Arc<markup::Page>);

#[pymethods]
impl Page {
    #[getter]
    fn text(&self) -> &str {
        &self.0.text
    }

    #[getter]
    fn blocks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let class = py.import("clockify_rag.contracts")?.getattr("Block")?;
        let blocks = PyList::empty(py);
        let mut points = Points::new(&self.0.text);
        for block in &self.0.blocks {
            let span = (points.at(block.range.start), points.at(block.range.end));
            let level = block.heading_level().unwrap_or(0);
            blocks.append(class.call1((kind_name(block.kind), span, level, &block.anchor, block.retrievable))?)?;
        }
        Ok(blocks)
    }

    #[getter]
    fn structure(&self, py: Python<'_>) -> PyResult<String> {
        py.enter(|| Ok(format!("{:032x}", structure(&self.0))))
    }

    #[getter]
    fn title(&self) -> Option<&str> {
        self.0.title.as_deref()
    }

    #[getter]
    fn breadcrumb(&self) -> Vec<String> {
        self.0.breadcrumb.clone()
    }

    #[getter]
    fn language(&self) -> Option<&str> {
        self.0.language.as_deref()
    }

    #[getter]
    fn canonical_url(&self) -> Option<&str> {
        self.0.canonical_url.as_deref()
    }

    #[getter]
    fn front_matter(&self) -> String {
        serde_json::Value::Object(self.0.front_matter.clone()).to_string()
    }

    #[getter]
    fn hidden_dropped(&self) -> u32 {
        self.0.hidden_dropped
    }

    #[getter]
    fn hub(&self) -> bool {
        self.0.hub
    }

    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind.map_or(if self.0.hub { "hub" } else { "page" }, PageKind::name)
    }
}

/// A hash of everything about a page's blocks that is not in its text.
fn structure(page: &markup::Page) -> u128 {
    let mut hash = Xxh3::new();
    for block in &page.blocks {
        hash.update(kind_name(block.kind).as_bytes());
        hash.update(&[block.heading_level().unwrap_or(0), u8::from(block.retrievable)]);
        update_range(&mut hash, Some(&block.range));
        update_range(&mut hash, block.header.as_ref());
        update_text(&mut hash, block.anchor.as_deref());
        update_text(&mut hash, block.language.as_deref());
        hash.update(&(block.items.len() as u64).to_le_bytes());
        for item in &block.items {
            update_range(&mut hash, Some(&item.range));
            update_text(&mut hash, item.anchor.as_deref());
            hash.update(&(item.parts.len() as u64).to_le_bytes());
            item.parts.iter().for_each(|part| update_range(&mut hash, Some(part)));
        }
    }
    for question in &page.questions {
        update_range(&mut hash, Some(&(question.block..question.end.unwrap_or(u32::MAX))));
    }
    for image in &page.images {
        update_text(&mut hash, Some(&image.source));
        update_range(&mut hash, image.alternative.as_ref());
        update_range(&mut hash, image.caption.as_ref());
    }
    let aliases = page.front_matter.get("aliases").map(ToString::to_string);
    update_text(&mut hash, aliases.as_deref());
    hash.digest128()
}

fn update_range(hash: &mut Xxh3, range: Option<&Range<u32>>) {
    let ends = range.map_or([u32::MAX; 2], |range| [range.start, range.end]);
    for end in ends {
        hash.update(&end.to_le_bytes());
    }
}

fn update_text(hash: &mut Xxh3, text: Option<&str>) {
    hash.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
    hash.update(text.unwrap_or_default().as_bytes());
}

fn kind_name(kind: BlockKind) -> &'static str {
    match kind {
        BlockKind::Heading(_) => "heading",
        BlockKind::Paragraph => "paragraph",
        BlockKind::List => "list",
        BlockKind::Table => "table",
        BlockKind::Code => "code",
        BlockKind::Image => "image",
        BlockKind::Quote => "quote",
    }
}

/// Bytes to code points, for bytes that mostly ascend.
struct Points<'a> {
    text: &'a str,
    byte: u32,
    point: u32,
}

impl<'a> Points<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, byte: 0, point: 0 }
    }

    fn at(&mut self, byte: u32) -> u32 {
        if byte < self.byte {
            (self.byte, self.point) = (0, 0);
        }
        let between = self.text.get(self.byte as usize..byte as usize).unwrap_or_default();
        self.point += between.chars().count() as u32;
        self.byte = byte;
        self.point
    }
}

/// Reads the bytes of a document.
type Reader = fn(&[u8], &Options) -> Result<markup::Page>;

/// Parses documents of one format on all threads; one that cannot be read is its error instead of a page.
#[pyfunction]
#[pyo3(signature = (format, contents, slugs = None, omitted = Vec::new()))]
#[allow(clippy::needless_pass_by_value)]
pub(super) fn parse<'py>(
    py: Python<'py>,
    format: &str,
    contents: Vec<Bound<'py, PyBytes>>,
    slugs: Option<&str>,
    omitted: Vec<String>,
) -> PyResult<Bound<'py, PyList>> {
    let slugs = match slugs {
        Some(name) => {
            Some(SlugStyle::from_name(name).ok_or_else(|| PyValueError::new_err(format!("unknown slugs: {name:?}")))?)
        }
        None => None,
    };
    let (reader, dialect): (Reader, Dialect) = match format {
        "markdown" => (read_markdown, Dialect::Common),
        "mdx" => (read_markdown, Dialect::Mdx),
        "mkdocs" => (read_markdown, Dialect::MkDocs),
        "html" => (read_html, Dialect::Common),
        "content" => (read_content, Dialect::Common),
        "text" => (read_plain, Dialect::Common),
        "csv" => (read_csv, Dialect::Common),
        _ => return Err(PyValueError::new_err(format!("unknown format: {format:?}"))),
    };
    let options = Options { slugs, dialect, omitted };
    let bytes: Vec<&[u8]> = contents.iter().map(PyBytesMethods::as_bytes).collect();
    let pages: Vec<Result<markup::Page>> =
        py.enter_parallel(|| Ok(bytes.par_iter().map(|bytes| reader(bytes, &options)).collect()))?;
    let parsed = PyList::empty(py);
    for page in pages {
        match page {
            Ok(page) => parsed.append(Page(Arc::new(page)))?,
            Err(error) => parsed.append(exception(py, &error).into_value(py))?,
        }
    }
    Ok(parsed)
}

/// What a page says to a crawler, as plain values.
type PageLinks = (
    Vec<(String, bool)>,
    Option<String>,
    Option<String>,
    Vec<(String, String)>,
    Vec<(String, String)>,
    Option<String>,
    Option<String>,
);

/// Reads what an HTML page says to a crawler.
#[pyfunction]
pub(super) fn links(py: Python<'_>, content: &[u8]) -> PyResult<PageLinks> {
    let found = py.enter(|| Ok(markup::Links::of(&markup::decode_html(content)?)))?;
    let links = found.links.into_iter().map(|link| (link.target, link.nofollow)).collect();
    Ok((links, found.base, found.canonical, found.alternates, found.robots, found.refresh, found.language))
}

fn read_markdown(bytes: &[u8], options: &Options) -> Result<markup::Page> {
    markup::parse_markdown(&markup::decode(bytes)?, options)
}

fn read_html(bytes: &[u8], options: &Options) -> Result<markup::Page> {
    markup::parse_html(&markup::decode_html(bytes)?, options)
}

fn read_content(bytes: &[u8], options: &Options) -> Result<markup::Page> {
    markup::parse_content(&markup::decode(bytes)?, options)
}

fn read_plain(bytes: &[u8], options: &Options) -> Result<markup::Page> {
    markup::parse_plain(&markup::decode(bytes)?, options)
}

fn read_csv(bytes: &[u8], options: &Options) -> Result<markup::Page> {
    markup::parse_csv(&markup::decode(bytes)?, options)
}

/// A `WordPiece` vocabulary; the shipped one is that in which chunks and budgets are counted.
#[pyclass(frozen, module = "clockify_rag._core")]
pub(super) struct Tokenizer(WordPiece);

#[pymethods]
impl Tokenizer {
    #[new]
    #[allow(clippy::needless_pass_by_value)]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.enter(|| WordPiece::open(&path)).map(Self)
    }

    #[allow(clippy::needless_pass_by_value)]
    fn count(&self, py: Python<'_>, texts: Vec<String>) -> PyResult<Vec<usize>> {
        py.enter_parallel(|| Ok(texts.par_iter().map(|text| self.0.count(text)).collect()))
    }

    #[allow(clippy::needless_pass_by_value)]
    fn encode(&self, py: Python<'_>, texts: Vec<String>) -> PyResult<Vec<Vec<u32>>> {
        py.enter_parallel(|| {
            let ids = |text: &String| {
                let mut ids = Vec::new();
                self.0.encode(text, &mut ids);
                ids
            };
            Ok(texts.par_iter().map(ids).collect())
        })
    }
}

type Span = (u32, u32);
type PieceParts = Vec<(&'static str, Span, Vec<String>, Vec<Vec<String>>)>;
type Piece = (&'static str, Vec<String>, Option<String>, Vec<Span>, Vec<Span>, u32, PieceParts, String);

/// How pages are cut.
#[pyclass(frozen, module = "clockify_rag._core")]
pub(super) struct Cutting(ChunkOptions);

#[pymethods]
impl Cutting {
    #[new]
    #[pyo3(signature = (method, target, maximum, overlap, *, table, images))]
    fn new(method: &str, target: u32, maximum: u32, overlap: f32, table: u32, images: bool) -> PyResult<Self> {
        let unknown = || PyValueError::new_err(format!("unknown method: {method:?}"));
        let method = Method::from_name(method).ok_or_else(unknown)?;
        Ok(Self(ChunkOptions { method, target, maximum, overlap, table, images }))
    }
}

/// Pages with what each is said to be: `glossary`, `faq`, anything else for neither.
type Pages<'py> = Vec<(PyRef<'py, Page>, String)>;

fn shared(pages: &Pages<'_>) -> Vec<(Arc<markup::Page>, Option<PageKind>)> {
    pages.iter().map(|(page, kind)| (Arc::clone(&page.0), PageKind::from_name(kind))).collect()
}

/// Cuts pages into chunks on all threads.
#[pyfunction]
#[pyo3(signature = (pages, tokenizer, cutting, vectors = None))]
#[allow(clippy::needless_pass_by_value)]
pub(super) fn chunk(
    py: Python<'_>,
    pages: Pages<'_>,
    tokenizer: PyRef<'_, Tokenizer>,
    cutting: PyRef<'_, Cutting>,
    vectors: Option<(usize, Vec<Bound<'_, PyBytes>>)>,
) -> PyResult<Vec<Vec<Piece>>> {
    let pages = shared(&pages);
    let rows: Option<(usize, Vec<&[u8]>)> =
        vectors.as_ref().map(|(dimension, rows)| (*dimension, rows.iter().map(PyBytesMethods::as_bytes).collect()));
    let (wordpiece, options) = (&tokenizer.0, &cutting.0);
    py.enter_parallel(|| {
        let cut = |(index, (page, kind)): (usize, &(Arc<markup::Page>, Option<PageKind>))| {
            let own = rows.as_ref().map(|(dimension, rows)| (*dimension, rows.get(index).copied().unwrap_or_default()));
            pieces(page, *kind, wordpiece, options, own)
        };
        pages.par_iter().enumerate().map(cut).collect()
    })
}

/// The texts that the method puts together, page by page: what it needs vectors of.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)]
pub(super) fn chunk_units(
    py: Python<'_>,
    pages: Pages<'_>,
    tokenizer: PyRef<'_, Tokenizer>,
    cutting: PyRef<'_, Cutting>,
) -> PyResult<Vec<Vec<String>>> {
    let pages = shared(&pages);
    let (wordpiece, options) = (&tokenizer.0, &cutting.0);
    py.enter_parallel(|| {
        let units = |(page, kind): &(Arc<markup::Page>, Option<PageKind>)| {
            let ranges = chunking::units(page, *kind, wordpiece, options);
            ranges.iter().map(|range| page.slice(range).to_owned()).collect()
        };
        Ok(pages.par_iter().map(units).collect())
    })
}

fn pieces(
    page: &markup::Page,
    kind: Option<PageKind>,
    wordpiece: &WordPiece,
    options: &ChunkOptions,
    vectors: Option<(usize, &[u8])>,
) -> Result<Vec<Piece>> {
    let values: Option<(usize, Vec<f32>)> = vectors.map(|(dimension, bytes)| {
        let (numbers, _) = bytes.as_chunks::<4>();
        (dimension, numbers.iter().map(|&number| f32::from_le_bytes(number)).collect())
    });
    let vectors = values.as_ref().map(|(dimension, values)| UnitVectors { dimension: *dimension, values });
    let mut points = Points::new(&page.text);
    let chunks = chunking::chunk(page, kind, wordpiece, options, vectors)?;
    Ok(chunks
        .into_iter()
        .map(|chunk| {
            let text = chunk.text(page);
            let spans = chunk.spans.iter().map(|span| (span.chars.start, span.chars.end)).collect();
            let repeated = chunk.repeated.iter().map(|range| (points.at(range.start), points.at(range.end))).collect();
            let parts = chunk.parts.into_iter().map(|part| piece_part(part, &mut points)).collect();
            (chunk.kind.name(), chunk.heading_path, chunk.anchor, spans, repeated, chunk.tokens, parts, text)
        })
        .collect())
}

fn piece_part(part: Part, points: &mut Points<'_>) -> (&'static str, Span, Vec<String>, Vec<Vec<String>>) {
    let mut span = |range: &Range<u32>| (points.at(range.start), points.at(range.end));
    match part {
        Part::Entry(Entry::Term { term, mut aliases }) => {
            aliases.insert(0, term);
            ("term", (0, 0), aliases, Vec::new())
        }
        Part::Entry(Entry::Question(question)) => ("question", (0, 0), vec![question], Vec::new()),
        Part::Table { range, header, mut rows } => {
            rows.insert(0, header);
            ("table", span(&range), Vec::new(), rows)
        }
        Part::Code { range, language } => ("code", span(&range), vec![language], Vec::new()),
        Part::Image { range, source, alternative, caption } => {
            ("image", span(&range), vec![source, alternative, caption], Vec::new())
        }
    }
}

/// The language of a text, or `fallback`.
#[pyfunction]
pub(super) fn detect_language(text: &str, fallback: &str) -> String {
    analysis::detect_code(text, fallback)
}

/// The sentences of a text, in code points.
#[pyfunction]
pub(super) fn sentence_spans(py: Python<'_>, text: &str) -> PyResult<Vec<(usize, usize)>> {
    py.enter(|| Ok(in_characters(text, &sentences::units(text))))
}

/// The lines of a text, in code points.
#[pyfunction]
pub(super) fn line_spans(py: Python<'_>, text: &str) -> PyResult<Vec<(usize, usize)>> {
    py.enter(|| Ok(in_characters(text, &sentences::lines(text))))
}

/// The paragraphs, lists and tables of a text, in code points.
#[pyfunction]
pub(super) fn block_spans(py: Python<'_>, text: &str) -> PyResult<Vec<(usize, usize)>> {
    py.enter(|| Ok(in_characters(text, &sentences::blocks(text))))
}

/// The number of words of a text.
#[pyfunction]
pub(super) fn word_count(text: &str) -> usize {
    sentences::word_count(text)
}

/// Ranges of bytes that follow one another, in code points.
pub(super) fn in_characters(text: &str, ranges: &[Range<usize>]) -> Vec<(usize, usize)> {
    let count = |range: Range<usize>| text.get(range).map_or(0, |piece| piece.chars().count());
    let (mut byte, mut character) = (0, 0);
    let mut place = |at: usize| {
        character += count(byte..at);
        byte = at;
        character
    };
    ranges.iter().map(|range| (place(range.start), place(range.end))).collect()
}

/// The terms of a text: term, first and last code point, position.
#[pyfunction]
pub(super) fn analyse(py: Python<'_>, text: &str, language: &str) -> PyResult<Vec<(String, u32, u32, u32)>> {
    py.enter(|| {
        let mut points = Points::new(text);
        let mut terms = Vec::new();
        Analyzer::new(Language::from_code(language)).analyze(text, |token| {
            terms.push((token.term.to_owned(), points.at(token.start), points.at(token.end), token.position));
        });
        Ok(terms)
    })
}

/// A hash of what readers of pages and the built-in chunkers do.
#[pyfunction]
pub(super) fn chunking_fingerprint() -> &'static str {
    chunking::FINGERPRINT
}

/// A hash of what the analyser does.
#[pyfunction]
pub(super) fn analyser_fingerprint() -> &'static str {
    analysis::FINGERPRINT
}

/// The terms that a question is searched by.
#[pyfunction]
pub(super) fn question_terms(question: &str, language: &str) -> Vec<String> {
    analysis::question_terms(question, Language::from_code(language))
}
