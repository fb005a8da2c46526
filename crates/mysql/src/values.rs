//! The values that a client binds to a prepared statement (MySQL's manual, "COM_STMT_EXECUTE", "Binary
//! Protocol Value"), read so that a person and a policy see them.

use std::collections::HashMap;
use std::fmt::Write as _;

use tagout_core::Parameter;

use crate::ProtocolError;
use crate::packet::Fields;

/// How one value is sent: a type, and whether it has no sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Type(u8, bool);

/// The values of one execution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Values {
    /// What they are, in letters where they have some.
    pub(crate) read: Vec<Parameter>,
    /// The types that they were read with.
    pub(crate) types: Vec<Type>,
    /// The same for a server, with all types: it must not read them with others.
    pub(crate) written: Vec<u8>,
}

/// Reads what stands behind the count of iterations. `types` are those of the last execution, of which a client
/// need not speak again. What came in pieces is in `long`.
pub(crate) fn read(
    values: &[u8],
    count: usize,
    types: &[Type],
    long: &HashMap<u16, Vec<u8>>,
) -> Result<Values, ProtocolError> {
    let mut fields = Fields::of(values, "COM_STMT_EXECUTE");
    if count == 0 {
        // Some clients say that there are no types.
        return Ok(Values::default());
    }
    let mut types = types.to_vec();
    let nulls = fields.bytes(count.div_ceil(8))?;
    match fields.u8()? {
        0 => {}
        1 => {
            types.clear();
            for _ in 0..count {
                let kind = fields.u8()?;
                if !matches!(kind, 0x00..=0x0D | 0x0F | 0x10 | 0xF5..=0xFF) {
                    return Err(ProtocolError::Fields("COM_STMT_EXECUTE"));
                }
                types.push(Type(kind, fields.u8()? & 0x80 != 0));
            }
        }
        _ => return Err(ProtocolError::Fields("COM_STMT_EXECUTE")),
    }
    if types.len() != count {
        return Err(ProtocolError::Fields("COM_STMT_EXECUTE"));
    }
    let mut written = nulls.to_vec();
    written.push(1);
    for Type(kind, unsigned) in &types {
        written.extend_from_slice(&[*kind, if *unsigned { 0x80 } else { 0 }]);
    }
    let rest = fields;
    let mut read = Vec::with_capacity(count);
    for (place, kind) in types.iter().enumerate() {
        let is_null = nulls
            .get(place / 8)
            .is_some_and(|byte| byte & (1 << (place % 8)) != 0);
        let sent = u16::try_from(place).ok().and_then(|place| long.get(&place));
        read.push(match (is_null, sent) {
            // Pieces count, whatever else is said of the value.
            (_, Some(bytes)) => letters(bytes),
            (true, None) => Parameter::Null,
            (false, None) => value(&mut fields, *kind)?,
        });
    }
    fields.end()?;
    written.extend_from_slice({ rest }.rest());
    Ok(Values {
        read,
        types,
        written,
    })
}

fn value(fields: &mut Fields<'_>, Type(kind, unsigned): Type) -> Result<Parameter, ProtocolError> {
    let text = match (kind, unsigned) {
        (0x06, _) => return Ok(Parameter::Null),
        (0x01, true) => fields.u8()?.to_string(),
        (0x01, false) => i8::from_le_bytes(fields.array()?).to_string(),
        (0x02 | 0x0D, true) => fields.u16()?.to_string(),
        (0x02 | 0x0D, false) => i16::from_le_bytes(fields.array()?).to_string(),
        (0x03 | 0x09, true) => fields.u32()?.to_string(),
        (0x03 | 0x09, false) => i32::from_le_bytes(fields.array()?).to_string(),
        (0x08, true) => u64::from_le_bytes(fields.array()?).to_string(),
        (0x08, false) => i64::from_le_bytes(fields.array()?).to_string(),
        (0x04, _) => f32::from_le_bytes(fields.array()?).to_string(),
        (0x05, _) => f64::from_le_bytes(fields.array()?).to_string(),
        (0x07 | 0x0A | 0x0C, _) => date(fields)?,
        (0x0B, _) => time(fields)?,
        // Numbers of any length, texts, bytes and whatever else a length stands in front of.
        (0x00 | 0x0F | 0x10 | 0xF5..=0xFF, _) => {
            return Ok(match kind {
                // DECIMAL and NEWDECIMAL are numbers in letters.
                0x00 | 0xF6 => number(fields.counted()?)?,
                _ => letters(fields.counted()?),
            });
        }
        _ => return Err(ProtocolError::Fields("COM_STMT_EXECUTE")),
    };
    Ok(Parameter::Text(text.into_bytes()))
}

