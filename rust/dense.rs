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
//!   `RaBitQ`, Gao & Long 2024, without its centroid), the best of them form a pool, and the exact path runs inside the pool.
//!
//! Answers do not depend on how rows are distributed over segments: a row's codes depend on the row alone, each cut is made
//! by value over all segments and keeps all rows at its value, and only the last cut, among rows of equal cosine, asks the
//! caller for an order ([`top_k`]'s `order`).

mod kernels;
mod layout;
#[cfg(target_arch = "aarch64")]
mod neon;
mod rotation;
#[cfg(target_arch = "x86_64")]
mod x86;

use half::f16;

use self::kernels::{BLOCK_ROWS, BitQuery, ByteQuery, LANES, kernels};
use self::layout::HalfRows;
use self::rotation::Rotation;
use crate::bitmap::Bitmap;
use crate::error::{Error, Result};

pub(crate) use self::kernels::Kernels;
pub use self::kernels::{SIMD_VARIABLE, Simd};
pub(crate) use self::layout::{Halves, write_halves};
pub use self::layout::{MAX_DIMENSION, VectorSegment, as_stored, write};

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

/// How many times `k` [`Mode::Auto`]'s pool holds. Recall@100 over 100,000 real passages of 256 dimensions and 300 questions:
/// .950 with 10, .984 with 20, .993 with 30, .996 with 40.
pub const OVERSAMPLE: usize = 40;

/// The fewest rows a pool holds.
pub const MIN_POOL: usize = 1000;

/// Which path a query takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The exact path.
    Exact,
    /// The cascade with a pool of `oversample` × `k` rows, at least [`MIN_POOL`]. Where the pool would hold every allowed
    /// row, the exact path answers.
    Cascade {
        /// Rows in the pool per row of the answer.
        oversample: usize,
    },
    /// The exact path up to [`EXACT_COMPONENTS`], above it the cascade with [`OVERSAMPLE`].
    #[default]
    Auto,
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
    let nothing = Neighbors { neighbors: Vec::new(), path: Path::Exact, rescored: 0 };
    let Some(query) = Query::new(query)? else { return Ok(nothing) };
    for (segment, _) in segments {
        query.check(segment)?;
    }
    let search = Search { segments, query, kernels: kernels()? };
    let allowed = search.allowed();
    if k == 0 || allowed == 0 {
        return Ok(nothing);
    }
    let (candidates, path) = match pool_size(mode, k, allowed, search.query.dimension) {
        Some(pool) => {
            let rows = search.estimated(pool, allowed)?;
            let pool = rows.len();
            (search.bounded_within(&rows, k)?, Path::Cascade { pool })
        }
        None => (search.bounded(k, allowed)?, Path::Exact),
    };
    let mut neighbors = search.scored(&candidates)?;
    let rescored = neighbors.len();
    keep_best(&mut neighbors, k, order);
    Ok(Neighbors { neighbors, path, rescored })
}

/// How many rows the cascade's pool holds; nothing when the exact path is to answer.
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
struct Query {
    dimension: usize,
    unit: Vec<f32>,
}

impl Query {
    /// Nothing for a zero query.
    fn new(query: &[f32]) -> Result<Option<Self>> {
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

/// Below this many allowed rows a scan needs no guess.
const SAMPLE_FROM: u64 = 4096;

struct Search<'a> {
    segments: &'a [(&'a VectorSegment, Option<&'a Bitmap>)],
    query: Query,
    kernels: &'static Kernels,
}

impl Search<'_> {
    fn allowed(&self) -> u64 {
        self.segments.iter().map(|(segment, filter)| words(segment.rows(), *filter).map(ones).sum::<u64>()).sum()
    }

    /// All rows whose int8 bounds let them be among the `k` best.
    fn bounded(&self, k: usize, allowed: u64) -> Result<Vec<Candidate>> {
        let query = self.query.in_bytes();
        best(k, allowed, |step, threshold, found| self.scan_bytes(&query, step, threshold, found))
    }

    /// The rows of the `pool` best estimates.
    fn estimated(&self, pool: usize, allowed: u64) -> Result<Vec<Candidate>> {
        let query = self.query.in_tables();
        best(pool, allowed, |step, threshold, found| self.scan_bits(&query, step, threshold, found))
    }

    fn scan_bytes(&self, query: &ByteQuery, step: usize, threshold: f32, found: &mut Vec<Candidate>) -> Result<()> {
        let mut upper = [0.0; BLOCK_ROWS];
        for (number, (segment, filter)) in self.segments.iter().enumerate() {
            let rows = segment.bytes()?;
            for (index, word) in words(segment.rows(), *filter).enumerate().step_by(step).filter(|(_, word)| *word != 0)
            {
                let block = rows.block(index)?;
                let reached = (self.kernels.scan_bytes)(block, query, threshold, &mut upper) & word;
                found.extend(positions(reached).map(|row| {
                    let error = 2.0 * query.error(block.residuals[row]);
                    let (segment, row_number) = (number as u32, (index * BLOCK_ROWS + row) as u32);
                    Candidate { upper: upper[row], lower: upper[row] - error, segment, row: row_number }
                }));
            }
            if filter.is_none() && step == 1 {
                rows.complete()?;
            }
        }
        Ok(())
    }

