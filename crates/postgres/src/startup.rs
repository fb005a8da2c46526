//! What a connection begins with, before messages have types. A `StartupMessage` is never forwarded:
//! its parameters are read against a list, and the upstream's own is made from what the manifest binds
//! and the few that are harmless. `options` would set anything at all, `replication` is another
//! protocol, and a client encoding other than UTF-8 makes the server read another text than the
//! classifier.

use crate::ProtocolError;

/// The first packet of a connection, or the one behind a refused or made encryption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// `SSLRequest`: asks for TLS.
    Tls,
    /// `GSSENCRequest`: asks for GSSAPI encryption, to be answered by `N`.
    Gss,
    /// `CancelRequest`: ends what another connection is doing.
    Cancel {
        /// The process number that the other connection was given.
        process: u32,
        /// Its key: 4 to 256 bytes.
        key: Vec<u8>,
    },
    /// `StartupMessage`.
    Startup(Startup),
}

/// What a client asked for in a `StartupMessage`. Every parameter is in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Startup {
    /// The role.
    pub user: String,
    /// The database; without one the protocol means that of the role's name.
    pub database: String,
    /// Settings, by the server's spelling of their names, each once. No `client_encoding`: it is UTF8.
    pub settings: Vec<(&'static str, String)>,
    /// Protocol options (`_pq_.…`) that are not spoken; the client is told in the negotiation.
    unsupported: Vec<String>,
    /// The minor version that the client asked for.
    minor: u16,
}

/// The server's own limit (`MAX_STARTUP_PACKET_LENGTH`), in bytes.
const LONGEST: u32 = 10_000;
/// The longest value of a setting, in bytes.
const LONGEST_VALUE: usize = 256;
/// The longest name of a role or database that is no other's when the server cuts it (`NAMEDATALEN`).
const LONGEST_NAME: usize = 63;

const CANCEL: u32 = (1234 << 16) | 5678;
const TLS: u32 = (1234 << 16) | 5679;
const GSS: u32 = (1234 << 16) | 5680;

/// Settings that change how values look and how long things may take, and nothing else.
const SETTINGS: [&str; 8] = [
    "application_name",
    "DateStyle",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "IntervalStyle",
    "lock_timeout",
    "statement_timeout",
    "TimeZone",
];

/// The names of all parameters that a client may send.
pub(crate) fn listed() -> String {
    format!("user, database, client_encoding, {}", SETTINGS.join(", "))
}

impl Opening {
    /// Reads a packet from the front of what arrived, with its length; `None` while it is incomplete.
    ///
    /// # Errors
    /// A packet that is none of the four.
    pub fn read(arrived: &[u8]) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some((length, rest)) = arrived.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length);
        if !(8..=LONGEST).contains(&length) {
            return Err(ProtocolError::Length {
                what: "startup packet",
                length,
                most: LONGEST,
            });
        }
        let Some(packet) = rest.get(..length as usize - 4) else {
            return Ok(None);
        };
        let (code, body) = packet
            .split_first_chunk::<4>()
            .ok_or(ProtocolError::Fields("startup"))?;
        let opening = match u32::from_be_bytes(*code) {
            TLS if body.is_empty() => Self::Tls,
            GSS if body.is_empty() => Self::Gss,
            TLS | GSS => return Err(ProtocolError::Fields("encryption request")),
            CANCEL => Self::cancel(body)?,
            version => Self::Startup(Startup::read(version, body)?),
        };
        Ok(Some((opening, length as usize)))
    }

    fn cancel(body: &[u8]) -> Result<Self, ProtocolError> {
        match body.split_first_chunk::<4>() {
            Some((process, key)) if (4..=256).contains(&key.len()) => Ok(Self::Cancel {
                process: u32::from_be_bytes(*process),
                key: key.to_vec(),
            }),
            _ => Err(ProtocolError::Fields("CancelRequest")),
        }
    }
}

impl Startup {
    /// Of a connection that Tagout makes for itself.
    pub(crate) fn of_tagout(user: &str, database: &str) -> Self {
        Self {
            user: user.to_owned(),
            database: database.to_owned(),
            settings: vec![("application_name", "tagout".to_owned())],
            unsupported: Vec::new(),
            minor: 0,
        }
    }

