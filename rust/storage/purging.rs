//! Former generations replaced by such as do not hold what was purged.
//!
//! A number never stands for other content. So a former generation that is kept is written anew under a number of its own, below
//! that of the generation which is served next; then tags are moved, and then the old manifests are removed, and with them
//! every file that only they name. Until that is done nothing of it is acknowledged, and to purge again does the rest.

use std::collections::BTreeMap;
use std::fs::File;

use super::generations::lock_folder;
use super::{
    FORMAT, Generation, Layout, Makers, Manifest, Publisher, SegmentEntry, create_folder, line_of, lock_shared, remove,
    sync_directory, write_replacing,
};
use crate::error::{Error, Result};

impl Layout {
    /// Opens a former generation, whatever is served.
    ///
    /// # Errors
    /// As [`Generation::open`].
    pub fn open_former(&self, number: u64) -> Result<Generation> {
        let (_, hash, _) = self.read_manifest(number)?;
        Generation::open_number(self, number, &hash, None)
    }
}

impl Publisher {
    /// Writes the manifest of a generation that is not served, under the next number; returns that, the manifest's hash, and the
    /// file, which keeps the generation from being collected, however long it takes until a tag or its place does.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn publish_former(
        &mut self,
        makers: Makers,
        segments: Vec<SegmentEntry>,
        state: &[u8],
    ) -> Result<(u64, String, File)> {
        let generation = self.next;
        let state = self.write_state(state)?;
        let (bytes, hash) = Manifest { format: FORMAT, generation, makers, segments, state }.to_bytes()?;
        sync_directory(&self.layout.segments())?;
        sync_directory(&self.layout.tombstones())?;
        write_replacing(&self.layout.manifest(generation), &bytes)?;
        self.next += 1;
        let (.., file) = self.layout.read_manifest(generation)?;
        lock_shared(&file, &self.layout.manifest(generation))?;
        Ok((generation, hash, file))
    }

    /// The generations that a purge writes anew: those that are kept whatever is published next, ascending, but the one served.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when a tag names no generation, [`Error::Io`].
    pub fn kept_generations(&self) -> Result<Vec<u64>> {
        let served = self.current().map_or(0, |current| current.manifest().generation);
        let tags = self.layout.tags()?;
        let numbers: Vec<u64> =
            self.layout.list_generations()?.into_iter().filter(|&number| number <= served).collect();
        let recent = numbers.len().saturating_sub(super::KEPT_GENERATIONS);
        let is_kept = |(place, number): &(usize, u64)| {
            tags.values().any(|tag| tag.generation == *number) || (*place >= recent && *number != served)
        };
        Ok(numbers.into_iter().enumerate().filter(is_kept).map(|(_, number)| number).collect())
    }

    /// Moves tags to the generations that took the place of theirs, then removes every manifest with a number below `first`, and
    /// what no manifest names.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when one of them was tagged meanwhile, [`Error::Io`] when something cannot be written or removed.
    pub fn forget_before(&self, first: u64, replaced: &BTreeMap<u64, (u64, String)>) -> Result<()> {
        let folder = self.layout.tags_folder();
        create_folder(&folder)?;
        let _lock = lock_folder(&folder)?;
        for (name, tag) in self.layout.tags()? {
            match replaced.get(&tag.generation) {
                Some((number, hash)) => write_replacing(&folder.join(name), line_of(*number, hash).as_bytes())?,
                None if tag.generation < first => {
                    let reason =
                        format!("generation {} was tagged {name} while it was purged: purge again", tag.generation);
                    return Err(Error::InvalidArgument(reason));
                }
                None => {}
            }
        }
        for number in self.layout.list_generations()?.into_iter().filter(|&number| number < first) {
            remove(&self.layout.manifest(number))?;
        }
        sync_directory(&self.layout.generations())?;
        self.collect()?;
        for folder in [self.layout.segments(), self.layout.tombstones(), self.layout.generations()] {
            sync_directory(&folder)?;
        }
        Ok(())
    }
}
