//! What a server answers, as far as a gate has to know: where an answer ends, whether it failed, how many
//! rows it touched, and what became of transaction and settings (MySQL's manual, "Generic Response
//! Packets", "Text Resultset"). `CLIENT_DEPRECATE_EOF` and tracking are never asked for.

use crate::ProtocolError;
use crate::packet::Fields;

/// `SERVER_STATUS_IN_TRANS`.
const IN_TRANSACTION: u16 = 1;
/// `SERVER_STATUS_AUTOCOMMIT`.
const AUTOCOMMIT: u16 = 1 << 1;
/// `SERVER_MORE_RESULTS_EXISTS`.
const MORE: u16 = 1 << 3;
/// `SERVER_STATUS_CURSOR_EXISTS`.
const CURSOR: u16 = 1 << 6;
/// `SERVER_STATUS_NO_BACKSLASH_ESCAPES`.
const NO_BACKSLASH: u16 = 1 << 9;
/// MariaDB's `SERVER_STATUS_ANSI_QUOTES`.
const ANSI_QUOTES: u16 = 1 << 15;

/// The longest packet that can be an EOF; rows that begin like one are longer.
const LONGEST_EOF: usize = 8;

/// What a server said of its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status(pub u16);

impl Status {
    /// Of somebody who just came.
    pub(crate) fn fresh() -> Self {
        Self(AUTOCOMMIT)
    }

    pub(crate) fn is_in_transaction(self) -> bool {
        self.0 & IN_TRANSACTION != 0
    }

    pub(crate) fn commits_by_itself(self) -> bool {
        self.0 & AUTOCOMMIT != 0
    }

    /// Whether texts are still read as the classifier reads them, as far as the flags tell.
    pub(crate) fn is_pinned(self) -> bool {
        self.0 & (NO_BACKSLASH | ANSI_QUOTES) == 0
    }
}

/// An `OK_Packet`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) touched: u64,
    pub(crate) status: Status,
    /// Where the two bytes of the status stand in the payload.
    status_at: usize,
}

impl Done {
    pub(crate) fn read(payload: &[u8]) -> Result<Self, ProtocolError> {
        let mut fields = Fields::of(payload, "OK");
        fields.u8()?;
        let touched = fields.length()?;
        fields.length()?;
        let status_at = payload.len() - fields.rest().len();
        let at = payload.get(status_at..).unwrap_or_default();
        Ok(Self {
            touched,
            status: Status(Fields::of(at, "OK").u16()?),
            status_at,
        })
    }

    /// The same, of somebody in no transaction: what the gate opened around a statement is not the client's.
    pub(crate) fn outside_transaction(&self, payload: &[u8]) -> Vec<u8> {
        let mut payload = payload.to_vec();
        if let Some(byte) = payload.get_mut(self.status_at) {
            *byte &= !(IN_TRANSACTION as u8);
        }
        payload
    }
}

/// An `ERR_Packet`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The server's number.
    pub code: u16,
    /// SQLSTATE.
    pub state: String,
    /// Its message.
    pub message: String,
}

impl Complaint {
    /// Reads one, leniently: it is only shown.
    pub(crate) fn read(payload: &[u8]) -> Self {
        let mut fields = Fields::of(payload, "ERR");
        let code = fields.u8().and_then(|_| fields.u16()).unwrap_or_default();
        let mut rest = fields.rest();
        let mut state = "HY000";
        if let Some(marked) = rest.strip_prefix(b"#")
            && let Some((given, message)) = marked.split_at_checked(5)
            && let Ok(given) = std::str::from_utf8(given)
        {
            (state, rest) = (given, message);
        }
        Self {
            code,
            state: state.to_owned(),
            message: String::from_utf8_lossy(rest).into_owned(),
        }
    }

    /// Writes one.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = vec![0xFF];
        out.extend_from_slice(&self.code.to_le_bytes());
        out.push(b'#');
        out.extend_from_slice(self.state.as_bytes());
        out.extend_from_slice(self.message.as_bytes());
        out
    }
}

