use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::publication::{self, Change};
use crate::segment::{self, ChunkInput, ChunkVectors, DocumentInput};
use crate::storage::{EmbedderEntry, Publisher, SegmentEntry};

const DIMENSION: usize = 8;

/// A document whose chunks are one line each.
#[derive(Clone, Debug, PartialEq)]
struct Page {
    title: String,
    area: u8,
    chunks: Vec<String>,
}

type Pages = BTreeMap<Id, Page>;

fn id(number: u32) -> Id {
    (u128::from(number) + 1).to_be_bytes()
}

fn page(chunks: &[&str]) -> Page {
    Page { title: String::new(), area: 0, chunks: chunks.iter().map(|&chunk| chunk.to_owned()).collect() }
}

fn document((&id, page): (&Id, &Page)) -> DocumentInput {
    let mut start = 0;
    let chunk = |(ordinal, text): (usize, &String)| {
        let end = start + text.chars().count() as u32;
        let mut chunk_id = id;
        chunk_id[0] = ordinal as u8 + 1;
        let chunk = ChunkInput {
            id: chunk_id,
            record: Vec::new(),
            headings: String::new(),
            spans: vec![(start, end)],
            repeated: Vec::new(),
            filters: vec![format!("ordinal={}", ordinal % 2)],
            tokens: text.split(' ').count() as u32,
        };
        start = end + 1;
        chunk
    };
    DocumentInput {
        id,
        record: Vec::new(),
        text: page.chunks.join("\n"),
        title: page.title.clone(),
        language: Language::English,
        headings: Vec::new(),
        filters: vec![format!("area={}", page.area)],
        chunks: page.chunks.iter().enumerate().map(chunk).collect(),
    }
}

/// A vector of a text: the mean of its words' vectors, so that texts with the same words have the same.
fn vector(text: &str) -> Vec<f32> {
    let mut sum = vec![0f32; DIMENSION];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let hash = xxhash_rust::xxh3::xxh3_64(word.as_bytes()).to_le_bytes();
        sum.iter_mut().zip(hash).for_each(|(sum, byte)| *sum += f32::from(byte) - 127.5);
    }
    sum
}

fn write(publisher: &mut Publisher, pages: &Pages, merged: bool) -> SegmentEntry {
    let mut values: Vec<f32> = pages.values().flat_map(|page| &page.chunks).flat_map(|chunk| vector(chunk)).collect();
    if merged {
        values = dense::as_stored(DIMENSION, &values).unwrap();
    }
    let vectors = ChunkVectors { dimension: DIMENSION, values: &values };
    segment::write(publisher, pages.iter().map(document).collect(), Some(vectors)).unwrap()
}

fn change(added: Vec<SegmentEntry>, deleted: Vec<Id>, dropped: Vec<String>, dimension: usize) -> Change {
    let embedder = EmbedderEntry { name: "words".to_owned(), fingerprint: "1".to_owned(), dimension: dimension as u32 };
    Change { added, deleted, dropped, chunker: "lines".to_owned(), embedder: Some(embedder), state: Vec::new() }
}

struct Index {
    root: tempfile::TempDir,
    pages: Pages,
}

impl Index {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), pages: Pages::new() }
    }

    fn of(pages: Pages) -> Self {
        let mut index = Self::new();
        index.publish(pages.into_iter().map(|(id, page)| (id, Some(page))).collect(), false);
        index
    }

    /// Publishes a generation in which these pages are added, changed or removed; all that live go into one segment when
    /// they are `merged`.
    fn publish(&mut self, changes: BTreeMap<Id, Option<Page>>, merged: bool) {
        let mut publisher = Publisher::open(self.root.path()).unwrap();
        let deleted: Vec<Id> = changes.keys().filter(|id| self.pages.contains_key(*id)).copied().collect();
        let mut added = Pages::new();
        for (id, page) in changes {
            self.pages.remove(&id);
            if let Some(page) = page {
                self.pages.insert(id, page.clone());
                added.insert(id, page);
            }
        }
        let dropped = match publisher.current() {
            Some(current) if merged => current.manifest().segments.iter().map(|segment| segment.id.clone()).collect(),
            _ => Vec::new(),
        };
        let entry = write(&mut publisher, if merged { &self.pages } else { &added }, merged);
        publication::publish(&mut publisher, change(vec![entry], deleted, dropped, DIMENSION)).unwrap();
    }

    fn open(&self) -> Snapshot {
        Snapshot::open(self.root.path(), None).unwrap()
    }
}

