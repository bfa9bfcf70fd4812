//! BM25F with k1, b and field weights; bounds; explanation in the textbook's letters.
