use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;

fn makers() -> Makers {
    Makers { analyser: "a".into(), chunker: "c".into(), embedder: None }
}

/// Publishes a generation of one segment with a small, an empty and a many-block file.
fn publish(root: &Path, fill: u8) -> u64 {
    let mut publisher = Publisher::open(root).unwrap();
    let (id, mut writer) = publisher.segment().unwrap();
    writer.file("small", |file| file.put(&[fill; 10])).unwrap();
    writer.file("empty", |_| Ok(())).unwrap();
    writer.file("large", |file| (0..3u8).try_for_each(|part| file.put(&vec![part ^ fill; BLOCK_BYTES - 1]))).unwrap();
    writer
        .folder("lexical", |folder| fs::write(folder.join("x"), [fill; 3]).map_err(Error::io("write", folder)))
        .unwrap();
    let files = writer.finish().unwrap();
    let tombstones = Some(publisher.tombstones(&id, &[fill, 1, 2]).unwrap());
    let entry =
        SegmentEntry { id, documents: 1, chunks: 2, files, tombstones, deleted_documents: 0, deleted_chunks: 1 };
    publisher.publish(makers(), vec![entry], &[fill, 9]).unwrap()
}

/// A new index with such generations, which is gone with the folder.
fn index(fills: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("index");
    for &fill in fills {
        publish(&root, fill);
    }
    (folder, root)
}

#[test]
#[allow(clippy::used_underscore_binding, reason = "a lock is held and never read, but here")]
fn a_lock_ends_with_its_holder_although_a_forked_child_has_the_file_open() {
    let (_folder, root) = index(&[1]);
    // What a child of this moment would have, and keep for as long as it lives.
    let publisher = Publisher::open(&root).unwrap();
    let inherited = publisher._lock.file.try_clone().unwrap();
    publisher.close();
    Publisher::open(&root).unwrap();
    let manifest = || File::open(Layout::new(&root).manifest(1)).unwrap();
    let lock = try_lock_exclusive(manifest()).unwrap();
    let inherited = [inherited, lock.file.try_clone().unwrap()];
    drop(lock);
    assert!(manifest().try_lock_shared().is_ok(), "who opens the generation would wait");
    drop(inherited);
    // The child itself takes nothing off that is its parent's.
    let lock = try_lock_exclusive(manifest()).unwrap();
    let copy = ExclusiveLock { file: lock.file.try_clone().unwrap(), process: lock.process + 1 };
    drop(copy);
    assert!(manifest().try_lock_shared().is_err());
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The files that hold an index's content: what the lock, and git's ignore file, do not.
fn content_files(root: &Path) -> Vec<PathBuf> {
    let other = |path: &PathBuf| !path.ends_with("lock") && !path.ends_with(".gitignore") && !path.ends_with("secret");
    files_below(root).into_iter().filter(other).collect()
}

/// Serves the first generation with its manifest changed.
fn serve_changed(layout: &Layout, change: impl FnOnce(&mut Manifest)) {
    let (mut manifest, _, _) = layout.read_manifest(1).unwrap();
    change(&mut manifest);
    let (bytes, hash) = manifest.to_bytes().unwrap();
    fs::write(layout.manifest(1), bytes).unwrap();
    fs::write(layout.current(), line_of(1, &hash)).unwrap();
}

/// Opens and reads everything.
fn read_all(root: &Path) -> Result<Vec<u8>> {
    let generation = Generation::open(root)?;
    let mut bytes = generation.state()?.to_vec();
    for segment in generation.segments() {
        for (_, file) in segment.files() {
            bytes.extend(file.all()?);
        }
    }
    for tombstones in generation.tombstones().iter().flatten() {
        bytes.extend(tombstones.all()?);
    }
    generation.verify()?;
    Ok(bytes)
}

#[test]
fn what_is_published_is_served() {
    let (_folder, root) = index(&[]);
    assert!(matches!(Generation::open(&root), Err(Error::IndexNotFound { .. })));
    assert_eq!(publish(&root, 1), 1);
    assert_eq!(publish(&root, 2), 2);
    let generation = Generation::open(&root).unwrap();
    assert_eq!(generation.manifest().generation, 2);
    assert_eq!(generation.state().unwrap(), [2, 9]);
    let segment = &generation.segments()[0];
    assert_eq!(segment.file("small").unwrap().all().unwrap(), [2; 10]);
    assert!(segment.file("empty").unwrap().all().unwrap().is_empty());
    let large = segment.file("large").unwrap();
    assert_eq!(large.bytes(BLOCK_BYTES - 2..BLOCK_BYTES + 1).unwrap(), [2, 3, 3]);
    assert_eq!(segment.folder("lexical").map(|(name, _)| name).collect::<Vec<_>>(), ["x"]);
    assert!(large.bytes(0..large.len() + 1).is_err());
    assert_eq!(fs::read(root.join(".gitignore")).unwrap(), b"*\n");
}

#[test]
fn every_flipped_bit_is_found() {
    let (_folder, root) = index(&[5]);
    let before = read_all(&root).unwrap();
    for path in content_files(&root) {
        let whole = fs::read(&path).unwrap();
        let step = (whole.len() / 400).max(1);
        for at in (0..whole.len()).step_by(step) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&path, &damaged).unwrap();
            let outcome = read_all(&root);
            let refused = matches!(outcome, Err(Error::IndexCorrupt { .. } | Error::IndexIncompatible { .. }));
            assert!(refused, "byte {at} of {}: {outcome:?}", path.display());
        }
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(read_all(&root).unwrap(), before);
}

