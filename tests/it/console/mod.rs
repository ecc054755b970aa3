//! The console page of `make run`, in a real browser.

mod requests;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use chromiumoxide::page::ScreenshotParams;
use contact_center::FailureKind;
use http::{Method, Request, StatusCode};
use sandbox::console::{self, Console};
use sandbox::deployment::FUNCTIONS;
use sandbox::verdict::Verdict;
use sandbox::{Sandbox, SandboxSettings};
use serde_json::{Value, json};
use simulation::client::Client;
use simulation::faults::When;

use crate::browser::Visit;
use crate::support::{PATIENCE, received};

/// A sandbox with a registered channel, a token and a console.
pub struct Stage {
    pub sandbox: Arc<Sandbox>,
    pub channel_id: String,
    console: Console,
}

impl Stage {
    pub async fn start(record: Option<&Path>) -> Self {
        Self::with(SandboxSettings::default(), record).await
    }

    pub async fn with(settings: SandboxSettings, record: Option<&Path>) -> Self {
        let settings = SandboxSettings { time_scale: 20, ..settings };
        let sandbox = Arc::new(Sandbox::start(settings).await);
        sandbox.journal.observe(record).expect("the recording can be written");
        let channel_id = sandbox.register("101").await.expect("the channel can be registered");
        sandbox.refresh_tokens().await.expect("the first token");
        let listener = console::listen(Some(0)).await.expect("a free port");
        let console = Console::start(Arc::clone(&sandbox), listener).expect("it has an address");
        Self { sandbox, channel_id, console }
    }

    /// The only conversation that there is.
    pub fn conversation(&self) -> String {
        let mut ids = self.sandbox.contact_center.conversation_ids();
        assert_eq!(ids.len(), 1, "{ids:?}");
        ids.remove(0)
    }

