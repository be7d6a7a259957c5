//! Downloads of finished uploads: plain HTTP (RFC 9110), not part of tus.
//!
//! An upload is an untrusted file whose name and type the client chose. It must not be displayed as a page of this
//! origin: browsers save it as an attachment, unless the application trusts its type.

mod conditions;
mod range;

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use percent_encoding::utf8_percent_encode;

pub(in crate::server) use self::{conditions::Conditions, range::Wanted};
use crate::{
    Upload,
    header::{ENCODED, value},
    server::Config,
};

/// How finished uploads are downloaded by GET; see [`Config::download`](crate::Config::download).
#[derive(Debug, Clone)]
pub struct Download {
    inline: Vec<String>,
}

/// The metadata keys for the name of a file: tus-js-client and tuspy send the first, Uppy also sends the second.
const NAME: [&str; 2] = ["filename", "name"];
const TYPE: [&str; 2] = ["filetype", "type"];

impl Download {
    /// Every upload is an attachment without a media type.
    pub fn attachment() -> Self {
        Self { inline: Vec::new() }
    }

    /// Browsers display uploads whose metadata has this media type (`image/png`; parameters are ignored) instead of
    /// saving them. Scripts do not run in them, but choose types that need none.
    pub fn inline(mut self, media_type: impl Into<String>) -> Self {
        self.inline.push(media_type.into());
        self
    }

    /// The headers of every response with bytes of the upload.
    pub(in crate::server) fn headers(&self, upload: &Upload) -> HeaderMap {
        let shown = self.shown(upload);
        let disposition = disposition(shown.is_some(), named(upload, NAME));
        let typed = shown.and_then(|media_type| HeaderValue::from_str(media_type).ok());
        HeaderMap::from_iter([
            (header::CONTENT_TYPE, typed.unwrap_or(HeaderValue::from_static("application/octet-stream"))),
            (header::CONTENT_DISPOSITION, value(disposition)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("script-src 'none'; form-action 'none'")),
            // The application authorized this client, and must be asked about the next one as well.
            (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
            (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
            (header::ETAG, entity_tag(upload)),
        ])
    }

    /// The media type as the application wrote it, if the application trusts the upload's type.
    fn shown(&self, upload: &Upload) -> Option<&str> {
        let named = named(upload, TYPE)?;
        let essence = named.split(';').next().unwrap_or_default().trim();
        self.inline.iter().map(String::as_str).find(|trusted| trusted.eq_ignore_ascii_case(essence))
    }
}

/// Writes the head of a response with all bytes of an upload, or a part of them.
pub(super) fn download(config: &Config, upload: &Upload, part: Option<Range<u64>>, response: &mut Response<Bytes>) {
    let headers = response.headers_mut();
    headers.extend(config.download.as_ref().map(|download| download.headers(upload)).unwrap_or_default());
    let length = upload.offset;
    let bytes = part.as_ref().map_or(length, |part| part.end - part.start);
    headers.insert(header::CONTENT_LENGTH, bytes.into());
    if let Some(Range { start, end }) = part {
        headers.insert(header::CONTENT_RANGE, value(format!("bytes {start}-{}/{length}", end - 1)));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
}

/// Writes the response to a client that already has the bytes.
pub(super) fn not_modified(upload: &Upload, response: &mut Response<Bytes>) {
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response.headers_mut().insert(header::ETAG, entity_tag(upload));
}

/// A finished upload does not change: its incarnation identifies its bytes.
pub(in crate::server) fn entity_tag(upload: &Upload) -> HeaderValue {
    value(format!("\"{}\"", upload.incarnation))
}

fn named<'a>(upload: &'a Upload, keys: [&str; 2]) -> Option<&'a str> {
    keys.iter().find_map(|key| upload.metadata.text(key)).filter(|text| !text.is_empty())
}

/// The value of `Content-Disposition` (RFC 6266): the name in ASCII for old clients, and unchanged.
fn disposition(shown: bool, name: Option<&str>) -> String {
    let form = if shown { "inline" } else { "attachment" };
    // A name is not a path (RFC 6266, 4.3).
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
    fn file_names_keep_every_script_and_cannot_inject_paths_or_headers() {
        for (name, expected) in [
            ("film.mp4", "attachment; filename=\"film.mp4\""),
            ("a b.txt", "attachment; filename=\"a b.txt\""),
            ("日本.txt", "attachment; filename=\"__.txt\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.txt"),
            ("100%.txt", "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"),
            ("say \"hi\"", "attachment; filename=\"say _hi_\"; filename*=UTF-8''say%20%22hi%22"),
            ("../../etc/passwd", "attachment; filename=\"passwd\""),
            ("C:\\temp\\x.exe", "attachment; filename=\"x.exe\""),
            ("a\r\nSet-Cookie: b", "attachment; filename=\"aSet-Cookie: b\""),
            // RFC 6266, section 5, and RFC 8187, 3.2.2: the names of the examples.
            ("EURO rates", "attachment; filename=\"EURO rates\""),
            ("€ rates", "attachment; filename=\"_ rates\"; filename*=UTF-8''%E2%82%AC%20rates"),
            (
                "£ and € rates",
                "attachment; filename=\"_ and _ rates\"; filename*=UTF-8''%C2%A3%20and%20%E2%82%AC%20rates",
            ),
            ("é*'(", "attachment; filename=\"_*'(\"; filename*=UTF-8''%C3%A9%2A%27%28"),
            ("\u{7f}\0", "attachment"),
            ("/", "attachment"),
        ] {
            assert_eq!(disposition(false, Some(name)), expected);
        }
        assert_eq!(disposition(true, None), "inline");
    }
}
