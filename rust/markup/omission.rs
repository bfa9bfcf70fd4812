//! Sections that are written for editors and not for readers ("Internal notes"), taken out of a page before anything else
//! sees it: they are neither in the canonical text nor in a chunk, so nobody can be shown them.

use super::boilerplate::folded;
use super::writer::Notes;
use super::{Block, Item};

/// The page without the sections whose heading is one of `names`, each with all that stands under it.
///
/// Headings are compared by letters and digits alone, in lower case. A section ends at the next heading of its level or
/// of one above.
pub(super) fn without_sections(
    text: String,
    blocks: Vec<Block>,
    notes: Vec<Notes>,
    names: &[String],
) -> (String, Vec<Block>, Vec<Notes>) {
    let names: Vec<String> = names.iter().map(|name| folded(name)).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return (text, blocks, notes);
    }
    let mut kept =
        (String::with_capacity(text.len()), Vec::with_capacity(blocks.len()), Vec::with_capacity(notes.len()));
    let mut omitted: Option<u8> = None;
    for (block, note) in blocks.into_iter().zip(notes) {
        let shown = text.get(block.range.start as usize..block.range.end as usize).unwrap_or_default();
        if let Some(level) = block.heading_level()
            && omitted.is_none_or(|above| level <= above)
        {
            omitted = names.contains(&folded(shown)).then_some(level);
        }
        if omitted.is_none() {
            if !kept.0.is_empty() {
                kept.0.push_str("\n\n");
            }
            let start = kept.0.len() as u32;
            kept.0.push_str(shown);
            kept.1.push(moved(block, start));
            kept.2.push(note);
        }
    }
    kept
}

/// `block` with its ranges as they are where it begins at `start`.
fn moved(mut block: Block, start: u32) -> Block {
    let from = block.range.start;
    let at = |place: u32| place - from.min(place) + start;
    let range = |range: &std::ops::Range<u32>| at(range.start)..at(range.end);
    block.range = range(&block.range);
    block.header = block.header.as_ref().map(range);
    for Item { range: item, .. } in &mut block.items {
        *item = range(item);
    }
    block
}
