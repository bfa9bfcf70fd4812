//! The file `postings`: per term one list of rows with the frequencies of all fields, for chunks and for documents.
//!
//! A list is made of blocks of 128 postings and a tail. A block has an entry in the list's skip table, with bounds of
//! frequencies and lengths rather than of scores, so that one file serves any `k1`, `b` and field weights. Hits in title
//! and headings are rare, so a block packs the body's frequencies and keeps the others as exceptions. Tails, which are all
//! that most terms have, are variable-length bytes and are decoded whole when a question needs them.
//!
//! Header and lengths are verified when the file is opened, the place of a list and the list itself when they are first
//! touched: a question needs a few of a million lists. Nothing read here is believed: an offset, a width or a row that does not
//! fit is [`Error::IndexCorrupt`].

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bitpacking::{BitPacker, BitPacker4x};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::storage::{BlockFile, FileWriter};

/// How many fields a row has: title, headings, body.
pub const FIELDS: usize = 3;

/// One number per field: title, headings, body.
pub type PerField<T> = [T; FIELDS];

/// Postings in a block.
pub(crate) const BLOCK: usize = BitPacker4x::BLOCK_LEN;

const BODY: usize = 2;
const MAGIC: [u8; 8] = *b"CRPOST\0\x01";
const HEADER_BYTES: usize = 88;
const SKIP_BYTES: usize = 24;
const BODY_BOUNDS: usize = 3;
/// The widest gaps whose 128-fold sum cannot leave a `u32`.
const SAFE_WIDTH: u8 = 25;
const ESCAPE: u8 = u8::MAX;

/// The most bytes that a varint of 32 bits takes.
const VARINT_BYTES: usize = 5;

type Word = [u8; 4];

/// What a list's rows are: retrieved units, or the pages they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Rows are chunks.
    Chunks = 0,
    /// Rows are documents; overlap between chunks and repeated pieces are counted once.
    Documents = 1,
}

/// What BM25 needs to know of a collection as a whole, summed over segments less what is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// `N`, the number of rows.
    pub rows: u64,
    /// The summed lengths of each field, in terms; over `rows` it is `avgdl`.
    pub totals: PerField<u64>,
}

impl Statistics {
    /// Both collections as one.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, totals: std::array::from_fn(|f| self.totals[f] + other.totals[f]) }
    }

    /// This collection without `other`, a part of it.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            rows: self.rows.saturating_sub(other.rows),
            totals: std::array::from_fn(|f| self.totals[f].saturating_sub(other.totals[f])),
        }
    }
}

/// The postings of one term while a segment is being built: the bytes of a tail, however long.
#[derive(Debug, Default)]
pub(super) struct ListBuilder {
    next: u32,
    count: u32,
    bytes: Vec<u8>,
}

impl ListBuilder {
    /// Appends `row`, which is beyond all rows before it.
    pub(super) fn push(&mut self, row: u32, frequencies: PerField<u32>) {
        push_posting(&mut self.bytes, row - self.next, frequencies);
        self.next = row + 1;
        self.count += 1;
    }

    /// How many rows were appended.
    pub(super) fn count(&self) -> u32 {
        self.count
    }
}

/// One level of a segment that is to be written.
#[derive(Debug, Default)]
pub(super) struct LevelBuilder {
    /// Lengths of each field by row.
    pub(super) lengths: PerField<Vec<u32>>,
    /// One list per term, by the order in which terms were met.
    pub(super) lists: Vec<ListBuilder>,
}

impl LevelBuilder {
    /// Number of rows and summed lengths.
    pub(super) fn statistics(&self) -> Statistics {
        let total = |field: usize| self.lengths[field].iter().map(|&length| u64::from(length)).sum();
        Statistics { rows: self.lengths[BODY].len() as u64, totals: std::array::from_fn(total) }
    }

    /// The encoded lists in the order of `ordinals`, and where each begins and the last ends.
    fn encode(&self, ordinals: &[u32]) -> Result<(Vec<u32>, Vec<u8>)> {
        let statistics = self.statistics();
        let average = (statistics.totals[BODY] as f32 / statistics.rows.max(1) as f32).max(1.0);
        let parts: Vec<(Vec<u8>, Vec<usize>)> = ordinals
            .par_chunks(1024)
            .map(|chunk| {
                let mut bytes = Vec::new();
                let ends = chunk.iter().map(|&term| {
                    if let Some(list) = self.lists.get(term as usize) {
                        encode_list(list, &self.lengths, average, &mut bytes);
                    }
                    bytes.len()
                });
                let ends = ends.collect();
                (bytes, ends)
            })
            .collect();
        let mut offsets = vec![0];
        let mut data = Vec::new();
        for (bytes, ends) in parts {
            for end in ends {
                let offset = u32::try_from(data.len() + end).map_err(|_| {
                    Error::InvalidArgument(
                        "a segment's posting lists would exceed 4 GiB; index fewer documents at a time".into(),
                    )
                })?;
                offsets.push(offset);
            }
            data.extend_from_slice(&bytes);
        }
        Ok((offsets, data))
    }
}