    /// Sends a request as the page does, and gives status and response.
    pub async fn request(&self, method: Method, path: &str, body: &Value) -> (StatusCode, Bytes) {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.console.url()));
        let request = request.header("content-type", "application/json").body(Bytes::from(body.to_string()));
        let response = Client::new().send(request.expect("a request")).await.expect("the console responds");
        (response.status(), response.into_body())
    }

    pub async fn check(&self) {
        assert!(self.sandbox.settle(PATIENCE).await, "events are stuck");
        let verdict = Verdict::on(&self.sandbox).await;
        assert!(verdict.failures.is_empty(), "{verdict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(has_chromium), ignore = "needs chromium on the PATH")]
async fn a_whole_hand_over_with_an_outage_is_played_by_clicks() {
    let stage = Stage::start(None).await;
    let visit = Visit::start(&stage.console.url(), "clicks").await;

    // The customer asks for a person.
    visit.write("#customer-text", "confidential: where is my order?").await;
    visit.click("#customer-say").await;
    visit.shows("#chat .bot", "get you a person").await;
    visit.click("#ask").await;
    visit.shows("#chat .note", "Waiting in the queue Support").await;
    visit.shows("#desk .user", "where is my order?").await;

    // The agent joins, types and writes.
    visit.click("[data-agent=join]").await;
    visit.shows("#chat .note", "agent-anna joined").await;
    visit.click("[data-agent=type]").await;
    visit.shows("#chat .note", "The agent types").await;
    visit.write("#agent-text", "confidential: Grüezi").await;
    visit.click("#agent-write").await;
    visit.shows("#chat .agent", "Grüezi").await;
    visit.shows("#chat .note", "The agent stopped typing").await;

    // An outage: the desk has what the customer has not, until it heals.
    visit.switch("bot-down", true).await;
    visit.write("#agent-text", "confidential: during the outage").await;
    visit.click("#agent-write").await;
    visit.shows("#desk .agent", "during the outage").await;
    visit.shows("#hops .bad .outcome", "500").await;
    visit.shows("#legend-waiting", "1 event waits").await;
    let chat = visit.evaluate("document.querySelector('#chat').textContent").await;
    assert!(!chat.to_string().contains("during the outage"), "{chat}");
    visit.switch("bot-down", false).await;
    visit.shows("#chat .agent", "during the outage").await;
    visit.shows("#legend-waiting", "0 events wait").await;
    visit.shows("#hops .retries", "1 ↻").await;
    // The chart has risen to its top, and fallen to its bottom.
    let chart = "document.querySelector('#chart-waiting').getAttribute('points').split(' ').map((point) => point.split(',')[1])";
    visit.until(format!("{chart}.includes('4.0') && {chart}.at(-1) === '88.0'")).await;

    // A token that is refused, a bot that is slow, and a function that is killed cost time only.
    for (fault, text) in [("bot-401", "confidential: after a 401"), ("bot-slow", "confidential: slowly")] {
        visit.switch(fault, true).await;
        visit.write("#agent-text", text).await;
        visit.click("#agent-write").await;
        visit.shows("#hops .outcome", if fault == "bot-401" { "401" } else { "200, late" }).await;
        visit.switch(fault, false).await;
        visit.shows("#chat .agent", text).await;
    }

    // A call without a response is marked as one that failed, in either direction.
    stage.sandbox.fault(bot_platform::Fault::Drops, When::Next(1));
    visit.write("#agent-text", "confidential: dropped").await;
    visit.click("#agent-write").await;
    visit.shows("#hops .bad .outcome", "connection dropped").await;
    visit.shows("#chat .agent", "dropped").await;
    stage.sandbox.contact_center.break_next("POST", "messages", FailureKind::Drops, true);
    visit.write("#customer-text", "confidential: hello?").await;
    visit.click("#customer-say").await;
    visit.shows("#hops .bad .outcome", "no response").await;
    visit.shows("#desk .user", "hello?").await;
    visit.until(format!("document.querySelector('#function').children.length === {}", FUNCTIONS.len())).await;
    visit.find("#function").await.focus().await.expect("it can be focused").type_str("deliver").await.expect("typed");
    visit.click("#kill").await;
    visit.shows("#hops .note", "deliver-message is killed").await;

    // Twice, late and forged.
    for fault in ["duplicate", "late", "forged"] {
        visit.switch(fault, true).await;
    }
    visit.write("#agent-text", "confidential: thrice").await;
    visit.click("#agent-write").await;
    visit.shows("#chat .agent", "thrice").await;
    visit.shows("#hops .way", "a forger → receive-message").await;
    visit.shows("#hops .outcome", "200, a repeat").await;

    // A card, a file, and the customer's answers.
    visit.click("[data-agent=card]").await;
    visit.shows("#chat .agent button", "Refund").await;
    visit.shows("#desk .agent", "What shall we do?").await;
    visit.shows("#desk .agent .options li", "Refund").await;
    visit.click("#chat .agent .buttons button:last-child").await;
    visit.shows("#chat .user", "Refund").await;
    visit.click("[data-agent=file]").await;
    visit.shows("#chat .agent", "sent the file sample.txt").await;
    visit.shows("#desk .agent a[download]", "sample.txt").await;
    visit.write("#customer-text", "confidential: thank you").await;
    visit.click("#customer-say").await;
    visit.shows("#desk .user", "thank you").await;

    // A hop shows all of its event, and no secret.
    visit.click("#hops li:last-child button").await;
    visit.until("document.querySelector('#detail').open").await;
    visit.click("#detail-close").await;
    visit.evaluate("[...document.querySelectorAll('#hops button')].findLast((hop) => hop.querySelector('.kind').textContent === 'MESSAGE' && hop.querySelector('.way').textContent === '8x8 → receive-message').id = 'looked-at'").await;
    visit.click("#looked-at").await;
    visit.shows("#detail pre", "x-8x8-signature: •••").await;
    visit.shows("#detail pre", "x-app-token: •••").await;
    visit.shows("#detail pre", "authorization: •••").await;
    visit.shows("#detail-logs", r#""step":"delivered""#).await;
    let detail = visit.evaluate("document.querySelector('#detail').textContent").await.to_string();
    assert!(!["eyJ", "bot-access-", "sandbox-app-token"].iter().any(|secret| detail.contains(secret)), "{detail}");
    for (how, status) in [("again", "200"), ("late", "401"), ("forged", "401")] {
        visit.click(&format!("[data-send={how}]")).await;
        visit.shows("#detail-sent", &format!("Response: {status}")).await;
        visit.shows("#detail pre", &format!("{how}: {status}")).await;
    }
    visit.press("Escape").await;
    visit.until("!document.querySelector('#detail').open").await;

    // Where the hand-over is.
    visit.click("#handovers-open").await;
    visit.shows("#handovers td", "with an agent").await;
    visit.shows("#handovers td", "agent-anna").await;
    visit.shows("#handovers td:last-child", " s").await;
    for width in [400, 1280] {
        visit.resize(width).await;
        assert_eq!(visit.overflow().await, json!([]), "at {width} pixels");
    }
    assert_eq!((visit.nameless().await, visit.faint().await), (json!([]), json!([])));
    visit.press("Escape").await;

    // A second agent has the last word, and the customer ends it.
    visit.click("[data-agent=transfer]").await;
    visit.shows("#chat .note", "The chat is transferred").await;
    visit.find("#agent-name").await.focus().await.expect("it can be focused").type_str("Ben").await.expect("typed");
    visit.click("[data-agent=join]").await;
    visit.shows("#chat .note", "agent-ben joined").await;
    visit.write("#agent-text", "confidential: solved").await;
    visit.click("#agent-write").await;
    visit.shows("#chat .agent", "solved").await;
    visit.click("[data-agent=leave]").await;
    visit.shows("#chat .note", "agent-ben left").await;
    visit.click("#customer-end").await;
    visit.shows("#chat .note", "The chat has ended").await;
    visit.click("#handovers-open").await;
    // The table may have the last event a moment later than the bot platform.
    visit
        .until(
            "(document.querySelector('#handovers-again').click(), \
             document.querySelector('#handovers td').textContent === 'ended: after_agent')",
        )
        .await;
    visit.click("#handovers-close").await;

    // The filter leaves the hops of one conversation, with the forged ones.
    let conversation = stage.conversation();
    visit
        .evaluate(
            "Object.assign(document.querySelector('#filter'), { selectedIndex: 1 }).dispatchEvent(new Event('change'))",
        )
        .await;
    visit
        .until(
            "![...document.querySelectorAll('#hops .way')].some((way) => way.textContent.includes('register-channel'))",
        )
        .await;

    visit.shows("#hops .way", "a forger → receive-message").await;
    let unknown = visit.evaluate("hops.filter((hop) => hop.kind === 'event').length").await;
    assert_eq!(unknown, 0, "a forged event has the type and the conversation that it names");

    // Nothing overflows, everything has a name, and nothing came from elsewhere.
    for width in [400, 1280] {
        visit.resize(width).await;
        assert_eq!(visit.overflow().await, json!([]), "at {width} pixels");
    }
    assert_eq!(visit.nameless().await, json!([]));
    assert_eq!(visit.faint().await, json!([]));
    let shot = visit.page.screenshot(ScreenshotParams::builder().build()).await.expect("a screenshot");
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("../console.png"), shot).expect("it can be written");
    let requests = visit.requests.lock().expect("no holder panics").clone();
    let is_own = |url: &&String| url.starts_with(&stage.console.url()) || *url == "about:blank";
    assert!(requests.len() > 10 && requests.iter().all(|url| is_own(&url)), "{requests:?}");

    // Both sides have it all.
    stage.check().await;
    assert_eq!(received(&stage.sandbox, &conversation), stage.sandbox.contact_center.accepted()[&conversation]);
    let said = stage.sandbox.contact_center.said(&conversation);
    let said: Vec<_> =
        said.iter().map(|(author, text)| format!("{author}: {}", text.replace("confidential: ", ""))).collect();
    let expected = [
        "agent: Grüezi",
        "agent: during the outage",
        "agent: after a 401",
        "agent: slowly",
        "agent: dropped",
        "user: hello?",
        "agent: thrice",
        "agent: ",
        "agent: ",
        "user: thank you",
        "agent: solved",
    ];
    assert_eq!(said, expected);
    assert_eq!(stage.sandbox.contact_center.kept(&conversation)["state"], "idle");
    visit.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(has_chromium), ignore = "needs chromium on the PATH")]
async fn dead_letters_are_redriven_and_discarded_by_clicks() {
    let stage = Stage::start(None).await;
    let conversation = stage.sandbox.contact_center.open_conversation(&stage.channel_id);
    let visit = Visit::start(&stage.console.url(), "dead-letters").await;
    visit.click("#letters-open").await;
    visit.shows("#letters-list", "There are no dead letters").await;
    visit.press("Escape").await;

    visit.switch("bot-422", true).await;
    for line in ["confidential: one", "confidential: two", "confidential: three"] {
        conversation.writes("agent-anna", line);
    }
    visit.until("document.querySelector('#count-dead').textContent === '3'").await;
    visit.switch("bot-422", false).await;
    visit.click("#letters-open").await;
    visit.shows("#letters td", "422").await;
    let shown = visit.evaluate("document.querySelector('#letters').textContent").await.to_string();
    assert!(shown.contains("MESSAGE") && !shown.contains("confidential"), "{shown}");
    visit.click("#letters tbody tr:nth-child(2) [data-operation=discard]").await;
    visit.shows("#letters-done", "1 discarded, 2 kept").await;
    for width in [400, 1280] {
        visit.resize(width).await;
        assert_eq!(visit.overflow().await, json!([]), "at {width} pixels");
    }
    assert_eq!((visit.nameless().await, visit.faint().await), (json!([]), json!([])));
    visit.click("#letters tbody tr:first-child [data-operation=redrive]").await;
    visit.shows("#letters-done", "1 redriven, 1 kept").await;
    visit.click("#letters-redrive").await;
    visit.shows("#letters-done", "1 redriven, 0 kept").await;
    visit.shows("#letters-list", "There are no dead letters").await;
    visit.click("#letters-close").await;
    assert!(stage.sandbox.settle(PATIENCE).await, "events are stuck");
    let accepted = stage.sandbox.contact_center.accepted()[conversation.id()].clone();
    let expected = [accepted[0].clone(), accepted[2].clone()];
    assert_eq!(received(&stage.sandbox, conversation.id()), expected, "all but the one that was discarded");
    visit.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(has_chromium), ignore = "needs chromium on the PATH")]
