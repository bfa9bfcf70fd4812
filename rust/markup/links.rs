//! What a page says to a crawler: where it leads, what it is called, and whether it may be kept.
//!
//! Only tags are read, as the tokenizer gives them: no tree is built, so a page costs half of what it costs a reader (32 MB of
//! help pages: .19 s and .32), however deep it is nested. What stands in scripts, styles and comments is no link.

use html5ever::buffer_queue::BufferQueue;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};
use std::cell::{Cell, RefCell};

use super::dom::shortened_tags;

/// More links of one page are not read.
const MAXIMUM_LINKS: usize = 100_000;

/// A link of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its target as the page writes it, without white space around it.
    pub target: String,
    /// Whether the page asks that it is not followed (`rel="nofollow"`).
    pub nofollow: bool,
}

/// What a page says to a crawler. All addresses are as the page writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// The links of `a`, `area`, `frame` and `iframe`, in order.
    pub links: Vec<Link>,
    /// The address that relative ones are relative to.
    pub base: Option<String>,
    /// The address that the page gives as its own by `<link rel="canonical">`.
    pub canonical: Option<String>,
    /// Language tag and address of the page in other languages.
    pub alternates: Vec<(String, String)>,
    /// Whom instructions are for (`robots`, or a crawler's name) and what they say, both in lower case.
    pub robots: Vec<(String, String)>,
    /// The content of `<meta http-equiv="refresh">`, unless it is only for readers without scripts.
    pub refresh: Option<String>,
    /// The language of the page (`lang` of `html`).
    pub language: Option<String>,
}

impl Links {
    /// Reads a page; there is no page that cannot be read.
    #[must_use]
    pub fn of(html: &str) -> Self {
        let tokenizer = Tokenizer::new(Reader::default(), TokenizerOpts::default());
        let queue = BufferQueue::default();
        queue.push_back(StrTendril::from_slice(&shortened_tags(html)));
        // The tokenizer pauses after each script.
        for _ in 0..=html.len() {
            if queue.is_empty() {
                break;
            }
            let _ = tokenizer.feed(&queue);
        }
        tokenizer.end();
        tokenizer.sink.links.into_inner()
    }

    fn add(&mut self, tag: &Tag, in_noscript: bool) {
        let attribute = |name: &str| {
            let found = tag.attrs.iter().find(|attribute| &*attribute.name.local == name);
            found.map(|attribute| attribute.value.trim()).filter(|value| !value.is_empty())
        };
        let owned = |name: &str| attribute(name).map(str::to_owned);
        match &*tag.name {
            "a" | "area" => self.link(owned("href"), attribute("rel").is_some_and(|rel| has_word(rel, "nofollow"))),
            "frame" | "iframe" => self.link(owned("src"), false),
            "base" => self.base = self.base.take().or_else(|| owned("href")),
            "html" => self.language = self.language.take().or_else(|| owned("lang")).or_else(|| owned("xml:lang")),
            "link" => {
                let (Some(rel), Some(target)) = (attribute("rel"), owned("href")) else { return };
                if has_word(rel, "canonical") {
                    self.canonical.get_or_insert(target);
                } else if has_word(rel, "alternate")
                    && let Some(language) = owned("hreflang")
                    && self.alternates.len() < MAXIMUM_LINKS
                {
                    self.alternates.push((language, target));
                }
            }
            "meta" => {
                let Some(content) = attribute("content") else { return };
                if attribute("http-equiv").is_some_and(|name| name.eq_ignore_ascii_case("refresh")) {
                    if !in_noscript {
                        self.refresh.get_or_insert_with(|| content.to_owned());
                    }
                } else if let Some(name) = attribute("name")
                    && self.robots.len() < MAXIMUM_LINKS
                {
                    let name = name.to_ascii_lowercase();
                    if name == "robots" || name == "clockify-rag" {
                        self.robots.push((name, content.to_ascii_lowercase()));
                    }
                }
            }
            _ => {}
        }
    }

    fn link(&mut self, target: Option<String>, nofollow: bool) {
        if let Some(target) = target
            && self.links.len() < MAXIMUM_LINKS
        {
            self.links.push(Link { target, nofollow });
        }
    }
}

/// Whether a list of words has one of them, in any case.
fn has_word(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|part| part.eq_ignore_ascii_case(word))
}

