//! Judges a value that stands under a name: is it a credential, or a placeholder, a reference, a
//! public half, a hash, a word of prose? The name, the kind of file and the value's own look decide
//! together; where a file is made for credentials, doubt makes a finding.

use std::sync::LazyLock;

use crate::decoy::is_uuid;
use crate::finding::Confidence;

/// What a name says about the value under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// Nothing.
    Other,
    /// Could be anything: `key`, `auth`, `salt`.
    Weak,
    /// A token, key or secret: usually made by a machine.
    Secret,
    /// A password: usually made by a person, so nothing about its look is required.
    Password,
}

/// What surrounds a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    /// A program or prose: most values beside such names are expressions.
    Code,
    /// Configuration or a template of it: values are literals.
    Config,
    /// `.env`, or a credential store.
    Store,
}

/// Words that are secret by themselves when a name ends in them or has them.
#[rustfmt::skip]
const PASSWORD_WORDS: &[&str] = &[
    "password", "passwd", "passphrase", "passwort", "requirepass",
    "masterauth", "userpass",
];
/// Words that are so only at a name's end.
const SHORT_PASSWORD_WORDS: &[&str] = &["pwd", "pass", "psk"];

#[rustfmt::skip]
const SECRET_WORDS: &[&str] = &[
    "secret", "secrets", "token", "apikey", "apitoken", "authtoken", "accesstoken", "accesskey",
    "secretkey", "privatekey", "credential", "credentials", "mnemonic", "bearer", "authorization",
    "clientsecret", "masterkey", "webhooksecret", "refreshtoken", "pat", "sessiontoken",
];
/// Words that make a `key` beside them a secret one.
#[rustfmt::skip]
const KEY_QUALIFIERS: &[&str] = &[
    "api", "access", "private", "secret", "signing", "encryption", "master", "account", "auth",
    "app", "application", "storage", "service", "session", "license", "webhook", "server", "admin",
    "shared", "hmac", "jwt", "aes", "crypt", "deploy", "integration", "rest", "write",
];
#[rustfmt::skip]
const WEAK_WORDS: &[&str] = &[
    "key", "auth", "dsn", "cookie", "cookies", "salt", "sig", "signature", "pin", "otp", "seed",
    "keys", "tokens", "creds", "cred", "x-auth",
];
/// A name that ends so speaks about a credential and does not hold one.
#[rustfmt::skip]
const ABOUT: &[&str] = &[
    "mgr", "handler", "factory", "callback", "validator", "encoder", "oid", "test", "tests",
    "example", "type", "url", "uri", "endpoint", "name", "names", "path", "file", "filename", "dir",
    "length", "len", "count", "limit", "ttl", "expiry", "expires", "expiration", "size", "id",
    "ids", "field", "fields", "label", "header", "prefix", "suffix", "regex", "pattern", "policy",
    "hint", "placeholder", "env", "var", "variable", "enabled", "disabled", "required", "index",
    "algorithm", "alg", "format", "version", "status", "scope", "scopes", "ref", "arn", "kind",
    "class", "provider", "store", "manager", "service", "help", "text", "title", "description",
    "message", "error", "rotation", "days", "minutes", "seconds", "at", "timeout", "input",
    "visible", "strength", "min", "max", "usage", "budget", "reset", "protected", "group", "column",
    "table", "selector", "hash", "digest", "fingerprint", "checksum", "integrity",
];
#[rustfmt::skip]
const NOT_SECRET: &[&str] = &[
    "public", "publishable", "max", "num", "page", "next", "continuation", "cancel", "cancellation",
    "sort", "primary", "partition", "foreign", "cache", "csrf", "idempotency", "anon", "stop",
    "pad", "eos", "bos", "unk", "sep", "cls", "mask",
];

impl Name {
    /// What the last word of `name` says: `setPassword(…)` takes one, `password.encode(…)` does not.
    pub(crate) fn of_call(name: &[u8]) -> Self {
        match words(name).last().map(String::as_str) {
            // `t.pass(…)`
            Some("pass" | "token" | "auth") | None => Self::Other,
            Some(last) => Self::of(last.as_bytes()),
        }
    }

