//! What the exit code says: the whole list, and which error ends with which.

use std::fmt;
use std::process::ExitCode;

use crate::settings::ConfigError;

/// How the program ends. The numbers are a promise: scripts and supervisors read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All was done; where something was looked for, nothing bad was found.
    Good = 0,
    /// It could not be done: something does not answer, is not there, or refuses.
    Failed = 1,
    /// The command line or a setting is wrong. Nothing was begun; the same again ends the same.
    Usage = 2,
    /// It was done, and something bad was found.
    FoundBad = 3,
    /// A second SIGTERM or SIGINT ended it at once.
    Interrupted = 128 + 2,
    /// The reader of stdout went away, as with `| head`.
    NoReader = 128 + 13,
}

impl Exit {
    /// All of them, in order.
    pub const ALL: [Exit; 6] = [
        Exit::Good,
        Exit::Failed,
        Exit::Usage,
        Exit::FoundBad,
        Exit::Interrupted,
        Exit::NoReader,
    ];

    /// The number that a shell shows.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What it means, for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Exit::Good => "all was done, nothing bad was found; also after one SIGTERM or SIGINT",
            Exit::Failed => {
                "it could not be done: something does not answer, is not there, or refuses"
            }
            Exit::Usage => {
                "the command line or a setting is wrong: nothing was begun, and the same again ends \
                 the same"
            }
            Exit::FoundBad => {
                "it was done, and something bad was found: `check`, one that failed; `verify`, \
                 `export`, `batches export` and `quarantine`, damage; `repair`, parts it could not save; \
                 `reconcile`, a difference; `privacy audit`, an address or that a core may be dumped; \
                 `replay`, batches refused or partly there"
            }
            Exit::Interrupted => "a second SIGTERM or SIGINT ended it at once",
            Exit::NoReader => "the reader of stdout went away, as with `| head`",
        }
    }

    /// The end that this error asks for.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Exit {
        if let Some(ended) = error.downcast_ref::<Ended>() {
            return ended.exit;
        }
        match error.downcast_ref::<ConfigError>() {
            // The setting may be right and its file not there yet: another try may go well.
            Some(ConfigError::PasswordFile { .. }) | None => Exit::Failed,
            Some(_) => Exit::Usage,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// An end that is neither good nor a failure to do it, with what stderr says of it.
#[derive(Debug)]
pub struct Ended {
    exit: Exit,
    words: String,
}

impl Ended {
    /// It was done, and something bad was found.
    #[must_use]
    pub fn found_bad(words: impl fmt::Display) -> Ended {
        Ended {
            exit: Exit::FoundBad,
            words: words.to_string(),
        }
    }

    /// The command line is wrong, in a way that its parser cannot see.
    #[must_use]
    pub fn usage(words: impl fmt::Display) -> Ended {
        Ended {
            exit: Exit::Usage,
            words: words.to_string(),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Ended {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use anyhow::Context as _;

    #[test]
    fn the_numbers_are_those_that_scripts_know() {
        let codes = Exit::ALL.map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 130, 141]);
    }

    #[test]
    fn each_error_ends_with_its_code_whatever_was_said_around_it() {
        let f = |error: anyhow::Error, want: Exit| assert_eq!(Exit::of(&error), want, "{error:#}");
        f(anyhow::anyhow!("no answer"), Exit::Failed);
        f(Ended::found_bad("1 damaged").into(), Exit::FoundBad);
        f(Ended::usage("from after to").into(), Exit::Usage);
        let around = Err::<(), _>(Ended::found_bad("1 damaged")).context("verify");
        f(around.unwrap_err(), Exit::FoundBad);
        let env = |name: &str, value: &str| [(name.into(), value.into())];
        let wrong = Settings::default().load_from(env("ANONYMIZER_FLUSH_INTERVAL", "soon"));
        f(wrong.unwrap_err().into(), Exit::Usage);
        let file = env("ANONYMIZER_CLICKHOUSE_PASSWORD_FILE", "/no/such");
        let config = Settings::default().load_from(file).unwrap();
        f(
            config.clickhouse_password().unwrap_err().into(),
            Exit::Failed,
        );
    }
}
