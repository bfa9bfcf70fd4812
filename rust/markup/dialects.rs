//! Dialects of Markdown to `CommonMark`: what a generator computes or lays out is taken away, what it shows stays.
//!
//! The source is rewritten before it is parsed, because components, expressions and containers may begin anywhere in a
//! line and hold any Markdown. Nothing is evaluated: an expression that is a string shows that string, every other shows
//! nothing. Where brackets do not close, they are text. Looking for a closing bracket is paid from a budget that grows
//! with the document, so hostile input costs time in proportion to its length.

use std::borrow::Cow;

use super::Dialect;

/// Longer code in a line is taken for text.
const MAXIMUM_SPAN: usize = 1 << 14;

/// What stands further in stands in a line.
const MAXIMUM_INDENT: usize = 256;

/// Longer paragraphs of code are taken for text.
const MAXIMUM_STATEMENT: usize = 1 << 16;

/// Attributes of a component that its readers see as text of their own.
const SHOWN: &[&str] = &["label", "title", "heading", "summary", "description", "caption", "alt"];

/// `text` as `CommonMark`.
pub(super) fn common(text: &str, dialect: Dialect) -> Cow<'_, str> {
    match dialect {
        Dialect::Common => Cow::Borrowed(text),
        Dialect::Mdx => Cow::Owned(Mdx::new(text).read()),
        Dialect::MkDocs => Cow::Owned(mkdocs(text)),
    }
}

/// The number of columns of white space that `line` begins with.
fn indentation(line: &str) -> usize {
    line.bytes().take_while(|byte| *byte == b' ').count()
}

/// `line` without as many of its first spaces as `columns`.
fn dedented(line: &str, columns: usize) -> &str {
    line.get(columns.min(indentation(line))..).unwrap_or_default()
}

/// The character and length of the fence of code that `line` is.
fn fence(line: &str) -> Option<(u8, usize)> {
    let line = line.trim_start_matches([' ', '\t']);
    let first = *line.as_bytes().first().filter(|byte| matches!(byte, b'`' | b'~'))?;
    let length = line.bytes().take_while(|byte| *byte == first).count();
    let info = line.get(length..).unwrap_or_default();
    (length >= 3 && !(first == b'`' && info.contains('`'))).then_some((first, length))
}

fn closes(line: &str, (mark, length): (u8, usize)) -> bool {
    let line = line.trim();
    line.len() >= length && line.bytes().all(|byte| byte == mark)
}

// MDX.

struct Mdx<'a> {
    text: &'a str,
    at: usize,
    out: String,
    /// For each open component that stands on lines of its own: how far the first line in it is indented.
    open: Vec<Option<usize>>,
    /// How many bytes may still be looked at for closing brackets.
    budget: usize,
}

impl<'a> Mdx<'a> {
    fn new(text: &'a str) -> Self {
        let budget = text.len().saturating_mul(8).saturating_add(1 << 16);
        Self { text, at: 0, out: String::with_capacity(text.len()), open: Vec::new(), budget }
    }

    fn read(mut self) -> String {
        let mut begins = true;
        while self.at < self.text.len() {
            begins = if begins { self.line_start() } else { self.inside() };
        }
        self.out
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next line with its end.
    fn line(&self) -> &'a str {
        self.rest().split_inclusive('\n').next().unwrap_or_default()
    }

    /// Reads what only the start of a line can begin; returns whether a line begins after it.
    fn line_start(&mut self) -> bool {
        let line = self.line();
        if line.trim().is_empty() {
            self.at += line.len();
            self.out.push('\n');
            return true;
        }
        let indent = indentation(line);
        if let Some(inner) = self.open.last_mut() {
            inner.get_or_insert(indent);
        }
        let base = self.open.iter().rev().find_map(|inner| *inner).unwrap_or(0);
        if let Some(fence) = fence(line) {
            self.code(fence, base);
            return true;
        }
        if indent == 0
            && let Some(length) = module_code(self.rest(), &mut self.budget)
        {
            self.at += length;
            self.out.push('\n');
            return true;
        }
        if let Some(title) = container(line) {
            self.at += line.len();
            self.block(title);
            return true;
        }
        self.at += base.min(indent);
        self.inside()
    }

    fn code(&mut self, fence: (u8, usize), base: usize) {
        let mut first = true;
        while self.at < self.text.len() {
            let line = self.line();
            self.at += line.len();
            self.out.push_str(dedented(line, base));
            if !std::mem::take(&mut first) && closes(line, fence) {
                break;
            }
        }
    }

    /// A block of its own.
    fn block(&mut self, text: &str) {
        self.out.push('\n');
        if !text.is_empty() {
            self.out.push_str(text);
            self.out.push_str("\n\n");
        }
    }

