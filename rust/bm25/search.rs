//! Exact top-k by windows of rows: `MaxScore` inside a window, the most promising window first.
//!
//! Every window has, per term, the greatest bound of the blocks that reach into it. Terms whose bounds together cannot lift a
//! row over the threshold do not open it: only the others add their scores to an array of the window's rows, and the rows
//! that may still pass are looked up in the lists of the rest. The threshold is the k-th best sum so far; what is within a
//! rounding margin of it at the end is scored again in the question's order.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use super::scored::{Asked, ScoredList, ScoredLists};
use super::{QueryTerm, Scorer};
use crate::bitmap::Bitmap;
use crate::error::Result;
use crate::lexical::{BLOCK, FIELDS, List, Lists, PerField, Postings, Skip, is_too_long, tf_of_code, unpacked};

/// Rows of a window: its scores fill half of a first-level cache.
pub(super) const WINDOW: usize = 8192;
/// A row is looked up in a list at the cost of adding this many rows of it.
const LOOKUP_COST: usize = 16;
/// Postings in a window that are cheaper to add than candidates are to collect before them.
const WORTH_COLLECTING: usize = WINDOW / 2;
/// When no more rows than this are allowed, each is scored rather than searched for.
const FEW_ROWS: u32 = 256;
/// Rows of a block with a hit outside the body that are scored one by one; where there are more, all rows of it are together.
const FEW_EXCEPTIONS: usize = 12;
/// Terms that a thread keeps space for between searches.
const KEPT_TERMS: usize = 32;
/// Entries that a list of them keeps space for.
const KEPT_ENTRIES: usize = 1 << 14;
/// Rows that are compared at once when candidates are collected.
const GROUP: usize = 32;
const NONE: u32 = u32::MAX;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The `k` rows of `segment` with the highest scores, best first and equal scores by row; only rows of `allowed`, when it
/// is given, and only rows with a score above 0.
///
/// # Errors
/// [`crate::error::Error::IndexCorrupt`] when a list cannot be read; [`crate::error::Error::InvalidArgument`] for a term
/// whose weight or idf is no positive number.
pub fn top_k(
    segment: &Postings,
    terms: &[QueryTerm],
    scorer: &Scorer,
    allowed: Option<&Bitmap>,
    k: usize,
) -> Result<Vec<(u32, f32)>> {
    TermLists::new(segment, terms, scorer, None)?.top_k(allowed, k)
}

/// The score of each of `rows`, which ascend; 0 for a row without any of the terms.
///
/// # Errors
/// As [`top_k`].
pub fn score_rows(segment: &Postings, terms: &[QueryTerm], scorer: &Scorer, rows: &[u32]) -> Result<Vec<f32>> {
    TermLists::new(segment, terms, scorer, None)?.scores(rows)
}

/// A question's terms in one segment at one level: their lists checked, and their tails decoded and scored. Made once for a
/// question, because search, scoring of other rows and evidence all need it.
pub(crate) struct TermLists<'a> {
    scorer: &'a Scorer,
    lists: Lists<'a>,
    /// How many terms the question has.
    asked: usize,
    terms: Vec<TermList<'a>>,
    /// The rows and scores of all tails, one after another.
    tails: Vec<(u32, f32)>,
    /// For each of them, whether the term stands in the row's title.
    titles: Vec<bool>,
    /// By how much a sum of remembered scores may be more than the sum of the scores.
    excess: f32,
}

/// What a term of a question is to a row that has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// The term's place in the question.
    pub term: usize,
    /// What it adds to the row's score.
    pub score: f32,
    /// Whether it stands in the title.
    pub in_title: bool,
}

/// The list of a term that has any effect.
struct TermList<'a> {
    /// The term's place in the question.
    number: usize,
    list: List<'a>,
    factor: f32,
    tail: Range<usize>,
    /// Its scores, where they are remembered.
    scored: Option<Arc<ScoredList>>,
}

