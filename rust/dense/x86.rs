//! The kernels for x86-64: AVX2 with F16C, and AVX-512 with VNNI.

#![allow(clippy::wildcard_imports)]

use std::arch::x86_64::*;

use super::kernels::{
    BLOCK_ROWS, BitBlock, BitQuery, ByteBlock, ByteQuery, Kernels, LANES, Simd, Values, add_rest, estimate, sum_lanes,
    upper_bounds,
};

/// The AVX2 kernels, where the processor has what they use.
pub(super) fn avx2() -> Option<&'static Kernels> {
    (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c")).then_some(&AVX2)
}

/// The AVX-512 kernels, where the processor has what they use.
pub(super) fn avx512() -> Option<&'static Kernels> {
    (is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni"))
    .then_some(&AVX512)
}

// SAFETY, for all functions of both tables: `avx2` and `avx512` hand a table out only where its features were detected.
static AVX2: Kernels = Kernels {
    level: Simd::Avx2,
    scan_bytes: |block, query, threshold, upper| unsafe { avx2::scan_bytes(block, query, threshold, upper) },
    dot_bytes: |codes, query| unsafe { avx2::dot_bytes(codes, query) },
    scan_bits: |block, query, threshold, estimates| unsafe { avx2::scan_bits(block, query, threshold, estimates) },
    dot_halves: |row, query| unsafe { avx2::dot_halves(row, query) },
    dot_floats: |left, right| unsafe { avx2::dot_floats(left, right) },
};

// SAFETY: see above.
static AVX512: Kernels = Kernels {
    level: Simd::Avx512,
    scan_bytes: |block, query, threshold, upper| unsafe { avx512::scan_bytes(block, query, threshold, upper) },
    dot_bytes: |codes, query| unsafe { avx512::dot_bytes(codes, query) },
    scan_bits: |block, query, threshold, estimates| unsafe { avx512::scan_bits(block, query, threshold, estimates) },
    dot_halves: |row, query| unsafe { avx512::dot_halves(row, query) },
    dot_floats: |left, right| unsafe { avx512::dot_floats(left, right) },
};

/// Asks for `values` to be brought into the cache.
#[inline(always)]
pub(super) fn prefetch<T>(values: &[T]) {
    let start = values.as_ptr().cast::<i8>();
    for line in (0..size_of_val(values)).step_by(64) {
        // SAFETY: the instruction belongs to every x86-64, the address lies in `values`, and it is a hint that cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(line)) };
    }
}

/// Computes the rows' products four at a time, what is left singly.
#[inline(always)]
fn in_fours(
    block: ByteBlock<'_>,
    stride: usize,
    four: impl Fn(&[i8], &[i8], &[i8], &[i8]) -> [i32; 4],
    one: impl Fn(&[i8]) -> i32,
) -> [i32; BLOCK_ROWS] {
    let mut dots = [0; BLOCK_ROWS];
    let mut rest = block.codes;
    for output in dots.as_chunks_mut::<4>().0 {
        let Some((rows, others)) = rest.split_at_checked(4 * stride) else {
            for (output, row) in output.iter_mut().zip(rest.chunks_exact(stride)) {
                *output = one(row);
            }
            break;
        };
        let (first, second) = rows.split_at(2 * stride);
        let ((a, b), (c, d)) = (first.split_at(stride), second.split_at(stride));
        *output = four(a, b, c, d);
        rest = others;
    }
    dots
}

mod avx2 {
    use super::*;

