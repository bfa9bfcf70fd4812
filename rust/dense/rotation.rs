//! The fixed random rotation under which the signs of a vector say most about it.
//!
//! Raw sign bits of an embedding lose what its few large components carry; after a random rotation every component carries
//! alike. A dense random matrix would cost dimension² per row, so the rotation is structured: three rounds of random sign
//! flips and a fast Walsh–Hadamard transform (Ailon & Chazelle 2009). Where the width is no power of two, each round
//! transforms the first and then the last power of two of components, which overlap.

/// The seed of the sign flips; part of the format.
const SEED: u64 = 0x636c_6f63_6b69_6679;

const ROUNDS: usize = 3;

/// A rotation of vectors of one dimension.
#[derive(Clone, Debug)]
pub(super) struct Rotation {
    width: usize,
    span: usize,
    /// The sign bits that are flipped before each transform.
    flips: Vec<Vec<u32>>,
}

impl Rotation {
    /// How many components a rotated vector of `dimension` components has: the next multiple of 64.
    pub fn width(dimension: usize) -> usize {
        dimension.next_multiple_of(64)
    }

    /// The rotation of vectors of `dimension` components.
    pub fn new(dimension: usize) -> Self {
        let width = Self::width(dimension);
        let span = 1 << width.ilog2();
        let transforms = if span == width { ROUNDS } else { 2 * ROUNDS };
        let mut random = splitmix(SEED);
        let flips = (0..transforms)
            .map(|_| {
                let words: Vec<u64> = (0..span / 64).map(|_| random()).collect();
                (0..span).map(|index| ((words[index / 64] >> (index % 64)) as u32) << 31).collect()
            })
            .collect();
        Self { width, span, flips }
    }

    /// Rotates `vector`, whose components beyond the dimension are zero, in place.
    pub fn apply(&self, vector: &mut [f32]) {
        for (index, flips) in self.flips.iter().enumerate() {
            let start = if self.span == self.width || index % 2 == 0 { 0 } else { self.width - self.span };
            if let Some(window) = vector.get_mut(start..start + self.span) {
                transform(window, flips);
            }
        }
    }
}

/// Flips signs, applies the Walsh–Hadamard transform and scales to keep the length.
fn transform(window: &mut [f32], flips: &[u32]) {
    let scale = 1.0 / (window.len() as f32).sqrt();
    for (value, flip) in window.iter_mut().zip(flips) {
        *value = f32::from_bits(value.to_bits() ^ flip) * scale;
    }
    let mut half = 1;
    while half < window.len() {
        for pair in window.chunks_exact_mut(2 * half) {
            let (left, right) = pair.split_at_mut(half);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

/// The `SplitMix64` generator (Steele, Lea & Flood 2014) from `state` on.
pub(crate) fn splitmix(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keeps_products(dimension in 1usize..500, seed in any::<u64>()) {
            let mut random = splitmix(seed);
            let mut vector = || -> Vec<f32> {
                let mut vector: Vec<f32> = (0..dimension).map(|_| random() as u32 as f32 / 2f32.powi(31) - 1.0).collect();
                vector.resize(Rotation::width(dimension), 0.0);
                vector
            };
            let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum() };
            let (mut a, mut b) = (vector(), vector());
            let (before, size) = (dot(&a, &b), dot(&a, &a) + dot(&b, &b));
            let rotation = Rotation::new(dimension);
            rotation.apply(&mut a);
            rotation.apply(&mut b);
            prop_assert!((dot(&a, &b) - before).abs() <= 1e-5 * size);
        }
    }

    #[test]
    fn spreads_one_component_over_all() {
        for dimension in [64, 100, 256, 384, 768] {
            let mut vector = vec![0.0; Rotation::width(dimension)];
            vector[7] = 1.0;
            Rotation::new(dimension).apply(&mut vector);
            let largest = vector.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            assert!(largest < 6.0 / (dimension as f32).sqrt(), "{dimension}: {largest}");
        }
    }
}
