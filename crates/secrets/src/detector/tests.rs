//! The detector against the corpus in `corpus/samples.txt`, and against what nobody would write.

use proptest::prelude::*;

use super::*;
use crate::{DecoyKey, known_values, twin};

/// One file of the corpus.
struct Sample {
    path: String,
    content: String,
    /// Where its secrets are.
    secrets: Vec<Range<usize>>,
}

fn corpus() -> Vec<Sample> {
    let text = include_str!("../../corpus/samples.txt");
    let mut samples = Vec::new();
    for block in text.split("\n### ").skip(1) {
        let (path, marked) = block.split_once('\n').unwrap();
        let mut content = String::new();
        let mut secrets = Vec::new();
        let mut open = None;
        for character in marked.chars() {
            match character {
                '·' => {}
                '«' => open = Some(content.len()),
                '»' => secrets.push(open.take().unwrap()..content.len()),
                other => content.push(other),
            }
        }
        assert!(open.is_none(), "{path}: « without »");
        samples.push(Sample {
            path: path.to_owned(),
            content,
            secrets,
        });
    }
    samples
}

fn scan(path: &str, content: &[u8]) -> Vec<Finding> {
    Detector::builtin().scan(Path::new(path), content)
}

fn spans(findings: &[Finding]) -> Vec<Range<usize>> {
    findings
        .iter()
        .map(|finding| finding.span.clone())
        .collect()
}

/// What differs between `found` and what the sample marks.
fn differences(sample: &Sample, found: &[Finding]) -> Vec<String> {
    let spans = spans(found);
    let missed = sample
        .secrets
        .iter()
        .filter(|secret| !spans.contains(secret))
        .map(|secret| {
            format!(
                "{}: missed {}",
                sample.path,
                &sample.content[secret.clone()]
            )
        });
    let excess = found
        .iter()
        .filter(|finding| !sample.secrets.contains(&finding.span))
        .map(|finding| {
            let text = &sample.content[finding.span.clone()];
            format!(
                "{}: excess {} ({:?}, {:?})",
                sample.path, text, finding.kind, finding.key
            )
        });
    missed.chain(excess).collect()
}

#[test]
fn the_corpus_is_found_exactly() {
    let samples = corpus();
    let marked: usize = samples.iter().map(|sample| sample.secrets.len()).sum();
    assert!(
        samples.len() >= 50 && marked >= 120,
        "{} files, {marked} secrets",
        samples.len()
    );
    let differences: Vec<_> = samples
        .iter()
        .flat_map(|sample| differences(sample, &scan(&sample.path, sample.content.as_bytes())))
        .collect();
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

#[test]
fn line_ends_and_wide_characters_change_nothing() {
    for sample in corpus() {
        let windows = sample.content.replace('\n', "\r\n");
        let found = scan(&sample.path, windows.as_bytes());
        assert_eq!(
            found.len(),
            sample.secrets.len(),
            "{} with CRLF",
            sample.path
        );
        let wide: Vec<u8> = [0xFF, 0xFE]
            .into_iter()
            .chain(sample.content.encode_utf16().flat_map(u16::to_le_bytes))
            .collect();
        let found = spans(&scan(&sample.path, &wide));
        let expected: Vec<_> = sample
            .secrets
            .iter()
            .map(|secret| secret.start * 2 + 2..secret.end * 2 + 2)
            .collect();
        assert_eq!(found, expected, "{} in UTF-16", sample.path);
        for (mark, to_bytes) in [
            ([0xFF, 0xFE, 0, 0], u32::to_le_bytes as fn(u32) -> [u8; 4]),
            ([0, 0, 0xFE, 0xFF], u32::to_be_bytes),
        ] {
            let units = sample.content.chars();
            let wide: Vec<u8> = units.flat_map(|unit| to_bytes(u32::from(unit))).collect();
            let expected = sample.secrets.iter();
            let expected: Vec<_> = expected
                .map(|secret| {
                    let before = |at: usize| sample.content[..at].chars().count() * 4;
                    before(secret.start)..before(secret.end)
                })
                .collect();
            let marked = [&mark[..], &wide].concat();
            let found = scan(&sample.path, &marked);
            let moved: Vec<_> = spans(&found)
                .into_iter()
                .map(|span| span.start - 4..span.end - 4)
                .collect();
            assert_eq!(moved, expected, "{} in UTF-32", sample.path);
            assert_eq!(
                spans(&scan(&sample.path, &wide)),
                expected,
                "{} in UTF-32 without a mark",
                sample.path
            );
            let key = DecoyKey::derive(b"install", b"workspace");
            let copy = twin(&marked, &found, &key);
            for finding in found.iter().filter(|finding| !finding.guessable) {
                let value = &marked[finding.span.clone()];
                let survives = copy.windows(value.len()).any(|part| part == value);
                assert!(!survives, "{}: a value survives in UTF-32", sample.path);
            }
        }
    }
}

#[test]
fn invariant_3_a_twin_holds_no_secret_and_has_its_files_shape() {
    let key = DecoyKey::derive(b"install", b"workspace");
    for sample in corpus() {
        let bytes = sample.content.as_bytes();
        let findings = scan(&sample.path, bytes);
        let copy = twin(bytes, &findings, &key);
        assert_eq!(copy.len(), bytes.len(), "{}", sample.path);
        assert_eq!(
            copy,
            twin(bytes, &findings, &key),
            "{}: stable",
            sample.path
        );
        let lines = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'\n').count();
        assert_eq!(lines(&copy), lines(bytes), "{}", sample.path);
        for finding in &findings {
            for value in known_values(bytes, finding) {
                // A guessable one may stand elsewhere for what it is.
                let survives =
                    !finding.guessable && copy.windows(value.len()).any(|window| window == value);
                assert!(
                    !survives,
                    "{}: the value of {:?} ({}) survives",
                    sample.path, finding.key, finding.kind
                );
            }
        }
        // A decoy looks like what it stands for, so a second scan finds it in the same place.
        let again = scan(&sample.path, &copy);
        let lost = findings.iter().filter(|finding| {
            finding.confidence == Confidence::High
                && !again.iter().any(|other| other.span == finding.span)
        });
        let lost: Vec<_> = lost.map(|finding| (&finding.kind, &finding.key)).collect();
        assert!(
            lost.len() * 10 <= findings.len(),
            "{}: {lost:?}",
            sample.path
        );
    }
}

