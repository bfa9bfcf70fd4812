//! Where single chunks stand in a ranking, and in that of each retriever: what explains why a page was not found.

use std::cmp::Ordering;

use super::{Found, Place};
use crate::error::Result;
use crate::records::Id;

/// Where one hit stands among all. Ranks are from 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing<'a> {
    /// The hit.
    pub found: &'a Found,
    /// Its place in the ranking.
    pub rank: usize,
    /// Its place by BM25F among hits that have a word of the question; `None` for one that has none.
    pub lexical_rank: Option<usize>,
    /// Its place by cosine among hits that have one; `None` for one that has none.
    pub dense_rank: Option<usize>,
}

/// A hit's score by one retriever; `None` for one that it does not find.
pub type Value = fn(&Found) -> Option<f32>;

/// BM25F, of a hit that has a word of the question.
#[must_use]
pub fn lexical(found: &Found) -> Option<f32> {
    Some(found.bm25).filter(|&bm25| bm25 > 0.0)
}

/// The cosine, of a hit that has one.
#[must_use]
pub fn dense(found: &Found) -> Option<f32> {
    found.cosine
}

/// Where the chunks at `places` stand among `hits`, which are best first; `None` for one that is no hit, or for no place.
///
/// Equal scores are ordered as retrievers order them: by the id of the document, which `document` tells, then by row.
///
/// # Errors
/// Those of `document`.
pub fn of<'a>(
    hits: &'a [Found],
    places: &[Option<Place>],
    document: impl Fn(&Found) -> Result<Id>,
) -> Result<Vec<Option<Standing<'a>>>> {
    let mut standings = Vec::with_capacity(places.len());
    for place in places {
        let at = place.and_then(|place| hits.iter().position(|found| found.place == place));
        let Some((at, own)) = at.and_then(|at| Some((at, hits.get(at)?))) else {
            standings.push(None);
            continue;
        };
        let rank = |value: Value| -> Result<Option<usize>> {
            if value(own).is_none() {
                return Ok(None);
            }
            let mut before = 0;
            for other in hits {
                before += usize::from(order(value, &document, other, own)? == Ordering::Less);
            }
            Ok(Some(before + 1))
        };
        let (lexical_rank, dense_rank) = (rank(lexical)?, rank(dense)?);
        standings.push(Some(Standing { found: own, rank: at + 1, lexical_rank, dense_rank }));
    }
    Ok(standings)
}

/// The hit of that rank, from 1, by one retriever; `None` where it finds fewer.
///
/// # Errors
/// Those of `document`.
pub fn at_rank(
    hits: &[Found],
    rank: usize,
    value: Value,
    document: impl Fn(&Found) -> Result<Id>,
) -> Result<Option<&Found>> {
    let mut found: Vec<&Found> = hits.iter().filter(|found| value(found).is_some()).collect();
    let Some(at) = rank.checked_sub(1).filter(|&at| at < found.len()) else { return Ok(None) };
    let mut failure = None;
    let (_, chosen, _) = found.select_nth_unstable_by(at, |left, right| {
        order(value, &document, left, right).unwrap_or_else(|error| {
            failure = Some(error);
            Ordering::Equal
        })
    });
    let chosen = *chosen;
    failure.map_or(Ok(Some(chosen)), Err)
}

/// Which of two hits a retriever finds first.
fn order(value: Value, document: &impl Fn(&Found) -> Result<Id>, left: &Found, right: &Found) -> Result<Ordering> {
    let scores = match (value(left), value(right)) {
        (Some(left), Some(right)) => right.total_cmp(&left),
        (left, right) => right.is_some().cmp(&left.is_some()),
    };
    if scores != Ordering::Equal || left.place == right.place {
        return Ok(scores);
    }
    Ok((document(left)?, left.place.row).cmp(&(document(right)?, right.place.row)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hit(row: u32, bm25: u8, cosine: u8) -> Found {
        Found {
            place: Place { segment: 0, row },
            document: row / 2,
            bm25: f32::from(bm25),
            cosine: Some(f32::from(cosine)).filter(|&cosine| cosine > 0.0),
            document_bm25: 0.0,
            document_cosine: None,
            fused: 0.0,
            score: 0.0,
            section: 0,
        }
    }

    proptest! {
        #[test]
        fn ranks_are_places_in_sorted_lists(scores in proptest::collection::vec((0u8..4, 0u8..4), 1..20)) {
            let hits: Vec<Found> =
                scores.iter().enumerate().rev().map(|(row, &(bm25, cosine))| hit(row as u32, bm25, cosine)).collect();
            let places: Vec<Option<Place>> = hits.iter().map(|found| Some(found.place)).collect();
            let id = |found: &Found| Ok([found.document as u8; 16]);
            let sorted = |value: fn(&Found) -> f32| {
                let mut found: Vec<&Found> = hits.iter().filter(|found| value(found) > 0.0).collect();
                found.sort_by(|a, b| value(b).total_cmp(&value(a)).then(a.place.row.cmp(&b.place.row)));
                found.iter().map(|found| found.place).collect::<Vec<_>>()
            };
            let (lexical, dense) = (sorted(|found| found.bm25), sorted(|found| found.cosine.unwrap_or(0.0)));
            let rank = |list: &[Place], place| list.iter().position(|&other| other == place).map(|at| at + 1);
            for (at, standing) in of(&hits, &places, id).unwrap().into_iter().enumerate() {
                let standing = standing.unwrap();
                prop_assert_eq!(standing.rank, at + 1);
                prop_assert_eq!(standing.lexical_rank, rank(&lexical, standing.found.place));
                prop_assert_eq!(standing.dense_rank, rank(&dense, standing.found.place));
            }
            for at in 0..=hits.len() + 1 {
                let found = at_rank(&hits, at, super::lexical, id).unwrap().map(|found| found.place);
                prop_assert_eq!(found, at.checked_sub(1).and_then(|at| lexical.get(at).copied()));
                let found = at_rank(&hits, at, super::dense, id).unwrap().map(|found| found.place);
                prop_assert_eq!(found, at.checked_sub(1).and_then(|at| dense.get(at).copied()));
            }
        }
    }

    #[test]
    fn what_was_not_found_stands_nowhere() {
        let hits = [hit(0, 1, 1)];
        let places = [None, Some(Place { segment: 1, row: 0 })];
        assert_eq!(of(&hits, &places, |_| Ok([0; 16])).unwrap(), [None, None]);
    }
}
