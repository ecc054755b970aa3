//! What is registered at 8x8: is it saved, still there, as saved, and does it reach us?

use shared::contact_center::client::ContactCenterError;
use shared::contact_center::drift::Difference;
use shared::contact_center::saved::{Registration, SavedChannel};
use url::Url;

use super::{REGISTRATION, contact_center, register_channel, secrets};
use crate::evidence::Evidence;
use crate::evidence::contact_center::Registered;
use crate::report::Finding;

pub(super) fn saved(evidence: &Evidence<'_>) -> Finding {
    let register = r#"{"operation":"register","queue_id":"<queue id>"}"#;
    match &evidence.secrets.channel {
        Err(error) => secrets::unreadable(error),
        Ok(saved) => match &saved.content {
            SavedChannel::Registered(registration) => Finding::ok(format!(
                "channel {}, {}",
                registration.channel_id,
                match (&registration.adopted, &registration.queue_id) {
                    (Some(_), _) => "adopted".to_owned(),
                    (None, Some(queue_id)) => format!("whose conversations go to the queue {queue_id}"),
                    (None, None) => "of our own".to_owned(),
                }
            )),
            SavedChannel::Empty => Finding::failed("nothing is registered at 8x8", register_channel(register)),
            SavedChannel::Creating(_) => Finding::failed("a registration was interrupted", register_channel(register)),
        },
    }
}

/// What is saved and what was found at 8x8, or why that cannot be compared.
fn registered<'e>(evidence: &'e Evidence<'_>) -> Result<(&'e Registration, &'e Registered), Finding> {
    let saved = evidence.secrets.channel.as_ref().ok().and_then(|saved| saved.content.registration());
    let saved = saved.ok_or_else(|| Finding::after(REGISTRATION))?;
    match (&evidence.contact_center.registered, contact_center::obstacle(evidence)) {
        (Some(registered), None) => Ok((saved, registered)),
        (_, Some(obstacle)) => Err(obstacle),
        (None, None) => Err(Finding::after(REGISTRATION)),
    }
}

pub(super) fn webhook(evidence: &Evidence<'_>) -> Finding {
    let (saved, registered) = match registered(evidence) {
        Ok(registered) => registered,
        Err(obstacle) => return obstacle,
    };
    let webhook = match &registered.webhook {
        Ok(webhook) => webhook.as_ref(),
        Err(error) => return without_response(error),
    };
    let name = format!("live-agent-{}", evidence.config.integration_name);
    let differences = saved.webhook_differences(&name, evidence.contact_center.webhook_version, webhook);
    if let Some(webhook) = webhook
        && differences.iter().any(|difference| difference.field == "callback_url")
    {
        let host = host(&webhook.uri);
        let payload = match saved.adopted {
            None => r#"{"operation":"register","take_over":true}"#.to_owned(),
            Some(_) => format!(r#"{{"operation":"adopt","channel_id":"{}"}}"#, saved.channel_id),
        };
        return Finding::failed(
            format!("the webhook was pointed elsewhere: it calls {host}"),
            register_channel(&payload),
        );
    }
    judge(&differences, saved, "webhook", || format!("as saved: it calls {}", host(&saved.callback_url)))
}

pub(super) fn channel(evidence: &Evidence<'_>) -> Finding {
    let (saved, registered) = match registered(evidence) {
        Ok(registered) => registered,
        Err(obstacle) => return obstacle,
    };
    let channel = match &registered.channel {
        Ok(channel) => channel.as_ref(),
        Err(error) => return without_response(error),
    };
    let name = format!("live-agent-{}", evidence.config.integration_name);
    judge(&saved.channel_differences(&name, channel), saved, "channel", || match &saved.queue_id {
        Some(queue_id) => format!("as saved: its conversations go to the queue {queue_id}"),
        None => "as saved".to_owned(),
    })
}

fn judge(differences: &[Difference<'_>], saved: &Registration, part: &str, ok: impl FnOnce() -> String) -> Finding {
    let action = || match saved.adopted {
        None => register_channel(r#"{"operation":"register"}"#),
        Some(_) => register_channel(r#"{"operation":"release"}"#) + ", then adopt the channel that there is now",
    };
    match differences {
        [] => Finding::ok(ok()),
        [Difference { actual: None, field, .. }, ..] if field.ends_with("_id") => {
            Finding::failed(format!("the {part} that was registered does not exist any more at 8x8"), action())
        }
        differences => {
            let fields = differences.iter().map(|difference| {
                format!(
                    "{} is `{}` instead of `{}`",
                    difference.field,
                    difference.actual.unwrap_or("-"),
                    difference.expected
                )
            });
            Finding::failed(fields.collect::<Vec<_>>().join(", "), action())
        }
    }
}

pub(super) fn callback(evidence: &Evidence<'_>) -> Finding {
    let (saved, registered) = match registered(evidence) {
        Ok(registered) => registered,
        Err(obstacle) => return obstacle,
    };
    let (host, own) = (host(&saved.callback_url), evidence.config.callback_url.as_str());
    match &registered.verified {
        Ok(()) if saved.callback_url == own => Finding::ok(format!("8x8 reaches us at {host}")),
        Ok(()) => Finding::ok(format!("8x8 reaches us at {host}, which is not the stack's own address")),
        Err(ContactCenterError::Refused { problem, .. }) if matches!(problem.status, 400 | 422) => {
            let action = if saved.callback_url == own {
                "make it answer 8x8's POST with 2xx: DNS and certificate of the address, a load balancer that forwards to the \
                 API, and receive-message's log"
                    .to_owned()
            } else {
                register_channel(&format!(r#"{{"operation":"update","callback_url":"{own}"}}"#))
            };
            Finding::failed(format!("8x8 gets no 2xx from {host}"), action)
        }
        Err(error) => without_response(error),
    }
}

/// A call that 8x8 did not respond to, although it responded to the one before.
fn without_response(error: &ContactCenterError) -> Finding {
    Finding::unknown(error.to_string(), "repeat make doctor STACK=…; if it stays so, see https://status.8x8.com")
}

/// The host of a URL: path and query may hold a secret.
fn host(url: &str) -> String {
    let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.unwrap_or_else(|| "(no host)".to_owned())
}
