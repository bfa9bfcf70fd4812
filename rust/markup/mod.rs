//! Markdown, HTML and plain text to canonical text and blocks.
//!
//! A page becomes one string, its visible text in reading order, and a list of blocks that are ranges of it. Everything
//! later (chunks, quotes, citations) points into that string, so there is exactly one rule per kind of block, and all three
//! readers feed one writer that knows the rules; they are specified in `docs/canonical-text.md`.
//!
//! What readers of the page see but never search for (tables of contents, reading times, prompts for feedback) stays in
//! the text and is marked as not retrievable, so that a span always finds what stands on the page.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, Result};

mod boilerplate;
mod csv;
mod dialects;
mod dom;
mod front_matter;
mod html;
mod linked_data;
mod links;
mod markdown;
mod omission;
mod slugs;
mod text;
mod writer;

pub use csv::parse_csv;
pub use html::{parse_content, parse_html};
pub use links::{Link, Links};
pub use markdown::parse_markdown;
pub use slugs::SlugStyle;
pub use text::parse_plain;

/// How a page is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The generator whose rule turns a Markdown heading without an explicit anchor into one; `None` leaves it without.
    /// HTML has the anchors it has: no rule is applied to it.
    pub slugs: Option<SlugStyle>,
    /// The dialect of Markdown.
    pub dialect: Dialect,
    /// Headings of sections that are left out, with all that stands under them.
    pub omitted: Vec<String>,
}

/// What Markdown has beside `CommonMark`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Nothing.
    #[default]
    Common,
    /// MDX as Docusaurus reads it: components, imports and exports, expressions, admonitions between colons.
    Mdx,
    /// `MkDocs`: admonitions and tabs whose content is indented.
    MkDocs,
}

impl Default for Options {
    fn default() -> Self {
        Self { slugs: Some(SlugStyle::GitHub), dialect: Dialect::Common, omitted: Vec::new() }
    }
}

/// A page as canonical text and blocks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The canonical text: visible text in reading order, NFC, blocks separated by one blank line.
    pub text: String,
    /// The blocks in order; their ranges do not overlap.
    pub blocks: Vec<Block>,
    /// The front matter's `title`, else the first heading of level 1, else the HTML title without the site's name, else
    /// the first heading.
    pub title: Option<String>,
    /// The path of page names above this one, outermost first, where the page shows one.
    pub breadcrumb: Vec<String>,
    /// The language the page says it is written in, as it says it (`en`, `pt-BR`).
    pub language: Option<String>,
    /// The address the page gives as its own.
    pub canonical_url: Option<String>,
    /// The front matter, empty where there is none.
    pub front_matter: serde_json::Map<String, serde_json::Value>,
    /// The number of elements with text that were left out because a browser would not show them.
    pub hidden_dropped: u32,
    /// Whether the page is (almost) only links to other pages.
    pub hub: bool,
    /// What the page says that it is: the front matter's `kind`, else its linked data's type.
    pub kind: Option<PageKind>,
    /// The questions that the page marks as such, in order; see [`Question`].
    pub questions: Vec<Question>,
    /// The images with a text of their own, in order.
    pub images: Vec<Image>,
}

/// What a page is as a whole, where that decides how it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageKind {
    /// Terms with their definitions.
    Glossary,
    /// Questions with their answers.
    Faq,
}

impl PageKind {
    /// The kind of a name as it stands in front matter and settings.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "glossary" => Some(Self::Glossary),
            "faq" => Some(Self::Faq),
            _ => None,
        }
    }

    /// The kind's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Glossary => "glossary",
            Self::Faq => "faq",
        }
    }
}

/// A question with its answer, by the numbers of blocks: what a `details` element opens with, or what the page's linked
/// data names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The block that asks.
    pub block: u32,
    /// The block after the answer's last one; `None` where the answer ends at the next heading or question.
    pub end: Option<u32>,
}

/// An image and what is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its address, as the page writes it.
    pub source: String,
    /// Where its alternative text stands in [`Page::text`].
    pub alternative: Option<Range<u32>>,
    /// Where its caption stands.
    pub caption: Option<Range<u32>>,
}

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockKind {
    /// A heading of level 1 to 6.
    Heading(u8),
    /// Running text.
    Paragraph,
    /// A list, or a list of definitions, with everything in it.
    List,
    /// A table.
    Table,
    /// Preformatted text.
    Code,
    /// One or more images by themselves, as their alternative text.
    Image,
    /// A paragraph of a quotation.
    Quote,
}

