//! The fields that the fake serves, with the types that Railway's schema gives them. The executor
//! refuses every other field, and a test compares each row with the published schema.

use std::collections::HashMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("fields.tsv");

static FIELDS: LazyLock<HashMap<(&'static str, &'static str), &'static str>> =
    LazyLock::new(|| rows().map(|(on, name, ty)| ((on, name), ty)).collect());

/// Rows of type, field, field's type in GraphQL's notation.
pub(crate) fn rows() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    TABLE.lines().filter_map(|line| {
        let mut columns = line.split('\t');
        Some((columns.next()?, columns.next()?, columns.next()?))
    })
}

/// The type of a field in GraphQL's notation, such as `[Project!]!`.
pub(crate) fn type_of(on: &str, field: &str) -> Option<&'static str> {
    FIELDS.get(&(on, field)).copied()
}

/// The innermost name of a type: `Project` of `[Project!]!`.
pub(crate) fn named(ty: &'static str) -> &'static str {
    ty.trim_matches(|c| matches!(c, '[' | ']' | '!'))
}

/// Whether values of the type have fields of their own.
pub(crate) fn is_composite(ty: &'static str) -> bool {
    let name = named(ty);
    rows().any(|(on, _, _)| on == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The compact form of Railway's schema that the Railway pack ships: `kind name` opens a type,
    /// `field type` lines follow, each behind a tab.
    const SCHEMA: &str = include_str!("../../catalog/packs/railway/schema.txt");

    #[test]
    fn every_field_is_in_the_published_schema_with_its_type() {
        let mut published = HashMap::new();
        let mut on = "";
        for line in SCHEMA.lines() {
            if let Some(field) = line.strip_prefix('\t') {
                let (name, rest) = field.split_once(' ').unwrap_or((field, ""));
                let ty = rest.split(' ').next().unwrap_or_default();
                published.insert((on, name), ty);
            } else {
                on = line.split(' ').nth(1).unwrap_or_default();
            }
        }
        let mut count = 0;
        for (on, field, ty) in rows() {
            assert_eq!(published.get(&(on, field)), Some(&ty), "{on}.{field}");
            count += 1;
        }
        assert!(count > 150);
    }
}
