//! How many rows an UPDATE, DELETE or MERGE is about, as far as its text tells. Only one answer is
//! lenient, [`WhereKind::Key`], so only that one has to be proved: one of the conditions that are joined
//! by AND compares, with `=`, a column of the target that tells rows apart with a constant or parameter.
//! Whatever else stands beside it can only narrow it.

use super::tree::{Message, Value};
use crate::statement::WhereKind;

/// The longest list that still names rows one by one.
const LONGEST_LIST: usize = 100;

/// Columns that tell rows apart by their name.
const KEYS: &[&str] = &[
    "_id", "code", "ctid", "email", "guid", "handle", "hash", "id", "isbn", "key", "name",
    "number", "pk", "sku", "slug", "token", "username", "uuid", "version",
];

/// Ends of such names: `order_id`, `api_key`.
const KEY_ENDS: &[&str] = &[
    "_code", "_email", "_guid", "_hash", "_id", "_key", "_number", "_pk", "_sku", "_slug",
    "_token", "_uuid",
];

/// Tables in which a migration tool keeps where it stands, and the column of the one row or of each.
const BOOKKEEPING: &[(&str, &str)] = &[
    ("alembic_version", "version_num"),
    ("flyway_schema_history", "installed_rank"),
    ("knex_migrations_lock", "is_locked"),
];

/// What holds many other things: that a row refers to one of these says little about how many rows do.
const CONTAINERS: &[&str] = &[
    "account",
    "app",
    "application",
    "area",
    "category",
    "client",
    "company",
    "country",
    "currency",
    "customer",
    "environment",
    "group",
    "language",
    "locale",
    "org",
    "organisation",
    "organization",
    "parent",
    "partition",
    "plan",
    "project",
    "region",
    "role",
    "shard",
    "shop",
    "site",
    "state",
    "status",
    "store",
    "team",
    "tenant",
    "type",
    "workspace",
    "zone",
];

/// Which rows a WHERE is about. `target` is the table, by its alias where it has one; `joined` says that
/// other tables take part, whose columns unqualified names may be.
pub(super) fn where_kind(condition: &Value, target: &Message, joined: bool) -> WhereKind {
    if condition.is_nothing() {
        return WhereKind::None;
    }
    if condition.kind("CurrentOfExpr").is_some() {
        return WhereKind::Key;
    }
    let alias = target.message("alias").map(|alias| alias.text("aliasname"));
    let target = Target {
        name: alias.unwrap_or_else(|| target.text("relname")),
        relation: target.text("relname"),
        joined,
    };
    if conjuncts(condition).any(|part| target.is_key(part)) {
        return WhereKind::Key;
    }
    match is_always(condition) {
        true => WhereKind::Tautology,
        false => WhereKind::Other,
    }
}

/// Whether each row of a MERGE's source meets at most one row of `target`, as far as names tell: they are compared by
/// a column that tells the target's rows apart.
pub(super) fn meets_by_key(condition: &Value, target: &Message) -> bool {
    let alias = target.message("alias").map(|alias| alias.text("aliasname"));
    let target = Target {
        name: alias.unwrap_or_else(|| target.text("relname")),
        relation: target.text("relname"),
        joined: true,
    };
    conjuncts(condition).any(|part| {
        part.kind("AExpr").is_some_and(|compared| {
            let (left, right) = (compared.get("lexpr"), compared.get("rexpr"));
            matches!(compared.list("name"), [name] if name.string() == Some("="))
                && target.is_key_column(left) != target.is_key_column(right)
        })
    })
}

/// Whether the rows that a source gives are those that stand in the text or in its parameters, and not whatever a table
/// holds: values, a SELECT without FROM, or one from functions that unfold a parameter.
pub(super) fn is_listed(source: Option<&Message>) -> bool {
    /// Functions that give the rows of their arguments.
    const UNFOLDS: &[&str] = &[
        "json_array_elements",
        "json_populate_recordset",
        "json_to_recordset",
        "jsonb_array_elements",
        "jsonb_populate_recordset",
        "jsonb_to_recordset",
        "unnest",
    ];
    let Some(source) = source else {
        return true;
    };
    match source.kind {
        "SelectStmt" => {
            // Both arms of a UNION are SELECTs themselves.
            let arms = [source.message("larg"), source.message("rarg")];
            let from = source.list("from_clause").iter();
            let is_simple = from
                .map(Value::as_message)
                .all(|from| from.is_some() && is_listed(from));
            let unfolds = |value: &Value| value.any(&mut |message| calls_for_rows(message));
            let has_more = ["values_lists", "target_list"]
                .iter()
                .any(|field| unfolds(source.get(field)));
            is_simple && !has_more && arms.into_iter().flatten().all(|arm| is_listed(Some(arm)))
        }
        "RangeSubselect" => source
            .message("subquery")
            .is_some_and(|query| is_listed(Some(query))),
        "RangeFunction" => source.list("functions").iter().all(|function| {
            let mut is_other = false;
            function.any(&mut |message| {
                is_other |= match message.kind {
                    "SubLink" => true,
                    "FuncCall" => !message
                        .list("funcname")
                        .last()
                        .and_then(Value::string)
                        .is_some_and(|name| UNFOLDS.contains(&name)),
                    _ => false,
                };
                is_other
            });
            !is_other
        }),
        _ => false,
    }
}

