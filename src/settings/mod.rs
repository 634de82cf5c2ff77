//! Settings: from what was typed to what the program can use without another check.
//!
//! A setting has one name in three spellings: the flag `--flush-interval`, the environment variable
//! `ANONYMIZER_FLUSH_INTERVAL`, and the key `"flush_interval"` of the JSON file named by `--config`
//! (or `ANONYMIZER_CONFIG`), which may have comments. The flag wins over the environment, that over
//! the file, that over the default; `ANONYMIZER_DEFAULTS` names a file of other defaults. A name that nobody knows is an error in each of the three, so
//! that a slip of the pen never becomes a silent default.
//!
//! There are two types. [`Settings`] is what was typed: strings. [`Config`] is what holds: times,
//! bytes and addresses within their bounds, so no stage checks anything again. The `settings!` table
//! below is the only place where a name, its type, default, bounds and help are written.

mod error;
mod file;
mod flags;
mod json;
mod options;
mod parse;
mod properties;
mod source;
#[cfg(test)]
mod tests;
mod tokens;
mod variables;

pub use error::{ConfigError, Origin};
pub use file::{example, schema};
pub use flags::{names, reference, show};

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::clickhouse::AllowedDuplicates;
use crate::kafka::oauth;
use crate::privacy::policy::{Ipv4Bits, Ipv6Bits, Query};
use crate::queue::PackedFormat;
use crate::runtime::logging::Format;
use crate::runtime::room::Amount;
use crate::runtime::secret;
use crate::store::QuarantineFull;
use parse::{DAY, GIB, HOUR, KIB, MIB};
use source::Raw;

const LOG_FORMAT: &str = "log_format";

/// What every environment variable of a setting begins with.
pub const ENV_PREFIX: &str = "ANONYMIZER_";

/// One row of the table: everything about a setting that can be said without its type.
struct Setting {
    name: &'static str,
    default: &'static str,
    example: &'static str,
    value_name: &'static str,
    help: &'static str,
    /// What the parser takes, in words that follow "is not".
    accepted: fn() -> String,
    /// Whether the parser takes this.
    takes: fn(&str) -> bool,
}

