//! What each format makes of lines, as tables.

use std::sync::Arc;

use crate::model::{EventBuf, Fields, Value};

use super::{Auto, Paths, Reject, find};

/// Decodes a line (`auto` chooses the format and says which) and shows the wanted paths that it has.
fn shown(format: &str, line: &str, wanted: &str) -> String {
    let mut fields = Fields::default();
    let ids: Vec<_> = wanted.split_whitespace().map(|it| (it, fields.path(it))).collect();
    let paths = Paths::new(&fields);
    let mut buf = EventBuf::new(fields.len(), Arc::from(""));
    let result = match find(format) {
        Some(it) => (it.decode)(line, 0, &paths, &mut buf).map(|()| it),
        None => Auto.decode(line, &paths, &mut buf),
    };
    let mut out = match result {
        Ok(_) if format != "auto" => String::new(),
        Ok(it) => it.name.to_string(),
        Err(Reject { reason }) => return format!("! {reason}"),
    };
    for (name, id) in ids {
        let Some(value) = buf.get(line, id) else { continue };
        let text = match value {
            Value::Text(it) => format!("{it:?}"),
            Value::Number(it) | Value::Json(it) => it.to_string(),
            Value::Bool(it) => it.to_string(),
            Value::Null => "null".to_string(),
            Value::List(it) => it.0.to_string(),
        };
        let gap = if out.is_empty() { "" } else { " " };
        out.push_str(&format!("{gap}{name}={text}"));
    }
    if buf.key_repeated {
        out.push_str(" (repeated)");
    }
    out
}

#[track_caller]
fn check(format: &str, wanted: &str, line: &str, expected: &str) {
    assert_eq!(shown(format, line, wanted), expected, "{format}: {line}");
}

mod json {
    use super::check;

    const WANTED: &str = "a b a.b a.b.c user.name a_rather_long_key_of_a_record a_rather_long_kez_of_a_record";

