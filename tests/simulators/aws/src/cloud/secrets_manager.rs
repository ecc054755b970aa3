//! Secrets Manager: secrets with versions and staging labels.
//!
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/>

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::AwsError;

const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";
const PENDING: &str = "AWSPENDING";

/// The secrets of an account.
#[derive(Debug, Default)]
pub struct SecretsManager {
    secrets: Mutex<BTreeMap<String, Secret>>,
}

#[derive(Debug)]
struct Secret {
    arn: String,
    /// Oldest first.
    versions: Vec<Version>,
}

#[derive(Debug)]
struct Version {
    id: String,
    /// `None` while a rotation has begun and has not made the value yet.
    value: Option<String>,
    stages: Vec<String>,
    created: f64,
}

impl Secret {
    fn staged(&self, stage: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.stages.iter().any(|label| label == stage))
    }

    /// Moves `stage` to the version with that id. If `stage` is AWSCURRENT, the version that had it gets AWSPREVIOUS.
    fn stage(&mut self, id: &str, stage: &str) {
        if stage == CURRENT
            && let Some(current) = self.staged(CURRENT).map(|version| version.id.clone())
            && current != id
        {
            self.stage(&current, PREVIOUS);
        }
        self.unstage(stage);
        for version in self.versions.iter_mut().filter(|version| version.id == id) {
            version.stages.push(stage.to_owned());
        }
    }

    fn unstage(&mut self, stage: &str) {
        for version in &mut self.versions {
            version.stages.retain(|label| label != stage);
        }
    }
}

impl SecretsManager {
    /// Creates a secret, or replaces its value, without a request.
    pub fn set(&self, name: &str, value: &Value) {
        let mut secrets = self.secrets();
        let secret = secrets.entry(name.to_owned()).or_insert_with(|| Secret::new(name));
        let id = simulation::id::uuid();
        secret.versions.push(Version::new(&id, Some(value.to_string())));
        secret.stage(&id, CURRENT);
    }

    /// Begins a rotation, as RotateSecret does: a version without a value gets the label AWSPENDING. Returns its id.
    ///
    /// # Panics
    /// If the previous rotation is not complete: then RotateSecret fails
    /// (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html>).
    pub fn begin_rotation(&self, name: &str) -> String {
        let mut secrets = self.secrets();
        let secret = secrets.get_mut(name).expect("the secret exists");
        let is_over = secret.staged(PENDING).is_none_or(|pending| pending.stages.iter().any(|label| label == CURRENT));
        assert!(is_over, "a previous rotation isn't complete");
        let id = simulation::id::uuid();
        secret.versions.push(Version::new(&id, None));
        secret.stage(&id, PENDING);
        id
    }

    /// Makes all versions of a secret older by this time.
    pub fn age(&self, name: &str, by: Duration) {
        let mut secrets = self.secrets();
        for version in &mut secrets.get_mut(name).expect("the secret exists").versions {
            version.created -= by.as_secs_f64();
        }
    }

    /// The current value, without a request.
    pub fn current(&self, name: &str) -> Value {
        let secrets = self.secrets();
        let version = secrets.get(name).and_then(|secret| secret.staged(CURRENT)).expect("the secret exists");
        let value = version.value.as_deref().expect("a current version has a value");
        serde_json::from_str(value).expect("secrets hold JSON")
    }

    /// How many versions a secret has had.
    pub fn versions(&self, name: &str) -> usize {
        self.secrets().get(name).map_or(0, |secret| secret.versions.len())
    }

    /// Responds to one operation.
    pub(super) fn call(&self, operation: &str, input: &Value) -> Result<Value, AwsError> {
        match operation {
            "CreateSecret" => self.create_secret(input),
            "GetSecretValue" => self.get_secret_value(input),
            "PutSecretValue" => self.put_secret_value(input),
            "DescribeSecret" => self.describe_secret(input),
            "ListSecretVersionIds" => self.list_secret_version_ids(input),
            "UpdateSecretVersionStage" => self.update_secret_version_stage(input),
            unknown => Err(AwsError::unknown_operation(unknown)),
        }
    }

