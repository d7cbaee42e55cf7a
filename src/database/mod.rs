//! A PostgreSQL server to which what must not be lost can be given.
//!
//! Log and ledger have their own tables and their own reasons; what they share is here: how the server
//! is addressed, what is asked of it before a word of its is believed ([`session`]), how it is read
//! from without noticing that connections die ([`Readers`]), and what an error says about what was
//! sent ([`Verdict`]).

mod readers;
pub mod session;
mod verdict;

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;

use sqlx::ConnectOptions as _;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};

pub use readers::Readers;
pub use session::{check_writable, wait};
pub use verdict::{Verdict, verdict};

/// Where the server is and who we are to it. Shown without the password.
#[derive(Clone)]
pub struct Server {
    options: Arc<PgConnectOptions>,
    address: String,
}

/// Why the server cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// The address is not understood, or says what it must not.
    #[error("the database's address {0}")]
    Address(String),
    /// It does not answer, or not to us.
    #[error("the database {address} cannot be reached: {reason}")]
    Unreachable {
        /// Which.
        address: String,
        /// What the connection ended with.
        reason: String,
    },
    /// It did not answer in time.
    #[error("the database did not answer within {0} s")]
    Slow(u64),
    /// The oldest version that is looked after.
    #[error("the database server is version {found}; {OLDEST} or later is needed")]
    Version {
        /// What it says.
        found: i32,
    },
    /// A setting with which a written row could be lost.
    #[error("the database has {setting} = {found}, and what is written needs {wanted}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it has to be.
        wanted: &'static str,
    },
    /// A standby is behind, and what it says of the newest is old.
    #[error("the database is a standby; log and ledger need the primary")]
    Standby,
    /// Tables that were not made, or by another version of this program.
    #[error(
        "the database's tables are not those of this version: {0}; `vouchsafe database upgrade` makes them so"
    )]
    Tables(String),
    /// Tables that a newer version of this program has changed.
    #[error("the database's tables are of a newer version of this program: {0}")]
    NewerTables(i64),
    /// The database's own words.
    #[error("the database failed: {0}")]
    Failed(String),
}

impl Server {
    /// Reads an address: `postgresql://user@host:port/name`, with `?sslmode=…&sslrootcert=…` and the
    /// like at its end. Relative files start from `base`.
    ///
    /// A server that is not on this machine, or whose root is named, is asked for a certificate in its
    /// name, unless the address says otherwise in so many words.
    ///
    /// # Errors
    /// [`DatabaseError::Address`]; above all where a password stands in the address, which is shown
    /// to whoever lists processes or reads the configuration.
    pub fn new(address: &str, base: &Path, password: Option<&str>) -> Result<Self, DatabaseError> {
        let wrong = |what: &str| DatabaseError::Address(what.to_owned());
        let rest = address
            .strip_prefix("postgresql://")
            .or_else(|| address.strip_prefix("postgres://"))
            .ok_or_else(|| wrong("must begin with postgresql://"))?;
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let user = place.rsplit_once('@').map_or("", |(user, _)| user);
        if user.contains(':') {
            return Err(wrong(
                "must not have the password in it; database-password says where that is",
            ));
        }
        if place
            .split_once('/')
            .is_none_or(|(_, name)| name.is_empty())
        {
            return Err(wrong("must end with the database's name"));
        }
        let parameters = parameters.split('&').filter(|one| !one.is_empty());
        let parameters: Vec<(&str, &str)> = parameters
            .map(|one| one.split_once('=').unwrap_or((one, "")))
            .collect();
        if let Some((unknown, _)) = parameters
            .iter()
            .find(|(name, _)| !PARAMETERS.contains(name))
        {
            let known = PARAMETERS.join(", ");
            return Err(DatabaseError::Address(format!(
                "has the parameter \"{unknown}\"; known are {known}"
            )));
        }
        let parsed = PgConnectOptions::from_str(address);
        let mut options = parsed
            .map_err(|error| DatabaseError::Address(format!("is not understood: {error}")))?
            .application_name("vouchsafe")
            .disable_statement_logging();
        for (name, file) in &parameters {
            let file = base.join(file);
            options = match *name {
                "sslrootcert" => options.ssl_root_cert(file),
                "sslcert" => options.ssl_client_cert(file),
                "sslkey" => options.ssl_client_key(file),
                _ => options,
            };
        }
        let says = |wanted| parameters.iter().any(|(name, _)| *name == wanted);
        // Whoever names a root wants it asked for.
        let must_prove = says("sslrootcert") || !is_on_this_machine(&options);
        if !says("sslmode") && must_prove {
            options = options.ssl_mode(PgSslMode::VerifyFull);
        }
        if let Some(password) = password {
            options = options.password(password);
        }
        Ok(Self {
            options: Arc::new(options),
            address: address.to_owned(),
        })
    }

    /// The address, which has no secret in it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Makes tables or brings them to the shape this version needs. It may take its time, and it
    /// needs the rights of the tables' owner.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn migrate(&self, migrations: &Migrator) -> Result<(), DatabaseError> {
        let mut connection = self.connect().await?;
        session::unhurried(&mut connection).await?;
        let migrated = migrations.run_direct(None, &mut connection, false).await;
        migrated.map_err(|error| {
            if let MigrateError::VersionMissing(newest) = error {
                return DatabaseError::NewerTables(newest);
            }
            DatabaseError::Failed(error.to_string())
        })
    }
}

impl fmt::Debug for Server {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.address).finish()
    }
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl Eq for Server {}

