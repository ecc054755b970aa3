//! The operations of the conversation API: which there are, by method and path, and what may be done when nobody knows
//! whether 8x8 has carried one out.

use bytes::Bytes;
use http::{HeaderValue, Method};

/// What all paths begin with.
const BASE: &str = "/v1/liveAgent/conversations";

/// 8x8's ids have 22 to 90 characters; the limit keeps a URL that is made of two of them short.
const ID_LIMIT: usize = 255;

/// An operation of 8x8's Chat Gateway on conversations.
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
}

/// What to do when 8x8 has not said whether it carried an operation out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InDoubt {
    /// Send it again: a second time changes nothing, or nothing that anyone sees.
    SendAgain,
    /// Look whether it has had its effect.
    ReadBack,
    /// Its effect cannot be seen, and a second one would be.
    GiveUp,
}

impl Operation {
    /// Completes "to …" in errors.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ListConversations => "list the conversations",
            Self::CreateConversation => "create the conversation",
            Self::ShowConversation => "show the conversation",
            Self::ReplaceConversation | Self::ChangeConversation => "update the conversation",
            Self::ListInteractions => "list the interactions",
            Self::AssignAfterAgent => "assign the conversation after the agent",
            Self::ShowTyping => "show that somebody types",
            Self::ShowThinking => "show that the bot thinks",
            Self::SendReadReceipt => "send the read receipt",
            Self::ListParticipants => "list the participants",
            Self::RemoveUser => "end the conversation",
            Self::ListMessages => "list the messages",
            Self::SendMessage => "send the message",
            Self::ShowMessage => "show the message",
            Self::ListCards => "list the cards",
            Self::ListAttachments => "list the attachments",
            Self::AddAttachment => "add the attachment",
            Self::ShowAttachment => "show the attachment",
            Self::DownloadAttachment => "download the attachment",
            Self::SubmitCardAction => "submit the card's action",
            Self::ExecuteCardAction => "execute the card's action",
        }
    }

    pub(crate) fn in_doubt(self) -> InDoubt {
        match self {
            Self::CreateConversation | Self::SendMessage => InDoubt::ReadBack,
            // 8x8 shows no such assignment, and tells the agent and the webhook of every action on a card.
            Self::AssignAfterAgent | Self::SubmitCardAction | Self::ExecuteCardAction => InDoubt::GiveUp,
            // An attachment that no message refers to is seen by nobody.
            Self::AddAttachment
            | Self::ListConversations
            | Self::ShowConversation
            | Self::ReplaceConversation
            | Self::ChangeConversation
            | Self::ListInteractions
            | Self::ShowTyping
            | Self::ShowThinking
            | Self::SendReadReceipt
            | Self::ListParticipants
            | Self::RemoveUser
            | Self::ListMessages
            | Self::ShowMessage
            | Self::ListCards
            | Self::ListAttachments
            | Self::ShowAttachment
            | Self::DownloadAttachment => InDoubt::SendAgain,
        }
    }

    /// Whether an `Idempotency-Key` is of use: the operation adds something each time.
    pub(crate) fn adds(self) -> bool {
        self == Self::AddAttachment || self.in_doubt() != InDoubt::SendAgain
    }

    fn of(method: &Method, path: &[&str]) -> Option<Self> {
        Some(match (method.as_str(), path) {
            ("GET", []) => Self::ListConversations,
            ("POST", []) => Self::CreateConversation,
            ("GET", [_]) => Self::ShowConversation,
            ("PUT", [_]) => Self::ReplaceConversation,
            ("PATCH", [_]) => Self::ChangeConversation,
            ("GET", [_, "interactions"]) => Self::ListInteractions,
            ("POST", [_, "post-agent-assignment"]) => Self::AssignAfterAgent,
            ("POST", [_, "typing"]) => Self::ShowTyping,
            ("POST", [_, "thinking"]) => Self::ShowThinking,
            ("POST", [_, "read-receipt"]) => Self::SendReadReceipt,
            ("GET", [_, "participants"]) => Self::ListParticipants,
            ("PATCH", [_, "participants", "user"]) => Self::RemoveUser,
            ("GET", [_, "messages"]) => Self::ListMessages,
            ("POST", [_, "messages"]) => Self::SendMessage,
            ("GET", [_, "messages", _]) => Self::ShowMessage,
            ("GET", [_, "messages", _, "cards"]) => Self::ListCards,
            ("GET", [_, "attachments"]) => Self::ListAttachments,
            ("POST", [_, "attachments"]) => Self::AddAttachment,
            ("GET", [_, "attachments", _]) => Self::ShowAttachment,
            ("GET", [_, "attachments", _, "content"]) => Self::DownloadAttachment,
            ("PUT", [_, "cards", _, "action-submit"]) => Self::SubmitCardAction,
            ("PUT", [_, "cards", _, "action-execute"]) => Self::ExecuteCardAction,
            _ => return None,
        })
    }
}

