//! DynamoDB: tables of items with one key each, conditional puts and updates, queries of an index, and the expression languages
//! as far as the functions use them. An expression that is not simulated is refused, as DynamoDB refuses a mistake.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/>

use std::cmp;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use serde_json::{Map, Value, json};

use super::AwsError;

type Item = Map<String, Value>;

/// Evaluates a write on a table: returns the id of an item and its new content.
type Write = fn(&Table, &Value) -> Result<(String, Item), AwsError>;

/// The tables of an account, each with the name of its key and its items by the key's value.
#[derive(Debug, Default)]
pub struct DynamoDb {
    tables: Mutex<BTreeMap<String, Table>>,
    /// How many of the next writes conflict with a transaction in progress.
    conflicts: AtomicUsize,
}

#[derive(Debug)]
struct Table {
    key: String,
    /// The key attribute of each index: an item without this attribute is not in the index.
    indexes: BTreeMap<String, String>,
    items: BTreeMap<String, Item>,
}

/// DynamoDB cuts a page of a query at 1 MB. Here a page has at most this many items, so that callers get several pages.
const PAGE: usize = 100;

impl DynamoDb {
    /// Creates a table whose items have the key `key`, a string.
    pub fn add(&self, name: &str, key: &str) {
        let table = Table { key: key.to_owned(), indexes: BTreeMap::new(), items: BTreeMap::new() };
        self.tables().insert(name.to_owned(), table);
    }

    /// Adds an index to a table, of the items that have `attribute`, a string.
    pub fn add_index(&self, table: &str, name: &str, attribute: &str) {
        let mut tables = self.tables();
        let table = tables.get_mut(table).expect("the table exists");
        table.indexes.insert(name.to_owned(), attribute.to_owned());
    }

    /// The next `times` writes are rejected because another write is in progress.
    pub fn conflict(&self, times: usize) {
        self.conflicts.store(times, Ordering::SeqCst);
    }

    /// The items of a table, without a request.
    pub fn items(&self, name: &str) -> Vec<Value> {
        let tables = self.tables();
        tables.get(name).expect("the table exists").items.values().cloned().map(Value::Object).collect()
    }

    /// Sets an attribute of all items of a table, without a request.
    pub fn set(&self, name: &str, attribute: &str, value: &Value) {
        for item in self.tables().get_mut(name).expect("the table exists").items.values_mut() {
            item.insert(attribute.to_owned(), value.clone());
        }
    }

    /// Adds `by` to a number in all items of a table that have it, without a request.
    pub fn advance(&self, name: &str, attribute: &str, by: i64) {
        for item in self.tables().get_mut(name).expect("the table exists").items.values_mut() {
            let number = item.get(attribute).and_then(|value| value["N"].as_str()?.parse::<i64>().ok());
            if let Some(number) = number {
                item.insert(attribute.to_owned(), json!({ "N": (number + by).to_string() }));
            }
        }
    }

    /// Responds to one operation.
    pub(super) fn call(&self, operation: &str, input: &Value) -> Result<Value, AwsError> {
        match operation {
            "CreateTable" => self.create_table(input),
            "GetItem" => self.get_item(input),
            "PutItem" => self.write(input, put_item),
            "UpdateItem" => self.write(input, update_item),
            "Query" => self.query(input),
            "TransactWriteItems" => self.transact_write_items(input),
            unknown => Err(AwsError::unknown_operation(unknown)),
        }
    }

    fn create_table(&self, input: &Value) -> Result<Value, AwsError> {
        let name = input["TableName"].as_str().ok_or_else(|| invalid("TableName must be there"))?;
        let key = match input["KeySchema"].as_array().map(Vec::as_slice) {
            Some([key]) if key["KeyType"] == "HASH" => key["AttributeName"].as_str(),
            _ => None,
        };
        self.add(name, key.ok_or_else(|| invalid("only one key of the type HASH is simulated"))?);
        for index in input["GlobalSecondaryIndexes"].as_array().into_iter().flatten() {
            let schema = index["KeySchema"].as_array().map(Vec::as_slice);
            let (Some(index_name), Some([key])) = (index["IndexName"].as_str(), schema) else {
                return Err(invalid("only indexes with one key are simulated"));
            };
            if index["Projection"]["ProjectionType"] != "ALL" {
                return Err(invalid("only indexes with whole items are simulated"));
            }
            self.add_index(name, index_name, key["AttributeName"].as_str().unwrap_or_default());
        }
        Ok(json!({ "TableDescription": { "TableName": name, "TableStatus": "ACTIVE" } }))
    }

