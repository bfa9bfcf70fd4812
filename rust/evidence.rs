//! How much the candidates of a question say that any of them answers: what calibration turns into a probability.
//!
//! Every number is chosen to mean the same in collections of any size and subject: shares of the question's own idf mass,
//! cosines, and margins over the tenth best document, which stands for what a question finds when nothing answers it. Scores
//! as they are were measured to carry over less: BM25 grows with the question, and what is a good cosine differs between
//! collections by more than between answered and unanswered questions of one.

/// The rank of the document that a margin is measured to.
const BACKGROUND_RANK: usize = 10;

/// How many of the best candidates of each retriever are compared.
const COMPARED: usize = 10;

/// What is known of one question's candidates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// The share of the question's idf mass that one of the three best chunks contains, the largest of them, 0 to 1.
    pub idf_coverage: f32,
    /// The same for the titles of their pages alone.
    pub title_coverage: f32,
    /// What `idf_coverage` is a share of, times it, in words that no chunk has: how much information was found.
    pub covered_mass: f32,
    /// BM25F of the best document's best chunk less that of the tenth document's, as a share of the most that a chunk can have.
    pub lexical_margin: f32,
    /// The largest cosine of a candidate; `None` without vectors, like all that follows.
    pub best_cosine: Option<f32>,
    /// That cosine less the one of the tenth document.
    pub cosine_margin: Option<f32>,
    /// The share of the ten best chunks by words that are among the ten best by meaning.
    pub agreement: Option<f32>,
}

/// A candidate as both retrievers score it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Its document: the segment's number and the row.
    pub document: (u32, u32),
    /// BM25F, 0 without a word of the question.
    pub bm25: f32,
    /// Cosine; `None` where the question or the chunk has no vector.
    pub cosine: Option<f32>,
}

/// How far the best document's BM25F is above the tenth document's, as a share of `most`; a document is as good as its best
/// candidate, and one that there is not has no word of the question.
#[must_use]
pub fn lexical_margin(candidates: &[Candidate], most: f32) -> f32 {
    let scores = best_of_documents(candidates.iter().map(|candidate| (candidate.document, candidate.bm25)));
    let background = scores.get(BACKGROUND_RANK - 1).copied().unwrap_or(0.0);
    match scores.first() {
        Some(best) if most > 0.0 => (best - background) / most,
        _ => 0.0,
    }
}

/// The largest cosine, and how far it is above the tenth document's, or the last one's where there are fewer.
#[must_use]
pub fn cosines(candidates: &[Candidate]) -> Option<(f32, f32)> {
    let told = candidates.iter().filter_map(|candidate| Some((candidate.document, candidate.cosine?)));
    let cosines = best_of_documents(told);
    let best = *cosines.first()?;
    let background = cosines.get(BACKGROUND_RANK - 1).or(cosines.last()).copied().unwrap_or(best);
    Some((best, best - background))
}

/// The share of the ten best candidates by BM25F that are among the ten best by cosine; equals keep the order they are given in.
#[must_use]
pub fn agreement(candidates: &[Candidate]) -> f32 {
    let lexical = best(candidates, |candidate| Some(candidate.bm25).filter(|&score| score > 0.0));
    let dense = best(candidates, |candidate| candidate.cosine);
    lexical.iter().filter(|place| dense.contains(place)).count() as f32 / COMPARED as f32
}

/// The places of the candidates with the largest values, in any order.
fn best(candidates: &[Candidate], value: impl Fn(&Candidate) -> Option<f32>) -> Vec<usize> {
    let mut valued: Vec<(usize, f32)> =
        candidates.iter().enumerate().filter_map(|(place, candidate)| Some((place, value(candidate)?))).collect();
    if valued.len() > COMPARED {
        let worse = |left: &(usize, f32), right: &(usize, f32)| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0));
        valued.select_nth_unstable_by(COMPARED, worse);
        valued.truncate(COMPARED);
    }
    valued.into_iter().map(|(place, _)| place).collect()
}

