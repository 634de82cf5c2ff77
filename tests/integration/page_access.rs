//! Are the pages, over a network, for those who know the password, and for nobody who listens?

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anonymizer::runtime::http_client;
use openssl::base64::encode_block;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use crate::support::program::Program;
use crate::support::tls::Identity;
use crate::support::wait::{PATIENCE, wait};
use crate::support::world::World;

const USER: &str = "operator";
const PASSWORD: &str = "correct horse";

/// Files that a test may replace, and who has signed the certificate in them.
struct Secured {
    authority: Identity,
    dir: tempfile::TempDir,
}

impl Secured {
    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn show(&self, identity: &Identity) {
        identity.write_key(&self.file("key"));
        identity.write(&self.file("certificate"));
    }
}

fn secured() -> World<Secured> {
    let own = Secured {
        authority: Identity::authority(),
        dir: tempfile::tempdir().unwrap(),
    };
    own.show(&Identity::signed("127.0.0.1", &own.authority));
    own.authority.write(&own.file("authority"));
    fs::write(own.file("password"), format!("{PASSWORD}\n")).unwrap();
    let path = |name: &str| own.file(name).display().to_string();
    World::new()
        .with("--http-certificate-file", &path("certificate"))
        .with("--http-key-file", &path("key"))
        .with("--http-user", USER)
        .with("--http-password-file", &path("password"))
        .and(|_| own)
}

/// A program, and where its pages are.
fn start(w: &World<Secured>) -> (Program, String) {
    let program = w.setup.run();
    let pages = program.pages();
    assert!(pages.starts_with("https://127.0.0.1:"), "{pages}");
    (program, pages)
}

impl World<Secured> {
    /// Status and body, or why there was no answer.
    fn get(&self, url: &str, login: Option<&str>) -> Result<(u16, String), ureq::Error> {
        let pem = fs::read(self.own.file("authority")).unwrap();
        let roots = http_client::certificates(&pem).unwrap();
        let tls = TlsConfig::builder()
            .provider(TlsProvider::NativeTls)
            .root_certs(RootCerts::new_with_certs(&roots))
            .build();
        let agent = http_client::for_one_request()
            .tls_config(tls)
            .timeout_global(Some(PATIENCE))
            .build()
            .new_agent();
        let mut request = agent.get(url);
        if let Some(login) = login {
            request = request.header(
                "Authorization",
                format!("Basic {}", encode_block(login.as_bytes())),
            );
        }
        let mut answer = request.call()?;
        let status = answer.status().as_u16();
        Ok((status, answer.body_mut().read_to_string()?))
    }

    fn status(&self, url: &str, login: &str) -> u16 {
        self.get(url, Some(login)).unwrap().0
    }
}

#[test]
fn pages_are_for_who_knows_the_password_and_no_other_knows_what_it_is() {
    let mut w = secured();
    w.setup.env("RUST_LOG", "trace");
    let (program, pages) = start(&w);
    let right = format!("{USER}:{PASSWORD}");
    for path in [
        "/",
        "/metrics",
        "/api/v1/status",
        "/api/v1/status/schema",
        "/none",
    ] {
        let url = format!("{pages}{path}");
        assert_eq!(w.get(&url, None).unwrap().0, 401, "{path}");
        for wrong in [
            "operator:",
            "operator:correct",
            "other:correct horse",
            ":",
            "",
            "operator",
        ] {
            assert_eq!(w.status(&url, wrong), 401, "{path} {wrong}");
        }
        let found = if path == "/none" { 404 } else { 200 };
        assert_eq!(w.status(&url, &right), found, "{path}");
    }
    let (_, page) = w.get(&format!("{pages}/"), Some(&right)).unwrap();
    assert!(page.contains("<!DOCTYPE html>"), "{page}");
    // A prober has no password, and is told nothing but yes or no.
    for path in ["/healthz", "/readyz"] {
        let status = w.get(&format!("{pages}{path}"), None).unwrap().0;
        assert!([200, 503].contains(&status), "{path}: {status}");
    }

    // A password that was changed holds from then on; one that cannot be read lets nobody in.
    fs::write(w.own.file("password"), "battery staple").unwrap();
    let url = format!("{pages}/metrics");
    assert_eq!(w.status(&url, &right), 401);
    assert_eq!(w.status(&url, "operator:battery staple"), 200);
    fs::remove_file(w.own.file("password")).unwrap();
    assert_eq!(w.status(&url, "operator:battery staple"), 500);

    w.stores(1, 100);
    let log = program.log();
    for secret in [PASSWORD, "battery staple", &encode_block(right.as_bytes())] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    w.finish(program);
}

