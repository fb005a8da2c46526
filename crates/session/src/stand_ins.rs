//! What stands first on PATH for programs that cannot do inside what they do outside: each says what
//! to do instead, on standard error, and fails as the real one would. They protect nothing (what they
//! would reach is not there anyway); they save an agent from guessing, and its user from finding out.

use std::path::Path;

use tagout_sandbox::OverlayFile;

/// Where they stand inside; the first entry of PATH.
pub(crate) const FOLDER: &str = "/run/tagout/bin";

/// One kind of them.
struct StandIn {
    names: &'static [&'static str],
    /// The status that callers take for a failure of this program.
    status: u8,
    /// What to do instead. Shell text within double quotes: `$*` are the arguments.
    says: &'static str,
}

const STAND_INS: &[StandIn] = &[
    StandIn {
        names: &["ssh", "scp", "sftp", "sshfs", "ssh-copy-id"],
        // 255 is ssh's own for an error of its own.
        status: 255,
        says: "there is no SSH in this session, and no key of your user. For git use the https:// form of the remote (git does so by itself for git@host:path); for anything on another machine ask your user to do it outside.",
    },
    StandIn {
        names: &["ssh-add", "ssh-agent", "ssh-keygen"],
        status: 1,
        says: "keys stay outside this session. Ask your user to do this outside.",
    },
    StandIn {
        names: &[
            "docker",
            "docker-compose",
            "podman",
            "podman-compose",
            "nerdctl",
            "buildah",
        ],
        status: 1,
        says: "containers cannot be started from this session: who can talk to a container engine owns the machine. Run the program itself here, or ask your user to start the container outside; a port of it comes in with local = PORT in tagout.toml.",
    },
    StandIn {
        names: &["gpg", "gpg2", "gpg-connect-agent", "gpgsm"],
        // 2 is gpg's for a failure.
        status: 2,
        says: "the keyring of your user is not in this session, so nothing is signed or decrypted here. Commits made here are unsigned and are listed at the end; your user signs them outside.",
    },
    StandIn {
        names: &[
            "xdg-open",
            "open",
            "gio-open",
            "gnome-open",
            "kde-open",
            "sensible-browser",
            "x-www-browser",
            "www-browser",
            "wslview",
        ],
        // xdg-open(1): 3, a required tool could not be found.
        status: 3,
        says: "no browser can be opened from this session. Show this to your user, who can open it: $*",
    },
    StandIn {
        names: &["sudo", "doas", "su", "pkexec", "run0"],
        status: 1,
        says: "nobody becomes root in this session. Install into the workspace or a virtual environment instead, or ask your user to run this outside: $*",
    },
    StandIn {
        names: &["systemctl", "service", "journalctl", "loginctl"],
        status: 1,
        says: "the services of this machine are out of reach. Start the program itself in the background here, or ask your user to run this outside: $*",
    },
    StandIn {
        names: &["secret-tool", "keyctl", "kwallet-query"],
        status: 1,
        says: "the keyrings of your user are not in this session. A credential that the task needs is named in tagout.toml by your user.",
    },
];

/// The files, the same for everybody.
pub(crate) fn files() -> Vec<OverlayFile> {
    let mut files = Vec::new();
    for stand_in in STAND_INS {
        for name in stand_in.names {
            let text = format!(
                "#!/bin/sh\n# Stands here for {name} while this session runs.\nprintf 'tagout: %s\\n' \"{name}: {says}\" >&2\nexit {status}\n",
                says = stand_in.says,
                status = stand_in.status,
            );
            files.push(OverlayFile {
                path: Path::new(FOLDER).join(name),
                bytes: text.into_bytes(),
                mode: 0o755,
            });
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn each_says_what_to_do_and_fails() {
        let folder = tempfile::tempdir().unwrap();
        for file in files() {
            let name = file.path.file_name().unwrap();
            let script = folder.path().join(name);
            std::fs::write(&script, &file.bytes).unwrap();
            let output = Command::new("/bin/sh")
                .arg(&script)
                .args(["https://example.com/?a=`id`", "$HOME", "a%sb"])
                .output()
                .unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success(), "{said}");
            assert!(
                said.starts_with(&format!("tagout: {}: ", name.to_string_lossy())),
                "{said}"
            );
            assert_eq!(said.lines().count(), 1, "{said}");
            if said.contains("https://") && said.contains("example.com") {
                assert!(
                    said.ends_with("https://example.com/?a=`id` $HOME a%sb\n"),
                    "{said}"
                );
            }
            assert!(output.stdout.is_empty());
        }
    }
}
