//! A pod with a sidecar in it: the pure function of a pod, its wish, and the template.
//!
//! Doing it twice does nothing the second time. A pod that has a container of the sidecar's name already keeps that one.

use serde_json::{Map, Value, json};

use super::{
    template::Template,
    wish::{Refusal, Wish},
};

/// `pod` with its sidecar; `pod` itself is left alone.
///
/// # Errors
/// When there is no place for one.
pub fn with_sidecar(pod: &Value, wish: &Wish, template: &Template) -> Result<Value, Refusal> {
    check_shape(pod)?;
    let mut made = pod.clone();
    let spec = &mut made["spec"];
    if spec["hostNetwork"] == true {
        return Err(Refusal::Pod(
            "it is in the node's network, where others would reach its Kafka port".to_owned(),
        ));
    }
    let has_one = |list: &Value| {
        let containers = list.as_array().into_iter().flatten();
        containers
            .clone()
            .any(|container| container["name"] == template.name())
    };
    if !has_one(&spec["initContainers"]) && !has_one(&spec["containers"]) {
        let sidecar = sidecar(spec, wish, template)?;
        // First, so that it is up before everything else that may speak to Kafka.
        list(spec, "initContainers").insert(0, sidecar);
    }
    for volume in &template.volumes {
        let volumes = list(spec, "volumes");
        if !volumes.iter().any(|other| other["name"] == volume["name"]) {
            volumes.push(volume.clone());
        }
    }
    if let Some(variable) = &wish.bootstrap_variable {
        rewrite(spec, variable, template);
    }
    for (name, value) in &template.labels {
        made["metadata"]["labels"][name] = value.clone();
    }
    Ok(made)
}

/// The changes from `old` to `new` as a JSON patch (RFC 6902): whole members of the pod that are not what they were.
pub fn patch(old: &Value, new: &Value) -> Vec<Value> {
    let members = [
        "/metadata/labels",
        "/spec/initContainers",
        "/spec/containers",
        "/spec/volumes",
    ];
    let changed = members
        .into_iter()
        .filter(|member| old.pointer(member) != new.pointer(member));
    // Adding a member that is there replaces it.
    changed
        .map(|member| json!({ "op": "add", "path": member, "value": new.pointer(member) }))
        .collect()
}

/// That `pod` has the shape of one, as whatever the API server asks about has.
fn check_shape(pod: &Value) -> Result<(), Refusal> {
    let spec = &pod["spec"];
    let is_list = |name: &&str| match &spec[*name] {
        Value::Null => true,
        list => list
            .as_array()
            .is_some_and(|list| list.iter().all(Value::is_object)),
    };
    let labels = &pod["metadata"]["labels"];
    let has_shape = spec.is_object()
        && (labels.is_null() || labels.is_object())
        && ["containers", "initContainers", "volumes"]
            .iter()
            .all(is_list);
    match has_shape {
        true => Ok(()),
        false => Err(Refusal::Pod("it is none".to_owned())),
    }
}

fn sidecar(spec: &Value, wish: &Wish, template: &Template) -> Result<Value, Refusal> {
    let mut sidecar = Value::Object(template.container.clone());
    set(
        &mut sidecar,
        "CUTLINE_SERVICE",
        &json!({ "value": wish.service }),
    );
    for (name, value) in &wish.variables {
        set(&mut sidecar, name, value);
    }
    for volume in &wish.volumes {
        let mount = mount_of(spec, volume).ok_or_else(|| {
            Refusal::Pod(format!(
                "none of its containers mounts the volume {volume:?} that cutline.dev/volumes names"
            ))
        })?;
        list(&mut sidecar, "volumeMounts").push(mount);
    }
    Ok(sidecar)
}

/// Where the application has `volume`; the sidecar may write there, as it puts state back.
fn mount_of(spec: &Value, volume: &str) -> Option<Value> {
    let containers = spec["containers"].as_array()?.iter();
    let mut mounts = containers.filter_map(|container| container["volumeMounts"].as_array());
    let mut mount = mounts.find_map(|mounts| {
        let found = mounts.iter().find(|mount| mount["name"] == volume);
        found.cloned()
    })?;
    mount.as_object_mut()?.remove("readOnly");
    Some(mount)
}

/// Lets the application find Kafka at its sidecar. Every container gets the variable, as it may have it from a ConfigMap, which a
/// variable of its own overrides; containers that run before only where they have it.
fn rewrite(spec: &mut Value, variable: &str, template: &Template) {
    let value = json!({ "value": template.bootstrap });
    for container in list(spec, "containers") {
        set(container, variable, &value);
    }
    let before = spec.get_mut("initContainers").and_then(Value::as_array_mut);
    let before = before.into_iter().flatten();
    for container in before.filter(|container| container["name"] != template.name()) {
        let known = container["env"].as_array().into_iter().flatten();
        if known.clone().any(|known| known["name"] == variable) {
            set(container, variable, &value);
        }
    }
}

/// Gives a container a variable, instead of any of that name.
fn set(container: &mut Value, name: &str, value: &Value) {
    let mut entry = Map::from_iter([("name".to_owned(), json!(name))]);
    entry.extend(value.as_object().cloned().unwrap_or_default());
    let entry = Value::Object(entry);
    let variables = list(container, "env");
    match variables.iter_mut().find(|known| known["name"] == name) {
        Some(known) => *known = entry,
        None => variables.push(entry),
    }
}

/// The list under `name`, made where there is none.
fn list<'a>(object: &'a mut Value, name: &str) -> &'a mut Vec<Value> {
    let list = &mut object[name];
    if !list.is_array() {
        *list = json!([]);
    }
    list.as_array_mut().expect("it was made one a moment ago")
}