/// Whether a call gives several rows where one value stands.
fn calls_for_rows(message: &Message) -> bool {
    /// Functions of PostgreSQL's own that give sets (`pg_proc.proretset`), by their beginnings.
    const SETS: &[&str] = &[
        "aclexplode",
        "generate_",
        "json_array_elements",
        "json_each",
        "json_object_keys",
        "json_populate_recordset",
        "json_to_recordset",
        "jsonb_array_elements",
        "jsonb_each",
        "jsonb_object_keys",
        "jsonb_path_query",
        "jsonb_populate_recordset",
        "jsonb_to_recordset",
        "pg_",
        "regexp_matches",
        "regexp_split_to_table",
        "string_to_table",
        "ts_",
        "txid_snapshot_xip",
        "unnest",
    ];
    message.kind == "FuncCall"
        && message
            .list("funcname")
            .last()
            .and_then(Value::string)
            .is_none_or(|name| SETS.iter().any(|set| name.starts_with(set)))
}

/// Whether an UPDATE fills in only what is empty: each column that it sets is required to be NULL, so
/// that no value is overwritten.
pub(super) fn fills_in(condition: &Value, sets: &[Value]) -> bool {
    let empty: Vec<String> = conjuncts(condition)
        .filter_map(|part| part.kind("NullTest"))
        .filter(|test| {
            test.number("nulltesttype") == pg_query::protobuf::NullTestType::IsNull as i32
        })
        .filter_map(|test| column(test.get("arg")).map(|(_, name)| name))
        .collect();
    !sets.is_empty()
        && sets.iter().all(|set| {
            set.kind("ResTarget").is_some_and(|set| {
                set.list("indirection").is_empty()
                    && empty.iter().any(|name| name == set.text("name"))
            })
        })
}

/// A constant's text, through casts: `'a'`, `'a'::text`, `E'a'`.
pub(super) fn constant_text(value: &Value) -> Option<String> {
    let message = value.as_message()?;
    match message.kind {
        "AConst" => message
            .get("val")
            .kind("String")
            .map(|text| text.text("sval").to_owned()),
        "TypeCast" => constant_text(message.get("arg")),
        "NamedArgExpr" => constant_text(message.get("arg")),
        _ => None,
    }
}

struct Target<'a> {
    name: &'a str,
    relation: &'a str,
    joined: bool,
}

impl Target<'_> {
    fn is_key(&self, condition: &Value) -> bool {
        use pg_query::protobuf::AExprKind;
        let Some(compared) = condition.kind("AExpr") else {
            return false;
        };
        let equal = matches!(compared.list("name"), [name] if name.string() == Some("="));
        if !equal {
            return false;
        }
        let (left, right) = (compared.get("lexpr"), compared.get("rexpr"));
        let kind = compared.number("kind");
        if kind == AExprKind::AexprOp as i32 {
            (self.is_key_column(left) && is_one_value(right))
                || (self.is_key_column(right) && is_one_value(left))
        } else if kind == AExprKind::AexprIn as i32 {
            let items = match right {
                Value::Message(list) if list.kind == "List" => list.list("items"),
                other => other.items(),
            };
            self.is_key_column(left)
                && (1..=LONGEST_LIST).contains(&items.len())
                && items.iter().all(is_one_value)
        } else {
            false
        }
    }

    fn is_key_column(&self, value: &Value) -> bool {
        let Some((table, name)) = column(value) else {
            return false;
        };
        let ours = match table {
            Some(table) => table == self.name,
            None => !self.joined,
        };
        ours && names_a_row(&name, self.relation)
    }
}

