//! Who was proved.

use super::claims::{ClaimError, Claims};
use super::template::RenderError;
use crate::certificate::extensions::{Extension, Extensions, ValueError};
use crate::certificate::name::{NameError, SubjectAlternativeName};
use time::OffsetDateTime;

/// An identity that an issuer has vouched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The name the certificate will bear.
    pub name: SubjectAlternativeName,
    /// What the holder of the key signs to prove possession.
    pub challenge: String,
    /// The values of the certificate's extensions.
    pub extensions: Extensions,
    /// The token's `iss`.
    pub issuer: String,
    /// The token's `sub`.
    pub subject: String,
    /// The token's `exp`.
    pub expires: OffsetDateTime,
}

impl Principal {
    /// One whose extensions say who vouched and for whom, and nothing else, and who signs the subject
    /// to prove possession.
    pub(super) fn of_subject(
        name: SubjectAlternativeName,
        issuer: &str,
        claims: &Claims,
    ) -> Result<Self, PrincipalError> {
        let subject = claims.subject();
        Ok(Self {
            name,
            challenge: subject.to_owned(),
            extensions: Extensions::new(issuer, subject).map_err(PrincipalError::Origin)?,
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            expires: claims.expires(),
        })
    }
}

/// Why a good token gives no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrincipalError {
    /// A claim the identity is made of is missing or of the wrong type.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The issuer does not say that the address is its holder's.
    #[error("the issuer has not verified the token's e-mail address")]
    Unverified,
    /// The subject is not of the form that its issuer's tokens have here.
    #[error("the token's subject {0}")]
    Subject(&'static str),
    /// What was made of the claims cannot be a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The template of the name.
    #[error("the subject alternative name: {0}")]
    NameTemplate(RenderError),
    /// The template of one extension.
    #[error("the extension {}: {error}", .extension.name())]
    Template {
        /// Which one.
        extension: Extension,
        /// Why it gave nothing.
        error: RenderError,
    },
    /// A value that may not enter a certificate.
    #[error("the extension {}: {error}", .extension.name())]
    Value {
        /// Which one.
        extension: Extension,
        /// Why not.
        error: ValueError,
    },
    /// The issuer or the subject may not enter a certificate.
    #[error("the token's issuer or subject: {0}")]
    Origin(ValueError),
}
