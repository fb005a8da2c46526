//! What a client may say after startup, parsed once and written anew: the bytes that arrived are
//! never sent on, so nothing hides in a field that two readers read differently.

use std::num::NonZeroU32;

use crate::{Frame, ProtocolError};

/// A message of a client in a session. `FunctionCall` and password messages are none of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrontendMessage {
    /// A text of any number of statements.
    Query(String),
    /// One statement, prepared under a name ("" is the unnamed one).
    Parse {
        /// The statement's name.
        name: String,
        /// Its text.
        text: String,
        /// OIDs of parameter types; 0 leaves one to the server.
        parameter_types: Vec<u32>,
    },
    /// A portal made of a prepared statement and values.
    Bind {
        /// The portal's name.
        portal: String,
        /// The prepared statement's name.
        statement: String,
        /// None, one for all, or one for each value.
        parameter_formats: Vec<Format>,
        /// The values; `None` is NULL. At most 65,535.
        parameters: Vec<Option<Vec<u8>>>,
        /// None, one for all, or one for each column.
        result_formats: Vec<Format>,
    },
    /// Asks for the shape of a statement or portal.
    Describe(Target),
    /// Runs a portal.
    Execute {
        /// The portal's name.
        portal: String,
        /// How many rows to give; `None` is all. The server takes a negative number for all, too.
        most_rows: Option<NonZeroU32>,
    },
    /// Forgets a statement or portal.
    Close(Target),
    /// Asks for all answers so far.
    Flush,
    /// Ends a pipeline's segment.
    Sync,
    /// Bytes of a `COPY … FROM STDIN`.
    CopyData(Vec<u8>),
    /// The end of those.
    CopyDone,
    /// Their end with an error.
    CopyFail(String),
    /// The end of the session.
    Terminate,
}

/// A prepared statement or a portal, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A prepared statement.
    Statement(String),
    /// A portal.
    Portal(String),
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As text.
    Text,
    /// In the type's binary form.
    Binary,
}

impl FrontendMessage {
    /// Reads a frame.
    ///
    /// # Errors
    /// A frame that is no message of a client in a session, down to its last byte.
    pub fn read(frame: &Frame) -> Result<Self, ProtocolError> {
        let fields = |what| Fields {
            what,
            rest: &frame.body,
        };
        match frame.kind {
            b'Q' => fields("Query").only(|fields| Ok(Self::Query(fields.text()?))),
            b'P' => fields("Parse").only(|fields| {
                Ok(Self::Parse {
                    name: fields.name()?,
                    text: fields.text()?,
                    parameter_types: fields.list(Fields::u32)?,
                })
            }),
            b'B' => fields("Bind").only(Self::bind),
            b'D' => fields("Describe").only(|fields| Ok(Self::Describe(fields.target()?))),
            b'E' => fields("Execute").only(|fields| {
                Ok(Self::Execute {
                    portal: fields.name()?,
                    most_rows: i32::try_from(fields.u32()?)
                        .ok()
                        .and_then(|rows| NonZeroU32::new(rows.unsigned_abs())),
                })
            }),
            b'C' => fields("Close").only(|fields| Ok(Self::Close(fields.target()?))),
            b'H' => fields("Flush").only(|_| Ok(Self::Flush)),
            b'S' => fields("Sync").only(|_| Ok(Self::Sync)),
            b'd' => Ok(Self::CopyData(frame.body.clone())),
            b'c' => fields("CopyDone").only(|_| Ok(Self::CopyDone)),
            b'f' => fields("CopyFail").only(|fields| Ok(Self::CopyFail(fields.text()?))),
            b'X' => fields("Terminate").only(|_| Ok(Self::Terminate)),
            b'F' => Err(ProtocolError::Refused("FunctionCall")),
            b'p' => Err(ProtocolError::Refused("a password message in a session")),
            _ => Err(ProtocolError::Refused("a message of an unknown type")),
        }
    }