/// Whether a column of this name tells the rows of this table apart. `tenants.tenant_id` is the row
/// itself; `users.tenant_id` is everybody of a tenant.
pub(crate) fn names_a_row(column: &str, table: &str) -> bool {
    let column = in_snake_case(column);
    if KEYS.contains(&column.as_str()) || BOOKKEEPING.contains(&(table, column.as_str())) {
        return true;
    }
    let stem = KEY_ENDS.iter().find_map(|end| column.strip_suffix(end));
    let Some(stem) = stem.filter(|stem| !stem.is_empty()) else {
        return false;
    };
    let last = stem.rsplit('_').next().unwrap_or(stem);
    !CONTAINERS.contains(&last) || in_snake_case(table).starts_with(stem)
}

/// `orderId` as `order_id`.
fn in_snake_case(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    let mut after_small = false;
    for letter in name.chars() {
        if letter.is_uppercase() && after_small {
            words.push('_');
        }
        after_small = letter.is_lowercase() || letter.is_ascii_digit();
        words.extend(letter.to_lowercase());
    }
    words
}

/// The parts of a condition that all have to hold.
fn conjuncts(condition: &Value) -> impl Iterator<Item = &Value> {
    let mut parts = Vec::new();
    let mut open = vec![condition];
    while let Some(value) = open.pop() {
        match value.kind("BoolExpr") {
            Some(and)
                if and.number("boolop") == pg_query::protobuf::BoolExprType::AndExpr as i32 =>
            {
                open.extend(and.list("args"));
            }
            _ => parts.push(value),
        }
    }
    parts.into_iter()
}

/// A constant that is no truth value, or a parameter. A subquery is many values, a column anything.
fn is_one_value(value: &Value) -> bool {
    let Some(message) = value.as_message() else {
        return false;
    };
    match message.kind {
        "ParamRef" => true,
        "AConst" => !message.truth("isnull") && message.get("val").kind("Boolean").is_none(),
        "TypeCast" => {
            let to = message
                .message("type_name")
                .map(|to| super::names(to.list("names")));
            let truth = to.is_some_and(|names| names.last().is_some_and(|name| name == "bool"));
            !truth && is_one_value(message.get("arg"))
        }
        "AExpr" => {
            message.get("lexpr").is_nothing()
                && matches!(message.list("name"), [name] if name.string() == Some("-"))
                && is_one_value(message.get("rexpr"))
        }
        _ => false,
    }
}

/// A column's qualifier and name.
fn column(value: &Value) -> Option<(Option<String>, String)> {
    let column = value.kind("ColumnRef")?;
    let fields = column.list("fields");
    let path = super::names(fields);
    match path.as_slice() {
        _ if path.len() != fields.len() => None,
        [name] => Some((None, name.clone())),
        [table, name] | [_, table, name] => Some((Some(table.clone()), name.clone())),
        _ => None,
    }
}

/// Whether a condition is known to hold for every row. Only for what is shown: a condition that is not
/// a key counts as open anyway.
fn is_always(condition: &Value) -> bool {
    use pg_query::protobuf::{BoolExprType, NullTestType};
    let mut depends = false;
    condition.any(&mut |message| {
        depends |= matches!(
            message.kind,
            "ColumnRef" | "ParamRef" | "SubLink" | "CurrentOfExpr"
        );
        depends
    });
    if !depends {
        return true;
    }
    let Some(message) = condition.as_message() else {
        return false;
    };
    match message.kind {
        "BoolExpr" => {
            let op = message.number("boolop");
            if op == BoolExprType::OrExpr as i32 {
                let parts = message.list("args");
                let tests = |kind: NullTestType| {
                    parts.iter().filter_map(move |part| {
                        let test = part.kind("NullTest")?;
                        (test.number("nulltesttype") == kind as i32).then(|| test.get("arg"))
                    })
                };
                parts.iter().any(is_always)
                    || tests(NullTestType::IsNull).any(|null| {
                        tests(NullTestType::IsNotNull).any(|not| column(null) == column(not))
                    })
            } else if op == BoolExprType::AndExpr as i32 {
                message.list("args").iter().all(is_always)
            } else {
                false
            }
        }
        "AExpr" => {
            let same = message.get("lexpr");
            let operator = message.list("name").first().and_then(Value::string);
            matches!(operator, Some("=" | "<=" | ">=" | "~~" | "~~*"))
                && column(same).is_some()
                && column(same) == column(message.get("rexpr"))
                || (matches!(operator, Some("~~" | "~~*"))
                    && constant_text(message.get("rexpr")).is_some_and(|text| {
                        !text.is_empty() && text.bytes().all(|byte| byte == b'%')
                    }))
        }
        _ => false,
    }
}
