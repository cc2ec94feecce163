//! What strangers put into a log changes nothing that is said of the lines around it, and is never lost without a trace.
//!
//! Each piece of damage is put before, among and behind honest lines. All alerts of those stay what they were, to the byte,
//! and every line is counted once: received = accepted + rejected.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use tripline::model::text::is_hostile;

use crate::log::{generate, text};
use crate::play::{How, bare, play};
use crate::program::{Folder, fixture, tripline, tripline_with};

/// Damage, and how many of its lines must be rejected.
fn check(name: &str, damage: &[u8], rejected: u64) {
    let log = generate(5, 150);
    let plain = play(text(&log).as_bytes(), &How::default());
    let expected = plain.own_lines();
    assert!(expected.len() > 50, "a quiet log proves nothing");
    for (at, pieces) in [(0, 1 << 18), (log.len() / 2, 777), (log.len() / 2, 1 << 18), (log.len(), 1 << 18)] {
        let mut bytes = text(&log[..at]).into_bytes();
        // A line that says noon says the time of its neighbours instead: only the lies are meant to lie about time.
        let clock = &log[at.min(log.len() - 1)].text;
        let clock = &clock[clock.find("2025-04-14").map_or(0, |it| it + 11)..][..8];
        bytes.extend_from_slice(&replaced(damage, b"12:00:00", clock.as_bytes()));
        bytes.push(b'\n');
        bytes.extend_from_slice(text(&log[at..]).as_bytes());
        let found = play(&bytes, &How { pieces: vec![pieces], ..How::default() });
        let counts = found.stats.counts;
        let place = format!("{name} before line {at}, in pieces of {pieces}");
        assert_eq!(counts.received, counts.accepted + counts.rejected, "{place}");
        assert_eq!(counts.rejected, rejected, "{place}: {counts:?}");
        assert!(counts.accepted >= log.len() as u64, "{place}: {counts:?}");
        let found: Vec<String> = found.own_lines().into_iter().filter(|it| !it.contains("eve@evil")).collect();
        let first = (0..expected.len()).find(|it| expected.get(*it) != found.get(*it));
        assert!(
            first.is_none() && found.len() == expected.len(),
            "{place}: {} alerts instead of {}, first at {first:?}",
            found.len(),
            expected.len()
        );
    }
}

fn replaced(bytes: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    while let Some(at) = out.windows(what.len()).position(|it| it == what) {
        out[at..at + what.len()].copy_from_slice(with);
    }
    out
}

/// A line of a person who is in no other.
fn line(user: &str) -> String {
    format!("2025-04-14 12:00:00 | 203.0.113.9 | {user} | USA | User session expired")
}

#[test]
fn bytes_that_are_no_text() {
    check("invalid UTF-8", b"\xc3\x28 \xff\xfe \xf0\x9f\x92 eve", 0);
    check("NUL", b"a\0b\0\0 eve\0", 0);
    check("only NUL", &[0; 5000], 0);
    check("a byte order mark", format!("\u{feff}{}", line("eve@evil")).as_bytes(), 0);
    let wide: Vec<u8> = line("eve@evil").encode_utf16().flat_map(u16::to_le_bytes).collect();
    check("UTF-16", &wide, 0);
    check("overlong and surrogates", b"\xc0\xaf\xed\xa0\x80\xf8\x88\x80\x80\x80", 0);
}

#[test]
fn ends_of_lines() {
    check("CR LF", format!("{}\r", line("eve@evil")).as_bytes(), 0);
    check("many empty lines", "\n\r\n \n".repeat(500).as_bytes(), 0);
    check("CR alone", format!("{}\r{}", line("eve@evil"), line("eve@evil")).as_bytes(), 0);
    check("other separators", "\u{2028}\u{2029}\u{85}\u{b}\u{c} eve".as_bytes(), 0);
}

