//! Railway: a project token stands in `Project-Access-Token` and has one environment; account and
//! workspace tokens stand in `Authorization` (docs.railway.com, "Public API"; the schema that `catalog`
//! ships). Which one a UUID is, only Railway knows: the smaller kind is tried first.

use serde_json::{Value as Json, json};
use tagout_net::Upstream;

use super::{Answered, Ask, Found, ProbeError, ask, shown};

const HOST: &str = "backboard.railway.com";
const PATH: &str = "/graphql/v2";
/// Projects that are named.
const NAMED: usize = 5;

pub(super) async fn probe(upstream: &Upstream, token: &str) -> Result<Found, ProbeError> {
    let query = |slot: (&'static str, String), text: &str| Ask {
        provider: "Railway",
        host: HOST,
        path: PATH,
        slot,
        body: Some(json!({ "query": text })),
    };
    let project = query(
        ("project-access-token", token.to_owned()),
        "query { projectToken { projectId environmentId project { name } environment { name } } }",
    );
    let project = ask(upstream, project).await?;
    if let Some(found) = of_project(&project) {
        return Ok(found);
    }
    let bearer = || ("authorization", format!("Bearer {token}"));
    let projects = ask(
        upstream,
        query(
            bearer(),
            "query { projects { edges { node { id name } } } }",
        ),
    )
    .await?;
    // A workspace's token is nobody's: `me` fails with it.
    let me = ask(upstream, query(bearer(), "query { me { id email } }")).await?;
    of_account(&projects, &me)
}

fn of_project(answer: &Answered) -> Option<Found> {
    let token = answer.body.pointer("/data/projectToken")?.as_object()?;
    let text = |name: &str| token.get(name).and_then(Json::as_str).map(shown);
    let named = |of: &str| {
        let name = token.get(of).and_then(|of| of["name"].as_str()).map(shown);
        let id = text(&format!("{of}Id")).unwrap_or_default();
        match name {
            Some(name) => format!("{name} ({id})"),
            None => id,
        }
    };
    Some(Found {
        provider: "Railway",
        facts: vec![
            format!("a project token of project {}", named("project")),
            format!("for environment {} alone", named("environment")),
            "everything in that environment, with deletions".to_owned(),
        ],
        unknown: vec!["when it expires: project tokens live until they are deleted".to_owned()],
    })
}

fn of_account(projects: &Answered, me: &Answered) -> Result<Found, ProbeError> {
    let Some(edges) = projects
        .body
        .pointer("/data/projects/edges")
        .and_then(Json::as_array)
    else {
        let refused = matches!(projects.status, 200 | 400 | 401 | 403);
        return Err(if refused {
            ProbeError::Refused("Railway")
        } else {
            ProbeError::Unreachable {
                provider: "Railway",
                reason: format!("it answered {}", projects.status),
            }
        });
    };
    let names: Vec<String> = edges
        .iter()
        .filter_map(|edge| edge["node"]["name"].as_str().map(shown))
        .collect();
    let mut found = Found {
        provider: "Railway",
        ..Found::default()
    };
    match me.text("/data/me/email").or_else(|| me.text("/data/me/id")) {
        Some(owner) => found.facts.push(format!(
            "an account token of {owner}: everything that this person can do"
        )),
        None => found
            .facts
            .push("a workspace token: everything in the workspace".to_owned()),
    }
    let mut list = names
        .iter()
        .take(NAMED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > NAMED {
        list.push_str(&format!(" and {} more", names.len() - NAMED));
    }
    found.facts.push(match names.len() {
        0 => "no project yet".to_owned(),
        1 => format!("1 project, in every environment: {list}"),
        count => format!("{count} projects, in every environment: {list}"),
    });
    found
        .facts
        .push("deletes projects, volumes and their backups, without asking twice".to_owned());
    found
        .facts
        .push("a project token for the task's environment would do with less".to_owned());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: Json) -> Answered {
        Answered {
            status,
            headers: hyper::HeaderMap::new(),
            body,
        }
    }

    #[test]
    fn a_project_token_is_told_from_an_account_token() {
        let token = json!({"data": {"projectToken": {"projectId": "p", "environmentId": "e",
            "project": {"name": "shop"}, "environment": {"name": "staging"}}}});
        let found = of_project(&answered(200, token)).unwrap();
        assert!(found.facts[1].contains("staging (e)"), "{:?}", found.facts);
        let none = json!({"errors": [{"message": "Project Token not found"}], "data": null});
        assert!(of_project(&answered(200, none.clone())).is_none());

        let projects = json!({"data": {"projects": {"edges": [{"node": {"name": "a\u{1b}c"}}]}}});
        let me = json!({"data": {"me": {"email": "person@example.com"}}});
        let found = of_account(&answered(200, projects.clone()), &answered(200, me)).unwrap();
        let text = found.facts.join("\n");
        assert!(text.contains("account token of person@example.com") && !text.contains('\u{1b}'));
        let found = of_account(&answered(200, projects), &answered(200, none.clone())).unwrap();
        assert!(found.facts[0].contains("workspace token"));
        let refused = of_account(&answered(200, none.clone()), &answered(200, none.clone()));
        assert!(matches!(refused, Err(ProbeError::Refused(_))));
        let broken = of_account(&answered(502, Json::Null), &answered(502, none));
        assert!(matches!(broken, Err(ProbeError::Unreachable { .. })));
    }
}
