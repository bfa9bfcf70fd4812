//! HTML: the main content of a page, whatever generator made it, to the writer.
//!
//! The page is measured once, bottom up: how much text each element holds, how much of it is links, whether a heading is
//! inside. From these come both decisions that no tag name settles alone: what is the site's frame, and where the content
//! is. Then the content is walked once and told to the writer.

use html5ever::{LocalName, local_name};

use super::dom::{Content, Dom, NodeId, Step};
use super::writer::{Meta, Writer, collapsed};
use super::{Options, Page};
use crate::error::Result;

/// Reads HTML.
///
/// # Errors
/// [`crate::error::Error::DocumentUnreadable`] when the text is longer than 1 GiB.
pub fn parse_html(text: &str, options: &Options) -> Result<Page> {
    let mut writer = Writer::new(text.len(), None)?;
    let dom = Dom::parse(text);
    let survey = Survey::of(&dom);
    let mut meta = head(&dom);
    meta.linked_data = linked_data(&dom);
    writer.own_url(meta.canonical_url.as_deref());
    let (root, breadcrumb) = survey.content_root();
    meta.breadcrumb = breadcrumb;
    meta.omitted.clone_from(&options.omitted);
    meta.hidden_dropped = Reader::new(&dom, &survey, &mut writer).read(root);
    let mut page = writer.finish(meta)?;
    if page.breadcrumb.last() == page.title.as_ref() {
        page.breadcrumb.pop();
    }
    Ok(page)
}

/// Reads HTML that is content throughout, as readers of other formats write it: nothing is taken for a site's frame.
///
/// # Errors
/// [`crate::error::Error::DocumentUnreadable`] when the text is longer than 1 GiB.
pub fn parse_content(text: &str, options: &Options) -> Result<Page> {
    let mut writer = Writer::new(text.len(), None)?;
    let hidden_dropped = parse_fragment(text, &mut writer);
    writer.finish(Meta { hidden_dropped, omitted: options.omitted.clone(), ..Meta::default() })
}

/// Reads a piece of HTML that stands in another document; returns the number of hidden elements left out.
pub(super) fn parse_fragment(html: &str, writer: &mut Writer) -> u32 {
    if html.trim_start().starts_with("<!--") && html.trim_end().ends_with("-->") && html.matches("-->").count() == 1 {
        return 0;
    }
    let dom = Dom::parse(html);
    let survey = Survey::of(&dom);
    writer.end_line();
    let (opened, closed) = answer_tags(html);
    let mut reader = Reader::new(&dom, &survey, writer);
    // What a piece leaves open goes on in the Markdown after it.
    reader.answers = (opened > closed).then_some(closed);
    let hidden = reader.read(survey.body());
    for _ in opened..closed {
        writer.end_answer();
    }
    writer.end_line();
    hidden
}

/// How many elements that may hold a question and its answer begin in `html`, and how many end.
fn answer_tags(html: &str) -> (usize, usize) {
    let count =
        |tag: &str| html.as_bytes().windows(tag.len()).filter(|at| at.eq_ignore_ascii_case(tag.as_bytes())).count();
    (count("<details"), count("</details"))
}

/// Reads one tag that stands in running text.
pub(super) fn inline_tag(html: &str, writer: &mut Writer) {
    if html.len() >= 3 && html.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("</a")) {
        writer.end_link();
        return;
    }
    if html.starts_with("</") || html.starts_with("<!") || html.starts_with("<?") {
        return;
    }
    // Most tags in running text only emphasise; a parser for each would be most of the work on such a page.
    let has = |part: &str| html.as_bytes().windows(part.len()).any(|bytes| bytes.eq_ignore_ascii_case(part.as_bytes()));
    if !["<br", "<im", "id", "name", "href"].into_iter().any(has) {
        return;
    }
    let dom = Dom::parse(html);
    let Some(tag) = Survey::of(&dom).first_in_body(&dom) else { return };
    let attribute = |name| dom.attribute(tag, &name).filter(|value| !value.is_empty());
    if let Some(anchor) = attribute(local_name!("id")).or(attribute(local_name!("name"))) {
        writer.anchor(anchor, true);
    }
    match dom.name(tag) {
        Some(&local_name!("br")) => writer.line_break(),
        Some(&local_name!("img")) => {
            writer.image(attribute(local_name!("alt")).unwrap_or_default(), image_source(&dom, tag));
        }
        _ => {
            if let Some(target) = attribute(local_name!("href")) {
                writer.start_link(target);
            }
        }
    }
}

