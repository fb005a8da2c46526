//! Which environment an action touches. Resource ids are followed to the provider's own environment
//! ids, with the granted credential and outside the sandbox; a manifest's pins, or names frozen at
//! launch, say what those ids are called. What stays unresolved counts as production.
//!
//! Names decide nothing on their own: an agent that renames an environment changes no id.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tagout_catalog::{Pack, Query, Resolution, Resolved, Step};
use tagout_core::{Digest, EnvironmentName, Operation, ResourceId, Target, json};
use tagout_policy::Task;
use tokio::sync::OnceCell;

/// Sends a resolver's query to a provider with a credential of the session, under the same address
/// rules and the same ledger as the agent's own traffic. `session` wires it to the network.
pub trait Ask: Send + Sync {
    /// The content of the answer, when the provider answered 200. `target` is the host that the
    /// agent's request goes to; `credential` is a name of the manifest.
    ///
    /// # Errors
    /// A sentence that says what failed, without secrets.
    fn ask<'a>(&'a self, target: &'a Target, credential: &'a str, query: &'a Query) -> Answer<'a>;
}

/// What [`Ask::ask`] gives back.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send + 'a>>;

/// Whether an answer of the last minute may decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Reads and writes.
    Cached,
    /// Anything destructive, and every use of an approval.
    Anew,
}

/// Where the resources of one operation live.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whereabouts {
    /// The environments they live in, by the manifest's names.
    pub(crate) environments: BTreeSet<EnvironmentName>,
    /// Why that is not all of it.
    pub(crate) unresolved: Option<String>,
    /// What the provider said about each resource, for the preview.
    pub(crate) resolved: Resolved,
}

impl Whereabouts {
    pub(crate) fn unresolved(why: impl Into<String>) -> Self {
        Self {
            unresolved: Some(why.into()),
            ..Self::default()
        }
    }
}

/// With whom a provider is asked about an action.
#[derive(Clone, Copy)]
pub(crate) struct Provider<'a> {
    pub(crate) pack: &'static Pack,
    pub(crate) target: &'a Target,
    pub(crate) credential: &'a str,
}

/// How long a provider's answer may decide reads and writes.
const FRESH_FOR: Duration = Duration::from_secs(60);
/// Answers that are kept.
const MOST_CACHED: usize = 4096;
/// Queries one resolution may send.
const MOST_QUERIES: usize = 200;
/// Queries a second, over all resolutions of a session.
const QUERIES_A_SECOND: u32 = 10;
/// Why nothing is resolved after a panic.
const FAILED_BEFORE: &str = "the resolver failed before";
/// How long one resolution may take.
const LONGEST: Duration = Duration::from_secs(30);

/// What environment ids are called, frozen.
type Frozen = Arc<BTreeMap<ResourceId, EnvironmentName>>;

/// The environments of one session.
pub(crate) struct Environments {
    task: Arc<Task>,
    wanted: BTreeSet<EnvironmentName>,
    ask: Arc<dyn Ask>,
    cache: Mutex<HashMap<Digest, (Instant, Resolved)>>,
    /// By credential: two accounts of one provider see different projects.
    names: Mutex<HashMap<String, Arc<OnceCell<Frozen>>>>,
    pace: tokio::sync::Mutex<Pace>,
}

impl Environments {
    pub(crate) fn new(task: Arc<Task>, ask: Arc<dyn Ask>) -> Self {
        let mut wanted = BTreeSet::from([task.environment.clone()]);
        wanted.extend(task.environments.iter().map(|entry| entry.name.clone()));
        let listed = task
            .credentials
            .iter()
            .flat_map(|grant| &grant.environments);
        wanted.extend(listed.cloned());
        Self {
            task,
            wanted,
            ask,
            cache: Mutex::default(),
            names: Mutex::default(),
            pace: tokio::sync::Mutex::new(Pace::new()),
        }
    }

    /// Follows what `operation` names to environments of the manifest.
    pub(crate) async fn locate(
        &self,
        provider: Provider<'_>,
        operation: &Operation,
        freshness: Freshness,
    ) -> Whereabouts {
        match tokio::time::timeout(LONGEST, self.follow(provider, operation, freshness)).await {
            Ok(Ok(whereabouts)) => whereabouts,
            Ok(Err(why)) => Whereabouts::unresolved(why),
            Err(_) => Whereabouts::unresolved(format!(
                "{} did not say within {} s where it lives",
                provider.pack.name,
                LONGEST.as_secs()
            )),
        }
    }

    /// Looks the manifest's environment names up, so that the first action need not wait and no
    /// later renaming counts.
    pub(crate) async fn freeze_names(&self, provider: Provider<'_>) -> Result<(), String> {
        self.names(provider).await.map(|_| ())
    }

