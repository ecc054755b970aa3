//! The console page of `make run`, in a real browser; and who may talk to it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chromiumoxide::browser::{Browser, BrowserConfig};
use chromiumoxide::cdp::browser_protocol::emulation::SetDeviceMetricsOverrideParams;
use chromiumoxide::cdp::browser_protocol::input::InsertTextParams;
use chromiumoxide::cdp::browser_protocol::network::EventRequestWillBeSent;
use chromiumoxide::page::ScreenshotParams;
use chromiumoxide::{Element, Page};
use futures_util::StreamExt;
use http::{Method, Request, StatusCode};
use sandbox::console::{self, Console};
use sandbox::verdict::Verdict;
use sandbox::{Sandbox, SandboxSettings};
use serde_json::{Value, json};
use simulation::client::Client;
use tokio::task::JoinHandle;

use crate::support::{PATIENCE, received};

/// A sandbox with a registered channel, a token and a console.
struct Stage {
    sandbox: Arc<Sandbox>,
    channel_id: String,
    console: Console,
}

impl Stage {
    async fn start(record: Option<&Path>) -> Self {
        let settings = SandboxSettings { haste: 20, ..SandboxSettings::default() };
        let sandbox = Arc::new(Sandbox::start(settings).await);
        sandbox.journal.observe(record).expect("the recording can be written");
        let channel_id = sandbox.register("101").await.expect("the channel can be registered");
        sandbox.refresh_tokens().await.expect("the first token");
        let listener = console::listen(Some(0)).await.expect("a free port");
        let console = Console::start(Arc::clone(&sandbox), listener).expect("it has an address");
        Self { sandbox, channel_id, console }
    }

    /// The only conversation that there is.
    fn conversation(&self) -> String {
        let mut ids = self.sandbox.contact_center.conversation_ids();
        assert_eq!(ids.len(), 1, "{ids:?}");
        ids.remove(0)
    }

    async fn check(&self) {
        assert!(self.sandbox.settle(PATIENCE).await, "events are stuck");
        let verdict = Verdict::on(&self.sandbox);
        assert!(verdict.failures.is_empty(), "{verdict}");
    }
}

/// A browser with one page and a profile of its own.
struct Visit {
    browser: Browser,
    page: Page,
    requests: Arc<Mutex<Vec<String>>>,
    profile: PathBuf,
    tasks: Vec<JoinHandle<()>>,
}

