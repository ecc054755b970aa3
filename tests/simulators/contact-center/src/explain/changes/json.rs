//! Changes of a body by a program that parses JSON and writes it again.

use serde::de::IgnoredAny;

use super::Change;

pub(super) const CHANGES: &[Change] = &[
    Change {
        what: "the JSON was re-serialised with spaces after commas and colons, as Python's json.dumps does",
        undo: |body| undo_layout(body, Layout::Spaced),
    },
    Change {
        what: "the JSON was re-serialised with an indentation of two spaces",
        undo: |body| undo_layout(body, Layout::Indented("  ")),
    },
    Change {
        what: "the JSON was re-serialised with an indentation of four spaces",
        undo: |body| undo_layout(body, Layout::Indented("    ")),
    },
    Change {
        what: "the JSON was re-serialised with an indentation of tabs",
        undo: |body| undo_layout(body, Layout::Indented("\t")),
    },
    Change { what: "the JSON was re-serialised with white space between its parts", undo: undo_other_layout },
    Change {
        what: "the JSON was re-serialised without the spaces after commas and colons",
        undo: |body| laid_out(body, Layout::Spaced),
    },
    Change {
        what: "the JSON was re-serialised without its indentation of two spaces",
        undo: |body| laid_out(body, Layout::Indented("  ")),
    },
    Change {
        what: "the JSON was re-serialised without its indentation of four spaces",
        undo: |body| laid_out(body, Layout::Indented("    ")),
    },
    Change {
        what: "the JSON was re-serialised without its indentation of tabs",
        undo: |body| laid_out(body, Layout::Indented("\t")),
    },
    Change {
        what: r"characters that are not ASCII were written as \u escapes",
        undo: |body| rewritten(body, |unit| unescaped(unit).filter(|text| !text.is_ascii())),
    },
    Change {
        what: r"\u escapes were written as characters",
        undo: |body| rewritten(body, |unit| (!unit.is_ascii()).then(|| escaped(unit, false))),
    },
    Change {
        what: r"\u escapes (with capital digits) were written as characters",
        undo: |body| rewritten(body, |unit| (!unit.is_ascii()).then(|| escaped(unit, true))),
    },
    Change {
        what: r"/ was written as \/, as PHP's json_encode does",
        undo: |body| rewritten(body, |unit| (unit == r"\/").then(|| "/".to_owned())),
    },
    Change {
        what: r"\/ was written as /",
        undo: |body| rewritten(body, |unit| (unit == "/").then(|| r"\/".to_owned())),
    },
    Change {
        what: r"<, > and & were written as \u escapes, as Go's encoding/json does",
        undo: |body| rewritten(body, |unit| unescaped(unit).filter(|text| is_markup(text))),
    },
    Change {
        what: r"the \u escapes of <, > and & were written as characters",
        undo: |body| rewritten(body, |unit| is_markup(unit).then(|| escaped(unit, false))),
    },
    Change { what: "whole numbers were written with a fraction or an exponent", undo: with_whole_numbers },
    Change {
        what: "the JSON was written as a string in JSON",
        undo: |body| Some(serde_json::from_slice::<String>(body).ok()?.into()),
    },
    Change {
        what: "the string that held the JSON was replaced by what it held",
        undo: |body| serde_json::to_vec(std::str::from_utf8(body).ok()?).ok(),
    },
];

