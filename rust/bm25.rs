//! BM25F with k1, b and field weights; bounds; explanation in the textbook's letters.
//!
//! A term's frequencies in title, headings and body are normalised by each field's own length, weighted, added, and only
//! then saturated (BM25F, Robertson, Zaragoza and Taylor 2004; Robertson and Zaragoza 2009, section 3.6):
//!
//! ```text
//! tf'   = Σ_f  weight_f · tf_f / (1 − b_f + b_f · dl_f / avgdl_f)
//! idf   = ln(1 + (N − df + ½) / (df + ½))
//! score = Σ_t  weight_t · idf_t · (k1 + 1) · tf'_t / (tf'_t + k1)
//! ```
//!
//! `N`, `df` and `avgdl` are those of the whole index less what is deleted, never a segment's own, and every score that
//! leaves this module is computed in `f32` by one function, fields in their order and terms in the question's. So a row has
//! the same score, bit for bit, however the index is cut into segments. Search skips rows by bounds and by sums in another
//! order; both carry a margin for rounding, and what survives is scored again by that one function.

mod scored;
mod search;

use crate::error::{Error, Result};
use crate::lexical::{FIELDS, Level, PerField, Postings, Statistics, length_of_code};

pub use scored::ScoredLists;
pub(crate) use search::TermLists;
pub use search::{score_rows, top_k};

/// What BM25F can be tuned by; fields are title, headings, body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// How slowly further occurrences of a term stop to matter; 0 counts only that there is one.
    pub k1: f32,
    /// How much a field's length counts: 0 not at all, 1 in full.
    pub b: PerField<f32>,
    /// How much an occurrence in a field counts.
    pub weights: PerField<f32>,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { k1: 1.2, b: [0.75; FIELDS], weights: [5.0, 1.0, 1.0] }
    }
}

impl Parameters {
    /// Checks that the parameters are in the range where rounding is understood: `k1` in 0..=1000, `b` in 0..=1, weights 0
    /// or in 0.001..=1000.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] naming the first that is not.
    pub fn validate(&self) -> Result<()> {
        if !(0.0..=1e3).contains(&self.k1) {
            return Err(Error::InvalidArgument(format!("k1 is {}, it must be between 0 and 1000", self.k1)));
        }
        if let Some(b) = self.b.iter().find(|b| !(0.0..=1.0).contains(*b)) {
            return Err(Error::InvalidArgument(format!("b is {b}, it must be between 0 and 1")));
        }
        let fits = |weight: &f32| *weight == 0.0 || (1e-3..=1e3).contains(weight);
        match self.weights.iter().find(|weight| !fits(weight)) {
            Some(weight) => Err(Error::InvalidArgument(format!(
                "a field's weight is {weight}, it must be 0 or between 0.001 and 1000"
            ))),
            None => Ok(()),
        }
    }
}

/// One term of a question as it is searched in one segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueryTerm {
    /// The term's number in the segment, `None` when the segment does not have it.
    pub ordinal: Option<u32>,
    /// In how many rows of the whole index the term occurs.
    pub df: u64,
    /// The inverse document frequency that follows.
    pub idf: f32,
    /// How much the term counts beside the others; 1 for a word of the question.
    pub weight: f32,
}

impl QueryTerm {
    /// A term with the idf that follows from `df` of `statistics.rows` rows.
    #[must_use]
    pub fn new(ordinal: Option<u32>, df: u64, weight: f32, statistics: &Statistics) -> Self {
        Self { ordinal, df, idf: idf(df, statistics.rows), weight }
    }
}

/// `ln(1 + (N − df + ½) / (df + ½))`: positive for any term, also one that most rows have.
#[must_use]
pub fn idf(df: u64, rows: u64) -> f32 {
    let df_ = df.min(rows) as f64;
    (1.0 + (rows as f64 - df_ + 0.5) / (df_ + 0.5)).ln() as f32
}

/// BM25F with its parameters and an index's statistics of one level.
#[derive(Clone, Debug)]
pub struct Scorer {
    parameters: Parameters,
    level: Level,
    statistics: Statistics,
    /// `1 − b` of each field.
    fixed: PerField<f32>,
    /// `b / avgdl` of each field.
    slope: PerField<f32>,
    /// The normaliser of each field for each code of a length.
    normalisers: Box<PerField<[f32; 256]>>,
}

impl Scorer {
    /// A scorer for rows of `level` in an index with `statistics`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] as [`Parameters::validate`].
    pub fn new(parameters: Parameters, level: Level, statistics: Statistics) -> Result<Self> {
        parameters.validate()?;
        let slope = |field: usize| match statistics.totals[field] {
            0 => 0.0,
            total => (f64::from(parameters.b[field]) * statistics.rows as f64 / total as f64) as f32,
        };
        let fixed = parameters.b.map(|b| 1.0 - b);
        let slope = std::array::from_fn(slope);
        let mut scorer =
            Self { parameters, level, statistics, fixed, slope, normalisers: Box::new([[0.0; 256]; FIELDS]) };
        let normaliser = |field, code: usize| scorer.normaliser(field, length_of_code(code as u8) as f32);
        *scorer.normalisers = std::array::from_fn(|field| std::array::from_fn(|code| normaliser(field, code)));
        Ok(scorer)
    }

