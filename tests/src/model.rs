//! A scripted model: what the provider of an agent's model would answer, without a model.
//!
//! It speaks the dialects of the agents under test, Anthropic Messages, OpenAI Responses and Chat
//! Completions, and Gemini, streaming and not. The script is a list of shell commands; **which one comes next is told by the
//! number of tool results already in the conversation**, so a client that sends its request again gets
//! the same step again. Arguments are cut into small pieces and every frame into two writes, because
//! real streams are.

use crate::{Answer, Received};
use serde_json::{Value, json};

/// What the model wants done, and what it says in the end.
#[derive(Clone, Debug)]
pub struct Script {
    commands: Vec<String>,
    farewell: String,
}

impl Script {
    /// The model runs each command with the agent's shell tool, then says `farewell`.
    pub fn new(commands: &[&str], farewell: &str) -> Script {
        Script {
            commands: commands.iter().map(|&command| command.into()).collect(),
            farewell: farewell.into(),
        }
    }

    /// The provider's answer to a request.
    pub fn answer(&self, request: &Received) -> Answer {
        if request.header("upgrade").is_some() {
            // Codex tries WebSocket first and falls back to events at this status alone.
            return Answer::new(426, "application/json", "{}");
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match (request.method.as_str(), request.path()) {
            ("POST", path) if path.ends_with("/count_tokens") => {
                Answer::json(&json!({"input_tokens": 1}))
            }
            ("POST", path) if path.ends_with("/messages") => self.messages(&body),
            ("POST", path) if path.ends_with("/responses") => self.responses(&body),
            ("POST", path) if path.ends_with("/chat/completions") => self.chat(&body),
            ("POST", path) if path.ends_with(":streamGenerateContent") => {
                Script::streamed(self.gemini(&body))
            }
            ("POST", path) if path.ends_with(":generateContent") => self.gemini(&body),
            // What Gemini CLI asks about the account that is logged in.
            ("POST", "/v1internal:loadCodeAssist") => Answer::json(&json!({
                "currentTier": {"id": "standard-tier", "name": "Standard"},
                "paidTier": {"id": "standard-tier", "name": "Standard"},
                "allowedTiers": [{"id": "standard-tier", "name": "Standard", "isDefault": true}],
                "cloudaicompanionProject": "project-1",
            })),
            // What Codex asks: of which workspace the login is, and where that lives.
            ("GET", "/backend-api/wham/accounts/check") => Answer::json(&json!({
                "accounts": [{
                    "id": "acc-1", "name": "Person", "structure": "personal", "plan_type": "plus",
                    "can_access_with_session": true, "is_deactivated": false,
                    "is_fedramp_compliant_workspace": false, "profile_picture_url": null,
                    "sso_connection_name": null, "workspace_backend_origin": "https://chatgpt.com",
                    "account_routing_override": "NO_CONSTRAINT",
                }],
                "account_ordering": ["acc-1"], "default_account_id": "acc-1",
            })),
            // What Copilot asks: whose login it is, and which models that has.
            ("GET", "/copilot_internal/user") => Answer::json(&json!({
                "login": "person", "copilot_plan": "individual", "chat_enabled": true,
                "cli_enabled": true, "quota_snapshots": {},
                "endpoints": {"api": "https://api.individual.githubcopilot.com"},
            })),
            ("GET", "/models") => Answer::json(&json!({
                "object": "list",
                "data": [{
                    "id": "gpt-5-mini", "name": "scripted", "object": "model", "version": "1",
                    "vendor": "test", "preview": false, "model_picker_enabled": true,
                    "policy": {"state": "enabled", "terms": ""},
                    "supported_endpoints": ["/chat/completions"],
                    "capabilities": {
                        "family": "gpt-5-mini", "type": "chat", "object": "model_capabilities",
                        "tokenizer": "o200k_base",
                        "limits": {
                            "max_context_window_tokens": 128_000, "max_output_tokens": 16_000,
                            "max_prompt_tokens": 120_000,
                        },
                        "supports": {"streaming": true, "tool_calls": true},
                    },
                }],
            })),
            ("GET" | "POST", "/tokeninfo") => Answer::json(&json!({
                "expires_in": 3000, "scope": "https://www.googleapis.com/auth/cloud-platform",
            })),
            _ => Answer::json(&json!({})),
        }
    }

    fn step(&self, body: &Value, results: usize) -> Step {
        match (self.commands.get(results), ShellTool::offered(body)) {
            (Some(command), Some(tool)) => Step::Call {
                arguments: tool.arguments(command).to_string(),
                tool: tool.name,
                number: results,
            },
            (Some(_), None) => Step::Say("nothing to do".into()),
            (None, _) => Step::Say(self.farewell.clone()),
        }
    }

    /// Anthropic Messages.
    fn messages(&self, body: &Value) -> Answer {
        let step = self.step(body, count(body, "messages", "tool_result"));
        let (block, stop_reason) = match &step {
            Step::Say(text) => (json!({"type": "text", "text": text}), "end_turn"),
            Step::Call {
                tool,
                arguments,
                number,
            } => {
                let input: Value = serde_json::from_str(arguments).expect("our own arguments");
                let id = format!("toolu_test_{number}");
                (
                    json!({"type": "tool_use", "id": id, "name": tool, "input": input}),
                    "tool_use",
                )
            }
        };
        let message = |content: Value, stop_reason: Value| {
            json!({
                "id": "msg_test", "type": "message", "role": "assistant",
                "model": body["model"], "content": content,
                "stop_reason": stop_reason, "stop_sequence": null,
                "usage": {"input_tokens": 1, "output_tokens": 1},
            })
        };
        if body["stream"] != true {
            return Answer::json(&message(json!([block]), json!(stop_reason)));
        }

        let mut frames = Frames::default();
        frames.push(json!({"type": "message_start", "message": message(json!([]), Value::Null)}));
        let (opened, kind, text) = match &step {
            Step::Say(text) => (json!({"type": "text", "text": ""}), "text", text),
            Step::Call { arguments, .. } => {
                let mut opened = block.clone();
                opened["input"] = json!({});
                (opened, "partial_json", arguments)
            }
        };
        frames.push(json!({"type": "content_block_start", "index": 0, "content_block": opened}));
        let delta = if kind == "text" {
            "text_delta"
        } else {
            "input_json_delta"
        };
        for piece in pieces(text) {
            let delta = json!({"type": delta, kind: piece});
            frames.push(json!({"type": "content_block_delta", "index": 0, "delta": delta}));
        }
        frames.push(json!({"type": "content_block_stop", "index": 0}));
        frames.push(json!({
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason, "stop_sequence": null},
            "usage": {"output_tokens": 1},
        }));
        frames.push(json!({"type": "message_stop"}));
        frames.into_answer()
    }

