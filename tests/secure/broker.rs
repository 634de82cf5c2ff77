//! One broker for all tests that run at the time, with a listener of each kind.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::issuer::{AUDIENCE, ISSUER, Signs};
use crate::support::kafka::Kafka;
use crate::support::stack::{Stack, free_port};
use crate::support::tls::Identity;

/// A listener: its name, its protocol, and the certificate that it shows.
const LISTENERS: [(&str, &str, &str); 8] = [
    ("PLAINTEXT", "PLAINTEXT", ""),
    ("TLS", "SSL", "server"),
    ("MTLS", "SSL", "server"),
    ("EXPIRED", "SSL", "expired"),
    ("ELSEWHERE", "SSL", "elsewhere"),
    ("PLAIN", "SASL_PLAINTEXT", ""),
    ("SCRAM", "SASL_SSL", "server"),
    ("OAUTH", "SASL_SSL", "server"),
];

/// Who is who: the password of all of them.
pub const PASSWORD: &str = "right-Kw3-Tb8";

pub struct Broker {
    stack: Stack,
    dir: tempfile::TempDir,
    ports: Vec<u16>,
    pub authority: Identity,
    /// The key of tokens that it takes.
    pub signs: Signs,
}

impl Broker {
    /// That of the tests that run now, or a new one.
    pub fn get() -> Arc<Broker> {
        static NOW: Mutex<Weak<Broker>> = Mutex::new(Weak::new());
        let mut now = NOW.lock().unwrap_or_else(PoisonError::into_inner);
        now.upgrade().unwrap_or_else(|| {
            let broker = Arc::new(Broker::start());
            *now = Arc::downgrade(&broker);
            broker
        })
    }

