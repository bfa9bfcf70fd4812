//! Blocks to chunks under a token target, as ranges of the canonical text.
//!
//! A chunk never leaves its section, so its anchor and heading path hold for every word of it. Inside a section units are
//! put together up to the target; what a unit is, and where a chunk may end, is the method's matter, everything else is the
//! same for all. Tokens are counted once for the whole page: a token never crosses white space, so the count of a range is
//! the difference of two positions among the tokens' ends.

use std::ops::Range;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::error::{Error, Result};
use crate::markup::{Image, Page, PageKind};
use crate::wordpiece::WordPiece;

mod parts;
mod sections;
mod semantic;
mod units;

use sections::{Content, Path};
pub use semantic::UnitVectors;
use units::Unit;

/// A hash of what becomes of a specimen, by every reader and every method: chunks of another are made anew. A test computes
/// it, so that no change of behaviour is forgotten.
pub const FINGERPRINT: &str = "ad90ba99c1f855df3f93405eb4633c27";

/// A chunk's longest text in bytes for each token of the maximum: `WordPiece` counts a word it does not know as one token,
/// however long.
const BYTES_PER_TOKEN: usize = 32;

/// Images of one page beyond so many have no chunk.
const MAXIMUM_IMAGES: usize = 1000;

/// How chunks are cut. Sizes are in `WordPiece` tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkOptions {
    /// What is kept whole, and where a chunk may end.
    pub method: Method,
    /// Units of a section are put together up to this size.
    pub target: u32,
    /// No chunk is larger.
    pub maximum: u32,
    /// The share of the target that a chunk repeats of the text before it in its section.
    pub overlap: f32,
    /// A table of at least so many tokens is a chunk of its own; a smaller one stays with the text around it.
    pub table: u32,
    /// Whether an image that is described is a chunk besides.
    pub images: bool,
}

impl Default for ChunkOptions {
    fn default() -> Self {
        Self { method: Method::Structure, target: 400, maximum: 800, overlap: 0.15, table: 200, images: true }
    }
}

/// What a chunk is put together of, and where it may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Whole blocks; a list, table or code is cut only beyond the maximum. Sentences are repeated.
    Structure,
    /// Sentences, items and whole tables and code.
    Sentence,
    /// The same, ending where the vectors of neighbours part.
    Semantic,
    /// Words, whatever they are part of.
    Fixed,
}

impl Method {
    /// The method of a name as it stands in the configuration.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "structure" => Some(Self::Structure),
            "sentence" => Some(Self::Sentence),
            "semantic" => Some(Self::Semantic),
            "fixed" => Some(Self::Fixed),
            _ => None,
        }
    }
}

/// What most of a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChunkKind {
    /// Running text.
    Text,
    /// A list.
    List,
    /// A table.
    Table,
    /// Code.
    Code,
    /// A term of a glossary with its definition.
    Glossary,
    /// A question of a page of questions with its answer.
    Faq,
    /// What is said of an image.
    Image,
    /// Any part of a page that is (almost) only links, and a heading under which nothing stands; never quoted.
    Hub,
}

impl ChunkKind {
    /// The kind's name, as it is stored and printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::List => "list",
            Self::Table => "table",
            Self::Code => "code",
            Self::Glossary => "glossary",
            Self::Faq => "faq",
            Self::Image => "image",
            Self::Hub => "hub",
        }
    }
}

/// What a chunk is about, where its page is a list of terms or questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A defined term.
    Term {
        /// The term without its aliases.
        term: String,
        /// Its other names.
        aliases: Vec<String>,
    },
    /// A question.
    Question(String),
}

impl Entry {
    fn kind(&self) -> ChunkKind {
        match self {
            Self::Term { .. } => ChunkKind::Glossary,
            Self::Question(_) => ChunkKind::Faq,
        }
    }
}

/// What a chunk holds beside running text, or is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The term or question that it is about.
    Entry(Entry),
    /// A table, or the rows of one that are whole in the chunk.
    Table {
        /// The bytes of the canonical text from the first row to the last.
        range: Range<u32>,
        /// The cells of the header row; empty where there is none.
        header: Vec<String>,
        /// The cells of the other rows.
        rows: Vec<Vec<String>>,
    },
    /// Code in a language that the page names.
    Code {
        /// The bytes of the canonical text.
        range: Range<u32>,
        /// The language, as the page names it.
        language: String,
    },
    /// An image.
    Image {
        /// The bytes of the canonical text that describe it.
        range: Range<u32>,
        /// Its address, as the page writes it.
        source: String,
        /// Its alternative text.
        alternative: String,
        /// Its caption.
        caption: String,
    },
}

