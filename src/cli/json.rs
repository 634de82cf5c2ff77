//! `--json`: one object on stdout, and nothing else. A list is `{"items": [...], "count": N}`, with more
//! beside them where a command has more to say.

use serde::Serialize;

/// A list as all commands print it.
#[derive(Debug, Serialize)]
pub struct List<T> {
    /// What there is.
    pub items: Vec<T>,
    /// How many.
    pub count: usize,
}

impl<T> From<Vec<T>> for List<T> {
    fn from(items: Vec<T>) -> List<T> {
        List {
            count: items.len(),
            items,
        }
    }
}

impl<T> Default for List<T> {
    fn default() -> List<T> {
        Vec::new().into()
    }
}

/// Prints one.
///
/// # Errors
/// If it cannot be written as JSON.
pub fn print(facts: &impl Serialize) -> anyhow::Result<()> {
    say!("{}", serde_json::to_string_pretty(facts)?);
    Ok(())
}

/// A list that is printed as it is found: it may be longer than memory should hold.
#[derive(Default)]
pub struct Stream {
    begun: bool,
}

impl Stream {
    /// The next item.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn item(&mut self, item: &impl Serialize) -> anyhow::Result<()> {
        let before = if self.begun { ",\n" } else { "{\"items\": [\n" };
        self.begun = true;
        say_as_it_is!("{before}{}", serde_json::to_string(item)?);
        Ok(())
    }

    /// Whether anything was printed.
    pub fn is_begun(&self) -> bool {
        self.begun
    }

    /// The end, with `more` beside the items: an object that has their `count`.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn end(self, more: &serde_json::Value) -> anyhow::Result<()> {
        let before = if self.begun {
            "\n], "
        } else {
            "{\"items\": [], "
        };
        let more = serde_json::to_string(more)?;
        say!("{before}{}", more.trim_start_matches('{'));
        Ok(())
    }
}
