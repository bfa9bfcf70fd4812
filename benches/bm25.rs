//! Top-100 of 100,000 chunks of about 150 words: ours, pruned and not, against the blocks that tantivy keeps.
//!
//! The corpus is drawn from a Zipf law with a fixed seed; questions have 5 to 12 words drawn from the middle of it, where
//! the words of real questions lie once stop words are gone. `CHUNKS` in the environment changes the size.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;

use clockify_rag::bitmap::Bitmap;
use clockify_rag::bm25::{Parameters, QueryTerm, Scorer, top_k};
use clockify_rag::lexical::{self, ChunkText, DocumentText, Level, LexicalSegment, Piece};
use clockify_rag::storage::{Segment, SegmentWriter};
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, criterion_group, criterion_main};
use tantivy::collector::TopDocs;
use tantivy::directory::MmapDirectory;
use tantivy::query::{BooleanQuery, Occur, TermQuery};
use tantivy::schema::IndexRecordOption;
use tantivy::{Index, ReloadPolicy, Term};

const WORDS: usize = 150;
const VOCABULARY: usize = 200_000;
const CHUNKS_PER_DOCUMENT: usize = 10;
const QUESTIONS: usize = 200;

/// SplitMix64: the same corpus on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Words by a Zipf-Mandelbrot law: rank r with weight 1 / (r + 2.7).
struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    fn new() -> Self {
        let mut sum = 0.0;
        let cumulative = (0..VOCABULARY).map(|rank| {
            sum += 1.0 / (rank as f64 + 3.7);
            sum
        });
        Self { cumulative: cumulative.collect() }
    }

    fn draw(&self, random: &mut Random) -> usize {
        let at = random.unit() * self.cumulative[VOCABULARY - 1];
        self.cumulative.partition_point(|&sum| sum < at)
    }
}

fn word(rank: usize) -> String {
    format!("w{rank}")
}

struct Corpus {
    titles: Vec<String>,
    headings: Vec<String>,
    bodies: Vec<String>,
}

fn corpus(chunks: usize) -> Corpus {
    let zipf = Zipf::new();
    let mut random = Random(7);
    let mut text = |words: usize, skip: usize| {
        let mut text = String::new();
        for _ in 0..words {
            // Each passage dwells on some words of its own, as real ones do.
            let rank = zipf.draw(&mut random);
            let rank = if rank < skip { rank + skip } else { rank };
            text.push_str(&word(rank.min(VOCABULARY - 1)));
            text.push(' ');
        }
        text
    };
    let titles = (0..chunks.div_ceil(CHUNKS_PER_DOCUMENT)).map(|_| text(4, 60)).collect();
    let headings = (0..chunks).map(|_| text(5, 60)).collect();
    let mut lengths = Random(11);
    let bodies = (0..chunks).map(|_| {
        let words = WORDS / 3 + (lengths.next() as usize % (WORDS * 4 / 3));
        let own = text(4, 60);
        let mut body = text(words, 0);
        for _ in 0..lengths.next() % 4 {
            body.push_str(&own);
        }
        body
    });
    Corpus { titles, headings, bodies: bodies.collect() }
}

fn documents(corpus: &Corpus) -> Vec<DocumentText<'_>> {
    let mut documents: Vec<DocumentText<'_>> = Vec::new();
    for (row, (body, headings)) in corpus.bodies.iter().zip(&corpus.headings).enumerate() {
        let index = row / CHUNKS_PER_DOCUMENT;
        if row % CHUNKS_PER_DOCUMENT == 0 {
            let filters = vec![format!("source=s{}", index % 3)];
            documents.push(DocumentText { title: &corpus.titles[index], filters, ..DocumentText::default() });
        }
        let body = vec![Piece { text: body, repeated: false }];
        documents[index].chunks.push(ChunkText { headings, body, filters: Vec::new() });
    }
    documents
}

/// Questions of 5 to 12 words: most by the law beyond its first sixty ranks, which stop words take.
fn questions() -> Vec<Vec<String>> {
    let zipf = Zipf::new();
    let mut random = Random(23);
    let question = |_| {
        let mut words: Vec<String> = Vec::new();
        let length = 5 + random.next() as usize % 8;
        while words.len() < length {
            let rank = zipf.draw(&mut random);
            if (60..20_000).contains(&rank) && !words.contains(&word(rank)) {
                words.push(word(rank));
            }
        }
        words
    };
    (0..QUESTIONS).map(question).collect()
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

fn benchmark(criterion: &mut Criterion<ThreadTime>) {
    let chunks: usize = std::env::var("CHUNKS").ok().map_or(100_000, |value| value.parse().unwrap());
    let folder = std::env::temp_dir().join(format!("bm25-bench-{chunks}-{}", std::process::id()));
    let corpus = corpus(chunks);
    let documents = documents(&corpus);
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
    let (rows, pages) = (deleted(500..510, segment.chunks()), deleted(50..51, segment.documents()));
    criterion.bench_function("corrections for one deleted document", |bencher| {
        bencher.iter(|| black_box(segment.frequency_corrections(&rows, &pages).unwrap()));
    });
    criterion.bench_function("open", |bencher| bencher.iter(|| black_box(LexicalSegment::open(&opened).unwrap())));

    let index = Index::open(MmapDirectory::open(folder.join("lexical")).unwrap()).unwrap();
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().unwrap();
    tantivy_blocks(criterion, &reader, &segment, &questions);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// tantivy's own search, and exhaustive scoring over its blocks with our lengths.
fn tantivy_blocks(criterion: &mut Criterion<ThreadTime>, reader: &tantivy::IndexReader, segment: &LexicalSegment, questions: &[Vec<String>]) {
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
        .map(|row| segment.postings().lengths(Level::Chunks, row).unwrap().unwrap().iter().sum::<u32>() as f32)
        .collect();
    let average = lengths.iter().sum::<f32>() / rows as f32;
    let mut sums = vec![0.0f32; rows as usize];
    criterion.bench_function("all of tantivy's blocks, exact lengths", |bencher| {
        bencher.iter(|| {
            for words in questions {
                sums.fill(0.0);
                for word in words {
                    let Some(mut blocks) = inverted.read_block_postings(&term(word), IndexRecordOption::WithFreqs).unwrap() else {
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

/// Time on the processor rather than on the wall, so that a busy machine disturbs little.
struct ThreadTime;

fn thread_nanoseconds() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

impl Measurement for ThreadTime {
    type Intermediate = u64;
    type Value = std::time::Duration;

    fn start(&self) -> u64 {
        thread_nanoseconds()
    }

    fn end(&self, start: u64) -> Self::Value {
        std::time::Duration::from_nanos(thread_nanoseconds() - start)
    }

    fn add(&self, left: &Self::Value, right: &Self::Value) -> Self::Value {
        *left + *right
    }

    fn zero(&self) -> Self::Value {
        std::time::Duration::ZERO
    }

    fn to_f64(&self, value: &Self::Value) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ThreadTime).sample_size(10).warm_up_time(std::time::Duration::from_millis(500)).measurement_time(std::time::Duration::from_secs(2));
    targets = benchmark
}
criterion_main!(benches);
