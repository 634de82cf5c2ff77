//! What does not go its way by itself: quarantined messages, refused batches, lost records; each with the
//! command to act.

use maud::{Markup, html};

use super::table::{Column, table};
use super::{command, words};
use crate::observe::human;
use crate::observe::status::Status;
use crate::queue::{Batch, BatchState};

pub(super) fn section(status: &Status, reasons: &[(String, u64)]) -> Markup {
    html! {
        section #aside data-part aria-labelledby="aside-h" {
            h2 #aside-h { "Set aside and lost" }
            (rejected(&status.queue.batches))
            (dropped(status))
            (lost(status))
            (quarantine(status, reasons))
        }
    }
}

fn rejected(batches: &[Batch]) -> Markup {
    const COLUMNS: &[Column] = &[
        Column::head("Batch"),
        Column::number("Rows"),
        Column::words("ClickHouse's words"),
        Column::text("Look and act"),
    ];
    let rows = batches.iter().filter_map(|b| match &b.state {
        BatchState::Rejected { words, .. } => Some((
            true,
            vec![
                html! { (b.seq) },
                html! { (human::count(b.rows)) },
                html! {
                    (words)
                    @if b.may_be_stored { " (It may be stored all the same.)" }
                },
                html! {
                    (command(&format!("batches show {}", b.seq))) br;
                    (command(&format!("batches retry {}", b.seq)))
                },
            ],
        )),
        _ => None,
    });
    table(
        "rejected",
        "Batches that ClickHouse refused for their data. Their rows are kept here and count as queued.",
        COLUMNS,
        rows.collect(),
        "No batch was refused for its data.",
    )
}

/// Batches that a person gave up. Nothing is said where there are none: few ever are.
fn dropped(status: &Status) -> Markup {
    const COLUMNS: &[Column] = &[
        Column::head("Batch"),
        Column::number("Rows"),
        Column::text("Dropped (UTC)"),
        Column::words("ClickHouse's words"),
    ];
    if status.dropped.is_empty() {
        return html! {};
    }
    let rows = status.dropped.iter().map(|b| {
        let cells = vec![
            html! { (b.seq) },
            html! { (human::count(b.rows)) },
            html! { (words::time(b.dropped_ms)) },
            html! {
                (b.words)
                @if b.may_be_stored { " (It may be stored all the same.)" }
            },
        ];
        (false, cells)
    });
    table(
        "dropped",
        "Refused batches that a person dropped",
        COLUMNS,
        rows.collect(),
        "",
    )
}

fn lost(status: &Status) -> Markup {
    const COLUMNS: &[Column] = &[
        Column::head("Partition"),
        Column::number("Records"),
        Column::text("Offsets"),
        Column::text("Noticed"),
        Column::words("What it means"),
    ];
    let rows = status.lost.iter().map(|l| {
        let means = if l.unsure {
            "Kafka's log was cut and grew again: it cannot be told whether they were read before."
        } else {
            "Kafka no longer had them when they were due: retention or a deleted topic overtook the reading."
        };
        let cells = vec![
            html! { (l.topic) " " (l.partition) },
            html! { (human::count((l.to - l.from).max(0) as u64)) },
            html! { (l.from) " to " (l.to - 1) },
            html! { (words::time(l.noticed_ms)) },
            html! { (means) },
        ];
        (true, cells)
    });
    let dropped = status.queue.quarantine.dropped;
    html! {
        (table(
            "lost",
            "Records that were lost before this program could read them",
            COLUMNS,
            rows.collect(),
            "Kafka has lost no record before it was read.",
        ))
        @if dropped > 0 {
            p.bad { (human::count(dropped)) " messages were dropped from a full quarantine: they are lost." }
        }
    }
}

fn quarantine(status: &Status, reasons: &[(String, u64)]) -> Markup {
    const COLUMNS: &[Column] = &[
        Column::head("Messages"),
        Column::words("Why they are no rows"),
    ];
    let q = &status.queue;
    if q.quarantined == 0 {
        return html! { p.note { "No message is in quarantine." } };
    }
    let told: u64 = reasons.iter().map(|(_, n)| n).sum();
    let rest = q.quarantined.saturating_sub(told);
    let mut rows: Vec<_> = reasons
        .iter()
        .map(|(why, n)| {
            let cells = vec![html! { (human::count(*n)) }, html! { (why) }];
            (false, cells)
        })
        .collect();
    if rest > 0 {
        let cells = vec![
            html! { (human::count(rest)) },
            html! { "not looked at for this page" },
        ];
        rows.push((false, cells));
    }
    html! {
        (table(
            "quarantine",
            &format!(
                "Messages in quarantine, by reason: {} in {}",
                human::count(q.quarantined),
                human::bytes(q.quarantine.bytes),
            ),
            COLUMNS,
            rows,
            "",
        ))
        p.note {
            "Look and act: " (command("quarantine list")) ", " (command("quarantine retry"))
            " after an update that can read them, " (command("quarantine drop")) " for good."
        }
    }
}
