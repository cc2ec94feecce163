//! Where everything in a RON file stands.
//!
//! serde gives values without places, and RON's own errors stop at the first mistake, somewhere behind it. So before a file
//! is read for its values it is read for its shape: brackets, names, keys and literals, each with its range. From that come
//! messages about brackets that name the one that was never closed, the place of a value that only a later check finds
//! wrong, and the part to leave out when we look for the next mistake.

use std::ops::Range;

use crate::limits;

/// A value, with or without a name before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub span: Range<usize>,
    /// `Rule` of `Rule(…)`; a lone word such as `High` is a name and nothing else.
    pub name: Option<Range<usize>>,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A lone word.
    Word,
    Number,
    Char,
    /// A text literal of any form.
    Text,
    /// `(…)` with keys, as in `Count(at_least: 5)`.
    Struct(Vec<Item>),
    /// `(…)` without keys, as in `Eq("a", "b")`.
    Tuple(Vec<Item>),
    List(Vec<Item>),
    Map(Vec<Item>),
}

/// One part of a bracket.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// With its key.
    pub span: Range<usize>,
    pub key: Option<Range<usize>>,
    pub value: Node,
    /// Behind the comma that follows, if one does.
    pub end: usize,
}

/// What is wrong with the shape, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    pub span: Range<usize>,
    pub what: String,
    pub expected: Option<String>,
    pub hint: Option<String>,
}

impl Node {
    pub fn items(&self) -> &[Item] {
        match &self.body {
            Body::Struct(it) | Body::Tuple(it) | Body::List(it) | Body::Map(it) => it,
            Body::Word | Body::Number | Body::Char | Body::Text => &[],
        }
    }

    /// The value of a key.
    pub fn field(&self, text: &str, key: &str) -> Option<&Node> {
        self.item(text, key).map(|it| &it.value)
    }

    pub fn item(&self, text: &str, key: &str) -> Option<&Item> {
        self.items().iter().find(|it| it.key.as_ref().is_some_and(|at| &text[at.clone()] == key))
    }

    pub fn name<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.name.clone().map(|at| &text[at])
    }

    /// What a reader should look at: the name with its bracket's name, a literal whole, otherwise the opening bracket.
    pub fn head(&self) -> Range<usize> {
        match (&self.name, &self.body) {
            (Some(name), _) => name.clone(),
            (None, Body::Word | Body::Number | Body::Char | Body::Text) => self.span.clone(),
            (None, _) => self.span.start..self.span.start + 1,
        }
    }

    /// Calls `seen` with this node and everything in it, in the order of the text.
    pub fn walk<'a>(&'a self, seen: &mut dyn FnMut(&'a Node)) {
        seen(self);
        for item in self.items() {
            item.value.walk(seen);
        }
    }

    /// The first text literal with that value.
    pub fn find_text(&self, text: &str, value: &str) -> Option<Range<usize>> {
        let mut found = None;
        self.walk(&mut |node| {
            if found.is_none() && node.body == Body::Text && decoded(&text[node.span.clone()]) == value {
                found = Some(node.span.clone());
            }
        });
        found
    }
}

/// What a text literal says.
pub fn decoded(literal: &str) -> String {
    ron::from_str(literal).unwrap_or_default()
}

/// How far into the literal its content begins, and whether it stands there byte for byte.
pub fn content_start(literal: &str) -> (usize, bool) {
    match literal.find('"') {
        Some(at) => (at + 1, at > 0 || !literal.contains('\\')),
        None => (0, false),
    }
}

