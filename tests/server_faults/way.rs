//! Faults before ClickHouse is reached at all: names, connections, certificates. No slot is used, so
//! the program tries again soon and goes on by itself once the way is free.

use super::{Faulty, faulty_by};
use crate::support::program::Program;
use crate::support::relay::Relay;
use crate::support::stack::free_port;
use crate::support::tls::{Identity, TlsFront};

/// Starts, produces, and waits until the log has said why ClickHouse cannot be reached. Nothing may
/// have reached it.
fn in_vain(w: &mut Faulty, says: &str) -> Program {
    let program = w.setup.run();
    w.kafka.produce(1, 900);
    w.wait_queued(900);
    program.wait_log(says);
    let log = program.log();
    assert!(log.contains("cannot reach "), "{log}");
    assert!(w.counted("unreachable") > 0);
    assert!(w.clickhouse.requests().is_empty());
    program
}

#[test]
fn name_that_does_not_resolve() {
    let mut w = faulty_by(|_| "http://clickhouse.invalid:8123".into());
    let program = in_vain(&mut w, "cannot connect");
    program.stop();
    w.setup.set("--clickhouse-url", &w.clickhouse.url());
    w.finish_committed(w.setup.run());
}

#[test]
fn nobody_listens_until_somebody_does() {
    let port = free_port();
    let mut upstream = String::new();
    let mut w = faulty_by(|url| {
        upstream = url;
        format!("http://127.0.0.1:{port}")
    });
    let program = in_vain(&mut w, "cannot connect");
    Relay::start(port, &upstream);
    w.finish_committed(program);
}

#[test]
fn tls_with_a_certificate_of_a_trusted_authority() {
    let authority = Identity::authority();
    let mut w =
        faulty_by(|url| TlsFront::start(&url, &Identity::signed("127.0.0.1", &authority)).url());
    let file = w.setup.data_dir().with_file_name("authority.pem");
    authority.write(&file);
    // Where OpenSSL looks for the authorities of the platform.
    w.setup.env("SSL_CERT_FILE", &file.display().to_string());
    w.kafka.produce(1, 900);
    w.finish_committed(w.setup.run());
}

#[test]
fn tls_with_a_certificate_that_nobody_vouches_for() {
    let authority = Identity::authority();
    let mut w =
        faulty_by(|url| TlsFront::start(&url, &Identity::signed("127.0.0.1", &authority)).url());
    let program = in_vain(&mut w, "certificate verify failed");
    program.stop();
    let file = w.setup.data_dir().with_file_name("authority.pem");
    authority.write(&file);
    w.setup.env("SSL_CERT_FILE", &file.display().to_string());
    w.finish_committed(w.setup.run());
}

#[test]
fn tls_with_the_certificate_of_another_host() {
    let authority = Identity::authority();
    let mut front = None;
    let mut w = faulty_by(|url| {
        let started = TlsFront::start(&url, &Identity::signed("other.example", &authority));
        front.insert(started).url()
    });
    let file = w.setup.data_dir().with_file_name("authority.pem");
    authority.write(&file);
    w.setup.env("SSL_CERT_FILE", &file.display().to_string());
    let program = in_vain(&mut w, "certificate verify failed");
    front
        .unwrap()
        .show(&Identity::signed("127.0.0.1", &authority));
    w.finish_committed(program);
}

#[test]
fn tls_to_a_server_that_does_not_speak_it() {
    let mut w = faulty_by(|url| url.replace("http:", "https:"));
    let program = in_vain(&mut w, "cannot connect");
    program.stop();
    w.setup.set("--clickhouse-url", &w.clickhouse.url());
    w.finish_committed(w.setup.run());
}
