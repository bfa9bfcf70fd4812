//! 1-bit, int8 and f16 rows on a memory map; top-k; filters as bitmaps.
//!
//! Vectors are scanned, not walked: a scan has no build step, takes any filter for free and gives the same answer each time.
//! Two paths lead to the same final score, the product of the unit query with the row in half precision, which
//! [`Simd`] levels all sum in one order:
//!
//! * **Exact.** Every allowed row is scored in int8. The row's stored residual and the query's own bound how far that
//!   score can be from the final one, so every row that could reach the top is known, and only those are scored again.
//!   The answer is that of a full scan in half precision, always.
//! * **Cascade.** Every allowed row is estimated from one bit per rotated dimension and one factor (the estimator of
//!   `RaBitQ`, Gao & Long 2024, without its centroid). The best estimates, scored in int8, show what cosine the answer reaches;
//!   the rows whose estimates come near that, by the estimator's own deviation, form a pool, and the exact path runs inside it.
//!
//! Answers do not depend on how rows are distributed over segments: a row's codes depend on the row alone, each cut is made
//! by value over all segments and keeps or drops all rows at its value, and only the last cut, among rows of equal cosine, asks the
//! caller for an order ([`top_k`]'s `order`).

mod kernels;
mod layout;
#[cfg(target_arch = "aarch64")]
mod neon;
mod rotation;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::cell::RefCell;
use std::ops::Range;

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use self::kernels::{BLOCK_ROWS, BitQuery, ByteQuery, LANES, kernels};
use self::layout::{ByteRow, HalfRows};
use self::rotation::Rotation;
use crate::bitmap::Bitmap;
use crate::error::{Error, Result};

pub(crate) use self::kernels::Kernels;
pub use self::kernels::{SIMD_VARIABLE, Simd};
pub(crate) use self::layout::{Halves, write_halves};
pub use self::layout::{MAX_DIMENSION, VectorSegment, as_stored, stored_rows, write};

/// The kernels in use.
///
/// # Errors
/// [`Error::InvalidArgument`] when [`SIMD_VARIABLE`] names no level of this processor.
pub(crate) fn kernels_in_use() -> Result<&'static Kernels> {
    kernels()
}

/// Up to this many components (allowed rows × dimension) [`Mode::Auto`] answers exactly: 65,536 rows of 256, which take less than
/// half a millisecond; the cascade takes half of that there, and a third at 100,000 rows.
pub const EXACT_COMPONENTS: u64 = 1 << 24;

/// How many times `k` [`Mode::Auto`]'s pool may hold, and at least [`MIN_POOL`].
pub const OVERSAMPLE: usize = 100;

/// The fewest rows that a pool may hold.
pub const MIN_POOL: usize = 1000;

/// By how many standard deviations of its estimate a row may miss the cosine that the answer reaches and still be in the pool.
/// Recall@100 of 300 questions, 256 dimensions, and rows in the median pool: over 1,084,886 chunks of documentation .9957 and 5,020
/// with 2.0, .9924 and 2,671 with 1.5, .9853 and 1,830 with 1.2; over 102,840 of them .9985 and 2,929, .9929 and 1,694, .9858 and
/// 1,182. Of the first twelve none is missed with 1.5.
const DEVIATIONS: f32 = 1.5;

/// How many of the best estimates show what cosine the answer reaches: so many times its rows.
const SHOWN_BY: usize = 8;

/// The fewest rows that an answer is taken to have: of fewer, one missed estimate would say too much.
const FEWEST_WANTED: usize = 32;

/// Which path a query takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The exact path.
    Exact,
    /// The cascade with a pool of up to `oversample` × `k` rows, or [`MIN_POOL`] if that is more. The rows that show what cosine the
    /// answer reaches, eight for each of its rows and all whose estimate equals the last one's, are in the pool even where they
    /// are more. Where the pool could hold every allowed row, the exact path answers.
    Cascade {
        /// How many rows the pool may hold per row of the answer.
        oversample: usize,
    },
    /// The exact path up to [`EXACT_COMPONENTS`], above it the cascade with [`OVERSAMPLE`].
    #[default]
    Auto,
}

