//! Which request the code that runs is about, for whoever writes log lines. It costs a request nothing but the room for
//! its id: a span would be made and formatted for each, though hardly any request has something to log.

use std::{cell::Cell, future::Future};

/// Length of a request id.
const ID: usize = 36;

#[derive(Clone)]
struct Request {
    id: [u8; ID],
    action: Cell<&'static str>,
}

tokio::task_local! {
    static REQUEST: Request;
}

impl Request {
    fn new(id: &str, action: &'static str) -> Self {
        let mut bytes = [b'-'; ID];
        let length = id.len().min(ID);
        bytes[..length].copy_from_slice(&id.as_bytes()[..length]);
        Request { id: bytes, action: Cell::new(action) }
    }
}

/// Runs a future for a request.
pub(crate) async fn request<T>(id: &str, action: &'static str, future: impl Future<Output = T>) -> T {
    REQUEST.scope(Request::new(id, action), future).await
}

/// It has become known what the request wants.
pub(crate) fn action(name: &'static str) {
    // Without a request there is nothing to note.
    let _ = REQUEST.try_with(|request| request.action.set(name));
}

/// A future that goes on for the present request in a task of its own.
pub(crate) fn carried<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let request = REQUEST.try_with(Clone::clone).ok();
    async move {
        match request {
            Some(request) => REQUEST.scope(request, future).await,
            None => future.await,
        }
    }
}

/// Runs a function for a request that has been answered.
pub fn within<T>(id: &str, action: &'static str, then: impl FnOnce() -> T) -> T {
    REQUEST.sync_scope(Request::new(id, action), then)
}

/// Hands id and action of the present request, if there is one, to a function.
pub fn current<T>(then: impl FnOnce(Option<(&str, &'static str)>) -> T) -> T {
    let Ok(request) = REQUEST.try_with(Clone::clone) else { return then(None) };
    then(Some((std::str::from_utf8(&request.id).unwrap_or("-"), request.action.get())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Option<(String, &'static str)> {
        current(|request| request.map(|(id, action)| (id.to_owned(), action)))
    }

    #[tokio::test]
    async fn a_request_is_known_within_it() {
        let id = crate::pipeline::request_id();
        assert_eq!(seen(), None);
        let carried = request(&id, "unknown", async {
            assert_eq!(seen(), Some((id.clone(), "unknown")));
            action("Encrypt");
            tokio::task::yield_now().await;
            assert_eq!(seen(), Some((id.clone(), "Encrypt")));
            carried(async { seen() })
        })
        .await;
        assert_eq!(seen(), None);
        assert_eq!(tokio::spawn(carried).await.unwrap(), Some((id.clone(), "Encrypt")));
        assert_eq!(within(&id, "Decrypt", seen), Some((id, "Decrypt")));
        action("nobody is asking");
        assert_eq!(within("short", "x", seen).unwrap().0.len(), ID);
    }
}