/// The same address with its files found from `base`, for a file that will be read from elsewhere.
#[must_use]
pub fn with_files_from(base: &Path, address: &str) -> String {
    let Some((place, parameters)) = address.split_once('?') else {
        return address.to_owned();
    };
    let parameters = parameters.split('&').map(|one| match one.split_once('=') {
        Some((name, file)) if FILES.contains(&name) => {
            format!("{name}={}", base.join(file).display())
        }
        Some(_) | None => one.to_owned(),
    });
    let parameters: Vec<String> = parameters.collect();
    format!("{place}?{}", parameters.join("&"))
}

/// Checks that every migration that this version has was applied, and none that it does not know.
///
/// # Errors
/// [`DatabaseError::Tables`] and [`DatabaseError::NewerTables`].
pub async fn check_tables(
    connection: &mut PgConnection,
    migrations: &Migrator,
) -> Result<(), DatabaseError> {
    let table = &migrations.table_name;
    let query = format!("SELECT version, checksum FROM {table} WHERE success ORDER BY version");
    // The name is one of ours.
    let applied: Vec<(i64, Vec<u8>)> = sqlx::query_as(sqlx::AssertSqlSafe(query))
        .fetch_all(connection)
        .await
        .map_err(|error| match verdict(&error) {
            Verdict::Refused { state } if state == UNDEFINED_TABLE || state == UNDEFINED_SCHEMA => {
                DatabaseError::Tables("there are none".to_owned())
            }
            Verdict::Refused { .. } | Verdict::Discarded | Verdict::Lost => error.into(),
        })?;
    let wanted = migrations.iter().map(|one| (one.version, &*one.checksum));
    let found = applied
        .iter()
        .map(|(version, checksum)| (*version, &checksum[..]));
    if !wanted.eq(found) {
        let (newest, _) = applied.last().cloned().unwrap_or_default();
        if migrations.iter().all(|one| one.version < newest) {
            return Err(DatabaseError::NewerTables(newest));
        }
        return Err(DatabaseError::Tables(format!(
            "they are at version {newest}"
        )));
    }
    Ok(())
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            return Self::Slow(session::CONNECT.as_secs());
        }
        let text = error.to_string();
        // What our own look at a new connection said.
        if let sqlx::Error::Configuration(inner) = error
            && let Ok(ours) = inner.downcast::<Self>()
        {
            return *ours;
        }
        Self::Failed(text)
    }
}

fn is_on_this_machine(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// What an address may say at its end. Not `password`, and not `options`, which could take back what
/// a session is set to.
const PARAMETERS: [&str; 6] = [
    "host",
    "port",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
];

/// Those of them that name files.
const FILES: [&str; 3] = ["sslrootcert", "sslcert", "sslkey"];

/// In the server's own counting.
const OLDEST: i32 = 130_000;

const UNDEFINED_TABLE: &str = "42P01";
const UNDEFINED_SCHEMA: &str = "3F000";

#[cfg(test)]
pub(crate) mod both;
#[cfg(test)]
#[path = "../../tests/harness/postgres.rs"]
pub(crate) mod cluster;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(address: &str) -> Result<Server, String> {
        let server = Server::new(address, Path::new("/etc/vouchsafe"), Some("secret"));
        server.map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_says_where_and_who_and_nothing_secret_or_dangerous() {
        for (address, word) in [
            ("postgresql://user:hunter2@db/name", "database-password"),
            ("postgresql://user@db/name?password=hunter2", "\"password\""),
            (
                "postgresql://user@db/name?options=-c%20fsync%3Doff",
                "\"options\"",
            ),
            ("postgresql://user@db/name?sslmod=disable", "\"sslmod\""),
            ("postgresql://user@db/", "name"),
            ("postgresql://user@db", "name"),
            ("mysql://user@db/name", "postgresql://"),
            ("db", "postgresql://"),
            ("postgresql://user@db/name?sslmode=perhaps", "understood"),
        ] {
            let refused = read(address).unwrap_err();
            assert!(refused.contains(word), "{address}: {refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn what_is_shown_of_a_server_has_no_password_in_it() {
        let server = read("postgresql://user@db/name").unwrap();
        let shown = format!("{server:?} {:?} {}", server.clone(), server.address());
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn a_server_elsewhere_must_prove_its_name_unless_somebody_says_otherwise() {
        for (address, verified) in [
            ("postgresql://user@db.example/name", true),
            ("postgresql://user@10.0.0.1/name", true),
            ("postgresql://user@db.example/name?sslrootcert=ca.pem", true),
            ("postgresql://user@db.example/name?sslmode=disable", false),
            ("postgresql://user@localhost/name", false),
            ("postgresql://user@localhost/name?sslrootcert=ca.pem", true),
            (
                "postgresql://user@localhost/name?sslmode=prefer&sslrootcert=ca.pem",
                false,
            ),
            ("postgresql://user@127.0.0.1:5433/name", false),
            ("postgresql://user@[::1]/name", false),
            ("postgresql:///name?host=/run/postgresql", false),
        ] {
            let server = read(address).unwrap();
            let mode = server.options.get_ssl_mode();
            assert_eq!(matches!(mode, PgSslMode::VerifyFull), verified, "{address}");
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_speak_tls_is_not_spoken_to_where_it_must() {
        let address = cluster::Cluster::shared().database() + "?sslmode=verify-full";
        let server = Server::new(&address, Path::new(""), None).unwrap();
        let refused = server.connect().await.unwrap_err();
        assert!(
            matches!(refused, DatabaseError::Unreachable { .. }),
            "{refused}"
        );
    }
}
