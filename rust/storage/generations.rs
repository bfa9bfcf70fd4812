//! The life of generations: which there are, what keeps each, what is collected, tags, and a former state served again.
//!
//! A number never stands for other content. So a former state is served again as a new generation, whose manifest names the
//! files of the old one: what readers and caches know by number stays true, and nothing is copied.
//!
//! A tag is a file of its own, so that to set one needs no lock of the builder and takes no part in a build. Whoever sets one
//! holds a shared lock on the manifest until the tag is durable; a collector takes that lock exclusively before it looks for
//! tags, so a generation is not collected while it is being tagged.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{
    COLLECTION_AGE_SECONDS, ExclusiveLock, Generation, KEPT_GENERATIONS, Layout, Manifest, Publisher, TEMPORARY_FILES,
    create_folder, is_generation, is_segment, line_of, list, lock_shared, open_regular, read_line, remove,
    sync_directory, take_lock, try_lock_exclusive, write_replacing,
};
use crate::error::{Error, Result};

/// The longest name of a tag, in bytes.
const TAG_BYTES: usize = 64;

/// What a tag stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The generation.
    pub generation: u64,
    /// The hash of its manifest.
    pub hash: String,
}

/// What keeps a generation from being collected; one that nothing keeps is removed by the next collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is served.
    Served,
    /// It is one of the last [`KEPT_GENERATIONS`].
    Recent,
    /// It has a tag.
    Tagged,
    /// Its manifest is younger than [`COLLECTION_AGE_SECONDS`]: a reader may be about to open it.
    Young,
    /// Somebody has it open.
    Open,
}

/// A published generation.
#[derive(Debug)]
pub struct Listed {
    /// Its number.
    pub generation: u64,
    /// When its manifest was written.
    pub published: SystemTime,
    /// Its manifest, or what is wrong with it.
    pub manifest: Result<Manifest>,
    /// Its tags.
    pub tags: Vec<String>,
    /// What keeps it.
    pub kept: Vec<Reason>,
}

