//! Why Kafka does not let us in: of what librdkafka's lines and codes say, one reason out of a few, each with
//! a sentence and what to do. Told by `check`, the status, a metric and an alert.

use std::fmt;

use rdkafka::error::RDKafkaErrorCode;

/// The kinds. Each has a stable word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The user or the password.
    Password,
    /// The way in which the password is told.
    Mechanism,
    /// A token is (OAUTHBEARER).
    TokenRefused,
    /// Who gives tokens is out of reach.
    TokenEndpoint,
    /// It does not know us.
    TokenClient,
    /// What it gives is no token.
    TokenAnswer,
    /// The file of a token has none.
    TokenFile,
    /// SASL where there is none.
    NoSasl,
    /// No SASL where there is.
    WantsSasl,
    /// TLS where there is none.
    NoTls,
    /// No TLS where there is.
    WantsTls,
    /// An authority that is not trusted.
    Authority,
    /// A certificate that is too old, or not valid yet.
    Expired,
    /// The certificate of another host.
    HostName,
    /// Another fault of the broker's certificate.
    Certificate,
    /// The broker does not take ours.
    ClientCertificate,
    /// Another fault of TLS.
    Tls,
    /// The topic is somebody else's.
    TopicDenied,
    /// The group is.
    GroupDenied,
    /// There is no such topic.
    NoTopic,
    /// The name leads nowhere.
    Resolve,
    /// Nobody listens.
    Refused,
}

/// Words and remedies.
type Row = (Reason, &'static str, &'static str);

const TABLE: [Row; 22] = [
    (
        Reason::Password,
        "password",
        "set sasl.username in kafka_properties, and the password (kafka_password_file) to what the broker knows",
    ),
    (
        Reason::Mechanism,
        "mechanism",
        "set sasl.mechanisms in kafka_properties to one that it takes",
    ),
    (
        Reason::TokenRefused,
        "token-refused",
        "compare audience, issuer and scope of the token with what the broker wants, the issuer's keys with those \
         that it trusts, and the clocks",
    ),
    (
        Reason::TokenEndpoint,
        "token-endpoint",
        "look at the endpoint and at what lies between, or set sasl.oauthbearer.token.endpoint.url and \
         https.ca.location in kafka_properties, and kafka_client_secret_file",
    ),
    (
        Reason::TokenClient,
        "token-client",
        "set sasl.oauthbearer.client.id and sasl.oauthbearer.scope in kafka_properties, and the secret \
         (kafka_client_secret_file) to what the endpoint knows",
    ),
    (
        Reason::TokenAnswer,
        "token-answer",
        "set sasl.oauthbearer.token.endpoint.url in kafka_properties to a token endpoint (OAuth 2.0)",
    ),
    (
        Reason::TokenFile,
        "token-file",
        "look at who writes it, or set kafka_token_file",
    ),
    (
        Reason::NoSasl,
        "no-sasl",
        "set security.protocol in kafka_properties to plaintext or ssl, or kafka_brokers to the port with SASL",
    ),
    (
        Reason::WantsSasl,
        "wants-sasl",
        "set security.protocol in kafka_properties to sasl_plaintext or sasl_ssl, and sasl.*",
    ),
    (
        Reason::NoTls,
        "no-tls",
        "set security.protocol in kafka_properties to plaintext or sasl_plaintext, or kafka_brokers to the port \
         with TLS",
    ),
    (
        Reason::WantsTls,
        "wants-tls",
        "set security.protocol in kafka_properties to ssl or sasl_ssl, or kafka_brokers to the port without TLS",
    ),
    (
        Reason::Authority,
        "authority",
        "set ssl.ca.location in kafka_properties to the file of the authority that signed it",
    ),
    (
        Reason::Expired,
        "expired",
        "have the broker's certificate renewed, and look at the clocks",
    ),
    (
        Reason::HostName,
        "host-name",
        "name the brokers, in kafka_brokers and in their advertised.listeners, as their certificates do",
    ),
    (
        Reason::Certificate,
        "certificate",
        "see security.protocol and ssl.ca.location in kafka_properties",
    ),
    (
        Reason::ClientCertificate,
        "client-certificate",
        "set ssl.certificate.location and ssl.key.location in kafka_properties to a pair that is valid, and of an \
         authority that the broker trusts",
    ),
    (
        Reason::Tls,
        "tls",
        "see security.protocol and ssl.* in kafka_properties",
    ),
    (
        Reason::TopicDenied,
        "topic-denied",
        "give the user the right (ACL) to DESCRIBE and READ the topic",
    ),
    (
        Reason::GroupDenied,
        "group-denied",
        "give the user the right (ACL) to READ the group, or set kafka_group",
    ),
    (Reason::NoTopic, "no-topic", "create it, or set kafka_topic"),
    (
        Reason::Resolve,
        "resolve",
        "look at the name service, or set kafka_brokers",
    ),
    (
        Reason::Refused,
        "refused",
        "look at the brokers and at what lies between, or set kafka_brokers",
    ),
];