/// What an element is for, beside what its name says.
mod flag {
    pub(super) const DROPPED: u32 = 1;
    pub(super) const HIDDEN: u32 = 1 << 1;
    pub(super) const NOTE: u32 = 1 << 2;
    pub(super) const CONTENTS: u32 = 1 << 3;
    pub(super) const WEAK: u32 = 1 << 4;
    pub(super) const FRAME: u32 = 1 << 5;
    pub(super) const TRAIL: u32 = 1 << 6;
    /// A section with the id of a site's frame: dropped unless it holds a heading, of which the id may be made.
    pub(super) const UNTITLED: u32 = 1 << 7;
    // What is inside:
    pub(super) const HEADING: u32 = 1 << 8;
    pub(super) const FIRST_HEADING: u32 = 1 << 9;
    pub(super) const NAVIGATION: u32 = 1 << 10;
    pub(super) const HEADER_CELL: u32 = 1 << 11;
    pub(super) const PREFORMATTED: u32 = 1 << 12;
    pub(super) const PARAGRAPH: u32 = 1 << 13;
    pub(super) const INSIDE: u32 = 0xFF00;
    /// One of several alternatives of which a script shows one, hidden until then.
    pub(super) const ALTERNATIVE: u32 = 1 << 16;
    /// The element holds alternatives of which one is the default.
    pub(super) const DEFAULTED: u32 = 1 << 17;
}

/// One element, measured.
#[derive(Clone, Copy, Debug, Default)]
struct Measure {
    /// Bytes of shown text without white space at its ends.
    text: u32,
    /// Those of them in links.
    linked: u32,
    flags: u32,
}

/// A page, measured.
struct Survey<'a> {
    dom: &'a Dom,
    measures: Vec<Measure>,
}

impl<'a> Survey<'a> {
    fn of(dom: &'a Dom) -> Self {
        let mut survey = Self { dom, measures: vec![Measure::default(); dom.len()] };
        let mut links = 0u32;
        dom.walk(0, |step| {
            match step {
                Step::Enter(id) => match dom.content(id) {
                    Content::Text(text) => {
                        let length = text.trim().len() as u32;
                        survey.set(id, Measure { text: length, linked: if links > 0 { length } else { 0 }, flags: 0 });
                    }
                    Content::Element(name, attributes) => {
                        let mut flags = if attributes.is_empty() { 0 } else { survey.marks(id, name) };
                        flags |= named(name);
                        survey.set(id, Measure { flags, ..Measure::default() });
                        links += u32::from(is_link(dom, id));
                    }
                    Content::Nothing => {}
                },
                Step::Leave(id) => {
                    links -= u32::from(is_link(dom, id));
                    survey.settle(id);
                }
            }
            true
        });
        survey
    }

    fn set(&mut self, id: NodeId, measure: Measure) {
        if let Some(slot) = self.measures.get_mut(id as usize) {
            *slot = measure;
        }
    }

    fn measure(&self, id: NodeId) -> Measure {
        self.measures.get(id as usize).copied().unwrap_or_default()
    }

    fn has(&self, id: NodeId, flags: u32) -> bool {
        self.measure(id).flags & flags != 0
    }

    /// Adds a node's measure to its parent's, unless the node turns out to belong to the site's frame.
    fn settle(&mut self, id: NodeId) {
        let mut measure = self.measure(id);
        let dense = measure.linked * 2 >= measure.text;
        let frame = measure.flags & flag::FRAME != 0
            && (measure.flags & flag::FIRST_HEADING == 0 || measure.flags & flag::NAVIGATION != 0);
        let weak = measure.flags & flag::WEAK != 0 && measure.flags & flag::HEADING == 0 && dense;
        let untitled = measure.flags & flag::UNTITLED != 0 && measure.flags & flag::HEADING == 0;
        if frame || weak || untitled {
            measure.flags |= flag::DROPPED;
        }
        // Where a script chooses by system or program what is shown, sections of all of them are documentation.
        if measure.flags & flag::ALTERNATIVE != 0 && measure.flags & flag::HEADING != 0 {
            measure.flags &= !flag::HIDDEN;
        }
        if measure.flags & flag::CONTENTS != 0
            && (measure.linked * 4 < measure.text || measure.flags & flag::FIRST_HEADING != 0)
        {
            measure.flags &= !flag::CONTENTS;
        }
        self.set(id, measure);
        let Some(parent) = self.dom.parent(id) else { return };
        let mut around = self.measure(parent);
        around.flags |= measure.flags & flag::NAVIGATION;
        if measure.flags & (flag::DROPPED | flag::HIDDEN) == 0 {
            around.text += measure.text;
            around.linked += measure.linked;
            // The title of a note is no heading of the page.
            let note = if measure.flags & flag::NOTE != 0 { flag::HEADING | flag::FIRST_HEADING } else { 0 };
            around.flags |= measure.flags & flag::INSIDE & !note;
        }
        self.set(parent, around);
    }

