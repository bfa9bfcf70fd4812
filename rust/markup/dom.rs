//! An HTML page as a flat tree.
//!
//! html5ever builds the tree, so a broken page is read as browsers read it. Three things keep a hostile page linear: start
//! tags beyond a depth are left out, with their end tags (a parser checks its stack of open elements at nearly every tag);
//! elements that only change a font, and links, enter the tree as `span`, which the parser never opens again by itself; a
//! tag with thousands of attributes loses them. Nodes lie in one vector and are walked and dropped without recursion.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use html5ever::buffer_queue::BufferQueue;
use html5ever::interface::{ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};
use html5ever::tree_builder::{ElemName, TreeBuilder, TreeBuilderOpts};
use html5ever::{Attribute, LocalName, Namespace, QualName, local_name, ns};

/// Start tags deeper than this are left out; what is in them stays.
const MAXIMUM_DEPTH: u32 = 256;
/// A tag that may have more attributes than this loses them.
const MAXIMUM_ATTRIBUTES: usize = 1 << 12;

const NONE: u32 = u32::MAX;

/// The number of a node in its tree.
pub(super) type NodeId = u32;

/// What a node is.
#[derive(Debug)]
pub(super) enum Content {
    /// The document itself, a comment's place.
    Nothing,
    /// An element.
    Element(LocalName, Vec<Attribute>),
    /// Text.
    Text(StrTendril),
}

#[derive(Debug)]
struct Node {
    parent: NodeId,
    first: NodeId,
    last: NodeId,
    previous: NodeId,
    next: NodeId,
    depth: u32,
    content: Content,
}

/// A step of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Before a node's children.
    Enter(NodeId),
    /// After them.
    Leave(NodeId),
}

/// A page's tree.
#[derive(Debug)]
pub(super) struct Dom {
    nodes: Vec<Node>,
}

impl Dom {
    /// Reads a page; there is no page that cannot be read.
    pub(super) fn parse(html: &str) -> Self {
        let sink = Sink { nodes: RefCell::new(Vec::with_capacity(html.len() / 32 + 8)), depth: Cell::new(0) };
        sink.add(Content::Nothing);
        let builder = TreeBuilder::new(sink, TreeBuilderOpts { drop_doctype: true, ..TreeBuilderOpts::default() });
        let tokenizer = Tokenizer::new(Limiter { builder, dropped: Cell::new(0) }, TokenizerOpts::default());
        let queue = BufferQueue::default();
        // A tendril holds at most 4 GiB; documents are shorter.
        queue.push_back(StrTendril::from_slice(&shortened_tags(html)));
        // The tokenizer pauses after each script and each declared encoding; neither concerns a decoded text.
        for _ in 0..=html.len() {
            if queue.is_empty() {
                break;
            }
            let _ = tokenizer.feed(&queue);
        }
        tokenizer.end();
        Self { nodes: tokenizer.sink.builder.sink.nodes.into_inner() }
    }

    /// The number of nodes.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    /// What a node is.
    pub(super) fn content(&self, id: NodeId) -> &Content {
        self.node(id).map_or(&Content::Nothing, |node| &node.content)
    }

    /// An element's name.
    pub(super) fn name(&self, id: NodeId) -> Option<&LocalName> {
        match self.content(id) {
            Content::Element(name, _) => Some(name),
            _ => None,
        }
    }

    /// An element's attribute.
    pub(super) fn attribute(&self, id: NodeId, name: &LocalName) -> Option<&str> {
        match self.content(id) {
            Content::Element(_, attributes) => {
                attributes.iter().find(|attribute| attribute.name.local == *name).map(|attribute| &*attribute.value)
            }
            _ => None,
        }
    }

    /// The node around a node.
    pub(super) fn parent(&self, id: NodeId) -> Option<NodeId> {
        self.node(id).map(|node| node.parent).filter(|&parent| parent != NONE)
    }

    /// The nodes directly in a node.
    pub(super) fn children(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let some = |id: NodeId| (id != NONE).then_some(id);
        std::iter::successors(self.node(id).and_then(|node| some(node.first)), move |&child| {
            self.node(child).and_then(|node| some(node.next))
        })
    }

    /// The element before an element under the same parent.
    pub(super) fn previous_element(&self, id: NodeId) -> Option<NodeId> {
        let mut at = self.node(id)?.previous;
        while let Some(node) = self.node(at) {
            if matches!(node.content, Content::Element(..)) {
                return Some(at);
            }
            at = node.previous;
        }
        None
    }