impl Reason {
    /// The words of all of them.
    pub const WORDS: [&'static str; TABLE.len()] = {
        let mut words = [""; TABLE.len()];
        let mut at = 0;
        while at < words.len() {
            words[at] = TABLE[at].1;
            at += 1;
        }
        words
    };

    /// By its word.
    pub fn of(word: &str) -> Option<Reason> {
        let row = TABLE.iter().find(|(_, w, _)| *w == word);
        row.map(|(reason, ..)| *reason)
    }

    fn row(self) -> &'static Row {
        let row = TABLE.iter().find(|(reason, ..)| *reason == self);
        row.expect("BUG: a reason without its row")
    }

    /// Its stable word.
    pub fn word(self) -> &'static str {
        self.row().1
    }

    /// What to do.
    pub fn remedy(self) -> &'static str {
        self.row().2
    }

    /// Whether it stays until a person acts. Brokers that are away come back.
    pub fn needs_a_person(self) -> bool {
        !matches!(self, Reason::Resolve | Reason::Refused)
    }

    /// Whether it is concluded from a broker that hangs up, as one that is being stopped does, too; or that
    /// refuses SASL, as one does that is told another token within a second.
    pub fn is_a_guess(self) -> bool {
        matches!(
            self,
            Reason::NoTls | Reason::WantsTls | Reason::WantsSasl | Reason::NoSasl
        )
    }

    /// Whether a broker was reached, which refuses the topic or the group.
    pub fn is_of_the_topic_or_group(self) -> bool {
        matches!(
            self,
            Reason::TopicDenied | Reason::GroupDenied | Reason::NoTopic
        )
    }
}

/// One that was met. Shows as a sentence, with librdkafka's or the broker's own words where they say more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind it is.
    pub reason: Reason,
    /// The broker, `host:port`; the topic's or the group's name.
    pub whose: String,
    /// More words, or none.
    pub words: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = &self.whose;
        match self.reason {
            Reason::Password => write!(f, "{whose} refuses the user or password (SASL)"),
            Reason::Mechanism => write!(f, "{whose} does not take this SASL mechanism"),
            Reason::TokenRefused => write!(f, "{whose} refuses the token (SASL OAUTHBEARER)"),
            Reason::TokenEndpoint => write!(f, "no token from {whose}"),
            Reason::TokenClient => write!(f, "{whose} refuses the client, and gives no token"),
            Reason::TokenAnswer => write!(f, "{whose} does not answer as a token endpoint does"),
            Reason::TokenFile => write!(f, "no token in {whose}"),
            Reason::NoSasl => write!(f, "{whose} is a port without SASL"),
            Reason::WantsSasl => write!(
                f,
                "{whose} hangs up on who tells no user and password, as a port with SASL does"
            ),
            Reason::NoTls => write!(
                f,
                "no TLS with {whose}: it hangs up at the handshake, as a port without TLS does"
            ),
            Reason::WantsTls => write!(
                f,
                "{whose} hangs up on a connection without TLS, as a port with TLS does"
            ),
            Reason::Authority => write!(
                f,
                "no TLS with {whose}: its certificate is of an authority that is not trusted"
            ),
            Reason::Expired => write!(
                f,
                "no TLS with {whose}: its certificate has expired, or is not valid yet"
            ),
            Reason::HostName => write!(
                f,
                "no TLS with {whose}: its certificate is for another host"
            ),
            Reason::Certificate => {
                write!(f, "no TLS with {whose}: its certificate cannot be verified")
            }
            Reason::ClientCertificate => write!(
                f,
                "{whose} does not take our certificate, or wants one and gets none"
            ),
            Reason::Tls => write!(f, "no TLS with {whose}"),
            Reason::TopicDenied => write!(f, "the user may not read the topic {whose}"),
            Reason::GroupDenied => write!(f, "the user may not use the group {whose}"),
            Reason::NoTopic => write!(f, "there is no topic {whose}"),
            Reason::Resolve => write!(f, "the name of {whose} cannot be found"),
            Reason::Refused => write!(f, "nobody listens at {whose}"),
        }?;
        if !self.words.is_empty() {
            write!(f, ": {}", self.words)?;
        }
        Ok(())
    }
}

