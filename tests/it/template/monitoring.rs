//! Alarms, metrics and the dashboard.

use std::collections::BTreeMap;
use std::time::Duration;

use aws::cloud::logs::FilterPattern;
use bot_platform::BotPlatformSettings;
use http::StatusCode;
use sandbox::SandboxSettings;
use sandbox::deployment::{BOT_SECRET, BOT_TOKEN_SECRET};
use serde_json::{Value, json};

use super::parameters::{holds, is_taken};
use super::{TEMPLATE, folder_of, kebab, property, resources, strings};
use crate::support::{PATIENCE, Stack};
use sandbox::build::root;

#[test]
fn every_alarm_reaches_the_topic_and_names_its_page() {
    for (alarm, definition) in resources("AWS::CloudWatch::Alarm") {
        assert_eq!(definition["Properties"]["AlarmActions"]["Fn::If"][0], "HasAlarmTopic", "{alarm}");
        let name = alarm.strip_suffix("Alarm").expect("alarms are named so");
        let path = format!("docs/operate/{}.md", kebab(alarm));
        let page = std::fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(page.starts_with(&format!("# {name}\n")), "{path} is not about {name}");
        let description = strings(&definition["Properties"]["AlarmDescription"]).concat();
        assert!(description.ends_with(&format!("See {path}")), "{alarm}: {description}");
        // What CloudWatch allows.
        assert!(description.len() <= 1024, "{alarm}: {description}");
    }
}

#[test]
fn the_alarm_goes_off_when_a_customer_waits_longer_than_the_parameter_says() {
    let metrics = property("NobodyJoinsAlarm", "/Metrics").as_array().expect("a calculation");
    assert_eq!(metrics[0]["Expression"], "oldest / 60", "the metric is in seconds, the parameter in minutes");
    let metric = &metrics[1]["MetricStat"]["Metric"];
    assert_eq!(metric["MetricName"], "OldestWaiting");
    assert_eq!(metric["Dimensions"][0]["Value"], json!({ "Ref": "WatchHandoversFunction" }));
    assert_eq!(*property("NobodyJoinsAlarm", "/Threshold"), json!({ "Ref": "NoAgentAlarmMinutes" }));
    assert_eq!(*property("NobodyJoinsAlarm", "/ComparisonOperator"), "GreaterThanThreshold");
    assert_eq!(TEMPLATE["written"]["Parameters"]["NoAgentAlarmMinutes"]["Default"], 10);
    for timer in ["NoAgentMinutes", "CustomerIdleMinutes"] {
        assert_eq!(TEMPLATE["written"]["Parameters"][timer]["Default"], 0, "{timer} is off");
    }
}

#[test]
fn an_alarm_says_that_every_tenant_is_accepted_while_no_tenant_id_is_set_and_a_blank_one_is_refused() {
    let alarm = &TEMPLATE["written"]["Resources"]["UncheckedTenantAlarm"];
    let condition = &TEMPLATE["written"]["Conditions"][alarm["Condition"].as_str().expect("a condition")];
    assert!(holds(condition, &[]) && holds(condition, &[("TenantId", "")]));
    assert!(!holds(condition, &[("TenantId", "acme")]));
    let description = alarm["Properties"]["AlarmDescription"].as_str().expect("a description");
    assert!(description.contains("SET=TenantId"), "{description}");
    assert_eq!(alarm["Properties"]["MetricName"], "EventsWithoutTenantCheck");
    for (id, taken) in [("", true), ("acme", true), (" ", false), ("acme ", false), (" acme", false)] {
        assert_eq!(is_taken("TenantId", id), taken, "{id:?}");
    }
}

/// A metric: namespace, name, and the names of its dimensions with their values, where the template gives one.
type Metric = (String, String, BTreeMap<String, Option<String>>);

/// A text of the template, with the names of what stands in it: `{"Ref": "A"}` → `${A}`.
fn text_of(value: &Value) -> String {
    let reference = || value["Ref"].as_str().map(|name| format!("${{{name}}}"));
    let text = value.as_str().or_else(|| value["Fn::Sub"].as_str()).map(str::to_owned).or_else(reference);
    text.unwrap_or_else(|| value.to_string())
}

