use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::search::WINDOW;
use super::*;
use crate::analysis::{Analyzer, Language};
use crate::bitmap::Bitmap;
use crate::lexical::{AnalyzerTokenizer, BLOCK, ChunkText, Corrections, DocumentText, LexicalSegment, Piece, write};
use crate::storage::{Segment, SegmentWriter};

/// A document in owned strings: title, headings without text, chunks of (headings, pieces).
#[derive(Clone, Debug)]
struct Page {
    title: String,
    headings: Vec<String>,
    chunks: Vec<(String, Vec<(String, bool)>)>,
}

impl Page {
    fn text(&self) -> DocumentText<'_> {
        let chunks = self.chunks.iter().map(|(headings, body)| ChunkText {
            headings,
            body: body.iter().map(|(text, repeated)| Piece { text, repeated: *repeated }).collect(),
            filters: Vec::new(),
        });
        DocumentText {
            language: Language::Unknown,
            title: &self.title,
            headings: self.headings.iter().map(String::as_str).collect(),
            filters: Vec::new(),
            chunks: chunks.collect(),
        }
    }
}

struct Opened {
    segment: LexicalSegment,
    _folder: tempfile::TempDir,
}

fn open(pages: &[Page]) -> Opened {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("segment");
    let mut writer = SegmentWriter::create(&directory).unwrap();
    let texts: Vec<DocumentText<'_>> = pages.iter().map(Page::text).collect();
    let statistics = write(&mut writer, &texts).unwrap();
    let files = writer.finish().unwrap();
    let segment = LexicalSegment::open(&Segment::open(&directory, &files).unwrap()).unwrap();
    assert_eq!(segment.postings().statistics(Level::Chunks), statistics.chunks);
    assert_eq!(segment.postings().statistics(Level::Documents), statistics.documents);
    Opened { segment, _folder: folder }
}

/// The rows of a level as bags of words, made from the strings alone.
#[derive(Clone, Debug, Default)]
struct Bag {
    frequencies: BTreeMap<String, PerField<u32>>,
    lengths: PerField<u32>,
}

impl Bag {
    fn add(&mut self, field: usize, text: &str) {
        Analyzer::new(Language::Unknown).analyze(text, |token| {
            self.frequencies.entry(token.term.to_owned()).or_default()[field] += 1;
            self.lengths[field] += 1;
        });
    }
}

fn bags(pages: &[Page], level: Level) -> Vec<Bag> {
    let mut rows = Vec::new();
    for page in pages {
        let mut whole = Bag::default();
        whole.add(0, &page.title);
        page.headings.iter().for_each(|heading| whole.add(1, heading));
        for (headings, body) in &page.chunks {
            let mut chunk = Bag::default();
            chunk.add(0, &page.title);
            chunk.add(1, headings);
            for (text, repeated) in body {
                chunk.add(2, text);
                if !repeated {
                    whole.add(2, text);
                }
            }
            if level == Level::Chunks {
                rows.push(chunk);
            }
        }
        if level == Level::Documents {
            rows.push(whole);
        }
    }
    rows
}

/// BM25F by the formula of the module's documentation, in f64, over every row that is not deleted.
fn naive(bags: &[Bag], deleted: &Bitmap, question: &[(String, f32)], parameters: &Parameters) -> Vec<f64> {
    let alive: Vec<&Bag> =
        bags.iter().zip(0..).filter(|(_, row)| !deleted.contains(*row)).map(|(bag, _)| bag).collect();
    let n = alive.len() as f64;
    let avgdl: PerField<f64> =
        std::array::from_fn(|field| alive.iter().map(|bag| f64::from(bag.lengths[field])).sum::<f64>() / n);
    let k1 = f64::from(parameters.k1);
    let score = |bag: &Bag| {
        let mut score = 0.0;
        for (term, weight) in question {
            let Some(tf) = bag.frequencies.get(term) else {
                continue;
            };
            let df = alive.iter().filter(|bag| bag.frequencies.contains_key(term)).count() as f64;
            let idf = (1.0 + (n - df + 0.5) / (df + 0.5)).ln();
            let mut frequency = 0.0;
            for field in (0..FIELDS).filter(|&field| tf[field] > 0) {
                let b = f64::from(parameters.b[field]);
                let normaliser = 1.0 - b + b * f64::from(bag.lengths[field]) / avgdl[field];
                frequency += f64::from(parameters.weights[field]) * f64::from(tf[field]) / normaliser;
            }
            if frequency > 0.0 {
                score += f64::from(*weight) * idf * frequency * (k1 + 1.0) / (frequency + k1);
            }
        }
        score
    };
    bags.iter().map(score).collect()
}

