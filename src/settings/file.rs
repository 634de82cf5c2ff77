//! The settings as a file: an example with every default, and the JSON schema that editors check by.

use serde_json::{Value, json};

use super::flags::PROPERTIES_HELP;
use super::{Setting, TABLE, properties};
use crate::runtime::wrap::{COLUMNS, wrap};

/// A key that names the file's schema to an editor; no setting.
pub(super) const SCHEMA_KEY: &str = "$schema";

/// What `kafka_properties` may hold, for example.
const PROPERTIES_EXAMPLE: [(&str, &str); 3] = [
    ("security.protocol", "SASL_SSL"),
    ("sasl.mechanisms", "SCRAM-SHA-512"),
    ("sasl.username", "anonymizer"),
];

/// A file that says what holds without it: each setting with its default and what it takes, as comments
/// say. What has no default is a comment, too.
#[must_use]
pub fn example() -> String {
    let mut text = String::new();
    let comment = |text: &mut String, indent: &str, words: &str| {
        for line in wrap(words, COLUMNS - indent.len() - 3) {
            *text += &format!("{indent}// {line}\n");
        }
    };
    comment(
        &mut text,
        "",
        "Settings of anonymizer with their defaults, for --config FILE. Comments and a comma after the \
         last line are taken. Flags and variables of the environment win over this file.",
    );
    text += "{\n";
    comment(
        &mut text,
        "  ",
        "Editors check the file by this; `anonymizer config schema` prints it",
    );
    text += &format!("  // \"{SCHEMA_KEY}\": \"anonymizer.schema.json\",\n");
    for setting in TABLE {
        text += "\n";
        comment(&mut text, "  ", setting.help);
        comment(&mut text, "  ", &format!("Takes {}", (setting.accepted)()));
        let (slashes, value) = match setting.default {
            "" => ("// ", setting.example),
            default => ("", default),
        };
        text += &format!(
            "  {slashes}\"{}\": {},\n",
            setting.name,
            setting.literal(value)
        );
    }
    text += "\n";
    comment(
        &mut text,
        "  ",
        "librdkafka properties, for consumer and producer alike",
    );
    text += &format!("  // \"{}\": {{\n", properties::NAME);
    for (name, value) in PROPERTIES_EXAMPLE {
        text += &format!("  //   \"{name}\": \"{value}\",\n");
    }
    text + "  // },\n}\n"
}

/// The JSON schema (2020-12) of the file, without its comments.
#[must_use]
pub fn schema() -> Value {
    let settings = TABLE.iter().map(|s| (s.name.to_owned(), s.schema()));
    let mut keys: serde_json::Map<String, Value> = settings.collect();
    keys.insert(
        properties::NAME.into(),
        json!({
            "description": PROPERTIES_HELP,
            "type": "object",
            "additionalProperties": { "type": ["string", "number", "boolean"] },
            "examples": [PROPERTIES_EXAMPLE.into_iter().collect::<std::collections::BTreeMap<_, _>>()],
        }),
    );
    keys.insert(
        SCHEMA_KEY.into(),
        json!({ "description": "Where an editor finds this schema", "type": "string" }),
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of anonymizer",
        "type": "object",
        "properties": keys,
        "additionalProperties": false,
    })
}

impl Setting {
    /// The words of which a setting takes one; none if it takes more than a list can have. They are
    /// those of "pause or drop-oldest", if the parser takes each.
    fn choices(&self) -> Vec<String> {
        let accepted = (self.accepted)().replace(" or ", ", ");
        let words: Vec<String> = accepted.split(", ").map(str::to_owned).collect();
        if words.len() > 1 && words.iter().all(|word| (self.takes)(word)) {
            words
        } else {
            vec![]
        }
    }

    fn is_boolean(&self) -> bool {
        self.choices() == ["true", "false"]
    }

    /// Whether the file may hold a bare number: some are taken, and a letter is not.
    fn is_number(&self) -> bool {
        let numbers = ["0", "1", "8", "60", "80", "100000", "1000000000"];
        !(self.takes)("a") && !self.is_boolean() && numbers.iter().any(|n| (self.takes)(n))
    }

