//! From an object and a field to what it holds: the read side of the fake. An object is a type's
//! name, the leaves of its record and, for connections, its page; everything else is followed by id.

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use crate::execute::{Arguments, Fault};
use crate::fields;
use crate::world::{Environment, Project, Service, User, Volume, VolumeInstance, World};

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Viewer {
    /// Blanket authority.
    Account(User),
    /// One environment.
    Project(crate::world::ProjectToken),
}

/// An object on the way through a selection.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) type_name: &'static str,
    pub(crate) leaves: Map<String, Json>,
    items: Vec<Object>,
    page: Map<String, Json>,
}

/// What a field holds.
pub(crate) enum Found {
    Leaf(Json),
    One(Object),
    Many(Vec<Object>),
    Nothing,
}

impl Object {
    /// An object without record: a root.
    pub(crate) fn root(type_name: &'static str) -> Self {
        Self {
            type_name,
            leaves: Map::new(),
            items: Vec::new(),
            page: Map::new(),
        }
    }

    /// An object of a record.
    pub(crate) fn of(type_name: &'static str, record: &impl Serialize) -> Self {
        let leaves = match serde_json::to_value(record) {
            Ok(Json::Object(leaves)) => leaves,
            _ => Map::new(),
        };
        Self {
            leaves,
            ..Self::root(type_name)
        }
    }

    fn text(&self, leaf: &str) -> &str {
        self.leaves
            .get(leaf)
            .and_then(Json::as_str)
            .unwrap_or_default()
    }
}

/// The world as one viewer sees it.
pub(crate) struct View<'a> {
    pub(crate) world: &'a World,
    pub(crate) viewer: &'a Viewer,
    /// The most items that a page has, whatever `first` asks for.
    pub(crate) page_size: usize,
}