#[derive(Default)]
struct Reader {
    links: RefCell<Links>,
    in_noscript: Cell<bool>,
}

impl TokenSink for Reader {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let Token::TagToken(tag) = token else { return TokenSinkResult::Continue };
        if &*tag.name == "noscript" {
            self.in_noscript.set(tag.kind == TagKind::StartTag);
        }
        if tag.kind == TagKind::EndTag {
            return TokenSinkResult::Continue;
        }
        self.links.borrow_mut().add(&tag, self.in_noscript.get());
        // A parser that builds a tree tells the tokenizer where text begins that has no tags in it.
        match &*tag.name {
            "script" => TokenSinkResult::RawData(RawKind::ScriptData),
            "style" | "xmp" | "noembed" | "noframes" | "iframe" => TokenSinkResult::RawData(RawKind::Rawtext),
            "title" | "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
            _ => TokenSinkResult::Continue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn targets(html: &str) -> Vec<String> {
        Links::of(html).links.into_iter().map(|link| link.target).collect()
    }

    #[test]
    fn links_are_those_of_a_page_and_not_of_its_scripts() {
        let html = r#"<base href="/docs/"><title><a href=t></title><!-- <a href=c> --><script>"<a href=s>"</script>
            <style><a href=y></style><a href=" one ">1</a><A HREF='two' REL="external NoFollow">2</A><area href=three>
            <frame src=four><iframe src=five><a href=i></iframe><a name=none><a href="">"#;
        let links = Links::of(html);
        assert_eq!(targets(html), ["one", "two", "three", "four", "five"]);
        assert_eq!(
            links.links.iter().map(|link| link.nofollow).collect::<Vec<_>>(),
            [false, true, false, false, false]
        );
        assert_eq!(links.base.as_deref(), Some("/docs/"));
    }

    #[test]
    fn what_the_head_says_is_read() {
        let html = r#"<html lang="en-GB"><meta name="ROBOTS" content="NoIndex, follow"><meta name=author content=x>
            <link rel=canonical href=/a><link rel="canonical" href=/b><link rel="alternate" hreflang=de href=/de/a>
            <link rel=alternate type=application/rss+xml href=/feed><meta http-equiv=Refresh content="0; url=/next">"#;
        let links = Links::of(html);
        assert_eq!(links.canonical.as_deref(), Some("/a"));
        assert_eq!(links.alternates, [("de".to_owned(), "/de/a".to_owned())]);
        assert_eq!(links.robots, [("robots".to_owned(), "noindex, follow".to_owned())]);
        assert_eq!(links.refresh.as_deref(), Some("0; url=/next"));
        assert_eq!(links.language.as_deref(), Some("en-GB"));
    }

    #[test]
    fn a_refresh_for_readers_without_scripts_is_none() {
        let html = "<noscript><meta http-equiv=refresh content='0; url=plain'><a href=seen></noscript>";
        assert_eq!(Links::of(html).refresh, None);
        assert_eq!(targets(html), ["seen"]);
        let html = format!("{html}<meta http-equiv=refresh content='0; url=other'>");
        assert_eq!(Links::of(&html).refresh.as_deref(), Some("0; url=other"));
    }

    #[test]
    fn references_in_addresses_are_resolved() {
        assert_eq!(targets(r#"<a href="?a=1&amp;b=2"><a href="/caf&eacute;">"#), ["?a=1&b=2", "/café"]);
    }

    #[test]
    fn a_deep_page_and_one_of_many_attributes_are_read_in_time() {
        let html = format!("{}<a href=deep>", "<div>".repeat(1_000_000));
        assert_eq!(targets(&html), ["deep"]);
        let html = format!("<p {}><a href=after>", "a=b ".repeat(1_000_000));
        assert_eq!(targets(&html), ["after"]);
    }

    proptest! {
        #[test]
        fn no_page_is_refused(html in "(<(a|base|script|title|meta|/|!--)? ?(href|content|name)?[ =\"'>a-z&;\\x00]{0,6}){0,40}") {
            let _ = Links::of(&html);
        }

        #[test]
        fn every_link_is_found(names in prop::collection::vec("[a-z]{1,8}", 0..20)) {
            let html = names.iter().fold(String::new(), |html, name| html + "<p><a href=\"" + name + "\">x</a>");
            prop_assert_eq!(targets(&html), names);
        }
    }
}