/// Turns the table into [`Config`], [`TABLE`] and [`Config::check`].
macro_rules! settings {
    ($($name:ident: $type:ty = $default:literal, $parse:expr, $value_name:literal, $example:literal, $help:literal;)*) => {
        /// The settings, checked: every value is within its bounds. Made by [`Settings::load`].
        ///
        /// The fields are public and may be changed in a test; [`Config::describe`] then still tells
        /// what was loaded.
        #[derive(Clone)]
        pub struct Config {
            $(#[doc = $help] pub $name: $type,)*
            /// Properties handed to librdkafka as they are, for consumer and producer alike. None of
            /// them is one that the program has to set itself.
            pub kafka_properties: BTreeMap<String, String>,
            /// Name, value and source of each setting; secrets are already covered.
            shown: Vec<(String, String, String)>,
            /// What is not wrong, and better otherwise.
            warnings: Vec<String>,
        }

        static TABLE: &[Setting] = &[$(Setting {
            name: stringify!($name),
            default: $default,
            example: $example,
            value_name: $value_name,
            help: $help,
            // No parser takes a NUL, so this asks the parser itself; bounds are written only once.
            accepted: || { let parse = $parse; parse("\0").err().unwrap_or_default() },
            takes: |text| { let parse = $parse; parse(text).is_ok() },
        },)*];

        impl Config {
            /// Parses and bounds every value.
            fn check(raw: &Raw) -> Result<Self, ConfigError> {
                Config {
                    $($name: raw.parse(stringify!($name), $parse)?,)*
                    kafka_properties: properties::check(raw.properties())?,
                    shown: raw.shown(),
                    warnings: raw.warnings(),
                }
                .with_one_password()?
                .with_whole_pairs()?
                .with_one_source_of_tokens()
            }
        }
    };
}

settings! {
    kafka_brokers: String = "localhost:9092", parse::brokers,
        "HOST:PORT,...", "kafka-1:9092,kafka-2:9092", "Kafka brokers to ask first";
    kafka_topic: String = "http_log", parse::topic,
        "TOPIC", "http_log", "Topic to read (produce: to write)";
    kafka_group: String = "anonymizer", parse::word,
        "GROUP", "anonymizer", "Consumer group; the committed offsets belong to it";
    kafka_start: KafkaStart = "earliest", parse::kafka_start,
        "WHERE", "earliest", "Where to begin in a partition without any offset, here or in Kafka";
    kafka_password_file: Option<PathBuf> = "", parse::optional_path,
        "FILE", "/run/secrets/kafka", "File whose first line is the password for Kafka (sasl.password)";
    kafka_client_secret_file: Option<PathBuf> = "", parse::optional_path,
        "FILE", "/run/secrets/kafka-client", "File whose first line is the client secret at a token endpoint (OAUTHBEARER)";
    kafka_token_file: Option<PathBuf> = "", parse::optional_path,
        "FILE", "/run/secrets/kafka-token", "File with a token for OAUTHBEARER, in place of an endpoint; read anew in time";
    mask_ipv4_bits: Ipv4Bits = "8", parse::ipv4_bits,
        "BITS", "16", "Bits cut off the end of an IPv4 address, also one within an IPv6 address";
    mask_ipv6_bits: Ipv6Bits = "80", parse::ipv6_bits,
        "BITS", "96", "Bits cut off the end of an IPv6 address";
    mask_url_query: Query = "keep", parse::query,
        "WHAT", "drop", "What becomes of the query of a URL, from its first ? or # on";
    mask_url_parameters: Vec<String> = "", parse::parameters,
        "NAME,...", "token,session", "Parameters of a URL whose values become X, by their names";
    mask_url_addresses: bool = "false", parse::boolean,
        "BOOL", "true", "Make each part of a URL an X that holds an IP or a mail address";
    data_dir: PathBuf = "./data", parse::path,
        "DIR", "/var/lib/anonymizer", "Directory of the queue; one process owns it";
    clickhouse_url: String = "http://localhost:8124", parse::url,
        "URL", "http://ch-proxy:8124", "Where ClickHouse, or the proxy before it, answers HTTP";
    clickhouse_database: String = "default", parse::identifier,
        "NAME", "default", "Database of the tables";
    clickhouse_table: String = "http_log", parse::identifier,
        "NAME", "http_log", "Table of the rows";
    clickhouse_user: Option<String> = "", parse::user,
        "USER", "anonymizer", "User to insert as; without one, the server's default user";
    clickhouse_password_file: Option<PathBuf> = "", parse::optional_path,
        "FILE", "/run/secrets/clickhouse", "File whose first line is that user's password";
    clickhouse_ca_file: Option<PathBuf> = "", parse::optional_path,
        "FILE", "/etc/anonymizer/ca.pem", "Authorities (PEM) to trust for https, in place of the system's";
    clickhouse_certificate_file: Option<PathBuf> = "", parse::optional_path,
        "FILE", "/etc/anonymizer/client.pem", "Our certificate (PEM) for an https server that asks for one";
    clickhouse_key_file: Option<PathBuf> = "", parse::optional_path,
        "FILE", "/etc/anonymizer/client.key", "The key (PEM) of that certificate, without a passphrase";
    flush_interval: Duration = "63s", parse::time(Duration::from_secs(1), DAY),
        "TIME", "63s", "Smallest time between the starts of two requests; nginx's 1r/m passes one in 62.5 s";
    request_timeout: Duration = "2m", parse::time(Duration::from_secs(1), HOUR),
        "TIME", "2m", "Longest time a request may take; its outcome is unknown afterwards";
    max_body_bytes: u64 = "64MiB", parse::bytes(128 * KIB, GIB),
        "SIZE", "64MiB", "Largest request body; learns down from the proxy's 413 and probes up again";
    max_batch_rows: u64 = "1000000", parse::count(1, 10_000_000),
        "ROWS", "1000000", "Most rows in one insert, which ClickHouse takes as one block";
    packed_format: PackedFormat = "rowbinary", parse::packed_format,
        "FORMAT", "native", "Format of bodies packed under a backlog: rowbinary, or native for more rows in each";
    max_queue_bytes: Amount = "90%,100GiB", parse::amount(64 * MIB),
        "SIZE", "50%", "Most bytes the queue may hold; at that, reading from Kafka pauses";
    min_free_disk: Amount = "10%,2GiB", parse::amount(0),
        "SIZE", "2GiB", "Free space on the queue's disk below which reading from Kafka pauses";
    max_quarantine_bytes: Amount = "10%,1GiB", parse::amount(MIB),
        "SIZE", "1GiB", "Most bytes of messages in quarantine; at that, see quarantine_full";
    quarantine_full: QuarantineFull = "pause", parse::quarantine_full,
        "WHAT", "pause", "What a full quarantine does: pause reading, or lose its oldest messages";
    sync_interval: Duration = "250ms", parse::time(Duration::from_millis(10), Duration::from_secs(10)),
        "TIME", "250ms", "Longest time a record waits before it is made durable";
    keep_delivered: Duration = "0s", parse::time(Duration::ZERO, 30 * DAY),
        "TIME", "6h", "How long a delivered batch stays on the disk, for `replay --delivered`; max_queue_bytes counts it";
    keep_counts: Duration = "40d", parse::time(DAY, 400 * DAY),
        "TIME", "40d", "How long rows are counted by the minute of their time, for `reconcile`; older ones by day";
    freshness_target: Duration = "5m", parse::time(Duration::from_secs(10), DAY),
        "TIME", "10m", "Age up to which what is not in ClickHouse yet counts as fresh, for the alert on it";
    no_create_tables: bool = "false", parse::boolean,
        "BOOL", "true", "Wait when a table or view is missing, instead of creating it";
    allow_duplicates: AllowedDuplicates = "none", parse::allowed_duplicates,
        "TABLES", "http_log", "Tables to insert into though they do not recognise a resend, so that it is stored again";
    http_listen: SocketAddr = "127.0.0.1:9464", parse::address,
        "ADDR:PORT", "0.0.0.0:9464", "Where /metrics, /healthz and /readyz are served";
    http_certificate_file: Option<PathBuf> = "", parse::optional_path,
        "FILE", "/etc/anonymizer/page.pem", "Our certificate (PEM) for these pages, which are then served by https";
    http_key_file: Option<PathBuf> = "", parse::optional_path,
        "FILE", "/etc/anonymizer/page.key", "The key (PEM) of that certificate, without a passphrase";
    http_user: Option<String> = "", parse::user,
        "USER", "operator", "User to whom these pages are shown, but /healthz and /readyz to everybody";
    http_password_file: Option<PathBuf> = "", parse::optional_path,
        "FILE", "/run/secrets/page", "File whose first line is that user's password";
    log_format: Format = "text", parse::log_format,
        "FORMAT", "json", "How lines on stderr are written: text for people, or json, one object a line";
}

/// Where to begin in a partition for which neither the queue nor Kafka has an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaStart {
    /// At the oldest record that Kafka still holds.
    Earliest,
    /// After the newest: what was there before is not read.
    Latest,
    /// Nowhere: stop and let the operator decide.
    Stop,
}

