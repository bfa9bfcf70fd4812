//! 1-bit, int8 and f16 rows on a memory map; top-k; filters as bitmaps.
