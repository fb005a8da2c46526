//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677, and PostgreSQL's "SASL Authentication"):
//! the client proves that it knows the decoy password, without either side sending it.
//!
//! A program that found the real password somewhere and tries it here fails, and learns nothing.
//! Proofs are compared in constant time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

/// PostgreSQL's default; the password is a random decoy, so more buys nothing.
pub const ITERATIONS: std::num::NonZeroU32 = std::num::NonZeroU32::new(4096).unwrap();

/// The longest message of a client, in bytes.
const LONGEST: usize = 4096;

/// Why a client was not let in. All but [`ScramError::Proof`] are the client's mistakes in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// A message that RFC 5802 does not know, or an extension of it.
    #[error("the client's SCRAM message cannot be read")]
    Message,
    /// The channel binding that was asked for or left out does not fit the connection.
    #[error("the client's channel binding does not fit this connection")]
    Binding,
    /// The proof is not one of the password that belongs here.
    #[error(
        "the password is not the one that Tagout gave this session; use the one in DATABASE_URL"
    )]
    Proof,
}

/// Whether the connection can be bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    /// `SCRAM-SHA-256` alone was offered.
    None,
    /// `SCRAM-SHA-256-PLUS` was offered as well, and not taken: the client said it cannot (`n`).
    NotTaken,
    /// `SCRAM-SHA-256-PLUS` with `tls-server-end-point` (RFC 5929): the hash of our own certificate.
    EndPoint(Vec<u8>),
}

/// What is kept of a password to ask for it.
pub struct Verifier {
    salt: [u8; 16],
    client_key: hmac::Tag,
    server_key: hmac::Tag,
}

impl Verifier {
    /// For a decoy password; the salt is random.
    ///
    /// # Errors
    /// A password other than printable ASCII, which clients would normalise first (SASLprep).
    pub fn new(password: &str, salt: [u8; 16]) -> Result<Self, ScramError> {
        if password.is_empty() || !password.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(ScramError::Message);
        }
        let mut salted = [0; digest::SHA256_OUTPUT_LEN];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            ITERATIONS,
            &salt,
            password.as_bytes(),
            &mut salted,
        );
        Ok(Self {
            salt,
            client_key: sign(&salted, b"Client Key"),
            server_key: sign(&salted, b"Server Key"),
        })
    }

    /// Reads `client-first-message` and gives the exchange and `server-first-message`.
    ///
    /// `nonce` is random, printable and without a comma.
    ///
    /// # Errors
    /// [`ScramError::Message`], [`ScramError::Binding`].
    pub fn begin(
        &self,
        client_first: &[u8],
        binding: &ChannelBinding,
        nonce: &str,
    ) -> Result<(Exchange<'_>, String), ScramError> {
        let text = readable(client_first)?;
        let (header, bare) = gs2(text)?;
        let fits = match binding {
            // `y`: the client could, and was told that we cannot. That is true here.
            ChannelBinding::None => header == "n,," || header == "y,,",
            // With PLUS offered, `y` means that somebody took the offer away.
            ChannelBinding::NotTaken => header == "n,,",
            ChannelBinding::EndPoint(_) => header == "p=tls-server-end-point,,",
        };
        if !fits {
            return Err(ScramError::Binding);
        }
        // The role stands in the startup message; PostgreSQL's clients send an empty name here.
        let rest = bare.strip_prefix("n=").ok_or(ScramError::Message)?;
        let (_, rest) = rest.split_once(',').ok_or(ScramError::Message)?;
        let client_nonce = rest.strip_prefix("r=").ok_or(ScramError::Message)?;
        if client_nonce.is_empty() || client_nonce.contains(',') {
            return Err(ScramError::Message);
        }
        let nonce = format!("{client_nonce}{nonce}");
        let server_first = format!(
            "r={nonce},s={salt},i={ITERATIONS}",
            salt = STANDARD.encode(self.salt)
        );
        let mut bound = header.as_bytes().to_vec();
        if let ChannelBinding::EndPoint(hash) = binding {
            bound.extend_from_slice(hash);
        }
        let exchange = Exchange {
            verifier: self,
            spoken: format!("{bare},{server_first}"),
            expected: format!("c={},r={nonce}", STANDARD.encode(bound)),
        };
        Ok((exchange, server_first))
    }
}

/// An exchange whose proof is awaited.
pub struct Exchange<'a> {
    verifier: &'a Verifier,
    /// `client-first-message-bare "," server-first-message`.
    spoken: String,
    /// The only `client-final-message-without-proof` there can be.
    expected: String,
}

