//! `check --clickhouse` beside a live instance: that instance asks ClickHouse, in its slot and with its own
//! settings. Which of the given ones are others must be said, or they seem to be checked.

use anyhow::bail;

use super::PATIENCE;
use crate::cli::live::Difference;
use crate::clickhouse;
use crate::settings::Config;

/// What says in which way ClickHouse is asked, and what fits.
const OF_CLICKHOUSE: [&str; 3] = ["clickhouse", "allow_duplicates", "no_create_tables"];

/// What is known of the given settings.
///
/// # Errors
/// If they were not asked with, though they would ask otherwise.
pub(super) fn verdict(differ: &[Difference], config: &Config) -> anyhow::Result<String> {
    if differ.is_empty() {
        return Ok("the live instance's are the same, as far as secrets can be compared".into());
    }
    let each: Vec<String> = differ
        .iter()
        .map(|d| {
            let shown = |value: &str| match value {
                "" => "not set".to_owned(),
                value => value.to_owned(),
            };
            format!(
                "{}: {} there, {} here",
                d.name,
                shown(&d.live),
                shown(&d.given)
            )
        })
        .collect();
    let others = format!("the live instance has others: {}", each.join("; "));
    let is_of_clickhouse = |d: &&Difference| OF_CLICKHOUSE.iter().any(|of| d.name.starts_with(of));
    if !differ.iter().any(|d| is_of_clickhouse(&d)) {
        return Ok(others);
    }
    let url = &config.clickhouse_url;
    let reached = match differ.iter().any(|d| d.name == "clickhouse_url") {
        false => String::new(),
        true => match clickhouse::reach(url, PATIENCE) {
            Ok(()) => format!("; {url} takes connections, which is all that is known of it"),
            Err(e) => format!("; {url} takes no connection: {e}"),
        },
    };
    bail!(
        "ClickHouse was asked with the live instance's settings and not with the given ones: {others}{reached}. \
         To have these asked with, stop the instance"
    )
}