/// What was typed on the command line; the raw half of the configuration.
///
/// `#[command(flatten)]` it into the command line, once at the top: the flags are then taken before
/// and after the name of a command.
#[derive(Clone, Default)]
pub struct Settings {
    /// `--config`.
    config: Option<String>,
    /// Setting and value, for those that were given; `kafka_properties` once for each.
    flags: Vec<(&'static str, String)>,
}

impl Settings {
    /// Reads the process's environment and the file, if one is named, and checks all of it.
    ///
    /// # Errors
    /// The first thing wrong: a name nobody knows, a value that is not taken, an unreadable file.
    pub fn load(&self) -> Result<Config, ConfigError> {
        self.load_from(std::env::vars_os())
    }

    /// The same with an environment that is passed in, so that a test can choose it.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load_from(
        &self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Config, ConfigError> {
        Config::check(&Raw::gather(self, environment)?)
    }

    /// How the log is to be written, also where the settings cannot be used: their error is written so, too.
    #[must_use]
    pub fn log_format(&self) -> Format {
        source::log_format(self, std::env::vars_os())
    }
}

/// The same where the command line cannot be read.
#[must_use]
pub fn log_format_of(args: impl IntoIterator<Item = OsString>) -> Format {
    let flag = flag_name(LOG_FORMAT);
    let mut settings = Settings::default();
    let mut args = args.into_iter().map(|a| a.to_string_lossy().into_owned());
    while let Some(arg) = args.next() {
        let value = match arg.strip_prefix(&flag) {
            Some("") => args.next(),
            Some(rest) => rest.strip_prefix('=').map(str::to_owned),
            None => None,
        };
        settings
            .flags
            .extend(value.map(|value| (LOG_FORMAT, value)));
    }
    settings.log_format()
}

impl Config {
    /// Name, value and source of every setting in the table's order, then each Kafka property.
    /// Passwords and keys show as `***`.
    #[must_use]
    pub fn describe(&self) -> Vec<(String, String, String)> {
        self.shown.clone()
    }

