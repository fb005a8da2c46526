//! Facts for the person who is asked to let something be destroyed: what it holds, how large that is,
//! and which backups live inside it.

use serde_json::Value as Json;

use super::queries::{SERVICES, VOLUMES};
use super::{EnvironmentRef, Halt, Railway};
use crate::resolution::reading::{is, text};

/// Backups that a preview names one by one.
const MOST_BACKUPS_NAMED: usize = 5;

impl Railway<'_> {
    /// What an environment holds, for the person who is asked to have it destroyed.
    pub(super) fn contents(&self, id: &str) -> Result<Vec<(String, String)>, Halt> {
        if !self.with_details {
            return Ok(Vec::new());
        }
        let environment = self.environment(id)?;
        let project = environment.project.clone().unwrap_or_default();
        self.volume_instances(&environment)?
            .into_iter()
            .map(|instance| {
                let volume = instance
                    .get("volume")
                    .and_then(|volume| volume.get("name"))
                    .and_then(Json::as_str)
                    .unwrap_or("unnamed");
                let (_, text) = self.describe(&environment, instance, &project)?;
                Ok((format!("holds volume {volume}"), text))
            })
            .collect()
    }

    pub(super) fn project_contents(
        &self,
        project: &str,
        environments: &[EnvironmentRef],
    ) -> Result<Vec<(String, String)>, Halt> {
        if !self.with_details {
            return Ok(Vec::new());
        }
        let mut details: Vec<_> = environments
            .iter()
            .map(|environment| ("environment".to_owned(), environment.name.clone()))
            .collect();
        let pages = self
            .answers
            .pages(VOLUMES, &[("id", project)], &["project", "volumes"])?;
        for volume in pages.nodes {
            details.push(("volume".to_owned(), text(volume, "name")?.to_owned()));
        }
        Ok(details)
    }

    /// One instance of a volume in a line: where it is mounted, by what, how large it is, and which
    /// backups live inside it.
    pub(super) fn describe(
        &self,
        environment: &EnvironmentRef,
        instance: &Json,
        project: &str,
    ) -> Result<(String, String), Halt> {
        let label = format!("in {}", environment.name);
        let mut parts = vec![text(instance, "mountPath")?.to_owned()];
        if let Some(service) = instance.get("serviceId").and_then(Json::as_str) {
            let pages = self
                .answers
                .pages(SERVICES, &[("id", project)], &["project", "services"]);
            match pages {
                Err(Halt::Ask(body)) => return Err(Halt::Ask(body)),
                Err(Halt::Unresolved(_)) => parts.push("mounted by a service".to_owned()),
                Ok(pages) => {
                    let name = pages
                        .nodes
                        .iter()
                        .find(|node| is(node, "id", service))
                        .and_then(|node| node.get("name"))
                        .and_then(Json::as_str)
                        .unwrap_or("a service");
                    parts.push(format!("mounted by {name}"));
                }
            }
        } else {
            parts.push("mounted by nothing".to_owned());
        }
        if let Some(used) = instance.get("currentSizeMB").and_then(Json::as_f64) {
            parts.push(format!("{:.1} GB", used / 1024.0));
        }
        if let Some(state) = instance.get("state").and_then(Json::as_str) {
            parts.push(state.to_owned());
        }
        if self.with_details {
            parts.push(match self.backups(text(instance, "id")?) {
                Ok([]) => "no backups".to_owned(),
                Ok(backups) => describe_backups(backups),
                Err(Halt::Ask(body)) => return Err(Halt::Ask(body)),
                Err(Halt::Unresolved(_)) => "how many backups live in it is unknown".to_owned(),
            });
        }
        Ok((label, parts.join(", ")))
    }
}

fn describe_backups(backups: &[Json]) -> String {
    let mut names: Vec<&str> = backups
        .iter()
        .take(MOST_BACKUPS_NAMED)
        .map(|backup| {
            let of = |key| backup.get(key).and_then(Json::as_str);
            of("name").or_else(|| of("createdAt")).unwrap_or("unnamed")
        })
        .collect();
    if backups.len() > MOST_BACKUPS_NAMED {
        names.push("…");
    }
    let (noun, verb) = match backups.len() {
        1 => ("backup", "lives"),
        _ => ("backups", "live"),
    };
    format!(
        "{} {noun} {verb} inside it ({})",
        backups.len(),
        names.join(", ")
    )
}