fn query(
    segment: &LexicalSegment,
    level: Level,
    question: &[(String, f32)],
    df: impl Fn(&str) -> u64,
    statistics: &Statistics,
) -> Vec<QueryTerm> {
    let _ = level;
    let term =
        |(term, weight): &(String, f32)| QueryTerm::new(segment.ordinal(term).unwrap(), df(term), *weight, statistics);
    question.iter().map(term).collect()
}

/// Document frequency of a term over segments, less what is deleted.
fn df(parts: &[(&LexicalSegment, &Corrections)], level: Level, term: &str) -> u64 {
    let own = |(segment, corrections): &(&LexicalSegment, &Corrections)| {
        let Some(ordinal) = segment.ordinal(term).unwrap() else {
            return 0;
        };
        let (chunks, documents) = segment.postings().document_frequencies(ordinal).unwrap();
        let (fewer_chunks, fewer_documents) = corrections.get(ordinal);
        u64::from(if level == Level::Chunks { chunks - fewer_chunks } else { documents - fewer_documents })
    };
    parts.iter().map(own).sum()
}

fn statistics(parts: &[(&LexicalSegment, &Corrections)], level: Level) -> Statistics {
    let own = |(segment, corrections): &(&LexicalSegment, &Corrections)| {
        segment.postings().statistics(level).minus(corrections.statistics(level))
    };
    parts.iter().map(own).fold(Statistics::default(), Statistics::plus)
}

fn words(max: usize) -> impl Strategy<Value = String> {
    // A few words are everywhere, many are rare.
    let word = prop_oneof![4 => 0u32..4, 3 => 4u32..20, 1 => 20u32..200].prop_map(|word| format!("w{word}"));
    prop::collection::vec(word, 0..=max).prop_map(|words| words.join(" "))
}

fn pages(max: usize) -> impl Strategy<Value = Vec<Page>> {
    let chunk = (words(2), prop::collection::vec((words(12), prop::bool::weighted(0.2)), 0..3));
    let page = (words(3), prop::collection::vec(words(2), 0..3), prop::collection::vec(chunk, 0..5))
        .prop_map(|(title, headings, chunks)| Page { title, headings, chunks });
    prop::collection::vec(page, 0..max)
}

fn parameters() -> impl Strategy<Value = Parameters> {
    let weight = || prop_oneof![1 => Just(0.0f32), 6 => 0.1f32..5.0];
    let b = || prop_oneof![1 => Just(0.0f32), 1 => Just(1.0), 4 => 0.0f32..1.0];
    let k1 = prop_oneof![1 => Just(0.0f32), 6 => 0.0f32..3.0];
    (k1, [b(), b(), b()], [weight(), weight(), weight()]).prop_map(|(k1, b, weights)| Parameters { k1, b, weights })
}

fn question() -> impl Strategy<Value = Vec<(String, f32)>> {
    let word = prop_oneof![0u32..4, 4u32..20, 20u32..220].prop_map(|word| format!("w{word}"));
    let weight = prop_oneof![3 => Just(1.0f32), 1 => 0.1f32..2.0, 1 => Just(0.0)];
    prop::collection::vec((word, weight), 0..9)
}

fn level() -> impl Strategy<Value = Level> {
    prop_oneof![Just(Level::Chunks), Just(Level::Documents)]
}

/// The best rows by scoring every row with the one function.
fn unpruned(
    segment: &Postings,
    terms: &[QueryTerm],
    scorer: &Scorer,
    allowed: Option<&Bitmap>,
    k: usize,
) -> Vec<(u32, f32)> {
    let rows: Vec<u32> = (0..segment.rows(scorer.level())).collect();
    let scores = score_rows(segment, terms, scorer, &rows).unwrap();
    let mut ranked: Vec<(u32, f32)> = rows.into_iter().zip(scores).collect();
    ranked.retain(|(row, score)| *score > 0.0 && allowed.is_none_or(|allowed| allowed.contains(*row)));
    ranked.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
    ranked.truncate(k);
    ranked
}