async fn the_console_can_be_used_with_the_keyboard_alone() {
    let stage = Stage::start(None).await;
    let visit = Visit::start(&stage.console.url(), "keys").await;
    visit.press("Tab").await;
    visit.until("document.activeElement.className === 'skip'").await;
    tab_to(&visit, "customer-text").await;
    visit.find("body").await.type_str("confidential: hello").await.expect("typed");
    visit.press("Enter").await;
    visit.shows("#chat .bot", "get you a person").await;
    tab_to(&visit, "ask").await;
    visit.press("Enter").await;
    visit.shows("#chat .note", "Waiting in the queue").await;

    // The list of hops is one stop, however long it is.
    for _ in 0..3 {
        visit.press("Tab").await;
    }
    tab_to_any(&visit, "document.activeElement.closest('#hops') !== null").await;
    visit.press("Home").await;
    visit.press("ArrowDown").await;
    visit.until("document.activeElement === document.querySelectorAll('#hops button')[1]").await;
    visit.press("Enter").await;
    visit.until("document.querySelector('#detail').open").await;
    visit.press("Escape").await;
    visit.until("!document.querySelector('#detail').open && document.activeElement.closest('#hops')").await;

    tab_to_any(&visit, "document.activeElement.dataset.agent === 'join'").await;
    visit.press("Enter").await;
    visit.shows("#chat .note", "agent-anna joined").await;
    assert_eq!(visit.overflow().await, json!([]));
    stage.check().await;
    visit.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(has_chromium), ignore = "needs chromium on the PATH")]
