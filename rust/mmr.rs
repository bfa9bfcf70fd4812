//! Maximal marginal relevance on fused relevance.
/// stub
pub fn select(relevance: &[f32], _v: &[f32], _d: usize, _l: f32, k: usize) -> Vec<usize> { (0..relevance.len().min(k)).collect() }