    fn create_secret(&self, input: &Value) -> Result<Value, AwsError> {
        let name = text(input, "Name")?;
        let mut secrets = self.secrets();
        if secrets.contains_key(name) {
            return Err(exists(format!("The operation failed because the secret {name} already exists.")));
        }
        let mut secret = Secret::new(name);
        let mut response = json!({ "ARN": secret.arn, "Name": name });
        if let Some(value) = input.get("SecretString").and_then(Value::as_str) {
            let id = version_id(input)?;
            secret.versions.push(Version::new(&id, Some(value.to_owned())));
            secret.stage(&id, CURRENT);
            response["VersionId"] = id.into();
        }
        secrets.insert(name.to_owned(), secret);
        Ok(response)
    }

    fn get_secret_value(&self, input: &Value) -> Result<Value, AwsError> {
        let secrets = self.secrets();
        let (name, secret) = find(&secrets, input)?;
        let version = match (input.get("VersionId").and_then(Value::as_str), input.get("VersionStage")) {
            (Some(id), _) => secret.versions.iter().find(|version| version.id == id),
            (None, stage) => secret.staged(stage.and_then(Value::as_str).unwrap_or(CURRENT)),
        };
        let version = version.filter(|version| version.value.is_some()).ok_or_else(|| {
            not_found("Secrets Manager can't find the specified secret value for that version or staging label")
        })?;
        Ok(json!({
            "ARN": secret.arn,
            "Name": name,
            "VersionId": version.id,
            "SecretString": version.value,
            "VersionStages": version.stages,
            "CreatedDate": version.created,
        }))
    }

    fn put_secret_value(&self, input: &Value) -> Result<Value, AwsError> {
        let id = version_id(input)?;
        let value = text(input, "SecretString")?;
        let mut secrets = self.secrets();
        let name = find(&secrets, input)?.0.to_owned();
        let secret = secrets.get_mut(&name).expect("it was found");
        match secret.versions.iter_mut().find(|version| version.id == id) {
            Some(version) if version.value.is_none() => version.value = Some(value.to_owned()),
            Some(version) if version.value.as_deref() != Some(value) => {
                return Err(exists(format!(
                    "You can't use ClientRequestToken {id} because that value is already in use for a version of secret {name}."
                )));
            }
            // The same value under the same id is a no-op.
            Some(_) => {}
            None => {
                secret.versions.push(Version::new(&id, Some(value.to_owned())));
                match input.get("VersionStages").and_then(Value::as_array) {
                    Some(stages) => {
                        for stage in stages.iter().filter_map(Value::as_str) {
                            secret.stage(&id, stage);
                        }
                    }
                    None => secret.stage(&id, CURRENT),
                }
            }
        }
        let stages = &secret.versions.iter().find(|version| version.id == id).expect("it was put").stages;
        Ok(json!({ "ARN": secret.arn, "Name": name, "VersionId": id, "VersionStages": stages }))
    }

    fn describe_secret(&self, input: &Value) -> Result<Value, AwsError> {
        let secrets = self.secrets();
        let (name, secret) = find(&secrets, input)?;
        let staged = secret.versions.iter().filter(|version| !version.stages.is_empty());
        let stages: Map<String, Value> = staged.map(|version| (version.id.clone(), json!(version.stages))).collect();
        Ok(json!({ "ARN": secret.arn, "Name": name, "RotationEnabled": true, "VersionIdsToStages": stages }))
    }

