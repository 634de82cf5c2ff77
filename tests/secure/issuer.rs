//! Who gives tokens: an OAuth 2.0 token endpoint that looks at who asks, and signs JWTs.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use anonymizer::runtime::clock::now_ms;
use openssl::base64::{decode_block, encode_block};
use openssl::bn::BigNumRef;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use serde_json::{Value, json};

pub const ISSUER: &str = "https://issuer.example";
pub const AUDIENCE: &str = "kafka";
pub const CLIENT: &str = "anonymizer";
pub const SECRET: &str = "client-Zq7+Rw2";

/// A key that the broker knows, and signs with it.
#[derive(Clone)]
pub struct Signs(PKey<Private>);

impl Signs {
    pub fn new() -> Signs {
        Signs(PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap())
    }

    /// Writes what the broker needs to verify (RFC 7517).
    pub fn write(&self, file: &Path) {
        let rsa = self.0.rsa().unwrap();
        let part = |n: &BigNumRef| url_base64(&n.to_vec());
        let key = json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "one", "n": part(rsa.n()), "e": part(rsa.e()),
        });
        std::fs::write(file, json!({ "keys": [key] }).to_string()).unwrap();
    }

    /// A token for `audience` that holds for so many seconds.
    pub fn token(&self, audience: &str, seconds: u64) -> String {
        let now = now_ms() / 1000;
        let claims = json!({
            "iss": ISSUER, "aud": audience, "sub": CLIENT, "iat": now, "exp": now + seconds, "scope": "logs",
        });
        let part = |value: Value| url_base64(value.to_string().as_bytes());
        let head = part(json!({"alg": "RS256", "typ": "JWT", "kid": "one"}));
        let signed = format!("{head}.{}", part(claims));
        let mut signer = Signer::new(MessageDigest::sha256(), &self.0).unwrap();
        let signature = signer.sign_oneshot_to_vec(signed.as_bytes()).unwrap();
        format!("{signed}.{}", url_base64(&signature))
    }
}

fn url_base64(bytes: &[u8]) -> String {
    let text = encode_block(bytes).replace('+', "-").replace('/', "_");
    text.trim_end_matches('=').to_owned()
}

/// What it does with who knows the secret.
#[derive(Clone, Copy, Default, PartialEq)]
pub enum Gives {
    #[default]
    Right,
    OtherAudience,
    NoToken,
}

#[derive(Default)]
pub struct State {
    pub gives: Gives,
    /// How long a token holds, s.
    pub lives: u64,
    /// Tokens that were given.
    pub given: usize,
}

/// Lives as long as the process.
#[derive(Clone)]
pub struct Issuer {
    port: u16,
    signs: Signs,
    state: Arc<Mutex<State>>,
}

impl Issuer {
    /// One that does not listen yet.
    pub fn new(port: u16, signs: &Signs) -> Issuer {
        let state = State {
            lives: 600,
            ..State::default()
        };
        Issuer {
            port,
            signs: signs.clone(),
            state: Arc::new(Mutex::new(state)),
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn listen(&self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).unwrap();
        let issuer = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hangs up has its reasons.
                drop(issuer.serve(stream));
            }
        });
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut who, mut length, mut line) = (String::new(), 0, String::new());
        let mut first = String::new();
        reader.read_line(&mut first)?;
        while reader.read_line(&mut line)? > 2 {
            let (name, value) = line.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "authorization" => who = value.trim().to_owned(),
                "content-length" => length = value.trim().parse().unwrap_or(0),
                _ => {}
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (status, answer) = self.answer(&first, &who, &String::from_utf8_lossy(&body));
        write!(
            stream,
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
            answer.len()
        )
    }

    fn answer(&self, first: &str, who: &str, body: &str) -> (u16, String) {
        let who = who
            .strip_prefix("Basic ")
            .and_then(|w| decode_block(w).ok());
        let who = String::from_utf8(who.unwrap_or_default()).unwrap_or_default();
        // As a form has it.
        let known = format!("{CLIENT}:{}", SECRET.replace('+', "%2B"));
        if who != known {
            // What was said comes back, as careless ones do.
            let said =
                json!({"error": "invalid_client", "error_description": format!("not {who}")});
            return (401, said.to_string());
        }
        let is_grant =
            body.starts_with("grant_type=client_credentials") && body.contains("scope=logs");
        if !first.starts_with("POST /token ") || !is_grant {
            return (400, json!({"error": "invalid_request"}).to_string());
        }
        let mut state = self.state();
        state.given += 1;
        let audience = match state.gives {
            Gives::Right => AUDIENCE,
            Gives::OtherAudience => "another",
            Gives::NoToken => return (200, "<html>Sign in</html>".to_owned()),
        };
        let token = self.signs.token(audience, state.lives);
        let answer = json!({
            "access_token": token, "token_type": "Bearer", "expires_in": state.lives,
        });
        (200, answer.to_string())
    }
}