    fn read(version: u32, body: &[u8]) -> Result<Self, ProtocolError> {
        let (major, minor) = ((version >> 16) as u16, version as u16);
        if major != 3 {
            return Err(ProtocolError::Version(major));
        }
        // A list of texts that an empty name ends, and nothing behind it.
        let malformed = ProtocolError::Fields("startup");
        let texts = body.strip_suffix(b"\0\0");
        // Without any parameter there is no last text to end; `user` is missing then anyway.
        let texts = texts.ok_or(malformed)?;
        let mut texts = texts.split(|byte| *byte == 0);
        let mut startup = Self {
            user: String::new(),
            database: String::new(),
            settings: Vec::new(),
            unsupported: Vec::new(),
            minor,
        };
        let mut encoded = false;
        while let Some(name) = texts.next() {
            let value = texts.next().ok_or(malformed)?;
            let text =
                |bytes| std::str::from_utf8(bytes).map_err(|_| ProtocolError::Text("startup"));
            let (name, value) = (text(name)?, text(value)?);
            match name {
                "" => return Err(malformed),
                "user" => once(&mut startup.user, value)?,
                "database" => once(&mut startup.database, value)?,
                // The server takes these two by this spelling only; no other one is in the list.
                "options" => {
                    return Err(ProtocolError::Refused(
                        "`options` at startup (PGOPTIONS), instead of SET once connected,",
                    ));
                }
                "replication" => return Err(ProtocolError::Refused("replication")),
                _ if name.eq_ignore_ascii_case("client_encoding") => {
                    if encoded || !is_utf8(value) {
                        return Err(ProtocolError::Refused(
                            "a client_encoding other than UTF8, or a second one,",
                        ));
                    }
                    encoded = true;
                }
                _ if name.starts_with("_pq_.") => startup.unsupported.push(name.to_owned()),
                _ => startup.set(name, value)?,
            }
        }
        if startup.user.is_empty() {
            return Err(malformed);
        }
        if startup.database.is_empty() {
            startup.database.clone_from(&startup.user);
        }
        Ok(startup)
    }

    /// The server's names of settings have no case.
    fn set(&mut self, name: &str, value: &str) -> Result<(), ProtocolError> {
        let listed = SETTINGS
            .iter()
            .find(|known| known.eq_ignore_ascii_case(name));
        let listed = *listed.ok_or(ProtocolError::Parameter)?;
        let twice = self.settings.iter().any(|(known, _)| *known == listed);
        if twice || value.len() > LONGEST_VALUE || value.chars().any(char::is_control) {
            return Err(ProtocolError::Fields("startup"));
        }
        self.settings.push((listed, value.to_owned()));
        Ok(())
    }

    /// `NegotiateProtocolVersion`, where the client asked for more than 3.0.
    pub fn negotiation(&self) -> Option<Vec<u8>> {
        if self.minor == 0 && self.unsupported.is_empty() {
            return None;
        }
        let count = self.unsupported.len() as u32;
        let mut body = [(3_u32 << 16).to_be_bytes(), count.to_be_bytes()].concat();
        for option in &self.unsupported {
            body.extend_from_slice(option.as_bytes());
            body.push(0);
        }
        let length = body.len() as u32 + 4;
        Some([b"v", &length.to_be_bytes()[..], &body].concat())
    }

    /// The `StartupMessage` for the upstream: the role and database that the manifest binds, the
    /// client's harmless settings, `options` of the operator's own, and the settings under which the classifier's reading is the server's.
    /// `reads_only` for a protected database.
    ///
    /// # Errors
    /// A role or database whose name the server would cut or end early.
    pub fn rebuilt(
        &self,
        user: &str,
        database: &str,
        options: Option<&str>,
        reads_only: bool,
    ) -> Result<Vec<u8>, ProtocolError> {
        let mut body = (3_u32 << 16).to_be_bytes().to_vec();
        let mut put = |name: &str, value: &str| {
            for text in [name, value] {
                body.extend_from_slice(text.as_bytes());
                body.push(0);
            }
        };
        for (name, value) in [("user", user), ("database", database)] {
            if value.is_empty() || value.len() > LONGEST_NAME || value.contains('\0') {
                return Err(ProtocolError::Fields("startup"));
            }
            put(name, value);
        }
        if let Some(options) = options.filter(|options| !options.contains('\0')) {
            put("options", options);
        }
        for (name, value) in &self.settings {
            put(name, value);
        }
        put("client_encoding", "UTF8");
        put("standard_conforming_strings", "on");
        if reads_only {
            // Here and not by SET: it is what RESET ALL and DISCARD ALL go back to.
            put("default_transaction_read_only", "on");
        }
        body.push(0);
        let length = body.len() as u32 + 4;
        Ok([&length.to_be_bytes()[..], &body].concat())
    }
}

fn once(place: &mut String, value: &str) -> Result<(), ProtocolError> {
    if !place.is_empty() || value.is_empty() || value.len() > LONGEST_NAME {
        return Err(ProtocolError::Fields("startup"));
    }
    value.clone_into(place);
    Ok(())
}

