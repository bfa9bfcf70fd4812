//! tantivy: dictionary, postings, positions, filters; and the posting lists that queries read.