    /// What is not wrong, and better otherwise, in words for a person.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut all = self.warnings.clone();
        if self.http_user.is_some()
            && self.http_certificate_file.is_none()
            && !self.http_listen.ip().is_loopback()
        {
            all.push(format!(
                "http_user's password comes over {} in the clear; give http_certificate_file and http_key_file",
                self.http_listen
            ));
        }
        all
    }

    /// A password in a file and one beside it would leave open which holds.
    fn with_one_password(self) -> Result<Self, ConfigError> {
        match &self.kafka_password_file {
            Some(_) if self.kafka_properties.contains_key("sasl.password") => {
                Err(ConfigError::TwoPasswords)
            }
            _ => Ok(self),
        }
    }

    /// One half would leave the page open to everybody who was to be kept out.
    fn with_whole_pairs(self) -> Result<Self, ConfigError> {
        let (certificate, key) = (&self.http_certificate_file, &self.http_key_file);
        let (user, password) = (&self.http_user, &self.http_password_file);
        for [one, other] in [
            [
                ("http_certificate_file", certificate.is_some()),
                ("http_key_file", key.is_some()),
            ],
            [
                ("http_user", user.is_some()),
                ("http_password_file", password.is_some()),
            ],
        ] {
            let (given, missing) = match (one.1, other.1) {
                (true, false) => (one.0, other.0),
                (false, true) => (other.0, one.0),
                _ => continue,
            };
            return Err(ConfigError::Half { given, missing });
        }
        Ok(self)
    }

    /// A librdkafka configuration with the brokers, the `kafka_properties` and the password in it.
    /// See [`Config::tokens`] for what librdkafka does not take.
    ///
    /// # Errors
    /// [`ConfigError::PasswordFile`].
    pub fn kafka_client(&self) -> Result<rdkafka::ClientConfig, ConfigError> {
        let mut client = rdkafka::ClientConfig::new();
        for (name, value) in &self.kafka_properties {
            if !oauth::PROPERTIES.contains(&name.as_str()) {
                client.set(name, value);
            }
        }
        client.set("bootstrap.servers", &self.kafka_brokers);
        if let Some(path) = &self.kafka_password_file {
            client.set("sasl.password", password("kafka_password_file", path)?);
        }
        Ok(crate::kafka::with_the_systems(client))
    }

    /// Reads the password: the first line of `clickhouse_password_file`; `None` without such a file.
    /// `run` reads it at the start, and again whenever ClickHouse refuses it.
    ///
    /// # Errors
    /// [`ConfigError::PasswordFile`] if the file cannot be read or its first line is empty.
    pub fn clickhouse_password(&self) -> Result<Option<String>, ConfigError> {
        let path = self.clickhouse_password_file.as_ref();
        path.map(|path| password("clickhouse_password_file", path))
            .transpose()
    }
}

/// The first line of a file.
fn password(setting: &'static str, path: &Path) -> Result<String, ConfigError> {
    secret::read(path).map_err(|reason| ConfigError::PasswordFile {
        setting,
        path: path.to_owned(),
        reason,
    })
}

/// Shows what [`Config::describe`] does, so that a `{:?}` in a log line shows no secret either.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.shown.iter().map(|(name, value, _)| (name, value)))
            .finish()
    }
}

/// Shows only names: a value may be a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.flags.iter().map(|(name, _)| name))
            .finish()
    }
}

/// `flush_interval` -> `--flush-interval`.
fn flag_name(setting: &str) -> String {
    format!("--{}", setting.replace('_', "-"))
}

/// `flush_interval` -> `ANONYMIZER_FLUSH_INTERVAL`.
fn env_name(setting: &str) -> String {
    format!("{ENV_PREFIX}{}", setting.to_uppercase())
}
