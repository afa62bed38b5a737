//! Which TEE the node runs in.
//!
//! Guarantees: what the configuration names is used or the node does not start; without a name, exactly one kind is there.
//! Refuses to know: simulations. There is none in a shipped node.

mod dstack;

use std::path::Path;

use adyton_attest::attester::nsm;

pub use self::dstack::{DstackAttester, GuestAgent};

/// The kinds of TEE that a node runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tee {
    /// An AWS Nitro enclave (one of our own, or a container inside Marlin Oyster's).
    Nitro,
    /// An Intel TDX guest under dstack.
    Dstack(GuestAgent),
}

/// What the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TeeName {
    /// `tee = "nitro"`
    Nitro,
    /// `tee = "dstack"`
    Dstack,
}

impl Tee {
    /// The TEE that is named; without a name, the only one whose device is there.
    ///
    /// # Errors
    /// [`NoTee`] where the named one is not there, none is, or more than one is.
    pub fn choose(name: Option<TeeName>, exists: impl Fn(&Path) -> bool) -> Result<Self, NoTee> {
        let nitro = exists(Path::new(nsm::DEVICE)).then_some(Self::Nitro);
        let agent = GuestAgent::ALL
            .into_iter()
            .find(|agent| exists(agent.socket()));
        let dstack = agent.map(Self::Dstack);
        match (name, nitro, dstack) {
            (Some(TeeName::Nitro) | None, Some(nitro), None)
            | (Some(TeeName::Nitro), Some(nitro), Some(_)) => Ok(nitro),
            (Some(TeeName::Dstack) | None, None, Some(dstack))
            | (Some(TeeName::Dstack), Some(_), Some(dstack)) => Ok(dstack),
            (Some(TeeName::Nitro), None, _) => Err(NoTee::Nitro),
            (Some(TeeName::Dstack), _, None) => Err(NoTee::Dstack),
            (None, None, None) => Err(NoTee::Neither),
            (None, Some(_), Some(_)) => Err(NoTee::Both),
        }
    }
}

/// Why there is no TEE. The fault is the operator's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoTee {
    /// `tee = "nitro"`, and no device.
    #[error(
        "there is no {}: this machine is not an enclave of that kind",
        nsm::DEVICE
    )]
    Nitro,
    /// `tee = "dstack"`, and no socket.
    #[error(
        "there is no socket of dstack's guest agent: this machine is not an enclave of that kind"
    )]
    Dstack,
    /// Nothing is named, and nothing is there.
    #[error(
        "there is no {} and no socket of dstack's guest agent: this machine is not an enclave of any known kind",
        nsm::DEVICE
    )]
    Neither,
    /// Nothing is named, and both are there.
    #[error(
        "this machine looks like two kinds of enclave: say which with tee = \"nitro\" or \"dstack\""
    )]
    Both,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NSM: &str = "/dev/nsm";
    const DSTACK: &str = "/var/run/dstack.sock";
    const TAPPD: &str = "/var/run/tappd.sock";

    fn choose(name: Option<TeeName>, there: &[&str]) -> Result<Tee, NoTee> {
        Tee::choose(name, |path| {
            there.iter().any(|file| Path::new(file) == path)
        })
    }

    #[test]
    fn without_a_name_the_only_device_decides() {
        let dstack = |agent| Ok(Tee::Dstack(agent));
        assert_eq!(choose(None, &[NSM]), Ok(Tee::Nitro));
        assert_eq!(choose(None, &[DSTACK]), dstack(GuestAgent::Current));
        assert_eq!(choose(None, &[TAPPD]), dstack(GuestAgent::Tappd));
        assert_eq!(choose(None, &[TAPPD, DSTACK]), dstack(GuestAgent::Current));
        assert_eq!(choose(None, &[]), Err(NoTee::Neither));
        assert_eq!(choose(None, &[NSM, DSTACK]), Err(NoTee::Both));
    }

    #[test]
    fn a_named_tee_is_used_or_there_is_no_node() {
        let both = [NSM, DSTACK];
        assert_eq!(choose(Some(TeeName::Nitro), &both), Ok(Tee::Nitro));
        let dstack = Ok(Tee::Dstack(GuestAgent::Current));
        assert_eq!(choose(Some(TeeName::Dstack), &both), dstack);
        assert_eq!(choose(Some(TeeName::Nitro), &[DSTACK]), Err(NoTee::Nitro));
        assert_eq!(choose(Some(TeeName::Dstack), &[NSM]), Err(NoTee::Dstack));
    }
}
