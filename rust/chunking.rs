//! Blocks to chunks under a token target, as ranges of the canonical text.
//!
//! A chunk never leaves its section, so its anchor and heading path hold for every word of it. Inside a section
//! neighbouring blocks are put together up to the target; a list, a table or a code block is cut only when it alone exceeds
//! the maximum, and then at its items, rows or lines. Tokens are counted once for the whole page: a token never crosses
//! white space, so the count of a range is the difference of two positions among the tokens' ends.

use std::ops::Range;

use rustc_hash::FxHashMap;
use unicode_segmentation::UnicodeSegmentation;

use crate::markup::{Block, BlockKind, Page};
use crate::wordpiece::WordPiece;

/// A chunk's longest text in bytes for each token of the maximum: `WordPiece` counts a word it does not know as one token,
/// however long.
const BYTES_PER_TOKEN: usize = 32;

/// How the anchors of a PDF's pages begin. A chunk never goes over the end of such a page: its anchor holds for all of it.
const PAGE_ANCHOR: &str = "page=";

/// How chunks are cut. Sizes are in `WordPiece` tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkOptions {
    /// Blocks of a section are put together up to this size.
    pub target: u32,
    /// No chunk is larger.
    pub maximum: u32,
    /// The share of the target that a chunk repeats of the text before it in its section, in whole sentences.
    pub overlap: f32,
}

impl Default for ChunkOptions {
    fn default() -> Self {
        Self { target: 400, maximum: 800, overlap: 0.15 }
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
    /// Any part of a page that is (almost) only links; never quoted.
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
            Self::Hub => "hub",
        }
    }
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
    /// The headings above it, outermost first.
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
    /// What of it an earlier chunk of the page already holds, in bytes of the canonical text: overlap, a repeated header
    /// row.
    pub repeated: Vec<Range<u32>>,
}

impl Chunk {
    /// The chunk's text.
    #[must_use]
    pub fn text(&self, page: &Page) -> String {
        let slices: Vec<&str> = self.spans.iter().map(|span| page.slice(&span.bytes)).collect();
        slices.join("\n")
    }
}

/// Cuts a page into chunks.
#[must_use]
pub fn chunk(page: &Page, wordpiece: &WordPiece, options: &ChunkOptions) -> Vec<Chunk> {
    let mut chunker = Chunker::new(page, wordpiece, options);
    let mut path = Path::default();
    let mut section = Vec::new();
    for (index, block) in page.blocks.iter().enumerate() {
        match block.heading_level() {
            Some(level) if block.retrievable => {
                chunker.section(&path, &std::mem::take(&mut section));
                path.descend(level, page.slice(&block.range), block.anchor.as_deref());
            }
            None if block.retrievable => {
                let sheet = sheet(block);
                if sheet.is_some() && path.sheet != sheet {
                    chunker.section(&path, &std::mem::take(&mut section));
                    path.sheet = sheet;
                }
                section.push(index);
            }
            // A heading that says nothing of its own (a repeated title, a prompt) changes neither path nor anchor.
            _ => {}
        }
    }
    chunker.section(&path, &section);
    if chunker.chunks.is_empty() {
        chunker.headings_alone();
    }
    chunker.chunks
}

/// The headings above a place.
#[derive(Debug, Default)]
struct Path {
    headings: Vec<(u8, String, Option<String>)>,
    /// The anchor of the page that is read, where the document is made of such.
    sheet: Option<String>,
}

/// The anchor of the page of a PDF that a block stands on.
fn sheet(block: &Block) -> Option<String> {
    block.anchor.clone().filter(|anchor| anchor.starts_with(PAGE_ANCHOR))
}

impl Path {
    fn descend(&mut self, level: u8, heading: &str, anchor: Option<&str>) {
        while self.headings.last().is_some_and(|&(above, ..)| above >= level) {
            self.headings.pop();
        }
        self.headings.push((level, heading.to_owned(), anchor.map(str::to_owned)));
    }

    fn headings(&self) -> Vec<String> {
        self.headings.iter().map(|(_, heading, _)| heading.clone()).collect()
    }

    fn anchor(&self) -> Option<String> {
        let heading = || self.headings.iter().rev().find_map(|(.., anchor)| anchor.clone());
        self.sheet.clone().or_else(heading)
    }

    fn key(&self) -> Vec<String> {
        self.headings
            .iter()
            .map(|(_, heading, anchor)| anchor.clone().unwrap_or_else(|| heading.to_lowercase()))
            .collect()
    }
}

/// A part of a section that is put into a chunk whole: a block, or a piece of one that is too long.
#[derive(Clone, Debug)]
struct Unit {
    range: Range<u32>,
    tokens: u32,
    kind: ChunkKind,
    /// The header row that the piece of a table needs beside it.
    header: Option<Range<u32>>,
    /// Whether the unit is running text, of which sentences may be repeated.
    prose: bool,
    /// Whether what is before it stands directly before it, so that both are one span.
    joined: bool,
    /// The anchor of a definition's term.
    anchor: Option<String>,
    /// A piece of a block that was cut: pieces fill up to the target but are not stretched beyond it.
    piece: bool,
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
            options: ChunkOptions { target: options.target.clamp(1, maximum), maximum, overlap },
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

