use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::bm25::{Parameters, QueryTerm, Scorer, score_rows, top_k};
use crate::storage::{BlockFile, FileEntry, SegmentWriter};

fn chunk<'a>(headings: &'a str, body: &'a str) -> ChunkText<'a> {
    ChunkText { headings, body: vec![Piece { text: body, repeated: false }], filters: Vec::new() }
}

fn build(directory: &Path, documents: &[DocumentText<'_>]) -> Vec<FileEntry> {
    let mut writer = SegmentWriter::create(directory).unwrap();
    write(&mut writer, documents).unwrap();
    writer.finish().unwrap()
}

fn open(directory: &Path, files: &[FileEntry]) -> Result<LexicalSegment> {
    LexicalSegment::open(&Segment::open(directory, files).unwrap())
}

/// Chunks enough for a list of two blocks and a tail, with hits in every field.
fn small_corpus(bodies: &[String]) -> Vec<DocumentText<'_>> {
    let documents = bodies.chunks(3).enumerate().map(|(index, bodies)| DocumentText {
        title: if index.is_multiple_of(5) { "often title" } else { "" },
        filters: vec![format!("source=s{}", index % 2), "language=en".into()],
        chunks: bodies
            .iter()
            .map(|body| ChunkText {
                filters: vec!["kind=text".into()],
                ..chunk(if body.len() > 40 { "often under" } else { "" }, body)
            })
            .collect(),
        ..DocumentText::default()
    });
    documents.collect()
}

fn bodies(count: usize) -> Vec<String> {
    (0..count).map(|row| format!("{}rare{row} {}", "often ".repeat(1 + row % 4), "other ".repeat(row % 9))).collect()
}

#[test]
fn filters_belong_to_documents_and_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("s");
    let document = |source: &str, kinds: &[&str]| DocumentText {
        filters: vec![format!("source={source}"), "language=en".into()],
        chunks: kinds
            .iter()
            .map(|kind| ChunkText { filters: vec![format!("kind={kind}")], ..chunk("", "text") })
            .collect(),
        ..DocumentText::default()
    };
    let files = build(&directory, &[document("a", &["text", "table"]), document("b", &["table"])]);
    let segment = open(&directory, &files).unwrap();
    let rows = |value: &str| segment.filter(value).unwrap().iter().collect::<Vec<_>>();
    assert_eq!(rows("source=a"), [0, 1]);
    assert_eq!(rows("kind=table"), [1, 2]);
    assert_eq!(rows("language=en"), [0, 1, 2]);
    assert_eq!(rows("language=de"), [0; 0]);
}

#[test]
fn overlap_and_headings_count_once_for_the_document() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("s");
    let piece = |text, repeated| Piece { text, repeated };
    let chunks = vec![
        ChunkText { headings: "Part", body: vec![piece("alpha beta", false)], filters: Vec::new() },
        ChunkText { headings: "Part", body: vec![piece("beta", true), piece("gamma", false)], filters: Vec::new() },
    ];
    let headings = vec!["Part", "Empty section"];
    let files = build(&directory, &[DocumentText { title: "Title", headings, chunks, ..DocumentText::default() }]);
    let segment = open(&directory, &files).unwrap();
    let frequencies = |term: &str| {
        let ordinal = segment.ordinal(term).unwrap().unwrap();
        segment.postings().document_frequencies(ordinal).unwrap()
    };
    assert_eq!(frequencies("beta"), (2, 1));
    assert_eq!(frequencies("title"), (2, 1));
    assert_eq!(frequencies("empty"), (0, 1));
    assert_eq!(segment.ordinal("absent").unwrap(), None);
    assert_eq!(segment.postings().lengths(Level::Chunks, 1), Some([1, 1, 2]));
    assert_eq!(segment.postings().lengths(Level::Documents, 0), Some([1, 3, 3]));
    assert_eq!(segment.postings().lengths(Level::Documents, 1), None);
    assert_eq!(segment.chunks(), 2);
}

#[test]
fn our_files_are_equal_between_builds() {
    let folder = tempfile::tempdir().unwrap();
    let bodies = bodies(700);
    let documents = small_corpus(&bodies);
    let builds = ["a", "b"].map(|name| {
        let files = build(&folder.path().join(name), &documents);
        // tantivy names its files by a random number: their suffixes tell them apart.
        let key = |name: &str| name.rsplit_once('.').map_or(name, |(_, suffix)| suffix).to_owned();
        files.iter().map(|file| (key(&file.name), file.hash.clone())).collect::<BTreeMap<_, _>>()
    });
    let differing = |name: &&String| builds[0].get(*name) != builds[1].get(*name);
    let names: Vec<&str> = builds[0].keys().filter(differing).map(String::as_str).collect();
    // The list of tantivy's files and its metadata hold that number, and the block table the hashes of both.
    assert_eq!(names, ["blocks", "json"]);
}

