//! How a connection begins: the server greets, the client says who it is (MySQL's manual, "Connection
//! Phase"). The gate greets for the server, and introduces itself to it.

use crate::ProtocolError;
use crate::capability::{
    CONNECT_WITH_DB, NEEDED, PLUGIN_AUTH, PLUGIN_AUTH_LENENC, SECURE_CONNECTION, SSL,
};
use crate::packet::{Fields, write_counted};

/// The one version of the protocol.
const VERSION: u8 = 10;
/// The longest packet that a client or server of either end may announce; nobody heeds it.
const LONGEST: u32 = 1 << 30;
/// `utf8mb4_general_ci`, which every server that speaks utf8mb4 knows.
pub(crate) const UTF8MB4: u8 = 45;

/// `HandshakeV10`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The server's version, as it calls it.
    pub version: String,
    /// By which the connection is named in `KILL`.
    pub connection: u32,
    /// What proofs are bound to: 20 bytes, of some servers others.
    pub nonce: Vec<u8>,
    /// What the server can do.
    pub capabilities: u32,
    /// The method by which it would like to be convinced.
    pub method: String,
}

impl Greeting {
    /// Reads a server's.
    ///
    /// # Errors
    /// When it is none of this version of the protocol.
    pub fn read(payload: &[u8]) -> Result<Self, ProtocolError> {
        let mut fields = Fields::of(payload, "greeting");
        if fields.u8()? != VERSION {
            return Err(ProtocolError::Version);
        }
        let version = fields.until_nul()?;
        let version = String::from_utf8_lossy(version).into_owned();
        let connection = fields.u32()?;
        let mut nonce = fields.bytes(8)?.to_vec();
        fields.bytes(1)?;
        let low = fields.u16()?;
        // Its collation and status; a gate asks for neither.
        fields.bytes(3)?;
        let high = fields.u16()?;
        let capabilities = u32::from(high) << 16 | u32::from(low);
        let length = fields.u8()?;
        fields.bytes(10)?;
        if capabilities & NEEDED != NEEDED {
            return Err(ProtocolError::Capabilities);
        }
        let rest = fields.bytes(usize::from(length.saturating_sub(8)).max(13))?;
        nonce.extend_from_slice(rest.strip_suffix(b"\0").unwrap_or(rest));
        let method = match capabilities & PLUGIN_AUTH {
            0 => String::new(),
            // Some servers leave the NUL out.
            _ => {
                let name = fields.rest();
                let name = name.strip_suffix(b"\0").unwrap_or(name);
                fields.text(name)?
            }
        };
        Ok(Self {
            version,
            connection,
            nonce,
            capabilities,
            method,
        })
    }

    /// Writes one, for a client.
    pub fn write(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(self.version.bytes().filter(|byte| *byte != 0));
        out.push(0);
        out.extend_from_slice(&self.connection.to_le_bytes());
        let (first, second) = self.nonce.split_at(self.nonce.len().min(8));
        out.extend_from_slice(first);
        out.push(0);
        let [a, b, c, d] = self.capabilities.to_le_bytes();
        out.extend_from_slice(&[a, b, UTF8MB4]);
        // Autocommit, as of everybody who just came.
        out.extend_from_slice(&2_u16.to_le_bytes());
        out.extend_from_slice(&[c, d, 21]);
        out.extend_from_slice(&[0; 10]);
        out.extend_from_slice(second);
        out.push(0);
        out.extend_from_slice(self.method.as_bytes());
        out.push(0);
        out
    }
}

/// What a client says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Introduction {
    /// `SSLRequest`: it wants to encrypt, and says the rest then.
    Tls,
    /// `HandshakeResponse41`.
    Login(Login),
}

/// Who a client says that it is. Its attributes and its collation are read and left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// What it took of what it was offered.
    pub capabilities: u32,
    /// Who.
    pub user: String,
    /// The proof, by `method`.
    pub proof: Vec<u8>,
    /// Which database.
    pub database: Option<String>,
    /// By which method; the one of the greeting where it names none.
    pub method: Option<String>,
}

