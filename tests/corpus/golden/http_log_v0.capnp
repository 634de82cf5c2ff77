@0xf42cd342ff520eca;

# For goldens only: an early version, numbers alone. Its data section is shorter, its pointer section empty.
struct HttpLogRecord {
  timestampEpochMilli @0 :UInt64;
  resourceId @1 :UInt64;
  bytesSent @2 :UInt64;
  requestTimeMilli @3 :UInt64;
}
