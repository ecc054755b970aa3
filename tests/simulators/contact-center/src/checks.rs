//! Checks a bot's requests about a conversation as strictly as 8x8's OpenAPI file describes them.

use serde_json::Value;

use crate::QUEUES;
use crate::problem::Problem;
use crate::record::Attachment;
use crate::schema::Object;

const LANGUAGES: [&str; 21] = [
    "en", "ru", "de", "ja", "es", "fr", "pt", "it", "pl", "hr", "nl", "ar", "da", "ko", "no", "sv", "vi", "cy", "th",
    "zh-CN", "zh-TW",
];

const CARDS: [&str; 8] = [
    "application/vnd.microsoft.card.adaptive",
    "application/8x8.quick.replies",
    "Interactive",
    "Location",
    "Template",
    "Suggestions",
    "Buttons",
    "Carousel",
];

pub(crate) fn check_user(user: Object<'_>) -> Result<(), Problem> {
    for field in ["name", "userId", "phone", "company", "caseId"] {
        user.optional(field, usize::MAX)?;
    }
    user.one_of("language", &LANGUAGES)?;
    if user.optional("email", usize::MAX)?.is_some_and(|email| !email.contains('@')) {
        return Err(Problem::constraint("user.email", "Must be an e-mail address."));
    }
    for property in user.optional_array("additionalProperties", 30)?.unwrap_or_default() {
        let property = Object::of(property, "additionalProperties")?;
        property.optional("key", usize::MAX)?;
        property.optional("value", usize::MAX)?;
    }
    Ok(())
}

pub(crate) fn check_assignment(assignment: Object<'_>) -> Result<(), Problem> {
    let kind = assignment.one_of("type", &["queue", "script"])?.unwrap_or("queue");
    let id = assignment.required("id", usize::MAX)?;
    match kind {
        "queue" if !QUEUES.iter().any(|(queue, _)| *queue == id) => {
            Err(Problem::bad_request("invalid_queue", &format!("Queue ID {id} is invalid.")))
        }
        _ => Ok(()),
    }
}

pub(crate) fn check_post_agent_assignment(body: Object<'_>, webhooks: &[String]) -> Result<(), Problem> {
    body.required_one_of("type", &["webhook"])?;
    let id = body.required("id", usize::MAX)?;
    if !webhooks.iter().any(|webhook| webhook == id) {
        return Err(Problem::not_found("WebHook", id));
    }
    if let Some(configuration) = body.optional_object("configuration")? {
        configuration.optional("notifyChannelWebhookIfExists", usize::MAX)?;
        configuration.integer("maxTotalMinutes", 20..=600)?;
        configuration.integer("userTimeoutInMinutes", 10..=300)?;
    }
    Ok(())
}

/// Text, attachments and cards; or the message of another provider, which 8x8 fetches.
pub(crate) fn check_message(message: &Value, attachments: &[Attachment]) -> Result<(), Problem> {
    let message = Object::of(message, "message")?;
    message.required_one_of("authorType", &["bot", "user"])?;
    let text = message.optional("text", usize::MAX)?;
    let provider = message.optional_object("externalProvider")?;
    if let Some(provider) = provider {
        provider.required_one_of("name", &["X"])?;
        provider.required("externalMessageId", usize::MAX)?;
    }
    let given = message.optional_array("attachments", usize::MAX)?.unwrap_or_default();
    for attachment in given {
        let id = Object::of(attachment, "attachments")?.required("id", usize::MAX)?;
        if !attachments.iter().any(|attachment| attachment.id == id) {
            return Err(Problem::bad_request("invalid_attachment", &format!("Attachment ID {id} is invalid.")));
        }
    }
    let cards = message.optional_array("cards", usize::MAX)?.unwrap_or_default();
    for card in cards {
        let card = Object::of(card, "cards")?;
        card.one_of("contentType", &CARDS)?;
        card.object("content")?;
    }
    match (text, provider) {
        (Some(_), Some(_)) => Err(Problem::constraint("text", "Excludes externalProvider.")),
        (None, None) if given.is_empty() && cards.is_empty() => Err(Problem::missing("text")),
        _ => Ok(()),
    }
}