#[test]
fn an_allow_comment_or_a_copied_name_hides_nothing() {
    let token = "0f8a1c52-9d4e-4b6a-8c21-7e5f90ab12cd";
    for path in [
        "a.sh",
        "vendor/a.sh",
        "node_modules/x/a.sh",
        "a.lock",
        "test/fixtures/a.sh",
        "a.png",
        "a.min.js",
    ] {
        let text = format!("RAILWAY_TOKEN='{token}' # gitleaks:allow\n");
        assert_eq!(scan(path, text.as_bytes()).len(), 1, "{path}");
    }
}

#[test]
fn what_hexadecimal_digits_stand_for_is_known() {
    let token = b"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";
    let digits: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("blob = {digits}\n");
    let found = scan("a.txt", text.as_bytes());
    let [finding] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert!(known_values(text.as_bytes(), finding).contains(&token.to_vec()));
    let key = DecoyKey::derive(b"install", b"workspace");
    let copy = twin(text.as_bytes(), &found, &key);
    let copy = String::from_utf8(copy).unwrap();
    let decoded = super::encoded::decoded_hexadecimal(&copy.as_bytes()[7..copy.len() - 1]);
    assert_eq!(decoded, Some(key.decoy(token)));
}

#[test]
fn of_what_is_no_text_only_what_is_sure_counts() {
    let row = |text: &str| {
        [
            b"SQLite format 3\0\x10\x00\x01",
            text.as_bytes(),
            b"\x02\0\n",
        ]
        .concat()
    };
    let token = concat!("sk_", "live_JsCrjj4n6f0Ne1iR3lW0qRQk");
    let bytes = row(&format!("\x05\x01{token}"));
    let found = scan("db.sqlite3", &bytes);
    assert_eq!(found.len(), 1, "{found:?}");
    let key = DecoyKey::derive(b"install", b"workspace");
    let copy = twin(&bytes, &found, &key);
    assert!(
        copy.len() == bytes.len()
            && !copy
                .windows(token.len())
                .any(|part| part == token.as_bytes())
    );
    assert!(scan("a.png", &row("key=Zq8rT2mWx5Lp9Kd3Vb")).is_empty());
    assert_eq!(scan("a.key", &row("x")).len(), 1);
}

#[test]
fn guessable_values_are_marked() {
    let found = scan(".env", b"DB_PASSWORD=postgres\nTOKEN=Zq8rT2mWx5Lp9Kd3Vb\n");
    let marks: Vec<_> = found.iter().map(|finding| finding.guessable).collect();
    assert_eq!(marks, [true, false]);
    assert_eq!(found[0].key.as_deref(), Some("DB_PASSWORD"));
}