    /// What an element's attributes say of it.
    fn marks(&self, id: NodeId, name: &LocalName) -> u32 {
        let mut flags = self.visibility(id);
        match self.dom.attribute(id, &local_name!("role")) {
            Some("navigation") => flags |= flag::DROPPED | flag::NAVIGATION,
            Some("contentinfo" | "search" | "complementary" | "dialog" | "alertdialog") => flags |= flag::DROPPED,
            Some("banner") => flags |= flag::FRAME,
            _ => {}
        }
        let is_block = *name != local_name!("span") && *name != local_name!("body") && *name != local_name!("html");
        let class = self.dom.attribute(id, &local_name!("class")).unwrap_or_default();
        flags |= words(class, is_block);
        // The id of a heading or a section is made of its title: a section on cookies is no cookie banner.
        let is_heading = named(name) & flag::HEADING != 0;
        if is_heading {
            // A heading that looks like a note is a heading all the same.
            flags &= !flag::NOTE;
        } else if let Some(value) = self.dom.attribute(id, &local_name!("id")) {
            let said = words(value, is_block);
            if *name != local_name!("section") && !is_section(class) {
                flags |= said;
            } else if said & flag::DROPPED != 0 {
                flags |= flag::UNTITLED;
            }
        }
        if is_block
            && self.dom.attribute(id, &LocalName::from("aria-label")).is_some_and(|label| {
                label.eq_ignore_ascii_case("breadcrumb") || label.eq_ignore_ascii_case("breadcrumbs")
            })
        {
            flags |= flag::TRAIL | flag::DROPPED;
        }
        if *name == local_name!("aside") && flags & flag::NOTE == 0 {
            flags |= flag::DROPPED;
        }
        flags
    }

    /// Whether a browser would show an element, as flags.
    fn visibility(&self, id: NodeId) -> u32 {
        let dom = self.dom;
        let is_default = |id| dom.attribute(id, &local_name!("id")).is_some_and(|id| id.starts_with("default"));
        let mut flags = 0;
        if dom.attribute(id, &local_name!("class")).is_some_and(|class| class.starts_with("switch")) {
            flags |= if dom.children(id).any(is_default) { flag::DEFAULTED } else { 0 };
        }
        if self.is_hidden(id) {
            return flags | flag::HIDDEN;
        }
        let hidden = dom.attribute(id, &local_name!("hidden")).is_some_and(|value| value != "until-found");
        if !hidden {
            return flags;
        }
        // Alternatives of which a script shows one: the page's own default is what a reader sees, without one each is.
        let parent = dom.parent(id).unwrap_or_default();
        let switched = dom.attribute(parent, &local_name!("class")).is_some_and(|class| class.starts_with("switch"));
        match (switched, self.has(parent, flag::DEFAULTED)) {
            (true, false) => flags,
            (true, true) if is_default(id) => flags,
            (true, true) => flags | flag::HIDDEN | flag::ALTERNATIVE,
            (false, _) => flags | flag::HIDDEN,
        }
    }

    /// Whether attributes other than `hidden` keep an element from being seen.
    fn is_hidden(&self, id: NodeId) -> bool {
        let dom = self.dom;
        // A permalink is often hidden from screen readers; it has no text, and its anchor is wanted.
        let permalink = || dom.attribute(id, &local_name!("href")).is_some_and(|target| target.contains('#'));
        if dom.attribute(id, &local_name!("aria-hidden")).is_some_and(|value| value == "true") && !permalink() {
            return true;
        }
        dom.attribute(id, &local_name!("style")).is_some_and(hides)
    }

    fn body(&self) -> NodeId {
        let html = self.dom.children(0).find(|&id| self.dom.name(id) == Some(&local_name!("html")));
        html.and_then(|html| self.dom.children(html).find(|&id| self.dom.name(id) == Some(&local_name!("body"))))
            .or(html)
            .unwrap_or(0)
    }

    fn first_in_body(&self, dom: &Dom) -> Option<NodeId> {
        dom.children(self.body()).find(|&id| dom.name(id).is_some())
    }

