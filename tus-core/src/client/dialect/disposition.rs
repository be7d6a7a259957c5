//! A file name in `Content-Disposition` (RFC 6266).

use http::HeaderValue;
use percent_encoding::percent_encode;

use crate::header::ENCODED;

/// "For this purpose, the inline disposition type is RECOMMENDED" (draft 12, "Upload Creation"). `None` for bytes
/// that are not text.
pub(super) fn inline(name: &[u8]) -> Option<HeaderValue> {
    let text = std::str::from_utf8(name).ok().filter(|text| !text.is_empty())?;
    let quoted: String = text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '_' }).collect();
    let quoted = quoted.replace('\\', "\\\\").replace('"', "\\\"");
    let is_same = text.chars().all(|c| matches!(c, ' '..='~'));
    let extended =
        if is_same { String::new() } else { format!("; filename*=UTF-8''{}", percent_encode(name, ENCODED)) };
    HeaderValue::try_from(format!("inline; filename=\"{quoted}\"{extended}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_can_be_expressed() {
        for (name, form) in [
            ("film.mp4", "inline; filename=\"film.mp4\""),
            ("file name.jpg", "inline; filename=\"file name.jpg\""),
            ("say \"hi\\\".txt", r#"inline; filename="say \"hi\\\".txt""#),
            ("€ rates", "inline; filename=\"_ rates\"; filename*=UTF-8''%E2%82%AC%20rates"),
            ("a\r\nb", "inline; filename=\"a__b\"; filename*=UTF-8''a%0D%0Ab"),
        ] {
            assert_eq!(inline(name.as_bytes()).unwrap(), form, "{name:?}");
        }
        assert_eq!((inline(b"\xff"), inline(b"")), (None, None));
    }
}
