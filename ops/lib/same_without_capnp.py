#!/usr/bin/env python3
"""Whether build.rs makes the same code without the capnp compiler as it made with it.

    cargo check --message-format json >DIR/messages; ops/lib/same_without_capnp.py DIR
"""

import json, os, subprocess, sys

work = sys.argv[1]
for line in open(f"{work}/messages"):
    m = json.loads(line)
    if "anonymizer" not in m.get("package_id", "").rpartition("/")[2]:
        continue
    if m["reason"] == "compiler-artifact" and m["target"]["kind"] == ["custom-build"]:
        script = m["filenames"][0]
    if m["reason"] == "build-script-executed":
        made = m["out_dir"]
subprocess.run([script], check=True, stdout=subprocess.DEVNULL,
               env={**os.environ, "OUT_DIR": work, "ANONYMIZER_NO_CAPNP": "1", "ANONYMIZER_COMMIT": "x"})
name = "http_log_capnp.rs"
if open(f"{work}/{name}").read() != open(f"{made}/{name}").read():
    sys.exit("build.rs makes other code without the capnp compiler than with it")
print("build.rs makes the same code with the capnp compiler and without it")
