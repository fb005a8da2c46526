//! Provider packs: data compiled into the program, parsed when the first request needs them. Who
//! adds a provider adds a folder under `packs/` and a row in `PACKS`.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use serde::Deserialize;
use tagout_core::{CanonicalPath, HostName, HostPattern, Operation, OperationName};

use crate::graphql::document::Kind;
use crate::graphql::schema::Schema;
use crate::resolution::Resolution;
use crate::slots::{SlotPlace, SlotTable};
use crate::tables::{Reach, TableTexts, Tables};

/// A provider: its hosts, its credential slots, what its operations mean and how the environment of
/// its resources is asked for.
#[derive(Debug)]
pub struct Pack {
    /// The provider's name, as a manifest writes it and as it stands in front of operations and
    /// resources: `railway`.
    pub name: &'static str,
    hosts: Vec<HostPattern>,
    slots: Vec<SlotPlace>,
    variables: BTreeMap<String, Vec<SlotPlace>>,
    graphql_paths: Vec<String>,
    oauth_paths: Vec<String>,
    table_texts: TableTexts,
    schema_text: &'static str,
    /// Parsed when the first request needs them.
    tables: OnceLock<Tables>,
    schema: OnceLock<Schema>,
}

/// A manifest names an operation that the pack does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pack} has no operation `{word}`{hint}")]
pub struct UnknownOperation {
    pack: &'static str,
    word: String,
    /// Empty, or `; did you mean `…`?`.
    hint: String,
}

/// The pack of that name.
pub fn pack(name: &str) -> Option<&'static Pack> {
    PACKS.iter().find(|pack| pack.name == name)
}

/// The pack that claims `host`.
pub fn pack_for_host(host: &HostName) -> Option<&'static Pack> {
    PACKS.iter().find(|pack| pack.claims(host))
}

static PACKS: LazyLock<Vec<Pack>> = LazyLock::new(|| {
    vec![Pack::read(
        "railway",
        include_str!("../packs/railway/pack.toml"),
        include_str!("../packs/railway/schema.txt"),
        TableTexts {
            mutations: include_str!("../packs/railway/mutations.tsv"),
            arguments: include_str!("../packs/railway/arguments.tsv"),
            queries: include_str!("../packs/railway/queries.tsv"),
            kinds: include_str!("../packs/railway/kinds.tsv"),
            secrets: include_str!("../packs/railway/secrets.tsv"),
            identity: include_str!("../packs/railway/identity.tsv"),
        },
    )]
});

/// `pack.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PackFile {
    hosts: Vec<HostPattern>,
    graphql_paths: Vec<String>,
    oauth_paths: Vec<String>,
    slots: SlotTable,
    #[serde(default)]
    variables: BTreeMap<String, SlotTable>,
}

impl Pack {
    fn read(
        name: &'static str,
        text: &str,
        schema_text: &'static str,
        table_texts: TableTexts,
    ) -> Self {
        // The file is part of the program; tests read every pack.
        let file: PackFile = toml::from_str(text).expect("the pack's file is well-formed");
        Self {
            name,
            hosts: file.hosts,
            slots: file.slots.places(),
            variables: file
                .variables
                .into_iter()
                .map(|(variable, table)| (variable, table.places()))
                .collect(),
            graphql_paths: file.graphql_paths,
            oauth_paths: file.oauth_paths,
            table_texts,
            schema_text,
            tables: OnceLock::new(),
            schema: OnceLock::new(),
        }
    }

    /// The hosts that the pack claims. The first is the one to ask when no request names another.
    pub fn hosts(&self) -> &[HostPattern] {
        &self.hosts
    }

    /// Where the provider takes credentials.
    pub fn slots(&self) -> &[SlotPlace] {
        &self.slots
    }

    /// Where the provider takes what its own programs read from an environment variable: some of
    /// [`Pack::slots`], or `None` where the variable's name tells nothing.
    pub fn slots_of_variable(&self, variable: &str) -> Option<&[SlotPlace]> {
        self.variables.get(variable).map(Vec::as_slice)
    }