impl<'a> TermLists<'a> {
    /// The lists of `terms` in `segment`, at the level of `scorer`; with what is remembered of their scores.
    ///
    /// # Errors
    /// As [`top_k`].
    pub(crate) fn new(
        segment: &'a Postings,
        terms: &[QueryTerm],
        scorer: &'a Scorer,
        remembered: Option<&ScoredLists>,
    ) -> Result<Self> {
        let lists = segment.lists(scorer.level);
        let mut found = Vec::with_capacity(terms.len());
        let mut tails = Vec::with_capacity(terms.len() * BLOCK / 2);
        let mut titles = Vec::with_capacity(tails.capacity());
        for (number, term) in terms.iter().enumerate() {
            let factor = scorer.factor(term)?;
            let Some(ordinal) = term.ordinal.filter(|_| factor > 0.0) else { continue };
            let list = lists.list(ordinal)?;
            let scored = match remembered {
                Some(remembered) => remembered.get(ordinal, &Asked { list: &list, lists: &lists, scorer })?,
                None => None,
            };
            let start = tails.len();
            if scored.is_none() {
                for posting in list.tail() {
                    let posting = posting?;
                    let score = scorer.term_score(factor, posting.frequencies, lists.lengths(posting.row));
                    tails.push((posting.row, score));
                    titles.push(posting.frequencies[0] > 0);
                }
            }
            found.push(TermList { number, list, factor, tail: start..tails.len(), scored });
        }
        let excess = |term: &TermList<'_>| term.scored.as_ref().map_or(0.0, |scored| scored.excess(term.factor));
        let excess = found.iter().map(excess).sum();
        Ok(Self { scorer, lists, asked: terms.len(), terms: found, tails, titles, excess })
    }

    /// The `k` rows with the highest scores, as [`top_k`].
    ///
    /// # Errors
    /// As [`top_k`].
    pub(super) fn top_k(&self, allowed: Option<&Bitmap>, k: usize) -> Result<Vec<(u32, f32)>> {
        let rows: Vec<u32> = self.survivors(allowed, k, 0.0)?.into_iter().map(|(row, _)| row).collect();
        let scores = self.scores(&rows)?;
        let mut ranked: Vec<(u32, f32)> = rows.into_iter().zip(scores).filter(|(_, score)| *score > 0.0).collect();
        ranked.sort_unstable_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
        ranked.truncate(k);
        Ok(ranked)
    }

    /// Every row that may be among the best `k` and may reach `least`, ascending, and few others; each with the sum of its
    /// terms' scores, which are added in any order.
    ///
    /// The k-th best sum of other segments is a good `least`: sums are compared with a margin for their rounding.
    ///
    /// # Errors
    /// As [`top_k`].
    pub(crate) fn survivors(&self, allowed: Option<&Bitmap>, k: usize, least: f32) -> Result<Vec<(u32, f32)>> {
        match allowed {
            _ if k == 0 => Ok(Vec::new()),
            Some(allowed) if allowed.has_at_most(FEW_ROWS) => {
                let rows: Vec<u32> = allowed.iter().take_while(|&row| row < self.lists.rows()).collect();
                let scores = self.scores(&rows)?;
                Ok(rows.into_iter().zip(scores).filter(|(_, score)| *score > 0.0).collect())
            }
            _ => SCRATCH.with_borrow_mut(|scratch| {
                let search = Search::prepare(self, scratch);
                let rows = search.candidates(allowed, k, least, scratch);
                scratch.shrink();
                rows
            }),
        }
    }

    /// What a sum of the same scores, remembered or not and added in any order, surely reaches.
    pub(crate) fn floor(&self, sum: f32) -> f32 {
        (sum * self.margin() - self.excess).max(0.0)
    }

    /// By how much a sum may be more than the sum of its scores.
    pub(crate) fn excess(&self) -> f32 {
        self.excess
    }

    /// The share of a sum that another sum of the same scores surely reaches.
    fn margin(&self) -> f32 {
        1.0 - (self.asked as f32 + 16.0) * f32::EPSILON * 4.0
    }

    /// The score of each of `rows`, which ascend.
    ///
    /// # Errors
    /// As [`top_k`].
    pub(crate) fn scores(&self, rows: &[u32]) -> Result<Vec<f32>> {
        let mut scores = vec![0.0; rows.len()];
        self.for_each(rows, |index, share| scores[index] += share.score)?;
        Ok(scores)
    }

