//! MySQL's protocol: a stream is cut into the same messages however it arrives, a command is refused or has
//! one spelling, and what a server says ends or is refused, but never panics.

use tagout_fuzz::mutated;
use tagout_mysql::{Answer, Command, Greeting, Introduction, Packets, ProtocolError, Shape};

const SEEDS: [&[u8]; 6] = [
    b"\x09\0\0\0\x03SELECT 1",
    b"\x0f\0\0\0\x17\x01\0\0\0\0\x01\0\0\0\0\x01\x08\0\x07\x01\0\0\0\x0e",
    b"\x0c\0\0\0\x18\x01\0\0\0\0\0piece\x05\0\0\0\x19\x01\0\0\0",
    b"\x0a5.5.5-10.11.6-MariaDB\0\x07\0\0\0abcdefgh\0\xff\xf7\x2d\x02\0\xff\x81\x15\0\0\0\0\0\0\0\0\0\0ijklmnopqrst\0mysql_native_password\0",
    b"\x8d\xa2\x3b\0\0\0\0\x40\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0app\0\x03\x01\x02\x03shop\0mysql_native_password\0",
    b"\x01\0\0\x01\x01\x05\0\0\x02colum\x05\0\0\x03\xfe\0\0\x02\0\x02\0\0\x04\x01a\x05\0\0\x05\xfe\0\0\x02\0",
];

fn messages(bytes: &[u8], step: usize) -> Result<Vec<Vec<u8>>, ProtocolError> {
    let mut packets = Packets::default();
    let mut seen = Vec::new();
    for part in bytes.chunks(step) {
        packets.push(part);
        while let Some(message) = packets.next_message(1 << 20)? {
            seen.push(message.payload.to_vec());
        }
    }
    Ok(seen)
}

#[test]
fn the_seeds_are_what_is_said() {
    for payload in messages(SEEDS[0], 3).expect("messages") {
        Command::read(&payload).expect("a command");
    }
    assert_eq!(messages(SEEDS[2], 1).expect("messages").len(), 2);
    Greeting::read(SEEDS[3]).expect("a greeting");
    Introduction::read(SEEDS[4]).expect("a login");
}

#[test]
fn mysql() {
    bolero::check!().for_each(|choices: &[u8]| {
        let bytes = mutated(&SEEDS, &[b"\0", b"\xff\xff\xff", b"\xfe", b"\xfb"], choices);
        let whole = messages(&bytes, bytes.len().max(1));
        assert_eq!(whole, messages(&bytes, 1));
        for payload in whole.unwrap_or_default() {
            if let Ok(command) = Command::read(&payload) {
                assert_eq!(command.write(), payload);
            }
        }
        if let Ok(greeting) = Greeting::read(&bytes) {
            assert!(greeting.nonce.len() >= 8);
        }
        let _ = Introduction::read(&bytes);
        for shape in [
            Shape::Short,
            Shape::Results,
            Shape::Prepared,
            Shape::Columns,
            Shape::Rows,
            Shape::Line,
        ] {
            let mut packets = Packets::default();
            packets.push(&bytes);
            let mut answer = Answer::to(shape);
            while let Some(packet) = packets.next_packet() {
                if answer.is_over() || answer.take(packet.payload(), packet.is_full()).is_err() {
                    break;
                }
            }
        }
    });
}
