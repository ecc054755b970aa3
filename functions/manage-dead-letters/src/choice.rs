//! What an operator asks for, and which letters are meant.
//!
//! `conversation_id`, `event_ids`, `status` and `reason` choose letters; of several, all must match. Every letter is chosen
//! with `"all":true` only. A member that is unknown is refused: without it, more letters would be chosen than were meant.

use serde::Deserialize;
use serde_json::Value;

use crate::letter::Summary;

/// A direct invoke's payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    List,
    Redrive(Choice),
    Discard(Choice),
}

/// Which letters are meant. What is absent or null matches every letter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Choice {
    conversation_id: Option<String>,
    event_ids: Option<Vec<String>>,
    status: Option<u16>,
    reason: Option<String>,
    all: Option<bool>,
}

/// A request that is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidRequest {
    #[error(
        r#"the request must be {{"operation":"list"}} or {{"operation":"redrive"|"discard","conversation_id"?,"event_ids"?,"status"?,"reason"?,"all"?}}"#
    )]
    NotAnOperation,
    #[error(
        r#"no letter is chosen: name a conversation_id, event_ids, a status or a reason, or repeat with "all":true for every letter"#
    )]
    NothingChosen,
    #[error(r#"choose letters either by "all":true or by their properties"#)]
    AllAndSome,
}

impl Operation {
    pub(crate) fn parse(request: &Value) -> Result<Self, InvalidRequest> {
        #[derive(Deserialize)]
        #[serde(tag = "operation", rename_all = "lowercase", deny_unknown_fields)]
        enum Request {
            List {},
            Redrive(Choice),
            Discard(Choice),
        }
        Ok(match Request::deserialize(request).map_err(|_| InvalidRequest::NotAnOperation)? {
            Request::List {} => Self::List,
            Request::Redrive(choice) => Self::Redrive(choice.checked()?),
            Request::Discard(choice) => Self::Discard(choice.checked()?),
        })
    }

    /// For log lines.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Redrive(_) => "redrive",
            Self::Discard(_) => "discard",
        }
    }

    pub(crate) fn chooses(&self, letter: &Summary) -> bool {
        match self {
            Self::List => true,
            Self::Redrive(choice) | Self::Discard(choice) => choice.matches(letter),
        }
    }
}

impl Choice {
    fn checked(self) -> Result<Self, InvalidRequest> {
        let has_property = self.conversation_id.is_some()
            || self.event_ids.is_some()
            || self.status.is_some()
            || self.reason.is_some();
        match (self.all == Some(true), has_property) {
            (true, true) => Err(InvalidRequest::AllAndSome),
            (false, false) => Err(InvalidRequest::NothingChosen),
            (true, false) | (false, true) => Ok(self),
        }
    }

    fn matches(&self, letter: &Summary) -> bool {
        let is_of = |wanted: &Option<String>, actual: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| actual == Some(wanted))
        };
        let is_named = |ids: &Vec<String>| letter.event_id.as_ref().is_some_and(|id| ids.contains(id));
        is_of(&self.conversation_id, letter.conversation_id.as_deref())
            && is_of(&self.reason, Some(&letter.reason))
            && self.event_ids.as_ref().is_none_or(is_named)
            && self.status.is_none_or(|status| letter.status == Some(status))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn letter(event_id: &str, conversation_id: Option<&str>, status: Option<u16>, reason: &str) -> Summary {
        Summary {
            event_id: Some(event_id.to_owned()),
            conversation_id: conversation_id.map(str::to_owned),
            event_type: Some("MESSAGE".to_owned()),
            age_s: 1,
            status,
            reason: reason.to_owned(),
        }
    }

    fn redrive(choice: Value) -> Result<Operation, InvalidRequest> {
        let mut request = choice;
        request["operation"] = "redrive".into();
        Operation::parse(&request)
    }

    #[test]
    fn a_request_without_a_choice_chooses_nothing() {
        for choice in [json!({}), json!({ "all": false }), json!({ "status": null, "event_ids": null })] {
            assert_eq!(redrive(choice), Err(InvalidRequest::NothingChosen));
        }
        assert_eq!(redrive(json!({ "all": true, "status": 400 })), Err(InvalidRequest::AllAndSome));
        assert!(redrive(json!({ "all": true })).unwrap().chooses(&letter("e", None, None, "undelivered")));
        assert!(!redrive(json!({ "event_ids": [] })).unwrap().chooses(&letter("e", None, None, "undelivered")));
    }

    #[test]
    fn what_is_misspelt_or_of_another_kind_is_refused() {
        for request in [
            json!(null),
            json!([]),
            json!({}),
            json!({ "operation": "purge" }),
            json!({ "operation": "list", "status": 400 }),
            json!({ "operation": "discard", "conversation_id": "c", "statuss": 400 }),
            json!({ "operation": "discard", "status": "400" }),
            json!({ "operation": "discard", "event_ids": "e" }),
        ] {
            assert_eq!(Operation::parse(&request), Err(InvalidRequest::NotAnOperation), "{request}");
        }
        assert_eq!(Operation::parse(&json!({ "operation": "list" })), Ok(Operation::List));
    }

    proptest! {
        #[test]
        fn of_several_properties_all_must_match(
            conversation in proptest::option::of(0..2_u8), event in proptest::option::of(0..2_u8),
            status in proptest::option::of(0..2_u16), reason in proptest::option::of(0..2_u8),
        ) {
            let mut choice = json!({});
            if let Some(number) = conversation { choice["conversation_id"] = format!("c{number}").into(); }
            if let Some(number) = event { choice["event_ids"] = json!(["x", format!("e{number}")]); }
            if let Some(number) = status { choice["status"] = (400 + number).into(); }
            if let Some(number) = reason { choice["reason"] = format!("r{number}").into(); }
            // The letter's number is 0 in everything: a property that is given matches if its number is 0.
            let numbers = [conversation, event, status.map(|number| number as u8), reason];
            let given = numbers.iter().flatten().count();
            let expected = match given {
                0 => Err(InvalidRequest::NothingChosen),
                _ => Ok(numbers.iter().flatten().all(|number| *number == 0)),
            };
            let chosen = redrive(choice).map(|operation| operation.chooses(&letter("e0", Some("c0"), Some(400), "r0")));
            prop_assert_eq!(chosen, expected);
        }
    }
}