impl std::str::FromStr for Mode {
    type Err = Error;

    /// The mode of a name: `auto`, `exact` or `cascade`, the last with [`OVERSAMPLE`].
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Auto),
            "exact" => Ok(Self::Exact),
            "cascade" => Ok(Self::Cascade { oversample: OVERSAMPLE }),
            _ => Err(Error::InvalidArgument(format!("dense is {name:?}, it must be auto, exact or cascade"))),
        }
    }
}

/// Which path answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// The answer is that of a full scan.
    Exact,
    /// The answer may miss rows that the 1-bit estimates put outside the pool.
    Cascade {
        /// How many rows the pool held.
        pool: usize,
    },
}

impl Path {
    /// Its name: `exact` or `cascade`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Cascade { .. } => "cascade",
        }
    }
}

/// A row and its cosine to the query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbor {
    /// The number of the segment in the list that was searched.
    pub segment: u32,
    /// The row inside that segment.
    pub row: u32,
    /// The product of the unit query with the row; rounding to half precision lets it pass 1 by less than 0.001.
    pub cosine: f32,
}

/// What [`top_k`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbors {
    /// The nearest rows, best first.
    pub neighbors: Vec<Neighbor>,
    /// Which path answered.
    pub path: Path,
    /// How many rows were scored in half precision.
    pub rescored: usize,
}

/// The `k` allowed rows of largest cosine over all segments.
///
/// Each segment comes with the rows that are allowed, all when `None`; rows beyond a bitmap's size are not allowed. Rows of
/// equal cosine are ordered by `order(segment, row)`, then by segment and row; `order` is asked only for those. With keys
/// that identify a row whatever segment it lies in, the answer does not depend on the segments.
///
/// A zero query has no neighbours. Zero rows are never neighbours.
///
/// # Errors
/// [`Error::InvalidArgument`] when the query is not finite or not of the segments' dimension, or [`SIMD_VARIABLE`] is wrong;
/// [`Error::IndexCorrupt`] when a row that is read is damaged.
pub fn top_k(
    segments: &[(&VectorSegment, Option<&Bitmap>)],
    query: &[f32],
    k: usize,
    mode: Mode,
    order: impl Fn(u32, u32) -> [u64; 3],
) -> Result<Neighbors> {
    match Query::new(query)? {
        Some(query) => top_k_of(segments, &query, k, mode, order),
        None => Ok(Neighbors { neighbors: Vec::new(), path: Path::Exact, rescored: 0 }),
    }
}

/// As [`top_k`].
pub(crate) fn top_k_of(
    segments: &[(&VectorSegment, Option<&Bitmap>)],
    query: &Query,
    k: usize,
    mode: Mode,
    order: impl Fn(u32, u32) -> [u64; 3],
) -> Result<Neighbors> {
    let nothing = Neighbors { neighbors: Vec::new(), path: Path::Exact, rescored: 0 };
    for (segment, _) in segments {
        query.check(segment)?;
    }
    let search = Search { segments, query, kernels: kernels()? };
    let allowed = search.allowed();
    if k == 0 || allowed == 0 {
        return Ok(nothing);
    }
    let (candidates, path) = match pool_size(mode, k, allowed, search.query.dimension) {
        Some(limit) => {
            let (candidates, pool) = search.cascade(limit, k, allowed)?;
            (candidates, Path::Cascade { pool })
        }
        None => (search.bounded(k, allowed)?, Path::Exact),
    };
    let mut neighbors = search.scored(&candidates)?;
    let rescored = neighbors.len();
    keep_best(&mut neighbors, k, order);
    Ok(Neighbors { neighbors, path, rescored })
}