/// The metrics of the metric filters.
fn filtered_metrics() -> Vec<(&'static str, Metric)> {
    let filters = resources("AWS::Logs::MetricFilter");
    let metric = |(filter, _): (&'static String, _)| {
        let transformation = property(filter, "/MetricTransformations/0");
        assert!(transformation["Dimensions"].is_null() && transformation["DefaultValue"].is_null(), "{filter}");
        let [namespace, name] = ["MetricNamespace", "MetricName"].map(|field| text_of(&transformation[field]));
        (filter.as_str(), (namespace, name, BTreeMap::new()))
    };
    filters.map(metric).collect()
}

/// The metrics that functions write as lines: the code that does it, and the table in its documentation, which names the
/// function.
fn written_metrics() -> Vec<Metric> {
    let telemetry = std::fs::read_to_string(root().join("shared/src/telemetry.rs")).unwrap();
    let quoted = |text: &str| text.split('"').nth(1).unwrap_or_default().to_owned();
    let namespace = telemetry.lines().find(|line| line.starts_with("const NAMESPACE")).expect("there is one");
    let calls = telemetry.lines().flat_map(|line| {
        ["counter!(", "histogram!("]
            .into_iter()
            .filter_map(|call| line.trim_start().strip_prefix(call)?.split_once(')'))
    });
    let metric = |(arguments, _): (&str, &str)| {
        let name = quoted(arguments);
        let row = format!("//! | `{name}` |");
        let row = telemetry.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("{name} has no row"));
        let function = row.split('|').nth(4).expect("a column with the function").trim();
        let function = function.split(':').next().unwrap_or_default();
        let (id, _) = resources("AWS::Lambda::Function").find(|(id, _)| folder_of(id) == function).expect(function);
        let labels = arguments.split(", ").filter(|argument| argument.contains("=>"));
        let mut dimensions: BTreeMap<_, _> = labels.map(|label| (quoted(label), None)).collect();
        dimensions.insert("FunctionName".to_owned(), Some(format!("${{{id}}}")));
        (quoted(namespace), name, dimensions)
    };
    calls.map(metric).collect()
}

/// The metrics of ours that alarms and dashboard show.
fn shown_metrics() -> Vec<(&'static str, Metric)> {
    let mut shown = Vec::new();
    for (alarm, definition) in resources("AWS::CloudWatch::Alarm") {
        let properties = &definition["Properties"];
        let parts = properties["Metrics"].as_array().into_iter().flatten();
        let metrics = parts.map(|part| &part["MetricStat"]["Metric"]).chain([properties]);
        for metric in metrics.filter(|metric| metric["MetricName"].is_string()) {
            let dimensions = metric["Dimensions"].as_array().into_iter().flatten();
            let dimensions = dimensions.map(|each| (text_of(&each["Name"]), Some(text_of(&each["Value"]))));
            let [namespace, name] = ["Namespace", "MetricName"].map(|field| text_of(&metric[field]));
            shown.push((alarm.as_str(), (namespace, name, dimensions.collect())));
        }
    }
    // The only parameter that stands in it as a number.
    let body = text_of(property("Dashboard", "/DashboardBody")).replace("${NoAgentAlarmMinutes}", "10");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    for widget in body["widgets"].as_array().expect("widgets") {
        for metric in widget["properties"]["metrics"].as_array().into_iter().flatten() {
            if let Some(expression) = metric[0]["expression"].as_str() {
                let Some((schema, search)) = expression.strip_prefix("SEARCH('{").and_then(|rest| rest.split_once('}'))
                else {
                    continue;
                };
                let given =
                    |name: &str| Some(search.split_once(&format!("{name}=\""))?.1.split('"').next()?.to_owned());
                let (namespace, dimensions) = schema.split_once(',').expect("a namespace and dimensions");
                let dimensions = dimensions.split(',').map(|name| (name.to_owned(), given(name)));
                let name = given("MetricName").expect("the name of a metric");
                shown.push(("Dashboard", (namespace.to_owned(), name, dimensions.collect())));
            } else {
                let texts: Vec<_> = metric.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
                let dimensions = texts[2..].chunks(2).map(|pair| (pair[0].to_owned(), Some(pair[1].to_owned())));
                shown.push(("Dashboard", (texts[0].to_owned(), texts[1].to_owned(), dimensions.collect())));
            }
        }
    }
    shown.retain(|(_, (namespace, ..))| namespace.starts_with("LiveAgentBridge"));
    shown
}