fn bits(ranked: &[(u32, f32)]) -> Vec<(u32, u32)> {
    ranked.iter().map(|(row, score)| (*row, score.to_bits())).collect()
}

fn bitmap(len: u32, rows: impl IntoIterator<Item = u32>) -> Bitmap {
    let mut bitmap = Bitmap::empty(len);
    rows.into_iter().for_each(|row| bitmap.insert(row));
    bitmap
}

/// The chunks of the given documents.
fn chunks_of(pages: &[Page], deleted: &Bitmap) -> Bitmap {
    let mut rows = Vec::new();
    let mut next = 0;
    for (page, document) in pages.iter().zip(0..) {
        let end = next + page.chunks.len() as u32;
        if deleted.contains(document) {
            rows.extend(next..end);
        }
        next = end;
    }
    bitmap(next, rows)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn equals_the_formula(
        pages in pages(40), question in question(), parameters in parameters(), level in level(),
        gone in prop::collection::vec(0u32..40, 0..6), kept in prop::option::of(prop::collection::vec(0u32..200, 0..150)), k in 0usize..60,
    ) {
        let opened = open(&pages);
        let postings = opened.segment.postings();
        let deleted_documents = bitmap(pages.len() as u32, gone);
        let deleted_chunks = chunks_of(&pages, &deleted_documents);
        let corrections = opened.segment.frequency_corrections(&deleted_chunks, &deleted_documents).unwrap();
        prop_assert_eq!(&Corrections::from_bytes(&corrections.to_bytes()).unwrap(), &corrections);
        let parts = [(&opened.segment, &corrections)];
        let statistics = statistics(&parts, level);
        let scorer = Scorer::new(parameters, level, statistics).unwrap();
        let terms = query(&opened.segment, level, &question, |term| df(&parts, level, term), &statistics);

        let bags = bags(&pages, level);
        let deleted = if level == Level::Chunks { &deleted_chunks } else { &deleted_documents };
        let expected = naive(&bags, deleted, &question, &parameters);
        for (row, bag) in bags.iter().enumerate() {
            prop_assert_eq!(postings.lengths(level, row as u32), Some(bag.lengths));
        }
        let mut allowed = Bitmap::full(postings.rows(level));
        allowed.subtract(deleted);
        if let Some(kept) = kept {
            allowed.intersect(&bitmap(postings.rows(level), kept));
        }
        let rows: Vec<u32> = allowed.iter().collect();
        let scores = score_rows(postings, &terms, &scorer, &rows).unwrap();
        for (&row, &score) in rows.iter().zip(&scores) {
            let expected = expected[row as usize];
            prop_assert!((f64::from(score) - expected).abs() <= 1e-5 * expected.max(1e-6), "row {}: {} for {}", row, score, expected);
            let explanation = scorer.explain(postings, &terms, row).unwrap();
            prop_assert_eq!(explanation.score.to_bits(), score.to_bits());
            prop_assert_eq!(explanation.terms.iter().fold(0.0, |sum, term| sum + term.score).to_bits(), score.to_bits());
        }
        let best = top_k(postings, &terms, &scorer, Some(&allowed), k).unwrap();
        prop_assert_eq!(bits(&best), bits(&unpruned(postings, &terms, &scorer, Some(&allowed), k)));
        let best = top_k(postings, &terms, &scorer, None, k).unwrap();
        prop_assert_eq!(bits(&best), bits(&unpruned(postings, &terms, &scorer, None, k)));
    }

    #[test]
    fn segments_with_deletions_score_as_one_fresh_build(
        pages in pages(40), question in question(), parameters in parameters(), level in level(),
        cut in 0usize..40, gone in prop::collection::vec(0u32..40, 0..8), k in 1usize..30,
    ) {
        let (first, second) = pages.split_at(cut.min(pages.len()));
        let survives = |(_, index): &(&Page, u32)| !gone.contains(index);
        let fresh: Vec<Page> = pages.iter().zip(0..).filter(survives).map(|(page, _)| page.clone()).collect();
        let fresh_opened = open(&fresh);
        let none = Corrections::default();
        let whole = [(&fresh_opened.segment, &none)];

        let opened = [open(first), open(second)];
        let deleted_documents = [
            bitmap(first.len() as u32, gone.iter().copied().filter(|&row| (row as usize) < first.len())),
            bitmap(second.len() as u32, gone.iter().filter_map(|&row| row.checked_sub(first.len() as u32))),
        ];
        let deleted_chunks = [chunks_of(first, &deleted_documents[0]), chunks_of(second, &deleted_documents[1])];
        let corrections: [Corrections; 2] = std::array::from_fn(|part| {
            opened[part].segment.frequency_corrections(&deleted_chunks[part], &deleted_documents[part]).unwrap()
        });
        let parts = [(&opened[0].segment, &corrections[0]), (&opened[1].segment, &corrections[1])];

        let all = statistics(&parts, level);
        prop_assert_eq!(all, statistics(&whole, level));
        let scorer = Scorer::new(parameters, level, all).unwrap();
        let ranked = |parts: &[(&LexicalSegment, &Corrections)], deleted: &[&Bitmap]| {
            let mut merged = Vec::new();
            let mut base = 0;
            for ((segment, _), deleted) in parts.iter().zip(deleted) {
                let terms = query(segment, level, &question, |term| df(parts, level, term), &all);
                let mut allowed = Bitmap::full(segment.postings().rows(level));
                allowed.subtract(deleted);
                // Rows renumbered as the fresh build has them.
                let place = |row: u32| base + allowed.iter().take_while(|&own| own < row).count() as u32;
                let best = top_k(segment.postings(), &terms, &scorer, Some(&allowed), k).unwrap();
                merged.extend(best.iter().map(|&(row, score)| (place(row), score)));
                base += allowed.count();
            }
            merged.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
            merged.truncate(k);
            bits(&merged)
        };
        let deleted = if level == Level::Chunks { &deleted_chunks } else { &deleted_documents };
        let nothing = Bitmap::empty(fresh_opened.segment.postings().rows(level));
        prop_assert_eq!(ranked(&parts, &[&deleted[0], &deleted[1]]), ranked(&whole, &[&nothing]));
    }
}

