//! Certificate signing requests, RFC 2986, of which two things are read: the key, and whether it
//! signed the request.
//!
//! ```text
//! CertificationRequest      { certificationRequestInfo, signatureAlgorithm, signature }
//! CertificationRequestInfo  { version, subject, subjectPKInfo, attributes [0] }
//! ```
//!
//! Subject and attributes are stepped over as opaque values, so nothing they say can pass on, and
//! a name or extension that a stricter parser would trip over cannot refuse a good key.

use const_oid::ObjectIdentifier;
use der::{
    Decode as _, Reader as _, SliceReader, Tag, Tagged as _,
    asn1::{AnyRef, BitStringRef, IntRef},
};
use spki::AlgorithmIdentifierRef;

use super::{
    Hash, Malformed, PossessionError, Weakness, ed25519,
    key::{CandidateKey, KeyFault, named},
    proof::Scheme,
};

/// A request taken apart; nothing in it is trusted yet.
pub(super) struct Csr<'a> {
    signed: &'a [u8],
    spki_der: &'a [u8],
    signature_algorithm: AlgorithmIdentifierRef<'a>,
    signature: &'a [u8],
}

impl<'a> Csr<'a> {
    /// Takes apart the DER of a request.
    pub(super) fn parse(der: &'a [u8]) -> Result<Self, Malformed> {
        let csr = outer(der).map_err(|_| Malformed::Der)?;
        check_parameters(&csr.signature_algorithm)?;
        Ok(csr)
    }

    /// The key, past the gate.
    pub(super) fn key(&self) -> Result<CandidateKey, PossessionError> {
        CandidateKey::from_spki(self.spki_der.to_vec()).map_err(|fault| match fault {
            // A request may carry a key of any algorithm and still be one; Fulcio reads it and
            // then finds no strength it knows.
            KeyFault::Malformed(Malformed::KeyAlgorithm(oid)) => {
                PossessionError::KeyInsecure(Weakness::UnknownAlgorithm(oid))
            }
            KeyFault::Malformed(malformed) => PossessionError::CsrUnparseable(malformed),
            KeyFault::Weak(weakness) => PossessionError::KeyInsecure(weakness),
        })
    }

    /// Whether the key signed the request, in a way permitted for the key.
    pub(super) fn verify(&self, key: &CandidateKey) -> Result<(), PossessionError> {
        let scheme = self.scheme()?;
        if !key.verifies(scheme, self.signed, self.signature) {
            return Err(PossessionError::SignatureMismatch {
                algorithm: key.algorithm,
            });
        }
        scheme.check_permitted(key.algorithm)
    }

    fn scheme(&self) -> Result<Scheme, PossessionError> {
        let AlgorithmIdentifierRef { oid, parameters } = self.signature_algorithm;
        match oid {
            ECDSA_SHA256 => Ok(Scheme::Ecdsa(Hash::Sha256)),
            ECDSA_SHA384 => Ok(Scheme::Ecdsa(Hash::Sha384)),
            ECDSA_SHA512 => Ok(Scheme::Ecdsa(Hash::Sha512)),
            RSA_SHA256 => Ok(Scheme::RsaPkcs1(Hash::Sha256)),
            RSA_SHA384 => Ok(Scheme::RsaPkcs1(Hash::Sha384)),
            RSA_SHA512 => Ok(Scheme::RsaPkcs1(Hash::Sha512)),
            ed25519::OID => Ok(Scheme::Ed25519),
            oid => Err(PossessionError::UnrecognizedSignatureAlgorithm {
                name: go_name(oid, parameters),
            }),
        }
    }
}

fn outer(der: &[u8]) -> der::Result<Csr<'_>> {
    let mut reader = SliceReader::new(der)?;
    let csr = reader.sequence(|request| {
        let signed = request.tlv_bytes()?;
        Ok::<_, der::Error>(Csr {
            signed,
            spki_der: subject_public_key_info(signed)?,
            signature_algorithm: request.decode()?,
            signature: request
                .decode::<BitStringRef<'_>>()?
                .as_bytes()
                .ok_or_else(|| der::Error::from(Tag::BitString.value_error()))?,
        })
    })?;
    reader.finish()?;
    Ok(csr)
}

fn subject_public_key_info(info: &[u8]) -> der::Result<&[u8]> {
    let mut reader = SliceReader::new(info)?;
    let spki_der = reader.sequence(|info| {
        // RFC 2986 4.1 fixes the version at 0; requests that say 1 or 2 are about, and nothing
        // here turns on it.
        IntRef::decode(info)?;
        AnyRef::decode(info)?.tag().assert_eq(Tag::Sequence)?;
        let spki_der = info.tlv_bytes()?;
        AnyRef::decode(info)?.tag().assert_eq(ATTRIBUTES)?;
        Ok::<_, der::Error>(spki_der)
    })?;
    reader.finish()?;
    Ok(spki_der)
}

/// RFC 4055 5 has implementations accept NULL and absent parameters for the RSA schemes alike;
/// RFC 5758 3.2 and RFC 8410 3 have them absent. The signature does not cover this field, so it is
/// held to the letter.
fn check_parameters(algorithm: &AlgorithmIdentifierRef<'_>) -> Result<(), Malformed> {
    let good = match algorithm.oid {
        ECDSA_SHA256 | ECDSA_SHA384 | ECDSA_SHA512 | ed25519::OID => algorithm.parameters.is_none(),
        RSA_SHA256 | RSA_SHA384 | RSA_SHA512 => algorithm
            .parameters
            .is_none_or(|value| value == AnyRef::NULL),
        _ => true,
    };
    if good {
        Ok(())
    } else {
        Err(Malformed::Parameters)
    }
}

/// What Go's `crypto/x509` calls an algorithm outside the list, for the caller's error text.
fn go_name(oid: ObjectIdentifier, parameters: Option<AnyRef<'_>>) -> String {
    if oid == RSA_PSS {
        // RFC 4055 3.1: the hash is named inside the parameters. Which of two mentions is the
        // hash and which the mask's does not matter to a name in a refusal.
        let parameters = parameters.map_or(&[][..], |value| value.value());
        return PSS_HASHES
            .iter()
            .find(|(hash, _)| {
                parameters
                    .windows(hash.as_bytes().len())
                    .any(|window| window == hash.as_bytes())
            })
            .map_or("RSAPSS", |&(_, name)| name)
            .to_owned();
    }
    named(UNLISTED, oid).map_or_else(|| oid.to_string(), str::to_owned)
}

/// `[0] IMPLICIT SET OF Attribute`: there, if only empty.
const ATTRIBUTES: Tag = Tag::ContextSpecific {
    constructed: true,
    number: der::TagNumber(0),
};

const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

const PSS_HASHES: &[(ObjectIdentifier, &str)] = &[
    (
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1"),
        "SHA256-RSAPSS",
    ),
    (
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2"),
        "SHA384-RSAPSS",
    ),
    (
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3"),
        "SHA512-RSAPSS",
    ),
];

const UNLISTED: &[(ObjectIdentifier, &str)] = &[
    (
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.2"),
        "MD2-RSA",
    ),
    (
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.4"),
        "MD5-RSA",
    ),
    (
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5"),
        "SHA1-RSA",
    ),
    (ObjectIdentifier::new_unwrap("1.3.14.3.2.29"), "SHA1-RSA"),
    (
        ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"),
        "ECDSA-SHA1",
    ),
    (
        ObjectIdentifier::new_unwrap("1.2.840.10040.4.3"),
        "DSA-SHA1",
    ),
    (
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.2"),
        "DSA-SHA256",
    ),
];
