//! `tagout serve`.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, anyhow};
use tagout_retrieval::{Settings, serve as open_server};
use tagout_session::Home;

pub(crate) fn serve(listen: &str) -> anyhow::Result<u8> {
    let address: SocketAddr = listen
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(|| anyhow!("--listen is ADDRESS:PORT, such as 127.0.0.1:8000"))?;
    let home = Home::open(|name| std::env::var(name).ok())?;
    let settings = Settings::read(home.path())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .enable_all()
        .build()
        .context("cannot start the server's threads")?;
    runtime.block_on(async {
        let serving = open_server(home.path(), address, settings).await?;
        let address = serving.address()?;
        eprintln!("tagout: serving http://{address}/ (pages: http://{address}/pebblo/)");
        if let Some(proxy) = serving.proxy_address() {
            eprintln!("tagout: in front of Qdrant on http://{proxy}/");
        }
        if !address.ip().is_loopback() {
            eprintln!(
                "tagout: every request needs the token in {}",
                home.path().join("retrieval-token").display()
            );
        }
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            () = serving.run() => {}
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        Ok::<_, anyhow::Error>(())
    })?;
    // A handler that still works on a request is not waited for: its transaction counts or it does not.
    runtime.shutdown_background();
    Ok(0)
}
