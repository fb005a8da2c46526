//! Resolutions against the fake Railway, with pages of every length, and against answers that lie.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use tagout_core::{Effect, Flags, Operation, OperationName, Scope};
use tagout_fake_railway::Demo;

use super::*;
use crate::pack::pack;
use crate::preview;

fn operation(name: &str, resources: &[(&str, &str)], arguments: Json) -> Operation {
    Operation {
        name: OperationName::parse(&format!("railway.{name}")).unwrap(),
        known: true,
        effect: Effect::Irreversible,
        flags: Flags::NONE,
        scope: Scope::Resources,
        resources: resources
            .iter()
            .map(|(kind, id)| ResourceId::new("railway", kind, id).unwrap())
            .collect(),
        unresolved: None,
        arguments,
    }
}

/// Drives a resolution against a world; `distort` may change each answer.
fn drive(
    demo: &Demo,
    mut resolution: Resolution,
    page_size: usize,
    mut distort: impl FnMut(&mut Json),
) -> Result<Resolved, String> {
    let mut world = demo.world.clone();
    for _ in 0..200 {
        match resolution.next() {
            Step::Done(resolved) => return Ok(resolved),
            Step::Failed(reason) => return Err(reason),
            Step::Ask(query) => {
                assert_eq!(query.path.as_str(), "/graphql/v2");
                let request: Json = serde_json::from_slice(&query.body).unwrap();
                let mut answer = world
                    .respond(&demo.account_token, page_size, &request)
                    .unwrap();
                distort(&mut answer);
                resolution.answer(answer.to_string().as_bytes());
            }
        }
    }
    panic!("no end");
}

fn resolve(demo: &Demo, operation: &Operation, page_size: usize) -> Resolved {
    let resolution = pack("railway").unwrap().resolve(operation);
    drive(demo, resolution, page_size, |_| ()).unwrap()
}

fn environments(resource: &ResolvedResource) -> BTreeSet<&str> {
    resource
        .environments
        .iter()
        .map(|environment| environment.id.id())
        .collect()
}

#[test]
fn a_volume_lives_wherever_it_has_an_instance() {
    let demo = Demo::new();
    let both = BTreeSet::from([demo.production.as_str(), demo.staging.as_str()]);
    for page_size in [1, 2, 100] {
        let shared = operation("volumeDelete", &[("volume", &demo.pg_data)], json!({}));
        let resolved = resolve(&demo, &shared, page_size);
        let [volume] = resolved.resources.as_slice() else {
            panic!("{resolved:?}");
        };
        assert_eq!(volume.unresolved, None);
        assert_eq!(volume.name.as_deref(), Some("pg-data"));
        assert_eq!(environments(volume), both);

        let scratch = operation("volumeDelete", &[("volume", &demo.scratch)], json!({}));
        let resolved = resolve(&demo, &scratch, page_size);
        assert_eq!(
            environments(&resolved.resources[0]),
            BTreeSet::from([demo.staging.as_str()])
        );
    }
}

