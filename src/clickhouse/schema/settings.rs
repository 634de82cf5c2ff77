//! The settings on which the promise rests: whether what is pinned arrives, and what the server adds.

use std::collections::BTreeMap;

use super::Problem;
use super::state::Setting;

/// Parameters of HTTP that are no settings.
const NO_SETTINGS: [&str; 2] = ["query_id", "wait_end_of_query"];

/// Pinned where the server knows them, which the check tells; a server that does not would refuse every
/// request that names them.
const WHERE_KNOWN: [(&str, &str); 3] = [
    // 26.2 and later: overrides insert_deduplicate.
    ("deduplicate_insert", "enable"),
    // 26.1 and 26.5: other ways to cut an insert into blocks.
    ("max_insert_block_size_bytes", "0"),
    ("use_strict_insert_block_limits", "0"),
];

/// The names of all settings that the check has to ask for.
pub(super) fn names(pinned: &[(String, String)]) -> impl Iterator<Item = &str> {
    let sent = pinned.iter().map(|(name, _)| name.as_str());
    sent.filter(|name| !NO_SETTINGS.contains(name))
        .chain(WHERE_KNOWN.map(|(name, _)| name))
        .chain(["readonly"])
}

/// What has to be sent with each insert besides what is pinned with the batch.
pub(super) fn known(settings: &BTreeMap<String, Setting>) -> Vec<(String, String)> {
    let known = |(name, _): &(&str, &str)| settings.contains_key(*name);
    WHERE_KNOWN
        .into_iter()
        .filter(known)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// What is wrong with the settings, after the check was sent with `pinned`.
pub(super) fn problems(
    settings: &BTreeMap<String, Setting>,
    pinned: &[(String, String)],
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let value = |name: &str| settings.get(name).map(|s| s.value.as_str());
    let lost: Vec<&str> = pinned
        .iter()
        .filter(|(name, _)| !NO_SETTINGS.contains(&name.as_str()))
        .filter(|(name, sent)| value(name) != Some(sent))
        .map(|(name, _)| name.as_str())
        .collect();
    if !lost.is_empty() {
        let words = format!(
            "these query parameters do not reach ClickHouse as they are sent: {}. Without them a resend is \
             stored twice, or equal rows once: have the proxy pass all parameters on",
            lost.join(", ")
        );
        problems.push(Problem::differs("the proxy", words));
    }
    for (name, wanted) in WHERE_KNOWN {
        if let Some(Setting { value, fixed: true }) = settings.get(name)
            && value != wanted
        {
            let words = format!(
                "the setting {name} is {value:?}, must be {wanted:?}, and ClickHouse does not let this user \
                 change it: take the constraint out of his profile"
            );
            problems.push(Problem::differs("the profile", words));
        }
    }
    if value("readonly").is_some_and(|value| value != "0") {
        let words =
            "the setting readonly keeps this user from inserting: take it out of his profile";
        problems.push(Problem::differs("the profile", words.to_owned()));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clickhouse::insert_settings;

    /// What a server tells that takes all that is sent, and knows all.
    fn honest(pinned: &[(String, String)]) -> BTreeMap<String, Setting> {
        let setting = |value: &str| Setting {
            value: value.to_owned(),
            fixed: false,
        };
        let sent = pinned.iter().map(|(n, v)| (n.clone(), setting(v)));
        let known = WHERE_KNOWN.map(|(n, _)| (n.to_owned(), setting("other")));
        sent.chain(known).collect()
    }

    fn words(settings: &BTreeMap<String, Setting>, pinned: &[(String, String)]) -> Vec<String> {
        let all = problems(settings, pinned).into_iter();
        all.map(|p| p.words).collect()
    }

    #[test]
    fn a_parameter_that_does_not_arrive_is_named() {
        let pinned = insert_settings("canary", 1);
        let mut settings = honest(&pinned);
        assert_eq!(words(&settings, &pinned), [""; 0]);
        settings.remove("insert_deduplicate");
        settings.get_mut("async_insert").unwrap().value = "1".into();
        let token = settings.get_mut("insert_deduplication_token").unwrap();
        token.value = "of an answer that was kept".into();
        let all = words(&settings, &pinned);
        let named = "insert_deduplication_token, insert_deduplicate, async_insert.";
        assert!(all.len() == 1 && all[0].contains(named), "{all:?}");
        let all = words(&BTreeMap::new(), &pinned);
        assert!(all[0].contains("parallel_view_processing"), "{all:?}");
    }

    #[test]
    fn a_setting_is_pinned_where_the_server_knows_it() {
        let pinned = insert_settings("canary", 1);
        let mut settings = honest(&pinned);
        assert_eq!(known(&settings).len(), WHERE_KNOWN.len());
        settings.remove("deduplicate_insert");
        let known = known(&settings);
        assert!(known.len() == 2 && known.iter().all(|(n, _)| n != "deduplicate_insert"));
    }

    #[test]
    fn a_setting_that_cannot_be_pinned_is_named() {
        let pinned = insert_settings("canary", 1);
        let mut settings = honest(&pinned);
        let fixed = |value: &str| Setting {
            value: value.to_owned(),
            fixed: true,
        };
        settings.insert("deduplicate_insert".into(), fixed("enable"));
        assert_eq!(words(&settings, &pinned), [""; 0]);
        settings.insert("deduplicate_insert".into(), fixed("disable"));
        settings.insert("readonly".into(), fixed("2"));
        let all = words(&settings, &pinned);
        assert!(
            all[0].contains("deduplicate_insert is \"disable\""),
            "{all:?}"
        );
        assert!(all[1].contains("readonly"), "{all:?}");
    }
}