/// An operation and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call<'p> {
    pub(crate) operation: Operation,
    /// The segments of the path below `conversations`.
    pub(crate) path: Vec<&'p str>,
}

/// Why a method and a path are no operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoOperation {
    /// There is no such path.
    Path,
    /// The path has other methods: these.
    Method(Vec<&'static str>),
}

impl<'p> Call<'p> {
    /// Reads method and path. An id that 8x8 cannot have given out is no path: it would not stay in its place of 8x8's.
    pub(crate) fn parse(method: &Method, path: &'p str) -> Result<Self, NoOperation> {
        let below = path.strip_prefix(BASE).ok_or(NoOperation::Path)?;
        let path: Vec<_> = match below.strip_prefix('/') {
            None if below.is_empty() => Vec::new(),
            None => return Err(NoOperation::Path),
            Some(segments) => segments.split('/').collect(),
        };
        if !path.iter().all(|segment| is_id(segment)) {
            return Err(NoOperation::Path);
        }
        match Operation::of(method, &path) {
            Some(operation) => Ok(Self { operation, path }),
            None => {
                let is_allowed = |method: &Method| Operation::of(method, &path).is_some();
                let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH];
                let allowed = ["GET", "POST", "PUT", "PATCH"].into_iter().zip(&methods);
                let allowed: Vec<_> = allowed.filter(|(_, method)| is_allowed(method)).map(|(name, _)| name).collect();
                Err(if allowed.is_empty() { NoOperation::Path } else { NoOperation::Method(allowed) })
            }
        }
    }

    /// The conversation that it is about.
    pub(crate) fn conversation(&self) -> Option<&'p str> {
        self.path.first().copied()
    }
}

/// What a caller sends beside method and path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    pub(crate) query: Option<String>,
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) body: Bytes,
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

    fn parse<'p>(method: &str, path: &'p str) -> Result<Call<'p>, NoOperation> {
        Call::parse(&method.parse().unwrap(), path)
    }

    #[test]
    fn an_operation_is_a_method_and_a_path() {
        let call = parse("GET", "/v1/liveAgent/conversations/c-1/messages/m_2/cards").unwrap();
        assert_eq!(call.operation, Operation::ListCards);
        assert_eq!(call.path, ["c-1", "messages", "m_2", "cards"]);
        assert_eq!(call.conversation(), Some("c-1"));
        assert_eq!(parse("POST", BASE).unwrap().operation, Operation::CreateConversation);
    }

    #[test]
    fn another_method_is_told_which_there_are() {
        assert_eq!(parse("DELETE", BASE), Err(NoOperation::Method(vec!["GET", "POST"])));
        let conversation = "/v1/liveAgent/conversations/c";
        assert_eq!(parse("POST", conversation), Err(NoOperation::Method(vec!["GET", "PUT", "PATCH"])));
    }

    #[test]
    fn no_path_leaves_its_place() {
        for path in ["/", "//", "/..", "/.", "/c/../x", "/c/messages/", "/a%2Fb", "/c/nothing", "x", "/a b", "/ä"] {
            assert_eq!(parse("GET", &format!("{BASE}{path}")), Err(NoOperation::Path), "{path}");
        }
        assert_eq!(parse("GET", &format!("{BASE}/{}", "x".repeat(256))), Err(NoOperation::Path));
        assert_eq!(parse("GET", "/v1/liveAgent/other"), Err(NoOperation::Path));
    }
}
