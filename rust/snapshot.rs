//! One opened generation: everything one query needs, in one call without the interpreter lock.
//!
//! A snapshot never changes, so any number of threads ask it at once. A query runs on the thread that asks: both retrievers,
//! every candidate's score by both of them, the whole document's evidence, fusion, and MMR where nothing else reranks.
//!
//! What a query finds does not depend on how the index is cut into segments: statistics are those of the whole generation
//! less what is deleted, scores are summed in one fixed order, and equal scores are ordered by document id and then by the
//! chunk's place in its document.

use std::cell::RefCell;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rustc_hash::FxHashMap;

use crate::analysis::{self, Language, QuestionWord};
use crate::bitmap::Bitmap;
use crate::bm25::{self, Explanation, Parameters, QueryTerm, Scorer};
use crate::dense::{self, Mode, VectorSegment};
use crate::error::{Error, Result};
use crate::evidence::{self, Candidate, Evidence};
use crate::fusion;
use crate::lexical::{Level, PerField, Statistics};
use crate::mmr;
use crate::records::{Id, Records};
use crate::segment::{SegmentReader, Tombstones};
use crate::storage::Generation;

/// How many of the best hits evidence is looked for in.
const EVIDENCE_HITS: usize = 3;

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
    /// The trade-off of MMR, 1 for relevance only; `None` for no MMR.
    pub mmr_lambda: Option<f32>,
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
    /// A chunk passes when it has one value of each group.
    pub filters: &'a [Vec<String>],
    /// A chunk passes when it has none of these values.
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
    /// BM25F of the document.
    pub document_bm25: f32,
    /// Cosine of the document.
    pub document_cosine: Option<f32>,
    /// The relevance that all this was fused to.
    pub fused: f32,
    /// What equal relevance is ordered by: the document's id and the chunk's row.
    order: (Id, u32),
}

/// The answer to one question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Results {
    /// The hits, best first.
    pub found: Vec<Found>,
    /// What all candidates say about whether any answers; the same for any `top_k`.
    pub evidence: Evidence,
    /// Milliseconds by part: `lexical`, `dense`, `fuse`, `evidence`, `mmr`.
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

/// A filter and the rows that pass it, by segment.
#[derive(Debug)]
struct Remembered {
    filters: Vec<Vec<String>>,
    excluded: Vec<String>,
    allowed: Arc<Vec<Allowed>>,
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
        let generation = Generation::open_after(root, previous.map(|previous| &previous.generation))?;
        let mut views = Vec::with_capacity(generation.segments().len());
        let (mut chunks, mut documents) = (Statistics::default(), Statistics::default());
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
            let postings = reader.lexical.postings();
            let living = |level: Level| {
                let dead = tombstones.as_ref().map(|tombstones| tombstones.corrections.statistics(level));
                postings.statistics(level).minus(dead.unwrap_or_default())
            };
            chunks = chunks.plus(living(Level::Chunks));
            documents = documents.plus(living(Level::Documents));
            views.push(View { reader, tombstones });
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
        let lexical = search.lexical()?;
        clock.lap("lexical");
        let dense = search.dense()?;
        clock.lap("dense");
        let mut found = search.union(&lexical, &dense)?;
        search.fuse(&mut found, lexical.first().map_or(0.0, |best| best.1))?;
        found.sort_unstable_by(|left, right| {
            right.fused.total_cmp(&left.fused).then_with(|| left.order.cmp(&right.order))
        });
        clock.lap("fuse");
        let evidence = search.evidence(&found)?;
        clock.lap("evidence");
        let found = match options.mmr_lambda {
            Some(lambda) if lambda < 1.0 => search.diversify(found, lambda)?,
            _ => found.into_iter().take(options.top_k).collect(),
        };
        clock.lap("mmr");
        Ok(Results { found, evidence, timings: clock.laps })
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

