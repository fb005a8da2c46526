//! A ledger's first entry: whose ledger it is and who may sign its checkpoints. It carries the session's
//! public key and the install key's signature over it, so a verifier needs the file and the install
//! key's public half, and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::json;
use tagout_core::SessionId;
use tagout_core::json::Json;

use crate::LedgerError;
use crate::checkpoint;
use crate::entry::{Fields, Links, START};
use crate::key::{InstallKey, PublicKey, SessionKey, is_certified};
use crate::verify::{Known, Report};

/// The format that this build writes and reads. What a reader of this format would misread needs the
/// next number; entries of new kinds and members do not.
const FORMAT: u64 = 1;

/// The fields of the first entry: whose ledger this is and who may sign its checkpoints.
pub(crate) fn header(
    session: &SessionId,
    install: &InstallKey,
    key: &SessionKey,
    about: Json,
) -> Result<Fields, LedgerError> {
    let mut header = json!({
        "format": FORMAT,
        "origin": checkpoint::origin(session),
        "session": session,
        "public_key": key.public().to_string(),
        "install_key": install.public().to_string(),
        "certificate": BASE64.encode(install.certify(session, &key.public())),
    });
    if let (Some(header), Json::Object(about)) = (header.as_object_mut(), about) {
        for (name, value) in about {
            if header.contains_key(&name) {
                return Err(LedgerError::Entry(format!(
                    "`{START}` has a field `{name}`, which the ledger sets"
                )));
            }
            header.insert(name, value);
        }
    }
    Fields::new(START, header)
}

/// Who may sign a ledger's checkpoints, from its first entry.
pub(crate) struct Header {
    pub(crate) origin: String,
    pub(crate) public_key: PublicKey,
}

/// The members of the first entry that say who may sign.
#[derive(Deserialize)]
struct HeaderFields {
    format: u64,
    origin: String,
    session: SessionId,
    public_key: String,
    install_key: String,
    certificate: String,
}

impl Header {
    /// Reads the first line; reports and gives up where it is not a ledger's first entry.
    pub(crate) fn read(line: &[u8], known: &Known, report: &mut Report) -> Option<Self> {
        let Some((fields, public_key, install_key, certificate)) = parse_header(line) else {
            let what = match later_format(line) {
                Some(format) => format!(
                    "has format {format}, and this tagout reads format {FORMAT}: verify it with the tagout that wrote it"
                ),
                None => "is not the first entry of a ledger: it was changed".to_owned(),
            };
            report.blame(0, &what);
            return None;
        };
        let origin = checkpoint::origin(&fields.session);
        if origin != fields.origin
            || !is_certified(&install_key, &fields.session, &public_key, &certificate)
        {
            report.blame(
                0,
                "was changed: the install key did not certify its session key",
            );
        }
        if known.install_key.is_some_and(|key| key != install_key) {
            report.blame(
                0,
                "was changed: the session key is certified by another install key",
            );
        }
        if known
            .session
            .as_ref()
            .is_some_and(|session| *session != fields.session)
        {
            report.blame(0, "belongs to another session");
        }
        report.session = Some(fields.session);
        report.install_key = Some(install_key);
        Some(Self { origin, public_key })
    }
}

type HeaderParts = (HeaderFields, PublicKey, PublicKey, [u8; 64]);

/// The format of a first entry that a later Tagout may have written. Nothing else of it is believed, so a
/// ledger is not genuine for having one.
fn later_format(line: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Format {
        kind: String,
        format: u64,
    }
    let found: Format = serde_json::from_slice(line).ok()?;
    (found.kind == START && found.format > FORMAT).then_some(found.format)
}

fn parse_header(line: &[u8]) -> Option<HeaderParts> {
    let links: Links<'_> = serde_json::from_slice(line).ok()?;
    let fields: HeaderFields = serde_json::from_slice(line).ok()?;
    if links.seq != 0 || links.kind != START || fields.format != FORMAT {
        return None;
    }
    let public_key = fields.public_key.parse().ok()?;
    let install_key = fields.install_key.parse().ok()?;
    let certificate = BASE64.decode(&fields.certificate).ok()?.try_into().ok()?;
    Some((fields, public_key, install_key, certificate))
}