#[test]
fn a_renewed_certificate_is_shown_and_one_that_cannot_be_used_is_not() {
    let w = secured();
    let (program, pages) = start(&w);
    let url = format!("{pages}/healthz");
    assert_eq!(w.get(&url, None).unwrap().0, 200);
    let serial = || {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        let to = pages.strip_prefix("https://").unwrap();
        let stream = TcpStream::connect(to).unwrap();
        let stream = connector.build().connect("127.0.0.1", stream).unwrap();
        let shown = stream.ssl().peer_certificate().unwrap();
        shown.serial_number().to_bn().unwrap()
    };
    let first = serial();

    // In between, certificate and key do not fit each other: what was there before is shown.
    let next = Identity::signed("127.0.0.1", &w.own.authority);
    next.write(&w.own.file("certificate"));
    wait(
        || {
            assert_eq!(serial(), first);
            program.log().contains("going on with what was read before")
        },
        || program.log(),
    );
    w.own.show(&next);
    wait(|| serial() != first, || program.log());
    assert_eq!(w.get(&url, None).unwrap().0, 200);
    program.kill();
}

#[test]
fn clients_that_do_not_speak_tls_or_stop_amid_it_keep_nobody_out() {
    let mut w = secured();
    let (program, pages) = start(&w);
    let to = pages.strip_prefix("https://").unwrap();
    let connect = || {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let mut plain = connect();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP"));

    // More than there is room for; each says a part of its greeting, or nothing.
    let mut slow: Vec<_> = (0..100).map(|_| connect()).collect();
    for (i, stream) in slow.iter_mut().enumerate() {
        let _ = stream.write_all(&[0x16, 3, 1, 2, 0, 1][..i % 7]);
    }
    let asked = Instant::now();
    while w.get(&format!("{pages}/healthz"), None).is_err() {
        assert!(asked.elapsed() < PATIENCE);
    }
    // They go in the end: five seconds is what a head may take.
    for stream in &mut slow {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    assert!(asked.elapsed() < PATIENCE + Duration::from_secs(5));
    w.stores(1, 100);
    w.finish(program);
}

#[test]
fn half_a_door_is_refused() {
    for (given, missing) in [
        ("http-user", "http-password-file"),
        ("http-password-file", "http-user"),
        ("http-certificate-file", "http-key-file"),
        ("http-key-file", "http-certificate-file"),
    ] {
        let w = World::of(1).with(&format!("--{given}"), "x");
        let words = format!(
            "{} is given without {}; give both or none",
            given.replace('-', "_"),
            missing.replace('-', "_")
        );
        let said = w.refused(&["run"]);
        assert!(said.contains(&words), "{said}");
    }
    let w = World::of(1)
        .with("--http-user", USER)
        .with("--http-password-file", "/nowhere");
    let said = w.refused(&["run"]);
    assert!(
        said.contains("http_password_file: cannot use /nowhere"),
        "{said}"
    );
    let checked = String::from_utf8(w.call(&["check"]).stdout).unwrap();
    assert!(
        checked.contains("FAILED  pages: http_password_file: cannot use /nowhere"),
        "{checked}"
    );
}
