//! Scripts of a session. What one does, nobody can say beforehand, so a person is shown the whole of it; once
//! one was approved it may run again in the session, with any keys and arguments, as queues need it.
//!
//! A script is known here by its text. Its SHA-1, by which clients call it again, only leads to the text, and
//! the server is always sent that: no other script of the same SHA-1 can run in its place.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::command::Command;

/// Scripts that are remembered in a session.
const MOST: usize = 1000;
/// The longest of them, in bytes.
const LONGEST: usize = 256 << 10;

/// The scripts of a session, over all of its connections.
#[derive(Debug, Default)]
pub(crate) struct Scripts(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// By SHA-1, in small hexadecimal digits.
    texts: HashMap<String, Vec<u8>>,
    approved: HashSet<Vec<u8>>,
}

/// Why a command that runs a script cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoScript {
    /// It was not seen in this session; clients then send the whole of it.
    Unknown,
    /// Another script has its SHA-1, or there are too many, or it is too long.
    Refused,
}

impl Scripts {
    /// Notes a script's text.
    pub(crate) fn learn(&self, text: &[u8]) -> Result<(), NoScript> {
        if text.len() > LONGEST {
            return Err(NoScript::Refused);
        }
        let name = sha1(text);
        let mut known = self.known();
        match known.texts.get(&name) {
            Some(same) if same == text => Ok(()),
            Some(_) => Err(NoScript::Refused),
            None if known.texts.len() >= MOST => Err(NoScript::Refused),
            None => {
                known.texts.insert(name, text.to_vec());
                Ok(())
            }
        }
    }

    /// A command that runs a script, as one that has its text: `EVAL` for `EVALSHA`.
    pub(crate) fn whole(&self, command: &Command) -> Result<Command, NoScript> {
        let name = command.name();
        let mut words = command.words().to_vec();
        let text = words.get(1).cloned().unwrap_or_default();
        let whole = match name.as_str() {
            "evalsha" => "EVAL",
            "evalsha_ro" => "EVAL_RO",
            _ => {
                self.learn(&text)?;
                return Ok(command.clone());
            }
        };
        let sha = String::from_utf8_lossy(&text).to_ascii_lowercase();
        let text = self.known().texts.get(&sha).cloned();
        let text = text.ok_or(NoScript::Unknown)?;
        if let Some(first) = words.first_mut() {
            *first = whole.as_bytes().to_vec();
        }
        if let Some(second) = words.get_mut(1) {
            *second = text;
        }
        Command::new(words).ok_or(NoScript::Unknown)
    }

    /// Whether a person approved the script of a command that has its text.
    pub(crate) fn is_approved(&self, command: &Command) -> bool {
        let text = command.words().get(1);
        text.is_some_and(|text| self.known().approved.contains(text))
    }

    /// A person approved it.
    pub(crate) fn approve(&self, command: &Command) {
        if let Some(text) = command.words().get(1) {
            self.known().approved.insert(text.clone());
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Entries are put in whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sha1(text: &[u8]) -> String {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, text);
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_called_by_its_sha1_once_its_text_is_known() {
        let scripts = Scripts::default();
        let call = Command::of(&[
            "EVALSHA",
            "E0E1F9FABFC9D4800C877A703B823AC0578FF8DB",
            "1",
            "k",
        ]);
        assert_eq!(scripts.whole(&call), Err(NoScript::Unknown));
        scripts.learn(b"return 1").expect("learnt");
        let whole = scripts.whole(&call).expect("known");
        assert_eq!(whole.text(), r#"EVAL "return 1" 1 k"#);
        assert!(!scripts.is_approved(&whole));
        scripts.approve(&whole);
        assert!(scripts.is_approved(&Command::of(&["EVAL_RO", "return 1", "0"])));
        assert!(!scripts.is_approved(&Command::of(&["EVAL", "return 2", "0"])));
    }
}
