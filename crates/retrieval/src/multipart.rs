//! `multipart/form-data` (RFC 7578), of a body that was read whole.

/// One part of a form.
pub(crate) struct Part<'a> {
    pub(crate) name: String,
    pub(crate) file_name: Option<String>,
    pub(crate) content: &'a [u8],
}

const MOST_PARTS: usize = 200;
const LONGEST_HEAD: usize = 4096;

/// The parts of a form.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parts<'a>(content_type: &str, body: &'a [u8]) -> Result<Vec<Part<'a>>, &'static str> {
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err("send multipart/form-data");
    }
    let boundary =
        parameter(parameters, "boundary").filter(|boundary| (1..=70).contains(&boundary.len()));
    let boundary = boundary.ok_or("multipart/form-data has no boundary")?;
    let mark = format!("--{boundary}");
    let mut rest = body
        .strip_prefix(mark.as_bytes())
        .ok_or("the form does not begin with its boundary")?;
    let next = format!("\r\n{mark}");
    let mut found = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Ok(found);
        }
        rest = rest
            .strip_prefix(b"\r\n")
            .ok_or("a boundary does not end its line")?;
        let head_end = find(rest, b"\r\n\r\n").filter(|end| *end <= LONGEST_HEAD);
        let head_end = head_end.ok_or("a part has no head")?;
        let (head, behind) = rest.split_at(head_end);
        let behind = behind.get(4..).unwrap_or_default();
        let end = find(behind, next.as_bytes()).ok_or("the form ends within a part")?;
        let (content, after) = behind.split_at(end);
        rest = after.get(next.len()..).unwrap_or_default();
        let head = std::str::from_utf8(head).map_err(|_| "the head of a part is not UTF-8")?;
        let disposition = head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim()
                .eq_ignore_ascii_case("content-disposition")
                .then_some(value)
        });
        let disposition = disposition.ok_or("a part has no Content-Disposition")?;
        if found.len() >= MOST_PARTS {
            return Err("a form has at most 200 parts");
        }
        found.push(Part {
            name: parameter(disposition, "name").ok_or("a part has no name")?,
            file_name: parameter(disposition, "filename"),
            content,
        });
    }
}

/// A parameter of a header field, unquoted.
fn parameter(text: &str, name: &str) -> Option<String> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([';', ' ', '\t']);
        let end = rest.find([';', '=']).unwrap_or(rest.len());
        let key = rest.get(..end)?.trim();
        let behind = rest.get(end..)?;
        if behind.is_empty() {
            return None;
        }
        let Some(value) = behind.strip_prefix('=') else {
            rest = behind;
            continue;
        };
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => {
                let close = quoted.find('"')?;
                (quoted.get(..close)?, quoted.get(close + 1..)?)
            }
            None => value.split_at(value.find(';').unwrap_or(value.len())),
        };
        if key.eq_ignore_ascii_case(name) {
            return Some(value.trim().to_owned());
        }
        rest = after;
    }
}

fn find(text: &[u8], piece: &[u8]) -> Option<usize> {
    aho_corasick::AhoCorasick::new([piece])
        .ok()?
        .find(text)
        .map(|found| found.start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_a_form_and_says_what_is_wrong_with_others() {
        let body =
            b"--b\r\nContent-Disposition: form-data; name=\"files[]\"; filename=\"a;b.txt\"\r\n\
            Content-Type: text/plain\r\n\r\none\r\ntwo\r\n--b\r\n\
            content-disposition: form-data; name=output_format\r\n\r\npdf\r\n--b--\r\n";
        let form = parts("multipart/form-data; boundary=b", body).unwrap();
        assert_eq!(form.len(), 2);
        assert_eq!(
            (form[0].name.as_str(), form[0].file_name.as_deref()),
            ("files[]", Some("a;b.txt"))
        );
        assert_eq!(
            (form[0].content, form[1].content),
            (&b"one\r\ntwo"[..], &b"pdf"[..])
        );
        assert!(parts("multipart/form-data", body).is_err());
        assert!(parts("text/plain", body).is_err());
        assert!(parts("multipart/form-data; boundary=c", body).is_err());
        assert!(parts("multipart/form-data; boundary=b", &body[..90]).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(body in "(--b|\r\n|Content-Disposition: form-data; name=|\"|;|=|a|-){0,40}") {
            let _ = parts("multipart/form-data; boundary=b", body.as_bytes());
        }
    }
}