/// A corpus with lists of many blocks, hits outside the body, frequencies beyond every code, and several windows.
fn large(rows: usize) -> Vec<Page> {
    let mut state = 1u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut word = move || {
        let scale = 1 << random(10);
        format!("w{}", random(scale))
    };
    let mut text = move |words: usize| (0..words).map(|_| word()).collect::<Vec<_>>().join(" ");
    let chunk = |row: usize, text: &mut dyn FnMut(usize) -> String| {
        let mut body = text(5 + row % 23);
        if row % 997 == 5 {
            body.push_str(&" w3".repeat(300 + row % 50));
        }
        if row == 20_002 {
            // More than the word of packed lengths holds.
            body.push_str(&" w3 w17".repeat(40_000));
        }
        (text(usize::from(row.is_multiple_of(7))), vec![(body, false)])
    };
    let page = |page: usize| Page {
        title: if page.is_multiple_of(501) { "w1 ".repeat(20 + page / 8) } else { text(page % 3) },
        headings: Vec::new(),
        chunks: (page * 4..page * 4 + 4).map(|row| chunk(row, &mut text)).collect(),
    };
    (0..rows / 4).map(page).collect()
}

#[test]
fn what_is_remembered_is_bounded_and_what_is_asked_for_most() {
    let pages = large(4_000);
    let opened = open(&pages);
    let postings = opened.segment.postings();
    let none = Corrections::default();
    let parts = [(&opened.segment, &none)];
    let statistics = statistics(&parts, Level::Chunks);
    let scorer = Scorer::new(Parameters::default(), Level::Chunks, statistics).unwrap();
    let count = |word: &str| df(&parts, Level::Chunks, word) as usize;
    let room = 2 * scored::words_of(count("w0") as u32, postings.rows(Level::Chunks));
    let remembered = ScoredLists::with_room(room);
    let ask = |word: &str, scorer: &Scorer| {
        let question = [(word.to_owned(), 1.0)];
        let terms =
            query(&opened.segment, Level::Chunks, &question, |term| df(&parts, Level::Chunks, term), &statistics);
        let lists = TermLists::new(postings, &terms, scorer, Some(&remembered)).unwrap();
        let best = lists.top_k(None, 10).unwrap();
        assert_eq!(bits(&best), bits(&unpruned(postings, &terms, scorer, None, 10)), "{word}");
        assert!(remembered.remembered().1 <= room);
    };
    ask("w0", &scorer);
    assert_eq!(remembered.remembered(), (0, 0), "asked for once");
    (0..5).for_each(|_| ask("w0", &scorer));
    assert_eq!(remembered.remembered(), (1, count("w0")));
    // A list that takes the rest of the room, and then each of those that would take its place, asked for less and more.
    for times in 2..4 {
        for word in ["w1", "w2", "w3"] {
            (0..times).for_each(|_| ask(word, &scorer));
        }
    }
    let (lists, _) = remembered.remembered();
    assert!(lists >= 2);
    assert!(remembered.holds("w0", &opened.segment), "what is asked for most stays");
    // Another scorer's scores are others.
    let other = Scorer::new(Parameters { k1: 0.9, ..Parameters::default() }, Level::Chunks, statistics).unwrap();
    ask("w0", &other);
    assert_eq!(remembered.remembered(), (0, 0));
    ask("w0", &other);
    assert_eq!(remembered.remembered().0, 1);
}

