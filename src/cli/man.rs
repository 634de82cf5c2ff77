//! `anonymizer man`: the manual as pages for `man`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::exit::Exit;
use crate::cli::help;
use crate::settings;

/// The flags of `man`.
#[derive(Debug, Clone, clap::Args)]
pub struct ManArgs {
    /// Write the pages of all commands and of the settings into this directory
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// Prints the main page, or writes all.
///
/// # Errors
/// If the directory cannot be written to.
pub fn run(args: &ManArgs, mut line: clap::Command) -> anyhow::Result<()> {
    line.build();
    let Some(dir) = &args.dir else {
        say_as_it_is!("{}", String::from_utf8(page(&line, &[])?)?);
        return Ok(());
    };
    let written = fs::create_dir_all(dir)
        .map_err(anyhow::Error::from)
        .and_then(|()| {
            fs::write(dir.join("anonymizer-settings.1"), of_settings()?)?;
            Ok(1 + write(&line, &[], dir)?)
        })
        .with_context(|| format!("cannot write the pages into {}", dir.display()))?;
    say!("{written} pages in {}", dir.display());
    Ok(())
}

/// Writes the page of a command and those of all below it; how many they were.
fn write(command: &clap::Command, path: &[&str], dir: &Path) -> anyhow::Result<u32> {
    let man = Man::new(command.clone());
    fs::write(dir.join(man.get_filename()), page(command, path)?)?;
    let mut written = 1;
    for sub in command.get_subcommands() {
        written += write(sub, &[path, &[sub.get_name()]].concat(), dir)?;
    }
    Ok(written)
}

fn page(command: &clap::Command, path: &[&str]) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone()).source("anonymizer");
    let mut out = vec![];
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut out)?;
    }
    let mut end = Roff::new();
    if path.is_empty() {
        end.control("SH", ["EXIT STATUS"]);
        for exit in Exit::ALL {
            end.control("TP", []);
            end.text([bold(exit.code().to_string())]);
            end.text([roman(exit.words())]);
        }
    }
    if let Some(example) = help::example(path) {
        end.control("SH", ["EXAMPLES"]);
        end.control("EX", []);
        for line in example.lines() {
            end.text([roman(line)]);
        }
        end.control("EE", []);
    }
    end.control("SH", ["SEE ALSO"]);
    let mut also = vec![bold("anonymizer-settings"), roman("(1)")];
    if !path.is_empty() {
        also.extend([roman(", "), bold("anonymizer"), roman("(1)")]);
    }
    end.text(also);
    end.to_writer(&mut out)?;
    out.flush()?;
    Ok(out)
}

fn of_settings() -> io::Result<Vec<u8>> {
    let man = Man::new(settings::reference()).source("anonymizer");
    let mut out = vec![];
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    Ok(out)
}
