//! The one place where canonical text is written: readers of Markdown, HTML and plain text say what they meet, the writer
//! knows what becomes of it.
//!
//! Text gathers in one pending line, white space collapsed. What ends the line (a block's boundary) decides what it was: a
//! paragraph, a line of a list, a cell. Each line is brought to NFC when it is written; line ends never compose with what
//! follows, so the whole text is NFC.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::{Map, Value};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::boilerplate;
use super::slugs::{SlugStyle, Slugger};
use super::{Block, BlockKind, Image, Item, Page, PageKind, Question};
use crate::error::{Error, Result};

/// The longest document in bytes; ranges are 32 bits and markers may lengthen the text.
const MAXIMUM_BYTES: usize = 1 << 30;
/// Deeper lists are indented no further than this.
const MAXIMUM_COLUMN: usize = 24;

/// What stands between the cells of a row.
const CELL_SEPARATOR: &str = " | ";

/// A longer heading, in bytes, is one that nobody closed: it swallowed the text after it, and every chunk below would carry
/// it.
const MAXIMUM_HEADING: usize = 1000;

/// An image's longer address, in bytes, is none: it holds the image itself.
const MAXIMUM_ADDRESS: usize = 2048;

/// Questions inside the answer to a question are told apart up to this depth: every chunk carries those around it.
const MAXIMUM_QUESTIONS: usize = 2;

/// A link around several blocks is given up after so many.
const CARD_BLOCKS: u8 = 6;

/// How much of a block's visible text is what, in bytes without white space.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stats {
    pub(super) text: u32,
    pub(super) linked: u32,
    pub(super) in_page: u32,
    pub(super) image: u32,
    pub(super) links: u32,
}

impl Stats {
    fn add(&mut self, other: Self) {
        self.text += other.text;
        self.linked += other.linked;
        self.in_page += other.in_page;
        self.image += other.image;
        self.links += other.links;
    }
}

/// What the writer knows of a block beyond what the page keeps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Notes {
    pub(super) stats: Stats,
    /// The page marks it as a table of contents.
    pub(super) contents: bool,
}

/// What is known of the page beside its blocks.
#[derive(Debug, Default)]
pub(super) struct Meta {
    pub(super) front_matter: Map<String, Value>,
    /// The HTML `title` element.
    pub(super) title_element: Option<String>,
    pub(super) site_name: Option<String>,
    pub(super) breadcrumb: Vec<String>,
    pub(super) language: Option<String>,
    pub(super) canonical_url: Option<String>,
    pub(super) hidden_dropped: u32,
    /// What the front matter says that the page is.
    pub(super) kind: Option<PageKind>,
    /// The scripts of linked data.
    pub(super) linked_data: Vec<String>,
    /// Headings of sections that are left out.
    pub(super) omitted: Vec<String>,
}

/// What the writer found beside blocks.
#[derive(Debug, Default)]
pub(super) struct Finds {
    pub(super) questions: Vec<Question>,
    pub(super) images: Vec<Image>,
}

/// An image whose block is not written yet.
#[derive(Debug)]
struct PendingImage {
    source: String,
    alternative: String,
}

/// How far an element is read that may hold a question and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Nothing was asked yet.
    Unasked,
    /// The block of this number will be the question.
    Asking(usize),
    /// The question of this number was asked.
    Asked(usize),
    /// What was asked is no question.
    Void,
}

/// A figure that is being read: the number of its first image, and where its caption stands.
#[derive(Debug)]
struct Figure {
    first: usize,
    caption: Option<Range<u32>>,
}

#[derive(Debug)]
struct Link {
    in_page: bool,
    fragment: Option<String>,
    start: usize,
    before: Stats,
}

#[derive(Debug)]
struct Heading {
    level: u8,
    own: Option<String>,
    permalink: Option<String>,
    inner: Option<String>,
    before: Option<String>,
}

