//! Patterns over canonical paths: `*` is any run of characters within a segment, `**` is any number
//! of whole segments. Two patterns can be asked whether some path matches both, so that a manifest
//! whose entries overlap is refused; matching is the same question with a path for one of the two,
//! which is why there is only one algorithm here and nothing for it to disagree with.

use std::fmt;

use tagout_core::CanonicalPath;

/// What a manifest's `paths` holds: `/v1/search/**`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    segments: Vec<Segment>,
}

type Segment = Item<Vec<Item<char>>>;

/// One place of a sequence in which some places may stand for any run of others.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item<T> {
    /// Exactly this.
    One(T),
    /// Any number of anything.
    Any,
}

/// Why a text is not a path pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    /// Not a path at all.
    #[error("a path pattern begins with / and has only characters that a path may have: {0}")]
    NotAPath(#[from] tagout_core::UriError),
    /// Not how a request's path is spelled when policy sees it.
    #[error("requests are matched in canonical form; write it as `{0}`")]
    NotCanonical(String),
    /// `?`, `[`, `{` or `\`, which other pattern languages give a meaning.
    #[error(
        "a path pattern knows `*` (within a segment) and `**` (whole segments); ? [ ] {{ }} \\ have \
         no meaning in it, and a query is not part of the path"
    )]
    UnknownWildcard,
    /// `**` beside other characters in one segment.
    #[error("`**` stands for whole segments: write it between slashes")]
    PartialSegment,
}

impl PathPattern {
    /// Reads a pattern. A trailing `/**` matches everything below, not the folder itself: `/v1/**`
    /// matches `/v1/` and `/v1/a/b`, not `/v1`; elsewhere `**` may stand for no segment at all.
    ///
    /// # Errors
    /// See [`PathPatternError`].
    pub fn parse(text: &str) -> Result<Self, PathPatternError> {
        if text.contains(['?', '[', ']', '{', '}', '\\']) {
            return Err(PathPatternError::UnknownWildcard);
        }
        let canonical = CanonicalPath::parse(text)?;
        if canonical.as_str() != text {
            return Err(PathPatternError::NotCanonical(canonical.into()));
        }
        let pieces: Vec<&str> = text.split('/').skip(1).collect();
        let mut segments = Vec::with_capacity(pieces.len() + 1);
        for (index, piece) in pieces.iter().enumerate() {
            if *piece == "**" {
                if index + 1 == pieces.len() {
                    segments.push(Item::One(vec![Item::Any]));
                }
                segments.push(Item::Any);
            } else if piece.contains("**") {
                return Err(PathPatternError::PartialSegment);
            } else {
                let item = |character| match character {
                    '*' => Item::Any,
                    other => Item::One(other),
                };
                segments.push(Item::One(piece.chars().map(item).collect()));
            }
        }
        Ok(Self {
            text: text.to_owned(),
            segments,
        })
    }

    /// `/**`: every path.
    pub fn everything() -> Self {
        Self {
            text: "/**".to_owned(),
            segments: vec![Item::One(vec![Item::Any]), Item::Any],
        }
    }

    /// The pattern that matches exactly `path`, where one can be written. A path with a literal `*`
    /// in it has none that is as narrow; its pattern lets anything stand there.
    pub(crate) fn text_for(path: &CanonicalPath) -> String {
        path.as_str().replace("**", "*")
    }

    /// Whether every reading of `path` matches ([`CanonicalPath::readings`]).
    pub fn matches(&self, path: &CanonicalPath) -> bool {
        let everything = self.text == "/**";
        let matches_reading = |reading: &String| {
            let Some(rest) = reading.strip_prefix('/') else {
                return false;
            };
            if everything {
                return true;
            }
            let segment = |piece: &str| Item::One(piece.chars().map(Item::One).collect());
            let literal: Vec<_> = rest.split('/').map(segment).collect();
            segments_meet(&self.segments, &literal)
        };
        path.readings().iter().all(matches_reading)
    }

