//! How Railway tells where things live. An environment belongs to a project; a service and a volume
//! belong to a project and have an instance in each environment that uses them; there is no query
//! that takes a volume's id, so volumes are found by listing projects. The fields are those of the
//! published schema.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use tagout_core::{Effect, Operation, ResourceId};

use super::reading::{edges, flag, is, member, same, text, unreliable};
use super::{Answers, EnvironmentRef, Halt, Resolved, ResolvedResource};
use crate::tables::Reach;

mod describe;
mod queries;

use queries::{
    BACKUPS, BUCKETS, CUSTOM_DOMAIN, DEPLOYMENT, ENVIRONMENT, ENVIRONMENTS, PROJECTS,
    PROJECTS_OF_WORKSPACE, SANDBOX, SERVICE, SOURCE, VOLUME_INSTANCE, VOLUME_INSTANCES, VOLUMES,
};

#[cfg(test)]
pub(super) use queries::ALL;

/// What was found out about one resource.
#[derive(Default)]
struct Found {
    name: Option<String>,
    environments: Vec<EnvironmentRef>,
    details: Vec<(String, String)>,
}

/// Where everything that `operation` names lives.
pub(super) fn resolve(
    answers: &Answers,
    operation: &Operation,
    reach: Reach,
) -> Result<Resolved, Halt> {
    let railway = Railway {
        answers,
        with_details: operation.effect >= Effect::Destructive,
    };
    let confined = railway.confinement(operation, reach);
    let confined = match confined {
        Err(Halt::Ask(body)) => return Err(Halt::Ask(body)),
        Err(Halt::Unresolved(reason)) => Err(reason),
        Ok(environments) => Ok(environments),
    };
    let mut resources = Vec::new();
    for resource in &operation.resources {
        let found = match &confined {
            Err(reason) => Err(Halt::Unresolved(reason.clone())),
            Ok(confined) => railway.resource(resource, operation, confined.as_deref()),
        };
        resources.push(match found {
            Err(Halt::Ask(body)) => return Err(Halt::Ask(body)),
            Err(Halt::Unresolved(reason)) => ResolvedResource {
                resource: resource.clone(),
                name: None,
                environments: Vec::new(),
                unresolved: Some(reason),
                details: Vec::new(),
            },
            Ok(found) => ResolvedResource {
                resource: resource.clone(),
                name: found.name,
                environments: found.environments,
                unresolved: None,
                details: found.details,
            },
        });
    }
    Ok(Resolved { resources })
}

/// Every environment of every project that the credential sees.
pub(super) fn everything(answers: &Answers) -> Result<Resolved, Halt> {
    let railway = Railway {
        answers,
        with_details: false,
    };
    let mut resources: Vec<ResolvedResource> = Vec::new();
    for project in railway.projects(None)? {
        for environment in railway.environments(&project)?.1 {
            if resources.iter().any(|it| it.resource == environment.id) {
                return Err(unreliable("an environment in two projects"));
            }
            resources.push(ResolvedResource {
                resource: environment.id.clone(),
                name: Some(environment.name.clone()),
                environments: vec![environment],
                unresolved: None,
                details: Vec::new(),
            });
        }
    }
    Ok(Resolved { resources })
}

struct Railway<'a> {
    answers: &'a Answers,
    /// Whether a preview will be shown.
    with_details: bool,
}

impl<'a> Railway<'a> {
    /// The environments that the operation names, if it acts in them alone.
    fn confinement(
        &self,
        operation: &Operation,
        reach: Reach,
    ) -> Result<Option<Vec<EnvironmentRef>>, Halt> {
        let mut environments = Vec::new();
        for resource in &operation.resources {
            if resource.kind() != "environment" {
                continue;
            }
            environments.push(self.environment(resource.id())?);
            if reach == Reach::Fork {
                let answer = self.answers.ask(SOURCE, &[("id", resource.id())])?;
                let environment = member(answer, "environment")?;
                same(environment, "id", resource.id())?;
                if environment
                    .get("sourceEnvironment")
                    .is_none_or(Json::is_null)
                {
                    return Ok(None);
                }
            }
        }
        match reach {
            Reach::Own | Reach::Fork if !environments.is_empty() => Ok(Some(environments)),
            _ => Ok(None),
        }
    }

