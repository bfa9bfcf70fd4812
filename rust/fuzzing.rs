//! What must hold of every reader of bytes that somebody else wrote, as one function per reader.
//!
//! The same functions are run by a coverage-guided fuzzer (`fuzz/`, `make fuzz`), which looks for bytes that break them, and by the
//! ordinary tests over what it found worth keeping (`fuzz/corpus/`), so that neither needs the other's tools. A function panics where
//! a property does not hold; that a reader returns, with a value or an error, is only the first of them.
//!
//! Files of an index are given with hashes that match: the point is the reader behind them.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a property that does not hold is a panic")]
#![allow(clippy::missing_panics_doc, reason = "as above")]

mod pages;
mod stored;

pub use pages::{front_matter, html, links, markdown};
pub use stored::{archive, manifest, postings, records, tombstones};

#[cfg(test)]
pub(crate) use pages::{check_chunks, check_page};

/// A reader's properties as a function of bytes.
pub type Target = fn(&[u8]);

/// Every target by its name, which its folder below `fuzz/corpus` has too.
pub const TARGETS: [(&str, Target); 9] = [
    ("html", html),
    ("markdown", markdown),
    ("front_matter", front_matter),
    ("links", links),
    ("archive", archive),
    ("manifest", manifest),
    ("postings", postings),
    ("records", records),
    ("tombstones", tombstones),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fuzzing_found_worth_keeping_still_holds() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, target) in TARGETS {
            let mut files: Vec<_> = std::fs::read_dir(corpus.join(name))
                .unwrap_or_else(|failure| panic!("{name} has no corpus: {failure}"))
                .map(|entry| entry.unwrap().path())
                .collect();
            files.sort();
            assert!(!files.is_empty(), "{name} has no corpus");
            for file in files {
                let bytes = std::fs::read(&file).unwrap();
                let outcome = std::panic::catch_unwind(|| target(&bytes));
                assert!(outcome.is_ok(), "{name} does not hold for {}", file.display());
            }
        }
    }
}
