//! A corpus that is made, not collected: every shape of a credential in every format in which people keep
//! one, and what looks like a credential and is none. It says what the detector promises; the public
//! yardstick (docs/benchmarks-secrets.md) says what that is worth on files of others.

use std::path::Path;

use tagout_secrets::{Confidence, Detector};

/// Shapes, with a letter for each place that is random: `a` lower case, `A` upper case, `x` any letter
/// or digit, `h` hexadecimal, `9` a digit.
#[rustfmt::skip]
const SHAPES: &[&str] = &[
    "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "github_pat_11AAAAAAA0xxxxxxxxxxxxxx_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "glpat-xxxxxxxxxxxxxxxxxxxx",
    "sk_live_xxxxxxxxxxxxxxxxxxxxxxxx",
    "xoxb-999999999999-999999999999-xxxxxxxxxxxxxxxxxxxxxxxx",
    "npm_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "SG.xxxxxxxxxxxxxxxxxxxxxx.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "AIzaxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "hf_aAaAaAaAaAaAaAaAaAaAaAaAaAaAaAaAaA",
    "dop_v1_hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh",
    "shpat_hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh",
    "hhhhhhhh-hhhh-4hhh-8hhh-hhhhhhhhhhhh",
    "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

/// Formats: name of the file, and its text with `{}` where the value stands.
#[rustfmt::skip]
const FORMATS: &[(&str, &str)] = &[
    (".env", "A=1\nAPI_TOKEN={}\nB=2\n"),
    (".env.production", "export API_TOKEN=\"{}\"\n"),
    ("config.yaml", "service:\n  api_token: {}\n  port: 80\n"),
    ("values.yml", "api_token: '{}'\n"),
    ("config.json", "{\n  \"name\": \"x\",\n  \"api_token\": \"{}\"\n}\n"),
    ("min.json", "{\"a\":1,\"api_token\":\"{}\",\"b\":[]}"),
    ("nested.json", "{\"env\":\"{\\\"api_token\\\":\\\"{}\\\"}\"}"),
    ("config.toml", "[service]\napi_token = \"{}\"\n"),
    ("app.ini", "[service]\napi_token = {}\n"),
    ("app.properties", "service.api.token={}\n"),
    ("settings.xml", "<settings><apiToken>{}</apiToken></settings>\n"),
    ("main.tf", "resource \"x\" \"y\" {\n  api_token = \"{}\"\n}\n"),
    ("settings.py", "API_TOKEN = \"{}\"\n"),
    ("client.js", "const client = new Client({ apiToken: '{}' });\n"),
    ("client.ts", "const apiToken: string = '{}';\n"),
    ("Main.java", "String apiToken = \"{}\";\n"),
    ("main.go", "apiToken := \"{}\"\n"),
    ("lib.rs", "const API_TOKEN: &str = \"{}\";\n"),
    ("config.php", "define('API_TOKEN', '{}');\n"),
    ("deploy.rb", "api_token = '{}'\n"),
    ("deploy.sh", "#!/bin/sh\nAPI_TOKEN={} ./deploy\n"),
    ("call.sh", "curl -H \"Authorization: Bearer {}\" https://api.example.com/v1\n"),
    ("query.sh", "curl \"https://api.example.com/v1?api_token={}&x=1\"\n"),
    ("Dockerfile", "FROM scratch\nENV API_TOKEN={}\n"),
    ("compose.yaml", "services:\n  a:\n    environment:\n      - API_TOKEN={}\n"),
    ("ci.yml", "env:\n  - name: API_TOKEN\n    value: \"{}\"\n"),
    ("page.http", "POST /v1 HTTP/1.1\nX-Api-Key: {}\n"),
    ("windows.env", "A=1\r\nAPI_TOKEN={}\r\nB=2\r\n"),
    ("notes.md", "the `API_TOKEN={}` of staging\n"),
    (".npmrc", "//registry.example.com/:_authToken={}\n"),
];

/// What looks like a credential and is none, with the file that it stands in.
#[rustfmt::skip]
const HARMLESS: &[(&str, &str)] = &[
    ("package-lock.json", "\"integrity\": \"sha512-{b64:64}==\",\n\"resolved\": \"https://registry.example.com/a/-/a-1.0.0.tgz\"\n"),
    ("Cargo.lock", "name = \"token\"\nversion = \"1.0.0\"\nchecksum = \"{hex:64}\"\n"),
    ("yarn.lock", "  checksum: 10/{hex:128}\n"),
    ("poetry.lock", "    {file = \"secretstorage-3.3.3.tar.gz\", hash = \"sha256:{hex:64}\"},\n"),
    ("go.sum", "github.com/golang-jwt/jwt v3.2.1 h1:{b64:43}=\n"),
    ("a.ts", "const requestId = \"{uuid}\";\nconst keys = Object.keys(token);\n"),
    ("ids.csv", "id,name\n{uuid},a\n{uuid},b\n"),
    ("a.py", "password = os.environ[\"DB_PASSWORD\"]\ntoken = get_token(user)\n"),
    ("b.py", "def login(username: str, password: str) -> Token:\n    return Token(secret=settings.SECRET_KEY)\n"),
    ("a.rs", "let token = tokens.next().ok_or(Error::MissingToken)?;\nassert_eq!(key.len(), 32);\n"),
    ("a.yaml", "password: ${DB_PASSWORD}\ntoken: \"{{ vault.token }}\"\nsecret: op://vault/item/field\n"),
    ("b.yaml", "secretName: app-tls\nsecretKeyRef:\n  name: app\n  key: password\n"),
    (".env.example", "API_TOKEN=your-token-here\nDB_PASSWORD=changeme\nSECRET=<secret>\n"),
    ("sops.yaml", "password: ENC[AES256_GCM,data:{b64:24},iv:{b64:43}=,tag:{b64:22}==,type:str]\n"),
    ("id.pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{b64:43} me@example.com\n"),
    ("cert.pem", "-----BEGIN CERTIFICATE-----\n{b64:64}\n{b64:64}\n-----END CERTIFICATE-----\n"),
    ("a.min.js", "!function(e,t){var n=e.token||t.key,r={password:function(e){return e.value},apiKey:n.k};t.auth=r}(window,a);\n"),
    ("index.html", "<input type=\"password\" name=\"password\" placeholder=\"Password\">\n<script integrity=\"sha384-{b64:64}\"></script>\n"),
    ("a.go", "req.Header.Set(\"Authorization\", \"Bearer \"+token)\npassword := flag.String(\"password\", \"\", \"the password\")\n"),
    ("Main.java", "private static final String TOKEN_HEADER = \"X-Auth-Token\";\n"),
    ("README.md", "Set `API_TOKEN` to your token. Commit 3f786850e387550fdab836ed7e6dc881de23001b fixed it.\n"),
    ("a.sql", "CREATE TABLE users (id uuid, password_hash text NOT NULL, token text);\n"),
    ("image.svg", "<image href=\"data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAA{b64:400}\"/>\n"),
    ("log.txt", "2026-01-01 token expired for session {uuid}, commit {hex:40}\n"),
];

/// A generator that is the same everywhere (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn of(&mut self, alphabet: &str) -> char {
        let at = self.next() as usize % alphabet.len();
        char::from(alphabet.as_bytes()[at])
    }

    fn shaped(&mut self, shape: &str) -> String {
        // A prefix is what it says; behind it letters stand for random ones.
        let prefix = [
            "ghp_",
            "github_pat_",
            "glpat-",
            "sk_live_",
            "xoxb-",
            "npm_",
            "SG.",
            "AIza",
            "hf_",
            "dop_v1_",
            "shpat_",
        ]
        .into_iter()
        .find(|prefix| shape.starts_with(prefix))
        .unwrap_or_default();
        let lower = "abcdefghijklmnopqrstuvwxyz";
        let upper = lower.to_uppercase();
        let any = format!("{lower}{upper}0123456789");
        let rest = shape[prefix.len()..].chars().map(|letter| match letter {
            'a' => self.of(lower),
            'A' => self.of(&upper),
            'x' => self.of(&any),
            'h' => self.of("0123456789abcdef"),
            '9' => self.of("0123456789"),
            other => other,
        });
        let rest: String = rest.collect();
        format!("{prefix}{rest}")
    }

    /// Fills `{hex:N}`, `{b64:N}` and `{uuid}`.
    fn filled(&mut self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            let end = rest.find('}').map_or(1, |end| end + 1);
            let (kind, length) = rest[1..end.max(2) - 1]
                .split_once(':')
                .unwrap_or((&rest[1..end.max(2) - 1], "0"));
            let shape = match kind {
                "hex" => "h".repeat(length.parse().expect("a length")),
                "b64" => "x".repeat(length.parse().expect("a length")),
                "uuid" => "hhhhhhhh-hhhh-4hhh-8hhh-hhhhhhhhhhhh".to_owned(),
                _ => {
                    filled.push('{');
                    rest = &rest[1..];
                    continue;
                }
            };
            filled.push_str(&self.shaped(&shape));
            rest = &rest[end..];
        }
        filled + rest
    }
}