    fn get_item(&self, input: &Value) -> Result<Value, AwsError> {
        let mut tables = self.tables();
        let table = find(&mut tables, input)?;
        let item = table.items.get(&string(input["Key"].get(&table.key))?);
        Ok(item.map_or_else(|| json!({}), |item| json!({ "Item": item })))
    }

    /// The items of an index with that key, page by page.
    fn query(&self, input: &Value) -> Result<Value, AwsError> {
        let mut tables = self.tables();
        let table = find(&mut tables, input)?;
        let attribute = input["IndexName"].as_str().and_then(|index| table.indexes.get(index));
        let attribute = attribute.ok_or_else(|| invalid("The table does not have the specified index"))?;
        let condition = input["KeyConditionExpression"].as_str().and_then(|condition| condition.split_once(" = "));
        let (key, value) = condition.ok_or_else(|| invalid("a key condition is name = :value"))?;
        if name(key)? != attribute {
            return Err(invalid("Query condition missed key schema element"));
        }
        let value = substitute(input, value)?;
        let start = input["ExclusiveStartKey"].get(&table.key).map(|key| string(Some(key))).transpose()?;
        let after = |id: &String| start.as_ref().is_none_or(|start| id > start);
        let found = table.items.iter().filter(|(id, item)| after(id) && item.get(attribute) == Some(value));
        let mut page: Vec<_> = found.take(PAGE + 1).collect();
        let has_more = page.len() > PAGE;
        page.truncate(PAGE);
        let items: Vec<&Item> = page.iter().map(|(_, item)| *item).collect();
        let mut response = json!({ "Items": items, "Count": items.len(), "ScannedCount": items.len() });
        if let (true, Some((id, _))) = (has_more, page.last()) {
            response["LastEvaluatedKey"] = json!({ &table.key: { "S": id }, attribute: value });
        }
        Ok(response)
    }

    fn write(&self, input: &Value, kind: Write) -> Result<Value, AwsError> {
        let mut tables = self.tables();
        let table = find(&mut tables, input)?;
        let (id, item) = kind(table, input)?;
        if self.is_conflict() {
            return Err(AwsError::invalid("TransactionConflictException", "Transaction is ongoing for the item"));
        }
        table.items.insert(id, item);
        Ok(json!({}))
    }

    /// Puts and updates of different items, all of them or none.
    fn transact_write_items(&self, input: &Value) -> Result<Value, AwsError> {
        let mut tables = self.tables();
        let items = input["TransactItems"].as_array().ok_or_else(|| invalid("TransactItems must be there"))?;
        let mut writes = Vec::new();
        let mut reasons = Vec::new();
        for item in items {
            let (kind, write) = match (item.get("Put"), item.get("Update")) {
                (Some(put), None) => (put_item as Write, put),
                (None, Some(update)) => (update_item as Write, update),
                _ => return Err(invalid("only Put and Update are simulated in a transaction")),
            };
            match kind(find(&mut tables, write)?, write) {
                Ok(written) => {
                    writes.push((write, written));
                    reasons.push(json!({ "Code": "None" }));
                }
                Err(error) if error.kind == "ConditionalCheckFailedException" => {
                    let mut reason = error.fields.unwrap_or_else(|| json!({}));
                    reason["Code"] = "ConditionalCheckFailed".into();
                    reason["Message"] = "The conditional request failed".into();
                    reasons.push(reason);
                }
                Err(error) => return Err(error),
            }
        }
        if self.is_conflict() {
            reasons = vec![json!({ "Code": "TransactionConflict" }); items.len()];
        } else if writes.len() == items.len() {
            for (write, (id, item)) in writes {
                find(&mut tables, write)?.items.insert(id, item);
            }
            return Ok(json!({}));
        }
        let message = "Transaction cancelled, please refer cancellation reasons for specific reasons";
        let mut error = AwsError::invalid("TransactionCanceledException", message);
        error.fields = Some(json!({ "CancellationReasons": reasons }));
        Err(error)
    }

    /// Whether this write conflicts with another one, as a test has requested.
    fn is_conflict(&self) -> bool {
        let next = |left: usize| left.checked_sub(1);
        self.conflicts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).is_ok()
    }

    fn tables(&self) -> MutexGuard<'_, BTreeMap<String, Table>> {
        self.tables.lock().expect("no holder panics")
    }
}

fn find<'t>(tables: &'t mut BTreeMap<String, Table>, input: &Value) -> Result<&'t mut Table, AwsError> {
    let name = input["TableName"].as_str().unwrap_or_default();
    tables.get_mut(name).ok_or_else(|| AwsError::invalid("ResourceNotFoundException", "Requested resource not found"))
}