#[test]
fn every_truncation_and_exchange_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (root, other) = (folder.path().join("index"), folder.path().join("other"));
    publish(&root, 5);
    publish(&other, 6);
    for path in content_files(&root) {
        let whole = fs::read(&path).unwrap();
        let step = (whole.len() / 100).max(1);
        for length in (0..whole.len()).step_by(step) {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(read_all(&root).is_err(), "{length} bytes of {}", path.display());
        }
        let longer = [whole.as_slice(), &[0]].concat();
        fs::write(&path, longer).unwrap();
        assert!(read_all(&root).is_err(), "one byte more of {}", path.display());
        let foreign = fs::read(other.join(path.strip_prefix(&root).unwrap())).unwrap();
        if foreign != whole {
            fs::write(&path, foreign).unwrap();
            assert!(read_all(&root).is_err(), "another index's {}", path.display());
        }
        fs::remove_file(&path).unwrap();
        assert!(read_all(&root).is_err(), "no {}", path.display());
        fs::create_dir(&path).unwrap();
        assert!(read_all(&root).is_err(), "a folder instead of {}", path.display());
        fs::remove_dir(&path).unwrap();
        #[cfg(unix)]
        if !path.ends_with("CURRENT") {
            let real = folder.path().join("real");
            fs::write(&real, &whole).unwrap();
            std::os::unix::fs::symlink(&real, &path).unwrap();
            assert!(read_all(&root).is_err(), "a link instead of {}", path.display());
            fs::remove_file(&path).unwrap();
        }
        fs::write(&path, &whole).unwrap();
    }
    read_all(&root).unwrap();
}

#[test]
fn a_newer_format_is_named() {
    let (_folder, root) = index(&[1]);
    let layout = Layout::new(&root);
    serve_changed(&layout, |manifest| manifest.format = FORMAT + 1);
    let expected = FORMAT.to_string();
    assert!(matches!(
        Generation::open(&root),
        Err(Error::IndexIncompatible { aspect: "format", found, expected: own }) if found == (FORMAT + 1).to_string() && own == expected
    ));
}

