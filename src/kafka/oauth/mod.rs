//! Tokens for SASL OAUTHBEARER. librdkafka asks for one by an event of a poll, again when 80 % of its time
//! is over, and 10 s after each failure. One is fetched beside the thread that polls, and kept for all
//! clients. librdkafka's own way to fetch them would need libcurl.

mod endpoint;
mod token;

use std::borrow::Cow;
use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rdkafka::client::OAuthToken;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;

use super::fault::{Fault, Reason};
use crate::runtime::clock::now_ms;
pub use endpoint::{Endpoint, Secret};
use token::Token;

/// The mechanism, as librdkafka spells it.
pub const MECHANISM: &str = "OAUTHBEARER";

/// Properties that librdkafka would take if it were built with libcurl: they are taken here.
pub const PROPERTIES: [&str; 7] = [
    "https.ca.location",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.grant.type",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    ENDPOINT,
];

/// Where tokens are.
pub const ENDPOINT: &str = "sasl.oauthbearer.token.endpoint.url";

/// How long librdkafka is kept waiting, and the thread that polls with it: while a token holds, and without
/// one, when there is little to read.
const WAIT: Duration = Duration::from_secs(1);
const WAIT_WITHOUT: Duration = Duration::from_secs(4);

/// Events that a new client may have before the one that asks for a token.
const EVENTS: usize = 8;

/// Where tokens come from.
#[derive(Clone)]
pub enum Source {
    /// Somebody gives them.
    Endpoint(Endpoint),
    /// Somebody puts them into a file, and another one in time.
    File(PathBuf),
}

/// See the module.
pub struct Tokens {
    source: Source,
    state: Mutex<State>,
    came: Condvar,
}

#[derive(Default)]
struct State {
    token: Option<(Token, Instant)>,
    fault: Option<Fault>,
    is_under_way: bool,
    refused: Refused,
}

/// Whether a broker refused the token that librdkafka has.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Refused {
    #[default]
    No,
    Yes,
    /// And librdkafka was told to ask.
    Told,
}

impl Tokens {
    /// None are fetched yet.
    pub fn new(source: Source) -> Arc<Tokens> {
        Arc::new(Tokens {
            source,
            state: Mutex::default(),
            came: Condvar::new(),
        })
    }

    /// One that holds. An old one where there is no new one within `wait`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn get(self: &Arc<Self>, wait: Duration) -> Result<OAuthToken, Fault> {
        let mut state = self.lock();
        state.refused = Refused::No;
        let is_fresh = |(token, at): &(Token, Instant)| at.elapsed() < token.lives.mul_f64(0.6);
        if !state.token.as_ref().is_some_and(is_fresh) && !state.is_under_way {
            let tokens = Arc::clone(self);
            let fetch = move || tokens.fetch();
            let fetching = thread::Builder::new().name("token".into()).spawn(fetch);
            state.is_under_way = fetching.is_ok();
        }
        let waited = self
            .came
            .wait_timeout_while(state, wait, |s| s.is_under_way);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let token = state.token.as_ref().and_then(|(token, at)| {
            let left = token.lives.checked_sub(at.elapsed())?;
            Some(OAuthToken {
                token: token.text.clone(),
                principal_name: token.principal.clone(),
                lifetime_ms: (now_ms() + left.as_millis() as u64) as i64,
            })
        });
        token.ok_or_else(|| {
            let fault = state.fault.clone();
            fault.unwrap_or_else(|| self.source.fault("it has not answered yet"))
        })
    }

    /// For librdkafka's question; `met` hears of a fault.
    ///
    /// # Errors
    /// In words for librdkafka.
    pub fn answer(
        tokens: Option<&Arc<Tokens>>,
        met: impl FnOnce(&Fault),
    ) -> Result<OAuthToken, Box<dyn Error>> {
        let tokens = tokens.ok_or("nothing says where tokens come from")?;
        let holds = |(token, at): &(Token, Instant)| at.elapsed() < token.lives;
        let wait = match tokens.lock().token.as_ref().is_some_and(holds) {
            true => WAIT,
            false => WAIT_WITHOUT,
        };
        tokens.get(wait).map_err(|fault| {
            met(&fault);
            fault.to_string().into()
        })
    }

    /// A fault of a connection, as a client with tokens means it.
    pub(super) fn explain(tokens: Option<&Arc<Tokens>>, fault: Fault) -> Fault {
        let Some(tokens) = tokens.filter(|_| fault.reason == Reason::Password) else {
            return fault;
        };
        let mut state = tokens.lock();
        state.token = None;
        if state.refused == Refused::No {
            state.refused = Refused::Yes;
        }
        Fault {
            reason: Reason::TokenRefused,
            words: without_tokens(&fault.words).into_owned(),
            ..fault
        }
    }

    /// Whether librdkafka is to be told that its token is no good. True once.
    pub(super) fn take_refused(&self) -> bool {
        let mut state = self.lock();
        let is_new = state.refused == Refused::Yes;
        if is_new {
            state.refused = Refused::Told;
        }
        is_new
    }

    fn fetch(&self) {
        let got = self.source.ask();
        let mut state = self.lock();
        match got {
            Ok(token) => (state.token, state.fault) = (Some((token, Instant::now())), None),
            Err(fault) => {
                if state.token.is_some() {
                    log::warn!("kafka: {fault}; the token that is there is not renewed");
                }
                state.fault = Some(fault);
            }
        }
        state.is_under_way = false;
        self.came.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    fn ask(&self) -> Result<Token, Fault> {
        match self {
            Source::Endpoint(endpoint) => endpoint.ask(),
            Source::File(path) => {
                let text = fs::read_to_string(path).map_err(|e| self.fault(&e.to_string()))?;
                Token::of_text(&text).map_err(|words| self.fault(words))
            }
        }
    }

    /// That it gives none.
    fn fault(&self, words: &str) -> Fault {
        let (reason, whose) = match self {
            Source::Endpoint(endpoint) => (Reason::TokenEndpoint, endpoint.shown().to_owned()),
            Source::File(path) => (Reason::TokenFile, path.display().to_string()),
        };
        Fault {
            reason,
            whose,
            words: words.to_owned(),
        }
    }
}

