//! The world's HTTP/2: an origin that remembers what it was sent, field by field, and a client that
//! can say anything that the `h2` crate lets it say.

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{HOST, Seen, World};

/// Serves a connection: `/stream` answers each piece of content when it comes and ends in trailers,
/// `/trailers` says in its trailers what it was authorised with, all others say hello.
pub(crate) async fn serve(seen: &Seen, stream: impl AsyncRead + AsyncWrite + Unpin) {
    *seen.connections.lock().unwrap() += 1;
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (parts, body) = request.into_parts();
        let mut text = format!("{} {}\n", parts.method, parts.uri);
        for (name, value) in &parts.headers {
            text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
        }
        text.push('\n');
        let index = {
            let mut requests = seen.requests.lock().unwrap();
            requests.push(text.into_bytes());
            requests.len() - 1
        };
        // The stream's own task may not outlive the world, but the sections below never block.
        let requests = std::sync::Arc::clone(&seen.requests);
        let keep = move |bytes: &[u8]| requests.lock().unwrap()[index].extend(bytes);
        tokio::spawn(answer(parts, body, respond, keep));
    }
}

async fn answer(
    parts: http::request::Parts,
    mut body: RecvStream,
    mut respond: h2::server::SendResponse<Bytes>,
    keep: impl Fn(&[u8]),
) {
    let path = parts.uri.path();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    if let Some(value) = parts.headers.get("authorization") {
        trailers.insert("x-echo", value.clone());
    }
    let mut response = Response::new(());
    if path == "/alone" {
        response.headers_mut().extend(trailers);
        respond.send_response(response, true).unwrap();
        return;
    }
    if path == "/stream" {
        let mut answer = respond.send_response(response, false).unwrap();
        while let Some(Ok(data)) = body.data().await {
            keep(&data);
            let _ = body.flow_control().release_capacity(data.len());
            if answer.send_data(data, false).is_err() {
                return;
            }
        }
        let _ = answer.send_trailers(trailers);
        return;
    }
    while let Some(Ok(data)) = body.data().await {
        keep(&data);
        let _ = body.flow_control().release_capacity(data.len());
    }
    if let Ok(Some(fields)) = body.trailers().await {
        keep(format!("{fields:?}").as_bytes());
    }
    let Ok(mut answer) = respond.send_response(response, false) else {
        return;
    };
    let _ = answer.send_data(Bytes::from_static(b"hello"), path != "/trailers");
    if path == "/trailers" {
        let _ = answer.send_trailers(trailers);
    }
}

/// A client on a connection of its own.
pub(crate) struct Client {
    pub(crate) sender: SendRequest<Bytes>,
}

/// An answer as the client sees it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    pub(crate) content: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    /// The structured refusal, which must be one.
    pub(crate) fn refusal(&self) -> serde_json::Value {
        serde_json::from_slice(&self.content).unwrap_or_else(|_| panic!("no refusal: {self:?}"))
    }
}

/// A well-formed request to the granted host.
pub(crate) fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("https://{HOST}{path}"))
}

impl Client {
    pub(crate) async fn connect(world: &World) -> Self {
        let (stream, chosen) = world.tls_offering(&[b"h2", b"http/1.1"]).await.unwrap();
        assert_eq!(chosen.as_deref(), Some(&b"h2"[..]));
        Self::over(stream).await
    }

    pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { sender }
    }

    /// Sends a request, whole, and reads its answer to the end.
    pub(crate) async fn ask(
        &self,
        request: http::request::Builder,
        content: &[u8],
        trailers: Option<HeaderMap>,
    ) -> Result<Answer, h2::Error> {
        let mut sender = self.sender.clone().ready().await?;
        let is_whole = content.is_empty() && trailers.is_none();
        let (response, mut stream) = sender.send_request(request.body(()).unwrap(), is_whole)?;
        if !is_whole {
            // The gate may answer, and reset the rest, at any time.
            let _ = stream.send_data(Bytes::copy_from_slice(content), trailers.is_none());
            if let Some(trailers) = trailers {
                let _ = stream.send_trailers(trailers);
            }
        }
        read(response.await?).await
    }
}

/// Reads an answer to its end.
pub(crate) async fn read(response: Response<RecvStream>) -> Result<Answer, h2::Error> {
    let (parts, mut body) = response.into_parts();
    let mut content = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        content.extend(data);
    }
    Ok(Answer {
        status: parts.status.as_u16(),
        fields: parts.headers,
        content,
        trailers: body.trailers().await?,
    })
}
