//! The settings as flags: taken before and after every command, shown only where they are used.

use super::{ENV_PREFIX, Setting, Settings, TABLE, env_name, flag_name, properties};

/// The heading below which the help of a command has its settings.
const HEADING: &str = "Settings";

/// What `kafka_properties` takes; it is no row of the table.
pub(super) const PROPERTIES_HELP: &str = "A librdkafka property; may be repeated. In the environment \
                                          separated by commas, in the file an object";

/// The names of all settings, in the order of the table; `kafka_properties` is the last.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|s| s.name).chain([properties::NAME])
}

/// Shows these settings, and `--config`, in the help of a command. All others are taken there, too, so
/// that one set of flags serves all commands; they say nothing to it and are not shown.
///
/// # Panics
/// On a name that is no setting.
#[must_use]
pub fn show(command: clap::Command, used: &[&str]) -> clap::Command {
    let mut command = command.arg(config_flag().hide(false));
    for name in used {
        let arg = match TABLE.iter().find(|s| s.name == *name) {
            Some(setting) => short(setting),
            None if *name == properties::NAME => properties_flag(PROPERTIES_HELP.into()),
            None => panic!("BUG: {name} is no setting"),
        };
        command = command.arg(arg.hide(false));
    }
    command
}

/// All settings with everything about them, as a page: what `help settings` prints.
#[must_use]
pub fn reference() -> clap::Command {
    let mut page = clap::Command::new("anonymizer-settings")
        .about("The settings of anonymizer")
        .long_about(format!(
            "The settings of anonymizer. Each may be given as a flag, before or after the command; as a \
             variable of the environment; or as a key of the JSON file that --config or {ENV_PREFIX}CONFIG \
             names (`anonymizer config example` prints one). The flag wins over the variable, that over \
             the file, that over the default. {ENV_PREFIX}DEFAULTS names a file of other defaults, as an \
             image has them. A name that nobody knows is an error; a setting that a command does not use \
             says nothing to it."
        ))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .next_line_help(true)
        .help_template("{about-with-newline}\n{options}");
    for setting in TABLE {
        let mut help = format!("{}\nTakes {}", setting.help, (setting.accepted)());
        help += &spellings(setting.name);
        if !setting.default.is_empty() {
            help += &format!(" [default: {}]", setting.default);
        }
        page = page.arg(flag(setting, help).help_heading(None).hide(false));
    }
    let help = format!(
        "{PROPERTIES_HELP}\nTakes those of librdkafka but for the ones that the promise rests on{}",
        spellings(properties::NAME)
    );
    page.arg(properties_flag(help).help_heading(None).hide(false))
}

fn spellings(name: &str) -> String {
    format!("\n[env: {}]\n[file: {name}]", env_name(name))
}

/// The flag with what a command's help has room for.
fn short(setting: &Setting) -> clap::Arg {
    let mut help = setting.help.to_owned();
    if !setting.default.is_empty() {
        help += &format!(" [default: {}]", setting.default);
    }
    flag(setting, help)
}

fn flag(setting: &Setting, help: String) -> clap::Arg {
    let arg = bare(setting.name, setting.value_name, help);
    match setting.value_name {
        // `--no-create-tables` alone says true; `--no-create-tables=false` is possible.
        "BOOL" => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        "DIR" => arg.value_hint(clap::ValueHint::DirPath),
        "FILE" => arg.value_hint(clap::ValueHint::FilePath),
        _ => arg,
    }
}

fn config_flag() -> clap::Arg {
    let help = format!("JSON file with settings by name [env: {ENV_PREFIX}CONFIG]");
    bare("config", "FILE", help).value_hint(clap::ValueHint::FilePath)
}

fn properties_flag(help: String) -> clap::Arg {
    bare(properties::NAME, "NAME=VALUE", help).action(clap::ArgAction::Append)
}

/// Hidden: [`show`] makes a flag visible.
fn bare(name: &'static str, value_name: &'static str, help: String) -> clap::Arg {
    // clap wants names that live for ever; these few may.
    let long: &'static str = flag_name(name)[2..].to_owned().leak();
    clap::Arg::new(name)
        .long(long)
        .value_name(value_name)
        .help(help)
        .help_heading(HEADING)
        .global(true)
        .hide(true)
}

impl clap::Args for Settings {
    fn augment_args(command: clap::Command) -> clap::Command {
        command
            .arg(config_flag())
            .args(TABLE.iter().map(short))
            .arg(properties_flag(PROPERTIES_HELP.into()))
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
        for name in names() {
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
