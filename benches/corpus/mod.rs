//! The one corpus of all benches, made from a seed: the same pages, questions and vectors on every machine.
//!
//! Pages have a title and ten sections with a heading and 50 to 250 words each, drawn from a Zipf law: its first words are English
//! stop words, the others are made of syllables and English endings, so that analysis and tokens have what they have to do
//! on real text. A section dwells on some words of its own, as real ones do. `CHUNKS` in the environment is the number of
//! sections, 20,000 if it is not set, and few when benches run as tests.
//!
//! Benches measure the time of the thread on the processor rather than on the wall, so that a busy machine disturbs little, and
//! briefly, so that all of them can be run before and after a change.

#![allow(dead_code, missing_docs, clippy::expect_used, clippy::format_collect)]

use std::time::{Duration, Instant};

use clockify_rag::analysis::Language;
use clockify_rag::dense::Simd;
use clockify_rag::publication::{self, Change};
use clockify_rag::segment::{self, ChunkInput, ChunkVectors, DocumentInput};
use clockify_rag::snapshot::Snapshot;
use clockify_rag::storage::{EmbedderEntry, Publisher};
use criterion::Criterion;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};

pub const SECTIONS: usize = 10;
const VOCABULARY: usize = 200_000;

/// Whether the benches run as tests: each once, on little.
pub fn is_test() -> bool {
    let mut arguments = std::env::args();
    !arguments.any(|argument| argument == "--bench") || std::env::args().any(|argument| argument == "--test")
}

/// How many sections, which are chunks, the corpus has.
pub fn chunks() -> usize {
    let asked = std::env::var("CHUNKS").ok().map(|value| value.parse().expect("CHUNKS is a number"));
    asked.unwrap_or(if is_test() { 500 } else { 20_000 })
}

/// `SplitMix64` (Steele, Lea & Flood 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From -1 to 1.
    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Words by a Zipf-Mandelbrot law: rank r with weight 1 / (r + 2.7).
struct Zipf(Vec<f64>);

impl Zipf {
    fn new() -> Self {
        let mut sum = 0.0;
        let weights = (0..VOCABULARY).map(|rank| {
            sum += 1.0 / (rank as f64 + 3.7);
            sum
        });
        Self(weights.collect())
    }

    fn draw(&self, random: &mut Random) -> usize {
        let at = random.unit() * self.0.last().copied().unwrap_or(0.0);
        self.0.partition_point(|&sum| sum < at).min(VOCABULARY - 1)
    }
}

const COMMON: [&str; 32] = [
    "the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on", "not", "he",
    "this", "are", "or", "his", "from", "at", "which", "but", "have", "an", "had", "they", "you", "were",
];
const SYLLABLES: [&str; 40] = [
    "ta", "re", "con", "mi", "pro", "le", "sta", "ver", "no", "per", "tro", "lu", "man", "de", "fi", "so", "ka", "bri",
    "to", "gen", "pa", "li", "sen", "do", "vi", "ra", "mu", "tel", "cor", "ne", "fa", "din", "po", "ser", "ga", "ti",
    "bel", "mo", "su", "hal",
];
const ENDINGS: [&str; 8] = ["", "", "s", "ing", "ed", "er", "ment", "able"];

/// The word of a rank.
fn word(rank: usize) -> String {
    let Some(mut rest) = rank.checked_sub(COMMON.len()) else { return COMMON[rank].to_owned() };
    let ending = ENDINGS[rest % ENDINGS.len()];
    rest /= ENDINGS.len();
    let mut word = String::new();
    loop {
        word.push_str(SYLLABLES[rest % SYLLABLES.len()]);
        rest /= SYLLABLES.len();
        if rest == 0 {
            return word + ending;
        }
    }
}

#[derive(Clone, Debug)]
pub struct Page {
    pub title: String,
    /// Headings and texts.
    pub sections: Vec<(String, String)>,
}

impl Page {
    /// The page in Markdown.
    pub fn markdown(&self) -> String {
        let sections = self.sections.iter().map(|(heading, body)| {
            format!("## {heading}\n\n{body}\n\n- Open **{heading}**\n- See [more](more.md)\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n")
        });
        format!("# {}\n\n", self.title) + &sections.collect::<String>()
    }

    /// The page in HTML.
    pub fn html(&self) -> String {
        let sections = self.sections.iter().enumerate().map(|(number, (heading, body))| {
            format!(
                "<section id=\"s{number}\"><h2>{heading} <a class=\"headerlink\" href=\"#s{number}\">#</a></h2><p>{body}</p>\
                 <ul><li>Open <b>{heading}</b></li><li>See <a href=\"more.html\">more</a></li></ul>\
                 <table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table></section>"
            )
        });
        format!("<main><h1>{}</h1>", self.title) + &sections.collect::<String>() + "</main>"
    }
}

/// The pages that have `chunks` sections together.
pub fn pages(chunks: usize) -> Vec<Page> {
    let (zipf, mut random) = (Zipf::new(), Random::new(7));
    let mut text = |words: usize, common: bool| {
        let mut text = String::new();
        for number in 0..words {
            let rank = zipf.draw(&mut random);
            let rank = if rank < 60 && !common { rank + 60 } else { rank };
            text.push_str(if number == 0 { "" } else { " " });
            text.push_str(&word(rank));
            text.push_str(if common && rank % 17 == 3 { "," } else { "" });
        }
        text
    };
    let mut lengths = Random::new(11);
    let mut section = |text: &mut dyn FnMut(usize, bool) -> String| {
        let words = 50 + lengths.next() as usize % 200;
        let own = text(4, false);
        let repeated = format!(" {own}").repeat(lengths.next() as usize % 4);
        (text(4, false), text(words, true) + &repeated + ".")
    };
    let page = |_| Page { title: text(4, false), sections: (0..SECTIONS).map(|_| section(&mut text)).collect() };
    (0..chunks.div_ceil(SECTIONS)).map(page).collect()
}