    /// Reads up to the next thing of interest; returns whether a line begins there.
    fn inside(&mut self) -> bool {
        let rest = self.rest();
        let length = rest.find(['\n', '\\', '`', '{', '<']).unwrap_or(rest.len());
        self.out.push_str(rest.get(..length).unwrap_or_default());
        self.at += length;
        match rest.as_bytes().get(length) {
            Some(b'\n') => {
                self.copy(1);
                return true;
            }
            Some(b'\\') => {
                let escaped = self.rest().get(1..).and_then(|rest| rest.chars().next());
                self.copy(1 + escaped.filter(|next| *next != '\n').map_or(0, char::len_utf8));
            }
            Some(b'`') => self.code_span(),
            Some(b'{') => self.braces(),
            Some(b'<') => self.angle(),
            _ => {}
        }
        false
    }

    fn copy(&mut self, length: usize) {
        self.out.push_str(self.rest().get(..length).unwrap_or_default());
        self.at += length;
    }

    fn code_span(&mut self) {
        let rest = self.rest();
        let run = rest.bytes().take_while(|byte| *byte == b'`').count();
        let window = window(rest, MAXIMUM_SPAN.min(self.budget).max(run));
        let mut at = run;
        while let Some(found) = window.get(at..).and_then(|rest| rest.find('`')) {
            let start = at + found;
            let length = window.get(start..).unwrap_or_default().bytes().take_while(|byte| *byte == b'`').count();
            at = start + length;
            if length == run {
                if window.get(..at).is_some_and(|span| !span.contains("\n\n")) {
                    self.copy(at);
                    return;
                }
                break;
            }
        }
        spend(&mut self.budget, window.len());
        self.copy(run);
    }

    /// An expression, a comment, or the id of a heading.
    fn braces(&mut self) {
        let rest = self.rest();
        let Some(length) = closing(rest, &mut self.budget) else {
            self.copy(1);
            return;
        };
        let inner = rest.get(1..length - 1).unwrap_or_default().trim();
        if inner.starts_with('#')
            && inner.get(1..).is_some_and(|id| !id.is_empty() && !id.contains(char::is_whitespace))
        {
            self.copy(length);
            return;
        }
        self.at += length;
        if let Some(shown) = string(inner) {
            self.out.push_str(shown);
        }
    }

    /// A component, a fragment, an element, or a character.
    fn angle(&mut self) {
        let rest = self.rest();
        if rest.starts_with("<!--") {
            let length = window(rest, self.budget).find("-->").map(|end| end + 3);
            if length.is_none() {
                spend(&mut self.budget, rest.len());
            }
            self.copy(length.unwrap_or(4));
            return;
        }
        let Some(tag) = Tag::read(rest, &mut self.budget) else {
            self.copy(1);
            return;
        };
        let before = self.out.bytes().rev().take(MAXIMUM_INDENT).find(|byte| !matches!(byte, b' ' | b'\t'));
        let alone = self.out.is_empty() || before == Some(b'\n');
        self.at += tag.length;
        if !tag.is_component() {
            if tag.has_expression {
                tag.write(&mut self.out);
            } else {
                self.out.push_str(rest.get(..tag.length).unwrap_or_default());
            }
            return;
        }
        if !alone {
            return;
        }
        // What a component holds is Markdown of its own, indented or not.
        if tag.closing {
            self.open.pop();
        } else if !tag.empty {
            self.open.push(None);
        }
        let ends = matches!(self.rest().trim_start_matches([' ', '\t']).bytes().next(), None | Some(b'\n'));
        let shown = tag.attributes.iter().filter(|(name, _)| SHOWN.contains(name)).map(|(_, value)| *value);
        let shown: Vec<&str> = shown.filter(|value| !value.trim().is_empty()).collect();
        if !shown.is_empty() || ends {
            self.out.push('\n');
            self.block(&shown.join("\n\n"));
        }
    }
}

fn spend(budget: &mut usize, length: usize) {
    *budget = budget.saturating_sub(length);
}

/// At most the first `length` bytes of `text`.
fn window(text: &str, length: usize) -> &str {
    text.get(..text.floor_char_boundary(length)).unwrap_or_default()
}

/// The length of the expression in braces that `text` begins with, with strings, templates and comments in it passed over.
fn closing(text: &str, budget: &mut usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0usize, 0);
    while let Some(byte) = bytes.get(at) {
        at += match byte {
            b'{' | b'(' | b'[' => {
                depth += 1;
                1
            }
            b'}' | b')' | b']' => {
                depth = depth.saturating_sub(1);
                1
            }
            b'"' | b'\'' | b'`' => quoted(bytes.get(at..).unwrap_or_default(), budget),
            b'/' if bytes.get(at + 1) == Some(&b'*') => comment(text.get(at..).unwrap_or_default()),
            _ => 1,
        };
        if depth == 0 {
            spend(budget, at);
            return (at <= bytes.len()).then_some(at);
        }
        if at > *budget {
            break;
        }
    }
    spend(budget, at);
    None
}

