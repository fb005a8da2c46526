//! What the end-to-end tests stand on: real processes of the real binary, against real servers.
//!
//! A test makes a [`World`] (a person, a home, a workspace), starts what its session may reach
//! ([`Server`], [`model::Script`], the fake provider), and runs `tagout` as that person would. Nothing
//! here looks inside the binary: what a test asserts, a user could see. A part of this library that
//! fails is a failed test, so it panics with what happened instead of handing errors around.

pub mod agents;
mod certificates;
pub mod identity;
pub mod model;
pub mod mysql;
mod person;
pub mod postgres;
pub mod providers;
pub mod qdrant;
pub mod redis;
pub mod remote;
pub mod retrieval;
mod server;
pub mod shielded;
mod terminal;
mod world;

pub use certificates::TestAuthority;
pub use person::{FreshAccount, Person};
pub use server::{Answer, Received, Server};
pub use terminal::Terminal;
pub use world::{Finished, Running, WITH_DATABASE, World, eventually, finish, id, json_lines};

/// Writes one test twice: `NAME::as_root` and `NAME::as_ordinary_user`, each given that [`Person`].
///
/// `cargo xtask test` leaves the first out for an ordinary user, who cannot run it.
#[macro_export]
macro_rules! for_each_person {
    ($(#[$attribute:meta])* fn $name:ident($person:ident: Person) $body:block) => {
        $(#[$attribute])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            fn check($person: $crate::Person) $body

            #[test]
            fn as_root() {
                check($crate::Person::root());
            }

            #[test]
            fn as_ordinary_user() {
                check($crate::Person::ordinary());
            }
        }
    };
}
