//! Static embedding: token table, mean, unit vector.
