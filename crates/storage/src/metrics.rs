//! What an operator may count: requests by kind of address and kind of answer. Prometheus text, on an address of its own.
//!
//! Guarantees: no identity, name, address or size of anybody's is in it, for every label is a member of an enum of ours.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

use crate::api::route::Endpoint;
use crate::tls::Certificates;

/// 1xx to 5xx.
const CLASSES: usize = 5;

/// The counters.
pub(crate) struct Metrics {
    requests: Vec<[AtomicU64; CLASSES]>,
    /// Microseconds until the head of an answer, added up.
    micros: Vec<AtomicU64>,
    throttled: AtomicU64,
    connections: AtomicU64,
    replication: Replication,
    certificates: Option<Arc<Certificates>>,
}

/// What was pushed to other nodes.
#[derive(Default)]
pub(crate) struct Replication {
    pushed: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

impl Replication {
    /// Revisions that another node was sent, and those of them that it refused for good.
    pub(crate) fn pushed(&self, sent: u64, refused: u64) {
        self.pushed.fetch_add(sent, Ordering::Relaxed);
        self.refused.fetch_add(refused, Ordering::Relaxed);
    }

    /// A turn that must be taken again.
    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

/// An open connection, counted as long as it lives.
pub(crate) struct Open<'m>(&'m Metrics);

impl Metrics {
    /// With what is shown to clients of TLS.
    pub(crate) fn new(certificates: Option<Arc<Certificates>>) -> Self {
        let kinds = Endpoint::ALL.len();
        Self {
            requests: (0..kinds).map(|_| Default::default()).collect(),
            micros: (0..kinds).map(|_| AtomicU64::new(0)).collect(),
            throttled: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            replication: Replication::default(),
            certificates,
        }
    }

    pub(crate) fn replication(&self) -> &Replication {
        &self.replication
    }

    pub(crate) fn answered(&self, endpoint: Endpoint, status: StatusCode, micros: u64) {
        let kind = endpoint as usize;
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self
            .requests
            .get(kind)
            .and_then(|classes| classes.get(class))
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(sum) = self.micros.get(kind) {
            sum.fetch_add(micros, Ordering::Relaxed);
        }
    }

    pub(crate) fn throttled(&self) {
        self.throttled.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection(&self) -> Open<'_> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Open(self)
    }

    /// The exposition, text format 0.0.4.
    pub(crate) fn text(&self, accounts: u64) -> String {
        let mut text = String::from(
            "# HELP adyton_storage_requests_total Requests answered, by kind of address and class of status.\n\
             # TYPE adyton_storage_requests_total counter\n",
        );
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (endpoint, classes) in Endpoint::ALL.iter().zip(&self.requests) {
            for (class, counter) in (1..).zip(classes) {
                let count = read(counter);
                if count > 0 {
                    let name = "adyton_storage_requests_total";
                    // Writing to a text cannot fail.
                    let _ = writeln!(
                        text,
                        "{name}{{endpoint=\"{endpoint:?}\",status=\"{class}xx\"}} {count}"
                    );
                }
            }
        }
        text.push_str(
            "# HELP adyton_storage_answer_seconds_total Time until the heads of answers, added up.\n\
             # TYPE adyton_storage_answer_seconds_total counter\n",
        );
        for (endpoint, sum) in Endpoint::ALL.iter().zip(&self.micros) {
            let micros = read(sum);
            if micros > 0 {
                let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
                let name = "adyton_storage_answer_seconds_total";
                let _ = writeln!(
                    text,
                    "{name}{{endpoint=\"{endpoint:?}\"}} {seconds}.{rest:06}"
                );
            }
        }
        let standing = self.certificates.as_ref().map(|all| all.standing());
        let of_tls = standing.into_iter().flat_map(|standing| {
            [
                (
                    "tls_certificate_expiry_timestamp_seconds",
                    "gauge",
                    "When the certificate ends, in seconds since 1970; 0 without one.",
                    standing.ends,
                ),
                (
                    "tls_renewals_total",
                    "counter",
                    "Times that another certificate was shown.",
                    standing.renewals,
                ),
                (
                    "tls_renewal_failures_total",
                    "counter",
                    "Times that no other could be had.",
                    standing.failures,
                ),
            ]
        });
        let counted = [
            (
                "throttled_total",
                "counter",
                "Requests refused with 429.",
                read(&self.throttled),
            ),
            (
                "connections",
                "gauge",
                "Open connections.",
                read(&self.connections),
            ),
            (
                "replicated_revisions_total",
                "counter",
                "Revisions sent to other nodes.",
                read(&self.replication.pushed),
            ),
            (
                "replication_refusals_total",
                "counter",
                "Revisions that other nodes refused for good.",
                read(&self.replication.refused),
            ),
            (
                "replication_failures_total",
                "counter",
                "Turns of replication that must be taken again.",
                read(&self.replication.failed),
            ),
            ("accounts", "gauge", "Accounts that the node has.", accounts),
        ];
        for (name, kind, help, value) in counted.into_iter().chain(of_tls) {
            let name = format!("adyton_storage_{name}");
            let _ = writeln!(
                text,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
            );
        }
        text
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
