//! Top-100 of the corpus: ours, pruned and not, against the blocks that tantivy keeps. `CHUNKS=100000` in the environment is the
//! size that decisions were taken at.

#![allow(missing_docs, clippy::unwrap_used)]

mod seeded;

use std::hint::black_box;

use clockify_rag::analysis::{Language, question_terms};
use clockify_rag::bitmap::Bitmap;
use clockify_rag::bm25::{Parameters, QueryTerm, Scorer, top_k};
use clockify_rag::lexical::{self, ChunkText, DocumentText, Level, LexicalSegment, Piece};
use clockify_rag::storage::{Segment, SegmentWriter};
use criterion::{Criterion, criterion_group, criterion_main};
use tantivy::collector::TopDocs;
use tantivy::directory::MmapDirectory;
use tantivy::query::{BooleanQuery, Occur, TermQuery};
use tantivy::schema::IndexRecordOption;
use tantivy::{Index, ReloadPolicy, Term};

const QUESTIONS: usize = 200;

fn documents(pages: &[seeded::Page]) -> Vec<DocumentText<'_>> {
    let mut documents = Vec::with_capacity(pages.len());
    for (number, page) in pages.iter().enumerate() {
        let chunks = page.sections.iter().map(|(headings, body)| ChunkText {
            headings,
            body: vec![Piece { text: body, repeated: false }],
            filters: Vec::new(),
        });
        documents.push(DocumentText {
            title: &page.title,
            filters: vec![format!("source=s{}", number % 3)],
            chunks: chunks.collect(),
            ..DocumentText::default()
        });
    }
    documents
}

/// The terms of each question.
fn questions() -> Vec<Vec<String>> {
    seeded::questions(QUESTIONS).iter().map(|question| question_terms(question, Language::Unknown)).collect()
}

fn query(segment: &LexicalSegment, scorer: &Scorer, words: &[String]) -> Vec<QueryTerm> {
    let term = |word: &String| {
        let ordinal = segment.ordinal(word).unwrap();
        let df = ordinal.map_or(0, |ordinal| {
            let (chunks, documents) = segment.postings().document_frequencies(ordinal).unwrap();
            u64::from(if scorer.level() == Level::Chunks { chunks } else { documents })
        });
        QueryTerm::new(ordinal, df, 1.0, scorer.statistics())
    };
    words.iter().map(term).collect()
}

fn benchmark(criterion: &mut Criterion<seeded::ThreadTime>) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("segment");
    let pages = seeded::pages(seeded::chunks());
    let documents = documents(&pages);
    let started = std::time::Instant::now();
    let mut writer = SegmentWriter::create(&folder).unwrap();
    let statistics = lexical::write(&mut writer, &documents).unwrap();
    let files = writer.finish().unwrap();
    eprintln!("written in {:?}: {statistics:?}", started.elapsed());
    for file in &files {
        eprintln!("{:>12} {}", file.length, file.name);
    }
    let opened = Segment::open(&folder, &files).unwrap();
    let started = std::time::Instant::now();
    let segment = LexicalSegment::open(&opened).unwrap();
    eprintln!("opened in {:?}", started.elapsed());

    let questions = questions();
    for (name, level) in [("chunks", Level::Chunks), ("documents", Level::Documents)] {
        let scorer = Scorer::new(Parameters::default(), level, segment.postings().statistics(level)).unwrap();
        let queries: Vec<Vec<QueryTerm>> = questions.iter().map(|words| query(&segment, &scorer, words)).collect();
        let postings: u64 = queries.iter().flatten().map(|term| term.df).sum();
        eprintln!("{name}: {} postings a question", postings / QUESTIONS as u64);
        criterion.bench_function(&format!("top 100 of {name}, {QUESTIONS} questions"), |bencher| {
            bencher.iter(|| {
                for query in &queries {
                    black_box(top_k(segment.postings(), query, &scorer, None, 100).unwrap());
                }
            });
        });
        let third = segment.filter("source=s1").unwrap();
        if level == Level::Chunks {
            criterion.bench_function(&format!("top 100 of {name}, filtered to a third"), |bencher| {
                bencher.iter(|| {
                    for query in &queries {
                        black_box(top_k(segment.postings(), query, &scorer, Some(&third), 100).unwrap());
                    }
                });
            });
        }
    }
    let deleted = |rows: std::ops::Range<u32>, of: u32| {
        let mut bitmap = Bitmap::empty(of);
        rows.for_each(|row| bitmap.insert(row));
        bitmap
    };
    let (rows, pages) = (deleted(300..310, segment.chunks()), deleted(30..31, segment.documents()));
    criterion.bench_function("corrections for one deleted document", |bencher| {
        bencher.iter(|| black_box(segment.frequency_corrections(&rows, &pages).unwrap()));
    });
    criterion.bench_function("open", |bencher| bencher.iter(|| black_box(LexicalSegment::open(&opened).unwrap())));

    let index = Index::open(MmapDirectory::open(folder.join("lexical")).unwrap()).unwrap();
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().unwrap();
    tantivy_blocks(criterion, &reader, &segment, &questions);
}

