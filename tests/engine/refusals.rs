//! Which refusals prove that nothing was stored. A user's own view on `http_log` can throw any code after
//! the raw rows are there; only what ClickHouse refuses on sight of a request is before them.

use anonymizer::clickhouse::SinkError;

use crate::totals::{Engine, rows};

fn raw(engine: &Engine) -> u64 {
    let count = engine.sql("SELECT count() FROM http_log");
    count.trim().parse().unwrap()
}

/// A code that a view may throw, whatever it usually stands for.
const CODES: [u32; 26] = [
    6, 16, 26, 27, 33, 38, 41, 53, 60, 69, 72, 81, 115, 117, 131, 164, 192, 193, 194, 202, 229,
    321, 344, 497, 516, 4242,
];

/// Sends batches, each under a token of its own, until one that failed has left its raw rows. The engine writes
/// rows and runs the view side by side: the view may be first. `check` looks at each error.
fn send_until_rows_are_left(
    engine: &Engine,
    settings: &[(&str, &str)],
    mut prepare: impl FnMut(u64),
    check: impl Fn(&SinkError),
) {
    let before = raw(engine);
    for attempt in 0..ATTEMPTS {
        prepare(attempt);
        let token = format!("{before}-{attempt}");
        let batch = rows(before + attempt, 10, 600);
        let error = engine.send(&token, &batch, settings).unwrap_err();
        // The same error with the rows and without them: it proves neither.
        check(&error);
        match raw(engine) - before {
            0 => {}
            10 => return,
            other => panic!("{other} of 10 rows are there: {error}"),
        }
    }
    panic!("no batch of {ATTEMPTS} left its rows");
}

/// So often at most until the rows are written before the view throws.
const ATTEMPTS: u64 = 50;

#[test]
fn no_code_that_a_users_view_throws_is_taken_for_nothing_stored() {
    let engine = Engine::start();
    engine.sql("CREATE TABLE mine (a UInt8) ENGINE = MergeTree ORDER BY a");
    let throwing = [("allow_custom_error_code_in_throwif", "1")];
    for code in CODES {
        let view = |attempt: u64| {
            // The later, the more time to write the rows in: 3 s is the longest that the engine allows.
            let pause = (0.02 * (attempt + 1) as f64).min(0.25);
            engine.sql("DROP VIEW IF EXISTS my_view");
            engine.sql(&format!(
                "CREATE MATERIALIZED VIEW my_view TO mine AS SELECT \
                 throwIf(sleepEachRow({pause}) = 0, 'mine', toInt32({code})) AS a FROM http_log \
                 SETTINGS allow_custom_error_code_in_throwif = 1"
            ));
        };
        send_until_rows_are_left(&engine, &throwing, view, |error| {
            assert!(error.may_be_stored(), "{code}: {error}");
            let told = error.to_string().contains(&format!("code {code}"));
            assert!(told, "{error}");
        });
    }
}

#[test]
fn a_table_that_a_users_view_misses_is_held_with_its_words_and_is_not_ours() {
    let engine = Engine::start();
    engine.sql("CREATE TABLE mine (a UInt64) ENGINE = MergeTree ORDER BY a");
    engine.sql("CREATE TABLE looked_up (a UInt64) ENGINE = Memory");
    engine.sql(
        "CREATE MATERIALIZED VIEW my_view TO mine AS SELECT resource_id AS a FROM http_log \
         WHERE resource_id NOT IN (SELECT a FROM looked_up)",
    );
    engine.sql("DROP TABLE looked_up SYNC");
    let nothing = |_| {};
    send_until_rows_are_left(&engine, &[], nothing, |error| {
        let held = matches!(error, SinkError::Hold { code: Some(60), .. });
        assert!(held, "{error}");
        let told = error.to_string().contains("looked_up");
        assert!(error.may_be_stored() && told, "{error}");
    });
}

#[test]
fn a_refusal_on_sight_stores_nothing_and_says_so() {
    let engine = Engine::start();
    let f = |token: &str, changed: &[(&str, &str)], code: &str| {
        let error = engine.send(token, &rows(1, 10, 600), changed).unwrap_err();
        assert!(error.to_string().contains(code), "{error}");
        assert!(!error.may_be_stored(), "{error}");
        assert_eq!(raw(&engine), 0, "{error}");
    };
    f("setting", &[("no_such_setting", "1")], "code 115");
    engine.sql("ALTER TABLE http_log RENAME COLUMN url TO address");
    f("column", &[], "code 16");
    engine.sql("ALTER TABLE http_log RENAME COLUMN address TO url");
    engine.sql("RENAME TABLE http_log TO gone");
    let error = engine.send("table", &rows(1, 10, 600), &[]).unwrap_err();
    assert!(
        matches!(error, SinkError::Missing { code: 60, .. }),
        "{error}"
    );
    assert!(!error.may_be_stored(), "{error}");
    engine.sql("RENAME TABLE gone TO http_log");
    assert_eq!(raw(&engine), 0);
}
