//! Where tokens for SASL OAUTHBEARER come from, as the settings say.

use super::{Config, ConfigError};
use crate::kafka::oauth::{ENDPOINT, Endpoint, MECHANISM, Secret, Source};

const CLIENT: &str = "sasl.oauthbearer.client.id";
const SECRET: &str = "sasl.oauthbearer.client.secret";

impl Config {
    /// Where tokens come from; `None` if Kafka is not come to by tokens.
    #[must_use]
    pub fn tokens(&self) -> Option<Source> {
        self.source().ok().flatten()
    }

    /// Refuses what leaves open where tokens come from.
    pub(super) fn with_one_source_of_tokens(self) -> Result<Self, ConfigError> {
        match self.source() {
            Ok(_) => Ok(self),
            Err(problem) => Err(ConfigError::Tokens { problem }),
        }
    }

    fn source(&self) -> Result<Option<Source>, String> {
        let given = |name: &str| self.kafka_properties.get(name).cloned();
        if given("sasl.mechanisms").as_deref() != Some(MECHANISM) {
            return Ok(None);
        }
        let url = match (given(ENDPOINT), self.kafka_token_file.clone()) {
            (None, Some(path)) => return Ok(Some(Source::File(path))),
            (Some(url), None) => url,
            (one, _) => {
                let how = match one {
                    Some(_) => "by two ways; give one of them",
                    None => "by none; give one of them",
                };
                return Err(format!(
                    "sasl.mechanism is {MECHANISM}, and tokens come by {ENDPOINT} or kafka_token_file: {how}"
                ));
            }
        };
        if !is_url(&url) {
            return Err(format!(
                "{ENDPOINT} is not an http:// or https:// address without user, password and fragment"
            ));
        }
        let needs = |what: &str| format!("{ENDPOINT} is given without {what}");
        let secret = match (given(SECRET), self.kafka_client_secret_file.clone()) {
            (None, Some(path)) => Secret::File(path),
            (Some(text), None) => Secret::Text(text),
            (None, None) => return Err(needs("kafka_client_secret_file")),
            _ => {
                return Err(format!(
                    "{SECRET} is given, and kafka_client_secret_file, too; give one of them"
                ));
            }
        };
        Ok(Some(Source::Endpoint(Endpoint {
            url,
            client: given(CLIENT).ok_or_else(|| needs(CLIENT))?,
            secret,
            scope: given("sasl.oauthbearer.scope"),
            ca: given("https.ca.location").map(Into::into),
        })))
    }
}

fn is_url(text: &str) -> bool {
    let uri: Result<ureq::http::Uri, _> = text.parse();
    uri.is_ok_and(|uri| {
        let authority = uri.authority().map_or("", |a| a.as_str());
        matches!(uri.scheme_str(), Some("http" | "https"))
            && !authority.is_empty()
            && !authority.contains('@')
            && !text.contains('#')
    })
}
