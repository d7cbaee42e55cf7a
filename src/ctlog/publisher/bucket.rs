//! A bucket of an S3-compatible object store.

use super::target::{Found, Kind, Target, TargetError};
use super::{Config, PublishError};
use futures_util::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    Attribute, BackoffConfig, ClientOptions, Error, ObjectStore as _, ObjectStoreExt as _, PutMode,
    PutOptions, PutPayload, RetryConfig, UpdateVersion,
};
use std::net::IpAddr;
use std::time::Duration;

/// A bucket, and what all names in it begin with.
#[derive(Debug)]
pub struct Bucket {
    store: AmazonS3,
    prefix: Path,
}

/// A pair of keys for a bucket.
#[derive(Clone)]
pub struct Credentials {
    id: String,
    secret: zeroize::Zeroizing<String>,
}

impl Credentials {
    /// Reads the usual file of such keys: lines `aws_access_key_id = …` and
    /// `aws_secret_access_key = …`, under no heading or `[default]`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut is_ours = true;
        let (mut id, mut secret) = (None, None);
        for line in text.lines().map(str::trim) {
            if let Some(heading) = line.strip_prefix('[') {
                is_ours = heading == "default]";
            } else if let Some((name, value)) = line.split_once('=').filter(|_| is_ours) {
                match name.trim() {
                    "aws_access_key_id" => id = Some(value.trim().to_owned()),
                    "aws_secret_access_key" => secret = Some(value.trim().to_owned().into()),
                    _ => {}
                }
            }
        }
        Some(Self {
            id: id?,
            secret: secret?,
        })
    }
}

impl core::fmt::Debug for Credentials {
    /// Without the secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Credentials")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Bucket {
    /// The bucket of `s3://BUCKET/PREFIX`. Where no credentials are given they come from the
    /// environment or from the machine, as for the vendor's own tools.
    pub fn open(config: &Config, credentials: Option<Credentials>) -> Result<Self, PublishError> {
        let place = config.to.strip_prefix(SCHEME).unwrap_or_default();
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let prefix = Path::parse(prefix.trim_end_matches('/'))
            .map_err(|error| PublishError::Config(error.to_string()))?;
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_virtual_hosted_style_request(!config.path_style);
        let mut options = ClientOptions::new()
            .with_timeout(PATIENCE)
            .with_connect_timeout(CONNECT);
        if let Some(endpoint) = &config.endpoint {
            let allow_http = is_allowed_http(endpoint, config.allow_http_loopback)?;
            options = options.with_allow_http(allow_http);
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = &config.region {
            builder = builder.with_region(region);
        }
        if let Some(Credentials { id, secret }) = credentials {
            builder = builder
                .with_access_key_id(id)
                .with_secret_access_key(secret.as_str());
        }
        // The publisher tries again by itself.
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: 2,
            retry_timeout: PATIENCE,
        };
        let built = builder
            .with_client_options(options)
            .with_retry(retry)
            .build();
        let store = built.map_err(|error| PublishError::Config(error.to_string()))?;
        Ok(Self { store, prefix })
    }

    fn name(&self, path: &str) -> Path {
        path.split('/').fold(self.prefix.clone(), Path::join)
    }
}

/// Whether an endpoint is spoken to in plain text: on this machine, and only if that was asked for.
pub(super) fn is_allowed_http(endpoint: &str, is_asked_for: bool) -> Result<bool, PublishError> {
    let Some(rest) = endpoint.strip_prefix("http://") else {
        return Ok(false);
    };
    let host = rest.split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    if is_asked_for && address.is_some_and(|address| address.is_loopback()) {
        return Ok(true);
    }
    let refused =
        "an endpoint is https://; http:// is for addresses on loopback, with allow-http-loopback";
    Err(PublishError::Config(refused.to_owned()))
}

#[async_trait::async_trait]
impl Target for Bucket {
    async fn get(&self, path: &str, limit: usize) -> Result<Option<Found>, TargetError> {
        let failed = |error| TargetError::new(path, error);
        let found = match self.store.get(&self.name(path)).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if found.meta.size > limit as u64 {
            return Err(TargetError::new(path, format!("more than {limit} bytes")));
        }
        let version = found.meta.e_tag.clone();
        let bytes = found.bytes().await.map_err(failed)?.to_vec();
        Ok(Some(Found { bytes, version }))
    }

    async fn put(
        &self,
        path: &str,
        bytes: Vec<u8>,
        kind: Kind,
        over: Option<&Found>,
    ) -> Result<bool, TargetError> {
        let mut options = PutOptions::default();
        let attributes = &mut options.attributes;
        attributes.insert(Attribute::ContentType, kind.content_type().into());
        attributes.insert(Attribute::CacheControl, kind.cache_control().into());
        let payload = PutPayload::from(bytes);
        // `If-None-Match: *` for a new file, `If-Match` for one that was found.
        options.mode = match over.map(|found| found.version.clone()) {
            None => PutMode::Create,
            Some(Some(e_tag)) => PutMode::Update(UpdateVersion {
                e_tag: Some(e_tag),
                version: None,
            }),
            Some(None) => PutMode::Overwrite,
        };
        let name = self.name(path);
        let put = self.store.put_opts(&name, payload.clone(), options.clone());
        let put = match put.await {
            // The operator has said that this store knows no conditions.
            Err(Error::NotImplemented { .. }) => {
                options.mode = PutMode::Overwrite;
                self.store.put_opts(&name, payload, options).await
            }
            put => put,
        };
        match put {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(TargetError::new(path, error)),
        }
    }

    async fn remove(&self, directory: &str) -> Result<(), TargetError> {
        let failed = |error| TargetError::new(directory, error);
        let prefix = self.name(directory);
        let listed: Vec<_> = self
            .store
            .list(Some(&prefix))
            .try_collect()
            .await
            .map_err(failed)?;
        for object in listed {
            match self.store.delete(&object.location).await {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }
}

/// What such a place begins with.
pub(super) const SCHEME: &str = "s3://";
const CONNECT: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(30);
