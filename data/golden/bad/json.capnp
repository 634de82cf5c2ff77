{"timestampEpochMilli": 1700000000123, "remoteAddr": "203.0.113.9", "url": "/"}