#[test]
fn a_manifest_that_names_files_elsewhere_is_refused() {
    let (_folder, root) = index(&[1]);
    let layout = Layout::new(&root);
    for name in ["../../secret", "/etc/passwd", "a/../b", "", "a//b", "a/b/c", "a\0b"] {
        let kept = fs::read(layout.manifest(1)).unwrap();
        serve_changed(&layout, |manifest| name.clone_into(&mut manifest.segments[0].files[0].name));
        assert!(matches!(Generation::open(&root), Err(Error::IndexCorrupt { .. })), "{name:?}");
        fs::write(layout.manifest(1), kept).unwrap();
    }
}

#[test]
fn one_process_builds_at_a_time() {
    let (_folder, root) = index(&[]);
    let first = Publisher::open(&root).unwrap();
    let holder = std::process::id();
    assert!(matches!(Publisher::open(&root), Err(Error::IndexLocked { holder: Some(pid), .. }) if pid == holder));
    drop(first);
    Publisher::open(&root).unwrap();
}

#[test]
fn what_a_killed_build_left_is_cleared() {
    let (_folder, root) = index(&[1]);
    let before = content_files(&root);
    let mut killed = Publisher::open(&root).unwrap();
    let (_, mut writer) = killed.segment().unwrap();
    writer.file("half", |file| file.put(b"half")).unwrap();
    killed.tombstones("000001-0", b"half").unwrap();
    fs::write(root.join("generations/000002.tmp"), b"half").unwrap();
    drop(killed);
    assert_ne!(content_files(&root), before);
    for (folder, name) in [("segments", "000123.ts"), ("tombstones", "x"), ("generations", "000001.txt")] {
        fs::write(root.join(folder).join(name), b"of somebody else").unwrap();
    }
    Publisher::open(&root).unwrap();
    for (folder, name) in [("segments", "000123.ts"), ("tombstones", "x"), ("generations", "000001.txt")] {
        fs::remove_file(root.join(folder).join(name)).unwrap();
    }
    assert_eq!(content_files(&root), before);
    assert_eq!(publish(&root, 2), 2);
}

#[test]
fn a_build_that_gives_up_leaves_nothing() {
    let (_folder, root) = index(&[1]);
    let before = content_files(&root);
    let mut builder = Publisher::open(&root).unwrap();
    let (_, mut writer) = builder.segment().unwrap();
    writer.file("half", |file| file.put(b"half")).unwrap();
    builder.close();
    assert_eq!(content_files(&root), before);
    Generation::open(&root).unwrap().verify().unwrap();
}

#[test]
fn a_manifest_that_current_never_named_is_no_generation() {
    let (_folder, root) = index(&[1]);
    let current = fs::read(root.join("CURRENT")).unwrap();
    publish(&root, 2);
    fs::write(root.join("CURRENT"), current).unwrap();
    assert_eq!(publish(&root, 3), 2);
    assert_eq!(Layout::new(&root).list_generations().unwrap(), [1, 2]);
}

#[test]
fn old_generations_are_collected_when_nobody_reads_them() {
    let (_folder, root) = index(&[1]);
    let layout = Layout::new(&root);
    let reader = Generation::open(&root).unwrap();
    for fill in 2..6 {
        publish(&root, fill);
    }
    assert_eq!(layout.list_generations().unwrap(), [1, 2, 3, 4, 5], "young ones stay");
    let long_ago = SystemTime::now() - Duration::from_secs(2 * COLLECTION_AGE_SECONDS);
    for number in 1..=5 {
        File::options().append(true).open(layout.manifest(number)).unwrap().set_modified(long_ago).unwrap();
    }
    publish(&root, 6);
    assert_eq!(layout.list_generations().unwrap(), [1, 4, 5, 6], "the one that is open stays");
    reader.verify().unwrap();
    drop(reader);
    publish(&root, 7);
    assert_eq!(layout.list_generations().unwrap(), [5, 6, 7]);
    let segments = list(&layout.segments()).unwrap();
    assert!(segments.iter().all(|name| ["000005", "000006", "000007"].iter().any(|kept| name.starts_with(kept))));
}

