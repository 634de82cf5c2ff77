//! ClickHouse by https: whom we trust, who we are, and what is renewed.

use std::path::{Path, PathBuf};

use crate::support::nginx::Nginx;
use crate::support::program::Program;
use crate::support::tls::{Identity, TlsFront};
use crate::support::world::World;

/// A file beside the data dir.
fn file<Own>(w: &World<Own>, name: &str) -> PathBuf {
    w.setup.data_dir().with_file_name(name)
}

/// Starts it, and waits until the status says why ClickHouse is not reached.
fn in_vain<Own>(w: &mut World<Own>, words: &str) -> Program {
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    w.setup.wait_status(|s| {
        let failing = s["flush"]["failing"]["words"].as_str();
        let hold = s["flush"]["hold"].as_str();
        failing.or(hold).is_some_and(|said| said.contains(words))
    });
    assert_eq!(w.clickhouse.state().row_count(), 0);
    program
}

#[test]
fn an_authority_of_its_own_and_renewed_certificates_need_no_restart() {
    let (authority, stranger) = (Identity::authority(), Identity::authority());
    let front = |w: &World, shows: &Identity| TlsFront::start(&w.clickhouse.url(), shows);
    let cases: [(&str, &str, Identity, Identity); 3] = [
        (
            "authority",
            "set clickhouse_ca_file",
            Identity::signed("127.0.0.1", &authority),
            stranger,
        ),
        (
            "expired",
            "has expired",
            Identity::expired("127.0.0.1", &authority),
            authority.clone(),
        ),
        (
            "host",
            "for another host",
            Identity::signed("other.example", &authority),
            authority.clone(),
        ),
    ];
    for (name, words, shows, trusted) in cases {
        let mut w = World::of(1);
        let front = front(&w, &shows);
        let ca = file(&w, "ca.pem");
        trusted.write(&ca);
        let ca_words = ca.display().to_string();
        w = w
            .with("--clickhouse-url", &front.url())
            .with("--clickhouse-ca-file", &ca_words);
        let program = in_vain(&mut w, words);
        // Mended on either side, under the running instance.
        match name {
            "authority" => authority.write(&ca),
            _ => front.show(&Identity::signed("127.0.0.1", &authority)),
        }
        w.finish(program);
    }
}

/// nginx with TLS that takes certificates of this authority only.
fn asking(w: &World, authority: &Identity, dir: &Path) -> Nginx {
    let server = Identity::signed("127.0.0.1", authority);
    server.write(&dir.join("server.pem"));
    server.write_key(&dir.join("server.key"));
    authority.write(&dir.join("ca.pem"));
    let dir = dir.display();
    let listen = format!(
        "ssl; ssl_certificate {dir}/server.pem; ssl_certificate_key {dir}/server.key;
         ssl_client_certificate {dir}/ca.pem; ssl_verify_client on"
    );
    let upstream = w.clickhouse.url();
    Nginx::start_as(&listen, &format!("proxy_pass {upstream};"))
}

#[test]
fn a_proxy_that_asks_for_our_certificate_gets_it() {
    let authority = Identity::authority();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut w = World::of(1);
    let nginx = asking(&w, &authority, dir.path());
    let words = |name: &str| at(name).display().to_string();
    w = w
        .with("--clickhouse-url", &nginx.url().replace("http:", "https:"))
        .with("--clickhouse-ca-file", &words("ca.pem"));
    let program = in_vain(&mut w, "No required SSL certificate was sent");
    program.stop();
    // One that has expired, of which nginx says so.
    let put = |identity: &Identity| {
        identity.write(&at("client.pem"));
        identity.write_key(&at("client.key"));
    };
    put(&Identity::expired("anonymizer", &authority));
    w = w
        .with("--clickhouse-certificate-file", &words("client.pem"))
        .with("--clickhouse-key-file", &words("client.key"));
    let program = in_vain(&mut w, "certificate");
    put(&Identity::signed("anonymizer", &authority));
    w.finish(program);
}