/// The length of the string that `bytes` begin with, 1 where it does not end on its line (a template: at all).
fn quoted(bytes: &[u8], budget: &mut usize) -> usize {
    let Some(&mark) = bytes.first() else { return 1 };
    let (mut escaped, mut looked) = (false, 1);
    for &byte in bytes.iter().take(*budget).skip(1) {
        looked += 1;
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'\n' if mark != b'`' => break,
            _ if byte == mark => return looked,
            _ => {}
        }
    }
    spend(budget, looked);
    1
}

fn comment(text: &str) -> usize {
    text.find("*/").map_or(text.len().max(1), |end| end + 2)
}

/// What an expression shows that is one string without anything computed in it.
fn string(expression: &str) -> Option<&str> {
    let mark = expression.chars().next().filter(|mark| matches!(mark, '"' | '\'' | '`'))?;
    let inner = expression.strip_prefix(mark)?.strip_suffix(mark)?;
    let computed = mark == '`' && inner.contains("${");
    (!computed && !inner.contains([mark, '\\'])).then_some(inner)
}

/// The length of the imports and exports that `text` begins with: up to the blank line after their brackets are closed.
fn module_code(text: &str, budget: &mut usize) -> Option<usize> {
    let first = text.split('\n').next()?;
    let imports = first.strip_prefix("import").is_some_and(|rest| rest.starts_with([' ', '{', '"', '\'', '*']));
    let exports = first.strip_prefix("export").is_some_and(|rest| {
        let mut words = rest.split_ascii_whitespace();
        rest.starts_with([' ', '{', '*'])
            && words.next().is_some_and(|word| {
                matches!(
                    word,
                    "const" | "let" | "var" | "function" | "async" | "class" | "default" | "type" | "interface"
                ) || word.starts_with(['{', '*'])
            })
    });
    if !imports && !exports {
        return None;
    }
    let longest = text.len().min(MAXIMUM_STATEMENT);
    if *budget < longest {
        return None;
    }
    let shown = window(text, longest);
    let paragraph = shown.find("\n\n").map_or(shown.len(), |end| end + 1);
    spend(budget, paragraph);
    if imports {
        let statement = shown.get(..paragraph)?;
        let is_path = |rest: &str| rest.trim_start().starts_with(['"', '\'']);
        let names = is_path(first.strip_prefix("import")?) || statement.split(" from").skip(1).any(is_path);
        return names.then_some(paragraph);
    }
    let (mut depth, mut at) = (0usize, 0);
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(at) {
        at += match byte {
            b'{' | b'(' | b'[' => {
                depth += 1;
                1
            }
            b'}' | b')' | b']' => {
                depth = depth.saturating_sub(1);
                1
            }
            b'"' | b'\'' | b'`' => quoted(bytes.get(at..).unwrap_or_default(), budget),
            b'\n' if depth == 0 && bytes.get(at + 1).is_none_or(|next| *next == b'\n') => {
                spend(budget, at);
                return Some(at + 1);
            }
            _ => 1,
        };
        if at > *budget {
            spend(budget, at);
            return Some(paragraph);
        }
    }
    spend(budget, at);
    Some(if depth == 0 { text.len() } else { paragraph })
}

/// The title of the admonition or container that `line` opens with colons, empty where it has none or where it closes one.
fn container(line: &str) -> Option<&str> {
    let line = line.trim();
    let rest = line.trim_start_matches(':');
    if line.len() < rest.len() + 3 {
        return None;
    }
    let rest = rest.trim_start();
    if rest.is_empty() {
        return Some("");
    }
    if !rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let name = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))).unwrap_or(rest.len());
    let title = rest.get(name..)?;
    if let Some(inner) = title.strip_prefix('[') {
        return inner.rfind(']').and_then(|end| inner.get(..end));
    }
    let title = title.split('{').next()?;
    (title.is_empty() || title.starts_with(char::is_whitespace)).then(|| title.trim())
}

/// A tag of JSX.
struct Tag<'a> {
    name: &'a str,
    length: usize,
    closing: bool,
    empty: bool,
    /// Those whose value is a string.
    attributes: Vec<(&'a str, &'a str)>,
    has_expression: bool,
}

