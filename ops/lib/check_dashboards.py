#!/usr/bin/env python3
"""Whether the panels name datasources that are provisioned; run in the root of the repository."""

import glob, json, re, sys

provisioned = set(re.findall(r"^\s*uid:\s*(\S+)", open("ops/grafana/provisioning/datasources/datasources.yml").read(), re.M))
wrong, seen = [], {}
files = sorted(glob.glob("ops/grafana/dashboards/*.json"))

def used(node):
    if isinstance(node, dict):
        source = node.get("datasource")
        if isinstance(source, dict):
            yield source.get("uid")
        for value in node.values():
            yield from used(value)
    elif isinstance(node, list):
        for value in node:
            yield from used(value)

for file in files:
    try:
        board = json.load(open(file))
    except ValueError as e:
        wrong.append(f"{file} is no JSON: {e}")
        continue
    uid = board.get("uid")
    if not uid or uid in seen:
        wrong.append(f"{file}: its uid {uid!r} is missing or also in {seen.get(uid)}; give it one of its own")
    seen[uid] = file
    ids = [p["id"] for p in board.get("panels", [])]
    if len(ids) != len(set(ids)):
        wrong.append(f"{file}: two panels have the same id")
    for source in set(used(board)) - provisioned - {"-- Grafana --", "-- Mixed --"}:
        wrong.append(f"{file} uses the datasource {source!r}; provisioned are {', '.join(sorted(provisioned))}")
if not files:
    wrong.append("ops/grafana/dashboards has no dashboard")
for text in wrong:
    print("FAILED   ", text)
if not wrong:
    print(f"ok        {len(files)} Grafana dashboards: JSON, and their datasources are provisioned")
sys.exit(bool(wrong))
