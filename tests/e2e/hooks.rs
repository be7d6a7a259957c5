//! The application's hooks, in every framework.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, StatusCode};
use tests::User;
use tus_service::{FinishReply, HookError, Hooks, NewUpload, Rejection, context};

use crate::{
    client::OCTETS,
    harness::{Server, id, wait_until},
};

/// What was called, in order.
type Calls = Arc<Mutex<Vec<String>>>;

fn called(calls: &Calls) -> Vec<String> {
    calls.lock().unwrap().clone()
}

/// Records how it is called.
struct Recorder(Calls);

impl Hooks for Recorder {
    async fn authorize(&self, cx: context::Authorize) -> Result<(), Rejection> {
        let id = cx.upload.map_or("-".to_owned(), |upload| upload.id.to_string());
        self.record(format!("authorize {:?} {id}", cx.operation));
        Ok(())
    }

    async fn before_create(&self, cx: context::BeforeCreate) -> Result<NewUpload, Rejection> {
        let mut upload = cx.upload;
        upload.id = Some("chosen".parse().unwrap());
        self.record("before_create".into());
        Ok(upload)
    }

    async fn created(&self, cx: context::Created) {
        self.record(format!("created {}", cx.upload.id));
    }

    async fn progress(&self, cx: context::Progress) {
        self.record(format!("progress {}", cx.upload.offset));
    }

    async fn before_finish(&self, cx: context::BeforeFinish) -> Result<FinishReply, Rejection> {
        self.record(format!("before_finish {}", cx.upload.offset));
        Ok(FinishReply::default())
    }

    async fn finished(&self, cx: context::Finished) -> Result<(), HookError> {
        self.record(format!("finished {}", cx.upload.id));
        Ok(())
    }

    async fn before_terminate(&self, cx: context::BeforeTerminate) -> Result<(), Rejection> {
        self.record(format!("before_terminate {}", cx.upload.id));
        Ok(())
    }

    async fn terminated(&self, cx: context::Terminated) {
        self.record(format!("terminated {} {:?}", cx.upload.id, cx.cause));
    }
}

impl Recorder {
    fn record(&self, call: String) {
        self.0.lock().unwrap().push(call);
    }
}

