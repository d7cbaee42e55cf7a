//! What can be wrong with a key, a request, or a proof.

use const_oid::ObjectIdentifier;

use super::{Hash, KeyAlgorithm};

/// Why no [`SubjectKey`](super::SubjectKey) came of a request. Always the caller's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PossessionError {
    /// The certificate signing request is not one.
    #[error("the certificate signing request could not be parsed: {0}")]
    CsrUnparseable(Malformed),
    /// There is no public key, or it is not one.
    #[error("the public key could not be parsed: {0}")]
    KeyUnparseable(Malformed),
    /// The key is a key, and one that nothing should be certified for.
    #[error("the public key is insecure: {0}")]
    KeyInsecure(Weakness),
    /// The proof is longer than any signature this room verifies.
    #[error(
        "the proof of possession is {length} bytes long, more than {}",
        super::PROOF_LIMIT
    )]
    ProofTooLong {
        /// The proof's length in bytes.
        length: usize,
    },
    /// The signature is not the key's over what had to be signed.
    #[error("the signature does not verify under the {algorithm} key it came with")]
    SignatureMismatch {
        /// The key it was checked against.
        algorithm: KeyAlgorithm,
    },
    /// The request is signed with an algorithm outside the list.
    #[error("unrecognized signature algorithm: {name}")]
    UnrecognizedSignatureAlgorithm {
        /// The algorithm as Go's `crypto/x509` prints it (`SHA256-RSAPSS`), or its dotted object
        /// identifier where Go has no name.
        name: String,
    },
    /// The signature is good, the pair of key and hash is not in the list.
    #[error("signing algorithm not permitted: {key_type}, {hash}")]
    PairNotPermitted {
        /// The key's type as Go prints it: `*ecdsa.PublicKey`, `*rsa.PublicKey`.
        key_type: &'static str,
        /// The hash the signature was made with.
        hash: Hash,
    },
}

/// Why bytes are not the structure they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Nothing was sent.
    #[error("it is empty")]
    Empty,
    /// More was sent than is looked at.
    #[error("it is {length} bytes long, more than {}", super::KEY_LIMIT)]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// Not exactly one PEM block with nothing around it.
    #[error("it is not one PEM block")]
    NotOneBlock,
    /// A PEM block, of something else.
    #[error("its PEM label is not one expected here")]
    Label,
    /// The body of the PEM block is not standard, padded base64.
    #[error("its PEM body is not base64")]
    Base64,
    /// Not the DER of the structure, or more than it.
    #[error("it is not the DER encoding of the structure")]
    Der,
    /// A key algorithm that is not known here.
    #[error("key algorithm {0} is not supported")]
    KeyAlgorithm(ObjectIdentifier),
    /// A curve that is not known here.
    #[error("curve {0} is not supported")]
    Curve(ObjectIdentifier),
    /// Algorithm parameters that the algorithm's standard does not allow.
    #[error("its algorithm parameters are not the ones its standard prescribes")]
    Parameters,
    /// The key's octets have the wrong length or form.
    #[error("its key is not in the uncompressed, full-length form")]
    KeyForm,
    /// The octets are not a point of the curve, or not the canonical encoding of one.
    #[error("its key is not a canonically encoded point of the curve")]
    Point,
}

/// Why a key is not one to certify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    /// A well-known algorithm or curve that is too weak here, or cannot sign.
    #[error("{0} keys are not permitted")]
    Algorithm(&'static str),
    /// An algorithm this room does not know, in a request that is otherwise well formed.
    #[error("keys of algorithm {0} are not permitted")]
    UnknownAlgorithm(ObjectIdentifier),
    /// Not exactly 2048, 3072 or 4096 bits.
    #[error("an RSA modulus of {bits} bits is not permitted: 2048, 3072 and 4096 are")]
    ModulusSize {
        /// The modulus's length in bits.
        bits: u64,
    },
    /// The public exponent is not 65537.
    #[error("the RSA public exponent is not 65537")]
    Exponent,
    /// The modulus has a tiny factor.
    #[error("the RSA modulus is divisible by {prime}")]
    SmallFactor {
        /// The smallest one.
        prime: u32,
    },
    /// The modulus has the fingerprint of the generator behind CVE-2017-15361.
    #[error("the RSA modulus comes from a generator with the ROCA weakness")]
    Roca,
    /// The modulus's two factors lie so close together that they can be found.
    #[error("the RSA modulus is the product of primes too close to each other")]
    ClosePrimes,
    /// An Ed25519 key for which signatures can be made without a private key.
    #[error("the Ed25519 key is a point of small order")]
    SmallOrder,
    /// The private half is printed in a standard.
    #[error("the private half of the key is public knowledge")]
    Published,
    /// The operator's list has it.
    #[error("the key is on the operator's list of blocked keys")]
    Blocked,
}