    /// What `name` says, in any style of writing: `DB_PASSWORD`, `dbPassword`, `db-password`.
    pub(crate) fn of(name: &[u8]) -> Self {
        let words = words(name);
        let Some(last) = words.last().map(String::as_str) else {
            return Self::Other;
        };
        let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
        let glued = words.concat();
        let ends = |list: &[&str]| {
            list.iter()
                .any(|word| word.len() > 5 && glued.ends_with(word))
        };
        if ABOUT.contains(&last) {
            // A password's hash can be tried out at leisure.
            return if last == "hash" && has(&["password", "passwd"]) {
                Self::Weak
            } else {
                Self::Other
            };
        }
        if SHORT_PASSWORD_WORDS.contains(&last) || has(PASSWORD_WORDS) || ends(PASSWORD_WORDS) {
            return Self::Password;
        }
        if has(NOT_SECRET) {
            return Self::Other;
        }
        let qualified_key = words.windows(2).any(|pair| {
            KEY_QUALIFIERS.contains(&pair[0].as_str()) && matches!(pair[1].as_str(), "key" | "keys")
        });
        if qualified_key || has(SECRET_WORDS) || ends(SECRET_WORDS) || ends(&["apikey"]) {
            return Self::Secret;
        }
        if WEAK_WORDS.contains(&last) || has(&["key", "auth", "credential"]) {
            return Self::Weak;
        }
        Self::Other
    }
}

/// The words of a name, in lower case.
fn words(name: &[u8]) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut previous = b'_';
    for (at, &byte) in name.iter().enumerate() {
        let next_is_lower = name.get(at + 1).is_some_and(u8::is_ascii_lowercase);
        let begins = byte.is_ascii_uppercase()
            && (previous.is_ascii_lowercase()
                || previous.is_ascii_digit()
                || (previous.is_ascii_uppercase() && next_is_lower));
        if (!byte.is_ascii_alphanumeric() || begins) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if byte.is_ascii_alphanumeric() {
            word.push(char::from(byte.to_ascii_lowercase()));
        }
        previous = byte;
    }
    if !word.is_empty() {
        words.push(word);
    }
    // `DB_PASSWORD_2` and `token1` are named by what stands before the number.
    if let Some(last) = words.pop() {
        let name = last.trim_end_matches(|c: char| c.is_ascii_digit());
        if !name.is_empty() {
            words.push(name.to_owned());
        }
    }
    words
}

/// Whether `value` under a name of that weight is a credential, and how surely. `quoted` says that the
/// file marks it as a literal.
pub(crate) fn judge(
    value: &[u8],
    name: Name,
    setting: Setting,
    quoted: bool,
) -> Option<Confidence> {
    if is_benign(value, name, setting) {
        return None;
    }
    let random = looks_random(value);
    let sure = if random {
        Confidence::High
    } else {
        Confidence::Medium
    };
    let one_word = !value.iter().any(u8::is_ascii_whitespace);
    // In a program a word without quotes is a name; in prose it may be a token.
    if setting == Setting::Code && !quoted && !(random && is_bare_token(value)) {
        return None;
    }
    match (name, setting) {
        (Name::Password, Setting::Store) => Some(sure),
        (Name::Password, Setting::Config) => {
            let prose = !one_word && !has_digit(value);
            (value.len() >= 3 && (one_word || quoted) && !prose && !is_expression(value, quoted))
                .then_some(sure)
        }
        (Name::Password, Setting::Code) => (one_word
            && !is_expression(value, quoted)
            && (random
                || (quoted && value.len() >= 6 && has_classes(value) >= 2 && !is_name(value))))
        .then_some(sure),
        (Name::Secret, Setting::Store) => (value.len() >= 4).then_some(sure),
        (Name::Secret, Setting::Config) => (one_word
            && !is_expression(value, quoted)
            && (random || (value.len() >= 8 && has_classes(value) >= 2 && has_digit(value))))
        .then_some(sure),
        (Name::Secret, Setting::Code) => (one_word
            && !is_expression(value, quoted)
            && (random
                || (quoted && value.len() >= 10 && has_classes(value) >= 3 && has_digit(value))))
        .then_some(sure),
        // Salts and keys of PHP programs have blanks in them.
        (Name::Weak, Setting::Store) if quoted && value.len() >= 32 && entropy(value) > 4.0 => {
            Some(Confidence::Medium)
        }
        (Name::Weak, _) => {
            (one_word && random && !is_expression(value, quoted)).then_some(match setting {
                Setting::Store => Confidence::Medium,
                _ => Confidence::Low,
            })
        }
        (Name::Other, Setting::Store) => {
            (one_word && random && !is_uuid(value) && value.len() >= 16).then_some(Confidence::Low)
        }
        (Name::Other, _) => None,
    }
}