impl Introduction {
    /// Reads a client's.
    ///
    /// # Errors
    /// When it is none, or of a version before 4.1.
    pub fn read(payload: &[u8]) -> Result<Self, ProtocolError> {
        let mut fields = Fields::of(payload, "login");
        let capabilities = fields.u32()?;
        if capabilities & NEEDED != NEEDED {
            return Err(ProtocolError::Capabilities);
        }
        fields.bytes(4 + 1 + 23)?;
        if capabilities & SSL != 0 && fields.peek().is_none() {
            return Ok(Self::Tls);
        }
        let user = fields.until_nul()?;
        let user = fields.text(user)?;
        let proof = match capabilities & PLUGIN_AUTH_LENENC {
            0 => {
                let length = fields.u8()?;
                fields.bytes(usize::from(length))?
            }
            _ => fields.counted()?,
        };
        let mut database = None;
        if capabilities & CONNECT_WITH_DB != 0 && fields.peek().is_some() {
            let name = fields.until_nul()?;
            database = Some(fields.text(name)?).filter(|name| !name.is_empty());
        }
        let mut method = None;
        if capabilities & PLUGIN_AUTH != 0 && fields.peek().is_some() {
            let name = fields.until_nul()?;
            method = Some(fields.text(name)?);
        }
        Ok(Self::Login(Login {
            capabilities,
            user,
            proof: proof.to_vec(),
            database,
            method,
        }))
    }
}

impl Login {
    /// The same for a server: `SSLRequest` alone, where `encrypts`, and the whole.
    pub(crate) fn write(&self, encrypts: bool) -> (Option<Vec<u8>>, Vec<u8>) {
        let capabilities = match encrypts {
            true => self.capabilities | SSL,
            false => self.capabilities,
        };
        let mut out = capabilities.to_le_bytes().to_vec();
        out.extend_from_slice(&LONGEST.to_le_bytes());
        out.push(UTF8MB4);
        out.extend_from_slice(&[0; 23]);
        let request = encrypts.then(|| out.clone());
        out.extend(self.user.bytes().filter(|byte| *byte != 0));
        out.push(0);
        match capabilities & PLUGIN_AUTH_LENENC {
            0 => {
                debug_assert!(capabilities & SECURE_CONNECTION != 0);
                out.push(u8::try_from(self.proof.len()).unwrap_or_default());
                out.extend_from_slice(&self.proof);
            }
            _ => write_counted(&mut out, &self.proof),
        }
        if capabilities & CONNECT_WITH_DB != 0 {
            let name = self.database.as_deref().unwrap_or_default();
            out.extend(name.bytes().filter(|byte| *byte != 0));
            out.push(0);
        }
        if capabilities & PLUGIN_AUTH != 0 {
            out.extend_from_slice(self.method.as_deref().unwrap_or_default().as_bytes());
            out.push(0);
        }
        (request, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::{LONG_PASSWORD, PROTOCOL_41, offered};

    fn greeting() -> Greeting {
        Greeting {
            version: "5.5.5-10.11.6-MariaDB".to_owned(),
            connection: 77,
            nonce: b"abcdefghijklmnopqrst".to_vec(),
            capabilities: offered(u32::MAX),
            method: "mysql_native_password".to_owned(),
        }
    }

    #[test]
    fn a_greeting_is_read_as_it_was_written() {
        let written = greeting().write();
        assert_eq!(Greeting::read(&written), Ok(greeting()));
        for short in 0..written.len() - 22 {
            assert!(Greeting::read(&written[..short]).is_err(), "{short}");
        }
    }

    #[test]
    fn a_login_is_read_as_it_was_written() {
        let login = Login {
            capabilities: PROTOCOL_41
                | SECURE_CONNECTION
                | PLUGIN_AUTH
                | PLUGIN_AUTH_LENENC
                | CONNECT_WITH_DB
                | LONG_PASSWORD,
            user: "app".to_owned(),
            proof: vec![0xFF; 32],
            database: Some("shop".to_owned()),
            method: Some("caching_sha2_password".to_owned()),
        };
        let (request, whole) = login.write(false);
        assert_eq!(request, None);
        assert_eq!(
            Introduction::read(&whole),
            Ok(Introduction::Login(login.clone()))
        );
        let (request, _) = login.write(true);
        assert_eq!(Introduction::read(&request.unwrap()), Ok(Introduction::Tls));
        assert_eq!(
            Introduction::read(&[0; 64]),
            Err(ProtocolError::Capabilities)
        );
    }
}
