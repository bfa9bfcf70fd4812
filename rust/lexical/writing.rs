//! Documents to the lexical files of a new segment.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use tantivy::directory::MmapDirectory;
use tantivy::indexer::SingleSegmentIndexWriter;
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{Token as TantivyToken, TokenStream, Tokenizer, TokenizerManager};
use tantivy::{Index, IndexSettings, TantivyDocument};

use super::postings::{self, LevelBuilder, ListBuilder, PerField, Statistics};
use super::{FILTERS_FIELD, LEXICAL_FOLDER, POSTINGS_FILE, TERMS_FIELD};
use crate::analysis::{Analyzer, Language};
use crate::error::{Error, Result};
use crate::execution;
use crate::storage::SegmentWriter;

/// Documents that are analysed at once; bounds the memory that analysed text takes.
const BATCH: usize = 256;
/// Positions of the body begin at 0; those of the other fields lie beyond any that a body's terms have.
const FIELD_POSITIONS: PerField<std::ops::Range<u32>> = [1 << 20..3 << 19, 3 << 19..1 << 21, 0..1 << 20];
/// Words between two texts of one field, so that no phrase runs from one into the next.
const TEXT_GAP: u32 = 2;
const FEED: &str = "feed";

/// One document as it is indexed.
#[derive(Clone, Debug, Default)]
pub struct DocumentText<'a> {
    /// The language whose rules its text is analysed by.
    pub language: Language,
    /// The title, which belongs to each of its chunks.
    pub title: &'a str,
    /// Each heading of the document once, whether or not a chunk lies under it.
    pub headings: Vec<&'a str>,
    /// Filter values that all its chunks carry, such as `source=docs`.
    pub filters: Vec<String>,
    /// Its chunks in order.
    pub chunks: Vec<ChunkText<'a>>,
}

/// One chunk as it is indexed.
#[derive(Clone, Debug, Default)]
pub struct ChunkText<'a> {
    /// The headings above it.
    pub headings: &'a str,
    /// Its text in pieces.
    pub body: Vec<Piece<'a>>,
    /// Filter values of its own, such as `kind=table`.
    pub filters: Vec<String>,
}

/// A piece of a chunk's text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Piece<'a> {
    /// The text.
    pub text: &'a str,
    /// Whether another chunk of the document has the same text (overlap, a table's header), so that the document does not
    /// count it again.
    pub repeated: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LexicalStatistics {
    /// Number and lengths of the chunks.
    pub chunks: Statistics,
    /// Number and lengths of the documents.
    pub documents: Statistics,
    /// Distinct terms.
    pub terms: u32,
}

