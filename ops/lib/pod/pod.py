#!/usr/bin/env python3
"""A pod of the rendered chart, as a container engine would be told to run it.

    pod.py MADE.yaml arguments NAME VOLUME DIR   of `docker run`, one a line; the ConfigMap's files go into DIR
    pod.py MADE.yaml probe NAME                  path, port, period, timeout, failures that are too many
    pod.py MADE.yaml group                       the fsGroup

What it has no translation for is an error: nothing of the chart is left out in silence.
"""

import os
import sys

import yaml


def take(thing, **known):
    """The values of these keys, in their order; a default for those that may be missing. No other key may be there."""
    unknown = set(thing) - set(known)
    assert not unknown, f"no translation for {sorted(unknown)}"
    missing = [key for key, default in known.items() if default is ... and key not in thing]
    assert not missing, f"without {missing}"
    return [thing.get(key, default) for key, default in known.items()]


def made(path):
    """The pod's spec, its settings, and the name of the claim of its volume."""
    all_of = [o for o in yaml.safe_load_all(open(path)) if o]
    (of,) = [o["spec"] for o in all_of if o["kind"] == "StatefulSet"]
    (claim,) = [c["metadata"]["name"] for c in of["volumeClaimTemplates"]]
    maps = {o["metadata"]["name"]: o["data"] for o in all_of if o["kind"] == "ConfigMap"}
    return of["template"]["spec"], maps, claim


def write_map(folder, data):
    """As a kubelet writes it: files are links into a folder that is itself reached by a link."""
    version = "..2026_01_01_00_00_00.1"
    os.makedirs(f"{folder}/{version}")
    for name, text in data.items():
        with open(f"{folder}/{version}/{name}", "w") as file:
            file.write(text)
        os.symlink(f"..data/{name}", f"{folder}/{name}")
    os.symlink(version, f"{folder}/..data")


def arguments(path, pod_name, volume, folder):
    spec, maps, claim = made(path)
    _, token, links, grace, secure, (container,), volumes = take(
        spec, serviceAccountName=..., automountServiceAccountToken=..., enableServiceLinks=...,
        terminationGracePeriodSeconds=..., securityContext=..., containers=..., volumes=...)
    assert token is False and links is False
    _, image, _, args, env, _, _, _, _, resources, own, mounts = take(
        container, name=..., image=..., imagePullPolicy=..., args=..., env=..., ports=..., startupProbe=...,
        livenessProbe=..., readinessProbe=..., resources=..., securityContext=..., volumeMounts=...)
    not_root, user, group, fs_group, _, seccomp = take(
        secure, runAsNonRoot=..., runAsUser=..., runAsGroup=..., fsGroup=..., fsGroupChangePolicy=..., seccompProfile=...)
    assert not_root is True and user > 0
    # An engine's own profile is what a kubelet calls this.
    assert seccomp == {"type": "RuntimeDefault"}
    escalates, read_only, capabilities = take(
        own, allowPrivilegeEscalation=..., readOnlyRootFilesystem=..., capabilities=...)
    (drop,) = take(capabilities, drop=...)
    _, limits = take(resources, requests=None, limits=...)
    (memory,) = take(limits, memory=...)

    # A kubelet asks by its own probes, not by the image's health check.
    words = ["--no-healthcheck", f"--hostname={pod_name}", f"--stop-timeout={grace}",
             f"--user={user}:{group}", f"--group-add={fs_group}", f"--memory={memory.removesuffix('i')}"]
    words += ["--read-only"] * read_only + ["--security-opt=no-new-privileges:true"] * (not escalates)
    words += [f"--cap-drop={name}" for name in drop]
    values = {}
    for entry in env:
        name, value, source = take(entry, name=..., value=None, valueFrom=None)
        assert source in (None, {"fieldRef": {"fieldPath": "metadata.name"}}), source
        values[name] = pod_name if source else value
    words += [f"--env={name}={value}" for name, value in values.items()]
    sources = {claim: volume}
    for entry in volumes:
        name, config = take(entry, name=..., configMap=...)
        sources[name] = f"{folder}/{name}"
        write_map(sources[name], maps[config["name"]])
    for entry in mounts:
        name, where, fixed = take(entry, name=..., mountPath=..., readOnly=False)
        # A claim's volume is not filled with what the image has there.
        words.append(f"--volume={sources[name]}:{where}:{'ro' if fixed else 'nocopy'}")
    for name, value in values.items():
        args = [word.replace(f"$({name})", value) for word in args]
    assert not any("$(" in word for word in args), args
    return [*words, image, *args]


def probe(path, name):
    spec, _, _ = made(path)
    (container,) = spec["containers"]
    get, period, timeout, failures = take(
        container[f"{name}Probe"], httpGet=..., periodSeconds=..., timeoutSeconds=..., failureThreshold=...)
    where, port = take(get, path=..., port=...)
    (number,) = [p["containerPort"] for p in container["ports"] if p["name"] == port]
    return [where, number, period, timeout, failures]


path, what, *rest = sys.argv[1:]
if what == "arguments":
    print(*arguments(path, *rest), sep="\n")
elif what == "probe":
    print(*probe(path, *rest))
else:
    print(made(path)[0]["securityContext"]["fsGroup"])
