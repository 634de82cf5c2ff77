//! The settings in effect, and where each came from. Secrets were covered before they came here.

use maud::{Markup, html};

use super::table::{Column, table};

pub(super) fn section(settings: &[(String, String, String)]) -> Markup {
    const COLUMNS: &[Column] = &[
        Column::head("Setting"),
        Column::words("Value"),
        Column::words("From"),
    ];
    let rows = settings.iter().map(|(name, value, source)| {
        let cells = vec![
            html! { code { (name) } },
            html! { code { (value) } },
            html! { (source) },
        ];
        (false, cells)
    });
    html! {
        section #settings data-part aria-labelledby="settings-h" {
            details #settings-d {
                summary #settings-s { h2 #settings-h { "Settings in effect" } }
                (table(
                    "settings-t",
                    "Each value, and whether it was given by a flag, the environment, the file or the default",
                    COLUMNS,
                    rows.collect(),
                    "",
                ))
            }
        }
    }
}
