//! One sentence: is everything safe, since when is it not as it should be, what happens next by itself,
//! and what must a person do.
//!
//! Each fault that is met gives a [`Finding`]; the worst one heads the status, the others follow.

use serde::{Deserialize, Serialize};

use super::word::Word;

/// How it stands, the worst last.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Rows go the way they should.
    #[default]
    Ok,
    /// Rows wait longer than they should. Nothing is lost, and it ends by itself once its cause does.
    Delayed,
    /// Nothing is read from Kafka, which keeps the records meanwhile.
    Paused,
    /// Rows wait for a person. Nothing is lost.
    Held,
    /// Records will be lost unless somebody acts.
    AtRisk,
    /// Records are lost.
    Lost,
}

impl Code {
    /// All, from the best to the worst.
    pub const ALL: [Code; 6] = [
        Code::Ok,
        Code::Delayed,
        Code::Paused,
        Code::Held,
        Code::AtRisk,
        Code::Lost,
    ];

    /// The stable word of JSON and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Code::Ok => "ok",
            Code::Delayed => "delayed",
            Code::Paused => "paused",
            Code::Held => "held",
            Code::AtRisk => "at_risk",
            Code::Lost => "lost",
        }
    }

    /// As it heads a sentence.
    pub fn title(self) -> &'static str {
        match self {
            Code::Ok => "OK",
            Code::Delayed => "DELAYED, nothing lost",
            Code::Paused => "PAUSED, nothing lost",
            Code::Held => "HELD, nothing lost",
            Code::AtRisk => "AT RISK",
            Code::Lost => "LOST",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Finding {
    /// How bad it is.
    pub code: Code,
    /// A stable word for what it is, as in `ops/runbook.md`.
    pub what: Word,
    /// The reason, in words.
    pub reason: String,
    /// Since when, Unix ms, where it is known.
    pub since_ms: Option<u64>,
    /// What a person must do; nothing if it ends by itself.
    pub act: Option<String>,
}

/// The answer to "is all well?".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Verdict {
    /// The worst there is.
    pub code: Code,
    /// All of it in a line.
    pub sentence: String,
    /// Since when, Unix ms, where it is known.
    pub since_ms: Option<u64>,
    /// What happens next by itself.
    pub next: String,
    /// What a person must do.
    pub act: Option<String>,
    /// Everything that was found, the worst first.
    pub findings: Vec<Finding>,
}
