//! Git's smart HTTP protocol (gitprotocol-http(5), gitprotocol-pack(5)): which request fetches, and
//! what a push would do to which ref. A request that a server of git would take for one of these is
//! read as one on every host, or refused: it never passes as a plain POST.
//!
//! What must stay true: the commands that are judged are those that the server reads. So the list is
//! read as strictly as its grammar allows, and everything between its end and the pack is refused. The
//! wire does not say whether an update keeps the history that was there; until somebody has proved it
//! from the commits themselves ([`prove`]), an update counts as forced.

pub mod pack;
mod told;

use serde_json::{Value as Json, json};
use tagout_core::{
    Effect, FaultKind, Flags, HttpRequest, Method, Operation, OperationName, ResourceId, Scope,
};

use crate::meaning::{Meaning, Unrecognised};
use crate::plain;

/// Where a branch lies; only of branches can it be said that an update keeps their history.
const BRANCHES: &str = "refs/heads/";
/// Commands in one push.
const MOST_COMMANDS: usize = 100;

/// The services that git's servers offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    UploadPack,
    ReceivePack,
}

/// What a path and a query ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    /// `GET …/info/refs?service=…`
    References(Service),
    /// `POST …/git-upload-pack` or `…/git-receive-pack`
    Service(Service),
}

/// Whether the content of a request is a push, all of which is needed to judge it.
pub fn is_push(request: &HttpRequest) -> bool {
    matches!(
        endpoint(request),
        Some((Endpoint::Service(Service::ReceivePack), _))
    )
}

/// Whether a git client asks, which shows what a server says in its own ways only.
pub fn client(request: &HttpRequest) -> Option<Client> {
    match endpoint(request)?.0 {
        Endpoint::References(_) => Some(Client::Discovering),
        Endpoint::Service(Service::UploadPack) => Some(Client::Fetching),
        Endpoint::Service(Service::ReceivePack) => {
            let refs = Push::read(request.body.bytes())
                .map(|push| push.commands.into_iter().map(|it| it.name).collect())
                .unwrap_or_default();
            Some(Client::Pushing(refs))
        }
    }
}

/// What a git client is about, and so where it looks for an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Client {
    /// Asks for refs: shows a text of an error as lines that begin with `remote:`.
    Discovering,
    /// Fetches: shows the text of an `ERR` packet.
    Fetching,
    /// Pushes these refs: shows the report about each.
    Pushing(Vec<String>),
}

/// Where the pack of a push begins in its content, and how many digits the names of its objects have.
/// `None` where there is none.
pub fn pack_of(content: &[u8]) -> Option<(usize, usize)> {
    let push = Push::read(content).ok()?;
    let digits = push.commands.first()?.new.len();
    (push.pack_length > 0).then(|| (content.len() - push.pack_length, digits))
}

/// Says what a request to a git server means; `None` for a request that no git server would take for
/// one of its services.
pub(crate) fn recognise(request: &HttpRequest) -> Option<Result<Meaning, Unrecognised>> {
    let (endpoint, repository) = endpoint(request)?;
    Some(
        read(request, endpoint, &repository).map_err(|reason| Unrecognised {
            kind: FaultKind::Unparsable,
            reason: reason.to_owned(),
            how_to_proceed: "Use git itself, with a URL that is written plainly.".to_owned(),
            graphql: false,
        }),
    )
}

fn read(
    request: &HttpRequest,
    endpoint: Endpoint,
    repository: &str,
) -> Result<Meaning, &'static str> {
    let overridden = request.headers.iter().any(|(name, _)| {
        plain::OVERRIDE_HEADERS.contains(&crate::slots::fold_field_name(name).as_str())
    });
    if overridden {
        return Err("a request to a git server overrides its method");
    }
    if repository.is_empty() || !is_plain(request) {
        return Err("the path of a git request can be read in several ways");
    }
    let operations = match endpoint {
        Endpoint::References(service) => {
            if !matches!(request.method.as_str(), "GET" | "HEAD") {
                return Err("refs of a git server are asked for with GET");
            }
            // A server takes the first of several, or the last.
            if request.query.pairs().len() != 1 {
                return Err("a git request names its service beside other parameters");
            }
            vec![match service {
                Service::UploadPack => reading("git.fetch", request, repository)?,
                Service::ReceivePack => reading("git.discover", request, repository)?,
            }]
        }
        Endpoint::Service(service) => {
            let kind = match service {
                Service::UploadPack => "application/x-git-upload-pack-request",
                Service::ReceivePack => "application/x-git-receive-pack-request",
            };
            if request.method.as_str() != "POST"
                || !request.query.as_str().is_empty()
                || !request.header("content-type").eq([kind])
            {
                return Err("a service of git is asked with POST and git's own content type");
            }
            match service {
                Service::UploadPack => vec![reading("git.fetch", request, repository)?],
                Service::ReceivePack => pushing(request, repository)?,
            }
        }
    };
    Ok(Meaning {
        operations,
        body: None,
        query: None,
        graphql: false,
    })
}

