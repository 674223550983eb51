//! Who may ask what: tokens with roles, the gate before every route, and the audit log behind it.
//!
//! Without a list of tokens everyone may do everything; the address that is listened on says whether that is allowed. What a
//! request means is the routes' business.

mod gate;
mod guard;
mod pace;
mod role;
mod tokens;

pub use gate::{Gate, pass};
pub use guard::{Caller, Guard};
pub use pace::Pace;
pub use role::{Need, Role};
pub use tokens::{Tokens, TokensError};