#[test]
fn alarms_and_dashboard_show_metrics_that_filters_or_functions_write_in_their_namespace_and_dimensions() {
    let (filtered, written, shown) = (filtered_metrics(), written_metrics(), shown_metrics());
    assert!(written.len() >= 20 && shown.len() >= 25, "{} are written, {} shown", written.len(), shown.len());
    // A dimension of a written metric, such as Reason, has any value that the function gives it.
    let is_of = |(namespace, name, dimensions): &Metric, shown: &Metric| {
        let given = |(name, value): (&String, &Option<String>)| match shown.2.get(name) {
            Some(shown) => value.is_none() || value == shown,
            None => false,
        };
        (namespace, name) == (&shown.0, &shown.1) && dimensions.len() == shown.2.len() && dimensions.iter().all(given)
    };
    for (place, metric) in &shown {
        let mut all = filtered.iter().map(|(_, metric)| metric).chain(&written);
        assert!(all.any(|each| is_of(each, metric)), "{place} shows {metric:?}, which is not written");
    }
    for (filter, metric) in &filtered {
        assert!(shown.iter().any(|(_, shown)| is_of(metric, shown)), "{filter}: {metric:?} is not shown");
        assert!(written.iter().all(|written| written.1 != metric.1), "{} is counted twice", metric.1);
    }
}

