//! Webhooks: signed, asked, refused, and at least once.

use std::time::SystemTime;

use serde_json::{Value, json};
use tokio::time::timeout;
use tus_reqwest::{Client, Source, reqwest};

use crate::{
    program::{PATIENCE, Server, Setup},
    receiver::{Receiver, SECRET},
};

/// A creation without bytes.
async fn create(server: &Server, headers: &[(&str, &str)]) -> reqwest::Response {
    let mut request = reqwest::Client::new().post(server.url("/files"));
    for (name, value) in [("tus-resumable", "1.0.0"), ("upload-length", "5")].iter().chain(headers) {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_webhook_is_signed_and_refuses_a_creation() {
    let refusal = json!({"refuse": {"status": 402, "headers": {"x-why": "quota"}, "body": "pay first\n"}});
    let mut receiver = Receiver::start(move |_| (200, refusal.to_string())).await;
    let setup = receiver.of(Setup::new(), "before_create").set("TUS_WEBHOOKS_HEADERS", "authorization,x-none");
    let server = setup.start().await;
    let headers = [("authorization", "Bearer anna"), ("cookie", "a=b"), ("upload-metadata", "filename YS50eHQ=")];
    let refused = create(&server, &headers).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["x-why"]), (402, &"quota".parse().unwrap()));
    assert_eq!(refused.text().await.unwrap(), "pay first\n");

    let message = receiver.next().await;
    assert_eq!(message.header("content-type"), "application/json");
    assert_eq!(message.header("webhook-signature"), message.signature(SECRET));
    let sent: u64 = message.header("webhook-timestamp").parse().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert!(sent <= now && sent + 60 > now);
    assert_eq!(message.json["type"], "before_create");
    let (upload, request) = (&message.json["data"]["upload"], &message.json["data"]["request"]);
    assert_eq!((&upload["length"], &upload["metadata"]), (&json!(5), &json!({"filename": "a.txt"})));
    assert_eq!((&request["method"], &request["uri"]), (&json!("POST"), &json!("/files")));
    assert_eq!(request["headers"], json!({"authorization": "Bearer anna"}), "only what is configured");
    assert!(request["client"].as_str().unwrap().starts_with("127.0.0.1:"));

    let (success, listed, _) = setup.run(&["admin", "list"]).await;
    assert!(success && listed.is_empty(), "nothing was created: {listed}");
    server.stop().await;
}

#[tokio::test]
async fn answers_change_the_upload_and_the_response() {
    let answer = |message: &Value| {
        let answer = match message["type"].as_str().unwrap() {
            "before_create" => json!({"upload": {"id": "chosen", "owner": "anna", "metadata": {"k": "v"}}}),
            "before_finish" => json!({"response": {"headers": {"x-video": "7"}, "body": "thanks\n"}}),
            "authorize" if message["data"]["operation"] == "terminate" => json!({"refuse": {}}),
            _ => json!({}),
        };
        (200, answer.to_string())
    };
    let receiver = Receiver::start(answer).await;
    let setup = receiver.of(Setup::new(), "authorize,before_create,before_finish");
    let server = setup.start().await;
    let created = create(&server, &[]).await;
    assert_eq!(created.headers()["location"], "/files/chosen");
    let http = reqwest::Client::new();
    let append = http.patch(server.url("/files/chosen")).header("tus-resumable", "1.0.0").header("upload-offset", "0");
    let append = append.header("content-type", "application/offset+octet-stream").body("hello");
    let finished = append.send().await.unwrap();
    assert_eq!((finished.status().as_u16(), &finished.headers()["x-video"]), (200, &"7".parse().unwrap()));
    assert_eq!(finished.text().await.unwrap(), "thanks\n");
    let (_, shown, _) = setup.run(&["admin", "show", "chosen"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["owner"], &shown["metadata"]), (&json!("anna"), &json!({"k": "v"})));
    let terminate = http.delete(server.url("/files/chosen")).header("tus-resumable", "1.0.0");
    assert_eq!(terminate.send().await.unwrap().status(), 403);
    server.stop().await;
}