/// A half-open range of the canonical text, in bytes and in Unicode code points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// In bytes of UTF-8.
    pub bytes: Range<u32>,
    /// In code points.
    pub chars: Range<u32>,
}

/// A retrieved unit: ranges of its page's canonical text. Its text is exactly those ranges joined by one line end.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// What most of it is.
    pub kind: ChunkKind,
    /// The headings above it, outermost first, and the term or question that it is about.
    pub heading_path: Vec<String>,
    /// The anchor of the nearest heading at or above it that has one; of a piece of a list of definitions the anchor of
    /// its first term, where it has one.
    pub anchor: Option<String>,
    /// Which section of the page it belongs to: for each heading above it the anchor, or the folded heading where there
    /// is none. With kind and ordinal it identifies the chunk in its document.
    pub section: Vec<String>,
    /// Its number among the chunks of its section and kind.
    pub ordinal: u32,
    /// Its ranges in the order of the text; they neither touch nor overlap.
    pub spans: Vec<Span>,
    /// Its size in `WordPiece` tokens.
    pub tokens: u32,
    /// What of it is searched with other chunks of the page already, in bytes of the canonical text: overlap, a repeated
    /// header row, what describes an image, a heading.
    pub repeated: Vec<Range<u32>>,
    /// What it is about, and what it holds beside running text.
    pub parts: Vec<Part>,
}

impl Chunk {
    /// The chunk's text.
    #[must_use]
    pub fn text(&self, page: &Page) -> String {
        let slices: Vec<&str> = self.spans.iter().map(|span| page.slice(&span.bytes)).collect();
        slices.join("\n")
    }

    /// Where what no earlier chunk holds begins.
    fn position(&self) -> u32 {
        let spans = self.spans.iter().filter_map(|span| {
            let repeated =
                self.repeated.iter().find(|range| range.start == span.bytes.start && range.end <= span.bytes.end);
            let start = repeated.map_or(span.bytes.start, |range| range.end);
            (start < span.bytes.end).then_some(start)
        });
        spans.min().or(self.spans.first().map(|span| span.bytes.start)).unwrap_or(0)
    }
}

/// Cuts a page into chunks, in the order of the text. `kind` is what the page is, where somebody says so; `vectors` are those
/// of its [`units`], which the method [`Method::Semantic`] needs.
///
/// # Errors
/// [`Error::InvalidArgument`] where that method is given no vectors, or another number of them.
pub fn chunk(
    page: &Page,
    kind: Option<PageKind>,
    wordpiece: &WordPiece,
    options: &ChunkOptions,
    vectors: Option<UnitVectors<'_>>,
) -> Result<Vec<Chunk>> {
    let mut chunker = Chunker::new(page, wordpiece, options);
    let mut breaks = Vec::new();
    if options.method == Method::Semantic {
        let mut sections = Vec::new();
        sections::each(page, kind, |_, contents, _| sections.push(chunker.units(contents).len()));
        let rows = sections.iter().sum::<usize>();
        breaks = match vectors {
            Some(vectors) if vectors.values.len() == rows * vectors.dimension => semantic::breaks(vectors, &sections),
            _ => return Err(Error::InvalidArgument(format!("a page of {rows} units needs as many vectors"))),
        };
    }
    let mut breaks = breaks.into_iter();
    sections::each(page, kind, |path, contents, entry| {
        let units = chunker.units(contents);
        let breaks = breaks.next().unwrap_or_default();
        chunker.cut(&Form { path, entry, kind: None }, &units, &breaks);
    });
    if chunker.chunks.is_empty() {
        chunker.headings_alone();
    }
    chunker.annexes();
    chunker.chunks.sort_by_key(Chunk::position);
    Ok(chunker.chunks)
}

