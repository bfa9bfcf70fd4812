//! A heading's anchor by the rule of the generator that will render it.

use rustc_hash::{FxHashMap, FxHashSet};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// The generator whose rule makes anchors of headings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlugStyle {
    /// GitHub's own pages.
    GitHub,
    /// Docusaurus, which follows GitHub.
    Docusaurus,
    /// `MkDocs`, by Python-Markdown's table-of-contents extension.
    MkDocs,
    /// Sphinx, by docutils' identifiers.
    Sphinx,
    /// GitLab's own pages.
    GitLab,
}

impl SlugStyle {
    /// The style of a name as it stands in the configuration.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "github" => Some(Self::GitHub),
            "docusaurus" => Some(Self::Docusaurus),
            "mkdocs" => Some(Self::MkDocs),
            "sphinx" => Some(Self::Sphinx),
            "gitlab" => Some(Self::GitLab),
            _ => None,
        }
    }
}

/// Makes the anchors of one page, each once.
#[derive(Debug)]
pub(super) struct Slugger {
    style: SlugStyle,
    used: FxHashSet<String>,
    counts: FxHashMap<String, u32>,
}

impl Slugger {
    pub(super) fn new(style: SlugStyle) -> Self {
        Self { style, used: FxHashSet::default(), counts: FxHashMap::default() }
    }

    /// Takes an anchor that the page gives itself.
    pub(super) fn reserve(&mut self, anchor: &str) {
        self.used.insert(anchor.to_owned());
    }

    /// The anchor of the next heading.
    pub(super) fn slug(&mut self, heading: &str) -> Option<String> {
        let slug = match self.style {
            SlugStyle::GitHub | SlugStyle::Docusaurus => self.numbered(github(heading), 1),
            SlugStyle::GitLab => self.numbered(gitlab(heading), 1),
            SlugStyle::MkDocs => self.underscored(mkdocs(heading)),
            SlugStyle::Sphinx => self.automatic(sphinx(heading)),
        };
        (!slug.is_empty()).then(|| {
            self.used.insert(slug.clone());
            slug
        })
    }

    /// `a`, `a-1`, `a-2`: the first number not yet used.
    fn numbered(&mut self, slug: String, first: u32) -> String {
        if !self.used.contains(&slug) {
            return slug;
        }
        let count = self.counts.entry(slug.clone()).or_insert(first - 1);
        loop {
            *count += 1;
            let candidate = format!("{slug}-{count}");
            if !self.used.contains(&candidate) {
                return candidate;
            }
        }
    }

    /// `a`, `a_1`, `a_2`; a slug that already ends in a number counts on from it.
    fn underscored(&mut self, slug: String) -> String {
        if !slug.is_empty() && !self.used.contains(&slug) {
            return slug;
        }
        let (stem, number) = match slug.rsplit_once('_') {
            Some((stem, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                (stem.to_owned(), digits.parse::<u32>().unwrap_or(0))
            }
            _ => (slug, 0),
        };
        let count = self.counts.entry(stem.clone()).or_insert(number);
        loop {
            *count += 1;
            let candidate = format!("{stem}_{count}");
            if !self.used.contains(&candidate) {
                return candidate;
            }
        }
    }

    /// docutils numbers all that is empty or taken as `id1`, `id2` over the page.
    fn automatic(&mut self, slug: String) -> String {
        if !slug.is_empty() && !self.used.contains(&slug) {
            return slug;
        }
        let count = self.counts.entry(String::new()).or_insert(0);
        loop {
            *count += 1;
            let candidate = format!("id{count}");
            if !self.used.contains(&candidate) {
                return candidate;
            }
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || is_combining_mark(c)
}

/// Lower case; all but letters, digits, marks, `_`, `-` and spaces removed; each space becomes a hyphen.
fn github(heading: &str) -> String {
    let kept = heading.chars().flat_map(char::to_lowercase).filter(|&c| is_word(c) || c == '-' || c == ' ');
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// As GitHub's, with runs of hyphens made one.
fn gitlab(heading: &str) -> String {
    let mut slug = github(heading.trim());
    slug.dedup_hyphens();
    slug
}

/// ASCII after NFKD; all but letters, digits, `_`, `-` and spaces removed; runs of spaces and hyphens become one hyphen.
fn mkdocs(heading: &str) -> String {
    let ascii: String = heading.nfkd().filter(char::is_ascii).collect();
    let kept: String = ascii.chars().filter(|&c| is_word(c) || c == '-' || c.is_ascii_whitespace()).collect();
    let mut slug: String =
        kept.trim().to_ascii_lowercase().chars().map(|c| if c.is_ascii_whitespace() { '-' } else { c }).collect();
    slug.dedup_hyphens();
    slug
}

/// ASCII after NFKD and lower case; every other run becomes one hyphen; no hyphen or digit in front, no hyphen behind.
fn sphinx(heading: &str) -> String {
    let folded = heading.chars().flat_map(char::to_lowercase).collect::<String>();
    let ascii = folded.nfkd().filter(char::is_ascii);
    let mut slug: String = ascii.map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    slug.dedup_hyphens();
    slug.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit()).trim_end_matches('-').to_owned()
}

trait DedupHyphens {
    fn dedup_hyphens(&mut self);
}

impl DedupHyphens for String {
    fn dedup_hyphens(&mut self) {
        let mut previous = ' ';
        self.retain(|c| {
            let keep = !(c == '-' && previous == '-');
            previous = c;
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slugs(style: SlugStyle, headings: &[&str]) -> Vec<String> {
        let mut slugger = Slugger::new(style);
        headings.iter().map(|heading| slugger.slug(heading).unwrap_or_default()).collect()
    }

    #[test]
    fn each_generator_has_its_rule() {
        let headings = ["What's new? v1.2 & more", "Überblick -- kurz", "Überblick -- kurz", "3.1 snake_case"];
        let expected = [
            (SlugStyle::GitHub, ["whats-new-v12--more", "überblick----kurz", "überblick----kurz-1", "31-snake_case"]),
            (SlugStyle::GitLab, ["whats-new-v12-more", "überblick-kurz", "überblick-kurz-1", "31-snake_case"]),
            (SlugStyle::MkDocs, ["whats-new-v12-more", "uberblick-kurz", "uberblick-kurz_1", "31-snake_case"]),
            (SlugStyle::Sphinx, ["what-s-new-v1-2-more", "uberblick-kurz", "id1", "snake-case"]),
        ];
        for (style, slugs_expected) in expected {
            assert_eq!(slugs(style, &headings), slugs_expected, "{style:?}");
        }
    }

    #[test]
    fn a_numbered_anchor_never_meets_a_real_one() {
        assert_eq!(slugs(SlugStyle::GitHub, &["a", "a-1", "a", "a"]), ["a", "a-1", "a-2", "a-3"]);
        assert_eq!(slugs(SlugStyle::MkDocs, &["a", "a", "a_1", "日本"]), ["a", "a_1", "a_2", "_1"]);
    }
}
