//! Is what a person sees at the HTTP port true, whole, and safe to look at?

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use crate::support::program::Program;
use crate::support::wait::PATIENCE;
use crate::support::world::World;

/// Asks for a page, and returns head and body.
fn ask(program: &Program, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(program.pages_address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn get(program: &Program, path: &str) -> String {
    let (head, body) = ask(program, &format!("GET {path}"));
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {head}");
    body
}

#[test]
fn the_page_allows_a_browser_nothing_but_itself() {
    let w = World::of(1);
    let program = w.setup.run();
    let (head, body) = ask(&program, "GET /");
    let line = |name: &str| {
        let found = head.lines().find_map(|l| l.strip_prefix(name));
        found.unwrap_or_else(|| panic!("no {name}: {head}")).trim()
    };
    let policy = line("Content-Security-Policy:");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(line("X-Content-Type-Options:"), "nosniff");
    assert_eq!(line("Referrer-Policy:"), "no-referrer");
    assert_eq!(line("Content-Type:"), "text/html; charset=utf-8");
    assert_eq!(line("Cache-Control:"), "no-store");
    // The word that lets style and script pass is another one each time.
    let nonce = |body: &str| {
        let (_, rest) = body.split_once("<script nonce=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let first = nonce(&body);
    assert!(first.len() == 32 && policy.contains(&first), "{policy}");
    assert_ne!(first, nonce(&get(&program, "/")));
    let (head, body) = ask(&program, "HEAD /");
    assert!(head.starts_with("HTTP/1.1 200") && body.is_empty());
    program.stop();
}

#[test]
fn nothing_is_changed_by_http() {
    let w = World::of(1);
    let program = w.setup.run();
    for path in ["/", "/api/v1/status", "/api/v1/status/schema", "/metrics"] {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let (head, _) = ask(&program, &format!("{method} {path}"));
            assert!(head.starts_with("HTTP/1.1 405"), "{method} {path}: {head}");
        }
    }
    program.stop();
}

#[test]
fn no_secret_is_on_the_page_or_in_the_status() {
    const SECRETS: [&str; 3] = ["hunter2", "swordfish", "0pensesame"];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, SECRETS[0]).unwrap();
    let mut w = World::of(1)
        .with("--clickhouse-user", "writer")
        .with("--clickhouse-password-file", file.to_str().unwrap());
    let properties = format!(
        "sasl.password={},ssl.key.password={}",
        SECRETS[1], SECRETS[2]
    );
    w.setup.env("ANONYMIZER_KAFKA_PROPERTIES", &properties);
    let program = w.setup.run();
    w.kafka.produce(1, 100);
    w.wait_all_stored();
    let page = get(&program, "/");
    assert!(page.contains("kafka_properties.sasl.password"), "{page}");
    for text in [
        &page,
        &get(&program, "/api/v1/status"),
        &get(&program, "/metrics"),
    ] {
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
    w.finish(program);
}

/// Whoever has no script, or a browser that is a telephone on a bad line, gets the same answers.
#[test]
fn without_a_script_the_page_says_what_is_since_when_and_what_to_do() {
    let bounded = |drops: &str| {
        World::of(1)
            .with("--max-quarantine-bytes", "1MiB")
            .with("--quarantine-full", drops)
    };
    let states = [
        (World::of(1).with("--min-free-disk", "100TiB"), "PAUSED", 0),
        (bounded("drop-oldest"), "LOST", 12_000),
    ];
    for (mut w, word, noise) in states {
        let program = w.setup.run();
        w.kafka.send(&vec![vec![0xfe; 100]; noise]);
        let code = word.to_lowercase();
        w.setup.wait_status(|s| {
            let read = s["kafka"]["partitions"][0]["read"].as_u64();
            s["verdict"]["code"] == *code && read.unwrap_or(0) == noise as u64
        });
        let said: Value = serde_json::from_str(&get(&program, "/api/v1/status")).unwrap();
        let verdict = &said["verdict"];
        let page = get(&program, "/");
        let (head, _) = page.split_once("<body").unwrap();
        assert!(
            head.contains("<noscript><meta http-equiv=\"refresh\""),
            "{head}"
        );
        let mut text = String::new();
        for part in page.split("</script>") {
            text += part.split("<script").next().unwrap();
        }
        let (_, part) = text.split_once("id=\"verdict\"").unwrap();
        let part = part.split("</section>").next().unwrap();
        assert!(part.contains(&format!(">{word}</h1>")), "{part}");
        // Up to a number, which may be another one by now.
        let reason = verdict["findings"][0]["reason"].as_str().unwrap();
        let words = reason
            .split(|c: char| c.is_ascii_digit())
            .max_by_key(|words| words.len());
        assert!(part.contains(words.unwrap()), "{reason}: {part}");
        let since = anonymizer::runtime::clock::rfc3339(verdict["since_ms"].as_u64().unwrap());
        assert!(part.contains(&since[11..19]), "{since}: {part}");
        let act = verdict["act"].as_str().unwrap();
        assert!(part.contains(&format!("<b>{act}</b>")), "{act}: {part}");
        program.stop();
    }
}

#[test]
fn the_day_is_there_after_a_restart() {
    let mut w = World::of(1);
    let program = w.setup.run();
    w.stores(1, 12_345);
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    program.stop();
    let program = w.setup.run();
    // A rate of 12,345 rows in a minute or a part of it, though this process has read none.
    let page = get(&program, "/");
    let (_, chart) = page.split_once("id=\"c-rows\"").unwrap();
    let chart = chart.split("</figcaption>").next().unwrap();
    assert_eq!(chart.matches("now ").count(), 2, "{chart}");
    assert!(!chart.contains("now 0 rows/s, never more"), "{chart}");
    w.finish(program);
}

#[test]
fn what_programs_ask_is_what_status_says() {
    let mut w = World::of(2);
    let program = w.setup.run();
    w.stores(1, 500);
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    let asked: Value = serde_json::from_str(&get(&program, "/api/v1/status")).unwrap();
    let said = w.setup.status();
    for same in ["installation", "partitions", "queue", "live"] {
        assert_eq!(asked[same], said[same], "{same}");
    }
    let names = |v: &Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&asked), names(&said));
    let schema: Value = serde_json::from_str(&get(&program, "/api/v1/status/schema")).unwrap();
    assert_eq!(names(&schema["properties"]), names(&said));
    w.finish(program);
}

#[test]
fn the_page_tells_what_became_of_the_last_requests() {
    use crate::support::fake_clickhouse::Fault;
    let mut w = World::of(1);
    let program = w.run_with([Fault::Limited503(None), Fault::Status(502)]);
    w.kafka.produce(1, 500);
    w.wait_all_stored();
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    let page = get(&program, "/");
    let (_, answers) = page.split_once("id=\"answers-t\"").unwrap();
    let answers = answers.split("</table>").next().unwrap();
    for says in [
        "limited",
        "retry",
        "ok",
        "left the queue",
        "no slot was used",
    ] {
        assert!(answers.contains(says), "{says}: {answers}");
    }
    w.finish(program);
}