/// The ranges of a page's text that the method puts together, section by section: what [`Method::Semantic`] needs vectors of.
#[must_use]
pub fn units(page: &Page, kind: Option<PageKind>, wordpiece: &WordPiece, options: &ChunkOptions) -> Vec<Range<u32>> {
    let chunker = Chunker::new(page, wordpiece, options);
    let mut ranges = Vec::new();
    sections::each(page, kind, |_, contents, _| {
        ranges.extend(chunker.units(contents).into_iter().map(|unit| unit.range));
    });
    ranges
}

/// What the chunks of a section have in common.
struct Form<'a> {
    path: &'a Path,
    entry: Option<&'a Entry>,
    /// Their kind, where it does not follow from what they hold.
    kind: Option<ChunkKind>,
}

struct Chunker<'a> {
    page: &'a Page,
    wordpiece: &'a WordPiece,
    options: ChunkOptions,
    ends: Vec<u32>,
    characters: Characters,
    ordinals: FxHashMap<(Vec<String>, ChunkKind), u32>,
    chunks: Vec<Chunk>,
}

impl<'a> Chunker<'a> {
    fn new(page: &'a Page, wordpiece: &'a WordPiece, options: &ChunkOptions) -> Self {
        let maximum = options.maximum.max(8);
        let overlap = if options.overlap.is_finite() { options.overlap.clamp(0.0, 0.5) } else { 0.0 };
        let mut ends = Vec::with_capacity(page.text.len() / 4);
        wordpiece.ends(&page.text, &mut ends);
        Self {
            page,
            wordpiece,
            options: ChunkOptions { target: options.target.clamp(1, maximum), maximum, overlap, ..options.clone() },
            ends,
            characters: Characters::of(&page.text),
            ordinals: FxHashMap::default(),
            chunks: Vec::new(),
        }
    }

    /// The tokens of a range that begins and ends beside white space.
    fn tokens(&self, range: &Range<u32>) -> u32 {
        let before = |at: u32| self.ends.partition_point(|&end| end <= at);
        (before(range.end) - before(range.start).min(before(range.end))) as u32
    }

    fn bytes_maximum(&self) -> u32 {
        (self.options.maximum as usize * BYTES_PER_TOKEN) as u32
    }

    fn fits(&self, range: &Range<u32>) -> bool {
        self.tokens(range) <= self.options.maximum && range.end - range.start <= self.bytes_maximum()
    }

    /// Puts the units of one section into chunks. A chunk may end before the units of which `breaks` says so.
    fn cut(&mut self, form: &Form<'_>, units: &[Unit], breaks: &[bool]) {
        // What answers one question or defines one term is taken apart only where it must be.
        let target = if form.entry.is_some() { self.options.maximum } else { self.options.target };
        let mut start = 0;
        let mut carried: Option<Range<u32>> = None;
        while start < units.len() {
            let room = carried.as_ref().map_or(0, |range| self.tokens(range));
            let filled = self.fill(units, start, room, target);
            let end = if form.entry.is_some() { filled } else { self.before_break(units, breaks, start..filled) };
            let part = units.get(start..end).unwrap_or_default();
            self.push(form, part, carried.take());
            carried = units.get(end).filter(|_| end == filled).and_then(|next| match self.options.method {
                Method::Structure => self.overlap(part, next),
                _ => self.overlapped_units(part, next),
            });
            start = end;
        }
    }

    /// The end of the chunk that begins with unit `start`, of which `room` tokens are already taken.
    fn fill(&self, units: &[Unit], start: usize, room: u32, target: u32) -> usize {
        let maximum = self.options.maximum;
        let mut size = room;
        let mut end = start;
        let mut bytes = 0;
        while let Some(unit) = units.get(end) {
            let header = unit.header.as_ref().map_or(0, |header| self.tokens(header));
            let grown = size + unit.tokens + if end == start { header } else { 0 };
            bytes += unit.range.end - unit.range.start;
            let last = end.checked_sub(1).filter(|_| end > start).and_then(|last| units.get(last));
            // A table's later piece brings its header row as a span of its own, so it begins a chunk.
            let begun = |header: &Range<u32>| {
                let mut units = units.get(start..end).unwrap_or_default().iter();
                units.any(|unit| unit.header.as_ref() == Some(header) || unit.range.contains(&header.start))
            };
            let headed = unit.header.as_ref().is_some_and(|header| !begun(header));
            let apart = last.is_some_and(|last| headed || last.alone != unit.alone);
            if end > start && (grown > maximum || bytes > self.bytes_maximum() || apart) {
                break;
            }
            // A line that ends in a colon introduces what follows; a short rest is no chunk of its own.
            let introduces = last.is_some_and(|last| self.page.slice(&last.range).ends_with(':'));
            let stretch = !unit.piece && (introduces || size < target / 4);
            let is_rest =
                || self.options.method != Method::Fixed && is_rest(units.get(end..).unwrap_or_default(), target / 4);
            if end > start && grown > target && !stretch && !is_rest() {
                break;
            }
            size = grown;
            end += 1;
        }
        end.max(start + 1)
    }