#[test]
fn segments_share_what_an_index_remembers() {
    let opened = open(&large(4_000));
    let postings = opened.segment.postings();
    let parts = [(&opened.segment, &Corrections::default())];
    let statistics = statistics(&parts, Level::Chunks);
    let scorer = Scorer::new(Parameters::default(), Level::Chunks, statistics).unwrap();
    let remembered = ScoredLists::new(postings.rows(Level::Chunks));
    let question: Vec<(String, f32)> = (0..4).map(|word| (format!("w{word}"), 1.0)).collect();
    let terms = query(&opened.segment, Level::Chunks, &question, |term| df(&parts, Level::Chunks, term), &statistics);
    for _ in 0..3 {
        TermLists::new(postings, &terms, &scorer, Some(&remembered)).unwrap();
    }
    let before = remembered.remembered();
    assert_eq!(before.0, 4);
    remembered.share(u64::from(postings.rows(Level::Chunks)));
    assert_eq!(remembered.remembered(), before, "it has the room of an index of its own");
    remembered.share(5_000_000_000);
    let after = remembered.remembered();
    assert!(after.0 < before.0 && after.1 < before.1, "in a larger index its part is smaller");
    remembered.share(u64::MAX);
    assert_eq!(remembered.remembered(), (0, 0));
}

