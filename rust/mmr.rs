//! Maximal marginal relevance on fused relevance.