#[derive(Debug)]
struct List {
    number: Option<u64>,
    marker_column: usize,
    text_column: usize,
    marker: Option<String>,
    anchor: Option<String>,
    fresh: bool,
    /// Whether its items are terms.
    definitions: bool,
}

#[derive(Debug, Default)]
struct Table {
    nested: u32,
    cells: Vec<String>,
    header: bool,
    in_cell: bool,
    stats: Stats,
}

#[derive(Debug)]
struct Open {
    kind: BlockKind,
    start: usize,
    items: Vec<Item>,
    header: Option<Range<u32>>,
    language: Option<String>,
    anchor: Option<String>,
    stats: Stats,
}

/// Writes one page.
#[derive(Debug)]
pub(super) struct Writer {
    text: String,
    blocks: Vec<Block>,
    notes: Vec<Notes>,
    inline: String,
    line: Stats,
    open: Option<Open>,
    link: Option<Link>,
    heading: Option<Heading>,
    lists: Vec<List>,
    table: Option<Table>,
    quotes: u32,
    contents: u32,
    /// An anchor seen since the last text, and whether it is a named one (else it is an enclosing element's).
    pending: Option<(String, bool)>,
    anchor: Option<String>,
    slugger: Option<Slugger>,
    own_url: Option<String>,
    /// Whether a link may go over several blocks (Markdown made from HTML), and how many more it may.
    cards: bool,
    card: u8,
    /// Images of the pending line or of cells not written yet.
    images: Vec<PendingImage>,
    figures: Vec<Figure>,
    /// The elements open at this place that may hold a question and its answer.
    answers: Vec<Answer>,
    finds: Finds,
}

impl Writer {
    /// A writer for a document of `length` bytes.
    pub(super) fn new(length: usize, slugs: Option<SlugStyle>) -> Result<Self> {
        if length > MAXIMUM_BYTES {
            return Err(Error::DocumentUnreadable { reason: format!("it is longer than {MAXIMUM_BYTES} bytes") });
        }
        Ok(Self {
            text: String::with_capacity(length / 2),
            blocks: Vec::new(),
            notes: Vec::new(),
            inline: String::new(),
            line: Stats::default(),
            open: None,
            link: None,
            heading: None,
            lists: Vec::new(),
            table: None,
            quotes: 0,
            contents: 0,
            pending: None,
            anchor: None,
            slugger: slugs.map(Slugger::new),
            own_url: None,
            cards: false,
            card: 0,
            images: Vec::new(),
            figures: Vec::new(),
            answers: Vec::new(),
            finds: Finds::default(),
        })
    }

    /// Sets the page's own address, so that links to it count as links into the page.
    pub(super) fn own_url(&mut self, url: Option<&str>) {
        self.own_url = url.map(|url| url.trim_end_matches('/').to_owned());
    }

    /// Reads `[`, some blocks and `](address)` as a link around the blocks, as converters from HTML write it.
    pub(super) fn allow_cards(&mut self) {
        self.cards = true;
    }

    /// Appends running text to the pending line, white space collapsed, invisible characters left out.
    pub(super) fn text(&mut self, text: &str) {
        let visible = collapse_into(&mut self.inline, text);
        self.line.text += visible;
        if let Some(link) = &self.link {
            self.line.linked += visible;
            self.line.in_page += if link.in_page { visible } else { 0 };
        }
    }

    /// Appends an image's alternative text and remembers its address.
    pub(super) fn image(&mut self, alternative: &str, source: &str) {
        let before = self.line.text;
        self.text(alternative);
        self.line.image += self.line.text - before;
        let source = source.trim();
        if !source.is_empty() && source.len() <= MAXIMUM_ADDRESS && !source.starts_with("data:") {
            self.images.push(PendingImage { source: source.to_owned(), alternative: collapsed(alternative) });
        }
    }

