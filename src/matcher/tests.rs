//! The index equals no index: for random rules and events the matcher says what the plain interpreter says.

use proptest::prelude::*;

use super::*;
use crate::expr::plain::Plain;
use crate::expr::{Literal, Networks, Pattern};
use crate::model::{EventBuf, Place, Slot};

const FIELDS: [&str; 5] = ["a", "b", "c.d", "activity", "e"];
/// Names of rules; some with a path into the field's JSON.
const NAMES: [&str; 7] = ["a", "b", "c.d", "activity", "e", "a[0]", "b[].k"];

/// A field's value in a test.
#[derive(Clone, Debug)]
enum Given {
    Text(String),
    Number(String),
    Bool(bool),
    Null,
    Json(String),
    List(Vec<String>),
}

type MakeSlot = fn(Place, usize, usize) -> Slot;

fn lists() -> Lists {
    let mut lists = Lists::default();
    lists.insert("mixed", "abc\nStraße\n10.0.0.0/8\n2001:db8::/32\n7 # seven\n").unwrap();
    lists.insert("empty", "# nothing\n").unwrap();
    lists
}

/// An event of these values, for `test`.
fn with_event<T>(given: &[Option<Given>], fields: &Fields, test: impl FnOnce(Event) -> T) -> T {
    let mut record = String::new();
    let mut buf = EventBuf::new(fields.len(), "".into());
    for (name, value) in FIELDS.iter().zip(given) {
        let (Some(id), Some(value)) = (fields.mapped_id(name), value) else { continue };
        let (text, slot): (&str, MakeSlot) = match value {
            Given::Text(it) => (it, Slot::text),
            Given::Number(it) => (it, Slot::number),
            Given::Json(it) => (it, Slot::json),
            Given::Bool(it) => {
                buf.set(id, Slot::bool(*it));
                continue;
            }
            Given::Null => {
                buf.set(id, Slot::null());
                continue;
            }
            Given::List(it) => {
                let (start, text) = (buf.scratch.len(), it.join("\u{1f}"));
                buf.scratch.push_str(&text);
                buf.set(id, Slot::list(Place::Scratch, start, text.len()));
                continue;
            }
        };
        buf.set(id, slot(Place::Record, record.len(), text.len()));
        record.push_str(text);
    }
    test(Event { record: &record, buf: &buf })
}

fn fields() -> Fields {
    let mut fields = Fields::default();
    for name in FIELDS {
        fields.mapped(name);
    }
    fields
}

/// Compares both on every event, with one scratch for all.
fn compare(exprs: &[Expr], events: &[Vec<Option<Given>>]) {
    let (mut fields, lists) = (fields(), lists());
    let matcher = Matcher::compile(exprs, &mut fields, &lists).unwrap();
    let plain: Vec<Plain> = exprs
        .iter()
        .map(|it| Plain::compile(it, &mut |name| operand(name, &mut fields), &|name| lists.get(name)).unwrap())
        .collect();
    let mut scratch = matcher.new_scratch();
    for given in events {
        with_event(given, &fields, |event| {
            let mut found = vec![u32::MAX];
            matcher.matches(event, &mut scratch, &mut found);
            let holding = (0..plain.len()).filter(|it| plain[*it].holds(event)).map(|it| it as u32);
            let expected: Vec<u32> = std::iter::once(u32::MAX).chain(holding).collect();
            assert_eq!(found, expected, "{exprs:#?} on {given:?}");
        });
        // Whichever fields are left open: what holds could hold, and where none is open nothing else could.
        for mask in 0..1u64 << FIELDS.len() {
            let certain: Vec<_> =
                (0..given.len()).map(|it| given[it].clone().filter(|_| mask >> it & 1 == 0)).collect();
            let ids = FIELDS.iter().enumerate().filter(|it| mask >> it.0 & 1 != 0);
            let open = ids.fold(0u64, |bits, it| bits | 1 << fields.mapped_id(it.1).unwrap().index());
            let could =
                with_event(&certain, &fields, |certain| matcher.could_match(Outline { certain, open: &[open] }));
            let holds = with_event(given, &fields, |event| plain.iter().any(|it| it.holds(event)));
            assert!(could || !holds, "{exprs:#?} on {given:?}, open {mask:b}");
            assert!(holds || !could || mask != 0, "{exprs:#?} on {given:?}");
        }
    }
}

