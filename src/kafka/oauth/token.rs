//! A token as it comes: from an endpoint's answer, or out of a file.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::runtime::clock::now_ms;

/// See the module. Shows nothing of itself.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) text: String,
    /// Whose it is, for librdkafka's log.
    pub(super) principal: String,
    /// How long it holds, from when it came.
    pub(super) lives: Duration,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a token of {} for {:?}", self.principal, self.lives)
    }
}

impl Token {
    /// Of an endpoint's answer (RFC 6749, 5.1).
    ///
    /// # Errors
    /// What is wrong with it, without a word of it.
    pub(super) fn of_answer(body: &[u8]) -> Result<Token, &'static str> {
        let answer: Value =
            serde_json::from_slice(body).map_err(|_| "what it answers is no JSON")?;
        let text = answer["access_token"].as_str();
        let text = text.ok_or("its answer has no access_token")?;
        // A number, of which some make a text. It counts from now, whatever the clocks say.
        let given = &answer["expires_in"];
        let seconds = given.as_f64().or_else(|| given.as_str()?.parse().ok());
        Token::new(text, seconds)
    }

    /// Of a file's text: its first line.
    ///
    /// # Errors
    /// As [`Token::of_answer`].
    pub(super) fn of_text(text: &str) -> Result<Token, &'static str> {
        Token::new(text.lines().next().unwrap_or_default().trim(), None)
    }

    fn new(text: &str, seconds: Option<f64>) -> Result<Token, &'static str> {
        if text.is_empty() {
            return Err("it is empty");
        }
        // librdkafka would quote it.
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("the token has characters that no token may have");
        }
        let claims = claims(text);
        let left = || {
            let until = claims.as_ref()?["exp"].as_f64()?;
            Some(until - now_ms() as f64 / 1000.0)
        };
        let seconds = seconds.or_else(left);
        let seconds = seconds.ok_or("nothing says how long the token holds")?;
        let lives = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        if lives.is_zero() {
            return Err("the token has expired");
        }
        let named = claims.as_ref().and_then(|c| c["sub"].as_str());
        let named = named.filter(|name| !name.contains(char::is_control));
        Ok(Token {
            text: text.to_owned(),
            principal: named.unwrap_or("(no name)").to_owned(),
            lives,
        })
    }
}

/// What a JWT says (RFC 7519), unchecked: that is the broker's part. Other tokens say nothing.
fn claims(token: &str) -> Option<Value> {
    let mut part = token.split('.').nth(1)?.replace('-', "+").replace('_', "/");
    while part.len() % 4 != 0 {
        part.push('=');
    }
    serde_json::from_slice(&openssl::base64::decode_block(&part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn jwt(claims: &str) -> String {
        let part = openssl::base64::encode_block(claims.as_bytes());
        let part = part.replace('+', "-").replace('/', "_");
        format!("eyJhbGciOiJSUzI1NiJ9.{}.c2ln", part.trim_end_matches('='))
    }

    #[test]
    fn a_token_holds_for_as_long_as_is_said() {
        let f = |answer: &str, want: Result<u64, &str>| {
            let got = Token::of_answer(answer.as_bytes());
            let got = got.map(|t| t.lives.as_secs_f64().round() as u64);
            match (got, want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{answer}"),
                (Err(got), Err(want)) => assert!(got.contains(want), "{answer}: {got}"),
                (got, _) => panic!("{answer}: {got:?}"),
            }
        };
        f(r#"{"access_token":"opaque","expires_in":300}"#, Ok(300));
        f(r#"{"access_token":"opaque","expires_in":"300"}"#, Ok(300));
        let until = now_ms() / 1000 + 100_000;
        let long = jwt(&format!(r#"{{"sub":"me","exp":{until}}}"#));
        let answer = format!(r#"{{"access_token":"{long}"}}"#);
        let lives = Token::of_answer(answer.as_bytes()).unwrap().lives;
        assert!((99_000..=100_000).contains(&lives.as_secs()), "{lives:?}");
        // A clock that is wrong does not make it old.
        let old = jwt(r#"{"sub":"me","exp":1000}"#);
        f(
            &format!(r#"{{"access_token":"{old}","expires_in":60}}"#),
            Ok(60),
        );
        f(&format!(r#"{{"access_token":"{old}"}}"#), Err("expired"));
        f(r#"{"access_token":"opaque"}"#, Err("how long"));
        f(r#"{"access_token":7,"expires_in":60}"#, Err("access_token"));
        f(
            r#"{"access_token":"a b","expires_in":60}"#,
            Err("characters"),
        );
        f(
            r#"{"access_token":"a\u0000","expires_in":60}"#,
            Err("characters"),
        );
        f("<html>", Err("no JSON"));
        let of_file = Token::of_text(&format!("{long}\n")).unwrap();
        assert_eq!(of_file.principal, "me");
        assert!(!format!("{of_file:?}").contains("eyJ"), "{of_file:?}");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_a_token_or_none(
            body in prop::collection::vec(any::<u8>(), 0..200),
            claims in ".{0,60}",
            seconds in any::<f64>(),
        ) {
            drop(Token::of_answer(&body));
            drop(Token::of_text(&String::from_utf8_lossy(&body)));
            drop(Token::of_text(&jwt(&claims)));
            let answer = serde_json::json!({"access_token": jwt(&claims), "expires_in": seconds});
            drop(Token::of_answer(answer.to_string().as_bytes()));
        }
    }
}