/// How many rows the cascade's pool may hold; nothing when the exact path is to answer.
fn pool_size(mode: Mode, k: usize, allowed: u64, dimension: usize) -> Option<usize> {
    let oversample = match mode {
        Mode::Exact => return None,
        Mode::Auto if allowed * dimension as u64 <= EXACT_COMPONENTS => return None,
        Mode::Auto => OVERSAMPLE,
        Mode::Cascade { oversample } => oversample.max(1),
    };
    let pool = k.saturating_mul(oversample).max(MIN_POOL);
    ((pool as u64) < allowed).then_some(pool)
}

/// Sorts by cosine, then by the caller's order, and keeps `k`.
fn keep_best(neighbors: &mut Vec<Neighbor>, k: usize, order: impl Fn(u32, u32) -> [u64; 3]) {
    neighbors.sort_unstable_by(|a, b| {
        b.cosine
            .total_cmp(&a.cosine)
            .then_with(|| order(a.segment, a.row).cmp(&order(b.segment, b.row)))
            .then_with(|| (a.segment, a.row).cmp(&(b.segment, b.row)))
    });
    neighbors.truncate(k);
}

/// A query divided by its length and padded to whole lanes.
#[derive(Debug)]
pub(crate) struct Query {
    dimension: usize,
    unit: Vec<f32>,
}

impl Query {
    /// Nothing for a zero query.
    pub(crate) fn new(query: &[f32]) -> Result<Option<Self>> {
        if query.iter().any(|value| !value.is_finite()) {
            return Err(Error::InvalidArgument("the query vector holds a number that is not finite".into()));
        }
        Ok(layout::length(query).map(|norm| {
            let mut unit: Vec<f32> = query.iter().map(|&value| (f64::from(value) / norm) as f32).collect();
            unit.resize(query.len().next_multiple_of(LANES), 0.0);
            Self { dimension: query.len(), unit }
        }))
    }

    fn check(&self, segment: &VectorSegment) -> Result<()> {
        if segment.dimension() == self.dimension {
            return Ok(());
        }
        Err(Error::InvalidArgument(format!(
            "the query vector has {} dimensions, the index has {}",
            self.dimension,
            segment.dimension()
        )))
    }

    /// The query in integers, with what is needed to bound the error of a row's product.
    ///
    /// With q′ and x′ the quantised forms of the query q and a row x, `|q·x − q′·x′| ≤ ‖q − q′‖ ‖x′‖ + ‖q‖ ‖x − x′‖`. The last
    /// norm is stored with the row. To that comes the rounding of both sums in single precision.
    fn in_bytes(&self) -> ByteQuery {
        let sum: f64 = self.unit.iter().map(|&value| f64::from(value.abs())).sum();
        let largest = self.unit.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        // Two digits hold ±16256, and no partial sum of 127 × a level may leave an i32.
        let levels = 16256f64.min((f64::from(i32::MAX) / 127.0 - self.unit.len() as f64) * f64::from(largest) / sum);
        let step = (f64::from(largest) / levels) as f32;
        let mut wide: Vec<i16> = self
            .unit
            .iter()
            .map(|&value| (f64::from(value) / f64::from(step)).round().clamp(-16256.0, 16256.0) as i16)
            .collect();
        wide.resize(self.dimension.next_multiple_of(64), 0);
        let low: Vec<i8> = wide.iter().map(|level| ((level + 64) & 127) as i8 - 64).collect();
        let high = wide.iter().zip(&low).map(|(level, low)| ((level - i16::from(*low)) / 128) as i8).collect();
        let lost =
            self.unit.iter().zip(&wide).map(|(&value, &level)| f64::from(value) - f64::from(step) * f64::from(level));
        let residual = lost.map(|lost| lost * lost).sum::<f64>().sqrt();
        let rounding = (self.dimension / LANES + 32) as f64 * f64::from(f32::EPSILON);
        ByteQuery {
            // May pass an i32, as the kernels' sums before it is taken off; both wrap, and the difference fits.
            bias: wide.iter().map(|&level| i32::from(level)).sum::<i32>().wrapping_mul(128),
            wide,
            high,
            low,
            step,
            residual_weight: (1.0 + residual + 1e-6) as f32,
            slack: (residual * 1.01 + rounding) as f32,
        }
    }

