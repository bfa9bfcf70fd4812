//! Blocks to chunks under a token target, as ranges of the canonical text.