    #[target_feature(enable = "avx2,f16c")]
    pub fn scan_bytes(block: ByteBlock<'_>, query: &ByteQuery, threshold: f32, upper: &mut Values) -> u64 {
        let dots = in_fours(block, query.wide.len(), |a, b, c, d| dot_four(a, b, c, d, query), |row| dot_bytes(row, query));
        upper_bounds(&dots, block, query, upper);
        reached(upper, threshold)
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    fn dot_four(a: &[i8], b: &[i8], c: &[i8], d: &[i8], query: &ByteQuery) -> [i32; 4] {
        let zero = _mm256_setzero_si256();
        let (mut sum_a, mut sum_b, mut sum_c, mut sum_d) = (zero, zero, zero, zero);
        let (a, b, c, d) = (a.as_chunks::<16>().0, b.as_chunks().0, c.as_chunks().0, d.as_chunks().0);
        for ((((a, b), c), d), levels) in a.iter().zip(b).zip(c).zip(d).zip(query.wide.as_chunks::<16>().0) {
            // SAFETY: `levels` is 32 bytes.
            let levels = unsafe { _mm256_loadu_si256(levels.as_ptr().cast()) };
            sum_a = _mm256_add_epi32(sum_a, _mm256_madd_epi16(widen(a), levels));
            sum_b = _mm256_add_epi32(sum_b, _mm256_madd_epi16(widen(b), levels));
            sum_c = _mm256_add_epi32(sum_c, _mm256_madd_epi16(widen(c), levels));
            sum_d = _mm256_add_epi32(sum_d, _mm256_madd_epi16(widen(d), levels));
        }
        let four = _mm256_hadd_epi32(_mm256_hadd_epi32(sum_a, sum_b), _mm256_hadd_epi32(sum_c, sum_d));
        let sums = _mm_add_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256::<1>(four));
        let mut dots = [0; 4];
        // SAFETY: `dots` is 16 bytes.
        unsafe { _mm_storeu_si128(dots.as_mut_ptr().cast(), sums) };
        dots
    }