    /// Calls `sink` with the index of a row and the share of a term, for each of `rows`, which ascend, and each term that it has:
    /// term by term in the question's order.
    ///
    /// # Errors
    /// As [`top_k`].
    pub(crate) fn for_each(&self, rows: &[u32], mut sink: impl FnMut(usize, Share)) -> Result<()> {
        let mut decoded = Decoded::default();
        for TermList { number, list, factor, tail, scored } in &self.terms {
            decoded.forget();
            let mut found = |index: usize, frequencies: PerField<u32>| {
                let score = self.scorer.term_score(*factor, frequencies, self.lists.lengths(rows[index]));
                sink(index, Share { term: *number, score, in_title: frequencies[0] > 0 });
            };
            if let Some(scored) = scored {
                let in_blocks = list.blocks() * BLOCK;
                let mut rest = rows.len();
                scored.for_each_of(rows, |index, posting| {
                    if posting < in_blocks {
                        found(index, list.frequencies_at(posting / BLOCK, posting % BLOCK)?);
                    } else {
                        rest = rest.min(index);
                    }
                    Ok(())
                })?;
                // A tail that nothing else needs is decoded here, and scored where it is met.
                meet(
                    &rows[rest..],
                    list.tail(),
                    |posting| posting.row,
                    |at, posting| found(rest + at, posting.frequencies),
                )?;
                continue;
            }
            let rest = find_in_blocks(list, rows, &mut decoded, &mut found)?;
            let scores = self.tails[tail.clone()].iter().zip(&self.titles[tail.clone()]).map(Ok);
            meet(
                &rows[rest..],
                scores,
                |&(&(row, _), _)| row,
                |at, (&(_, score), &in_title)| {
                    sink(rest + at, Share { term: *number, score, in_title });
                },
            )?;
        }
        Ok(())
    }
}

/// Calls `both` with each of `rows` that one of `others` has, and that one; both ascend by row.
fn meet<T>(
    rows: &[u32],
    others: impl Iterator<Item = Result<T>>,
    row_of: impl Fn(&T) -> u32,
    mut both: impl FnMut(usize, T),
) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut at = 0;
    for other in others {
        let other = other?;
        let row = row_of(&other);
        while rows.get(at).is_some_and(|&own| own < row) {
            at += 1;
        }
        match rows.get(at) {
            Some(&own) if own == row => both(at, other),
            Some(_) => {}
            None => break,
        }
    }
    Ok(())
}

/// The frequencies of `row` in `list`; `None` where the list does not have it.
pub(super) fn frequencies_of(list: &List<'_>, row: u32) -> Result<Option<PerField<u32>>> {
    let mut found = None;
    if find_in_blocks(list, &[row], &mut Decoded::default(), |_, frequencies| found = Some(frequencies))? == 1 {
        return Ok(found);
    }
    for posting in list.tail() {
        let posting = posting?;
        if posting.row >= row {
            return Ok((posting.row == row).then_some(posting.frequencies));
        }
    }
    Ok(None)
}

/// Calls `sink` with the index and the frequencies of each of `rows`, which ascend, that a full block of `list` has: returns the
/// index of the first row that may be in the tail.
fn find_in_blocks(
    list: &List<'_>,
    rows: &[u32],
    decoded: &mut Decoded,
    mut sink: impl FnMut(usize, PerField<u32>),
) -> Result<usize> {
    let (mut index, mut block) = (0, 0);
    while let Some(&row) = rows.get(index) {
        block = list.find_block(block, row);
        if block == list.blocks() {
            break;
        }
        decoded.rows(list, block)?;
        let mut at = 0;
        let last = list.skip(block).last();
        while let Some(&row) = rows.get(index).filter(|&&row| row <= last) {
            at += decoded.rows[at..].partition_point(|&own| own < row);
            if decoded.rows[at] == row {
                sink(index, decoded.frequencies(list, block, at)?);
            }
            index += 1;
        }
    }
    Ok(index)
}

/// One decoded block of a list.
pub(super) struct Decoded {
    block: usize,
    rows: [u32; BLOCK],
    frequencies_of: usize,
    body: [u32; BLOCK],
    outside: Vec<(u8, u32, u32)>,
    scores_of: usize,
    scores: [f32; BLOCK],
}

impl Default for Decoded {
    fn default() -> Self {
        Self {
            block: usize::MAX,
            rows: [0; BLOCK],
            frequencies_of: usize::MAX,
            body: [0; BLOCK],
            outside: Vec::new(),
            scores_of: usize::MAX,
            scores: [0.0; BLOCK],
        }
    }
}

impl Decoded {
    fn forget(&mut self) {
        (self.block, self.frequencies_of, self.scores_of) = (usize::MAX, usize::MAX, usize::MAX);
    }

    #[inline]
    fn rows(&mut self, list: &List<'_>, block: usize) -> Result<()> {
        if self.block != block {
            self.forget();
            list.decode_rows(block, &mut self.rows)?;
            self.block = block;
        }
        Ok(())
    }