async fn the_agent_downloads_files_whose_names_are_never_markup() {
    const NAME: &str = "<img src=x onerror=document.title='owned'>.png";
    let stage = Stage::start(None).await;
    let chatbot = &stage.sandbox.chatbot;
    let user = json!({ "user": { "name": "Sandbox Customer", "language": "en" } });
    let (status, created) = chatbot.open(&user, "files").await;
    assert_eq!(status, StatusCode::ACCEPTED, "{created}");
    let id = stage.conversation();
    let path = format!("api/conversations/{id}/agent");
    let join = json!({ "action": "join", "agent": "agent-anna" });
    assert_eq!(stage.request(Method::POST, &path, &join).await.0, StatusCode::NO_CONTENT);
    let file = json!({ "action": "file", "agent": "agent-anna", "text": NAME, "content": "AP/+PGI+" });
    assert_eq!(stage.request(Method::POST, &path, &file).await.0, StatusCode::NO_CONTENT);
    let (status, attachment) = chatbot.upload(&id, NAME, b"\x00customer").await;
    assert_eq!(status, StatusCode::OK, "{attachment}");
    let content = json!({ "title": NAME, "options": [{ "title": NAME }] });
    let card = json!({ "contentType": "application/8x8.quick.replies", "content": content });
    let attachments = json!([{ "id": attachment["id"] }]);
    for message in
        [json!({ "authorType": "user", "attachments": attachments }), json!({ "authorType": "bot", "cards": [card] })]
    {
        let (status, response) = chatbot.json(Method::POST, &format!("/{id}/messages"), &message).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{response}");
    }

    let visit = Visit::start(&stage.console.url(), "files").await;
    visit.shows("#desk .agent a", NAME).await;
    visit.shows("#desk .user a", NAME).await;
    visit.shows("#desk .bot .options li", NAME).await;
    visit.shows("#chat .bot", NAME).await;
    let links =
        visit.evaluate("[...document.querySelectorAll('#desk a')].map((link) => [link.download, link.pathname])");
    let links: Vec<(String, String)> = serde_json::from_value(links.await).expect("pairs");
    for ((name, path), content) in links.iter().zip([&b"\x00\xff\xfe<b>"[..], b"\x00customer"]) {
        assert_eq!(name, NAME);
        let (status, bytes) = stage.request(Method::GET, &path[1..], &json!({})).await;
        assert_eq!((status, &*bytes), (StatusCode::OK, content));
    }
    assert_eq!(links.len(), 2);
    let (status, _) =
        stage.request(Method::GET, &format!("api/conversations/{id}/attachments/other"), &json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(visit.evaluate("document.querySelectorAll('img').length").await, 0);
    assert_ne!(visit.evaluate("document.title").await, "owned");
    for width in [400, 1280] {
        visit.resize(width).await;
        assert_eq!(visit.overflow().await, json!([]), "at {width} pixels");
    }
    assert_eq!(visit.faint().await, json!([]));
    stage.check().await;
    visit.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(has_chromium), ignore = "needs chromium on the PATH")]