    fn bind(fields: &mut Fields<'_>) -> Result<Self, ProtocolError> {
        let portal = fields.name()?;
        let statement = fields.name()?;
        let parameter_formats = fields.list(Fields::format)?;
        let parameters = fields.list(Fields::value)?;
        let result_formats = fields.list(Fields::format)?;
        // The server refuses this as well; a gate that reads values must not guess before it does.
        if parameter_formats.len() > 1 && parameter_formats.len() != parameters.len() {
            return Err(ProtocolError::Fields("Bind"));
        }
        Ok(Self::Bind {
            portal,
            statement,
            parameter_formats,
            parameters,
            result_formats,
        })
    }

    /// Writes the message behind `out`, as the one spelling that [`FrontendMessage::read`] gives back.
    ///
    /// Texts hold no NUL and lists at most 65,535 entries, as everything that was read does.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Query(text) => framed(out, b'Q', |out| put_text(out, text)),
            Self::Parse {
                name,
                text,
                parameter_types,
            } => framed(out, b'P', |out| {
                put_text(out, name);
                put_text(out, text);
                put_list(out, parameter_types, |out, oid| {
                    out.extend_from_slice(&oid.to_be_bytes());
                });
            }),
            Self::Bind {
                portal,
                statement,
                parameter_formats,
                parameters,
                result_formats,
            } => framed(out, b'B', |out| {
                put_text(out, portal);
                put_text(out, statement);
                put_list(out, parameter_formats, put_format);
                put_list(out, parameters, put_value);
                put_list(out, result_formats, put_format);
            }),
            Self::Describe(target) => framed(out, b'D', |out| put_target(out, target)),
            Self::Execute { portal, most_rows } => framed(out, b'E', |out| {
                put_text(out, portal);
                let rows = most_rows.map_or(0, NonZeroU32::get);
                out.extend_from_slice(&rows.to_be_bytes());
            }),
            Self::Close(target) => framed(out, b'C', |out| put_target(out, target)),
            Self::Flush => framed(out, b'H', |_| ()),
            Self::Sync => framed(out, b'S', |_| ()),
            Self::CopyData(bytes) => framed(out, b'd', |out| out.extend_from_slice(bytes)),
            Self::CopyDone => framed(out, b'c', |_| ()),
            Self::CopyFail(reason) => framed(out, b'f', |out| put_text(out, reason)),
            Self::Terminate => framed(out, b'X', |_| ()),
        }
    }
}

/// A password message, whose meaning the authentication gives: the type byte is the same for all.
#[derive(Debug, PartialEq, Eq)]
pub enum Password {
    /// `SASLInitialResponse`.
    Initial {
        /// The chosen mechanism.
        mechanism: String,
        /// The client's first message.
        data: Vec<u8>,
    },
    /// `SASLResponse`.
    Response(Vec<u8>),
}

impl Password {
    /// Reads the first of two messages.
    ///
    /// # Errors
    /// Any other message, or one without a first response (SCRAM always has one).
    pub fn read_initial(frame: &Frame) -> Result<Self, ProtocolError> {
        Self::is_password(frame)?;
        let fields = Fields {
            what: "SASLInitialResponse",
            rest: &frame.body,
        };
        fields.only(|fields| {
            let mechanism = fields.text()?;
            let data = fields.value()?;
            let data = data.ok_or(ProtocolError::Fields("SASLInitialResponse"))?;
            Ok(Self::Initial { mechanism, data })
        })
    }

    /// Reads the second.
    ///
    /// # Errors
    /// Any other message.
    pub fn read_response(frame: &Frame) -> Result<Self, ProtocolError> {
        Self::is_password(frame)?;
        Ok(Self::Response(frame.body.clone()))
    }

    fn is_password(frame: &Frame) -> Result<(), ProtocolError> {
        if frame.kind == b'p' {
            Ok(())
        } else {
            Err(ProtocolError::Refused("a message before authentication"))
        }
    }
}

/// The longest name of a statement or portal, in bytes.
const LONGEST_NAME: usize = 63;

