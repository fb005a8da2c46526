//! The detector against a corpus, and against what nobody would write.

use super::*;

#[test]
fn no_input_panics() {
    for bytes in [&b""[..], b"\xff\xfe", b"\xff\xfeA", b"://", b"-----BEGIN "] {
        Detector::builtin().scan(Path::new(".env"), bytes);
    }
}
