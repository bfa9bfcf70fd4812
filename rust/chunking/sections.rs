//! What of a page belongs together: the sections under its headings, the terms of a glossary, the questions of a FAQ.
//!
//! A term and a question are sections of their own, under a heading path that ends in them, whether a page writes them as
//! headings, as a list of definitions or as elements that fold. So one rule holds for every chunk: it never leaves its
//! section. What a page is comes from its kind, which a person or the page itself has said; no words are guessed at.

use rustc_hash::FxHashMap;

use super::Entry;
use crate::markup::{Block, Page, PageKind};

/// The level of a question or term that is no heading: below all headings.
const BELOW_HEADINGS: u8 = 7;

/// How the anchors of a PDF's pages begin. A section never goes over the end of such a page: its anchor holds for all of it.
const PAGE_ANCHOR: &str = "page=";

/// What a question ends in.
const QUESTION_MARKS: [char; 4] = ['?', '？', '؟', '⁇'];

/// The headings above a place.
#[derive(Clone, Debug, Default)]
pub(super) struct Path {
    headings: Vec<(u8, String, Option<String>)>,
    /// The anchor of the page that is read, where the document is made of such.
    sheet: Option<String>,
}

impl Path {
    pub(super) fn descend(&mut self, level: u8, heading: &str, anchor: Option<&str>) {
        self.ascend(level);
        self.headings.push((level, heading.to_owned(), anchor.map(str::to_owned)));
    }

    fn ascend(&mut self, level: u8) {
        while self.headings.last().is_some_and(|&(above, ..)| above >= level) {
            self.headings.pop();
        }
    }

    pub(super) fn headings(&self) -> Vec<String> {
        self.headings.iter().map(|(_, heading, _)| heading.clone()).collect()
    }

    pub(super) fn anchor(&self) -> Option<String> {
        let heading = || self.headings.iter().rev().find_map(|(.., anchor)| anchor.clone());
        self.sheet.clone().or_else(heading)
    }

    pub(super) fn key(&self) -> Vec<String> {
        let name = |(_, heading, anchor): &(u8, String, Option<String>)| {
            anchor.clone().unwrap_or_else(|| heading.to_lowercase())
        };
        self.headings.iter().map(name).collect()
    }
}

/// A part of a section: a block by its number, or an item of one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    Block(usize),
    Item(usize, usize),
}

/// A question or term that is open at a place.
struct Open {
    level: u8,
    /// The block after its last one; where there is none it ends at a heading of its level or above.
    end: Option<usize>,
    block: usize,
    entry: Entry,
    visited: bool,
}

/// Calls `visit` for each section that holds anything, in reading order.
pub(super) fn each(page: &Page, kind: Option<PageKind>, visit: impl FnMut(&Path, &[Content], Option<&Entry>)) {
    let term_level = if kind == Some(PageKind::Glossary) { term_level(page) } else { None };
    let questions =
        page.questions.iter().map(|question| (question.block as usize, question.end.map(|end| end as usize)));
    let mut walk = Walk {
        page,
        kind,
        term_level,
        questions: questions.collect(),
        path: Path::default(),
        open: Vec::new(),
        contents: Vec::new(),
        visit,
    };
    for (index, block) in page.blocks.iter().enumerate() {
        walk.close(index, block);
        if block.retrievable {
            walk.block(index, block);
        }
    }
    walk.close_all();
}

struct Walk<'a, V> {
    page: &'a Page,
    kind: Option<PageKind>,
    term_level: Option<u8>,
    questions: FxHashMap<usize, Option<usize>>,
    path: Path,
    open: Vec<Open>,
    contents: Vec<Content>,
    visit: V,
}