    /// The rotated query as tables for the 1-bit scan.
    fn in_tables(&self) -> BitQuery {
        let mut rotated = self.unit.clone();
        rotated.resize(Rotation::width(self.dimension), 0.0);
        Rotation::new(self.dimension).apply(&mut rotated);
        let groups = rotated.as_chunks::<4>().0;
        let size = |group: &[f32; 4]| group.iter().map(|value| value.abs()).sum::<f32>();
        let largest = groups.iter().map(size).fold(f32::MIN_POSITIVE, f32::max);
        // Two entries are added in a byte, and all of them in sixteen bits.
        let levels = (usize::from(u16::MAX) / groups.len()).min(127);
        let step = 2.0 * largest / levels as f32;
        let table = |group: &[f32; 4]| {
            let least = size(group);
            std::array::from_fn(|pattern| {
                let sum: f32 = (0..4).map(|bit| if pattern >> bit & 1 == 1 { group[bit] } else { -group[bit] }).sum();
                ((sum + least) / step).round().clamp(0.0, levels as f32) as u8
            })
        };
        BitQuery { tables: groups.iter().map(table).collect(), step, offset: -groups.iter().map(size).sum::<f32>() }
    }
}

/// A row that may be among the answers, and what is known of its cosine.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    upper: f32,
    lower: f32,
    segment: u32,
    row: u32,
}

/// Every how many blocks the sample takes one, from which the threshold of a scan is guessed.
const SAMPLE_STEP: usize = 32;

/// Blocks that a thread scans before it looks for another to share the rest with.
const PIECE: usize = if cfg!(test) { 2 } else { 1024 };

/// Below this many allowed rows a scan needs no guess.
const SAMPLE_FROM: u64 = 4096;

struct Search<'a> {
    segments: &'a [(&'a VectorSegment, Option<&'a Bitmap>)],
    query: &'a Query,
    kernels: &'static Kernels,
}

