//! Static embedding: token table, mean, unit vector.
/// stub
pub struct StaticEmbedding;
/// stub
#[allow(missing_docs)]
impl StaticEmbedding { pub fn open(_: &std::path::Path) -> crate::error::Result<Self> { Ok(Self) } pub fn dimension(&self) -> usize { 256 } pub fn fingerprint(&self) -> String { String::new() } pub fn embed(&self, _: &str, _: &mut [f32]) {} pub fn embed_all(&self, _: &[&str], _: &mut [f32]) {} }