/// What a collection removed, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// The generations, ascending.
    pub generations: Vec<u64>,
    /// How many files, those of the generations and those that killed builds left.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Layout {
    /// That there is no such generation.
    pub(super) fn no_generation<T>(&self, generation: u64) -> Result<T> {
        Err(Error::GenerationNotFound { path: self.root().to_path_buf(), generation })
    }

    /// The tags by name.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when one cannot be read: which generation must stay is then not known.
    pub fn tags(&self) -> Result<BTreeMap<String, Tag>> {
        let folder = self.tags_folder();
        let mut tags = BTreeMap::new();
        for name in list(&folder)?.into_iter().filter(|name| is_tag(name)) {
            let path = folder.join(&name);
            match read_line(&path) {
                Ok((generation, hash)) => _ = tags.insert(name, Tag { generation, hash }),
                // Taken away after the folder was listed.
                Err(_) if is_missing(&path) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(tags)
    }

    /// Gives a published generation a name that keeps it; durable when this returns.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what can be no tag, or is one of another generation already unless `moved`;
    /// [`Error::GenerationNotFound`]; [`Error::IndexCorrupt`] when its manifest is damaged; [`Error::Io`].
    pub fn tag(&self, name: &str, generation: u64, moved: bool) -> Result<()> {
        if !is_tag(name) {
            return Err(Error::InvalidArgument(format!(
                "{name:?} can be no tag: a tag has up to {TAG_BYTES} letters, digits and - _ . of ASCII, begins with a \
                 letter or digit, is no number and does not end in .tmp"
            )));
        }
        let (served, _) = self.read_current()?;
        if generation > served || !self.manifest(generation).exists() {
            return self.no_generation(generation);
        }
        let (_, hash, file) = self.read_manifest(generation)?;
        lock_shared(&file, &self.manifest(generation))?;
        let folder = self.tags_folder();
        create_folder(&folder)?;
        let _lock = lock_folder(&folder)?;
        if !self.manifest(generation).exists() {
            // Collected between reading and locking, or purged while another had the folder.
            return self.no_generation(generation);
        }
        for (other, tag) in self.tags()?.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)) {
            if other != name {
                return Err(Error::InvalidArgument(format!("{name:?} differs from the tag {other:?} only by case")));
            }
            if tag.generation != generation && !moved {
                let reason = format!("the tag {name:?} is one of generation {}", tag.generation);
                return Err(Error::InvalidArgument(reason));
            }
        }
        let path = folder.join(name);
        let written = write_replacing(&path, line_of(generation, &hash).as_bytes());
        if written.is_err() {
            // What cannot be removed is left to the next build.
            let _ = fs::remove_file(path.with_extension("tmp"));
        }
        written
    }

    /// Removes a tag, durably; `false` when there is none of that name.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be removed.
    pub fn untag(&self, name: &str) -> Result<bool> {
        let folder = self.tags_folder();
        if !is_tag(name) || !folder.is_dir() {
            return Ok(false);
        }
        let _lock = lock_folder(&folder)?;
        if !list(&folder)?.iter().any(|known| known == name) {
            return Ok(false);
        }
        remove(&folder.join(name))?;
        sync_directory(&folder)?;
        Ok(true)
    }

    /// The published generations, ascending, and what keeps each.
    ///
    /// # Errors
    /// [`Error::IndexNotFound`], [`Error::IndexCorrupt`] when `CURRENT` or a tag is damaged, or [`Error::Io`].
    pub fn listed(&self) -> Result<Vec<Listed>> {
        let (served, _) = self.read_current()?;
        let tags = self.tags()?;
        let numbers: Vec<u64> = self.list_generations()?.into_iter().filter(|&number| number <= served).collect();
        let mut listed = Vec::with_capacity(numbers.len());
        for (place, &number) in numbers.iter().enumerate() {
            let Some((file, published)) = self.open_manifest(number)? else { continue };
            let tags = tags_of(number, &tags);
            // Given back at once: who opens the generation waits for it.
            let is_open = try_lock_exclusive(file).is_none();
            let reasons = [
                (Reason::Served, number == served),
                (Reason::Recent, numbers.len() - place <= KEPT_GENERATIONS),
                (Reason::Tagged, !tags.is_empty()),
                (Reason::Young, is_young(published)),
                (Reason::Open, is_open),
            ];
            let kept = reasons.into_iter().filter_map(|(reason, holds)| holds.then_some(reason)).collect();
            let manifest = self.read_manifest(number).map(|(manifest, ..)| manifest);
            listed.push(Listed { generation: number, published, manifest, tags, kept });
        }
        Ok(listed)
    }

    /// The manifest of a generation and when it was written; `None` when it was collected meanwhile.
    fn open_manifest(&self, number: u64) -> Result<Option<(File, SystemTime)>> {
        let path = self.manifest(number);
        match open_regular(&path) {
            Ok((file, metadata)) => Ok(Some((file, metadata.modified().map_err(Error::io("read", &path))?))),
            Err(_) if !path.exists() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Removes the generations before `served` that nothing keeps, and then what no generation names; the builder's lock must
    /// be held.
    pub(super) fn collect(&self, served: u64) -> Result<Collected> {
        let mut collected = Collected::default();
        // Those after it, which a purge that was killed left, are none of the last.
        let numbers: Vec<u64> = self.list_generations()?.into_iter().filter(|&number| number <= served).collect();
        for &number in numbers.iter().rev().skip(KEPT_GENERATIONS) {
            let Some((file, published)) = self.open_manifest(number)? else { continue };
            // Tags are read under the lock, because whoever sets one holds it shared until the tag can be read.
            let Some(_lock) = (if is_young(published) { None } else { try_lock_exclusive(file) }) else { continue };
            if tags_of(number, &self.tags()?).is_empty() {
                collected.generations.insert(0, number);
                collected.add(&self.manifest(number))?;
                remove(&self.manifest(number))?;
                failpoint!("collect: manifest removed");
            }
        }
        if !collected.generations.is_empty() {
            // Else a loss of power could bring back a manifest without its files.
            sync_directory(&self.generations())?;
        }
        let cleared = self.clear_leftovers()?;
        Ok(Collected { files: collected.files + cleared.files, bytes: collected.bytes + cleared.bytes, ..collected })
    }

    /// Removes what no manifest names.
    pub(super) fn clear_leftovers(&self) -> Result<Collected> {
        let mut cleared = Collected::default();
        for path in self.leftovers(&[])? {
            cleared.add(&path)?;
            remove(&path)?;
        }
        Ok(cleared)
    }

    /// Segments, tombstones and state files that no manifest names but those of `collected`, these manifests, temporary files,
    /// and manifests of former generations that are damaged and have no tag. What no index of ours could have left stays,
    /// whoever put it there. Where a manifest is of another format, or a tagged one is damaged, all stays, since what it names
    /// is not known.
    fn leftovers(&self, collected: &[u64]) -> Result<Vec<PathBuf>> {
        let mut named = HashSet::new();
        for number in self.list_generations()?.into_iter().filter(|number| !collected.contains(number)) {
            let manifest = match self.read_manifest(number) {
                Ok((manifest, _, _)) => manifest,
                Err(Error::IndexCorrupt { .. }) if self.tags()?.values().any(|tag| tag.generation == number) => {
                    return Ok(Vec::new());
                }
                Err(Error::IndexCorrupt { .. }) => continue,
                Err(Error::IndexIncompatible { .. }) => return Ok(Vec::new()),
                Err(failure) => return Err(failure),
            };
            for segment in manifest.segments {
                named.insert(self.segments().join(&segment.id));
                named.extend(segment.tombstones.map(|file| self.tombstones().join(file.name)));
            }
            named.extend(manifest.state.map(|file| self.generations().join(file.name)));
            named.insert(self.manifest(number));
        }
        let mut found = Vec::new();
        let mut look = |folder: &Path, is_own: fn(&str) -> bool| {
            let paths = list(folder)?.into_iter().filter(|name| is_own(name)).map(|name| folder.join(name));
            found.extend(paths.filter(|path| !named.contains(path)));
            Ok(())
        };
        look(&self.segments(), is_segment)?;
        look(&self.tombstones(), |name| {
            name.split_once('.').is_some_and(|(segment, number)| is_segment(segment) && is_generation(number))
        })?;
        look(&self.generations(), |name| {
            let parts = name.split_once('.');
            parts.is_some_and(|(number, kind)| is_generation(number) && ["json", "state", "tmp"].contains(&kind))
        })?;
        look(self.root(), |name| TEMPORARY_FILES.contains(&name))?;
        if let Ok(Some(_lock)) = try_lock_folder(&self.tags_folder()) {
            look(&self.tags_folder(), |name| Path::new(name).extension().is_some_and(|ending| ending == "tmp"))?;
        }
        Ok(found)
    }
}

impl Collected {
    /// Counts a file, or those below a folder.
    fn add(&mut self, path: &Path) -> Result<()> {
        let metadata = fs::symlink_metadata(path).map_err(Error::io("read", path))?;
        if metadata.is_dir() {
            return list(path)?.iter().try_for_each(|name| self.add(&path.join(name)));
        }
        self.files += 1;
        self.bytes += metadata.len();
        Ok(())
    }
}

/// Removes what nothing keeps from the index in `root`, or, where it is only asked what would be removed, nothing.
///
/// # Errors
/// [`Error::IndexLocked`] when another process builds, [`Error::IndexNotFound`], [`Error::IndexCorrupt`] when `CURRENT` or a tag
/// is damaged, [`Error::Io`].
pub fn collect_generations(root: &Path, asked: bool) -> Result<Collected> {
    let layout = Layout::new(root);
    layout.read_current()?;
    let _lock = take_lock(root)?;
    let (served, _) = layout.read_current()?;
    // Where what is served cannot be read, by damage or for its format, what went before may be all there is.
    layout.read_manifest(served)?;
    let newest = layout.list_generations()?.last().copied();
    // What a build that was killed before `CURRENT` named its manifest left, as when the next one begins.
    let unserved = newest.filter(|&newest| newest == served + 1);
    if !asked {
        let mut cleared = Collected::default();
        if let Some(number) = unserved {
            cleared.add(&layout.manifest(number))?;
            remove(&layout.manifest(number))?;
        }
        let collected = layout.collect(served)?;
        let (files, bytes) = (collected.files + cleared.files, collected.bytes + cleared.bytes);
        return Ok(Collected { files, bytes, ..collected });
    }
    let mut collected = Collected::default();
    let listed = layout.listed()?;
    collected.generations = listed.iter().filter(|one| one.kept.is_empty()).map(|one| one.generation).collect();
    let gone: Vec<u64> = collected.generations.iter().copied().chain(unserved).collect();
    layout.leftovers(&gone)?.iter().try_for_each(|path| collected.add(path))?;
    Ok(collected)
}

impl Publisher {
    /// Publishes the state of a former generation again, under the next number; returns that.
    ///
    /// # Errors
    /// [`Error::GenerationNotFound`]; what `inspect`, which sees the opened generation before it is served, returns; and as
    /// [`Publisher::publish`].
    pub fn republish(&mut self, generation: u64, inspect: impl FnOnce(&Generation) -> Result<()>) -> Result<u64> {
        if generation > self.served || !self.layout.manifest(generation).exists() {
            return self.layout.no_generation(generation);
        }
        let (manifest, ..) = self.layout.read_manifest(generation)?;
        self.publish_files(manifest.makers, manifest.segments, manifest.state, inspect)
    }
}

/// Whether there is nothing of that name, not even a link that leads nowhere.
fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|source| source.kind() == std::io::ErrorKind::NotFound)
}