/// Writes the whole file: `ordinals` lists the terms as they were met in the order of the dictionary.
pub(super) fn write(
    writer: &mut FileWriter,
    ordinals: &[u32],
    chunks: &LevelBuilder,
    documents: &LevelBuilder,
) -> Result<()> {
    let levels = [chunks, documents];
    let statistics = levels.map(LevelBuilder::statistics);
    let (chunk_offsets, chunk_data) = chunks.encode(ordinals)?;
    let (document_offsets, document_data) = documents.encode(ordinals)?;
    writer.put(&MAGIC)?;
    for count in [ordinals.len() as u32, statistics[0].rows as u32, statistics[1].rows as u32, 0] {
        writer.put(&count.to_le_bytes())?;
    }
    for total in statistics.iter().flat_map(|level| level.totals) {
        writer.put(&total.to_le_bytes())?;
    }
    for length in [chunk_data.len(), document_data.len()] {
        writer.put(&(length as u64).to_le_bytes())?;
    }
    for (level, offsets) in levels.iter().zip([chunk_offsets, document_offsets]) {
        for column in level.lengths.iter().chain([&offsets]) {
            column.iter().try_for_each(|value| writer.put(&value.to_le_bytes()))?;
        }
    }
    writer.put(&chunk_data)?;
    writer.put(&document_data)
}

fn encode_list(list: &ListBuilder, lengths: &PerField<Vec<u32>>, average: f32, out: &mut Vec<u8>) {
    push_varint(out, u64::from(list.count));
    let full = list.count as usize / BLOCK;
    if full == 0 {
        out.extend_from_slice(&list.bytes);
        return;
    }
    let skips = out.len();
    out.resize(skips + full * SKIP_BYTES, 0);
    let start = out.len();
    let mut tail = Tail { bytes: &list.bytes, next: 0 };
    let mut postings = Vec::with_capacity(BLOCK);
    let mut previous = None;
    for block in 0..full {
        postings.clear();
        postings.extend(tail.by_ref().take(BLOCK).flatten());
        let skip = encode_block(&postings, previous, lengths, average, out, start);
        out[skips + block * SKIP_BYTES..][..SKIP_BYTES].copy_from_slice(&skip);
        previous = postings.last().map(|posting| posting.row);
    }
    out.extend_from_slice(tail.bytes);
}

fn encode_block(
    postings: &[Posting],
    previous: Option<u32>,
    lengths: &PerField<Vec<u32>>,
    average: f32,
    out: &mut Vec<u8>,
    start: usize,
) -> [u8; SKIP_BYTES] {
    let packer = BitPacker4x::new();
    let rows: Vec<u32> = postings.iter().map(|posting| posting.row).collect();
    let first_gap = rows[0] - previous.map_or(0, |row| row + 1);
    let widest = rows.windows(2).map(|pair| pair[1] - pair[0] - 1).max().unwrap_or(0).max(first_gap);
    let row_width = width(widest);
    // One occurrence is by far the commonest frequency: stored as 0, a block of nothing else takes no bits.
    let body: Vec<u32> = postings.iter().map(|posting| posting.frequencies[BODY] ^ 1).collect();
    let body_width = width(body.iter().copied().max().unwrap_or(0));

    let at = out.len();
    out.resize(at + packed_bytes(row_width) + packed_bytes(body_width), 0);
    let (row_bytes, body_bytes) = out[at..].split_at_mut(packed_bytes(row_width));
    packer.compress_strictly_sorted(previous, &rows, row_bytes, row_width);
    packer.compress(&body, body_bytes, body_width);

    let exceptional = |posting: &&Posting| posting.frequencies[0] > 0 || posting.frequencies[1] > 0;
    let exceptions: Vec<&Posting> = postings.iter().filter(exceptional).collect();
    if !exceptions.is_empty() {
        let mask = postings.iter().rev().fold(0u128, |mask, posting| mask << 1 | u128::from(exceptional(&posting)));
        out.extend_from_slice(&mask.to_le_bytes());
        for posting in &exceptions {
            push_exception(out, posting.frequencies);
        }
    }

    let mut skip = [0; SKIP_BYTES];
    skip[..4].copy_from_slice(&rows[BLOCK - 1].to_le_bytes());
    skip[4..8].copy_from_slice(&((out.len() - start) as u32).to_le_bytes());
    skip[8..11].copy_from_slice(&[row_width, body_width, exceptions.len() as u8]);
    let length = |field: usize, row: u32| lengths[field][row as usize];
    let plain = postings.iter().filter(|posting| !exceptional(posting));
    let points = plain.map(|posting| (tf_code(posting.frequencies[BODY]), length_code(length(BODY, posting.row))));
    for (index, (tf, length)) in cover(points.collect(), average).into_iter().enumerate() {
        skip[12 + 2 * index..][..2].copy_from_slice(&[tf, length]);
    }
    if !exceptions.is_empty() {
        for field in 0..FIELDS {
            let tf = exceptions.iter().map(|posting| posting.frequencies[field]).max().unwrap_or(0);
            let shortest = exceptions.iter().filter(|posting| posting.frequencies[field] > 0);
            let shortest = shortest.map(|posting| length(field, posting.row)).min().unwrap_or(0);
            skip[18 + field] = tf_code(tf);
            skip[21 + field] = length_code(shortest);
        }
    }
    skip
}

