//! A signed HTTP request for programs, after the Standard Webhooks specification.
//!
//! The body is the alert as the command-line reference shows it, made once: a retry must be the same bytes, or the
//! receiver cannot tell a repeat from a change. What differs from try to try is the stamp, and with it the signature;
//! the id stays, so that a receiver can drop what it already has.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use super::config::Secret;
use super::escape;
use crate::model::{Alert, Timestamp};

/// The body of the request.
pub fn compose(alert: &Alert) -> String {
    escape::json(alert)
}

/// A key that signs. Several of them sign at once while a receiver changes from one to the next.
pub struct Key(hmac::Key);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Keys as they are configured: `whsec_` and base64, several separated by a space.
pub fn keys(secret: &Secret) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    for text in secret.expose().split_whitespace() {
        let text = text.strip_prefix("whsec_").unwrap_or(text).trim_end_matches('=');
        let padded = format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4));
        match STANDARD.decode(padded) {
            Ok(bytes) if !bytes.is_empty() => keys.push(Key(hmac::Key::new(hmac::HMAC_SHA256, &bytes))),
            Ok(_) | Err(_) => return Err("is no signing key; write `whsec_` and base64 of 24 to 64 bytes".into()),
        }
    }
    if keys.is_empty() { Err("is empty; write `whsec_` and base64 of 24 to 64 bytes".into()) } else { Ok(keys) }
}

/// The headers of one try. `id` is the note's key.
pub fn headers(id: &str, body: &[u8], keys: &[Key], at: Timestamp) -> Vec<(&'static str, String)> {
    let seconds = at.micros().div_euclid(1_000_000);
    let mut headers = vec![("webhook-id", id.to_string()), ("webhook-timestamp", seconds.to_string())];
    if !keys.is_empty() {
        let mut signed = format!("{id}.{seconds}.").into_bytes();
        signed.extend_from_slice(body);
        let signatures: Vec<String> =
            keys.iter().map(|key| format!("v1,{}", STANDARD.encode(hmac::sign(&key.0, &signed)))).collect();
        headers.push(("webhook-signature", signatures.join(" ")));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::sample;

    /// The example that the specification's reference libraries test themselves with.
    #[test]
    fn the_signature_is_the_specification_s() {
        let keys = keys(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).unwrap();
        let at = Timestamp::from_micros(1_614_265_330_000_000);
        let found = headers("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#, &keys, at);
        assert_eq!(found[0], ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek".into()));
        assert_eq!(found[1], ("webhook-timestamp", "1614265330".into()));
        assert_eq!(found[2], ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".into()));
    }

    #[test]
    fn two_keys_sign_while_they_are_changed() {
        let both = keys(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_AAAA")).unwrap();
        let found = headers("a", b"b", &both, Timestamp::from_micros(0));
        assert_eq!(found[2].1.matches("v1,").count(), 2);
        assert_eq!(headers("a", b"b", &[], Timestamp::from_micros(0)).len(), 2);
        for bad in ["", "whsec_", "whsec_!!!", "hello world"] {
            assert!(keys(&Secret::new(bad)).is_err(), "{bad}");
        }
        assert_eq!(format!("{both:?}"), "[***, ***]");
    }

    #[test]
    fn the_body_is_the_alert_and_nothing_else() {
        for alert in [sample::alert(), sample::resolved(), sample::hostile()] {
            let body = compose(&alert);
            assert!(body.is_ascii() && !body.contains('\n'));
            assert_eq!(serde_json::from_str::<Alert>(&body).unwrap(), alert);
            let expected = serde_json::to_value(&alert).unwrap();
            assert_eq!(serde_json::from_str::<serde_json::Value>(&body).unwrap(), expected);
        }
    }
}
