//! What stands on a page without saying anything: tables of contents, reading times, repeated titles, prompts for
//! feedback, trails of page names, lists of related pages. It stays in the canonical text and is in no chunk.
//!
//! The rules look at shape first (the share of links, the place on the page) and at words only where shape does not tell.
//! The words are kept here, for the languages that help centres are commonly written in.

use rustc_hash::FxHashSet;

use super::omission::without_sections;
use super::writer::{Finds, Meta, Notes, Stats, collapsed};
use super::{Block, BlockKind, Page, PageKind, Question, linked_data};

/// What a prompt for feedback says, folded.
const PROMPTS: &[&str] = &[
    "was this article helpful",
    "was this page helpful",
    "was this helpful",
    "was this information helpful",
    "was this answer helpful",
    "was this content helpful",
    "was this document helpful",
    "was this section helpful",
    "was this topic helpful",
    "was this useful",
    "was this page useful",
    "was this article useful",
    "did this article help",
    "did this page help",
    "did this help",
    "did this answer your question",
    "did you find this article helpful",
    "did you find this page helpful",
    "did you find this helpful",
    "did you find what you were looking for",
    "is this article helpful",
    "is this page helpful",
    "how helpful was this",
    "how would you rate this",
    "rate this article",
    "rate this page",
    "war dieser artikel hilfreich",
    "war dieser beitrag hilfreich",
    "war diese seite hilfreich",
    "war das hilfreich",
    "war dies hilfreich",
    "waren diese informationen hilfreich",
    "wie hilfreich war",
    "hat dir dieser artikel geholfen",
    "te ha resultado útil",
    "le ha resultado útil",
    "te resultó útil",
    "fue útil este artículo",
    "fue útil esta página",
    "este artículo fue útil",
    "ha sido útil",
    "cet article vous a t il été utile",
    "cet article vous a t il aidé",
    "cet article était il utile",
    "cette page vous a t elle été utile",
    "ces informations vous ont elles été utiles",
    "este artigo foi útil",
    "esta página foi útil",
    "isto foi útil",
    "isso foi útil",
    "este artigo ajudou",
    "questo articolo è stato utile",
    "questo articolo ti è stato utile",
    "questa pagina è stata utile",
    "heeft dit artikel geholpen",
    "was dit artikel nuttig",
    "was dit nuttig",
    "czy ten artykuł był pomocny",
    "была ли эта статья полезной",
    "была ли статья полезна",
    "помогла ли вам статья",
];

/// How the answer to such a prompt begins, folded.
const THANKS: &[&str] =
    &["thank", "danke", "vielen dank", "gracias", "merci", "obrigad", "grazie", "bedankt", "dziękuj", "спасибо"];

/// What a reading time says beside its number, folded.
const READING: &[&str] = &[
    "min read",
    "mins read",
    "minute read",
    "minutes read",
    "min to read",
    "minutes to read",
    "reading time",
    "read time",
    "lesezeit",
    "de lectura",
    "de lecture",
    "de leitura",
    "di lettura",
    "leestijd",
    "czytania",
    "чтения",
];

/// Headings under which a list of links names other pages only, folded.
const RELATED: &[&str] = &[
    "related articles",
    "related pages",
    "related topics",
    "related content",
    "related links",
    "related",
    "see also",
    "read more",
    "read next",
    "further reading",
    "learn more",
    "more articles",
    "you may also like",
    "verwandte artikel",
    "ähnliche artikel",
    "verwandte themen",
    "siehe auch",
    "artículos relacionados",
    "véase también",
    "articles associés",
    "articles liés",
    "articles connexes",
    "voir aussi",
    "artigos relacionados",
    "veja também",
    "ver também",
    "articoli correlati",
    "vedi anche",
    "gerelateerde artikelen",
    "zie ook",
    "powiązane artykuły",
    "zobacz też",
    "похожие статьи",
    "см также",
];

