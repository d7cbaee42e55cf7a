//! A certificate with the chain it came with, as an authority hands it out or a file keeps it.

use der::pem::{self, LineEnding};

/// Certificates in DER, the end entity's first. Nothing in them has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnverifiedChain(Vec<Vec<u8>>);

/// Text that is no chain of certificates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No certificate at all, or more than a chain can have.
    #[error("there are {0} certificates, not 1 to {MAX_CERTIFICATES}")]
    Length(usize),
    /// Not PEM.
    #[error("a certificate is not in PEM: {0}")]
    Pem(String),
    /// PEM of something else, a private key perhaps.
    #[error("there is a {0:?} where a certificate should be")]
    Label(String),
}

impl UnverifiedChain {
    /// Certificates in PEM, one a string.
    ///
    /// # Errors
    /// [`ChainError`].
    pub fn from_pems<'a>(pems: impl IntoIterator<Item = &'a str>) -> Result<Self, ChainError> {
        let mut certificates = Vec::new();
        for pem in pems {
            if certificates.len() == MAX_CERTIFICATES {
                return Err(ChainError::Length(MAX_CERTIFICATES + 1));
            }
            let (label, der) = pem::decode_vec(pem.trim().as_bytes())
                .map_err(|error| ChainError::Pem(error.to_string()))?;
            if label != LABEL {
                return Err(ChainError::Label(label.to_owned()));
            }
            certificates.push(der);
        }
        if certificates.is_empty() {
            return Err(ChainError::Length(0));
        }
        Ok(Self(certificates))
    }

    /// A file of certificates in PEM, one after the other.
    ///
    /// # Errors
    /// [`ChainError`].
    pub fn from_pem(text: &str) -> Result<Self, ChainError> {
        let text = text.trim();
        Self::from_pems(
            text.split_inclusive(END)
                .filter(|pem| !pem.trim().is_empty()),
        )
    }

    /// The end entity's certificate in DER.
    pub fn leaf(&self) -> &[u8] {
        self.0.first().map_or(&[], Vec::as_slice)
    }

    /// All certificates in DER, the end entity's first.
    pub fn certificates_der(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// All certificates in PEM, one after the other.
    ///
    /// # Errors
    /// [`ChainError::Pem`], for a certificate too large to be written.
    pub fn to_pem(&self) -> Result<String, ChainError> {
        self.0
            .iter()
            .map(|der| pem::encode_string(LABEL, LineEnding::LF, der))
            .collect::<Result<_, _>>()
            .map_err(|error| ChainError::Pem(error.to_string()))
    }
}

const LABEL: &str = "CERTIFICATE";
const END: &str = "-----END CERTIFICATE-----";
const MAX_CERTIFICATES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(octet: u8) -> String {
        pem::encode_string(LABEL, LineEnding::LF, &[octet; 80]).unwrap()
    }

    #[test]
    fn a_chain_survives_being_kept_in_a_file() {
        let both = [pem(1), pem(2)];
        let chain = UnverifiedChain::from_pems(both.iter().map(String::as_str)).unwrap();
        assert_eq!(chain.leaf(), [1; 80]);
        assert_eq!(chain.to_pem().unwrap(), both.concat());
        let file = format!("\n{}\n\r\n{}\n", both[0].replace('\n', "\r\n"), both[1]);
        assert_eq!(UnverifiedChain::from_pem(&file), Ok(chain));
    }

    #[test]
    fn what_is_no_chain_is_refused() {
        assert_eq!(UnverifiedChain::from_pem(" \n"), Err(ChainError::Length(0)));
        assert_eq!(
            UnverifiedChain::from_pem(&pem(1).repeat(9)),
            Err(ChainError::Length(9))
        );
        let key = pem::encode_string("PRIVATE KEY", LineEnding::LF, &[1; 80]).unwrap();
        assert_eq!(
            UnverifiedChain::from_pem(&key),
            Err(ChainError::Label("PRIVATE KEY".to_owned()))
        );
        let cut = &pem(1)[..60];
        assert!(matches!(
            UnverifiedChain::from_pem(cut),
            Err(ChainError::Pem(_))
        ));
    }
}
