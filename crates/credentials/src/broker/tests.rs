//! Attacks on the broker, by invariant: a credential leaves only in its own slot of its own host, and
//! nothing else leaves in a slot.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use proptest::prelude::*;
use tagout_core::{CanonicalPath, CanonicalQuery, Fault, HostPattern, HttpBody, Method, Target};
use tagout_secrets::Encoding;

use super::*;
use crate::value::Secret;

const RAILWAY: &str = "backboard.railway.com";
const PLAIN: &str = "api.example.com";
const OTHER: &str = "other.example.org";

const RAILWAY_SECRET: &str = "6f1f0c3a-8d52-4c1e-9b7a-2f4e6d8c0a13";
const RAILWAY_DECOY: &str = "0a9b8c7d-1111-4222-8333-445566778899";
const PLAIN_SECRET: &str = "sk-live-Zq8rT2mWx5Lp9Kd3";
const PLAIN_DECOY: &str = "sk-live-Ab1cD2eF3gH4iJ5k";
const FILE_SECRET: &str = "p0stgr3s-Kx7!vQ2mN";
const FILE_DECOY: &str = "a1bcdef2-Gh3!iJ4kL";
const HISTORY_SECRET: &str = "old-token-9f8e7d6c5b4a";

fn credential(name: &str, provider: &str, host: &str, (secret, decoy): (&str, &str)) -> Credential {
    Credential::bind(
        name,
        provider,
        &[HostPattern::parse(host).unwrap()],
        (provider == "http").then_some("x-api-key"),
        (Secret::new(secret.as_bytes().to_vec()), Decoy::new(decoy)),
        1,
    )
    .unwrap()
}

fn broker() -> Broker {
    let known = KnownSecrets::new([
        (
            "DATABASE_PASSWORD in .env".to_owned(),
            FILE_SECRET.as_bytes().to_vec(),
            false,
        ),
        (
            "ci.sh in git history".to_owned(),
            HISTORY_SECRET.as_bytes().to_vec(),
            false,
        ),
        ("a guessable one".to_owned(), b"hunter2".to_vec(), true),
    ]);
    Broker::new(
        vec![
            credential(
                "railway",
                "railway",
                RAILWAY,
                (RAILWAY_SECRET, RAILWAY_DECOY),
            ),
            credential("example", "http", PLAIN, (PLAIN_SECRET, PLAIN_DECOY)),
        ],
        known,
        [(Decoy::new(FILE_DECOY), ".env".to_owned())],
    )
    .with_decoy_key(DecoyKey::derive(b"install", b"workspace"))
}

/// Of the tests that do not teach it anything.
static BROKER: LazyLock<Broker> = LazyLock::new(broker);

struct Sent(HttpRequest);

fn to(host: &str) -> Sent {
    Sent(HttpRequest {
        target: Target {
            transport: Transport::Tls,
            host: HostName::parse(host).unwrap(),
            port: 443,
        },
        method: Method::parse("POST").unwrap(),
        path: CanonicalPath::parse("/v1").unwrap(),
        query: CanonicalQuery::parse("").unwrap(),
        headers: Vec::new(),
        body: HttpBody::Empty,
    })
}

impl Sent {
    fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.headers.push((name.to_owned(), value.into()));
        self
    }

    fn query(mut self, query: &str) -> Self {
        self.0.query = CanonicalQuery::parse(query).unwrap();
        self
    }

    fn path(mut self, path: &str) -> Self {
        self.0.path = CanonicalPath::parse(path).unwrap();
        self
    }

    fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.0.body = HttpBody::Whole(body.as_ref().to_vec());
        self
    }

    fn json(self, body: &str) -> Self {
        self.header("content-type", "application/json").body(body)
    }

    fn plain(mut self) -> Self {
        self.0.target.transport = Transport::Plain;
        self
    }

    fn examined(&self) -> Examination {
        BROKER.examine(&self.0, false)
    }

    fn kinds(&self) -> Vec<FaultKind> {
        let mut kinds: Vec<_> = self
            .examined()
            .faults
            .iter()
            .map(|fault| fault.kind)
            .collect();
        kinds.sort_by_key(|kind| kind.as_str());
        kinds.dedup();
        kinds
    }

    #[track_caller]
    fn is_refused_as(&self, kind: FaultKind) {
        assert!(self.kinds().contains(&kind), "{:?}", self.examined());
        assert_eq!(self.examined().uses, []);
    }

    #[track_caller]
    fn passes(&self) -> Examination {
        let examination = self.examined();
        assert_eq!(examination.faults, Vec::<Fault>::new());
        examination
    }

    /// The parts as they would be sent.
    #[track_caller]
    fn attached(&self) -> Outgoing {
        let uses = self.passes().uses;
        assert!(!uses.is_empty());
        let mut parts = Outgoing::new(&self.0.headers, &self.0.query);
        BROKER.attach(&mut parts, &uses).unwrap();
        parts
    }
}

