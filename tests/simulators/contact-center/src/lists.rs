//! Lists in the form of each dialect, and in other forms that HAL or 8x8's gateway allows.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::api::{Outcome, ok};
use crate::problem::Problem;
use crate::{ContactCenter, ContactCenterApi};

/// The form of the Chat Gateway's lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ListForm {
    /// As 8x8 documents it.
    #[default]
    Documented,
    /// A single item is not in an array, as HAL allows.
    SingleObject,
    /// The numbers of the paging are floating-point numbers.
    Floats,
    /// The numbers of the paging are strings.
    Text,
    /// There are no numbers, but a link to the next page.
    NextLink,
    /// The second page is empty; its items are one page later.
    EmptyPage,
    /// The response to the request for the second page is a 404.
    MissingPage,
    /// The list is in an unknown field.
    Unknown,
}

impl ContactCenter {
    /// From now on, lists have another form that HAL or 8x8's gateway allows.
    pub fn write_lists(&self, form: ListForm) {
        *self.list_form.lock().expect("no holder panics") = form;
    }

    /// A page of a list in the form of each dialect; an empty list has no `_embedded`.
    pub(crate) fn list(&self, name: &str, all: Vec<Value>, query: &HashMap<String, String>) -> Outcome {
        self.list_shown(name, &all, Value::clone, query)
    }

    /// The same, but `show` is called only for the items on the page.
    pub(crate) fn list_shown<T>(
        &self,
        name: &str,
        all: &[T],
        show: impl Fn(&T) -> Value,
        query: &HashMap<String, String>,
    ) -> Outcome {
        let number = |field: &str, default: usize| match query.get(field).map(|text| text.parse()) {
            None => Ok(default),
            Some(Ok(number)) => Ok(number),
            Some(Err(_)) => Err(Problem::constraint(field, "Must be a number.")),
        };
        let (size, page) = (number("size", 20)?, number("page", 0)?);
        if !(1..=100).contains(&size) {
            return Err(Problem::constraint("size", "Must be from 1 to 100."));
        }
        let form = *self.list_form.lock().expect("no holder panics");
        let (total, mut pages) = (all.len(), all.len().div_ceil(size));
        let mut first = page * size;
        match form {
            ListForm::MissingPage if page == 1 => return Err(Problem::not_found("page", "1")),
            ListForm::EmptyPage if page == 1 => first = total,
            ListForm::EmptyPage if page > 1 => first -= size,
            _ => {}
        }
        if form == ListForm::EmptyPage {
            pages += 1;
        }
        let items: Vec<Value> = all.iter().skip(first).take(size).map(show).collect();
        ok(match self.settings.api {
            ContactCenterApi::ChatGatewayV1 if form == ListForm::Unknown => json!({ "items": items }),
            ContactCenterApi::ChatGatewayV1 => {
                let mut list = json!({
                    "page": { "size": size, "number": page, "totalElements": total, "totalPages": pages },
                });
                // The list of messages is documented without links.
                if name != "messages" {
                    list["_links"] = json!({ "self": { "href": format!("/chat-gateway/v1/{name}") } });
                }
                if !items.is_empty() {
                    list["_embedded"] = json!({ name: items });
                }
                match form {
                    ListForm::SingleObject if items.len() == 1 => list["_embedded"][name] = items[0].clone(),
                    ListForm::Floats => {
                        list["page"] = json!({ "totalElements": total as f64, "totalPages": pages as f64 });
                    }
                    ListForm::Text => {
                        list["page"] = json!({ "totalElements": total.to_string(), "totalPages": pages.to_string() });
                    }
                    ListForm::NextLink => {
                        list.as_object_mut().expect("it is an object").remove("page");
                        if page + 1 < pages {
                            list["_links"]["next"] = json!({ "href": format!("/chat-gateway/v1/{name}?page=next") });
                        }
                    }
                    _ => {}
                }
                list
            }
            ContactCenterApi::ChatApiV2 => json!({
                "data": items,
                "page": { "pageSize": size, "pageIndex": page, "elementCount": total, "pageCount": pages },
            }),
        })
    }
}