    /// Cuts the blocks of one section into chunks.
    fn section(&mut self, path: &Path, blocks: &[usize]) {
        let mut units = Vec::new();
        let mut previous = None;
        for &index in blocks {
            if let Some(block) = self.page.blocks.get(index) {
                let joined = previous.is_some_and(|previous: usize| previous + 1 == index);
                self.units(block, joined, &mut units);
            }
            previous = Some(index);
        }
        self.cut(path, &units);
    }

    /// Puts the units of one section into chunks.
    fn cut(&mut self, path: &Path, units: &[Unit]) {
        let mut start = 0;
        let mut carried: Option<Range<u32>> = None;
        while start < units.len() {
            let room = carried.as_ref().map_or(0, |range| self.tokens(range));
            let end = self.fill(units, start, room);
            let part = units.get(start..end).unwrap_or_default();
            self.push(path, part, carried.take());
            carried = units.get(end).and_then(|next| self.overlap(part, next));
            start = end;
        }
    }

    /// The end of the chunk that begins with unit `start`, of which `room` tokens are already taken.
    fn fill(&self, units: &[Unit], start: usize, room: u32) -> usize {
        let (target, maximum) = (self.options.target, self.options.maximum);
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
            let apart = end > start && unit.header.as_ref().is_some_and(|header| !begun(header));
            if end > start && (grown > maximum || bytes > self.bytes_maximum() || apart) {
                break;
            }
            // A line that ends in a colon introduces what follows; a short rest is no chunk of its own.
            let introduces = last.is_some_and(|last| self.page.slice(&last.range).ends_with(':'));
            let stretch = !unit.piece && (introduces || size < target / 4);
            if end > start && grown > target && !stretch && !is_rest(units.get(end..).unwrap_or_default(), target / 4) {
                break;
            }
            size = grown;
            end += 1;
        }
        end.max(start + 1)
    }

    /// The sentences at the end of `part` that the next chunk repeats: only running text, and never all of it.
    fn overlap(&self, part: &[Unit], next: &Unit) -> Option<Range<u32>> {
        let last = part.last().filter(|last| last.prose && (next.prose || !next.piece) && next.header.is_none())?;
        let most = (self.options.target as f32 * self.options.overlap) as u32;
        let room = self.options.maximum.saturating_sub(next.tokens).min(most);
        let mut start = last.range.end;
        for sentence in sentences(self.page, &last.range).into_iter().rev() {
            let grown = sentence.start..last.range.end;
            if self.tokens(&grown) > room || grown.end - grown.start > self.bytes_maximum() / 8 {
                break;
            }
            start = sentence.start;
        }
        let whole = part.len() == 1 && start <= last.range.start;
        (start < last.range.end && !whole).then_some(start..last.range.end)
    }

    fn push(&mut self, path: &Path, units: &[Unit], carried: Option<Range<u32>>) {
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
        let kind = if self.page.hub { ChunkKind::Hub } else { main_kind(units) };
        let tokens = ranges.iter().map(|range| self.exact_tokens(range)).sum();
        let section = path.key();
        let anchor = first.anchor.clone().or_else(|| path.anchor());
        let anchor = anchor.or_else(|| self.nearest_anchor(first.range.start));
        let ordinal = self.ordinals.entry((section.clone(), kind)).or_insert(0);
        let chunk = Chunk {
            kind,
            heading_path: path.headings(),
            anchor,
            section,
            ordinal: *ordinal,
            spans: ranges.into_iter().map(|bytes| self.characters.span(&self.page.text, bytes)).collect(),
            tokens,
            repeated,
        };
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
        for block in page.blocks.iter().filter(|block| block.retrievable) {
            if let Some(level) = block.heading_level() {
                let mut units = Vec::new();
                self.units(block, false, &mut units);
                path.descend(level, page.slice(&block.range), block.anchor.as_deref());
                self.cut(&path, &units);
            }
        }
    }

    /// Appends a block as one unit, or as several where it is too long.
    fn units(&self, block: &Block, joined: bool, units: &mut Vec<Unit>) {
        let kind = match block.kind {
            BlockKind::List => ChunkKind::List,
            BlockKind::Table => ChunkKind::Table,
            BlockKind::Code => ChunkKind::Code,
            _ => ChunkKind::Text,
        };
        let prose = matches!(block.kind, BlockKind::Paragraph | BlockKind::Quote);
        let unit = |range: Range<u32>, joined: bool, piece: bool| Unit {
            tokens: self.exact_tokens(&range),
            range,
            kind,
            header: None,
            prose,
            joined,
            anchor: None,
            piece,
        };
        if self.fits(&block.range) {
            units.push(unit(block.range.clone(), joined, false));
            return;
        }
        // A header row that takes a quarter of a chunk is not repeated.
        let repeated = block.header.clone().filter(|header| self.tokens(header) * 4 <= self.options.maximum);
        let room = self.options.maximum - repeated.as_ref().map_or(0, |header| self.tokens(header));
        let before = units.len();
        if block.items.is_empty() {
            self.pieces(&block.range, room, &mut |range| units.push(unit(range, true, true)));
        } else {
            let mut items = block.items.as_slice();
            // A header row does not stand alone at the end of a chunk.
            if let (Some(header), [_, row, rest @ ..]) = (&repeated, items)
                && self.fits(&(header.start..row.range.end))
            {
                units.push(unit(header.start..row.range.end, true, true));
                items = rest;
            }
            for item in items {
                let first = units.len();
                self.pieces(&item.range, room, &mut |range| units.push(unit(range, true, true)));
                for piece in units.get_mut(first..).unwrap_or_default() {
                    piece.anchor.clone_from(&item.anchor);
                }
            }
        }
        for (index, piece) in units.get_mut(before..).unwrap_or_default().iter_mut().enumerate() {
            piece.joined = joined || index > 0;
            let is_header = repeated.as_ref().is_some_and(|header| piece.range.start < header.end);
            piece.header = repeated.clone().filter(|_| !is_header);
        }
    }

    /// Cuts a range into pieces of at most `room` tokens: at lines, else at sentences, else at the ends of tokens.
    fn pieces(&self, range: &Range<u32>, room: u32, push: &mut dyn FnMut(Range<u32>)) {
        let fits = |range: &Range<u32>| self.tokens(range) <= room && range.end - range.start <= self.bytes_maximum();
        if fits(range) {
            push(range.clone());
            return;
        }
        for line in lines(self.page, range) {
            if fits(&line) {
                push(line);
                continue;
            }
            for sentence in sentences(self.page, &line) {
                if fits(&sentence) {
                    push(sentence);
                } else {
                    self.token_pieces(&sentence, room, push);
                }
            }
        }
    }

    /// Cuts a range after tokens. A piece that begins inside a word is counted anew, since its first token may differ.
    fn token_pieces(&self, range: &Range<u32>, room: u32, push: &mut dyn FnMut(Range<u32>)) {
        let mut start = range.start;
        while start < range.end {
            let first = self.ends.partition_point(|&end| end <= start);
            let mut take = room.max(1) as usize;
            let end = loop {
                let by_tokens = self.ends.get(first + take - 1).copied().unwrap_or(range.end).min(range.end);
                let limit = self.floor(start.saturating_add(self.bytes_maximum()).min(range.end), start);
                let mut end = by_tokens.min(limit);
                // What follows the last token without being one (white space) goes with it.
                if end < range.end && first + take >= self.ends.len() {
                    end = limit;
                }
                if take == 1 || self.exact_tokens(&(start..end)) <= room {
                    break end.max(self.ceiling(start + 1)).min(range.end);
                }
                take -= (take / 8).max(1);
            };
            let piece = trimmed(self.page, start..end);
            if piece.start < piece.end {
                push(piece);
            }
            start = end;
        }
    }

    /// The last boundary between characters at or before `at`, but after `start`.
    fn floor(&self, mut at: u32, start: u32) -> u32 {
        while at > start && !self.page.text.is_char_boundary(at as usize) {
            at -= 1;
        }
        at
    }

    /// The first boundary between characters at or after `at`.
    fn ceiling(&self, mut at: u32) -> u32 {
        while !self.page.text.is_char_boundary(at as usize) {
            at += 1;
        }
        at
    }
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

/// The lines of a range that are not blank, without the white space around them.
fn lines<'a>(page: &'a Page, range: &Range<u32>) -> impl Iterator<Item = Range<u32>> + 'a {
    let mut start = range.start;
    page.slice(range).split_inclusive('\n').filter_map(move |line| {
        let line_start = start;
        start += line.len() as u32;
        let end = line_start + line.trim_end().len() as u32;
        (line_start < end).then_some(line_start..end)
    })
}

/// The sentences of a range, without the white space around them.
fn sentences(page: &Page, range: &Range<u32>) -> Vec<Range<u32>> {
    let text = page.slice(range);
    let sentences = text.split_sentence_bound_indices().map(|(at, sentence)| {
        let start = range.start + at as u32;
        trimmed(page, start..start + sentence.len() as u32)
    });
    sentences.filter(|sentence| sentence.start < sentence.end).collect()
}

fn trimmed(page: &Page, range: Range<u32>) -> Range<u32> {
    let text = page.slice(&range);
    let start = range.start + (text.len() - text.trim_start().len()) as u32;
    let end = range.start + text.trim_end().len() as u32;
    start..end.max(start)
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
