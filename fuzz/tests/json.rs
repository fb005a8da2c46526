//! JSON: what is read is what is written again, and a text has one meaning or none.

use tagout_core::json;

const SEEDS: &[&[u8]] = &[
    br#"{"query":"mutation { volumeDelete(volumeId: \"v\") }","variables":{"a":[1,2.5,null,true]}}"#,
    br#"[{"a":1},{"b":"\u00e9\ud83d\ude00"},-0.0,1e21]"#,
];

const DICTIONARY: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"a\":",
    b",",
    b"\\u0000",
    b"\\ud800",
    b"1e999",
    b"-0",
    b"\"query\":1,",
];

#[test]
fn json_has_one_meaning() {
    bolero::check!().with_type::<Vec<u8>>().for_each(|choices| {
        let bytes = tagout_fuzz::mutated(SEEDS, DICTIONARY, choices);
        let Ok(value) = json::parse(&bytes) else {
            return;
        };
        let canonical = json::canonical(&value);
        let again = json::parse(canonical.as_ref()).expect("canonical form parses");
        assert_eq!(json::canonical(&again), canonical);
    });
}
