//! The text of a settings file as keys and values.

use std::collections::BTreeMap;
use std::fmt;

use serde::de;
use serde_json::Value;

/// The keys of a file's text and their values.
pub(super) fn keys(mut text: String) -> serde_json::Result<BTreeMap<String, Value>> {
    // Becomes spaces, so that lines are counted as they are. What has no end is refused below.
    let _ = json_strip_comments::strip(&mut text);
    let UniqueKeys(keys) = serde_json::from_str(&text)?;
    Ok(keys)
}

/// A JSON value as the text that a flag would hold; `None` for null, lists and objects.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        // 1e9 is a whole number to a person, and to us.
        Value::Number(n) => Some(n.to_string().trim_end_matches(".0").to_string()),
        _ => None,
    }
}

/// The pairs of a JSON object, refusing a key that is there twice: one of the two would be ignored.
struct UniqueKeys(BTreeMap<String, Value>);

impl<'de> de::Deserialize<'de> for UniqueKeys {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = UniqueKeys;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of settings")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<UniqueKeys, A::Error> {
                let mut keys = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if keys.insert(key.clone(), value).is_some() {
                        return Err(de::Error::custom(format_args!(
                            "the key {key:?} is there twice"
                        )));
                    }
                }
                Ok(UniqueKeys(keys))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
