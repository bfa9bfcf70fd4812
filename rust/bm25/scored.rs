//! Lists whose scores are remembered: of the words that question after question asks for.
//!
//! To decode a posting and to score it takes three times as long as to add its score, and the words of questions repeat. So the
//! second question that asks for a long list leaves its rows and scores here, four bytes a posting, and the next ones add them
//! without decoding. A remembered score is rounded up, and search gives what it finds that much room before it is scored again
//! exactly; so what is remembered changes no result. What is kept is bounded by the segment's rows: the lists that were asked for
//! most, since each saves as much per posting and question. A list takes room for its windows too, which of a rare word in a large
//! segment are more than its postings.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rustc_hash::FxHashMap;

use super::Scorer;
use super::search::{Decoded, WINDOW};
use crate::error::Result;
use crate::lexical::{List, Lists};

/// Postings of a list from which on it is worth remembering.
const WORTH_REMEMBERING: u32 = if cfg!(test) { 1 } else { 128 };
/// Words of four bytes, one for a posting and two for a window, that are remembered for each row of a segment, and at most in
/// all segments of an index: 96 bytes a row, 32 MiB.
const WORDS_PER_ROW: usize = 24;
const MAXIMUM_WORDS: usize = 8 << 20;
/// Lists whose askings are counted.
const MAXIMUM_NOTED: usize = 4096;

const PLACE_BITS: u32 = WINDOW.trailing_zeros();
/// Entries whose scores are made at once.
const GROUP: usize = 32;
/// What the largest score of a list is kept as.
const LARGEST: u32 = (1 << (32 - PLACE_BITS)) - 1;

/// The remembered lists of a segment.
#[derive(Debug)]
pub struct ScoredLists {
    /// Rows of the segment.
    rows: u32,
    room: AtomicUsize,
    held: RwLock<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// What all lists here are scored by.
    scorer: Option<Scorer>,
    lists: FxHashMap<u32, Entry>,
    /// How often each list that is not here was asked for.
    asked: FxHashMap<u32, u32>,
    /// What they take of the room.
    words: usize,
}

#[derive(Debug)]
struct Entry {
    list: Arc<ScoredList>,
    /// How often it was asked for.
    asked: AtomicU32,
}

impl Entry {
    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl ScoredLists {
    /// Room for the lists of a segment with so many rows.
    #[must_use]
    pub fn new(rows: u32) -> Self {
        let lists = Self { rows, room: AtomicUsize::default(), held: RwLock::default() };
        lists.share(u64::from(rows));
        lists
    }

    /// Makes room for this segment's part of what an index of so many rows remembers: segments share it by their rows.
    pub fn share(&self, rows: u64) {
        let part = MAXIMUM_WORDS as u64 * u64::from(self.rows) / rows.max(1);
        let room = (self.rows as usize).saturating_mul(WORDS_PER_ROW).min(part as usize);
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        self.room.store(room, Ordering::Relaxed);
        if let Some(going) = held.less_asked(u32::MAX, 0, room) {
            held.leave(going);
        }
    }

    fn room(&self) -> usize {
        self.room.load(Ordering::Relaxed)
    }

    /// The scored list of a term, given its list in other words; `None` where it is not remembered.
    ///
    /// # Errors
    /// [`crate::error::Error::IndexCorrupt`] when a block cannot be read.
    pub(super) fn get(&self, ordinal: u32, asked: &Asked<'_>) -> Result<Option<Arc<ScoredList>>> {
        let words = words_of(asked.list.count(), asked.lists.rows());
        if asked.list.count() < WORTH_REMEMBERING || words > self.room() / 2 {
            return Ok(None);
        }
        {
            let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
            if held.is_scored_by(asked.scorer)
                && let Some(entry) = held.lists.get(&ordinal)
            {
                entry.asked.fetch_add(1, Ordering::Relaxed);
                return Ok(Some(Arc::clone(&entry.list)));
            }
        }
        let is_worth_it = {
            let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
            let times = held.note(ordinal, asked.scorer);
            // A list that found no room tries again when it was asked for twice as often: to look takes longer than to note.
            times > 1 && times.is_power_of_two() && held.less_asked(times, words, self.room()).is_some()
        };
        if !is_worth_it {
            return Ok(None);
        }
        // Scored without the lock: two threads may both come here and find the same.
        let scored = Arc::new(ScoredList::new(asked)?);
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if held.is_scored_by(asked.scorer) {
            held.keep(ordinal, Arc::clone(&scored), self.room());
        }
        Ok(Some(scored))
    }
}

impl Held {
    fn is_scored_by(&self, scorer: &Scorer) -> bool {
        self.scorer.as_ref().is_some_and(|own| own.scores_as(scorer))
    }

    /// Notes that a list was asked for by `scorer`, and says how often it has been.
    fn note(&mut self, ordinal: u32, scorer: &Scorer) -> u32 {
        if !self.is_scored_by(scorer) {
            *self = Self { scorer: Some(scorer.clone()), ..Self::default() };
        }
        if self.asked.len() >= MAXIMUM_NOTED {
            self.forget_half();
        }
        let times = self.asked.entry(ordinal).or_default();
        *times = times.saturating_add(1);
        *times
    }

