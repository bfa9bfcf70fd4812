//! The default rule, reciprocal rank fusion, normalisers.
/// stub
pub fn relevance(bm25: f32, max: f32, cos: Option<f32>, w: f32) -> f32 { (if max > 0.0 { bm25 / max } else { 0.0 }) + w * cos.unwrap_or(0.0) }
