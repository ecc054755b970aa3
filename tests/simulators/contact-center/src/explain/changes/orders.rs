//! The orders that the members of a body's objects may have had: a program that sorts members, or keeps them in a hash map,
//! loses the order that was signed.

use super::json::tokens;

/// The members of 8x8's events in the order of its documentation, which is also the order of its samples.
const DOCUMENTED: [&str; 34] = [
    "notificationVersion",
    "eventType",
    "messageType",
    "conversationId",
    "timestamp",
    "data",
    "state",
    "assignment",
    "memberType",
    "change",
    "isEcho",
    "sender",
    "type",
    "queueId",
    "queueName",
    "agentId",
    "agentName",
    "id",
    "resourceId",
    "user",
    "name",
    "userId",
    "email",
    "phone",
    "company",
    "caseId",
    "language",
    "additionalProperties",
    "msisdn",
    "channel",
    "text",
    "message",
    "attachments",
    "cards",
];

/// More orders than this would take seconds. Most of 8x8's events have a few hundred orders.
const LIMIT: usize = 50_000;

/// The limit of the bytes of all orders together.
const MEMORY: usize = 16 << 20;

/// The JSON in its compact form, with the members of its objects in other orders. If there are too many orders, only those in
/// which the inner objects keep their order or have the documented one. Empty if the body is not JSON.
pub(in crate::explain) fn orders(body: &[u8]) -> Vec<Vec<u8>> {
    let Some(tokens) = tokens(body) else { return Vec::new() };
    let limit = LIMIT.min(MEMORY / body.len().max(1));
    orders_of(&tokens, limit).into_iter().map(String::into_bytes).collect()
}

fn orders_of(tokens: &[&str], limit: usize) -> Vec<String> {
    let [open @ ("{" | "["), items @ .., close] = tokens else { return vec![tokens.concat()] };
    let items = items_of(items);
    // An object's items are `"name" : value`.
    let value = if *open == "{" { 2 } else { 0 };
    // 8! orders are within the limit; 9! are not.
    let arrangements = match items.len() {
        _ if *open == "[" => Some(1),
        length @ 0..=8 => Some((1..=length).product::<usize>()),
        _ => None,
    };
    // The orders of each item. `None` if there are too many in all.
    let choices = |orders: &dyn Fn(&[&str]) -> Vec<String>| -> Option<Vec<Vec<String>>> {
        let mut count = arrangements?;
        let choice = |item: &&[&str]| {
            let (name, orders) = (item[..value].concat(), orders(&item[value..]));
            count = count.checked_mul(orders.len()).filter(|count| *count <= limit)?;
            Some(orders.into_iter().map(|value| format!("{name}{value}")).collect())
        };
        items.iter().map(choice).collect()
    };
    let few = |tokens: &[&str]| {
        let mut orders = vec![tokens.concat(), documented(tokens)];
        orders.dedup();
        orders
    };
    let all = choices(&|tokens| orders_of(tokens, limit));
    let Some(choices) = all.or_else(|| choices(&few)) else { return few(tokens) };
    let mut orders = Vec::new();
    for arrangement in if *open == "{" { permutations(items.len()) } else { vec![(0..items.len()).collect()] } {
        let mut texts = vec![String::new()];
        for index in arrangement {
            let join = |text: &String, choice: &String| match text.as_str() {
                "" => choice.clone(),
                text => format!("{text},{choice}"),
            };
            texts = texts.iter().flat_map(|text| choices[index].iter().map(move |choice| join(text, choice))).collect();
        }
        orders.extend(texts.into_iter().map(|text| format!("{open}{text}{close}")));
    }
    orders
}

/// The value with all members in the documented order; undocumented members come last.
fn documented(tokens: &[&str]) -> String {
    let [open @ ("{" | "["), items @ .., close] = tokens else { return tokens.concat() };
    let mut items = items_of(items);
    let value = if *open == "{" { 2 } else { 0 };
    if *open == "{" {
        items.sort_by_key(|item| {
            let name = item[0].trim_matches('"');
            DOCUMENTED.iter().position(|documented| *documented == name).unwrap_or(DOCUMENTED.len())
        });
    }
    let items: Vec<_> = items.iter().map(|item| item[..value].concat() + &documented(&item[value..])).collect();
    format!("{open}{}{close}", items.join(","))
}

/// The items between the commas of an object or array.
fn items_of<'t, 'b>(tokens: &'t [&'b str]) -> Vec<&'t [&'b str]> {
    let mut depth = 0;
    let is_separator = move |token: &&str| {
        match *token {
            "{" | "[" => depth += 1,
            "}" | "]" => depth -= 1,
            _ => {}
        }
        depth == 0 && *token == ","
    };
    if tokens.is_empty() { Vec::new() } else { tokens.split(is_separator).collect() }
}

fn permutations(length: usize) -> Vec<Vec<usize>> {
    let insert = |permutations: Vec<Vec<usize>>, next: usize| {
        let everywhere = |permutation: Vec<usize>| {
            (0..=permutation.len()).map(move |at| {
                let (before, after) = permutation.split_at(at);
                [before, &[next], after].concat()
            })
        };
        permutations.into_iter().flat_map(everywhere).collect()
    };
    (0..length).fold(vec![Vec::new()], insert)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_of_members_is_found_and_arrays_keep_theirs() {
        let orders = orders(br#"{"a":[1,2],"b":{"c":1,"d":2}}"#);
        assert_eq!(orders.len(), 4);
        assert!(orders.contains(&br#"{"b":{"d":2,"c":1},"a":[1,2]}"#.to_vec()));
    }

    #[test]
    fn an_object_with_too_many_orders_is_tried_in_its_own_and_the_documented_one() {
        let members = |names: &str| names.split(' ').map(|name| format!("\"{name}\":0")).collect::<Vec<_>>().join(",");
        let sorted =
            format!("{{{}}}", members("agentId caseId company email language name phone text user userId zebra"));
        let documented =
            format!("{{{}}}", members("agentId user name userId email phone company caseId language text zebra"));
        let expected = [sorted.as_str(), &documented].map(|text| text.as_bytes().to_vec());
        assert_eq!(orders(sorted.as_bytes()), expected);
    }
}
