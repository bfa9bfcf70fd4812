//! One opened generation: everything one query needs, in one call without the interpreter lock.
//!
//! A snapshot never changes, so any number of threads ask it at once. A query runs on the thread that asks, and in a large index
//! on threads of the pool besides where that is idle: both retrievers, every candidate's score by both of them, the whole
//! document's evidence, fusion, and MMR where nothing else reranks.
//!
//! What a query finds does not depend on how the index is cut into segments: statistics are those of the whole generation
//! less what is deleted, scores are summed in one fixed order, and equal scores are ordered by document id and then by the
//! chunk's place in its document.

use std::cmp::Ordering;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rustc_hash::FxHashMap;

use crate::analysis::{self, Language, QuestionWord};
use crate::bitmap::Bitmap;
use crate::bm25::{self, Explanation, Parameters, QueryTerm, Scorer, TermLists};
use crate::dense::{self, Mode, VectorSegment};
use crate::error::{Error, Result};
use crate::evidence::{self, Candidate, Evidence};
use crate::execution;
use crate::fusion;
use crate::lexical::{Level, Statistics};
use crate::mmr;
use crate::records::{Id, Records};
use crate::segment::{SegmentReader, Tombstones};
use crate::storage::Generation;

pub mod standing;

/// How many of the best hits evidence is looked for in.
const EVIDENCE_HITS: usize = 3;

/// From how many chunks on both retrievers work at the same time where the pool is idle: below, to wake a thread costs more
/// than it saves. Tests have smaller indexes on both sides of it.
const WORTH_HELP: u64 = if cfg!(test) { 16 } else { 500_000 };

/// How many filters a snapshot remembers the rows of.
const REMEMBERED_FILTERS: usize = 32;

/// How a generation is searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Hits returned.
    pub top_k: usize,
    /// Candidates taken from each retriever.
    pub candidates: usize,
    /// BM25F's parameters.
    pub parameters: Parameters,
    /// The weight of the cosine beside BM25F.
    pub dense_weight: f32,
    /// The weight of the whole document's evidence, 0 to 1.
    pub document_weight: f32,
    /// What each further chunk of a section counts, as a share of the one before, 0 to 1.
    pub repeat_weight: f32,
    /// The trade-off of MMR, 1 for relevance only; `None` for no MMR.
    pub mmr_lambda: Option<f32>,
    /// Which way the nearest chunks are found.
    pub dense: Mode,
}

/// A question to one generation.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Its words.
    pub text: &'a str,
    /// The language they are analysed in.
    pub language: Language,
    /// Its vector; `None` to search by words only.
    pub vector: Option<&'a [f32]>,
    /// Texts whose words are searched for as well, each with what a word of it counts beside one of the question. They rank, but
    /// are no evidence: nobody asked for them.
    pub expansions: &'a [(String, f32)],
    /// A chunk passes when it has one value of each group.
    pub filters: &'a [Vec<String>],
    /// A chunk passes when it has none of these values. Such chunks are not counted either: what is never asked for does not
    /// change what the words of the others are worth.
    pub excluded: &'a [String],
    /// Documents that are searched as if they were not there; the index's statistics stay those of all.
    pub excluded_documents: &'a [Id],
}

/// A chunk of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The segment's number in the generation.
    pub segment: u32,
    /// The chunk's row in it.
    pub row: u32,
}

/// A chunk that was found, with everything it was ranked by.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Where it is.
    pub place: Place,
    /// The row of its document.
    pub document: u32,
    /// BM25F of the chunk, 0 without a word of the question.
    pub bm25: f32,
    /// Cosine of the chunk; `None` when the question or the chunk has no vector.
    pub cosine: Option<f32>,
    /// BM25F of the document; 0 when documents count nothing.
    pub document_bm25: f32,
    /// Cosine of the document; `None` when documents count nothing.
    pub document_cosine: Option<f32>,
    /// The relevance that all this was fused to.
    pub fused: f32,
    /// The relevance that is left where better chunks are of the same section.
    pub score: f32,
    /// The number of its section in the document.
    section: u32,
}

/// The answer to one question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Results {
    /// The hits, best first.
    pub found: Vec<Found>,
    /// What all candidates say about whether any answers; the same for any `top_k`.
    pub evidence: Evidence,
    /// Which way the nearest chunks were found; `None` when the question has no vector, or the index.
    pub dense: Option<dense::Path>,
    /// The terms that were looked for: the question's, and after them those of its expansions.
    pub terms: Vec<String>,
    /// Milliseconds by part: `lexical`, `dense`, `fuse`, `evidence`, `mmr`; the first two may have passed at the same time.
    pub timings: Vec<(&'static str, f64)>,
}

/// The rows of one segment that a question may find.
#[derive(Debug)]
struct Allowed {
    /// `None` when all chunks are.
    chunks: Option<Bitmap>,
    /// Documents with such a chunk; `None` when all documents are.
    documents: Option<Bitmap>,
}

/// What a filter leaves.
#[derive(Debug)]
struct Left {
    /// The rows that pass, by segment.
    allowed: Vec<Allowed>,
    /// The chunks that are not excluded: what BM25 counts by.
    counted: Statistics,
}

/// A filter and what it leaves.
#[derive(Debug)]
struct Remembered {
    filters: Vec<Vec<String>>,
    excluded: Vec<String>,
    left: Arc<Left>,
}

/// One segment as a generation sees it.
#[derive(Debug)]
struct View {
    reader: Arc<SegmentReader>,
    tombstones: Option<Tombstones>,
}