/// The one value of a file. None: nothing but white space and comments.
pub fn parse(text: &str) -> Result<Option<Node>, Mistake> {
    let mut parser = Parser { text, at: 0, open: Vec::new() };
    parser.skip_space()?;
    while parser.rest().starts_with("#!") {
        let len = parser.rest().find(']').map_or(parser.rest().len(), |it| it + 1);
        parser.at += len;
        parser.skip_space()?;
    }
    if parser.rest().is_empty() {
        return Ok(None);
    }
    let node = parser.value()?;
    parser.skip_space()?;
    if parser.rest().is_empty() {
        return Ok(Some(node));
    }
    let span = parser.here();
    let (what, hint) = match parser.rest().chars().next() {
        Some(it @ (')' | ']' | '}')) => (format!("`{it}` closes nothing"), "every bracket before it is closed already"),
        _ => ("more text after the end of the value".to_string(), "write several rules as a list: [Rule(…), Rule(…)]"),
    };
    Err(Mistake { span, what, expected: Some("the end of the file".into()), hint: Some(hint.into()) })
}

/// The value that begins at `start`, which a whole parse has found before.
pub fn parse_at(text: &str, start: usize) -> Option<Node> {
    let mut parser = Parser { text, at: start, open: Vec::new() };
    parser.value().ok()
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    /// Brackets not yet closed.
    open: Vec<usize>,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// The word or character at the cursor.
    fn here(&self) -> Range<usize> {
        let rest = self.rest();
        let word = rest.find(|it: char| !is_word(it)).unwrap_or(rest.len());
        let len = if word > 0 { word } else { rest.chars().next().map_or(0, char::len_utf8) };
        self.at..self.at + len
    }

    fn skip_space(&mut self) -> Result<(), Mistake> {
        loop {
            let bytes = &self.text.as_bytes()[self.at..];
            self.at += bytes.iter().position(|it| !matches!(it, b' ' | b'\n' | b'\r' | b'\t')).unwrap_or(bytes.len());
            match self.text.as_bytes().get(self.at) {
                Some(it) if it.is_ascii_graphic() && *it != b'/' => return Ok(()),
                _ => {}
            }
            let rest = self.rest();
            let space = rest.len() - rest.trim_start().len();
            self.at += space;
            let rest = &rest[space..];
            if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                self.skip_block_comment()?;
            } else {
                return Ok(());
            }
        }
    }

    fn skip_block_comment(&mut self) -> Result<(), Mistake> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut depth = 0usize;
        while self.at < bytes.len() {
            if bytes[self.at..].starts_with(b"/*") {
                depth += 1;
                self.at += 2;
            } else if bytes[self.at..].starts_with(b"*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return Ok(());
                }
            } else {
                self.at += 1;
            }
        }
        Err(Mistake {
            span: start..start + 2,
            what: "this comment is never closed".into(),
            expected: Some("`*/` somewhere after it".into()),
            hint: None,
        })
    }

    fn value(&mut self) -> Result<Node, Mistake> {
        let start = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Err(self.ended("a value"));
        };
        if let Some(len) = text_literal(rest) {
            let Some(len) = len else {
                return Err(Mistake {
                    span: start..start + 1 + rest.find('"').unwrap_or(0),
                    what: "this text is never closed".into(),
                    expected: Some("the closing `\"` somewhere after it".into()),
                    hint: Some("a text in r#\"…\"# ends with as many # as it begins with".into()),
                });
            };
            self.at += len;
            return Ok(Node { span: start..self.at, name: None, body: Body::Text });
        }
        match first {
            '(' | '[' | '{' => {
                let body = self.bracket(first)?;
                Ok(Node { span: start..self.at, name: None, body })
            }
            '\'' => {
                let len = char_literal(rest).ok_or_else(|| Mistake {
                    span: start..start + 1,
                    what: "texts stand in double quotes".into(),
                    expected: Some("`\"`".into()),
                    hint: None,
                })?;
                self.at += len;
                Ok(Node { span: start..self.at, name: None, body: Body::Char })
            }
            '0'..='9' | '+' | '-' | '.' => {
                let len = rest.find(|it: char| !is_word(it) && !matches!(it, '.' | '+' | '-')).unwrap_or(rest.len());
                self.at += len;
                Ok(Node { span: start..self.at, name: None, body: Body::Number })
            }
            it if is_word(it) => {
                let name = self.word();
                let end = self.at;
                self.skip_space()?;
                if self.rest().starts_with('(') {
                    let body = self.bracket('(')?;
                    return Ok(Node { span: start..self.at, name: Some(name), body });
                }
                self.at = end;
                Ok(Node { span: start..end, name: Some(name), body: Body::Word })
            }
            _ => Err(self.unexpected("a value")),
        }
    }

    fn word(&mut self) -> Range<usize> {
        let start = self.at;
        if self.rest().starts_with("r#") {
            self.at += 2;
        }
        let rest = self.rest();
        let ascii = rest.bytes().position(|it| !(it.is_ascii_alphanumeric() || it == b'_')).unwrap_or(rest.len());
        self.at += match rest.as_bytes().get(ascii) {
            Some(it) if !it.is_ascii() => rest.find(|it: char| !is_word(it)).unwrap_or(rest.len()),
            _ => ascii,
        };
        start..self.at
    }

    fn bracket(&mut self, open: char) -> Result<Body, Mistake> {
        if self.open.len() >= limits::RON_DEPTH_MAX {
            return Err(Mistake {
                span: self.here(),
                what: format!("more than {} brackets inside one another", limits::RON_DEPTH_MAX),
                expected: None,
                hint: None,
            });
        }
        self.open.push(self.at);
        self.at += 1;
        let close = closing(open);
        let mut items: Vec<Item> = Vec::new();
        loop {
            self.skip_space()?;
            let Some(next) = self.rest().chars().next() else {
                return Err(self.ended(&format!("`{close}`")));
            };
            if next == close {
                self.at += 1;
                break;
            }
            if items.last().is_some_and(|it| it.end == it.span.end) {
                return Err(self.comma_missing(items.last(), next, close));
            }
            if matches!(next, ')' | ']' | '}' | ',') {
                return Err(self.unexpected(&format!("a value or `{close}`")));
            }
            let item = self.part(open)?;
            items.push(item);
        }
        self.open.pop();
        let keyed = items.iter().any(|it| it.key.is_some());
        Ok(match open {
            '[' => Body::List(items),
            '{' => Body::Map(items),
            _ if keyed => Body::Struct(items),
            _ => Body::Tuple(items),
        })
    }

    fn part(&mut self, open: char) -> Result<Item, Mistake> {
        let start = self.at;
        let mut value = self.value()?;
        let mut key = None;
        let end = self.at;
        self.skip_space()?;
        let colon = self.rest().starts_with(':');
        let may_be_key = match open {
            '{' => true,
            '(' => value.body == Body::Word,
            _ => false,
        };
        if colon && may_be_key {
            self.at += 1;
            self.skip_space()?;
            if self.rest().starts_with([',', ')', ']', '}']) {
                return Err(self.unexpected(&format!("a value for `{}`", &self.text[value.span.clone()])));
            }
            key = Some(value.span.clone());
            value = self.value()?;
        } else if colon && open == '(' && value.body == Body::Text {
            let name = decoded(&self.text[value.span.clone()]);
            return Err(Mistake {
                span: value.span,
                what: "names of fields stand without quotes".into(),
                expected: Some(format!("`{name}:`")),
                hint: None,
            });
        } else if open == '{' {
            return Err(self.unexpected("`:` and a value"));
        } else {
            self.at = end;
        }
        let span = start..self.at;
        self.skip_space()?;
        let mut end = span.end;
        if self.rest().starts_with(',') {
            self.at += 1;
            end = self.at;
        } else if self.rest().starts_with(['=', ';']) {
            let found = &self.rest()[..1];
            let expected = if found == "=" { "`:`" } else { "`,`" };
            return Err(self.unexpected(expected));
        }
        Ok(Item { span, key, value, end })
    }

    fn comma_missing(&self, last: Option<&Item>, next: char, close: char) -> Mistake {
        if matches!(next, ')' | ']' | '}') {
            return self.unexpected(&format!("`{close}`"));
        }
        let at = last.map_or(self.at, |it| it.span.end);
        // `user.name` without quotes is a word to RON, and then a full stop.
        if let Some(word) = last.filter(|it| next == '.' && it.end == self.at && it.value.body == Body::Word) {
            let start = word.value.span.start;
            let len = self.text[start..].find(|it: char| !is_word(it) && it != '.');
            let span = start..len.map_or(self.text.len(), |it| start + it);
            let name = &self.text[span.clone()];
            return Mistake {
                what: format!("`{name}` does not fit here"),
                expected: Some("a text in quotes".into()),
                hint: Some(format!("write it in quotes: \"{name}\"")),
                span,
            };
        }
        let next = &self.text[self.here()];
        Mistake {
            span: at..at,
            what: "a comma is missing".into(),
            expected: Some(format!("`,` before `{next}`")),
            hint: None,
        }
    }

    /// What stands at the cursor should not.
    fn unexpected(&self, expected: &str) -> Mistake {
        let span = self.here();
        let found = &self.text[span.clone()];
        let what = match found.chars().next() {
            None => return self.ended(expected),
            Some(it) if it.is_control() => format!("a control character (U+{:04X})", it as u32),
            Some(_) => format!("`{found}` does not fit here"),
        };
        let hint = self.open.last().map(|at| {
            let line = self.text[..*at].matches('\n').count() + 1;
            format!("`{}` was opened in line {line}", self.opener(*at))
        });
        Mistake { span, what, expected: Some(expected.into()), hint }
    }

    /// The text ended; the innermost bracket that is still open is what to look at.
    fn ended(&self, expected: &str) -> Mistake {
        match self.open.last() {
            Some(at) => Mistake {
                span: *at..*at + 1,
                what: format!("this `{}` is never closed", &self.text[*at..*at + 1]),
                expected: Some(format!("{expected} before the end of the file")),
                hint: None,
            },
            None => Mistake {
                span: self.text.len()..self.text.len(),
                what: "the file ends too early".into(),
                expected: Some(expected.into()),
                hint: None,
            },
        }
    }

    fn opener(&self, at: usize) -> &'t str {
        let before = &self.text[..at];
        let start = before
            .rfind(|it: char| !is_word(it))
            .map_or(0, |it| it + before[it..].chars().next().map_or(1, char::len_utf8));
        &self.text[start..=at]
    }
}

