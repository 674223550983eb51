//! What passes a sidecar's proxy unchanged, what it holds and masks when the core says so, and the markers it works with.

mod bad_bytes;
mod cut_through;
mod drain;
mod fake;
mod hold;
mod marker;
mod memory;
mod side;
mod transparent;
