# What people type. `.ci/run` does the same in a clean clone; that is the gate.

# List the recipes
default:
    @just --list

# Format all code
fmt:
    cargo fmt --all

# Formatting and lints, warnings are errors
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# All tests (the README's command)
test:
    cargo test --workspace

# Tests of one package while working on it: `just t sandbox --test unauthorized`
t package *arguments:
    cargo test -p adyton-{{package}} {{arguments}}

# Bans, licences, sources (needs cargo-deny)
deny:
    cargo fetch --locked
    cargo deny --offline check bans licenses sources

# The whole chain on this machine (the README's command)
demo *arguments:
    cargo run --release -- demo {{arguments}}

# The enclave's image: target/enclave-image/adyton.eif and measurements.json
enclave *arguments:
    cargo run --locked -p adyton-enclave -- build {{arguments}}

# Boots the released image in an emulated enclave and tries to break what it promises (tools are built once a machine)
enclave-test *arguments:
    rig/run {{arguments}}

# The pages: rebuilt and compared, then used in a browser (needs Node and Chromium)
pages *arguments:
    web/test {{arguments}}

# Selectors beside PouchDB-find's; search beside MiniSearch and tantivy (need Node)
interop:
    interop/js/run
    interop/relevance/run

# Figures of this machine
bench *arguments:
    cargo run --release -p adyton-bench -- {{arguments}}

# The gate, in a clean clone of HEAD; or some of its steps: `just ci lint test`
ci *steps:
    .ci/run {{steps}}

# Each check of the verifier deleted in turn: every time a test must turn red (an hour or more; one list is minutes)
mutants name="":
    ADYTON_MUTANTS="{{name}}" cargo test -p adyton-attest --test mutants -- --ignored --nocapture
