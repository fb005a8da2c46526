//! The proxies that the HTTP gate is measured against, where they are there.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::Subject;
use crate::process::Owned;
use crate::session::{Place, await_listening, free_port};

/// A proxy that runs, and its address.
pub(crate) struct Anchor {
    pub(crate) name: &'static str,
    pub(crate) process: Owned,
    pub(crate) address: String,
}

/// hudsucker with handlers that do nothing.
pub(crate) fn hudsucker(subject: &Subject, place: &Place) -> Result<Option<Anchor>> {
    pass_through("hudsucker, pass-through", subject, place)
}

/// Another one, for HTTP/2: each has a processor time of its own.
pub(crate) fn hudsucker_http2(subject: &Subject, place: &Place) -> Result<Option<Anchor>> {
    pass_through("hudsucker, pass-through, HTTP/2", subject, place)
}

fn pass_through(name: &'static str, subject: &Subject, place: &Place) -> Result<Option<Anchor>> {
    let program = subject.anchors.join("hudsucker-pass-through");
    start(name, &program, |command, port| {
        command
            .arg(port.to_string())
            .arg(&place.files.ca)
            .arg(&place.files.ca_key);
        Ok(())
    })
}

/// mitmproxy without a script.
pub(crate) fn mitmproxy(subject: &Subject, place: &Place) -> Result<Option<Anchor>> {
    let program = subject.anchors.join("mitmdump");
    let configuration = place.folder.path().join("mitmproxy");
    start("mitmproxy", &program, |command, port| {
        std::fs::create_dir_all(&configuration)?;
        // Its authority is ours, in the one file that it wants key and certificate in.
        let mut pem = std::fs::read_to_string(&place.files.ca_key)?;
        pem.push_str(&std::fs::read_to_string(&place.files.ca)?);
        std::fs::write(configuration.join("mitmproxy-ca.pem"), pem)?;
        command
            .args(["--quiet", "--listen-host", "127.0.0.1", "--listen-port"])
            .arg(port.to_string())
            .arg("--set")
            .arg(format!("confdir={}", configuration.display()))
            .arg("--set")
            .arg(format!(
                "ssl_verify_upstream_trusted_ca={}",
                place.files.ca.display()
            ))
            .args(["--set", "http2=false"]);
        Ok(())
    })
}

fn start(
    name: &'static str,
    program: &Path,
    arguments: impl FnOnce(&mut Command, u16) -> Result<()>,
) -> Result<Option<Anchor>> {
    if !program.exists() {
        eprintln!(
            "bench: {} is not there, so it is left out",
            program.display()
        );
        return Ok(None);
    }
    let port = free_port()?;
    let mut command = Command::new(program);
    arguments(&mut command, port)?;
    let process = Owned::start(&mut command)?;
    await_listening(port).with_context(|| name.to_owned())?;
    Ok(Some(Anchor {
        name,
        process,
        address: format!("127.0.0.1:{port}"),
    }))
}