/// An `OK_Packet` of the gate's own.
pub(crate) fn ok(status: Status) -> Vec<u8> {
    let mut out = vec![0, 0, 0];
    out.extend_from_slice(&status.0.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out
}

/// An `EOF_Packet` of the gate's own.
pub(crate) fn eof(status: Status) -> Vec<u8> {
    let mut out = vec![0xFE, 0, 0];
    out.extend_from_slice(&status.0.to_le_bytes());
    out
}

/// What an answer consists of, which depends on what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// OK, EOF or ERR.
    Short,
    /// What statements give: OK, or rows; one for each.
    Results,
    /// What preparing gives.
    Prepared,
    /// Columns up to EOF.
    Columns,
    /// Rows up to EOF.
    Rows,
    /// One line of text.
    Line,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Head,
    /// So many columns and the EOF behind them.
    Columns(u64),
    Rows,
    /// So many packets of any kind.
    Any(u64),
    End,
}

/// An answer on its way: told packet by packet, it knows when it is over.
#[derive(Clone, Debug)]
pub struct Answer {
    shape: Shape,
    next: Next,
    /// The packet goes on with a row that began in an earlier one.
    continues: bool,
    /// Rows touched by the statements so far, each by itself.
    pub(crate) touched: Vec<u64>,
    /// What a statement that was prepared is called, and how many values it takes.
    pub(crate) prepared: Option<(u32, u16)>,
    /// The server's error.
    pub(crate) error: Option<Complaint>,
    /// What the server said last of its session.
    pub(crate) status: Option<Status>,
}

impl Answer {
    /// The answer to something of which one of `shape` is expected.
    pub fn to(shape: Shape) -> Self {
        Self {
            shape,
            next: match shape {
                Shape::Rows => Next::Rows,
                Shape::Columns => Next::Rows,
                _ => Next::Head,
            },
            continues: false,
            touched: Vec::new(),
            prepared: None,
            error: None,
            status: None,
        }
    }

    /// Whether nothing more belongs to it.
    pub fn is_over(&self) -> bool {
        self.next == Next::End
    }

    /// Whether a row comes next, not a head, a column or an end.
    pub(crate) fn is_in_rows(&self) -> bool {
        self.next == Next::Rows
    }

    /// Takes its next packet.
    ///
    /// # Errors
    /// When a server would not say that here, or asks for a file of the client's.
    pub fn take(&mut self, payload: &[u8], is_full: bool) -> Result<(), ProtocolError> {
        let continued = std::mem::replace(&mut self.continues, is_full);
        if continued {
            return Ok(());
        }
        let first = payload.first().copied();
        self.next = match (self.next, first) {
            (Next::End, _) => return Err(ProtocolError::Answer),
            (Next::Any(left), _) => match left {
                0 | 1 => Next::End,
                left => Next::Any(left - 1),
            },
            (_, Some(0xFF)) => {
                self.error = Some(Complaint::read(payload));
                Next::End
            }
            (Next::Head, _) => self.head(payload)?,
            (Next::Columns(0), _) => match self.end(payload)? {
                // Rows are fetched one by one.
                Some(status) if status.0 & CURSOR != 0 => Next::End,
                Some(_) => Next::Rows,
                None => return Err(ProtocolError::Answer),
            },
            (Next::Columns(left), _) => Next::Columns(left - 1),
            (Next::Rows, _) => match self.end(payload)? {
                Some(status) => self.behind(status),
                None => Next::Rows,
            },
        };
        Ok(())
    }

    fn head(&mut self, payload: &[u8]) -> Result<Next, ProtocolError> {
        let first = payload.first().copied();
        Ok(match (self.shape, first) {
            (Shape::Line, _) => Next::End,
            (Shape::Prepared, Some(0)) => {
                let mut fields = Fields::of(payload, "prepared");
                fields.u8()?;
                let statement = fields.u32()?;
                let columns = fields.u16()?;
                let parameters = fields.u16()?;
                self.prepared = Some((statement, parameters));
                // Behind each kind of column there is an EOF.
                let packets = [columns, parameters]
                    .into_iter()
                    .filter(|count| *count > 0)
                    .map(|count| u64::from(count) + 1)
                    .sum();
                match packets {
                    0 => Next::End,
                    packets => Next::Any(packets),
                }
            }
            (Shape::Short | Shape::Results, Some(0)) => {
                let done = Done::read(payload)?;
                self.status = Some(done.status);
                self.touched.push(done.touched);
                self.behind(done.status)
            }
            (Shape::Short, Some(0xFE)) => {
                self.end(payload)?.ok_or(ProtocolError::Answer)?;
                Next::End
            }
            // `LOCAL INFILE`: it was not offered, so nobody asked for it.
            (_, Some(0xFB)) => return Err(ProtocolError::Refused("LOAD DATA LOCAL")),
            (Shape::Results, Some(_)) => {
                let mut fields = Fields::of(payload, "columns");
                let columns = fields.length()?;
                Next::Columns(columns)
            }
            _ => return Err(ProtocolError::Answer),
        })
    }

