//! An authority whose precertificates are made ahead of time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use vouchsafe::authority::Authority;
use vouchsafe::authority::hierarchy::{Curve, Hierarchy};
use vouchsafe::authority::memory::MemoryKey;
use vouchsafe::certificate::extensions::Extensions;
use vouchsafe::certificate::name::{EmailAddress, SubjectAlternativeName};
use vouchsafe::certificate::precertificate::Precertificate;
use vouchsafe::certificate::profile::SerialNumber;
use vouchsafe::ctlog::entry::{Entry, EntryBody};
use vouchsafe::possession::{KeyRequest, SubjectKey, prove};

use super::now;

/// A root, an intermediate, and one subject that asks again and again.
pub(crate) struct Issuer {
    authority: Arc<Authority>,
    key: SubjectKey,
    made: AtomicU64,
}

impl Issuer {
    pub(crate) async fn new() -> Self {
        let serials = [1, 2].map(|number| SerialNumber::from_random([number; 20]));
        let made = Hierarchy::create("Bench", "Bench", Curve::P256, serials, now());
        let Hierarchy { root, intermediate } = made.expect("a hierarchy");
        let chain = intermediate.certificate_pem + &root.certificate_pem;
        let key = MemoryKey::from_der(&intermediate.private_key_der).expect("a key");
        let authority = Authority::new(Box::new(key), &chain, now()).await;
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("its encoding");
        let proof = pair.sign(&SystemRandom::new(), EMAIL.as_bytes());
        let request = KeyRequest::PublicKey {
            key: public.as_ref().to_vec(),
            proof: proof.expect("a signature").as_ref().to_vec(),
        };
        Self {
            authority: Arc::new(authority.expect("an authority")),
            key: prove(&request, EMAIL).expect("a proof"),
            made: AtomicU64::new(0),
        }
    }

    pub(crate) fn chain(&self) -> Vec<Vec<u8>> {
        self.authority.chain().der().to_vec()
    }

    pub(crate) fn key_hash(&self) -> [u8; 32] {
        self.authority.chain().issuer_key_hash()
    }

    /// So many new ones, like those of an issuance.
    pub(crate) async fn precertificates(&self, count: usize) -> Vec<Precertificate> {
        let email = EmailAddress::parse(EMAIL).expect("an address");
        let name = SubjectAlternativeName::Email(email);
        let extensions = Extensions::new("https://issuer.example.com", "subject");
        let extensions = extensions.expect("values");
        let profile = self.authority.profile();
        let mut made = Vec::with_capacity(count);
        for _ in 0..count {
            let number = self.made.fetch_add(1, Ordering::Relaxed);
            let mut serial = [0x11; 20];
            serial[12..].copy_from_slice(&number.to_be_bytes());
            let serial = SerialNumber::from_random(serial);
            let template = profile.template(&name, &extensions, &self.key, serial, now());
            let template = template.expect("a template");
            let signed = self.authority.sign_precertificate(template).await;
            made.push(signed.expect("a signature"));
        }
        made
    }
}

/// Entries like the one of `sample`, each with a serial number of its own. Their signatures fit no
/// longer, which no log looks at in its own authority's.
pub(crate) fn renumbering(
    sample: &Precertificate,
    key_hash: [u8; 32],
) -> impl Fn(u64) -> Entry + use<> {
    let serial = *sample.serial().as_bytes();
    let place = |der: &[u8]| {
        let at = der.windows(20).position(|window| window == serial);
        at.expect("a serial number") + 12
    };
    let (tbs, der) = (sample.tbs().to_vec(), sample.der().to_vec());
    let (in_tbs, in_der) = (place(&tbs), place(&der));
    move |number| {
        let (mut tbs, mut der) = (tbs.clone(), der.clone());
        let number = (number | 1 << 63).to_be_bytes();
        tbs[in_tbs..in_tbs + 8].copy_from_slice(&number);
        der[in_der..in_der + 8].copy_from_slice(&number);
        let body = EntryBody::precertificate(&key_hash, &tbs).expect("a small entry");
        Entry::precertificate(body, &der, Arc::new([])).expect("a small entry")
    }
}

const EMAIL: &str = "submitter@example.com";