/// The id and the content of the item that a put stores, if its condition holds.
fn put_item(table: &Table, input: &Value) -> Result<(String, Item), AwsError> {
    let item = input["Item"].as_object().cloned().ok_or_else(|| invalid("Item must be there"))?;
    let id = string(item.get(&table.key))?;
    check(input, table.items.get(&id))?;
    Ok((id, item))
}

/// The id and the new content of the item that an update changes, if its condition holds.
fn update_item(table: &Table, input: &Value) -> Result<(String, Item), AwsError> {
    let id = string(input["Key"].get(&table.key))?;
    check(input, table.items.get(&id))?;
    let expression = input["UpdateExpression"].as_str().unwrap_or_default();
    let assignments = expression.strip_prefix("SET ").ok_or_else(|| invalid("an update begins with SET"))?;
    let (assignments, removals) = assignments.split_once(" REMOVE ").unwrap_or((assignments, ""));
    let (assignments, additions) = assignments.split_once(" ADD ").unwrap_or((assignments, ""));
    let new_item = || Item::from_iter([(table.key.clone(), json!({ "S": id }))]);
    let before = table.items.get(&id).cloned().unwrap_or_else(new_item);
    let mut item = before.clone();
    for assignment in operands(assignments) {
        let (attribute, value) = assignment.split_once('=').ok_or_else(|| invalid("an assignment has one ="))?;
        item.insert(named(attribute, input)?.to_owned(), evaluate(value.trim(), &before, input)?);
    }
    for addition in operands(additions).into_iter().filter(|addition| !addition.is_empty()) {
        let (attribute, value) = addition.split_once(' ').ok_or_else(|| invalid("an addition is name :value"))?;
        let sum = added(before.get(name(attribute)?), substitute(input, value.trim())?)?;
        item.insert(attribute.to_owned(), sum);
    }
    for attribute in operands(removals).into_iter().filter(|attribute| !attribute.is_empty()) {
        item.remove(named(attribute, input)?);
    }
    Ok((id, item))
}

/// The result of `ADD` on an attribute: a sum of numbers, or the union of two sets of strings. A missing attribute counts as 0
/// or empty.
fn added(before: Option<&Value>, value: &Value) -> Result<Value, AwsError> {
    if let Some(number) = value["N"].as_str() {
        let before = before.map_or(Some("0"), |before| before["N"].as_str());
        let sum = before.and_then(|before| Some(before.parse::<i128>().ok()? + number.parse::<i128>().ok()?));
        return Ok(json!({ "N": sum.ok_or_else(|| invalid("an operand is no number"))?.to_string() }));
    }
    let set = |value: &Value| value["SS"].as_array().filter(|set| !set.is_empty()).cloned();
    let added = set(value).ok_or_else(|| invalid("only numbers and sets of strings can be added"))?;
    let mut union = match before {
        None => Vec::new(),
        Some(before) => {
            set(before).ok_or_else(|| invalid("An operand in the update expression has an incorrect data type"))?
        }
    };
    union.extend(added.into_iter().filter(|element| !union.contains(element)).collect::<Vec<_>>());
    Ok(json!({ "SS": union }))
}

/// Refuses the request if its condition does not hold for the present item.
fn check(input: &Value, item: Option<&Item>) -> Result<(), AwsError> {
    let Some(condition) = input["ConditionExpression"].as_str() else { return Ok(()) };
    // AND binds closer than OR.
    let mut holds = false;
    for alternative in condition.split(" OR ") {
        let mut all_hold = true;
        for term in alternative.split(" AND ") {
            all_hold &= holds_for(item, term.trim(), input)?;
        }
        holds |= all_hold;
    }
    if holds {
        return Ok(());
    }
    let mut error = AwsError::invalid("ConditionalCheckFailedException", "The conditional request failed");
    if input["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD" {
        error.fields = item.map(|item| json!({ "Item": item }));
    }
    Err(error)
}

fn holds_for(item: Option<&Item>, term: &str, input: &Value) -> Result<bool, AwsError> {
    if let Some(attribute) = term.strip_prefix("attribute_not_exists(").and_then(|rest| rest.strip_suffix(')')) {
        let attribute = name(attribute)?;
        return Ok(item.is_none_or(|item| !item.contains_key(attribute)));
    }
    if let Some(operands) = term.strip_prefix("NOT contains(").and_then(|rest| rest.strip_suffix(')')) {
        let (attribute, value) = operands.split_once(", ").ok_or_else(|| invalid("contains has two operands"))?;
        let (attribute, value) = (name(attribute)?, substitute(input, value)?);
        let set = item.and_then(|item| item.get(attribute)?["SS"].as_array());
        return Ok(set.is_none_or(|set| !set.contains(&value["S"])));
    }
    let [attribute, comparison, value] = term.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err(invalid("a condition is attribute_not_exists(name), NOT contains(name, :value) or a comparison"));
    };
    let value = substitute(input, value)?;
    let ordering = item.and_then(|item| item.get(name(attribute).ok()?)).and_then(|found| compare(found, value));
    match comparison {
        "=" => Ok(ordering == Some(cmp::Ordering::Equal)),
        "<=" => Ok(matches!(ordering, Some(cmp::Ordering::Less | cmp::Ordering::Equal))),
        _ => Err(invalid("only = and <= are simulated")),
    }
}