/// The server compares names of encodings by their letters and digits alone, without case.
fn is_utf8(encoding: &str) -> bool {
    let plain: String = encoding
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    plain == "utf8" || plain == "unicode"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(code: u32, body: &[u8]) -> Vec<u8> {
        let length = body.len() as u32 + 8;
        [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
    }

    fn startup(parameters: &[(&str, &str)]) -> Result<Startup, ProtocolError> {
        let mut body = Vec::new();
        for (name, value) in parameters {
            for text in [name, value] {
                body.extend_from_slice(text.as_bytes());
                body.push(0);
            }
        }
        body.push(0);
        match Opening::read(&packet(3 << 16, &body))? {
            Some((Opening::Startup(startup), _)) => Ok(startup),
            other => panic!("no startup: {other:?}"),
        }
    }

    #[test]
    fn what_clients_send_is_read() {
        // libpq, JDBC, node-postgres.
        let startup = startup(&[
            ("user", "app"),
            ("database", "shop"),
            ("client_encoding", "'utf-8'"),
            ("datestyle", "ISO, MDY"),
            ("TimeZone", "Europe/Berlin"),
            ("application_name", "psql"),
        ])
        .expect("a startup");
        assert_eq!((&*startup.user, &*startup.database), ("app", "shop"));
        assert_eq!(startup.settings[0], ("DateStyle", "ISO, MDY".to_owned()));
        assert_eq!(startup.negotiation(), None);
    }

    #[test]
    fn invariant_5_parameters_that_could_change_the_reading_are_refused() {
        for (name, value) in [
            ("options", "-c standard_conforming_strings=off"),
            ("options", ""),
            ("OPTIONS", "-c standard_conforming_strings=off"),
            ("replication", "database"),
            ("replication", "false"),
            ("standard_conforming_strings", "off"),
            ("Standard_Conforming_Strings", "off"),
            ("backslash_quote", "on"),
            ("search_path", "mine"),
            ("role", "postgres"),
            ("session_replication_role", "replica"),
            ("default_transaction_read_only", "off"),
            ("client_encoding", "SJIS"),
            ("Client_Encoding", "BIG5"),
            ("client_encoding", ""),
        ] {
            let refused = startup(&[("user", "app"), (name, value)]);
            assert!(refused.is_err(), "{name}={value}");
        }
    }

    #[test]
    fn a_parameter_sent_twice_is_refused() {
        for (name, value) in [
            ("user", "postgres"),
            ("client_encoding", "SJIS"),
            ("TIMEZONE", "UTC"),
        ] {
            let all = [
                ("user", "app"),
                ("client_encoding", "UTF8"),
                ("TimeZone", "UTC"),
                (name, value),
            ];
            assert!(startup(&all[..3]).is_ok());
            assert!(startup(&all).is_err(), "{name}");
        }
    }

    #[test]
    fn what_goes_upstream_is_pinned_and_bound() {
        let startup = startup(&[
            ("user", "decoy"),
            ("database", "other"),
            ("application_name", "x"),
        ]);
        let bytes = startup
            .expect("a startup")
            .rebuilt("app", "shop", None, false);
        let bytes = bytes.expect("names");
        assert_eq!(
            &bytes[8..],
            b"user\0app\0database\0shop\0application_name\0x\0client_encoding\0UTF8\0\
              standard_conforming_strings\0on\0\0"
        );
        assert_eq!(bytes[..4], (bytes.len() as u32).to_be_bytes());
    }

    #[test]
    fn newer_minor_versions_and_options_are_negotiated_down() {
        let body = b"user\0app\0_pq_.later\0on\0\0";
        let Ok(Some((Opening::Startup(startup), _))) = Opening::read(&packet((3 << 16) | 2, body))
        else {
            panic!("no startup");
        };
        assert_eq!(
            startup.negotiation().as_deref(),
            Some(&b"v\0\0\0\x17\0\x03\0\0\0\0\0\x01_pq_.later\0"[..])
        );
        assert_eq!(
            Opening::read(&packet(2 << 16, body)),
            Err(ProtocolError::Version(2))
        );
    }

    #[test]
    fn requests_without_parameters_have_none() {
        assert_eq!(
            Opening::read(&packet(TLS, b"")),
            Ok(Some((Opening::Tls, 8)))
        );
        assert_eq!(
            Opening::read(&packet(GSS, b"")),
            Ok(Some((Opening::Gss, 8)))
        );
        // Bytes behind a request in the clear belong to nobody once TLS is on (CVE-2021-23222).
        assert!(Opening::read(&packet(TLS, b"x")).is_err());
        let cancel = Opening::read(&packet(CANCEL, &[0, 0, 0, 7, 1, 2, 3, 4]));
        let key = vec![1, 2, 3, 4];
        assert_eq!(cancel, Ok(Some((Opening::Cancel { process: 7, key }, 16))));
        assert!(Opening::read(&packet(CANCEL, &[0; 7])).is_err());
        assert!(Opening::read(&packet(CANCEL, &[0; 261])).is_err());
    }

    #[test]
    fn hostile_lengths_are_refused_and_splits_wait() {
        for length in [0_u32, 7, LONGEST + 1, u32::MAX] {
            assert!(Opening::read(&length.to_be_bytes()).is_err(), "{length}");
        }
        let whole = packet(3 << 16, b"user\0app\0\0");
        for end in 0..whole.len() {
            assert_eq!(Opening::read(&whole[..end]), Ok(None), "{end}");
        }
        for body in [
            &b""[..],
            b"\0",
            b"\0\0",
            b"user\0app\0",
            b"user\0\0",
            b"user\0app\0\0\0",
        ] {
            assert!(Opening::read(&packet(3 << 16, body)).is_err(), "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Opening::read(&bytes);
            let _ = Opening::read(&packet(3 << 16, &bytes));
        }
    }
}