impl Fault {
    /// What a line of librdkafka's about a connection says, as
    /// `[thrd:x]: ssl://host:9093/1: SSL handshake failed: ... (after 27ms in state SSL_HANDSHAKE)`.
    pub fn of_line(line: &str) -> Option<Fault> {
        let line = line.split_once("]: ").map_or(line, |(_, rest)| rest);
        let (name, said) = line.split_once(": ")?;
        let (said, how) = said.rsplit_once(" (after ").unwrap_or((said, ""));
        let (protocol, rest) = name.split_once("://").unwrap_or(("plaintext", name));
        let protocol = protocol.to_ascii_lowercase();
        let whose = rest.split_once('/').map_or(rest, |(whose, _)| whose);
        let (reason, words) = reason(said, how, &protocol)?;
        Some(Fault {
            reason,
            whose: whose.to_owned(),
            words: words.to_owned(),
        })
    }

    /// Whether the broker's certificate is refused.
    pub fn is_of_a_certificate(&self) -> bool {
        matches!(
            self.reason,
            Reason::Certificate | Reason::Authority | Reason::Expired | Reason::HostName
        )
    }

    /// What a code says of the topic or the group.
    pub fn of_code(code: RDKafkaErrorCode, topic: &str, group: &str) -> Option<Fault> {
        let (reason, whose) = match code {
            RDKafkaErrorCode::TopicAuthorizationFailed => (Reason::TopicDenied, topic),
            RDKafkaErrorCode::GroupAuthorizationFailed => (Reason::GroupDenied, group),
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
                (Reason::NoTopic, topic)
            }
            _ => return None,
        };
        Some(Fault {
            reason,
            whose: whose.to_owned(),
            words: String::new(),
        })
    }
}

/// Which kind it is by the words, which of these say more than our sentence, if any.
fn reason<'a>(said: &'a str, how: &str, protocol: &str) -> Option<(Reason, &'a str)> {
    let has = |words: &str| said.contains(words);
    let after = |words: &str| said.split_once(words).map_or(said, |(_, rest)| rest);
    Some(if has("mechanism handshake failed") {
        match after("supported mechanisms:").trim() {
            "" => (Reason::NoSasl, ""),
            _ => (Reason::Mechanism, said),
        }
    } else if has("SASL authentication ") {
        (Reason::Password, after(": "))
    } else if has("certificate verify failed") || has("Failed to verify broker certificate") {
        (Reason::Certificate, "")
    } else if has(" alert ") && has("certificate") || has("alert unknown ca") {
        (Reason::ClientCertificate, said)
    } else if has("Failed to resolve") {
        (Reason::Resolve, after("': "))
    } else if has("Connection refused") {
        (Reason::Refused, "Connection refused")
    } else if has("PLAINTEXT broker listener")
        || has("wrong version number")
        || has("Disconnected") && how.contains("SSL_HANDSHAKE")
    {
        (Reason::NoTls, "")
    } else if has("SSL handshake failed") {
        (Reason::Tls, after("SSL handshake failed: "))
    } else if has("Disconnected") && how.contains("APIVERSION_QUERY") && !protocol.contains("ssl") {
        (Reason::WantsTls, "")
    } else if has("Disconnected") && is_at_once(how) && !protocol.contains("sasl") {
        (Reason::WantsSasl, "")
    } else {
        return None;
    })
}

