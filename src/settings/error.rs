//! What can be wrong with the settings, in words that tell the operator what to change where.

use std::{fmt, path::PathBuf};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line, by this flag.
    Flag(String),
    /// The environment, by this variable.
    Environment(String),
    /// The JSON file at this path.
    File(PathBuf),
    /// A credential of systemd, at this path.
    Credential(PathBuf),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(name) => write!(f, "flag {name}"),
            Origin::Environment(name) => write!(f, "environment variable {name}"),
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Credential(path) => write!(f, "credential {}", path.display()),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// Why the settings cannot be used. Nothing has been started, and nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value that its setting does not take. `value` is already covered if it may be a secret.
    #[error("{setting}: {value:?} ({origin}) is not {accepted}; for example {example}")]
    Value {
        /// The setting's name as in the file.
        setting: &'static str,
        /// What was given.
        value: String,
        /// Where it was given.
        origin: Box<Origin>,
        /// What is taken.
        accepted: String,
        /// One such value.
        example: &'static str,
    },
    /// A librdkafka property that cannot be used, or that the program must set itself.
    #[error(
        "kafka_properties: {property} ({origin}) {reason}; for example fetch.min.bytes=1048576"
    )]
    Property {
        /// The property's name.
        property: String,
        /// Where it was given.
        origin: Box<Origin>,
        /// What is wrong with it.
        reason: String,
    },
    /// The environment has an `ANONYMIZER_` variable that is no setting.
    #[error("unknown environment variable {name}{hint}")]
    UnknownVariable {
        /// The variable's name.
        name: String,
        /// The nearest name there is, as the end of a sentence.
        hint: String,
    },
    /// The file has a key that is no setting.
    #[error("unknown key {key:?} in {}{hint}", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The nearest name there is, as the end of a sentence.
        hint: String,
    },
    /// The variable's value is not Unicode.
    #[error("environment variable {name} is not valid UTF-8")]
    NotUnicode {
        /// The variable's name.
        name: String,
    },
    /// The file cannot be read.
    #[error("cannot read the settings in {} ({origin}): {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Where the file's name was given.
        origin: Box<Origin>,
        /// The system's words.
        cause: std::io::Error,
    },
    /// The file is not one JSON object, or has a key twice.
    #[error("cannot use the settings in {}: {cause}; for example {{\"flush_interval\": \"63s\"}}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The place and the fault.
        cause: serde_json::Error,
    },
    /// A secret on the command line.
    #[error(
        "kafka_properties: {property} on the command line is shown to everybody on this machine (ps); give it \
         by {by}the environment or the settings file"
    )]
    SecretFlag {
        /// The property's name.
        property: String,
        /// A setting for it, with a comma behind.
        by: &'static str,
    },
    /// The password for Kafka twice.
    #[error(
        "kafka_properties: sasl.password is given, and kafka_password_file, too; give one of them"
    )]
    TwoPasswords,
    /// One of two settings that are of use only together.
    #[error("{given} is given without {missing}; give both or none")]
    Half {
        /// The one that is there.
        given: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// Tokens for Kafka from nowhere, or from two places.
    #[error("kafka_properties: {problem}")]
    Tokens {
        /// What is missing, or there twice.
        problem: String,
    },
    /// The password file cannot be used.
    #[error("{setting}: cannot use {}: {reason}", path.display())]
    PasswordFile {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}
