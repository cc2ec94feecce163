//! Sigma's conditions: `selection and not 1 of filter_*`.

use crate::expr::Expr;
use crate::limits::RON_DEPTH_MAX;

/// Search identifiers by name, with what they mean.
pub type Detections = Vec<(String, Expr)>;

/// The expression a condition stands for; or why it cannot be read.
pub fn parse(text: &str, detections: &Detections) -> Result<Expr, String> {
    if text.contains('|') {
        return Err("an aggregation behind `|`, which Sigma 2 has replaced by correlation rules".into());
    }
    let words = words(text)?;
    let mut parser = Parser { words: &words, at: 0, detections };
    let expr = parser.any(0)?;
    match parser.words.get(parser.at) {
        None => Ok(expr),
        Some(word) => Err(format!("`{word}` is not expected in the condition `{text}`")),
    }
}

fn words(text: &str) -> Result<Vec<String>, String> {
    let mut out: Vec<String> = Vec::new();
    let mut word = String::new();
    for it in text.chars().chain([' ']) {
        match it {
            '(' | ')' | ' ' | '\t' | '\n' | '\r' => {
                if !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
                if !it.is_whitespace() {
                    out.push(it.to_string());
                }
            }
            it if it.is_alphanumeric() || matches!(it, '_' | '-' | '*' | '.' | '?') => word.push(it),
            it => return Err(format!("`{it}` is not expected in the condition `{text}`")),
        }
    }
    if out.is_empty() { Err("an empty condition".into()) } else { Ok(out) }
}

struct Parser<'a> {
    words: &'a [String],
    at: usize,
    detections: &'a Detections,
}

impl Parser<'_> {
    fn is(&self, word: &str) -> bool {
        self.words.get(self.at).is_some_and(|it| it.eq_ignore_ascii_case(word))
    }

    fn take(&mut self, word: &str) -> bool {
        let is = self.is(word);
        self.at += usize::from(is);
        is
    }

    fn any(&mut self, depth: usize) -> Result<Expr, String> {
        let mut parts = vec![self.all(depth)?];
        while self.take("or") {
            parts.push(self.all(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::Any(parts) })
    }

    fn all(&mut self, depth: usize) -> Result<Expr, String> {
        let mut parts = vec![self.not(depth)?];
        while self.take("and") {
            parts.push(self.not(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::All(parts) })
    }

    fn not(&mut self, depth: usize) -> Result<Expr, String> {
        if depth > RON_DEPTH_MAX {
            return Err("a condition nested too deep".into());
        }
        if self.take("not") {
            // `not 1 of filter_*` where there is no filter keeps nothing away.
            if let Some([word, of, pattern]) = self.words.get(self.at..self.at + 3)
                && is_any(word)
                && of.eq_ignore_ascii_case("of")
                && self.named(pattern).is_empty()
            {
                self.at += 3;
                return Ok(Expr::All(Vec::new()));
            }
            return Ok(Expr::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.take("(") {
            let inner = self.any(depth + 1)?;
            return if self.take(")") { Ok(inner) } else { Err("a bracket of the condition is not closed".into()) };
        }
        let Some(word) = self.words.get(self.at) else { return Err("the condition ends too early".into()) };
        let of = self.words.get(self.at + 1).is_some_and(|it| it.eq_ignore_ascii_case("of"));
        if !of {
            self.at += 1;
            let found = self.detections.iter().find(|it| it.0 == *word);
            return found
                .map(|it| it.1.clone())
                .ok_or_else(|| format!("the condition names `{word}`, which is not there"));
        }
        let list: fn(Vec<Expr>) -> Expr = match word.to_ascii_lowercase().as_str() {
            it if is_any(it) => Expr::Any,
            "all" => Expr::All,
            _ => return Err(format!("`{word} of`: only `1 of` and `all of` are in the specification")),
        };
        let Some(pattern) = self.words.get(self.at + 2) else { return Err("`of` what?".into()) };
        self.at += 3;
        let parts = self.named(pattern);
        match parts.len() {
            0 => Err(format!("no part of the detection is called like `{pattern}`")),
            _ => Ok(list(parts)),
        }
    }

    fn named(&self, pattern: &str) -> Vec<Expr> {
        let them = pattern.eq_ignore_ascii_case("them");
        let fits = |name: &str| match them {
            true => !name.starts_with('_'),
            false => (!name.starts_with('_') || pattern.starts_with('_')) && wild(pattern, name),
        };
        self.detections.iter().filter(|it| fits(&it.0)).map(|it| it.1.clone()).collect()
    }
}

fn is_any(word: &str) -> bool {
    word == "1" || word.eq_ignore_ascii_case("any")
}

/// The patterns behind `of` that no part of a detection is called like.
pub fn without_parts(text: &str, names: &[String]) -> Vec<String> {
    let words = words(text).unwrap_or_default();
    let patterns = words.windows(2).filter(|it| it[0].eq_ignore_ascii_case("of")).map(|it| it[1].clone());
    patterns.filter(|it| !it.eq_ignore_ascii_case("them") && names.iter().all(|name| !wild(it, name))).collect()
}

/// Whether a name fits a pattern with `*` for any characters.
fn wild(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