    /// Halves all counts, so that what was asked for long ago counts less, and forgets those that come to nothing.
    fn forget_half(&mut self) {
        self.asked.retain(|_, times| {
            *times /= 2;
            *times > 0
        });
        self.lists.values().for_each(|entry| entry.asked.store(entry.asked() / 2, Ordering::Relaxed));
    }

    /// The lists that would have to go for one of so many words, least asked for first; `None` where one of them was
    /// asked for at least as often as `times`.
    fn less_asked(&self, times: u32, words: usize, room: usize) -> Option<Vec<u32>> {
        let mut surplus = (self.words + words).saturating_sub(room);
        if surplus == 0 {
            return Some(Vec::new());
        }
        let mut order: Vec<(u32, u32, usize)> =
            self.lists.iter().map(|(&own, entry)| (entry.asked(), own, entry.list.words())).collect();
        order.sort_unstable();
        let mut going = Vec::new();
        for (_, ordinal, words) in order.into_iter().take_while(|(asked, ..)| *asked < times) {
            going.push(ordinal);
            surplus = surplus.saturating_sub(words);
            if surplus == 0 {
                return Some(going);
            }
        }
        None
    }

    /// Lets lists go; how often they were asked for is still known.
    fn leave(&mut self, going: Vec<u32>) {
        for ordinal in going {
            if let Some(entry) = self.lists.remove(&ordinal) {
                self.words -= entry.list.words();
                self.asked.insert(ordinal, entry.asked());
            }
        }
    }

    /// Keeps a list in the place of those that were asked for less.
    fn keep(&mut self, ordinal: u32, list: Arc<ScoredList>, room: usize) {
        let Some(&times) = self.asked.get(&ordinal) else { return };
        let Some(going) = self.less_asked(times, list.words(), room) else { return };
        self.leave(going);
        self.asked.remove(&ordinal);
        self.words += list.words();
        self.lists.insert(ordinal, Entry { list, asked: AtomicU32::new(times) });
    }
}

/// The words that a list of so many postings takes in a segment with so many rows.
pub(super) fn words_of(postings: u32, rows: u32) -> usize {
    postings as usize + 2 * (rows as usize).div_ceil(WINDOW) + 1
}

/// A list that is asked for: what it is scored from.
pub(super) struct Asked<'a> {
    pub list: &'a List<'a>,
    pub lists: &'a Lists<'a>,
    pub scorer: &'a Scorer,
}

/// The rows of a list with their scores, window by window.
#[derive(Debug, Default)]
pub(super) struct ScoredList {
    /// Where the entries of each window begin; one more than there are windows.
    starts: Box<[u32]>,
    /// A place in the window, and above it the score as a share of the greatest, rounded up.
    entries: Box<[u32]>,
    /// The greatest score kept in each window, as entries have it.
    greatest: Box<[u32]>,
    /// What one unit of an entry's score is worth, for a factor of 1.
    unit: f32,
}

impl ScoredList {
    fn new(asked: &Asked<'_>) -> Result<Self> {
        let Asked { list, lists, scorer } = asked;
        let mut scored: Vec<(u32, f32)> = Vec::with_capacity(list.count() as usize);
        let mut decoded = Decoded::default();
        for block in 0..list.blocks() {
            decoded.scores(scorer, lists, list, block, 1.0)?;
            scored.extend(decoded.scored());
        }
        for posting in list.tail() {
            let posting = posting?;
            scored.push((posting.row, scorer.term_score(1.0, posting.frequencies, lists.lengths(posting.row))));
        }
        let largest = scored.iter().fold(0f32, |largest, entry| largest.max(entry.1));
        // A little more than the share, so that neither this quotient's rounding nor a product's goes below the score.
        let unit = (largest / LARGEST as f32 * (1.0 + 4.0 * f32::EPSILON)).max(f32::MIN_POSITIVE);
        let windows = (lists.rows() as usize).div_ceil(WINDOW);
        let (mut starts, mut greatest) = (vec![0; windows + 1], vec![0; windows]);
        let mut entries = Vec::with_capacity(scored.len());
        for &(row, score) in &scored {
            let (window, place) = (row as usize / WINDOW, row % WINDOW as u32);
            let share = ((score / unit).ceil() as u32).clamp(1, LARGEST);
            entries.push(share << PLACE_BITS | place);
            starts[window + 1] = entries.len() as u32;
            greatest[window] = share.max(greatest[window]);
        }
        for window in 0..windows {
            starts[window + 1] = starts[window + 1].max(starts[window]);
        }
        Ok(Self { starts: starts.into(), entries: entries.into(), greatest: greatest.into(), unit })
    }

    /// What it takes of the room.
    fn words(&self) -> usize {
        self.entries.len() + self.starts.len() + self.greatest.len()
    }

