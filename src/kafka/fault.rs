//! Why Kafka does not let us in: of what librdkafka's lines and codes say, one reason out of a few, each with
//! a sentence and what to do. Told by `check`, the status, a metric and an alert.

mod reason;

use std::fmt;

use rdkafka::error::RDKafkaErrorCode;

pub use reason::Reason;

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
}
