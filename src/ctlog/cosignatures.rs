//! The cosignatures of the present tree, added to the checkpoint wherever it is shown.

use super::Log;
use super::merkle::Hash;
use super::note::signed_text;
use super::proofs::consistency_proof;
use super::reads::Reader;
use super::store::StoreError;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Lines of witnesses below one text.
#[derive(Debug, Default)]
pub(super) struct Cosignatures {
    /// What they vouch for. A tree head that is signed again has the same.
    text: String,
    /// Entries of that tree.
    size: u64,
    /// By the witness's name.
    lines: BTreeMap<String, String>,
}

impl Reader {
    pub(super) fn with_cosignatures(&self, note: &str) -> String {
        let cosignatures = self.cosignatures.load();
        let mut note = note.to_owned();
        if signed_text(&note) == Some(&cosignatures.text) {
            note.extend(cosignatures.lines.values().map(String::as_str));
        }
        note
    }
}

impl Log {
    /// Takes a cosignature that was verified over `text`, which is of a tree of `size` entries; those of
    /// smaller trees go, and one that comes when a larger tree has its own is of no use.
    pub(super) fn add_cosignature(&self, text: &str, size: u64, witness: &str, line: String) {
        self.shared.reader.cosignatures.rcu(|present| {
            if size < present.size {
                return Arc::clone(present);
            }
            let mut lines = match present.text == text {
                true => present.lines.clone(),
                false => BTreeMap::new(),
            };
            lines.insert(witness.to_owned(), line.clone());
            Arc::new(Cosignatures {
                text: text.to_owned(),
                size,
                lines,
            })
        });
    }

    /// The proof between two sizes that are stored, whatever head this process has seen.
    pub(super) async fn consistency_up_to(
        &self,
        first: u64,
        second: u64,
    ) -> Result<Vec<Hash>, StoreError> {
        consistency_proof(&*self.shared.reader.store, first, second).await
    }
}
