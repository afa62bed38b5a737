//! The client side of attested TLS.