pub(crate) fn hooks_run_in_order(server: Server) {
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
    // Nobody waits for it.
    wait_until(|| called(&calls).contains(&"finished chosen".to_owned()));
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

/// Lets only the owner of an upload use it.
struct Owners;

impl Hooks for Owners {
    async fn authorize(&self, cx: context::Authorize) -> Result<(), Rejection> {
        let user = cx.request.extensions.get::<User>().ok_or_else(|| Rejection::unauthorized("Bearer"))?;
        match cx.upload.and_then(|upload| upload.owner.clone()) {
            Some(owner) if owner != user.0 => Err(Rejection::forbidden("this is not yours\n")),
            _ => Ok(()),
        }
    }

    async fn before_create(&self, cx: context::BeforeCreate) -> Result<NewUpload, Rejection> {
        if cx.request.headers.contains_key("x-full") {
            let quota = Rejection::new(StatusCode::TOO_MANY_REQUESTS, "your quota is used up\n");
            return Err(quota.header("x-quota".parse().unwrap(), HeaderValue::from_static("0")));
        }
        let user = cx.request.extensions.get::<User>().expect("authorized");
        let mut upload = cx.upload;
        upload.owner = Some(user.0.clone());
        upload.private = "secret".into();
        upload.metadata.set("kind", "film").unwrap();
        upload.max_size = Some(100);
        Ok(upload)
    }
}

pub(crate) fn hooks_know_the_applications_user(server: Server) {
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
    assert_eq!((head.status, head.header("upload-metadata")), (200, "kind ZmlsbQ=="));
    // The application's own data is stored, but shown to no client.
    let stored = started.upload(&path).unwrap();
    assert_eq!((stored.owner.as_deref(), &*stored.private), (Some("ann"), &b"secret"[..]));
    assert!(!format!("{head:?}").contains("secret"));
    assert_eq!(connection.request("HEAD", &path, &[bob], b"").status, 403);
    assert_eq!(connection.request("DELETE", &path, &[bob], b"").text(), "this is not yours\n");

    // A client that may not use an upload cannot interrupt the request of one that may.
    let mut owner = started.connect();
    let patch = [("Upload-Offset", "0"), ("Content-Type", OCTETS), ("Content-Length", "10"), ann];
    owner.head("PATCH", &path, &patch);
    owner.send(b"hello");
    started.wait_for_offset(&path, 5);
    assert_eq!(connection.request("HEAD", &path, &[bob], b"").status, 403);
    assert_eq!(connection.request("HEAD", "/files/missing", &[], b"").status, 401);
    owner.send(b"world");
    assert_eq!(owner.response("PATCH").status, 204);

    // The parts of a final upload are authorized one by one.
    let part = connection.create_with(&[length, ann, ("Upload-Concat", "partial")]);
    let concat = format!("final;{part}");
    assert_eq!(connection.request("POST", "/files", &[bob, ("Upload-Concat", &concat)], b"").status, 403);
}

/// Counts the calls for requests, and behaves in each as its plan says. A sweep gets a rejection, which changes nothing.
struct Planned {
    plan: &'static str,
    calls: Arc<AtomicUsize>,
}

impl Hooks for Planned {
    async fn before_finish(&self, cx: context::BeforeFinish) -> Result<FinishReply, Rejection> {
        if cx.request.is_none() {
            return Err(StatusCode::UNPROCESSABLE_ENTITY.into());
        }
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        match self.plan.as_bytes().get(call) {
            Some(b'r') => Err(StatusCode::UNPROCESSABLE_ENTITY.into()),
            Some(b'p') => panic!("as planned"),
            Some(b'h') => std::future::pending().await,
            _ => {
                let mut reply = FinishReply::default();
                reply.headers.insert("x-upload", HeaderValue::from_str(cx.upload.id.as_str()).unwrap());
                reply.body = "done".into();
                Ok(reply)
            }
        }
    }
}

pub(crate) fn before_finish_rejects_and_shapes_the_response(server: Server) {
    let planned = Planned { plan: "rph", calls: Arc::default() };
    let started = server.start_with(|builder| builder.hooks(planned).hook_timeout(Duration::from_millis(100)));
    let mut connection = started.connect();
    let path = connection.create(5);
    let refused = connection.patch(&path, 0, b"hello");
    assert_eq!((refused.status, &*refused.text()), (422, "Unprocessable Entity\n"));
    for why in ["panics", "hangs"] {
        assert_eq!(connection.patch(&path, 5, b"").status, 500, "the hook {why}");
        assert_eq!(connection.offset(&path), 5, "the upload is unchanged");
    }
    assert!(!started.is_finished(&path));
    let shaped = connection.patch(&path, 5, b"");
    assert_eq!((shaped.status, shaped.header("x-upload"), &*shaped.text()), (200, id(&path).as_str(), "done"));
    wait_until(|| started.is_finished(&path));
    assert_eq!(connection.patch(&path, 5, b"").status, 204, "the hook is not called any more");
}

pub(crate) fn finished_is_called_again_until_it_succeeds(server: Server) {
    let calls = Calls::default();
    let called_by_hook = calls.clone();
    let started = server.start_with(|builder| {
        builder.sweep_interval(Duration::from_millis(10)).finished(move |cx| {
            let mut calls = called_by_hook.lock().unwrap();
            calls.push(cx.upload.id.to_string());
            let call = calls.len();
            async move {
                match call {
                    1 => Err(std::io::Error::other("the application's database is unavailable")),
                    2 => panic!("as planned"),
                    _ => Ok(()),
                }
            }
        })
    });
    let mut connection = started.connect();
    let path = connection.create(5);
    assert_eq!(connection.patch(&path, 0, b"hello").status, 204, "the client has done its part");
    wait_until(|| started.is_finished(&path));
    assert_eq!(called(&calls), [id(&path).as_str(); 3]);
}

pub(crate) fn finished_is_called_again_after_a_kill(server: Server) {
    let process = server.spawn_with(&[("HANG_IN_FINISHED", "1")]).unwrap();
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
    wait_until(|| uploads.is_finished(&path));
    assert_eq!(process.connect().patch(&path, 5, b"").status, 204, "the lost response");
}

/// Vetoes the first deletion.
struct Veto(AtomicUsize);

impl Hooks for Veto {
    async fn before_terminate(&self, cx: context::BeforeTerminate) -> Result<(), Rejection> {
        assert_eq!(cx.request.method, "DELETE");
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Rejection::forbidden("it is being looked at\n")),
            _ => Ok(()),
        }
    }

    async fn created(&self, _: context::Created) {
        panic!("a hook that cannot refuse cannot fail its request");
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
