//! Archives as an attacker writes them: whatever they say, every hash matches.

use std::path::Path;

use super::{Archive, CALIBRATION, Contents, FORMAT, LISTING, RECORD_BYTES, header, padding};
use crate::error::Error;
use crate::storage::{BLOCK_BYTES, FileEntry, Manifest, hash_of_blocks, seal};
use xxhash_rust::xxh3::xxh3_64;

/// An archive whose first entry has `body` as its listing, with `rest` behind it as it stands.
pub(crate) fn with_listing(body: &[u8], rest: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    put(&mut bytes, LISTING, &seal("snapshot", body).0)?;
    bytes.extend_from_slice(rest);
    Some(bytes)
}

/// An archive with `body` as its manifest, where it is one with the lengths and hashes of `contents`, which its files have in turn; a
/// calibration too where there are contents left.
pub(crate) fn with_manifest(body: &[u8], contents: &[&[u8]]) -> Option<Vec<u8>> {
    let mut pieces = contents.iter().copied();
    let mut files: Vec<(FileEntry, Vec<u8>)> = Vec::new();
    let mut generation = 0;
    let mut sealed = seal("manifest", body).0;
    if let Ok(mut manifest) = serde_json::from_slice::<Manifest>(body) {
        generation = manifest.generation;
        let mut fill = |folder: &str, file: &mut FileEntry| {
            let content = pieces.next().unwrap_or_default().to_vec();
            *file = entry(&file.name, &content);
            files.push((FileEntry { name: format!("{folder}/{}", file.name), ..file.clone() }, content));
        };
        for segment in &mut manifest.segments {
            segment.files.iter_mut().for_each(|file| fill(&format!("segments/{}", segment.id), file));
            segment.tombstones.iter_mut().for_each(|file| fill("tombstones", file));
        }
        manifest.state.iter_mut().for_each(|file| fill("generations", file));
        sealed = manifest.to_bytes().ok()?.0;
    }
    files.push((entry(&format!("generations/{generation:06}.json"), &sealed), sealed));
    files.extend(pieces.next().map(|content| (entry(CALIBRATION, content), content.to_vec())));
    files.sort();
    let listed = files.iter().map(|(file, _)| file.clone()).collect();
    let listing = Contents { format: FORMAT, generation, tags: vec!["live".to_owned()], files: listed };
    let mut bytes = Vec::new();
    put(&mut bytes, LISTING, &listing.to_bytes().ok()?.0)?;
    files.iter().try_for_each(|(file, content)| put(&mut bytes, &file.name, content))?;
    bytes.extend([0; 2 * RECORD_BYTES]);
    Some(bytes)
}

fn entry(name: &str, content: &[u8]) -> FileEntry {
    let hashes: Vec<u64> = content.chunks(BLOCK_BYTES).map(xxh3_64).collect();
    FileEntry { name: name.to_owned(), length: content.len() as u64, hash: hash_of_blocks(&hashes) }
}

fn put(bytes: &mut Vec<u8>, name: &str, content: &[u8]) -> Option<()> {
    let size = content.len() as u64;
    bytes.extend(header(name, size).ok()?);
    bytes.extend_from_slice(content);
    bytes.extend(vec![0; padding(size)]);
    Some(())
}

/// Reads an archive from memory: each file that is read has the length that was listed.
pub(crate) fn read_through(bytes: &[u8]) {
    let refused = |failure: &Error| {
        assert!(matches!(failure, Error::SnapshotInvalid { .. } | Error::IndexIncompatible { .. }), "{failure}");
    };
    let mut archive = match Archive::open(bytes, Path::new("x.tar")) {
        Ok(archive) => archive,
        Err(failure) => return refused(&failure),
    };
    let lengths: Vec<u64> = archive.contents().files.iter().map(|file| file.length).collect();
    for length in lengths {
        let mut read = 0;
        let outcome = archive.file(|piece| {
            read += piece.len() as u64;
            Ok(())
        });
        match outcome {
            Ok(()) => assert_eq!(read, length),
            Err(failure) => return refused(&failure),
        }
    }
    if let Err(failure) = archive.end() {
        refused(&failure);
    }
}
