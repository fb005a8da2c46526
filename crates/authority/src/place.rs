//! Where one operation acts, compared with the task: what the policy is asked about environments.

use tagout_core::{
    Action, AnyRequest, CredentialUse, DatabaseRequest, EnvironmentName, Operation, ResourceId,
    Scope, Target,
};

use crate::Authority;
use crate::environment::{Freshness, Provider, Whereabouts};

/// Where one operation acts, as the policy is asked about it.
pub(crate) struct Place {
    pub(crate) resources: Vec<ResourceId>,
    pub(crate) unresolved: Option<String>,
    pub(crate) resolved: tagout_catalog::Resolved,
    pub(crate) environment: Option<EnvironmentName>,
    pub(crate) protected: bool,
    pub(crate) disposable: bool,
    pub(crate) in_task_environment: bool,
    pub(crate) in_credential_environments: bool,
    pub(crate) only_task_resources: bool,
}

impl Place {
    /// The environment as it is shown and digested.
    pub(crate) fn shown(&self) -> Option<String> {
        match (&self.environment, &self.unresolved) {
            (_, Some(_)) => Some("unresolved (counts as production)".to_owned()),
            (Some(name), None) => Some(name.to_string()),
            (None, None) => None,
        }
    }
}

impl Authority {
    /// Where one operation acts, compared with the task.
    pub(crate) async fn place(
        &self,
        action: &Action<AnyRequest>,
        operation: &Operation,
        freshness: Freshness,
    ) -> Place {
        let task = &*self.inner.task;
        let target = action.request().target();
        let whereabouts = match operation.scope {
            // Whatever it names is in the database that it is sent to.
            _ if let AnyRequest::Database(request) = action.request() => {
                self.of_database(request, action.credentials())
            }
            // What lies on this machine is in no environment.
            _ if matches!(action.request(), AnyRequest::Files(_)) => Whereabouts::default(),
            Scope::Account => Whereabouts::default(),
            Scope::None => {
                // A plain host has no resources; a pinned one is itself a resource. Elsewhere a
                // credential says where it acts: in the environments that it is for.
                let environments = match task.environment_of_host(&target.host) {
                    Some(pinned) => [pinned.clone()].into(),
                    None => action
                        .credentials()
                        .iter()
                        .filter_map(|used| task.credential(&used.name))
                        .flat_map(|grant| grant.environments.iter().cloned())
                        .collect(),
                };
                Whereabouts {
                    environments,
                    ..Whereabouts::default()
                }
            }
            Scope::Resources => self.whereabouts(action, operation, freshness).await,
        };
        let listed = |environment: &EnvironmentName| {
            action.credentials().iter().all(|used| {
                task.credential(&used.name)
                    .is_some_and(|grant| grant.lists(environment))
                    || task
                        .database(&used.name)
                        .is_some_and(|grant| grant.environment == *environment)
            })
        };
        let resolved = whereabouts.unresolved.is_none();
        let environment = whereabouts
            .environments
            .iter()
            .max_by_key(|name| {
                (
                    task.is_protected(Some(name)),
                    **name != task.environment,
                    !task.is_disposable(Some(name)),
                )
            })
            .filter(|_| resolved)
            .cloned();
        let in_task_environment = resolved
            && whereabouts
                .environments
                .iter()
                .all(|name| *name == task.environment);
        let needs_environment = operation.scope == Scope::Resources;
        Place {
            in_credential_environments: resolved && whereabouts.environments.iter().all(listed),
            only_task_resources: resolved && in_task_environment,
            protected: (needs_environment || environment.is_some())
                && !(resolved && whereabouts.environments.is_empty())
                && task.is_protected(environment.as_ref()),
            disposable: !whereabouts.environments.is_empty()
                && resolved
                && whereabouts
                    .environments
                    .iter()
                    .all(|name| task.is_disposable(Some(name))),
            resources: operation.resources.clone(),
            unresolved: whereabouts.unresolved,
            resolved: whereabouts.resolved,
            environment,
            in_task_environment,
        }
    }

    /// The environments of the database that a statement goes to.
    fn of_database(&self, request: &DatabaseRequest, uses: &[CredentialUse]) -> Whereabouts {
        let task = &*self.inner.task;
        let grant = uses.iter().find_map(|used| task.database(&used.name));
        let Some(grant) = grant.filter(|grant| {
            grant.endpoint.as_ref().is_some_and(|endpoint| {
                endpoint.reaches(&request.target) && endpoint.database == request.database
            })
        }) else {
            return Whereabouts::unresolved("the manifest names no such database");
        };
        Whereabouts {
            environments: task
                .environments_of_database(grant)
                .into_iter()
                .cloned()
                .collect(),
            ..Whereabouts::default()
        }
    }

    async fn whereabouts(
        &self,
        action: &Action<AnyRequest>,
        operation: &Operation,
        freshness: Freshness,
    ) -> Whereabouts {
        if let Some(why) = &operation.unresolved {
            return Whereabouts::unresolved(why.clone());
        }
        if operation.resources.is_empty() {
            return if operation.known {
                Whereabouts::unresolved("the request does not say what it acts on")
            } else {
                Whereabouts::default()
            };
        }
        // What is refused anyway must not make the provider work for the agent.
        if !action.faults().is_empty() {
            return Whereabouts::unresolved("the request was not fit to be looked up");
        }
        let target: &Target = action.request().target();
        let Some(pack) = tagout_catalog::pack_for_host(&target.host) else {
            return Whereabouts::unresolved("no provider pack knows the host");
        };
        let credential = action.credentials().iter().find(|used| {
            self.inner
                .task
                .credential(&used.name)
                .is_some_and(|grant| grant.provider == pack.name)
        });
        let Some(credential) = credential else {
            return Whereabouts::unresolved(
                "the request uses no credential of the task, so nobody can be asked",
            );
        };
        let provider = Provider {
            pack,
            target,
            credential: &credential.name,
        };
        self.inner
            .environments
            .locate(provider, operation, freshness)
            .await
    }
}
