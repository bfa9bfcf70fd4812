//! What a chunk holds beside running text, as a program can use it: tables by rows, code with its language.

use std::ops::Range;

use super::{Part, Span};
use crate::markup::{Block, BlockKind, Page};

/// The tables and the code of a chunk that is made of `spans`. A row counts where it is whole.
pub(super) fn of(page: &Page, spans: &[Span]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut last = None;
    for span in spans {
        let first = page.blocks.partition_point(|block| block.range.end <= span.bytes.start);
        let blocks = page.blocks.iter().enumerate().skip(first);
        for (index, block) in blocks.take_while(|(_, block)| block.range.start < span.bytes.end) {
            // A table whose header row is a span of its own is met twice.
            let again = last == Some(index);
            last = Some(index);
            match block.kind {
                BlockKind::Table => table(page, block, &span.bytes, again, &mut parts),
                BlockKind::Code if !again => {
                    if let Some(language) = &block.language {
                        let range = block.range.start.max(span.bytes.start)..block.range.end.min(span.bytes.end);
                        parts.push(Part::Code { range, language: language.clone() });
                    }
                }
                _ => {}
            }
        }
    }
    parts.retain(|part| !matches!(part, Part::Table { rows, .. } if rows.is_empty()));
    parts
}

/// Adds the rows of a table that lie in `within`, to the table before where it is the same one.
fn table(page: &Page, block: &Block, within: &Range<u32>, again: bool, parts: &mut Vec<Part>) {
    let cells = |ranges: &[Range<u32>]| ranges.iter().map(|range| page.slice(range).to_owned()).collect::<Vec<_>>();
    let first = block.items.partition_point(|row| row.range.start < within.start);
    let whole = block.items.iter().skip(first).take_while(|row| row.range.end <= within.end);
    let is_header = |row: &Range<u32>| block.header.as_ref() == Some(row);
    let rows: Vec<_> = whole.filter(|row| !is_header(&row.range)).collect();
    let ends = (rows.first(), rows.last());
    let added = rows.iter().map(|row| cells(&row.parts));
    match parts.last_mut() {
        Some(Part::Table { range, rows, .. }) if again => {
            if let (Some(first), Some(last)) = ends {
                if rows.is_empty() {
                    range.start = first.range.start;
                }
                range.end = last.range.end;
            }
            rows.extend(added);
        }
        _ => {
            let named = block.items.iter().take(1).find(|row| is_header(&row.range));
            let header = named.map(|row| cells(&row.parts)).unwrap_or_default();
            let range = match ends {
                (Some(first), Some(last)) => first.range.start..last.range.end,
                _ => within.clone(),
            };
            parts.push(Part::Table { range, header, rows: added.collect() });
        }
    }
}
