//! What is put into a pod, before the pod has a say: as the chart's own template renders it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

/// The largest file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A sidecar without a service.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// The container, whose name tells that a pod has it already.
    pub container: Map<String, Value>,
    /// The volumes that it mounts, besides the application's.
    pub volumes: Vec<Value>,
    /// What pods are labelled with, so that they reach the admin API.
    pub labels: Map<String, Value>,
    /// Where the application finds Kafka.
    pub bootstrap: String,
}

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the template {path} for --inject-template cannot be used: {reason}")]
pub struct TemplateError {
    path: PathBuf,
    reason: String,
}

impl Template {
    /// Reads the one at `path`, YAML or JSON.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn read(path: &Path) -> Result<Self, TemplateError> {
        let wrong = |reason: String| TemplateError {
            path: path.to_owned(),
            reason,
        };
        let length = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
        if length.len() > FILE_BYTES_MAX {
            return Err(wrong(format!("it is longer than {FILE_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let template: Self =
            serde_yaml_ng::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        match template.container.get("name").and_then(Value::as_str) {
            Some(_) => Ok(template),
            None => Err(wrong("its container has no name".to_owned())),
        }
    }

    /// The name of the container.
    #[must_use]
    pub fn name(&self) -> &str {
        let name = self.container.get("name").and_then(Value::as_str);
        name.unwrap_or_default()
    }
}
