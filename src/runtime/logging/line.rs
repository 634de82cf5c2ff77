//! One line of the log: as a person reads it, or as a program does.

use log::Level;
use serde::Serialize;

use crate::runtime::clock::{rfc3339, rfc3339_millis};

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Time, level, target and words, for people.
    #[default]
    Text,
    /// One JSON object a line: `time` (RFC 3339, UTC, with milliseconds), `level` (ERROR, WARN, INFO,
    /// DEBUG, TRACE), `target` (which part speaks), `message`; and where a line stands for several that
    /// were alike, `repeated` (how many) and `last` (when the last one came).
    Json,
}

/// What a line says.
pub struct Line<'a> {
    /// When, Unix ms.
    pub time_ms: u64,
    /// How grave it is.
    pub level: Level,
    /// Which part speaks.
    pub target: &'a str,
    /// The words; may be several lines.
    pub message: &'a str,
    /// If it stands for several.
    pub again: Option<Again>,
}

/// How often a line came that was not written each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// So often.
    pub times: u64,
    /// In so many seconds.
    pub within_s: u64,
    /// How many seconds ago the last one came.
    pub ago_s: u64,
    /// When the last one came, Unix ms.
    pub last_ms: u64,
}

/// The last one came so few seconds ago that nobody asks when.
const JUST_NOW_S: u64 = 5;

#[derive(Serialize)]
struct Json<'a> {
    time: String,
    level: &'static str,
    target: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
}

impl Line<'_> {
    /// With its newline.
    pub fn written(&self, format: Format) -> Vec<u8> {
        match format {
            Format::Text => {
                let (time, level, target) = (rfc3339(self.time_ms), self.level, self.target);
                let again = self.again.map(|a| a.words()).unwrap_or_default();
                let words = format!("{}{again}", self.message).replace('\n', "\n    ");
                format!("[{time} {level:<5} {target}] {words}\n").into_bytes()
            }
            Format::Json => self.json(),
        }
    }

    /// As it is for people, that is, without its time and level.
    pub fn plain(&self, format: Format) -> Vec<u8> {
        match format {
            Format::Text => format!("{}\n", self.message).into_bytes(),
            Format::Json => self.json(),
        }
    }

    fn json(&self) -> Vec<u8> {
        let line = Json {
            time: rfc3339_millis(self.time_ms),
            level: self.level.as_str(),
            target: self.target,
            message: self.message,
            repeated: self.again.map(|a| a.times),
            last: self.again.map(|a| rfc3339_millis(a.last_ms)),
        };
        // Texts and numbers can be written.
        let mut line = serde_json::to_vec(&line).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

impl Again {
    fn words(self) -> String {
        let times = match self.times {
            1 => "once more".to_owned(),
            n => format!("{} times", grouped(n)),
        };
        let within = match self.within_s {
            60 => "minute".to_owned(),
            s => format!("{s} s"),
        };
        let last = match self.ago_s {
            ..=JUST_NOW_S => String::new(),
            _ => format!(", last at {}", rfc3339(self.last_ms)),
        };
        format!(" ({times} in the last {within}{last})")
    }
}

/// `1234567` as `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAIN: Again = Again {
        times: 1234,
        within_s: 60,
        ago_s: 2,
        last_ms: 1_764_253_228_500,
    };

    fn line(message: &str, again: Option<Again>) -> Line<'_> {
        Line {
            time_ms: 1_764_253_229_123,
            level: Level::Warn,
            target: "anonymizer::store",
            message,
            again,
        }
    }

    fn text(line: &Line<'_>) -> String {
        String::from_utf8(line.written(Format::Text)).unwrap()
    }

    #[test]
    fn a_person_reads_time_level_target_and_words() {
        assert_eq!(
            text(&line("no\nanswer", None)),
            "[2025-11-27T14:20:29Z WARN  anonymizer::store] no\n    answer\n"
        );
        let told = text(&line("no", Some(AGAIN)));
        assert!(told.ends_with("] no (1,234 times in the last minute)\n"));
        let few = Again {
            times: 1,
            within_s: 34,
            ago_s: 30,
            ..AGAIN
        };
        let told = text(&line("no", Some(few)));
        assert!(
            told.ends_with("] no (once more in the last 34 s, last at 2025-11-27T14:20:28Z)\n")
        );
    }

    #[test]
    fn a_program_reads_one_object_a_line_whatever_the_words() {
        let words = "a \"quoted\"\nline \u{1b}[31m\u{2028}\t\\ of 192.0.2.X";
        for (again, keys) in [(None, 4), (Some(AGAIN), 6)] {
            let line = line(words, again);
            let json = String::from_utf8(line.written(Format::Json)).unwrap();
            assert_eq!(json.lines().count(), 1, "{json}");
            let read: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(read["time"], "2025-11-27T14:20:29.123Z");
            assert_eq!(read["level"], "WARN");
            assert_eq!(read["target"], "anonymizer::store");
            assert_eq!(read["message"], words);
            assert_eq!(read["repeated"].as_u64(), again.map(|a| a.times));
            assert_eq!(read.as_object().unwrap().len(), keys);
            assert_eq!(line.plain(Format::Json), json.as_bytes());
        }
    }

    #[test]
    fn digits_are_grouped_by_three() {
        for (n, words) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (7654321, "7,654,321"),
        ] {
            assert_eq!(grouped(n), words);
        }
    }
}
