//! Names, and where they may lead.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower::Service;

use crate::reach::{Denied, Reach};

/// Makes TCP connections within a reach, each in at most this time.
pub fn tcp(reach: Reach, limit: Duration) -> HttpConnector<GuardedNames> {
    let mut tcp = HttpConnector::new_with_resolver(GuardedNames {
        system: GaiResolver::new(),
        reach,
    });
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(limit));
    tcp
}

/// Resolves names by the system, and drops the addresses that may not be contacted: a public name that points to a private
/// address leads nowhere. An address in a URL does not come here: [`Reach::check`] judges it.
#[derive(Clone, Debug)]
pub struct GuardedNames {
    system: GaiResolver,
    reach: Reach,
}

impl Service<Name> for GuardedNames {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.system.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (text, reach) = (name.as_str().to_owned(), self.reach.clone());
        let resolving = self.system.call(name);
        Box::pin(async move {
            let all = resolving.await?;
            let allowed: Vec<_> = all
                .filter(|address| reach.allows_address_of(&text, address.ip()))
                .collect();
            match allowed.is_empty() {
                true => Err(denied()),
                false => Ok(allowed.into_iter()),
            }
        })
    }
}

/// The refusal, as a connector gives it.
#[must_use]
pub fn denied() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, Denied)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolved(reach: Reach, name: &str) -> io::Result<Vec<SocketAddr>> {
        let mut names = GuardedNames {
            system: GaiResolver::new(),
            reach,
        };
        let found = names.call(name.parse().unwrap()).await;
        found.map(Iterator::collect)
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_leads_there_only_where_it_may() {
        let refused = resolved(Reach::Public, "localhost").await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        let found = resolved(Reach::AlsoThisMachine, "localhost").await.unwrap();
        assert!(!found.is_empty() && found.iter().all(|one| one.ip().is_loopback()));
        // As the system resolves an address in other clothes, too.
        let inside = resolved(Reach::AlsoThisMachine, "10.0.0.1").await;
        assert_eq!(inside.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
