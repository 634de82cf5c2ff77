@0xf42cd342ff520eca;

# For goldens only: a later version. `edgeId` fills the hole beside `responseStatus`, `cacheAgeMilli` makes the
# data section grow, `tags` and `next` make the pointer section grow.
struct HttpLogRecord {
  timestampEpochMilli @0 :UInt64;
  resourceId @1 :UInt64;
  bytesSent @2 :UInt64;
  requestTimeMilli @3 :UInt64;
  responseStatus @4 :UInt16;
  cacheStatus @5 :Text;
  method @6 :Text;
  remoteAddr @7 :Text;
  url @8 :Text;
  edgeId @9 :UInt32;
  cacheAgeMilli @10 :UInt64;
  tags @11 :List(Text);
  next @12 :HttpLogRecord;
}
