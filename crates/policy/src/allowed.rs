//! Questions that were answered with an allow before. The policies of a session never change, and an
//! evaluation reads nothing but its question, so the same question has the same answer; agents ask the
//! same one thousands of times, and evaluating it costs more than everything else about a request.
//!
//! What must stay true: a question is the same only if every field of it is that a policy can read. Only
//! allows of reads and writes are kept: what destroys, what is refused and what needs a person is
//! evaluated each time.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use tagout_core::{Effect, Operation, Target};

use crate::question::Question;

/// Questions that are kept; beyond it they are forgotten, all at once.
const MOST: usize = 1024;
/// A longer question is evaluated each time.
const LONGEST: usize = 2048;

/// The questions of one session.
#[derive(Default)]
pub(crate) struct Allowed {
    questions: Mutex<HashSet<Box<[u8]>>>,
}

impl Allowed {
    /// Whether exactly this was allowed before.
    pub(crate) fn has(&self, question: &Exactly) -> bool {
        let questions = self
            .questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        questions.contains(&*question.0)
    }

    /// Keeps what was just allowed.
    pub(crate) fn keep(&self, question: Exactly) {
        let mut questions = self
            .questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if questions.len() >= MOST {
            questions.clear();
        }
        questions.insert(question.0.into_boxed_slice());
    }
}

/// All that a policy can read of a question, each part framed by its length.
pub(crate) struct Exactly(Vec<u8>);

impl Exactly {
    /// `None` for questions that are evaluated each time.
    pub(crate) fn of(question: &Question<'_>) -> Option<Self> {
        // Taken apart by name, so that a new field does not build before it is considered here.
        let Question {
            session,
            channel,
            target,
            method,
            path,
            operation,
            faults,
            granted,
            operation_granted,
            has_pack,
            credential,
            resources,
            unresolved,
            environment,
            protected,
            disposable,
            task_environment,
            in_task_environment,
            in_credential_environments,
            manifest_has_protected,
            only_task_resources,
            fields_withheld,
            two_approvers_enrolled,
        } = *question;
        let Target {
            transport,
            host,
            port,
        } = target;
        let Operation {
            name,
            known,
            effect,
            flags,
            scope,
            resources: named,
            unresolved: not_said,
            // No attribute is made of them.
            arguments: _,
        } = operation;
        if !faults.is_empty() || *effect > Effect::Write {
            return None;
        }
        let mut key = Self(Vec::with_capacity(512));
        for text in [
            session.as_str(),
            channel,
            host.as_str(),
            method.as_str(),
            path.as_str(),
            name.as_str(),
            effect.as_str(),
            scope.as_str(),
            task_environment.as_str(),
        ] {
            key.text(text);
        }
        for text in [
            credential,
            unresolved,
            not_said.as_deref(),
            environment.map(|environment| environment.as_str()),
        ] {
            key.0.push(u8::from(text.is_some()));
            key.text(text.unwrap_or_default());
        }
        for list in [resources, named.as_slice()] {
            key.number(list.len());
            for resource in list {
                key.text(resource.as_str());
            }
        }
        key.number(flags.iter().count());
        for flag in flags.iter() {
            key.text(flag.as_str());
        }
        key.0.push(*transport as u8);
        key.0.extend(port.to_be_bytes());
        key.0.extend(
            [
                *known,
                granted,
                operation_granted,
                has_pack,
                protected,
                disposable,
                in_task_environment,
                in_credential_environments,
                manifest_has_protected,
                only_task_resources,
                fields_withheld,
                two_approvers_enrolled,
            ]
            .map(u8::from),
        );
        (key.0.len() <= LONGEST).then_some(key)
    }

    #[cfg(test)]
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, number: usize) {
        self.0.extend((number as u64).to_be_bytes());
    }
}