    fn all_frequencies(&mut self, list: &List<'_>, block: usize) -> Result<()> {
        if self.frequencies_of != block {
            self.frequencies_of = usize::MAX;
            self.outside.clear();
            let outside = &mut self.outside;
            let exceptions = list.decode_frequencies(block, &mut self.body)?;
            exceptions.for_each(|at, title, headings| outside.push((at as u8, title, headings)))?;
            self.frequencies_of = block;
        }
        Ok(())
    }

    fn frequencies(&self, list: &List<'_>, block: usize, at: usize) -> Result<PerField<u32>> {
        if self.frequencies_of != block {
            return list.frequencies_at(block, at);
        }
        Ok(self.decoded_frequencies(at))
    }

    /// The frequencies of a row of the block whose frequencies are decoded.
    fn decoded_frequencies(&self, at: usize) -> PerField<u32> {
        let outside = self.outside.binary_search_by_key(&at, |entry| usize::from(entry.0));
        let (title, headings) = outside.map_or((0, 0), |index| (self.outside[index].1, self.outside[index].2));
        [title, headings, self.body[at]]
    }

    /// Scores all rows of a block, summed in no promised order of fields.
    pub(super) fn scores(
        &mut self,
        scorer: &Scorer,
        lists: &Lists<'_>,
        list: &List<'_>,
        block: usize,
        factor: f32,
    ) -> Result<()> {
        self.rows(list, block)?;
        if self.scores_of == block {
            return Ok(());
        }
        self.all_frequencies(list, block)?;
        let lengths = lists.packed_of(&self.rows);
        let in_columns = self.outside.len() > FEW_EXCEPTIONS;
        self.score_columns(scorer, factor, &lengths, in_columns);
        if !in_columns {
            for &(at, title, headings) in &self.outside {
                let at = usize::from(at);
                let frequencies = [title, headings, self.body[at]];
                self.scores[at] = scorer.term_score(factor, frequencies, lists.lengths(self.rows[at]));
            }
        }
        if lengths.iter().fold(false, |any, &length| any | is_too_long(length)) {
            self.score_long_rows(scorer, lists, factor, &lengths);
        }
        self.scores_of = block;
        Ok(())
    }

    /// The rows of the block scored last, with their scores.
    pub(super) fn scored(&self) -> impl Iterator<Item = (u32, f32)> {
        self.rows.iter().copied().zip(self.scores)
    }

    /// Scores again those rows whose lengths are not in their packed words.
    #[cold]
    fn score_long_rows(&mut self, scorer: &Scorer, lists: &Lists<'_>, factor: f32, lengths: &[u32; BLOCK]) {
        for (at, _) in lengths.iter().enumerate().filter(|(_, length)| is_too_long(**length)) {
            let frequencies = self.decoded_frequencies(at);
            self.scores[at] = scorer.term_score(factor, frequencies, lists.lengths(self.rows[at]));
        }
    }

    /// Scores each row by its body alone, or by all fields.
    fn score_columns(&mut self, scorer: &Scorer, factor: f32, lengths: &[u32; BLOCK], all_fields: bool) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return unsafe { self.score_columns_wide(scorer, factor, lengths, all_fields) };
        }
        self.score_columns_here(scorer, factor, lengths, all_fields);
    }

    /// The same operations on eight rows at a time.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn score_columns_wide(&mut self, scorer: &Scorer, factor: f32, lengths: &[u32; BLOCK], all_fields: bool) {
        self.score_columns_here(scorer, factor, lengths, all_fields);
    }

    #[inline(always)]
    #[allow(clippy::inline_always)] // What is not inlined is not compiled for the wider registers.
    fn score_columns_here(&mut self, scorer: &Scorer, factor: f32, lengths: &[u32; BLOCK], all_fields: bool) {
        if all_fields {
            self.score_all_fields(scorer, factor, lengths);
        } else {
            self.score_body(scorer, factor, lengths);
        }
    }

    /// Scores each row by its body alone.
    #[inline(always)]
    #[allow(clippy::inline_always)] // As `score_columns_here`.
    fn score_body(&mut self, scorer: &Scorer, factor: f32, lengths: &[u32; BLOCK]) {
        let body = FIELDS - 1;
        let k1 = scorer.parameters.k1;
        let (weight, fixed, slope) =
            (scorer.parameters.weights[body], k1 * scorer.fixed[body], k1 * scorer.slope[body]);
        for ((score, &tf), &length) in self.scores.iter_mut().zip(&self.body).zip(lengths) {
            let frequency = weight * (tf as i32 as f32);
            let length = unpacked(length)[body] as i32 as f32;
            *score = factor * frequency / (frequency + (fixed + slope * length)).max(f32::MIN_POSITIVE);
        }
    }

    /// Scores each row by all fields, without a branch: for blocks of a word that stands in many titles or headings.
    #[inline(always)]
    #[allow(clippy::inline_always)] // As `score_columns_here`.
    fn score_all_fields(&mut self, scorer: &Scorer, factor: f32, lengths: &[u32; BLOCK]) {
        let (mut titles, mut headings) = ([0i32; BLOCK], [0i32; BLOCK]);
        for &(at, title, heading) in &self.outside {
            (titles[usize::from(at)], headings[usize::from(at)]) = (title as i32, heading as i32);
        }
        let k1 = scorer.parameters.k1;
        let others = titles.iter().zip(&headings).zip(&self.body).zip(lengths);
        for (score, (((&title, &heading), &body), &length)) in self.scores.iter_mut().zip(others) {
            let mut frequency = 0.0;
            for (field, (tf, length)) in [title, heading, body as i32].into_iter().zip(unpacked(length)).enumerate() {
                let normaliser = (scorer.fixed[field] + scorer.slope[field] * length as i32 as f32).max(1e-12);
                frequency += scorer.parameters.weights[field] * tf as f32 / normaliser;
            }
            *score = factor * frequency / (frequency + k1).max(f32::MIN_POSITIVE);
        }
    }
}