/// The texts of all sections.
pub fn text(pages: &[Page]) -> String {
    let sections = pages.iter().flat_map(|page| &page.sections);
    sections.map(|(heading, body)| format!("{heading}\n{body}\n")).collect()
}

/// Questions of 5 to 12 words: by the law beyond its first sixty ranks, which stop words take.
pub fn questions(count: usize) -> Vec<String> {
    let (zipf, mut random) = (Zipf::new(), Random::new(23));
    let question = |_| {
        let mut words: Vec<String> = Vec::new();
        let length = 5 + random.next() as usize % 8;
        while words.len() < length {
            let rank = zipf.draw(&mut random);
            if (60..20_000).contains(&rank) && !words.contains(&word(rank)) {
                words.push(word(rank));
            }
        }
        words.join(" ")
    };
    (0..count).map(question).collect()
}

/// Vectors of `rows` chunks, around a centre for each few pages, and of 100 questions about them.
pub fn vectors(rows: usize, dimension: usize) -> (Vec<f32>, Vec<Vec<f32>>) {
    let mut random = Random::new(1);
    let centres = (rows / 50).max(1);
    let all: Vec<f32> = (0..centres * dimension).map(|_| random.float()).collect();
    let mut point = |number: usize| -> Vec<f32> {
        let centre = &all[number * 7919 % centres * dimension..][..dimension];
        centre.iter().map(|value| value + 1.2 * random.float()).collect()
    };
    ((0..rows).flat_map(&mut point).collect(), (0..100).map(&mut point).collect())
}

/// An index of the corpus with vectors of `dimension`, and the vectors of questions. It is gone with the folder.
pub fn index(dimension: usize) -> (tempfile::TempDir, Snapshot, Vec<Vec<f32>>) {
    let pages = pages(chunks());
    let (rows, questions) = vectors(pages.len() * SECTIONS, dimension);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut publisher = Publisher::open(folder.path()).expect("the folder is new");
    let documents = pages.iter().enumerate().map(|(number, page)| document(number, page)).collect();
    let entry = segment::write(&mut publisher, documents, Some(ChunkVectors { dimension, values: &rows }));
    let embedder = EmbedderEntry { name: "made".into(), fingerprint: "1".into(), dimension: dimension as u32 };
    let change = Change {
        added: vec![entry.expect("the pages are sound")],
        deleted: Vec::new(),
        dropped: Vec::new(),
        chunker: "sections".into(),
        embedder: Some(embedder),
        state: Vec::new(),
    };
    publication::publish(&mut publisher, change).expect("the folder can be written");
    let snapshot = Snapshot::open(folder.path(), None).expect("the index is sound");
    (folder, snapshot, questions)
}

fn document(number: usize, page: &Page) -> DocumentInput {
    let id = |part: usize| ((number as u128 + 1) << 32 | part as u128).to_be_bytes();
    let mut start = 0;
    let chunk = |(ordinal, (heading, body)): (usize, &(String, String))| {
        let end = start + body.len() as u32;
        let spans = vec![(start, end)];
        start = end + 1;
        ChunkInput {
            id: id(ordinal + 1),
            record: Vec::new(),
            headings: heading.clone(),
            spans,
            repeated: Vec::new(),
            filters: vec!["kind=text".to_owned()],
            tokens: body.split(' ').count() as u32,
        }
    };
    DocumentInput {
        id: id(0),
        record: Vec::new(),
        text: page.sections.iter().map(|(_, body)| body.as_str()).collect::<Vec<_>>().join("\n"),
        title: page.title.clone(),
        language: Language::English,
        headings: page.sections.iter().map(|(heading, _)| heading.clone()).collect(),
        filters: vec![format!("source=s{}", number % 3)],
        chunks: page.sections.iter().enumerate().map(chunk).collect(),
    }
}

/// Runs `bench` with each SIMD level of this processor forced, and its name.
pub fn at_each_level(mut bench: impl FnMut(&str)) {
    for level in Simd::available() {
        Simd::force(Some(level)).expect("it is available");
        bench(level.name());
    }
    Simd::force(None).expect("this is always possible");
}

/// Short measurements of processor time.
pub fn short() -> Criterion<ThreadTime> {
    let criterion = Criterion::default().with_measurement(ThreadTime).sample_size(10);
    criterion.warm_up_time(Duration::from_millis(150)).measurement_time(Duration::from_millis(600))
}

/// Time of this thread on the processor; on systems that do not tell it, time on the wall.
pub struct ThreadTime;

/// A moment of a thread.
pub struct Moment {
    wall: Instant,
    processor: Option<Duration>,
}

fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?))
}

impl Measurement for ThreadTime {
    type Intermediate = Moment;
    type Value = Duration;

    fn start(&self) -> Moment {
        Moment { wall: Instant::now(), processor: processor_time() }
    }

    fn end(&self, start: Moment) -> Duration {
        let used = processor_time().zip(start.processor).map(|(end, start)| end.saturating_sub(start));
        used.unwrap_or_else(|| start.wall.elapsed())
    }

    fn add(&self, left: &Duration, right: &Duration) -> Duration {
        *left + *right
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}