    /// Whether requests to `host` are read by this pack.
    pub fn claims(&self, host: &HostName) -> bool {
        self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    /// Whether refusals on `path` should have GraphQL's shape.
    pub fn is_graphql_endpoint(&self, path: &CanonicalPath) -> bool {
        self.graphql_paths
            .iter()
            .any(|endpoint| endpoint == path.as_str())
    }

    /// Where the provider's questions are asked.
    fn endpoint(&self) -> CanonicalPath {
        self.graphql_paths
            .first()
            .and_then(|path| CanonicalPath::parse(path).ok())
            .expect("the pack names its endpoint")
    }

    /// Whether a server might take `path` for the GraphQL endpoint: by case, a slash behind it, a
    /// parameter, or an encoded separator.
    pub(crate) fn resembles_graphql_endpoint(&self, path: &CanonicalPath) -> bool {
        let readings = path.readings();
        readings.iter().any(|reading| {
            let folded = reading.to_ascii_lowercase();
            // A reading that is no path at all might be anything.
            folded.is_empty() || folded.contains("graphql")
        })
    }

    /// Whether tokens are handed out below `path`.
    pub(crate) fn mints_tokens(&self, path: &CanonicalPath) -> bool {
        self.oauth_paths.iter().any(|prefix| {
            path.as_str()
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// The operation that a manifest's word names, with or without the provider in front:
    /// `customDomainCreate` or `railway.customDomainCreate`. Effect classes (`read`, `write`) are
    /// the manifest's own and no operations.
    ///
    /// # Errors
    /// [`UnknownOperation`] when the pack has no operation of that name.
    pub fn expand_operation(&self, manifest_word: &str) -> Result<OperationName, UnknownOperation> {
        let word = manifest_word
            .strip_prefix(self.name)
            .and_then(|rest| rest.strip_prefix('.'))
            .unwrap_or(manifest_word);
        let roots = [Kind::Mutation, Kind::Query].map(Schema::root);
        let is_known = roots
            .iter()
            .any(|root| self.schema().field(root, word).is_some());
        let name = OperationName::parse(&format!("{}.{word}", self.name)).ok();
        name.filter(|_| is_known).ok_or_else(|| UnknownOperation {
            pack: self.name,
            word: manifest_word.chars().take(64).collect(),
            hint: self
                .nearest(word)
                .map(|other| format!("; did you mean `{other}`?"))
                .unwrap_or_default(),
        })
    }

    /// An operation that is written almost like `word`.
    fn nearest(&self, word: &str) -> Option<&'static str> {
        let folded = word.to_ascii_lowercase();
        let roots = [Kind::Mutation, Kind::Query].map(Schema::root);
        roots
            .iter()
            .filter_map(|root| self.schema().get(root))
            .flat_map(|root| root.fields.keys().copied())
            .filter(|name| {
                let name = name.to_ascii_lowercase();
                name == folded || !folded.is_empty() && name.starts_with(&folded)
            })
            .min()
    }

    pub(crate) fn schema(&self) -> &Schema {
        self.schema.get_or_init(|| Schema::read(self.schema_text))
    }

    pub(crate) fn tables(&self) -> &Tables {
        self.tables.get_or_init(|| Tables::read(self.table_texts))
    }

    /// How to learn the environments of everything that `operation` names. Where the operation names
    /// an environment beside a project, service or volume and acts in it alone, the others are only
    /// checked to belong there. An operation without resources is done at once.
    ///
    /// The answer depends on the operation's name and arguments, not on its resources alone: a cache
    /// has the whole operation as its key.
    pub fn resolve(&self, operation: &Operation) -> Resolution {
        let no_arguments = serde_json::Map::new();
        let arguments = operation.arguments.as_object().unwrap_or(&no_arguments);
        let reach = self
            .tables()
            .judge(operation.name.without_prefix(), arguments)
            .map_or(Reach::Own, |judgement| judgement.reach);
        Resolution::of(operation, reach, self.endpoint())
    }

    /// How to learn every environment that the credential can see, for pinning names at launch. Each
    /// is a [`ResolvedResource`](crate::ResolvedResource) of its own.
    pub fn resolve_all_environments(&self) -> Resolution {
        Resolution::of_everything(self.endpoint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_find_their_pack() {
        let of = |name: &str| pack_for_host(&HostName::parse(name).unwrap()).map(|it| it.name);
        assert_eq!(of("backboard.railway.com"), Some("railway"));
        assert_eq!(of("BACKBOARD.railway.app"), Some("railway"));
        assert_eq!(of("backboard.railway-staging.com"), Some("railway"));
        assert_eq!(of("railway.com"), None);
        assert_eq!(of("backboard.railway.com.example.org"), None);
        assert!(pack("railway").is_some());
        assert!(pack("Railway").is_none());
    }

    #[test]
    fn slots_are_where_railway_takes_tokens() {
        let bearer = SlotPlace::Header {
            name: "authorization".to_owned(),
            scheme: Some("Bearer".to_owned()),
        };
        let project = SlotPlace::Header {
            name: "project-access-token".to_owned(),
            scheme: None,
        };
        let railway = pack("railway").unwrap();
        assert_eq!(railway.slots(), [bearer.clone(), project.clone()]);
        let of = |variable| railway.slots_of_variable(variable);
        assert_eq!(of("RAILWAY_TOKEN"), Some(&[project][..]));
        assert_eq!(of("RAILWAY_API_TOKEN"), Some(&[bearer][..]));
        assert_eq!(of("TOKEN"), None);
    }

    #[test]
    fn manifests_name_operations_with_or_without_the_provider() {
        let railway = pack("railway").unwrap();
        for word in ["customDomainCreate", "railway.customDomainCreate"] {
            let name = railway.expand_operation(word).unwrap();
            assert_eq!(name.as_str(), "railway.customDomainCreate");
        }
        assert!(railway.expand_operation("variables").is_ok());
        let error = railway.expand_operation("customdomaincreate").unwrap_err();
        assert_eq!(
            error.to_string(),
            "railway has no operation `customdomaincreate`; did you mean `customDomainCreate`?"
        );
        for word in [
            "",
            "read",
            "write",
            "railway.",
            "a b",
            "aws.customDomainCreate",
        ] {
            assert!(railway.expand_operation(word).is_err(), "{word}");
        }
    }

    #[test]
    fn tokens_are_minted_below_oauth() {
        let railway = pack("railway").unwrap();
        let mints = |path| railway.mints_tokens(&CanonicalPath::parse(path).unwrap());
        assert!(mints("/oauth"));
        assert!(mints("/oauth/token"));
        assert!(!mints("/oauthx"));
        assert!(!mints("/graphql/v2"));
    }
}