/// What one thread keeps from search to search.
#[derive(Default)]
struct Scratch {
    /// Per term: the block decoded last, and the bounds.
    terms: Vec<TermScratch>,
    /// Sums of the rows of a window; 0 between windows.
    sums: Vec<f32>,
    /// The rows of a window that may pass.
    candidates: Candidates,
    /// The terms of a window with their bounds, greatest first.
    order: Vec<(f32, usize)>,
    /// The best rows so far.
    pool: Vec<(u32, f32)>,
    /// Their sums.
    best: Vec<f32>,
}

impl Scratch {
    /// Lets go of what only an unusual question needs.
    fn shrink(&mut self) {
        self.terms.truncate(KEPT_TERMS);
        for term in &mut self.terms {
            term.blocks.clear();
            term.blocks.shrink_to(KEPT_ENTRIES);
            term.windows.clear();
            term.windows.shrink_to(KEPT_ENTRIES);
        }
        if self.terms.capacity() > KEPT_TERMS {
            self.terms.shrink_to_fit();
        }
        self.pool.clear();
        self.pool.shrink_to(KEPT_ENTRIES);
        self.best.clear();
        self.best.shrink_to(KEPT_ENTRIES);
        self.order.clear();
        self.order.shrink_to(KEPT_TERMS);
    }
}

#[derive(Default)]
struct TermScratch {
    decoded: Decoded,
    /// The bound of each block.
    blocks: Vec<f32>,
    /// The bound of each window, and its first block.
    windows: Vec<(f32, u32)>,
}

/// One search of one segment.
struct Search<'a> {
    lists: &'a TermLists<'a>,
    windows: usize,
    /// 1 less the share by which two sums of the same scores may differ.
    margin: f32,
}

impl<'a> Search<'a> {
    fn prepare(lists: &'a TermLists<'a>, scratch: &mut Scratch) -> Self {
        let search = Self { lists, windows: (lists.lists.rows() as usize).div_ceil(WINDOW), margin: lists.margin() };
        if scratch.terms.len() < lists.terms.len() {
            scratch.terms.resize_with(lists.terms.len(), TermScratch::default);
        }
        scratch.sums.resize(WINDOW, 0.0);
        scratch.sums.fill(0.0);
        for (index, term) in scratch.terms.iter_mut().enumerate().take(lists.terms.len()) {
            search.prepare_term(index, term);
        }
        search
    }

    fn prepare_term(&self, index: usize, term: &mut TermScratch) {
        let TermList { list, factor, scored, .. } = &self.lists.terms[index];
        term.decoded.forget();
        term.blocks.clear();
        term.windows.clear();
        term.windows.resize(self.windows, (0.0, NONE));
        if let Some(scored) = scored {
            for (number, window) in term.windows.iter_mut().enumerate() {
                window.0 = scored.bound(number, *factor);
            }
            return;
        }
        let mut first = 0;
        for block in 0..list.blocks() {
            let skip = list.skip(block);
            let bound = bound(self.lists.scorer, skip, *factor);
            let last = skip.last() as usize;
            for window in &mut term.windows[first / WINDOW..=last / WINDOW] {
                window.0 = window.0.max(bound);
                window.1 = window.1.min(block as u32);
            }
            term.blocks.push(bound);
            first = last + 1;
        }
        for &(row, score) in self.tail(index) {
            let window = &mut term.windows[row as usize / WINDOW];
            window.0 = window.0.max(score);
        }
    }

