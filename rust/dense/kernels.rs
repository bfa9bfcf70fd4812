//! The innermost loops of the dense scan, once per instruction set, behind one table of functions.
//!
//! Every level gives the same bits. The integer kernels are exact, so their order of summation is free; the two floating-point
//! kernels add in one fixed order (32 lanes, then halves: `lane[i] += lane[i + 16]`, `+ 8`, `+ 4`, `+ 2`, `+ 1`), with a
//! multiplication and an addition that are each rounded, never fused. [`Simd::Scalar`] is the reference that the tests hold
//! the other levels to.

// What is inlined into a kernel is compiled with the kernel's instruction set.
#![allow(clippy::inline_always)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use half::f16;

use crate::error::{Error, Result};

/// How many rows a kernel takes at a time: the rows of one word of a [`crate::bitmap::Bitmap`].
pub(crate) const BLOCK_ROWS: usize = 64;

/// How many partial sums the floating-point kernels keep.
pub(crate) const LANES: usize = 32;

/// The environment variable that overrides the detected instruction set.
pub const SIMD_VARIABLE: &str = "CLOCKIFY_RAG_SIMD";

/// An instruction set for which there are kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simd {
    /// Plain Rust: runs everywhere, and is the reference of the others.
    Scalar,
    /// x86-64 with AVX2 and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, VL and VNNI.
    Avx512,
    /// `AArch64` with Advanced SIMD; only on demand, until it has been tested on such a processor.
    Neon,
}

impl Simd {
    const ALL: [Self; 4] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Neon];

    /// The name that [`SIMD_VARIABLE`] takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }

    /// The levels this processor has, slowest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|level| level.kernels().is_some()).collect()
    }

    /// The level in use: the forced one, else that of [`SIMD_VARIABLE`], else the best this processor has that was tested.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the variable names no level of this processor.
    pub fn chosen() -> Result<Self> {
        Ok(kernels()?.level)
    }

    /// Makes every later call use `self`, or with `None` the level chosen at load again: for tests and benches.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when this processor does not have the level.
    pub fn force(level: Option<Self>) -> Result<()> {
        if let Some(missing) = level.filter(|level| level.kernels().is_none()) {
            return Err(unavailable(missing.name()));
        }
        FORCED.store(level.map_or(NOT_FORCED, |level| level as u8), Ordering::Relaxed);
        Ok(())
    }

    fn kernels(self) -> Option<&'static Kernels> {
        match self {
            Self::Scalar => Some(&SCALAR),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => super::x86::avx2(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => super::x86::avx512(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => super::neon::neon(),
            #[allow(unreachable_patterns)]
            _ => None,
        }
    }
}

const NOT_FORCED: u8 = u8::MAX;
static FORCED: AtomicU8 = AtomicU8::new(NOT_FORCED);
static AT_LOAD: OnceLock<Option<Simd>> = OnceLock::new();

fn unavailable(name: &str) -> Error {
    let levels: Vec<&str> = Simd::available().into_iter().map(Simd::name).collect();
    Error::InvalidArgument(format!("the SIMD level {name:?} is not one of this processor's: {}", levels.join(", ")))
}

/// The kernels in use.
///
/// # Errors
/// [`Error::InvalidArgument`] when [`SIMD_VARIABLE`] names no level of this processor.
pub(crate) fn kernels() -> Result<&'static Kernels> {
    let forced = Simd::ALL.into_iter().find(|level| *level as u8 == FORCED.load(Ordering::Relaxed));
    let level = forced.or_else(|| *AT_LOAD.get_or_init(at_load));
    level.and_then(Simd::kernels).ok_or_else(|| unavailable(&std::env::var(SIMD_VARIABLE).unwrap_or_default()))
}

fn at_load() -> Option<Simd> {
    let available = Simd::available();
    match std::env::var(SIMD_VARIABLE) {
        Ok(name) if !name.is_empty() => available.into_iter().find(|level| level.name() == name),
        _ => available.into_iter().rfind(|level| *level != Simd::Neon),
    }
}

