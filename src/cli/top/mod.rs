//! `anonymizer top`: the live status in a terminal.

mod history;
mod look;
mod screen;
#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError};
use log::LevelFilter;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::observe::judge::judge;
use crate::observe::status::Status;
use crate::runtime::clock::now_ms;
use crate::settings::Config;
use history::History;
use look::{Look, Looker};

/// How often the instance is asked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long an answer may take before its lack is shown, ms.
const SLOW_MS: u64 = 3000;

/// How long a signal, or a new answer, may go unnoticed.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Shows the status of the data dir's instance until q, Esc or Ctrl-C; without a terminal, a line a
/// second until the reader goes.
///
/// # Errors
/// If there is no data dir, it cannot be read at first, or the terminal fails.
pub fn run(config: &Config) -> anyhow::Result<()> {
    let mut looker = Looker::new(config.clone());
    let mut shown = Shown::new(looker.first()?);
    let looks = looker.go_on(LOOK_EVERY)?;
    if !std::io::stdout().is_terminal() {
        return lines(&mut shown, &looks);
    }
    // What the log says would be written across the screen.
    log::set_max_level(LevelFilter::Off);
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut terminal = Terminal(ratatui::try_init()?);
    while !stop.load(Ordering::Relaxed) {
        shown.take_all(&looks)?;
        let now = now_ms();
        terminal
            .0
            .draw(|frame| screen::draw(frame, &shown, now, colours()))?;
        if event::poll(DRAW_EVERY)? && !shown.obey(&event::read()?) {
            break;
        }
    }
    Ok(())
}

/// Where there is no terminal.
fn lines(shown: &mut Shown, looks: &Receiver<Look>) -> anyhow::Result<()> {
    loop {
        say!("{}", shown.sentence(now_ms()));
        std::thread::sleep(LOOK_EVERY);
        shown.take_all(looks)?;
    }
}

/// Whether colours are wanted (<https://no-color.org>).
fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The terminal, which is as it was once this is dropped; the hook of `ratatui` sees to panics.
struct Terminal(DefaultTerminal);

impl Drop for Terminal {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// What is shown.
struct Shown {
    status: Status,
    history: History,
    /// When it was told last, Unix ms.
    told_ms: u64,
    /// Why it is not told any more.
    trouble: Option<String>,
    /// What changed while this was looked at.
    note: Option<String>,
    /// Partitions above those shown.
    scrolled: usize,
}

impl Shown {
    fn new(status: Status) -> Shown {
        let mut shown = Shown {
            told_ms: status.told_ms,
            status,
            history: History::default(),
            trouble: None,
            note: None,
            scrolled: 0,
        };
        shown.note_counts();
        shown
    }

    fn take_all(&mut self, looks: &Receiver<Look>) -> anyhow::Result<()> {
        loop {
            match looks.try_recv() {
                Ok(look) => self.take(look, now_ms()),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => anyhow::bail!("BUG: nobody looks any more"),
            }
        }
    }

    fn take(&mut self, look: Look, now: u64) {
        self.trouble = None;
        match look {
            Look::Told(status) => {
                if status.live != self.status.live {
                    let what = if status.live { "started" } else { "stopped" };
                    self.note = Some(format!("{what} {}", screen::clock(now)));
                }
                self.status = *status;
                self.note_counts();
            }
            // Nothing changes but the time.
            Look::StillStopped => {
                self.status.told_ms = now;
                self.status.verdict = judge(&self.status, now);
                self.history.stops();
            }
            Look::Failed(words) => {
                self.trouble = Some(words);
                return;
            }
        }
        self.told_ms = now;
    }

    fn note_counts(&mut self) {
        match self.status.live {
            true => self.history.add(self.status.told_ms, &self.status.counted),
            false => self.history.stops(),
        }
    }

    /// Why what is shown is old, if it is.
    fn stale(&self, now: u64) -> Option<String> {
        let age = now.saturating_sub(self.told_ms);
        if age < SLOW_MS && self.trouble.is_none() {
            return None;
        }
        let words = self.trouble.as_deref().unwrap_or("no answer yet");
        Some(format!(
            "the instance has not answered for {} ({words}); what follows is older",
            crate::observe::human::time(age)
        ))
    }

    /// All in a line.
    fn sentence(&self, now: u64) -> String {
        match self.stale(now) {
            Some(why) => format!("{why}: {}", self.status.verdict.sentence),
            None => self.status.verdict.sentence.clone(),
        }
    }

    /// Returns whether to go on.
    fn obey(&mut self, event: &Event) -> bool {
        let Event::Key(KeyEvent {
            code,
            modifiers,
            kind: KeyEventKind::Press | KeyEventKind::Repeat,
            ..
        }) = event
        else {
            return true;
        };
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('c' | 'd') if modifiers.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Down | KeyCode::Char('j') => self.scroll(1),
            KeyCode::PageDown => self.scroll(10),
            KeyCode::Up | KeyCode::Char('k') => self.scrolled = self.scrolled.saturating_sub(1),
            KeyCode::PageUp => self.scrolled = self.scrolled.saturating_sub(10),
            _ => {}
        }
        true
    }

    fn scroll(&mut self, by: usize) {
        let last = self.status.kafka.partitions.len().saturating_sub(1);
        self.scrolled = (self.scrolled + by).min(last);
    }
}
