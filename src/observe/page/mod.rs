//! The page at `/`: one look tells whether the data is safe, how old it is, when it will be drained, and
//! what to do. Made here as a whole, with all that it needs: no other address is asked for anything, and
//! it works without scripts. It changes nothing.

mod aside;
mod chart;
mod charts;
mod facts;
mod partitions;
mod requests;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod verdict;
mod words;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::history::Sample;
use super::status::Status;
pub use charts::Span;

const STYLE: &str = include_str!("style.css");
const LIVE: &str = include_str!("live.js");

/// How often a browser without scripts asks again, s.
const AGAIN_S: u32 = 10;

/// What the page is made of.
pub struct View<'a> {
    /// The state.
    pub status: &'a Status,
    /// Name, value and source of each setting, secrets covered.
    pub settings: &'a [(String, String, String)],
    /// The last day, a sample a minute; the last one is of this moment.
    pub day: &'a [Option<Sample>],
    /// The minute of the first.
    pub first_minute: u64,
    /// How much of it to show.
    pub span: Span,
    /// Why messages are in quarantine, and how many for each reason.
    pub reasons: &'a [(String, u64)],
    /// A word that no other page has; see [`policy`].
    pub nonce: &'a str,
}

/// The Content-Security-Policy of a page: its own style and script, by its `nonce`, and nothing else from
/// anywhere; no form, and in nobody's frame.
pub fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The page as HTML.
pub fn page(view: &View<'_>) -> String {
    let s = view.status;
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (verdict::word(s)) " · anonymizer" }
                link rel="icon" href=(verdict::icon(s));
                style nonce=(view.nonce) { (PreEscaped(STYLE)) }
                noscript { meta http-equiv="refresh" content=(AGAIN_S); }
            }
            body {
                (header(view))
                main {
                    (verdict::section(s))
                    (facts::section(s))
                    (charts::section(view))
                    (partitions::section(s))
                    (requests::in_flight(s))
                    (requests::answers(s))
                    (aside::section(s, view.reasons))
                    (settings::section(view.settings))
                }
                footer {
                    p {
                        "The same for programs: "
                        a #a-status href="/api/v1/status" { "/api/v1/status" } " ("
                        a #a-schema href="/api/v1/status/schema" { "schema" } "), "
                        a #a-metrics href="/metrics" { "/metrics" } "; in a terminal: "
                        (command("status"))
                    }
                }
                script nonce=(view.nonce) { (PreEscaped(LIVE)) }
            }
        }
    };
    markup.into_string()
}

fn header(view: &View<'_>) -> Markup {
    let s = view.status;
    let value = |name: &str| {
        let found = view.settings.iter().find(|(n, ..)| n == name);
        found.map_or("?", |(_, value, _)| value)
    };
    html! {
        header {
            p {
                b { "anonymizer " (env!("CARGO_PKG_VERSION")) }
                " · " (value("kafka_topic")) " as " (value("kafka_group"))
                " → " (value("clickhouse_database")) "." (value("clickhouse_table"))
                " · " (value("data_dir"))
            }
            p {
                span data-part #made { "as of " (words::time(s.told_ms)) " UTC" }
                " · "
                span #live { noscript { "made anew every " (AGAIN_S) " s" } }
                span.away #said role="status" {}
            }
        }
    }
}

/// A command as a person types it.
fn command(words: &str) -> Markup {
    html! { code { "anonymizer " (words) } }
}
