//! The application's own handler at `/photos`, resumable, in each framework. It reports what it received, and does
//! what the header `X-Do` says.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Buf;
use futures_util::{Stream, TryStreamExt};
use tus_service::{Resumable, Resumed, Tus};

use crate::User;

/// Its path.
pub const PHOTOS: &str = "/photos";

/// Calls of the handler for each upload, and what those with `X-Do: wait` wait for.
static CALLS: Mutex<Option<HashMap<String, (u32, bool)>>> = Mutex::new(None);

fn calls_of_all() -> MutexGuard<'static, Option<HashMap<String, (u32, bool)>>> {
    CALLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often the handler was called in this process for the upload of this id.
pub fn calls(id: &str) -> u32 {
    calls_of_all().get_or_insert_default().get(id).map_or(0, |(calls, _)| *calls)
}

/// Lets the waiting calls for an upload continue.
pub fn let_go(id: &str) {
    calls_of_all().get_or_insert_default().entry(id.to_owned()).or_default().1 = true;
}

/// Makes it resumable: an upload belongs to its user.
pub fn resumable(tus: Tus) -> Resumable {
    Resumable::new(tus).owner(|head| head.extensions.get().map(|User(name)| name.clone()))
}

/// The handler's report of what it received.
pub fn got(method: &str, uri: &str, content: &[u8]) -> String {
    format!("{method} {uri}: {} bytes, {:016x}", content.len(), digest(DIGEST_OF_NOTHING, content))
}

const DIGEST_OF_NOTHING: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a.
fn digest(before: u64, content: &[u8]) -> u64 {
    content.iter().fold(before, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Handles a request: the status and the content of the response.
///
/// # Errors
///
/// The content of a request that cannot be read.
pub(crate) async fn handle<S, D, E>(
    resumed: Option<Resumed>,
    method: &str,
    uri: &str,
    action: Option<&str>,
    content: S,
) -> Result<(u16, String), E>
where
    S: Stream<Item = Result<D, E>>,
    D: Buf,
{
    let id = resumed.map_or_else(|| "none".to_owned(), |resumed| resumed.id.to_string());
    println!("called {id}");
    calls_of_all().get_or_insert_default().entry(id.clone()).or_default().0 += 1;
    if std::env::var_os("HANG_IN_HANDLER").is_some() {
        std::future::pending::<()>().await;
    }
    let mut content = std::pin::pin!(content);
    let (mut bytes, mut state) = (0, DIGEST_OF_NOTHING);
    while let Some(mut piece) = content.try_next().await? {
        while piece.has_remaining() {
            let chunk = piece.chunk();
            (bytes, state) = (bytes + chunk.len(), digest(state, chunk));
            piece.advance(chunk.len());
        }
    }
    let mut text = format!("{method} {uri}: {bytes} bytes, {state:016x}");
    match action {
        Some("wait") => {
            while !calls_of_all().get_or_insert_default().get(&id).is_some_and(|(_, go)| *go) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        Some("panic once") if calls(&id) == 1 => panic!("as the test wants it"),
        Some("be long") => {
            let _ = write!(text, "{}", ".".repeat(200_000));
        }
        Some("refuse") => return Ok((422, "no such photo, please".to_owned())),
        Some("break") => return Ok((500, "broken".to_owned())),
        _ => {}
    }
    Ok((200, text))
}
