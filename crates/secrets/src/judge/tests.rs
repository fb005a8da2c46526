//! Names, values and what the judge makes of them.

use super::*;

#[test]
fn names_are_read_in_any_style() {
    for (name, weight) in [
        ("DB_PASSWORD", Name::Password),
        ("dbPassword", Name::Password),
        ("mysqlpassword", Name::Password),
        ("ADMIN_PASS", Name::Password),
        ("RAILWAY_API_TOKEN", Name::Secret),
        ("apiKey", Name::Secret),
        ("x-api-key", Name::Secret),
        ("AWS_SECRET_ACCESS_KEY", Name::Secret),
        ("clientSecret2", Name::Secret),
        ("Authorization", Name::Secret),
        ("authToken", Name::Secret),
        ("SENTRY_DSN", Name::Weak),
        ("SOME_KEY", Name::Weak),
        ("token_type", Name::Other),
        ("passwordFile", Name::Other),
        ("max_tokens", Name::Other),
        ("publicKey", Name::Other),
        ("primary_key", Name::Other),
        ("monkey", Name::Other),
        ("author", Name::Other),
        ("compass", Name::Other),
        ("", Name::Other),
    ] {
        assert_eq!(Name::of(name.as_bytes()), weight, "{name}");
    }
}

#[test]
fn machines_make_random_values_and_people_make_words() {
    for value in [
        "3f8a1c52-9d4e-4b6a-8c21-7e5f90ab12cd",
        "wJalrXUtnFEMIK7MDENGbPxRfiCYzEXKEYAbCdEf",
        "9f86d081884c7d659a2feaa0c55ad015",
        "qzxkvjwpmfhbtgcdlrsnykqz",
        "Xk9$mQ2vLp7Z",
    ] {
        assert!(looks_random(value.as_bytes()), "{value}");
    }
    for value in [
        "production-database",
        "getUserAuthenticationToken",
        "correct-horse-battery-staple",
        "postgres",
        "aaaaaaaaaaaaaaaaaaaa",
        "application/json",
        "us-east-1",
        "internationalization",
        "password123",
    ] {
        assert!(!looks_random(value.as_bytes()), "{value}");
    }
    assert!(is_guessable(b"hunter2"));
    assert!(is_guessable(b"password123"));
    assert!(!is_guessable(b"Xk9$mQ2vLp7Z"));
}

#[test]
fn placeholders_references_and_public_halves_are_benign() {
    for value in [
        "changeme",
        "<your-token>",
        "your-api-key-here",
        "${DB_PASSWORD}",
        "$TOKEN",
        "{{ .Values.token }}",
        "op://vault/item/field",
        "ENC[AES256_GCM,data:abc]",
        "xxxxxxxxxxxx",
        "********",
        "%TOKEN%",
        "sk-xxxxxxxxxxxxxxxx",
        "AKIAIOSFODNN7EXAMPLE",
        "process.env.TOKEN",
        "ssh-rsa AAAAB3NzaC1yc2E",
        "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
        "sha512-abc",
        "true",
        "pk_live_abc",
    ] {
        assert_eq!(
            judge(value.as_bytes(), Name::Secret, Setting::Store, true),
            None,
            "{value}"
        );
    }
}

#[test]
fn a_word_under_password_is_a_secret_where_values_are_literals() {
    assert!(judge(b"hunter", Name::Password, Setting::Store, false).is_some());
    assert!(judge(b"sunshine", Name::Password, Setting::Config, false).is_some());
    assert!(judge(b"sunshine", Name::Password, Setting::Code, true).is_none());
    assert!(judge(b"user.password", Name::Password, Setting::Code, false).is_none());
    assert!(
        judge(b"true-secret-99x", Name::Secret, Setting::Store, false).is_some(),
        "begins with true"
    );
    assert!(
        judge(b"x9-not-null", Name::Password, Setting::Store, false).is_some(),
        "ends in null"
    );
}
