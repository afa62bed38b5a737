//! Parameters of a path and of what follows it: what cannot be read is a problem like any other.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use super::problem::ApiProblem;

/// The parameters of the path, decoded.
#[derive(Debug)]
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = ApiProblem;

    async fn from_request_parts(head: &mut Parts, state: &S) -> Result<Self, ApiProblem> {
        match Path::from_request_parts(head, state).await {
            Ok(Path(parameters)) => Ok(Self(parameters)),
            Err(_) => Err(ApiProblem::malformed(
                "the path cannot be decoded: it must be percent-encoded UTF-8",
            )),
        }
    }
}

/// The parameters after the question mark, decoded. Each at most once.
#[derive(Debug)]
pub(super) struct QueryString(BTreeMap<String, String>);

impl QueryString {
    /// Most parameters.
    const MOST: usize = 32;

    /// Reads the text after the question mark.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, ApiProblem> {
        let mut parameters = BTreeMap::new();
        let pairs = text.unwrap_or_default().as_bytes();
        for (name, value) in form_urlencoded::parse(pairs) {
            let twice = parameters.insert(name.into_owned(), value.into_owned());
            if twice.is_some() || parameters.len() > Self::MOST {
                return Err(ApiProblem::malformed(
                    "a parameter of the URL is given twice, or there are too many",
                ));
            }
        }
        Ok(Self(parameters))
    }

    /// Takes a parameter out.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Takes a parameter out that is true or false.
    pub(super) fn take_flag(&mut self, name: &str) -> Result<bool, ApiProblem> {
        match self.take(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(ApiProblem::malformed(format!(
                "the parameter `{name}` is true or false"
            ))),
        }
    }

    /// Refuses what was not taken.
    pub(super) fn nothing_else(self, known: &[&str]) -> Result<(), ApiProblem> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(ApiProblem::unknown_member("the URL", known)),
        }
    }
}