/// The page of `blocks`, with title, kind and retrievable blocks decided.
pub(super) fn page(text: String, blocks: Vec<Block>, notes: Vec<Notes>, meta: Meta, finds: Finds) -> Page {
    let asked = linked_data::questions(&meta.linked_data, folded);
    let (text, blocks, notes, finds) = without_sections((text, blocks, notes, finds), &meta.omitted);
    let notes = notes.as_slice();
    let mut page = Page {
        text,
        blocks,
        breadcrumb: meta.breadcrumb,
        language: meta.language,
        canonical_url: meta.canonical_url,
        front_matter: meta.front_matter,
        hidden_dropped: meta.hidden_dropped,
        kind: meta.kind.or(asked.as_ref().map(|_| PageKind::Faq)),
        questions: finds.questions,
        images: finds.images,
        ..Page::default()
    };
    page.title = title(&page, meta.title_element.as_deref(), meta.site_name.as_deref());
    let mut verdict = judge(&mut page, notes);
    let said = page.front_matter.get("is_hub").and_then(serde_json::Value::as_bool);
    page.hub = said.unwrap_or_else(|| is_hub(&page, notes, &verdict));
    if page.hub {
        // A hub's links to other pages are all it has.
        for (keep, note) in verdict.iter_mut().zip(notes) {
            *keep |= note.contents && note.stats.in_page * 2 < note.stats.text;
        }
    }
    for (block, keep) in page.blocks.iter_mut().zip(verdict) {
        block.retrievable = keep;
    }
    if let Some(asked) = asked {
        mark_questions(&mut page, &asked);
    }
    page
}

/// Marks the blocks whose text is one of `asked`.
fn mark_questions(page: &mut Page, asked: &FxHashSet<String>) {
    let known: FxHashSet<u32> = page.questions.iter().map(|question| question.block).collect();
    let named = page.blocks.iter().enumerate().filter(|(index, block)| {
        let text = page.slice(&block.range);
        let whole = matches!(block.kind, BlockKind::Paragraph | BlockKind::Heading(_)) && !text.contains('\n');
        whole && !known.contains(&(*index as u32)) && asked.contains(&folded(text))
    });
    let found: Vec<Question> = named.map(|(index, _)| Question { block: index as u32, end: None }).collect();
    page.questions.extend(found);
    page.questions.sort_by_key(|question| question.block);
}

/// Lower case, letters and digits only, words separated by one space.
pub(super) fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        if !folded.is_empty() {
            folded.push(' ');
        }
        folded.extend(word.chars().flat_map(char::to_lowercase));
    }
    folded
}