    /// The rows and scores of a term's tail.
    fn tail(&self, index: usize) -> &'a [(u32, f32)] {
        &self.lists.tails[self.lists.terms[index].tail.clone()]
    }

    /// Every row whose score may be among the best `k` and reach `least`, ascending, and few others.
    fn candidates(
        &self,
        allowed: Option<&Bitmap>,
        k: usize,
        least: f32,
        scratch: &mut Scratch,
    ) -> Result<Vec<(u32, f32)>> {
        let terms = &scratch.terms[..self.lists.terms.len()];
        let reach = |window: usize| terms.iter().map(|term| term.windows[window].0).sum::<f32>();
        let mut order: Vec<(f32, usize)> = (0..self.windows).map(|window| (reach(window), window)).collect();
        // The most promising window first, for a threshold; then in order, so that a block on two windows is decoded once.
        if let Some(best) = (0..order.len()).max_by(|&left, &right| order[left].0.total_cmp(&order[right].0)) {
            order.swap(0, best);
            order[1..].sort_unstable_by_key(|&(_, window)| window);
        }
        scratch.pool.clear();
        let mut threshold = least;
        for (reach, window) in order {
            let hopeless = reach <= 0.0 || reach < self.lists.floor(threshold);
            if hopeless || allowed.is_some_and(|allowed| !any_in_window(allowed, window)) {
                continue;
            }
            self.search_window(window, self.lists.floor(threshold), allowed, scratch)?;
            let pool = &mut scratch.pool;
            // Only where it is worth it: the threshold of the window before rules out nearly as much.
            if pool.len() > k && (threshold <= least || pool.len() > k + k / 2) {
                let best = &mut scratch.best;
                best.clear();
                best.extend(pool.iter().map(|candidate| candidate.1));
                let (_, last, _) = best.select_nth_unstable_by(k - 1, |left, right| right.total_cmp(left));
                threshold = last.max(least);
                let floor = self.lists.floor(threshold);
                pool.retain(|candidate| candidate.1 >= floor);
            }
        }
        let mut rows = scratch.pool.clone();
        // Two ascending runs, the most promising window and the others, which this sort merges.
        rows.sort_by_key(|candidate| candidate.0);
        Ok(rows)
    }

    /// Puts every row of the window whose sum reaches `threshold` into the pool.
    fn search_window(
        &self,
        window: usize,
        threshold: f32,
        allowed: Option<&Bitmap>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let Scratch { terms, sums, candidates, pool, order, .. } = scratch;
        let base = (window * WINDOW) as u32;
        order.clear();
        order.extend(
            terms[..self.lists.terms.len()].iter().enumerate().map(|(index, term)| (term.windows[window].0, index)),
        );
        order.retain(|(bound, _)| *bound > 0.0);
        order.sort_unstable_by(|left, right| right.0.total_cmp(&left.0));
        let reach: f32 = order.iter().map(|(bound, _)| bound).sum();
        // What is left of the bounds is made by subtraction, so its rounding is relative to all of them.
        let threshold = threshold - reach * (1.0 - self.margin);

        // Rows are opened by the terms of the greatest bounds, until what is left cannot lift an unopened row.
        let mut rest = reach;
        let mut left: usize = order.iter().map(|&(_, index)| self.postings_of_a_window(index, window)).sum();
        let mut opened = false;
        for &(bound, index) in &*order {
            let postings = self.postings_of_a_window(index, window);
            if !opened && rest < threshold && left > WORTH_COLLECTING {
                candidates.collect(sums, (threshold - rest) * self.margin);
                opened = true;
            }
            if opened {
                candidates.retain(|offset| sums[offset as usize] + rest >= threshold);
            }
            let term = &mut terms[index];
            if opened && candidates.count * LOOKUP_COST < postings {
                self.look_up(index, window, term, candidates.places(), sums)?;
            } else {
                self.add_term(index, window, threshold - (reach - bound), term, sums)?;
            }
            rest -= bound;
            left -= postings;
        }
        if !opened {
            candidates.collect(sums, threshold * self.margin);
        }
        let entries = candidates.places().iter().map(|&offset| (base + offset, sums[offset as usize]));
        pool.extend(
            entries.filter(|&(row, sum)| sum >= threshold && allowed.is_none_or(|allowed| allowed.contains(row))),
        );
        sums.fill(0.0);
        Ok(())
    }

    /// How many postings of a term are in a window; about, where its scores are not remembered.
    fn postings_of_a_window(&self, index: usize, window: usize) -> usize {
        if let Some(scored) = &self.lists.terms[index].scored {
            return scored.count(window);
        }
        (self.lists.terms[index].list.count() as usize * WINDOW) / self.lists.lists.rows() as usize
    }

    /// Adds the scores of one term's rows in the window; a block that cannot reach `needed` is left out.
    fn add_term(
        &self,
        index: usize,
        window: usize,
        needed: f32,
        term: &mut TermScratch,
        sums: &mut [f32],
    ) -> Result<()> {
        let TermList { list, factor, scored, .. } = &self.lists.terms[index];
        let TermScratch { decoded, blocks, windows } = term;
        let tail = self.tail(index);
        let Some(sums) = sums.first_chunk_mut::<WINDOW>() else { return Ok(()) };
        if let Some(scored) = scored {
            scored.add(window, *factor, sums);
            return Ok(());
        }
        let base = (window * WINDOW) as u32;
        let end = base as usize + WINDOW;
        let mut block = windows[window].1 as usize;
        while block < list.blocks() && (list.first(block) as usize) < end {
            if blocks[block] >= needed {
                decoded.scores(self.lists.scorer, &self.lists.lists, list, block, *factor)?;
                let scores = decoded.rows.iter().zip(&decoded.scores);
                if decoded.rows[0] >= base && (decoded.rows[BLOCK - 1] as usize) < end {
                    // All rows are in the window, which the mask tells the compiler.
                    scores.for_each(|(row, score)| sums[(row - base) as usize % WINDOW] += score);
                    block += 1;
                    continue;
                }
                for (row, score) in scores {
                    if let Some(sum) = sums.get_mut(row.wrapping_sub(base) as usize) {
                        *sum += score;
                    }
                }
            }
            block += 1;
        }
        let start = tail.partition_point(|posting| posting.0 < base);
        for &(row, score) in &tail[start..] {
            match sums.get_mut((row - base) as usize) {
                Some(sum) => *sum += score,
                None => break,
            }
        }
        Ok(())
    }

    /// Adds one term's scores to the sums of a window's candidates, which ascend.
    fn look_up(
        &self,
        index: usize,
        window: usize,
        term: &mut TermScratch,
        candidates: &[u32],
        sums: &mut [f32],
    ) -> Result<()> {
        let TermList { list, factor, scored, .. } = &self.lists.terms[index];
        let TermScratch { decoded, windows, .. } = term;
        let tail = self.tail(index);
        if let (Some(scored), Some(sums)) = (scored, sums.first_chunk_mut::<WINDOW>()) {
            scored.look_up(window, *factor, candidates, sums);
            return Ok(());
        }
        let base = (window * WINDOW) as u32;
        let mut block = windows[window].1 as usize;
        let mut next = 0;
        while let Some(&offset) = candidates.get(next) {
            block = list.find_block(block, base + offset);
            if block >= list.blocks() {
                break;
            }
            decoded.rows(list, block)?;
            let last = list.skip(block).last();
            let mut at = 0;
            while let Some(&offset) = candidates.get(next).filter(|&&offset| base + offset <= last) {
                let row = base + offset;
                at += decoded.rows[at..].partition_point(|&own| own < row);
                if decoded.rows[at] == row {
                    let frequencies = decoded.frequencies(list, block, at)?;
                    let lengths = self.lists.lists.lengths(row);
                    sums[offset as usize] += self.lists.scorer.term_score(*factor, frequencies, lengths);
                }
                next += 1;
            }
        }
        for &offset in &candidates[next..] {
            if let Ok(found) = tail.binary_search_by_key(&(base + offset), |posting| posting.0) {
                sums[offset as usize] += tail[found].1;
            }
        }
        Ok(())
    }
}