/// Values of different types are neither less nor equal.
fn compare(one: &Value, other: &Value) -> Option<cmp::Ordering> {
    let number = |value: &Value| value.get("N")?.as_str()?.parse::<i128>().ok();
    match (number(one), number(other)) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => (one == other).then_some(cmp::Ordering::Equal),
    }
}

/// A placeholder, one of two functions, or a sum of two of these.
fn evaluate(expression: &str, item: &Item, input: &Value) -> Result<Value, AwsError> {
    if let Some((one, other)) = expression.split_once(" + ") {
        let number = |value: Value| value["N"].as_str().and_then(|number| number.parse::<i128>().ok());
        let (one, other) = (evaluate(one, item, input)?, evaluate(other, item, input)?);
        let sum = number(one).zip(number(other)).ok_or_else(|| invalid("an operand is no number"))?;
        return Ok(json!({ "N": (sum.0 + sum.1).to_string() }));
    }
    let Some((function, rest)) = expression.split_once('(') else { return substitute(input, expression).cloned() };
    let arguments = rest.strip_suffix(')').ok_or_else(|| invalid("a function has two parentheses"))?;
    match (function, operands(arguments)[..].as_ref()) {
        ("if_not_exists", [attribute, default]) => match item.get(name(attribute)?) {
            Some(value) => Ok(value.clone()),
            None => evaluate(default, item, input),
        },
        ("list_append", [one, other]) => {
            let list = |value: Value| value["L"].as_array().cloned().ok_or_else(|| invalid("an operand is no list"));
            let (one, other) = (list(evaluate(one, item, input)?)?, list(evaluate(other, item, input)?)?);
            let both = [one, other].concat();
            Ok(json!({ "L": both }))
        }
        _ => Err(invalid("only list_append and if_not_exists are simulated")),
    }
}

/// The texts between the commas that are not inside parentheses.
fn operands(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let is_separator = |letter: char| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth == 0
    };
    text.split(is_separator).map(str::trim).collect()
}

fn substitute<'i>(input: &'i Value, placeholder: &str) -> Result<&'i Value, AwsError> {
    let value = input["ExpressionAttributeValues"].get(placeholder);
    value.ok_or_else(|| {
        invalid(&format!("An expression attribute value used in expression is not defined: {placeholder}"))
    })
}

/// An attribute's name, or the name for which a placeholder like `#name` stands.
fn named<'i>(attribute: &'i str, input: &'i Value) -> Result<&'i str, AwsError> {
    let attribute = attribute.trim();
    match attribute.starts_with('#') {
        true => input["ExpressionAttributeNames"][attribute].as_str().ok_or_else(|| {
            invalid(&format!("An expression attribute name used in the document path is not defined: {attribute}"))
        }),
        false => name(attribute),
    }
}

/// An attribute's name as it is allowed in an expression. DynamoDB has 573 reserved words; the list here has some of them.
fn name(attribute: &str) -> Result<&str, AwsError> {
    const RESERVED: [&str; 10] =
        ["status", "name", "state", "timestamp", "ttl", "type", "value", "key", "body", "owner"];

    let attribute = attribute.trim();
    if RESERVED.contains(&attribute.to_ascii_lowercase().as_str()) {
        return Err(invalid(&format!("Attribute name is a reserved keyword; reserved keyword: {attribute}")));
    }
    let is_name = !attribute.is_empty() && attribute.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some(attribute).ok_or_else(|| invalid("an attribute's name has letters, digits and _"))
}

fn string(value: Option<&Value>) -> Result<String, AwsError> {
    let text = value.and_then(|value| value.get("S")).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.map(str::to_owned)
        .ok_or_else(|| invalid("One or more parameter values were invalid: the key must be a string"))
}

fn invalid(message: &str) -> AwsError {
    AwsError::invalid("ValidationException", message)
}
