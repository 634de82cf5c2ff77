//! TLS in front of a plain server, with certificates made here.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};

/// How long one side of a connection is listened to before the other one is.
const TURN: Duration = Duration::from_millis(2);

/// A certificate and its key.
#[derive(Clone)]
pub struct Identity {
    certificate: X509,
    key: PKey<Private>,
}

impl Identity {
    /// An authority, which is its own issuer.
    pub fn authority() -> Identity {
        Identity::make("test authority", None, 0)
    }

    /// A certificate for `host`, a name or an address, that the authority `by` has signed.
    pub fn signed(host: &str, by: &Identity) -> Identity {
        Identity::make(host, Some(by), 0)
    }

    /// The same, whose time was over a day ago.
    pub fn expired(host: &str, by: &Identity) -> Identity {
        Identity::make(host, Some(by), 3)
    }

    /// Writes the certificate as PEM, as a file of authorities has it.
    pub fn write(&self, file: &Path) {
        std::fs::write(file, self.certificate.to_pem().unwrap()).unwrap();
    }

    /// Writes the key as PEM.
    pub fn write_key(&self, file: &Path) {
        std::fs::write(file, self.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    }

    /// Writes both into one file, as Kafka wants them.
    pub fn write_both(&self, file: &Path) {
        let key = self.key.private_key_to_pem_pkcs8().unwrap();
        let both = [key, self.certificate.to_pem().unwrap()].concat();
        std::fs::write(file, both).unwrap();
    }

    /// Valid from so many days ago on, for two days.
    fn make(host: &str, by: Option<&Identity>, days_ago: i64) -> Identity {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", host).unwrap();
        let name = name.build();
        let mut c = X509::builder().unwrap();
        c.set_version(2).unwrap();
        let mut serial = BigNum::new().unwrap();
        serial
            .rand(100, openssl::bn::MsbOption::ONE, false)
            .unwrap();
        c.set_serial_number(&serial.to_asn1_integer().unwrap())
            .unwrap();
        c.set_subject_name(&name).unwrap();
        c.set_issuer_name(by.map_or(&name, |by| by.certificate.subject_name()))
            .unwrap();
        c.set_pubkey(&key).unwrap();
        let day = 86_400;
        let now = anonymizer::runtime::clock::now_ms() as i64 / 1000;
        let at = |seconds| Asn1Time::from_unix(seconds).unwrap();
        c.set_not_before(&at(now - days_ago * day - 60)).unwrap();
        c.set_not_after(&at(now + (2 - days_ago) * day)).unwrap();
        let mut constraints = BasicConstraints::new();
        if by.is_none() {
            constraints.ca();
        }
        c.append_extension(constraints.critical().build().unwrap())
            .unwrap();
        if by.is_some() {
            let mut names = SubjectAlternativeName::new();
            match host.parse::<std::net::IpAddr>() {
                Ok(_) => names.ip(host),
                Err(_) => names.dns(host),
            };
            let names = names.build(&c.x509v3_context(None, None)).unwrap();
            c.append_extension(names).unwrap();
        }
        c.sign(by.map_or(&key, |by| &by.key), MessageDigest::sha256())
            .unwrap();
        Identity {
            certificate: c.build(),
            key,
        }
    }
}

/// Takes TLS connections and passes what is in them on. Lives as long as the process.
pub struct TlsFront {
    address: SocketAddr,
    identity: Arc<Mutex<Identity>>,
}

impl TlsFront {
    /// Shows `identity`, and passes on to `upstream`, `http://address:port`.
    pub fn start(upstream: &str, identity: &Identity) -> TlsFront {
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let front = TlsFront {
            address: listener.local_addr().unwrap(),
            identity: Arc::new(Mutex::new(identity.clone())),
        };
        let identity = front.identity.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let identity = identity.lock().unwrap().clone();
                let upstream = upstream.clone();
                // A client that refuses the certificate is what is tested.
                thread::spawn(move || drop(serve(stream, &identity, &upstream)));
            }
        });
        front
    }

    /// `https://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Shows another certificate from now on.
    pub fn show(&self, identity: &Identity) {
        *self.identity.lock().unwrap() = identity.clone();
    }
}

fn serve(stream: TcpStream, identity: &Identity, upstream: &str) -> io::Result<()> {
    let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls())?;
    acceptor.set_private_key(&identity.key)?;
    acceptor.set_certificate(&identity.certificate)?;
    let mut client = acceptor.build().accept(stream).map_err(io::Error::other)?;
    let mut server = TcpStream::connect(upstream)?;
    client.get_ref().set_read_timeout(Some(TURN))?;
    server.set_read_timeout(Some(TURN))?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match client.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => server.write_all(&buffer[..n])?,
            Err(e) if is_turn(&e) => {}
            Err(e) => return Err(e),
        }
        match server.read(&mut buffer) {
            Ok(0) => {
                drop(client.shutdown());
                return Ok(());
            }
            Ok(n) => client.write_all(&buffer[..n])?,
            Err(e) if is_turn(&e) => {}
            Err(e) => return Err(e),
        }
    }
}

fn is_turn(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
