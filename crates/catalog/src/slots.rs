//! Credential slots: the places of a request that carry a credential. Packs name theirs; for hosts
//! without a pack there is one generic table of names that carry credentials everywhere.

use std::sync::LazyLock;

use serde::Deserialize;

/// A place of a request that carries a credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SlotPlace {
    /// A header field.
    Header {
        /// Its name, folded as [`fold_field_name`] does.
        name: String,
        /// The authentication scheme in front of the credential, such as `Bearer`; `None` where the
        /// whole value is the credential, or any scheme may stand there.
        scheme: Option<String>,
    },
    /// A query parameter, by its folded name.
    Query(String),
    /// One cookie, by its exact name.
    Cookie(String),
    /// Every cookie.
    AnyCookie,
    /// A field of a JSON or form body at any depth, by its folded name.
    BodyField(String),
    /// `user:password@` in a URL.
    Userinfo,
}

/// Folds a field name for comparison with a slot's: lower case, `_` as `-`.
pub fn fold_field_name(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// The generic slot table: what carries credentials on hosts without a pack, and, beside a pack's
/// own slots, on hosts with one.
pub fn generic_slots() -> &'static [SlotPlace] {
    static TABLE: LazyLock<Vec<SlotPlace>> = LazyLock::new(|| {
        // The file is part of the program; the test below reads it.
        toml::from_str::<SlotTable>(include_str!("../packs/generic-slots.toml"))
            .expect("packs/generic-slots.toml is well-formed")
            .places()
    });
    &TABLE
}

/// Slots as a data file writes them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SlotTable {
    /// `name` or `name: Scheme`.
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default)]
    query: Vec<String>,
    #[serde(default)]
    body_fields: Vec<String>,
    /// Names, or `*` for every cookie.
    #[serde(default)]
    cookies: Vec<String>,
    #[serde(default)]
    userinfo: bool,
}

impl SlotTable {
    /// The table as places, in the order of the file.
    pub(crate) fn places(&self) -> Vec<SlotPlace> {
        let headers = self.headers.iter().map(|entry| header_place(entry));
        let query = self
            .query
            .iter()
            .map(|name| SlotPlace::Query(fold_field_name(name)));
        let body = self
            .body_fields
            .iter()
            .map(|name| SlotPlace::BodyField(fold_field_name(name)));
        let cookies = self.cookies.iter().map(|name| match name.as_str() {
            "*" => SlotPlace::AnyCookie,
            name => SlotPlace::Cookie(name.to_owned()),
        });
        headers
            .chain(query)
            .chain(body)
            .chain(cookies)
            .chain(self.userinfo.then_some(SlotPlace::Userinfo))
            .collect()
    }
}

/// A header field as a table names it: `x-api-key`, or with its scheme `authorization: Bearer`.
pub(crate) fn header_place(entry: &str) -> SlotPlace {
    let (name, scheme) = match entry.split_once(':') {
        Some((name, scheme)) => (name, Some(scheme.trim().to_owned())),
        None => (entry, None),
    };
    SlotPlace::Header {
        name: fold_field_name(name.trim()),
        scheme,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_and_folds() {
        let has = |place: SlotPlace| generic_slots().contains(&place);
        let header = |name: &str| SlotPlace::Header {
            name: name.to_owned(),
            scheme: None,
        };
        assert!(has(header("authorization")));
        assert!(has(header("proxy-authorization")));
        assert!(has(header("private-token")));
        assert!(has(SlotPlace::Query("x-amz-signature".to_owned())));
        assert!(has(SlotPlace::BodyField("client-secret".to_owned())));
        assert!(has(SlotPlace::AnyCookie));
        assert!(has(SlotPlace::Userinfo));
        assert_eq!(fold_field_name("X_API_Key"), "x-api-key");
    }
}
