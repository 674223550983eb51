//! Who a request comes from, as the admin API sees it: what a person's tool may offer them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who asks, and whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoamiView {
    /// As the list of tokens has it; `anyone` where no token is asked for.
    pub name: String,
    /// `viewer`, `operator` or `admin`; absent where no token is asked for, and everyone may do everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The deployment that answers, once it is known: an admin API that starts answers too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// True when this admin API leads, and so does what changes something.
    pub leading: bool,
    /// The version of the admin API.
    pub version: String,
}