/// At most three points (frequency, length code) such that each given point has one with no smaller frequency and no
/// greater length: the Pareto set, its neighbours merged where they cost least.
fn cover(mut points: Vec<(u8, u8)>, average: f32) -> Vec<(u8, u8)> {
    points.sort_unstable_by_key(|&(tf, length)| (std::cmp::Reverse(tf), length));
    let mut frontier: Vec<(u8, u8)> = Vec::new();
    for point in points {
        if frontier.last().is_none_or(|last| point.1 < last.1) {
            frontier.push(point);
        }
    }
    if frontier.len() <= BODY_BOUNDS {
        return frontier;
    }
    // Of a run of neighbours the first has the greatest frequency and the last the smallest length.
    let merged = |range: Range<usize>| (frontier[range.start].0, frontier[range.end - 1].1);
    let cost = |(tf, length): (u8, u8)| {
        let tf = f32::from(tf);
        tf / (tf + 0.3 + 0.9 * length_of_code(length) as f32 / average)
    };
    let mut best = (f32::INFINITY, 1, 2);
    for second in 1..frontier.len() - 1 {
        for third in second + 1..frontier.len() {
            let parts = [0..second, second..third, third..frontier.len()];
            let worst = parts.map(|part| cost(merged(part))).into_iter().fold(0.0, f32::max);
            if worst < best.0 {
                best = (worst, second, third);
            }
        }
    }
    let (_, second, third) = best;
    vec![merged(0..second), merged(second..third), merged(third..frontier.len())]
}

fn width(value: u32) -> u8 {
    (u32::BITS - value.leading_zeros()) as u8
}

fn packed_bytes(width: u8) -> usize {
    width as usize * BLOCK / 8
}

/// One value of a packed block. Values are dealt to four lanes in turn; each lane's lie one after another in every fourth word.
#[inline]
fn unpack_one(packed: &[u8], width: u8, at: usize) -> u32 {
    let words = packed.as_chunks::<4>().0;
    let bit = at / 4 * usize::from(width);
    let first = bit / 32 * 4 + at % 4;
    let pair = u64::from(word(words, first)) | u64::from(word(words, first + 4)) << 32;
    (pair >> (bit % 32) & ((1 << width) - 1)) as u32
}

fn tf_code(tf: u32) -> u8 {
    tf.min(255) as u8
}

/// Frequencies of 255 and more share a code, so it stands for any.
pub(crate) fn tf_of_code(code: u8) -> f32 {
    if code == u8::MAX { 1e20 } else { f32::from(code) }
}

/// A length rounded down to one byte: exact below 32, then 16 steps an octave.
pub(crate) fn length_code(length: u32) -> u8 {
    if length < 32 {
        return length as u8;
    }
    let exponent = length.ilog2();
    let step = length >> (exponent - 4) & 15;
    (32 + (exponent - 5) * 16 + step).min(255) as u8
}

/// The smallest length of a code.
pub(crate) fn length_of_code(code: u8) -> u32 {
    let code = u32::from(code);
    if code < 32 { code } else { (16 + code % 16) << ((code - 32) / 16 + 1) }
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Some(value);
        }
    }
    None
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take_varint(bytes)?.try_into().ok()
}

