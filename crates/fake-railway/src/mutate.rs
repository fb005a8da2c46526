//! The write side of the fake. What is deleted is deleted at once, with everything that hangs from
//! it, as Railway's API did in April 2026.

use serde_json::{Value as Json, json};

use crate::execute::{Arguments, Fault};
use crate::resolve::{Found, Object, View, Viewer};
use crate::world::{CREATED, CustomDomain, World, fresh_uuid};

/// Performs one mutation for `viewer`.
pub(crate) fn mutate(
    world: &mut World,
    viewer: &Viewer,
    field: &str,
    arguments: &Arguments,
) -> Result<Found, Fault> {
    authorize(world, viewer, arguments)?;
    let view = View {
        world,
        viewer,
        page_size: usize::MAX,
    };
    match field {
        "apiTokenCreate" => {
            let Viewer::Account(user) = viewer else {
                return Err(Fault::not_authorized());
            };
            let input = arguments.object("input")?;
            let name = text(input, "name")?.to_owned();
            Ok(Found::Leaf(json!(world.add_account_token(&user.id, &name))))
        }
        "projectTokenCreate" => {
            let input = arguments.object("input")?;
            let environment = view.environment(text(input, "environmentId")?)?.id.clone();
            let name = text(input, "name")?.to_owned();
            Ok(Found::Leaf(json!(
                world.add_project_token(&environment, &name)
            )))
        }
        "customDomainCreate" => {
            let input = arguments.object("input")?;
            let domain = CustomDomain {
                id: fresh_uuid(),
                domain: text(input, "domain")?.to_owned(),
                project_id: Some(view.project(text(input, "projectId")?)?.id.clone()),
                environment_id: view.environment(text(input, "environmentId")?)?.id.clone(),
                service_id: view.service(text(input, "serviceId")?)?.id.clone(),
                target_port: input
                    .get("targetPort")
                    .and_then(Json::as_u64)
                    .and_then(|port| u16::try_from(port).ok()),
                created_at: Some(CREATED.to_owned()),
                updated_at: Some(CREATED.to_owned()),
                sync_status: "ACTIVE".to_owned(),
            };
            let created = Object::of("CustomDomain", &domain);
            world.custom_domains.push(domain);
            Ok(Found::One(created))
        }
        "customDomainDelete" => {
            let id = arguments.required("id")?;
            remove(&mut world.custom_domains, "CustomDomain", |it| it.id == id)
        }
        "deploymentRemove" => {
            let id = arguments.required("id")?;
            remove(&mut world.deployments, "Deployment", |it| it.id == id)
        }
        "environmentDelete" => {
            let id = view.environment(arguments.required("id")?)?.id.clone();
            delete_environment(world, &id);
            Ok(Found::Leaf(json!(true)))
        }
        "projectDelete" => {
            let id = view.project(arguments.required("id")?)?.id.clone();
            let environments: Vec<String> = world
                .environments
                .iter()
                .filter(|it| it.project_id == id)
                .map(|it| it.id.clone())
                .collect();
            for environment in environments {
                delete_environment(world, &environment);
            }
            world.services.retain(|it| it.project_id != id);
            world.volumes.retain(|it| it.project_id != id);
            remove(&mut world.projects, "Project", |it| it.id == id)
        }
        "serviceDelete" => {
            let id = view.service(arguments.required("id")?)?.id.clone();
            let only = arguments.text("environmentId").map(str::to_owned);
            let there = |environment: &str| only.as_deref().is_none_or(|it| it == environment);
            world
                .service_instances
                .retain(|it| it.service_id != id || !there(&it.environment_id));
            world
                .custom_domains
                .retain(|it| it.service_id != id || !there(&it.environment_id));
            world
                .deployments
                .retain(|it| it.service_id.as_deref() != Some(&id) || !there(&it.environment_id));
            world
                .variables
                .retain(|(environment, service, _), _| *service != id || !there(environment));
            for instance in &mut world.volume_instances {
                if instance.service_id.as_deref() == Some(&id) && there(&instance.environment_id) {
                    instance.service_id = None;
                }
            }
            if only.is_none() {
                world.services.retain(|it| it.id != id);
            }
            Ok(Found::Leaf(json!(true)))
        }
        "variableUpsert" => {
            let input = arguments.object("input")?;
            let key = (
                view.environment(text(input, "environmentId")?)?.id.clone(),
                optional(input, "serviceId").to_owned(),
                text(input, "name")?.to_owned(),
            );
            world
                .variables
                .insert(key, text(input, "value")?.to_owned());
            Ok(Found::Leaf(json!(true)))
        }
        "variableCollectionUpsert" => {
            let input = arguments.object("input")?;
            let environment = view.environment(text(input, "environmentId")?)?.id.clone();
            let service = optional(input, "serviceId").to_owned();
            let variables = input
                .get("variables")
                .and_then(Json::as_object)
                .ok_or_else(|| Fault::new("`variables` is missing"))?;
            if input.get("replace") == Some(&Json::Bool(true)) {
                world
                    .variables
                    .retain(|(at, of, _), _| (at, of) != (&environment, &service));
            }
            for (name, value) in variables {
                let value = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                world
                    .variables
                    .insert((environment.clone(), service.clone(), name.clone()), value);
            }
            Ok(Found::Leaf(json!(true)))
        }
        "variableDelete" => {
            let input = arguments.object("input")?;
            let key = (
                view.environment(text(input, "environmentId")?)?.id.clone(),
                optional(input, "serviceId").to_owned(),
                text(input, "name")?.to_owned(),
            );
            Ok(Found::Leaf(json!(world.variables.remove(&key).is_some())))
        }
        "volumeCreate" => {
            let input = arguments.object("input")?;
            let project = view.project(text(input, "projectId")?)?.id.clone();
            let id = world.add_volume(&project, "volume");
            if let Some(environment) = input.get("environmentId").and_then(Json::as_str) {
                let service = input.get("serviceId").and_then(Json::as_str);
                let path = text(input, "mountPath")?;
                world.add_volume_instance(&id, environment, service, path, b"", 0);
            }
            volume(world, &id)
        }
        "volumeDelete" => {
            let id = view.volume(arguments.required("volumeId")?)?.id.clone();
            // The backups are inside the instances and go with them.
            world.volume_instances.retain(|it| it.volume_id != id);
            remove(&mut world.volumes, "Volume", |it| it.id == id)
        }
        "volumeUpdate" => {
            let id = view.volume(arguments.required("volumeId")?)?.id.clone();
            let input = arguments.object("input")?;
            if let Some(name) = input.get("name").and_then(Json::as_str) {
                for it in world.volumes.iter_mut().filter(|it| it.id == id) {
                    name.clone_into(&mut it.name);
                }
            }
            volume(world, &id)
        }
        "volumeInstanceBackupDelete" => {
            let id = view
                .volume_instance(arguments.required("volumeInstanceId")?)?
                .id
                .clone();
            let backup = arguments.required("volumeInstanceBackupId")?;
            for it in world.volume_instances.iter_mut().filter(|it| it.id == id) {
                it.backups.retain(|it| it.id != backup);
            }
            let workflow = json!({ "workflowId": fresh_uuid() });
            Ok(Found::One(Object::of("WorkflowId", &workflow)))
        }
        "volumeInstanceUpdate" => {
            let id = view.volume(arguments.required("volumeId")?)?.id.clone();
            let environment = arguments.text("environmentId").map(str::to_owned);
            let input = arguments.object("input")?;
            for instance in world.volume_instances.iter_mut().filter(|it| {
                it.volume_id == id
                    && environment
                        .as_deref()
                        .is_none_or(|environment| environment == it.environment_id)
            }) {
                // "The service to attach the volume to. If not provided, the volume will be
                // disconnected" (schema, VolumeInstanceUpdateInput.serviceId).
                instance.service_id = input
                    .get("serviceId")
                    .and_then(Json::as_str)
                    .map(str::to_owned);
                if let Some(path) = input.get("mountPath").and_then(Json::as_str) {
                    path.clone_into(&mut instance.mount_path);
                }
                if let Some(state) = input.get("state").and_then(Json::as_str) {
                    state.clone_into(&mut instance.state);
                }
            }
            world.volume_instances.retain(|it| {
                it.volume_id != id || !matches!(it.state.as_str(), "DELETING" | "DELETED")
            });
            Ok(Found::Leaf(json!(true)))
        }
        other => Err(Fault::unknown_field("Mutation", other)),
    }
}

