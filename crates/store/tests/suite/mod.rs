//! What every backend has to do: one suite, run by a test binary per backend.
//!
//! The binary has a module `backend` that gives places to keep objects in, each of which lies in files, and a module `world`.

mod collect;
mod contract;
mod damage;
mod decide;
mod delta;
mod part;
mod signed;