    /// Walks a node and all in it in reading order. `visit` says of a node entered whether to go into it; where it does not,
    /// the node is not left either.
    pub(super) fn walk(&self, root: NodeId, mut visit: impl FnMut(Step) -> bool) {
        let mut at = root;
        loop {
            let inside = if visit(Step::Enter(at)) {
                let first = self.node(at).map_or(NONE, |node| node.first);
                if first == NONE {
                    visit(Step::Leave(at));
                }
                first
            } else {
                NONE
            };
            if inside != NONE {
                at = inside;
                continue;
            }
            loop {
                if at == root {
                    return;
                }
                let Some(node) = self.node(at) else { return };
                if node.next != NONE {
                    at = node.next;
                    break;
                }
                at = node.parent;
                visit(Step::Leave(at));
            }
        }
    }

    /// All text in a node.
    pub(super) fn text(&self, root: NodeId) -> String {
        let mut text = String::new();
        self.walk(root, |step| {
            if let Step::Enter(id) = step
                && let Content::Text(part) = self.content(id)
            {
                text.push_str(part);
            }
            true
        });
        text
    }
}

/// Leaves the attributes out of tags that have too many: looking for duplicates is quadratic in their number.
pub(super) fn shortened_tags(html: &str) -> Cow<'_, str> {
    let bytes = html.as_bytes();
    let mut cuts = Vec::new();
    let mut at = 0;
    while let Some(open) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == b'<')) {
        let start = at + open + 1;
        let rest = bytes.get(start..).unwrap_or_default();
        // An element's tag begins with a letter; a comment or a stray sign is passed over.
        if !rest.first().is_some_and(u8::is_ascii_alphabetic) {
            at = start;
            continue;
        }
        let (length, attributes) = tag_extent(rest);
        if attributes > MAXIMUM_ATTRIBUTES {
            let name = rest.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(length);
            cuts.push(start + name..start + length);
        }
        at = start + length;
    }
    if cuts.is_empty() {
        return Cow::Borrowed(html);
    }
    let mut kept = String::with_capacity(html.len());
    let mut from = 0;
    for cut in cuts {
        kept.push_str(html.get(from..cut.start).unwrap_or_default());
        from = cut.end;
    }
    kept.push_str(html.get(from..).unwrap_or_default());
    Cow::Owned(kept)
}

/// The length of a tag up to its `>`, and at most how many attributes it has. A quote counts where a value begins.
fn tag_extent(rest: &[u8]) -> (usize, usize) {
    let (mut at, mut attributes) = (0, 0);
    let mut after_equals = false;
    while let Some(&byte) = rest.get(at) {
        match byte {
            b'>' => return (at, attributes),
            b'"' | b'\'' if after_equals => {
                let value = rest.get(at + 1..).unwrap_or_default();
                at += 1 + value.iter().position(|&end| end == byte).unwrap_or(value.len());
                attributes += 1;
                after_equals = false;
            }
            b'=' => after_equals = true,
            b' ' | b'\t' | b'\n' | b'\r' | 0x0C => attributes += usize::from(!after_equals),
            b'/' => attributes += 1,
            _ => after_equals = false,
        }
        at += 1;
    }
    (rest.len(), attributes)
}

/// Stands between tokenizer and tree builder and keeps the tree shallow and small.
struct Limiter {
    builder: TreeBuilder<NodeId, Sink>,
    /// Start tags left out whose end tags are still to come.
    dropped: Cell<u32>,
}

impl Limiter {
    fn passes(&self, tag: &mut Tag) -> bool {
        if is_inline_span(&tag.name) {
            tag.name = local_name!("span");
        }
        if is_leaf(&tag.name) {
            return true;
        }
        match tag.kind {
            TagKind::StartTag if self.builder.sink.depth.get() >= MAXIMUM_DEPTH => {
                if !tag.self_closing {
                    self.dropped.set(self.dropped.get().saturating_add(1));
                }
                false
            }
            TagKind::EndTag if self.dropped.get() > 0 => {
                self.dropped.set(self.dropped.get() - 1);
                false
            }
            _ => true,
        }
    }
}

impl TokenSink for Limiter {
    type Handle = NodeId;

