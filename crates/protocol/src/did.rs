//! Decentralised identifiers of the `vda` method (`spec/protocol.md` §2).

use std::fmt;
use std::str::FromStr;

use crate::address::Address;
use crate::signature::PublicKey;

/// The blockchain that anchors a DID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Anchor {
    /// Polygon PoS, the main net (network `myrtle`). Older DIDs call it `mainnet`.
    Polpos,
    /// Polygon Amoy, the test net (networks `banksia`, `devnet`, `local`). Older DIDs call it `testnet`.
    Polamoy,
}

impl Anchor {
    /// The name used in DIDs made today.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Polpos => "polpos",
            Self::Polamoy => "polamoy",
        }
    }

    /// The EIP-155 chain id as the DID document writes it.
    pub const fn chain_id_hex(self) -> &'static str {
        match self {
            Self::Polpos => "0x89",
            Self::Polamoy => "0x13882",
        }
    }

    /// The EIP-155 chain id.
    pub const fn chain_id(self) -> u64 {
        match self {
            Self::Polpos => 137,
            Self::Polamoy => 80002,
        }
    }
}

/// A Verida network: the name found in DID documents, URIs and client configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// The main net.
    Myrtle,
    /// The test net, and the default of a client with no setting.
    Banksia,
    /// A development network.
    Devnet,
    /// One machine.
    Local,
}

impl Network {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Myrtle => "myrtle",
            Self::Banksia => "banksia",
            Self::Devnet => "devnet",
            Self::Local => "local",
        }
    }

    /// The blockchain behind this network.
    pub const fn anchor(self) -> Anchor {
        match self {
            Self::Myrtle => Anchor::Polpos,
            Self::Banksia | Self::Devnet | Self::Local => Anchor::Polamoy,
        }
    }
}

/// The text does not name a known network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown network: expected myrtle, banksia, devnet or local")]
pub struct UnknownNetwork;

impl FromStr for Network {
    type Err = UnknownNetwork;

    fn from_str(text: &str) -> Result<Self, UnknownNetwork> {
        match text {
            "myrtle" => Ok(Self::Myrtle),
            "banksia" => Ok(Self::Banksia),
            "devnet" => Ok(Self::Devnet),
            "local" => Ok(Self::Local),
            _ => Err(UnknownNetwork),
        }
    }
}

/// A DID of the `vda` method. Two spellings that differ only in casing are equal.
#[derive(Clone)]
pub struct Did {
    given: String,
    lowercase: String,
    anchor: Anchor,
    address: Address,
}

/// The text is not a DID that can be resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDid {
    /// It does not start with `did:vda:`.
    #[error("not a did:vda identifier")]
    Method,
    /// The network part is missing or unknown.
    #[error("the DID names no known network")]
    Network,
    /// The last part is neither an address nor a public key.
    #[error("the DID ends in neither an address nor a public key")]
    Address,
    /// It is longer than [`Did::MAX_LENGTH`].
    #[error("the DID is too long")]
    TooLong,
}

impl Did {
    /// Longest accepted text, in bytes (the form with an uncompressed public key fits).
    pub const MAX_LENGTH: usize = 200;

    /// The DID of an account on `anchor`, with its address in checksum casing.
    pub fn of_account(anchor: Anchor, address: Address) -> Self {
        let given = format!("did:vda:{}:{}", anchor.name(), address.checksummed());
        Self {
            lowercase: given.to_ascii_lowercase(),
            given,
            anchor,
            address,
        }
    }

    /// The text as it was made or received, in its own casing.
    pub fn as_given(&self) -> &str {
        &self.given
    }

    /// The whole DID in lower case: the form inside every hashed or signed text.
    pub fn lowercase(&self) -> &str {
        &self.lowercase
    }

    /// The blockchain that anchors it.
    pub const fn anchor(&self) -> Anchor {
        self.anchor
    }

    /// The address of its account key.
    pub const fn address(&self) -> Address {
        self.address
    }

    /// True for a DID made before version 4, which is spelled `did:vda:mainnet:…` for ever.
    pub fn is_legacy(&self) -> bool {
        self.lowercase.starts_with("did:vda:mainnet:")
    }
}

impl FromStr for Did {
    type Err = InvalidDid;

    fn from_str(text: &str) -> Result<Self, InvalidDid> {
        if text.len() > Self::MAX_LENGTH {
            return Err(InvalidDid::TooLong);
        }
        let given = text.split_once('?').map_or(text, |(did, _query)| did);
        let rest = given.strip_prefix("did:vda:").ok_or(InvalidDid::Method)?;
        let (network, key) = rest.rsplit_once(':').ok_or(InvalidDid::Network)?;
        let anchor = match network.to_ascii_lowercase().as_str() {
            "polpos" | "mainnet" => Anchor::Polpos,
            "polamoy" | "testnet" => Anchor::Polamoy,
            _ => return Err(InvalidDid::Network),
        };
        let address = if key.len() > 42 {
            key.parse::<PublicKey>()
                .map_err(|_| InvalidDid::Address)?
                .address()
        } else {
            key.parse().map_err(|_| InvalidDid::Address)?
        };
        Ok(Self {
            given: given.to_owned(),
            lowercase: given.to_ascii_lowercase(),
            anchor,
            address,
        })
    }
}

impl PartialEq for Did {
    fn eq(&self, other: &Self) -> bool {
        self.lowercase == other.lowercase
    }
}

impl Eq for Did {}

impl std::hash::Hash for Did {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.lowercase.hash(state);
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

impl fmt::Debug for Did {
    /// Mute: a DID is personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Did(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casing_does_not_tell_dids_apart() {
        let upper: Did = "did:vda:polamoy:0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
            .parse()
            .unwrap();
        let lower: Did = upper.lowercase().parse().unwrap();
        assert_eq!(upper, lower);
        assert_ne!(upper.as_given(), lower.as_given());
    }

    #[test]
    fn debug_output_does_not_name_the_person() {
        let did = Did::of_account(Anchor::Polamoy, Address::from_bytes([7; 20]));
        assert_eq!(format!("{did:?}"), "Did(..)");
    }

    #[test]
    fn a_did_without_a_known_network_is_refused() {
        let address = "0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a";
        for text in [
            address.to_owned(),
            format!("did:vda:{address}"),
            format!("did:vda:nowhere:{address}"),
            format!("did:key:polpos:{address}"),
            "did:vda:polpos:0x12".to_owned(),
            format!("did:vda:polpos:{}", "1".repeat(300)),
        ] {
            assert!(text.parse::<Did>().is_err(), "{text}");
        }
    }
}
