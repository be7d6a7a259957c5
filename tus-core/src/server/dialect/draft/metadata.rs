//! What a creation says about the representation, under the metadata keys that clients of tus use: applications see
//! the same keys, whatever the dialect.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::percent_decode_str;

use super::Problem;
use crate::{
    Metadata,
    header::{UPLOAD_METADATA, list, single},
    server::Config,
};

/// The media type, the file name, and the fields themselves: `filetype`, `filename`, `content-type`,
/// `content-disposition`, `content-encoding`. `Upload-Metadata`, which tus-js-client sends in this dialect too, takes
/// precedence.
pub(super) fn read(config: &Config, headers: &HeaderMap) -> Result<Metadata, Problem> {
    let fields = [header::CONTENT_TYPE, header::CONTENT_DISPOSITION, header::CONTENT_ENCODING];
    let mut sent = Vec::with_capacity(fields.len());
    for name in fields {
        let value = single(headers, &name).map_err(|repeated| Problem::Repeated(repeated.0))?;
        sent.extend(value.map(|value| (value.clone(), name)));
    }
    let given = list(headers, &UPLOAD_METADATA);
    let (actual, limit) = (
        sent.iter().map(|(value, _)| value.len()).sum::<usize>() + given.as_ref().map_or(0, |given| given.len()),
        config.max_metadata,
    );
    if actual > limit {
        return Err(Problem::MetadataTooLarge { actual, limit });
    }
    let mut metadata = given.map(|given| Metadata::parse(&given)).transpose()?.unwrap_or_default();
    for (value, name) in sent {
        for (key, value) in named(&name, &value) {
            if metadata.value(&key).is_none() {
                metadata.set(key, value)?;
            }
        }
    }
    Ok(metadata)
}

/// The metadata pairs from a field.
fn named(name: &HeaderName, value: &HeaderValue) -> Vec<(String, Vec<u8>)> {
    let mut pairs = Vec::new();
    match *name {
        header::CONTENT_TYPE => pairs.push(("filetype".to_owned(), value.as_bytes().to_vec())),
        header::CONTENT_DISPOSITION => {
            pairs.extend(file_name(value.as_bytes()).map(|name| ("filename".to_owned(), name.into_bytes())));
        }
        _ => {}
    }
    pairs.push((name.as_str().to_owned(), value.as_bytes().to_vec()));
    pairs
}

/// The file name in a `Content-Disposition`: `filename*` before `filename` (RFC 6266, section 4.3). The client
/// chooses it; it is not a path.
fn file_name(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let parameters: Vec<_> = parameters(text);
    let find = |name: &str| parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let extended = find("filename*").and_then(|value| extended(value));
    extended.or_else(|| find("filename").cloned()).filter(|name| !name.is_empty())
}

/// The parameters after the type, with quoted strings unquoted (RFC 9110, sections 5.6.4 and 5.6.6).
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let Some((_, mut rest)) = text.split_once(';') else {
        return found;
    };
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_matches([' ', '\t', ';']).to_owned();
        let after = after.trim_start();
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim_end().to_owned(), &after[end..])
            }
        };
        found.push((key, value));
        rest = left;
    }
    found
}

/// The text up to the closing quote, and the rest.
fn unquoted(text: &str) -> (String, &str) {
    let (mut value, mut characters) = (String::new(), text.char_indices());
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

/// A value with its character set (RFC 8187, section 3.2.1), which must be UTF-8.
fn extended(value: &str) -> Option<String> {
    let mut pieces = value.splitn(3, '\'');
    let (charset, _, text) = (pieces.next()?, pieces.next()?, pieces.next()?);
    let text = percent_decode_str(text).decode_utf8().ok()?;
    charset.eq_ignore_ascii_case("utf-8").then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_read_in_each_of_its_forms() {
        for (sent, name) in [
            // The example in the draft.
            ("inline; filename=\"file name.jpg\"; filename*=UTF-8''file%20name.jpg", Some("file name.jpg")),
            // RFC 6266, section 5.
            ("Attachment; filename=example.html", Some("example.html")),
            ("INLINE; FILENAME= \"an example.html\"", Some("an example.html")),
            ("attachment; filename*= UTF-8''%e2%82%ac%20rates", Some("€ rates")),
            ("attachment; filename=\"EURO rates\"; filename*=utf-8''%e2%82%ac%20rates", Some("€ rates")),
            ("form-data; name=\"a;filename=b\"; filename=\"say \\\"hi\\\"; x\"", Some("say \"hi\"; x")),
            ("inline; filename=größe.txt", Some("größe.txt")),
            ("inline; filename*=iso-8859-1'en'%A3; filename=\"a\"", Some("a")),
            ("inline; filename*=UTF-8''%ff", None),
            ("inline; filename=\"open", Some("open")),
            ("inline; filename=", None),
            ("inline", None),
            ("inline;;;=;", None),
        ] {
            assert_eq!(file_name(sent.as_bytes()).as_deref(), name, "{sent}");
        }
        assert_eq!(file_name(b"inline; filename=\"\xff\""), None);
    }
}
