//! `anonymizer tap`: a sample of the rows as they pass.

use std::io::{BufRead, ErrorKind, IsTerminal as _, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, ensure};
use log::Level;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::end_without_a_reader;
use crate::cli::exit::Exit;
use crate::cli::export::Stdout;
use crate::observe::control::{self, Request};
use crate::observe::human::{count, of};
use crate::observe::tap::{Ask, End, Told};
use crate::row::filter::Filter;
use crate::row::{BLOCK_BYTES, Format};
use crate::runtime::logging;
use crate::settings::Config;

/// The flags of `tap`.
#[derive(Debug, Clone, clap::Args)]
pub struct TapArgs {
    /// End after so many rows
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Show one in so many
    #[arg(long, value_name = "ROWS", default_value = "1", value_parser = clap::value_parser!(u64).range(1..))]
    pub every: u64,
    /// Show at most so many a second; 0 for all
    #[arg(long, value_name = "ROWS", default_value = "100")]
    pub rate: u64,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub filter: Filter,
    /// Format of the rows. Times are Unix seconds
    #[arg(long, value_enum, default_value = "json-each-row")]
    pub format: Format,
}

/// Shows rows until there are enough, it is interrupted, or the instance stops; then says how many there
/// were.
///
/// # Errors
/// If no instance runs, it refuses, or it ends without a word.
pub fn run(args: &TapArgs, config: &Config) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let second = i32::from(Exit::Interrupted.code());
    for signal in [SIGINT, SIGTERM] {
        // The first signal finds the flag still false, the second ends it at once.
        signal_hook::flag::register_conditional_shutdown(signal, second, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let request = Request::Tap(Ask {
        filter: args.filter.clone(),
        every: args.every,
        rate: args.rate,
        limit: args.limit,
        format: args.format,
    });
    let begun = control::begin(&config.data_dir, &request)?;
    let (_, mut from) = begun.with_context(|| {
        format!(
            "no instance runs on {}: rows are seen as they pass through one",
            config.data_dir.display()
        )
    })?;
    let on_terminal = std::io::stdout().is_terminal();
    let (mut last, mut leaves) = (Told::default(), false);
    while last.end.is_none() {
        if stop.load(Ordering::Relaxed) && !leaves {
            // How many rows were missed is known to the other side alone, and comes as its last word.
            from.get_ref().shutdown(Shutdown::Write)?;
            leaves = true;
        }
        let told = next(&mut from).inspect_err(|_| say_counts(&last));
        let (mut told, rows) = told.context("the instance ended, or does not answer any more")?;
        match (leaves, on_terminal) {
            (true, _) => told.shown = last.shown,
            (false, true) => Stdout.write_all(harmless(&rows).as_bytes())?,
            (false, false) => Stdout.write_all(&rows)?,
        }
        last = told;
        // Something is told five times a second, also where no row passes.
        if !leaves && reader_has_gone(std::io::stdout().as_fd()) {
            end_without_a_reader(&ErrorKind::BrokenPipe.into());
        }
    }
    say_counts(&last);
    Ok(())
}

/// Whether nobody will read what is written there: a pipe or a connection of which the other end is closed.
fn reader_has_gone(out: BorrowedFd<'_>) -> bool {
    // These two are told of without being asked for.
    let mut polled = [PollFd::from_borrowed_fd(out, PollFlags::empty())];
    let told = poll(&mut polled, Some(&Timespec::default()));
    told.is_ok_and(|n| n > 0)
        && polled[0]
            .revents()
            .intersects(PollFlags::ERR | PollFlags::HUP)
}

/// What is told next, and the rows with it.
fn next(from: &mut impl BufRead) -> anyhow::Result<(Told, Vec<u8>)> {
    let (mut line, mut rows) = (Vec::new(), Vec::new());
    from.read_until(b'\n', &mut line)?;
    ensure!(!line.is_empty(), "the socket was closed");
    let told: Told = serde_json::from_slice(&line)?;
    from.take(told.bytes as u64).read_to_end(&mut rows)?;
    ensure!(rows.len() == told.bytes, "the socket was closed");
    Ok((told, rows))
}

fn say_counts(told: &Told) {
    let unseen = |n: u64, why: &str| match n {
        0 => String::new(),
        n => format!("; {} passed unseen, {why}", of(n, "row")),
    };
    let missed = unseen(told.missed, "as this was too slow for them");
    let large = format!("as only rows below {} KiB are shown", BLOCK_BYTES >> 10);
    let large = unseen(told.large, &large);
    let end = match told.end {
        Some(End::Stopped) => "the instance stops; ",
        _ => "",
    };
    logging::say(
        Level::Info,
        &format!(
            "{end}{} shown of {} that passed{missed}{large}",
            of(told.shown, "row"),
            count(told.passed)
        ),
    );
}

/// What a terminal may be given: a URL may have anything in it, also what terminals obey.
fn harmless(rows: &[u8]) -> String {
    let is_obeyed = |c: &char| c.is_control() && !matches!(c, '\n' | '\t');
    String::from_utf8_lossy(rows)
        .chars()
        .map(|c| if is_obeyed(&c) { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn it_is_seen_without_writing_that_a_reader_has_gone() {
        let (reader, pipe) = std::io::pipe().unwrap();
        assert!(!reader_has_gone(pipe.as_fd()));
        drop(reader);
        assert!(reader_has_gone(pipe.as_fd()));
        let (reader, socket) = UnixStream::pair().unwrap();
        reader.shutdown(Shutdown::Write).unwrap();
        assert!(!reader_has_gone(socket.as_fd()), "it may still read");
        drop(reader);
        assert!(reader_has_gone(socket.as_fd()));
        let file = tempfile::tempfile().unwrap();
        assert!(!reader_has_gone(file.as_fd()));
    }

    #[test]
    fn a_terminal_gets_nothing_that_it_obeys() {
        let row = b"0000000999\t7\t/a\x1b[2J\x07\xff\xc2\x9b\n";
        assert_eq!(
            harmless(row),
            "0000000999\t7\t/a\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}\n"
        );
    }
}