#[test]
fn the_preview_says_what_goes_with_a_volume() {
    let demo = Demo::new();
    let delete = operation("volumeDelete", &[("volume", &demo.pg_data)], json!({}));
    let text = preview(&delete, &resolve(&demo, &delete, 100)).join("\n");
    for part in [
        "pg-data",
        "in production: /var/lib/postgresql/data, mounted by postgres, 4.2 GB, READY",
        "in staging",
        "3 backups live inside it (daily 1, daily 2, daily 3)",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn an_environment_confines_what_stands_beside_it() {
    let demo = Demo::new();
    let upsert = operation(
        "variableUpsert",
        &[
            ("environment", &demo.staging),
            ("project", &demo.project),
            ("service", &demo.api),
        ],
        json!({}),
    );
    for resource in resolve(&demo, &upsert, 1).resources {
        assert_eq!(resource.unresolved, None, "{resource:?}");
        assert_eq!(
            environments(&resource),
            BTreeSet::from([demo.staging.as_str()])
        );
    }
    let attach = operation(
        "volumeInstanceUpdate",
        &[("environment", &demo.staging), ("volume", &demo.pg_data)],
        json!({}),
    );
    for resource in resolve(&demo, &attach, 1).resources {
        assert_eq!(
            environments(&resource),
            BTreeSet::from([demo.staging.as_str()])
        );
    }
}

/// The schema says of `serviceDelete(environmentId)` that anything but a fork reaches every
/// environment that is none.
#[test]
fn an_environment_that_is_no_fork_does_not_confine_the_deletion_of_a_service() {
    let demo = Demo::new();
    let delete = operation(
        "serviceDelete",
        &[("environment", &demo.staging), ("service", &demo.api)],
        json!({"id": demo.api, "environmentId": demo.staging}),
    );
    let resolved = resolve(&demo, &delete, 1);
    assert_eq!(
        environments(&resolved.resources[1]),
        BTreeSet::from([demo.production.as_str(), demo.staging.as_str()])
    );
}

#[test]
fn an_argument_may_lift_the_confinement() {
    let demo = Demo::new();
    let target = |all: bool| {
        operation(
            "egressGatewayRollbackFromHA",
            &[("environment", &demo.staging), ("service", &demo.api)],
            json!({"input": {"environmentId": demo.staging, "serviceId": demo.api, "allEnvironments": all}}),
        )
    };
    assert_eq!(
        environments(&resolve(&demo, &target(false), 1).resources[1]).len(),
        1
    );
    assert_eq!(
        environments(&resolve(&demo, &target(true), 1).resources[1]).len(),
        2
    );
}

#[test]
fn what_belongs_elsewhere_is_unresolved() {
    let mut demo = Demo::new();
    let workspace = demo.world.add_workspace("other");
    let other = demo.world.add_project(&workspace, "other");
    let elsewhere = demo.world.add_environment(&other, "staging");
    for (kind, id) in [
        ("project", &demo.project),
        ("service", &demo.api),
        ("volume", &demo.pg_data),
    ] {
        let mixed = operation(
            "variableUpsert",
            &[("environment", &elsewhere), (kind, id)],
            json!({}),
        );
        let resolved = resolve(&demo, &mixed, 1);
        assert!(resolved.resources[1].unresolved.is_some(), "{kind}");
    }
}

#[test]
fn every_kind_that_railway_can_tell_is_told() {
    let mut demo = Demo::new();
    let instance = demo
        .world
        .instances_of(&demo.scratch)
        .next()
        .unwrap()
        .id
        .clone();
    let deployment = demo
        .world
        .deployments
        .iter()
        .find(|it| it.environment_id == demo.staging)
        .unwrap()
        .id
        .clone();
    demo.world
        .custom_domains
        .push(tagout_fake_railway::CustomDomain {
            id: "d1".to_owned(),
            domain: "staging.pocketos.example".to_owned(),
            project_id: Some(demo.project.clone()),
            environment_id: demo.staging.clone(),
            service_id: demo.api.clone(),
            target_port: None,
            created_at: None,
            updated_at: None,
            sync_status: "ACTIVE".to_owned(),
        });
    let workspace = demo.world.workspaces[0].id.clone();
    let staging = BTreeSet::from([demo.staging.as_str()]);
    let both = BTreeSet::from([demo.production.as_str(), demo.staging.as_str()]);
    for (kind, id, expected) in [
        ("volume-instance", &instance, &staging),
        ("deployment", &deployment, &staging),
        ("custom-domain", &"d1".to_owned(), &staging),
        ("environment", &demo.staging, &staging),
        ("project", &demo.project, &both),
        ("service", &demo.postgres, &both),
        ("workspace", &workspace, &both),
    ] {
        let asked = operation("someOperation", &[(kind, id)], json!({}));
        let resolved = resolve(&demo, &asked, 1);
        assert_eq!(resolved.resources[0].unresolved, None, "{kind}");
        assert_eq!(&environments(&resolved.resources[0]), expected, "{kind}");
    }
    let tcp_proxy = operation("tcpProxyDelete", &[("tcp-proxy", "x")], json!({}));
    assert!(
        resolve(&demo, &tcp_proxy, 1).resources[0]
            .unresolved
            .is_some()
    );
    let missing = operation("volumeDelete", &[("volume", "nobody")], json!({}));
    assert!(
        resolve(&demo, &missing, 1).resources[0]
            .unresolved
            .is_some()
    );
}

#[test]
fn a_backup_lives_in_the_instance_that_is_named_beside_it() {
    let demo = Demo::new();
    let instance = demo
        .world
        .instances_of(&demo.pg_data)
        .find(|it| it.environment_id == demo.staging)
        .unwrap();
    let of = |backup: &str| {
        let delete = operation(
            "volumeInstanceBackupDelete",
            &[
                ("volume-instance", &instance.id),
                ("volume-instance-backup", backup),
            ],
            json!({}),
        );
        resolve(&demo, &delete, 100).resources.remove(1)
    };
    assert_eq!(
        environments(&of(&instance.backups[0].id)),
        BTreeSet::from([demo.staging.as_str()])
    );
    let production = demo
        .world
        .instances_of(&demo.pg_data)
        .find(|it| it.environment_id == demo.production)
        .unwrap();
    assert!(of(&production.backups[0].id).unresolved.is_some());
}

#[test]
fn all_environments_are_listed_for_pinning() {
    let mut demo = Demo::new();
    let workspace = demo.world.add_workspace("other");
    let other = demo.world.add_project(&workspace, "other");
    demo.world.add_environment(&other, "production");
    for page_size in [1, 100] {
        let resolution = pack("railway").unwrap().resolve_all_environments();
        let resolved = drive(&demo, resolution, page_size, |_| ()).unwrap();
        let listed: Vec<_> = resolved
            .resources
            .iter()
            .map(|it| {
                (
                    it.name.as_deref().unwrap(),
                    it.environments[0].project.as_deref().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            listed,
            [
                ("production", demo.project.as_str()),
                ("staging", demo.project.as_str()),
                ("production", other.as_str()),
            ]
        );
    }
}

/// Changes one kind of value wherever it stands in an answer.
fn change(answer: &mut Json, with: &mut impl FnMut(&str, &mut Json)) {
    match answer {
        Json::Array(items) => items.iter_mut().for_each(|item| change(item, with)),
        Json::Object(members) => {
            for (name, member) in members {
                with(name, member);
                change(member, with);
            }
        }
        _ => {}
    }
}

#[test]
fn an_answer_that_is_not_beyond_doubt_leaves_the_volume_unresolved() {
    let demo = Demo::new();
    let delete = operation("volumeDelete", &[("volume", &demo.scratch)], json!({}));
    type Distortion<'a> = (&'a str, Box<dyn FnMut(&mut Json)>);
    let volume = demo.scratch.clone();
    let production = demo.production.clone();
    let distortions: Vec<Distortion<'_>> = vec![
        (
            "errors beside data",
            Box::new(|it| it["errors"] = json!([{"message": "partial"}])),
        ),
        ("no data", Box::new(|it| it["data"] = Json::Null)),
        ("not an object", Box::new(|it| *it = json!([1]))),
        (
            "a page without a cursor",
            Box::new(|it| {
                change(it, &mut |name, value| {
                    if name == "pageInfo" {
                        *value = json!({"hasNextPage": true, "endCursor": null});
                    }
                });
            }),
        ),
        (
            "a page that never ends",
            Box::new(|it| {
                change(it, &mut |name, value| {
                    if name == "hasNextPage" {
                        *value = json!(true);
                    }
                });
            }),
        ),
        (
            "a page that does not say",
            Box::new(|it| {
                change(it, &mut |name, value| {
                    if name == "pageInfo" {
                        *value = json!({});
                    }
                });
            }),
        ),
        (
            "everything twice",
            Box::new(|it| {
                change(it, &mut |name, value| {
                    if let (true, Some(edges)) = (name == "edges", value.as_array_mut()) {
                        edges.extend(edges.clone());
                    }
                });
            }),
        ),
        (
            "another project's volume",
            Box::new(|it| {
                change(it, &mut |name, value| {
                    if name == "projectId" {
                        *value = json!("somebody-elses");
                    }
                });
            }),
        ),
        (
            "an instance of another volume",
            Box::new(|it| {
                change(it, &mut |name, value| {
                    if name == "volumeId" {
                        *value = json!("another");
                    }
                });
            }),
        ),
        (
            "an instance whose environment is another",
            Box::new(move |it| {
                change(it, &mut |name, value| {
                    if name == "environmentId" {
                        *value = json!(production);
                    }
                });
            }),
        ),
        (
            "no such volume",
            Box::new(move |it| {
                change(it, &mut |name, value| {
                    if name == "id" && *value == json!(volume) {
                        *value = json!("gone");
                    }
                });
            }),
        ),
    ];
    for (what, distort) in distortions {
        let resolution = pack("railway").unwrap().resolve(&delete);
        match drive(&demo, resolution, 100, distort) {
            Err(_) => {}
            Ok(resolved) => assert!(resolved.resources[0].unresolved.is_some(), "{what}"),
        }
    }
}

#[test]
fn foreign_bytes_never_panic_and_never_resolve() {
    let delete = operation("volumeDelete", &[("volume", "v")], json!({}));
    for body in [
        b"".as_slice(),
        b"\xff\xfe",
        b"null",
        b"{\"data\":{},\"data\":{}}",
        b"{\"data\":{\"projects\":[]}}",
        b"{\"data\":{\"projects\":{\"edges\":{}}}}",
        b"{\"data\":{\"projects\":{\"edges\":[1],\"pageInfo\":{\"hasNextPage\":false}}}}",
    ] {
        let mut resolution = pack("railway").unwrap().resolve(&delete);
        let Step::Ask(first) = resolution.next() else {
            panic!("nothing asked");
        };
        assert_eq!(resolution.next(), Step::Ask(first));
        resolution.answer(body);
        resolution.answer(b"{\"data\":{}}");
        match resolution.next() {
            Step::Done(resolved) => assert!(resolved.resources[0].unresolved.is_some()),
            Step::Failed(_) => {}
            Step::Ask(_) => panic!("asked on after {body:?}"),
        }
    }
}

/// What the resolver sends is itself understood by the pack: known, a read, ids as variables alone.
#[test]
fn the_resolvers_queries_are_known_reads() {
    for document in railway::ALL {
        let body = json!({"query": document, "variables": {"id": "x", "project": "p", "environment": "e"}});
        let request = crate::meaning::tests::request(
            "POST",
            "",
            Some("application/json"),
            body.to_string().as_bytes(),
        );
        for operation in crate::recognise(&request).unwrap().operations {
            assert!(operation.known, "{document}");
            assert_eq!(operation.effect, Effect::Read, "{document}");
            assert_eq!(operation.flags, Flags::NONE, "{document}");
        }
        assert!(!document.contains('"'), "{document}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// JSON that looks a little like answers.
    fn answer() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            "[a-z-]{0,6}".prop_map(Json::from),
            (0u32..3).prop_map(Json::from),
        ];
        leaf.prop_recursive(6, 40, 4, |inner| {
            let key = prop::sample::select(vec![
                "data",
                "errors",
                "projects",
                "project",
                "volumes",
                "edges",
                "node",
                "pageInfo",
                "hasNextPage",
                "endCursor",
                "id",
                "name",
                "projectId",
                "environment",
            ]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
                prop::collection::hash_map(key, inner, 0..5).prop_map(|members| {
                    members
                        .into_iter()
                        .map(|(name, member)| (name.to_owned(), member))
                        .collect::<Map<_, _>>()
                        .into()
                }),
            ]
        })
    }

    proptest! {
        /// Whatever is answered, nothing panics, and a volume that was not seen is not resolved.
        #[test]
        fn answers_made_of_anything_resolve_nothing(
            answers in prop::collection::vec(answer(), 1..6),
            raw in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let volume = operation("volumeDelete", &[("volume", "never-there")], json!({}));
            let mut resolution = pack("railway").unwrap().resolve(&volume);
            let mut bodies: Vec<_> = answers.iter().map(|it| it.to_string().into_bytes()).collect();
            bodies.push(raw);
            for body in bodies {
                match resolution.next() {
                    Step::Ask(_) => resolution.answer(&body),
                    Step::Failed(_) => break,
                    Step::Done(resolved) => {
                        prop_assert!(resolved.resources[0].unresolved.is_some());
                        break;
                    }
                }
            }
        }
    }
}
