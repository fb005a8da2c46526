//! How the server writes values while they are read, whatever the client has set; and the client's
//! settings back afterwards.

use super::DamageError;
use super::target::{OWN_PATH, cell, unseen};
use crate::{Ask, quoted_value};

/// How values are written while they are read, and what else must not come between.
const SETTINGS: &[(&str, &str)] = &[
    ("search_path", OWN_PATH),
    ("datestyle", "ISO, YMD"),
    ("intervalstyle", "postgres"),
    ("timezone", "UTC"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("xmloption", "content"),
    ("row_security", "off"),
    ("lock_timeout", "5s"),
    ("quote_all_identifiers", "off"),
];

/// The client's settings, while others hold.
pub(super) struct Settings(Vec<(&'static str, String)>);

impl Settings {
    pub(super) async fn set(ask: &mut impl Ask) -> Result<Self, DamageError> {
        let each = |call: fn(&str, &str) -> String| {
            let calls: Vec<_> = SETTINGS
                .iter()
                .map(|(name, value)| call(name, value))
                .collect();
            format!("SELECT {}", calls.join(", "))
        };
        let now = ask
            .ask(&each(|name, _| {
                format!("pg_catalog.current_setting('{name}')")
            }))
            .await?;
        let row = now
            .rows
            .first()
            .ok_or_else(|| unseen("the settings could not be read"))?;
        let before = SETTINGS
            .iter()
            .enumerate()
            .map(|(at, (name, _))| (*name, cell(row, at).to_owned()));
        let before = Self(before.collect());
        ask.ask(&each(|name, value| {
            format!("pg_catalog.set_config('{name}', '{value}', true)")
        }))
        .await?;
        Ok(before)
    }

    pub(super) fn search_path(&self) -> &str {
        let path = self.0.iter().find(|(name, _)| *name == "search_path");
        path.map_or("", |(_, path)| path.as_str())
    }

    pub(super) async fn back(&self, ask: &mut impl Ask) -> Result<(), DamageError> {
        let calls: Vec<_> = self
            .0
            .iter()
            .map(|(name, value)| {
                format!(
                    "pg_catalog.set_config('{name}', {}, true)",
                    quoted_value(value)
                )
            })
            .collect();
        ask.ask(&format!("SELECT {}", calls.join(", "))).await?;
        Ok(())
    }
}
