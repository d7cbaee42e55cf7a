//! To be written.
/// Stub.
#[derive(Debug)]
pub struct SubjectKey;
impl SubjectKey {
    /// Stub.
    pub fn spki_der(&self) -> &[u8] {
        &[]
    }
}
