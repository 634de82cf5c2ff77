//! Settings: from what was typed to what the program can use without another check.
//!
//! A setting has one name in three spellings: the flag `--flush-interval`, the environment variable
//! `ANONYMIZER_FLUSH_INTERVAL`, and the key `"flush_interval"` of the JSON file named by `--config`
//! (or `ANONYMIZER_CONFIG`). The flag wins over the environment, that over the file, that over the
//! default. A name that nobody knows is an error in each of the three, so that a slip of the pen
//! never becomes a silent default.
//!
//! There are two types. [`Settings`] is what was typed: strings. [`Config`] is what holds: times,
//! bytes and addresses within their bounds, so no stage checks anything again. The `settings!` table
//! below is the only place where a name, its type, default, bounds and help are written.

mod error;
mod parse;
mod properties;
mod source;
#[cfg(test)]
mod tests;

pub use error::{ConfigError, Origin};

use std::{
    collections::BTreeMap, ffi::OsString, fmt, fs, net::SocketAddr, path::PathBuf, time::Duration,
};

use crate::queue::PackedFormat;
use parse::{DAY, GIB, HOUR, KIB, MIB};
use source::Raw;

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
        }

        static TABLE: &[Setting] = &[$(Setting {
            name: stringify!($name),
            default: $default,
            example: $example,
            value_name: $value_name,
            help: $help,
            // No parser takes a NUL, so this asks the parser itself; bounds are written only once.
            accepted: || { let parse = $parse; parse("\0").err().unwrap_or_default() },
        },)*];

        impl Config {
            /// Parses and bounds every value.
            fn check(raw: &Raw) -> Result<Self, ConfigError> {
                Ok(Config {
                    $($name: raw.parse(stringify!($name), $parse)?,)*
                    kafka_properties: properties::check(raw)?,
                    shown: raw.shown(),
                })
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
    max_queue_bytes: u64 = "100GiB", parse::bytes(64 * MIB, u64::MAX),
        "SIZE", "100GiB", "Most bytes the queue may hold; at that, reading from Kafka pauses";
    min_free_disk: u64 = "2GiB", parse::bytes(0, u64::MAX),
        "SIZE", "2GiB", "Free space on the queue's disk below which reading from Kafka pauses";
    max_quarantine_bytes: u64 = "1GiB", parse::bytes(MIB, u64::MAX),
        "SIZE", "1GiB", "Most bytes of messages in quarantine; at that, see quarantine_full";
    quarantine_full: QuarantineFull = "pause", parse::quarantine_full,
        "WHAT", "pause", "What a full quarantine does: pause reading, or lose its oldest messages";
    sync_interval: Duration = "250ms", parse::time(Duration::from_millis(10), Duration::from_secs(10)),
        "TIME", "250ms", "Longest time a record waits before it is made durable";
    keep_delivered: Duration = "0s", parse::time(Duration::ZERO, 30 * DAY),
        "TIME", "6h", "How long a delivered batch stays on the disk, for `replay --delivered`; max_queue_bytes counts it";
    keep_counts: Duration = "40d", parse::time(DAY, 400 * DAY),
        "TIME", "40d", "How long rows are counted by the minute of their time, for `reconcile`; older ones by day";
    no_create_tables: bool = "false", parse::boolean,
        "BOOL", "true", "Wait when a table or view is missing, instead of creating it";
    http_listen: SocketAddr = "127.0.0.1:9464", parse::address,
        "ADDR:PORT", "0.0.0.0:9464", "Where /metrics, /healthz and /readyz are served";
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

/// What happens when the quarantine is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuarantineFull {
    /// Reading from Kafka pauses until a person makes room.
    Pause,
    /// The oldest messages are dropped, each named in the log.
    DropOldest,
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
}

impl Config {
    /// Name, value and source of every setting in the table's order, then each Kafka property.
    /// Passwords and keys show as `***`.
    #[must_use]
    pub fn describe(&self) -> Vec<(String, String, String)> {
        self.shown.clone()
    }

    /// A librdkafka configuration with the brokers and all `kafka_properties` in it.
    #[must_use]
    pub fn kafka_client(&self) -> rdkafka::ClientConfig {
        let mut client = rdkafka::ClientConfig::new();
        for (name, value) in &self.kafka_properties {
            client.set(name, value);
        }
        client.set("bootstrap.servers", &self.kafka_brokers);
        client
    }

    /// Reads the password: the first line of `clickhouse_password_file`; `None` without such a file.
    /// `run` reads it once, so a changed password needs a restart.
    ///
    /// # Errors
    /// [`ConfigError::PasswordFile`] if the file cannot be read or its first line is empty.
    pub fn clickhouse_password(&self) -> Result<Option<String>, ConfigError> {
        let Some(path) = &self.clickhouse_password_file else {
            return Ok(None);
        };
        let error = |reason: String| ConfigError::PasswordFile {
            path: path.clone(),
            reason,
        };
        let text = fs::read_to_string(path).map_err(|e| error(e.to_string()))?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(Some(line.to_string())),
            _ => Err(error("its first line is empty".into())),
        }
    }
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

impl clap::Args for Settings {
    fn augment_args(mut command: clap::Command) -> clap::Command {
        let arg = |name: &'static str, value_name: &'static str, help: String| {
            // clap wants names that live for ever; these twenty may.
            let long: &'static str = name.replace('_', "-").leak();
            clap::Arg::new(name)
                .long(long)
                .value_name(value_name)
                .help(help)
                .help_heading("Settings")
                .global(true)
        };
        let help = format!("JSON file with settings by name [env: {ENV_PREFIX}CONFIG]");
        command = command.arg(arg("config", "FILE", help));
        for setting in TABLE {
            let mut help = format!("{}. Takes {}", setting.help, (setting.accepted)());
            help += &format!(" [env: {}]", env_name(setting.name));
            if !setting.default.is_empty() {
                help += &format!(" [default: {}]", setting.default);
            }
            let mut one = arg(setting.name, setting.value_name, help);
            if setting.value_name == "BOOL" {
                // `--no-create-tables` alone says true; `--no-create-tables=false` is possible.
                one = one
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true");
            }
            command = command.arg(one);
        }
        let help = format!(
            "A librdkafka property; may be repeated. In the environment separated by commas, in the \
             file an object [env: {}]",
            env_name(properties::NAME)
        );
        command.arg(arg(properties::NAME, "NAME=VALUE", help).action(clap::ArgAction::Append))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Settings {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        let mut settings = Settings {
            config: matches.get_one("config").cloned(),
            flags: vec![],
        };
        for name in TABLE.iter().map(|s| s.name).chain([properties::NAME]) {
            let values = matches.get_many::<String>(name).into_iter().flatten();
            settings
                .flags
                .extend(values.map(|value| (name, value.clone())));
        }
        Ok(settings)
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
