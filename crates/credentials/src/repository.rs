//! A credential of one git repository: it goes to git's services of that repository and nowhere else of
//! its host, whose API would take the same token for everything that it can do.

use tagout_catalog::git::is_of_repository;
use tagout_core::{HttpRequest, Target};

use crate::value::Secret;

/// The repository whose credential it is.
#[derive(Clone)]
pub struct Repository {
    target: Target,
    path: String,
    pair: Option<Pair>,
}

/// Name and password as they are sent (RFC 7617 §2).
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) user: Secret,
    pub(crate) password: Secret,
}

impl Repository {
    /// The repository at `path` of `target`; the path without `.git` and without a slash at its end.
    pub fn new(target: Target, path: impl Into<String>) -> Self {
        Self {
            target,
            path: path.into(),
            pair: None,
        }
    }

    /// Whether `request` asks a service of this repository, on every reading of its path.
    pub(crate) fn is_asked(&self, request: &HttpRequest) -> bool {
        self.target == request.target
            && request
                .path
                .readings()
                .iter()
                .all(|reading| is_of_repository(&self.path, reading, &request.method))
    }

    pub(crate) fn pair(&self) -> Option<&Pair> {
        self.pair.as_ref()
    }

    pub(crate) fn set_pair(&mut self, pair: Pair) {
        self.pair = Some(pair);
    }
}

impl Pair {
    /// The part that is the credential: some tokens stand where the name is, before a word that means
    /// so.
    pub(crate) fn secret(&self) -> &Secret {
        match crate::slots::is_filler(self.password.expose()) {
            true => &self.user,
            false => &self.password,
        }
    }

    /// As the header field has it.
    pub(crate) fn basic(&self) -> zeroize::Zeroizing<String> {
        use base64::Engine as _;
        let pair =
            zeroize::Zeroizing::new([self.user.expose(), b":", self.password.expose()].concat());
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair.as_slice());
        zeroize::Zeroizing::new(format!("Basic {encoded}"))
    }
}
