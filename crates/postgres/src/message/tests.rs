//! Messages are read whole or not at all, and what is written is what was read.

use proptest::prelude::*;

use super::*;
use crate::Frames;

fn frame(kind: u8, body: &[u8]) -> Frame {
    Frame {
        kind,
        body: body.to_vec(),
    }
}

fn text() -> impl Strategy<Value = String> {
    "[^\0]{0,12}"
}

fn target() -> impl Strategy<Value = Target> {
    (any::<bool>(), text()).prop_map(|(statement, name)| {
        if statement {
            Target::Statement(name)
        } else {
            Target::Portal(name)
        }
    })
}

fn format() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::Text), Just(Format::Binary)]
}

fn bind() -> impl Strategy<Value = FrontendMessage> {
    let values = proptest::collection::vec(
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)),
        0..5,
    );
    let formats = || proptest::collection::vec(format(), 0..5);
    (text(), text(), values, formats(), formats()).prop_map(
        |(portal, statement, parameters, mut parameter_formats, result_formats)| {
            if parameter_formats.len() != parameters.len() {
                parameter_formats.truncate(1);
            }
            FrontendMessage::Bind {
                portal,
                statement,
                parameter_formats,
                parameters,
                result_formats,
            }
        },
    )
}

fn message() -> impl Strategy<Value = FrontendMessage> {
    use FrontendMessage as M;
    prop_oneof![
        text().prop_map(M::Query),
        (
            text(),
            text(),
            proptest::collection::vec(any::<u32>(), 0..4)
        )
            .prop_map(|(name, text, parameter_types)| M::Parse {
                name,
                text,
                parameter_types
            }),
        bind(),
        target().prop_map(M::Describe),
        target().prop_map(M::Close),
        (text(), 0..=i32::MAX as u32).prop_map(|(portal, rows)| M::Execute {
            portal,
            most_rows: NonZeroU32::new(rows)
        }),
        Just(M::Flush),
        Just(M::Sync),
        Just(M::CopyDone),
        Just(M::Terminate),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(M::CopyData),
        text().prop_map(M::CopyFail),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_however_it_is_split(
        message in message(),
        split in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        let (first, second) = bytes.split_at(split.index(bytes.len()));
        let mut frames = Frames::default();
        frames.push(first);
        prop_assert_eq!(frames.next_frame(), Ok(None));
        frames.push(second);
        let frame = frames.next_frame().unwrap().expect("a whole frame");
        prop_assert_eq!(FrontendMessage::read(&frame), Ok(message));
        prop_assert!(!frames.is_within_frame());
    }

    #[test]
    fn invariant_6_a_message_that_is_cut_or_longer_is_refused(message in message()) {
        // Rows of a COPY have no end of their own.
        prop_assume!(!matches!(message, FrontendMessage::CopyData(_)));
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        let (kind, body) = (bytes[0], &bytes[5..]);
        for end in 0..body.len() {
            prop_assert!(FrontendMessage::read(&frame(kind, &body[..end])).is_err());
        }
        let longer = [body, b"\0"].concat();
        prop_assert!(FrontendMessage::read(&frame(kind, &longer)).is_err());
    }

    #[test]
    fn any_bytes_are_refused_or_have_one_spelling(
        kind in any::<u8>(),
        body in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        if let Ok(message) = FrontendMessage::read(&frame(kind, &body)) {
            let mut bytes = Vec::new();
            message.write(&mut bytes);
            prop_assert_eq!(FrontendMessage::read(&frame(bytes[0], &bytes[5..])), Ok(message));
        }
    }
}

#[test]
fn invariant_6_a_second_statement_does_not_hide_behind_a_nul() {
    let hidden = frame(b'Q', b"select 1\0; drop table t\0");
    assert_eq!(
        FrontendMessage::read(&hidden),
        Err(ProtocolError::Fields("Query"))
    );
}

#[test]
fn a_parameter_longer_than_its_message_is_refused() {
    let mut body = b"\0\0\0\0\0\x01".to_vec();
    body.extend_from_slice(&0x7fff_ffff_u32.to_be_bytes());
    assert!(FrontendMessage::read(&frame(b'B', &body)).is_err());
}

#[test]
fn text_in_another_encoding_is_refused() {
    // In SJIS this is a whole character; as bytes it ends in a backslash.
    let text = frame(b'Q', b"select '\x83\x5c'\0");
    assert_eq!(
        FrontendMessage::read(&text),
        Err(ProtocolError::Text("Query"))
    );
}

#[test]
fn a_negative_number_of_rows_is_all_of_them() {
    let execute = FrontendMessage::read(&frame(b'E', b"p\0\xff\xff\xff\xff"));
    let all = FrontendMessage::Execute {
        portal: "p".into(),
        most_rows: None,
    };
    assert_eq!(execute, Ok(all));
}

#[test]
fn passwords_are_read_only_where_one_was_asked_for() {
    let initial = frame(b'p', b"SCRAM-SHA-256\0\0\0\0\x03n,,");
    assert!(FrontendMessage::read(&initial).is_err());
    assert_eq!(
        Password::read_initial(&initial),
        Ok(Password::Initial {
            mechanism: "SCRAM-SHA-256".into(),
            data: b"n,,".to_vec()
        })
    );
    assert!(Password::read_initial(&frame(b'p', b"secret\0")).is_err());
    assert!(Password::read_initial(&frame(b'Q', b"select 1\0")).is_err());
    assert!(Password::read_response(&frame(b'Q', b"select 1\0")).is_err());
}

#[test]
fn invariant_5_names_are_cut_where_the_server_cuts_them() {
    let close = |name: &str| {
        let body = [b"S", name.as_bytes(), b"\0"].concat();
        FrontendMessage::read(&Frame { kind: b'C', body })
    };
    let closes = |name: &str| Ok(FrontendMessage::Close(Target::Statement(name.to_owned())));
    let long = "n".repeat(63);
    assert_eq!(close(&long), closes(&long));
    assert_eq!(close(&format!("{long}a")), closes(&long));
    let within = format!("{}é", "n".repeat(61));
    assert_eq!(close(&within), closes(&within));
    let over = format!("{}é", "n".repeat(62));
    assert_eq!(close(&over), Err(ProtocolError::Text("Close")));
}