    #[target_feature(enable = "avx2,f16c")]
    fn widen(codes: &[i8; 16]) -> __m256i {
        // SAFETY: `codes` is 16 bytes.
        _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(codes.as_ptr().cast()) })
    }

    #[target_feature(enable = "avx2,f16c")]
    fn sum_of(values: __m256i) -> i32 {
        let four = _mm_add_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256::<1>(values));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
    }

    #[target_feature(enable = "avx2,f16c")]
    pub fn dot_bytes(codes: &[i8], query: &ByteQuery) -> i32 {
        let mut sum = _mm256_setzero_si256();
        for (codes, levels) in codes.as_chunks::<16>().0.iter().zip(query.wide.as_chunks::<16>().0) {
            // SAFETY: `levels` is 32 bytes.
            let levels = unsafe { _mm256_loadu_si256(levels.as_ptr().cast()) };
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(widen(codes), levels));
        }
        sum_of(sum)
    }

    #[target_feature(enable = "avx2,f16c")]
    pub fn scan_bits(block: BitBlock<'_>, query: &BitQuery, threshold: f32, estimates: &mut Values) -> u64 {
        let mut sums = [0u16; BLOCK_ROWS];
        let nibble = _mm256_set1_epi8(15);
        for half in 0..2 {
            let (mut both, mut odd) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for (column, pair) in block.codes.as_chunks::<BLOCK_ROWS>().0.iter().zip(query.tables.as_chunks::<2>().0) {
                // SAFETY: each half of a column is 32 bytes, each table 16.
                let (bytes, low, high) = unsafe {
                    (
                        _mm256_loadu_si256(column.as_ptr().add(32 * half).cast()),
                        _mm256_broadcastsi128_si256(_mm_loadu_si128(pair[0].as_ptr().cast())),
                        _mm256_broadcastsi128_si256(_mm_loadu_si128(pair[1].as_ptr().cast())),
                    )
                };
                let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), nibble);
                let lower = _mm256_and_si256(bytes, nibble);
                let sum = _mm256_add_epi8(_mm256_shuffle_epi8(low, lower), _mm256_shuffle_epi8(high, upper));
                both = _mm256_add_epi16(both, sum);
                odd = _mm256_add_epi16(odd, _mm256_srli_epi16::<8>(sum));
            }
            let even = _mm256_sub_epi16(both, _mm256_slli_epi16::<8>(odd));
            let (low, high) = (_mm256_unpacklo_epi16(even, odd), _mm256_unpackhi_epi16(even, odd));
            // SAFETY: `sums` holds 64 sums, of which this half's 32 are written.
            unsafe {
                let output = sums.as_mut_ptr().add(32 * half).cast::<__m256i>();
                _mm256_storeu_si256(output, _mm256_permute2x128_si256::<0x20>(low, high));
                _mm256_storeu_si256(output.add(1), _mm256_permute2x128_si256::<0x31>(low, high));
            }
        }
        estimate(&sums, block.factors, query, estimates);
        reached(estimates, threshold)
    }

    #[target_feature(enable = "avx2,f16c")]
    fn reached(values: &Values, threshold: f32) -> u64 {
        let threshold = _mm256_set1_ps(threshold);
        values.as_chunks::<8>().0.iter().enumerate().fold(0, |bits, (index, eight)| {
            // SAFETY: `eight` is 32 bytes.
            let values = unsafe { _mm256_loadu_ps(eight.as_ptr()) };
            let mask = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(values, threshold));
            bits | u64::from(mask as u32) << (8 * index)
        })
    }

    #[target_feature(enable = "avx2,f16c")]
    fn store(sums: [__m256; 4]) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        for (output, sum) in lanes.as_chunks_mut::<8>().0.iter_mut().zip(sums) {
            // SAFETY: `output` is 32 bytes.
            unsafe { _mm256_storeu_ps(output.as_mut_ptr(), sum) };
        }
        lanes
    }

    #[target_feature(enable = "avx2,f16c")]
    pub fn dot_halves(row: &[u16], query: &[f32]) -> f32 {
        let mut sums = [_mm256_setzero_ps(); 4];
        for (halves, floats) in row.as_chunks::<LANES>().0.iter().zip(query.as_chunks::<LANES>().0) {
            for (part, sum) in sums.iter_mut().enumerate() {
                // SAFETY: each of the four parts is eight of the 32 halves and floats.
                let (halves, floats) = unsafe {
                    (
                        _mm256_cvtph_ps(_mm_loadu_si128(halves.as_ptr().add(8 * part).cast())),
                        _mm256_loadu_ps(floats.as_ptr().add(8 * part)),
                    )
                };
                *sum = _mm256_add_ps(*sum, _mm256_mul_ps(halves, floats));
            }
        }
        sum_lanes(store(sums))
    }

    #[target_feature(enable = "avx2,f16c")]
    pub fn dot_floats(left: &[f32], right: &[f32]) -> f32 {
        let mut sums = [_mm256_setzero_ps(); 4];
        let ((blocks, rest), (others, other_rest)) = (left.as_chunks::<LANES>(), right.as_chunks::<LANES>());
        for (a, b) in blocks.iter().zip(others) {
            for (part, sum) in sums.iter_mut().enumerate() {
                // SAFETY: each of the four parts is eight of the 32 floats.
                let (a, b) = unsafe {
                    (_mm256_loadu_ps(a.as_ptr().add(8 * part)), _mm256_loadu_ps(b.as_ptr().add(8 * part)))
                };
                *sum = _mm256_add_ps(*sum, _mm256_mul_ps(a, b));
            }
        }
        let mut lanes = store(sums);
        add_rest(&mut lanes, rest, other_rest);
        sum_lanes(lanes)
    }
}

mod avx512 {
    use super::*;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub fn scan_bytes(block: ByteBlock<'_>, query: &ByteQuery, threshold: f32, upper: &mut Values) -> u64 {
        let dots = in_fours(block, query.wide.len(), |a, b, c, d| dot_four(a, b, c, d, query), |row| dot_bytes(row, query));
        upper_bounds(&dots, block, query, upper);
        reached(upper, threshold)
    }

