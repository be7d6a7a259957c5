//! Whatever a server answers: the client ends, reads nothing outside its source, sends secrets to no other origin,
//! and reports an upload as complete only when the server has reported it.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response};
use libfuzzer_sys::fuzz_target;
use tus_core::{
    Algorithm, Checksum,
    client::{self, Error, Moment, NewUpload, Options, Retry, Step, Task, Uploaded, Verification},
};
use url::Url;

#[derive(Debug, Arbitrary)]
struct Run<'a> {
    length: Option<u8>,
    resumes: bool,
    chunk_size: Option<u8>,
    verify: u8,
    data_in_creation: bool,
    overrides: bool,
    stop_at: Option<u8>,
    answers: Vec<Answer<'a>>,
}

#[derive(Debug, Arbitrary)]
enum Answer<'a> {
    /// The response of a correct server.
    Honest,
    /// The same, with one header replaced.
    Nearly(u8, &'a [u8]),
    Any {
        status: u16,
        headers: Vec<(u8, &'a [u8])>,
        body: &'a [u8],
    },
    Broken,
}

const NAMES: [&str; 12] = [
    "upload-offset",
    "upload-length",
    "location",
    "tus-resumable",
    "tus-version",
    "tus-extension",
    "tus-max-size",
    "tus-checksum-algorithm",
    "retry-after",
    "upload-defer-length",
    "upload-concat",
    "upload-metadata",
];

const SOURCE: u64 = 256;

fuzz_target!(|run: Run| {
    let endpoint: Url = "https://tus.example.org/files".parse().unwrap();
    let retry = Retry::default().retries(3);
    let verification = match run.verify % 3 {
        0 => Verification::Off,
        1 => Verification::IfOffered(Algorithm::Sha1),
        _ => Verification::Required(Algorithm::Sha1),
    };
    let options = Options::default().retry(retry).verification(verification).chunk_size(run.chunk_size.map(u64::from));
    let stop_at = run.stop_at.map(u64::from);
    let options = options.data_in_creation(run.data_in_creation).override_method(run.overrides).stop_at(stop_at);
    let length = run.length.map(u64::from);
    let mut server = Server { answers: run.answers.into_iter(), offset: 0, length, confirmed: None, endpoint };
    let discovered = server.run(client::discover(server.endpoint.clone(), options.clone()));
    let capabilities = discovered.ok();
    let step = if run.resumes {
        let url = server.endpoint.join("files/known").unwrap();
        client::resume(url, NewUpload::new(length), options, capabilities.as_ref())
    } else {
        client::create(server.endpoint.clone(), NewUpload::new(length), options, capabilities.as_ref())
    };
    if let Ok(Uploaded { offset: Some(offset), .. }) = step.and_then(|step| server.run(step)) {
        assert!(server.confirmed >= Some(offset), "the server did not say so: {offset}, {:?}", server.confirmed);
        let wanted = length.unwrap_or(SOURCE);
        assert!(offset >= stop_at.unwrap_or(wanted).min(wanted), "{offset} of {wanted} bytes are not all");
    }
});

struct Server<'a> {
    answers: std::vec::IntoIter<Answer<'a>>,
    offset: u64,
    length: Option<u64>,
    /// The last offset in a response that the client may believe.
    confirmed: Option<u64>,
    endpoint: Url,
}

impl Server<'_> {
    fn run<T: Task>(&mut self, mut step: Step<T>) -> Result<T::Output, Error> {
        let mut now = Duration::ZERO;
        // Each byte may be a request with its retries.
        for _ in 0..20_000 {
            step = match step {
                Step::Read(read) => {
                    let range = read.range();
                    let Some(there) = range.end.min(self.length.unwrap_or(SOURCE)).checked_sub(range.start) else {
                        return Err(Error::local("the source is another one"));
                    };
                    let checksum = read.algorithm().map(|algorithm| Checksum::of(algorithm, &vec![7; there as usize]));
                    read.done(there, checksum)
                }
                Step::Transmit(transmit) => {
                    if let Some(range) = transmit.body() {
                        assert!(range.start <= range.end && range.end <= self.length.unwrap_or(SOURCE), "{range:?}");
                    }
                    let request = transmit.request();
                    let to: Url = request.uri().to_string().parse().unwrap();
                    let is_home = to.origin() == self.endpoint.origin();
                    assert_eq!(transmit.is_home(), is_home, "{to}");
                    let answer = self.answer(request.method().as_str(), transmit.body());
                    let took = Duration::from_millis(5);
                    now += took;
                    transmit.done(answer, Moment { now, jitter: 0.5, took })
                }
                Step::Wait(wait) => {
                    now += wait.duration();
                    wait.done()
                }
                Step::Finished(result) => return result,
            };
        }
        panic!("it does not end");
    }

    fn answer(&mut self, method: &str, body: Option<std::ops::Range<u64>>) -> Result<Response<Bytes>, Error> {
        let mut response = match self.answers.next() {
            None | Some(Answer::Honest) => self.honest(method, body),
            Some(Answer::Nearly(name, value)) => {
                let mut response = self.honest(method, body);
                set(&mut response, name, value);
                response
            }
            Some(Answer::Any { status, headers, body }) => {
                let mut response = Response::new(Bytes::copy_from_slice(body));
                *response.status_mut() = http::StatusCode::from_u16(200 + status % 400).unwrap();
                headers.into_iter().for_each(|(name, value)| set(&mut response, name, value));
                response
            }
            Some(Answer::Broken) => return Err(Error::connection("it broke")),
        };
        response.headers_mut().entry("tus-resumable").or_insert(HeaderValue::from_static("1.0.0"));
        let reported = response.headers().get("upload-offset").and_then(|offset| offset.to_str().ok()?.parse().ok());
        if response.status().is_success() {
            self.confirmed = reported.or(self.confirmed).or(Some(0));
        }
        Ok(response)
    }

    fn honest(&mut self, method: &str, body: Option<std::ops::Range<u64>>) -> Response<Bytes> {
        if let Some(body) = body.filter(|body| body.start == self.offset) {
            self.offset = body.end;
        }
        let response = Response::builder().header("upload-offset", self.offset);
        let response = match method {
            "OPTIONS" => response
                .status(204)
                .header("tus-version", "1.0.0")
                .header(
                    "tus-extension",
                    "creation,creation-with-upload,creation-defer-length,checksum,termination,concatenation",
                )
                .header("tus-checksum-algorithm", "sha1"),
            "POST" => response.status(201).header("location", "/files/1"),
            "HEAD" => match self.length {
                Some(length) => response.status(200).header("upload-length", length),
                None => response.status(200).header("upload-defer-length", "1"),
            },
            _ => response.status(204),
        };
        response.body(Bytes::new()).unwrap()
    }
}

fn set(response: &mut Response<Bytes>, name: u8, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        response.headers_mut().insert(HeaderName::from_static(NAMES[usize::from(name) % NAMES.len()]), value);
    }
}
