//! Which request the code that runs is about, for whoever writes log lines. It costs a request nothing but the room for
//! its id: a span would be made and formatted for each, though hardly any request has something to log.

use std::{cell::Cell, future::Future};

/// Length of a request id.
const ID: usize = 36;

/// A request by its id, and by its action once that is known.
#[derive(Clone)]
pub(crate) struct Request {
    id: [u8; ID],
    action: Cell<&'static str>,
}

tokio::task_local! {
    static REQUEST: Request;
}

impl Request {
    /// A request whose id has 36 characters, as all have that are made here.
    pub fn new(id: &str, action: &'static str) -> Self {
        let mut bytes = [b'-'; ID];
        let length = id.len().min(ID);
        bytes[..length].copy_from_slice(&id.as_bytes()[..length]);
        Request { id: bytes, action: Cell::new(action) }
    }

    /// Runs a future for it.
    pub async fn run<T>(self, future: impl Future<Output = T>) -> T {
        REQUEST.scope(self, future).await
    }
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
        let work = async {
            assert_eq!(seen(), Some((id.clone(), "unknown")));
            action("Encrypt");
            tokio::task::yield_now().await;
            assert_eq!(seen(), Some((id.clone(), "Encrypt")));
            tokio::spawn(carried(async { seen() })).await.unwrap()
        };
        let seen_by_a_task = Request::new(&id, "unknown").run(work).await;
        assert_eq!(seen(), None);
        assert_eq!(seen_by_a_task, Some((id.clone(), "Encrypt")));
        assert_eq!(within(&id, "Decrypt", seen), Some((id, "Decrypt")));
        action("nobody is asking");
        assert_eq!(within("short", "x", seen).unwrap().0.len(), ID);
    }
}
