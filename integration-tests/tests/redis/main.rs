//! Redis: keys as state.

mod expiry;
mod keys;
mod refusals;
mod world;
