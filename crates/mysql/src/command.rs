//! What a client may ask of a server once it is let in (MySQL's manual, "Command Phase"). Every other
//! command is refused.

use crate::ProtocolError;
use crate::packet::Fields;

/// A command, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `COM_QUIT`.
    Quit,
    /// `COM_INIT_DB`: another database from now on.
    InitDb(String),
    /// `COM_QUERY`: one or more statements.
    Query(String),
    /// `COM_FIELD_LIST`: the columns of a table.
    FieldList {
        /// Its name.
        table: String,
        /// Which of its columns, as in `LIKE`.
        pattern: Vec<u8>,
    },
    /// `COM_STATISTICS`: a line about the server.
    Statistics,
    /// `COM_PING`.
    Ping,
    /// `COM_STMT_PREPARE`.
    Prepare(String),
    /// `COM_STMT_EXECUTE`. How its values are read depends on what was prepared.
    Execute {
        /// Which statement.
        statement: u32,
        /// Whether rows are fetched one by one.
        cursor: u8,
        /// Everything behind the count of iterations.
        values: Vec<u8>,
    },
    /// `COM_STMT_SEND_LONG_DATA`: a piece of a value. It is not answered.
    LongData {
        /// Which statement.
        statement: u32,
        /// Which of its parameters, from 0.
        parameter: u16,
        /// The piece.
        data: Vec<u8>,
    },
    /// `COM_STMT_CLOSE`. It is not answered.
    Close(u32),
    /// `COM_STMT_RESET`: pieces of values and a cursor are forgotten.
    Reset(u32),
    /// `COM_STMT_FETCH`: so many rows of a cursor.
    Fetch {
        /// Which statement.
        statement: u32,
        /// How many.
        rows: u32,
    },
    /// `COM_SET_OPTION`: whether a text may have several statements.
    MultiStatements(bool),
    /// `COM_RESET_CONNECTION`.
    ResetConnection,
}

impl Command {
    /// Reads a message.
    ///
    /// # Errors
    /// When it is none of these, or not of its shape.
    pub fn read(payload: &[u8]) -> Result<Self, ProtocolError> {
        let (&kind, rest) = payload
            .split_first()
            .ok_or(ProtocolError::Fields("command"))?;
        let mut fields = Fields::of(rest, name(kind)?);
        let read = match kind {
            0x01 => Self::Quit,
            0x02 => {
                let database = fields.rest();
                Self::InitDb(fields.text(database)?)
            }
            0x03 => {
                let text = fields.rest();
                Self::Query(fields.text(text)?)
            }
            0x04 => {
                let table = fields.until_nul()?;
                Self::FieldList {
                    table: fields.text(table)?,
                    pattern: fields.rest().to_vec(),
                }
            }
            0x09 => Self::Statistics,
            0x0E => Self::Ping,
            0x16 => {
                let text = fields.rest();
                Self::Prepare(fields.text(text)?)
            }
            0x17 => {
                let statement = fields.u32()?;
                let cursor = fields.u8()?;
                if fields.u32()? != 1 {
                    return Err(ProtocolError::Fields("COM_STMT_EXECUTE"));
                }
                Self::Execute {
                    statement,
                    cursor,
                    values: fields.rest().to_vec(),
                }
            }
            0x18 => Self::LongData {
                statement: fields.u32()?,
                parameter: fields.u16()?,
                data: fields.rest().to_vec(),
            },
            0x19 => Self::Close(fields.u32()?),
            0x1A => Self::Reset(fields.u32()?),
            0x1B => match fields.u16()? {
                0 => Self::MultiStatements(true),
                1 => Self::MultiStatements(false),
                _ => return Err(ProtocolError::Fields("COM_SET_OPTION")),
            },
            0x1C => Self::Fetch {
                statement: fields.u32()?,
                rows: fields.u32()?,
            },
            _ => Self::ResetConnection,
        };
        fields.end()?;
        Ok(read)
    }

