//! The kernels for `AArch64`: Advanced SIMD. They have compiled nowhere yet where they could be run; the tests of
//! [`super::kernels`] hold them to the scalar reference as soon as they do.

#![allow(clippy::wildcard_imports)]

use std::arch::aarch64::*;

use half::f16;

use super::kernels::{
    BLOCK_ROWS, BitBlock, BitQuery, ByteBlock, ByteQuery, Kernels, LANES, Simd, Values, add_rest, estimate, sum_lanes,
    upper_bounds,
};

/// The Advanced SIMD kernels, where the processor has them.
pub(super) fn neon() -> Option<&'static Kernels> {
    std::arch::is_aarch64_feature_detected!("neon").then_some(&NEON)
}

// SAFETY, for all functions of the table: `neon` hands it out only where the feature was detected.
static NEON: Kernels = Kernels {
    level: Simd::Neon,
    scan_bytes: |block, query, threshold, upper| unsafe { scan_bytes(block, query, threshold, upper) },
    dot_bytes: |codes, query| unsafe { dot_bytes(codes, query) },
    scan_bits: |block, query, threshold, estimates| unsafe { scan_bits(block, query, threshold, estimates) },
    dot_halves: |row, query| unsafe { dot_halves(row, query) },
    dot_floats: |left, right| unsafe { dot_floats(left, right) },
};

#[target_feature(enable = "neon")]
fn scan_bytes(block: ByteBlock<'_>, query: &ByteQuery, threshold: f32, upper: &mut Values) -> u64 {
    let mut dots = [0; BLOCK_ROWS];
    for (dot, codes) in dots.iter_mut().zip(block.codes.chunks_exact(query.wide.len())) {
        *dot = dot_bytes(codes, query);
    }
    upper_bounds(&dots, block, query, upper);
    reached(upper, threshold)
}

#[target_feature(enable = "neon")]
fn dot_bytes(codes: &[i8], query: &ByteQuery) -> i32 {
    let mut sums = [vdupq_n_s32(0); 4];
    for (codes, levels) in codes.as_chunks::<16>().0.iter().zip(query.wide.as_chunks::<16>().0) {
        // SAFETY: there are 16 codes and 16 levels, of which the second load takes the last eight.
        let (codes, first, second) =
            unsafe { (vld1q_s8(codes.as_ptr()), vld1q_s16(levels.as_ptr()), vld1q_s16(levels.as_ptr().add(8))) };
        let (low, high) = (vmovl_s8(vget_low_s8(codes)), vmovl_high_s8(codes));
        sums[0] = vmlal_s16(sums[0], vget_low_s16(low), vget_low_s16(first));
        sums[1] = vmlal_high_s16(sums[1], low, first);
        sums[2] = vmlal_s16(sums[2], vget_low_s16(high), vget_low_s16(second));
        sums[3] = vmlal_high_s16(sums[3], high, second);
    }
    vaddvq_s32(vaddq_s32(vaddq_s32(sums[0], sums[1]), vaddq_s32(sums[2], sums[3])))
}

#[target_feature(enable = "neon")]
fn scan_bits(block: BitBlock<'_>, query: &BitQuery, threshold: f32, estimates: &mut Values) -> u64 {
    let mut sums = [0u16; BLOCK_ROWS];
    for quarter in 0..4 {
        let (mut low, mut high) = (vdupq_n_u16(0), vdupq_n_u16(0));
        for (column, pair) in block.codes.as_chunks::<BLOCK_ROWS>().0.iter().zip(query.tables.as_chunks::<2>().0) {
            // SAFETY: each quarter of a column is 16 bytes, each table 16.
            let (bytes, first, second) = unsafe {
                (vld1q_u8(column.as_ptr().add(16 * quarter)), vld1q_u8(pair[0].as_ptr()), vld1q_u8(pair[1].as_ptr()))
            };
            let lower = vqtbl1q_u8(first, vandq_u8(bytes, vdupq_n_u8(15)));
            let sum = vaddq_u8(lower, vqtbl1q_u8(second, vshrq_n_u8::<4>(bytes)));
            low = vaddw_u8(low, vget_low_u8(sum));
            high = vaddw_high_u8(high, sum);
        }
        // SAFETY: `sums` holds 64 sums, of which this quarter's 16 are written.
        unsafe {
            vst1q_u16(sums.as_mut_ptr().add(16 * quarter), low);
            vst1q_u16(sums.as_mut_ptr().add(16 * quarter + 8), high);
        }
    }
    estimate(&sums, block.factors, query, estimates);
    reached(estimates, threshold)
}

#[target_feature(enable = "neon")]
fn reached(values: &Values, threshold: f32) -> u64 {
    let mut bits = 0;
    for (row, &value) in values.iter().enumerate() {
        bits |= u64::from(value >= threshold) << row;
    }
    bits
}

#[target_feature(enable = "neon")]
fn multiply_add(sums: &mut [float32x4_t; 8], left: &[f32; LANES], right: &[f32; LANES]) {
    for (part, sum) in sums.iter_mut().enumerate() {
        // SAFETY: each of the eight parts is four of the 32 floats.
        let (a, b) = unsafe { (vld1q_f32(left.as_ptr().add(4 * part)), vld1q_f32(right.as_ptr().add(4 * part))) };
        *sum = vaddq_f32(*sum, vmulq_f32(a, b));
    }
}

#[target_feature(enable = "neon")]
fn store(sums: [float32x4_t; 8]) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    for (output, sum) in lanes.as_chunks_mut::<4>().0.iter_mut().zip(sums) {
        // SAFETY: `output` is four floats.
        unsafe { vst1q_f32(output.as_mut_ptr(), sum) };
    }
    lanes
}

#[target_feature(enable = "neon")]
fn dot_halves(row: &[u16], query: &[f32]) -> f32 {
    let mut sums = [vdupq_n_f32(0.0); 8];
    for (halves, floats) in row.as_chunks::<LANES>().0.iter().zip(query.as_chunks::<LANES>().0) {
        multiply_add(&mut sums, &halves.map(|half| f16::from_bits(half).to_f32()), floats);
    }
    sum_lanes(store(sums))
}

#[target_feature(enable = "neon")]
fn dot_floats(left: &[f32], right: &[f32]) -> f32 {
    let mut sums = [vdupq_n_f32(0.0); 8];
    let ((blocks, rest), (others, other_rest)) = (left.as_chunks::<LANES>(), right.as_chunks::<LANES>());
    for (a, b) in blocks.iter().zip(others) {
        multiply_add(&mut sums, a, b);
    }
    let mut lanes = store(sums);
    add_rest(&mut lanes, rest, other_rest);
    sum_lanes(lanes)
}