#[test]
fn every_shape_is_found_in_every_format() {
    let mut random = Random(7);
    let (mut all, mut missed) = (0, Vec::new());
    for (path, format) in FORMATS {
        for shape in SHAPES {
            let value = random.shaped(shape);
            let text = format.replacen("{}", &value, 1);
            // The format has braces of its own.
            let text = if text.contains(&value) {
                text
            } else {
                continue;
            };
            let start = text.find(&value).expect("it is in there");
            let found = Detector::builtin().scan(Path::new(path), text.as_bytes());
            all += 1;
            let covered = found.iter().any(|finding| {
                finding.confidence > Confidence::Low
                    && finding.span.start <= start
                    && finding.span.end >= start + value.len()
            });
            if !covered {
                missed.push(format!("{path}: {shape}"));
            }
        }
    }
    assert!(all > 400, "{all}");
    // A bare hash or word in prose may be anything.
    let share = missed.len() as f64 / f64::from(all);
    assert!(
        share <= 0.01,
        "{} of {all} missed: {missed:#?}",
        missed.len()
    );
}

#[test]
fn what_is_no_credential_is_left_alone() {
    let mut random = Random(11);
    let mut wrong = Vec::new();
    for (path, text) in HARMLESS {
        for _ in 0..20 {
            let text = random.filled(text);
            let found = Detector::builtin().scan(Path::new(path), text.as_bytes());
            // Doubt counts in files for credentials alone.
            for finding in found
                .iter()
                .filter(|finding| finding.confidence > Confidence::Low)
            {
                wrong.push(format!("{path}: {} in {text}", finding.kind));
            }
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
}