impl Visit {
    async fn start(url: &str, test: &str) -> Self {
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("console-{test}-{}", std::process::id()));
        let config = BrowserConfig::builder()
            .chrome_executable(env!("CHROMIUM"))
            .user_data_dir(&profile)
            .new_headless_mode()
            // For root, as in a container. The page is our own.
            .no_sandbox()
            .args(["disable-gpu", "disable-component-update", "no-default-browser-check"])
            .viewport(None)
            .launch_timeout(PATIENCE)
            .request_timeout(PATIENCE);
        let (browser, mut handler) =
            Browser::launch(config.build().expect("a configuration")).await.expect("the browser starts");
        // Messages that the crate does not know are no end.
        let mut tasks = vec![tokio::spawn(async move { while handler.next().await.is_some() {} })];
        let page = browser.new_page("about:blank").await.expect("a page");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let mut sent = page.event_listener::<EventRequestWillBeSent>().await.expect("events of the network");
        let seen = Arc::clone(&requests);
        tasks.push(tokio::spawn(async move {
            while let Some(event) = sent.next().await {
                seen.lock().expect("no holder panics").push(event.request.url.clone());
            }
        }));
        let visit = Self { browser, page, requests, profile, tasks };
        visit.resize(1280).await;
        visit.page.goto(url).await.expect("the page loads");
        visit.until("document.querySelector('#connection').textContent === 'connected'").await;
        visit
    }

    async fn resize(&self, width: i64) {
        let size = SetDeviceMetricsOverrideParams::new(width, 900, 1.0, false);
        self.page.execute(size).await.expect("the page can be resized");
        self.until(format!("innerWidth === {width}")).await;
    }

    /// Waits, in the page, until that holds.
    #[track_caller]
    fn until(&self, condition: impl Into<String>) -> impl Future<Output = ()> {
        let condition = condition.into();
        let caller = std::panic::Location::caller();
        let script = format!(
            "new Promise((resolve) => {{ const look = () => ({condition}) ? resolve(true) : setTimeout(look, 10); look(); }})"
        );
        async move {
            let held = tokio::time::timeout(PATIENCE, self.evaluate(&script)).await;
            if held.is_err() {
                let text = self.evaluate("document.body.innerText").await;
                panic!("{caller}: {condition} never held; the page says {text}");
            }
        }
    }

    async fn evaluate(&self, script: &str) -> Value {
        let found = self.page.evaluate(script).await.unwrap_or_else(|error| panic!("{script}: {error}"));
        found.value().cloned().unwrap_or_default()
    }

    async fn find(&self, selector: &str) -> Element {
        self.page.find_element(selector).await.unwrap_or_else(|error| panic!("{selector}: {error}"))
    }

    async fn click(&self, selector: &str) {
        self.until(format!("document.querySelector({selector:?}) && !document.querySelector({selector:?}).disabled"))
            .await;
        self.find(selector).await.click().await.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    async fn write(&self, selector: &str, text: &str) {
        self.click(selector).await;
        self.page.execute(InsertTextParams::new(text)).await.expect("it can be written in");
    }

    async fn press(&self, key: &str) {
        self.find("body").await.press_key(key).await.expect("the key is known");
    }

    /// Waits until a list shows that text.
    #[track_caller]
    fn shows(&self, selector: &str, text: &str) -> impl Future<Output = ()> {
        self.until(format!(
            "[...document.querySelectorAll({selector:?})].some((found) => found.textContent.includes({text:?}))"
        ))
    }

    async fn switch(&self, fault: &str, is_on: bool) {
        let button = format!("[data-fault={fault}]");
        self.click(&button).await;
        self.until(format!("document.querySelector({button:?}).getAttribute('aria-pressed') === '{is_on}'")).await;
    }

    /// What sticks out of the page to the right.
    async fn overflow(&self) -> Value {
        let script = "[...document.querySelectorAll('body *')]
            .filter((found) => found.getBoundingClientRect().right > innerWidth + 1 && !found.closest('.skip'))
            .map((found) => found.outerHTML.slice(0, 120))
            .concat(document.documentElement.scrollWidth > innerWidth ? ['the page'] : [])";
        self.evaluate(script).await
    }

    /// What can be used but has no name for a screen reader.
    async fn nameless(&self) -> Value {
        let script = "[...document.querySelectorAll('button, input, select')]
            .filter((found) => !(found.textContent.trim() && found.tagName === 'BUTTON')
                && !found.ariaLabel && !(found.labels && found.labels.length))
            .map((found) => found.outerHTML)";
        self.evaluate(script).await
    }

    /// Text that is hard to read: with a contrast below 4.5 (WCAG 2.2, 1.4.3).
    async fn faint(&self) -> Value {
        let script = "(() => {
            const channels = (color) => color.match(/[\\d.]+/g).map(Number);
            const light = (color) => channels(color).slice(0, 3)
                .map((value) => value / 255)
                .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
                .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
            const ground = (found) => {
                const color = getComputedStyle(found).backgroundColor;
                return channels(color)[3] !== 0 ? color : ground(found.parentElement);
            };
            const contrast = (found) => {
                const both = [light(getComputedStyle(found).color), light(ground(found))].sort((a, b) => b - a);
                return (both[0] + 0.05) / (both[1] + 0.05);
            };
            return [...document.querySelectorAll('body *')]
                .filter((found) => [...found.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
                .filter((found) => contrast(found) < 4.5)
                .map((found) => `${found.outerHTML} ${contrast(found)}`);
        })()";
        self.evaluate(script).await
    }

    async fn end(mut self) {
        self.browser.close().await.expect("the browser can be closed");
        self.browser.wait().await.expect("the browser ends");
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // A test that fails has not ended its browser.
        if let Some(child) = self.browser.get_mut_child() {
            let _ = child.inner.start_kill();
        }
        for task in &self.tasks {
            task.abort();
        }
        let _ = std::fs::remove_dir_all(&self.profile);
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
    visit.until("document.querySelector('#function').children.length === 7").await;
    visit.find("#function").await.focus().await.expect("it can be focused").type_str("deliver").await.expect("typed");
    visit.click("#kill").await;
    visit.shows("#hops .note", "the console kills deliver-message").await;

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
    visit.click("#chat .agent .buttons button:last-child").await;
    visit.shows("#chat .user", "Refund").await;
    visit.click("[data-agent=file]").await;
    visit.shows("#chat .agent", "sent the file sample.txt").await;
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
    visit.shows("#detail-logs", r#""message":"delivered""#).await;
    let detail = visit.evaluate("document.querySelector('#detail').textContent").await.to_string();
    assert!(!["eyJ", "bot-access-", "sandbox-app-token"].iter().any(|secret| detail.contains(secret)), "{detail}");
    for (how, status) in [("again", "200"), ("late", "401"), ("forged", "401")] {
        visit.click(&format!("[data-send={how}]")).await;
        visit.shows("#detail-sent", &format!("Response: {status}")).await;
        visit.shows("#detail pre", &format!("{how}: {status}")).await;
    }
    visit.press("Escape").await;
    visit.until("!document.querySelector('#detail').open").await;

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

    // The filter leaves the hops of one conversation.
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

#[tokio::test]
async fn the_console_answers_no_other_host_and_no_other_origin() {
    let stage = Stage::start(None).await;
    let own = stage.console.address().to_string();
    let port = stage.console.address().port();
    let fault = json!({ "name": "bot-down", "on": false }).to_string();
    let send = async |method: Method, path: &str, headers: &[(&str, &str)], body: &str| {
        let request = Request::builder().method(method).uri(format!("http://{own}{path}"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Bytes::from(body.to_owned())).expect("a request");
        Client::new().send(request).await.expect("the console responds")
    };
    let json = ("content-type", "application/json");
    for host in ["attacker.example", &format!("attacker.example:{port}"), "127.0.0.1", "127.0.0.1:1", "localhost.:80"] {
        for (method, path) in [(Method::GET, "/"), (Method::GET, "/api/stream"), (Method::POST, "/api/faults")] {
            let response = send(method, path, &[("host", host), json], &fault).await;
            assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST, "{host} {path}");
        }
    }
    let foreign = format!("http://attacker.example:{port}");
    for origin in ["http://attacker.example", &foreign, "null", "http://localhost:1", &format!("https://{own}")] {
        let response = send(Method::POST, "/api/faults", &[("origin", origin), json], &fault).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{origin}");
    }
    // As a form of another page posts.
    let response = send(Method::POST, "/api/faults", &[("content-type", "text/plain")], &fault).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let own_origin = format!("http://{own}");
    let response = send(Method::POST, "/api/faults", &[("origin", &own_origin), json], &fault).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let localhost = format!("localhost:{port}");
    let page = send(Method::GET, "/", &[("host", &localhost)], "").await;
    assert_eq!(page.status(), StatusCode::OK);
    let policy = page.headers()["content-security-policy"].to_str().expect("text");
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(stage.console.address().ip().is_loopback());
}

#[tokio::test]
async fn a_port_that_is_in_use_is_not_taken() {
    let taken = console::listen(Some(0)).await.expect("a free port");
    let port = taken.local_addr().expect("it is bound").port();
    assert!(console::listen(Some(port)).await.is_err());
    // Whoever has the default port, there is one for us.
    let (first, second) =
        (console::listen(None).await.expect("a port"), console::listen(None).await.expect("another one"));
    assert_ne!(first.local_addr().expect("bound"), second.local_addr().expect("bound"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_holds_no_secret_and_is_played_again() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("recording-{}.jsonl", std::process::id()));
    let stage = Stage::start(Some(&file)).await;
    let conversation = stage.sandbox.contact_center.open_conversation(&stage.channel_id);
    stage.sandbox.fault(contact_center::Fault::Forged, simulation::faults::When::Next(1));
    stage.sandbox.fault(contact_center::Fault::Late, simulation::faults::When::Next(1));
    conversation.joined("agent");
    conversation.writes("agent", "confidential: Grüezi \u{2028} 👋");
    stage.check().await;
    let first = bodies(&stage.sandbox, conversation.id());

    let again = Stage::start(None).await;
    let recorded = std::fs::read_to_string(&file).expect("the recording can be read");
    let secrets = ["bot-access-", "eyJ", &again.sandbox.bot.settings().app_token];
    assert!(secrets.iter().all(|secret| !recorded.contains(*secret)), "{recorded}");
    let events = console::replay(&again.sandbox, &again.channel_id, &file).await.expect("it can be played");
    again.check().await;
    let id = again.conversation();
    let second: Vec<_> = bodies(&again.sandbox, &id).iter().map(|body| body.replace(&id, conversation.id())).collect();
    assert_eq!((events, second), (first.len(), first));
    std::fs::write(&file, "no JSON\n").expect("it can be written");
    assert!(
        console::replay(&again.sandbox, &again.channel_id, &file).await.is_err_and(|error| error.contains("line 1"))
    );
    std::fs::remove_file(&file).expect("it is ours");
}

/// What the bot platform has of a conversation.
fn bodies(sandbox: &Sandbox, conversation_id: &str) -> Vec<String> {
    let receipts = sandbox.bot.receipts();
    let receipts = receipts[conversation_id].iter();
    receipts.map(|receipt| String::from_utf8(receipt.body.to_vec()).expect("text")).collect()
}
