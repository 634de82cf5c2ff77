//! A relay of TCP connections, which can lose what goes through it.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What happens to a connection.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// The request arrives whole, and its answer goes nowhere: the connection is cut instead.
    Answer,
    /// The connection is cut after so many bytes of the request.
    RequestAfter(usize),
    /// The request goes nowhere, and nothing is said until its sender gives up.
    Everything,
}

/// Passes connections on to a server. Lives as long as the process.
pub struct Relay {
    port: u16,
    losses: Arc<Mutex<Vec<Loss>>>,
}

impl Relay {
    /// Listens on `port` (0: any), and passes on to `upstream`, `http://address:port`.
    pub fn start(port: u16, upstream: &str) -> Relay {
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let relay = Relay {
            port: listener.local_addr().unwrap().port(),
            losses: Arc::default(),
        };
        let losses = relay.losses.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let loss = losses.lock().unwrap().pop();
                let upstream = upstream.clone();
                thread::spawn(move || drop(pass(&client, &upstream, loss)));
            }
        });
        relay
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The next connection suffers this.
    pub fn lose(&self, loss: Loss) {
        self.losses.lock().unwrap().push(loss);
    }

    /// Whether a loss is still to come.
    pub fn is_due(&self) -> bool {
        !self.losses.lock().unwrap().is_empty()
    }
}

fn pass(mut client: &TcpStream, upstream: &str, loss: Option<Loss>) -> io::Result<()> {
    if matches!(loss, Some(Loss::Everything)) {
        return io::copy(&mut client, &mut io::sink()).map(drop);
    }
    let server = TcpStream::connect(upstream)?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let ended = match loss {
                Some(Loss::RequestAfter(bytes)) => copy(client, &server, |sent, _| sent < bytes),
                _ => copy(client, &server, |_, _| true),
            };
            // With a loss both ends see a cut connection, else the end of what the client had to say.
            match ended {
                Ok(true) => drop(server.shutdown(Shutdown::Write)),
                _ => cut(client, &server),
            }
        });
        let ended = match loss {
            Some(Loss::Answer) => copy(&server, client, |_, bytes| is_continue(bytes)),
            _ => copy(&server, client, |_, _| true),
        };
        match ended {
            Ok(true) => drop(client.shutdown(Shutdown::Write)),
            _ => cut(client, &server),
        }
    });
    Ok(())
}

/// Copies while `go_on`, asked with the bytes so far and those at hand, before they are passed on.
/// Returns whether the end was reached.
fn copy(
    mut from: &TcpStream,
    mut to: &TcpStream,
    go_on: impl Fn(usize, &[u8]) -> bool,
) -> io::Result<bool> {
    let mut buffer = vec![0; 16 * 1024];
    let mut sent = 0;
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            return Ok(true);
        }
        if !go_on(sent, &buffer[..n]) {
            return Ok(false);
        }
        to.write_all(&buffer[..n])?;
        sent += n;
    }
}

fn is_continue(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.1 100")
}

fn cut(client: &TcpStream, server: &TcpStream) {
    drop(client.shutdown(Shutdown::Both));
    drop(server.shutdown(Shutdown::Both));
}
