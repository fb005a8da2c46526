//! Text as PDF: headings and lines on A4, in a font that every reader has. Nothing in it can be run.

use pdf_writer::{Content, Finish as _, Name, Pdf, Rect, Ref, Str, TextStr};

const WIDTH: f32 = 595.0;
const HEIGHT: f32 = 842.0;
const MARGIN: f32 = 50.0;
const LINE: f32 = 14.0;
/// Characters of a line at ten points: Helvetica is at most so wide on average.
const COLUMNS: usize = 95;
/// Lines of one document; what is longer is said to be.
const MOST_LINES: usize = 20_000;

/// A title, and sections of lines.
pub(crate) fn document(title: &str, sections: &[(String, Vec<String>)]) -> Vec<u8> {
    let mut lines: Vec<(bool, String)> = vec![(true, title.to_owned())];
    for (heading, body) in sections {
        lines.push((false, String::new()));
        lines.push((true, heading.clone()));
        if body.is_empty() {
            lines.push((false, "none".to_owned()));
        }
        for line in body {
            lines.extend(wrapped(line).into_iter().map(|line| (false, line)));
        }
    }
    if lines.len() > MOST_LINES {
        lines.truncate(MOST_LINES);
        lines.push((false, "(the rest is left out)".to_owned()));
    }
    let on_page = ((HEIGHT - 2.0 * MARGIN) / LINE) as usize;
    let pages: Vec<_> = lines.chunks(on_page).collect();

    let mut pdf = Pdf::new();
    let (catalog, tree, plain, bold) = (Ref::new(1), Ref::new(2), Ref::new(3), Ref::new(4));
    let number = |index: usize| i32::try_from(index).unwrap_or(i32::MAX / 4);
    let page_ref = |index: usize| Ref::new(10 + 2 * number(index));
    let content_ref = |index: usize| Ref::new(11 + 2 * number(index));
    pdf.catalog(catalog).pages(tree);
    pdf.document_info(Ref::new(5))
        .title(TextStr(title))
        .producer(TextStr("Tagout"));
    pdf.pages(tree)
        .kids((0..pages.len()).map(page_ref))
        .count(number(pages.len()));
    for (font, name) in [(plain, &b"Helvetica"[..]), (bold, &b"Helvetica-Bold"[..])] {
        pdf.type1_font(font)
            .base_font(Name(name))
            .encoding_predefined(Name(b"WinAnsiEncoding"));
    }
    for (index, page_lines) in pages.iter().enumerate() {
        let mut page = pdf.page(page_ref(index));
        page.media_box(Rect::new(0.0, 0.0, WIDTH, HEIGHT));
        page.parent(tree);
        page.contents(content_ref(index));
        let mut resources = page.resources();
        let mut fonts = resources.fonts();
        fonts.pair(Name(b"P"), plain);
        fonts.pair(Name(b"B"), bold);
        fonts.finish();
        resources.finish();
        page.finish();
        let mut content = Content::new();
        content.begin_text();
        content.set_leading(LINE);
        content.next_line(MARGIN, HEIGHT - MARGIN);
        for (heading, line) in *page_lines {
            let (font, size) = if *heading {
                (Name(b"B"), 12.0)
            } else {
                (Name(b"P"), 10.0)
            };
            content.set_font(font, size);
            content.show(Str(&windows_1252(line)));
            content.next_line(0.0, -LINE);
        }
        content.end_text();
        pdf.stream(content_ref(index), &content.finish());
    }
    pdf.finish()
}

fn wrapped(line: &str) -> Vec<String> {
    let characters: Vec<char> = line
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if characters.is_empty() {
        return vec![String::new()];
    }
    characters
        .chunks(COLUMNS)
        .map(|piece| piece.iter().collect())
        .collect()
}

/// The bytes of the font's encoding; what it does not have becomes a question mark.
fn windows_1252(text: &str) -> Vec<u8> {
    text.chars()
        .map(|character| match u32::from(character) {
            code @ (0x20..=0x7E | 0xA0..=0xFF) => u8::try_from(code).unwrap_or(b'?'),
            0x20AC => 0x80,
            0x2013 => 0x96,
            0x2014 => 0x97,
            0x2018 => 0x91,
            0x2019 => 0x92,
            0x201C => 0x93,
            0x201D => 0x94,
            0x2022 => 0x95,
            _ => b'?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_makes_a_document() {
        let long = vec![
            "x".repeat(500),
            "(\\) Grüße – 漢字\u{7}".to_owned(),
            String::new(),
        ];
        let bytes = document(
            "a) title",
            &[
                ("Section".to_owned(), long),
                ("Empty".to_owned(), Vec::new()),
            ],
        );
        assert!(bytes.starts_with(b"%PDF-1."));
        assert!(bytes.trim_ascii_end().ends_with(b"%%EOF"));
        let many = vec!["line".to_owned(); 300];
        let pages = document("t", &[("s".to_owned(), many)]);
        let count = pages
            .windows(b"/Type /Page\n".len())
            .filter(|window| *window == b"/Type /Page\n")
            .count();
        assert!(count >= 5, "{count}");
    }
}