    fn process_token(&self, token: Token, line: u64) -> TokenSinkResult<NodeId> {
        match token {
            Token::TagToken(mut tag) => {
                if !self.passes(&mut tag) {
                    return TokenSinkResult::Continue;
                }
                tag.attrs.retain(|attribute| is_read(&attribute.name.local));
                self.builder.process_token(Token::TagToken(tag), line)
            }
            Token::CommentToken(_) | Token::ParseError(_) | Token::NullCharacterToken => TokenSinkResult::Continue,
            other => self.builder.process_token(other, line),
        }
    }

    fn end(&self) {
        self.builder.end();
    }

    fn adjusted_current_node_present_but_not_in_html_namespace(&self) -> bool {
        self.builder.adjusted_current_node_present_but_not_in_html_namespace()
    }
}

/// Links and the elements that the parser calls formatting, and one that would swallow the rest of the page.
fn is_inline_span(name: &LocalName) -> bool {
    matches!(
        *name,
        local_name!("a")
            | local_name!("b")
            | local_name!("big")
            | local_name!("code")
            | local_name!("em")
            | local_name!("font")
            | local_name!("i")
            | local_name!("nobr")
            | local_name!("s")
            | local_name!("small")
            | local_name!("strike")
            | local_name!("strong")
            | local_name!("tt")
            | local_name!("u")
            | local_name!("plaintext")
    )
}

/// Elements without elements in them; some switch the tokenizer's state, so their tags must arrive.
fn is_leaf(name: &LocalName) -> bool {
    matches!(
        *name,
        local_name!("script")
            | local_name!("style")
            | local_name!("textarea")
            | local_name!("title")
            | local_name!("xmp")
            | local_name!("iframe")
            | local_name!("noembed")
            | local_name!("noframes")
            | local_name!("noscript")
            | local_name!("br")
            | local_name!("img")
            | local_name!("hr")
            | local_name!("input")
            | local_name!("meta")
            | local_name!("link")
            | local_name!("wbr")
            | local_name!("col")
            | local_name!("area")
            | local_name!("base")
            | local_name!("embed")
            | local_name!("param")
            | local_name!("source")
            | local_name!("track")
    )
}

fn is_read(name: &LocalName) -> bool {
    matches!(
        &**name,
        "id" | "class"
            | "name"
            | "href"
            | "src"
            | "data-src"
            | "hidden"
            | "style"
            | "aria-hidden"
            | "aria-label"
            | "aria-level"
            | "role"
            | "alt"
            | "lang"
            | "xml:lang"
            | "start"
            | "content"
            | "property"
            | "rel"
            | "type"
            | "encoding"
            | "data-lang"
            | "data-language"
    )
}

/// Whether a script's attributes say that it holds linked data.
fn is_linked_data(attributes: &[Attribute]) -> bool {
    let kind = attributes.iter().find(|attribute| attribute.name.local == local_name!("type"));
    kind.is_some_and(|kind| kind.value.trim().eq_ignore_ascii_case("application/ld+json"))
}

/// Builds the tree for the parser.
struct Sink {
    nodes: RefCell<Vec<Node>>,
    /// The depth of the element that the parser is in.
    depth: Cell<u32>,
}

/// An element's name, as the parser asks for it.
#[derive(Debug)]
pub(super) struct Name(QualName);

impl ElemName for Name {
    fn ns(&self) -> &Namespace {
        &self.0.ns
    }

    fn local_name(&self) -> &LocalName {
        &self.0.local
    }
}

impl Sink {
    fn add(&self, content: Content) -> NodeId {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(Node { parent: NONE, first: NONE, last: NONE, previous: NONE, next: NONE, depth: 0, content });
        nodes.len() as NodeId - 1
    }

    fn detach(nodes: &mut [Node], id: NodeId) {
        let node = &mut nodes[id as usize];
        let (parent, previous, next) = (node.parent, node.previous, node.next);
        (node.parent, node.previous, node.next) = (NONE, NONE, NONE);
        match previous {
            NONE if parent != NONE => nodes[parent as usize].first = next,
            NONE => {}
            _ => nodes[previous as usize].next = next,
        }
        match next {
            NONE if parent != NONE => nodes[parent as usize].last = previous,
            NONE => {}
            _ => nodes[next as usize].previous = previous,
        }
    }