fn options() -> Options {
    Options {
        top_k: 5,
        candidates: 12,
        parameters: Parameters::default(),
        dense_weight: 1.25,
        document_weight: 0.3,
        repeat_weight: 0.85,
        mmr_lambda: None,
        dense: Mode::Auto,
    }
}

fn question(text: &str) -> Question<'_> {
    Question {
        text,
        language: Language::English,
        vector: None,
        filters: &[],
        excluded: &[],
        excluded_documents: &[],
        expansions: &[],
    }
}

fn coverage(pages: &[Page], text: &str) -> f32 {
    let index = Index::of(pages.iter().enumerate().map(|(number, page)| (id(number as u32), page.clone())).collect());
    index.open().search(&question(text), &options()).unwrap().evidence.idf_coverage
}

/// Everything of an answer that may not depend on how the index is cut into segments.
type Answer = (Vec<(Id, (u32, u32), u32, Option<u32>, u32, Option<u32>)>, Evidence);

fn answer(snapshot: &Snapshot, question: &Question<'_>, options: &Options) -> Answer {
    let results = snapshot.search(question, options).unwrap();
    let found = results.found.iter().map(|found| {
        let id = snapshot.records(found.place.segment).unwrap().chunk_id(found.place.row).unwrap();
        let bits = |number: Option<f32>| number.map(f32::to_bits);
        let document = (found.document_bm25.to_bits(), bits(found.document_cosine));
        (
            id,
            (found.fused.to_bits(), found.score.to_bits()),
            found.bm25.to_bits(),
            bits(found.cosine),
            document.0,
            document.1,
        )
    });
    (found.collect(), results.evidence)
}

/// What is left of each relevance where better chunks are of the same section.
fn discounted(relevance: &[(f32, (u32, u32, u32))], options: &Options) -> Vec<f32> {
    let left = |(place, &(own, section))| {
        let before = relevance.iter().take(place).filter(|(_, other)| *other == section).count();
        let factor = (0..before).fold(1.0, |factor, _| factor * options.repeat_weight);
        if own > 0.0 { own * factor } else { own }
    };
    relevance.iter().enumerate().map(left).collect()
}

