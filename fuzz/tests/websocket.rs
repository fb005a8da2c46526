//! WebSocket frames of either side: how they were cut into pieces makes no difference, and what was
//! read is what is written.

use tagout_http::{FrameReader, Message, Side};

fn read(side: Side, bytes: &[u8], size: usize) -> (Vec<Message>, bool) {
    let mut reader = FrameReader::new(side);
    let mut messages = Vec::new();
    for piece in bytes.chunks(size.max(1)) {
        reader.feed(piece);
        loop {
            match reader.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return (messages, false),
            }
        }
    }
    (messages, true)
}

#[test]
fn frames_are_read_in_one_way() {
    let masked = Message::Text("hello".to_owned()).write(Some([1, 2, 3, 4]));
    let plain = [
        &[0x01, 2][..],
        b"he",
        &[0x89, 0, 0x80, 3],
        b"llo",
        &Message::Binary(vec![0; 300]).write(None),
        &Message::Close(Some((1000, "bye".to_owned()))).write(None),
    ]
    .concat();
    for (side, seed) in [(Side::Client, masked), (Side::Server, plain)] {
        assert!(read(side, &seed, seed.len()).1, "the seed is well-formed");
        let seeds: &[&[u8]] = &[&seed];
        let dictionary: &[&[u8]] = &[&[0x81], &[0x88, 2, 3, 0xe8], &[126, 0, 126], &[127], &[0]];
        bolero::check!().with_type::<Vec<u8>>().for_each(|choices| {
            let bytes = tagout_fuzz::mutated(seeds, dictionary, choices);
            let (messages, is_whole) = read(side, &bytes, bytes.len());
            for size in [1, 3, 7] {
                assert_eq!(read(side, &bytes, size), (messages.clone(), is_whole));
            }
            for message in messages {
                let written = message.write(None);
                assert_eq!(read(Side::Server, &written, 2), (vec![message], true));
            }
        });
    }
}