/// Whether a value is one that could stand somewhere by chance or be tried out: short, or made of
/// words. Such a value is a secret where it stands and is looked for in credential slots only.
pub fn is_guessable(value: &[u8]) -> bool {
    value.len() < 8 || (value.len() < 24 && !looks_random(value))
}

/// Whether `value` looks made by a machine rather than by a person or a naming convention.
pub(crate) fn looks_random(value: &[u8]) -> bool {
    if is_uuid(value) {
        return true;
    }
    let length = value.len();
    if length < 8
        || value
            .iter()
            .any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
    {
        return false;
    }
    let entropy = entropy(value);
    let hex = value.iter().all(u8::is_ascii_hexdigit);
    if hex {
        return length >= 16 && has_digit(value) && entropy >= 2.6;
    }
    // A random text of n symbols has nearly log2(n) bits a symbol while n is small.
    let expected = (length.min(64) as f64).log2();
    if entropy < (expected * 0.72).min(3.6) {
        return false;
    }
    // Randomness changes between lower case, upper case and digits at most places; names change at
    // word borders.
    let class = |byte: u8| match byte {
        b'a'..=b'z' => 0,
        b'A'..=b'Z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    let pairs = (length - 1) as f64;
    let changes = value
        .windows(2)
        .filter(|pair| {
            class(pair[0]) != class(pair[1]) && class(pair[0]) != 3 && class(pair[1]) != 3
        })
        .count() as f64;
    if changes / pairs >= 0.22 && has_digit(value) {
        return true;
    }
    let letters = value
        .windows(2)
        .filter(|pair| pair.iter().all(u8::is_ascii_alphabetic));
    let (mut total, mut common) = (0_u32, 0_u32);
    for pair in letters {
        total += 1;
        let pair = [pair[0].to_ascii_lowercase(), pair[1].to_ascii_lowercase()];
        common += u32::from(is_common(pair));
    }
    length >= 14 && total >= 8 && f64::from(common) < 0.34 * f64::from(total)
}

/// The most frequent letter pairs of English and of the names in programs.
#[rustfmt::skip]
const COMMON_BIGRAMS: &str = "\
    ad al am an ao ar as at aw be bl bs bu ce co cs ct cu dd de di eh el en er es et ew ex fi \
    fo fw ge gh go hc he hi ht ic id if ig il im in is it iw ju ke kn kt la le li lo ls lt lu \
    ly ma me mg mo mp ms my na nd ne ng no nt nu oa od oe of og ol on oo or os ot ov ow ox pa \
    pe pl po pp qe qw ra rd re ri ro rp rt sa sc sd se si so sp ss st su te th ti tl to tr tt \
    tu tv ui ul un up ur us ut ve yc ys";

/// Whether a pair of lower-case letters is among the common ones.
fn is_common(pair: [u8; 2]) -> bool {
    static TABLE: LazyLock<[bool; 26 * 26]> = LazyLock::new(|| {
        let mut table = [false; 26 * 26];
        for pair in COMMON_BIGRAMS.split(' ') {
            if let [first, second] = *pair.as_bytes() {
                table[bigram_index([first, second])] = true;
            }
        }
        table
    });
    TABLE.get(bigram_index(pair)).copied().unwrap_or(false)
}

/// Where a pair of lower-case letters stands in the table.
fn bigram_index([first, second]: [u8; 2]) -> usize {
    usize::from(first.wrapping_sub(b'a')) * 26 + usize::from(second.wrapping_sub(b'a'))
}

/// Shannon entropy in bits a byte.
pub(crate) fn entropy(value: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for &byte in value {
        counts[usize::from(byte)] += 1;
    }
    let length = value.len() as f64;
    counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| {
            let share = f64::from(count) / length;
            -share * share.log2()
        })
        .sum()
}

fn has_digit(value: &[u8]) -> bool {
    value.iter().any(u8::is_ascii_digit)
}

/// Letters and what joins words: `challengePassword`, `client_secret`.
fn is_name(value: &[u8]) -> bool {
    value
        .iter()
        .all(|byte| byte.is_ascii_alphabetic() || b"_-. /:".contains(byte))
}

