//! The pods of the admin API, and which of them leads.
//!
//! It asks the cluster and promises nothing of a moment later.

use integration_tests::Kubernetes;
use serde_json::Value;

/// What the chart calls them.
const ADMINS: &str = "app.kubernetes.io/name=cutline,app.kubernetes.io/component=admin";

/// An admin API's pod.
pub struct AdminPod {
    /// As Kubernetes named it.
    pub name: String,
    /// Only the leader is ever ready.
    pub leads: bool,
}

/// Those that are not about to end.
#[must_use]
pub fn admins(kubernetes: &Kubernetes) -> Vec<AdminPod> {
    let asked = ["get", "pods", "--selector", ADMINS, "--output", "json"];
    let listed = kubernetes.kubectl(&asked).unwrap_or_default();
    let listed: Value = serde_json::from_str(&listed).unwrap_or_default();
    let pods = listed["items"].as_array().into_iter().flatten();
    let pods = pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    pods.map(|pod| AdminPod {
        name: pod["metadata"]["name"].as_str().unwrap_or_default().into(),
        leads: is_ready(pod),
    })
    .collect()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}
