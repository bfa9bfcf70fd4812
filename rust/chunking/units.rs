//! The units that chunks are put together of: blocks, or parts of them.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use super::sections::Content;
use super::{ChunkKind, Chunker, Method};
use crate::markup::{Block, BlockKind, Page};

/// A part of a section that is put into a chunk whole: a block, or a piece of one.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) range: Range<u32>,
    pub(super) tokens: u32,
    pub(super) kind: ChunkKind,
    /// The header row that the piece of a table needs beside it.
    pub(super) header: Option<Range<u32>>,
    /// Whether the unit is running text, of which sentences may be repeated.
    pub(super) prose: bool,
    /// Whether what is before it stands directly before it, so that both are one span.
    pub(super) joined: bool,
    /// The anchor of a definition's term.
    pub(super) anchor: Option<String>,
    /// A piece of a block that was cut: pieces fill up to the target but are not stretched beyond it.
    pub(super) piece: bool,
    /// Where the table begins that has a chunk to itself.
    pub(super) alone: Option<u32>,
}

impl Chunker<'_> {
    /// The units of a section.
    pub(super) fn units(&self, contents: &[Content]) -> Vec<Unit> {
        let mut units = Vec::new();
        let mut previous = None;
        for content in contents {
            match *content {
                Content::Block(index) => {
                    if let Some(block) = self.page.blocks.get(index) {
                        let joined = previous.is_some_and(|previous: usize| previous + 1 == index);
                        self.block_units(block, joined, &mut units);
                    }
                    previous = Some(index);
                }
                Content::Item(index, item) => {
                    let item = self.page.blocks.get(index).and_then(|block| block.items.get(item));
                    if let Some(item) = item {
                        let first = units.len();
                        self.pieces(&item.range, self.options.maximum, &mut |range| {
                            units.push(self.unit(range, ChunkKind::List, true));
                        });
                        for (number, piece) in units.get_mut(first..).unwrap_or_default().iter_mut().enumerate() {
                            (piece.joined, piece.anchor) = (number > 0, item.anchor.clone());
                        }
                    }
                }
            }
        }
        self.introduce_tables(&mut units);
        units
    }

    /// Gives a table that has a chunk to itself the line before it that ends in a colon.
    fn introduce_tables(&self, units: &mut [Unit]) {
        for at in 1..units.len() {
            let Some([before, table]) = units.get_mut(at - 1..=at) else { continue };
            let short = before.tokens * 4 <= self.options.target && before.prose;
            if table.alone.is_some() && before.alone.is_none() && short && self.page.slice(&before.range).ends_with(':')
            {
                before.alone = table.alone;
            }
        }
    }

    fn unit(&self, range: Range<u32>, kind: ChunkKind, piece: bool) -> Unit {
        Unit {
            tokens: self.exact_tokens(&range),
            range,
            kind,
            header: None,
            prose: false,
            joined: true,
            anchor: None,
            piece,
            alone: None,
        }
    }

    /// Appends a block as the units that the method puts together.
    fn block_units(&self, block: &Block, joined: bool, units: &mut Vec<Unit>) {
        let kind = match block.kind {
            BlockKind::List => ChunkKind::List,
            BlockKind::Table => ChunkKind::Table,
            BlockKind::Code => ChunkKind::Code,
            _ => ChunkKind::Text,
        };
        let prose = matches!(block.kind, BlockKind::Paragraph | BlockKind::Quote);
        let first = units.len();
        match self.options.method {
            Method::Structure => self.whole_units(block, kind, units),
            Method::Fixed => {
                for word in words(self.page, &block.range) {
                    self.pieces(&word, self.options.maximum, &mut |range| units.push(self.unit(range, kind, true)));
                }
            }
            Method::Sentence | Method::Semantic => match block.kind {
                BlockKind::Table | BlockKind::Code => self.whole_units(block, kind, units),
                BlockKind::List => {
                    for item in &block.items {
                        let first = units.len();
                        self.pieces(&item.range, self.options.maximum, &mut |range| {
                            units.push(self.unit(range, kind, true));
                        });
                        for piece in units.get_mut(first..).unwrap_or_default() {
                            piece.anchor.clone_from(&item.anchor);
                        }
                    }
                }
                _ => {
                    for sentence in sentences(self.page, &block.range) {
                        self.pieces(&sentence, self.options.maximum, &mut |range| {
                            units.push(self.unit(range, kind, true));
                        });
                    }
                }
            },
        }
        let alone = block.kind == BlockKind::Table
            && self.options.method != Method::Fixed
            && self.tokens(&block.range) >= self.options.table;
        for (index, unit) in units.get_mut(first..).unwrap_or_default().iter_mut().enumerate() {
            unit.joined = joined || index > 0;
            unit.prose = prose;
            unit.alone = alone.then_some(block.range.start);
        }
    }

    /// Appends a block as one unit, or as several where it is too long.
    fn whole_units(&self, block: &Block, kind: ChunkKind, units: &mut Vec<Unit>) {
        if self.fits(&block.range) {
            units.push(self.unit(block.range.clone(), kind, false));
            return;
        }
        // A header row that takes a quarter of a chunk is not repeated.
        let repeated = block.header.clone().filter(|header| self.tokens(header) * 4 <= self.options.maximum);
        let room = self.options.maximum - repeated.as_ref().map_or(0, |header| self.tokens(header));
        let before = units.len();
        if block.items.is_empty() {
            self.pieces(&block.range, room, &mut |range| units.push(self.unit(range, kind, true)));
        } else {
            let mut items = block.items.as_slice();
            // A header row does not stand alone at the end of a chunk.
            if let (Some(header), [_, row, rest @ ..]) = (&repeated, items)
                && self.fits(&(header.start..row.range.end))
            {
                units.push(self.unit(header.start..row.range.end, kind, true));
                items = rest;
            }
            for item in items {
                let first = units.len();
                self.pieces(&item.range, room, &mut |range| units.push(self.unit(range, kind, true)));
                for piece in units.get_mut(first..).unwrap_or_default() {
                    piece.anchor.clone_from(&item.anchor);
                }
            }
        }
        for piece in units.get_mut(before..).unwrap_or_default().iter_mut() {
            let is_header = repeated.as_ref().is_some_and(|header| piece.range.start < header.end);
            piece.header = repeated.clone().filter(|_| !is_header);
        }
    }

    /// Cuts a range into pieces of at most `room` tokens: at lines, else at sentences, else at the ends of tokens. What is blank, as
    /// a line of code may be, is no piece.
    fn pieces(&self, range: &Range<u32>, room: u32, push: &mut dyn FnMut(Range<u32>)) {
        let fits = |range: &Range<u32>| self.tokens(range) <= room && range.end - range.start <= self.bytes_maximum();
        if fits(range) {
            if !self.page.slice(range).trim().is_empty() {
                push(range.clone());
            }
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

/// The words of a range: what stands between white space.
fn words<'a>(page: &'a Page, range: &Range<u32>) -> impl Iterator<Item = Range<u32>> + 'a {
    let mut start = range.start;
    page.slice(range).split_inclusive(char::is_whitespace).filter_map(move |word| {
        let word_start = start;
        start += word.len() as u32;
        let end = word_start + word.trim_end().len() as u32;
        (word_start < end).then_some(word_start..end)
    })
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
pub(super) fn sentences(page: &Page, range: &Range<u32>) -> Vec<Range<u32>> {
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