/// tantivy's own search, and exhaustive scoring over its blocks with our lengths.
fn tantivy_blocks(
    criterion: &mut Criterion<seeded::ThreadTime>,
    reader: &tantivy::IndexReader,
    segment: &LexicalSegment,
    questions: &[Vec<String>],
) {
    let searcher = reader.searcher();
    let field = searcher.schema().get_field("terms").unwrap();
    let term = |word: &String| Term::from_field_text(field, word);
    let queries: Vec<BooleanQuery> = questions
        .iter()
        .map(|words| {
            let clause = |word| {
                let query = TermQuery::new(term(word), IndexRecordOption::WithFreqs);
                (Occur::Should, Box::new(query) as Box<dyn tantivy::query::Query>)
            };
            BooleanQuery::new(words.iter().map(clause).collect())
        })
        .collect();
    criterion.bench_function("tantivy's own top 100", |bencher| {
        bencher.iter(|| {
            for query in &queries {
                black_box(searcher.search(query, &TopDocs::with_limit(100).order_by_score()).unwrap());
            }
        });
    });
    let inverted = searcher.segment_reader(0).inverted_index(field).unwrap();
    let rows = segment.chunks();
    let lengths: Vec<f32> = (0..rows)
        .map(|row| segment.postings().lengths(Level::Chunks, row).unwrap().iter().sum::<u32>() as f32)
        .collect();
    let average = lengths.iter().sum::<f32>() / rows as f32;
    let mut sums = vec![0.0f32; rows as usize];
    criterion.bench_function("all of tantivy's blocks, exact lengths", |bencher| {
        bencher.iter(|| {
            for words in questions {
                sums.fill(0.0);
                for word in words {
                    let Some(mut blocks) =
                        inverted.read_block_postings(&term(word), IndexRecordOption::WithFreqs).unwrap()
                    else {
                        continue;
                    };
                    let idf = clockify_rag::bm25::idf(u64::from(blocks.doc_freq()), u64::from(rows));
                    while !blocks.docs().is_empty() {
                        for (&row, &tf) in blocks.docs().iter().zip(blocks.freqs()) {
                            let tf = tf as f32;
                            let k = 1.2 * (0.25 + 0.75 * lengths[row as usize] / average);
                            sums[row as usize] += idf * 2.2 * tf / (tf + k);
                        }
                        blocks.advance();
                    }
                }
                let mut best: Vec<(f32, u32)> = sums.iter().zip(0..).map(|(&sum, row)| (sum, row)).collect();
                best.select_nth_unstable_by(99, |left, right| right.0.total_cmp(&left.0));
                black_box(&best[..100]);
            }
        });
    });
}

criterion_group! { name = benches; config = seeded::short(); targets = benchmark }
criterion_main!(benches);
