//! What a text is about, by the terms in it: a table of weighted terms for each topic, counted once each,
//! and the one topic that leads by a margin. Deterministic, explainable, and weaker than a trained model
//! on text that talks around its subject; docs/pebblo.md says how often it is right.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};
use tagout_secrets::personal::Score;

use crate::classifier::score;

/// A topic of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) label: String,
    pub(crate) score: Score,
}

/// Whether a label is one of a topic.
pub(crate) fn is_topic(label: &str) -> bool {
    TOPICS.iter().any(|(topic, _)| *topic == label)
}

/// Texts of fewer words are about nothing.
const FEWEST_WORDS: usize = 9;
/// Weight that a text needs, and how much of all weight must be the leader's.
const ENOUGH: u32 = 6;
const SHARE: f64 = 0.5;

/// The table: a topic, and its terms with their weights (3: hardly anywhere else, 2: typical, 1: usual).
/// Terms are lower case and match whole words.
#[rustfmt::skip]
const TOPICS: &[(&str, &[(&str, u32)])] = &[
    ("medical-advice", &[
        ("patient", 2), ("diagnosis", 3), ("diagnosed", 2), ("symptom", 2), ("symptoms", 2), ("dosage", 3),
        ("mg", 1), ("prescription", 2), ("prescribed", 2), ("treatment", 2), ("medication", 3), ("doctor", 1),
        ("physician", 2), ("blood pressure", 3), ("diabetes", 3), ("antibiotic", 3), ("antibiotics", 3),
        ("side effects", 2), ("chronic", 1), ("therapy", 1), ("clinical", 1), ("pain", 1), ("fever", 2),
        ("consult your doctor", 3), ("ibuprofen", 3), ("insulin", 3), ("allergy", 2), ("surgery", 2),
        ("infection", 2), ("dose", 2), ("tablets", 2), ("hypertension", 3), ("headache", 2), ("vaccine", 2),
    ]),
    ("harmful-advice", &[
        ("bomb", 3), ("explosive", 3), ("explosives", 3), ("kill", 2), ("poison", 2), ("untraceable", 3),
        ("weapon", 2), ("hurt someone", 3), ("suicide", 3), ("self-harm", 3), ("detonator", 3),
        ("without getting caught", 3), ("steal", 2), ("hotwire", 3), ("fake id", 3), ("launder", 3),
        ("stalk", 2), ("meth", 3), ("silencer", 3), ("ricin", 3), ("break into", 3), ("pick the lock", 3),
        ("forge", 1), ("smuggle", 3), ("overdose", 2),
    ]),
    ("board-meeting", &[
        ("board of directors", 3), ("board meeting", 3), ("minutes", 2), ("quorum", 3), ("motion", 2),
        ("seconded", 3), ("resolution", 2), ("resolved that", 3), ("directors present", 3), ("adjourned", 3),
        ("chairman", 2), ("chairperson", 2), ("agenda", 2), ("unanimously", 2), ("approved the minutes", 3),
        ("meeting was called to order", 3), ("secretary", 1), ("in attendance", 2), ("shareholders", 1),
        ("committee", 1), ("directors", 2),
    ]),
    ("consulting-agreement", &[
        ("consultant", 3), ("consulting agreement", 3), ("consulting services", 3), ("independent contractor", 3),
        ("statement of work", 3), ("deliverables", 2), ("work product", 3), ("retainer", 2), ("hourly rate", 2),
        ("client", 1), ("invoice", 1), ("services", 1), ("term of this agreement", 1), ("termination", 1),
        ("consulting", 2), ("advisory", 1), ("expenses", 1),
    ]),
    ("customer-list", &[
        ("customer list", 3), ("customer id", 3), ("customer name", 3), ("customers", 2), ("contact name", 2),
        ("account manager", 2), ("client list", 3), ("customer since", 3), ("subscription", 1), ("phone", 1),
        ("email", 1), ("zip", 1), ("customer", 1), ("company name", 2), ("billing address", 2), ("crm", 2),
        ("first name", 1), ("last name", 1), ("city", 1), ("postal code", 1),
    ]),
    ("enterprise-agreement", &[
        ("non-disclosure", 3), ("nondisclosure", 3), ("confidential information", 3), ("license agreement", 3),
        ("licensor", 3), ("licensee", 3), ("distribution agreement", 3), ("distributor", 3), ("reseller", 3),
        ("settlement agreement", 3), ("receiving party", 3), ("disclosing party", 3), ("governing law", 2),
        ("indemnify", 2), ("hereinafter", 2), ("enterprise agreement", 3), ("subscription services", 2),
        ("limitation of liability", 2), ("territory", 1), ("releases and forever discharges", 3),
        ("mutual", 1), ("software", 1), ("parties agree", 2), ("sublicense", 3),
    ]),
    ("executive-severance-agreement", &[
        ("severance", 3), ("executive", 2), ("severance agreement", 3), ("separation date", 3),
        ("change in control", 3), ("termination without cause", 3), ("good reason", 2), ("cobra", 3),
        ("separation", 2), ("base salary", 2), ("release of claims", 3), ("non-compete", 1), ("accelerated vesting", 3),
        ("severance pay", 3), ("cause", 1), ("lump sum", 2),
    ]),
    ("financial-report", &[
        ("revenue", 2), ("net income", 3), ("balance sheet", 3), ("fiscal", 2), ("quarter", 2), ("earnings", 2),
        ("cash flow", 3), ("ebitda", 3), ("gross margin", 3), ("operating expenses", 3), ("assets", 1),
        ("liabilities", 2), ("year over year", 2), ("gaap", 3), ("shareholders' equity", 3), ("profit", 1),
        ("dividend", 2), ("financial statements", 3), ("million", 1), ("operating income", 3), ("forecast", 1),
        ("per share", 2), ("financial report", 3), ("auditor", 2), ("q1", 1), ("q2", 1), ("q3", 1), ("q4", 1),
    ]),
    ("loan-and-security-agreement", &[
        ("loan agreement", 3), ("borrower", 3), ("lender", 3), ("collateral", 3), ("security interest", 3),
        ("event of default", 3), ("principal amount", 3), ("promissory note", 3), ("interest rate", 2), ("loan", 2),
        ("repayment", 2), ("maturity date", 3), ("secured", 1), ("advances", 1), ("prepayment", 2), ("lien", 2),
        ("liens", 2), ("credit facility", 3),
    ]),
    ("merger-agreement", &[
        ("merger", 3), ("merger agreement", 3), ("acquisition", 2), ("surviving corporation", 3), ("merger sub", 3),
        ("closing date", 1), ("purchase price", 2), ("target company", 2), ("effective time", 2), ("acquirer", 3),
        ("stockholders", 2), ("due diligence", 2), ("representations and warranties", 2), ("share exchange", 3),
        ("exchange ratio", 3), ("merge", 2), ("plan of merger", 3), ("outstanding shares", 2),
    ]),
    ("patent-application-fillings", &[
        ("patent", 2), ("claims", 1), ("claim 1", 3), ("invention", 2), ("embodiment", 3), ("embodiments", 3),
        ("prior art", 3), ("patent application", 3), ("inventor", 2), ("inventors", 2), ("wherein", 2),
        ("apparatus", 2), ("field of the invention", 3), ("uspto", 3), ("provisional application", 3), ("priority date", 3),
        ("abstract", 1), ("method of claim", 3), ("filing date", 2), ("comprising", 2),
    ]),
    ("price-list", &[
        ("price list", 3), ("unit price", 3), ("list price", 3), ("sku", 3), ("msrp", 3), ("per unit", 2),
        ("discount", 2), ("price", 2), ("prices", 2), ("pricing", 2), ("quantity", 2), ("item no", 2), ("part number", 2),
        ("wholesale", 2), ("retail", 1), ("usd", 1), ("vat", 1), ("minimum order", 2), ("each", 1), ("currency", 1),
    ]),
    ("employee-agreement", &[
        ("employment agreement", 3), ("employee", 2), ("employer", 2), ("at-will", 3), ("base salary", 2),
        ("probationary period", 3), ("employment", 2), ("job duties", 2), ("benefits", 1), ("vacation", 2),
        ("non-compete", 2), ("start date", 2), ("offer letter", 3), ("working hours", 2), ("paid leave", 2),
        ("position", 1), ("sick leave", 2), ("overtime", 2), ("compensation", 1), ("annual salary", 2),
    ]),
    ("internal-product-roadmap-agreement", &[
        ("roadmap", 3), ("product roadmap", 3), ("milestone", 2), ("milestones", 2), ("release date", 2), ("beta", 2),
        ("feature", 1), ("features", 1), ("launch", 1), ("internal use only", 2), ("backlog", 3), ("general availability", 3),
        ("sprint", 2), ("quarter", 1), ("prioritized", 2), ("q1", 1), ("q2", 1), ("q3", 1), ("q4", 1), ("mvp", 3),
        ("product manager", 2), ("deprecate", 2), ("planned", 1), ("epic", 1), ("epics", 2),
    ]),
    ("sexual-content", &[
        ("sex", 3), ("sexual", 2), ("erotic", 3), ("nude", 3), ("naked", 2), ("porn", 3), ("pornography", 3), ("orgasm", 3),
        ("intercourse", 3), ("aroused", 3), ("genitals", 3), ("lingerie", 2), ("seduce", 2), ("moaned", 3), ("breasts", 2),
        ("xxx", 2), ("fetish", 3), ("intimate", 1),
    ]),
    ("sexual-incident-report", &[
        ("sexual harassment", 3), ("sexual assault", 3), ("sexually harassed", 3), ("harassment", 2), ("incident report", 3),
        ("complainant", 3), ("unwanted", 2), ("inappropriate touching", 3), ("perpetrator", 3), ("title ix", 3),
        ("reported the incident", 3), ("witness", 1), ("witnesses", 1), ("victim", 2), ("misconduct", 2), ("incident", 1),
        ("human resources", 1), ("allegation", 2), ("alleged", 2), ("sexual", 1), ("groped", 3), ("investigation", 1),
    ]),
];