    /// The rows that pass, by segment; remembered, because most questions share their filters.
    fn allowed(&self, question: &Question<'_>) -> Result<Arc<Vec<Allowed>>> {
        let lock = || self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        let memorable = question.excluded_documents.is_empty();
        let same = |known: &&Remembered| known.filters == question.filters && known.excluded == question.excluded;
        if memorable && let Some(known) = lock().iter().find(same) {
            return Ok(Arc::clone(&known.allowed));
        }
        // Two threads may both come here and find the same; neither waits for the other.
        let allowed: Vec<Allowed> = self.views.iter().map(|view| view.allowed(question)).collect::<Result<_>>()?;
        let allowed = Arc::new(allowed);
        if !memorable {
            return Ok(allowed);
        }
        let mut remembered = lock();
        if remembered.len() >= REMEMBERED_FILTERS {
            remembered.clear();
        }
        remembered.push(Remembered {
            filters: question.filters.to_vec(),
            excluded: question.excluded.to_vec(),
            allowed: Arc::clone(&allowed),
        });
        Ok(allowed)
    }
}

impl View {
    fn allowed(&self, question: &Question<'_>) -> Result<Allowed> {
        let lexical = &self.reader.lexical;
        let mut chunks = Bitmap::full(lexical.chunks());
        for group in question.filters {
            let mut any = Bitmap::empty(lexical.chunks());
            for value in group {
                any.union(&lexical.filter(value)?);
            }
            chunks.intersect(&any);
        }
        for value in question.excluded {
            chunks.subtract(&lexical.filter(value)?);
        }
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

    fn lap(&mut self, part: &'static str) {
        let now = Instant::now();
        self.laps.push((part, (now - self.last).as_secs_f64() * 1000.0));
        self.last = now;
    }
}

/// One question while it is being answered.
struct Search<'a> {
    snapshot: &'a Snapshot,
    question: &'a Question<'a>,
    options: &'a Options,
    allowed: Arc<Vec<Allowed>>,
    terms: Vec<String>,
    words: Vec<Asked>,
    /// By segment: the terms with their chunk statistics, and with their document statistics.
    query: Vec<(Vec<QueryTerm>, Vec<QueryTerm>)>,
    chunk_scorer: Scorer,
    document_scorer: Scorer,
}