/// A project token writes in its own environment only; an account token, everywhere.
fn authorize(world: &World, viewer: &Viewer, arguments: &Arguments) -> Result<(), Fault> {
    let Viewer::Project(token) = viewer else {
        return Ok(());
    };
    let named = |key: &str| {
        arguments.text(key).or_else(|| {
            arguments
                .get("input")
                .and_then(|input| input.get(key))
                .and_then(Json::as_str)
        })
    };
    if let Some(environment) = named("environmentId") {
        return match environment == token.environment_id {
            true => Ok(()),
            false => Err(Fault::not_authorized()),
        };
    }
    match named("volumeId") {
        Some(volume)
            if world
                .instances_of(volume)
                .all(|it| it.environment_id == token.environment_id) =>
        {
            Ok(())
        }
        _ => Err(Fault::not_authorized()),
    }
}

fn delete_environment(world: &mut World, id: &str) {
    world.service_instances.retain(|it| it.environment_id != id);
    world.volume_instances.retain(|it| it.environment_id != id);
    world.deployments.retain(|it| it.environment_id != id);
    world.custom_domains.retain(|it| it.environment_id != id);
    world
        .variables
        .retain(|(environment, _, _), _| environment != id);
    world.project_tokens.retain(|it| it.environment_id != id);
    world.environments.retain(|it| it.id != id);
}

fn volume(world: &World, id: &str) -> Result<Found, Fault> {
    world
        .volumes
        .iter()
        .find(|it| it.id == id)
        .map(|it| Found::One(Object::of("Volume", it)))
        .ok_or_else(|| Fault::not_found("Volume"))
}

fn remove<T>(records: &mut Vec<T>, kind: &str, is_it: impl Fn(&T) -> bool) -> Result<Found, Fault> {
    let before = records.len();
    records.retain(|it| !is_it(it));
    match records.len() < before {
        true => Ok(Found::Leaf(json!(true))),
        false => Err(Fault::not_found(kind)),
    }
}

fn text<'a>(input: &'a serde_json::Map<String, Json>, key: &str) -> Result<&'a str, Fault> {
    input
        .get(key)
        .and_then(Json::as_str)
        .ok_or_else(|| Fault::new(format!("`{key}` is missing")))
}

fn optional<'a>(input: &'a serde_json::Map<String, Json>, key: &str) -> &'a str {
    input.get(key).and_then(Json::as_str).unwrap_or_default()
}
