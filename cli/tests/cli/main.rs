//! The command line as its users meet it: the program itself, run against an admin API that answers what it is told to.

mod checkpoints;
mod cluster;
mod completions;
mod contexts;
mod restores;
mod support;
mod terminal;
