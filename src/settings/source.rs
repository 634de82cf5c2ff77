//! Gathers the flags, the environment and the file into one raw value a setting.

use std::os::unix::fs::MetadataExt as _;
use std::{collections::BTreeMap, ffi::OsString, fs, path::Path, path::PathBuf};

use serde_json::Value;

use super::file::SCHEMA_KEY;
use super::json::{keys, text_of};
use super::variables::{self, DEFAULTS, hint};
use super::{
    ConfigError, LOG_FORMAT, Origin, Settings, TABLE, env_name, flag_name, parse, properties,
};
use crate::runtime::logging::Format;

/// A value as it was typed.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// What was given, the strongest source of each setting only.
///
/// Kafka properties are gathered one by one: a flag that adds one must not take away the file's.
#[derive(Default)]
pub(super) struct Raw {
    values: BTreeMap<&'static str, Given>,
    /// With the name that was typed; the key is librdkafka's own for it, if there is one.
    properties: BTreeMap<String, (String, Given)>,
    /// The settings files that everybody on this machine may read.
    open_files: Vec<PathBuf>,
}

/// What systemd names the directory of a service's credentials by.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

impl Raw {
    /// Reads all sources, weakest first, each overwriting the one before.
    pub(super) fn gather(
        settings: &Settings,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut raw = Raw::default();
        for setting in TABLE {
            raw.set(setting.name, setting.default.into(), &Origin::Default);
        }
        let mut credentials = None;
        let environment = environment.into_iter().inspect(|(name, value)| {
            if *name == *CREDENTIALS {
                credentials = Some(PathBuf::from(value));
            }
        });
        let variables = variables::known(environment)?;
        if let Some(path) = variables.get(DEFAULTS) {
            raw.add_file(Path::new(path), Origin::Environment(DEFAULTS.into()))?;
        }
        if let Some(dir) = credentials {
            raw.add_credentials(&dir);
        }
        let config = env_name("config");
        let from_flag = settings
            .config
            .as_ref()
            .map(|path| (path, Origin::Flag("--config".into())));
        let from_variable = || {
            variables
                .get(&config)
                .map(|path| (path, Origin::Environment(config.clone())))
        };
        if let Some((path, origin)) = from_flag.or_else(from_variable) {
            raw.add_file(Path::new(path), origin)?;
        }
        for name in TABLE.iter().map(|s| s.name).chain([properties::NAME]) {
            let variable = env_name(name);
            if let Some(value) = variables.get(&variable) {
                raw.add(
                    name,
                    value,
                    &Origin::Environment(variable),
                    properties::split_list,
                )?;
            }
        }
        for (name, value) in &settings.flags {
            let one = |text: &str| match properties::split(text) {
                Some(property) => Ok(vec![property]),
                None => Err("is not name=value".to_string()),
            };
            raw.refuse_secret(name, value)?;
            raw.add(name, value, &Origin::Flag(flag_name(name)), one)?;
        }
        Ok(raw)
    }

    /// Takes the credentials that are named as settings: `clickhouse_password` is a file for
    /// `clickhouse_password_file`.
    fn add_credentials(&mut self, dir: &Path) {
        for setting in TABLE {
            let Some(name) = setting.name.strip_suffix("_file") else {
                continue;
            };
            let path = dir.join(name);
            if path.is_file() {
                let value = path.to_string_lossy().into_owned();
                self.set(setting.name, value, &Origin::Credential(path));
            }
        }
    }

    /// Refuses a secret in a flag, which everybody sees.
    fn refuse_secret(&self, name: &str, value: &str) -> Result<(), ConfigError> {
        let property = properties::split(value).filter(|_| name == properties::NAME);
        match property {
            Some((property, _)) if properties::holds_a_secret(&property) => {
                let by = match properties::resolve(&property) {
                    Some("sasl.password") => "kafka_password_file, ",
                    Some("sasl.oauthbearer.client.secret") => "kafka_client_secret_file, ",
                    _ => "",
                };
                Err(ConfigError::SecretFlag { property, by })
            }
            _ => Ok(()),
        }
    }

    /// What is better otherwise.
    pub(super) fn warnings(&self) -> Vec<String> {
        let told = self.open_files.iter().filter_map(|path| {
            let is_here =
                |given: &Given| matches!(&given.origin, Origin::File(file) if file == path);
            let mut all = self.properties.values();
            let secret = |(name, given): &&(String, Given)| {
                is_here(given) && properties::holds_a_secret(name)
            };
            let (name, _) = all.find(secret)?;
            Some(format!(
                "{} holds a secret ({name}), and everybody on this machine may read it; chmod o-r it",
                path.display()
            ))
        });
        told.collect()
    }

    /// Takes a text from the command line or the environment.
    fn add(
        &mut self,
        name: &'static str,
        text: &str,
        origin: &Origin,
        split: impl Fn(&str) -> Result<Vec<(String, String)>, String>,
    ) -> Result<(), ConfigError> {
        if name != properties::NAME {
            self.set(name, text.into(), origin);
            return Ok(());
        }
        // The text is not shown: it may be a password whose name was forgotten.
        let all = split(text).map_err(|reason| property_error("***", origin, reason))?;
        for (property, value) in all {
            self.set_property(property, value, origin)?;
        }
        Ok(())
    }

