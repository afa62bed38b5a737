//! Which port means what. The first is the enclave's, all others are the host's.

/// The enclave listens: TLS of the node.
pub const ENCLAVE_TLS: u32 = 8443;

/// The host listens: the enclave says that it lives, with [`HEARTBEAT_BYTE`], and gets the same byte back.
pub const HEARTBEAT: u32 = 9000;

/// The host listens: it sends the length of the configuration (4 bytes, big-endian) and the configuration.
pub const CONFIGURATION: u32 = 9100;

/// The host listens: `CONNECT address:port`, then bytes to and from there.
pub const EGRESS: u32 = 9200;

/// The host listens: lines of the enclave for its operator.
pub const NOTICES: u32 = 9300;

/// What a heartbeat is, in both directions. (The value that AWS's own tools use.)
pub const HEARTBEAT_BYTE: u8 = 0xB7;