/// A unit query in the integers that the int8 scan multiplies with.
#[derive(Debug)]
pub(crate) struct ByteQuery {
    /// One level per dimension, zero-padded to a row's stride; `wide = 128 * high + low`.
    pub wide: Vec<i16>,
    /// The upper digits of `wide`, within ±127.
    pub high: Vec<i8>,
    /// The lower digits of `wide`, within −64..64.
    pub low: Vec<i8>,
    /// 128 × the sum of `wide`, wrapped, which a kernel that takes codes as unsigned has added too much.
    pub bias: i32,
    /// What one level is worth.
    pub step: f32,
    /// What a row's residual adds to the error of its product.
    pub residual_weight: f32,
    /// What the query's own quantisation and all rounding add to the error.
    pub slack: f32,
}

impl ByteQuery {
    /// How far a row with this residual bound may be from its product, on either side.
    #[inline(always)]
    pub fn error(&self, residual: f32) -> f32 {
        residual * self.residual_weight + self.slack
    }

    /// The most that the cosine of a row may be.
    #[inline(always)]
    pub fn upper(&self, dot: i32, scale: f32, residual: f32) -> f32 {
        dot as f32 * (scale * self.step) + self.error(residual)
    }
}

/// Up to [`BLOCK_ROWS`] int8 rows that follow one another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByteBlock<'a> {
    /// The rows' codes, one stride each.
    pub codes: &'a [i8],
    /// What one code of a row is worth; 0 for rows that are absent.
    pub scales: &'a [f32; BLOCK_ROWS],
    /// The rows' residual bounds; NaN, which passes no comparison, for zero rows and rows that are absent.
    pub residuals: &'a [f32; BLOCK_ROWS],
}

/// A unit query as tables of partial sums for the 1-bit scan.
#[derive(Debug)]
pub(crate) struct BitQuery {
    /// For each four dimensions: the sum of the query's components under each of the 16 sign patterns, as a small integer.
    pub tables: Vec<[u8; 16]>,
    /// What one unit of a table is worth.
    pub step: f32,
    /// What all tables' zeros are worth together.
    pub offset: f32,
}

/// [`BLOCK_ROWS`] 1-bit rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BitBlock<'a> {
    /// Byte `p` of row `r` is at `64 p + r`; its bit `j` is the sign of the rotated dimension `8 p + j`.
    pub codes: &'a [u8],
    /// What a row's sum of signed query components is multiplied with; NaN for zero rows and rows that are absent.
    pub factors: &'a [f32; BLOCK_ROWS],
}

/// One value per row of a block.
pub(crate) type Values = [f32; BLOCK_ROWS];