struct Model {
    automaton: AhoCorasick,
    /// For each pattern of the automaton the topics that it speaks for.
    terms: Vec<Vec<(usize, u32)>>,
}

/// The topic that leads in `text`, or none.
pub(crate) fn topics(text: &str) -> Vec<Topic> {
    static MODEL: LazyLock<Option<Model>> = LazyLock::new(Model::new);
    let Some(model) = MODEL.as_ref() else {
        return Vec::new();
    };
    if text.split_whitespace().take(FEWEST_WORDS).count() < FEWEST_WORDS {
        return Vec::new();
    }
    let weights = model.weigh(text);
    let all: u32 = weights.iter().sum();
    let Some((place, &most)) = weights
        .iter()
        .enumerate()
        .max_by_key(|(place, weight)| (**weight, std::cmp::Reverse(*place)))
    else {
        return Vec::new();
    };
    let share = f64::from(most) / f64::from(all.max(1));
    if most < ENOUGH || share < SHARE {
        return Vec::new();
    }
    // Half from how clearly it leads, half from how much there is.
    let amount = f64::from(most.min(18)) / 18.0;
    let sure = 0.35 + 0.35 * share + 0.3 * amount;
    match TOPICS.get(place) {
        Some((label, _)) if sure >= 0.6 => vec![Topic {
            label: (*label).to_owned(),
            score: score(sure),
        }],
        _ => Vec::new(),
    }
}

