//! What exists at the fake: plain records that hold ids of each other.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use serde::Serialize;
use serde_json::Value as Json;

use crate::execute::execute;
use crate::resolve::Viewer;

/// When everything in a fresh world was created.
pub(crate) const CREATED: &str = "2026-01-12T09:30:00.000Z";

/// Everything that exists. Fields are public: a test builds and reads worlds freely.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// People.
    pub users: Vec<User>,
    /// Teams.
    pub workspaces: Vec<Workspace>,
    /// Projects of workspaces.
    pub projects: Vec<Project>,
    /// Environments of projects.
    pub environments: Vec<Environment>,
    /// Services of projects.
    pub services: Vec<Service>,
    /// A service in an environment.
    pub service_instances: Vec<ServiceInstance>,
    /// Volumes of projects.
    pub volumes: Vec<Volume>,
    /// A volume in an environment, with its data and its backups.
    pub volume_instances: Vec<VolumeInstance>,
    /// Deployments.
    pub deployments: Vec<Deployment>,
    /// Custom domains.
    pub custom_domains: Vec<CustomDomain>,
    /// Variables by environment, service (empty: shared) and name.
    pub variables: BTreeMap<(String, String, String), String>,
    /// Tokens with blanket authority over everything that their user sees.
    pub account_tokens: Vec<AccountToken>,
    /// Tokens for one environment.
    pub project_tokens: Vec<ProjectToken>,
}

/// A person.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// UUID.
    pub id: String,
    /// Shown name.
    pub name: String,
    /// Address.
    pub email: String,
    /// RFC 3339.
    pub created_at: String,
}

/// A team.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Workspace {
    /// UUID.
    pub id: String,
    /// Shown name.
    pub name: String,
    /// RFC 3339.
    pub created_at: String,
}

/// A project.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Project {
    /// UUID.
    pub id: String,
    /// Shown name.
    pub name: String,
    /// The workspace that owns it.
    pub workspace_id: String,
    /// The environment that was made first.
    pub primary_environment_id: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// Always `None`: what is deleted is gone.
    pub deleted_at: Option<String>,
}

/// An environment.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Environment {
    /// UUID.
    pub id: String,
    /// Shown name.
    pub name: String,
    /// The project that it belongs to.
    pub project_id: String,
    /// Whether it was made for a pull request.
    pub is_ephemeral: bool,
    /// Always true.
    pub can_access: bool,
    /// Staged changes.
    pub unmerged_changes_count: u32,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// Always `None`.
    pub deleted_at: Option<String>,
}

/// A service.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// UUID.
    pub id: String,
    /// Shown name.
    pub name: String,
    /// The project that it belongs to.
    pub project_id: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// Always `None`.
    pub deleted_at: Option<String>,
}

/// A service in an environment.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceInstance {
    /// UUID.
    pub id: String,
    /// The service.
    pub service_id: String,
    /// The service's name.
    pub service_name: String,
    /// Where it runs.
    pub environment_id: String,
    /// What it runs.
    pub start_command: Option<String>,
    /// How often it runs at once.
    pub num_replicas: u32,
    /// Always `None`.
    pub cron_schedule: Option<String>,
    /// Always `None`.
    pub next_cron_run_at: Option<String>,
    /// Always false.
    pub tracing_enabled: bool,
    /// Always false.
    pub auto_instrumentation_enabled: bool,
}

/// A volume: the name over instances in several environments.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// UUID.
    pub id: String,
    /// Shown name.
    pub name: String,
    /// The project that it belongs to.
    pub project_id: String,
    /// RFC 3339.
    pub created_at: String,
}

/// A volume in an environment: the data.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeInstance {
    /// UUID.
    pub id: String,
    /// The volume.
    pub volume_id: String,
    /// Where it is.
    pub environment_id: String,
    /// The service that mounts it.
    pub service_id: Option<String>,
    /// Where the service mounts it.
    pub mount_path: String,
    /// The quota, in megabytes.
    #[serde(rename = "sizeMB")]
    pub size_mb: u32,
    /// What is used, in megabytes.
    #[serde(rename = "currentSizeMB")]
    pub current_size_mb: f64,
    /// `READY` and so on, as the schema's `VolumeState`.
    pub state: String,
    /// Always false.
    pub is_pending_deletion: bool,
    /// Always `None`.
    pub deleted_at: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// What is stored.
    #[serde(skip)]
    pub data: Vec<u8>,
    /// The backups, which live in the volume and go with it.
    #[serde(skip)]
    pub backups: Vec<Backup>,
}