/// Texts that overlap, with case pairs that are not one to one.
fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[abAB]{0,4}",
        2 => "(abcdefg|Abcdefgh|hgfedcba){1,3}",
        1 => "[aſsßẞSKk\u{212a}ΣσςİiI]{0,4}",
        1 => prop::sample::select(vec![
            "7", "7.0", "-0", " 7 ", "1e3", "9007199254740993", "9007199254740992", "inf", "nan", "+7", "true", "FALSE",
            "\u{a0}7", "10.1.2.3", "10.1.2.3:443", "[2001:db8::1]:22", "::ffff:10.0.0.1", "login.failure", "strasse",
            "Straße", "a*b?", "abc", "a\u{1f}b",
        ]).prop_map(str::to_string),
    ]
}

fn numbers() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["7", "7.0", "-0", "0", "1e3", "1000", "9007199254740993", "-1.5", "1e999"])
        .prop_map(str::to_string)
}

fn json_item() -> impl Strategy<Value = String> {
    prop_oneof![
        words().prop_map(|it| serde_json::to_string(&it).unwrap()),
        numbers(),
        prop::sample::select(vec!["true", "null", "{\"k\":\"ab\"}", "[\"ab\"]", "\"\\u0061b\""])
            .prop_map(str::to_string),
    ]
}

fn given() -> impl Strategy<Value = Option<Given>> {
    prop_oneof![
        2 => Just(None),
        6 => words().prop_map(|it| Some(Given::Text(it))),
        2 => numbers().prop_map(|it| Some(Given::Number(it))),
        1 => any::<bool>().prop_map(|it| Some(Given::Bool(it))),
        1 => Just(Some(Given::Null)),
        2 => prop::collection::vec(json_item(), 0..4).prop_map(|it| Some(Given::Json(format!("[{}]", it.join(","))))),
        1 => Just(Some(Given::Json("{\"k\":[\"ab\",7]}".to_string()))),
        2 => prop::collection::vec("[abAB]{0,3}", 1..4).prop_map(|it| Some(Given::List(it))),
    ]
}

fn literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        4 => words().prop_map(Literal::Text),
        1 => prop::sample::select(vec![7, 0, 1000, 9_007_199_254_740_993]).prop_map(Literal::Int),
        1 => prop::sample::select(vec![7.0, -0.0, -1.5, 9_007_199_254_740_992.0, f64::NAN]).prop_map(Literal::Float),
        1 => any::<bool>().prop_map(Literal::Bool),
    ]
}