#[test]
fn unreadable_stores_and_keys_are_secret_as_a_whole() {
    for (path, bytes) in [
        ("a.kdbx", &b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5\x01\x00"[..]),
        ("a.p12", b"0\x82\x0a\x11\x02\x01\x03"),
        (".mylogin.cnf", b"\0\0\0\0\x12\x34\x56"),
        ("master.key", b"not-much\n"),
    ] {
        let found = scan(path, bytes);
        assert!(!found.is_empty(), "{path}");
        assert_eq!(found[0].span.start, 0, "{path}");
    }
    assert!(scan("empty.key", b"").is_empty());
}

#[test]
fn values_that_a_format_wraps_are_known_unwrapped() {
    let values = |path: &str, text: &str| -> Vec<String> {
        let found = scan(path, text.as_bytes());
        found
            .iter()
            .flat_map(|finding| known_values(text.as_bytes(), finding))
            .map(|value| String::from_utf8(value).unwrap())
            .collect()
    };
    assert!(
        values(".env", "URL=postgres://a:p%40ss%2Fw0rd@h/d\n").contains(&"p@ss/w0rd".to_owned())
    );
    assert!(values("a.json", r#"{"password":"a\"b\u0063d99x"}"#).contains(&"a\"bcd99x".to_owned()));
    let docker = values(
        ".docker/config.json",
        r#"{"auths":{"h":{"auth":"bWU6czNjcjN0cHcxMg=="}}}"#,
    );
    assert!(docker.contains(&"s3cr3tpw12".to_owned()), "{docker:?}");
}

#[test]
fn huge_lines_and_repeated_keywords_take_linear_time() {
    // Bounded work, not a stopwatch: each of these would take minutes were anything quadratic in it.
    let words = "password token secret key auth ".repeat(6_000);
    scan("a.txt", words.as_bytes());
    let pairs = "password=".repeat(20_000);
    scan(".env", pairs.as_bytes());
    let quotes = "\"token\":\"".repeat(10_000);
    scan("a.json", quotes.as_bytes());
    scan(".npmrc", quotes.as_bytes());
    let urls = "postgres://a:".repeat(10_000);
    scan("a.txt", urls.as_bytes());
    let keys = "-----BEGIN RSA PRIVATE KEY-----".repeat(5_000);
    scan("a.pem", keys.as_bytes());
    let tokens = "ghp_sk-ant-eyJ".repeat(10_000);
    scan("a.txt", tokens.as_bytes());
}

/// Prints how fast a folder (`TAGOUT_BENCH_FOLDER`, else this workspace's crates) is scanned, and what
/// is found in it: `cargo test --release -p tagout-secrets -- --ignored --nocapture bench`.
#[test]
#[ignore = "a measurement; run it in a release build"]
fn bench() {
    let folder = std::env::var_os("TAGOUT_BENCH_FOLDER").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
        std::path::PathBuf::from,
    );
    let mut files = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => {
                    files.extend(std::fs::read(entry.path()).map(|bytes| (entry.path(), bytes)))
                }
                _ => {}
            }
        }
    }
    let start = std::time::Instant::now();
    Detector::builtin();
    println!("ready in {:?}", start.elapsed());
    let found: Vec<_> = files
        .iter()
        .map(|(path, bytes)| (path, Detector::builtin().scan(path, bytes)))
        .collect();
    let size: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    let start = std::time::Instant::now();
    let again: usize = files
        .iter()
        .map(|(path, bytes)| Detector::builtin().scan(path, bytes).len())
        .sum();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{} files, {size} bytes, {:.1} MB/s, {again} findings",
        files.len(),
        size as f64 / 1e6 / seconds
    );
    for (path, findings) in &found {
        for finding in findings {
            println!(
                "{} {:?} {} {:?}",
                path.display(),
                finding.confidence,
                finding.kind,
                finding.key
            );
        }
    }
    assert_eq!(
        found
            .iter()
            .map(|(_, findings)| findings.len())
            .sum::<usize>(),
        again
    );
}

