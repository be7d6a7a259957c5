//! Finished uploads as files to fetch: plain HTTP (RFC 9110), and no part of tus.
//!
//! What was uploaded is somebody's file, with a name and a type of the client's choosing. A page of this origin
//! must not come of it: it is handed out to be saved, unless the application trusts its type.

use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{Upload, header::value};

/// How finished uploads are served by GET; see [`Config::download`](crate::Config::download).
#[derive(Debug, Clone)]
pub struct Download {
    inline: Vec<String>,
}

/// The keys of the metadata in which clients tell the name and the media type of a file: tus-js-client and
/// tuspy have the first, Uppy the second, too.
const NAME: [&str; 2] = ["filename", "name"];
const TYPE: [&str; 2] = ["filetype", "type"];

impl Download {
    /// Every upload is a file to save, of no type.
    pub fn attachment() -> Self {
        Self { inline: Vec::new() }
    }

    /// Uploads whose metadata tells this media type (`image/png`; parameters are left out) are shown by the
    /// browser, as of this type. No script runs in them, but choose types that need none.
    pub fn inline(mut self, media_type: impl Into<String>) -> Self {
        self.inline.push(media_type.into());
        self
    }

    /// What a response with bytes of the upload tells of them, whichever they are.
    pub(crate) fn headers(&self, upload: &Upload) -> HeaderMap {
        let shown = self.shown(upload);
        let disposition = disposition(shown.is_some(), told(upload, NAME));
        let typed = shown.and_then(|media_type| HeaderValue::from_str(media_type).ok());
        HeaderMap::from_iter([
            (header::CONTENT_TYPE, typed.unwrap_or(HeaderValue::from_static("application/octet-stream"))),
            (header::CONTENT_DISPOSITION, value(disposition)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("script-src 'none'; form-action 'none'")),
            // It was asked for whether this client may have it; the next one has to be asked about, too.
            (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
            (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
            (header::ETAG, entity_tag(upload)),
        ])
    }

    /// The media type as the application wrote it, where the upload is of one that it trusts.
    fn shown(&self, upload: &Upload) -> Option<&str> {
        let told = told(upload, TYPE)?;
        let essence = told.split(';').next().unwrap_or_default().trim();
        self.inline.iter().map(String::as_str).find(|trusted| trusted.eq_ignore_ascii_case(essence))
    }
}

/// A finished upload does not change, but its id may be used again when it is gone.
pub(crate) fn entity_tag(upload: &Upload) -> HeaderValue {
    let created = upload.created.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    value(format!("\"{:x}-{:x}\"", created.as_millis(), upload.offset))
}

fn told<'a>(upload: &'a Upload, keys: [&str; 2]) -> Option<&'a str> {
    keys.iter().find_map(|key| upload.metadata.text(key)).filter(|text| !text.is_empty())
}

/// `attr-char` of RFC 8187 (3.2.1): these stand for themselves in `filename*`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The value of `Content-Disposition` (RFC 6266): the name in ASCII for old readers, and as it is.
fn disposition(shown: bool, name: Option<&str>) -> String {
    let form = if shown { "inline" } else { "attachment" };
    // A name is no path (RFC 6266, 4.3).
    let name = name.and_then(|name| name.rsplit(['/', '\\']).next()).unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    if name.is_empty() {
        return form.to_owned();
    }
    let plain = |c: char| if c == ' ' || c.is_ascii_graphic() && !"\"\\%".contains(c) { c } else { '_' };
    let ascii: String = name.chars().map(plain).collect();
    if ascii == name {
        return format!("{form}; filename=\"{ascii}\"");
    }
    format!("{form}; filename=\"{ascii}\"; filename*=UTF-8''{}", utf8_percent_encode(&name, ENCODED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_name_in_every_script_and_never_a_path_or_a_header() {
        for (name, expected) in [
            ("film.mp4", "attachment; filename=\"film.mp4\""),
            ("a b.txt", "attachment; filename=\"a b.txt\""),
            ("日本.txt", "attachment; filename=\"__.txt\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.txt"),
            ("100%.txt", "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"),
            ("say \"hi\"", "attachment; filename=\"say _hi_\"; filename*=UTF-8''say%20%22hi%22"),
            ("../../etc/passwd", "attachment; filename=\"passwd\""),
            ("C:\\temp\\x.exe", "attachment; filename=\"x.exe\""),
            ("a\r\nSet-Cookie: b", "attachment; filename=\"aSet-Cookie: b\""),
            ("\u{7f}\0", "attachment"),
            ("/", "attachment"),
        ] {
            assert_eq!(disposition(false, Some(name)), expected);
        }
        assert_eq!(disposition(true, None), "inline");
    }
}
