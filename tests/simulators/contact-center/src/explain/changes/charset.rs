//! Changes of a body's character encoding.

use super::Change;

pub(super) const CHANGES: &[Change] = &[
    Change {
        what: "the body was read as Latin-1 and written as UTF-8",
        undo: |body| text(body)?.chars().map(|char| u8::try_from(u32::from(char)).ok()).collect(),
    },
    Change {
        what: "the body was read as Windows-1252 and written as UTF-8",
        undo: |body| text(body)?.chars().map(|char| (0..=255).find(|byte| windows_1252(*byte) == char)).collect(),
    },
    Change {
        what: "the body was read as UTF-8 and written as Latin-1",
        undo: |body| Some(body.iter().map(|byte| char::from(*byte)).collect::<String>().into()),
    },
    Change {
        what: "the body was read as UTF-8 and written as Windows-1252",
        undo: |body| Some(body.iter().map(|byte| windows_1252(*byte)).collect::<String>().into()),
    },
];

fn text(body: &[u8]) -> Option<&str> {
    std::str::from_utf8(body).ok()
}

/// Windows-1252 is Latin-1 except for 0x80 to 0x9f. The five bytes that it does not use stay control characters, as in
/// <https://encoding.spec.whatwg.org/#windows-1252>.
fn windows_1252(byte: u8) -> char {
    const C1: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘',
        '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => C1[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}
