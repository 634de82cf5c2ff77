//! Which of two formats a client would rather have, by its `Accept` header.

/// How much a client wants `media`, 0 to 1000: the best of the entries that name it, parameters aside.
/// `None` if it names it nowhere; `*/*` names nothing.
fn wish(accept: &str, media: &str) -> Option<u32> {
    let named = accept.split(',').filter_map(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let is_it = parts.next()?.eq_ignore_ascii_case(media);
        let quality = parts
            .filter_map(|p| p.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .map_or(Some(1.0), |(_, q)| q.trim().parse::<f64>().ok());
        // A `q` that is no number asks for nothing.
        let quality = quality.filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0);
        is_it.then_some((quality * 1000.0) as u32)
    });
    named.max()
}

/// Whether the client asks for OpenMetrics, and not rather for plain text. A browser and `curl` do not.
pub(super) fn open_metrics(accept: &str) -> bool {
    let plain = wish(accept, "text/plain").unwrap_or(0);
    wish(accept, "application/openmetrics-text").is_some_and(|q| q > 0 && q >= plain)
}

#[cfg(test)]
mod tests {
    use super::open_metrics;

    #[test]
    fn only_who_asks_for_openmetrics_gets_it() {
        for asks in [
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0",
            "text/plain;q=0.5, Application/OpenMetrics-Text ; q = 0.7",
            // Prometheus 2.45 and 3.
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,\
             text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
        ] {
            assert!(open_metrics(asks), "{asks}");
        }
        for asks_not in [
            "",
            "*/*",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
            "text/plain",
            "text/plain, application/openmetrics-text;q=0.9",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=zero",
            "application/openmetrics-text;q=NaN",
            "application/openmetrics-textual",
        ] {
            assert!(!open_metrics(asks_not), "{asks_not}");
        }
    }
}
