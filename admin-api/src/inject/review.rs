//! What the API server asks and is answered: an AdmissionReview of `admission.k8s.io/v1`.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    pod::{patch, with_sidecar},
    template::Template,
    wish::{Refusal, Wish},
};

/// The only version there is of what is asked here.
const VERSION: &str = "admission.k8s.io/v1";

/// A review: with a request when it comes, with a response when it goes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    api_version: String,
    kind: String,
    #[serde(skip_serializing)]
    request: Option<Request>,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    response: Option<Response>,
}

#[derive(Debug, Deserialize)]
struct Request {
    uid: String,
    kind: Value,
    operation: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    object: Value,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl Review {
    /// The review with its response. One that is not understood is refused, so that the API server says so.
    #[must_use]
    pub fn answered(self, template: &Template) -> Self {
        let response = match &self.request {
            Some(request) if self.api_version == VERSION => request.answer(template),
            _ => refused(
                String::new(),
                &format!("a request of {VERSION} is expected"),
            ),
        };
        Self {
            api_version: VERSION.to_owned(),
            kind: "AdmissionReview".to_owned(),
            request: None,
            response: Some(response),
        }
    }
}

impl Request {
    fn answer(&self, template: &Template) -> Response {
        // Containers of a pod that is there cannot change any more.
        if self.kind["kind"] != "Pod" || self.operation != "CREATE" {
            return self.allowed();
        }
        let metadata = &self.object["metadata"];
        let pod = metadata["name"]
            .as_str()
            .or(metadata["generateName"].as_str());
        match self.inject(template) {
            Ok(Some(response)) => {
                tracing::info!(
                    namespace = self.namespace,
                    pod,
                    changes = response.patch.is_some(),
                    "a pod has its sidecar"
                );
                response
            }
            Ok(None) => self.allowed(),
            Err(refusal) => {
                tracing::warn!(namespace = self.namespace, pod, %refusal, "a pod was refused");
                refused(self.uid.clone(), &refusal)
            }
        }
    }

    fn inject(&self, template: &Template) -> Result<Option<Response>, Refusal> {
        let Some(wish) = Wish::of(&self.object["metadata"])? else {
            return Ok(None);
        };
        let made = with_sidecar(&self.object, &wish, template)?;
        let changes = patch(&self.object, &made);
        let mut response = self.allowed();
        if !changes.is_empty() {
            response.patch_type = Some("JSONPatch");
            response.patch = Some(STANDARD.encode(Value::Array(changes).to_string()));
        }
        if wish.bootstrap_variable.is_none() {
            response.warnings.push(format!(
                "no cutline.dev/bootstrap-variable: the application has to find Kafka at {} by itself",
                template.bootstrap
            ));
        }
        Ok(Some(response))
    }

    fn allowed(&self) -> Response {
        Response {
            uid: self.uid.clone(),
            allowed: true,
            ..Response::default()
        }
    }
}

fn refused(uid: String, why: &dyn ToString) -> Response {
    Response {
        uid,
        allowed: false,
        status: Some(json!({ "code": 422, "message": why.to_string() })),
        ..Response::default()
    }
}
