//! `[oauth]`, `[consent]`, `[compat]`: how apps ask for grants, and people answer.

use adyton_client::endpoint::Reach;
use adyton_oauth::origin::Origin;
use serde::Deserialize;
use url::Url;

use super::InvalidConfig;

/// How apps ask for grants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OauthConfig {
    /// The node's one origin, where it is reached by another name than its certificate's or by several. Without, it is the name
    /// among [`super::Config::names`] by which a request calls it.
    pub origin: Option<Origin>,
    /// Whether a metadata document of an app may be on this machine: for development only.
    pub local_clients: LocalClients,
    /// How long tokens live that the original's consent makes (`POST /auth/auth`).
    pub legacy_tokens: LegacyTokens,
    /// Where the consent page sends who has a wallet that signs.
    pub wallet: Option<Wallet>,
}

/// The page of a wallet that signs consents: an https URL that parameters can be added to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wallet(String);

impl Wallet {
    /// Longest URL, in bytes.
    const MAX_LENGTH: usize = 500;

    fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let is_page = text.len() <= Self::MAX_LENGTH
            && url.scheme() == "https"
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none();
        is_page.then(|| Self(url.into()))
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether apps on the node's own machine may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LocalClients {
    /// No.
    #[default]
    Refused,
    /// Yes: nothing is known of who they are, and the consent page says so.
    Allowed,
}

/// How long tokens live that the original's consent makes: they travel in a URL and cannot be refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LegacyTokens {
    /// As long as other access tokens.
    #[default]
    Short,
    /// As long as the grant.
    Long,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OauthTable {
    origin: Option<String>,
    local_clients: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ConsentTable {
    wallet: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CompatTable {
    long_tokens: bool,
}

impl OauthTable {
    /// Documents on this machine can be fetched only where this machine may be contacted at all.
    pub(super) fn read(
        self,
        consent: &ConsentTable,
        compat: &CompatTable,
        egress: &Reach,
    ) -> Result<OauthConfig, InvalidConfig> {
        let wallet = match &consent.wallet {
            None => None,
            Some(text) => Some(Wallet::parse(text).ok_or(InvalidConfig::Range("consent.wallet"))?),
        };
        let origin = self.origin.map(|text| Origin::parse(&text)).transpose();
        Ok(OauthConfig {
            origin: origin.map_err(|_| InvalidConfig::Range("oauth.origin"))?,
            local_clients: match (self.local_clients, egress) {
                (false, _) => LocalClients::Refused,
                (true, Reach::AlsoThisMachine) => LocalClients::Allowed,
                (true, Reach::Public | Reach::AlsoThese(_) | Reach::AlsoServer(_)) => {
                    return Err(InvalidConfig::Range("oauth.local_clients"));
                }
            },
            legacy_tokens: match compat.long_tokens {
                true => LegacyTokens::Long,
                false => LegacyTokens::Short,
            },
            wallet,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_wallet_is_a_page_that_can_be_sent_to() {
        let wallet = |text: &str| {
            Config::parse(&format!(
                "listen = \"127.0.0.1:0\"\n[consent]\nwallet = \"{text}\""
            ))
        };
        let config = wallet("https://wallet.example/sign?from=adyton").unwrap();
        let wallet_of = |config: &Config| config.oauth.wallet.clone().unwrap();
        assert_eq!(
            wallet_of(&config).as_str(),
            "https://wallet.example/sign?from=adyton"
        );
        for text in [
            "",
            "wallet.example",
            "http://wallet.example/",
            "javascript:alert(1)",
            "https://me@wallet.example/",
            "https://me:secret@wallet.example/",
            "https://wallet.example/#sign",
            &format!("https://wallet.example/{}", "x".repeat(500)),
        ] {
            let refused = InvalidConfig::Range("consent.wallet");
            assert_eq!(wallet(text).unwrap_err(), refused, "{text}");
        }
    }

    #[test]
    fn the_settings_of_oauth_are_safe_unless_they_say_otherwise() {
        let parse = |more: &str| Config::parse(&format!("listen = \"127.0.0.1:0\"\n{more}"));
        assert_eq!(parse("").unwrap().oauth, OauthConfig::default());
        let whole = "[oauth]\norigin = \"https://data.example\"\n[compat]\nlong_tokens = true";
        let oauth = parse(whole).unwrap().oauth;
        assert_eq!(oauth.origin.unwrap().as_str(), "https://data.example");
        assert_eq!(oauth.legacy_tokens, LegacyTokens::Long);
        let local = "[oauth]\nlocal_clients = true";
        assert!(parse(local).is_err());
        let oauth = parse(&format!("allow_loopback_storage = true\n{local}"));
        assert_eq!(oauth.unwrap().oauth.local_clients, LocalClients::Allowed);
        for wrong in [
            "[oauth]\norigin = \"http://data.example\"",
            "[oauth]\norigin = \"https://data.example/\"",
            "[oauth]\nother = 1",
            "[compat]\nother = 1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