    /// Puts `id` into `parent` before `next`, at the end where there is none.
    fn attach(&self, parent: NodeId, id: NodeId, next: NodeId) {
        let nodes = &mut *self.nodes.borrow_mut();
        Self::detach(nodes, id);
        let depth = nodes[parent as usize].depth + 1;
        let previous = if next == NONE { nodes[parent as usize].last } else { nodes[next as usize].previous };
        let node = &mut nodes[id as usize];
        (node.parent, node.previous, node.next, node.depth) = (parent, previous, next, depth);
        let is_element = matches!(node.content, Content::Element(..));
        match previous {
            NONE => nodes[parent as usize].first = id,
            _ => nodes[previous as usize].next = id,
        }
        match next {
            NONE => nodes[parent as usize].last = id,
            _ => nodes[next as usize].previous = id,
        }
        self.depth.set(if is_element { depth } else { depth - 1 });
    }

    fn insert(&self, parent: NodeId, child: NodeOrText<NodeId>, next: NodeId) {
        let id = match child {
            NodeOrText::AppendNode(id) => id,
            NodeOrText::AppendText(text) => {
                if self.is_silent(parent) {
                    return;
                }
                self.add(Content::Text(text))
            }
        };
        self.attach(parent, id, next);
    }

    /// Whether text in this element is never read. Of scripts, linked data is.
    fn is_silent(&self, id: NodeId) -> bool {
        match &self.nodes.borrow()[id as usize].content {
            Content::Element(local_name!("script"), attributes) => !is_linked_data(attributes),
            Content::Element(local_name!("style") | local_name!("noscript") | local_name!("iframe"), _) => true,
            _ => false,
        }
    }
}

impl TreeSink for Sink {
    type Handle = NodeId;
    type Output = Self;
    type ElemName<'a> = Name;

    fn finish(self) -> Self {
        self
    }

    fn parse_error(&self, _message: Cow<'static, str>) {}

    fn get_document(&self) -> NodeId {
        0
    }

    fn elem_name<'a>(&'a self, target: &'a NodeId) -> Name {
        let nodes = self.nodes.borrow();
        match &nodes[*target as usize].content {
            // Foreign elements are kept under the HTML namespace's rules: their content is not read.
            Content::Element(name, _) => Name(QualName::new(None, ns!(html), name.clone())),
            _ => Name(QualName::new(None, ns!(), local_name!(""))),
        }
    }

    fn create_element(&self, name: QualName, attributes: Vec<Attribute>, _flags: ElementFlags) -> NodeId {
        self.add(Content::Element(name.local, attributes))
    }

    fn create_comment(&self, _text: StrTendril) -> NodeId {
        self.add(Content::Nothing)
    }

    fn create_pi(&self, _target: StrTendril, _data: StrTendril) -> NodeId {
        self.add(Content::Nothing)
    }

    fn append(&self, parent: &NodeId, child: NodeOrText<NodeId>) {
        self.insert(*parent, child, NONE);
    }

    fn append_based_on_parent_node(&self, element: &NodeId, previous: &NodeId, child: NodeOrText<NodeId>) {
        if self.nodes.borrow()[*element as usize].parent == NONE {
            self.append(previous, child);
        } else {
            self.append_before_sibling(element, child);
        }
    }

    fn append_doctype_to_document(&self, _name: StrTendril, _public: StrTendril, _system: StrTendril) {}

    fn pop(&self, node: &NodeId) {
        let depth = self.nodes.borrow()[*node as usize].depth;
        self.depth.set(depth.saturating_sub(1));
    }

    fn get_template_contents(&self, target: &NodeId) -> NodeId {
        *target
    }

    fn same_node(&self, x: &NodeId, y: &NodeId) -> bool {
        x == y
    }

    fn set_quirks_mode(&self, _mode: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &NodeId, new: NodeOrText<NodeId>) {
        let parent = self.nodes.borrow()[*sibling as usize].parent;
        if parent != NONE {
            self.insert(parent, new, *sibling);
        }
    }

    fn add_attrs_if_missing(&self, target: &NodeId, new: Vec<Attribute>) {
        if let Content::Element(_, attributes) = &mut self.nodes.borrow_mut()[*target as usize].content {
            for attribute in new {
                if !attributes.iter().any(|present| present.name == attribute.name) {
                    attributes.push(attribute);
                }
            }
        }
    }

    fn remove_from_parent(&self, target: &NodeId) {
        Self::detach(&mut self.nodes.borrow_mut(), *target);
    }

    fn reparent_children(&self, node: &NodeId, new_parent: &NodeId) {
        loop {
            let first = self.nodes.borrow()[*node as usize].first;
            if first == NONE {
                return;
            }
            self.attach(*new_parent, first, NONE);
        }
    }
}
