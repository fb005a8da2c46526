//! The one place that decides. Every gate hands its action to [`Authority::judge`] and gets a
//! [`Permit`] or a refusal; no gate decides, and nothing here parses traffic.
//!
//! What must stay true: a permit exists only after its verdict is durable in the ledger; an approval
//! covers one digest, once; whatever fails on the way denies.

pub mod approval;
pub mod approver;
mod entries;
mod environment;
mod holds;
mod judge;
mod permit;
mod place;
mod pushes;
mod record;
mod shown;
mod standing;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tagout_core::{SessionId, Target};
use tagout_credentials::Broker;
use tagout_ledger::Ledger;
use tagout_policy::{Policy, Task};
use tagout_store::Store;
use tokio::sync::watch;

use crate::approver::EnrolledKeys;
use crate::environment::{Environments, Provider};
use crate::holds::Holds;
use crate::pushes::Pushes;
use crate::standing::Standing;

pub use environment::{Answer, Ask};
pub use judge::OnHold;
pub use permit::{Admission, Outcome, Permit};
pub use record::Record;

/// Everything that an authority decides from.
pub struct Setup {
    /// Whose actions are judged.
    pub session: SessionId,
    /// What the session is for.
    pub task: Arc<Task>,
    /// Base policy and the user's.
    pub policy: Policy,
    /// Where holds wait.
    pub store: Arc<Mutex<Store>>,
    /// Where verdicts are recorded.
    pub ledger: Arc<Ledger>,
    /// The session's credentials.
    pub broker: Arc<Broker>,
    /// How providers are asked about environments.
    pub ask: Arc<dyn Ask>,
    /// The approver keys as they were at launch.
    pub enrolled: EnrolledKeys,
    /// How long a held request stays open before the agent is told to come back.
    pub hold_wait: Duration,
    /// Changes whenever somebody may have answered a hold.
    pub answered: watch::Receiver<u64>,
}

/// Decides for one session. Cheap to clone.
#[derive(Clone)]
pub struct Authority {
    inner: Arc<Inner>,
}

struct Inner {
    session: SessionId,
    task: Arc<Task>,
    policy: Policy,
    broker: Arc<Broker>,
    environments: Environments,
    holds: Holds,
    pushes: Pushes,
    standing: Standing,
    record: Record,
    two_approvers_enrolled: bool,
}

impl Authority {
    /// An authority for one session.
    pub fn new(setup: Setup) -> Self {
        let two_approvers_enrolled = setup.enrolled.len() >= 2;
        Self {
            inner: Arc::new(Inner {
                environments: Environments::new(Arc::clone(&setup.task), setup.ask),
                holds: Holds::new(
                    setup.session.clone(),
                    setup.store,
                    setup.enrolled,
                    setup.hold_wait,
                    setup.answered,
                ),
                pushes: Pushes::default(),
                standing: Standing::default(),
                record: Record::new(setup.ledger),
                session: setup.session,
                task: setup.task,
                policy: setup.policy,
                broker: setup.broker,
                two_approvers_enrolled,
            }),
        }
    }

    /// Whose actions are judged.
    pub fn session(&self) -> &SessionId {
        &self.inner.session
    }

    /// The session's ledger, for facts that are no verdicts.
    pub fn record(&self) -> &Record {
        &self.inner.record
    }

    /// The session's credentials.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.inner.broker
    }

    /// What the session is for.
    pub fn task(&self) -> &Task {
        &self.inner.task
    }

    /// Looks up what the manifest's environment names mean at each provider that the task has a
    /// credential for. Called once at launch; a failure is tried again by the first action that
    /// needs an environment, and denies it when it fails again.
    ///
    /// # Errors
    /// What failed, for the report.
    pub async fn freeze_environments(&self) -> Result<(), String> {
        for grant in &self.inner.task.credentials {
            let Some(pack) = tagout_catalog::pack(&grant.provider) else {
                continue;
            };
            let exact = pack.hosts().iter().find_map(|pattern| match pattern {
                tagout_core::HostPattern::Exact(host) => Some(host.clone()),
                tagout_core::HostPattern::Below(_) => None,
            });
            let Some(host) = exact else { continue };
            let target = Target {
                transport: tagout_core::Transport::Tls,
                host,
                port: 443,
            };
            self.inner
                .environments
                .freeze_names(Provider {
                    pack,
                    target: &target,
                    credential: &grant.name,
                })
                .await?;
        }
        Ok(())
    }
}