#[test]
fn pruning_never_changes_a_result() {
    let pages = large(40_000);
    let opened = open(&pages);
    let postings = opened.segment.postings();
    let none = Corrections::default();
    let parts = [(&opened.segment, &none)];
    let every_third = bitmap(postings.rows(Level::Chunks), (0..postings.rows(Level::Chunks)).step_by(3));
    let tunings = [
        Parameters::default(),
        Parameters { k1: 0.4, b: [0.0, 1.0, 0.3], weights: [5.0, 0.0, 1.0] },
        Parameters { k1: 0.0, ..Parameters::default() },
        Parameters { k1: 30.0, b: [1.0; 3], weights: [0.5, 3.0, 2.0] },
    ];
    let questions: [&[u32]; 6] =
        [&[0, 1, 2], &[3, 17, 200, 500], &[500, 501, 502, 40, 7], &[511, 300, 0], &[3], &[900, 5, 5]];
    for level in [Level::Chunks, Level::Documents] {
        let statistics = statistics(&parts, level);
        let remembered = ScoredLists::new(postings.rows(level));
        for (words, parameters) in questions.iter().flat_map(|words| tunings.iter().map(move |tuning| (words, tuning)))
        {
            let question: Vec<(String, f32)> = words.iter().map(|word| (format!("w{word}"), 1.0)).collect();
            let terms = query(&opened.segment, level, &question, |term| df(&parts, level, term), &statistics);
            let scorer = Scorer::new(*parameters, level, statistics).unwrap();
            let allowed = (level == Level::Chunks).then_some(&every_third);
            for k in [1, 2, 10, 100, 1_000, 5_000] {
                for allowed in [None, allowed] {
                    let best = top_k(postings, &terms, &scorer, allowed, k).unwrap();
                    let expected = bits(&unpruned(postings, &terms, &scorer, allowed, k));
                    assert_eq!(bits(&best), expected, "{words:?} {parameters:?} {k}");
                    let again = TermLists::new(postings, &terms, &scorer, Some(&remembered)).unwrap();
                    assert_eq!(bits(&again.top_k(allowed, k).unwrap()), expected, "{words:?} {parameters:?} {k}");
                    // A score that is known to be reached rules out nothing that reaches it.
                    let Some(&(_, least)) = best.get(best.len() / 2) else { continue };
                    let lists = TermLists::new(postings, &terms, &scorer, None).unwrap();
                    let survivors = lists.survivors(allowed, k, least).unwrap();
                    let reach = best.iter().filter(|(_, score)| *score >= least);
                    let found = |row: &u32| survivors.binary_search_by_key(row, |own| own.0).is_ok();
                    assert!(reach.clone().all(|(row, _)| found(row)), "{words:?} {k}");
                    // Sums of remembered scores are no smaller than those of the scores, and larger by the excess at most.
                    let exact = |row: &u32| survivors.binary_search_by_key(row, |own| own.0).map(|at| survivors[at].1);
                    for (row, sum) in again.survivors(allowed, k, 0.0).unwrap() {
                        let Ok(exact) = exact(&row) else { continue };
                        let close = exact * 1e-5;
                        assert!(sum >= exact - close && sum <= exact + again.excess() + close, "{sum} {exact}");
                    }
                }
            }
            assert!(remembered.remembered().0 > 0 || words.len() == 1, "{words:?}");
            let rows: Vec<u32> = (0..postings.rows(level)).step_by(5).collect();
            let shares = |remembered| {
                let mut shares = Vec::new();
                let lists = TermLists::new(postings, &terms, &scorer, remembered).unwrap();
                let keep = |index, share: search::Share| {
                    shares.push((index, share.term, share.score.to_bits(), share.in_title));
                };
                lists.for_each(&rows, keep).unwrap();
                shares
            };
            assert_eq!(shares(Some(&remembered)), shares(None), "{words:?} {parameters:?}");
        }
    }
    // The lists themselves, against bags of words.
    for level in [Level::Chunks, Level::Documents] {
        let bags = bags(&pages, level);
        for word in ["w0", "w1", "w3", "w200", "w511"] {
            let ordinal = opened.segment.ordinal(word).unwrap().unwrap();
            let mut found = Vec::new();
            let list = postings.lists(level).list(ordinal).unwrap();
            list.for_each(|posting| found.push((posting.row, posting.frequencies))).unwrap();
            let expected: Vec<_> =
                bags.iter().zip(0..).filter_map(|(bag, row)| Some((row, *bag.frequencies.get(word)?))).collect();
            assert_eq!(found, expected, "{word}");
            for (index, (_, frequencies)) in found.iter().enumerate().take(list.blocks() * BLOCK) {
                assert_eq!(list.frequencies_at(index / BLOCK, index % BLOCK).unwrap(), *frequencies, "{word} {index}");
            }
            for row in (0..postings.rows(level)).step_by(7) {
                let expected = (0..list.blocks()).find(|&block| list.skip(block).last() >= row);
                for from in [0, 1, 2, 5, list.blocks() / 2] {
                    let expected = expected.unwrap_or(list.blocks()).max(from.min(list.blocks()));
                    assert_eq!(list.find_block(from.min(list.blocks()), row), expected, "{word} {row} {from}");
                }
            }
        }
    }
}