    /// Lists in pages of two, so that every list has several pages.
    fn list_secret_version_ids(&self, input: &Value) -> Result<Value, AwsError> {
        const PAGE: usize = 2;

        let secrets = self.secrets();
        let (name, secret) = find(&secrets, input)?;
        let with_deprecated = input.get("IncludeDeprecated").and_then(Value::as_bool).unwrap_or(false);
        let listed = secret.versions.iter().filter(|version| with_deprecated || !version.stages.is_empty());
        let start = match input.get("NextToken").and_then(Value::as_str) {
            None => 0,
            Some(token) => token
                .parse()
                .map_err(|_| AwsError::invalid("InvalidNextTokenException", "The NextToken value is invalid."))?,
        };
        let mut rest = listed.skip(start);
        let page: Vec<Value> = rest.by_ref().take(PAGE).map(Version::entry).collect();
        let mut response = json!({ "ARN": secret.arn, "Name": name, "Versions": page });
        if rest.next().is_some() {
            response["NextToken"] = (start + PAGE).to_string().into();
        }
        Ok(response)
    }

    fn update_secret_version_stage(&self, input: &Value) -> Result<Value, AwsError> {
        let (stage, to) = (text(input, "VersionStage")?, input.get("MoveToVersionId").and_then(Value::as_str));
        let mut secrets = self.secrets();
        let name = find(&secrets, input)?.0.to_owned();
        let secret = secrets.get_mut(&name).expect("it was found");
        if to.is_some_and(|to| !secret.versions.iter().any(|version| version.id == to)) {
            return Err(not_found("Secrets Manager can't find the version to move the staging label to."));
        }
        let from = input.get("RemoveFromVersionId").and_then(Value::as_str);
        let holder = secret.staged(stage).map(|version| version.id.as_str());
        if holder != from && (holder.is_some() || to.is_none()) {
            let message = "RemoveFromVersionId must name the version that the staging label is attached to.";
            return Err(AwsError::invalid("InvalidParameterException", message));
        }
        match to {
            Some(to) => secret.stage(to, stage),
            None => secret.unstage(stage),
        }
        Ok(json!({ "ARN": secret.arn, "Name": name }))
    }

    fn secrets(&self) -> MutexGuard<'_, BTreeMap<String, Secret>> {
        self.secrets.lock().expect("no holder panics")
    }
}

impl Secret {
    fn new(name: &str) -> Self {
        let arn = format!("arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}-AbCdEf");
        Self { arn, versions: Vec::new() }
    }
}

impl Version {
    fn new(id: &str, value: Option<String>) -> Self {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs_f64();
        Self { id: id.to_owned(), value, stages: Vec::new(), created }
    }

    fn entry(&self) -> Value {
        json!({ "VersionId": self.id, "VersionStages": self.stages, "CreatedDate": self.created })
    }
}

fn find<'a>(secrets: &'a BTreeMap<String, Secret>, input: &Value) -> Result<(&'a str, &'a Secret), AwsError> {
    let id = text(input, "SecretId")?;
    let found = secrets.iter().find(|(name, secret)| *name == id || secret.arn == id);
    let (name, secret) = found.ok_or_else(|| not_found("Secrets Manager can't find the specified secret."))?;
    Ok((name, secret))
}

fn version_id(input: &Value) -> Result<String, AwsError> {
    let Some(token) = input.get("ClientRequestToken") else {
        return Err(AwsError::invalid("InvalidParameterException", "You must provide a ClientRequestToken value."));
    };
    match token.as_str() {
        Some(token) if (32..=64).contains(&token.len()) => Ok(token.to_owned()),
        Some(_) | None => {
            Err(AwsError::invalid("InvalidParameterException", "ClientRequestToken must be 32-64 characters long."))
        }
    }
}

fn text<'i>(input: &'i Value, field: &str) -> Result<&'i str, AwsError> {
    let value = input.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    value
        .ok_or_else(|| AwsError::invalid("ValidationException", &format!("{field} must be a string that is not empty")))
}

fn not_found(message: &str) -> AwsError {
    AwsError::invalid("ResourceNotFoundException", message)
}

fn exists(message: String) -> AwsError {
    AwsError::invalid("ResourceExistsException", &message)
}
