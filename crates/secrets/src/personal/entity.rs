//! The one table of labels: name, group, mask and threshold, as Pebblo's users know them.

use std::ops::Range;

/// A piece of text that is personal data or a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// What it is.
    pub kind: EntityKind,
    /// Its bytes in the text.
    pub span: Range<usize>,
    /// How sure that is.
    pub score: Score,
}

/// How sure a recogniser is, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score(u8);

impl Score {
    /// From percent; more than a hundred is a hundred.
    pub const fn percent(percent: u8) -> Self {
        Self(if percent > 100 { 100 } else { percent })
    }

    /// In percent.
    pub const fn as_percent(self) -> u8 {
        self.0
    }

    /// The word that Pebblo's clients are given: `HIGH` from 80 percent, `MEDIUM` from 40, else `LOW`.
    pub const fn word(self) -> &'static str {
        match self.0 {
            80.. => "HIGH",
            40.. => "MEDIUM",
            _ => "LOW",
        }
    }
}

/// Groups of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntityGroup {
    /// Numbers by which a state knows a person.
    Identification,
    /// How to reach a person.
    Contact,
    /// Cards and accounts.
    Financial,
    /// Addresses of machines.
    Network,
    /// Credentials.
    Secrets,
}

impl EntityGroup {
    /// As clients see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identification => "pii-identification",
            Self::Contact => "pii-contact-information",
            Self::Financial => "pii-financial",
            Self::Network => "pii-network",
            Self::Secrets => "secrets_and_tokens",
        }
    }
}

macro_rules! kinds {
    ($($kind:ident $label:literal $mask:literal $group:ident;)*) => {
        /// What an entity is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum EntityKind {
            $(#[doc = concat!("`", $label, "`")] $kind,)*
        }

        impl EntityKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// The label that clients, reports and policies use.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$kind => $label,)* }
            }

            /// What stands for it in anonymised text.
            pub const fn mask(self) -> &'static str {
                match self { $(Self::$kind => $mask,)* }
            }

            /// The group it belongs to.
            pub const fn group(self) -> EntityGroup {
                match self { $(Self::$kind => EntityGroup::$group,)* }
            }
        }
    };
}

kinds! {
    UsSsn "us-ssn" "US_SSN" Identification;
    UsPassport "us-passport-number" "US_PASSPORT" Identification;
    UsDriversLicense "us-drivers-license" "US_DRIVER_LICENSE" Identification;
    EmailAddress "email-address" "EMAIL_ADDRESS" Contact;
    PhoneNumber "phone-number" "PHONE_NUMBER" Contact;
    StreetAddress "street-address" "STREET_ADDRESS" Contact;
    DateOfBirth "date-of-birth" "DATE_OF_BIRTH" Contact;
    PersonName "person-name" "PERSON" Contact;
    Organization "organization" "ORGANIZATION" Contact;
    CreditCard "credit-card-number" "CREDIT_CARD" Financial;
    UsBankAccount "us-bank-account-number" "US_BANK_NUMBER" Financial;
    Iban "iban-code" "IBAN_CODE" Financial;
    UsItin "us-itin" "US_ITIN" Financial;
    BankRoutingNumber "bank-routing-number" "BANK_ROUTING_NUMBER" Financial;
    SwiftCode "swift-code" "SWIFT_CODE" Financial;
    BbanCode "bban-code" "BBAN_CODE" Financial;
    IpAddress "ip-address" "IP_ADDRESS" Network;
    PrivateKey "private-key" "PRIVATE_KEY" Secrets;
    DsaPrivateKey "dsa-private-key" "DSA_PRIVATE_KEY" Secrets;
    EncryptedPrivateKey "encrypted-private-key" "ENCRYPTED_PRIVATE_KEY" Secrets;
    EcPrivateKey "ec-private-key" "EC_PRIVATE_KEY" Secrets;
    OpensshPrivateKey "openssh-private-key" "OPENSSH_PRIVATE_KEY" Secrets;
    RsaPrivateKey "rsa-private-key" "RSA_PRIVATE_KEY" Secrets;
    GooglePrivateKey "google-private-key" "GOOGLE_PRIVATE_KEY" Secrets;
    ApiKey "api-key" "API_KEY" Secrets;
    GithubToken "github-token" "GITHUB_TOKEN" Secrets;
    GithubFinegrainedToken "github-finegrained-token" "GITHUB_FINEGRAINED_TOKEN" Secrets;
    GoogleApiKey "google-api-key" "GOOGLE_API_KEY" Secrets;
    AwsAccessKey "aws-access-key" "AWS_ACCESS_KEY" Secrets;
    SlackToken "slack-token" "SLACK_TOKEN" Secrets;
    AwsSecretKey "aws-secret-key" "AWS_SECRET_KEY" Secrets;
    AzureKeyId "azure-key-id" "AZURE_KEY_ID" Secrets;
    AzureClientSecret "azure-client-secret" "AZURE_CLIENT_SECRET" Secrets;
}

/// Rules of the credential detector that have a label of their own, by how their ids begin; the first
/// that fits counts. Every other credential is an `api-key`.
const CREDENTIALS: &[(&str, EntityKind)] = &[
    ("github-fine-grained", EntityKind::GithubFinegrainedToken),
    ("github-", EntityKind::GithubToken),
    ("slack-", EntityKind::SlackToken),
    ("aws-access", EntityKind::AwsAccessKey),
    ("aws-secret", EntityKind::AwsSecretKey),
    ("azure-ad-client-secret", EntityKind::AzureClientSecret),
    ("azure-client-secret", EntityKind::AzureClientSecret),
    ("azure-", EntityKind::AzureKeyId),
    ("gcp-api-key", EntityKind::GoogleApiKey),
    ("google-api-key", EntityKind::GoogleApiKey),
];

/// What a PEM header says about its key; the first that the header has counts.
const PEM_HEADERS: &[(&str, EntityKind)] = &[
    ("BEGIN ENCRYPTED", EntityKind::EncryptedPrivateKey),
    ("BEGIN RSA", EntityKind::RsaPrivateKey),
    ("BEGIN DSA", EntityKind::DsaPrivateKey),
    ("BEGIN EC", EntityKind::EcPrivateKey),
    ("BEGIN OPENSSH", EntityKind::OpensshPrivateKey),
];

impl EntityKind {
    /// The kind with this label.
    pub fn with_label(label: &str) -> Option<Self> {
        // The misspelling of released versions is a name that policies have.
        let label = match label {
            "github-finergrained-token" => "github-finegrained-token",
            other => other,
        };
        Self::ALL.iter().copied().find(|kind| kind.label() == label)
    }

    /// The kind of a credential that the detector's rule `rule` found at `span`.
    pub(crate) fn of_credential(rule: &str, text: &str, span: &Range<usize>) -> Self {
        if rule.contains("private-key") {
            return private_key(text, span);
        }
        CREDENTIALS
            .iter()
            .find(|(start, _)| rule.starts_with(start))
            .map_or(Self::ApiKey, |(_, kind)| *kind)
    }
}

/// The header stands in the span or just before it; a service account's file says so around it.
fn private_key(text: &str, span: &Range<usize>) -> EntityKind {
    let mut from = span.start.saturating_sub(200);
    while !text.is_char_boundary(from) {
        from -= 1;
    }
    let around = text.get(from..span.end).unwrap_or_default();
    if around.contains("\"private_key\"") {
        return EntityKind::GooglePrivateKey;
    }
    PEM_HEADERS
        .iter()
        .find(|(header, _)| around.contains(header))
        .map_or(EntityKind::PrivateKey, |(_, kind)| *kind)
}
