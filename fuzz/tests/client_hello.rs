//! The start of a TLS connection, as a client sends it: it names one server or is refused, and how it
//! was cut into pieces makes no difference.

use tagout_net::parse_client_hello;

/// A whole ClientHello for `api.example.com` in one record.
fn hello() -> Vec<u8> {
    let name = b"api.example.com";
    let mut extension = vec![0, 0];
    let mut list = vec![0];
    list.extend((name.len() as u16).to_be_bytes());
    list.extend(name);
    extension.extend((list.len() as u16 + 2).to_be_bytes());
    extension.extend((list.len() as u16).to_be_bytes());
    extension.extend(list);

    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend((extension.len() as u16).to_be_bytes());
    body.extend(extension);

    let mut message = vec![1, 0];
    message.extend((body.len() as u16).to_be_bytes());
    message.extend(body);

    let mut record = vec![22, 3, 1];
    record.extend((message.len() as u16).to_be_bytes());
    record.extend(message);
    record
}

#[test]
fn a_client_hello_has_one_server_name() {
    let seed = hello();
    let read = parse_client_hello(&seed)
        .ok()
        .flatten()
        .expect("the seed is whole");
    let name = read.server_name.expect("the seed has a name");
    assert_eq!(name.as_str(), "api.example.com");

    let seeds: &[&[u8]] = &[&seed];
    let dictionary: &[&[u8]] = &[
        b"\x16\x03\x01\x00\x01",
        b"\x00\x00",
        b"\xfe\x0d",
        b"\x01",
        b"api.",
    ];
    bolero::check!().with_type::<Vec<u8>>().for_each(|choices| {
        let bytes = tagout_fuzz::mutated(seeds, dictionary, choices);
        let whole = parse_client_hello(&bytes);
        for end in 0..bytes.len().min(256) {
            // A beginning never says something else than the whole does.
            if let (Ok(Some(early)), Ok(Some(late))) = (parse_client_hello(&bytes[..end]), &whole) {
                assert_eq!(&early, late);
            }
        }
    });
}