/// The fields of a message, taken from the front.
struct Fields<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl Fields<'_> {
    /// Reads with `read`, after which nothing may be left.
    fn only<T>(
        mut self,
        read: impl FnOnce(&mut Self) -> Result<T, ProtocolError>,
    ) -> Result<T, ProtocolError> {
        let value = read(&mut self)?;
        if self.rest.is_empty() {
            Ok(value)
        } else {
            Err(self.malformed())
        }
    }

    fn malformed(&self) -> ProtocolError {
        ProtocolError::Fields(self.what)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        let (bytes, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn u32(&mut self) -> Result<u32, ProtocolError> {
        self.bytes().map(u32::from_be_bytes)
    }

    /// The name of a statement or portal. Two that begin with the same 63 bytes are one to the server
    /// (`NAMEDATALEN`, the key of its tables), so they are one here.
    fn name(&mut self) -> Result<String, ProtocolError> {
        let mut name = self.text()?;
        if name.len() > LONGEST_NAME {
            if !name.is_char_boundary(LONGEST_NAME) {
                return Err(ProtocolError::Text(self.what));
            }
            name.truncate(LONGEST_NAME);
        }
        Ok(name)
    }

    fn text(&mut self) -> Result<String, ProtocolError> {
        let end = self.rest.iter().position(|byte| *byte == 0);
        let end = end.ok_or_else(|| self.malformed())?;
        let text = std::str::from_utf8(&self.rest[..end]);
        let text = text.map_err(|_| ProtocolError::Text(self.what))?.to_owned();
        self.rest = &self.rest[end + 1..];
        Ok(text)
    }

    fn target(&mut self) -> Result<Target, ProtocolError> {
        match self.bytes::<1>()? {
            [b'S'] => Ok(Target::Statement(self.name()?)),
            [b'P'] => Ok(Target::Portal(self.name()?)),
            _ => Err(self.malformed()),
        }
    }

    fn format(&mut self) -> Result<Format, ProtocolError> {
        match self.bytes().map(u16::from_be_bytes)? {
            0 => Ok(Format::Text),
            1 => Ok(Format::Binary),
            _ => Err(self.malformed()),
        }
    }

    /// A length of -1 is NULL; every other negative one is an error in the server as well.
    fn value(&mut self) -> Result<Option<Vec<u8>>, ProtocolError> {
        let length = self.u32()?;
        if length == u32::MAX {
            return Ok(None);
        }
        let value = self.rest.get(..length as usize);
        let value = value.ok_or_else(|| self.malformed())?.to_vec();
        self.rest = &self.rest[value.len()..];
        Ok(Some(value))
    }

    /// A count of 16 bits, which the server takes for unsigned, then as many entries.
    fn list<T>(
        &mut self,
        mut entry: impl FnMut(&mut Self) -> Result<T, ProtocolError>,
    ) -> Result<Vec<T>, ProtocolError> {
        let count = self.bytes().map(u16::from_be_bytes)?;
        (0..count).map(|_| entry(self)).collect()
    }
}

pub(crate) fn framed(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = u32::try_from(out.len() - start).expect("a message is shorter than its limit");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    debug_assert!(!text.contains('\0'));
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn put_list<T>(out: &mut Vec<u8>, list: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    let count = u16::try_from(list.len()).expect("a list that was read has a count of 16 bits");
    out.extend_from_slice(&count.to_be_bytes());
    for entry in list {
        put(out, entry);
    }
}

fn put_format(out: &mut Vec<u8>, format: &Format) {
    let code: u16 = match format {
        Format::Text => 0,
        Format::Binary => 1,
    };
    out.extend_from_slice(&code.to_be_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Option<Vec<u8>>) {
    let length = value.as_ref().map_or(u32::MAX, |value| {
        u32::try_from(value.len()).expect("a value is shorter than its message")
    });
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value.as_deref().unwrap_or_default());
}

fn put_target(out: &mut Vec<u8>, target: &Target) {
    let (kind, name) = match target {
        Target::Statement(name) => (b'S', name),
        Target::Portal(name) => (b'P', name),
    };
    out.push(kind);
    put_text(out, name);
}

#[cfg(test)]
mod tests;
