//! Kafka by tokens: OAUTHBEARER, from an endpoint or a file.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::broker::Broker;
use crate::issuer::{AUDIENCE, CLIENT, Gives, Issuer, SECRET};
use crate::kafka::{AUTHORITY, SASL_TLS, Secure, another, come, world};
use crate::support::program::{Program, Setup};
use crate::support::stack::free_port;
use crate::support::tls::{Identity, TlsFront};

const MECHANISM: &str = "sasl.mechanism=OAUTHBEARER";

/// So long a token holds whose renewal is looked at: the broker hangs up after it.
const SHORT: u64 = 15;

fn come_by_tokens(setup: &mut Setup, broker: &Broker, properties: &[&str]) {
    come(setup, broker, "OAUTH", &[SASL_TLS, AUTHORITY, MECHANISM]);
    for property in properties {
        setup.add("--kafka-properties", property);
    }
}

/// Has the program ask this endpoint, with the secret in this file.
fn ask(setup: &mut Setup, broker: &Broker, url: &str, secret: &Path) {
    let url = format!("sasl.oauthbearer.token.endpoint.url={url}/token");
    let client = format!("sasl.oauthbearer.client.id={CLIENT}");
    let scope = "sasl.oauthbearer.scope=logs";
    let method = "sasl.oauthbearer.method=oidc";
    come_by_tokens(setup, broker, &[&url, &client, scope, method]);
    let secret = secret.display().to_string();
    setup.set("--kafka-client-secret-file", &secret);
}

/// Nothing that was said holds a secret.
fn assert_no_secret(program: &Program, setup: &Setup) {
    let all = format!("{} {}", program.log(), setup.status());
    for secret in [SECRET, "client-Zq7", "eyJ"] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
}

/// Records come in while tokens end, until `is_enough`.
fn read_over_ends(w: &mut Secure, mut is_enough: impl FnMut() -> bool) {
    let mut seed = 1;
    while !is_enough() {
        w.stores(seed, 100);
        seed += 1;
        thread::sleep(Duration::from_millis(500));
    }
    w.stores(seed, 100);
}

#[test]
fn reading_goes_on_while_tokens_of_an_endpoint_end() {
    let mut w = world("tokens", 2);
    let broker = Arc::clone(&w.own);
    let issuer = Issuer::new(free_port(), &broker.signs);
    issuer.state().lives = SHORT;
    issuer.listen();
    let front = TlsFront::start(
        &issuer.url(),
        &Identity::signed("127.0.0.1", &broker.authority),
    );
    let secret = broker.file("tokens-secret");
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    ask(&mut w.setup, &broker, &front.url(), &secret);
    let authority = broker.file("authority.pem").display().to_string();
    let authority = format!("https.ca.location={authority}");
    w.setup.add("--kafka-properties", &authority);
    let program = w.setup.run();
    read_over_ends(&mut w, || issuer.state().given >= 3);
    assert_no_secret(&program, &w.setup);
    w.finish(program);
}

#[test]
fn a_token_in_a_file_is_read_anew_as_it_is_renewed() {
    let mut w = world("token-file", 2);
    let broker = Arc::clone(&w.own);
    let file = broker.file("token");
    w.setup
        .set("--kafka-token-file", &file.display().to_string());
    come_by_tokens(&mut w.setup, &broker, &[]);
    // One that is over, at first.
    let put = {
        let (signs, file) = (broker.signs.clone(), file.clone());
        move |seconds: u64| {
            let new = file.with_extension("new");
            fs::write(&new, signs.token(AUDIENCE, seconds)).unwrap();
            fs::rename(&new, &file).unwrap();
        }
    };
    put(0);
    let program = w.setup.run();
    let status = w
        .setup
        .wait_status(|s| s["kafka"]["fault"]["kind"] == "token-file");
    let verdict = status["verdict"].to_string();
    assert!(verdict.contains("has expired"), "{verdict}");
    let ends = Arc::new(AtomicBool::new(false));
    let putting = {
        let ends = Arc::clone(&ends);
        thread::spawn(move || {
            while !ends.load(Ordering::SeqCst) {
                put(SHORT);
                thread::sleep(Duration::from_secs(1));
            }
        })
    };
    let began = Instant::now();
    let both = Duration::from_secs(2 * SHORT + 1);
    read_over_ends(&mut w, || began.elapsed() > both);
    ends.store(true, Ordering::SeqCst);
    putting.join().unwrap();
    assert_no_secret(&program, &w.setup);
    w.finish(program);
}

/// The reason's word, and words of its sentence and remedy.
const REFUSALS: [(&str, &str); 4] = [
    ("token-endpoint", "onnection refused"),
    ("token-client", "401: invalid_client: not anonymizer:"),
    ("token-answer", "no JSON"),
    ("token-refused", "audience"),
];

#[test]
fn every_refusal_has_its_words_and_ends_without_a_restart() {
    let topic = "token-refusals";
    let mut w = world(topic, 2);
    w.kafka.produce(1, 500);
    let (kafka, clickhouse, broker) = (&w.kafka, &w.clickhouse, &w.own);
    thread::scope(|scope| {
        for (word, words) in REFUSALS {
            scope.spawn(move || {
                let mut setup = another(kafka, topic, clickhouse);
                refused(&mut setup, broker, word, words);
            });
        }
    });
    let secret = broker.file("refusals-secret");
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let issuer = Issuer::new(free_port(), &broker.signs);
    issuer.listen();
    let broker = Arc::clone(&w.own);
    ask(&mut w.setup, &broker, &issuer.url(), &secret);
    w.finish(w.setup.run());
}

fn refused(setup: &mut Setup, broker: &Broker, word: &str, words: &str) {
    let issuer = Issuer::new(free_port(), &broker.signs);
    let secret = broker.file(&format!("{word}-secret"));
    let put = |text: &str| fs::write(&secret, format!("{text}\n")).unwrap();
    put(SECRET);
    match word {
        "token-client" => put("wrong-secret"),
        "token-answer" => issuer.state().gives = Gives::NoToken,
        "token-refused" => issuer.state().gives = Gives::OtherAudience,
        _ => {}
    }
    if word != "token-endpoint" {
        issuer.listen();
    }
    ask(setup, broker, &issuer.url(), &secret);
    let out = setup.command("check").output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(3), "{word}: {said}");
    let line = said.lines().find(|l| l.starts_with("FAILED  kafka: "));
    let line = line.unwrap_or_else(|| panic!("{word}: {said}"));
    assert!(line.contains(words), "{word}: {line}");
    let program = setup.run();
    let status = setup.wait_status(|s| s["kafka"]["fault"]["kind"] == *word);
    let verdict = &status["verdict"];
    assert_eq!(
        verdict["findings"][0]["what"], "kafka-access",
        "{word}: {verdict}"
    );
    let told = format!("{} {}", verdict["sentence"], verdict["act"]);
    assert!(told.contains(words), "{word}: {told}");
    assert!(!said.contains("wrong-secret"), "{word}: {said}");
    assert!(!program.log().contains("wrong-secret"), "{word}");
    assert_no_secret(&program, setup);
    // Mended, under the running instance.
    put(SECRET);
    issuer.state().gives = Gives::Right;
    if word == "token-endpoint" {
        issuer.listen();
    }
    setup.wait_status(|s| s["kafka"]["fault"].is_null() && s["kafka"]["outside"].is_null());
    setup.wait_status(|s| s["queue"]["rows"] == 0);
    program.stop();
}