/// The answer by the definition: every chunk scored by everything, then sorted and cut, with no bound and no shared work.
#[allow(clippy::too_many_lines)]
fn naive(snapshot: &Snapshot, question: &Question<'_>, options: &Options) -> Answer {
    struct Row {
        id: Id,
        key: (Id, u32),
        scores: [f32; 4],
        holds: Vec<(bool, bool)>,
        document: (u32, u32),
        section: (u32, u32, u32),
        vector: Vec<f32>,
    }
    let search = Search::new(snapshot, question, options).unwrap();
    let (mut rows, mut document_max) = (Vec::new(), 0f32);
    for (number, (view, allowed)) in snapshot.views.iter().zip(search.allowed.iter()).enumerate() {
        let (records, postings) = (view.reader.records().unwrap(), view.reader.lexical.postings());
        let vectors = view.reader.vectors.as_ref().unwrap();
        let (terms, document_terms) = search.terms_of(number as u32);
        let living = |rows: &Option<Bitmap>, row: u32| rows.as_ref().is_none_or(|rows| rows.contains(row));
        let cosine = |values: Vec<f32>| if question.vector.is_some() { values[0] } else { 0.0 };
        let asked = question.vector.map_or_else(|| vec![0.0; DIMENSION], <[f32]>::to_vec);
        for document in (0..records.documents()).filter(|&row| living(&allowed.documents, row)) {
            let own = bm25::score_rows(postings, document_terms, &search.document_scorer, &[document]).unwrap()[0];
            document_max = document_max.max(own);
            let near = cosine(vectors.document_cosines(&[document], &asked).unwrap());
            for row in records.chunk_rows(document).unwrap().filter(|&row| living(&allowed.chunks, row)) {
                let score =
                    |terms: &[QueryTerm]| bm25::score_rows(postings, terms, &search.chunk_scorer, &[row]).unwrap()[0];
                let has = |term: &QueryTerm| {
                    let explained = search.chunk_scorer.explain(postings, &[*term], row).unwrap().terms;
                    (!explained.is_empty(), explained.iter().any(|term| term.fields[0].tf > 0))
                };
                rows.push(Row {
                    id: records.chunk_id(row).unwrap(),
                    key: (records.document_id(document).unwrap(), row),
                    scores: [score(terms), cosine(vectors.cosines(&[row], &asked).unwrap()), own, near],
                    holds: terms.iter().map(has).collect(),
                    document: (number as u32, document),
                    section: (number as u32, document, records.place_of(row).unwrap().1),
                    vector: vectors.vector(row).unwrap(),
                });
            }
        }
    }
    let best = |rows: &[Row], which: usize| {
        let mut order: Vec<usize> =
            (0..rows.len()).filter(|&row| which == 1 || rows[row].scores[which] > 0.0).collect();
        order.sort_by(|&a, &b| {
            rows[b].scores[which].total_cmp(&rows[a].scores[which]).then_with(|| rows[a].key.cmp(&rows[b].key))
        });
        order.truncate(options.candidates);
        order
    };
    let lexical = best(&rows, 0);
    let nearest = if question.vector.is_some() { best(&rows, 1) } else { Vec::new() };
    let bm25_max = lexical.first().map_or(0.0, |&row| rows[row].scores[0]);
    let mut pool: Vec<usize> = (0..rows.len()).filter(|row| lexical.contains(row) || nearest.contains(row)).collect();
    let column = |which: usize| pool.iter().map(|&row| rows[row].scores[which]).collect::<Vec<_>>();
    let document_max = if options.document_weight == 0.0 { 0.0 } else { document_max };
    let fused = fusion::with_documents(
        fusion::Evidence { bm25: &column(0), bm25_max, cosine: &column(1) },
        fusion::Evidence { bm25: &column(2), bm25_max: document_max, cosine: &column(3) },
        options.dense_weight,
        options.document_weight,
    );
    let fused: FxHashMap<usize, f32> = pool.iter().copied().zip(fused.unwrap()).collect();
    pool.sort_by(|a, b| fused[b].total_cmp(&fused[a]).then_with(|| rows[*a].key.cmp(&rows[*b].key)));
    let known = |cosine: f32| Some(cosine).filter(|&cosine| cosine != 0.0);
    let covered = |which: fn(&(bool, bool)) -> bool| {
        let share = |&row: &usize| search.share(|forms| forms.iter().any(|&form| which(&rows[row].holds[form])));
        pool.iter().take(EVIDENCE_HITS).map(share).fold(0.0, f32::max)
    };
    let candidate = |&row: &usize| Candidate {
        document: rows[row].document,
        bm25: rows[row].scores[0],
        cosine: known(rows[row].scores[1]),
    };
    let candidates: Vec<Candidate> = pool.iter().map(candidate).collect();
    let mass: f32 = search.words.iter().map(|word| search.word_idf(&word.forms)).sum();
    let cosines = evidence::cosines(&candidates);
    let evidence = Evidence {
        idf_coverage: covered(|held| held.0),
        title_coverage: covered(|held| held.1),
        covered_mass: covered(|held| held.0) * mass / bm25::idf(0, snapshot.chunks.rows),
        lexical_margin: evidence::lexical_margin(&candidates, (options.parameters.k1 + 1.0) * mass),
        best_cosine: cosines.map(|cosines| cosines.0),
        cosine_margin: cosines.map(|cosines| cosines.1),
        agreement: cosines.map(|_| evidence::agreement(&candidates)),
    };
    let relevance: Vec<(f32, (u32, u32, u32))> = pool.iter().map(|row| (fused[row], rows[*row].section)).collect();
    let scores: FxHashMap<usize, f32> = pool.iter().copied().zip(discounted(&relevance, options)).collect();
    pool.sort_by(|a, b| scores[b].total_cmp(&scores[a]));
    if let Some(lambda) = options.mmr_lambda.filter(|&lambda| lambda < 1.0) {
        pool.truncate(options.candidates.max(options.top_k));
        let relevance: Vec<f32> = pool.iter().map(|row| scores[row]).collect();
        let vectors: Vec<f32> = pool.iter().flat_map(|&row| rows[row].vector.clone()).collect();
        let picks = mmr::select(&relevance, &vectors, DIMENSION, lambda, options.top_k).unwrap();
        pool = picks.into_iter().map(|pick| pool[pick]).collect();
    }
    pool.truncate(options.top_k);
    let found = pool.iter().map(|&row| {
        let [bm25, cosine, mut document_bm25, mut document_cosine] = rows[row].scores;
        if options.document_weight == 0.0 {
            (document_bm25, document_cosine) = (0.0, 0.0);
        }
        let document = (document_bm25.to_bits(), known(document_cosine).map(f32::to_bits));
        let relevance = (fused[&row].to_bits(), scores[&row].to_bits());
        (rows[row].id, relevance, bm25.to_bits(), known(cosine).map(f32::to_bits), document.0, document.1)
    });
    (found.collect(), evidence)
}

