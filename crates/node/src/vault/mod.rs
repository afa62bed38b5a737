//! The one place that holds plaintext.
