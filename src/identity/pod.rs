//! Asking the cluster that we run in: its certificate authority is nobody else's, and it may want to
//! know which pod asks.
//!
//! Both files are read again at every refresh of the keys, because the cluster replaces them while we
//! run. The pod's token is a credential: only the issuer's own host and port ever see it.

use super::outbound::{Bearer, Outbound, Patience, ProviderError, Reach, certificates};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tokio::io::AsyncReadExt as _;

/// Where a pod finds what its cluster gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFiles {
    /// The cluster's certificate authority in PEM. The first of these files that exists is used.
    pub authorities: Vec<PathBuf>,
    /// The token of the pod's service account. Without it nothing is said about who asks.
    pub token: PathBuf,
}

impl Default for PodFiles {
    /// The file that deployments of Fulcio mount, else the one in every pod; the token of every pod.
    fn default() -> Self {
        let account = Path::new("/var/run/secrets/kubernetes.io/serviceaccount");
        Self {
            authorities: vec!["/var/run/fulcio/ca.crt".into(), account.join("ca.crt")],
            token: account.join("token"),
        }
    }
}

/// The way to the issuers of our own cluster.
#[derive(Debug)]
pub(super) struct Pod {
    files: PodFiles,
    reach: Reach,
    /// Roots that the configuration names, in DER.
    roots: Vec<Vec<u8>>,
    patience: Patience,
    /// The client, and the authority's file it was made for.
    made: Mutex<Option<(Vec<u8>, Outbound)>>,
}

impl Pod {
    pub(super) fn new(
        files: PodFiles,
        reach: Reach,
        roots: Vec<Vec<u8>>,
        patience: Patience,
    ) -> Self {
        Self {
            files,
            reach,
            roots,
            patience,
            made: Mutex::default(),
        }
    }

    /// A client that trusts the cluster as it is now, and the pod's token, if it has one.
    pub(super) async fn ready(&self) -> Result<(Outbound, Option<Bearer>), ProviderError> {
        let mut authority = None;
        for file in &self.files.authorities {
            if authority.is_none() {
                authority = read(file).await;
            }
        }
        let authority = authority.ok_or(ProviderError::Cluster("cannot be read"))?;
        let bearer = match read(&self.files.token).await {
            Some(text) => Bearer::new(text.trim_ascii()),
            None => None,
        };
        if bearer.is_none() {
            tracing::warn!(
                "the pod's service-account token cannot be read: its cluster is asked without it"
            );
        }
        Ok((self.client(authority)?, bearer))
    }

    fn client(&self, authority: Vec<u8>) -> Result<Outbound, ProviderError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_for, client)) = made.as_ref()
            && *made_for == authority
        {
            return Ok(client.clone());
        }
        let unusable = ProviderError::Cluster("is not a certificate in PEM");
        let mut roots = str::from_utf8(&authority)
            .ok()
            .and_then(certificates)
            .ok_or_else(|| unusable.clone())?;
        roots.extend(self.roots.iter().cloned());
        let client = Outbound::new(self.reach, &roots, self.patience).map_err(|_| unusable)?;
        *made = Some((authority, client.clone()));
        Ok(client)
    }
}

/// A small file, or nothing if it cannot be had or is not small.
async fn read(file: &Path) -> Option<Vec<u8>> {
    let file = tokio::fs::File::open(file).await.ok()?;
    let mut content = Vec::new();
    let read = file
        .take(MAX_FILE + 1)
        .read_to_end(&mut content)
        .await
        .ok()?;
    (u64::try_from(read).ok()? <= MAX_FILE && read > 0).then_some(content)
}

/// Room for several certificates, or for a token with many claims.
const MAX_FILE: u64 = 64 * 1024;
