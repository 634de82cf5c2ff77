//! The kinds of faults, each with a stable word and what to do.

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

#[cfg(test)]
mod tests {
    use super::*;

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
