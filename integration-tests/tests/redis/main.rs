//! Redis: keys as state, and what admin APIs share through it.

mod coordination;
mod expiry;
mod keys;
mod refusals;
mod rollback;
mod world;
