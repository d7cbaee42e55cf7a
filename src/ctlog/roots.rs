//! The roots to which what others submit must lead. They can be exchanged while the log runs.

use super::chain::ChainCertificate;
use super::submission::{Policy, read_chain};
use super::{Log, LogError};
use std::sync::Arc;

impl Log {
    /// The roots submissions may lead to, in DER.
    pub fn roots(&self) -> impl Iterator<Item = Vec<u8>> {
        let roots = self.shared.policy.load().roots.clone();
        roots.into_iter().map(|root| root.der().to_vec())
    }

    /// Takes what leads to these roots, in DER, from the next submission on, and to none that is not
    /// among them. The log's own authority stays. Returns whether they are others than before.
    ///
    /// # Errors
    /// [`LogError::Chain`]: one of them is no certificate, and the roots stay as they are.
    pub fn replace_roots(&self, roots: &[Vec<u8>]) -> Result<bool, LogError> {
        let own = self.shared.own.as_ref().map(|own| &own.root);
        let roots = accepted_roots(own, roots)?;
        let names = |roots: &[ChainCertificate]| -> Vec<_> {
            roots.iter().map(ChainCertificate::fingerprint).collect()
        };
        let before = self.shared.policy.load_full();
        let is_new = names(&before.roots) != names(&roots);
        self.shared.policy.store(Arc::new(Policy {
            roots,
            ..Policy::clone(&before)
        }));
        Ok(is_new)
    }
}

/// The given roots, and that of the log's own authority if it is not among them.
pub(super) fn accepted_roots(
    own: Option<&ChainCertificate>,
    given: &[Vec<u8>],
) -> Result<Vec<ChainCertificate>, LogError> {
    let mut roots = read_chain("roots", given)?;
    if let Some(own) = own
        && !roots
            .iter()
            .any(|other| other.fingerprint() == own.fingerprint())
    {
        roots.push(own.clone());
    }
    Ok(roots)
}