    /// The element that holds the content, and the names of the pages above where the page shows them.
    fn content_root(&self) -> (NodeId, Vec<String>) {
        let (mut mains, mut articles, mut known) = (Vec::new(), Vec::new(), Vec::new());
        let mut breadcrumb = Vec::new();
        self.dom.walk(self.body(), |step| {
            let Step::Enter(id) = step else { return true };
            let Some(name) = self.dom.name(id) else { return false };
            if self.has(id, flag::TRAIL) && breadcrumb.is_empty() {
                breadcrumb = self.trail(id);
            }
            if self.has(id, flag::HIDDEN) {
                return false;
            }
            let role = self.dom.attribute(id, &local_name!("role"));
            if *name == local_name!("main") || role == Some("main") {
                mains.push(id);
            } else if *name == local_name!("article") || role == Some("article") {
                articles.push(id);
            } else if *name != local_name!("span") && self.is_known(id) {
                known.push(id);
            }
            true
        });
        let body = self.body();
        let largest = |ids: &[NodeId]| ids.iter().copied().max_by_key(|&id| (self.measure(id).text, u32::MAX - id));
        let share = |id: NodeId, of: NodeId| self.measure(id).text * 2 >= self.measure(of).text;
        let mut root = largest(&mains).filter(|&id| self.measure(id).text > 0).unwrap_or(body);
        if let Some(article) = largest(&articles).filter(|&id| share(id, root)) {
            root = article;
        } else if let Some(id) = largest(&known).filter(|&id| root == body && share(id, body)) {
            root = id;
        }
        (self.narrowed(root), breadcrumb)
    }

    /// The names that generators and themes give to the element of the content.
    fn is_known(&self, id: NodeId) -> bool {
        let id_is = matches!(
            self.dom.attribute(id, &local_name!("id")),
            Some("main" | "main-content" | "mainContent" | "DisplayArea" | "bodyContent" | "mw-content-text")
        );
        id_is
            || self.dom.attribute(id, &local_name!("class")).is_some_and(|class| {
                class.split_ascii_whitespace().any(|word| {
                    matches!(
                        word,
                        "markdown-body"
                            | "md-content"
                            | "theme-doc-markdown"
                            | "rst-content"
                            | "main-content"
                            | "article-body"
                            | "article-content"
                            | "entry-content"
                            | "post-content"
                            | "page-content"
                            | "documentwrapper"
                    )
                })
            })
    }

    /// Goes inward as long as what is left behind is short or only links.
    fn narrowed(&self, mut root: NodeId) -> NodeId {
        loop {
            let kept = |id: &NodeId| !self.has(*id, flag::DROPPED | flag::HIDDEN);
            let Some(child) = self.dom.children(root).filter(kept).max_by_key(|&id| self.measure(id).text) else {
                return root;
            };
            let (whole, part) = (self.measure(root), self.measure(child));
            let mut left = 0;
            for id in self.dom.children(root).filter(kept).filter(|&id| id != child) {
                let measure = self.measure(id);
                let inside = measure.flags & (flag::HEADING | flag::PARAGRAPH | flag::PREFORMATTED) != 0;
                if inside && measure.linked * 2 < measure.text || measure.flags & flag::FIRST_HEADING != 0 {
                    return root;
                }
                left += measure.text - measure.linked.min(measure.text);
            }
            let is_container = matches!(
                self.dom.name(child),
                Some(
                    &local_name!("div")
                        | &local_name!("section")
                        | &local_name!("article")
                        | &local_name!("main")
                        | &local_name!("form")
                        | &local_name!("center")
                )
            );
            // An anchor of the content's outermost element belongs to its first heading: stop before losing it.
            let anchored = self.dom.attribute(child, &local_name!("id")).is_some();
            if !is_container || anchored || left > 60 || part.text * 10 < whole.text * 8 {
                return root;
            }
            root = child;
        }
    }

    /// The names in a trail of page names.
    fn trail(&self, root: NodeId) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let mut name = String::new();
        self.dom.walk(root, |step| {
            let (Step::Enter(id) | Step::Leave(id)) = step;
            if let Content::Text(text) = self.dom.content(id) {
                name.push_str(if step == Step::Enter(id) { text } else { "" });
                return true;
            }
            let whole = collapsed(&std::mem::take(&mut name));
            let whole = whole.trim_matches(|c: char| c.is_whitespace() || "/>›»→|".contains(c));
            if whole.chars().any(char::is_alphanumeric) && names.len() < 16 {
                names.push(whole.to_owned());
            }
            !self.has(id, flag::HIDDEN)
        });
        names
    }
}

fn is_link(dom: &Dom, id: NodeId) -> bool {
    dom.name(id) == Some(&local_name!("span")) && dom.attribute(id, &local_name!("href")).is_some()
}