#[tokio::test]
async fn the_metric_filters_count_the_events_that_the_functions_log_and_find_their_age() {
    let stack = Stack::start().await;
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    let event_id = conversation.event("MESSAGE", crate::support::message(conversation.id()));
    assert!(stack.settle(PATIENCE).await);
    // One that 8x8 sends again, which SQS drops; one of an undocumented type; one that is refused; one that is rejected.
    stack.contact_center.resend(&event_id, contact_center::Resend::Again).await.expect("8x8 knows the event");
    assert_eq!(stack.post_signed(r#"{"eventType":"NEW"}"#).await.status(), StatusCode::OK);
    assert_eq!(stack.post(&Vec::new(), "{}").await.status(), StatusCode::UNAUTHORIZED);
    assert!(stack.settle(PATIENCE).await);
    stack.bot.refuse_conversation(conversation.id(), 422, None);
    conversation.event("MESSAGE", crate::support::message(conversation.id()));
    assert!(stack.settle(PATIENCE).await);
    let values = |filter: &str| {
        let pattern = property(filter, "/FilterPattern").as_str().expect("a pattern");
        let pattern = FilterPattern::parse(pattern).unwrap_or_else(|| panic!("{filter}: {pattern}"));
        let group = property(filter, "/LogGroupName/Ref").as_str().expect("a log group of the template");
        let function = folder_of(&group.replace("Logs", "Function"));
        let value = property(filter, "/MetricTransformations/0/MetricValue").as_str().expect("a value");
        let logs = stack.logs();
        let of_function = logs.iter().filter(|line| line.function == function);
        // A line that is not JSON throughout matches no pattern.
        let lines = of_function.filter_map(|line| serde_json::from_str::<Value>(&line.text).ok());
        let matching = lines.filter(|fields| pattern.matches(fields));
        let number = |fields: Value| match value.strip_prefix("$.") {
            Some(field) => fields[field].as_f64().unwrap_or_else(|| panic!("{filter}: {fields} has no {field}")),
            None => value.parse().expect("a number"),
        };
        matching.map(number).collect::<Vec<f64>>()
    };
    // The last line is written before the event is settled, and read soon after.
    while stack.logged(r#""step":"dead-lettered""#) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(values("EventsReceivedFilter"), [1.0; 4]);
    assert_eq!(stack.logged(r#""EventsRepeated":1"#), 1);
    assert_eq!(stack.logged(r#""EventsUndocumented":1"#), 1);
    assert_eq!(values("EventsDeliveredFilter"), [1.0; 2]);
    let ages = values("EventAgeFilter");
    assert_eq!(ages.len(), 2);
    assert!(ages.iter().all(|age| (0.0..PATIENCE.as_millis() as f64).contains(age)), "{ages:?}");
    let unit = |filter: &str| property(filter, "/MetricTransformations/0/Unit");
    assert_eq!((unit("EventsReceivedFilter"), unit("EventAgeFilter")), (&json!("Count"), &json!("Milliseconds")));
    assert_eq!(resources("AWS::Logs::MetricFilter").count(), 3);
    // Only the standard log class has metric filters.
    for (group, _) in resources("AWS::Logs::LogGroup") {
        assert!(property(group, "/LogGroupClass").is_null(), "{group}");
    }
    stack.finish().await;
}

/// The values of an alarm's metric for the bot's token over a number of runs of refresh-tokens, five minutes apart.
async fn values(stack: &Stack, metric: &str, runs: usize) -> Vec<f64> {
    let mut values = Vec::new();
    for _ in 0..runs {
        // Five minutes pass.
        let mut token = stack.cloud.secrets.current(BOT_TOKEN_SECRET);
        for field in ["issued_at", "expires_at"] {
            if let Some(time) = token[field].as_u64() {
                token[field] = json!(time - 300);
            }
        }
        stack.cloud.secrets.set(BOT_TOKEN_SECRET, &token);
        // The lines of this run are those that come after the ones so far.
        let so_far = stack.logs().len();
        let _ = stack.refresh_tokens().await;
        let written = loop {
            let logs = stack.logs();
            let start = format!("\"{metric}\":[");
            let lines = logs.iter().skip(so_far).filter_map(|line| line.text.split_once(&start));
            let written: Vec<f64> = lines.filter_map(|(_, rest)| rest.split_once(']')?.0.parse().ok()).collect();
            if !written.is_empty() {
                break written;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        assert_eq!(written.len(), 1, "once a run");
        values.extend(written);
    }
    values
}

/// After how many periods the alarm goes off first.
fn goes_off(alarm: &str, values: &[f64]) -> Option<usize> {
    let number = |name: &str| property(alarm, name).as_f64().expect("a number");
    assert_eq!(number("/Period"), 300.0, "one run a period");
    assert_eq!(*property(alarm, "/ComparisonOperator"), "GreaterThanThreshold");
    let (periods, needed) = (number("/EvaluationPeriods") as usize, number("/DatapointsToAlarm") as usize);
    (1..=values.len()).find(|end| {
        let evaluated = &values[end.saturating_sub(periods)..*end];
        evaluated.iter().filter(|value| **value > number("/Threshold")).count() >= needed
    })
}

#[tokio::test]
async fn a_healthy_day_raises_no_alarm_and_a_failed_refresh_does_within_twenty_minutes() {
    let metric = property("BotTokenLifeAlarm", "/MetricName").as_str().unwrap();
    for minutes in [30, 60, 120, 24 * 60] {
        let bot =
            BotPlatformSettings { token_life: Duration::from_secs(minutes * 60), ..BotPlatformSettings::default() };
        let stack = Stack::with(SandboxSettings { bot, ..SandboxSettings::default() }).await;
        let day = values(&stack, metric, 24 * 12).await;
        assert_eq!(goes_off("BotTokenLifeAlarm", &day), None, "{minutes} minutes");
        assert!(day.iter().all(|value| *value == 0.0));
        // The token is due now, and the bot platform knows neither user nor refresh token any more.
        stack.cloud.secrets.set(BOT_SECRET, &json!({ "app_token": "wrong", "username": "wrong", "password": "wrong" }));
        stack.bot.revoke_refresh_tokens();
        let mut token = stack.cloud.secrets.current(BOT_TOKEN_SECRET);
        let left = token["expires_at"].as_u64().unwrap() - shared::clock::UnixTime::now().secs();
        let due = left.min(minutes * 60) - 60;
        for field in ["issued_at", "expires_at"] {
            token[field] = json!(token[field].as_u64().unwrap() - due);
        }
        stack.cloud.secrets.set(BOT_TOKEN_SECRET, &token);
        let failing = values(&stack, metric, 4).await;
        assert!(goes_off("BotTokenLifeAlarm", &failing).is_some_and(|runs| runs * 5 <= 20), "{minutes}: {failing:?}");
    }
}

#[test]
fn the_alarms_hold_until_the_next_review_and_one_repeated_event_is_none() {
    assert_eq!(*property("ChannelDriftAlarm", "/TreatMissingData"), "ignore", "a review is once a day");
    assert!(property("RepeatedEventsAlarm", "/Threshold").as_u64().unwrap() > 1);
    // A gauge is written again at every flush, also when nothing was measured.
    let telemetry = std::fs::read_to_string(root().join("shared/src/telemetry.rs")).unwrap();
    assert!(!telemetry.contains("gauge!("), "histograms are written once");
}
