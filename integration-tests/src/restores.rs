//! Restores by REST: waiting for the end of one.
//!
//! Promises nothing about how it ended: that is for whoever waits.

use std::time::Duration;

use serde_json::Value;

use crate::{Admin, wait_for};

/// Whether nothing more happens to a restore, by its view.
#[must_use]
pub fn is_over(view: &Value) -> bool {
    ["COMPLETED", "FAILED", "ABORTED"]
        .iter()
        .any(|word| view["status"] == *word)
}

/// Waits for the end of restore `id`: its view.
///
/// # Panics
/// When it does not end within `limit`.
pub async fn ended(admin: &Admin, id: &str, limit: Duration) -> Value {
    let path = format!("/v1/restores/{id}");
    wait_for(limit, &format!("restore {id} to end"), || async {
        let (_, view) = admin.get(&path).await;
        is_over(&view).then_some(view)
    })
    .await
}
