//! The reader against many notations and against noise.

use super::*;
use proptest::prelude::*;

fn read(text: &str, word: &str) -> Option<String> {
    let at = text.find(word)?;
    let field = field_at(text.as_bytes(), at..at + word.len(), false)?;
    Some(text[field.value].to_owned())
}

#[test]
fn one_reader_reads_many_notations() {
    for text in [
        "TOKEN=s3cr",
        "export API_TOKEN='s3cr'",
        "\"token\": \"s3cr\"",
        "token: s3cr",
        "'token' => 's3cr',",
        "token := \"s3cr\"",
        "let token: &str = \"s3cr\";",
        "const token: string = 's3cr'",
        "private static final String TOKEN = \"s3cr\";",
        "headers['X-Token'] = 's3cr'",
        "define('TOKEN', 's3cr');",
        "setToken(\"s3cr\")",
        "cmd --api-token s3cr --x",
        "cmd --token=s3cr",
        "https://h/p?token=s3cr&x=1",
        "<token>s3cr</token>",
        "<add key=\"token\" value=\"s3cr\"/>",
        "- name: token\n  value: s3cr\n",
        "token: |\n  s3cr\n",
        "{\\\"token\\\": \\\"s3cr\\\"}",
        "x-token: Bearer s3cr",
        "-H \"x-token: Bearer s3cr\"",
        "token%3Ds3cr",
    ] {
        let word = if text.contains("token") {
            "token"
        } else if text.contains("Token") {
            "Token"
        } else {
            "TOKEN"
        };
        assert_eq!(read(text, word).as_deref(), Some("s3cr"), "{text}");
    }
    for text in [
        "token",
        "token s3cr",
        "use token::Thing",
        "token, s3cr",
        "f(token)",
        "token = \"\"",
    ] {
        assert_eq!(read(text, "token"), None, "{text}");
    }
}

#[test]
fn urls_have_passwords() {
    for (text, password) in [
        ("postgres://app:pw@host/db", Some("pw")),
        ("postgres://app:p/w#x@host/db?a=b@c", Some("p/w#x")),
        ("https://user:p%40w@example.com/x", Some("p%40w")),
        ("https://example.com/a@b", None),
        ("https://tok@example.com/", Some("tok")),
        ("redis://:pw@host:6379", Some("pw")),
        ("http://host:80/", None),
        ("://x:y@z", None),
    ] {
        let at = text.find("://").unwrap();
        let found = userinfo(text.as_bytes(), at).map(|(range, _)| &text[range]);
        assert_eq!(found, password, "{text}");
    }
    let go = "app:pw@tcp(db:3306)/x";
    assert_eq!(
        go_dsn_password(go.as_bytes(), go.find("@tcp(").unwrap()),
        Some(4..6)
    );
}

proptest! {
    #[test]
    fn readers_take_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..200) {
        let at = at.min(bytes.len());
        let end = (at + 3).min(bytes.len());
        field_at(&bytes, at..end, true);
        field_at(&bytes, at..end, false);
        userinfo(&bytes, at);
        go_dsn_password(&bytes, at);
        private_key_block(&bytes, at);
        putty_private_lines(&bytes, at);
        quoted_pairs(&bytes);
        for line in lines(&bytes).collect::<Vec<_>>() {
            line_field(&bytes, line);
        }
    }

    #[test]
    fn structured_noise_does_not_panic(text in "[a\"'=: \\\\\n<>|({,-]{0,80}") {
        let bytes = text.as_bytes();
        for at in 0..bytes.len() {
            field_at(bytes, at..at + 1, at % 2 == 0);
            userinfo(bytes, at);
        }
    }
}