    /// The first break in a range of units that leaves a chunk of at least a quarter of the target, else the range's end.
    fn before_break(&self, units: &[Unit], breaks: &[bool], range: Range<usize>) -> usize {
        let mut size = 0;
        for index in range.clone() {
            if breaks.get(index) == Some(&true) && size * 4 >= self.options.target {
                return index;
            }
            size += units.get(index).map_or(0, |unit| unit.tokens);
        }
        range.end
    }

    /// The sentences at the end of `part` that the next chunk repeats: only running text, and never all of it.
    fn overlap(&self, part: &[Unit], next: &Unit) -> Option<Range<u32>> {
        let fits =
            |last: &&Unit| last.prose && (next.prose || !next.piece) && next.header.is_none() && next.alone.is_none();
        let last = part.last().filter(fits)?;
        let room = self.overlap_room(next);
        let mut start = last.range.end;
        for sentence in units::sentences(self.page, &last.range).into_iter().rev() {
            let grown = sentence.start..last.range.end;
            if self.tokens(&grown) > room || grown.end - grown.start > self.bytes_maximum() / 8 {
                break;
            }
            start = sentence.start;
        }
        let whole = part.len() == 1 && start <= last.range.start;
        (start < last.range.end && !whole).then_some(start..last.range.end)
    }

    /// The units at the end of `part` that the next chunk repeats: those that stand directly before it, and never all.
    fn overlapped_units(&self, part: &[Unit], next: &Unit) -> Option<Range<u32>> {
        let fixed = self.options.method == Method::Fixed;
        if !next.joined || !fixed && !next.prose || next.header.is_some() || next.alone.is_some() {
            return None;
        }
        let room = self.overlap_room(next);
        let end = part.last()?.range.end;
        let mut start = end;
        for unit in part.iter().skip(1).rev() {
            let grown = unit.range.start..end;
            let repeatable = fixed || unit.prose;
            if !repeatable || self.exact_tokens(&grown) > room || grown.end - grown.start > self.bytes_maximum() / 8 {
                break;
            }
            start = grown.start;
            if !unit.joined {
                break;
            }
        }
        (start < end).then_some(start..end)
    }

    /// How many tokens may be repeated before a unit.
    fn overlap_room(&self, next: &Unit) -> u32 {
        let most = (self.options.target as f32 * self.options.overlap) as u32;
        self.options.maximum.saturating_sub(next.tokens).min(most)
    }

    fn push(&mut self, form: &Form<'_>, units: &[Unit], carried: Option<Range<u32>>) {
        let Some(first) = units.first() else { return };
        let mut ranges: Vec<Range<u32>> = Vec::with_capacity(2);
        let mut repeated = Vec::new();
        if let Some(header) = &first.header {
            ranges.push(header.clone());
            repeated.push(header.clone());
        }
        if let Some(overlap) = carried {
            repeated.push(overlap.clone());
            ranges.push(overlap);
        }
        for (index, unit) in units.iter().enumerate() {
            match ranges.last_mut() {
                Some(range) if unit.joined && (index > 0 || first.header.is_none()) => range.end = unit.range.end,
                _ => ranges.push(unit.range.clone()),
            }
        }
        let whole = if first.alone.is_some() { ChunkKind::Table } else { main_kind(units) };
        let own = if self.page.hub { ChunkKind::Hub } else { whole };
        let kind = form.kind.or(form.entry.map(Entry::kind)).unwrap_or(own);
        let anchor = first.anchor.clone().or_else(|| form.path.anchor());
        let anchor = anchor.or_else(|| self.nearest_anchor(first.range.start));
        self.add(kind, form, anchor, ranges, repeated, None);
    }

