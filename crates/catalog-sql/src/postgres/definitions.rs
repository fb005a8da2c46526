//! Statements that make, change and remove objects, and those of administration. Two tables say what is
//! made and what is removed by the kind of object; the rest is read one by one. A statement that no line
//! names makes the text unreadable.

use pg_query::protobuf::{AlterTableType, DropBehavior, ObjectType};
use tagout_core::Flag;

use super::statements::{object_of, relations};
use super::tree::{Message, Value};
use super::{Walk, names, object, relation_of};
use crate::statement::{Act, Class, Object, Unreadable};

/// Extensions that only compute.
const COMPUTING_EXTENSIONS: &[&str] = &[
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "earthdistance",
    "fuzzystrmatch",
    "hstore",
    "intarray",
    "isn",
    "ltree",
    "pg_stat_statements",
    "pg_trgm",
    "pgcrypto",
    "plpgsql",
    "postgis",
    "postgis_topology",
    "seg",
    "tablefunc",
    "tsm_system_rows",
    "tsm_system_time",
    "unaccent",
    "uuid-ossp",
    "vector",
];

/// Statements of one meaning: node, operation, class, flag, whether a rollback takes it back, and the
/// field and kind of what it names.
const STATEMENTS: &[(&str, &str, Class, Option<Flag>, bool)] = &[
    (
        "AlterCollationStmt",
        "alter_collation",
        Class::Write,
        None,
        true,
    ),
    (
        "AlterDatabaseRefreshCollStmt",
        "alter_database",
        Class::Admin,
        None,
        true,
    ),
    (
        "AlterDatabaseSetStmt",
        "alter_database",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "AlterDatabaseStmt",
        "alter_database",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "AlterDefaultPrivilegesStmt",
        "alter_default_privileges",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "AlterEventTrigStmt",
        "alter_event_trigger",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "AlterExtensionContentsStmt",
        "alter_extension",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "AlterExtensionStmt",
        "alter_extension",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "AlterFdwStmt",
        "alter_foreign_data_wrapper",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "AlterForeignServerStmt",
        "alter_server",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "AlterFunctionStmt",
        "alter_function",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "AlterObjectDependsStmt",
        "alter_depends",
        Class::Write,
        None,
        true,
    ),
    (
        "AlterOpFamilyStmt",
        "alter_operator_family",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "AlterOperatorStmt",
        "alter_operator",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "AlterPolicyStmt",
        "alter_policy",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "AlterPublicationStmt",
        "alter_publication",
        Class::Admin,
        Some(Flag::Egress),
        true,
    ),
    (
        "AlterRoleSetStmt",
        "alter_role",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    ("AlterSeqStmt", "alter_sequence", Class::Write, None, true),
    (
        "AlterStatsStmt",
        "alter_statistics",
        Class::Write,
        None,
        true,
    ),
    (
        "AlterSubscriptionStmt",
        "alter_subscription",
        Class::Irreversible,
        Some(Flag::Egress),
        false,
    ),
    (
        "AlterSystemStmt",
        "alter_system",
        Class::Irreversible,
        Some(Flag::PermissionChange),
        false,
    ),
    (
        "AlterTableMoveAllStmt",
        "alter_table",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "AlterTableSpaceOptionsStmt",
        "alter_tablespace",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "AlterTsConfigurationStmt",
        "alter_text_search",
        Class::Write,
        None,
        true,
    ),
    (
        "AlterTsDictionaryStmt",
        "alter_text_search",
        Class::Write,
        None,
        true,
    ),
    (
        "AlterTypeStmt",
        "alter_type",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "AlterUserMappingStmt",
        "alter_user_mapping",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    ("CheckPointStmt", "checkpoint", Class::Admin, None, false),
    ("ClusterStmt", "cluster", Class::Admin, None, false),
    ("CommentStmt", "comment", Class::Write, None, true),
    ("CompositeTypeStmt", "create_type", Class::Write, None, true),
    (
        "CreateAmStmt",
        "create_access_method",
        Class::Irreversible,
        Some(Flag::Exec),
        true,
    ),
    (
        "CreateCastStmt",
        "create_cast",
        Class::Destructive,
        Some(Flag::Exec),
        true,
    ),
    (
        "CreateConversionStmt",
        "create_conversion",
        Class::Destructive,
        Some(Flag::Exec),
        true,
    ),
    (
        "CreateDomainStmt",
        "create_domain",
        Class::Write,
        None,
        true,
    ),
    ("CreateEnumStmt", "create_type", Class::Write, None, true),
    (
        "CreateEventTrigStmt",
        "create_event_trigger",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "CreateFdwStmt",
        "create_foreign_data_wrapper",
        Class::Irreversible,
        Some(Flag::Exec),
        true,
    ),
    (
        "CreateForeignServerStmt",
        "create_server",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "CreateForeignTableStmt",
        "create_foreign_table",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "CreateOpClassStmt",
        "create_operator_class",
        Class::Destructive,
        Some(Flag::Exec),
        true,
    ),
    (
        "CreateOpFamilyStmt",
        "create_operator_family",
        Class::Write,
        None,
        true,
    ),
    (
        "CreatePLangStmt",
        "create_language",
        Class::Irreversible,
        Some(Flag::Exec),
        true,
    ),
    (
        "CreatePolicyStmt",
        "create_policy",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "CreatePublicationStmt",
        "create_publication",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    ("CreateRangeStmt", "create_type", Class::Write, None, true),
    ("CreateSeqStmt", "create_sequence", Class::Write, None, true),
    (
        "CreateStatsStmt",
        "create_statistics",
        Class::Write,
        None,
        true,
    ),
    (
        "CreateSubscriptionStmt",
        "create_subscription",
        Class::Irreversible,
        Some(Flag::Egress),
        false,
    ),
    (
        "CreateTableSpaceStmt",
        "create_tablespace",
        Class::Admin,
        Some(Flag::PermissionChange),
        false,
    ),
    (
        "CreateTransformStmt",
        "create_transform",
        Class::Destructive,
        Some(Flag::Exec),
        true,
    ),
    (
        "CreateUserMappingStmt",
        "create_user_mapping",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    ("CreatedbStmt", "create_database", Class::Write, None, false),
    (
        "DropOwnedStmt",
        "drop_owned",
        Class::Destructive,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "DropRoleStmt",
        "drop_role",
        Class::Destructive,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "DropSubscriptionStmt",
        "drop_subscription",
        Class::Irreversible,
        None,
        false,
    ),
    (
        "DropTableSpaceStmt",
        "drop_tablespace",
        Class::Irreversible,
        None,
        false,
    ),
    (
        "DropUserMappingStmt",
        "drop_user_mapping",
        Class::Destructive,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "GrantRoleStmt",
        "grant_role",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "ImportForeignSchemaStmt",
        "import_foreign_schema",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "ReassignOwnedStmt",
        "reassign_owned",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
    (
        "SecLabelStmt",
        "security_label",
        Class::Admin,
        Some(Flag::PermissionChange),
        true,
    ),
];

impl Walk<'_> {
    pub(super) fn definition(&mut self, message: &Message) -> Result<(), Unreadable> {
        let row = STATEMENTS
            .iter()
            .find(|(kind, ..)| kind.eq_ignore_ascii_case(message.kind));
        if let Some((_, name, class, flag, transactional)) = row {
            self.transactional &= transactional;
            let mut act = Act::new(*name, *class).cascading(cascades(message));
            if let Some(flag) = flag {
                act = act.flag(*flag);
            }
            self.act(act.on(named(message)));
            return self.defined_parts(message);
        }
        match message.kind {
            "CreateStmt" => self.made(message, "create_table", "relation", "table"),
            "CreateTableAsStmt" => {
                let into = message.message("into").and_then(|into| into.message("rel"));
                let view = message.number("objtype") == ObjectType::ObjectMatview as i32;
                let (name, kind) = match view {
                    true => ("create_materialized_view", "materialized_view"),
                    false => ("create_table", "table"),
                };
                let made = into.map(|relation| relation_of(relation, kind));
                self.act(Act::new(name, Class::Write).on(made));
                self.fields(message, &["into"])
            }
            "ViewStmt" => self.made(message, "create_view", "view", "view"),
            "IndexStmt" => {
                self.transactional &= !message.truth("concurrent");
                self.made(message, "create_index", "relation", "table")
            }
            "CreateTrigStmt" => {
                let table = message
                    .message("relation")
                    .map(|relation| relation_of(relation, "table"));
                self.act(Act::new("create_trigger", Class::Write).on(table));
                self.trigger_call(&names(message.list("funcname")));
                self.parts_but(
                    message,
                    &["relation", "funcname", "transition_rels", "constrrel"],
                )
            }
            "RuleStmt" => {
                let table = message
                    .message("relation")
                    .map(|relation| relation_of(relation, "table"));
                self.act(Act::new("create_rule", Class::Write).on(table));
                // What it will do instead, whenever somebody uses the table.
                self.parts_but(message, &["relation"])
            }
            "CreateSchemaStmt" => {
                let schema = message.text("schemaname").to_owned();
                self.act(Act::new("create_schema", Class::Write).on([object("schema", &[schema])]));
                self.fields(message, &[])
            }
            "CreateFunctionStmt" => self.create_function(message),
            "CreateExtensionStmt" => {
                let name = message.text("extname").to_owned();
                let act = match COMPUTING_EXTENSIONS.contains(&name.as_str()) {
                    true => Act::new("create_extension", Class::Write),
                    false => Act::new("create_extension", Class::Irreversible)
                        .flag(Flag::PermissionChange)
                        .flag(Flag::Exec)
                        .because(format!(
                            "the extension {name} brings code that may reach anything"
                        )),
                };
                self.act(act.on([object("extension", &[name])]));
                self.fields(message, &[])
            }
            "DefineStmt" => self.define(message),
            "CreateRoleStmt" | "AlterRoleStmt" => self.role(message),
            "GrantStmt" => {
                let name = match message.truth("is_grant") {
                    true => "grant",
                    false => "revoke",
                };
                let objects = message
                    .list("objects")
                    .iter()
                    .map(|object| object_of("object", object));
                let act = Act::new(name, Class::Admin)
                    .flag(Flag::PermissionChange)
                    .on(objects);
                self.act(act.cascading(cascades(message)));
                Ok(())
            }
            "AlterOwnerStmt" => {
                let act = Act::new("alter_owner", Class::Admin).flag(Flag::PermissionChange);
                self.act(act.on(named(message)));
                Ok(())
            }
            "AlterObjectSchemaStmt" => {
                let act = Act::new("alter_schema", Class::Write).on(named(message));
                self.act(renaming(message, "object_type", act));
                Ok(())
            }
            "RenameStmt" => {
                let act = Act::new("rename", Class::Write).on(named(message));
                self.act(renaming(message, "rename_type", act));
                Ok(())
            }
            "AlterEnumStmt" => {
                self.act(Act::new("alter_type", Class::Write));
                Ok(())
            }
            "AlterDomainStmt" => {
                let act = Act::new("alter_domain", Class::Write).cascading(cascades(message));
                self.act(act);
                self.defined_parts(message)
            }
            "AlterTableStmt" => self.alter_table(message),
            "DropStmt" => self.drop_statement(message),
            "DropdbStmt" => {
                self.transactional = false;
                let database = object("database", &[message.text("dbname").to_owned()]);
                self.act(Act::new("drop_database", Class::Irreversible).on([database]));
                Ok(())
            }
            "RefreshMatViewStmt" => self.made(
                message,
                "refresh_materialized_view",
                "relation",
                "materialized_view",
            ),
            "ReindexStmt" => {
                self.transactional = false;
                self.made(message, "reindex", "relation", "table")
            }
            kind => Err(Unreadable::UnknownNode(kind.to_owned())),
        }
    }

    /// A statement that makes or rebuilds the object in one of its fields.
    fn made(
        &mut self,
        message: &Message,
        name: &str,
        field: &str,
        kind: &'static str,
    ) -> Result<(), Unreadable> {
        let made = message
            .message(field)
            .map(|relation| relation_of(relation, kind));
        self.act(Act::new(name, Class::Write).on(made));
        self.parts_but(message, &[field])
    }

    fn defined_parts(&mut self, message: &Message) -> Result<(), Unreadable> {
        self.parts_but(message, &[])
    }

    /// Walks through what a definition holds. Relations that it names are not read by it.
    fn parts_but(&mut self, message: &Message, except: &[&str]) -> Result<(), Unreadable> {
        let reads = self.reads.len();
        for (field, value) in &message.fields {
            if except.contains(field) {
                continue;
            }
            if !matches!(*field, "query" | "actions" | "where_clause") {
                self.part(value)?;
                self.reads.truncate(reads);
            } else {
                self.visit(value)?;
            }
        }
        Ok(())
    }

    /// A part of a definition: nodes that only definitions have, and expressions.
    fn part(&mut self, value: &Value) -> Result<(), Unreadable> {
        const PARTS: &[&str] = &[
            "AtAlterConstraint",
            "CreateOpClassItem",
            "PublicationObjSpec",
            "PublicationTable",
            "TriggerTransition",
            "VacuumRelation",
        ];
        match value {
            Value::List(items) => items.iter().try_for_each(|item| self.part(item)),
            Value::Message(part) if PARTS.contains(&part.kind) => part
                .fields
                .iter()
                .try_for_each(|(_, value)| self.part(value)),
            other => self.visit(other),
        }
    }

    fn define(&mut self, define: &Message) -> Result<(), Unreadable> {
        let path = names(define.list("defnames"));
        let act = match ObjectType::try_from(define.number("kind")) {
            // Both are called by names that expressions have.
            Ok(ObjectType::ObjectAggregate | ObjectType::ObjectOperator) => {
                Act::new("create_operator", Class::Destructive)
                    .flag(Flag::Exec)
                    .because("an expression may call it in the place of one of PostgreSQL's own")
            }
            Ok(ObjectType::ObjectType) if !define.list("definition").is_empty() => {
                Act::new("create_type", Class::Destructive)
                    .flag(Flag::Exec)
                    .because("a base type's functions run whenever a value is read")
            }
            Ok(ObjectType::ObjectTsparser | ObjectType::ObjectTstemplate) => {
                Act::new("create_text_search", Class::Destructive).flag(Flag::Exec)
            }
            Ok(_) => Act::new("create_definition", Class::Write),
            Err(_) => return Err(Unreadable::UnknownNode("a CREATE".to_owned())),
        };
        self.act(act.on([object("definition", &path)]));
        self.defined_parts(define)
    }

    fn role(&mut self, message: &Message) -> Result<(), Unreadable> {
        let name = match message.kind {
            "CreateRoleStmt" => "create_role",
            _ => "alter_role",
        };
        let has = |wanted: &str| {
            let mut options = message.list("options").iter();
            options.any(|option| {
                option
                    .kind("DefElem")
                    .is_some_and(|o| o.text("defname") == wanted)
            })
        };
        let mut act = Act::new(name, Class::Admin).flag(Flag::PermissionChange);
        if has("password") {
            act = act.flag(Flag::CredentialMint).because("sets a password");
        }
        let role = match message.get("role") {
            Value::Text(role) => role.clone(),
            role => role
                .as_message()
                .map(|role| role.text("rolename").to_owned())
                .unwrap_or_default(),
        };
        self.act(act.on([object("role", &[role])]));
        self.fields(message, &[])
    }

    fn alter_table(&mut self, alter: &Message) -> Result<(), Unreadable> {
        let kind = kind_of(alter.number("objtype")).unwrap_or("table");
        let table = alter
            .message("relation")
            .map(|relation| relation_of(relation, kind));
        for command in alter.list("cmds").iter().filter_map(Value::as_message) {
            if command.kind != "AlterTableCmd" {
                return Err(Unreadable::UnknownNode(command.kind.to_owned()));
            }
            let subtype = AlterTableType::try_from(command.number("subtype"))
                .map_err(|_| Unreadable::UnknownNode("an ALTER TABLE".to_owned()))?;
            let act = altered(subtype, command).cascading(cascades(command));
            self.transactional &= !detaches_concurrently(subtype, command);
            self.act(act.on(table.clone()));
            self.defined_parts(command)?;
        }
        Ok(())
    }

    fn drop_statement(&mut self, drop: &Message) -> Result<(), Unreadable> {
        let number = drop.number("remove_type");
        let Some(kind) = kind_of(number) else {
            return Err(Unreadable::UnknownNode("a DROP".to_owned()));
        };
        self.transactional &= !drop.truth("concurrent");
        let on_table = matches!(
            ObjectType::try_from(number),
            Ok(ObjectType::ObjectTrigger | ObjectType::ObjectRule | ObjectType::ObjectPolicy)
        );
        let objects: Vec<Object> = drop
            .list("objects")
            .iter()
            .map(|value| match value.kind("List") {
                // The last name is the trigger's, those before it the table's.
                Some(list) if on_table => {
                    let mut path = names(list.list("items"));
                    path.pop();
                    object("table", &path)
                }
                _ => object_of(kind, value),
            })
            .collect();
        let mut act = Act::new(format!("drop_{kind}"), Class::Destructive).on(objects);
        if matches!(
            ObjectType::try_from(number),
            Ok(ObjectType::ObjectPolicy
                | ObjectType::ObjectEventTrigger
                | ObjectType::ObjectForeignServer)
        ) {
            act = act.flag(Flag::PermissionChange);
        }
        self.act(act.cascading(cascades(drop)));
        Ok(())
    }
}

/// What one command of ALTER TABLE does.
fn altered(subtype: AlterTableType, command: &Message) -> Act {
    use AlterTableType as Alter;
    match subtype {
        Alter::AtDropColumn => Act::new("drop_column", Class::Destructive).because(format!(
            "removes the column {} with its values",
            command.text("name")
        )),
        Alter::AtAlterColumnType if widens(command) => Act::new("alter_table", Class::Write),
        Alter::AtAlterColumnType => Act::new("alter_column_type", Class::Destructive)
            .because("rewrites values, and what the new type cannot hold is lost"),
        Alter::AtSetExpression | Alter::AtDropExpression => {
            Act::new("alter_table", Class::Destructive).because("rewrites the values of a column")
        }
        Alter::AtSetUnLogged => Act::new("alter_table", Class::Destructive)
            .because("an unlogged table is empty after a crash"),
        Alter::AtDetachPartition | Alter::AtDetachPartitionFinalize => {
            Act::new("detach_partition", Class::Destructive).because("takes rows out of the table")
        }
        Alter::AtDropIdentity | Alter::AtDropOids => Act::new("alter_table", Class::Destructive),
        Alter::AtChangeOwner
        | Alter::AtDisableTrig
        | Alter::AtDisableTrigAll
        | Alter::AtDisableTrigUser
        | Alter::AtEnableAlwaysTrig
        | Alter::AtEnableReplicaTrig
        | Alter::AtDisableRule
        | Alter::AtEnableAlwaysRule
        | Alter::AtEnableReplicaRule
        | Alter::AtDisableRowSecurity
        | Alter::AtEnableRowSecurity
        | Alter::AtForceRowSecurity
        | Alter::AtNoForceRowSecurity
        | Alter::AtGenericOptions
        | Alter::AtAlterColumnGenericOptions => {
            Act::new("alter_table", Class::Admin).flag(Flag::PermissionChange)
        }
        _ => Act::new("alter_table", Class::Write),
    }
}

/// Every value has a text: only then the new type holds all of them.
fn widens(command: &Message) -> bool {
    let Some(column) = command.get("def").kind("ColumnDef") else {
        return false;
    };
    let Some(to) = column.message("type_name") else {
        return false;
    };
    let path = names(to.list("names"));
    let text = matches!(
        path.iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .as_slice(),
        ["text" | "varchar"] | ["pg_catalog", "text" | "varchar"]
    );
    text && to.list("typmods").is_empty()
        && to.list("array_bounds").is_empty()
        && column.get("raw_default").is_nothing()
}

fn detaches_concurrently(subtype: AlterTableType, command: &Message) -> bool {
    subtype == AlterTableType::AtDetachPartition
        && command
            .get("def")
            .kind("PartitionCmd")
            .is_some_and(|def| def.truth("concurrent"))
}

pub(super) fn cascades(message: &Message) -> bool {
    message.number("behavior") == DropBehavior::DropCascade as i32
}

/// What a statement names, wherever it has it.
fn named(message: &Message) -> Vec<Object> {
    let kind = ["object_type", "objtype", "rename_type"]
        .iter()
        .find_map(|field| kind_of(message.number(field)))
        .unwrap_or("object");
    if let Some(relation) = message.message("relation") {
        return vec![relation_of(relation, kind)];
    }
    if let Some(sequence) = message.message("sequence") {
        return vec![relation_of(sequence, "sequence")];
    }
    match message.get("object") {
        Value::Nothing => relations(message.list("relations"), "table"),
        value => vec![object_of(kind, value)],
    }
}

/// PostgreSQL's word for a kind of object.
fn kind_of(number: i32) -> Option<&'static str> {
    use ObjectType as Type;
    Some(match Type::try_from(number).ok()? {
        Type::Undefined => return None,
        Type::ObjectAccessMethod => "access_method",
        Type::ObjectAggregate => "aggregate",
        Type::ObjectCast => "cast",
        Type::ObjectColumn => "column",
        Type::ObjectCollation => "collation",
        Type::ObjectConversion => "conversion",
        Type::ObjectDatabase => "database",
        Type::ObjectDomain => "domain",
        Type::ObjectEventTrigger => "event_trigger",
        Type::ObjectExtension => "extension",
        Type::ObjectFdw => "foreign_data_wrapper",
        Type::ObjectForeignServer => "server",
        Type::ObjectForeignTable => "foreign_table",
        Type::ObjectFunction => "function",
        Type::ObjectIndex => "index",
        Type::ObjectLanguage => "language",
        Type::ObjectLargeobject => "large_object",
        Type::ObjectMatview => "materialized_view",
        Type::ObjectOpclass => "operator_class",
        Type::ObjectOperator => "operator",
        Type::ObjectOpfamily => "operator_family",
        Type::ObjectPolicy => "policy",
        Type::ObjectProcedure => "procedure",
        Type::ObjectPublication => "publication",
        Type::ObjectRole => "role",
        Type::ObjectRoutine => "routine",
        Type::ObjectRule => "rule",
        Type::ObjectSchema => "schema",
        Type::ObjectSequence => "sequence",
        Type::ObjectSubscription => "subscription",
        Type::ObjectStatisticExt => "statistics",
        Type::ObjectTable => "table",
        Type::ObjectTablespace => "tablespace",
        Type::ObjectTransform => "transform",
        Type::ObjectTrigger => "trigger",
        Type::ObjectTsconfiguration
        | Type::ObjectTsdictionary
        | Type::ObjectTsparser
        | Type::ObjectTstemplate => "text_search",
        Type::ObjectType => "type",
        Type::ObjectUserMapping => "user_mapping",
        Type::ObjectView => "view",
        _ => "object",
    })
}

/// A new name or schema of something. Of a function it decides what the calls of either name run.
fn renaming(message: &Message, field: &str, mut act: Act) -> Act {
    let is_called = matches!(
        ObjectType::try_from(message.number(field)),
        Ok(ObjectType::ObjectFunction
            | ObjectType::ObjectProcedure
            | ObjectType::ObjectRoutine
            | ObjectType::ObjectAggregate
            | ObjectType::ObjectOperator
            | ObjectType::ObjectOpclass
            | ObjectType::ObjectOpfamily
            | ObjectType::ObjectSchema
            | ObjectType::ObjectExtension)
    );
    if is_called {
        act.class = Class::Destructive;
        act = act
            .flag(Flag::Exec)
            .because("calls by the old name and by the new one run other code from then on");
    }
    act
}
