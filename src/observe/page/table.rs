//! A table with a caption and headings, which scrolls in its own box where it is too wide.

use maud::{Markup, html};

/// A heading, and what stands below it.
#[derive(Clone, Copy)]
pub(super) struct Column {
    name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// The row's own name.
    Head,
    Number,
    /// Not broken into lines.
    Text,
    /// Long.
    Words,
}

impl Column {
    pub(super) const fn head(name: &'static str) -> Column {
        let kind = Kind::Head;
        Column { name, kind }
    }

    pub(super) const fn number(name: &'static str) -> Column {
        let kind = Kind::Number;
        Column { name, kind }
    }

    pub(super) const fn text(name: &'static str) -> Column {
        let kind = Kind::Text;
        Column { name, kind }
    }

    pub(super) const fn words(name: &'static str) -> Column {
        let kind = Kind::Words;
        Column { name, kind }
    }
}

/// Rows, each with whether it is something bad. Without any only `none` is said.
pub(super) fn table(
    id: &str,
    caption: &str,
    columns: &[Column],
    rows: Vec<(bool, Vec<Markup>)>,
    none: &str,
) -> Markup {
    if rows.is_empty() {
        return html! { p.note { (none) } };
    }
    let caption_id = format!("{id}-c");
    html! {
        div.scroll #(id) tabindex="0" role="region" aria-labelledby=(caption_id) {
            table {
                caption #(caption_id) { span { (caption) } }
                thead {
                    tr {
                        @for c in columns {
                            th scope="col" class=[matches!(c.kind, Kind::Number).then_some("n")] { (c.name) }
                        }
                    }
                }
                tbody {
                    @for (is_bad, cells) in rows {
                        tr class=[is_bad.then_some("bad")] {
                            @for (c, cell) in columns.iter().zip(cells) {
                                @match c.kind {
                                    Kind::Head => th scope="row" { (cell) },
                                    Kind::Number => td.n { (cell) },
                                    Kind::Text => td.t { (cell) },
                                    Kind::Words => td.w { (cell) },
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
