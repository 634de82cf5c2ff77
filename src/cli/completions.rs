//! `anonymizer completions`: what a shell completes the command line by.

use clap_complete::Shell;

/// The flags of `completions`.
#[derive(Debug, Clone, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Prints the script of a shell, which completes `line`.
///
/// # Errors
/// None.
pub fn run(args: &CompletionsArgs, mut line: clap::Command) -> anyhow::Result<()> {
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut line, "anonymizer", &mut script);
    say_as_it_is!("{}", String::from_utf8(script)?);
    Ok(())
}