    fn start() -> Broker {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let authority = Identity::authority();
        authority.write(&at("authority.pem"));
        Identity::authority().write(&at("stranger.pem"));
        Identity::signed("127.0.0.1", &authority).write_both(&at("server.pem"));
        Identity::expired("127.0.0.1", &authority).write_both(&at("expired.pem"));
        Identity::signed("elsewhere.example", &authority).write_both(&at("elsewhere.pem"));
        let client = Identity::signed("anonymizer", &authority);
        client.write(&at("client.pem"));
        client.write_key(&at("client.key"));

        let signs = Signs::new();
        signs.write(&at("jwks.json"));
        let keys = at("jwks.json").display().to_string();

        let ports: Vec<u16> = LISTENERS.iter().map(|_| free_port()).collect();
        let controller = free_port();
        let named = |to: &str| {
            let all = LISTENERS.iter().zip(&ports);
            let all = all.map(|((name, ..), port)| format!("{name}://{to}:{port}"));
            all.collect::<Vec<_>>().join(",")
        };
        let protocols = LISTENERS.map(|(name, protocol, _)| format!("{name}:{protocol}"));
        let mut lines = vec![
            format!(
                "listeners={},CONTROLLER://127.0.0.1:{controller}",
                named("127.0.0.1")
            ),
            format!("advertised.listeners={}", named("127.0.0.1")),
            format!(
                "listener.security.protocol.map=CONTROLLER:PLAINTEXT,{}",
                protocols.join(",")
            ),
            // The certificates of clients are looked at by these.
            "ssl.truststore.type=PEM".into(),
            format!("ssl.truststore.location={}", at("authority.pem").display()),
            "listener.name.mtls.ssl.client.auth=required".into(),
            "listener.name.plain.sasl.enabled.mechanisms=PLAIN".into(),
            format!(
                "listener.name.plain.plain.sasl.jaas.config=\
                 org.apache.kafka.common.security.plain.PlainLoginModule required \
                 user_anonymizer=\"{PASSWORD}\" user_stranger=\"{PASSWORD}\" user_lonely=\"{PASSWORD}\" \
                 user_fickle=\"{PASSWORD}\";"
            ),
            "listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512".into(),
            "listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER".into(),
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer".into(),
            "super.users=User:ANONYMOUS".into(),
            "allow.everyone.if.no.acl.found=true".into(),
        ];
        let oauth = "org.apache.kafka.common.security.oauthbearer.";
        for property in [
            "sasl.jaas.config=OAuthBearerLoginModule required;",
            "sasl.server.callback.handler.class=OAuthBearerValidatorCallbackHandler",
            // It hangs up on who has no new token once the old one has ended.
            "connections.max.reauth.ms=3600000",
        ] {
            let property = property.replace("=O", &format!("={oauth}O"));
            lines.push(format!("listener.name.oauth.oauthbearer.{property}"));
        }
        // By itself it looks at no signature, no issuer and no audience.
        lines.push(format!(
            "sasl.oauthbearer.jwt.validator.class={oauth}BrokerJwtValidator"
        ));
        lines.push(format!("sasl.oauthbearer.jwks.endpoint.url=file://{keys}"));
        lines.push(format!("sasl.oauthbearer.expected.issuer={ISSUER}"));
        lines.push(format!("sasl.oauthbearer.expected.audience={AUDIENCE}"));
        for mechanism in ["256", "512"] {
            lines.push(format!(
                "listener.name.scram.scram-sha-{mechanism}.sasl.jaas.config=\
                 org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ));
        }
        for (name, _, shows) in LISTENERS.iter().filter(|(_, _, shows)| !shows.is_empty()) {
            let name = name.to_lowercase();
            let file = at(&format!("{shows}.pem"));
            lines.push(format!("listener.name.{name}.ssl.keystore.type=PEM"));
            lines.push(format!(
                "listener.name.{name}.ssl.keystore.location={}",
                file.display()
            ));
        }
        let format = ["256", "512"].map(|mechanism| {
            format!("--add-scram SCRAM-SHA-{mechanism}=[name=anonymizer,password={PASSWORD}]")
        });
        let stack = Stack::up(
            &["kafka"],
            vec![
                ("KAFKA_PORT", ports[0].to_string()),
                ("KAFKA_CONTROLLER_PORT", controller.to_string()),
                ("KAFKA_PARTITIONS", "0".into()),
                ("KAFKA_HEAP", "256m".into()),
                (
                    "KAFKA_OPTS",
                    format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://{keys}"),
                ),
                ("KAFKA_FORMAT", format.join(" ")),
                ("KAFKA_EXTRA", lines.join("\n")),
            ],
        );
        let broker = Broker {
            stack,
            dir,
            ports,
            authority,
            signs,
        };
        // Where one is denied something, nobody else is let in without being allowed.
        broker.acl(&[
            "--add",
            "--allow-principal",
            "User:*",
            "--operation",
            "All",
            "--topic",
            "*",
            "--group",
            "*",
        ]);
        broker
    }

    /// Where a listener is.
    pub fn at(&self, listener: &str) -> String {
        let at = LISTENERS.iter().position(|(name, ..)| *name == listener);
        format!("127.0.0.1:{}", self.ports[at.expect(listener)])
    }

    /// A file beside the certificates.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A topic of the test's own, as who may do all knows it.
    pub fn topic(&self, topic: &str, partitions: i32) -> Kafka {
        let kafka = Kafka::at(&self.at("PLAINTEXT"), partitions).with_topic(topic);
        kafka.create_topic();
        kafka
    }

    /// Where the logs of a topic's partition are.
    pub fn log(&self, topic: &str, partition: i32) -> PathBuf {
        let name = format!("data/kafka/{topic}-{partition}/00000000000000000000.log");
        self.stack.dir().join(name)
    }

    /// Denies what these words say, or no longer does.
    pub fn deny(&self, denies: bool, user: &str, what: &[&str]) {
        let verb: &[&str] = match denies {
            true => &["--add"],
            false => &["--remove", "--force"],
        };
        let whom = ["--deny-principal", &format!("User:{user}")];
        self.acl(&[verb, &whom, what].concat());
    }

    /// Kafka's own tool.
    fn acl(&self, words: &[&str]) {
        let tools = std::env::var("TOOLS_DIR").unwrap_or_else(|_| ".stack/tools".into());
        let out = Command::new("java")
            .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
            .arg("-Dlog4j2.configurationFile=file:ops/kafka/log4j2.properties")
            .arg("-cp")
            .arg(Path::new(&tools).join("kafka/*"))
            .arg("org.apache.kafka.tools.AclCommand")
            .args(["--bootstrap-server", &self.at("PLAINTEXT")])
            .args(words)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{said}");
    }
}
