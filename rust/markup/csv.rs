//! A glossary as a table: comma-separated values with the columns term, aliases and definition.
//!
//! A row becomes an item of a list of definitions, so that it is read, cut and quoted as such a list on a page is. Quoting
//! is that of RFC 4180; the separator is the one of comma, semicolon and tab that the first line has most of.

use super::slugs::{SlugStyle, Slugger};
use super::writer::{Meta, Writer, collapsed};
use super::{Options, Page, PageKind};
use crate::error::{Error, Result};

/// Which column is which.
struct Columns {
    term: usize,
    aliases: Option<usize>,
    definition: usize,
}

/// Reads a glossary of comma-separated values. Columns are found by their names `term`, `aliases` and `definition` in the
/// first row; without such a row they are, in this order, two (without aliases) or three.
///
/// # Errors
/// [`Error::DocumentUnreadable`] where the columns cannot be told, or when the text is longer than 1 GiB.
pub fn parse_csv(text: &str, options: &Options) -> Result<Page> {
    let mut rows = Rows::new(text).peekable();
    let mut writer = Writer::new(text.len(), None)?;
    let mut slugs = Slugger::new(SlugStyle::GitHub);
    if let Some(first) = rows.peek() {
        let (columns, named) = columns(first)?;
        if named {
            rows.next();
        }
        writer.start_definitions();
        for row in rows {
            let cell = |column: usize| row.get(column).map(String::as_str).unwrap_or_default();
            let term = collapsed(cell(columns.term));
            if term.is_empty() || cell(columns.definition).trim().is_empty() {
                continue;
            }
            writer.start_item(slugs.slug(&term).as_deref(), false);
            writer.text(&term);
            for alias in columns.aliases.map(cell).unwrap_or_default().split(['|', ';', ',']).map(collapsed) {
                if !alias.is_empty() {
                    writer.start_item(None, true);
                    writer.text(&alias);
                }
            }
            for line in cell(columns.definition).lines() {
                writer.end_line();
                writer.text(line);
            }
        }
        writer.end_list();
    }
    let mut page = writer.finish(Meta { omitted: options.omitted.clone(), ..Meta::default() })?;
    page.kind = Some(PageKind::Glossary);
    Ok(page)
}

/// The columns that a first row tells, and whether it names them.
fn columns(first: &[String]) -> Result<(Columns, bool)> {
    let find = |name: &str| first.iter().position(|cell| cell.trim().eq_ignore_ascii_case(name));
    match (find("term"), find("definition")) {
        (Some(term), Some(definition)) => Ok((Columns { term, aliases: find("aliases"), definition }, true)),
        (None, None) if first.len() == 3 => Ok((Columns { term: 0, aliases: Some(1), definition: 2 }, false)),
        (None, None) if first.len() == 2 => Ok((Columns { term: 0, aliases: None, definition: 1 }, false)),
        _ => Err(Error::DocumentUnreadable {
            reason: format!(
                "its first row has {} columns and does not name both term and definition, so it is no glossary",
                first.len()
            ),
        }),
    }
}

/// The rows that are not empty, one after the other.
struct Rows<'a> {
    rest: &'a str,
    separator: char,
}

impl<'a> Rows<'a> {
    fn new(text: &'a str) -> Self {
        let first = text.lines().next().unwrap_or_default();
        // Of equally many the last one counts, so the comma is last.
        let separator = ['\t', ';', ','].into_iter().max_by_key(|separator| first.matches(*separator).count());
        Self { rest: text, separator: separator.unwrap_or(',') }
    }

    /// One cell, and whether it is the last of its row.
    fn cell(&mut self) -> (String, bool) {
        let mut cell = String::new();
        let mut quoted = false;
        let mut characters = self.rest.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            let after = at + character.len_utf8();
            if quoted {
                match character {
                    '"' if characters.next_if(|&(_, next)| next == '"').is_some() => cell.push('"'),
                    '"' => quoted = false,
                    _ => cell.push(character),
                }
            } else if character == '"' && cell.trim().is_empty() {
                cell.clear();
                quoted = true;
            } else if character == self.separator {
                self.rest = self.rest.get(after..).unwrap_or_default();
                return (cell, false);
            } else if matches!(character, '\n' | '\r') {
                let paired = character == '\r' && characters.next_if(|&(_, next)| next == '\n').is_some();
                self.rest = self.rest.get(after + usize::from(paired)..).unwrap_or_default();
                return (cell, true);
            } else {
                cell.push(character);
            }
        }
        self.rest = "";
        (cell, true)
    }
}

impl Iterator for Rows<'_> {
    type Item = Vec<String>;

    fn next(&mut self) -> Option<Vec<String>> {
        while !self.rest.is_empty() {
            let mut row = Vec::new();
            loop {
                let (cell, last) = self.cell();
                row.push(cell);
                if last {
                    break;
                }
            }
            if row.iter().any(|cell| !cell.trim().is_empty()) {
                return Some(row);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Page {
        parse_csv(text, &Options::default()).unwrap()
    }

    #[test]
    fn rows_are_definitions() {
        let page = read(
            "definition,Term,aliases\r\n\"What is \"\"done\"\",\nin two lines\",Entry, Record|Line \r\n,empty,\n\nMore,Other,\n",
        );
        assert_eq!(page.text, "- Entry\n- Record\n- Line\n  What is \"done\",\n  in two lines\n- Other\n  More");
        assert_eq!(page.kind, Some(PageKind::Glossary));
        let items = &page.blocks[0].items;
        let terms = |item: usize| items[item].parts.iter().map(|part| page.slice(part)).collect::<Vec<_>>();
        assert_eq!((terms(0), terms(1)), (vec!["Entry", "Record", "Line"], vec!["Other"]));
        assert_eq!(items[0].anchor.as_deref(), Some("entry"));
    }

    #[test]
    fn columns_are_named_or_counted() {
        assert_eq!(read("a;x|y;b, c\n").text, "- a\n- x\n- y\n  b, c");
        assert_eq!(read("a\tb\n").text, "- a\n  b");
        assert_eq!(read("").text, "");
        for text in ["a\n", "a,b,c,d\n", "term,meaning\n"] {
            assert!(parse_csv(text, &Options::default()).unwrap_err().to_string().contains("no glossary"), "{text}");
        }
    }

    fn quoted(cell: &str) -> String {
        format!("\"{}\"", cell.replace('"', "\"\""))
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_read(rows in prop::collection::vec(prop::collection::vec("[a-z\",;\t\n é]{0,8}x", 3), 1..6)) {
            let line = |row: &Vec<String>| row.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",") + "\r\n";
            let text = rows.iter().map(line).collect::<Vec<_>>().concat();
            let reader = Rows { rest: &text, separator: ',' };
            prop_assert_eq!(reader.collect::<Vec<_>>(), rows);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a,;\"\t\r\n é]{0,60}") {
            let _ = parse_csv(&text, &Options::default());
        }
    }
}