/// What an element's name says of it.
fn named(name: &LocalName) -> u32 {
    match *name {
        local_name!("nav") => flag::DROPPED | flag::NAVIGATION,
        local_name!("script")
        | local_name!("style")
        | local_name!("noscript")
        | local_name!("template")
        | local_name!("footer")
        | local_name!("iframe")
        | local_name!("object")
        | local_name!("embed")
        | local_name!("canvas")
        | local_name!("video")
        | local_name!("audio")
        | local_name!("button")
        | local_name!("input")
        | local_name!("select")
        | local_name!("datalist")
        | local_name!("textarea")
        | local_name!("dialog")
        | local_name!("svg")
        | local_name!("map")
        | local_name!("head")
        | local_name!("title")
        | local_name!("rp") => flag::DROPPED,
        local_name!("header") => flag::FRAME,
        local_name!("h1") => flag::HEADING | flag::FIRST_HEADING,
        local_name!("h2") | local_name!("h3") | local_name!("h4") | local_name!("h5") | local_name!("h6") => {
            flag::HEADING
        }
        local_name!("th") => flag::HEADER_CELL,
        local_name!("pre") => flag::PREFORMATTED,
        local_name!("p") => flag::PARAGRAPH,
        _ => 0,
    }
}

/// Whether a class says that the element is a section of the text, as those of Sphinx (`section`) and `DocBook` (`sect1`) do.
fn is_section(class: &str) -> bool {
    class
        .split_ascii_whitespace()
        .any(|class| class == "section" || class.trim_end_matches(|c: char| c.is_ascii_digit()) == "sect")
}

/// What the words of a class or id say of an element.
fn words(value: &str, is_block: bool) -> u32 {
    let mut flags = 0;
    for class in value.split_ascii_whitespace() {
        match class {
            "sr-only" | "visually-hidden" | "screen-reader-text" => flags |= flag::HIDDEN,
            "table-of-contents" | "tableofcontents" if is_block => flags |= flag::CONTENTS,
            _ => {}
        }
        if !is_block {
            if matches!(class, "skip-link" | "skip-to-content" | "skiplink") {
                flags |= flag::DROPPED;
            }
            continue;
        }
        for word in class.split(['-', '_']) {
            flags |= match word {
                "navheader" | "navfooter" | "navbar" | "cookie" | "cookies" | "consent" | "gdpr" | "masthead"
                | "pagination" | "pager" | "newsletter" | "subscribe" | "skiplink" | "noprint" => flag::DROPPED,
                "breadcrumb" | "breadcrumbs" => flag::DROPPED | flag::TRAIL,
                "nav" | "menu" | "sidebar" | "footer" | "banner" | "search" | "share" | "sharing" | "social"
                | "widget" | "promo" | "modal" | "popup" | "toolbar" | "navigation" | "topbar" | "advert"
                | "headertabs" => flag::WEAK,
                "header" => flag::WEAK | flag::NAVIGATION,
                "toc" => flag::CONTENTS,
                "note" | "tip" | "warning" | "caution" | "important" | "admonition" | "admonitionblock" | "callout"
                | "alert" | "danger" | "hint" => flag::NOTE,
                _ => 0,
            };
        }
    }
    // A word in an id that only looks like navigation must not mark the elements around.
    flags & !flag::NAVIGATION
}

/// Whether an inline style keeps the element from being seen.
fn hides(style: &str) -> bool {
    let style: String = style.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
    style.split(';').any(|rule| {
        matches!(
            rule.trim_end_matches("!important"),
            "display:none"
                | "visibility:hidden"
                | "font-size:0"
                | "font-size:0px"
                | "font-size:0em"
                | "font-size:0rem"
                | "font-size:0pt"
                | "font-size:0%"
        )
    })
}

/// What the page's head says.
fn head(dom: &Dom) -> Meta {
    let mut meta = Meta::default();
    let mut page_url = None;
    dom.walk(0, |step| {
        let Step::Enter(id) = step else { return true };
        let attribute = |name| dom.attribute(id, &name).map(str::trim).filter(|value| !value.is_empty());
        let content = || attribute(local_name!("content")).map(str::to_owned);
        match dom.name(id) {
            Some(&local_name!("html")) => {
                meta.language =
                    attribute(local_name!("lang")).or(attribute(LocalName::from("xml:lang"))).map(str::to_owned);
            }
            Some(&local_name!("title")) if meta.title_element.is_none() => {
                meta.title_element = Some(collapsed(&dom.text(id))).filter(|title| !title.is_empty());
            }
            Some(&local_name!("link"))
                if attribute(local_name!("rel")).is_some_and(|rel| rel.eq_ignore_ascii_case("canonical")) =>
            {
                meta.canonical_url = meta.canonical_url.take().or(attribute(local_name!("href")).map(str::to_owned));
            }
            Some(&local_name!("meta")) => {
                match attribute(LocalName::from("property")).or(attribute(local_name!("name"))) {
                    Some("og:site_name" | "application-name") => meta.site_name = meta.site_name.take().or(content()),
                    Some("og:url") => page_url = content(),
                    _ => {}
                }
            }
            Some(&local_name!("body")) => return false,
            _ => {}
        }
        true
    });
    meta.canonical_url = meta.canonical_url.or(page_url).filter(|url| url.starts_with("http"));
    meta
}