/// A backup of a volume's instance.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// UUID.
    pub id: String,
    /// The storage's own id.
    pub external_id: String,
    /// Shown name.
    pub name: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub expires_at: Option<String>,
    /// In megabytes.
    #[serde(rename = "usedMB")]
    pub used_mb: u32,
    /// In megabytes.
    #[serde(rename = "referencedMB")]
    pub referenced_mb: u32,
    /// In megabytes.
    #[serde(rename = "volumeInstanceSizeMB")]
    pub volume_instance_size_mb: u32,
    /// Always `None`.
    pub schedule_id: Option<String>,
    /// Always `None`.
    pub creator_id: Option<String>,
    /// What was stored then.
    #[serde(skip)]
    pub data: Vec<u8>,
}

/// A deployment.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// UUID.
    pub id: String,
    /// The project.
    pub project_id: String,
    /// Where it runs.
    pub environment_id: String,
    /// The service that it runs.
    pub service_id: Option<String>,
    /// As the schema's `DeploymentStatus`.
    pub status: String,
    /// RFC 3339.
    pub created_at: String,
    /// Whether it ended.
    pub deployment_stopped: bool,
    /// Always true.
    pub can_redeploy: bool,
}

/// A custom domain.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomDomain {
    /// UUID.
    pub id: String,
    /// The name.
    pub domain: String,
    /// The project.
    pub project_id: Option<String>,
    /// Where it leads.
    pub environment_id: String,
    /// Where it leads.
    pub service_id: String,
    /// Where it leads.
    pub target_port: Option<u16>,
    /// RFC 3339.
    pub created_at: Option<String>,
    /// RFC 3339.
    pub updated_at: Option<String>,
    /// As the schema's `CustomDomainSyncStatus`.
    pub sync_status: String,
}

/// A token that may do whatever its user may: `Authorization: Bearer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountToken {
    /// UUID.
    pub id: String,
    /// Shown name.
    pub name: String,
    /// The value.
    pub value: String,
    /// Whose.
    pub user_id: String,
}

/// A token for one environment: `Project-Access-Token`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectToken {
    /// UUID.
    pub id: String,
    /// Shown name.
    pub name: String,
    /// The value.
    pub value: String,
    /// The one environment.
    pub environment_id: String,
}

/// A version 4 UUID from the standard library's randomly keyed hasher: unguessable enough for a fake
/// on the loopback interface.
pub(crate) fn fresh_uuid() -> String {
    let half = || RandomState::new().build_hasher().finish();
    let (high, low) = (half(), half());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
}

impl World {
    /// A user, and an account token of theirs.
    pub fn add_user(&mut self, name: &str, email: &str) -> String {
        let id = fresh_uuid();
        self.users.push(User {
            id: id.clone(),
            name: name.to_owned(),
            email: email.to_owned(),
            created_at: CREATED.to_owned(),
        });
        id
    }

    /// A fresh account token; returns its value.
    pub fn add_account_token(&mut self, user_id: &str, name: &str) -> String {
        let value = fresh_uuid();
        self.account_tokens.push(AccountToken {
            id: fresh_uuid(),
            name: name.to_owned(),
            value: value.clone(),
            user_id: user_id.to_owned(),
        });
        value
    }

    /// A fresh token for one environment; returns its value.
    pub fn add_project_token(&mut self, environment_id: &str, name: &str) -> String {
        let value = fresh_uuid();
        self.project_tokens.push(ProjectToken {
            id: fresh_uuid(),
            name: name.to_owned(),
            value: value.clone(),
            environment_id: environment_id.to_owned(),
        });
        value
    }

    /// A workspace; returns its id.
    pub fn add_workspace(&mut self, name: &str) -> String {
        let id = fresh_uuid();
        self.workspaces.push(Workspace {
            id: id.clone(),
            name: name.to_owned(),
            created_at: CREATED.to_owned(),
        });
        id
    }

    /// A project; returns its id.
    pub fn add_project(&mut self, workspace_id: &str, name: &str) -> String {
        let id = fresh_uuid();
        self.projects.push(Project {
            id: id.clone(),
            name: name.to_owned(),
            workspace_id: workspace_id.to_owned(),
            primary_environment_id: None,
            created_at: CREATED.to_owned(),
            updated_at: CREATED.to_owned(),
            deleted_at: None,
        });
        id
    }

