//! The batch that is next or under way, and what came of the last requests.

use maud::{Markup, html};

use super::table::{Column, table};
use super::words;
use crate::observe::human;
use crate::observe::status::Status;
use crate::queue::{Batch, BatchState};

pub(super) fn in_flight(status: &Status) -> Markup {
    let now_ms = status.told_ms;
    const COLUMNS: &[Column] = &[
        Column::head("Batch"),
        Column::number("Rows"),
        Column::number("In the queue"),
        Column::text("Body"),
        Column::number("Attempts"),
        Column::text("Sealed"),
        Column::words("State"),
    ];
    let sealed = |b: &&Batch| b.state == BatchState::Sealed;
    let batches = &status.queue.batches;
    let rows = batches.iter().filter(sealed).map(|b| {
        let state = match (b.attempts, b.may_be_stored) {
            (0, _) => "Fixed; waits for its slot.",
            (_, true) => {
                "May be stored: ClickHouse is asked, or it goes again under the same token."
            }
            (_, false) => "Not stored; it goes again.",
        };
        let body = match b.packed {
            Some(p) => format!("{}, {}", human::bytes(p.bytes), b.format()),
            None => b.format().to_owned(),
        };
        let cells = vec![
            html! { (b.seq) },
            html! { (human::count(b.rows)) },
            html! { (human::bytes(b.bytes)) },
            html! { (body) },
            html! { (b.attempts) },
            html! { (words::ago(now_ms, b.sealed_ms)) },
            html! { (state) },
        ];
        (false, cells)
    });
    html! {
        section #batch data-part aria-labelledby="batch-h" {
            h2 #batch-h { "Batch in flight" }
            @if let Some(f) = &status.flush.in_flight {
                p {
                    "Under way since " (words::seconds(now_ms.saturating_sub(f.since_ms) as f64 / 1000.0)) ": "
                    b { (f.what) }
                    @if f.bytes > 0 { ", " (human::count(f.rows)) " rows in " (human::bytes(f.bytes)) }
                }
            }
            (table(
                "batch-t",
                "Rows that are fixed as one insert, with one token, until ClickHouse has answered for them",
                COLUMNS,
                rows.collect(),
                "No batch is sealed.",
            ))
        }
    }
}

pub(super) fn answers(status: &Status) -> Markup {
    const COLUMNS: &[Column] = &[
        Column::head("Time (UTC)"),
        Column::text("Request"),
        Column::number("Rows"),
        Column::number("Body"),
        Column::number("Took"),
        Column::text("Outcome"),
        Column::words("What it means"),
    ];
    let rows = status.flush.answers.newest_first().map(|a| {
        let is_ok = a.outcome == "ok";
        let some = |n: u64, said: String| if n > 0 { said } else { "-".to_owned() };
        let cells = vec![
            html! { (words::time(a.at_ms)) },
            html! { (a.what) },
            html! { (some(a.rows, human::count(a.rows))) },
            html! { (some(a.bytes, human::bytes(a.bytes))) },
            html! { (words::seconds(a.took_ms as f64 / 1000.0)) },
            html! {
                @if is_ok { (a.outcome) } @else { span.bad { (a.outcome) } }
                @if a.times > 1 { ", " (human::count(a.times)) " times" }
            },
            html! {
                (a.meaning())
                @if !is_ok && !a.words.is_empty() { br; code { (a.words) } }
            },
        ];
        (false, cells)
    });
    html! {
        section #answers data-part aria-labelledby="answers-h" {
            h2 #answers-h { "Last requests" }
            (table(
                "answers-t",
                "The newest first; since this start of the program. Refusals alike in a row are one line.",
                COLUMNS,
                rows.collect(),
                "No request has ended since the start.",
            ))
        }
    }
}
