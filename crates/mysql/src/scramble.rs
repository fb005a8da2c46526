//! How a password is proved without being said: `mysql_native_password` and the fast way of
//! `caching_sha2_password` (MySQL's manual, "Authentication Methods").

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// The method that every client knows.
pub(crate) const NATIVE: &str = "mysql_native_password";
/// The method of MySQL 8.
pub(crate) const CACHING_SHA2: &str = "caching_sha2_password";
/// The password as it is.
pub(crate) const CLEAR: &str = "mysql_clear_password";

/// What a proof is bound to.
pub(crate) type Nonce = [u8; 20];

/// A nonce as servers make them: no NUL, which would end it, and no `$`.
///
/// `None` when the system gives no random numbers.
pub(crate) fn nonce() -> Option<Nonce> {
    let mut nonce = [0; 20];
    SystemRandom::new().fill(&mut nonce).ok()?;
    Some(nonce.map(|byte| match byte & 0x7F {
        0 | b'$' => b'x',
        byte => byte,
    }))
}

/// The proof of `password` by `method`; empty for no password. `None` for a method that is not known.
pub(crate) fn proof(method: &str, password: &[u8], nonce: &[u8]) -> Option<Vec<u8>> {
    if ![NATIVE, CACHING_SHA2].contains(&method) {
        return None;
    }
    if password.is_empty() {
        return Some(Vec::new());
    }
    let (algorithm, nonce_first) = match method {
        NATIVE => (&SHA1_FOR_LEGACY_USE_ONLY, true),
        _ => (&SHA256, false),
    };
    let once = digest(algorithm, password);
    let twice = digest(algorithm, once.as_ref());
    let mut context = Context::new(algorithm);
    let parts = [nonce, twice.as_ref()];
    for part in if nonce_first {
        parts
    } else {
        [parts[1], parts[0]]
    } {
        context.update(part);
    }
    let mask = context.finish();
    let pairs = once.as_ref().iter().zip(mask.as_ref());
    Some(pairs.map(|(a, b)| a ^ b).collect())
}

/// Whether `given` proves any of `passwords` by `method`.
pub(crate) fn proves(method: &str, passwords: &[String], nonce: &Nonce, given: &[u8]) -> bool {
    passwords.iter().any(|password| {
        proof(method, password.as_bytes(), nonce)
            .filter(|proof| !proof.is_empty())
            // Of one nonce, once: how long the comparison takes tells nobody anything.
            .is_some_and(|proof| proof == given)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python's hashlib.
    #[test]
    fn proofs_are_those_of_the_manual() {
        let nonce = *b"abcdefghijklmnopqrst";
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let native = proof(NATIVE, b"secret", &nonce).unwrap();
        assert_eq!(hex(&native), "8817c50fa779daef010ee7577825b0847df9842e");
        let sha2 = proof(CACHING_SHA2, b"secret", &nonce).unwrap();
        assert_eq!(
            hex(&sha2),
            "c76e2898612a4cf042c77fa8c4702c4c64c0c2c557c53c4d75595aaa6abae809"
        );
        assert!(proves(NATIVE, &["secret".to_owned()], &nonce, &native));
        assert!(!proves(NATIVE, &["secret".to_owned()], &nonce, b""));
        assert!(!proves(NATIVE, &[String::new()], &nonce, b""));
        assert!(!proves(
            CACHING_SHA2,
            &["secret".to_owned()],
            &nonce,
            &native
        ));
        assert_eq!(proof("dialog", b"secret", &nonce), None);
    }
}