    /// What no row of a window exceeds.
    #[inline]
    pub(super) fn bound(&self, window: usize, factor: f32) -> f32 {
        self.greatest.get(window).map_or(0.0, |&share| share as f32 * (factor * self.unit))
    }

    /// By how much a score from here may be more than the score.
    pub(super) fn excess(&self, factor: f32) -> f32 {
        2.0 * factor * self.unit
    }

    fn window(&self, window: usize) -> &[u32] {
        let place = |at: usize| self.starts.get(at).map_or(0, |&start| start as usize);
        self.entries.get(place(window)..place(window + 1)).unwrap_or_default()
    }

    /// How many rows of a window the list has.
    pub(super) fn count(&self, window: usize) -> usize {
        self.window(window).len()
    }

    /// Adds the scores of a window's rows.
    pub(super) fn add(&self, window: usize, factor: f32, sums: &mut [f32; WINDOW]) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return unsafe { self.add_wide(window, factor, sums) };
        }
        self.add_here(window, factor, sums);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn add_wide(&self, window: usize, factor: f32, sums: &mut [f32; WINDOW]) {
        self.add_here(window, factor, sums);
    }

    #[inline(always)]
    #[allow(clippy::inline_always)] // What is not inlined is not compiled for the wider registers.
    fn add_here(&self, window: usize, factor: f32, sums: &mut [f32; WINDOW]) {
        let worth = factor * self.unit;
        let (groups, rest) = self.window(window).as_chunks::<GROUP>();
        let mut scores = [0f32; GROUP];
        for group in groups {
            // On their own the scores are made with wide registers.
            for (score, entry) in scores.iter_mut().zip(group) {
                *score = (entry >> PLACE_BITS) as i32 as f32 * worth;
            }
            for (score, entry) in scores.iter().zip(group) {
                sums[(entry % WINDOW as u32) as usize] += score;
            }
        }
        for entry in rest {
            sums[(entry % WINDOW as u32) as usize] += (entry >> PLACE_BITS) as i32 as f32 * worth;
        }
    }

    /// Calls `found` with the index of each of `rows`, which ascend, that the list has, and the number of its posting there.
    pub(super) fn for_each_of(&self, rows: &[u32], mut found: impl FnMut(usize, usize) -> Result<()>) -> Result<()> {
        let mut at = 0;
        for rows in rows.chunk_by(|left, right| left / WINDOW as u32 == right / WINDOW as u32) {
            let window = rows.first().map_or(0, |&row| row as usize / WINDOW);
            let mut rest = self.window(window);
            let end = self.starts.get(window + 1).map_or(0, |&end| end as usize);
            for (index, row) in rows.iter().enumerate() {
                let place = row % WINDOW as u32;
                rest = from_place(rest, place);
                match rest.first() {
                    Some(entry) if entry % WINDOW as u32 == place => found(at + index, end - rest.len())?,
                    Some(_) => {}
                    None => break,
                }
            }
            at += rows.len();
        }
        Ok(())
    }

    /// Adds the scores of a window's rows at `places`, which ascend.
    pub(super) fn look_up(&self, window: usize, factor: f32, places: &[u32], sums: &mut [f32; WINDOW]) {
        let worth = factor * self.unit;
        let mut rest = self.window(window);
        for &place in places {
            rest = from_place(rest, place);
            match rest.first() {
                Some(entry) if entry % (WINDOW as u32) == place => {
                    sums[place as usize % WINDOW] += (entry >> PLACE_BITS) as i32 as f32 * worth;
                }
                Some(_) => {}
                None => return,
            }
        }
    }
}

/// The entries of a window from `place` on. What is looked for is mostly near, so steps double.
#[inline]
fn from_place(mut entries: &[u32], place: u32) -> &[u32] {
    let before = |entry: &u32| entry % (WINDOW as u32) < place;
    let mut step = 1;
    while entries.get(step - 1).is_some_and(before) {
        entries = entries.get(step..).unwrap_or_default();
        step *= 2;
    }
    entries.get(entries.get(..step).unwrap_or(entries).partition_point(before)..).unwrap_or_default()
}

#[cfg(test)]
impl ScoredLists {
    /// Room for so many words.
    pub(super) fn with_room(room: usize) -> Self {
        Self { rows: 0, room: AtomicUsize::new(room), held: RwLock::default() }
    }

    /// Whether the list of a word is remembered.
    pub(super) fn holds(&self, word: &str, segment: &crate::lexical::LexicalSegment) -> bool {
        let ordinal = segment.ordinal(word).ok().flatten();
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        ordinal.is_some_and(|ordinal| held.lists.contains_key(&ordinal))
    }

    /// How many lists and postings are remembered.
    pub(super) fn remembered(&self) -> (usize, usize) {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(held.words, held.lists.values().map(|entry| entry.list.words()).sum::<usize>());
        assert!(held.words <= self.room());
        (held.lists.len(), held.lists.values().map(|entry| entry.list.entries.len()).sum())
    }
}

const _: () = assert!(WINDOW.is_power_of_two());