impl<'a> Search<'a> {
    fn new(snapshot: &'a Snapshot, question: &'a Question<'a>, options: &'a Options) -> Result<Self> {
        if let Some(lambda) = options.mmr_lambda.filter(|lambda| !(0.0..=1.0).contains(lambda)) {
            return Err(Error::InvalidArgument(format!("mmr_lambda is {lambda}, not within 0 and 1")));
        }
        let (terms, words) = numbered(&analysis::question_words(question.text, question.language));
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
            let chunk =
                |(&ordinal, df): (&Option<u32>, &(u64, u64))| QueryTerm::new(ordinal, df.0, 1.0, &snapshot.chunks);
            let document =
                |(&ordinal, df): (&Option<u32>, &(u64, u64))| QueryTerm::new(ordinal, df.1, 1.0, &snapshot.documents);
            let pairs = || ordinals.iter().zip(&frequencies);
            (pairs().map(chunk).collect(), pairs().map(document).collect())
        };
        Ok(Self {
            snapshot,
            question,
            options,
            allowed: snapshot.allowed(question)?,
            query: ordinals.iter().map(weighted).collect(),
            terms,
            words,
            chunk_scorer: Scorer::new(options.parameters, Level::Chunks, snapshot.chunks)?,
            document_scorer: Scorer::new(options.parameters, Level::Documents, snapshot.documents)?,
        })
    }

    fn terms_of(&self, segment: u32) -> (&[QueryTerm], &[QueryTerm]) {
        self.query.get(segment as usize).map_or((&[], &[]), |(chunks, documents)| (chunks, documents))
    }

    /// The best chunks by BM25F over all segments.
    fn lexical(&self) -> Result<Vec<(Place, f32)>> {
        let mut ranked = Vec::new();
        for (segment, view) in self.snapshot.views.iter().enumerate() {
            let postings = view.reader.lexical.postings();
            let allowed = self.allowed.get(segment).and_then(|allowed| allowed.chunks.as_ref());
            let (terms, _) = self.terms_of(segment as u32);
            let best = bm25::top_k(postings, terms, &self.chunk_scorer, allowed, self.options.candidates)?;
            ranked.extend(best.into_iter().map(|(row, score)| (Place { segment: segment as u32, row }, score)));
        }
        if self.snapshot.views.len() > 1 {
            let mut ordered = ranked
                .into_iter()
                .map(|(place, score)| Ok((self.order(place)?, place, score)))
                .collect::<Result<Vec<_>>>()?;
            ordered.sort_unstable_by(|left, right| right.2.total_cmp(&left.2).then_with(|| left.0.cmp(&right.0)));
            ordered.truncate(self.options.candidates);
            ranked = ordered.into_iter().map(|(_, place, score)| (place, score)).collect();
        }
        Ok(ranked)
    }

    /// What chunks of equal score are ordered by.
    fn order(&self, place: Place) -> Result<(Id, u32)> {
        let records = self.snapshot.records(place.segment)?;
        Ok((records.document_id(records.document_of(place.row)?)?, place.row))
    }

    /// The nearest chunks over all segments.
    fn dense(&self) -> Result<Vec<(Place, f32)>> {
        let Some(vector) = self.question.vector else { return Ok(Vec::new()) };
        let mut segments = Vec::with_capacity(self.snapshot.views.len());
        let mut numbers = Vec::with_capacity(self.snapshot.views.len());
        for (number, view) in self.snapshot.views.iter().enumerate() {
            if let Some(vectors) = &view.reader.vectors {
                segments.push((vectors, self.allowed.get(number).and_then(|allowed| allowed.chunks.as_ref())));
                numbers.push(number as u32);
            }
        }
        let damage = RefCell::new(None);
        let order = |segment: u32, row: u32| {
            let place = Place { segment: numbers.get(segment as usize).copied().unwrap_or(segment), row };
            let (id, row) = self.order(place).unwrap_or_else(|failure| {
                damage.replace(Some(failure));
                ([u8::MAX; 16], row)
            });
            let (high, low) = (u128::from_be_bytes(id) >> 64, u128::from_be_bytes(id));
            [high as u64, low as u64, u64::from(row)]
        };
        let nearest = dense::top_k(&segments, vector, self.options.candidates, Mode::Auto, order)?;
        if let Some(failure) = damage.take() {
            return Err(failure);
        }
        let place = |neighbor: &dense::Neighbor| {
            let segment = numbers.get(neighbor.segment as usize).copied().unwrap_or(neighbor.segment);
            (Place { segment, row: neighbor.row }, neighbor.cosine)
        };
        Ok(nearest.neighbors.iter().map(place).collect())
    }

    /// The candidates of both retrievers, each with its score by both.
    fn union(&self, lexical: &[(Place, f32)], dense: &[(Place, f32)]) -> Result<Vec<Found>> {
        let bm25: FxHashMap<Place, f32> = lexical.iter().copied().collect();
        let mut places: Vec<Place> = lexical.iter().chain(dense).map(|(place, _)| *place).collect();
        places.sort_unstable();
        places.dedup();
        let mut found = Vec::with_capacity(places.len());
        for group in places.chunk_by(|left, right| left.segment == right.segment) {
            let Some(segment) = group.first().map(|place| place.segment) else { continue };
            self.score_group(segment, group, &bm25, &mut found)?;
        }
        Ok(found)
    }

    fn score_group(
        &self,
        segment: u32,
        places: &[Place],
        known: &FxHashMap<Place, f32>,
        found: &mut Vec<Found>,
    ) -> Result<()> {
        let view = self.snapshot.view(segment)?;
        let records = view.reader.records()?;
        let postings = view.reader.lexical.postings();
        let (terms, document_terms) = self.terms_of(segment);
        let rows: Vec<u32> = places.iter().map(|place| place.row).collect();
        let unknown: Vec<u32> =
            places.iter().filter(|place| !known.contains_key(place)).map(|place| place.row).collect();
        let scores = bm25::score_rows(postings, terms, &self.chunk_scorer, &unknown)?;
        let rescored: FxHashMap<u32, f32> = unknown.into_iter().zip(scores).collect();
        let cosines = self.cosines(view, &rows, VectorSegment::cosines)?;

        let owners = rows.iter().map(|&row| records.document_of(row)).collect::<Result<Vec<_>>>()?;
        let mut documents = owners.clone();
        documents.dedup();
        let document_scores = bm25::score_rows(postings, document_terms, &self.document_scorer, &documents)?;
        let document_cosines = self.cosines(view, &documents, VectorSegment::document_cosines)?;

        for (index, (&place, &document)) in places.iter().zip(&owners).enumerate() {
            let own = documents.partition_point(|&other| other < document);
            found.push(Found {
                place,
                document,
                bm25: known.get(&place).or_else(|| rescored.get(&place.row)).copied().unwrap_or(0.0),
                cosine: told(&cosines, index),
                document_bm25: document_scores.get(own).copied().unwrap_or(0.0),
                document_cosine: told(&document_cosines, own),
                fused: 0.0,
                order: (records.document_id(document)?, place.row),
            });
        }
        Ok(())
    }

    fn cosines(
        &self,
        view: &View,
        rows: &[u32],
        cosines: impl Fn(&VectorSegment, &[u32], &[f32]) -> Result<Vec<f32>>,
    ) -> Result<Vec<f32>> {
        match (self.question.vector, &view.reader.vectors) {
            (Some(vector), Some(vectors)) => cosines(vectors, rows, vector),
            _ => Ok(Vec::new()),
        }
    }

    /// Fuses every candidate's evidence; `bm25_max` is the largest score within the filter.
    fn fuse(&self, found: &mut [Found], bm25_max: f32) -> Result<()> {
        let document_max = self.document_maximum()?;
        let column = |value: fn(&Found) -> f32| found.iter().map(value).collect::<Vec<_>>();
        let (bm25, cosine) = (column(|found| found.bm25), column(|found| found.cosine.unwrap_or(0.0)));
        let document_bm25 = column(|found| found.document_bm25);
        let document_cosine = column(|found| found.document_cosine.unwrap_or(0.0));
        let chunks = fusion::Evidence { bm25: &bm25, cosine: &cosine, bm25_max };
        let documents = fusion::Evidence { bm25: &document_bm25, cosine: &document_cosine, bm25_max: document_max };
        let fused = fusion::with_documents(chunks, documents, self.options.dense_weight, self.options.document_weight)?;
        found.iter_mut().zip(fused).for_each(|(found, fused)| found.fused = fused);
        Ok(())
    }

    /// The largest BM25F of a document within the filter.
    fn document_maximum(&self) -> Result<f32> {
        let mut maximum = 0f32;
        if self.options.document_weight == 0.0 {
            return Ok(maximum);
        }
        for (segment, view) in self.snapshot.views.iter().enumerate() {
            let allowed = self.allowed.get(segment).and_then(|allowed| allowed.documents.as_ref());
            let (_, terms) = self.terms_of(segment as u32);
            let best = bm25::top_k(view.reader.lexical.postings(), terms, &self.document_scorer, allowed, 1)?;
            maximum = best.first().map_or(maximum, |&(_, score)| maximum.max(score));
        }
        Ok(maximum)
    }

    /// The hits in the order of maximal marginal relevance.
    fn diversify(&self, mut found: Vec<Found>, lambda: f32) -> Result<Vec<Found>> {
        found.truncate(self.options.candidates.max(self.options.top_k));
        let relevance: Vec<f32> = found.iter().map(|candidate| candidate.fused).collect();
        let mut dimension = 0;
        let mut vectors = Vec::new();
        for candidate in &found {
            let Some(segment) = self.snapshot.vectors(candidate.place.segment)? else {
                found.truncate(self.options.top_k);
                return Ok(found);
            };
            dimension = segment.dimension();
            vectors.extend(segment.vector(candidate.place.row)?);
        }
        let picks = mmr::select(&relevance, &vectors, dimension, lambda, self.options.top_k)?;
        let mut slots: Vec<Option<Found>> = found.into_iter().map(Some).collect();
        Ok(picks.into_iter().filter_map(|pick| slots.get_mut(pick)?.take()).collect())
    }

    /// What the candidates, best first, say about whether any of them answers.
    fn evidence(&self, found: &[Found]) -> Result<Evidence> {
        let (idf_coverage, title_coverage) = self.coverage(found)?;
        let mass: f32 = self.words.iter().map(|word| self.word_idf(&word.forms)).sum();
        let candidate = |found: &Found| Candidate {
            document: (found.place.segment, found.document),
            bm25: found.bm25,
            cosine: found.cosine,
        };
        let candidates: Vec<Candidate> = found.iter().map(candidate).collect();
        let cosines = evidence::cosines(&candidates);
        Ok(Evidence {
            idf_coverage,
            title_coverage,
            covered_mass: idf_coverage * mass / bm25::idf(0, self.snapshot.chunks.rows),
            lexical_margin: evidence::lexical_margin(&candidates, (self.options.parameters.k1 + 1.0) * mass),
            best_cosine: cosines.map(|(best, _)| best),
            cosine_margin: cosines.map(|(_, margin)| margin),
            agreement: cosines.map(|_| evidence::agreement(&candidates)),
        })
    }

    /// The share of the question's idf mass that one of the best chunks contains, the largest of them, and the same for titles:
    /// an answer stands in one place, and what several places have between them is found for questions that nothing answers too.
    ///
    /// A word's forms count as one: it has the smallest idf of those the index knows, the idf of an unknown term when it
    /// knows none, and is contained when one of them is. An identifier that is not contained as a whole counts as its parts:
    /// `status` alone is no evidence for `ServeStatusSchema`.
    fn coverage(&self, found: &[Found]) -> Result<(f32, f32)> {
        let mut hits: Vec<Place> = found.iter().take(EVIDENCE_HITS).map(|hit| hit.place).collect();
        hits.sort_unstable();
        let mut best = (0f32, 0f32);
        for group in hits.chunk_by(|left, right| left.segment == right.segment) {
            let frequencies = self.frequencies(group)?;
            for hit in 0..group.len() {
                let of =
                    |form: &usize| frequencies.get(*form).and_then(|rows| rows.get(hit)).copied().unwrap_or_default();
                let anywhere = |forms: &[usize]| forms.iter().any(|form| of(form).iter().any(|&count| count > 0));
                let in_title =
                    |forms: &[usize]| forms.iter().any(|form| of(form).first().is_some_and(|&count| count > 0));
                best = (best.0.max(self.share(anywhere)), best.1.max(self.share(in_title)));
            }
        }
        Ok(best)
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

    /// For each term of the question, how often each of these chunks of one segment, which ascend, has it.
    fn frequencies(&self, places: &[Place]) -> Result<Vec<Vec<PerField<u32>>>> {
        let Some(segment) = places.first().map(|place| place.segment) else { return Ok(Vec::new()) };
        let postings = self.snapshot.view(segment)?.reader.lexical.postings();
        let rows: Vec<u32> = places.iter().map(|place| place.row).collect();
        let (terms, _) = self.terms_of(segment);
        terms.iter().map(|term| bm25::frequencies(postings, term, Level::Chunks, &rows)).collect()
    }

    fn word_idf(&self, forms: &[usize]) -> f32 {
        let idf = |term: usize| self.query.first().and_then(|(terms, _)| terms.get(term));
        let known = forms.iter().filter_map(|&form| idf(form)).filter(|term| term.df > 0).map(|term| term.idf);
        known.min_by(f32::total_cmp).unwrap_or_else(|| bm25::idf(0, self.snapshot.chunks.rows))
    }
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

/// A cosine as evidence: a row of zeros, which stands for no vector, says nothing.
fn told(cosines: &[f32], index: usize) -> Option<f32> {
    cosines.get(index).copied().filter(|&cosine| cosine != 0.0)
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