impl View<'_> {
    /// The value of a query's root field or of an object's field.
    pub(crate) fn follow(
        &self,
        object: &Object,
        field: &str,
        arguments: &Arguments,
    ) -> Result<Found, Fault> {
        if let Some(leaf) = object.leaves.get(field) {
            return Ok(Found::Leaf(leaf.clone()));
        }
        let ty = fields::type_of(object.type_name, field)
            .ok_or_else(|| Fault::unknown_field(object.type_name, field))?;
        if object.type_name == "Query" {
            return self.root(field, ty, arguments);
        }
        let world = self.world;
        let id = object.text("id");
        let found = match (object.type_name, field) {
            (_, "edges") => Found::Many(self.edges(object, ty)),
            (_, "pageInfo") => Found::One(Object::of("PageInfo", &object.page)),
            (_, "node") => match object.items.first() {
                Some(node) => Found::One(node.clone()),
                None => Found::Nothing,
            },
            (_, "project") => self.one_project(object.text("projectId"))?,
            (_, "environment") => self.one_environment(object.text("environmentId"))?,
            (_, "service") => self.one_service(object.text("serviceId"))?,
            (_, "workspace") => match world
                .workspaces
                .iter()
                .find(|workspace| workspace.id == object.text("workspaceId"))
            {
                Some(workspace) => Found::One(Object::of("Workspace", workspace)),
                None => Found::Nothing,
            },
            ("User", "workspaces") => Found::Many(self.workspaces("Workspace")),
            ("ApiTokenContext", "workspaces") => Found::Many(self.workspaces("ApiTokenWorkspace")),
            ("Workspace", "projects") => self.connection(
                ty,
                self.projects()
                    .filter(|project| project.workspace_id == id)
                    .map(|project| Object::of("Project", project)),
                arguments,
            )?,
            ("Project", "environments") => self.connection(
                ty,
                self.environments(id)
                    .map(|environment| Object::of("Environment", environment)),
                arguments,
            )?,
            ("Project", "services") => self.connection(
                ty,
                world
                    .services
                    .iter()
                    .filter(|service| service.project_id == id)
                    .map(|service| Object::of("Service", service)),
                arguments,
            )?,
            ("Project", "volumes") => self.connection(
                ty,
                self.volumes()
                    .filter(|volume| volume.project_id == id)
                    .map(|volume| Object::of("Volume", volume)),
                arguments,
            )?,
            ("Project", "buckets") => self.connection(ty, std::iter::empty(), arguments)?,
            ("Volume", "volumeInstances") => self.connection(
                ty,
                self.volume_instances()
                    .filter(|instance| instance.volume_id == id)
                    .map(|instance| Object::of("VolumeInstance", instance)),
                arguments,
            )?,
            ("VolumeInstance", "volume") => match world
                .volumes
                .iter()
                .find(|volume| volume.id == object.text("volumeId"))
            {
                Some(volume) => Found::One(Object::of("Volume", volume)),
                None => Found::Nothing,
            },
            ("Environment", "volumeInstances") => self.connection(
                ty,
                self.volume_instances()
                    .filter(|instance| instance.environment_id == id)
                    .map(|instance| Object::of("VolumeInstance", instance)),
                arguments,
            )?,
            ("Environment" | "Service", "serviceInstances") => {
                let on_environment = object.type_name == "Environment";
                self.connection(
                    ty,
                    world
                        .service_instances
                        .iter()
                        .filter(|instance| match on_environment {
                            true => instance.environment_id == id,
                            false => instance.service_id == id,
                        })
                        .filter(|instance| self.sees_environment(&instance.environment_id))
                        .map(|instance| Object::of("ServiceInstance", instance)),
                    arguments,
                )?
            }
            ("Environment", "config") => Found::Leaf(self.config(id, arguments)),
            ("ServiceInstance", "latestDeployment") => {
                match self.deployments(object).into_iter().next() {
                    Some(deployment) => Found::One(deployment),
                    None => Found::Nothing,
                }
            }
            ("ServiceInstance", "activeDeployments") => Found::Many(self.deployments(object)),
            ("ServiceInstance", "domains") => Found::One(Object {
                leaves: object.leaves.clone(),
                ..Object::root("AllDomains")
            }),
            ("CustomDomain", "status") => Found::One(Object::of(
                "CustomDomainStatus",
                &json!({
                    "domain": object.text("domain"),
                    "certificateStatus": "CERTIFICATE_STATUS_TYPE_VALIDATING_OWNERSHIP",
                    "verified": false,
                }),
            )),
            // What the owner of the name must still do.
            ("CustomDomainStatus", "dnsRecords") => {
                let domain = object.text("domain");
                let (label, zone) = domain.split_once('.').unwrap_or(("", domain));
                Found::Many(vec![Object::of(
                    "DNSRecords",
                    &json!({
                        "fqdn": domain, "hostlabel": label, "zone": zone,
                        "purpose": "DNS_RECORD_PURPOSE_TRAFFIC_ROUTE",
                        "recordType": "DNS_RECORD_TYPE_CNAME",
                        "requiredValue": "fake.up.railway.app", "currentValue": "",
                        "status": "DNS_RECORD_STATUS_REQUIRES_UPDATE",
                    }),
                )])
            }
            ("AllDomains", "customDomains") => Found::Many(
                world
                    .custom_domains
                    .iter()
                    .filter(|domain| {
                        domain.environment_id == object.text("environmentId")
                            && domain.service_id == object.text("serviceId")
                    })
                    .map(|domain| Object::of("CustomDomain", domain))
                    .collect(),
            ),
            _ if ty.starts_with('[') => Found::Many(Vec::new()),
            _ => Found::Nothing,
        };
        Ok(found)
    }

    fn root(&self, field: &str, ty: &'static str, arguments: &Arguments) -> Result<Found, Fault> {
        let world = self.world;
        match field {
            "me" => match self.viewer {
                Viewer::Account(user) => Ok(Found::One(Object::of("User", user))),
                Viewer::Project(_) => Err(Fault::not_authorized()),
            },
            "apiToken" => match self.viewer {
                Viewer::Account(_) => Ok(Found::One(Object::root("ApiTokenContext"))),
                Viewer::Project(_) => Err(Fault::not_authorized()),
            },
            "projectToken" => match self.viewer {
                Viewer::Account(_) => Err(Fault::new("Project Token not found")),
                Viewer::Project(token) => {
                    let project = self.environment(&token.environment_id)?.project_id.clone();
                    let leaves = json!({
                        "id": token.id, "name": token.name,
                        "environmentId": token.environment_id, "projectId": project,
                    });
                    Ok(Found::One(Object::of("ProjectToken", &leaves)))
                }
            },
            "externalWorkspaces" => Ok(Found::Many(Vec::new())),
            "projects" => self.connection(
                ty,
                self.projects()
                    .filter(|project| {
                        arguments
                            .text("workspaceId")
                            .is_none_or(|id| id == project.workspace_id)
                    })
                    .map(|project| Object::of("Project", project)),
                arguments,
            ),
            "project" => self.one_project(arguments.required("id")?),
            "environment" => self.one_environment(arguments.required("id")?),
            "environments" => {
                let project = self.project(arguments.required("projectId")?)?;
                self.connection(
                    ty,
                    self.environments(&project.id)
                        .map(|environment| Object::of("Environment", environment)),
                    arguments,
                )
            }
            "service" => self.one_service(arguments.required("id")?),
            "serviceInstance" => {
                let environment = self.environment(arguments.required("environmentId")?)?;
                let service = arguments.required("serviceId")?;
                world
                    .service_instances
                    .iter()
                    .find(|it| it.environment_id == environment.id && it.service_id == service)
                    .map(|it| Found::One(Object::of("ServiceInstance", it)))
                    .ok_or_else(|| Fault::not_found("ServiceInstance"))
            }
            "deployment" => {
                let id = arguments.required("id")?;
                world
                    .deployments
                    .iter()
                    .find(|it| it.id == id && self.sees_environment(&it.environment_id))
                    .map(|it| Found::One(Object::of("Deployment", it)))
                    .ok_or_else(|| Fault::not_found("Deployment"))
            }
            "deployments" => {
                let input = arguments.object("input")?;
                let wants = |key: &str, value: Option<&str>| {
                    input
                        .get(key)
                        .and_then(Json::as_str)
                        .is_none_or(|wanted| Some(wanted) == value)
                };
                self.connection(
                    ty,
                    world
                        .deployments
                        .iter()
                        .filter(|it| self.sees_environment(&it.environment_id))
                        .filter(|it| {
                            wants("environmentId", Some(&it.environment_id))
                                && wants("projectId", Some(&it.project_id))
                                && wants("serviceId", it.service_id.as_deref())
                        })
                        .map(|it| Object::of("Deployment", it)),
                    arguments,
                )
            }
            "customDomain" => {
                let (id, project) = (arguments.required("id")?, arguments.required("projectId")?);
                world
                    .custom_domains
                    .iter()
                    .find(|it| it.id == id && it.project_id.as_deref() == Some(project))
                    .filter(|it| self.sees_environment(&it.environment_id))
                    .map(|it| Found::One(Object::of("CustomDomain", it)))
                    .ok_or_else(|| Fault::not_found("CustomDomain"))
            }
            "variables" | "variablesForServiceDeployment" => {
                let environment = self.environment(arguments.required("environmentId")?)?;
                let service = arguments.text("serviceId").unwrap_or_default();
                Ok(Found::Leaf(self.variables(&environment.id, service)))
            }
            "volumeInstance" => self
                .volume_instance(arguments.required("id")?)
                .map(|it| Found::One(Object::of("VolumeInstance", it))),
            "volumeInstanceBackupList" => {
                let instance = self.volume_instance(arguments.required("volumeInstanceId")?)?;
                Ok(Found::Many(
                    instance
                        .backups
                        .iter()
                        .map(|backup| Object::of("VolumeInstanceBackup", backup))
                        .collect(),
                ))
            }
            other => Err(Fault::unknown_field("Query", other)),
        }
    }

    fn edges(&self, connection: &Object, ty: &'static str) -> Vec<Object> {
        let edge = fields::named(ty);
        connection
            .items
            .iter()
            .map(|item| Object {
                leaves: Map::from_iter([("cursor".to_owned(), json!(item.text("id")))]),
                items: vec![item.clone()],
                ..Object::root(edge)
            })
            .collect()
    }

    /// A page of `all` (the Relay connections that Railway's API has): `first` items behind the one
    /// whose id is `after`.
    fn connection(
        &self,
        ty: &'static str,
        all: impl Iterator<Item = Object>,
        arguments: &Arguments,
    ) -> Result<Found, Fault> {
        let mut all = all.peekable();
        if let Some(after) = arguments.text("after") {
            while let Some(item) = all.next() {
                if item.text("id") == after {
                    break;
                }
                if all.peek().is_none() {
                    return Err(Fault::new("Invalid cursor"));
                }
            }
        }
        let first = match arguments.get("first") {
            None | Some(Json::Null) => self.page_size,
            Some(first) => first
                .as_u64()
                .and_then(|first| usize::try_from(first).ok())
                .ok_or_else(|| Fault::new("`first` is no count"))?,
        };
        let items: Vec<Object> = all.by_ref().take(first.min(self.page_size)).collect();
        let cursor = |item: Option<&Object>| item.map(|item| item.text("id").to_owned());
        let page = json!({
            "hasNextPage": all.peek().is_some(),
            "hasPreviousPage": arguments.text("after").is_some(),
            "startCursor": cursor(items.first()),
            "endCursor": cursor(items.last()),
        });
        let page = match page {
            Json::Object(page) => page,
            _ => Map::new(),
        };
        Ok(Found::One(Object {
            items,
            page,
            ..Object::root(fields::named(ty))
        }))
    }

    /// Whether the viewer's token reaches the environment.
    pub(crate) fn sees_environment(&self, id: &str) -> bool {
        match self.viewer {
            Viewer::Account(_) => true,
            Viewer::Project(token) => token.environment_id == id,
        }
    }

    fn sees_project(&self, id: &str) -> bool {
        match self.viewer {
            Viewer::Account(_) => true,
            Viewer::Project(token) => self
                .world
                .environments
                .iter()
                .any(|it| it.id == token.environment_id && it.project_id == id),
        }
    }

    fn projects(&self) -> impl Iterator<Item = &Project> {
        self.world
            .projects
            .iter()
            .filter(|project| self.sees_project(&project.id))
    }

    fn environments<'b>(&'b self, project_id: &'b str) -> impl Iterator<Item = &'b Environment> {
        self.world
            .environments
            .iter()
            .filter(move |it| it.project_id == project_id && self.sees_environment(&it.id))
    }

    fn volumes(&self) -> impl Iterator<Item = &Volume> {
        self.world
            .volumes
            .iter()
            .filter(|volume| self.sees_project(&volume.project_id))
    }

    fn volume_instances(&self) -> impl Iterator<Item = &VolumeInstance> {
        self.world
            .volume_instances
            .iter()
            .filter(|instance| self.sees_environment(&instance.environment_id))
    }

    fn workspaces(&self, type_name: &'static str) -> Vec<Object> {
        self.world
            .workspaces
            .iter()
            .map(|workspace| Object::of(type_name, workspace))
            .collect()
    }

    fn deployments(&self, instance: &Object) -> Vec<Object> {
        self.world
            .deployments
            .iter()
            .filter(|it| {
                it.environment_id == instance.text("environmentId")
                    && it.service_id.as_deref() == Some(instance.text("serviceId"))
            })
            .map(|it| Object::of("Deployment", it))
            .collect()
    }

    fn variables(&self, environment: &str, service: &str) -> Json {
        self.world
            .variables
            .iter()
            .filter(|((in_environment, on_service, _), _)| {
                in_environment == environment && on_service == service
            })
            .map(|((_, _, name), value)| (name.clone(), json!(value)))
            .collect::<Map<_, _>>()
            .into()
    }

    /// As Railway's `EnvironmentConfig`: services by id with their variables, whose values are only
    /// there when they were asked for.
    fn config(&self, environment: &str, arguments: &Arguments) -> Json {
        let decrypt = arguments.get("decryptVariables") == Some(&Json::Bool(true));
        let mut services = Map::new();
        for instance in &self.world.service_instances {
            if instance.environment_id != environment {
                continue;
            }
            let mut variables = self.variables(environment, &instance.service_id);
            for value in variables
                .as_object_mut()
                .into_iter()
                .flat_map(Map::values_mut)
            {
                *value = json!({ "value": if decrypt { value.take() } else { json!("*****") } });
            }
            services.insert(
                instance.service_id.clone(),
                json!({ "variables": variables }),
            );
        }
        json!({ "services": services })
    }

    pub(crate) fn project(&self, id: &str) -> Result<&Project, Fault> {
        self.projects()
            .find(|project| project.id == id)
            .ok_or_else(|| Fault::not_found("Project"))
    }

    pub(crate) fn environment(&self, id: &str) -> Result<&Environment, Fault> {
        self.world
            .environments
            .iter()
            .find(|it| it.id == id && self.sees_environment(id))
            .ok_or_else(|| Fault::not_found("Environment"))
    }

    pub(crate) fn service(&self, id: &str) -> Result<&Service, Fault> {
        self.world
            .services
            .iter()
            .find(|it| it.id == id && self.sees_project(&it.project_id))
            .ok_or_else(|| Fault::not_found("Service"))
    }

    pub(crate) fn volume(&self, id: &str) -> Result<&Volume, Fault> {
        self.volumes()
            .find(|volume| volume.id == id)
            .ok_or_else(|| Fault::not_found("Volume"))
    }

    pub(crate) fn volume_instance(&self, id: &str) -> Result<&VolumeInstance, Fault> {
        self.volume_instances()
            .find(|instance| instance.id == id)
            .ok_or_else(|| Fault::not_found("VolumeInstance"))
    }

    fn one_project(&self, id: &str) -> Result<Found, Fault> {
        self.project(id)
            .map(|it| Found::One(Object::of("Project", it)))
    }

    fn one_environment(&self, id: &str) -> Result<Found, Fault> {
        self.environment(id)
            .map(|it| Found::One(Object::of("Environment", it)))
    }

    fn one_service(&self, id: &str) -> Result<Found, Fault> {
        self.service(id)
            .map(|it| Found::One(Object::of("Service", it)))
    }
}
