use super::*;
use crate::format::{Auto, Paths};
use crate::model::{Event, Fields, Value};

/// Every mapped field is wanted.
fn everything(_: &str) -> bool {
    true
}

fn schema(text: &str) -> file::Schema {
    ron::Options::default()
        .with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME)
        .from_str(text)
        .unwrap_or_else(|it| panic!("{it}\n{text}"))
}

/// Schemas, the decoders, and everything between a line and what came out of it.
struct Bench {
    fields: Fields,
    paths: Paths,
    schemas: Schemas,
    buf: EventBuf,
    memo: Memo,
}

impl Bench {
    fn new(files: &[file::Schema]) -> Bench {
        let mut fields = Fields::default();
        let schemas = Schemas::compile(files, &mut fields, &everything, &[]).unwrap_or_else(|it| panic!("{it}"));
        let buf = EventBuf::new(fields.len(), schemas.constants());
        Bench { paths: Paths::new(&fields), fields, schemas, buf, memo: Memo::default() }
    }

    /// What comes out of a line: for each event, `field=text` in the order of names, `×n` for repeats.
    fn map(&mut self, line: &str) -> Vec<Vec<(String, String)>> {
        self.buf.clear();
        let format = Auto.decode(line, &self.paths, &mut self.buf).unwrap_or_else(|it| panic!("{it:?}: {line}")).name;
        let event = Event { record: line, buf: &self.buf };
        let Some(index) = self.schemas.recognise(event, format, &mut self.memo) else { return Vec::new() };
        let arrival = Arrival { zone: Zone::UTC, received: Timestamp::parse_iso("2025-04-12", Zone::UTC).unwrap() };
        let count = self.schemas.elements(index, line, &mut self.buf, &mut self.memo);
        (0..count)
            .map(|element| {
                let meaning =
                    self.schemas.understand(index, line, &mut self.buf, element, arrival, None, &mut self.memo);
                self.schemas.fill(&meaning, line, &mut self.buf, &mut self.memo);
                let event = Event { record: line, buf: &self.buf };
                let mut found: Vec<_> =
                    self.fields.all_mapped().filter_map(|it| Some((it.0, event.get(it.1)?))).collect();
                found.sort_by_key(|it| it.0);
                let mut found: Vec<_> = found.into_iter().map(|it| (it.0.to_string(), shown(it.1))).collect();
                found.extend(self.buf.time.map(|it| ("@timestamp".to_string(), it.to_string())));
                if meaning.repeat > 1 {
                    found.push(("repeat".to_string(), meaning.repeat.to_string()));
                }
                found
            })
            .collect()
    }
}

fn shown(value: Value) -> String {
    match value {
        Value::Text(it) | Value::Number(it) | Value::Json(it) => it.to_string(),
        Value::Bool(it) => it.to_string(),
        Value::Null => "null".to_string(),
        Value::List(it) => it.iter().collect::<Vec<_>>().join(", "),
    }
}

/// Compares what one schema makes of a line; each event as `field=text` with `; ` between.
fn check(schema_text: &str, line: &str, expected: &[&str]) {
    let mut bench = Bench::new(&[schema(schema_text)]);
    let found = bench.map(line);
    let found: Vec<String> = found
        .iter()
        .map(|it| {
            let own = it.iter().filter(|it| it.0 != "event.provider" && !it.0.starts_with("entity."));
            own.map(|it| format!("{}={}", it.0, it.1)).collect::<Vec<_>>().join("; ")
        })
        .collect();
    assert_eq!(found, expected, "{line}");
    assert_eq!(bench.map(line), Bench::new(&[schema(schema_text)]).map(line), "a used memo changes nothing");
}

