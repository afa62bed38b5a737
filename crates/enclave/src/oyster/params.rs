//! Init params: the files that a deployer hands to an Oyster enclave, and what the enclave measures of them.
//!
//! Guarantees: the digest that Oyster's boot extends register 16 with, the register's value, and the image id by which its
//! key service tells enclaves apart. Refuses to know what the files say ([`super::compose`] does, about one of them).

use sha2::{Digest as _, Sha256, Sha384};

use super::base::BaseImage;

/// Where the enclave puts the files; part of what is measured.
const FOLDER: &str = "/init-params/";

/// The file that says what runs. Oyster's command line always hands it over first.
pub const COMPOSE_FILE: &str = "docker-compose.yml";

/// Registers 0, 1, 2 and 16, as bits: the first four bytes of what an image id is the hash of.
const REGISTERS: u32 = 1 | 1 << 1 | 1 << 2 | 1 << 16;

/// Longest path of a param.
pub const MAX_PATH_BYTES: usize = 256;

/// Longest content of a param: what Oyster's own decoder takes.
pub const MAX_CONTENT_BYTES: usize = 65_535;

/// Most params.
pub const MAX_PARAMS: usize = 64;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitParam {
    path: String,
    content: Vec<u8>,
    measured: Measured,
}

/// Whether a param is part of what register 16 holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// It is: nobody can change it unseen.
    Yes,
    /// It is not: it is the deployer's word only, and nothing may depend on it.
    No,
}

impl InitParam {
    /// Takes a relative path without tricks, and a content.
    ///
    /// # Errors
    /// [`ParamError`] when one of the two is not in form.
    pub fn new(path: &str, content: Vec<u8>, measured: Measured) -> Result<Self, ParamError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let parts = || path.split('/');
        let tricks = parts().any(|part| matches!(part, "" | "." | ".."));
        if !(1..=MAX_PATH_BYTES).contains(&path.len()) || !path.bytes().all(plain) || tricks {
            return Err(ParamError::Path);
        }
        if content.len() > MAX_CONTENT_BYTES {
            return Err(ParamError::Content);
        }
        Ok(Self {
            path: path.to_owned(),
            content,
            measured,
        })
    }

    /// `SHA256( le64(len P) ‖ P ‖ le64(len C) ‖ C )` with P the whole path in the enclave and C the plain content.
    fn digest(&self) -> [u8; 32] {
        let path = format!("{FOLDER}{}", self.path);
        let mut hash = Sha256::new();
        for part in [path.as_bytes(), &self.content] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// All params, the compose file first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitParams(Vec<InitParam>);

impl InitParams {
    /// The compose file, measured, and then the others in the order in which they are handed over.
    ///
    /// # Errors
    /// [`ParamError`] when a path comes twice or there are too many.
    pub fn new(compose: Vec<u8>, others: Vec<InitParam>) -> Result<Self, ParamError> {
        let mut params = vec![InitParam::new(COMPOSE_FILE, compose, Measured::Yes)?];
        params.extend(others);
        if params.len() > MAX_PARAMS {
            return Err(ParamError::TooMany);
        }
        for (at, param) in params.iter().enumerate() {
            if params
                .iter()
                .take(at)
                .any(|before| before.path == param.path)
            {
                return Err(ParamError::Twice);
            }
        }
        Ok(Self(params))
    }

    /// `SHA256( h₁ ‖ h₂ ‖ … )` over the digests of the measured ones, in their order.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for param in self
            .0
            .iter()
            .filter(|param| param.measured == Measured::Yes)
        {
            hash.update(param.digest());
        }
        hash.finalize().into()
    }

    /// What register 16 holds: `SHA384( 0⁴⁸ ‖ digest )`.
    #[must_use]
    pub fn pcr16(&self) -> [u8; 48] {
        let mut register = Sha384::new();
        register.update([0; 48]);
        register.update(self.digest());
        register.finalize().into()
    }

    /// What the key service derives by: `SHA256( be32(registers) ‖ PCR0 ‖ PCR1 ‖ PCR2 ‖ PCR16 )`.
    #[must_use]
    pub fn image_id(&self, base: &BaseImage) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(REGISTERS.to_be_bytes());
        base.pcrs().iter().for_each(|pcr| hash.update(pcr));
        hash.update(self.pcr16());
        hash.finalize().into()
    }
}

/// Why files cannot be init params. The fault is the deployer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParamError {
    /// A path that is empty, absolute, too long, or goes elsewhere.
    #[error("a param's path must be relative, of letters, digits, '-', '_', '.', and '/'")]
    Path,
    /// A content over [`MAX_CONTENT_BYTES`].
    #[error("a param is longer than {MAX_CONTENT_BYTES} bytes")]
    Content,
    /// A path that comes twice: the second file would take the first one's place.
    #[error("two params have the same path")]
    Twice,
    /// Over [`MAX_PARAMS`].
    #[error("there are more than {MAX_PARAMS} params")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(path: &str, content: &[u8], measured: Measured) -> InitParam {
        InitParam::new(path, content.to_vec(), measured).unwrap()
    }

    #[test]
    fn only_what_is_measured_changes_the_digest_and_its_order_counts() {
        let digest =
            |others: Vec<InitParam>| InitParams::new(b"c".to_vec(), others).unwrap().digest();
        let (a, b) = (
            param("a", b"1", Measured::Yes),
            param("b", b"2", Measured::Yes),
        );
        let alone = digest(vec![]);
        assert_eq!(digest(vec![param("a", b"1", Measured::No)]), alone);
        assert_ne!(digest(vec![a.clone()]), alone);
        assert_ne!(digest(vec![a.clone(), b.clone()]), digest(vec![b, a]));
    }

    #[test]
    fn a_byte_that_moves_between_path_and_content_is_seen() {
        let digest = |path, content| param(path, content, Measured::Yes).digest();
        assert_ne!(digest("ab", b"c"), digest("a", b"bc"));
    }

    #[test]
    fn paths_that_could_go_elsewhere_are_refused() {
        for path in [
            "",
            "/a",
            "a/",
            "a//b",
            "..",
            "../a",
            "a/../b",
            "./a",
            "a b",
            "a:b",
            "ä",
            "a\0",
            &"a".repeat(MAX_PATH_BYTES + 1),
        ] {
            let refused = InitParam::new(path, vec![], Measured::Yes);
            assert_eq!(refused, Err(ParamError::Path), "{path:?}");
        }
        assert!(InitParam::new("a/b-c_d.e", vec![0; MAX_CONTENT_BYTES], Measured::No).is_ok());
        let long = InitParam::new("a", vec![0; MAX_CONTENT_BYTES + 1], Measured::No);
        assert_eq!(long, Err(ParamError::Content));
    }

    #[test]
    fn no_param_takes_anothers_place() {
        let twice = vec![param(COMPOSE_FILE, b"other", Measured::No)];
        assert_eq!(
            InitParams::new(b"c".to_vec(), twice),
            Err(ParamError::Twice)
        );
        let many = (0..MAX_PARAMS).map(|at| param(&format!("p{at}"), b"", Measured::No));
        assert_eq!(
            InitParams::new(vec![], many.collect()),
            Err(ParamError::TooMany)
        );
    }
}
