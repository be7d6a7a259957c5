//! The application's say, in every framework.

use std::{
    error::Error,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, StatusCode, request::Parts};
use tests::User;
use tus_service::{Cause, Hooks, Metadata, NewUpload, Operation, Rejection, Reply, Upload, async_trait};

use crate::{
    client::OCTETS,
    harness::{Server, id, wait_until},
};

/// What was called, in order.
type Calls = Arc<Mutex<Vec<String>>>;

fn called(calls: &Calls) -> Vec<String> {
    calls.lock().unwrap().clone()
}

/// Writes down what it is told.
struct Recorder(Calls);

#[async_trait]
impl Hooks for Recorder {
    async fn authorize(&self, operation: Operation, upload: Option<&Upload>, _: &Parts) -> Result<(), Rejection> {
        self.record(format!("authorize {operation:?} {}", upload.map_or("-", |upload| upload.id.as_str())));
        Ok(())
    }

    async fn before_create(&self, upload: &mut NewUpload, _: &Parts) -> Result<(), Rejection> {
        upload.id = Some("chosen".parse().unwrap());
        self.record("before_create".into());
        Ok(())
    }

    async fn created(&self, upload: &Upload) {
        self.record(format!("created {}", upload.id));
    }

    async fn progress(&self, upload: &Upload) {
        self.record(format!("progress {}", upload.offset));
    }

    async fn before_finish(&self, upload: &Upload) -> Result<Reply, Rejection> {
        self.record(format!("before_finish {}", upload.offset));
        Ok(Reply::default())
    }

    async fn finished(&self, upload: &Upload) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.record(format!("finished {}", upload.id));
        Ok(())
    }

    async fn before_terminate(&self, upload: &Upload, _: &Parts) -> Result<(), Rejection> {
        self.record(format!("before_terminate {}", upload.id));
        Ok(())
    }

    async fn terminated(&self, upload: &Upload, cause: Cause) {
        self.record(format!("terminated {} {cause:?}", upload.id));
    }
}

impl Recorder {
    fn record(&self, call: String) {
        self.0.lock().unwrap().push(call);
    }
}

pub(crate) fn come_in_order(server: Server) {
    let calls = Calls::default();
    let recorder = Recorder(calls.clone());
    let started = server.start_with(|builder| builder.hooks(recorder).checkpoint_interval(Duration::from_millis(10)));
    let mut connection = started.connect();
    let path = connection.create(10);
    assert!(path.ends_with("/chosen"));
    connection.begin_patch(&path, 0, 10);
    connection.send(b"hello");
    wait_until(|| called(&calls).contains(&"progress 5".to_owned()));
    connection.send(b"world");
    assert_eq!(connection.response("PATCH").status, 204);
    assert_eq!(connection.request("DELETE", &path, &[], b"").status, 204);
    let mut calls = called(&calls);
    calls.retain(|call| call != "progress 10");
    calls.dedup();
    let expected = [
        "authorize Create -",
        "before_create",
        "created chosen",
        "authorize Append chosen",
        "progress 5",
        "before_finish 10",
        "finished chosen",
        "authorize Terminate chosen",
        "before_terminate chosen",
        "terminated chosen Client",
    ];
    assert_eq!(calls, expected);
}

/// Lets a user do to an upload what its owner may do.
struct Owners;

#[async_trait]
impl Hooks for Owners {
    async fn authorize(&self, _: Operation, upload: Option<&Upload>, request: &Parts) -> Result<(), Rejection> {
        let user = request.extensions.get::<User>().ok_or_else(|| Rejection::unauthorized("Bearer"))?;
        match upload.and_then(|upload| upload.metadata.text("owner")) {
            Some(owner) if owner != user.0 => Err(Rejection::forbidden("this is not yours\n")),
            _ => Ok(()),
        }
    }

    async fn before_create(&self, upload: &mut NewUpload, request: &Parts) -> Result<(), Rejection> {
        if request.headers.contains_key("x-full") {
            let quota = Rejection::new(StatusCode::TOO_MANY_REQUESTS, "your quota is used up\n");
            return Err(quota.header("x-quota".parse().unwrap(), HeaderValue::from_static("0")));
        }
        let user = request.extensions.get::<User>().expect("authorized");
        upload.metadata = Metadata::from_pairs([("owner", user.0.clone())]).unwrap();
        upload.max_size = Some(100);
        Ok(())
    }
}

pub(crate) fn decide_by_the_application_s_user(server: Server) {
    let started = server.start_with(|builder| builder.hooks(Owners));
    let mut connection = started.connect();
    let (ann, bob) = (("X-User", "ann"), ("X-User", "bob"));
    let length = ("Upload-Length", "10");
    let anonymous = connection.request("POST", "/files", &[length], b"");
    assert_eq!((anonymous.status, anonymous.header("www-authenticate")), (401, "Bearer"));
    let full = connection.request("POST", "/files", &[length, ann, ("X-Full", "1")], b"");
    assert_eq!((full.status, full.header("x-quota"), &*full.text()), (429, "0", "your quota is used up\n"));
    let large = connection.request("POST", "/files", &[("Upload-Length", "101"), ann], b"");
    assert_eq!(large.status, 413);

    let path = connection.create_with(&[length, ann]);
    let head = connection.request("HEAD", &path, &[ann], b"");
    assert_eq!((head.status, head.header("upload-metadata")), (200, "owner YW5u"));
    assert_eq!(connection.request("HEAD", &path, &[bob], b"").status, 403);
    assert_eq!(connection.request("DELETE", &path, &[bob], b"").text(), "this is not yours\n");

    // Who may not touch an upload cannot stop the request of one who may.
    let mut owner = started.connect();
    let patch = [("Upload-Offset", "0"), ("Content-Type", OCTETS), ("Content-Length", "10"), ann];
    owner.head("PATCH", &path, &patch);
    owner.send(b"hello");
    started.wait_for_offset(&path, 5);
    assert_eq!(connection.request("HEAD", &path, &[bob], b"").status, 403);
    assert_eq!(connection.request("HEAD", "/files/missing", &[], b"").status, 401);
    owner.send(b"world");
    assert_eq!(owner.response("PATCH").status, 204);

    // The parts of a final upload are asked about one by one.
    let part = connection.create_with(&[length, ann, ("Upload-Concat", "partial")]);
    let concat = format!("final;{part}");
    assert_eq!(connection.request("POST", "/files", &[bob, ("Upload-Concat", &concat)], b"").status, 403);
}