#[test]
fn no_damage_to_posting_lists_panics() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("s");
    let bodies = bodies(300);
    let files = build(&directory, &small_corpus(&bodies));
    let segment = open(&directory, &files).unwrap();
    let ordinals: Vec<u32> =
        ["often", "other", "title", "rare7", "under"].map(|term| segment.ordinal(term).unwrap().unwrap()).into();
    let bytes = std::fs::read(directory.join(POSTINGS_FILE)).unwrap();
    let deleted = |rows: u32| {
        let mut bitmap = Bitmap::empty(rows);
        (0..rows).step_by(37).for_each(|row| bitmap.insert(row));
        bitmap
    };
    let read = |bytes: Vec<u8>| -> Result<()> {
        let postings = Postings::open(&Arc::new(BlockFile::from_bytes(bytes)))?;
        for level in [Level::Chunks, Level::Documents] {
            let statistics = postings.statistics(level);
            let scorer = Scorer::new(Parameters::default(), level, statistics)?;
            let mut terms = Vec::new();
            for &ordinal in &ordinals {
                let df = postings.document_frequencies(ordinal).unwrap_or_default();
                terms.push(QueryTerm::new(Some(ordinal), u64::from(df.0), 1.0, &statistics));
            }
            let rows = postings.rows(level);
            let _ = top_k(&postings, &terms, &scorer, None, 10);
            let _ = score_rows(&postings, &terms, &scorer, &[0, rows / 2, rows.saturating_sub(1)]);
            let lists = postings.lists(level);
            for &ordinal in &ordinals {
                let _ = lists.list(ordinal).and_then(|list| list.for_each(|posting| assert!(posting.row < rows)));
            }
        }
        Corrections::of(&postings, &deleted(300), &deleted(100)).map(|_| ())
    };
    read(bytes.clone()).unwrap();
    // Damage to the columns of lengths is seen by their totals: the rest is tried byte by byte.
    for index in 0..bytes.len() {
        for flip in [1u8, 0x80, 0xFF] {
            let mut damaged = bytes.clone();
            damaged[index] ^= flip;
            let _ = read(damaged);
        }
    }
    for length in 0..bytes.len() {
        assert!(read(bytes[..length].to_vec()).is_err(), "{length}");
    }
}

/// What a question reads of a segment: ordinals with frequencies, filtered rows, and the best rows with their scores.
type Answer = (Vec<u32>, Vec<u32>, Vec<(u32, f32)>);

fn answer(directory: &Path, files: &[FileEntry]) -> Result<Answer> {
    let segment = open(directory, files)?;
    let mut ordinals = Vec::new();
    let mut terms = Vec::new();
    let statistics = segment.postings().statistics(Level::Chunks);
    for term in ["often", "other", "title", "rare7", "under", "absent"] {
        if let Some(ordinal) = segment.ordinal(term)? {
            let df = segment.postings().document_frequencies(ordinal)?;
            ordinals.extend([ordinal, df.0, df.1]);
            terms.push(QueryTerm::new(Some(ordinal), u64::from(df.0), 1.0, &statistics));
        }
    }
    let scorer = Scorer::new(Parameters::default(), Level::Chunks, statistics)?;
    let rows = segment.filter("source=s1")?.iter().chain(segment.filter("kind=text")?.iter()).collect();
    Ok((ordinals, rows, top_k(segment.postings(), &terms, &scorer, None, 50)?))
}

#[test]
fn a_flipped_byte_in_any_lexical_file_is_named_before_it_is_parsed_or_never_read() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("s");
    let bodies = bodies(60);
    let files = build(&directory, &small_corpus(&bodies));
    let truth = answer(&directory, &files).unwrap();
    let mut named = 0;
    for file in files.iter().filter(|file| file.length > 0 && file.name != "blocks") {
        let path = directory.join(&file.name);
        let bytes = std::fs::read(&path).unwrap();
        for at in [0, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            std::fs::write(&path, &damaged).unwrap();
            match answer(&directory, &files) {
                Ok(found) => assert_eq!(found, truth, "{}", file.name),
                Err(Error::IndexCorrupt { path: blamed, .. }) => {
                    assert_eq!(blamed, path);
                    named += 1;
                }
                Err(other) => panic!("{}: {other}", file.name),
            }
            let segment = Segment::open(&directory, &files).unwrap();
            assert!(segment.files().any(|(_, file)| file.reread(0..file.len()).is_err()));
        }
        std::fs::write(&path, &bytes).unwrap();
    }
    // Small files are of one block each: all but the positions and what is not indexed have something that is read.
    assert!(named >= 4 * 4, "{named}");
    assert_eq!(answer(&directory, &files).unwrap(), truth);
}

#[test]
fn no_damage_to_corrections_panics() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("s");
    let bodies = bodies(60);
    let files = build(&directory, &small_corpus(&bodies));
    let segment = open(&directory, &files).unwrap();
    let mut rows = Bitmap::empty(60);
    (3..9).for_each(|row| rows.insert(row));
    let mut documents = Bitmap::empty(20);
    (1..3).for_each(|row| documents.insert(row));
    let corrections = segment.frequency_corrections(&rows, &documents).unwrap();
    let often = segment.ordinal("often").unwrap().unwrap();
    assert_eq!(corrections.get(often), (6, 2));
    assert_eq!(corrections.get(segment.ordinal("rare50").unwrap().unwrap()), (0, 0));
    assert_eq!((corrections.chunks.rows, corrections.documents.rows), (6, 2));
    let bytes = corrections.to_bytes();
    assert_eq!(Corrections::from_bytes(&bytes).unwrap(), corrections);
    for index in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[index] ^= 0x55;
        let _ = Corrections::from_bytes(&damaged);
        // A shorter list of whole entries has no mark of its own; the file around it carries a hash.
        let _ = Corrections::from_bytes(&bytes[..index]);
    }
    assert!(Corrections::from_bytes(&bytes[..bytes.len() - 1]).is_err());
}

proptest! {
    #[test]
    fn a_length_code_rounds_down_by_a_sixteenth(length in prop_oneof![0u32..1000, 0u32..u32::MAX]) {
        let rounded = length_of_code(postings::length_code(length));
        prop_assert!(rounded <= length);
        prop_assert!(u64::from(length) <= u64::from(rounded) * 17 / 16 + 1 || length >= 1 << 18);
    }
}