    /// Reads an EOF, where it is one.
    fn end(&mut self, payload: &[u8]) -> Result<Option<Status>, ProtocolError> {
        if payload.first() != Some(&0xFE) || payload.len() > LONGEST_EOF {
            return Ok(None);
        }
        let mut fields = Fields::of(payload, "EOF");
        fields.bytes(3)?;
        let status = Status(fields.u16()?);
        self.status = Some(status);
        Ok(Some(status))
    }

    fn behind(&self, status: Status) -> Next {
        match (self.shape, status.0 & MORE) {
            (Shape::Results, more) if more != 0 => Next::Head,
            _ => Next::End,
        }
    }
}

/// Values of a row in text; `None` for NULL.
pub(crate) fn row(payload: &[u8]) -> Result<Vec<Option<Vec<u8>>>, ProtocolError> {
    let mut fields = Fields::of(payload, "row");
    let mut values = Vec::new();
    while let Some(first) = fields.peek() {
        if first == 0xFB {
            fields.u8()?;
            values.push(None);
        } else {
            values.push(Some(fields.counted()?.to_vec()));
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(shape: Shape, packets: &[&[u8]]) -> Option<usize> {
        let mut answer = Answer::to(shape);
        for (at, packet) in packets.iter().enumerate() {
            answer.take(packet, false).unwrap();
            if answer.is_over() {
                return Some(at + 1);
            }
        }
        None
    }

    const OK: &[u8] = &[0, 3, 0, 2, 0, 0, 0];
    const OK_MORE: &[u8] = &[0, 3, 0, 10, 0, 0, 0];
    const EOF: &[u8] = &[0xFE, 0, 0, 2, 0];
    const EOF_MORE: &[u8] = &[0xFE, 0, 0, 10, 0];

    #[test]
    fn answers_end_where_they_end() {
        assert_eq!(over(Shape::Short, &[OK]), Some(1));
        assert_eq!(over(Shape::Short, &[EOF]), Some(1));
        assert_eq!(over(Shape::Results, &[&[0xFF, 1, 0]]), Some(1));
        assert_eq!(over(Shape::Results, &[OK_MORE, OK_MORE, OK]), Some(3));
        assert_eq!(
            over(Shape::Results, &[&[1], b"column", EOF, b"\x01a", EOF]),
            Some(5)
        );
        assert_eq!(
            over(
                Shape::Results,
                &[&[1], b"column", EOF, EOF_MORE, &[1], b"c", EOF, EOF]
            ),
            Some(8)
        );
        // A row that begins like an EOF is longer than one.
        let long = [0xFE; 9];
        assert_eq!(
            over(Shape::Results, &[&[1], b"column", EOF, &long, EOF]),
            Some(5)
        );
        let cursor: &[u8] = &[0xFE, 0, 0, 0x42, 0];
        assert_eq!(over(Shape::Results, &[&[1], b"column", cursor]), Some(3));
        let prepared: &[u8] = &[0, 7, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0];
        assert_eq!(
            over(Shape::Prepared, &[prepared, b"p", b"p", EOF, b"c", EOF]),
            Some(6)
        );
        assert_eq!(over(Shape::Columns, &[b"\x03def", EOF]), Some(2));
        assert_eq!(over(Shape::Line, &[b"Uptime"]), Some(1));
        assert_eq!(over(Shape::Results, &[&[2], b"column", b"column"]), None);
    }

    #[test]
    fn a_file_of_the_client_is_not_sent() {
        let mut answer = Answer::to(Shape::Results);
        assert!(answer.take(b"\xfb/etc/passwd", false).is_err());
    }

    #[test]
    fn the_status_is_read_and_written() {
        let done = Done::read(&[0, 0xFC, 1, 1, 0, 3, 0, 0, 0]).unwrap();
        assert_eq!(done.touched, 257);
        assert!(done.status.is_in_transaction());
        let outside = done.outside_transaction(&[0, 0xFC, 1, 1, 0, 3, 0, 0, 0]);
        assert!(!Done::read(&outside).unwrap().status.is_in_transaction());
        assert!(!Status(1 << 9).is_pinned());
    }
}
