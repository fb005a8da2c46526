//! A Railway look-alike with real state, for the demo and the tests: what it says is deleted is gone.
//! It behaves as Railway's API did in April 2026: an account token may do everything, a volume's
//! backups live inside the volume, and `volumeDelete` removes the volume with every instance and
//! every backup at once. Every field it serves has the type that Railway's published schema gives it.
//!
//! It listens on 127.0.0.1 with TLS under a certificate authority of its own.

mod demo;
mod execute;
mod fields;
mod mutate;
mod resolve;
mod server;
mod world;

pub use demo::Demo;
pub use server::{FakeRailway, LoggedRequest, Options, RunningFake, StartError};
pub use world::{
    AccountToken, Backup, CustomDomain, Deployment, Environment, Project, ProjectToken, Service,
    ServiceInstance, User, Volume, VolumeInstance, Workspace, World,
};