/// Whether a word without quotes can be a token and not a name of a program.
fn is_bare_token(value: &[u8]) -> bool {
    value.len() >= 16
        && has_digit(value)
        && value.iter().any(u8::is_ascii_lowercase)
        && value
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-+/=".contains(byte))
}

/// How many of lower case, upper case, digits and signs occur; what joins words is no sign.
fn has_classes(value: &[u8]) -> usize {
    [
        value.iter().any(u8::is_ascii_lowercase),
        value.iter().any(u8::is_ascii_uppercase),
        has_digit(value),
        value
            .iter()
            .any(|byte| byte.is_ascii_punctuation() && !b"_-.".contains(byte)),
    ]
    .into_iter()
    .filter(|&has| has)
    .count()
}

/// Whether the value is code: a call, a member, an index. Within quotes nothing is.
fn is_expression(value: &[u8], quoted: bool) -> bool {
    if quoted {
        return false;
    }
    if value.iter().any(|byte| b"()[]{}<>\"'`,;|".contains(byte)) || value.contains(&b'\\') {
        return true;
    }
    // `user.password`, `self::token`, `config->secret`: words joined by member operators.
    let text = String::from_utf8_lossy(value);
    let joined = text.contains('.') || text.contains("::") || text.contains("->");
    joined
        && !looks_random(value)
        && text.split(['.', ':', '-', '>']).all(|part| {
            part.is_empty()
                || part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'$')
        })
}

/// Words that stand where a secret would.
#[rustfmt::skip]
const PLACEHOLDER_WORDS: &[&str] = &[
    "changeme", "change_me", "change-me", "changeit", "replaceme", "replace_me", "replace-me",
    "replace_with", "replace-with", "placeholder", "example", "dummy", "redacted", "masked",
    "your_", "your-", "yours", "insert_", "insert-", "<your", "todo", "fixme", "sample", "notreal",
    "not-real", "not_real", "fake", "xxxx", "****", "....", "____", "----", "my-secret",
    "my_secret", "mysecret", "my-token", "my_token", "some-secret", "some_secret",
];

/// Whole values that say that there is none, or that name a type or a choice.
#[rustfmt::skip]
const EMPTY_WORDS: &[&str] = &[
    "true", "false", "null", "nil", "none", "undefined", "yes", "no", "on", "off", "string", "str",
    "text", "bool", "boolean", "number", "integer", "int", "bytes", "any", "object", "required",
    "optional", "varchar", "secret", "token", "password", "passwd", "pass", "apikey", "api_key",
    "key", "unset", "empty", "prompt", "ask", "hidden", "default", "disabled", "enabled", "auto",
    "inherit", "value", "plain", "bearer", "basic", "oauth", "oauth2", "jwt", "md5", "trust",
    "peer", "scram-sha-256", "env", "vault", "n/a", "...",
];

/// Those of [`EMPTY_WORDS`] that people take for passwords all the same.
const WEAK_PASSWORDS: &[&str] = &[
    "secret", "token", "password", "passwd", "pass", "default", "text", "value", "plain", "hidden",
    "vault", "oauth", "basic", "bearer",
];

/// Beginnings of values that refer to a secret kept elsewhere, or are meant to be seen.
#[rustfmt::skip]
const REFERENCES: &[&str] = &[
    "op://", "vault:", "vault://", "env:", "env://", "file:", "file://", "ssm:", "ssm://",
    "keychain:", "keyring:", "secret:", "secretsmanager:", "arn:aws", "projects/",
    "@microsoft.keyvault", "gcpsm://", "awssm://", "bws:", "doppler:", "process.env", "os.environ",
    "os.getenv", "env[", "env.", "env!", "system.getenv", "import.meta", "enc[", "enc(",
    "$ansible_vault", "!vault", "{cipher}", "age1", "agencrypt", "ssh-rsa", "ssh-ed25519",
    "ecdsa-sha2", "sk-ssh", "pk_live_", "pk_test_", "sb_publishable_", "-----begin public",
    "-----begin certificate", "-----begin rsa public", "-----begin ssh2 public",
    "-----begin pgp public", "-----begin age encrypted", "-----begin pgp message", "sha1-",
    "sha256-", "sha384-", "sha512-", "sha1:", "sha256:", "sha512:", "md5:", "data:", "urn:",
    "mailto:", "{{", "<%", "%(", "#{", "$(", "${{", "@@", "(", "function", "lambda", "async ",
    "await ", "new ", "self.", "this.", "args.", "config.", "secrets.", "var.", "local.", "module.",
];

