//! The page of states that are not made here: what stands in it, and that it stands there as text.

use super::*;
use crate::flush::FlushStatus;
use crate::observe::status::Kafka;
use crate::observe::verdict::{Code, Finding, Verdict};
use crate::observe::word::Word;
use crate::queue::fixture::Fixture;
use crate::queue::{Lane, LaneId, LaneState, LostRange};
use crate::runtime::conditions::Trouble;

/// Words that a neighbour may send.
const HOSTILE: &str = "<script>alert(\"1\")</script><img src=x onerror=alert(1)>&lt;";

/// An instance of which everything that is words is hostile.
fn hostile() -> Status {
    let trouble = Trouble {
        kind: HOSTILE.into(),
        words: HOSTILE.into(),
        since_ms: 1,
        times: 3,
    };
    let finding = Finding {
        code: Code::Held,
        what: Word::Hold,
        reason: HOSTILE.into(),
        since_ms: Some(1),
        act: Some(HOSTILE.into()),
    };
    let mut queue = Fixture::new().q().summary().unwrap();
    queue.lanes.push(Lane {
        rows: 5,
        state: LaneState::Held(HOSTILE.into()),
        ..Lane::new(LaneId(1), HOSTILE, 0, 0)
    });
    queue.quarantined = 7;
    Status {
        verdict: Verdict {
            code: Code::Held,
            sentence: HOSTILE.into(),
            since_ms: Some(1),
            next: HOSTILE.into(),
            act: Some(HOSTILE.into()),
            findings: vec![finding.clone(), finding],
        },
        told_ms: 100_000_000,
        live: true,
        copy: Some(HOSTILE.into()),
        installation: HOSTILE.into(),
        privacy: vec![],
        queue,
        disk_bytes: 0,
        partitions: vec![0],
        kafka: Kafka {
            down: Some(trouble.clone()),
            ..Kafka::default()
        },
        lost: vec![LostRange {
            topic: HOSTILE.into(),
            partition: 0,
            from: 3,
            to: 5,
            noticed_ms: 1,
            unsure: false,
        }],
        dropped: Vec::new(),
        flush: FlushStatus {
            failing: Some(trouble),
            hold: Some(HOSTILE.into()),
            ..FlushStatus::default()
        },
        limits: Default::default(),
        counted: Default::default(),
        rates: Default::default(),
        forecast: Default::default(),
    }
}

fn shown(status: &Status, settings: &[(String, String, String)]) -> String {
    page(&View {
        status,
        settings,
        day: &[None, Some(Sample::default())],
        first_minute: 0,
        span: Span::Auto,
        reasons: &[(HOSTILE.to_owned(), 5)],
        nonce: "n0nce",
    })
}

#[test]
fn words_of_others_are_shown_as_words() {
    let setting = (HOSTILE.to_owned(), HOSTILE.to_owned(), HOSTILE.to_owned());
    let page = shown(&hostile(), &[setting]);
    // Our own script and style, and no other.
    assert_eq!(page.matches("<script").count(), 1, "{page}");
    assert_eq!(page.matches("<img").count(), 0, "{page}");
    assert!(page.matches("&lt;script&gt;").count() >= 12, "{page}");
    assert!(!page.contains("onerror=alert(1)>"), "{page}");
}

#[test]
fn what_is_bad_has_the_command_to_act() {
    let page = shown(&hostile(), &[]);
    for says in [
        "<h1 id=\"verdict-h\">HELD</h1>",
        "anonymizer quarantine list",
        "2 not looked at",
    ] {
        let says = says.replace("2 not looked at", ">2</th>");
        assert!(page.contains(&says), "{says}: {page}");
    }
}

#[test]
fn nothing_but_its_own_style_and_script_is_allowed() {
    let policy = policy("n0nce");
    for part in [
        "default-src 'none'",
        "script-src 'nonce-n0nce'",
        "style-src 'nonce-n0nce'",
        "frame-ancestors 'none'",
        "form-action 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(part), "{part}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let page = shown(&hostile(), &[]);
    assert!(page.contains("<script nonce=\"n0nce\">"), "{page}");
    assert!(page.contains("<style nonce=\"n0nce\">"), "{page}");
    // The policy lets no attribute be a style, and nothing here names another server.
    assert!(!page.contains(" style=\""), "{page}");
    for outside in ["https://", "src=\"", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}: {page}");
    }
    // The name of the format of an image.
    assert_eq!(page.matches("http://").count(), 1, "{page}");
}
