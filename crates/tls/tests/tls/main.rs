//! Certificates as they are read, shown, refused and replaced: whole handshakes, in memory.

mod authority;
mod files;
mod handshake;
mod replaced;