    /// Finds the images of a block that was just written in its text from `start` on.
    fn place_images(&mut self, start: usize) {
        // After one that was composed with what stands beside it the others are not looked for: each would cost a scan.
        let mut from = Some(start);
        for image in self.images.drain(..) {
            let mut alternative = None;
            if let Some(begin) = from
                && !image.alternative.is_empty()
            {
                let found = self.text.get(begin..).and_then(|rest| rest.find(&image.alternative));
                let range = found.map(|at| begin + at..begin + at + image.alternative.len());
                from = range.as_ref().map(|range| range.end);
                alternative = range.map(|range| range.start as u32..range.end as u32);
            }
            self.finds.images.push(Image { source: image.source, alternative, caption: None });
        }
    }

    /// A figure begins.
    pub(super) fn start_figure(&mut self) {
        self.end_line();
        self.flush_images();
        self.figures.push(Figure { first: self.finds.images.len(), caption: None });
    }

    /// A figure ends: its caption is that of each of its images.
    pub(super) fn end_figure(&mut self) {
        self.end_line();
        self.flush_images();
        let Some(figure) = self.figures.pop() else { return };
        if let Some(caption) = figure.caption {
            for image in self.finds.images.get_mut(figure.first..).unwrap_or_default() {
                image.caption.get_or_insert_with(|| caption.clone());
            }
        }
    }

    /// A figure's caption begins; returns where it will stand in the text, for `end_caption`.
    pub(super) fn start_caption(&mut self) {
        self.end_line();
        self.flush_images();
        if let Some(figure) = self.figures.last_mut() {
            let at = self.text.len() as u32;
            figure.caption = Some(at..at);
        }
    }

    /// The caption ends.
    pub(super) fn end_caption(&mut self) {
        self.end_line();
        let Some(caption) = self.figures.last_mut().and_then(|figure| figure.caption.as_mut()) else { return };
        let written = self.text.get(caption.start as usize..).unwrap_or_default();
        let end = self.text.len() as u32;
        let start = end - written.trim_start().len() as u32;
        let one = !written.trim().contains('\n');
        self.figures.last_mut().into_iter().for_each(|figure| {
            figure.caption = Some(start..end).filter(|range| one && range.start < range.end);
        });
    }

    /// Images without a text of theirs have no block to be found in.
    fn flush_images(&mut self) {
        if !self.is_one_line() && self.inline.trim().is_empty() {
            self.place_images(self.text.len());
        }
    }

    /// What follows asks a question, up to `end_asking`.
    pub(super) fn start_asking(&mut self) {
        self.end_line();
        self.close_block();
        let block = self.blocks.len();
        if let Some(answer) = self.answers.last_mut().filter(|answer| **answer == Answer::Unasked) {
            *answer = Answer::Asking(block);
        }
    }

    /// The question was asked; what follows answers it, up to `end_answer`.
    pub(super) fn end_asking(&mut self) {
        self.end_line();
        let around = self.answers.iter().filter(|answer| matches!(answer, Answer::Asked(_))).count();
        let Some(Answer::Asking(block)) = self.answers.last().copied() else { return };
        // In a list or a cell what is asked is no block of its own.
        let asked = block + 1 == self.blocks.len() && around < MAXIMUM_QUESTIONS;
        if let Some(answer) = self.answers.last_mut() {
            *answer = if asked { Answer::Asked(self.finds.questions.len()) } else { Answer::Void };
        }
        if asked {
            self.finds.questions.push(Question { block: block as u32, end: None });
        }
    }

    /// An element begins that holds a question and its answer.
    pub(super) fn start_answer(&mut self) {
        self.end_line();
        self.answers.push(Answer::Unasked);
    }

    /// That element ends.
    pub(super) fn end_answer(&mut self) {
        self.end_line();
        self.close_block();
        let end = self.blocks.len() as u32;
        if let Some(Answer::Asked(question)) = self.answers.pop()
            && let Some(question) = self.finds.questions.get_mut(question)
        {
            question.end = Some(end);
        }
    }