    /// OpenAI Responses.
    fn responses(&self, body: &Value) -> Answer {
        let step = self.step(body, count(body, "input", "_call_output"));
        let item = match &step {
            Step::Say(text) => json!({
                "type": "message", "id": "msg_test", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": text, "annotations": []}],
            }),
            Step::Call {
                tool,
                arguments,
                number,
            } => json!({
                "type": "function_call", "id": format!("fc_test_{number}"),
                "call_id": format!("call_test_{number}"), "name": tool,
                "arguments": arguments, "status": "completed",
            }),
        };
        let response = |status: &str, output: Value| {
            json!({
                "id": "resp_test", "object": "response", "created_at": 0, "status": status,
                "model": body["model"], "output": output,
                "usage": {
                    "input_tokens": 1, "input_tokens_details": {"cached_tokens": 0},
                    "output_tokens": 1, "output_tokens_details": {"reasoning_tokens": 0},
                    "total_tokens": 2,
                },
            })
        };
        if body["stream"] != true {
            return Answer::json(&response("completed", json!([item])));
        }

        let mut frames = Frames::default();
        let begun = response("in_progress", json!([]));
        frames.push(json!({"type": "response.created", "response": begun}));
        let mut opened = item.clone();
        match &step {
            Step::Say(_) => opened["content"] = json!([]),
            Step::Call { .. } => opened["arguments"] = json!(""),
        }
        frames
            .push(json!({"type": "response.output_item.added", "output_index": 0, "item": opened}));
        let (kind, text) = match &step {
            Step::Say(text) => ("response.output_text.delta", text),
            Step::Call { arguments, .. } => ("response.function_call_arguments.delta", arguments),
        };
        for piece in pieces(text) {
            frames.push(json!({
                "type": kind, "item_id": item["id"], "output_index": 0, "content_index": 0,
                "delta": piece,
            }));
        }
        frames.push(json!({"type": "response.output_item.done", "output_index": 0, "item": item}));
        let done = response("completed", json!([item]));
        frames.push(json!({"type": "response.completed", "response": done}));
        frames.into_answer()
    }
}

impl Script {
    /// OpenAI Chat Completions.
    fn chat(&self, body: &Value) -> Answer {
        let messages = body["messages"].as_array().map(Vec::as_slice);
        let results = messages.unwrap_or_default().iter();
        let results = results.filter(|message| message["role"] == "tool").count();
        let (message, reason) = match self.step(body, results) {
            Step::Say(text) => (json!({"role": "assistant", "content": text}), "stop"),
            Step::Call {
                tool,
                arguments,
                number,
            } => {
                let call = json!({
                    "index": 0, "id": format!("call_test_{number}"), "type": "function",
                    "function": {"name": tool, "arguments": arguments},
                });
                let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
                (message, "tool_calls")
            }
        };
        let usage = json!({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2});
        let answer = |kind: &str, choice: Value| {
            json!({
                "id": "chat_test", "object": kind, "created": 0, "model": body["model"],
                "choices": [choice], "usage": usage,
            })
        };
        if body["stream"] != true {
            let choice = json!({"index": 0, "message": message, "finish_reason": reason});
            return Answer::json(&answer("chat.completion", choice));
        }
        let chunk = |delta: Value, reason: Value| {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
            let chunk = answer("chat.completion.chunk", choice);
            format!("data: {chunk}\n\n").into_bytes()
        };
        Answer {
            status: 200,
            headers: vec![("content-type".into(), "text/event-stream".into())],
            pieces: vec![
                chunk(message, Value::Null),
                chunk(json!({}), json!(reason)),
                b"data: [DONE]\n\n".to_vec(),
            ],
        }
    }

