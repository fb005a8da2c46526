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

/// Reads what stands behind the count of iterations. `types` are those of the last execution; those that are
/// sent anew are put there. What came in pieces is in `long`.
pub(crate) fn read(
    values: &[u8],
    count: usize,
    types: &mut Vec<Type>,
    long: &HashMap<u16, Vec<u8>>,
) -> Result<Vec<Parameter>, ProtocolError> {
    let mut fields = Fields::of(values, "COM_STMT_EXECUTE");
    if count == 0 {
        // Some clients say that there are no types.
        return Ok(Vec::new());
    }
    let nulls = fields.bytes(count.div_ceil(8))?;
    match fields.u8()? {
        0 => {}
        1 => {
            types.clear();
            for _ in 0..count {
                let kind = fields.u8()?;
                types.push(Type(kind, fields.u8()? & 0x80 != 0));
            }
        }
        _ => return Err(ProtocolError::Fields("COM_STMT_EXECUTE")),
    }
    if types.len() != count {
        return Err(ProtocolError::Fields("COM_STMT_EXECUTE"));
    }
    let mut read = Vec::with_capacity(count);
    for (place, kind) in types.iter().enumerate() {
        let is_null = nulls
            .get(place / 8)
            .is_some_and(|byte| byte & (1 << (place % 8)) != 0);
        let sent = u16::try_from(place).ok().and_then(|place| long.get(&place));
        read.push(match (is_null, sent) {
            (true, _) => Parameter::Null,
            (false, Some(bytes)) => Parameter::Binary(bytes.clone()),
            (false, None) => value(&mut fields, *kind)?,
        });
    }
    fields.end()?;
    Ok(read)
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
            return Ok(Parameter::Text(fields.counted()?.to_vec()));
        }
        _ => return Err(ProtocolError::Fields("COM_STMT_EXECUTE")),
    };
    Ok(Parameter::Text(text.into_bytes()))
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
        let mut types = Vec::new();
        let none = HashMap::new();
        let first = [
            &[0b10, 1, 0x03, 0, 0x0F, 0, 0x0C, 0, 0xFD, 0][..],
            &[7, 0, 0, 0],
            &[4, 0xEA, 0x07, 11, 23],
            &[2, b'a', b'\''],
        ]
        .concat();
        let values = read(&first, 4, &mut types, &none).unwrap();
        assert_eq!(text(&values[0]), "7");
        assert_eq!(values[1], Parameter::Null);
        assert_eq!(text(&values[2]), "2026-11-23");
        assert_eq!(text(&values[3]), "a'");
        let second = [&[0b1110, 0][..], &[0xFF, 0xFF, 0xFF, 0xFF]].concat();
        let values = read(&second, 4, &mut types, &none).unwrap();
        assert_eq!(text(&values[0]), "-1");
        let long = HashMap::from([(0, b"long".to_vec())]);
        let values = read(&[0b1110, 0], 4, &mut types, &long).unwrap();
        assert_eq!(text(&values[0]), "long");
        assert!(read(&[0b1110, 0, 1], 4, &mut types, &none).is_err());
        assert!(read(&[0, 0], 1, &mut Vec::new(), &none).is_err());
    }
}