    /// A line end that a reader sees. Two in a row end a paragraph.
    pub(super) fn line_break(&mut self) {
        if self.is_one_line() {
            self.text(" ");
            return;
        }
        self.inline.truncate(self.inline.trim_end_matches(' ').len());
        if self.inline.ends_with('\n') {
            if self.lists.is_empty() {
                self.end_line();
            }
        } else if !self.inline.is_empty() {
            self.inline.push('\n');
        }
    }

    /// A block's boundary: the pending line is written as what it is.
    pub(super) fn end_line(&mut self) {
        if self.is_one_line() {
            self.text(" ");
            return;
        }
        let inline = std::mem::take(&mut self.inline);
        let stats = std::mem::take(&mut self.line);
        self.forget_link_start();
        let line = inline.trim();
        if !line.is_empty() {
            self.write_line(&composed(line), stats);
        }
        self.inline = inline;
        self.inline.clear();
    }

    /// The pending line was taken: what an open link shows begins with the next.
    fn forget_link_start(&mut self) {
        if let Some(link) = &mut self.link {
            link.start = 0;
            link.before = Stats::default();
        }
    }

    fn is_one_line(&self) -> bool {
        self.heading.is_some() || self.table.as_ref().is_some_and(|table| table.in_cell)
    }

    /// Follows a link around several blocks: its brackets leave no text.
    fn card<'l>(&mut self, line: &'l str, stats: &mut Stats) -> &'l str {
        if line.starts_with('[') && !line.contains(']') && (line == "[" || stats.image > 0) {
            self.card = CARD_BLOCKS;
            stats.text -= 1;
            return line.get(1..).unwrap_or_default().trim_start();
        }
        if self.card == 0 {
            return line;
        }
        self.card -= 1;
        let mut shown = line;
        if let Some((front, target)) = line.rsplit_once("](")
            && target.ends_with(')')
            && !target.contains(char::is_whitespace)
        {
            self.card = 0;
            shown = front;
            stats.links += 1;
            stats.text = front.split_whitespace().map(str::len).sum::<usize>() as u32;
        }
        stats.linked = stats.text;
        shown
    }

    fn write_line(&mut self, line: &str, mut stats: Stats) {
        let line = if self.cards { self.card(line, &mut stats) } else { line };
        if line.is_empty() {
            return;
        }
        if !self.lists.is_empty() {
            self.write_list_line(line, stats, true);
            return;
        }
        let kind = if stats.image == stats.text {
            BlockKind::Image
        } else if self.quotes > 0 {
            BlockKind::Quote
        } else {
            BlockKind::Paragraph
        };
        self.open_block(kind);
        let start = self.text.len();
        self.text.push_str(line);
        self.place_images(start);
        self.close_block_with(stats);
    }

    fn write_list_line(&mut self, line: &str, stats: Stats, indented: bool) {
        if self.open.as_ref().is_some_and(|open| open.kind == BlockKind::List) {
            self.text.push('\n');
        } else {
            self.open_block(BlockKind::List);
        }
        let start = self.text.len() as u32;
        let (Some(open), Some(list)) = (self.open.as_mut(), self.lists.last_mut()) else { return };
        let marker = list.marker.take();
        let begins_term = marker.is_some();
        let column = if marker.is_some() { list.marker_column } else { list.text_column };
        let text_column = list.text_column;
        if indented || marker.is_some() {
            push_spaces(&mut self.text, column);
        }
        self.text.push_str(marker.as_deref().unwrap_or_default());
        for (index, part) in line.split('\n').enumerate() {
            if index > 0 {
                self.text.push('\n');
                push_spaces(&mut self.text, if indented { text_column } else { 0 });
            }
            self.text.push_str(part);
        }
        let end = self.text.len() as u32;
        let term = end - line.len() as u32..end;
        let is_term = begins_term && self.lists.len() == 1 && !line.contains('\n');
        if let Some(outermost) = self.lists.first_mut()
            && (std::mem::take(&mut outermost.fresh) || open.items.is_empty())
        {
            open.items.push(Item { range: start..start, anchor: outermost.anchor.take(), parts: Vec::new() });
        }
        if let Some(item) = open.items.last_mut() {
            item.range.end = end;
            if is_term && self.lists.first().is_some_and(|list| list.definitions) {
                item.parts.push(term);
            }
        }
        open.stats.add(stats);
        self.place_images(start as usize);
    }

    fn open_block(&mut self, kind: BlockKind) {
        self.close_block();
        if let Some((anchor, true)) = self.pending.take() {
            self.anchor = Some(anchor);
        }
        if !self.text.is_empty() {
            self.text.push_str("\n\n");
        }
        self.open = Some(Open {
            kind,
            start: self.text.len(),
            items: Vec::new(),
            header: None,
            language: None,
            anchor: self.anchor.clone(),
            stats: Stats::default(),
        });
    }

    fn close_block_with(&mut self, stats: Stats) {
        if let Some(open) = &mut self.open {
            open.stats.add(stats);
        }
        self.close_block();
    }

    fn close_block(&mut self) {
        let Some(open) = self.open.take() else { return };
        self.notes.push(Notes { stats: open.stats, contents: self.contents > 0 });
        self.blocks.push(Block {
            kind: open.kind,
            range: open.start as u32..self.text.len() as u32,
            anchor: open.anchor,
            items: open.items,
            header: open.header,
            retrievable: true,
            language: open.language,
        });
    }

    /// A heading begins, with the anchor of its own element if it has one.
    pub(super) fn start_heading(&mut self, level: u8, own: Option<&str>) {
        self.end_heading();
        self.end_line();
        if self.is_one_line() {
            return;
        }
        self.close_block();
        let before = self.pending.take().map(|(anchor, _)| anchor);
        self.heading = Some(Heading { level, own: own.map(str::to_owned), permalink: None, inner: None, before });
    }

    /// The heading ends; without text it only leaves its anchor to what follows.
    pub(super) fn end_heading(&mut self) {
        let Some(heading) = self.heading.take() else { return };
        let inline = std::mem::take(&mut self.inline);
        let mut stats = std::mem::take(&mut self.line);
        if self.card > 0 {
            stats.linked = stats.text;
        }
        let line = composed(inline.trim()).into_owned();
        let given = heading.own.or(heading.permalink).or(heading.inner).or(heading.before);
        if line.is_empty() {
            self.pending = given.map(|anchor| (anchor, true)).or(self.pending.take());
            return;
        }
        if line.len() > MAXIMUM_HEADING {
            self.pending = given.map(|anchor| (anchor, true)).or(self.pending.take());
            self.write_line(&line, stats);
            self.forget_link_start();
            return;
        }
        let anchor = match (given, &mut self.slugger) {
            (Some(anchor), slugger) => {
                if let Some(slugger) = slugger {
                    slugger.reserve(&anchor);
                }
                Some(anchor)
            }
            (None, Some(slugger)) => slugger.slug(&line),
            (None, None) => None,
        };
        self.open_block(BlockKind::Heading(heading.level));
        let start = self.text.len();
        self.text.push_str(&line);
        self.place_images(start);
        if let Some(open) = &mut self.open {
            open.anchor.clone_from(&anchor);
        }
        self.close_block_with(stats);
        self.anchor = anchor.or(self.anchor.take());
        self.forget_link_start();
    }

    /// A place that can be linked to: `named` for an empty anchor, else the id of an element around what follows.
    pub(super) fn anchor(&mut self, anchor: &str, named: bool) {
        if anchor.is_empty() {
            return;
        }
        if let Some(heading) = &mut self.heading {
            heading.inner.get_or_insert_with(|| anchor.to_owned());
        } else if let [list] = self.lists.as_mut_slice()
            && named
            && list.fresh
        {
            list.anchor.get_or_insert_with(|| anchor.to_owned());
        } else if self.inline.trim().is_empty() {
            self.pending = Some((anchor.to_owned(), named));
        }
    }

    /// A link begins.
    pub(super) fn start_link(&mut self, target: &str) {
        self.end_link();
        let (page, fragment) = target.split_once('#').map_or((target, None), |(page, part)| (page, Some(part)));
        let own = self.own_url.as_deref().is_some_and(|own| own == page.trim_end_matches('/'));
        self.link = Some(Link {
            in_page: fragment.is_some() && (page.is_empty() || own),
            fragment: fragment.filter(|fragment| !fragment.is_empty()).map(str::to_owned),
            start: self.inline.len(),
            before: self.line,
        });
    }

    /// The link ends; a permalink's sign leaves no text but gives the anchor.
    pub(super) fn end_link(&mut self) {
        let Some(link) = self.link.take() else { return };
        let shown = self.inline.get(link.start..).unwrap_or_default().trim();
        match link.fragment {
            Some(fragment) if (link.in_page || self.heading.is_some()) && is_permalink_sign(shown) => {
                self.inline.truncate(link.start);
                self.line = link.before;
                if let Some(heading) = &mut self.heading {
                    heading.permalink.get_or_insert(fragment);
                } else if let [list] = self.lists.as_mut_slice()
                    && list.fresh
                {
                    list.anchor.get_or_insert(fragment);
                }
            }
            _ => self.line.links += 1,
        }
    }

    /// A list of definitions begins: its items are terms, each followed by what is said of it.
    pub(super) fn start_definitions(&mut self) {
        let depth = self.lists.len();
        self.start_list(None);
        if let Some(list) = self.lists.get_mut(depth) {
            list.definitions = true;
        }
    }

    /// A list begins; `first` is the number of an ordered list's first item.
    pub(super) fn start_list(&mut self, first: Option<u64>) {
        self.end_line();
        if self.is_one_line() {
            return;
        }
        let column = self.lists.last().map_or(0, |list| list.text_column);
        self.lists.push(List {
            number: first,
            marker_column: column,
            text_column: column,
            marker: None,
            anchor: None,
            fresh: false,
            definitions: false,
        });
    }

    /// A list ends; the outermost one ends the block.
    pub(super) fn end_list(&mut self) {
        self.end_line();
        if self.is_one_line() {
            return;
        }
        self.lists.pop();
        if self.lists.is_empty() {
            self.close_block();
        }
    }

    /// An item begins. One that `continues` the item before (a second name of one definition) is not cut from it.
    pub(super) fn start_item(&mut self, anchor: Option<&str>, continues: bool) {
        self.end_line();
        if self.is_one_line() {
            return;
        }
        if let Some(list) = self.lists.last_mut() {
            let marker = match &mut list.number {
                Some(number) => {
                    let marker = format!("{number}. ");
                    *number = number.saturating_add(1);
                    marker
                }
                None => String::from("- "),
            };
            list.text_column = (list.marker_column + marker.len()).min(MAXIMUM_COLUMN);
            list.marker = Some(marker);
            if !continues {
                list.fresh = true;
                list.anchor = anchor.map(str::to_owned);
            }
        }
    }

    /// A table begins; one inside a cell becomes text of that cell.
    pub(super) fn start_table(&mut self) {
        if let Some(table) = &mut self.table {
            table.nested += 1;
            self.text(" ");
            return;
        }
        self.end_line();
        if self.heading.is_none() {
            self.table = Some(Table::default());
        }
    }

    /// A table ends.
    pub(super) fn end_table(&mut self) {
        match &mut self.table {
            Some(table) if table.nested > 0 => table.nested -= 1,
            Some(_) => {
                self.end_row();
                self.end_line();
                self.table = None;
                if self.lists.is_empty() {
                    self.close_block();
                }
            }
            None => {}
        }
    }

    /// A row begins; `header` where its cells name the columns.
    pub(super) fn start_row(&mut self, header: bool) {
        if self.table.as_ref().is_some_and(|table| table.nested == 0) {
            self.end_row();
            self.end_line();
            if let Some(table) = &mut self.table {
                table.header = header;
            }
        }
    }

    /// A row ends and is written: its cells in one line.
    pub(super) fn end_row(&mut self) {
        self.end_cell();
        let Some(table) = self.table.as_mut().filter(|table| table.nested == 0) else { return };
        let (cells, stats) = (std::mem::take(&mut table.cells), std::mem::take(&mut table.stats));
        let header = std::mem::take(&mut table.header);
        if cells.iter().all(String::is_empty) {
            return;
        }
        let row = cells.join(CELL_SEPARATOR);
        let row = row.trim_end();
        if !self.lists.is_empty() {
            self.write_list_line(row, stats, true);
            return;
        }
        if self.open.as_ref().is_some_and(|open| open.kind == BlockKind::Table) {
            self.text.push('\n');
        } else {
            self.open_block(BlockKind::Table);
        }
        let start = self.text.len() as u32;
        self.text.push_str(row);
        let range = start..self.text.len() as u32;
        if let Some(open) = &mut self.open {
            if header && open.items.is_empty() {
                open.header = Some(range.clone());
            }
            let parts = cell_ranges(&cells, &range);
            open.items.push(Item { range, anchor: None, parts });
            open.stats.add(stats);
        }
        self.place_images(start as usize);
    }

    /// A cell begins.
    pub(super) fn start_cell(&mut self) {
        match &mut self.table {
            Some(table) if table.nested == 0 => {
                self.end_cell();
                self.end_line();
                if let Some(table) = &mut self.table {
                    table.in_cell = true;
                }
            }
            _ => self.text(" "),
        }
    }

    /// A cell ends.
    pub(super) fn end_cell(&mut self) {
        let Some(table) = self.table.as_mut().filter(|table| table.nested == 0 && table.in_cell) else { return };
        table.in_cell = false;
        table.cells.push(composed(self.inline.trim()).into_owned());
        table.stats.add(std::mem::take(&mut self.line));
        self.inline.clear();
        self.forget_link_start();
    }

    /// Preformatted text, verbatim but for line ends and control codes; white space around it is left out.
    pub(super) fn code(&mut self, code: &str, language: Option<&str>) {
        self.end_line();
        if self.is_one_line() {
            self.text(code);
            return;
        }
        let code = verbatim(code);
        if code.is_empty() {
            return;
        }
        let size = code.bytes().filter(|byte| !byte.is_ascii_whitespace()).count() as u32;
        let stats = Stats { text: size, ..Stats::default() };
        if !self.lists.is_empty() {
            self.write_list_line(&code, stats, false);
            return;
        }
        self.open_block(BlockKind::Code);
        let mut start = self.text.len() as u32;
        self.text.push_str(&code);
        if let Some(open) = &mut self.open {
            open.language = language.map(str::to_owned);
            for line in code.split('\n') {
                let end = start + line.len() as u32;
                open.items.push(Item { range: start..end, anchor: None, parts: Vec::new() });
                start = end + 1;
            }
        }
        self.close_block_with(stats);
    }

    /// A quotation begins.
    pub(super) fn start_quote(&mut self) {
        self.end_line();
        self.quotes += 1;
    }

    /// A quotation ends.
    pub(super) fn end_quote(&mut self) {
        self.end_line();
        self.quotes = self.quotes.saturating_sub(1);
    }

    /// A part begins that the page marks as its table of contents.
    pub(super) fn start_contents(&mut self) {
        self.end_line();
        self.close_block();
        self.contents += 1;
    }

    /// That part ends.
    pub(super) fn end_contents(&mut self) {
        self.end_line();
        self.close_block();
        self.contents = self.contents.saturating_sub(1);
    }

    /// The page.
    pub(super) fn finish(mut self, meta: Meta) -> Result<Page> {
        self.end_link();
        self.end_heading();
        self.end_table();
        self.lists.truncate(1);
        self.end_list();
        self.end_line();
        while !self.answers.is_empty() {
            self.end_answer();
        }
        self.close_block();
        if u32::try_from(self.text.len()).is_err() {
            return Err(Error::DocumentUnreadable { reason: "its text is longer than 4 GiB".to_owned() });
        }
        self.place_images(self.text.len());
        Ok(boilerplate::page(self.text, self.blocks, self.notes, meta, self.finds))
    }
}