/// Places in a window of the rows that may pass, ascending.
#[derive(Default)]
struct Candidates {
    /// Room for a whole window, of which the first `count` are meant.
    room: Vec<u32>,
    count: usize,
}

impl Candidates {
    fn places(&self) -> &[u32] {
        &self.room[..self.count]
    }

    /// Keeps only places that `passes` says so of.
    fn retain(&mut self, passes: impl Fn(u32) -> bool) {
        let mut kept = 0;
        for at in 0..self.count {
            let place = self.room[at];
            self.room[kept] = place;
            kept += usize::from(passes(place));
        }
        self.count = kept;
    }

    /// The rows of a window whose sums reach `threshold` and are not 0.
    fn collect(&mut self, sums: &[f32], threshold: f32) {
        let threshold = threshold.max(f32::MIN_POSITIVE);
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return unsafe { self.collect_wide(sums, threshold) };
        }
        self.collect_here(sums, threshold);
    }

    fn collect_here(&mut self, sums: &[f32], threshold: f32) {
        self.collect_by(sums, |group| {
            group.iter().enumerate().fold(0, |bits, (at, &sum)| bits | u32::from(sum >= threshold) << at)
        });
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn collect_wide(&mut self, sums: &[f32], threshold: f32) {
        use std::arch::x86_64::{
            _CMP_GE_OQ, _mm256_cmp_ps, _mm256_loadu_ps, _mm256_movemask_ps, _mm256_or_ps, _mm256_set1_ps,
        };

        let least = _mm256_set1_ps(threshold);
        self.collect_by(sums, |group| {
            let reached = [0, 8, 16, 24].map(|start| {
                // SAFETY: a group has 32 sums, so eight of them are at each of these.
                let eight = unsafe { _mm256_loadu_ps(group.as_ptr().add(start)) };
                _mm256_cmp_ps::<_CMP_GE_OQ>(eight, least)
            });
            let any = _mm256_or_ps(_mm256_or_ps(reached[0], reached[1]), _mm256_or_ps(reached[2], reached[3]));
            if _mm256_movemask_ps(any) == 0 {
                return 0;
            }
            reached.iter().rev().fold(0, |bits, &eight| bits << 8 | _mm256_movemask_ps(eight) as u32)
        });
    }

    /// Collects by a bit for each sum of a group that reaches the threshold.
    #[inline(always)]
    #[allow(clippy::inline_always)] // What is not inlined is not compiled for the wider registers.
    fn collect_by(&mut self, sums: &[f32], reached: impl Fn(&[f32; GROUP]) -> u32) {
        self.room.resize(WINDOW, 0);
        let Some(room) = self.room.first_chunk_mut::<WINDOW>() else { return };
        let mut kept = 0;
        for (number, group) in sums.as_chunks::<GROUP>().0.iter().enumerate() {
            let mut bits = reached(group);
            while bits != 0 {
                // No more are kept than were seen; the remainder tells the compiler.
                room[kept % WINDOW] = (number * GROUP) as u32 + bits.trailing_zeros();
                kept += 1;
                bits &= bits - 1;
            }
        }
        self.count = kept;
    }
}

