//! What a policy answers.

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may happen.
    Allow,
    /// It may happen once enough people have approved this exact action.
    Ask {
        /// The ids of the policies that ask, in the order of the verdict list.
        policies: Vec<String>,
        /// How many different approvers it takes: 1 or 2.
        approvers: u8,
        /// Why, as a sentence.
        reason: String,
    },
    /// It may not happen, whoever approves.
    Deny {
        /// The ids of the policies that deny, in the order of the verdict list, or of those that
        /// could not be evaluated.
        policies: Vec<String>,
        /// Why, as a sentence.
        reason: String,
        /// What to do instead.
        how_to_proceed: String,
    },
}

impl Decision {
    /// Whether it is [`Decision::Allow`].
    pub fn is_allow(&self) -> bool {
        matches!(self, Self::Allow)
    }

    /// Orders decisions by strictness: allow, ask one, ask two, deny. The verdict of an action is the
    /// strictest of its operations'.
    pub fn strictness(&self) -> u8 {
        match self {
            Self::Allow => 0,
            Self::Ask { approvers, .. } => (*approvers).clamp(1, 2),
            Self::Deny { .. } => 3,
        }
    }
}