    /// Writes it.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Quit => out.push(0x01),
            Self::InitDb(name) => {
                out.push(0x02);
                out.extend_from_slice(name.as_bytes());
            }
            Self::Query(text) => {
                out.push(0x03);
                out.extend_from_slice(text.as_bytes());
            }
            Self::FieldList { table, pattern } => {
                out.push(0x04);
                out.extend_from_slice(table.as_bytes());
                out.push(0);
                out.extend_from_slice(pattern);
            }
            Self::Statistics => out.push(0x09),
            Self::Ping => out.push(0x0E),
            Self::Prepare(text) => {
                out.push(0x16);
                out.extend_from_slice(text.as_bytes());
            }
            Self::Execute {
                statement,
                cursor,
                values,
            } => {
                out.push(0x17);
                out.extend_from_slice(&statement.to_le_bytes());
                out.push(*cursor);
                out.extend_from_slice(&1_u32.to_le_bytes());
                out.extend_from_slice(values);
            }
            Self::LongData {
                statement,
                parameter,
                data,
            } => {
                out.push(0x18);
                out.extend_from_slice(&statement.to_le_bytes());
                out.extend_from_slice(&parameter.to_le_bytes());
                out.extend_from_slice(data);
            }
            Self::Close(statement) => {
                out.push(0x19);
                out.extend_from_slice(&statement.to_le_bytes());
            }
            Self::Reset(statement) => {
                out.push(0x1A);
                out.extend_from_slice(&statement.to_le_bytes());
            }
            Self::MultiStatements(on) => out.extend_from_slice(&[0x1B, u8::from(!on), 0]),
            Self::Fetch { statement, rows } => {
                out.push(0x1C);
                out.extend_from_slice(&statement.to_le_bytes());
                out.extend_from_slice(&rows.to_le_bytes());
            }
            Self::ResetConnection => out.push(0x1F),
        }
        out
    }
}

/// What a command is called, where it may be sent.
fn name(kind: u8) -> Result<&'static str, ProtocolError> {
    Ok(match kind {
        0x01 => "COM_QUIT",
        0x02 => "COM_INIT_DB",
        0x03 => "COM_QUERY",
        0x04 => "COM_FIELD_LIST",
        0x09 => "COM_STATISTICS",
        0x0E => "COM_PING",
        0x16 => "COM_STMT_PREPARE",
        0x17 => "COM_STMT_EXECUTE",
        0x18 => "COM_STMT_SEND_LONG_DATA",
        0x19 => "COM_STMT_CLOSE",
        0x1A => "COM_STMT_RESET",
        0x1B => "COM_SET_OPTION",
        0x1C => "COM_STMT_FETCH",
        0x1F => "COM_RESET_CONNECTION",
        0x05 => return Err(ProtocolError::Refused("COM_CREATE_DB")),
        0x06 => return Err(ProtocolError::Refused("COM_DROP_DB")),
        0x07 => return Err(ProtocolError::Refused("COM_REFRESH")),
        0x08 => return Err(ProtocolError::Refused("COM_SHUTDOWN")),
        0x0A => return Err(ProtocolError::Refused("COM_PROCESS_INFO")),
        0x0C => return Err(ProtocolError::Refused("COM_PROCESS_KILL")),
        0x0D => return Err(ProtocolError::Refused("COM_DEBUG")),
        0x11 => return Err(ProtocolError::Refused("COM_CHANGE_USER")),
        0x12 | 0x1E => return Err(ProtocolError::Refused("COM_BINLOG_DUMP")),
        0x13 => return Err(ProtocolError::Refused("COM_TABLE_DUMP")),
        0x15 => return Err(ProtocolError::Refused("COM_REGISTER_SLAVE")),
        0xFA => return Err(ProtocolError::Refused("COM_STMT_BULK_EXECUTE")),
        _ => return Err(ProtocolError::Refused("this command")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_reaches_past_statements_is_refused() {
        for kind in [
            0x05, 0x06, 0x07, 0x08, 0x0C, 0x0D, 0x11, 0x12, 0x15, 0x1E, 0xFA, 0xFF,
        ] {
            let read = Command::read(&[kind, 1, 2, 3]);
            assert!(matches!(read, Err(ProtocolError::Refused(_))), "{kind}");
        }
    }

    proptest! {
        #[test]
        fn a_command_that_is_read_has_one_spelling(
            kind in 0u8..0x20, rest in proptest::collection::vec(any::<u8>(), 0..40)
        ) {
            let mut payload = vec![kind];
            payload.extend(rest);
            if let Ok(command) = Command::read(&payload) {
                prop_assert_eq!(command.write(), payload);
            }
        }
    }
}
