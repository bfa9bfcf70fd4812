//! Sections that are written for editors and not for readers ("Internal notes"), taken out of a page before anything else
//! sees it: they are neither in the canonical text nor in a chunk, so nobody can be shown them.

use std::ops::Range;

use super::boilerplate::folded;
use super::writer::{Finds, Notes};
use super::{Block, Image, Item, Question};

/// What a page is made of: its text, its blocks, what is known of each, and what was found beside them.
pub(super) type Written = (String, Vec<Block>, Vec<Notes>, Finds);

/// The page without the sections whose heading is one of `names`, each with all that stands under it.
///
/// Headings are compared by letters and digits alone, in lower case. A section ends at the next heading of its level or
/// of one above.
pub(super) fn without_sections((text, blocks, notes, finds): Written, names: &[String]) -> Written {
    let names: Vec<String> = names.iter().map(|name| folded(name)).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return (text, blocks, notes, finds);
    }
    let mut kept = (String::with_capacity(text.len()), Vec::new(), Vec::with_capacity(notes.len()));
    let mut moves = Moves::default();
    let mut omitted: Option<u8> = None;
    for (block, note) in blocks.into_iter().zip(notes) {
        let shown = text.get(block.range.start as usize..block.range.end as usize).unwrap_or_default();
        if let Some(level) = block.heading_level()
            && omitted.is_none_or(|above| level <= above)
        {
            omitted = names.contains(&folded(shown)).then_some(level);
        }
        if omitted.is_some() {
            moves.blocks.push((block.range, kept.1.len() as u32, None));
            continue;
        }
        if !kept.0.is_empty() {
            kept.0.push_str("\n\n");
        }
        let start = kept.0.len() as u32;
        kept.0.push_str(shown);
        moves.blocks.push((block.range.clone(), kept.1.len() as u32, Some(start)));
        kept.1.push(moved(block, start));
        kept.2.push(note);
    }
    let finds = moves.finds(finds, kept.1.len() as u32);
    (kept.0, kept.1, kept.2, finds)
}

/// For each block of a page its range, how many blocks are kept before it, and where it begins now, if it is kept.
#[derive(Default)]
struct Moves {
    blocks: Vec<(Range<u32>, u32, Option<u32>)>,
}

impl Moves {
    fn finds(&self, finds: Finds, count: u32) -> Finds {
        let number = |block: u32| self.blocks.get(block as usize).map_or(count, |&(_, number, _)| number);
        let is_kept = |block: u32| self.blocks.get(block as usize).is_some_and(|(.., start)| start.is_some());
        let questions = finds.questions.into_iter().filter(|question| is_kept(question.block));
        let images = finds.images.into_iter().filter_map(|image| {
            let (alternative, caption) = (self.range(image.alternative.as_ref()), self.range(image.caption.as_ref()));
            let said = alternative.is_some() || caption.is_some();
            said.then_some(Image { source: image.source, alternative, caption })
        });
        Finds {
            questions: questions
                .map(|Question { block, end }| Question { block: number(block), end: end.map(number) })
                .collect(),
            images: images.collect(),
        }
    }

    /// Where a range of one block stands now.
    fn range(&self, range: Option<&Range<u32>>) -> Option<Range<u32>> {
        let range = range?;
        let after = self.blocks.partition_point(|(block, ..)| block.end < range.end);
        let (block, _, start) = self.blocks.get(after)?;
        let start = (*start)?;
        (block.start <= range.start).then(|| range.start - block.start + start..range.end - block.start + start)
    }
}

/// `block` with its ranges as they are where it begins at `start`.
fn moved(mut block: Block, start: u32) -> Block {
    let from = block.range.start;
    let at = |place: u32| place - from.min(place) + start;
    let range = |range: &Range<u32>| at(range.start)..at(range.end);
    block.range = range(&block.range);
    block.header = block.header.as_ref().map(range);
    for Item { range: item, parts, .. } in &mut block.items {
        *item = range(item);
        for part in parts {
            *part = range(part);
        }
    }
    block
}