fn words(least: usize, most: usize) -> impl Strategy<Value = String> {
    let word = prop_oneof![4 => 0u32..3, 3 => 3u32..12, 1 => 12u32..60].prop_map(|word| format!("w{word}"));
    prop::collection::vec(word, least..=most).prop_map(|words| words.join(" "))
}

fn expansions() -> impl Strategy<Value = Vec<(String, f32)>> {
    prop::collection::vec((words(1, 3), prop_oneof![0.01f32..0.3, Just(0.2)]), 0..4)
}

fn pages() -> impl Strategy<Value = Page> {
    (words(0, 2), 0u8..3, prop::collection::vec(words(1, 6), 0..4)).prop_map(|(title, area, chunks)| Page {
        title,
        area,
        chunks,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_history_answers_as_a_fresh_build(
        history in prop::collection::vec(
            (prop::collection::btree_map((0u32..24).prop_map(id), prop::option::weighted(0.75, pages()), 0..10), prop::bool::weighted(0.2)),
            1..6,
        ),
        questions in prop::collection::vec(words(1, 5), 3),
    ) {
        let mut index = Index::new();
        for (changes, merged) in history {
            index.publish(changes, merged);
        }
        let fresh = Index::of(index.pages.clone());
        let (grown, fresh) = (index.open(), fresh.open());
        prop_assert_eq!((grown.chunks(), grown.documents()), (fresh.chunks(), fresh.documents()));
        let area = [vec!["area=0".to_owned(), "area=1".to_owned()]];
        let excluded = ["ordinal=1".to_owned()];
        for text in &questions {
            let vector = vector(text);
            for (filters, excluded) in [(&area[..0], &excluded[..0]), (&area[..], &excluded[..0]), (&area[..0], &excluded[..])] {
                for vector in [None, Some(&vector[..])] {
                    for mmr_lambda in [None, Some(0.6)] {
                        let question = Question { text, language: Language::English, vector, filters, excluded, excluded_documents: &[], expansions: &[] };
                        let options = Options { mmr_lambda, ..options() };
                        prop_assert_eq!(answer(&grown, &question, &options), answer(&fresh, &question, &options));
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn documents_that_are_left_out_are_searched_as_if_filtered_away(
        pages in prop::collection::btree_map((0u32..24).prop_map(id), pages(), 1..16),
        question_text in words(1, 5),
    ) {
        let without: Vec<Id> = pages.iter().filter(|(_, page)| page.area == 2).map(|(&id, _)| id).collect();
        let snapshot = Index::of(pages).open();
        let vector = vector(&question_text);
        let asked = Question { vector: Some(&vector), ..question(&question_text) };
        let filtered = Question { excluded: &["area=2".to_owned()], ..asked };
        let left_out = Question { excluded_documents: &without, ..asked };
        prop_assert_eq!(answer(&snapshot, &left_out, &options()), answer(&snapshot, &filtered, &options()));
    }

    #[test]
    fn evidence_does_not_depend_on_how_many_hits_are_returned(
        pages in prop::collection::btree_map((0u32..24).prop_map(id), pages(), 1..16),
        question_text in words(1, 5),
    ) {
        let snapshot = Index::of(pages).open();
        let vector = vector(&question_text);
        let asked = Question { vector: Some(&vector), ..question(&question_text) };
        let evidence = |top_k, mmr_lambda| answer(&snapshot, &asked, &Options { top_k, mmr_lambda, ..options() }).1;
        let all = evidence(12, None);
        prop_assert_eq!((evidence(1, None), evidence(2, Some(0.5))), (all, all));
        prop_assert!((0.0..=1.0).contains(&all.idf_coverage) && all.title_coverage <= all.idf_coverage + 1e-6);
        prop_assert!(all.covered_mass >= 0.0 && all.lexical_margin >= 0.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn answers_are_those_of_the_definition(
        parts in prop::collection::vec(prop::collection::vec(pages(), 1..20), 1..3),
        gone in prop::collection::vec(0u32..20, 0..3),
        questions in prop::collection::vec(words(1, 5), 3),
        candidates in prop_oneof![1usize..12, Just(1000)], top_k in prop_oneof![1usize..12, Just(1000)],
        lambda in prop_oneof![Just(None), Just(Some(0.98)), (0u8..9).prop_map(|eighths| Some(f32::from(eighths) / 8.0))],
        document_weight in prop_oneof![Just(0.0f32), Just(0.5), Just(1.0)],
        repeat_weight in prop_oneof![Just(0.0f32), Just(0.85), Just(1.0)],
        expansions in expansions(),
    ) {
        let mut index = Index::new();
        let numbered = parts.concat().into_iter().enumerate().map(|(number, page)| (id(number as u32), Some(page)));
        let all: Vec<(Id, Option<Page>)> = numbered.collect();
        // Every other page lies in the first segment, so that neighbours in the order lie apart.
        for half in 0..parts.len() {
            let own = all.iter().skip(half).step_by(parts.len()).cloned();
            index.publish(own.collect(), false);
        }
        index.publish(gone.iter().map(|&number| (id(number), None)).collect(), false);
        let snapshot = index.open();
        let area = [vec!["area=0".to_owned(), "area=1".to_owned()]];
        for text in &questions {
            let vector = vector(text);
            for filters in [&area[..0], &area[..]] {
                for vector in [None, Some(&vector[..])] {
                    let question = Question { text, language: Language::English, vector, filters, excluded: &[], excluded_documents: &[], expansions: &expansions };
                    let options = Options { candidates, top_k, mmr_lambda: lambda, document_weight, repeat_weight, ..options() };
                    prop_assert_eq!(answer(&snapshot, &question, &options), naive(&snapshot, &question, &options));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn an_expansion_adds_its_words_for_less_and_is_no_evidence(
        pages in prop::collection::btree_map((0u32..24).prop_map(id), pages(), 1..16),
        text in words(1, 4),
        expansions in expansions(),
    ) {
        // In letters alone, so that no word has parts that another has.
        let spelled = |text: &str| -> String {
            text.chars().map(|letter| letter.to_digit(10).map_or(letter, |digit| char::from(b"bcdfghjklm"[digit as usize]))).collect()
        };
        let spell = |page: Page| Page {
            title: spelled(&page.title),
            chunks: page.chunks.iter().map(|chunk| spelled(chunk)).collect(),
            ..page
        };
        let text = spelled(&text);
        let expansions: Vec<_> = expansions.into_iter().map(|(words, weight)| (spelled(&words), weight)).collect();
        let snapshot = Index::of(pages.into_iter().map(|(id, page)| (id, spell(page))).collect()).open();
        let plain = question(&text);
        let expanded = Question { expansions: &expansions, ..plain };
        let options = Options { top_k: 200, candidates: 200, ..options() };
        let scores = |question: &Question<'_>| -> BTreeMap<Place, f32> {
            snapshot.search(question, &options).unwrap().found.iter().map(|found| (found.place, found.bm25)).collect()
        };
        // Each word once, by the largest weight that it is given, and none that the question has.
        let mut added: BTreeMap<&str, f32> = BTreeMap::new();
        for (words, weight) in &expansions {
            for word in words.split(' ').filter(|word| !text.split(' ').any(|own| own == *word)) {
                let known = added.entry(word).or_default();
                *known = known.max(*weight);
            }
        }
        let mut expected: BTreeMap<Place, f64> = BTreeMap::new();
        for (word, weight) in added.into_iter().chain([(text.as_str(), 1.0)]) {
            for (place, score) in scores(&question(word)) {
                *expected.entry(place).or_default() += f64::from(weight) * f64::from(score);
            }
        }
        let found = scores(&expanded);
        prop_assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (place, score) in &found {
            let expected = expected[place];
            prop_assert!((f64::from(*score) - expected).abs() <= 1e-5 * expected, "{:?}: {} for {}", place, score, expected);
        }
        let none = answer(&snapshot, &Question { expansions: &[], ..plain }, &options);
        prop_assert_eq!(&answer(&snapshot, &plain, &options), &none);
        // What the question has already adds nothing, bit for bit.
        let own = [(text.clone(), 0.2)];
        prop_assert_eq!(&answer(&snapshot, &Question { expansions: &own, ..plain }, &options), &none);
    }
}

#[test]
fn the_words_of_an_expansion_are_no_evidence() {
    let index = Index::of([(id(0), page(&["pto policy"])), (id(1), page(&["time off policy"]))].into());
    let expansions = [("time off".to_owned(), 0.2)];
    let asked = Question { expansions: &expansions, ..question("pto") };
    let results = index.open().search(&asked, &options()).unwrap();
    assert_eq!(results.found.len(), 2);
    assert!(results.found[0].bm25 > 2.0 * results.found[1].bm25, "{results:?}");
    let without = index.open().search(&question("pto"), &options()).unwrap();
    assert_eq!(without.found.len(), 1);
    assert_eq!(without.evidence.idf_coverage.to_bits(), results.evidence.idf_coverage.to_bits());
    let too_much = [("time off".to_owned(), f32::NAN)];
    let outcome = index.open().search(&Question { expansions: &too_much, ..asked }, &options());
    assert!(matches!(outcome, Err(Error::InvalidArgument(_))), "{outcome:?}");
}

#[test]
fn the_way_to_the_nearest_chunks_can_be_chosen_and_is_told() {
    let index = Index::of((0..2000).map(|number| (id(number), page(&[&format!("w{number}")]))).collect());
    let (snapshot, vector) = (index.open(), vector("w7"));
    let way = |dense, vector| {
        let asked = Question { vector, ..question("w7") };
        snapshot.search(&asked, &Options { dense, ..options() }).unwrap().dense.map(dense::Path::name)
    };
    let cascade: Mode = "cascade".parse().unwrap();
    assert_eq!(way(Mode::Auto, Some(&vector[..])), Some("exact"));
    assert_eq!(way(cascade, Some(&vector[..])), Some("cascade"));
    assert_eq!(way(cascade, None), None);
    assert!("fast".parse::<Mode>().is_err());
}

#[test]
fn coverage_counts_a_word_by_any_of_its_forms() {
    // The page is in no known language, so it has the word as it stands and not its stem.
    let mut index = Index::new();
    let mut publisher = Publisher::open(index.root.path()).unwrap();
    let unstemmed = Page { title: String::new(), area: 0, chunks: vec!["running".to_owned(), "other".to_owned()] };
    index.pages.insert(id(1), unstemmed);
    let mut input = document(index.pages.first_key_value().unwrap());
    input.language = Language::Unknown;
    let entry = segment::write(&mut publisher, vec![input], None).unwrap();
    publication::publish(&mut publisher, change(vec![entry], Vec::new(), Vec::new(), DIMENSION)).unwrap();
    drop(publisher);
    let results = index.open().search(&question("running"), &options()).unwrap();
    assert_eq!(results.found.len(), 1);
    assert!((results.evidence.idf_coverage - 1.0).abs() < 1e-6, "{:?}", results.evidence);
}

#[test]
fn coverage_counts_a_repeated_identifier_once() {
    let pages = [page(&["the schema of status", "getUserById returns", "export reports"]), page(&["other"])];
    let once = coverage(&pages, "export getStatusById");
    assert!(once > 0.0 && once < 1.0);
    let twice = coverage(&pages, "export getStatusById getStatusById");
    assert_eq!(once.to_bits(), twice.to_bits());
}

#[test]
fn an_identifier_has_no_margin_beyond_all() {
    let pages = (0..60).map(|number| (id(number + 1), page(&[&format!("w{number}")])));
    let titled = Page { title: "ServeStatusSchema".to_owned(), ..page(&["ServeStatusSchema"]) };
    let snapshot = Index::of(std::iter::once((id(0), titled)).chain(pages).collect()).open();
    let results = snapshot.search(&question("ServeStatusSchema"), &options()).unwrap();
    assert!((results.evidence.lexical_margin - 1.0).abs() < f32::EPSILON, "{:?}", results.evidence);
}

#[test]
fn any_number_of_hits_may_be_asked_for() {
    let index = Index::of((0..20).map(|number| (id(number), page(&[&format!("w{number} same")]))).collect());
    let vector = vector("same");
    let asked = Question { vector: Some(&vector), ..question("same") };
    let found = index.open().search(&asked, &Options { top_k: 1 << 40, candidates: 1000, ..options() }).unwrap().found;
    assert_eq!(found.len(), 20);
}

#[test]
fn every_term_of_a_question_is_in_its_words() {
    let words = analysis::question_words("getUserById logs Logs getUserById log", Language::English);
    let forms: Vec<_> = words.iter().map(|word| word.forms.iter().map(String::as_str).collect::<Vec<_>>()).collect();
    assert_eq!(forms, [vec!["getuserbyid"], vec!["log", "logs"]]);
    assert_eq!(words[0].parts, [["get"], ["user"], ["id"]]);
    let (terms, _) = numbered(&words);
    assert_eq!(terms, analysis::question_terms("getUserById logs Logs getUserById log", Language::English));
}

#[test]
fn damage_found_while_ordering_equals_is_reported() {
    // Enough documents that one block holds nothing but ids, which only the order of equal cosines asks for.
    let index = Index::of((0..9000).map(|number| (id(number), page(&["same"]))).collect());
    let snapshot = index.open();
    let entry = &snapshot.generation().manifest().segments[0];
    let path = index.root.path().join("segments").join(&entry.id).join("documents");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let snapshot = index.open();
    let vector = vector("same");
    let asked = Question { vector: Some(&vector), ..question("nothing") };
    let outcome = snapshot.search(&asked, &options());
    assert!(matches!(outcome, Err(Error::IndexCorrupt { .. })), "{outcome:?}");
}

#[test]
fn vectors_that_do_not_fit_the_manifest_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let mut publisher = Publisher::open(root.path()).unwrap();
    let entry = write(&mut publisher, &[(id(0), page(&["one"]))].into(), false);
    publication::publish(&mut publisher, change(vec![entry], Vec::new(), Vec::new(), DIMENSION + 1)).unwrap();
    let outcome = Snapshot::open(root.path(), None);
    assert!(matches!(outcome, Err(Error::IndexCorrupt { .. })), "{outcome:?}");
}

#[test]
fn vectors_of_other_rows_than_the_terms_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let mut publisher = Publisher::open(root.path()).unwrap();
    let entries =
        [&["one"][..], &["one", "two"]].map(|chunks| write(&mut publisher, &[(id(0), page(chunks))].into(), false));
    let folder = |entry: &SegmentEntry| root.path().join("segments").join(&entry.id);
    // A segment with the terms and records of the first and the vectors of the second.
    let (id, mut writer) = publisher.segment().unwrap();
    for (entry, vectors) in entries.iter().zip([false, true]) {
        for file in &entry.files {
            let is_vectors = file.name.starts_with("vectors.") || file.name == "documents.f16";
            if is_vectors == vectors && file.name != "blocks" && !file.name.contains('/') {
                let bytes = std::fs::read(folder(entry).join(&file.name)).unwrap();
                writer.file(&file.name, |file| file.put(&bytes)).unwrap();
            }
        }
    }
    let lexical = folder(&entries[0]).join("lexical");
    writer
        .folder("lexical", |target| {
            for entry in std::fs::read_dir(&lexical).unwrap() {
                let path = entry.unwrap().path();
                std::fs::copy(&path, target.join(path.file_name().unwrap())).unwrap();
            }
            Ok(())
        })
        .unwrap();
    let mixed = SegmentEntry { id, files: writer.finish().unwrap(), ..entries[0].clone() };
    publication::publish(&mut publisher, change(vec![mixed], Vec::new(), Vec::new(), DIMENSION)).unwrap();
    let outcome = Snapshot::open(root.path(), None);
    assert!(matches!(outcome, Err(Error::IndexCorrupt { .. })), "{outcome:?}");
}

#[test]
fn a_lambda_out_of_range_is_refused() {
    let index = Index::of([(id(0), page(&["one"]))].into());
    for lambda in [f32::NAN, -0.1, 1.1] {
        let options = Options { mmr_lambda: Some(lambda), ..options() };
        let outcome = index.open().search(&question("one"), &options);
        assert!(matches!(outcome, Err(Error::InvalidArgument(_))), "{lambda}");
    }
}

#[test]
fn filters_are_remembered_apart() {
    let index = Index::of([(id(0), page(&["one", "one two"])), (id(1), page(&["one"]))].into());
    let snapshot = index.open();
    let only = [vec!["ordinal=1".to_owned()]];
    let count = |filters: &[Vec<String>], excluded: &[String]| {
        let question = Question { filters, excluded, ..question("one") };
        snapshot.search(&question, &options()).unwrap().found.len()
    };
    for _ in 0..2 {
        assert_eq!([count(&[], &[]), count(&only, &[]), count(&[], &only[0]), count(&only, &only[0])], [3, 1, 2, 0]);
    }
    for number in 0..2 * REMEMBERED_FILTERS {
        assert_eq!(count(&[], &[format!("ordinal={}", number + 2)]), 3);
    }
    assert!(snapshot.filters.lock().unwrap().len() <= REMEMBERED_FILTERS);
}

#[test]
fn a_document_in_two_added_segments_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let mut publisher = Publisher::open(root.path()).unwrap();
    let twice = [&["one"][..], &["two"]].map(|chunks| write(&mut publisher, &[(id(0), page(chunks))].into(), false));
    let outcome = publication::publish(&mut publisher, change(twice.into(), Vec::new(), Vec::new(), DIMENSION));
    assert!(matches!(&outcome, Err(Error::InvalidArgument(reason)) if reason.contains("two")), "{outcome:?}");
    let apart = [0, 1].map(|number| write(&mut publisher, &[(id(number), page(&["one"]))].into(), false));
    publication::publish(&mut publisher, change(apart.into(), Vec::new(), Vec::new(), DIMENSION)).unwrap();
}