async fn the_console_shows_what_is_wrong_and_what_to_do() {
    let stage = Stage::start(None).await;
    let visit = Visit::start(&stage.console.url(), "doctor").await;
    visit.click("#doctor-open").await;
    visit.shows("#doctor-state", "All is well.").await;
    visit.shows("#doctor .ok th", "bot-platform").await;
    visit.click("#doctor-close").await;
    visit.switch("bot-down", true).await;
    visit.click("#doctor-open").await;
    visit.shows("#doctor-state", "1 of 18 checks need attention.").await;
    visit.shows("#doctor .failed th", "bot-platform").await;
    visit.shows("#doctor .failed td p", "bring the bot platform back").await;
    for width in [400, 1280] {
        visit.resize(width).await;
        assert_eq!(visit.overflow().await, json!([]), "at {width} pixels");
    }
    assert_eq!(visit.nameless().await, json!([]));
    assert_eq!(visit.faint().await, json!([]));
    visit.click("#doctor-close").await;
    visit.switch("bot-down", false).await;
    visit.click("#doctor-open").await;
    visit.shows("#doctor-state", "All is well.").await;
    stage.check().await;
    visit.end().await;
}

async fn tab_to(visit: &Visit, id: &str) {
    tab_to_any(visit, &format!("document.activeElement.id === '{id}'")).await;
}

/// Presses Tab until that holds; once round the page at most.
async fn tab_to_any(visit: &Visit, condition: &str) {
    for _ in 0..60 {
        if visit.evaluate(condition).await == true {
            return;
        }
        visit.press("Tab").await;
    }
    panic!("{condition} never held");
}