    /// Takes the settings of a JSON file.
    fn add_file(&mut self, path: &Path, named_by: Origin) -> Result<(), ConfigError> {
        let text = fs::read_to_string(path).map_err(|cause| ConfigError::Read {
            path: path.into(),
            origin: Box::new(named_by),
            cause,
        })?;
        let is_open = fs::metadata(path).is_ok_and(|m| m.mode() & 0o004 != 0);
        self.open_files.extend(is_open.then(|| path.to_owned()));
        let keys = keys(text).map_err(|cause| ConfigError::Json {
            path: path.into(),
            cause,
        })?;
        let origin = Origin::File(path.into());
        for (key, value) in keys {
            if key == properties::NAME {
                self.add_object(value, &origin)?;
            } else if let Some(setting) = TABLE.iter().find(|s| s.name == key) {
                let text = text_of(&value).ok_or_else(|| ConfigError::Value {
                    setting: setting.name,
                    value: value.to_string(),
                    origin: Box::new(origin.clone()),
                    accepted: (setting.accepted)(),
                    example: setting.example,
                })?;
                self.set(setting.name, text, &origin);
            } else if key != SCHEMA_KEY {
                let hint = hint(&key, |name| name.to_string());
                return Err(ConfigError::UnknownKey {
                    path: PathBuf::from(path),
                    key,
                    hint,
                });
            }
        }
        Ok(())
    }

    /// Takes the file's object of Kafka properties.
    fn add_object(&mut self, value: Value, origin: &Origin) -> Result<(), ConfigError> {
        let Value::Object(object) = value else {
            return Err(property_error(
                "***",
                origin,
                "is not an object of names and values",
            ));
        };
        for (property, value) in object {
            // It may be a password behind its name, as a flag has it.
            if let Some((name, _)) = property.split_once('=') {
                let name = format!("{name}=***");
                return Err(property_error(
                    &name,
                    origin,
                    "is a name and a value in one",
                ));
            }
            let text = text_of(&value).ok_or_else(|| {
                property_error(&property, origin, "is not a text, a number, true or false")
            })?;
            self.set_property(property, text, origin)?;
        }
        Ok(())
    }

    fn set(&mut self, name: &'static str, value: String, origin: &Origin) {
        self.values.insert(
            name,
            Given {
                value,
                origin: origin.clone(),
            },
        );
    }

    fn set_property(
        &mut self,
        name: String,
        value: String,
        origin: &Origin,
    ) -> Result<(), ConfigError> {
        let property = properties::resolve(&name).unwrap_or(&name).to_string();
        if let Some((other, _)) = self
            .properties
            .get(&property)
            .filter(|(other, given)| *other != name && given.origin == *origin)
        {
            let reason = format!("is another name of {other}, which is given beside it");
            return Err(property_error(&name, origin, reason));
        }
        let given = Given {
            value,
            origin: origin.clone(),
        };
        self.properties.insert(property, (name, given));
        Ok(())
    }

    /// The value of a setting, parsed; the error says everything about it.
    pub(super) fn parse<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        let given = &self.values[name];
        parse(&given.value).map_err(|accepted| ConfigError::Value {
            setting: name,
            value: without_user(&given.value),
            origin: Box::new(given.origin.clone()),
            accepted,
            example: TABLE
                .iter()
                .find(|s| s.name == name)
                .map_or("", |s| s.example),
        })
    }

    /// The Kafka properties: names as they were typed, values, and where they are from.
    pub(super) fn properties(&self) -> impl Iterator<Item = (&String, &String, &Origin)> {
        let all = self.properties.values();
        all.map(|(name, given)| (name, &given.value, &given.origin))
    }

    /// Name, value and source of everything, for people; secrets covered.
    pub(super) fn shown(&self) -> Vec<(String, String, String)> {
        let settings = TABLE.iter().map(|setting| {
            let Given { value, origin } = &self.values[setting.name];
            let value = if value.is_empty() { "(none)" } else { value };
            (
                setting.name.to_string(),
                value.to_string(),
                origin.to_string(),
            )
        });
        let properties = self.properties().map(|(property, value, origin)| {
            let value = if properties::is_secret(property) {
                "***"
            } else {
                value
            };
            (
                format!("{}.{property}", properties::NAME),
                value.to_string(),
                origin.to_string(),
            )
        });
        settings.chain(properties).collect()
    }
}

/// What the strongest source says of the log's format that says something of use. Nothing is refused here.
pub(super) fn log_format(
    settings: &Settings,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Format {
    let (variable, config) = (env_name(LOG_FORMAT), env_name("config"));
    let (mut by_variable, mut file, mut defaults) = (None, settings.config.clone(), None);
    for (name, value) in environment {
        let value = value.to_str().map(str::to_owned);
        if name == *variable {
            by_variable = value;
        } else if name == *config {
            file = file.or(value);
        } else if name == DEFAULTS {
            defaults = value;
        }
    }
    let mut flags = settings.flags.iter().rev();
    let flag = flags.find(|(name, _)| *name == LOG_FORMAT);
    let by_file = |file: Option<String>| {
        let keys = keys(fs::read_to_string(file?).ok()?).ok()?;
        text_of(keys.get(LOG_FORMAT)?)
    };
    let given = flag.map(|(_, value)| value.clone()).or(by_variable);
    let given = given
        .or_else(|| by_file(file))
        .or_else(|| by_file(defaults));
    given
        .and_then(|text| parse::log_format(&text).ok())
        .unwrap_or_default()
}

/// Covers what stands before the `@` of an address and behind its path: a password might be there.
fn without_user(value: &str) -> String {
    let (address, more) = match value.find(['?', '#']) {
        Some(at) => (&value[..at], format!("{}***", &value[at..=at])),
        None => (value, String::new()),
    };
    match address.rsplit_once('@') {
        Some((_, host)) => format!("***@{host}{more}"),
        None => format!("{address}{more}"),
    }
}

fn property_error(property: &str, origin: &Origin, reason: impl Into<String>) -> ConfigError {
    ConfigError::Property {
        property: property.into(),
        origin: Box::new(origin.clone()),
        reason: reason.into(),
    }
}
