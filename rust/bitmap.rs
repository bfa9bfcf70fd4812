//! Sets of rows as plain bit words: what a filter allows and what a tombstone hides.
//!
//! A kernel asks for one bit per row in its innermost loop, so the in-memory form is an array of words rather than the
//! compressed form that lies on disk.

/// A fixed-size set of row numbers `0..len`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    len: u32,
}

impl Bitmap {
    /// The empty set over `len` rows.
    #[must_use]
    pub fn empty(len: u32) -> Self {
        Self { words: vec![0; len.div_ceil(64) as usize], len }
    }

    /// The set of all `len` rows.
    #[must_use]
    pub fn full(len: u32) -> Self {
        let mut words = vec![u64::MAX; len.div_ceil(64) as usize];
        if let (Some(last), 1..) = (words.last_mut(), len % 64) {
            *last = (1 << (len % 64)) - 1;
        }
        Self { words, len }
    }

    /// How many rows there are, in the set or not.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether no row is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// How many rows are in the set.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether no more than `rows` rows are in the set: counted only that far.
    #[must_use]
    pub fn has_at_most(&self, rows: u32) -> bool {
        let mut left = u64::from(rows);
        self.words.iter().all(|word| match left.checked_sub(u64::from(word.count_ones())) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        })
    }

    /// Whether `row` is in the set; rows beyond the size are not.
    #[inline]
    #[must_use]
    pub fn contains(&self, row: u32) -> bool {
        self.words.get((row / 64) as usize).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Puts `row` into the set; rows beyond the size are ignored.
    pub fn insert(&mut self, row: u32) {
        if row < self.len {
            self.words[(row / 64) as usize] |= 1 << (row % 64);
        }
    }

    /// Takes `row` out of the set.
    pub fn remove(&mut self, row: u32) {
        if row < self.len {
            self.words[(row / 64) as usize] &= !(1 << (row % 64));
        }
    }

    /// Keeps only the rows that are also in `other`, which has the same size.
    pub fn intersect(&mut self, other: &Self) {
        for (word, theirs) in self.words.iter_mut().zip(&other.words) {
            *word &= theirs;
        }
    }

    /// Adds the rows of `other`, which has the same size.
    pub fn union(&mut self, other: &Self) {
        for (word, theirs) in self.words.iter_mut().zip(&other.words) {
            *word |= theirs;
        }
    }

    /// Takes out the rows of `other`, which has the same size.
    pub fn subtract(&mut self, other: &Self) {
        for (word, theirs) in self.words.iter_mut().zip(&other.words) {
            *word &= !theirs;
        }
    }

    /// The rows of the set in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            let base = index as u32 * 64;
            std::iter::successors((word != 0).then_some(word), |&rest| {
                let rest = rest & (rest - 1);
                (rest != 0).then_some(rest)
            })
            .map(move |rest| base + rest.trailing_zeros())
        })
    }

    /// The words, 64 rows each, lowest row in the lowest bit.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_as_a_set(len in 0u32..300, a in prop::collection::btree_set(0u32..300, 0..80), b in prop::collection::btree_set(0u32..300, 0..80)) {
            let build = |rows: &BTreeSet<u32>| {
                let mut bitmap = Bitmap::empty(len);
                for &row in rows {
                    bitmap.insert(row);
                }
                bitmap
            };
            let kept = |rows: BTreeSet<u32>| rows.into_iter().filter(|&row| row < len).collect::<Vec<_>>();
            let (left, right) = (build(&a), build(&b));
            let mut both = left.clone();
            both.intersect(&right);
            prop_assert_eq!(both.iter().collect::<Vec<_>>(), kept(&a & &b));
            let mut either = left.clone();
            either.union(&right);
            prop_assert_eq!(either.iter().collect::<Vec<_>>(), kept(&a | &b));
            let mut rest = Bitmap::full(len);
            rest.subtract(&left);
            prop_assert_eq!(rest.count() + left.count(), len);
            prop_assert!((0..90).all(|rows| left.has_at_most(rows) == (left.count() <= rows)));
            prop_assert!((0..400).all(|row| left.contains(row) == (row < len && a.contains(&row))));
        }
    }
}
