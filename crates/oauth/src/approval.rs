//! What was asked and what was allowed: the second is part of the first, by type.

use adyton_protocol::scope::Terms;

/// The terms that an app asks for.
#[derive(Debug, Clone)]
pub struct Requested(Terms);

/// Terms that lie within what was asked. Made by [`Requested::narrow`] alone: what is granted to an app was asked by it.
///
/// ```compile_fail,E0423
/// fn widen(terms: adyton_protocol::scope::Terms) -> adyton_oauth::approval::Approved {
///     adyton_oauth::approval::Approved(terms)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Approved(Terms);

/// The terms allow something that was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the terms allow more than what the app has asked for")]
pub struct Wider;

impl Requested {
    /// What an app asks for.
    pub const fn new(terms: Terms) -> Self {
        Self(terms)
    }

    /// The terms.
    pub const fn terms(&self) -> &Terms {
        &self.0
    }

    /// The terms as a user narrowed them.
    pub fn narrow(&self, terms: Terms) -> Result<Approved, Wider> {
        match terms.is_within(&self.0) {
            true => Ok(Approved(terms)),
            false => Err(Wider),
        }
    }
}

impl Approved {
    /// The terms.
    pub const fn terms(&self) -> &Terms {
        &self.0
    }

    /// The terms, to be kept.
    pub fn into_terms(self) -> Terms {
        self.0
    }
}
