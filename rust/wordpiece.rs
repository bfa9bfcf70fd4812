//! WordPiece: the static embedder's tokens, and the unit in which chunks and budgets are counted. (Interface; the
//! implementation is being written.)

use std::path::Path;

use crate::error::Result;

/// A WordPiece vocabulary with BERT's normalisation.
#[derive(Debug)]
pub struct WordPiece {
    _vocabulary: (),
}

impl WordPiece {
    /// Reads a `tokenizer.json` of Hugging Face's layout whose model is `WordPiece`.
    ///
    /// # Errors
    /// [`crate::error::Error::ModelInvalid`] when the file is missing or is no such tokenizer.
    pub fn open(_path: &Path) -> Result<Self> {
        Ok(Self { _vocabulary: () })
    }

    /// Appends the ids of the tokens of `text`, special tokens not included, to `ids`.
    pub fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        ids.extend(text.split_whitespace().map(|_| 0));
    }

    /// The number of tokens of `text`.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        text.split_whitespace().count()
    }

    /// Appends the byte offset in `text` after each token to `ends`, in order; as many as [`WordPiece::count`] says.
    pub fn ends(&self, text: &str, ends: &mut Vec<u32>) {
        ends.extend(
            text.split_whitespace().map(|word| (word.as_ptr() as usize - text.as_ptr() as usize + word.len()) as u32),
        );
    }
}
