//! Maximal marginal relevance on fused relevance.
//!
//! Carbonell & Goldstein (1998): the next pick maximises `λ · relevance − (1 − λ) · s`, where `s` is its largest cosine to any
//! earlier pick, and 0 for the first. A candidate's `s` only grows, so its value only falls: a candidate is compared
//! with further picks only while its last known value still beats all others. The picks are those of the plain algorithm,
//! with a fraction of its cosines, and most candidates' vectors are never read.

use crate::dense;
use crate::error::{Error, Result};

/// Picks up to `k` candidates, best first, and returns their positions.
///
/// `relevance` is one score per candidate; it is divided by the largest of them, so that λ weighs the same whatever
/// the scale: 1 is the most relevant. Scores that are not positive become 0, as do all when none is positive. `vectors` holds
/// one unit vector, or zeros or NaN for no evidence (cosine 0), of `dimension` numbers per candidate. `lambda` is λ, from 0 (only
/// difference counts) to 1 (only relevance counts: the order of the given scores, whatever their sign). Ties go to the
/// earlier candidate.
///
/// # Errors
/// [`Error::InvalidArgument`] when the vectors do not have a row per candidate, a relevance is NaN, or λ is not within 0 and 1.
pub fn select(relevance: &[f32], vectors: &[f32], dimension: usize, lambda: f32, k: usize) -> Result<Vec<usize>> {
    if relevance.len().checked_mul(dimension) != Some(vectors.len()) {
        let (numbers, candidates) = (vectors.len(), relevance.len());
        return Err(Error::InvalidArgument(format!(
            "{numbers} numbers are not one vector of {dimension} for each of {candidates} candidates"
        )));
    }
    let dot = dense::kernels_in_use()?.dot_floats;
    let row = |candidate: usize| vectors.get(candidate * dimension..(candidate + 1) * dimension).unwrap_or_default();
    select_by(relevance, lambda, k, |candidate, pick| dot(row(candidate), row(pick.candidate)))
}

/// A candidate that was picked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pick {
    /// How many were picked before it.
    pub rank: usize,
    /// Its position among the candidates.
    pub candidate: usize,
}

/// As [`select`], with the cosine of a candidate to a pick asked for where it matters; it is within ±[`LARGEST_COSINE`] or NaN.
///
/// # Errors
/// As [`select`].
pub(crate) fn select_by(
    relevance: &[f32],
    lambda: f32,
    k: usize,
    mut cosine: impl FnMut(usize, Pick) -> f32,
) -> Result<Vec<usize>> {
    check(relevance, lambda)?;
    if lambda >= 1.0 {
        return Ok(by_relevance(relevance, k));
    }
    let mut open: Vec<Open> = scaled(relevance)
        .enumerate()
        .map(|(position, relevance)| Open { position, gain: lambda * relevance, nearest: -LARGEST_COSINE, compared: 0 })
        .collect();
    let mut picks: Vec<usize> = Vec::with_capacity(k.min(open.len()));
    while picks.len() < k && !open.is_empty() {
        let mut best: Option<(usize, f32)> = None;
        for (index, candidate) in open.iter_mut().enumerate() {
            // What is known of a value is at least the value: of a candidate that was never compared, that of the least cosine.
            let value = |candidate: &Open| match picks.len() {
                0 => candidate.gain,
                _ => candidate.gain - (1.0 - lambda) * candidate.nearest,
            };
            while candidate.compared < picks.len() && best.is_none_or(|(_, best)| value(candidate) > best) {
                let rank = candidate.compared;
                let cosine = cosine(candidate.position, Pick { rank, candidate: picks[rank] });
                let cosine = if cosine.is_nan() { 0.0 } else { cosine };
                candidate.nearest = if rank == 0 { cosine } else { candidate.nearest.max(cosine) };
                candidate.compared += 1;
            }
            let value = value(candidate);
            if best.is_none_or(|(_, best)| value > best) {
                best = Some((index, value));
            }
        }
        let Some((index, _)) = best else { break };
        picks.push(open.remove(index).position);
    }
    Ok(picks)
}

/// No two unit vectors in half precision have a larger product.
const LARGEST_COSINE: f32 = 1.01;

/// A candidate that was not picked yet.
struct Open {
    position: usize,
    gain: f32,
    /// The largest cosine to the first `compared` picks; the least there is when there are none.
    nearest: f32,
    compared: usize,
}