    fn resource(
        &self,
        resource: &ResourceId,
        operation: &Operation,
        confined: Option<&[EnvironmentRef]>,
    ) -> Result<Found, Halt> {
        let id = resource.id();
        match resource.kind() {
            "environment" => {
                let environment = self.environment(id)?;
                let details = self.contents(id)?;
                Ok(Found {
                    name: Some(environment.name.clone()),
                    environments: vec![environment],
                    details,
                })
            }
            "project" => match confined {
                Some(confined) => belong(confined, id),
                None => {
                    let (name, environments) = self.environments(id)?;
                    Ok(Found {
                        name: Some(name),
                        details: self.project_contents(id, &environments)?,
                        environments,
                    })
                }
            },
            "service" => self.service(id, confined),
            "volume" => self.volume(id, operation, confined),
            "volume-instance" => self.volume_instance(id),
            "volume-instance-backup" => self.backup(id, operation),
            "deployment" => {
                let answer = self.answers.ask(DEPLOYMENT, &[("id", id)])?;
                let deployment = member(answer, "deployment")?;
                same(deployment, "id", id)?;
                let environment = self.environment(text(deployment, "environmentId")?)?;
                Ok(Found {
                    environments: vec![environment],
                    ..Found::default()
                })
            }
            "custom-domain" => self.custom_domain(id, operation, confined),
            "workspace" => self.workspace(id, operation, confined),
            "bucket" => self.bucket(id, confined),
            "sandbox" => self.sandbox(id, confined),
            kind => Err(Halt::Unresolved(format!(
                "Railway does not tell by its id which environment a {kind} is in"
            ))),
        }
    }

    fn environment(&self, id: &str) -> Result<EnvironmentRef, Halt> {
        let answer = self.answers.ask(ENVIRONMENT, &[("id", id)])?;
        let environment = member(answer, "environment")?;
        same(environment, "id", id)?;
        environment_ref(environment)
    }

    /// A project's name, and all of its environments.
    fn environments(&self, project: &str) -> Result<(String, Vec<EnvironmentRef>), Halt> {
        let pages = self.answers.pages(
            ENVIRONMENTS,
            &[("id", project)],
            &["project", "environments"],
        )?;
        let mut name = String::new();
        for data in &pages.data {
            let found = member(data, "project")?;
            same(found, "id", project)?;
            text(found, "name")?.clone_into(&mut name);
        }
        let environments = pages
            .nodes
            .into_iter()
            .map(|node| {
                same(node, "projectId", project)?;
                environment_ref(node)
            })
            .collect::<Result<_, _>>()?;
        Ok((name, environments))
    }

    fn projects(&self, workspace: Option<&str>) -> Result<Vec<String>, Halt> {
        let pages = match workspace {
            None => self.answers.pages(PROJECTS, &[], &["projects"])?,
            Some(id) => self
                .answers
                .pages(PROJECTS_OF_WORKSPACE, &[("id", id)], &["projects"])?,
        };
        pages
            .nodes
            .into_iter()
            .map(|node| Ok(text(node, "id")?.to_owned()))
            .collect()
    }

    fn service(&self, id: &str, confined: Option<&[EnvironmentRef]>) -> Result<Found, Halt> {
        let pages = self
            .answers
            .pages(SERVICE, &[("id", id)], &["service", "serviceInstances"])?;
        let first = pages.data.first().ok_or_else(|| unreliable("no service"))?;
        let service = member(first, "service")?;
        same(service, "id", id)?;
        let project = text(service, "projectId")?;
        let name = Some(text(service, "name")?.to_owned());
        if let Some(confined) = confined {
            return Ok(Found {
                name,
                ..belong(confined, project)?
            });
        }
        let ids = pages
            .nodes
            .into_iter()
            .map(|node| text(node, "environmentId"))
            .collect::<Result<BTreeSet<_>, _>>()?;
        let (_, mut environments) = self.environments(project)?;
        if !ids.is_empty() {
            environments.retain(|environment| ids.contains(environment.id.id()));
            if environments.len() != ids.len() {
                return Err(unreliable(
                    "an instance in an environment that is not listed",
                ));
            }
        }
        let details = environments
            .iter()
            .map(|environment| ("instance in".to_owned(), environment.name.clone()))
            .collect();
        Ok(Found {
            name,
            environments,
            details,
        })
    }

