#!/usr/bin/env python3
"""One value out of a JSON file; an empty line if it is not there.

    ops/lib/json_value.py FILE KEY...    a key of an object, or the number of an item
"""

import json, sys
value = json.load(open(sys.argv[1]))
for key in sys.argv[2:]:
    value = value.get(key) if isinstance(value, dict) else value[int(key)]
print("" if value is None else value)
