//! Measurements against a real Kafka on this machine. Each prints its figures as `name=value`, one a line.

mod proxy;

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
}

#[tokio::main]
async fn main() {
    match Arguments::parse().what {
        What::Proxy(options) => proxy::run(&options).await,
    }
}
