//! A git remote over HTTP, by the program that comes with git.

use crate::{Answer, Person, Received, Server, TestAuthority, World, eventually};
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Where the remote is.
pub const HOST: &str = "git.example.com";

/// A workspace with a commit on `main`, and a remote that has it.
pub struct Remote {
    /// The person's world.
    pub world: World,
    /// What arrives.
    pub server: Server,
    /// The repository of the server, bare.
    pub app: PathBuf,
}

impl Remote {
    /// The remote is named over SSH, as people write it. `format` is that of its objects.
    pub fn new(person: Person, format: &str) -> Remote {
        let authority = TestAuthority::new();
        let mut world = World::new(person);
        let root = world.second_workspace();
        let app = root.join("team/app.git");
        let path = app.display().to_string();
        let format = format!("--object-format={format}");
        world.git(&["init", "--quiet", "--bare", &format, &path]);
        for (name, value) in [
            ("http.receivepack", "true"),
            ("uploadpack.allowFilter", "true"),
            ("uploadpack.allowAnySHA1InWant", "true"),
            ("receive.advertisePushOptions", "true"),
        ] {
            world.git(&["-C", &path, "config", name, value]);
        }
        let served = root.clone();
        let server = Server::start(&authority, &[HOST], move |request| {
            backend(person, &served, request)
        });
        world.believe(&authority);
        world.route(HOST, 443, &server);
        std::fs::remove_dir_all(world.workspace().join(".git")).expect("the world made one");
        world.git(&["init", "--quiet", &format]);
        world.write("a.txt", "one\n");
        world.commit("one");
        world.git(&["push", "--quiet", &path, "main"]);
        let url = format!("git@{HOST}:team/app.git");
        world.git(&["remote", "add", "origin", &url]);
        Remote { world, server, app }
    }

    /// Runs git in the server's repository.
    pub fn git(&self, arguments: &[&str]) -> String {
        let path = self.app.display().to_string();
        let words = [&["-C", &path], arguments].concat();
        self.world.git(&words).stdout.trim().to_owned()
    }
}

/// Waits for the next hold, which is of `operation`, and gives it one of `tagout`'s answers; the hold, and
/// what the person saw.
pub fn answer(world: &World, operation: &str, word: &str) -> (Value, String) {
    let mut found = None;
    eventually(&format!("a hold of {operation}"), || {
        found = world
            .json(&["holds"])
            .into_iter()
            .find(|hold| hold["state"] == "pending");
        found.is_some()
    });
    let hold = found.expect("just found");
    assert!(hold.to_string().contains(operation), "{operation}: {hold}");
    let id = hold["id"].as_str().expect("an id");
    let shown = match word {
        "approve" => world.tagout(&["approve", id, "--yes"]),
        word => world.tagout(&[word, id]),
    };
    let shown = shown.success().everything();
    (hold, shown)
}

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
