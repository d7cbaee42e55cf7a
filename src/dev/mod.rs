//! A throwaway stack on loopback: the certificate authority with its log and ledger, and an OpenID
//! provider that gives anybody any identity. For development only, and for nothing else: it refuses
//! to listen anywhere but on loopback.

pub mod provider;

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::provider::{Provider, ProviderError};
use crate::authority::hierarchy::Curve;
use crate::config::fresh::{self, Entropy, FreshError, Plan};
use crate::config::{Config, ConfigError, OpenError};
use crate::issuance::Issuance;
use crate::server::{self, App};

/// A running stack. It ends when it is dropped; what it kept in a directory of the caller stays.
#[derive(Debug)]
pub struct Stack {
    ca_url: String,
    provider_url: String,
    directory: PathBuf,
    issuance: Issuance,
    app: Arc<App>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<io::Result<()>>,
    /// Removed last.
    _temporary: Option<Temporary>,
}

/// A stack that cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// The demo provider makes anybody anybody.
    #[error(
        "{0} is not a loopback address: a development stack must not be reachable from anywhere else"
    )]
    NotLoopback(SocketAddr),
    /// Somebody else's deployment, or one of this kind that was reached elsewhere.
    #[error("{directory} is not a development stack that listens at {ca_url}; nothing was changed", directory = .directory.display())]
    NotOurs {
        /// The directory.
        directory: PathBuf,
        /// Where the stack was to listen.
        ca_url: String,
    },
    /// A port or a file.
    #[error("{what}: {source}")]
    System {
        /// What was attempted.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// The provider's key.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The deployment could not be made.
    #[error(transparent)]
    Fresh(#[from] FreshError),
    /// Its configuration could not be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The deployment could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl Stack {
    /// Starts everything: the authority on `listen`, the provider on the port after it (any port
    /// where `listen` has port 0). State is kept in `directory`, made there if it is not yet, or in
    /// a temporary directory that goes with the stack.
    ///
    /// # Errors
    /// [`DevError`].
    pub async fn start(
        listen: SocketAddr,
        directory: Option<&Path>,
        entropy: &Entropy,
        now: OffsetDateTime,
    ) -> Result<Self, DevError> {
        if !listen.ip().is_loopback() {
            return Err(DevError::NotLoopback(listen));
        }
        let ca = bind(listen)?;
        let next = if listen.port() == 0 {
            0
        } else {
            listen.port().wrapping_add(1)
        };
        let provider_listener = bind(SocketAddr::new(listen.ip(), next))?;
        let (ca_url, provider_url) = (url_of(&ca)?, url_of(&provider_listener)?);

        let temporary = match directory {
            Some(_) => None,
            None => Some(Temporary::make()?),
        };
        let directory = match (directory, &temporary) {
            (Some(directory), _) => directory.to_owned(),
            (None, Some(temporary)) => temporary.0.join("stack"),
            (None, None) => PathBuf::new(),
        };
        let provider = Arc::new(Provider::new(&provider_url)?);
        let file = directory.join("vouchsafe.yaml");
        if !file.exists() {
            let plan = Plan {
                public_url: &ca_url,
                listen: ca.local_addr().unwrap_or(listen),
                organization: "Vouchsafe development",
                common_name: "Vouchsafe development",
                curve: Curve::P256,
                passphrase_file: None,
                database: None,
                database_password_file: None,
                issuers: "",
                development: true,
            };
            fresh::create(&directory, &plan, entropy, now).await?;
        }
        let config = Config::read(&file)?;
        if !config.is_development() || config.public_url() != ca_url {
            return Err(DevError::NotOurs { directory, ca_url });
        }
        // The provider has a new key and perhaps a new port each time; its file is the stack's own.
        write(&directory.join("issuers.yaml"), &provider.issuers_yaml())?;

        let opened = config.open(now).await?;
        let issuance = opened.issuance.clone();
        let app = App::new(
            opened.issuance,
            opened.trust,
            opened.mounts,
            config.behaviour(),
        )
        .map_err(|source| DevError::System {
            what: "cannot start threads".to_owned(),
            source,
        })?;

        let served = Arc::clone(&app);
        let (stop, stopped) = watch::channel(false);
        let provider_router = provider.router();
        let provider_stopped = stopped.clone();
        let serving = tokio::spawn(async move {
            let provider =
                server::serve_router(provider_listener, provider_router, until(provider_stopped));
            let ca = server::serve(vec![ca.into()], &served, until(stopped));
            tokio::try_join!(provider, ca).map(|_| ())
        });
        let urls = serde_json::json!({"ca": ca_url, "provider": provider_url});
        write(&directory.join("dev.json"), &urls.to_string())?;
        Ok(Self {
            ca_url,
            provider_url,
            directory,
            issuance,
            app,
            stop,
            serving,
            _temporary: temporary,
        })
    }

    /// The origin of the certificate authority.
    pub fn ca_url(&self) -> &str {
        &self.ca_url
    }

    /// The origin of the demo provider.
    pub fn provider_url(&self) -> &str {
        &self.provider_url
    }

    /// Where its state is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Waits until it ends by itself, which only a failure makes it do.
    pub async fn failed(&mut self) -> String {
        tokio::select! {
            ended = &mut self.serving => match ended {
                Ok(Ok(())) => "the server ended".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            },
            reason = self.issuance.log.fatal() => reason.to_string(),
        }
    }

    /// Stops answering, finishes what is under way, and lets the databases go.
    ///
    /// # Errors
    /// A listener that failed while it ran.
    pub async fn stop(mut self) -> Result<(), DevError> {
        self.stop.send_replace(true);
        let ended = (&mut self.serving)
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        self.app.drain().await;
        self.issuance.close().await;
        ended.map_err(|source| DevError::System {
            what: "the server ended".to_owned(),
            source,
        })
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A directory that is removed with its contents.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Temporary {
    fn make() -> Result<Self, DevError> {
        let name = random_name();
        let path = std::env::temp_dir().join(format!("vouchsafe-{name}"));
        let system = |source| DevError::System {
            what: format!("cannot make {}", path.display()),
            source,
        };
        fs::create_dir(&path).map_err(system)?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It holds keys of no value; what cannot be removed is the system's to clean.
        let _removed = fs::remove_dir_all(&self.0);
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the stack is gone, which is an end as well.
    let _stopped = stopped.wait_for(|stopped| *stopped).await;
}

fn bind(address: SocketAddr) -> Result<TcpListener, DevError> {
    server::bind(address).map_err(|source| DevError::System {
        what: format!("cannot listen on {address}"),
        source,
    })
}

fn url_of(listener: &TcpListener) -> Result<String, DevError> {
    let address = listener.local_addr();
    address
        .map(|address| format!("http://{address}"))
        .map_err(|source| DevError::System {
            what: "a listener has no address".to_owned(),
            source,
        })
}

fn write(path: &Path, text: &str) -> Result<(), DevError> {
    fs::write(path, text).map_err(|source| DevError::System {
        what: format!("cannot write {}", path.display()),
        source,
    })
}

/// The stack's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "a token is minted at the time it is asked for"
)]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// A name for a token.
#[expect(
    clippy::disallowed_methods,
    reason = "a token's name is drawn at the door it is asked for at"
)]
fn random_name() -> String {
    let mut octets = [0; 16];
    // Tokens of the same name do no harm in development.
    let _filled = aws_lc_rs::rand::fill(&mut octets);
    octets.iter().map(|byte| format!("{byte:02x}")).collect()
}
