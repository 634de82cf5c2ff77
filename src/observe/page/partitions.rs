//! What became of each partition's records: read, committed, in ClickHouse, and how many were not read.

use maud::{Markup, html};

use super::table::{Column, table};
use crate::observe::human::{clock, count, since};
use crate::observe::status::{Partition, Status};
use crate::queue::{Lane, LaneState};

pub(super) fn section(status: &Status) -> Markup {
    const COLUMNS: &[Column] = &[
        Column::head("Partition"),
        Column::number("In ClickHouse"),
        Column::number("Committed"),
        Column::number("Read"),
        Column::number("End in Kafka"),
        Column::number("Unread"),
        Column::text("Visible through"),
        Column::text("State"),
    ];
    let rows = status.kafka.partitions.iter().map(|p| row(status, p));
    html! {
        section #partitions data-part aria-labelledby="partitions-h" {
            h2 #partitions-h { "Partitions" }
            (table(
                "partitions-t",
                "How far each partition is, as the offset after the last record. What is read is durable \
                 here; only then is it committed to Kafka.",
                COLUMNS,
                rows.collect(),
                "No partition is assigned.",
            ))
            (left(status))
        }
    }
}

fn row(status: &Status, p: &Partition) -> (bool, Vec<Markup>) {
    let offset = |o: Option<i64>| o.map_or("-".to_owned(), |o| count(o.max(0) as u64));
    let state = match p.still_since_ms {
        _ if p.without_leader => "no leader answers".to_owned(),
        Some(ms) if status.told_ms.saturating_sub(ms) > 60_000 => {
            format!("not read on {}", since(ms, status.told_ms))
        }
        _ if status.partitions.contains(&p.partition) => "assigned".to_owned(),
        _ => "not assigned now".to_owned(),
    };
    let cells = vec![
        html! { (p.partition) },
        html! { (offset(p.in_clickhouse)) },
        html! { (offset(p.committed)) },
        html! { (offset(p.read)) },
        html! { (offset(p.end)) },
        html! { (p.unread.map_or("-".to_owned(), count)) },
        html! { (p.visible_through_ms.map_or("-".to_owned(), |ms| clock(ms, status.told_ms))) },
        html! { (state) },
    ];
    (p.without_leader, cells)
}

/// Rows of an earlier ownership, and those that are held.
fn left(status: &Status) -> Markup {
    const COLUMNS: &[Column] = &[
        Column::head("Partition"),
        Column::number("Rows queued"),
        Column::words("What they wait for"),
    ];
    let lanes = status.queue.lanes.iter();
    let lanes = lanes.filter(|l| l.state != LaneState::Open && (l.rows > 0 || l.has_tail()));
    let rows: Vec<_> = lanes
        .map(|lane| {
            let name = match lane.topic.as_str() {
                Lane::RETRIED => "out of quarantine".to_owned(),
                _ => format!("{} {}", lane.topic_name(), lane.partition),
            };
            let state = match &lane.state {
                LaneState::Held(why) => format!("HELD for a person: {why}"),
                _ if lane.has_tail() => {
                    "whether their commit was acknowledged is looked up".to_owned()
                }
                _ => "their turn to be inserted".to_owned(),
            };
            let cells = vec![
                html! { (name) },
                html! { (count(lane.rows)) },
                html! { (state) },
            ];
            (lane.is_held(), cells)
        })
        .collect();
    if rows.is_empty() {
        return html! {};
    }
    html! {
        br;
        (table(
            "left-t",
            "Rows of earlier ownerships of partitions, which are sent from here as well",
            COLUMNS,
            rows,
            "",
        ))
    }
}