fn leaf() -> impl Strategy<Value = Expr> {
    let name = || prop::sample::select(NAMES.to_vec()).prop_map(str::to_string);
    let bound = || prop::sample::select(vec![7.0, 0.0, -0.0, -1.5, 1000.0, f64::INFINITY, f64::NAN]);
    prop_oneof![
        3 => (name(), literal()).prop_map(|(f, it)| Expr::Eq(f, it)),
        2 => (name(), prop::collection::vec(literal(), 0..4)).prop_map(|(f, it)| Expr::OneOf(f, it)),
        3 => (name(), words()).prop_map(|(f, it)| Expr::Contains(f, it)),
        2 => (name(), words()).prop_map(|(f, it)| Expr::StartsWith(f, it)),
        2 => (name(), words()).prop_map(|(f, it)| Expr::EndsWith(f, it)),
        2 => (name(), r"[abAB*?\\ß]{0,6}").prop_map(|(f, it)| Expr::Glob(f, it)),
        2 => (name(), prop::sample::select(vec![
            "ab", "^ab", "abc(def|x)g", "(?i)abcdefg", r"\d", "(a|b)*", "", "(?i)straSSe", "hgf+e.c", "(?:ab){2}", "[sS]S", "(?i)kk",
        ])).prop_map(|(f, it)| Expr::Matches(f, Pattern(it.to_string()))),
        1 => (name(), prop::sample::select(vec!["10.0.0.0/8", "2001:db8::/32", "10.1.2.3", "0.0.0.0/0", "::/0", "::ffff:10.0.0.0/104"]))
            .prop_map(|(f, it)| Expr::Cidr(f, Networks(vec![it.to_string(), "192.0.2.0/24".to_string()]))),
        1 => (name(), bound()).prop_map(|(f, it)| Expr::Lt(f, it)),
        1 => (name(), bound()).prop_map(|(f, it)| Expr::Le(f, it)),
        1 => (name(), bound()).prop_map(|(f, it)| Expr::Gt(f, it)),
        1 => (name(), bound()).prop_map(|(f, it)| Expr::Ge(f, it)),
        1 => name().prop_map(Expr::Exists),
        1 => (name(), name()).prop_map(|(f, it)| Expr::SameAs(f, it)),
        1 => (name(), prop::sample::select(vec!["mixed", "empty"])).prop_map(|(f, it)| Expr::InList(f, it.to_string())),
    ]
}

fn expr() -> impl Strategy<Value = Expr> {
    leaf().prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 0..4).prop_map(Expr::All),
            3 => prop::collection::vec(inner.clone(), 0..4).prop_map(Expr::Any),
            2 => inner.clone().prop_map(|it| Expr::Not(Box::new(it))),
            2 => inner.prop_map(|it| Expr::NoCase(Box::new(it))),
        ]
    })
}

