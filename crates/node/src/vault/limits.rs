//! What the vault may use, and how much of a machine that can be.

use std::time::Duration;

use adyton_client::ack::Ack;

use super::watch_seats::WatchLimits;

/// Memory of the machine that is not for plaintext: the program, its image in a RAM disk, connections, the kernel.
const NOT_FOR_PLAINTEXT: u64 = 512 << 20;
/// At least this part of the machine is for plaintext, however small it is.
const LEAST_SHARE: u64 = 8;

/// What the vault may use, and what it waits for.
#[derive(Debug, Clone, Copy)]
pub struct VaultLimits {
    /// Bytes of plaintext and indexes of all tenants.
    pub node_bytes: usize,
    /// Bytes of plaintext and indexes of one tenant.
    pub tenant_bytes: usize,
    /// Most tenants in memory.
    pub tenants: usize,
    /// Most databases of one tenant in memory.
    pub databases_per_tenant: usize,
    /// A tenant that nobody asked for this long is evicted.
    pub idle: Duration,
    /// When there is no place or no memory left for somebody, who was idle this long makes room.
    pub crowded: Duration,
    /// Longest time for loading one database.
    pub load: Duration,
    /// How long a database is served while its storage node cannot be heard.
    pub stale: Duration,
    /// Batches of records opened at the same time, and large queries run at the same time.
    pub workers: usize,
    /// Watches open at a time.
    pub watches: WatchLimits,
    /// How many of a context's storage nodes must have a write. Without, it is [`Ack::usual`].
    pub ack: Option<Ack>,
}

impl VaultLimits {
    /// The same, with no more memory than a machine with so many bytes has for it: beside the plaintext there are large rows on
    /// their way (half as much) and request bodies (a quarter), and what is not for plaintext at all.
    #[must_use]
    pub fn on_machine_with(self, machine: u64) -> Self {
        let plaintext =
            (machine.saturating_sub(NOT_FOR_PLAINTEXT) / 7 * 4).max(machine / LEAST_SHARE);
        let most = usize::try_from(plaintext).unwrap_or(usize::MAX);
        Self {
            node_bytes: self.node_bytes.min(most),
            tenant_bytes: self.tenant_bytes.min(most),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn limits(node_mib: usize, machine_mib: u64) -> (usize, usize) {
        let text = format!("listen = \"127.0.0.1:0\"\n[limits]\nnode_memory_mib = {node_mib}");
        let limits = Config::parse(&text).unwrap().vault;
        let limits = limits.on_machine_with(machine_mib << 20);
        (limits.node_bytes >> 20, limits.tenant_bytes >> 20)
    }

    #[test]
    fn a_limit_above_what_the_machine_has_is_the_machines() {
        // The example of docs/operating-nitro.md fits.
        assert_eq!(limits(3072, 6144), (3072, 1024));
        assert_eq!(limits(4096, 6144), (3218, 1024));
        assert_eq!(limits(4096, 1024), (292, 292));
        assert_eq!(limits(4096, 512), (64, 64));
        assert_eq!(limits(4096, 0), (0, 0));
        assert_eq!(limits(4096, u64::MAX >> 20), (4096, 1024));
    }
}
