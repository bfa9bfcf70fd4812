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
use crate::chunking::{self, ChunkOptions};
use crate::error::Result;
use crate::markup::{self, BlockKind, Dialect, Options, SlugStyle};
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
        }
    }
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
type Piece = (&'static str, Vec<String>, Option<String>, Vec<Span>, Vec<Span>, u32, u32, String);

/// Cuts pages by their structure on all threads.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)]
pub(super) fn chunk(
    py: Python<'_>,
    pages: Vec<PyRef<'_, Page>>,
    tokenizer: PyRef<'_, Tokenizer>,
    target: u32,
    maximum: u32,
    overlap: f32,
) -> PyResult<Vec<Vec<Piece>>> {
    let pages: Vec<Arc<markup::Page>> = pages.iter().map(|page| Arc::clone(&page.0)).collect();
    let wordpiece = &tokenizer.0;
    let options = ChunkOptions { target, maximum, overlap };
    py.enter_parallel(|| Ok(pages.par_iter().map(|page| pieces(page, wordpiece, &options)).collect()))
}

fn pieces(page: &markup::Page, wordpiece: &WordPiece, options: &ChunkOptions) -> Vec<Piece> {
    let mut points = Points::new(&page.text);
    chunking::chunk(page, wordpiece, options)
        .into_iter()
        .map(|chunk| {
            let slices: Vec<&str> = chunk.spans.iter().map(|span| page.slice(&span.bytes)).collect();
            let text = slices.join("\n");
            let spans = chunk.spans.iter().map(|span| (span.chars.start, span.chars.end)).collect();
            let repeated = chunk.repeated.iter().map(|range| (points.at(range.start), points.at(range.end))).collect();
            let kind = chunk.kind.name();
            (kind, chunk.heading_path, chunk.anchor, spans, repeated, chunk.tokens, chunk.ordinal, text)
        })
        .collect()
}

/// The language of a text, or `fallback`.
#[pyfunction]
pub(super) fn detect_language(text: &str, fallback: &str) -> String {
    analysis::detect_code(text, fallback)
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
