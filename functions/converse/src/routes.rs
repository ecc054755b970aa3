//! The operations of the conversation API, one row each.

use std::time::Duration;

use http::Method;

/// What all paths begin with.
const BASE: &str = "/v1/liveAgent/conversations";

/// 8x8's ids have 22 to 90 characters; the limit keeps a URL that is made of two of them short.
const ID_LIMIT: usize = 255;

/// Stands for an id in a path.
const ID: &str = "*";

/// 8x8 responds in well under a second. Three tries of six seconds end before API Gateway gives up after thirty.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>
const CALL: Duration = Duration::from_secs(6);

/// A call that is not sent a second time is worth waiting for: a slow 8x8 (9 s were seen) is then no unknown outcome. As much
/// time is left to find out its outcome.
const PATIENT_CALL: Duration = Duration::from_secs(12);

/// An attachment of four megabytes crosses a line of three megabits a second in that time, and two tries end before API
/// Gateway gives up.
const TRANSFER: Duration = Duration::from_secs(12);

/// An operation of 8x8's Chat Gateway on conversations, or of the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    ListConversations,
    CreateConversation,
    ShowConversation,
    ReplaceConversation,
    ChangeConversation,
    ListInteractions,
    AssignAfterAgent,
    ShowTyping,
    ShowThinking,
    SendReadReceipt,
    ListParticipants,
    RemoveUser,
    ListMessages,
    SendMessage,
    ShowMessage,
    ListCards,
    ListAttachments,
    AddAttachment,
    ShowAttachment,
    DownloadAttachment,
    SubmitCardAction,
    ExecuteCardAction,
    /// The bridge's own: 8x8 is not asked.
    ShowHandover,
}

/// What to do when it is unknown whether 8x8 has carried an operation out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnUnknown {
    /// Send it again: a second time changes nothing, or nothing that anyone sees.
    Resend,
    /// Find out from what 8x8 lists.
    Reconcile,
    /// Report it: its effect is not listed anywhere, and a second one would be seen.
    Report,
}

/// One operation.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) operation: Operation,
    method: Method,
    /// Below `conversations`.
    path: &'static [&'static str],
    /// Completes "to …" in errors.
    pub(crate) name: &'static str,
    pub(crate) on_unknown: OnUnknown,
    /// Whether an `Idempotency-Key` is of use: the operation adds something each time.
    pub(crate) takes_key: bool,
    /// For one try.
    pub(crate) timeout: Duration,
}

#[rustfmt::skip]
static ROUTES: [Route; 23] = {
    use OnUnknown::{Reconcile, Report, Resend};
    use Operation as O;

    const fn route(
        operation: Operation,
        method: Method,
        path: &'static [&'static str],
        name: &'static str,
        on_unknown: OnUnknown,
        takes_key: bool,
        timeout: Duration,
    ) -> Route {
        Route { operation, method, path, name, on_unknown, takes_key, timeout }
    }

    [
        route(O::ListConversations,   Method::GET,   &[],                                   "list the conversations",                 Resend,    false, CALL),
        route(O::CreateConversation,  Method::POST,  &[],                                   "create the conversation",                Reconcile, true,  PATIENT_CALL),
        route(O::ShowConversation,    Method::GET,   &[ID],                                 "show the conversation",                  Resend,    false, CALL),
        route(O::ReplaceConversation, Method::PUT,   &[ID],                                 "update the conversation",                Resend,    false, CALL),
        route(O::ChangeConversation,  Method::PATCH, &[ID],                                 "update the conversation",                Resend,    false, CALL),
        route(O::ListInteractions,    Method::GET,   &[ID, "interactions"],                 "list the interactions",                  Resend,    false, CALL),
        // 8x8 does not list these assignments.
        route(O::AssignAfterAgent,    Method::POST,  &[ID, "post-agent-assignment"],        "assign the conversation after the agent", Report,   true,  PATIENT_CALL),
        route(O::ShowTyping,          Method::POST,  &[ID, "typing"],                       "show that the user or bot is typing",    Resend,    false, CALL),
        route(O::ShowThinking,        Method::POST,  &[ID, "thinking"],                     "show that the bot is thinking",          Resend,    false, CALL),
        route(O::SendReadReceipt,     Method::POST,  &[ID, "read-receipt"],                 "send the read receipt",                  Resend,    false, CALL),
        route(O::ListParticipants,    Method::GET,   &[ID, "participants"],                 "list the participants",                  Resend,    false, CALL),
        route(O::RemoveUser,          Method::PATCH, &[ID, "participants", "user"],         "end the conversation",                   Resend,    false, CALL),
        route(O::ListMessages,        Method::GET,   &[ID, "messages"],                     "list the messages",                      Resend,    false, CALL),
        route(O::SendMessage,         Method::POST,  &[ID, "messages"],                     "send the message",                       Reconcile, true,  PATIENT_CALL),
        route(O::ShowMessage,         Method::GET,   &[ID, "messages", ID],                 "show the message",                       Resend,    false, CALL),
        route(O::ListCards,           Method::GET,   &[ID, "messages", ID, "cards"],        "list the cards",                         Resend,    false, CALL),
        route(O::ListAttachments,     Method::GET,   &[ID, "attachments"],                  "list the attachments",                   Resend,    false, CALL),
        // No one sees an attachment before a message names it.
        route(O::AddAttachment,       Method::POST,  &[ID, "attachments"],                  "add the attachment",                     Resend,    true,  TRANSFER),
        route(O::ShowAttachment,      Method::GET,   &[ID, "attachments", ID],              "show the attachment",                    Resend,    false, CALL),
        route(O::DownloadAttachment,  Method::GET,   &[ID, "attachments", ID, "content"],   "download the attachment",                Resend,    false, TRANSFER),
        // 8x8 notifies the agent and the webhook of every action on a card.
        route(O::SubmitCardAction,    Method::PUT,   &[ID, "cards", ID, "action-submit"],   "submit the card's action",               Report,    true,  PATIENT_CALL),
        route(O::ExecuteCardAction,   Method::PUT,   &[ID, "cards", ID, "action-execute"],  "execute the card's action",              Report,    true,  PATIENT_CALL),
        route(O::ShowHandover,        Method::GET,   &[ID, "handover"],                     "show the hand-over",                     Resend,    false, CALL),
    ]
};