/// The texts of all scripts of linked data; the tree keeps the text of no other script.
fn linked_data(dom: &Dom) -> Vec<String> {
    let mut scripts = Vec::new();
    dom.walk(0, |step| {
        if let Step::Enter(id) = step
            && dom.name(id) == Some(&local_name!("script"))
        {
            scripts.extend(Some(dom.text(id)).filter(|text| !text.is_empty()));
        }
        true
    });
    scripts
}

/// An image's address: where a script loads it later, the one that the script is told.
fn image_source(dom: &Dom, id: NodeId) -> &str {
    let source = dom.attribute(id, &local_name!("src")).filter(|source| !source.trim_start().starts_with("data:"));
    source.or(dom.attribute(id, &LocalName::from("data-src"))).unwrap_or_default()
}

/// Walks the content and tells the writer.
struct Reader<'a> {
    dom: &'a Dom,
    survey: &'a Survey<'a>,
    writer: &'a mut Writer,
    hidden: u32,
    /// How many notes (tips, warnings) the walk is in: their titles are no headings of the page.
    notes: u32,
    /// How many more answers end in this piece, where some do not.
    answers: Option<usize>,
}

impl<'a> Reader<'a> {
    fn new(dom: &'a Dom, survey: &'a Survey<'a>, writer: &'a mut Writer) -> Self {
        Self { dom, survey, writer, hidden: 0, notes: 0, answers: None }
    }

    fn read(mut self, root: NodeId) -> u32 {
        let dom = self.dom;
        dom.walk(root, |step| match step {
            Step::Enter(id) => self.enter(id),
            Step::Leave(id) => {
                self.leave(id);
                true
            }
        });
        self.hidden
    }

    fn attribute(&self, id: NodeId, name: &LocalName) -> Option<&str> {
        self.dom.attribute(id, name).map(str::trim).filter(|value| !value.is_empty())
    }

    fn enter(&mut self, id: NodeId) -> bool {
        let name = match self.dom.content(id) {
            Content::Text(text) => {
                self.writer.text(text);
                return false;
            }
            Content::Nothing => return true,
            Content::Element(name, _) => name,
        };
        let measure = self.survey.measure(id);
        if measure.flags & (flag::DROPPED | flag::HIDDEN) != 0 {
            self.hidden += u32::from(measure.flags & flag::HIDDEN != 0 && measure.text > 0);
            return false;
        }
        if measure.flags & flag::CONTENTS != 0 {
            self.writer.start_contents();
        }
        self.notes += u32::from(measure.flags & flag::NOTE != 0);
        let own = self.attribute(id, &local_name!("id")).map(str::to_owned);
        match *name {
            local_name!("span") => return self.enter_span(id, own.as_deref(), measure),
            local_name!("h1")
            | local_name!("h2")
            | local_name!("h3")
            | local_name!("h4")
            | local_name!("h5")
            | local_name!("h6") => {
                if self.notes > 0 {
                    self.block(own.as_deref());
                } else {
                    self.writer.start_heading(heading_level(name), own.as_deref());
                }
            }
            local_name!("br") => self.writer.line_break(),
            local_name!("img") => {
                let alternative = self.attribute(id, &local_name!("alt")).unwrap_or_default().to_owned();
                self.writer.image(&alternative, image_source(self.dom, id));
            }
            local_name!("pre") | local_name!("xmp") | local_name!("listing") => {
                if let Some(anchor) = own {
                    self.writer.anchor(&anchor, false);
                }
                let (code, language) = self.code(id);
                self.writer.code(&code, language.as_deref());
                self.notes -= u32::from(measure.flags & flag::NOTE != 0);
                if measure.flags & flag::CONTENTS != 0 {
                    self.writer.end_contents();
                }
                return false;
            }
            local_name!("blockquote") => self.writer.start_quote(),
            local_name!("ul") | local_name!("ol") | local_name!("dl") | local_name!("menu") | local_name!("dir")
                if !self.is_layout(id) =>
            {
                self.block(own.as_deref());
                if *name == local_name!("dl") {
                    self.writer.start_definitions();
                    return true;
                }
                let start = self.attribute(id, &local_name!("start")).and_then(|start| start.parse().ok());
                self.writer.start_list((*name == local_name!("ol")).then(|| start.unwrap_or(1)));
            }
            local_name!("li") if !self.is_layout_item(id) => self.writer.start_item(own.as_deref(), false),
            local_name!("dt") if !self.is_layout_item(id) => {
                let before = self.dom.previous_element(id).and_then(|before| self.dom.name(before));
                let continues = before == Some(&local_name!("dt"));
                self.writer.start_item(own.as_deref(), continues);
            }
            local_name!("table") if !self.is_layout(id) => {
                self.block(own.as_deref());
                self.writer.start_table();
            }
            local_name!("tr") if !self.is_layout_row(id) => {
                let is_header = self.is_header_row(id);
                self.writer.start_row(is_header);
            }
            local_name!("td") | local_name!("th") if !self.is_layout_cell(id) => self.writer.start_cell(),
            _ if is_block(name) => {
                self.block(own.as_deref());
                match *name {
                    local_name!("details") => self.writer.start_answer(),
                    local_name!("summary") if self.is_question(id) => self.writer.start_asking(),
                    local_name!("figure") => self.writer.start_figure(),
                    local_name!("figcaption") => self.writer.start_caption(),
                    _ => {}
                }
            }
            _ => {}
        }
        true
    }

