//! A small set of texts, written for this test and not looked at while the table was written: what it gets
//! right is stated in docs/pebblo.md.

use super::*;

fn label(text: &str) -> String {
    topics(text)
        .first()
        .map_or("-".to_owned(), |topic| topic.label.clone())
}

#[test]
fn the_corpus_is_told_apart_as_well_as_stated() {
    let corpus = include_str!("corpus.tsv");
    let (mut right, mut wrong, mut silent, mut all) = (0, Vec::new(), 0, 0);
    for line in corpus
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (wanted, text) = line.split_once('\t').unwrap();
        all += 1;
        match label(text) {
            found if found == wanted => right += 1,
            found if found == "-" => silent += 1,
            found => wrong.push(format!("{found} for {wanted}: {text}")),
        }
    }
    eprintln!("{right} of {all} right, {silent} silent, wrong: {wrong:#?}");
    assert!(all >= 48, "{all}");
    assert!(
        f64::from(right) / f64::from(all) >= 0.75,
        "{right} of {all}: {wrong:#?}"
    );
    assert!(wrong.len() * 12 <= all as usize, "{wrong:#?}");
}

#[test]
fn short_and_plain_texts_are_about_nothing() {
    assert_eq!(label("patient diagnosis medication insulin"), "-");
    assert_eq!(
        label("The weather was fine and we walked along the river until it was dark and cold."),
        "-"
    );
    assert_eq!(label(""), "-");
}
