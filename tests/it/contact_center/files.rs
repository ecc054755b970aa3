//! An agent's file may have any name, any content type and any content.

use std::time::Duration;

use bytes::Bytes;
use contact_center::{ContactCenterSettings, FileHeaders, NameEncoding};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use sandbox::SandboxSettings;
use serde_json::Value;
use simulation::client::Client;

use super::Alone;
use crate::support::{PATIENCE, Stack};

async fn fetched(url: &str) -> Response<Bytes> {
    let request = Request::builder().method(Method::GET).uri(url).body(Bytes::new()).expect("a request");
    Client::new().send(request).await.expect("a response")
}

#[tokio::test]
async fn an_agents_file_can_be_fetched_without_credentials_until_its_url_expires() {
    const NAME: &str = "Rechnung \"für\" \\ März\n.pdf";

    for (life, expected) in [(Duration::from_secs(60), StatusCode::OK), (Duration::ZERO, StatusCode::FORBIDDEN)] {
        let contact_center = ContactCenterSettings { file_url_life: life, ..ContactCenterSettings::default() };
        let stack = Stack::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
        let conversation = stack.contact_center.open_conversation(&stack.channel_id);
        conversation.sends_file("anna", NAME, b"\x00\xff not text");
        assert!(stack.settle(PATIENCE).await);
        let receipts = stack.bot.receipts();
        let event: Value = serde_json::from_slice(&receipts[conversation.id()][0].body).expect("JSON");
        let attachment = &event["data"]["attachments"][0];
        assert_eq!(attachment["fileName"], NAME);
        let url = attachment["preSignedUrl"].as_str().expect("a URL");
        let file = fetched(url).await;
        assert_eq!(file.status(), expected);
        if expected == StatusCode::OK {
            assert_eq!(&file.body()[..], b"\x00\xff not text");
        }
        stack.finish().await;
    }
}

#[tokio::test]
async fn a_file_is_handed_out_under_its_name_in_any_encoding_and_with_any_content_type() {
    let name = "Größe 👋 \"a\\b\";\r\n.png";
    // Inside quotation marks.
    let utf_8 = r#"Größe 👋 \"a\\b\";__.png"#.as_bytes();
    let latin_1 = b"Gr\xf6\xdfe ? \\\"a\\\\b\\\";__.png";
    let ascii = br#"Gr??e ? \"a\\b\";__.png"#;
    let extended = b"filename*=UTF-8''Gr%C3%B6%C3%9Fe%20%F0%9F%91%8B%20%22a%5Cb%22%3B%0D%0A.png";
    let alone = Alone::start().await;
    // No text in any encoding.
    let content: Vec<u8> = (0..=255).collect();
    for (encoding, content_type, disposition) in [
        (NameEncoding::Utf8, Some(&b"application/octet-stream"[..]), [b"; filename=\"", utf_8, b"\""].concat()),
        (NameEncoding::Latin1, Some(b"image/png; name=Gr\xf6\xdfe"), [b"; filename=\"", &latin_1[..], b"\""].concat()),
        (NameEncoding::Extended, None, [b"; ", &extended[..]].concat()),
        (
            NameEncoding::Both,
            Some(b"text/plain; charset=utf-16"),
            [b"; filename=\"", &ascii[..], b"\"; ", extended].concat(),
        ),
        (NameEncoding::Missing, None, Vec::new()),
    ] {
        let headers = FileHeaders { name: encoding, content_type: content_type.map(<[u8]>::to_vec) };
        alone.conversation().sends_file_with("agent", name, &content, headers);
        let events = alone.contact_center.events();
        let event: Value = serde_json::from_str(&events.last().expect("it is sent").body).expect("JSON");
        let attachment = &event["data"]["attachments"][0];
        assert_eq!(attachment["fileName"], name);
        let path = format!("attachments/{}/content", attachment["id"].as_str().expect("an id"));
        let by_api = alone.call(Method::GET, &path, &Value::Null).await.expect("a response");
        let by_url = fetched(attachment["preSignedUrl"].as_str().expect("a URL")).await;
        for response in [by_api, by_url] {
            assert_eq!(response.status(), StatusCode::OK);
            let header = |name| response.headers().get(name).map(|value| value.as_bytes());
            let expected = [b"attachment", &disposition[..]].concat();
            assert_eq!(header(CONTENT_DISPOSITION), Some(&expected[..]), "{encoding:?}");
            assert_eq!(header(CONTENT_TYPE), content_type, "{encoding:?}");
            assert_eq!(&response.body()[..], content);
        }
    }
}