/// Whether a path means the same to every server.
fn is_plain(request: &HttpRequest) -> bool {
    request.path.readings().len() == 1
}

/// The endpoint, by any reading that some server might give to the path, and the repository's path.
fn endpoint(request: &HttpRequest) -> Option<(Endpoint, String)> {
    request.path.readings().iter().find_map(|reading| {
        let path = reading.trim_end_matches('/');
        let is = |ending: &str| {
            path.len()
                .checked_sub(ending.len())
                .and_then(|at| path.split_at_checked(at))
                .filter(|(_, end)| end.eq_ignore_ascii_case(ending))
                .map(|(repository, _)| repository.to_owned())
        };
        if let Some(repository) = is("/git-upload-pack") {
            return Some((Endpoint::Service(Service::UploadPack), repository));
        }
        if let Some(repository) = is("/git-receive-pack") {
            return Some((Endpoint::Service(Service::ReceivePack), repository));
        }
        let repository = is("/info/refs")?;
        let mut services = request
            .query
            .pairs()
            .into_iter()
            .filter(|(name, _)| name == b"service")
            .map(|(_, value)| value);
        let receives = services.clone().any(|value| value == b"git-receive-pack");
        let service = match services.next() {
            None => return None,
            Some(_) if receives => Service::ReceivePack,
            Some(_) => Service::UploadPack,
        };
        Some((Endpoint::References(service), repository))
    })
}

/// The repository as it is shown and as a push to it is granted: host, port where it is not the usual
/// one, and path.
fn place(request: &HttpRequest, repository: &str) -> String {
    let target = &request.target;
    match target.port {
        443 => format!("{}{repository}", target.host),
        port => format!("{}:{port}{repository}", target.host),
    }
}

fn reading(name: &str, request: &HttpRequest, repository: &str) -> Result<Operation, &'static str> {
    let place = place(request, repository);
    operation(
        name,
        Effect::Read,
        "repository",
        &place,
        json!({"repository": place}),
    )
}

fn operation(
    name: &str,
    effect: Effect,
    kind: &str,
    id: &str,
    arguments: Json,
) -> Result<Operation, &'static str> {
    let resource = ResourceId::new("git", kind, id).map_err(|_| {
        "a repository or ref has a name with characters other than letters, digits and . _ - /, or \
         one that is too long to be shown"
    })?;
    Ok(Operation {
        name: OperationName::parse(name).map_err(|_| "an operation without a name")?,
        known: true,
        effect,
        flags: Flags::NONE,
        scope: Scope::None,
        resources: vec![resource],
        unresolved: None,
        arguments,
    })
}

fn pushing(request: &HttpRequest, repository: &str) -> Result<Vec<Operation>, &'static str> {
    let push = Push::read(request.body.bytes())?;
    if push.commands.is_empty() {
        // What git sends to see whether it may send more (remote-curl's probe).
        return Ok(vec![reading("git.discover", request, repository)?]);
    }
    let place = place(request, repository);
    push.commands
        .iter()
        .map(|command| {
            let (name, effect) = match command.change() {
                Change::Create => ("git.create_ref", Effect::Write),
                Change::Delete => ("git.delete_ref", Effect::Destructive),
                Change::Update => ("git.push_force", Effect::Destructive),
            };
            let arguments = json!({
                "repository": place,
                "ref": command.name,
                "old": command.old,
                "new": command.new,
                "options": push.options,
            });
            operation(
                name,
                effect,
                "ref",
                &format!("{place}:{}", command.name),
                arguments,
            )
        })
        .collect()
}

