//! The program as a whole, with `curl`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_bot-platform");

/// A running bot platform on a free port.
struct Program {
    process: Child,
    url: String,
}

impl Program {
    fn start() -> Self {
        let mut process =
            Command::new(BINARY).args(["--port", "0"]).stdout(Stdio::piped()).spawn().expect("the program starts");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let url = lines.find_map(|line| Some(line.ok()?.split_once("is at ")?.1.to_owned()));
        // Its later output is read too, so that it can go on printing.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, url: url.expect("the program prints its URL") }
    }

    /// Status and body of a response.
    fn curl(&self, path: &str, options: &[&str]) -> (String, Value) {
        let url = format!("{}{path}", self.url);
        let output = Command::new("curl").args(["-sS", "-w", "\n%{http_code}", &url]).args(options).output();
        let output = output.unwrap_or_else(|error| panic!("curl cannot be started ({error}): install it"));
        let output = String::from_utf8(output.stdout).unwrap();
        let (body, status) = output.rsplit_once('\n').expect("curl writes the status");
        (status.to_owned(), serde_json::from_str(body).unwrap_or_default())
    }

    fn deliver(&self, token: &str, event_id: &str) -> String {
        let headers = [format!("authorization: Bearer {token}"), format!("x-8x8-event-id: {event_id}")];
        let options = [
            "-H",
            "x-app-token: sandbox-app-token",
            "-H",
            "content-type: application/json",
            "-H",
            &headers[0],
            "-H",
            &headers[1],
            "--data",
            r#"{"conversationId":"c"}"#,
        ];
        self.curl("/v1/liveAgent/receiveMessage", &options).0
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn curl_logs_in_delivers_an_event_and_reads_it_back() {
    let program = Program::start();
    let form = "grant_type=password&clientid=sandbox-app-token&username=sandbox-bot-user&password=sandbox-bot-password";
    let (status, tokens) = program.curl("/tenant-users/oauth2/token", &["--data", form]);
    assert_eq!(status, "200");
    let token = tokens["access_token"].as_str().expect("an access token");

    assert_eq!(program.deliver("wrong", "e"), "401");
    assert_eq!(program.deliver(token, "e"), "200");
    assert_eq!(program.deliver(token, "e"), "200");
    let receipt = json!({ "event_id": "e", "body": "eyJjb252ZXJzYXRpb25JZCI6ImMifQ==" });
    assert_eq!(program.curl("/_control/receipts", &[]).1, json!({ "c": [receipt] }), "a repeat is dropped");

    let refusal = r#"{"conversation_id":"c","status":503}"#;
    assert_eq!(program.curl("/_control/refusals", &["--data", refusal]).0, "204");
    assert_eq!(program.deliver(token, "f"), "503");
    assert_eq!(program.curl("/_control/refusals/c", &["-X", "DELETE"]).0, "204");
    program.curl("/_control/faults", &["--data", r#"{"fault":"bot-500"}"#]);
    assert_eq!(program.deliver(token, "f"), "500");
    assert_eq!(program.deliver(token, "f"), "200");
    assert_eq!(program.curl("/_control/refusals", &[]).1, json!({ "401": 1, "500": 1, "503": 1 }));
    assert_eq!(program.curl("/_control/violations", &[]).1, json!([]));
}

#[test]
fn the_control_api_answers_only_to_names_of_this_machine() {
    let program = Program::start();
    assert_eq!(program.curl("/_control/receipts", &["-H", "Host: attacker.example"]).0, "421");
}