fn title(page: &Page, element: Option<&str>, site: Option<&str>) -> Option<String> {
    let given = page.front_matter.get("title").and_then(|title| match title {
        serde_json::Value::String(title) => Some(collapsed(title)),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    let heading = |wanted: &dyn Fn(u8) -> bool| {
        let mut headings = page.blocks.iter().filter(|block| block.heading_level().is_some_and(wanted));
        headings.next().map(|block| page.slice(&block.range).to_owned())
    };
    given
        .filter(|title| !title.is_empty())
        .or_else(|| heading(&|level| level == 1))
        .or_else(|| element.map(|element| without_site(page, element, site)).filter(|title| !title.is_empty()))
        .or_else(|| heading(&|_| true))
}

/// An HTML title without the site's name: what the page's first heading confirms, else all before the site's name or a
/// bar.
fn without_site(page: &Page, element: &str, site: Option<&str>) -> String {
    let title = collapsed(element);
    let first = page.blocks.iter().find(|block| block.heading_level().is_some()).map(|block| page.slice(&block.range));
    for separator in [" | ", " - ", " – ", " — ", " · ", " :: ", " » "] {
        let Some((front, back)) = title.rsplit_once(separator) else { continue };
        let confirmed = first.is_some_and(|first| folded(first) == folded(front));
        let named = site.is_some_and(|site| folded(site) == folded(back));
        if !front.trim().is_empty() && (confirmed || named || separator == " | ") {
            return front.trim().to_owned();
        }
    }
    title
}

/// Which blocks belong into a chunk.
fn judge(page: &mut Page, notes: &[Notes]) -> Vec<bool> {
    let title = page.title.as_deref().map(folded);
    let mut title_seen = false;
    let mut said = false;
    let mut after_prompt = false;
    let mut related = false;
    let mut keeps = Vec::with_capacity(page.blocks.len());
    let mut trail = Vec::new();
    for (index, (block, note)) in page.blocks.iter().zip(notes).enumerate() {
        let text = page.slice(&block.range);
        let words = if text.len() <= 240 { folded(text) } else { String::new() };
        let is_heading = block.heading_level().is_some();
        let repeats_title = !words.is_empty() && title.as_ref() == Some(&words);
        let prompt =
            is_prompt(&words) || note.stats.links == 0 && starts_with_any(&words, &["thanks for your feedback"]);
        after_prompt = prompt || after_prompt && !is_heading && is_answer_form(text, &words);
        let keep = if is_heading {
            related = RELATED.contains(&words.as_str());
            // A title that comes again is the page's frame; after other text it heads a section of that name.
            let repeated = repeats_title && title_seen && !said;
            title_seen |= repeats_title;
            !prompt && !repeated
        } else if index < 4 && is_trail(text, block.kind, note.stats) {
            trail = text.split(['>', '›', '»', '/', '→']).map(collapsed).filter(|name| !name.is_empty()).collect();
            false
        } else if block.kind == BlockKind::Paragraph && RELATED.contains(&words.as_str()) {
            related = true;
            false
        } else {
            !(after_prompt
                || repeats_title && matches!(block.kind, BlockKind::Paragraph | BlockKind::Quote)
                || is_reading_time(text, &words)
                || note.contents
                || is_contents(block.kind, note.stats)
                || related && is_links(note.stats))
        };
        said |= keep && !(repeats_title && is_heading);
        keeps.push(keep);
    }
    if page.breadcrumb.is_empty() {
        page.breadcrumb = trail;
    }
    // The heading of a part that says nothing (a table of contents, a list of related pages) goes with it.
    for index in 0..keeps.len() {
        let is_heading = |at: usize| page.blocks.get(at).is_none_or(|block| block.heading_level().is_some());
        if is_heading(index) && !is_heading(index + 1) {
            let part = (index + 1..keeps.len()).take_while(|&at| !is_heading(at));
            let mut part = part.map(|at| keeps.get(at).copied().unwrap_or(false)).peekable();
            let related = page.blocks.get(index).is_some_and(|block| {
                let words = folded(page.slice(&block.range));
                RELATED.contains(&words.as_str()) || notes.get(index).is_some_and(|note| note.contents)
            });
            if related && !part.any(|keep| keep) {
                keeps[index] = false;
            }
        }
    }
    keeps
}

/// Whether a text asks for feedback on the page.
pub(super) fn is_feedback(text: &str) -> bool {
    text.len() <= 240 && is_prompt(&folded(text))
}

fn is_prompt(words: &str) -> bool {
    words.len() <= 120 && PROMPTS.iter().any(|prompt| words.starts_with(prompt) || words.ends_with(prompt))
}

fn starts_with_any(words: &str, starts: &[&str]) -> bool {
    starts.iter().any(|start| words.starts_with(start))
}

/// What is left of a form after a prompt: buttons of one to three words, a word of thanks.
fn is_answer_form(text: &str, words: &str) -> bool {
    !words.is_empty() && starts_with_any(words, THANKS)
        || text.len() <= 120 && text.lines().all(|line| line.split_whitespace().count() <= 4)
}

fn is_reading_time(text: &str, words: &str) -> bool {
    text.len() <= 60
        && text.contains(|c: char| c.is_ascii_digit())
        && words.split(' ').count() <= 7
        && READING.iter().any(|reading| words.contains(reading))
}

/// A list of links into the page; a paragraph only when it has several.
fn is_contents(kind: BlockKind, stats: Stats) -> bool {
    let least = if kind == BlockKind::List { 1 } else { 3 };
    stats.links >= least && stats.text > 0 && stats.in_page * 10 >= stats.text * 8
}

fn is_links(stats: Stats) -> bool {
    stats.links > 0 && stats.linked * 10 >= stats.text * 8
}

/// Page names from the outermost inward, as one line near the top of the page.
fn is_trail(text: &str, kind: BlockKind, stats: Stats) -> bool {
    let separators = text.matches(['>', '›', '»', '→']).count() + text.matches(" / ").count();
    kind == BlockKind::Paragraph
        && text.len() <= 200
        && !text.contains('\n')
        && separators >= 1
        && stats.links as usize >= separators
        && stats.linked * 2 >= stats.text
}

/// Whether links to other pages are (almost) all that the page says.
fn is_hub(page: &Page, notes: &[Notes], keeps: &[bool]) -> bool {
    let (mut text, mut linked, mut links) = (0, 0, 0);
    for ((block, note), &keep) in page.blocks.iter().zip(notes).zip(keeps) {
        let stats = note.stats;
        let is_heading = block.heading_level().is_some();
        if note.contents && stats.in_page * 2 < stats.text {
            // A table of contents of other pages: what describes a link belongs to it.
            links += stats.links;
            linked += stats.text;
            text += stats.text;
        } else if keep && (!is_heading || stats.linked > 0) {
            links += stats.links;
            linked += stats.linked - stats.in_page.min(stats.linked);
            text += stats.text;
        }
    }
    // The more links, the more of the text between them only separates them: an index of a book is half terms.
    let share = match links {
        0..3 => return false,
        3..20 => 80,
        20..200 => 60,
        _ => 50,
    };
    text > 0 && u64::from(linked) * 100 >= u64::from(text) * share
}
