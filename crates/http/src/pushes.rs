//! Looks into the pack of a push before anybody judges it: no known secret leaves in one, however it is
//! compressed or put together, and a person who is asked sees which commits and files go where.
//!
//! What must stay true: a pack that cannot be read to its end is refused. It takes time and memory, so
//! one is looked into at a time, away from the threads that serve connections.

use tagout_catalog::git::pack::{self, Contents, Kind, Octets, Unreadable};
use tagout_catalog::git::{Pushed, describe, keep, pack_of};
use tagout_core::{Fault, FaultKind, HttpBody, HttpRequest, Operation};
use tagout_secrets::KnownSecrets;
use tokio::sync::Semaphore;

use crate::gate::Gate;
use crate::git::Objects;
use crate::spool::Spooled;
use crate::understand::fault;

/// Packs that are looked into at one time.
static LOOKING: Semaphore = Semaphore::const_new(1);

/// A known secret in a push.
struct Hit {
    label: String,
    /// The name of the object that holds it.
    object: String,
    kind: Kind,
}

impl Gate {
    /// The operations of a push with what its pack has for them, or why it must not leave.
    pub(crate) async fn look_into_push(
        &self,
        request: &mut HttpRequest,
        operations: Vec<Operation>,
        spooled: Option<&Spooled>,
    ) -> (Vec<Operation>, Option<Fault>) {
        let is_push = |operation: &Operation| Pushed::of(operation).is_some();
        if !operations.iter().any(is_push) {
            return (operations, None);
        }
        let Some((start, digits)) = pack_of(request.body.bytes()) else {
            return (operations, None);
        };
        let Ok(_turn) = LOOKING.acquire().await else {
            return (
                operations,
                Some(unreadable(&Unreadable::Broken("nobody looks"))),
            );
        };
        let known = self.inner.authority.broker().known();
        let history = self.history.clone();
        let kept = spooled.map(Spooled::content);
        let content = std::mem::replace(&mut request.body, HttpBody::Empty);
        let looked = tokio::task::spawn_blocking(move || {
            let mut objects = history.and_then(|history| history.objects(digits));
            let bytes = content.bytes();
            let octets: &dyn Octets = match &kept {
                Some(kept) => kept,
                None => &bytes,
            };
            let looked = look(octets, start as u64, digits, &known, objects.as_deref_mut());
            (content, looked)
        });
        let Ok((content, looked)) = looked.await else {
            return (
                operations,
                Some(unreadable(&Unreadable::Broken("looking failed"))),
            );
        };
        request.body = content;
        match looked {
            Err(why) => (operations, Some(unreadable(&why))),
            Ok((contents, Some(hit))) => (operations, Some(self.secret(&contents, &hit))),
            Ok((contents, None)) => {
                let mut described = operations;
                for operation in &mut described {
                    describe(operation, &contents);
                    if let Some(spooled) = spooled {
                        keep(operation, spooled.digest(), spooled.octets());
                    }
                }
                (described, None)
            }
        }
    }

    fn secret(&self, contents: &Contents, hit: &Hit) -> Fault {
        let (path, commit) = contents.place_of(&hit.object);
        let what = match hit.kind {
            Kind::Commit => "a commit's message or author".to_owned(),
            Kind::Tag => "a tag's message".to_owned(),
            Kind::Tree => "the name of a file".to_owned(),
            Kind::Blob => path.map_or_else(|| "a file".to_owned(), |path| format!("`{path}`")),
        };
        let of = commit.map_or_else(String::new, |commit| {
            format!(" (commit {})", commit.get(..10).unwrap_or(&commit))
        });
        // A path is the agent's to choose, and may hold a value as well.
        let place = self
            .inner
            .authority
            .broker()
            .redact_text(&format!("{what}{of}"));
        fault(
            FaultKind::KnownSecret,
            format!("the push holds the real value of {} in {place}", hit.label),
            "Take the value out of the commit that brings it (git commit --amend, or git rebase -i for an earlier one) and push again. Do not encode it.",
        )
    }
}

/// Reads a pack and looks for known secrets in everything that it holds.
fn look(
    octets: &dyn Octets,
    start: u64,
    digits: usize,
    known: &KnownSecrets,
    mut objects: Option<&mut (dyn Objects + 'static)>,
) -> Result<(Contents, Option<Hit>), Unreadable> {
    let mut hit = None;
    let contents = pack::read(
        octets,
        start,
        digits,
        &mut |name| objects.as_mut()?.object(name),
        &mut |name, kind, content| {
            if hit.is_some() {
                return;
            }
            hit = known.find(content).map(|found| Hit {
                label: found.label,
                object: name.to_owned(),
                kind,
            });
        },
    )?;
    Ok((contents, hit))
}

fn unreadable(why: &Unreadable) -> Fault {
    let (kind, how_to_proceed) = match why {
        Unreadable::BaseMissing(_) => (
            FaultKind::Unparsable,
            "Push with `git -c pack.window=0 -c pack.depth=0 push …`, so that the push has everything that it builds on.",
        ),
        Unreadable::TooLarge(_) => (
            FaultKind::TooLarge,
            "Push in smaller parts, an earlier commit of the branch first; files of that size belong elsewhere, or your user pushes them outside.",
        ),
        Unreadable::Broken(_) => (FaultKind::Unparsable, "Push with git itself."),
    };
    fault(kind, why.to_string(), how_to_proceed)
}