/// Whether a broker hung up right after it was connected.
fn is_at_once(how: &str) -> bool {
    let ms = how.split_once("ms in state UP");
    ms.is_some_and(|(ms, _)| ms.parse().is_ok_and(|ms: u64| ms < 2000))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of librdkafka 2.12.1 against Apache Kafka 4.1.1.
    #[test]
    fn each_line_has_its_reason() {
        let f = |line: &str, want: Reason| {
            let fault = Fault::of_line(line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(fault.reason, want, "{line}");
            assert_eq!(fault.whose, "b:1", "{line}");
        };
        f(
            "[thrd:sasl_ssl://b:1/bootstrap]: sasl_ssl://b:1/bootstrap: SASL authentication error: Authentication \
             failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512 (after \
             314ms in state AUTH_REQ)",
            Reason::Password,
        );
        f(
            "sasl_plaintext://b:1/1: SASL SCRAM-SHA-256 mechanism handshake failed: Broker: Unsupported SASL \
             mechanism: broker's supported mechanisms: PLAIN (after 304ms in state AUTH_HANDSHAKE)",
            Reason::Mechanism,
        );
        f(
            "sasl_ssl://b:1/bootstrap: SASL PLAIN mechanism handshake failed: Broker: Request not valid in current \
             SASL state: broker's supported mechanisms:  (after 1ms in state AUTH_HANDSHAKE)",
            Reason::NoSasl,
        );
        f(
            "ssl://b:1/bootstrap: SSL handshake failed: Disconnected: SSL connection closed by peer: connecting to \
             a PLAINTEXT broker listener? (after 18ms in state SSL_HANDSHAKE)",
            Reason::NoTls,
        );
        f(
            "ssl://b:1/bootstrap: Disconnected: SSL connection closed by peer (after 2ms in state SSL_HANDSHAKE)",
            Reason::NoTls,
        );
        f(
            "b:1/bootstrap: Disconnected: connection closed by peer: receive 0 after POLLIN (after 6ms in state \
             APIVERSION_QUERY, 1 identical error(s) suppressed)",
            Reason::WantsTls,
        );
        for line in [
            "ssl://b:1/bootstrap: Disconnected: SSL connection closed by peer (after 1ms in state UP)",
            "b:1/bootstrap: Disconnected: connection closed by peer: receive 0 after POLLIN (after 6ms in state UP)",
        ] {
            f(line, Reason::WantsSasl);
        }
        for line in [
            "ssl://b:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: \
             broker certificate could not be verified, verify that ssl.ca.location is correctly configured or root \
             CA certificates are installed (install ca-certificates package) (after 27ms in state SSL_HANDSHAKE)",
            "ssl://b:1/bootstrap: error:0A000086:SSL routines::certificate verify failed (after 14ms in state \
             SSL_HANDSHAKE)",
        ] {
            f(line, Reason::Certificate);
        }
        for line in [
            "ssl://b:1/bootstrap: Receive failed: error:0A000412:SSL routines::sslv3 alert bad certificate: SSL \
             alert number 42 (after 3ms in state APIVERSION_QUERY)",
            "ssl://b:1/bootstrap: Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required: \
             SSL alert number 116 (after 3ms in state APIVERSION_QUERY)",
        ] {
            f(line, Reason::ClientCertificate);
        }
        f(
            "b:1/bootstrap: Failed to resolve 'b:1': Name or service not known (after 5ms in state CONNECT)",
            Reason::Resolve,
        );
        f(
            "b:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)",
            Reason::Refused,
        );
    }

    /// A broker that stops, or an idle connection that it closes, is no fault of ours.
    #[test]
    fn what_passes_by_itself_is_none() {
        for line in [
            "b:1/1: Disconnected: connection closed by peer: receive 0 after POLLIN (after 600012ms in state UP)",
            "sasl_ssl://b:1/1: Disconnected: SSL connection closed by peer (after 6ms in state UP)",
            "b:1/1: 1 request(s) timed out: disconnect (average rtt 1.2ms) (after 60012ms in state UP)",
        ] {
            assert_eq!(Fault::of_line(line), None, "{line}");
        }
    }

    #[test]
    fn every_reason_has_its_row() {
        for word in Reason::WORDS {
            assert_eq!(Reason::of(word).unwrap().word(), word);
        }
        // The last of the list; one more makes the table longer.
        assert_eq!(Reason::Refused as usize + 1, TABLE.len());
        for (at, (reason, ..)) in TABLE.iter().enumerate() {
            assert_eq!(*reason as usize, at);
        }
    }
}