    /// Whether some path matches both patterns.
    pub fn overlaps(&self, other: &Self) -> bool {
        segments_meet(&self.segments, &other.segments)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn segments_meet(left: &[Segment], right: &[Segment]) -> bool {
    meet(left, right, &|a, b| meet(a, b, &|x, y| x == y))
}

/// Whether some sequence matches both `left` and `right`. Row by row over the suffixes of both, so
/// time is the product of their lengths and nothing backtracks.
fn meet<T>(left: &[Item<T>], right: &[Item<T>], same: &impl Fn(&T, &T) -> bool) -> bool {
    // `row[j]`: whether `left[i..]` meets `right[j..]`.
    let mut row = vec![false; right.len() + 1];
    for i in (0..=left.len()).rev() {
        let below = std::mem::replace(&mut row, vec![false; right.len() + 1]);
        for j in (0..=right.len()).rev() {
            let skip_left = below.get(j).copied().unwrap_or(false);
            let skip_right = row.get(j + 1).copied().unwrap_or(false);
            let skip_both = below.get(j + 1).copied().unwrap_or(false);
            let meets = match (left.get(i), right.get(j)) {
                (None, None) => true,
                (Some(Item::Any), None) => skip_left,
                (None, Some(Item::Any)) => skip_right,
                (Some(Item::Any), Some(_)) | (Some(_), Some(Item::Any)) => skip_left || skip_right,
                (Some(Item::One(a)), Some(Item::One(b))) => skip_both && same(a, b),
                (Some(Item::One(_)), None) | (None, Some(Item::One(_))) => false,
            };
            if let Some(place) = row.get_mut(j) {
                *place = meets;
            }
        }
    }
    row.first().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    fn matches(text: &str, path: &str) -> bool {
        pattern(text).matches(&CanonicalPath::parse(path).unwrap())
    }

    #[test]
    fn stars_stay_within_their_segments() {
        for (text, path, expected) in [
            ("/**", "/", true),
            ("/**", "/a/b", true),
            ("/v1/search/**", "/v1/search/x/y", true),
            ("/v1/search/**", "/v1/search/", true),
            ("/v1/search/**", "/v1/search", false),
            ("/v1/search/**", "/v1/searching/x", false),
            ("/v1/*", "/v1/a", true),
            ("/v1/*", "/v1/a/b", false),
            ("/v1/*.json", "/v1/a.json", true),
            ("/v1/*.json", "/v1/a.json.exe", false),
            ("/**/tags", "/tags", true),
            ("/**/tags", "/a/b/tags", true),
            ("/**/tags", "/a/b/tags/x", false),
            ("/a", "/a", true),
            ("/a", "/a/", false),
        ] {
            assert_eq!(matches(text, path), expected, "{text} on {path}");
        }
    }

    #[test]
    fn invariant_5_every_reading_of_a_path_must_be_granted() {
        // An encoded slash is a separator to some servers, a semicolon ends a segment to others.
        assert!(!matches("/pub/*", "/pub/a%2Fb"));
        assert!(!matches("/pub/**", "/pub/%2e%2e%2fadmin"));
        assert!(!matches("/admin;x/*", "/admin;x/y"));
        assert!(matches("/pub/**", "/pub/a%2Fb"));
    }

    #[test]
    fn patterns_that_would_mean_something_else_are_errors() {
        for text in [
            "", "v1", "/a?b", "/[ab]", "/{a,b}", "/a\\b", "/a**", "/**b/c", "//", "/a/../b",
        ] {
            assert!(PathPattern::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            PathPattern::parse("/%61/*"),
            Err(PathPatternError::NotCanonical("/a/*".to_owned()))
        );
    }

    #[test]
    fn overlap_is_exact() {
        for (left, right, expected) in [
            ("/**", "/a", true),
            ("/a/**", "/b/**", false),
            ("/a/*", "/*/b", true),
            ("/a/**", "/**/b", true),
            ("/a*", "/*b", true),
            ("/a*", "/b*", false),
            ("/v1/*/x", "/v1/*/y", false),
            ("/a/**", "/a", false),
        ] {
            assert_eq!(
                pattern(left).overlaps(&pattern(right)),
                expected,
                "{left} {right}"
            );
            assert_eq!(
                pattern(right).overlaps(&pattern(left)),
                expected,
                "{right} {left}"
            );
        }
    }

    proptest! {
        #[test]
        fn patterns_that_share_a_path_overlap(
            left in "(/(a|b|\\*|a\\*|\\*\\*)){1,4}",
            right in "(/(a|b|\\*|\\*b|\\*\\*)){1,4}",
            path in "(/[ab]{0,2}){1,4}",
        ) {
            let (left, right) = (pattern(&left), pattern(&right));
            if let Ok(path) = CanonicalPath::parse(&path)
                && left.matches(&path)
                && right.matches(&path)
            {
                prop_assert!(left.overlaps(&right));
            }
            prop_assert!(left.overlaps(&left));
            prop_assert!(left.overlaps(&PathPattern::everything()));
        }

        #[test]
        fn nothing_panics(text in ".{0,40}") {
            let _ = PathPattern::parse(&text);
        }
    }
}