    /// A volume lives wherever it has an instance; confined, it must belong to that project.
    fn volume(
        &self,
        id: &str,
        operation: &Operation,
        confined: Option<&[EnvironmentRef]>,
    ) -> Result<Found, Halt> {
        let projects = match confined {
            Some(confined) => projects_of(confined)?,
            None => match named(operation, "project").next() {
                Some(project) => vec![project.to_owned()],
                None => self.projects(None)?,
            },
        };
        for project in projects {
            let pages =
                self.answers
                    .pages(VOLUMES, &[("id", &project)], &["project", "volumes"])?;
            for data in &pages.data {
                same(member(data, "project")?, "id", &project)?;
            }
            let Some(volume) = pages.nodes.iter().find(|node| is(node, "id", id)) else {
                continue;
            };
            same(volume, "projectId", &project)?;
            let name = Some(text(volume, "name")?.to_owned());
            if let Some(confined) = confined
                && !self.with_details
            {
                return Ok(Found {
                    name,
                    ..belong(confined, &project)?
                });
            }
            let mut instances = self.instances_of(volume, id, &project)?;
            if let Some(confined) = confined {
                belong(confined, &project)?;
                instances.retain(|(environment, _)| confined.contains(environment));
            }
            let mut found = Found {
                name,
                environments: confined.map(<[_]>::to_vec).unwrap_or_default(),
                details: vec![("instances".to_owned(), instances.len().to_string())],
            };
            for (environment, instance) in instances {
                found
                    .details
                    .push(self.describe(&environment, instance, &project)?);
                if confined.is_none() {
                    found.environments.push(environment);
                }
            }
            return Ok(found);
        }
        Err(Halt::Unresolved(
            "no project that the credential sees has a volume of that id".to_owned(),
        ))
    }

    /// A volume's instances. Where the volume's own list is cut off, which cannot be paged, those of
    /// every environment of the project are read.
    fn instances_of(
        &self,
        volume: &'a Json,
        id: &str,
        project: &str,
    ) -> Result<Vec<(EnvironmentRef, &'a Json)>, Halt> {
        let mut instances = Vec::new();
        let own = member(volume, "volumeInstances")?;
        let mut seen = BTreeSet::new();
        for instance in edges(own)? {
            let environment = member(instance, "environment")?;
            same(instance, "volumeId", id)?;
            same(environment, "id", text(instance, "environmentId")?)?;
            same(environment, "projectId", project)?;
            if !seen.insert(text(instance, "id")?) {
                return Err(unreliable("an id that is listed twice"));
            }
            instances.push((environment_ref(environment)?, instance));
        }
        if !flag(member(own, "pageInfo")?, "hasNextPage")? {
            return Ok(instances);
        }
        instances.clear();
        for environment in self.environments(project)?.1 {
            for instance in self.volume_instances(&environment)? {
                if is(instance, "volumeId", id) {
                    seen.remove(text(instance, "id")?);
                    instances.push((environment.clone(), instance));
                }
            }
        }
        match seen.is_empty() {
            true => Ok(instances),
            false => Err(unreliable("two lists of a volume's instances that differ")),
        }
    }