    /// What the rows are.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// The parameters.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The statistics of the whole index.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Whether this gives every row the scores that `other` does, for the same idf.
    fn scores_as(&self, other: &Self) -> bool {
        self.level == other.level
            && self.parameters == other.parameters
            && self.slope.map(f32::to_bits) == other.slope.map(f32::to_bits)
    }

    /// `1 − b + b · dl / avgdl`; never 0, so that no damaged length divides by it.
    #[inline]
    fn normaliser(&self, field: usize, dl: f32) -> f32 {
        (self.fixed[field] + self.slope[field] * dl).max(1e-12)
    }

    #[inline]
    fn field_frequency(&self, field: usize, tf: f32, dl: f32) -> f32 {
        self.parameters.weights[field] * tf / self.normaliser(field, dl)
    }

    /// `weight · idf · (k1 + 1)`.
    fn factor(&self, term: &QueryTerm) -> Result<f32> {
        if term.weight == 0.0 || (1e-6..=1e6).contains(&term.weight) && term.idf.is_finite() && term.idf >= 0.0 {
            Ok(term.weight * term.idf * (self.parameters.k1 + 1.0))
        } else {
            let (weight, idf) = (term.weight, term.idf);
            Err(Error::InvalidArgument(format!("a term has weight {weight} and idf {idf}, they must be positive")))
        }
    }

    /// `factor · tf' / (tf' + k1)`.
    #[inline]
    fn saturated(&self, factor: f32, frequency: f32) -> f32 {
        if frequency > 0.0 { factor * frequency / (frequency + self.parameters.k1) } else { 0.0 }
    }

    /// The score that one term adds to a row: the one function behind every score.
    #[inline]
    fn term_score(&self, factor: f32, tf: PerField<u32>, dl: PerField<u32>) -> f32 {
        let mut frequency = 0.0;
        for field in 0..FIELDS {
            if tf[field] > 0 {
                frequency += self.field_frequency(field, tf[field] as f32, dl[field] as f32);
            }
        }
        self.saturated(factor, frequency)
    }

    /// Why `row` of a segment has its score: each term of `terms` that the row has, with every number that goes in.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when a list cannot be read; [`Error::InvalidArgument`] for a row that there is not.
    pub fn explain(&self, segment: &Postings, terms: &[QueryTerm], row: u32) -> Result<Explanation> {
        let lists = segment.lists(self.level);
        if row >= lists.rows() {
            return Err(Error::InvalidArgument(format!("row {row} is not one of {}", lists.rows())));
        }
        let dl = lists.lengths(row);
        let mut explained = Vec::new();
        let mut score = 0.0;
        for (index, term) in terms.iter().enumerate() {
            let Some(ordinal) = term.ordinal else { continue };
            let Some(tf) = search::frequencies_of(&lists.list(ordinal)?, row)? else { continue };
            let fields: PerField<FieldExplanation> =
                std::array::from_fn(|field| self.explain_field(field, tf[field], dl[field]));
            let own = self.term_score(self.factor(term)?, tf, dl);
            score += own;
            explained.push(TermExplanation {
                term: index,
                weight: term.weight,
                idf: term.idf,
                n: self.statistics.rows,
                df: term.df,
                k1: self.parameters.k1,
                tf: fields.iter().map(|field| field.normalised).sum(),
                fields,
                score: own,
            });
        }
        Ok(Explanation { row, terms: explained, score })
    }

    fn explain_field(&self, field: usize, tf: u32, dl: u32) -> FieldExplanation {
        let rows = self.statistics.rows.max(1) as f64;
        FieldExplanation {
            tf,
            dl,
            avgdl: (self.statistics.totals[field] as f64 / rows) as f32,
            b: self.parameters.b[field],
            weight: self.parameters.weights[field],
            normalised: if tf == 0 { 0.0 } else { self.field_frequency(field, tf as f32, dl as f32) },
        }
    }
}

/// Why a row has its score.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The row.
    pub row: u32,
    /// The terms it has, in the question's order.
    pub terms: Vec<TermExplanation>,
    /// The sum of the terms' scores, equal to the score it was ranked by.
    pub score: f32,
}

/// What one term adds to a row's score.
#[derive(Clone, Debug, PartialEq)]
pub struct TermExplanation {
    /// The term's place in the question.
    pub term: usize,
    /// How much it counts beside the others.
    pub weight: f32,
    /// `ln(1 + (N − df + ½) / (df + ½))`.
    pub idf: f32,
    /// `N`, the number of rows of the index.
    pub n: u64,
    /// How many of them have the term.
    pub df: u64,
    /// The saturation parameter.
    pub k1: f32,
    /// `tf'`, the fields' normalised frequencies together.
    pub tf: f32,
    /// Title, headings and body.
    pub fields: PerField<FieldExplanation>,
    /// `weight · idf · (k1 + 1) · tf' / (tf' + k1)`.
    pub score: f32,
}

/// A term in one field of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FieldExplanation {
    /// How often it occurs.
    pub tf: u32,
    /// The field's length in terms.
    pub dl: u32,
    /// The mean length of the field in the index.
    pub avgdl: f32,
    /// How much the length counts.
    pub b: f32,
    /// How much the field counts.
    pub weight: f32,
    /// `weight · tf / (1 − b + b · dl / avgdl)`.
    pub normalised: f32,
}

#[cfg(test)]
mod tests;
