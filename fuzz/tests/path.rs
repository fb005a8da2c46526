//! Paths and queries: the canonical form is a fixed point, and says all readings of itself.

use tagout_core::{CanonicalPath, CanonicalQuery};

const SEEDS: &[&[u8]] = &[
    b"/v1/items/1",
    b"/a/./b/../c",
    b"/v1/%2e%2e/v2",
    b"/a%2Fb;x=1/c",
    b"a=1&b=%20+2&b=&%61=3",
];

const DICTIONARY: &[&[u8]] = &[
    b"/", b"//", b"..", b"%2e", b"%2F", b"%5c", b"%25", b"%00", b";", b"?", b"#", b"&", b"=", b"+",
    b"\\",
];

#[test]
fn canonical_paths_are_fixed_points() {
    bolero::check!().with_type::<Vec<u8>>().for_each(|choices| {
        let bytes = tagout_fuzz::mutated(SEEDS, DICTIONARY, choices);
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return;
        };
        if let Ok(path) = CanonicalPath::parse(text) {
            assert_eq!(CanonicalPath::parse(path.as_str()).as_ref(), Ok(&path));
            assert!(path.as_str().starts_with('/'));
            assert!(
                path.as_str()
                    .split('/')
                    .all(|segment| segment != "." && segment != "..")
            );
            assert!(!path.readings().is_empty());
        }
        if let Ok(query) = CanonicalQuery::parse(text) {
            let again = CanonicalQuery::parse(query.as_str()).expect("canonical form parses");
            assert_eq!(again.pairs(), query.pairs());
            assert_eq!(again.as_str(), query.as_str());
        }
    });
}