impl Exchange<'_> {
    /// Reads `client-final-message` and gives `server-final-message`. One try: the exchange is over.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn finish(self, client_final: &[u8]) -> Result<String, ScramError> {
        let text = readable(client_final)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Message)?;
        if without_proof != self.expected {
            return Err(ScramError::Binding);
        }
        let proof = STANDARD.decode(proof).map_err(|_| ScramError::Message)?;
        let spoken = format!("{},{without_proof}", self.spoken);
        let client_key = self.verifier.client_key.as_ref();
        let stored_key = digest::digest(&digest::SHA256, client_key);
        let signature = sign(stored_key.as_ref(), spoken.as_bytes());
        let right: Vec<u8> = client_key
            .iter()
            .zip(signature.as_ref())
            .map(|(key, signature)| key ^ signature)
            .collect();
        // Compared through a keyed hash, whose comparison takes the same time for all.
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.verifier.server_key.as_ref());
        let tag = hmac::sign(&key, &right);
        hmac::verify(&key, &proof, tag.as_ref()).map_err(|_| ScramError::Proof)?;
        let signature = hmac::sign(&key, spoken.as_bytes());
        Ok(format!("v={}", STANDARD.encode(signature.as_ref())))
    }
}

fn sign(key: &[u8], data: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data)
}

/// Both messages are printable ASCII in every client's form.
fn readable(message: &[u8]) -> Result<&str, ScramError> {
    let text = std::str::from_utf8(message).map_err(|_| ScramError::Message)?;
    if text.len() > LONGEST || text.chars().any(char::is_control) {
        return Err(ScramError::Message);
    }
    Ok(text)
}

/// The GS2 header (with its commas; no authorisation identity) and what follows it.
fn gs2(text: &str) -> Result<(&str, &str), ScramError> {
    let header = text.find(",,").ok_or(ScramError::Message)? + 2;
    Ok(text.split_at(header))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The password and salt of RFC 7677 §3.
    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
    const CLIENT: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const FINAL: &[u8] = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn verifier(password: &str) -> Verifier {
        let salt = STANDARD.decode(SALT).expect("base64");
        Verifier::new(password, salt.try_into().expect("16 bytes")).expect("ASCII")
    }

    #[test]
    fn the_rfcs_own_example_is_let_in() {
        let verifier = verifier("pencil");
        let (exchange, first) = verifier
            .begin(CLIENT, &ChannelBinding::None, NONCE)
            .expect("begun");
        assert_eq!(
            first,
            format!("r=rOprNGfwEbeRWgbNEkqO{NONCE},s={SALT},i=4096")
        );
        assert_eq!(
            exchange.finish(FINAL).as_deref(),
            Ok("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        );
    }

    #[test]
    fn invariant_4_another_password_is_not_let_in() {
        let verifier = verifier("pencil2");
        let (exchange, _) = verifier
            .begin(CLIENT, &ChannelBinding::None, NONCE)
            .expect("begun");
        assert_eq!(exchange.finish(FINAL), Err(ScramError::Proof));
    }

    #[test]
    fn a_replayed_or_shortened_proof_is_not_let_in() {
        let verifier = verifier("pencil");
        let begin = |nonce| {
            let begun = verifier.begin(CLIENT, &ChannelBinding::None, nonce);
            begun.expect("begun").0
        };
        assert_eq!(begin("other").finish(FINAL), Err(ScramError::Binding));
        for end in 0..FINAL.len() {
            assert!(begin(NONCE).finish(&FINAL[..end]).is_err(), "{end}");
        }
        let empty = [&FINAL[..FINAL.len() - 44], b""].concat();
        assert!(empty.ends_with(b"p="));
        assert_eq!(begin(NONCE).finish(&empty), Err(ScramError::Proof));
    }

    #[test]
    fn channel_binding_cannot_be_talked_away() {
        let verifier = verifier("pencil");
        let end_point = ChannelBinding::EndPoint(vec![1; 32]);
        let refused = |first: &[u8], binding| verifier.begin(first, binding, NONCE).is_err();
        assert!(refused(b"y,,n=,r=a", &ChannelBinding::NotTaken));
        assert!(refused(b"n,,n=,r=a", &end_point));
        assert!(refused(b"p=tls-unique,,n=,r=a", &end_point));
        assert!(refused(
            b"p=tls-server-end-point,,n=,r=a",
            &ChannelBinding::None
        ));
        assert!(!refused(b"p=tls-server-end-point,,n=,r=a", &end_point));
        assert!(!refused(b"y,,n=,r=a", &ChannelBinding::None));
    }

    #[test]
    fn a_first_message_with_anything_else_is_refused() {
        let verifier = verifier("pencil");
        for first in [
            &b""[..],
            b"n,,",
            b"n,a=admin,n=,r=a",
            b"n,,m=x,n=,r=a",
            b"n,,n=,r=",
            b"n,,n=,r=a,x=b",
            b"n,,n=\n,r=a",
            b"\xff,,n=,r=a",
        ] {
            let begun = verifier.begin(first, &ChannelBinding::None, NONCE);
            assert!(begun.is_err(), "{first:?}");
        }
        assert!(Verifier::new("", [0; 16]).is_err());
        assert!(Verifier::new("pä", [0; 16]).is_err());
    }
}