/// One opened generation.
#[derive(Debug)]
pub struct Snapshot {
    generation: Generation,
    views: Vec<View>,
    chunks: Statistics,
    documents: Statistics,
    filters: Mutex<Vec<Remembered>>,
}

impl Snapshot {
    /// Opens the generation that is served from the index in `root`, sharing with `previous` the segments that both have.
    ///
    /// # Errors
    /// [`Error::IndexNotFound`], [`Error::IndexCorrupt`], [`Error::IndexIncompatible`] or [`Error::Io`].
    pub fn open(root: &Path, previous: Option<&Self>) -> Result<Self> {
        Self::of(Generation::open_after(root, previous.map(|previous| &previous.generation))?, previous)
    }

    /// Opens the generation with that number, whether it is served or not.
    ///
    /// # Errors
    /// [`Error::GenerationNotFound`]; else see [`Snapshot::open`].
    pub fn open_at(root: &Path, number: u64, previous: Option<&Self>) -> Result<Self> {
        Self::of(Generation::open_at(root, number, previous.map(|previous| &previous.generation))?, previous)
    }

    /// A generation that is open, the structures of its segments checked.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] or [`Error::IndexIncompatible`].
    pub fn of(generation: Generation, previous: Option<&Self>) -> Result<Self> {
        let views = views(&generation, previous)?;
        let (mut chunks, mut documents) = (Statistics::default(), Statistics::default());
        for view in &views {
            let postings = view.reader.lexical.postings();
            let living = |level: Level| {
                let dead = view.tombstones.as_ref().map(|tombstones| tombstones.corrections.statistics(level));
                postings.statistics(level).minus(dead.unwrap_or_default())
            };
            chunks = chunks.plus(living(Level::Chunks));
            documents = documents.plus(living(Level::Documents));
        }
        let rows = views.iter().map(|view| u64::from(view.reader.lexical.chunks())).sum();
        for view in &views {
            view.reader.scored.share(rows);
        }
        Ok(Self { generation, views, chunks, documents, filters: Mutex::default() })
    }

    /// The generation that is open.
    #[must_use]
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Chunks that live.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.chunks.rows
    }

    /// Documents that live.
    #[must_use]
    pub fn documents(&self) -> u64 {
        self.documents.rows
    }

    /// The records of a segment.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when a header is damaged or there is no such segment.
    pub fn records(&self, segment: u32) -> Result<Records<'_>> {
        self.view(segment)?.reader.records()
    }

    /// The records of each segment.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when a header is damaged.
    pub fn all_records(&self) -> Result<Vec<Records<'_>>> {
        self.views.iter().map(|view| view.reader.records()).collect()
    }

    /// The vectors of a segment, where the index has them.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when there is no such segment.
    pub fn vectors(&self, segment: u32) -> Result<Option<&VectorSegment>> {
        Ok(self.view(segment)?.reader.vectors.as_ref())
    }

    fn view(&self, segment: u32) -> Result<&View> {
        let missing = || Error::corrupt(self.generation.root(), format!("there is no segment {segment}"));
        self.views.get(segment as usize).ok_or_else(missing)
    }

    /// The rows of a segment's documents that live, ascending by id.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when there is no such segment.
    pub fn living(&self, segment: u32) -> Result<Vec<u32>> {
        let view = self.view(segment)?;
        let dead = |row: &u32| view.tombstones.as_ref().is_some_and(|dead| dead.documents.contains(*row));
        Ok((0..view.reader.lexical.documents()).filter(|row| !dead(row)).collect())
    }

    /// Where the living document with `id` is: its segment and row.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when bytes on the way are damaged.
    pub fn find_document(&self, id: &Id) -> Result<Option<(u32, u32)>> {
        for (segment, view) in self.views.iter().enumerate() {
            let dead = |row| view.tombstones.as_ref().is_some_and(|dead| dead.documents.contains(row));
            if let Some(row) = view.reader.records()?.find_document(id)?.filter(|&row| !dead(row)) {
                return Ok(Some((segment as u32, row)));
            }
        }
        Ok(None)
    }

    /// Where the living chunk with `id` is.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when bytes on the way are damaged.
    pub fn find_chunk(&self, id: &Id) -> Result<Option<Place>> {
        for (segment, view) in self.views.iter().enumerate() {
            let dead = |row| view.tombstones.as_ref().is_some_and(|dead| dead.chunks.contains(row));
            if let Some(row) = view.reader.records()?.find_chunk(id)?.filter(|&row| !dead(row)) {
                return Ok(Some(Place { segment: segment as u32, row }));
            }
        }
        Ok(None)
    }

    /// Searches by words, and by meaning where the question has a vector.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for parameters or vectors that cannot be used; [`Error::IndexCorrupt`] when bytes that the
    /// question needs are not what was written.
    pub fn search(&self, question: &Question<'_>, options: &Options) -> Result<Results> {
        let mut clock = Clock::start();
        let search = Search::new(self, question, options)?;
        let parts = search.parts()?;
        clock.lap("lexical");
        let together = self.chunks.rows >= WORTH_HELP && search.vector.is_some();
        let lexical = || timed(|| search.lexical(&parts, together));
        let dense = || timed(|| search.dense(&parts));
        let ((lexical, of_lexical), (dense, of_dense)) =
            if together { execution::beside(lexical, dense) } else { (lexical(), dense()) };
        let (lexical, (nearest, path)) = (lexical?, dense?);
        clock.add(of_lexical, of_dense);
        let (mut found, held) = search.pool(&parts, &lexical, &nearest)?;
        search.sort(&parts, &mut found);
        clock.lap("fuse");
        let evidence = search.evidence(&found, &held);
        clock.lap("evidence");
        search.discount_repeats(&mut found)?;
        let found = match options.mmr_lambda {
            Some(lambda) if lambda < 1.0 => search.diversify(found, lambda)?,
            _ => found.into_iter().take(options.top_k).collect(),
        };
        clock.lap("mmr");
        search.sound()?;
        Ok(Results { found, evidence, dense: path, terms: search.terms, timings: clock.laps })
    }

    /// Why a chunk, and its document, have their BM25F for these words.
    ///
    /// # Errors
    /// As [`Snapshot::search`].
    pub fn explain(&self, question: &Question<'_>, options: &Options, place: Place) -> Result<Explained> {
        let search = Search::new(self, question, options)?;
        let view = self.view(place.segment)?;
        let document = view.reader.records()?.document_of(place.row)?;
        let postings = view.reader.lexical.postings();
        let (chunks, documents) = search.terms_of(place.segment);
        Ok(Explained {
            terms: search.terms.clone(),
            chunk: search.chunk_scorer.explain(postings, chunks, place.row)?,
            document: search.document_scorer.explain(postings, documents, document)?,
        })
    }

    /// What the filters leave; remembered, because most questions share them.
    fn left(&self, question: &Question<'_>) -> Result<Arc<Left>> {
        let lock = || self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        let memorable = question.excluded_documents.is_empty();
        let same = |known: &&Remembered| known.filters == question.filters && known.excluded == question.excluded;
        if memorable && let Some(known) = lock().iter().find(same) {
            return Ok(Arc::clone(&known.left));
        }
        // Two threads may both come here and find the same; neither waits for the other.
        let mut left = Left { allowed: Vec::with_capacity(self.views.len()), counted: self.chunks };
        for view in &self.views {
            let excluded = view.excluded(question)?;
            left.counted = left.counted.minus(view.statistics(&excluded));
            left.allowed.push(view.allowed(question, &excluded)?);
        }
        let left = Arc::new(left);
        if !memorable {
            return Ok(left);
        }
        let mut remembered = lock();
        if remembered.len() >= REMEMBERED_FILTERS {
            remembered.clear();
        }
        remembered.push(Remembered {
            filters: question.filters.to_vec(),
            excluded: question.excluded.to_vec(),
            left: Arc::clone(&left),
        });
        Ok(left)
    }
}