/// Counts calls, and does with each what the first letters of its plan say.
struct Planned {
    plan: &'static str,
    calls: Arc<AtomicUsize>,
}

#[async_trait]
impl Hooks for Planned {
    async fn before_finish(&self, upload: &Upload) -> Result<Reply, Rejection> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        match self.plan.as_bytes().get(call) {
            Some(b'r') => Err(Rejection::new(StatusCode::UNPROCESSABLE_ENTITY, "not like this\n")),
            Some(b'p') => panic!("as planned"),
            Some(b'h') => std::future::pending().await,
            _ => {
                let told = HeaderValue::from_str(upload.id.as_str()).unwrap();
                Ok(Reply { headers: [("x-told".parse().unwrap(), told)].into_iter().collect(), body: "done".into() })
            }
        }
    }
}

pub(crate) fn before_finish_refuses_and_shapes_the_response(server: Server) {
    let planned = Planned { plan: "rph", calls: Arc::default() };
    let started = server.start_with(|builder| builder.hooks(planned).hook_timeout(Duration::from_millis(100)));
    let mut connection = started.connect();
    let path = connection.create(5);
    let refused = connection.patch(&path, 0, b"hello");
    assert_eq!((refused.status, &*refused.text()), (422, "not like this\n"));
    for why in ["panics", "hangs"] {
        assert_eq!(connection.patch(&path, 5, b"").status, 500, "the hook {why}");
        assert_eq!(connection.offset(&path), 5, "the upload is as it was");
    }
    assert!(!started.upload(&path).unwrap().finished);
    let told = connection.patch(&path, 5, b"");
    assert_eq!((told.status, told.header("x-told"), &*told.text()), (200, id(&path).as_str(), "done"));
    assert!(started.upload(&path).unwrap().finished);
    assert_eq!(connection.patch(&path, 5, b"").status, 204, "it is told once");
}

pub(crate) fn finished_is_called_again_until_it_succeeds(server: Server) {
    let calls = Calls::default();
    let told = calls.clone();
    let started = server.start_with(|builder| {
        builder.sweep_interval(Duration::from_millis(10)).finished(move |upload| {
            let mut calls = told.lock().unwrap();
            calls.push(upload.id.to_string());
            let call = calls.len();
            async move {
                match call {
                    1 => Err(std::io::Error::other("the application's database is away")),
                    2 => panic!("as planned"),
                    _ => Ok(()),
                }
            }
        })
    });
    let mut connection = started.connect();
    let path = connection.create(5);
    assert_eq!(connection.patch(&path, 0, b"hello").status, 204, "the client has done its part");
    wait_until(|| started.upload(&path).unwrap().finished);
    assert_eq!(called(&calls), [id(&path).as_str(); 3]);
}

pub(crate) fn finished_is_called_again_after_a_kill(server: Server) {
    let Some(process) = server.spawn_with(&[("HANG_IN_FINISHED", "1")]) else {
        return;
    };
    let mut connection = process.connect();
    let path = connection.create(5);
    connection.begin_patch(&path, 0, 5);
    connection.send(b"hello");
    let first = process.line();
    process.kill();
    let process = server.spawn().unwrap();
    assert_eq!(process.line(), first, "the same key");
    assert_eq!(first, format!("finished {}", id(&path)));
    let uploads = server.uploads();
    wait_until(|| uploads.upload(&path).unwrap().finished);
    assert_eq!(process.connect().patch(&path, 5, b"").status, 204, "the lost reply");
}

/// Vetoes the first deletion.
struct Veto(AtomicUsize);

#[async_trait]
impl Hooks for Veto {
    async fn before_terminate(&self, _: &Upload, request: &Parts) -> Result<(), Rejection> {
        assert_eq!(request.method, "DELETE");
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Rejection::forbidden("it is being looked at\n")),
            _ => Ok(()),
        }
    }

    async fn created(&self, _: &Upload) {
        panic!("a hook that only hears cannot break what it hears of");
    }
}

pub(crate) fn a_deletion_can_be_vetoed(server: Server) {
    let started = server.start_with(|builder| builder.hooks(Veto(AtomicUsize::new(0))));
    let mut connection = started.connect();
    let path = connection.create(5);
    let veto = connection.request("DELETE", &path, &[], b"");
    assert_eq!((veto.status, &*veto.text()), (403, "it is being looked at\n"));
    assert_eq!(connection.offset(&path), 0);
    assert_eq!(connection.request("DELETE", &path, &[], b"").status, 204);
    assert_eq!(connection.request("HEAD", &path, &[], b"").status, 404);
}
