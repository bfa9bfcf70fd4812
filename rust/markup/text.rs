//! Plain text: paragraphs between blank lines, line ends kept.

use super::writer::{Meta, Writer};
use super::{Options, Page};
use crate::error::Result;

/// Reads plain text: a blank line ends a paragraph, a line's end is kept, other white space collapses to one space.
///
/// # Errors
/// [`crate::error::Error::DocumentUnreadable`] when the text is longer than 1 GiB.
pub fn parse_plain(text: &str, options: &Options) -> Result<Page> {
    let mut writer = Writer::new(text.len(), None)?;
    let ends =
        if text.contains('\n') { &['\n', '\u{2028}', '\u{2029}'][..] } else { &['\n', '\r', '\u{2028}', '\u{2029}'] };
    for line in text.split(ends) {
        if line.trim().is_empty() {
            writer.end_line();
        } else {
            writer.text(line);
            writer.line_break();
        }
    }
    writer.finish(Meta { omitted: options.omitted.clone(), ..Meta::default() })
}