/// Checks that every segment of a generation can be read, as [`Snapshot::open`] does.
///
/// # Errors
/// [`Error::IndexCorrupt`] or [`Error::IndexIncompatible`].
pub fn inspect(generation: &Generation) -> Result<()> {
    views(generation, None).map(|_| ())
}

/// A generation's segments, opened; those of `previous` are shared.
fn views(generation: &Generation, previous: Option<&Snapshot>) -> Result<Vec<View>> {
    let mut views = Vec::with_capacity(generation.segments().len());
    let parts = generation.manifest().segments.iter().zip(generation.segments()).zip(generation.tombstones());
    for ((entry, files), tombstones) in parts {
        let shared = previous.and_then(|previous| previous.views.iter().find(|view| view.reader.reads(files)));
        let reader = match shared {
            Some(view) => Arc::clone(&view.reader),
            None => Arc::new(SegmentReader::open(files)?),
        };
        let tombstones = tombstones
            .as_ref()
            .map(|file| Tombstones::from_file(file, reader.lexical.documents(), reader.lexical.chunks()))
            .transpose()?;
        if reader.lexical.chunks() != entry.chunks || reader.lexical.documents() != entry.documents {
            return Err(Error::corrupt(files.directory(), "it has other rows than the manifest says"));
        }
        let stated = generation.manifest().makers.embedder.as_ref().map(|embedder| embedder.dimension as usize);
        let held = reader.vectors.as_ref().map(VectorSegment::dimension);
        if let (Some(stated), Some(held)) = (stated, held)
            && stated != held
        {
            let reason = format!("its vectors have {held} dimensions, the manifest says {stated}");
            return Err(Error::corrupt(files.directory(), reason));
        }
        views.push(View { reader, tombstones });
    }
    Ok(views)
}

impl View {
    /// The living chunks that a question excludes.
    fn excluded(&self, question: &Question<'_>) -> Result<Bitmap> {
        let mut excluded = Bitmap::empty(self.reader.lexical.chunks());
        for value in question.excluded {
            excluded.union(&self.reader.lexical.filter(value)?);
        }
        if let Some(dead) = &self.tombstones {
            excluded.subtract(&dead.chunks);
        }
        Ok(excluded)
    }

    /// The number and the lengths of some chunks.
    fn statistics(&self, chunks: &Bitmap) -> Statistics {
        let postings = self.reader.lexical.postings();
        let lengths = chunks.iter().filter_map(|row| postings.lengths(Level::Chunks, row));
        lengths.fold(Statistics::default(), |sum, lengths| {
            sum.plus(Statistics { rows: 1, totals: lengths.map(u64::from) })
        })
    }

    fn allowed(&self, question: &Question<'_>, excluded: &Bitmap) -> Result<Allowed> {
        let lexical = &self.reader.lexical;
        let mut chunks = Bitmap::full(lexical.chunks());
        for group in question.filters {
            let mut any = Bitmap::empty(lexical.chunks());
            for value in group {
                any.union(&lexical.filter(value)?);
            }
            chunks.intersect(&any);
        }
        chunks.subtract(excluded);
        if let Some(dead) = &self.tombstones {
            chunks.subtract(&dead.chunks);
        }
        let records = self.reader.records()?;
        for id in question.excluded_documents {
            if let Some(document) = records.find_document(id)? {
                records.chunk_rows(document)?.for_each(|chunk| chunks.remove(chunk));
            }
        }
        let mut documents = Bitmap::empty(lexical.documents());
        for row in 0..lexical.documents() {
            if records.chunk_rows(row)?.any(|chunk| chunks.contains(chunk)) {
                documents.insert(row);
            }
        }
        Ok(Allowed { chunks: unless_full(chunks), documents: unless_full(documents) })
    }
}