#[derive(Clone, Copy)]
enum Layout {
    Compact,
    Spaced,
    Indented(&'static str),
}

const LAYOUTS: [Layout; 4] = [Layout::Spaced, Layout::Indented("  "), Layout::Indented("    "), Layout::Indented("\t")];

/// The compact form of a body that has white space in a layout that is not listed. A body with one of the listed layouts and a
/// newline at its end has two changes, each of which has its own sentence.
fn undo_other_layout(body: &[u8]) -> Option<Vec<u8>> {
    let is_known =
        LAYOUTS.into_iter().any(|layout| laid_out(body, layout).is_some_and(|text| text == body.trim_ascii()));
    if is_known { None } else { laid_out(body, Layout::Compact) }
}

/// The compact form of a body that has exactly this layout.
fn undo_layout(body: &[u8], layout: Layout) -> Option<Vec<u8>> {
    if laid_out(body, layout)? == body { laid_out(body, Layout::Compact) } else { None }
}

fn laid_out(body: &[u8], layout: Layout) -> Option<Vec<u8>> {
    let (mut text, mut depth, mut last) = (String::with_capacity(body.len()), 0, "");
    for token in tokens(body)? {
        let (opens, closes) = (matches!(last, "{" | "["), matches!(token, "}" | "]"));
        depth -= usize::from(closes);
        match layout {
            Layout::Spaced if matches!(last, "," | ":") => text.push(' '),
            Layout::Indented(_) if last == ":" => text.push(' '),
            Layout::Indented(indentation) if last == "," || opens != closes => {
                text.push('\n');
                text.extend(std::iter::repeat_n(indentation, depth));
            }
            Layout::Compact | Layout::Spaced | Layout::Indented(_) => {}
        }
        text.push_str(token);
        depth += usize::from(matches!(token, "{" | "["));
        last = token;
    }
    Some(text.into())
}

/// The strings, numbers, words and punctuation marks of a body. `None` if it is not JSON.
pub(super) fn tokens(body: &[u8]) -> Option<Vec<&str>> {
    serde_json::from_slice::<IgnoredAny>(body).ok()?;
    let mut rest = std::str::from_utf8(body).ok()?.trim_ascii();
    let mut tokens = Vec::new();
    while let Some(first) = rest.bytes().next() {
        let length = match first {
            b'"' => 2 + units(&rest[1..]).take_while(|unit| *unit != "\"").map(str::len).sum::<usize>(),
            b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
            _ => rest.find(|char: char| ",]}".contains(char) || char.is_ascii_whitespace()).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_ascii_start();
    }
    Some(tokens)
}

fn with_whole_numbers(body: &[u8]) -> Option<Vec<u8>> {
    /// Up to here a double holds every whole number.
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    let whole = |token: &str| {
        let number = token.parse::<f64>().ok().filter(|_| token.contains(['.', 'e', 'E']))?;
        (number.fract() == 0.0 && number.abs() < LIMIT).then(|| format!("{number:.0}"))
    };
    let tokens = tokens(body)?;
    tokens.iter().any(|token| whole(token).is_some()).then(|| {
        tokens.into_iter().map(|token| whole(token).unwrap_or_else(|| token.to_owned())).collect::<String>().into()
    })
}

/// The body in which each unit (a character or an escape sequence) with a replacement is replaced.
fn rewritten(body: &[u8], replacement: impl Fn(&str) -> Option<String>) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok()?;
    Some(units(text).map(|unit| replacement(unit).unwrap_or_else(|| unit.to_owned())).collect::<String>().into())
}

/// The characters of a text; an escape sequence is one unit, and so are the two escapes of a surrogate pair.
fn units(text: &str) -> impl Iterator<Item = &str> {
    let is_pair = |text: &&str| {
        let low = text.get(6..).is_some_and(|low| low.starts_with(r"\u"));
        low && unescaped(text).is_some_and(|text| text.chars().count() == 1)
    };
    let mut rest = text;
    std::iter::from_fn(move || {
        let length = match rest.as_bytes() {
            [b'\\', b'u', ..] if rest.get(..12).as_ref().is_some_and(is_pair) => 12,
            [b'\\', b'u', ..] if rest.is_char_boundary(6) => 6,
            [b'\\', next, ..] if next.is_ascii() => 2,
            _ => rest.chars().next()?.len_utf8(),
        };
        let (unit, after) = rest.split_at(length);
        rest = after;
        Some(unit)
    })
}

/// The text of a `\u` escape, or of a surrogate pair of escapes.
fn unescaped(unit: &str) -> Option<String> {
    unit.starts_with(r"\u").then(|| serde_json::from_str(&format!("\"{unit}\"")).ok())?
}

fn escaped(text: &str, capital: bool) -> String {
    let escape = |unit: u16| if capital { format!(r"\u{unit:04X}") } else { format!(r"\u{unit:04x}") };
    text.encode_utf16().map(escape).collect()
}

fn is_markup(text: &str) -> bool {
    matches!(text, "<" | ">" | "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPACT: &str = r#"{"a":[1,{"b":"x, y: {\"z\"}"},[],{}],"c":null}"#;

    #[test]
    fn a_layout_changes_white_space_between_tokens_only() {
        let spaced = r#"{"a": [1, {"b": "x, y: {\"z\"}"}, [], {}], "c": null}"#;
        let indented = "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x, y: {\\\"z\\\"}\"\n    },\n    [],\n    {}\n  ],\n  \"c\": null\n}";
        for text in [COMPACT, spaced, indented] {
            let is = |layout, expected: &str| {
                laid_out(text.as_bytes(), layout).is_some_and(|text| text == expected.as_bytes())
            };
            assert!(is(Layout::Compact, COMPACT) && is(Layout::Spaced, spaced) && is(Layout::Indented("  "), indented));
        }
    }

    #[test]
    fn an_escaped_backslash_does_not_start_an_escape() {
        let units = |text: &str| units(text).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(units(r"\\u00fc"), [r"\\", "u", "0", "0", "f", "c"]);
        assert_eq!(units(r"\u00fc\ud83d\udc4bü\/"), [r"\u00fc", r"\ud83d\udc4b", "ü", r"\/"]);
        assert_eq!(units(r"\ud83d\u"), [r"\ud83d", r"\u"]);
    }
}
