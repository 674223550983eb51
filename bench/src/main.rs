//! Measurements against a real Kafka on this machine. Each prints its figures as `name=value`, one a line.

mod backlog;
mod connections;
mod filling;
mod hook;
mod pause;
mod proxy;
mod spread;
mod usage;
mod world;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "bench", about = "Measures Cutline against a direct connection")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Consuming through a sidecar, against consuming directly
    Proxy(proxy::Options),
    /// How long checkpoints pause applications
    Pause(pause::Options),
    /// Whether a backlog costs a checkpoint anything
    Backlog(backlog::Options),
    /// What many connections that fetch from a backlog cost a sidecar's memory
    Connections(connections::Options),
}

#[tokio::main]
async fn main() {
    match Arguments::parse().what {
        What::Proxy(options) => proxy::run(&options).await,
        What::Pause(options) => pause::run(&options).await,
        What::Backlog(options) => backlog::run(&options).await,
        What::Connections(options) => connections::run(&options).await,
    }
}
