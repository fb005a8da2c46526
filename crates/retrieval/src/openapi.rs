//! `GET /openapi.json`, written from the table of routes.

use serde_json::{Map, Value, json};

use crate::SERVER_VERSION;
use crate::routes::ROUTES;

/// The description of the API (OpenAPI 3.1).
pub(crate) fn description() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let mut operation = json!({
            "summary": route.summary,
            "responses": {"200": {"description": "Done."}},
        });
        if !route.parameters.is_empty() {
            let parameters = route.parameters.iter();
            operation["parameters"] = parameters
                .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}))
                .collect();
        }
        if !route.required.is_empty() {
            operation["requestBody"] = json!({"required": true, "content": {"application/json": {
                "schema": {"type": "object", "required": route.required},
            }}});
            operation["responses"]["422"] =
                json!({"description": "Something required is missing: {\"detail\": [...]}."});
        }
        let entry = paths.entry(route.path).or_insert_with(|| json!({}));
        entry[route.method.as_str().to_lowercase()] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Tagout retrieval, compatible with Pebblo", "version": SERVER_VERSION},
        "paths": paths,
        "components": {"securitySchemes": {
            "identity": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            "server": {"type": "apiKey", "in": "header", "name": "x-tagout-token"},
        }},
    })
}
