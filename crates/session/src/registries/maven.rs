//! Maven, and Gradle where it reads the same file: `settings.xml` (Maven, "Settings Reference"). What
//! Maven takes where no mirror is named for it stands in the model that every project inherits from
//! ("Super POM"), in an archive of the installation.

use std::path::{Path, PathBuf};

use tagout_policy::Registry;

use super::{Found, FoundFile, Outside, Spelling, ask};

const TOOL: &str = "maven";

pub(super) fn find(outside: &Outside<'_>, found: &mut Found) {
    let Some(program) = outside.program("mvn") else {
        return;
    };
    let user = outside.home.join(".m2/settings.xml");
    let mut files: Vec<(PathBuf, bool)> =
        vec![("/etc/maven/settings.xml".into(), false), (user, true)];
    for name in ["M2_HOME", "MAVEN_HOME"] {
        if let Some(home) = outside.set(name) {
            files.push((PathBuf::from(home).join("conf/settings.xml"), false));
        }
    }
    let mut mirrored = false;
    for (file, of_user) in files {
        let Some(text) = outside.read(&file) else {
            continue;
        };
        mirrored |= read(&without_comments(&text), found);
        if of_user {
            found.files.push(FoundFile {
                place: ".m2/settings.xml",
                text,
            });
        } else {
            found.visible.push((file, text));
        }
    }
    if !mirrored {
        for url in inherited(outside, &program).unwrap_or_default() {
            found.url(TOOL, &url);
        }
    }
}

/// The repositories of the model that every project inherits from.
fn inherited(outside: &Outside<'_>, program: &Path) -> Option<Vec<String>> {
    const MODEL: &str = "org/apache/maven/model/pom-4.0.0.xml";
    let python = outside.program("python3")?;
    let library = program.ancestors().nth(2)?.join("lib");
    let archive = outside
        .matching(&library.join("maven-model-builder-*.jar"))
        .into_iter()
        .find_map(|archive| outside.ours(&archive))?;
    let urls = outside.memory.of_file(TOOL, &archive, || {
        let model = ask::file_in_archive(&python, &archive, MODEL)?;
        Some(repositories(&without_comments(&model)).join("\n"))
    })?;
    Some(urls.lines().map(str::to_owned).collect())
}

fn repositories(model: &str) -> Vec<String> {
    let kinds = ["repository", "pluginRepository"];
    let all = kinds.iter().flat_map(|kind| elements(model, kind));
    let mut urls: Vec<String> = all.filter_map(|element| first(element, "url")).collect();
    urls.sort();
    urls.dedup();
    urls
}

/// Takes repositories and passwords; whether a mirror stands for the default.
fn read(text: &str, found: &mut Found) -> bool {
    let mut mirrored = false;
    for mirror in elements(text, "mirror") {
        let of = first(mirror, "mirrorOf").unwrap_or_default();
        mirrored |= of.split(',').any(|of| {
            let of = of.trim();
            ["central", "*", "external:*"].contains(&of)
        });
    }
    let mut hosts = Vec::new();
    for kind in ["mirror", "repository", "pluginRepository"] {
        for element in elements(text, kind) {
            let Some(url) = first(element, "url") else {
                continue;
            };
            found.url(TOOL, &url);
            if let (Some((registry, _)), Some(id)) =
                (Registry::parse(TOOL, &url), first(element, "id"))
            {
                hosts.push((id, registry.target.host));
            }
        }
    }
    for server in elements(text, "server") {
        let (Some(id), Some(written)) = (first(server, "id"), first_raw(server, "password")) else {
            continue;
        };
        let value = unescaped(written);
        // `{…}` is encrypted with a master password that stays outside, `${…}` is a variable.
        if value.starts_with('{') || value.starts_with("${") {
            continue;
        }
        for (_, host) in hosts.iter().filter(|(known, _)| *known == id) {
            found.secret(
                TOOL,
                Some(host),
                value.clone(),
                written.to_owned(),
                Spelling::Plain,
            );
        }
    }
    mirrored
}

fn without_comments(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((front, behind)) = rest.split_once("<!--") {
        kept.push_str(front);
        rest = behind.split_once("-->").map_or("", |(_, after)| after);
    }
    kept + rest
}

/// The contents of every element of that name. Elements of one name do not nest in this file.
fn elements<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    text.split(open.as_str())
        .skip(1)
        .filter_map(|rest| rest.split_once(close.as_str()))
        .map(|(content, _)| content)
        .collect()
}

fn first_raw<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let content = elements(text, name).into_iter().next()?.trim();
    (!content.is_empty() && !content.contains('<')).then_some(content)
}

fn first(text: &str, name: &str) -> Option<String> {
    first_raw(text, name).map(unescaped)
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_and_their_passwords_are_read_and_comments_are_not() {
        let text = "<settings><!-- <mirror><url>https://no.example.com/</url></mirror> -->\
                    <servers><server><id>corp</id><username>me</username><password>a&amp;b-secret</password></server>\
                    <server><id>other</id><password>{cipher}</password></server></servers>\
                    <mirrors><mirror><id>corp</id><mirrorOf>*</mirrorOf><url>https://packages.example.com/maven</url></mirror></mirrors></settings>";
        let mut found = Found::default();
        assert!(read(&without_comments(text), &mut found));
        assert_eq!(found.registries.len(), 1);
        assert_eq!(found.registries[0].path, "/maven");
        assert_eq!(found.secrets.len(), 1);
        assert_eq!(found.secrets[0].value, "a&b-secret");
        // Where no mirror stands for it, the default is what every project inherits.
        assert!(!read(
            "<mirrors><mirror><mirrorOf>other</mirrorOf></mirror></mirrors>",
            &mut found
        ));
        let model = "<project><repositories><repository><id>central</id><url>https://packages.example.com/m2</url></repository></repositories>\
                     <pluginRepositories><pluginRepository><url>https://packages.example.com/m2</url></pluginRepository></pluginRepositories></project>";
        assert_eq!(repositories(model), ["https://packages.example.com/m2"]);
    }
}
