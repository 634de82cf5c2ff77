#!/usr/bin/env python3
"""JSON schemas of the objects that the chart makes, as kubeconform wants them, out of Kubernetes' own
description of its API and the resource definitions of the Prometheus operator.

    ops/lib/kubernetes/schemas.py FOLDER VERSION SWAGGER     FOLDER/VERSION-standalone-strict/*.json
    ops/lib/kubernetes/schemas.py FOLDER crd FILE...         FOLDER/crd/*.json

Strict: a field that the API does not know is an error, as `kubectl --validate=strict` has it.
"""

import json, os, sys

# With their groups; of everything else there is nothing to check.
KINDS = {"StatefulSet", "Service", "ServiceAccount", "ConfigMap", "PodDisruptionBudget", "NetworkPolicy"}
GROUPS = {"", "apps", "policy", "networking.k8s.io"}


def strict(node, definitions):
    """The schema with every reference in its place, and no field but those that it names."""
    if isinstance(node, list):
        return [strict(n, definitions) for n in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        # A number is taken where the API says string for these two.
        if name.endswith(".IntOrString"):
            return {"oneOf": [{"type": "string"}, {"type": "integer"}]}
        if name.endswith(".resource.Quantity"):
            return {"oneOf": [{"type": "string"}, {"type": "number"}]}
        return strict(definitions[name], definitions)
    made = {}
    for key, value in node.items():
        if key in ("properties", "patternProperties"):
            made[key] = {name: strict(of, definitions) for name, of in value.items()}
        elif not key.startswith("x-") and key != "description":
            made[key] = strict(value, definitions)
    if node.get("x-kubernetes-int-or-string"):
        return {"oneOf": [{"type": "string"}, {"type": "integer"}]}
    if "properties" in made and "additionalProperties" not in made:
        made["additionalProperties"] = False
    return made


def write(folder, kind, group, version, schema):
    os.makedirs(folder, exist_ok=True)
    words = [kind, group.partition(".")[0], version]
    name = "-".join(word.lower() for word in words if word)
    with open(f"{folder}/{name}.json", "w") as file:
        json.dump(schema, file)


def of_the_api(folder, version, swagger):
    definitions = json.load(open(swagger))["definitions"]
    found = set()
    for definition in definitions.values():
        for gvk in definition.get("x-kubernetes-group-version-kind", []):
            if gvk["kind"] in KINDS and gvk["group"] in GROUPS and gvk["version"] == "v1":
                schema = strict(definition, definitions)
                api = f"{gvk['group']}/v1".lstrip("/")
                schema["properties"]["apiVersion"] = {"const": api}
                schema["properties"]["kind"] = {"const": gvk["kind"]}
                schema["required"] = sorted({"apiVersion", "kind", "metadata", *schema.get("required", [])})
                write(f"{folder}/{version}-standalone-strict", gvk["kind"], gvk["group"], "v1", schema)
                found.add(gvk["kind"])
    if missing := KINDS - found:
        sys.exit(f"{swagger} does not describe {', '.join(sorted(missing))}")


def of_definitions(folder, files):
    import yaml

    for path in files:
        crd = yaml.load(open(path), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]
        for version in crd["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"], {})
            schema["properties"]["metadata"] = {"type": "object"}
            write(f"{folder}/crd", crd["names"]["kind"], crd["group"], version["name"], schema)


folder, what, *files = sys.argv[1:]
if what == "crd":
    of_definitions(folder, files)
else:
    of_the_api(folder, what, *files)
