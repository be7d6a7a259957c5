//! Which failures of a store pass by themselves.

use std::{error::Error as StdError, io};

use object_store::Error;

/// How the crate `object_store` begins the text of an error with the status or the content of a response. It does not
/// export their types.
const STATUS: &str = "Server returned non-2xx status code: ";
const CONTENT: &str = "Server returned error response: ";

/// The codes in responses with status 200 that ask for a repetition, as S3 sends them when a completion fails. The client
/// recognizes only these; a response with another one is unreadable for it.
const PASSING: [&str; 2] = ["InternalError", "SlowDown"];

/// The code in Azure's responses with status 400 that says that the parts are gone, as they are after a week. Similar codes of
/// other stores may also mean that another process has just replaced a part; there, parts that are gone are a 404.
const GONE: &str = "<Code>InvalidBlockList</Code>";

/// An error of a client, and its causes.
fn causes(error: &Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let first: Option<&(dyn StdError + 'static)> = match error {
        Error::Generic { source, .. } => Some(source.as_ref()),
        _ => None,
    };
    std::iter::successors(first, |&error| error.source())
}

/// The status in a text, and what follows it.
fn status(text: &str) -> Option<(u16, &str)> {
    let status = text.strip_prefix(STATUS)?;
    Some((status.get(..3)?.parse().ok()?, &status[3..]))
}

/// Whether the same request may succeed later: the store is overloaded or cannot be reached. Other failures are faults of the
/// configuration or of this crate, and a client that retries helps nobody.
pub(crate) fn passes(error: &Error) -> bool {
    for error in causes(error) {
        if is_of_the_line(error) {
            return true;
        }
        let text = error.to_string();
        if text.starts_with(STATUS) {
            return status(&text).is_some_and(|(status, _)| status >= 500 || status == 408 || status == 429);
        }
        if let Some(content) = text.strip_prefix(CONTENT) {
            return PASSING.iter().any(|code| content.contains(&format!("<Code>{code}</Code>")));
        }
    }
    false
}

/// Whether the response was a 404 that the client does not report as one, as that of GCS does for completions.
pub(crate) fn is_absent(error: &Error) -> bool {
    causes(error).any(|error| status(&error.to_string()).is_some_and(|(status, _)| status == 404))
}

/// Whether a completion will never succeed with these parts.
pub(crate) fn refuses_parts(error: &Error) -> bool {
    let refuses = |(status, text): (u16, &str)| status == 400 && text.contains(GONE);
    causes(error).any(|error| status(&error.to_string()).is_some_and(refuses))
}

/// Whether there was no response, or one that broke off.
fn is_of_the_line(error: &(dyn StdError + 'static)) -> bool {
    #[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
    if error.is::<object_store::client::HttpError>() {
        return true;
    }
    error.is::<io::Error>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Error {
        Error::Generic { store: "S3", source: text.to_owned().into() }
    }

    #[test]
    fn only_what_passes_is_worth_a_retry() {
        for status in
            ["500 Internal Server Error", "503 Service Unavailable", "408 Request Timeout", "429 Too Many Requests"]
        {
            assert!(passes(&said(&format!("{STATUS}{status}: <Error/>"))), "{status}");
        }
        for status in ["400 Bad Request", "416 Range Not Satisfiable", "301 Moved Permanently", "409 Conflict", ""] {
            assert!(!passes(&said(&format!("{STATUS}{status}: 503"))), "{status}");
        }
        assert!(passes(&said(&format!("{CONTENT}<Error><Code>InternalError</Code></Error>"))));
        assert!(!passes(&said(&format!("{CONTENT}<Error><Code>InvalidPart</Code></Error>"))));
        assert!(!passes(&said(
            "Received redirect without LOCATION, this normally indicates an incorrectly configured region"
        )));
        assert!(passes(&Error::Generic { store: "S3", source: io::Error::from(io::ErrorKind::UnexpectedEof).into() }));
        assert!(!passes(&Error::NotImplemented { operation: "put".into(), implementer: "store".into() }));
    }

    #[test]
    fn only_certain_refusals_mean_that_parts_are_gone() {
        assert!(refuses_parts(&said(&format!("{STATUS}400 Bad Request: <Code>InvalidBlockList</Code>"))));
        for other in [
            "400 Bad Request: <Code>InvalidPart</Code>",
            "400 Bad Request: <Code>EntityTooSmall</Code>",
            "400 Bad Request: <Key>InvalidBlockList</Key>",
            "400 Bad Request: <Code>RequestTimeout</Code>",
            "400 Bad Request: <Code>ExpiredToken</Code>",
            "503: InvalidPart",
        ] {
            assert!(!refuses_parts(&said(&format!("{STATUS}{other}"))), "{other}");
        }
        assert!(is_absent(&said(&format!("{STATUS}404 Not Found: "))));
        assert!(!is_absent(&said(&format!("{STATUS}400 Bad Request: 404"))));
    }

    /// Answers every request with this status and these bytes; without a status, it closes the connection.
    #[cfg(feature = "aws")]
    fn server(status: Option<&'static str>, content: String) -> std::net::SocketAddr {
        use std::io::{BufRead, BufReader, Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (mut connection, Some(status)) = (connection.unwrap(), status) else { continue };
                let (mut request, mut length) = (BufReader::new(connection.try_clone().unwrap()), 0);
                loop {
                    let mut line = String::new();
                    request.read_line(&mut line).unwrap();
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                }
                request.read_exact(&mut vec![0; length]).unwrap();
                let head =
                    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", content.len());
                connection.write_all(format!("{head}{content}").as_bytes()).unwrap();
            }
        });
        address
    }

    /// A client that does not try again.
    #[cfg(feature = "aws")]
    fn client(address: std::net::SocketAddr) -> object_store::aws::AmazonS3 {
        use object_store::{RetryConfig, aws::AmazonS3Builder};
        let store = AmazonS3Builder::new().with_bucket_name("bucket").with_region("region");
        let store = store.with_endpoint(format!("http://{address}")).with_allow_http(true).with_skip_signature(true);
        store.with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() }).build().unwrap()
    }

    #[cfg(feature = "aws")]
    #[tokio::test]
    async fn the_errors_of_the_client_are_understood() {
        use object_store::ObjectStoreExt;
        for (status, is_passing) in [
            (Some("400 Bad Request"), false),
            (Some("301 Moved Permanently"), false),
            (Some("416 Range Not Satisfiable"), false),
            (Some("429 Too Many Requests"), true),
            (Some("503 Service Unavailable"), true),
            (None, true),
        ] {
            let error = client(server(status, String::new())).get(&"key".into()).await.unwrap_err();
            assert_eq!(passes(&error), is_passing, "{error}");
        }
    }

    /// The status comes before S3 knows whether it succeeds.
    #[cfg(feature = "aws")]
    #[tokio::test]
    async fn the_error_in_a_successful_response_to_a_completion_is_understood() {
        use object_store::multipart::{MultipartStore, PartId};
        for (code, is_passing) in [("InternalError", true), ("SlowDown", true), ("InvalidPart", false)] {
            let content = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m</Message></Error>");
            let store = client(server(Some("200 OK"), content));
            let parts = vec![PartId { content_id: "etag".into() }];
            let error = store.complete_multipart(&"key".into(), &"id".into(), parts).await.unwrap_err();
            assert_eq!(passes(&error), is_passing, "{error}");
            assert!(error.to_string().contains(code) || !is_passing, "{error}");
        }
    }
}
