//! The tables against the schema: nothing without a row, no row for nothing, and every mutation and
//! query of the schema read as what its row says.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::json;

use super::*;
use crate::graphql::document::Document;
use crate::graphql::schema::{Schema, TypeKind, named};
use crate::pack::{Pack, pack};

fn railway() -> &'static Pack {
    pack("railway").unwrap()
}

fn root(name: &str) -> BTreeSet<&'static str> {
    railway()
        .schema()
        .get(name)
        .unwrap()
        .fields
        .keys()
        .copied()
        .collect()
}

#[test]
fn every_mutation_has_exactly_one_row() {
    let rows: BTreeSet<_> = railway().tables().mutations.keys().copied().collect();
    assert_eq!(rows, root("Mutation"));
    assert_eq!(rows.len(), 233);
    assert_eq!(root("Query").len(), 158);
    assert_eq!(root("Subscription").len(), 13);
}

#[test]
fn no_row_is_for_nothing() {
    let tables = railway().tables();
    let schema = railway().schema();
    let queries = root("Query");
    for name in tables.queries.keys() {
        assert!(queries.contains(name) || name.starts_with("__"), "{name}");
    }
    for (on, field) in tables.secrets.iter().chain(&tables.identity) {
        assert!(schema.field(on, field).is_some(), "{on}.{field}");
    }
    assert!(tables.secrets.is_disjoint(&tables.identity));
    for (mutation, rules) in &tables.rules {
        for rule in rules {
            let (first, rest) = rule.path.split_first().unwrap();
            let arguments = &schema.field("Mutation", mutation).unwrap().arguments;
            let mut ty = arguments.iter().find(|it| it.name == *first).unwrap().ty;
            for step in rest {
                ty = schema.field(named(ty), step).unwrap().ty;
            }
        }
    }
}

/// Whatever an argument is called, its row says what it names; and where it is called `id`, the
/// mutation's row does.
#[test]
fn every_argument_that_names_something_is_known() {
    fn visit(schema: &Schema, on: &str, seen: &mut BTreeSet<String>, ids: &mut BTreeSet<String>) {
        let Some(ty) = schema.get(on).filter(|ty| ty.kind == TypeKind::Input) else {
            return;
        };
        if seen.insert(on.to_owned()) {
            for (name, field) in &ty.fields {
                ids.insert((*name).to_owned());
                visit(schema, named(field.ty), seen, ids);
            }
        }
    }
    let (tables, schema) = (railway().tables(), railway().schema());
    let mut names = BTreeSet::new();
    for root in ["Mutation", "Query"] {
        for (name, field) in &schema.get(root).unwrap().fields {
            for argument in &field.arguments {
                names.insert(argument.name.to_owned());
                visit(schema, named(argument.ty), &mut BTreeSet::new(), &mut names);
                if argument.name == "id" && root == "Mutation" {
                    assert!(tables.id_kind(name, true).is_some(), "{name}");
                }
            }
        }
    }
    for name in names {
        let is_id = ["Id", "ID", "Ids", "IDs"]
            .iter()
            .any(|it| name.ends_with(it))
            || name == "ids";
        assert!(!is_id || tables.kind(&name).is_some(), "{name}");
    }
}

/// The walk over selections takes the place of a value from its field's type. That would say too
/// little if a field could hold a project or an environment under an abstract type.
#[test]
fn no_field_holds_a_container_under_an_abstract_type() {
    let schema = railway().schema();
    let containers = [
        "User",
        "Workspace",
        "Team",
        "Project",
        "Environment",
        "Service",
        "Volume",
    ];
    for (on, ty) in schema.types().filter(|(_, ty)| ty.kind.is_composite()) {
        for (name, field) in &ty.fields {
            let possible = &schema.get(named(field.ty)).unwrap().possible;
            assert!(
                !possible.iter().any(|it| containers.contains(it)),
                "{on}.{name}"
            );
        }
    }
}