    /// Whether an element opens another that holds a question and its answer.
    fn is_question(&self, id: NodeId) -> bool {
        let parent = self.dom.parent(id).and_then(|parent| self.dom.name(parent));
        parent == Some(&local_name!("details"))
    }

    fn leave(&mut self, id: NodeId) {
        let Some(name) = self.dom.name(id) else { return };
        match *name {
            local_name!("span") => {
                if self.attribute(id, &local_name!("href")).is_some() {
                    self.writer.end_link();
                }
            }
            local_name!("h1")
            | local_name!("h2")
            | local_name!("h3")
            | local_name!("h4")
            | local_name!("h5")
            | local_name!("h6")
                if self.notes == 0 =>
            {
                self.writer.end_heading();
            }
            local_name!("blockquote") => self.writer.end_quote(),
            local_name!("ul") | local_name!("ol") | local_name!("dl") | local_name!("menu") | local_name!("dir")
                if !self.is_layout(id) =>
            {
                self.writer.end_list();
            }
            local_name!("table") if !self.is_layout(id) => self.writer.end_table(),
            local_name!("tr") if !self.is_layout_row(id) => self.writer.end_row(),
            local_name!("td") | local_name!("th") if !self.is_layout_cell(id) => self.writer.end_cell(),
            local_name!("details") => match &mut self.answers {
                Some(0) => self.writer.end_line(),
                left => {
                    *left = left.map(|left| left - 1);
                    self.writer.end_answer();
                }
            },
            local_name!("summary") if self.is_question(id) => self.writer.end_asking(),
            local_name!("figure") => self.writer.end_figure(),
            local_name!("figcaption") => self.writer.end_caption(),
            _ if is_block(name) => self.writer.end_line(),
            _ => {}
        }
        let flags = self.survey.measure(id).flags;
        self.notes -= u32::from(flags & flag::NOTE != 0);
        if flags & flag::CONTENTS != 0 {
            self.writer.end_contents();
        }
    }

    fn block(&mut self, own: Option<&str>) {
        self.writer.end_line();
        // Names of a page's scaffolding are no places in its text.
        let scaffold = |id: &&str| {
            matches!(*id, "header" | "content" | "main" | "page" | "wrapper" | "container" | "app" | "root")
        };
        if let Some(anchor) = own.filter(|id| !scaffold(id)) {
            self.writer.anchor(anchor, false);
        }
    }

    /// A link, a named anchor, or nothing but an emphasis.
    fn enter_span(&mut self, id: NodeId, own: Option<&str>, measure: Measure) -> bool {
        let class = self.attribute(id, &local_name!("class")).unwrap_or_default();
        let is_index = class == "indexterm";
        let is_permalink = class.split_ascii_whitespace().any(|word| {
            matches!(
                word,
                "headerlink"
                    | "permalink"
                    | "hash-link"
                    | "header-anchor"
                    | "heading-anchor"
                    | "heading-link"
                    | "deep-link"
                    | "anchorjs-link"
                    | "id_link"
            )
        });
        let named = self.attribute(id, &local_name!("name")).map(str::to_owned);
        let target = self.attribute(id, &local_name!("href")).map(str::to_owned);
        if let Some(anchor) = named.as_deref().or(own)
            && !is_index
            && target.is_none()
        {
            // Of elements with text only those inside a heading name it.
            self.writer.anchor(anchor, named.is_some() || measure.text == 0);
        }
        if let Some(target) = target {
            self.writer.start_link(&target);
            if is_permalink && target.contains('#') {
                self.writer.end_link();
                self.notes -= u32::from(measure.flags & flag::NOTE != 0);
                return false;
            }
        }
        true
    }

