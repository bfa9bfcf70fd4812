//! Markdown: `CommonMark` with tables, footnotes, definition lists, heading attributes and front matter.
//!
//! HTML inside goes through the reader of HTML, block by block, into the same writer, so a table or an anchor written in
//! HTML is what it would be on a page of HTML.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Parser, Tag, TagEnd};

use super::writer::{Meta, Writer};
use super::{Options, Page, PageKind, dialects, front_matter, html};
use crate::error::Result;

/// Reads Markdown.
///
/// # Errors
/// [`crate::error::Error::DocumentUnreadable`] when the front matter is no mapping or the text is longer than 1 GiB.
pub fn parse_markdown(text: &str, options: &Options) -> Result<Page> {
    let (front_matter, skipped) = front_matter::split(text)?;
    let body = text.get(skipped..).unwrap_or_default();
    let string = |keys: &[&str]| {
        let mut values = keys.iter().filter_map(|&key| front_matter.get(key)?.as_str().map(str::trim));
        values.find(|value| !value.is_empty()).map(str::to_owned)
    };
    let canonical_url = string(&["canonical_url", "canonical", "url", "permalink"])
        .filter(|url| url.starts_with("http://") || url.starts_with("https://"));
    let kind = front_matter.get("kind").and_then(|kind| PageKind::from_name(kind.as_str()?.trim()));
    let language = string(&["lang", "language", "locale"]);
    let mut reader = Reader {
        writer: Writer::new(text.len(), options.slugs)?,
        code: None,
        alternative: None,
        html: None,
        label: None,
        hidden: 0,
    };
    reader.writer.allow_cards();
    reader.writer.own_url(canonical_url.as_deref());
    let omitted = options.omitted.clone();
    for event in Parser::new_ext(&dialects::common(&unix_lines(body), options.dialect), extensions()) {
        reader.event(event);
    }
    let hidden_dropped = reader.hidden;
    let meta = Meta { front_matter, language, canonical_url, hidden_dropped, kind, omitted, ..Meta::default() };
    reader.writer.finish(meta)
}

fn extensions() -> pulldown_cmark::Options {
    use pulldown_cmark::Options as Extensions;
    Extensions::ENABLE_TABLES
        | Extensions::ENABLE_FOOTNOTES
        | Extensions::ENABLE_STRIKETHROUGH
        | Extensions::ENABLE_TASKLISTS
        | Extensions::ENABLE_HEADING_ATTRIBUTES
        | Extensions::ENABLE_GFM
        | Extensions::ENABLE_DEFINITION_LIST
}

fn unix_lines(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { text.into() }
}

struct Reader {
    writer: Writer,
    /// The code block being read, with its language.
    code: Option<(String, Option<String>)>,
    /// The alternative text of the image being read, and its address.
    alternative: Option<(String, String)>,
    /// The HTML block being read.
    html: Option<String>,
    /// The label of the footnote whose first line is to come.
    label: Option<String>,
    hidden: u32,
}

impl Reader {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Code(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                self.text(&text);
            }
            Event::Html(html) => match &mut self.html {
                Some(buffer) => buffer.push_str(&html),
                None => self.hidden += html::parse_fragment(&html, &mut self.writer),
            },
            Event::InlineHtml(html) => html::inline_tag(&html, &mut self.writer),
            Event::FootnoteReference(name) => self.text(&format!("[{name}]")),
            Event::SoftBreak => self.text(" "),
            Event::HardBreak => self.writer.line_break(),
            Event::Rule => self.writer.end_line(),
            Event::TaskListMarker(done) => self.text(if done { "[x] " } else { "[ ] " }),
        }
    }

    fn text(&mut self, text: &str) {
        if let Some((code, _)) = &mut self.code {
            code.push_str(text);
        } else if let Some((alternative, _)) = &mut self.alternative {
            alternative.push_str(text);
        } else {
            self.writer.text(text);
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph => {
                self.writer.end_line();
                if let Some(label) = self.label.take() {
                    self.writer.text(&label);
                }
            }
            Tag::Heading { level, id, .. } => self.writer.start_heading(number(level), id.as_deref()),
            Tag::BlockQuote(_) => self.writer.start_quote(),
            Tag::CodeBlock(kind) => {
                let language = match &kind {
                    CodeBlockKind::Fenced(info) => info.split([' ', ',', '{']).next().map(str::trim),
                    CodeBlockKind::Indented => None,
                };
                self.code = Some((String::new(), language.filter(|name| !name.is_empty()).map(str::to_owned)));
            }
            Tag::HtmlBlock => {
                self.html = Some(String::new());
            }
            Tag::List(first) => self.writer.start_list(first),
            Tag::Item | Tag::DefinitionListTitle => self.writer.start_item(None, false),
            Tag::DefinitionList => self.writer.start_definitions(),
            Tag::DefinitionListDefinition => self.writer.end_line(),
            Tag::FootnoteDefinition(name) => {
                self.writer.end_line();
                self.label = Some(format!("[{name}] "));
            }
            Tag::Table(_) => self.writer.start_table(),
            Tag::TableHead => self.writer.start_row(true),
            Tag::TableRow => self.writer.start_row(false),
            Tag::TableCell => self.writer.start_cell(),
            Tag::Link { dest_url, .. } => self.writer.start_link(&dest_url),
            Tag::Image { dest_url, .. } => self.alternative = Some((String::new(), dest_url.into_string())),
            Tag::Emphasis
            | Tag::Strong
            | Tag::Strikethrough
            | Tag::Superscript
            | Tag::Subscript
            | Tag::MetadataBlock(_) => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => self.writer.end_heading(),
            TagEnd::BlockQuote(_) => self.writer.end_quote(),
            TagEnd::CodeBlock => {
                if let Some((code, language)) = self.code.take() {
                    self.writer.code(&code, language.as_deref());
                }
            }
            TagEnd::HtmlBlock => {
                if let Some(html) = self.html.take() {
                    self.hidden += html::parse_fragment(&html, &mut self.writer);
                }
            }
            TagEnd::List(_) | TagEnd::DefinitionList => self.writer.end_list(),
            TagEnd::Paragraph
            | TagEnd::Item
            | TagEnd::DefinitionListTitle
            | TagEnd::DefinitionListDefinition
            | TagEnd::FootnoteDefinition => self.writer.end_line(),
            TagEnd::Table => self.writer.end_table(),
            TagEnd::TableHead | TagEnd::TableRow => self.writer.end_row(),
            TagEnd::TableCell => self.writer.end_cell(),
            TagEnd::Link => self.writer.end_link(),
            TagEnd::Image => {
                if let Some((alternative, source)) = self.alternative.take() {
                    self.writer.image(&alternative, &source);
                }
            }
            _ => {}
        }
    }
}

fn number(level: HeadingLevel) -> u8 {
    level as u8
}
