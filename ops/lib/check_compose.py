#!/usr/bin/env python3
"""The rules of the compose file that its parser does not know; run in the root of the repository.

    ops/lib/check_compose.py MODEL    MODEL is the file as compose-go understood it, in JSON
"""

import glob, json, os, re, sys

root = os.getcwd()
model = json.load(open(sys.argv[1]))
services = model["services"]
wrong = []

def check(good, text):
    if not good:
        wrong.append(text)

if re.search(r"^version:", open("docker-compose.yml").read(), re.M):
    wrong.append("docker-compose.yml has the key `version`: it is obsolete, remove it")

waited_for = {n for s in services.values() for n, d in s.get("depends_on", {}).items()
              if d["condition"] == "service_completed_successfully"}
mounted = set()
for name, s in services.items():
    image = s.get("image", "")
    tag = image.split("@")[0].rpartition("/")[2].partition(":")[2]
    check(re.search(r"\d", tag) and tag != "latest",
          f"service {name}: image `{image}` has no version tag; pin one, as in image:1.2.3")

    one_shot = name in waited_for
    if one_shot:
        check(s.get("restart") == "no", f"service {name} runs once; say restart: \"no\"")
    else:
        health = s.get("healthcheck", {})
        check(health.get("test") and not health.get("disable"),
              f"service {name} has no health check; add `healthcheck`")
        check(s.get("restart"), f"service {name} has no restart policy; add `restart: unless-stopped`")

    for other, d in s.get("depends_on", {}).items():
        check(other in services, f"service {name} depends on `{other}`, which does not exist")
        check(d["condition"] != "service_started",
              f"service {name} waits only for the start of {other}; use condition: service_healthy")

    for port in s.get("ports", []):
        out = port.get("published")
        check(port.get("host_ip") == "127.0.0.1",
              f"service {name} publishes port {out} on every address; write 127.0.0.1:{out}:...")

    paths = [v["source"] for v in s.get("volumes", []) if v["type"] == "bind"]
    mounted.update(paths)
    build = s.get("build")
    if build:
        paths += [build["context"], os.path.join(build["context"], build.get("dockerfile", "Dockerfile"))]
    for path in paths:
        rel = os.path.relpath(path, root)
        check(not rel.startswith(".."), f"service {name} mounts {path}, which is outside the repository")
        check(os.path.exists(path), f"service {name} uses {rel}, which does not exist; add the file or correct the path")
        check(not os.path.isdir(path) or os.listdir(path), f"service {name} uses the folder {rel}, which is empty")
        # Templates are filled in from the environment; what is missing there would stay as it is written.
        if os.path.isfile(path) and path in mounted:
            text = re.sub(r"^\s*#.*", "", open(path).read(), flags=re.M)
            for variable in sorted(set(re.findall(r"\$\{([A-Z_]+)\}", text)) - set(s.get("environment", {}))):
                wrong.append(f"service {name}: {rel} wants ${{{variable}}}; set it under `environment`")

    # Of our own program we know that it needs nothing of this.
    if image.startswith("anonymizer:"):
        check(s.get("read_only") and s.get("cap_drop") == ["ALL"]
              and "no-new-privileges:true" in s.get("security_opt", []),
              f"service {name} runs our program with privileges; add read_only, cap_drop and no-new-privileges")

    for v in s.get("volumes", []):
        if v["type"] == "volume":
            check(v.get("source") in model.get("volumes", {}),
                  f"service {name}: volume {v.get('source')} is not declared under `volumes`")

# A datasource whose plugin is not installed leaves every panel empty.
grafana = services.get("grafana", {}).get("environment", {})
preinstalled = {p.split("@")[0] for p in grafana.get("GF_PLUGINS_PREINSTALL", "").split(",")}
sources = open("ops/grafana/provisioning/datasources/datasources.yml").read()
for kind in set(re.findall(r"^\s*type:\s*(\S+)", sources, re.M)) - {"prometheus"}:
    check(kind in preinstalled, f"service grafana: the datasource plugin {kind} is not in GF_PLUGINS_PREINSTALL")

main = services.get("anonymizer", {})
data = main.get("environment", {}).get("ANONYMIZER_DATA_DIR")
check(any(v["type"] == "volume" and v["target"] == data for v in main.get("volumes", [])),
      f"service anonymizer keeps its queue in {data}, which is no named volume: "
      "it would be lost with the container")

# What is compiled in must be in the image's build context.
context = [line[1:].rstrip("/") for line in open(".dockerignore").read().split("\n") if line.startswith("!")]
for path in glob.glob("src/**/*.rs", recursive=True):
    if path.endswith("tests.rs"):
        continue
    text = open(path).read().split("#[cfg(test)]\nmod tests {")[0]
    for name in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', text):
        rel = os.path.normpath(os.path.join(os.path.dirname(path), name))
        check(any(rel == c or rel.startswith(c + "/") for c in context),
              f"{path} compiles in {rel}, which .dockerignore keeps out of the image's build")

for text in wrong:
    print("FAILED   ", text)
if not wrong:
    print(f"ok        {len(services)} services: pinned images, health checks, 127.0.0.1 only, "
          f"{len(mounted)} mounted paths exist, their variables are set")
sys.exit(bool(wrong))