/// Writes the lexical files of a new segment: `documents` and their chunks are its rows in order.
///
/// # Errors
/// [`Error::Io`] when a file cannot be written; [`Error::InvalidArgument`] when there are more rows or postings than a
/// segment can number.
pub fn write(segment: &mut SegmentWriter, documents: &[DocumentText<'_>]) -> Result<LexicalStatistics> {
    let rows: usize = documents.iter().map(|document| document.chunks.len()).sum();
    if rows >= i32::MAX as usize || documents.len() >= i32::MAX as usize {
        return Err(Error::InvalidArgument("a segment holds at most 2,147,483,646 chunks and documents".into()));
    }
    let mut builder = Builder::default();
    segment.folder(LEXICAL_FOLDER, |folder| {
        let mut writer = TantivyWriter::create(folder, text_bytes(documents))?;
        let mut batches = documents.chunks(BATCH);
        let mut ready = batches.next().map(|batch| (batch, analyse_all(batch)));
        // tantivy's writer is one thread; the others analyse what it is to write next.
        while let Some((batch, analysed)) = ready {
            let (written, next) = rayon::join(
                || writer.add_all(&mut builder, batch, analysed),
                || batches.next().map(|batch| (batch, analyse_all(batch))),
            );
            written?;
            ready = next;
        }
        writer.finish(builder.terms_of_documents_alone())
    })?;
    let ordinals = builder.ordinals();
    segment.file(POSTINGS_FILE, |file| postings::write(file, &ordinals, &builder.chunks, &builder.documents))?;
    Ok(LexicalStatistics {
        chunks: builder.chunks.statistics(),
        documents: builder.documents.statistics(),
        terms: ordinals.len() as u32,
    })
}

fn analyse_all(batch: &[DocumentText<'_>]) -> Vec<Analysed> {
    batch.par_iter().map_init(Vec::new, |analyzers, document| analyse(analyzers, document)).collect()
}

fn text_bytes(documents: &[DocumentText<'_>]) -> usize {
    let chunk =
        |chunk: &ChunkText<'_>| chunk.headings.len() + chunk.body.iter().map(|piece| piece.text.len()).sum::<usize>();
    documents.iter().flat_map(|document| &document.chunks).map(chunk).sum()
}

/// The terms of one document, numbered within it.
#[derive(Debug, Default)]
struct Analysed {
    terms: Vec<Box<str>>,
    rows: Vec<AnalysedRow>,
    document: Counts,
}

/// The tokens of one chunk in order of position, and what they add up to.
#[derive(Debug, Default)]
struct AnalysedRow {
    tokens: Vec<(u32, u32)>,
    counts: Counts,
}

/// Frequencies of terms, and the lengths they add up to.
#[derive(Clone, Debug, Default)]
struct Counts {
    terms: Vec<(u32, PerField<u32>)>,
    lengths: PerField<u32>,
}

/// The tokens of one text: term and position.
type Tokens = Vec<(u32, u32)>;

fn analyser_of(analyzers: &mut Vec<Analyzer>, language: Language) -> &mut Analyzer {
    let index = analyzers.iter().position(|analyzer| analyzer.language() == language).unwrap_or_else(|| {
        analyzers.push(Analyzer::new(language));
        analyzers.len() - 1
    });
    &mut analyzers[index]
}

fn analyse(analyzers: &mut Vec<Analyzer>, document: &DocumentText<'_>) -> Analysed {
    let analyzer = analyser_of(analyzers, document.language);
    let mut vocabulary: FxHashMap<Box<str>, u32> = FxHashMap::default();
    let mut tokens_of = |text: &str| {
        let mut tokens = Tokens::new();
        analyzer.analyze(text, |token| {
            let term = vocabulary.get(token.term).copied().unwrap_or_else(|| {
                let next = vocabulary.len() as u32;
                vocabulary.insert(token.term.into(), next);
                next
            });
            tokens.push((term, token.position));
        });
        tokens
    };

    let title = tokens_of(document.title);
    let mut whole = Counter::default();
    whole.count(0, &title);
    for heading in &document.headings {
        whole.count(1, &tokens_of(heading));
    }
    let mut path: (&str, Tokens) = ("", Tokens::new());
    let mut rows = Vec::with_capacity(document.chunks.len());
    let mut row = Counter::default();
    for chunk in &document.chunks {
        if chunk.headings != path.0 {
            path = (chunk.headings, tokens_of(chunk.headings));
        }
        let mut tokens = Placed::default();
        for piece in &chunk.body {
            let own = tokens_of(piece.text);
            tokens.append(2, &own);
            row.count(2, &own);
            if !piece.repeated {
                whole.count(2, &own);
            }
        }
        for (field, own) in [(0, &title), (1, &path.1)] {
            tokens.append(field, own);
            row.count(field, own);
        }
        rows.push(AnalysedRow { tokens: tokens.tokens, counts: row.take() });
    }
    let mut terms = vec![Box::default(); vocabulary.len()];
    for (term, index) in vocabulary {
        terms[index as usize] = term;
    }
    Analysed { terms, rows, document: whole.take() }
}

/// Tokens laid out so that their positions tell the field.
#[derive(Default)]
struct Placed {
    tokens: Tokens,
    next: PerField<u32>,
}

impl Placed {
    fn append(&mut self, field: usize, tokens: &[(u32, u32)]) {
        let range = &FIELD_POSITIONS[field];
        let base = range.start.saturating_add(self.next[field]);
        self.tokens
            .extend(tokens.iter().map(|&(term, position)| (term, base.saturating_add(position).min(range.end - 1))));
        if let Some(&(_, last)) = tokens.last() {
            self.next[field] = self.next[field].saturating_add(last).saturating_add(TEXT_GAP);
        }
    }
}

/// Counts terms by field; what it holds is dense, what it gives is sparse.
#[derive(Default)]
struct Counter {
    frequencies: Vec<PerField<u32>>,
    touched: Vec<u32>,
    lengths: PerField<u32>,
}

impl Counter {
    fn count(&mut self, field: usize, tokens: &[(u32, u32)]) {
        self.lengths[field] = self.lengths[field].saturating_add(tokens.len() as u32);
        for &(term, _) in tokens {
            if self.frequencies.len() <= term as usize {
                self.frequencies.resize(term as usize + 1, [0; 3]);
            }
            let frequencies = &mut self.frequencies[term as usize];
            if *frequencies == [0; 3] {
                self.touched.push(term);
            }
            frequencies[field] += 1;
        }
    }

    fn take(&mut self) -> Counts {
        let terms = self.touched.drain(..);
        let terms = terms.map(|term| (term, std::mem::take(&mut self.frequencies[term as usize]))).collect();
        Counts { terms, lengths: std::mem::take(&mut self.lengths) }
    }
}

/// Our lists of a segment while documents arrive; terms are numbered as they are met.
#[derive(Default)]
struct Builder {
    numbers: FxHashMap<Box<str>, u32>,
    chunks: LevelBuilder,
    documents: LevelBuilder,
}

impl Builder {
    fn add(&mut self, analysed: &Analysed) {
        let numbers: Vec<u32> = analysed.terms.iter().map(|term| self.number(term)).collect();
        for row in &analysed.rows {
            append(&mut self.chunks, &row.counts, &numbers);
        }
        append(&mut self.documents, &analysed.document, &numbers);
    }

    fn number(&mut self, term: &str) -> u32 {
        if let Some(&number) = self.numbers.get(term) {
            return number;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(term.into(), number);
        self.chunks.lists.push(ListBuilder::default());
        self.documents.lists.push(ListBuilder::default());
        number
    }

    /// The numbers of the terms in the order of the dictionary, which is that of their bytes.
    fn ordinals(&self) -> Vec<u32> {
        let mut terms: Vec<(&str, u32)> = self.numbers.iter().map(|(term, &number)| (term.as_ref(), number)).collect();
        terms.par_sort_unstable();
        terms.into_iter().map(|(_, number)| number).collect()
    }

    /// Terms that no chunk has: of a page without chunks, or of a heading without text under it.
    fn terms_of_documents_alone(&self) -> Vec<Box<str>> {
        let lists = &self.chunks.lists;
        let in_chunks = |number: u32| lists.get(number as usize).is_some_and(|list| list.count() > 0);
        let alone = self.numbers.iter().filter(|(_, number)| !in_chunks(**number)).map(|(term, _)| term.clone());
        alone.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

fn append(level: &mut LevelBuilder, counts: &Counts, numbers: &[u32]) {
    let row = level.lengths[0].len() as u32;
    for (column, length) in level.lengths.iter_mut().zip(counts.lengths) {
        column.push(length);
    }
    for &(term, frequencies) in &counts.terms {
        let number = numbers[term as usize] as usize;
        level.lists[number].push(row, frequencies);
    }
}

/// The tantivy side of a segment being written.
struct TantivyWriter {
    folder: std::path::PathBuf,
    writer: SingleSegmentIndexWriter,
    feed: Feed,
    terms: Field,
    filters: Field,
}

impl TantivyWriter {
    fn create(folder: &Path, text_bytes: usize) -> Result<Self> {
        let indexing = |tokenizer: &str, record| {
            let indexing = TextFieldIndexing::default().set_tokenizer(tokenizer).set_fieldnorms(false);
            TextOptions::default().set_indexing_options(indexing.set_index_option(record))
        };
        let mut schema = Schema::builder();
        let terms = schema.add_text_field(TERMS_FIELD, indexing(FEED, IndexRecordOption::WithFreqsAndPositions));
        let filters = schema.add_text_field(FILTERS_FIELD, indexing("raw", IndexRecordOption::Basic));
        let feed = Feed::default();
        let tokenizers = TokenizerManager::default();
        tokenizers.register(FEED, feed.clone());
        let settings = IndexSettings { docstore_compress_dedicated_thread: false, ..IndexSettings::default() };
        let directory = MmapDirectory::open(folder).map_err(unwritable(folder))?;
        let builder = Index::builder().schema(schema.build()).settings(settings).tokenizers(tokenizers);
        // The budget only sizes the first hash table; a small update must not touch megabytes for it.
        let budget = (text_bytes / 2).clamp(1 << 20, 1 << 28);
        let writer = builder.single_segment_index_writer(directory, budget).map_err(unwritable(folder))?;
        Ok(Self { folder: folder.to_path_buf(), writer, feed, terms, filters })
    }

    /// Adds documents to tantivy's index and to our lists.
    fn add_all(&mut self, lists: &mut Builder, batch: &[DocumentText<'_>], analysed: Vec<Analysed>) -> Result<()> {
        for (document, analysed) in batch.iter().zip(analysed) {
            execution::checkpoint()?;
            lists.add(&analysed);
            self.add(document, analysed)?;
        }
        Ok(())
    }

    fn add(&mut self, document: &DocumentText<'_>, analysed: Analysed) -> Result<()> {
        self.feed.set(analysed);
        for (row, chunk) in document.chunks.iter().enumerate() {
            let filters: BTreeSet<&String> = document.filters.iter().chain(&chunk.filters).collect();
            self.add_row(row, filters.into_iter().map(String::as_str))?;
        }
        Ok(())
    }

    fn add_row<'a>(&mut self, row: usize, filters: impl Iterator<Item = &'a str>) -> Result<()> {
        let mut document = TantivyDocument::default();
        document.add_text(self.terms, row.to_string());
        filters.for_each(|value| document.add_text(self.filters, value));
        self.writer.add_document(document).map_err(unwritable(&self.folder))
    }

    /// Puts `alone`, terms that no chunk has, into a row of their own after all others, and writes the files.
    fn finish(mut self, alone: Vec<Box<str>>) -> Result<()> {
        if !alone.is_empty() {
            let tokens = (0..alone.len() as u32).map(|term| (term, 0)).collect();
            let row = AnalysedRow { tokens, counts: Counts::default() };
            self.feed.set(Analysed { terms: alone, rows: vec![row], document: Counts::default() });
            self.add_row(0, std::iter::empty())?;
        }
        self.writer.finalize().map_err(unwritable(&self.folder))?;
        Ok(())
    }
}

/// The operating system's own reason where there is one, because what helps against a full disk depends on it; tantivy
/// carries it in its text only.
fn unwritable<E: std::error::Error + Send + Sync + 'static>(folder: &Path) -> impl FnOnce(E) -> Error {
    let wrap = Error::io("write", folder);
    move |reason| {
        let number = system_error_in(&reason.to_string());
        wrap(number.map_or_else(|| std::io::Error::other(reason), std::io::Error::from_raw_os_error))
    }
}

/// The number of the system's error that a text tells, as it is shown or as it is debugged.
fn system_error_in(text: &str) -> Option<i32> {
    let between = |(before, after)| text.split_once(before)?.1.split_once::<char>(after)?.0.parse().ok();
    [("(os error ", ')'), ("Os { code: ", ',')].into_iter().find_map(between)
}

/// A tokenizer whose text is the number of a row in the document that was set before: its tokens were made elsewhere, in
/// parallel and once, and need neither a copy nor an allocation each.
#[derive(Clone, Default)]
struct Feed {
    document: Arc<Mutex<Arc<Analysed>>>,
}

impl Feed {
    fn set(&self, analysed: Analysed) {
        *self.document.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(analysed);
    }
}

impl Tokenizer for Feed {
    type TokenStream<'a> = FeedStream;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> FeedStream {
        let document = Arc::clone(&self.document.lock().unwrap_or_else(PoisonError::into_inner));
        FeedStream { document, row: text.parse().unwrap_or(usize::MAX), next: 0, token: TantivyToken::default() }
    }
}

struct FeedStream {
    document: Arc<Analysed>,
    row: usize,
    next: usize,
    token: TantivyToken,
}

impl TokenStream for FeedStream {
    fn advance(&mut self) -> bool {
        let Some(&(term, position)) = self.document.rows.get(self.row).and_then(|row| row.tokens.get(self.next)) else {
            return false;
        };
        self.next += 1;
        self.token.text.clear();
        self.token.text.push_str(&self.document.terms[term as usize]);
        self.token.position = position as usize;
        true
    }

    fn token(&self) -> &TantivyToken {
        &self.token
    }

    fn token_mut(&mut self) -> &mut TantivyToken {
        &mut self.token
    }
}

/// The engine's analyser as a tantivy tokenizer, for indexes and queries that are tantivy's alone.
#[derive(Clone, Debug)]
pub struct AnalyzerTokenizer {
    language: Language,
}

impl AnalyzerTokenizer {
    /// A tokenizer for texts of `language`.
    #[must_use]
    pub fn new(language: Language) -> Self {
        Self { language }
    }
}

impl Tokenizer for AnalyzerTokenizer {
    type TokenStream<'a> = AnalyzedStream;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> AnalyzedStream {
        let mut tokens = Vec::new();
        Analyzer::new(self.language).analyze(text, |token| {
            tokens.push(TantivyToken {
                offset_from: token.start as usize,
                offset_to: token.end as usize,
                position: token.position as usize,
                text: token.term.to_owned(),
                position_length: 1,
            });
        });
        AnalyzedStream { tokens: tokens.into_iter(), current: TantivyToken::default() }
    }
}

/// The tokens of a text that was analysed whole.
#[derive(Debug)]
pub struct AnalyzedStream {
    tokens: std::vec::IntoIter<TantivyToken>,
    current: TantivyToken,
}

impl TokenStream for AnalyzedStream {
    fn advance(&mut self) -> bool {
        self.tokens.next().map(|token| self.current = token).is_some()
    }

    fn token(&self) -> &TantivyToken {
        &self.current
    }

    fn token_mut(&mut self) -> &mut TantivyToken {
        &mut self.current
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use tantivy::directory::error::OpenWriteError;

    use super::*;

    #[test]
    fn the_reason_of_the_system_is_told() {
        let full = || io::Error::from_raw_os_error(28);
        let failures = [
            tantivy::TantivyError::from(full()),
            tantivy::TantivyError::from(OpenWriteError::wrap_io_error(full(), PathBuf::from("terms"))),
        ];
        for failure in failures {
            let Error::Io { source, .. } = unwritable(Path::new("index"))(failure) else { panic!("another error") };
            assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        }
        let Error::Io { source, .. } = unwritable(Path::new("index"))(io::Error::other("no reason")) else {
            panic!("another error")
        };
        assert_eq!(source.kind(), io::ErrorKind::Other);
    }
}