    async fn follow(
        &self,
        provider: Provider<'_>,
        operation: &Operation,
        freshness: Freshness,
    ) -> Result<Whereabouts, String> {
        let names = self.names(provider).await?;
        let resolved = self.resolve(provider, operation, freshness).await?;
        let mut whereabouts = Whereabouts::default();
        for resource in &operation.resources {
            let pinned = self.task.environment_of_resource(resource);
            whereabouts.environments.extend(pinned.cloned());
            let Some(found) = resolved.resources.iter().find(|r| r.resource == *resource) else {
                whereabouts.unresolved =
                    Some(format!("{} does not know {resource}", provider.pack.name));
                continue;
            };
            if let Some(why) = &found.unresolved {
                whereabouts.unresolved = Some(why.clone());
            } else if found.environments.is_empty() && pinned.is_none() {
                whereabouts.unresolved = Some(format!(
                    "{resource} is in no environment that {} tells",
                    provider.pack.name
                ));
            }
            for environment in &found.environments {
                let pinned = self.task.environment_of_resource(&environment.id);
                match pinned.or_else(|| names.get(&environment.id)) {
                    Some(name) => {
                        whereabouts.environments.insert(name.clone());
                    }
                    None => {
                        whereabouts.unresolved = Some(format!(
                            "{resource} is in {}, which no environment of the manifest names",
                            environment.id
                        ));
                    }
                }
            }
        }
        whereabouts.resolved = resolved;
        Ok(whereabouts)
    }

    /// The ids behind the manifest's environment names, looked up once and frozen. A name that two
    /// environments of one project carry is left out: it says nothing. So is an id that is pinned.
    async fn names(&self, provider: Provider<'_>) -> Result<Frozen, String> {
        let cell = {
            let mut cells = self.names.lock().map_err(|_| FAILED_BEFORE.to_owned())?;
            Arc::clone(cells.entry(provider.credential.to_owned()).or_default())
        };
        cell.get_or_try_init(|| async {
            let resolution = provider.pack.resolve_all_environments();
            let listed = self.drive(provider, resolution).await?;
            let mut ids: BTreeMap<(Option<&str>, &str), BTreeSet<&ResourceId>> = BTreeMap::new();
            for found in &listed.resources {
                if let Some(why) = &found.unresolved {
                    return Err(why.clone());
                }
                for environment in &found.environments {
                    ids.entry((environment.project.as_deref(), &environment.name))
                        .or_default()
                        .insert(&environment.id);
                }
            }
            let mut names = BTreeMap::new();
            for ((_, name), ids) in ids {
                let Ok(name) = EnvironmentName::parse(name) else {
                    continue;
                };
                if let [id] = Vec::from_iter(ids).as_slice()
                    && self.wanted.contains(&name)
                {
                    names.insert((*id).clone(), name);
                }
            }
            Ok(Arc::new(names))
        })
        .await
        .cloned()
    }

    async fn resolve(
        &self,
        provider: Provider<'_>,
        operation: &Operation,
        freshness: Freshness,
    ) -> Result<Resolved, String> {
        let question = serde_json::json!([
            provider.target,
            provider.credential,
            operation.name,
            operation.resources,
            operation.arguments
        ]);
        let key = Digest::of(json::canonical(&question).as_bytes());
        if freshness == Freshness::Cached {
            let cache = self.cache.lock().map_err(|_| FAILED_BEFORE.to_owned())?;
            if let Some((at, resolved)) = cache.get(&key)
                && at.elapsed() < FRESH_FOR
            {
                return Ok(resolved.clone());
            }
        }
        let resolved = self
            .drive(provider, provider.pack.resolve(operation))
            .await?;
        let mut cache = self.cache.lock().map_err(|_| FAILED_BEFORE.to_owned())?;
        // Ids that an agent makes up must not fill the memory.
        cache.retain(|_, (at, _)| at.elapsed() < FRESH_FOR);
        if cache.len() < MOST_CACHED {
            cache.insert(key, (Instant::now(), resolved.clone()));
        }
        Ok(resolved)
    }

    async fn drive(
        &self,
        provider: Provider<'_>,
        mut resolution: Resolution,
    ) -> Result<Resolved, String> {
        for _ in 0..MOST_QUERIES {
            match resolution.next() {
                Step::Ask(query) => {
                    self.pace.lock().await.wait().await;
                    let answer = self
                        .ask
                        .ask(provider.target, provider.credential, &query)
                        .await?;
                    resolution.answer(&answer);
                }
                Step::Done(resolved) => return Ok(resolved),
                Step::Failed(why) => return Err(why),
            }
        }
        Err(format!(
            "more than {MOST_QUERIES} queries would be needed to tell the environment"
        ))
    }
}

/// Keeps the resolver within its share of the provider's rate limit.
struct Pace {
    next: tokio::time::Instant,
    left: u32,
}

impl Pace {
    fn new() -> Self {
        Self {
            next: tokio::time::Instant::now(),
            left: QUERIES_A_SECOND,
        }
    }

    async fn wait(&mut self) {
        if self.left == 0 {
            tokio::time::sleep_until(self.next).await;
        }
        let now = tokio::time::Instant::now();
        if now >= self.next {
            self.next = now + Duration::from_secs(1);
            self.left = QUERIES_A_SECOND;
        }
        self.left = self.left.saturating_sub(1);
    }
}
