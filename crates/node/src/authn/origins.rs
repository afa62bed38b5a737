//! By which origin the node is called: what its issuer is, and what a proof of possession must name.

use adyton_oauth::origin::Origin;
use http::header::HOST;
use http::request::Parts;

/// The node's origins: one that the configuration fixes, or those of the names in its certificate.
#[derive(Debug, Clone)]
pub struct Origins {
    fixed: Option<Origin>,
    names: Vec<String>,
}

impl Origins {
    /// With a fixed origin the names count for nothing.
    pub fn new(fixed: Option<Origin>, names: Vec<String>) -> Self {
        Self { fixed, names }
    }

    /// The origin of a request. `None`: it calls the node by a name that is not its own, and nothing is built on that.
    pub fn of(&self, head: &Parts) -> Option<Origin> {
        self.named(called(head))
    }

    /// The origin of a request that calls the node so.
    pub(super) fn named(&self, named: Option<&str>) -> Option<Origin> {
        if let Some(fixed) = &self.fixed {
            return Some(fixed.clone());
        }
        let named = named?;
        let authority: http::uri::Authority = named.parse().ok()?;
        let known = self
            .names
            .iter()
            .any(|name| name.eq_ignore_ascii_case(authority.host().trim_matches(['[', ']'])));
        if !known || named.contains('@') {
            return None;
        }
        let port = match authority.port_u16() {
            Some(443) => String::new(),
            Some(port) => format!(":{port}"),
            None if named == authority.host() => String::new(),
            None => return None,
        };
        let host = authority.host().to_ascii_lowercase();
        Origin::parse(&format!("https://{host}{port}")).ok()
    }
}

/// How a request calls the node: in its URI (HTTP/2), or in its header.
pub(super) fn called(head: &Parts) -> Option<&str> {
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    head.uri.authority().map(|one| one.as_str()).or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(origins: &Origins, uri: &str, host: Option<&str>) -> Option<String> {
        let mut request = http::Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        let head = request.body(()).unwrap().into_parts().0;
        origins.of(&head).map(|origin| origin.as_str().to_owned())
    }

    #[test]
    fn the_names_of_the_certificate_are_the_only_ones() {
        let origins = Origins::new(None, vec!["node.example".into(), "127.0.0.1".into()]);
        for (host, expected) in [
            ("node.example", Some("https://node.example")),
            ("NODE.example:443", Some("https://node.example")),
            ("127.0.0.1:8443", Some("https://127.0.0.1:8443")),
            ("evil.example", None),
            ("node.example.evil.example", None),
            ("node.example@evil.example", None),
            ("evil.example@node.example", None),
            ("node.example:99999", None),
            ("", None),
        ] {
            let expected = expected.map(str::to_owned);
            assert_eq!(origin(&origins, "/x", Some(host)), expected, "{host}");
        }
        assert_eq!(origin(&origins, "/x", None), None);
        // In HTTP/2 the authority stands in the URI.
        let uri = "https://node.example/x";
        assert_eq!(origin(&origins, uri, None).unwrap(), "https://node.example");
    }

    #[test]
    fn a_fixed_origin_is_the_only_one() {
        let fixed = Origin::parse("https://data.example").unwrap();
        let origins = Origins::new(Some(fixed), vec!["node.example".into()]);
        for host in ["node.example", "evil.example"] {
            let found = origin(&origins, "/x", Some(host));
            assert_eq!(found.unwrap(), "https://data.example");
        }
    }
}