/// A push as [`prove`] and whoever remembers pushes need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed<'o> {
    /// Host, port where it is not 443, and path.
    pub repository: &'o str,
    /// The full name of the ref.
    pub name: &'o str,
    /// What it names now, as the server will check; zeros where it is created.
    pub old: &'o str,
    /// What it shall name; zeros where it is deleted.
    pub new: &'o str,
    /// Whether the push has options, which make a server do more than move refs.
    pub has_options: bool,
}

impl<'o> Pushed<'o> {
    /// What `operation` would do to a ref; `None` when it is no push.
    pub fn of(operation: &'o Operation) -> Option<Self> {
        if !matches!(
            operation.name.as_str(),
            "git.push" | "git.push_force" | "git.create_ref" | "git.delete_ref"
        ) {
            return None;
        }
        let text = |name: &str| operation.arguments.get(name)?.as_str();
        Some(Self {
            repository: text("repository")?,
            name: text("ref")?,
            old: text("old")?,
            new: text("new")?,
            has_options: operation.arguments.get("options") != Some(&json!([])),
        })
    }

    /// Whether it is a branch, of which history is expected.
    pub fn is_branch(&self) -> bool {
        self.name.starts_with(BRANCHES)
    }
}

/// Adds what the pack has for it to a push's operation, for whoever is asked about it.
pub fn describe(operation: &mut Operation, contents: &pack::Contents) {
    let Some(new) = Pushed::of(operation).map(|push| push.new.to_owned()) else {
        return;
    };
    let (commits, newest) = contents.commits_to(&new, told::MOST_COMMITS);
    let (files, paths) = contents.files(told::MOST_FILES);
    if let Some(arguments) = operation.arguments.as_object_mut() {
        arguments.insert("commits".to_owned(), json!(commits));
        arguments.insert("newest".to_owned(), json!(newest));
        arguments.insert("files".to_owned(), json!(files));
        arguments.insert("paths".to_owned(), json!(paths));
    }
}

/// Writes into a push's operation which content it has, by its SHA-256, where that is not in the request
/// itself: an approval is for this content then.
pub fn keep(operation: &mut Operation, digest: &str, octets: u64) {
    if Pushed::of(operation).is_some()
        && let Some(arguments) = operation.arguments.as_object_mut()
    {
        arguments.insert("content".to_owned(), json!(digest));
        arguments.insert("octets".to_owned(), json!(octets));
    }
}

/// The SHA-256 of the content of a push that is not in the request itself.
pub fn kept_content(operations: &[Operation]) -> Option<&str> {
    operations
        .iter()
        .filter(|operation| Pushed::of(operation).is_some())
        .find_map(|operation| operation.arguments.get("content")?.as_str())
}

/// What a push does, in the words of whoever has to answer for it; nothing for other operations.
pub(crate) use told::told;

/// Asks `is_ancestor` about a branch's update (old and new commit), and where the answer is yes calls it
/// what it is: a push that keeps what was there. Everything else stays forced.
pub fn prove(operation: &mut Operation, is_ancestor: impl FnOnce(&str, &str) -> bool) {
    if operation.name.as_str() != "git.push_force" {
        return;
    }
    let proved = Pushed::of(operation)
        .is_some_and(|push| push.is_branch() && is_ancestor(push.old, push.new));
    if let (true, Ok(name)) = (proved, OperationName::parse("git.push")) {
        operation.name = name;
        operation.effect = Effect::Write;
    }
}

/// What a push asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Push {
    commands: Vec<Command>,
    options: Vec<String>,
    /// Octets of the pack behind them.
    pack_length: usize,
}

#[derive(Debug, PartialEq, Eq)]
struct Command {
    old: String,
    new: String,
    name: String,
}

enum Change {
    Create,
    Delete,
    Update,
}

impl Command {
    fn change(&self) -> Change {
        let nothing = |id: &str| id.bytes().all(|byte| byte == b'0');
        match (nothing(&self.old), nothing(&self.new)) {
            (_, true) => Change::Delete,
            (true, false) => Change::Create,
            (false, false) => Change::Update,
        }
    }
}