impl Search<'_> {
    fn allowed(&self) -> u64 {
        let allowed = |&(segment, filter): &(&VectorSegment, Option<&Bitmap>)| {
            blocks_of(segment).map(|block| ones(word(segment.rows(), filter, block))).sum::<u64>()
        };
        self.segments.iter().map(allowed).sum()
    }

    /// All rows whose int8 bounds let them be among the `k` best.
    fn bounded(&self, k: usize, allowed: u64) -> Result<Vec<Candidate>> {
        let query = self.query.in_bytes();
        best(k, allowed, |step, threshold, found| self.scan_bytes(&query, step, threshold, found))
    }

    /// The rows of the pool whose int8 bounds let them be among the `k` best of it, and how many rows the pool holds.
    ///
    /// The pool is defined by values over all rows, so neither segments nor the guess from a sample change it.
    fn cascade(&self, limit: usize, k: usize, allowed: u64) -> Result<(Vec<Candidate>, usize)> {
        let (bits, bytes) = (self.query.in_tables(), self.query.in_bytes());
        let wanted = k.max(FEWEST_WANTED);
        let doubt = DEVIATIONS * deviation(Rotation::width(self.query.dimension));
        with_scratch(|found| {
            self.scan_bits(&bits, SAMPLE_STEP, f32::MIN, found)?;
            let rank = sampled_rank(found.len(), wanted, allowed, 2.0);
            let guess = match value_at(found, rank * SHOWN_BY) {
                Some(least) => {
                    found.retain(|candidate| candidate.upper >= least);
                    value_at(&self.in_bytes(found, &bytes)?, rank).map_or(f32::MIN, |reach| reach - doubt)
                }
                None => f32::MIN,
            };
            found.clear();
            self.scan_bits(&bits, 1, guess, found)?;
            if guess > f32::MIN && found.len() <= wanted * SHOWN_BY {
                found.clear();
                self.scan_bits(&bits, 1, f32::MIN, found)?;
            }
            // Rows at or above `shown` show what is reached; the pool is these and what lies between it and `near`.
            let shown = value_at(found, wanted * SHOWN_BY).unwrap_or(f32::MIN);
            let best: Vec<Candidate> = found.iter().filter(|candidate| candidate.upper >= shown).copied().collect();
            let mut pool = self.in_bytes(&best, &bytes)?;
            let near = value_at(&pool, wanted - 1).map_or(f32::MIN, |reach| reach - doubt);
            if near < guess {
                found.clear();
                self.scan_bits(&bits, 1, near, found)?;
            }
            found.retain(|candidate| candidate.upper < shown && candidate.upper >= near);
            if let Some(least) = value_at(found, limit.saturating_sub(best.len())) {
                found.retain(|candidate| candidate.upper > least);
            }
            pool.extend(self.in_bytes(found, &bytes)?);
            let size = pool.len();
            cut(&mut pool, k);
            pool.sort_unstable_by_key(|candidate| (candidate.segment, candidate.row));
            Ok((pool, size))
        })
    }

    fn scan_bytes(&self, query: &ByteQuery, step: usize, threshold: f32, found: &mut Vec<Candidate>) -> Result<()> {
        for (number, &(segment, filter)) in self.segments.iter().enumerate() {
            let rows = segment.bytes()?;
            let scan = |blocks: Range<usize>, found: &mut Vec<Candidate>| {
                let mut upper = [0.0; BLOCK_ROWS];
                let mut read_all = true;
                for index in blocks.step_by(step) {
                    let word = word(segment.rows(), filter, index);
                    if word == 0 {
                        read_all = false;
                        continue;
                    }
                    let block = rows.block(index)?;
                    let reached = (self.kernels.scan_bytes)(block, query, threshold, &mut upper) & word;
                    found.extend(positions(reached).map(|row| {
                        let error = 2.0 * query.error(block.residuals[row]);
                        let (segment, row_number) = (number as u32, (index * BLOCK_ROWS + row) as u32);
                        Candidate { upper: upper[row], lower: upper[row] - error, segment, row: row_number }
                    }));
                }
                Ok(read_all)
            };
            if in_pieces(blocks_of(segment), found, step, &scan)? {
                rows.complete()?;
            }
        }
        Ok(())
    }

    fn scan_bits(&self, query: &BitQuery, step: usize, threshold: f32, found: &mut Vec<Candidate>) -> Result<()> {
        for (number, &(segment, filter)) in self.segments.iter().enumerate() {
            let rows = segment.bits()?;
            let scan = |blocks: Range<usize>, found: &mut Vec<Candidate>| {
                let mut estimates = [0.0; BLOCK_ROWS];
                let mut read_all = true;
                for index in blocks.step_by(step) {
                    let word = word(segment.rows(), filter, index);
                    if word == 0 {
                        read_all = false;
                        continue;
                    }
                    let block = rows.block(index)?;
                    let reached = (self.kernels.scan_bits)(block, query, threshold, &mut estimates) & word;
                    found.extend(positions(reached).map(|row| {
                        let (segment, row_number) = (number as u32, (index * BLOCK_ROWS + row) as u32);
                        Candidate { upper: estimates[row], lower: estimates[row], segment, row: row_number }
                    }));
                }
                Ok(read_all)
            };
            if in_pieces(blocks_of(segment), found, step, &scan)? {
                rows.complete()?;
            }
        }
        Ok(())
    }

    /// The same rows with their int8 bounds; zero rows are left out.
    fn in_bytes(&self, candidates: &[Candidate], query: &ByteQuery) -> Result<Vec<Candidate>> {
        let mut found = Vec::with_capacity(candidates.len());
        for run in candidates.chunk_by(|a, b| a.segment == b.segment) {
            let Some(rows) = self.rows_of(run, VectorSegment::bytes)? else { continue };
            let columns = rows.columns()?;
            let coming = |candidate: &Candidate| {
                let row = rows.row(candidate.row, columns)?;
                kernels::prefetch(row.codes);
                kernels::prefetch(std::slice::from_ref(row.scale));
                kernels::prefetch(std::slice::from_ref(row.residual));
                Ok(row)
            };
            let score = |candidate: &Candidate, row: ByteRow<'_>| {
                let (scale, residual) = (*row.scale, *row.residual);
                let upper = query.upper((self.kernels.dot_bytes)(row.codes, query), scale, residual);
                if !upper.is_nan() {
                    found.push(Candidate { upper, lower: upper - 2.0 * query.error(residual), ..*candidate });
                }
            };
            rows.reading(run.iter().map(|candidate| candidate.row), || ahead(run, coming, score))?;
        }
        Ok(found)
    }

    /// The candidates' final scores.
    fn scored(&self, candidates: &[Candidate]) -> Result<Vec<Neighbor>> {
        let mut neighbors = Vec::with_capacity(candidates.len());
        for run in candidates.chunk_by(|a, b| a.segment == b.segment) {
            let Some(rows) = self.rows_of(run, VectorSegment::halves)? else { continue };
            let score = |&Candidate { segment, row, .. }: &Candidate, halves: &[u16]| {
                let cosine = (self.kernels.dot_halves)(halves, &self.query.unit);
                neighbors.push(Neighbor { segment, row, cosine });
            };
            rows.reading(run.iter().map(|candidate| candidate.row), || {
                ahead(run, |candidate| fetched(rows.row(candidate.row)?), score)
            })?;
        }
        Ok(neighbors)
    }

    /// The rows of the segment that a run of candidates lies in.
    fn rows_of<'a, R>(&'a self, run: &[Candidate], rows: impl Fn(&'a VectorSegment) -> Result<R>) -> Result<Option<R>> {
        let segment = run.first().and_then(|first| self.segments.get(first.segment as usize));
        segment.map(|(segment, _)| rows(segment)).transpose()
    }
}