impl<'a> Tag<'a> {
    /// The tag that `text` begins with.
    fn read(text: &'a str, budget: &mut usize) -> Option<Self> {
        let closing = text.starts_with("</");
        let mut at = 1 + usize::from(closing);
        let name = word(text, at);
        at += name.len();
        let bytes = text.as_bytes();
        if name.is_empty() && bytes.get(at) != Some(&b'>') || name.starts_with(|c: char| !c.is_ascii_alphabetic()) {
            return None;
        }
        let mut tag = Self { name, length: 0, closing, empty: false, attributes: Vec::new(), has_expression: false };
        let mut attribute = "";
        let mut looked = 0;
        loop {
            spend(budget, at - looked);
            looked = at;
            match *bytes.get(at)? {
                b'>' => {
                    tag.length = at + 1;
                    return Some(tag);
                }
                b'/' => {
                    tag.empty = bytes.get(at + 1) == Some(&b'>');
                    at += 1;
                }
                b'{' => {
                    let length = closing_of(text, at, budget)?;
                    let inner = text.get(at + 1..at + length - 1).unwrap_or_default().trim();
                    if let Some(value) = string(inner).filter(|_| !attribute.is_empty()) {
                        tag.attributes.push((attribute, value));
                    }
                    (tag.has_expression, attribute) = (true, "");
                    at += length;
                }
                mark @ (b'"' | b'\'') if !attribute.is_empty() => {
                    let value = text.get(at + 1..)?;
                    let Some(end) = window(value, *budget).find(char::from(mark)) else {
                        spend(budget, value.len());
                        return None;
                    };
                    tag.attributes.push((attribute, value.get(..end)?));
                    attribute = "";
                    at += end + 2;
                }
                b'=' | b' ' | b'\t' | b'\n' => {
                    at += 1;
                    if !matches!(bytes.get(at - 1), Some(b'='))
                        && !matches!(bytes.get(at), Some(b'=' | b'"' | b'\'' | b'{'))
                    {
                        attribute = "";
                    }
                }
                _ => {
                    attribute = word(text, at);
                    if attribute.is_empty() {
                        return None;
                    }
                    at += attribute.len();
                }
            }
            if *budget == 0 {
                return None;
            }
        }
    }

    fn is_component(&self) -> bool {
        self.name.is_empty() || self.name.contains('.') || self.name.starts_with(|c: char| c.is_ascii_uppercase())
    }

    /// The tag as HTML, without what is computed.
    fn write(&self, out: &mut String) {
        out.push('<');
        out.push_str(self.name);
        for (name, value) in &self.attributes {
            let name = if *name == "className" { "class" } else { name };
            let mark = if value.contains('"') { '\'' } else { '"' };
            out.push(' ');
            out.push_str(name);
            out.push('=');
            out.push(mark);
            out.push_str(value);
            out.push(mark);
        }
        out.push_str(if self.empty { " />" } else { ">" });
    }
}

fn closing_of(text: &str, at: usize, budget: &mut usize) -> Option<usize> {
    closing(text.get(at..)?, budget)
}

/// The name that stands in `text` at `at`.
fn word(text: &str, at: usize) -> &str {
    let rest = text.get(at..).unwrap_or_default();
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '$')));
    rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
}

// MkDocs.

/// Admonitions (`!!! note "Title"`, `??? tip`) and tabs (`=== "Name"`) as paragraphs, their content without its indentation.
fn mkdocs(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // How far the content of each open admonition is indented, as the page has it.
    let mut open: Vec<usize> = Vec::new();
    let mut code = None;
    for line in text.split_inclusive('\n') {
        let indent = indentation(line);
        if line.trim().is_empty() {
            out.push_str(if line.ends_with('\n') { "\n" } else { "" });
            continue;
        }
        if code.is_none() {
            while open.last().is_some_and(|inner| indent < *inner) {
                open.pop();
            }
        }
        // Each level of content is four columns further in than what opened it.
        let shown = dedented(line, open.len() * 4);
        if let Some(fence) = code {
            out.push_str(shown);
            if closes(line, fence) {
                code = None;
            }
        } else if let Some(title) = admonition(line.trim()) {
            out.push('\n');
            out.push_str(shown.get(..indentation(shown)).unwrap_or_default());
            out.push_str(title);
            out.push_str("\n\n");
            open.push(indent + 4);
        } else {
            code = fence(line);
            out.push_str(shown);
        }
    }
    out
}

/// The title that the opening line of an admonition or tab shows, empty where it has none.
fn admonition(line: &str) -> Option<&str> {
    let is_tab = line.starts_with("=== ");
    let rest = ["!!! ", "???+ ", "??? ", "===! ", "===+ ", "=== "].iter().find_map(|mark| line.strip_prefix(mark))?;
    match rest.find('"') {
        Some(start) => rest.get(start + 1..)?.strip_suffix('"').filter(|title| !title.contains('"')),
        None if is_tab => None,
        None => rest.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ')).then_some(""),
    }
}
