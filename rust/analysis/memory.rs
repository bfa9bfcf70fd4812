//! What an analyser has already worked out: for a piece of text, its terms.
//!
//! One table with open addressing over two arenas, so that a known piece costs a hash, one probe and a comparison and
//! nothing is allocated for it. When the table is full it is emptied: common pieces are back within a page.

use std::hash::BuildHasher;

use super::{FxBuildHasher, Terms, Token};

/// The most pieces that are remembered, and the longest piece, in bytes. Offsets inside fit one byte.
const MAX_ENTRIES: usize = 1 << 15;
const MAX_PIECE_BYTES: usize = 96;
const FIRST_SLOTS: usize = 1 << 10;

/// Pieces and their terms.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The hash and the entry's number plus one, or zero; a power of two, at most half full.
    slots: Vec<(u32, u32)>,
    entries: Vec<Entry>,
    tokens: Vec<Stored>,
    text: String,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    piece_start: u32,
    tokens_start: u32,
    piece_length: u8,
    token_count: u8,
    positions: u8,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    term_start: u32,
    term_length: u8,
    start: u8,
    end: u8,
    position: u8,
}

/// A remembered piece.
pub(super) struct Known<'a> {
    tokens: &'a [Stored],
    text: &'a str,
    positions: u32,
}

impl<'a> Known<'a> {
    /// The piece's terms, with offsets and positions counted from its beginning.
    #[inline]
    pub(super) fn tokens(&self) -> impl Iterator<Item = Token<'a>> + use<'a> {
        let text = self.text;
        self.tokens.iter().map(move |token| {
            let start = token.term_start as usize;
            Token {
                term: &text[start..start + token.term_length as usize],
                start: u32::from(token.start),
                end: u32::from(token.end),
                position: u32::from(token.position),
            }
        })
    }

    /// The number of positions the piece takes.
    #[inline]
    pub(super) fn positions(&self) -> u32 {
        self.positions
    }
}

fn hash_of(piece: &str) -> u64 {
    FxBuildHasher.hash_one(piece.as_bytes())
}

impl Memory {
    /// What is known about a piece.
    #[inline]
    pub(super) fn find(&self, piece: &str) -> Option<Known<'_>> {
        if self.slots.is_empty() || piece.len() > MAX_PIECE_BYTES {
            return None;
        }
        let hash = hash_of(piece);
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let (tag, number) = self.slots[slot];
            if number == 0 {
                return None;
            }
            if tag == (hash >> 32) as u32 {
                let entry = self.entries[number as usize - 1];
                let start = entry.piece_start as usize;
                if &self.text.as_bytes()[start..start + entry.piece_length as usize] == piece.as_bytes() {
                    let first = entry.tokens_start as usize;
                    return Some(Known {
                        tokens: &self.tokens[first..first + entry.token_count as usize],
                        text: &self.text,
                        positions: u32::from(entry.positions),
                    });
                }
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Keeps the terms of a piece that was not known, if it is short.
    pub(super) fn remember(&mut self, piece: &str, terms: &Terms) {
        let Ok(token_count) = u8::try_from(terms.spans.len()) else { return };
        if piece.len() > MAX_PIECE_BYTES {
            return;
        }
        if self.entries.len() == MAX_ENTRIES {
            *self = Self::default();
        }
        if self.entries.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let entry = Entry {
            piece_start: self.text.len() as u32,
            tokens_start: self.tokens.len() as u32,
            piece_length: piece.len() as u8,
            token_count,
            // A position needs a byte of the piece at least, or a compatibility character that is more than one.
            positions: u8::try_from(terms.positions).unwrap_or(u8::MAX),
        };
        if u32::from(entry.positions) != terms.positions {
            return;
        }
        self.text.push_str(piece);
        for (token, span) in terms.iter().zip(&terms.spans) {
            self.tokens.push(Stored {
                term_start: self.text.len() as u32,
                term_length: token.term.len() as u8,
                start: span.start as u8,
                end: span.end as u8,
                position: span.position as u8,
            });
            self.text.push_str(token.term);
        }
        self.entries.push(entry);
        self.place(hash_of(piece), self.entries.len() as u32);
    }

    fn place(&mut self, hash: u64, number: u32) {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while self.slots[slot].1 != 0 {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = ((hash >> 32) as u32, number);
    }

    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).max(FIRST_SLOTS);
        self.slots.clear();
        self.slots.resize(slots, (0, 0));
        for number in 0..self.entries.len() {
            let entry = self.entries[number];
            let start = entry.piece_start as usize;
            let hash = hash_of(&self.text[start..start + entry.piece_length as usize]);
            self.place(hash, number as u32 + 1);
        }
    }
}