/// How many rows ahead of their use scattered rows are asked for: what hides the memory's latency.
const ROWS_AHEAD: usize = 16;

/// Calls `each` with the candidates and what `row` gives for them, in order, while the rows that follow are on their way from
/// memory: `row` asks for them.
fn ahead<C, R: Copy>(candidates: &[C], row: impl Fn(&C) -> Result<R>, mut each: impl FnMut(&C, R)) -> Result<()> {
    let first = candidates.first().map(&row).transpose()?;
    let Some(first) = first else { return Ok(()) };
    let mut coming = [first; ROWS_AHEAD];
    for (slot, candidate) in coming.iter_mut().zip(candidates).skip(1) {
        *slot = row(candidate)?;
    }
    for (index, candidate) in candidates.iter().enumerate() {
        let slot = &mut coming[index % ROWS_AHEAD];
        let own = *slot;
        if let Some(next) = candidates.get(index + ROWS_AHEAD) {
            *slot = row(next)?;
        }
        each(candidate, own);
    }
    Ok(())
}

/// Asks for `values` and returns them.
#[allow(clippy::unnecessary_wraps)] // It stands where rows are read, which can fail.
fn fetched<T>(values: &[T]) -> Result<&[T]> {
    kernels::prefetch(values);
    Ok(values)
}

thread_local! {
    static SCRATCH: RefCell<Vec<Candidate>> = const { RefCell::new(Vec::new()) };
}

/// Candidates that a thread keeps space for from search to search: without it each would ask the system for memory anew.
const KEPT_CANDIDATES: usize = 1 << 15;

/// Runs `work` with an empty list of this thread's.
fn with_scratch<T>(work: impl FnOnce(&mut Vec<Candidate>) -> T) -> T {
    let mut found = SCRATCH.take();
    found.clear();
    let outcome = work(&mut found);
    found.clear();
    found.shrink_to(KEPT_CANDIDATES);
    SCRATCH.set(found);
    outcome
}

/// The standard deviation of the estimate of a row's cosine from the signs of its `width` rotated components, where the
/// cosine is small: with `α = ‖x‖₁ / √width`, which is near `√(2/π)`, it is `√(1/α² − 1) / √(width − 1)` (Gao & Long 2024).
fn deviation(width: usize) -> f32 {
    ((std::f32::consts::FRAC_PI_2 - 1.0) / (width as f32 - 1.0)).sqrt()
}