/// Lets all manifests be so old that nobody can be about to open them.
fn age(layout: &Layout) {
    let long_ago = SystemTime::now() - Duration::from_secs(2 * COLLECTION_AGE_SECONDS);
    for number in layout.list_generations().unwrap() {
        File::options().append(true).open(layout.manifest(number)).unwrap().set_modified(long_ago).unwrap();
    }
}

#[test]
fn what_a_killed_purge_left_is_none_of_the_last_generations() {
    let (_folder, root) = index(&[1, 2, 3]);
    let layout = Layout::new(&root);
    let mut killed = Publisher::open(&root).unwrap();
    for number in [1, 2] {
        let segments = layout.read_manifest(number).unwrap().0.segments;
        killed.publish_former(makers(), segments, &[]).unwrap();
    }
    drop(killed);
    age(&layout);
    assert!(collect_generations(&root, true).unwrap().generations.is_empty());
    assert!(collect_generations(&root, false).unwrap().generations.is_empty());
    assert_eq!(layout.list_generations().unwrap(), [1, 2, 3, 4, 5]);
}

#[test]
fn a_former_generation_that_is_written_anew_stays_however_long_the_purge_takes() {
    let (_folder, root) = index(&[1, 2, 3, 4, 5]);
    let layout = Layout::new(&root);
    layout.tag("live", 1, false).unwrap();
    let mut publisher = Publisher::open(&root).unwrap();
    let (mut replaced, mut open, first) = (BTreeMap::new(), Vec::new(), publisher.next_generation());
    for number in publisher.kept_generations().unwrap() {
        let former = layout.read_manifest(number).unwrap().0;
        let (new, hash, file) = publisher.publish_former(makers(), former.segments, &[]).unwrap();
        replaced.insert(number, (new, hash));
        open.push(file);
    }
    assert_eq!(replaced.keys().copied().collect::<Vec<_>>(), [1, 3, 4]);
    age(&layout);
    let segments = publisher.current().unwrap().manifest().segments.clone();
    assert_eq!(publisher.publish(makers(), segments, &[]).unwrap(), 9);
    publisher.forget_before(first, &replaced).unwrap();
    assert_eq!(layout.list_generations().unwrap(), [6, 7, 8, 9]);
    assert_eq!(layout.tags().unwrap()["live"].generation, 6);
    Generation::open_at(&root, 6, None).unwrap().verify().unwrap();
}

#[test]
fn what_cannot_be_cleared_is_not_written_over() {
    let (_folder, root) = index(&[1, 2]);
    let layout = Layout::new(&root);
    layout.tag("live", 1, false).unwrap();
    fs::write(layout.manifest(1), b"damaged").unwrap();
    let mut killed = Publisher::open(&root).unwrap();
    let (_, mut writer) = killed.segment().unwrap();
    writer.file("half", |file| file.put(b"half")).unwrap();
    killed.tombstones("000002-0", b"half").unwrap();
    drop(killed);
    assert_eq!(publish(&root, 3), 4);
    fs::create_dir(layout.segments().join("20260101-backup")).unwrap();
    assert_eq!(publish(&root, 4), 5);
    read_all(&root).unwrap();
}

#[test]
fn tags_are_read_while_others_are_taken_away() {
    let (_folder, root) = index(&[1]);
    let layout = Layout::new(&root);
    layout.tag("stays", 1, false).unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            for _ in 0..300 {
                layout.tag("comes-and-goes", 1, false).unwrap();
                assert!(layout.untag("comes-and-goes").unwrap());
            }
        });
        while !other.is_finished() {
            assert!(layout.tags().unwrap().contains_key("stays"));
        }
    });
}

#[test]
fn a_generation_that_is_purged_while_its_tag_waits_is_not_tagged() {
    let (_folder, root) = index(&[1, 2]);
    let layout = Layout::new(&root);
    layout.tag("other", 2, false).unwrap();
    std::thread::scope(|scope| {
        let purge = generations::lock_folder(&layout.tags_folder()).unwrap();
        let tag = scope.spawn(|| layout.tag("late", 1, false));
        std::thread::sleep(Duration::from_millis(100));
        fs::remove_file(layout.manifest(1)).unwrap();
        drop(purge);
        assert!(matches!(tag.join().unwrap(), Err(Error::GenerationNotFound { .. })));
    });
    assert_eq!(layout.tags().unwrap().len(), 1);
}