impl<V: FnMut(&Path, &[Content], Option<&Entry>)> Walk<'_, V> {
    /// Ends the questions and terms that do not reach the block of this number.
    fn close(&mut self, index: usize, block: &Block) {
        let level = block.heading_level().filter(|_| block.retrievable);
        let over = |open: &Open| match open.end {
            Some(end) => end <= index,
            None => level.is_some_and(|level| level <= open.level),
        };
        while self.open.last().is_some_and(over) {
            self.close_last();
        }
    }

    fn close_all(&mut self) {
        while !self.open.is_empty() {
            self.close_last();
        }
        self.flush();
    }

    fn close_last(&mut self) {
        self.flush();
        let Some(open) = self.open.pop() else { return };
        if !open.visited && open.level >= BELOW_HEADINGS {
            // A question without an answer is found all the same.
            (self.visit)(&self.path, &[Content::Block(open.block)], Some(&open.entry));
        }
        self.path.ascend(open.level);
    }

    /// Hands over what has gathered.
    fn flush(&mut self) {
        if self.contents.is_empty() {
            return;
        }
        let entry = self.open.last_mut().map(|open| {
            open.visited = true;
            &open.entry
        });
        (self.visit)(&self.path, &self.contents, entry);
        self.contents.clear();
    }

    fn block(&mut self, index: usize, block: &Block) {
        let text = self.page.slice(&block.range);
        if let Some(open) = self.opened(index, block, text) {
            while open.end.is_none()
                && self.open.last().is_some_and(|last| last.end.is_none() && last.level >= open.level)
            {
                self.close_last();
            }
            self.flush();
            self.path.descend(open.level, text, block.heading_level().and(block.anchor.as_deref()));
            if let Some(around) = self.open.last_mut() {
                around.visited = true;
            }
            self.open.push(open);
        } else if let Some(level) = block.heading_level().filter(|_| self.open.is_empty()) {
            self.flush();
            self.path.descend(level, text, block.anchor.as_deref());
        } else if self.kind == Some(PageKind::Glossary) && self.open.is_empty() && is_definitions(block) {
            self.flush();
            self.definitions(index, block);
        } else {
            let sheet = sheet(block).filter(|sheet| self.path.sheet.as_ref() != Some(sheet));
            if sheet.is_some() {
                self.flush();
                self.path.sheet = sheet;
            }
            self.contents.push(Content::Block(index));
        }
    }

    /// The question or term that a block opens.
    fn opened(&self, index: usize, block: &Block, text: &str) -> Option<Open> {
        let heading = block.heading_level();
        let question = || Entry::Question(text.to_owned());
        let (level, end, entry) = match self.questions.get(&index) {
            Some(&end) if self.kind == Some(PageKind::Faq) || asks(text) => {
                let within = self.open.iter().filter(|open| open.end.is_some()).count() as u8;
                let level = heading.filter(|_| end.is_none()).unwrap_or(BELOW_HEADINGS + within);
                (level, end, question())
            }
            _ => match (self.kind, heading?) {
                (Some(PageKind::Faq), level) if asks(text) => (level, None, question()),
                (Some(PageKind::Glossary), level) if Some(level) == self.term_level => {
                    (level, None, self.term(text, &[]))
                }
                _ => return None,
            },
        };
        Some(Open { level, end, block: index, entry, visited: false })
    }

    /// Hands over each item of a list of definitions as a section of its own.
    fn definitions(&mut self, index: usize, block: &Block) {
        for (number, item) in block.items.iter().enumerate() {
            let terms: Vec<&str> = item.parts.iter().map(|part| self.page.slice(part)).collect();
            let contents = [Content::Item(index, number)];
            let Some((first, others)) = terms.split_first() else {
                (self.visit)(&self.path, &contents, None);
                continue;
            };
            let entry = self.term(first, others);
            self.path.descend(BELOW_HEADINGS, first, item.anchor.as_deref());
            (self.visit)(&self.path, &contents, Some(&entry));
            self.path.ascend(BELOW_HEADINGS);
        }
    }

    /// A term and its aliases: what stands in brackets after it, further terms of its definition, those of the front matter.
    fn term(&self, text: &str, others: &[&str]) -> Entry {
        let (term, bracketed) = match text.strip_suffix([')', '）']).and_then(|front| front.rsplit_once(['(', '（']))
        {
            Some((term, aliases)) if !term.trim().is_empty() => (term.trim(), aliases),
            _ => (text, ""),
        };
        let listed = self.page.front_matter.get("aliases").and_then(|aliases| aliases.get(term));
        let listed = match listed {
            Some(serde_json::Value::String(one)) => split_aliases(one).collect(),
            Some(serde_json::Value::Array(several)) => several.iter().filter_map(serde_json::Value::as_str).collect(),
            _ => Vec::new(),
        };
        let mut aliases: Vec<String> = Vec::new();
        for alias in split_aliases(bracketed).chain(others.iter().copied()).chain(listed) {
            let alias = alias.trim();
            if !alias.is_empty() && alias != term && !aliases.iter().any(|known| known == alias) && aliases.len() < 64 {
                aliases.push(alias.to_owned());
            }
        }
        Entry::Term { term: term.to_owned(), aliases }
    }
}

/// The anchor of the page of a PDF that a block stands on.
fn sheet(block: &Block) -> Option<String> {
    block.anchor.clone().filter(|anchor| anchor.starts_with(PAGE_ANCHOR))
}

fn split_aliases(list: &str) -> impl Iterator<Item = &str> {
    list.split([',', ';', '|', '/', '、', '，']).map(str::trim).filter(|alias| !alias.is_empty())
}

/// Whether a text ends in a question mark, brackets and quotation marks behind it apart.
fn asks(text: &str) -> bool {
    let text = text.trim_end_matches(|c: char| c.is_whitespace() || "\"'”’»)]*_#".contains(c));
    text.ends_with(QUESTION_MARKS)
}

/// Whether a block is a list of terms with their definitions.
fn is_definitions(block: &Block) -> bool {
    matches!(block.kind, crate::markup::BlockKind::List) && block.items.iter().any(|item| !item.parts.is_empty())
}

/// The level of heading that most terms of a glossary have: one with something below it that is no list of definitions.
/// Of equally frequent levels it is the innermost.
fn term_level(page: &Page) -> Option<u8> {
    let mut counts = [0u32; 7];
    let mut heading = None;
    for block in page.blocks.iter().filter(|block| block.retrievable) {
        match block.heading_level() {
            Some(level) => heading = Some(level),
            None if !is_definitions(block) => {
                if let Some(count) = heading.take().and_then(|level| counts.get_mut(usize::from(level))) {
                    *count += 1;
                }
            }
            None => {}
        }
    }
    let (level, count) = counts.iter().enumerate().max_by_key(|&(_, count)| count)?;
    (*count > 0).then_some(level as u8)
}