fn any_in_window(allowed: &Bitmap, window: usize) -> bool {
    const WORDS: usize = WINDOW / 64;
    let words = allowed.words();
    let end = words.len().min((window + 1) * WORDS);
    words.get(window * WORDS..end).unwrap_or_default().iter().any(|&word| word != 0)
}

/// What no row of the block exceeds, rounding apart.
fn bound(scorer: &Scorer, skip: Skip<'_>, factor: f32) -> f32 {
    let frequency = |field: usize, (tf, length): (u8, u8)| {
        scorer.parameters.weights[field] * tf_of_code(tf) / scorer.normalisers[field][usize::from(length)]
    };
    let [one, two, three] = skip.body_bounds().map(|point| frequency(FIELDS - 1, point));
    let mut greatest = one.max(two).max(three);
    if skip.exceptions() > 0 {
        let [title, headings, body] = skip.exception_bound();
        greatest = greatest.max(frequency(0, title) + frequency(1, headings) + frequency(2, body));
    }
    scorer.saturated(factor, greatest)
}

#[cfg(test)]
pub(super) fn kept_by_this_thread() -> (usize, usize) {
    SCRATCH.with_borrow(|scratch| (scratch.terms.capacity(), scratch.pool.capacity()))
}

#[cfg(test)]
pub(super) const KEPT: (usize, usize) = (KEPT_TERMS, KEPT_ENTRIES);

/// The rows that are collected as this processor does it, and as any does.
#[cfg(test)]
pub(super) fn collected(sums: &[f32], threshold: f32) -> [Vec<u32>; 2] {
    let (mut wide, mut portable) = (Candidates::default(), Candidates::default());
    wide.collect(sums, threshold);
    portable.collect_here(sums, threshold.max(f32::MIN_POSITIVE));
    [wide, portable].map(|candidates| candidates.places().to_vec())
}