    /// An environment; returns its id. A project's first one is its primary one.
    pub fn add_environment(&mut self, project_id: &str, name: &str) -> String {
        let id = fresh_uuid();
        self.environments.push(Environment {
            id: id.clone(),
            name: name.to_owned(),
            project_id: project_id.to_owned(),
            is_ephemeral: false,
            can_access: true,
            unmerged_changes_count: 0,
            created_at: CREATED.to_owned(),
            updated_at: CREATED.to_owned(),
            deleted_at: None,
        });
        if let Some(project) = self.projects.iter_mut().find(|it| it.id == project_id) {
            project
                .primary_environment_id
                .get_or_insert_with(|| id.clone());
        }
        id
    }

    /// A service with an instance and a deployment in each of `environments`; returns its id.
    pub fn add_service(&mut self, project_id: &str, name: &str, environments: &[&str]) -> String {
        let id = fresh_uuid();
        self.services.push(Service {
            id: id.clone(),
            name: name.to_owned(),
            project_id: project_id.to_owned(),
            created_at: CREATED.to_owned(),
            updated_at: CREATED.to_owned(),
            deleted_at: None,
        });
        for environment in environments {
            self.service_instances.push(ServiceInstance {
                id: fresh_uuid(),
                service_id: id.clone(),
                service_name: name.to_owned(),
                environment_id: (*environment).to_owned(),
                start_command: None,
                num_replicas: 1,
                cron_schedule: None,
                next_cron_run_at: None,
                tracing_enabled: false,
                auto_instrumentation_enabled: false,
            });
            self.deployments.push(Deployment {
                id: fresh_uuid(),
                project_id: project_id.to_owned(),
                environment_id: (*environment).to_owned(),
                service_id: Some(id.clone()),
                status: "SUCCESS".to_owned(),
                created_at: CREATED.to_owned(),
                deployment_stopped: false,
                can_redeploy: true,
            });
        }
        id
    }

    /// A volume without instances; returns its id.
    pub fn add_volume(&mut self, project_id: &str, name: &str) -> String {
        let id = fresh_uuid();
        self.volumes.push(Volume {
            id: id.clone(),
            name: name.to_owned(),
            project_id: project_id.to_owned(),
            created_at: CREATED.to_owned(),
        });
        id
    }

    /// An instance of a volume that holds `data` and `backups` copies of it; returns its id.
    pub fn add_volume_instance(
        &mut self,
        volume_id: &str,
        environment_id: &str,
        service_id: Option<&str>,
        mount_path: &str,
        data: &[u8],
        backups: u32,
    ) -> String {
        let id = fresh_uuid();
        let used_mb = 1024;
        self.volume_instances.push(VolumeInstance {
            id: id.clone(),
            volume_id: volume_id.to_owned(),
            environment_id: environment_id.to_owned(),
            service_id: service_id.map(str::to_owned),
            mount_path: mount_path.to_owned(),
            size_mb: 51_200,
            current_size_mb: f64::from(used_mb) * 4.2,
            state: "READY".to_owned(),
            is_pending_deletion: false,
            deleted_at: None,
            region: Some("us-west2".to_owned()),
            created_at: CREATED.to_owned(),
            data: data.to_vec(),
            backups: (1..=backups)
                .map(|day| Backup {
                    id: fresh_uuid(),
                    external_id: format!("snap-{day:03}"),
                    name: Some(format!("daily {day}")),
                    created_at: format!("2026-04-{:02}T03:00:00.000Z", 20 + day.min(9)),
                    expires_at: None,
                    used_mb,
                    referenced_mb: used_mb * 4,
                    volume_instance_size_mb: 51_200,
                    schedule_id: None,
                    creator_id: None,
                    data: data.to_vec(),
                })
                .collect(),
        });
        id
    }

    /// The instances of a volume.
    pub fn instances_of<'a>(
        &'a self,
        volume_id: &'a str,
    ) -> impl Iterator<Item = &'a VolumeInstance> {
        self.volume_instances
            .iter()
            .filter(move |instance| instance.volume_id == volume_id)
    }

    /// Answers one GraphQL request object as the server does, without the server: for tests of code
    /// that reads answers. `token` is an account token; `page_size` the most items of a page.
    pub fn respond(&mut self, token: &str, page_size: usize, request: &Json) -> Option<Json> {
        let token = self.account_tokens.iter().find(|it| it.value == token)?;
        let user = self.users.iter().find(|it| it.id == token.user_id)?.clone();
        Some(execute(self, &Viewer::Account(user), page_size, request))
    }

    /// Whether the volume exists.
    pub fn has_volume(&self, volume_id: &str) -> bool {
        self.volumes.iter().any(|volume| volume.id == volume_id)
    }
}