fn push_posting(out: &mut Vec<u8>, gap: u32, frequencies: PerField<u32>) {
    let single = frequencies == [0, 0, 1];
    push_varint(out, u64::from(gap) << 1 | u64::from(!single));
    if single {
        return;
    }
    match frequencies {
        [0, 0, body] if body < u32::from(ESCAPE) => out.push(body as u8),
        [title, headings, body] => {
            out.push(ESCAPE);
            for frequency in [body, title, headings] {
                push_varint(out, u64::from(frequency));
            }
        }
    }
}

fn push_exception(out: &mut Vec<u8>, [title, headings, _]: PerField<u32>) {
    if title < 15 && headings < 15 {
        out.push((title << 4 | headings) as u8);
    } else {
        out.push(ESCAPE);
        push_varint(out, u64::from(title));
        push_varint(out, u64::from(headings));
    }
}

#[inline]
fn take_exception(bytes: &mut &[u8]) -> Option<(u32, u32)> {
    let (&byte, rest) = bytes.split_first()?;
    *bytes = rest;
    if byte == ESCAPE {
        Some((take_u32(bytes)?, take_u32(bytes)?))
    } else {
        Some((u32::from(byte >> 4), u32::from(byte & 15)))
    }
}

/// One row of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Posting {
    pub(crate) row: u32,
    pub(crate) frequencies: PerField<u32>,
}

/// The postings of a tail; `None` for bytes that are no posting.
#[derive(Clone, Debug)]
struct Tail<'a> {
    bytes: &'a [u8],
    next: u64,
}

impl Tail<'_> {
    fn posting(&mut self) -> Option<Posting> {
        let value = take_varint(&mut self.bytes)?;
        let row = u32::try_from(self.next.checked_add(value >> 1)?).ok()?;
        self.next = u64::from(row) + 1;
        let mut frequencies = [0, 0, 1];
        if value & 1 == 1 {
            let (&body, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            frequencies[BODY] = u32::from(body);
            if body == ESCAPE {
                for field in [BODY, 0, 1] {
                    frequencies[field] = take_u32(&mut self.bytes)?;
                }
            }
        }
        Some(Posting { row, frequencies })
    }
}

impl Iterator for Tail<'_> {
    type Item = Option<Posting>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let posting = self.posting();
        if posting.is_none() {
            self.bytes = &[];
        }
        Some(posting)
    }
}

/// The opened file `postings` of one segment.
#[derive(Debug)]
pub struct Postings {
    file: Arc<BlockFile>,
    terms: u32,
    levels: [LevelLayout; 2],
}

#[derive(Debug)]
struct LevelLayout {
    statistics: Statistics,
    /// The columns of lengths, one field after another.
    lengths: Range<usize>,
    /// The lengths of each row in one word, see [`pack`].
    packed: Vec<u32>,
    offsets: Range<usize>,
    data: Range<usize>,
}

impl Postings {
    /// Verifies and checks the header of `file`, and the lengths of its rows.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when a block does not have its hash or the header does not describe the file.
    pub fn open(file: &Arc<BlockFile>) -> Result<Self> {
        let header = file.bytes(0..file.len().min(HEADER_BYTES))?;
        let Some(mut postings) = Self::parse(file, header) else {
            return Err(Error::corrupt(file.path(), "its header does not describe it"));
        };
        for level in &mut postings.levels {
            let columns = file.bytes(level.lengths.clone())?.as_chunks().0;
            if totals(columns) != level.statistics.totals {
                return Err(Error::corrupt(file.path(), "its lengths do not add up to its totals"));
            }
            level.packed = pack(columns);
        }
        Ok(postings)
    }

    fn parse(file: &Arc<BlockFile>, header: &[u8]) -> Option<Self> {
        let header = header.first_chunk::<HEADER_BYTES>().filter(|header| header.starts_with(&MAGIC))?;
        let count = |index: usize| word(header.as_chunks::<4>().0, 2 + index);
        let long =
            |index: usize| header.as_chunks::<8>().0.get(3 + index).map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let terms = count(0);
        let mut at = HEADER_BYTES as u64;
        let mut section = |length: u64| {
            let start = at;
            at = at.checked_add(length)?;
            Some(usize::try_from(start).ok()?..usize::try_from(at).ok()?)
        };
        let [lengths0, offsets0, lengths1, offsets1, data0, data1] = [
            section(u64::from(count(1)) * 12)?,
            section((u64::from(terms) + 1) * 4)?,
            section(u64::from(count(2)) * 12)?,
            section((u64::from(terms) + 1) * 4)?,
            section(long(6))?,
            section(long(7))?,
        ];
        if data1.end != file.len() || count(3) != 0 {
            return None;
        }
        let level = |level: usize, lengths: Range<usize>, offsets, data| LevelLayout {
            statistics: Statistics {
                rows: u64::from(count(1 + level)),
                totals: std::array::from_fn(|field| long(level * FIELDS + field)),
            },
            packed: Vec::new(),
            lengths,
            offsets,
            data,
        };
        let levels = [level(0, lengths0, offsets0, data0), level(1, lengths1, offsets1, data1)];
        Some(Self { file: Arc::clone(file), terms, levels })
    }