/// A bitmap that lets all rows pass is none: searches without one need not ask.
fn unless_full(rows: Bitmap) -> Option<Bitmap> {
    (rows.count() < rows.len()).then_some(rows)
}

/// BM25F of a chunk and of its document, term by term.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// The terms that the question is searched by, to which the explanations refer.
    pub terms: Vec<String>,
    /// The chunk's score.
    pub chunk: Explanation,
    /// The document's score.
    pub document: Explanation,
}

/// Milliseconds between laps.
struct Clock {
    last: Instant,
    laps: Vec<(&'static str, f64)>,
}

impl Clock {
    fn start() -> Self {
        Self { last: Instant::now(), laps: Vec::with_capacity(5) }
    }

    /// Adds milliseconds of the lexical part, and those of the dense one, that were taken on any thread.
    fn add(&mut self, lexical: f64, dense: f64) {
        self.laps.iter_mut().for_each(|lap| lap.1 += lexical);
        self.laps.push(("dense", dense));
        self.last = Instant::now();
    }

    fn lap(&mut self, part: &'static str) {
        let now = Instant::now();
        self.laps.push((part, (now - self.last).as_secs_f64() * 1000.0));
        self.last = now;
    }
}

/// What `work` returns, and the milliseconds that it took.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let done = work();
    (done, start.elapsed().as_secs_f64() * 1000.0)
}

/// One question while it is being answered.
struct Search<'a> {
    snapshot: &'a Snapshot,
    options: &'a Options,
    left: Arc<Left>,
    terms: Vec<String>,
    words: Vec<Asked>,
    /// By segment: the terms with their chunk statistics, and with their document statistics.
    query: Vec<(Vec<QueryTerm>, Vec<QueryTerm>)>,
    vector: Option<dense::Query>,
    chunk_scorer: Scorer,
    document_scorer: Scorer,
    /// What went wrong where two places were put in order.
    damage: Mutex<Option<Error>>,
}

/// One segment as a question sees it.
struct Part<'a> {
    vectors: Option<&'a VectorSegment>,
    records: Records<'a>,
    allowed: &'a Allowed,
}

/// What the words of a question find.
struct Lexical<'a> {
    /// By segment: the lists of the question's terms.
    lists: Vec<WordLists<'a>>,
    /// By segment: every row that may be among the best by BM25F, and few others, ascending.
    survivors: Vec<Vec<u32>>,
    /// The largest BM25F of a document within the filter, where it was looked for: it is found sooner when the candidates'
    /// documents are known.
    document_max: Option<f32>,
}

/// The lists of the question's terms in one segment.
struct WordLists<'a> {
    chunks: TermLists<'a>,
    /// `None` when documents count nothing.
    documents: Option<TermLists<'a>>,
}

/// Chunks with their scores by one retriever.
type Ranked = Vec<(Place, f32)>;

/// Which of the question's terms each candidate has, and which in its title: a bit for each term.
struct Held {
    places: Vec<Place>,
    /// How many words hold a bit for each term.
    words: usize,
    anywhere: Vec<u64>,
    titles: Vec<u64>,
}

impl Held {
    /// The bits of the candidate at `place`, anywhere and in the title.
    fn of(&self, place: Place) -> (&[u64], &[u64]) {
        let row = self.places.binary_search(&place).unwrap_or(self.places.len());
        let range = row * self.words..(row + 1) * self.words;
        (self.anywhere.get(range.clone()).unwrap_or_default(), self.titles.get(range).unwrap_or_default())
    }
}

/// Whether the bit of a term is set.
fn has(bits: &[u64], term: usize) -> bool {
    bits.get(term / 64).is_some_and(|word| word >> (term % 64) & 1 == 1)
}

impl<'a> Search<'a> {
    fn new(snapshot: &'a Snapshot, question: &'a Question<'a>, options: &'a Options) -> Result<Self> {
        if let Some(lambda) = options.mmr_lambda.filter(|lambda| !(0.0..=1.0).contains(lambda)) {
            return Err(Error::InvalidArgument(format!("mmr_lambda is {lambda}, not within 0 and 1")));
        }
        let (mut terms, words) = numbered(&analysis::question_words(question.text, question.language));
        let weights = expand(&mut terms, question);
        let left = snapshot.left(question)?;
        let mut ordinals = vec![Vec::with_capacity(terms.len()); snapshot.views.len()];
        let mut frequencies = vec![(0u64, 0u64); terms.len()];
        for (view, ordinals) in snapshot.views.iter().zip(&mut ordinals) {
            for (term, frequency) in terms.iter().zip(&mut frequencies) {
                let ordinal = view.reader.lexical.ordinal(term)?;
                if let Some(ordinal) = ordinal {
                    let (chunks, documents) = view.document_frequencies(ordinal)?;
                    frequency.0 += chunks;
                    frequency.1 += documents;
                }
                ordinals.push(ordinal);
            }
        }
        let weighted = |ordinals: &Vec<Option<u32>>| {
            let terms = || ordinals.iter().zip(&frequencies).zip(&weights);
            let chunk = |((&ordinal, df), &weight): ((&Option<u32>, &(u64, u64)), &f32)| {
                QueryTerm::new(ordinal, df.0, weight, &left.counted)
            };
            let document = |((&ordinal, df), &weight): ((&Option<u32>, &(u64, u64)), &f32)| {
                QueryTerm::new(ordinal, df.1, weight, &snapshot.documents)
            };
            (terms().map(chunk).collect(), terms().map(document).collect())
        };
        Ok(Self {
            snapshot,
            options,
            query: ordinals.iter().map(weighted).collect(),
            terms,
            words,
            vector: question.vector.map(dense::Query::new).transpose()?.flatten(),
            damage: Mutex::default(),
            chunk_scorer: Scorer::new(options.parameters, Level::Chunks, left.counted)?,
            document_scorer: Scorer::new(options.parameters, Level::Documents, snapshot.documents)?,
            left,
        })
    }

