//! What a login shell reads inside. Codex runs every command in one (`bash -lc`), and `/etc/profile`
//! sets PATH to the system's own: without the person's `~/.profile`, which stays outside, cargo, nvm and
//! the stand-ins were gone. Ours says again what PATH is, and nothing else.

use std::path::Path;

use tagout_sandbox::OverlayFile;

/// Read by bash (which has no `.bash_profile` before it), dash and ksh; by zsh.
const FILES: &[&str] = &[".profile", ".zprofile"];

/// The files, for the command to read and change.
pub(crate) fn files(home: &Path, search_path: &str) -> Vec<OverlayFile> {
    let quoted = search_path.replace('\'', r"'\''");
    let text = format!("# Written by Tagout: PATH of this session.\nexport PATH='{quoted}'\n");
    FILES
        .iter()
        .map(|name| OverlayFile {
            path: home.join(name),
            bytes: text.clone().into_bytes(),
            mode: 0o644,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_login_shell_finds_what_any_other_does() {
        let home = tempfile::tempdir().unwrap();
        let path = "/opt/it's \"$HOME\"/bin:/usr/bin:/bin";
        for file in files(home.path(), path) {
            std::fs::write(file.path, file.bytes).unwrap();
        }
        let output = Command::new("/bin/sh")
            .args(["-lc", "printf %s \"$PATH\""])
            .env_clear()
            .env("HOME", home.path())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), path);
    }
}
