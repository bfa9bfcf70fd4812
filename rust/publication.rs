//! Documents to a segment, segments to a generation.