/// A receiver that is down, slow, wrong or elsewhere: nobody gets in, and nobody is sent away for good.
#[tokio::test]
async fn a_question_without_an_answer_is_503() {
    let mut elsewhere = Receiver::start(|_| (200, String::new())).await;
    let mut receivers = Vec::new();
    for (status, text) in [(404, "{}"), (500, ""), (302, ""), (200, "yes"), (200, "{\"reject\": {}}")] {
        receivers.push(Receiver::start(move |_| (status, text.to_owned())).await);
    }
    for status in [302, 307, 308] {
        receivers.push(Receiver::redirect(status, &elsewhere).await);
    }
    for mut receiver in receivers {
        let server = receiver.of(Setup::new(), "authorize").start().await;
        let answer = create(&server, &[]).await;
        assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"5".parse().unwrap()));
        assert_eq!(receiver.next().await.json["type"], "authorize", "it was asked");
        let (_, metrics) = server.ask("/metrics").await;
        assert!(metrics.contains("tus_webhooks_failed_total{hook=\"authorize\"} 1\n"), "{metrics}");
        server.stop().await;
    }
    // What is signed for one receiver does not go to another one, even if it would agree.
    assert!(elsewhere.try_next().is_none());
    // Nobody listens; nobody answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = (format!("http://{}", silent.local_addr().unwrap()), silent);
    // It has its port, and does not listen.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = (format!("http://{}", closed.local_addr().unwrap()), closed);
    for url in [&closed.0, &silent.0] {
        let setup = Setup::new().set("TUS_WEBHOOKS_URL", url).set("TUS_WEBHOOKS_HOOKS", "before_create");
        let setup = setup.set("TUS_WEBHOOKS_SECRETS", SECRET).set("TUS_WEBHOOKS_TIMEOUT", "0.5");
        let server = setup.start().await;
        assert_eq!(create(&server, &[]).await.status(), 503, "{url}");
        server.stop().await;
    }
}

#[tokio::test]
async fn finished_comes_again_after_a_failure_and_after_a_kill() {
    // Only the status counts, however long the body is.
    let mut receiver = Receiver::start(|_| (500, "x".repeat(100_000))).await;
    let setup = receiver.of(Setup::new(), "finished");
    let server = setup.start().await;
    let client = Client::new(&server.url("/files")).unwrap();
    let uploaded = client.upload(Source::bytes("hello")).metadata("filename", "a.txt").send().await.unwrap();
    let id = uploaded.url.path_segments().unwrap().next_back().unwrap().to_owned();
    let first = receiver.next().await;
    assert_eq!(first.json["data"]["upload"]["id"], *id);
    assert_eq!(first.json["data"]["upload"]["metadata"]["filename"], "a.txt");
    // The same process tries again.
    let second = receiver.next().await;
    assert_eq!(second.json["data"]["attempt"], 2);
    server.kill().await;
    // So does the next one; only its receiver agrees.
    let mut receiver = Receiver::start(|_| (200, "x".repeat(100_000))).await;
    let setup = receiver.of(setup, "finished");
    let server = setup.start().await;
    let third = receiver.next().await;
    for message in [&first, &second, &third] {
        assert_eq!(message.header("webhook-id"), first.header("webhook-id"));
        assert!(message.header("webhook-id").starts_with(&format!("finished_{id}_")));
        assert_eq!(message.json["data"]["upload"], first.json["data"]["upload"]);
        assert_eq!(message.header("webhook-signature"), message.signature(SECRET));
    }
    // Once it was agreed to, it does not come again: the next messages are of uploads that sweeps of another server find.
    let finished = async { while !setup.run(&["admin", "list", "--phase", "finished"]).await.1.contains(&id) {} };
    timeout(PATIENCE, finished).await.expect("it is finished");
    server.stop().await;
    let setup = receiver.of(setup, "finished,terminated").set("TUS_EXPIRES", "0.001");
    let server = setup.set("TUS_SWEEP_INTERVAL", "0.1").start().await;
    for _ in 0..3 {
        let created = create(&server, &[]).await;
        let message = receiver.next().await;
        assert_eq!((&message.json["type"], &message.json["data"]["cause"]), (&json!("terminated"), &json!("expired")));
        let id = message.json["data"]["upload"]["id"].as_str().unwrap();
        assert_eq!(created.headers()["location"], format!("/files/{id}"));
    }
    server.stop().await;
    assert!(receiver.try_next().is_none());
}