#[test]
fn no_input_panics() {
    for bytes in [
        &b""[..],
        b"\xff\xfe",
        b"\xff\xfeA",
        b"\xfe\xff\0",
        b"://",
        b"-----BEGIN ",
        b"\0\0\0",
    ] {
        for path in [".env", ".npmrc", "a.key", "a.rs", ""] {
            let found = scan(path, bytes);
            twin(bytes, &found, &DecoyKey::derive(b"a", b"b"));
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_scanned(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        path in prop::sample::select(vec![".env", ".npmrc", "a.key", "a.rs", "a.yaml", ".netrc"]),
    ) {
        let found = scan(path, &bytes);
        for pair in found.windows(2) {
            prop_assert!(pair[0].span.end <= pair[1].span.start);
        }
        prop_assert!(found.iter().all(|finding| finding.span.end <= bytes.len()));
        let copy = twin(&bytes, &found, &DecoyKey::derive(b"a", b"b"));
        prop_assert_eq!(copy.len(), bytes.len());
    }

    #[test]
    fn a_token_is_found_wherever_it_stands(
        before in "[a-z (){};\n]{0,400}",
        after in "[ a-z(){};\n]{0,400}",
    ) {
        let token = format!("glpat-{}", "Zq8rT2mWx5Lp9Kd3Vb7N");
        let text = format!("{before}\"{token}\"{after}");
        let found = scan("a.rs", text.as_bytes());
        prop_assert!(found.iter().any(|finding| text[finding.span.clone()] == token));
    }

    #[test]
    fn invariant_3_any_password_in_a_dotenv_file_is_replaced(password in "[A-Za-z0-9][A-Za-z0-9!@^+=]{5,40}") {
        let text = format!("A=1\nDB_PASSWORD={password}\nB=2\n");
        let findings = scan(".env", text.as_bytes());
        let kept = findings.is_empty();
        let copy = twin(text.as_bytes(), &findings, &DecoyKey::derive(b"a", b"b"));
        let shown = copy.windows(password.len()).any(|window| window == password.as_bytes());
        // Placeholders and references stay; no generated text here is one, but for a symbol repeated.
        let one_symbol = password.bytes().all(|byte| Some(byte) == password.bytes().next());
        prop_assert!(!shown || (kept && one_symbol), "{}", password);
    }
}

mod encodings {
    use super::super::*;
    use crate::{DecoyKey, known_values, twin};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    const URL: &str = "postgres://app:kJ8s0qW2zR5tXv@db.example.com/app";
    const TOKEN: &str = "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";

    fn scan(path: &str, bytes: &[u8]) -> Vec<Finding> {
        Detector::builtin().scan(Path::new(path), bytes)
    }

    /// The twin of a file, and whether each value of its findings is among those that become known.
    fn replaced(path: &str, bytes: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
        let findings = scan(path, bytes);
        let shown = twin(
            bytes,
            &findings,
            &DecoyKey::derive(b"install", b"workspace"),
        );
        let known = findings
            .iter()
            .flat_map(|finding| known_values(bytes, finding))
            .collect();
        (shown, known)
    }

    #[test]
    fn base64_around_something_is_looked_into_once_and_twice() {
        let once = STANDARD.encode(format!("{{\"url\":\"{URL}\"}}"));
        let twice = STANDARD.encode(format!("GITHUB_TOKEN={TOKEN}\n{once}"));
        for (encoded, value) in [
            (&once, "kJ8s0qW2zR5tXv"),
            (&twice, TOKEN),
            (&twice, "kJ8s0qW2zR5tXv"),
        ] {
            let text = format!("settings:\n  blob: {encoded}\n  other: 1\n");
            let (shown, known) = replaced("values.yaml", text.as_bytes());
            assert!(
                known.iter().any(|known| known == value.as_bytes()),
                "{text}"
            );
            let shown = String::from_utf8(shown).unwrap();
            let blob = shown.lines().nth(1).unwrap().trim_start_matches("  blob: ");
            let decoded = String::from_utf8(STANDARD.decode(blob).unwrap()).unwrap();
            assert!(
                !decoded.contains(value) && shown.ends_with("  other: 1\n"),
                "{shown}"
            );
        }
        // An URL without a password, and an image.
        let harmless = STANDARD.encode("see https://example.com/a/long/path/to/some/page");
        assert_eq!(scan("a.yaml", format!("x: {harmless}\n").as_bytes()), []);
    }

    #[test]
    fn percent_encoding_and_json_in_json_are_read() {
        let percent = "u=postgres%3A%2F%2Fapp%3AkJ8s0qW2zR5tXv%40db.example.com%2Fapp\n";
        let (shown, known) = replaced("a.txt", percent.as_bytes());
        assert!(
            known.iter().any(|known| known == b"kJ8s0qW2zR5tXv"),
            "{:?}",
            String::from_utf8_lossy(&shown)
        );
        assert!(!String::from_utf8_lossy(&shown).contains("kJ8s0qW2zR5tXv"));
        let json = "{\"body\": \"{\\\"password\\\":\\\"kJ8s0qW2zR5tXv\\\"}\"}";
        assert_eq!(scan("a.json", json.as_bytes()).len(), 1);
    }

    #[test]
    fn utf_16_needs_no_mark() {
        for (order, mark) in [(0, true), (1, true), (0, false), (1, false)] {
            let text = format!(
                "{}name=x\r\nGITHUB_TOKEN={TOKEN}\r\n",
                if mark { "\u{feff}" } else { "" }
            );
            let bytes: Vec<u8> = text
                .encode_utf16()
                .flat_map(|unit| {
                    if order == 0 {
                        unit.to_le_bytes()
                    } else {
                        unit.to_be_bytes()
                    }
                })
                .collect();
            let (shown, known) = replaced("a.env.txt", &bytes);
            assert!(
                known.iter().any(|known| known == TOKEN.as_bytes()),
                "{order} {mark}"
            );
            assert_eq!(shown.len(), bytes.len());
            assert_ne!(shown, bytes);
        }
        // Bytes of programs are not text.
        let program: Vec<u8> = (0u8..=255).cycle().take(4096).collect();
        assert!(!crate::is_wide(&program) && !crate::is_wide(&[0; 64]) && !crate::is_wide(b"ab"));
    }

    #[test]
    fn every_value_of_a_kubernetes_secret_is_one() {
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\ndata:\n  MODE: cGxhaW4=\n---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: app\n\
             type: Opaque\ndata:\n  DATABASE: {}\n  user: {}\nstringData:\n  WORD: correct-horse\n---\nkind: ConfigMap\ndata:\n  a: plain-text\n",
            STANDARD.encode(URL),
            STANDARD.encode("swordfish"),
        );
        let (shown, known) = replaced("k8s.yaml", text.as_bytes());
        for value in ["kJ8s0qW2zR5tXv", "swordfish", "correct-horse"] {
            assert!(
                known.iter().any(|known| known == value.as_bytes()),
                "{value}"
            );
        }
        let shown = String::from_utf8(shown).unwrap();
        for kept in [
            "MODE: cGxhaW4=\n",
            "  name: app\n",
            "type: Opaque\n",
            "a: plain-text\n",
        ] {
            assert!(shown.contains(kept), "{shown}");
        }
        let json = format!(
            "{{\n  \"kind\": \"Secret\",\n  \"data\": {{\n    \"user\": \"{}\"\n  }},\n  \"type\": \"Opaque\"\n}}\n",
            STANDARD.encode("swordfish")
        );
        assert_eq!(scan("k8s.json", json.as_bytes()).len(), 1);
    }

    #[test]
    fn many_encodings_take_no_more_time_than_their_length() {
        for text in [
            "kind: Secret\n",
            "%3a%2f%2f",
            "oi8v",
            ".login('",
            "\"kind\": \"secret\"{data:",
        ] {
            // Looked at once a hit, this would take minutes.
            scan("a.yaml", text.repeat(60_000).as_bytes());
        }
    }

    #[test]
    fn a_comment_allows_nothing() {
        for comment in [
            "gitleaks:allow",
            "betterleaks:allow",
            "noqa",
            "pragma: allowlist secret",
            "nosec",
            "kingfisher:ignore",
            "trufflehog:ignore",
        ] {
            let text = format!("# {comment}\ngithub_token = \"{TOKEN}\"  # {comment}\n");
            assert_eq!(scan("a.py", text.as_bytes()).len(), 1, "{comment}");
        }
    }

    #[test]
    fn each_part_of_a_pair_is_found_where_it_stands() {
        let text = "aws_access_key_id = AKIAYRWQG5EJLPZLBYNP\naws_secret_access_key = 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\n";
        let lines: Vec<usize> = scan("config/aws", text.as_bytes())
            .iter()
            .map(|finding| text[..finding.span.start].matches('\n').count())
            .collect();
        assert_eq!(lines, [0, 1]);
    }

    #[test]
    fn the_password_of_a_login_call_is_found() {
        for (text, count) in [
            ("conn.login('me@example.com', 'salesforcepassword', cb)", 1),
            (
                "requests.get(u, auth=HTTPBasicAuth('deploy', 'h4Kx92mQ'))",
                1,
            ),
            ("await page.login(user, 'x')", 0),
            ("form.login('user', 'name')", 0),
            ("api.login(\"me@example.com\", \"password\")", 0),
        ] {
            assert_eq!(scan("a.js", text.as_bytes()).len(), count, "{text}");
        }
    }
}