#[test]
fn edges() {
    let page = |title: &str, bodies: &[&str]| Page {
        title: title.into(),
        headings: Vec::new(),
        chunks: bodies.iter().map(|body| (String::new(), vec![((*body).to_owned(), false)])).collect(),
    };
    let pages = [page("", &["", "common common"]), page("only title", &[]), page("", &["common rare"])];
    let opened = open(&pages);
    let none = Corrections::default();
    let parts = [(&opened.segment, &none)];
    let postings = opened.segment.postings();
    let statistics_ = statistics(&parts, Level::Chunks);
    let scorer = Scorer::new(Parameters::default(), Level::Chunks, statistics_).unwrap();
    let ask = |words: &[&str], allowed: Option<&Bitmap>, k| {
        let question: Vec<(String, f32)> = words.iter().map(|word| ((*word).to_owned(), 1.0)).collect();
        let terms =
            query(&opened.segment, Level::Chunks, &question, |term| df(&parts, Level::Chunks, term), &statistics_);
        top_k(postings, &terms, &scorer, allowed, k).unwrap().into_iter().map(|(row, _)| row).collect::<Vec<_>>()
    };
    assert_eq!(ask(&["common"], None, 100), [1, 2]);
    assert_eq!(ask(&["rare", "absent"], None, 100), [2]);
    assert_eq!(ask(&["common"], None, 0), [0; 0]);
    assert_eq!(ask(&[], None, 5), [0; 0]);
    assert_eq!(ask(&["common"], Some(&Bitmap::empty(3)), 5), [0; 0]);
    assert_eq!(ask(&["only"], None, 5), [0; 0]);
    // A page without chunks is still a document that its title finds.
    let documents = Scorer::new(Parameters::default(), Level::Documents, statistics(&parts, Level::Documents)).unwrap();
    let only = QueryTerm::new(opened.segment.ordinal("only").unwrap(), 1, 1.0, documents.statistics());
    assert_eq!(top_k(postings, &[only], &documents, None, 5).unwrap().first().map(|best| best.0), Some(1));
    assert!(Scorer::new(Parameters { k1: f32::NAN, ..Parameters::default() }, Level::Chunks, statistics_).is_err());
    let negative = QueryTerm { weight: -1.0, ..only };
    assert!(top_k(postings, &[negative], &documents, None, 5).is_err());
    let empty = open(&[]);
    assert!(top_k(empty.segment.postings(), &[], &scorer, None, 5).unwrap().is_empty());
}