#[test]
fn generations_share_the_maps_of_segments() {
    let (_folder, root) = index(&[1]);
    let first = Generation::open(&root).unwrap();
    let mut publisher = Publisher::open(&root).unwrap();
    let entry = first.manifest().segments[0].clone();
    publisher.publish(makers(), vec![entry], &[]).unwrap();
    drop(publisher);
    let second = Generation::open_after(&root, Some(&first)).unwrap();
    assert!(Arc::ptr_eq(&first.segments()[0], &second.segments()[0]));
    assert!(second.state().unwrap().is_empty());
    assert_ne!(first.hash(), second.hash());
}

/// Publishes a generation that shares the first segment of the one that is served.
fn publish_same(root: &Path) -> Result<u64> {
    let mut publisher = Publisher::open(root)?;
    let entry = publisher.current().unwrap().manifest().segments[0].clone();
    publisher.publish(makers(), vec![entry], &[])
}

#[test]
fn generations_without_current_are_kept_and_named() {
    let (_folder, root) = index(&[1, 2]);
    let current = fs::read(root.join("CURRENT")).unwrap();
    fs::remove_file(root.join("CURRENT")).unwrap();
    let before = content_files(&root);
    assert!(matches!(Generation::open(&root), Err(Error::IndexCorrupt { path, .. }) if path.ends_with("CURRENT")));
    assert!(matches!(Publisher::open(&root), Err(Error::IndexCorrupt { path, .. }) if path.ends_with("CURRENT")));
    assert_eq!(content_files(&root), before);
    fs::write(root.join("CURRENT"), current).unwrap();
    read_all(&root).unwrap();
}

#[test]
fn a_first_generation_that_is_whole_is_served_although_current_is_missing() {
    let (_folder, root) = index(&[1]);
    let current = fs::read(root.join("CURRENT")).unwrap();
    fs::remove_file(root.join("CURRENT")).unwrap();
    assert!(matches!(Generation::open(&root), Err(Error::IndexNotFound { .. })));
    drop(Publisher::open(&root).unwrap());
    assert_eq!(fs::read(root.join("CURRENT")).unwrap(), current);
    assert_eq!(publish(&root, 2), 2);
    read_all(&root).unwrap();
}

#[test]
fn a_first_build_that_was_killed_before_it_was_whole_is_cleared() {
    let (_folder, root) = index(&[1]);
    fs::remove_file(root.join("CURRENT")).unwrap();
    fs::remove_dir_all(root.join("segments").join("000001-0")).unwrap();
    drop(Publisher::open(&root).unwrap());
    assert!(content_files(&root).is_empty());
    assert_eq!(publish(&root, 2), 1);
}

#[test]
fn generations_after_the_one_served_keep_their_numbers() {
    let (_folder, root) = index(&[1]);
    let layout = Layout::new(&root);
    let first = fs::read(layout.current()).unwrap();
    publish(&root, 2);
    publish(&root, 3);
    fs::write(layout.current(), first).unwrap();
    Publisher::open(&root).unwrap().close();
    assert_eq!(layout.list_generations().unwrap(), [1, 2, 3]);
    assert_eq!(publish_same(&root).unwrap(), 4);
    assert_eq!(layout.list_generations().unwrap(), [1, 2, 3, 4]);
    read_all(&root).unwrap();
}

#[test]
fn a_former_generation_of_another_format_stays_and_blocks_nothing() {
    let (_folder, root) = index(&[1, 2]);
    let layout = Layout::new(&root);
    let (mut manifest, _, _) = layout.read_manifest(1).unwrap();
    let segment = layout.segments().join(&manifest.segments[0].id);
    manifest.format = FORMAT + 1;
    fs::write(layout.manifest(1), manifest.to_bytes().unwrap().0).unwrap();
    assert_eq!(publish(&root, 3), 3);
    assert!(segment.is_dir() && layout.manifest(1).is_file());
}

