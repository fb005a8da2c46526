//! A git remote over HTTP, by the program that comes with git.

use crate::{Answer, Person, Received};
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

/// Answers a request about a repository below `root` as a server of git does (git-http-backend(1)).
pub fn backend(person: Person, root: &Path, request: &Received) -> Answer {
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((&request.target, ""));
    let mut child = person
        .command("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &request.method)
        .env("CONTENT_TYPE", request.header("content-type").unwrap_or(""))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("GIT_PROTOCOL", request.header("git-protocol").unwrap_or(""))
        .env("REMOTE_USER", "test")
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git is installed");
    let mut input = child.stdin.take().expect("a pipe");
    let body = request.body.clone();
    let writing = std::thread::spawn(move || input.write_all(&body));
    let output = child.wait_with_output().expect("git ends").stdout;
    // It may have answered before it read everything.
    let _ = writing.join();
    let at = output
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .expect("a head");
    let head = String::from_utf8_lossy(&output[..at]).to_string();
    let field = |name: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|value| value.trim().to_owned())
    };
    let status = field("Status:").and_then(|it| it.get(..3)?.parse().ok());
    let kind = field("Content-Type:").unwrap_or_else(|| "text/plain".to_owned());
    Answer::new(status.unwrap_or(200), &kind, &output[at + 4..])
}
