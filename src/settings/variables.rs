//! The variables of the environment that are settings, and what a name that is none comes nearest to.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::{ConfigError, ENV_PREFIX, TABLE, env_name, properties};

/// Variables that begin as settings do, but speak to `build.rs`.
const BUILD_VARIABLES: [&str; 2] = ["ANONYMIZER_COMMIT", "ANONYMIZER_NO_CAPNP"];

/// Names a file that says what holds where nobody says otherwise: an image's or a package's own, of which
/// the operator's file must be able to speak otherwise. Variables would win over that file.
pub(super) const DEFAULTS: &str = "ANONYMIZER_DEFAULTS";

/// The variables of ours; an unknown one is an error.
pub(super) fn known(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut known = BTreeMap::new();
    for (name, value) in environment {
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with(ENV_PREFIX) || BUILD_VARIABLES.contains(&name.as_str()) {
            continue;
        }
        let Ok(value) = value.into_string() else {
            return Err(ConfigError::NotUnicode { name });
        };
        let mut names = TABLE
            .iter()
            .map(|s| s.name)
            .chain([properties::NAME, "config"]);
        if name == DEFAULTS || names.any(|setting| env_name(setting) == name) {
            known.insert(name, value);
        } else if !is_service_link(&name) {
            let hint = hint(&name, env_name);
            return Err(ConfigError::UnknownVariable { name, hint });
        }
    }
    Ok(known)
}

/// Kubernetes tells every pod of a service named `anonymizer` by variables that begin as ours do:
/// `ANONYMIZER_SERVICE_HOST`, `ANONYMIZER_PORT_9464_TCP_ADDR` and so on. They are nobody's slip.
fn is_service_link(name: &str) -> bool {
    let mut words = name
        .split('_')
        .skip(1)
        .skip_while(|w| *w != "SERVICE" && *w != "PORT");
    match (words.next(), words.next()) {
        (Some("SERVICE"), Some("HOST" | "PORT")) | (Some("PORT"), None) => true,
        (Some("PORT"), Some(port)) => port.parse::<u16>().is_ok(),
        _ => false,
    }
}

/// `; did you mean "..."?` with the nearest name in the given spelling.
pub(super) fn hint(unknown: &str, spell: impl Fn(&str) -> String) -> String {
    let names = TABLE.iter().map(|s| s.name).chain([properties::NAME]);
    let nearest = names.map(spell).max_by(|a, b| {
        strsim::jaro_winkler(unknown, a).total_cmp(&strsim::jaro_winkler(unknown, b))
    });
    format!("; the nearest setting is {}", nearest.unwrap_or_default())
}