    /// The 64 levels of the query in two digits, from byte `64 * index` on.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn levels(high: &[i8; 64], low: &[i8; 64]) -> (__m512i, __m512i) {
        // SAFETY: both are 64 bytes.
        unsafe { (_mm512_loadu_si512(high.as_ptr().cast()), _mm512_loadu_si512(low.as_ptr().cast())) }
    }

    /// 64 codes with 128 added to each: the instruction multiplies unsigned with signed bytes.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn unsigned(codes: &[i8; 64]) -> __m512i {
        // SAFETY: `codes` is 64 bytes.
        _mm512_xor_si512(unsafe { _mm512_loadu_si512(codes.as_ptr().cast()) }, _mm512_set1_epi8(-128))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn dot_four(a: &[i8], b: &[i8], c: &[i8], d: &[i8], query: &ByteQuery) -> [i32; 4] {
        let zero = (_mm512_setzero_si512(), _mm512_setzero_si512());
        let (mut sums_a, mut sums_b, mut sums_c, mut sums_d) = (zero, zero, zero, zero);
        let (a, b, c, d) = (a.as_chunks::<64>().0, b.as_chunks().0, c.as_chunks().0, d.as_chunks().0);
        let digits = query.high.as_chunks::<64>().0.iter().zip(query.low.as_chunks::<64>().0);
        for ((((a, b), c), d), (high, low)) in a.iter().zip(b).zip(c).zip(d).zip(digits) {
            let levels = levels(high, low);
            sums_a = add_products(sums_a, a, levels);
            sums_b = add_products(sums_b, b, levels);
            sums_c = add_products(sums_c, c, levels);
            sums_d = add_products(sums_d, d, levels);
        }
        let (a, b, c, d) = (joined(sums_a), joined(sums_b), joined(sums_c), joined(sums_d));
        let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        let abcd = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
        let two = _mm256_add_epi32(_mm512_castsi512_si256(abcd), _mm512_extracti64x4_epi64::<1>(abcd));
        let one = _mm_add_epi32(_mm256_castsi256_si128(two), _mm256_extracti128_si256::<1>(two));
        let mut dots = [0; 4];
        // SAFETY: `dots` is 16 bytes.
        unsafe { _mm_storeu_si128(dots.as_mut_ptr().cast(), _mm_sub_epi32(one, _mm_set1_epi32(query.bias))) };
        dots
    }

    /// Adds the products of 64 codes with both digits of their levels.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn add_products(sums: (__m512i, __m512i), codes: &[i8; 64], levels: (__m512i, __m512i)) -> (__m512i, __m512i) {
        let codes = unsigned(codes);
        (_mm512_dpbusd_epi32(sums.0, codes, levels.0), _mm512_dpbusd_epi32(sums.1, codes, levels.1))
    }

    /// The sums of both digits as one.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn joined(sums: (__m512i, __m512i)) -> __m512i {
        _mm512_add_epi32(_mm512_slli_epi32::<7>(sums.0), sums.1)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub fn dot_bytes(codes: &[i8], query: &ByteQuery) -> i32 {
        let mut sums = (_mm512_setzero_si512(), _mm512_setzero_si512());
        let digits = query.high.as_chunks::<64>().0.iter().zip(query.low.as_chunks::<64>().0);
        for (codes, (high, low)) in codes.as_chunks::<64>().0.iter().zip(digits) {
            sums = add_products(sums, codes, levels(high, low));
        }
        _mm512_reduce_add_epi32(joined(sums)).wrapping_sub(query.bias)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub fn scan_bits(block: BitBlock<'_>, query: &BitQuery, threshold: f32, estimates: &mut Values) -> u64 {
        let nibble = _mm512_set1_epi8(15);
        let (mut both, mut odd) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        for (column, pair) in block.codes.as_chunks::<BLOCK_ROWS>().0.iter().zip(query.tables.as_chunks::<2>().0) {
            // SAFETY: a column is 64 bytes, each table 16.
            let (bytes, low, high) = unsafe {
                (
                    _mm512_loadu_si512(column.as_ptr().cast()),
                    _mm512_broadcast_i32x4(_mm_loadu_si128(pair[0].as_ptr().cast())),
                    _mm512_broadcast_i32x4(_mm_loadu_si128(pair[1].as_ptr().cast())),
                )
            };
            let upper = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), nibble);
            let lower = _mm512_and_si512(bytes, nibble);
            let sum = _mm512_add_epi8(_mm512_shuffle_epi8(low, lower), _mm512_shuffle_epi8(high, upper));
            both = _mm512_add_epi16(both, sum);
            odd = _mm512_add_epi16(odd, _mm512_srli_epi16::<8>(sum));
        }
        let even = _mm512_sub_epi16(both, _mm512_slli_epi16::<8>(odd));
        let (low, high) = (_mm512_unpacklo_epi16(even, odd), _mm512_unpackhi_epi16(even, odd));
        let first = _mm512_permutex2var_epi64(low, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), high);
        let second = _mm512_permutex2var_epi64(low, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), high);
        let mut sums = [0u16; BLOCK_ROWS];
        // SAFETY: `sums` is 128 bytes.
        unsafe {
            _mm512_storeu_si512(sums.as_mut_ptr().cast(), first);
            _mm512_storeu_si512(sums.as_mut_ptr().add(32).cast(), second);
        }
        estimate(&sums, block.factors, query, estimates);
        reached(estimates, threshold)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn reached(values: &Values, threshold: f32) -> u64 {
        let threshold = _mm512_set1_ps(threshold);
        values.as_chunks::<16>().0.iter().enumerate().fold(0, |bits, (index, sixteen)| {
            // SAFETY: `sixteen` is 64 bytes.
            let values = unsafe { _mm512_loadu_ps(sixteen.as_ptr()) };
            bits | u64::from(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(values, threshold)) << (16 * index)
        })
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn store(low: __m512, high: __m512) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        // SAFETY: `lanes` is 128 bytes.
        unsafe {
            _mm512_storeu_ps(lanes.as_mut_ptr(), low);
            _mm512_storeu_ps(lanes.as_mut_ptr().add(16), high);
        }
        lanes
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub fn dot_halves(row: &[u16], query: &[f32]) -> f32 {
        let (mut low, mut high) = (_mm512_setzero_ps(), _mm512_setzero_ps());
        for (halves, floats) in row.as_chunks::<LANES>().0.iter().zip(query.as_chunks::<LANES>().0) {
            // SAFETY: there are 32 halves and 32 floats, of which each load takes sixteen.
            let (a, b, c, d) = unsafe {
                (
                    _mm512_cvtph_ps(_mm256_loadu_si256(halves.as_ptr().cast())),
                    _mm512_loadu_ps(floats.as_ptr()),
                    _mm512_cvtph_ps(_mm256_loadu_si256(halves.as_ptr().add(16).cast())),
                    _mm512_loadu_ps(floats.as_ptr().add(16)),
                )
            };
            low = _mm512_add_ps(low, _mm512_mul_ps(a, b));
            high = _mm512_add_ps(high, _mm512_mul_ps(c, d));
        }
        sum_lanes(store(low, high))
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub fn dot_floats(left: &[f32], right: &[f32]) -> f32 {
        let (mut low, mut high) = (_mm512_setzero_ps(), _mm512_setzero_ps());
        let ((blocks, rest), (others, other_rest)) = (left.as_chunks::<LANES>(), right.as_chunks::<LANES>());
        for (a, b) in blocks.iter().zip(others) {
            // SAFETY: there are 32 floats on both sides, of which each load takes sixteen.
            let (a, b, c, d) = unsafe {
                (
                    _mm512_loadu_ps(a.as_ptr()),
                    _mm512_loadu_ps(b.as_ptr()),
                    _mm512_loadu_ps(a.as_ptr().add(16)),
                    _mm512_loadu_ps(b.as_ptr().add(16)),
                )
            };
            low = _mm512_add_ps(low, _mm512_mul_ps(a, b));
            high = _mm512_add_ps(high, _mm512_mul_ps(c, d));
        }
        let mut lanes = store(low, high);
        add_rest(&mut lanes, rest, other_rest);
        sum_lanes(lanes)
    }
}
