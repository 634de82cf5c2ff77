//! What may be done with each property of librdkafka, and why. One that is missing here cannot be set;
//! a test compares the table with all that the linked librdkafka lists.

/// What may be done with a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Any value that librdkafka takes.
    Free,
    /// A number from the first to the second.
    Within(i64, i64),
    /// This value and no other.
    Only(&'static str),
    /// Nothing.
    Never,
    /// One of these values, or any if there are none. It is ours, and librdkafka does not see it.
    Ours(&'static [&'static str]),
}

use Decision::{Free, Never, Only, Ours, Within};

/// Properties of one decision, and its reason as the end of `it ...`.
pub(super) struct Group {
    pub(super) decision: Decision,
    pub(super) why: &'static str,
    pub(super) names: &'static [&'static str],
}

const fn group(decision: Decision, why: &'static str, names: &'static [&'static str]) -> Group {
    Group {
        decision,
        why,
        names,
    }
}

const MEMBERS: &str =
    "decides how the group shares its partitions, in which all its instances must agree";
const OFFSETS: &str =
    "would let offsets move before their rows are on the disk: records would be lost";
const PRODUCER: &str =
    "is set by produce, which counts a record only when all replicas have it, once";
const TOKENS: &str = "says where tokens come from, which the program fetches itself";
const OLD_BROKERS: &str =
    "would speak to the brokers as to those of 2015, without transactions and epochs";

/// By librdkafka's own names; see [`ALIASES`] for the others.
pub(super) const TABLE: &[Group] = &[
    group(
        Never,
        "has a setting of its own: kafka_brokers",
        &["metadata.broker.list"],
    ),
    group(
        Never,
        "has a setting of its own: kafka_group",
        &["group.id"],
    ),
    group(
        Never,
        "is made of the installation's id: two instances with the same one throw each other out",
        &["group.instance.id"],
    ),
    group(
        Only("cooperative-sticky"),
        MEMBERS,
        &["partition.assignment.strategy"],
    ),
    group(Only("classic"), MEMBERS, &["group.protocol"]),
    group(
        Never,
        MEMBERS,
        &["group.protocol.type", "group.remote.assignor"],
    ),
    group(
        Only("false"),
        OFFSETS,
        &[
            "enable.auto.commit",
            "auto.commit.enable",
            "enable.auto.offset.store",
        ],
    ),
    group(
        Never,
        OFFSETS,
        &[
            "auto.commit.interval.ms",
            "offset.store.method",
            "offset.store.path",
            "offset.store.sync.interval.ms",
        ],
    ),
    group(
        Never,
        "would jump over records that Kafka no longer holds without a word; kafka_start says where to begin",
        &["auto.offset.reset"],
    ),
    group(
        Only("read_committed"),
        "would store the records of transactions that were aborted",
        &["isolation.level"],
    ),
    group(
        Only("true"),
        "finds records that were damaged on their way",
        &["check.crcs"],
    ),
    group(
        Only("false"),
        "would make a topic of a misspelt name, or anew of one that was deleted",
        &["allow.auto.create.topics"],
    ),
    group(
        Never,
        "could hide the topic: nothing would be read",
        &["topic.blacklist"],
    ),
    group(
        Within(1, 3_600_000),
        "finds the partitions that are added to the topic",
        &["topic.metadata.refresh.interval.ms"],
    ),
    group(
        Within(300_000, 86_400_000),
        "bounds an assignment, which waits up to four minutes for Kafka's answers",
        &["max.poll.interval.ms"],
    ),
    group(
        Only("false"),
        "changes what the consumer is told, and the program needs to hear of errors only",
        &["enable.partition.eof"],
    ),
    group(
        Never,
        "is part of the program's own code, not of its settings",
        &[
            "background_event_cb",
            "closesocket_cb",
            "connect_cb",
            "consume.callback.max.messages",
            "consume_cb",
            "default_topic_conf",
            "dr_cb",
            "dr_msg_cb",
            "enabled_events",
            "error_cb",
            "interceptors",
            "internal.termination.signal",
            "log.queue",
            "log_cb",
            "msg_order_cmp",
            "oauthbearer_token_refresh_cb",
            "offset_commit_cb",
            "opaque",
            "open_cb",
            "partitioner_cb",
            "rebalance_cb",
            "resolve_cb",
            "socket_cb",
            "ssl.certificate.verify_cb",
            "ssl_ca",
            "ssl_certificate",
            "ssl_engine_callback_data",
            "ssl_key",
            "stats_cb",
            "throttle_cb",
        ],
    ),
    group(
        Never,
        "loads code that may change every other property",
        &["plugin.library.paths"],
    ),
    group(Only("true"), OLD_BROKERS, &["api.version.request"]),
    group(
        Never,
        OLD_BROKERS,
        &["api.version.fallback.ms", "broker.version.fallback"],
    ),
    group(Only("all"), PRODUCER, &["request.required.acks"]),
    group(Only("true"), PRODUCER, &["enable.idempotence"]),
    group(Only("false"), PRODUCER, &["delivery.report.only.error"]),
    group(
        Never,
        PRODUCER,
        &["transactional.id", "transaction.timeout.ms"],
    ),
    group(
        Free,
        "tells the brokers who asks",
        &["client.id", "client.rack", "enable.metrics.push"],
    ),
    group(
        Free,
        "says how brokers are reached: whatever fails is tried again",
        &[
            "api.version.request.timeout.ms",
            "broker.address.family",
            "broker.address.ttl",
            "client.dns.lookup",
            "connections.max.idle.ms",
            "coordinator.query.interval.ms",
            "max.in.flight.requests.per.connection",
            "metadata.max.age.ms",
            "metadata.recovery.rebootstrap.trigger.ms",
            "metadata.recovery.strategy",
            "reconnect.backoff.jitter.ms",
            "reconnect.backoff.max.ms",
            "reconnect.backoff.ms",
            "retry.backoff.max.ms",
            "retry.backoff.ms",
            "socket.blocking.max.ms",
            "socket.connection.setup.timeout.ms",
            "socket.keepalive.enable",
            "socket.max.fails",
            "socket.nagle.disable",
            "socket.receive.buffer.bytes",
            "socket.send.buffer.bytes",
            "socket.timeout.ms",
            "topic.metadata.propagation.max.ms",
            "topic.metadata.refresh.fast.cnt",
            "topic.metadata.refresh.fast.interval.ms",
            "topic.metadata.refresh.sparse",
        ],
    ),
    group(
        Ours(&[]),
        TOKENS,
        &[
            "https.ca.location",
            "sasl.oauthbearer.client.id",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.scope",
            "sasl.oauthbearer.token.endpoint.url",
        ],
    ),
    group(
        Ours(&["client_credentials"]),
        TOKENS,
        &["sasl.oauthbearer.grant.type"],
    ),
    group(Ours(&["oidc"]), TOKENS, &["sasl.oauthbearer.method"]),
    group(
        Never,
        "belongs to a way to tokens that is not built in: there are client credentials \
         (sasl.oauthbearer.token.endpoint.url) and kafka_token_file",
        &[
            "enable.sasl.oauthbearer.unsecure.jwt",
            "https.ca.pem",
            "sasl.oauthbearer.assertion.algorithm",
            "sasl.oauthbearer.assertion.claim.aud",
            "sasl.oauthbearer.assertion.claim.exp.seconds",
            "sasl.oauthbearer.assertion.claim.iss",
            "sasl.oauthbearer.assertion.claim.jti.include",
            "sasl.oauthbearer.assertion.claim.nbf.seconds",
            "sasl.oauthbearer.assertion.claim.sub",
            "sasl.oauthbearer.assertion.file",
            "sasl.oauthbearer.assertion.jwt.template.file",
            "sasl.oauthbearer.assertion.private.key.file",
            "sasl.oauthbearer.assertion.private.key.passphrase",
            "sasl.oauthbearer.assertion.private.key.pem",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.extensions",
            "sasl.oauthbearer.metadata.authentication.type",
        ],
    ),
    group(
        Free,
        "is between you and your brokers: a wrong one cannot connect",
        &[
            "enable.ssl.certificate.verification",
            "sasl.kerberos.keytab",
            "sasl.kerberos.kinit.cmd",
            "sasl.kerberos.min.time.before.relogin",
            "sasl.kerberos.principal",
            "sasl.kerberos.service.name",
            "sasl.mechanisms",
            "sasl.password",
            "sasl.username",
            "security.protocol",
            "ssl.ca.certificate.stores",
            "ssl.ca.location",
            "ssl.ca.pem",
            "ssl.certificate.location",
            "ssl.certificate.pem",
            "ssl.cipher.suites",
            "ssl.crl.location",
            "ssl.curves.list",
            "ssl.endpoint.identification.algorithm",
            "ssl.engine.id",
            "ssl.engine.location",
            "ssl.key.location",
            "ssl.key.password",
            "ssl.key.pem",
            "ssl.keystore.location",
            "ssl.keystore.password",
            "ssl.providers",
            "ssl.sigalgs.list",
        ],
    ),
    group(
        Free,
        "costs time or memory, and a member that is too slow is fenced",
        &[
            "fetch.error.backoff.ms",
            "fetch.max.bytes",
            "fetch.message.max.bytes",
            "fetch.min.bytes",
            "fetch.queue.backoff.ms",
            "fetch.wait.max.ms",
            "heartbeat.interval.ms",
            "message.copy.max.bytes",
            "message.max.bytes",
            "queued.max.messages.kbytes",
            "queued.min.messages",
            "receive.message.max.bytes",
            "session.timeout.ms",
        ],
    ),
    group(
        Free,
        "changes what is logged",
        &[
            "builtin.features",
            "debug",
            "enable.random.seed",
            "log.connection.close",
            "log.thread.name",
            "log_level",
            "statistics.interval.ms",
        ],
    ),
    group(
        Free,
        "is for produce, which fails when a record is not taken",
        &[
            "batch.num.messages",
            "batch.size",
            "compression.codec",
            "compression.level",
            "enable.gapless.guarantee",
            "message.send.max.retries",
            "message.timeout.ms",
            "partitioner",
            "produce.offset.report",
            "queue.buffering.backpressure.threshold",
            "queue.buffering.max.kbytes",
            "queue.buffering.max.messages",
            "queue.buffering.max.ms",
            "queuing.strategy",
            "request.timeout.ms",
            "sticky.partitioning.linger.ms",
        ],
    ),
];

/// Other names of librdkafka's for its properties.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("acks", "request.required.acks"),
    ("bootstrap.servers", "metadata.broker.list"),
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("linger.ms", "queue.buffering.max.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("retries", "message.send.max.retries"),
    ("sasl.mechanism", "sasl.mechanisms"),
    (
        "sasl.oauthbearer.client.credentials.client.id",
        "sasl.oauthbearer.client.id",
    ),
    (
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.client.secret",
    ),
];
