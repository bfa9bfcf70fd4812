//! Where the subject of a text changes, by the vectors of its sentences.
//!
//! The measure is that of `TextTiling` (Hearst, Computational Linguistics 23(1), 1997, section 5) with vectors in place of
//! word counts: the similarity of what stands before and after a gap, and how deep it lies below the peaks on both sides.
//! All sums run in one order and in double precision, so that the same vectors give the same breaks everywhere.

/// Units on each side of a gap that are compared.
const WINDOW: usize = 2;

/// The vectors of a page's units, row by row.
#[derive(Clone, Copy, Debug)]
pub struct UnitVectors<'a> {
    /// Numbers per row.
    pub dimension: usize,
    /// `units × dimension` numbers.
    pub values: &'a [f32],
}

/// For each unit of each section whether the subject changes before it. `sections` are the numbers of units; their sum is
/// the number of rows.
///
/// A gap is a break where its depth exceeds the mean of the page's depths by half their standard deviation, and no gap
/// beside it is deeper.
pub(super) fn breaks(vectors: UnitVectors<'_>, sections: &[usize]) -> Vec<Vec<bool>> {
    let mut start = 0;
    let depths: Vec<Vec<f64>> = sections
        .iter()
        .map(|&units| {
            let rows = start * vectors.dimension..(start + units) * vectors.dimension;
            start += units;
            depths(&similarities(vectors.values.get(rows).unwrap_or_default(), vectors.dimension, units))
        })
        .collect();
    let count = depths.iter().map(Vec::len).sum::<usize>().max(1) as f64;
    let mean = depths.iter().flatten().sum::<f64>() / count;
    let variance = depths.iter().flatten().map(|depth| (depth - mean).powi(2)).sum::<f64>() / count;
    let least = mean + variance.sqrt() / 2.0;
    let is_break = |depths: &[f64], gap: usize| {
        let at = |gap: Option<usize>| gap.and_then(|gap| depths.get(gap)).copied().unwrap_or(f64::MIN);
        let depth = at(Some(gap));
        depth > 0.0 && depth >= least && depth > at(gap.checked_sub(1)) && depth >= at(Some(gap + 1))
    };
    let section = |(depths, &units): (&Vec<f64>, &usize)| {
        (0..units).map(|unit| unit.checked_sub(1).is_some_and(|gap| is_break(depths, gap))).collect()
    };
    depths.iter().zip(sections).map(section).collect()
}

/// The cosine of the sums of vectors before and after each gap; 0 where one is zero.
fn similarities(values: &[f32], dimension: usize, units: usize) -> Vec<f64> {
    let sum = |rows: std::ops::Range<usize>| {
        let mut sum = vec![0f64; dimension];
        for row in values.chunks_exact(dimension.max(1)).skip(rows.start).take(rows.len()) {
            sum.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        sum
    };
    let dot = |left: &[f64], right: &[f64]| left.iter().zip(right).map(|(left, right)| left * right).sum::<f64>();
    (1..units)
        .map(|gap| {
            let before = sum(gap.saturating_sub(WINDOW)..gap);
            let after = sum(gap..(gap + WINDOW).min(units));
            let norm = (dot(&before, &before) * dot(&after, &after)).sqrt();
            if norm > 0.0 { dot(&before, &after) / norm } else { 0.0 }
        })
        .collect()
}

/// How far each similarity lies below the next peak on its left and on its right, together.
fn depths(similarities: &[f64]) -> Vec<f64> {
    // A peak seen from a gap is the end of the run that rises from it, so one pass from each side finds all.
    let mut left = similarities.to_vec();
    for gap in 1..left.len() {
        if similarities[gap - 1] > similarities[gap] {
            left[gap] = left[gap - 1];
        }
    }
    let mut right = similarities.to_vec();
    for gap in (1..right.len()).rev() {
        if similarities[gap] > similarities[gap - 1] {
            right[gap - 1] = right[gap];
        }
    }
    similarities.iter().zip(left.iter().zip(&right)).map(|(own, (left, right))| left + right - 2.0 * own).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The textbook's walk: from each gap outward as long as it rises.
    fn naive(similarities: &[f64]) -> Vec<f64> {
        (0..similarities.len())
            .map(|gap| {
                let mut left = gap;
                while left > 0 && similarities[left - 1] > similarities[left] {
                    left -= 1;
                }
                let mut right = gap;
                while right + 1 < similarities.len() && similarities[right + 1] > similarities[right] {
                    right += 1;
                }
                similarities[left] + similarities[right] - 2.0 * similarities[gap]
            })
            .collect()
    }

    proptest! {
        #[test]
        fn depths_are_those_of_a_walk(similarities in prop::collection::vec(-4i8..5, 0..40)) {
            let similarities: Vec<f64> = similarities.into_iter().map(|value| f64::from(value) / 4.0).collect();
            prop_assert_eq!(depths(&similarities), naive(&similarities));
        }

        #[test]
        fn there_is_a_word_for_each_unit(sections in prop::collection::vec(0usize..9, 0..6), values in prop::collection::vec(-1f32..1.0, 200)) {
            let found = breaks(UnitVectors { dimension: 4, values: &values }, &sections);
            prop_assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), sections);
            prop_assert!(found.iter().all(|section| section.first() != Some(&true)));
        }
    }

    #[test]
    fn a_break_lies_where_the_subject_changes() {
        let subjects = [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0];
        let values: Vec<f32> =
            subjects.iter().flat_map(|&subject| if subject == 0 { [1.0, 0.1] } else { [0.1, 1.0] }).collect();
        let found = breaks(UnitVectors { dimension: 2, values: &values }, &[subjects.len()]);
        let places: Vec<usize> = (0..subjects.len()).filter(|&unit| found[0][unit]).collect();
        assert_eq!(places, [4, 8]);
        assert_eq!(breaks(UnitVectors { dimension: 2, values: &[0.0; 8] }, &[4]), [[false; 4]]);
    }
}