    /// Gemini, as itself and wrapped as Google's login wants it; streaming by the client's word only.
    fn gemini(&self, body: &Value) -> Answer {
        let wrapped = body["request"].is_object();
        let request = if wrapped { &body["request"] } else { body };
        let contents = request["contents"].as_array();
        let parts = contents
            .into_iter()
            .flatten()
            .flat_map(|content| content["parts"].as_array().into_iter().flatten());
        let results = parts
            .filter(|part| part["functionResponse"].is_object())
            .count();
        let part = match self.step(request, results) {
            Step::Say(text) => json!({"text": text}),
            Step::Call {
                tool, arguments, ..
            } => {
                let arguments: Value = serde_json::from_str(&arguments).expect("our own arguments");
                json!({"functionCall": {"name": tool, "args": arguments}})
            }
        };
        let answer = json!({
            "candidates": [{
                "content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0,
            }],
            "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
            "modelVersion": "scripted",
        });
        let answer = if wrapped {
            json!({"response": answer})
        } else {
            answer
        };
        Answer::json(&answer)
    }

    /// The same, as the client asked: its path says whether it reads a stream.
    fn streamed(answer: Answer) -> Answer {
        let body = answer.pieces.concat();
        let frame = [b"data: ".as_slice(), &body, b"\r\n\r\n"].concat();
        let (first, second) = frame.split_at(frame.len() / 2);
        Answer {
            status: 200,
            headers: vec![("content-type".into(), "text/event-stream".into())],
            pieces: vec![first.to_vec(), second.to_vec()],
        }
    }
}

enum Step {
    Say(String),
    Call {
        tool: String,
        arguments: String,
        number: usize,
    },
}

/// The shell tool that an agent offers: its name, and how it wants the command.
struct ShellTool {
    name: String,
    argument: &'static str,
    as_list: bool,
    /// Whether it wants to be told in words what the command does.
    described: bool,
}

impl ShellTool {
    fn offered(body: &Value) -> Option<ShellTool> {
        const NAMES: &[&str] = &[
            "Bash",
            "bash",
            "exec_command",
            "shell",
            "shell_command",
            "run_shell_command",
        ];
        let tools = body["tools"].as_array()?.iter().flat_map(|tool| {
            // Gemini puts all of them into one.
            let declared = tool["functionDeclarations"].as_array();
            declared.map_or_else(|| vec![tool], |declared| declared.iter().collect())
        });
        tools.into_iter().find_map(|tool| {
            // Chat Completions has each in a wrapping of its own.
            let tool = Some(&tool["function"])
                .filter(|it| it.is_object())
                .unwrap_or(tool);
            let name = tool["name"].as_str().filter(|name| NAMES.contains(name))?;
            let schema = ["input_schema", "parameters", "parametersJsonSchema"]
                .into_iter()
                .map(|name| &tool[name])
                .find(|schema| schema.is_object())?;
            let argument = ["command", "cmd"]
                .into_iter()
                .find(|&argument| schema["properties"][argument].is_object())?;
            Some(ShellTool {
                name: name.into(),
                argument,
                as_list: schema["properties"][argument]["type"] == "array",
                described: schema["properties"]["description"].is_object(),
            })
        })
    }

    fn arguments(&self, command: &str) -> Value {
        if self.as_list {
            json!({self.argument: ["bash", "-c", command]})
        } else if self.described {
            json!({self.argument: command, "description": "The next step"})
        } else {
            json!({self.argument: command})
        }
    }
}

/// How many items of a kind (by the end of its name) the conversation under `key` has.
fn count(body: &Value, key: &str, kind: &str) -> usize {
    let is_kind = |item: &Value| {
        item["type"]
            .as_str()
            .is_some_and(|name| name.ends_with(kind))
    };
    let items = body[key].as_array().map(Vec::as_slice).unwrap_or_default();
    items
        .iter()
        .map(|item| {
            let blocks = item["content"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            usize::from(is_kind(item)) + blocks.iter().filter(|block| is_kind(block)).count()
        })
        .sum()
}

/// Server-sent events.
#[derive(Default)]
struct Frames {
    written: Vec<Vec<u8>>,
}

impl Frames {
    fn push(&mut self, mut event: Value) {
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        if kind.starts_with("response.") {
            event["sequence_number"] = json!(self.written.len() / 2);
        }
        let frame = format!("event: {kind}\ndata: {event}\n\n");
        let (first, second) = frame.as_bytes().split_at(frame.len() / 2);
        self.written.push(first.to_vec());
        self.written.push(second.to_vec());
    }

    fn into_answer(self) -> Answer {
        Answer {
            status: 200,
            headers: vec![
                ("content-type".into(), "text/event-stream".into()),
                ("cache-control".into(), "no-cache".into()),
            ],
            pieces: self.written,
        }
    }
}

/// A text in pieces of seven characters.
fn pieces(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters
        .chunks(7)
        .map(|piece| piece.iter().collect())
        .collect()
}
