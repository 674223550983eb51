# What people do here every day. `just` lists it.

default:
    @just --list

# What a machine can check, in seconds
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps -q
    cargo deny check

# All tests, with a real Kafka; what CI runs
test:
    ./test

# The tests of one package
test-of package:
    cargo build --release --workspace --bins
    cargo test --release -p {{ package }}

# Two banks, a checkpoint, a rollback, a count
demo *flags:
    ./demo {{ flags }}

# Brings the code into the one form
fmt:
    cargo fmt --all
