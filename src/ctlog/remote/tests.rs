#![allow(clippy::unwrap_used, reason = "what a test relies on may panic")]

use super::*;
use crate::authority::hierarchy::new_p256_key;
use crate::ctlog::signer::LogSigner;
use std::net::TcpListener;
use time::macros::datetime;

/// A root that issues by itself, as small deployments have it.
fn root() -> Vec<u8> {
    let mut root = rcgen::CertificateParams::default();
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    root.self_signed(&key).unwrap().der().to_vec()
}

fn log_at(listener: &TcpListener, valid_until: Option<OffsetDateTime>) -> ExternalLog {
    let signer = LogSigner::from_private_key(&new_p256_key().unwrap()).unwrap();
    ExternalLog {
        url: format!("http://{}", listener.local_addr().unwrap()),
        public_key_der: signer.verifier().public_key_der().to_vec(),
        origin: None,
        ca_certificates: None,
        valid_until,
    }
}

#[tokio::test]
async fn a_log_that_is_over_is_not_even_looked_at() {
    let now = datetime!(2027-01-02 00:00 UTC);
    let earlier = TcpListener::bind("127.0.0.1:0").unwrap();
    // Nobody listens where the present one should be, which does not keep an authority closed.
    let present = TcpListener::bind("127.0.0.1:0").unwrap();
    let over = Some(datetime!(2027-01-01 00:00 UTC));
    let logs = vec![log_at(&earlier, over), log_at(&present, None)];
    drop(present);
    let chain = [root()];
    let opened = Logs::open(logs, &chain, Duration::from_secs(1), now).await;
    let opened = opened.unwrap();
    earlier.set_nonblocking(true).unwrap();
    let asked = earlier.accept().map_err(|error| error.kind());
    assert_eq!(asked.unwrap_err(), std::io::ErrorKind::WouldBlock);
    assert_eq!(opened.states().len(), 2);
}
