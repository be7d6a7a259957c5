//! Many uploads at once in one server.

use std::{sync::Barrier, thread};

use crate::{
    content::{assert_same, bytes},
    harness::Server,
};

const UPLOADS: u64 = 64;

pub(crate) fn uploads_at_once_do_not_mix(server: Server) {
    let started = server.start();
    let all_began = Barrier::new(UPLOADS as usize);
    let upload = &|seed: u64| {
        let length = seed * seed * 97;
        let content = bytes(seed, 0..length);
        let mut connection = started.connect();
        let path = connection.create(length);
        let (first, second) = content.split_at(content.len() / 3);
        connection.begin_patch(&path, 0, length);
        connection.send(first);
        all_began.wait();
        connection.send(second);
        let response = connection.response("PATCH");
        assert_eq!((response.status, response.offset()), (204, length));
        (path, content)
    };
    let uploads: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..UPLOADS).map(|seed| scope.spawn(move || upload(seed))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (path, content) in uploads {
        assert_same(&started.content(&path), &content);
    }
}
