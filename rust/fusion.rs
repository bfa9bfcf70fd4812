//! The default rule, reciprocal rank fusion, normalisers.