impl Push {
    /// Reads the content of a request (gitprotocol-pack(5), "Reference Update Request"): shallow lines
    /// and commands, a flush, options and a flush where they were announced, the pack.
    fn read(content: &[u8]) -> Result<Self, &'static str> {
        let mut push = Self::default();
        let (mut rest, mut capabilities) = (content, None::<Vec<&str>>);
        while let Some(line) = packet(&mut rest)? {
            let line = match (line.iter().position(|byte| *byte == 0), &capabilities) {
                (Some(at), None) if push.commands.is_empty() && !line.starts_with(b"shallow ") => {
                    let listed = std::str::from_utf8(&line[at + 1..])
                        .map_err(|_| "a push has capabilities that are no text")?;
                    if listed.contains('\0') {
                        return Err("a push has capabilities that end early");
                    }
                    capabilities = Some(listed.split_ascii_whitespace().collect());
                    &line[..at]
                }
                (None, _) => line.strip_suffix(b"\n").unwrap_or(line),
                (Some(_), _) => return Err("a push names capabilities where none may stand"),
            };
            let line =
                std::str::from_utf8(line).map_err(|_| "a push names a ref that is no text")?;
            if let Some(id) = line.strip_prefix("shallow ") {
                if !is_id(id) {
                    return Err("a push names a shallow commit that is no object");
                }
                continue;
            }
            let command = Self::command(line)?;
            if push.commands.iter().any(|known| known.name == command.name) {
                return Err("a push names one ref twice");
            }
            push.commands.push(command);
            if push.commands.len() > MOST_COMMANDS {
                return Err("a push changes more than 100 refs; push them in several parts");
            }
        }
        let capabilities = capabilities.unwrap_or_default();
        if capabilities.iter().any(|it| it.starts_with("push-cert")) {
            return Err("a signed push; push without --signed");
        }
        if capabilities
            .iter()
            .any(|it| it.starts_with("push-options="))
        {
            return Err("a push announces its options in a way that git does not");
        }
        if capabilities.contains(&"push-options") {
            while let Some(option) = packet(&mut rest)? {
                let option = std::str::from_utf8(option.strip_suffix(b"\n").unwrap_or(option));
                push.options
                    .push(option.map_err(|_| "a push option is no text")?.to_owned());
            }
        }
        let has_pack = push
            .commands
            .iter()
            .any(|command| !matches!(command.change(), Change::Delete));
        match (has_pack, rest) {
            (false, []) => Ok(push),
            (true, rest) if rest.starts_with(b"PACK") => {
                push.pack_length = rest.len();
                Ok(push)
            }
            _ => Err("a push has something else than a pack behind its commands"),
        }
    }

    fn command(line: &str) -> Result<Command, &'static str> {
        let mut words = line.splitn(3, ' ');
        let (Some(old), Some(new), Some(name)) = (words.next(), words.next(), words.next()) else {
            return Err("a push has a command that is none");
        };
        let is_name = name.starts_with("refs/")
            && name.len() <= 255
            && !name.bytes().any(|byte| byte <= b' ' || byte == 0x7f);
        if !is_id(old) || !is_id(new) || old.len() != new.len() || !is_name {
            return Err("a push has a command whose objects or ref are not well formed");
        }
        Ok(Command {
            old: old.to_owned(),
            new: new.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// An object's name: SHA-1 or SHA-256 as git writes it.
fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
}

/// The next packet (gitprotocol-common(5), pkt-line); `None` for a flush. Packets that protocol 2 has
/// beside it, and empty ones, are none of a push.
fn packet<'c>(rest: &mut &'c [u8]) -> Result<Option<&'c [u8]>, &'static str> {
    const BROKEN: &str = "a push is not made of git's packets";
    let (length, behind) = rest.split_at_checked(4).ok_or(BROKEN)?;
    let mut octets = 0;
    for digit in length {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return Err(BROKEN),
        };
        octets = octets * 16 + usize::from(value);
    }
    if octets == 0 {
        *rest = behind;
        return Ok(None);
    }
    let octets = octets.checked_sub(4).filter(|it| *it > 0).ok_or(BROKEN)?;
    let (line, behind) = behind.split_at_checked(octets).ok_or(BROKEN)?;
    *rest = behind;
    Ok(Some(line))
}

/// Whether a request is one that a task's own remote at `path` is granted for: git's two services, and
/// the files of the protocol before them. `path` ends in neither a slash nor `.git`.
pub fn is_of_repository(path: &str, request_path: &str, method: &Method) -> bool {
    let Some(rest) = request_path.strip_prefix(path) else {
        return false;
    };
    let rest = rest.strip_prefix(".git").unwrap_or(rest);
    match method.as_str() {
        "GET" | "HEAD" => matches!(rest, "/info/refs" | "/HEAD") || rest.starts_with("/objects/"),
        "POST" => matches!(rest, "/git-upload-pack" | "/git-receive-pack"),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