impl Model {
    fn new() -> Option<Self> {
        let mut patterns: Vec<&str> = Vec::new();
        let mut terms: Vec<Vec<(usize, u32)>> = Vec::new();
        for (topic, (_, list)) in TOPICS.iter().enumerate() {
            for (term, weight) in *list {
                match patterns.iter().position(|known| known == term) {
                    Some(place) => terms.get_mut(place)?.push((topic, *weight)),
                    None => {
                        patterns.push(term);
                        terms.push(vec![(topic, *weight)]);
                    }
                }
            }
        }
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build(patterns)
            .ok()?;
        Some(Self { automaton, terms })
    }

    /// The weight of each topic: every different term once.
    fn weigh(&self, text: &str) -> Vec<u32> {
        let bytes = text.as_bytes();
        let letter = |byte: Option<&u8>| {
            byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte >= 0x80)
        };
        let mut seen = vec![false; self.terms.len()];
        let mut weights = vec![0; TOPICS.len()];
        for found in self.automaton.find_overlapping_iter(text) {
            let before = found.start().checked_sub(1).and_then(|at| bytes.get(at));
            if letter(before) || letter(bytes.get(found.end())) {
                continue;
            }
            let place = found.pattern().as_usize();
            match seen.get_mut(place) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            for (topic, weight) in self.terms.get(place).into_iter().flatten() {
                if let Some(sum) = weights.get_mut(*topic) {
                    *sum += weight;
                }
            }
        }
        weights
    }
}

#[cfg(test)]
mod tests;
