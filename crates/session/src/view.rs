//! What the agent sees: the workspace with twins and guards, and the few files of `/etc` through
//! which programs find names and certificates.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tagout_sandbox::{Guard, OverlayFile, Tree, Twin};

use crate::scan::FoundFile;
use crate::workspace::{Git, Workspace};

/// Where distributions keep the bundle of certificate authorities. The session's combined bundle is
/// laid over each that exists.
const CA_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Files of the manifest's folder that nobody inside may change, present or absent.
const CONTROL_FILES: &[&str] = &["tagout.toml", "policy.cedar"];

/// The trees of a session: the workspace, and what a linked worktree shares with others.
pub(crate) fn trees(workspace: &Workspace, found: &[FoundFile]) -> io::Result<(Tree, Vec<Tree>)> {
    let mut tree = Tree::open(&workspace.path)?;
    tree.guards.extend(CONTROL_FILES.iter().map(Guard::folder));
    tree.twins = found
        .iter()
        .map(|file| Twin {
            path: file.path.clone(),
            bytes: file.twin.clone(),
        })
        .collect();
    let mut extra = Vec::new();
    match &workspace.git {
        None => {}
        Some(Git::Folder) => tree.guards.extend(Guard::git_folder(Path::new(".git"))),
        Some(Git::Linked { private, common }) => {
            tree.guards.push(Guard::file(".git", *b""));
            if !common.starts_with(&tree.path) {
                let mut shared = Tree::open(common)?;
                shared.guards.extend(Guard::git_folder(Path::new("")));
                if let Ok(below) = private.strip_prefix(&shared.path) {
                    // What says where this worktree is must stay what it is.
                    for name in ["commondir", "gitdir", "config.worktree"] {
                        shared.guards.push(Guard::file(below.join(name), *b""));
                    }
                }
                shared.guards.dedup();
                extra.push(shared);
            }
        }
    }
    // A twin or guard of a control file that is also a twin stays a guard: guards are read-only too.
    let guarded: Vec<PathBuf> = tree.guards.iter().map(|guard| guard.path.clone()).collect();
    tree.twins
        .retain(|twin| !guarded.iter().any(|guard| twin.path.starts_with(guard)));
    Ok((tree, extra))
}

/// The files through which programs inside find names and certificates.
pub(crate) fn overlays(hostname: &str, ca_bundle: &str) -> Vec<OverlayFile> {
    let file = |path: &str, text: String| OverlayFile {
        path: PathBuf::from(path),
        bytes: text.into_bytes(),
        mode: 0o644,
    };
    let mut overlays = vec![
        file(
            "/etc/hosts",
            format!("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 {hostname}\n"),
        ),
        file("/etc/resolv.conf", "nameserver 198.18.0.1\noptions timeout:2 attempts:2\n".to_owned()),
        file(
            "/etc/nsswitch.conf",
            "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\nethers: files\nrpc: files\n"
                .to_owned(),
        ),
        file(CA_BUNDLE_INSIDE, ca_bundle.to_owned()),
    ];
    for path in CA_BUNDLES {
        if *path != CA_BUNDLE_INSIDE && fs::metadata(path).is_ok_and(|found| found.is_file()) {
            overlays.push(file(path, ca_bundle.to_owned()));
        }
    }
    overlays
}

/// Where the combined bundle lies inside, whatever the distribution.
pub(crate) const CA_BUNDLE_INSIDE: &str = "/etc/ssl/certs/ca-certificates.crt";
