//! What clients are made of: properties, and files that somebody may replace: certificates, keys, the password.
//! librdkafka reads a file once, so that what is renewed takes a new client.

use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use xxhash_rust::xxh3::Xxh3;

use super::oauth::Tokens;
use crate::runtime::secret::first_line;

/// Properties that name a file.
const FILES: [&str; 5] = [
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.crl.location",
];

/// The setting that names the password's.
const PASSWORD_FILE: &str = "kafka_password_file";

/// See the module.
#[derive(Clone)]
pub struct Recipe {
    config: ClientConfig,
    password_file: Option<PathBuf>,
    tokens: Option<Arc<Tokens>>,
}

/// What the files hold, as far as it can be told whether it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print(u64);

impl Recipe {
    pub(super) fn new(
        config: ClientConfig,
        password_file: Option<PathBuf>,
        tokens: Option<Arc<Tokens>>,
    ) -> Recipe {
        Recipe {
            config,
            password_file,
            tokens,
        }
    }

    /// Where all of its clients have their tokens from, if that is how they get in.
    pub(super) fn tokens(&self) -> Option<&Arc<Tokens>> {
        self.tokens.as_ref()
    }

    /// Every property, and the password as it is now.
    ///
    /// # Errors
    /// In words, if a file cannot be read: librdkafka does not say which.
    pub fn config(&self) -> Result<ClientConfig, KafkaError> {
        let mut config = self.config.clone();
        for (name, path) in self.files() {
            let words = |reason: &str| {
                KafkaError::ClientCreation(format!(
                    "{name}: cannot use {}: {reason}",
                    path.display()
                ))
            };
            let held = fs::read(&path).map_err(|e| words(&e.to_string()))?;
            if name == PASSWORD_FILE {
                let text = String::from_utf8(held).map_err(|_| words("it is not UTF-8"))?;
                config.set("sasl.password", first_line(&text).map_err(words)?);
            }
        }
        Ok(config)
    }

    /// What the files hold now; `None` while one cannot be read, as for the moment of its replacement.
    pub fn print(&self) -> Option<Print> {
        let mut hash = Xxh3::new();
        for (_, path) in self.files() {
            fs::read(path).ok()?.hash(&mut hash);
        }
        Some(Print(hash.finish()))
    }

    fn files(&self) -> Vec<(&str, PathBuf)> {
        let named = FILES.iter().filter_map(|name| {
            let path = Path::new(self.config.get(name)?);
            // A folder of authorities, or librdkafka's word for a look around.
            let is_file = !path.is_dir() && path != Path::new("probe");
            is_file.then(|| (*name, path.to_owned()))
        });
        let password = self.password_file.clone();
        named
            .chain(password.map(|path| (PASSWORD_FILE, path)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_renewed_is_noticed_and_what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut config = ClientConfig::new();
        config.set("ssl.ca.location", at("ca").display().to_string());
        let recipe = Recipe::new(config, Some(at("password")), None);
        let said = recipe.config().unwrap_err().to_string();
        assert!(said.contains("ssl.ca.location: cannot use /"), "{said}");
        assert_eq!(recipe.print(), None);
        fs::write(at("ca"), "one").unwrap();
        fs::write(at("password"), "\n").unwrap();
        let said = recipe.config().unwrap_err().to_string();
        assert!(said.contains("kafka_password_file: cannot use /"), "{said}");
        assert!(said.contains("first line is empty"), "{said}");
        fs::write(at("password"), "secret\nmore").unwrap();
        assert_eq!(
            recipe.config().unwrap().get("sasl.password"),
            Some("secret")
        );
        let before = recipe.print().unwrap();
        assert_eq!(recipe.print(), Some(before));
        fs::write(at("password"), "other").unwrap();
        assert_ne!(recipe.print(), Some(before));
        assert_eq!(recipe.config().unwrap().get("sasl.password"), Some("other"));
    }
}
