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
    use crate::format::keyrunner::starts_with_stamp;

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
    fn a_stamp_is_known_by_its_shape() {
        let good = "2025-04-12 08:02";
        assert!(starts_with_stamp(good.as_bytes()));
        for at in 0..good.len() {
            for byte in 0..=255u8 {
                let mut bytes = good.as_bytes().to_vec();
                let old = bytes[at];
                bytes[at] = byte;
                let expected = match old {
                    b'0'..=b'9' => byte.is_ascii_digit(),
                    b' ' => b" Tt_".contains(&byte),
                    _ => byte == old,
                };
                assert_eq!(starts_with_stamp(&bytes), expected, "{byte} at {at}");
            }
        }
        assert!(!starts_with_stamp(&good.as_bytes()[..15]));
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
                          cef.ext.suser devname keyrunner.user keyrunner.action access.user";

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
            (r#"- - [action:"Accept"; src:"x"]"#, r#" message="[action:\"Accept\"; src:\"x\"]""#),
            ("- - -", ""),
        ] {
            let rest = rest.replace("BOM", "\u{feff}");
            let line = format!("<165>1 2003-10-11T22:14:15.003Z mymachine evntslog {rest}");
            check("auto", WANTED, &line, &format!("syslog {head}{expected}"));
        }
    }

    #[test]
    fn a_header_that_ends_early_is_one() {
        let cef = r#"message="CEF:0|V|P|1|s|n|5|suser=ann" cef.vendor="V" cef.ext.suser="ann""#;
        let time = r#"syslog.time="2003-10-11T22:14:15Z" syslog.host="h""#;
        for (line, expected) in [
            ("<5>1 2003-10-11T22:14:15Z h CEF:0|V|P|1|s|n|5|suser=ann", format!("syslog.priority=5 {time} {cef}")),
            ("2003-10-11T22:14:15Z h CEF:0|V|P|1|s|n|5|suser=ann", format!("{time} {cef}")),
            (
                r#"<5>1 2003-10-11T22:14:15Z h app {"user":"ann"}"#,
                format!(r#"syslog.priority=5 {time} syslog.app="app" message="{{\"user\":\"ann\"}}" user="ann""#),
            ),
        ] {
            check("auto", WANTED, line, &format!("syslog {expected}"));
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
            (
                "app: 2025-04-12 08:02:55 | 203.0.113.9 | ann | USA | Logout",
                r#" syslog.app="app" message="2025-04-12 08:02:55 | 203.0.113.9 | ann | USA | Logout" keyrunner.user="ann" keyrunner.action="Logout""#,
            ),
            (
                r#"nginx: ::1 - ann [12/Apr/2025:08:02:55 +0000] "GET / HTTP/1.1" 200 1"#,
                r#" syslog.app="nginx" message="::1 - ann [12/Apr/2025:08:02:55 +0000] \"GET / HTTP/1.1\" 200 1" access.user="ann""#,
            ),
            (
                r#"app: no ::1 - ann [12/Apr/2025:08:02:55 +0000] "GET / HTTP/1.1" 200 1"#,
                r#" syslog.app="app" message="no ::1 - ann [12/Apr/2025:08:02:55 +0000] \"GET / HTTP/1.1\" 200 1""#,
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

mod logfmt {
    use super::check;

    const WANTED: &str = "a b user.name msg flag type realmId";

    #[test]
    fn pairs() {
        for (line, expected) in [
            ("a=1 b=two", r#"a="1" b="two""#),
            (r#"a="two words" b="q\"\\\n\u00e9\x" flag"#, "a=\"two words\" b=\"q\\\"\\\\\\né\u{78}\" flag=true"),
            ("user.name=ann user={} a= b=2", r#"a="" b="2" user.name="ann""#),
            (r#"a=1 b="never closed"#, r#"a="1" b="never closed""#),
            ("a=1 a=2 b=3", r#"a="1" b="3" (repeated)"#),
            ("a=x=y b=http://h/?q=1", r#"a="x=y" b="http://h/?q=1""#),
            ("type=LOGIN, realmId=master, a=bob,", r#"a="bob" type="LOGIN" realmId="master""#),
            (r#"type="LOGIN",realmId="master",a="bob""#, r#"a="bob" type="LOGIN" realmId="master""#),
            ("a=bob b=eve, flag=x", r#"a="bob" b="eve," flag="x""#),
            (r#"msg="a=1 b=2" b=3 "stray" =x"#, r#"b="3" msg="a=1 b=2""#),
        ] {
            check("logfmt", WANTED, line, expected);
            check("auto", WANTED, line, &format!("logfmt {expected}"));
        }
        check("logfmt", WANTED, "no pairs here", "! no-pairs");
        for line in ["a=b", "=a b=c", "x y=1 z=2", "\"a\"=1 b=2"] {
            check("auto", "none", line, "text");
        }
    }
}

mod cef {
    use super::check;

    const WANTED: &str = "cef.version cef.vendor cef.product cef.product_version cef.signature cef.name cef.severity \
                          cef.ext.src cef.ext.suser cef.ext.msg cef.ext.request cef.ext.cs1";

    #[test]
    fn headers_and_pairs() {
        let head = r#"cef.version="0" cef.vendor="Sec|Co" cef.product="Gate\\1" cef.product_version="1.0" cef.signature="100" cef.name="Login failed""#;
        for (rest, expected) in [
            (
                "5|src=203.0.113.9 suser=ann lee msg=wrong password",
                r#" cef.severity="5" cef.ext.src="203.0.113.9" cef.ext.suser="ann lee" cef.ext.msg="wrong password""#,
            ),
            (
                "High|msg=a\\=b \\| c\\\\d\\ne src=::1 ",
                " cef.severity=\"High\" cef.ext.src=\"::1\" cef.ext.msg=\"a=b | c\\\\d\\ne\"",
            ),
            (
                "5|request=http://h/?q=1&r=2 suser=DOM\\ann",
                r#" cef.severity="5" cef.ext.suser="DOM\\ann" cef.ext.request="http://h/?q=1&r=2""#,
            ),
            ("5|suser=ann suser=root", r#" cef.severity="5" cef.ext.suser="ann" (repeated)"#),
            (
                r#"5|suser="ann lee" msg="a" b" src=1.2.3.4"#,
                r#" cef.severity="5" cef.ext.src="1.2.3.4" cef.ext.suser="ann lee" cef.ext.msg="\"a\" b\"""#,
            ),
            ("5|cs1Label=x cs1= src=1.2.3.4", r#" cef.severity="5" cef.ext.src="1.2.3.4" cef.ext.cs1="""#),
            ("5|", r#" cef.severity="5""#),
            ("5", r#" cef.severity="5""#),
        ] {
            let line = format!(r"CEF:0|Sec\|Co|Gate\\1|1.0|100|Login failed|{rest}");
            check("auto", WANTED, &line, &format!("cef {head}{expected}"));
        }
        check("cef", WANTED, "CEF:0|a|b|c", "! cef-columns-missing");
        check("auto", WANTED, "CEF:0|a|b|c", "text");
        check("auto", WANTED, "CEF: no header", "text");
    }

    #[test]
    fn leef_fills_the_same_paths() {
        for (line, expected) in [
            (
                "LEEF:1.0|Lancope|StealthWatch|1.0|41|src=192.0.2.0\tsuser=ann lee\tmsg=a=b",
                r#"cef.version="1.0" cef.vendor="Lancope" cef.product="StealthWatch" cef.product_version="1.0" cef.signature="41" cef.ext.src="192.0.2.0" cef.ext.suser="ann lee" cef.ext.msg="a=b""#,
            ),
            (
                "LEEF:2.0|V|P|1|41|^|src=192.0.2.0^suser=ann",
                r#"cef.version="2.0" cef.vendor="V" cef.product="P" cef.product_version="1" cef.signature="41" cef.ext.src="192.0.2.0" cef.ext.suser="ann""#,
            ),
            (
                "LEEF:1.0|V|P|1|41|src=192.0.2.0|suser=ann lee",
                r#"cef.version="1.0" cef.vendor="V" cef.product="P" cef.product_version="1" cef.signature="41" cef.ext.src="192.0.2.0" cef.ext.suser="ann lee""#,
            ),
            (
                "LEEF:1.0|V|P|1|41|src=192.0.2.0#011suser=ann lee",
                r#"cef.version="1.0" cef.vendor="V" cef.product="P" cef.product_version="1" cef.signature="41" cef.ext.src="192.0.2.0" cef.ext.suser="ann lee""#,
            ),
            (
                "LEEF:1.0|V|P|1|41|src=192.0.2.0 suser=ann lee",
                r#"cef.version="1.0" cef.vendor="V" cef.product="P" cef.product_version="1" cef.signature="41" cef.ext.src="192.0.2.0" cef.ext.suser="ann lee""#,
            ),
            (
                "LEEF:2.0|V|P|1|41|x5E|src=192.0.2.0^suser=ann",
                r#"cef.version="2.0" cef.vendor="V" cef.product="P" cef.product_version="1" cef.signature="41" cef.ext.src="192.0.2.0" cef.ext.suser="ann""#,
            ),
        ] {
            check("auto", WANTED, line, &format!("cef {expected}"));
        }
    }
}

mod combined {
    use super::check;

    const WANTED: &str = "access.ip access.ident access.user access.time access.method access.path access.protocol \
                          access.status access.bytes access.referer access.user_agent";
    const TIME: &str = "[12/Apr/2025:08:02:55 +0000]";

    #[test]
    fn access_logs() {
        let time = r#"access.time="12/Apr/2025:08:02:55 +0000""#;
        let get = r#"access.method="GET" access.path="/a b?c=1" access.protocol="HTTP/1.1""#;
        for (line, expected) in [
            (
                format!(r#"203.0.113.9 - ann {TIME} "GET /a b?c=1 HTTP/1.1" 401 512 "http://r/" "curl/8.5 (x)""#),
                format!(
                    r#"access.ip="203.0.113.9" access.user="ann" {time} {get} access.status=401 access.bytes=512 access.referer="http://r/" access.user_agent="curl/8.5 (x)""#
                ),
            ),
            (
                format!(r#"::1 - - {TIME} "GET /a b?c=1 HTTP/1.1" 304 -"#),
                format!(r#"access.ip="::1" {time} {get} access.status=304"#),
            ),
            (
                format!(r#"example.com 203.0.113.9 id ann {TIME} "GET /a b?c=1 HTTP/1.1" 200 1 "-" "-" 0.001 "extra""#),
                format!(
                    r#"access.ip="203.0.113.9" access.ident="id" access.user="ann" {time} {get} access.status=200 access.bytes=1"#
                ),
            ),
            (
                format!(r#"203.0.113.9, 10.0.0.1 - - {TIME} "GET /a b?c=1 HTTP/1.1" 200 1"#),
                format!(r#"access.ip="203.0.113.9" {time} {get} access.status=200 access.bytes=1"#),
            ),
            (
                format!(r#"203.0.113.9 - - {TIME} "\x16\x03\xc3\xa9\xff" 400 226 "-" "a \"quoted\" \\ agent"#),
                format!(
                    "access.ip=\"203.0.113.9\" {time} access.path=\"\\u{{16}}\\u{{3}}é\\\\xff\" access.status=400 access.bytes=226 access.user_agent=\"a \\\"quoted\\\" \\\\ agent\""
                ),
            ),
            (
                format!(r#"203.0.113.9 - - {TIME} "-" 408 0 "" """#),
                format!(r#"access.ip="203.0.113.9" {time} access.status=408 access.bytes=0"#),
            ),
            (
                // A user name and a path that bring a time of their own.
                format!(r#"203.0.113.9 - x {TIME} \x22GET {TIME} "GET /{TIME} \"GET HTTP/1.1" 200 1"#),
                format!(
                    r#"access.ip="203.0.113.9" access.user="x {TIME} \"GET" {time} access.method="GET" access.path="/{TIME} \"GET" access.protocol="HTTP/1.1" access.status=200 access.bytes=1"#
                ),
            ),
        ] {
            check("auto", WANTED, &line, &format!("combined {expected}"));
        }
        for line in [
            format!(r#"{TIME} "GET / HTTP/1.1" 200 1"#),
            format!(r#"203.0.113.9 - - {TIME} GET / HTTP/1.1 200 1"#),
            format!(r#"203.0.113.9 - - {TIME} "GET / HTTP/1.1"#),
            "203.0.113.9 - - [12/Apr/2025 08:02:55] \"GET / HTTP/1.1\" 200 1".to_string(),
        ] {
            check("auto", "none", &line, "text");
        }
    }
}

mod text {
    use super::check;

    const WANTED: &str = "message user";

    #[test]
    fn the_line_is_the_message() {
        for (line, expected) in [
            ("any words\r", r#"message="any words""#),
            ("\u{feff}x\u{0}y", r#"message="x\0y""#),
            (
                r#"2025-04-12 08:02:55 INFO {"user":"ann"}"#,
                r#"message="2025-04-12 08:02:55 INFO {\"user\":\"ann\"}" user="ann""#,
            ),
            (
                r#"INFO {"user":"ann","message":"m"}"#,
                r#"message="INFO {\"user\":\"ann\",\"message\":\"m\"}" user="ann" (repeated)"#,
            ),
            (r#"no user {x} {"user":"ann"}"#, r#"message="no user {x} {\"user\":\"ann\"}""#),
            (r#"no "user {"user":"ann"}"#, r#"message="no \"user {\"user\":\"ann\"}""#),
            (r#"{'user': 1}"#, r#"message="{'user': 1}""#),
            ("[Wed Apr 12 08:02:55 2025] [ssl:info] x", r#"message="[Wed Apr 12 08:02:55 2025] [ssl:info] x""#),
        ] {
            check("auto", WANTED, line, &format!("text {expected}"));
        }
        check("auto", WANTED, "  \r", "! empty");
        check("auto", WANTED, r#"{"user":"ann""#, "! not-json");
        check("auto", WANTED, r#"{"user":"ann"} | x"#, "! text-after-json");
    }
}

mod wrap {
    use crate::format::inner_records;
    use crate::limits;

    #[track_caller]
    fn check(record: &str, expected: &[&str]) {
        let mut found = Vec::new();
        let count = inner_records(record, &mut |it| found.push(it.to_string()));
        assert_eq!(found, expected, "{record}");
        assert_eq!(count, expected.len(), "{record}");
    }

    #[test]
    fn records_are_found_where_pipelines_put_them() {
        check(r#"[{"a":1},2,{"b":2}]"#, &[r#"{"a":1}"#, r#"{"b":2}"#]);
        check(
            r#"{"message":{"data":"eyJhIjoxfQ==","messageId":"1"},"subscription":"s"}"#,
            &[r#"{"data":"eyJhIjoxfQ==","messageId":"1"}"#],
        );
        check(r#"{"data":"eyJhIjoxfQ==","messageId":"1"}"#, &[r#"{"a":1}"#]);
        let columns = "2025-04-12 08:02:55 | 203.0.113.9 | ann | USA | Login success";
        check(&format!("<14>Apr 12 08:02:55 kr1 keyrunner: {columns}"), &[columns]);
        check(&format!("| {columns} |"), &[columns]);
        check("2025-04-12 08:02:55,203.0.113.9,ann,USA,Login success", &[columns]);
        check("2025-04-12 08:02:55\t203.0.113.9\tann\tUSA\tLogin success", &[columns]);
        check(
            r#""2025-04-12 08:02:55","Role changed: ""ann"" → Admin, Editor""#,
            &["2025-04-12 08:02:55 | Role changed: \"ann\" → Admin, Editor"],
        );
        check("2025-04-12 08:02:55,MFA disabled for ann", &["2025-04-12 08:02:55 | MFA disabled for ann"]);
        check("2025-04-12 08:02:55,123 INFO started", &[]);
        check("2025-04-12 08:02:55,INFO started", &[]);
        check("2025-04-12 08:02:55,ann,203.0.113.9,USA,Login success", &[]);
        check("2025-04-12 08:02:55,203.0.113.9,ann,USA,Login success,more", &[]);
        check(r#"{"Records":[{"a":1},{"b":2}]}"#, &[r#"{"a":1}"#, r#"{"b":2}"#]);
        check(r#"{"hits":{"total":1,"hits":[{"_id":1,"_source":{"a":1}}]}}"#, &[r#"{"a":1}"#]);
        check(r#"{"logEvents":[{"id":1,"message":"x"}]}"#, &[r#"{"id":1,"message":"x"}"#]);
        check(r#"{"records":["{\"a\":1}","words"]}"#, &[r#"{"a":1}"#]);
        check(r#"{"detail-type":"x","detail":{"a":1}}"#, &[r#"{"a":1}"#]);
        check(r#"{"message":"{\"a\":\"\\u00e9\"}\n","stream":"stdout"}"#, &[r#"{"a":"\u00e9"}"#]);
        check(r#"{"log":"<38>Apr 12 08:02:55 h sshd[1]: no\n"}"#, &["<38>Apr 12 08:02:55 h sshd[1]: no"]);
        check(r#"{"event":{"original":"CEF:0|a","kind":"event"},"message":"other"}"#, &["CEF:0|a"]);
        check(r#"{"event.original":"one","message":"one"}"#, &["one"]);
        check(r#"{"event":{"a":1},"time":1}"#, &[r#"{"a":1}"#]);
        check(r#"{"items":[{"k":1}],"message":"{\"a\":1}"}"#, &[r#"{"a":1}"#]);
        check(r#"{"stat":"OK","response":[{"a":1}]}"#, &[r#"{"a":1}"#]);
        check(
            r#"{"stat":"OK","response":{"authlogs":[{"a":1}],"metadata":{}}}"#,
            &[r#"{"authlogs":[{"a":1}],"metadata":{}}"#],
        );
        check(r#"{"EventName":"StopLogging","CloudTrailEvent":"{\"a\":1}"}"#, &[r#"{"a":1}"#]);
        check(r#"{"data":[1,2],"value":[],"message":""}"#, &[]);
        check(r#"{"data":{},"result":{"a":1}}"#, &[r#"{"a":1}"#]);
        check(
            r#"{"__REALTIME_TIMESTAMP":"1744444975123456","_HOSTNAME":"web-1","SYSLOG_IDENTIFIER":"sshd","_PID":"7","MESSAGE":"no"}"#,
            &["2025-04-12T08:02:55.123456Z web-1 sshd[7]: no"],
        );
        check(r#"{"process":{"name":"su"},"message":"no"}"#, &["<13>su: no"]);
        check(r#"{"ident":"su","time":1744444975,"message":"no"}"#, &["<13>2025-04-12T08:02:55Z su: no"]);
        check(r#"{"ident":"su: yes","message":"no"}"#, &["no"]);
        check(r#"{"ident":"su","message":"Apr 12 08:02:55 web-1 su: no"}"#, &["Apr 12 08:02:55 web-1 su: no"]);
        check("plain", &[]);
        check("2025-04-12T08:02:55.1Z stdout F level=warn user=ann", &["level=warn user=ann"]);
        check("2025-04-12T08:02:55.1Z stdout X level=warn", &[]);
        check("web-1  | a | b", &["a | b"]);
        check("no user x | y", &[]);
        check("", &[]);
        check("{\"message\":\"", &[]);
    }

    /// Records like one that was read before are called bare only where nothing is to be found in them.
    #[test]
    fn what_can_hold_no_record_is_not_searched() {
        use crate::format::{Auto, Paths};
        use crate::model::{EventBuf, Fields};
        let mut fields = Fields::default();
        for path in ["a", "a.b", "a.c", "k"] {
            fields.path(path);
        }
        let paths = Paths::new(&fields);
        let long = "x".repeat(60);
        for (first, then, expected) in [
            (r#"{"k":1,"u":"x"}"#, r#"{"k":{"e":[2,2,2,2,2,2]},"u":"y"}"#.to_string(), false),
            (r#"{"k":1,"u":"x"}"#, r#"{"k":[{"e":2}],"u":"{"}"#.to_string(), true),
            (r#"{"k":1,"u":"x"}"#, format!(r#"{{"k":{{"e":2}},"u":"{long}"}}"#), true),
            (r#"{"a":{"b":"x","c":1},"u":"x"}"#, format!(r#"{{"a":{{"b":"{long}","c":1}},"u":"x"}}"#), false),
            (r#"{"a":{"b":"x","c":1},"u":"x"}"#, format!(r#"{{"a":{{"b":"x","c":1}},"u":"{long}"}}"#), true),
            (
                r#"{"a":{"b":"x","c":1},"u":"x"}"#,
                format!(r#"{{"a":{{"b":"x","c":{{"{long}":2}}}},"u":"{long}"}}"#),
                false,
            ),
            (r#"{"message":"x","u":"x"}"#, r#"{"message":"","u":"y"}"#.to_string(), false),
            (r#"{"records":1,"u":"x"}"#, r#"{"records":[{}],"u":"y"}"#.to_string(), false),
            (r#"{"\u0068its":1,"u":"x"}"#, r#"{"\u0068its":2,"u":"y"}"#.to_string(), false),
        ] {
            let mut buf = EventBuf::new(fields.len(), "".into());
            for line in [first, &then] {
                buf.clear();
                Auto.decode(line, &paths, &mut buf).unwrap();
            }
            assert_eq!(buf.notes.bare, expected, "{first} {then}");
            assert!(!expected || inner_records(&then, &mut |_| {}) == 0, "{then}");
        }
    }

    proptest::proptest! {
        /// What is remembered of records built alike changes nothing that is found in them.
        #[test]
        fn what_was_noted_of_earlier_records_changes_nothing(
            keys in proptest::collection::vec(proptest::sample::select(vec![
                "event", "log", "message", "records", "hits", "k", "a", "data", "@timestamp", "okta", "TimeGenerated", "x_s",
                "event.original", "program", r"\u0065vent",
            ]), 1..5),
            values in proptest::collection::vec(proptest::collection::vec(proptest::sample::select(vec![
                "1", "null", r#""""#, r#""plain""#, r#""{\"a\":1}""#, r#""eyJhIjoxfQ==""#, "{}", "[]", r#"{"original":"x"}"#,
                r#"{"action":"y","user":{"id":7}}"#, r#"[{"a":1},{"b":2}]"#, r#"{"hits":[{"_source":{"c":3}}]}"#,
                r#"{"long":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}"#,
            ]), 5), 1..12),
        ) {
            use crate::format::{Auto, Paths, inner_records_noted};
            use crate::model::{EventBuf, Fields};
            let mut fields = Fields::default();
            for path in ["a", "event.action", "k"] {
                fields.path(path);
            }
            let paths = Paths::new(&fields);
            let mut buf = EventBuf::new(fields.len(), "".into());
            for values in &values {
                let members: Vec<String> = keys.iter().zip(values).map(|(key, value)| format!("\"{key}\":{value}")).collect();
                let record = format!("{{{}}}", members.join(","));
                // Twice: what leaves the trail widens it.
                for _ in 0..2 {
                    buf.clear();
                    Auto.decode(&record, &paths, &mut buf).unwrap();
                    let (mut noted, mut plain) = (Vec::new(), Vec::new());
                    let count = inner_records_noted(&record, &mut buf, &mut |it| noted.push(it.to_string()));
                    proptest::prop_assert_eq!(count, inner_records(&record, &mut |it| plain.push(it.to_string())));
                    proptest::prop_assert_eq!(noted, plain, "{}", record);
                }
            }
        }
    }

    #[test]
    fn a_line_holds_no_more_records_than_the_limit() {
        let many = format!("[{}{{}}]", "{},".repeat(limits::RECORDS_PER_LINE_MAX));
        assert_eq!(inner_records(&many, &mut |_| {}), limits::RECORDS_PER_LINE_MAX);
    }
}

mod law {
    use std::path::Path;

    use proptest::prelude::*;

    use crate::format::laws;

    type Law = fn(&str);

    const TARGETS: [(&str, Law); 4] = [
        ("format_json", laws::json_equals_serde_json),
        ("format_any", laws::any_text_is_decoded_or_refused),
        ("format_auto", laws::auto_remembers_nothing),
        ("format_inner", laws::inner_records_are_bounded),
    ];

    #[test]
    fn seeds_and_former_finds_keep_the_laws() {
        for (target, law) in TARGETS {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
            let mut count = 0;
            for entry in std::fs::read_dir(&folder).unwrap() {
                let bytes = std::fs::read(entry.unwrap().path()).unwrap();
                law(std::str::from_utf8(&bytes).unwrap());
                count += 1;
            }
            assert!(count > 5, "{target} has seeds");
        }
    }

    /// JSON text with the keys that laws want, repeated and dotted, and blanks everywhere.
    fn json() -> impl Strategy<Value = String> {
        let key = prop::sample::select(vec![
            "a",
            "b",
            "c",
            "d",
            "e",
            "a.b",
            "b.c",
            "c.d",
            "a.b.c",
            "user",
            "user.name",
            "name",
            "aa",
            "",
            ".",
            "\\u0061",
            "a\\u002eb",
            "\u{e9}",
            "a-key-of-more-than-sixteen-bytes",
            "a-key-of-more-than-sixteen-bytez",
            "q\\\"",
            "q\\\\",
            "message",
            "records",
            "hits",
            "event",
        ]);
        let leaf = prop::sample::select(vec![
            "1",
            "-0.5e-3",
            "0",
            "1e400",
            "null",
            "true",
            "false",
            "\"\"",
            "\"x\"",
            "\"\\n\\ud83d\\ude00\"",
            "\"\\\\\"",
            "[]",
            "{}",
            "\"forty characters and more, so that a string spans blocks of bytes\"",
        ]);
        let blank = || prop::sample::select(vec!["", "", "", "", " ", "\n\t"]);
        let leaf = leaf.prop_map(str::to_string);
        leaf.prop_recursive(5, 40, 6, move |inner| {
            let member = (key.clone(), blank(), blank(), inner.clone())
                .prop_map(|(key, one, two, value)| format!("{one}\"{key}\"{two}:{two}{value}{one}"));
            prop_oneof![
                5 => prop::collection::vec(member, 0..6).prop_map(|it| format!("{{{}}}", it.join(","))),
                1 => prop::collection::vec(inner, 0..4).prop_map(|it| format!("[{}]", it.join(" , "))),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn json_is_what_serde_json_says(text in json()) {
            laws::json_equals_serde_json(&text);
            laws::inner_records_are_bounded(&text);
        }

        #[test]
        fn damaged_json_is_what_serde_json_says(text in json(), place in 0.0..1.0f64, damage in "[\\x00-\\x7f\u{e9}]{0,2}", cut in 0usize..3) {
            let at = (text.len() as f64 * place) as usize;
            let head = crate::model::text::cut(&text, at);
            let tail: String = text[head.len()..].chars().skip(cut).collect();
            laws::json_equals_serde_json(&format!("{head}{damage}{tail}"));
        }

        #[test]
        fn any_text_keeps_all_laws(text in "[ -~\\x00-\\x1f\u{e9}\u{feff}]{0,120}") {
            for (_, law) in TARGETS {
                law(&text);
            }
        }

        #[test]
        fn seeds_put_together_keep_all_laws(parts in prop::collection::vec(prop::sample::select(vec![
            "2025-04-12 08:02:55", " | ", "|", "103.44.55.21", "<38>", "<165>1 ", "Apr 12 08:02:55", " ", "host", "sshd[1]: ", "app: ", "-",
            "[a b=\"c\"]", "[", "]", "\"", "\\", "=", "a=", "CEF:0|", "LEEF:2.0|", "x5E|", "[12/Apr/2025:08:02:55 +0000] \"", "GET / HTTP/1.1\"",
            "{\"a\":1}", "{", "}", "@cee:", "\u{e9}", "\u{feff}", "\r", ":", "*", "\\xc3\\xa9", "\\x4",
        ]), 0..14)) {
            let text = parts.concat();
            for (_, law) in TARGETS {
                law(&text);
            }
        }
    }
}