/// A scalar without a schema of its own may hold anything: each field of such a type is a secret,
/// unless it stands here with a reason.
#[test]
fn every_opaque_field_is_a_secret_or_is_argued_not_to_be() {
    const ARGUED: &[(&str, &str)] = &[
        // Layout and selection of what a canvas or dashboard shows.
        ("CanvasViewMergePreview", "mutations"),
        ("CanvasViewMergePreview", "state"),
        ("Environment", "canvasGroupRefs"),
        ("EnvironmentMeta", "skippedResourceIds"),
        ("ObservabilityDashboardItemInstance", "displayConfig"),
        ("Template", "canvasConfig"),
        // Repository, image, commit and builder of a deployment; the command line shows them.
        ("Deployment", "diagnosis"),
        ("Deployment", "meta"),
        ("DeploymentInstanceExecution", "deploymentMeta"),
        ("ServiceInstance", "railpackInfo"),
        // A command; it may read secrets, it does not hold them.
        ("ServiceInstance", "preDeployCommand"),
        // Rules and counters of the edge.
        ("EdgeConfig", "edgeRules"),
        ("EdgeConfig", "overrides"),
        ("EdgeConfig", "purgeEpochByKind"),
        // Limits, prices, health.
        ("ExternalWorkspace", "subscriptionPlanLimit"),
        ("PlanLimitOverride", "config"),
        ("Project", "subscriptionPlanLimit"),
        ("Query", "serviceInstanceLimitOverride"),
        ("Query", "serviceInstanceLimits"),
        ("Template", "supportHealthMetrics"),
        ("Workspace", "subscriptionPlanLimit"),
        // What a signal is by default and when it changes; its values are secrets above.
        ("Signal", "default"),
        ("Signal", "rules"),
        // The publisher's words about a template.
        ("Template", "metadata"),
    ];
    const PLAIN: &[&str] = &[
        "BigInt",
        "Boolean",
        "DateTime",
        "Float",
        "ID",
        "Int",
        "String",
        "SpendCommitmentFeatureId",
    ];
    let (tables, schema) = (railway().tables(), railway().schema());
    let mut opaque = 0;
    for (on, ty) in schema.types() {
        if !ty.kind.is_composite() {
            continue;
        }
        for (name, field) in &ty.fields {
            let leaf = schema.get(named(field.ty)).unwrap();
            if leaf.kind == TypeKind::Scalar && !PLAIN.contains(&named(field.ty)) {
                opaque += 1;
                let argued = ARGUED.contains(&(on, *name));
                assert!(
                    argued != tables.is_secret(on, name),
                    "{on}.{name}: {}",
                    field.ty
                );
            }
        }
    }
    assert!(opaque > 40);
}

/// A document for a root field with nothing but the arguments that it requires.
fn smallest(schema: &Schema, root: &str, name: &str) -> String {
    fn value(schema: &Schema, ty: &str) -> String {
        if ty.starts_with('[') {
            return "[]".to_owned();
        }
        match (named(ty), schema.get(named(ty))) {
            (_, Some(ty)) if ty.kind == TypeKind::Enum => {
                ty.fields.keys().min().unwrap().to_string()
            }
            (_, Some(ty)) if ty.kind == TypeKind::Input => {
                let mut text = String::from("{");
                for (name, field) in &ty.fields {
                    if field.ty.ends_with('!') && field.default.is_none() {
                        let _ = write!(text, "{name}: {} ", value(schema, field.ty));
                    }
                }
                text + "}"
            }
            ("Int" | "Float" | "BigInt", _) => "1".to_owned(),
            ("Boolean", _) => "false".to_owned(),
            ("String" | "ID" | "DateTime" | "Upload", _) => "\"x\"".to_owned(),
            _ => "{}".to_owned(),
        }
    }
    let field = schema.field(root, name).unwrap();
    let mut text = format!("{{ {name}");
    let required: Vec<_> = field
        .arguments
        .iter()
        .filter(|it| it.ty.ends_with('!') && it.default.is_none())
        .map(|it| format!("{}: {}", it.name, value(schema, it.ty)))
        .collect();
    if !required.is_empty() {
        let _ = write!(text, "({})", required.join(", "));
    }
    if schema.get(named(field.ty)).unwrap().kind.is_composite() {
        text.push_str(" { __typename }");
    }
    text + " }"
}

#[test]
fn every_root_field_of_the_schema_is_read_as_its_row_says() {
    let (tables, schema) = (railway().tables(), railway().schema());
    for (kind, type_name) in [("mutation", "Mutation"), ("query", "Query")] {
        for name in root(type_name) {
            let document = format!("{kind} {}", smallest(schema, type_name, name));
            let body = json!({ "query": document }).to_string();
            let request = crate::meaning::tests::request("POST", "", None, body.as_bytes());
            let operations = crate::recognise(&request).expect(&document).operations;
            let [operation] = operations.as_slice() else {
                panic!("{document}: {operations:?}");
            };
            assert!(operation.known, "{document}");
            assert_eq!(operation.name.without_prefix(), name);
            if kind == "query" {
                assert_eq!(operation.effect, Effect::Read, "{document}");
                continue;
            }
            let row = tables.mutations[name];
            assert_eq!(operation.scope, row.scope, "{document}");
            assert!(operation.effect >= row.effect, "{document}");
            assert_eq!(
                operation.flags.union(row.flags),
                operation.flags,
                "{document}"
            );
            let raised = operation.effect > row.effect;
            let depends = [
                "volumeInstanceUpdate",
                "environmentPatchCommit",
                "updateServiceEdgeRules",
            ];
            assert!(!raised || depends.contains(&name), "{document}");
        }
    }
}

/// Dangerous by name or by the published descriptions: none of these may ever be read as a write.
#[test]
fn what_destroys_is_never_a_write() {
    let tables = railway().tables();
    for name in root("Mutation") {
        let lower = name.to_lowercase();
        let sounds = [
            "delete", "destroy", "remove", "reset", "purge", "clear", "rollback", "revert",
        ]
        .iter()
        .any(|word| lower.contains(word));
        // They end something of no worth, or undo a deletion, or change who may act and hold for that.
        let harmless = [
            "clearPitrHaWorkflowProgress",
            "projectScheduleDeleteCancel",
            "projectInvitationDelete",
            "projectMemberRemove",
            "workspaceUserRemove",
            "featureFlagRemove",
            "projectFeatureFlagRemove",
            "serviceFeatureFlagRemove",
        ];
        let effect = tables.mutations[name].effect;
        assert!(
            !sounds || effect >= Effect::Destructive || harmless.contains(&name),
            "{name}"
        );
    }
}