/// An operation and what it is about.
#[derive(Debug, Clone)]
pub(crate) struct Call<'p> {
    pub(crate) route: &'static Route,
    /// The segments of the path below `conversations`.
    pub(crate) path: Vec<&'p str>,
}

/// Why a method and a path are no operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// There is no such path.
    Path,
    /// The path has other methods: these.
    Method(Vec<&'static str>),
}

impl Route {
    /// The row of an operation.
    pub(crate) fn of(operation: Operation) -> &'static Self {
        // Every operation has a row: the test below.
        ROUTES.iter().find(|route| route.operation == operation).unwrap_or(&ROUTES[0])
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    fn has_path(&self, path: &[&str]) -> bool {
        self.path.len() == path.len() && self.path.iter().zip(path).all(|(own, given)| *own == ID || own == given)
    }
}

impl<'p> Call<'p> {
    /// Reads method and path. An id that 8x8 cannot have given out is no path: it would not stay in its place of 8x8's.
    pub(crate) fn parse(method: &Method, path: &'p str) -> Result<Self, NoRoute> {
        let below = path.strip_prefix(BASE).ok_or(NoRoute::Path)?;
        let path: Vec<_> = match below.strip_prefix('/') {
            None if below.is_empty() => Vec::new(),
            None => return Err(NoRoute::Path),
            Some(segments) => segments.split('/').collect(),
        };
        if !path.iter().all(|segment| is_id(segment)) {
            return Err(NoRoute::Path);
        }
        let mut allowed = Vec::new();
        for route in ROUTES.iter().filter(|route| route.has_path(&path)) {
            if route.method == *method {
                return Ok(Self { route, path });
            }
            allowed.push(route.method.as_str());
        }
        Err(if allowed.is_empty() { NoRoute::Path } else { NoRoute::Method(allowed) })
    }

    /// The conversation that it is about.
    pub(crate) fn conversation(&self) -> Option<&'p str> {
        self.path.first().copied()
    }
}

fn is_id(segment: &str) -> bool {
    let is_id_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._~=+:@-".contains(&byte);
    (1..=ID_LIMIT).contains(&segment.len())
        && segment.bytes().all(is_id_byte)
        && segment.bytes().any(|byte| byte != b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'p>(method: &str, path: &'p str) -> Result<Call<'p>, NoRoute> {
        Call::parse(&method.parse().unwrap(), path)
    }

    #[test]
    fn an_operation_is_a_method_and_a_path() {
        let call = parse("GET", "/v1/liveAgent/conversations/c-1/messages/m_2/cards").unwrap();
        assert_eq!(call.route.operation, Operation::ListCards);
        assert_eq!(call.path, ["c-1", "messages", "m_2", "cards"]);
        assert_eq!(call.conversation(), Some("c-1"));
        assert_eq!(parse("POST", BASE).unwrap().route.operation, Operation::CreateConversation);
    }

    #[test]
    fn every_operation_has_one_row() {
        for route in &ROUTES {
            assert_eq!(ROUTES.iter().filter(|other| other.operation == route.operation).count(), 1, "{route:?}");
            assert!(std::ptr::eq(Route::of(route.operation), route));
        }
        assert_eq!(ROUTES.len(), Operation::ShowHandover as usize + 1);
    }

    #[test]
    fn for_another_method_those_that_there_are_are_named() {
        assert_eq!(parse("DELETE", BASE).unwrap_err(), NoRoute::Method(vec!["GET", "POST"]));
        let conversation = "/v1/liveAgent/conversations/c";
        assert_eq!(parse("POST", conversation).unwrap_err(), NoRoute::Method(vec!["GET", "PUT", "PATCH"]));
    }

    #[test]
    fn no_path_leaves_its_place() {
        for path in ["/", "//", "/..", "/.", "/c/../x", "/c/messages/", "/a%2Fb", "/c/nothing", "x", "/a b", "/ä"] {
            assert_eq!(parse("GET", &format!("{BASE}{path}")).unwrap_err(), NoRoute::Path, "{path}");
        }
        assert_eq!(parse("GET", &format!("{BASE}/{}", "x".repeat(256))).unwrap_err(), NoRoute::Path);
        assert_eq!(parse("GET", "/v1/liveAgent/other").unwrap_err(), NoRoute::Path);
    }
}
