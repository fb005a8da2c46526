//! Names the step at which building failed, so that the user reads what was tried and not only what the kernel said.

use std::io;

use crate::wire::StageFailure;

/// The result of a step in the stage.
pub(crate) type Step<T> = Result<T, StageFailure>;

/// Names the step whose result this is.
pub(crate) trait Named<T> {
    /// The step's name comes only into being if it failed.
    fn step<S: Into<String>>(self, name: impl FnOnce() -> S) -> Step<T>;
}

impl<T, E: Into<io::Error>> Named<T> for Result<T, E> {
    fn step<S: Into<String>>(self, name: impl FnOnce() -> S) -> Step<T> {
        self.map_err(|error| {
            let error = error.into();
            StageFailure {
                step: name().into(),
                errno: error.raw_os_error().unwrap_or(0),
                detail: error.to_string(),
            }
        })
    }
}

/// A step that failed for a reason of our own.
pub(crate) fn failed<T>(step: impl Into<String>, detail: impl Into<String>) -> Step<T> {
    Err(StageFailure {
        step: step.into(),
        errno: 0,
        detail: detail.into(),
    })
}
