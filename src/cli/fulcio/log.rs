//! Where certificates go, as Fulcio's flags have it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Start;
use crate::authority::file::read_text;
use crate::cli::Failure;
use crate::config::fresh;
use crate::config::{Config, CtLogSettings, CtLogs, LOG_PREFIX};
use crate::ctlog::remote::Logs;

impl Start {
    /// Somebody else's log, if that is what is named. There is no way to have none: an empty address,
    /// which turns Fulcio's log off, means the built-in one.
    pub(super) fn ctlog(
        &self,
        public_url: &str,
        listen: SocketAddr,
        warnings: &mut Vec<String>,
    ) -> Result<Option<CtLogs>, Failure> {
        let given = &self.given;
        let (host, port) = (given.value("host"), listen.port());
        let hosts = ["localhost", "127.0.0.1", "[::1]", host];
        let own = hosts.map(|host| format!("http://{host}:{port}{LOG_PREFIX}"));
        let is_own = |url: &str| {
            url == format!("{public_url}{LOG_PREFIX}") || own.iter().any(|own| own == url)
        };
        let url = given.explicit("ct-log-url");
        let url = url.map(|url| url.trim_end_matches('/'));
        if url == Some("") {
            warnings.push(format!("{} is empty, which turns Fulcio's log off; here every certificate goes into the built-in log", given.origin("ct-log-url")));
        }
        let other = url.filter(|url| !url.is_empty() && !is_own(url));
        let origin = given.value("ct-log-origin");
        let authority = given.value("ct-log.tls-ca-cert");
        let Some(url) = other else {
            let name = public_url.split_once("://").map_or("", |(_, host)| host);
            if !["", &format!("{name}{LOG_PREFIX}")].contains(&origin) {
                return Err(self.without_log("ct-log-origin"));
            }
            if !authority.is_empty() {
                return Err(self.without_log("ct-log.tls-ca-cert"));
            }
            return Ok(None);
        };
        let key = given.value("ct-log-public-key-path");
        if key.is_empty() {
            return Err(format!(
                "{} is {url}, and --ct-log-public-key-path is not set: Fulcio then embeds whatever the log answers, here every timestamp is checked. Name the file with the log's public key; or leave out --ct-log-url for the built-in log, which is kept in --data-dir",
                given.origin("ct-log-url")
            ).into());
        }
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Some(CtLogs(vec![CtLogSettings {
            url: url.to_owned(),
            public_key: key.into(),
            origin: some(origin),
            ca_certificates: some(authority).map(PathBuf::from),
            valid_from: None,
            valid_until: None,
        }])))
    }

    /// Something is said about a log of somebody else's, and no such log is named.
    fn without_log(&self, name: &str) -> Failure {
        let origin = self.given.origin(name);
        format!("{origin} is about somebody else's log: name that with --ct-log-url, or leave out {origin}").into()
    }

    /// Whether what is said about the log can be true, before anything is made.
    pub(super) fn check_log(&self, config: &Config, data: &Path) -> Result<(), Failure> {
        if !config.has_own_log() {
            Logs::check(config.external_logs()?)?;
        }
        if let Some(file) = self.given.explicit("ct-log-public-key-path")
            && !file.is_empty()
            && config.has_own_log()
        {
            // Before the first start there is no key yet that it could be.
            let own = match data.join(fresh::STATE).exists() {
                true => Some(config.log_signer()?),
                false => None,
            };
            let key = spki(Path::new(file))?;
            if own.is_none_or(|own| own.verifier().public_key_der() != key) {
                return Err(format!("{}: {file} has not the key of the built-in log, which GET /trust/trusted-root tells; leave it out", self.given.origin("ct-log-public-key-path")).into());
            }
        }
        Ok(())
    }
}

fn spki(path: &Path) -> Result<Vec<u8>, Failure> {
    let text = read_text(path)?;
    let (_, der) = der::pem::decode_vec(text.trim().as_bytes())
        .map_err(|_| format!("{} is not one PEM block", path.display()))?;
    Ok(der)
}
