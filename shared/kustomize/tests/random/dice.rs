//! Random choices, and the words they are made from. The same seed gives the same choices.

use serde_json::Value;

use crate::style::plain;

/// A source of random choices.
pub struct Dice(fastrand::Rng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.0.u32(0..100) < percent
    }

    /// A number from 0 to below `end`; 0 when there is none.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { self.0.usize(0..end) }
    }

    /// A number of the range, both ends included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        self.0.usize(low..=high)
    }

    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.0.usize(0..choices.len())].clone()
    }

    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        self.0.shuffle(list);
    }

    /// A name an object may have.
    pub fn name(&mut self) -> String {
        self.pick(NAMES).to_owned()
    }

    /// The key of a label, an annotation or of data.
    pub fn key(&mut self) -> String {
        self.pick(KEYS).to_owned()
    }

    /// Text that a label may have.
    pub fn label(&mut self) -> String {
        self.pick(LABELS).to_owned()
    }

    /// A scalar without quotes, written in one of many ways.
    pub fn plain(&mut self) -> Value {
        plain(self.pick(PLAIN))
    }

    /// Any text, often one that YAML has to quote.
    pub fn text(&mut self) -> String {
        match self.below(8) {
            0..=2 => self.label(),
            3 => format!("{}{}", self.pick(ODD), self.pick(ODD)),
            4 => self.pick(TEXTS).to_owned(),
            _ => self.pick(ODD).to_owned(),
        }
    }
}

pub const NAMES: &[&str] = &["web", "api", "db", "cache", "app-config", "tls", "w.dotted"];

pub const NAMESPACES: &[&str] = &["prod", "team-a", "default"];

const KEYS: &[&str] = &[
    "app",
    "tier",
    "a.b/c",
    "key",
    "example.com/long-key_name",
    "x",
    "config.yaml",
];

const LABELS: &[&str] = &[
    "web",
    "v1",
    "true",
    "5",
    "1.0",
    "a_b.c-d",
    "no",
    "1e3",
    "null",
    "0x10",
    "2024-01-02",
];

pub const IMAGES: &[&str] = &[
    "nginx",
    "nginx:1.25",
    "registry.example.com:5000/team/app:v1",
    "registry.example.com/team/app@sha256:24a0c4b4a4c0eb97a1aabb8e29f18e917d05abfe1b7a7c07857230879ce7d3d3",
    "busybox:1.36@sha256:24a0c4b4a4c0eb97a1aabb8e29f18e917d05abfe1b7a7c07857230879ce7d3d3",
    "team/app",
];

/// What looks like something else, or needs care.
const ODD: &[&str] = &[
    "",
    " ",
    "yes",
    "no",
    "on",
    "off",
    "y",
    "n",
    "Y",
    "True",
    "FALSE",
    "null",
    "Null",
    "~",
    "0",
    "1",
    "-1",
    "+1",
    "1.0",
    "1e3",
    "1E5",
    "0x1F",
    "0o17",
    "017",
    "08",
    "1_000",
    "12:30:45",
    "1:2",
    "2024-01-02",
    "2024-01-02T03:04:05Z",
    "2024-01-02 03:04:05",
    ".5",
    "5.",
    ".inf",
    "-.INF",
    ".nan",
    "a: b",
    "a #b",
    "#c",
    "a#c",
    "- x",
    "-",
    "-x",
    "--",
    "? x",
    "?",
    ":",
    ":x",
    "x:",
    "@at",
    "`tick`",
    "%pct",
    "&a",
    "*b",
    "!t",
    "|",
    ">",
    "{x}",
    "}",
    "[y]",
    "]",
    ",",
    ",x",
    "'q'",
    "it's",
    "\"dq\"",
    "\"",
    "'",
    "back\\slash",
    "tab\there",
    "\t",
    "=",
    "<<",
    "x=y",
    "$(VAR)",
    "$(web.NAME)",
    "{{ .Values.x }}",
    "---",
    "--- x",
    "...",
    "*.example.com",
    "ünï",
    "日本語",
    "😀",
    "\u{a0}",
    "\u{2028}",
    "\u{feff}",
    "\u{7}",
    "\r\n",
    "a\rb",
    "nginx:1.25",
    "a,b;c",
    "https://example.com/a?b=c&d=e#f",
    "0b11",
    "1.",
    "1e",
    "0.0",
    "-0",
    "1__0",
    "0x",
    "100000000000000000000",
    "9007199254740993",
    "1.7976931348623157e309",
    "190:20:30",
    "01",
    "00",
    "0777",
    "0.10",
    "!!str x",
    "a\\nb",
    "a\u{0}b",
    "\u{85}",
    "a \u{85}\u{85}b",
];

/// Longer texts.
const TEXTS: &[&str] = &[
    "multi\nline",
    "multi\nline\n",
    "two\n\nparagraphs\n",
    "\nleads with a line break",
    "trails\n\n",
    "  indented\nnext\n",
    "first\n  indented\n",
    "ends with a blank ",
    " starts with a blank",
    "a blank \nbefore a line break",
    "tab\n\tindented\n",
    "a long text of many words that goes on beyond the eightieth column, where a writer of YAML may want to fold it",
    "a long text of many words that goes on beyond the eightieth column: and needs quotes # for two reasons, doesn't it",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "a long text with  two blanks in the middle of  its words, which goes on beyond the  eightieth column of the line",
    "long lines too, with words enough for the eightieth column to be passed before the line is over\nand a second\n",
    "key: value\nlist:\n- a\n- b: c\n",
    "{\"a\": 1, \"b\": [true, null, \"x\"], \"c\": {\"d\": \"e\"}}",
    "#!/bin/sh\nset -e\necho \"$HOME\"\n",
    "\n",
    "\n\n",
    "crlf\r\nlines\r\n",
    "日本語の長いテキストは八十桁を超えると折り返されるかもしれません。日本語の長いテキストは八十桁を超えると折り返されるかもしれません。",
    "{\n  \"a\": 1\n}\n",
    "a\n#b\n- c",
];

/// Scalars without quotes, most of which are written again in another way.
const PLAIN: &[&str] = &[
    "0",
    "5",
    "80",
    "1.5",
    "0.25",
    "abc",
    "yes",
    "no",
    "on",
    "Off",
    "y",
    "null",
    "~",
    "true",
    "FALSE",
    "0x1F",
    "0o17",
    "017",
    "08",
    "1_000",
    "1e3",
    "1.0",
    "1.50",
    "1e+10",
    ".5",
    "5.",
    "2024-01-02",
    "2024-01-02T03:04:05Z",
    "12:30:45",
    "0b11",
    "+1",
    "-0",
    "100000000000000000000",
    "9007199254740993",
    "!!str 5",
    "!!int \"7\"",
    "!!float 3",
    "!!binary aGVsbG8=",
    "1.10",
    "0.1",
    "123456789.123",
    "12e-7",
    "=",
    "NaN",
    "1:30",
    "a  b",
    "00",
    "-1",
    "0.00001",
    "1e21",
    "123456789012",
    "!local x",
];