/// The blocks of 64 rows that a segment has.
fn blocks_of(segment: &VectorSegment) -> Range<usize> {
    0..segment.rows().div_ceil(BLOCK_ROWS as u32) as usize
}

/// The allowed rows of a block of a segment, a bit for each.
fn word(rows: u32, filter: Option<&Bitmap>, block: usize) -> u64 {
    let present = rows as usize - block * BLOCK_ROWS;
    let all = if present < BLOCK_ROWS { (1 << present) - 1 } else { u64::MAX };
    filter.map_or(all, |filter| all & filter.words().get(block).copied().unwrap_or(0))
}

/// Runs `scan` over all of `blocks`, and returns whether it read them all. Where this is a thread of the pool, which a question is on
/// only when the pool has nothing else to do, another of its threads may take a part. What is found is the same, in the same order.
fn in_pieces(
    blocks: Range<usize>,
    found: &mut Vec<Candidate>,
    step: usize,
    scan: &(impl Fn(Range<usize>, &mut Vec<Candidate>) -> Result<bool> + Sync),
) -> Result<bool> {
    if step > 1 || blocks.len() <= PIECE || rayon::current_thread_index().is_none() {
        return Ok(scan(blocks, found)? && step == 1);
    }
    let middle = blocks.start + blocks.len() / 2;
    let mut later = Vec::new();
    let (first, second) = rayon::join(
        || in_pieces(blocks.start..middle, found, step, scan),
        || in_pieces(middle..blocks.end, &mut later, step, scan),
    );
    found.append(&mut later);
    Ok(first? & second?)
}

fn ones(word: u64) -> u64 {
    u64::from(word.count_ones())
}

/// The positions of the set bits.
fn positions(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let position = bits.trailing_zeros() as usize;
        bits &= bits.checked_sub(1)?;
        Some(position)
    })
}

/// Runs a scan so that it finds every row that could be among the `wanted` best of `allowed`, and few others.
///
/// The scan is `(step, threshold, found)`: every `step`-th block, rows whose upper bound reaches the threshold. The threshold
/// is guessed from a sample; where the guess turns out too high, all rows are taken. Either way the outcome is the same.
fn best(
    wanted: usize,
    allowed: u64,
    scan: impl Fn(usize, f32, &mut Vec<Candidate>) -> Result<()>,
) -> Result<Vec<Candidate>> {
    with_scratch(|found| {
        if allowed >= SAMPLE_FROM {
            scan(SAMPLE_STEP, f32::MIN, found)?;
            let guess = value_at(found, sampled_rank(found.len(), wanted, allowed, 3.0)).unwrap_or(f32::MIN);
            found.clear();
            if guess > f32::MIN {
                scan(1, guess, found)?;
                if found.iter().filter(|candidate| candidate.lower >= guess).count() >= wanted {
                    cut(found, wanted);
                    return Ok(found.clone());
                }
                found.clear();
            }
        }
        scan(1, f32::MIN, found)?;
        cut(found, wanted);
        Ok(found.clone())
    })
}

/// The rank in a sample of a value that `wanted` of `allowed` rows reach but for bad luck of so many standard deviations.
fn sampled_rank(sample: usize, wanted: usize, allowed: u64, deviations: f64) -> usize {
    let expected = wanted as f64 * sample as f64 / allowed.max(1) as f64;
    (expected + deviations * expected.sqrt()).ceil() as usize + 4
}

/// The lower bound that exactly `rank` candidates precede.
fn value_at(candidates: &[Candidate], rank: usize) -> Option<f32> {
    let mut values: Vec<f32> = candidates.iter().map(|candidate| candidate.lower).collect();
    (rank < values.len()).then(|| *values.select_nth_unstable_by(rank, |a, b| b.total_cmp(a)).1)
}

/// Keeps the candidates that could be among the `wanted` best, in their order.
fn cut(candidates: &mut Vec<Candidate>, wanted: usize) {
    if let Some(threshold) = wanted.checked_sub(1).and_then(|rank| value_at(candidates, rank)) {
        candidates.retain(|candidate| candidate.upper >= threshold);
    }
}