#[test]
fn a_generation_that_cannot_be_opened_is_not_served() {
    let (_folder, root) = index(&[1]);
    let before = content_files(&root);
    let mut publisher = Publisher::open(&root).unwrap();
    let mut entry = publisher.current().unwrap().manifest().segments[0].clone();
    entry.id = "000002-0".to_owned();
    assert!(matches!(publisher.publish(makers(), vec![entry], &[1]), Err(Error::IndexCorrupt { .. })));
    assert_eq!(publisher.current().unwrap().manifest().generation, 1);
    publisher.close();
    assert_eq!(content_files(&root), before);
    read_all(&root).unwrap();
}

#[test]
fn what_cannot_be_collected_does_not_fail_a_publication() {
    let (_folder, root) = index(&[]);
    for fill in 0..3 {
        publish(&root, fill);
    }
    let mut publisher = Publisher::open(&root).unwrap();
    fs::create_dir(root.join("generations/000000.json")).unwrap();
    let entry = publisher.current().unwrap().manifest().segments[0].clone();
    assert_eq!(publisher.publish(makers(), vec![entry.clone()], &[]).unwrap(), 4);
    assert_eq!((publisher.next_generation(), publisher.current().unwrap().manifest().generation), (5, 4));
    assert_eq!(publisher.publish(makers(), vec![entry], &[]).unwrap(), 5);
}

#[test]
fn every_path_has_a_folder_to_synchronise() {
    for (path, expected) in [("index", "."), ("a/index", "a"), ("/index", "/"), ("/", "/"), ("", "")] {
        assert_eq!(parent(Path::new(path)), Path::new(expected), "{path:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a/b/c/index");
    publish(&root, 1);
    read_all(&root).unwrap();
}

proptest! {
    #[test]
    fn a_writer_hashes_as_its_reader_does(parts in prop::collection::vec(0usize..100_000, 0..6), seed in any::<u8>()) {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = FileWriter::create(&folder.path().join("file")).unwrap();
        let mut whole = Vec::new();
        for (number, length) in parts.iter().enumerate() {
            let part: Vec<u8> = (0..*length).map(|at| (at as u8).wrapping_mul(31) ^ seed ^ number as u8).collect();
            writer.put(&part).unwrap();
            whole.extend(part);
        }
        let (_, length, hashes) = writer.finish().unwrap();
        prop_assert_eq!(length as usize, whole.len());
        let file = BlockFile::open(&folder.path().join("file"), length, hashes).unwrap();
        prop_assert_eq!(file.all().unwrap(), &whole[..]);
    }
}

#[test]
fn what_is_asked_for_ahead_is_still_verified() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("rows");
    let mut bytes = vec![7; 3 * BLOCK_BYTES + 5];
    let hashes: Vec<u64> = bytes.chunks(BLOCK_BYTES).map(xxh3_64).collect();
    bytes[BLOCK_BYTES] = 8;
    fs::write(&path, &bytes).unwrap();
    let file = BlockFile::open(&path, bytes.len() as u64, hashes).unwrap();
    let ranges = [0..4, 2 * BLOCK_BYTES - 1..2 * BLOCK_BYTES + 1, 5..5, bytes.len() - 1..bytes.len(), 1 << 40..1 << 41];
    for slow in [false, true, false] {
        let read = || {
            if slow {
                std::thread::sleep(SLOW + SLOW_RANGE * ranges.len() as u32);
            }
            ranges.clone().map(|range| file.bytes(range).is_ok())
        };
        assert_eq!(file.reading(ranges.clone().into_iter(), read), [true, false, true, true, false]);
    }
    file.scanned();
    assert!(matches!(file.reread(0..file.len()), Err(Error::IndexCorrupt { .. })));
}
