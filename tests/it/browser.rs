//! A page in a real browser, driven as a person does: clicks, keys, and what is then to be seen.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use chromiumoxide::browser::{Browser, BrowserConfig};
use chromiumoxide::cdp::browser_protocol::emulation::SetDeviceMetricsOverrideParams;
use chromiumoxide::cdp::browser_protocol::input::InsertTextParams;
use chromiumoxide::cdp::browser_protocol::network::EventRequestWillBeSent;
use chromiumoxide::{Element, Page};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::support::PATIENCE;

/// A browser with one page and a profile of its own.
pub struct Visit {
    browser: Browser,
    pub page: Page,
    pub requests: Arc<Mutex<Vec<String>>>,
    profile: PathBuf,
    tasks: Vec<JoinHandle<()>>,
}

impl Visit {
    pub async fn start(url: &str, test: &str) -> Self {
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

    pub async fn resize(&self, width: i64) {
        let size = SetDeviceMetricsOverrideParams::new(width, 900, 1.0, false);
        self.page.execute(size).await.expect("the page can be resized");
        self.until(format!("innerWidth === {width}")).await;
    }

    /// Waits, in the page, until that holds.
    #[track_caller]
    pub fn until(&self, condition: impl Into<String>) -> impl Future<Output = ()> {
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

    pub async fn evaluate(&self, script: &str) -> Value {
        let found = self.page.evaluate(script).await.unwrap_or_else(|error| panic!("{script}: {error}"));
        found.value().cloned().unwrap_or_default()
    }

    pub async fn find(&self, selector: &str) -> Element {
        self.page.find_element(selector).await.unwrap_or_else(|error| panic!("{selector}: {error}"))
    }

    pub async fn click(&self, selector: &str) {
        self.until(format!("document.querySelector({selector:?}) && !document.querySelector({selector:?}).disabled"))
            .await;
        self.find(selector).await.click().await.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    pub async fn write(&self, selector: &str, text: &str) {
        self.click(selector).await;
        self.page.execute(InsertTextParams::new(text)).await.expect("it can be written in");
    }

    pub async fn press(&self, key: &str) {
        self.find("body").await.press_key(key).await.expect("the key is known");
    }

    /// Waits until a list shows that text.
    #[track_caller]
    pub fn shows(&self, selector: &str, text: &str) -> impl Future<Output = ()> {
        self.until(format!(
            "[...document.querySelectorAll({selector:?})].some((found) => found.textContent.includes({text:?}))"
        ))
    }

    pub async fn switch(&self, fault: &str, is_on: bool) {
        let button = format!("[data-fault={fault}]");
        self.click(&button).await;
        self.until(format!("document.querySelector({button:?}).getAttribute('aria-pressed') === '{is_on}'")).await;
    }

    /// What sticks out of the page to the right.
    pub async fn overflow(&self) -> Value {
        let script = "[...document.querySelectorAll('body *')]
            .filter((found) => found.getBoundingClientRect().right > innerWidth + 1 && !found.closest('.skip'))
            .map((found) => found.outerHTML.slice(0, 120))
            .concat(document.documentElement.scrollWidth > innerWidth ? ['the page'] : [])";
        self.evaluate(script).await
    }

    /// What can be used but has no name for a screen reader.
    pub async fn nameless(&self) -> Value {
        let script = "[...document.querySelectorAll('button, input, select')]
            .filter((found) => !(found.textContent.trim() && found.tagName === 'BUTTON')
                && !found.ariaLabel && !(found.labels && found.labels.length))
            .map((found) => found.outerHTML)";
        self.evaluate(script).await
    }

    /// Text that is hard to read: with a contrast below 4.5 (WCAG 2.2, 1.4.3).
    pub async fn faint(&self) -> Value {
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

    pub async fn end(mut self) {
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