#[test]
fn an_event_is_always_about_somebody() {
    let text = with(r#""user.name": "a", "user.target.name": "b", "source.ip": "c""#);
    for (line, name, target) in [
        (r#"{"is":1,"a":"ann","b":"bob","c":"192.0.2.1"}"#, "ann", "bob"),
        (r#"{"is":1,"a":"ann","b":""}"#, "ann", "ann"),
        (r#"{"is":1,"c":"192.0.2.1"}"#, "192.0.2.1", "192.0.2.1"),
        (r#"{"is":1,"b":"bob"}"#, "bob", "bob"),
        (r#"{"is":1,"b":"bob","c":"192.0.2.1"}"#, "192.0.2.1", "bob"),
        (r#"{"is":1}"#, "s", "s"),
    ] {
        let found = Bench::new(&[schema(&text)]).map(line).remove(0);
        let field = |name: &str| found.iter().find(|it| it.0 == name).map(|it| it.1.as_str());
        assert_eq!((field("entity.name"), field("entity.target.name")), (Some(name), Some(target)), "{line}");
    }
}

fn with(fields: &str) -> String {
    format!(
        r#"Schema(id: "s", title: "t", recognise: Exists("is"), fields: {{{fields}}}, examples: [],
            tables: [("levels", [("1", "one"), ("2", "two")])])"#
    )
}

#[test]
fn every_way_to_take_a_value() {
    let line = r#"{"is":1,"a":{"b":"Ann"},"n":7,"yes":true,"no":null,"empty":"","list":["x","Y",2],"one":["z"],"none":[],
        "text":"{\"k\":[{\"v\":\"w\\\"q\"}]}","quoted":"\"in\"","ip":"[2001:DB8::1]:44","ip4":"192.0.2.1:99","bad":"AWS Internal",
        "pairs":"a=1, b=\"two words\"","csv":"r1, r2 ,,r3","esc":"A\u0301\nB","many":[{"k":"u","v":1},{"k":"w","v":"two"}]}"#;
    for (take, expected) in [
        (r#""a.b""#, "Ann"),
        (r#""n""#, "7"),
        (r#""yes""#, "true"),
        (r#""no""#, ""),
        (r#""empty""#, ""),
        (r#""none""#, ""),
        (r#""missing""#, ""),
        (r#""esc""#, "A\u{301}\nB"),
        (r#""many[k=w].v""#, "two"),
        (r#""many[].v""#, "1, two"),
        (r#""many[9].v""#, ""),
        (r#""a.b[0]""#, ""),
        (r#"Text("const")"#, "const"),
        (r#"First(["no", "empty", "missing", "none", "a.b"])"#, "Ann"),
        (r#"When(Eq("n", 7), "a.b")"#, "Ann"),
        (r#"When(Eq("n", 8), "a.b")"#, ""),
        (r#"Capture("a.b", "A(n+)")"#, "nn"),
        (r#"Capture("a.b", "n+")"#, "nn"),
        (r#"Capture("a.b", "z")"#, ""),
        (r#"Lookup(Text("2"), "levels")"#, "two"),
        (r#"Lookup("n", "levels")"#, ""),
        (r#"Lookup("list", "levels")"#, "two"),
        (r#"Except("a.b", ["ANN", "-"])"#, ""),
        (r#"Except("list", ["y"])"#, "x, 2"),
        (r#"Address("ip")"#, "2001:db8::1"),
        (r#"Address("ip4")"#, "192.0.2.1"),
        (r#"Address("bad")"#, ""),
        (r#"Json("text", "k[0].v")"#, "w\"q"),
        (r#"Json("text", "k")"#, r#"[{"v":"w\"q"}]"#),
        (r#"Json("quoted", "")"#, "in"),
        (r#"Json("a.b", "")"#, "Ann"),
        (r#"Pairs("pairs", "b")"#, "two words"),
        (r#"Split("csv", ",", 1)"#, "r2"),
        (r#"Split("csv", ",", -1)"#, "r3"),
        (r#"Split("csv", ",", 2)"#, ""),
        (r#"List("csv", ",")"#, "r1, r2, r3"),
        (r#"All(["a.b", "no", "list", "n"])"#, "Ann, x, Y, 2, 7"),
        // An array is its values, however it was come by; one alone is that value.
        (r#"First(["no", "list"])"#, "x, Y, 2"),
        (r#""list""#, "x, Y, 2"),
        (r#""one""#, "z"),
        (r#"Join(["n", "missing", "a.b"], "/")"#, "7/Ann"),
        (r#"Lower("list")"#, "x, y, 2"),
        (r#"Lower(Text("ÀB"))"#, "àb"),
        (r#"Trim("quoted", "\"i")"#, "n"),
    ] {
        let expected =
            if expected.is_empty() { "activity=other".into() } else { format!("activity=other; x={expected}") };
        check(&with(&format!(r#""x": {take}"#)), line, &[&expected]);
    }
}

#[test]
fn cases_are_chosen_in_order() {
    let text = r#"Schema(id: "s", title: "t", recognise: Exists("act"), action: "act", fold_actions: true, fields: {"user.name": "who"},
        cases: [
            (activity: "login.failure", on: ["login", "signin"], when: Eq("ok", false)),
            (activity: "login.success", on: ["Login"]),
            (activity: "user.created", form: "^made (?<whom>\\w+)$", set: {"user.target.name": Group("whom")}, tags: ["a", "b"]),
            (activity: "secret.read", when: Eq("who", "root"), set: {"user.name": Text("system")}),
        ], tags: [("c", Eq("mark", 1)), ("d", Exists("mark"))], examples: [])"#;
    let outcome = "event.action=LOGIN; event.outcome";
    check(text, r#"{"act":"LOGIN","ok":false}"#, &[&format!("activity=login.failure; {outcome}=failure")]);
    check(text, r#"{"act":"LOGIN"}"#, &[&format!("activity=login.success; {outcome}=success")]);
    check(text, r#"{"act":"signin"}"#, &["activity=other; event.action=signin"]);
    check(
        text,
        r#"{"act":"x","message":"made ann"}"#,
        &["activity=user.created; event.action=x; tags=a, b; user.target.name=ann"],
    );
    check(text, r#"{"act":"y","mark":2}"#, &["activity=other; event.action=y; tags=d"]);
    check(
        text,
        r#"{"act":"x","message":"made ann","mark":1}"#,
        &["activity=user.created; event.action=x; tags=a, b, c, d; user.target.name=ann"],
    );
    check(text, r#"{"act":"x","who":"root"}"#, &["activity=secret.read; event.action=x; user.name=system"]);
    check(text, r#"{"act":null,"who":"a@b.example"}"#, &[]);
    check(
        text,
        r#"{"act":7,"who":"a@b.example"}"#,
        &["activity=other; event.action=7; user.email=a@b.example; user.name=a@b.example"],
    );
}

#[test]
fn phrases_stand_for_parts_of_patterns() {
    let with = |phrases: &str, form: &str| {
        format!(
            r##"Schema(id: "s", title: "t", recognise: Exists("act"), action: "act", text: "@action", phrases: [{phrases}],
            fields: {{"x": Capture("act", "by ({{who}})")}}, cases: [(activity: "user.created", form: r"{form}", set: {{"y": Group("whom")}})], examples: [])"##
        )
    };
    let phrases = r#"("mail", r"\w+@\w+"), ("who", "(?:{mail}|root)")"#;
    let line = r#"{"act":"made ann@example by root"}"#;
    let expected = "activity=user.created; event.action=made ann@example by root; x=root; y=ann@example";
    check(&with(phrases, r"^made (?<whom>{who}) by {who}$"), line, &[expected]);
    // Counts and classes are no names.
    check(
        &with(phrases, r"^m[a-d]{1,2}e \p{latin}n(?<whom>zzz)?"),
        line,
        &["activity=user.created; event.action=made ann@example by root; x=root"],
    );
    let unknown = with(r#"("who", "{later}"), ("later", "x")"#, "x");
    let mut fields = Fields::default();
    let problem = Schemas::compile(&[schema(&unknown)], &mut fields, &everything, &[]).err().unwrap().problem;
    assert_eq!(problem, "`x`: there is no phrase `later` here");
}

#[test]
fn outcomes_are_words_of_ecs() {
    let text = with(r#""event.outcome": "o""#);
    for (word, expected) in [
        (r#""Succeeded""#, "; event.outcome=success"),
        ("false", "; event.outcome=failure"),
        (r#""DENY""#, "; event.outcome=failure"),
        (r#""unknown""#, "; event.outcome=unknown"),
        (r#""purple""#, ""),
    ] {
        check(&text, &format!(r#"{{"is":1,"o":{word}}}"#), &[&format!("activity=other{expected}")]);
    }
}

#[test]
fn a_split_record_is_several_events() {
    let text = r#"Schema(id: "s", title: "t", recognise: Exists("events"), split: "events", action: "events[].name",
        fields: {"user.name": "who", "user.target.name": "events[].p[n=u].v", "@timestamp": "at"},
        repeat: "events[].times",
        cases: [(activity: "login.success", on: ["in"], when: Eq("events[].ok", true))], examples: [])"#;
    let line = r#"{"who":"Ann\u0021","at":"2025-04-12T08:02:55Z","events":[{"name":"in","ok":true,"p":[{"n":"u","v":"\u0042ob"}]},{"name":"out"},{"name":"in","times":5000}]}"#;
    let rest = "user.name=Ann!";
    let time = "@timestamp=2025-04-12T08:02:55Z";
    check(
        text,
        line,
        &[
            &format!(
                "activity=login.success; event.action=in; event.outcome=success; {rest}; user.target.name=Bob; {time}"
            ),
            &format!("activity=other; event.action=out; {rest}; {time}"),
            &format!("activity=other; event.action=in; {rest}; {time}; repeat=1000"),
        ],
    );
    check(text, r#"{"events":[]}"#, &["activity=other"]);
    check(text, r#"{"events":"x"}"#, &["activity=other"]);
}

#[test]
fn the_highest_priority_that_fits_wins() {
    let low = schema(r#"Schema(id: "low", title: "t", priority: -1, recognise: Exists("a"), examples: [])"#);
    let high = schema(
        r#"Schema(id: "high", title: "t", recognise: All([Eq("a", 1), Not(Exists("b"))]), formats: ["json"], examples: [])"#,
    );
    let mut bench = Bench::new(&[low, high]);
    let mut provider = |line: &str| {
        let found = bench.map(line);
        found.first().map(|it| it.iter().find(|it| it.0 == "event.provider").unwrap().1.clone())
    };
    for _ in 0..2 {
        assert_eq!(provider(r#"{"a":1}"#).as_deref(), Some("high"));
        assert_eq!(provider(r#"{"a":2}"#).as_deref(), Some("low"));
        assert_eq!(provider(r#"{"a":1,"b":0}"#).as_deref(), Some("low"));
        assert_eq!(provider(r#"{"b":1}"#), None);
        assert_eq!(provider("a text"), None);
    }
}

#[test]
fn what_nobody_wants_is_not_computed() {
    let text = with(r#""user.name": "a", "source.ip": "b""#);
    let mut fields = Fields::default();
    let schemas =
        Schemas::compile(&[schema(&text)], &mut fields, &|it| it == "source.ip", &["b[0].c".to_string()]).unwrap();
    assert_eq!(fields.mapped_id("user.name"), None);
    assert!(fields.mapped_id("source.ip").is_some() && fields.mapped_id("activity").is_some());
    let index = schemas.indexes().next().unwrap();
    assert!(schemas.produces(index).any(|it| it == "user.name"));
    let line = r#"{"is":1,"b":[{"c":"d"}]}"#;
    let mut buf = EventBuf::new(fields.len(), schemas.constants());
    Auto.decode(line, &Paths::new(&fields), &mut buf).unwrap();
    schemas.select(line, &mut buf, &mut Memo::default());
    let id = fields.path("b[0].c");
    assert_eq!(Event { record: line, buf: &buf }.text(id), Some("d"));
}

#[test]
fn mistakes_are_named() {
    for (fields, expected) in [
        (r#""x": "a[""#, "is not closed"),
        (r#""x": Lookup("a", "nowhere")"#, "there is no table `nowhere`"),
        (r#""x": Group("g")"#, "no case's form has a group `g`"),
        (r#""x": Time("a")"#, "only for `@timestamp`"),
        (r#""x": Split("a", "", 0)"#, "separator is empty"),
        (r#""x": When(InList("a", "b"), "c")"#, "schemas do not know lists"),
        (r#""activity": "a""#, "not set in `fields`"),
        (r#""@timestamp": TimeAs("a", ["%Q"])"#, "no time format"),
    ] {
        let found = Schemas::compile(&[schema(&with(fields))], &mut Fields::default(), &everything, &[]);
        let error = found.err().map(|it| it.to_string()).unwrap_or_default();
        assert!(error.contains(expected), "{fields}: {error}");
    }
}

/// Every shipped schema maps its own examples as it says, with all schemas loaded.
#[test]
fn shipped_schemas_keep_their_promises() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/rules/schemas");
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    names.sort();
    let mut problems = Vec::new();
    let mut files = Vec::new();
    for path in &names {
        let text = std::fs::read_to_string(path).unwrap();
        let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
        match options.from_str::<file::Schema>(&text) {
            Ok(it) => files.push(it),
            Err(it) => problems.push(format!("{}: {it}", path.display())),
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let mut bench = Bench::new(&files);
    for file in &files {
        assert!(!file.examples.is_empty(), "{} has no example", file.id);
        for example in &file.examples {
            let events = bench.map(&example.line);
            let found = events.first();
            let get = |name: &str| {
                found.and_then(|it| it.iter().find(|it| it.0 == name)).map(|it| it.1.clone()).unwrap_or_default()
            };
            if get("event.provider") != file.id {
                problems.push(format!("{}: recognised as `{}`: {}", file.id, get("event.provider"), example.line));
            }
            for (name, expected) in &example.gives {
                if get(name) != *expected {
                    problems.push(format!(
                        "{}: {name} is `{}`, not `{expected}`: {}",
                        file.id,
                        get(name),
                        example.line
                    ));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{} problems\n{}", problems.len(), problems.join("\n"));
}

/// What the draft of a few lines makes of them: when, activity, address, user, whom it was done to, and the role.
#[test]
fn drafts_of_a_few_lines() {
    fn check(format: &str, lines: &[&str], expected: &[&str]) {
        let text = propose::propose(lines, format, "own").unwrap().text;
        let mut bench = Bench::new(&[schema(&text)]);
        let found: Vec<String> = lines
            .iter()
            .map(|line| {
                let fields = bench.map(line).pop().unwrap_or_else(|| panic!("not recognised: {line}\n{text}"));
                let names = ["@timestamp", "activity", "source.ip", "user.name", "user.target.name", "user.roles"];
                let value = |name: &&str| fields.iter().find(|it| it.0 == **name).map_or("-", |it| it.1.as_str());
                names.iter().map(value).collect::<Vec<_>>().join(" ")
            })
            .collect();
        assert_eq!(found, expected, "{text}");
    }
    check(
        "text",
        &[
            "2026-03-01T10:00:00Z INFO auth event=login_success user=alice ip=203.0.113.7 took=12ms",
            "2026-03-01T10:00:04Z WARN auth event=login_failed user=\"bob\" ip=203.0.113.9 took=15ms",
            "2026-03-01T10:00:09Z INFO iam event=role_granted user=root target=eve role=Org-Admin ip=203.0.113.1",
            "2026-03-01T10:00:10Z INFO iam event=role_granted user=root target=eve role=reader ip=203.0.113.1",
        ],
        &[
            "2026-03-01T10:00:00Z login.success 203.0.113.7 alice - -",
            "2026-03-01T10:00:04Z login.failure 203.0.113.9 bob - -",
            "2026-03-01T10:00:09Z role.admin_assigned 203.0.113.1 root eve Org-Admin",
            "2026-03-01T10:00:10Z role.assigned 203.0.113.1 root eve reader",
        ],
    );
    check(
        "text",
        &[
            "2026-03-01 10:00:00 gw evt=auth status=ok who=alice from=203.0.113.7",
            "2026-03-01 10:00:01 gw evt=auth status=denied who=bob from=203.0.113.9",
        ],
        &[
            "2026-03-01T10:00:00Z login.success 203.0.113.7 alice - -",
            "2026-03-01T10:00:01Z login.failure 203.0.113.9 bob - -",
        ],
    );
    check(
        "text",
        &[
            "[01/Mar/2026:10:00:00 +0000] (auth) User \"alice\" logged in from 203.0.113.7",
            "[01/Mar/2026:10:00:04 +0000] (auth) Login failed for user \"bob\" from 203.0.113.9: bad password",
            "[01/Mar/2026:10:00:09 +0000] (iam) User \"root\" granted role \"admin\" to \"eve\"",
            "[01/Mar/2026:10:00:10 +0000] (iam) User \"root\" granted role \"reader\" to \"eve\"",
        ],
        &[
            "2026-03-01T10:00:00Z login.success 203.0.113.7 alice - -",
            "2026-03-01T10:00:04Z login.failure 203.0.113.9 bob - -",
            "2026-03-01T10:00:09Z role.admin_assigned - root eve admin",
            "2026-03-01T10:00:10Z role.assigned - root eve reader",
        ],
    );
    check(
        "json",
        &[
            r#"{"time":"2026-03-01T10:00:00Z","msg":"user logged in","username":"alice","remote_addr":"203.0.113.7:51234"}"#,
            r#"{"time":"2026-03-01T10:00:02Z","msg":"invalid password","username":"bob","remote_addr":"203.0.113.9:51234"}"#,
            r#"{"time":"2026-03-01T10:00:03Z","msg":"role changed","username":"root","subject":"eve","old_role":"user","new_role":"admin","remote_addr":"203.0.113.1:1"}"#,
        ],
        &[
            "2026-03-01T10:00:00Z login.success 203.0.113.7 alice - -",
            "2026-03-01T10:00:02Z login.failure 203.0.113.9 bob - -",
            "2026-03-01T10:00:03Z role.admin_assigned 203.0.113.1 root eve admin",
        ],
    );
    // Whoever acts has a role on every line: it says nothing of what was given.
    check(
        "json",
        &[
            r#"{"time":"2026-03-01T10:00:00Z","action":"login ok","user":"alice","role":"admin","ip":"203.0.113.7"}"#,
            r#"{"time":"2026-03-01T10:00:03Z","action":"role changed","user":"alice","role":"admin","ip":"203.0.113.7"}"#,
        ],
        &[
            "2026-03-01T10:00:00Z login.success 203.0.113.7 alice - -",
            "2026-03-01T10:00:03Z role.assigned 203.0.113.7 alice - -",
        ],
    );
}
