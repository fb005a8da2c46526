//! Heads of HTTP/1.1 requests: what is read has no octet in it that would mean something else when it
//! is written again.

use tagout_http::parse_head;

#[test]
fn a_head_has_nothing_hidden_in_it() {
    let seed =
        b"POST /a/b?c=%41 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nX-B:  c d \r\n\r\n";
    assert!(parse_head(seed).is_ok());
    let seeds: &[&[u8]] = &[seed];
    let dictionary: &[&[u8]] = &[
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 6\r\n",
        b"content_length: 6\r\n",
        b"\r\n ",
        b"HTTP/1.0",
    ];
    bolero::check!().with_type::<Vec<u8>>().for_each(|choices| {
        let bytes = tagout_fuzz::mutated(seeds, dictionary, choices);
        let Ok(head) = parse_head(&bytes) else {
            return;
        };
        assert!(head.target.bytes().all(|byte| byte.is_ascii_graphic()));
        for (name, value) in &head.fields {
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b':')
            );
            assert!(!value.contains(['\r', '\n', '\0']));
        }
        let lengths = head
            .fields
            .iter()
            .filter(|(name, _)| name == "content-length");
        let codings = head
            .fields
            .iter()
            .filter(|(name, _)| name == "transfer-encoding");
        assert!(lengths.count() + codings.count() <= 1);
    });
}