    /// A value as JSON: bare where a person would write it so.
    fn literal(&self, value: &str) -> Value {
        match value.parse::<u64>() {
            Ok(n) if self.is_number() => n.into(),
            _ if self.is_boolean() => (value == "true").into(),
            _ => value.into(),
        }
    }

    fn schema(&self) -> Value {
        let mut schema = json!({
            "description": format!("{}. Takes {}", self.help, (self.accepted)()),
            "examples": [self.literal(self.example)],
        });
        if !self.default.is_empty() {
            schema["default"] = self.literal(self.default);
        }
        let choices = self.choices();
        if self.is_boolean() {
            schema["type"] = "boolean".into();
        } else if self.is_number() {
            schema["type"] = json!(["string", "number"]);
        } else if choices.is_empty() {
            schema["type"] = "string".into();
        } else {
            schema["enum"] = choices.into();
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use std::io::Write as _;

    fn load(text: &str) -> Result<crate::settings::Config, crate::settings::ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Settings::default().load_from([("ANONYMIZER_CONFIG".into(), file.path().into())])
    }

    /// Name and value of everything.
    fn values(config: &crate::settings::Config) -> Vec<(String, String)> {
        let shown = config.describe().into_iter();
        shown.map(|(name, value, _)| (name, value)).collect()
    }

    #[test]
    fn the_example_holds_every_default() {
        let text = example();
        let config = load(&text).unwrap();
        let defaults = Settings::default().load_from([]).unwrap();
        assert_eq!(values(&config), values(&defaults));
        for (name, _, origin) in config.describe() {
            let default = TABLE.iter().find(|s| s.name == name).unwrap().default;
            let want = if default.is_empty() {
                "default"
            } else {
                "file "
            };
            assert!(origin.starts_with(want), "{name}: {origin}");
        }
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(COLUMNS), "{text}");
    }

    #[test]
    fn what_the_example_leaves_out_is_right_once_it_is_no_comment() {
        let bare = |line: &str| match line.trim_start().strip_prefix("// ") {
            Some(rest) if rest.trim_start().starts_with(['"', '}']) => rest.to_owned(),
            _ => line.to_owned(),
        };
        let text: Vec<String> = example().lines().map(bare).collect();
        let config = load(&text.join("\n")).unwrap();
        assert_eq!(config.clickhouse_user.as_deref(), Some("anonymizer"));
        assert_eq!(config.kafka_properties.len(), PROPERTIES_EXAMPLE.len());
        let is_given = |(_, _, origin): &(_, _, String)| origin.starts_with("file ");
        assert!(
            config.describe().iter().all(is_given),
            "{:?}",
            config.describe()
        );
    }

    #[test]
    fn comments_and_a_last_comma_are_taken_and_texts_left_alone() {
        let config =
            load("// a\n{ /* b */ \"kafka_group\": \"a // b\", // c\n \"$schema\": \"x\",\n}")
                .unwrap();
        assert_eq!(config.kafka_group, "a // b");
        for (bad, line) in [("{\n/* ", "line 2"), ("{\n\"a\" // :\n}", "line 3")] {
            let error = load(bad).unwrap_err().to_string();
            assert!(error.contains(line), "{bad}: {error}");
        }
    }

    #[test]
    fn the_schema_knows_the_kind_of_each_setting() {
        let schema = schema();
        let f = |name: &str, key: &str, want: Value| {
            assert_eq!(schema["properties"][name][key], want, "{name}");
        };
        f("flush_interval", "type", json!(["string", "number"]));
        f("min_free_disk", "type", json!(["string", "number"]));
        f("max_batch_rows", "default", json!(1_000_000));
        f("mask_ipv4_bits", "type", json!(["string", "number"]));
        f("mask_ipv6_bits", "default", json!(80));
        f("no_create_tables", "type", json!("boolean"));
        f("no_create_tables", "default", json!(false));
        f("kafka_start", "enum", json!(["earliest", "latest", "stop"]));
        f("quarantine_full", "enum", json!(["pause", "drop-oldest"]));
        f("kafka_topic", "type", json!("string"));
        f("clickhouse_user", "default", Value::Null);
        f("http_listen", "type", json!("string"));
    }
}