/// Where the cells of a row stand that begins at `row`; those of an end that was cut off are empty.
fn cell_ranges(cells: &[String], row: &Range<u32>) -> Vec<Range<u32>> {
    let mut at = row.start;
    let mut ranges = Vec::with_capacity(cells.len());
    for cell in cells {
        let end = (at + cell.len() as u32).min(row.end);
        ranges.push(at.min(row.end)..end);
        at = end + CELL_SEPARATOR.len() as u32;
    }
    while ranges.last().is_some_and(Range::is_empty) {
        ranges.pop();
    }
    ranges
}

/// Appends `text` with each run of white space as one space and without invisible characters; returns the visible bytes.
fn collapse_into(line: &mut String, text: &str) -> u32 {
    let bytes = text.as_bytes();
    let (mut at, mut visible) = (0, 0);
    while let Some(&byte) = bytes.get(at) {
        let run = bytes.get(at..).unwrap_or_default().iter().take_while(|byte| (0x21..0x7F).contains(*byte)).count();
        if run > 0 {
            line.push_str(text.get(at..at + run).unwrap_or_default());
            visible += run;
            at += run;
        } else if byte <= b' ' || byte == 0x7F {
            if byte.is_ascii_whitespace() || byte == 0x0B {
                push_space(line);
            }
            at += 1;
        } else {
            let character = text.get(at..).and_then(|rest| rest.chars().next()).unwrap_or(' ');
            at += character.len_utf8();
            if character.is_whitespace() {
                push_space(line);
            } else if !is_invisible(character) {
                line.push(character);
                visible += character.len_utf8();
            }
        }
    }
    visible as u32
}

