//! What `/api/v1/status` answers with, as a JSON schema: `schema/status.schema.json`, which a test derives
//! anew from the types.

/// The schema, as it is kept.
pub(super) const SCHEMA: &str = include_str!("../../../schema/status.schema.json");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::status::Status;

    /// What is kept is what a program is told of the next version: a change of it is a change of a promise.
    #[test]
    fn the_schema_that_is_kept_is_that_of_the_types() {
        let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
        let derived = settings.into_generator().into_root_schema_for::<Status>();
        let derived = serde_json::to_string_pretty(&derived).unwrap() + "\n";
        if derived != SCHEMA {
            let new = concat!(env!("CARGO_MANIFEST_DIR"), "/target/status.schema.json");
            std::fs::write(new, derived).unwrap();
            panic!("if it is meant: cp target/status.schema.json schema/status.schema.json");
        }
    }
}