impl VectorSegment {
    /// The cosine of each of the chunks' `rows` to the query, by the same sum as [`top_k`]'s; 0 for zero rows and queries.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the query is not finite or of another dimension, or there is no such row;
    /// [`Error::IndexCorrupt`] when a row is damaged.
    pub fn cosines(&self, rows: &[u32], query: &[f32]) -> Result<Vec<f32>> {
        self.products(rows, query, Self::halves)
    }

    /// The cosine of each of the documents' `rows` to the query, as [`VectorSegment::cosines`].
    ///
    /// # Errors
    /// As [`VectorSegment::cosines`].
    pub fn document_cosines(&self, rows: &[u32], query: &[f32]) -> Result<Vec<f32>> {
        self.products(rows, query, Self::document_halves)
    }

    fn products<'a>(
        &'a self,
        rows: &[u32],
        query: &[f32],
        halves: impl Fn(&'a Self) -> Result<HalfRows<'a>>,
    ) -> Result<Vec<f32>> {
        let Some(query) = Query::new(query)? else { return Ok(vec![0.0; rows.len()]) };
        query.check(self)?;
        products(rows, &query, halves(self)?)
    }

    /// As [`VectorSegment::cosines`].
    pub(crate) fn cosines_of(&self, rows: &[u32], query: &Query) -> Result<Vec<f32>> {
        query.check(self)?;
        products(rows, query, self.halves()?)
    }

    /// As [`VectorSegment::document_cosines`].
    pub(crate) fn document_cosines_of(&self, rows: &[u32], query: &Query) -> Result<Vec<f32>> {
        query.check(self)?;
        products(rows, query, self.document_halves()?)
    }

    /// A chunk's vector as it lies in the file, for [`Stored::cosine`].
    pub(crate) fn stored(&self, row: u32) -> Result<Stored<'_>> {
        Ok(Stored(self.halves()?.row(row)?))
    }

    /// The unit vector of a chunk, as stored; zeros for a zero row.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when there is no such row; [`Error::IndexCorrupt`] when it is damaged.
    pub fn vector(&self, row: u32) -> Result<Vec<f32>> {
        self.vectors(&[row])
    }

    /// The unit vectors of several chunks, one after the other: what [`crate::mmr::select`] takes.
    ///
    /// # Errors
    /// As [`VectorSegment::vector`].
    pub fn vectors(&self, rows: &[u32]) -> Result<Vec<f32>> {
        let mut vectors = Vec::with_capacity(rows.len() * self.dimension());
        for &row in rows {
            vectors.extend(self.stored(row)?.floats().iter().take(self.dimension()));
        }
        Ok(vectors)
    }
}

/// The product of each of `rows` with the query.
fn products(rows: &[u32], query: &Query, halves: HalfRows<'_>) -> Result<Vec<f32>> {
    let dot = kernels()?.dot_halves;
    let mut products = Vec::with_capacity(rows.len());
    halves.reading(rows.iter().copied(), || {
        ahead(rows, |&row| fetched(halves.row(row)?), |_, row| products.push(dot(row, &query.unit)))
    })?;
    Ok(products)
}

/// A unit vector in half precision, padded to whole lanes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored<'a>(&'a [u16]);

impl Stored<'_> {
    /// The vector in single precision, padded as it is.
    pub(crate) fn floats(self) -> Vec<f32> {
        let mut floats = vec![0.0; self.0.len()];
        let halves: &[f16] = self.0.reinterpret_cast();
        halves.convert_to_f32_slice(&mut floats);
        floats
    }

    /// The product with the [`Stored::floats`] of another vector of the segment's dimension, the same bits as that of both in
    /// single precision.
    pub(crate) fn cosine(self, other: &[f32], kernels: &Kernels) -> f32 {
        (kernels.dot_halves)(self.0, other)
    }
}

#[cfg(test)]
mod tests;