    /// How many terms the segment has; their ordinals are `0..terms`.
    #[must_use]
    pub fn terms(&self) -> u32 {
        self.terms
    }

    /// Number of rows and summed lengths of this segment, deleted rows included.
    #[must_use]
    pub fn statistics(&self, level: Level) -> Statistics {
        self.levels[level as usize].statistics
    }

    /// How many rows a level has.
    #[must_use]
    pub fn rows(&self, level: Level) -> u32 {
        self.statistics(level).rows as u32
    }

    /// In how many chunks and in how many documents of this segment a term occurs, deleted ones included.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when a list does not begin with its number of rows.
    pub fn document_frequencies(&self, ordinal: u32) -> Result<(u32, u32)> {
        let frequency = |level| self.lists(level).frequency(ordinal);
        Ok((frequency(Level::Chunks)?, frequency(Level::Documents)?))
    }

    /// The lengths of a row's fields, in terms; `None` beyond the last row.
    #[must_use]
    pub fn lengths(&self, level: Level, row: u32) -> Option<PerField<u32>> {
        let lists = self.lists(level);
        (row < lists.rows).then(|| lists.lengths(row))
    }

    pub(crate) fn lists(&self, level: Level) -> Lists<'_> {
        let layout = &self.levels[level as usize];
        Lists { rows: layout.statistics.rows as u32, terms: self.terms, layout, file: &self.file }
    }
}

#[inline]
fn word(words: &[Word], index: usize) -> u32 {
    words.get(index).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// The columns of lengths, field by field.
fn fields_of(columns: &[Word]) -> PerField<&[Word]> {
    let (title, rest) = columns.split_at(columns.len() / FIELDS);
    let (headings, body) = rest.split_at(rest.len() / 2);
    [title, headings, body]
}

/// The summed lengths of each field.
fn totals(columns: &[Word]) -> PerField<u64> {
    fields_of(columns).map(|column| column.iter().map(|bytes| u64::from(u32::from_le_bytes(*bytes))).sum())
}

const LONGEST_BODY: u32 = 0xffff;
const LONGEST_OTHER: u32 = 0xff;

/// The lengths of each row in one word: title and headings in a byte each, the body in two. A query looks lengths up for rows
/// far apart, so what it waits for is memory: one line for all fields instead of one for each. What does not fit is the
/// largest number, and stands for a look into the columns.
fn pack(columns: &[Word]) -> Vec<u32> {
    let [title, headings, body] = fields_of(columns);
    let length = |bytes: &Word| u32::from_le_bytes(*bytes);
    let fields = title.iter().zip(headings).zip(body);
    fields
        .map(|((title, headings), body)| {
            length(title).min(LONGEST_OTHER) << 24
                | length(headings).min(LONGEST_OTHER) << 16
                | length(body).min(LONGEST_BODY)
        })
        .collect()
}

/// The lengths in a packed word.
#[inline]
pub(crate) fn unpacked(packed: u32) -> PerField<u32> {
    [packed >> 24, packed >> 16 & LONGEST_OTHER, packed & LONGEST_BODY]
}

/// Whether a packed word does not hold the lengths.
#[inline]
pub(crate) fn is_too_long(packed: u32) -> bool {
    let [title, headings, body] = unpacked(packed);
    title.max(headings) == LONGEST_OTHER || body == LONGEST_BODY
}

/// The lists of one level, borrowed from the map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lists<'a> {
    rows: u32,
    terms: u32,
    layout: &'a LevelLayout,
    file: &'a BlockFile,
}

impl<'a> Lists<'a> {
    pub(crate) fn rows(&self) -> u32 {
        self.rows
    }

    /// The lengths of a row's fields.
    #[inline]
    pub(crate) fn lengths(&self, row: u32) -> PerField<u32> {
        let packed = self.packed(row);
        if is_too_long(packed) { self.exact_lengths(row) } else { unpacked(packed) }
    }

    #[cold]
    fn exact_lengths(&self, row: u32) -> PerField<u32> {
        // They were verified when the file was opened, and what was verified once never fails again.
        std::array::from_fn(|field| {
            let at = self.layout.lengths.start + 4 * (field * self.rows as usize + row as usize);
            word(self.file.bytes(at..at + 4).unwrap_or_default().as_chunks().0, 0)
        })
    }