fn check(relevance: &[f32], lambda: f32) -> Result<()> {
    if !(0.0..=1.0).contains(&lambda) {
        return Err(Error::InvalidArgument(format!("mmr_lambda is {lambda}, not within 0 and 1")));
    }
    if relevance.iter().any(|score| score.is_nan()) {
        return Err(Error::InvalidArgument("the relevance of a candidate is NaN".into()));
    }
    Ok(())
}

fn by_relevance(relevance: &[f32], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..relevance.len()).collect();
    // Adding 0 makes the two zeros equal, which the total order tells apart.
    order.sort_by(|&a, &b| (relevance[b] + 0.0).total_cmp(&(relevance[a] + 0.0)));
    order.truncate(k);
    order
}

/// The scores divided by their largest; 0 where they are not positive.
fn scaled(relevance: &[f32]) -> impl Iterator<Item = f32> {
    let largest = relevance.iter().copied().fold(0.0, f32::max);
    relevance.iter().map(move |&score| match score {
        _ if score <= 0.0 => 0.0,
        _ if score >= largest => 1.0,
        _ => score / largest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The formula as it is written: every cosine, every time.
    fn naive(relevance: &[f32], vectors: &[f32], dimension: usize, lambda: f32, k: usize) -> Vec<usize> {
        let largest = relevance.iter().copied().fold(0.0, f32::max);
        let dot = dense::kernels_in_use().unwrap().dot_floats;
        let row = |candidate: usize| &vectors[candidate * dimension..(candidate + 1) * dimension];
        let mut picks: Vec<usize> = Vec::new();
        while picks.len() < k.min(relevance.len()) {
            let mut best: Option<(usize, f32)> = None;
            for candidate in (0..relevance.len()).filter(|candidate| !picks.contains(candidate)) {
                let scaled = if relevance[candidate] <= 0.0 { 0.0 } else { relevance[candidate] / largest };
                let nearest =
                    picks.iter().map(|&pick| dot(row(candidate), row(pick))).fold(f32::NEG_INFINITY, f32::max);
                let value = if picks.is_empty() { lambda * scaled } else { lambda * scaled - (1.0 - lambda) * nearest };
                if best.is_none_or(|(_, best)| value > best) {
                    best = Some((candidate, value));
                }
            }
            picks.push(best.unwrap().0);
        }
        picks
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn picks_are_the_plain_algorithms(
            dimension in 1usize..70, scores in prop::collection::vec(-3i8..12, 0..60), lambda in 0u8..8, k in 0usize..70, seed in any::<u64>(),
        ) {
            let mut state = seed;
            let mut float = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                f32::from((state >> 60) as u8) - 7.0
            };
            let relevance: Vec<f32> = scores.iter().map(|&score| f32::from(score)).collect();
            let mut vectors: Vec<f32> = (0..relevance.len() * dimension).map(|_| float()).collect();
            for row in vectors.chunks_mut(dimension) {
                let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-9);
                for value in row {
                    *value /= norm;
                }
            }
            let lambda = f32::from(lambda) / 8.0;
            prop_assert_eq!(
                select(&relevance, &vectors, dimension, lambda, k).unwrap(), naive(&relevance, &vectors, dimension, lambda, k)
            );
        }
    }

    #[test]
    fn lambda_one_is_the_order_of_relevance() {
        assert_eq!(select(&[-2.0, 3.0, -1.0, 3.0, -0.0, 0.0], &[1.0; 6], 1, 1.0, 9).unwrap(), [1, 3, 4, 5, 2, 0]);
    }

    #[test]
    fn a_repetition_waits_for_what_is_new() {
        let vectors = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0];
        assert_eq!(select(&[1.0, 0.9, 0.5, 0.1], &vectors, 2, 0.5, 4).unwrap(), [0, 2, 3, 1]);
        assert_eq!(select(&[1.0, 0.9, 0.5, 0.1], &vectors, 2, 0.5, 2).unwrap(), [0, 2]);
    }

    #[test]
    fn wrong_arguments_are_refused() {
        assert!(select(&[1.0], &[1.0], 2, 0.5, 1).is_err());
        assert!(select(&[f32::NAN], &[1.0], 1, 0.5, 1).is_err());
        assert_eq!(select(&[2.0, 1.0, 1.0], &[1.0, 1.0, f32::NAN], 1, 0.5, 3).unwrap(), [0, 2, 1]);
        assert!(select(&[1.0], &[1.0], 1, 1.5, 1).is_err() && select(&[1.0], &[1.0], 1, f32::NAN, 1).is_err());
        assert_eq!(select(&[], &[], 256, 0.5, 3).unwrap(), [0usize; 0]);
    }
}
