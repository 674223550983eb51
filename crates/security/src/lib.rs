//! How Kafka is reached: TLS and SASL, by librdkafka's names, for the raw client and for librdkafka alike.
//!
//! It promises that both honour every setting it takes, and that what one of them cannot honour is an error at the start which
//! names the setting; that no password, token or key is ever printed. It opens no connection and knows no frame.

mod error;
mod names;
pub mod sasl;
mod secret;
mod settings;
mod tls;
mod token;

pub use error::SecurityError;
pub use names::SECRETS;
pub use sasl::{Exchange, Mechanism, Sasl, SaslError};
pub use secret::Secret;
pub use settings::{Protocol, Security};
pub use token::{Token, TokenError};