    /// The lengths of a row's fields in one word, for [`unpacked`] unless [`is_too_long`].
    #[inline]
    pub(crate) fn packed(&self, row: u32) -> u32 {
        self.layout.packed.get(row as usize).copied().unwrap_or(0)
    }

    /// As [`Lists::packed`], for the rows of a block.
    #[inline]
    pub(crate) fn packed_of(&self, rows: &[u32; BLOCK]) -> [u32; BLOCK] {
        let packed = &self.layout.packed[..];
        // Decoded rows are within the level; the smaller of the two costs less than asking for each.
        match packed.len().checked_sub(1) {
            Some(last) => rows.map(|row| packed[(row as usize).min(last)]),
            None => [0; BLOCK],
        }
    }

    fn corrupt<T>(&self, reason: &str) -> Result<T> {
        Err(Error::corrupt(self.file.path(), reason))
    }

    /// Where the list of a term lies in the file, within the level's lists.
    fn range(&self, ordinal: u32) -> Result<Range<usize>> {
        let LevelLayout { offsets, data, .. } = self.layout;
        if ordinal < self.terms {
            let at = offsets.start + 4 * ordinal as usize;
            let bounds = self.file.bytes(at..at + 8)?.as_chunks::<4>().0;
            let (start, end) = (word(bounds, 0) as usize, word(bounds, 1) as usize);
            if start <= end && end <= data.len() {
                return Ok(data.start + start..data.start + end);
            }
        }
        self.corrupt("it has no list for a term of the dictionary")
    }

    fn count(&self, mut bytes: &'a [u8]) -> Result<(u32, &'a [u8])> {
        match take_u32(&mut bytes) {
            Some(count) if count <= self.rows => Ok((count, bytes)),
            _ => self.corrupt("a list does not begin with its number of rows"),
        }
    }

    /// How many rows the list of a term has.
    fn frequency(&self, ordinal: u32) -> Result<u32> {
        let Range { start, end } = self.range(ordinal)?;
        Ok(self.count(self.file.bytes(start..end.min(start + VARINT_BYTES))?)?.0)
    }

    /// The list of a term, its skip table checked.
    pub(crate) fn list(&self, ordinal: u32) -> Result<List<'a>> {
        let (count, bytes) = self.count(self.file.bytes(self.range(ordinal)?)?)?;
        let full = count as usize / BLOCK;
        let Some((skips, bytes)) = bytes.split_at_checked(full * SKIP_BYTES) else {
            return self.corrupt("a list is shorter than its skip table");
        };
        let skips = skips.as_chunks::<SKIP_BYTES>().0;
        let mut next = 0;
        let mut start = 0;
        for skip in skips {
            let skip = Skip(skip);
            let needs = packed_bytes(skip.row_width()) + packed_bytes(skip.body_width());
            let fits = skip.row_width() <= 32 && skip.body_width() <= 32 && skip.exceptions() as usize <= BLOCK;
            let last = skip.last();
            let end = skip.end();
            if !fits || last >= self.rows || u64::from(last) + 1 < next + BLOCK as u64 || end < start + needs {
                return self.corrupt("a list's skip table does not fit");
            }
            next = u64::from(last) + 1;
            start = end;
        }
        let Some((blocks, tail)) = bytes.split_at_checked(start) else {
            return self.corrupt("a list is shorter than its blocks");
        };
        Ok(List { count, skips, blocks, tail, rows: self.rows, path: self.file.path() })
    }
}

/// An entry of a skip table.
#[derive(Clone, Copy)]
pub(crate) struct Skip<'a>(&'a [u8; SKIP_BYTES]);

impl Skip<'_> {
    fn word(self, at: usize) -> u32 {
        u32::from_le_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    /// The block's last row.
    #[inline]
    pub(crate) fn last(self) -> u32 {
        self.word(0)
    }

    fn end(self) -> usize {
        self.word(4) as usize
    }

    fn row_width(self) -> u8 {
        self.0[8]
    }

    fn body_width(self) -> u8 {
        self.0[9]
    }

    /// How many of the block's rows have a hit outside the body.
    pub(crate) fn exceptions(self) -> u8 {
        self.0[10]
    }

    /// Points (frequency code, length code) above all rows whose only hits are in the body; (0, 0) is none.
    pub(crate) fn body_bounds(self) -> [(u8, u8); BODY_BOUNDS] {
        std::array::from_fn(|index| (self.0[12 + 2 * index], self.0[13 + 2 * index]))
    }

    /// The greatest frequency code and the smallest length code of each field among the other rows.
    pub(crate) fn exception_bound(self) -> PerField<(u8, u8)> {
        std::array::from_fn(|field| (self.0[18 + field], self.0[21 + field]))
    }
}