/// Whether the value is certainly no credential.
fn is_benign(value: &[u8], name: Name, setting: Setting) -> bool {
    // A password in a file for credentials can be anything that is not evidently a reference.
    let anything = name == Name::Password && setting == Setting::Store;
    if value.is_empty() {
        return true;
    }
    let text = String::from_utf8_lossy(value).to_lowercase();
    let text = text.trim();
    if EMPTY_WORDS.contains(&text) {
        // `password: password` in a store is somebody's password.
        // `password: password` in a store is somebody's password.
        let usual = matches!(text, "secret" | "default" | "token");
        let taken = name == Name::Password && (usual || anything && WEAK_PASSWORDS.contains(&text));
        return !taken || text.len() < 4;
    }
    if REFERENCES
        .iter()
        .any(|reference| text.starts_with(reference))
    {
        return true;
    }
    if is_reference(text, anything) {
        return true;
    }
    let mut rest = text.to_owned();
    // `example-pass` in a store is somebody's password; `your_password` is not.
    const OF_PEOPLE: &[&str] = &["example", "dummy", "sample", "fake"];
    for word in PLACEHOLDER_WORDS {
        if rest.contains(word) && !(anything && OF_PEOPLE.contains(word)) {
            rest = rest.replace(word, "");
            // The placeholder may be a small part of something that is none.
            if rest.len() < 16 || !looks_random(rest.as_bytes()) {
                return true;
            }
        }
    }
    let one_symbol = value.iter().all(|byte| Some(byte) == value.first());
    if one_symbol && (value.len() > 2 || name < Name::Secret) {
        return true;
    }
    // A version, an address, an object identifier.
    let dotted = value.iter().filter(|&&byte| byte == b'.').count() >= 2
        && value
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'.');
    if dotted && !anything {
        return true;
    }
    if name < Name::Password
        && value
            .iter()
            .all(|b| b.is_ascii_digit() || b".,_-+:% ".contains(b))
        && value.len() < 16
    {
        return true;
    }
    if is_sequence(text) && name < Name::Password {
        return true;
    }
    // A path or an address without credentials in it.
    let path = (text.starts_with('/')
        || text.starts_with("./")
        || text.starts_with("../")
        || text.starts_with("~/")
        || text.starts_with("c:\\"))
        && text.matches('/').count() + text.matches('\\').count() >= 1
        && !looks_random(value);
    path || text.contains("://")
}

/// `$NAME`, `${NAME}`, `%NAME%`, `<name>`, `{name}`, `[name]`, `__NAME__`.
fn is_reference(text: &str, strictly: bool) -> bool {
    let word = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-. :/".contains(&b))
    };
    let between = |open: &str, close: &str| {
        text.strip_prefix(open)
            .and_then(|rest| rest.strip_suffix(close))
            .is_some_and(word)
    };
    let certain = between("${", "}")
        || between("$", "")
        || between("<", ">")
        || (text.starts_with("${") && !text.contains(":-") && !text.contains(":="));
    let likely = between("%", "%")
        || between("{", "}")
        || between("[", "]")
        || between("__", "__")
        || between("*", "")
        || between("&", "");
    certain || (likely && !strictly)
}

/// `abcdefgh`, `12345678`, `0123456789abcdef`.
fn is_sequence(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 6
        && bytes
            .windows(2)
            .filter(|pair| {
                pair[1] == pair[0].wrapping_add(1)
                    || pair[0] == b'9' && pair[1] == b'0'
                    || pair[0] == b'9' && pair[1] == b'a'
            })
            .count()
            * 5
            >= (bytes.len() - 1) * 4
}

/// Whether what a rule found is a documented example or a template rather than a token.
pub(crate) fn is_placeholder(value: &[u8]) -> bool {
    is_benign(value, Name::Secret, Setting::Code) && !value.starts_with(b"secret:") && {
        let text = String::from_utf8_lossy(value).to_lowercase();
        !text.contains("://")
    }
}

#[cfg(test)]
mod tests;