    fn volume_instances(&self, environment: &EnvironmentRef) -> Result<Vec<&'a Json>, Halt> {
        let id = environment.id.id();
        let pages = self.answers.pages(
            VOLUME_INSTANCES,
            &[("id", id)],
            &["environment", "volumeInstances"],
        )?;
        for data in &pages.data {
            same(member(data, "environment")?, "id", id)?;
        }
        for node in &pages.nodes {
            same(node, "environmentId", id)?;
        }
        Ok(pages.nodes)
    }

    fn volume_instance(&self, id: &str) -> Result<Found, Halt> {
        let answer = self.answers.ask(VOLUME_INSTANCE, &[("id", id)])?;
        let instance = member(answer, "volumeInstance")?;
        same(instance, "id", id)?;
        let environment = self.environment(text(instance, "environmentId")?)?;
        let name = instance
            .get("volume")
            .and_then(|volume| volume.get("name"))
            .and_then(Json::as_str)
            .map(str::to_owned);
        let details = match (self.with_details, environment.project.as_deref()) {
            (true, Some(project)) => vec![self.describe(&environment, instance, project)?],
            _ => Vec::new(),
        };
        Ok(Found {
            name,
            environments: vec![environment],
            details,
        })
    }

    /// A backup lives in the instance that the operation names beside it.
    fn backup(&self, id: &str, operation: &Operation) -> Result<Found, Halt> {
        for instance in named(operation, "volume-instance") {
            for backup in self.backups(instance)? {
                if is(backup, "id", id) {
                    return Ok(Found {
                        name: backup.get("name").and_then(Json::as_str).map(str::to_owned),
                        environments: self.volume_instance(instance)?.environments,
                        details: vec![("made".to_owned(), text(backup, "createdAt")?.to_owned())],
                    });
                }
            }
        }
        Err(Halt::Unresolved(
            "the volume's instance that is named has no backup of that id".to_owned(),
        ))
    }

    fn backups(&self, instance: &str) -> Result<&'a [Json], Halt> {
        let answer = self.answers.ask(BACKUPS, &[("id", instance)])?;
        answer
            .get("volumeInstanceBackupList")
            .and_then(Json::as_array)
            .map(Vec::as_slice)
            .ok_or_else(|| unreliable("no list of backups"))
    }

    /// A custom domain is asked for by its project, so each project is tried.
    fn custom_domain(
        &self,
        id: &str,
        operation: &Operation,
        confined: Option<&[EnvironmentRef]>,
    ) -> Result<Found, Halt> {
        let projects = match (confined, named(operation, "project").next()) {
            (Some(confined), _) => projects_of(confined)?,
            (None, Some(project)) => vec![project.to_owned()],
            (None, None) => self.projects(None)?,
        };
        for project in projects {
            let variables = [("id", id), ("project", project.as_str())];
            let answer = match self.answers.ask(CUSTOM_DOMAIN, &variables) {
                Ok(answer) => answer,
                // Not in this project.
                Err(Halt::Unresolved(_)) => continue,
                Err(ask) => return Err(ask),
            };
            let domain = member(answer, "customDomain")?;
            same(domain, "id", id)?;
            let environment = self.environment(text(domain, "environmentId")?)?;
            return Ok(Found {
                name: Some(text(domain, "domain")?.to_owned()),
                environments: vec![environment],
                details: Vec::new(),
            });
        }
        Err(Halt::Unresolved(
            "no project that the credential sees has a custom domain of that id".to_owned(),
        ))
    }

    /// Beside something more exact, a workspace only says where that is sorted under.
    fn workspace(
        &self,
        id: &str,
        operation: &Operation,
        confined: Option<&[EnvironmentRef]>,
    ) -> Result<Found, Halt> {
        let mut found = Found::default();
        if let Some(confined) = confined {
            found.environments = confined.to_vec();
            return Ok(found);
        }
        let projects = match named(operation, "project").next() {
            Some(project) => vec![project.to_owned()],
            None => self.projects(Some(id))?,
        };
        for project in projects {
            let (name, environments) = self.environments(&project)?;
            found.environments.extend(environments);
            found.details.push(("project".to_owned(), name));
        }
        Ok(found)
    }

    fn bucket(&self, id: &str, confined: Option<&[EnvironmentRef]>) -> Result<Found, Halt> {
        let Some(confined) = confined else {
            return Err(Halt::Unresolved(
                "Railway does not tell by its id which environment a bucket is in".to_owned(),
            ));
        };
        for project in projects_of(confined)? {
            let pages =
                self.answers
                    .pages(BUCKETS, &[("id", &project)], &["project", "buckets"])?;
            if let Some(bucket) = pages.nodes.iter().find(|node| is(node, "id", id)) {
                return Ok(Found {
                    name: Some(text(bucket, "name")?.to_owned()),
                    ..belong(confined, &project)?
                });
            }
        }
        Err(Halt::Unresolved(
            "the environment's project has no bucket of that id".to_owned(),
        ))
    }

    fn sandbox(&self, id: &str, confined: Option<&[EnvironmentRef]>) -> Result<Found, Halt> {
        let Some([environment]) = confined else {
            return Err(Halt::Unresolved(
                "Railway does not tell by its id which environment a sandbox is in".to_owned(),
            ));
        };
        let variables = [("environment", environment.id.id()), ("id", id)];
        let sandbox = member(self.answers.ask(SANDBOX, &variables)?, "sandbox")?;
        same(sandbox, "id", id)?;
        same(sandbox, "environmentId", environment.id.id())?;
        Ok(Found {
            environments: vec![environment.clone()],
            ..Found::default()
        })
    }
}

/// The environments that confine an operation, once they were seen to belong to `project`.
fn belong(confined: &[EnvironmentRef], project: &str) -> Result<Found, Halt> {
    let theirs = confined
        .iter()
        .all(|environment| environment.project.as_deref() == Some(project));
    match theirs {
        true => Ok(Found {
            environments: confined.to_vec(),
            ..Found::default()
        }),
        false => Err(Halt::Unresolved(
            "it does not belong to the environment that the request names beside it".to_owned(),
        )),
    }
}

fn projects_of(confined: &[EnvironmentRef]) -> Result<Vec<String>, Halt> {
    let projects: BTreeSet<&str> = confined
        .iter()
        .filter_map(|environment| environment.project.as_deref())
        .collect();
    match projects.is_empty() {
        true => Err(unreliable("an environment without a project")),
        false => Ok(projects.into_iter().map(str::to_owned).collect()),
    }
}

/// The ids of everything of a kind that the operation names.
fn named<'o>(operation: &'o Operation, kind: &'o str) -> impl Iterator<Item = &'o str> {
    operation
        .resources
        .iter()
        .filter(move |resource| resource.kind() == kind)
        .map(ResourceId::id)
}

fn environment_ref(node: &Json) -> Result<EnvironmentRef, Halt> {
    let id = text(node, "id")?;
    Ok(EnvironmentRef {
        id: ResourceId::new("railway", "environment", id)
            .map_err(|_| unreliable("an id that is none"))?,
        name: text(node, "name")?.to_owned(),
        project: Some(text(node, "projectId")?.to_owned()),
    })
}