    /// Adds a chunk of the given ranges.
    fn add(
        &mut self,
        kind: ChunkKind,
        form: &Form<'_>,
        anchor: Option<String>,
        ranges: Vec<Range<u32>>,
        repeated: Vec<Range<u32>>,
        image: Option<Part>,
    ) {
        let tokens = ranges.iter().map(|range| self.exact_tokens(range)).sum();
        let spans: Vec<Span> = ranges.into_iter().map(|bytes| self.characters.span(&self.page.text, bytes)).collect();
        let mut parts: Vec<Part> = form.entry.cloned().map(Part::Entry).into_iter().chain(image).collect();
        if !matches!(kind, ChunkKind::Image | ChunkKind::Hub) {
            parts.extend(parts::of(self.page, &spans));
        }
        let section = form.path.key();
        let ordinal = self.ordinals.entry((section.clone(), kind)).or_insert(0);
        let heading_path = form.path.headings();
        let chunk = Chunk { kind, heading_path, anchor, section, ordinal: *ordinal, spans, tokens, repeated, parts };
        *ordinal += 1;
        self.chunks.push(chunk);
    }

    /// The anchor of the last heading before a place that has one.
    fn nearest_anchor(&self, at: u32) -> Option<String> {
        let before = self.page.blocks.partition_point(|block| block.range.start < at);
        let mut above = self.page.blocks.get(..before)?.iter().rev().filter(|block| block.retrievable);
        above.find_map(|block| block.heading_level().and(block.anchor.clone()))
    }

    /// The tokens of any range, also of one that begins or ends inside a word.
    fn exact_tokens(&self, range: &Range<u32>) -> u32 {
        let text = self.page.text.as_bytes();
        let inside = |at: u32| {
            let around = |at: u32| text.get(at as usize).is_some_and(|byte| !byte.is_ascii_whitespace());
            at > 0 && around(at - 1) && around(at)
        };
        if inside(range.start) || inside(range.end) {
            self.wordpiece.count(self.page.slice(range)) as u32
        } else {
            self.tokens(range)
        }
    }

    /// What a page of headings alone is found by.
    fn headings_alone(&mut self) {
        let page = self.page;
        let mut path = Path::default();
        for (index, block) in page.blocks.iter().enumerate().filter(|(_, block)| block.retrievable) {
            if let Some(level) = block.heading_level() {
                path.descend(level, page.slice(&block.range), block.anchor.as_deref());
                let units = self.units(&[Content::Block(index)]);
                self.cut(&Form { path: &path, entry: None, kind: None }, &units, &[]);
            }
        }
    }

    /// What stands beside the text: headings with an anchor that no chunk has, and images that are described.
    ///
    /// Under such a heading stand only further headings, or links to other pages, or its first words are a term that has an
    /// anchor of its own. Its chunk is of kind `hub`: a link to the heading finds a place, a search does not find it.
    fn annexes(&mut self) {
        let page = self.page;
        let reached: FxHashSet<String> = self.chunks.iter().filter_map(|chunk| chunk.anchor.clone()).collect();
        let mut path = Path::default();
        let mut images = page.images.iter().peekable();
        let mut seen = FxHashSet::default();
        for block in &page.blocks {
            if let Some(level) = block.heading_level() {
                let heading = page.slice(&block.range);
                if block.retrievable {
                    path.descend(level, heading, block.anchor.as_deref());
                }
                let unreached = |anchor: &&String| !reached.contains(*anchor) && !page.is_feedback(block);
                if let Some(anchor) = block.anchor.as_ref().filter(unreached)
                    && self.fits(&block.range)
                {
                    let form = Form { path: &path, entry: None, kind: None };
                    // The headings of chunks have its words already.
                    let ranges = vec![block.range.clone()];
                    self.add(ChunkKind::Hub, &form, Some(anchor.clone()), ranges.clone(), ranges, None);
                }
            }
            while let Some(image) = images.next_if(|image| image_end(image).is_none_or(|end| end <= block.range.end)) {
                let described = self.options.images && block.retrievable && !page.hub && seen.len() < MAXIMUM_IMAGES;
                if described
                    && seen.insert((image.source.as_str(), image.alternative.clone().map(|range| page.slice(&range))))
                {
                    self.image(&path, image);
                }
            }
        }
    }

