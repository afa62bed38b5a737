//! What a machine lacks for a test.

/// Says that a test does not run here, and passes; where `ADYTON_REQUIRE` is set, as in the gate, that is a failure.
#[allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "the gate speaks to tests through the environment, and tests to people through the terminal"
)]
pub(crate) fn skip(lacks: &str) {
    assert!(std::env::var_os("ADYTON_REQUIRE").is_none(), "{lacks}");
    eprintln!("SKIPPED: {lacks}");
}