/// Makes a client that has its token, if it needs one: a question to Kafka does not wait for a poll.
///
/// # Errors
/// If librdkafka refuses a property.
pub(super) fn create<C: ConsumerContext + 'static>(
    config: &ClientConfig,
    context: C,
) -> Result<BaseConsumer<C>, KafkaError> {
    let client: BaseConsumer<C> = config.create_with_context(context)?;
    if config.get("sasl.mechanisms") == Some(MECHANISM) {
        for _ in 0..EVENTS {
            drop(client.poll(Duration::ZERO));
        }
    }
    Ok(client)
}

/// Covers what looks as a JWT does.
pub(super) fn without_tokens(words: &str) -> Cow<'_, str> {
    const BEGIN: &str = "eyJ";
    if !words.contains(BEGIN) {
        return Cow::Borrowed(words);
    }
    let is_in = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let mut parts = words.split(BEGIN);
    let mut covered = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        covered += "***";
        covered += part.trim_start_matches(is_in);
    }
    Cow::Owned(covered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (tempfile::NamedTempFile, Arc<Tokens>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let tokens = Tokens::new(Source::File(file.path().to_owned()));
        (file, tokens)
    }

    fn jwt(name: &str, seconds: u64) -> String {
        let until = now_ms() / 1000 + seconds;
        let claims = format!(r#"{{"sub":"{name}","exp":{until}}}"#);
        let claims = openssl::base64::encode_block(claims.as_bytes());
        format!("eyJhbGciOiJSUzI1NiJ9.{}.c2ln", claims.trim_end_matches('='))
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_token_is_kept_until_it_is_old_or_refused() {
        let (file, tokens) = of(&jwt("one", 1000));
        let name = || tokens.get(LONG).map(|t| t.principal_name);
        assert_eq!(name().unwrap(), "one");
        fs::write(file.path(), jwt("two", 1000)).unwrap();
        assert_eq!(name().unwrap(), "one");
        // One that is refused is none, of which librdkafka is told once.
        let fault = Fault {
            reason: Reason::Password,
            whose: "b:1".into(),
            words: "no: eyJhb.c2ln!".into(),
        };
        let fault = Tokens::explain(Some(&tokens), fault);
        assert_eq!(fault.reason, Reason::TokenRefused);
        assert_eq!(fault.words, "no: ***!");
        assert!(tokens.take_refused());
        assert!(!tokens.take_refused());
        assert_eq!(name().unwrap(), "two");
        // What is old is fetched anew; if that fails, it serves until its end.
        let age = |lives: u64| {
            let mut state = tokens.lock();
            let (mut token, at) = state.token.take().unwrap();
            token.lives = Duration::from_secs(lives);
            state.token = Some((token, at - Duration::from_secs(700)));
        };
        fs::write(file.path(), jwt("three", 1000)).unwrap();
        age(1000);
        assert_eq!(name().unwrap(), "three");
        fs::write(file.path(), "").unwrap();
        age(1000);
        assert_eq!(name().unwrap(), "three");
        age(10);
        let fault = tokens.get(LONG).map(|_| ()).unwrap_err();
        assert_eq!(fault.reason, Reason::TokenFile);
        assert!(fault.to_string().ends_with(": it is empty"), "{fault}");
    }

    #[test]
    fn an_endpoint_that_is_slow_keeps_nobody_waiting_while_the_old_token_holds() {
        let (_file, tokens) = of("");
        tokens.lock().is_under_way = true;
        let fault = tokens.get(Duration::ZERO).map(|_| ()).unwrap_err();
        assert!(fault.words.contains("not answered"), "{fault}");
        let half = Token::of_text(&jwt("half", 1000)).unwrap();
        let before = Instant::now().checked_sub(Duration::from_secs(900));
        tokens.lock().token = Some((half, before.unwrap()));
        let token = tokens.get(Duration::ZERO).map(|t| t.lifetime_ms).unwrap();
        let left = token - now_ms() as i64;
        assert!((90_000..101_000).contains(&left), "{left}");
    }

    #[test]
    fn what_looks_as_a_token_is_covered() {
        let f = |words: &str, want: &str| assert_eq!(without_tokens(words), want);
        f("nothing", "nothing");
        f("a eyJhb.eyJz-_.x9 b", "a ****** b");
        f("(eyJhb.x)", "(***)");
    }
}
