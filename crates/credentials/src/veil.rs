//! Secrets that a provider's answer reveals: each becomes a decoy before the answer goes on, and the
//! value joins what must not leave. The decoy is the one that the value has in the workspace's files.

use std::path::Path;

use serde_json::{Value as Json, json};
use tagout_secrets::{DecoyKey, Detector, is_guessable, known_values, twin};

use crate::broker::Broker;
use crate::value::Decoy;

/// Replaces the secrets of one answer. What it has replaced is known to the broker only after
/// [`learn`](Self::learn), which must come before the answer goes on.
pub struct Veil<'a> {
    broker: &'a Broker,
    key: &'a DecoyKey,
    label: String,
    replaced: usize,
    values: Vec<(String, Vec<u8>, bool)>,
    decoys: Vec<(Decoy, String)>,
}

impl Broker {
    /// A veil for an answer that `label` names in records. `None` where decoys cannot be made; then
    /// the answer must not go on.
    pub fn veil(&self, label: &str) -> Option<Veil<'_>> {
        Some(Veil {
            broker: self,
            key: self.decoy_key()?,
            label: label.to_owned(),
            replaced: 0,
            values: Vec::new(),
            decoys: Vec::new(),
        })
    }
}

impl Veil<'_> {
    /// The decoy of a text that is a credential as a whole.
    pub fn credential(&mut self, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let decoy = String::from_utf8_lossy(&self.key.decoy(text.as_bytes())).into_owned();
        let guessable = is_guessable(text.as_bytes());
        self.replaced += 1;
        self.replace(text.as_bytes().to_vec(), decoy.as_bytes(), guessable);
        decoy
    }

    /// A value of a document, under its name: what the detector finds in it is replaced, as it would
    /// be in a file that is made for credentials. What is known already is replaced whatever it looks
    /// like.
    pub fn named(&mut self, name: &str, text: &str) -> String {
        let document = json!({name: text}).to_string().into_bytes();
        let findings = Detector::builtin().scan(Path::new("secrets.json"), &document);
        let copy = twin(&document, &findings, self.key);
        self.replaced += findings.len();
        for finding in &findings {
            let decoy = copy.get(finding.span.clone()).unwrap_or_default();
            for value in known_values(&document, finding) {
                self.replace(value, decoy, finding.guessable);
            }
        }
        let veiled = match serde_json::from_slice::<Json>(&copy) {
            Ok(Json::Object(members)) => members.into_iter().next(),
            _ => None,
        };
        match veiled {
            // A name that changed held a secret itself, and then nothing is certain.
            Some((kept, Json::String(veiled))) if kept == name => self.masked(veiled),
            _ => self.credential(text),
        }
    }

    /// Makes what was replaced known; how many values that were.
    pub fn learn(self) -> usize {
        if !self.values.is_empty() {
            self.broker.learn(self.values, self.decoys);
        }
        self.replaced
    }

    fn replace(&mut self, value: Vec<u8>, decoy: &[u8], guessable: bool) {
        if let Ok(decoy) = std::str::from_utf8(decoy) {
            self.decoys.push((Decoy::new(decoy), self.label.clone()));
        }
        self.values.push((self.label.clone(), value, guessable));
    }

    fn masked(&self, text: String) -> String {
        match self.broker.mask_for_model_host(text.as_bytes()) {
            Some(masked) => String::from_utf8_lossy(&masked).into_owned(),
            None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use tagout_secrets::KnownSecrets;

    use super::*;

    const TOKEN: &str = "3f6e1c2a-9b7d-4e58-a1c0-5d2f8b6e4a97";

    fn broker() -> Broker {
        let known = KnownSecrets::new([("odd".to_owned(), b"odd-but-held-8472".to_vec(), false)]);
        let key = DecoyKey::derive(b"install", b"workspace");
        Broker::new(Vec::new(), known, Vec::new()).with_decoy_key(key)
    }

    #[test]
    fn invariant_3_what_an_answer_reveals_is_a_decoy_and_known() {
        let broker = broker();
        let mut veil = broker.veil("railway.variables").expect("a veil");
        let shown = [
            veil.named("RAILWAY_TOKEN", TOKEN),
            veil.named(
                "DATABASE_URL",
                "postgres://app:Zq8vT2xLp7Nc@db.internal/app",
            ),
            veil.named("NOTE", "it says odd-but-held-8472 here"),
            veil.credential("otpauth-Zq8vT2xLp7NcYw0"),
            veil.named("NODE_ENV", "production"),
            veil.named("PORT", "3000"),
            veil.named("MULTI", "line one\n\"quoted\"\tand a tab"),
            veil.named("", ""),
        ];
        assert_eq!(veil.learn(), 3);
        for secret in [TOKEN, "Zq8vT2xLp7Nc", "odd-but-held-8472"] {
            assert!(!shown.concat().contains(secret), "{shown:?}");
        }
        assert!(shown[1].starts_with("postgres://app:"), "{}", shown[1]);
        assert_eq!(
            &shown[4..],
            ["production", "3000", "line one\n\"quoted\"\tand a tab", ""]
        );
        assert!(broker.known().find(TOKEN.as_bytes()).is_some());
        let mut again = broker.veil("again").expect("a veil");
        assert_eq!(again.named("RAILWAY_TOKEN", TOKEN), shown[0], "stable");
    }

    #[test]
    fn without_a_key_there_is_no_veil() {
        let broker = Broker::new(Vec::new(), KnownSecrets::new([]), Vec::new());
        assert!(broker.veil("x").is_none());
    }
}