    fn terms_of(&self, segment: u32) -> (&[QueryTerm], &[QueryTerm]) {
        self.query.get(segment as usize).map_or((&[], &[]), |(chunks, documents)| (chunks, documents))
    }

    fn parts(&self) -> Result<Vec<Part<'_>>> {
        let part = |(view, allowed): (&'a View, _)| {
            Ok(Part { vectors: view.reader.vectors.as_ref(), records: view.reader.records()?, allowed })
        };
        self.snapshot.views.iter().zip(&self.left.allowed).map(part).collect()
    }

    fn lists(&self) -> Result<Vec<WordLists<'_>>> {
        let lists = |(view, (chunk_terms, document_terms)): (&'a View, &(Vec<QueryTerm>, Vec<QueryTerm>))| {
            let postings = view.reader.lexical.postings();
            let documents =
                self.weighs_documents().then(|| TermLists::new(postings, document_terms, &self.document_scorer, None));
            Ok(WordLists {
                chunks: TermLists::new(postings, chunk_terms, &self.chunk_scorer, Some(&view.reader.scored))?,
                documents: documents.transpose()?,
            })
        };
        self.snapshot.views.iter().zip(&self.query).map(lists).collect()
    }

    /// Whether anything that documents as a whole say counts.
    fn weighs_documents(&self) -> bool {
        self.options.document_weight > 0.0
    }

    /// What the words find, at once with the best document's score when `documents_too`.
    ///
    /// The largest segment is searched first, so that the others need only find what is better than the best found before.
    fn lexical(&self, parts: &[Part<'_>], documents_too: bool) -> Result<Lexical<'_>> {
        let lists = self.lists()?;
        let candidates = self.options.candidates;
        let mut order: Vec<usize> = (0..parts.len()).collect();
        order.sort_unstable_by_key(|&part| std::cmp::Reverse(parts.get(part).map(|part| part.records.chunks())));
        let mut found = vec![Vec::new(); parts.len()];
        let mut best: Vec<f32> = Vec::new();
        // Sums of one segment may be more than they are by what is remembered there.
        let excess = lists.iter().map(|lists| lists.chunks.excess()).fold(0f32, f32::max);
        let mut least = 0.0;
        for number in order {
            let (Some(part), Some(lists), Some(found)) = (parts.get(number), lists.get(number), found.get_mut(number))
            else {
                continue;
            };
            *found = lists.chunks.survivors(part.allowed.chunks.as_ref(), candidates, least)?;
            best.extend(found.iter().map(|(_, sum)| *sum));
            if candidates > 0 && best.len() >= candidates {
                let (_, last, _) = best.select_nth_unstable_by(candidates - 1, |left, right| right.total_cmp(left));
                least = (*last - excess).max(0.0);
                best.truncate(candidates);
            }
        }
        let document_max = || document_maximum(parts, &lists, document_of_best(parts, &lists, &found)?);
        let document_max = documents_too.then(document_max).transpose()?;
        let worthy = |(lists, found): (&WordLists<'_>, Vec<(u32, f32)>)| {
            let least = lists.chunks.floor(least);
            found.into_iter().filter(|(_, sum)| *sum >= least).map(|(row, _)| row).collect()
        };
        let survivors = lists.iter().zip(found).map(worthy).collect();
        Ok(Lexical { lists, survivors, document_max })
    }

    /// What chunks of equal score are ordered by: their documents' ids, then their places in the document. Rows of a segment
    /// are in that order.
    fn order(&self, parts: &[Part<'_>], left: Place, right: Place) -> Ordering {
        if left.segment == right.segment {
            return left.row.cmp(&right.row);
        }
        self.id_of(parts, left).cmp(&self.id_of(parts, right))
    }

    /// The id of the document that a chunk belongs to.
    fn id_of(&self, parts: &[Part<'_>], place: Place) -> Id {
        let id = |part: &Part<'_>| part.records.document_id(part.records.document_of(place.row)?);
        parts.get(place.segment as usize).map_or(Ok([u8::MAX; 16]), id).unwrap_or_else(|failure| {
            self.damaged(failure);
            [u8::MAX; 16]
        })
    }

    fn damaged(&self, failure: Error) {
        *self.damage.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
    }

    /// Fails when something was damaged that only an order needed.
    fn sound(&self) -> Result<()> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// The nearest chunks over all segments by place, and the way they were found.
    fn dense(&self, parts: &[Part<'_>]) -> Result<(Ranked, Option<dense::Path>)> {
        let Some(query) = &self.vector else { return Ok((Vec::new(), None)) };
        let mut segments = Vec::with_capacity(parts.len());
        let mut numbers = Vec::with_capacity(parts.len());
        for (number, part) in parts.iter().enumerate() {
            if let Some(vectors) = part.vectors {
                segments.push((vectors, part.allowed.chunks.as_ref()));
                numbers.push(number as u32);
            }
        }
        if segments.is_empty() {
            return Ok((Vec::new(), None));
        }
        let place =
            |segment: u32, row| Place { segment: numbers.get(segment as usize).copied().unwrap_or(segment), row };
        let order = |segment: u32, row: u32| {
            let id = u128::from_be_bytes(self.id_of(parts, place(segment, row)));
            [(id >> 64) as u64, id as u64, u64::from(row)]
        };
        let found = dense::top_k_of(&segments, query, self.options.candidates, self.options.dense, order)?;
        let mut nearest: Ranked =
            found.neighbors.iter().map(|near| (place(near.segment, near.row), near.cosine)).collect();
        nearest.sort_unstable_by_key(|(place, _)| *place);
        Ok((nearest, Some(found.path)))
    }

    /// The best candidates of both retrievers, each with its score by both, its document's, and what they are fused to.
    fn pool(&self, parts: &[Part<'_>], lexical: &Lexical<'_>, nearest: &[(Place, f32)]) -> Result<(Vec<Found>, Held)> {
        let Lexical { lists, survivors, document_max } = lexical;
        let words = self.terms.len().div_ceil(64);
        let mut held = Held { places: Vec::new(), words, anywhere: Vec::new(), titles: Vec::new() };
        let mut found = Vec::with_capacity(nearest.len() + survivors.iter().map(Vec::len).sum::<usize>());
        let mut ranked: Vec<(f32, Place)> = Vec::with_capacity(found.capacity());
        for (segment, (lists, survivors)) in lists.iter().zip(survivors).enumerate() {
            let segment = segment as u32;
            let near = nearest.partition_point(|(place, _)| place.segment < segment);
            let near = nearest.get(near..).unwrap_or_default();
            let near = near.split_at(near.partition_point(|(place, _)| place.segment == segment)).0;
            let mut rows = survivors.clone();
            rows.extend(near.iter().map(|(place, _)| place.row));
            rows.sort_unstable();
            rows.dedup();
            let mut scores = vec![0f32; rows.len()];
            let first = held.anywhere.len();
            held.anywhere.resize(first + rows.len() * words, 0);
            held.titles.resize(held.anywhere.len(), 0);
            let (anywhere, titles) = (&mut held.anywhere[first..], &mut held.titles[first..]);
            lists.chunks.for_each(&rows, |index, share| {
                scores[index] += share.score;
                let (word, bit) = (index * words + share.term / 64, share.term % 64);
                anywhere[word] |= 1 << bit;
                titles[word] |= u64::from(share.in_title) << bit;
            })?;
            let (mut survivors, mut near) = (survivors.iter().peekable(), near.iter().peekable());
            for (&row, &bm25) in rows.iter().zip(&scores) {
                let place = Place { segment, row };
                if survivors.next_if_eq(&&row).is_some() && bm25 > 0.0 {
                    ranked.push((bm25, place));
                }
                let cosine = near.next_if(|near| near.0 == place).map(|(_, cosine)| *cosine);
                held.places.push(place);
                found.push(Found {
                    place,
                    document: 0,
                    bm25,
                    cosine,
                    document_bm25: 0.0,
                    document_cosine: None,
                    fused: 0.0,
                    score: 0.0,
                    section: 0,
                });
            }
        }
        let bm25_max = self.keep_best(parts, &mut ranked);
        let mut best = ranked.iter().peekable();
        found.retain(|found| best.next_if(|best| best.1 == found.place).is_some() || found.cosine.is_some());
        let known = self.add_evidence(parts, lists, &mut found)?;
        let document_max = document_max.map_or_else(|| document_maximum(parts, lists, known), Ok)?;
        self.fuse(&mut found, bm25_max, document_max)?;
        Ok((found, held))
    }

    /// Keeps as many of the best as there are to be candidates, by place, and returns the largest score.
    fn keep_best(&self, parts: &[Part<'_>], ranked: &mut Vec<(f32, Place)>) -> f32 {
        let candidates = self.options.candidates;
        if candidates < ranked.len() {
            ranked.select_nth_unstable_by(candidates, |left, right| {
                right.0.total_cmp(&left.0).then_with(|| self.order(parts, left.1, right.1))
            });
            ranked.truncate(candidates);
        }
        ranked.sort_unstable_by_key(|(_, place)| *place);
        ranked.iter().fold(0.0, |largest, (score, _)| largest.max(*score))
    }

    /// Adds the cosines that are missing and what is known of the documents; returns the largest BM25F of these.
    fn add_evidence(&self, parts: &[Part<'_>], lists: &[WordLists<'_>], found: &mut [Found]) -> Result<f32> {
        let mut largest = 0f32;
        for group in found.chunk_by_mut(|left, right| left.place.segment == right.place.segment) {
            let Some(segment) = group.first().map(|first| first.place.segment as usize) else { continue };
            let (Some(part), Some(lists)) = (parts.get(segment), lists.get(segment)) else { continue };
            let missing = |found: &&mut Found| found.cosine.is_none();
            if let (Some(query), Some(vectors)) = (&self.vector, part.vectors) {
                let rows: Vec<u32> = group.iter_mut().filter(missing).map(|found| found.place.row).collect();
                let cosines = vectors.cosines_of(&rows, query)?;
                group.iter_mut().filter(missing).zip(cosines).for_each(|(found, cosine)| found.cosine = Some(cosine));
            }
            let mut documents = Vec::with_capacity(group.len());
            for found in &mut *group {
                found.cosine = told(found.cosine);
                (found.document, found.section) = part.records.place_of(found.place.row)?;
                if documents.last() != Some(&found.document) {
                    documents.push(found.document);
                }
            }
            let Some(lists) = &lists.documents else { continue };
            let scores = lists.scores(&documents)?;
            let cosines = match (&self.vector, part.vectors) {
                (Some(query), Some(vectors)) => vectors.document_cosines_of(&documents, query)?,
                _ => Vec::new(),
            };
            for found in group {
                let own = documents.partition_point(|&other| other < found.document);
                found.document_bm25 = scores.get(own).copied().unwrap_or(0.0);
                found.document_cosine = told(cosines.get(own).copied());
                largest = largest.max(found.document_bm25);
            }
        }
        Ok(largest)
    }

    /// Fuses every candidate's evidence; `bm25_max` and `document_max` are the largest scores within the filter.
    fn fuse(&self, found: &mut [Found], bm25_max: f32, document_max: f32) -> Result<()> {
        let column = |value: fn(&Found) -> f32| found.iter().map(value).collect::<Vec<_>>();
        let (bm25, cosine) = (column(|found| found.bm25), column(|found| found.cosine.unwrap_or(0.0)));
        let document_bm25 = column(|found| found.document_bm25);
        let document_cosine = column(|found| found.document_cosine.unwrap_or(0.0));
        let chunks = fusion::Evidence { bm25: &bm25, cosine: &cosine, bm25_max };
        let documents = fusion::Evidence { bm25: &document_bm25, cosine: &document_cosine, bm25_max: document_max };
        let fused = fusion::with_documents(chunks, documents, self.options.dense_weight, self.options.document_weight)?;
        for (found, fused) in found.iter_mut().zip(fused) {
            // Less than nothing does not become more by a weight.
            let boost = self.snapshot.view(found.place.segment)?.reader.lexical.boost(found.place.row);
            found.fused = if fused > 0.0 { fused * boost } else { fused };
        }
        Ok(())
    }

    /// Orders the candidates, best first.
    fn sort(&self, parts: &[Part<'_>], found: &mut [Found]) {
        found.sort_unstable_by(|left, right| {
            right.fused.total_cmp(&left.fused).then_with(|| self.order(parts, left.place, right.place))
        });
    }

    /// Lets a section's further chunks count less, and orders the candidates by what is left.
    fn discount_repeats(&self, found: &mut [Found]) -> Result<()> {
        let relevance: Vec<f32> = found.iter().map(|found| found.fused).collect();
        let sections: Vec<_> = found.iter().map(|found| (found.place.segment, found.document, found.section)).collect();
        let counted = fusion::without_repeats(&relevance, &sections, self.options.repeat_weight)?;
        found.iter_mut().zip(counted).for_each(|(found, counted)| found.score = counted);
        found.sort_by(|left, right| right.score.total_cmp(&left.score));
        Ok(())
    }

    /// The hits in the order of maximal marginal relevance.
    fn diversify(&self, mut found: Vec<Found>, lambda: f32) -> Result<Vec<Found>> {
        found.truncate(self.options.candidates.max(self.options.top_k));
        let mut vectors = Vec::with_capacity(found.len());
        for candidate in &found {
            let Some(segment) = self.snapshot.vectors(candidate.place.segment)? else {
                found.truncate(self.options.top_k);
                return Ok(found);
            };
            vectors.push((segment, candidate.place.row));
        }
        let relevance: Vec<f32> = found.iter().map(|candidate| candidate.score).collect();
        let kernels = dense::kernels_in_use()?;
        let stored = |candidate: usize| {
            let found = vectors.get(candidate).map(|(segment, row)| segment.stored(*row)).transpose();
            found.unwrap_or_else(|failure| {
                self.damaged(failure);
                None
            })
        };
        let mut picked: Vec<Vec<f32>> = Vec::with_capacity(self.options.top_k.min(found.len()));
        let picks = mmr::select_by(&relevance, lambda, self.options.top_k, |candidate, pick| {
            if picked.len() == pick.rank {
                picked.push(stored(pick.candidate).map(dense::Stored::floats).unwrap_or_default());
            }
            let pick = picked.get(pick.rank).map_or(&[][..], Vec::as_slice);
            stored(candidate).map_or(0.0, |own| own.cosine(pick, kernels))
        })?;
        Ok(picks.into_iter().filter_map(|pick| found.get(pick).cloned()).collect())
    }

    /// What the candidates, best first, say about whether any of them answers.
    fn evidence(&self, found: &[Found], held: &Held) -> Evidence {
        let (idf_coverage, title_coverage) = self.coverage(found, held);
        let mass: f32 = self.words.iter().map(|word| self.word_idf(&word.forms)).sum();
        let candidate = |found: &Found| Candidate {
            document: (found.place.segment, found.document),
            bm25: found.bm25,
            cosine: found.cosine,
        };
        let candidates: Vec<Candidate> = found.iter().map(candidate).collect();
        let cosines = evidence::cosines(&candidates);
        Evidence {
            idf_coverage,
            title_coverage,
            covered_mass: idf_coverage * mass / bm25::idf(0, self.left.counted.rows),
            lexical_margin: evidence::lexical_margin(&candidates, (self.options.parameters.k1 + 1.0) * mass),
            best_cosine: cosines.map(|(best, _)| best),
            cosine_margin: cosines.map(|(_, margin)| margin),
            agreement: cosines.map(|_| evidence::agreement(&candidates)),
        }
    }

    /// The share of the question's idf mass that one of the best chunks contains, the largest of them, and the same for titles:
    /// an answer stands in one place, and what several places have between them is found for questions that nothing answers too.
    ///
    /// A word's forms count as one: it has the smallest idf of those the index knows, the idf of an unknown term when it
    /// knows none, and is contained when one of them is. An identifier that is not contained as a whole counts as its parts:
    /// `status` alone is no evidence for `ServeStatusSchema`.
    fn coverage(&self, found: &[Found], held: &Held) -> (f32, f32) {
        let mut best = (0f32, 0f32);
        for hit in found.iter().take(EVIDENCE_HITS) {
            let (anywhere, titles) = held.of(hit.place);
            let share = |bits: &[u64]| self.share(|forms| forms.iter().any(|&form| has(bits, form)));
            best = (best.0.max(share(anywhere)), best.1.max(share(titles)));
        }
        best
    }

    /// The share of the question's idf mass in the words that `holds` says are there.
    fn share(&self, holds: impl Fn(&[usize]) -> bool) -> f32 {
        let (mut held, mut mass) = (0f32, 0f32);
        for word in &self.words {
            let whole = word.parts.is_empty() || holds(&word.forms);
            let units = if whole { std::slice::from_ref(&word.forms) } else { &word.parts[..] };
            for forms in units {
                let own = self.word_idf(forms);
                mass += own;
                held += if holds(forms) { own } else { 0.0 };
            }
        }
        if mass > 0.0 { held / mass } else { 0.0 }
    }

    fn word_idf(&self, forms: &[usize]) -> f32 {
        let idf = |term: usize| self.query.first().and_then(|(terms, _)| terms.get(term));
        let known = forms.iter().filter_map(|&form| idf(form)).filter(|term| term.df > 0).map(|term| term.idf);
        known.min_by(f32::total_cmp).unwrap_or_else(|| bm25::idf(0, self.left.counted.rows))
    }
}

/// BM25F of the document that the best chunk is of: few documents have more.
fn document_of_best(parts: &[Part<'_>], lists: &[WordLists<'_>], found: &[Vec<(u32, f32)>]) -> Result<f32> {
    let own = parts.iter().zip(lists).zip(found);
    let all = own.flat_map(|(segment, found)| found.iter().map(move |&(row, sum)| (segment, row, sum)));
    let Some(((part, lists), row, _)) = all.max_by(|left, right| left.2.total_cmp(&right.2)) else {
        return Ok(0.0);
    };
    let Some(lists) = &lists.documents else { return Ok(0.0) };
    Ok(lists.scores(&[part.records.document_of(row)?])?.first().copied().unwrap_or(0.0))
}

/// The largest BM25F of a document within the filter, given that of one of them.
fn document_maximum(parts: &[Part<'_>], lists: &[WordLists<'_>], known: f32) -> Result<f32> {
    let mut maximum = known;
    for (part, lists) in parts.iter().zip(lists) {
        let Some(lists) = &lists.documents else { continue };
        let rows = lists.survivors(part.allowed.documents.as_ref(), 1, maximum)?;
        let rows: Vec<u32> = rows.into_iter().map(|(row, _)| row).collect();
        maximum = lists.scores(&rows)?.into_iter().fold(maximum, f32::max);
    }
    Ok(maximum)
}

/// A word of the question as numbers of its terms.
#[derive(Debug)]
struct Asked {
    /// The terms that stand for all of it.
    forms: Vec<usize>,
    /// For an identifier the terms of each part, but for parts of one letter, which say nothing.
    parts: Vec<Vec<usize>>,
}

/// The distinct terms of words, and the words as numbers of them.
fn numbered(words: &[QuestionWord]) -> (Vec<String>, Vec<Asked>) {
    let mut terms: Vec<String> = Vec::new();
    let mut numbers: FxHashMap<String, usize> = FxHashMap::default();
    let mut number = |forms: &[String]| -> Vec<usize> {
        let mut number = |form: &String| {
            *numbers.entry(form.clone()).or_insert_with(|| {
                terms.push(form.clone());
                terms.len() - 1
            })
        };
        forms.iter().map(&mut number).collect()
    };
    let says = |forms: &&Vec<String>| forms.first().is_some_and(|form| form.chars().nth(1).is_some());
    let mut asked = Vec::with_capacity(words.len());
    for word in words {
        let forms = number(&word.forms);
        word.parts.iter().for_each(|part| drop(number(part)));
        let parts = word.parts.iter().filter(says).map(|part| number(part)).collect();
        asked.push(Asked { forms, parts });
    }
    (terms, asked)
}

/// Adds the terms of a question's expansions to its own, and returns the weight of each: 1 for its own, and for one that several
/// expansions have the largest of theirs.
fn expand(terms: &mut Vec<String>, question: &Question<'_>) -> Vec<f32> {
    let own = terms.len();
    let mut weights = vec![1f32; own];
    for (text, weight) in question.expansions {
        for term in analysis::question_terms(text, question.language) {
            match terms.iter().position(|known| *known == term) {
                Some(place) if place < own => {}
                Some(place) => weights[place] = weights[place].max(*weight),
                None => {
                    terms.push(term);
                    weights.push(*weight);
                }
            }
        }
    }
    weights
}

/// A cosine as evidence: a row of zeros, which stands for no vector, says nothing.
fn told(cosine: Option<f32>) -> Option<f32> {
    cosine.filter(|&cosine| cosine != 0.0)
}

impl View {
    /// How many living chunks and documents have a term.
    fn document_frequencies(&self, ordinal: u32) -> Result<(u64, u64)> {
        let (chunks, documents) = self.reader.lexical.postings().document_frequencies(ordinal)?;
        let dead = self.tombstones.as_ref().map_or((0, 0), |dead| dead.corrections.get(ordinal));
        Ok((u64::from(chunks.saturating_sub(dead.0)), u64::from(documents.saturating_sub(dead.1))))
    }
}

#[cfg(test)]
mod tests;
