//! The listener: TLS on the loopback interface under a certificate authority of its own, HTTP/1.1,
//! `POST /graphql/v2`. A JSON body is read whatever its content type says, as Railway's API reads
//! it: the incident's request was JSON labelled as a form.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::execute::{Fault, execute};
use crate::resolve::Viewer;
use crate::world::World;

/// The names under which the fake can be reached.
const NAMES: [&str; 2] = ["backboard.railway.com", "backboard.railway.app"];

/// The longest body that is read.
const LONGEST_BODY: usize = 1024 * 1024;

/// Starts fakes.
pub struct FakeRailway;

/// How a fake behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// What exists at the start.
    pub world: World,
    /// The most items that a page of a connection has, whatever `first` asks for.
    pub page_size: usize,
}

/// A fake that runs until it is dropped.
pub struct RunningFake {
    /// Where it listens: 127.0.0.1 and a port that the system chose.
    pub address: SocketAddr,
    /// The certificate authority that signed its certificate, as PEM.
    pub ca_pem: String,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct LoggedRequest {
    /// The method.
    pub method: String,
    /// The path, without query.
    pub path: String,
    /// `Host`, as sent.
    pub host: Option<String>,
    /// `Authorization`, as sent.
    pub authorization: Option<String>,
    /// `Project-Access-Token`, as sent.
    pub project_access_token: Option<String>,
    /// `Content-Type`, as sent.
    pub content_type: Option<String>,
    /// The body, as sent.
    pub body: Vec<u8>,
    /// The status that it was answered with.
    pub status: u16,
}

/// A fake could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No socket, thread or runtime.
    #[error("the fake Railway cannot listen on the loopback interface: {0}")]
    Io(#[from] std::io::Error),
    /// No certificate.
    #[error("the fake Railway cannot make its certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// No TLS.
    #[error("the fake Railway cannot use its certificate: {0}")]
    Tls(#[from] rustls::Error),
}

struct Shared {
    world: Mutex<World>,
    requests: Mutex<Vec<LoggedRequest>>,
    page_size: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            world: World::default(),
            page_size: 100,
        }
    }
}

impl FakeRailway {
    /// Starts a fake on a thread of its own. It answers as soon as this returns.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(options: Options) -> Result<RunningFake, StartError> {
        let (ca_pem, tls) = certificates()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            world: Mutex::new(options.world),
            requests: Mutex::new(Vec::new()),
            page_size: options.page_size.max(1),
        });
        let (stop, stopped) = oneshot::channel();
        let serving = serve(listener, TlsAcceptor::from(tls), Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("fake-railway".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = serving => {}
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(RunningFake {
            address,
            ca_pem,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl RunningFake {
    /// What exists now.
    pub fn state(&self) -> World {
        lock(&self.shared.world).clone()
    }

    /// Changes what exists.
    pub fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut lock(&self.shared.world));
    }

    /// Every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        lock(&self.shared.requests).clone()
    }
}

impl Drop for RunningFake {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread may have ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A thread that panicked while it held the lock left whole records behind; tests still want them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn certificates() -> Result<(String, Arc<rustls::ServerConfig>), StartError> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name
        .push(DnType::CommonName, "Fake Railway CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(NAMES.map(str::to_owned))?.signed_by(&key, &issuer)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((ca_pem, Arc::new(tls)))
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>) {
    loop {
        // A connection that was reset before it was accepted is none of the others' business.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(answer(&shared, request).await) }
            });
            // The client may go away at any time.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let field = |name: &str| {
        head.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let body = match Limited::new(body, LONGEST_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return reply(StatusCode::PAYLOAD_TOO_LARGE, &json!({ "errors": [] })),
    };
    let mut logged = LoggedRequest {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        host: field("host"),
        authorization: field("authorization"),
        project_access_token: field("project-access-token"),
        content_type: field("content-type"),
        body: body.to_vec(),
        status: 0,
    };
    let (status, response) = decide(shared, &head.method, &logged);
    logged.status = status.as_u16();
    lock(&shared.requests).push(logged);
    reply(status, &response)
}

/// Railway renders a token that it does not know as `Not Authorized`; its own command line goes by
/// that text (railwayapp/cli, src/client.rs). The status here is 401.
fn decide(shared: &Shared, method: &Method, request: &LoggedRequest) -> (StatusCode, Json) {
    if request.path != "/graphql/v2" {
        return (StatusCode::NOT_FOUND, json!({ "message": "Not Found" }));
    }
    if method != Method::POST {
        return (
            StatusCode::METHOD_NOT_ALLOWED,
            json!({ "errors": [Fault::new("Use POST.").to_json(None)] }),
        );
    }
    let mut world = lock(&shared.world);
    let Some(viewer) = viewer(&world, request) else {
        return (
            StatusCode::UNAUTHORIZED,
            json!({ "errors": [Fault::not_authorized().to_json(None)], "data": null }),
        );
    };
    match serde_json::from_slice::<Json>(&request.body) {
        Ok(Json::Array(batch)) => {
            let responses = batch
                .iter()
                .map(|request| execute(&mut world, &viewer, shared.page_size, request))
                .collect();
            (StatusCode::OK, Json::Array(responses))
        }
        Ok(single) => {
            let response = execute(&mut world, &viewer, shared.page_size, &single);
            // A request that was never executed has no data at all.
            let status = match response.get("data") {
                Some(_) => StatusCode::OK,
                None => StatusCode::BAD_REQUEST,
            };
            (status, response)
        }
        Err(_) => (
            StatusCode::BAD_REQUEST,
            json!({ "errors": [Fault::new("The body is not JSON.").to_json(None)] }),
        ),
    }
}

fn viewer(world: &World, request: &LoggedRequest) -> Option<Viewer> {
    if let Some(value) = &request.project_access_token {
        let token = world.project_tokens.iter().find(|it| it.value == *value)?;
        return Some(Viewer::Project(token.clone()));
    }
    let value = request
        .authorization
        .as_deref()?
        .strip_prefix("Bearer ")?
        .trim();
    let token = world.account_tokens.iter().find(|it| it.value == value)?;
    let user = world.users.iter().find(|it| it.id == token.user_id)?;
    Some(Viewer::Account(user.clone()))
}

fn reply(status: StatusCode, body: &Json) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json; charset=utf-8"),
    );
    response
}