    fn scan_bits(&self, query: &BitQuery, step: usize, threshold: f32, found: &mut Vec<Candidate>) -> Result<()> {
        let mut estimates = [0.0; BLOCK_ROWS];
        for (number, (segment, filter)) in self.segments.iter().enumerate() {
            let rows = segment.bits()?;
            for (index, word) in words(segment.rows(), *filter).enumerate().step_by(step).filter(|(_, word)| *word != 0)
            {
                let block = rows.block(index)?;
                let reached = (self.kernels.scan_bits)(block, query, threshold, &mut estimates) & word;
                found.extend(positions(reached).map(|row| {
                    let (segment, row_number) = (number as u32, (index * BLOCK_ROWS + row) as u32);
                    Candidate { upper: estimates[row], lower: estimates[row], segment, row: row_number }
                }));
            }
            if filter.is_none() && step == 1 {
                rows.complete()?;
            }
        }
        Ok(())
    }

    /// Those rows of a pool whose int8 bounds let them be among its `k` best.
    fn bounded_within(&self, pool: &[Candidate], k: usize) -> Result<Vec<Candidate>> {
        let query = self.query.in_bytes();
        let mut found = Vec::with_capacity(pool.len());
        for run in pool.chunk_by(|a, b| a.segment == b.segment) {
            let Some(rows) = self.rows_of(run, VectorSegment::bytes)? else { continue };
            let (scales, residuals) = rows.columns()?;
            ahead(
                run,
                |row| rows.codes(row),
                |candidate, codes| {
                    let row = candidate.row as usize;
                    if let (Some(&scale), Some(&residual)) = (scales.get(row), residuals.get(row)) {
                        let upper = query.upper((self.kernels.dot_bytes)(codes, &query), scale, residual);
                        found.push(Candidate { upper, lower: upper - 2.0 * query.error(residual), ..candidate });
                    }
                },
            )?;
        }
        cut(&mut found, k);
        Ok(found)
    }

    /// The candidates' final scores.
    fn scored(&self, candidates: &[Candidate]) -> Result<Vec<Neighbor>> {
        let mut neighbors = Vec::with_capacity(candidates.len());
        for run in candidates.chunk_by(|a, b| a.segment == b.segment) {
            let Some(rows) = self.rows_of(run, VectorSegment::halves)? else { continue };
            ahead(
                run,
                |row| rows.row(row),
                |Candidate { segment, row, .. }, halves| {
                    let cosine = (self.kernels.dot_halves)(halves, &self.query.unit);
                    neighbors.push(Neighbor { segment, row, cosine });
                },
            )?;
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

/// Calls `each` with the candidates and their rows in order, while the rows that follow are on their way from memory.
fn ahead<'a, T: 'a>(
    candidates: &[Candidate],
    row: impl Fn(u32) -> Result<&'a [T]>,
    mut each: impl FnMut(Candidate, &'a [T]),
) -> Result<()> {
    let mut coming = std::collections::VecDeque::with_capacity(ROWS_AHEAD + 1);
    for &candidate in candidates {
        let values = row(candidate.row)?;
        kernels::prefetch(values);
        coming.push_back((candidate, values));
        if coming.len() > ROWS_AHEAD
            && let Some((candidate, values)) = coming.pop_front()
        {
            each(candidate, values);
        }
    }
    for (candidate, values) in coming {
        each(candidate, values);
    }
    Ok(())
}

/// The allowed rows of a segment, 64 to a word.
fn words(rows: u32, filter: Option<&Bitmap>) -> impl Iterator<Item = u64> {
    (0..rows.div_ceil(64)).map(move |index| {
        let present = rows - index * 64;
        let all = if present < 64 { (1 << present) - 1 } else { u64::MAX };
        filter.map_or(all, |filter| all & filter.words().get(index as usize).copied().unwrap_or(0))
    })
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
    let mut found = Vec::new();
    if allowed >= SAMPLE_FROM {
        scan(SAMPLE_STEP, f32::MIN, &mut found)?;
        let guess = guess(&found, wanted, allowed);
        found.clear();
        if guess > f32::MIN {
            scan(1, guess, &mut found)?;
            if found.iter().filter(|candidate| candidate.lower >= guess).count() >= wanted {
                cut(&mut found, wanted);
                return Ok(found);
            }
            found.clear();
        }
    }
    scan(1, f32::MIN, &mut found)?;
    cut(&mut found, wanted);
    Ok(found)
}

/// A value that very probably `wanted` of `allowed` rows reach, from a sample of them.
fn guess(sample: &[Candidate], wanted: usize, allowed: u64) -> f32 {
    let expected = wanted as f64 * sample.len() as f64 / allowed as f64;
    let rank = (expected + 3.0 * expected.sqrt()).ceil() as usize + 4;
    value_at(sample, rank).unwrap_or(f32::MIN)
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
        let (kernels, halves) = (kernels()?, halves(self)?);
        rows.iter().map(|&row| Ok((kernels.dot_halves)(halves.row(row)?, &query.unit))).collect()
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
        let halves = self.halves()?;
        for &row in rows {
            let row = halves.row(row)?.iter().take(self.dimension());
            vectors.extend(row.map(|&half| f16::from_bits(half).to_f32()));
        }
        Ok(vectors)
    }
}

#[cfg(test)]
mod tests;