    /// Adds the chunk of an image, where what is said of it says something.
    fn image(&mut self, path: &Path, image: &Image) {
        let page = self.page;
        let told = |range: &Option<Range<u32>>| range.clone().filter(|range| says(page.slice(range)));
        let (alternative, caption) = (told(&image.alternative), told(&image.caption));
        let mut ranges: Vec<Range<u32>> = alternative.iter().chain(&caption).cloned().collect();
        ranges.sort_by_key(|range| range.start);
        ranges.dedup_by(|next, before| next.start <= before.end);
        let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { return };
        if !ranges.iter().all(|range| self.fits(range)) || self.tokens(first) + self.tokens(last) > self.options.maximum
        {
            return;
        }
        let text =
            |range: &Option<Range<u32>>| range.as_ref().map(|range| page.slice(range).to_owned()).unwrap_or_default();
        let part = Part::Image {
            range: first.start..last.end,
            source: image.source.clone(),
            alternative: text(&alternative),
            caption: text(&caption),
        };
        let anchor = path.anchor();
        let form = Form { path, entry: None, kind: None };
        self.add(ChunkKind::Image, &form, anchor, ranges.clone(), ranges, Some(part));
    }
}

/// Where what is said of an image ends.
fn image_end(image: &Image) -> Option<u32> {
    image.alternative.iter().chain(&image.caption).map(|range| range.end).max()
}

/// Whether an image's text says more than its name: two words or more, or four characters of a script without spaces, and no
/// file's name.
fn says(text: &str) -> bool {
    let extension = text.trim().rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let is_file = extension.is_some_and(|extension| {
        matches!(extension.as_str(), "png" | "jpg" | "jpeg" | "gif" | "svg" | "webp" | "avif" | "bmp")
    });
    let words = text.split_whitespace().filter(|word| word.chars().filter(|c| c.is_alphabetic()).count() >= 2);
    let unspaced = text.chars().filter(|&c| c >= '\u{2E80}' && c.is_alphabetic()).count();
    !is_file && (words.count() >= 2 || unspaced >= 4)
}

/// Whether these units are all together no larger than `most`.
fn is_rest(units: &[Unit], most: u32) -> bool {
    let mut left = most;
    units.iter().all(|unit| {
        let fits = unit.tokens.max(1) <= left;
        left = left.saturating_sub(unit.tokens.max(1));
        fits
    })
}

/// The kind that most tokens of the units have; running text wins a tie.
fn main_kind(units: &[Unit]) -> ChunkKind {
    let kinds = [ChunkKind::Code, ChunkKind::Table, ChunkKind::List, ChunkKind::Text];
    let size = |kind: &ChunkKind| units.iter().filter(|unit| unit.kind == *kind).map(|unit| unit.tokens).sum::<u32>();
    kinds.into_iter().max_by_key(size).unwrap_or(ChunkKind::Text)
}

/// Where the characters of a text are, for turning bytes into code points.
#[derive(Debug)]
struct Characters {
    /// The number of characters before each block of [`Characters::BLOCK`] bytes; empty for ASCII.
    before: Vec<u32>,
}

impl Characters {
    const BLOCK: usize = 256;

    fn of(text: &str) -> Self {
        let mut before = Vec::new();
        if !text.is_ascii() {
            let mut count = 0;
            for block in text.as_bytes().chunks(Self::BLOCK) {
                before.push(count);
                count += starts(block);
            }
            before.push(count);
        }
        Self { before }
    }

    fn span(&self, text: &str, bytes: Range<u32>) -> Span {
        let chars = self.at(text, bytes.start)..self.at(text, bytes.end);
        Span { bytes, chars }
    }

    fn at(&self, text: &str, byte: u32) -> u32 {
        let block = byte as usize / Self::BLOCK;
        match self.before.get(block) {
            None => byte,
            Some(before) => {
                before + starts(text.as_bytes().get(block * Self::BLOCK..byte as usize).unwrap_or_default())
            }
        }
    }
}

/// The number of characters that begin in these bytes.
fn starts(bytes: &[u8]) -> u32 {
    bytes.iter().filter(|&&byte| byte & 0xC0 != 0x80).count() as u32
}

#[cfg(test)]
mod tests;