/// The text of `words` with white space collapsed, in NFC.
pub(super) fn collapsed(words: &str) -> String {
    let mut line = String::new();
    collapse_into(&mut line, words);
    composed(line.trim()).into_owned()
}

fn push_space(line: &mut String) {
    if !line.is_empty() && !line.ends_with([' ', '\n']) {
        line.push(' ');
    }
}

fn push_spaces(text: &mut String, count: usize) {
    text.extend(std::iter::repeat_n(' ', count));
}

/// Characters that show nothing and only get between a reader's word and the page's: soft hyphen, zero-width space, byte
/// order mark, control codes. Joiners and direction marks stay, since scripts need them.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{AD}' | '\u{200B}' | '\u{2060}' | '\u{FEFF}') || character.is_control()
}

fn composed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.nfc().collect())
    }
}

fn verbatim(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut characters = code.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' => {
                characters.next_if_eq(&'\n');
                kept.push('\n');
            }
            '\n' | '\t' => kept.push(character),
            '\u{A0}' => kept.push(' '),
            _ if is_invisible(character) => {}
            _ => kept.push(character),
        }
    }
    let end = kept.trim_end().len();
    let kept = kept.get(..end).unwrap_or_default();
    let blank = kept.split_inclusive('\n').take_while(|line| line.trim().is_empty()).map(str::len).sum::<usize>();
    composed(kept.get(blank..).unwrap_or_default()).into_owned()
}

/// Whether a link's text is only the sign that makes a heading's anchor easy to copy.
fn is_permalink_sign(shown: &str) -> bool {
    matches!(shown, "" | "#" | "¶" | "§" | "🔗" | "🔗\u{FE0E}" | "🔗\u{FE0F}" | "⚓" | "\u{F0C1}" | "\\#" | "[link]")
}
