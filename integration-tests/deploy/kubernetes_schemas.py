"""Makes strict JSON schemas, one a kind, from what Kubernetes, the Prometheus operator and cert-manager publish.

Usage: python3 kubernetes_schemas.py swagger.json CRD.json CRD.yaml … TARGET

The target directory gets KIND-GROUP-VERSION.json for every kind, as kubeconform looks for them, with one file of shared definitions
beside them. Strict: a field that the API does not know is an error, where the API server would drop it without a word.
"""

import json
import pathlib
import sys

import yaml

KINDS = "x-kubernetes-group-version-kind"
DEFINITIONS = "_definitions.json"
# Quantities and the like: the API takes a number where its description says a text.
NUMBER_OR_TEXT = {"oneOf": [{"type": "string"}, {"type": "number"}]}
LOOSE_DEFINITIONS = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": NUMBER_OR_TEXT,
    "io.k8s.apimachinery.pkg.api.resource.Quantity": NUMBER_OR_TEXT,
}


def strict(schema):
    """The schema with unknown fields refused, and references as the files have them."""
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return NUMBER_OR_TEXT
    made = dict(schema)
    for key in ("items", "additionalProperties", "not"):
        if key in schema:
            made[key] = strict(schema[key])
    for key in ("allOf", "anyOf", "oneOf"):
        if key in schema:
            made[key] = [strict(part) for part in schema[key]]
    if "properties" in schema:
        made["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    if "$ref" in schema:
        made["$ref"] = schema["$ref"].replace("#/definitions/", f"{DEFINITIONS}#/definitions/")
    return made


def file_name(kind, group, version):
    """The name kubeconform asks for: {{.ResourceKind}}{{.KindSuffix}}.json."""
    parts = [kind, *([group.split(".")[0]] if group else []), version]
    return "-".join(parts).lower() + ".json"


def top(schema, kind, group, version):
    """A document of this kind says so itself."""
    api_version = f"{group}/{version}" if group else version
    said = {"kind": {"enum": [kind]}, "apiVersion": {"enum": [api_version]}}
    return {**schema, "properties": {**schema.get("properties", {}), **said}, "required": [*schema.get("required", []), "kind", "apiVersion"]}


def kubernetes(path, target):
    """Every kind of one release."""
    definitions = json.loads(path.read_text())["definitions"]
    made = {name: LOOSE_DEFINITIONS.get(name) or strict(schema) for name, schema in definitions.items()}
    (target / DEFINITIONS).write_text(json.dumps({"definitions": made}))
    for name, schema in definitions.items():
        kinds = schema.get(KINDS, [])
        # What has no metadata cannot be applied; what has many kinds is an option, not an object.
        if len(kinds) != 1 or "metadata" not in schema.get("properties", {}):
            continue
        kind, group, version = (kinds[0][part] for part in ("kind", "group", "version"))
        (target / file_name(kind, group, version)).write_text(json.dumps(top(made[name], kind, group, version)))


def custom(path, target):
    """Every version of one custom resource."""
    # JSON is YAML.
    spec = yaml.safe_load(path.read_text())["spec"]
    for version in spec["versions"]:
        schema = strict(version["schema"]["openAPIV3Schema"])
        # The resource describes its metadata as any object.
        schema["properties"]["metadata"] = {"type": "object"}
        kind, group = spec["names"]["kind"], spec["group"]
        (target / file_name(kind, group, version["name"])).write_text(json.dumps(top(schema, kind, group, version["name"])))


def main():
    """Makes them all."""
    swagger, *resources, target = map(pathlib.Path, sys.argv[1:])
    kubernetes(swagger, target)
    for path in resources:
        custom(path, target)


main()
