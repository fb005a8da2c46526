//! A vector store behind the proxy of `tagout serve`, with points in it.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::qdrant::{KEY, Qdrant};
use crate::retrieval::{Serve, ask, settings, token};
use crate::{Person, World};

/// A store with points behind the proxy.
pub struct Shielded {
    // Both end with the test.
    _world: World,
    pub store: Qdrant,
    pub server: Serve,
    pub proxy: SocketAddr,
}

impl Shielded {
    /// With these points, and readers of nobody in particular by default.
    pub fn start(points: &Value) -> Shielded {
        Shielded::start_with("", points)
    }

    /// With these points and these further settings.
    pub fn start_with(more: &str, points: &Value) -> Shielded {
        Shielded::start_in(World::new(Person::ordinary()), more, points)
    }

    /// In this world.
    pub fn start_in(world: World, more: &str, points: &Value) -> Shielded {
        let store = Qdrant::start();
        world.write_home(".local/state/tagout/qdrant.key", KEY);
        settings(
            &world,
            &format!(
                "{more}\n[qdrant]\nlisten = \"127.0.0.1:0\"\nupstream = \"http://{}\"\napi_key_file = {:?}\nwriters = [\"ingest\"]\n",
                store.address(),
                world.tagout_home().join("qdrant.key").display().to_string(),
            ),
        );
        let server = Serve::start(&world, true);
        let proxy = server.proxy.expect("a proxy");
        let shielded = Shielded {
            _world: world,
            store,
            server,
            proxy,
        };
        let writer = token("loader", &["ingest"]);
        let vectors = json!({"vectors": {"size": 2, "distance": "Cosine"}});
        assert_eq!(
            shielded
                .ask_as(&writer, "PUT", "/collections/docs", &vectors)
                .0,
            200
        );
        assert_eq!(
            shielded
                .ask_as(
                    &writer,
                    "PUT",
                    "/collections/docs/points",
                    &json!({"points": points})
                )
                .0,
            200
        );
        shielded
    }

    /// Which of these points the proxy hands to `user`.
    pub fn ids(&self, user: &str, ids: &[u64]) -> Vec<u64> {
        let (status, text) = self.ask_as(
            &token(user, &[]),
            "POST",
            "/collections/docs/points",
            &json!({"ids": ids}),
        );
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        let items = answer["result"].as_array().expect("a list");
        items
            .iter()
            .filter_map(|item| item["id"].as_u64())
            .collect()
    }

    /// Asks the proxy as the bearer of `token`.
    pub fn ask_as(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, String) {
        let authorization = format!("authorization: Bearer {token}");
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, _, text) = ask(self.proxy, method, path, &[&authorization], &body);
        (status, text)
    }
}

/// A point whose readers and rest of the payload are these.
pub fn point(id: u64, text: &str, readers: &[&str], more: &Value) -> Value {
    let mut metadata = more.clone();
    metadata["authorized_identities"] = json!(readers);
    json!({"id": id, "vector": [1.0, id as f64 / 100.0], "payload": {"page_content": text, "metadata": metadata}})
}

/// One of Ann's and one of Bob's.
pub fn points() -> Value {
    json!([
        point(1, "Ann drinks tea.", &["ann"], &json!({"source": "/a"})),
        point(2, "Bob drinks coffee.", &["bob"], &json!({"source": "/b"})),
    ])
}