/// The tags of a generation.
fn tags_of(generation: u64, tags: &BTreeMap<String, Tag>) -> Vec<String> {
    tags.iter().filter(|(_, tag)| tag.generation == generation).map(|(name, _)| name.clone()).collect()
}

/// Whether a reader may be about to open what was published then; so also where clocks differ and that is still to come.
fn is_young(published: SystemTime) -> bool {
    published.elapsed().map_or(0, |age| age.as_secs()) < COLLECTION_AGE_SECONDS
}

/// Whether a name can be a tag: never that of a temporary file, never a generation's number.
pub(crate) fn is_tag(name: &str) -> bool {
    name.len() <= TAG_BYTES
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !name.bytes().all(|byte| byte.is_ascii_digit())
        && !Path::new(name).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("tmp"))
}

/// Waits for the lock of a folder.
pub(super) fn lock_folder(folder: &Path) -> Result<ExclusiveLock> {
    let file = File::open(folder).map_err(Error::io("open", folder))?;
    file.lock().map_err(Error::io("lock", folder))?;
    Ok(ExclusiveLock::of(file))
}

/// The lock of a folder, if there is the folder and nobody has the lock.
fn try_lock_folder(folder: &Path) -> Result<Option<ExclusiveLock>> {
    Ok(try_lock_exclusive(File::open(folder).map_err(Error::io("open", folder))?))
}
