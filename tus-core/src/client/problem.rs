//! Problem details, in which a server explains why it rejects a request (RFC 9457).

use http::{HeaderMap, header};
use serde_json::Value;

use crate::header::PROBLEM;

/// The server's explanation of a rejection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// What kind of problem it is.
    pub kind: ProblemType,
    /// A summary of the kind.
    pub title: Option<String>,
    /// The explanation for this request.
    pub detail: Option<String>,
}

/// The kinds of problems.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemType {
    /// The request's offset differs from that of the upload (draft 12, "Mismatching Offset").
    MismatchingOffset {
        /// The upload's offset, in bytes.
        expected: Option<u64>,
        /// The request's offset, in bytes.
        provided: Option<u64>,
    },
    /// The lengths that the client has declared differ (draft 12, "Inconsistent Length").
    InconsistentLength,
    /// Any other, by its URI; `about:blank` if it has none.
    Other(String),
}

const MISMATCHING_OFFSET: &str = "https://iana.org/assignments/http-problem-types#mismatching-upload-offset";
const INCONSISTENT_LENGTH: &str = "https://iana.org/assignments/http-problem-types#inconsistent-upload-length";

impl Problem {
    /// The problem details in a response, if there are any.
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let media_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?.split(';').next()?.trim();
        if !media_type.eq_ignore_ascii_case(PROBLEM) {
            return None;
        }
        let problem: Value = serde_json::from_slice(body).ok().filter(Value::is_object)?;
        // "Consumers MUST ignore values that do not match the specified type" (section 3.1).
        let text = |member: &str| problem[member].as_str().map(str::to_owned);
        let kind = match problem["type"].as_str().unwrap_or("about:blank") {
            MISMATCHING_OFFSET => ProblemType::MismatchingOffset {
                expected: problem["expected-offset"].as_u64(),
                provided: problem["provided-offset"].as_u64(),
            },
            INCONSISTENT_LENGTH => ProblemType::InconsistentLength,
            other => ProblemType::Other(other.to_owned()),
        };
        Some(Self { kind, title: text("title"), detail: text("detail") })
    }

    /// The detail, or else the title.
    pub(super) fn words(&self) -> Option<&str> {
        self.detail.as_deref().or(self.title.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(media_type: &'static str, body: &str) -> Option<Problem> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(media_type))]);
        Problem::read(&headers, body.as_bytes())
    }

    /// "Mismatching Offset" and "Inconsistent Length": the examples.
    #[test]
    fn the_examples_of_the_draft() {
        let offset = read(
            "application/problem+json",
            r#"{"type":"https://iana.org/assignments/http-problem-types#mismatching-upload-offset",
                "title": "offset from request does not match offset of resource",
                "expected-offset": 12500000, "provided-offset": 25000000}"#,
        );
        let offset = offset.unwrap();
        let (expected, provided) = (Some(12_500_000), Some(25_000_000));
        assert_eq!(offset.kind, ProblemType::MismatchingOffset { expected, provided });
        assert_eq!(offset.words(), Some("offset from request does not match offset of resource"));
        let length = read(
            "Application/Problem+JSON; charset=utf-8",
            r#"{"type":"https://iana.org/assignments/http-problem-types#inconsistent-upload-length",
                "title": "inconsistent length values for upload"}"#,
        );
        assert_eq!(length.unwrap().kind, ProblemType::InconsistentLength);
    }

    #[test]
    fn other_content_is_not_a_problem() {
        let kind = |body| read("application/problem+json", body).map(|problem| problem.kind);
        assert_eq!(kind(r#"{"title": 7, "detail": null}"#), Some(ProblemType::Other("about:blank".into())));
        assert_eq!(
            kind(r#"{"type": "https://example.org/full"}"#).unwrap(),
            ProblemType::Other("https://example.org/full".into())
        );
        for body in ["", "[]", "7", "{", "\u{feff}{}"] {
            assert_eq!(kind(body), None, "{body}");
        }
        assert_eq!(read("application/json", "{}"), None);
        assert_eq!(Problem::read(&HeaderMap::new(), b"{}"), None);
    }
}