fn letters(bytes: &[u8]) -> Parameter {
    match std::str::from_utf8(bytes) {
        Ok(_) => Parameter::Text(bytes.to_vec()),
        Err(_) => Parameter::Binary(bytes.to_vec()),
    }
}

/// A number in letters; anything else in its place is refused.
fn number(text: &[u8]) -> Result<Parameter, ProtocolError> {
    let is_number = std::str::from_utf8(text).is_ok_and(|text| text.parse::<f64>().is_ok());
    match is_number {
        true => Ok(Parameter::Text(text.to_vec())),
        false => Err(ProtocolError::Fields("COM_STMT_EXECUTE")),
    }
}

fn date(fields: &mut Fields<'_>) -> Result<String, ProtocolError> {
    let length = fields.u8()?;
    if ![0, 4, 7, 11].contains(&length) {
        return Err(ProtocolError::Fields("COM_STMT_EXECUTE"));
    }
    let (mut year, mut month, mut day) = (0, 0, 0);
    if length >= 4 {
        (year, month, day) = (fields.u16()?, fields.u8()?, fields.u8()?);
    }
    // Writing to a String cannot fail.
    let mut text = format!("{year:04}-{month:02}-{day:02}");
    if length >= 7 {
        let [hour, minute, second] = fields.array()?;
        let _ = write!(text, " {hour:02}:{minute:02}:{second:02}");
    }
    if length >= 11 {
        let _ = write!(text, ".{:06}", fields.u32()?);
    }
    Ok(text)
}

fn time(fields: &mut Fields<'_>) -> Result<String, ProtocolError> {
    let length = fields.u8()?;
    if ![0, 8, 12].contains(&length) {
        return Err(ProtocolError::Fields("COM_STMT_EXECUTE"));
    }
    if length == 0 {
        return Ok("00:00:00".to_owned());
    }
    let sign = if fields.u8()? == 0 { "" } else { "-" };
    let days = u64::from(fields.u32()?);
    let [hour, minute, second] = fields.array()?;
    let hours = days * 24 + u64::from(hour);
    let mut text = format!("{sign}{hours:02}:{minute:02}:{second:02}");
    if length == 12 {
        let _ = write!(text, ".{:06}", fields.u32()?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(parameter: &Parameter) -> String {
        String::from_utf8(parameter.bytes().to_vec()).unwrap()
    }

    #[test]
    fn values_are_read_with_the_types_of_before() {
        let none = HashMap::new();
        let first = [
            &[0b10, 1, 0x03, 0, 0x0F, 0, 0x0C, 0, 0xFD, 0][..],
            &[7, 0, 0, 0],
            &[4, 0xEA, 0x07, 11, 23],
            &[2, b'a', b'\''],
        ]
        .concat();
        let values = read(&first, 4, &[], &none).unwrap();
        assert_eq!(values.read[0], Parameter::Text(b"7".to_vec()));
        assert_eq!(values.read[1], Parameter::Null);
        assert_eq!(text(&values.read[2]), "2026-11-23");
        assert_eq!(values.read[3], Parameter::Text(b"a'".to_vec()));
        assert_eq!(values.written, first);
        let second = [&[0b1110, 0][..], &[0xFF, 0xFF, 0xFF, 0xFF]].concat();
        let again = read(&second, 4, &values.types, &none).unwrap();
        assert_eq!(text(&again.read[0]), "-1");
        // A server is told the types each time.
        assert_eq!(again.written[1..10], first[1..10]);
        assert_eq!(again.written[10..], second[2..]);
        let long = HashMap::from([(0, b"long".to_vec()), (1, b"too".to_vec())]);
        let values = read(&[0b1110, 0], 4, &values.types, &long).unwrap();
        assert_eq!(
            (text(&values.read[0]), text(&values.read[1])),
            ("long".into(), "too".into())
        );
        assert!(read(&[0b1110, 0, 1], 4, &values.types, &none).is_err());
        assert!(read(&[0, 0], 1, &[], &none).is_err());
        assert!(read(&[0, 1, 0xF6, 0, 2, b'1', b'\''], 1, &[], &none).is_err());
    }
}
