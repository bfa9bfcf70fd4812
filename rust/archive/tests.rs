use proptest::prelude::*;

use super::*;
use crate::storage::Makers;

/// An archive by the page that specifies it: a listing, then the files as they stand.
fn archive(contents: &Contents, files: &[&[u8]]) -> Vec<u8> {
    let (listing, _) = contents.to_bytes().unwrap();
    let mut bytes = Vec::new();
    let named = contents.files.iter().map(|file| file.name.as_str());
    for (name, content) in std::iter::once((LISTING, listing.as_slice())).chain(named.zip(files.iter().copied())) {
        bytes.extend(header(name, content.len() as u64).unwrap());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(RECORD_BYTES), 0);
    }
    bytes.extend([0; 2 * RECORD_BYTES]);
    bytes
}

fn entry(name: &str, content: &[u8]) -> FileEntry {
    let hashes: Vec<u64> = content.chunks(BLOCK_BYTES).map(xxh3_64).collect();
    FileEntry { name: name.to_owned(), length: content.len() as u64, hash: hash_of_blocks(&hashes) }
}

fn listing(files: &[(&str, &[u8])]) -> Contents {
    let files = files.iter().map(|(name, content)| entry(name, content)).collect();
    Contents { format: FORMAT, generation: 7, tags: vec!["live".to_owned()], files }
}

/// Reads all files.
fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut archive = Archive::open(bytes, Path::new("x.tar"))?;
    let mut found = Vec::new();
    for _ in 0..archive.contents().files.len() {
        let mut content = Vec::new();
        archive.file(|piece| {
            content.extend_from_slice(piece);
            Ok(())
        })?;
        found.push(content);
    }
    archive.end()?;
    Ok(found)
}

const MANIFEST: &str = "generations/000007.json";

fn small() -> (Contents, Vec<u8>) {
    let files: [(&str, &[u8]); 3] = [(MANIFEST, b"{}"), ("segments/a", &[7; 5000]), ("segments/b", b"")];
    let contents = listing(&files);
    let bytes = archive(&contents, &files.map(|(_, content)| content));
    (contents, bytes)
}

#[test]
fn what_is_written_is_read() {
    let (contents, bytes) = small();
    assert_eq!(read(&bytes).unwrap(), [b"{}".to_vec(), vec![7; 5000], Vec::new()]);
    let opened = Archive::open(bytes.as_slice(), Path::new("x")).unwrap();
    assert_eq!(opened.contents(), &contents);
    assert_eq!(opened.bytes, bytes.len() as u64);
}