/// The list of one term, borrowed from the map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List<'a> {
    count: u32,
    skips: &'a [[u8; SKIP_BYTES]],
    blocks: &'a [u8],
    tail: &'a [u8],
    rows: u32,
    path: &'a Path,
}

/// The frequencies of a block outside the body.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Exceptions<'a> {
    mask: u128,
    bytes: &'a [u8],
    path: Option<&'a Path>,
}

impl Exceptions<'_> {
    /// Calls `sink` with the place in the block and the frequencies in title and headings of each row that has some.
    pub(crate) fn for_each(mut self, mut sink: impl FnMut(usize, u32, u32)) -> Result<()> {
        while self.mask != 0 {
            let Some((title, headings)) = take_exception(&mut self.bytes) else {
                return Err(Error::corrupt(
                    self.path.unwrap_or(Path::new("postings")),
                    "a block's exceptions end early",
                ));
            };
            sink(self.mask.trailing_zeros() as usize, title, headings);
            self.mask &= self.mask - 1;
        }
        Ok(())
    }
}

impl<'a> List<'a> {
    /// How many rows the list has.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// How many full blocks the list has.
    pub(crate) fn blocks(&self) -> usize {
        self.skips.len()
    }

    #[inline]
    pub(crate) fn skip(&self, block: usize) -> Skip<'a> {
        Skip(&self.skips[block])
    }

    /// The smallest row that a block may hold.
    #[inline]
    pub(crate) fn first(&self, block: usize) -> u32 {
        if block == 0 { 0 } else { self.skip(block - 1).last() + 1 }
    }

    /// The first block from `from` on whose last row is not before `row`, or the number of blocks.
    ///
    /// What is looked for is mostly near, so steps double from where the search begins.
    #[inline]
    pub(crate) fn find_block(&self, from: usize, row: u32) -> usize {
        let rest = self.skips.get(from..).unwrap_or_default();
        let before = |skip: &[u8; SKIP_BYTES]| Skip(skip).last() < row;
        let (mut low, mut step) = (0, 1);
        while rest.get(low + step - 1).is_some_and(before) {
            low += step;
            step *= 2;
        }
        let high = rest.len().min(low + step - 1);
        from + low + rest.get(low..high).unwrap_or_default().partition_point(before)
    }

    fn corrupt<T>(&self, reason: &str) -> Result<T> {
        Err(Error::corrupt(self.path, reason))
    }

    fn bytes(&self, block: usize) -> &'a [u8] {
        let start = if block == 0 { 0 } else { self.skip(block - 1).end() };
        self.blocks.get(start..self.skip(block).end()).unwrap_or_default()
    }

    /// Decodes the rows of a block, ascending and within the level.
    pub(crate) fn decode_rows(&self, block: usize, rows: &mut [u32; BLOCK]) -> Result<()> {
        let skip = self.skip(block);
        let (bytes, width) = (self.bytes(block), skip.row_width());
        if bytes.len() < packed_bytes(width) {
            return self.corrupt("a block is shorter than its rows");
        }
        if width > SAFE_WIDTH {
            self.decode_wide_rows(block, bytes, rows)?;
        } else {
            let previous = if block == 0 { None } else { Some(self.skip(block - 1).last()) };
            BitPacker4x::new().decompress_strictly_sorted(previous, bytes, rows, width);
        }
        // Gaps are never negative and their sum cannot wrap, so the last row bounds all others.
        if rows[BLOCK - 1] == skip.last() { Ok(()) } else { self.corrupt("a block does not end with its last row") }
    }

    #[cold]
    fn decode_wide_rows(&self, block: usize, bytes: &[u8], rows: &mut [u32; BLOCK]) -> Result<()> {
        let mut next = u64::from(self.first(block));
        // The packer sums gaps of four lanes at a time in 32 bits; unpacked without summing they are checked one by one.
        BitPacker4x::new().decompress(bytes, rows, self.skip(block).row_width());
        for row in rows {
            next += u64::from(*row);
            *row = match u32::try_from(next) {
                Ok(own) => own,
                Err(_) => return self.corrupt("a block's rows leave the segment"),
            };
            next += 1;
        }
        Ok(())
    }

    /// Decodes the frequencies in the body of a block and finds those elsewhere.
    pub(crate) fn decode_frequencies(&self, block: usize, body: &mut [u32; BLOCK]) -> Result<Exceptions<'a>> {
        let skip = self.skip(block);
        let width = skip.body_width();
        let bytes = self.bytes(block).get(packed_bytes(skip.row_width())..).unwrap_or_default();
        if bytes.len() < packed_bytes(width) {
            return self.corrupt("a block is shorter than its frequencies");
        }
        BitPacker4x::new().decompress(bytes, body, width);
        for frequency in body.iter_mut() {
            *frequency ^= 1;
        }
        if skip.exceptions() == 0 {
            return Ok(Exceptions::default());
        }
        match bytes.get(packed_bytes(width)..).unwrap_or_default().split_first_chunk() {
            Some((mask, bytes)) if u128::from_le_bytes(*mask).count_ones() == u32::from(skip.exceptions()) => {
                Ok(Exceptions { mask: u128::from_le_bytes(*mask), bytes, path: Some(self.path) })
            }
            _ => self.corrupt("a block's exceptions do not fit"),
        }
    }

    /// The frequencies of one row of a block, by its place there, without decoding the others.
    #[inline]
    pub(crate) fn frequencies_at(&self, block: usize, at: usize) -> Result<PerField<u32>> {
        let skip = self.skip(block);
        let width = skip.body_width();
        let bytes = self.bytes(block).get(packed_bytes(skip.row_width())..).unwrap_or_default();
        let Some((packed, rest)) = bytes.split_at_checked(packed_bytes(width)) else {
            return self.corrupt("a block is shorter than its frequencies");
        };
        let body = unpack_one(packed, width, at) ^ 1;
        if skip.exceptions() == 0 {
            return Ok([0, 0, body]);
        }
        let Some((mask, rest)) = rest.split_first_chunk() else {
            return self.corrupt("a block's exceptions do not fit");
        };
        let mask = u128::from_le_bytes(*mask);
        if mask >> at & 1 == 0 {
            return Ok([0, 0, body]);
        }
        let before = (mask & ((1 << at) - 1)).count_ones() as usize;
        let mut rest = match rest.split_at_checked(before) {
            // Each of the exceptions before it is one byte.
            Some((passed, rest)) if !passed.contains(&ESCAPE) => rest,
            _ => {
                let mut rest = rest;
                for _ in 0..before {
                    take_exception(&mut rest);
                }
                rest
            }
        };
        match take_exception(&mut rest) {
            Some((title, headings)) => Ok([title, headings, body]),
            None => self.corrupt("a block's exceptions end early"),
        }
    }

    /// The postings after the last full block.
    pub(crate) fn tail(&self) -> impl Iterator<Item = Result<Posting>> {
        let next = self.skips.last().map_or(0, |skip| u64::from(Skip(skip).last()) + 1);
        let mut left = self.count as usize % BLOCK;
        let mut tail = Tail { bytes: self.tail, next };
        let (rows, path) = (self.rows, self.path);
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let posting = tail.posting().filter(|posting| posting.row < rows);
            if posting.is_none() {
                left = 0;
            }
            Some(posting.ok_or_else(|| Error::corrupt(path, "a list's tail ends early or leaves the segment")))
        })
    }

    /// Calls `sink` with every posting in order.
    #[cfg(test)]
    pub(crate) fn for_each(&self, mut sink: impl FnMut(Posting)) -> Result<()> {
        let (mut rows, mut body) = ([0; BLOCK], [0; BLOCK]);
        for block in 0..self.blocks() {
            self.decode_rows(block, &mut rows)?;
            let mut outside = [(0, 0); BLOCK];
            self.decode_frequencies(block, &mut body)?
                .for_each(|at, title, headings| outside[at] = (title, headings))?;
            for ((&row, &body), (title, headings)) in rows.iter().zip(&body).zip(outside) {
                sink(Posting { row, frequencies: [title, headings, body] });
            }
        }
        self.tail().try_for_each(|posting| posting.map(&mut sink))
    }

    /// How many of `rows`, which ascend, the list has: only blocks that may hold one are decoded.
    pub(crate) fn count_of(&self, rows: &[u32]) -> Result<u32> {
        let mut found = 0;
        let mut rest = rows;
        let mut block = 0;
        let mut decoded = [0; BLOCK];
        while let Some(&row) = rest.first() {
            block = self.find_block(block, row);
            if block == self.blocks() {
                break;
            }
            self.decode_rows(block, &mut decoded)?;
            let (mine, others) = rest.split_at(rest.partition_point(|&row| row <= self.skip(block).last()));
            found += mine.iter().filter(|row| decoded.binary_search(row).is_ok()).count() as u32;
            rest = others;
        }
        let Some(&last) = rest.last() else {
            return Ok(found);
        };
        for posting in self.tail() {
            let row = posting?.row;
            if row > last {
                break;
            }
            found += u32::from(rest.binary_search(&row).is_ok());
        }
        Ok(found)
    }
}