/// tantivy rounds a length down to one of 256 values: exact to 40, then 8 steps an octave.
fn quantised(length: u32) -> u32 {
    if length < 40 {
        return length;
    }
    let exponent = (length - 24).ilog2() - 3;
    24 + ((length - 24) >> exponent << exponent)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_rows_of_a_window_that_reach_a_threshold_are_collected(
        sums in prop::collection::vec((0..WINDOW, 0u8..4), 0..600), threshold in 0u8..4,
    ) {
        let mut window = vec![0f32; WINDOW];
        for (row, sum) in sums {
            window[row] = f32::from(sum);
        }
        let threshold = f32::from(threshold);
        let expected: Vec<u32> =
            (0..).zip(&window).filter(|&(_, &sum)| sum > 0.0 && sum >= threshold).map(|(row, _)| row).collect();
        for collected in search::collected(&window, threshold) {
            prop_assert_eq!(&collected, &expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn tantivy_is_the_oracle(bodies in prop::collection::vec(words(120), 1..60), question in question()) {
        use tantivy::schema::{IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
        let mut schema = Schema::builder();
        let indexing = TextFieldIndexing::default().set_tokenizer("ours").set_index_option(IndexRecordOption::WithFreqs);
        let field = schema.add_text_field("body", TextOptions::default().set_indexing_options(indexing));
        let index = tantivy::Index::create_in_ram(schema.build());
        index.tokenizers().register("ours", AnalyzerTokenizer::new(Language::Unknown));
        let mut writer = index.writer_with_num_threads(1, 15_000_000).unwrap();
        for body in &bodies {
            writer.add_document(tantivy::doc!(field => body.as_str())).unwrap();
        }
        writer.commit().unwrap();
        let searcher = index.reader().unwrap().searcher();

        // Ours, with each length replaced by what tantivy makes of it; the average stays exact, as it is there.
        let page = Page { title: String::new(), headings: Vec::new(), chunks: bodies.iter().map(|body| (String::new(), vec![(body.clone(), false)])).collect() };
        let opened = open(&[page]);
        let postings = opened.segment.postings();
        let statistics = postings.statistics(Level::Chunks);
        let scorer = Scorer::new(Parameters { weights: [1.0; 3], ..Parameters::default() }, Level::Chunks, statistics).unwrap();
        for (word, _) in &question {
            let Some(ordinal) = opened.segment.ordinal(word).unwrap() else {
                continue;
            };
            let (df, _) = postings.document_frequencies(ordinal).unwrap();
            let term = QueryTerm::new(Some(ordinal), u64::from(df), 1.0, &statistics);
            let factor = scorer.factor(&term).unwrap();
            let query = tantivy::query::TermQuery::new(tantivy::Term::from_field_text(field, word), IndexRecordOption::WithFreqs);
            let theirs = searcher.search(&query, &tantivy::collector::TopDocs::with_limit(100).order_by_score()).unwrap();
            prop_assert_eq!(theirs.len(), df as usize);
            for (score, address) in theirs {
                let row = address.doc_id;
                let list = postings.lists(Level::Chunks).list(ordinal).unwrap();
                let tf = search::frequencies_of(&list, row).unwrap().unwrap_or_default();
                let dl = postings.lengths(Level::Chunks, row).unwrap().map(quantised);
                let ours = scorer.term_score(factor, tf, dl);
                prop_assert!((ours - score).abs() <= 1e-5 * score, "{} for {}", ours, score);
            }
        }
    }
}

#[test]
fn scores_do_not_depend_on_threads() {
    let opened = Arc::new(open(&large(4_000)));
    let ask = |opened: &Opened| {
        let postings = opened.segment.postings();
        let statistics = postings.statistics(Level::Chunks);
        let scorer = Scorer::new(Parameters::default(), Level::Chunks, statistics).unwrap();
        let terms: Vec<QueryTerm> = ["w1", "w20", "w300"]
            .map(|word| QueryTerm::new(opened.segment.ordinal(word).unwrap(), 40, 1.0, &statistics))
            .into();
        bits(&top_k(postings, &terms, &scorer, None, 50).unwrap())
    };
    let expected = ask(&opened);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..4).map(|_| scope.spawn(|| ask(&opened))).collect();
        assert!(handles.into_iter().all(|handle| handle.join().unwrap() == expected));
    });
}

/// Bounds of rare terms are far above the scores of all other rows: what rounding does to the sum of the bounds must not
/// drop those.
#[test]
fn rounding_of_large_bounds_drops_no_row() {
    let rare = |row: usize| (0..12).filter(move |word| row % 7001 == word * 531 && row < 7001 * (1 + word % 3));
    let chunk = |row: usize| {
        let mut words: Vec<String> = rare(row).map(|word| format!("rare{word}")).collect();
        words.push("common".to_owned());
        words.resize(4, format!("filler{}", row % 5));
        (String::new(), vec![(words.join(" "), false)])
    };
    let page = Page { title: String::new(), headings: Vec::new(), chunks: (0..20_000).map(chunk).collect() };
    let opened = open(&[page]);
    let postings = opened.segment.postings();
    let none = Corrections::default();
    let parts = [(&opened.segment, &none)];
    let statistics = statistics(&parts, Level::Chunks);
    for k1 in [0.0, 0.7, 1.2, 2.0, 9.0] {
        let scorer = Scorer::new(Parameters { k1, ..Parameters::default() }, Level::Chunks, statistics).unwrap();
        for weight in [1.0, 1.7, 1e3] {
            let mut question: Vec<(String, f32)> = (0..12).map(|word| (format!("rare{word}"), weight)).collect();
            question.push(("common".to_owned(), 1.0));
            let terms =
                query(&opened.segment, Level::Chunks, &question, |term| df(&parts, Level::Chunks, term), &statistics);
            let best = top_k(postings, &terms, &scorer, None, 100).unwrap();
            assert_eq!(bits(&best), bits(&unpruned(postings, &terms, &scorer, None, 100)), "k1 {k1} weight {weight}");
        }
    }
}

#[test]
fn a_thread_keeps_little_after_an_unusual_question() {
    let chunk = |_| (String::new(), vec![("w0 w1 w2".to_owned(), false)]);
    let page = Page { title: String::new(), headings: Vec::new(), chunks: (0..20_000).map(chunk).collect() };
    let opened = open(&[page]);
    let postings = opened.segment.postings();
    let statistics = postings.statistics(Level::Chunks);
    let scorer = Scorer::new(Parameters::default(), Level::Chunks, statistics).unwrap();
    let question: Vec<(String, f32)> = (0..200).map(|number| (format!("w{}", number % 3), 1.0)).collect();
    let terms = query(&opened.segment, Level::Chunks, &question, |_| 20_000, &statistics);
    for _ in 0..2 {
        let best = top_k(postings, &terms, &scorer, None, 10).unwrap();
        assert_eq!(bits(&best), bits(&unpruned(postings, &terms, &scorer, None, 10)));
        let kept = search::kept_by_this_thread();
        assert!(kept.0 <= search::KEPT.0 && kept.1 <= search::KEPT.1, "{kept:?}");
    }
}
