//! NSS's certificate database, which Chromium, Chrome, Playwright's browsers and `certutil` read: the
//! session's own authority in `~/.pki/nssdb`, trusted for servers.
//!
//! `cert9.db` is an SQLite file with a row an object and a column an attribute of PKCS #11 (NSS,
//! `lib/softoken/sdb.c`); `key4.db` has the keys and the password. Ours has neither: a database that
//! no password was ever set for keeps no signatures over trust, so there is none to be made. Both
//! belong to the session and are the agent's to change.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use sha1::{Digest, Sha1};

use super::hashed;

/// Where it lies, relative to the home.
pub(super) const FOLDER: &str = ".pki/nssdb";

/// The attributes that NSS keeps a column for, by their numbers in PKCS #11 (OASIS PKCS #11 3.0) and of
/// NSS's own (`ce53…`). NSS asks for columns by name, so all have to be there.
const ATTRIBUTES: &str = "0 1 2 3 10 11 12 80 81 82 83 84 85 86 87 88 89 8a 8b 90 100 101 102 103 104 \
    105 106 107 108 109 10a 10b 10c 110 111 120 121 122 123 124 125 126 127 128 129 130 131 132 133 \
    134 160 161 162 163 164 165 166 170 180 181 200 201 202 210 300 301 302 400 401 402 403 404 405 \
    406 480 481 482 500 501 502 503 40000211 40000212 80000001 ce534351 ce534352 ce534353 ce534354 \
    ce534355 ce534356 ce534357 ce534358 ce534364 ce534365 ce534366 ce534367 ce534368 ce534369 \
    ce534373 ce534374 ce536351 ce536352 ce536353 ce536354 ce536355 ce536356 ce536357 ce536358 \
    ce536359 ce53635a ce53635b ce53635c ce53635d ce53635e ce53635f ce536360 ce5363b4 ce5363b5 \
    d5a0db00";

/// Attributes of which NSS keeps an index: issuer, subject, label, id.
const INDEXED: &[&str] = &["81", "101", "3", "102"];

const CERTIFICATE: u32 = 1;
const X_509: u32 = 0;
const TRUST: u32 = 0xce53_4353;
/// An authority for this purpose.
const DELEGATOR: u32 = 0xce53_4352;
/// Nothing is said about this purpose.
const MUST_VERIFY: u32 = 0xce53_4353;

/// The files of a database with this certificate, by their names; written in `scratch`, which the
/// caller removes. `None` where that does not work: browsers then refuse the session's authority,
/// legibly.
pub(super) fn database(certificate: &[u8], scratch: &Path) -> Option<Vec<(&'static str, Vec<u8>)>> {
    let rows = objects(certificate)?;
    ["cert9.db", "key4.db"]
        .into_iter()
        .map(|name| {
            let path = scratch.join(name);
            let rows: &[_] = if name == "cert9.db" { &rows } else { &[] };
            write(&path, name == "key4.db", rows).ok()?;
            Some((name, fs::read(&path).ok()?))
        })
        .collect()
}

type Object = Vec<(&'static str, Cell)>;

/// The certificate, and what it is trusted for.
fn objects(certificate: &[u8]) -> Option<[Object; 2]> {
    let fields = hashed::fields(certificate)?;
    let number = |number: u32| Cell::Blob(number.to_be_bytes().to_vec());
    let bytes = |bytes: &[u8]| Cell::Blob(bytes.to_vec());
    let flag = |flag: bool| Cell::Blob(vec![u8::from(flag)]);
    let digest = Sha1::digest(certificate);
    // CKA_CLASS, CKA_TOKEN, CKA_PRIVATE, CKA_MODIFIABLE, CKA_ISSUER, CKA_SERIAL_NUMBER
    let both = |class: u32| {
        vec![
            ("0", number(class)),
            ("1", flag(true)),
            ("2", flag(false)),
            ("170", flag(true)),
            ("81", bytes(fields.issuer)),
            ("82", bytes(fields.serial)),
        ]
    };
    let mut shown = both(CERTIFICATE);
    // CKA_LABEL, CKA_VALUE, CKA_CERTIFICATE_TYPE, CKA_SUBJECT, CKA_ID
    shown.extend([
        ("3", bytes(b"tagout")),
        ("11", bytes(certificate)),
        ("80", number(X_509)),
        ("101", bytes(fields.subject)),
        ("102", bytes(&digest)),
    ]);
    let mut trusted = both(TRUST);
    // CKA_TRUST_SERVER_AUTH, _CLIENT_AUTH, _CODE_SIGNING, _EMAIL_PROTECTION, _STEP_UP_APPROVED, CKA_CERT_SHA1_HASH
    trusted.extend([
        ("ce536358", number(DELEGATOR)),
        ("ce536359", number(MUST_VERIFY)),
        ("ce53635a", number(MUST_VERIFY)),
        ("ce53635b", number(MUST_VERIFY)),
        ("ce536360", flag(false)),
        ("ce5363b4", bytes(&digest)),
    ]);
    Some([shown, trusted])
}

fn write(path: &Path, keys: bool, rows: &[Object]) -> rusqlite::Result<()> {
    let table = if keys { "nssPrivate" } else { "nssPublic" };
    let mut schema = format!("CREATE TABLE {table} (id PRIMARY KEY UNIQUE ON CONFLICT ABORT");
    for attribute in ATTRIBUTES.split_whitespace() {
        let _ = write!(schema, ", a{attribute}");
    }
    schema.push_str(");");
    for (name, attribute) in ["issuer", "subject", "label", "ckaid"].iter().zip(INDEXED) {
        let _ = write!(schema, "CREATE INDEX {name} ON {table} (a{attribute});");
    }
    if keys {
        schema.push_str(
            "CREATE TABLE metaData (id PRIMARY KEY UNIQUE ON CONFLICT REPLACE, item1, item2);",
        );
    }
    let database = Connection::open(path)?;
    // A file that is read once and removed needs to survive nothing.
    database.pragma_update(None, "journal_mode", "off")?;
    database.pragma_update(None, "synchronous", "off")?;
    database.pragma_update(None, "locking_mode", "exclusive")?;
    database.execute_batch(&format!("BEGIN; {schema}"))?;
    for (id, row) in (1_i64..).zip(rows) {
        let columns: String = row.iter().map(|(name, _)| format!(", a{name}")).collect();
        let places = ", ?".repeat(row.len());
        let mut values = vec![&Cell::Null; 0];
        let id = Cell::Integer(id);
        values.push(&id);
        values.extend(row.iter().map(|(_, value)| value));
        database.execute(
            &format!("INSERT INTO {table} (id{columns}) VALUES (?{places})"),
            rusqlite::params_from_iter(values),
        )?;
    }
    database.execute_batch("COMMIT;")?;
    database.close().map_err(|(_, error)| error)
}
