//! In which order the containers of a pod came and went, from what `kubectl get pods --watch -o json` saw.
//!
//! It knows no cluster: only what was written down.

use serde_json::{Deserializer, Value};

const SIDECAR: &str = "cutline-sidecar";

/// What was seen of one pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// The sidecar was started, and answered, before the application.
    pub sidecar_first: bool,
    /// The sidecar ended after the application.
    pub sidecar_last: bool,
}

/// What `watched` tells of the pod `name`: nothing is taken for granted that was not seen.
#[must_use]
pub fn of(watched: &[u8], name: &str) -> Order {
    let seen = Deserializer::from_slice(watched).into_iter::<Value>();
    // The last one may be cut off.
    let seen = seen.map_while(Result::ok);
    let mut order = Order::default();
    let (mut started, mut app_ended) = (None, None);
    for pod in seen.filter(|pod| pod["metadata"]["name"] == name) {
        let sidecar = status(&pod["status"]["initContainerStatuses"], |name| {
            name == SIDECAR
        });
        let app = status(&pod["status"]["containerStatuses"], |name| name != SIDECAR);
        let app_started = app["state"]["running"]["startedAt"].as_str();
        if let (None, Some(app_started)) = (&started, app_started) {
            let since = sidecar["state"]["running"]["startedAt"].as_str();
            order.sidecar_first =
                sidecar["started"] == true && since.is_some_and(|since| since <= app_started);
            started = Some(app_started.to_owned());
        }
        if let Some(at) = app["state"]["terminated"]["finishedAt"].as_str() {
            app_ended = Some(at.to_owned());
        }
        if let Some(at) = sidecar["state"]["terminated"]["finishedAt"].as_str() {
            order.sidecar_last = app_ended.as_deref().is_some_and(|app| app <= at);
        }
    }
    order
}

fn status(statuses: &Value, of: impl Fn(&str) -> bool) -> &Value {
    let mut all = statuses.as_array().into_iter().flatten();
    all.find(|status| status["name"].as_str().is_some_and(&of))
        .unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(sidecar: Value, app: Value) -> Value {
        json!({ "metadata": { "name": "bank" }, "status": {
            "initContainerStatuses": [sidecar_named(sidecar)],
            "containerStatuses": [{ "name": "bank", "state": app }],
        } })
    }

    fn sidecar_named(mut sidecar: Value) -> Value {
        sidecar["name"] = json!(SIDECAR);
        sidecar
    }

    fn running(at: &str) -> Value {
        json!({ "running": { "startedAt": at } })
    }

    fn ended(at: &str) -> Value {
        json!({ "terminated": { "finishedAt": at } })
    }

    fn order(seen: &[Value]) -> Order {
        let watched: Vec<u8> = seen
            .iter()
            .flat_map(|pod| pod.to_string().into_bytes())
            .collect();
        of(&watched, "bank")
    }

    #[test]
    fn a_sidecar_that_is_up_before_and_down_after_is_seen() {
        let up = json!({ "started": true, "state": running("10:00:01") });
        let seen = [
            pod(
                json!({ "started": false, "state": running("10:00:01") }),
                json!({ "waiting": {} }),
            ),
            pod(up.clone(), running("10:00:03")),
            pod(up, ended("10:00:20")),
            pod(
                json!({ "started": false, "state": ended("10:00:21") }),
                ended("10:00:20"),
            ),
        ];
        let expected = Order {
            sidecar_first: true,
            sidecar_last: true,
        };
        assert_eq!(order(&seen), expected);
    }

    #[test]
    fn the_other_way_round_is_seen_too_and_so_is_nothing() {
        let late = [
            pod(
                json!({ "started": false, "state": running("10:00:01") }),
                running("10:00:01"),
            ),
            pod(
                json!({ "started": false, "state": ended("10:00:19") }),
                running("10:00:01"),
            ),
            pod(
                json!({ "started": false, "state": ended("10:00:19") }),
                ended("10:00:20"),
            ),
        ];
        assert_eq!(order(&late), Order::default());
        assert_eq!(order(&[]), Order::default());
    }
}