/// A part of a list, table or code block at which it may be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The bytes of [`Page::text`] it takes, without the line end.
    pub range: Range<u32>,
    /// The item's own anchor (a defined term's).
    pub anchor: Option<String>,
    /// The cells of a row, the terms of a definition; else empty.
    pub parts: Vec<Range<u32>>,
}

/// A block of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What it is.
    pub kind: BlockKind,
    /// The bytes of [`Page::text`] it takes.
    pub range: Range<u32>,
    /// A heading's own anchor; for other blocks the nearest anchor at or before it.
    pub anchor: Option<String>,
    /// The items of a list with all that belongs to each, the rows of a table, the lines of code; else empty.
    pub items: Vec<Item>,
    /// A table's header row.
    pub header: Option<Range<u32>>,
    /// Whether the block belongs into a chunk.
    pub retrievable: bool,
    /// The language of a code block, as the page names it.
    pub language: Option<String>,
}

impl Block {
    /// The level of a heading.
    #[must_use]
    pub fn heading_level(&self) -> Option<u8> {
        match self.kind {
            BlockKind::Heading(level) => Some(level),
            _ => None,
        }
    }
}

impl Page {
    /// Whether a block asks for feedback on the page.
    #[must_use]
    pub fn is_feedback(&self, block: &Block) -> bool {
        boilerplate::is_feedback(self.slice(&block.range))
    }

    /// The text of `range`, empty where it is no range of the text.
    #[must_use]
    pub fn slice(&self, range: &Range<u32>) -> &str {
        self.text.get(range.start as usize..range.end as usize).unwrap_or_default()
    }
}

/// The text of a Markdown, plain or JSON file's bytes: UTF-8, with or without a byte order mark, or UTF-16 with one.
///
/// # Errors
/// [`Error::DocumentUnreadable`] with the offset of the first byte that does not belong.
pub fn decode(bytes: &[u8]) -> Result<Cow<'_, str>> {
    match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest, 3),
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => utf8(bytes, 0),
    }
}

/// The text of an HTML file's bytes: as [`decode`], else in the encoding that the page declares in its first kibibyte.
///
/// A page that declares an encoding is read as a browser reads it, with U+FFFD for what does not belong.
///
/// # Errors
/// [`Error::DocumentUnreadable`] when the bytes are not UTF-8 and no known encoding is declared.
pub fn decode_html(bytes: &[u8]) -> Result<Cow<'_, str>> {
    decode(bytes).or_else(|error| match declared_encoding(bytes.get(..1024).unwrap_or(bytes)) {
        Some(encoding) => Ok(encoding.decode(bytes).0),
        None => Err(error),
    })
}

fn utf8(bytes: &[u8], skipped: usize) -> Result<Cow<'_, str>> {
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| Error::DocumentUnreadable {
        reason: format!("it is not UTF-8 at byte {}", error.valid_up_to() + skipped),
    })
}

fn utf16(bytes: &[u8], unit: impl Fn([u8; 2]) -> u16) -> Result<Cow<'static, str>> {
    let unreadable = |offset| Error::DocumentUnreadable { reason: format!("it is not UTF-16 at byte {offset}") };
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(bytes.len());
    let mut offset = 2;
    for decoded in char::decode_utf16(pairs.iter().map(|&pair| unit(pair))) {
        let character = decoded.map_err(|_| unreadable(offset))?;
        offset += character.len_utf16() * 2;
        text.push(character);
    }
    if rest.is_empty() { Ok(Cow::Owned(text)) } else { Err(unreadable(offset)) }
}

/// The encoding named after `charset=` or, in an XML declaration, `encoding=`.
fn declared_encoding(head: &[u8]) -> Option<&'static encoding_rs::Encoding> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    ["charset", "encoding"].iter().find_map(|key| {
        head.match_indices(key).find_map(|(at, _)| {
            let value = head.get(at + key.len()..)?.trim_start().strip_prefix('=')?;
            let value = value.trim_start().trim_start_matches(['"', '\'']);
            let end = value.find(|c: char| !(c.is_ascii_alphanumeric() || "-_:.".contains(c))).unwrap_or(value.len());
            encoding_rs::Encoding::for_label(value.get(..end)?.as_bytes())
        })
    })
}

#[cfg(test)]
mod tests;