fn events() -> impl Strategy<Value = Vec<Vec<Option<Given>>>> {
    prop::collection::vec(prop::collection::vec(given(), FIELDS.len()), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn many_rules_say_what_each_says_alone(exprs in prop::collection::vec(expr(), 1..12), events in events()) {
        compare(&exprs, &events);
    }

    #[test]
    fn every_leaf_says_what_it_says_alone(exprs in prop::collection::vec(leaf(), 1..40), events in events()) {
        compare(&exprs, &events);
    }
}

/// Whether the condition (RON) holds for an event whose fields `a` and `b` have these values.
fn check(expr: &str, a: Option<Given>, b: Option<Given>, expected: bool) {
    let (mut fields, lists) = (fields(), lists());
    let parsed: Expr = ron::from_str(expr).unwrap();
    // Between others, so that indices count.
    let exprs = [Expr::Any(vec![]), parsed, Expr::All(vec![])];
    let matcher = Matcher::compile(&exprs, &mut fields, &lists).unwrap();
    let mut scratch = matcher.new_scratch();
    let mut found = Vec::new();
    with_event(&[a.clone(), b.clone()], &fields, |event| matcher.matches(event, &mut scratch, &mut found));
    let all: &[u32] = if expected { &[1, 2] } else { &[2] };
    assert_eq!(found, all, "{expr} on {a:?} {b:?}");
}

#[test]
fn leaves() {
    let text = |it: &str| Some(Given::Text(it.to_string()));
    let number = |it: &str| Some(Given::Number(it.to_string()));
    let json = |it: &str| Some(Given::Json(it.to_string()));
    for (expr, a, expected) in [
        (r#"Eq("a", "ab")"#, text("ab"), true),
        (r#"Eq("a", "ab")"#, text("aB"), false),
        (r#"Eq("a", "")"#, text(""), true),
        (r#"Eq("a", "")"#, None, false),
        (r#"Not(Eq("a", "ab"))"#, None, true),
        (r#"Not(Eq("a", "ab"))"#, Some(Given::Null), true),
        (r#"NoCase(Eq("a", "STRASSE"))"#, text("straße"), true),
        (r#"NoCase(Not(Eq("a", "STRASSE")))"#, text("straße"), false),
        (r#"Eq("a", 7)"#, text(" 7.0"), true),
        (r#"Eq("a", 7.5)"#, number("75e-1"), true),
        (r#"Eq("a", 9007199254740993)"#, number("9007199254740992"), false),
        (r#"Eq("a", true)"#, Some(Given::Bool(true)), true),
        (r#"Eq("a", true)"#, text("true"), true),
        (r#"Eq("a", "false")"#, Some(Given::Bool(false)), true),
        (r#"Eq("a", "7.0")"#, number("7"), false),
        (r#"OneOf("a", ["x", 7, "y"])"#, json(r#"["z", 7]"#), true),
        (r#"OneOf("a", [])"#, text("x"), false),
        (r#"Contains("a", "needle of some length")"#, text("..a needle of some length.."), true),
        (r#"Contains("a", "")"#, text(""), true),
        (r#"Contains("a", "")"#, None, false),
        (r#"Contains("a", "\n")"#, json(r#"["x\ny"]"#), true),
        (r#"StartsWith("a", "10")"#, number("1024"), true),
        (r#"EndsWith("a", "éb")"#, text("aéb"), true),
        (r#"Glob("a", "a*\\*?")"#, text("abc*é"), true),
        (r#"Glob("a", "a*\\*?")"#, text("abcdé"), false),
        (r#"Matches("a", "^(?:powershell|cmd)\\.exe$")"#, text("cmd.exe"), true),
        (r#"Matches("a", "^(?:powershell|cmd)\\.exe$")"#, text("cmd.exe "), false),
        (r#"NoCase(Matches("a", "KIOSK"))"#, text("\u{212a}iosk"), true),
        (r#"Cidr("a", ["10.0.0.0/8", "2001:db8::/32"])"#, text("[2001:db8::9]:443"), true),
        (r#"Cidr("a", "10.0.0.0/8")"#, text("::ffff:10.2.3.4"), true),
        (r#"Cidr("a", "::ffff:10.0.0.0/104")"#, text("10.2.3.4:80"), true),
        (r#"Cidr("a", "10.0.0.0/8")"#, text("11.2.3.4"), false),
        (r#"Lt("a", 7)"#, number("6.9"), true),
        (r#"Le("a", 7)"#, text("7"), true),
        (r#"Gt("a", 7)"#, number("7"), false),
        (r#"Ge("a", 7)"#, number("7"), true),
        (r#"Ge("a", 0)"#, text("many"), false),
        (r#"Exists("a")"#, text(""), true),
        (r#"Exists("a")"#, json("[]"), true),
        (r#"Exists("a")"#, Some(Given::Null), false),
        (r#"SameAs("a", "b")"#, text("B"), true),
        (r#"SameAs("a", "b")"#, text("b"), false),
        (r#"NoCase(SameAs("a", "b"))"#, text("b"), true),
        (r#"SameAs("a", "b")"#, None, false),
        (r#"InList("a", "mixed")"#, text("10.200.0.1"), true),
        (r#"InList("a", "mixed")"#, number("7"), true),
        (r#"InList("a", "mixed")"#, text("ABC"), false),
        (r#"NoCase(InList("a", "mixed"))"#, text("ABC"), true),
        (r#"InList("a", "empty")"#, text("x"), false),
        (r#"Eq("a[1]", "y")"#, json(r#"["x", "y"]"#), true),
        (r#"Contains("a[].k", "longer than seven")"#, json(r#"[{"k":"x"},{"k":"is longer than seven"}]"#), true),
        (r#"Eq("a", "y")"#, Some(Given::List(vec!["x".into(), "y".into()])), true),
        (r#"Not(Any([Eq("a", "x"), Not(Exists("b"))]))"#, text("y"), true),
        (r#"All([Not(Eq("a", "x")), Eq("b", "B")])"#, text("x"), false),
    ] {
        check(expr, a, text("B"), expected);
    }
}

#[test]
fn what_cannot_be_compiled_is_named() {
    let mut deep = Expr::Exists("a".into());
    for _ in 0..1000 {
        deep = Expr::Not(Box::new(deep));
    }
    for (expr, expected) in [
        (Expr::InList("a".into(), "none".into()), "there is no list `none`"),
        (Expr::Exists("a[".into()), "`a[`: `[` is not closed by `]`"),
        (Expr::Matches("a".into(), Pattern("(".into())), "bad regular expression"),
        (deep, "the condition is nested more than 128 deep"),
    ] {
        let error = Matcher::compile(&[Expr::All(vec![]), expr], &mut fields(), &lists()).unwrap_err();
        assert_eq!(error.expr, 1);
        assert!(error.problem.starts_with(expected), "{error}");
    }
}

#[test]
fn only_what_holds_without_anything_is_tried_always() {
    let count = |text: &str| {
        let expr: Expr = ron::from_str(text).unwrap();
        Matcher::compile(&[expr], &mut fields(), &lists()).unwrap().always_len()
    };
    for (expr, expected) in [
        (r#"All([])"#, 1),
        (r#"Any([])"#, 0),
        (r#"Not(Eq("a", "x"))"#, 1),
        (r#"All([Not(Eq("a", "x")), Exists("b")])"#, 0),
        (r#"Any([Not(Eq("a", "x")), Eq("b", "y")])"#, 1),
        (r#"Not(Any([Eq("a", "x"), Not(Eq("b", "y"))]))"#, 0),
        (r#"Not(All([Not(Eq("a", "x")), Not(Eq("b", "y"))]))"#, 0),
    ] {
        assert_eq!(count(expr), expected, "{expr}");
    }
}

#[test]
fn a_rule_waits_for_its_rarest_test() {
    let rule = |token: &str| {
        Expr::All(vec![
            Expr::Eq("activity".into(), Literal::Text("login.failure".into())),
            Expr::Contains("a".into(), token.into()),
        ])
    };
    let exprs: Vec<Expr> = (0..100).map(|it| rule(&format!("token-number-{it}"))).collect();
    let mut fields = fields();
    let matcher = Matcher::compile(&exprs, &mut fields, &lists()).unwrap();
    let mut scratch = matcher.new_scratch();
    let mut given = vec![None; FIELDS.len()];
    given[0] = Some(Given::Text("nothing of that".to_string()));
    given[3] = Some(Given::Text("login.failure".to_string()));
    with_event(&given, &fields, |event| matcher.matches(event, &mut scratch, &mut Vec::new()));
    assert_eq!(scratch.candidates, [0; 0], "a common value makes no candidates");
    given[0] = Some(Given::Text("with token-number-42 inside".to_string()));
    let mut found = Vec::new();
    with_event(&given, &fields, |event| matcher.matches(event, &mut scratch, &mut found));
    assert_eq!((found, scratch.candidates.len()), (vec![4, 42], 2));
}

#[test]
fn line_numbers_begin_anew_when_used_up() {
    let exprs = [Expr::Eq("a".into(), Literal::Text("x".into()))];
    let mut fields = fields();
    let matcher = Matcher::compile(&exprs, &mut fields, &lists()).unwrap();
    let mut scratch = matcher.new_scratch();
    for (value, expected) in [("x", vec![0]), ("y", vec![])] {
        scratch.line = LINE_MAX - 1;
        for _ in 0..3 {
            let mut found = Vec::new();
            let given = [Some(Given::Text(value.to_string()))];
            with_event(&given, &fields, |event| matcher.matches(event, &mut scratch, &mut found));
            assert_eq!(found, expected);
        }
    }
}