#[test]
fn every_flipped_bit_is_refused() {
    let (_, bytes) = small();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert!(matches!(read(&damaged), Err(Error::SnapshotInvalid { .. })), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn every_truncation_and_whatever_follows_is_refused() {
    let (_, bytes) = small();
    for length in 0..bytes.len() {
        assert!(matches!(read(&bytes[..length]), Err(Error::SnapshotInvalid { .. })), "{length} bytes");
    }
    for more in [&[0][..], &[1], &[0; 512], &bytes] {
        assert!(matches!(read(&[&bytes, more].concat()), Err(Error::SnapshotInvalid { .. })));
    }
}

#[test]
fn an_entry_is_nothing_but_a_regular_file() {
    let (contents, bytes) = small();
    let second = RECORD_BYTES + contents.to_bytes().unwrap().0.len().next_multiple_of(RECORD_BYTES);
    for kind in *b"\x0012345678gxLKSV" {
        let mut changed = bytes.clone();
        changed[second + 156] = kind;
        let sum = |header: &[u8]| -> u32 {
            (0..RECORD_BYTES).map(|at| if (148..156).contains(&at) { 32 } else { u32::from(header[at]) }).sum()
        };
        let sum = sum(&changed[second..second + RECORD_BYTES]);
        changed[second + 148..second + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert!(matches!(read(&changed), Err(Error::SnapshotInvalid { .. })), "kind {}", char::from(kind));
    }
}

#[test]
fn listings_that_no_index_can_have_are_refused() {
    let refused = |files: &[(&str, &[u8])], why: &str| {
        let contents = listing(files);
        let bytes = archive(&contents, &files.iter().map(|(_, content)| *content).collect::<Vec<_>>());
        match Archive::open(bytes.as_slice(), Path::new("x")) {
            Err(Error::SnapshotInvalid { reason, .. }) => assert!(reason.contains(why), "{reason}"),
            other => panic!("{other:?}"),
        }
    };
    refused(&[(MANIFEST, b""), ("a", b"")], "out of order");
    refused(&[(MANIFEST, b""), (MANIFEST, b"")], "twice");
    refused(&[(MANIFEST, b""), ("segments/A", b""), ("segments/a", b"")], "only by case");
    refused(&[("a", b"")], "holds no generations/000007.json");
    let mut contents = listing(&[(MANIFEST, b"")]);
    contents.tags = vec!["../up".to_owned()];
    assert!(contents.check().unwrap_err().contains("tag"));
    contents.tags.clear();
    contents.files = (0..=MAXIMUM_FILES).map(|number| entry(&format!("{number:06}"), b"")).collect();
    assert!(contents.check().unwrap_err().contains("more than 65536"));
    contents.files = vec![entry(MANIFEST, b"")];
    contents.files[0].length = u64::MAX;
    assert!(contents.check().is_err());
    contents.files = vec![entry(MANIFEST, b""), FileEntry { length: u64::MAX, ..entry("segments/x", b"") }];
    let (bytes, _) = contents.to_bytes().unwrap();
    let head =
        [&header(LISTING, bytes.len() as u64).unwrap()[..], &bytes, &vec![0; padding(bytes.len() as u64)]].concat();
    assert!(matches!(Archive::open(head.as_slice(), Path::new("x")), Err(Error::SnapshotInvalid { .. })));
    contents.format = 2;
    let (bytes, _) = contents.to_bytes().unwrap();
    let failure = Contents::from_bytes(Path::new("x"), &bytes).unwrap_err();
    assert!(matches!(failure, Error::IndexIncompatible { aspect: "snapshot format", .. }));
}

#[test]
fn more_than_one_index_can_have_is_refused_before_it_is_read() {
    let (mut contents, _) = small();
    for (generation, is_right) in [(0, false), (1, true), (MAXIMUM_GENERATION, true), (u64::MAX, false)] {
        contents.generation = generation;
        contents.files = vec![entry(&contents.manifest_name(), b"{}")];
        assert_eq!(contents.check().is_ok(), is_right, "{generation}");
    }
    (contents, _) = small();
    contents.tags = (0..=MAXIMUM_TAGS).map(|number| format!("t{number}")).collect();
    assert!(contents.check().unwrap_err().contains("tags"));
    contents.tags.pop();
    contents.check().unwrap();
    // A state is held in memory until the manifest is known: one, and no larger than states are.
    let state =
        |number: u64, length: u64| FileEntry { length, ..entry(&format!("generations/{number:06}.state"), b"") };
    let with = |states: Vec<FileEntry>| {
        let (mut contents, _) = small();
        contents.files.extend(states);
        contents.files.sort();
        contents.check()
    };
    with(vec![state(3, STATE_BYTES)]).unwrap();
    assert!(with(vec![state(3, STATE_BYTES + 1)]).unwrap_err().contains("state"));
    assert!(with(vec![state(3, 1), state(8, 1)]).unwrap_err().contains("state"));
}

#[test]
fn a_listing_that_lies_about_its_length_takes_no_memory() {
    let mut huge = header(LISTING, LISTING_BYTES + 1).unwrap().to_vec();
    assert!(matches!(read(&huge), Err(Error::SnapshotInvalid { .. })));
    huge[124..135].copy_from_slice(b"77777777777");
    assert!(matches!(read(&huge), Err(Error::SnapshotInvalid { .. })));
}

/// A manifest of one segment with these names.
fn manifest(segment: &str, file: &str, tombstones: &str, state: &str) -> Manifest {
    let segment = SegmentEntry {
        id: segment.to_owned(),
        documents: 1,
        chunks: 1,
        files: vec![entry(file, b""), entry("blocks", b"")],
        tombstones: Some(entry(tombstones, b"")),
        deleted_documents: 0,
        deleted_chunks: 0,
    };
    let makers = Makers { analyser: String::new(), chunker: String::new(), embedder: None };
    Manifest { format: 2, generation: 7, makers, segments: vec![segment], state: Some(entry(state, b"")) }
}

#[test]
fn names_that_no_builder_gives_are_refused() {
    let good = ["000007-0", "lexical/x", "000007-0.000003", "000001.state"];
    let made = |names: [&str; 4]| manifest(names[0], names[1], names[2], names[3]).check_names();
    made(good).unwrap();
    let bad: [(usize, &[&str]); 4] = [
        (0, &["../../x", "..", "", "000008-0", "a-0", "000007", "000007-0/..", "000007-x"]),
        (1, &["../x", "/x", "lexical/../x", "a/b/c", "", ".", "a//b", "é", "a\\b", "a:b"]),
        (2, &["000007-0.000008", "../000003", "000007-0./../x", "000006-0.000003", "000007-0.x"]),
        (3, &["../x.state", "000008.state", "x.state", "000001.json", ".state"]),
    ];
    for (place, names) in bad {
        for name in names {
            let mut all = good;
            all[place] = name;
            assert!(made(all).is_err(), "{name:?}");
        }
    }
    let mut twice = manifest(good[0], good[1], good[2], good[3]);
    twice.segments.push(twice.segments[0].clone());
    assert!(twice.check_names().is_err());
}

#[test]
fn exactly_the_files_of_the_manifest_are_held() {
    let manifest = manifest("000007-0", "text", "000007-0.000003", "000001.state");
    let mut contents = Contents { format: FORMAT, generation: 7, tags: Vec::new(), files: Vec::new() };
    contents.files.extend([entry(CALIBRATION, b"{}"), entry(MANIFEST, b"{}")]);
    contents.files.extend(manifest.files().into_iter().map(|(name, file)| FileEntry { name, ..file.clone() }));
    contents.files.sort();
    contents.check().unwrap();
    contents.check_against(&manifest).unwrap();
    for place in 0..contents.files.len() {
        let mut less = contents.clone();
        let removed = less.files.remove(place);
        assert_eq!(less.check_against(&manifest).is_err(), ![CALIBRATION, MANIFEST].contains(&removed.name.as_str()));
        let mut other = contents.clone();
        other.files[place].length += 1;
        assert_eq!(other.check_against(&manifest).is_err(), ![CALIBRATION, MANIFEST].contains(&removed.name.as_str()));
    }
    for name in ["secret", "lock", "CURRENT", "segments/000007-0/more", "../x"] {
        let mut more = contents.clone();
        more.files.push(entry(name, b""));
        more.files.sort();
        assert!(more.check_against(&manifest).is_err(), "{name}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_and_not_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn any_files_come_back(contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6000), 0..6)) {
        let names: Vec<String> = (0..contents.len()).map(|number| format!("segments/{number}")).collect();
        let mut files: Vec<(&str, &[u8])> = vec![(MANIFEST, b"{}")];
        files.extend(names.iter().map(String::as_str).zip(contents.iter().map(Vec::as_slice)));
        let bytes = archive(&listing(&files), &files.iter().map(|(_, content)| *content).collect::<Vec<_>>());
        prop_assert_eq!(&read(&bytes).unwrap()[1..], &contents[..]);
    }

    #[test]
    fn another_listing_of_the_same_files_is_refused(at in 0usize..1200, to in any::<u8>()) {
        let (contents, bytes) = small();
        let listing = contents.to_bytes().unwrap().0.len();
        let mut changed = bytes.clone();
        changed[RECORD_BYTES + at % listing] = to;
        prop_assert!(changed == bytes || read(&changed).is_err());
    }
}