/// The largest values of the best documents, descending, down to the background's.
fn best_of_documents(values: impl Iterator<Item = ((u32, u32), f32)>) -> Vec<f32> {
    let mut best: Vec<((u32, u32), f32)> = Vec::with_capacity(BACKGROUND_RANK);
    for (document, value) in values {
        let last = best.last().map_or(f32::NEG_INFINITY, |last| last.1);
        if best.len() == BACKGROUND_RANK && value <= last {
            continue;
        }
        let known = best.iter().position(|own| own.0 == document);
        if known.and_then(|known| best.get(known)).is_some_and(|own| own.1 >= value) {
            continue;
        }
        match known {
            Some(known) => drop(best.remove(known)),
            None => best.truncate(BACKGROUND_RANK - 1),
        }
        best.insert(best.partition_point(|own| own.1 >= value), (document, value));
    }
    best.into_iter().map(|(_, value)| value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        // Few values, so that equal ones are common.
        let cosine = prop::option::of((-4i8..=4).prop_map(|quarter| f32::from(quarter) / 4.0));
        let candidate = ((0u32..2, 0u32..16), 0u8..12, cosine).prop_map(|(document, bm25, cosine)| Candidate {
            document,
            bm25: f32::from(bm25),
            cosine,
        });
        prop::collection::vec(candidate, 0..60)
    }

    /// The documents' largest values by sorting all of them.
    fn naive(values: &[((u32, u32), f32)]) -> Vec<f32> {
        let mut by_document: BTreeMap<(u32, u32), Vec<f32>> = BTreeMap::new();
        for &(document, value) in values {
            by_document.entry(document).or_default().push(value);
        }
        let mut best: Vec<f32> =
            by_document.into_values().map(|own| own.into_iter().fold(f32::MIN, f32::max)).collect();
        best.sort_by(|left, right| right.partial_cmp(left).unwrap());
        best
    }

    proptest! {
        #[test]
        fn margins_are_to_the_tenth_document(candidates in candidates(), most in 1f32..50.0) {
            let bm25 = naive(&candidates.iter().map(|one| (one.document, one.bm25)).collect::<Vec<_>>());
            let tenth = bm25.get(9).copied().unwrap_or(0.0);
            let margin = bm25.first().map_or(0.0, |best| (best - tenth) / most);
            prop_assert_eq!(lexical_margin(&candidates, most).to_bits(), margin.to_bits());
            let told: Vec<_> = candidates.iter().filter_map(|one| one.cosine.map(|cosine| (one.document, cosine))).collect();
            let cosine = naive(&told);
            let expected = cosine.first().map(|&best| (best, best - cosine[cosine.len().min(10) - 1]));
            prop_assert_eq!(cosines(&candidates), expected);
        }

        #[test]
        fn agreement_is_what_both_top_tens_share(candidates in candidates()) {
            let top = |value: &dyn Fn(&Candidate) -> Option<f32>| -> BTreeSet<usize> {
                let mut order: Vec<usize> = (0..candidates.len()).filter(|&place| value(&candidates[place]).is_some()).collect();
                order.sort_by(|&left, &right| value(&candidates[right]).partial_cmp(&value(&candidates[left])).unwrap());
                order.into_iter().take(10).collect()
            };
            let lexical = top(&|one| (one.bm25 > 0.0).then_some(one.bm25));
            let dense = top(&|one| one.cosine);
            prop_assert_eq!(agreement(&candidates).to_bits(), ((&lexical & &dense).len() as f32 / 10.0).to_bits());
        }

        #[test]
        fn margins_and_agreement_are_shares(candidates in candidates()) {
            let most = candidates.iter().map(|one| one.bm25).fold(1.0, f32::max);
            prop_assert!((0.0..=1.0).contains(&lexical_margin(&candidates, most)));
            prop_assert!((0.0..=1.0).contains(&agreement(&candidates)));
            prop_assert!(cosines(&candidates).is_none_or(|(best, margin)| best <= 1.0 && margin >= 0.0));
        }
    }

    #[test]
    fn what_there_is_not_is_no_evidence() {
        assert_eq!((lexical_margin(&[], 5.0), cosines(&[]), agreement(&[])), (0.0, None, 0.0));
        let only = [Candidate { document: (0, 0), bm25: 3.0, cosine: Some(0.5) }];
        assert_eq!((lexical_margin(&only, 6.0), cosines(&only), agreement(&only)), (0.5, Some((0.5, 0.0)), 0.1));
        assert_eq!(lexical_margin(&only, 0.0).to_bits(), 0.0f32.to_bits());
    }
}
