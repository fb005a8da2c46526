//! What every handler shares: the label store, the classifier, the policies, whom to believe.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use http::StatusCode;
use tagout_policy::{Disclosures, Trust};
use tagout_secrets::personal::Recognisers;
use tagout_store::{ContentLabels, Labels, StoreError};
use tokio::runtime::Handle;

use crate::classifier::{Classified, Classifier, Mode, content};
use crate::identity::Verifier;
use crate::message::Answer;
use crate::model::Model;
use crate::rate::Rates;
use crate::settings::Settings;

/// The server behind its guard.
pub(crate) struct Service {
    labels: Mutex<Labels>,
    pub(crate) classifier: Classifier,
    pub(crate) disclosures: Disclosures,
    pub(crate) verifier: Verifier,
    pub(crate) settings: Settings,
    pub(crate) rates: Rates,
}

impl Service {
    /// Opens the label store and reads policy and keys.
    ///
    /// # Errors
    /// What cannot be used, in words.
    pub(crate) fn open(home: &Path, settings: Settings, handle: Handle) -> Result<Self, String> {
        let model = settings
            .model
            .as_ref()
            .map(|model| Model::new(model, handle).map(Arc::new))
            .transpose()?;
        let recognisers = Recognisers {
            names: settings.classifier.names,
        };
        Ok(Self {
            labels: Mutex::new(Labels::open(home).map_err(|error| error.to_string())?),
            classifier: Classifier::new(recognisers, model),
            disclosures: disclosures(home, &settings)?,
            verifier: Verifier::new(&settings.identity)?,
            settings,
            rates: Rates::of_readers(),
        })
    }

    /// The label store, for one handler at a time.
    pub(crate) fn labels(&self) -> MutexGuard<'_, Labels> {
        // A handler that panicked left no half-made change: every one is a transaction.
        self.labels
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The labels of a text: those that are stored, else those that the classifier gives now, stored.
    ///
    /// # Errors
    /// When the classifier or the store fails.
    pub(crate) fn labels_of(&self, text: &str) -> Result<ContentLabels, String> {
        let hash = content(text);
        let version = self.classifier.version();
        let stored = self
            .labels()
            .labels(&hash, version)
            .map_err(|error| error.to_string())?;
        if let Some(labels) = stored {
            return Ok(labels);
        }
        self.classify_and_remember(text)
            .map(|classified| classified.labels())
    }

    /// Classifies a text whatever is stored, and stores what was found.
    ///
    /// # Errors
    /// When the classifier or the store fails.
    pub(crate) fn classify_and_remember(&self, text: &str) -> Result<Classified, String> {
        let classified = self.classifier.classify(text, Mode::All)?;
        self.labels()
            .remember(
                &content(text),
                self.classifier.version(),
                &classified.labels(),
            )
            .map_err(|error| error.to_string())?;
        Ok(classified)
    }

    /// A text as it is stored and shown: redacted.
    pub(crate) fn redacted(&self, text: &str) -> Result<String, String> {
        let classified = self.classifier.classify(text, Mode::Entity)?;
        Ok(classified.anonymized(text).0)
    }
}

/// The policies, the user's own only when a person accepted exactly this text.
fn disclosures(home: &Path, settings: &Settings) -> Result<Disclosures, String> {
    let Some(path) = &settings.access.policy else {
        return Disclosures::load(None).map_err(|error| error.to_string());
    };
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let trust = Trust::open(home).map_err(|error| error.to_string())?;
    if !trust
        .is_trusted(&bytes)
        .map_err(|error| error.to_string())?
    {
        return Err(format!(
            "{shown} was not accepted, or changed since: read it, then `tagout trust {shown}`"
        ));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("{shown} is not UTF-8"))?;
    Disclosures::load(Some(&text)).map_err(|error| error.to_string())
}

/// The store failed: the client is told that it did, not what it said.
pub(crate) fn store_failed(error: StoreError) -> Answer {
    Answer::message(
        StatusCode::INTERNAL_SERVER_ERROR,
        format!("the label store cannot be used: {error}"),
    )
}
