//! The floor: what hyper alone costs for a request and an answer of the same sizes.

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, io::Write};
use tokio::net::TcpListener;

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Length of the answer's body in bytes
    #[arg(long, default_value_t = 300)]
    size: usize,
}

/// Serves until it is killed. The first line of standard output is the address.
pub fn run(options: &Options) -> Result<()> {
    let body = body(options.size);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(body))
}

async fn serve(body: Bytes) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let body = body.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, body.clone()));
            // A connection that the load closes in the middle is its own business.
            http1::Builder::new().pipeline_flush(true).serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

/// Reads the body as any server must, and answers the same to everything.
async fn answer(request: Request<Incoming>, body: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    request.into_body().collect().await.ok();
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    Ok(response)
}

fn body(size: usize) -> Bytes {
    let (head, tail) = (r#"{"Response":{"Fixed":""#, r#""}}"#);
    let middle = "x".repeat(size.saturating_sub(head.len() + tail.len()));
    Bytes::from([head, &middle, tail].concat())
}