fn closing(open: char) -> char {
    match open {
        '(' => ')',
        '[' => ']',
        _ => '}',
    }
}

fn is_word(it: char) -> bool {
    it.is_alphanumeric() || it == '_'
}

/// The length of the text literal that begins here; None: it never ends. No literal: None outside.
fn text_literal(rest: &str) -> Option<Option<usize>> {
    let body = rest.strip_prefix('b').unwrap_or(rest);
    let prefix = rest.len() - body.len();
    if let Some(after) = body.strip_prefix('r') {
        let hashes = after.len() - after.trim_start_matches('#').len();
        if !after[hashes..].starts_with('"') {
            return None;
        }
        let end = format!("\"{}", &after[..hashes]);
        let start = prefix + 1 + hashes + 1;
        return Some(memchr::memmem::find(&rest.as_bytes()[start..], end.as_bytes()).map(|it| start + it + end.len()));
    }
    if !body.starts_with('"') {
        return None;
    }
    let mut at = prefix + 1;
    while let Some(found) = rest.as_bytes().get(at..).and_then(|it| memchr::memchr2(b'"', b'\\', it)) {
        at += found;
        if rest.as_bytes()[at] == b'"' {
            return Some(Some(at + 1));
        }
        at += 2;
    }
    Some(None)
}

fn char_literal(rest: &str) -> Option<usize> {
    let end = 1 + rest[1..].char_indices().find(|(at, it)| *it == '\'' && *at > 0 && &rest[1..=*at] != "\\")?.0;
    let content = &rest[1..end];
    (content.chars().count() == 1 || content.starts_with('\\')).then_some(end + 1).filter(|it| *it <= 14)
}