/// The kernels of one level.
pub(crate) struct Kernels {
    /// Which level.
    pub level: Simd,
    /// Writes the upper bound of each row's cosine and returns the rows whose bound reaches the threshold, as bits.
    pub scan_bytes: fn(block: ByteBlock<'_>, query: &ByteQuery, threshold: f32, upper: &mut Values) -> u64,
    /// The product of one int8 row with the query's levels.
    pub dot_bytes: fn(codes: &[i8], query: &ByteQuery) -> i32,
    /// Writes the estimate of each row's cosine and returns the rows whose estimate reaches the threshold, as bits.
    pub scan_bits: fn(block: BitBlock<'_>, query: &BitQuery, threshold: f32, estimates: &mut Values) -> u64,
    /// The product of a half-precision row with a query, both of a multiple of [`LANES`] components.
    pub dot_halves: fn(row: &[u16], query: &[f32]) -> f32,
    /// The product of two vectors of any equal length.
    pub dot_floats: fn(left: &[f32], right: &[f32]) -> f32,
}

/// The last step of [`Kernels::scan_bytes`], the same arithmetic on every level.
#[inline(always)]
pub(crate) fn upper_bounds(dots: &[i32; BLOCK_ROWS], block: ByteBlock<'_>, query: &ByteQuery, upper: &mut Values) {
    for row in 0..BLOCK_ROWS {
        upper[row] = query.upper(dots[row], block.scales[row], block.residuals[row]);
    }
}

/// The last step of [`Kernels::scan_bits`], the same arithmetic on every level.
#[inline(always)]
pub(crate) fn estimate(sums: &[u16; BLOCK_ROWS], factors: &Values, query: &BitQuery, estimates: &mut Values) {
    for row in 0..BLOCK_ROWS {
        estimates[row] = (f32::from(sums[row]) * query.step + query.offset) * factors[row];
    }
}

/// Adds the lanes in the order that every level follows.
#[inline(always)]
pub(crate) fn sum_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Adds the products of what is left of two vectors after their last whole [`LANES`] components.
#[inline(always)]
pub(crate) fn add_rest(lanes: &mut [f32; LANES], left: &[f32], right: &[f32]) {
    for (lane, (a, b)) in lanes.iter_mut().zip(left.iter().zip(right)) {
        *lane += a * b;
    }
}

static SCALAR: Kernels = Kernels {
    level: Simd::Scalar,
    scan_bytes: |block, query, threshold, upper| {
        let mut dots = [0; BLOCK_ROWS];
        for (dot, codes) in dots.iter_mut().zip(block.codes.chunks_exact(query.wide.len())) {
            *dot = dot_bytes(codes, query);
        }
        upper_bounds(&dots, block, query, upper);
        reached(upper, threshold)
    },
    dot_bytes,
    scan_bits: |block, query, threshold, estimates| {
        let mut sums = [0u16; BLOCK_ROWS];
        for (column, pair) in block.codes.as_chunks::<BLOCK_ROWS>().0.iter().zip(query.tables.as_chunks::<2>().0) {
            for (sum, byte) in sums.iter_mut().zip(column) {
                *sum += u16::from(pair[0][usize::from(byte & 15)]) + u16::from(pair[1][usize::from(byte >> 4)]);
            }
        }
        estimate(&sums, block.factors, query, estimates);
        reached(estimates, threshold)
    },
    dot_halves: |row, query| {
        let mut lanes = [0.0; LANES];
        for (halves, floats) in row.as_chunks::<LANES>().0.iter().zip(query.as_chunks::<LANES>().0) {
            for lane in 0..LANES {
                lanes[lane] += f16::from_bits(halves[lane]).to_f32() * floats[lane];
            }
        }
        sum_lanes(lanes)
    },
    dot_floats: |left, right| {
        let (mut lanes, (blocks, rest)) = ([0.0; LANES], left.as_chunks::<LANES>());
        let (others, other_rest) = right.as_chunks::<LANES>();
        for (a, b) in blocks.iter().zip(others) {
            add_rest(&mut lanes, a, b);
        }
        add_rest(&mut lanes, rest, other_rest);
        sum_lanes(lanes)
    },
};

/// Asks for `values` to be brought near, where there is an instruction for it.
#[inline(always)]
pub(crate) fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    super::x86::prefetch(values);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

fn dot_bytes(codes: &[i8], query: &ByteQuery) -> i32 {
    codes.iter().zip(&query.wide).map(|(&code, &level)| i32::from(code) * i32::from(level)).sum()
}

fn reached(values: &Values, threshold: f32) -> u64 {
    values.iter().enumerate().fold(0, |bits, (row, &value)| bits | u64::from(value >= threshold) << row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn byte_query(levels: &[i16]) -> ByteQuery {
        let low: Vec<i8> = levels.iter().map(|level| ((level + 64) & 127) as i8 - 64).collect();
        ByteQuery {
            high: levels.iter().zip(&low).map(|(level, low)| ((level - i16::from(*low)) / 128) as i8).collect(),
            low,
            bias: levels.iter().map(|&level| i32::from(level)).sum::<i32>().wrapping_mul(128),
            wide: levels.to_vec(),
            step: 1e-4,
            residual_weight: 1.0,
            slack: 1e-3,
        }
    }

    fn column(values: &[f32]) -> Values {
        std::array::from_fn(|row| values[row % values.len()])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_level_scans_bytes_alike(
            chunks in 1usize..9, rows in 0usize..=64, seed in any::<u64>(), threshold in -1f32..1.0,
        ) {
            let stride = chunks * 64;
            let mut random = crate::dense::rotation::splitmix(seed);
            let codes: Vec<i8> = (0..rows * stride).map(|_| random() as i8).collect();
            let levels: Vec<i16> = (0..stride).map(|_| (random() % 32513) as i16 - 16256).collect();
            let query = byte_query(&levels);
            let (scales, residuals) = (column(&[1e-3, 2e-3, 0.0]), column(&[1e-3, f32::NAN, 0.0, 0.5, 0.1]));
            let block = ByteBlock { codes: &codes, scales: &scales, residuals: &residuals };
            let scan = |kernels: &Kernels| {
                let mut upper = [0.0; BLOCK_ROWS];
                let bits = (kernels.scan_bytes)(block, &query, threshold, &mut upper);
                let dots: Vec<i32> = codes.chunks(stride).map(|row| (kernels.dot_bytes)(row, &query)).collect();
                (bits, upper.map(f32::to_bits).to_vec(), dots)
            };
            for level in Simd::available() {
                prop_assert_eq!(scan(level.kernels().unwrap()), scan(&SCALAR), "{:?}", level);
            }
        }

        #[test]
        fn every_level_scans_bits_alike(columns in 1usize..80, seed in any::<u64>(), threshold in -1f32..1.0) {
            let mut random = crate::dense::rotation::splitmix(seed);
            let codes: Vec<u8> = (0..columns * 64).map(|_| random() as u8).collect();
            let tables = (0..columns * 2).map(|_| std::array::from_fn(|_| (random() % 128) as u8)).collect();
            let query = BitQuery { tables, step: 1e-3, offset: -0.3 };
            let factors = column(&[1.0, 0.5, f32::NAN]);
            let scan = |kernels: &Kernels| {
                let mut estimates = [0.0; BLOCK_ROWS];
                let bits = (kernels.scan_bits)(BitBlock { codes: &codes, factors: &factors }, &query, threshold, &mut estimates);
                (bits, estimates.map(f32::to_bits))
            };
            for level in Simd::available() {
                prop_assert_eq!(scan(level.kernels().unwrap()), scan(&SCALAR), "{:?}", level);
            }
        }

        #[test]
        fn every_level_sums_floats_alike(length in 0usize..400, seed in any::<u64>()) {
            let mut random = crate::dense::rotation::splitmix(seed);
            let mut float = || (random() as u32 as f32 / 2f32.powi(31) - 1.0) * 2f32.powi((random() % 20) as i32 - 10);
            let left: Vec<f32> = (0..length).map(|_| float()).collect();
            let right: Vec<f32> = (0..length).map(|_| float()).collect();
            let padded = length.next_multiple_of(LANES);
            let mut halves: Vec<u16> = left.iter().map(|&value| f16::from_f32(value * 1e-4).to_bits()).collect();
            halves.resize(padded, 0);
            let mut query = right.clone();
            query.resize(padded, 0.0);
            for level in Simd::available() {
                let kernels = level.kernels().unwrap();
                prop_assert_eq!(
                    (kernels.dot_floats)(&left, &right).to_bits(), (SCALAR.dot_floats)(&left, &right).to_bits(), "{:?}", level
                );
                prop_assert_eq!(
                    (kernels.dot_halves)(&halves, &query).to_bits(), (SCALAR.dot_halves)(&halves, &query).to_bits(), "{:?}", level
                );
            }
            let naive: f64 = left.iter().zip(&right).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            let size: f64 = left.iter().zip(&right).map(|(&a, &b)| f64::from(a * b).abs()).sum();
            prop_assert!((f64::from((SCALAR.dot_floats)(&left, &right)) - naive).abs() <= 1e-5 * size);
        }
    }

    #[test]
    fn the_largest_values_do_not_saturate() {
        let (codes, levels) = (vec![-127i8; 1024], vec![16256i16; 1024]);
        let query = byte_query(&levels);
        for level in Simd::available() {
            assert_eq!((level.kernels().unwrap().dot_bytes)(&codes, &query), -127 * 16256 * 1024);
        }
        let tables = vec![[127u8; 16]; 516];
        let query = BitQuery { tables, step: 1.0, offset: 0.0 };
        let (codes, factors, mut estimates) = (vec![0xa5; 258 * 64], [1.0; BLOCK_ROWS], [0.0; BLOCK_ROWS]);
        for level in Simd::available() {
            (level.kernels().unwrap().scan_bits)(
                BitBlock { codes: &codes, factors: &factors },
                &query,
                0.0,
                &mut estimates,
            );
            assert_eq!(estimates.map(f32::to_bits), [(127.0f32 * 516.0).to_bits(); BLOCK_ROWS]);
        }
    }

    #[test]
    fn the_level_can_be_forced_and_an_unknown_one_is_refused() {
        for level in Simd::available() {
            Simd::force(Some(level)).unwrap();
            assert!(Simd::chosen().is_ok());
        }
        Simd::force(None).unwrap();
        let missing = Simd::ALL.into_iter().find(|level| level.kernels().is_none()).unwrap();
        assert!(Simd::force(Some(missing)).unwrap_err().to_string().contains(missing.name()));
    }
}