fn header_of<'p>(parts: &'p Outgoing, name: &str) -> &'p str {
    let (_, value) = parts
        .headers
        .iter()
        .find(|(field, _)| field == name)
        .unwrap();
    std::str::from_utf8(value).unwrap()
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[test]
fn invariant_4_a_decoy_in_its_slot_becomes_its_value() {
    for (scheme, field) in [
        ("Bearer", "authorization"),
        ("bearer", "authorization"),
        ("BEARER", "authorization"),
    ] {
        let sent = to(RAILWAY).header(field, format!("{scheme} {RAILWAY_DECOY}"));
        let used = &sent.passes().uses[0];
        assert_eq!(
            (used.name.as_str(), used.slot.as_str()),
            ("railway", "header authorization")
        );
        assert_eq!(
            header_of(&sent.attached(), field),
            format!("{scheme} {RAILWAY_SECRET}")
        );
    }
    let project = to(RAILWAY).header("project-access-token", RAILWAY_DECOY);
    assert_eq!(
        header_of(&project.attached(), "project-access-token"),
        RAILWAY_SECRET
    );
    let plain = to(PLAIN)
        .header("x-api-key", PLAIN_DECOY)
        .header("accept", "*/*");
    assert_eq!(header_of(&plain.attached(), "x-api-key"), PLAIN_SECRET);
    let folded = to(PLAIN).header("x_api_key", PLAIN_DECOY);
    assert_eq!(header_of(&folded.attached(), "x_api_key"), PLAIN_SECRET);
}

