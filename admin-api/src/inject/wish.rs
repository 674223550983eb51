//! What a pod says it wants, by its annotations under `cutline.dev/`. An annotation that is not known is refused: passed over, it
//! would be a state that is never recorded.

use serde_json::{Map, Value, json};

/// What every annotation begins with.
const PREFIX: &str = "cutline.dev/";
/// The label that names a service where no annotation does.
const NAME_LABEL: &str = "app.kubernetes.io/name";
/// The annotations there are.
const KNOWN: [&str; 9] = [
    "inject",
    "service",
    "instance",
    "bootstrap-variable",
    "state",
    "state-secret",
    "hook",
    "volumes",
    "rebuildable",
];

/// Why a pod is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An annotation that means nothing.
    #[error("CL0410 the annotation cutline.dev/{name} is {value:?}: {reason}")]
    Annotation {
        /// Its name, without what all begin with.
        name: String,
        /// As written.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A pod that a sidecar cannot stand in.
    #[error("CL0411 no sidecar can be put into this pod: {0}")]
    Pod(String),
}

/// What a pod wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The service that the application is.
    pub service: String,
    /// Variables of the sidecar besides the template's.
    pub variables: Vec<(&'static str, Value)>,
    /// The variable by which the application finds Kafka.
    pub bootstrap_variable: Option<String>,
    /// Volumes of the application that the sidecar mounts too.
    pub volumes: Vec<String>,
}

impl Wish {
    /// What `metadata` asks for; `None` when it asks for no sidecar.
    ///
    /// # Errors
    /// When an annotation means nothing, or the service has no name.
    pub fn of(metadata: &Value) -> Result<Option<Self>, Refusal> {
        let annotations = Annotations(&metadata["annotations"]);
        match annotations.get("inject") {
            None | Some("false") => return Ok(None),
            Some("true") => {}
            Some(_) => return Err(annotations.wrong("inject", "true or false is expected")),
        }
        annotations.check_known()?;
        let label = metadata["labels"][NAME_LABEL].as_str();
        let service = annotations.get("service").or(label).ok_or_else(|| {
            let reason =
                format!("name its service by this annotation, or by the label {NAME_LABEL}");
            annotations.wrong("service", reason)
        })?;
        cutline_settings::name(service).map_err(|reason| annotations.wrong("service", reason))?;
        let volumes = annotations.get("volumes").unwrap_or_default().split(',');
        Ok(Some(Self {
            service: service.to_owned(),
            variables: annotations.variables()?,
            bootstrap_variable: annotations.get("bootstrap-variable").map(str::to_owned),
            volumes: volumes
                .map(|volume| volume.trim().to_owned())
                .filter(|volume| !volume.is_empty())
                .collect(),
        }))
    }
}

struct Annotations<'a>(&'a Value);

impl<'a> Annotations<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0[format!("{PREFIX}{name}")].as_str()
    }

    fn wrong(&self, name: &str, reason: impl ToString) -> Refusal {
        Refusal::Annotation {
            name: name.to_owned(),
            value: self.get(name).unwrap_or_default().to_owned(),
            reason: reason.to_string(),
        }
    }

    fn check_known(&self) -> Result<(), Refusal> {
        let nothing = Map::new();
        let all = self.0.as_object().unwrap_or(&nothing).keys();
        let mut ours = all.filter_map(|key| key.strip_prefix(PREFIX));
        match ours.find(|name| !KNOWN.contains(name)) {
            Some(name) => Err(self.wrong(
                name,
                format!("there is none of this name; there are {}", KNOWN.join(", ")),
            )),
            None => Ok(()),
        }
    }

    fn variables(&self) -> Result<Vec<(&'static str, Value)>, Refusal> {
        let mut variables = Vec::new();
        let mut set = |name: &'static str, value: Option<String>| {
            variables.extend(value.map(|value| (name, json!({ "value": value }))));
        };
        set("CUTLINE_INSTANCE", self.get("instance").map(str::to_owned));
        set("CUTLINE_STATE", self.get("state").map(str::to_owned));
        set(
            "CUTLINE_REBUILDABLE",
            self.get("rebuildable").map(str::to_owned),
        );
        set(
            "CUTLINE_CAPTURE",
            self.get("hook").map(|url| format!("hook={url}")),
        );
        if let Some(hook) = self.get("hook")
            && !hook.starts_with("http://")
        {
            return Err(self.wrong(
                "hook",
                "http://127.0.0.1:PORT of the application is expected",
            ));
        }
        let Some(secret) = self.get("state-secret") else {
            return Ok(variables);
        };
        if self.get("state").is_some() {
            return Err(self.wrong("state-secret", "state or state-secret, not both"));
        }
        let Some((name, key)) = secret.split_once('/') else {
            return Err(self.wrong("state-secret", "SECRET/KEY is expected"));
        };
        let reference = json!({ "secretKeyRef": { "name": name, "key": key } });
        variables.push(("CUTLINE_STATE", json!({ "valueFrom": reference })));
        Ok(variables)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(annotations: &[(&str, &str)]) -> Result<Option<Wish>, Refusal> {
        let annotations: Map<String, Value> = annotations
            .iter()
            .map(|(name, value)| (format!("{PREFIX}{name}"), json!(value)))
            .collect();
        Wish::of(&json!({ "annotations": annotations }))
    }

    #[test]
    fn a_pod_that_asks_for_nothing_gets_nothing() {
        assert_eq!(Wish::of(&json!({})), Ok(None));
        assert_eq!(wish(&[("inject", "false"), ("bogus", "x")]), Ok(None));
        assert_eq!(wish(&[("service", "orders")]), Ok(None));
    }

    #[test]
    fn the_service_is_named_by_annotation_or_label() {
        let by = |annotations: Value| {
            let labels = json!({ NAME_LABEL: "shop" });
            let wish = Wish::of(&json!({ "annotations": annotations, "labels": labels }));
            wish.unwrap().unwrap().service
        };
        assert_eq!(by(json!({"cutline.dev/inject": "true"})), "shop");
        assert_eq!(
            by(json!({"cutline.dev/inject": "true", "cutline.dev/service": "orders"})),
            "orders"
        );
    }

    #[test]
    fn what_means_nothing_is_refused_with_its_name() {
        for (name, value) in [
            ("inject", "yes"),
            ("volume", "state"),
            ("service", "a b"),
            ("hook", "127.0.0.1:8080"),
            ("state-secret", "orders"),
        ] {
            let all = [("inject", "true"), ("service", "orders"), (name, value)];
            let said = wish(&all).unwrap_err().to_string();
            assert!(
                said.contains(&format!("CL0410 the annotation cutline.dev/{name} is")),
                "{said}"
            );
        }
        let said = wish(&[("inject", "true")]).unwrap_err().to_string();
        assert!(said.contains(NAME_LABEL), "{said}");
    }
}
