//! What a file's name promises. A credential store is masked whatever its content looks like, so
//! names are compared folded and in any folder: `Backup/.ENV.production` is a dotenv file.

use std::path::Path;

/// What a path promises about its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A file whose purpose is to hold credentials: every value that could be one is.
    CredentialStore,
    /// `.env` and its relatives: names and values, line by line.
    Dotenv,
    /// `.env.example` and the like: read as [`FileKind::Dotenv`], but placeholders are expected.
    Template,
    /// A private key or a key store; what is not readable as public is a secret as a whole.
    Key,
    /// Anything else.
    Plain,
}

/// Names that are credential stores wherever they lie.
#[rustfmt::skip]
const STORE_NAMES: &[&str] = &[
    ".netrc", "_netrc", ".pgpass", "pgpass.conf", ".my.cnf", ".mylogin.cnf", ".git-credentials",
    ".npmrc", ".yarnrc.yml", ".pypirc", ".dockercfg", ".dockerconfigjson", ".terraformrc",
    "terraform.rc", "credentials.tfrc.json", ".vault-token", ".s3cfg", ".boto", "rclone.conf",
    "kubeconfig", ".htpasswd", "shadow", "gshadow", "credentials.yml.enc", "secrets.yml",
    "secrets.yaml", "secrets.json", "secrets.toml", "wp-config.php", ".remote-sync.json",
    "sftp-config.json", "sftp.json", ".ftpconfig", "filezilla.xml", "recentservers.xml",
    "sitemanager.xml", ".esmtprc", ".msmtprc", ".mutt_secrets", ".cloudflared.json",
    "client_secret.json", "service-account.json", "application_default_credentials.json", "hub",
    ".hubrc", ".dbeaver-data-sources.xml", "dbeaver-data-sources.xml", "ventrilo_srv.ini", "proftpdpasswd",
    "mcp.json", ".mcp.json", "mcp_config.json", "claude_desktop_config.json",
];

/// Ends of paths that are credential stores.
#[rustfmt::skip]
const STORE_TAILS: &[&str] = &[
    ".aws/credentials", ".aws/config", ".docker/config.json", ".kube/config", ".gem/credentials",
    ".cargo/credentials", ".cargo/credentials.toml", ".m2/settings.xml", ".config/gh/hosts.yml",
    ".railway/config.json", ".claude/.credentials.json", ".codex/auth.json", ".config/hub",
    ".local/share/opencode/auth.json", ".composer/auth.json", ".streamlit/secrets.toml",
    ".fly/config.yml", ".config/configstore/firebase-tools.json", ".config/doctl/config.yaml",
    ".netlify/config.json", ".vercel/auth.json",
];

/// Folders all of whose files are credential stores.
#[rustfmt::skip]
const STORE_FOLDERS: &[&str] = &[
    ".config/gcloud/", ".azure/", ".gnupg/", ".password-store/",
];

#[rustfmt::skip]
const KEY_NAMES: &[&str] = &[
    "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk", "identity",
];

#[rustfmt::skip]
const KEY_ENDINGS: &[&str] = &[
    ".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".kdb", ".ppk", ".p8", ".pkcs12",
    ".asc.key",
];

#[rustfmt::skip]
const TEMPLATE_WORDS: &[&str] = &[
    "example", "sample", "template", "tmpl", "dist", "defaults", "schema",
];

/// What the name of `path` promises. Only the path is read; it need not exist.
pub fn file_kind(path: &Path) -> FileKind {
    let folded = path.to_string_lossy().replace('\\', "/").to_lowercase();
    let name = folded.rsplit('/').next().unwrap_or_default();
    // Editors and people leave copies: `.env~`, `.env.bak`, `.npmrc.orig`, `#.env#`.
    let name = name.trim_matches(['#', '~']);
    let without_copy = [".bak", ".old", ".orig", ".save", ".swp", ".backup", ".tmp"]
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(name);
    let tail = |tails: &[&str]| {
        tails.iter().any(|tail| {
            folded
                .strip_suffix(tail)
                .is_some_and(|front| front.is_empty() || front.ends_with('/'))
        })
    };
    if let Some(kind) = dotenv(name) {
        return kind;
    }
    if STORE_NAMES.contains(&without_copy)
        || tail(STORE_TAILS)
        || STORE_FOLDERS
            .iter()
            .any(|folder| folded.starts_with(folder) || folded.contains(&format!("/{folder}")))
        || without_copy.contains(".tfstate")
        || (without_copy.contains(".tfvars") && !without_copy.contains("example"))
    {
        return FileKind::CredentialStore;
    }
    if KEY_NAMES.contains(&without_copy)
        || KEY_ENDINGS
            .iter()
            .any(|ending| without_copy.ends_with(ending))
    {
        return FileKind::Key;
    }
    FileKind::Plain
}

/// `.env`, `.env.local`, `.envrc`, `production.env`, `env.production`? No: only what begins with a
/// dot or ends in `.env`; `env.js` is a program.
fn dotenv(name: &str) -> Option<FileKind> {
    let rest = if name == ".envrc" || name.ends_with(".env") || name.starts_with(".envrc.") {
        ""
    } else {
        name.strip_prefix(".env")
            .filter(|rest| rest.is_empty() || rest.starts_with(['.', '-', '_']))?
    };
    let template = rest
        .split(['.', '-', '_'])
        .any(|word| TEMPLATE_WORDS.contains(&word))
        || (rest.is_empty()
            && name
                .split(['.', '-', '_'])
                .any(|word| TEMPLATE_WORDS.contains(&word)));
    Some(if template {
        FileKind::Template
    } else {
        FileKind::Dotenv
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_and_found_in_any_folder() {
        for (path, kind) in [
            (".env", FileKind::Dotenv),
            ("Backup/.ENV.production", FileKind::Dotenv),
            ("a/b/.env.local", FileKind::Dotenv),
            (".env.bak", FileKind::Dotenv),
            (".envrc", FileKind::Dotenv),
            ("config/production.env", FileKind::Dotenv),
            (".env.example", FileKind::Template),
            (".env.local.sample", FileKind::Template),
            ("example.env", FileKind::Template),
            ("env.js", FileKind::Plain),
            (".environment", FileKind::Plain),
            ("home/.aws/credentials", FileKind::CredentialStore),
            (".aws\\Credentials", FileKind::CredentialStore),
            ("credentials", FileKind::Plain),
            (".NPMRC", FileKind::CredentialStore),
            ("x/.npmrc.bak", FileKind::CredentialStore),
            ("x/terraform.tfstate.backup", FileKind::CredentialStore),
            ("x/.config/gcloud/legacy/a.json", FileKind::CredentialStore),
            ("deploy/ID_RSA", FileKind::Key),
            ("id_rsa.pub", FileKind::Plain),
            ("tls/server.key", FileKind::Key),
            ("a.P12", FileKind::Key),
            ("src/main.rs", FileKind::Plain),
            ("", FileKind::Plain),
        ] {
            assert_eq!(file_kind(Path::new(path)), kind, "{path}");
        }
    }
}