    /// Preformatted text as it stands, and its language.
    fn code(&self, root: NodeId) -> (String, Option<String>) {
        let mut code = String::new();
        let mut language = self.dom.parent(root).and_then(|parent| self.code_language(parent));
        self.dom.walk(root, |step| {
            let Step::Enter(id) = step else { return true };
            match self.dom.content(id) {
                Content::Text(text) => code.push_str(text),
                Content::Element(local_name!("br"), _) => code.push('\n'),
                Content::Element(..) => {
                    if self.survey.has(id, flag::DROPPED | flag::HIDDEN) || self.is_line_number(id) {
                        return false;
                    }
                    language = self.code_language(id).or(language.take());
                }
                Content::Nothing => {}
            }
            true
        });
        (code, language)
    }

    fn is_line_number(&self, id: NodeId) -> bool {
        self.attribute(id, &local_name!("class")).is_some_and(|class| {
            class
                .split_ascii_whitespace()
                .any(|word| matches!(word, "linenos" | "lineno" | "gutter" | "line-numbers-rows"))
        })
    }

    fn code_language(&self, id: NodeId) -> Option<String> {
        let given =
            self.attribute(id, &LocalName::from("data-lang")).or(self.attribute(id, &LocalName::from("data-language")));
        if let Some(language) = given {
            return Some(language.to_owned());
        }
        let class = self.attribute(id, &local_name!("class"))?;
        class.split_ascii_whitespace().find_map(|word| {
            let language = ["language-", "lang-", "highlight-source-", "highlight-"];
            let language = language.iter().find_map(|prefix| word.strip_prefix(prefix))?;
            (!language.is_empty() && language != "none" && language != "default").then(|| language.to_owned())
        })
    }

    /// Whether a list or table only arranges parts of the page: one with headings inside is no list and no table.
    fn is_layout(&self, id: NodeId) -> bool {
        let flags = self.survey.measure(id).flags;
        if self.dom.name(id) == Some(&local_name!("table")) {
            let role = self.attribute(id, &local_name!("role"));
            let headless = flags & flag::HEADER_CELL == 0;
            return flags & flag::HEADING != 0
                || matches!(role, Some("presentation" | "none"))
                || headless && (flags & flag::PREFORMATTED != 0 || self.notes > 0);
        }
        flags & flag::HEADING != 0 && self.notes == 0
    }

    fn is_layout_item(&self, id: NodeId) -> bool {
        self.dom.parent(id).is_some_and(|list| self.is_layout(list))
    }

    fn is_layout_row(&self, id: NodeId) -> bool {
        let mut at = self.dom.parent(id);
        while let Some(around) = at {
            if self.dom.name(around) == Some(&local_name!("table")) {
                return self.is_layout(around);
            }
            at = self.dom.parent(around);
        }
        true
    }

    fn is_layout_cell(&self, id: NodeId) -> bool {
        self.dom.parent(id).is_some_and(|row| self.is_layout_row(row))
    }

    fn is_header_row(&self, id: NodeId) -> bool {
        let in_head = self.dom.parent(id).and_then(|group| self.dom.name(group)) == Some(&local_name!("thead"));
        let mut cells = self.dom.children(id).filter_map(|cell| self.dom.name(cell)).peekable();
        in_head || cells.peek().is_some() && cells.all(|cell| *cell == local_name!("th"))
    }
}

fn heading_level(name: &LocalName) -> u8 {
    name.as_bytes().get(1).map_or(6, |digit| digit.saturating_sub(b'0').clamp(1, 6))
}

/// Elements that begin on a line of their own.
fn is_block(name: &LocalName) -> bool {
    matches!(
        *name,
        local_name!("address")
            | local_name!("article")
            | local_name!("aside")
            | local_name!("body")
            | local_name!("caption")
            | local_name!("center")
            | local_name!("dd")
            | local_name!("details")
            | local_name!("dir")
            | local_name!("div")
            | local_name!("dl")
            | local_name!("dt")
            | local_name!("fieldset")
            | local_name!("figcaption")
            | local_name!("figure")
            | local_name!("form")
            | local_name!("h1")
            | local_name!("h2")
            | local_name!("h3")
            | local_name!("h4")
            | local_name!("h5")
            | local_name!("h6")
            | local_name!("header")
            | local_name!("hgroup")
            | local_name!("hr")
            | local_name!("legend")
            | local_name!("li")
            | local_name!("main")
            | local_name!("menu")
            | local_name!("ol")
            | local_name!("option")
            | local_name!("p")
            | local_name!("section")
            | local_name!("summary")
            | local_name!("table")
            | local_name!("td")
            | local_name!("th")
            | local_name!("tr")
            | local_name!("ul")
    )
}
