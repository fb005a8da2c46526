//! Files that people write and agents may have touched: the manifest, the operator's configuration,
//! a policy. Whatever stands in them, they are read whole or refused with the line of each mistake.

use tagout_policy::{Config, FileErrors, Manifest, Policy};

const SEEDS: &[&[u8]] = &[
    br#"[task]
name = "fix"
environment = "staging"

[[environment]]
name = "production"
protected = true
resources = ["railway:environment/e-prd", "host:*.prod.example.com"]

[[environment]]
name = "staging"

[[credential]]
name = "api"
provider = "http"
hosts = ["api.example.com"]
slot = "header:x-api-key"
source = "env:API_KEY"
expose = "API_KEY"
operations = ["read"]

[[host]]
name = "*.example.com"
ports = [443]
methods = ["GET"]
paths = ["/v1/**"]
"#,
    b"[network]\nca_files = [\"/etc/ca.pem\"]\n[address]\n\"api.example.com:443\" = \"127.0.0.1:8443\"\n",
    br#"@id("mine") forbid(principal, action, resource) when { context.effect == "write" };"#,
];

const DICTIONARY: &[&[u8]] = &[
    b"[task]\n",
    b"[[host]]\n",
    b"[[credential]]\n",
    b"name = ",
    b"\"\"\"",
    b"inspect = false\n",
    b"protected = true\n",
    b"disposable = true\n",
    b"**",
    b"{",
    b"\\u0000",
    b"env:",
    b"local = 5432\n",
    b"permit(principal, action, resource);",
    b"@ask(\"one\")",
    b" unless { context.approval.valid }",
];

/// Every mistake names a line that the file has.
fn assert_lines(errors: &FileErrors, text: &str) {
    let lines = text.split('\n').count();
    let shown = errors.to_string();
    assert!(!shown.is_empty());
    for error in errors.errors() {
        assert!(
            error.line >= 1 && error.line <= lines,
            "{error:?} of {lines} lines"
        );
    }
}

#[test]
fn files_are_read_whole_or_refused_by_line() {
    bolero::check!().with_type::<Vec<u8>>().for_each(|choices| {
        let bytes = tagout_fuzz::mutated(SEEDS, DICTIONARY, choices);
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return;
        };
        if let Err(errors) = Manifest::parse(text, "tagout.toml") {
            assert_lines(&errors, text);
        }
        if let Err(errors) = Config::parse(text, "config.toml") {
            assert_lines(&errors, text);
        }
        if let Err(errors) = Policy::load(Some(text)) {
            assert!(!errors.to_string().is_empty());
        }
    });
}
