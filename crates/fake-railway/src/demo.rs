//! The world of the incident: one volume that staging and production share, with its backups inside
//! it, and tokens that may do everything.

use crate::world::{World, fresh_uuid};

/// The demo's world, with the names of what the demo speaks of.
#[derive(Clone, Debug)]
pub struct Demo {
    /// All of it.
    pub world: World,
    /// The project `pocketos`.
    pub project: String,
    /// Its environment `production`.
    pub production: String,
    /// Its environment `staging`.
    pub staging: String,
    /// The service `postgres`.
    pub postgres: String,
    /// The service `api`.
    pub api: String,
    /// The volume `pg-data`, with instances in both environments.
    pub pg_data: String,
    /// The volume `scratch`, in staging only.
    pub scratch: String,
    /// An account token, as an unrelated script in the repository has one.
    pub account_token: String,
    /// Another account token, as somebody types one from outside.
    pub second_account_token: String,
    /// A project token for staging.
    pub staging_token: String,
}

impl Demo {
    /// The world of the incident, with fresh ids and tokens.
    pub fn new() -> Self {
        let mut world = World::default();
        let user = world.add_user("Jer", "jer@pocketos.example");
        let account_token = world.add_account_token(&user, "domain-script");
        let second_account_token = world.add_account_token(&user, "laptop");
        let workspace = world.add_workspace("PocketOS");
        let project = world.add_project(&workspace, "pocketos");
        let production = world.add_environment(&project, "production");
        let staging = world.add_environment(&project, "staging");
        let both = [production.as_str(), staging.as_str()];
        let postgres = world.add_service(&project, "postgres", &both);
        let api = world.add_service(&project, "api", &both);
        let pg_data = world.add_volume(&project, "pg-data");
        for (environment, data) in [
            (&production, "customers: 41,207 rows\n"),
            (&staging, "customers: 12 rows\n"),
        ] {
            world.add_volume_instance(
                &pg_data,
                environment,
                Some(&postgres),
                "/var/lib/postgresql/data",
                data.as_bytes(),
                3,
            );
        }
        let scratch = world.add_volume(&project, "scratch");
        world.add_volume_instance(
            &scratch,
            &staging,
            Some(&api),
            "/scratch",
            b"throw-away\n",
            0,
        );
        for (environment, name) in [(&production, "production"), (&staging, "staging")] {
            world.variables.insert(
                (environment.clone(), api.clone(), "DATABASE_URL".to_owned()),
                format!("postgresql://app:{}@{name}.internal:5432/app", fresh_uuid()),
            );
        }
        let staging_token = world.add_project_token(&staging, "ci-staging");
        Self {
            world,
            project,
            production,
            staging,
            postgres,
            api,
            pg_data,
            scratch,
            account_token,
            second_account_token,
            staging_token,
        }
    }
}

impl Default for Demo {
    fn default() -> Self {
        Self::new()
    }
}
