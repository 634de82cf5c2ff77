//! The verdict, to be read from two metres.

use maud::{Markup, html};

use super::words;
use crate::observe::status::Status;
use crate::observe::verdict::Code;

/// The word in large letters.
pub(super) fn word(status: &Status) -> &'static str {
    match status.verdict.code {
        Code::Ok => "OK",
        Code::Delayed => "DELAYED",
        Code::Paused => "PAUSED",
        Code::Held => "HELD",
        Code::AtRisk => "AT RISK",
        Code::Lost => "LOST",
    }
}

fn class(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Delayed => "delayed",
        Code::Paused => "paused",
        Code::Held => "held",
        Code::AtRisk => "at-risk",
        Code::Lost => "lost",
    }
}

/// A dot in the verdict's colour, so that a tab tells, too.
pub(super) fn icon(status: &Status) -> String {
    let colour = match status.verdict.code {
        Code::Ok => "17692f",
        Code::Delayed => "1d55a8",
        Code::Paused => "6d3fb0",
        Code::Held => "c2570c",
        Code::AtRisk => "d3202a",
        Code::Lost => "7a0713",
    };
    format!(
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle \
         cx='8' cy='8' r='7' fill='%23{colour}'/%3E%3C/svg%3E"
    )
}

pub(super) fn section(status: &Status) -> Markup {
    let now_ms = status.told_ms;
    let v = &status.verdict;
    let title = format!("{}: ", v.code.title());
    // The word stands above it already.
    let says = v.sentence.strip_prefix(&title).unwrap_or(&v.sentence);
    // And what comes next below it.
    let says = match v.next.as_str() {
        "" => says.to_owned(),
        next => says.replace(&format!("; {next}"), ""),
    };
    html! {
        section #verdict data-part class=(class(v.code)) aria-labelledby="verdict-h" {
            h1 #verdict-h { (word(status)) }
            p.says { (says) }
            dl {
                @if let Some(since) = v.since_ms {
                    dt { "Since" }
                    dd { (words::time(since)) " UTC, " (words::ago(now_ms, since)) }
                }
                @if !v.next.is_empty() { dt { "Next, by itself" } dd { (v.next) } }
                // A sentence has only its beginning.
                @if let Some(hold) = status.flush.hold.as_ref().filter(|h| !says.contains(h.as_str())) {
                    dt { "Held for" }
                    dd { (hold) }
                }
                dt { "To do" }
                dd {
                    @match &v.act {
                        Some(act) => b { (act) },
                        None => "nothing",
                    }
                }
            }
            @if v.findings.len() > 1 {
                ul.more {
                    @for f in &v.findings[1..] {
                        li {
                            b { (f.code.title()) } ": " (f.reason)
                            @if let Some(act) = &f.act { " To do: " (act) }
                        }
                    }
                }
            }
        }
    }
}