#[test]
fn invariant_4_a_decoy_on_another_host_or_in_another_slot_is_refused() {
    for sent in [
        to(OTHER).header("authorization", format!("Bearer {RAILWAY_DECOY}")),
        to(OTHER).header("x-api-key", PLAIN_DECOY),
        to(PLAIN).header("authorization", format!("Bearer {PLAIN_DECOY}")),
        to(PLAIN).header("x-api-key", RAILWAY_DECOY),
        to(RAILWAY).header("x-api-key", RAILWAY_DECOY),
        to(RAILWAY).header("authorization", RAILWAY_DECOY),
        to(RAILWAY).header("authorization", format!("Token {RAILWAY_DECOY}")),
        to(RAILWAY).header("authorization", basic(RAILWAY_DECOY, "")),
        to(RAILWAY).header("authorization", basic("git", RAILWAY_DECOY)),
        to(RAILWAY).query(&format!("access_token={RAILWAY_DECOY}")),
        to(PLAIN).header("cookie", format!("a=1; session={PLAIN_DECOY}")),
        to(PLAIN).header(
            "referer",
            format!("https://u:{PLAIN_DECOY}@api.example.com/"),
        ),
        to(PLAIN).json(&format!(r#"{{"password":"{PLAIN_DECOY}"}}"#)),
        to(PLAIN).body(format!("a=1&access_token={PLAIN_DECOY}")),
        to(PLAIN).header("x-api-key", PLAIN_DECOY).plain(),
        to(PLAIN).header("authorization", basic("postgres", FILE_DECOY)),
        to(PLAIN).header("x-api-key", FILE_DECOY),
    ] {
        sent.is_refused_as(FaultKind::StrayDecoy);
    }
}

#[test]
fn invariant_4_a_foreign_credential_is_refused_in_every_slot() {
    let token = "4b2d9c7e-5a1f-4e3b-8c6d-0f9e8d7c6b5a";
    for sent in [
        to(RAILWAY).header("authorization", format!("Bearer {token}")),
        to(RAILWAY).header("project-access-token", token),
        to(PLAIN).header("authorization", format!("Bearer {token}")),
        to(PLAIN).header("Authorization", format!("bearer\t{token}")),
        to(PLAIN).header("authorization", token),
        to(PLAIN).header("authorization", format!("Custom-Scheme {token}")),
        to(PLAIN).header("authorization", format!("Digest username=\"x\", response=\"{token}\"")),
        to(PLAIN).header("authorization", format!("AWS4-HMAC-SHA256 Credential=AKIA/x, Signature={token}")),
        to(PLAIN).header("authorization", basic("user", token)),
        to(PLAIN).header("authorization", basic(token, "")),
        to(PLAIN).header("authorization", basic(token, "x-oauth-basic")),
        to(PLAIN).header("authorization", format!("Basic {}", STANDARD_NO_PAD.encode(format!("u:{token}")))),
        to(PLAIN).header("proxy-authorization", format!("Bearer {token}")),
        to(PLAIN).header("x_api_key", token),
        to(PLAIN).header("x-auth-token", "ab"),
        to(PLAIN).header("cookie", format!("lang=en; session={token}")),
        to(PLAIN).query(&format!("api_key={token}")),
        to(PLAIN).query(&format!("a=1;api_key={token}")),
        to(PLAIN).query(&format!("API%5Fkey={token}")),
        to(PLAIN).query(&format!("user%5Bpassword%5D={token}")),
        to(PLAIN).query("X-Amz-Signature=abcdef&X-Amz-Credential=AKIA"),
        to(PLAIN).query(&format!("url=https://u:{token}@{OTHER}/")),
        to(PLAIN).header("referer", format!("https://{token}@api.example.com/")),
        to(PLAIN).json(&format!(r#"{{"a":[{{"clientSecret":"{token}"}}]}}"#)),
        to(PLAIN).json(&format!(r#"{{"password":["{token}"]}}"#)),
        to(PLAIN).json(r#"{"password":12345678}"#),
        to(PLAIN).body(format!("{{\"password\":\"{token}\"}}")),
        to(PLAIN).body(format!("{{\"a\":1}}\n{{\"password\":\"{token}\"}}\n")),
        to(PLAIN).json(&format!(r#"{{"password":"x","password":"{token}"}}"#)),
        to(PLAIN).body(format!("grant_type=x&client_secret={token}")),
        to(PLAIN).body(format!("grant_type=x&client%5fsecret={token}")),
        to(PLAIN).header("content-type", "multipart/form-data; boundary=b").body(format!(
            "--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\n{token}\r\n--b--\r\n"
        )),
        to(PLAIN).body(format!("\u{feff}{{\"password\":\"{token}\"}}")),
        to(PLAIN).body(wide(&format!("{{\"password\":\"{token}\"}}"))),
        to(PLAIN).body(format!("{{\"a\":1}}&password={token}")),
        to(PLAIN).body(format!("{{\"a\":\"&password={token}&\"}}")),
        to(PLAIN).json(&format!("{{password: '{token}'}}")),
        to(PLAIN).json(&format!("{{\"pass\\u0077ord\":\"{token}\"}}")),
        to(PLAIN).json(&format!("{{\"pass\\u0077ord\":\"{token}\",}}")),
        to(PLAIN).body(format!("<?xml version=\"1.0\"?><a:login><x:password>{token}</x:password></a:login>")),
        to(PLAIN).body(format!("<login user=\"me\" password=\"{token}\"/>")),
        // A batch of requests, in each of its usual forms.
        to(PLAIN).json(&format!(r#"{{"authorization":"Bearer {token}"}}"#)),
        to(PLAIN).json(&format!(r#"{{"token":"{token}"}}"#)),
        to(PLAIN).json(&format!(r#"{{"requests":[{{"method":"GET","url":"/me","headers":{{"X-Acme-Token":"{token}"}}}}]}}"#)),
        to(PLAIN).json(&format!(r#"{{"headers":[{{"name":"X-Acme-Token","value":"{token}"}}]}}"#)),
        to(PLAIN).json(&format!(r#"{{"headers":["X-Acme-Token: {token}"]}}"#)),
        to(PLAIN).header("content-type", "multipart/mixed; boundary=b").body(format!(
            "--b\r\nContent-Type: application/http\r\n\r\nDELETE /v1/x HTTP/1.1\r\nX-Acme: {token}\r\n\r\n--b--\r\n"
        )),
        to(PLAIN).body("GET https://api.example.com/x HTTP/1.0\n\n"),
        // Names that only some servers read.
        to(PLAIN).header("content-type", "multipart/form-data; boundary=b").body(format!(
            "--b\r\nContent-Disposition: form-data; name*=utf-8''api%5fkey\r\n\r\n{token}\r\n--b--\r\n"
        )),
        to(PLAIN).header("content-type", "multipart/form-data; boundary=b").body(format!(
            "--b\r\nContent-Disposition: form-data;\r\n name*0 = api;name*1=_key\r\n\r\n{token}\r\n--b--\r\n"
        )),
        to(PLAIN).header("content-type", "application/json; charset=utf-7").body("+AHsAIgBhAHAAaQBf"),
        to(PLAIN).header("content-type", "application/x-www-form-urlencoded;charset=\"IBM500\"").body("x"),
        to(PLAIN).header("content-type", "application/yaml").body(format!("a: 1\napi_key: {token}\n")),
        to(PLAIN).header("content-type", "application/msgpack").body(format!("\u{81}\u{a7}api_key\u{d9}$*{token}")),
        to(PLAIN).header("content-type", "application/cbor").body(format!("\u{a1}gapi_keyx${token}")),
    ] {
        sent.is_refused_as(FaultKind::ForeignCredential);
    }
}

#[test]
fn bodies_of_everyday_requests_carry_nothing() {
    for sent in [
        to(PLAIN).header("content-type", "application/json; charset=UTF-8").body(r#"{"a":"name*=x","headers":{"accept":"x"}}"#),
        to(PLAIN).header("content-type", "text/plain; charset=iso-8859-1; format=flowed").body("GET me HTTP tomorrow"),
        to(PLAIN).header("content-type", "multipart/form-data; boundary=b").body(
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename*=utf-8''a.css\r\n\r\n[name*=\"x\"] {}\r\n--b--\r\n",
        ),
        to(PLAIN).header("content-type", "application/yaml").body("kind: Pod\nmetadata:\n  name: a\n"),
        to(PLAIN).header("content-type", "application/cbor").body("\u{a1}dname"),
        to(PLAIN).json(r#"{"operation":{"method":"PUT","url":"/a"},"headers":["Content-Type: a"],"tokens":5}"#),
    ] {
        assert_eq!(sent.kinds(), [], "{:?}", sent.examined());
    }
}

#[test]
fn invariant_4_a_decoy_that_is_split_doubled_or_joined_is_refused() {
    let (front, back) = RAILWAY_DECOY.split_at(18);
    for value in [
        format!("Bearer {front} {back}"),
        format!("Bearer {front}\t{back}"),
        format!("Bearer {RAILWAY_DECOY}, Bearer 4b2d9c7e-5a1f-4e3b-8c6d-0f9e8d7c6b5a"),
        format!("Bearer {RAILWAY_DECOY},{RAILWAY_DECOY}"),
        format!("Bearer {}", RAILWAY_DECOY.to_uppercase()),
        format!("Bearer x{RAILWAY_DECOY}"),
        format!("Bearer {RAILWAY_DECOY}x"),
        format!("Bearer Bearer {RAILWAY_DECOY}"),
        format!("Bearer \"{RAILWAY_DECOY}\""),
        format!("Bearer {}", STANDARD.encode(RAILWAY_DECOY)),
    ] {
        to(RAILWAY)
            .header("authorization", value)
            .is_refused_as(FaultKind::ForeignCredential);
    }
    let twice = |second: &str| {
        to(RAILWAY)
            .header("authorization", format!("Bearer {RAILWAY_DECOY}"))
            .header("authorization", second)
    };
    for second in [
        "Bearer foreign-credential",
        &format!("Bearer {RAILWAY_DECOY}"),
        "",
    ] {
        assert!(
            twice(second)
                .kinds()
                .contains(&FaultKind::ForeignCredential),
            "{second}"
        );
    }
    let other_spelling = to(PLAIN)
        .header("x-api-key", PLAIN_DECOY)
        .header("x_api_key", PLAIN_DECOY);
    assert!(
        other_spelling
            .kinds()
            .contains(&FaultKind::ForeignCredential)
    );
    // A second credential beside a granted one.
    let beside = to(RAILWAY)
        .header("authorization", format!("Bearer {RAILWAY_DECOY}"))
        .header(
            "project-access-token",
            "4b2d9c7e-5a1f-4e3b-8c6d-0f9e8d7c6b5a",
        );
    assert!(beside.kinds().contains(&FaultKind::ForeignCredential));
}

#[test]
fn invariant_4_both_parts_of_basic_are_examined() {
    let bound = |user: &str, password: &str| {
        let slots = vec![SlotPlace::Header {
            name: "authorization".to_owned(),
            scheme: None,
        }];
        let mut own = credential("git", "http", PLAIN, (PLAIN_SECRET, PLAIN_DECOY));
        own.slots = slots;
        let broker = Broker::new(vec![own], KnownSecrets::new([]), []);
        let request = to(PLAIN).header("authorization", basic(user, password)).0;
        let examination = broker.examine(&request, false);
        let mut parts = Outgoing::new(&request.headers, &request.query);
        let attached = broker.attach(&mut parts, &examination.uses).map(|()| {
            let encoded = header_of(&parts, "authorization")
                .strip_prefix("Basic ")
                .unwrap();
            String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap()
        });
        (examination.faults.is_empty(), attached.ok())
    };
    for (user, password, sent) in [
        ("git", PLAIN_DECOY, format!("git:{PLAIN_SECRET}")),
        (
            "me@example.com",
            PLAIN_DECOY,
            format!("me@example.com:{PLAIN_SECRET}"),
        ),
        (PLAIN_DECOY, "", format!("{PLAIN_SECRET}:")),
        (
            PLAIN_DECOY,
            "x-oauth-basic",
            format!("{PLAIN_SECRET}:x-oauth-basic"),
        ),
    ] {
        assert_eq!(
            bound(user, password),
            (true, Some(sent)),
            "{user}:{password}"
        );
    }
    assert!(
        !bound("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", PLAIN_DECOY).0,
        "a second credential as user"
    );
    assert!(
        !bound(PLAIN_DECOY, "another-password").0,
        "a second credential as password"
    );
}

#[test]
fn invariant_4_what_a_host_handed_out_goes_back_to_it_alone() {
    let broker = broker();
    let host = |name: &str| HostName::parse(name).unwrap();
    broker.remember_handed_out(&host(PLAIN), b"handed-out-session");
    broker.remember_handed_out(&host(RAILWAY), b"handed-out-session");
    broker.remember_handed_out(&host(PLAIN), FILE_SECRET.as_bytes());
    broker.remember_handed_out(&host(PLAIN), FILE_DECOY.as_bytes());
    let examine = |sent: Sent| {
        broker
            .examine(&sent.0, false)
            .faults
            .iter()
            .map(|f| f.kind)
            .collect::<Vec<_>>()
    };
    let none: Vec<FaultKind> = Vec::new();
    assert_eq!(
        examine(to(PLAIN).header("cookie", "s=handed-out-session")),
        none
    );
    assert_eq!(
        examine(to(PLAIN).header("authorization", "Bearer handed-out-session")),
        none
    );
    broker.remember_handed_out(&host(PLAIN), b"\"quoted-one\"");
    assert_eq!(
        examine(to(PLAIN).header("cookie", "q=\"quoted-one\"")),
        none
    );
    for sent in [
        to(OTHER).header("cookie", "s=handed-out-session"),
        to(RAILWAY).header("cookie", "s=handed-out-session"),
        to(PLAIN).header("cookie", "s=handed-out-session2"),
        to(PLAIN).header("cookie", "s=handed-out-session; t=foreign"),
    ] {
        assert_eq!(examine(sent), [FaultKind::ForeignCredential]);
    }
    assert!(examine(to(PLAIN).header("x-api-key", FILE_SECRET)).contains(&FaultKind::KnownSecret));
    assert!(examine(to(PLAIN).header("x-api-key", FILE_DECOY)).contains(&FaultKind::StrayDecoy));
}

#[test]
fn invariant_4_known_secrets_leave_nowhere_in_no_encoding() {
    for secret in [RAILWAY_SECRET, PLAIN_SECRET, FILE_SECRET, HISTORY_SECRET] {
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let escaped: String = secret
            .bytes()
            .map(|byte| format!("\\u{byte:04x}"))
            .collect();
        for (spelling, encoding) in [
            (secret.to_owned(), Encoding::Raw),
            (STANDARD.encode(secret), Encoding::Base64),
            (STANDARD.encode(format!("x{secret}")), Encoding::Base64),
            (STANDARD.encode(format!("xy{secret}yx")), Encoding::Base64),
            (hex.clone(), Encoding::Hex),
            (hex.to_uppercase(), Encoding::Hex),
            (percent, Encoding::Percent),
            (escaped, Encoding::Json),
        ] {
            let sent = [
                to(OTHER).header("x-note", spelling.clone()),
                to(OTHER).header("user-agent", format!("a/{spelling}")),
                to(OTHER).json(&format!(r#"{{"note":"{spelling}"}}"#)),
                to(OTHER).body(format!("data: {spelling}\n")),
                to(RAILWAY).body(spelling.clone()),
            ];
            for sent in sent {
                assert!(
                    sent.kinds().contains(&FaultKind::KnownSecret),
                    "{encoding}: {:?}",
                    sent.0
                );
            }
            let path: String = spelling
                .bytes()
                .map(|byte| format!("%{byte:02x}"))
                .collect();
            // The path's own grammar refuses a backslash.
            if !spelling.contains('\\') {
                to(OTHER)
                    .path(&format!("/{path}"))
                    .is_refused_as(FaultKind::KnownSecret);
            }
            to(OTHER)
                .query(&format!("q={path}"))
                .is_refused_as(FaultKind::KnownSecret);
        }
    }
    // In a slot too, of the very host that it belongs to; guessable ones there alone.
    to(RAILWAY)
        .header("authorization", format!("Bearer {RAILWAY_SECRET}"))
        .is_refused_as(FaultKind::KnownSecret);
    to(OTHER)
        .header("x-api-key", "hunter2")
        .is_refused_as(FaultKind::KnownSecret);
    to(OTHER).header("x-note", "hunter2").passes();
}

#[test]
fn decoys_outside_slots_pass_and_are_noted() {
    for sent in [
        to(OTHER).json(&format!(r#"{{"prompt":"the key is {RAILWAY_DECOY}"}}"#)),
        to(OTHER).header("x-note", FILE_DECOY),
        to(OTHER).path(&format!("/{RAILWAY_DECOY}")),
        to(OTHER).query(&format!("q={RAILWAY_DECOY}")),
    ] {
        let examination = sent.passes();
        assert_eq!(examination.notes.len(), 1, "{:?}", examination.notes);
        assert_eq!(examination.uses, []);
    }
    let used = to(RAILWAY)
        .header("authorization", format!("Bearer {RAILWAY_DECOY}"))
        .passes();
    assert_eq!(used.notes, Vec::<String>::new());
}

#[test]
fn empty_slots_and_ordinary_requests_pass() {
    for sent in [
        to(OTHER),
        to(OTHER).header("authorization", "").header("cookie", ""),
        to(OTHER)
            .header("authorization", "Bearer")
            .header("x-api-key", " "),
        to(OTHER)
            .query("token=&page=2&q=a+b")
            .json(r#"{"password":null,"password2":"x","max_tokens":4096,"ok":true}"#),
        to(OTHER)
            .header("referer", "https://example.org/a?b=c@d")
            .header("accept", "*/*"),
        to(OTHER).body("just = a text with = signs"),
        to(OTHER).body([0xff, 0xfe, 0, 1]),
        to(OTHER).json("not json"),
    ] {
        let examination = sent.passes();
        assert_eq!((examination.uses.len(), examination.notes.len()), (0, 0));
    }
}

#[test]
fn bodies_to_model_hosts_have_no_slots_and_are_masked() {
    let broker = broker();
    let prompt = format!(
        r#"{{"messages":[{{"password":"whatever","text":"{FILE_SECRET} and {PLAIN_SECRET}"}}]}}"#
    );
    let masked = broker.mask_for_model_host(prompt.as_bytes()).unwrap();
    let masked_text = String::from_utf8(masked.clone()).unwrap();
    assert!(masked_text.contains(PLAIN_DECOY));
    assert!(!masked_text.contains(FILE_SECRET) && !masked_text.contains(PLAIN_SECRET));
    assert_eq!(masked.len(), prompt.len());
    let request = to(OTHER).body(&masked).0;
    assert_eq!(broker.examine(&request, true).faults, Vec::<Fault>::new());
    assert!(
        !broker.examine(&request, false).faults.is_empty(),
        "a slot elsewhere"
    );
    assert_eq!(broker.mask_for_model_host(b"nothing here"), None);
    // Spelled so that it cannot be replaced: found by the examination.
    let odd = FILE_SECRET.replace('7', "\\u0037");
    let request = to(OTHER)
        .body(
            broker
                .mask_for_model_host(odd.as_bytes())
                .unwrap_or(odd.into_bytes()),
        )
        .0;
    assert_eq!(
        broker.examine(&request, true).faults[0].kind,
        FaultKind::KnownSecret
    );
}

#[test]
fn invariant_3_attaching_touches_the_named_slot_only() {
    let sent = to(RAILWAY)
        .header("authorization", format!("Bearer {RAILWAY_DECOY}"))
        .header("x-note", RAILWAY_DECOY)
        .query(&format!("q={RAILWAY_DECOY}"));
    let parts = sent.attached();
    assert_eq!(header_of(&parts, "x-note"), RAILWAY_DECOY);
    assert_eq!(parts.query.as_str(), format!("q={RAILWAY_DECOY}"));
    assert_eq!(
        header_of(&parts, "authorization"),
        format!("Bearer {RAILWAY_SECRET}")
    );
}

#[test]
fn invariant_3_a_use_that_no_longer_fits_attaches_nothing() {
    let broker = broker();
    let request = to(RAILWAY)
        .header("authorization", format!("Bearer {RAILWAY_DECOY}"))
        .0;
    let uses = broker.examine(&request, false).uses;
    let attach = |headers: &[(String, String)], change: fn(&mut CredentialUse)| {
        let mut used = uses[0].clone();
        change(&mut used);
        broker.attach(&mut Outgoing::new(headers, &request.query), &[used])
    };
    assert_eq!(attach(&request.headers, |_| ()), Ok(()));
    assert!(matches!(
        attach(&request.headers, |used| used.generation = 2),
        Err(AttachError::Changed(_))
    ));
    assert!(matches!(
        attach(&request.headers, |used| used.name = "x".into()),
        Err(AttachError::Unknown(_))
    ));
    let wrong: fn(&mut CredentialUse) = |used| used.slot = "header x-note".into();
    assert!(matches!(
        attach(&request.headers, wrong),
        Err(AttachError::NotInSlot { .. })
    ));
    assert!(matches!(
        attach(&[], |_| ()),
        Err(AttachError::NotInSlot { .. })
    ));
    let other = [("authorization".to_owned(), "Bearer other".to_owned())];
    assert!(matches!(
        attach(&other, |_| ()),
        Err(AttachError::NotInSlot { .. })
    ));
}

#[test]
fn invariant_3_answers_and_texts_lose_the_values_again() {
    let broker = broker();
    let uses = to(RAILWAY)
        .header("authorization", format!("Bearer {RAILWAY_DECOY}"))
        .passes()
        .uses;
    let answer = format!(
        r#"{{"echo":"Bearer {RAILWAY_SECRET}","b":"{}"}}"#,
        STANDARD.encode(RAILWAY_SECRET)
    );
    let mut redactor = broker.redactor(&uses);
    let mut out = Vec::new();
    for piece in answer.as_bytes().chunks(7) {
        out.extend(redactor.feed(piece));
    }
    out.extend(redactor.finish());
    let expected = format!(
        r#"{{"echo":"Bearer {RAILWAY_DECOY}","b":"{}"}}"#,
        STANDARD.encode(RAILWAY_DECOY)
    );
    assert_eq!(String::from_utf8_lossy(&out), expected);

    assert_eq!(
        broker.redact_text(&format!("failed with {RAILWAY_SECRET}: x")),
        "failed with [credential railway]: x"
    );
    assert_eq!(broker.redact_text("nothing"), "nothing");
    let odd = format!("failed with {}", FILE_SECRET.replace('7', "%37"));
    assert!(broker.redact_text(&odd).starts_with("[withheld"));
}

#[test]
fn invariant_4_what_is_learned_during_a_session_is_known_at_once() {
    let broker = broker();
    let late = "late-secret-5T4r3E2w1Q";
    let request = to(OTHER).body(format!("x {late}")).0;
    assert_eq!(broker.examine(&request, false).faults, Vec::<Fault>::new());
    broker.learn(
        [("late.env".to_owned(), late.as_bytes().to_vec(), false)],
        [(Decoy::new("late-decoys-1a2B3c4D5e"), "late.env".to_owned())],
    );
    assert_eq!(
        broker.examine(&request, false).faults[0].kind,
        FaultKind::KnownSecret
    );
    let decoy = to(OTHER).header("x-api-key", "late-decoys-1a2B3c4D5e").0;
    assert_eq!(
        broker.examine(&decoy, false).faults[0].kind,
        FaultKind::StrayDecoy
    );
    assert!(broker.stream().feed(late.as_bytes()).is_some());
    assert!(
        broker.known().find(FILE_SECRET.as_bytes()).is_some(),
        "what was known stays known"
    );
}

#[test]
fn a_decoy_that_an_earlier_session_left_in_a_file_goes_on_standing_for_its_value() {
    let left = format!("https://me:{RAILWAY_DECOY}@example.com");
    let values = [RAILWAY_DECOY, &left, FILE_SECRET];
    let known = KnownSecrets::new(
        values.map(|value| ("seen.txt".to_owned(), value.as_bytes().to_vec(), false)),
    );
    let railway = credential(
        "railway",
        "railway",
        RAILWAY,
        (RAILWAY_SECRET, RAILWAY_DECOY),
    );
    let broker = Broker::new(vec![railway], known, []);
    let examined = to(RAILWAY).header("authorization", format!("Bearer {RAILWAY_DECOY}"));
    let examination = broker.examine(&examined.0, false);
    assert_eq!(examination.faults, Vec::<Fault>::new());
    assert_eq!(examination.uses.len(), 1);
    assert!(broker.known().find(FILE_SECRET.as_bytes()).is_some());
}

#[test]
fn credentials_bind_as_the_manifest_says_or_not_at_all() {
    let bind = |provider: &str, hosts: &[HostPattern], header: Option<&str>| {
        let pair = (Secret::new(b"value".to_vec()), Decoy::new("decoy"));
        Credential::bind("c", provider, hosts, header, pair, 1)
    };
    let host = [HostPattern::parse(PLAIN).unwrap()];
    assert!(bind("http", &host, Some("X_Api-Key")).is_ok());
    for error in [
        bind("http", &host, None),
        bind("http", &[], Some("x")),
        bind("nobody", &host, None),
    ] {
        assert!(error.is_err());
    }
    // A pack's hosts are the pack's, whatever else is listed.
    let bound = bind("railway", &host, Some("x-api-key")).unwrap();
    assert!(!bound.is_bound_to(&HostName::parse(PLAIN).unwrap()));
    assert!(bound.is_bound_to(&HostName::parse(RAILWAY).unwrap()));
    // Its variable tells which of the pack's slots is its own.
    let slots = |variable| {
        bind("railway", &[], None)
            .unwrap()
            .exposed_as(variable)
            .slots
    };
    assert_eq!(slots(None).len(), 2);
    assert_eq!(slots(Some("OTHER")).len(), 2);
    let place = |name: &str, scheme: Option<&str>| SlotPlace::Header {
        name: name.to_owned(),
        scheme: scheme.map(str::to_owned),
    };
    assert_eq!(
        slots(Some("RAILWAY_TOKEN")),
        [place("project-access-token", None)]
    );
    assert_eq!(
        slots(Some("RAILWAY_API_TOKEN")),
        [place("authorization", Some("Bearer"))]
    );
}

#[test]
fn invariant_3_nothing_public_shows_a_value() {
    let broker = broker();
    let sent = to(RAILWAY).header("authorization", format!("Bearer {RAILWAY_DECOY}"));
    let examination = sent.passes();
    let mut parts = Outgoing::new(&sent.0.headers, &sent.0.query);
    broker.attach(&mut parts, &examination.uses).unwrap();
    let foreign = to(PLAIN)
        .header("x-api-key", FILE_SECRET)
        .query(&format!("token={HISTORY_SECRET}"))
        .examined();
    let mut errors = vec![
        AttachError::Unknown("x".into()).to_string(),
        AttachError::NotText("x".into()).to_string(),
    ];
    errors.push(serde_json_of(&foreign));
    let shown = format!(
        "{broker:?} {:?} {parts:?} {examination:?} {foreign:?} {errors:?} {:?} {:?} {:?}",
        broker.credentials(),
        broker.known(),
        broker.redactor(&examination.uses),
        Secret::new(RAILWAY_SECRET.as_bytes().to_vec()),
    );
    for secret in [RAILWAY_SECRET, PLAIN_SECRET, FILE_SECRET, HISTORY_SECRET] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// The faults as the ledger and the agent get them.
fn serde_json_of(examination: &Examination) -> String {
    let texts = examination
        .faults
        .iter()
        .map(|fault| format!("{} {}", fault.reason, fault.how_to_proceed));
    texts.collect()
}

proptest! {
    #[test]
    fn any_request_is_examined(
        name in "[a-z-]{1,12}|authorization|cookie|x-api-key",
        value in "\\PC{0,60}",
        body in proptest::collection::vec(any::<u8>(), 0..120),
        query in "[a-z=&;%+\\[\\]0-9]{0,60}",
    ) {
        let mut sent = to(PLAIN).header(&name, value).body(body);
        if let Ok(query) = CanonicalQuery::parse(&query) {
            sent.0.query = query;
        }
        sent.examined();
    }

    #[test]
    fn invariant_4_no_wrapping_brings_a_foreign_credential_through(
        token in "[A-Za-z0-9]{16,40}",
        scheme in "[A-Za-z]{1,10}",
        field in prop::sample::select(vec!["authorization", "x-api-key", "x_api_key", "private-token", "proxy-authorization"]),
        blanks in "[ \t]{1,3}",
    ) {
        for value in [
            token.clone(),
            format!("{scheme}{blanks}{token}"),
            format!("Bearer{blanks}{token}"),
            basic(&scheme, &token),
            format!("{RAILWAY_DECOY}{blanks}{token}"),
        ] {
            for host in [RAILWAY, PLAIN] {
                let faults = to(host).header(field, value.clone()).examined().faults;
                prop_assert!(!faults.is_empty(), "{}: {}", field, value);
            }
        }
    }

    #[test]
    fn invariant_3_a_value_stands_only_where_a_decoy_stood(
        filler in "[ -~]{0,20}",
        other in prop::sample::select(vec!["x-note", "cookie", "referer", "x-api-key", "accept"]),
    ) {
        let sent = to(RAILWAY)
            .header("authorization", format!("Bearer {RAILWAY_DECOY}"))
            .header(other, format!("{filler}{RAILWAY_DECOY}{filler}"));
        let examination = sent.examined();
        let mut parts = Outgoing::new(&sent.0.headers, &sent.0.query);
        if BROKER.attach(&mut parts, &examination.uses).is_ok() {
            let (_, beside) = &parts.headers[1];
            let leaked = beside.windows(RAILWAY_SECRET.len()).any(|w| w == RAILWAY_SECRET.as_bytes());
            prop_assert!(!leaked);
        }
    }
}

#[test]
fn invariant_3_a_renewed_value_is_attached_and_the_former_one_still_taken_out() {
    const FRESH: &str = "9e0c7d51-42ab-4f3e-b6d8-17c5a90e3b64";
    let broker = broker();
    let before = broker.changes();
    assert!(broker.renew("railway", Secret::new(FRESH.into()), Change::Refreshed));
    assert!(!broker.renew("nobody", Secret::new(FRESH.into()), Change::Refreshed));
    assert_ne!(broker.changes(), before);

    let sent = to(RAILWAY).header("authorization", format!("Bearer {RAILWAY_DECOY}"));
    let examination = broker.examine(&sent.0, false);
    assert!(examination.faults.is_empty(), "{examination:?}");
    let mut parts = Outgoing::new(&sent.0.headers, &sent.0.query);
    broker.attach(&mut parts, &examination.uses).unwrap();
    let attached = parts.headers.iter().map(|(_, value)| value.as_slice());
    let expected = format!("Bearer {FRESH}");
    assert!(
        attached
            .into_iter()
            .any(|value| value == expected.as_bytes())
    );

    let echo = format!("was {RAILWAY_SECRET}, is {FRESH}");
    let cleaned = broker.redactor(&examination.uses).redact(echo.as_bytes());
    let expected = format!("was {RAILWAY_DECOY}, is {RAILWAY_DECOY}");
    assert_eq!(String::from_utf8_lossy(&cleaned), expected);
    for value in [FRESH, RAILWAY_SECRET] {
        assert!(broker.known().find(value.as_bytes()).is_some());
        let masked = broker.mask_for_model_host(value.as_bytes());
        assert_eq!(masked.unwrap(), RAILWAY_DECOY.as_bytes());
    }
}

#[test]
fn invariant_7_another_login_voids_what_was_approved_and_a_refresh_does_not() {
    let broker = broker();
    let sent = to(RAILWAY).header("authorization", format!("Bearer {RAILWAY_DECOY}"));
    let uses = broker.examine(&sent.0, false).uses;
    let attach = || {
        let mut parts = Outgoing::new(&sent.0.headers, &sent.0.query);
        broker.attach(&mut parts, &uses)
    };
    broker.renew(
        "railway",
        Secret::new(b"one-fresh-value".to_vec()),
        Change::Refreshed,
    );
    assert_eq!(attach(), Ok(()));
    broker.renew(
        "railway",
        Secret::new(b"another-persons".to_vec()),
        Change::Replaced,
    );
    assert_eq!(attach(), Err(AttachError::Changed("railway".to_owned())));
}

const GIT_HOST: &str = "git.example.com";
const GIT_DECOY: &str = "ghp_Ab1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX2";
const GIT_SECRET: &str = "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";

/// A broker with a credential of the repository /team/app, not yet known.
fn git_broker() -> Broker {
    let host = HostName::parse(GIT_HOST).unwrap();
    let target = Target {
        transport: Transport::Tls,
        host: host.clone(),
        port: 443,
    };
    let credential = Credential {
        name: "git:git.example.com/team/app".to_owned(),
        provider: "http".to_owned(),
        hosts: vec![HostPattern::Exact(host)],
        slots: vec![SlotPlace::Header {
            name: "authorization".to_owned(),
            scheme: Some("Basic".to_owned()),
        }],
        // What is no text is never attached.
        secret: Secret::new(vec![0xff; 33]),
        decoy: Decoy::new(GIT_DECOY),
        generation: 1,
        repository: Some(Repository::new(target, "/team/app")),
    };
    Broker::new(vec![credential], KnownSecrets::new([]), [])
}

#[test]
fn invariant_4_a_repositorys_credential_goes_to_its_repository_alone() {
    let broker = git_broker();
    let carries = || to(GIT_HOST).header("authorization", basic("tagout", GIT_DECOY));
    for path in [
        "/team/app/git-upload-pack",
        "/team/app.git/git-receive-pack",
    ] {
        let examined = broker.examine(&carries().path(path).0, false);
        assert_eq!(examined.faults, [], "{path}");
        assert_eq!(examined.uses.len(), 1, "{path}");
    }
    for path in [
        "/api/v3/user",
        "/team/app",
        "/team/app/settings",
        "/team/app.git/info/lfs/objects/batch",
        "/team/other.git/git-upload-pack",
        "/team/app.git/..%2F..%2Fapi/git-upload-pack",
        "/team/app.git%2fgit-upload-pack",
        "/api/team/app.git/git-upload-pack",
    ] {
        let examined = broker.examine(&carries().path(path).0, false);
        let kinds: Vec<_> = examined.faults.iter().map(|fault| fault.kind).collect();
        assert_eq!(kinds, [FaultKind::StrayDecoy], "{path}");
        assert!(examined.uses.is_empty(), "{path}");
    }
    let path = "/team/app.git/git-upload-pack";
    let mut elsewhere = carries().path(path);
    elsewhere.0.target.port = 8443;
    let bearer = to(GIT_HOST)
        .path(path)
        .header("authorization", format!("Bearer {GIT_DECOY}"));
    for sent in [elsewhere, bearer, carries().path(path).plain()] {
        let examined = broker.examine(&sent.0, false);
        assert_eq!(examined.faults[0].kind, FaultKind::StrayDecoy);
        assert!(examined.uses.is_empty());
    }
}

#[test]
fn invariant_3_what_a_helper_said_replaces_the_whole_pair() {
    let broker = git_broker();
    let sent = to(GIT_HOST)
        .path("/team/app/git-upload-pack")
        .header("authorization", basic("tagout", GIT_DECOY));
    let uses = broker.examine(&sent.0, false).uses;
    let mut parts = Outgoing::new(&sent.0.headers, &sent.0.query);
    assert_eq!(
        broker.attach(&mut parts, &uses),
        Err(AttachError::NotText(
            "git:git.example.com/team/app".to_owned()
        )),
        "before anybody asked"
    );
    let name = &uses[0].name;
    let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
    for (user, password) in [("ann", GIT_SECRET), (GIT_SECRET, "x-oauth-basic")] {
        assert!(broker.renew_pair(name, secret(user), secret(password)));
        let mut parts = Outgoing::new(&sent.0.headers, &sent.0.query);
        broker.attach(&mut parts, &uses).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&parts.headers[0].1),
            basic(user, password)
        );
        let redactor = broker.redactor(&uses);
        let echoed = redactor.redact(basic(user, password).as_bytes());
        assert!(!String::from_utf8_lossy(&echoed).contains(&STANDARD.encode(GIT_SECRET)[4..30]));
        assert!(broker.known().find(GIT_SECRET.as_bytes()).is_some());
    }
    assert!(!broker.renew_pair("git:elsewhere", secret("a"), secret("b")));
}