    #[test]
    fn values_are_found_where_they_stand() {
        for (line, expected) in [
            (r#"{"a":1,"b":"x"}"#, r#"a=1 b="x""#),
            (r#" { "b" : true , "a" : null } "#, "a=null b=true"),
            (r#"{"a":{"b":{"c":-1.5e3}}}"#, r#"a={"b":{"c":-1.5e3}} a.b={"c":-1.5e3} a.b.c=-1.5e3"#),
            (r#"{"a.b":{"c":"x"}}"#, r#"a.b={"c":"x"} a.b.c="x""#),
            (r#"{"a":{"b.c":[1]}}"#, r#"a={"b.c":[1]} a.b.c=[1]"#),
            (r#"{"a.b.c":false}"#, "a.b.c=false"),
            (r#"{"a..b":1,".":2,"":3,"a.":4,".a":5}"#, ""),
            (r#"{"x":{"a":1},"y":[{"a":2}]}"#, ""),
            (r#"{"\u0061":"\u00e9\n\"\ud83d\ude00"}"#, "a=\"é\\n\\\"😀\""),
            (r#"{"user\u002ename":"ann"}"#, r#"user.name="ann""#),
            (
                r#"{"a_rather_long_key_of_a_record":1,"a_rather_long_kex_of_a_record":2}"#,
                "a_rather_long_key_of_a_record=1",
            ),
            (r#"[{"a":1}]"#, ""),
            ("\u{feff}{\"a\":\"x\"}\r", r#"a="x""#),
            (r#"{}"#, ""),
        ] {
            check("json", WANTED, line, expected);
        }
    }

    #[test]
    fn the_first_of_equal_keys_is_believed() {
        for (line, expected) in [
            (r#"{"a":1,"a":2}"#, "a=1 (repeated)"),
            (r#"{"a":null,"\u0061":{"b":2}}"#, "a=null (repeated)"),
            (r#"{"a":{"b":1},"a":{"b":{"c":2}}}"#, r#"a={"b":1} a.b=1 (repeated)"#),
            (r#"{"user":{"id":1},"user":{"name":"root"}}"#, " (repeated)"),
            (r#"{"a":{"b":1},"a.b":2}"#, r#"a={"b":1} a.b=1 (repeated)"#),
            (r#"{"x":1,"x":2}"#, ""),
        ] {
            check("json", WANTED, line, expected);
        }
    }

    #[test]
    fn damage_is_refused() {
        for line in [
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":1,}",
            "{a:1}",
            "{'a':1}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":+1}",
            "{\"a\":1e}",
            "{\"a\":1e999}",
            "{\"a\":tru}",
            "{\"a\":\"\t\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\udc00\\ud800\"}",
            "{\"a\":\"\\u12g4\"}",
            "{\"a\":\"x",
            "{\"a\":\"\\",
            "[1,]",
            "[",
            "{\"a\" 1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":\u{0}1}",
            "{\"a\":NaN}",
            "{,}",
            "{\"\\ud800\":1}",
        ] {
            check("json", WANTED, line, "! not-json");
        }
        check("json", WANTED, "{\"a\":1} {", "! text-after-json");
        check("json", WANTED, "17", "! not-an-object");
        check("json", WANTED, " \r\n", "! empty");
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        check("json", WANTED, &deep(127), "");
        check("json", WANTED, &deep(128), "! too-deep");
    }
}

mod keyrunner {
    use super::check;

    const WANTED: &str =
        "keyrunner.time keyrunner.ip keyrunner.user keyrunner.geo keyrunner.action keyrunner.statement";

    fn access(user: &str, geo: &str, action: &str) -> String {
        format!(
            "keyrunner.time=\"2025-04-12 08:02:55\" keyrunner.ip=\"103.44.55.21\" keyrunner.user={user:?} \
             keyrunner.geo={geo:?} keyrunner.action={action:?}"
        )
    }

    #[test]
    fn five_columns_are_an_access_record() {
        let plain = access("ann@example.com", "USA", "Login success");
        for line in [
            "2025-04-12 08:02:55 | 103.44.55.21 | ann@example.com | USA | Login success",
            "2025-04-12 08:02:55|103.44.55.21|ann@example.com|USA|Login success",
            "  2025-04-12 08:02:55  |  103.44.55.21 |  ann@example.com  | USA |  Login success \r",
            "\u{feff}2025-04-12 08:02:55 | 103.44.55.21 | ann@example.com | USA | Login success",
        ] {
            check("keyrunner", WANTED, line, &plain);
            check("auto", WANTED, line, &format!("keyrunner {plain}"));
        }
        check(
            "keyrunner",
            WANTED,
            "2025-04-12T08:02:55.123+02:00 | 2001:db8::1 | ann |  | Logout",
            r#"keyrunner.time="2025-04-12T08:02:55.123+02:00" keyrunner.ip="2001:db8::1" keyrunner.user="ann" keyrunner.action="Logout""#,
        );
        check(
            "keyrunner",
            WANTED,
            "2025-04-12 08:02:55 | - | ann | USA | Login failure",
            r#"keyrunner.time="2025-04-12 08:02:55" keyrunner.user="ann" keyrunner.geo="USA" keyrunner.action="Login failure""#,
        );
    }

    #[test]
    fn a_user_name_cannot_write_the_other_columns() {
        for user in ["x | USA | Login success", "x|y", "{\"a\":1}", "| |", "Login success |"] {
            let line = format!("2025-04-12 08:02:55 | 103.44.55.21 | {user} | Brazil | Login failure");
            check("auto", WANTED, &line, &format!("keyrunner {}", access(user, "Brazil", "Login failure")));
        }
    }

    #[test]
    fn other_columns_are_a_statement() {
        for statement in [
            "KeyConnector started",
            "Role changed: johndoe@keyrunner.app → Tenant Admin, Editor",
            "kcsv variables retrieved for request: a | b",
            "a | b | c | d",
            "103.44.55.21 | blocked | twice",
        ] {
            let expected =
                format!("keyrunner keyrunner.time=\"2025-04-12 07:30:00\" keyrunner.statement={statement:?}");
            check("auto", WANTED, &format!("2025-04-12 07:30:00 | {statement}"), &expected);
        }
        check("keyrunner", WANTED, "2025-04-12 07:30:00 |", "! no-columns");
        check("keyrunner", WANTED, "yesterday | KeyConnector started", "! no-date-column");
        check("auto", WANTED, "2025-04-12 07:30:00 user|name said | no", "text");
    }
}

mod syslog {
    use super::check;

    const WANTED: &str = "syslog.priority syslog.time syslog.host syslog.app syslog.pid syslog.msgid \
                          syslog.sd.exampleSDID@32473.iut syslog.sd.exampleSDID@32473.eventSource message user cef.vendor \
                          cef.ext.suser devname";

    #[test]
    fn headers_as_they_are_sent() {
        let (time, host) = ("syslog.time=\"Apr 12 08:02:55\"", "syslog.host=\"web-1\"");
        let sshd = "syslog.app=\"sshd\" syslog.pid=\"4711\" message=\"Failed password\"";
        for (line, expected) in [
            ("<38>Apr 12 08:02:55 web-1 sshd[4711]: Failed password", format!("syslog.priority=38 {time} {host} {sshd}")),
            ("Apr 12 08:02:55 web-1 sshd[4711]: Failed password\r", format!("{time} {host} {sshd}")),
            ("<38>Apr 12 08:02:55 sshd[4711]: Failed password", format!("syslog.priority=38 {time} {sshd}")),
            ("<38>sshd[4711]: Failed password", format!("syslog.priority=38 {sshd}")),
            ("<13>just words", "syslog.priority=13 message=\"just words\"".into()),
            (
                "Apr 12 08:02:55 web-1 kernel: [12.5] IN=eth0",
                format!("{time} {host} syslog.app=\"kernel\" message=\"[12.5] IN=eth0\""),
            ),
            (
                "Apr 12 08:02:55 web-1 [WAN-1] DESCR=\"x\"",
                format!("{time} {host} message=\"[WAN-1] DESCR=\\\"x\\\"\""),
            ),
            (
                "Apr 12 08:02:55 web-1 sshd(pam_unix)[4711]: check pass; user unknown",
                format!("{time} {host} syslog.app=\"sshd(pam_unix)\" syslog.pid=\"4711\" message=\"check pass; user unknown\""),
            ),
            (
                "2025-04-12T08:02:55.123+00:00 web-1 sshd[4711]: Failed password",
                format!("syslog.time=\"2025-04-12T08:02:55.123+00:00\" {host} {sshd}"),
            ),
            ("2025-04-12 08:02:55 web-1 sshd[4711]: Failed password", format!("syslog.time=\"2025-04-12 08:02:55\" {host} {sshd}")),
            (
                "<189>000123: *Apr  2 2025 08:02:55.123 UTC: %SEC_LOGIN-4-LOGIN_FAILED: Login failed",
                "syslog.priority=189 syslog.time=\"Apr  2 2025 08:02:55.123 UTC\" syslog.app=\"%SEC_LOGIN-4-LOGIN_FAILED\" \
                 message=\"Login failed\""
                    .into(),
            ),
            (
                "<166>Apr 12 2025 08:02:55 web-1 : %ASA-6-113015: AAA user rejected",
                "syslog.priority=166 syslog.time=\"Apr 12 2025 08:02:55\" syslog.host=\"web-1\" syslog.app=\"%ASA-6-113015\" \
                 message=\"AAA user rejected\""
                    .into(),
            ),
        ] {
            check("syslog", WANTED, line, &expected);
            check("auto", WANTED, line, &format!("syslog {expected}"));
        }
    }

    #[test]
    fn rfc_5424() {
        let head = "syslog.priority=165 syslog.time=\"2003-10-11T22:14:15.003Z\" syslog.host=\"mymachine\" syslog.app=\"evntslog\"";
        for (rest, expected) in [
            (
                r#"- ID47 [exampleSDID@32473 iut="3" eventSource="App\"]\\lication"] BOMAn event"#,
                r#" syslog.msgid="ID47" syslog.sd.exampleSDID@32473.iut="3" syslog.sd.exampleSDID@32473.eventSource="App\"]\\lication" message="An event""#,
            ),
            (
                r#"8 ID47 [x y="]"][exampleSDID@32473 iut="3"]"#,
                r#" syslog.pid="8" syslog.msgid="ID47" syslog.sd.exampleSDID@32473.iut="3""#,
            ),
            ("- - - It's [not] data", " message=\"It's [not] data\""),
            ("- - It's no data", " message=\"It's no data\""),
            ("- - [broken", " message=\"[broken\""),
            ("- - -", ""),
        ] {
            let rest = rest.replace("BOM", "\u{feff}");
            let line = format!("<165>1 2003-10-11T22:14:15.003Z mymachine evntslog {rest}");
            check("auto", WANTED, &line, &format!("syslog {head}{expected}"));
        }
    }

    #[test]
    fn a_message_that_is_a_record_is_opened() {
        let head = "syslog syslog.priority=14 syslog.time=\"Jan  1 00:00:00\" syslog.host=\"h\"";
        for (rest, expected) in [
            (r#"app: {"user":"ann"}"#, r#" syslog.app="app" message="{\"user\":\"ann\"}" user="ann""#),
            (r#"app: @cee: {"user":"ann","message":"m"}"#, r#" syslog.app="app" message="m" user="ann""#),
            (r#"app[1]:{"user":"ann"}"#, r#" syslog.app="app" syslog.pid="1" message="{\"user\":\"ann\"}" user="ann""#),
            (
                r#"{"user":"ann","syslog":{"host":"evil"}}"#,
                r#" message="{\"user\":\"ann\",\"syslog\":{\"host\":\"evil\"}}" user="ann" (repeated)"#,
            ),
            (r#"app: {"user":"ann"} and more"#, r#" syslog.app="app" message="{\"user\":\"ann\"} and more""#),
            (
                r#"sshd[1]: Invalid user {"user":"ann"}"#,
                r#" syslog.app="sshd" syslog.pid="1" message="Invalid user {\"user\":\"ann\"}""#,
            ),
            (
                "CEF:0|V|P|1|s|n|5|suser=ann lee msg=x",
                r#" message="CEF:0|V|P|1|s|n|5|suser=ann lee msg=x" cef.vendor="V" cef.ext.suser="ann lee""#,
            ),
            (
                r#"date=2025-04-12 time=08:02:55 devname="fw" user="ann""#,
                r#" message="date=2025-04-12 time=08:02:55 devname=\"fw\" user=\"ann\"" user="ann" devname="fw""#,
            ),
        ] {
            check("auto", WANTED, &format!("<14>Jan  1 00:00:00 h {rest}"), &format!("{head}{expected}"));
        }
    }

    #[test]
    fn other_logs_are_not_syslog() {
        for line in [
            "2025-04-12T08:02:55Z WARN auth: no such user",
            "2025-04-12T08:02:55,991Z [http-nio-1] WARN  o.a.Auth - failed",
            "2025-04-12 08:02:55 gateway login: failed",
            "<b>bold</b>",
            "<192>Apr 12 08:02:55 h a: b",
            "<>Apr 12 08:02:55 h a: b",
            "April 12 08:02:55 h a: b",
            "Mon Apr 12 08:02:55 2025 [pid 1] FAIL",
            "Apr 12 8:2:5 h a: b",
            "Apr",
            "1 2 3",
        ] {
            let shown = super::shown("auto", line, "");
            assert_eq!(shown, "text", "{line}");
        }
    }
}