#[test]
fn json_that_is_none() {
    check("cut short", br#"{"eventType":"user.session.start","actor":{"alternateId":"eve@evil"#, 1);
    check("a lone bracket", b"{", 1);
    check("a lone closing bracket", b"}", 0);
    check("a list that never ends", b"[", 1);
    check("a hundred thousand levels", "[".repeat(100_000).as_bytes(), 0);
    check("a hundred thousand objects", r#"{"a":"#.repeat(100_000).as_bytes(), 1);
    check("deep and closed", format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).as_bytes(), 1);
    check("a comma too many", br#"{"a":1,}"#, 1);
    check("a key that is none", b"{a:1}", 0);
}

#[test]
fn json_that_is_odd() {
    check("twice the same key", br#"{"eventType":"x","eventType":"user.session.end","actor":{"alternateId":"eve@evil"},"published":"2025-04-14T12:00:00Z"}"#, 0);
    let keys: String = (0..200_000).map(|it| format!(r#""k{it}":{it},"#)).collect();
    check("two hundred thousand keys", format!(r#"{{{keys}"z":1}}"#).as_bytes(), u64::from(keys.len() > 1 << 20));
    check(
        "many keys",
        format!(r#"{{{}"z":1}}"#, &keys[..keys[..500_000].rfind(',').map_or(0, |it| it + 1)]).as_bytes(),
        0,
    );
    check("a number that fits nowhere", br#"{"time":1e999}"#, 1);
    check("large numbers", br#"{"time":99999999999999999999999999999999999999,"a":-1e-999,"b":1e300}"#, 0);
    check("escapes", br#"{"b":"\u0000","c":"\\\"","eventType":"\u0075ser"}"#, 0);
    check("half a character", br#"{"a":"\ud800"}"#, 1);
    check("nothing", b"{}", 0);
    check("no object", b"\"text\"", 0);
}

#[test]
fn times_that_lie() {
    check("from the future", line("eve@evil").replace("2025", "2099").as_bytes(), 0);
    check("from the past", line("eve@evil").replace("2025", "1970").as_bytes(), 0);
    check("no date there is", line("eve@evil").replace("2025-04-14", "2025-02-31").as_bytes(), 0);
    check(
        "a number",
        br#"{"time":9223372036854775807,"eventType":"x","published":"9999-12-31T23:59:60Z","actor":{}}"#,
        0,
    );
    check("a year of five digits", line("eve@evil").replace("2025", "12025").as_bytes(), 0);
}

#[test]
fn lines_that_are_too_long() {
    check("one byte too long", &vec![b'a'; (1 << 20) + 1], 1);
    check("as long as may be", &vec![b'a'; 1 << 20], 0);
    check("a long line of separators", "|".repeat(500_000).as_bytes(), 0);
    check("long and quoted", format!("a=\"{}", "\\\"".repeat(200_000)).as_bytes(), 0);
}

#[test]
fn a_last_line_without_an_end_counts() {
    let log = text(&generate(5, 150));
    let expected = play(log.as_bytes(), &How::default()).lines();
    assert_eq!(play(log.trim_end().as_bytes(), &How::default()).lines(), expected);
}

#[test]
fn a_line_of_a_hundred_megabytes_is_one_reject() {
    let folder = Folder::new();
    let rejects = folder.path("rejects.ndjson");
    let log = text(&generate(5, 150));
    let city = fixture("city.mmdb").display().to_string();
    let args = ["replay", "--all-rules", "--geoip", &city, "--rejects", &rejects];
    let expected = tripline_with(&args, log.as_bytes()).succeeds().stdout;
    assert!(expected.lines().count() > 50, "a quiet log proves nothing");
    let mut input = vec![b'x'; 100 << 20];
    input.push(b'\n');
    input.extend_from_slice(log.as_bytes());
    let found = tripline_with(&args, &input).succeeds();
    let alerts = |text: &str| text.lines().map(|it| bare(serde_json::from_str(it).unwrap())).collect::<Vec<_>>();
    assert!(alerts(&found.stdout) == alerts(&expected), "the long line changed something");
    let kept: serde_json::Value = serde_json::from_str(folder.read("rejects.ndjson").trim()).unwrap();
    assert_eq!((&kept["reason"], &kept["line"]), (&"too-long".into(), &1.into()));
    assert!(kept["text"].as_str().unwrap().len() <= 4096);
    assert!(found.stderr.contains("(1 rejected)"), "{}", found.stderr);
}

#[test]
fn rejected_lines_are_kept_with_their_reasons() {
    let folder = Folder::new();
    let rejects = folder.path("rejects.ndjson");
    let input = "{\"a\":1,}\n2025-04-14 12:00:00 | 203.0.113.9 | ann | USA | Login success\n{\n";
    for command in ["replay", "normalize", "run"] {
        let done = tripline_with(&[command, "--rejects", &rejects], input.as_bytes()).succeeds();
        let kept = folder.read("rejects.ndjson");
        let kept: Vec<serde_json::Value> = kept.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        let places: Vec<_> =
            kept.iter().map(|it| (it["source"].as_str().unwrap(), it["line"].as_u64().unwrap())).collect();
        assert_eq!(places, [("stdin", 1), ("stdin", 3)], "{command}: {}", done.stderr);
        assert_eq!(kept[0]["text"], "{\"a\":1,}");
        assert!(kept.iter().all(|it| !it["reason"].as_str().unwrap().is_empty()));
    }
}

#[test]
fn names_cannot_drive_a_terminal_or_call_a_channel() {
    let names = [
        "\u{1b}[2J\u{1b}]0;owned\u{7}eve@evil",
        "\u{202e}nimda\u{2066}eve@evil",
        "<!channel> eve@evil <https://evil.example|click>",
        "eve@evil\u{200b}\u{feff}\u{e0041}",
        "{count}{source.ip}eve@evil{{",
        "eve@evil\"},{\"schema\":1",
    ];
    for name in names {
        let log: String = (0..6)
            .map(|second| {
                let record = serde_json::json!({
                    "actor": {"alternateId": name}, "client": {"ipAddress": "203.0.113.9"}, "eventType": "user.session.start",
                    "outcome": {"result": "FAILURE"}, "published": format!("2025-04-14T12:00:0{second}Z"),
                });
                format!("{record}\n")
            })
            .collect();
        for output in ["text", "ndjson"] {
            let args = ["replay", "--rule", "repeated-login-failures", "--output", output];
            let said = tripline_with(&args, log.as_bytes()).succeeds().stdout;
            assert!(said.contains("eve@evil"), "{name:?}: {said:?}");
            assert!(!said.chars().any(|it| is_hostile(it) && it != '\n'), "{name:?}: {said:?}");
            if output == "ndjson" {
                let alert: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
                assert_eq!(alert["entity"]["user.name"], name);
                assert_eq!(said.lines().count(), 2);
            }
        }
    }
}

#[test]
fn archives_are_read_and_cut_ones_are_told() {
    let folder = Folder::new();
    let log = text(&generate(5, 4_000));
    let plain = folder.write("a.log", log.as_bytes());
    let expected = alerts_of(&tripline(&["replay", &plain]).succeeds().stdout);
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(log.as_bytes()).unwrap();
    let archives =
        [("a.log.gz", gz.finish().unwrap()), ("a.log.zst", compress_to_vec(log.as_bytes(), CompressionLevel::Fastest))];
    for (name, bytes) in archives {
        let whole = folder.write(name, &bytes);
        assert!(alerts_of(&tripline(&["replay", &whole]).succeeds().stdout) == expected, "{name}");
        let rejects = folder.path("rejects.ndjson");
        let cut = folder.write(&format!("cut-{name}"), &bytes[..bytes.len() / 2]);
        let done = tripline(&["replay", &cut, "--rejects", &rejects]).exits(3);
        assert!(done.stderr.contains("could not be read to its end"), "{name}: {}", done.stderr);
        let kept = folder.read("rejects.ndjson");
        assert!(kept.lines().last().is_some_and(|it| it.contains("broken-archive")), "{name}: {kept}");
        // What came before the cut was judged: what opened from it is what the whole opens first.
        let opened = |all: &[String]| {
            let firing = all.iter().filter(|it| it.contains(r#""state":"firing""#));
            firing.map(|it| it[..it.find(r#","state""#).unwrap()].to_string()).collect::<Vec<_>>()
        };
        let (before, all) = (opened(&alerts_of(&done.stdout)), opened(&expected));
        assert!(!before.is_empty() && before.len() < all.len(), "{name}: {} of {}", before.len(), all.len());
        assert!(before[..before.len() - 1].iter().all(|it| all.contains(it)), "{name}");
    }
}

fn alerts_of(stdout: &str) -> Vec<String> {
    stdout.lines().map(|it| bare(serde_json::from_str(it).unwrap())).collect()
}

/// What a stranger writes to drive a terminal or to turn the reading direction never comes out as it is, whoever shows it.
#[test]
fn nothing_that_drives_a_terminal_comes_out() {
    let folder = Folder::new();
    let rejects = folder.path("rejects.ndjson");
    let hostile = "a\u{202e}b\u{9b}2Jc\u{feff}d";
    let good =
        format!(r#"{{"time":"2025-04-14T12:00:00Z","ip":"203.0.113.9","user":"{hostile}","action":"Login failure"}}"#);
    let log = folder.write("hostile.log", format!("{good}\n{{\"user\":\"{hostile}\",}}\n").as_bytes());
    for args in [
        vec!["normalize", &log, "--rejects", &rejects],
        vec!["replay", &log, "--all-rules", "--rejects", &rejects],
        vec!["explain", "--line", "1", "--rule", "repeated-login-failures", &log],
    ] {
        let done = tripline(&args);
        for text in [&done.stdout, &done.stderr, &folder.read("rejects.ndjson")] {
            let drives = |it: char| it != '\n' && it.is_control() || matches!(it, '\u{202e}' | '\u{feff}');
            assert!(!text.contains(drives), "{args:?}: {text:?}");
        }
        assert!(
            done.stdout.contains("a\\u202eb\\u009b2Jc\\ufeffd") || args[0] == "replay",
            "{args:?}: {}",
            done.stdout
        );
    }
    let kept: serde_json::Value = serde_json::from_str(folder.read("rejects.ndjson").trim()).unwrap();
    assert!(kept["text"].as_str().unwrap().contains(hostile));
}