/// Regenerates the compact schema from the published one: set TAGOUT_RAILWAY_SCHEMA to the path of
/// railwayapp/cli's src/gql/schema.json and run with `--run-ignored all`; to write the file instead of
/// comparing, set TAGOUT_WRITE as well.
#[test]
#[ignore = "needs the published schema, which is too large to ship"]
fn the_compact_schema_is_that_of_the_published_one() {
    let path = std::env::var("TAGOUT_RAILWAY_SCHEMA").expect("TAGOUT_RAILWAY_SCHEMA names a file");
    let published: Json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let compact = compact(&published["data"]["__schema"]);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/packs/railway/schema.txt");
    if std::env::var_os("TAGOUT_WRITE").is_some() {
        std::fs::write(file, &compact).unwrap();
    }
    assert!(
        compact == include_str!("../../packs/railway/schema.txt"),
        "they differ"
    );
}

fn compact(schema: &Json) -> String {
    fn list<'a>(of: &'a Json, key: &str) -> Vec<&'a Json> {
        let mut items: Vec<_> = of[key].as_array().into_iter().flatten().collect();
        items.sort_by_key(|it| it["name"].as_str());
        items
    }
    fn name(of: &Json) -> &str {
        of["name"].as_str().unwrap()
    }
    fn ty(of: &Json) -> String {
        match of["kind"].as_str().unwrap() {
            "NON_NULL" => format!("{}!", ty(&of["ofType"])),
            "LIST" => format!("[{}]", ty(&of["ofType"])),
            _ => name(of).to_owned(),
        }
    }
    fn default(of: &Json) -> Option<String> {
        of["defaultValue"].as_str().map(|it| format!("={it}"))
    }
    let mut text = String::new();
    for it in list(schema, "types") {
        if name(it).starts_with("__") {
            continue;
        }
        let kind = match it["kind"].as_str().unwrap() {
            "INPUT_OBJECT" => "input".to_owned(),
            other => other.to_lowercase(),
        };
        text.push_str(&format!("{kind} {}", name(it)));
        for possible in list(it, "possibleTypes") {
            let _ = write!(text, " {}", name(possible));
        }
        text.push('\n');
        for field in list(it, "fields") {
            let _ = write!(text, "\t{} {}", name(field), ty(&field["type"]));
            for argument in list(field, "args") {
                let default = default(argument).unwrap_or_default();
                let _ = write!(
                    text,
                    " {}:{}{default}",
                    name(argument),
                    ty(&argument["type"])
                );
            }
            text.push('\n');
        }
        for field in list(it, "inputFields") {
            let default = default(field)
                .map(|it| format!(" {it}"))
                .unwrap_or_default();
            let _ = writeln!(text, "\t{} {}{default}", name(field), ty(&field["type"]));
        }
        for value in list(it, "enumValues") {
            let _ = writeln!(text, "\t{}", name(value));
        }
    }
    text
}

/// Nothing is parsed at startup, and little time goes by when the first request comes.
#[test]
fn the_tables_and_the_schema_are_read_in_no_time() {
    let before = processor_time();
    railway().tables();
    railway().schema();
    // Unoptimised; optimised it is a millisecond or two.
    assert!(processor_time() - before < std::time::Duration::from_millis(500));
}

/// The processor time that this thread has used (proc_pid_stat(5): `utime` and `stime`, in hundredths of a second). Time on the wall says
/// what else the machine does.
fn processor_time() -> std::time::Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    std::time::Duration::from_millis(ticks * 10)
}

/// Reads every document of Railway's own command line: set TAGOUT_RAILWAY_DOCUMENTS to a folder that
/// holds the files of railwayapp/cli's src/gql/queries/strings and mutations/strings, and run with
/// `--run-ignored all`.
#[test]
#[ignore = "needs the command line's documents"]
fn every_document_of_the_command_line_is_known() {
    let folder = std::env::var("TAGOUT_RAILWAY_DOCUMENTS").expect("it names a folder");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let document = std::fs::read_to_string(&path).unwrap();
        if document.trim_start().starts_with("subscription") {
            continue;
        }
        for definition in Document::parse(&document).unwrap().operations {
            let body = json!({ "query": document, "operationName": definition.name }).to_string();
            let request = crate::meaning::tests::request("POST", "", None, body.as_bytes());
            let meaning = crate::recognise(&request).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            for operation in meaning.operations {
                count += 1;
                println!("{:?} {operation:?}", path.file_name().unwrap_or_default());
                assert!(operation.known, "{path:?}: {operation:?}");
            }
        }
    }
    assert!(count > 50);
}
