#!/usr/bin/env python3
"""Whether each file named on the command line compiles; nothing is written."""

import sys
for file in sys.argv[1:]:
    compile(open(file).read(), file, "exec")
print(len(set(sys.argv[1:])), "files compile")
