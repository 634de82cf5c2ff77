//! The stable words of findings, for metrics: each that `findings/` gives, and no other.

/// All of them.
pub const WORDS: [&str; 24] = [
    "backlog",
    "commits",
    "copy",
    "creating",
    "disk-full",
    "dropped",
    "failing",
    "filling",
    "hangs",
    "held-rows",
    "hold",
    "kafka-client",
    "kafka-down",
    "kafka-group",
    "kafka-leader",
    "lag",
    "lost",
    "not-read",
    "quarantine",
    "queue-full",
    "refused",
    "rejected",
    "stopped",
    "unreachable",
];

#[cfg(test)]
mod tests {
    use super::WORDS;

    const FINDINGS: &str = concat!(
        include_str!("findings/safety.rs"),
        include_str!("findings/kafka.rs"),
        include_str!("findings/clickhouse.rs"),
    );

    #[test]
    fn each_finding_is_given_one_of_these_words() {
        let findings = FINDINGS;
        let mut found = 0;
        for call in ["delayed(", "find("] {
            for (at, _) in findings.match_indices(call) {
                let rest = &findings[at + call.len()..];
                let first = rest.trim_start_matches(|c| c != ',' && c != '"');
                let word = first.trim_start_matches([',', ' ', '\n']);
                let Some(word) = word.strip_prefix('"').and_then(|w| w.split_once('"')) else {
                    continue;
                };
                found += 1;
                assert!(WORDS.contains(&word.0), "{}", word.0);
            }
        }
        assert!(found > 10, "{found}");
    }

    #[test]
    fn each_word_is_given_by_some_finding() {
        let findings = FINDINGS;
        for word in WORDS {
            assert!(findings.contains(&format!("\"{word}\"")), "{word}");
        }
    }
}
