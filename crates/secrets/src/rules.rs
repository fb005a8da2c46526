//! Token shapes as data: `rules/*.toml`, one entry a shape, read at the first scan. A rule runs only
//! where one of its keywords stands, and is compiled when that first happens.

use std::sync::{LazyLock, OnceLock};

use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

use crate::finding::Confidence;

/// One shape of token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// The finding's kind.
    pub(crate) id: String,
    /// Literal texts, lower case, one of which every match has; found whatever the case.
    pub(crate) keywords: Vec<String>,
    /// What a match looks like; its first group that took part, or all of it, is the secret.
    regex: String,
    /// How sure a match is.
    #[serde(default = "high")]
    pub(crate) confidence: Confidence,
    /// How many bytes before a keyword a match may begin.
    #[serde(default = "some_bytes")]
    pub(crate) before: usize,
    /// Whether the secret must look random.
    #[serde(default)]
    pub(crate) random: bool,
    /// The Shannon entropy that the secret must exceed, in bits a byte.
    pub(crate) entropy: Option<f64>,
    /// Extensions of the files that the rule is for, lower case; empty for all.
    #[serde(default)]
    pub(crate) extensions: Vec<String>,
    #[serde(skip)]
    compiled: OnceLock<Option<Regex>>,
}

impl Rule {
    /// The compiled expression; `None` only for a rule that the tests would have refused.
    pub(crate) fn regex(&self) -> Option<&Regex> {
        self.compiled
            .get_or_init(|| {
                RegexBuilder::new(&self.regex)
                    .unicode(false)
                    .size_limit(4 << 20)
                    .build()
                    .ok()
            })
            .as_ref()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    rule: Vec<Rule>,
}

const FILES: &[&str] = &[
    include_str!("../rules/code-hosting.toml"),
    include_str!("../rules/cloud.toml"),
    include_str!("../rules/services.toml"),
    include_str!("../rules/models.toml"),
    include_str!("../rules/formats.toml"),
    include_str!("../rules/betterleaks.toml"),
];

/// Every rule that is built in.
pub(crate) fn builtin() -> &'static [Rule] {
    static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
        FILES
            .iter()
            // The files are part of the program; a test reads each.
            .flat_map(|text| {
                toml::from_str::<RuleFile>(text)
                    .map(|file| file.rule)
                    .unwrap_or_default()
            })
            .collect()
    });
    &RULES
}

fn high() -> Confidence {
    Confidence::High
}

fn some_bytes() -> usize {
    64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_reads_and_compiles() {
        for text in FILES {
            toml::from_str::<RuleFile>(text).unwrap();
        }
        let mut ids = std::collections::HashSet::new();
        for rule in builtin() {
            assert!(rule.regex().is_some(), "{} does not compile", rule.id);
            assert!(ids.insert(&rule.id), "{} twice", rule.id);
            assert!(!rule.keywords.is_empty(), "{} has no keyword", rule.id);
            for keyword in &rule.keywords {
                assert!(keyword.len() >= 2, "{}: {keyword}", rule.id);
                assert_eq!(*keyword, keyword.to_lowercase(), "{}", rule.id);
            }
        }
        assert!(ids.len() >= 80, "{} rules", ids.len());
    }
}
