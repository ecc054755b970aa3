//! The format of a log line: one flat JSON object in which the fields of the enclosing spans stand beside the line's own, so
//! that CloudWatch Logs Insights finds every line of a conversation by one field name.
//!
//! A field of a line must not have the name of a field of its spans: both would be written.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// The longest text in a line, in characters; a longer text is cut. Our own sentences and 8x8's ids (at most 90 characters) are
/// shorter. Texts from others may have any length.
const TEXT_LIMIT: usize = 512;

/// lambda_runtime adds this field to its span if Lambda sends it, which Lambda always does. It is left out: it has 100 bytes,
/// and nothing is traced.
const TRACE_ID: &str = "xrayTraceId";

/// Formats a line: time, level, the line's own fields, then those of its spans, outermost first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LineFormat {
    /// Whether the line names its span. The lines about the duration of a start need the name.
    pub(crate) names_span: bool,
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> FormatEvent<S, FieldFormat> for LineFormat {
    fn format_event(
        &self,
        context: &FmtContext<'_, S, FieldFormat>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::with_capacity("2026-11-28T07:33:27.123456Z".len());
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        // CloudWatch Logs has a resolution of milliseconds, and every byte of a line is paid for.
        time.truncate("2026-11-28T07:33:27.123".len());
        write!(line, r#"{{"timestamp":"{time}Z","level":"{}""#, event.metadata().level())?;
        FieldFormat.format_fields(line.by_ref(), event)?;
        if let Some(scope) = context.event_scope() {
            for span in scope.from_root() {
                if let Some(fields) = span.extensions().get::<FormattedFields<FieldFormat>>() {
                    line.write_str(fields)?;
                }
            }
        }
        if self.names_span
            && let Some(mut scope) = context.event_scope()
            && let Some(span) = scope.next()
        {
            write!(line, r#","span":"{}""#, span.name())?;
        }
        line.write_str("}\n")
    }
}

/// Formats fields as further members of an object that already has members: `,"name":value`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FieldFormat;

impl<'w> FormatFields<'w> for FieldFormat {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut members = Members { writer, result: Ok(()) };
        fields.record(&mut members);
        members.result
    }
}

struct Members<'w> {
    writer: Writer<'w>,
    result: fmt::Result,
}

impl Members<'_> {
    fn member(&mut self, field: &Field, value: impl fmt::Display) {
        if self.result.is_ok() && field.name() != TRACE_ID {
            self.result = write!(self.writer, r#","{}":{value}"#, field.name());
        }
    }
}

impl Visit for Members<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity.
        if value.is_finite() { self.member(field, value) } else { self.member(field, "null") }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, quoted(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.member(field, quoted(&format!("{value:?}")));
    }
}

/// A text as a JSON string, cut after [`TEXT_LIMIT`].
fn quoted(text: &str) -> String {
    let end = text.char_indices().nth(TEXT_LIMIT).map_or(text.len(), |(end, _)| end);
    let text = text.get(..end).unwrap_or_default();
    // Writing a text cannot fail; `null` is valid JSON in any case.
    serde_json::to_string(text).unwrap_or_else(|_| "null".to_owned())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// The lines that are logged while `work` runs.
    fn logged(names_span: bool, work: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Output(Arc<Mutex<Vec<u8>>>);

        impl io::Write for Output {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let output = Output::default();
        let writer = output.clone();
        let layer = tracing_subscriber::fmt::layer()
            .fmt_fields(FieldFormat)
            .event_format(LineFormat { names_span })
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        String::from_utf8(output.0.lock().unwrap().clone()).unwrap()
    }

    fn line(work: impl FnOnce()) -> Value {
        serde_json::from_str(&logged(false, work)).expect("a line is JSON")
    }

    #[test]
    fn the_fields_of_all_spans_stand_beside_those_of_the_line() {
        let mut line = line(|| {
            let outer = tracing::error_span!("outer", requestId = "r", xrayTraceId = "Root=1");
            let _outer = outer.enter();
            let inner = tracing::error_span!("inner", conversation_id = "c", key = tracing::field::Empty);
            let _inner = inner.enter();
            inner.record("key", "k");
            tracing::warn!(took_ms = 7, left = -1, share = 0.5, none = f64::NAN, ok = true, reason = ?Some("x"), "done");
        });
        let time = line.as_object_mut().unwrap().remove("timestamp").expect("it has a time");
        let time = time.as_str().expect("a text");
        assert_eq!(time.replace(|letter: char| letter.is_ascii_digit(), "0"), "0000-00-00T00:00:00.000Z");
        assert_eq!(
            line,
            json!({
                "level": "WARN", "message": "done", "took_ms": 7, "left": -1, "share": 0.5, "none": null, "ok": true,
                "reason": "Some(\"x\")", "requestId": "r", "conversation_id": "c", "key": "k",
            })
        );
    }

    #[test]
    fn a_line_names_its_span_where_it_is_asked_to() {
        let lines = logged(true, || tracing::error_span!("the start").in_scope(|| tracing::info!("x")));
        assert_eq!(serde_json::from_str::<Value>(&lines).unwrap()["span"], "the start");
    }

    proptest! {
        #[test]
        fn whatever_a_field_holds_it_is_one_line_of_json(text in ".*", span in ".*") {
            let lines = logged(false, || {
                let span = tracing::error_span!("span", conversation_id = %span);
                span.in_scope(|| tracing::info!(reason = &*text, "m"));
            });
            prop_assert_eq!(lines.lines().count(), 1);
            let line: Value = serde_json::from_str(&lines).unwrap();
            let expected: String = text.chars().take(TEXT_LIMIT).collect();
            prop_assert_eq!(line["reason"].as_str(), Some(&*expected));
        }
    }

    #[test]
    fn a_text_of_any_length_is_cut_off() {
        let line = line(|| tracing::info!(reason = "ü".repeat(100_000), "m"));
        assert_eq!(line["reason"].as_str().map(|text| text.chars().count()), Some(TEXT_LIMIT));
    }
}
