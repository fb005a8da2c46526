//! Names of sessions and holds. Short enough to type, random enough that no two meet, and of a
//! grammar so narrow that they can stand in a path, a URL or a line of SQL.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Crockford's base 32 in lower case: no `i`, `l`, `o`, `u`.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The text is not an id of the expected kind.
#[derive(Debug, thiserror::Error)]
#[error("`{found}` is not {expected}; `tagout {listing}` lists them")]
pub struct IdError {
    found: String,
    expected: &'static str,
    listing: &'static str,
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $length:literal, $expected:literal, $listing:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// A fresh random id.
            ///
            /// # Errors
            /// When the operating system gives no random bytes.
            pub fn random() -> Result<Self, getrandom::Error> {
                let mut bytes = [0u8; $length];
                getrandom::fill(&mut bytes)?;
                let mut text = String::from($prefix);
                text.extend(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])));
                Ok(Self(text))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                match text.strip_prefix($prefix) {
                    Some(rest) if rest.len() == $length && rest.bytes().all(|b| ALPHABET.contains(&b)) => {
                        Ok(Self(text.to_owned()))
                    }
                    _ => Err(IdError {
                        found: text.chars().filter(|c| c.is_ascii_graphic()).take(40).collect(),
                        expected: $expected,
                        listing: $listing,
                    }),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

identifier!(
    /// One run of an agent under Tagout: `s-` and ten characters.
    SessionId, "s-", 10, "a session id (s- and ten characters)", "sessions"
);
identifier!(
    /// One action that waits for a person: `h-` and ten characters.
    HoldId, "h-", 10, "a hold id (h- and ten characters)", "holds"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_parse_and_strangers_do_not() {
        let id = SessionId::random().unwrap();
        assert_eq!(id.as_str().parse::<SessionId>().unwrap(), id);
        for stranger in [
            "",
            "s-",
            "h-0123456789",
            "s-../../../x",
            "s-0123456789a",
            "s-012345678i",
        ] {
            assert!(stranger.parse::<SessionId>().is_err(), "{stranger}");
        }
    }
}
